//! Calls that lose interfaces, get them back, and are shouted at.

use crate::lab::{Host, Lab, Rights, Running, has_line, wait, with};
use nix::sys::signal::Signal;
use record::{EventKind, PathState};
use std::collections::BTreeMap;

macro_rules! scenarios {
    ($($name:ident)*) => {
        mod as_root {
            $(#[test] fn $name() { super::with(super::Rights::Root, super::$name) })*
        }
        mod as_user {
            $(#[test] fn $name() { super::with(super::Rights::User, super::$name) })*
        }
    };
}
pub(crate) use scenarios;

scenarios! {
    survives_the_loss_of_the_active_interface_and_goes_back_to_it
    survives_the_loss_of_the_carrier
    garbage_is_counted_and_has_no_effect
    a_new_ipv6_address_is_used_once_it_may_be
    nothing_is_missed_when_the_kernel_drops_events
    a_signal_ends_both_ends_in_order
    the_rendezvous_answers_from_the_address_that_was_asked
}

/// A server that has written its ticket to `t`.
pub(crate) fn server(lab: &Lab, arguments: &str) -> Running {
    let server = lab.start(Host::Server, &format!("server --ticket-file t {arguments}"));
    wait("a ticket", || has_line(&lab.file("t")));
    server
}

pub(crate) fn carried_by<'a>(interface: &'a str) -> impl Fn(&EventKind) -> bool + 'a {
    path_is(interface, PathState::Active)
}

pub(crate) fn path_is(name: &str, wanted: PathState) -> impl Fn(&EventKind) -> bool {
    move |event| matches!(event, EventKind::Path { interface, state, .. } if interface == name && *state == wanted)
}

/// A call that is carried by WiFi, with cellular in reserve.
fn call_over_wifi(lab: &Lab) -> (Running, Running) {
    let server = server(lab, "");
    let client = call(lab, "");
    (client, server)
}

/// It lasts until it is hung up, however slow the machine is.
fn call(lab: &Lab, arguments: &str) -> Running {
    let client = lab.start(Host::Client, &format!("client --ticket-file t --time 1h {arguments}"));
    client.wait_for("the call on WiFi", carried_by("wlan0"));
    client.wait_for("a standby", path_is("wwan0", PathState::Backup));
    client
}

/// Ends the call; it must have been one and the same all the time.
pub(crate) fn hang_up(client: &mut Running, server: &mut Running) {
    client.signal(Signal::SIGTERM);
    client.ends_with(0);
    server.ends_with(0);
    assert_one_connection(client, server);
}

/// The names of the connections of a peer.
fn connections(peer: &Running) -> Vec<String> {
    let name = |event: record::Event| match event.what {
        EventKind::Connected { connection, .. } => Some(connection),
        _ => None,
    };
    peer.events().into_iter().filter_map(name).collect()
}

/// Waits until the call goes on after an event.
pub(crate) fn still_received(peer: &Running, is: impl Fn(&EventKind) -> bool) {
    let received = |event: &&record::Event| matches!(event.what, EventKind::PayloadReceived { .. });
    wait("payload to arrive again", || {
        let events = peer.events();
        let from = events.iter().position(|event| is(&event.what)).unwrap_or(events.len());
        events[from..].iter().filter(received).count() >= 10
    });
}

fn assert_one_connection(client: &Running, server: &Running) {
    let (client_has, server_has) = (connections(client), connections(server));
    assert_eq!(client_has.len(), 1, "{}", client.story());
    assert_eq!(client_has, server_has, "{}", server.story());
}

fn survives_the_loss_of_the_active_interface_and_goes_back_to_it(lab: &Lab) {
    let mut rendezvous = lab.start(Host::Router, "rendezvous");
    rendezvous.wait_for("the rendezvous", |event| matches!(event, EventKind::Ready { .. }));
    let mut server = server(lab, "--rendezvous 10.0.9.1:3478");
    let mut client = call(lab, "--json");
    lab.shell(Host::Client, "ip link set wlan0 down");
    client.wait_for("the call on cellular", carried_by("wwan0"));
    still_received(&client, carried_by("wwan0"));
    still_received(&server, path_is("eth0", PathState::Closed));
    lab.shell(Host::Client, "ip link set wlan0 up");
    lab.route(Host::Client, "wlan0", 1, 200);
    let returns =
        |peer: &Running| peer.events().iter().filter(|event| carried_by("wlan0")(&event.what)).count();
    wait("the call back on WiFi", || returns(&client) == 2);
    hang_up(&mut client, &mut server);

    let document: serde_json::Value = serde_json::from_str(&client.stdout()).unwrap();
    assert_eq!(document["outcome"], "finished");
    assert_eq!(document["connection"]["multipath"], true);
    assert!(document["call"]["received"].as_u64().unwrap() > 0);
    // The kernel may refuse to send before it tells that the interface is down.
    assert!(client.stderr().contains("wlan0 lost: the "), "{}", client.stderr());

    rendezvous.signal(Signal::SIGTERM);
    rendezvous.ends_with(0);
    let told = rendezvous.stdout();
    let counts = told.lines().last().unwrap();
    assert!(!counts.starts_with("0 STUN") && !counts.contains("requests, 0 updates,"), "{counts}");
    assert!(counts.contains(" 0 datagrams dropped"), "{counts}");
}

fn survives_the_loss_of_the_carrier(lab: &Lab) {
    let (mut client, mut server) = call_over_wifi(lab);
    // The other end of a veth pair goes down: NO-CARRIER here, and sends still succeed.
    lab.shell(Host::Router, "ip link set r1 down");
    client.wait_for("the call on cellular", carried_by("wwan0"));
    client.wait_for("the news of the carrier", |event| {
        matches!(event, EventKind::Interface { interface, up: true, carrier: false, .. } if interface == "wlan0")
    });
    still_received(&client, carried_by("wwan0"));
    hang_up(&mut client, &mut server);
}

/// Bash's words for a datagram of these bytes.
pub(crate) fn datagram(bytes: &[u8], to: &str) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\x{byte:02x}")).collect();
    // One write, or it would be several datagrams.
    format!("printf '{escaped}' | dd bs=2000 iflag=fullblock status=none > /dev/udp/{to}\n")
}

fn garbage_is_counted_and_has_no_effect(lab: &Lab) {
    let (mut client, mut server) = call_over_wifi(lab);
    let header = |length: u16| {
        let mut stun = vec![0x00, 0x01];
        stun.extend(length.to_be_bytes());
        stun.extend([0x21, 0x12, 0xa4, 0x42]);
        stun.extend(*b"transactions");
        stun
    };
    let without_integrity = header(0);
    let truncated = header(96);
    let mut wrong_integrity = header(8 + 24);
    wrong_integrity.extend([0x00, 0x06, 0x00, 0x03, b'a', b':', b'b', 0]);
    wrong_integrity.extend([0x00, 0x08, 0x00, 0x14]);
    wrong_integrity.extend([7; 20]);
    let random: Vec<u8> = (0..200u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let quic: Vec<u8> = [0xc0, 0, 0, 0, 1].into_iter().chain([9; 1195]).collect();
    let kinds = [&without_integrity, &truncated, &wrong_integrity, &random, &quic];
    let script: String = (0..20).flat_map(|_| kinds).map(|bytes| datagram(bytes, "10.0.9.2/7443")).collect();
    lab.shell(Host::Router, &script);
    let rejected = |server: &Running| {
        let reason = |event: record::Event| match event.what {
            EventKind::Rejected { reason, count, .. } => Some((reason, count)),
            _ => None,
        };
        server.events().into_iter().filter_map(reason).collect::<BTreeMap<_, _>>()
    };
    wait("all of it to be counted", || rejected(&server).values().sum::<u64>() >= 100);
    still_received(&server, |event| matches!(event, EventKind::Rejected { .. }));
    hang_up(&mut client, &mut server);

    let rejected = rejected(&server);
    assert_eq!(rejected.values().sum::<u64>(), 100, "{rejected:?} {}", server.story());
    assert!(rejected.len() >= 3, "{rejected:?}");
    let stranger = |address: std::net::SocketAddr| address.ip().to_string() == "10.0.9.1";
    for event in server.events() {
        match event.what {
            EventKind::Pair { remote, .. } => assert!(!stranger(remote), "{}", server.story()),
            EventKind::RemoteCandidate { address, .. } => assert!(!stranger(address), "{}", server.story()),
            _ => {}
        }
    }
}

fn a_new_ipv6_address_is_used_once_it_may_be(lab: &Lab) {
    lab.shell(Host::Router, "ip address add 2001:db8:1::1/64 dev r1 nodad");
    let (mut client, mut server) = call_over_wifi(lab);
    // Tentative at first: duplicate address detection takes its time.
    lab.shell(Host::Client, "ip address add 2001:db8:1::2/64 dev wlan0");
    client.wait_for("a socket on the new address", |event| {
        matches!(event, EventKind::SocketOpened { interface, local, .. }
            if interface == "wlan0" && local.ip().to_string() == "2001:db8:1::2")
    });
    lab.shell(Host::Client, "ip address delete 2001:db8:1::2/64 dev wlan0");
    client.wait_for(
        "the end of that socket",
        |event| matches!(event, EventKind::SocketClosed { interface, .. } if interface == "wlan0"),
    );
    hang_up(&mut client, &mut server);
}

fn nothing_is_missed_when_the_kernel_drops_events(lab: &Lab) {
    // More than the socket of a stopped process can hold, and the news that matters last. Made before, as the other
    // peer does not wait for ever for one that is stopped.
    let changes = "address add 10.99.0.1/32 dev wwan0\naddress delete 10.99.0.1/32 dev wwan0\n".repeat(1000);
    std::fs::write(lab.file("changes"), changes).unwrap();
    let (mut client, mut server) = call_over_wifi(lab);
    client.signal(Signal::SIGSTOP);
    let script = format!("ip -batch {}; ip link set wlan0 down", lab.file("changes").display());
    lab.shell(Host::Client, &script);
    client.signal(Signal::SIGCONT);
    client.wait_for(
        "the news of WiFi",
        |event| matches!(event, EventKind::Interface { interface, up: false, .. } if interface == "wlan0"),
    );
    client.wait_for("the call on cellular", carried_by("wwan0"));
    assert!(client.stderr().contains("interface events were lost"), "{}", client.stderr());
    // The server may have given up every path meanwhile, and the goodbye is sent once: not before it hears the call again.
    let heard = |server: &Running| {
        let events = server.events();
        events.iter().filter(|event| matches!(event.what, EventKind::PayloadReceived { .. })).count()
    };
    let before = heard(&server);
    wait("the call at the server", || heard(&server) > before + 5);
    hang_up(&mut client, &mut server);
}

fn a_signal_ends_both_ends_in_order(lab: &Lab) {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let (mut client, mut server) = call_over_wifi(lab);
        client.signal(signal);
        client.ends_with(0);
        server.ends_with(0);
        for peer in [&client, &server] {
            let last = peer.events().into_iter().next_back().unwrap().what;
            assert_eq!(last, EventKind::Stopped { why: "finished".into() }, "{}", peer.story());
        }
        std::fs::remove_file(lab.file("t")).unwrap();
    }
}

fn the_rendezvous_answers_from_the_address_that_was_asked(lab: &Lab) {
    // A STUN Binding request (RFC 8489 section 5). Bash's sockets are connected: they hear one address only.
    let request = "\\x00\\x01\\x00\\x00\\x21\\x12\\xa4\\x42transactions";
    for arguments in ["", "--bind 10.0.1.1:3478 --bind 10.0.2.1:3478 --bind 10.0.9.1:3478"] {
        let mut rendezvous = lab.start(Host::Router, &format!("rendezvous {arguments}"));
        rendezvous.wait_for("the rendezvous", |event| matches!(event, EventKind::Ready { .. }));
        for asked in ["10.0.1.1", "10.0.2.1", "10.0.9.1"] {
            let script = format!(
                "exec 3<>/dev/udp/{asked}/3478; printf '{request}' >&3
                 timeout 10 dd bs=2000 count=1 status=none <&3 | grep -q transactions"
            );
            lab.shell(Host::Client, &script);
        }
        rendezvous.signal(Signal::SIGTERM);
        rendezvous.ends_with(0);
        assert!(rendezvous.stdout().contains("3 STUN requests"), "{}", rendezvous.story());
    }
}
