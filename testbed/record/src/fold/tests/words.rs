//! Behaviours and expectations.

use super::build::{Log, facts, ms, wifi_off};
use crate::{
    CandidateKind, CheckPurpose, DisturbanceKind, Expectation, ExpectationVerdict, How, PairState, Percent,
    Steps,
    fold::{behaviour, results},
};
use std::time::Duration;

fn judged(expectation: Expectation) -> ExpectationVerdict {
    let (log, facts) = wifi_off();
    expectation.judge(&results(&log.events, &facts).metrics)
}

fn verdict(name: &str, expected: &str, measured: &str, ok: bool) -> ExpectationVerdict {
    ExpectationVerdict { name: name.into(), expected: expected.into(), measured: measured.into(), ok }
}

#[test]
fn expectations_say_what_was_expected_and_what_was_measured() {
    let below = Duration::from_millis(100);
    let at = Steps::At { at: Duration::from_secs(10), indices: vec![0] };
    let every = Steps::Every;
    assert_eq!(
        judged(Expectation::Interruption { below, steps: every.clone() }),
        verdict("interruption", "below 100 ms", "115 ms", false)
    );
    assert_eq!(
        judged(Expectation::Missed { below, steps: every.clone() }),
        verdict("missed", "below 100 ms", "100 ms", false)
    );
    assert_eq!(
        judged(Expectation::Interruption { below: Duration::from_millis(116), steps: at }),
        verdict("interruption at 10 s", "below 116 ms", "115 ms", true)
    );
    assert_eq!(
        judged(Expectation::SameConnection { is: true, steps: every.clone() }),
        verdict("same_connection", "true", "true", true)
    );
    assert_eq!(
        judged(Expectation::How { is: How::Migrated, steps: every }),
        verdict("how", "migrated", "multipath", false)
    );
    let step = Steps::Step { word: "leave".into(), index: 0 };
    assert_eq!(
        judged(Expectation::How { is: How::Multipath, steps: step }),
        verdict("how of step leave", "multipath", "multipath", true)
    );
    let direct = Expectation::DirectPath { below: Duration::from_millis(600) };
    assert_eq!(judged(direct), verdict("direct_path", "below 600 ms", "130 ms", true));
    assert_eq!(judged(Expectation::NoDirectPath), verdict("direct_path", "none", "130 ms", false));
    let lost = Expectation::Lost { below: Percent(1.0) };
    assert_eq!(judged(lost), verdict("lost", "below 1 %", "0.50 %", true));
}

#[test]
fn the_bound_itself_is_not_below() {
    let exact = Expectation::Interruption { below: Duration::from_millis(115), steps: Steps::Every };
    assert!(!judged(exact).ok);
}

#[test]
fn what_was_not_measured_does_not_hold() {
    let relay = Expectation::RelayPath { below: Duration::from_secs(60) };
    assert_eq!(judged(relay), verdict("relay_path", "below 60 s", "none", false));
    // The step of 12 s was not applied.
    let at = Duration::from_secs(12);
    let elsewhere = Expectation::Interruption {
        below: Duration::from_secs(9),
        steps: Steps::At { at, indices: vec![1] },
    };
    assert_eq!(judged(elsewhere), verdict("interruption at 12 s", "below 9 s", "none", false));
    let nothing = results(&[], &facts(10)).metrics;
    assert_eq!(Expectation::NoDirectPath.judge(&nothing), verdict("direct_path", "none", "none", true));
    for expectation in [
        Expectation::Interruption { below: Duration::from_secs(9), steps: Steps::Every },
        Expectation::Missed { below: Duration::from_secs(9), steps: Steps::Every },
        Expectation::SameConnection { is: true, steps: Steps::Every },
        Expectation::How { is: How::None, steps: Steps::Every },
        Expectation::FirstPath { below: Duration::from_secs(9) },
        Expectation::Lost { below: Percent(100.0) },
    ] {
        let verdict = expectation.judge(&nothing);
        assert_eq!((verdict.measured.as_str(), verdict.ok), ("none", false), "{expectation:?}");
    }
}

#[test]
fn behaviours_of_a_warm_standby() {
    let (log, facts) = wifi_off();
    let standby = behaviour::standby_before_loss(&log.events, &facts).unwrap();
    assert_eq!((standby.word.as_str(), standby.detail.as_str()), ("yes", "wwan0 to wwan0 (IPv6) was up"));
    let fallback = behaviour::fallback_kind(&log.events, &facts).unwrap();
    assert_eq!(fallback.word, "multipath");
    assert_eq!(fallback.detail, "over path 1 (wwan0 to wwan0, IPv6, host)");
    let probing = behaviour::probing_after_loss(&log.events, &facts).unwrap();
    assert_eq!((probing.word.as_str(), probing.detail.as_str()), ("no", "0 checks in search of a path"));
    let cellular = behaviour::cellular_checked_before_loss(&log.events, &facts).unwrap();
    assert_eq!((cellular.word.as_str(), cellular.detail.as_str()), ("yes", "1 checks left on wwan0 before"));
    assert_eq!(behaviour::direct_ipv4_found(&log.events, &facts), None);
    assert_eq!(behaviour::far_end_noticed_silence(&log.events, &facts), None, "it was told");
}

#[test]
fn behaviours_without_a_standby() {
    let mut log = Log::default();
    log.pair(100, 0, "wlan0", PairState::Up, CandidateKind::Host);
    log.pair(200, 1, "wwan0", PairState::Up, CandidateKind::Host);
    log.pair(300, 1, "wwan0", PairState::Down, CandidateKind::Host);
    log.step(10_000, DisturbanceKind::CarrierOff, "wlan0");
    log.check(10_010, 50, 1, "wwan0", CheckPurpose::Ordinary);
    log.detected(10_900, "desktop", "wwan0", crate::DetectedBy::CheckSilence);
    let facts = facts(20);
    assert_eq!(behaviour::standby_before_loss(&log.events, &facts).unwrap().word, "no");
    assert_eq!(behaviour::probing_after_loss(&log.events, &facts).unwrap().word, "yes");
    assert_eq!(behaviour::far_end_noticed_silence(&log.events, &facts), Some(ms(900)));
}

#[test]
fn without_a_loss_no_behaviour_is_seen() {
    let mut log = Log::default();
    log.step(10_000, DisturbanceKind::Up, "wlan0");
    let facts = facts(20);
    assert_eq!(behaviour::standby_before_loss(&log.events, &facts), None);
    assert_eq!(behaviour::fallback_kind(&log.events, &facts), None);
    assert_eq!(behaviour::far_end_noticed_silence(&log.events, &facts), None);
}

#[test]
fn verdicts_of_a_probe_are_judged_where_they_are_meant() {
    use crate::{Blocking, BlockingVerdict, ControlAnswer, EventKind, Family, Probes, Variants, Way, Which};
    let (mut log, facts) = wifi_off();
    let found = |family, direction, verdict| Blocking {
        local_interface: "wwan0".into(),
        remote_interface: Some("eth0".into()),
        remote: Some("203.0.113.1:4000".parse().unwrap()),
        family,
        direction,
        rounds: 15,
        plain: Probes { sent: 15, arrived: 0, blocked_after: None },
        variants: Box::new(Variants::default()),
        control: ControlAnswer::Silent,
        verdict,
        why: "silence".into(),
    };
    let all = [
        found(Family::Ipv4, Way::Out, BlockingVerdict::UdpP2pBlocked),
        found(Family::Ipv4, Way::In, BlockingVerdict::UdpP2pBlocked),
        found(Family::Ipv6, Way::Out, BlockingVerdict::Open),
    ];
    for one in &all {
        log.push(20_000, "laptop", EventKind::Blocking(one.clone()));
        // What the other end would tell is the same seen from there.
        log.push(20_000, "desktop", EventKind::Blocking(one.clone()));
    }
    let metrics = results(&log.events, &facts).metrics;
    assert_eq!(metrics.blocking, all);
    let judged = |is, which| Expectation::Verdict { is, which }.judge(&metrics);
    let ipv4 = Which { family: Some(Family::Ipv4), ..Which::default() };
    assert_eq!(
        judged(BlockingVerdict::UdpP2pBlocked, ipv4.clone()),
        verdict("verdict over IPv4", "udp-p2p-blocked", "udp-p2p-blocked", true)
    );
    assert_eq!(
        judged(BlockingVerdict::Open, Which::default()),
        verdict("verdict", "open", "udp-p2p-blocked", false)
    );
    let nobody = Which { interface: Some("wlan0".into()), direction: Some(Way::In), ..ipv4 };
    assert_eq!(
        judged(BlockingVerdict::Open, nobody),
        verdict("verdict of wlan0 over IPv4 in", "open", "none", false)
    );
    let told = serde_json::to_value(&all[0]).unwrap();
    assert_eq!((&told["verdict"], &told["direction"]), (&"udp-p2p-blocked".into(), &"out".into()));
    assert_eq!(told["variants"]["random-udp"]["sent"], 0);
}
