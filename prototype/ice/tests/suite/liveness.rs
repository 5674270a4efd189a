//! Living pairs: how fast silence is noticed, what must not be taken for it, and how a pair comes back.

use std::net::SocketAddr;
use std::time::Duration;

use ice::stun::{Class, Message};
use ice::{CheckError, CheckPurpose, Event, PairState, SocketId, Timing};

use crate::net::{A, B, Border, World, ms};

/// One pair of 40 ms RTT, up long enough for the estimate to settle.
fn living_pair() -> (World, SocketId) {
    living_pair_of(ms(40))
}

fn living_pair_of(rtt: Duration) -> (World, SocketId) {
    let mut world = World::new();
    let socket = world.socket(A, "wlan0", "192.0.2.10:1000", Border::Firewall, rtt / 4);
    world.socket(B, "wwan0", "192.0.2.20:2000", Border::Firewall, rtt / 4);
    world.introduce();
    world.run_for(ms(2000) + rtt * 4);
    assert_eq!(world.usable(A).count(), 1);
    (world, socket)
}

fn since(world: &World, me: usize, state: PairState, start: Duration) -> Option<Duration> {
    world.events[me].iter().find_map(|(at, event)| match event {
        Event::Pair { state: now, .. } if *now == state && *at >= start => Some(*at - start),
        _ => None,
    })
}

#[test]
fn total_silence_takes_a_pair_down_within_300_ms_at_any_phase() {
    let (mut slowest, mut suspected) = (ms(0), ms(0));
    for phase in 0..100 {
        let (mut world, socket) = living_pair();
        world.run_for(ms(phase));
        let start = world.now - world.epoch;
        world.port(socket).up = false;
        world.run_for(ms(1000));
        for me in [A, B] {
            suspected = suspected.max(since(&world, me, PairState::Suspect, start).unwrap());
            slowest = slowest.max(since(&world, me, PairState::Down, start).unwrap());
        }
    }
    assert!(suspected <= ms(150), "{suspected:?}");
    assert!(slowest <= ms(300), "{slowest:?}");
}

#[test]
fn short_and_long_paths_are_judged_by_their_own_measure() {
    for (rtt, limit) in [(1, 300), (10, 300), (150, 450), (600, 1200)] {
        let (mut world, socket) = living_pair_of(ms(rtt));
        world.run_for(ms(10_000));
        assert_eq!(world.times(A, PairState::Suspect), 0, "{rtt}");
        // The other end, or the radio, pauses: no more than a suspicion.
        let lively = |me: usize, world: &World| world.usable(me).count() == 1;
        world.port(socket).up = false;
        world.run_for(ms(75));
        world.port(socket).up = true;
        world.run_for(ms(200 + 3 * rtt));
        assert!(lively(A, &world) && lively(B, &world) && world.times(A, PairState::Down) == 0, "{rtt}");
        let start = world.now - world.epoch;
        world.port(socket).up = false;
        world.run_for(ms(3000));
        let down = since(&world, A, PairState::Down, start).unwrap();
        assert!(down <= ms(limit), "{rtt}: {down:?}");
    }
}

#[test]
fn silence_is_noticed_among_other_traffic_too() {
    // The call brings something every 20 ms until the path breaks.
    let (mut world, socket) = living_pair();
    let from: SocketAddr = "192.0.2.20:2000".parse().unwrap();
    for _ in 0..25 {
        world.run_for(ms(20));
        world.agents[A].heard(world.now, socket, from);
    }
    let start = world.now - world.epoch;
    world.port(socket).up = false;
    world.run_for(ms(1000));
    assert!(since(&world, A, PairState::Down, start).unwrap() <= ms(300));
}

#[test]
fn while_something_is_heard_it_takes_longer_but_one_way_is_no_way() {
    let (mut world, socket) = living_pair();
    let from: SocketAddr = "192.0.2.20:2000".parse().unwrap();
    let start = world.now - world.epoch;
    // What A sends is lost from now on.
    world.lose = Box::new(|_, sender, _| sender == A);
    let mut down = None;
    for _ in 0..150 {
        world.run_for(ms(10));
        world.agents[A].heard(world.now, socket, from);
        down = down.or(since(&world, A, PairState::Down, start));
    }
    let down = down.unwrap();
    assert!(down >= ms(1000) && down < ms(1300), "{down:?}");
}

#[test]
fn a_lost_check_makes_a_pair_suspect_but_never_down() {
    for every in [2, 3, 7, 10] {
        let (mut world, _) = living_pair();
        let mut count = 0;
        world.lose = Box::new(move |_, sender, bytes| {
            let check = sender == A && Message::parse(bytes).unwrap().class() == Class::Request;
            count += u32::from(check);
            check && count.is_multiple_of(every)
        });
        world.run_for(ms(60_000));
        assert!(world.times(A, PairState::Suspect) >= 10, "the lost checks were noticed");
        assert_eq!(world.times(A, PairState::Down), 0);
        assert_eq!(world.times(B, PairState::Suspect), 0);
        world.lose = Box::new(|_, _, _| false);
        world.run_for(ms(300));
        assert_eq!(world.usable(A).next().unwrap().state, PairState::Up);
    }
}

#[test]
fn the_time_allowed_follows_the_round_trip_time_and_its_variation() {
    let (mut world, socket) = living_pair();
    // From 40 to 100 ms in steps: late answers, but no verdict.
    for delay in 10..=40 {
        world.port(socket).delay = ms(delay);
        world.run_for(ms(400));
    }
    for me in [A, B] {
        assert_eq!(world.times(me, PairState::Down), 0);
        let pair = world.usable(me).next().unwrap();
        assert!(pair.srtt.unwrap() > ms(90), "{pair:?}");
    }
    // Jitter of 0 to 30 ms.
    for step in 0..400_u64 {
        world.port(socket).delay = ms(40 + step * 7919 % 31);
        world.run_for(ms(50));
    }
    for me in [A, B] {
        assert_eq!(world.times(me, PairState::Down), 0);
    }
}

#[test]
fn a_pair_that_is_down_is_probed_slowly_and_comes_back() {
    for silence in [400, 3000, 120_000] {
        let (mut world, socket) = living_pair();
        world.port(socket).up = false;
        let before = world.sent[A].len();
        world.run_for(ms(silence));
        assert_eq!(world.usable(A).count(), 0);
        let probes = world.sent[A].len() - before;
        assert!(probes as u64 <= 15 + silence / 1000, "{probes} probes in {silence} ms");
        world.port(socket).up = true;
        let back = world.now;
        assert!(world.run_until_usable(ms(2000)));
        let least = Timing::default().retry_interval + ms(40 + 1);
        assert!(world.now - back <= least, "{:?}", world.now - back);
        assert_eq!(world.agents[A].pairs().count(), 1, "it is the same pair");
    }
}

#[test]
fn a_refused_transmission_takes_a_pair_down_at_once() {
    let (mut world, socket) = living_pair();
    let pair = world.usable(A).next().unwrap();
    world.agents[A].send_failed(world.now, socket, pair.remote);
    world.drain();
    assert_eq!(world.agents[A].pair(pair.id).unwrap().state, PairState::Down);
    world.run_for(ms(200));
    assert_eq!(
        world.agents[A].pair(pair.id).unwrap().state,
        PairState::Up,
        "nothing was wrong with the path"
    );
}

#[test]
fn a_refused_check_fails_at_once_and_is_tried_again() {
    let mut world = World::new();
    let socket = world.socket(A, "wwan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Firewall, ms(10));
    world.port(socket).up = false;
    world.introduce_to(A, B);
    let to = world.sent[A][0].2;
    world.agents[A].send_failed(world.now, socket, to);
    world.drain();
    assert!(world.first(A, PairState::Failed).is_some());
    let refused =
        |(_, e): &(Duration, Event)| matches!(e, Event::CheckFailed { why: CheckError::SendFailed, .. });
    assert!(world.events[A].iter().any(refused));
    world.port(socket).up = true;
    world.run_for(ms(900));
    world.introduce_to(B, A);
    assert!(world.run_until_usable(ms(300)));
}

#[test]
fn an_interface_goes_and_another_carries_on() {
    let mut world = World::new();
    world.signal = Some(ms(20));
    for me in [A, B] {
        world.agents[me].set_remote_credentials(world.now, crate::net::credentials(1 - me));
        world.agents[me].start(world.now);
    }
    let wlan = world.socket(A, "wlan0", "192.0.2.10:1000", Border::Firewall, ms(5));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Firewall, ms(20));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Firewall, ms(5));
    world.run_for(ms(2000));
    assert_eq!((world.usable(A).count(), world.usable(B).count()), (2, 2));

    world.remove(wlan);
    let removed = world.first(A, PairState::Removed).unwrap().1;
    assert_eq!((removed.interface.as_str(), removed.socket), ("wlan0", wlan));
    assert_eq!(world.usable(A).count(), 1, "the other pair is not touched");
    world.run_for(ms(1000));
    assert_eq!(world.usable(B).count(), 1, "the other end was told, and drops the pair");
    assert_eq!(world.usable(A).next().unwrap().state, PairState::Up);

    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Firewall, ms(5));
    world.run_for(ms(500));
    assert_eq!((world.usable(A).count(), world.usable(B).count()), (2, 2), "a new socket, a new pair");
}

#[test]
fn a_machine_that_wakes_up_late_does_not_blame_the_path() {
    let (mut world, _) = living_pair();
    // Half-way between an answer and the next check.
    world.run_for(ms(50));
    // The answer to the next check arrives in time, but lies unread while the process stands still.
    let pair = world.usable(A).next().unwrap();
    let due = world.agents[A].poll_timeout().unwrap();
    world.agents[A].handle_timeout(due);
    let check = world.agents[A].poll_transmit().unwrap();
    world.agents[B].handle_datagram(due, SocketId(1), pair.local, &check.bytes).unwrap();
    let unread = world.agents[B].poll_transmit().unwrap();
    let end = due + ms(500);
    world.now = end;
    world.agents[A].handle_timeout(end);
    world.agents[A].handle_datagram(end, pair.socket, pair.remote, &unread.bytes).unwrap();
    world.drain();
    world.agents[A].handle_timeout(end + ms(21));
    world.drain();
    assert_eq!(world.agents[A].pair(pair.id).unwrap().state, PairState::Up);
    assert_eq!(world.times(A, PairState::Suspect), 0);
}

#[test]
fn the_interval_can_be_set_for_one_pair_and_stretches_over_many() {
    let (mut world, _) = living_pair();
    let pair = world.usable(A).next().unwrap().id;
    let checks = |world: &World| {
        let liveness = |(_, e): &&(Duration, Event)| {
            matches!(e, Event::CheckSent { purpose: CheckPurpose::Liveness, .. })
        };
        world.events[A].iter().filter(liveness).count()
    };
    let before = checks(&world);
    world.run_for(ms(10_000));
    assert_eq!(checks(&world) - before, 100);
    world.agents[A].set_liveness_interval(world.now, pair, ms(1000));
    world.run_for(ms(100));
    let before = checks(&world);
    world.run_for(ms(10_000));
    assert_eq!(checks(&world) - before, 10);
    // Sixty remote addresses, all alive: 60 x 5 ms.
    world.agents[A].set_liveness_interval(world.now, pair, ms(100));
    for port in 1..60_u16 {
        world.socket(B, "eth0", &format!("192.0.2.20:{}", 2000 + port), Border::Open, ms(10));
    }
    world.introduce_to(A, B);
    world.run_for(ms(10_000));
    assert_eq!(world.usable(A).count(), 60);
    let before = checks(&world);
    world.run_for(ms(3000));
    assert!((580..=620).contains(&(checks(&world) - before)), "{}", checks(&world) - before);
}
