//! The bulk workload: one object from one end to the other, resumed at once on whatever path is left.

use super::{Connection, Peer, connection::PROTOCOL_ERROR};
use crate::{
    BulkDirection, BulkFigures, BulkSpec, Event, Side,
    engine::{Engine, Stream},
    object::{Ask, Message, Receiver, Sender, Streams, Violation},
};
use rand::RngExt as _;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// The first and only object of a connection.
const OBJECT: u32 = 0;
/// An unanswered request is repeated this often.
const REPEAT_ASK: Duration = Duration::from_millis(100);
const SENT_INTERVAL: Duration = Duration::from_millis(100);
/// How long the ends may take to agree on what arrived once either wants to end, and then one to tell the other.
pub(super) const FAREWELL: Duration = Duration::from_secs(1);
/// A path of which the engine tells nothing yet: the initial window of RFC 9002 section 7.2.
const INITIAL_WINDOW: u64 = 12_000;

/// The object and how far it is.
#[derive(Debug)]
pub(super) struct Bulk {
    seed: u64,
    spec: BulkSpec,
    transfer: Transfer,
    /// When the client asks, until the server was heard of it.
    next_ask: Option<Instant>,
    /// The paths that may carry some of it, and how much was sent when each was last active.
    carriers: BTreeMap<u64, u64>,
    next_told_sent: Option<Instant>,
    told_sent: Counts,
    ended: bool,
}

/// What a sender counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Counts {
    sent: u64,
    resent: u64,
    acknowledged: u64,
}

impl Counts {
    fn of(sender: &Sender) -> Self {
        let acknowledged = sender.figures().map_or(0, |figures| figures.bytes);
        Self { sent: sender.sent(), resent: sender.resent(), acknowledged }
    }
}

#[derive(Debug)]
enum Transfer {
    Sending(Sender),
    Receiving(Receiver),
}

impl Peer {
    /// The connection is open: the object begins, or goes on where it was.
    pub(super) fn begin_bulk(&mut self, now: Instant) {
        if let Some(bulk) = &mut self.bulk {
            bulk.reconnected(now);
        } else if let (Side::Client, Some(spec)) = (self.side, self.config.bulk) {
            let seed = self.rng.random();
            self.new_bulk(now, seed, spec);
        }
        if let (Side::Client, Some(bulk)) = (self.side, &mut self.bulk) {
            bulk.next_ask = Some(now);
        }
    }

    fn new_bulk(&mut self, now: Instant, seed: u64, spec: BulkSpec) {
        let sending = (self.side == Side::Client) == (spec.direction == BulkDirection::Up);
        let transfer = if sending {
            Transfer::Sending(Sender::new(OBJECT, seed, spec.bytes))
        } else {
            Transfer::Receiving(Receiver::new(OBJECT, spec.bytes, now))
        };
        self.bulk = Some(Bulk {
            seed,
            spec,
            transfer,
            next_ask: None,
            carriers: BTreeMap::new(),
            next_told_sent: Some(now),
            told_sent: Counts::default(),
            ended: false,
        });
        let BulkSpec { direction, bytes } = spec;
        self.event(Event::BulkBegins { object: OBJECT, direction, bytes, sending });
    }

    /// Records the object of a client that ends in order before the object began: it lacks every byte.
    pub(super) fn admit_unbegun_bulk(&mut self, now: Instant) {
        let is_due = self.side == Side::Client && self.opened.is_some() && self.bulk.is_none();
        if let Some(spec) = self.config.bulk.filter(|_| is_due) {
            let seed = self.rng.random();
            self.new_bulk(now, seed, spec);
        }
    }

    /// A datagram that may be about an object.
    pub(super) fn on_bulk_datagram(&mut self, now: Instant, datagram: &[u8]) {
        match Message::from_bytes(datagram) {
            Some(Message::Ask(ask)) => self.on_ask(now, ask),
            Some(message) => {
                let result = self.on_bulk_message(now, &message);
                self.check_violation(now, result);
            }
            None => {}
        }
    }

    fn on_ask(&mut self, now: Instant, ask: Ask) {
        let is_known = self.bulk.as_ref().is_some_and(|bulk| bulk.seed == ask.seed);
        if self.side == Side::Client || is_known {
            return;
        }
        self.end_bulk(now, "replaced");
        let direction = if ask.up { BulkDirection::Up } else { BulkDirection::Down };
        self.new_bulk(now, ask.seed, BulkSpec { direction, bytes: ask.bytes });
    }

    fn on_bulk_message(&mut self, now: Instant, message: &Message) -> Result<(), Violation> {
        let Some(bulk) = &mut self.bulk else { return Ok(()) };
        match (message, &mut bulk.transfer) {
            (Message::Having(having), Transfer::Sending(sender)) => {
                bulk.next_ask = None;
                if let Some(resent) = sender.on_having(now, having)? {
                    self.event(Event::BulkResent { object: OBJECT, bytes: resent.bytes, why: resent.why });
                }
            }
            (Message::Sending(sending), Transfer::Receiving(receiver)) => {
                bulk.next_ask = None;
                receiver.on_sending(now, sending)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Content behind the first byte of a chunk's stream.
    pub(super) fn on_chunk(&mut self, now: Instant, stream: Stream, bytes: &[u8], fin: bool) {
        let open = self.is_open();
        let Some(Bulk { transfer: Transfer::Receiving(receiver), next_ask, .. }) = &mut self.bulk else {
            return;
        };
        if !open {
            return;
        }
        *next_ask = None;
        let result = receiver.on_chunk(now, stream, bytes);
        if fin {
            receiver.on_chunk_over(stream);
        }
        self.check_violation(now, result);
    }

    pub(super) fn on_chunk_reset(&mut self, stream: Stream) {
        if let Some(Bulk { transfer: Transfer::Receiving(receiver), .. }) = &mut self.bulk {
            receiver.on_chunk_over(stream);
        }
    }

    fn check_violation(&mut self, now: Instant, result: Result<(), Violation>) {
        if let Err(violation) = result {
            self.close(now, PROTOCOL_ERROR, "bulk protocol violated");
            self.end(now, format!("the other peer broke the bulk protocol: {violation}"));
        }
    }

    /// Supplies the active path and tells the other end where we stand.
    pub(super) fn drive_bulk(&mut self, now: Instant) {
        let Some(active) = self.bulk_path() else { return };
        let figures = self.engine.figures(active.1);
        let window = figures.map_or(INITIAL_WINDOW, |figures| figures.congestion_window);
        self.watch_carriers(now, active.0);
        let Some(bulk) = &mut self.bulk else { return };
        if let Transfer::Sending(sender) = &mut bulk.transfer {
            sender.fill(now, &mut EngineStreams(&mut *self.engine), window);
        }
        if bulk.next_ask.is_some_and(|at| at <= now) {
            bulk.next_ask = Some(now + REPEAT_ASK);
            let (up, bytes) = (bulk.spec.direction == BulkDirection::Up, bulk.spec.bytes);
            let ask = Ask { object: OBJECT, seed: bulk.seed, up, bytes };
            self.engine.send_datagram(now, Message::Ask(ask).to_bytes());
        }
        while let Some(message) = bulk.transfer.poll_message(now) {
            self.engine.send_datagram(now, message.to_bytes());
        }
        self.tell_bulk(now, false);
        self.conclude_bulk(now);
    }

    /// The active path, by our number and the engine's, when an object may travel on it.
    fn bulk_path(&self) -> Option<(u64, crate::engine::EnginePath)> {
        let open = matches!(self.connection, Connection::Open { .. }) && self.bulk.is_some();
        self.paths.active().filter(|_| open).map(|path| (path.number, path.engine))
    }

    /// Notices that a path is gone that may have carried some of the object.
    fn watch_carriers(&mut self, now: Instant, active: u64) {
        let moves_streams = self.engine.capabilities().multipath;
        let living: Vec<u64> =
            self.paths.living().filter(|path| !path.abandoned).map(|path| path.number).collect();
        let Some(bulk) = &mut self.bulk else { return };
        let sent = match &bulk.transfer {
            Transfer::Sending(sender) => {
                bulk.carriers.retain(|path, sent| *path == active || !sender.is_acknowledged(*sent));
                sender.sent()
            }
            Transfer::Receiving(_) => 0,
        };
        let lost = bulk.carriers.keys().find(|path| !living.contains(path)).copied();
        // An engine with one path at a time forgets what is in flight when it migrates.
        let left = bulk.carriers.keys().find(|path| !moves_streams && **path != active).copied();
        if let Some(path) = lost.or(left) {
            bulk.carriers.clear();
            let fate = if lost.is_some() { "lost" } else { "left" };
            match &mut bulk.transfer {
                Transfer::Sending(sender) => sender.path_lost(format!("path {path} was {fate}")),
                Transfer::Receiving(receiver) => receiver.tell_at_once(now),
            }
        }
        bulk.carriers.insert(active, sent);
    }

    fn tell_bulk(&mut self, now: Instant, at_the_end: bool) {
        let started = self.started.unwrap_or(now);
        let Some(bulk) = &mut self.bulk else { return };
        let event = match &mut bulk.transfer {
            Transfer::Sending(sender) => {
                let counts = Counts::of(sender);
                let due = bulk.next_told_sent.is_some_and(|at| at <= now) || at_the_end;
                if bulk.ended || !due || counts == bulk.told_sent {
                    return;
                }
                bulk.told_sent = counts;
                bulk.next_told_sent = Some(now + SENT_INTERVAL);
                let Counts { sent, resent, acknowledged } = counts;
                Event::BulkSent { object: OBJECT, bytes: sent, resent, acknowledged }
            }
            Transfer::Receiving(receiver) => {
                let Some(newest) = receiver.poll_arrival(now, at_the_end) else { return };
                let newest = newest.saturating_duration_since(started);
                let (bytes, duplicate) = (receiver.bytes(), receiver.duplicate());
                Event::BulkArrived { object: OBJECT, bytes, duplicate, newest }
            }
        };
        self.event(event);
    }

    fn conclude_bulk(&mut self, now: Instant) {
        let Some(bulk) = &self.bulk else { return };
        if let Some(ok) = bulk.transfer.verdict().filter(|_| !bulk.ended) {
            let cut_short = bulk.spec.bytes.is_some_and(|size| bulk.transfer.bytes() < size);
            let why = match ok {
                false => "digest-differs",
                true if cut_short => "stopped",
                true => "complete",
            };
            self.end_bulk(now, why);
        }
        // A client whose only workload it was hangs up.
        let only_workload = self.side == Side::Client && self.call.is_none();
        if self.is_bulk_settled() && (only_workload || self.farewell.is_some()) {
            self.stop_at_once(now);
        }
    }

    /// Both ends know what became of it.
    fn is_bulk_settled(&self) -> bool {
        self.bulk.as_ref().is_some_and(|bulk| match &bulk.transfer {
            // Its word of having heard is on its way, or goes with the end of the connection.
            Transfer::Sending(sender) => sender.verdict().is_some() && sender.deadline().is_none(),
            Transfer::Receiving(receiver) => receiver.is_heard(),
        })
    }

    /// The workload is to end now; true when an object has to be agreed upon first.
    pub(super) fn part_from_bulk(&mut self, now: Instant) -> bool {
        let settled = self.bulk_path().is_none() || self.is_bulk_settled();
        if settled || self.farewell.is_some() {
            return false;
        }
        self.farewell = Some(now + FAREWELL);
        let Some(bulk) = &mut self.bulk else { return false };
        match &mut bulk.transfer {
            Transfer::Sending(sender) if sender.verdict().is_none() => sender.finish(now),
            Transfer::Receiving(receiver) if receiver.verdict().is_none() => receiver.finish(now),
            _ => {}
        }
        true
    }

    /// It is over at this end.
    pub(super) fn end_bulk(&mut self, now: Instant, why: &str) {
        if self.bulk.as_ref().is_none_or(|bulk| bulk.ended) {
            return;
        }
        self.tell_bulk(now, true);
        let Some(bulk) = &mut self.bulk else { return };
        bulk.ended = true;
        let (bytes, sha256) = (bulk.transfer.bytes(), bulk.transfer.sha256());
        let sha256 = sha256.iter().map(|byte| format!("{byte:02x}")).collect();
        let (receiver, sha256_ok) = (bulk.transfer.figures(now), bulk.transfer.verdict());
        let why = why.to_owned();
        self.event(Event::BulkEnded { object: OBJECT, bytes, sha256, receiver, sha256_ok, why });
    }

    pub(super) fn bulk_deadline(&self) -> Option<Instant> {
        self.bulk_path()?;
        let bulk = self.bulk.as_ref()?;
        let sent = match &bulk.transfer {
            Transfer::Sending(sender) if Counts::of(sender) != bulk.told_sent && !bulk.ended => {
                bulk.next_told_sent
            }
            _ => None,
        };
        [bulk.next_ask, bulk.transfer.deadline(), sent].into_iter().flatten().min()
    }
}

impl Bulk {
    fn reconnected(&mut self, now: Instant) {
        self.carriers.clear();
        match &mut self.transfer {
            Transfer::Sending(sender) => sender.reconnected(),
            Transfer::Receiving(receiver) => receiver.reconnected(now),
        }
    }
}

impl Transfer {
    fn verdict(&self) -> Option<bool> {
        match self {
            Transfer::Sending(sender) => sender.verdict(),
            Transfer::Receiving(receiver) => receiver.verdict(),
        }
    }

    fn bytes(&self) -> u64 {
        match self {
            Transfer::Sending(sender) => sender.sent(),
            Transfer::Receiving(receiver) => receiver.bytes(),
        }
    }

    fn figures(&self, now: Instant) -> Option<BulkFigures> {
        match self {
            Transfer::Sending(sender) => sender.figures(),
            Transfer::Receiving(receiver) => Some(receiver.final_figures(now)),
        }
    }

    fn sha256(&self) -> [u8; 32] {
        match self {
            Transfer::Sending(sender) => sender.sha256(),
            Transfer::Receiving(receiver) => receiver.sha256(),
        }
    }

    fn poll_message(&mut self, now: Instant) -> Option<Message> {
        match self {
            Transfer::Sending(sender) => sender.poll_message(now),
            Transfer::Receiving(receiver) => receiver.poll_message(now),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Transfer::Sending(sender) => sender.deadline(),
            Transfer::Receiving(receiver) => receiver.deadline(),
        }
    }
}

struct EngineStreams<'engine>(&'engine mut dyn Engine);

impl Streams for EngineStreams<'_> {
    fn open(&mut self) -> Option<Stream> {
        self.0.open_stream()
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        self.0.write(stream, bytes)
    }

    fn finish(&mut self, stream: Stream) {
        self.0.finish(stream);
    }

    fn reset(&mut self, stream: Stream) {
        self.0.reset(stream);
    }
}
