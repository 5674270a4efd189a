//! What each policy preset does in a call, with a relay at hand, and what commands change while it runs.

use crate::{
    relays::server,
    world::{Signal, World, host, notes_topology, one_lan},
};
use netmodel::Topology;
use peer::{
    CandidateKind, Event, InterfaceKind, PathState, PathStatus, PathView, PeerConfig, Policy, StopReason,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// As in the notes, with a relay.
fn notes_with_relay() -> Topology {
    let mut topology = notes_topology();
    topology.servers.push(server("relay"));
    topology
}

fn with(policy: &str) -> impl Fn(&mut PeerConfig) {
    let policy: Policy = policy.parse().unwrap();
    move |config| config.policy = policy.clone()
}

fn run(topology: Topology, policy: &str, seed: u64) -> World {
    let mut world = World::with(topology, Signal::Rendezvous, seed, |_| {}, with(policy));
    world.start();
    world
}

/// Checks sent by the client between two moments, retransmissions counted, by interface and destination.
fn checks(world: &World, from: Duration, until: Duration) -> BTreeMap<(String, std::net::SocketAddr), u32> {
    let mut checks = BTreeMap::new();
    for (t, host, event) in &world.events {
        if let Event::CheckSent { pair: Some(_), interface, remote, .. } = event
            && host == "laptop"
            && (from..until).contains(t)
        {
            *checks.entry((interface.clone(), *remote)).or_default() += 1;
        }
    }
    checks
}

/// Checks sent by the client on each pair, and how many were answered.
fn by_pair(world: &World) -> BTreeMap<u32, (u32, u32)> {
    let mut pairs: BTreeMap<u32, (u32, u32)> = BTreeMap::new();
    for (_, _, event) in world.events.iter().filter(|(_, host, _)| host == "laptop") {
        match event {
            Event::CheckSent { pair: Some(pair), .. } => pairs.entry(*pair).or_default().0 += 1,
            Event::CheckAnswered { pair: Some(pair), .. } => pairs.entry(*pair).or_default().1 += 1,
            _ => {}
        }
    }
    pairs
}

fn checked_interfaces(world: &World, from: Duration, until: Duration) -> BTreeSet<String> {
    checks(world, from, until).into_keys().map(|(interface, _)| interface).collect()
}

/// When the client stopped probing which pair for this reason.
fn stopped(world: &World, why: StopReason) -> Vec<(Duration, u32)> {
    let of = |(t, host, event): &(Duration, String, Event)| match event {
        Event::ProbingStopped { pair, why: cause, .. } if host == "laptop" && *cause == why => {
            Some((*t, *pair))
        }
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

/// The client's paths that are open at a moment.
fn open(world: &World, at: Duration) -> Vec<PathView> {
    let mut paths: BTreeMap<u64, PathView> = BTreeMap::new();
    for (_, view) in world.paths("laptop").into_iter().filter(|(t, _)| *t <= at) {
        paths.insert(view.path, view.clone());
    }
    paths.into_values().filter(|view| !matches!(view.state, PathState::Closed | PathState::Opening)).collect()
}

fn active(world: &World, at: Duration) -> Option<PathView> {
    open(world, at).into_iter().find(|view| view.state == PathState::Active)
}

#[test]
fn whatsapp_has_nothing_on_cellular_until_wifi_is_gone_and_then_the_relay() {
    for seed in 0..5 {
        let mut world = run(notes_with_relay(), "whatsapp", seed);
        world.run_until(secs(15));
        let (before, off) = (active(&world, secs(15)).unwrap(), secs(15));
        assert_eq!(before.interface_kind, InterfaceKind::Wifi);
        assert_ne!(before.candidate, CandidateKind::Relay, "seed {seed}");
        assert_eq!(checked_interfaces(&world, Duration::ZERO, off), ["wlan0".to_owned()].into());
        let dead = by_pair(&world).into_values().filter(|(_, answered)| *answered == 0);
        let most = dead.map(|(sent, _)| sent).max();
        assert_eq!(most, Some(20), "its budget");
        world.down("laptop", "wlan0");
        world.run_until(secs(30));
        let after = active(&world, secs(30)).unwrap();
        assert_eq!(
            (after.interface.as_str(), after.candidate),
            ("wwan0", CandidateKind::Relay),
            "seed {seed}"
        );
        let interruption = world.interruption("laptop", off).max(world.interruption("desktop", off));
        assert!(interruption > ms(150) && interruption < secs(3), "cold: {interruption:?}");
        assert_eq!(world.connections().len(), 2, "the same connection");
        world.up("laptop", "wlan0");
        world.run_until(secs(45));
        let returned = active(&world, secs(45)).unwrap();
        assert_eq!((returned.interface.as_str(), returned.candidate), ("wlan0", CandidateKind::Relay));
        for at in ["laptop", "desktop"] {
            let gap = world.longest_gap(at, secs(29), secs(45));
            assert!(gap < ms(100), "seed {seed}: the way back costs {at} {gap:?}");
        }
    }
}

#[test]
fn where_the_direct_path_is_blocked_the_relay_takes_over_and_gives_back() {
    for seed in 0..5 {
        let mut world = run(notes_with_relay(), "multipath", seed);
        world.run_until(secs(10));
        let kinds: BTreeSet<_> = open(&world, secs(10)).iter().map(|view| view.candidate).collect();
        assert!(kinds.contains(&CandidateKind::Relay) && kinds.len() > 1, "a relay in reserve: {kinds:?}");
        assert_ne!(active(&world, secs(10)).unwrap().candidate, CandidateKind::Relay);
        let carriers = world.block_peer_to_peer("telekom");
        world.run_until(secs(20));
        assert_eq!(active(&world, secs(20)).unwrap().candidate, CandidateKind::Relay, "seed {seed}");
        let interruption =
            world.interruption("laptop", secs(10)).max(world.interruption("desktop", secs(10)));
        assert!(interruption < ms(300), "seed {seed}: {interruption:?}");
        world.filter("telekom", carriers);
        world.run_until(secs(30));
        assert_ne!(active(&world, secs(30)).unwrap().candidate, CandidateKind::Relay, "seed {seed}");
        assert!(world.longest_gap("laptop", secs(20), secs(30)) < ms(80), "the way back costs nothing");
        assert_eq!(world.connections().len(), 2, "the same connection");
    }
}

#[test]
fn rfc8445_stops_with_the_nominated_pair_and_keeps_no_other() {
    for seed in 0..5 {
        let mut world = run(notes_with_relay(), "rfc8445", seed);
        world.run_until(secs(60));
        let open = open(&world, secs(60));
        assert_eq!(open.len(), 1, "seed {seed}: {open:?}");
        assert!(open[0].state == PathState::Active && open[0].candidate != CandidateKind::Relay, "{open:?}");
        // One pair, every 4 to 6 s (RFC 7675 section 5.1).
        let late = checks(&world, secs(30), secs(60));
        assert_eq!(late.len(), 1, "{late:?}");
        assert!((5..=8).contains(late.values().next().unwrap()), "{late:?}");
    }
}

#[test]
fn quickshare_is_on_the_local_network_or_nowhere() {
    let mut topology = one_lan();
    topology.networks.push(netmodel::NetworkSpec::new("cell", netmodel::LinkSpec::with_delay(ms(10))));
    topology.hosts =
        vec![host("laptop", &[("wlan0", "lan"), ("wwan0", "cell")]), host("desktop", &[("wlan0", "lan")])];
    topology.servers = vec![server("relay")];
    let mut world = World::with(topology, Signal::InBand, 1, |_| {}, with("quickshare"));
    world.start();
    world.run_until(secs(10));
    assert_eq!(active(&world, secs(10)).unwrap().interface, "wlan0");
    assert_eq!(checked_interfaces(&world, Duration::ZERO, secs(10)), ["wlan0".to_owned()].into());
    let asked = |(_, _, event): &(Duration, String, Event)| matches!(event, Event::Relay { .. });
    assert!(!world.events.iter().any(asked), "no server is asked");
    world.down("laptop", "wlan0");
    world.run_until(secs(20));
    assert_eq!(active(&world, secs(20)), None, "cellular is never used");
}

#[test]
fn the_prototype_of_2024_holds_one_spare() {
    for seed in 0..5 {
        let mut world = run(notes_with_relay(), "prototype-2024", seed);
        world.run_until(secs(15));
        let before = open(&world, secs(15));
        assert!((1..=2).contains(&before.len()), "seed {seed}: {before:?}");
        let usable: BTreeSet<_> = checks(&world, secs(10), secs(15)).into_keys().collect();
        assert_eq!(usable.len(), 2, "the one in use and its spare: {usable:?}");
    }
}

/// Everything is so far away that more than one pair is checked before the first answer can be there.
fn far_away() -> Topology {
    let mut topology = notes_with_relay();
    for link in topology.networks.iter_mut().flat_map(|network| [&mut network.up, &mut network.down]) {
        link.delay = ms(150);
    }
    topology
}

#[test]
fn what_is_being_probed_when_the_aim_is_reached_is_probed_no_longer() {
    let aims = [
        ("whatsapp", StopReason::DirectPath),
        ("prototype-2024", StopReason::DirectPath),
        ("rfc8445", StopReason::Nominated),
    ];
    for (policy, why) in aims {
        for seed in 0..5 {
            let mut world = run(far_away(), policy, seed);
            world.run_until(secs(20));
            let stopped = stopped(&world, why);
            assert!(!stopped.is_empty(), "{policy}, seed {seed}: {:?}", by_pair(&world));
            for (at, stopped) in stopped {
                let checked = |(t, host, event): &(Duration, String, Event)| {
                    matches!(event, Event::CheckSent { pair: Some(pair), .. } if *pair == stopped)
                        && host == "laptop"
                        && *t > at
                };
                assert!(
                    !world.events.iter().any(checked),
                    "{policy}, seed {seed}: pair {stopped} since {at:?}"
                );
            }
        }
    }
}

#[test]
fn a_policy_may_change_while_it_runs() {
    let mut world = run(notes_with_relay(), "multipath", 3);
    world.run_until(secs(10));
    let many = open(&world, secs(10)).len();
    assert!(many >= 3, "{many}");
    for host in ["laptop", "desktop"] {
        world.command(host, |peer, now| peer.set_policy(now, Policy::whatsapp()));
    }
    world.run_until(secs(30));
    let few = open(&world, secs(30));
    assert!(few.len() <= 2, "{few:?}");
    assert_eq!(active(&world, secs(30)).unwrap().interface, "wlan0");
    assert_eq!(checked_interfaces(&world, secs(25), secs(30)), ["wlan0".to_owned()].into());
    for host in ["laptop", "desktop"] {
        world.command(host, |peer, now| peer.set_policy(now, Policy::multipath()));
    }
    world.run_until(secs(40));
    assert_eq!(open(&world, secs(40)).len(), many);
    assert!(world.longest_gap("laptop", secs(5), secs(40)) < ms(80), "nothing is lost for it");
    let told: Vec<String> = world
        .events
        .iter()
        .filter_map(|(_, host, event)| match event {
            Event::Policy { policy } if host == "laptop" => Some(policy.clone()),
            _ => None,
        })
        .collect();
    assert_eq!(told, ["multipath", "whatsapp", "multipath"]);
}

#[test]
fn paths_of_an_interface_are_kept_back_closed_and_preferred_by_command() {
    let mut world = run(notes_with_relay(), "multipath", 4);
    let interface = |world: &World, at| active(world, secs(at)).map(|view| view.interface);
    world.run_until(secs(5));
    assert_eq!(interface(&world, 5).as_deref(), Some("wlan0"));
    world.command("laptop", |peer, now| peer.set_path_status(now, "wlan0", PathStatus::Backup));
    world.run_until(secs(10));
    assert_eq!(interface(&world, 10).as_deref(), Some("wwan0"), "wlan0 is only a reserve");
    assert!(open(&world, secs(10)).iter().any(|view| view.interface == "wlan0"), "but it is one");
    world.command("laptop", |peer, now| peer.set_path_status(now, "wwan0", PathStatus::Closed));
    world.run_until(secs(15));
    assert_eq!(interface(&world, 15).as_deref(), Some("wlan0"));
    assert!(open(&world, secs(15)).iter().all(|view| view.interface == "wlan0"));
    assert_eq!(checked_interfaces(&world, secs(11), secs(15)), ["wlan0".to_owned()].into());
    for name in ["wlan0", "wwan0"] {
        world.command("laptop", |peer, now| peer.set_path_status(now, name, PathStatus::Available));
    }
    world.run_until(secs(20));
    assert_eq!(interface(&world, 20).as_deref(), Some("wlan0"), "as at the beginning");
    assert!(open(&world, secs(20)).iter().any(|view| view.interface == "wwan0"));
    world.command("laptop", |peer, now| peer.set_priority(now, "wwan0", 65_535));
    world.run_until(secs(25));
    assert_eq!(interface(&world, 25).as_deref(), Some("wwan0"));
    assert!(world.longest_gap("desktop", secs(2), secs(25)) < ms(150), "nothing is lost for it");
    assert_eq!(world.connections().len(), 2, "the same connection");
}
