//! The IPv6 firewall, the carrier's block, hop limits, sources, and interfaces that come and go.

use crate::common::*;
use netmodel::*;

fn with_block(ipv4: bool, ipv6: bool, direction: BlockDirection) -> World {
    let mut topology = topology();
    topology.networks[1].blocks = vec![p2p(ipv4, ipv6, direction)];
    World::new(topology, 7)
}

#[test]
fn the_firewall_opens_from_inside() {
    let mut world = World::usual();
    let (alice, bob) = (world.ipv6("alice", 4000), world.ipv6("bob", 6000));
    // Bob has not sent: alice's first packets are lost at bob's firewall.
    for _ in 0..2 {
        world.send("alice", 4000, bob, b"lost");
        assert_eq!(world.take_drops(), [DropCause::Firewall]);
    }
    assert_eq!(world.dropped("bob", Direction::Down, DropCause::Firewall), 2);
    // Alice's own is open by now.
    world.send("bob", 6000, alice, b"through");
    assert_eq!(world.take_one("alice").udp(), (bob, alice, &b"through"[..]));
    world.send("alice", 4000, bob, b"and back");
    assert_eq!(world.take_one("bob").udp(), (alice, bob, &b"and back"[..]));
    // Neither another port nor another host gets in.
    world.send("alice", 4001, bob, b"");
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
    world.send("dave", 4000, bob, b"");
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
}

#[test]
fn the_firewall_forgets() {
    let mut world = World::usual();
    let bob = world.ipv6("bob", 6000);
    world.send("bob", 6000, world.ipv6("meet", 1), b"");
    world.take_one("meet");
    assert_eq!(world.mappings(), [(LINK_DELAY, bob, bob, true)]);
    world.run(s(28));
    world.send("meet", 1, bob, b"in time");
    world.take_one("bob");
    // Answered, so that it lives for 120 s since bob's packet.
    world.run(s(88));
    world.send("meet", 1, bob, b"in time");
    world.take_one("bob");
    world.run(s(2));
    assert_eq!(world.mappings().last(), Some(&(LINK_DELAY + NatSpec::TIMEOUT_ESTABLISHED, bob, bob, false)));
    world.send("meet", 1, bob, b"late");
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
}

#[test]
fn open_ipv6_takes_everything() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv6("dave", 1), b"unasked");
    assert_eq!(world.take_one("dave").udp().0, world.ipv6("alice", 4000));
    world.send("meet", 1, world.ipv4("dave", 1), b"IPv4 too: no NAT, no firewall");
    world.take_one("dave");
}

#[test]
fn a_network_without_ipv6_has_no_addresses() {
    let mut topology = topology();
    topology.networks[0].ipv6 = Ipv6Access::None;
    let world = World::new(topology, 1);
    assert_eq!(world.plan.port(world.port("alice")).unwrap().ipv6, None);
}

#[test]
fn the_carrier_blocks_peers_and_passes_known_servers() {
    let mut world = with_block(true, false, BlockDirection::Both);
    let bob = world.nat("o2", 6000);
    world.send("bob", 6000, world.ipv4("meet", 3478), b"known");
    assert_eq!(world.take_one("meet").udp().0, bob);
    world.send("meet", 3478, bob, b"answer");
    world.take_one("bob");
    for peer in [world.nat("home", 4000), world.ipv4("control", 3478), world.ipv4("dave", 1)] {
        world.send("bob", 6000, peer, b"");
        assert_eq!(world.take_drops(), [DropCause::CarrierUdpP2p]);
    }
    // The other way, although bob's NAT would let it in by now.
    world.send("control", 3478, bob, b"");
    world.send("dave", 1, bob, b"");
    assert_eq!(world.take_drops(), [DropCause::CarrierUdpP2p; 2]);
    assert_eq!(world.dropped("bob", Direction::Down, DropCause::CarrierUdpP2p), 2);
    // IPv6 is not blocked.
    world.send("bob", 6000, world.ipv6("dave", 1), b"");
    world.take_one("dave");
}

#[test]
fn a_block_can_be_for_ipv6_alone() {
    let mut world = with_block(false, true, BlockDirection::Both);
    world.send("bob", 6000, world.ipv6("dave", 1), b"");
    assert_eq!(world.take_drops(), [DropCause::CarrierUdpP2p]);
    world.send("bob", 6000, world.ipv6("meet", 1), b"");
    world.take_one("meet");
    world.send("bob", 6000, world.ipv4("dave", 1), b"");
    world.take_one("dave");
}

#[test]
fn a_block_can_be_one_way() {
    let mut inwards = with_block(true, true, BlockDirection::In);
    inwards.send("bob", 6000, inwards.ipv4("dave", 1), b"");
    inwards.take_one("dave");
    inwards.send("dave", 1, inwards.nat("o2", 6000), b"");
    assert_eq!(inwards.take_drops(), [DropCause::CarrierUdpP2p]);

    let mut outwards = with_block(true, true, BlockDirection::Out);
    outwards.send("bob", 6000, outwards.ipv4("dave", 1), b"");
    assert_eq!(outwards.take_drops(), [DropCause::CarrierUdpP2p]);
    // The NAT was passed before the carrier looked, so that its hole is open.
    outwards.send("dave", 1, outwards.nat("o2", 6000), b"");
    outwards.take_one("bob");
}

#[test]
fn only_udp_is_blocked() {
    let mut world = with_block(true, true, BlockDirection::Both);
    let (bob, dave) = (world.ipv6("bob", 6000), world.ipv6("dave", 80));
    let mut syn = Vec::new();
    let (std::net::IpAddr::V6(from), std::net::IpAddr::V6(to)) = (bob.ip(), dave.ip()) else {
        panic!("IPv6 wanted")
    };
    let builder =
        etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64).tcp(6000, 80, 1, 1000).syn();
    builder.write(&mut syn, b"").unwrap();
    world.inject("bob", syn);
    world.take_one("dave");
}

#[test]
fn every_border_takes_a_hop() {
    let mut world = World::usual();
    world.send("bob", 6000, world.nat("home", 4000), b"");
    world.run(s(1));
    world.causes();
    world.send("alice", 4000, world.nat("o2", 6000), b"");
    assert_eq!(world.take_one("bob").packet[8], 62);
    world.send("alice", 4000, world.ipv6("meet", 1), b"");
    assert_eq!(world.take_one("meet").packet[7], 63);
    world.send("alice", 4000, world.ipv4("carol", 1), b"");
    assert_eq!(world.take_one("carol").packet[8], 64);

    let (from, to) = (world.ipv6("alice", 4000), world.ipv6("dave", 1));
    for (hops, passes) in [(3, true), (2, false), (1, false), (0, false)] {
        let mut packet = build_udp(from, to, b"").unwrap();
        packet[7] = hops;
        world.inject("alice", packet);
        match passes {
            true => assert_eq!(world.take_one("dave").packet[7], hops - 2),
            false => {
                let told = world.take_one("alice").packet;
                assert_eq!((told[6], &told[40..42]), (58, &[3, 0][..]), "time exceeded");
                assert_eq!(world.causes(), [DropCause::HopLimit]);
            }
        }
    }
}

#[test]
fn foreign_sources_and_unknown_destinations_are_told() {
    let mut world = World::usual();
    let spoofed = build_udp(world.ipv4("carol", 1), world.ipv4("meet", 1), b"").unwrap();
    world.inject("alice", spoofed);
    assert_eq!(world.take_drops(), [DropCause::SourceSpoofed]);
    for nowhere in
        ["192.0.2.1:1", "192.168.1.200:1", "127.0.0.1:1", "[2001:db8:1::77]:1", "[2001:db8:77::2]:1"]
    {
        world.send("alice", 1, nowhere.parse().unwrap(), b"");
        assert_eq!(world.take_drops(), [DropCause::NoRoute], "{nowhere}");
    }
}

#[test]
fn rubbish_is_told_and_harmless() {
    let mut world = World::usual();
    let whole = build_udp(world.ipv4("alice", 1), world.ipv4("meet", 1), b"payload").unwrap();
    let mut wrong_checksum = whole.clone();
    wrong_checksum[10] ^= 1;
    for packet in [Vec::new(), vec![0; 100], vec![0x45], whole[..30].to_vec(), wrong_checksum, vec![0x60; 39]]
    {
        world.inject("alice", packet);
        assert_eq!(world.take_drops(), [DropCause::Malformed]);
    }
    world.network.inject(world.start + world.now, PortId(999), whole.clone());
    assert_eq!(world.take_drops(), [DropCause::NoRoute]);
    // What lies behind the packet by its own length is no part of it.
    let mut padded = whole.clone();
    padded.extend_from_slice(&[0xff; 9]);
    world.inject("alice", padded);
    assert_eq!(world.take_one("meet").packet.len(), whole.len());
}

#[test]
fn multicast_is_counted_and_not_told() {
    let mut world = World::usual();
    // Dave is alone in his network.
    for group in ["224.0.0.251:5353", "255.255.255.255:67", "198.18.3.255:137", "[ff02::2]:1"] {
        world.send("dave", 1, group.parse().unwrap(), b"");
    }
    assert_eq!(world.take_drops(), []);
    assert_eq!(world.dropped("dave", Direction::Up, DropCause::Multicast), 4);
    // As a kernel solicits routers before it has an address.
    let unspecified = build_udp("[::]:1".parse().unwrap(), "[ff02::2]:1".parse().unwrap(), b"").unwrap();
    world.inject("alice", unspecified);
    assert_eq!(world.take_drops(), []);
    assert_eq!(world.dropped("alice", Direction::Up, DropCause::Multicast), 1);
}

#[test]
fn what_is_in_flight_vanishes_with_the_interface() {
    let mut world = World::usual();
    let (dave, meet) = (world.ipv4("dave", 1), world.ipv4("meet", 2));
    world.send("dave", 1, meet, b"on the up link");
    world.send("meet", 2, dave, b"still between server and internet");
    world.run(ms(2));
    world.set_reachable("dave", false);
    assert_eq!(world.take_drops(), [DropCause::InterfaceDown; 2]);
    assert_eq!(world.dropped("dave", Direction::Up, DropCause::InterfaceDown), 1);
    assert_eq!(world.dropped("dave", Direction::Down, DropCause::InterfaceDown), 1);
    world.send("dave", 1, meet, b"");
    assert_eq!(world.take_drops(), [DropCause::InterfaceDown]);

    world.set_reachable("dave", true);
    world.send("dave", 1, meet, b"");
    world.take_one("meet");

    // Past the up link nothing can stop a packet; on the down link it vanishes at once.
    world.send("dave", 1, meet, b"past the link");
    world.run(LINK_DELAY);
    world.set_reachable("dave", false);
    world.take_one("meet");
    world.set_reachable("dave", true);
    world.send("meet", 2, dave, b"on the down link");
    let sent = world.now;
    world.run(SERVER_DELAY + ms(1));
    world.set_reachable("dave", false);
    world.set_reachable("dave", true);
    world.run(s(1));
    assert_eq!(world.take(), []);
    assert!(matches!(
        world.events.as_slice(),
        [(at, NetworkEvent::Dropped { cause: DropCause::InterfaceDown, .. })] if *at == sent + SERVER_DELAY + ms(1)
    ));
}

#[test]
fn a_returning_link_is_idle_and_other_links_go_on() {
    let mut topology = topology();
    topology.networks[2].up.rate = BitRate::per_second(8_000);
    let mut world = World::new(topology, 1);
    let meet = world.ipv4("meet", 2);
    for _ in 0..10 {
        world.send("dave", 1, meet, &[0; 972]);
    }
    world.send("bob", 1, meet, b"another's");
    world.set_reachable("dave", false);
    world.set_reachable("dave", true);
    // 1000 bytes at 8 kbit/s take a second, and nothing is before them any more.
    world.send("dave", 1, meet, &[0; 972]);
    world.run(s(20));
    let at: Vec<_> = world.take().iter().map(|delivery| delivery.at).collect();
    assert_eq!(at, [LINK_DELAY + SERVER_DELAY, s(1) + LINK_DELAY + SERVER_DELAY]);
    assert_eq!(world.dropped("dave", Direction::Up, DropCause::InterfaceDown), 10);
}

#[test]
fn mappings_outlive_the_interface() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.set_reachable("alice", false);
    world.run(s(5));
    world.set_reachable("alice", true);
    world.send("meet", 1, world.nat("home", 4000), b"");
    world.take_one("alice");
}

#[test]
fn changes_name_ports_of_the_plan() {
    let mut world = World::usual();
    let change = Change::InterfaceState { port: PortId(99), reachable: false };
    let refused = world.network.apply(world.start, change);
    assert_eq!(refused, Err(ChangeError::UnknownPort(PortId(99))));
    assert_eq!(refused.unwrap_err().to_string(), "port 99 is not in the plan");
}
