//! Checks in disguise, past a carrier that drops STUN, in a call whose QUIC packets begin like disguised checks.

use crate::world::{Signal, World, notes_topology};
use netmodel::{Block, BlockAnswer, BlockDirection, StunMatch};
use peer::{Disguise, Event, Role};
use std::time::Duration;

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Both carriers drop what looks like STUN, but let all else pass between peers.
fn filtered(matching: StunMatch, direction: BlockDirection) -> netmodel::Topology {
    let mut topology = notes_topology();
    for network in topology.networks.iter_mut().filter(|network| network.name != "home") {
        network.blocks = vec![Block::Stun { matching, direction, answer: BlockAnswer::Silence }];
    }
    topology
}

fn world(topology: netmodel::Topology, seed: u64, client: &[&str], server: &[&str]) -> World {
    let parse =
        |texts: &[&str]| -> Vec<Disguise> { texts.iter().map(|text| text.parse().unwrap()).collect() };
    let (client, server) = (parse(client), parse(server));
    let mut world = World::with(
        topology,
        Signal::Rendezvous,
        seed,
        |_| {},
        |config| {
            let is_client = matches!(config.role, Role::Client { .. });
            config.disguises = if is_client { client.clone() } else { server.clone() };
        },
    );
    world.start();
    world
}

fn rejected(world: &World) -> Vec<(String, &'static str)> {
    let of = |(_, host, event): &(Duration, String, Event)| match event {
        Event::Rejected { reason, .. } => Some((host.clone(), *reason)),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

#[test]
fn plain_checks_do_not_pass_a_cookie_filter_and_disguised_ones_do() {
    for direction in [BlockDirection::Both, BlockDirection::In, BlockDirection::Out] {
        let topology = filtered(StunMatch::Cookie, direction);
        let mut plain = world(topology.clone(), 1, &[], &[]);
        plain.run_until(secs(10));
        assert_eq!(plain.connections(), [], "{direction:?}");
        for rung in ["cookie", "first-byte-cookie", "scrambled-length", "xor"] {
            let mut world = world(topology.clone(), 1, &[rung], &[rung]);
            world.run_until(secs(10));
            assert_eq!(world.connections().len(), 2, "{direction:?} {rung}");
            for at in ["laptop", "desktop"] {
                assert!(world.longest_gap(at, secs(3), secs(10)) < Duration::from_millis(80), "{rung}");
            }
            assert_eq!(rejected(&world), [], "every QUIC packet reached QUIC, every check the agent");
        }
    }
}

#[test]
fn it_is_enough_that_one_end_is_disguised() {
    // The other answers in kind, and by then its triggered checks are not needed.
    for (client, server) in [(["first-byte-cookie"].as_slice(), [].as_slice()), (&[], &["first-byte-cookie"])]
    {
        let topology = filtered(StunMatch::Cookie, BlockDirection::Both);
        let mut world = world(topology, 2, client, server);
        world.run_until(secs(15));
        assert_eq!(world.connections().len(), 2, "{client:?} {server:?}");
    }
}

#[test]
fn a_disguise_may_be_put_on_while_it_runs_and_on_one_interface() {
    let topology = filtered(StunMatch::Cookie, BlockDirection::Both);
    let mut world = world(topology, 3, &["wlan0=xor"], &["xor"]);
    world.run_until(secs(10));
    let interfaces = |world: &World| -> Vec<String> {
        let up = |(_, host, event): &(Duration, String, Event)| match event {
            Event::Pair { view, state: peer::PairState::Up, .. } if host == "laptop" => {
                Some(view.interface.clone())
            }
            _ => None,
        };
        let mut interfaces: Vec<String> = world.events.iter().filter_map(up).collect();
        interfaces.sort();
        interfaces.dedup();
        interfaces
    };
    assert!(interfaces(&world).contains(&"wlan0".to_owned()), "{:?}", interfaces(&world));
    world.command("desktop", |peer, now| peer.set_disguise(now, "plain".parse().unwrap()));
    world.command("laptop", |peer, now| peer.set_disguise(now, "wlan0=plain".parse().unwrap()));
    world.run_until(secs(11));
    let down = |(t, _, event): &(Duration, String, Event)| {
        *t > secs(10) && matches!(event, Event::Pair { state: peer::PairState::Down, .. })
    };
    assert!(world.events.iter().any(down), "plain checks are lost");
    world.command("laptop", |peer, now| peer.set_disguise(now, "wlan0=cookie".parse().unwrap()));
    world.run_until(secs(20));
    let told = |(_, _, event): &(Duration, String, Event)| matches!(event, Event::Disguise(_));
    assert_eq!(world.events.iter().filter(|event| told(event)).count(), 2 + 3);
    let last = world.arrivals("laptop").last().unwrap().0;
    assert!(last > secs(19), "the call goes on: {last:?}");
}
