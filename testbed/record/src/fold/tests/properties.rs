//! Whatever a log holds, the fold is total and its figures are well formed.

use super::build::{Log, facts, wifi_off};
use crate::{
    CandidateKind, CheckPurpose, DetectedBy, Direction, DisturbanceKind, Event, EventKind, InterfaceKind,
    Millis, PairState, PathState, Results, RunFacts, WorkloadKind,
    fold::{behaviour, results, timeline},
};
use proptest::{prelude::*, sample::select};
use std::net::SocketAddr;

fn time() -> impl Strategy<Value = i64> {
    prop_oneof![8 => -1_000_000_000..20_000_000_000i64, 1 => any::<i64>()]
}

fn interface() -> impl Strategy<Value = String> {
    select(vec!["wlan0", "wwan0"]).prop_map(str::to_owned)
}

fn address() -> impl Strategy<Value = SocketAddr> {
    select(vec!["192.168.1.2:5000", "[2001:db8::2]:5000"]).prop_map(|text| text.parse().unwrap())
}

fn candidate() -> impl Strategy<Value = CandidateKind> {
    select(vec![CandidateKind::Host, CandidateKind::Prflx, CandidateKind::Relay])
}

fn path() -> impl Strategy<Value = EventKind> {
    use PathState::{Active, Backup, Closed, Opening, Validated};
    let state = select(vec![Opening, Validated, Active, Backup, Closed]);
    (0..4u64, 0..3u32, interface(), address(), candidate(), state).prop_map(
        |(path, pair, interface, local, candidate, state)| EventKind::Path {
            path,
            pair,
            interface,
            remote_interface: None,
            local,
            remote: local,
            candidate,
            state,
            cause: "any".into(),
        },
    )
}

fn pair() -> impl Strategy<Value = EventKind> {
    let state = select(vec![PairState::Waiting, PairState::Up, PairState::Down, PairState::Removed]);
    (0..3u32, interface(), address(), candidate(), state).prop_map(|(pair, interface, local, kind, state)| {
        EventKind::Pair {
            pair,
            interface,
            remote_interface: None,
            local,
            remote: local,
            local_kind: kind,
            remote_kind: CandidateKind::Host,
            state,
            cause: "any".into(),
        }
    })
}

fn check() -> impl Strategy<Value = EventKind> {
    let purpose = select(vec![CheckPurpose::Ordinary, CheckPurpose::Liveness]);
    let common = (proptest::option::of(0..3u32), interface(), address(), purpose);
    (common, any::<bool>(), any::<Option<u64>>()).prop_map(
        |((pair, interface, remote, purpose), sent, rtt_ns)| {
            if sent {
                return EventKind::CheckSent { pair, interface, remote, purpose, attempt: 1 };
            }
            EventKind::CheckAnswered {
                pair,
                interface,
                remote,
                purpose,
                attempt: Some(1),
                rtt_ns,
                mapped: Some(remote),
            }
        },
    )
}

fn payload() -> impl Strategy<Value = EventKind> {
    let workload = WorkloadKind::Call;
    prop_oneof![
        (0..50u64).prop_map(move |sequence| EventKind::PayloadSent { workload, sequence, bytes: 58 }),
        (0..50u64, time(), any::<u32>(), proptest::option::of(0..4u64)).prop_map(
            move |(sequence, sent_t_ns, bytes, path)| EventKind::PayloadReceived {
                workload,
                sequence,
                sent_t_ns,
                bytes,
                path
            }
        ),
        any::<Option<u64>>().prop_map(move |interval_ns| EventKind::Workload {
            workload,
            interval_ns,
            payload: None
        }),
    ]
}

fn bulk() -> impl Strategy<Value = EventKind> {
    let object = 0..2u32;
    let direction = select(vec![Direction::Up, Direction::Down]);
    let hash = select(vec!["", "aa", "bb"]).prop_map(str::to_owned);
    prop_oneof![
        (object.clone(), direction, any::<Option<u64>>(), any::<bool>()).prop_map(
            |(object, direction, bytes, sending)| EventKind::BulkBegins { object, direction, bytes, sending }
        ),
        (object.clone(), any::<u64>(), time()).prop_map(|(object, bytes, newest_t_ns)| {
            EventKind::BulkArrived { object, bytes, duplicate: 0, newest_t_ns }
        }),
        (object.clone(), any::<u64>()).prop_map(|(object, bytes)| EventKind::BulkSent {
            object,
            bytes,
            resent: bytes,
            acknowledged: Some(bytes)
        }),
        (object.clone(), any::<u64>()).prop_map(|(object, bytes)| EventKind::BulkResent {
            object,
            bytes,
            why: "any".into()
        }),
        (object, any::<u64>(), hash, any::<Option<bool>>()).prop_map(|(object, bytes, sha256, sha256_ok)| {
            EventKind::BulkEnded { object, bytes, sha256, receiver: None, sha256_ok, why: "any".into() }
        }),
    ]
}

fn step() -> impl Strategy<Value = EventKind> {
    let what = select(DisturbanceKind::ALL.to_vec());
    let network = proptest::option::of(Just("home".to_owned()));
    let host = proptest::option::of(select(vec!["laptop", "desktop"]).prop_map(str::to_owned));
    (what, host, proptest::option::of(interface()), network, time()).prop_map(
        |(what, target_host, target_interface, target_network, due_t_ns)| EventKind::Disturbance {
            index: 0,
            name: None,
            what,
            target_host,
            target_interface,
            target_network,
            due_t_ns,
        },
    )
}

fn rest() -> impl Strategy<Value = EventKind> {
    let name = select(vec!["one", "two"]).prop_map(str::to_owned);
    let by = select(vec![DetectedBy::Peer, DetectedBy::NoCarrier, DetectedBy::ReceiveSilence]);
    prop_oneof![
        Just(EventKind::Started {}),
        (time(), time()).prop_map(|(from_ns, to_ns)| EventKind::Stall {
            process: "testbed".into(),
            from_ns,
            to_ns
        }),
        (any::<u64>(), select(vec![Direction::Up, Direction::Down])).prop_map(|(number, direction)| {
            EventKind::LinkSample {
                network: "home".into(),
                interface: "laptop.wlan0".into(),
                direction,
                bytes: number,
                queue_bytes: number % 2,
                drops: 0,
                late_ns: number,
            }
        }),
        interface().prop_map(|interface| EventKind::LocalCandidate {
            interface,
            socket: 0,
            candidate: CandidateKind::Host,
            address: "[2001:db8::2]:5000".parse().unwrap(),
            priority: 1,
            foundation: "1".into()
        }),
        select(vec!["finished", "refused"]).prop_map(|why| EventKind::Stopped { why: why.into() }),
        (name.clone(), any::<bool>()).prop_map(|(connection, multipath)| EventKind::Connected {
            connection,
            engine: "noq".into(),
            multipath
        }),
        name.prop_map(|connection| EventKind::ConnectionClosed { connection, why: "any".into() }),
        (interface(), by, any::<Option<u64>>(), any::<Option<u64>>()).prop_map(
            |(interface, by, silence_ns, expected_ns)| EventKind::Detected {
                interface,
                path: None,
                by,
                silence_ns,
                expected_ns
            }
        ),
        interface().prop_map(|interface| EventKind::Interface {
            interface,
            kind: InterfaceKind::Cellular,
            up: true,
            carrier: true,
            addresses: vec![]
        }),
        (0..4u64, any::<u64>(), any::<Option<u64>>()).prop_map(|(path, bytes, rtt_ns)| {
            EventKind::PathSample {
                path,
                bytes_sent: bytes,
                bytes_received: bytes,
                rtt_ns,
                packets_sent: rtt_ns,
                packets_lost: rtt_ns,
                congestion_window: None,
            }
        }),
    ]
}

fn log() -> impl Strategy<Value = Vec<Event>> {
    let call = prop_oneof![payload(), Just(EventKind::Started {})];
    let what = prop_oneof![path(), pair(), check(), call.clone(), call, bulk(), bulk(), step(), rest()];
    let host = select(vec!["laptop", "desktop", "testbed"]);
    let event = (time(), host, what).prop_map(|(t_ns, host, what)| Event { t_ns, host: host.into(), what });
    proptest::collection::vec(event, 0..120)
}

fn is_well_formed(results: &Results) -> Result<(), TestCaseError> {
    let zero = Millis::default();
    prop_assert!(results.metrics.episodes.iter().all(|one| one.missed_ms >= Millis::from_ns(60_000_000)));
    for step in &results.metrics.disturbances {
        let silences = [step.up_ms, step.down_ms, step.interruption_ms, step.gap_before_ms, step.detected_ms];
        prop_assert!(silences.into_iter().flatten().all(|figure| figure >= zero));
        prop_assert_eq!(step.interruption_ms, step.up_ms.max(step.down_ms));
        prop_assert_eq!(step.detected_ms.is_some(), step.detected_by.is_some());
        prop_assert!(step.harness_ms >= zero);
        for missed in step.missed.each().into_iter().flatten() {
            let budgets = [missed.j20, missed.j60, missed.j150];
            prop_assert!(
                budgets.iter().all(|runs| zero <= runs.longest_ms && runs.longest_ms <= runs.total_ms)
            );
        }
    }
    if let Some(call) = &results.metrics.call {
        prop_assert!(
            [call.up, call.down].iter().all(|flow| flow.lost <= flow.sent && flow.late <= flow.received)
        );
    }
    if let Some(bulk) = &results.metrics.bulk {
        prop_assert!(bulk.longest_stall_ms.is_none_or(|stall| stall >= zero));
        prop_assert_eq!(bulk.aggregation, None);
    }
    let has_bulk = results.metrics.bulk.is_some();
    prop_assert!(results.metrics.disturbances.iter().all(|step| step.bytes_resent.is_some() == has_bulk));
    let first = results.metrics.first_path_ms;
    let either = [results.metrics.direct_path_ms, results.metrics.relay_path_ms].into_iter().flatten().min();
    prop_assert_eq!(first, either);
    prop_assert_eq!(results.valid, results.invalid_why.is_none());
    prop_assert!(serde_json::from_str::<Results>(&serde_json::to_string(results).unwrap()).is_ok());
    Ok(())
}

fn seen(events: &[Event], facts: &RunFacts) {
    for fold in [
        behaviour::standby_before_loss,
        behaviour::fallback_kind,
        behaviour::probing_after_loss,
        behaviour::cellular_checked_before_loss,
        behaviour::direct_ipv4_found,
    ] {
        let _ = fold(events, facts);
    }
    let _ = behaviour::far_end_noticed_silence(events, facts);
}

proptest! {
    #[test]
    fn any_log_has_well_formed_results(events in log()) {
        let facts = facts(20);
        is_well_formed(&results(&events, &facts))?;
        let lines = timeline(&events, &facts);
        prop_assert!(lines.is_sorted_by_key(|line| line.t));
        seen(&events, &facts);
    }

    /// The directory of a run that was killed is readable, and tells what had happened by then.
    #[test]
    fn a_prefix_of_a_run_has_well_formed_results(length in 0..4_300usize) {
        let (log, facts) = wifi_off();
        let mut events = log.events;
        events.sort_by_key(|event| event.t_ns);
        events.truncate(length);
        is_well_formed(&results(&events, &facts))?;
    }

    #[test]
    fn the_order_in_the_file_does_not_matter(seed in any::<u64>()) {
        let (log, facts) = wifi_off();
        let expected = results(&log.events, &facts);
        let mut events = log.events;
        // Events of one instant keep their order, as the file's order of arrival tells nothing else about them.
        events.sort_by_key(|event| (event.t_ns as u64).wrapping_mul(seed | 1));
        prop_assert_eq!(results(&events, &facts), expected);
    }

    /// However bytes arrive: what is told every 5 ms gives every stall of more than 10 ms to the nanosecond.
    #[test]
    fn stalls_of_a_transfer_are_exact(gaps in proptest::collection::vec(gap(), 1..200)) {
        let times: Vec<i64> = gaps.iter().scan(1_000_000_000, |t, gap| { *t += gap; Some(*t) }).collect();
        let mut log = Log::default();
        log.bulk_begins(1_000, Some(1_000 * times.len() as u64));
        log.arrive(times.iter().copied());
        let folded = results(&log.events, &facts(3_600)).metrics.bulk.unwrap();
        prop_assert_eq!(folded.bytes, 1_000 * times.len() as u64);
        let longest = times.windows(2).map(|pair| pair[1] - pair[0]).max().map(Millis::from_ns);
        let told = folded.longest_stall_ms;
        let coarse = Some(Millis::from_ns(10_000_000));
        prop_assert!(if longest > coarse { told == longest } else { told <= coarse }, "{:?} {:?}", told, longest);
    }
}

/// Between two arrivals.
fn gap() -> impl Strategy<Value = i64> {
    prop_oneof![20 => 0..2_000_000i64, 3 => 2_000_000..20_000_000i64, 1 => 20_000_000..9_000_000_000i64]
}
