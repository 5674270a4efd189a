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
    ports: Ports,
    /// Outside ports that rebinding took away, and from whom. Nobody gets one of these while there are others, so that
    /// what is still sent to an old mapping reaches nobody.
    retired: Ports,
}

type Ports = BTreeMap<(Protocol, u16), Inside>;

impl Nat {
    pub(crate) fn new(outside: Ipv4Addr, spec: &NatSpec) -> Self {
        Self {
            outside,
            sessions: Sessions::new(Timeouts::of(spec)),
            ports: Ports::new(),
            retired: Ports::new(),
        }
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
            let port = free_port(&self.ports, &self.retired, key.inside)?;
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

    /// Forgets all mappings and retires their ports: what was mapped, and to where.
    pub(crate) fn rebind(&mut self) -> Vec<(Inside, SocketAddr)> {
        self.retired.append(&mut self.ports);
        self.sessions.forget()
    }

    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        let expiry = self.sessions.expire(now, key);
        if let Expiry::MappingEnded(outside) = expiry {
            self.ports.remove(&(key.inside.protocol, outside.port()));
        }
        expiry
    }
}

/// The wanted port, or the next free one of its range; one that was taken away from another only when no other is left,
/// and never the inside's own that was.
fn free_port(used: &Ports, retired: &Ports, inside: Inside) -> Option<u16> {
    let Inside { protocol, address } = inside;
    let wanted = address.port();
    let range = port_range(protocol, wanted);
    let start = wanted.max(*range.start());
    let candidates = || (start..=*range.end()).chain(*range.start()..=start);
    let is_free = |port: &u16| !used.contains_key(&(protocol, *port));
    let is_fresh = |port: &u16| is_free(port) && !retired.contains_key(&(protocol, *port));
    let was_anothers = |port: &u16| is_free(port) && retired.get(&(protocol, *port)) != Some(&inside);
    candidates().find(is_fresh).or_else(|| candidates().find(was_anothers))
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
