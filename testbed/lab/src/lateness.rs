//! How late packets were handed to the kernel, or taken from it.

use hdrhistogram::Histogram;
use std::time::Duration;

/// Lateness: the moment a packet's write to the kernel returned, less the moment it was due; or the moment the model took
/// a packet from the kernel, less the moment it could have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lateness {
    /// Packets measured.
    pub count: u64,
    /// Half of them were at most this late.
    pub median: Duration,
    /// 99 % of them were at most this late.
    pub p99: Duration,
    /// The latest one.
    pub max: Duration,
}

/// Collects lateness.
#[derive(Debug, Clone)]
pub(crate) struct LatenessRecorder {
    nanoseconds: Histogram<u64>,
}

impl Default for LatenessRecorder {
    fn default() -> Self {
        Self::new()
    }
}

impl LatenessRecorder {
    /// From a nanosecond to a minute, in 1 % steps; what is later counts as a minute.
    pub(crate) fn new() -> Self {
        const MINUTE_NS: u64 = 60_000_000_000;
        let nanoseconds = Histogram::new_with_max(MINUTE_NS, 2).expect("constant bounds are valid");
        Self { nanoseconds }
    }

    pub(crate) fn record(&mut self, late: Duration) {
        self.nanoseconds.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Takes in another's packets.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.nanoseconds.add(&other.nanoseconds).expect("all recorders have the same bounds");
    }

    pub(crate) fn summary(&self) -> Lateness {
        let at = |quantile| Duration::from_nanos(self.nanoseconds.value_at_quantile(quantile));
        Lateness { count: self.nanoseconds.len(), median: at(0.5), p99: at(0.99), max: at(1.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_hold_quantiles_and_merge() {
        let (mut one, mut other) = (LatenessRecorder::new(), LatenessRecorder::new());
        assert_eq!(one.summary(), Lateness::default());
        (1..=99).for_each(|us| one.record(Duration::from_micros(us)));
        other.record(Duration::from_secs(3600));
        one.merge(&other);
        let Lateness { count, median, p99, max } = one.summary();
        assert_eq!(count, 100);
        assert!((49..=51).contains(&median.as_micros()), "{median:?}");
        assert!((98..=100).contains(&p99.as_micros()), "{p99:?}");
        assert!((59..=61).contains(&max.as_secs()), "{max:?}");
    }
}
