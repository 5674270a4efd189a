//! Whatever is done to the network: it does not panic, loses no packet without saying so, leaks no mapping, and lets
//! nobody in whom filtering forbids.

use crate::common::*;
use netmodel::*;
use proptest::prelude::*;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Duration,
};

#[derive(Debug, Clone)]
enum Step {
    /// To a host as the internet knows it (outside address of its NAT), to one directly, or to a server.
    Send {
        from: usize,
        port: u16,
        to: usize,
        to_port: u16,
        ipv6: bool,
        outside: bool,
        bytes: usize,
    },
    Rubbish {
        from: u16,
        bytes: Vec<u8>,
    },
    /// A sound packet with one byte changed.
    Damaged {
        from: usize,
        to: usize,
        at: usize,
        with: u8,
    },
    /// An ICMP error about a datagram that may never have been.
    Error {
        from: usize,
        to: usize,
        about: (usize, u16, usize, u16),
    },
    Reachable {
        port: usize,
        reachable: bool,
    },
    Silent {
        port: usize,
        silent: bool,
    },
    Address {
        port: usize,
    },
    Roam {
        port: usize,
        network: u16,
    },
    Rebind {
        network: u16,
        flush: bool,
    },
    Link {
        network: u16,
        direction: Direction,
        link: Box<LinkSpec>,
    },
    Blocks {
        network: u16,
        blocks: Vec<Block>,
    },
    Radio {
        network: u16,
        on: bool,
    },
    Pass {
        milliseconds: u64,
        oversleep: bool,
    },
}

/// `erin` is behind two NATs: those of `cabin` and of `o2`.
const NAMES: [&str; 7] = ["alice", "carol", "bob", "erin", "dave", "meet", "control"];
const NETWORKS: u16 = 4;

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    // One more than there are.
    let network = 0..NETWORKS + 1;
    // Few ports, so that flows meet.
    let port = 5000..5004_u16;
    prop_oneof![
        12 => (name.clone(), port.clone(), name.clone(), port.clone(), any::<bool>(), any::<bool>(), 0..1400_usize)
            .prop_map(|(from, port, to, to_port, ipv6, outside, bytes)| Step::Send {
                from, port, to, to_port, ipv6, outside, bytes
            }),
        1 => (0..10_u16, prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(from, bytes)| Step::Rubbish { from, bytes }),
        2 => (name.clone(), name.clone(), 0..60_usize, any::<u8>())
            .prop_map(|(from, to, at, with)| Step::Damaged { from, to, at, with }),
        1 => (name.clone(), name.clone(), (name.clone(), port.clone(), name.clone(), port))
            .prop_map(|(from, to, about)| Step::Error { from, to, about }),
        1 => (name.clone(), any::<bool>()).prop_map(|(port, reachable)| Step::Reachable { port, reachable }),
        1 => (name.clone(), any::<bool>()).prop_map(|(port, silent)| Step::Silent { port, silent }),
        1 => name.clone().prop_map(|port| Step::Address { port }),
        1 => (name, network.clone()).prop_map(|(port, network)| Step::Roam { port, network }),
        1 => (network.clone(), any::<bool>()).prop_map(|(network, flush)| Step::Rebind { network, flush }),
        1 => (network.clone(), prop_oneof![Just(Direction::Up), Just(Direction::Down)], link())
            .prop_map(|(network, direction, link)| Step::Link { network, direction, link: Box::new(link) }),
        1 => (network.clone(), any::<bool>()).prop_map(|(network, on)| Step::Radio { network, on }),
        1 => (network, blocks()).prop_map(|(network, blocks)| Step::Blocks { network, blocks }),
        6 => (prop_oneof![0..50_u64, 0..40_000_u64], any::<bool>())
            .prop_map(|(milliseconds, oversleep)| Step::Pass { milliseconds, oversleep }),
    ]
}

/// A network, an access point and an uplink.
fn hotspot() -> impl Strategy<Value = (u16, usize, usize)> {
    (0..NETWORKS + 1, 0..NAMES.len(), 0..NAMES.len())
}

fn chance() -> impl Strategy<Value = Probability> {
    prop_oneof![3 => Just(Probability::NEVER), 1 => (0.0..60.0).prop_map(|it| Probability::percent(it).unwrap())]
}

fn link() -> impl Strategy<Value = LinkSpec> {
    let distribution = prop_oneof![
        Just(JitterDistribution::Uniform),
        Just(JitterDistribution::Normal),
        Just(JitterDistribution::ParetoNormal)
    ];
    let pace = prop_oneof![
        Just((None, None)),
        (8_000..10_000_000_u64).prop_map(|rate| (BitRate::per_second(rate), None)),
        prop::collection::vec(1..30_u32, 1..9).prop_map(|gaps| {
            let mut at = 0;
            let text: String = gaps
                .iter()
                .map(|gap| {
                    at += gap;
                    format!("{at}\n")
                })
                .collect();
            (None, Some(Trace::parse(text.as_bytes()).unwrap()))
        }),
    ];
    let loss = prop_oneof![
        3 => Just(Loss::None),
        1 => chance().prop_map(Loss::Independent),
        1 => [chance(), chance(), chance(), chance()].prop_map(|[to_bad, to_good, loss_in_good, loss_in_bad]| {
            Loss::GilbertElliott(GilbertElliott { to_bad, to_good, loss_in_good, loss_in_bad })
        }),
        1 => prop::collection::vec(any::<bool>(), 1..5)
            .prop_map(|lost| Loss::Pattern(LossPattern::new(lost).unwrap())),
    ];
    let queue = (1500..20_000_u64, prop::option::of(1..500_u64), any::<bool>());
    let mtu = prop_oneof![4 => Just(None), 1 => (1280..1500_u16).prop_map(Mtu::new)];
    (0..40_u64, 0..8_u64, distribution, any::<bool>(), pace, queue, loss, chance(), chance(), mtu).prop_map(
        |(delay, jitter, jitter_distribution, kept, (rate, trace), queue, loss, duplicate, reorder, mtu)| {
            LinkSpec {
                delay: ms(delay),
                jitter: ms(jitter),
                jitter_distribution,
                order: if kept { Order::Kept } else { Order::Free },
                rate,
                trace,
                queue: ByteSize(queue.0),
                queue_time: queue.1.map(ms),
                discipline: if queue.2 {
                    QueueDiscipline::CoDel(CoDelSpec::default())
                } else {
                    QueueDiscipline::DropTail
                },
                loss,
                duplicate,
                reorder: (reorder != Probability::NEVER)
                    .then_some(Reorder { probability: reorder, by: ms(9) }),
                mtu,
            }
        },
    )
}

fn blocks() -> impl Strategy<Value = Vec<Block>> {
    let direction =
        prop_oneof![Just(BlockDirection::In), Just(BlockDirection::Out), Just(BlockDirection::Both)];
    let answer = prop_oneof![Just(BlockAnswer::Silence), Just(BlockAnswer::IcmpProhibited)];
    let block = (0..5_u8, direction, answer).prop_map(|(kind, direction, answer)| match kind {
        0 => Block::Stun { matching: StunMatch::Port, direction, answer },
        1 => Block::Stun { matching: StunMatch::Cookie, direction, answer },
        2 => Block::Stun { matching: StunMatch::Signature, direction, answer },
        3 => Block::UdpPeerToPeer { ipv4: true, ipv6: false, direction, answer },
        _ => Block::Udp { direction, answer },
    });
    prop::collection::vec(block, 0..3)
}

fn dependence() -> impl Strategy<Value = Dependence> {
    prop::sample::select(Dependence::ALL.to_vec())
}

fn nat(kind: NatKind) -> impl Strategy<Value = NatSpec> {
    let ports = prop_oneof![
        Just(PortAssignment::Preserved),
        Just(PortAssignment::Sequential),
        Just(PortAssignment::Random)
    ];
    (dependence(), dependence(), ports, any::<bool>(), any::<bool>()).prop_map(
        move |(mapping, filtering, ports, hairpins, both)| NatSpec {
            mapping,
            filtering,
            ports,
            hairpinning: if hairpins { Hairpinning::ExternalSource } else { Hairpinning::Off },
            refresh: if both { Refresh::Both } else { Refresh::Outbound },
            ..NatSpec::new(kind)
        },
    )
}

/// The usual networks with other links and NATs, and `cabin` behind `o2`.
fn world_of() -> impl Strategy<Value = Topology> {
    let links = prop::collection::vec(link(), 8);
    let nats = [nat(NatKind::Home).boxed(), nat(NatKind::CarrierGrade).boxed(), nat(NatKind::Home).boxed()];
    (links, nats, any::<bool>(), any::<bool>()).prop_map(|(mut links, [home, o2, cabin], radio, apart)| {
        let mut topology = topology();
        let behind = Some("o2".to_owned());
        topology
            .networks
            .push(NetworkSpec { behind, ..network("cabin", Some(NatKind::Home), Ipv6Access::Firewalled) });
        topology.hosts.insert(3, host("erin", &["cabin"]));
        for (index, nat) in [(0, home), (1, o2), (3, cabin)] {
            topology.networks[index].nat = Some(nat);
        }
        for network in &mut topology.networks {
            network.up = links.pop().unwrap_or_default();
            network.down = links.pop().unwrap_or_default();
        }
        topology.networks[1].radio = radio.then_some(RadioSpec::LTE);
        if apart {
            topology.networks[0].distances = [("o2".to_owned(), ms(40)), ("meet".to_owned(), ms(7))].into();
        }
        topology
    })
}

/// What was injected, and when each inside endpoint has last sent to whom, or was reached by whom.
#[derive(Default)]
struct Ledger {
    injected: u64,
    active: BTreeMap<(SocketAddr, SocketAddr), Duration>,
    judged: usize,
}

fn play(world: &mut World, ledger: &mut Ledger, step: &Step) {
    match step {
        &Step::Send { from, port, to, to_port, ipv6, outside, bytes } => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let outside = outside.then(|| world.network_name(to)).flatten();
            let outside = outside.and_then(|network| world.plan.nat_address(&network));
            let destination = match (ipv6, outside) {
                (true, _) => world.ipv6(to, to_port),
                (false, Some(address)) => SocketAddr::new(address.into(), to_port),
                (false, None) => world.ipv4(to, to_port),
            };
            let source = if ipv6 { world.ipv6(from, port) } else { world.ipv4(from, port) };
            ledger.active.insert((source, destination), world.now);
            ledger.injected += 1;
            world.send(from, port, destination, &vec![0; bytes]);
        }
        Step::Rubbish { from, bytes } => {
            ledger.injected += 1;
            world.network.inject(world.start + world.now, PortId(*from), bytes.clone());
        }
        &Step::Damaged { from, to, at, with } => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let mut packet = build_udp(world.ipv6(from, 5000), world.ipv6(to, 5001), &[7; 20]).unwrap();
            packet[at] = with;
            // Damage to the destination might make it multicast, of which there are as many as there are listeners.
            if packet[24] == 0xff {
                return;
            }
            // A border looks at addresses and ports and not at the UDP checksum, so that this may open one, too.
            ledger.active.insert(ipv6_endpoints(&packet), world.now);
            ledger.injected += 1;
            world.inject(from, packet);
        }
        &Step::Error { from, to, about: (source, port, destination, to_port) } => {
            let about =
                build_udp(world.ipv4(NAMES[source], port), world.ipv4(NAMES[destination], to_port), b"")
                    .unwrap();
            let error = unreachable(world.ipv4(NAMES[from], 0), world.ipv4(NAMES[to], 0), &about);
            ledger.injected += 1;
            world.inject(NAMES[from], error);
        }
        &Step::Reachable { port, reachable } => world.set_reachable(NAMES[port], reachable),
        &Step::Silent { port, silent } => world.set_silent(NAMES[port], silent),
        // What follows is refused for servers, for the network without a NAT, and for one that does not exist.
        &Step::Address { port } => {
            let _ = world.change(Change::Address { port: world.port(NAMES[port]) });
        }
        &Step::Roam { port, network } => {
            let port = world.port(NAMES[port]);
            let _ = world.change(Change::Roam { port, network: NetworkId(network) });
        }
        &Step::Rebind { network, flush } => {
            let network = NetworkId(network);
            let change = if flush { Change::NatFlush { network } } else { Change::NatRebind { network } };
            let _ = world.change(change);
        }
        Step::Link { network, direction, link } => {
            let (network, direction, link) = (NetworkId(*network), *direction, link.clone());
            let _ = world.change(Change::Link { network, direction, link });
        }
        &Step::Radio { network, on } => {
            let radio = on.then_some(RadioSpec::LTE);
            let _ = world.change(Change::Radio { network: NetworkId(network), radio });
        }
        Step::Blocks { network, blocks } => {
            let _ = world.change(Change::Blocks { network: NetworkId(*network), blocks: blocks.clone() });
        }
        &Step::Pass { milliseconds, oversleep: true } => world.oversleep(ms(milliseconds)),
        &Step::Pass { milliseconds, oversleep: false } => world.run(ms(milliseconds)),
    }
}

/// Source and destination of an IPv6 packet without extension headers, damaged or not.
fn ipv6_endpoints(packet: &[u8]) -> (SocketAddr, SocketAddr) {
    let address = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&packet[at..at + 16]).unwrap());
    let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    ((address(8), port(40)).into(), (address(24), port(42)).into())
}

/// A delivery to a host behind a border must answer something that this host has sent to whom the filtering names.
fn assert_wanted(world: &World, ledger: &mut Ledger) {
    for delivery in &world.deliveries[ledger.judged..] {
        // Damaged packets are not held against filtering: their checksums are for the receiver.
        let Ok(udp) = parse_udp(&delivery.packet) else { continue };
        let (Some(inside), Some(remote)) = (number(udp.destination.ip()), Some(udp.source)) else { continue };
        // Neighbours need not be asked, what is behind the same border is one.
        let to_itself = udp.source.ip() == udp.destination.ip();
        let is_cabin_in_o2 = inside == 2 && number(remote.ip()) == Some(4);
        let is_neighbour = number(remote.ip()) == Some(inside) || is_cabin_in_o2;
        if to_itself || is_neighbour && is_inside(remote.ip()) {
            continue;
        }
        let spec = &world.plan.topology().networks[inside - 1];
        let (filtering, refresh) = match (remote.ip(), &spec.nat) {
            (IpAddr::V4(_), Some(nat)) => (nat.filtering, nat.refresh),
            (IpAddr::V6(_), _) if spec.ipv6 == Ipv6Access::Firewalled => {
                (Dependence::AddressAndPortDependent, Refresh::Outbound)
            }
            _ => continue,
        };
        let permits = |asked: &SocketAddr| match filtering {
            Dependence::EndpointIndependent => asked.is_ipv4() == remote.is_ipv4(),
            Dependence::AddressDependent => asked.ip() == remote.ip(),
            Dependence::AddressAndPortDependent => *asked == remote,
        };
        let asked = ledger.active.iter().filter(|((from, to), _)| *from == udp.destination && permits(to));
        let last = asked.map(|(_, at)| *at).max().unwrap_or_else(|| panic!("nobody asked for {udp:?}"));
        // What was sent may have been on links for long when it came to the border, and so may the answer.
        let slack = s(120);
        assert!(delivery.at <= last + NatSpec::TIMEOUT_ESTABLISHED + slack, "{udp:?} is too late");
        if refresh == Refresh::Both {
            ledger.active.insert((udp.destination, remote), delivery.at);
        }
    }
    ledger.judged = world.deliveries.len();
}

/// The number of the network in which an inside address of it lies.
fn number(address: IpAddr) -> Option<usize> {
    let number = match address {
        IpAddr::V4(address) => usize::from(address.octets()[2]),
        IpAddr::V6(address) => usize::from(address.segments()[2]),
    };
    (1..=usize::from(NETWORKS)).contains(&number).then_some(number)
}

fn is_inside(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => matches!(address.octets()[..2], [192, 168] | [100, 64] | [198, 18]),
        IpAddr::V6(_) => true,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_keep_every_promise(
        topology in world_of(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..120),
    ) {
        let mut world = World::new(topology, seed);
        let mut ledger = Ledger::default();
        for step in &steps {
            play(&mut world, &mut ledger, step);
            // Only what was asked for before it arrived counts as asked for.
            world.oversleep(Duration::ZERO);
            assert_wanted(&world, &mut ledger);
        }
        world.run(s(24 * 60 * 60));
        assert_wanted(&world, &mut ledger);

        // Nothing leaks: all mappings have ended, each exactly once, and nothing is left to do.
        prop_assert_eq!(world.network.deadline(), None);
        let mut open = BTreeSet::new();
        for (_, event) in &world.events {
            let NetworkEvent::Mapping { network, protocol, inside, outside, created } = event else { continue };
            let mapping = (network, protocol, inside, outside);
            let changed = if *created { open.insert(mapping) } else { open.remove(&mapping) };
            prop_assert!(changed, "a mapping began or ended twice");
        }
        prop_assert!(open.is_empty(), "still mapped: {:?}", open);

        // Every packet arrived or was dropped, and each drop but multicast was told.
        let counts = world.network.counts();
        let dropped: u64 = counts.iter().flat_map(|link| link.dropped.values()).sum();
        let quiet: u64 = counts.iter().filter_map(|link| link.dropped.get(&DropCause::Multicast)).sum();
        let born: u64 = counts.iter().map(|link| link.duplicated).sum::<u64>() + world.network.errors_sent();
        prop_assert_eq!(ledger.injected + born, world.deliveries.len() as u64 + dropped);
        prop_assert_eq!(world.causes().len() as u64, dropped - quiet);
    }

    /// Whoever opens a hotspot over whomever, and however often.
    #[test]
    fn hotspots_lose_nothing_without_saying_so(
        topology in world_of(),
        seed: u64,
        steps in prop::collection::vec((prop::option::weighted(0.2, hotspot()), step()), 1..120),
    ) {
        let mut world = World::new(topology, seed);
        let mut ledger = Ledger::default();
        for (hotspot, step) in &steps {
            if let Some((network, access_point, uplink)) = *hotspot {
                let (network, [access_point, uplink]) =
                    (NetworkId(network), [access_point, uplink].map(|index| world.port(NAMES[index])));
                let _ = world.change(Change::Hotspot { network, access_point, uplink });
            }
            play(&mut world, &mut ledger, step);
        }
        world.run(s(24 * 60 * 60));
        prop_assert_eq!(world.network.deadline(), None);
        let mappings = world.mappings();
        let began = mappings.iter().filter(|(_, _, _, created)| *created).count();
        prop_assert_eq!(mappings.len(), 2 * began, "each mapping ends once");
        let counts = world.network.counts();
        let dropped: u64 = counts.iter().flat_map(|link| link.dropped.values()).sum();
        let born: u64 = counts.iter().map(|link| link.duplicated).sum::<u64>() + world.network.errors_sent();
        prop_assert_eq!(ledger.injected + born, world.deliveries.len() as u64 + dropped);
    }

    #[test]
    fn a_run_is_a_function_of_its_seed(
        topology in world_of(),
        seed: u64,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let trace = || {
            let mut world = World::new(topology.clone(), seed);
            steps.iter().for_each(|step| play(&mut world, &mut Ledger::default(), step));
            world.run(s(300));
            (world.take(), world.events)
        };
        prop_assert_eq!(trace(), trace());
    }

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..120), version in 0..3_usize) {
        // Half of the heads would otherwise be refused by the version alone.
        if let Some(first) = bytes.first_mut() {
            *first = [0x45, 0x60, *first][version];
        }
        let _ = parse_udp(&bytes);
        let mut world = World::usual();
        world.inject("alice", bytes);
        world.run(s(1));
        prop_assert_eq!(world.take(), []);
    }

    #[test]
    fn datagrams_survive_the_way_there_and_back(
        payload in prop::collection::vec(any::<u8>(), 0..1400),
        port: u16,
        peer: u16,
    ) {
        let mut world = World::usual();
        world.send("alice", port, world.ipv4("meet", peer), &payload);
        let out = world.take_one("meet");
        let (source, destination, received) = out.udp();
        prop_assert_eq!(destination, world.ipv4("meet", peer));
        prop_assert_eq!(received, &payload[..]);
        world.send("meet", peer, source, &payload);
        let back = world.take_one("alice");
        prop_assert_eq!(back.udp(), (world.ipv4("meet", peer), world.ipv4("alice", port), &payload[..]));
    }
}

#[test]
fn datagrams_that_cannot_be_are_refused() {
    let (ipv4, ipv6): (SocketAddr, SocketAddr) = ("192.0.2.1:1".parse().unwrap(), "[::1]:1".parse().unwrap());
    assert_eq!(build_udp(ipv4, ipv6, b""), Err(PacketError::MixedFamilies));
    assert_eq!(build_udp(ipv4, ipv4, &[0; 65_508]), Err(PacketError::TooLong(65_508)));
    assert_eq!(build_udp(ipv6, ipv6, &[0; 65_528]), Err(PacketError::TooLong(65_528)));
    for (address, most) in [(ipv4, 65_507), (ipv6, 65_527)] {
        let packet = build_udp(address, address, &vec![1; most]).unwrap();
        assert_eq!(parse_udp(&packet).unwrap().payload.len(), most);
    }
    assert_eq!(parse_udp(b""), Err(PacketError::NotIp));
}
