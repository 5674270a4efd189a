//! The form on disk: what is written is read back, and what earlier versions wrote is still read.

use super::*;
use crate::parse_line;
use proptest::prelude::*;

fn event(what: EventKind) -> Event {
    Event { t_ns: 15_084_000_000, host: "desktop".into(), what }
}

/// Writes it as a line, compares that, and reads it back.
fn on_disk(what: EventKind, fields: &str) {
    let written = serde_json::to_string(&event(what.clone())).unwrap();
    assert_eq!(written, format!(r#"{{"t_ns":15084000000,"host":"desktop",{fields}}}"#));
    assert_eq!(parse_line(&written).unwrap(), event(what));
}

#[test]
fn a_detection_by_silence_tells_what_was_expected() {
    let detected = |silence_ns, expected_ns| EventKind::Detected {
        interface: "wwan0".into(),
        path: Some(0),
        by: DetectedBy::ReceiveSilence,
        silence_ns,
        expected_ns,
    };
    on_disk(
        detected(Some(84_000_000), Some(62_000_000)),
        r#""kind":"detected","fields":{"interface":"wwan0","path":0,"by":"receive-silence","silence_ns":84000000,"expected_ns":62000000}"#,
    );
    on_disk(
        detected(None, None),
        r#""kind":"detected","fields":{"interface":"wwan0","path":0,"by":"receive-silence","silence_ns":null,"expected_ns":null}"#,
    );
}

#[test]
fn the_steps_have_the_words_of_the_scenario() {
    for what in DisturbanceKind::ALL {
        assert_eq!(serde_json::to_value(what).unwrap(), what.word());
        assert_eq!(what.to_string(), what.word());
    }
    assert_eq!(
        DisturbanceKind::ALL.map(DisturbanceKind::word).join(" "),
        "down up carrier_off carrier_on silence restore address nat_rebind nat_flush roam metric link block unblock server_down server_up \
         hotspot policy priority path"
    );
    let rebind = EventKind::Disturbance {
        index: 0,
        name: None,
        what: DisturbanceKind::NatRebind,
        target_host: None,
        target_interface: None,
        target_network: Some("home".into()),
        due_t_ns: 15_000_000_000,
    };
    on_disk(
        rebind,
        r#""kind":"disturbance","fields":{"index":0,"what":"nat_rebind","target_host":null,"target_interface":null,"target_network":"home","due_t_ns":15000000000}"#,
    );
}

#[test]
fn what_the_harness_says_of_itself_keeps_its_form() {
    on_disk(
        EventKind::Stall { process: "testbed".into(), from_ns: 1_000, to_ns: 2_000 },
        r#""kind":"stall","fields":{"process":"testbed","from_ns":1000,"to_ns":2000}"#,
    );
    let sample = EventKind::LinkSample {
        network: "home".into(),
        interface: "laptop.wlan0".into(),
        direction: Direction::Up,
        bytes: 1_200,
        queue_bytes: 0,
        drops: 3,
        late_ns: 40_000,
    };
    on_disk(
        sample,
        r#""kind":"link_sample","fields":{"network":"home","interface":"laptop.wlan0","direction":"up","bytes":1200,"queue_bytes":0,"drops":3,"late_ns":40000}"#,
    );
    let ended = EventKind::DisturbanceEnded {
        index: 1,
        what: DisturbanceKind::Roam,
        target_host: Some("laptop".into()),
        target_interface: Some("wlan0".into()),
        target_network: Some("cafe".into()),
        due_t_ns: 40_500_000_000,
    };
    on_disk(
        ended,
        r#""kind":"disturbance_ended","fields":{"index":1,"what":"roam","target_host":"laptop","target_interface":"wlan0","target_network":"cafe","due_t_ns":40500000000}"#,
    );
    let named = r#"{"t_ns":1,"host":"testbed","kind":"disturbance","fields":{"index":0,"name":"leave","what":"down","target_host":"laptop","target_interface":"wlan0","due_t_ns":1}}"#;
    let EventKind::Disturbance { name, .. } = parse_line(named).unwrap().what else { panic!("a step") };
    assert_eq!(name.as_deref(), Some("leave"));
}

#[test]
fn a_unit_that_never_left_has_its_number() {
    on_disk(
        EventKind::PayloadExpired { workload: WorkloadKind::Call, sequence: 7 },
        r#""kind":"payload_expired","fields":{"workload":"call","sequence":7}"#,
    );
}

#[test]
fn a_transfer_is_told_from_its_beginning_to_its_end() {
    let begins = |bytes| EventKind::BulkBegins { object: 3, direction: Direction::Up, bytes, sending: true };
    on_disk(
        begins(Some(20_000_000)),
        r#""kind":"bulk_begins","fields":{"object":3,"direction":"up","bytes":20000000,"sending":true}"#,
    );
    on_disk(
        begins(None),
        r#""kind":"bulk_begins","fields":{"object":3,"direction":"up","bytes":null,"sending":true}"#,
    );
    on_disk(
        EventKind::BulkSent { object: 3, bytes: 70_000, resent: 1_200, acknowledged: Some(60_000) },
        r#""kind":"bulk_sent","fields":{"object":3,"bytes":70000,"resent":1200,"acknowledged":60000}"#,
    );
    on_disk(
        EventKind::BulkArrived { object: 3, bytes: 60_000, duplicate: 17, newest_t_ns: 15_083_000_001 },
        r#""kind":"bulk_arrived","fields":{"object":3,"bytes":60000,"duplicate":17,"newest_t_ns":15083000001}"#,
    );
    on_disk(
        EventKind::BulkResent { object: 3, bytes: 1_200, why: "path 0 lost".into() },
        r#""kind":"bulk_resent","fields":{"object":3,"bytes":1200,"why":"path 0 lost"}"#,
    );
    on_disk(
        EventKind::BulkEnded {
            object: 3,
            bytes: 70_000,
            sha256: "00ff".into(),
            receiver: Some(BulkFigures { bytes: 70_000, duration_ns: 1_500, longest_stall_ns: 200 }),
            sha256_ok: Some(true),
            why: "complete".into(),
        },
        r#""kind":"bulk_ended","fields":{"object":3,"bytes":70000,"sha256":"00ff","receiver":{"bytes":70000,"duration_ns":1500,"longest_stall_ns":200},"sha256_ok":true,"why":"complete"}"#,
    );
    let older = r#"{"t_ns":1,"host":"laptop","kind":"bulk_ended","fields":{"object":3,"bytes":70000,"sha256":"00ff","sha256_ok":true,"why":"complete"}}"#;
    let ended = parse_line(older).unwrap().what;
    assert!(matches!(ended, EventKind::BulkEnded { receiver: None, bytes: 70_000, .. }), "{ended:?}");
}

#[test]
fn a_silenced_packet_and_a_bulk_workload_have_their_words() {
    assert_eq!(serde_json::to_value(DropCause::Silenced).unwrap(), "silenced");
    assert_eq!(serde_json::to_value(WorkloadKind::Bulk).unwrap(), "bulk");
    assert_eq!(serde_json::to_value(DetectedBy::ReceiveSilence).unwrap(), "receive-silence");
    assert_eq!(DetectedBy::ReceiveSilence.to_string(), "receive-silence");
}

/// Lines as version 0.1.0 wrote them before these fields existed.
#[test]
fn older_lines_are_read_with_nothing_in_the_newer_fields() {
    let detected = r#"{"t_ns":1,"host":"laptop","kind":"detected","fields":{"interface":"wlan0","path":0,"by":"interface-down"}}"#;
    assert_eq!(
        parse_line(detected).unwrap().what,
        EventKind::Detected {
            interface: "wlan0".into(),
            path: Some(0),
            by: DetectedBy::InterfaceDown,
            silence_ns: None,
            expected_ns: None,
        }
    );
    let step = r#"{"t_ns":1,"host":"testbed","kind":"disturbance","fields":{"index":0,"what":"down","target_host":"laptop","target_interface":"wlan0","due_t_ns":15000000000}}"#;
    assert_eq!(
        parse_line(step).unwrap().what,
        EventKind::Disturbance {
            index: 0,
            name: None,
            what: DisturbanceKind::Down,
            target_host: Some("laptop".into()),
            target_interface: Some("wlan0".into()),
            target_network: None,
            due_t_ns: 15_000_000_000,
        }
    );
    let answered = r#"{"t_ns":1,"host":"laptop","kind":"check_answered","fields":{"pair":3,"interface":"wlan0","remote":"198.51.100.7:7443","purpose":"liveness","rtt_ns":null,"mapped":"203.0.113.1:4000"}}"#;
    assert_eq!(
        parse_line(answered).unwrap().what,
        EventKind::CheckAnswered {
            pair: Some(3),
            interface: "wlan0".into(),
            remote: "198.51.100.7:7443".parse().unwrap(),
            purpose: CheckPurpose::Liveness,
            attempt: None,
            rtt_ns: None,
            mapped: Some("203.0.113.1:4000".parse().unwrap()),
        }
    );
    let failed = r#"{"t_ns":1,"host":"laptop","kind":"check_failed","fields":{"pair":null,"interface":"wlan0","remote":"198.51.100.7:7443","purpose":"gather","why":"timeout"}}"#;
    assert!(matches!(parse_line(failed).unwrap().what, EventKind::CheckFailed { attempt: None, .. }));
    let sample = r#"{"t_ns":1,"host":"laptop","kind":"path_sample","fields":{"path":1,"bytes_sent":7,"bytes_received":8,"rtt_ns":null}}"#;
    assert_eq!(
        parse_line(sample).unwrap().what,
        EventKind::PathSample {
            path: 1,
            bytes_sent: 7,
            bytes_received: 8,
            rtt_ns: None,
            packets_sent: None,
            packets_lost: None,
            congestion_window: None,
        }
    );
}

#[test]
fn an_unknown_word_is_an_error_and_not_something_else() {
    let line = r#"{"t_ns":1,"host":"testbed","kind":"disturbance","fields":{"index":0,"what":"eclipse","target_host":null,"target_interface":null,"due_t_ns":0}}"#;
    assert!(parse_line(line).unwrap_err().to_string().contains("eclipse"));
}

proptest! {
    #[test]
    fn counters_of_any_size_survive(
        (path, object) in any::<(u64, u32)>(),
        (bytes, duplicate, newest_t_ns) in any::<(u64, u64, i64)>(),
        (packets_sent, packets_lost, congestion_window) in any::<(Option<u64>, Option<u64>, Option<u64>)>(),
    ) {
        let sample = EventKind::PathSample {
            path,
            bytes_sent: bytes,
            bytes_received: duplicate,
            rtt_ns: packets_sent,
            packets_sent,
            packets_lost,
            congestion_window,
        };
        let arrived = EventKind::BulkArrived { object, bytes, duplicate, newest_t_ns };
        for what in [sample, arrived] {
            let line = serde_json::to_string(&event(what.clone())).unwrap();
            prop_assert_eq!(parse_line(&line).unwrap().what, what);
        }
    }
}

#[test]
fn every_request_ends_as_it_began() {
    let (interface, remote) = ("wlan0".to_owned(), "203.0.113.5:3478".parse().unwrap());
    let common = r#""fields":{"pair":null,"interface":"wlan0","remote":"203.0.113.5:3478","purpose""#;
    let words = [
        (CheckPurpose::Refresh, "refresh"),
        (CheckPurpose::Permission, "permission"),
        (CheckPurpose::Channel, "channel"),
        (CheckPurpose::Probe, "probe"),
    ];
    for (purpose, word) in words {
        let interface = interface.clone();
        on_disk(
            EventKind::CheckSent { pair: None, interface, remote, purpose, attempt: 2 },
            &format!(r#""kind":"check_sent",{common}:"{word}","attempt":2}}"#),
        );
    }
    let purpose = CheckPurpose::Refresh;
    on_disk(
        EventKind::CheckAnswered {
            pair: None,
            interface: interface.clone(),
            remote,
            purpose,
            attempt: Some(2),
            rtt_ns: None,
            mapped: None,
        },
        &format!(r#""kind":"check_answered",{common}:"refresh","attempt":2,"rtt_ns":null,"mapped":null}}"#),
    );
    on_disk(
        EventKind::CheckFailed {
            pair: None,
            interface,
            remote,
            purpose,
            attempt: Some(7),
            why: "timeout".into(),
        },
        &format!(r#""kind":"check_failed",{common}:"refresh","attempt":7,"why":"timeout"}}"#),
    );
}

#[test]
fn what_agents_and_policies_do_is_on_disk() {
    let stopped = EventKind::ProbingStopped {
        pair: 3,
        interface: "wwan0".into(),
        remote: "198.51.100.7:7443".parse().unwrap(),
        why: StopReason::DirectPath,
    };
    on_disk(
        stopped,
        r#""kind":"probing_stopped","fields":{"pair":3,"interface":"wwan0","remote":"198.51.100.7:7443","why":"direct-path"}"#,
    );
    let relay = EventKind::Relay {
        interface: "wlan0".into(),
        socket: 1,
        server: "203.0.113.5:3478".parse().unwrap(),
        news: RelayNews::Allocated,
        relayed: Some("203.0.113.5:50000".parse().unwrap()),
        base: Some(1 << 31),
        to: None,
        code: None,
    };
    on_disk(
        relay,
        r#""kind":"relay","fields":{"interface":"wlan0","socket":1,"server":"203.0.113.5:3478","news":"allocated","relayed":"203.0.113.5:50000","base":2147483648,"to":null,"code":null}"#,
    );
    on_disk(
        EventKind::Policy { policy: "whatsapp,stop=never".into() },
        r#""kind":"policy","fields":{"policy":"whatsapp,stop=never"}"#,
    );
    on_disk(
        EventKind::Disguise { interface: None, rung: "first-byte-cookie".into() },
        r#""kind":"disguise","fields":{"interface":null,"rung":"first-byte-cookie"}"#,
    );
    on_disk(
        EventKind::PathStatus { interface: "wlan0".into(), status: PathStatus::Backup },
        r#""kind":"path_status","fields":{"interface":"wlan0","status":"backup"}"#,
    );
    on_disk(EventKind::GatheringComplete {}, r#""kind":"gathering_complete","fields":{}"#);
    on_disk(
        EventKind::CheckList { state: CheckListState::Completed },
        r#""kind":"check_list","fields":{"state":"completed"}"#,
    );
    on_disk(
        EventKind::RoleChanged { role: IceRole::Controlled },
        r#""kind":"role_changed","fields":{"role":"controlled"}"#,
    );
    on_disk(
        EventKind::IceRestart { session: 1, cause: "the last path was lost".into() },
        r#""kind":"ice_restart","fields":{"session":1,"cause":"the last path was lost"}"#,
    );
}
