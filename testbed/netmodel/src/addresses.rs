//! The addresses of a port, and the pool from which a network gives them.

use crate::{Ipv6Access, NatKind, NetworkSpec};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Host numbers: .0 names the subnet, .1 is the router's, .255 is the broadcast address.
const ROUTER: u8 = 1;
const FIRST_HOST: u8 = 2;
const LAST_HOST: u8 = 254;
/// Interfaces that one network has addresses for.
pub(crate) const MAX_INTERFACES: usize = (LAST_HOST - FIRST_HOST + 1) as usize;
pub(crate) const IPV4_PREFIX: u8 = 24;
pub(crate) const IPV6_PREFIX: u8 = 64;

/// What a port is reached at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// IPv4 address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv6 address and prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
}

impl Addresses {
    /// Address and prefix length of each family that there is, IPv4 first.
    pub fn iter(&self) -> impl Iterator<Item = (IpAddr, u8)> + use<> {
        let ipv4 = self.ipv4.map(|(address, prefix)| (IpAddr::V4(address), prefix));
        let ipv6 = self.ipv6.map(|(address, prefix)| (IpAddr::V6(address), prefix));
        ipv4.into_iter().chain(ipv6)
    }

    /// Whether the port is reached at this address.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.iter().any(|(own, _)| own == address)
    }
}

/// The addresses of one network; hosts are numbered in turn, and a number that was given back waits until all others
/// were used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pool {
    /// The network's number in its addresses.
    network: u8,
    nat: Option<NatKind>,
    ipv6: bool,
    next: u8,
}

impl Pool {
    pub(crate) fn new(network: u8, spec: &NetworkSpec) -> Self {
        let nat = spec.nat.as_ref().map(|nat| nat.kind);
        Self { network, nat, ipv6: spec.ipv6 != Ipv6Access::None, next: FIRST_HOST }
    }

    /// The next addresses that nobody holds; none when all are held.
    pub(crate) fn take(&mut self, is_held: impl Fn(IpAddr) -> bool) -> Option<Addresses> {
        (0..MAX_INTERFACES).find_map(|_| {
            let addresses = self.addresses(self.next);
            self.next = if self.next == LAST_HOST { FIRST_HOST } else { self.next + 1 };
            addresses.iter().all(|(address, _)| !is_held(address)).then_some(addresses)
        })
    }

    /// The router's own: number 1.
    pub(crate) fn router(&self) -> Addresses {
        self.addresses(ROUTER)
    }

    fn addresses(&self, host: u8) -> Addresses {
        let [high, low] = match self.nat {
            Some(NatKind::Home) => [192, 168],
            Some(NatKind::CarrierGrade) => [100, 64],
            None => [198, 18],
        };
        let ipv4 = Ipv4Addr::new(high, low, self.network, host);
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, self.network.into(), 0, 0, 0, 0, host.into());
        Addresses { ipv4: Some((ipv4, IPV4_PREFIX)), ipv6: self.ipv6.then_some((ipv6, IPV6_PREFIX)) }
    }
}
