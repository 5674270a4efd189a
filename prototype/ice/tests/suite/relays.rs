//! The TURN client against an independent server.

use std::net::SocketAddr;
use std::time::Duration;

use ice::stun::NetworkInfo;
use ice::{CandidateKind, CheckPurpose, Event, PairState, Policy, RelayNews, RelayServer, Role, SocketId};

use crate::net::{A, B, Border, World, address, config, ms};
use crate::turn::{PASSWORD, Site, USER};

pub(crate) const RELAY: &str = "198.51.100.5:3478";
pub(crate) const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn server(at: &str) -> RelayServer {
    RelayServer { address: address(at), username: USER.into(), password: PASSWORD.into() }
}

/// Two ends that cannot reach each other: only what comes from the relay's site passes.
pub(crate) fn apart() -> World {
    let mut world = World::new();
    world.relays.push(Site::new(address(RELAY), ms(5)));
    world.socket(A, "wwan0", "192.0.2.10:1000", Border::Nat, ms(10));
    world.socket(B, "wwan0", "192.0.2.20:2000", Border::Nat, ms(10));
    world.signal = Some(ms(1));
    block_peer_to_peer(&mut world);
    world
}

/// As a carrier does: what goes to no server is dropped.
pub(crate) fn block_peer_to_peer(world: &mut World) {
    for port in &mut world.ports {
        port.only_to = Some([198, 51, 100, 5].into());
    }
}

pub(crate) fn start(world: &mut World) {
    for me in [A, B] {
        world.agents[me].start(world.now);
    }
    world.introduce();
}

pub(crate) fn news(world: &World, me: usize) -> Vec<RelayNews> {
    let of = |(_, event): &(Duration, Event)| match event {
        Event::Relay { news, .. } => Some(*news),
        _ => None,
    };
    world.events[me].iter().filter_map(of).collect()
}

#[test]
fn an_allocation_is_there_after_two_round_trips() {
    let mut world = apart();
    // Only A has one; B is heard through it.
    world.agents[A].add_relay_server(world.now, server(RELAY));
    start(&mut world);
    let allocated = |world: &World| {
        let of = |(at, event): &(Duration, Event)| match event {
            Event::Relay { news: RelayNews::Allocated { relayed, lifetime, .. }, .. } => {
                Some((*at, *relayed, *lifetime))
            }
            _ => None,
        };
        world.events[A].iter().find_map(of)
    };
    assert!(world.run_until(world.now + SECOND, |world| allocated(world).is_some()));
    let (at, relayed, lifetime) = allocated(&world).unwrap();
    assert_eq!(at, ms(60), "two round trips of 30 ms: one to be challenged, one to be let in");
    assert_eq!((relayed.ip(), lifetime), (address(RELAY).ip(), SECOND * 600));
    let kinds: Vec<_> = world.agents[A].local_candidates().map(|local| (local.kind, local.address)).collect();
    assert_eq!(
        kinds,
        [
            (CandidateKind::Host, address("192.0.2.10:1000")),
            (CandidateKind::Srflx, address("203.0.113.1:40000")),
            (CandidateKind::Relay, relayed),
        ],
        "the allocation tells the mapped address as well"
    );
}

#[test]
fn two_ends_that_cannot_reach_each_other_meet_at_a_relay() {
    let mut world = apart();
    world.agents[A].add_relay_server(world.now, server(RELAY));
    // B learns how it is seen: that is whom the relay has to let in.
    let stun = address("198.51.100.5:3479");
    world.server = Some((stun, ms(5)));
    world.agents[B].add_stun_server(world.now, stun);
    start(&mut world);
    assert!(world.run_until_usable(SECOND * 5));
    let pair = world.usable(A).next().unwrap();
    assert_eq!((pair.local_kind, pair.interface.as_str()), (CandidateKind::Relay, "wwan0"));
    assert_eq!(world.usable(B).next().unwrap().remote_kind, CandidateKind::Relay);
    // It lives through the lifetimes of permissions, channels and allocation.
    world.run_for(SECOND * 1500);
    assert_eq!(world.times(A, PairState::Down) + world.times(A, PairState::Removed), 0);
    assert_eq!(world.usable(A).count(), world.agents[A].pairs().filter(|pair| pair.state.is_valid()).count());
}

#[test]
fn relay_to_relay_works_as_well_and_data_passes_both_ways() {
    let mut world = apart();
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 3);
    let both = |pair: &ice::PairView| [pair.local_kind, pair.remote_kind] == [CandidateKind::Relay; 2];
    let pair = world.usable(A).find(both).unwrap();
    let hello = world.agents[A].wrap(pair.socket, pair.remote, b"hello".to_vec()).unwrap();
    assert_eq!(world.agents[A].relay_of(pair.socket), Some((SocketId(0), address(RELAY))));
    assert_eq!((hello.socket, hello.to), (SocketId(0), address(RELAY)));
    assert_eq!(hello.bytes.len(), 4 + 5, "over a channel");
    world.leave(A, hello);
    world.run_for(SECOND);
    let heard = world.received[B].pop().unwrap();
    assert_eq!(heard.bytes, b"hello");
    let back = world.agents[B].wrap(heard.socket, heard.from, b"and back".to_vec()).unwrap();
    world.leave(B, back);
    world.run_for(SECOND);
    let heard = world.received[A].pop().unwrap();
    assert_eq!(
        (heard.socket, heard.from, heard.bytes.as_slice()),
        (pair.socket, pair.remote, &b"and back"[..])
    );
}

#[test]
fn pairs_that_work_get_a_channel_and_the_others_do_not() {
    let mut world = apart();
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 2);
    let bound =
        |world: &World| news(world, A).iter().filter(|news| matches!(news, RelayNews::Bound(_))).count();
    let relayed = world.usable(A).filter(|pair| pair.local_kind == CandidateKind::Relay).count();
    assert!(relayed > 0);
    assert_eq!(bound(&world), relayed);
    let (channels, indications) = (world.relays[0].channels, world.relays[0].indications);
    world.run_for(SECOND);
    assert!(world.relays[0].channels > channels + 10);
    assert_eq!(world.relays[0].indications, indications, "what works goes over its channel");
}

#[test]
fn several_relays_are_asked_at_once_by_whatsapp_and_in_turn_by_default() {
    for (policy, expected) in [(Policy::whatsapp(), ms(0)), (Policy::multipath(), ms(350))] {
        let mut a = config(A, Role::Controlling);
        a.policy = policy;
        let mut world = World::with(a, config(B, Role::Controlled));
        world.socket(A, "wwan0", "192.0.2.10:1000", Border::Nat, ms(10));
        for relay in 0..8_u8 {
            let at = format!("198.51.100.{}:3478", 5 + relay);
            world.relays.push(Site::new(address(&at), ms(u64::from(5 + relay))));
            world.agents[A].add_relay_server(world.now, server(&at));
        }
        world.agents[A].start(world.now);
        world.drain();
        world.run_for(SECOND * 2);
        let asked: Vec<Duration> = world.events[A]
            .iter()
            .filter_map(|(at, event)| match event {
                Event::CheckSent { purpose: CheckPurpose::Gather, attempt: 1, .. } => Some(*at),
                _ => None,
            })
            .collect();
        let mut first: Vec<(Duration, SocketAddr)> = Vec::new();
        for (at, _, to, _) in &world.sent[A] {
            if !first.iter().any(|(_, known)| known == to) {
                first.push((*at, *to));
            }
        }
        assert_eq!(first.len(), 8, "cap-relays-2015");
        assert_eq!(first[7].0 - first[0].0, expected);
        assert!(asked.len() >= 8);
        assert_eq!(
            news(&world, A).iter().filter(|news| matches!(news, RelayNews::Allocated { .. })).count(),
            8
        );
        assert_eq!(
            world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Relay).count(),
            8
        );
    }
}

#[test]
fn each_interface_and_family_has_its_own_allocation() {
    let mut world = World::new();
    for at in [RELAY, "[2001:db8:5::1]:3478"] {
        world.relays.push(Site::new(address(at), ms(5)));
    }
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(10));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Nat, ms(10));
    world.socket(A, "wwan0", "[2001:db8::10]:1000", Border::Firewall, ms(10));
    for at in [RELAY, "[2001:db8:5::1]:3478"] {
        world.agents[A].add_relay_server(world.now, server(at));
    }
    world.agents[A].start(world.now);
    world.drain();
    world.run_for(SECOND * 2);
    let relayed = |world: &World| {
        let relays = world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Relay);
        let mut found: Vec<_> =
            relays.map(|local| (local.interface.clone(), local.address.is_ipv6())).collect();
        found.sort();
        found
    };
    let all = [("wlan0".to_owned(), false), ("wwan0".to_owned(), false), ("wwan0".to_owned(), true)];
    assert_eq!(relayed(&world), all);
    world.remove(SocketId(0));
    assert_eq!(relayed(&world), all[1..]);
    let priorities: std::collections::BTreeSet<_> =
        world.agents[A].local_candidates().map(|local| (local.kind, local.priority)).collect();
    assert_eq!(priorities.len(), world.agents[A].local_candidates().count());
}

#[test]
fn a_relay_that_falls_silent_is_lost_and_found_again() {
    let mut world = apart();
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 3);
    assert!(world.usable(A).count() > 0);
    world.relays[0].up = false;
    world.run_for(SECOND * 700);
    assert_eq!(world.usable(A).count(), 0);
    assert!(news(&world, A).contains(&RelayNews::Unanswered));
    world.relays[0].up = true;
    world.run_for(SECOND * 200);
    assert!(world.usable(A).count() > 0, "{:?}", news(&world, A));
}

#[test]
fn a_relay_is_given_back() {
    let mut world = apart();
    world.agents[A].add_relay_server(world.now, server(RELAY));
    start(&mut world);
    world.run_for(SECOND);
    assert_eq!(
        world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Relay).count(),
        1
    );
    world.agents[A].remove_relay_server(world.now, address(RELAY));
    world.drain();
    world.run_for(SECOND * 60);
    assert_eq!(
        world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Relay).count(),
        0
    );
    assert!(world.agents[A].pairs().all(|pair| pair.local_kind != CandidateKind::Relay));
    // The server has forgotten it too: a new client at the same address is welcome.
    world.agents[A].add_relay_server(world.now, server(RELAY));
    world.drain();
    world.run_for(SECOND);
    assert_eq!(
        world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Relay).count(),
        1
    );
}

#[test]
fn what_a_stranger_sends_as_if_it_were_the_relay_changes_nothing() {
    let mut world = apart();
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 2);
    let before = format!("{:?}", world.agents[A]);
    let mut forged: Vec<Vec<u8>> = Vec::new();
    for code in [401_u16, 437, 438, 403] {
        let builder = ice::stun::Builder::new(ice::stun::Class::Error, 4, ice::stun::TransactionId([1; 12]));
        forged.push(builder.error_code(code).finish(None));
    }
    let data = ice::stun::Builder::new(ice::stun::Class::Indication, 7, ice::stun::TransactionId([2; 12]));
    forged.push(data.peer_address(address("192.0.2.66:6")).data(b"x").finish(None));
    forged.push(vec![0x4f, 0xff, 0, 1, 0]);
    forged.push(vec![0x40, 0x00, 0xff, 0xff, 0]);
    for datagram in forged {
        let result = world.agents[A].handle_datagram(world.now, SocketId(0), address(RELAY), &datagram);
        assert!(result.is_err(), "{datagram:?}");
        assert_eq!(before, format!("{:?}", world.agents[A]));
    }
}

/// Two phones with WhatsApp's policy: a direct path over WiFi, then WiFi goes off, or falls silent.
#[test]
fn whatsapp_on_both_ends_falls_back_to_the_relay() {
    // Silence is found by the check of the path in use, every 2 s, and those that follow.
    for (told, within) in [(true, SECOND), (false, SECOND * 4)] {
        fall_back(told, within);
    }
}

fn fall_back(told: bool, within: Duration) {
    let mut configs = [config(A, Role::Controlling), config(B, Role::Controlled)];
    for config in &mut configs {
        config.policy = Policy::whatsapp();
    }
    let [a, b] = configs;
    let mut world = World::with(a, b);
    world.relays.push(Site::new(address(RELAY), ms(5)));
    world.signal = Some(ms(40));
    world.agents[A].set_network_info("wlan0", NetworkInfo { id: 1, cost: 10 });
    world.agents[A].set_network_info("wwan0", NetworkInfo { id: 2, cost: 900 });
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(5));
    let cellular = world.socket(A, "wwan0", "192.0.2.11:1000", Border::Nat, ms(20));
    world.socket(B, "wwan0", "192.0.2.20:2000", Border::Nat, ms(15));
    // The carrier of A lets nothing pass between peers.
    world.port(cellular).only_to = Some(address(RELAY).ip());
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    world.run_for(SECOND * 20);
    let kinds = |world: &World, me: usize| {
        let mut kinds: Vec<bool> = world.usable(me).map(|pair| is_relayed(&pair)).collect();
        kinds.sort();
        kinds.dedup();
        kinds
    };
    assert_eq!(
        kinds(&world, A),
        [false, true],
        "wa-idle-keepalive: the relay stays warm beside the direct path"
    );
    assert!(world.usable(A).all(|pair| pair.socket != cellular), "wa-no-cellular-probe");
    let lost = world.now - world.epoch;
    match told {
        true => world.remove(SocketId(0)),
        false => world.port(SocketId(0)).up = false,
    }
    world.run_for(SECOND * 30);
    for me in [A, B] {
        assert_eq!(kinds(&world, me), [true], "wa-off-to-relay");
    }
    let up = |(at, event): &(Duration, Event)| match event {
        Event::Pair { state: PairState::Up, .. } if *at > lost => Some(*at - lost),
        _ => None,
    };
    let rebuilt = world.events[A].iter().find_map(up).expect("a relayed pair");
    assert!(rebuilt < within, "built after the loss within {within:?}: {rebuilt:?}");
}

fn is_relayed(pair: &ice::PairView) -> bool {
    [pair.local_kind, pair.remote_kind].contains(&CandidateKind::Relay)
}

/// The promise: a relayed pair is ready three round trips after the start, for the challenge, the allocation and the
/// check, and as many turns of the check list as it takes to come to it.
#[test]
fn a_relayed_pair_is_ready_after_three_round_trips() {
    let mut world = apart();
    world.signal = Some(ms(1));
    for me in [A, B] {
        world.agents[me].add_relay_server(world.now, server(RELAY));
    }
    start(&mut world);
    assert!(world.run_until_usable(SECOND));
    let (at, pair) = world.first(A, PairState::Up).unwrap();
    assert!(is_relayed(&pair));
    // To the relay and back is 30 ms, to the other end through it 60 ms. One check goes before the allocation.
    let place = world.agents[A].pairs().position(|other| other.id == pair.id).unwrap() as u32;
    let bound = ms(30 + 30 + 60 + 1) + ms(50) * (place + 1);
    assert!(at <= bound, "{at:?} > {bound:?}");
    assert_eq!(world.agents[A].interface_of(pair.socket), Some("wwan0"));
}

/// A channel ends after ten minutes without a refresh; what went over it has to go another way by then.
#[test]
fn a_pair_that_was_down_longer_than_its_channel_lives_comes_back() {
    let mut world = apart();
    world.agents[A].add_relay_server(world.now, server(RELAY));
    let stun = address("198.51.100.5:3479");
    world.server = Some((stun, ms(5)));
    world.agents[B].add_stun_server(world.now, stun);
    start(&mut world);
    assert!(world.run_until_usable(SECOND * 5));
    world.run_for(SECOND * 5);
    assert!(news(&world, A).iter().any(|news| matches!(news, RelayNews::Bound(_))));
    world.port(SocketId(1)).up = false;
    world.run_for(SECOND * 700);
    assert_eq!(world.usable(A).count(), 0);
    world.port(SocketId(1)).up = true;
    world.run_for(SECOND * 20);
    assert!(world.usable(A).count() > 0 && world.usable(B).count() > 0);
}

/// RFC 8445 section 14.3: Ta times the reflexive and relayed candidates that are being gathered, 500 ms at least.
#[test]
fn the_timeout_grows_with_the_number_of_candidates_that_are_gathered() {
    for (stun, turn, expected) in [(2, 2, ms(500)), (14, 0, ms(700)), (0, 14, ms(700)), (14, 10, ms(1200))] {
        let mut world = World::new();
        world.socket(A, "wwan0", "192.0.2.10:1000", Border::Open, ms(10));
        for host in 0..stun {
            world.agents[A].add_stun_server(world.now, ([198, 51, 100, host], 3478).into());
        }
        for host in 0..turn {
            let at = format!("198.51.101.{host}:3478");
            world.agents[A].add_relay_server(world.now, server(&at));
        }
        world.agents[A].start(world.now);
        world.drain();
        world.run_for(ms(3000));
        for to in world.sent[A].iter().map(|(_, _, to, _)| *to).collect::<std::collections::BTreeSet<_>>() {
            let at: Vec<Duration> =
                world.sent[A].iter().filter(|(_, _, sent, _)| *sent == to).map(|(at, ..)| *at).collect();
            assert_eq!(at[1] - at[0], expected, "{to}, {stun} and {turn}");
        }
    }
}

/// The promise: relays do not wait for STUN servers, nor for the check list. The first is there after two round trips,
/// each further one a turn later (Ta, or 2 Ta where there are pairs to check), and every interface has its first before
/// any has its second. Nor does the check list wait: at least every second turn is its own.
#[test]
fn relays_servers_and_checks_take_turns() {
    for (relays, pairs) in [(1, 0), (2, 0), (1, 20), (2, 20)] {
        let mut world = World::new();
        let stun = address("198.51.100.1:3478");
        world.server = Some((stun, ms(5)));
        world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(10));
        world.socket(A, "wwan0", "192.0.2.11:1000", Border::Nat, ms(10));
        world.agents[A].add_stun_server(world.now, stun);
        // The other one is down.
        world.agents[A].add_stun_server(world.now, address("198.51.100.2:3478"));
        for relay in 0..relays {
            let at = format!("198.51.100.{}:3478", 5 + relay);
            world.relays.push(Site::new(address(&at), ms(5)));
            world.agents[A].add_relay_server(world.now, server(&at));
        }
        for host in 0..pairs {
            let candidate = ice::RemoteCandidate {
                kind: CandidateKind::Host,
                address: ([192, 0, 2, 100 + host], 9).into(),
                priority: 1,
                foundation: format!("{host}"),
                interface: None,
            };
            world.agents[A].add_remote_candidate(world.now, candidate);
        }
        world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
        world.agents[A].start(world.now);
        world.drain();
        world.run_for(SECOND * 4);
        let (ta, rtt) = (ms(50), ms(30));
        let turn = if pairs > 0 { 2 * ta } else { ta };
        let allocated: Vec<(Duration, SocketId)> = world.events[A]
            .iter()
            .filter_map(|(at, event)| match event {
                Event::Relay { news: RelayNews::Allocated { .. }, socket, .. } => Some((*at, *socket)),
                _ => None,
            })
            .collect();
        let expected: Vec<(Duration, SocketId)> =
            (0..2 * relays).map(|place| (2 * rtt + turn * place, SocketId(place % 2))).collect();
        assert_eq!(allocated, expected, "{relays} relays, {pairs} pairs");
        // Over the relays there are more pairs, and they are last in the list.
        let checks = world.events[A].iter().filter_map(|(at, event)| match event {
            Event::CheckSent { purpose: CheckPurpose::Ordinary, attempt: 1, socket, .. } => {
                Some(*at).filter(|_| !socket.is_relayed())
            }
            _ => None,
        });
        let checks: Vec<Duration> = checks.collect();
        assert_eq!(checks.len(), 2 * usize::from(pairs));
        // One Ta for each allocation and each of four questions to STUN servers that went in between.
        let gathering = 2 * relays + 4;
        for (place, at) in (0_u32..).zip(checks) {
            let bound = ta * (place + 1 + gathering.min(place + 1));
            assert!(at <= bound, "place {place}: {at:?} > {bound:?}");
        }
    }
}
