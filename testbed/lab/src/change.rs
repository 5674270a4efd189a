//! What can be done to a lab while it runs.

use netmodel::{Block, LinkSpec};

/// Something that happens to an interface or a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabChange {
    /// Admin down: the kernel forgets the routes and the IPv6 addresses.
    Down {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// Admin up, with all addresses and routes.
    Up {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The link is lost: the interface stays up with addresses and routes, and the kernel tells NO-CARRIER.
    CarrierOff {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The link is back.
    CarrierOn {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The interface goes silent: packets vanish both ways, what is on its link included, and nobody is told.
    Silence {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The interface is heard again. Neither its admin state nor its carrier changes.
    Restore {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The interface of a host gets the next free addresses of its network in place of its own, IPv4 and IPv6. The new
    /// ones come first, then the old ones go, so that there is a default route all the time; an interface that is down
    /// has them when it comes up.
    Address {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
    },
    /// The NAT of a network forgets its mappings and gives other outside ports from then on
    /// ([`netmodel::Change::NatRebind`]). No kernel has a part in it.
    NatRebind {
        /// The network.
        network: String,
    },
    /// The NAT of a network forgets its mappings ([`netmodel::Change::NatFlush`]). No kernel has a part in it.
    NatFlush {
        /// The network.
        network: String,
    },
    /// The interface of a host leaves its network and joins another one ([`netmodel::Change::Roam`]), with the addresses
    /// as for [`LabChange::Address`]. Nothing tells but those: for a gap, take the carrier before and give it after.
    Roam {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
        /// Where to.
        network: String,
    },
    /// A host opens a hotspot ([`netmodel::Change::Hotspot`]): the interface joins the network as its access point and has
    /// no default route any more, and that of the host's other interfaces that can be reached and has the lowest metric
    /// is shared. It ends with a [`LabChange::Roam`] of the interface.
    Hotspot {
        /// The host.
        host: String,
        /// Its interface that becomes the access point.
        interface: String,
        /// The network.
        network: String,
    },
    /// The routes of an interface get another metric. The model has no part in it.
    Metric {
        /// Its host.
        host: String,
        /// Its name.
        interface: String,
        /// The metric; that of no other interface of the host.
        metric: u32,
    },
    /// All links of a network are like this from now on ([`netmodel::Change::Link`]).
    Link {
        /// The network.
        network: String,
        /// Towards the hosts.
        down: Box<LinkSpec>,
        /// From the hosts.
        up: Box<LinkSpec>,
    },
    /// A network refuses to carry this from now on, and nothing else ([`netmodel::Change::Blocks`]).
    Blocks {
        /// The network.
        network: String,
        /// Its rules; none to carry everything.
        blocks: Vec<Block>,
    },
}

/// What is changed, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Target<'a> {
    Interface { host: &'a str, name: &'a str, what: InterfaceChange<'a> },
    Network { name: &'a str, what: NetworkChange<'a> },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InterfaceChange<'a> {
    Down,
    Up,
    CarrierOff,
    CarrierOn,
    Silence,
    Restore,
    Address,
    /// Into this network.
    Roam(&'a str),
    /// Of this network.
    Hotspot(&'a str),
    Metric(u32),
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum NetworkChange<'a> {
    NatRebind,
    NatFlush,
    Link { down: &'a LinkSpec, up: &'a LinkSpec },
    Blocks(&'a [Block]),
}

impl LabChange {
    pub(crate) fn target(&self) -> Target<'_> {
        let of_network = |name, what| Target::Network { name, what };
        let (host, name, what) = match self {
            Self::Down { host, interface } => (host, interface, InterfaceChange::Down),
            Self::Up { host, interface } => (host, interface, InterfaceChange::Up),
            Self::CarrierOff { host, interface } => (host, interface, InterfaceChange::CarrierOff),
            Self::CarrierOn { host, interface } => (host, interface, InterfaceChange::CarrierOn),
            Self::Silence { host, interface } => (host, interface, InterfaceChange::Silence),
            Self::Restore { host, interface } => (host, interface, InterfaceChange::Restore),
            Self::Address { host, interface } => (host, interface, InterfaceChange::Address),
            Self::Roam { host, interface, network } => (host, interface, InterfaceChange::Roam(network)),
            Self::Hotspot { host, interface, network } => {
                (host, interface, InterfaceChange::Hotspot(network))
            }
            Self::Metric { host, interface, metric } => (host, interface, InterfaceChange::Metric(*metric)),
            Self::NatRebind { network } => return of_network(network, NetworkChange::NatRebind),
            Self::NatFlush { network } => return of_network(network, NetworkChange::NatFlush),
            Self::Link { network, down, up } => return of_network(network, NetworkChange::Link { down, up }),
            Self::Blocks { network, blocks } => return of_network(network, NetworkChange::Blocks(blocks)),
        };
        Target::Interface { host, name, what }
    }
}
