//! Both ends and the server by themselves: loss, restarts, strangers, noise.

use super::{
    client::Client,
    server::Server,
    wire::{Description, MAX_MESSAGE, MIN_REQUEST, Message, Version},
};
use crate::{Secret, Side};
use ice::SocketId;
use proptest::prelude::*;
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

const SOCKET: SocketId = SocketId(0);

#[expect(clippy::disallowed_methods, reason = "tests need an epoch; nothing depends on which")]
fn epoch() -> Instant {
    Instant::now()
}

fn server_address() -> SocketAddr {
    "198.51.100.1:3478".parse().unwrap()
}

fn address(side: Side) -> SocketAddr {
    match side {
        Side::Client => "203.0.113.1:1000".parse().unwrap(),
        Side::Server => "203.0.113.2:2000".parse().unwrap(),
    }
}

fn description(instance: u64, number: u32, ufrag: &str) -> Description {
    let version = Version { instance, number };
    Description::new(version, ufrag.into(), "x".repeat(24))
}

fn client(side: Side, instance: u64, ufrag: &str) -> Client {
    Client::new(Secret([1; 16]), side, vec![server_address()], description(instance, 1, ufrag))
}

/// One message to the server, and its answers to whom they are for; `heard` says which get there.
fn exchange(
    server: &mut Server,
    now: Instant,
    from: &mut Client,
    side: Side,
    other: &mut Client,
) -> Vec<Description> {
    let Some(message) = from.poll(now) else { return vec![] };
    let mut learnt = vec![];
    for answer in server.handle_datagram(now, SOCKET, address(side), &message) {
        let to = if answer.to == address(side) { &mut *from } else { &mut *other };
        learnt.extend(to.handle(now, server_address(), &answer.bytes).unwrap());
    }
    learnt
}

#[test]
fn each_learns_the_other_with_one_message_of_each() {
    let now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    left.resume(now);
    right.resume(now);
    assert_eq!(exchange(&mut server, now, &mut left, Side::Client, &mut right), []);
    let learnt = exchange(&mut server, now, &mut right, Side::Server, &mut left);
    assert_eq!(learnt, [description(1, 1, "left"), description(2, 1, "right")]);
    assert_eq!(server.counts().updates, 2);
    assert_eq!(server.sessions(), 1);
}

#[test]
fn what_was_lost_is_told_again_and_what_is_known_is_not() {
    let mut now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    left.resume(now);
    right.resume(now);
    // The first messages of both, and every answer, are lost.
    left.poll(now).unwrap();
    let lost = right.poll(now).unwrap();
    server.handle_datagram(now, SOCKET, address(Side::Server), &lost);
    now += Duration::from_millis(100);
    assert_eq!(
        exchange(&mut server, now, &mut left, Side::Client, &mut right),
        [description(2, 1, "right"), description(1, 1, "left")]
    );
    now += Duration::from_millis(500);
    assert_eq!(exchange(&mut server, now, &mut left, Side::Client, &mut right), []);
    // New candidates of one reach the other without its asking.
    left.describe(now, description(1, 2, "left again"));
    assert_eq!(
        exchange(&mut server, now, &mut left, Side::Client, &mut right),
        [description(1, 2, "left again")]
    );
}

#[test]
fn who_seldom_asks_is_told_again_until_it_knows() {
    let mut now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    for peer in [&mut left, &mut right] {
        peer.resume(now);
    }
    exchange(&mut server, now, &mut left, Side::Client, &mut right);
    exchange(&mut server, now, &mut right, Side::Server, &mut left);
    right.stay(now);
    now += Duration::from_secs(1);
    exchange(&mut server, now, &mut left, Side::Client, &mut right);
    // The first word of it never reaches the other.
    left.describe(now, description(1, 2, "restarted"));
    server.handle_datagram(now, SOCKET, address(Side::Client), &left.poll(now).unwrap());
    now += Duration::from_millis(100);
    let learnt = exchange(&mut server, now, &mut left, Side::Client, &mut right);
    assert_eq!(learnt, [description(1, 2, "restarted")]);
    // It says so soon, although it would not have spoken for long, and is not told again.
    assert!(right.deadline().unwrap() <= now + Duration::from_millis(100));
    now += Duration::from_millis(100);
    exchange(&mut server, now, &mut right, Side::Server, &mut left);
    now += Duration::from_millis(500);
    let answers = server.handle_datagram(now, SOCKET, address(Side::Client), &left.poll(now).unwrap());
    assert_eq!(answers.iter().map(|answer| answer.to).collect::<Vec<_>>(), [address(Side::Client)]);
}

#[test]
fn who_stays_is_not_forgotten_by_the_server() {
    let mut now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    right.resume(now);
    exchange(&mut server, now, &mut right, Side::Server, &mut left);
    right.stay(now);
    for _ in 0..600 {
        now += Duration::from_secs(1);
        exchange(&mut server, now, &mut right, Side::Server, &mut left);
    }
    assert!((40..=50).contains(&server.counts().updates), "{:?}", server.counts());
    left.resume(now);
    let learnt = exchange(&mut server, now, &mut left, Side::Client, &mut right);
    assert_eq!(learnt, [description(2, 1, "right"), description(1, 1, "left")]);
}

#[test]
fn a_peer_that_starts_again_replaces_what_it_was() {
    let now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    left.resume(now);
    right.resume(now);
    left.describe(now, description(1, 2, "left, version two"));
    exchange(&mut server, now, &mut left, Side::Client, &mut right);
    exchange(&mut server, now, &mut right, Side::Server, &mut left);
    let mut left = client(Side::Client, 77, "left, another process");
    left.resume(now);
    let learnt = exchange(&mut server, now, &mut left, Side::Client, &mut right);
    assert!(learnt.contains(&description(77, 1, "left, another process")), "{learnt:?}");
}

#[test]
fn who_has_another_secret_is_in_another_session() {
    let now = epoch();
    let mut server = Server::new();
    let mut right = client(Side::Server, 2, "right");
    let mut stranger =
        Client::new(Secret([9; 16]), Side::Client, vec![server_address()], description(1, 1, "stranger"));
    right.resume(now);
    stranger.resume(now);
    assert_eq!(exchange(&mut server, now, &mut right, Side::Server, &mut stranger), []);
    assert_eq!(exchange(&mut server, now, &mut stranger, Side::Client, &mut right), []);
    assert_eq!(server.sessions(), 2);
}

#[test]
fn an_answer_is_less_than_three_times_its_request() {
    const _: () = assert!(MAX_MESSAGE <= 3 * MIN_REQUEST);
    let mut left = client(Side::Client, 1, "left");
    left.resume(epoch());
    assert!(left.poll(epoch()).unwrap().len() >= MIN_REQUEST);
}

#[test]
fn sessions_are_forgotten_in_the_end() {
    let now = epoch();
    let mut server = Server::new();
    let (mut left, mut right) = (client(Side::Client, 1, "left"), client(Side::Server, 2, "right"));
    left.resume(now);
    exchange(&mut server, now, &mut left, Side::Client, &mut right);
    let mut other =
        Client::new(Secret([9; 16]), Side::Client, vec![server_address()], description(1, 1, "x"));
    let later = now + Duration::from_secs(61);
    other.resume(later);
    exchange(&mut server, later, &mut other, Side::Client, &mut right);
    assert_eq!(server.sessions(), 1);
}

#[test]
fn stun_binding_is_answered_with_the_sender_s_address() {
    use ice::stun::{Builder, Class, Message as Stun, TransactionId};
    let request = Builder::new(Class::Request, 1, TransactionId([3; 12])).finish(None);
    let answers = Server::new().handle_datagram(epoch(), SOCKET, address(Side::Client), &request);
    let [answer] = &answers[..] else { panic!("one answer: {answers:?}") };
    let response = Stun::parse(&answer.bytes).unwrap();
    assert_eq!(response.mapped_address(), Some(address(Side::Client)));
    assert_eq!(response.transaction(), TransactionId([3; 12]));
}

#[test]
fn what_is_said_of_a_probe_follows_the_rest_and_later_words_are_passed_over() {
    let plain = description(1, 1, "left");
    let words = crate::peer::ProbeWords::example(800);
    let probing = Description { probe: Some(words), ..plain.clone() };
    assert_eq!(Description::from_bytes(&probing.to_bytes()), Some(probing.clone()));
    let later = [&plain.to_bytes()[..], &[9, 1, 2, 3]].concat();
    assert_eq!(Description::from_bytes(&later), Some(plain.clone()));
    for cut in plain.to_bytes().len() + 1..probing.to_bytes().len() {
        assert_eq!(Description::from_bytes(&probing.to_bytes()[..cut]), None, "cut at {cut}");
    }
    let announcing = Description { probing: true, ..plain.clone() };
    assert_eq!(Description::from_bytes(&announcing.to_bytes()), Some(announcing.clone()));
    // With all that there is room for, each fits into a message.
    let candidate = r#""kind":"Relay","address":"[2001:db8:ffff:ffff:ffff:ffff:ffff:ffff]:65535","priority":4294967295,"foundation":"123456789012","interface":"wlp0s20f3""#;
    let candidate: super::DescribedCandidate = serde_json::from_str(&format!("{{{candidate}}}")).unwrap();
    let full = Description {
        candidates: vec![candidate; super::MAX_CANDIDATES],
        fingerprint: Some([1; 32]),
        ..announcing
    };
    let report = Description { ufrag: String::new(), pwd: String::new(), candidates: vec![], ..probing };
    [full, report].into_iter().for_each(assert_carried);
}

/// A description of the server reaches the client.
fn assert_carried(full: Description) {
    let mut peer = Client::new(Secret([1; 16]), Side::Server, vec![server_address()], full.clone());
    peer.resume(epoch());
    let mut server = Server::new();
    server.handle_datagram(
        epoch(),
        SOCKET,
        address(Side::Server),
        &peer.poll(epoch() + Duration::from_secs(1)).unwrap(),
    );
    let mut other = client(Side::Client, 2, "right");
    other.resume(epoch());
    let asked = other.poll(epoch() + Duration::from_secs(1)).unwrap();
    let answers = server.handle_datagram(epoch(), SOCKET, address(Side::Client), &asked);
    let learnt: Vec<_> = answers
        .iter()
        .filter(|answer| answer.to == address(Side::Client))
        .filter_map(|answer| other.handle(epoch(), server_address(), &answer.bytes).unwrap())
        .collect();
    assert_eq!(learnt, [full]);
}

proptest! {
    #[test]
    fn no_bytes_panic_the_server_or_a_peer(mut bytes in prop::collection::vec(any::<u8>(), 0..300), ours: bool) {
        if let (true, Some(first)) = (ours, bytes.first_mut()) {
            *first = 5;
        }
        let mut server = Server::new();
        let answers = server.handle_datagram(epoch(), SOCKET, address(Side::Client), &bytes);
        prop_assert!(answers.len() <= 2);
        let mut peer = client(Side::Client, 1, "left");
        let _ = peer.handle(epoch(), server_address(), &bytes);
        let _ = Message::from_bytes(&bytes);
    }
}
