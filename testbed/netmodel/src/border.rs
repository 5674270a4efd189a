//! Where a network meets the outside: its NAT for IPv4, its firewall for IPv6, and what it refuses to carry.

use crate::{
    Direction, DropCause, Ipv6Access, NetworkSpec,
    filter::Filter,
    nat::Nat,
    packet::{Flow, Packet},
    sessions::{Behaviour, Expiry, Inside, Outbound, SessionKey, Sessions},
};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

#[derive(Debug)]
pub(crate) struct Border {
    nat: Option<Nat>,
    firewall: Option<Firewall>,
    pub(crate) filter: Filter,
}

/// Mappings that a border has forgotten: what was mapped, and to where.
pub(crate) type Forgotten = Vec<(Inside, SocketAddr)>;

/// A session that an outbound packet began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Opened {
    pub(crate) outbound: Outbound,
    /// When to look at it again.
    pub(crate) check: Instant,
}

/// Where a packet to the outside of the border's own NAT goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hairpin {
    /// It is for elsewhere.
    NotOwn,
    /// In again.
    Back,
    /// Nowhere.
    Refused,
}

impl Border {
    /// `number` tells this border's draws from those of all others.
    pub(crate) fn new(spec: &NetworkSpec, outside: Option<Ipv4Addr>, seed: u64, number: u64) -> Self {
        let nat = spec.nat.as_ref().zip(outside).map(|(nat, outside)| Nat::new(outside, nat, seed, number));
        let firewall = (spec.ipv6 == Ipv6Access::Firewalled).then(Firewall::new);
        Self { nat, firewall, filter: Filter::new(&spec.blocks) }
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
        let outbound = match (packet.source(), &mut self.nat, &mut self.firewall) {
            (IpAddr::V4(_), Some(nat), _) => nat.outbound(now, packet)?,
            (IpAddr::V6(_), _, Some(firewall)) => firewall.outbound(now, packet)?,
            _ => None,
        };
        Ok(outbound.and_then(|outbound| Some(Opened { outbound, check: outbound.opened? })))
    }

    /// A packet enters: translated, or found to be wanted.
    pub(crate) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Result<(), DropCause> {
        match (packet.source(), &mut self.nat, &mut self.firewall) {
            (IpAddr::V4(_), Some(nat), _) => nat.inbound(now, packet),
            (IpAddr::V6(_), _, Some(firewall)) => firewall.inbound(now, packet),
            _ => Ok(()),
        }
    }

    /// Whether a packet goes out only to come in again.
    pub(crate) fn hairpin(&self, packet: &Packet) -> Hairpin {
        match &self.nat {
            Some(nat) if nat.is_outside(packet.destination()) && nat.hairpins() => Hairpin::Back,
            Some(nat) if nat.is_outside(packet.destination()) => Hairpin::Refused,
            _ => Hairpin::NotOwn,
        }
    }

    /// The inside address for which a packet from outside is meant, as far as anybody can tell.
    pub(crate) fn meant_for(&self, packet: &Packet) -> Option<IpAddr> {
        match &self.nat {
            Some(nat) if packet.destination().is_ipv4() => nat.inside_of(packet),
            _ => Some(packet.destination()),
        }
    }

    /// The NAT forgets its mappings and chooses other outside ports from now on: what was mapped, and to where. None
    /// without a NAT.
    pub(crate) fn rebind(&mut self) -> Option<Forgotten> {
        self.nat.as_mut().map(Nat::rebind)
    }

    /// The NAT forgets its mappings: what was mapped, and to where. None without a NAT.
    pub(crate) fn flush(&mut self) -> Option<Forgotten> {
        self.nat.as_mut().map(Nat::flush)
    }

    /// The NAT forgets its mappings and has this outside address from now on. None without a NAT.
    pub(crate) fn relocate(&mut self, outside: Ipv4Addr) -> Option<Forgotten> {
        self.nat.as_mut().map(|nat| nat.relocate(outside))
    }

    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        match (key.is_ipv4(), &mut self.nat, &mut self.firewall) {
            (true, Some(nat), _) => nat.expire(now, key),
            (false, _, Some(firewall)) => firewall.sessions.expire(now, key),
            _ => Expiry::Ended,
        }
    }
}

/// Lets in what the inside has asked for.
#[derive(Debug)]
struct Firewall {
    sessions: Sessions,
}

impl Firewall {
    fn new() -> Self {
        Self { sessions: Sessions::new(Behaviour::FIREWALL) }
    }

    fn outbound(&mut self, now: Instant, packet: &Packet) -> Result<Option<Outbound>, DropCause> {
        let Some(Flow { protocol, near, far }) = packet.flow(Direction::Up) else {
            // What an inside host tells about what it got begins nothing.
            return packet.flow_of_error(Direction::Up).map(|_| None).ok_or(DropCause::UnsupportedProtocol);
        };
        // Nothing is translated: the outside address is the inside one.
        let outbound = self.sessions.outbound(now, Inside { protocol, address: near }, far, |_| Some(near));
        outbound.map(Some).ok_or(DropCause::Firewall)
    }

    fn inbound(&mut self, now: Instant, packet: &Packet) -> Result<(), DropCause> {
        let passes = match packet.flow(Direction::Down) {
            Some(Flow { protocol, near, far }) => {
                let mapping = self.sessions.mapping_key(Inside { protocol, address: near }, far);
                self.sessions.inbound(now, mapping, far)
            }
            // RFC 4890 section 4.3.1: errors about what an inside host has sent.
            None => {
                let flow = packet.flow_of_error(Direction::Down).ok_or(DropCause::UnsupportedProtocol)?;
                let inside = Inside { protocol: flow.protocol, address: flow.near };
                let mapping = self.sessions.mapping_key(inside, flow.far);
                packet.destination() == flow.near.ip() && self.sessions.permits(now, mapping, flow.far)
            }
        };
        passes.then_some(()).ok_or(DropCause::Firewall)
    }
}
