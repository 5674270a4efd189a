//! A finished flow, as `--json` and the CSV file hold it.

use super::{Counts, Flow};
use crate::text::Text;
use record::Millis;
use serde::Serialize;
use std::net::SocketAddr;

/// One flow. Times are relative to the first frame of its file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FlowRecord {
    /// Index of the capture in `files`.
    pub file: usize,
    /// Number of the frame with its first packet, from 1.
    pub first_frame: u64,
    /// `tcp`, `udp`, `icmp`, `icmpv6`, or the number of the IP protocol.
    pub protocol: String,
    /// The end that opened the flow or sent the first packet seen.
    pub client: SocketAddr,
    /// The other end.
    pub server: SocketAddr,
    /// First packet.
    pub start_ms: Millis,
    /// First packet to last.
    pub duration_ms: Millis,
    /// Client to server.
    pub up: DirectionRecord,
    /// Server to client.
    pub down: DirectionRecord,
    /// TCP flags of both directions.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flags: Option<FlagCounts>,
    /// SYN to SYN with ACK, at the place of the capture; `null` if either was missing or repeated.
    pub rtt_ms: Option<Millis>,
    /// What ended the flow.
    pub ended: EndedBy,
    /// What the flow carries, as far as its packets show.
    pub application: Option<Application>,
    /// Name by which the client had looked up the server's address.
    pub dns: Option<Text>,
    /// Server name in the TLS or QUIC ClientHello.
    pub sni: Option<Text>,
    /// The ClientHello is encrypted (ECH): `sni` is the public name of the front, not the server's.
    pub ech: bool,
    /// Application protocols that the ClientHello offers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<Text>,
    /// Names in the server's certificate (TLS 1.2 and older show it).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub certificate: Vec<Text>,
    /// Class of the service, such as `whatsapp/chat`.
    pub class: Option<Text>,
}

/// One direction of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DirectionRecord {
    /// Start of the flow to the first packet of this direction.
    pub first_ms: Millis,
    /// Start of the flow to the last packet of this direction.
    pub last_ms: Millis,
    /// Packets; fragments of one count as one.
    pub packets: u64,
    /// Bytes of the frames on the wire.
    pub bytes: u64,
    /// Bytes above TCP, UDP or IP.
    pub payload_bytes: u64,
    /// TCP segments whose payload had been seen before.
    pub retransmitted: u32,
}

/// TCP segments with a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct FlagCounts {
    /// SYN without ACK.
    pub syn: u32,
    /// SYN with ACK.
    pub syn_ack: u32,
    /// FIN.
    pub fin: u32,
    /// RST.
    pub rst: u32,
}

/// End of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// FIN of both ends.
    Fin,
    /// RST.
    Rst,
    /// Another connection with the same 5-tuple.
    Syn,
    /// The timeout of its protocol.
    Silence,
    /// The capture ended first.
    CaptureEnd,
}

/// Protocol above the transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Application {
    /// DNS.
    Dns,
    /// Multicast DNS.
    Mdns,
    /// TLS over TCP.
    Tls,
    /// QUIC.
    Quic,
    /// STUN or TURN, or media beside them on the same ports.
    Stun,
    /// RTP or RTCP, without STUN.
    Rtp,
    /// DTLS, without STUN.
    Dtls,
}

impl Application {
    /// Word for files and people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Dns => "dns",
            Self::Mdns => "mdns",
            Self::Tls => "tls",
            Self::Quic => "quic",
            Self::Stun => "stun",
            Self::Rtp => "rtp",
            Self::Dtls => "dtls",
        }
    }
}

impl EndedBy {
    /// Word for files and people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Rst => "rst",
            Self::Syn => "syn",
            Self::Silence => "silence",
            Self::CaptureEnd => "capture-end",
        }
    }
}

impl FlowRecord {
    /// Bytes of both directions.
    pub fn bytes(&self) -> u64 {
        self.up.bytes.saturating_add(self.down.bytes)
    }

    /// Packets of both directions.
    pub fn packets(&self) -> u64 {
        self.up.packets.saturating_add(self.down.packets)
    }

    /// The most telling name: of the certificate's owner no more is known than that it serves all these names.
    pub fn name(&self) -> Option<&Text> {
        self.sni.as_ref().or(self.dns.as_ref()).or(self.certificate.first())
    }

    pub(crate) fn new(flow: Flow, ended: EndedBy, file: usize, zero_ns: i64, class: Option<Text>) -> Self {
        let after_start = |ns: i64| Millis::from_ns(ns.saturating_sub(flow.first_ns).max(0));
        let direction = |counts: Counts| DirectionRecord {
            first_ms: after_start(counts.first_ns),
            last_ms: after_start(counts.last_ns),
            packets: counts.packets,
            bytes: counts.bytes,
            payload_bytes: counts.payload_bytes,
            retransmitted: counts.retransmitted,
        };
        let name = flow.name.map(|name| *name).unwrap_or_default();
        let ended = match &flow.tcp {
            Some(tcp) if tcp.is_reset() => EndedBy::Rst,
            Some(tcp) if tcp.is_closed() => EndedBy::Fin,
            _ => ended,
        };
        Self {
            file,
            first_frame: flow.first_frame,
            protocol: protocol_word(flow.protocol),
            client: flow.client,
            server: flow.server,
            start_ms: Millis::from_ns(flow.first_ns.saturating_sub(zero_ns)),
            duration_ms: Millis::from_ns(flow.last_ns.saturating_sub(flow.first_ns)),
            up: direction(flow.up),
            down: direction(flow.down),
            flags: flow.tcp.as_ref().map(|tcp| tcp.flags),
            rtt_ms: flow.tcp.as_ref().and_then(|tcp| tcp.rtt_ns).map(Millis::from_ns),
            ended,
            application: flow.application,
            dns: flow.dns,
            sni: name.sni,
            ech: name.ech,
            alpn: name.alpn,
            certificate: name.certificate,
            class,
        }
    }
}

fn protocol_word(protocol: u8) -> String {
    match protocol {
        super::TCP => "tcp".into(),
        super::UDP => "udp".into(),
        super::ICMP => "icmp".into(),
        super::ICMPV6 => "icmpv6".into(),
        other => other.to_string(),
    }
}
