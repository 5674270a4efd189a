//! What a scenario names: networks, hosts, servers and how they behave. Plain values; [`crate::Plan::new`] checks them
//! together and gives everything its address.

mod block;
mod link;
mod nat;
mod radio;

pub use block::{Block, BlockAnswer, BlockDirection, StunMatch};
pub use link::{
    CoDelSpec, GilbertElliott, JitterDistribution, LinkSpec, Loss, LossPattern, Mtu, Order, QueueDiscipline,
    Reorder,
};
pub use nat::{Dependence, Hairpinning, NatKind, NatSpec, PortAssignment, Refresh};
pub use radio::{DrxSpec, RadioSpec};

use std::{collections::BTreeMap, num::NonZeroU8, time::Duration};

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

/// A home, a carrier: one subnet, its links and its border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Name in the scenario.
    pub name: String,
    /// The network that this one's border is attached to, like an interface and with a link like one; none for the
    /// internet. So a home is behind a carrier-grade NAT, and a hotspot behind a phone.
    pub behind: Option<String>,
    /// The link from each interface towards the network; every interface has its own.
    pub up: LinkSpec,
    /// The link from the network towards each interface; every interface has its own.
    pub down: LinkSpec,
    /// The radio of each interface, if its links are by radio.
    pub radio: Option<RadioSpec>,
    /// Whether UDP multicast and broadcast of an interface reach all others of the network.
    pub multicast: bool,
    /// The NAT at the border; without one, hosts have public IPv4 addresses and no firewall.
    pub nat: Option<NatSpec>,
    /// Whether and how IPv6 works.
    pub ipv6: Ipv6Access,
    /// What the network refuses to carry to or from the outside. Traffic inside the network, and what its NAT
    /// hairpins, does not pass here.
    pub blocks: Vec<Block>,
    /// Further delays on the internet, one way and both ways alike: between this network and the network or server of
    /// that name. Of two networks it is enough that one names the other.
    pub distances: BTreeMap<String, Duration>,
}

impl NetworkSpec {
    /// A network on the internet with the same link in both directions, public IPv4 addresses, no IPv6 and no blocks,
    /// whose hosts hear each other's multicast.
    pub fn new(name: impl Into<String>, link: LinkSpec) -> Self {
        Self {
            name: name.into(),
            behind: None,
            up: link.clone(),
            down: link,
            radio: None,
            multicast: true,
            nat: None,
            ipv6: Ipv6Access::None,
            blocks: Vec::new(),
            distances: BTreeMap::new(),
        }
    }
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

/// A server on the internet, with public addresses of both families.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerSpec {
    /// Name in the scenario.
    pub name: String,
    /// Delay between the server and the internet, one way, in each direction.
    pub delay: Duration,
    /// Whether carriers take it for a server, so that [`Block::UdpPeerToPeer`] lets it pass.
    pub known_to_carriers: bool,
    /// How many addresses it has of each family. What tells NATs apart needs two (RFC 5780 section 3).
    pub addresses: NonZeroU8,
}

impl ServerSpec {
    /// A server that carriers know, with one address of each family.
    pub fn new(name: impl Into<String>, delay: Duration) -> Self {
        Self { name: name.into(), delay, known_to_carriers: true, addresses: NonZeroU8::MIN }
    }
}
