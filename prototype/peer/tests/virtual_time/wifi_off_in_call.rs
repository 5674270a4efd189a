//! First light in virtual time: WiFi is switched off fifteen seconds into a call.

use crate::world::{Signal, World, notes_topology};
use peer::{Event, Outcome, PathState};
use std::time::Duration;

const LOSS: Duration = Duration::from_secs(15);
/// Both carriers are 15 ms away from the internet, each way.
const NEW_PATH_RTT: Duration = Duration::from_millis(60);

fn run(seed: u64) -> World {
    let mut world = World::new(notes_topology(), Signal::Rendezvous, seed);
    world.start();
    world.run_until(LOSS);
    world.down("laptop", "wlan0");
    world.run_until(Duration::from_secs(25));
    world
}

#[test]
fn the_call_survives_on_the_same_connection_in_twenty_seeds() {
    let mut interruptions = vec![];
    for seed in 0..20 {
        let world = run(seed);
        let connections = world.connections();
        assert_eq!(connections.len(), 2, "seed {seed}: one connection, two ends: {connections:?}");
        assert_eq!(connections[0].1, connections[1].1, "seed {seed}: both ends name it alike");
        let closed =
            world.events.iter().find(|(_, _, event)| matches!(event, Event::ConnectionClosed { .. }));
        assert_eq!(closed, None, "seed {seed}");
        for host in ["laptop", "desktop"] {
            let last = world.arrivals(host).last().unwrap().0;
            assert!(
                last > Duration::from_millis(24_900),
                "seed {seed}: {host} heard until the end, not {last:?}"
            );
        }
        let up = world.interruption("desktop", LOSS);
        let down = world.interruption("laptop", LOSS);
        interruptions.push(up.max(down));
    }
    interruptions.sort();
    let median = interruptions[interruptions.len() / 2];
    println!("interruption: median {median:?}, worst {:?}", interruptions.last().unwrap());
    assert!(median <= NEW_PATH_RTT + Duration::from_millis(10), "{interruptions:?}");
}

#[test]
fn the_standby_is_validated_before_the_loss_and_takes_over_at_once() {
    let world = run(7);
    let states = |number: u64| -> Vec<(Duration, PathState, String)> {
        let of = world.paths("laptop").into_iter().filter(|(_, view)| view.path == number);
        of.map(|(t, view)| (t, view.state, view.interface.clone())).collect()
    };
    let (first, standby) = (states(0), states(1));
    assert!(first.iter().all(|(_, _, interface)| interface == "wlan0"), "{first:?}");
    assert!(standby.iter().all(|(_, _, interface)| interface == "wwan0"), "{standby:?}");
    let kinds =
        |states: &[(Duration, PathState, String)]| states.iter().map(|state| state.1).collect::<Vec<_>>();
    assert_eq!(
        kinds(&first),
        [PathState::Opening, PathState::Validated, PathState::Active, PathState::Closed]
    );
    assert_eq!(
        kinds(&standby),
        [PathState::Opening, PathState::Validated, PathState::Backup, PathState::Active]
    );
    assert!(standby[2].0 < Duration::from_secs(1), "warm long before: {standby:?}");
    assert_eq!(standby[3].0, LOSS, "the loss is known and acted on in the same instant");
}

#[test]
fn one_seed_gives_one_run() {
    // Ciphertext and the connection's name come from the operating system's randomness; times, order, sizes do not.
    let trace = |seed| {
        let world = run(seed);
        let mut trace = String::new();
        for (t, host, event) in &world.events {
            let event = match event {
                Event::Connected { .. } => "Connected".to_owned(),
                other => format!("{other:?}"),
            };
            trace.push_str(&format!("{} {host} {event}\n", t.as_nanos()));
        }
        // Instants inside views are counted from an epoch that differs.
        trace.lines().map(|line| line.split("last_heard").next().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let (one, two, other) = (trace(3), trace(3), trace(4));
    for (place, (one, two)) in one.iter().zip(&two).enumerate() {
        assert_eq!(one, two, "line {place}");
    }
    assert_eq!(one.len(), two.len());
    assert_ne!(one, other);
}

#[test]
fn a_loss_that_nothing_tells_is_found_by_silence() {
    let mut world = World::new(notes_topology(), Signal::Rendezvous, 1);
    world.start();
    world.run_until(LOSS);
    world.reach("laptop", "wlan0", false);
    world.run_until(Duration::from_secs(25));
    for host in ["laptop", "desktop"] {
        let interruption = world.interruption(host, LOSS);
        assert!(interruption < Duration::from_millis(400), "{host}: {interruption:?}");
    }
    assert_eq!(world.connections().len(), 2);
}

#[test]
fn wifi_that_comes_back_carries_the_call_again() {
    let mut world = run(5);
    world.up("laptop", "wlan0");
    world.run_until(Duration::from_secs(30));
    let (_, last) = world
        .paths("laptop")
        .into_iter()
        .rfind(|(_, view)| view.state == PathState::Active)
        .expect("a path is active");
    assert_eq!(last.interface, "wlan0");
    assert_eq!(world.connections().len(), 2, "still the first connection");
    let gap = world.interruption("laptop", Duration::from_secs(25));
    assert!(gap <= Duration::from_millis(70), "moving back is not heard: {gap:?}");
}

#[test]
fn stopping_one_end_ends_the_other_in_order() {
    let mut world = run(2);
    world.stop("laptop");
    world.run_until(Duration::from_secs(26));
    for (name, host) in &world.hosts {
        assert_eq!(host.outcome, Some(Outcome::Finished), "{name}");
    }
}
