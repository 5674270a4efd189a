//! Packet captures in; flows, names, STUN, RTP and calls out.
//!
//! The testbed reads captures of anybody's traffic, and of its own runs, with this one dissector, so that their figures
//! and ours come out of the same instrument.
//!
//! ```text
//! read   files: pcap, pcapng, gzip, zstd           -> frames, TLS secrets, damage
//! link   Ethernet, cooked, raw, loopback           -> IP packets
//! ip     headers, extensions, fragments            -> packets with their transport
//! ```
//!
//! Everything streams: memory is bounded by live flows, never by the length of a capture. Bytes of a capture never
//! panic anything. Left out: live capture, writing captures.

pub mod ip;
pub mod link;
pub mod read;

pub use ip::{IpReader, Outcome, Packet, TcpFlags, Transport};
pub use link::{Network, network};
pub use read::{Capture, Damage, Frame, LinkType, OpenError, Record};
