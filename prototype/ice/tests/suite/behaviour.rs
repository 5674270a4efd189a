//! The prober behind every NAT that the network model has: it must name what it is behind without knowing it, and say
//! so where it cannot.

mod world;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::behaviour::{
    Dependence, Filtering, Found, Hairpinning, PortAssignment, ProbeConfig, ProbeOutput, Prober, Report, Why,
};
use netmodel::{Ipv6Access, NatKind, NatSpec, Refresh};
use proptest::prelude::*;

use crate::cases;
use crate::net::ms;
use world::{Reply, Servers, World, topology};

const CLASSES: [netmodel::Dependence; 3] = netmodel::Dependence::ALL;
const ASSIGNMENTS: [netmodel::PortAssignment; 3] = [
    netmodel::PortAssignment::Preserved,
    netmodel::PortAssignment::Sequential,
    netmodel::PortAssignment::Random,
];

fn nat(
    mapping: netmodel::Dependence,
    filtering: netmodel::Dependence,
    ports: netmodel::PortAssignment,
    hairpins: bool,
) -> NatSpec {
    let hairpinning = match hairpins {
        true => netmodel::Hairpinning::ExternalSource,
        false => netmodel::Hairpinning::Off,
    };
    NatSpec { mapping, filtering, ports, hairpinning, ..NatSpec::new(NatKind::Home) }
}

fn ours(dependence: netmodel::Dependence) -> Dependence {
    match dependence {
        netmodel::Dependence::EndpointIndependent => Dependence::EndpointIndependent,
        netmodel::Dependence::AddressDependent => Dependence::AddressDependent,
        netmodel::Dependence::AddressAndPortDependent => Dependence::AddressAndPortDependent,
    }
}

fn assignment(ports: netmodel::PortAssignment) -> PortAssignment {
    match ports {
        netmodel::PortAssignment::Preserved => PortAssignment::Preserved,
        netmodel::PortAssignment::Sequential => PortAssignment::Sequential { step: 1 },
        netmodel::PortAssignment::Random => PortAssignment::Random,
    }
}

/// What can be known of hairpinning from inside.
fn hairpinning(nat: &NatSpec) -> Found<Hairpinning> {
    use netmodel::Dependence::EndpointIndependent;
    let told = nat.mapping == EndpointIndependent || nat.filtering == EndpointIndependent;
    match nat.hairpinning {
        _ if !told && nat.ports == netmodel::PortAssignment::Random => {
            Found::Inconclusive(Why::PortsUnforeseeable)
        }
        netmodel::Hairpinning::ExternalSource => Found::Is(Hairpinning::ExternalSource),
        netmodel::Hairpinning::Off => Found::Is(Hairpinning::Off),
    }
}

fn every_nat() -> impl Iterator<Item = NatSpec> {
    let classes = CLASSES.into_iter().flat_map(|mapping| CLASSES.map(|filtering| (mapping, filtering)));
    classes.flat_map(|(mapping, filtering)| {
        ASSIGNMENTS
            .into_iter()
            .flat_map(move |ports| [false, true].map(|hairpins| nat(mapping, filtering, ports, hairpins)))
    })
}

fn behind(spec: &NatSpec, setup: Servers, loss: f64, seed: u64) -> Report {
    World::new(topology(&[Some(spec.clone())], Ipv6Access::None, loss), setup, None, false, seed).run()
}

#[test]
fn each_nat_is_recognised_as_itself() {
    for (seed, spec) in (0..).zip(every_nat()) {
        let report = behind(&spec, Servers::Full, 0.0, seed);
        assert_eq!(report.nat, Found::Is(true));
        assert_eq!(report.mapping, Found::Is(ours(spec.mapping)), "{spec:?}");
        assert_eq!(report.filtering, Found::Is(Filtering::Tied(ours(spec.filtering))), "{spec:?}");
        assert_eq!(report.ports, Found::Is(assignment(spec.ports)), "{spec:?} {:?}", report.samples);
        assert_eq!(report.hairpinning, hairpinning(&spec), "{spec:?}");
        assert_eq!(report.lifetime, Found::Inconclusive(Why::NotAsked));
        assert_eq!(report.rtt, Some(ms(40)));
    }
}

#[test]
fn one_packet_in_ten_lost_leads_to_no_wrong_verdict() {
    let mut in_doubt = 0;
    for (seed, spec) in (100..).zip(every_nat()) {
        let report = behind(&spec, Servers::Full, 0.1, seed);
        assert_eq!(report.mapping, Found::Is(ours(spec.mapping)), "{spec:?}");
        assert_eq!(report.filtering, Found::Is(Filtering::Tied(ours(spec.filtering))), "{spec:?}");
        assert_eq!(report.ports, Found::Is(assignment(spec.ports)), "{spec:?} {:?}", report.samples);
        if report.hairpinning != hairpinning(&spec) {
            assert!(
                matches!(report.hairpinning, Found::Inconclusive(_)),
                "{spec:?} {:?}",
                report.hairpinning
            );
            in_doubt += 1;
        }
    }
    assert!(in_doubt <= 4, "{in_doubt} of 54 in doubt");
}

#[test]
fn of_stacked_nats_the_stricter_behaviour_is_what_counts() {
    let stacks = every_nat().filter(|spec| spec.ports == netmodel::PortAssignment::Preserved);
    for (seed, inner) in (0..).zip(stacks) {
        for (mapping, filtering) in CLASSES.into_iter().flat_map(|one| CLASSES.map(|two| (one, two))) {
            let outer = NatSpec {
                kind: NatKind::CarrierGrade,
                ..nat(mapping, filtering, netmodel::PortAssignment::Preserved, true)
            };
            let stack = [Some(inner.clone()), Some(outer.clone())];
            let report =
                World::new(topology(&stack, Ipv6Access::None, 0.0), Servers::Full, None, false, seed).run();
            let both = format!("{inner:?} {outer:?}");
            let mapping = ours(inner.mapping.max(outer.mapping));
            let filtering = ours(inner.filtering.max(outer.filtering));
            assert_eq!(report.mapping, Found::Is(mapping), "{both}");
            assert_eq!(report.filtering, Found::Is(Filtering::Tied(filtering)), "{both}");
            assert_eq!(report.ports, Found::Is(PortAssignment::Preserved), "{both}");
            assert_eq!(report.hairpinning, Found::Is(Hairpinning::ExternalSource), "{both}");
        }
    }
}

#[test]
fn with_one_address_only_what_follows_is_said() {
    for setup in [Servers::OneAddress, Servers::One] {
        for (seed, spec) in (0..).zip(every_nat().step_by(6)) {
            let report = behind(&spec, setup, 0.0, seed);
            assert_eq!(report.nat, Found::Is(true));
            assert_eq!(report.mapping, Found::Inconclusive(Why::OneAddress));
            let tight = spec.filtering == netmodel::Dependence::AddressAndPortDependent;
            let why = match setup {
                // A port was changed and heard, but not an address.
                Servers::OneAddress if !tight => Why::NoChangeOfAddress,
                _ => Why::OneAddress,
            };
            assert_eq!(report.filtering, Found::Inconclusive(why), "{setup:?} {spec:?}");
            assert_eq!(report.ports, Found::Is(assignment(spec.ports)));
        }
    }
}

#[test]
fn two_strangers_tell_the_mapping_but_not_the_filtering() {
    use netmodel::Dependence::*;
    for (mapping, expected) in [
        (EndpointIndependent, Found::Is(Dependence::EndpointIndependent)),
        (AddressDependent, Found::Inconclusive(Why::OnePort)),
        (AddressAndPortDependent, Found::Inconclusive(Why::OnePort)),
    ] {
        let report = behind(&nat(mapping, AddressDependent, ASSIGNMENTS[0], true), Servers::Two, 0.0, 1);
        assert_eq!(report.mapping, expected);
        assert_eq!(report.filtering, Found::Inconclusive(Why::OneAddress));
    }
}

#[test]
fn servers_that_do_less_than_they_say_are_found_out() {
    use netmodel::Dependence::*;
    let spec = nat(EndpointIndependent, AddressDependent, ASSIGNMENTS[0], true);
    let report = behind(&spec, Servers::OtherDown, 0.0, 1);
    assert_eq!(report.filtering, Found::Inconclusive(Why::OtherSilent));
    assert_eq!(report.mapping, Found::Inconclusive(Why::OtherSilent));
    let spec = nat(EndpointIndependent, EndpointIndependent, ASSIGNMENTS[0], true);
    let report = behind(&spec, Servers::Deaf, 0.0, 1);
    assert_eq!(report.mapping, Found::Is(Dependence::EndpointIndependent));
    assert_eq!(report.filtering, Found::Inconclusive(Why::NoChange), "not taken for a strict filter");
}

#[test]
fn where_nobody_answers_nothing_is_said() {
    let report = behind(&NatSpec::new(NatKind::Home), Servers::Nobody, 0.0, 1);
    assert_eq!(report.server, None);
    let why = Some(Why::NoAnswer);
    assert_eq!(
        [report.nat.why(), report.mapping.why(), report.filtering.why(), report.ports.why()],
        [why; 4]
    );
    assert_eq!((report.hairpinning.why(), report.lifetime.why()), (why, why));
}

#[test]
fn without_a_nat_it_is_the_firewall_that_is_told() {
    for (access, ipv6, filtering) in [
        (Ipv6Access::None, false, Filtering::None),
        (Ipv6Access::Open, true, Filtering::None),
        (Ipv6Access::Firewalled, true, Filtering::Tied(Dependence::AddressAndPortDependent)),
    ] {
        let minute = Some(Duration::from_secs(60));
        let report = World::new(topology(&[None], access, 0.0), Servers::Full, minute, ipv6, 1).run();
        assert_eq!(report.nat, Found::Is(false));
        assert_eq!(report.mapping, Found::DoesNotApply(Why::NoNat));
        assert_eq!(report.filtering, Found::Is(filtering));
        assert_eq!(report.ports, Found::DoesNotApply(Why::NoNat));
        assert_eq!(report.hairpinning, Found::DoesNotApply(Why::NoNat));
        match filtering {
            Filtering::None => assert_eq!(report.lifetime, Found::DoesNotApply(Why::NothingKept)),
            // Two minutes are beyond the limit.
            Filtering::Tied(_) => {
                let lifetime = report.lifetime.verdict().unwrap();
                assert!(
                    lifetime.below.is_none() && lifetime.at_least > Duration::from_secs(30),
                    "{lifetime:?}"
                );
            }
        }
    }
}

#[test]
fn lifetimes_are_bracketed() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    for (established, limit, loss) in [
        (ms(7_300), minutes(5), 0.0),
        (ms(30_000), minutes(5), 0.0),
        (ms(30_000), minutes(5), 0.1),
        (ms(59_000), minutes(5), 0.0),
        (ms(120_000), minutes(10), 0.0),
    ] {
        for refresh in [Refresh::Outbound, Refresh::Both] {
            let spec = NatSpec {
                timeout_initial: ms(5_000),
                timeout_established: established,
                refresh,
                ..NatSpec::new(NatKind::Home)
            };
            let topology = topology(&[Some(spec)], Ipv6Access::None, loss);
            let mut world = World::new(topology, Servers::Full, Some(limit), false, 5);
            let found = world.run().lifetime.verdict().unwrap();
            let below = found.below.unwrap();
            assert!(found.at_least <= established && established <= below, "{found:?} {established:?}");
            let width = below - found.at_least;
            assert!(width < Duration::from_secs(7), "{width:?} is too wide for {established:?}");
            assert!(world.now - world.epoch < limit + minutes(1));
        }
    }
}

#[test]
fn a_lifetime_beyond_the_limit_is_told_as_at_least() {
    let spec = NatSpec { timeout_established: ms(3_600_000), ..NatSpec::new(NatKind::Home) };
    let topology = topology(&[Some(spec)], Ipv6Access::None, 0.0);
    let lifetime = |seconds| {
        let limit = Some(Duration::from_secs(seconds));
        World::new(topology.clone(), Servers::Full, limit, false, 5).run().lifetime
    };
    let found = lifetime(100).verdict().unwrap();
    assert!(found.below.is_none() && found.at_least > Duration::from_secs(50), "{found:?}");
    assert_eq!(lifetime(1), Found::Inconclusive(Why::TimeLimit));
}

#[test]
fn a_prober_that_is_stopped_keeps_what_it_has() {
    let mut world = World::new(topology(&[None], Ipv6Access::None, 0.0), Servers::Full, None, false, 1);
    world.prober.start(world.now);
    world.drain();
    world.prober.stop();
    assert!(world.prober.is_done());
    assert_eq!(world.prober.report().nat, Found::Inconclusive(Why::Stopped));
    assert!(world.prober.poll_timeout().is_none());
}

#[test]
fn without_a_socket_nothing_is_said() {
    let config =
        ProbeConfig { servers: vec!["192.0.2.1:3478".parse().unwrap()], lifetime: None, seed: [1; 32] };
    let mut prober = Prober::new(config);
    #[expect(clippy::disallowed_methods, reason = "any time will do")]
    let now = Instant::now();
    prober.start(now);
    assert_eq!(prober.poll(), Some(ProbeOutput::Open { socket: 0 }));
    prober.opened(now, 0, None);
    assert_eq!(prober.report().nat, Found::Inconclusive(Why::NoSocket));
    let mut nobody = Prober::new(ProbeConfig { servers: vec![], lifetime: None, seed: [1; 32] });
    nobody.start(now);
    nobody.opened(now, 0, Some("192.0.2.2:1".parse().unwrap()));
    assert!(nobody.is_done());
}

/// How a reply is spoilt.
#[derive(Debug, Clone)]
enum Lie {
    /// From an address that was not asked.
    FromElsewhere(u16),
    /// Another transaction, with another outside.
    OtherTransaction(u8),
    /// On another socket.
    OtherSocket,
    Garbage(Vec<u8>),
    Flipped(usize, u8),
}

fn lie() -> impl Strategy<Value = Lie> {
    prop_oneof![
        any::<u16>().prop_map(Lie::FromElsewhere),
        (1_u8..).prop_map(Lie::OtherTransaction),
        Just(Lie::OtherSocket),
        prop::collection::vec(any::<u8>(), 0..120).prop_map(Lie::Garbage),
        (any::<usize>(), 1_u8..).prop_map(|(place, mask)| Lie::Flipped(place, mask)),
    ]
}

/// A reply that would turn every verdict, if it counted.
fn tell(lie: &Lie, (socket, from, bytes): &Reply) -> Reply {
    use ice::stun::{Builder, Class, Message, TransactionId};
    let Ok(reply) = Message::parse(bytes) else { return (*socket, *from, bytes.clone()) };
    let outside: SocketAddr = "203.0.113.99:999".parse().unwrap();
    let answer = |id: TransactionId| {
        Builder::new(Class::Success, ice::stun::BINDING, id).xor_mapped_address(outside).finish(None)
    };
    match lie {
        Lie::FromElsewhere(port) => {
            (*socket, SocketAddr::new([192, 0, 2, 77].into(), *port), answer(reply.transaction()))
        }
        Lie::OtherTransaction(mask) => {
            let mut id = reply.transaction();
            id.0[3] ^= mask;
            (*socket, *from, answer(id))
        }
        Lie::OtherSocket => (socket + 1, *from, answer(reply.transaction())),
        Lie::Garbage(bytes) => (*socket, *from, bytes.clone()),
        Lie::Flipped(place, mask) => {
            let mut bytes = bytes.clone();
            // The fingerprint finds it out.
            let place = place % bytes.len();
            bytes[place] ^= mask;
            (*socket, *from, bytes)
        }
    }
}

proptest! {
    #![proptest_config(cases(200))]

    #[test]
    fn lies_change_no_verdict(
        which in any::<prop::sample::Index>(), lies in prop::collection::vec(lie(), 1..8), seed: u64
    ) {
        let nats: Vec<NatSpec> = every_nat().collect();
        let spec = which.get(&nats);
        let topology = topology(&[Some(spec.clone())], Ipv6Access::None, 0.0);
        let honest = World::new(topology.clone(), Servers::Full, None, false, seed).run();
        let mut world = World::new(topology, Servers::Full, None, false, seed);
        let mut told = 0;
        world.liar = Some(Box::new(move |reply| {
            told += 1;
            tell(&lies[told % lies.len()], reply)
        }));
        let report = world.run();
        prop_assert_eq!(honest, report);
    }

    #[test]
    fn whatever_comes_from_the_server_it_ends(
        answers in prop::collection::vec((any::<prop::sample::Index>(), prop::collection::vec(any::<u8>(), 0..60), any::<bool>(), any::<u16>()), 0..60),
    ) {
        use ice::stun::{Builder, Class, Message};
        let server: SocketAddr = "192.0.2.1:3478".parse().unwrap();
        let mut prober = Prober::new(ProbeConfig { servers: vec![server], lifetime: Some(ms(20_000)), seed: [3; 32] });
        #[expect(clippy::disallowed_methods, reason = "any time will do")]
        let mut now = Instant::now();
        prober.start(now);
        let (mut sent, mut sockets, mut answers) = (Vec::new(), 0_u32, answers.into_iter());
        for _ in 0..5_000 {
            while let Some(output) = prober.poll() {
                match output {
                    ProbeOutput::Open { socket } => {
                        sockets = sockets.max(socket + 1);
                        let local = SocketAddr::new([10, 0, 0, 2].into(), 1024 + socket as u16);
                        prober.opened(now, socket, Some(local));
                    }
                    ProbeOutput::Transmit { socket, to, bytes } => sent.push((socket, to, bytes)),
                    ProbeOutput::Close { .. } => {}
                }
            }
            prop_assert!(sockets < 200);
            let Some(next) = prober.poll_timeout() else { break };
            now = now.max(next);
            if let (Some((which, value, success, kind)), false) = (answers.next(), sent.is_empty()) {
                let (socket, to, bytes) = which.get(&sent);
                let request = Message::parse(bytes).unwrap();
                let class = if success { Class::Success } else { Class::Error };
                let answer = Builder::response(class, &request).xor_mapped_address(SocketAddr::new([203, 0, 113, 1].into(), kind));
                let answer = match value.first() {
                    Some(kind) if kind % 2 == 0 => answer.attribute(0x802c, &value).unwrap(),
                    _ => answer.plain_address(0x802c, SocketAddr::new([192, 0, 2, 2].into(), kind)),
                };
                prober.handle_datagram(now, *socket, *to, &answer.finish(None));
            }
            prober.handle_timeout(now);
        }
        prop_assert!(prober.is_done());
    }
}
