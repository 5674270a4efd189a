//! An object survives its paths: nothing is lost, nothing doubled, and no loss stalls it for longer than its detection
//! and two round trips.

use crate::world::{Signal, World, host, notes_topology};
use netmodel::{BitRate, ByteSize, LinkSpec, Topology};
use peer::{BulkDirection, BulkSpec, CallSpec, Event, Outcome, Role};
use std::time::Duration;

const SEEDS: u64 = 20;
const HOME_RATE: u64 = 20_000_000;
const CELLULAR_RATE: u64 = 10_000_000;
/// Both carriers are 15 ms away from the internet, each way.
const CELLULAR_RTT: Duration = Duration::from_millis(60);
/// A burst of an engine's pacer.
const PACING_INTERVAL: Duration = Duration::from_millis(10);

fn milliseconds(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The networks of the notes with rates. The server's is no bottleneck: there, both paths would share one queue.
fn rated_topology() -> Topology {
    let mut topology = notes_topology();
    for network in &mut topology.networks {
        let rate = match network.name.as_str() {
            "home" => BitRate::per_second(HOME_RATE),
            "o2" => BitRate::per_second(CELLULAR_RATE),
            _ => None,
        };
        for link in [&mut network.up, &mut network.down] {
            *link = LinkSpec { rate, ..link.clone() };
        }
    }
    topology
}

fn with_bulk(topology: Topology, seed: u64, spec: BulkSpec, call: bool) -> World {
    World::with(
        topology,
        Signal::Rendezvous,
        seed,
        |_| {},
        |config| {
            config.bulk = Some(spec);
            config.call = call.then(CallSpec::default);
        },
    )
}

fn endless(direction: BulkDirection) -> BulkSpec {
    BulkSpec { direction, bytes: None }
}

/// When new bytes arrived: pauses between them, as (begin, end).
fn pauses(world: &World) -> Vec<(Duration, Duration)> {
    let mut pauses = vec![];
    let mut before: Option<Duration> = None;
    for (t, _, event) in &world.events {
        if let Event::BulkArrived { newest, .. } = event {
            pauses.extend(before.map(|before| (before, *t)));
            before = Some(*newest);
        }
    }
    pauses.retain(|(begin, end)| end > begin);
    pauses
}

/// The longest stall that has part of this span, whose end is now.
fn longest_stall(world: &World, from: Duration, until: Duration) -> Duration {
    let newest = |(_, _, event): &(Duration, String, Event)| match event {
        Event::BulkArrived { newest, .. } => Some(*newest),
        _ => None,
    };
    let newest = world.events.iter().rev().find_map(newest).expect("something arrived");
    let touching = pauses(world).into_iter().filter(|(begin, end)| *end > from && *begin < until);
    let ended = touching.map(|(begin, end)| end - begin).max().unwrap_or_default();
    ended.max(until - newest)
}

fn arrived(world: &World) -> u64 {
    let bytes = |(_, _, event): &(Duration, String, Event)| match event {
        Event::BulkArrived { bytes, .. } => Some(*bytes),
        _ => None,
    };
    world.events.iter().rev().find_map(bytes).unwrap_or(0)
}

/// Both ends have ended it and agree on every byte.
fn assert_whole(world: &World, what: &str) -> u64 {
    let mut ends = vec![];
    for (_, host, event) in &world.events {
        if let Event::BulkEnded { bytes, sha256, sha256_ok, why, .. } = event {
            assert_eq!(*sha256_ok, Some(true), "{what}: {host}: {why}");
            ends.push((bytes, sha256));
        }
    }
    let [one, other] = ends[..] else { panic!("{what}: ended {} times", ends.len()) };
    assert_eq!(one, other, "{what}");
    *one.0
}

/// Lets the client stop and both ends finish.
fn finish(world: &mut World, at: Duration) {
    world.stop("laptop");
    world.run_until(at + Duration::from_secs(2));
    for (name, host) in &world.hosts {
        assert_eq!(host.outcome, Some(Outcome::Finished), "{name}");
    }
}

fn detection(world: &World, loss: Duration) -> Duration {
    let detected = |(t, _, event): &(Duration, String, Event)| {
        (*t >= loss && matches!(event, Event::Detected { .. })).then_some(*t)
    };
    world.events.iter().find_map(detected).expect("the loss is detected") - loss
}

/// When the sender knew what the receiver lacks and began to send that.
fn resent(world: &World, loss: Duration) -> Option<Duration> {
    let resent = |(t, _, event): &(Duration, String, Event)| {
        (*t >= loss && matches!(event, Event::BulkResent { .. })).then_some(*t)
    };
    world.events.iter().find_map(resent)
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Loss {
    Told,
    Silent,
}

/// The stall beyond detection, for every seed.
fn stalls(direction: BulkDirection, loss: Loss, at: Duration) {
    let mut beyond = vec![];
    for seed in 0..SEEDS {
        // Where in a round trip the loss falls is chance.
        let at = at + Duration::from_micros(seed * 1_700);
        let what = format!("{direction:?}, {loss:?} at {at:?}, seed {seed}");
        let mut world = with_bulk(rated_topology(), seed, endless(direction), false);
        world.start();
        world.run_until(at);
        match loss {
            Loss::Told => world.down("laptop", "wlan0"),
            Loss::Silent => world.reach("laptop", "wlan0", false),
        }
        let end = at + milliseconds(1_500);
        world.run_until(end);
        let detection = detection(&world, at);
        let stall = longest_stall(&world, at, end);
        let resumed = resent(&world, at).expect("a loss under load loses something") - at;
        finish(&mut world, end);
        assert_whole(&world, &what);
        println!("{what}: stall {stall:?}, detection {detection:?}");
        beyond.push(stall.saturating_sub(detection));
        // Then the first hole is filled, half a round trip later.
        let until_known = resumed.saturating_sub(detection);
        assert!(until_known <= CELLULAR_RTT * 3 / 2 + PACING_INTERVAL, "{what}: {until_known:?}");
    }
    beyond.sort();
    println!(
        "{direction:?} {loss:?} {at:?}: beyond detection: median {:?}, worst {:?}",
        beyond[beyond.len() / 2],
        beyond[beyond.len() - 1]
    );
    assert!(
        beyond[beyond.len() - 1] <= CELLULAR_RTT * 2 + PACING_INTERVAL,
        "{direction:?} {loss:?}: {beyond:?}"
    );
}

#[test]
fn a_told_loss_in_steady_state_up() {
    stalls(BulkDirection::Up, Loss::Told, milliseconds(2_500));
}

#[test]
fn a_told_loss_in_steady_state_down() {
    stalls(BulkDirection::Down, Loss::Told, milliseconds(2_500));
}

#[test]
fn a_told_loss_in_slow_start_up() {
    stalls(BulkDirection::Up, Loss::Told, milliseconds(700));
}

#[test]
fn a_told_loss_in_slow_start_down() {
    stalls(BulkDirection::Down, Loss::Told, milliseconds(700));
}

#[test]
fn a_silent_loss_in_steady_state_up() {
    stalls(BulkDirection::Up, Loss::Silent, milliseconds(2_500));
}

#[test]
fn a_silent_loss_in_steady_state_down() {
    stalls(BulkDirection::Down, Loss::Silent, milliseconds(2_500));
}

#[test]
fn an_object_of_known_size_ends_the_client_when_it_is_whole() {
    for (direction, bytes) in [
        (BulkDirection::Up, 5_000_000),
        (BulkDirection::Down, 5_000_000),
        (BulkDirection::Up, 1),
        (BulkDirection::Down, 0),
    ] {
        let spec = BulkSpec { direction, bytes: Some(bytes) };
        let what = format!("{direction:?} {bytes}");
        let mut world = with_bulk(rated_topology(), 1, spec, false);
        world.start();
        world.run_until(Duration::from_secs(10));
        for (name, host) in &world.hosts {
            assert_eq!(host.outcome, Some(Outcome::Finished), "{what}: {name}");
        }
        assert_eq!(assert_whole(&world, &what), bytes);
        let why = |(_, _, event): &(Duration, String, Event)| match event {
            Event::BulkEnded { why, .. } => Some(why.clone()),
            _ => None,
        };
        assert!(world.events.iter().filter_map(why).all(|why| why == "complete"), "{what}");
    }
}

/// An engine takes 80 kB at once; a link of 1 Mbit/s carries them in 640 ms.
#[test]
fn a_sender_reports_what_arrived_and_not_what_its_engine_took() {
    const SIZE: u64 = 80_000;
    const RATE: u64 = 1_000_000;
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let mut topology = rated_topology();
        for network in &mut topology.networks {
            for link in [&mut network.up, &mut network.down] {
                link.rate = BitRate::per_second(RATE);
            }
        }
        let spec = BulkSpec { direction, bytes: Some(SIZE) };
        let mut world = with_bulk(topology, 1, spec, false);
        world.start();
        world.run_until(Duration::from_secs(10));
        let (mut arrived, mut ends) = (0, vec![]);
        for (t, host, event) in &world.events {
            match event {
                Event::BulkArrived { bytes, .. } => arrived = *bytes,
                Event::BulkSent { bytes, acknowledged, .. } => {
                    assert!(*acknowledged <= arrived, "{direction:?}: {acknowledged} of {arrived} at {t:?}");
                    println!("{direction:?}: {t:?}: the engine took {bytes}, {acknowledged} arrived");
                }
                Event::BulkEnded { receiver, .. } => ends.push((host.clone(), *receiver)),
                _ => {}
            }
        }
        let [(_, Some(one)), (_, Some(other))] = &ends[..] else { panic!("{direction:?}: {ends:?}") };
        assert_eq!(one, other, "{direction:?}: both ends have the receiver's figures");
        assert_eq!(one.bytes, SIZE);
        let rate = (SIZE * 8) as f64 / one.duration.as_secs_f64();
        assert!(rate < RATE as f64 && rate > 0.6 * RATE as f64, "{direction:?}: {rate} bit/s");
        assert!(
            one.longest_stall > Duration::ZERO && one.longest_stall < one.duration,
            "{direction:?}: {one:?}"
        );
    }
}

#[test]
fn it_fills_its_path() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let mut world = with_bulk(rated_topology(), 1, endless(direction), false);
        world.start();
        world.run_until(Duration::from_secs(2));
        let before = arrived(&world);
        world.run_until(Duration::from_secs(10));
        let rate = arrived(&world) - before;
        let rate_limit = HOME_RATE;
        println!("{direction:?}: {:.1} % of the rate", 100.0 * rate as f64 / rate_limit as f64);
        finish(&mut world, Duration::from_secs(10));
        assert_whole(&world, &format!("{direction:?}"));
        assert!(rate > rate_limit * 90 / 100, "{direction:?}: {rate} bit/s");
    }
}

/// Slow start fills a queue of most of a second within a few round trips: checks and their answers are late by as much, and
/// nothing is lost.
#[test]
fn a_deep_queue_is_no_loss() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        for interfaces in [&[("wlan0", "home")][..], &[("wlan0", "home"), ("wwan0", "o2")]] {
            let mut topology = rated_topology();
            topology.hosts[0] = host("laptop", interfaces);
            for network in &mut topology.networks {
                for link in [&mut network.up, &mut network.down] {
                    link.queue = ByteSize(2 * 1024 * 1024);
                }
            }
            let mut world = with_bulk(topology, 1, endless(direction), false);
            world.start();
            world.run_until(Duration::from_secs(4));
            let before = arrived(&world);
            world.run_until(Duration::from_secs(12));
            let what = format!("{direction:?} over {}", interfaces.len());
            let detected = world.events.iter().find(|(.., event)| matches!(event, Event::Detected { .. }));
            assert!(detected.is_none(), "{what}: {detected:?}");
            let rate = arrived(&world) - before;
            assert!(rate > HOME_RATE * 90 / 100, "{what}: {rate} bit/s");
        }
    }
}

/// The server hears nothing for a while, whereas the client hears the server and sees no reason to open another path.
#[test]
fn a_server_goes_on_with_its_only_path_once_it_hears_it_again() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let mut topology = rated_topology();
        topology.hosts[0] = host("laptop", &[("wlan0", "home")]);
        let mut world = with_bulk(topology, 1, endless(direction), true);
        world.start();
        world.run_until(milliseconds(2_500));
        world.mute("laptop", "wlan0");
        world.run_until(milliseconds(3_000));
        world.unmute("laptop", "wlan0");
        let is_server =
            |host: &str, event: &Event| host == "desktop" && matches!(event, Event::Detected { .. });
        assert!(world.events.iter().any(|(_, host, event)| is_server(host, event)), "{direction:?}: noticed");
        world.run_until(milliseconds(5_000));
        let before = arrived(&world);
        world.run_until(milliseconds(9_000));
        let rate = (arrived(&world) - before) * 8 / 4;
        assert!(rate > HOME_RATE * 80 / 100, "{direction:?}: {rate} bit/s");
    }
}

#[test]
fn it_fills_the_path_that_is_left() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let mut world = with_bulk(rated_topology(), 1, endless(direction), false);
        world.start();
        world.run_until(milliseconds(2_500));
        world.down("laptop", "wlan0");
        world.run_until(milliseconds(3_500));
        let before = arrived(&world);
        world.run_until(milliseconds(8_500));
        let rate = (arrived(&world) - before) * 8 / 5;
        println!("{direction:?}: {:.1} % of the rate", 100.0 * rate as f64 / CELLULAR_RATE as f64);
        assert!(rate > CELLULAR_RATE * 88 / 100, "{direction:?}: {rate} bit/s");
    }
}

#[test]
fn the_loss_of_a_standby_is_not_noticed() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let run = |lose: bool| {
            let mut world = with_bulk(rated_topology(), 1, endless(direction), false);
            world.start();
            world.run_until(milliseconds(2_500));
            if lose {
                world.down("laptop", "wwan0");
            }
            world.run_until(milliseconds(6_000));
            let resent = world.events.iter().any(|(_, _, event)| matches!(event, Event::BulkResent { .. }));
            assert!(!resent, "{direction:?}: nothing is sent again");
            longest_stall(&world, milliseconds(2_500), milliseconds(6_000))
        };
        let (with, without) = (run(true), run(false));
        println!("{direction:?}: {with:?} with, {without:?} without");
        assert!(with <= without + milliseconds(10), "{direction:?}: {with:?}, {without:?} without it");
    }
}

/// The connection outlives it, or is made anew; the object goes on where it was.
#[test]
fn everything_is_lost_and_comes_back() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        for loss in [Loss::Told, Loss::Silent] {
            for gone in [300, 3_000, 10_000] {
                let what = format!("{direction:?}, {loss:?}, gone for {gone} ms");
                let mut world = with_bulk(rated_topology(), 1, endless(direction), false);
                world.start();
                world.run_until(milliseconds(1_500));
                for interface in ["wlan0", "wwan0"] {
                    match loss {
                        Loss::Told => world.down("laptop", interface),
                        Loss::Silent => world.reach("laptop", interface, false),
                    }
                }
                let back = milliseconds(1_500 + gone);
                world.run_until(back);
                let before = arrived(&world);
                for interface in ["wlan0", "wwan0"] {
                    match loss {
                        Loss::Told => world.up("laptop", interface),
                        Loss::Silent => world.reach("laptop", interface, true),
                    }
                }
                let end = back + Duration::from_secs(4);
                world.run_until(end);
                let since = arrived(&world) - before;
                assert!(since > 1_000_000, "{what}: only {since} bytes since then");
                finish(&mut world, end);
                assert_whole(&world, &what);
            }
        }
    }
}

/// The handshake may be under way, complete at one end only, or just complete: another connection may follow.
#[test]
fn wifi_that_is_lost_at_any_moment_of_the_first_half_second() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        for step in 0..50 {
            for loss in [Loss::Told, Loss::Silent] {
                let at = milliseconds(step * 10);
                let what = format!("{direction:?}, {loss:?} at {at:?}");
                let spec = BulkSpec { direction, bytes: Some(300_000) };
                let mut world = with_bulk(rated_topology(), 3, spec, false);
                world.start();
                world.run_until(at);
                match loss {
                    Loss::Told => world.down("laptop", "wlan0"),
                    Loss::Silent => world.reach("laptop", "wlan0", false),
                }
                world.run_until(at + Duration::from_secs(8));
                assert_eq!(assert_whole(&world, &what), 300_000);
                assert_eq!(world.hosts["laptop"].outcome, Some(Outcome::Finished), "{what}");
            }
        }
    }
}

#[test]
fn wifi_that_comes_and_goes_costs_no_byte() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        let mut world = with_bulk(rated_topology(), 4, endless(direction), false);
        world.start();
        let mut t = milliseconds(1_000);
        for cycle in 0..8 {
            world.run_until(t);
            // From a moment to a while.
            world.down("laptop", "wlan0");
            t += milliseconds(40 << cycle.min(4));
            world.run_until(t);
            world.up("laptop", "wlan0");
            t += milliseconds(300 + 150 * cycle);
        }
        let (from, until) = (milliseconds(1_000), t);
        world.run_until(t);
        let stall = longest_stall(&world, from, until);
        println!("{direction:?}: longest stall {stall:?}");
        finish(&mut world, t);
        assert_whole(&world, &format!("{direction:?}"));
        assert!(stall <= CELLULAR_RTT * 2 + PACING_INTERVAL, "{direction:?}: {stall:?}");
    }
}

/// How late the units of the call arrived at a host: the longest.
fn longest_delay(world: &World, at: &str, from: Duration) -> Duration {
    let delay = |(t, host, event): &(Duration, String, Event)| match event {
        Event::CallReceived { sent, .. } if host == at && *sent > from => Some(*t - *sent),
        _ => None,
    };
    world.events.iter().filter_map(delay).max().expect("the call is heard")
}

#[test]
fn a_call_beside_it_waits_no_longer_than_the_queue() {
    let full_queue = |rate: u64| Duration::from_secs_f64(256.0 * 1024.0 * 8.0 / rate as f64);
    for (direction, with, against) in
        [(BulkDirection::Up, "desktop", "laptop"), (BulkDirection::Down, "laptop", "desktop")]
    {
        let mut world = with_bulk(rated_topology(), 1, endless(direction), true);
        world.start();
        world.run_until(milliseconds(6_000));
        let (behind, against) = (
            longest_delay(&world, with, milliseconds(500)),
            longest_delay(&world, against, milliseconds(500)),
        );
        let one_way = milliseconds(4 + 15);
        println!("{direction:?}: {behind:?} behind the object, {against:?} against it");
        // One batch of packets may lie before it in the engine, too.
        assert!(behind <= one_way + full_queue(HOME_RATE) + milliseconds(10), "{direction:?}: {behind:?}");
        assert!(against <= one_way + milliseconds(10), "{direction:?}: {against:?}");
        let at = milliseconds(6_000);
        world.down("laptop", "wlan0");
        world.run_until(milliseconds(9_000));
        let stall = longest_stall(&world, at, milliseconds(9_000));
        let silence = world.interruption("desktop", at).max(world.interruption("laptop", at));
        println!("{direction:?}: interruption {silence:?}, stall {stall:?}");
        assert!(stall <= CELLULAR_RTT * 2 + PACING_INTERVAL, "{direction:?}: {stall:?}");
        let rates = arrived(&world);
        finish(&mut world, milliseconds(9_000));
        assert!(assert_whole(&world, "beside a call") >= rates);
    }
}

#[test]
fn an_end_that_cannot_be_agreed_upon_is_told_as_such() {
    let mut world = with_bulk(rated_topology(), 1, endless(BulkDirection::Up), false);
    world.start();
    world.run_until(milliseconds(2_000));
    for interface in ["wlan0", "wwan0"] {
        world.reach("laptop", interface, false);
    }
    world.stop("laptop");
    world.run_until(milliseconds(3_100));
    assert!(world.hosts["laptop"].outcome.is_some(), "it waits a second");
    let ended = |(t, host, event): &(Duration, String, Event)| match event {
        Event::BulkEnded { sha256_ok, why, .. } if host == "laptop" => Some((*t, *sha256_ok, why.clone())),
        _ => None,
    };
    let ended = world.events.iter().find_map(ended);
    assert_eq!(ended, Some((milliseconds(3_000), None, "not-confirmed".into())));
}

/// The server stops in the middle of an object of known size, or the client before the server has confirmed the connection.
#[test]
fn an_object_that_is_cut_short_ends_and_lacks_bytes() {
    const SIZE: u64 = 100_000_000;
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        for at_once in [false, true] {
            let what = format!("{direction:?}, at once: {at_once}");
            let spec = BulkSpec { direction, bytes: Some(SIZE) };
            let mut world = with_bulk(rated_topology(), 1, spec, false);
            world.start();
            let mut now = Duration::ZERO;
            let is_due = |world: &World| match at_once {
                true => !world.connections().is_empty(),
                false => arrived(world) > 1_000_000,
            };
            while !is_due(&world) {
                now += milliseconds(1);
                assert!(now < Duration::from_secs(9), "{what}");
                world.run_until(now);
            }
            world.stop(if at_once { "laptop" } else { "desktop" });
            world.run_until(now + Duration::from_secs(3));
            assert_eq!(world.hosts["laptop"].outcome, Some(Outcome::Finished), "{what}");
            let ended = |(_, host, event): &(Duration, String, Event)| match event {
                Event::BulkEnded { bytes, why, .. } if host == "laptop" => Some((*bytes, why.clone())),
                _ => None,
            };
            let ends: Vec<_> = world.events.iter().filter_map(ended).collect();
            let [(bytes, why)] = &ends[..] else { panic!("{what}: {ends:?}") };
            assert!(*bytes < SIZE, "{what}: {bytes}");
            assert_eq!((*bytes == 0, why == "stopped"), (at_once, !at_once), "{what}: {bytes} {why}");
        }
    }
}

#[test]
fn a_duration_ends_it_within_a_second_and_it_is_whole() {
    for direction in [BulkDirection::Up, BulkDirection::Down] {
        for size in [None, Some(1_000_000_000)] {
            let spec = BulkSpec { direction, bytes: size };
            let mut world = World::with(
                rated_topology(),
                Signal::Rendezvous,
                1,
                |_| {},
                |config| {
                    config.bulk = Some(spec);
                    config.call = None;
                    if matches!(config.role, Role::Client { .. }) {
                        config.duration = Some(Duration::from_secs(3));
                    }
                },
            );
            world.start();
            world.run_until(milliseconds(4_500));
            assert_whole(&world, &format!("{spec:?}"));
            for (name, host) in &world.hosts {
                assert_eq!(host.outcome, Some(Outcome::Finished), "{spec:?}: {name}");
            }
            let ended = |(t, _, event): &(Duration, String, Event)| match event {
                Event::BulkEnded { why, .. } => Some((*t, why.clone())),
                _ => None,
            };
            let (t, why) = world.events.iter().rev().find_map(ended).unwrap();
            println!("{spec:?}: over at {t:?}");
            assert_eq!(why, if size.is_some() { "stopped" } else { "complete" });
        }
    }
}
