//! Who may connect, what is said to those who may not, and that nothing else on the wire has an effect.

use crate::world::{Signal, World, host, notes_topology, one_lan};
use ice::{Config, Credentials};
use peer::{Event, Fingerprint, Outcome, Secret, SocketId};
use proptest::prelude::*;
use std::{net::SocketAddr, time::Duration};

fn outcome(mut world: World, host: &str) -> Option<Outcome> {
    world.start();
    world.run_until(Duration::from_secs(30));
    world.hosts[host].outcome.clone()
}

#[test]
fn peers_on_one_lan_need_no_rendezvous() {
    let mut world = World::new(one_lan(), Signal::InBand, 1);
    world.start();
    world.run_until(Duration::from_secs(3));
    assert_eq!(world.connections().len(), 2);
    let paths: std::collections::BTreeSet<_> =
        world.paths("laptop").iter().map(|(_, view)| view.path).collect();
    assert_eq!(paths.len(), 1, "one interface at each end is one path, also once it is named");
    let (_, last) = world.paths("laptop").pop().unwrap();
    assert_eq!(last.remote_interface.as_deref(), Some("eth0"));
    let first = world.arrivals("desktop")[0].0;
    assert!(first < Duration::from_millis(60), "a check, a handshake, at most one interval: {first:?}");
}

#[test]
fn candidates_that_the_ticket_does_not_list_travel_in_the_connection() {
    let mut topology = one_lan();
    let carrier = |name: &str| netmodel::NetworkSpec {
        ipv6: netmodel::Ipv6Access::Firewalled,
        nat: Some(netmodel::NatSpec::new(netmodel::NatKind::CarrierGrade)),
        ..netmodel::NetworkSpec::new(name, netmodel::LinkSpec::with_delay(Duration::from_millis(15)))
    };
    topology.networks.extend([carrier("o2"), carrier("telekom")]);
    topology.hosts = vec![
        host("laptop", &[("eth0", "lan"), ("wwan0", "o2")]),
        host("desktop", &[("eth0", "lan"), ("wwan0", "telekom")]),
    ];
    let only_lan = |ticket: &mut peer::Ticket| {
        ticket.addresses.retain(|address| address.to_string().starts_with("198.18."))
    };
    let mut world = World::with_ticket(topology, Signal::InBand, 1, only_lan);
    world.start();
    world.run_until(Duration::from_secs(3));
    let cellular = world.paths("laptop").into_iter().find(|(_, view)| view.interface == "wwan0");
    let (_, view) = cellular.expect("start on the LAN path, find the cellular one");
    assert_eq!(view.remote_interface.as_deref(), Some("wwan0"));
}

#[test]
fn the_wrong_fingerprint_is_refused() {
    for signal in [Signal::InBand, Signal::Rendezvous] {
        let topology = if signal == Signal::InBand { one_lan() } else { notes_topology() };
        let world =
            World::with_ticket(topology, signal, 1, |ticket| ticket.fingerprint = Fingerprint([0; 32]));
        let Some(Outcome::Refused { why }) = outcome(world, "laptop") else { panic!("refused") };
        assert!(why.contains("certificate is not the one that the ticket names"), "{why}");
    }
}

#[test]
fn the_wrong_secret_is_refused_where_the_server_hears_it() {
    let mut world =
        World::with_ticket(one_lan(), Signal::InBand, 1, |ticket| ticket.secret = Secret([9; 16]));
    world.start();
    world.run_until(Duration::from_secs(3));
    let Some(Outcome::Refused { why }) = &world.hosts["laptop"].outcome else { panic!("refused, and soon") };
    assert!(why.contains("secret"), "{why}");
}

#[test]
fn whom_nobody_meets_is_told_so() {
    let world =
        World::with_ticket(notes_topology(), Signal::Rendezvous, 1, |ticket| ticket.secret = Secret([9; 16]));
    let Some(Outcome::Unreachable { why }) = outcome(world, "laptop") else { panic!("unreachable") };
    assert!(why.contains("came to the rendezvous server"), "{why}");

    let nobody = |ticket: &mut peer::Ticket| ticket.addresses = vec!["198.18.1.77:4433".parse().unwrap()];
    let world = World::with_ticket(one_lan(), Signal::InBand, 1, nobody);
    let Some(Outcome::Unreachable { why }) = outcome(world, "laptop") else { panic!("unreachable") };
    assert!(why.contains("no check was answered"), "{why}");
}

#[test]
fn without_any_interface_the_reason_is_that() {
    let mut world = World::new(one_lan(), Signal::InBand, 1);
    world.down("laptop", "eth0");
    let Some(Outcome::Unreachable { why }) = outcome(world, "laptop") else { panic!("unreachable") };
    assert!(why.contains("no interface is up"), "{why}");
}

#[test]
fn a_client_that_never_connected_has_not_finished() {
    let mut world = World::with_ticket(one_lan(), Signal::InBand, 1, |ticket| {
        ticket.addresses = vec!["198.18.1.77:4433".parse().unwrap()];
    });
    world.start();
    world.run_until(Duration::from_secs(2));
    world.stop("laptop");
    world.stop("desktop");
    assert!(matches!(world.hosts["laptop"].outcome, Some(Outcome::Unreachable { .. })));
    assert_eq!(world.hosts["desktop"].outcome, Some(Outcome::Finished), "a server may wait in vain");
}

#[test]
fn a_peer_that_fell_silent_before_the_end_was_not_reached() {
    let mut world = World::new(one_lan(), Signal::InBand, 1);
    world.start();
    world.run_until(Duration::from_secs(2));
    world.reach("desktop", "eth0", false);
    world.run_until(Duration::from_secs(4));
    world.stop("laptop");
    let Some(Outcome::Unreachable { why }) = &world.hosts["laptop"].outcome else { panic!("unreachable") };
    assert!(why.contains("no path"), "{why}");
}

/// First path <= 3 RTT + (k+1) Ta after candidates are known, k = the pair's place in the check list, without loss.
#[test]
fn the_first_path_is_found_in_time() {
    let mut world = World::new(notes_topology(), Signal::Rendezvous, 1);
    world.start();
    world.run_until(Duration::from_secs(2));
    let at = |wanted: &dyn Fn(&Event) -> bool| {
        world
            .events
            .iter()
            .find(|(_, host, event)| host == "laptop" && wanted(event))
            .map(|(t, _, _)| *t)
            .unwrap()
    };
    let known = at(&|event| matches!(event, Event::RemoteCandidate(_)));
    let usable = at(&|event| matches!(event, Event::Pair { state: peer::PairState::Up, .. }));
    let started: Vec<_> = world
        .events
        .iter()
        .filter(|(t, host, event)| {
            host == "laptop"
                && *t <= usable
                && matches!(
                    event,
                    Event::CheckSent { pair: Some(_), attempt: 1, purpose: peer::CheckPurpose::Ordinary, .. }
                )
        })
        .collect();
    let k = u32::try_from(started.len()).unwrap();
    // The slowest pair that can be first: cellular at both ends.
    let rtt = Duration::from_millis(60);
    let bound = 3 * rtt + (k + 1) * Duration::from_millis(50);
    println!("candidates known {known:?}, first usable {usable:?}, checks begun {k}, bound {bound:?}");
    assert!(usable - known <= bound, "{:?} > {bound:?}", usable - known);
}

/// Everything that a stranger can throw at a socket: noise, torn STUN, requests without or with wrong integrity.
fn strays() -> Vec<(Vec<u8>, &'static str)> {
    let request = |user: &str, pwd: &str| {
        let builder =
            ice::stun::Builder::new(ice::stun::Class::Request, 1, ice::stun::TransactionId([7; 12]));
        let key = ice::stun::Key::short_term(pwd);
        builder.username(user).priority(1).finish(Some(&key))
    };
    let plain =
        ice::stun::Builder::new(ice::stun::Class::Request, 1, ice::stun::TransactionId([8; 12])).finish(None);
    let wrong = request("nobody:knows", "0123456789012345678901");
    let torn = wrong[..wrong.len() - 7].to_vec();
    vec![
        (vec![0x20; 50], "unknown-protocol"),
        (vec![0x05; 50], "malformed or unexpected rendezvous"),
        (vec![0x41; 60], "QUIC from nowhere"),
        (vec![0xc3; 1200], "QUIC long header from nowhere"),
        (torn, "torn STUN"),
        (plain, "no integrity"),
        (wrong, "wrong integrity"),
        (vec![], "empty"),
    ]
}

#[test]
fn strays_during_a_call_are_counted_dropped_and_without_effect() {
    let quiet = {
        let mut world = World::new(notes_topology(), Signal::Rendezvous, 3);
        world.start();
        world.run_until(Duration::from_secs(6));
        world
    };
    let mut world = World::new(notes_topology(), Signal::Rendezvous, 3);
    world.start();
    world.run_until(Duration::from_secs(3));
    let from: SocketAddr = "[2001:db8:bad::1]:666".parse().unwrap();
    let mut thrown = 0;
    for round in 0..50 {
        for (bytes, _) in strays() {
            for host in ["laptop", "desktop"] {
                for to in world.sockets(host) {
                    let from = if to.is_ipv6() { from } else { "192.0.2.66:666".parse().unwrap() };
                    world.throw(host, from, to, &bytes);
                    thrown += 1;
                }
            }
        }
        world.run_until(Duration::from_millis(3000 + 20 * (round + 1)));
    }
    world.run_until(Duration::from_secs(6));
    let counted: u64 = ["laptop", "desktop"]
        .iter()
        .map(|of| {
            let mut newest = std::collections::BTreeMap::new();
            for (_, host, event) in &world.events {
                if let Event::Rejected { reason, count, .. } = event
                    && host == of
                {
                    newest.insert(*reason, *count);
                }
            }
            newest.values().sum::<u64>()
        })
        .sum();
    assert_eq!(counted, thrown, "each one is counted");
    // The same call, to the datagram and the nanosecond, as without them.
    for host in ["laptop", "desktop"] {
        assert_eq!(world.arrivals(host), quiet.arrivals(host), "{host}");
    }
    let pairs = |world: &World| {
        world
            .events
            .iter()
            .filter(|(_, _, event)| matches!(event, Event::Pair { .. } | Event::Path(_)))
            .count()
    };
    assert_eq!(pairs(&world), pairs(&quiet));
}

#[test]
fn a_stranger_with_an_agent_of_its_own_gets_nowhere() {
    let mut world = World::new(one_lan(), Signal::InBand, 3);
    world.start();
    world.run_until(Duration::from_secs(1));
    let to = world.sockets("desktop")[0];
    let from: SocketAddr = "198.18.1.200:1".parse().unwrap();
    let credentials = Credentials::new("aaaa", "aaaaaaaaaaaaaaaaaaaaaaaa").unwrap();
    let mut agent = ice::Agent::new(Config::new(ice::Role::Controlling, credentials.clone(), 1));
    let info = ice::SocketInfo { interface: "x".into(), local: from, preference: 1 };
    agent.add_socket(world.now, SocketId(0), info);
    agent.set_remote_credentials(world.now, credentials);
    let candidate = ice::RemoteCandidate {
        kind: ice::CandidateKind::Host,
        address: to,
        priority: 1,
        foundation: "1".into(),
        interface: None,
    };
    agent.add_remote_candidate(world.now, candidate);
    agent.start(world.now);
    agent.handle_timeout(world.now);
    let sent = std::iter::from_fn(|| agent.poll_transmit()).collect::<Vec<_>>();
    assert!(!sent.is_empty());
    let before = world.events.len();
    for transmit in sent {
        world.throw("desktop", from, to, &transmit.bytes);
    }
    let told: Vec<_> = world.events[before..].iter().map(|(_, _, event)| event.clone()).collect();
    assert!(told.iter().all(|event| matches!(event, Event::Rejected { .. })), "{told:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_bytes_from_anywhere_panic_or_change_the_call(
        strays in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..200)), 1..20)
    ) {
        let mut world = World::new(one_lan(), Signal::InBand, 3);
        world.start();
        world.run_until(Duration::from_millis(300));
        // Also from the very address of the other peer, as a forger would.
        let (laptop, desktop) = (world.sockets("laptop")[0], world.sockets("desktop")[0]);
        for (forged, bytes) in strays {
            let from = if forged { laptop } else { "198.18.1.99:9".parse().unwrap() };
            world.throw("desktop", from, desktop, &bytes);
        }
        world.run_until(Duration::from_millis(600));
        let closed = world.events.iter().any(|(_, _, event)| matches!(event, Event::ConnectionClosed { .. }));
        prop_assert!(!closed);
        prop_assert!(world.arrivals("desktop").len() >= 20);
    }
}
