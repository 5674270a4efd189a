//! The recorder: every event of every process and of the network model, appended to `events.jsonl` as it comes.
//!
//! Lossless or loud: a line that is no event, an event in another's name, a file that cannot be written and an event
//! channel that breaks each fail the run. One thread owns the file; one reads each child's descriptor; one passes on
//! what the network model tells. Before time zero is known events are kept, since their time is.

use super::{clock::nanoseconds_since, servers::Listens};
use crate::scenario::record_name::TESTBED;
use lab::{LabEvent, LinkSample};
use netmodel::{INTERNET, LinkState, NetworkEvent, NetworkId, Owner, Plan, SERVER_INTERFACE};
use nix::poll::{PollFd, PollFlags, poll};
use record::{Event, EventKind, MappedProtocol, WriteError, Writer};
use std::{
    fs::File,
    io::{self, BufRead, BufReader, PipeWriter, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    sync::mpsc::{Receiver, Sender},
    thread::{self, JoinHandle},
    time::Instant,
};
use thiserror::Error;

/// Something for the record.
#[derive(Debug)]
pub(crate) enum Note {
    /// A child wrote a line.
    Line { host: String, at: Instant, line: Vec<u8> },
    /// A child that cannot say so itself listens.
    Listens { host: String, at: Instant, version: String, pid: u32 },
    /// A child's descriptor came to its end, or broke.
    Closed { host: String, error: Option<io::Error> },
    /// The network model told something.
    Lab(Instant, LabEvent),
    /// We did something ourselves.
    Own(Instant, EventKind),
    /// Time zero is known.
    Zero(Instant),
}

/// Something for the one who runs things.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A child waits for `start`.
    Ready { host: String },
    /// A child will write nothing more.
    Closed { host: String },
    /// The record is not complete, and never will be.
    Failed(String),
}

/// Where notices go. Each rings a bell, because a channel alone cannot be waited for together with signals.
#[derive(Debug)]
pub(crate) struct Notices {
    pub(crate) sender: Sender<Notice>,
    pub(crate) bell: PipeWriter,
}

/// Why the record is not complete.
#[derive(Debug, Error)]
enum CollectError {
    #[error("record: {0}")]
    Write(#[from] WriteError),
    #[error("record: {host} wrote what is no event of this version: {why}: {line}")]
    Line { host: String, why: String, line: String },
    #[error("record: {host} wrote an event of {claimed}")]
    Host { host: String, claimed: String },
    #[error("record: the events of {host} cannot be read: {error}")]
    Broken { host: String, error: io::Error },
}

/// Starts the thread that owns the file. It ends when every sender of notes is gone, and hands back how many events it
/// wrote.
pub(crate) fn start(
    writer: Writer,
    plan: Plan,
    notes: Receiver<Note>,
    notices: Notices,
) -> io::Result<JoinHandle<u64>> {
    let mut collector = Collector { writer, plan, notices, zero: None, kept: Vec::new() };
    thread::Builder::new().name("recorder".into()).spawn(move || collector.run(notes))
}

/// Starts the thread that reads what one child writes.
pub(crate) fn read_child(host: &str, events: OwnedFd, notes: Sender<Note>) -> io::Result<JoinHandle<()>> {
    let host = host.to_owned();
    thread::Builder::new().name("child-events".into()).spawn(move || {
        let error = pass_on_lines(&host, events, &notes).err();
        // The recorder outlives its senders; should it be gone, the run has failed already.
        let _ = notes.send(Note::Closed { host, error });
    })
}

/// What is waited for at a child that writes no events.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) pid: u32,
    pub(crate) listens: Listens,
    pub(crate) version: String,
}

/// Starts the thread that tells when such a child listens, and when it has ended; `alive` ends with it.
pub(crate) fn watch_child(
    host: &str,
    alive: OwnedFd,
    watched: Watched,
    notes: Sender<Note>,
) -> io::Result<JoinHandle<()>> {
    let host = host.to_owned();
    thread::Builder::new().name("child-watch".into()).spawn(move || {
        let error = watch(&host, alive, watched, &notes).err();
        // See above.
        let _ = notes.send(Note::Closed { host, error });
    })
}

fn watch(host: &str, alive: OwnedFd, watched: Watched, notes: &Sender<Note>) -> io::Result<()> {
    /// In milliseconds.
    const LOOK_EVERY: u16 = 10;
    let Watched { pid, listens, version } = watched;
    let mut alive = File::from(alive);
    while poll(&mut [PollFd::new(alive.as_fd(), PollFlags::POLLIN)], LOOK_EVERY)? == 0 {
        if listens.is_met_by(pid) {
            let note = Note::Listens { host: host.to_owned(), at: Instant::now(), version, pid };
            let _ = notes.send(note);
            break;
        }
    }
    // Nobody writes to it.
    io::copy(&mut alive, &mut io::sink()).map(drop)
}

fn pass_on_lines(host: &str, events: OwnedFd, notes: &Sender<Note>) -> io::Result<()> {
    let mut reader = BufReader::new(File::from(events));
    loop {
        let mut line = Vec::new();
        if reader.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let note = Note::Line { host: host.to_owned(), at: Instant::now(), line };
        if notes.send(note).is_err() {
            return Ok(());
        }
    }
}

/// Starts the thread that passes on what the network model tells; it ends with the lab.
pub(crate) fn read_lab(
    events: Receiver<(Instant, LabEvent)>,
    notes: Sender<Note>,
) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("model-events".into()).spawn(move || {
        for (at, event) in events {
            if notes.send(Note::Lab(at, event)).is_err() {
                return;
            }
        }
    })
}

struct Collector {
    writer: Writer,
    plan: Plan,
    notices: Notices,
    zero: Option<Instant>,
    /// Events from before time zero was known.
    kept: Vec<(When, String, EventKind)>,
}

/// When an event happened, as far as is known.
#[derive(Debug, Clone, Copy)]
enum When {
    /// Its writer knew time zero.
    SinceZero(i64),
    At(Instant),
}

impl Collector {
    fn run(&mut self, notes: Receiver<Note>) -> u64 {
        let mut complete = true;
        for note in notes {
            // After a failure the rest is read and dropped, so that nobody blocks; the run is invalid anyhow.
            if complete && let Err(error) = self.take(note) {
                complete = false;
                self.notify(Notice::Failed(error.to_string()));
            }
        }
        if complete && let Err(error) = self.release(Instant::now()) {
            self.notify(Notice::Failed(error.to_string()));
        }
        self.writer.written()
    }

    fn take(&mut self, note: Note) -> Result<(), CollectError> {
        match note {
            Note::Line { host, at, line } => self.take_line(&host, at, &line),
            Note::Listens { host, at, version, pid } => {
                self.write(When::At(at), host.clone(), EventKind::Ready { version, pid })?;
                self.notify(Notice::Ready { host });
                Ok(())
            }
            Note::Closed { host, error: Some(error) } => Err(CollectError::Broken { host, error }),
            Note::Closed { host, error: None } => {
                self.notify(Notice::Closed { host });
                Ok(())
            }
            Note::Lab(at, event) => self.take_lab(at, event),
            Note::Own(at, event) => self.write(When::At(at), TESTBED.to_owned(), event),
            Note::Zero(zero) => self.release(zero),
        }
    }

    fn take_line(&mut self, host: &str, at: Instant, line: &[u8]) -> Result<(), CollectError> {
        let text = String::from_utf8_lossy(line);
        let event = record::parse_line(text.trim_end()).map_err(|error| CollectError::Line {
            host: host.to_owned(),
            why: error.to_string(),
            line: text.trim_end().chars().take(120).collect(),
        })?;
        if event.host != host {
            return Err(CollectError::Host { host: host.to_owned(), claimed: event.host });
        }
        // `ready` is written before its writer knows time zero: when it came is the better time.
        let when = match event.what {
            EventKind::Ready { .. } => When::At(at),
            _ => When::SinceZero(event.t_ns),
        };
        let ready = matches!(event.what, EventKind::Ready { .. });
        self.write(when, event.host, event.what)?;
        if ready {
            self.notify(Notice::Ready { host: host.to_owned() });
        }
        Ok(())
    }

    fn take_lab(&mut self, at: Instant, event: LabEvent) -> Result<(), CollectError> {
        let ours = |event| (When::At(at), TESTBED.to_owned(), event);
        let events = match (event, self.zero) {
            (LabEvent::Network(event), _) => vec![from_network(&self.plan, event)],
            (LabEvent::Links(samples), _) => {
                samples.into_iter().filter_map(|sample| from_sample(&self.plan, sample)).collect()
            }
            (LabEvent::Stalled { since }, Some(zero)) => vec![EventKind::Stall {
                process: TESTBED.to_owned(),
                from_ns: nanoseconds_since(zero, since),
                to_ns: nanoseconds_since(zero, at),
            }],
            // Before time zero nothing is measured.
            (LabEvent::Stalled { .. }, None) => Vec::new(),
        };
        events.into_iter().map(ours).try_for_each(|(when, host, what)| self.write(when, host, what))
    }

    fn release(&mut self, zero: Instant) -> Result<(), CollectError> {
        self.zero.get_or_insert(zero);
        for (when, host, what) in std::mem::take(&mut self.kept) {
            self.write(when, host, what)?;
        }
        Ok(())
    }

    fn write(&mut self, when: When, host: String, what: EventKind) -> Result<(), CollectError> {
        let t_ns = match (when, self.zero) {
            (When::SinceZero(t_ns), Some(_)) => t_ns,
            (When::At(at), Some(zero)) => nanoseconds_since(zero, at),
            (_, None) => {
                self.kept.push((when, host, what));
                return Ok(());
            }
        };
        Ok(self.writer.append(&Event { t_ns, host, what })?)
    }

    /// Nobody listens any more only when the run is over.
    fn notify(&mut self, notice: Notice) {
        let _ = self.notices.sender.send(notice);
        let _ = self.notices.bell.write_all(&[0]);
    }
}

/// The network model's words in those of the record: the one place where they meet.
fn from_network(plan: &Plan, event: NetworkEvent) -> EventKind {
    match event {
        NetworkEvent::Dropped { port, network, direction, cause, source, destination, bytes, number: _ } => {
            let owner = port.and_then(|id| plan.port(id));
            let (traffic_host, traffic_interface) = owner.map(|port| owner_names(&port.owner)).unzip();
            EventKind::PacketDropped {
                network,
                traffic_host,
                traffic_interface,
                direction: self::direction(direction),
                cause: drop_cause(cause),
                source,
                destination,
                bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            }
        }
        NetworkEvent::Mapping { network, protocol, inside, outside, created } => {
            let protocol = Some(match protocol {
                netmodel::Protocol::Udp => MappedProtocol::Udp,
                netmodel::Protocol::Tcp => MappedProtocol::Tcp,
                netmodel::Protocol::Echo => MappedProtocol::Echo,
            });
            EventKind::Mapping { network, protocol, inside, outside, created }
        }
    }
}

/// None for a port that the plan does not know, which there is not.
fn from_sample(plan: &Plan, sample: LinkSample) -> Option<EventKind> {
    let LinkState { port, network, direction, bytes, queue_bytes, drops } = sample.state;
    let (host, interface) = owner_names(&plan.port(port)?.owner);
    let network = match network {
        Some(NetworkId(index)) => plan.topology().networks.get(usize::from(index))?.name.clone(),
        None => INTERNET.to_owned(),
    };
    Some(EventKind::LinkSample {
        network,
        interface: format!("{host}.{interface}"),
        direction: self::direction(direction),
        bytes,
        queue_bytes,
        drops,
        late_ns: u64::try_from(sample.late.as_nanos()).unwrap_or(u64::MAX),
    })
}

/// Host and interface, or server and its only interface.
pub(crate) fn owner_names(owner: &Owner) -> (String, String) {
    match owner {
        Owner::Host { host, interface } => (host.clone(), interface.clone()),
        Owner::Server { name } => (name.clone(), SERVER_INTERFACE.to_owned()),
    }
}

pub(crate) fn direction(direction: netmodel::Direction) -> record::Direction {
    match direction {
        netmodel::Direction::Up => record::Direction::Up,
        netmodel::Direction::Down => record::Direction::Down,
    }
}

pub(crate) fn drop_cause(cause: netmodel::DropCause) -> record::DropCause {
    use netmodel::DropCause as Model;
    use record::DropCause as Recorded;
    match cause {
        Model::QueueFull => Recorded::QueueFull,
        Model::CoDel => Recorded::Codel,
        Model::Lost => Recorded::Loss,
        Model::TooBig => Recorded::TooBig,
        Model::InterfaceDown => Recorded::InterfaceDown,
        Model::Silenced => Recorded::Silenced,
        Model::NatNoMapping => Recorded::NatNoMapping,
        Model::NatFiltered => Recorded::NatFiltered,
        Model::NatHairpin => Recorded::NatHairpin,
        Model::NatExhausted => Recorded::NatExhausted,
        Model::Firewall => Recorded::Firewall,
        Model::CarrierUdpP2p => Recorded::CarrierUdpP2p,
        Model::CarrierUdp => Recorded::CarrierUdp,
        Model::CarrierStunPort => Recorded::CarrierStunPort,
        Model::CarrierStunCookie => Recorded::CarrierStunCookie,
        Model::CarrierStunSignature => Recorded::CarrierStunSignature,
        Model::SourceSpoofed => Recorded::SourceSpoofed,
        Model::Malformed => Recorded::Malformed,
        Model::UnsupportedProtocol => Recorded::UnsupportedProtocol,
        Model::HopLimit => Recorded::HopLimit,
        // Groups are nowhere in the model: for the record they have no route.
        Model::NoRoute | Model::Multicast => Recorded::NoRoute,
    }
}
