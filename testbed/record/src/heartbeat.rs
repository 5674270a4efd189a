//! When the loop of a process was last seen to come round: what [`EventKind::Stall`](crate::EventKind::Stall) reports.
//!
//! The loop itself beats, not a thread beside it. So a late beat covers everything that keeps the loop from its work: a
//! stopped process, a busy or stolen CPU, a write that blocks, and a turn that takes long.

use std::time::{Duration, Instant};

/// Heartbeat of a loop. It begins at time zero and reports nothing before.
#[derive(Debug, Clone, Copy, Default)]
pub struct Heartbeat {
    last: Option<Instant>,
}

impl Heartbeat {
    /// Longest time between two beats of a loop that runs.
    pub const EVERY: Duration = Duration::from_millis(5);
    /// A beat that is later than this is a stall. It is one interval of a call, what a jitter buffer conceals, and the
    /// bound on the lateness of links. A larger one would hide what a figure of 50 ms is
    /// made of; on two cores that 9 processes want, 0.07 % of the beats of an ordinary process are later.
    pub const TOLERATED: Duration = Duration::from_millis(20);

    /// The first beat is due [`Heartbeat::EVERY`] after time zero, which may be yet to come.
    pub fn begin(&mut self, zero: Instant) {
        self.last = Some(zero);
    }

    /// When the loop has to come round again; none before time zero is known.
    pub fn due(&self) -> Option<Instant> {
        self.last.map(|last| last + Self::EVERY)
    }

    /// The loop comes round. Returns its last beat if that was too long ago.
    pub fn beat(&mut self, now: Instant) -> Option<Instant> {
        let last = self.last.filter(|last| *last <= now)?;
        self.last = Some(now);
        (now.duration_since(last) > Self::EVERY + Self::TOLERATED).then_some(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_late_beat_is_a_stall_since_the_one_before() {
        let zero = Instant::now();
        let mut heartbeat = Heartbeat::default();
        assert_eq!((heartbeat.due(), heartbeat.beat(zero)), (None, None));
        heartbeat.begin(zero);
        assert_eq!(heartbeat.due(), Some(zero + 5 * MS));
        assert_eq!(heartbeat.beat(zero + 25 * MS), None);
        assert_eq!(heartbeat.due(), Some(zero + 30 * MS));
        assert_eq!(heartbeat.beat(zero + 51 * MS), Some(zero + 25 * MS));
        assert_eq!(heartbeat.beat(zero + 56 * MS), None);
    }

    #[test]
    fn nothing_is_late_before_time_zero() {
        let now = Instant::now();
        let mut heartbeat = Heartbeat::default();
        heartbeat.begin(now + 300 * MS);
        assert_eq!(heartbeat.beat(now), None);
        assert_eq!(heartbeat.beat(now + 299 * MS), None);
        assert_eq!(heartbeat.due(), Some(now + 305 * MS));
        // Its process began late.
        assert_eq!(heartbeat.beat(now + 400 * MS), Some(now + 300 * MS));
    }
}
