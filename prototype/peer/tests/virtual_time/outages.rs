//! Nothing passes for ten seconds, on the only path: what the call said meanwhile is not said afterwards.

use crate::world::{Signal, World, host};
use netmodel::{LinkSpec, NetworkSpec, Topology};
use peer::{Event, PeerConfig};
use std::{collections::BTreeSet, time::Duration};

const DELAY: Duration = Duration::from_millis(15);
/// Of a datagram that waits to be sent.
const LIFETIME: Duration = Duration::from_millis(400);
const FROM: Duration = Duration::from_secs(2);
const UNTIL: Duration = Duration::from_secs(12);

fn one_link() -> Topology {
    let network = |name: &str| NetworkSpec::new(name, LinkSpec::with_delay(DELAY));
    Topology {
        networks: vec![network("home"), network("far")],
        hosts: vec![host("laptop", &[("wlan0", "home")]), host("desktop", &[("eth0", "far")])],
        servers: vec![],
    }
}

/// `slack` is what a machine may be late where an engine reads its clock.
fn stay_fresh(mut world: World, slack: Duration) {
    world.run_until(FROM);
    for host in ["laptop", "desktop"] {
        assert!(world.arrivals(host).len() > 50, "{host}: the call runs before the outage");
    }
    world.reach("laptop", "wlan0", false);
    world.run_until(UNTIL);
    world.reach("laptop", "wlan0", true);
    // A probe timeout that doubled throughout the outage has to pass (RFC 9002 section 6.2.1).
    world.run_until(UNTIL + Duration::from_secs(10));
    for (from, to) in [("laptop", "desktop"), ("desktop", "laptop")] {
        let (mut sent, mut expired, mut arrived) = (0, BTreeSet::new(), BTreeSet::new());
        for (t, host, event) in &world.events {
            match event {
                Event::CallSent { .. } if host == from => sent += 1,
                Event::CallExpired { sequence } if host == from => {
                    assert!(expired.insert(*sequence), "{from}: {sequence} is counted once");
                }
                Event::CallReceived { sequence, sent, .. } if host == to => {
                    arrived.insert(*sequence);
                    let delay = *t - *sent;
                    assert!(delay <= DELAY * 2 + LIFETIME + slack, "{from}: {sequence} took {delay:?}");
                }
                _ => {}
            }
        }
        println!("{from}: {sent} sent, {} arrived, {} expired", arrived.len(), expired.len());
        assert_eq!(arrived.intersection(&expired).next(), None, "{from}: what is too old is not sent");
        assert!(expired.len() > 200, "{from}: {} of the 500 of the outage", expired.len());
        assert!(arrived.len() + expired.len() <= sent, "{from}");
        let after =
            world.arrivals(to).into_iter().filter(|(t, _)| *t > UNTIL + Duration::from_secs(2)).count();
        assert!(after > 120, "{from}: the call goes on: {after}");
    }
}

#[test]
fn noq_sends_nothing_that_is_old() {
    let mut world = World::new(one_link(), Signal::InBand, 1);
    world.start();
    stay_fresh(world, Duration::from_millis(1));
}

/// A slow call has no next datagram that would take the place of one that is too old.
#[test]
fn noq_sends_nothing_that_is_old_when_little_is_said() {
    let configure = |config: &mut PeerConfig| config.call = Some(peer::CallSpec::new(2, 1000).unwrap());
    let mut world = World::with(one_link(), Signal::InBand, 1, |_| {}, configure);
    world.start();
    world.run_until(FROM);
    world.reach("laptop", "wlan0", false);
    // The congestion window is not full of so little: without a path, nothing leaves.
    world.tell_interface("laptop", "wlan0", true, false);
    world.run_until(UNTIL);
    world.reach("laptop", "wlan0", true);
    world.tell_interface("laptop", "wlan0", true, true);
    world.run_until(UNTIL + Duration::from_secs(5));
    let mut delays = vec![];
    for (t, host, event) in &world.events {
        if let Event::CallReceived { sent, .. } = event {
            delays.push((host.as_str(), *t - *sent));
        }
    }
    let latest = delays.iter().map(|(_, delay)| *delay).max().unwrap();
    assert!(latest <= DELAY * 2 + LIFETIME + Duration::from_millis(1), "{delays:?}");
    let expired = world.events.iter().filter(|(_, _, event)| matches!(event, Event::CallExpired { .. }));
    assert!(expired.count() > 10, "of 40");
}

#[cfg(feature = "quiche")]
#[test]
fn quiche_sends_nothing_that_is_old() {
    let configure = |config: &mut PeerConfig| {
        config.engine = peer::EngineKind::Quiche;
        config.call = Some(peer::CallSpec::default());
    };
    let world = crate::quiche::with_the_feature::started(one_link(), Signal::InBand, |_| {}, configure);
    stay_fresh(world, Duration::from_millis(500));
}
