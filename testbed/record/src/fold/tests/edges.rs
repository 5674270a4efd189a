//! The corners of the definitions.

use super::build::{Log, facts, ms};
use crate::{
    CandidateKind, DetectedBy, DisturbanceKind, DisturbanceMetrics, EventKind, How, PairState, PathState,
    fold::{results, timeline},
};

fn steps(log: &Log, seconds: u64) -> Vec<DisturbanceMetrics> {
    results(&log.events, &facts(seconds)).metrics.disturbances
}

/// One connection whose call runs on path 0 from the start.
fn on_one_path(multipath: bool) -> Log {
    let mut log = Log::default();
    log.connected(0, "one", multipath);
    log.path(0, 0, "wlan0", PathState::Active, "first");
    log
}

#[test]
fn without_any_arrival_afterwards_it_has_failed_and_counts_to_the_end() {
    let mut log = on_one_path(true);
    log.call(20_000, 10_000..20_000);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log, 20)[0];
    // The last datagram left at 9980 and arrived at 10020.
    assert_eq!(step.interruption_ms, Some(ms(20_000 - 10_020 - 20)));
    assert_eq!((step.how, step.same_connection), (How::Failed, false));
    let lines = timeline(&log.events, &facts(20));
    assert!(lines.iter().any(|line| line.text == "hears the call for the last time" && line.t == ms(10_020)));
}

#[test]
fn one_dead_direction_is_a_failure() {
    let mut log = on_one_path(true);
    log.workloads();
    log.flow(("laptop", "desktop"), 0, 20_000, |_| Some((40, 0)));
    log.flow(("desktop", "laptop"), 0, 20_000, |t| (t < 10_000).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::CarrierOff, "wlan0");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.up_ms, step.down_ms), (Some(ms(0)), Some(ms(9_960))));
    assert_eq!(step.how, How::Failed);
}

#[test]
fn a_silence_that_begins_within_five_seconds_and_outlasts_them_counts_whole() {
    let mut log = on_one_path(true);
    log.call(20_000, 14_900..18_000);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    // Arrivals at 14920 and 18040.
    assert_eq!(steps(&log, 20)[0].interruption_ms, Some(ms(18_040 - 14_920 - 20)));
}

#[test]
fn a_silence_that_begins_after_five_seconds_is_not_the_steps() {
    let mut log = on_one_path(true);
    log.call(20_000, 15_000..18_000);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    assert_eq!(steps(&log, 20)[0].interruption_ms, Some(ms(0)));
}

#[test]
fn a_silence_under_way_already_is_told_as_the_gap_before() {
    let mut log = on_one_path(true);
    log.call(20_000, 9_000..10_500);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log, 20)[0];
    // Arrivals at 9020 and 10540.
    assert_eq!(step.interruption_ms, Some(ms(10_540 - 9_020 - 20)));
    assert_eq!(step.gap_before_ms, Some(ms(10_000 - 9_020 - 20)));
}

#[test]
fn each_of_two_steps_has_its_own_silence_path_and_detection() {
    let mut log = on_one_path(true);
    log.path(100, 1, "wwan0", PathState::Backup, "standby");
    log.workloads();
    for ends in [("laptop", "desktop"), ("desktop", "laptop")] {
        let lost = |t: i64| (10_000..10_100).contains(&t) || (20_000..20_040).contains(&t);
        log.flow(ends, 0, 30_000, |t| (!lost(t)).then_some((40, 0)));
    }
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.detected(10_003, "laptop", "wlan0", DetectedBy::InterfaceDown);
    log.path(10_003, 1, "wwan0", PathState::Active, "promoted");
    log.step(20_000, DisturbanceKind::Up, "wlan0");
    log.path(20_500, 2, "wlan0", PathState::Validated, "back");
    log.path(20_600, 2, "wlan0", PathState::Active, "preferred");
    let steps = steps(&log, 30);
    assert_eq!(steps.len(), 2);
    // Arrivals at 10020 and 10140; at 20020 and 20080.
    assert_eq!(steps[0].interruption_ms, Some(ms(100)));
    assert_eq!(steps[1].interruption_ms, Some(ms(40)));
    assert_eq!((steps[0].path_before, steps[0].path_after), (Some(0), Some(1)));
    assert_eq!((steps[1].path_before, steps[1].path_after), (Some(1), Some(2)));
    // Path 2 was opened after the step: that is no standby.
    assert_eq!((steps[0].how, steps[1].how), (How::Multipath, How::Migrated));
    assert_eq!((steps[0].detected_ms, steps[1].detected_ms), (Some(ms(3)), None));
}

#[test]
fn where_nothing_is_lost_and_nothing_moves_nothing_was_done() {
    let mut log = on_one_path(true);
    log.call(20_000, 0..0);
    log.step(10_000, DisturbanceKind::Down, "wwan0");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.interruption_ms, step.how, step.same_connection), (Some(ms(0)), How::None, true));
}

#[test]
fn a_silence_that_ends_on_the_same_path_was_not_acted_on() {
    let mut log = on_one_path(true);
    log.call(20_000, 10_000..12_000);
    log.step(10_000, DisturbanceKind::CarrierOff, "wlan0");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.interruption_ms, step.how), (Some(ms(2_000)), How::None));
}

#[test]
fn arrivals_out_of_order_end_a_silence_and_copies_do_not() {
    let mut log = on_one_path(true);
    log.workloads();
    for (sequence, sent, arrived) in
        [(0, 9_900, 9_940), (1, 9_920, 9_960), (3, 9_960, 10_100), (2, 9_940, 10_160)]
    {
        log.sent(sent, "laptop", sequence);
        log.received(arrived, "desktop", sequence, sent, 0);
    }
    log.received(10_050, "desktop", 1, 9_920, 0);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let results = results(&log.events, &facts(10));
    assert_eq!(results.metrics.disturbances[0].up_ms, Some(ms(10_100 - 9_960 - 20)));
    let up = results.metrics.call.unwrap().up;
    // Sequence 2 took 220 ms.
    assert_eq!((up.sent, up.received, up.lost, up.late), (4, 4, 0, 1));
}

#[test]
fn a_datagram_of_exactly_150_ms_is_in_time() {
    let mut log = Log::default();
    for (sequence, delay) in [(0, 150), (1, 151)] {
        log.sent(1_000, "laptop", sequence);
        log.received(1_000 + delay, "desktop", sequence, 1_000, 0);
    }
    assert_eq!(results(&log.events, &facts(10)).metrics.call.unwrap().up.late, 1);
}

#[test]
fn what_may_be_under_way_at_the_end_is_not_lost_and_leaves_the_silence_open() {
    let mut log = on_one_path(true);
    log.call(10_000, 9_860..10_000);
    log.step(9_900, DisturbanceKind::Down, "wlan0");
    let results = results(&log.events, &facts(10));
    let step = &results.metrics.disturbances[0];
    // The last arrival is at 9880: before the step, and the run ends before it can be told how it went on.
    assert_eq!((step.interruption_ms, step.how), (Some(ms(10_000 - 9_880 - 20)), How::None));
    assert_eq!(
        (step.censored.map(|censored| censored.horizon_ms), step.same_connection),
        (Some(ms(100)), true)
    );
    assert_eq!(results.metrics.call.unwrap().up.lost, 0);
}

#[test]
fn the_observed_time_ends_when_a_peer_has_finished() {
    let mut log = on_one_path(true);
    log.call(15_000, 0..0);
    log.step(12_000, DisturbanceKind::Down, "wwan0");
    assert_eq!(steps(&log, 20)[0].how, How::Failed);
    log.push(15_000, "laptop", EventKind::Stopped { why: "unreachable".into() });
    assert_eq!(steps(&log, 20)[0].how, How::Failed);
    log.push(15_010, "desktop", EventKind::Stopped { why: "finished".into() });
    assert_eq!(steps(&log, 20)[0].how, How::None);
}

#[test]
fn pairs_that_were_up_before_time_zero_count_as_zero() {
    let mut log = Log::default();
    log.pair(-5, 0, "wlan0", PairState::Up, CandidateKind::Relay);
    log.pair(70, 1, "wlan0", PairState::Up, CandidateKind::Srflx);
    let metrics = results(&log.events, &facts(10)).metrics;
    assert_eq!((metrics.first_path_ms, metrics.relay_path_ms), (Some(ms(0)), Some(ms(0))));
    assert_eq!(metrics.direct_path_ms, Some(ms(70)));
}

#[test]
fn what_a_peer_sees_before_the_step_is_read_back_is_noticed_at_once() {
    let mut log = on_one_path(true);
    log.call(20_000, 0..0);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.detected(10_000, "laptop", "wlan0", DetectedBy::InterfaceDown);
    // The step was due half a millisecond before it was read back.
    log.events.last_mut().unwrap().t_ns -= 200_000;
    assert_eq!(steps(&log, 20)[0].detected_ms, Some(ms(0)));
}

#[test]
fn a_single_path_engine_migrates_even_to_a_path_that_it_had_probed() {
    let mut log = on_one_path(false);
    log.path(100, 1, "wwan0", PathState::Validated, "probed");
    log.call(20_000, 10_000..10_060);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.path(10_050, 1, "wwan0", PathState::Active, "migrated");
    assert_eq!((steps(&log, 20)[0].how, steps(&log, 20)[0].same_connection), (How::Migrated, true));
}

#[test]
fn a_new_connection_is_a_rebuilt_one() {
    let mut log = on_one_path(true);
    log.call(20_000, 10_000..11_000);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.connected(10_900, "two", true);
    log.path(10_900, 1, "wwan0", PathState::Active, "first");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.how, step.same_connection), (How::Rebuilt, false));
}

#[test]
fn leaving_a_direct_path_for_a_relay_is_told_so() {
    let mut log = on_one_path(true);
    log.path_of(100, 1, "wwan0", CandidateKind::Relay, PathState::Backup, "standby");
    log.call(20_000, 10_000..10_500);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.path_of(10_400, 1, "wwan0", CandidateKind::Relay, PathState::Active, "promoted");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.how, step.same_connection, step.interruption_ms), (How::Relay, true, Some(ms(500))));
}

#[test]
fn without_path_events_the_payload_tells_the_path() {
    let mut log = Log::default();
    log.connected(0, "one", true);
    log.workloads();
    log.flow(("desktop", "laptop"), 0, 20_000, |t| Some((40, u64::from(t >= 10_000))));
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.path_before, step.path_after), (Some(0), Some(1)));
}

#[test]
fn a_call_of_which_nothing_ever_arrives_has_failed_without_a_figure() {
    let mut log = on_one_path(true);
    log.call(20_000, 0..20_000);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log, 20)[0];
    assert_eq!((step.interruption_ms, step.gap_before_ms, step.how), (None, None, How::Failed));
}

#[test]
fn an_arrival_whose_sending_is_not_recorded_makes_the_run_invalid() {
    let mut log = Log::default();
    log.sent(0, "desktop", 0);
    log.received(40, "laptop", 0, 0, 0);
    assert!(results(&log.events, &facts(1)).valid);
    log.received(60, "laptop", 1, 20, 0);
    let results = results(&log.events, &facts(1));
    assert!(!results.valid);
    assert!(results.invalid_why.unwrap().contains("1 datagrams of the call arrived (down)"));
}

#[test]
fn a_pair_that_carries_two_paths_in_turn_shares_its_checks_out() {
    let mut log = Log::default();
    log.pair(0, 0, "wlan0", PairState::Up, CandidateKind::Host);
    for (path, opened, closed) in [(0, 10, 1_000), (1, 1_100, 2_000)] {
        log.path(opened, path, "wlan0", PathState::Validated, "");
        log.path(closed, path, "wlan0", PathState::Closed, "over");
    }
    // Both on pair 0.
    for event in &mut log.events {
        if let EventKind::Path { pair, .. } = &mut event.what {
            *pair = 0;
        }
    }
    for t in [100, 200, 1_200] {
        log.check(t, 40, 0, "wlan0", crate::CheckPurpose::Liveness);
    }
    let paths = results(&log.events, &facts(3)).metrics.paths;
    assert_eq!(paths.iter().map(|path| path.checks_sent).collect::<Vec<_>>(), [2, 1]);
}

#[test]
fn an_empty_log_has_no_figures_and_no_panic() {
    let results = results(&[], &facts(10));
    assert_eq!(results.metrics, crate::Metrics::default());
    assert!(results.valid);
    assert!(timeline(&[], &facts(10)).is_empty());
}

/// Two steps: the only two interfaces are lost at 2 s, and one comes back at 4 s.
fn down_then_up(returns: bool) -> Vec<DisturbanceMetrics> {
    let mut log = on_one_path(true);
    log.path(100, 1, "wwan0", PathState::Backup, "standby");
    log.workloads();
    for ends in [("laptop", "desktop"), ("desktop", "laptop")] {
        let fate = |t: i64| match t {
            ..2_000 => Some((40, 0)),
            4_150.. if returns => Some((40, 2)),
            _ => None,
        };
        log.flow(ends, 0, 10_000, fate);
    }
    log.step(2_000, DisturbanceKind::Down, "wwan0");
    log.path(2_005, 0, "wlan0", PathState::Closed, "peer");
    log.path(2_209, 1, "wwan0", PathState::Closed, "peer");
    log.step(4_000, DisturbanceKind::Up, "wwan0");
    if returns {
        log.path(4_100, 2, "wwan0", PathState::Active, "first");
    }
    steps(&log, 10)
}

#[test]
fn a_total_loss_is_judged_once_the_call_is_back_even_after_the_next_step() {
    let steps = down_then_up(true);
    // Arrivals at 2020 and 4200.
    assert_eq!(steps[0].interruption_ms, Some(ms(4_200 - 2_020 - 20)));
    assert_eq!((steps[0].path_before, steps[0].path_after), (Some(0), Some(2)));
    assert_eq!((steps[0].how, steps[0].same_connection), (How::Migrated, true));
    assert_eq!((steps[1].path_before, steps[1].path_after), (None, Some(2)));
    assert_eq!((steps[1].how, steps[1].same_connection), (How::Migrated, true));
}

#[test]
fn a_total_loss_for_good_has_failed_at_the_step_that_brought_it() {
    let steps = down_then_up(false);
    assert_eq!(steps.iter().map(|step| step.how).collect::<Vec<_>>(), [How::Failed, How::None]);
    assert!(steps.iter().all(|step| step.censored.is_some() && !step.same_connection));
    assert_eq!((steps[0].path_before, steps[0].path_after), (Some(0), None));
}

#[test]
fn without_payload_a_loss_that_leaves_no_path_has_failed() {
    let mut log = on_one_path(true);
    log.step(2_000, DisturbanceKind::Down, "wlan0");
    log.path(2_200, 0, "wlan0", PathState::Closed, "idle");
    let step = &steps(&log, 10)[0];
    assert_eq!((step.path_before, step.path_after), (Some(0), None));
    assert_eq!((step.how, step.same_connection), (How::Failed, false));
}

#[test]
fn a_call_that_never_was_has_failed() {
    let mut log = Log::default();
    log.workloads();
    log.step(2_000, DisturbanceKind::Down, "wlan0");
    let results = results(&log.events, &facts(10));
    assert!(results.metrics.is_without_call());
    let step = &results.metrics.disturbances[0];
    assert_eq!((step.interruption_ms, step.how, step.same_connection), (None, How::Failed, false));
}

#[test]
fn steps_close_to_each_other_are_not_charged_with_each_others_silence() {
    let mut log = on_one_path(true);
    log.call(10_000, 3_980..4_400);
    log.step(2_000, DisturbanceKind::Down, "wwan0");
    log.step(4_000, DisturbanceKind::CarrierOff, "wlan0");
    log.step(6_000, DisturbanceKind::CarrierOn, "wlan0");
    let silent: Vec<_> = steps(&log, 10).into_iter().map(|step| step.interruption_ms).collect();
    // Arrivals at 4000 and 4440. The silence of the second begins, as every arrival's, one interval before its step.
    assert_eq!(silent, [Some(ms(0)), Some(ms(420)), Some(ms(0))]);
}

#[test]
fn a_silence_under_way_at_two_steps_is_both_steps() {
    let mut log = on_one_path(true);
    log.call(10_000, 1_950..4_400);
    log.step(2_000, DisturbanceKind::Down, "wwan0");
    log.step(2_001, DisturbanceKind::Down, "wlan0");
    let silent: Vec<_> = steps(&log, 10).into_iter().map(|step| step.interruption_ms).collect();
    // Arrivals at 1980 and 4440.
    assert_eq!(silent, [Some(ms(2_440)), Some(ms(2_440))]);
}

#[test]
fn probes_are_told_whether_a_path_came_of_them_or_not() {
    let mut log = Log::default();
    log.pair(0, 0, "wlan0", PairState::InProgress, CandidateKind::Host);
    log.pair(0, 1, "wwan0", PairState::InProgress, CandidateKind::Host);
    for t in [0, 100, 200, 700] {
        log.check(t, 40, 0, "wlan0", crate::CheckPurpose::Ordinary);
    }
    log.check(50, 60, 1, "wwan0", crate::CheckPurpose::Ordinary);
    log.pair(800, 0, "wlan0", PairState::Removed, CandidateKind::Host);
    let probes = results(&log.events, &facts(3)).metrics.probes;
    let [wlan0, wwan0] = probes.as_slice() else { panic!("{probes:?}") };
    assert_eq!((wlan0.local_interface.as_str(), wlan0.sent, wlan0.answered), ("wlan0", 4, 4));
    assert_eq!((wlan0.interval_ms, wlan0.stopped_why.as_deref()), (Some(ms(100)), Some("test")));
    assert_eq!((wwan0.sent, wwan0.interval_ms, wwan0.stopped_why.as_deref()), (1, None, None));
    assert_eq!((wlan0.family, wlan0.remote), (crate::Family::Ipv6, wwan0.remote));
}

#[test]
fn another_ice_agent_is_told_with_what_it_keeps() {
    let mut log = Log::default();
    let state = |state: &str, pairs, answered| EventKind::IceState {
        agent: "webrtc-ice".into(),
        state: state.into(),
        generation: 1,
        pairs,
        answered,
    };
    log.push(1, "laptop", state("checking", Some(0), Some(0)));
    log.push(2, "laptop", state("connected", Some(4), Some(2)));
    log.push(3, "desktop", state("restart", None, None));
    let lines: Vec<String> = timeline(&log.events, &facts(10)).into_iter().map(|line| line.text).collect();
    assert_eq!(
        lines,
        [
            "webrtc-ice is checking",
            "webrtc-ice is connected: keeps one pair of 4, 2 of which were answered",
            "webrtc-ice restarts",
        ]
    );
}

#[test]
fn why_a_policy_stopped_probing_outlives_the_pair() {
    let mut log = Log::default();
    let kind = CandidateKind::Host;
    log.pair(0, 0, "wlan0", PairState::Waiting, kind);
    log.check(100, 10, 0, "wlan0", crate::CheckPurpose::Ordinary);
    let remote = log
        .events
        .iter()
        .find_map(|event| match event.what {
            EventKind::CheckSent { remote, .. } => Some(remote),
            _ => None,
        })
        .unwrap();
    let stopped = |why| EventKind::ProbingStopped { pair: 0, interface: "wlan0".into(), remote, why };
    log.push(200, "laptop", stopped(crate::StopReason::DirectPath));
    log.pair(200, 0, "wlan0", PairState::Frozen, kind);
    log.pair(900, 0, "wlan0", PairState::Removed, kind);
    let why = |log: &Log| results(&log.events, &facts(2)).metrics.probes[0].stopped_why.clone();
    assert_eq!(why(&log).as_deref(), Some("enough direct paths"));
    log.pair(1000, 0, "wlan0", PairState::Waiting, kind);
    assert_eq!(why(&log), None, "probed again");
    log.pair(1100, 0, "wlan0", PairState::Removed, kind);
    assert_eq!(why(&log).as_deref(), Some("test"));
}
