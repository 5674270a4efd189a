//! Flows: the packets of one 5-tuple, both directions together.
//!
//! A TCP flow ends by a SYN with another sequence number, by FIN of both ends or RST, or after 30 min of silence; a UDP
//! flow, like any other, after 1 min of silence. After FIN or RST a flow stays for another 4 min (twice the maximum
//! segment lifetime, RFC 9293 section 3.4.2), so that what trails behind is not taken for a new flow.

mod csv;
mod record;
mod table;
mod tcp;

pub use csv::{CSV_HEADER, csv_line};
pub use record::{Application, DirectionRecord, EndedBy, FlagCounts, FlowRecord};
pub(crate) use table::FlowTable;

use crate::{
    ip::{Packet, Transport},
    names::{Handshake, Name},
    text::Text,
};
use std::net::SocketAddr;
use tcp::TcpState;

/// Silence that ends a UDP flow.
pub const UDP_TIMEOUT_NS: i64 = 60_000_000_000;
/// Silence that ends a TCP flow.
pub const TCP_TIMEOUT_NS: i64 = 30 * 60_000_000_000;
/// How long a closed TCP flow takes what trails behind.
const CLOSED_NS: i64 = 4 * 60_000_000_000;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMPV6: u8 = 58;

/// Protocol and the two ends in numerical order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FlowKey {
    protocol: u8,
    ends: [SocketAddr; 2],
}

impl FlowKey {
    fn of(packet: &Packet<'_>) -> Self {
        let protocol = match packet.transport {
            Transport::Tcp { .. } => TCP,
            Transport::Udp => UDP,
            Transport::Icmp(..) if packet.source.is_ipv4() => ICMP,
            Transport::Icmp(..) => ICMPV6,
            Transport::Other(protocol) => protocol,
        };
        let (a, b) = (packet.source, packet.destination);
        Self { protocol, ends: if a <= b { [a, b] } else { [b, a] } }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    first_ns: i64,
    last_ns: i64,
    packets: u64,
    bytes: u64,
    payload_bytes: u64,
    retransmitted: u32,
}

/// A live flow. Small: what only some flows need is behind a box.
#[derive(Debug)]
pub(crate) struct Flow {
    protocol: u8,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
    /// Number of the frame with its first packet.
    pub(crate) first_frame: u64,
    first_ns: i64,
    last_ns: i64,
    up: Counts,
    down: Counts,
    tcp: Option<Box<TcpState>>,
    pub(crate) application: Option<Application>,
    /// Name by which the client looked the server up.
    pub(crate) dns: Option<Text>,
    /// Names inside the flow, when it has any.
    pub(crate) name: Option<Box<Name>>,
    /// A TLS or QUIC handshake that is being read.
    pub(crate) handshake: Option<Box<Handshake>>,
    /// No handshake is looked for any more.
    pub(crate) handshake_done: bool,
}

impl Flow {
    fn new(packet: &Packet<'_>, protocol: u8) -> Self {
        // A SYN with ACK is an answer, so its receiver is the client.
        let answers = matches!(packet.transport, Transport::Tcp { flags, .. } if flags.syn && flags.ack);
        let (client, server) = match answers {
            true => (packet.destination, packet.source),
            false => (packet.source, packet.destination),
        };
        Self {
            protocol,
            client,
            server,
            first_frame: 0,
            first_ns: packet.time_ns,
            last_ns: packet.time_ns,
            up: Counts::default(),
            down: Counts::default(),
            tcp: (protocol == TCP).then(Box::default),
            application: None,
            dns: None,
            name: None,
            handshake: None,
            handshake_done: false,
        }
    }

    /// Whether the packet travels from the client to the server.
    pub(crate) fn is_up(&self, packet: &Packet<'_>) -> bool {
        packet.source == self.client
    }

    /// Offset of a TCP segment's payload in its direction's stream.
    pub(crate) fn stream_offset(&self, packet: &Packet<'_>) -> Option<u32> {
        let Transport::Tcp { sequence, .. } = packet.transport else { return None };
        self.tcp.as_ref()?.offset(self.is_up(packet), sequence)
    }

    /// Silence after which the flow is over.
    fn timeout_ns(&self) -> i64 {
        match &self.tcp {
            Some(tcp) if tcp.is_closed() => CLOSED_NS,
            Some(_) => TCP_TIMEOUT_NS,
            None => UDP_TIMEOUT_NS,
        }
    }

    fn is_over(&self, now_ns: i64) -> bool {
        now_ns.saturating_sub(self.last_ns) > self.timeout_ns()
    }

    fn add(&mut self, packet: &Packet<'_>) {
        let is_up = self.is_up(packet);
        let retransmitted = self.tcp.as_mut().is_some_and(|tcp| tcp.add(is_up, packet));
        let counts = if is_up { &mut self.up } else { &mut self.down };
        if counts.packets == 0 {
            counts.first_ns = packet.time_ns;
        }
        counts.last_ns = packet.time_ns;
        counts.packets += 1;
        counts.bytes += u64::from(packet.frame_length);
        counts.payload_bytes += u64::from(packet.payload_length);
        counts.retransmitted = counts.retransmitted.saturating_add(u32::from(retransmitted));
        self.last_ns = self.last_ns.max(packet.time_ns);
    }
}
