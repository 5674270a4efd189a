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
    /// Every run of missed units of a call of 60 ms or more, in order of time, whatever it came from.
    #[serde(default)]
    pub episodes: Vec<Episode>,
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

/// A figure for each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PerDirection<T> {
    /// From the client's host to the server's.
    pub up: T,
    /// From the server's host to the client's.
    pub down: T,
}

impl<T> PerDirection<T> {
    /// Both, up first.
    pub fn each(&self) -> [&T; 2] {
        [&self.up, &self.down]
    }
}

/// Units of a call that a receiver could not play, by how much later than usual it is ready to play them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MissedMedia {
    /// Later by more than 20 ms, or never.
    pub j20: MissedRuns,
    /// Later by more than 60 ms, or never: the headline.
    pub j60: MissedRuns,
    /// Later by more than 150 ms, or never.
    pub j150: MissedRuns,
}

/// Missed units as time: their number times the sender's interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MissedRuns {
    /// Of the longest run of missed units.
    pub longest_ms: Millis,
    /// Of all of them.
    pub total_ms: Millis,
}

/// The record ends before payload came again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Censored {
    /// From the step until the last unit was due.
    pub horizon_ms: Millis,
}

/// How a host that lost an interface came to another path: consecutive times, `null` where there was no such phase.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Phases {
    /// From the step until that host noticed.
    pub detect_ms: Option<Millis>,
    /// Until it had its first local candidate on the interface of `path_after`.
    pub gather_ms: Option<Millis>,
    /// Until the first check from there was answered; `null` where one was answered before the step already.
    pub check_ms: Option<Millis>,
    /// Until the path was active.
    pub nominate_ms: Option<Millis>,
    /// Until payload arrived over it, at either end.
    pub first_byte_ms: Option<Millis>,
}

/// A run of missed units of a call, anywhere in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Episode {
    /// When its first unit was due.
    pub start_ms: Millis,
    /// Which way.
    pub direction: Direction,
    /// Number of its units times the sender's interval.
    pub missed_ms: Millis,
    /// What it came from.
    pub cause: EpisodeCause,
    /// Place in the timeline of the step in whose window it begins.
    pub step: Option<usize>,
}

/// What an episode came from: the first of these that holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum EpisodeCause {
    /// A process of ours stood still during it.
    Harness,
    /// It begins in the window of a step.
    Step,
    /// The receiver's path differs across it.
    PathChange,
    /// The network model dropped or delayed its packets.
    Model,
    /// Nothing of the record explains it.
    Unexplained,
}

/// The word on disk.
impl fmt::Display for EpisodeCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            EpisodeCause::Harness => "harness",
            EpisodeCause::Step => "step",
            EpisodeCause::PathChange => "path-change",
            EpisodeCause::Model => "model",
            EpisodeCause::Unexplained => "unexplained",
        })
    }
}

/// One applied step of the timeline and what it did to the payload. Steps of one instant have the same figures, except
/// for those of the host that lost an interface.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DisturbanceMetrics {
    /// Place in the timeline, from 0.
    #[serde(default)]
    pub step: usize,
    /// The scenario's name for the step.
    #[serde(default)]
    pub name: Option<String>,
    /// Time zero to the moment it was applied and read back.
    pub at_ms: Millis,
    /// The step and its target, such as `down laptop.wlan0`.
    pub what: String,
    /// Units of the call that came too late or never; `null` where there was no call, or fewer than ten arrivals before
    /// the step to tell its usual delay by.
    #[serde(default)]
    pub missed: PerDirection<Option<MissedMedia>>,
    /// By how much longer the call's units take in the second after the longest silence than before the step.
    #[serde(default)]
    pub delay_step_ms: PerDirection<Option<Millis>>,
    /// Nothing came any more in a direction: every figure is a lower bound.
    #[serde(default)]
    pub censored: Option<Censored>,
    /// The larger of `up_ms` and `down_ms`: silence and change of delay together.
    pub interruption_ms: Option<Millis>,
    /// Longest silence from the client's host to the server's, less the sending interval, at least 0. Of those that
    /// begin before the earlier of 5 s after the step and the next later step, and end after the step.
    pub up_ms: Option<Millis>,
    /// The same from the server's host to the client's.
    pub down_ms: Option<Millis>,
    /// Longest silence of either direction in the 5 s before, less the sending interval; a silence that was under
    /// way when the step was applied counts up to that moment.
    pub gap_before_ms: Option<Millis>,
    /// How long a process of ours stood still, or the model was late, while the step was charged with what happened.
    #[serde(default)]
    pub harness_ms: Millis,
    /// From the step until the first peer noticed, at least 0.
    pub detected_ms: Option<Millis>,
    /// What gave it away.
    pub detected_by: Option<DetectedBy>,
    /// Number of the client's path that carried the payload before, one of `paths`.
    pub path_before: Option<u64>,
    /// ... and after: 5 s later or before the next step, whichever is earlier, but not before the silence was over.
    /// `null` when no path was left.
    pub path_after: Option<u64>,
    /// At the host that lost its interface: from the last payload on a path of it to the first answer to a check that was
    /// sent after the step on the interface of `path_after`; `null` if that interface had an answered check before.
    #[serde(default)]
    pub rebuild_ms: Option<Millis>,
    /// What that host did in the meantime; `null` if the step took no interface away.
    #[serde(default)]
    pub phases: Option<Phases>,
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
        self.kind().is_some_and(DisturbanceKind::is_loss)
    }

    /// The step only changed a preference.
    pub fn is_preference(&self) -> bool {
        self.kind().is_some_and(DisturbanceKind::is_preference)
    }

    /// The headline: media missed in the worse direction at a budget of 60 ms. None unless both were measured.
    pub fn missed_ms(&self) -> Option<Millis> {
        let [up, down] = self.missed.each().map(|missed| missed.map(|missed| missed.j60.total_ms));
        Some(up?.max(down?))
    }

    fn kind(&self) -> Option<DisturbanceKind> {
        let word = self.what.split(' ').next().unwrap_or_default();
        DisturbanceKind::ALL.into_iter().find(|kind| kind.word() == word)
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
    /// In at least one direction the payload fell silent at this step, for a second or more, and never came back; without
    /// payload, no path was left; or there never was a call.
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
