//! Candidates: types, priorities, foundations, and which addresses can talk to which.
//!
//! Left out: how candidates are signalled, and how relayed ones come about (see `relay`).

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// A socket, that is an interface and an address family, or, from 2^31 on, a relayed candidate of ours. Never
/// used twice: a new socket on the same address is a new base.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u32);

/// Most bytes of a name that the other agent gives.
const MOST_NAME: usize = 32;

impl SocketId {
    /// The least that is a relayed candidate.
    pub(crate) const FIRST_RELAYED: u32 = 1 << 31;

    /// Whether it is a relayed candidate, not a socket of the driver's.
    pub fn is_relayed(self) -> bool {
        self.0 >= SocketId::FIRST_RELAYED
    }
}

impl std::fmt::Display for SocketId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// What the driver says of a new socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketInfo {
    /// Name of the interface that the socket is bound to.
    pub interface: String,
    /// The address it is bound to: the base of all its candidates.
    pub local: SocketAddr,
    /// Local preference (RFC 8445 section 5.1.2.1): 65535 is best. Give every socket its own.
    pub preference: u16,
}

/// Candidate types (RFC 8445 section 5.1.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CandidateKind {
    /// On the interface itself.
    Host,
    /// Server reflexive: as a STUN server sees us.
    Srflx,
    /// Peer reflexive: as the other agent sees us.
    Prflx,
    /// Relayed.
    Relay,
}

/// A candidate of this agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalCandidate {
    /// Its type.
    pub kind: CandidateKind,
    /// Its transport address.
    pub address: SocketAddr,
    /// The socket that is its base.
    pub socket: SocketId,
    /// Address of the base.
    pub base: SocketAddr,
    /// RFC 8445 section 5.1.2.
    pub priority: u32,
    /// RFC 8445 section 5.1.1.3.
    pub foundation: String,
    /// Name of the interface.
    pub interface: String,
}

/// A candidate of the other agent, signalled or learnt from its checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteCandidate {
    /// Its type.
    pub kind: CandidateKind,
    /// Its transport address.
    pub address: SocketAddr,
    /// RFC 8445 section 5.1.2.
    pub priority: u32,
    /// RFC 8445 section 5.1.1.3. An agent keeps no more than 32 bytes, which is what RFC 8839 section 5.1 allows.
    pub foundation: String,
    /// The interface that the other agent names. An agent keeps no more than 32 bytes.
    pub interface: Option<String>,
}

impl RemoteCandidate {
    /// However long the other agent's names are, there is an end to what is kept of them.
    pub(crate) fn bounded(mut self) -> RemoteCandidate {
        for name in [Some(&mut self.foundation), self.interface.as_mut()].into_iter().flatten() {
            name.truncate(name.floor_char_boundary(MOST_NAME));
            name.shrink_to_fit();
        }
        self
    }
}

/// RFC 8445 section 5.1.2.1 for component 1, with the type preferences of section 5.1.2.2.
pub fn priority(kind: CandidateKind, local_preference: u16) -> u32 {
    const COMPONENT: u32 = 1;
    let type_preference: u32 = match kind {
        CandidateKind::Host => 126,
        CandidateKind::Prflx => 110,
        CandidateKind::Srflx => 100,
        CandidateKind::Relay => 0,
    };
    (type_preference << 24) | (u32::from(local_preference) << 8) | (256 - COMPONENT)
}

/// Local preference of one of several bases that have an equal claim to `best`, the highest of theirs: IPv6 and IPv4 in
/// turns, IPv6 first, so that a family that leads nowhere costs one check and not all of them (RFC 8421 section 4).
/// `turn` counts from 0, in each family by itself; with different turns all are different (RFC 8445 section 5.1.2.1) as
/// far as there are numbers below `best`.
///
/// Whoever keeps the turns of the bases that are there, and gives one that comes the first that is free, never has to
/// renumber.
pub fn local_preference(best: u16, turn: u16, ipv6: bool) -> u16 {
    best.saturating_sub(turn.saturating_mul(2)).saturating_sub(u16::from(!ipv6))
}

/// Equal for candidates of the same type, base address and server (RFC 8445 section 5.1.1.3), else
/// different but for one chance in four thousand million, which would only reorder checks.
pub(crate) fn foundation(kind: CandidateKind, base: IpAddr, server: Option<IpAddr>) -> String {
    let mut text = format!("{kind:?} {base}");
    if let Some(server) = server {
        text.push_str(&format!(" {server}"));
    }
    format!("{:08x}", fnv(&text))
}

/// FNV-1a: the standard library's hashers differ between releases, and records are compared.
pub(crate) fn fnv(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Whether a socket on `local` can reach `remote` at all: same family, same scope, and an address that one
/// can send to. Private addresses may reach global ones (NAT), and the other way round (same network).
pub(crate) fn can_talk(local: SocketAddr, remote: SocketAddr) -> bool {
    is_usable(remote)
        && local != remote
        && local.is_ipv4() == remote.is_ipv4()
        && Scope::of(local.ip()) == Scope::of(remote.ip())
}

/// Whether an address can be a candidate: a unicast address and a port.
pub(crate) fn is_usable(address: SocketAddr) -> bool {
    let unicast = match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        // RFC 8445 section 5.1.1.1 forbids IPv4-mapped and IPv4-compatible addresses (::1 looks like one), and site-local
        // ones (fec0::/10).
        IpAddr::V6(ip) => {
            !ip.is_unspecified()
                && !ip.is_multicast()
                && (ip.to_ipv4().is_none() || ip.is_loopback())
                && ip.segments()[0] & 0xffc0 != 0xfec0
        }
    };
    unicast && address.port() != 0
}

/// Drops what is only local to this machine from an address: the flow label and, of a link-local address,
/// the zone, which the socket implies.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip(), address.port())
}

/// Puts the socket's zone back on a link-local destination.
pub(crate) fn with_zone(local: SocketAddr, remote: SocketAddr) -> SocketAddr {
    match (local, remote) {
        (SocketAddr::V6(local), SocketAddr::V6(remote)) if is_link_local(*remote.ip()) => {
            SocketAddrV6::new(*remote.ip(), remote.port(), 0, local.scope_id()).into()
        }
        _ => remote,
    }
}

/// How far an address reaches.
#[derive(PartialEq, Eq)]
enum Scope {
    Machine,
    Link,
    Wide,
}

impl Scope {
    fn of(ip: IpAddr) -> Scope {
        let link = match ip {
            IpAddr::V4(ip) => ip.is_link_local(),
            IpAddr::V6(ip) => is_link_local(ip),
        };
        match (ip.is_loopback(), link) {
            (true, _) => Scope::Machine,
            (_, true) => Scope::Link,
            _ => Scope::Wide,
        }
    }
}

fn is_link_local(ip: Ipv6Addr) -> bool {
    ip.is_unicast_link_local()
}
