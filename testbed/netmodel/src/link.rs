//! One direction of one interface's link: rate and drop-tail queue first, then delay and jitter.
//!
//! Leaves out loss, reordering and rates that vary.

use crate::{ByteSize, DropCause, LinkSpec};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

/// Keeps the model's memory bounded: at 20 ms and 1200 bytes this is beyond 15 Gbit/s.
pub(crate) const IN_FLIGHT_LIMIT: usize = 32_768;

/// ChaCha words that one packet may draw.
const WORDS_PER_PACKET: u128 = 2;

#[derive(Debug)]
pub(crate) struct Link {
    spec: LinkSpec,
    draws: ChaCha8Rng,
    /// Packets offered so far: the number of the next one, which decides its draw.
    offered: u64,
    /// Departure and size of what still waits for the rate or is being sent.
    queue: VecDeque<(Instant, u64)>,
    queued: ByteSize,
    last_departure: Option<Instant>,
    last_arrival: Option<Instant>,
    in_flight: usize,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    pub(crate) dropped: BTreeMap<DropCause, u64>,
}

impl Link {
    /// `number` tells this link and direction from all others.
    pub(crate) fn new(spec: LinkSpec, seed: u64, number: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        draws.set_stream(number);
        Self {
            spec,
            draws,
            offered: 0,
            queue: VecDeque::new(),
            queued: ByteSize(0),
            last_departure: None,
            last_arrival: None,
            in_flight: 0,
            packets: 0,
            bytes: 0,
            dropped: BTreeMap::new(),
        }
    }

    /// Takes a packet and says when it arrives at the other end.
    pub(crate) fn send(&mut self, now: Instant, bytes: usize) -> Result<Instant, DropCause> {
        let jitter = self.draw_jitter();
        if self.in_flight >= IN_FLIGHT_LIMIT {
            return Err(DropCause::QueueFull);
        }
        let departure = self.departure(now, bytes)?;
        let arrival = departure + self.spec.delay + jitter;
        // The order is kept: a packet never overtakes the one before it.
        let arrival = self.last_arrival.map_or(arrival, |last| last.max(arrival));
        self.last_arrival = Some(arrival);
        self.in_flight += 1;
        Ok(arrival)
    }

    /// A packet has come to the other end.
    pub(crate) fn arrived(&mut self, bytes: usize) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.packets += 1;
        self.bytes += bytes as u64;
    }

    /// Everything on the link has vanished; what comes next finds it idle.
    pub(crate) fn reset(&mut self) {
        self.queue.clear();
        self.queued = ByteSize(0);
        self.last_departure = None;
        self.last_arrival = None;
        self.in_flight = 0;
    }

    pub(crate) fn count_drop(&mut self, cause: DropCause) {
        *self.dropped.entry(cause).or_default() += 1;
    }

    /// When the last bit has left, by the rate alone and not by when anybody woke up.
    fn departure(&mut self, now: Instant, bytes: usize) -> Result<Instant, DropCause> {
        let Some(rate) = self.spec.rate else { return Ok(now) };
        self.forget_departed(now);
        let size = bytes as u64;
        if self.queued.0 + size > self.spec.queue.0 {
            return Err(DropCause::QueueFull);
        }
        let free = self.last_departure.map_or(now, |last| last.max(now));
        let departure = free + rate.time_for(bytes);
        self.queue.push_back((departure, size));
        self.queued.0 += size;
        self.last_departure = Some(departure);
        Ok(departure)
    }

    fn forget_departed(&mut self, now: Instant) {
        while let Some(&(departure, size)) = self.queue.front()
            && departure <= now
        {
            self.queue.pop_front();
            self.queued.0 -= size;
        }
    }

    /// Drawn by the packet's number, so that no other packet and no other link has a part in it.
    fn draw_jitter(&mut self) -> Duration {
        let number = u128::from(self.offered);
        self.offered += 1;
        if self.spec.jitter.is_zero() {
            return Duration::ZERO;
        }
        self.draws.set_word_pos(number * WORDS_PER_PACKET);
        let draw = u128::from(self.draws.next_u64());
        let span = self.spec.jitter.as_nanos() + 1;
        // The product is below 2^64 * span: its upper half is uniform in 0..span.
        Duration::from_nanos(((draw * span) >> 64) as u64)
    }
}
