//! Configuration of the arm that uses webrtc-ice. It exists in every build, so that set-up and driver are the same
//! with and without the feature `webrtc-ice`.

use peer::{Fingerprint, RelayServer, Secret, Side};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Address in the ticket of a peer behind webrtc-ice, from a block for documentation (RFC 5737): no network has it.
pub(crate) const SERVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)), 7443);

/// Configuration of an [`Arm`](super::Arm).
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "webrtc-ice"), expect(dead_code, reason = "no arm reads it in this build"))]
pub(crate) struct Config {
    pub(crate) side: Side,
    /// Secret of the ticket.
    pub(crate) secret: Secret,
    /// Fingerprint of the server's certificate; only the server has it.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) meeting: Meeting,
    /// STUN servers besides the rendezvous servers.
    pub(crate) stun: Vec<SocketAddr>,
    /// TURN servers. webrtc-ice uses them over IPv4 and UDP.
    pub(crate) relays: Vec<RelayServer>,
}

/// Place where the two ends exchange candidates and credentials.
#[derive(Debug, Clone)]
#[cfg_attr(not(feature = "webrtc-ice"), expect(dead_code, reason = "no arm reads it in this build"))]
pub(crate) enum Meeting {
    /// One of these rendezvous servers.
    At(Vec<SocketAddr>),
    /// A rendezvous server in this process, on this port.
    Here(u16),
}
