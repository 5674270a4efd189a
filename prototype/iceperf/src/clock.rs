//! The one place that relates `Instant` to CLOCK_MONOTONIC, the clock that all processes of a machine share.
//!
//! `Instant` hides its value; the offset is measured once, when the program starts. Wall-clock time is left out: no
//! event carries any.

use nix::{
    sys::time::TimeSpec,
    time::{ClockId, clock_gettime},
};
use std::time::{Duration, Instant};

/// A pair of simultaneous readings of the two clocks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    instant: Instant,
    monotonic: Duration,
}

impl Clock {
    /// Reads both clocks a few times and keeps the pair that was read closest together.
    pub(crate) fn measure() -> nix::Result<Self> {
        let mut best = Self::read()?;
        for _ in 0..8 {
            let next = Self::read()?;
            if next.1 < best.1 {
                best = next;
            }
        }
        Ok(best.0)
    }

    fn read() -> nix::Result<(Self, Duration)> {
        let before = Instant::now();
        let monotonic = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
        let width = before.elapsed();
        Ok((Self { instant: before + width / 2, monotonic }, width))
    }

    /// The instant of a reading of CLOCK_MONOTONIC; none if `Instant` cannot hold it.
    pub(crate) fn instant(&self, monotonic: Duration) -> Option<Instant> {
        match monotonic.checked_sub(self.monotonic) {
            Some(later) => self.instant.checked_add(later),
            None => self.instant.checked_sub(self.monotonic - monotonic),
        }
    }

    /// CLOCK_MONOTONIC at an instant, for the kernel's timers; zero for what lies before the machine's start.
    pub(crate) fn monotonic(&self, instant: Instant) -> TimeSpec {
        let reading = match instant.checked_duration_since(self.instant) {
            Some(later) => self.monotonic.saturating_add(later),
            None => self.monotonic.saturating_sub(self.instant - instant),
        };
        TimeSpec::from_duration(reading)
    }
}

/// Nanoseconds from `zero` to `instant`, negative before it, saturating.
pub(crate) fn nanoseconds_since(zero: Instant, instant: Instant) -> i64 {
    let size = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
    match instant.checked_duration_since(zero) {
        Some(later) => size(later),
        None => -size(zero - instant),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_clocks_convert_both_ways() {
        let clock = Clock::measure().unwrap();
        for offset in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(3600)] {
            let instant = clock.instant + offset;
            assert_eq!(clock.instant(Duration::from(clock.monotonic(instant))), Some(instant));
        }
        let earlier = clock.monotonic - Duration::from_millis(1);
        assert_eq!(clock.instant(earlier), Some(clock.instant - Duration::from_millis(1)));
    }

    #[test]
    fn times_before_zero_are_negative() {
        let zero = Instant::now() + Duration::from_secs(10);
        assert_eq!(nanoseconds_since(zero, zero + Duration::from_nanos(5)), 5);
        assert_eq!(nanoseconds_since(zero, zero - Duration::from_millis(2)), -2_000_000);
    }
}
