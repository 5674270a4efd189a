//! Calls over TURN relays: alone, and beside direct paths that come and go.

use crate::world::{Signal, World, host};
use netmodel::{
    Dependence, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, PortAssignment, ServerSpec, Topology,
};
use peer::{CandidateKind, Event, PathState, RelayNews};
use std::time::Duration;

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub(crate) fn server(name: &str) -> ServerSpec {
    ServerSpec { name: name.into(), delay: ms(15), known_to_carriers: true }
}

/// Both ends behind NATs with one mapping for each destination (RFC 4787 section 4.1): no hole can be punched.
pub(crate) fn symmetric() -> Topology {
    let network = |name: &str, delay| NetworkSpec {
        nat: Some(NatSpec {
            mapping: Dependence::AddressAndPortDependent,
            ports: PortAssignment::Random,
            ..NatSpec::new(NatKind::Home)
        }),
        ipv6: Ipv6Access::None,
        ..NetworkSpec::new(name, LinkSpec::with_delay(ms(delay)))
    };
    Topology {
        networks: vec![network("home", 4), network("o2", 15), network("telekom", 15)],
        hosts: vec![
            host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
            host("desktop", &[("wwan0", "telekom")]),
        ],
        servers: vec![server("meet"), server("relay")],
    }
}

pub(crate) fn active_kinds(world: &World, of: &str) -> Vec<CandidateKind> {
    let paths = world.paths(of).into_iter();
    paths.filter(|(_, view)| view.state == PathState::Active).map(|(_, view)| view.candidate).collect()
}

fn allocated(world: &World, at: &str) -> usize {
    let is_one = |event: &Event| matches!(event, Event::Relay { news: RelayNews::Allocated { .. }, .. });
    world.events.iter().filter(|(_, host, event)| host == at && is_one(event)).count()
}

#[test]
fn where_no_direct_path_exists_the_call_goes_over_the_relay() {
    for seed in 0..5 {
        let mut world = World::new(symmetric(), Signal::Rendezvous, seed);
        world.start();
        world.run_until(secs(20));
        assert_eq!(world.connections().len(), 2, "{:?}", world.hosts["laptop"].outcome);
        for (at, interfaces) in [("laptop", 2), ("desktop", 1)] {
            assert_eq!(allocated(&world, at), interfaces, "{at}: one on each interface");
            assert!(world.longest_gap(at, secs(2), secs(20)) < ms(80), "seed {seed}, {at}");
            let kinds = active_kinds(&world, at);
            assert!(kinds.iter().all(|kind| *kind == CandidateKind::Relay), "{at}: {kinds:?}");
        }
        let bound = |(_, _, event): &&(Duration, String, Event)| {
            matches!(event, Event::Relay { news: RelayNews::Bound(_), .. })
        };
        assert!(world.events.iter().any(|event| bound(&event)), "a channel is bound");
    }
}
