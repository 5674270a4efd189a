//! The address plan: gives every interface and server its addresses and checks that the scenario fits.
//!
//! All addresses are from ranges that never appear on the internet, so that an emulated network cannot be mistaken for
//! a real one. N counts networks from 1, hosts of a network count from 2 (.1 is the router's), servers from 1: first all
//! of them, then the further addresses of those that have some.
//!
//! | what | IPv4 | IPv6 |
//! |---|---|---|
//! | host behind a home NAT | 192.168.N.0/24 (RFC 1918) | 2001:db8:N::/64 (RFC 3849) |
//! | host behind a carrier-grade NAT | 100.64.N.0/24 (RFC 6598) | 2001:db8:N::/64 |
//! | host without NAT | 198.18.N.0/24 (RFC 2544) | 2001:db8:N::/64 |
//! | outside of a NAT | 203.0.113.N (RFC 5737), or a host's of the network that it is behind | |
//! | server | 198.51.100.0/24 (RFC 5737) | 2001:db8:ffff::/64 |
//! | router before a server, which holds no packets | 192.0.2.1 (RFC 5737) | 2001:db8:fffe::1 |

use crate::{
    Addresses,
    addresses::{IPV4_PREFIX, IPV6_PREFIX, MAX_INTERFACES, Pool},
    topology::{
        DrxSpec, HostSpec, Ipv6Access, LinkSpec, Mtu, NetworkSpec, QueueDiscipline, RadioSpec, ServerSpec,
        Topology,
    },
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    time::Duration,
};
use thiserror::Error;

/// The name under which servers and the space between networks are counted; no network may have it.
pub const INTERNET: &str = "internet";

/// The name of every server's only interface.
pub const SERVER_INTERFACE: &str = "eth0";

/// A topology that was found to be sound, and its addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    topology: Topology,
    ports: Vec<Port>,
    /// For each port the index of its network; none for servers.
    networks: Vec<Option<usize>>,
    /// Borders that are attached to another network.
    routers: Vec<Router>,
    /// For each network what is left of its addresses.
    pools: Vec<Pool>,
}

/// A network; its index in [`Topology::networks`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NetworkId(pub u16);

/// An interface of a host or server; its index in [`Plan::ports`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortId(pub u16);

/// Where the border of a network is attached to another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Router {
    /// Whose border it is.
    pub(crate) network: usize,
    /// To which it is attached.
    pub(crate) behind: usize,
    /// Its addresses there.
    pub(crate) addresses: Addresses,
}

/// Where packets enter and leave the model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    /// Its number.
    pub id: PortId,
    /// Whose it is.
    pub owner: Owner,
    /// IPv4 address and prefix length.
    pub ipv4: Option<(Ipv4Addr, u8)>,
    /// IPv6 address and prefix length.
    pub ipv6: Option<(Ipv6Addr, u8)>,
    /// What a server has beside its first address of each family.
    pub further: Vec<Addresses>,
}

/// Whose a port is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Owner {
    /// A host's interface.
    Host {
        /// Name of the host.
        host: String,
        /// Name of the interface.
        interface: String,
    },
    /// A server; its interface is [`SERVER_INTERFACE`].
    Server {
        /// Name of the server.
        name: String,
    },
}

/// Why a topology cannot be planned.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// A network's name is taken by the model.
    #[error("the name `{INTERNET}` is reserved for what lies between the networks")]
    ReservedName,
    /// Two of a kind with one name.
    #[error("two {what} are called `{name}`")]
    Duplicate {
        /// What they are.
        what: &'static str,
        /// Their name.
        name: String,
    },
    /// An interface names a network that does not exist.
    #[error("`{host}.{interface}` is attached to `{network}`, which is no network of this scenario")]
    UnknownNetwork {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
        /// What it names.
        network: String,
    },
    /// A host that could never be reached.
    #[error("host `{host}` has no interface")]
    NoInterface {
        /// The host.
        host: String,
    },
    /// More than the address plan can number.
    #[error("{count} {what}; at most {limit} have addresses")]
    TooMany {
        /// What there is too much of.
        what: String,
        /// How many there are.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// A delay, jitter or timeout beyond what a run can wait for.
    #[error("{what} of `{name}` is {value:?}; at most {limit:?} is possible")]
    TooLong {
        /// Which figure.
        what: &'static str,
        /// Of which network or server.
        name: String,
        /// The figure.
        value: Duration,
        /// The bound.
        limit: Duration,
    },
    /// A queue that could not hold one full packet.
    #[error("the queue of `{name}` holds {bytes} bytes; a link with a rate needs at least {limit}")]
    QueueTooSmall {
        /// The network.
        name: String,
        /// The figure.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// A link that is to be paced in two ways.
    #[error("a link of `{name}` has a rate and a trace; only one of them can pace it")]
    RateAndTrace {
        /// The network.
        name: String,
    },
    /// An MTU below what IPv6 needs (RFC 8200 section 5).
    #[error("a link of `{name}` has an MTU of {mtu}, but IPv6 needs at least {limit}")]
    MtuTooSmall {
        /// The network.
        name: String,
        /// The figure.
        mtu: u16,
        /// The bound.
        limit: u16,
    },
    /// A radio that sleeps without end.
    #[error("the radio of `{name}` listens for {on:?} in each cycle of {cycle:?}")]
    Drx {
        /// The network.
        name: String,
        /// The on-duration.
        on: Duration,
        /// The cycle.
        cycle: Duration,
    },
    /// A network or server that does not exist is named by another network.
    #[error("`{name}` names `{other}`, which is no {what} of this scenario")]
    UnknownOther {
        /// Which network names it.
        name: String,
        /// What it names.
        other: String,
        /// What that should be.
        what: &'static str,
    },
    /// A network is behind itself, maybe by way of others.
    #[error("`{name}` is behind itself")]
    BehindItself {
        /// The network.
        name: String,
    },
    /// A network has IPv6 and the one that it is behind has not.
    #[error("`{name}` has IPv6, but `{behind}`, which it is behind, has not")]
    Ipv6Behind {
        /// The network.
        name: String,
        /// What it is behind.
        behind: String,
    },
    /// A distance on the internet to or from a network that is not on it.
    #[error("`{name}` is not on the internet, so it has no distance there")]
    DistanceInside {
        /// The network.
        name: String,
    },
    /// NAT timeouts that make no sense.
    #[error(
        "the NAT of `{name}` forgets answered sessions after {established:?}, before unanswered ones \
         ({initial:?}), or at once"
    )]
    Timeouts {
        /// The network.
        name: String,
        /// For sessions without an answer.
        initial: Duration,
        /// For sessions with one.
        established: Duration,
    },
}

const MAX_NETWORKS: usize = 254;
const MAX_SERVER_ADDRESSES: usize = 254;
const MAX_DELAY: Duration = Duration::from_secs(60);
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// One packet of the usual Ethernet MTU.
const MIN_QUEUE: u64 = 1500;
/// RFC 8200 section 5.
const IPV6_MIN_MTU: u16 = 1280;

impl Plan {
    /// Checks a topology and numbers it.
    pub fn new(topology: Topology) -> Result<Self, PlanError> {
        check_names(&topology)?;
        check_sizes(&topology)?;
        topology.networks.iter().try_for_each(check_network)?;
        for server in &topology.servers {
            check_duration("delay", &server.name, server.delay, MAX_DELAY)?;
        }
        let pools = topology.networks.iter().enumerate();
        let pools = pools.map(|(index, spec)| Pool::new(number(index), spec)).collect();
        let (ports, networks, routers) = Default::default();
        let mut plan = Self { ports, networks, routers, pools, topology };
        plan.check_behind()?;
        plan.check_distances()?;
        plan.number_hosts()?;
        plan.number_servers();
        plan.number_routers()?;
        Ok(plan)
    }

    /// All ports: the hosts' interfaces in the order of the topology, then the servers.
    pub fn ports(&self) -> &[Port] {
        &self.ports
    }

    /// What was planned.
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// The port with this number.
    pub fn port(&self, id: PortId) -> Option<&Port> {
        self.ports.get(usize::from(id.0))
    }

    /// The port of a host's interface; a server counts as a host whose interface is [`SERVER_INTERFACE`].
    pub fn port_of(&self, host: &str, interface: &str) -> Option<PortId> {
        self.ports.iter().find(|port| port.owner.is(host, interface)).map(|port| port.id)
    }

    /// The port of a server.
    pub fn server(&self, name: &str) -> Option<&Port> {
        self.ports.iter().find(|port| matches!(&port.owner, Owner::Server { name: own } if own == name))
    }

    /// The network that a port is attached to; none for a server.
    pub fn network_of(&self, id: PortId) -> Option<&NetworkSpec> {
        self.topology.networks.get(self.network_index(id)?)
    }

    /// The network of this name.
    pub fn network(&self, name: &str) -> Option<NetworkId> {
        self.index_of(name).map(|index| NetworkId(index as u16))
    }

    /// The outside address of a network's NAT: public, unless the network is behind another one.
    pub fn nat_address(&self, network: &str) -> Option<Ipv4Addr> {
        self.nat_outside(self.index_of(network)?)
    }

    /// Whether two hosts have an interface each in one and the same network.
    pub fn share_network(&self, host_a: &str, host_b: &str) -> bool {
        let networks_of = |name: &str| -> BTreeSet<&str> {
            let host = self.topology.hosts.iter().find(|host| host.name == name);
            host.into_iter()
                .flat_map(|host| &host.interfaces)
                .map(|interface| interface.network.as_str())
                .collect()
        };
        !networks_of(host_a).is_disjoint(&networks_of(host_b))
    }

    pub(crate) fn pools(&self) -> &[Pool] {
        &self.pools
    }

    pub(crate) fn network_index(&self, id: PortId) -> Option<usize> {
        self.networks.get(usize::from(id.0)).copied().flatten()
    }

    pub(crate) fn nat_outside(&self, network: usize) -> Option<Ipv4Addr> {
        self.topology.networks.get(network)?.nat.as_ref()?;
        match self.routers.iter().find(|router| router.network == network) {
            Some(router) => router.addresses.ipv4.map(|(address, _)| address),
            None => Some(Ipv4Addr::new(203, 0, 113, number(network))),
        }
    }

    pub(crate) fn routers(&self) -> &[Router] {
        &self.routers
    }

    /// Extra delays between networks, or a network and a server, by name.
    pub(crate) fn distances(&self) -> impl Iterator<Item = (&str, &str, Duration)> {
        self.topology.networks.iter().flat_map(|spec| {
            spec.distances.iter().map(|(other, delay)| (spec.name.as_str(), other.as_str(), *delay))
        })
    }

    /// The network that a network is behind.
    pub(crate) fn behind(&self, network: usize) -> Option<usize> {
        self.index_of(self.topology.networks.get(network)?.behind.as_deref()?)
    }

    fn check_behind(&self) -> Result<(), PlanError> {
        for (index, spec) in self.topology.networks.iter().enumerate() {
            let Some(behind) = &spec.behind else { continue };
            let name = spec.name.clone();
            let Some(outer) = self.behind(index) else {
                return Err(PlanError::UnknownOther { name, other: behind.clone(), what: "network" });
            };
            let mut all = std::iter::successors(Some(outer), |outer| self.behind(*outer));
            // Longer than there are networks means in a circle, be it one that this network only leads to.
            if all.by_ref().take(MAX_NETWORKS).any(|outer| outer == index) || all.next().is_some() {
                return Err(PlanError::BehindItself { name });
            }
            let has_ipv6 = |index: usize| {
                self.topology.networks.get(index).is_some_and(|spec| spec.ipv6 != Ipv6Access::None)
            };
            if has_ipv6(index) && !has_ipv6(outer) {
                return Err(PlanError::Ipv6Behind { name, behind: behind.clone() });
            }
        }
        Ok(())
    }

    fn check_distances(&self) -> Result<(), PlanError> {
        let is_server = |name: &str| self.topology.servers.iter().any(|server| server.name == name);
        for (name, other, delay) in self.distances() {
            check_duration("distance", name, delay, MAX_DELAY)?;
            if self.index_of(other).is_none() && !is_server(other) {
                let (name, other) = (name.to_owned(), other.to_owned());
                return Err(PlanError::UnknownOther { name, other, what: "network or server" });
            }
            let is_inside = |name: &&str| self.index_of(name).and_then(|index| self.behind(index)).is_some();
            if let Some(name) = [name, other].into_iter().find(is_inside) {
                return Err(PlanError::DistanceInside { name: name.to_owned() });
            }
        }
        Ok(())
    }

    fn index_of(&self, network: &str) -> Option<usize> {
        self.topology.networks.iter().position(|spec| spec.name == network)
    }

    fn number_hosts(&mut self) -> Result<(), PlanError> {
        let mut attached = vec![0_usize; self.topology.networks.len()];
        for HostSpec { name: host, interfaces } in &self.topology.hosts {
            for interface in interfaces {
                let network = self.index_of(&interface.network).ok_or_else(|| PlanError::UnknownNetwork {
                    host: host.clone(),
                    interface: interface.name.clone(),
                    network: interface.network.clone(),
                })?;
                attached[network] += 1;
                let too_many = || PlanError::TooMany {
                    what: format!("interfaces in network `{}`", interface.network),
                    count: attached[network],
                    limit: MAX_INTERFACES,
                };
                // As many as there are host numbers, so that a number comes up again exactly when they are used up.
                let held = attached[network] > MAX_INTERFACES;
                let Addresses { ipv4, ipv6 } = self.pools[network].take(|_| held).ok_or_else(too_many)?;
                let owner = Owner::Host { host: host.clone(), interface: interface.name.clone() };
                let further = Vec::new();
                self.ports.push(Port { id: port_id(self.ports.len()), owner, ipv4, ipv6, further });
                self.networks.push(Some(network));
            }
        }
        Ok(())
    }

    /// After the hosts, so that what is behind a network moves none of its hosts' addresses.
    fn number_routers(&mut self) -> Result<(), PlanError> {
        for network in 0..self.topology.networks.len() {
            let Some(behind) = self.behind(network) else { continue };
            let taken = self.taken(behind);
            let too_many = || PlanError::TooMany {
                what: format!("interfaces in network `{}`", self.topology.networks[behind].name),
                count: taken + 1,
                limit: MAX_INTERFACES,
            };
            let addresses = self.pools[behind].take(|_| taken >= MAX_INTERFACES).ok_or_else(too_many)?;
            self.routers.push(Router { network, behind, addresses });
        }
        Ok(())
    }

    /// How many addresses of a network are held.
    fn taken(&self, network: usize) -> usize {
        let hosts = self.networks.iter().filter(|of| **of == Some(network)).count();
        hosts + self.routers.iter().filter(|router| router.behind == network).count()
    }

    fn number_servers(&mut self) {
        // After all first ones, so that a server's further addresses move nobody else's.
        let mut further = self.topology.servers.len()..;
        for (index, ServerSpec { name, addresses, .. }) in self.topology.servers.iter().enumerate() {
            let Addresses { ipv4, ipv6 } = server_addresses(number(index));
            let further = further.by_ref().take(usize::from(addresses.get() - 1));
            self.ports.push(Port {
                id: port_id(self.ports.len()),
                owner: Owner::Server { name: name.clone() },
                ipv4,
                ipv6,
                further: further.map(|index| server_addresses(number(index))).collect(),
            });
            self.networks.push(None);
        }
    }
}

impl Port {
    /// Its first address of each family, until a [`crate::Change::Address`] gives it others.
    pub fn addresses(&self) -> Addresses {
        Addresses { ipv4: self.ipv4, ipv6: self.ipv6 }
    }

    /// All of its addresses with their prefix lengths, the first ones first.
    pub fn all_addresses(&self) -> impl Iterator<Item = (IpAddr, u8)> {
        [self.addresses()].into_iter().chain(self.further.iter().copied()).flat_map(|of| of.iter())
    }
}

impl Owner {
    /// Name of the host or server.
    pub fn host(&self) -> &str {
        match self {
            Self::Host { host, .. } => host,
            Self::Server { name } => name,
        }
    }

    /// Name of the interface.
    pub fn interface(&self) -> &str {
        match self {
            Self::Host { interface, .. } => interface,
            Self::Server { .. } => SERVER_INTERFACE,
        }
    }

    fn is(&self, host: &str, interface: &str) -> bool {
        self.host() == host && self.interface() == interface
    }
}

fn server_addresses(number: u8) -> Addresses {
    let ipv4 = Ipv4Addr::new(198, 51, 100, number);
    let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, u16::from(number));
    Addresses { ipv4: Some((ipv4, IPV4_PREFIX)), ipv6: Some((ipv6, IPV6_PREFIX)) }
}

/// Networks and the addresses of servers count from 1 and were bounded before.
fn number(index: usize) -> u8 {
    (index + 1) as u8
}

/// 254 networks of 253 interfaces and 254 servers fit into 16 bits.
fn port_id(index: usize) -> PortId {
    PortId(index as u16)
}

fn check_names(topology: &Topology) -> Result<(), PlanError> {
    if topology.networks.iter().any(|network| network.name == INTERNET) {
        return Err(PlanError::ReservedName);
    }
    unique("networks", topology.networks.iter().map(|network| &network.name))?;
    // Events name hosts and servers alike, so they share one space of names.
    let hosts = topology.hosts.iter().map(|host| &host.name);
    unique("hosts or servers", hosts.chain(topology.servers.iter().map(|server| &server.name)))?;
    for host in &topology.hosts {
        if host.interfaces.is_empty() {
            return Err(PlanError::NoInterface { host: host.name.clone() });
        }
        unique("interfaces of one host", host.interfaces.iter().map(|interface| &interface.name))?;
    }
    Ok(())
}

fn check_sizes(topology: &Topology) -> Result<(), PlanError> {
    at_most(MAX_NETWORKS, topology.networks.len(), || "networks".into())?;
    let addresses = topology.servers.iter().map(|server| usize::from(server.addresses.get())).sum();
    at_most(MAX_SERVER_ADDRESSES, addresses, || "addresses of servers in each family".into())
}

fn check_network(network: &NetworkSpec) -> Result<(), PlanError> {
    check_links(network, &network.up)?;
    check_links(network, &network.down)?;
    network.radio.as_ref().map_or(Ok(()), |radio| check_radio(&network.name, radio))?;
    let Some(nat) = &network.nat else { return Ok(()) };
    if nat.timeout_initial.is_zero() || nat.timeout_established < nat.timeout_initial {
        return Err(PlanError::Timeouts {
            name: network.name.clone(),
            initial: nat.timeout_initial,
            established: nat.timeout_established,
        });
    }
    check_duration("NAT timeout", &network.name, nat.timeout_established, MAX_TIMEOUT)
}

/// Whether a network can have these links in one direction.
pub(crate) fn check_links(network: &NetworkSpec, link: &LinkSpec) -> Result<(), PlanError> {
    let name = network.name.as_str();
    check_duration("delay", name, link.delay, MAX_DELAY)?;
    check_duration("jitter", name, link.jitter, MAX_DELAY)?;
    check_duration("reordering", name, link.reorder.map_or(Duration::ZERO, |reorder| reorder.by), MAX_DELAY)?;
    check_duration("queue", name, link.queue_time.unwrap_or_default(), MAX_DELAY)?;
    if let QueueDiscipline::CoDel(codel) = link.discipline {
        check_duration("target of CoDel", name, codel.target, MAX_DELAY)?;
        check_duration("interval of CoDel", name, codel.interval, MAX_DELAY)?;
    }
    if link.rate.is_some() && link.trace.is_some() {
        return Err(PlanError::RateAndTrace { name: name.into() });
    }
    if (link.rate.is_some() || link.trace.is_some()) && link.queue.0 < MIN_QUEUE {
        return Err(PlanError::QueueTooSmall { name: name.into(), bytes: link.queue.0, limit: MIN_QUEUE });
    }
    match link.mtu.map(Mtu::bytes) {
        Some(mtu) if mtu < IPV6_MIN_MTU && network.ipv6 != Ipv6Access::None => {
            Err(PlanError::MtuTooSmall { name: name.into(), mtu, limit: IPV6_MIN_MTU })
        }
        _ => Ok(()),
    }
}

/// Whether a network can have this radio.
pub(crate) fn check_radio(name: &str, radio: &RadioSpec) -> Result<(), PlanError> {
    check_duration("promotion delay", name, radio.promotion, MAX_DELAY)?;
    check_duration("paging cycle", name, radio.paging_cycle, MAX_DELAY)?;
    check_duration("inactivity timer", name, radio.inactivity, MAX_TIMEOUT)?;
    let Some(DrxSpec { inactivity, cycle, on }) = radio.drx else { return Ok(()) };
    check_duration("DRX inactivity timer", name, inactivity, MAX_TIMEOUT)?;
    check_duration("DRX cycle", name, cycle, MAX_DELAY)?;
    if on.is_zero() || on > cycle {
        return Err(PlanError::Drx { name: name.into(), on, cycle });
    }
    Ok(())
}

fn check_duration(what: &'static str, name: &str, value: Duration, limit: Duration) -> Result<(), PlanError> {
    if value > limit {
        return Err(PlanError::TooLong { what, name: name.into(), value, limit });
    }
    Ok(())
}

fn at_most(limit: usize, count: usize, what: impl FnOnce() -> String) -> Result<(), PlanError> {
    if count > limit {
        return Err(PlanError::TooMany { what: what(), count, limit });
    }
    Ok(())
}

fn unique<'a>(what: &'static str, names: impl Iterator<Item = &'a String>) -> Result<(), PlanError> {
    let mut seen = BTreeMap::new();
    for name in names {
        if seen.insert(name, ()).is_some() {
            return Err(PlanError::Duplicate { what, name: name.clone() });
        }
    }
    Ok(())
}
