//! What can be done to a lab while it runs.

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
}

/// What is changed, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target<'a> {
    Interface {
        host: &'a str,
        name: &'a str,
        what: InterfaceChange,
    },
    /// Its NAT is rebound.
    Network(&'a str),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum InterfaceChange {
    Down,
    Up,
    CarrierOff,
    CarrierOn,
    Silence,
    Restore,
    Address,
}

impl LabChange {
    pub(crate) fn target(&self) -> Target<'_> {
        let (host, name, what) = match self {
            Self::Down { host, interface } => (host, interface, InterfaceChange::Down),
            Self::Up { host, interface } => (host, interface, InterfaceChange::Up),
            Self::CarrierOff { host, interface } => (host, interface, InterfaceChange::CarrierOff),
            Self::CarrierOn { host, interface } => (host, interface, InterfaceChange::CarrierOn),
            Self::Silence { host, interface } => (host, interface, InterfaceChange::Silence),
            Self::Restore { host, interface } => (host, interface, InterfaceChange::Restore),
            Self::Address { host, interface } => (host, interface, InterfaceChange::Address),
            Self::NatRebind { network } => return Target::Network(network),
        };
        Target::Interface { host, name, what }
    }
}
