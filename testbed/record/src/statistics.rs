//! Medians and percentiles of small samples, exact: a run has thousands of values, no need for buckets.

use crate::Millis;
use std::cmp::Ordering;

/// Middle value; the mean of the two middle ones when their count is even. The only median there is: a figure is the
/// same wherever it is told.
pub fn median<T: Sample>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(T::order);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = *sorted.get(sorted.len().div_ceil(2).checked_sub(1)?)?;
    Some(T::mean(lower, upper))
}

/// Values of which there is a median.
pub trait Sample: Copy {
    /// A total order.
    fn order(&self, other: &Self) -> Ordering;
    /// Half way between two.
    fn mean(lower: Self, upper: Self) -> Self;
}

/// The mean is rounded down.
impl Sample for i64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn mean(lower: Self, upper: Self) -> Self {
        let mean = (i128::from(lower) + i128::from(upper)).div_euclid(2);
        // It lies between two numbers of this type.
        Self::try_from(mean).unwrap_or(lower)
    }
}

impl Sample for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }

    fn mean(lower: Self, upper: Self) -> Self {
        Self::midpoint(lower, upper)
    }
}

/// To the nanosecond below.
impl Sample for Millis {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }

    fn mean(lower: Self, upper: Self) -> Self {
        Self::from_ns(i64::mean(lower.as_ns(), upper.as_ns()))
    }
}

/// Nearest-rank percentile: the smallest value that is not below `percent` % of all. `percent` above 100 counts as 100.
pub fn percentile(values: &[i64], percent: u8) -> Option<i64> {
    let sorted = sorted(values);
    let rank = (sorted.len() * usize::from(percent.min(100))).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn sorted(values: &[i64]) -> Vec<i64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_median_of_an_even_count_lies_between_the_middle_two() {
        assert_eq!(median::<i64>(&[]), None);
        assert_eq!(median(&[7]), Some(7));
        assert_eq!(median(&[9, 1, 5]), Some(5));
        assert_eq!(median(&[10, 2, 4, 20]), Some(7));
        assert_eq!(median(&[i64::MAX, i64::MAX]), Some(i64::MAX));
        assert_eq!(median(&[i64::MIN, i64::MIN + 1]), Some(i64::MIN));
        assert_eq!(median(&[0.5, 4.0, 0.25, 1.0]), Some(0.75));
        assert_eq!(median(&[10, 40].map(Millis::from_ns)), Some(Millis::from_ns(25)));
    }

    #[test]
    fn the_percentile_is_a_value_of_the_sample() {
        let values: Vec<i64> = (1..=20).rev().collect();
        assert_eq!(percentile(&values, 95), Some(19));
        assert_eq!(percentile(&values, 100), Some(20));
        assert_eq!(percentile(&values, 0), Some(1));
        assert_eq!(percentile(&[3], 95), Some(3));
        assert_eq!(percentile(&[], 95), None);
    }

    proptest! {
        #[test]
        fn both_lie_within_the_sample(values in proptest::collection::vec(any::<i64>(), 1..50), percent: u8) {
            let (min, max) = (*values.iter().min().unwrap(), *values.iter().max().unwrap());
            prop_assert!((min..=max).contains(&median(&values).unwrap()));
            prop_assert!((min..=max).contains(&percentile(&values, percent).unwrap()));
        }
    }
}
