//! Where packets are dropped, and how that is counted and told.

use super::{LinkId, Network, Output, link_of};
use crate::{Direction, DropCause, INTERNET, NetworkEvent, PortId, packet::Packet, sessions::Inside};
use std::{net::SocketAddr, time::Instant};

/// Where, and in whose traffic, something is dropped.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    pub(super) network: Option<usize>,
    pub(super) port: Option<PortId>,
    pub(super) direction: Direction,
}

impl Place {
    pub(super) const NOWHERE: Self = Self { network: None, port: None, direction: Direction::Up };
}

impl Network {
    pub(super) fn drop_packet(&mut self, now: Instant, place: Place, cause: DropCause, packet: &Packet) {
        let (endpoints, size) = (Some(packet.endpoints()), (packet.len(), packet.number()));
        self.drop_bytes(now, place, cause, endpoints, size);
    }

    /// Counts a drop, and tells it, with size and number, unless it is of the kind that is only counted.
    pub(super) fn drop_bytes(
        &mut self,
        now: Instant,
        place: Place,
        cause: DropCause,
        endpoints: Option<(SocketAddr, SocketAddr)>,
        (bytes, number): (usize, u32),
    ) {
        self.count_drop(place, cause);
        if cause == DropCause::Multicast {
            return;
        }
        let event = NetworkEvent::Dropped {
            port: place.port.filter(|port| self.border_at(*port).is_none()),
            network: self.name(place.network),
            direction: place.direction,
            cause,
            source: endpoints.map(|(source, _)| source),
            destination: endpoints.map(|(_, destination)| destination),
            bytes,
            number: Some(number).filter(|number| *number > 0),
        };
        self.outputs.push_back(Output::Event { at: now, event });
    }

    pub(super) fn tell_mapping(
        &mut self,
        now: Instant,
        network: usize,
        inside: Inside,
        outside: SocketAddr,
        created: bool,
    ) {
        let event = NetworkEvent::Mapping {
            network: self.name(Some(network)),
            protocol: inside.protocol,
            inside: inside.address,
            outside,
            created,
        };
        self.outputs.push_back(Output::Event { at: now, event });
    }

    pub(super) fn place(&self, port: PortId, direction: Direction) -> Place {
        Place { network: self.attached(port), port: Some(port), direction }
    }

    /// Where what happens on a link happens.
    pub(super) fn place_of(&self, link: LinkId) -> Place {
        match self.port_of(link) {
            Some((port, direction)) => self.place(port, direction),
            None => Place { network: None, port: None, direction: Direction::Down },
        }
    }

    /// The port whose link this is; none for those of the internet.
    pub(super) fn port_of(&self, link: LinkId) -> Option<(PortId, Direction)> {
        let direction = if link.is_multiple_of(2) { Direction::Up } else { Direction::Down };
        (link < 2 * self.ports.len()).then_some((PortId((link / 2) as u16), direction))
    }

    pub(super) fn inbound_place(&self, network: usize, packet: &Packet) -> Place {
        let inside = self.networks.get(network).and_then(|state| state.border.meant_for(packet));
        let port = inside.and_then(|address| self.hosts.get(&address).copied());
        Place { network: Some(network), port, direction: Direction::Down }
    }

    /// Where what a network's border sends by itself is dropped.
    pub(super) fn border_place(&self, network: usize) -> Place {
        Place { network: Some(network), port: None, direction: Direction::Up }
    }

    /// The network that a port is attached to; none for the internet.
    pub(super) fn attached(&self, port: PortId) -> Option<usize> {
        self.port(port)?.network
    }

    pub(super) fn name(&self, network: Option<usize>) -> String {
        network
            .and_then(|index| self.networks.get(index))
            .map_or_else(|| INTERNET.into(), |state| state.spec.name.clone())
    }

    fn count_drop(&mut self, place: Place, cause: DropCause) {
        let link = place.port.and_then(|port| self.links.get_mut(link_of(port, place.direction)));
        let known = place.port.is_some_and(|port| usize::from(port.0) < self.ports.len());
        let network = place.network.and_then(|network| self.networks.get_mut(network));
        match (link.filter(|_| known), network) {
            (Some(link), _) => link.count_drop(cause),
            (None, Some(network)) => *network.unclaimed.entry(cause).or_default() += 1,
            (None, None) => *self.strays.entry(cause).or_default() += 1,
        }
    }
}
