//! The words of the events: small enumerations, each with its form on disk.

use serde::{Deserialize, Serialize};
use std::{fmt, net::IpAddr};

/// Kind of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InterfaceKind {
    /// Wired.
    Lan,
    /// IEEE 802.11.
    Wifi,
    /// A modem (wwan).
    Cellular,
}

/// Candidate types of RFC 8445 section 5.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CandidateKind {
    /// On the interface itself.
    Host,
    /// Server reflexive.
    Srflx,
    /// Peer reflexive.
    Prflx,
    /// Relayed.
    Relay,
}

/// Why a STUN request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckPurpose {
    /// Gathering from a STUN server, or an allocation on a relay.
    Gather,
    /// An ordinary check, in its turn.
    Ordinary,
    /// A triggered check (RFC 8445 section 7.3.1.4).
    Triggered,
    /// Keeps a valid pair known to be alive.
    Liveness,
    /// Carries USE-CANDIDATE.
    Nomination,
    /// Keeps an allocation on a relay, or gives it back (RFC 8656 section 7).
    Refresh,
    /// Has a relay let peers in (RFC 8656 section 9).
    Permission,
    /// Binds a channel on a relay, or keeps it (RFC 8656 section 11).
    Channel,
    /// Keeps a relay of WhatsApp's kind.
    Probe,
}

/// State of a candidate pair: the four of RFC 8445 section 6.1.2.6, then what we know of valid ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PairState {
    /// Not yet to be checked.
    Frozen,
    /// Will be checked.
    Waiting,
    /// A check is under way.
    InProgress,
    /// No answer came.
    Failed,
    /// Checked and alive: it can carry data.
    Up,
    /// An answer is overdue.
    Suspect,
    /// Taken for dead; still checked now and then.
    Down,
    /// Its socket or candidate is gone.
    Removed,
}

/// State of a QUIC path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathState {
    /// Being validated (RFC 9000 section 8.2).
    Opening,
    /// Validated.
    Validated,
    /// Carries payload.
    Active,
    /// Validated and kept in reserve.
    Backup,
    /// Over.
    Closed,
}

/// What gave a loss away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DetectedBy {
    /// The kernel says that the interface is down or gone.
    InterfaceDown,
    /// The kernel says that the link is lost.
    NoCarrier,
    /// The kernel says that the address is gone.
    AddressGone,
    /// The kernel refused to send.
    SendError,
    /// Checks were not answered in time.
    CheckSilence,
    /// Nothing arrives any more, against the expectation of the receiver.
    ReceiveSilence,
    /// The other peer said so over a living path.
    Peer,
    /// The QUIC engine gave the path up.
    Engine,
    /// The relay that the path ran over does not serve this peer any more.
    Relay,
}

/// State of the check list (RFC 8445 section 6.1.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckListState {
    /// Not decided.
    Running,
    /// A valid pair is nominated.
    Completed,
    /// No pair is valid or untried, and patience is over (RFC 8863).
    Failed,
}

/// Why a pair is not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StopReason {
    /// Enough direct paths work.
    DirectPath,
    /// A pair is nominated.
    Nominated,
    /// All the probes that the policy allows were sent.
    Budget,
    /// The policy probes no such interface or candidate.
    Policy,
    /// It worked, and the policy keeps no such standby.
    Standby,
    /// The policy probes no such pair after a loss, or after an interface returned.
    AfterLoss,
}

/// What happened to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RelayNews {
    /// It relays for us.
    Allocated,
    /// It refused to, or to go on.
    Refused,
    /// It does not answer.
    Unanswered,
    /// It does not let the other peer through.
    PeerRefused,
    /// A channel to the other peer is bound (RFC 8656 section 12).
    Bound,
}

/// Role of an agent (RFC 8445 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum IceRole {
    /// It nominates.
    Controlling,
    /// The other one nominates.
    Controlled,
}

/// How paths on an interface may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PathStatus {
    /// As the policy says.
    Available,
    /// Only when there is no other.
    Backup,
    /// Not at all.
    Closed,
}

/// Which workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkloadKind {
    /// Small datagrams at a fixed rate, both ways.
    Call,
    /// One object as fast as it goes, one way.
    Bulk,
}

/// What a step of the timeline did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DisturbanceKind {
    /// Interface set administratively down.
    Down,
    /// Interface set administratively up, addresses and routes restored.
    Up,
    /// Link lost.
    CarrierOff,
    /// Link back.
    CarrierOn,
    /// Packets vanish, both ways, and nothing tells.
    Silence,
    /// Packets arrive again.
    Restore,
    /// The interface has new addresses, the old ones are gone.
    Address,
    /// The NAT of a network has forgotten every mapping, and gives others from then on.
    NatRebind,
    /// The NAT of a network has forgotten every mapping.
    NatFlush,
    /// The interface leaves its network and joins another one, where it gets other addresses.
    Roam,
    /// The routes of an interface have another metric.
    Metric,
    /// The links of a network behave differently.
    Link,
    /// A network refuses to carry something.
    Block,
    /// A network carries everything again.
    Unblock,
    /// A server is heard by nobody, and hears nobody.
    ServerDown,
    /// A server is heard again.
    ServerUp,
    /// An interface becomes the access point of a network, which its host shares its uplink with.
    Hotspot,
    /// A peer has another path policy, or other disguises.
    Policy,
    /// A peer has another priority for an interface.
    Priority,
    /// A peer may use the paths of an interface otherwise than before.
    Path,
}

/// Which way a packet went, seen from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// From the host.
    Up,
    /// To the host.
    Down,
}

/// Protocol of a NAT's mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MappedProtocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
    /// ICMP and ICMPv6 echo, by identifier.
    Echo,
}

/// Why the network model dropped a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DropCause {
    /// The queue of a link was full.
    QueueFull,
    /// CoDel kept a queue short.
    Codel,
    /// Random or planned loss of a link.
    Loss,
    /// The interface was down or had no carrier.
    InterfaceDown,
    /// The interface was silenced.
    Silenced,
    /// No NAT mapping for it.
    NatNoMapping,
    /// The NAT's filtering forbids it.
    NatFiltered,
    /// It was for the NAT's own outside, and the NAT does not hairpin.
    NatHairpin,
    /// The NAT has no free port.
    NatExhausted,
    /// The firewall has no state for it.
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
    /// No network holds the destination.
    NoRoute,
    /// The source address is not the interface's.
    SourceSpoofed,
    /// Not a packet that the model can carry.
    Malformed,
    /// A protocol that the NAT does not translate.
    UnsupportedProtocol,
    /// TTL or hop limit ended.
    HopLimit,
    /// Larger than the link's MTU.
    TooBig,
}

/// IP version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    Ipv6,
}

impl Family {
    /// The family of an address.
    pub fn of(address: IpAddr) -> Self {
        if address.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 }
    }
}

/// As people write it.
impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Family::Ipv4 => "IPv4",
            Family::Ipv6 => "IPv6",
        })
    }
}

/// The word on disk.
impl fmt::Display for CandidateKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CandidateKind::Host => "host",
            CandidateKind::Srflx => "srflx",
            CandidateKind::Prflx => "prflx",
            CandidateKind::Relay => "relay",
        })
    }
}

/// The word on disk.
impl fmt::Display for DetectedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DetectedBy::InterfaceDown => "interface-down",
            DetectedBy::NoCarrier => "no-carrier",
            DetectedBy::AddressGone => "address-gone",
            DetectedBy::SendError => "send-error",
            DetectedBy::CheckSilence => "check-silence",
            DetectedBy::ReceiveSilence => "receive-silence",
            DetectedBy::Peer => "peer",
            DetectedBy::Engine => "engine",
            DetectedBy::Relay => "relay",
        })
    }
}

/// In a few words.
impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StopReason::DirectPath => "enough direct paths",
            StopReason::Nominated => "a pair is nominated",
            StopReason::Budget => "budget of probes used",
            StopReason::Policy => "not probed by the policy",
            StopReason::Standby => "not kept as standby",
            StopReason::AfterLoss => "not probed after a loss",
        })
    }
}

/// The word on disk.
impl fmt::Display for PathStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            PathStatus::Available => "available",
            PathStatus::Backup => "backup",
            PathStatus::Closed => "closed",
        })
    }
}

impl DisturbanceKind {
    /// Every one.
    pub const ALL: [Self; 20] = [
        Self::Down,
        Self::Up,
        Self::CarrierOff,
        Self::CarrierOn,
        Self::Silence,
        Self::Restore,
        Self::Address,
        Self::NatRebind,
        Self::NatFlush,
        Self::Roam,
        Self::Metric,
        Self::Link,
        Self::Block,
        Self::Unblock,
        Self::ServerDown,
        Self::ServerUp,
        Self::Hotspot,
        Self::Policy,
        Self::Priority,
        Self::Path,
    ];

    /// The word on disk and in a scenario.
    pub fn word(self) -> &'static str {
        match self {
            DisturbanceKind::Down => "down",
            DisturbanceKind::Up => "up",
            DisturbanceKind::CarrierOff => "carrier_off",
            DisturbanceKind::CarrierOn => "carrier_on",
            DisturbanceKind::Silence => "silence",
            DisturbanceKind::Restore => "restore",
            DisturbanceKind::Address => "address",
            DisturbanceKind::NatRebind => "nat_rebind",
            DisturbanceKind::NatFlush => "nat_flush",
            DisturbanceKind::Roam => "roam",
            DisturbanceKind::Metric => "metric",
            DisturbanceKind::Link => "link",
            DisturbanceKind::Block => "block",
            DisturbanceKind::Unblock => "unblock",
            DisturbanceKind::ServerDown => "server_down",
            DisturbanceKind::ServerUp => "server_up",
            DisturbanceKind::Hotspot => "hotspot",
            DisturbanceKind::Policy => "policy",
            DisturbanceKind::Priority => "priority",
            DisturbanceKind::Path => "path",
        }
    }

    /// A preference changes, and nothing that the network carries.
    pub fn is_preference(self) -> bool {
        matches!(self, Self::Policy | Self::Metric | Self::Priority)
    }

    /// An interface loses what it carried packets by, or a relay is gone that may have carried them. A NAT that forgets its mappings takes nothing away: its network
    /// carries packets as before, though from another address. How well a network carries, and what it refuses, is no
    /// loss of an interface either.
    pub fn is_loss(self) -> bool {
        matches!(
            self,
            Self::Down
                | Self::CarrierOff
                | Self::Silence
                | Self::Address
                | Self::Roam
                | Self::ServerDown
                | Self::Hotspot
        )
    }
}

/// The word on disk.
impl fmt::Display for DisturbanceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}
