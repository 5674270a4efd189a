//! Building logs.

use crate::{
    CandidateKind, CheckPurpose, DetectedBy, Direction, DisturbanceKind, Event, EventKind, Expectation, How,
    InterfaceKind, Millis, PairState, PathState, Percent, RunFacts, Steps, WorkloadKind,
};
use std::{net::SocketAddr, time::Duration};

const INTERVAL: i64 = 20;

pub(super) const fn ms(ms: i64) -> Millis {
    Millis::from_ns(ms * 1_000_000)
}

pub(super) fn facts(seconds: u64) -> RunFacts {
    RunFacts {
        scenario: "wifi-off-in-call".into(),
        backend: "netns".into(),
        seed: 7,
        run_dir: "results/wifi-off-in-call/20261121T100000Z-7".into(),
        duration: Duration::from_secs(seconds),
        client: "laptop".into(),
        server: "desktop".into(),
        expectations: vec![],
        link_rates: None,
        invalid_why: None,
    }
}

/// A log under construction; times in ms.
#[derive(Default)]
pub(super) struct Log {
    pub(super) events: Vec<Event>,
}

impl Log {
    pub(super) fn push(&mut self, t: i64, host: &str, what: EventKind) {
        self.events.push(Event { t_ns: ms(t).as_ns(), host: host.into(), what });
    }

    /// Both hosts say that they send every 20 ms.
    pub(super) fn workloads(&mut self) {
        for host in ["laptop", "desktop"] {
            let interval_ns = u64::try_from(ms(INTERVAL).as_ns()).ok();
            self.push(
                0,
                host,
                EventKind::Workload { workload: WorkloadKind::Call, interval_ns, payload: Some(58) },
            );
        }
    }

    pub(super) fn sent(&mut self, t: i64, host: &str, sequence: u64) {
        self.push(t, host, EventKind::PayloadSent { workload: WorkloadKind::Call, sequence, bytes: 58 });
    }

    pub(super) fn received(&mut self, t: i64, host: &str, sequence: u64, sent: i64, path: u64) {
        let what = EventKind::PayloadReceived {
            workload: WorkloadKind::Call,
            sequence,
            sent_t_ns: ms(sent).as_ns(),
            bytes: 58,
            path: Some(path),
        };
        self.push(t, host, what);
    }

    /// A flow from `phase` on, every 20 ms up to `end`; `fate` gives the delay and the receiver's path of what is sent
    /// at a time, or none when it is lost.
    pub(super) fn flow(
        &mut self,
        (from, to): (&str, &str),
        phase: i64,
        end: i64,
        fate: impl Fn(i64) -> Option<(i64, u64)>,
    ) {
        for (sequence, t) in (0..).zip((phase..end).step_by(INTERVAL as usize)) {
            self.sent(t, from, sequence);
            if let Some((delay, path)) = fate(t)
                && t + delay <= end
            {
                self.received(t + delay, to, sequence, t, path);
            }
        }
    }

    /// Both ways, lost within a span of sending times.
    pub(super) fn call(&mut self, end: i64, lost: std::ops::Range<i64>) {
        self.workloads();
        for ends in [("laptop", "desktop"), ("desktop", "laptop")] {
            self.flow(ends, 0, end, |t| (!lost.contains(&t)).then_some((40, 0)));
        }
    }

    pub(super) fn step(&mut self, t: i64, what: DisturbanceKind, interface: &str) {
        self.step_at(t, what, Some("laptop"), Some(interface), None);
    }

    /// The newest step was due at a time.
    pub(super) fn due(&mut self, t: i64) {
        let step = self.events.iter_mut().rev().find_map(|event| match &mut event.what {
            EventKind::Disturbance { due_t_ns, .. } => Some(due_t_ns),
            _ => None,
        });
        *step.expect("a step") = ms(t).as_ns();
    }

    pub(super) fn server_down(&mut self, t: i64, server: &str) {
        self.step_at(t, DisturbanceKind::ServerDown, Some(server), None, None);
    }

    pub(super) fn rebind(&mut self, t: i64, network: &str) {
        self.step_at(t, DisturbanceKind::NatRebind, None, None, Some(network));
    }

    fn step_at(
        &mut self,
        t: i64,
        what: DisturbanceKind,
        host: Option<&str>,
        interface: Option<&str>,
        network: Option<&str>,
    ) {
        let steps = self.events.iter().filter(|event| matches!(event.what, EventKind::Disturbance { .. }));
        let what = EventKind::Disturbance {
            index: steps.count(),
            name: None,
            what,
            target_host: host.map(str::to_owned),
            target_interface: interface.map(str::to_owned),
            target_network: network.map(str::to_owned),
            due_t_ns: ms(t).as_ns() - 500_000,
        };
        self.push(t, "testbed", what);
    }

    /// Both ends say that the laptop sends.
    pub(super) fn bulk_begins(&mut self, t: i64, bytes: Option<u64>) {
        for (host, sending) in [("laptop", true), ("desktop", false)] {
            let what = EventKind::BulkBegins { object: 0, direction: Direction::Up, bytes, sending };
            self.push(t, host, what);
        }
    }

    /// 1000 new bytes arrive at the desktop at each of these instants (ns), told as a receiver tells them: at once, or
    /// 5 ms after what was told before.
    pub(super) fn arrive(&mut self, times: impl IntoIterator<Item = i64>) {
        const PAUSE: i64 = 5_000_000;
        let mut last_told = None;
        let mut untold: Option<(i64, u64)> = None;
        for (bytes, t_ns) in (1_000..).step_by(1_000).zip(times) {
            let told_ns = last_told.map(|last: i64| last + PAUSE);
            if let (Some((newest, bytes)), Some(due)) = (untold, told_ns)
                && due <= t_ns
            {
                self.arrived(due, bytes, newest);
                (last_told, untold) = (Some(due), None);
            }
            if last_told.is_none_or(|last| last + PAUSE <= t_ns) {
                self.arrived(t_ns, bytes, t_ns);
                last_told = Some(t_ns);
            } else {
                untold = Some((t_ns, bytes));
            }
        }
        if let (Some((newest, bytes)), Some(last)) = (untold, last_told) {
            self.arrived(last + PAUSE, bytes, newest);
        }
    }

    fn arrived(&mut self, t_ns: i64, bytes: u64, newest_t_ns: i64) {
        let what = EventKind::BulkArrived { object: 0, bytes, duplicate: 0, newest_t_ns };
        self.events.push(Event { t_ns, host: "desktop".into(), what });
    }

    pub(super) fn bulk_ended(
        &mut self,
        t: i64,
        host: &str,
        bytes: u64,
        sha256: &str,
        sha256_ok: Option<bool>,
    ) {
        let (sha256, why) = (sha256.into(), "complete".into());
        self.push(t, host, EventKind::BulkEnded { object: 0, bytes, sha256, receiver: None, sha256_ok, why });
    }

    pub(super) fn connected(&mut self, t: i64, connection: &str, multipath: bool) {
        for host in ["laptop", "desktop"] {
            let what =
                EventKind::Connected { connection: connection.into(), engine: "noq".into(), multipath };
            self.push(t, host, what);
        }
    }

    pub(super) fn pair(&mut self, t: i64, pair: u32, interface: &str, state: PairState, kind: CandidateKind) {
        let what = EventKind::Pair {
            pair,
            interface: interface.into(),
            remote_interface: Some("wwan0".into()),
            local: local(interface),
            remote: remote(),
            local_kind: CandidateKind::Host,
            remote_kind: kind,
            state,
            cause: "test".into(),
        };
        self.push(t, "laptop", what);
    }

    /// Path and pair have the same number.
    pub(super) fn path(&mut self, t: i64, path: u64, interface: &str, state: PathState, cause: &str) {
        self.path_of(t, path, interface, CandidateKind::Host, state, cause);
    }

    pub(super) fn path_of(
        &mut self,
        t: i64,
        path: u64,
        interface: &str,
        candidate: CandidateKind,
        state: PathState,
        cause: &str,
    ) {
        let what = EventKind::Path {
            path,
            pair: path as u32,
            interface: interface.into(),
            remote_interface: Some("wwan0".into()),
            local: local(interface),
            remote: remote(),
            candidate,
            state,
            cause: cause.into(),
        };
        self.push(t, "laptop", what);
    }

    pub(super) fn check(&mut self, t: i64, rtt: i64, pair: u32, interface: &str, purpose: CheckPurpose) {
        let (pair, interface) = (Some(pair), interface.to_owned());
        let sent = EventKind::CheckSent {
            pair,
            interface: interface.clone(),
            remote: remote(),
            purpose,
            attempt: 1,
        };
        self.push(t, "laptop", sent);
        let rtt_ns = u64::try_from(ms(rtt).as_ns()).ok();
        let (attempt, mapped) = (Some(1), Some(local(&interface)));
        let answered =
            EventKind::CheckAnswered { pair, interface, remote: remote(), purpose, attempt, rtt_ns, mapped };
        self.push(t + rtt, "laptop", answered);
    }

    pub(super) fn detected(&mut self, t: i64, host: &str, interface: &str, by: DetectedBy) {
        let (silence_ns, expected_ns) = (None, None);
        let what =
            EventKind::Detected { interface: interface.into(), path: Some(0), by, silence_ns, expected_ns };
        self.push(t, host, what);
    }
}

fn local(interface: &str) -> SocketAddr {
    let address = if interface == "wlan0" { "[2001:db8:1::2]:5000" } else { "[2001:db8:2::2]:5001" };
    address.parse().unwrap()
}

fn remote() -> SocketAddr {
    "[2001:db8:3::2]:6000".parse().unwrap()
}

/// The laptop's WiFi goes off 10 s into a call of 20 s; the cellular path is open beside it.
pub(super) fn wifi_off() -> (Log, RunFacts) {
    let mut log = Log::default();
    log.workloads();
    interfaces(&mut log);
    log.pair(130, 0, "wlan0", PairState::Up, CandidateKind::Host);
    log.pair(180, 1, "wwan0", PairState::Up, CandidateKind::Host);
    log.connected(210, "c0ffee", true);
    log.path(220, 0, "wlan0", PathState::Validated, "handshake");
    log.path(220, 0, "wlan0", PathState::Active, "first");
    log.path(300, 1, "wwan0", PathState::Validated, "opened");
    log.path(300, 1, "wwan0", PathState::Backup, "standby");
    log.check(50, 80, 0, "wlan0", CheckPurpose::Ordinary);
    log.check(70, 110, 1, "wwan0", CheckPurpose::Ordinary);
    for t in (200..10_000).step_by(100) {
        log.check(t, 80, 0, "wlan0", CheckPurpose::Liveness);
    }
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.detected(10_001, "laptop", "wlan0", DetectedBy::InterfaceDown);
    log.path(10_001, 1, "wwan0", PathState::Active, "promoted");
    log.path(10_001, 0, "wlan0", PathState::Closed, "interface down");
    log.pair(10_001, 0, "wlan0", PairState::Removed, CandidateKind::Host);
    log.detected(10_058, "desktop", "wwan0", DetectedBy::Peer);
    let sample = EventKind::PathSample {
        path: 1,
        bytes_sent: 5_000,
        bytes_received: 4_000,
        rtt_ns: Some(112_000_000),
        packets_sent: Some(50),
        packets_lost: Some(2),
        congestion_window: Some(12_000),
    };
    log.push(19_500, "laptop", sample);
    log.flow(("laptop", "desktop"), 5, 20_000, |t| match t {
        ..10_000 => Some((40, 0)),
        10_000..10_030 => None,
        _ => Some((55, 1)),
    });
    log.flow(("desktop", "laptop"), 11, 20_000, |t| match t {
        ..9_970 => Some((40, 0)),
        9_970..10_060 => None,
        _ => Some((55, 1)),
    });
    for host in ["laptop", "desktop"] {
        log.push(20_000, host, EventKind::Stopped { why: "finished".into() });
    }
    let mut facts = facts(20);
    facts.expectations = vec![
        Expectation::Interruption { below: Duration::from_millis(100), steps: Steps::Every },
        Expectation::SameConnection { is: true, steps: Steps::Every },
        Expectation::How { is: How::Multipath, steps: Steps::Every },
        Expectation::Lost { below: Percent(1.0) },
    ];
    (log, facts)
}

fn interfaces(log: &mut Log) {
    log.push(0, "laptop", EventKind::Started {});
    for (interface, kind) in [("wlan0", InterfaceKind::Wifi), ("wwan0", InterfaceKind::Cellular)] {
        let what = EventKind::Interface {
            interface: interface.into(),
            kind,
            up: true,
            carrier: true,
            addresses: vec![local(interface).ip()],
        };
        log.push(-20, "laptop", what);
    }
}
