//! What a dissection found, as `--json` holds it. Flows are not part of it: they go to the caller one by one as they end.

use crate::{
    calls::{Call, CaptureMetrics},
    distribution::{DistributionStep, Quantiles},
    flow::FlagCounts,
    quic_connections::QuicConnection,
    read::Damage,
    stun::StunReport,
    text::Text,
};
use record::Millis;
use serde::Serialize;
use std::{collections::BTreeMap, net::IpAddr};

/// Version of the document.
pub const SCHEMA: u32 = 1;

/// Everything but the flows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// The captures, in the order given.
    pub files: Vec<FileReport>,
    /// Names and classes of servers.
    pub names: NameReport,
    /// STUN and TURN.
    pub stun: StunReport,
    /// Calls, in order of their first packets within a file.
    pub calls: Vec<Call>,
    /// Calls that were left out because there were too many.
    pub calls_left_out: u64,
    /// QUIC connections whose handshake is in the capture, in order of their first packets within a file.
    pub quic: Vec<QuicConnection>,
    /// QUIC connections that were left out because there were too many.
    pub quic_left_out: u64,
    /// Metrics of the longest call.
    pub metrics: Option<CaptureMetrics>,
    /// All flows together.
    pub flow_summary: FlowSummary,
    /// Parts of files that could not be read.
    pub damage: Vec<Damage>,
}

/// One capture file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FileReport {
    /// Its path.
    pub file: String,
    /// Format and compression.
    pub format: String,
    /// Frames.
    pub packets: u64,
    /// Time of the first frame in nanoseconds since 1970, the zero of all other times of this file.
    pub start_ns: Option<i64>,
    /// First frame to last frame, in the order of the file.
    pub duration_ms: Millis,
    /// Frames that were cut when they were captured.
    pub cut: u64,
    /// Frames without an IP packet, or of a link type that is not read.
    pub not_ip: u64,
    /// IP packets whose headers are damaged or cut.
    pub damaged_packets: u64,
    /// Fragments that arrived before their packet was whole.
    pub fragments: u64,
    /// Fragmented packets that never became whole.
    pub fragments_discarded: u64,
    /// Comments in the file.
    pub comments: u64,
    /// Lines of TLS secrets in the file.
    pub secrets: u64,
    /// Damaged parts beyond those listed in `damage`.
    pub more_damage: u64,
}

/// Names.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct NameReport {
    /// Unicast DNS over UDP, by the name asked for.
    pub dns: BTreeMap<Text, DnsName>,
    /// Names in multicast DNS messages, questions and records, with their number.
    pub mdns: BTreeMap<Text, u64>,
    /// Server names of ClientHellos, TLS and QUIC; a ClientHello without one counts for the empty name.
    pub client_hellos: BTreeMap<Text, ClientHelloCount>,
    /// Classes of the flows' servers.
    pub classes: BTreeMap<Text, ClassReport>,
    /// Names that were left out because there were too many.
    pub left_out: u64,
}

/// A name in DNS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DnsName {
    /// Queries.
    pub queries: u64,
    /// Responses.
    pub responses: u64,
    /// Different lists of addresses in responses, the first 16.
    pub answers: Vec<DnsAnswer>,
}

/// Addresses in one response.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DnsAnswer {
    /// Of the answers.
    pub addresses: Vec<IpAddr>,
    /// Of authorities and additional records.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<IpAddr>,
}

/// ClientHellos with one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct ClientHelloCount {
    /// Over TCP.
    pub tls: u64,
    /// In QUIC Initial packets.
    pub quic: u64,
    /// Those of them with an encrypted ClientHello: the name is that of a front.
    pub ech: u64,
}

/// Flows to servers of one class.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClassReport {
    /// Flows.
    pub flows: u64,
    /// Bytes of frames from clients.
    pub up_bytes: u64,
    /// Bytes of frames to clients.
    pub down_bytes: u64,
    /// Different server addresses.
    pub servers: u64,
    /// Different server addresses with a flow that began in the hour, by hours after the first frame of the file.
    pub servers_per_hour: BTreeMap<i64, u64>,
    /// Smallest TCP handshake round-trip time.
    pub min_rtt_ms: Option<Millis>,
    /// Bytes of a flow.
    pub flow_bytes: Option<Quantiles>,
    /// Duration of a flow.
    pub flow_ms: Option<Quantiles>,
    /// Durations that many flows share: idle timeouts.
    pub flow_ms_steps: Vec<DistributionStep>,
}

/// All flows.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct FlowSummary {
    /// Flows by protocol.
    pub flows: BTreeMap<String, u64>,
    /// Clients; one that was silent for 60 min counts again.
    pub users: u64,
    /// Most flows that were live at once.
    pub peak_live: u64,
    /// Bytes of a TCP flow.
    pub tcp_bytes: Option<Quantiles>,
    /// Duration of a TCP flow.
    pub tcp_ms: Option<Quantiles>,
    /// Durations that many TCP flows share.
    pub tcp_ms_steps: Vec<DistributionStep>,
    /// Bit rates of the larger direction of flows with at least 1 MB in it.
    pub large_flow_bit_s: Option<Quantiles>,
    /// TCP segments that begin with the binary header of WeChat's clients.
    pub wechat_segments: u64,
    /// TCP flags and flows by minute after the first frame of the file.
    pub tcp_per_minute: BTreeMap<i64, TcpMinute>,
    /// Minutes with at least five times the median number of SYN and RST, and at least 20: the signature of an outage.
    pub syn_rst_bursts: Vec<i64>,
}

/// TCP in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TcpMinute {
    /// Flows that began.
    pub flows: u64,
    /// Segments with flags.
    #[serde(flatten)]
    pub flags: FlagCounts,
}
