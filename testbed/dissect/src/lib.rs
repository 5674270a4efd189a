//! Packet captures in; flows, names, STUN, RTP and calls out.
//!
//! The testbed reads captures of anybody's traffic, and of its own runs, with this one dissector, so that their figures
//! and ours come out of the same instrument.
//!
//! ```text
//! read   files: pcap, pcapng, gzip, zstd           -> frames, TLS secrets, damage
//! link   Ethernet, cooked, raw, loopback           -> IP packets
//! ip     headers, extensions, fragments            -> packets with their transport
//! flow   5-tuples, timeouts, TCP state             -> flows
//! names  DNS, TLS, QUIC Initials, certificates     -> names and classes of servers
//! datagram   STUN, TURN data, DTLS, RTP, RTCP       -> what a UDP datagram holds
//! stun   STUN, TURN, WhatsApp's relays             -> messages by type, remote and cadence
//! calls  sockets, checks, media                   -> calls, and their metrics as results.json has them
//! quic_connections  ids                            -> connections and their moves
//! report what is written
//! ```
//!
//! Everything streams: memory is bounded by live flows, never by the length of a capture. Bytes of a capture never
//! panic anything. Left out: live capture, writing captures.

pub mod calls;
mod collect;
pub mod datagram;
mod dissector;
mod distribution;
pub mod flow;
pub mod ip;
pub mod link;
pub mod names;
pub mod quic_connections;
pub mod read;
pub mod report;
pub mod stun;
mod text;

pub use calls::GivenRun;
pub use dissector::Dissector;
pub use distribution::{DistributionStep, Quantiles};
pub use flow::FlowRecord;
pub use ip::{IpReader, Outcome, Packet, TcpFlags, Transport};
pub use link::{Network, network};
pub use names::class::Classes;
pub use read::{Capture, Damage, Frame, LinkType, OpenError, Passage, Record};
pub use report::Report;
pub use text::Text;
