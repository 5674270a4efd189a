//! UDP datagrams in IP packets, for those who have no kernel to make them.

use super::{Head, PacketError, Transport};
use crate::Protocol;
use etherparse::{PacketBuilder, UdpSlice};
use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};

/// A UDP datagram within an IP packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Udp {
    /// Its source.
    pub source: SocketAddr,
    /// Its destination.
    pub destination: SocketAddr,
    /// Where in the packet its payload lies.
    pub payload: Range<usize>,
}

/// The TTL or hop limit that [`build_udp`] gives, as Linux does.
const HOPS: u8 = 64;
/// 65,535 less the IPv4 and UDP headers.
const MAX_PAYLOAD_IPV4: usize = 65_507;
/// 65,535 less the UDP header (RFC 8200: the payload length leaves out the IPv6 header).
const MAX_PAYLOAD_IPV6: usize = 65_527;
const UDP_HEADER: usize = 8;

/// The IP packet that carries one UDP datagram, with checksums. IPv4 packets must not be fragmented.
pub fn build_udp(
    source: SocketAddr,
    destination: SocketAddr,
    payload: &[u8],
) -> Result<Vec<u8>, PacketError> {
    let (ip, limit) = match (source.ip(), destination.ip()) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            (PacketBuilder::ipv4(source.octets(), destination.octets(), HOPS), MAX_PAYLOAD_IPV4)
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            (PacketBuilder::ipv6(source.octets(), destination.octets(), HOPS), MAX_PAYLOAD_IPV6)
        }
        _ => return Err(PacketError::MixedFamilies),
    };
    if payload.len() > limit {
        return Err(PacketError::TooLong(payload.len()));
    }
    let builder = ip.udp(source.port(), destination.port());
    let mut packet = Vec::with_capacity(builder.size(payload.len()));
    builder.write(&mut packet, payload).map_err(|_| PacketError::TooLong(payload.len()))?;
    Ok(packet)
}

/// Reads an IP packet that carries one UDP datagram, and verifies its checksums.
pub fn parse_udp(packet: &[u8]) -> Result<Udp, PacketError> {
    let (head, length) = Head::parse(packet)?;
    let Transport::Ports(Protocol::Udp) = head.transport else { return Err(PacketError::NotUdp) };
    let payload = usize::from(head.payload);
    let datagram = packet.get(payload..length).ok_or(PacketError::Truncated)?;
    let slice = UdpSlice::from_slice(datagram).map_err(|_| PacketError::Truncated)?;
    let (source, destination) = (head.source(packet), head.destination(packet));
    if !checksum_holds(source, destination, &slice) {
        return Err(PacketError::UdpChecksum);
    }
    let start = payload + UDP_HEADER;
    Ok(Udp {
        source: SocketAddr::new(source, slice.source_port()),
        destination: SocketAddr::new(destination, slice.destination_port()),
        payload: start..start + slice.payload().len(),
    })
}

fn checksum_holds(source: IpAddr, destination: IpAddr, datagram: &UdpSlice<'_>) -> bool {
    let header = datagram.to_header();
    let expected = match (source, destination) {
        // RFC 768: zero means that the sender made none.
        (IpAddr::V4(_), IpAddr::V4(_)) if header.checksum == 0 => return true,
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            header.calc_checksum_ipv4_raw(source.octets(), destination.octets(), datagram.payload())
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            header.calc_checksum_ipv6_raw(source.octets(), destination.octets(), datagram.payload())
        }
        _ => return false,
    };
    expected == Ok(header.checksum)
}
