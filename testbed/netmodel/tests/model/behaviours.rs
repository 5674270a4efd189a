//! The nine NATs of RFC 4787, told apart as RFC 5780 does it; port assignment, hairpinning, refreshing, stacking, and the
//! hole-punching matrix.

use crate::common::*;
use netmodel::*;
use std::{fmt::Write as _, net::SocketAddr};

fn class(mapping: Dependence, filtering: Dependence) -> NatSpec {
    NatSpec { mapping, filtering, ..NatSpec::new(NatKind::Home) }
}

fn all() -> impl Iterator<Item = (Dependence, Dependence)> {
    Dependence::ALL.into_iter().flat_map(|mapping| Dependence::ALL.map(|filtering| (mapping, filtering)))
}

fn world(home: NatSpec) -> World {
    let mut topology = topology();
    topology.networks[0].nat = Some(home);
    World::new(topology, 7)
}

/// Where a packet from `alice` comes from as a server sees it.
fn mapped(world: &mut World, port: u16, server: &str, server_port: u16) -> SocketAddr {
    world.send("alice", port, world.ipv4(server, server_port), b"");
    world.take_one(server).udp().0
}

/// Whether a packet from a server to an outside endpoint arrives.
fn arrives(world: &mut World, server: &str, port: u16, to: SocketAddr) -> bool {
    world.send(server, port, to, b"");
    world.run(s(1));
    world.causes();
    !world.take().is_empty()
}

/// RFC 5780 section 4.3: the same inside endpoint, seen from another port and from another address.
fn observed_mapping(world: &mut World) -> Dependence {
    let first = mapped(world, 4000, "meet", 1);
    let other_port = mapped(world, 4000, "meet", 2);
    let other_address = mapped(world, 4000, "control", 1);
    match (other_address == first, other_port == first) {
        (true, true) => Dependence::EndpointIndependent,
        (false, true) => Dependence::AddressDependent,
        (false, false) => Dependence::AddressAndPortDependent,
        (true, false) => panic!("no mapping behaves like this"),
    }
}

/// RFC 5780 section 4.4: who but the one that was sent to may answer.
fn observed_filtering(world: &mut World) -> Dependence {
    let outside = mapped(world, 4100, "meet", 1);
    assert!(arrives(world, "meet", 1, outside));
    let other_port = arrives(world, "meet", 2, outside);
    let other_address = arrives(world, "control", 1, outside);
    match (other_address, other_port) {
        (true, true) => Dependence::EndpointIndependent,
        (false, true) => Dependence::AddressDependent,
        (false, false) => Dependence::AddressAndPortDependent,
        (true, false) => panic!("no filtering behaves like this"),
    }
}

#[test]
fn each_class_is_what_it_says() {
    for (mapping, filtering) in all() {
        let mut world = world(class(mapping, filtering));
        assert_eq!((observed_mapping(&mut world), observed_filtering(&mut world)), (mapping, filtering));
    }
}

#[test]
fn a_mapping_lives_as_long_as_any_of_its_permissions() {
    let mut world = world(class(Dependence::EndpointIndependent, Dependence::AddressDependent));
    let outside = mapped(&mut world, 4000, "meet", 1);
    world.run(s(20));
    assert_eq!(mapped(&mut world, 4000, "control", 1), outside);
    world.run(s(15));
    // The permission of the first is over, the mapping is not.
    assert!(!arrives(&mut world, "meet", 1, outside));
    assert!(arrives(&mut world, "control", 9, outside));
}

#[test]
fn inbound_packets_refresh_where_that_is_the_behaviour() {
    for filtering in Dependence::ALL {
        for (refresh, alive) in [(Refresh::Outbound, false), (Refresh::Both, true)] {
            let spec = NatSpec { refresh, ..class(Dependence::EndpointIndependent, filtering) };
            let mut world = world(spec);
            let outside = mapped(&mut world, 4000, "meet", 1);
            for _ in 0..20 {
                arrives(&mut world, "meet", 1, outside);
                world.run(s(9));
            }
            assert_eq!(arrives(&mut world, "meet", 1, outside), alive, "{filtering:?} {refresh:?}");
        }
    }
}

#[test]
fn what_is_filtered_refreshes_nothing() {
    let filtering = Dependence::AddressAndPortDependent;
    let mut world =
        world(NatSpec { refresh: Refresh::Both, ..class(Dependence::EndpointIndependent, filtering) });
    let outside = mapped(&mut world, 4000, "meet", 1);
    for _ in 0..4 {
        assert!(!arrives(&mut world, "control", 1, outside));
        world.run(s(9));
    }
    assert!(!arrives(&mut world, "meet", 1, outside));
}

#[test]
fn ports_are_preserved_sequential_or_random() {
    let ports = |ports, seed| -> Vec<u16> {
        let mut topology = topology();
        let spec = class(Dependence::AddressAndPortDependent, Dependence::AddressAndPortDependent);
        topology.networks[0].nat = Some(NatSpec { ports, ..spec });
        let mut world = World::new(topology, seed);
        (1..9).map(|server_port| mapped(&mut world, 4000, "meet", server_port).port()).collect()
    };
    assert_eq!(ports(PortAssignment::Preserved, 1), (4000..4008).collect::<Vec<_>>());
    let sequential = ports(PortAssignment::Sequential, 1);
    assert!(sequential.windows(2).all(|pair| pair[1] == pair[0] + 1), "{sequential:?}");
    assert_ne!(sequential, ports(PortAssignment::Sequential, 2), "where it begins is drawn");
    let random = ports(PortAssignment::Random, 1);
    assert_eq!(random, ports(PortAssignment::Random, 1));
    assert_ne!(random, ports(PortAssignment::Random, 2));
    assert!(random.windows(2).filter(|pair| pair[1] == pair[0] + 1).count() == 0, "{random:?}");
    assert!(random.iter().all(|port| *port >= 1024), "{random:?}");
}

#[test]
fn random_ports_are_uniform() {
    let spec = NatSpec { ports: PortAssignment::Random, ..NatSpec::new(NatKind::Home) };
    let mut world = world(spec);
    for port in 1024..9216 {
        world.send("alice", port, world.ipv4("meet", 1), b"");
    }
    world.run(s(1));
    // Eight parts of equal size: 1024 in each on average, with a deviation of 30; seven are exceeded with
    // probability 3e-12 each.
    let mut parts = [0_u32; 8];
    let given: std::collections::BTreeSet<u16> =
        world.take().iter().map(|delivery| delivery.udp().0.port()).collect();
    assert_eq!(given.len(), 8192, "no port is given twice");
    for port in given {
        parts[usize::from(port - 1024) * 8 / 64_512] += 1;
    }
    assert!(parts.iter().all(|count| count.abs_diff(1024) < 210), "{parts:?}");
}

#[test]
fn inside_hosts_with_one_port_get_two() {
    for ports in [PortAssignment::Preserved, PortAssignment::Sequential, PortAssignment::Random] {
        let mut world = world(NatSpec { ports, ..NatSpec::new(NatKind::Home) });
        let alice = mapped(&mut world, 4000, "meet", 1);
        world.send("carol", 4000, world.ipv4("meet", 1), b"");
        let carol = world.take_one("meet").udp().0;
        assert_ne!(alice, carol);
        for (name, outside) in [("alice", alice), ("carol", carol)] {
            world.send("meet", 1, outside, b"");
            assert_eq!(world.take_one(name).udp().1, world.ipv4(name, 4000));
        }
    }
}

#[test]
fn hairpinning_can_be_off() {
    let mut world = world(NatSpec { hairpinning: Hairpinning::Off, ..NatSpec::new(NatKind::Home) });
    let alice = mapped(&mut world, 4000, "meet", 1);
    world.send("carol", 5000, alice, b"");
    assert_eq!(world.take_drops(), [DropCause::NatHairpin]);
    assert_eq!(world.dropped("carol", Direction::Up, DropCause::NatHairpin), 1);
}

#[test]
fn hairpinned_packets_are_filtered_like_all_others() {
    let mut world = world(class(Dependence::EndpointIndependent, Dependence::EndpointIndependent));
    let alice = mapped(&mut world, 4000, "meet", 1);
    world.send("carol", 5000, alice, b"not asked for, and let in");
    assert_eq!(world.take_one("alice").udp().0, world.nat("home", 5000));
}

#[test]
fn flushing_forgets_and_gives_the_same_ports_again() {
    let mut world = world(NatSpec::new(NatKind::Home));
    let outside = mapped(&mut world, 4000, "meet", 1);
    let network = world.plan.network("home").unwrap();
    world.change(Change::NatFlush { network }).unwrap();
    world.run(ms(1));
    assert!(matches!(world.mappings().last(), Some((_, _, ended, false)) if *ended == outside));
    assert!(!arrives(&mut world, "meet", 1, outside));
    assert_eq!(mapped(&mut world, 4000, "meet", 1), outside);
    let network = world.plan.network("open").unwrap();
    assert_eq!(world.change(Change::NatFlush { network }), Err(ChangeError::NoNat(network)));
}

/// `alice` in `home` behind `o2`, which has its own `bob`.
fn stacked(home: NatSpec, o2: NatSpec) -> World {
    let mut topology = topology();
    topology.networks[0].nat = Some(home);
    topology.networks[0].behind = Some("o2".into());
    topology.networks[1].nat = Some(NatSpec { kind: NatKind::CarrierGrade, ..o2 });
    World::new(topology, 7)
}

#[test]
fn stacked_nats_translate_in_turn() {
    let mut world = stacked(NatSpec::new(NatKind::Home), NatSpec::new(NatKind::CarrierGrade));
    let home = world.nat("home", 4000);
    assert_eq!(home.ip().to_string(), "100.64.2.3", "after bob's");
    let outside = mapped(&mut world, 4000, "meet", 1);
    assert_eq!(outside, world.nat("o2", 4000));
    let begun: Vec<_> = world.mappings().iter().map(|(_, inside, outside, _)| (*inside, *outside)).collect();
    assert_eq!(begun, [(world.ipv4("alice", 4000), home), (home, outside)]);
    let sent = world.now;
    world.send("meet", 1, outside, b"back");
    let delivery = world.take_one("alice");
    assert_eq!(delivery.udp(), (world.ipv4("meet", 1), world.ipv4("alice", 4000), &b"back"[..]));
    // The server's delay, the link of the home's border and that of alice; two borders.
    assert_eq!(delivery.at - sent, SERVER_DELAY + LINK_DELAY * 2);
    assert_eq!(delivery.packet[8], 62);
    let router = world.network.counts().into_iter().filter(|link| link.router.as_deref() == Some("home"));
    let router: Vec<_> = router.map(|link| (link.network, link.direction, link.packets)).collect();
    assert_eq!(router, [("o2".to_owned(), Direction::Up, 1), ("o2".to_owned(), Direction::Down, 1)]);
}

#[test]
fn the_stricter_of_stacked_nats_decides() {
    use Dependence::*;
    for (inner, outer) in all() {
        let home = class(inner, EndpointIndependent);
        let mut world = stacked(home, class(outer, EndpointIndependent));
        assert_eq!(observed_mapping(&mut world), inner.max(outer), "{inner:?} behind {outer:?}");
        let home = class(EndpointIndependent, inner);
        let mut world = stacked(home, class(EndpointIndependent, outer));
        assert_eq!(observed_filtering(&mut world), inner.max(outer), "{inner:?} behind {outer:?}");
    }
}

#[test]
fn neighbours_of_a_carrier_meet_within_it() {
    let mut world = stacked(NatSpec::new(NatKind::Home), NatSpec::new(NatKind::CarrierGrade));
    // At the home's outside, which is an address of the carrier's.
    let (home, bob) = (world.nat("home", 4000), world.ipv4("bob", 6000));
    world.send("alice", 4000, bob, b"direct");
    assert_eq!(world.take_one("bob").udp().0, home);
    world.send("bob", 6000, home, b"back");
    world.take_one("alice");
    // And by hairpinning at the carrier's outside.
    let outside = mapped(&mut world, 4001, "meet", 1);
    world.send("bob", 6001, outside, b"");
    assert_eq!(world.take_drops(), [DropCause::NatFiltered]);
    world.send("alice", 4001, world.nat("o2", 6001), b"");
    assert_eq!(world.take_one("bob").udp().0, outside);
}

#[test]
fn ipv6_behind_two_firewalls_needs_both_open() {
    let mut world = stacked(NatSpec::new(NatKind::Home), NatSpec::new(NatKind::CarrierGrade));
    let (alice, dave) = (world.ipv6("alice", 4000), world.ipv6("dave", 1));
    world.send("dave", 1, alice, b"knock");
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
    world.send("alice", 4000, dave, b"open");
    world.take_one("dave");
    world.send("dave", 1, alice, b"answer");
    assert_eq!(world.take_one("alice").packet[7], 61, "three borders");
    // Bob is beside the home, so that only its own firewall is between.
    world.send("bob", 1, alice, b"knock");
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
    world.send("alice", 4000, world.ipv6("bob", 1), b"");
    world.take_one("bob");
}

/// What follows from RFC 4787 sections 4.1 and 5 (as in RFC 5128 section 3.3) for two hosts that know each other's outside
/// endpoint as a server saw it and both send to it, and to where they have heard from; see `docs/hole-punching.md`.
fn predicted(one: (Dependence, Dependence), other: (Dependence, Dependence)) -> bool {
    use Dependence::{AddressAndPortDependent, EndpointIndependent};
    let is_known = |(mapping, _): (Dependence, Dependence)| mapping == EndpointIndependent;
    let ignores_ports = |(_, filtering): (Dependence, Dependence)| filtering != AddressAndPortDependent;
    let lets_anybody = |(_, filtering): (Dependence, Dependence)| filtering == EndpointIndependent;
    match (is_known(one), is_known(other)) {
        (true, true) => true,
        (true, false) => ignores_ports(one),
        (false, true) => ignores_ports(other),
        (false, false) => {
            lets_anybody(one) && ignores_ports(other) || lets_anybody(other) && ignores_ports(one)
        }
    }
}

/// Two hosts behind such NATs learn their outside endpoints from one server, tell each other, and both send three times,
/// the later times also to where they have heard from. Whether each then has heard the other.
fn punched(one: (Dependence, Dependence), other: (Dependence, Dependence)) -> bool {
    let mut topology = topology();
    topology.networks[0].nat = Some(class(one.0, one.1));
    let far = NatSpec { kind: NatKind::CarrierGrade, ..class(other.0, other.1) };
    topology.networks[1].nat = Some(far);
    let mut world = World::new(topology, 7);
    let seen = |world: &mut World, name| {
        world.send(name, 4000, world.ipv4("meet", 3478), b"");
        world.take_one("meet").udp().0
    };
    let mut known = [("alice", vec![seen(&mut world, "bob")]), ("bob", vec![seen(&mut world, "alice")])];
    let mut heard = [false; 2];
    for _ in 0..3 {
        for (name, remotes) in &known {
            for remote in remotes {
                world.send(name, 4000, *remote, b"check");
            }
            // So that neither always comes first.
            world.run(ms(7));
        }
        world.run(s(1));
        for delivery in world.take() {
            let side = usize::from(delivery.port == world.port("bob"));
            heard[side] = true;
            let from = delivery.udp().0;
            if !known[side].1.contains(&from) {
                known[side].1.push(from);
            }
        }
    }
    heard == [true; 2]
}

fn short((mapping, filtering): (Dependence, Dependence)) -> String {
    let letters = |dependence| match dependence {
        Dependence::EndpointIndependent => "EI",
        Dependence::AddressDependent => "AD",
        Dependence::AddressAndPortDependent => "APD",
    };
    format!("{}M/{}F", letters(mapping), letters(filtering))
}

#[test]
fn holes_are_punched_where_they_are_predicted() {
    let mut table = String::from("| |");
    for class in all() {
        write!(table, " {} |", short(class)).unwrap();
    }
    table.push_str("\n|---|");
    table.push_str(&"---|".repeat(9));
    table.push('\n');
    for one in all() {
        write!(table, "| **{}** |", short(one)).unwrap();
        for other in all() {
            let works = punched(one, other);
            assert_eq!(works, predicted(one, other), "{} and {}", short(one), short(other));
            assert_eq!(works, punched(other, one), "{} and {}", short(one), short(other));
            table.push_str(if works { " yes |" } else { " - |" });
        }
        table.push('\n');
    }
    let documented = include_str!("../../docs/hole-punching.md");
    assert!(documented.contains(&table), "docs/hole-punching.md should hold:\n{table}");
}
