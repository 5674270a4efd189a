//! Calls over TURN relays: alone, and beside direct paths that come and go.

use crate::world::{Signal, World, addresses, host};
use netmodel::{
    Dependence, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, PortAssignment, ServerSpec, Topology,
};
use peer::{CandidateKind, Event, PathState, RelayNews};
use proptest::{prelude::*, test_runner::RngSeed};
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn server(name: &str) -> ServerSpec {
    ServerSpec::new(name, ms(15))
}

/// Both ends behind NATs with one mapping for each destination (RFC 4787 section 4.1): no hole can be punched.
pub(crate) fn symmetric() -> Topology {
    let network = |name: &str, delay| NetworkSpec {
        nat: Some(NatSpec {
            mapping: Dependence::AddressAndPortDependent,
            ports: PortAssignment::Random,
            ..NatSpec::new(NatKind::Home)
        }),
        ipv6: Ipv6Access::None,
        ..NetworkSpec::new(name, LinkSpec::with_delay(ms(delay)))
    };
    Topology {
        networks: vec![network("home", 4), network("o2", 15), network("telekom", 15)],
        hosts: vec![
            host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
            host("desktop", &[("wwan0", "telekom")]),
        ],
        servers: vec![server("meet"), server("relay")],
    }
}

pub(crate) fn active_kinds(world: &World, of: &str) -> Vec<CandidateKind> {
    let paths = world.paths(of).into_iter();
    paths.filter(|(_, view)| view.state == PathState::Active).map(|(_, view)| view.candidate).collect()
}

fn allocated(world: &World, at: &str) -> usize {
    let is_one = |event: &Event| matches!(event, Event::Relay { news: RelayNews::Allocated { .. }, .. });
    world.events.iter().filter(|(_, host, event)| host == at && is_one(event)).count()
}

#[test]
fn where_no_direct_path_exists_the_call_goes_over_the_relay() {
    for seed in 0..5 {
        let mut world = World::new(symmetric(), Signal::Rendezvous, seed);
        world.start();
        world.run_until(secs(20));
        assert_eq!(world.connections().len(), 2, "{:?}", world.hosts["laptop"].outcome);
        for (at, interfaces) in [("laptop", 2), ("desktop", 1)] {
            assert_eq!(allocated(&world, at), interfaces, "{at}: one on each interface");
            assert!(world.longest_gap(at, secs(2), secs(20)) < ms(80), "seed {seed}, {at}");
            let kinds = active_kinds(&world, at);
            assert!(kinds.iter().all(|kind| *kind == CandidateKind::Relay), "{at}: {kinds:?}");
        }
        let bound = |(_, _, event): &&(Duration, String, Event)| {
            matches!(event, Event::Relay { news: RelayNews::Bound(_), .. })
        };
        assert!(world.events.iter().any(|event| bound(&event)), "a channel is bound");
    }
}

/// What may befall an interface, or a carrier.
#[derive(Debug, Clone, Copy)]
enum Blow {
    Down(usize),
    Up(usize),
    Renumber(usize),
    BlockPeerToPeer,
    Unblock,
    Rebind,
}

const INTERFACES: [(&str, &str); 4] =
    [("laptop", "wlan0"), ("laptop", "wwan0"), ("desktop", "wlan0"), ("desktop", "wwan0")];

fn blow() -> impl Strategy<Value = Blow> {
    prop_oneof![
        (0..INTERFACES.len()).prop_map(Blow::Down),
        (0..INTERFACES.len()).prop_map(Blow::Up),
        (0..INTERFACES.len()).prop_map(Blow::Renumber),
        Just(Blow::BlockPeerToPeer),
        Just(Blow::Unblock),
        Just(Blow::Rebind),
    ]
}

fn befall(world: &mut World, blow: Blow, up: &mut [bool; 4]) {
    match blow {
        Blow::Down(place) if up[place] => {
            up[place] = false;
            world.down(INTERFACES[place].0, INTERFACES[place].1);
        }
        Blow::Up(place) if !up[place] => {
            up[place] = true;
            world.up(INTERFACES[place].0, INTERFACES[place].1);
        }
        Blow::Renumber(place) if up[place] => world.readdress(INTERFACES[place].0, INTERFACES[place].1),
        Blow::BlockPeerToPeer => {
            world.block_peer_to_peer("telekom");
        }
        Blow::Unblock => {
            world.filter("telekom", vec![]);
        }
        Blow::Rebind => world.rebind("home"),
        Blow::Down(_) | Blow::Up(_) | Blow::Renumber(_) => {}
    }
}

/// The addresses between which the payload of one end goes, at last.
fn in_use(world: &World, of: &str) -> Option<peer::PathView> {
    let mut active = None;
    for (_, view) in world.paths(of) {
        match view.state {
            PathState::Active => active = Some(view.clone()),
            PathState::Closed
                if active.as_ref().is_some_and(|active: &peer::PathView| active.path == view.path) =>
            {
                active = None;
            }
            _ => {}
        }
    }
    active
}

proptest! {
    // The same cases every time: each is a call of a minute, and only few of them are affordable.
    #![proptest_config(ProptestConfig {
        cases: 12,
        max_shrink_iters: 60,
        rng_seed: RngSeed::Fixed(8445),
        ..ProptestConfig::default()
    })]

    #[test]
    fn after_any_blows_both_ends_agree_on_a_path_that_carries_the_call(
        seed in 0..1000u64,
        blows in prop::collection::vec((blow(), 20..2000u64), 0..12),
    ) {
        let mut topology = symmetric();
        topology.hosts = vec![
            host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
            host("desktop", &[("wlan0", "home"), ("wwan0", "telekom")]),
        ];
        let mut world = World::new(topology, Signal::Rendezvous, seed);
        world.start();
        let (mut now, mut up) = (secs(3), [true; 4]);
        world.run_until(now);
        for (blow, wait) in blows {
            befall(&mut world, blow, &mut up);
            now += ms(wait);
            world.run_until(now);
        }
        for (place, (host, interface)) in INTERFACES.into_iter().enumerate() {
            if !up[place] {
                world.up(host, interface);
            }
        }
        let end = now + secs(12);
        world.run_until(end);
        prop_assert_eq!(world.hosts["laptop"].outcome.as_ref(), None);
        for at in ["laptop", "desktop"] {
            let gap = world.longest_gap(at, end - secs(2), end);
            prop_assert!(gap < ms(200), "{} heard nothing for {:?}", at, gap);
        }
        let (client, server) = (in_use(&world, "laptop").unwrap(), in_use(&world, "desktop").unwrap());
        prop_assert_eq!(client.candidate == CandidateKind::Relay, server.candidate == CandidateKind::Relay);
        // The address that a NAT gave for this destination alone is nobody's candidate, and has no interface.
        let names = |named: &Option<String>, interface: &str| named.as_ref().is_none_or(|name| name == interface);
        prop_assert!(names(&server.remote_interface, &client.interface), "{:?} {:?}", client, server);
        prop_assert!(names(&client.remote_interface, &server.interface), "{:?} {:?}", client, server);
    }
}

/// The client uses the first path that is validated, and a better one half a millisecond later; the server, which validates
/// them in the other order, hears both words before it knows the first path.
#[test]
fn a_word_of_use_that_came_too_early_does_not_outlive_a_newer_one() {
    let mut topology = symmetric();
    topology.hosts = vec![
        host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
        host("desktop", &[("wlan0", "home"), ("wwan0", "telekom")]),
    ];
    for seed in 0..6 {
        let mut world = World::new(topology.clone(), Signal::Rendezvous, seed);
        world.start();
        world.run_until(secs(3));
        world.rebind("home");
        world.run_until(ms(4345));
        world.readdress("desktop", "wlan0");
        world.run_until(secs(10));
        let [client, server] = ["laptop", "desktop"].map(|at| in_use(&world, at).unwrap().candidate);
        assert_eq!((client, server), (CandidateKind::Host, CandidateKind::Host), "seed {seed}");
    }
}

/// What it says while it has no path at all goes out on the one that the engine kept as its last, into the void.
#[test]
fn who_lost_all_paths_at_once_is_heard_again_on_the_next() {
    let mut topology = symmetric();
    topology.hosts = vec![
        host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
        host("desktop", &[("wlan0", "home"), ("wwan0", "telekom")]),
    ];
    for seed in 0..4 {
        let mut world = World::new(topology.clone(), Signal::Rendezvous, seed);
        world.start();
        world.run_until(secs(3));
        world.readdress("desktop", "wlan0");
        world.run_until(secs(5));
        let used = in_use(&world, "laptop").unwrap();
        assert_eq!(used.remote_interface.as_deref(), Some("wlan0"), "seed {seed}: {used:?}");
    }
}

/// Both ends meet at relays as WhatsApp has them: the one that carries the call falls silent, and nobody is told.
#[test]
fn a_call_moves_to_another_relay_of_its_own_kind() {
    for seed in 0..4 {
        let mut topology = symmetric();
        topology.servers = ["meet", "call-1", "call-2"].map(server).into();
        let mut world = World::new(topology, Signal::Rendezvous, seed);
        world.start();
        world.run_until(secs(10));
        assert_eq!(world.connections().len(), 2, "{:?}", world.hosts["laptop"].outcome);
        let carrying = |world: &World, at: &str| {
            let used = in_use(world, at).unwrap();
            assert_eq!(used.candidate, CandidateKind::Relay, "seed {seed}, {at}: {used:?}");
            let servers = ["call-1", "call-2"];
            let is_its = |name: &&str| {
                let port = world.plan.server(name).unwrap().id;
                addresses(&world.plan, port).contains(&used.remote.ip())
            };
            servers.into_iter().find(is_its).unwrap_or_else(|| panic!("over neither: {used:?}"))
        };
        let first = carrying(&world, "laptop");
        assert_eq!(carrying(&world, "desktop"), first, "seed {seed}");
        for at in ["laptop", "desktop"] {
            assert!(world.longest_gap(at, secs(3), secs(10)) < ms(80), "seed {seed}, {at}");
        }
        world.call_relays.kill(first);
        world.run_until(secs(20));
        assert_eq!(world.connections().len(), 2, "the same connection");
        for at in ["laptop", "desktop"] {
            assert_ne!(carrying(&world, at), first, "seed {seed}, {at}");
            let gap = world.interruption(at, secs(10));
            assert!(gap < ms(600), "seed {seed}, {at}: {gap:?}");
        }
    }
}
