//! The one NAT of this version, in the words of RFC 4787: endpoint-independent mapping (REQ-1), address-and-port-dependent
//! filtering (REQ-8), port preservation where the port is free and the next free one of its range otherwise (REQ-3),
//! outbound refresh (REQ-6), hairpinning with the external source address (REQ-9; done by the border).
//!
//! Leaves out port parity (REQ-4) and several outside addresses.

use crate::{
    Direction, DropCause, NatSpec, Protocol,
    packet::{Flow, Packet},
    sessions::{Expiry, Inside, Outbound, SessionKey, Sessions, Timeouts},
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    ops::RangeInclusive,
    time::Instant,
};

#[derive(Debug)]
pub(crate) struct Nat {
    outside: Ipv4Addr,
    sessions: Sessions,
    /// Outside ports in use, and by whom.
    ports: BTreeMap<(Protocol, u16), Inside>,
}

impl Nat {
    pub(crate) fn new(outside: Ipv4Addr, spec: &NatSpec) -> Self {
        Self { outside, sessions: Sessions::new(Timeouts::of(spec)), ports: BTreeMap::new() }
    }

    pub(crate) fn is_outside(&self, address: IpAddr) -> bool {
        address == self.outside
    }

    /// Translates a packet on its way out.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        packet: &mut Packet,
    ) -> Result<(SessionKey, Outbound), DropCause> {
        let Flow { protocol, near, far } =
            packet.flow(Direction::Up).ok_or(DropCause::UnsupportedProtocol)?;
        let key = SessionKey { inside: Inside { protocol, address: near }, remote: far };
        let allocate = || {
            let port = free_port(&self.ports, protocol, near.port())?;
            Some(SocketAddr::new(self.outside.into(), port))
        };
        let outbound = self.sessions.outbound(now, key, allocate).ok_or(DropCause::NatExhausted)?;
        if outbound.new_mapping {
            self.ports.insert((protocol, outbound.outside.port()), key.inside);
        }
        packet.rewrite_near(Direction::Up, outbound.outside);
        Ok((key, outbound))
    }

    /// Translates a packet on its way in, if the inside has sent to where it comes from.
    pub(crate) fn inbound(&mut self, now: Instant, packet: &mut Packet) -> Result<(), DropCause> {
        let Flow { protocol, near, far } =
            packet.flow(Direction::Down).ok_or(DropCause::UnsupportedProtocol)?;
        let inside = *self.ports.get(&(protocol, near.port())).ok_or(DropCause::NatNoMapping)?;
        if !self.sessions.inbound(now, SessionKey { inside, remote: far }) {
            return Err(DropCause::NatFiltered);
        }
        packet.rewrite_near(Direction::Down, inside.address);
        Ok(())
    }

    /// For whom a packet from outside is meant, whether or not it may pass.
    pub(crate) fn inside_of(&self, packet: &Packet) -> Option<IpAddr> {
        let Flow { protocol, near, .. } = packet.flow(Direction::Down)?;
        self.ports.get(&(protocol, near.port())).map(|inside| inside.address.ip())
    }

    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        let expiry = self.sessions.expire(now, key);
        if let Expiry::MappingEnded(outside) = expiry {
            self.ports.remove(&(key.inside.protocol, outside.port()));
        }
        expiry
    }
}

/// The wanted port, or the next free one of its range.
fn free_port(used: &BTreeMap<(Protocol, u16), Inside>, protocol: Protocol, wanted: u16) -> Option<u16> {
    let range = port_range(protocol, wanted);
    let start = wanted.max(*range.start());
    let above = start..=*range.end();
    let below = *range.start()..=start;
    above.chain(below).find(|port| !used.contains_key(&(protocol, *port)))
}

/// RFC 4787 REQ-3: a well-known port is not given to one that has none, nor the other way round. Echo identifiers
/// know no ranges.
fn port_range(protocol: Protocol, wanted: u16) -> RangeInclusive<u16> {
    match (protocol, wanted) {
        (Protocol::Echo, _) => 0..=u16::MAX,
        (_, 1..=1023) => 1..=1023,
        _ => 1024..=u16::MAX,
    }
}
