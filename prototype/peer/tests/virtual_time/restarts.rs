//! Policies that answer the loss of the last path with an ICE restart (RFC 8445 section 9).

use crate::world::{Signal, World, host, notes_topology, one_lan};
use netmodel::Topology;
use peer::{Event, Outcome, PeerConfig, Policy};
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The client has the first policy, the server the second.
fn run(topology: Topology, signal: Signal, policies: [&str; 2], seed: u64) -> World {
    let [client, server]: [Policy; 2] = policies.map(|policy| policy.parse().unwrap());
    let configure = |config: &mut PeerConfig| {
        let is_client = matches!(config.role, peer::Role::Client { .. });
        config.policy = if is_client { client.clone() } else { server.clone() };
    };
    let mut world = World::with(topology, signal, seed, |_| {}, configure);
    world.start();
    world
}

/// When, where, to which session, why.
fn restarts(world: &World) -> Vec<(Duration, &str, u32, &'static str)> {
    let mut restarts = vec![];
    for (at, host, event) in &world.events {
        if let Event::Restarted { session, cause } = event {
            restarts.push((*at, host.as_str(), *session, *cause));
        }
    }
    restarts
}

fn interruption(world: &World, at: Duration) -> Duration {
    world.interruption("laptop", at).max(world.interruption("desktop", at))
}

#[test]
fn the_end_that_lost_its_path_restarts_the_other_follows_and_the_call_goes_on() {
    for seed in 0..5 {
        let mut world = run(notes_topology(), Signal::Rendezvous, ["rfc8445"; 2], seed);
        // Long enough for a rendezvous server and for NATs to forget who is quiet.
        world.run_until(secs(300));
        assert_eq!(restarts(&world), [], "seed {seed}: nothing was lost");
        world.down("laptop", "wlan0");
        world.run_until(secs(320));
        let restarts = restarts(&world);
        let told: Vec<_> =
            restarts.iter().map(|(_, host, session, cause)| (*host, *session, *cause)).collect();
        assert_eq!(
            told,
            [("laptop", 1, "no path was left"), ("desktop", 1, "the other peer restarted")],
            "seed {seed}"
        );
        // One way to the rendezvous server and on, behind carriers 15 ms each.
        let heard = restarts[1].0 - restarts[0].0;
        assert!(heard < ms(150), "seed {seed}: {heard:?}");
        let interruption = interruption(&world, secs(300));
        assert!(interruption < secs(1), "seed {seed}: {interruption:?}");
        assert_eq!(world.connections().len(), 2, "the same connection");
    }
}

#[test]
fn a_loss_that_nothing_tells_of_leads_to_one_session_whoever_finds_it_first() {
    for seed in 0..3 {
        let mut world = run(notes_topology(), Signal::Rendezvous, ["rfc8445"; 2], seed);
        world.run_until(secs(30));
        world.reach("laptop", "wlan0", false);
        world.run_until(secs(120));
        let restarts = restarts(&world);
        let sessions: Vec<_> = restarts.iter().map(|(_, host, session, _)| (*host, *session)).collect();
        assert!(sessions.contains(&("laptop", 1)) && sessions.contains(&("desktop", 1)), "{restarts:?}");
        assert_eq!(sessions.len(), 2, "seed {seed}: {restarts:?}");
        let interruption = interruption(&world, secs(30));
        assert!(interruption < secs(30), "seed {seed}: {interruption:?}");
        assert_eq!(world.connections().len(), 2, "the same connection");
    }
}

#[test]
fn an_interface_that_returns_carries_the_restarted_session() {
    let mut world = run(notes_topology(), Signal::Rendezvous, ["rfc8445"; 2], 1);
    world.run_until(secs(30));
    world.down("desktop", "wwan0");
    world.run_until(secs(45));
    world.up("desktop", "wwan0");
    world.run_until(secs(60));
    let gap = world.longest_gap("laptop", secs(46), secs(60));
    assert!(gap < secs(1), "{gap:?}: {:?}", restarts(&world));
    assert_eq!(world.connections().len(), 2, "the same connection");
}

#[test]
fn an_end_of_another_policy_follows_a_restart() {
    let mut world = run(notes_topology(), Signal::Rendezvous, ["rfc8445", "multipath"], 2);
    world.run_until(secs(200));
    world.down("laptop", "wlan0");
    world.run_until(secs(220));
    let hosts: Vec<_> = restarts(&world).into_iter().map(|(_, host, session, _)| (host, session)).collect();
    assert_eq!(hosts, [("laptop", 1), ("desktop", 1)]);
    assert!(interruption(&world, secs(200)) < secs(1));
}

#[test]
fn without_a_rendezvous_nothing_could_tell_of_a_restart_and_there_is_none() {
    let mut topology = one_lan();
    topology.hosts[0] = host("laptop", &[("eth0", "lan"), ("wlan0", "lan")]);
    let mut world = run(topology, Signal::InBand, ["rfc8445"; 2], 3);
    world.run_until(secs(10));
    assert!(world.longest_gap("laptop", secs(2), secs(10)) < ms(100), "a call");
    world.down("laptop", "eth0");
    world.run_until(secs(100));
    assert_eq!(restarts(&world), []);
    assert!(matches!(world.hosts["laptop"].outcome, Some(Outcome::Unreachable { .. })));
}
