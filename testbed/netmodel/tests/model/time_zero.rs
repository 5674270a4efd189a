//! Time zero: what a network does from then on does not depend on how long it existed before.

use crate::common::*;
use netmodel::*;
use std::time::Duration;

/// Not a multiple of anything.
const ODD: Duration = Duration::from_micros(7_123_457);

/// A world that is so old at its time zero, which is now. It is told of it after its set-up.
fn world(topology: Topology, age: Duration, set_up: impl FnOnce(&mut World)) -> World {
    let mut world = World::new(topology, 7);
    let zero = world.start + age;
    if !age.is_zero() {
        set_up(&mut world);
    }
    world.network.set_time_zero(world.start + world.now, zero);
    world.run(age - world.now);
    world.take();
    world
}

/// Of a stream that begins at time zero, with packets before it.
fn figures(up: LinkSpec, age: Duration) -> Vec<Vec<Duration>> {
    let mut world = world(one_link(up), age, |world| {
        for _ in 0..5 {
            world.send("left", 1, world.ipv4("right", 2), b"before time zero");
            world.run(ms(3));
        }
    });
    world.stream(200, 1000, ms(10))
}

#[test]
fn a_trace_begins_at_time_zero() {
    let text: String = (1..400).chain(900..2000).map(|time| format!("{time}\n")).collect();
    let trace = Trace::parse(text.as_bytes()).unwrap();
    let up = LinkSpec { trace: Some(trace), ..LinkSpec::default() };
    let young = figures(up.clone(), Duration::ZERO);
    assert!(young[45][0] > ms(440), "waits until 900 ms: {:?}", young[45]);
    assert_eq!(figures(up, ODD), young);
}

#[test]
fn random_draws_and_loss_patterns_begin_at_time_zero() {
    let jitter = LinkSpec { jitter: ms(9), ..LinkSpec::default() };
    let burst = LinkSpec {
        loss: Loss::GilbertElliott(GilbertElliott {
            to_bad: Probability::percent(10.0).unwrap(),
            to_good: Probability::percent(30.0).unwrap(),
            loss_in_good: Probability::NEVER,
            loss_in_bad: Probability::percent(80.0).unwrap(),
        }),
        ..LinkSpec::default()
    };
    for up in [jitter, burst] {
        assert_eq!(figures(up.clone(), ODD), figures(up, Duration::ZERO));
    }
}

#[test]
fn a_radio_is_idle_at_time_zero_and_its_paging_occasions_count_from_there() {
    let figures = |age: Duration| {
        let mut topology = topology();
        topology.networks[2].radio = Some(RadioSpec::LTE);
        let mut world = world(topology, age, |world| {
            world.send("meet", 1, world.ipv4("dave", 1), b"wakes the radio before time zero");
        });
        world.run(ms(300));
        let sent = world.now;
        world.send("meet", 1, world.ipv4("dave", 1), b"");
        let took = world.take_one_within("dave", s(3)).at - sent;
        (took, world.radio(world.port("dave")))
    };
    let young = figures(Duration::ZERO);
    // It comes to the radio at 315 ms, the occasion is at 1280 ms, and the promotion takes 260 ms.
    assert_eq!(young.0, ms(1280 + 260 - 300) + LINK_DELAY);
    for age in [s(2), ODD] {
        assert_eq!(figures(age), young, "{age:?}");
    }
}

#[test]
fn a_time_zero_that_has_passed_counts_from_when_it_was() {
    let text: String = (1..400).chain(900..2000).map(|time| format!("{time}\n")).collect();
    let up = LinkSpec { trace: Some(Trace::parse(text.as_bytes()).unwrap()), ..LinkSpec::default() };
    let mut world = World::new(one_link(up), 7);
    world.run(s(3));
    world.network.set_time_zero(world.start + world.now, world.start + world.now - ms(500));
    let sent = world.now;
    world.send("left", 1, world.ipv4("right", 2), b"");
    let took = world.take_one("right").at - sent;
    assert_eq!(took, ms(400) + LINK_DELAY, "900 ms after time zero");
}
