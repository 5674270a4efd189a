//! What passes the interfaces of a host, as a pcapng file (draft-ietf-opsawg-pcapng) that Wireshark opens.
//!
//! The datapath copies packets into batches and hands these over every few milliseconds; one thread writes them, whole
//! blocks at a time. So a file is right up to its last whole block whenever the process ends, `kill -9` included.
//! A packet that the model drops is in its sender's capture: it had left the host, as on a real interface. A comment on it
//! says why, and where and after which time unless that was at once, on the interface's own link. What becomes of a packet
//! later is not known yet when it is written, so that such comments come when the lab is finished: each file is then
//! replaced in one step by one that has them.
//!
//! A capture that cannot be written (no room, no such directory) ends the whole lab: see [`crate::Lab::finish`]. Sizes are
//! limited as [`CaptureLimits`] says. Left out: filters and rotation.

mod limit;

pub use limit::{CaptureLimits, CaptureLosses};

use limit::{Class, Room, TimeZero, kept_length};
use netmodel::PortId;
use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        Block, PcapNgBlock, PcapNgParser, PcapNgReader, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
            unknown::UnknownBlock,
        },
    },
};
use std::{
    borrow::Cow,
    collections::{BTreeMap, VecDeque},
    ffi::OsString,
    fs::{self, File},
    io::{self, BufWriter, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
    sync::mpsc::{self, Receiver, SyncSender, TryRecvError, TrySendError},
    thread::{self, JoinHandle},
    time::{Duration, Instant, SystemTime},
};
use thiserror::Error;

/// How long a packet waits until its batch is handed over, and at most as long again until that is written. Nobody is
/// woken up for it: the datapath makes no system call for captures.
const BATCH_EVERY: Duration = Duration::from_millis(5);
/// A batch is handed over earlier when it is as large as this.
const BATCH_BYTES: usize = 64 * 1024;
/// Batches that may wait to be written, or to be filled again. A batch that finds no room grows, so that nothing is
/// lost, however long the disk takes.
const BATCHES: usize = 64;
/// What the writer holds back at most before it writes.
const WRITE_BYTES: usize = 1024 * 1024;
/// More than a section header ever has.
const HEADER_BYTES: u64 = 64 * 1024;
/// pcapng section 4.7, and the type of its content: an NSS key log.
const DECRYPTION_SECRETS_BLOCK: u32 = 0x0000_000a;
const TLS_KEY_LOG: u32 = 0x544c_534b;
/// Bits 0 and 1 of epb_flags (pcapng section 4.3.1).
const INBOUND: u32 = 0b01;
const OUTBOUND: u32 = 0b10;
/// A packet that is dropped later than this has no comment. The links of the scenarios hold none for as long.
const REMEMBERED: Duration = Duration::from_secs(30);
/// An enhanced packet block without its data and comment (pcapng section 4.3): 32 bytes, and the options for flags and
/// for the end.
const BLOCK_BYTES: u64 = 32 + 8 + 4;
/// Size of the longest comment, with its option's header, that [`write_with_comments`] adds.
const COMMENT_BYTES: u64 = 160;
/// if_tsresol: 10 to the power of minus nine.
const NANOSECONDS: u8 = 9;

/// A capture could not be written or read.
#[derive(Debug, Error)]
pub enum CaptureError {
    /// A file.
    #[error("cannot {action} the capture {path}: {source}", path = .path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// The capture.
        path: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// Not a pcapng file.
    #[error("{path} is no capture: {source}", path = .path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: PcapError,
    },
    /// The thread that writes could not be started.
    #[error("cannot start the thread that writes captures: {0}")]
    Thread(io::Error),
}

/// Puts TLS secrets, lines of an NSS key log, into a finished capture, so that Wireshark decrypts it without asking. The
/// file is replaced in one step: it is the old one or the new one, whatever happens.
pub fn embed_secrets(path: &Path, key_log: &str) -> Result<(), CaptureError> {
    if key_log.is_empty() {
        return Ok(());
    }
    replace(path, |beside| write_with_secrets(path, beside, key_log))
}

/// A file is written anew beside the old one, and takes its place.
fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<(), CaptureError>) -> Result<(), CaptureError> {
    let mut beside = OsString::from(path);
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = write(&beside)
        .and_then(|()| fs::rename(&beside, path).map_err(|source| failed("replace", path, source)));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written
}

fn write_with_secrets(path: &Path, beside: &Path, key_log: &str) -> Result<(), CaptureError> {
    let form = |source| CaptureError::Form { path: path.into(), source };
    let reading = |source| failed("read", path, source);
    let writing = |source| failed("write", beside, source);
    let mut old = File::open(path).map_err(reading)?;
    let mut head = Vec::new();
    (&mut old).take(HEADER_BYTES).read_to_end(&mut head).map_err(reading)?;
    let (rest, parser) = PcapNgParser::new(&head).map_err(form)?;
    let section = parser.section().clone();
    // pcapng section 4.7: before the packets that need them.
    let block = secrets_block(key_log, section.endianness);
    let mut start = PcapNgWriter::with_section_header(Vec::new(), section).map_err(form)?;
    start.write_block(&block).map_err(form)?;

    let mut new = File::create(beside).map_err(writing)?;
    new.write_all(start.get_ref()).map_err(writing)?;
    old.seek(SeekFrom::Start((head.len() - rest.len()) as u64)).map_err(reading)?;
    io::copy(&mut old, &mut new).map(drop).map_err(writing)
}

fn secrets_block(key_log: &str, endianness: Endianness) -> Block<'static> {
    let bytes = |number: u32| match endianness {
        Endianness::Big => number.to_be_bytes(),
        Endianness::Little => number.to_le_bytes(),
    };
    let mut value = Vec::with_capacity(8 + key_log.len());
    value.extend(bytes(TLS_KEY_LOG));
    value.extend(bytes(key_log.len() as u32));
    value.extend(key_log.as_bytes());
    // The library writes the length, and the padding to four bytes, by itself.
    Block::Unknown(UnknownBlock { type_: DECRYPTION_SECRETS_BLOCK, length: 0, value: Cow::Owned(value) })
}

/// What is to be captured of one host.
#[derive(Debug, Clone)]
pub(crate) struct CapturePlan {
    pub(crate) host: String,
    pub(crate) path: PathBuf,
    /// Its interfaces and their names.
    pub(crate) interfaces: Vec<(PortId, String)>,
}

/// Where the datapath hands packets over.
///
/// A thread with real-time priority must not wait for one without, so that the two share no lock: neither that of a
/// queue nor that of the allocator, which a buffer that one makes and the other frees would be. Batches go round.
#[derive(Debug)]
pub(crate) struct Tap {
    /// By [`PortId`]: whether anybody wants its packets.
    wanted: Vec<bool>,
    /// Large payloads are cut.
    cut: bool,
    batch: Batch,
    /// When the batch is to be handed over.
    due: Option<Instant>,
    full: SyncSender<Batch>,
    empty: Receiver<Batch>,
}

/// The captures of a lab, being written until the [`Tap`] is gone.
#[derive(Debug)]
pub(crate) struct Captures {
    thread: Option<JoinHandle<Result<BTreeMap<PathBuf, CaptureLosses>, CaptureError>>>,
    zero: TimeZero,
}

/// Which way a packet passes an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Passing {
    In,
    /// Out, with the model's number.
    Out(u32),
    /// Out, and dropped at once for this reason.
    Dropped(&'static str),
}

/// Nobody writes any more; [`Captures::finish`] tells why.
#[derive(Debug)]
pub(crate) struct Closed;

/// Packets, one after the other.
#[derive(Debug, Default)]
struct Batch {
    heads: Vec<Head>,
    bytes: Vec<u8>,
    /// What became of packets, maybe of earlier batches.
    dropped: Vec<(u32, Dropped)>,
}

/// How a packet ended.
#[derive(Debug)]
pub(crate) struct Dropped {
    pub(crate) at: Instant,
    pub(crate) why: &'static str,
    pub(crate) network: String,
}

#[derive(Debug)]
struct Head {
    port: PortId,
    passing: Passing,
    at: Instant,
    /// Of the packet.
    length: usize,
    /// Of the part of it that is in the batch.
    kept: usize,
}

impl Captures {
    /// Creates the files and waits for packets.
    pub(crate) fn start(
        plans: Vec<CapturePlan>,
        limits: Option<CaptureLimits>,
    ) -> Result<(Tap, Self), CaptureError> {
        let (full, to_write) = mpsc::sync_channel(BATCHES);
        let (written, empty) = mpsc::sync_channel(BATCHES);
        let mut wanted = Vec::new();
        let ports = plans.iter().flat_map(|plan| plan.interfaces.iter().map(|(port, _)| usize::from(port.0)));
        for index in ports {
            wanted.resize(wanted.len().max(index + 1), false);
            wanted[index] = true;
        }
        let cut = limits.as_ref().is_some_and(|limits| limits.cut);
        let tap = Tap { wanted, cut, batch: Batch::default(), due: None, full, empty };
        let zero = TimeZero::default();
        if plans.is_empty() {
            return Ok((tap, Self { thread: None, zero }));
        }
        let writer = Writer::create(plans, limits.map(|limits| Room::new(limits, zero.clone())))?;
        let thread =
            thread::Builder::new().name("lab-capture".into()).spawn(|| writer.run(to_write, written));
        Ok((tap, Self { thread: Some(thread.map_err(CaptureError::Thread)?), zero }))
    }

    /// Time zero of the run, from which limits count the times of steps. Only the first one counts.
    pub(crate) fn set_time_zero(&self, zero: Instant) {
        let _ = self.zero.set(zero);
    }

    /// Waits until everything is written; the tap must be gone. Returns what each file lacks.
    pub(crate) fn finish(mut self) -> Result<BTreeMap<PathBuf, CaptureLosses>, CaptureError> {
        match self.thread.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Ok(BTreeMap::new()),
        }
    }
}

impl Drop for Captures {
    fn drop(&mut self) {
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Tap {
    /// Whether packets of a port are captured.
    pub(crate) fn wants(&self, port: PortId) -> bool {
        self.wanted.get(usize::from(port.0)).copied().unwrap_or(false)
    }

    /// Takes a packet, if its port is captured.
    pub(crate) fn take(
        &mut self,
        port: PortId,
        passing: Passing,
        at: Instant,
        packet: &[u8],
    ) -> Result<(), Closed> {
        if !self.wants(port) {
            return Ok(());
        }
        let kept = if self.cut { kept_length(packet) } else { packet.len() };
        self.batch.heads.push(Head { port, passing, at, length: packet.len(), kept });
        self.batch.bytes.extend_from_slice(packet.get(..kept).unwrap_or(packet));
        self.due.get_or_insert(at + BATCH_EVERY);
        if self.batch.bytes.len() >= BATCH_BYTES { self.hand_over(at) } else { Ok(()) }
    }

    /// A packet that was taken was dropped later on.
    pub(crate) fn dropped(&mut self, number: u32, dropped: Dropped) {
        if !self.wanted.is_empty() {
            self.due.get_or_insert(dropped.at + BATCH_EVERY);
            self.batch.dropped.push((number, dropped));
        }
    }

    /// When to call [`Tap::wake`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// Hands over what has waited long enough.
    pub(crate) fn wake(&mut self, now: Instant) -> Result<(), Closed> {
        if self.due.is_some_and(|due| due <= now) { self.hand_over(now) } else { Ok(()) }
    }

    fn hand_over(&mut self, now: Instant) -> Result<(), Closed> {
        let fresh = self.empty.try_recv().unwrap_or_default();
        self.due = None;
        match self.full.try_send(std::mem::replace(&mut self.batch, fresh)) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(batch)) => {
                self.batch = batch;
                self.due = Some(now + BATCH_EVERY);
                Ok(())
            }
            Err(TrySendError::Disconnected(_)) => Err(Closed),
        }
    }
}

impl Drop for Tap {
    /// The last batch. If nobody writes any more, [`Captures::finish`] tells why.
    fn drop(&mut self) {
        if !self.batch.heads.is_empty() || !self.batch.dropped.is_empty() {
            let _ = self.full.send(std::mem::take(&mut self.batch));
        }
    }
}

/// The writing thread's own state.
struct Writer {
    clock: WallClock,
    /// None without limits.
    room: Option<Room>,
    files: Vec<CaptureFile>,
    /// File and interface in it.
    places: BTreeMap<PortId, (usize, u32)>,
    /// Packets that left lately, by ascending number: which file has them, and as the how manieth of its packets.
    recent: VecDeque<(u32, Instant, (usize, u64))>,
}

impl Writer {
    fn create(plans: Vec<CapturePlan>, room: Option<Room>) -> Result<Self, CaptureError> {
        let (files, places, recent) = (Vec::new(), BTreeMap::new(), VecDeque::new());
        let mut writer = Self { clock: WallClock::now(), room, files, places, recent };
        for plan in plans {
            let interfaces = plan.interfaces.iter().zip(0_u32..);
            let index = writer.files.len();
            writer.places.extend(interfaces.map(|((port, _), number)| (*port, (index, number))));
            let file = CaptureFile::create(plan)?;
            if let Some(room) = &mut writer.room {
                room.use_up(file.head_bytes);
            }
            writer.files.push(file);
        }
        Ok(writer)
    }

    fn run(
        mut self,
        full: Receiver<Batch>,
        empty: SyncSender<Batch>,
    ) -> Result<BTreeMap<PathBuf, CaptureLosses>, CaptureError> {
        loop {
            let more = self.write_all(&full, &empty)?;
            self.files.iter_mut().try_for_each(CaptureFile::flush)?;
            if !more {
                self.comment_all()?;
                return Ok(self.files.into_iter().map(|file| (file.path, file.losses)).collect());
            }
            thread::sleep(BATCH_EVERY);
        }
    }

    /// Takes in what has come; false when nothing more will.
    fn write_all(&mut self, full: &Receiver<Batch>, empty: &SyncSender<Batch>) -> Result<bool, CaptureError> {
        loop {
            let mut batch = match full.try_recv() {
                Ok(batch) => batch,
                Err(TryRecvError::Empty) => return Ok(true),
                Err(TryRecvError::Disconnected) => return Ok(false),
            };
            self.add(&batch)?;
            batch.dropped.drain(..).for_each(|(number, dropped)| self.note_dropped(number, dropped));
            batch.heads.clear();
            batch.bytes.clear();
            // There may be more of them than go round; and the datapath may be gone.
            let _ = empty.try_send(batch);
        }
    }

    fn add(&mut self, batch: &Batch) -> Result<(), CaptureError> {
        let mut rest = batch.bytes.as_slice();
        for Head { port, passing, at, length, kept } in &batch.heads {
            let packet;
            (packet, rest) = rest.split_at_checked(*kept).unwrap_or_default();
            let Some(&(index, interface_id)) = self.places.get(port) else { continue };
            let Some(file) = self.files.get_mut(index) else { continue };
            let comment = match passing {
                Passing::Dropped(why) => Some(format!("dropped: {why}")),
                Passing::In | Passing::Out(_) => None,
            };
            let padded = |bytes: usize| bytes.next_multiple_of(4) as u64;
            let block =
                BLOCK_BYTES + padded(*kept) + comment.as_ref().map_or(0, |text| 4 + padded(text.len()));
            let class = if kept == length { Class::Small } else { Class::Large };
            if self.room.as_mut().is_some_and(|room| !room.take(class, *at, block)) {
                file.losses.packets_dropped += 1;
                file.losses.bytes_dropped += *length as u64;
                continue;
            }
            if kept < length {
                file.losses.packets_cut += 1;
                file.losses.bytes_dropped += (length - kept) as u64;
            }
            let flags = match passing {
                Passing::In => INBOUND,
                Passing::Out(_) | Passing::Dropped(_) => OUTBOUND,
            };
            let mut options = vec![EnhancedPacketOption::Flags(flags)];
            options.extend(comment.map(|text| EnhancedPacketOption::Comment(text.into())));
            file.add(EnhancedPacketBlock {
                interface_id,
                timestamp: self.clock.since_epoch(*at),
                original_len: *length as u32,
                data: packet.into(),
                options,
            })?;
            let ordinal = file.packets;
            file.packets += 1;
            if let Passing::Out(number) = passing {
                self.remember(*number, *at, (index, ordinal));
            }
        }
        Ok(())
    }
}

impl Writer {
    /// Remembers where a packet is, and forgets those that have been on their way for too long.
    fn remember(&mut self, number: u32, at: Instant, place: (usize, u64)) {
        self.recent.push_back((number, at, place));
        let is_old = |(_, then, _): &(u32, Instant, _)| at.saturating_duration_since(*then) > REMEMBERED;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
    }

    /// Of several parts of a packet the first one tells its end.
    fn note_dropped(&mut self, number: u32, dropped: Dropped) {
        let found = self.recent.binary_search_by_key(&number, |(number, ..)| *number).ok();
        let place = found.and_then(|index| self.recent.get(index)).map(|(_, _, place)| *place);
        if let Some((file, ordinal)) = place
            && let Some(file) = self.files.get_mut(file)
            && !file.dropped.contains_key(&ordinal)
            && self.room.as_mut().is_none_or(|room| room.take_comment(COMMENT_BYTES))
        {
            file.dropped.insert(ordinal, dropped);
        }
    }

    fn comment_all(&self) -> Result<(), CaptureError> {
        let files = self.files.iter().filter(|file| !file.dropped.is_empty());
        files
            .into_iter()
            .try_for_each(|file| replace(&file.path, |beside| write_with_comments(file, self.clock, beside)))
    }
}

fn write_with_comments(file: &CaptureFile, clock: WallClock, beside: &Path) -> Result<(), CaptureError> {
    let form = |source| CaptureError::Form { path: file.path.clone(), source };
    let writing = |source| failed("write", beside, source);
    let old = File::open(&file.path).map_err(|source| failed("read", &file.path, source))?;
    let new = BufWriter::with_capacity(WRITE_BYTES, File::create(beside).map_err(writing)?);
    let mut reader = PcapNgReader::new(old).map_err(form)?;
    let mut writer = PcapNgWriter::with_section_header(new, reader.section().clone()).map_err(form)?;
    let mut ordinals = 0_u64..;
    while let Some(block) = reader.next_block() {
        let mut block = block.map_err(form)?;
        if let Block::EnhancedPacket(packet) = &mut block
            && let Some(Dropped { at, why, network }) =
                ordinals.next().and_then(|ordinal| file.dropped.get(&ordinal))
        {
            let later = clock.since_epoch(*at).saturating_sub(packet.timestamp).as_secs_f64() * 1e3;
            let comment = format!("dropped: {why} in {network}, {later:.3} ms later");
            packet.options.push(EnhancedPacketOption::Comment(comment.into()));
        }
        writer.write_block(&block).map_err(form)?;
    }
    writer.into_inner().flush().map_err(writing)
}

struct CaptureFile {
    path: PathBuf,
    file: File,
    blocks: PcapNgWriter<Vec<u8>>,
    packets: u64,
    /// Size of what is before the packets.
    head_bytes: u64,
    losses: CaptureLosses,
    /// What became of its packets later on, by how many were before them.
    dropped: BTreeMap<u64, Dropped>,
}

impl CaptureFile {
    /// Section and interfaces are written at once: a capture of nothing is a capture.
    fn create(plan: CapturePlan) -> Result<Self, CaptureError> {
        let CapturePlan { host, path, interfaces } = plan;
        let file = File::create(&path).map_err(|source| failed("create", &path, source))?;
        let program = SectionHeaderOption::UserApplication("testbed".into());
        let section = SectionHeaderBlock {
            options: vec![program],
            endianness: Endianness::native(),
            ..Default::default()
        };
        let blocks = PcapNgWriter::with_section_header(Vec::new(), section);
        let blocks = blocks.map_err(|source| CaptureError::Form { path: path.clone(), source })?;
        let mut capture = Self {
            path,
            file,
            blocks,
            packets: 0,
            head_bytes: 0,
            losses: CaptureLosses::default(),
            dropped: BTreeMap::new(),
        };
        for (_, name) in interfaces {
            let description = format!("{host}.{name}");
            capture.add(InterfaceDescriptionBlock {
                linktype: DataLink::RAW,
                snaplen: 0,
                options: vec![
                    InterfaceDescriptionOption::IfName(name.into()),
                    InterfaceDescriptionOption::IfDescription(description.into()),
                    InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
                ],
            })?;
        }
        capture.head_bytes = capture.blocks.get_ref().len() as u64;
        capture.flush()?;
        Ok(capture)
    }

    fn add<'a>(&mut self, block: impl PcapNgBlock<'a>) -> Result<(), CaptureError> {
        let written = self.blocks.write_pcapng_block(block);
        written.map_err(|source| CaptureError::Form { path: self.path.clone(), source })?;
        if self.blocks.get_ref().len() >= WRITE_BYTES { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<(), CaptureError> {
        let blocks = self.blocks.get_mut();
        self.file.write_all(blocks).map_err(|source| failed("write", &self.path, source))?;
        blocks.clear();
        Ok(())
    }
}

/// What a clock on the wall shows at an instant. Read once, so that times in captures keep the order and the distances
/// of the events that they go with, whoever sets the machine's clock meanwhile.
#[derive(Debug, Clone, Copy)]
struct WallClock {
    instant: Instant,
    since_epoch: Duration,
}

impl WallClock {
    fn now() -> Self {
        let since_epoch = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { instant: Instant::now(), since_epoch }
    }

    fn since_epoch(&self, at: Instant) -> Duration {
        self.since_epoch + at.saturating_duration_since(self.instant)
    }
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> CaptureError {
    CaptureError::File { action, path: path.into(), source }
}

#[cfg(test)]
mod tests;
