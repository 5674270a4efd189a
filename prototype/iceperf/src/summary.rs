//! The state of a call and of transfers, folded from its events: what people read as it goes, and the document of `--json`.
//!
//! Interruptions are left out: they are measured from both ends' records, by `testbed`.

use crate::transfer::{self, Transfer};
use record::{Blocking, CandidateKind, EventKind, PathState};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Everything so far.
#[derive(Debug)]
pub(crate) struct Summary {
    start: Option<Instant>,
    connected: Option<Connected>,
    paths: BTreeMap<u64, Path>,
    active: Option<u64>,
    sent: u64,
    expired: u64,
    received: Received,
    /// Between two datagrams that this end sends.
    interval: Duration,
    transfers: Vec<Transfer>,
    rejected: BTreeMap<String, u64>,
    blocking: Vec<Blocking>,
}

/// The connection.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Connected {
    /// Shared by both ends.
    pub(crate) connection: String,
    /// QUIC engine.
    pub(crate) engine: String,
    /// Several paths at once.
    pub(crate) multipath: bool,
    /// Since the start.
    pub(crate) after_ms: f64,
}

/// A QUIC path.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Path {
    /// Ours.
    pub(crate) local_interface: String,
    /// Theirs, if they told.
    pub(crate) remote_interface: Option<String>,
    /// Ours.
    pub(crate) local: SocketAddr,
    /// Theirs.
    pub(crate) remote: SocketAddr,
    /// Type.
    pub(crate) kind: CandidateKind,
    /// Newest.
    pub(crate) state: PathState,
    /// What brought the state about.
    pub(crate) cause: String,
    /// Newest.
    pub(crate) rtt_ms: Option<f64>,
    /// When it was first heard of.
    #[serde(skip)]
    pub(crate) opened: Instant,
    /// Newest.
    #[serde(flatten)]
    pub(crate) sample: Sample,
}

/// What a path carried up to one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Sample {
    /// That moment; none before the first sample.
    #[serde(skip)]
    pub(crate) at: Option<Instant>,
    /// UDP payload.
    pub(crate) bytes_sent: u64,
    /// UDP payload.
    pub(crate) bytes_received: u64,
    /// QUIC packets, where the engine counts them.
    pub(crate) packets_sent: Option<u64>,
    /// Those that the engine took for lost.
    pub(crate) packets_lost: Option<u64>,
}

/// What arrived, by sequence numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    count: u64,
    first: Option<u64>,
    highest: u64,
    /// When waiting began: with the connection.
    since: Option<Instant>,
    /// When the newest arrived.
    newest: Option<Instant>,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Datagrams that the workload produced.
    pub(crate) sent: u64,
    /// Datagrams among those sent that never left, since they were older than 400 ms before the engine took them.
    pub(crate) expired: u64,
    /// Datagrams.
    pub(crate) received: u64,
    /// Datagrams of the other peer that are missing between those that arrived. What it sent after the newest of them
    /// cannot be known here: see [`Summary::silent`].
    #[serde(rename = "missing_between_arrivals")]
    pub(crate) missing: u64,
}

/// What `--json` prints.
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    version: &'static str,
    role: &'a str,
    outcome: &'a str,
    why: Option<String>,
    duration_ms: f64,
    connection: Option<&'a Connected>,
    call: Counts,
    bulk: Vec<transfer::Told<'a>>,
    /// Since the newest arrival, or since the connection if there was none.
    silent_at_end_ms: Option<f64>,
    paths: Vec<&'a Path>,
    rejected: &'a BTreeMap<String, u64>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    blocking: &'a [Blocking],
}

impl Summary {
    /// Before anything happened.
    pub(crate) fn new() -> Self {
        Self {
            start: None,
            connected: None,
            paths: BTreeMap::new(),
            active: None,
            sent: 0,
            expired: 0,
            received: Received::default(),
            interval: Duration::ZERO,
            transfers: Vec::new(),
            rejected: BTreeMap::new(),
            blocking: Vec::new(),
        }
    }

    /// Takes one event in.
    pub(crate) fn apply(&mut self, at: Instant, event: &EventKind) {
        match event {
            EventKind::Started {} => self.start = Some(at),
            EventKind::Connected { connection, engine, multipath } => {
                self.received.since = Some(at);
                self.connected = Some(Connected {
                    connection: connection.clone(),
                    engine: engine.clone(),
                    multipath: *multipath,
                    after_ms: milliseconds(self.since_start(at)),
                });
            }
            EventKind::Path { .. } => self.path(at, event),
            EventKind::PathSample {
                path,
                bytes_sent,
                bytes_received,
                rtt_ns,
                packets_sent,
                packets_lost,
                ..
            } => {
                if let Some(path) = self.paths.get_mut(path) {
                    path.sample = Sample {
                        at: Some(at),
                        bytes_sent: *bytes_sent,
                        bytes_received: *bytes_received,
                        packets_sent: *packets_sent,
                        packets_lost: *packets_lost,
                    };
                    path.rtt_ms = rtt_ns.map(|rtt| rtt as f64 / 1e6).or(path.rtt_ms);
                }
            }
            EventKind::BulkBegins { .. } => {
                self.transfers.extend(Transfer::begin(self.since_start(at), event));
            }
            EventKind::BulkSent { object, .. }
            | EventKind::BulkArrived { object, .. }
            | EventKind::BulkEnded { object, .. } => {
                let at = self.since_start(at);
                let newest = self.transfers.iter_mut().rev().find(|transfer| transfer.object == *object);
                if let Some(transfer) = newest {
                    transfer.apply(at, event);
                }
            }
            EventKind::PayloadSent { .. } => self.sent += 1,
            EventKind::PayloadExpired { .. } => self.expired += 1,
            EventKind::PayloadReceived { sequence, .. } => self.received.add(at, *sequence),
            EventKind::Workload { interval_ns: Some(interval), .. } => {
                self.interval = Duration::from_nanos(*interval);
            }
            EventKind::Blocking(found) => self.blocking.push(found.clone()),
            EventKind::Rejected { reason, count, .. } => {
                self.rejected.insert(reason.clone(), *count);
            }
            _ => {}
        }
    }

    fn path(&mut self, at: Instant, event: &EventKind) {
        let EventKind::Path {
            path, interface, remote_interface, local, remote, candidate, state, cause, ..
        } = event
        else {
            return;
        };
        match state {
            PathState::Active => self.active = Some(*path),
            _ if self.active == Some(*path) => self.active = None,
            _ => {}
        }
        let old = self.paths.get(path);
        let new = Path {
            local_interface: interface.clone(),
            remote_interface: remote_interface.clone(),
            local: *local,
            remote: *remote,
            kind: *candidate,
            state: *state,
            cause: cause.clone(),
            rtt_ms: old.and_then(|old| old.rtt_ms),
            opened: old.map_or(at, |old| old.opened),
            sample: old.map_or(Sample { at: Some(at), ..Sample::default() }, |old| old.sample),
        };
        self.paths.insert(*path, new);
    }

    /// Time since the start; zero before it.
    pub(crate) fn since_start(&self, at: Instant) -> Duration {
        self.start.map(|start| at.saturating_duration_since(start)).unwrap_or_default()
    }

    /// The connection, once there is one.
    pub(crate) fn connected(&self) -> Option<&Connected> {
        self.connected.as_ref()
    }

    /// The path that carries the payload.
    pub(crate) fn active(&self) -> Option<&Path> {
        self.active.and_then(|path| self.paths.get(&path))
    }

    /// Counts so far.
    pub(crate) fn counts(&self) -> Counts {
        let Received { count: received, .. } = self.received;
        Counts { sent: self.sent, expired: self.expired, received, missing: self.received.missing() }
    }

    /// How long nothing has arrived, since the connection; none without one.
    pub(crate) fn silent(&self, now: Instant) -> Option<Duration> {
        let since = self.received.newest.or(self.received.since)?;
        Some(now.saturating_duration_since(since))
    }

    /// The same, if it is more than jitter: than five intervals of whichever end sends less often.
    pub(crate) fn notably_silent(&self, now: Instant) -> Option<Duration> {
        if !self.has_call() && !self.transfers.is_empty() {
            return None;
        }
        let interval = self.interval.max(self.received.mean_interval());
        self.silent(now).filter(|silent| *silent > interval * 5)
    }

    /// All paths by number, also closed ones.
    pub(crate) fn paths(&self) -> &BTreeMap<u64, Path> {
        &self.paths
    }

    /// All transfers in the order in which they began, also those that are over.
    pub(crate) fn transfers(&self) -> &[Transfer] {
        &self.transfers
    }

    /// Whether either end sends datagrams of a call.
    pub(crate) fn has_call(&self) -> bool {
        !self.interval.is_zero() || self.received.count > 0
    }

    /// What a probe found out.
    pub(crate) fn blocking(&self) -> &[Blocking] {
        &self.blocking
    }

    /// Datagrams dropped without effect, by reason.
    pub(crate) fn rejected(&self) -> &BTreeMap<String, u64> {
        &self.rejected
    }

    /// The document of `--json`.
    pub(crate) fn document<'a>(
        &'a self,
        now: Instant,
        role: &'a str,
        outcome: &'a str,
        why: Option<String>,
    ) -> Document<'a> {
        Document {
            version: env!("CARGO_PKG_VERSION"),
            role,
            outcome,
            why,
            duration_ms: milliseconds(self.since_start(now)),
            connection: self.connected.as_ref(),
            call: self.counts(),
            bulk: self.transfers.iter().map(|transfer| transfer.told(self.since_start(now))).collect(),
            silent_at_end_ms: self.silent(now).map(milliseconds),
            paths: self.paths.values().collect(),
            rejected: &self.rejected,
            blocking: &self.blocking,
        }
    }
}

impl Received {
    fn add(&mut self, at: Instant, sequence: u64) {
        self.newest = Some(at);
        self.count += 1;
        self.first = Some(self.first.map_or(sequence, |first| first.min(sequence)));
        self.highest = self.highest.max(sequence);
    }

    fn missing(&self) -> u64 {
        let Some(first) = self.first else { return 0 };
        (self.highest - first).saturating_add(1).saturating_sub(self.count)
    }

    /// Between the other peer's datagrams, by those that arrived; zero if too few did.
    fn mean_interval(&self) -> Duration {
        let (Some(since), Some(newest)) = (self.since, self.newest) else { return Duration::ZERO };
        let sent = self.first.map_or(0, |first| self.highest - first);
        match u32::try_from(sent) {
            Ok(sent) if sent > 0 => newest.saturating_duration_since(since) / sent,
            _ => Duration::ZERO,
        }
    }
}

/// With three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use record::WorkloadKind;

    pub(crate) fn path(path: u64, interface: &str, state: PathState) -> EventKind {
        EventKind::Path {
            path,
            pair: 1,
            interface: interface.into(),
            remote_interface: Some("eth0".into()),
            local: "192.0.2.1:1".parse().unwrap(),
            remote: "192.0.2.2:2".parse().unwrap(),
            candidate: CandidateKind::Srflx,
            state,
            cause: "test".into(),
        }
    }

    pub(crate) fn sample(path: u64, sent: u64, received: u64, packets: Option<(u64, u64)>) -> EventKind {
        EventKind::PathSample {
            path,
            bytes_sent: sent,
            bytes_received: received,
            rtt_ns: Some(2_500_000),
            packets_sent: packets.map(|(sent, _)| sent),
            packets_lost: packets.map(|(_, lost)| lost),
            congestion_window: None,
        }
    }

    pub(crate) fn received(sequence: u64) -> EventKind {
        EventKind::PayloadReceived {
            workload: WorkloadKind::Call,
            sequence,
            sent_t_ns: 0,
            bytes: 58,
            path: None,
        }
    }

    #[test]
    fn missing_are_holes_up_to_the_newest() {
        let mut summary = Summary::new();
        let now = Instant::now();
        assert_eq!(summary.counts(), Counts::default());
        for sequence in [3, 5, 4, 8] {
            summary.apply(now, &received(sequence));
        }
        assert_eq!(summary.counts(), Counts { received: 4, missing: 2, ..Counts::default() });
    }

    #[test]
    fn what_was_too_old_to_be_sent_is_counted() {
        let mut summary = Summary::new();
        let now = Instant::now();
        for sequence in 0..3 {
            let workload = WorkloadKind::Call;
            summary.apply(now, &EventKind::PayloadSent { workload, sequence, bytes: 58 });
        }
        summary.apply(now, &EventKind::PayloadExpired { workload: WorkloadKind::Call, sequence: 1 });
        assert_eq!(summary.counts(), Counts { sent: 3, expired: 1, ..Counts::default() });
    }

    #[test]
    fn silence_counts_from_the_newest_arrival_and_is_notable_after_five_intervals() {
        let mut summary = Summary::new();
        let now = Instant::now();
        let after = |milliseconds| now + Duration::from_millis(milliseconds);
        summary.apply(now, &EventKind::Started {});
        assert_eq!(summary.silent(after(1000)), None, "nobody to be silent");
        let connected =
            EventKind::Connected { connection: "c".into(), engine: "noq".into(), multipath: true };
        summary.apply(now, &connected);
        let interval_ns = Some(20_000_000);
        let workload = EventKind::Workload { workload: WorkloadKind::Call, interval_ns, payload: Some(58) };
        summary.apply(now, &workload);
        assert_eq!(summary.notably_silent(after(300)), Some(Duration::from_millis(300)));
        summary.apply(after(20), &received(0));
        summary.apply(after(40), &received(1));
        assert_eq!(summary.notably_silent(after(140)), None);
        assert_eq!(summary.notably_silent(after(6040)), Some(Duration::from_secs(6)));
        let document = serde_json::to_value(summary.document(after(6040), "client", "unreachable", None));
        let document = document.unwrap();
        assert_eq!(document["silent_at_end_ms"], 6000.0);
        assert_eq!(document["call"]["missing_between_arrivals"], 0);
        // A peer that sends once a second is not silent after half of one.
        summary.apply(after(2040), &received(2));
        assert_eq!(summary.notably_silent(after(3000)), None);
    }

    #[test]
    fn the_active_path_is_the_newest_that_says_so() {
        let mut summary = Summary::new();
        let now = Instant::now();
        summary.apply(now, &path(0, "wlan0", PathState::Active));
        summary.apply(now, &path(1, "wwan0", PathState::Backup));
        assert_eq!(summary.active().unwrap().local_interface, "wlan0");
        summary.apply(now, &sample(1, 7, 8, None));
        summary.apply(now, &path(1, "wwan0", PathState::Active));
        summary.apply(now, &path(0, "wlan0", PathState::Closed));
        let active = summary.active().unwrap();
        assert_eq!((active.local_interface.as_str(), active.rtt_ms), ("wwan0", Some(2.5)));
        assert_eq!(summary.paths().len(), 2);
        summary.apply(now, &path(1, "wwan0", PathState::Closed));
        assert!(summary.active().is_none());
    }
}
