//! When new bytes arrived, told often enough that every pause of more than [`RESOLUTION`] has both its ends, and no
//! more often.

use std::time::{Duration, Instant};

/// Pauses up to this are not told apart.
const RESOLUTION: Duration = Duration::from_millis(5);

#[derive(Debug, Default)]
pub(super) struct Arrivals {
    told: Option<Instant>,
    newest: Option<Instant>,
    /// When the newest is to be told.
    due: Option<Instant>,
}

impl Arrivals {
    pub(super) fn note(&mut self, now: Instant) {
        let ends_a_pause = self.newest.is_none_or(|newest| now > newest + RESOLUTION);
        self.due = match self.told {
            Some(told) if !ends_a_pause => self.due.or(Some(told + RESOLUTION)),
            _ => Some(now),
        };
        self.newest = Some(now);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.due
    }

    /// The newest arrival, if one is to be told now; at the end, one that is not told yet.
    pub(super) fn poll(&mut self, now: Instant, at_the_end: bool) -> Option<Instant> {
        self.due.take_if(|due| *due <= now || at_the_end)?;
        self.told = Some(now);
        self.newest
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Told as (when, newest): the first arrival after a pause is told at once, the last before it by `newest`.
        #[test]
        fn every_pause_has_both_its_ends(steps in proptest::collection::vec(0_u64..20_000, 2..60)) {
            #[expect(clippy::disallowed_methods, reason = "an epoch; nothing depends on which")]
            let epoch = Instant::now();
            let mut arrivals = Arrivals::default();
            let (mut now, mut times, mut told) = (epoch, vec![], vec![]);
            for step in steps {
                let next = now + Duration::from_micros(step);
                while let Some(at) = arrivals.deadline().filter(|at| *at <= next) {
                    told.push((at, arrivals.poll(at, false).unwrap()));
                }
                now = next;
                times.push(now);
                arrivals.note(now);
                told.extend(arrivals.poll(now, false).map(|newest| (now, newest)));
            }
            told.extend(arrivals.poll(now, true).map(|newest| (now, newest)));
            for pair in times.windows(2).filter(|pair| pair[1] - pair[0] > RESOLUTION) {
                let ends = told.windows(2).any(|two| (two[0].1, two[1].0) == (pair[0], pair[1]));
                prop_assert!(ends, "{:?} in {told:?}", (pair[0] - epoch, pair[1] - epoch));
            }
            // The end of a pause may follow the last word before it.
            prop_assert!(told.windows(4).all(|four| four[2].0 - four[0].0 >= RESOLUTION || four[3].0 == now));
        }
    }
}
