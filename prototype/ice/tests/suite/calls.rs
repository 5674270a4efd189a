//! Relays as WhatsApp has them: the messages, the relay, and two agents that meet at several of them.

use std::net::SocketAddr;
use std::time::Duration;

use ice::server::{Mimic, Server, ServerConfig, ServerOutput, ServerRejected};
use ice::stun::whatsapp::{self, CallId, HEALTH, Message, Participant, Token, attribute, kind};
use ice::stun::{self, Builder, Class, TransactionId};
use ice::{Call, CandidateKind, Event, PairState, Policy, Rejected, RelayNews, RelayServer, Role, SocketId};
use proptest::prelude::*;

use crate::net::{A, B, Border, World, address, config, ms};
use crate::turn::{PASSWORD, Site, USER};

const SECOND: Duration = Duration::from_secs(1);
const CALL: CallId = CallId([7; 16]);

fn call() -> Call {
    Call { id: CALL, password: PASSWORD.into() }
}

fn relay(place: usize) -> SocketAddr {
    address(&format!("198.51.100.{}:3478", 5 + place))
}

/// Two ends behind carriers that let nothing pass but what goes to the relays: what WhatsApp falls back to. A knows
/// all relays, B the first.
fn at_relays(relays: usize, policy: Policy) -> World {
    let configs = [(A, Role::Controlling), (B, Role::Controlled)].map(|(me, role)| {
        let mut config = config(me, role);
        config.policy = policy.clone();
        config
    });
    let [a, b] = configs;
    let mut world = World::with(a, b);
    for place in 0..relays {
        world.relays.push(Site::call(relay(place), ms(5 + 3 * place as u64), world.epoch));
    }
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(10));
    world.socket(B, "wwan0", "192.0.2.20:2000", Border::Nat, ms(10));
    world.signal = Some(ms(30));
    for me in [A, B] {
        world.agents[me].join_call(world.now, &call());
        world.agents[me].add_call_relay(world.now, relay(0));
        world.agents[me].start(world.now);
    }
    for place in 1..relays {
        world.agents[A].add_call_relay(world.now, relay(place));
    }
    world.introduce();
    world.ports.iter_mut().for_each(|port| port.only_to_relays = true);
    world
}

fn relayed(world: &World, me: usize) -> Vec<SocketAddr> {
    let mut found: Vec<_> =
        world.usable(me).map(|pair| pair.remote).filter(|remote| remote.port() == 3478).collect();
    found.sort();
    found
}

fn of_kind(world: &World, me: usize, wanted: fn(&RelayNews) -> bool) -> Vec<(Duration, SocketAddr)> {
    let of = |(at, event): &(Duration, Event)| match event {
        Event::Relay { server, news, .. } if wanted(news) => Some((*at, *server)),
        _ => None,
    };
    world.events[me].iter().filter_map(of).collect()
}

#[test]
fn all_relays_are_asked_twice_in_one_moment_and_learnt_in_band() {
    let mut world = at_relays(5, Policy::whatsapp());
    let asked: Vec<_> =
        world.sent[A].iter().filter(|(at, _, to, _)| *at == ms(0) && to.port() == 3478).collect();
    assert_eq!(asked.len(), 10, "cap-relays-2019: ten requests to five relays");
    assert!(asked.iter().all(|(_, _, _, bytes)| *bytes == 126), "as long as captured");
    world.run_for(SECOND * 2);
    let all: Vec<_> = (0..5).map(relay).collect();
    assert_eq!(relayed(&world, A), all);
    assert_eq!(relayed(&world, B), all, "named by A's candidates");
    for me in [A, B] {
        for pair in world.usable(me).filter(|pair| pair.remote.port() == 3478) {
            assert_eq!([pair.local_kind, pair.remote_kind], [CandidateKind::Relay; 2]);
        }
        let (first, _) = of_kind(&world, me, |news| matches!(news, RelayNews::Allocated { .. }))[0];
        assert_eq!(first, ms(30), "one round trip to the nearest");
    }
    // Each sees how the relay sees it.
    let srflx: Vec<_> =
        world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Srflx).collect();
    assert_eq!(srflx.len(), 1);
    assert!(world.events[A].iter().any(|(_, event)| *event == Event::GatheringComplete));
}

#[test]
fn what_is_sent_to_a_relay_arrives_as_it_is() {
    let mut world = at_relays(1, Policy::multipath());
    world.run_for(SECOND * 2);
    let pair = world.usable(A).find(|pair| pair.remote == relay(0)).unwrap();
    let transmit = world.agents[A].wrap(pair.socket, pair.remote, b"\x40media".to_vec()).unwrap();
    assert_eq!((transmit.socket, transmit.to, transmit.bytes.len()), (SocketId(0), relay(0), 6));
    assert_eq!(pair.state, PairState::Up);
    // 60 s: kept by probes, one a second, although nobody sends data.
    world.run_for(SECOND * 60);
    let probes = world.sent[A].iter().filter(|(_, _, to, bytes)| *to == relay(0) && *bytes == 512).count();
    assert!((59..=63).contains(&probes), "{probes}");
    assert_eq!(world.times(A, PairState::Down), 0);
    assert!(of_kind(&world, A, |news| *news == RelayNews::Unanswered).is_empty());
}

/// RFC 8445 section 5.1.2, whichever of the two answers first.
#[test]
fn a_relay_of_a_call_and_a_turn_server_on_one_socket_give_two_priorities() {
    for delay in [5, 50] {
        let mut world = World::new();
        world.relays.push(Site::call(relay(0), ms(delay), world.epoch));
        world.relays.push(Site::new(relay(1), ms(5)));
        world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(10));
        world.agents[A].join_call(world.now, &call());
        world.agents[A].add_call_relay(world.now, relay(0));
        let turn = RelayServer { address: relay(1), username: USER.into(), password: PASSWORD.into() };
        world.agents[A].add_relay_server(world.now, turn);
        world.agents[A].start(world.now);
        world.drain();
        world.run_for(SECOND);
        let base = world.agents[A].local_candidates().map(|local| local.socket).max().unwrap();
        assert!(base.is_relayed());
        for (socket, preference) in [(base, 65_535), (SocketId(0), 7), (base, 7), (SocketId(0), 65_535)] {
            world.agents[A].set_preference(world.now, socket, preference);
            let relayed: Vec<u32> = world.agents[A]
                .local_candidates()
                .filter(|local| local.kind == CandidateKind::Relay)
                .map(|local| local.priority)
                .collect();
            assert_eq!(relayed.len(), 2);
            assert_ne!(relayed[0], relayed[1], "{delay} ms, {socket} at {preference}");
        }
    }
}

#[test]
fn when_a_relay_dies_the_call_goes_on_at_another_and_it_is_found_again() {
    let mut world = at_relays(3, Policy::whatsapp());
    world.run_for(SECOND * 3);
    assert_eq!(relayed(&world, A).len(), 3);
    let died = world.now - world.epoch;
    world.relays[0].up = false;
    world.run_for(SECOND * 6);
    for me in [A, B] {
        assert_eq!(relayed(&world, me), [relay(1), relay(2)], "the others were kept all the while");
        let lost = of_kind(&world, me, |news| *news == RelayNews::Unanswered);
        assert_eq!(lost[0].1, relay(0));
        assert!(lost[0].0 - died <= SECOND * 4, "{lost:?}");
    }
    world.relays[0].up = true;
    world.run_for(SECOND * 30);
    for me in [A, B] {
        assert_eq!(relayed(&world, me).len(), 3);
    }
}

#[test]
fn another_interface_rebuilds_with_the_same_identifiers() {
    let mut world = at_relays(2, Policy::whatsapp());
    let second = world.socket(A, "wwan0", "192.0.2.11:1001", Border::Nat, ms(20));
    world.port(second).only_to_relays = true;
    world.agents[A].set_network_info("wwan0", ice::stun::NetworkInfo { id: 2, cost: 900 });
    world.run_for(SECOND * 3);
    assert_eq!(relayed(&world, A).len(), 2);
    assert!(world.usable(A).all(|pair| pair.interface == "wlan0"), "wa-no-cellular-probe");
    let off = world.now - world.epoch;
    world.remove(SocketId(0));
    let back =
        |world: &World| world.usable(A).any(|pair| pair.interface == "wwan0" && pair.remote.port() == 3478);
    assert!(world.run_until(world.now + SECOND * 5, back));
    let built = world.now - world.epoch - off;
    assert!(built <= ms(500), "wa-off-interruption: {built:?}");
    world.run_for(SECOND * 3);
    assert_eq!(relayed(&world, A).len(), 2);
    assert_eq!(relayed(&world, B).len(), 2, "the other end lost nothing");
}

#[test]
fn an_interface_that_falls_silent_gives_way_to_the_next() {
    let mut world = at_relays(1, Policy::multipath());
    let second = world.socket(A, "wwan0", "192.0.2.11:1001", Border::Nat, ms(20));
    world.port(second).only_to_relays = true;
    world.run_for(SECOND * 3);
    assert_eq!(world.usable(A).next().unwrap().interface, "wlan0", "one socket at a time");
    world.port(SocketId(0)).up = false;
    world.run_for(SECOND * 30);
    assert!(world.usable(A).any(|pair| pair.interface == "wwan0" && pair.remote == relay(0)));
}

#[test]
fn a_call_that_is_left_is_over_at_once_and_a_restart_does_not_touch_it() {
    let mut world = at_relays(2, Policy::multipath());
    world.run_for(SECOND * 2);
    world.agents[A].restart(world.now, ice::Credentials::from_entropy(&[9; 32]));
    world.drain();
    assert_eq!(relayed(&world, A).len(), 2);
    let before = world.sent[A].len();
    world.agents[A].leave_call(world.now);
    world.drain();
    let ends: Vec<_> = world.sent[A][before..].iter().filter(|(_, _, _, bytes)| *bytes == 126).collect();
    assert_eq!(ends.len(), 2, "each relay is told once");
    assert_eq!(relayed(&world, A).len(), 0);
    world.run_for(SECOND * 60);
    assert_eq!(relayed(&world, B).len(), 0, "nobody is there any more");
}

#[test]
fn only_the_relay_that_was_asked_is_believed() {
    let mut world = at_relays(1, Policy::multipath());
    let mut agent = ice::Agent::new(config(A, Role::Controlling));
    let now = world.now;
    let info = ice::SocketInfo { interface: "eth0".into(), local: address("192.0.2.30:3"), preference: 1 };
    agent.add_socket(now, SocketId(0), info);
    agent.join_call(now, &call());
    agent.add_call_relay(now, relay(0));
    agent.start(now);
    let asked = std::iter::from_fn(|| agent.poll_transmit()).last().unwrap();
    let id = Message::parse(&asked.bytes).unwrap().transaction;
    let answer = whatsapp::allocated(id, address("203.0.113.9:9"), SECOND);
    // From elsewhere, with another id, without an address.
    let stranger = agent.handle_datagram(now, SocketId(0), relay(1), &answer);
    assert_eq!(stranger, Err(Rejected::UnknownTransaction));
    let guess = whatsapp::allocated(TransactionId([1; 12]), address("203.0.113.9:9"), SECOND);
    assert_eq!(agent.handle_datagram(now, SocketId(0), relay(0), &guess), Err(Rejected::UnknownTransaction));
    let empty = whatsapp::build(kind::ALLOCATED, id, &[]);
    assert_eq!(agent.handle_datagram(now, SocketId(0), relay(0), &empty), Err(Rejected::BadAttributes));
    let candidates =
        |agent: &ice::Agent| agent.local_candidates().count() + agent.remote_candidates().count();
    assert_eq!(candidates(&agent), 1);
    assert_eq!(agent.handle_datagram(now, SocketId(0), relay(0), &answer), Ok(()));
    assert_eq!(candidates(&agent), 4, "host, srflx and relay of ours, the relay for the other end");
    // A report of another clock keeps nothing alive.
    let probe = whatsapp::probe(id, SECOND * 77);
    let wrong = whatsapp::report(&Message::parse(&probe).unwrap(), SECOND);
    assert_eq!(agent.handle_datagram(now, SocketId(0), relay(0), &wrong), Err(Rejected::UnknownTransaction));
    world.run_for(ms(1));
}

#[test]
fn without_its_password_a_relay_lets_nobody_in() {
    let mut world = at_relays(1, Policy::multipath());
    for me in [A, B] {
        world.agents[me].join_call(world.now, &Call { password: "a guess".into(), ..call() });
        world.agents[me].add_call_relay(world.now, relay(0));
        world.drain();
    }
    world.run_for(SECOND * 30);
    assert_eq!(relayed(&world, A).len() + relayed(&world, B).len(), 0);
    assert!(!of_kind(&world, A, |news| *news == RelayNews::Unanswered).is_empty());
}

// The relay by itself.

const AT: &str = "198.51.100.5:3478";
const FIRST: &str = "203.0.113.1:1000";
const SECOND_END: &str = "203.0.113.2:2000";

struct Bench {
    server: Server,
    now: std::time::Instant,
}

impl Bench {
    fn new(most: (usize, usize)) -> Bench {
        let mut config = ServerConfig::new(vec![address(AT)], "example.org");
        config.users.push((USER.into(), PASSWORD.into()));
        config.mimic = Some(Mimic::WhatsApp { unix_time: SECOND * 1000 });
        config.most_allocations = most;
        let now = World::new().epoch;
        Bench { server: Server::new(config), now }
    }

    fn tell(&mut self, from: &str, bytes: &[u8]) -> Result<Vec<(SocketAddr, Vec<u8>)>, ServerRejected> {
        self.server.handle_datagram(self.now, address(AT), address(from), bytes)?;
        let transmit = |output| match output {
            ServerOutput::Transmit { from, to, bytes } => {
                assert_eq!(from, address(AT));
                Some((to, bytes))
            }
            _ => None,
        };
        Ok(std::iter::from_fn(|| self.server.poll()).filter_map(transmit).collect())
    }

    fn enter(&mut self, from: &str, call: u8, participant: u64) -> bool {
        let token = Token::new(PASSWORD, CallId([call; 16]), Participant(participant));
        let request = whatsapp::with_token(kind::ALLOCATE, TransactionId([participant as u8; 12]), &token);
        self.tell(from, &request).is_ok_and(|answers| answers.len() == 1)
    }
}

#[test]
fn an_end_is_let_in_by_its_token_and_heard_by_the_other_alone() {
    let mut bench = Bench::new((32, 1024));
    assert!(bench.enter(FIRST, 1, 1) && bench.enter(SECOND_END, 1, 2));
    assert!(bench.enter("203.0.113.3:3", 2, 3), "another call");
    assert!(!bench.enter("203.0.113.4:4", 1, 4), "a call has two ends");
    assert_eq!(bench.tell(FIRST, b"\x80media"), Ok(vec![(address(SECOND_END), b"\x80media".to_vec())]));
    assert_eq!(bench.tell("203.0.113.3:3", b"alone"), Ok(vec![]));
    assert_eq!(bench.tell(FIRST, HEALTH[0]), Ok(vec![(address(FIRST), HEALTH[1].to_vec())]));
    // It moves, by showing its token again: another interface.
    assert!(bench.enter("203.0.113.9:9", 1, 1));
    assert_eq!(bench.tell(SECOND_END, b"\x80x"), Ok(vec![(address("203.0.113.9:9"), b"\x80x".to_vec())]));
    assert_eq!(bench.server.call_ends(), 3);
}

#[test]
fn each_listening_address_is_a_relay_of_its_own_and_families_meet() {
    let listens = [AT, "198.51.100.6:3478", "[2001:db8::5]:3478"].map(address);
    let mut config = ServerConfig::new(listens.to_vec(), "example.org");
    config.users.push((USER.into(), PASSWORD.into()));
    config.mimic = Some(Mimic::WhatsApp { unix_time: SECOND });
    let (mut server, now) = (Server::new(config), World::new().epoch);
    let mut tell = |at: SocketAddr, from: &str, bytes: &[u8]| {
        server.handle_datagram(now, at, address(from), bytes).unwrap();
        match server.poll() {
            Some(ServerOutput::Transmit { from, to, .. }) => Some((from, to)),
            _ => None,
        }
    };
    let enter = |participant| {
        let token = Token::new(PASSWORD, CALL, Participant(participant));
        whatsapp::with_token(kind::ALLOCATE, TransactionId([1; 12]), &token)
    };
    // One end asks all that it can, the other has IPv6 alone, for now.
    for at in &listens[..2] {
        assert!(tell(*at, FIRST, &enter(1)).is_some());
    }
    let six = "[2001:db8::99]:9";
    assert!(tell(listens[2], six, &enter(2)).is_some());
    for at in &listens[..2] {
        assert_eq!(tell(*at, FIRST, b"\x80x"), Some((listens[2], address(six))));
    }
    assert_eq!(tell(listens[2], six, b"\x80x"), Some((listens[0], address(FIRST))));
    // Then it asks the second as well: what is sent there leaves there.
    assert!(tell(listens[1], SECOND_END, &enter(2)).is_some());
    assert_eq!(tell(listens[1], FIRST, b"\x80x"), Some((listens[1], address(SECOND_END))));
    assert_eq!(tell(listens[1], SECOND_END, b"\x80x"), Some((listens[1], address(FIRST))));
}

#[test]
fn a_probe_is_answered_with_its_clock_and_the_servers_time() {
    let mut bench = Bench::new((32, 1024));
    let probe = whatsapp::probe(TransactionId([5; 12]), ms(73_926));
    assert_eq!(bench.tell(FIRST, &probe), Err(ServerRejected::Malformed), "nobody knows it");
    assert!(bench.enter(FIRST, 1, 1));
    bench.now += SECOND * 3;
    let answers = bench.tell(FIRST, &probe).unwrap();
    let [(to, report)] = &answers[..] else { panic!("{answers:?}") };
    let report = Message::parse(report).unwrap();
    assert_eq!(
        (*to, report.kind, report.transaction),
        (address(FIRST), kind::REPORT, TransactionId([5; 12]))
    );
    assert_eq!((report.clock(), report.server_time()), (Some(ms(73_926)), Some(SECOND * 1003)));
}

#[test]
fn the_end_of_a_call_and_silence_make_room() {
    let mut bench = Bench::new((2, 3));
    assert!(bench.enter("203.0.113.1:1", 1, 1) && bench.enter("203.0.113.1:2", 2, 2));
    assert!(!bench.enter("203.0.113.1:3", 3, 3), "two of one address");
    assert!(bench.enter("203.0.113.2:1", 4, 4));
    assert!(!bench.enter("203.0.113.3:1", 5, 5), "three in all");
    let token = Token::new(PASSWORD, CallId([1; 16]), Participant(1));
    let end = whatsapp::with_token(kind::END, TransactionId([1; 12]), &token);
    assert_eq!(bench.tell("203.0.113.8:8", &end), Err(ServerRejected::Malformed), "from elsewhere");
    assert_eq!(bench.tell("203.0.113.1:1", &end), Ok(vec![]));
    assert!(bench.enter("203.0.113.3:1", 5, 5));
    let due = bench.server.poll_timeout().unwrap();
    assert_eq!(due - bench.now, SECOND * 60);
    bench.server.handle_timeout(due);
    assert_eq!(bench.server.call_ends(), 0);
}

#[test]
fn it_is_a_server_like_any_other_beside() {
    let mut bench = Bench::new((32, 1024));
    let binding = Builder::new(Class::Request, stun::BINDING, TransactionId([1; 12])).finish(None);
    for entered in [false, true] {
        let answers = bench.tell(FIRST, &binding).unwrap();
        let answer = stun::Message::parse(&answers[0].1).unwrap();
        assert_eq!(answer.mapped_address(), Some(address(FIRST)), "wa-v6-alloc: plain STUN as well");
        if !entered {
            assert!(bench.enter(FIRST, 1, 1) && bench.enter(SECOND_END, 1, 2));
        }
    }
    // A check is for the other end; an allocation by the book is for us.
    let check =
        Builder::new(Class::Request, stun::BINDING, TransactionId([2; 12])).username("a:b").finish(None);
    assert_eq!(bench.tell(FIRST, &check), Ok(vec![(address(SECOND_END), check.clone())]));
    let allocate = Builder::new(Class::Request, 3, TransactionId([3; 12])).requested_udp().finish(None);
    let answers = bench.tell("203.0.113.7:7", &allocate).unwrap();
    assert_eq!(stun::Message::parse(&answers[0].1).unwrap().error_code(), Some(401));
}

proptest! {
    /// Foreign bytes, with and without a header that fits: no panic, and nothing inside reaches beyond them.
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0x0003..0x0900_u16, body: Vec<u8>, any: Vec<u8>) {
        let mut bytes = whatsapp::build(kind, TransactionId([1; 12]), &[]);
        bytes[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend(&body);
        for bytes in [bytes, any] {
            if let Some(message) = Message::parse(&bytes) {
                let _ = (message.clock(), message.server_time(), message.mapped_address());
                prop_assert!(message.attributes().iter().all(|(_, value)| value.len() <= bytes.len()));
            }
        }
    }

    #[test]
    fn what_is_built_is_read_with_and_without_padding(
        kind in prop::sample::select(vec![kind::ALLOCATE, kind::ALLOCATED, kind::PROBE, kind::REPORT, kind::END, kind::OTHER]),
        id: [u8; 12],
        values in prop::collection::vec((0x4000..0x4030_u16, prop::collection::vec(any::<u8>(), 0..120)), 0..5),
    ) {
        let attributes: Vec<_> = values.iter().map(|(kind, value)| (*kind, &value[..])).collect();
        let plain = whatsapp::build(kind, TransactionId(id), &attributes);
        let read = Message::parse(&plain).unwrap();
        prop_assert_eq!((read.kind, read.transaction), (kind, TransactionId(id)));
        prop_assert_eq!(read.attributes(), &attributes[..]);
    }

    #[test]
    fn padding_of_later_messages_is_taken_off(length in 1..130_usize, zeros in 1..500_usize) {
        let mut body = Vec::new();
        for (kind, length) in [(attribute::TOKEN, length), (attribute::PADDING, zeros)] {
            body.extend(kind.to_be_bytes());
            body.extend((length as u16).to_be_bytes());
            body.extend(vec![0x5a; length]);
            body.extend(vec![0; length.next_multiple_of(4) - length]);
        }
        let mut bytes = whatsapp::build(kind::ALLOCATE, TransactionId([1; 12]), &[]);
        bytes[2..4].copy_from_slice(&(body.len() as u16).to_be_bytes());
        bytes.extend(body);
        let read = Message::parse(&bytes).unwrap();
        prop_assert_eq!(read.attribute(attribute::TOKEN).map(<[u8]>::len), Some(length));
        prop_assert_eq!(read.attribute(attribute::PADDING).map(<[u8]>::len), Some(zeros));
    }

    /// A token opens with its password alone, and no bit of what counts can change.
    #[test]
    fn a_token_cannot_be_forged(call: [u8; 16], participant: u64, place in 0..102_usize, bit in 0..8_u32) {
        let token = Token::new("right", CallId(call), Participant(participant));
        let request = whatsapp::with_token(kind::ALLOCATE, TransactionId([0; 12]), &token);
        let value = Message::parse(&request).unwrap().attribute(attribute::TOKEN).unwrap().to_vec();
        let opened = (CallId(call), Participant(participant));
        prop_assert_eq!(Token::open(&value, ["wrong", "right"]), Some(opened));
        prop_assert_eq!(Token::open(&value, ["wrong"]), None);
        let mut forged = value.clone();
        forged[place] ^= 1_u8 << bit;
        prop_assert_eq!(Token::open(&forged, ["right"]), None);
    }

    /// Whatever strangers send, nobody is let in and nothing is sent to anybody but them.
    #[test]
    fn strangers_change_nothing_at_the_relay(
        packets in prop::collection::vec((0x0000..0x0806_u16, prop::collection::vec(any::<u8>(), 0..160)), 1..40),
    ) {
        let mut bench = Bench::new((32, 1024));
        prop_assert!(bench.enter(FIRST, 1, 1) && bench.enter(SECOND_END, 1, 2));
        for (kind, value) in &packets {
            let bytes = whatsapp::build(*kind, TransactionId([9; 12]), &[(attribute::TOKEN, value)]);
            let answers = bench.tell("203.0.113.66:66", &bytes).unwrap_or_default();
            prop_assert!(answers.iter().all(|(to, bytes)| *to == address("203.0.113.66:66") && bytes.len() <= 300));
        }
        prop_assert_eq!(bench.server.call_ends(), 2);
    }
}
