//! By which interface the kernel would send: one question to rtnetlink (`ip route get`).

use crate::udp::Binding;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAttribute, RouteMessage},
};
use netlink_sys::{Socket, SocketAddr as Kernel, protocols::NETLINK_ROUTE};
use nix::{libc, net::if_::if_nametoindex};
use peer::blocking::Route;
use std::{io, net::IpAddr};

/// Whether what a socket with this binding sends to an address leaves by the interface that it is meant to.
pub(crate) fn find(binding: &Binding, interface: &str, to: IpAddr) -> Route {
    let index = |name: &str| if_nametoindex(name).ok();
    let device = binding.interface.as_deref().and_then(index);
    // With a source, IPv6 takes the device for a mere wish (ip6_route_output_flags of Linux), unlike from a bound socket.
    let from = Some(binding.local.ip()).filter(|ip| !ip.is_unspecified() && device.is_none());
    match (ask(from, to, device), index(interface)) {
        (Ok(Some(found)), Some(wanted)) if found == wanted => Route::Right,
        (Ok(Some(_)), Some(_)) => Route::Wrong,
        (Err(error), _) if is_no_route(&error) => Route::None,
        (Err(error), _) => {
            tracing::debug!(%to, %error, "no word of the route");
            Route::Unknown
        }
        (Ok(_), _) => Route::Unknown,
    }
}

fn is_no_route(error: &io::Error) -> bool {
    const NONE: [i32; 4] = [libc::ENETUNREACH, libc::EHOSTUNREACH, libc::EINVAL, libc::EACCES];
    error.raw_os_error().is_some_and(|code| NONE.contains(&code))
}

/// Index of the outgoing interface.
fn ask(from: Option<IpAddr>, to: IpAddr, device: Option<u32>) -> io::Result<Option<u32>> {
    let bits = |ip: IpAddr| if ip.is_ipv4() { 32 } else { 128 };
    let mut request = RouteMessage::default();
    request.header.address_family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    request.header.destination_prefix_length = bits(to);
    request.attributes.push(RouteAttribute::Destination(to.into()));
    if let Some(from) = from {
        request.header.source_prefix_length = bits(from);
        request.attributes.push(RouteAttribute::Source(from.into()));
    }
    request.attributes.extend(device.map(RouteAttribute::Oif));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let mut message =
        NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(request)));
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);

    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send_to(&bytes, &Kernel::new(0, 0), 0)?;
    let (datagram, _) = socket.recv_from_full()?;
    let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(&datagram).map_err(io::Error::other)?;
    match answer.payload {
        NetlinkPayload::Error(error) => Err(error.to_io()),
        NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) => {
            Ok(route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(*index),
                _ => None,
            }))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_the_way_to_itself() {
        let binding = Binding { interface: None, local: ([127, 0, 0, 1], 0).into() };
        assert_eq!(find(&binding, "lo", [127, 0, 0, 2].into()), Route::Right);
        assert_eq!(find(&binding, "none0", [127, 0, 0, 2].into()), Route::Unknown);
    }
}
