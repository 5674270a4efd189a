//! An object survives its paths: nothing is lost, nothing doubled, and no loss stalls it for longer than its detection
//! and two round trips.

use crate::world::{Signal, World, notes_topology};
use netmodel::{BitRate, LinkSpec, Topology};
use peer::{BulkDirection, BulkSpec, CallSpec, Event, Outcome};
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

/// The longest stall that has part of this span.
fn longest_stall(world: &World, from: Duration, until: Duration) -> Duration {
    let touching = pauses(world).into_iter().filter(|(begin, end)| *end > from && *begin < until);
    touching.map(|(begin, end)| end - begin).max().expect("new bytes arrive before and after")
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
        finish(&mut world, end);
        assert_whole(&world, &what);
        println!("{what}: stall {stall:?}, detection {detection:?}");
        beyond.push(stall.saturating_sub(detection));
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
            longest_stall(&world, milliseconds(2_500), milliseconds(5_900))
        };
        let (with, without) = (run(true), run(false));
        println!("{direction:?}: {with:?} with, {without:?} without");
        assert!(with <= without + milliseconds(10), "{direction:?}: {with:?}, {without:?} without it");
    }
}
