//! IP packets as bytes: UDP datagrams for users in virtual time, and the checked view that the model works on.
//!
//! Leaves out IPv6 extension headers (what follows them is carried, but no border can follow it) and reassembly.

mod fragment;
mod icmp;
mod udp;

pub(crate) use icmp::Report;
pub use udp::{Udp, build_udp, parse_udp};

use crate::{Direction, Protocol};
use etherparse::{
    Icmpv4Slice, Icmpv4Type, Icmpv6Slice, Icmpv6Type, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice,
    TcpHeaderSlice, UdpSlice, checksum::Sum16BitWords, ip_number,
};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use thiserror::Error;

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

/// A packet whose headers were found to be sound. Only what is costly to find again is kept beside the bytes: many
/// packets may wait for long.
#[derive(Debug, Clone)]
pub(crate) struct Packet {
    bytes: Vec<u8>,
    head: Head,
    /// Of the injected packet that it is or is part of; 0 for what the model's routers send, and for copies. So small
    /// that it takes no room of its own.
    number: u32,
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
        let (head, length) = Head::parse(&bytes)?;
        bytes.truncate(length);
        Ok(Self { bytes, head, number: 0 })
    }

    pub(crate) fn numbered(self, number: u32) -> Self {
        Self { number, ..self }
    }

    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn source(&self) -> IpAddr {
        self.head.source(&self.bytes)
    }

    pub(crate) fn destination(&self) -> IpAddr {
        self.head.destination(&self.bytes)
    }

    pub(crate) fn is_udp(&self) -> bool {
        self.head.protocol == ip_number::UDP
    }

    /// Ports and payload of a whole UDP datagram.
    pub(crate) fn udp(&self) -> Option<(u16, u16, &[u8])> {
        let Transport::Ports(Protocol::Udp) = self.head.transport else { return None };
        let start = self.payload();
        let payload = self.bytes.get(start + UDP_PAYLOAD..)?;
        Some((self.read_word(start), self.read_word(start + 2), payload))
    }

    /// Source and destination for a reader; the port is 0 where there is none.
    pub(crate) fn endpoints(&self) -> (SocketAddr, SocketAddr) {
        let (source, destination) = match self.head.transport {
            Transport::Ports(_) => (self.read_word(self.payload()), self.read_word(self.payload() + 2)),
            Transport::Echo | Transport::Error | Transport::Other => (0, 0),
        };
        (SocketAddr::new(self.source(), source), SocketAddr::new(self.destination(), destination))
    }

    /// The flow to which the packet belongs, as seen by a border that it passes in this direction; none for what a
    /// border cannot follow, and for ICMP errors, which belong to the flow of what they tell about
    /// ([`Packet::flow_of_error`]).
    pub(crate) fn flow(&self, direction: Direction) -> Option<Flow> {
        let start = self.payload();
        let (protocol, source, destination) = match (self.head.transport, direction) {
            (Transport::Ports(protocol), _) => (protocol, self.read_word(start), self.read_word(start + 2)),
            (Transport::Echo, Direction::Up) => (Protocol::Echo, self.read_word(start + ICMP_IDENTIFIER), 0),
            (Transport::Echo, Direction::Down) => {
                (Protocol::Echo, 0, self.read_word(start + ICMP_IDENTIFIER))
            }
            (Transport::Error | Transport::Other, _) => return None,
        };
        let source = SocketAddr::new(self.source(), source);
        let destination = SocketAddr::new(self.destination(), destination);
        Some(match direction {
            Direction::Up => Flow { protocol, near: source, far: destination },
            Direction::Down => Flow { protocol, near: destination, far: source },
        })
    }

    /// Takes one from the TTL or hop limit; false when the packet must end here (RFC 1812 section 5.3.1, RFC 8200
    /// section 3), unchanged.
    pub(crate) fn hop(&mut self) -> bool {
        let at = if self.source().is_ipv4() { IPV4_TTL } else { IPV6_HOP_LIMIT };
        let hops = self.bytes.get(at).copied().unwrap_or(0);
        let Some(left) = hops.checked_sub(1).filter(|left| *left > 0) else { return false };
        match self.source() {
            IpAddr::V4(_) => {
                let word = u16::from_be_bytes([left, self.head.protocol.0]);
                self.write_word(IPV4_TTL, word, Some(IPV4_CHECKSUM));
            }
            IpAddr::V6(_) => self.write_bytes(IPV6_HOP_LIMIT, &[left]),
        }
        true
    }

    /// Gives the near end of the packet's flow another IPv4 address and port (or echo identifier). Checksums are
    /// updated, not computed anew (RFC 1624), so that a packet that was damaged stays damaged.
    pub(crate) fn rewrite_near(&mut self, direction: Direction, to: SocketAddr) {
        let IpAddr::V4(address) = to.ip() else { return };
        let pseudo_header = self.pseudo_header_checksum();
        for (offset, value) in address_words(near_address(direction), address) {
            let old = self.read_word(offset);
            if let Some(checksum) = pseudo_header {
                self.adjust(checksum, old, value);
            }
            self.write_word(offset, value, Some(IPV4_CHECKSUM));
        }
        let start = self.payload();
        match (self.head.transport, direction) {
            (Transport::Ports(_), Direction::Up) => self.write_word(start, to.port(), pseudo_header),
            (Transport::Ports(_), Direction::Down) => self.write_word(start + 2, to.port(), pseudo_header),
            (Transport::Echo, _) => {
                self.write_word(start + ICMP_IDENTIFIER, to.port(), Some(start + ICMP_CHECKSUM));
            }
            (Transport::Error | Transport::Other, _) => {}
        }
    }

    fn payload(&self) -> usize {
        self.head.payload.into()
    }

    /// Where the checksum lies that covers addresses too; none if there is none to keep up.
    fn pseudo_header_checksum(&self) -> Option<usize> {
        let Transport::Ports(protocol) = self.head.transport else { return None };
        let offset = self.payload() + if protocol == Protocol::Tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
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

    fn adjust(&mut self, checksum: usize, old: u16, new: u16) {
        let updated = adjusted(self.read_word(checksum), old, new);
        let is_udp = self.is_udp() && checksum == self.payload() + UDP_CHECKSUM;
        // RFC 768: a computed zero is sent as all ones.
        let updated = if is_udp && updated == 0 { 0xffff } else { updated };
        self.write_bytes(checksum, &updated.to_be_bytes());
    }

    fn read_word(&self, offset: usize) -> u16 {
        read_word(&self.bytes, offset)
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
const IPV6_SOURCE: usize = 8;
const IPV6_DESTINATION: usize = 24;
const UDP_CHECKSUM: usize = 6;
const UDP_PAYLOAD: usize = 8;
const TCP_CHECKSUM: usize = 16;
const ICMP_CHECKSUM: usize = 2;
const ICMP_IDENTIFIER: usize = 4;

/// Where the address of the near end lies in an IPv4 header.
fn near_address(direction: Direction) -> usize {
    match direction {
        Direction::Up => IPV4_SOURCE,
        Direction::Down => IPV4_DESTINATION,
    }
}

/// The words of an address that begins there.
fn address_words(at: usize, address: Ipv4Addr) -> [(usize, u16); 2] {
    let [a, b, c, d] = address.octets();
    [(at, u16::from_be_bytes([a, b])), (at + 2, u16::from_be_bytes([c, d]))]
}

fn read_word(bytes: &[u8], offset: usize) -> u16 {
    match bytes.get(offset..offset + 2) {
        Some(&[high, low]) => u16::from_be_bytes([high, low]),
        _ => 0,
    }
}

/// RFC 1624 equation 3: HC' = ~(~HC + ~m + m').
fn adjusted(checksum: u16, old: u16, new: u16) -> u16 {
    let sum = u32::from(!checksum) + u32::from(!old) + u32::from(new);
    let folded = (sum & 0xffff) + (sum >> 16);
    let folded = (folded & 0xffff) + (folded >> 16);
    !(folded as u16)
}

#[derive(Debug, Clone, Copy)]
struct Head {
    /// Where the IP payload begins.
    payload: u8,
    /// Of what follows the IP header, an IPv6 extension header included.
    protocol: IpNumber,
    transport: Transport,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Transport {
    /// Source and destination port come first.
    Ports(Protocol),
    /// ICMP or ICMPv6 echo, which has an identifier.
    Echo,
    /// ICMP or ICMPv6 error, which carries the beginning of what it tells about.
    Error,
    Other,
}

impl Head {
    /// The head, and the length of the whole packet by it; what lies behind is no part of the packet.
    fn parse(packet: &[u8]) -> Result<(Self, usize), PacketError> {
        match packet.first().map(|first| first >> 4) {
            Some(4) => Self::parse_ipv4(packet),
            Some(6) => Self::parse_ipv6(packet),
            _ => Err(PacketError::NotIp),
        }
    }

    fn parse_ipv4(packet: &[u8]) -> Result<(Self, usize), PacketError> {
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
        // An IPv4 header is at most 60 bytes.
        Ok((Self { payload: payload as u8, protocol, transport }, length))
    }

    fn parse_ipv6(packet: &[u8]) -> Result<(Self, usize), PacketError> {
        let header = Ipv6HeaderSlice::from_slice(packet).map_err(|_| PacketError::Truncated)?;
        let length = IPV6_HEADER + usize::from(header.payload_length());
        let body = packet.get(IPV6_HEADER..length).ok_or(PacketError::Truncated)?;
        let protocol = header.next_header();
        let transport = match protocol {
            ip_number::IPV6_ICMP => icmpv6(body)?,
            _ => ports(protocol, body)?,
        };
        Ok((Self { payload: IPV6_HEADER as u8, protocol, transport }, length))
    }

    /// The source of the packet whose head this is.
    fn source(self, packet: &[u8]) -> IpAddr {
        address(packet, IPV4_SOURCE, IPV6_SOURCE)
    }

    /// Its destination.
    fn destination(self, packet: &[u8]) -> IpAddr {
        address(packet, IPV4_DESTINATION, IPV6_DESTINATION)
    }
}

/// The address at one of two offsets by the version. Both lie in headers whose presence was checked.
fn address(packet: &[u8], ipv4: usize, ipv6: usize) -> IpAddr {
    let is_ipv4 = packet.first().is_some_and(|first| first >> 4 == 4);
    let octets = if is_ipv4 { packet.get(ipv4..ipv4 + 4) } else { packet.get(ipv6..ipv6 + 16) };
    let octets = octets.unwrap_or_default();
    match (<[u8; 4]>::try_from(octets), <[u8; 16]>::try_from(octets)) {
        (Ok(octets), _) => octets.into(),
        (_, Ok(octets)) => octets.into(),
        _ if is_ipv4 => Ipv4Addr::UNSPECIFIED.into(),
        _ => Ipv6Addr::UNSPECIFIED.into(),
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
            Ok(Transport::Ports(Protocol::Udp))
        }
        ip_number::TCP => {
            TcpHeaderSlice::from_slice(body).map_err(|_| PacketError::Truncated)?;
            Ok(Transport::Ports(Protocol::Tcp))
        }
        _ => Ok(Transport::Other),
    }
}

fn icmpv4(body: &[u8]) -> Result<Transport, PacketError> {
    let icmp = Icmpv4Slice::from_slice(body).map_err(|_| PacketError::Truncated)?;
    Ok(match icmp.icmp_type() {
        Icmpv4Type::EchoRequest(_) | Icmpv4Type::EchoReply(_) => Transport::Echo,
        // RFC 1122 section 3.2.2: destination unreachable, redirect, source quench, time exceeded, parameter problem.
        _ if matches!(icmp.type_u8(), 3 | 4 | 5 | 11 | 12) => Transport::Error,
        _ => Transport::Other,
    })
}

fn icmpv6(body: &[u8]) -> Result<Transport, PacketError> {
    let icmp = Icmpv6Slice::from_slice(body).map_err(|_| PacketError::Truncated)?;
    Ok(match icmp.icmp_type() {
        Icmpv6Type::EchoRequest(_) | Icmpv6Type::EchoReply(_) => Transport::Echo,
        // RFC 4443 section 2.1: errors are those below 128.
        _ if icmp.type_u8() < 128 => Transport::Error,
        _ => Transport::Other,
    })
}
