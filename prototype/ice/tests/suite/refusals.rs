//! What a TURN server refuses: wrong or old credentials, a second allocation for one address and port, and what it
//! would rather have another server do.

use std::net::SocketAddr;
use std::time::Duration;

use ice::stun::turn::{attribute, method};
use ice::stun::{Builder, Class, Message};
use ice::{CandidateKind, Event, PairState, RelayNews, RelayServer, Role, SocketId};

use crate::byhand::{Hand, SOCKET};
use crate::net::{A, B, Border, World, address, ms};
use crate::relays::{RELAY, SECOND, apart, block_peer_to_peer, news, server, start};
use crate::turn::Site;

#[test]
fn a_wrong_password_is_refused_once_and_not_asked_again_at_once() {
    let mut world = apart();
    let wrong = RelayServer { password: "guess".into(), ..server(RELAY) };
    world.agents[A].add_relay_server(world.now, wrong);
    start(&mut world);
    world.run_for(SECOND * 30);
    assert_eq!(news(&world, A), [RelayNews::Refused(401)]);
    let asked = world.sent[A].iter().filter(|(_, _, to, _)| *to == address(RELAY)).count();
    assert_eq!(asked, 2, "without credentials and with the wrong ones");
    assert!(world.events[A].iter().any(|(_, event)| matches!(event, Event::GatheringComplete)));
}

#[test]
fn a_stale_nonce_is_renewed_without_a_gap() {
    let mut world = apart();
    world.relays[0].nonces_last(SECOND * 60);
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 2000);
    for me in [A, B] {
        let lost = news(&world, me)
            .iter()
            .filter(|news| matches!(news, RelayNews::Refused(_) | RelayNews::Unanswered))
            .count();
        assert_eq!(lost, 0, "{:?}", news(&world, me));
        assert_eq!(world.times(me, PairState::Down), 0);
    }
    assert!(world.usable(A).any(|pair| pair.local_kind == CandidateKind::Relay));
}

/// A round trip of the relay's is long, and its nonces end before the channels have to be refreshed: six requests
/// with the old nonce are under way when the first is refused for it.
#[test]
fn many_requests_with_one_stale_nonce_are_one_challenge() {
    let mut world = World::new();
    world.relays.push(Site::new(address(RELAY), ms(215)));
    world.relays[0].nonces_last(SECOND * 30);
    world.socket(A, "wwan0", "192.0.2.10:1000", Border::Nat, ms(10));
    for peer in 0..8 {
        world.socket(B, &format!("eth{peer}"), &format!("192.0.2.{}:2000", 20 + peer), Border::Open, ms(10));
    }
    block_peer_to_peer(&mut world);
    for port in &mut world.ports[1..] {
        port.only_to = None;
    }
    world.port(SocketId(0)).only_to_relays = true;
    world.signal = Some(ms(1));
    world.agents[A].add_relay_server(world.now, server(RELAY));
    // The other end comes so much later that no refresh of the allocation or of permissions gets a new nonce just before
    // the channels need one.
    world.agents[A].start(world.now);
    world.drain();
    world.run_for(SECOND * 100);
    start(&mut world);
    world.run_for(SECOND * 20);
    let bound = |world: &World| {
        let mut bound: Vec<SocketAddr> = Vec::new();
        for news in news(world, A) {
            match news {
                RelayNews::Bound(peer) => bound.push(peer),
                RelayNews::Allocated { .. } => {}
                other => panic!("{other:?}"),
            }
        }
        bound.len()
    };
    assert_eq!(bound(&world), 8);
    let indications = world.relays[0].indications;
    let lost = |world: &World| world.times(A, PairState::Down) + world.times(A, PairState::Removed);
    let before = lost(&world);
    // Channels are refreshed after nine minutes, permissions every four, the allocation after nine.
    world.run_for(SECOND * 590);
    assert_eq!(bound(&world), 16);
    world.run_for(SECOND * 1200);
    assert_eq!(bound(&world), 32);
    assert_eq!(world.relays[0].indications, indications, "all the time data went over channels");
    assert_eq!(lost(&world), before);
}

/// The client of before is gone, and its allocation is not: the same address and port is in use, says the server
/// (437, RFC 8656 section 7.4), until it is given back.
#[test]
fn a_client_that_begins_anew_at_its_old_address_gets_its_relay_at_once() {
    let mut world = apart();
    world.agents[A].add_relay_server(world.now, server(RELAY));
    start(&mut world);
    world.run_for(SECOND);
    assert!(matches!(news(&world, A)[..], [RelayNews::Allocated { .. }]));
    world.agents[A] = ice::Agent::new(ice::Config::new(Role::Controlling, crate::net::credentials(A), 77));
    world.events[A].clear();
    let info =
        ice::SocketInfo { interface: "wwan0".into(), local: address("192.0.2.10:1000"), preference: 65_535 };
    world.agents[A].add_socket(world.now, SocketId(0), info);
    world.agents[A].add_relay_server(world.now, server(RELAY));
    world.agents[A].start(world.now);
    world.drain();
    // To be challenged, refused, to give back, and to be let in: four round trips of 30 ms.
    world.run_for(ms(121));
    assert!(matches!(news(&world, A)[..], [RelayNews::Allocated { .. }]), "{:?}", news(&world, A));
}

/// The server refreshed the allocation, and we never heard: it is there still when it is asked for again.
#[test]
fn a_refresh_whose_answers_are_lost_costs_the_relay_no_ten_minutes() {
    let mut world = apart();
    world.agents[A].add_relay_server(world.now, server(RELAY));
    start(&mut world);
    world.run_for(SECOND * 530);
    // Nothing of the relay's arrives while it refreshes: 540 s after the beginning, and 39.5 s long.
    world.relays[0].mute = true;
    world.run_for(SECOND * 52);
    world.relays[0].mute = false;
    assert!(news(&world, A).contains(&RelayNews::Unanswered), "{:?}", news(&world, A));
    world.run_for(SECOND * 20);
    let all = news(&world, A);
    assert!(matches!(all[..], [RelayNews::Allocated { .. }, .., RelayNews::Allocated { .. }]), "{all:?}");
    assert!(!all.contains(&RelayNews::Refused(437)), "{all:?}");
}

/// A server that says so whatever is given back: it is asked for once more, then seldom.
#[test]
fn an_address_that_stays_in_use_is_refused_and_asked_for_seldom() {
    for answer_to_release in [Some(437), Some(441), None] {
        let mut hand = Hand::new(Role::Controlling);
        hand.agent.add_relay_server(hand.now, server(RELAY));
        let mut asked = Vec::new();
        for _ in 0..3 {
            hand.drain();
            for (_, to, bytes) in hand.taken() {
                let request = Message::parse(&bytes).unwrap();
                asked.push((request.method(), request.lifetime()));
                let answer = match (request.method(), answer_to_release) {
                    (method::REFRESH, Some(code)) => {
                        Builder::response(Class::Error, &request).error_code(code)
                    }
                    (method::REFRESH, None) => Builder::response(Class::Success, &request),
                    _ => Builder::response(Class::Error, &request).error_code(437),
                };
                assert_eq!(hand.hear(to, &answer.finish(None)), Ok(()));
            }
        }
        let (allocate, release) = ((method::ALLOCATE, None), (method::REFRESH, Some(0)));
        match answer_to_release {
            Some(441) => assert_eq!(asked, [allocate, release]),
            _ => assert_eq!(asked, [allocate, release, allocate]),
        }
        let refused = |event: &Event| matches!(event, Event::Relay { news: RelayNews::Refused(437), .. });
        assert_eq!(hand.count(refused), 1);
        hand.pass(SECOND * 59);
        assert_eq!(hand.taken(), [], "not before a minute has passed");
        hand.pass(SECOND * 2);
        assert!(!hand.taken().is_empty());
    }
}

const NAMED: [&str; 2] = ["198.51.100.6:3478", "198.51.100.7:3478"];
/// Where they send us.
const OTHER: &str = "198.51.100.8:3478";

/// Servers that name another one, and that one, which keeps to RFC 8656 and asks nobody who he is.
#[derive(Default)]
struct Redirecting {
    /// Allocated for the one socket that there is.
    allocated: bool,
    /// It answers nothing any more.
    silent: bool,
    /// Who was asked for what.
    asked: Vec<(SocketAddr, u16, Option<u32>)>,
}

impl Redirecting {
    fn serve(&mut self, hand: &mut Hand, time: Duration) {
        let end = hand.now + time;
        while hand.now < end {
            hand.drain();
            for (_, to, bytes) in hand.taken() {
                let request = Message::parse(&bytes).unwrap();
                self.asked.push((to, request.method(), request.lifetime()));
                if to != address(OTHER) {
                    let elsewhere = Builder::response(Class::Error, &request).error_code(300);
                    let elsewhere = elsewhere.plain_address(attribute::ALTERNATE_SERVER, address(OTHER));
                    assert_eq!(hand.hear(to, &elsewhere.finish(None)), Ok(()));
                } else if !self.silent {
                    assert_eq!(hand.hear(to, &self.answer(&request)), Ok(()));
                }
            }
            hand.pass(ms(50));
        }
    }

    fn answer(&mut self, request: &Message<'_>) -> Vec<u8> {
        let success = || Builder::response(Class::Success, request);
        let answer = match (request.method(), request.lifetime()) {
            (method::ALLOCATE, _) if std::mem::replace(&mut self.allocated, true) => {
                Builder::response(Class::Error, request).error_code(437)
            }
            (method::ALLOCATE, _) => success()
                .xor_mapped_address(address("192.0.2.10:1000"))
                .relayed_address(address("198.51.100.8:50000"))
                .lifetime(600),
            (_, Some(0)) => {
                self.allocated = false;
                success()
            }
            _ => success().lifetime(600),
        };
        answer.finish(None)
    }

    fn allocations_asked_of(&self, server: &str) -> usize {
        self.asked.iter().filter(|(to, what, _)| (*to, *what) == (address(server), method::ALLOCATE)).count()
    }
}

fn told(hand: &Hand) -> Vec<(SocketAddr, RelayNews)> {
    let of = |event: &Event| match event {
        Event::Relay { server, news, .. } => Some((*server, *news)),
        _ => None,
    };
    hand.events.iter().filter_map(of).collect()
}

fn allocations(hand: &Hand) -> usize {
    told(hand).iter().filter(|(_, news)| matches!(news, RelayNews::Allocated { .. })).count()
}

/// 300 (RFC 8489 section 10).
#[test]
fn a_server_that_names_another_is_followed_there_and_asked_again_when_that_one_is_lost() {
    let mut hand = Hand::new(Role::Controlling);
    let mut servers = Redirecting::default();
    hand.agent.add_relay_server(hand.now, server(NAMED[0]));
    servers.serve(&mut hand, SECOND * 600);
    let asked: Vec<_> = servers.asked.iter().map(|(to, what, _)| (*to, *what)).collect();
    let (named, other) = (address(NAMED[0]), address(OTHER));
    assert_eq!(asked, [(named, method::ALLOCATE), (other, method::ALLOCATE), (other, method::REFRESH)]);
    let [(server, RelayNews::Allocated { base, .. })] = told(&hand)[..] else { panic!("{:?}", told(&hand)) };
    assert_eq!(server, other);
    assert_eq!(hand.agent.relay_of(base), Some((SOCKET, other)));
    servers.silent = true;
    servers.serve(&mut hand, SECOND * 600);
    assert!(told(&hand).contains(&(other, RelayNews::Unanswered)));
    assert!(servers.allocations_asked_of(NAMED[0]) > 1, "it may know of yet another one");
    servers.silent = false;
    servers.serve(&mut hand, SECOND * 60);
    assert_eq!(allocations(&hand), 2);
}

#[test]
fn nobody_is_sent_on_for_ever() {
    let mut hand = Hand::new(Role::Controlling);
    hand.agent.add_relay_server(hand.now, server(NAMED[0]));
    let mut asked = Vec::new();
    for _ in 0..5 {
        hand.drain();
        for (_, to, bytes) in hand.taken() {
            asked.push(to);
            let next = SocketAddr::new(to.ip(), to.port() + 1);
            let elsewhere = Builder::response(Class::Error, &Message::parse(&bytes).unwrap()).error_code(300);
            let elsewhere = elsewhere.plain_address(attribute::ALTERNATE_SERVER, next);
            assert_eq!(hand.hear(to, &elsewhere.finish(None)), Ok(()));
        }
    }
    assert_eq!(asked, [address(NAMED[0]), address("198.51.100.6:3479")]);
    assert_eq!(told(&hand), [(address("198.51.100.6:3479"), RelayNews::Refused(300))]);
}

/// A server tells its clients by their addresses and ports alone: of two allocations on one socket that were sent to it
/// the second is refused, and takes nothing from the first.
#[test]
fn two_servers_that_name_the_same_third_give_one_allocation_that_lasts() {
    for named in [[NAMED[0], NAMED[1]], [NAMED[0], OTHER], [OTHER, NAMED[0]]] {
        let mut hand = Hand::new(Role::Controlling);
        let mut servers = Redirecting::default();
        for at in named {
            hand.agent.add_relay_server(hand.now, server(at));
        }
        servers.serve(&mut hand, SECOND * 300);
        assert_eq!(allocations(&hand), 1, "{named:?}: {:?}", told(&hand));
        assert_eq!(servers.allocations_asked_of(OTHER), 1, "{named:?}: {:?}", servers.asked);
        let refused = told(&hand).iter().filter(|(_, news)| *news == RelayNews::Refused(300)).count();
        assert_eq!(refused, 5, "{named:?}: at once, and a minute later each: {:?}", told(&hand));
        assert_eq!(told(&hand).len(), 6);
        assert!(servers.allocated);
    }
}

#[test]
fn a_server_that_another_led_to_already_refuses_and_nothing_is_given_back() {
    let mut hand = Hand::new(Role::Controlling);
    let mut servers = Redirecting::default();
    hand.agent.add_relay_server(hand.now, server(NAMED[0]));
    servers.serve(&mut hand, SECOND);
    hand.agent.add_relay_server(hand.now, server(OTHER));
    servers.serve(&mut hand, SECOND * 150);
    assert_eq!(allocations(&hand), 1);
    let refused = told(&hand).iter().filter(|(_, news)| *news == RelayNews::Refused(437)).count();
    assert_eq!(refused, 3, "{:?}", told(&hand));
    assert!(servers.asked.iter().all(|(_, _, lifetime)| *lifetime != Some(0)), "{:?}", servers.asked);
    // The first one gives way.
    hand.agent.remove_relay_server(hand.now, address(NAMED[0]));
    servers.serve(&mut hand, SECOND * 60);
    assert_eq!(allocations(&hand), 2);
}
