//! Who holds an address, and which way leads there.

use super::{Network, state::Holder};
use crate::PortId;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where on the internet something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Site {
    /// The border of a network.
    Network(usize),
    /// A server.
    Server(PortId),
}

/// Where a packet goes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hop {
    /// Down the link of a port.
    Port(PortId),
    /// From the internet into a network.
    Border(usize),
}

impl Network {
    /// The way to an address from inside a network, or from the internet; none that leads out of the network.
    pub(super) fn next_hop(&self, at: Option<usize>, destination: IpAddr) -> Option<Hop> {
        if at.is_none()
            && let Some(network) = self.nats.get(&destination)
        {
            return Some(Hop::Border(*network));
        }
        let mut port = *self.hosts.get(&destination)?;
        // As often as networks can be in each other.
        for _ in 0..=self.networks.len() {
            let network = self.port(port)?.network;
            if network == at {
                return Some(Hop::Port(port));
            }
            // A server is only found from the internet, and an address behind a NAT only inside.
            let state = self.networks.get(network?)?;
            if destination.is_ipv4() && state.border.has_nat() {
                return None;
            }
            match state.router {
                Some(router) => port = router,
                None => return network.filter(|_| at.is_none()).map(Hop::Border),
            }
        }
        None
    }

    /// Whether a network's border knows a way to an address: private addresses end there.
    pub(super) fn leads_outside(&self, network: usize, destination: IpAddr) -> bool {
        let mut network = Some(network);
        for _ in 0..=self.networks.len() {
            let outer = network.and_then(|of| self.behind(of));
            if self.next_hop(outer, destination).is_some() {
                return true;
            }
            if outer.is_none() {
                return false;
            }
            network = outer;
        }
        false
    }

    /// The network that a network is behind; none for the internet.
    pub(super) fn behind(&self, network: usize) -> Option<usize> {
        let router = self.networks.get(network)?.router?;
        self.port(router)?.network
    }

    /// The address with which the router of a network speaks to its inside, or the internet's to a server.
    pub(super) fn router_address(&self, network: Option<usize>, to: IpAddr) -> IpAddr {
        let own = network.and_then(|of| self.networks.get(of)).map(|state| state.pool.router());
        let (ipv4, ipv6) = own.map(|own| (own.ipv4, own.ipv6)).unwrap_or_default();
        match to {
            IpAddr::V4(_) => ipv4.map_or(INTERNET_ROUTER_IPV4, |(address, _)| address).into(),
            IpAddr::V6(_) => ipv6.map_or(INTERNET_ROUTER_IPV6, |(address, _)| address).into(),
        }
    }

    /// The address with which the border of a network speaks to its outside.
    pub(super) fn border_address(&self, network: usize, to: IpAddr) -> IpAddr {
        let state = self.networks.get(network);
        let attached = state.and_then(|state| state.router).and_then(|router| self.port(router));
        let attached =
            attached.and_then(|port| port.addresses.iter().map(|(own, _)| own).find(|own| same(*own, to)));
        let outside = state.and_then(|state| state.outside).filter(|own| same(*own, to));
        attached.or(outside).unwrap_or_else(|| self.router_address(Some(network), to))
    }

    /// Where on the internet a port of the internet, or a network on it, is.
    pub(super) fn site(&self, hop: Hop) -> Site {
        match hop {
            Hop::Port(port) => Site::Server(port),
            Hop::Border(network) => Site::Network(network),
        }
    }

    /// The network whose border a port is.
    pub(super) fn border_at(&self, port: PortId) -> Option<usize> {
        match self.port(port)?.holder {
            Holder::Border(network) => Some(network),
            Holder::Owner(_) => None,
        }
    }
}

const INTERNET_ROUTER_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const INTERNET_ROUTER_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xfffe, 0, 0, 0, 0, 1);

fn same(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}
