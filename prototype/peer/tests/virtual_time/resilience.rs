//! Worse than one interface lost: everything lost, lost in silence, lost too early, lost again and again.

use crate::world::{Signal, World, host, notes_topology};
use netmodel::Topology;
use peer::Event;
use std::time::Duration;

fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds)
}

fn cellular_only() -> Topology {
    let hosts = vec![host("laptop", &[("wwan0", "o2")]), host("desktop", &[("wwan0", "telekom")])];
    Topology { hosts, ..notes_topology() }
}

fn one_wifi() -> Topology {
    let hosts = vec![host("laptop", &[("wlan0", "home")]), host("desktop", &[("wlan0", "home")])];
    Topology { hosts, ..notes_topology() }
}

fn two_each() -> Topology {
    let hosts = vec![
        host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
        host("desktop", &[("wlan0", "home"), ("wwan0", "telekom")]),
    ];
    Topology { hosts, ..notes_topology() }
}

fn in_call(topology: Topology, signal: Signal) -> World {
    let mut world = World::new(topology, signal, 1);
    world.start();
    world.run_until(seconds(5.0));
    world
}

fn assert_heard(world: &World, from: f64, until: f64, what: &str) {
    for host in ["laptop", "desktop"] {
        let gap = world.longest_gap(host, seconds(from), seconds(until));
        assert!(gap <= Duration::from_millis(150), "{what}: {host} heard nothing for {gap:?} after {from} s");
    }
}

#[test]
fn the_only_path_vanishes_in_silence_and_comes_back() {
    for hole in [0.6, 3.0, 10.0, 20.0] {
        let mut world = in_call(cellular_only(), Signal::Rendezvous);
        world.reach("laptop", "wwan0", false);
        world.run_until(seconds(5.0 + hole));
        world.reach("laptop", "wwan0", true);
        world.run_until(seconds(5.0 + hole + 10.0));
        assert_eq!(world.connections().len(), 2, "hole of {hole} s: the same connection");
        assert_heard(&world, 5.0 + hole + 2.0, 5.0 + hole + 10.0, &format!("hole of {hole} s"));
    }
}

#[test]
fn the_server_s_only_link_is_lost_and_comes_back() {
    for signal in [Signal::Rendezvous, Signal::InBand] {
        for gone in [0.2, 1.0, 3.0, 10.0] {
            let mut world = in_call(one_wifi(), signal);
            world.reach("desktop", "wlan0", false);
            world.tell_interface("desktop", "wlan0", true, false);
            world.run_until(seconds(5.0 + gone));
            world.up("desktop", "wlan0");
            world.run_until(seconds(5.0 + gone + 8.0));
            assert_heard(&world, 5.0 + gone + 2.0, 5.0 + gone + 8.0, &format!("gone for {gone} s"));
        }
    }
}

#[test]
fn both_ends_lose_everything_and_get_it_back() {
    for gone in [0.5, 3.0, 20.0] {
        let mut world = in_call(two_each(), Signal::Rendezvous);
        let all = [("laptop", "wlan0"), ("laptop", "wwan0"), ("desktop", "wlan0"), ("desktop", "wwan0")];
        all.iter().for_each(|(host, interface)| world.down(host, interface));
        world.run_until(seconds(5.0 + gone));
        all.iter().for_each(|(host, interface)| world.up(host, interface));
        world.run_until(seconds(5.0 + gone + 8.0));
        assert_eq!(world.connections().len(), 2, "gone for {gone} s: the same connection");
        assert_heard(&world, 5.0 + gone + 3.0, 5.0 + gone + 8.0, &format!("gone for {gone} s"));
    }
}

#[test]
fn an_address_that_is_withdrawn_takes_its_path_along() {
    for signal in [Signal::Rendezvous, Signal::InBand] {
        for host in ["laptop", "desktop"] {
            let mut world = in_call(one_wifi(), signal);
            world.lose_ipv6(host, "wlan0");
            world.run_until(seconds(12.0));
            assert_heard(&world, 6.0, 12.0, &format!("{host} loses its IPv6 address"));
        }
    }
}

/// The handshake may be under way, complete at one end only, or just complete.
#[test]
fn wifi_that_is_lost_at_any_moment_of_the_first_half_second() {
    for step in 0..50 {
        for told in [true, false] {
            let at = f64::from(step) * 0.01;
            let mut world = World::new(notes_topology(), Signal::Rendezvous, 3);
            world.start();
            world.run_until(seconds(at));
            if told {
                world.down("laptop", "wlan0");
            } else {
                world.reach("laptop", "wlan0", false);
            }
            world.run_until(seconds(at + 8.0));
            assert_heard(&world, at + 4.0, at + 8.0, &format!("lost at {at} s, told: {told}"));
        }
    }
}

#[test]
fn a_path_that_is_lost_as_soon_as_it_is_opened_again_and_again() {
    let mut world = in_call(notes_topology(), Signal::Rendezvous);
    let mut t = 5.0;
    for _ in 0..12 {
        world.down("laptop", "wlan0");
        t += 1.0;
        world.run_until(seconds(t));
        world.up("laptop", "wlan0");
        let before = world.paths("laptop").len();
        while world.paths("laptop").len() == before {
            t += 0.001;
            assert!(t < 60.0, "a path is opened each time");
            world.run_until(seconds(t));
        }
    }
    world.run_until(seconds(t + 5.0));
    let active = |(_, view): &(Duration, &peer::PathView)| view.state == peer::PathState::Active;
    let (_, last) = world.paths("laptop").into_iter().rfind(active).unwrap();
    assert_eq!(last.interface, "wlan0", "it is not given up for ever");
    assert_heard(&world, 5.0, t + 5.0, "cellular carries the call all the while");
}

#[test]
fn interfaces_that_come_and_go_a_hundred_times_leave_no_trace() {
    let mut world = in_call(two_each(), Signal::Rendezvous);
    for cycle in 0..100 {
        let host = if cycle % 2 == 0 { "laptop" } else { "desktop" };
        let t = 5.0 + f64::from(cycle) * 0.6;
        world.down(host, "wlan0");
        world.run_until(seconds(t + 0.3));
        world.up(host, "wlan0");
        world.run_until(seconds(t + 0.6));
    }
    world.run_until(seconds(70.0));
    assert_eq!(world.connections().len(), 2);
    assert_heard(&world, 5.0, 70.0, "a hundred cycles");
}

#[test]
fn a_second_holder_of_the_ticket_does_not_disturb_the_call() {
    for signal in [Signal::Rendezvous, Signal::InBand] {
        let mut topology = two_each();
        topology.hosts.push(host("phone", &[("wlan0", "home"), ("wwan0", "o2")]));
        let mut world = in_call(topology, signal);
        let before = world.events.len();
        world.second_client("phone", 99);
        world.run_until(seconds(15.0));
        assert_heard(&world, 5.0, 15.0, "beside a second client");
        let lost = |(_, host, event): &&(Duration, String, Event)| {
            host != "phone" && matches!(event, Event::Detected { .. } | Event::ConnectionClosed { .. })
        };
        assert_eq!(world.events[before..].iter().find(lost), None);
    }
}
