//! `results.json`: what a run measured. Types only; [`crate::fold`] fills them in.
//!
//! Left out because no event of this version carries it: video, request and blocking. A figure that a
//! run could not measure is `null`, never 0.

use crate::{CandidateKind, DetectedBy, Direction, DisturbanceKind, Family, Millis};
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// The document `results.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Name of the scenario.
    pub scenario: String,
    /// Where it ran, such as `netns`.
    pub backend: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Whether the figures may be used at all.
    pub valid: bool,
    /// Why not, when they may not.
    pub invalid_why: Option<String>,
    /// Time zero to the planned end.
    pub duration_ms: Millis,
    /// The run directory.
    pub run_dir: String,
    /// Every expectation of the scenario and its verdict.
    pub expectations: Vec<ExpectationVerdict>,
    /// The figures.
    pub metrics: Metrics,
}

/// What came of one expectation of the scenario.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExpectationVerdict {
    /// The scenario's word for it, with `at` where one is given.
    pub name: String,
    /// What was to hold, for people.
    pub expected: String,
    /// What was measured, for people; `none` when nothing was.
    pub measured: String,
    /// Whether it held. A missing measurement never holds.
    pub ok: bool,
}

/// The figures of a run. All times are those of the client's host unless a field says otherwise.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Metrics {
    /// Time zero to the first pair that can carry data, of any kind.
    pub first_path_ms: Option<Millis>,
    /// ... to the first pair without a relay.
    pub direct_path_ms: Option<Millis>,
    /// ... to the first pair with a relay at either end.
    pub relay_path_ms: Option<Millis>,
    /// Every QUIC path, in the order of their numbers.
    pub paths: Vec<PathMetrics>,
    /// Every remote address that a pair led to and that was checked, by interface and address.
    #[serde(default)]
    pub probes: Vec<ProbeMetrics>,
    /// Every step of the timeline that was applied, in order of time.
    pub disturbances: Vec<DisturbanceMetrics>,
    /// The call, when one was part of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallMetrics>,
    /// The transfer, when one was part of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk: Option<BulkMetrics>,
    /// What a probe of it found out, both directions of each pair of interfaces.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blocking: Vec<crate::Blocking>,
}

impl Metrics {
    /// There never was a call: no QUIC path was opened, and nothing arrived at either end.
    pub fn is_without_call(&self) -> bool {
        let received =
            self.call.as_ref().map_or(0, |call| call.up.received.saturating_add(call.down.received));
        self.paths.is_empty() && received == 0
    }
}

/// One QUIC path as the client's host saw it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PathMetrics {
    /// Number of the path.
    pub id: u64,
    /// Kernel name of the interface on the client's host.
    pub local_interface: String,
    /// The server's name for its interface, when it told one.
    pub remote_interface: Option<String>,
    /// IP version.
    pub family: Family,
    /// Candidate type of the pair below it.
    pub kind: CandidateKind,
    /// Time zero to its pair's first answered check.
    pub first_usable_ms: Option<Millis>,
    /// From then until QUIC had validated it.
    pub in_quic_ms: Option<Millis>,
    /// Time zero to its close.
    pub closed_ms: Option<Millis>,
    /// Why it was closed.
    pub closed_why: Option<String>,
    /// Connectivity checks sent on its pair, retransmissions counted.
    pub checks_sent: u64,
    /// Checks on its pair that were answered.
    pub checks_answered: u64,
    /// Time zero to the first check on its pair.
    pub first_check_ms: Option<Millis>,
    /// Time between two checks on its pair.
    pub check_interval_ms: Option<IntervalSummary>,
    /// UDP payload bytes sent, as the path's last sample tells.
    pub bytes_sent: Option<u64>,
    /// UDP payload bytes received, as the path's last sample tells.
    pub bytes_received: Option<u64>,
    /// QUIC packets sent, as the path's last sample tells.
    #[serde(default)]
    pub packets_sent: Option<u64>,
    /// Those of them that the engine took for lost.
    #[serde(default)]
    pub packets_lost: Option<u64>,
    /// QUIC's smoothed round-trip time, sampled every 100 ms; that of the answered checks when no sample tells one.
    pub rtt_ms: Option<RttSummary>,
}

/// The checks from one interface to one remote address, over all pairs between them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeMetrics {
    /// Kernel name of the interface on the client's host.
    pub local_interface: String,
    /// Where the checks went.
    pub remote: SocketAddr,
    /// IP version.
    pub family: Family,
    /// Checks sent, retransmissions counted.
    pub sent: u64,
    /// Checks that were answered.
    pub answered: u64,
    /// Middle value of the time between two checks.
    pub interval_ms: Option<Millis>,
    /// Why its last pair failed, was removed, or is not probed any more by the policy; `null` while one is still
    /// checked.
    pub stopped_why: Option<String>,
}

/// Spread of an interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct IntervalSummary {
    /// Middle value.
    pub median: Millis,
    /// Nearest-rank 95th percentile.
    pub p95: Millis,
}

/// Spread of a round-trip time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RttSummary {
    /// Smallest.
    pub min: Millis,
    /// Middle value.
    pub median: Millis,
    /// Nearest-rank 95th percentile.
    pub p95: Millis,
}

/// One applied step of the timeline and what it did to the payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DisturbanceMetrics {
    /// Time zero to the moment it was applied and read back.
    pub at_ms: Millis,
    /// The step and its target, such as `down laptop.wlan0`.
    pub what: String,
    /// The larger of `up_ms` and `down_ms`.
    pub interruption_ms: Option<Millis>,
    /// Longest silence from the client's host to the server's, less the sending interval, at least 0. Of those that
    /// begin before the earlier of 5 s after the step and the next step, and end after the step.
    pub up_ms: Option<Millis>,
    /// The same from the server's host to the client's.
    pub down_ms: Option<Millis>,
    /// Longest silence of either direction in the 5 s before, less the sending interval; a silence that was under
    /// way when the step was applied counts up to that moment.
    pub gap_before_ms: Option<Millis>,
    /// From the step until the first peer noticed, at least 0.
    pub detected_ms: Option<Millis>,
    /// What gave it away.
    pub detected_by: Option<DetectedBy>,
    /// Number of the client's path that carried the payload before, one of `paths`.
    pub path_before: Option<u64>,
    /// ... and after: 5 s later or before the next step, whichever is earlier, but not before the silence was over.
    /// `null` when no path was left.
    pub path_after: Option<u64>,
    /// How the payload got over it.
    pub how: How,
    /// Whether the QUIC connection of before carried payload afterwards.
    pub same_connection: bool,
    /// Bytes of the transfer that were sent again from this step until the next; `null` without one, since a call sends
    /// nothing twice.
    pub bytes_resent: Option<u64>,
    /// The same silence of the transfer, when the run had a call beside it; the figures above are then the call's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bulk_stall_ms: Option<Millis>,
}

impl DisturbanceMetrics {
    /// The step took something away.
    pub fn is_loss(&self) -> bool {
        let word = self.what.split(' ').next().unwrap_or_default();
        DisturbanceKind::ALL.into_iter().any(|kind| kind.is_loss() && kind.word() == word)
    }
}

/// How payload got over a disturbance. The first of these that holds, in the order
/// `failed`, `rebuilt`, `none`, `relay`, `multipath`, `migrated`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// Nothing was done: the payload stayed on its path, silent for a while or not.
    None,
    /// The same connection moved to a path that was not open when the step was applied, or its engine has one active
    /// path at a time.
    Migrated,
    /// The same connection went on over another path that was validated and open already.
    Multipath,
    /// A new connection was made.
    Rebuilt,
    /// The same connection left a direct path for a relayed one.
    Relay,
    /// In at least one direction the payload fell silent and never came back, no path was left, or there never was a
    /// call.
    Failed,
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            How::None => "none",
            How::Migrated => "migrated",
            How::Multipath => "multipath",
            How::Rebuilt => "rebuilt",
            How::Relay => "relay",
            How::Failed => "failed",
        })
    }
}

/// Both directions of the call.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CallMetrics {
    /// From the client's host to the server's.
    pub up: FlowMetrics,
    /// From the server's host to the client's.
    pub down: FlowMetrics,
}

/// One direction of a call.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct FlowMetrics {
    /// Datagrams that left the workload.
    pub sent: u64,
    /// Different datagrams that arrived.
    pub received: u64,
    /// Datagrams that never arrived. Those of the last [`crate::LATE_AFTER`] before the end are not counted: they
    /// may have been under way.
    pub lost: u64,
    /// Datagrams that arrived more than [`crate::LATE_AFTER`] after they were sent.
    pub late: u64,
    /// Arrivals per second, between the first and the last.
    pub packets_per_s: Option<f64>,
    /// Arriving payload, bits per second, between the first arrival and the last.
    pub bit_rate: Option<u64>,
}

/// A transfer: one object, one way, as fast as it goes. Measured where it arrives.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BulkMetrics {
    /// `up` from the client's host to the server's.
    pub direction: Direction,
    /// Different bytes that arrived.
    pub bytes: u64,
    /// Whether what arrived is what was sent; `null` when it ended before anybody could tell.
    pub sha256_ok: Option<bool>,
    /// Different bytes per time, in bits per second, from the beginning of the transfer to the newest arrival.
    pub goodput_bit_s: Option<u64>,
    /// Longest time without a new byte, between two of them or to the end of a run that did not end it. Gaps of up to
    /// 5 ms are not told one by one.
    pub longest_stall_ms: Option<Millis>,
    /// Goodput as a share of what the links of the client's host carry together; `null` when they have no bound.
    pub aggregation: Option<f64>,
}
