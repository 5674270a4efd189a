//! One direction of the call: what was sent, what arrived when, and the silences between.

use super::{HORIZON, LATE_AFTER, log::Log};
use crate::{EventKind, FlowMetrics, Millis};
use std::collections::{BTreeMap, BTreeSet};

const HORIZON_NS: i64 = HORIZON.as_nanos() as i64;
const LATE_AFTER_NS: i64 = LATE_AFTER.as_nanos() as i64;
const NS_PER_S: f64 = 1e9;

/// One direction.
pub(super) struct Flow {
    /// Subtracted from every silence: this much is normal.
    interval_ns: i64,
    /// When each datagram first left, by its sequence number.
    sent: BTreeMap<u64, i64>,
    /// First arrivals in order of time. A second copy brings nothing new and ends no silence.
    arrivals: Vec<Arrival>,
    end_ns: i64,
}

/// A datagram's first arrival.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) t_ns: i64,
    /// The receiver's path.
    pub(super) path: Option<u64>,
    sequence: u64,
    sent_t_ns: i64,
    bytes: u32,
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

impl Flow {
    pub(super) fn new(log: &Log<'_>, sender: &str, receiver: &str) -> Self {
        let interval_ns =
            sending_interval(log, sender).or_else(|| sending_interval(log, receiver)).unwrap_or(0);
        let mut flow = Self { interval_ns, sent: BTreeMap::new(), arrivals: vec![], end_ns: log.end_ns() };
        for event in log.of(sender) {
            if let EventKind::PayloadSent { sequence, .. } = event.what {
                flow.sent.entry(sequence).or_insert(event.t_ns);
            }
        }
        let mut seen = BTreeSet::new();
        for event in log.of(receiver) {
            if let EventKind::PayloadReceived { sequence, sent_t_ns, bytes, path, .. } = event.what
                && seen.insert(sequence)
            {
                flow.arrivals.push(Arrival { t_ns: event.t_ns, sequence, sent_t_ns, bytes, path });
            }
        }
        flow
    }

    /// Nothing was sent and nothing arrived.
    pub(super) fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.arrivals.is_empty()
    }

    /// The silence that a disturbance is charged with: the longest that begins before the earlier of the horizon and
    /// the next disturbance, and ends after it.
    ///
    /// The next disturbance is a deliberate refinement: without it, steps closer than the horizon would be charged
    /// with each other's silence. Towards it, a silence begins two sending intervals after the last arrival: one is
    /// always there, and with jitter nearly two. One that was under way at both disturbances is charged to both.
    pub(super) fn interruption(&self, at_ns: i64, next_ns: Option<i64>) -> Option<Silence> {
        let horizon = at_ns.saturating_add(HORIZON_NS);
        let charged = self.silences().filter(|silence| {
            let begins_ns = silence.from_ns.saturating_add(self.interval_ns.saturating_mul(2));
            let is_of_next = silence.from_ns > at_ns && next_ns.is_some_and(|next| begins_ns >= next);
            silence.from_ns < horizon && silence.to_ns > at_ns && !is_of_next
        });
        charged.max_by_key(|silence| silence.beyond)
    }

    /// Something arrived from an instant on.
    pub(super) fn is_heard_from(&self, at_ns: i64) -> bool {
        self.arrivals.last().is_some_and(|last| last.t_ns >= at_ns)
    }

    /// Something was sent, and from the disturbance on nothing arrived although there was time for it.
    pub(super) fn is_dead_after(&self, at_ns: i64) -> bool {
        let time_left = self.end_ns.saturating_sub(at_ns) > self.patience_ns();
        !self.is_empty() && time_left && self.arrivals.last().is_none_or(|last| last.t_ns <= at_ns)
    }

    /// The longest silence in the horizon before the disturbance, cut off at the disturbance.
    pub(super) fn gap_before(&self, at_ns: i64) -> Option<Millis> {
        let horizon = at_ns.saturating_sub(HORIZON_NS);
        let before = self.arrivals.iter().map(|arrival| arrival.t_ns).take_while(|t_ns| *t_ns < at_ns);
        let times: Vec<i64> = before.chain([at_ns]).collect();
        let gaps = times.windows(2).filter(|pair| pair[1] > horizon);
        gaps.map(|pair| self.beyond(pair[0], pair[1])).max()
    }

    /// The last arrival before an instant.
    pub(super) fn last_before(&self, t_ns: i64) -> Option<Arrival> {
        self.arrivals.iter().take_while(|arrival| arrival.t_ns < t_ns).last().copied()
    }

    /// Arrivals of datagrams that nobody is recorded to have sent; 0 when no sending was recorded at all.
    pub(super) fn unrecorded(&self) -> usize {
        if self.sent.is_empty() {
            return 0;
        }
        self.arrivals.iter().filter(|arrival| !self.sent.contains_key(&arrival.sequence)).count()
    }

    pub(super) fn metrics(&self) -> FlowMetrics {
        let late = |arrival: &&Arrival| arrival.t_ns.saturating_sub(arrival.sent_t_ns) > LATE_AFTER_NS;
        FlowMetrics {
            sent: self.sent.len() as u64,
            received: self.arrivals.len() as u64,
            lost: self.lost(),
            late: self.arrivals.iter().filter(late).count() as u64,
            packets_per_s: self.packets_per_s(),
            bit_rate: self.bit_rate(),
        }
    }

    /// Between arrivals, and from the last one to the end when it is too long for a datagram under way.
    fn silences(&self) -> impl Iterator<Item = Silence> + '_ {
        let between = self.arrivals.windows(2).map(|pair| self.silence(pair[0].t_ns, pair[1].t_ns, false));
        let last = self.arrivals.last().map(|last| self.silence(last.t_ns, self.end_ns, true));
        let at_end =
            last.filter(|silence| silence.to_ns.saturating_sub(silence.from_ns) > self.patience_ns());
        between.chain(at_end)
    }

    fn silence(&self, from_ns: i64, to_ns: i64, for_good: bool) -> Silence {
        Silence { from_ns, to_ns, beyond: self.beyond(from_ns, to_ns), for_good }
    }

    fn beyond(&self, from_ns: i64, to_ns: i64) -> Millis {
        Millis::from_ns(to_ns.saturating_sub(from_ns).saturating_sub(self.interval_ns)).at_least_zero()
    }

    /// At the end of the run, a silence up to this long says nothing.
    fn patience_ns(&self) -> i64 {
        self.interval_ns.saturating_add(LATE_AFTER_NS)
    }

    fn lost(&self) -> u64 {
        let arrived: BTreeSet<u64> = self.arrivals.iter().map(|arrival| arrival.sequence).collect();
        let had_time = |sent_ns: i64| sent_ns <= self.end_ns.saturating_sub(LATE_AFTER_NS);
        let lost =
            self.sent.iter().filter(|(sequence, sent)| had_time(**sent) && !arrived.contains(sequence));
        lost.count() as u64
    }

    fn packets_per_s(&self) -> Option<f64> {
        let intervals = self.arrivals.len().checked_sub(1)?;
        Some((intervals as f64 / self.seconds()? * 1e3).round() / 1e3)
    }

    /// The first arrival opens the measured time and is not part of what fell into it.
    fn bit_rate(&self) -> Option<u64> {
        let bytes: u64 = self.arrivals.iter().skip(1).map(|arrival| u64::from(arrival.bytes)).sum();
        Some((bytes as f64 * 8.0 / self.seconds()?).round() as u64)
    }

    /// First to last arrival.
    fn seconds(&self) -> Option<f64> {
        let span = self.arrivals.last()?.t_ns.saturating_sub(self.arrivals.first()?.t_ns);
        (span > 0).then_some(span as f64 / NS_PER_S)
    }
}

fn sending_interval(log: &Log<'_>, host: &str) -> Option<i64> {
    log.of(host).find_map(|event| match event.what {
        EventKind::Workload { interval_ns: Some(interval), .. } => i64::try_from(interval).ok(),
        _ => None,
    })
}
