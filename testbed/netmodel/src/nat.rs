//! A NAT, in the words of RFC 4787; what it does is up to its [`NatSpec`]. Hairpinning (REQ-9) is done by the border,
//! which sends a translated packet in again.
//!
//! Leaves out port parity (REQ-4) and several outside addresses.

mod ports;

use crate::{
    Direction, DropCause, Hairpinning, NatSpec,
    packet::{Flow, Packet},
    sessions::{Behaviour, Expiry, Inside, MappingKey, Outbound, SessionKey, Sessions},
};
use ports::Ports;
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};

#[derive(Debug)]
pub(crate) struct Nat {
    outside: Ipv4Addr,
    hairpinning: Hairpinning,
    sessions: Sessions,
    ports: Ports,
}

impl Nat {
    /// `number` tells this NAT's draws from those of all others.
    pub(crate) fn new(outside: Ipv4Addr, spec: &NatSpec, seed: u64, number: u64) -> Self {
        Self {
            outside,
            hairpinning: spec.hairpinning,
            sessions: Sessions::new(Behaviour::of(spec)),
            ports: Ports::new(spec.ports, seed, number),
        }
    }

    pub(crate) fn is_outside(&self, address: IpAddr) -> bool {
        address == self.outside
    }

    /// Has another outside address from now on, and forgets all mappings: what was mapped, and to where.
    pub(crate) fn relocate(&mut self, outside: Ipv4Addr) -> Vec<(Inside, SocketAddr)> {
        self.outside = outside;
        self.flush()
    }

    pub(crate) fn hairpins(&self) -> bool {
        self.hairpinning == Hairpinning::ExternalSource
    }

    /// Translates a packet on its way out. An ICMP error begins nothing.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        packet: &mut Packet,
    ) -> Result<Option<Outbound>, DropCause> {
        let Some(Flow { protocol, near, far }) = packet.flow(Direction::Up) else {
            return self.outbound_error(packet).map(|()| None);
        };
        let inside = Inside { protocol, address: near };
        let (address, ports) = (self.outside, &mut self.ports);
        let allocate = |key: MappingKey| Some(SocketAddr::new(address.into(), ports.allocate(key)?));
        let outbound = self.sessions.outbound(now, inside, far, allocate).ok_or(DropCause::NatExhausted)?;
        packet.rewrite_near(Direction::Up, outbound.outside);
        Ok(Some(outbound))
    }

    /// Translates a packet on its way in, if the filtering lets it.
    pub(crate) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Result<(), DropCause> {
        let Some(Flow { protocol, near, far }) = packet.flow(Direction::Down) else {
            return self.inbound_error(now, packet);
        };
        let mapping = self.ports.owner(protocol, near.port()).ok_or(DropCause::NatNoMapping)?;
        if !self.sessions.inbound(now, mapping, far) {
            return Err(DropCause::NatFiltered);
        }
        packet.rewrite_near(Direction::Down, mapping.inside.address);
        Ok(())
    }

    /// For whom a packet from outside is meant, whether or not it may pass.
    pub(crate) fn inside_of(&self, packet: &Packet) -> Option<IpAddr> {
        let flow = packet.flow(Direction::Down).or_else(|| packet.flow_of_error(Direction::Down))?;
        let mapping = self.ports.owner(flow.protocol, flow.near.port())?;
        Some(mapping.inside.address.ip())
    }

    /// Forgets all mappings and gives their inside endpoints other ports from now on: what was mapped, and to where.
    pub(crate) fn rebind(&mut self) -> Vec<(Inside, SocketAddr)> {
        self.ports.retire();
        self.sessions.forget()
    }

    /// Forgets all mappings: what was mapped, and to where.
    pub(crate) fn flush(&mut self) -> Vec<(Inside, SocketAddr)> {
        self.ports.free_all();
        self.sessions.forget()
    }

    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        let expiry = self.sessions.expire(now, key);
        if let Expiry::MappingEnded(outside) = expiry {
            self.ports.free(key.mapping.inside.protocol, outside.port());
        }
        expiry
    }

    /// RFC 5508 REQ-5: what an inside host or router tells about a packet that it got by a mapping.
    fn outbound_error(&self, packet: &mut Packet) -> Result<(), DropCause> {
        let flow = packet.flow_of_error(Direction::Up).ok_or(DropCause::UnsupportedProtocol)?;
        let inside = Inside { protocol: flow.protocol, address: flow.near };
        let mapping = self.sessions.mapping_key(inside, flow.far);
        let outside = self.sessions.outside(mapping).ok_or(DropCause::NatNoMapping)?;
        packet.rewrite_error(Direction::Up, outside);
        Ok(())
    }

    /// RFC 5508 REQ-4: what anybody outside tells about a packet that an inside host has sent. It refreshes nothing
    /// and ends nothing.
    fn inbound_error(&self, now: Instant, packet: &mut Packet) -> Result<(), DropCause> {
        let flow = packet.flow_of_error(Direction::Down).ok_or(DropCause::UnsupportedProtocol)?;
        let mapping = self.ports.owner(flow.protocol, flow.near.port()).ok_or(DropCause::NatNoMapping)?;
        if flow.near.ip() != self.outside || !self.sessions.permits(now, mapping, flow.far) {
            return Err(DropCause::NatFiltered);
        }
        packet.rewrite_error(Direction::Down, mapping.inside.address);
        Ok(())
    }
}
