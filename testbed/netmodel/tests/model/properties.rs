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
    Rebind {
        network: u16,
    },
    Pass {
        milliseconds: u64,
        oversleep: bool,
    },
}

const NAMES: [&str; 6] = ["alice", "carol", "bob", "dave", "meet", "control"];

fn step() -> impl Strategy<Value = Step> {
    let name = 0..NAMES.len();
    // Few ports, so that flows meet.
    let port = 5000..5004_u16;
    prop_oneof![
        12 => (name.clone(), port.clone(), name.clone(), port, any::<bool>(), any::<bool>(), 0..1400_usize).prop_map(
            |(from, port, to, to_port, ipv6, outside, bytes)| Step::Send {
                from, port, to, to_port, ipv6, outside, bytes
            }
        ),
        1 => (0..9_u16, prop::collection::vec(any::<u8>(), 0..80))
            .prop_map(|(from, bytes)| Step::Rubbish { from, bytes }),
        2 => (name.clone(), name.clone(), 0..60_usize, any::<u8>())
            .prop_map(|(from, to, at, with)| Step::Damaged { from, to, at, with }),
        1 => (name.clone(), any::<bool>()).prop_map(|(port, reachable)| Step::Reachable { port, reachable }),
        1 => (name.clone(), any::<bool>()).prop_map(|(port, silent)| Step::Silent { port, silent }),
        1 => name.prop_map(|port| Step::Address { port }),
        1 => (0..4_u16).prop_map(|network| Step::Rebind { network }),
        6 => (prop_oneof![0..50_u64, 0..40_000_u64], any::<bool>())
            .prop_map(|(milliseconds, oversleep)| Step::Pass { milliseconds, oversleep }),
    ]
}

fn rated() -> Topology {
    let mut topology = topology();
    for network in &mut topology.networks {
        network.up.jitter = ms(3);
        network.down.rate = BitRate::per_second(1_000_000);
        network.down.queue = ByteSize(5_000);
    }
    topology.networks[1].blocks = vec![p2p(true, false, BlockDirection::In)];
    topology
}

fn network_of(name: &str) -> &str {
    match name {
        "alice" | "carol" => "home",
        "bob" => "o2",
        "dave" => "open",
        other => other,
    }
}

/// What was injected, and whom each inside endpoint has sent to.
#[derive(Default)]
struct Ledger {
    injected: u64,
    sent: BTreeMap<(SocketAddr, SocketAddr), Duration>,
}

fn play(world: &mut World, ledger: &mut Ledger, step: &Step) {
    match step {
        &Step::Send { from, port, to, to_port, ipv6, outside, bytes } => {
            let (from, to) = (NAMES[from], NAMES[to]);
            let translated = outside && ["home", "o2"].contains(&network_of(to));
            let destination = match (ipv6, translated) {
                (true, _) => world.ipv6(to, to_port),
                (false, true) => world.nat(network_of(to), to_port),
                (false, false) => world.ipv4(to, to_port),
            };
            let source = if ipv6 { world.ipv6(from, port) } else { world.ipv4(from, port) };
            ledger.sent.insert((source, destination), world.now);
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
            // A border looks at addresses and ports and not at the UDP checksum, so that this may open one, too.
            ledger.sent.insert(ipv6_endpoints(&packet), world.now);
            ledger.injected += 1;
            world.inject(from, packet);
        }
        &Step::Reachable { port, reachable } => world.set_reachable(NAMES[port], reachable),
        &Step::Silent { port, silent } => world.set_silent(NAMES[port], silent),
        // Refused for servers.
        &Step::Address { port } => {
            let _ = world.change(Change::Address { port: world.port(NAMES[port]) });
        }
        // Refused for the network without a NAT, and for the one that does not exist.
        &Step::Rebind { network } => {
            let _ = world.change(Change::NatRebind { network: NetworkId(network) });
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

/// A delivery to a host behind a border must answer something that this host has sent to just there.
fn assert_wanted(world: &World, ledger: &Ledger) {
    let guarded: BTreeSet<_> = ["alice", "carol", "bob"].map(|name| world.port(name)).into();
    // Whatever addresses the network gives: its IPv4 /24 and its IPv6 /64.
    let at_home = |address: IpAddr| match address {
        IpAddr::V4(address) => address.octets()[..3] == [192, 168, 1],
        IpAddr::V6(address) => address.segments()[..4] == [0x2001, 0xdb8, 1, 0],
    };
    for delivery in world.deliveries.iter().filter(|delivery| guarded.contains(&delivery.port)) {
        // Damaged packets are not held against filtering: their checksums are for the receiver.
        let Ok(udp) = parse_udp(&delivery.packet) else { continue };
        let on_the_lan = delivery.port != world.port("bob") && at_home(udp.source.ip());
        let to_itself = udp.source.ip() == udp.destination.ip();
        if on_the_lan || to_itself {
            continue;
        }
        let asked = ledger.sent.get(&(udp.destination, udp.source));
        let asked = asked.unwrap_or_else(|| panic!("nobody asked for {udp:?}"));
        let slack = s(1);
        assert!(delivery.at <= *asked + NatSpec::TIMEOUT_ESTABLISHED + slack, "{udp:?} is too late");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn random_operations_keep_every_promise(seed: u64, steps in prop::collection::vec(step(), 1..150)) {
        let mut world = World::new(rated(), seed);
        let mut ledger = Ledger::default();
        for step in &steps {
            play(&mut world, &mut ledger, step);
            // Only what was asked for before it arrived counts as asked for.
            world.oversleep(Duration::ZERO);
            assert_wanted(&world, &ledger);
        }
        world.run(s(24 * 60 * 60));
        assert_wanted(&world, &ledger);

        // Nothing leaks: all mappings have ended, each exactly once, and nothing is left to do.
        prop_assert_eq!(world.network.deadline(), None);
        let mut open = BTreeSet::new();
        for (_, inside, outside, created) in world.mappings() {
            let changed = if created { open.insert((inside, outside)) } else { open.remove(&(inside, outside)) };
            prop_assert!(changed, "a mapping began or ended twice");
        }
        prop_assert!(open.is_empty(), "still mapped: {:?}", open);

        // Every packet arrived or was dropped, and each drop but multicast was told.
        let counts = world.network.counts();
        let dropped: u64 = counts.iter().flat_map(|link| link.dropped.values()).sum();
        let quiet: u64 = counts.iter().filter_map(|link| link.dropped.get(&DropCause::Multicast)).sum();
        prop_assert_eq!(ledger.injected, world.deliveries.len() as u64 + dropped);
        prop_assert_eq!(world.causes().len() as u64, dropped - quiet);
    }

    #[test]
    fn a_run_is_a_function_of_its_seed(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        let trace = || {
            let mut world = World::new(rated(), seed);
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
