//! The workload `probe` between whole peers: found out together, told by the client, over whatever signalling there is.

use crate::relays::server;
use crate::world::{Signal, World, host, notes_topology, one_lan};
use netmodel::{
    Block, BlockAnswer, BlockDirection, Dependence, LinkSpec, NatKind, NatSpec, NetworkSpec, ServerSpec,
    StunMatch, Topology,
};
use peer::{Event, Outcome, ProbeSpec, blocking::*};
use std::{net::SocketAddr, time::Duration};

const LIMIT: Duration = Duration::from_secs(70);

fn with_control(mut topology: Topology) -> Topology {
    topology.servers.push(ServerSpec { known_to_carriers: false, ..server("control") });
    topology
}

fn probe(topology: Topology, signal: Signal, call: bool) -> World {
    let plan = netmodel::Plan::new(topology.clone()).unwrap();
    let controls: Vec<SocketAddr> = plan
        .server("control")
        .map_or(vec![], |port| port.addresses().iter().map(|(ip, _)| SocketAddr::new(ip, 47_111)).collect());
    let spec = ProbeSpec { controls, stun: vec![] };
    World::with(
        topology,
        signal,
        3,
        |_| {},
        |config| {
            config.probe = Some(spec.clone());
            config.call = config.call.filter(|_| call);
        },
    )
}

fn findings(world: &World) -> Vec<&Finding> {
    let finding = |(_, host, event): &'_ (Duration, String, Event)| {
        host == "laptop" && matches!(event, Event::Blocking(_))
    };
    let of = world.events.iter().filter(|event| finding(event));
    of.filter_map(
        |(_, _, event)| if let Event::Blocking(found) = event { Some(found.as_ref()) } else { None },
    )
    .collect()
}

/// Both carriers of the notes carry no IPv4 between peers.
#[test]
fn the_carriers_of_the_notes_block_peers_over_ipv4_alone() {
    let mut world = probe(with_control(notes_topology()), Signal::Rendezvous, false);
    world.start();
    world.run_until(LIMIT);
    assert_eq!(world.hosts["laptop"].outcome, Some(Outcome::Finished));
    let found = findings(&world);
    assert_eq!(found.len(), 8);
    for Finding { local_interface, ipv6, verdict, variants, control, .. } in found {
        let at = if local_interface == "wlan0" { At::There } else { At::Both };
        let wanted = if *ipv6 { Verdict::Open } else { Verdict::UdpP2pBlocked { at } };
        assert_eq!(*verdict, wanted, "{local_interface} {variants:?}");
        let silent = !ipv6 && local_interface == "wwan0";
        assert_eq!(*control, if silent { ControlView::Silent } else { ControlView::Open });
    }
    assert_eq!(world.connections(), [], "no connection was needed");
}

#[test]
fn without_a_rendezvous_reports_travel_inside_the_connection() {
    let mut world = probe(one_lan(), Signal::InBand, false);
    world.start();
    world.run_until(LIMIT);
    assert_eq!(world.hosts["laptop"].outcome, Some(Outcome::Finished));
    assert!(findings(&world).iter().all(|found| found.verdict == Verdict::Open), "{:?}", findings(&world));
    assert_eq!(findings(&world).len(), 2);
}

/// No candidate of a NAT is found where STUN is filtered, and no check arrives: other variants tell where they are.
#[test]
fn a_filter_of_stun_is_found_beside_a_call() {
    let mut topology = with_control(notes_topology());
    let filter =
        |direction| Block::Stun { matching: StunMatch::Signature, direction, answer: BlockAnswer::Silence };
    topology.networks[1].blocks = vec![filter(BlockDirection::Both)];
    topology.networks[2].blocks = vec![];
    let mut world = probe(topology, Signal::Rendezvous, true);
    world.start();
    world.run_until(LIMIT);
    for Finding { local_interface, verdict, ipv6, .. } in findings(&world) {
        let wanted = if local_interface == "wwan0" { Verdict::StunFiltered } else { Verdict::Open };
        assert_eq!(*verdict, wanted, "{local_interface} {ipv6}");
    }
    assert_eq!(findings(&world).len(), 8);
    assert_eq!(world.hosts["laptop"].outcome, None, "the call goes on");
    assert!(world.longest_gap("desktop", Duration::from_secs(2), LIMIT) < Duration::from_millis(200));
}

/// Three networks at each end through whose NATs nothing passes but over a relay: more candidates than have room beside a
/// report.
fn only_relays() -> Topology {
    let network = |name: &str| NetworkSpec {
        nat: Some(NatSpec {
            mapping: Dependence::AddressAndPortDependent,
            filtering: Dependence::AddressAndPortDependent,
            ..NatSpec::new(NatKind::Home)
        }),
        ..NetworkSpec::new(name, LinkSpec::with_delay(Duration::from_millis(10)))
    };
    let interfaces = ["eth0", "wlan0", "wwan0"];
    let end = |name: &str, networks: [&str; 3]| {
        let on: Vec<_> = interfaces.into_iter().zip(networks).collect();
        host(name, &on)
    };
    Topology {
        networks: ["n1", "n2", "n3", "m1", "m2", "m3"].map(network).to_vec(),
        hosts: vec![end("laptop", ["n1", "n2", "n3"]), end("desktop", ["m1", "m2", "m3"])],
        servers: vec![server("meet"), server("relay")],
    }
}

#[test]
fn a_probe_takes_no_candidates_from_a_call() {
    let of = |probes: bool| {
        let mut world = probe(with_control(only_relays()), Signal::Rendezvous, true);
        if !probes {
            world = World::with(with_control(only_relays()), Signal::Rendezvous, 3, |_| {}, |_| {});
        }
        world.start();
        world.run_until(Duration::from_secs(30));
        let mut relayed = std::collections::BTreeSet::new();
        for (_, host, event) in &world.events {
            if let (Event::RemoteCandidate(candidate), "laptop") = (event, host.as_str())
                && candidate.kind == peer::CandidateKind::Relay
            {
                relayed.insert(candidate.address);
            }
        }
        let connected = |(t, _, event): &(Duration, String, Event)| {
            matches!(event, Event::Connected { .. }).then_some(*t)
        };
        let connected = world.events.iter().find_map(connected);
        (connected.unwrap_or_else(|| panic!("no path, probing: {probes}")), relayed.len())
    };
    let (without, with) = (of(false), of(true));
    println!("without {without:?}, with {with:?}");
    assert_eq!(with.1, without.1, "relayed candidates of the server");
    assert!(with.1 >= 3, "{with:?}");
    assert!(with.0 < without.0 + Duration::from_millis(300), "{with:?} {without:?}");
}

#[test]
fn nobody_at_the_other_end_is_told_as_such() {
    let mut world = probe(with_control(notes_topology()), Signal::Rendezvous, false);
    world.hosts.remove("desktop");
    world.start();
    world.run_until(LIMIT);
    let outcome = world.hosts["laptop"].outcome.clone();
    assert!(matches!(outcome, Some(Outcome::Unreachable { .. })), "{outcome:?}");
    let found = findings(&world);
    assert_eq!(found.len(), 8);
    assert!(found.iter().all(|found| found.verdict == Verdict::Inconclusive(Why::NoReport)));
}
