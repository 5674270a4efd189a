//! How fast packets leave a queue: at once, at a rate, or when a trace gives an opportunity.

use crate::{BitRate, LinkSpec, Trace};
use std::time::Instant;

#[derive(Debug)]
pub(crate) enum Pace {
    /// Nothing ever waits.
    Unlimited,
    Rate(BitRate),
    Trace(Replay),
}

/// A trace being replayed.
#[derive(Debug)]
pub(crate) struct Replay {
    trace: Trace,
    began: Instant,
    /// The number of the next opportunity that nobody has used.
    next: u64,
    /// What the one before it can still carry.
    left: u64,
}

impl Pace {
    pub(crate) fn new(spec: &LinkSpec, now: Instant) -> Self {
        match (&spec.trace, spec.rate) {
            (Some(trace), _) => Self::Trace(Replay { trace: trace.clone(), began: now, next: 0, left: 0 }),
            (None, Some(rate)) => Self::Rate(rate),
            (None, None) => Self::Unlimited,
        }
    }

    /// When a packet that has waited since a time can begin to leave.
    pub(crate) fn ready(&self, since: Instant, now: Instant) -> Instant {
        match self {
            Self::Unlimited | Self::Rate(_) => now.max(since),
            Self::Trace(replay) => replay.ready(since, now),
        }
    }

    /// Sends so many bytes that have waited since a time, and tells when the last one has left.
    pub(crate) fn send(&mut self, since: Instant, now: Instant, bytes: u64) -> Instant {
        match self {
            Self::Unlimited => now,
            Self::Rate(rate) => now + rate.time_for(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Self::Trace(replay) => replay.send(since, bytes),
        }
    }

    /// When so many bytes have left that wait from now on, behind what is being sent until `busy`.
    pub(crate) fn forecast(&self, now: Instant, busy: Option<Instant>, bytes: u64) -> Instant {
        let free = busy.unwrap_or(now);
        match self {
            Self::Unlimited => now,
            Self::Rate(rate) => free + rate.time_for(usize::try_from(bytes).unwrap_or(usize::MAX)),
            Self::Trace(replay) => replay.clone_position().send(now, bytes),
        }
    }

    /// How much of what ends at a time has not left yet, of a packet of so many bytes.
    pub(crate) fn unsent(&self, now: Instant, until: Instant, bytes: u64) -> u64 {
        match self {
            Self::Unlimited => 0,
            Self::Rate(rate) => rate.bytes_in(until.saturating_duration_since(now)).min(bytes),
            // Which of its bytes earlier opportunities have carried is not kept: it starts over.
            Self::Trace(_) => bytes,
        }
    }

    /// Whether the spec asks for the same pace.
    pub(crate) fn is(&self, spec: &LinkSpec) -> bool {
        match self {
            Self::Unlimited => spec.trace.is_none() && spec.rate.is_none(),
            Self::Rate(rate) => spec.trace.is_none() && spec.rate == Some(*rate),
            Self::Trace(replay) => spec.trace.as_ref() == Some(&replay.trace),
        }
    }
}

impl Replay {
    fn ready(&self, since: Instant, now: Instant) -> Instant {
        let first = self.first_after(since);
        // The opportunity that the packet before has begun goes on, if this one was there already.
        if self.left > 0 && first < self.next { now } else { self.time_of(first.max(self.next)).max(now) }
    }

    fn send(&mut self, since: Instant, bytes: u64) -> Instant {
        let first = self.first_after(since);
        if first >= self.next {
            (self.next, self.left) = (first, 0);
        }
        let missing = bytes.saturating_sub(self.left);
        let opened = missing.div_ceil(Trace::OPPORTUNITY);
        self.next += opened;
        self.left = self.left + opened * Trace::OPPORTUNITY - bytes;
        self.time_of(self.next.saturating_sub(1))
    }

    fn first_after(&self, time: Instant) -> u64 {
        self.trace.first_after(time.saturating_duration_since(self.began))
    }

    fn time_of(&self, number: u64) -> Instant {
        self.began + self.trace.time_of(number)
    }

    fn clone_position(&self) -> Self {
        Self { trace: self.trace.clone(), ..*self }
    }
}
