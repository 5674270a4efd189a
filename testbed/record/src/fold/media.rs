//! The units of a call, one way: which of them came too late to be played, and when that happened.
//!
//! A receiver plays a unit at the time at which it is due, `sent + d`, plus a budget J for jitter: d is the usual
//! delay, so the clocks of the two ends need not agree. A unit that has not come by then is missed.

use super::{HORIZON, log::Log};
use crate::{EventKind, Millis, MissedMedia, MissedRuns, WorkloadKind, statistics::median};
use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet, BinaryHeap, VecDeque},
    ops::Range,
};

const HORIZON_NS: i64 = HORIZON.as_nanos() as i64;
const MS: i64 = 1_000_000;
/// Budgets for jitter.
const J20_NS: i64 = 20 * MS;
pub(super) const J60_NS: i64 = 60 * MS;
const J150_NS: i64 = 150 * MS;
/// Fewer arrivals tell no usual delay.
const FEWEST: usize = 10;
/// Units that a sender without a connection did not produce are filled in up to this many.
const MOST_FILLED_IN: i64 = 1_000_000;

/// The units of one direction.
#[derive(Debug, Default)]
pub(super) struct Media {
    /// In order of sending.
    units: Vec<Unit>,
    /// In order of arrival.
    arrivals: Vec<Arrival>,
    /// The sender's nominal interval.
    interval_ns: Option<i64>,
    /// Of one unit's payload, in bytes.
    payload: Option<u32>,
    /// From here on nothing is recorded any more.
    end_ns: i64,
}

/// One unit of the sender's schedule.
#[derive(Debug, Clone, Copy)]
struct Unit {
    sent_ns: i64,
    /// First arrival, and the receiver's path.
    arrived: Option<(i64, Option<u64>)>,
}

/// A first arrival.
#[derive(Debug, Clone, Copy)]
struct Arrival {
    t_ns: i64,
    delay_ns: i64,
}

/// A run of missed units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MissedRun {
    pub(super) first_sent_ns: i64,
    /// When the first unit was due.
    pub(super) first_due_ns: i64,
    pub(super) last_due_ns: i64,
    /// Units.
    pub(super) count: i64,
    /// Those of them that never arrived.
    pub(super) lost: i64,
    /// The receiver's paths before and after, where known.
    pub(super) path_before: Option<u64>,
    pub(super) path_after: Option<u64>,
}

impl Unit {
    /// Whether it was missed; none where the record ends before that can be told.
    fn is_missed(&self, delay_ns: i64, budget_ns: i64, end_ns: i64) -> Option<bool> {
        let deadline_ns = self.sent_ns.saturating_add(delay_ns).saturating_add(budget_ns);
        match self.arrived {
            Some((t_ns, _)) => Some(t_ns > deadline_ns),
            None => (deadline_ns <= end_ns).then_some(true),
        }
    }

    fn arrival(&self) -> Option<Arrival> {
        let (t_ns, _) = self.arrived?;
        Some(Arrival { t_ns, delay_ns: t_ns.saturating_sub(self.sent_ns) })
    }
}

impl Media {
    /// `received` are first arrivals: sequence number, time, time of sending by the sender's clock, receiver's path.
    pub(super) fn new(
        log: &Log<'_>,
        sender: &str,
        sent: &BTreeMap<u64, i64>,
        received: impl Iterator<Item = (u64, i64, i64, Option<u64>)>,
    ) -> Self {
        let (interval_ns, payload) = workload(log, sender);
        let unit = |sent_ns: i64| Unit { sent_ns, arrived: None };
        let mut units: BTreeMap<u64, Unit> =
            sent.iter().map(|(sequence, sent_ns)| (*sequence, unit(*sent_ns))).collect();
        for (sequence, t_ns, sent_t_ns, path) in received {
            units.entry(sequence).or_insert(unit(sent_t_ns)).arrived.get_or_insert((t_ns, path));
        }
        let mut units: Vec<Unit> = units.into_values().collect();
        let mut arrivals: Vec<Arrival> = units.iter().filter_map(Unit::arrival).collect();
        arrivals.sort_by_key(|arrival| arrival.t_ns);
        if let Some(interval_ns) = interval_ns {
            units.extend(not_produced(log, sender, &units, interval_ns));
        }
        units.sort_by_key(|unit| unit.sent_ns);
        Self { units, arrivals, interval_ns, payload, end_ns: log.end_ns() }
    }

    pub(super) fn payload(&self) -> Option<u32> {
        self.payload
    }

    pub(super) fn last_sent_ns(&self) -> Option<i64> {
        self.units.last().map(|unit| unit.sent_ns)
    }

    /// The usual delay within a span: the median of the units that arrived in it and were not missed, which is to say
    /// not more than 60 ms later than the median of all.
    pub(super) fn usual_delay(&self, span: &Range<i64>) -> Option<i64> {
        let all = self.delays(span);
        let latest_ns = median(&all)?.saturating_add(J60_NS);
        let played: Vec<i64> = all.into_iter().filter(|delay| *delay <= latest_ns).collect();
        if played.len() < FEWEST { None } else { median(&played) }
    }

    /// The median of everything that arrived within a span.
    pub(super) fn median_delay(&self, span: &Range<i64>) -> Option<i64> {
        median(&self.delays(span))
    }

    fn delays(&self, span: &Range<i64>) -> Vec<i64> {
        let from = self.arrivals.partition_point(|arrival| arrival.t_ns < span.start);
        let within = self.arrivals.iter().skip(from).take_while(|arrival| arrival.t_ns < span.end);
        within.map(|arrival| arrival.delay_ns).collect()
    }

    /// What was missed of the units that are due in a window, at each budget. A run that begins there counts to its
    /// end; of one that began before, the part within counts.
    pub(super) fn missed(&self, window: &Range<i64>, delay_ns: i64) -> Option<MissedMedia> {
        let interval_ns = self.interval_ns?;
        let runs = |budget_ns| {
            let (longest, total) = self.count(window, delay_ns, budget_ns);
            let time = |count: i64| Millis::from_ns(count.saturating_mul(interval_ns));
            MissedRuns { longest_ms: time(longest), total_ms: time(total) }
        };
        Some(MissedMedia { j20: runs(J20_NS), j60: runs(J60_NS), j150: runs(J150_NS) })
    }

    /// The longest run and the sum of all, in units.
    fn count(&self, window: &Range<i64>, delay_ns: i64, budget_ns: i64) -> (i64, i64) {
        let (mut longest, mut total, mut run) = (0, 0, 0);
        // Whether the run that is under way began in the window; none between runs.
        let mut begun_within = None;
        for unit in &self.units {
            if unit.is_missed(delay_ns, budget_ns, self.end_ns) != Some(true) {
                (begun_within, run) = (None, 0);
                continue;
            }
            let is_within = window.contains(&unit.sent_ns.saturating_add(delay_ns));
            if *begun_within.get_or_insert(is_within) || is_within {
                run += 1;
                total += 1;
                longest = longest.max(run);
            }
        }
        (longest, total)
    }

    /// Every run of missed units of 60 ms or more at J = 60 ms, by the usual delay of the 5 s before it. Where fewer than
    /// ten units arrived in these 5 s, nothing is judged.
    pub(super) fn missed_runs(&self) -> Vec<MissedRun> {
        let Some(interval_ns) = self.interval_ns else { return vec![] };
        let mut runs: Vec<MissedRun> = vec![];
        let mut recent = RecentDelays::default();
        let mut under_way: Option<(MissedRun, i64)> = None;
        let mut path = None;
        for unit in &self.units {
            recent.advance(unit.sent_ns);
            let delay_ns = under_way.map(|(_, delay_ns)| delay_ns).or_else(|| recent.median());
            let missed_by =
                delay_ns.filter(|delay_ns| unit.is_missed(*delay_ns, J60_NS, self.end_ns) == Some(true));
            if let Some(delay_ns) = missed_by {
                let due_ns = unit.sent_ns.saturating_add(delay_ns);
                let starting = (MissedRun::starting(unit.sent_ns, due_ns, path), delay_ns);
                let (run, _) = under_way.get_or_insert(starting);
                run.last_due_ns = due_ns;
                run.count += 1;
                run.lost += i64::from(unit.arrived.is_none());
                continue;
            }
            let after = unit.arrived.and_then(|(_, path)| path);
            runs.extend(under_way.take().map(|(run, _)| MissedRun { path_after: after, ..run }));
            path = after.or(path);
            unit.arrival().into_iter().for_each(|arrival| recent.add(arrival));
        }
        runs.extend(under_way.map(|(run, _)| run));
        runs.retain(|run| run.count.saturating_mul(interval_ns) >= J60_NS);
        runs
    }

    pub(super) fn length(&self, run: &MissedRun) -> Millis {
        Millis::from_ns(run.count.saturating_mul(self.interval_ns.unwrap_or_default()))
    }
}

impl MissedRun {
    fn starting(first_sent_ns: i64, first_due_ns: i64, path_before: Option<u64>) -> Self {
        let last_due_ns = first_due_ns;
        Self { first_sent_ns, first_due_ns, last_due_ns, count: 0, lost: 0, path_before, path_after: None }
    }
}

/// The delays of what arrived in the 5 s before an instant that only moves forward.
#[derive(Debug, Default)]
struct RecentDelays {
    /// Arrivals that are not in the past yet: time and delay.
    coming: BinaryHeap<Reverse<(i64, i64)>>,
    /// In order of arrival.
    past: VecDeque<Arrival>,
    /// The delays of `past`, in order.
    sorted: Vec<i64>,
}

impl RecentDelays {
    fn add(&mut self, arrival: Arrival) {
        self.coming.push(Reverse((arrival.t_ns, arrival.delay_ns)));
    }

    fn advance(&mut self, now_ns: i64) {
        while let Some(Reverse((t_ns, delay_ns))) = self.coming.peek().copied()
            && t_ns < now_ns
        {
            self.coming.pop();
            self.past.push_back(Arrival { t_ns, delay_ns });
            let place = self.sorted.partition_point(|other| *other < delay_ns);
            self.sorted.insert(place, delay_ns);
        }
        while let Some(oldest) = self.past.front().copied()
            && oldest.t_ns < now_ns.saturating_sub(HORIZON_NS)
        {
            self.past.pop_front();
            let place = self.sorted.partition_point(|other| *other < oldest.delay_ns);
            self.sorted.remove(place);
        }
    }

    fn median(&self) -> Option<i64> {
        let place = self.sorted.len().div_ceil(2).checked_sub(1)?;
        if self.sorted.len() < FEWEST { None } else { self.sorted.get(place).copied() }
    }
}

/// Units that the schedule asked for while the sender had no connection to hand them to: nobody heard them. Gaps that a
/// sender leaves for another reason, such as a process that was stopped, hold no units.
fn not_produced(log: &Log<'_>, sender: &str, produced: &[Unit], interval_ns: i64) -> Vec<Unit> {
    let mut times: Vec<i64> = produced.iter().map(|unit| unit.sent_ns).collect();
    times.push(log.end_ns());
    times.sort_unstable();
    let gaps: BTreeSet<usize> = closings(log, sender)
        .into_iter()
        .filter_map(|closed_ns| times.partition_point(|t_ns| *t_ns <= closed_ns).checked_sub(1))
        .collect();
    let mut filled_in = vec![];
    for (last_ns, next_ns) in gaps.into_iter().filter_map(|last| times.get(last).zip(times.get(last + 1))) {
        let count = (next_ns.saturating_sub(*last_ns) / interval_ns).min(MOST_FILLED_IN);
        for number in 1..=count {
            let sent_ns = last_ns.saturating_add(interval_ns.saturating_mul(number));
            // The next unit keeps to the schedule, within half an interval.
            if sent_ns.saturating_add(interval_ns / 2) < *next_ns {
                filled_in.push(Unit { sent_ns, arrived: None });
            }
        }
    }
    filled_in
}

/// When the sender lost a connection, or gave up. A connection that is closed within a second of the sender's orderly end
/// was not lost.
fn closings(log: &Log<'_>, sender: &str) -> Vec<i64> {
    const ORDERLY_NS: i64 = 1_000 * MS;
    let is_end = |what: &EventKind| matches!(what, EventKind::Stopped { why } if why == "finished");
    let finished = times(log, sender, is_end);
    let is_orderly = |closed_ns: i64| {
        finished.iter().any(|end_ns| (closed_ns..=closed_ns.saturating_add(ORDERLY_NS)).contains(end_ns))
    };
    let mut closings = times(log, sender, |what| matches!(what, EventKind::ConnectionClosed { .. }));
    closings.retain(|closed_ns| !is_orderly(*closed_ns));
    closings.extend(times(log, sender, |what| matches!(what, EventKind::Stopped { .. }) && !is_end(what)));
    closings
}

fn times(log: &Log<'_>, host: &str, is_wanted: impl Fn(&EventKind) -> bool) -> Vec<i64> {
    log.of(host).filter(|event| is_wanted(&event.what)).map(|event| event.t_ns).collect()
}

/// Interval and payload of the units. Both ends of a call send alike.
fn workload(log: &Log<'_>, sender: &str) -> (Option<i64>, Option<u32>) {
    let of = |host: &str| {
        log.of(host).find_map(|event| match event.what {
            EventKind::Workload { workload: WorkloadKind::Call, interval_ns: Some(interval), payload } => {
                Some((i64::try_from(interval).ok().filter(|interval| *interval > 0), payload))
            }
            _ => None,
        })
    };
    let other = if sender == log.client() { log.server() } else { log.client() };
    of(sender).or_else(|| of(other)).unwrap_or_default()
}
