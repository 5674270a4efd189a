//! ICMP errors: the ones that the model makes, and what a border must know and change of those that pass it.

use super::{
    Flow, ICMP_CHECKSUM, IPV4_CHECKSUM, IPV4_DESTINATION, IPV4_SOURCE, IPV6_DESTINATION, IPV6_HEADER,
    IPV6_SOURCE, Packet, TCP_CHECKSUM, Transport, UDP_CHECKSUM, address, address_words, adjusted,
    near_address, read_word,
};
use crate::{Direction, Mtu, Protocol};
use etherparse::{IpNumber, PacketBuilder, ip_number};
use std::net::{IpAddr, SocketAddr};

/// What an ICMP error tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Report {
    /// Larger than the link behind carries (RFC 1191 section 4, RFC 4443 section 3.2).
    TooBig(Mtu),
    /// TTL or hop limit ended (RFC 792, RFC 4443 section 3.3).
    HopLimit,
    /// A filter forbids it (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
    Prohibited,
}

/// As Linux does.
const HOPS: u8 = 64;
/// RFC 1812 section 4.3.2.3: as much as fits into a datagram of 576 bytes.
const LONGEST_IPV4: usize = 576;
/// RFC 4443 section 2.4 (c): as much as fits into the least MTU.
const LONGEST_IPV6: usize = 1280;
const ICMP_HEADER: usize = 8;

impl Packet {
    /// The error that a router at `from` sends to the source; none where none may be sent: about another error, about
    /// what was not sent to or by one host alone, and about later fragments (RFC 1122 section 3.2.2, RFC 4443 section
    /// 2.4 (e)).
    pub(crate) fn report(&self, from: IpAddr, report: Report) -> Option<Self> {
        let is_single = |address: IpAddr| !address.is_multicast() && !address.is_unspecified();
        let forbidden = self.head.transport == Transport::Error || self.is_later_fragment();
        if forbidden || !is_single(self.source()) || !is_single(self.destination()) {
            return None;
        }
        let mut bytes = Vec::new();
        match (from, self.source()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => {
                let (kind, code, rest) = match report {
                    Report::TooBig(mtu) => (3, 4, u32::from(mtu.bytes())),
                    Report::HopLimit => (11, 0, 0),
                    Report::Prohibited => (3, 13, 0),
                };
                let about = self.beginning(LONGEST_IPV4 - 20 - ICMP_HEADER);
                PacketBuilder::ipv4(from.octets(), to.octets(), HOPS)
                    .icmpv4_raw(kind, code, rest.to_be_bytes())
                    .write(&mut bytes, about)
                    .ok()?;
            }
            (IpAddr::V6(from), IpAddr::V6(to)) => {
                let (kind, code, rest) = match report {
                    Report::TooBig(mtu) => (2, 0, u32::from(mtu.bytes())),
                    Report::HopLimit => (3, 0, 0),
                    Report::Prohibited => (1, 1, 0),
                };
                let about = self.beginning(LONGEST_IPV6 - IPV6_HEADER - ICMP_HEADER);
                PacketBuilder::ipv6(from.octets(), to.octets(), HOPS)
                    .icmpv6_raw(kind, code, rest.to_be_bytes())
                    .write(&mut bytes, about)
                    .ok()?;
            }
            _ => return None,
        }
        Self::parse(bytes).ok()
    }

    /// The flow that an ICMP error tells about, as seen by a border that the error passes in this direction.
    pub(crate) fn flow_of_error(&self, direction: Direction) -> Option<Flow> {
        let Embedded { protocol, source, destination, .. } = self.embedded()?;
        // What the error tells about went the other way.
        Some(match direction {
            Direction::Up => Flow { protocol, near: destination, far: source },
            Direction::Down => Flow { protocol, near: source, far: destination },
        })
    }

    /// Gives the near end another IPv4 address and port, in the error's own header and in what it tells about
    /// (RFC 5508 section 4).
    pub(crate) fn rewrite_error(&mut self, direction: Direction, to: SocketAddr) {
        let (IpAddr::V4(address), Some(embedded)) = (to.ip(), self.embedded()) else { return };
        for (offset, value) in address_words(near_address(direction), address) {
            self.write_word(offset, value, Some(IPV4_CHECKSUM));
        }
        let start = self.payload() + ICMP_HEADER;
        let (at, port) = match direction {
            Direction::Up => (IPV4_DESTINATION, embedded.destination_port),
            Direction::Down => (IPV4_SOURCE, embedded.source_port),
        };
        let checksums = embedded.checksum.filter(|at| self.read_word(*at) != 0);
        for (offset, value) in address_words(start + at, address) {
            let old = self.read_word(offset);
            self.write_embedded(start + IPV4_CHECKSUM, |sum| adjusted(sum, old, value));
            if let Some(checksum) = checksums.filter(|_| embedded.protocol != Protocol::Echo) {
                self.write_embedded(checksum, |sum| adjusted(sum, old, value));
            }
            self.write_embedded(offset, |_| value);
        }
        let old = self.read_word(port);
        if let Some(checksum) = checksums {
            self.write_embedded(checksum, |sum| adjusted(sum, old, to.port()));
        }
        self.write_embedded(port, |_| to.port());
    }

    /// Writes a word that the error's own checksum covers.
    fn write_embedded(&mut self, offset: usize, value: impl FnOnce(u16) -> u16) {
        let value = value(self.read_word(offset));
        self.write_word(offset, value, Some(self.payload() + ICMP_CHECKSUM));
    }

    /// The first bytes, at most so many.
    fn beginning(&self, most: usize) -> &[u8] {
        self.bytes.get(..most).unwrap_or(&self.bytes)
    }

    fn embedded(&self) -> Option<Embedded> {
        if self.head.transport != Transport::Error {
            return None;
        }
        Embedded::find(&self.bytes, self.payload() + ICMP_HEADER)
    }
}

/// The packet that an error tells about, of which no more than the first bytes are sure to be there.
#[derive(Debug, Clone, Copy)]
struct Embedded {
    protocol: Protocol,
    /// For ICMP echo, the side that asks has the identifier for its port.
    source: SocketAddr,
    destination: SocketAddr,
    /// Where in the error the port or identifier lies; one and the same for echo.
    source_port: usize,
    destination_port: usize,
    /// Where its transport's checksum lies, if that is there.
    checksum: Option<usize>,
}

impl Embedded {
    fn find(packet: &[u8], start: usize) -> Option<Self> {
        let inner = packet.get(start..)?;
        let (header, protocol) = match inner.first()? >> 4 {
            4 if read_word(inner, 6) & 0x1fff == 0 => {
                (usize::from(inner.first()? & 0x0f) * 4, *inner.get(9)?)
            }
            6 => (IPV6_HEADER, *inner.get(6)?),
            _ => return None,
        };
        // RFC 792: at least 64 bits of the payload are there.
        let transport = inner.get(header..header + 8).filter(|_| header >= 20)?;
        let at = start + header;
        let is_there = |offset: usize| (at + offset + 2 <= packet.len()).then_some(at + offset);
        let (source, destination) =
            (address(inner, IPV4_SOURCE, IPV6_SOURCE), address(inner, IPV4_DESTINATION, IPV6_DESTINATION));
        let ports = |protocol, checksum| Self {
            protocol,
            source: SocketAddr::new(source, read_word(transport, 0)),
            destination: SocketAddr::new(destination, read_word(transport, 2)),
            source_port: at,
            destination_port: at + 2,
            checksum: is_there(checksum),
        };
        let echo = |source_port, destination_port| Self {
            protocol: Protocol::Echo,
            source: SocketAddr::new(source, source_port),
            destination: SocketAddr::new(destination, destination_port),
            source_port: at + 4,
            destination_port: at + 4,
            checksum: is_there(ICMP_CHECKSUM),
        };
        let identifier = read_word(transport, 4);
        match (IpNumber(protocol), transport.first()?) {
            (ip_number::UDP, _) => Some(ports(Protocol::Udp, UDP_CHECKSUM)),
            (ip_number::TCP, _) => Some(ports(Protocol::Tcp, TCP_CHECKSUM)),
            // An error about a request goes to who asked; one about a reply to who answered.
            (ip_number::ICMP, 8) | (ip_number::IPV6_ICMP, 128) => Some(echo(identifier, 0)),
            (ip_number::ICMP, 0) | (ip_number::IPV6_ICMP, 129) => Some(echo(0, identifier)),
            _ => None,
        }
    }
}
