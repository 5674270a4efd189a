//! One interface of a host: what it should be, making it so, and proving from the kernel's own words that it is.

use crate::{
    error::LabError,
    netlink::{Link, LinkSettings, Netlink, Route},
    tun::Tun,
};
use std::{
    net::IpAddr,
    thread,
    time::{Duration, Instant},
};

/// More than one round of the datapath can leave waiting: a full window of small packets from several sockets.
const QUEUE_LENGTH: u32 = 4096;
/// The kernel's worker makes local routes within a millisecond or two; a machine that takes longer has other troubles.
const LOCAL_ROUTES: Duration = Duration::from_secs(2);
const LOCAL_ROUTES_AGAIN: Duration = Duration::from_micros(100);

/// An interface and the states that it is meant to be in.
#[derive(Debug)]
pub(crate) struct Interface {
    host: String,
    name: String,
    addresses: Vec<(IpAddr, u8)>,
    metric: u32,
    /// Its default routes are left out: it is an access point, and the internet is elsewhere.
    is_access_point: bool,
    index: u32,
    tun: Tun,
    up: bool,
    carrier: bool,
    /// What the kernel had dropped before the interface was last taken down or lost its carrier, while that is so.
    drops_before: Option<u64>,
    /// What it dropped because of that.
    drops_excused: u64,
}

/// What is known of an interface before it exists.
#[derive(Debug, Clone)]
pub(crate) struct InterfacePlan {
    pub(crate) host: String,
    pub(crate) name: String,
    pub(crate) addresses: Vec<(IpAddr, u8)>,
    pub(crate) metric: u32,
    pub(crate) mtu: u16,
}

impl Interface {
    /// Sets a fresh TUN device up, with addresses and routes.
    pub(crate) fn configure(plan: InterfacePlan, tun: Tun, netlink: &mut Netlink) -> Result<Self, LabError> {
        let InterfacePlan { host, name, addresses, metric, mtu } = plan;
        let mut interface = Self {
            host,
            name,
            addresses,
            metric,
            is_access_point: false,
            index: 0,
            tun,
            up: false,
            carrier: true,
            drops_before: None,
            drops_excused: 0,
        };
        interface.index = interface.read(netlink)?.index;
        let settings = LinkSettings { mtu: mtu.into(), queue_length: QUEUE_LENGTH };
        netlink.set_link(interface.index, settings).map_err(|source| interface.failed(source))?;
        let link = interface.read(netlink)?;
        interface.require(link.mtu == settings.mtu, || format!("the MTU is {}, not {mtu}", link.mtu))?;
        interface.require(link.queue_length == QUEUE_LENGTH, || {
            format!("the queue holds {} packets, not {QUEUE_LENGTH}", link.queue_length)
        })?;
        interface.require(!link.makes_link_local, || "it would make link-local addresses".into())?;
        interface.set_up(netlink)?;
        Ok(interface)
    }

    /// Admin up, with all addresses and routes: the kernel forgets IPv6 addresses and default routes with admin down.
    pub(crate) fn set_up(&mut self, netlink: &mut Netlink) -> Result<(), LabError> {
        self.count_drops(netlink, true, self.carrier)?;
        netlink.set_up(self.index, true).map_err(|source| self.failed(source))?;
        self.up = true;
        self.add_addresses(netlink)?;
        self.add_default_routes(netlink)?;
        self.verify(netlink)
    }

    /// Other addresses in place of its own. The new ones come first: the kernel forgets
    /// the routes of a family with its last address.
    pub(crate) fn set_addresses(
        &mut self,
        netlink: &mut Netlink,
        addresses: Vec<(IpAddr, u8)>,
    ) -> Result<(), LabError> {
        self.addresses = addresses;
        if self.up {
            self.add_addresses(netlink)?;
        }
        for old in netlink.addresses(self.index).map_err(|source| self.failed(source))? {
            if !self.addresses.contains(&(old.address, old.prefix)) {
                let removed = netlink.remove_address(self.index, old.address, old.prefix);
                removed.map_err(|source| self.failed(source))?;
            }
        }
        if self.up {
            self.add_default_routes(netlink)?;
            self.remove_other_default_routes(netlink)?;
        }
        self.verify(netlink)
    }

    /// Another metric for all routes. The new ones come first, so that there is a default route all the time.
    pub(crate) fn set_metric(&mut self, netlink: &mut Netlink, metric: u32) -> Result<(), LabError> {
        self.metric = metric;
        if self.up {
            // An address that is there takes its subnet's route along.
            self.add_addresses(netlink)?;
            self.add_default_routes(netlink)?;
            self.remove_other_default_routes(netlink)?;
        }
        self.verify(netlink)
    }

    /// With [`Interface::set_addresses`], which sees to the routes.
    pub(crate) fn set_access_point(&mut self, is_access_point: bool) {
        self.is_access_point = is_access_point;
    }

    pub(crate) fn is_access_point(&self) -> bool {
        self.is_access_point
    }

    pub(crate) fn metric(&self) -> u32 {
        self.metric
    }

    /// Those with another metric, or of a family without an address.
    fn remove_other_default_routes(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        for route in netlink.routes(self.index).map_err(|source| self.failed(source))? {
            let is_wanted = route.metric == kernel_metric(route.ipv6, self.metric)
                && self.default_routes().any(|ipv6| ipv6 == route.ipv6);
            if route.default && !is_wanted {
                let removed = netlink.remove_default_route(self.index, route.ipv6, route.metric);
                removed.map_err(|source| self.failed(source))?;
            }
        }
        Ok(())
    }

    fn add_addresses(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        self.addresses.iter().try_for_each(|&(address, prefix)| {
            let added = netlink.add_address(self.index, address, prefix, self.metric);
            added.map_err(|source| self.failed(source))
        })?;
        self.wait_until_heard(netlink)
    }

    /// A packet to a new IPv6 address is dropped until the kernel has made the address's local route, which a worker of its
    /// does: on a busy machine some milliseconds after the address can be bound and sent from.
    fn wait_until_heard(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        let patience_ends = Instant::now() + LOCAL_ROUTES;
        loop {
            let heard = netlink.heard_ipv6_addresses().map_err(|source| self.failed(source))?;
            let mut ours = self.addresses.iter().map(|(address, _)| address);
            let Some(deaf) = ours.find(|address| address.is_ipv6() && !heard.contains(address)) else {
                return Ok(());
            };
            self.require(Instant::now() < patience_ends, || format!("{deaf} has no local route"))?;
            thread::sleep(LOCAL_ROUTES_AGAIN);
        }
    }

    fn add_default_routes(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        self.default_routes().try_for_each(|ipv6| {
            let added = netlink.add_default_route(self.index, ipv6, self.metric);
            added.map_err(|source| self.failed(source))
        })
    }

    /// Admin down.
    pub(crate) fn set_down(&mut self, netlink: &mut Netlink) -> Result<(), LabError> {
        self.count_drops(netlink, false, self.carrier)?;
        netlink.set_up(self.index, false).map_err(|source| self.failed(source))?;
        self.up = false;
        self.verify(netlink)
    }

    /// Gives or takes the carrier.
    pub(crate) fn set_carrier(&mut self, netlink: &mut Netlink, carrier: bool) -> Result<(), LabError> {
        self.count_drops(netlink, self.up, carrier)?;
        self.tun.set_carrier(carrier).map_err(|source| LabError::Carrier {
            host: self.host.clone(),
            interface: self.name.clone(),
            source,
        })?;
        self.carrier = carrier;
        self.verify(netlink)
    }

    /// Whether packets pass when everything asked for is done.
    pub(crate) fn is_reachable(&self) -> bool {
        self.up && self.carrier
    }

    /// The same, if one of the two states were another.
    pub(crate) fn would_be_reachable(&self, up: Option<bool>, carrier: Option<bool>) -> bool {
        up.unwrap_or(self.up) && carrier.unwrap_or(self.carrier)
    }

    /// Packets that the kernel could not queue, so that the model never saw them. Those that it drops while the interface
    /// is down or without carrier are none: that is what these states do, and the scenario asked for them.
    pub(crate) fn send_drops(&self, netlink: &mut Netlink) -> Result<u64, LabError> {
        let now = self.read(netlink)?.send_drops;
        Ok(self.drops_before.unwrap_or(now).saturating_sub(self.drops_excused))
    }

    /// Before a change of state: from when on, or until when, drops are to be expected.
    fn count_drops(&mut self, netlink: &mut Netlink, up: bool, carrier: bool) -> Result<(), LabError> {
        let now = self.read(netlink)?.send_drops;
        match (self.drops_before, up && carrier) {
            (None, false) => self.drops_before = Some(now),
            (Some(before), true) => {
                self.drops_excused += now.saturating_sub(before);
                self.drops_before = None;
            }
            _ => {}
        }
        Ok(())
    }

    /// What it should have, whether or not it is up.
    pub(crate) fn addresses(&self) -> &[(IpAddr, u8)] {
        &self.addresses
    }

    /// Compares what the kernel tells with what it should. The operational state (RFC 2863) is left out: kernels before
    /// 6.8 bring it up to date, and notify listeners, up to a second after the carrier; later ones when it is read.
    pub(crate) fn verify(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        let link = self.read(netlink)?;
        let told = |is: bool| if is { "up" } else { "down" };
        self.require(link.up == self.up, || format!("it is {}, not {}", told(link.up), told(self.up)))?;
        self.require(link.carrier == self.carrier && link.lower_up == self.is_reachable(), || {
            format!("its carrier is {}, not {}", told(link.carrier), told(self.carrier))
        })?;
        if self.up { self.verify_up(netlink) } else { self.verify_down(netlink) }
    }

    fn verify_up(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        let addresses = netlink.addresses(self.index).map_err(|source| self.failed(source))?;
        for &(address, prefix) in &self.addresses {
            let there = addresses
                .iter()
                .any(|told| (told.address, told.prefix, told.ready) == (address, prefix, true));
            self.require(there, || {
                format!("address {address}/{prefix} cannot be used; it has {addresses:?}")
            })?;
        }
        self.require(addresses.len() == self.addresses.len(), || {
            format!("it has other addresses too: {addresses:?}")
        })?;
        let routes = netlink.routes(self.index).map_err(|source| self.failed(source))?;
        for ipv6 in self.default_routes() {
            let metric = kernel_metric(ipv6, self.metric);
            let there =
                routes.iter().any(|route| route.default && route.ipv6 == ipv6 && route.metric == metric);
            self.require(there, || format!("no default route with metric {metric}; it has {routes:?}"))?;
        }
        let is_ours = |route: &Route| {
            !(route.default && self.is_access_point)
                && route.metric == kernel_metric(route.ipv6, self.metric)
                && self.families().any(|ipv6| ipv6 == route.ipv6)
        };
        self.require(routes.iter().all(is_ours), || format!("it has other routes too: {routes:?}"))
    }

    fn verify_down(&self, netlink: &mut Netlink) -> Result<(), LabError> {
        let routes = netlink.routes(self.index).map_err(|source| self.failed(source))?;
        self.require(routes.is_empty(), || format!("it is down but still has routes: {routes:?}"))
    }

    /// The families of which it should have a default route.
    fn default_routes(&self) -> impl Iterator<Item = bool> {
        self.families().filter(|_| !self.is_access_point)
    }

    fn families(&self) -> impl Iterator<Item = bool> {
        [false, true]
            .into_iter()
            .filter(|&ipv6| self.addresses.iter().any(|(address, _)| address.is_ipv6() == ipv6))
    }

    fn read(&self, netlink: &mut Netlink) -> Result<Link, LabError> {
        netlink.link(&self.name).map_err(|source| self.failed(source))
    }

    fn failed(&self, source: crate::NetlinkError) -> LabError {
        LabError::Netlink { host: self.host.clone(), interface: self.name.clone(), source }
    }

    fn require(&self, holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), LabError> {
        if holds {
            return Ok(());
        }
        let (host, interface) = (self.host.clone(), self.name.clone());
        Err(LabError::NotApplied { host, interface, found: otherwise() })
    }
}

/// IPv6 has no metric 0: the kernel takes it for its default.
fn kernel_metric(ipv6: bool, metric: u32) -> u32 {
    const IP6_RT_PRIO_USER: u32 = 1024;
    if ipv6 && metric == 0 { IP6_RT_PRIO_USER } else { metric }
}
