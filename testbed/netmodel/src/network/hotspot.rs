//! Hotspots and tethering: one interface of a host is the access point of a network, another one its border. What the
//! guests send leaves with the host's own address, over the host's own link, radio and network.
//!
//! The host's kernel has no part in it: guests' packets that come to the border are taken before they are delivered, by
//! the NAT's mappings over IPv4 and by their addresses over IPv6. Left out: ports that the host itself uses at the same
//! time, which a kernel would keep from its NAT; guests and host must not send from one port.

use super::{Change, ChangeError, Network};
use crate::{Direction, Ipv6Access, NetworkId, PlanError, PortId, packet::Packet};
use std::{net::IpAddr, time::Instant};

/// Whether a network is a hotspot's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hotspot {
    Never,
    Open { access_point: PortId },
    Closed,
}

impl Network {
    pub(super) fn open_hotspot(
        &mut self,
        now: Instant,
        network: NetworkId,
        access_point: PortId,
        uplink: PortId,
    ) -> Result<(), ChangeError> {
        self.check_hotspot(network, access_point, uplink)?;
        self.apply(now, Change::Roam { port: access_point, network })?;
        let index = usize::from(network.0);
        let Some(state) = self.networks.get_mut(index) else { return Ok(()) };
        state.hotspot = Hotspot::Open { access_point };
        let (gateway, outside) = (state.pool.router(), state.outside.take());
        let before = state.router.replace(uplink);
        if let Some(outside) = outside {
            self.nats.remove(&outside);
        }
        self.replace_addresses(access_point, gateway);
        self.unshare(before, index);
        if let Some(port) = self.port_mut(uplink) {
            port.shared_with = Some(index);
        }
        self.follow_uplink(now, uplink)
    }

    fn check_hotspot(
        &mut self,
        network: NetworkId,
        access_point: PortId,
        uplink: PortId,
    ) -> Result<(), ChangeError> {
        let index = usize::from(network.0);
        let state = self.network_mut(network)?;
        let (name, ipv6) = (state.spec.name.clone(), state.spec.ipv6);
        if !state.border.has_nat() {
            return Err(ChangeError::NoNat(network));
        }
        let at = |port: PortId, network: Option<usize>| network.ok_or(ChangeError::ServerAddress(port));
        let own = self.planned(access_point)?;
        let (own, guests) = (own.network, own.shared_with);
        at(access_point, own)?;
        let shared = self.planned(uplink)?.shared_with.filter(|shared| *shared != index);
        let outer = at(uplink, self.planned(uplink)?.network)?;
        // It would be in a circle, be it by way of what the access point itself is shared with.
        let circle =
            self.is_within(outer, index) || guests.is_some_and(|guests| self.is_within(outer, guests));
        if access_point == uplink || shared.is_some() || circle {
            return Err(PlanError::BehindItself { name }.into());
        }
        let outer = self.networks.get(outer).map(|outer| (outer.spec.ipv6, outer.spec.name.clone()));
        match outer {
            Some((Ipv6Access::None, behind)) if ipv6 != Ipv6Access::None => {
                Err(PlanError::Ipv6Behind { name, behind }.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether a network is this other one, or behind it.
    pub(super) fn is_within(&self, network: usize, other: usize) -> bool {
        let mut outwards = std::iter::successors(Some(network), |network| self.behind(*network));
        // As often as networks can be in each other.
        outwards.by_ref().take(self.networks.len() + 1).any(|outer| outer == other)
    }

    /// The access point has gone elsewhere.
    pub(super) fn close_hotspot(&mut self, network: usize, access_point: PortId) {
        let Some(state) = self.networks.get_mut(network) else { return };
        if state.hotspot != (Hotspot::Open { access_point }) {
            return;
        }
        state.hotspot = Hotspot::Closed;
        let uplink = state.router;
        self.unshare(uplink, network);
    }

    /// By now it may be shared with another network.
    fn unshare(&mut self, uplink: Option<PortId>, network: usize) {
        let port = uplink.and_then(|uplink| self.port_mut(uplink));
        port.into_iter()
            .filter(|port| port.shared_with == Some(network))
            .for_each(|port| port.shared_with = None);
    }

    /// The NAT has its border's address, which may be another one by now.
    pub(super) fn follow_uplink(&mut self, now: Instant, uplink: PortId) -> Result<(), ChangeError> {
        let Some(state) = self.port(uplink) else { return Ok(()) };
        let (Some(index), Some((outside, _))) = (state.shared_with, state.addresses.ipv4) else {
            return Ok(());
        };
        self.forget(now, NetworkId(index as u16), |border| border.relocate(outside))
    }

    /// Whether a network's access point is reachable, and whether it is silent; without one, nothing is in the way.
    pub(super) fn access_point_state(&self, network: Option<usize>) -> (bool, bool) {
        match network.and_then(|of| self.networks.get(of)).map_or(Hotspot::Never, |state| state.hotspot) {
            Hotspot::Never => (true, false),
            Hotspot::Closed => (false, false),
            Hotspot::Open { access_point } => {
                self.port(access_point).map_or((false, false), |port| (port.reachable, port.silent))
            }
        }
    }

    /// The network of guests for which a packet is that has come down a port's link.
    pub(super) fn guests(&self, port: PortId, direction: Direction, packet: &Packet) -> Option<usize> {
        let state = self.port(port).filter(|_| direction == Direction::Down)?;
        let network = state.shared_with?;
        let is_for_guests = match packet.destination() {
            IpAddr::V4(_) => {
                let border = &self.networks.get(network)?.border;
                state.holds(packet.destination()) && border.meant_for(packet).is_some()
            }
            IpAddr::V6(_) => {
                !state.holds(packet.destination())
                    && self.next_hop(Some(network), packet.destination()).is_some()
            }
        };
        is_for_guests.then_some(network)
    }
}
