//! When payload of one direction arrived, whatever its workload, and the silences between.

use super::HORIZON;
use crate::Millis;

const HORIZON_NS: i64 = HORIZON.as_nanos() as i64;
/// A silence that nothing ended is fatal from here on; a shorter one leaves open what became of the call.
const FATAL_NS: i64 = 1_000_000_000;

/// The arrivals of one direction.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// In order of time.
    pub(super) bursts: Vec<Burst>,
    /// Subtracted from every silence: this much is normal.
    pub(super) interval_ns: i64,
    /// A silence that begins this shortly before the next disturbance is the next one's.
    pub(super) margin_ns: i64,
    /// Something was to arrive.
    pub(super) is_expected: bool,
    /// At the end of the record, a silence up to this long beyond the interval says nothing: payload may be under way.
    pub(super) patience_ns: i64,
    /// From here on nothing is expected any more.
    pub(super) end_ns: i64,
}

/// New payload that arrived without a pause that is worth telling.
#[derive(Debug, Clone, Copy)]
pub(super) struct Burst {
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    /// The receiver's path, when known.
    pub(super) path: Option<u64>,
}

/// A time without arrivals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Silence {
    pub(super) from_ns: i64,
    pub(super) to_ns: i64,
    /// Its length less the sending interval.
    pub(super) beyond: Millis,
    /// It ends with the run and not with an arrival.
    pub(super) for_good: bool,
}

impl Silence {
    /// Long enough to say that what was carried did not survive.
    pub(super) fn is_fatal(&self) -> bool {
        self.for_good && self.to_ns.saturating_sub(self.from_ns) >= FATAL_NS
    }
}

impl Arrivals {
    /// The silence that a disturbance is charged with: the longest that begins before the earlier of the horizon and
    /// the next disturbance, and ends after it.
    ///
    /// The next disturbance is a deliberate refinement: without it, steps closer than the horizon would be charged
    /// with each other's silence. Towards it, a silence begins a margin after the last arrival, since there always is
    /// a last one shortly before. One that was under way at both disturbances is charged to both. One that nothing ends
    /// lasts to `open_end_ns`.
    pub(super) fn interruption(&self, at_ns: i64, next_ns: Option<i64>, open_end_ns: i64) -> Option<Silence> {
        let horizon = at_ns.saturating_add(HORIZON_NS);
        let charged = self.silences(open_end_ns).filter(|silence| {
            let begins_ns = silence.from_ns.saturating_add(self.margin_ns);
            let is_of_next = silence.from_ns > at_ns && next_ns.is_some_and(|next| begins_ns >= next);
            silence.from_ns < horizon && silence.to_ns > at_ns && !is_of_next
        });
        charged.max_by_key(|silence| silence.beyond)
    }

    /// The longest silence of all.
    pub(super) fn longest(&self) -> Option<Silence> {
        self.silences(self.end_ns).max_by_key(|silence| silence.beyond)
    }

    /// The silence began at a disturbance or after it: payload was not overdue yet when that came.
    pub(super) fn begins_after(&self, silence: &Silence, at_ns: i64) -> bool {
        silence.from_ns.saturating_add(self.margin_ns) >= at_ns
    }

    /// Nothing ever arrived of what was to arrive, although there was time for it after the disturbance.
    pub(super) fn is_never_heard(&self, at_ns: i64) -> bool {
        self.is_expected && self.bursts.is_empty() && self.end_ns.saturating_sub(at_ns) >= FATAL_NS
    }

    /// Nothing arrived after the disturbance, although there was time for it.
    pub(super) fn is_dead_after(&self, at_ns: i64) -> bool {
        let is_quiet = self.bursts.last().is_none_or(|last| last.last_ns <= at_ns);
        self.is_expected && is_quiet && self.end_ns.saturating_sub(at_ns) >= FATAL_NS
    }

    /// The longest silence in the horizon before the disturbance, cut off at the disturbance.
    pub(super) fn gap_before(&self, at_ns: i64) -> Option<Millis> {
        let horizon = at_ns.saturating_sub(HORIZON_NS);
        let ends = self.bursts.iter().skip(1).map(|burst| burst.first_ns.min(at_ns)).chain([at_ns]);
        let gaps = self.bursts.iter().map(|burst| burst.last_ns).zip(ends);
        let before = gaps.filter(|(from_ns, to_ns)| *from_ns < at_ns && *to_ns > horizon);
        before.map(|(from_ns, to_ns)| self.beyond(from_ns, to_ns)).max()
    }

    /// The path of the last arrival before an instant.
    pub(super) fn path_before(&self, t_ns: i64) -> Option<u64> {
        self.bursts.iter().take_while(|burst| burst.first_ns < t_ns).last()?.path
    }

    /// Between arrivals, and from the last one to the end when it is too long for payload under way.
    fn silences(&self, open_end_ns: i64) -> impl Iterator<Item = Silence> + '_ {
        let between =
            self.bursts.windows(2).map(|pair| self.silence(pair[0].last_ns, pair[1].first_ns, false));
        let last = self.bursts.last().map(|last| self.silence(last.last_ns, open_end_ns, true));
        let at_end = last.filter(|silence| silence.beyond > Millis::from_ns(self.patience_ns));
        between.chain(at_end)
    }

    fn silence(&self, from_ns: i64, to_ns: i64, for_good: bool) -> Silence {
        Silence { from_ns, to_ns, beyond: self.beyond(from_ns, to_ns), for_good }
    }

    fn beyond(&self, from_ns: i64, to_ns: i64) -> Millis {
        Millis::from_ns(to_ns.saturating_sub(from_ns).saturating_sub(self.interval_ns)).at_least_zero()
    }
}
