//! What becomes of packets where links begin and end: forwarding, borders, multicast, and the ICMP errors of routers.

use super::{
    Check, LinkId, Network, Output,
    drops::Place,
    link_of,
    route::{Hop, Site},
};
use crate::{
    Addresses, BlockAnswer, Direction, DropCause, Mtu, PortId,
    border::{Hairpin, Opened},
    packet::{Packet, Report},
};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::Instant,
};

impl Network {
    /// What cannot even enter the link.
    pub(super) fn refuse(&self, port: PortId, packet: &Packet) -> Option<DropCause> {
        let Some(state) = self.ports.get(..self.planned_ports).and_then(|of| of.get(usize::from(port.0)))
        else {
            return Some(DropCause::NoRoute);
        };
        if !state.reachable {
            return Some(DropCause::InterfaceDown);
        }
        let is_own = state.holds(packet.source());
        // Before the source is looked at: a kernel sends router solicitations from the unspecified address.
        if is_multicast(packet.destination(), &state.addresses) {
            let is_heard = is_own && packet.is_udp() && self.listeners(port).next().is_some();
            return match is_heard {
                true => state.silent.then_some(DropCause::Silenced),
                false => Some(DropCause::Multicast),
            };
        }
        if state.silent {
            return Some(DropCause::Silenced);
        }
        (!is_own).then_some(DropCause::SourceSpoofed)
    }

    /// Puts a packet on a port's link.
    pub(super) fn send(&mut self, now: Instant, port: PortId, direction: Direction, packet: Packet) {
        let Some(state) = self.port_mut(port) else { return };
        let own = (state.reachable, state.silent);
        let network = state.network;
        let refused = |(reachable, silent)| match (reachable, silent) {
            (false, _) => Some(DropCause::InterfaceDown),
            (true, true) => Some(DropCause::Silenced),
            (true, false) => None,
        };
        if let Some(cause) = refused(own).or_else(|| refused(self.access_point_state(network))) {
            return self.drop_packet(now, self.place(port, direction), cause, &packet);
        }
        let id = link_of(port, direction);
        let mtu = self.links.get(id).and_then(|link| link.spec().mtu);
        match mtu.filter(|mtu| packet.len() > usize::from(mtu.bytes())) {
            None => self.transmit(now, port, direction, packet),
            Some(mtu) => match packet.fragments(mtu) {
                Ok(fragments) => {
                    fragments.into_iter().for_each(|part| self.transmit(now, port, direction, part));
                }
                Err(packet) => self.refuse_too_big(now, port, direction, mtu, &packet),
            },
        }
    }

    fn transmit(&mut self, now: Instant, port: PortId, direction: Direction, packet: Packet) {
        let radio = self.port_mut(port).and_then(|state| state.radio.as_mut());
        let carried = radio.map(|radio| radio.carry(now, direction));
        if let Some((from, to)) = carried.and_then(|carried| carried.released) {
            let id = link_of(port, Direction::Down);
            if let Some(link) = self.links.get_mut(id) {
                link.release(now, from, to);
            }
            self.arm(id);
        }
        let ready = carried.map_or(now, |carried| carried.at);
        self.offer(now, link_of(port, direction), packet, ready);
    }

    /// The router at the beginning of the link tells the sender; for a host's own link, the router at its end does.
    fn refuse_too_big(
        &mut self,
        now: Instant,
        port: PortId,
        direction: Direction,
        mtu: Mtu,
        packet: &Packet,
    ) {
        self.drop_packet(now, self.place(port, direction), DropCause::TooBig, packet);
        let network = self.attached(port);
        match (direction, self.border_at(port)) {
            (Direction::Up, Some(border)) => {
                let from = self.router_address(Some(border), packet.source());
                let error = self.report(packet, from, Report::TooBig(mtu));
                self.tell_inside(now, border, error);
            }
            (Direction::Up, None) => {
                let from = self.router_address(network, packet.source());
                if let Some(error) = self.report(packet, from, Report::TooBig(mtu)) {
                    self.send(now, port, Direction::Down, error);
                }
            }
            (Direction::Down, _) => {
                let from = self.router_address(network, packet.source());
                let Some(error) = self.report(packet, from, Report::TooBig(mtu)) else { return };
                let place = self.place(port, Direction::Up);
                match network {
                    Some(network) => self.forward(now, network, place, error),
                    None => self.internet(now, None, place, error),
                }
            }
        }
    }

    /// A packet has come to the end of a link.
    pub(super) fn link_end(&mut self, now: Instant, id: LinkId, packet: Packet) {
        let Some((port, direction)) = self.port_of(id) else {
            // It has crossed the internet, where the way may be another by now.
            let place = self.place_of(id);
            return match self.next_hop(None, packet.destination()) {
                Some(hop) => self.arrive(now, hop, packet),
                None => self.drop_packet(now, place, DropCause::NoRoute, &packet),
            };
        };
        if let Some(guests) = self.guests(port, direction, &packet) {
            return self.enter_network(now, guests, packet);
        }
        let Some(state) = self.port(port) else { return };
        let is_multicast = is_multicast(packet.destination(), &state.addresses);
        match (direction, state.network, self.border_at(port)) {
            (Direction::Down, _, Some(border)) => self.enter_network(now, border, packet),
            // Its address was taken away meanwhile: a host takes no packet that is for another.
            (Direction::Down, ..) if !is_multicast && !state.holds(packet.destination()) => {
                self.drop_packet(now, self.place(port, direction), DropCause::NoRoute, &packet);
            }
            (Direction::Down, ..) => {
                self.outputs.push_back(Output::Deliver { port, packet: packet.into_bytes(), due: now });
            }
            (Direction::Up, Some(_), _) if is_multicast => self.multicast(now, port, &packet),
            (Direction::Up, Some(network), _) => {
                self.forward(now, network, self.place(port, direction), packet);
            }
            (Direction::Up, None, _) => {
                self.internet(now, Some(Site::Server(port)), self.place(port, direction), packet);
            }
        }
    }

    /// To all others in the network.
    fn multicast(&mut self, now: Instant, sender: PortId, packet: &Packet) {
        let listeners: Vec<_> = self.listeners(sender).collect();
        if listeners.is_empty() {
            self.drop_packet(now, self.place(sender, Direction::Up), DropCause::Multicast, packet);
        }
        for listener in listeners {
            self.send(now, listener, Direction::Down, packet.clone());
        }
    }

    /// Those who hear a port's multicast.
    fn listeners(&self, sender: PortId) -> impl Iterator<Item = PortId> {
        let network = self.attached(sender);
        let state = network.and_then(|of| self.networks.get(of)).filter(|state| state.spec.multicast);
        let network = state.and(network);
        let ports = self.ports.iter().take(self.planned_ports).enumerate();
        ports.filter_map(move |(index, state)| {
            let port = PortId(index as u16);
            (network.is_some() && state.network == network && port != sender).then_some(port)
        })
    }

    /// Within the network, or out of it.
    fn forward(&mut self, now: Instant, network: usize, place: Place, packet: Packet) {
        match self.next_hop(Some(network), packet.destination()) {
            // What is for the outside of a NAT behind this one's border is for a neighbour.
            Some(Hop::Port(neighbour)) => self.send(now, neighbour, Direction::Down, packet),
            Some(Hop::Border(_)) | None => self.leave_network(now, network, place, packet),
        }
    }

    fn leave_network(&mut self, now: Instant, network: usize, place: Place, mut packet: Packet) {
        let hairpin = self.networks.get(network).map_or(Hairpin::NotOwn, |of| of.border.hairpin(&packet));
        if hairpin == Hairpin::NotOwn && !self.leads_outside(network, packet.destination()) {
            return self.drop_packet(now, place, DropCause::NoRoute, &packet);
        }
        if !packet.hop() {
            self.drop_packet(now, place, DropCause::HopLimit, &packet);
            let from = self.router_address(Some(network), packet.source());
            let error = self.report(&packet, from, Report::HopLimit);
            return self.tell_neighbour(now, network, error);
        }
        let Some(state) = self.networks.get_mut(network) else { return };
        match state.border.outbound(now, &mut packet) {
            Ok(opened) => self.note_opened(now, network, opened),
            Err(cause) => return self.drop_packet(now, place, cause, &packet),
        }
        match hairpin {
            Hairpin::Back => return self.enter_border(now, network, packet),
            Hairpin::Refused => return self.drop_packet(now, place, DropCause::NatHairpin, &packet),
            Hairpin::NotOwn => {}
        }
        if let Some(answer) = self.filter(now, network, Direction::Up, place, &packet) {
            if answer == BlockAnswer::IcmpProhibited {
                let from = self.router_address(Some(network), packet.source());
                let error = self.report(&packet, from, Report::Prohibited);
                self.tell_inside(now, network, error);
            }
            return;
        }
        self.emit(now, network, place, packet);
    }

    /// A packet goes out of a network's border, to where that is attached.
    fn emit(&mut self, now: Instant, network: usize, place: Place, packet: Packet) {
        match self.networks.get(network).and_then(|state| state.router) {
            Some(router) => self.send(now, router, Direction::Up, packet),
            None => self.internet(now, Some(Site::Network(network)), place, packet),
        }
    }

    /// From a border or a server to whoever holds the destination.
    fn internet(&mut self, now: Instant, from: Option<Site>, place: Place, packet: Packet) {
        let Some(hop) = self.next_hop(None, packet.destination()) else {
            return self.drop_packet(now, place, DropCause::NoRoute, &packet);
        };
        match from.and_then(|from| self.distances.get(&(from, self.site(hop)))).copied() {
            Some(distance) => self.offer(now, distance, packet, now),
            None => self.arrive(now, hop, packet),
        }
    }

    fn arrive(&mut self, now: Instant, hop: Hop, packet: Packet) {
        match hop {
            Hop::Port(port) => self.send(now, port, Direction::Down, packet),
            Hop::Border(network) => self.enter_network(now, network, packet),
        }
    }

    fn enter_network(&mut self, now: Instant, network: usize, mut packet: Packet) {
        let place = self.inbound_place(network, &packet);
        if let Some(answer) = self.filter(now, network, Direction::Down, place, &packet) {
            if answer == BlockAnswer::IcmpProhibited {
                self.tell_outside(now, network, &packet, Report::Prohibited);
            }
            return;
        }
        if !packet.hop() {
            self.drop_packet(now, place, DropCause::HopLimit, &packet);
            return self.tell_outside(now, network, &packet, Report::HopLimit);
        }
        self.enter_border(now, network, packet);
    }

    fn enter_border(&mut self, now: Instant, network: usize, mut packet: Packet) {
        let place = self.inbound_place(network, &packet);
        let Some(state) = self.networks.get_mut(network) else { return };
        if let Err(cause) = state.border.inbound(now, &mut packet) {
            return self.drop_packet(now, place, cause, &packet);
        }
        match self.next_hop(Some(network), packet.destination()) {
            Some(Hop::Port(port)) => self.send(now, port, Direction::Down, packet),
            Some(Hop::Border(_)) | None => self.drop_packet(now, place, DropCause::NoRoute, &packet),
        }
    }

    /// Drops what a network refuses to carry, and says what the sender hears.
    fn filter(
        &mut self,
        now: Instant,
        network: usize,
        direction: Direction,
        place: Place,
        packet: &Packet,
    ) -> Option<BlockAnswer> {
        let state = self.networks.get_mut(network)?;
        let (cause, answer) = state.border.filter.refuse(packet, direction, &self.known)?;
        self.drop_packet(now, place, cause, packet);
        Some(answer)
    }

    /// An ICMP error about a packet, if there may be one.
    fn report(&mut self, packet: &Packet, from: IpAddr, report: Report) -> Option<Packet> {
        let error = packet.report(from, report)?;
        self.errors_sent += 1;
        Some(error)
    }

    /// An ICMP error about a packet that was translated already comes in as if from outside.
    fn tell_inside(&mut self, now: Instant, network: usize, error: Option<Packet>) {
        if let Some(error) = error {
            self.enter_border(now, network, error);
        }
    }

    /// An ICMP error about a packet that was not translated yet.
    fn tell_neighbour(&mut self, now: Instant, network: usize, error: Option<Packet>) {
        if let Some(error) = error
            && let Some(Hop::Port(port)) = self.next_hop(Some(network), error.destination())
        {
            self.send(now, port, Direction::Down, error);
        }
    }

    fn tell_outside(&mut self, now: Instant, network: usize, packet: &Packet, report: Report) {
        let from = self.border_address(network, packet.source());
        if let Some(error) = self.report(packet, from, report) {
            self.emit(now, network, self.border_place(network), error);
        }
    }

    fn note_opened(&mut self, now: Instant, network: usize, opened: Option<Opened>) {
        let Some(Opened { outbound, check }) = opened else { return };
        self.check_at(check, Check { network, key: outbound.key });
        if outbound.new_mapping {
            self.tell_mapping(now, network, outbound.key.mapping.inside, outbound.outside, true);
        }
    }
}

/// Multicast, limited broadcast, or the broadcast address of the port's own subnet.
fn is_multicast(destination: IpAddr, own: &Addresses) -> bool {
    let IpAddr::V4(to) = destination else { return destination.is_multicast() };
    let subnet_broadcast =
        |(own, _): (Ipv4Addr, u8)| to.octets()[3] == u8::MAX && to.octets()[..3] == own.octets()[..3];
    to.is_multicast() || to.is_broadcast() || own.ipv4.is_some_and(subnet_broadcast)
}
