//! From an IP packet to its transport: IPv4 with options and fragments, IPv6 with extension headers and fragments, TCP,
//! UDP and ICMP. Headers are etherparse's; a packet that was cut on capture is used as far as it goes.

mod fragments;

use etherparse::{IpFragOffset, IpNumber, Ipv4HeaderSlice, Ipv6HeaderSlice, TcpHeaderSlice, ip_number};
use fragments::{FragmentKey, Fragments};
use std::net::{IpAddr, SocketAddr};

/// TCP flags of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpFlags {
    /// SYN.
    pub syn: bool,
    /// ACK.
    pub ack: bool,
    /// FIN.
    pub fin: bool,
    /// RST.
    pub rst: bool,
}

/// Transport layer of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// A UDP datagram.
    Udp,
    /// A TCP segment.
    Tcp {
        /// Its flags.
        flags: TcpFlags,
        /// Sequence number.
        sequence: u32,
        /// Acknowledgement number.
        acknowledgment: u32,
    },
    /// ICMP or ICMPv6, with type and code. An error quotes a packet of another flow, which is no packet of that flow.
    Icmp(u8, u8),
    /// Another protocol, or a header that is incomplete.
    Other(u8),
}

/// One IP packet, whole: fragments were put together.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// Time of capture in nanoseconds since 1970.
    pub time_ns: i64,
    /// Length of the frame on the wire; of all its frames for a fragmented packet.
    pub frame_length: u32,
    /// Source address, port 0 unless UDP or TCP.
    pub source: SocketAddr,
    /// Destination address, port 0 unless UDP or TCP.
    pub destination: SocketAddr,
    /// Transport layer.
    pub transport: Transport,
    /// Length of the transport's payload on the wire.
    pub payload_length: u32,
    /// The transport's payload as far as it was captured.
    pub payload: &'a [u8],
}

/// Outcome of reading one IP packet.
#[derive(Debug)]
pub enum Outcome<'a> {
    /// A whole packet.
    Packet(Packet<'a>),
    /// A fragment, kept until the others are there.
    Fragment,
    /// Not an IP packet: its header is damaged or cut.
    Damaged,
}

/// Reads IP packets and puts fragments together.
#[derive(Debug, Default)]
pub struct IpReader {
    fragments: Fragments,
    assembled: Vec<u8>,
}

struct Header<'a> {
    source: IpAddr,
    destination: IpAddr,
    protocol: IpNumber,
    /// Length of `payload` on the wire.
    length: usize,
    payload: &'a [u8],
    fragment: Option<Fragment>,
}

struct Fragment {
    identification: u32,
    offset: IpFragOffset,
    more: bool,
}

impl IpReader {
    /// Reads one packet; `frame_length` is the length of its frame on the wire.
    pub fn read<'a>(&'a mut self, time_ns: i64, frame_length: u32, bytes: &'a [u8]) -> Outcome<'a> {
        let header = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => ipv4(bytes),
            Some(6) => ipv6(bytes),
            _ => None,
        };
        let Some(header) = header else { return Outcome::Damaged };
        let (length, payload, frame_length) = match &header.fragment {
            None => (header.length, header.payload, frame_length),
            Some(fragment) => {
                let key = FragmentKey {
                    source: header.source,
                    destination: header.destination,
                    protocol: header.protocol,
                    identification: fragment.identification,
                };
                let part =
                    fragments::Part { offset: fragment.offset, more: fragment.more, payload: header.payload };
                match self.fragments.add(time_ns, key, part, frame_length) {
                    Some((assembled, frame_length)) => {
                        self.assembled = assembled;
                        (self.assembled.len(), self.assembled.as_slice(), frame_length)
                    }
                    None => return Outcome::Fragment,
                }
            }
        };
        let (source, destination) = (header.source, header.destination);
        Outcome::Packet(transport(
            time_ns,
            frame_length,
            [source, destination],
            header.protocol,
            length,
            payload,
        ))
    }

    /// Incomplete packets that were discarded: too old, too many, or contradictory.
    pub fn fragments_discarded(&self) -> u64 {
        self.fragments.discarded()
    }
}

fn ipv4(bytes: &[u8]) -> Option<Header<'_>> {
    let header = Ipv4HeaderSlice::from_slice(bytes).ok()?;
    let rest = &bytes[header.slice().len()..];
    // Segmentation offload leaves the length 0 in packets captured before it.
    let length = match header.total_len() {
        0 => rest.len(),
        total => usize::from(total).checked_sub(header.slice().len())?,
    };
    let fragment = header.is_fragmenting_payload().then(|| Fragment {
        identification: u32::from(header.identification()),
        offset: header.fragments_offset(),
        more: header.more_fragments(),
    });
    Some(Header {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol: header.protocol(),
        length,
        payload: &rest[..length.min(rest.len())],
        fragment,
    })
}

fn ipv6(bytes: &[u8]) -> Option<Header<'_>> {
    let header = Ipv6HeaderSlice::from_slice(bytes).ok()?;
    let rest = &bytes[header.slice().len()..];
    let length = match header.payload_length() {
        0 => rest.len(),
        length => usize::from(length),
    };
    let rest = &rest[..length.min(rest.len())];
    let (protocol, payload, fragment) = ipv6_extensions(header.next_header(), rest);
    Some(Header {
        source: header.source_addr().into(),
        destination: header.destination_addr().into(),
        protocol,
        length: length.saturating_sub(rest.len() - payload.len()),
        payload,
        fragment,
    })
}

/// Walks extension headers (RFC 8200 section 4) as far as they are there: the protocol behind them, what follows, and the
/// fragment. Own code, because etherparse 0.21 reads beyond a header that was cut.
fn ipv6_extensions(mut protocol: IpNumber, mut rest: &[u8]) -> (IpNumber, &[u8], Option<Fragment>) {
    let mut fragment = None;
    loop {
        let [next, length, ..] = *rest else { return (protocol, rest, fragment) };
        let size = match protocol {
            ip_number::IPV6_HEADER_HOP_BY_HOP
            | ip_number::IPV6_ROUTE_HEADER
            | ip_number::IPV6_DESTINATION_OPTIONS => 8 * (usize::from(length) + 1),
            ip_number::AUTHENTICATION_HEADER => 4 * (usize::from(length) + 2),
            ip_number::IPV6_FRAGMENTATION_HEADER => 8,
            _ => return (protocol, rest, fragment),
        };
        let Some((header, after)) = rest.split_at_checked(size) else { return (protocol, rest, fragment) };
        let is_fragment = protocol == ip_number::IPV6_FRAGMENTATION_HEADER;
        (protocol, rest) = (IpNumber(next), after);
        if is_fragment && let [_, _, high, low, a, b, c, d] = *header {
            let word = u16::from_be_bytes([high, low]);
            let (offset, more) = (word >> 3, word & 1 != 0);
            if let (true, Ok(offset)) = (more || offset > 0, IpFragOffset::try_new(offset)) {
                fragment = Some(Fragment { identification: u32::from_be_bytes([a, b, c, d]), offset, more });
                // The rest of a fragment may be in the middle of anything.
                return (protocol, rest, fragment);
            }
        }
    }
}

fn transport<'a>(
    time_ns: i64,
    frame_length: u32,
    [source, destination]: [IpAddr; 2],
    protocol: IpNumber,
    length: usize,
    bytes: &'a [u8],
) -> Packet<'a> {
    let ports = |at: [u16; 2]| (SocketAddr::new(source, at[0]), SocketAddr::new(destination, at[1]));
    let (source, destination) = ports([0, 0]);
    let other = Packet {
        time_ns,
        frame_length,
        source,
        destination,
        transport: Transport::Other(protocol.0),
        payload_length: u32::try_from(length).unwrap_or(u32::MAX),
        payload: bytes,
    };
    let after = |header: usize| u32::try_from(length.saturating_sub(header)).unwrap_or(u32::MAX);
    match protocol {
        ip_number::UDP => {
            let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return other };
            let word = |at: usize| u16::from_be_bytes([head[at], head[at + 1]]);
            let (source, destination) = ports([word(0), word(2)]);
            // 0 stands for a jumbogram (RFC 2675 section 4) or for offload.
            let length = match word(4) {
                0..8 => after(8),
                length => u32::from(length) - 8,
            };
            let payload = &rest[..rest.len().min(length as usize)];
            let transport = Transport::Udp;
            Packet { source, destination, transport, payload_length: length, payload, ..other }
        }
        ip_number::TCP => {
            let Ok(header) = TcpHeaderSlice::from_slice(bytes) else { return other };
            let (source, destination) = ports([header.source_port(), header.destination_port()]);
            let flags =
                TcpFlags { syn: header.syn(), ack: header.ack(), fin: header.fin(), rst: header.rst() };
            let (sequence, acknowledgment) = (header.sequence_number(), header.acknowledgment_number());
            let transport = Transport::Tcp { flags, sequence, acknowledgment };
            let head = header.slice().len();
            Packet {
                source,
                destination,
                transport,
                payload_length: after(head),
                payload: &bytes[head..],
                ..other
            }
        }
        ip_number::ICMP | ip_number::IPV6_ICMP => match bytes {
            [kind, code, ..] => Packet { transport: Transport::Icmp(*kind, *code), ..other },
            _ => other,
        },
        _ => other,
    }
}
