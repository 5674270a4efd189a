//! Links, addresses and default routes as rtnetlink tells them, folded into the state of each interface.
//!
//! Pure: messages in, state out. What a socket cannot be bound to is left out here: loopback, link-local, tentative,
//! failed and deprecated addresses.

use super::{
    Interface,
    link::{Device, Link, Links},
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressFlags, AddressMessage},
    link::LinkMessage,
    route::{RouteAttribute, RouteHeader, RouteMessage, RouteType},
};
use record::InterfaceKind;
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// Everything that the kernel said so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    links: Links,
    /// By interface index, in the kernel's order: it lists primary addresses first.
    addresses: BTreeMap<u32, Vec<Address>>,
    routes: Routes,
}

/// What of a message has to be looked at again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing that this program cares for.
    None,
    /// Links or addresses: the fold may have changed. The kernel does not tell of every route that it drops along.
    Interfaces,
    /// Routes alone.
    Routes,
}

#[derive(Debug, Clone, PartialEq)]
struct Address {
    ip: IpAddr,
    usable: bool,
    temporary: bool,
}

/// The best metric of an interface's default routes, IPv4 apart from IPv6.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Routes {
    ipv4: BTreeMap<u32, u32>,
    ipv6: BTreeMap<u32, u32>,
}

impl Table {
    /// Takes one message of a dump or an event in. `kind` names the kind of a link that is new.
    pub(crate) fn apply(
        &mut self,
        message: &RouteNetlinkMessage,
        kind: impl FnOnce(&Device) -> InterfaceKind,
    ) -> Effect {
        match message {
            RouteNetlinkMessage::NewLink(link) => self.new_link(link, kind),
            RouteNetlinkMessage::DelLink(link) => self.delete_link(link),
            RouteNetlinkMessage::NewAddress(address) => self.new_address(address),
            RouteNetlinkMessage::DelAddress(address) => self.delete_address(address),
            RouteNetlinkMessage::NewRoute(_) | RouteNetlinkMessage::DelRoute(_) => Effect::Routes,
            _ => Effect::None,
        }
    }

    /// Replaces what is known of routes.
    pub(crate) fn set_routes(&mut self, routes: Routes) {
        self.routes = routes;
    }

    /// The state of every interface but loopback, by name.
    pub(crate) fn interfaces(&self) -> BTreeMap<String, Interface> {
        let visible = self.links.iter().filter(|(_, link)| !link.loopback);
        visible.map(|(index, link)| (link.device.name.clone(), self.interface(*index, link))).collect()
    }

    /// Loopback with its addresses, if it is up.
    pub(crate) fn loopback(&self) -> Option<Interface> {
        let (index, link) = self.links.iter().find(|(_, link)| link.loopback && link.up)?;
        let known = self.addresses.get(index).map(Vec::as_slice).unwrap_or_default();
        let addresses = known.iter().map(|address| address.ip).filter(|ip| is_host_loopback(*ip)).collect();
        Some(Interface { addresses, ..self.interface(*index, link) })
    }

    /// Which of them are not to be used unless the user asks for them, and why.
    pub(crate) fn left_out(&self) -> BTreeMap<String, &'static str> {
        let with_reason =
            |link: &Link| link.left_out(&self.links).map(|reason| (link.device.name.clone(), reason));
        self.links.values().filter(|link| !link.loopback).filter_map(with_reason).collect()
    }

    fn interface(&self, index: u32, link: &Link) -> Interface {
        Interface {
            name: link.device.name.clone(),
            kind: link.kind,
            up: link.up,
            carrier: link.carrier,
            addresses: self.usable(index),
            metric: self.routes.ipv4.get(&index).or(self.routes.ipv6.get(&index)).copied(),
        }
    }

    /// IPv4 first, then IPv6 by preference: temporary global (RFC 8981), global, unique local.
    fn usable(&self, index: u32) -> Vec<IpAddr> {
        let known = self.addresses.get(&index).map(Vec::as_slice).unwrap_or_default();
        let mut usable: Vec<&Address> = known.iter().filter(|address| address.usable).collect();
        usable.sort_by_key(|address| match address.ip {
            IpAddr::V4(_) => 0,
            IpAddr::V6(ip) if ip.is_unique_local() => 3,
            IpAddr::V6(_) if address.temporary => 1,
            IpAddr::V6(_) => 2,
        });
        usable.into_iter().map(|address| address.ip).collect()
    }

    fn new_link(&mut self, message: &LinkMessage, kind: impl FnOnce(&Device) -> InterfaceKind) -> Effect {
        // A bridge tells of its ports in messages of its own family.
        if message.header.interface_family != AddressFamily::Unspec {
            return Effect::None;
        }
        let known = self.links.get(&message.header.index);
        let kind = |device: &Device| match known.filter(|link| link.device.name == device.name) {
            Some(link) => link.kind,
            None => kind(device),
        };
        let Some(link) = Link::parse(message, kind) else { return Effect::None };
        self.links.insert(message.header.index, link);
        Effect::Interfaces
    }

    fn delete_link(&mut self, message: &LinkMessage) -> Effect {
        if message.header.interface_family != AddressFamily::Unspec {
            return Effect::None;
        }
        self.links.remove(&message.header.index);
        self.addresses.remove(&message.header.index);
        Effect::Interfaces
    }

    fn new_address(&mut self, message: &AddressMessage) -> Effect {
        let Some(address) = Address::parse(message) else { return Effect::None };
        let known = self.addresses.entry(message.header.index).or_default();
        match known.iter_mut().find(|old| old.ip == address.ip) {
            Some(old) => *old = address,
            None => known.push(address),
        }
        Effect::Interfaces
    }

    fn delete_address(&mut self, message: &AddressMessage) -> Effect {
        let Some(address) = Address::parse(message) else { return Effect::None };
        if let Some(known) = self.addresses.get_mut(&message.header.index) {
            known.retain(|old| old.ip != address.ip);
        }
        Effect::Interfaces
    }
}

impl Address {
    fn parse(message: &AddressMessage) -> Option<Self> {
        let find =
            |wanted: fn(&AddressAttribute) -> Option<IpAddr>| message.attributes.iter().find_map(wanted);
        // On a point-to-point link ADDRESS is the other end; LOCAL, where present, is always ours.
        let ip = find(|attribute| match attribute {
            AddressAttribute::Local(ip) => Some(*ip),
            _ => None,
        })
        .or_else(|| {
            find(|attribute| match attribute {
                AddressAttribute::Address(ip) => Some(*ip),
                _ => None,
            })
        })?;
        let header = AddressFlags::from_bits_retain(message.header.flags.bits().into());
        let flags = message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
        let flags = flags.unwrap_or(header);
        let unusable = AddressFlags::Tentative | AddressFlags::Dadfailed | AddressFlags::Deprecated;
        // RFC 4429: an optimistic address is tentative, but may be used.
        let optimistic = flags.contains(AddressFlags::Optimistic) && !flags.contains(AddressFlags::Dadfailed);
        Some(Self {
            ip,
            usable: (optimistic || !flags.intersects(unusable)) && may_be_bound(ip),
            // IFA_F_TEMPORARY is IFA_F_SECONDARY; only IPv6 gives it this meaning.
            temporary: ip.is_ipv6() && flags.contains(AddressFlags::Secondary),
        })
    }
}

impl Routes {
    /// Takes one route of a dump in.
    pub(crate) fn add(&mut self, message: &RouteMessage) {
        let metrics = match message.header.address_family {
            AddressFamily::Inet => &mut self.ipv4,
            AddressFamily::Inet6 => &mut self.ipv6,
            _ => return,
        };
        if !is_default(message) {
            return;
        }
        let metric = message.attributes.iter().find_map(|attribute| match attribute {
            RouteAttribute::Priority(metric) => Some(*metric),
            _ => None,
        });
        let metric = metric.unwrap_or(0);
        for index in outgoing(message) {
            metrics.entry(index).and_modify(|best| *best = metric.min(*best)).or_insert(metric);
        }
    }
}

fn is_default(message: &RouteMessage) -> bool {
    let header = &message.header;
    let table = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Table(table) => Some(*table),
        _ => None,
    });
    header.kind == RouteType::Unicast
        && header.destination_prefix_length == 0
        && table.unwrap_or(header.table.into()) == u32::from(RouteHeader::RT_TABLE_MAIN)
}

fn outgoing(message: &RouteMessage) -> Vec<u32> {
    let mut indices = vec![];
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(index) => indices.push(*index),
            RouteAttribute::MultiPath(hops) => indices.extend(hops.iter().map(|hop| hop.interface_index)),
            _ => {}
        }
    }
    indices
}

fn may_be_bound(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => {
            !(ip.is_loopback()
                || ip.is_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || ip.is_broadcast())
        }
        IpAddr::V6(ip) => {
            !(ip.is_loopback()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast()
                || is_site_local(ip))
        }
    }
}

/// 127.0.0.1 or ::1: both ends on one host know them without being told.
fn is_host_loopback(ip: IpAddr) -> bool {
    ip == IpAddr::V4(Ipv4Addr::LOCALHOST) || ip == IpAddr::V6(Ipv6Addr::LOCALHOST)
}

/// fec0::/10, deprecated by RFC 3879; RFC 8445 section 5.1.1.1 excludes it.
fn is_site_local(ip: Ipv6Addr) -> bool {
    ip.segments()[0] & 0xffc0 == 0xfec0
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::{
        address::{AddressHeader, AddressHeaderFlags},
        link::{LinkAttribute, LinkFlags, LinkHeader},
        route::RouteNextHop,
    };

    fn link(index: u32, name: &str, flags: LinkFlags) -> LinkMessage {
        let mut message = LinkMessage::default();
        message.header = LinkHeader { index, flags, ..LinkHeader::default() };
        message.attributes.push(LinkAttribute::IfName(name.to_owned()));
        message
    }

    fn address(index: u32, ip: &str, flags: AddressFlags) -> AddressMessage {
        let ip: IpAddr = ip.parse().unwrap();
        let mut message = AddressMessage::default();
        message.header = AddressHeader {
            index,
            flags: AddressHeaderFlags::from_bits_retain(flags.bits() as u8),
            ..AddressHeader::default()
        };
        message.attributes.push(AddressAttribute::Address(ip));
        message.attributes.push(AddressAttribute::Flags(flags));
        message
    }

    fn route(family: AddressFamily, index: u32, metric: Option<u32>) -> RouteMessage {
        let mut message = RouteMessage::default();
        message.header.address_family = family;
        message.header.kind = RouteType::Unicast;
        message.header.table = RouteHeader::RT_TABLE_MAIN;
        message.attributes.push(RouteAttribute::Oif(index));
        message.attributes.extend(metric.map(RouteAttribute::Priority));
        message
    }

    fn lan(_: &Device) -> InterfaceKind {
        InterfaceKind::Lan
    }

    const UP: LinkFlags = LinkFlags::Up.union(LinkFlags::LowerUp);
    const PERMANENT: AddressFlags = AddressFlags::Permanent;

    fn table() -> Table {
        let mut table = Table::default();
        let loopback = LinkFlags::Loopback | UP;
        assert_eq!(
            table.apply(&RouteNetlinkMessage::NewLink(link(1, "lo", loopback)), lan),
            Effect::Interfaces
        );
        table.apply(&RouteNetlinkMessage::NewLink(link(2, "eth0", UP)), lan);
        table
    }

    fn add(table: &mut Table, ip: &str, flags: AddressFlags) {
        table.apply(&RouteNetlinkMessage::NewAddress(address(2, ip, flags)), lan);
    }

    #[test]
    fn only_addresses_that_can_be_bound_are_offered_in_order_of_preference() {
        let mut table = table();
        add(&mut table, "fd00::2", PERMANENT);
        add(&mut table, "2001:db8::2", PERMANENT);
        add(&mut table, "2001:db8::77", AddressFlags::Secondary);
        add(&mut table, "2001:db8::3", AddressFlags::Tentative);
        add(&mut table, "2001:db8::4", AddressFlags::Deprecated);
        add(&mut table, "2001:db8::5", AddressFlags::Tentative | AddressFlags::Dadfailed);
        add(&mut table, "fe80::2", PERMANENT);
        add(&mut table, "169.254.3.4", PERMANENT);
        add(&mut table, "192.0.2.2", PERMANENT);
        add(&mut table, "192.0.2.3", AddressFlags::Secondary);
        let interfaces = table.interfaces();
        let expected = ["192.0.2.2", "192.0.2.3", "2001:db8::77", "2001:db8::2", "fd00::2"];
        assert_eq!(interfaces["eth0"].addresses, expected.map(|ip| ip.parse::<IpAddr>().unwrap()));
        assert!(!interfaces.contains_key("lo"));
    }

    #[test]
    fn loopback_is_apart_from_the_interfaces_and_has_the_addresses_that_every_host_knows() {
        let mut table = table();
        for ip in ["127.0.0.1", "127.0.0.2", "::1", "192.0.2.77"] {
            table.apply(&RouteNetlinkMessage::NewAddress(address(1, ip, PERMANENT)), lan);
        }
        let addresses = ["127.0.0.1", "::1"].map(|ip| ip.parse::<IpAddr>().unwrap());
        assert_eq!(table.loopback().unwrap().addresses, addresses);
        let down = link(1, "lo", LinkFlags::Loopback);
        table.apply(&RouteNetlinkMessage::NewLink(down), lan);
        assert_eq!(table.loopback(), None);
    }

    #[test]
    fn an_address_becomes_usable_when_duplicate_detection_ends_and_goes_when_deleted() {
        let mut table = table();
        add(&mut table, "2001:db8::2", AddressFlags::Tentative);
        assert!(table.interfaces()["eth0"].addresses.is_empty());
        add(&mut table, "2001:db8::2", PERMANENT);
        assert_eq!(table.interfaces()["eth0"].addresses.len(), 1);
        let gone = address(2, "2001:db8::2", PERMANENT);
        table.apply(&RouteNetlinkMessage::DelAddress(gone), lan);
        assert!(table.interfaces()["eth0"].addresses.is_empty());
    }

    #[test]
    fn the_local_end_of_a_point_to_point_link_is_ours() {
        let mut table = table();
        let mut message = address(2, "10.0.0.1", PERMANENT);
        message.attributes.push(AddressAttribute::Local("10.0.0.2".parse().unwrap()));
        table.apply(&RouteNetlinkMessage::NewAddress(message), lan);
        assert_eq!(table.interfaces()["eth0"].addresses, ["10.0.0.2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn lost_carrier_down_and_removal_are_told_apart() {
        let mut table = table();
        table.apply(&RouteNetlinkMessage::NewLink(link(2, "eth0", LinkFlags::Up)), lan);
        let eth0 = &table.interfaces()["eth0"];
        assert!(eth0.up && !eth0.carrier);
        table.apply(&RouteNetlinkMessage::NewLink(link(2, "eth0", LinkFlags::empty())), lan);
        assert!(!table.interfaces()["eth0"].up);
        table.apply(&RouteNetlinkMessage::DelLink(link(2, "eth0", LinkFlags::empty())), lan);
        assert!(table.interfaces().is_empty());
    }

    #[test]
    fn leaving_a_bridge_is_not_the_end_of_the_link() {
        let mut table = table();
        let mut message = link(2, "eth0", UP);
        message.header.interface_family = AddressFamily::Bridge;
        assert_eq!(table.apply(&RouteNetlinkMessage::DelLink(message), lan), Effect::None);
        assert!(table.interfaces().contains_key("eth0"));
    }

    #[test]
    fn a_rename_takes_the_addresses_along() {
        let mut table = table();
        add(&mut table, "192.0.2.2", PERMANENT);
        table.apply(&RouteNetlinkMessage::NewLink(link(2, "wlan0", UP)), |_| InterfaceKind::Wifi);
        let interfaces = table.interfaces();
        assert_eq!(interfaces.len(), 1);
        assert_eq!(interfaces["wlan0"].kind, InterfaceKind::Wifi);
        assert_eq!(interfaces["wlan0"].addresses.len(), 1);
    }

    #[test]
    fn the_metric_is_the_best_of_the_default_routes_of_the_main_table() {
        let mut routes = Routes::default();
        routes.add(&route(AddressFamily::Inet6, 2, Some(1024)));
        let mut table = table();
        table.set_routes(routes.clone());
        assert_eq!(table.interfaces()["eth0"].metric, Some(1024));
        routes.add(&route(AddressFamily::Inet, 2, Some(600)));
        routes.add(&route(AddressFamily::Inet, 2, Some(200)));
        let mut other_table = route(AddressFamily::Inet, 2, None);
        other_table.attributes.push(RouteAttribute::Table(1000));
        routes.add(&other_table);
        let mut not_default = route(AddressFamily::Inet, 2, None);
        not_default.header.destination_prefix_length = 24;
        routes.add(&not_default);
        table.set_routes(routes);
        assert_eq!(table.interfaces()["eth0"].metric, Some(200));
    }

    #[test]
    fn every_next_hop_of_a_multipath_route_counts() {
        let mut message = route(AddressFamily::Inet, 9, Some(5));
        message.attributes.clear();
        let mut hop = RouteNextHop::default();
        hop.interface_index = 2;
        message.attributes.push(RouteAttribute::MultiPath(vec![hop]));
        let mut routes = Routes::default();
        routes.add(&message);
        let mut table = table();
        table.set_routes(routes);
        assert_eq!(table.interfaces()["eth0"].metric, Some(0));
    }
}
