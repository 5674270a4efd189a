//! Missed media, steps of delay, and episodes: figures computed by hand.

use super::build::{Log, facts, ms, wifi_off};
use crate::{
    CandidateKind, Censored, CheckPurpose, DetectedBy, Direction, DisturbanceKind, DisturbanceMetrics,
    DropCause, Episode, EpisodeCause, EventKind, Expectation, How, Metrics, MissedMedia, MissedRuns,
    PathState, Phases, Steps,
    fold::{behaviour, results},
};
use std::time::Duration;

const BOTH: [(&str, &str); 2] = [("laptop", "desktop"), ("desktop", "laptop")];

/// A call of 20 s on path 0; `fate` gives delay and path of what is sent at a time, or none when it is lost.
fn call(fate: impl Fn(i64) -> Option<(i64, u64)>) -> Log {
    let mut log = Log::default();
    log.connected(0, "one", true);
    log.path(0, 0, "wlan0", PathState::Active, "first");
    log.workloads();
    BOTH.into_iter().for_each(|ends| log.flow(ends, 0, 20_000, &fate));
    log
}

fn metrics(log: &Log) -> Metrics {
    results(&log.events, &facts(20)).metrics
}

fn steps(log: &Log) -> Vec<DisturbanceMetrics> {
    metrics(log).disturbances
}

const fn runs(longest: i64, total: i64) -> MissedRuns {
    MissedRuns { longest_ms: ms(longest), total_ms: ms(total) }
}

fn up(step: &DisturbanceMetrics) -> MissedMedia {
    step.missed.up.unwrap()
}

#[test]
fn missed_media_are_units_that_come_too_late_or_never() {
    // Sent from 10000 to 10080: lost. At 10100, 10120 and 10140: 170, 100 and 62 ms later than usual.
    let mut log = call(|t| match t {
        10_000..10_100 => None,
        10_100 => Some((210, 0)),
        10_120 => Some((140, 0)),
        10_140 => Some((102, 0)),
        _ => Some((40, 0)),
    });
    log.step(10_000, DisturbanceKind::Silence, "wlan0");
    let step = &steps(&log)[0];
    assert_eq!(up(step), MissedMedia { j20: runs(160, 160), j60: runs(160, 160), j150: runs(120, 120) });
    assert_eq!(step.missed_ms(), Some(ms(160)));
    // Arrivals at 10020 and, of the unit sent at 10160, at 10200.
    assert_eq!(step.interruption_ms, Some(ms(10_200 - 10_020 - 20)));
    assert_eq!(step.censored, None);
}

#[test]
fn a_unit_exactly_at_its_budget_is_played() {
    let mut log = call(|t| match t {
        10_000 => Some((60, 0)),
        10_020 => Some((61, 0)),
        _ => Some((40, 0)),
    });
    log.step(10_000, DisturbanceKind::Link, "wlan0");
    let missed = up(&steps(&log)[0]);
    assert_eq!((missed.j20, missed.j60), (runs(20, 20), runs(0, 0)));
}

#[test]
fn a_step_of_delay_is_no_silence() {
    let mut log = call(|t| Some((if t < 10_000 { 40 } else { 90 }, 0)));
    log.step(10_000, DisturbanceKind::Link, "wlan0");
    let step = &steps(&log)[0];
    assert_eq!(step.delay_step_ms.up, Some(ms(50)));
    // The gap calls it 50 ms of silence; nothing was missed with 60 ms of patience.
    assert_eq!((step.interruption_ms, step.missed_ms()), (Some(ms(50)), Some(ms(0))));
    // With 20 ms everything is, from the step to the end: the last unit that can be judged left at 19940.
    assert_eq!(up(step).j20.total_ms, ms(19_940 - 10_000 + 20));
    assert_eq!(metrics(&log).episodes, []);
}

#[test]
fn a_gap_is_a_difference_of_sending_and_one_of_delay() {
    // A sender that sleeps for 300 ms, a change of delay, and a loss, each for itself and together.
    for (has_sleep, has_step, has_loss) in
        [(true, false, false), (false, true, false), (false, false, true), (true, true, true)]
    {
        let mut log = Log::default();
        log.connected(0, "one", true);
        log.workloads();
        let mut arrived = vec![];
        let times = (0..20_000).step_by(20).filter(|t| !(has_sleep && (10_000..10_300).contains(t)));
        for (sequence, t) in (0..).zip(times) {
            log.sent(t, "laptop", sequence);
            let delay = if has_step && t >= 10_000 { 75 } else { 40 };
            if !(has_loss && (10_300..10_400).contains(&t)) {
                log.received(t + delay, "desktop", sequence, t, 0);
                arrived.push((t, delay));
            }
        }
        log.step(10_000, DisturbanceKind::Link, "wlan0");
        let around = arrived.windows(2).filter(|pair| pair[1].0 >= 9_980);
        let longest = around.map(|pair| (pair[1].0 - pair[0].0) + (pair[1].1 - pair[0].1)).max().unwrap();
        assert_eq!(steps(&log)[0].up_ms, Some(ms(longest - 20)), "{has_sleep} {has_step} {has_loss}");
    }
}

#[test]
fn a_run_that_begins_in_the_window_counts_to_its_end_and_one_from_before_in_part() {
    let mut log = call(|t| (!(9_000..18_000).contains(&t)).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::Down, "wwan0");
    // Of those that were due from 9040 on, the step's are due from 10000 to 15000.
    assert_eq!(up(&steps(&log)[0]).j60, runs(5_000, 5_000));
    let mut log = call(|t| (!(14_000..18_000).contains(&t)).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::Down, "wwan0");
    assert_eq!(up(&steps(&log)[0]).j60, runs(4_000, 4_000));
}

#[test]
fn below_ten_arrivals_there_is_no_usual_delay_and_no_figure() {
    let mut log = call(|t| (!(10_200..10_400).contains(&t)).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::Down, "wwan0");
    log.step(10_180, DisturbanceKind::Down, "wlan0");
    let steps = steps(&log);
    // Nine units arrived since the step before; the silence is measured all the same.
    assert_eq!((steps[1].missed.up, steps[1].delay_step_ms.up), (None, None));
    assert_eq!((steps[1].missed_ms(), steps[1].interruption_ms), (None, Some(ms(200))));
}

#[test]
fn usual_is_what_was_played() {
    // Units of 2 s are held and come at once, 100 of the 250 of the 5 s before the step.
    let mut log = call(|t| if (7_000..9_000).contains(&t) { Some((9_040 - t, 0)) } else { Some((40, 0)) });
    log.step(10_000, DisturbanceKind::Link, "wlan0");
    let step = &steps(&log)[0];
    assert_eq!((step.missed_ms(), step.delay_step_ms.up), (Some(ms(0)), Some(ms(0))));
}

#[test]
fn a_sender_without_a_connection_misses_what_it_does_not_send() {
    let mut log = Log::default();
    log.connected(0, "one", false);
    log.workloads();
    for (from, to) in BOTH {
        let times = (0..20_000).step_by(20).filter(|t| !(11_000..14_000).contains(t));
        for (sequence, t) in (0..).zip(times) {
            log.sent(t, from, sequence);
            if !(10_000..11_000).contains(&t) {
                log.received(t + 40, to, sequence, t, 0);
            }
        }
        let closed = EventKind::ConnectionClosed { connection: "one".into(), why: "timed out".into() };
        log.push(10_990, from, closed);
    }
    log.connected(14_000, "two", false);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log)[0];
    assert_eq!((step.missed_ms(), step.how), (Some(ms(4_000)), How::Rebuilt));
}

#[test]
fn a_sender_that_gave_up_misses_what_is_left_of_the_call() {
    let mut log = Log::default();
    log.connected(0, "one", false);
    log.workloads();
    for ends in BOTH {
        log.flow(ends, 0, 14_000, |t| (t < 10_000).then_some((40, 0)));
    }
    let unreachable = || EventKind::Stopped { why: "unreachable".into() };
    log.push(14_000, "laptop", unreachable());
    log.push(14_000, "desktop", unreachable());
    log.step(10_000, DisturbanceKind::Silence, "wlan0");
    let step = &steps(&log)[0];
    // The last unit that can be judged by the end, at 20000, is sent at 19900.
    assert_eq!([step.missed.up, step.missed.down].map(|missed| missed.unwrap().j60), [runs(9_920, 9_920); 2]);
    assert_eq!(step.how, How::Failed);
}

#[test]
fn an_unrelated_silence_near_the_end_fails_no_step() {
    let mut log = call(|t| (t < 19_740).then_some((40, 0)));
    log.step(15_500, DisturbanceKind::Down, "wwan0");
    let step = &steps(&log)[0];
    // The last arrival is at 19760, and the record ends at 20000.
    assert_eq!(step.interruption_ms, Some(ms(20_000 - 19_760 - 20)));
    assert_eq!((step.how, step.same_connection), (How::None, true));
    assert_eq!(step.censored, Some(Censored { horizon_ms: ms(4_500) }));
}

#[test]
fn a_second_without_end_is_a_failure_and_less_is_not() {
    for (lost_from, how) in [(19_020, How::None), (18_980, How::Failed)] {
        let mut log = call(|t| (t < lost_from).then_some((40, 0)));
        log.step(lost_from, DisturbanceKind::Down, "wlan0");
        let step = &steps(&log)[0];
        assert_eq!((step.how, step.censored.is_some()), (how, true), "{lost_from}");
    }
}

#[test]
fn a_call_that_was_dead_before_is_not_this_steps_failure() {
    let mut log = call(|t| (t < 10_000).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::Silence, "wlan0");
    log.step(12_000, DisturbanceKind::Priority, "wlan0");
    let steps = steps(&log);
    assert_eq!((steps[0].how, steps[0].same_connection), (How::Failed, false));
    assert_eq!((steps[1].how, steps[1].same_connection), (How::None, false));
    assert!(steps.iter().all(|step| step.censored.is_some()));
}

#[test]
fn steps_of_one_instant_have_one_window_and_the_same_figures() {
    let mut log = call(|t| (!(10_000..11_000).contains(&t)).then_some((40, 0)));
    log.rebind(10_001, "hotel");
    log.due(10_000);
    log.rebind(10_037, "carrier");
    log.due(10_000);
    let steps = steps(&log);
    let [first, second] = steps.as_slice() else { panic!("{steps:?}") };
    assert_eq!((first.step, second.step), (0, 1));
    assert_eq!((first.at_ms, second.at_ms), (ms(10_001), ms(10_037)));
    assert_eq!(first.interruption_ms, Some(ms(1_000)));
    let (step, at_ms, what) = (first.step, first.at_ms, first.what.clone());
    assert_eq!(*first, DisturbanceMetrics { step, at_ms, what, ..second.clone() });
}

#[test]
fn an_expectation_means_the_step_that_it_names() {
    let mut log = call(|t| (!(10_000..11_000).contains(&t)).then_some((40, 0)));
    log.step(9_000, DisturbanceKind::Link, "wlan0");
    log.step(10_000, DisturbanceKind::Silence, "wlan0");
    let below = Duration::from_millis(100);
    let metrics = metrics(&log);
    let judged = |steps: Steps| Expectation::Missed { below, steps }.judge(&metrics);
    let second = judged(Steps::Step { word: "1".into(), index: 1 });
    assert_eq!(
        (second.name.as_str(), second.measured.as_str(), second.ok),
        ("missed of step 1", "1 s", false)
    );
    let at = Duration::from_secs(9);
    let first = judged(Steps::At { at, indices: vec![0] });
    assert_eq!((first.name.as_str(), first.measured.as_str(), first.ok), ("missed at 9 s", "0 ms", true));
}

#[test]
fn steps_that_only_change_preferences_are_not_held_to_a_way() {
    let mut log = call(|t| Some((40, u64::from(t >= 10_000))));
    log.path(100, 1, "wwan0", PathState::Backup, "standby");
    log.step(5_000, DisturbanceKind::Metric, "wlan0");
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.path(10_001, 1, "wwan0", PathState::Active, "promoted");
    let judge = |steps| Expectation::How { is: How::Multipath, steps }.judge(&metrics(&log)).ok;
    assert!(judge(Steps::Every));
    assert!(!judge(Steps::Step { word: "0".into(), index: 0 }), "named, it is held to it");
}

#[test]
fn a_server_that_goes_before_is_not_the_loss_of_an_interface() {
    let (mut log, facts) = wifi_off();
    log.server_down(5_000, "turn");
    let standby = behaviour::standby_before_loss(&log.events, &facts).unwrap();
    assert_eq!(standby.word, "yes");
    assert_eq!(behaviour::fallback_kind(&log.events, &facts).unwrap().word, "multipath");
}

#[test]
fn episodes_are_found_where_no_step_is() {
    // Both ways alike: 6 units lost at 6 s, 3 too late at 12 s, and 2 lost at 15 s, which are too few.
    let mut log = call(|t| match t {
        6_000..6_120 | 15_000..15_040 => None,
        12_000..12_060 => Some((12_200 - t, 0)),
        _ => Some((40, 0)),
    });
    log.step(11_500, DisturbanceKind::Priority, "wlan0");
    let expected = |direction, start, missed, cause, step| Episode {
        start_ms: ms(start),
        direction,
        missed_ms: ms(missed),
        cause,
        step,
    };
    let each = [Direction::Up, Direction::Down];
    let first = each.map(|way| expected(way, 6_040, 120, EpisodeCause::Unexplained, None));
    let second = each.map(|way| expected(way, 12_040, 60, EpisodeCause::Step, Some(0)));
    assert_eq!(metrics(&log).episodes, [first, second].concat());
}

#[test]
fn the_cause_of_an_episode_is_the_first_that_holds() {
    let mut log = call(|t| match t {
        6_000..6_100 => None,
        _ => Some((40, u64::from(t >= 6_000))),
    });
    let cause = |log: &Log| metrics(log).episodes[0].cause;
    assert_eq!(cause(&log), EpisodeCause::PathChange);
    log.step(6_000, DisturbanceKind::Down, "wlan0");
    assert_eq!(cause(&log), EpisodeCause::Step);
    let stall = |from: i64, to: i64| {
        let (from_ns, to_ns) = (ms(from).as_ns(), ms(to).as_ns());
        EventKind::Stall { process: "testbed".into(), from_ns, to_ns }
    };
    log.push(6_300, "testbed", stall(6_250, 6_300));
    assert_eq!(cause(&log), EpisodeCause::Step, "it stood still afterwards");
    log.push(6_090, "testbed", stall(6_050, 6_090));
    assert_eq!(cause(&log), EpisodeCause::Harness);
}

fn sample(queue_bytes: u64, late: i64) -> EventKind {
    EventKind::LinkSample {
        network: "home".into(),
        interface: "laptop.wlan0".into(),
        direction: Direction::Up,
        bytes: 0,
        queue_bytes,
        drops: 0,
        late_ns: ms(late).as_ns().unsigned_abs(),
    }
}

#[test]
fn what_the_model_dropped_or_held_is_its_doing() {
    let lossy = || call(|t| (!(6_000..6_080).contains(&t)).then_some((40, 0)));
    let dropped = |host: &str, direction, bytes| EventKind::PacketDropped {
        network: "home".into(),
        traffic_host: Some(host.into()),
        traffic_interface: Some("wlan0".into()),
        direction,
        cause: DropCause::Loss,
        source: None,
        destination: None,
        bytes,
    };
    let cause = |log: &Log| {
        let episodes = metrics(log).episodes;
        episodes.iter().find(|episode| episode.direction == Direction::Up).unwrap().cause
    };
    for (host, direction, bytes, count, expected) in [
        ("laptop", Direction::Up, 120, 4, EpisodeCause::Model),
        ("desktop", Direction::Down, 120, 4, EpisodeCause::Model),
        // Fewer than were lost, the other way, and too small.
        ("laptop", Direction::Up, 120, 3, EpisodeCause::Unexplained),
        ("laptop", Direction::Down, 120, 4, EpisodeCause::Unexplained),
        ("laptop", Direction::Up, 60, 4, EpisodeCause::Unexplained),
    ] {
        let mut log = lossy();
        let times = (6_000..).step_by(20).take(count);
        times.for_each(|t| log.push(t, "testbed", dropped(host, direction, bytes)));
        assert_eq!(cause(&log), expected, "{host} {direction:?} {bytes} {count}");
    }
    let mut log = lossy();
    log.push(6_050, "testbed", sample(5_000, 0));
    assert_eq!(cause(&log), EpisodeCause::Model);
}

#[test]
fn a_harness_that_stood_still_makes_the_run_invalid_and_keeps_its_figures() {
    let with = |stalls: &[(i64, i64)], late: i64| {
        let mut log = call(|t| (!(10_000..10_480).contains(&t)).then_some((40, 0)));
        log.step(10_000, DisturbanceKind::Down, "wlan0");
        for (from, to) in stalls {
            let (from_ns, to_ns) = (ms(*from).as_ns(), ms(*to).as_ns());
            log.push(*to, "testbed", EventKind::Stall { process: "desktop".into(), from_ns, to_ns });
        }
        log.push(10_300, "testbed", sample(0, late));
        let results = results(&log.events, &facts(20));
        assert_eq!(results.metrics.disturbances[0].interruption_ms, Some(ms(480)));
        (results.metrics.disturbances[0].harness_ms, results.invalid_why)
    };
    assert_eq!(with(&[], 0), (ms(0), None));
    // A tenth of 480 ms is tolerated; what overlaps counts once, and what lies before the step does not.
    assert_eq!(with(&[(10_100, 10_140), (10_130, 10_148), (9_000, 9_900)], 0), (ms(48), None));
    let why = "harness: desktop stood still for 49 ms after `down laptop.wlan0`";
    assert_eq!(with(&[(10_100, 10_149)], 0), (ms(49), Some(why.to_owned())));
    // A packet that is late by 20 ms is within the bounds of a run.
    assert_eq!(with(&[], 20), (ms(0), None));
    let why = "harness: the network model was late for 55 ms after `down laptop.wlan0`";
    assert_eq!(with(&[], 75), (ms(55), Some(why.to_owned())));
}

#[test]
fn a_stall_that_begins_the_silence_of_a_step_counts_from_its_beginning() {
    let mut log = call(|t| (!(9_900..10_480).contains(&t)).then_some((40, 0)));
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let stall =
        EventKind::Stall { process: "testbed".into(), from_ns: ms(9_935).as_ns(), to_ns: ms(9_999).as_ns() };
    log.push(9_999, "testbed", stall);
    let results = results(&log.events, &facts(20));
    let step = &results.metrics.disturbances[0];
    assert_eq!((step.interruption_ms, step.harness_ms), (Some(ms(580)), ms(64)));
    assert!(!results.valid, "more than a tenth of it is ours");
}

#[test]
fn a_peer_that_starts_late_makes_the_run_invalid() {
    let started = |at| {
        let mut log = call(|_| Some((40, 0)));
        log.push(at, "desktop", EventKind::Started {});
        // What serves others has no figures.
        log.push(900, "meet", EventKind::Started {});
        results(&log.events, &facts(20)).invalid_why
    };
    assert_eq!(started(20), None);
    assert_eq!(started(21).as_deref(), Some("harness: desktop started 21 ms after time zero"));
}

#[test]
fn a_path_that_has_to_be_built_is_told_phase_by_phase() {
    let mut log = call(|t| match t {
        ..10_000 => Some((40, 0)),
        10_700.. => Some((60, 1)),
        _ => None,
    });
    log.check(5_000, 40, 0, "wlan0", CheckPurpose::Liveness);
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    log.detected(10_020, "laptop", "wlan0", DetectedBy::InterfaceDown);
    let candidate = EventKind::LocalCandidate {
        interface: "wwan0".into(),
        socket: 3,
        candidate: CandidateKind::Host,
        address: "[2001:db8:2::2]:5001".parse().unwrap(),
        priority: 1,
        foundation: "1".into(),
    };
    log.push(10_120, "laptop", candidate);
    log.check(10_200, 300, 1, "wwan0", CheckPurpose::Ordinary);
    log.path(10_650, 1, "wwan0", PathState::Active, "nominated");
    let step = &steps(&log)[0];
    // The last payload over WiFi arrived at 10020; the first answer over cellular at 10500.
    assert_eq!(step.rebuild_ms, Some(ms(480)));
    let phases = Phases {
        detect_ms: Some(ms(20)),
        gather_ms: Some(ms(100)),
        check_ms: Some(ms(380)),
        nominate_ms: Some(ms(150)),
        first_byte_ms: Some(ms(110)),
    };
    assert_eq!(step.phases, Some(phases));
    // Cellular had answered before: that is no rebuilding.
    log.check(5_000, 60, 1, "wwan0", CheckPurpose::Liveness);
    assert_eq!(steps(&log)[0].rebuild_ms, None);
}

#[test]
fn a_warm_standby_skips_what_it_need_not_do() {
    let (log, facts) = wifi_off();
    let step = &results(&log.events, &facts).metrics.disturbances[0];
    assert_eq!(step.rebuild_ms, None);
    let phases = step.phases.unwrap();
    assert_eq!((phases.detect_ms, phases.gather_ms, phases.check_ms), (Some(ms(1)), None, None));
    assert_eq!(phases.nominate_ms, Some(ms(0)));
}

#[test]
fn what_takes_no_interface_away_has_no_phases() {
    let mut log = call(|_| Some((40, 0)));
    log.rebind(5_000, "home");
    log.server_down(8_000, "turn");
    log.step(11_000, DisturbanceKind::Up, "wlan0");
    assert!(steps(&log).iter().all(|step| (step.phases, step.rebuild_ms) == (None, None)));
}

#[test]
fn a_run_without_a_call_has_no_missed_media() {
    let mut log = Log::default();
    log.bulk_begins(0, None);
    log.arrive((0..19_000).map(|t| t * 1_000_000));
    log.step(10_000, DisturbanceKind::Down, "wlan0");
    let step = &steps(&log)[0];
    assert_eq!((step.missed.up, step.missed.down, step.missed_ms()), (None, None, None));
}
