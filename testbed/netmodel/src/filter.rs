//! What a network refuses to carry, and how often it did.

use crate::{
    Block, BlockAnswer, BlockCount, BlockDirection, Direction, DropCause, StunMatch, packet::Packet,
};
use std::{collections::BTreeSet, net::IpAddr};

/// The rules of one network, in the order that decides which one counts a packet.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    rules: Vec<BlockCount>,
}

impl Filter {
    pub(crate) fn new(blocks: &[Block]) -> Self {
        let mut filter = Self::default();
        filter.set(blocks);
        filter
    }

    /// These rules from now on. Those that stay keep their counts.
    pub(crate) fn set(&mut self, blocks: &[Block]) {
        let counted = |block: &Block| self.rules.iter().find(|rule| rule.block == *block);
        let rule =
            |block: &Block| counted(block).copied().unwrap_or(BlockCount { block: *block, dropped: 0 });
        self.rules = blocks.iter().map(rule).collect();
    }

    pub(crate) fn counts(&self) -> &[BlockCount] {
        &self.rules
    }

    /// Whether a packet, as the outside sees it, is refused, and what its sender hears.
    pub(crate) fn refuse(
        &mut self,
        packet: &Packet,
        direction: Direction,
        known: &BTreeSet<IpAddr>,
    ) -> Option<(DropCause, BlockAnswer)> {
        if !packet.is_udp() {
            return None;
        }
        let rule = self.rules.iter_mut().find(|rule| matches(rule.block, packet, direction, known))?;
        rule.dropped += 1;
        Some(match rule.block {
            Block::Stun { matching: StunMatch::Port, answer, .. } => (DropCause::CarrierStunPort, answer),
            Block::Stun { matching: StunMatch::Cookie, answer, .. } => (DropCause::CarrierStunCookie, answer),
            Block::Stun { matching: StunMatch::Signature, answer, .. } => {
                (DropCause::CarrierStunSignature, answer)
            }
            Block::UdpPeerToPeer { answer, .. } => (DropCause::CarrierUdpP2p, answer),
            Block::Udp { answer, .. } => (DropCause::CarrierUdp, answer),
        })
    }
}

fn matches(block: Block, packet: &Packet, towards: Direction, known: &BTreeSet<IpAddr>) -> bool {
    match block {
        Block::Stun { matching, direction, .. } => goes(direction, towards) && is_stun(matching, packet),
        Block::UdpPeerToPeer { ipv4, ipv6, direction, .. } => {
            let far = match towards {
                Direction::Up => packet.destination(),
                Direction::Down => packet.source(),
            };
            let family = if far.is_ipv4() { ipv4 } else { ipv6 };
            goes(direction, towards) && family && !known.contains(&far)
        }
        Block::Udp { direction, .. } => goes(direction, towards),
    }
}

fn goes(direction: BlockDirection, towards: Direction) -> bool {
    match direction {
        BlockDirection::In => towards == Direction::Down,
        BlockDirection::Out => towards == Direction::Up,
        BlockDirection::Both => true,
    }
}

const STUN_PORTS: [u16; 2] = [3478, 5349];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const STUN_HEADER: usize = 20;
/// RFC 8489 section 5: the class and the two bits that are zero lie between and above the method's.
const METHOD: u16 = 0x3eef;
/// The highest method of STUN and TURN: ConnectionAttempt (RFC 6062 section 6.1).
const LAST_METHOD: u16 = 0x000c;
/// The sixteen types from 0x0800 on.
const CALLS: u16 = 0x0800;

fn is_stun(matching: StunMatch, packet: &Packet) -> bool {
    let Some((source, destination, payload)) = packet.udp() else { return false };
    match matching {
        StunMatch::Port => STUN_PORTS.contains(&source) || STUN_PORTS.contains(&destination),
        StunMatch::Cookie => payload.get(4..8) == Some(&COOKIE),
        StunMatch::Signature => has_signature(payload),
    }
}

fn has_signature(payload: &[u8]) -> bool {
    let [kind_high, kind_low, length_high, length_low, ..] = *payload else { return false };
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    let method = u16::from_be_bytes([kind_high, kind_low]) & METHOD;
    let is_method = (1..=LAST_METHOD).contains(&method) || method & !0x000f == CALLS;
    payload.len() >= STUN_HEADER && STUN_HEADER + length == payload.len() && is_method
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Type, length, cookie and transaction of a Binding request with one empty attribute.
    fn binding() -> Vec<u8> {
        [&[0, 1, 0, 4], &COOKIE[..], &[7; 12], &[0x80, 0x22, 0, 0]].concat()
    }

    #[test]
    fn only_a_scrambled_length_hides_the_signature() {
        assert!(has_signature(&binding()));
        for first in [0x00, 0x40, 0x80, 0x41] {
            let mut disguised = binding();
            disguised[0] = first & 0xc0 | first & 0x01;
            disguised[4..8].fill(0xaa);
            assert!(has_signature(&disguised), "{first:#x}");
        }
        let mut scrambled = binding();
        scrambled[3] ^= 0x10;
        assert!(!has_signature(&scrambled));
        assert!(!has_signature(&binding()[..19]));
        assert!(!has_signature(b""));
        let mut call = binding();
        call[..2].copy_from_slice(&[0x08, 0x01]);
        assert!(has_signature(&call));
        let mut other = binding();
        other[..2].copy_from_slice(&[0x0f, 0x01]);
        assert!(!has_signature(&other));
    }
}
