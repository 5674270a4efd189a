//! What the model tells besides packets: drops with their causes, mappings, and counts.

use crate::{Block, NetworkId, Owner, PortId};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

/// Something worth recording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkEvent {
    /// A packet was dropped. Every drop is told, except those of [`DropCause::Multicast`], which are only counted.
    Dropped {
        /// Whose traffic it was; none when a border cannot tell for whom a packet from the internet was meant.
        port: Option<PortId>,
        /// The network in which it was dropped, or [`crate::INTERNET`].
        network: String,
        /// Which way it went.
        direction: Direction,
        /// Why.
        cause: DropCause,
        /// Transport source as it was where the packet was dropped, translated or not; port 0 for what has no ports,
        /// none when nothing could be read.
        source: Option<SocketAddr>,
        /// Transport destination, likewise.
        destination: Option<SocketAddr>,
        /// Size of the IP packet.
        bytes: usize,
        /// The number that [`crate::Network::inject`] gave it, whatever addresses it has by now; none for what the model's
        /// routers sent, and for the second one of a packet that a link has doubled.
        number: Option<u32>,
    },
    /// A NAT mapping, or the firewall's state for an inside address, began or ended.
    Mapping {
        /// The network whose border it is.
        network: String,
        /// What is mapped.
        protocol: Protocol,
        /// Inside address; the port is the identifier for ICMP echo.
        inside: SocketAddr,
        /// Outside address; the same as inside for a firewall.
        outside: SocketAddr,
        /// Began, or ended.
        created: bool,
    },
}

/// Which way a packet went, seen from the host or server whose traffic it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Direction {
    /// From it.
    Up,
    /// To it.
    Down,
}

/// Protocols of which a border keeps state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6 echo, by identifier.
    Echo,
}

/// Why a packet was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DropCause {
    /// The queue of a link was full, or more packets were in flight on it than the model holds.
    QueueFull,
    /// CoDel took it from the head of a queue that was too long for too long.
    CoDel,
    /// A link lost it, by chance or by plan ([`crate::Loss`]).
    Lost,
    /// It was larger than the MTU of a link and must not be fragmented.
    TooBig,
    /// The interface was down or had no carrier, or became so while the packet was on its link.
    InterfaceDown,
    /// The interface was silent, or became so while the packet was on its link ([`crate::Change::Silence`]).
    Silenced,
    /// No NAT mapping for it.
    NatNoMapping,
    /// There is a mapping, but its inside host has not lately sent to where the packet comes from.
    NatFiltered,
    /// It was for the NAT's own outside, and the NAT does not hairpin.
    NatHairpin,
    /// The NAT has no free port or no room for another session.
    NatExhausted,
    /// The firewall has no state for it, or no room for another one.
    Firewall,
    /// The carrier blocks UDP between peers.
    CarrierUdpP2p,
    /// The carrier blocks all UDP.
    CarrierUdp,
    /// The carrier blocks STUN, by its ports.
    CarrierStunPort,
    /// The carrier blocks STUN, by its magic cookie.
    CarrierStunCookie,
    /// The carrier blocks STUN, by its form.
    CarrierStunSignature,
    /// Nothing holds the destination.
    NoRoute,
    /// The source address is not the interface's.
    SourceSpoofed,
    /// Not a packet that the model can read.
    Malformed,
    /// A protocol or a fragment that the border cannot follow.
    UnsupportedProtocol,
    /// TTL or hop limit ended at a border.
    HopLimit,
    /// Multicast or broadcast that nobody hears: other than UDP, not from the interface's own address, or with no other
    /// interface in the network. A kernel sends some on every new interface (MLD, IGMP, router solicitations), so these
    /// are counted and never told as events.
    Multicast,
}

/// State of one link in one direction ([`crate::Network::link_states`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkState {
    /// The interface.
    pub port: PortId,
    /// The network that it is part of now; none for a server.
    pub network: Option<NetworkId>,
    /// Up or down.
    pub direction: Direction,
    /// Bytes of IP packets that it has delivered in this network so far.
    pub bytes: u64,
    /// Bytes that wait for the link's pace or are being sent.
    pub queue_bytes: u64,
    /// Packets that were dropped in this network so far, at the network's border included.
    pub drops: u64,
}

/// What one link did in one direction so far, as part of one network, or, without a port, what a network's border dropped
/// without knowing whose it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkCounts {
    /// The network that it was part of meanwhile, or [`crate::INTERNET`] for a server. A port that has roamed has an entry
    /// for each of its networks.
    pub network: String,
    /// The interface.
    pub port: Option<PortId>,
    /// The interface by name.
    pub owner: Option<Owner>,
    /// In place of an interface: the network whose border is attached here.
    pub router: Option<String>,
    /// Up or down.
    pub direction: Direction,
    /// Packets that the link carried to its end; what the border behind it drops is among them.
    pub packets: u64,
    /// Bytes of those packets.
    pub bytes: u64,
    /// Packets that came to be twice on this link.
    pub duplicated: u64,
    /// Packets dropped on the link, at the border behind it (up) or before it (down), or at an interface that no longer
    /// has the address (down). Copies are among them, and fragments each by itself.
    pub dropped: BTreeMap<DropCause, u64>,
}

/// What one rule of a network has refused to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockCount {
    /// The rule.
    pub block: Block,
    /// Packets dropped by it. Of several rules that match, the first one counts.
    pub dropped: u64,
}

/// What a radio has cost so far ([`crate::RadioSpec`]).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RadioCounts {
    /// How long it was connected, from when it asked for the connection to the end of the inactivity timer.
    pub connected: Duration,
    /// How often it went from idle to connected.
    pub promotions: u64,
}
