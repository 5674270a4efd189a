//! Two rtnetlink sockets: one is told of changes, one asks for the whole state.
//!
//! Dumps are asked for on a socket of their own and waited for: the kernel answers from memory within microseconds,
//! and an overrun of the event socket cannot tear a dump that way.

use super::{
    link::Device,
    table::{Routes, Table},
};
use crate::descriptor::{Watched, attempt, watch};
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage, address::AddressMessage, link::LinkMessage, route::RouteMessage,
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use nix::libc::{
    NLM_F_DUMP_INTR, RTMGRP_IPV4_IFADDR, RTMGRP_IPV4_ROUTE, RTMGRP_IPV6_IFADDR, RTMGRP_IPV6_ROUTE,
    RTMGRP_LINK,
};
use record::InterfaceKind;
use std::io;
use tokio::io::Interest;

/// What the event socket had to say.
#[derive(Debug)]
pub(crate) enum Heard {
    /// Messages in the kernel's order.
    Messages(Vec<RouteNetlinkMessage>),
    /// Some were lost (the kernel's ENOBUFS) or could not be read: ask for the whole state.
    Lost,
    /// Nothing more for now.
    Empty,
}

/// The socket that is told of changes.
#[derive(Debug)]
pub(crate) struct Events {
    socket: Watched<Socket>,
    buffer: Vec<u8>,
}

/// One datagram of the kernel is at most this long (`NLMSG_GOODSIZE` up to 8 KiB, dumps up to 32 KiB).
const DATAGRAM: usize = 64 * 1024;

/// Hundreds of changes fit before the kernel has to drop any; it may cap this.
const EVENT_BUFFER: usize = 1024 * 1024;

impl Events {
    /// Subscribes. Needs the runtime.
    pub(crate) fn subscribe() -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.set_non_blocking(true)?;
        socket.set_rx_buf_sz(EVENT_BUFFER as u32)?;
        let groups =
            RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
        socket.bind(&SocketAddr::new(0, groups as u32))?;
        Ok(Self { socket: watch(socket)?, buffer: vec![0; DATAGRAM] })
    }

    /// Waits until there is something to hear. Cancelling loses nothing.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await.map(|mut guard| guard.retain_ready())
    }

    /// Reads one datagram without waiting.
    pub(crate) fn hear(&mut self) -> io::Result<Heard> {
        let buffer = &mut self.buffer;
        let received = attempt(&self.socket, Interest::READABLE, |socket| {
            socket.recv(&mut &mut buffer[..], nix::libc::MSG_TRUNC)
        });
        match received {
            // MSG_TRUNC makes the kernel return the whole length.
            Ok(length) => Ok(match self.buffer.get(..length).map(parse) {
                Some(Ok(messages)) => Heard::Messages(messages.into_iter().filter_map(inner).collect()),
                Some(Err(_)) | None => Heard::Lost,
            }),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Heard::Empty),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(Heard::Messages(vec![])),
            Err(error) if error.raw_os_error() == Some(nix::libc::ENOBUFS) => Ok(Heard::Lost),
            Err(error) => Err(error),
        }
    }
}

/// Asks for links, addresses and routes.
pub(crate) fn snapshot(kind: impl Fn(&Device) -> InterfaceKind) -> io::Result<Table> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    let mut table = Table::default();
    for request in [
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
    ] {
        for message in dump(&socket, request)? {
            table.apply(&message, &kind);
        }
    }
    table.set_routes(routes_over(&socket)?);
    Ok(table)
}

/// Asks for routes alone.
pub(crate) fn routes() -> io::Result<Routes> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    routes_over(&socket)
}

fn routes_over(socket: &Socket) -> io::Result<Routes> {
    let mut routes = Routes::default();
    for family in [AddressFamily::Inet, AddressFamily::Inet6] {
        let mut request = RouteMessage::default();
        request.header.address_family = family;
        for message in dump(socket, RouteNetlinkMessage::GetRoute(request))? {
            if let RouteNetlinkMessage::NewRoute(route) = message {
                routes.add(&route);
            }
        }
    }
    Ok(routes)
}

/// A dump that a change interrupted is inconsistent, and asked for again.
fn dump(socket: &Socket, request: RouteNetlinkMessage) -> io::Result<Vec<RouteNetlinkMessage>> {
    const TRIES: u32 = 10;
    for sequence in 1..=TRIES {
        if let Some(messages) = try_dump(socket, request.clone(), sequence)? {
            return Ok(messages);
        }
    }
    Err(io::Error::other("the interfaces change faster than they can be listed"))
}

fn try_dump(
    socket: &Socket,
    request: RouteNetlinkMessage,
    sequence: u32,
) -> io::Result<Option<Vec<RouteNetlinkMessage>>> {
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    header.sequence_number = sequence;
    let mut message = NetlinkMessage::new(header, NetlinkPayload::from(request));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    socket.send_to(&bytes, &SocketAddr::new(0, 0), 0)?;

    let mut messages = vec![];
    let mut interrupted = false;
    loop {
        let (datagram, _) = socket.recv_from_full()?;
        for message in parse(&datagram)? {
            interrupted |= message.header.flags & (NLM_F_DUMP_INTR as u16) != 0;
            match message.payload {
                NetlinkPayload::Done(_) => return Ok((!interrupted).then_some(messages)),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                NetlinkPayload::InnerMessage(inner) => messages.push(inner),
                _ => {}
            }
        }
    }
}

fn inner(message: NetlinkMessage<RouteNetlinkMessage>) -> Option<RouteNetlinkMessage> {
    match message.payload {
        NetlinkPayload::InnerMessage(inner) => Some(inner),
        _ => None,
    }
}

/// Splits a datagram of the kernel into its messages, each aligned to four bytes.
fn parse(mut datagram: &[u8]) -> io::Result<Vec<NetlinkMessage<RouteNetlinkMessage>>> {
    let mut messages = vec![];
    while !datagram.is_empty() {
        let message = NetlinkMessage::deserialize(datagram)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))?;
        let length = (message.header.length as usize).next_multiple_of(4);
        if length == 0 {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a netlink message of no length"));
        }
        datagram = datagram.get(length..).unwrap_or_default();
        messages.push(message);
    }
    Ok(messages)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes_of(messages: Vec<RouteNetlinkMessage>) -> Vec<u8> {
        let mut datagram = vec![];
        for message in messages {
            let mut message = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(message));
            message.finalize();
            let mut bytes = vec![0; message.buffer_len()];
            message.serialize(&mut bytes);
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            datagram.extend(bytes);
        }
        datagram
    }

    #[test]
    fn a_datagram_may_hold_several_messages() {
        let mut link = LinkMessage::default();
        link.header.index = 3;
        let sent = vec![
            RouteNetlinkMessage::NewLink(link),
            RouteNetlinkMessage::DelAddress(AddressMessage::default()),
        ];
        let parsed: Vec<_> = parse(&bytes_of(sent.clone())).unwrap().into_iter().filter_map(inner).collect();
        assert_eq!(parsed, sent);
    }

    #[test]
    fn the_state_of_this_namespace_can_be_read() {
        let table = snapshot(|_| InterfaceKind::Lan).unwrap();
        assert!(!table.interfaces().contains_key("lo"));
        routes().unwrap();
    }

    proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn no_truncation_panics(cut in 0usize..64) {
            let whole = bytes_of(vec![RouteNetlinkMessage::NewLink(LinkMessage::default())]);
            let _ = parse(whole.get(..cut).unwrap_or(&whole));
        }
    }
}
