//! Where a network meets the internet: its NAT for IPv4, its firewall for IPv6, and what the carrier blocks.

use crate::{
    Block, BlockDirection, Direction, DropCause, Ipv6Access, NetworkSpec,
    nat::Nat,
    packet::{Flow, Packet},
    sessions::{Expiry, Inside, Outbound, SessionKey, Sessions, Timeouts},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

#[derive(Debug)]
pub(crate) struct Border {
    nat: Option<Nat>,
    firewall: Option<Firewall>,
    blocks: Vec<Block>,
}

/// A session that an outbound packet began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) key: SessionKey,
    pub(crate) outbound: Outbound,
    /// When to look at it again.
    pub(crate) check: Instant,
}

impl Border {
    pub(crate) fn new(spec: &NetworkSpec, outside: Option<Ipv4Addr>) -> Self {
        let nat = spec.nat.as_ref().zip(outside).map(|(nat, outside)| Nat::new(outside, nat));
        let firewall = (spec.ipv6 == Ipv6Access::Firewalled).then(Firewall::new);
        Self { nat, firewall, blocks: spec.blocks.clone() }
    }

    pub(crate) fn has_nat(&self) -> bool {
        self.nat.is_some()
    }

    /// A packet leaves: translated or noted, and told what began with it.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        packet: &mut Packet,
    ) -> Result<Option<Opened>, DropCause> {
        let passed = match (packet.source(), &mut self.nat, &mut self.firewall) {
            (IpAddr::V4(_), Some(nat), _) => nat.outbound(now, packet)?,
            (IpAddr::V6(_), _, Some(firewall)) => firewall.outbound(now, packet)?,
            _ => return Ok(None),
        };
        let (key, outbound) = passed;
        Ok(outbound.opened.map(|check| Opened { key, outbound, check }))
    }

    /// A packet enters: translated, or found to be wanted.
    pub(crate) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Result<(), DropCause> {
        match (packet.source(), &mut self.nat, &mut self.firewall) {
            (IpAddr::V4(_), Some(nat), _) => nat.inbound(now, packet),
            (IpAddr::V6(_), _, Some(firewall)) => firewall.inbound(now, packet),
            _ => Ok(()),
        }
    }

    /// Whether the packet goes out only to come in again: to an outside address of the border's own NAT.
    pub(crate) fn hairpins(&self, packet: &Packet) -> bool {
        self.nat.as_ref().is_some_and(|nat| nat.is_outside(packet.destination()))
    }

    /// The inside address for which a packet from outside is meant, as far as anybody can tell.
    pub(crate) fn meant_for(&self, packet: &Packet) -> Option<IpAddr> {
        match &self.nat {
            Some(nat) if packet.destination().is_ipv4() => nat.inside_of(packet),
            _ => Some(packet.destination()),
        }
    }

    /// Whether the carrier refuses the packet, which is as the internet sees it.
    pub(crate) fn blocks(&self, packet: &Packet, direction: Direction, known: &BTreeSet<IpAddr>) -> bool {
        let far = match direction {
            Direction::Up => packet.destination(),
            Direction::Down => packet.source(),
        };
        packet.is_udp()
            && !known.contains(&far)
            && self.blocks.iter().any(|block| matches_udp_peer(block, far, direction))
    }

    /// The NAT forgets its mappings and chooses other outside ports from now on: what was mapped, and to where. None
    /// without a NAT.
    pub(crate) fn rebind(&mut self) -> Option<Vec<(Inside, SocketAddr)>> {
        self.nat.as_mut().map(Nat::rebind)
    }

    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        match (key.remote, &mut self.nat, &mut self.firewall) {
            (remote, Some(nat), _) if remote.is_ipv4() => nat.expire(now, key),
            (remote, _, Some(firewall)) if remote.is_ipv6() => firewall.sessions.expire(now, key),
            _ => Expiry::Ended,
        }
    }
}

fn matches_udp_peer(block: &Block, far: IpAddr, towards: Direction) -> bool {
    let Block::UdpPeerToPeer { ipv4, ipv6, direction } = block;
    let family = if far.is_ipv4() { *ipv4 } else { *ipv6 };
    let way = match direction {
        BlockDirection::In => towards == Direction::Down,
        BlockDirection::Out => towards == Direction::Up,
        BlockDirection::Both => true,
    };
    family && way
}

/// Lets in what the inside has asked for (RFC 6092 section 3.2, with the strictest filtering it allows).
#[derive(Debug)]
struct Firewall {
    sessions: Sessions,
}

impl Firewall {
    fn new() -> Self {
        Self { sessions: Sessions::new(Timeouts::DEFAULT) }
    }

    fn outbound(&mut self, now: Instant, packet: &Packet) -> Result<(SessionKey, Outbound), DropCause> {
        let key = session(packet, Direction::Up)?;
        // Nothing is translated: the outside address is the inside one.
        let outbound = self.sessions.outbound(now, key, || Some(key.inside.address));
        Ok((key, outbound.ok_or(DropCause::Firewall)?))
    }

    fn inbound(&mut self, now: Instant, packet: &Packet) -> Result<(), DropCause> {
        let key = session(packet, Direction::Down)?;
        self.sessions.inbound(now, key).then_some(()).ok_or(DropCause::Firewall)
    }
}

fn session(packet: &Packet, direction: Direction) -> Result<SessionKey, DropCause> {
    let Flow { protocol, near, far } = packet.flow(direction).ok_or(DropCause::UnsupportedProtocol)?;
    Ok(SessionKey { inside: Inside { protocol, address: near }, remote: far })
}
