//! Figures with a unit: rates, sizes, probabilities.

use std::{num::NonZeroU64, time::Duration};

/// Bits per second; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(NonZeroU64);

impl BitRate {
    /// So many bits per second; none for zero.
    pub const fn per_second(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0.get()
    }

    /// How long so many bytes take, rounded up to a nanosecond so that the rate is never exceeded.
    pub fn time_for(self, bytes: usize) -> Duration {
        let bit_nanoseconds = bytes as u128 * 8 * 1_000_000_000;
        let nanoseconds = bit_nanoseconds.div_ceil(u128::from(self.bits_per_second()));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }

    /// How many bytes take this long, rounded up.
    pub(crate) fn bytes_in(self, time: Duration) -> u64 {
        let bit_nanoseconds = time.as_nanos().saturating_mul(u128::from(self.bits_per_second()));
        u64::try_from(bit_nanoseconds.div_ceil(8 * 1_000_000_000)).unwrap_or(u64::MAX)
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

impl ByteSize {
    /// More than anything needs.
    pub const UNBOUNDED: Self = Self(u64::MAX);
}

/// A probability, exact to one in a billion, so that the same draw decides alike on every machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Probability {
    per_billion: u32,
}

const BILLION: u32 = 1_000_000_000;

impl Probability {
    /// What never happens.
    pub const NEVER: Self = Self { per_billion: 0 };
    /// What always happens.
    pub const ALWAYS: Self = Self { per_billion: BILLION };

    /// So many in a billion; none for more than a billion.
    pub const fn per_billion(per_billion: u32) -> Option<Self> {
        if per_billion > BILLION { None } else { Some(Self { per_billion }) }
    }

    /// So many in a hundred; none outside 0 to 100.
    pub fn percent(percent: f64) -> Option<Self> {
        let in_range = (0.0..=100.0).contains(&percent);
        in_range.then(|| Self { per_billion: (percent * f64::from(BILLION / 100)).round() as u32 })
    }

    /// Between 0 and 1.
    pub fn as_fraction(self) -> f64 {
        f64::from(self.per_billion) / f64::from(BILLION)
    }

    /// Whether what has this probability happens; the draw is uniform over all its values.
    pub(crate) fn happens(self, draw: u64) -> bool {
        // The product is below 2^64 * a billion: its upper half is uniform in 0..a billion.
        (u128::from(draw) * u128::from(BILLION)) >> 64 < u128::from(self.per_billion)
    }
}
