//! `block`: what a network refuses to carry to or from the internet.

use super::{
    diagnostic::Problems,
    meaning::{self, ANSWERS, DIRECTIONS, STUN_MATCHES, word},
    reader::{self, Table},
    words,
    yaml::Node,
};
use netmodel::{BlockAnswer, BlockDirection};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, fmt};

/// Something that a network refuses to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Block(pub(crate) netmodel::Block);

pub(super) fn read_blocks(node: &Node, problems: &mut Problems) -> Option<Vec<Block>> {
    let filters = reader::sequence(node, problems)?;
    let read: Vec<Option<Block>> = filters.iter().map(|filter| Block::read(filter, problems)).collect();
    read.into_iter().collect()
}

impl Block {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let entry = reader::variant(node, &words::BLOCK, problems)?;
        let vocabulary = match entry.key.as_str() {
            "stun" => &words::BLOCK_STUN,
            "udp_p2p" => &words::BLOCK_UDP_P2P,
            _ => &words::BLOCK_UDP,
        };
        let table = Table::open(&entry.value, vocabulary, problems)?;
        let direction = match table.get("direction") {
            Some(node) => meaning::read(node, &words::BLOCK_DIRECTION, &DIRECTIONS, problems),
            None => Some(BlockDirection::Both),
        };
        let answer = match table.get("answer") {
            Some(node) => meaning::read(node, &words::BLOCK_ANSWER, &ANSWERS, problems),
            None => Some(BlockAnswer::Silence),
        };
        match entry.key.as_str() {
            "stun" => {
                // There is no usual way to recognise STUN.
                let matching = table.require("match", problems);
                let matching = matching
                    .and_then(|node| meaning::read(node, &words::BLOCK_MATCH, &STUN_MATCHES, problems));
                let (matching, direction, answer) = (matching?, direction?, answer?);
                Some(Self(netmodel::Block::Stun { matching, direction, answer }))
            }
            "udp_p2p" => {
                let family = match table.get("family") {
                    Some(node) => reader::word(node, &words::BLOCK_FAMILY, problems),
                    None => Some("both"),
                };
                let (ipv4, ipv6) = (family? != "ipv6", family? != "ipv4");
                let (direction, answer) = (direction?, answer?);
                Some(Self(netmodel::Block::UdpPeerToPeer { ipv4, ipv6, direction, answer }))
            }
            _ => Some(Self(netmodel::Block::Udp { direction: direction?, answer: answer? })),
        }
    }

    fn direction(self) -> BlockDirection {
        match self.0 {
            netmodel::Block::Stun { direction, .. }
            | netmodel::Block::UdpPeerToPeer { direction, .. }
            | netmodel::Block::Udp { direction, .. } => direction,
        }
    }

    fn answer(self) -> BlockAnswer {
        match self.0 {
            netmodel::Block::Stun { answer, .. }
            | netmodel::Block::UdpPeerToPeer { answer, .. }
            | netmodel::Block::Udp { answer, .. } => answer,
        }
    }
}

/// As it is written.
impl Serialize for Block {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut keys = BTreeMap::new();
        let kind = match self.0 {
            netmodel::Block::Stun { matching, .. } => {
                keys.insert("match", word(&STUN_MATCHES, &matching));
                "stun"
            }
            netmodel::Block::UdpPeerToPeer { ipv4, ipv6, .. } => {
                let family = match (ipv4, ipv6) {
                    (true, false) => "ipv4",
                    (false, true) => "ipv6",
                    _ => "both",
                };
                keys.insert("family", family);
                "udp_p2p"
            }
            netmodel::Block::Udp { .. } => "udp",
        };
        keys.insert("direction", word(&DIRECTIONS, &self.direction()));
        keys.insert("answer", word(&ANSWERS, &self.answer()));
        BTreeMap::from([(kind, keys)]).serialize(serializer)
    }
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            netmodel::Block::Stun { matching, .. } => {
                write!(f, "blocks STUN by its {}", word(&STUN_MATCHES, &matching))?;
            }
            netmodel::Block::UdpPeerToPeer { ipv4, ipv6, .. } => {
                let family = match (ipv4, ipv6) {
                    (true, false) => "IPv4",
                    (false, true) => "IPv6",
                    _ => "either family",
                };
                write!(f, "blocks UDP between peers over {family}")?;
            }
            netmodel::Block::Udp { .. } => f.write_str("blocks all UDP")?,
        }
        f.write_str(match self.direction() {
            BlockDirection::In => ", in",
            BlockDirection::Out => ", out",
            BlockDirection::Both => ", in and out",
        })?;
        match self.answer() {
            BlockAnswer::Silence => Ok(()),
            BlockAnswer::IcmpProhibited => f.write_str(", and says so"),
        }
    }
}
