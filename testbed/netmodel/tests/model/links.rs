//! Delay, jitter, rate, queue and order, against what can be computed by hand.

use crate::common::*;
use netmodel::*;
use std::time::Duration;

fn megabit(rate: u64) -> Option<BitRate> {
    BitRate::per_second(rate * 1_000_000)
}

fn arrivals(world: &mut World) -> Vec<Duration> {
    world.take().iter().map(|delivery| delivery.at).collect()
}

#[test]
fn delays_of_links_and_servers_add_up() {
    let mut world = World::usual();
    world.send("dave", 1000, world.ipv4("meet", 3478), b"x");
    assert_eq!(world.take_one("meet").at, LINK_DELAY + SERVER_DELAY);
    let sent = world.now;
    world.send("meet", 3478, world.ipv4("dave", 1000), b"x");
    assert_eq!(world.take_one("dave").at - sent, SERVER_DELAY + LINK_DELAY);
    let sent = world.now;
    world.send("alice", 1000, world.ipv4("carol", 1000), b"x");
    assert_eq!(world.take_one("carol").at - sent, LINK_DELAY * 2);
}

#[test]
fn a_rate_spaces_a_burst_exactly() {
    let link = LinkSpec { rate: megabit(10), ..LinkSpec::with_delay(ms(20)) };
    let mut world = World::new(one_link(link), 1);
    for _ in 0..50 {
        world.send("left", 1, world.ipv4("right", 2), &[0; 1250 - OVERHEAD]);
    }
    world.run(s(1));
    // 1250 bytes take 1 ms at 10 Mbit/s.
    let expected: Vec<_> = (1..=50).map(|number| ms(number) + ms(20) + LINK_DELAY).collect();
    assert_eq!(arrivals(&mut world), expected);
}

#[test]
fn an_idle_link_gives_no_credit() {
    let link = LinkSpec { rate: megabit(10), ..LinkSpec::default() };
    let mut world = World::new(one_link(link), 1);
    world.send("left", 1, world.ipv4("right", 2), b"long ago");
    world.run(s(5));
    world.take();
    for _ in 0..2 {
        world.send("left", 1, world.ipv4("right", 2), &[0; 1250 - OVERHEAD]);
    }
    world.run(s(1));
    assert_eq!(arrivals(&mut world), [s(5) + ms(1) + LINK_DELAY, s(5) + ms(2) + LINK_DELAY]);
}

#[test]
fn a_full_queue_drops_the_tail_and_drains_with_the_rate() {
    let link = LinkSpec { rate: megabit(10), queue: ByteSize(12_500), ..LinkSpec::default() };
    let mut world = World::new(one_link(link), 1);
    for number in 0..12_u8 {
        world.send("left", 1, world.ipv4("right", 2), &[number; 1250 - OVERHEAD]);
    }
    // One packet has left after 1 ms, so that one more finds room, and only one.
    world.oversleep(ms(1));
    for number in 12..14_u8 {
        world.send("left", 1, world.ipv4("right", 2), &[number; 1250 - OVERHEAD]);
    }
    world.run(s(1));
    let arrived: Vec<u8> = world.take().iter().map(|delivery| delivery.udp().2[0]).collect();
    assert_eq!(arrived, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 12]);
    assert_eq!(world.causes(), [DropCause::QueueFull; 3]);
    assert_eq!(world.dropped("left", Direction::Up, DropCause::QueueFull), 3);
    let counts = world.network.counts();
    assert_eq!((counts[0].packets, counts[0].bytes), (11, 11 * 1250));
}

#[test]
fn without_a_rate_nothing_is_lost() {
    let mut world = World::new(one_link(LinkSpec::with_delay(ms(1))), 1);
    for _ in 0..5_000 {
        world.send("left", 1, world.ipv4("right", 2), &[0; 1400]);
    }
    world.run(s(1));
    assert_eq!(world.take().len(), 5_000);
}

#[test]
fn what_is_in_flight_is_bounded() {
    let mut world = World::new(one_link(LinkSpec::with_delay(s(1))), 1);
    for _ in 0..32_768 + 3 {
        world.send("left", 1, world.ipv4("right", 2), b"");
    }
    world.run(s(2));
    assert_eq!(world.take().len(), 32_768);
    assert_eq!(world.causes(), [DropCause::QueueFull; 3]);
}

#[test]
fn waking_up_late_changes_no_due_time() {
    let link = LinkSpec { rate: megabit(5), jitter: ms(3), ..LinkSpec::with_delay(ms(20)) };
    let trace = |oversleep: bool| {
        let mut world = World::new(one_link(link.clone()), 3);
        for step in 0..200 {
            world.send("left", 1, world.ipv4("right", 2), &[0; 700]);
            world.send("right", 2, world.ipv4("left", 1), &[0; 100]);
            match oversleep && step % 7 != 0 {
                true => world.now += ms(1),
                false => world.run(ms(1)),
            }
        }
        world.oversleep(s(1));
        world.take()
    };
    assert_eq!(trace(false), trace(true));
}

#[test]
fn jitter_stays_in_bounds_and_keeps_the_order() {
    let link = LinkSpec { jitter: ms(10), ..LinkSpec::with_delay(ms(20)) };
    let mut world = World::new(one_link(link), 11);
    for number in 0..2_000_u16 {
        world.send("left", 1, world.ipv4("right", 2), &number.to_be_bytes());
        world.run(ms(2));
    }
    world.run(s(1));
    let delivered = world.take();
    let mut sum = Duration::ZERO;
    for (number, delivery) in delivered.iter().enumerate() {
        assert_eq!(delivery.udp().2, u16::try_from(number).unwrap().to_be_bytes());
        let extra = delivery.at - ms(2 * number as u64) - ms(20) - LINK_DELAY;
        assert!(extra <= ms(10), "{extra:?}");
        sum += extra;
    }
    // Uniform draws have a mean of 5 ms; keeping the order only adds to it.
    let mean = sum / 2_000;
    assert!((ms(5)..ms(8)).contains(&mean), "{mean:?}");
}

fn jittered() -> Topology {
    let mut topology = topology();
    for network in &mut topology.networks {
        network.up.jitter = ms(7);
        network.down.jitter = ms(7);
    }
    topology
}

/// Steady traffic of three hosts; `extra` makes `carol` send one packet more.
fn trace(seed: u64, extra: bool) -> Vec<Delivery> {
    let mut world = World::new(jittered(), seed);
    for step in 0..100 {
        for name in ["alice", "bob", "dave"] {
            world.send(name, 5000, world.ipv4("meet", 3478), &[step]);
        }
        if extra && step == 3 {
            world.send("carol", 5000, world.ipv4("control", 9), b"one more");
        }
        world.run(ms(10));
    }
    world.run(s(1));
    world.take()
}

#[test]
fn a_seed_repeats_itself_bit_for_bit() {
    assert_eq!(trace(5, false), trace(5, false));
    assert_ne!(trace(5, false), trace(6, false));
}

#[test]
fn one_more_packet_on_one_link_changes_nothing_on_others() {
    let mut with = trace(5, true);
    let count = with.len();
    with.retain(|delivery| !delivery.packet.ends_with(b"one more"));
    assert_eq!(with.len(), count - 1);
    assert_eq!(with, trace(5, false));
}

#[test]
fn links_do_not_share_a_sequence() {
    let mut world = World::new(jittered(), 5);
    world.send("alice", 1, world.ipv4("meet", 2), b"");
    world.send("bob", 1, world.ipv4("meet", 2), b"");
    world.send("dave", 1, world.ipv4("meet", 2), b"");
    world.run(s(1));
    let mut times = arrivals(&mut world);
    times.dedup();
    assert_eq!(times.len(), 3);
}
