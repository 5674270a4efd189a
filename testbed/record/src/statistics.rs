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

/// Where the median of the population lies, told by two values of a sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MedianInterval<T> {
    /// An observed value.
    pub low: T,
    /// An observed value.
    pub high: T,
    /// How often such an interval holds the median, 0 to 1, whatever the distribution.
    pub confidence: f64,
}

/// How sure an interval is where the sample is large enough.
const CONFIDENCE: f64 = 0.95;

/// The narrowest order-statistic interval that holds the median with a confidence of 95 % (H. A. David and H. N. Nagaraja,
/// Order Statistics, 3rd edition, section 7.1). Of fewer than six values none is so sure: then it is smallest to largest,
/// with what confidence that has. None without values.
pub fn median_interval<T: Sample>(values: &[T]) -> Option<MedianInterval<T>> {
    let mut sorted = values.to_vec();
    sorted.sort_by(T::order);
    let confidences = confidences(sorted.len());
    let sure = confidences.iter().rposition(|confidence| *confidence >= CONFIDENCE);
    let left_out = sure.unwrap_or(0);
    Some(MedianInterval {
        low: *sorted.get(left_out)?,
        high: *sorted.get(sorted.len().checked_sub(left_out + 1)?)?,
        confidence: *confidences.get(left_out)?,
    })
}

/// Of the intervals that leave out 0, 1, 2 ... values on each side of a sample.
fn confidences(count: usize) -> Vec<f64> {
    let mut below = 0.0;
    // Of so many tosses of a coin none, then one, then two are heads; as a logarithm, since 2^-1100 is no number.
    let mut ln_share = -(count as f64) * std::f64::consts::LN_2;
    let mut of_one_more = |left_out: usize| {
        below += ln_share.exp();
        ln_share += ((count - left_out) as f64 / (left_out + 1) as f64).ln();
        1.0 - 2.0 * below
    };
    (0..count.div_ceil(2)).map(&mut of_one_more).collect()
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

    /// The confidences of small samples are 1 - 2^(1-n) and 1 - (n+1) 2^(1-n).
    #[test]
    fn an_interval_for_the_median_leaves_out_what_it_can() {
        let interval = |count: i64| median_interval(&(1..=count).collect::<Vec<i64>>()).unwrap();
        assert_eq!(median_interval::<i64>(&[]), None);
        for (count, low, high, confidence) in [
            (1, 1, 1, 0.0),
            (3, 1, 3, 0.75),
            (5, 1, 5, 0.9375),
            (6, 1, 6, 0.96875),
            (8, 1, 8, 0.9921875),
            (9, 2, 8, 0.9609375),
            (20, 6, 15, 0.9586),
            (100, 40, 61, 0.9648),
        ] {
            let found = interval(count);
            assert_eq!((found.low, found.high), (low, high), "{count}");
            assert!((found.confidence - confidence).abs() < 1e-4, "{count}: {found:?}");
        }
        // 2^-10000 is too small for a number.
        let many = interval(10_000);
        assert!((4_900..4_905).contains(&many.low) && many.confidence >= 0.95, "{many:?}");
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
