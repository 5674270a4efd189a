//! `--ice webrtc-ice`: a call over an ordinary agent, shouted at and deserted.

use crate::{
    calls::{carried_by, datagram, hang_up, scenarios, server, still_received},
    lab::{Host, Lab, Rights, Running, with},
};
use nix::sys::signal::Signal;
use record::{CandidateKind, EventKind, PairState};
use std::net::SocketAddr;

scenarios! {
    a_call_has_one_pair_and_bears_garbage
    both_ends_must_have_the_same_agent
    a_relay_is_asked
    what_webrtc_ice_cannot_do_is_refused
}

fn is_state(wanted: &str) -> impl Fn(&EventKind) -> bool {
    move |event| matches!(event, EventKind::IceState { state, .. } if state == wanted)
}

/// Where a peer listens.
fn candidates(peer: &Running) -> Vec<SocketAddr> {
    let address = |event: record::Event| match event.what {
        EventKind::LocalCandidate { address, .. } => Some(address),
        _ => None,
    };
    peer.events().into_iter().filter_map(address).collect()
}

fn a_call_has_one_pair_and_bears_garbage(lab: &Lab) {
    let mut server = server(lab, "--ice webrtc-ice");
    let mut client = lab.start(Host::Client, "client --ticket-file t --time 1h --ice webrtc-ice --json");
    // Which of its interfaces is a matter of chance: to webrtc-ice they are alike.
    client.wait_for("the call", |event| carried_by("wlan0")(event) || carried_by("wwan0")(event));
    server.wait_for("the call", carried_by("eth0"));
    let mut script = String::new();
    for address in candidates(&server).into_iter().chain(candidates(&client)) {
        let to = format!("{}/{}", address.ip(), address.port());
        for bytes in garbage() {
            script += &datagram(&bytes, &to);
        }
    }
    for bytes in garbage() {
        script += &datagram(&bytes, "10.0.9.2/7443");
    }
    lab.shell(Host::Router, &script);
    still_received(&client, is_state("connected"));
    let heard = server.events().len();
    crate::lab::wait("the call to go on", || {
        let events = server.events();
        events
            .iter()
            .skip(heard)
            .filter(|event| matches!(event.what, EventKind::PayloadReceived { .. }))
            .count()
            >= 10
    });
    hang_up(&mut client, &mut server);
    for peer in [&client, &server] {
        one_pair(peer);
    }
    let document: serde_json::Value = serde_json::from_str(&client.stdout()).unwrap();
    assert_eq!(document["outcome"], "finished");
}

/// What strangers send: STUN with and without anything in it, QUIC, and nothing at all.
fn garbage() -> Vec<Vec<u8>> {
    let stun = |kind: u8, length: u16, body: &[u8]| {
        let head = [&[kind >> 4, kind & 15][..], &length.to_be_bytes(), &[0x21, 0x12, 0xa4, 0x42]].concat();
        [&head, &b"transactions"[..], body].concat()
    };
    vec![
        stun(0x01, 0, &[]),
        stun(0x01, 96, &[]),
        stun(0x11, 8, &[0, 0x20, 0, 4, 1, 2, 3, 4]),
        stun(0x01, 8, &[0, 6, 0xff, 0xff, 1, 2, 3, 4]),
        stun(0x01, 4, &[0, 8, 0, 0]),
        stun(0x01, 65_532, &[0; 900]),
        vec![0x40; 1200],
        vec![6],
        vec![5; 30],
        vec![],
    ]
}

/// The record has what webrtc-ice found, on real interfaces, and nothing of the link that is made up.
fn one_pair(peer: &Running) {
    let events = peer.events();
    let up = events.iter().filter(|event| matches!(event.what, EventKind::Pair { state: PairState::Up, .. }));
    assert_eq!(up.count(), 1, "{}", peer.story());
    for event in &events {
        if let EventKind::Path { interface, local, remote, pair, .. }
        | EventKind::Pair { interface, local, remote, pair, .. } = &event.what
        {
            assert!(["wlan0", "wwan0", "eth0"].contains(&interface.as_str()), "{}", peer.story());
            assert!(local.ip().to_string().starts_with("10.0."), "{}", peer.story());
            assert!(remote.ip().to_string().starts_with("10.0."), "{}", peer.story());
            assert_eq!(*pair, 0);
        }
    }
    for state in ["checking", "connected"] {
        assert!(events.iter().any(|event| is_state(state)(&event.what)), "{state}: {}", peer.story());
    }
}

fn both_ends_must_have_the_same_agent(lab: &Lab) {
    let _server = server(lab, "");
    let mut client = lab.start(Host::Client, "client --ticket-file t --connect-timeout 1s --ice webrtc-ice");
    client.ends_with(5);
    assert!(client.stderr().contains("nobody with this ticket's secret"), "{}", client.story());
}

fn a_relay_is_asked(lab: &Lab) {
    let mut relay = lab.start(Host::Router, "relay --secret-file s");
    relay.wait_for("the relay", |event| matches!(event, EventKind::Ready { .. }));
    let password = std::fs::read_to_string(lab.file("s")).unwrap();
    let turn = format!("--ice webrtc-ice --turn iceperf:{}@10.0.9.1:3478", password.trim());
    let mut server = server(lab, &turn);
    let mut client = lab.start(Host::Client, &format!("client --ticket-file t --time 1h {turn}"));
    for peer in [&client, &server] {
        peer.wait_for("a relayed candidate", |event| {
            matches!(event, EventKind::LocalCandidate { candidate: CandidateKind::Relay, address, .. }
                if address.ip().to_string().starts_with("10.0."))
        });
    }
    client.wait_for("the call", |event| carried_by("wlan0")(event) || carried_by("wwan0")(event));
    // While webrtc-ice still chooses among its pairs it loses datagrams, and the one that says goodbye is not repeated.
    client.wait_for("a while of it", |event| {
        matches!(event, EventKind::PathSample { packets_sent: Some(50..), .. })
    });
    hang_up(&mut client, &mut server);
    relay.signal(Signal::SIGTERM);
    relay.ends_with(0);
}

fn what_webrtc_ice_cannot_do_is_refused(lab: &Lab) {
    for option in ["--policy whatsapp", "--disguise xor", "--bind none"] {
        let mut server = lab.start(Host::Server, &format!("server --ice webrtc-ice {option}"));
        server.ends_with(2);
        assert!(server.stderr().contains("is for our ICE agent"), "{}", server.story());
    }
}
