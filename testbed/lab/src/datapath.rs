//! The thread that drives the model in real time: packets from TUN devices in, packets to TUN devices out when they are
//! due.
//!
//! It sleeps until a device has a packet, a command comes or the model's next deadline, which is absolute: being late
//! once makes nothing later afterwards. Left out: what packets mean, which is the model's.
#![expect(
    unsafe_code,
    reason = "the scheduling class of a thread is set by a system call without a safe wrapper"
)]

use crate::{
    capture::{Closed, Dropped, Passing, Tap},
    lab::{LabEvent, LinkSample},
    lateness::LatenessRecorder,
    tun::Tun,
};
use netmodel::{
    Addresses, Block, BlockCount, Change, ChangeError, Direction, DropCause, LinkCounts, LinkState, Network,
    NetworkEvent, NetworkId, Output, PortId, RadioCounts,
};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, ppoll},
    sys::{
        eventfd::{EfdFlags, EventFd},
        prctl::set_timerslack,
        time::TimeSpec,
    },
};
use record::Heartbeat;
use std::{
    collections::BTreeMap,
    io,
    os::fd::AsFd,
    sync::{
        Arc,
        mpsc::{self, Receiver, Sender, TryRecvError},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};
use thiserror::Error;

/// Packets taken from one device before what is due is looked at again: about 200 us of work.
const BATCH: usize = 64;

/// How often the state of the links is reported.
const SAMPLE_EVERY: Duration = Duration::from_millis(100);

/// Packets of at least this size stay in the memory that they were read into: to copy one takes longer than to get other
/// memory for the next.
const LARGE: usize = 512;
/// As many stay: 1.5 MB with the usual MTU.
const SPARE: usize = 1024;

/// A model that runs.
#[derive(Debug)]
pub(crate) struct Datapath {
    commands: Sender<Command>,
    wake: Arc<EventFd>,
    thread: Option<JoinHandle<Result<Tally, DatapathError>>>,
}

/// What one port's device did with the packets that the model delivered.
#[derive(Debug, Clone, Default)]
pub(crate) struct PortTally {
    /// Of packets to the kernel.
    pub(crate) down: LatenessRecorder,
    /// Of packets from the kernel.
    pub(crate) up: LatenessRecorder,
    /// Packets that came while the interface was down.
    pub(crate) while_down: u64,
    /// Packets that the kernel did not take for another reason.
    pub(crate) refused: u64,
}

/// What the datapath did.
#[derive(Debug)]
pub(crate) struct Tally {
    /// By interface and the network that it was in; none for a server.
    pub(crate) ports: BTreeMap<(PortId, Option<NetworkId>), PortTally>,
    /// Where each interface is at the end; by [`PortId`].
    pub(crate) attached: Vec<Option<NetworkId>>,
    pub(crate) counts: Vec<LinkCounts>,
    pub(crate) radios: Vec<(PortId, RadioCounts)>,
    /// Each rule that a network had at some time.
    pub(crate) blocks: Vec<(NetworkId, BlockCount)>,
    /// It ran under SCHED_FIFO.
    pub(crate) real_time: bool,
}

/// Why packets stopped.
#[derive(Debug, Error)]
pub enum DatapathError {
    /// The thread could not be started.
    #[error("cannot start the thread that carries packets: {0}")]
    Start(io::Error),
    /// A device failed.
    #[error("cannot {action} a TUN device: {source}")]
    Device {
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// What it captured is not written any more.
    #[error("nobody writes the captures any more")]
    Capture,
    /// It stopped earlier; [`crate::Lab::finish`] tells why.
    #[error("the thread that carries packets has stopped")]
    Stopped,
    /// The model did not know the port.
    #[error(transparent)]
    Change(#[from] ChangeError),
}

enum Command {
    Apply { change: Change, reply: Sender<Result<Applied, ChangeError>> },
    SetTimeZero { zero: Instant, reply: Sender<()> },
    Stop,
}

/// A change that the model has made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Applied {
    /// From when on it holds.
    pub(crate) at: Instant,
    /// The addresses, if an interface got others.
    pub(crate) addresses: Option<Addresses>,
}

impl Datapath {
    /// Starts it; `tuns` are the devices of the ports, in their order, and none has a larger MTU.
    pub(crate) fn start(
        network: Network,
        tuns: Vec<Tun>,
        mtu: u16,
        tap: Tap,
        sink: Sender<(Instant, LabEvent)>,
    ) -> Result<Self, DatapathError> {
        let wake = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK);
        let wake = Arc::new(wake.map_err(|error| DatapathError::Start(error.into()))?);
        let (commands, queue) = mpsc::channel();
        let (ports, waiting) = (vec![PortTally::default(); tuns.len()], tuns.len());
        let carrier = Carrier {
            network,
            tuns,
            tap,
            sink,
            ports,
            past: BTreeMap::new(),
            commands: queue,
            wake: wake.clone(),
            memory: Memory::new(mtu),
            retired: Vec::new(),
            real_time: false,
            heartbeat: Heartbeat::default(),
            sample_at: None,
            latest: vec![Latest::default(); waiting],
        };
        let thread = thread::Builder::new().name("lab-datapath".into()).spawn(|| carrier.run());
        Ok(Self { commands, wake, thread: Some(thread.map_err(DatapathError::Start)?) })
    }

    /// Changes the model.
    pub(crate) fn apply(&self, change: Change) -> Result<Applied, DatapathError> {
        let (reply, answer) = mpsc::channel();
        self.send(Command::Apply { change, reply });
        Ok(answer.recv().map_err(|_| DatapathError::Stopped)??)
    }

    /// Gives the model its time zero.
    pub(crate) fn set_time_zero(&self, zero: Instant) -> Result<(), DatapathError> {
        let (reply, answer) = mpsc::channel();
        self.send(Command::SetTimeZero { zero, reply });
        answer.recv().map_err(|_| DatapathError::Stopped)
    }

    /// Stops it.
    pub(crate) fn finish(mut self) -> Result<Tally, DatapathError> {
        match self.stop() {
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
            None => Err(DatapathError::Stopped),
        }
    }

    fn stop(&mut self) -> Option<thread::Result<Result<Tally, DatapathError>>> {
        self.send(Command::Stop);
        Some(self.thread.take()?.join())
    }

    /// A thread that is gone answers nothing, which the caller notices.
    fn send(&self, command: Command) {
        let _ = self.commands.send(command);
        let _ = self.wake.write(1);
    }
}

impl Drop for Datapath {
    fn drop(&mut self) {
        self.stop();
    }
}

/// The thread's own state.
struct Carrier {
    network: Network,
    tuns: Vec<Tun>,
    tap: Tap,
    sink: Sender<(Instant, LabEvent)>,
    ports: Vec<PortTally>,
    /// Of networks that interfaces have left.
    past: BTreeMap<(PortId, Option<NetworkId>), PortTally>,
    commands: Receiver<Command>,
    wake: Arc<EventFd>,
    memory: Memory,
    /// Rules that a network no longer has; the model counts for those alone that it has.
    retired: Vec<(NetworkId, BlockCount)>,
    real_time: bool,
    heartbeat: Heartbeat,
    /// When the links are to be looked at; none before time zero is known.
    sample_at: Option<Instant>,
    /// By port.
    latest: Vec<Latest>,
}

/// The largest lateness of a port's packets since the last sample.
#[derive(Debug, Clone, Copy, Default)]
struct Latest {
    up: Duration,
    down: Duration,
    /// Packets that were left in the device are waiting since then, at least.
    left: Option<Instant>,
}

impl Carrier {
    fn run(mut self) -> Result<Tally, DatapathError> {
        self.real_time = become_punctual();
        loop {
            self.deliver(Instant::now())?;
            self.tap.wake(Instant::now()).map_err(not_captured)?;
            let ready = self.wait()?;
            self.beat(Instant::now());
            if ready.command && !self.obey() {
                return Ok(self.tally());
            }
            for port in ready.ports {
                self.take(port, ready.since)?;
            }
            self.sample(Instant::now());
        }
    }

    /// Reports that this thread did not come round for too long.
    fn beat(&mut self, now: Instant) {
        if let Some(since) = self.heartbeat.beat(now) {
            drop(self.sink.send((now, LabEvent::Stalled { since })));
            // What came too late by it is told at once.
            self.sample_at = self.sample_at.map(|at| at.min(now));
        }
    }

    /// Reports the state of the links, if it is time.
    fn sample(&mut self, now: Instant) {
        let Some(due) = self.sample_at.filter(|due| *due <= now) else { return };
        // A thread that was late reports once.
        let missed = now.duration_since(due).as_nanos() / SAMPLE_EVERY.as_nanos();
        self.sample_at = Some(due + SAMPLE_EVERY * (missed as u32).saturating_add(1));
        let latest = std::mem::take(&mut self.latest);
        let late = |state: &LinkState| {
            let latest = latest.get(usize::from(state.port.0)).copied().unwrap_or_default();
            if state.direction == Direction::Up { latest.up } else { latest.down }
        };
        let states = self.network.link_states().into_iter();
        let samples = states.map(|state| LinkSample { late: late(&state), state }).collect();
        self.latest = latest.iter().map(|latest| Latest { left: latest.left, ..Latest::default() }).collect();
        drop(self.sink.send((now, LabEvent::Links(samples))));
    }

    fn tally(mut self) -> Tally {
        let now = Instant::now();
        let ports: Vec<PortId> = (0..self.tuns.len()).map(|index| PortId(index as u16)).collect();
        let radio = |port: &PortId| Some((*port, self.network.radio(now, *port)?));
        let radios = ports.iter().filter_map(radio).collect();
        let attached: Vec<_> = ports.iter().map(|port| self.network.network_of(*port)).collect();
        ports.iter().zip(&attached).for_each(|(port, network)| self.leave(*port, *network));
        let networks =
            (0..).map(NetworkId).take_while(|network| self.network.block_counts(*network).is_some());
        let networks: Vec<NetworkId> = networks.collect();
        networks.into_iter().for_each(|network| self.retire(network, &[]));
        let counts = self.network.counts();
        Tally { ports: self.past, attached, counts, radios, blocks: self.retired, real_time: self.real_time }
    }

    /// Keeps what an interface's device did while it was in a network.
    fn leave(&mut self, port: PortId, network: Option<NetworkId>) {
        let Some(tally) = self.ports.get_mut(usize::from(port.0)).map(std::mem::take) else { return };
        let past = self.past.entry((port, network)).or_default();
        past.down.merge(&tally.down);
        past.up.merge(&tally.up);
        past.while_down += tally.while_down;
        past.refused += tally.refused;
    }

    /// Keeps the counts of the rules that a network is about to lose.
    fn retire(&mut self, network: NetworkId, staying: &[Block]) {
        for count in self.network.block_counts(network).unwrap_or_default() {
            if staying.contains(&count.block) {
                continue;
            }
            let mut retired = self.retired.iter_mut();
            match retired.find(|(of, known)| *of == network && known.block == count.block) {
                Some((_, known)) => known.dropped += count.dropped,
                None => self.retired.push((network, *count)),
            }
        }
    }

    /// Hands over everything that is due, from an instant on that has just been.
    fn deliver(&mut self, mut now: Instant) -> Result<(), DatapathError> {
        while let Some(output) = self.network.poll(now) {
            now = self.hand_over(now, output)?;
        }
        Ok(())
    }

    /// What happens from an instant on; gives the one at which it was done. The clock is read once for each packet.
    fn hand_over(&mut self, now: Instant, output: Output) -> Result<Instant, DatapathError> {
        match output {
            Output::Deliver { port, packet, due } => self.write(now, port, packet, due),
            Output::Event { at, event } => {
                if let NetworkEvent::Dropped { number: Some(number), cause, network, .. } = &event {
                    let dropped = Dropped { at, why: word(*cause), network: network.clone() };
                    self.tap.dropped(*number, dropped);
                }
                // Nobody listens any more when the run is being taken down.
                drop(self.sink.send((at, LabEvent::Network(event))));
                Ok(now)
            }
        }
    }

    fn write(
        &mut self,
        at: Instant,
        port: PortId,
        packet: Vec<u8>,
        due: Instant,
    ) -> Result<Instant, DatapathError> {
        let index = usize::from(port.0);
        let (Some(tun), Some(tally)) = (self.tuns.get(index), self.ports.get_mut(index)) else {
            return Ok(at);
        };
        let written = tun.write(&packet);
        let done = Instant::now();
        match written {
            Ok(()) => {
                let late = done.saturating_duration_since(due);
                tally.down.record(late);
                if let Some(latest) = self.latest.get_mut(index) {
                    latest.down = latest.down.max(late);
                }
                // From before the write: whoever receives the packet may have answered before this thread went on.
                self.tap.take(port, Passing::In, at, &packet).map_err(not_captured)?;
            }
            Err(source) => match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
                // The interface went down between the model's decision and now.
                Errno::EIO => tally.while_down += 1,
                Errno::EBADFD | Errno::EBADF => {
                    return Err(DatapathError::Device { action: "write to", source });
                }
                _ => tally.refused += 1,
            },
        }
        self.memory.give_back(packet);
        Ok(done)
    }

    fn wait(&self) -> Result<Ready, DatapathError> {
        let mut fds = vec![PollFd::new(self.wake.as_fd(), PollFlags::POLLIN)];
        fds.extend(self.tuns.iter().map(|tun| PollFd::new(tun.as_fd(), PollFlags::POLLIN)));
        let deadlines = [self.network.deadline(), self.tap.deadline(), self.heartbeat.due(), self.sample_at];
        let deadline = deadlines.into_iter().flatten().min();
        let began = Instant::now();
        let timeout =
            deadline.map(|deadline| TimeSpec::from_duration(deadline.saturating_duration_since(began)));
        match ppoll(&mut fds, timeout, None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => return Err(DatapathError::Device { action: "wait for", source: error.into() }),
        }
        let mut told = fds.iter().map(|fd| fd.any().unwrap_or(false));
        let command = told.next().unwrap_or(false);
        let ports = told.enumerate().filter_map(|(index, ready)| ready.then_some(index)).collect();
        // Awake later than at its deadline, this thread was kept from waking up.
        let now = Instant::now();
        let since = deadline.map_or(now, |deadline| deadline.max(began).min(now));
        Ok(Ready { command, ports, since })
    }

    /// Takes packets from a device into the model, which they have been waiting for since a time or longer.
    fn take(&mut self, port: usize, since: Instant) -> Result<(), DatapathError> {
        let id = PortId(port as u16);
        let left = self.latest.get_mut(port).and_then(|latest| latest.left.replace(since));
        let since = left.unwrap_or(since).min(since);
        for _ in 0..BATCH {
            let Some(tun) = self.tuns.get(port) else { return Ok(()) };
            match self.memory.read(tun) {
                Ok(packet) => {
                    let at = Instant::now();
                    self.count_wait(port, at.saturating_duration_since(since));
                    if self.tap.wants(id) {
                        self.inject_captured(at, id, packet)?;
                    } else {
                        self.network.inject(at, id, packet);
                    }
                    self.deliver(at)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.latest.iter_mut().skip(port).take(1).for_each(|latest| latest.left = None);
                    break;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(DatapathError::Device { action: "read from", source }),
            }
        }
        Ok(())
    }

    fn count_wait(&mut self, port: usize, late: Duration) {
        if let Some(tally) = self.ports.get_mut(port) {
            tally.up.record(late);
        }
        if let Some(latest) = self.latest.get_mut(port) {
            latest.up = latest.up.max(late);
        }
    }

    /// A packet comes into its sender's capture before what it may have brought about, and with what became of it.
    fn inject_captured(&mut self, at: Instant, id: PortId, packet: Vec<u8>) -> Result<(), DatapathError> {
        let number = self.network.inject(at, id, packet.clone());
        let outputs: Vec<Output> = std::iter::from_fn(|| self.network.poll(at)).collect();
        let dropped = outputs.iter().find_map(|output| dropped_at_once(output, id, at));
        let passing = dropped.map_or(Passing::Out(number), Passing::Dropped);
        self.tap.take(id, passing, at, &packet).map_err(not_captured)?;
        outputs.into_iter().try_fold(at, |now, output| self.hand_over(now, output)).map(drop)
    }

    /// Carries out commands; false when it shall stop.
    fn obey(&mut self) -> bool {
        let _ = self.wake.read();
        loop {
            match self.commands.try_recv() {
                Ok(Command::Apply { change, reply }) => {
                    let moved = match change {
                        Change::Address { port }
                        | Change::Roam { port, .. }
                        | Change::Hotspot { access_point: port, .. } => Some(port),
                        _ => None,
                    };
                    if let Change::Blocks { network, blocks } = &change {
                        self.retire(*network, blocks);
                    }
                    let before = moved.map(|port| (port, self.network.network_of(port)));
                    let applied = self.network.apply(Instant::now(), change);
                    if let Some((port, network)) = before
                        && self.network.network_of(port) != network
                    {
                        self.leave(port, network);
                    }
                    let addresses = moved.and_then(|port| self.network.addresses(port));
                    // Read again: no packet passes after the instant that is told.
                    let _ = reply.send(applied.map(|()| Applied { at: Instant::now(), addresses }));
                }
                Ok(Command::SetTimeZero { zero, reply }) => {
                    self.network.set_time_zero(Instant::now(), zero);
                    self.heartbeat.begin(zero);
                    self.sample_at = Some(zero);
                    let _ = reply.send(());
                }
                Ok(Command::Stop) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }
}

/// Why a packet that a port has just sent was dropped on its own link, in the words of the record; whatever else is due
/// at that very nanosecond has other causes.
fn dropped_at_once(output: &Output, sender: PortId, sent: Instant) -> Option<&'static str> {
    match output {
        Output::Event { at, event: NetworkEvent::Dropped { port: Some(port), cause, .. } }
            if *port == sender && *at == sent =>
        {
            use DropCause::{InterfaceDown, Lost, Malformed, QueueFull, Silenced, SourceSpoofed, TooBig};
            let own = [QueueFull, Lost, TooBig, InterfaceDown, Silenced, SourceSpoofed, Malformed];
            own.contains(cause).then(|| word(*cause))
        }
        _ => None,
    }
}

/// As the record has it.
fn word(cause: DropCause) -> &'static str {
    match cause {
        DropCause::QueueFull => "queue-full",
        DropCause::CoDel => "codel",
        DropCause::Lost => "loss",
        DropCause::TooBig => "too-big",
        DropCause::InterfaceDown => "interface-down",
        DropCause::Silenced => "silenced",
        DropCause::NatNoMapping => "nat-no-mapping",
        DropCause::NatFiltered => "nat-filtered",
        DropCause::NatHairpin => "nat-hairpin",
        DropCause::NatExhausted => "nat-exhausted",
        DropCause::Firewall => "firewall",
        DropCause::CarrierUdpP2p => "carrier-udp-p2p",
        DropCause::CarrierUdp => "carrier-udp",
        DropCause::CarrierStunPort => "carrier-stun-port",
        DropCause::CarrierStunCookie => "carrier-stun-cookie",
        DropCause::CarrierStunSignature => "carrier-stun-signature",
        DropCause::SourceSpoofed => "source-spoofed",
        DropCause::Malformed => "malformed",
        DropCause::UnsupportedProtocol => "unsupported-protocol",
        DropCause::HopLimit => "hop-limit",
        DropCause::NoRoute | DropCause::Multicast => "no-route",
    }
}

fn not_captured(_: Closed) -> DatapathError {
    DatapathError::Capture
}

/// Memory for packets.
struct Memory {
    /// The largest packet of any interface, in bytes; a larger one, which there cannot be, would be cut.
    mtu: usize,
    /// What the next packet is read into.
    next: Vec<u8>,
    /// Of packets that were handed over.
    spare: Vec<Vec<u8>>,
}

impl Memory {
    fn new(mtu: u16) -> Self {
        let mtu = usize::from(mtu);
        Self { mtu, next: vec![0; mtu], spare: Vec::new() }
    }

    fn read(&mut self, tun: &Tun) -> io::Result<Vec<u8>> {
        let length = tun.read(&mut self.next)?;
        if length < LARGE {
            return Ok(self.next.get(..length).unwrap_or_default().to_vec());
        }
        let mut next = self.spare.pop().unwrap_or_default();
        next.resize(self.mtu, 0);
        let mut packet = std::mem::replace(&mut self.next, next);
        packet.truncate(length);
        Ok(packet)
    }

    fn give_back(&mut self, packet: Vec<u8>) {
        if packet.capacity() >= self.mtu && self.spare.len() < SPARE {
            self.spare.push(packet);
        }
    }
}

struct Ready {
    command: bool,
    ports: Vec<usize>,
    /// This thread could have taken packets from then on.
    since: Instant,
}

/// Makes this thread wake up on time: before all ordinary threads where that is allowed (root, or RLIMIT_RTPRIO), and
/// without the 50 us by which timers may otherwise be late. Tells whether it was allowed.
pub(crate) fn become_punctual() -> bool {
    // Above ordinary threads, below the kernel's interrupt threads (50).
    const PRIORITY: libc::c_int = 10;
    const SLACK_NS: libc::c_ulong = 1;
    let _ = set_timerslack(SLACK_NS);
    let parameter = libc::sched_param { sched_priority: PRIORITY };
    // SAFETY: reads one `sched_param`, which lives until the call returns; 0 is the calling thread.
    unsafe {
        libc::sched_setscheduler(0, libc::SCHED_FIFO | libc::SCHED_RESET_ON_FORK, &raw const parameter) == 0
    }
}
