//! Steps that nothing tells of, and steps after which a path goes on from another address.

use super::build::{Log, facts, ms};
use crate::{
    CandidateKind, CheckPurpose, DetectedBy, DisturbanceKind, DisturbanceMetrics, Event, EventKind, How,
    PairState, PathState,
    fold::{behaviour, results, timeline},
};
use std::net::SocketAddr;

/// A call on path 0, silent for 180 ms at 10 s.
fn call() -> Log {
    let mut log = Log::default();
    log.connected(0, "one", true);
    log.path(0, 0, "wlan0", PathState::Active, "first");
    log.call(20_000, 10_000..10_160);
    log
}

fn only_step(log: &Log) -> DisturbanceMetrics {
    let mut steps = results(&log.events, &facts(20)).metrics.disturbances;
    assert_eq!(steps.len(), 1);
    steps.remove(0)
}

fn socket(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The answer to a check on path 0's pair, and from where the other end saw it come.
fn seen_from(log: &mut Log, t: i64, mapped: &str) {
    let answered = EventKind::CheckAnswered {
        pair: Some(0),
        interface: "wlan0".into(),
        remote: socket("198.51.100.9:6000"),
        purpose: CheckPurpose::Liveness,
        attempt: Some(1),
        rtt_ns: None,
        mapped: Some(socket(mapped)),
    };
    log.push(t, "laptop", answered);
}

/// A path of a host that runs between these addresses from an instant on.
fn runs(log: &mut Log, t: i64, host: &str, local: &str, remote: &str) {
    let what = EventKind::Path {
        path: 0,
        pair: 0,
        interface: "wlan0".into(),
        remote_interface: None,
        local: socket(local),
        remote: socket(remote),
        candidate: CandidateKind::Host,
        state: PathState::Active,
        cause: "test".into(),
    };
    log.events.push(Event { t_ns: ms(t).as_ns(), host: host.into(), what });
}

#[test]
fn what_takes_something_away_is_a_loss_and_what_gives_it_back_is_not() {
    use DisturbanceKind::{
        Address, Block, CarrierOff, CarrierOn, Down, Link, Metric, NatFlush, NatRebind, Path, Policy,
        Priority, Restore, Roam, Silence, Unblock, Up,
    };
    for (kind, is_loss) in [
        (Down, true),
        (Up, false),
        (CarrierOff, true),
        (CarrierOn, false),
        (Silence, true),
        (Restore, false),
        (Address, true),
        (NatRebind, false),
        (NatFlush, false),
        (Roam, true),
        (Metric, false),
        (Link, false),
        (Block, false),
        (Unblock, false),
        (Policy, false),
        (Priority, false),
        (Path, false),
    ] {
        let mut log = call();
        log.step(10_000, kind, "wlan0");
        assert_eq!(only_step(&log).is_loss(), is_loss, "{kind}");
        // The words of a run are about its first loss.
        let told = behaviour::standby_before_loss(&log.events, &facts(20)).is_some();
        assert_eq!(told, is_loss, "{kind}");
    }
}

#[test]
fn a_step_is_told_with_what_it_hit() {
    let mut log = call();
    log.rebind(10_000, "home");
    assert_eq!(only_step(&log).what, "nat_rebind home");
    let lines = timeline(&log.events, &facts(20));
    assert!(lines.iter().any(|line| line.text == "step: nat_rebind home" && line.host == "testbed"));
}

#[test]
fn a_nat_that_forgets_moves_the_path_to_another_outside_address() {
    let mut log = call();
    log.rebind(10_000, "home");
    seen_from(&mut log, 9_000, "203.0.113.7:40000");
    assert_eq!(only_step(&log).how, How::None, "nothing says that it moved");
    seen_from(&mut log, 10_300, "203.0.113.7:40001");
    let step = only_step(&log);
    assert_eq!((step.how, step.same_connection), (How::Migrated, true));
    assert_eq!((step.path_before, step.path_after, step.interruption_ms), (Some(0), Some(0), Some(ms(160))));
}

#[test]
fn a_path_that_is_seen_from_where_it_was_has_not_moved() {
    let mut log = call();
    log.rebind(10_000, "home");
    for t in [9_000, 10_300, 15_200] {
        // The last one is beyond the horizon.
        seen_from(&mut log, t, if t < 15_000 { "203.0.113.7:40000" } else { "203.0.113.7:40001" });
    }
    assert_eq!(only_step(&log).how, How::None);
}

#[test]
fn the_other_end_tells_that_a_path_moved() {
    let mut log = call();
    log.rebind(10_000, "home");
    runs(&mut log, 100, "desktop", "192.0.2.5:6000", "203.0.113.7:40000");
    runs(&mut log, 10_200, "desktop", "192.0.2.5:6000", "203.0.113.7:40001");
    assert_eq!(only_step(&log).how, How::Migrated);
}

#[test]
fn a_path_that_takes_on_the_new_address_has_migrated() {
    let mut log = call();
    log.step(10_000, DisturbanceKind::Address, "wlan0");
    log.detected(10_001, "laptop", "wlan0", DetectedBy::AddressGone);
    runs(&mut log, 10_050, "laptop", "[2001:db8:1::99]:5002", "[2001:db8:3::2]:6000");
    let step = only_step(&log);
    assert_eq!((step.how, step.same_connection), (How::Migrated, true));
    assert_eq!(
        (step.what.as_str(), step.detected_by),
        ("address laptop.wlan0", Some(DetectedBy::AddressGone))
    );
}

#[test]
fn a_lost_address_that_ends_its_path_leaves_the_call_to_another() {
    let mut log = call();
    log.path(100, 1, "wwan0", PathState::Backup, "standby");
    log.step(10_000, DisturbanceKind::Address, "wlan0");
    log.path(10_001, 1, "wwan0", PathState::Active, "promoted");
    log.path(10_001, 0, "wlan0", PathState::Closed, "address gone");
    let step = only_step(&log);
    assert_eq!((step.how, step.same_connection, step.path_after), (How::Multipath, true, Some(1)));
}

#[test]
fn silence_is_noticed_by_who_hears_nothing() {
    let mut log = call();
    log.pair(50, 1, "wwan0", PairState::Up, CandidateKind::Host);
    log.step(10_000, DisturbanceKind::Silence, "wlan0");
    let detected = |silence_ns, expected_ns| EventKind::Detected {
        interface: "wlan0".into(),
        path: Some(0),
        by: DetectedBy::ReceiveSilence,
        silence_ns,
        expected_ns,
    };
    log.push(10_104, "desktop", detected(Some(84_000_000), Some(62_000_000)));
    log.push(10_110, "laptop", detected(Some(90_000_000), None));
    log.push(10_120, "laptop", detected(None, None));
    let step = only_step(&log);
    assert_eq!((step.detected_ms, step.detected_by), (Some(ms(104)), Some(DetectedBy::ReceiveSilence)));
    let lines = timeline(&log.events, &facts(20));
    let noticed: Vec<&str> =
        lines.iter().map(|line| line.text.as_str()).filter(|text| text.starts_with("notices")).collect();
    assert_eq!(
        noticed,
        [
            "notices a loss on wlan0 (receive-silence: nothing for 84 ms, at most 62 ms expected), 104 ms after the step",
            "notices a loss on wlan0 (receive-silence: nothing for 90 ms), 110 ms after the step",
            "notices a loss on wlan0 (receive-silence), 120 ms after the step",
        ]
    );
    assert_eq!(behaviour::far_end_noticed_silence(&log.events, &facts(20)), Some(ms(104)));
    let standby = behaviour::standby_before_loss(&log.events, &facts(20)).unwrap();
    assert_eq!(standby.word, "yes");
}

#[test]
fn silence_over_and_over_is_charged_step_by_step() {
    let mut log = Log::default();
    log.connected(0, "one", true);
    log.path(0, 0, "wlan0", PathState::Active, "first");
    log.call(20_000, 4_990..7_010);
    log.step(5_000, DisturbanceKind::Silence, "wlan0");
    log.step(7_000, DisturbanceKind::Restore, "wlan0");
    let steps = results(&log.events, &facts(20)).metrics.disturbances;
    // Arrivals at 5020 and 7060; the path was never left.
    assert_eq!(steps.iter().map(|step| step.interruption_ms).collect::<Vec<_>>(), [Some(ms(2_020)); 2]);
    assert!(steps.iter().all(|step| step.how == How::None && step.same_connection));
}
