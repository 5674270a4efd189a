//! MTUs and the ICMP errors of routers, and what NATs and firewalls do with ICMP errors (RFC 5508, RFC 4890).

use crate::common::*;
use etherparse::{
    Icmpv4Type, Icmpv6Type, NetSlice, SlicedPacket, TransportSlice, checksum::Sum16BitWords, icmpv4, icmpv6,
};
use netmodel::*;
use std::net::{IpAddr, SocketAddr};

/// An ICMP error taken apart: who tells what about which datagram.
struct Told {
    from: IpAddr,
    /// ICMPv4 or ICMPv6 type and code.
    kind: (u8, u8),
    /// The last four bytes of its header.
    rest: u32,
    source: SocketAddr,
    destination: SocketAddr,
}

/// Reads an error and verifies all checksums that can be: its own, and those of the headers that it carries.
fn told(packet: &[u8]) -> Told {
    let sliced = SlicedPacket::from_ip(packet).expect("a packet");
    let (kind, rest, about) = match &sliced.transport {
        Some(TransportSlice::Icmpv4(icmp)) => {
            assert_eq!(icmp.icmp_type().calc_checksum(icmp.payload()), icmp.checksum());
            ((icmp.type_u8(), icmp.code_u8()), icmp.bytes5to8(), icmp.payload())
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            let Some(NetSlice::Ipv6(ip)) = &sliced.net else { panic!("no IPv6") };
            let (from, to) = (ip.header().source(), ip.header().destination());
            assert!(icmp.is_checksum_valid(from, to));
            ((icmp.type_u8(), icmp.code_u8()), icmp.bytes5to8(), icmp.payload())
        }
        other => panic!("no ICMP: {other:?}"),
    };
    let from = match &sliced.net {
        Some(NetSlice::Ipv4(ip)) => ip.header().source_addr().into(),
        Some(NetSlice::Ipv6(ip)) => ip.header().source_addr().into(),
        other => panic!("no IP: {other:?}"),
    };
    let (source, destination) = about_udp(about);
    Told { from, kind, rest: u32::from_be_bytes(rest), source, destination }
}

/// Source and destination of the datagram whose beginning an error carries.
fn about_udp(about: &[u8]) -> (SocketAddr, SocketAddr) {
    let word = |at: usize| u16::from_be_bytes([about[at], about[at + 1]]);
    if about[0] >> 4 == 4 {
        assert_eq!(
            Sum16BitWords::new().add_slice(&about[..20]).ones_complement(),
            0,
            "its header's checksum"
        );
        let address = |at: usize| IpAddr::from(<[u8; 4]>::try_from(&about[at..at + 4]).unwrap());
        return (SocketAddr::new(address(12), word(20)), SocketAddr::new(address(16), word(22)));
    }
    let address = |at: usize| IpAddr::from(<[u8; 16]>::try_from(&about[at..at + 16]).unwrap());
    (SocketAddr::new(address(8), word(40)), SocketAddr::new(address(24), word(42)))
}

fn with_mtu(network: usize, direction: Direction, mtu: u16) -> World {
    let mut topology = topology();
    let network = &mut topology.networks[network];
    let link = if direction == Direction::Up { &mut network.up } else { &mut network.down };
    link.mtu = Mtu::new(mtu);
    if mtu < 1280 {
        network.ipv6 = Ipv6Access::None;
    }
    World::new(topology, 1)
}

#[test]
fn what_fits_passes_and_what_does_not_is_told() {
    let mut world = with_mtu(2, Direction::Up, 1400);
    let (dave, meet) = (world.ipv4("dave", 1), world.ipv4("meet", 2));
    world.send("dave", 1, meet, &[0; 1400 - 28]);
    world.take_one("meet");
    world.send("dave", 1, meet, &[0; 1401 - 28]);
    let delivery = world.take_one("dave");
    let error = told(&delivery.packet);
    // RFC 1191 section 4: the code says that fragmentation was needed, the last word the next hop's MTU.
    assert_eq!((error.kind, error.rest), ((3, 4), 1400));
    assert_eq!(error.from.to_string(), "198.18.3.1");
    assert_eq!((error.source, error.destination), (dave, meet));
    assert_eq!(delivery.packet.len(), 576, "as much as RFC 1812 section 4.3.2.3 allows");
    assert_eq!(world.causes(), [DropCause::TooBig]);
    assert_eq!(world.dropped("dave", Direction::Up, DropCause::TooBig), 1);

    world.send("dave", 1, world.ipv6("meet", 2), &[0; 1401 - 48]);
    let error = told(&world.take_one("dave").packet);
    assert_eq!((error.kind, error.rest), ((2, 0), 1400));
    assert_eq!(error.from.to_string(), "2001:db8:3::1");
    assert_eq!(world.network.errors_sent(), 2);
}

#[test]
fn a_server_hears_of_a_narrow_link_behind_a_nat() {
    // The error starts inside: its source becomes the NAT's, and what it tells about what the server has sent.
    let mut world = with_mtu(0, Direction::Down, 1300);
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    let (outside, meet) = (world.nat("home", 4000), world.ipv4("meet", 1));
    world.send("meet", 1, outside, &[0; 1300]);
    let error = told(&world.take_one("meet").packet);
    assert_eq!((error.from, error.kind, error.rest), (outside.ip(), (3, 4), 1300));
    assert_eq!((error.source, error.destination), (meet, outside));

    world.send("alice", 4000, world.ipv6("meet", 1), b"");
    world.take_one("meet");
    world.send("meet", 1, world.ipv6("alice", 4000), &[0; 1300]);
    let error = told(&world.take_one("meet").packet);
    assert_eq!((error.kind, error.rest), ((2, 0), 1300));
    assert_eq!(error.destination, world.ipv6("alice", 4000));
}

#[test]
fn an_inside_host_hears_of_a_narrow_link_outside_its_nat() {
    let mut topology = topology();
    topology.networks[0].behind = Some("o2".into());
    topology.networks[1].up.mtu = Mtu::new(1350);
    let mut world = World::new(topology, 1);
    world.send("alice", 4000, world.ipv4("meet", 1), &[0; 1350]);
    let error = told(&world.take_one("alice").packet);
    assert_eq!((error.kind, error.rest), ((3, 4), 1350));
    assert_eq!((error.source, error.destination), (world.ipv4("alice", 4000), world.ipv4("meet", 1)));
}

#[test]
fn ipv4_that_may_be_fragmented_is() {
    let mut world = with_mtu(2, Direction::Up, 620);
    let payload: Vec<u8> = (0..2000).map(|number| number as u8).collect();
    let whole = build_udp(world.ipv4("dave", 1), world.ipv4("meet", 2), &payload).unwrap();
    let mut header = etherparse::Ipv4Header::from_slice(&whole).unwrap().0;
    (header.dont_fragment, header.identification) = (false, 77);
    header.header_checksum = header.calc_header_checksum();
    world.inject("dave", [&header.to_bytes(), &whole[20..]].concat());
    world.run(s(1));
    let mut assembled = Vec::new();
    let fragments = world.take();
    for (number, delivery) in fragments.iter().enumerate() {
        let (header, body) = etherparse::Ipv4Header::from_slice(&delivery.packet).unwrap();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert!(delivery.packet.len() <= 620 && usize::from(header.total_len) == delivery.packet.len());
        assert_eq!(usize::from(header.fragment_offset.value()) * 8, assembled.len());
        assert_eq!((header.more_fragments, header.identification), (number + 1 < fragments.len(), 77));
        assembled.extend_from_slice(body);
    }
    assert_eq!(fragments.len(), 4);
    assert_eq!(assembled, whole[20..]);
}

#[test]
fn no_error_is_told_about_an_error() {
    let mut world = with_mtu(2, Direction::Up, 100);
    let about = build_udp(world.ipv4("meet", 2), world.ipv4("dave", 1), &[0; 200]).unwrap();
    let error = unreachable(world.ipv4("dave", 0), world.ipv4("meet", 0), &about);
    world.inject("dave", error);
    assert_eq!(world.take_drops(), [DropCause::TooBig]);
    assert_eq!(world.network.errors_sent(), 0);
}

#[test]
fn hop_limits_that_end_are_told_by_the_border_where_they_do() {
    // As traceroute asks: one border more each time.
    let mut topology = topology();
    topology.networks[0].behind = Some("o2".into());
    let mut world = World::new(topology, 1);
    let mut routers = Vec::new();
    for hops in 1..=3 {
        let mut packet = build_udp(world.ipv4("alice", 4000), world.nat("o2", 1), b"").unwrap();
        packet[8] = hops;
        packet[10..12].fill(0);
        packet[16..20].copy_from_slice(&octets(world.ipv4("dave", 1)));
        let mut header = etherparse::Ipv4Header::from_slice(&packet).unwrap().0;
        header.header_checksum = header.calc_header_checksum();
        packet[..20].copy_from_slice(&header.to_bytes());
        world.inject("alice", packet);
        let error = told(&world.take_one("alice").packet);
        assert_eq!(error.kind, (11, 0));
        assert_eq!(error.source, world.ipv4("alice", 4000));
        routers.push(error.from.to_string());
    }
    // The home's router, the carrier's, and the border of dave's network, which has no NAT.
    assert_eq!(routers, ["192.168.1.1", "100.64.2.1", "198.18.3.1"]);
}

#[test]
fn errors_from_outside_follow_the_mapping() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("meet", 1), b"payload");
    let sent = world.take_one("meet").packet;
    let meet = world.ipv4("meet", 0);
    // With the least that RFC 792 demands and with everything.
    for about in [&sent[..28], &sent[..]] {
        world.inject("meet", unreachable(meet, world.nat("home", 0), about));
        let error = told(&world.take_one("alice").packet);
        assert_eq!((error.from, error.kind), (meet.ip(), (3, 3)));
        assert_eq!((error.source, error.destination), (world.ipv4("alice", 4000), world.ipv4("meet", 1)));
    }
    // From whomever, as long as it is about what alice has sent.
    world.inject("control", unreachable(world.ipv4("control", 0), world.nat("home", 0), &sent));
    world.take_one("alice");
    let strange = build_udp(world.nat("home", 4000), world.ipv4("control", 9), b"").unwrap();
    world.inject("meet", unreachable(meet, world.nat("home", 0), &strange));
    assert_eq!(world.take_drops(), [DropCause::NatFiltered]);
    let unmapped = build_udp(world.nat("home", 4999), world.ipv4("meet", 1), b"").unwrap();
    world.inject("meet", unreachable(meet, world.nat("home", 0), &unmapped));
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
}

#[test]
fn the_datagram_within_an_error_keeps_a_right_checksum() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("meet", 1), b"payload");
    let sent = world.take_one("meet").packet;
    world.inject("meet", unreachable(world.ipv4("meet", 0), world.nat("home", 0), &sent));
    let error = world.take_one("alice").packet;
    let whole = parse_udp(&error[28..]).expect("the whole datagram, as alice has sent it");
    assert_eq!(whole.source, world.ipv4("alice", 4000));
}

#[test]
fn errors_from_inside_are_translated_and_prolong_nothing() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    let (outside, meet) = (world.nat("home", 4000), world.ipv4("meet", 1));
    world.send("meet", 1, outside, b"to a closed port");
    let received = world.take_one("alice").packet;
    world.inject("alice", unreachable(world.ipv4("alice", 0), meet, &received));
    let error = told(&world.take_one("meet").packet);
    assert_eq!((error.from, error.source, error.destination), (outside.ip(), meet, outside));
    // Without a mapping there is nothing to translate to.
    world.run(s(200));
    world.causes();
    world.inject("alice", unreachable(world.ipv4("alice", 0), meet, &received));
    assert_eq!(world.take_drops(), [DropCause::NatNoMapping]);
}

#[test]
fn errors_about_echo_go_to_who_asked() {
    let mut world = World::usual();
    let (alice, meet) = (world.ipv4("alice", 0), world.ipv4("meet", 0));
    let mut echo = Vec::new();
    let request = Icmpv4Type::EchoRequest(etherparse::IcmpEchoHeader { id: 77, seq: 1 });
    etherparse::PacketBuilder::ipv4(octets(alice), octets(meet), 64)
        .icmpv4(request)
        .write(&mut echo, b"")
        .unwrap();
    world.inject("alice", echo.clone());
    let sent = world.take_one("meet").packet;
    let exceeded = Icmpv4Type::TimeExceeded(icmpv4::TimeExceededCode::TtlExceededInTransit);
    let mut error = Vec::new();
    let builder =
        etherparse::PacketBuilder::ipv4(octets(meet), octets(world.nat("home", 0)), 64).icmpv4(exceeded);
    builder.write(&mut error, &sent).unwrap();
    world.inject("meet", error);
    let back = world.take_one("alice").packet;
    let (header, request) = etherparse::Ipv4Header::from_slice(&back[28..]).unwrap();
    assert_eq!(header.header_checksum, header.calc_header_checksum());
    assert_eq!((header.source, header.time_to_live), (octets(alice), 63));
    assert_eq!(request, &echo[20..]);
}

#[test]
fn the_firewall_lets_in_errors_about_what_went_out() {
    let mut world = World::usual();
    let error = |world: &World, about: &[u8]| {
        let kind = Icmpv6Type::DestinationUnreachable(icmpv6::DestUnreachableCode::Port);
        let (IpAddr::V6(from), IpAddr::V6(to)) = (world.ipv6("meet", 0).ip(), world.ipv6("alice", 0).ip())
        else {
            panic!("IPv6 wanted")
        };
        let mut packet = Vec::new();
        let builder = etherparse::PacketBuilder::ipv6(from.octets(), to.octets(), 64).icmpv6(kind);
        builder.write(&mut packet, about).unwrap();
        packet
    };
    world.send("alice", 4000, world.ipv6("meet", 1), b"");
    let sent = world.take_one("meet").packet;
    world.inject("meet", error(&world, &sent));
    assert_eq!(told(&world.take_one("alice").packet).source, world.ipv6("alice", 4000));
    let strange = build_udp(world.ipv6("alice", 4000), world.ipv6("control", 1), b"").unwrap();
    world.inject("meet", error(&world, &strange));
    assert_eq!(world.take_drops(), [DropCause::Firewall]);
}
