//! The state of a call, folded from its events: what people read as it goes, and the document of `--json`.
//!
//! Interruptions are left out: they are measured from both ends' records, by `testbed`.

use record::{CandidateKind, EventKind, PathState};
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
    received: Received,
    rejected: BTreeMap<String, u64>,
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
    /// UDP payload.
    pub(crate) bytes_sent: u64,
    /// UDP payload.
    pub(crate) bytes_received: u64,
}

/// What arrived, by sequence numbers.
#[derive(Debug, Clone, Copy, Default)]
struct Received {
    count: u64,
    first: Option<u64>,
    highest: u64,
}

/// Counts at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Counts {
    /// Datagrams.
    pub(crate) sent: u64,
    /// Datagrams.
    pub(crate) received: u64,
    /// Datagrams of the other peer that are missing, up to the newest one.
    pub(crate) lost: u64,
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
    paths: Vec<&'a Path>,
    rejected: &'a BTreeMap<String, u64>,
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
            received: Received::default(),
            rejected: BTreeMap::new(),
        }
    }

    /// Takes one event in.
    pub(crate) fn apply(&mut self, at: Instant, event: &EventKind) {
        match event {
            EventKind::Started {} => self.start = Some(at),
            EventKind::Connected { connection, engine, multipath } => {
                self.connected = Some(Connected {
                    connection: connection.clone(),
                    engine: engine.clone(),
                    multipath: *multipath,
                    after_ms: milliseconds(self.since_start(at)),
                });
            }
            EventKind::Path { .. } => self.path(event),
            EventKind::PathSample { path, bytes_sent, bytes_received, rtt_ns } => {
                if let Some(path) = self.paths.get_mut(path) {
                    path.bytes_sent = *bytes_sent;
                    path.bytes_received = *bytes_received;
                    path.rtt_ms = rtt_ns.map(|rtt| rtt as f64 / 1e6).or(path.rtt_ms);
                }
            }
            EventKind::PayloadSent { .. } => self.sent += 1,
            EventKind::PayloadReceived { sequence, .. } => self.received.add(*sequence),
            EventKind::Rejected { reason, count, .. } => {
                self.rejected.insert(reason.clone(), *count);
            }
            _ => {}
        }
    }

    fn path(&mut self, event: &EventKind) {
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
            bytes_sent: old.map_or(0, |old| old.bytes_sent),
            bytes_received: old.map_or(0, |old| old.bytes_received),
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
        Counts { sent: self.sent, received: self.received.count, lost: self.received.lost() }
    }

    /// All paths, also closed ones.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.paths.values()
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
            paths: self.paths.values().collect(),
            rejected: &self.rejected,
        }
    }
}

impl Received {
    fn add(&mut self, sequence: u64) {
        self.count += 1;
        self.first = Some(self.first.map_or(sequence, |first| first.min(sequence)));
        self.highest = self.highest.max(sequence);
    }

    fn lost(&self) -> u64 {
        let Some(first) = self.first else { return 0 };
        (self.highest - first).saturating_add(1).saturating_sub(self.count)
    }
}

fn milliseconds(duration: Duration) -> f64 {
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
    fn losses_are_holes_up_to_the_newest() {
        let mut summary = Summary::new();
        let now = Instant::now();
        assert_eq!(summary.counts(), Counts::default());
        for sequence in [3, 5, 4, 8] {
            summary.apply(now, &received(sequence));
        }
        assert_eq!(summary.counts(), Counts { sent: 0, received: 4, lost: 2 });
    }

    #[test]
    fn the_active_path_is_the_newest_that_says_so() {
        let mut summary = Summary::new();
        let now = Instant::now();
        summary.apply(now, &path(0, "wlan0", PathState::Active));
        summary.apply(now, &path(1, "wwan0", PathState::Backup));
        assert_eq!(summary.active().unwrap().local_interface, "wlan0");
        let sample =
            EventKind::PathSample { path: 1, bytes_sent: 7, bytes_received: 8, rtt_ns: Some(2_500_000) };
        summary.apply(now, &sample);
        summary.apply(now, &path(1, "wwan0", PathState::Active));
        summary.apply(now, &path(0, "wlan0", PathState::Closed));
        let active = summary.active().unwrap();
        assert_eq!((active.local_interface.as_str(), active.rtt_ms), ("wwan0", Some(2.5)));
        assert_eq!(summary.paths().count(), 2);
        summary.apply(now, &path(1, "wwan0", PathState::Closed));
        assert!(summary.active().is_none());
    }
}
