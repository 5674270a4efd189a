//! One direction of one interface's link: the queue and its pace first, then delay, jitter and reordering.
//!
//! A link is a small machine with its own next deadline. Everything happens at its theoretical time, so that a driver
//! that wakes up late delays one packet and never the next. Leaves out the MTU, which the network looks after.

mod codel;
mod draws;
mod pace;

pub(crate) use draws::Fate;

use crate::{DropCause, LinkSpec, QueueDiscipline, packet::Packet};
use codel::{CoDel, Queue as _};
use draws::{Jitter, Source};
use pace::Pace;
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Keeps the model's memory bounded: at 20 ms and 1200 bytes this is beyond 15 Gbit/s.
pub(crate) const IN_FLIGHT_LIMIT: usize = 32_768;

#[derive(Debug)]
pub(crate) struct Link {
    spec: LinkSpec,
    source: Source,
    pace: Pace,
    queue: Backlog,
    codel: CoDel,
    server: Server,
    /// By due time, then by number.
    flight: VecDeque<Flying>,
    /// Of those that keep the order.
    last_arrival: Option<Instant>,
    pub(crate) tally: Tally,
}

/// What a link did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) duplicated: u64,
    pub(crate) dropped: BTreeMap<DropCause, u64>,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.packets += other.packets;
        self.bytes += other.bytes;
        self.duplicated += other.duplicated;
        for (cause, count) in other.dropped {
            *self.dropped.entry(cause).or_default() += count;
        }
    }
}

/// When something happens on a link, and the number of the packet to which it does. Of two things at one time, that of
/// the lower number comes first.
pub(crate) type Due = (Instant, u64);

/// A packet on its way onto the link.
#[derive(Debug)]
pub(crate) struct Offer {
    pub(crate) number: u64,
    pub(crate) packet: Packet,
    /// It cannot leave before this.
    pub(crate) ready: Instant,
    pub(crate) jitter: Jitter,
    pub(crate) held_back: bool,
}

/// What one step of a link gives.
#[derive(Debug, Default)]
pub(crate) struct Step {
    /// A packet that has come to the other end.
    pub(crate) arrived: Option<Packet>,
    /// What CoDel dropped.
    pub(crate) dropped: Vec<Packet>,
}

/// Packets that wait for the pace, oldest first.
#[derive(Debug, Default)]
struct Backlog {
    waiting: VecDeque<Waiting>,
    bytes: u64,
}

#[derive(Debug)]
struct Waiting {
    number: u64,
    /// When it came, or could first leave.
    since: Instant,
    packet: Packet,
    jitter: Jitter,
    held_back: bool,
}

/// What the pace does.
#[derive(Debug)]
enum Server {
    Idle,
    /// The head of the queue can begin to leave at this time.
    Waiting(Due),
    /// It has left at this time.
    Sending(Instant, Waiting),
}

#[derive(Debug)]
struct Flying {
    departure: Instant,
    due: Instant,
    number: u64,
    packet: Packet,
}

impl Link {
    /// `number` tells this link and direction from all others.
    pub(crate) fn new(spec: LinkSpec, seed: u64, number: u64) -> Self {
        Self {
            spec,
            source: Source::new(seed, number),
            pace: Pace::Unlimited,
            queue: Backlog::default(),
            codel: CoDel::default(),
            server: Server::Idle,
            flight: VecDeque::new(),
            last_arrival: None,
            tally: Tally::default(),
        }
    }

    /// Time begins: draws and a trace's first opportunities count from here. What is on the link stays there.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.source.restart();
        self.codel = CoDel::default();
        self.change_pace(now);
    }

    pub(crate) fn spec(&self) -> &LinkSpec {
        &self.spec
    }

    /// Behaves differently from now on. What has left the queue keeps its time of arrival; what waits meets the new
    /// pace, and so does the rest of what is being sent. A trace begins anew unless it is the one that runs already.
    pub(crate) fn change(&mut self, now: Instant, spec: LinkSpec) {
        if spec.loss != self.spec.loss {
            self.source.restart_loss();
        }
        let old = std::mem::replace(&mut self.spec, spec);
        if old.discipline != self.spec.discipline {
            self.codel = CoDel::default();
        }
        if !self.pace.is(&self.spec) {
            self.change_pace(now);
        }
    }

    fn change_pace(&mut self, now: Instant) {
        let new = Pace::new(&self.spec, now);
        let old = std::mem::replace(&mut self.pace, new);
        match std::mem::replace(&mut self.server, Server::Idle) {
            Server::Sending(until, sending) => {
                let left = old.unsent(now, until, sending.packet.len() as u64);
                let until = self.pace.send(now, now, left);
                self.server = Server::Sending(until, sending);
            }
            // What it waited for may have been the old trace's.
            Server::Waiting((_, number)) => self.server = Server::Waiting((now, number)),
            Server::Idle => {}
        }
    }

    /// What the next packet draws.
    pub(crate) fn fate(&mut self) -> Fate {
        self.source.next(&self.spec)
    }

    /// Takes a packet, or gives it back when there is no room.
    pub(crate) fn offer(&mut self, now: Instant, offer: Offer) -> Result<(), Packet> {
        if self.in_flight() >= IN_FLIGHT_LIMIT || !self.has_room(now, offer.packet.len() as u64) {
            return Err(offer.packet);
        }
        let Offer { number, packet, ready, jitter, held_back } = offer;
        let waiting = Waiting { number, since: ready.max(now), packet, jitter, held_back };
        if matches!(self.pace, Pace::Unlimited) && self.queue.is_empty() {
            self.fly(waiting.since, waiting);
            return Ok(());
        }
        self.queue.push(waiting);
        if matches!(self.server, Server::Idle) {
            self.wait(now);
        }
        Ok(())
    }

    /// What could not leave before `from` can leave at `to`, which is earlier.
    pub(crate) fn release(&mut self, now: Instant, from: Instant, to: Instant) {
        let held = self.queue.waiting.iter_mut().filter(|waiting| waiting.since == from);
        held.for_each(|waiting| waiting.since = to);
        if matches!(self.server, Server::Waiting(_)) {
            self.wait(now);
        }
        let earlier = from.saturating_duration_since(to);
        let before = self.flight.iter().filter(|flying| flying.departure != from).map(|flying| flying.due);
        // What had left before is still not overtaken.
        let floor = before.max().filter(|_| self.spec.order == crate::Order::Kept);
        let sooner = |due: Instant| floor.map_or(due - earlier, |floor| floor.max(due - earlier));
        let mut is_held = false;
        for flying in self.flight.iter_mut().filter(|flying| flying.departure == from) {
            is_held = true;
            (flying.departure, flying.due) = (to, sooner(flying.due));
        }
        if is_held {
            self.last_arrival = self.last_arrival.map(sooner);
            self.flight.make_contiguous().sort_by_key(|flying| (flying.due, flying.number));
        }
    }

    /// When this link does something by itself.
    pub(crate) fn next(&self) -> Option<Due> {
        let server = match &self.server {
            Server::Idle => None,
            Server::Waiting(due) => Some(*due),
            Server::Sending(until, sending) => Some((*until, sending.number)),
        };
        let flight = self.flight.front().map(|flying| (flying.due, flying.number));
        server.into_iter().chain(flight).min()
    }

    /// Does what is due at [`Link::next`].
    pub(crate) fn step(&mut self, now: Instant) -> Step {
        let due = self.next();
        if let Some(flying) = self.flight.front()
            && due == Some((flying.due, flying.number))
        {
            return Step {
                arrived: self.flight.pop_front().map(|flying| flying.packet),
                dropped: Vec::new(),
            };
        }
        if let Server::Sending(until, sending) = std::mem::replace(&mut self.server, Server::Idle) {
            self.fly(until, sending);
        } else {
            let dropped = self.serve(now);
            return Step { arrived: None, dropped };
        }
        self.wait(now);
        Step::default()
    }

    /// A packet has come to the other end.
    pub(crate) fn count_arrival(&mut self, bytes: usize) {
        self.tally.packets += 1;
        self.tally.bytes += bytes as u64;
    }

    pub(crate) fn count_drop(&mut self, cause: DropCause) {
        *self.tally.dropped.entry(cause).or_default() += 1;
    }

    /// Everything on the link vanishes; what comes next finds it idle.
    pub(crate) fn clear(&mut self) -> Vec<Packet> {
        let sending = match std::mem::replace(&mut self.server, Server::Idle) {
            Server::Sending(_, sending) => Some(sending.packet),
            Server::Idle | Server::Waiting(_) => None,
        };
        let queue = std::mem::take(&mut self.queue);
        self.last_arrival = None;
        self.codel = CoDel::default();
        let flying = self.flight.drain(..).map(|flying| flying.packet);
        flying.chain(sending).chain(queue.waiting.into_iter().map(|waiting| waiting.packet)).collect()
    }

    fn in_flight(&self) -> usize {
        self.flight.len() + self.queue.waiting.len()
    }

    /// Bytes that wait for the pace or are being sent.
    pub(crate) fn queued_bytes(&self) -> u64 {
        self.queue.bytes + self.under_way()
    }

    fn has_room(&self, now: Instant, bytes: u64) -> bool {
        if matches!(self.pace, Pace::Unlimited) {
            return true;
        }
        let fits = self.queued_bytes() + bytes <= self.spec.queue.0;
        fits && self.spec.queue_time.is_none_or(|limit| self.forecast(now, bytes) <= limit)
    }

    /// Bytes of the packet that is being sent.
    fn under_way(&self) -> u64 {
        match &self.server {
            Server::Sending(_, sending) => sending.packet.len() as u64,
            Server::Idle | Server::Waiting(_) => 0,
        }
    }

    /// How long a packet that came now would take to leave.
    fn forecast(&self, now: Instant, bytes: u64) -> Duration {
        let busy = match &self.server {
            Server::Sending(until, _) => Some(*until),
            Server::Idle | Server::Waiting(_) => None,
        };
        self.pace.forecast(now, busy, self.queue.bytes + bytes).saturating_duration_since(now)
    }

    /// Sets the time at which the head of the queue can begin to leave.
    fn wait(&mut self, now: Instant) {
        let head = self.queue.waiting.front();
        self.server = head
            .map_or(Server::Idle, |head| Server::Waiting((self.pace.ready(head.since, now), head.number)));
    }

    /// The head of the queue begins to leave, unless CoDel drops it.
    fn serve(&mut self, now: Instant) -> Vec<Packet> {
        let mut dropped = Vec::new();
        // After a change of pace, what was ready need not be so any more.
        if let Some(head) = self.queue.waiting.front()
            && self.pace.ready(head.since, now) > now
        {
            self.wait(now);
            return dropped;
        }
        let next = match self.spec.discipline {
            QueueDiscipline::DropTail => self.queue.pop(),
            QueueDiscipline::CoDel(spec) => {
                self.codel
                    .dequeue(spec, now, &mut self.queue, |waiting: Waiting| dropped.push(waiting.packet))
            }
        };
        self.server = next.map_or(Server::Idle, |sending| {
            let until = self.pace.send(sending.since, now, sending.packet.len() as u64);
            Server::Sending(until, sending)
        });
        dropped
    }

    fn fly(&mut self, departure: Instant, leaving: Waiting) {
        let Waiting { number, packet, jitter, held_back, .. } = leaving;
        let mut due = departure + jitter.around(self.spec.delay);
        match self.spec.reorder.filter(|_| held_back) {
            Some(reorder) => due += reorder.by,
            None if self.spec.order == crate::Order::Kept => {
                // A packet never overtakes the one before it.
                due = self.last_arrival.map_or(due, |last| last.max(due));
                self.last_arrival = Some(due);
            }
            None => {}
        }
        let flying = Flying { departure, due, number, packet };
        let later = |other: &Flying| (other.due, other.number) < (due, number);
        match self.flight.back() {
            Some(last) if !later(last) => {
                let place = self.flight.partition_point(later);
                self.flight.insert(place, flying);
            }
            _ => push(&mut self.flight, flying),
        }
    }
}

impl Backlog {
    fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    fn push(&mut self, waiting: Waiting) {
        self.bytes += waiting.packet.len() as u64;
        push(&mut self.waiting, waiting);
    }
}

/// Grows by a quarter, not to the double: many packets may wait for long.
fn push<T>(queue: &mut VecDeque<T>, last: T) {
    if queue.len() == queue.capacity() {
        queue.reserve_exact(queue.len() / 4 + 8);
    }
    queue.push_back(last);
}

impl codel::Queue for Backlog {
    type Packet = Waiting;

    fn pop(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.bytes -= waiting.packet.len() as u64;
        Some(waiting)
    }

    fn since(waiting: &Waiting) -> Instant {
        waiting.since
    }

    fn bytes(&self) -> u64 {
        self.bytes
    }
}
