//! What a NAT does, in the words of RFC 4787.

use std::time::Duration;

/// A NAT (RFC 4787). UDP, TCP (with the UDP timers) and ICMP echo are translated, and ICMP errors about them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatSpec {
    /// For whom an inside endpoint keeps its outside port (section 4.1).
    pub mapping: Dependence,
    /// Who may send to a mapping, of those to whom the inside endpoint has sent by it (section 5).
    pub filtering: Dependence,
    /// Which outside port a mapping gets (section 4.2).
    pub ports: PortAssignment,
    /// What becomes of packets from inside to the NAT's own outside (section 6).
    pub hairpinning: Hairpinning,
    /// What keeps a session alive (section 4.3).
    pub refresh: Refresh,
    /// How long a session lives while nothing has come back.
    pub timeout_initial: Duration,
    /// How long a session lives once something has come back; never less than [`NatSpec::timeout_initial`].
    pub timeout_established: Duration,
    /// Whose NAT it is.
    pub kind: NatKind,
}

impl NatSpec {
    /// What common routers do with sessions that were never answered.
    pub const TIMEOUT_INITIAL: Duration = Duration::from_secs(30);
    /// The least that RFC 4787 REQ-5 allows.
    pub const TIMEOUT_ESTABLISHED: Duration = Duration::from_secs(120);

    /// The usual NAT with the default timeouts: endpoint-independent mapping (REQ-1), address-and-port-dependent
    /// filtering (REQ-8), ports preserved, hairpinning with the external source (REQ-9), outbound refresh (REQ-6).
    pub fn new(kind: NatKind) -> Self {
        Self {
            mapping: Dependence::EndpointIndependent,
            filtering: Dependence::AddressAndPortDependent,
            ports: PortAssignment::Preserved,
            hairpinning: Hairpinning::ExternalSource,
            refresh: Refresh::Outbound,
            timeout_initial: Self::TIMEOUT_INITIAL,
            timeout_established: Self::TIMEOUT_ESTABLISHED,
            kind,
        }
    }
}

/// How far a mapping, or a permission to send to one, is tied to the remote endpoint (RFC 4787 sections 4.1 and 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dependence {
    /// Any remote endpoint.
    EndpointIndependent,
    /// All ports of one remote address.
    AddressDependent,
    /// One port of one remote address.
    AddressAndPortDependent,
}

impl Dependence {
    /// All three, from the most to the least permissive.
    pub const ALL: [Self; 3] =
        [Self::EndpointIndependent, Self::AddressDependent, Self::AddressAndPortDependent];
}

/// Which outside port a mapping gets. Two mappings never share one (RFC 4787 REQ-3: no port overloading).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAssignment {
    /// The inside port where it is free, otherwise the next free one of its range; well-known ports are for those who
    /// have one inside (REQ-3).
    Preserved,
    /// The next free one after the one that was given last; the first is drawn from the seed.
    Sequential,
    /// Drawn from the seed.
    Random,
}

/// What becomes of packets from inside to the NAT's own outside (RFC 4787 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hairpinning {
    /// They come back in, from the sender's outside endpoint (REQ-9: "external source IP address and port").
    ExternalSource,
    /// They are dropped.
    Off,
}

/// What keeps a session alive (RFC 4787 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// What goes out (REQ-6).
    Outbound,
    /// What goes out, and what comes in and is let through.
    Both,
}

/// Whose NAT it is. Decides the inside addresses and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// A home router: 192.168.0.0/16 inside (RFC 1918).
    Home,
    /// A carrier-grade NAT: 100.64.0.0/10 inside (RFC 6598).
    CarrierGrade,
}
