//! A distribution of values in bounded memory: exact while it is small, then within 0.1 %.

use crate::stun::Interval;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Values that are kept as they are.
const MAX_EXACT: usize = 4096;

/// Values of one kind.
#[derive(Debug, Clone, Default)]
pub(crate) struct Distribution {
    exact: Vec<u64>,
    histogram: Option<Box<Histogram<u64>>>,
    sum: u128,
}

/// Quantiles by nearest rank.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Quantiles {
    /// Number of values.
    pub n: u64,
    /// Smallest.
    pub min: f64,
    /// 10th percentile.
    pub p10: f64,
    /// Middle value.
    pub p50: f64,
    /// 90th percentile.
    pub p90: f64,
    /// 99th percentile.
    pub p99: f64,
    /// Largest.
    pub max: f64,
    /// Arithmetic mean.
    pub mean: f64,
}

/// A value that many share: a step of the distribution.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct DistributionStep {
    /// The value, middle of those in the step.
    pub value: f64,
    /// Share of all values within 1 % of it.
    pub share: f64,
}

impl Distribution {
    pub(crate) fn add(&mut self, value: u64) {
        self.sum += u128::from(value);
        if let Some(histogram) = &mut self.histogram {
            // It grows by itself, so that no value is out of its range.
            let _ = histogram.record(value);
            return;
        }
        self.exact.push(value);
        if self.exact.len() > MAX_EXACT {
            // 3 digits are always possible.
            self.histogram = Histogram::new(3).ok().map(Box::new);
            if let Some(histogram) = &mut self.histogram {
                histogram.auto(true);
                std::mem::take(&mut self.exact).into_iter().for_each(|value| _ = histogram.record(value));
            }
        }
    }

    /// Quantiles, each value divided by `unit`; none without values.
    pub(crate) fn quantiles(&self, unit: f64) -> Option<Quantiles> {
        let values = self.runs();
        let n: u64 = values.iter().map(|(_, count)| count).sum();
        let (min, max) = (values.first()?.0, values.last()?.0);
        let at = |share: f64| {
            let rank = ((share * n as f64).ceil() as u64).max(1);
            let mut below = 0;
            values.iter().find(|(_, count)| {
                below += count;
                below >= rank
            })
        };
        let at = |share| at(share).map_or(max, |(value, _)| *value) as f64 / unit;
        Some(Quantiles {
            n,
            min: min as f64 / unit,
            p10: at(0.1),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            max: max as f64 / unit,
            mean: self.sum as f64 / n as f64 / unit,
        })
    }

    /// Smallest value, middle value and largest value, each divided by `unit`; none without values.
    pub(crate) fn interval(&self, unit: f64) -> Option<Interval> {
        let values = self.runs();
        let n: u64 = values.iter().map(|(_, count)| count).sum();
        let at = |rank: u64| {
            let mut below = 0;
            values.iter().find(|(_, count)| {
                below += count;
                below > rank
            })
        };
        let (low, high) = (at(n.checked_sub(1)? / 2)?.0, at(n / 2)?.0);
        Some(Interval {
            min: values.first()?.0 as f64 / unit,
            median: (low as f64 + high as f64) / 2.0 / unit,
            max: values.last()?.0 as f64 / unit,
        })
    }

    /// Values within 1 % of which lie at least 2 % of all, and four times as many as in either neighbourhood of that
    /// width: timeouts show as such steps. Values below `least` are no steps. At least 50 values are needed.
    pub(crate) fn steps(&self, least: u64, unit: f64) -> Vec<DistributionStep> {
        let values = self.runs();
        let n: u64 = values.iter().map(|(_, count)| count).sum();
        if n < 50 {
            return Vec::new();
        }
        let within = |from: f64, to: f64| -> u64 {
            let start = values.partition_point(|(value, _)| (*value as f64) < from);
            let end = values.partition_point(|(value, _)| (*value as f64) < to);
            values[start..end.max(start)].iter().map(|(_, count)| count).sum()
        };
        let mut steps: Vec<DistributionStep> = Vec::new();
        for (value, _) in values.iter().filter(|(value, _)| *value >= least.max(1)) {
            let middle = *value as f64;
            let here = within(middle * 0.99, middle * 1.01);
            let around = within(middle * 0.97, middle * 0.99).max(within(middle * 1.01, middle * 1.03));
            let share = here as f64 / n as f64;
            if share < 0.02 || here < around.saturating_mul(4).max(8) {
                continue;
            }
            let start = values.partition_point(|(value, _)| (*value as f64) < middle * 0.99);
            let mut below = 0;
            let median = values[start..].iter().find(|(_, count)| {
                below += count;
                below * 2 >= here
            });
            let step =
                DistributionStep { value: median.map_or(middle, |(value, _)| *value as f64) / unit, share };
            match steps.last_mut() {
                Some(last) if step.value <= last.value * 1.02 => {
                    if step.share > last.share {
                        *last = step;
                    }
                }
                _ => steps.push(step),
            }
        }
        steps
    }

    /// Values in ascending order, each with its count.
    fn runs(&self) -> Vec<(u64, u64)> {
        match &self.histogram {
            Some(histogram) => histogram
                .iter_recorded()
                .map(|step| (step.value_iterated_to(), step.count_at_value()))
                .collect(),
            None => {
                let mut values = self.exact.clone();
                values.sort_unstable();
                values.into_iter().map(|value| (value, 1)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_exact_and_then_close() {
        for n in [100_u64, 10_000] {
            let mut values = Distribution::default();
            (1..=n).for_each(|value| values.add(value * 1000));
            let quantiles = values.quantiles(1000.0).unwrap();
            for (got, share) in [(quantiles.p10, 0.1), (quantiles.p50, 0.5), (quantiles.p90, 0.9)] {
                let expected = share * n as f64;
                assert!((got / expected - 1.0).abs() < 0.002, "{got} {expected}");
            }
            assert_eq!(quantiles.n, n);
        }
        assert_eq!(Distribution::default().quantiles(1.0), None);
    }

    #[test]
    fn idle_timeouts_are_steps() {
        let mut values = Distribution::default();
        (0..2000_u64).for_each(|index| values.add(index * 1000));
        (0..200_u64).for_each(|index| values.add(600_000 + index));
        (0..300_u64).for_each(|index| values.add(900_000 - index));
        let steps: Vec<f64> = values.steps(1000, 1000.0).iter().map(|step| step.value.round()).collect();
        assert_eq!(steps, [600.0, 900.0]);
    }
}
