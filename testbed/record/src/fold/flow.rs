//! One direction of the call: what was sent, what arrived and when.

use super::{
    LATE_AFTER,
    arrivals::{Arrivals, Burst},
    log::Log,
    media::{J60_NS, Media},
};
use crate::{EventKind, FlowMetrics, WorkloadKind};
use std::collections::{BTreeMap, BTreeSet};

const LATE_AFTER_NS: i64 = LATE_AFTER.as_nanos() as i64;
const NS_PER_S: f64 = 1e9;

/// One direction.
pub(super) struct Flow {
    /// When each datagram first left, by its sequence number.
    sent: BTreeMap<u64, i64>,
    /// First arrivals in order of time. A second copy brings nothing new and ends no silence.
    received: Vec<Received>,
    /// The same as the silences are told from.
    pub(super) arrivals: Arrivals,
    /// The same as missed media are told from.
    pub(super) media: Media,
}

/// A datagram's first arrival.
#[derive(Debug, Clone, Copy)]
struct Received {
    t_ns: i64,
    /// The receiver's path.
    path: Option<u64>,
    sequence: u64,
    sent_t_ns: i64,
    bytes: u32,
}

impl Flow {
    pub(super) fn new(log: &Log<'_>, sender: &str, receiver: &str) -> Self {
        let sent = sent(log, sender);
        let received = received(log, receiver);
        let interval_ns =
            sending_interval(log, sender).or_else(|| sending_interval(log, receiver)).unwrap_or(0);
        let burst = |one: &Received| Burst { first_ns: one.t_ns, last_ns: one.t_ns, path: one.path };
        let arrivals = Arrivals {
            bursts: received.iter().map(burst).collect(),
            interval_ns,
            // One interval always lies between the last arrival and what silenced it; with jitter nearly two.
            margin_ns: interval_ns.saturating_mul(2),
            is_expected: !sent.is_empty() || !received.is_empty(),
            patience_ns: J60_NS,
            end_ns: log.end_ns(),
        };
        let first_arrivals = received.iter().map(|one| (one.sequence, one.t_ns, one.sent_t_ns, one.path));
        let media = Media::new(log, sender, &sent, first_arrivals);
        Self { sent, received, arrivals, media }
    }

    /// Nothing was sent and nothing arrived.
    pub(super) fn is_empty(&self) -> bool {
        !self.arrivals.is_expected
    }

    /// Arrivals of datagrams that nobody is recorded to have sent; 0 when no sending was recorded at all.
    pub(super) fn unrecorded(&self) -> usize {
        if self.sent.is_empty() {
            return 0;
        }
        self.received.iter().filter(|arrival| !self.sent.contains_key(&arrival.sequence)).count()
    }

    pub(super) fn metrics(&self) -> FlowMetrics {
        let late = |arrival: &&Received| arrival.t_ns.saturating_sub(arrival.sent_t_ns) > LATE_AFTER_NS;
        FlowMetrics {
            sent: self.sent.len() as u64,
            received: self.received.len() as u64,
            lost: self.lost(),
            late: self.received.iter().filter(late).count() as u64,
            packets_per_s: self.packets_per_s(),
            bit_rate: self.bit_rate(),
        }
    }

    fn lost(&self) -> u64 {
        let arrived: BTreeSet<u64> = self.received.iter().map(|arrival| arrival.sequence).collect();
        let had_time = |sent_ns: i64| sent_ns <= self.arrivals.end_ns.saturating_sub(LATE_AFTER_NS);
        let lost =
            self.sent.iter().filter(|(sequence, sent)| had_time(**sent) && !arrived.contains(sequence));
        lost.count() as u64
    }

    fn packets_per_s(&self) -> Option<f64> {
        let intervals = self.received.len().checked_sub(1)?;
        Some((intervals as f64 / self.seconds()? * 1e3).round() / 1e3)
    }

    /// The first arrival opens the measured time and is not part of what fell into it.
    fn bit_rate(&self) -> Option<u64> {
        let bytes: u64 = self.received.iter().skip(1).map(|arrival| u64::from(arrival.bytes)).sum();
        Some((bytes as f64 * 8.0 / self.seconds()?).round() as u64)
    }

    /// First to last arrival.
    fn seconds(&self) -> Option<f64> {
        let span = self.received.last()?.t_ns.saturating_sub(self.received.first()?.t_ns);
        (span > 0).then_some(span as f64 / NS_PER_S)
    }
}

fn sent(log: &Log<'_>, sender: &str) -> BTreeMap<u64, i64> {
    let mut sent = BTreeMap::new();
    for event in log.of(sender) {
        if let EventKind::PayloadSent { workload: WorkloadKind::Call, sequence, .. } = event.what {
            sent.entry(sequence).or_insert(event.t_ns);
        }
    }
    sent
}

fn received(log: &Log<'_>, receiver: &str) -> Vec<Received> {
    let mut seen = BTreeSet::new();
    let received = log.of(receiver).filter_map(|event| match event.what {
        EventKind::PayloadReceived { workload: WorkloadKind::Call, sequence, sent_t_ns, bytes, path } => {
            seen.insert(sequence).then_some(Received { t_ns: event.t_ns, path, sequence, sent_t_ns, bytes })
        }
        _ => None,
    });
    received.collect()
}

fn sending_interval(log: &Log<'_>, host: &str) -> Option<i64> {
    log.of(host).find_map(|event| match event.what {
        EventKind::Workload { workload: WorkloadKind::Call, interval_ns: Some(interval), .. } => {
            i64::try_from(interval).ok()
        }
        _ => None,
    })
}
