//! What a scenario names: networks, hosts, servers and how they behave. Plain values; [`crate::Plan::new`] checks them
//! together and gives everything its address.
//!
//! Left out: loss, reordering, traces, radio states, MTUs, stacked NATs, other mappings and filterings than the one of
//! [`NatSpec`].

use std::{num::NonZeroU64, time::Duration};

/// Everything that exists in a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Topology {
    /// Networks, in the order that numbers them.
    pub networks: Vec<NetworkSpec>,
    /// Hosts, in the order that numbers them within their networks.
    pub hosts: Vec<HostSpec>,
    /// Servers, attached to the internet directly.
    pub servers: Vec<ServerSpec>,
}

/// A home, a carrier: one subnet, its links and its border to the internet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Name in the scenario.
    pub name: String,
    /// The link from each interface towards the network; every interface has its own.
    pub up: LinkSpec,
    /// The link from the network towards each interface; every interface has its own.
    pub down: LinkSpec,
    /// The NAT at the border; without one, hosts have public IPv4 addresses and no firewall.
    pub nat: Option<NatSpec>,
    /// Whether and how IPv6 works.
    pub ipv6: Ipv6Access,
    /// What the network refuses to carry to or from the internet. Traffic inside the network, and what its NAT
    /// hairpins, does not pass here.
    pub blocks: Vec<Block>,
}

impl NetworkSpec {
    /// A network with the same link in both directions, public IPv4 addresses, no IPv6 and no blocks.
    pub fn new(name: impl Into<String>, link: LinkSpec) -> Self {
        Self {
            name: name.into(),
            up: link.clone(),
            down: link,
            nat: None,
            ipv6: Ipv6Access::None,
            blocks: Vec::new(),
        }
    }
}

/// One direction of a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Propagation delay, one way.
    pub delay: Duration,
    /// Each packet is delayed by a further time drawn uniformly from zero to this; the order is kept, so a packet
    /// may wait for the one before it.
    pub jitter: Duration,
    /// Serialisation rate of whole IP packets; without one a link has no queue and loses nothing.
    pub rate: Option<BitRate>,
    /// How much may wait for the rate, the packet being sent included; what finds no room is dropped (drop-tail).
    pub queue: ByteSize,
}

impl LinkSpec {
    /// The queue of a link whose scenario does not name one.
    pub const DEFAULT_QUEUE: ByteSize = ByteSize(256 * 1024);

    /// A link that only delays.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

impl Default for LinkSpec {
    /// A link that does nothing.
    fn default() -> Self {
        Self { delay: Duration::ZERO, jitter: Duration::ZERO, rate: None, queue: Self::DEFAULT_QUEUE }
    }
}

/// A NAT with endpoint-independent mapping, address-and-port-dependent filtering, port preservation where the port is
/// free and the next free one otherwise, and hairpinning (RFC 4787 sections 4 to 6; REQ-1, REQ-8, REQ-9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NatSpec {
    /// How long a session lives after its last outbound packet while nothing has come back.
    pub timeout_initial: Duration,
    /// How long a session lives after its last outbound packet once something has come back; never less than
    /// [`NatSpec::timeout_initial`].
    pub timeout_established: Duration,
    /// Whose NAT it is.
    pub kind: NatKind,
}

impl NatSpec {
    /// What common routers do with sessions that were never answered.
    pub const TIMEOUT_INITIAL: Duration = Duration::from_secs(30);
    /// The least that RFC 4787 REQ-5 allows.
    pub const TIMEOUT_ESTABLISHED: Duration = Duration::from_secs(120);

    /// A NAT with the default timeouts.
    pub fn new(kind: NatKind) -> Self {
        Self { timeout_initial: Self::TIMEOUT_INITIAL, timeout_established: Self::TIMEOUT_ESTABLISHED, kind }
    }
}

/// Whose NAT it is. Decides the inside addresses and nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NatKind {
    /// A home router: 192.168.0.0/16 inside (RFC 1918).
    Home,
    /// A carrier-grade NAT: 100.64.0.0/10 inside (RFC 6598).
    CarrierGrade,
}

/// Whether and how a network has IPv6. Addresses are global in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ipv6Access {
    /// No IPv6.
    None,
    /// A stateful firewall that opens from inside (RFC 6092, with address-and-port-dependent filtering).
    Firewalled,
    /// No firewall.
    Open,
}

/// What a network refuses to carry. The sender hears nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// UDP whose far end is not a server that the carriers know ([`ServerSpec::known_to_carriers`]).
    UdpPeerToPeer {
        /// Blocks IPv4.
        ipv4: bool,
        /// Blocks IPv6.
        ipv6: bool,
        /// Which way.
        direction: BlockDirection,
    },
}

/// Which way a [`Block`] works, seen from the network's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockDirection {
    /// From the internet.
    In,
    /// Towards the internet.
    Out,
    /// Both ways.
    Both,
}

/// A host and its interfaces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostSpec {
    /// Name in the scenario.
    pub name: String,
    /// Its interfaces, at least one.
    pub interfaces: Vec<InterfaceSpec>,
}

/// An interface of a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterfaceSpec {
    /// Kernel name, such as `wlan0`.
    pub name: String,
    /// Name of the network that it is attached to.
    pub network: String,
}

/// A server on the internet, with one public address of each family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Name in the scenario.
    pub name: String,
    /// Delay between the server and the internet, one way, in each direction.
    pub delay: Duration,
    /// Whether carriers take it for a server, so that [`Block::UdpPeerToPeer`] lets it pass.
    pub known_to_carriers: bool,
}

/// Bits per second; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(NonZeroU64);

impl BitRate {
    /// So many bits per second; none for zero.
    pub const fn per_second(bits: u64) -> Option<Self> {
        match NonZeroU64::new(bits) {
            Some(bits) => Some(Self(bits)),
            None => None,
        }
    }

    /// Bits per second.
    pub const fn bits_per_second(self) -> u64 {
        self.0.get()
    }

    /// How long so many bytes take, rounded up to a nanosecond so that the rate is never exceeded.
    pub fn time_for(self, bytes: usize) -> Duration {
        let bit_nanoseconds = bytes as u128 * 8 * 1_000_000_000;
        let nanoseconds = bit_nanoseconds.div_ceil(u128::from(self.bits_per_second()));
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// Bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);
