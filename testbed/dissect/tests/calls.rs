//! Calls in captures that the tests make: WhatsApp's kind, ICE behind TURN, RTP alone.

mod common;

use common::{Maker, socket};
use dissect::{
    GivenRun,
    calls::{CallKind, Role, Zero},
};
use record::Millis;

const MS: i64 = 1_000_000;

fn ms(time: i64) -> Option<Millis> {
    Some(Millis::from_ns(time * MS))
}

/// Allocate requests to two relays, media by one of them, checks, media between the peers, release.
fn whatsapp_call() -> Maker {
    let [local, peer] = [socket("192.168.1.2:50000"), socket("203.0.113.9:40000")];
    let relays = [socket("198.51.100.1:3478"), socket("198.51.100.2:3478")];
    let mut maker = Maker::default();
    for (index, relay) in relays.into_iter().enumerate() {
        let token: (u16, &[u8]) = (0x4000, &[7; 8]);
        // Twice each, with one transaction for all.
        maker.stun(100, local, relay, 0x0003, 1, &[token]);
        maker.stun(101, local, relay, 0x0003, 1, &[token]);
        maker.stun(130 + index as i64, relay, local, 0x0103, 1, &[]);
    }
    for number in 0..50 {
        maker.rtp(1000 + i64::from(number) * 20, relays[0], local, 120, 0xaa, number);
    }
    let integrity: (u16, &[u8]) = (0x0008, &[0; 20]);
    maker.stun(1500, local, peer, 0x0001, 1, &[integrity]);
    maker.stun(1540, peer, local, 0x0101, 1, &[integrity]);
    // The switch loses what would have come in 160 ms.
    for number in 50..100 {
        maker.rtp(1160 + i64::from(number) * 20, peer, local, 120, 0xaa, number);
        maker.rtp(1170 + i64::from(number) * 20, local, peer, 120, 0xbb, number);
    }
    maker.stun(4000, local, relays[0], 0x0800, 1, &[(0x4000, &[7; 8])]);
    maker
}

#[test]
fn a_call_over_relays_that_goes_direct() {
    let report = whatsapp_call().dissect(None);
    let [call] = report.calls.as_slice() else { panic!("{} calls", report.calls.len()) };
    assert_eq!(call.kind, CallKind::Whatsapp);
    assert_eq!(call.start_ms, Millis::default());
    let of = call.milestones;
    let start = 100;
    assert_eq!((of.first_join_ms, of.first_join_answer_ms), (ms(0), ms(130 - start)));
    assert_eq!((of.first_check_ms, of.first_check_answer_ms), (ms(1500 - start), ms(1540 - start)));
    assert_eq!((of.first_relay_media_ms, of.first_direct_media_ms), (ms(1000 - start), ms(2160 - start)));
    assert_eq!(of.first_release_ms, ms(4000 - start));
    assert_eq!(call.local.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.168.1.2"]);
    assert_eq!(call.remote.iter().map(ToString::to_string).collect::<Vec<_>>(), ["203.0.113.9"]);
    let roles: Vec<Role> = call.flows.iter().map(|flow| flow.role).collect();
    assert_eq!(roles, [Role::Relay, Role::Relay, Role::Peer]);
    let joins = call.flows[0].up.joins.as_ref().expect("requests");
    assert_eq!((joins.sent, joins.answered, joins.rtt_ms), (2, 1, None), "a repeated request has no RTT");
    let [received, sent] = call.media.as_slice() else { panic!("{} sources", call.media.len()) };
    assert_eq!((received.ssrc.as_str(), received.packets, received.lost), ("000000aa", 100, 0));
    assert_eq!(received.moves.len(), 1);
    assert_eq!(Some(received.moves[0].gap_ms), ms(180));
    assert_eq!((sent.packets, sent.moves.len()), (50, 0));
}

#[test]
fn metrics_of_a_call_as_results_json_has_them() {
    let report = whatsapp_call().dissect(None);
    let metrics = report.metrics.expect("the longest call's");
    assert_eq!(metrics.zero, Zero::CallStart);
    assert_eq!(metrics.relay_path_ms, ms(30));
    assert_eq!(metrics.direct_path_ms, ms(1440));
    assert_eq!(metrics.first_path_ms, ms(30));
    let inferred = metrics.inferred.as_ref().expect("payload");
    assert_eq!((inferred.payload_from, inferred.ssrc.as_deref()), ("rtp", Some("000000aa")));
    assert_eq!(Some(inferred.interval_ms), ms(20));
    let call = metrics.call.expect("payload");
    assert_eq!((call.down.seen, call.up.seen), (100, 50));
    assert_eq!(metrics.probes.len(), 1);
    assert_eq!((metrics.probes[0].sent, metrics.probes[0].answered), (1, 1));
    let [gap] = metrics.gaps.as_slice() else { panic!("{:?}", metrics.gaps) };
    assert_eq!((Some(gap.gap_ms), Some(gap.start_ms)), (ms(160), ms(1980 - 100)));
    assert!(metrics.disturbances.is_empty());
}

#[test]
fn a_given_run_sets_zero_and_steps() {
    let step = serde_json::json!({
        "t_ns": 1_900 * MS, "host": "testbed", "kind": "disturbance",
        "fields": {"index": 0, "what": "down", "target_host": "laptop", "target_interface": "wlan0",
                   "target_network": null, "due_t_ns": 1_900 * MS},
    });
    let step = serde_json::from_value(step).expect("an event");
    let report = whatsapp_call().dissect(Some(GivenRun { zero_ns: 0, steps: vec![step] }));
    let metrics = report.metrics.expect("the longest call's");
    assert_eq!(metrics.zero, Zero::Given);
    assert_eq!(metrics.direct_path_ms, ms(1540));
    let [step] = metrics.disturbances.as_slice() else { panic!("{:?}", metrics.disturbances) };
    assert_eq!((step.what.as_str(), step.down_ms), ("down laptop.wlan0", ms(160)));
    // The relay brought media only: no path.
    assert_eq!((step.path_before, step.path_after), (None, Some(0)));
}

#[test]
fn peers_behind_turn_are_found_in_indications_and_channels() {
    let [local, server, peer] =
        [socket("192.168.1.2:50000"), socket("198.51.100.1:3478"), socket("203.0.113.9:40000")];
    let mut maker = Maker::default();
    maker.stun(0, local, server, 0x0003, 1, &[]);
    maker.stun(20, server, local, 0x0103, 1, &[]);
    let check = Maker::message(0x0001, 2, &[(0x0006, b"aa:bb"), (0x0008, &[0; 20])]);
    let answer = Maker::message(0x0101, 2, &[(0x0008, &[0; 20])]);
    let address = Maker::xor_address(peer);
    maker.stun(30, local, server, 0x0016, 3, &[(0x0012, &address), (0x0013, &check)]);
    maker.stun(80, server, local, 0x0017, 4, &[(0x0012, &address), (0x0013, &answer)]);
    maker.stun(90, local, server, 0x0009, 5, &[(0x000c, &[0x40, 0, 0, 0]), (0x0012, &address)]);
    for number in 0..20 {
        let mut data = Maker::rtp_packet(96, 0xaa, number);
        let length = (data.len() as u16).to_be_bytes();
        data.splice(0..0, [0x40, 0, length[0], length[1]]);
        maker.udp(100 + i64::from(number) * 20, server, local, &data);
    }
    let report = maker.dissect(None);
    let [call] = report.calls.as_slice() else { panic!("{} calls", report.calls.len()) };
    assert_eq!(call.kind, CallKind::Ice);
    let relayed = call.flows.iter().find(|flow| flow.via == Some(server)).expect("a relayed flow");
    assert_eq!((relayed.remote, relayed.role), (peer, Role::Peer));
    assert_eq!(relayed.up.checks.as_ref().map(|checks| (checks.sent, checks.answered)), Some((1, 1)));
    assert_eq!(relayed.down.media_packets, 20);
    let metrics = &call.metrics;
    assert_eq!((metrics.relay_path_ms, metrics.direct_path_ms), (ms(80), None));
}

#[test]
fn rtp_alone_is_a_call_and_noise_is_none() {
    let [a, b] = [socket("192.0.2.1:4000"), socket("192.0.2.2:5000")];
    let mut maker = Maker::default();
    for number in 0..20 {
        maker.rtp(i64::from(number) * 20, a, b, 0, 1, number);
        maker.rtp(i64::from(number) * 20 + 5, b, a, 0, 2, number);
    }
    // The first byte alone is no sign: identifiers of anything look like it.
    for number in 0..200_u32 {
        let [a, b, c, d] = number.wrapping_mul(2_654_435_761).to_be_bytes();
        maker.udp(
            500 + i64::from(number),
            socket("192.0.2.7:7"),
            socket("192.0.2.8:8"),
            &[0x80, a, b, c, d, a, b, c, d, a, b, c, d],
        );
    }
    let report = maker.dissect(None);
    let [call] = report.calls.as_slice() else { panic!("{} calls", report.calls.len()) };
    assert_eq!((call.kind, call.media.len(), call.flows.len()), (CallKind::Rtp, 2, 1));
    assert_eq!(call.media.iter().map(|stream| stream.packets).collect::<Vec<_>>(), [20, 20]);
    assert_eq!((call.flows[0].up.packets, call.flows[0].down.packets), (20, 20));
}

#[test]
fn a_question_to_a_server_is_no_call() {
    let mut maker = Maker::default();
    let [local, server] = [socket("192.168.1.2:50000"), socket("198.51.100.1:3478")];
    maker.stun(0, local, server, 0x0001, 1, &[]);
    maker.stun(20, server, local, 0x0101, 1, &[]);
    assert_eq!(maker.dissect(None).calls, []);
}

#[test]
fn sockets_with_one_user_name_are_one_call() {
    let peer = socket("203.0.113.9:40000");
    let mut maker = Maker::default();
    for (time, address) in [(0, "192.168.1.2:50000"), (10, "10.0.0.7:50001")] {
        maker.stun(time, socket(address), peer, 0x0001, time as u8, &[(0x0006, b"aa:bb")]);
    }
    maker.stun(20, peer, socket("10.0.0.7:50001"), 0x0001, 9, &[(0x0006, b"bb:aa")]);
    // Another call of another host with the same media server.
    maker.stun(30, socket("192.168.1.3:50000"), peer, 0x0001, 8, &[(0x0006, b"cc:dd")]);
    let report = maker.dissect(None);
    let flows: Vec<usize> = report.calls.iter().map(|call| call.flows.len()).collect();
    assert_eq!(flows, [2, 1]);
}

/// Both directions stay one flow, and the call one call.
#[test]
fn a_socket_may_ask_a_server_after_its_first_check() {
    let [a, b, server] = ["192.0.2.1:4000", "192.0.2.2:5000", "198.51.100.1:3478"].map(socket);
    let mut maker = Maker::default();
    maker.stun(0, a, b, 0x0001, 1, &[(0x0006, b"aa:bb")]);
    maker.stun(10, a, server, 0x0001, 2, &[]);
    maker.stun(30, b, a, 0x0101, 1, &[]);
    maker.stun(40, server, a, 0x0101, 2, &[]);
    let report = maker.dissect(None);
    let [call] = report.calls.as_slice() else { panic!("{} calls", report.calls.len()) };
    assert_eq!(call.flows.len(), 2);
    assert_eq!(call.flows[0].up.checks.as_ref().map(|checks| checks.answered), Some(1));
}

#[test]
fn goog_pings_are_checks() {
    let [a, b] = [socket("192.0.2.1:4000"), socket("192.0.2.2:5000")];
    let mut maker = Maker::default();
    maker.stun(0, a, b, 0x0200, 1, &[(0xc060, &[0; 4])]);
    maker.stun(30, b, a, 0x0300, 1, &[(0xc060, &[0; 4])]);
    let report = maker.dissect(None);
    assert_eq!(report.stun.goog_pings, 2);
    let checks = report.calls[0].flows[0].up.checks.as_ref().expect("checks");
    assert_eq!((checks.sent, checks.answered), (1, 1));
}

fn long_header(kind: u8, to: &[u8], from: &[u8]) -> Vec<u8> {
    let head = [0xc0 | kind << 4, 0, 0, 0, 1, to.len() as u8];
    [&head[..], to, &[from.len() as u8], from, &[0; 40]].concat()
}

/// A NAT rebinds: the client's next packets come from another port, with the server's id of before.
#[test]
fn a_connection_is_followed_by_its_ids() {
    let [client, moved, server] = ["192.0.2.1:4000", "192.0.2.1:4001", "198.51.100.1:443"].map(socket);
    let (first, of_client, of_server) = ([1_u8; 8], [2_u8; 4], [3_u8; 6]);
    let mut maker = Maker::default();
    maker.udp(0, client, server, &long_header(0, &first, &of_client));
    maker.udp(20, server, client, &long_header(0, &of_client, &of_server));
    maker.udp(40, client, server, &[&[0x40][..], &of_server, &[0; 30]].concat());
    maker.udp(60, server, client, &[&[0x40][..], &of_client, &[0; 30]].concat());
    maker.udp(80, moved, server, &[&[0x40][..], &of_server, &[0; 30]].concat());
    maker.udp(100, server, moved, &[&[0x40][..], &of_client, &[0; 30]].concat());
    // An unknown id from elsewhere is nobody's.
    maker.udp(120, socket("192.0.2.9:9"), server, &[0x40; 40]);
    let report = maker.dissect(None);
    let [connection] = report.quic.as_slice() else { panic!("{:?}", report.quic) };
    let ids = |ids: &std::collections::BTreeSet<String>| ids.iter().cloned().collect::<Vec<_>>();
    assert_eq!((connection.original_id.as_str(), connection.retry), ("0101010101010101", false));
    assert_eq!(
        (ids(&connection.client_ids), ids(&connection.server_ids)),
        (vec!["02020202".into()], vec!["030303030303".into()])
    );
    let ways: Vec<_> = connection.ways.iter().map(|way| (way.client, way.up, way.down)).collect();
    assert_eq!(ways, [(client, 2, 2), (moved, 1, 1)]);
}
