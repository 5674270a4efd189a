//! Medians and percentiles of small samples, exact: a run has thousands of values, no need for buckets.
//!
//! Every quantile is an order statistic, so a value that was observed; never a mean of two, which no run showed.

use crate::Millis;
use std::cmp::Ordering;

/// Middle value; the lower of the two middle ones when their count is even. The only median there is: a figure is the
/// same wherever it is printed.
pub fn median<T: Sample>(values: &[T]) -> Option<T> {
    let mut sorted = values.to_vec();
    sorted.sort_by(T::order);
    sorted.get(sorted.len().div_ceil(2).checked_sub(1)?).copied()
}

/// Values of which there is a median.
pub trait Sample: Copy {
    /// A total order.
    fn order(&self, other: &Self) -> Ordering;
}

impl Sample for i64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Sample for u64 {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
    }
}

impl Sample for f64 {
    fn order(&self, other: &Self) -> Ordering {
        self.total_cmp(other)
    }
}

impl Sample for Millis {
    fn order(&self, other: &Self) -> Ordering {
        self.cmp(other)
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
    fn the_median_of_an_even_count_is_the_lower_of_the_middle_two() {
        assert_eq!(median::<i64>(&[]), None);
        assert_eq!(median::<i64>(&[7]), Some(7));
        assert_eq!(median::<i64>(&[9, 1, 5]), Some(5));
        assert_eq!(median::<i64>(&[10, 2, 4, 20]), Some(4));
        assert_eq!(median(&[i64::MIN, i64::MIN + 1]), Some(i64::MIN));
        assert_eq!(median(&[0.5, 4.0, 0.25, 1.0]), Some(0.5));
        // Two runs that missed 50.7 and 70.5 ms did not miss 60.6.
        assert_eq!(median(&[70_500_000, 50_700_000].map(Millis::from_ns)), Some(Millis::from_ns(50_700_000)));
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
        fn both_are_observed_values(values in proptest::collection::vec(any::<i64>(), 1..50), percent: u8) {
            prop_assert!(values.contains(&median(&values).unwrap()));
            prop_assert!(values.contains(&percentile(&values, percent).unwrap()));
            prop_assert_eq!(median(&values), percentile(&values, 50));
        }
    }
}
