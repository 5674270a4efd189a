//! What networks refuse to carry: by which sign, which way, with which answer, counted by rule.

use crate::common::*;
use netmodel::*;

const SILENCE: BlockAnswer = BlockAnswer::Silence;

fn world(blocks: &[Block]) -> World {
    let mut topology = topology();
    topology.networks[1].blocks = blocks.to_vec();
    World::new(topology, 7)
}

fn stun(matching: StunMatch, direction: BlockDirection) -> Block {
    Block::Stun { matching, direction, answer: SILENCE }
}

/// A Binding request without attributes (RFC 8489 section 5).
fn binding() -> Vec<u8> {
    [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat()
}

/// Whether `bob` reaches a server's port with this payload.
fn passes(world: &mut World, port: u16, payload: &[u8]) -> bool {
    world.send("bob", 6000, world.ipv4("meet", port), payload);
    world.run(s(1));
    world.causes();
    !world.take().is_empty()
}

#[test]
fn stun_is_known_by_port_cookie_or_form() {
    let mut other_cookie = binding();
    other_cookie[4] ^= 1;
    let mut disguised = other_cookie.clone();
    disguised[0] = 0x40;
    let mut scrambled = disguised.clone();
    scrambled[3] = 0x30;
    let mut only_length = binding();
    only_length[3] = 0x30;
    let cases: [(StunMatch, [bool; 6]); 3] = [
        (StunMatch::Port, [false, true, false, true, true, true]),
        (StunMatch::Cookie, [false, false, true, true, true, false]),
        (StunMatch::Signature, [false, false, true, false, false, true]),
    ];
    for (matching, expected) in cases {
        let mut world = world(&[stun(matching, BlockDirection::Both)]);
        let passed = [
            passes(&mut world, 3478, &binding()),
            passes(&mut world, 9000, &binding()),
            passes(&mut world, 5349, b"no STUN at all"),
            passes(&mut world, 9000, &other_cookie),
            passes(&mut world, 9000, &disguised),
            passes(&mut world, 9000, &only_length),
        ];
        assert_eq!(passed, expected, "{matching:?}");
        assert!(passes(&mut world, 9000, &scrambled), "{matching:?}");
    }
}

#[test]
fn each_direction_can_be_blocked_by_itself() {
    let block = |direction| Block::Udp { direction, answer: SILENCE };
    for (direction, out, back) in [
        (BlockDirection::In, true, false),
        (BlockDirection::Out, false, true),
        (BlockDirection::Both, false, false),
    ] {
        let mut world = world(&[]);
        world.send("bob", 6000, world.ipv4("meet", 1), b"");
        world.take_one("meet");
        let network = world.plan.network("o2").unwrap();
        world.change(Change::Blocks { network, blocks: vec![block(direction)] }).unwrap();
        assert_eq!(passes(&mut world, 1, b""), out, "{direction:?}");
        world.send("meet", 1, world.nat("o2", 6000), b"");
        world.run(s(1));
        assert_eq!(!world.take().is_empty(), back, "{direction:?}");
    }
}

#[test]
fn who_is_refused_may_be_told() {
    let block = Block::Udp { direction: BlockDirection::Both, answer: BlockAnswer::IcmpProhibited };
    let mut world = world(&[block]);
    // RFC 1812 section 5.2.7.1: code 13; RFC 4443 section 3.1: code 1. The NAT is between the filter and bob.
    world.send("bob", 6000, world.ipv4("meet", 1), b"");
    let told = world.take_one("bob").packet;
    assert_eq!((told[20], told[21]), (3, 13));
    assert_eq!(told[12..16], [100, 64, 2, 1]);
    assert_eq!(
        (&told[40..44], &told[48..50]),
        (&octets(world.ipv4("bob", 0))[..], &6000_u16.to_be_bytes()[..])
    );
    world.send("bob", 6000, world.ipv6("meet", 1), b"");
    let told = world.take_one("bob").packet;
    assert_eq!((told[40], told[41]), (1, 1));
    // From outside: the border tells, before anything was translated.
    world.send("meet", 1, world.nat("o2", 6000), b"");
    let told = world.take_one("meet").packet;
    assert_eq!((told[20], told[21], &told[12..16]), (3, 13, &octets(world.nat("o2", 0))[..]));
    assert_eq!(world.causes(), [DropCause::CarrierUdp; 3]);
}

#[test]
fn drops_are_counted_by_rule_and_told() {
    let port = stun(StunMatch::Port, BlockDirection::Both);
    let cookie = stun(StunMatch::Cookie, BlockDirection::Both);
    let mut world = world(&[port, cookie]);
    let network = world.plan.network("o2").unwrap();
    passes(&mut world, 3478, &binding());
    world.send("bob", 6000, world.ipv4("meet", 9000), &binding());
    assert_eq!(world.take_drops(), [DropCause::CarrierStunCookie]);
    passes(&mut world, 9000, &binding());
    let counted = |block, dropped| BlockCount { block, dropped };
    assert_eq!(world.network.block_counts(network), Some(&[counted(port, 1), counted(cookie, 2)][..]));
    assert_eq!(world.dropped("bob", Direction::Up, DropCause::CarrierStunPort), 1);
    // A rule that stays keeps its count, one that comes begins at zero.
    let all = Block::Udp { direction: BlockDirection::Out, answer: SILENCE };
    world.change(Change::Blocks { network, blocks: vec![cookie, all] }).unwrap();
    assert!(!passes(&mut world, 1, b""));
    assert_eq!(world.network.block_counts(network), Some(&[counted(cookie, 2), counted(all, 1)][..]));
    world.change(Change::Blocks { network, blocks: Vec::new() }).unwrap();
    assert!(passes(&mut world, 3478, &binding()));
    assert_eq!(world.network.block_counts(network), Some(&[][..]));
    assert_eq!(world.network.block_counts(NetworkId(77)), None);
}

#[test]
fn what_is_no_whole_datagram_is_no_stun() {
    let mut world = world(&[stun(StunMatch::Signature, BlockDirection::Both)]);
    assert!(passes(&mut world, 9000, &binding()[..19]));
    assert!(passes(&mut world, 9000, b""));
}
