//! IP packets as bytes: UDP datagrams for users in virtual time, and the checked view that the model works on.
//!
//! Leaves out IPv6 extension headers (what follows them is carried, but no border can follow it) and reassembly.

use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
    PacketBuilder, TcpHeaderSlice, UdpSlice, checksum::Sum16BitWords, ip_number,
};
use std::{
    net::{IpAddr, SocketAddr},
    ops::Range,
};
use thiserror::Error;

use crate::{Direction, Protocol};

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

/// Why bytes are no packet, or cannot become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PacketError {
    /// Source and destination are not of one family.
    #[error("source and destination are not of one family")]
    MixedFamilies,
    /// The payload does not fit into one IP packet.
    #[error("{0} bytes do not fit into one UDP datagram")]
    TooLong(usize),
    /// Neither IPv4 nor IPv6.
    #[error("neither IPv4 nor IPv6")]
    NotIp,
    /// Shorter than its headers say, or headers that contradict each other.
    #[error("truncated, or its headers contradict each other")]
    Truncated,
    /// The IPv4 header's checksum is wrong.
    #[error("wrong IPv4 header checksum")]
    HeaderChecksum,
    /// The UDP checksum is wrong, or missing over IPv6.
    #[error("wrong UDP checksum")]
    UdpChecksum,
    /// A fragment, or another protocol than UDP.
    #[error("no whole UDP datagram")]
    NotUdp,
}

/// The TTL or hop limit that [`build_udp`] gives, as Linux does.
const HOPS: u8 = 64;
/// 65,535 less the IPv4 and UDP headers.
const MAX_PAYLOAD_IPV4: usize = 65_507;
/// 65,535 less the UDP header (RFC 8200: the payload length leaves out the IPv6 header).
const MAX_PAYLOAD_IPV6: usize = 65_527;
const UDP_HEADER: usize = 8;

/// The IP packet that carries one UDP datagram, with checksums.
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
    let head = Head::parse(packet)?;
    let Transport::Ports { protocol: Protocol::Udp, source, destination } = head.transport else {
        return Err(PacketError::NotUdp);
    };
    let datagram = packet.get(head.payload..head.length).ok_or(PacketError::Truncated)?;
    let slice = UdpSlice::from_slice(datagram).map_err(|_| PacketError::Truncated)?;
    if !udp_checksum_holds(&head, &slice) {
        return Err(PacketError::UdpChecksum);
    }
    let start = head.payload + UDP_HEADER;
    Ok(Udp {
        source: SocketAddr::new(head.source, source),
        destination: SocketAddr::new(head.destination, destination),
        payload: start..start + slice.payload().len(),
    })
}

fn udp_checksum_holds(head: &Head, datagram: &UdpSlice<'_>) -> bool {
    let header = datagram.to_header();
    let expected = match (head.source, head.destination) {
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

/// A packet whose headers were found to be sound. Values of the head always equal the bytes.
#[derive(Debug)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
    head: Head,
}

/// One packet as a border sees it: who on the near (inside) end talks to whom on the far end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) protocol: Protocol,
    /// For ICMP echo the port is the identifier.
    pub(crate) near: SocketAddr,
    /// For ICMP echo the port is 0.
    pub(crate) far: SocketAddr,
}

impl Packet {
    pub(crate) fn parse(mut bytes: Vec<u8>) -> Result<Self, PacketError> {
        let head = Head::parse(&bytes)?;
        bytes.truncate(head.length);
        Ok(Self { bytes, head })
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.head.length
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.head.source
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.head.destination
    }

    pub(crate) fn is_udp(&self) -> bool {
        self.head.protocol == ip_number::UDP
    }

    /// Source and destination for a reader; the port is 0 where there is none.
    pub(crate) fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        let (source, destination) = match self.head.transport {
            Transport::Ports { source, destination, .. } => (source, destination),
            Transport::Echo { .. } | Transport::Other => (0, 0),
        };
        (SocketAddr::new(self.head.source, source), SocketAddr::new(self.head.destination, destination))
    }

    /// The flow to which the packet belongs, as seen by a border that it passes in this direction; none for what a
    /// border cannot follow.
    pub(crate) fn flow(&self, direction: Direction) -> Option<Flow> {
        let (protocol, source, destination) = match self.head.transport {
            Transport::Ports { protocol, source, destination } => (protocol, source, destination),
            Transport::Echo { identifier } => match direction {
                Direction::Up => (Protocol::Echo, identifier, 0),
                Direction::Down => (Protocol::Echo, 0, identifier),
            },
            Transport::Other => return None,
        };
        let source = SocketAddr::new(self.head.source, source);
        let destination = SocketAddr::new(self.head.destination, destination);
        Some(match direction {
            Direction::Up => Flow { protocol, near: source, far: destination },
            Direction::Down => Flow { protocol, near: destination, far: source },
        })
    }

    /// Takes one from the TTL or hop limit; false when the packet must end here (RFC 1812 section 5.3.1, RFC 8200
    /// section 3).
    pub(crate) fn hop(&mut self) -> bool {
        let Some(left) = self.head.hops.checked_sub(1).filter(|left| *left > 0) else { return false };
        match self.head.source {
            IpAddr::V4(_) => {
                self.write_word(
                    IPV4_TTL,
                    u16::from_be_bytes([left, self.head.protocol.0]),
                    Some(IPV4_CHECKSUM),
                );
            }
            IpAddr::V6(_) => self.write_bytes(IPV6_HOP_LIMIT, &[left]),
        }
        self.head.hops = left;
        true
    }

    /// Gives the near end of the packet's flow another IPv4 address and port (or echo identifier). Checksums are
    /// updated, not computed anew (RFC 1624), so that a packet that was damaged stays damaged.
    pub(crate) fn rewrite_near(&mut self, direction: Direction, to: SocketAddr) {
        let IpAddr::V4(address) = to.ip() else { return };
        let (at, own) = match direction {
            Direction::Up => (IPV4_SOURCE, &mut self.head.source),
            Direction::Down => (IPV4_DESTINATION, &mut self.head.destination),
        };
        *own = to.ip();
        let pseudo_header = self.pseudo_header_checksum();
        for (word, bytes) in address.octets().chunks_exact(2).enumerate() {
            let value = u16::from_be_bytes([bytes[0], bytes[1]]);
            let offset = at + 2 * word;
            let old = self.read_word(offset);
            if let Some(checksum) = pseudo_header {
                self.adjust(checksum, old, value);
            }
            self.write_word(offset, value, Some(IPV4_CHECKSUM));
        }
        self.rewrite_near_port(direction, to.port());
    }

    fn rewrite_near_port(&mut self, direction: Direction, port: u16) {
        let start = self.head.payload;
        let (offset, checksum) = match &mut self.head.transport {
            Transport::Ports { source, destination, .. } => {
                let (offset, own) = match direction {
                    Direction::Up => (start, source),
                    Direction::Down => (start + 2, destination),
                };
                *own = port;
                (offset, self.pseudo_header_checksum())
            }
            Transport::Echo { identifier } => {
                *identifier = port;
                (start + ICMP_IDENTIFIER, Some(start + ICMP_CHECKSUM))
            }
            Transport::Other => return,
        };
        self.write_word(offset, port, checksum);
    }

    /// Where the checksum lies that covers addresses too; none if there is none to keep up.
    fn pseudo_header_checksum(&self) -> Option<usize> {
        let Transport::Ports { protocol, .. } = self.head.transport else { return None };
        let offset = self.head.payload + if protocol == Protocol::Tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
        // RFC 768: a datagram without a checksum keeps being without.
        (protocol == Protocol::Tcp || self.read_word(offset) != 0).then_some(offset)
    }

    /// Replaces a 16-bit word and keeps the checksum that covers it right.
    fn write_word(&mut self, offset: usize, value: u16, checksum: Option<usize>) {
        if let Some(checksum) = checksum {
            self.adjust(checksum, self.read_word(offset), value);
        }
        self.write_bytes(offset, &value.to_be_bytes());
    }

    /// RFC 1624 equation 3: HC' = ~(~HC + ~m + m').
    fn adjust(&mut self, checksum: usize, old: u16, new: u16) {
        let sum = u32::from(!self.read_word(checksum)) + u32::from(!old) + u32::from(new);
        let folded = (sum & 0xffff) + (sum >> 16);
        let folded = (folded & 0xffff) + (folded >> 16);
        let updated = !(folded as u16);
        let is_udp = self.is_udp() && checksum == self.head.payload + UDP_CHECKSUM;
        // RFC 768: a computed zero is sent as all ones.
        let updated = if is_udp && updated == 0 { 0xffff } else { updated };
        self.write_bytes(checksum, &updated.to_be_bytes());
    }

    fn read_word(&self, offset: usize) -> u16 {
        match self.bytes.get(offset..offset + 2) {
            Some(&[high, low]) => u16::from_be_bytes([high, low]),
            _ => 0,
        }
    }

    /// Every offset that is written lies in a header whose presence `Head::parse` has checked.
    fn write_bytes(&mut self, offset: usize, value: &[u8]) {
        if let Some(place) = self.bytes.get_mut(offset..offset + value.len()) {
            place.copy_from_slice(value);
        }
    }
}

const IPV4_TTL: usize = 8;
const IPV4_CHECKSUM: usize = 10;
const IPV4_SOURCE: usize = 12;
const IPV4_DESTINATION: usize = 16;
const IPV6_HEADER: usize = 40;
const IPV6_HOP_LIMIT: usize = 7;
const UDP_CHECKSUM: usize = 6;
const TCP_CHECKSUM: usize = 16;
const ICMP_CHECKSUM: usize = 2;
const ICMP_IDENTIFIER: usize = 4;

#[derive(Debug, Clone, Copy)]
struct Head {
    source: IpAddr,
    destination: IpAddr,
    hops: u8,
    /// Of what follows the IP header, an IPv6 extension header included.
    protocol: IpNumber,
    transport: Transport,
    /// Where the IP payload begins.
    payload: usize,
    /// Of the whole packet by its IP header; what lies behind is no part of it.
    length: usize,
}

#[derive(Debug, Clone, Copy)]
enum Transport {
    Ports { protocol: Protocol, source: u16, destination: u16 },
    Echo { identifier: u16 },
    Other,
}

impl Head {
    fn parse(packet: &[u8]) -> Result<Self, PacketError> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => Self::parse_ipv4(packet),
            Some(6) => Self::parse_ipv6(packet),
            _ => Err(PacketError::NotIp),
        }
    }

    fn parse_ipv4(packet: &[u8]) -> Result<Self, PacketError> {
        let header = Ipv4HeaderSlice::from_slice(packet).map_err(|_| PacketError::Truncated)?;
        let (payload, length) = (header.slice().len(), usize::from(header.total_len()));
        let body = packet.get(payload..length).ok_or(PacketError::Truncated)?;
        if Sum16BitWords::new().add_slice(header.slice()).ones_complement() != 0 {
            return Err(PacketError::HeaderChecksum);
        }
        let protocol = header.protocol();
        let transport = match protocol {
            _ if header.is_fragmenting_payload() => Transport::Other,
            ip_number::ICMP => icmpv4(body)?,
            _ => ports(protocol, body)?,
        };
        let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
        Ok(Self { source, destination, hops: header.ttl(), protocol, transport, payload, length })
    }

    fn parse_ipv6(packet: &[u8]) -> Result<Self, PacketError> {
        let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| PacketError::Truncated)?;
        let length = IPV6_HEADER + usize::from(header.payload_length());
        let body = packet.get(IPV6_HEADER..length).ok_or(PacketError::Truncated)?;
        let protocol = header.next_header();
        let transport = match protocol {
            ip_number::IPV6_ICMP => icmpv6(body)?,
            _ => ports(protocol, body)?,
        };
        let (source, destination) = (header.source_addr().into(), header.destination_addr().into());
        Ok(Self {
            source,
            destination,
            hops: header.hop_limit(),
            protocol,
            transport,
            payload: IPV6_HEADER,
            length,
        })
    }
}

fn ports(protocol: IpNumber, body: &[u8]) -> Result<Transport, PacketError> {
    match protocol {
        ip_number::UDP => {
            let udp = UdpSlice::from_slice(body).map_err(|_| PacketError::Truncated)?;
            // Zero would mean a jumbogram (RFC 2675), which does not exist here.
            if udp.length() == 0 {
                return Err(PacketError::Truncated);
            }
            let (source, destination) = (udp.source_port(), udp.destination_port());
            Ok(Transport::Ports { protocol: Protocol::Udp, source, destination })
        }
        ip_number::TCP => {
            let tcp = TcpHeaderSlice::from_slice(body).map_err(|_| PacketError::Truncated)?;
            let (source, destination) = (tcp.source_port(), tcp.destination_port());
            Ok(Transport::Ports { protocol: Protocol::Tcp, source, destination })
        }
        _ => Ok(Transport::Other),
    }
}

fn icmpv4(body: &[u8]) -> Result<Transport, PacketError> {
    let icmp = Icmpv4Slice::from_slice(body).map_err(|_| PacketError::Truncated)?;
    Ok(match icmp.icmp_type() {
        Icmpv4Type::EchoRequest(echo) | Icmpv4Type::EchoReply(echo) => {
            Transport::Echo { identifier: echo.id }
        }
        _ => Transport::Other,
    })
}

fn icmpv6(body: &[u8]) -> Result<Transport, PacketError> {
    let icmp = Icmpv6Slice::from_slice(body).map_err(|_| PacketError::Truncated)?;
    Ok(match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(echo) | Icmpv6Type::EchoReply(echo) => {
            Transport::Echo { identifier: echo.id }
        }
        _ => Transport::Other,
    })
}
