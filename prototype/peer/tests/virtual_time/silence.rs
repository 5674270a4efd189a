//! Losses that nothing tells: found by the pause itself at either end, and never taken for one when it is only jitter.

use crate::world::{Signal, World, host, notes_topology};
use netmodel::{NetworkSpec, Topology};
use peer::{DetectedBy, Event, PathState};
use std::time::Duration;

const LOSS: Duration = Duration::from_secs(6);

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Two paths of 40 ms round trip; `jitter` on every link of the first one and of the second one.
fn two_paths(wifi: Duration, cellular: Duration) -> Topology {
    let notes = notes_topology();
    let with = |name: &str, delay: Duration, jitter: Duration| {
        let spec = notes.networks.iter().find(|spec| spec.name == "home").unwrap();
        let mut spec = NetworkSpec { name: name.into(), ..spec.clone() };
        for link in [&mut spec.up, &mut spec.down] {
            link.delay = delay;
            link.jitter = jitter;
        }
        spec
    };
    Topology {
        networks: vec![
            with("home", millis(10), wifi),
            with("o2", millis(10), cellular),
            with("wired", millis(10), Duration::ZERO),
        ],
        hosts: vec![
            host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
            host("desktop", &[("eth0", "wired")]),
        ],
        servers: notes.servers,
    }
}

fn plain() -> Topology {
    two_paths(Duration::ZERO, Duration::ZERO)
}

fn begin(topology: Topology, seed: u64) -> World {
    let mut world = World::new(topology, Signal::Rendezvous, seed);
    world.start();
    world
}

fn detections(world: &World, after: Duration) -> Vec<(Duration, String, DetectedBy)> {
    let detected = |(t, host, event): &(Duration, String, Event)| match event {
        Event::Detected { by, .. } if *t >= after => Some((*t, host.clone(), *by)),
        _ => None,
    };
    world.events.iter().filter_map(detected).collect()
}

/// Interruptions of twenty seeds: up and down, sorted.
fn interruptions(topology: impl Fn() -> Topology, befall: impl Fn(&mut World)) -> [Vec<Duration>; 2] {
    let mut found = [vec![], vec![]];
    for seed in 0..20 {
        let mut world = begin(topology(), seed);
        world.run_until(LOSS);
        befall(&mut world);
        world.run_until(LOSS + Duration::from_secs(6));
        assert_eq!(world.connections().len(), 2, "seed {seed}: the same connection");
        for (place, host) in ["desktop", "laptop"].into_iter().enumerate() {
            found[place].push(world.interruption(host, LOSS));
            let last = world.arrivals(host).last().unwrap().0;
            assert!(last > LOSS + millis(5_900), "seed {seed}: {host} hears until the end");
        }
    }
    found.iter_mut().for_each(|all| all.sort());
    found
}

fn tell(what: &str, found: &[Vec<Duration>; 2]) {
    for (direction, all) in ["up", "down"].iter().zip(found) {
        println!("{what}, {direction}: median {:?}, worst {:?}", all[all.len() / 2], all[all.len() - 1]);
    }
}

fn assert_within(what: &str, found: &[Vec<Duration>; 2], limit: Duration) {
    tell(what, found);
    for all in found {
        assert!(all[all.len() - 1] <= limit, "{what}: {all:?}");
    }
}

#[test]
fn silence_on_the_client_s_interface_is_found_by_the_pause() {
    let found = interruptions(plain, |world| world.silence("laptop", "wlan0", true));
    assert_within("silent at the client", &found, millis(200));
    let mut world = begin(plain(), 1);
    world.run_until(LOSS);
    world.silence("laptop", "wlan0", true);
    world.run_until(LOSS + millis(400));
    let found = detections(&world, LOSS);
    let (_, _, by) = &found[0];
    assert_eq!(*by, DetectedBy::ReceiveSilence, "{found:?}");
}

#[test]
fn a_loss_of_one_direction_only_is_found_by_the_end_that_hears_nothing() {
    let deaf = interruptions(plain, |world| world.deafen("laptop", "wlan0"));
    assert_within("the client deaf", &deaf, millis(200));
    let mute = interruptions(plain, |world| world.mute("laptop", "wlan0"));
    assert_within("the client mute", &mute, millis(200));
}

#[test]
fn silence_on_the_server_s_interface_is_found_by_the_pause() {
    let topology = || {
        let mut topology = two_paths(Duration::ZERO, Duration::ZERO);
        topology.hosts = vec![
            host("laptop", &[("eth0", "wired")]),
            host("desktop", &[("wlan0", "home"), ("wwan0", "o2")]),
        ];
        topology
    };
    let found = interruptions(topology, |world| world.silence("desktop", "wlan0", true));
    assert_within("silent at the server", &found, millis(200));
}

#[test]
fn a_lost_carrier_is_told_and_costs_no_more_than_a_round_trip() {
    let found = interruptions(plain, |world| {
        world.reach("laptop", "wlan0", false);
        world.tell_interface("laptop", "wlan0", true, false);
    });
    assert_within("carrier lost", &found, millis(50));
}

/// IPv4 behind NATs, to a server that anybody can reach.
fn behind_nats() -> Topology {
    let mut topology = plain();
    topology.networks.iter_mut().for_each(|network| network.ipv6 = netmodel::Ipv6Access::None);
    topology.networks[2].nat = None;
    topology
}

#[test]
fn a_path_whose_nat_forgets_it_goes_on_from_another_address() {
    let found = interruptions(behind_nats, |world| world.rebind("home"));
    assert_within("NAT rebinding", &found, millis(150));

    let mut world = begin(behind_nats(), 3);
    world.run_until(LOSS);
    world.rebind("home");
    world.run_until(LOSS + Duration::from_secs(20));
    assert_eq!(detections(&world, LOSS), [], "the old pair goes down without disturbing the path");
    let told: Vec<_> = world.paths("desktop").into_iter().filter(|(t, _)| *t >= LOSS).collect();
    let [(t, view)] = told[..] else { panic!("one path goes on from another address: {told:?}") };
    assert_eq!((view.path, view.state), (0, PathState::Active));
    assert!(t < LOSS + millis(100), "{t:?}");
    let (_, before) = world.paths("desktop").into_iter().find(|(_, view)| view.path == 0).unwrap();
    assert_ne!(view.remote, before.remote);
    assert_ne!(view.pair, before.pair);
}

#[test]
fn the_only_path_survives_that_its_nat_forgets_it_and_another_address() {
    let topology = || {
        let mut topology = behind_nats();
        topology.hosts[0] = host("laptop", &[("wlan0", "home")]);
        topology
    };
    let rebound = interruptions(topology, |world| world.rebind("home"));
    assert_within("NAT rebinding, the only path", &rebound, millis(150));
    let readdressed = interruptions(topology, |world| world.readdress("laptop", "wlan0"));
    assert_within("other addresses, the only path", &readdressed, millis(300));
}

#[test]
fn an_interface_that_gets_other_addresses_carries_the_call_again() {
    let found = interruptions(plain, |world| world.readdress("laptop", "wlan0"));
    assert_within("other addresses", &found, millis(50));
    let mut world = begin(plain(), 3);
    world.run_until(LOSS);
    world.readdress("laptop", "wlan0");
    world.run_until(LOSS + Duration::from_secs(5));
    let (_, last) =
        world.paths("laptop").into_iter().rfind(|(_, view)| view.state == PathState::Active).unwrap();
    assert_eq!(last.interface, "wlan0");
    let server = interruptions(plain, |world| world.readdress("desktop", "eth0"));
    assert_within("other addresses at the server, its only ones", &server, millis(500));
}

#[test]
fn wifi_off_and_on_again_returns_by_policy_and_unheard() {
    for seed in 0..20 {
        let mut world = begin(plain(), seed);
        world.run_until(LOSS);
        world.down("laptop", "wlan0");
        let back = LOSS + Duration::from_secs(2);
        world.run_until(back);
        world.up("laptop", "wlan0");
        world.run_until(back + Duration::from_secs(5));
        let (t, last) =
            world.paths("laptop").into_iter().rfind(|(_, view)| view.state == PathState::Active).unwrap();
        assert_eq!(last.interface, "wlan0", "seed {seed}");
        assert!(t < back + Duration::from_secs(1), "seed {seed}: {t:?}");
        for host in ["laptop", "desktop"] {
            let gap = world.longest_gap(host, back, back + Duration::from_secs(5));
            assert!(gap <= millis(45), "seed {seed}: {host} hears of the return: {gap:?}");
        }
    }
}

#[test]
fn both_interfaces_gone_and_back_is_the_same_call() {
    for gone in [millis(500), millis(3000)] {
        let mut world = begin(plain(), 1);
        world.run_until(LOSS);
        ["wlan0", "wwan0"].iter().for_each(|interface| world.down("laptop", interface));
        let back = LOSS + gone;
        world.run_until(back);
        ["wlan0", "wwan0"].iter().for_each(|interface| world.up("laptop", interface));
        world.run_until(back + Duration::from_secs(6));
        assert_eq!(world.connections().len(), 2, "gone for {gone:?}: the same connection");
        for host in ["laptop", "desktop"] {
            let heard = world.arrivals(host).into_iter().map(|(t, _)| t).find(|t| *t > back).unwrap();
            println!("both gone for {gone:?}: {host} hears again {:?} after they are back", heard - back);
            assert!(heard <= back + Duration::from_secs(1), "{host}: {heard:?}");
        }
    }
}

/// Runs for long, in pieces, and keeps only what was detected.
fn watch(world: &mut World, until: Duration) -> Vec<(Duration, String, DetectedBy)> {
    let mut found = vec![];
    let mut t = Duration::ZERO;
    while t < until {
        t = until.min(t + Duration::from_secs(10));
        world.run_until(t);
        found.extend(detections(world, Duration::ZERO));
        world.events.clear();
    }
    found
}

const JITTER: Duration = Duration::from_millis(30);
/// Of each kind in every test run; the hour is asked for by name, see the Makefile.
const WHILE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// What is not lost, by kind: nothing may be detected on any of them, by pauses or by checks.
fn false_alarms(kind: &str, seed: u64, duration: Duration) -> Vec<(Duration, String, DetectedBy)> {
    let (wifi, cellular, call) = match kind {
        "call" => (JITTER, Duration::ZERO, true),
        "standby" => (Duration::ZERO, JITTER, true),
        "both" => (JITTER, JITTER, true),
        "paused" => (JITTER, JITTER, false),
        other => panic!("no kind {other}"),
    };
    let configure = |config: &mut peer::PeerConfig| {
        config.call = config.call.filter(|_| call);
    };
    let topology = two_paths(wifi, cellular);
    let mut world = World::with(topology, Signal::Rendezvous, seed, |_| {}, configure);
    world.start();
    watch(&mut world, duration)
}

#[test]
fn jitter_is_no_loss() {
    for (seed, kind) in ["call", "standby", "both", "paused"].into_iter().enumerate() {
        assert_eq!(false_alarms(kind, seed as u64, WHILE), [], "{kind}");
    }
}

#[test]
#[ignore = "an hour of each kind: with optimisation, by `make test-long`"]
fn an_hour_of_jitter_is_no_loss() {
    for (seed, kind) in ["call", "standby", "both", "paused"].into_iter().enumerate() {
        assert_eq!(false_alarms(kind, seed as u64, HOUR), [], "{kind}");
    }
}

#[test]
fn a_path_that_becomes_slower_is_not_lost() {
    for (host, seed) in
        ["laptop", "desktop"].into_iter().flat_map(|host| (0..5).map(move |seed| (host, seed)))
    {
        let interface = if host == "laptop" { "wlan0" } else { "eth0" };
        let mut world = begin(plain(), seed);
        world.run_until(LOSS);
        for step in 1..=4 {
            world.slow_down(host, interface, millis(50 * step));
            world.run_until(LOSS + Duration::from_secs(5 * step));
        }
        assert_eq!(detections(&world, LOSS), [], "{host}, seed {seed}");
    }
}

/// A process that is stopped hears nothing, and nobody hears it; that says nothing of any path.
#[test]
fn a_process_that_stands_still_is_no_loss() {
    for (host, seed) in
        ["laptop", "desktop"].into_iter().flat_map(|host| (0..5).map(move |seed| (host, seed)))
    {
        let mut world = begin(plain(), seed);
        world.run_until(LOSS);
        let mut t = LOSS;
        for pause in [30, 60, 100, 150] {
            world.freeze(host, t + millis(pause));
            t += Duration::from_secs(1);
            world.run_until(t);
        }
        let silent: Vec<_> = detections(&world, LOSS)
            .into_iter()
            .filter(|(_, _, by)| *by == DetectedBy::ReceiveSilence)
            .collect();
        assert_eq!(silent, [], "{host}, seed {seed}");
    }
}
