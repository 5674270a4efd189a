//! One clock for everything on this machine: CLOCK_MONOTONIC, which `Instant` reads too, and time zero on it.

use nix::time::{ClockId, clock_gettime};
use std::time::{Duration, Instant};

/// An instant and its CLOCK_MONOTONIC.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    monotonic: Duration,
}

impl Clock {
    /// Reads both; they are a fraction of a microsecond apart.
    pub(crate) fn now() -> nix::Result<Self> {
        let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        Ok(Self { instant: Instant::now(), monotonic })
    }

    /// Nanoseconds of CLOCK_MONOTONIC.
    pub(crate) fn monotonic_ns(&self, instant: Instant) -> u64 {
        let monotonic = self.monotonic + instant.saturating_duration_since(self.instant);
        u64::try_from(monotonic.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// Nanoseconds from time zero to an instant; negative before it.
pub(crate) fn nanoseconds_since(zero: Instant, instant: Instant) -> i64 {
    let nanoseconds = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match instant.checked_duration_since(zero) {
        Some(after) => nanoseconds(after),
        None => -nanoseconds(zero.saturating_duration_since(instant)),
    }
}
