//! What the client's host checked: every remote candidate from every interface, whether a QUIC path came of it or not.

use super::log::Log;
use crate::{EventKind, Family, Millis, PairState, ProbeMetrics, statistics::median};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// One entry for each interface and remote address between which a pair was checked. Requests to servers are none.
pub(super) fn probes(log: &Log<'_>) -> Vec<ProbeMetrics> {
    let stopped = stopped(log);
    let mut probes: BTreeMap<(&str, SocketAddr), Probe> = BTreeMap::new();
    for event in log.of(log.client()) {
        match &event.what {
            EventKind::CheckSent { pair: Some(pair), interface, remote, .. } => {
                let probe = probes.entry((interface, *remote)).or_default();
                probe.pairs.insert(*pair);
                probe.sent.push(event.t_ns);
            }
            EventKind::CheckAnswered { pair: Some(_), interface, remote, .. } => {
                if let Some(probe) = probes.get_mut(&(interface.as_str(), *remote)) {
                    probe.answered += 1;
                }
            }
            _ => {}
        }
    }
    let metrics = |((interface, remote), probe): ((&str, SocketAddr), Probe)| ProbeMetrics {
        local_interface: interface.to_owned(),
        remote,
        family: Family::of(remote.ip()),
        sent: probe.sent.len() as u64,
        answered: probe.answered,
        interval_ms: probe.interval(),
        stopped_why: probe.stopped_why(&stopped),
    };
    probes.into_iter().map(metrics).collect()
}

/// The pairs that are checked no more: when and why that was so at last.
fn stopped(log: &Log<'_>) -> BTreeMap<u32, (i64, String)> {
    let mut stopped = BTreeMap::new();
    let mut policies = BTreeSet::new();
    for event in log.of(log.client()) {
        match &event.what {
            // What the policy says of a pair says more than that it failed, or was removed at last.
            EventKind::ProbingStopped { pair, why, .. } => {
                policies.insert(*pair);
                stopped.insert(*pair, (event.t_ns, why.to_string()));
            }
            EventKind::Pair { pair, state: PairState::Failed | PairState::Removed, cause, .. }
                if !policies.contains(pair) =>
            {
                stopped.insert(*pair, (event.t_ns, cause.clone()));
            }
            // One that is not probed is frozen, and stays stopped.
            EventKind::Pair { state: PairState::Failed | PairState::Removed | PairState::Frozen, .. } => {}
            EventKind::Pair { pair, .. } => {
                policies.remove(pair);
                stopped.remove(pair);
            }
            _ => {}
        }
    }
    stopped
}

/// The checks of one entry. Several pairs are of one entry when the interface has several addresses, or was away.
#[derive(Default)]
struct Probe {
    pairs: BTreeSet<u32>,
    sent: Vec<i64>,
    answered: u64,
}

impl Probe {
    fn interval(&self) -> Option<Millis> {
        let intervals: Vec<i64> = self.sent.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        median(&intervals).map(Millis::from_ns)
    }

    /// None while one of the pairs is still checked.
    fn stopped_why(&self, stopped: &BTreeMap<u32, (i64, String)>) -> Option<String> {
        let ends: Option<Vec<_>> = self.pairs.iter().map(|pair| stopped.get(pair)).collect();
        ends?.into_iter().max_by_key(|(t_ns, _)| *t_ns).map(|(_, why)| why.clone())
    }
}
