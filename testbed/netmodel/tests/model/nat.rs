//! The NAT, in the order of RFC 4787's requirements.

use crate::common::*;
use etherparse::{IcmpEchoHeader, Icmpv4Type, PacketBuilder, SlicedPacket, TransportSlice};
use netmodel::*;
use std::net::SocketAddr;

#[test]
fn one_inside_endpoint_has_one_outside_endpoint() {
    // REQ-1, and port preservation.
    let mut world = World::usual();
    let outside = world.nat("home", 4000);
    world.send("alice", 4000, world.ipv4("meet", 1), b"1");
    assert_eq!(world.take_one("meet").udp().0, outside);
    world.send("alice", 4000, world.ipv4("control", 2), b"2");
    assert_eq!(world.take_one("control").udp().0, outside);
    let inside = world.ipv4("alice", 4000);
    assert_eq!(world.mappings(), [(LINK_DELAY, inside, outside, true)]);
}

#[test]
fn a_port_in_use_gives_way_to_the_next_free_one() {
    let mut world = World::usual();
    for (name, port, expected) in [
        ("alice", 65_535, 65_535),
        ("carol", 65_535, 1024),
        ("carol", 1024, 1025),
        ("carol", 500, 500),
        ("alice", 500, 501),
    ] {
        world.send(name, port, world.ipv4("meet", 1), b"");
        assert_eq!(world.take_one("meet").udp().0, world.nat("home", expected), "{name} {port}");
    }
}

#[test]
fn only_who_was_sent_to_may_answer() {
    // REQ-8: address- and port-dependent filtering.
    let mut world = World::usual();
    let outside = world.nat("home", 4000);
    world.send("meet", 1, outside, b"unknown");
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.send("meet", 1, outside, b"answer");
    let delivery = world.take_one("alice");
    let inside = world.ipv4("alice", 4000);
    assert_eq!(delivery.udp(), (world.ipv4("meet", 1), inside, &b"answer"[..]));
    world.send("meet", 2, outside, b"other port");
    assert_eq!(world.take_drops(), [DropCause::NatFiltered]);
    world.send("control", 1, outside, b"other address");
    assert_eq!(world.take_drops(), [DropCause::NatFiltered]);
    // Told as alice's traffic where that is known.
    assert_eq!(world.dropped("alice", Direction::Down, DropCause::NatFiltered), 2);
    let unclaimed =
        world.network.counts().into_iter().find(|count| count.network == "home" && count.port.is_none());
    assert_eq!(unclaimed.unwrap().dropped[&DropCause::NatNoMapping], 1);
}

#[test]
fn an_unanswered_session_ends_after_the_initial_timeout() {
    let mut world = World::usual();
    let (inside, outside) = (world.ipv4("alice", 4000), world.nat("home", 4000));
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.run(s(60));
    let ends = LINK_DELAY + NatSpec::TIMEOUT_INITIAL;
    assert_eq!(world.mappings(), [(LINK_DELAY, inside, outside, true), (ends, inside, outside, false)]);
    world.send("meet", 1, outside, b"too late");
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
    assert_eq!(world.network.deadline(), None, "nothing is left to do");
}

#[test]
fn only_outbound_packets_refresh() {
    // REQ-5 and REQ-6: an answer makes the session long-lived, but counting starts at the last outbound packet.
    let mut world = World::usual();
    let outside = world.nat("home", 4000);
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    for _ in 0..11 {
        world.run(s(9));
        world.send("meet", 1, outside, b"");
        world.take_one("alice");
    }
    // 111 s by now; the next packet enters 9 s + 15 ms later, past 120 s + 5 ms.
    world.run(s(9));
    world.send("meet", 1, outside, b"");
    world.run(s(1));
    assert_eq!(world.take(), []);
    assert_eq!(world.causes(), [DropCause::NatNoMapping]);
}

#[test]
fn outbound_packets_keep_a_mapping_for_ever() {
    let mut world = World::usual();
    for _ in 0..40 {
        world.send("alice", 4000, world.ipv4("meet", 1), b"");
        world.take_one("meet");
        world.run(s(28));
    }
    assert_eq!(world.mappings().len(), 1);
}

#[test]
fn two_hosts_of_one_network_meet_at_its_outside() {
    // REQ-9: hairpinning with the external source, under the same filtering.
    let mut world = World::usual();
    let (alice, carol) = (world.nat("home", 4000), world.nat("home", 5000));
    world.send("alice", 4000, carol, b"first");
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
    world.send("carol", 5000, alice, b"second");
    let delivery = world.take_one("alice");
    assert_eq!(delivery.udp(), (carol, world.ipv4("alice", 4000), &b"second"[..]));
    world.send("alice", 4000, carol, b"third");
    assert_eq!(world.take_one("carol").udp().0, alice);
}

#[test]
fn what_is_hairpinned_never_meets_the_carrier() {
    let mut topology = topology();
    topology.networks[0].blocks = vec![p2p(true, true, BlockDirection::Both)];
    let mut world = World::new(topology, 7);
    world.send("alice", 4000, world.nat("home", 5000), b"");
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
    world.send("carol", 5000, world.nat("home", 4000), b"");
    // One border, one hop.
    assert_eq!(world.take_one("alice").packet[8], 63);
}

#[test]
fn a_hole_needs_both_sides() {
    let mut world = World::usual();
    let (alice, bob) = (world.nat("home", 4000), world.nat("o2", 6000));
    for _ in 0..3 {
        world.send("alice", 4000, bob, b"alone");
        assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
    }
    world.send("bob", 6000, alice, b"punched");
    assert_eq!(world.take_one("alice").udp(), (bob, world.ipv4("alice", 4000), &b"punched"[..]));
    world.send("alice", 4000, bob, b"open");
    assert_eq!(world.take_one("bob").udp().0, alice);
}

#[test]
fn of_two_packets_that_cross_the_second_passes() {
    let mut world = World::usual();
    let (alice, bob) = (world.nat("home", 4000), world.nat("o2", 6000));
    world.send("alice", 4000, bob, b"first");
    world.run(ms(1));
    world.send("bob", 6000, alice, b"second");
    // Alice's packet is at bob's NAT before bob's own has passed it, and has opened hers by then.
    assert_eq!(world.take_one("alice").udp().2, b"second");
    assert_eq!(world.causes(), [DropCause::NatNoMapping]);
    world.send("alice", 4000, bob, b"third");
    assert_eq!(world.take_one("bob").udp().2, b"third");
}

#[test]
fn private_addresses_end_at_the_border() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("bob", 1), b"");
    world.send("dave", 4000, world.ipv4("alice", 1), b"");
    assert_eq!(world.take_drops(), [DropCause::NoRoute; 2]);
    assert_eq!(world.mappings(), []);
}

#[test]
fn checksums_hold_and_their_absence_is_kept() {
    let mut world = World::usual();
    // Every 16-bit word, so that each sum and each carry comes up, the all-ones case included.
    for number in 0..=u16::MAX {
        world.send("alice", 4000, world.ipv4("meet", 1), &number.to_be_bytes());
        if number % 0x4000 == 0x3fff {
            world.run(s(1));
        }
    }
    let delivered = world.take();
    assert_eq!(delivered.len(), 0x1_0000);
    for delivery in &delivered {
        delivery.udp();
        assert_ne!(delivery.packet[26..28], [0, 0], "a checksum became none");
    }

    let mut without = build_udp(world.ipv4("alice", 4000), world.ipv4("meet", 1), b"none").unwrap();
    without[26..28].fill(0);
    world.inject("alice", without);
    let delivery = world.take_one("meet");
    assert_eq!(delivery.packet[26..28], [0, 0]);
    assert_eq!(delivery.udp().2, b"none");

    let mut damaged = build_udp(world.ipv4("alice", 4000), world.ipv4("meet", 1), b"broken").unwrap();
    damaged[28] ^= 1;
    world.inject("alice", damaged);
    assert_eq!(parse_udp(&world.take_one("meet").packet), Err(PacketError::UdpChecksum));
}

#[test]
fn tcp_is_translated() {
    let mut world = World::usual();
    let (alice, meet) = (world.ipv4("alice", 4000), world.ipv4("meet", 80));
    let mut syn = Vec::new();
    PacketBuilder::ipv4(octets(alice), octets(meet), 64)
        .tcp(4000, 80, 7, 1000)
        .syn()
        .write(&mut syn, b"")
        .unwrap();
    world.inject("alice", syn);
    let out = world.take_one("meet").packet;
    let sliced = SlicedPacket::from_ip(&out).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
    let source = octets(world.nat("home", 4000));
    assert_eq!(out[12..16], source);
    assert_eq!(tcp.to_header().calc_checksum_ipv4_raw(source, octets(meet), b""), Ok(tcp.checksum()));

    let mut answer = Vec::new();
    let builder = PacketBuilder::ipv4(octets(meet), source, 64).tcp(80, 4000, 9, 1000).syn().ack(8);
    builder.write(&mut answer, b"").unwrap();
    world.inject("meet", answer);
    let back = world.take_one("alice").packet;
    let sliced = SlicedPacket::from_ip(&back).unwrap();
    let Some(TransportSlice::Tcp(tcp)) = sliced.transport else { panic!("no TCP") };
    assert_eq!(tcp.to_header().calc_checksum_ipv4_raw(octets(meet), octets(alice), b""), Ok(tcp.checksum()));
}

#[test]
fn echo_is_translated_by_identifier() {
    let mut world = World::usual();
    let meet = world.ipv4("meet", 0);
    let echo = |from: SocketAddr, to: SocketAddr, kind: fn(IcmpEchoHeader) -> Icmpv4Type, id: u16| {
        let mut packet = Vec::new();
        let builder =
            PacketBuilder::ipv4(octets(from), octets(to), 64).icmpv4(kind(IcmpEchoHeader { id, seq: 3 }));
        builder.write(&mut packet, b"ping").unwrap();
        packet
    };
    let read = |packet: &[u8]| {
        let sliced = SlicedPacket::from_ip(packet).unwrap();
        let Some(TransportSlice::Icmpv4(icmp)) = sliced.transport else { panic!("no ICMP") };
        assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
        icmp.icmp_type()
    };
    for (name, expected) in [("alice", 77), ("carol", 78)] {
        let from = world.ipv4(name, 0);
        world.inject(name, echo(from, meet, Icmpv4Type::EchoRequest, 77));
        let out = world.take_one("meet").packet;
        assert_eq!(read(&out), Icmpv4Type::EchoRequest(IcmpEchoHeader { id: expected, seq: 3 }));
        let nat = world.nat("home", 0);
        world.inject("meet", echo(meet, nat, Icmpv4Type::EchoReply, expected));
        let back = world.take_one(name).packet;
        assert_eq!(read(&back), Icmpv4Type::EchoReply(IcmpEchoHeader { id: 77, seq: 3 }));
    }
}

#[test]
fn what_has_no_ports_ends_at_the_nat() {
    let mut world = World::usual();
    let (alice, meet) = (world.ipv4("alice", 0), world.ipv4("meet", 0));
    let mut unreachable = Vec::new();
    let kind = Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
    PacketBuilder::ipv4(octets(alice), octets(meet), 64)
        .icmpv4(kind)
        .write(&mut unreachable, &[0; 28])
        .unwrap();
    world.inject("alice", unreachable);

    let whole = build_udp(world.ipv4("alice", 1), world.ipv4("meet", 2), &[0; 64]).unwrap();
    let mut header = etherparse::Ipv4Header::from_slice(&whole).unwrap().0;
    header.fragment_offset = 3.try_into().unwrap();
    header.header_checksum = header.calc_header_checksum();
    let mut fragment = header.to_bytes().to_vec();
    fragment.extend_from_slice(&whole[20..]);
    world.inject("alice", fragment);
    assert_eq!(world.take_drops(), [DropCause::UnsupportedProtocol; 2]);
}

#[test]
fn a_full_table_refuses_and_recovers() {
    const LIMIT: u16 = 32_768;
    let mut world = World::usual();
    for number in 0..LIMIT + 2 {
        world.send("alice", 1024 + number, world.ipv4("meet", 1), b"");
        // So many would not be in flight at once.
        if number == LIMIT / 2 {
            world.run(ms(100));
        }
    }
    world.run(s(1));
    assert_eq!(world.take().len(), usize::from(LIMIT));
    assert_eq!(world.causes(), [DropCause::NatExhausted; 2]);
    world.run(s(30));
    world.send("carol", 1024, world.ipv4("meet", 1), b"");
    assert_eq!(world.take_one("meet").udp().0, world.nat("home", 1024));
    let ended = world.mappings().iter().filter(|(_, _, _, created)| !created).count();
    assert_eq!(ended, usize::from(LIMIT));
}

#[test]
fn well_known_ports_run_out_by_themselves() {
    let mut world = World::usual();
    for port in 1..=1023 {
        world.send("alice", port, world.ipv4("meet", 1), b"");
    }
    world.run(s(1));
    assert_eq!(world.take().len(), 1023);
    world.send("carol", 1, world.ipv4("meet", 1), b"");
    assert_eq!(world.take_drops(), [DropCause::NatExhausted]);
    world.send("carol", 1024, world.ipv4("meet", 1), b"");
    world.take_one("meet");
}

/// Whatever addresses a packet has by then: a drop names the packet that was injected.
#[test]
fn a_drop_names_the_packet_that_it_was() {
    let mut world = World::usual();
    let numbers = |world: &mut World| -> Vec<Option<u32>> {
        let events = std::mem::take(&mut world.events);
        let drops = events.into_iter().filter_map(|(_, event)| match event {
            NetworkEvent::Dropped { number, .. } => Some(number),
            _ => None,
        });
        drops.collect()
    };
    let (bob, dave) = (world.nat("o2", 4000), world.ipv4("dave", 4000));
    let send = |world: &mut World, name: &str, from, to| {
        let port = world.port(name);
        world.network.inject(world.start + world.now, port, build_udp(from, to, b"").unwrap())
    };
    let alice = world.ipv4("alice", 4000);
    let first = send(&mut world, "alice", alice, bob);
    let second = send(&mut world, "dave", dave, bob);
    let third = send(&mut world, "alice", alice, dave);
    assert_eq!((first, second, third), (1, 2, 3));
    world.run(s(1));
    assert_eq!(world.take().len(), 1, "what went to dave");
    assert_eq!(numbers(&mut world), [Some(1), Some(2)]);
    // Nobody injected what a router says.
    world.inject("dave", build_udp(dave, "203.0.113.77:1".parse().unwrap(), b"").unwrap());
    world.run(s(1));
    assert_eq!(numbers(&mut world), [Some(4)]);
}
