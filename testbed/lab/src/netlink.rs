//! Synchronous rtnetlink: one request, its whole answer.

use netlink_packet_core::{
    NLM_F_ACK, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage,
    NetlinkPayload,
};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage as Message,
    address::{AddressAttribute, AddressFlags, AddressHeaderFlags, AddressMessage, AddressScope},
    link::{AfSpecInet6, AfSpecUnspec, In6AddrGenMode, LinkAttribute, LinkFlags, LinkMessage},
    route::{RouteAddress, RouteAttribute, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use std::{io, net::IpAddr};
use thiserror::Error;

/// A route socket of the namespace in which it was opened.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: Socket,
    sequence: u32,
}

/// A request to the kernel failed.
#[derive(Debug, Error)]
#[error("cannot {request}: {source}")]
pub struct NetlinkError {
    request: String,
    source: io::Error,
}

/// An interface as the kernel tells it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Link {
    pub(crate) index: u32,
    /// Admin state.
    pub(crate) up: bool,
    /// `IFF_LOWER_UP`: up, and with carrier.
    pub(crate) lower_up: bool,
    pub(crate) carrier: bool,
    pub(crate) mtu: u32,
    pub(crate) queue_length: u32,
    /// IPv6 link-local addresses are made by the kernel.
    pub(crate) makes_link_local: bool,
    /// Packets that the kernel could not queue for sending.
    pub(crate) send_drops: u64,
}

/// What an interface should be before it comes up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LinkSettings {
    pub(crate) mtu: u32,
    pub(crate) queue_length: u32,
}

/// An address as the kernel tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Address {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
    /// Can be bound: duplicate detection is neither going on nor failed.
    pub(crate) ready: bool,
}

/// A unicast route of the main table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Route {
    pub(crate) ipv6: bool,
    pub(crate) default: bool,
    pub(crate) metric: u32,
}

impl Netlink {
    /// For the namespace of the calling thread, for ever.
    pub(crate) fn open() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind_auto()?;
        socket.connect(&SocketAddr::new(0, 0))?;
        Ok(Self { socket, sequence: 0 })
    }

    /// The interface of this name.
    pub(crate) fn link(&mut self, name: &str) -> Result<Link, NetlinkError> {
        let mut message = LinkMessage::default();
        message.attributes.push(LinkAttribute::IfName(name.into()));
        let told = self.request(Message::GetLink(message), 0, || format!("read interface {name}"))?;
        told.into_iter().find_map(link_from).ok_or_else(|| NetlinkError {
            request: format!("read interface {name}"),
            source: io::ErrorKind::InvalidData.into(),
        })
    }

    /// Sets what must be set while an interface is down. No IPv6 link-local address is made: without one the kernel
    /// neither solicits routers nor speaks on the link more than it must.
    pub(crate) fn set_link(&mut self, index: u32, settings: LinkSettings) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.attributes = vec![
            LinkAttribute::Mtu(settings.mtu),
            LinkAttribute::TxQueueLen(settings.queue_length),
            LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![AfSpecInet6::AddrGenMode(
                In6AddrGenMode::None,
            )])]),
        ];
        self.request(Message::SetLink(message), NLM_F_ACK, || format!("set {settings:?}")).map(drop)
    }

    /// Sets the admin state.
    pub(crate) fn set_up(&mut self, index: u32, up: bool) -> Result<(), NetlinkError> {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.change_mask = LinkFlags::Up;
        message.header.flags = if up { LinkFlags::Up } else { LinkFlags::empty() };
        let request = || format!("set the interface {}", if up { "up" } else { "down" });
        self.request(Message::SetLink(message), NLM_F_ACK, request).map(drop)
    }

    /// Adds an address, or finds it there. The route to its subnet has this metric, as the network managers do it, so
    /// that two interfaces of one network are ranked.
    pub(crate) fn add_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
        metric: u32,
    ) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.family = family(address.is_ipv6());
        message.header.prefix_len = prefix;
        message.header.scope = AddressScope::Universe;
        message.attributes = vec![
            AddressAttribute::Address(address),
            AddressAttribute::Local(address),
            AddressAttribute::RoutePriority(metric),
        ];
        if address.is_ipv6() {
            // Nobody else is on the link, and an address under duplicate detection cannot be bound (RFC 4862 5.4).
            message.header.flags = AddressHeaderFlags::Nodad;
            message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
        }
        let flags = NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE;
        self.request(Message::NewAddress(message), flags, || format!("add address {address}/{prefix}"))
            .map(drop)
    }

    /// Removes an address, and with it what the kernel made for it.
    pub(crate) fn remove_address(
        &mut self,
        index: u32,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), NetlinkError> {
        let mut message = AddressMessage::default();
        message.header.index = index;
        message.header.family = family(address.is_ipv6());
        message.header.prefix_len = prefix;
        message.attributes = vec![AddressAttribute::Address(address), AddressAttribute::Local(address)];
        let request = || format!("remove address {address}/{prefix}");
        self.request(Message::DelAddress(message), NLM_F_ACK, request).map(drop)
    }

    /// Adds a default route without a gateway: the device is layer 3.
    pub(crate) fn add_default_route(
        &mut self,
        index: u32,
        ipv6: bool,
        metric: u32,
    ) -> Result<(), NetlinkError> {
        let message = default_route(index, ipv6, metric);
        let request =
            || format!("add the default route of IPv{} with metric {metric}", if ipv6 { 6 } else { 4 });
        self.request(Message::NewRoute(message), NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE, request).map(drop)
    }

    /// Removes a default route that was added so.
    pub(crate) fn remove_default_route(
        &mut self,
        index: u32,
        ipv6: bool,
        metric: u32,
    ) -> Result<(), NetlinkError> {
        let message = default_route(index, ipv6, metric);
        let request =
            || format!("remove the default route of IPv{} with metric {metric}", if ipv6 { 6 } else { 4 });
        self.request(Message::DelRoute(message), NLM_F_ACK, request).map(drop)
    }

    /// The addresses of an interface.
    pub(crate) fn addresses(&mut self, index: u32) -> Result<Vec<Address>, NetlinkError> {
        let request = Message::GetAddress(AddressMessage::default());
        let told = self.request(request, NLM_F_DUMP, || "read addresses".into())?;
        Ok(told.into_iter().filter_map(|message| address_from(message, index)).collect())
    }

    /// The unicast routes of the main table that leave through an interface.
    pub(crate) fn routes(&mut self, index: u32) -> Result<Vec<Route>, NetlinkError> {
        let mut routes = Vec::new();
        for ipv6 in [false, true] {
            let mut message = RouteMessage::default();
            message.header.address_family = family(ipv6);
            let told = self.request(Message::GetRoute(message), NLM_F_DUMP, || "read routes".into())?;
            routes.extend(told.into_iter().filter_map(|message| route_from(message, index)));
        }
        Ok(routes)
    }

    /// The IPv6 addresses that packets are taken for: those with a route in the local table. The kernel makes these routes
    /// some time after it has acknowledged an address, even one without duplicate detection.
    pub(crate) fn heard_ipv6_addresses(&mut self) -> Result<Vec<IpAddr>, NetlinkError> {
        let mut message = RouteMessage::default();
        message.header.address_family = AddressFamily::Inet6;
        let told = self.request(Message::GetRoute(message), NLM_F_DUMP, || "read routes".into())?;
        Ok(told.into_iter().filter_map(local_address_from).collect())
    }

    fn request(
        &mut self,
        message: Message,
        flags: u16,
        what: impl FnOnce() -> String,
    ) -> Result<Vec<Message>, NetlinkError> {
        self.exchange(message, flags).map_err(|source| NetlinkError { request: what(), source })
    }

    /// Sends a request and collects its answer: an acknowledgement, one message, or a dump up to its end.
    fn exchange(&mut self, message: Message, flags: u16) -> io::Result<Vec<Message>> {
        self.sequence = self.sequence.wrapping_add(1);
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST | flags;
        header.sequence_number = self.sequence;
        let mut request = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(message));
        request.finalize();
        let mut bytes = vec![0; request.buffer_len()];
        request.serialize(&mut bytes);
        self.socket.send(&bytes, 0)?;

        let mut answer = Vec::new();
        loop {
            let (datagram, _) = self.socket.recv_from_full()?;
            if self.take(&datagram, flags, &mut answer)? {
                return Ok(answer);
            }
        }
    }

    /// Takes in one datagram of an answer; true when it was the last.
    fn take(&self, datagram: &[u8], flags: u16, answer: &mut Vec<Message>) -> io::Result<bool> {
        let mut rest = datagram;
        while !rest.is_empty() {
            let message = NetlinkMessage::<Message>::deserialize(rest).map_err(io::Error::other)?;
            // Messages are padded to four bytes, except perhaps the last (netlink(7), NLMSG_ALIGN).
            let length = (message.header.length as usize).next_multiple_of(4);
            rest = rest.get(length..).unwrap_or_default();
            if message.header.sequence_number != self.sequence {
                continue;
            }
            match message.payload {
                NetlinkPayload::Error(error) if error.code.is_some() => return Err(error.to_io()),
                NetlinkPayload::Error(_) | NetlinkPayload::Done(_) => return Ok(true),
                NetlinkPayload::InnerMessage(message) => answer.push(message),
                NetlinkPayload::Overrun(_) => return Err(io::Error::other("the answer was cut off")),
                _ => {}
            }
        }
        // Without a dump or an acknowledgement to wait for, the one message is the answer.
        Ok(flags & (NLM_F_DUMP | NLM_F_ACK) == 0 && !answer.is_empty())
    }
}

fn default_route(index: u32, ipv6: bool, metric: u32) -> RouteMessage {
    let mut message = RouteMessage::default();
    message.header = RouteHeader {
        address_family: family(ipv6),
        table: RouteHeader::RT_TABLE_MAIN,
        protocol: RouteProtocol::Static,
        scope: if ipv6 { RouteScope::Universe } else { RouteScope::Link },
        kind: RouteType::Unicast,
        ..RouteHeader::default()
    };
    message.attributes = vec![RouteAttribute::Oif(index), RouteAttribute::Priority(metric)];
    message
}

fn family(ipv6: bool) -> AddressFamily {
    if ipv6 { AddressFamily::Inet6 } else { AddressFamily::Inet }
}

fn link_from(message: Message) -> Option<Link> {
    let Message::NewLink(message) = message else { return None };
    let flags = message.header.flags;
    let mut link = Link {
        index: message.header.index,
        up: flags.contains(LinkFlags::Up),
        lower_up: flags.contains(LinkFlags::LowerUp),
        carrier: false,
        mtu: 0,
        queue_length: 0,
        makes_link_local: true,
        send_drops: 0,
    };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::Carrier(carrier) => link.carrier = carrier != 0,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::TxQueueLen(length) => link.queue_length = length,
            LinkAttribute::Stats64(stats) => link.send_drops = stats.tx_dropped,
            LinkAttribute::AfSpecUnspec(families) => link.makes_link_local = !has_no_link_local(&families),
            _ => {}
        }
    }
    Some(link)
}

fn has_no_link_local(families: &[AfSpecUnspec]) -> bool {
    families
        .iter()
        .filter_map(
            |family| if let AfSpecUnspec::Inet6(attributes) = family { Some(attributes) } else { None },
        )
        .flatten()
        .any(|attribute| *attribute == AfSpecInet6::AddrGenMode(In6AddrGenMode::None))
}

fn address_from(message: Message, index: u32) -> Option<Address> {
    let Message::NewAddress(message) = message else { return None };
    let flags = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Flags(flags) => Some(*flags),
        _ => None,
    });
    let address = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Address(address) => Some(*address),
        _ => None,
    })?;
    let unready = AddressFlags::Tentative | AddressFlags::Dadfailed;
    (message.header.index == index).then_some(Address {
        address,
        prefix: message.header.prefix_len,
        ready: !flags.unwrap_or(AddressFlags::empty()).intersects(unready),
    })
}

fn local_address_from(message: Message) -> Option<IpAddr> {
    let Message::NewRoute(message) = message else { return None };
    message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Destination(RouteAddress::Inet6(address))
            if message.header.kind == RouteType::Local && message.header.destination_prefix_length == 128 =>
        {
            Some(IpAddr::V6(*address))
        }
        _ => None,
    })
}

fn route_from(message: Message, index: u32) -> Option<Route> {
    let Message::NewRoute(message) = message else { return None };
    let leaves_here = message.attributes.contains(&RouteAttribute::Oif(index));
    let ours =
        message.header.table == RouteHeader::RT_TABLE_MAIN && message.header.kind == RouteType::Unicast;
    let metric = message.attributes.iter().find_map(|attribute| match attribute {
        RouteAttribute::Priority(metric) => Some(*metric),
        _ => None,
    });
    (leaves_here && ours).then_some(Route {
        ipv6: message.header.address_family == AddressFamily::Inet6,
        default: message.header.destination_prefix_length == 0,
        metric: metric.unwrap_or(0),
    })
}
