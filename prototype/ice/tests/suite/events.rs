//! What is told of requests: each when it leaves and when it ends, answered or not, to whomever it went.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use ice::policy::Keeping;
use ice::{CheckError, CheckPurpose, Event, PairId, Policy, SocketId};

use crate::hostile::wild_world;
use crate::net::{A, B, Border, World, ms};

/// Requests that left and that ended, by what they have in common.
type Tally = BTreeMap<(Option<PairId>, SocketId, SocketAddr, CheckPurpose), [usize; 2]>;

fn tally(events: &[(Duration, Event)]) -> Tally {
    let mut tally = Tally::new();
    for (_, event) in events {
        let (key, which) = match event {
            Event::CheckSent { pair, socket, remote, purpose, attempt: 1 } => {
                ((*pair, *socket, *remote, *purpose), 0)
            }
            Event::CheckAnswered { pair, socket, remote, purpose, .. }
            | Event::CheckFailed { pair, socket, remote, purpose, .. } => {
                ((*pair, *socket, *remote, *purpose), 1)
            }
            _ => continue,
        };
        tally.entry(key).or_default()[which] += 1;
    }
    tally
}

/// Checks, gathering, both kinds of relays and what keeps them.
#[test]
fn every_request_is_told_from_its_beginning_to_its_end() {
    let mut world = wild_world(true);
    world.introduce();
    // Allocations are refreshed after nine minutes, channels too.
    world.run_for(Duration::from_secs(600));
    // Some are lost, and some are under way when all is over.
    world.lose = Box::new(|number, _, _| number % 3 == 0);
    world.run_for(Duration::from_secs(20));
    for socket in [SocketId(0), SocketId(1)] {
        world.remove(socket);
    }
    world.run_for(ms(100));
    let tally = tally(&world.events[A]);
    for (key, [sent, ended]) in &tally {
        assert_eq!(sent, ended, "{key:?}");
    }
    use CheckPurpose::{Channel, Gather, Liveness, Ordinary, Permission, Probe, Refresh};
    let purposes: BTreeSet<_> = tally.keys().map(|(.., purpose)| *purpose).collect();
    for purpose in [Channel, Gather, Liveness, Ordinary, Permission, Probe, Refresh] {
        assert!(purposes.contains(&purpose), "no {purpose:?} in {purposes:?}");
    }
}

#[test]
fn a_check_that_is_forgotten_for_newer_ones_has_failed() {
    let mut world = World::new();
    // As long as it takes until answers come, a hundred and more are under way.
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(700));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(700));
    let every = Keeping::every(ms(10));
    world.agents[A].set_policy(world.now, Policy { active: every, idle: every, ..Policy::multipath() });
    world.introduce();
    world.run_for(Duration::from_secs(20));
    let displaced = |(_, event): &&(Duration, Event)| {
        matches!(event, Event::CheckFailed { why: CheckError::Displaced, .. })
    };
    assert!(world.events[A].iter().filter(displaced).count() > 0);
    world.remove(SocketId(0));
    assert!(tally(&world.events[A]).values().all(|[sent, ended]| sent == ended));
}
