//! The lab as a whole: namespaces, interfaces, the model behind them and the children inside.

use crate::{
    capture::{CaptureLimits, CaptureLosses, CapturePlan, Captures},
    change::{InterfaceChange, LabChange, NetworkChange, Target},
    datapath::{Applied, Datapath, PortTally, Tally},
    error::LabError,
    interface::{Interface, InterfacePlan},
    lateness::{Lateness, LatenessRecorder},
    namespace::Namespace,
    netlink::Netlink,
    rights::Rights,
    spawner::{ChildSpec, Spawner},
    tun::Tun,
};
use netmodel::{
    Addresses, BlockCount, Change, Direction, LinkCounts, LinkState, Network, NetworkEvent, NetworkId, Owner,
    Plan, Port, PortId, RadioCounts, SERVER_INTERFACE,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    os::fd::AsFd,
    path::PathBuf,
    process::Child,
    sync::{Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

/// What [`Lab::build`]'s sink is sent, with the instant at which it happened; in the model, for what did so there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LabEvent {
    /// Something happened in the model.
    Network(NetworkEvent),
    /// State of the links of every interface and server: every 100 ms from time zero on, and after each stall.
    Links(Vec<LinkSample>),
    /// The thread that carries packets has not come round since then ([`record::Heartbeat`]).
    Stalled {
        /// When it last did.
        since: Instant,
    },
}

/// State of one link in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSample {
    /// As the model has it.
    pub state: LinkState,
    /// Since the sample before: the longest time that a packet was delivered to the kernel too late (down), or had
    /// waited in the device before the model took it (up).
    pub late: Duration,
}

/// What to build.
#[derive(Debug)]
pub struct LabSpec {
    /// Hosts, servers, their networks and addresses.
    pub plan: Plan,
    /// Seed of the model.
    pub seed: u64,
    /// Metrics of the default routes by host and interface. Interfaces that are not named get 1024, the kernel's own
    /// for IPv6, plus their place among their host's.
    pub metrics: BTreeMap<(String, String), u32>,
    /// Largest IP packet of every interface, in bytes; IPv6 needs 1280.
    pub mtu: u16,
    /// Files to capture the packets of hosts and servers in ([`crate::capture`]), by name.
    pub captures: BTreeMap<String, PathBuf>,
    /// Limits of these files; without, every packet is there whole.
    pub capture_limits: Option<CaptureLimits>,
}

/// Namespaces, interfaces and a model between them, running. Dropping it ends everything in it.
#[derive(Debug)]
pub struct Lab {
    // First, so that it is dropped first: children end before their network does.
    spawner: Spawner,
    datapath: Datapath,
    // After the datapath, which tells it the end.
    captures: Captures,
    hosts: BTreeMap<String, Host>,
    plan: Plan,
}

/// What a lab did.
#[derive(Debug, Clone)]
pub struct LabReport {
    /// One entry for each of [`Network::counts`].
    pub links: Vec<LinkReport>,
    /// What each radio has cost that was ever connected, by its interface.
    pub radios: Vec<(Owner, RadioCounts)>,
    /// What each rule that a network had at some time has refused to carry.
    pub blocks: Vec<(String, BlockCount)>,
    /// Lateness of deliveries to the kernel over all links.
    pub lateness: Lateness,
    /// How long packets waited in the devices of all links before the model took them, at least.
    pub waiting: Lateness,
    /// The datapath ran under SCHED_FIFO.
    pub real_time: bool,
    /// What each capture lacks because of its limits.
    pub captures: BTreeMap<PathBuf, CaptureLosses>,
}

/// What one link did in one direction.
#[derive(Debug, Clone)]
pub struct LinkReport {
    /// As the model counts.
    pub counts: LinkCounts,
    /// Of its deliveries to the kernel (down), or of packets that waited in the device before the model took them (up):
    /// at least this long, since the kernel does not tell when they came.
    pub lateness: Lateness,
    /// Packets that the model delivered while the interface was going down.
    pub delivered_while_down: u64,
    /// Packets that the kernel refused for another reason (down), or could not queue before the model saw them (up).
    pub lost_at_device: u64,
}

/// A host or server.
#[derive(Debug)]
struct Host {
    namespace: Namespace,
    /// One lock for all: changes of one host are made one after the other.
    inside: Mutex<Inside>,
}

#[derive(Debug)]
struct Inside {
    netlink: Netlink,
    interfaces: BTreeMap<String, (PortId, Interface)>,
}

impl Lab {
    /// Makes everything and starts the model. Events go to `sink` as they happen; none is ever left out. A sink that is
    /// closed before [`Lab::finish`] was called means that the lab has failed and no packet passes any more.
    pub fn build(rights: Rights, spec: LabSpec, sink: Sender<(Instant, LabEvent)>) -> Result<Lab, LabError> {
        let mut tuns = BTreeMap::new();
        let mut hosts = BTreeMap::new();
        let planned = hosts_of(&spec)?;
        let captured = captured_of(&spec, &planned)?;
        for (name, ports) in planned {
            let host = Host::build(&rights, &name, ports, &mut tuns)?;
            hosts.insert(name, host);
        }
        // Before the datapath: its real-time priority is not inherited by what comes first.
        let spawner = Spawner::start().map_err(LabError::Spawner)?;
        let network = Network::new(&spec.plan, spec.seed);
        let (tap, captures) = Captures::start(captured, spec.capture_limits)?;
        let datapath = Datapath::start(network, tuns.into_values().collect(), spec.mtu, tap, sink)?;
        Ok(Self { spawner, datapath, captures, hosts, plan: spec.plan })
    }

    /// Starts a program inside a host or server. It dies when the lab is finished or dropped, and with this process.
    pub fn spawn(&self, host: &str, child: ChildSpec) -> Result<Child, LabError> {
        let inside = self.hosts.get(host).ok_or_else(|| LabError::UnknownHost(host.into()))?;
        let program = child.program.clone();
        let namespace = inside.namespace.as_fd().try_clone_to_owned();
        namespace
            .and_then(|namespace| self.spawner.spawn(namespace, child))
            .map_err(|source| LabError::Spawn { host: host.into(), program, source })
    }

    /// Changes an interface or a network, in the model and in the kernel, and reads the kernel's state back.
    ///
    /// The instant returned lies between the two: from then on no packet passes that should not, and nobody could learn
    /// of the change before it.
    pub fn apply(&self, change: LabChange) -> Result<Instant, LabError> {
        match change.target() {
            Target::Interface { host, name, what } => self.change_interface(host, name, what),
            Target::Network { name, what } => self.change_network(name, what),
        }
    }

    /// The addresses that an interface has now, with their prefix lengths; IPv4 first.
    pub fn addresses(&self, host: &str, interface: &str) -> Result<Vec<(IpAddr, u8)>, LabError> {
        let unknown = || LabError::UnknownInterface { host: host.into(), interface: interface.into() };
        let inside = self.hosts.get(host).ok_or_else(unknown)?.lock();
        let (_, interface) = inside.interfaces.get(interface).ok_or_else(unknown)?;
        Ok(interface.addresses().to_vec())
    }

    fn change_interface(
        &self,
        host: &str,
        name: &str,
        what: InterfaceChange<'_>,
    ) -> Result<Instant, LabError> {
        let unknown = || LabError::UnknownInterface { host: host.into(), interface: name.into() };
        let mut inside = self.hosts.get(host).ok_or_else(unknown)?.lock();
        let Inside { netlink, interfaces } = &mut *inside;
        if let InterfaceChange::Metric(metric) = what {
            let mut others = interfaces.iter().filter(|(other, _)| *other != name);
            if others.any(|(_, (_, other))| other.metric() == metric) {
                return Err(LabError::SameMetric { host: host.into(), metric });
            }
        }
        let uplink = uplink(interfaces, name);
        let (port, interface) = interfaces.get_mut(name).ok_or_else(unknown)?;
        let moves =
            matches!(what, InterfaceChange::Address | InterfaceChange::Roam(_) | InterfaceChange::Hotspot(_));
        if moves && self.plan.server(host).is_some() {
            return Err(LabError::ServerAddress(host.into()));
        }
        let no_uplink = || LabError::NoUplink { host: host.into(), interface: name.into() };
        let change = match what {
            InterfaceChange::Hotspot(network) => Some(Change::Hotspot {
                network: self.network(network)?,
                access_point: *port,
                uplink: uplink.ok_or_else(no_uplink)?,
            }),
            _ => self.in_model(what, *port, interface)?,
        };
        let Applied { at, addresses } = match change {
            Some(change) => self.datapath.apply(change)?,
            None => Applied { at: Instant::now(), addresses: None },
        };
        match what {
            InterfaceChange::Down => interface.set_down(netlink)?,
            InterfaceChange::Up => interface.set_up(netlink)?,
            InterfaceChange::CarrierOff => interface.set_carrier(netlink, false)?,
            InterfaceChange::CarrierOn => interface.set_carrier(netlink, true)?,
            // The kernel must not know: everything is as it was.
            InterfaceChange::Silence | InterfaceChange::Restore => interface.verify(netlink)?,
            InterfaceChange::Address | InterfaceChange::Roam(_) | InterfaceChange::Hotspot(_) => {
                match what {
                    InterfaceChange::Address => {}
                    _ => interface.set_access_point(matches!(what, InterfaceChange::Hotspot(_))),
                }
                let addresses = addresses.iter().flat_map(Addresses::iter).collect();
                interface.set_addresses(netlink, addresses)?;
            }
            InterfaceChange::Metric(metric) => interface.set_metric(netlink, metric)?,
        }
        Ok(at)
    }

    /// What a change of an interface is to the model, if anything.
    fn in_model(
        &self,
        what: InterfaceChange<'_>,
        port: PortId,
        interface: &Interface,
    ) -> Result<Option<Change>, LabError> {
        let reachable = |up, carrier| {
            let reachable = interface.would_be_reachable(up, carrier);
            Change::InterfaceState { port, reachable }
        };
        Ok(Some(match what {
            InterfaceChange::Down => reachable(Some(false), None),
            InterfaceChange::Up => reachable(Some(true), None),
            InterfaceChange::CarrierOff => reachable(None, Some(false)),
            InterfaceChange::CarrierOn => reachable(None, Some(true)),
            InterfaceChange::Silence => Change::Silence { port, silent: true },
            InterfaceChange::Restore => Change::Silence { port, silent: false },
            InterfaceChange::Address => Change::Address { port },
            InterfaceChange::Roam(network) => Change::Roam { port, network: self.network(network)? },
            InterfaceChange::Metric(_) | InterfaceChange::Hotspot(_) => return Ok(None),
        }))
    }

    fn change_network(&self, name: &str, what: NetworkChange<'_>) -> Result<Instant, LabError> {
        let network = self.network(name)?;
        let forgets = matches!(what, NetworkChange::NatRebind | NetworkChange::NatFlush);
        if forgets && self.plan.nat_address(name).is_none() {
            return Err(LabError::NoNat(name.into()));
        }
        let change = match what {
            NetworkChange::NatRebind => Change::NatRebind { network },
            NetworkChange::NatFlush => Change::NatFlush { network },
            NetworkChange::Blocks(blocks) => Change::Blocks { network, blocks: blocks.to_vec() },
            NetworkChange::Link { down, up } => {
                let one_way = |direction, link: &netmodel::LinkSpec| {
                    let link = Box::new(link.clone());
                    self.datapath.apply(Change::Link { network, direction, link })
                };
                one_way(Direction::Down, down)?;
                return Ok(one_way(Direction::Up, up)?.at);
            }
        };
        Ok(self.datapath.apply(change)?.at)
    }

    fn network(&self, name: &str) -> Result<NetworkId, LabError> {
        self.plan.network(name).ok_or_else(|| LabError::UnknownNetwork(name.into()))
    }

    /// Tells when time zero of the run is, from which the model's time ([`Network::set_time_zero`]) and the limits of
    /// captures count.
    pub fn set_time_zero(&self, zero: Instant) -> Result<(), LabError> {
        self.captures.set_time_zero(zero);
        Ok(self.datapath.set_time_zero(zero)?)
    }

    /// Ends the children and the model, and tells what the links did.
    pub fn finish(self) -> Result<LabReport, LabError> {
        let Self { spawner, datapath, captures, hosts, plan } = self;
        drop(spawner);
        let tally = datapath.finish();
        // First: it is why the datapath stopped, if both failed.
        let captures = captures.finish()?;
        let tally = tally?;
        let mut send_drops = BTreeMap::new();
        for host in hosts.values() {
            let Inside { netlink, interfaces } = &mut *host.lock();
            for (port, interface) in interfaces.values() {
                send_drops.insert(*port, interface.send_drops(netlink)?);
            }
        }
        Ok(LabReport { captures, ..LabReport::new(tally, &send_drops, &plan) })
    }
}

impl LabReport {
    fn new(tally: Tally, send_drops: &BTreeMap<PortId, u64>, plan: &Plan) -> Self {
        let (mut down, mut up) = (LatenessRecorder::new(), LatenessRecorder::new());
        for port in tally.ports.values() {
            down.merge(&port.down);
            up.merge(&port.up);
        }
        let link = |counts: &LinkCounts| {
            let network = plan.network(&counts.network);
            let Some(port) = counts.port else { return LinkReport::new(counts, None, 0) };
            // The kernel does not tell in which network it was: the interface's last one.
            let is_last = tally.attached.get(usize::from(port.0)).is_some_and(|last| *last == network);
            let send_drops = send_drops.get(&port).filter(|_| is_last).copied();
            LinkReport::new(counts, tally.ports.get(&(port, network)), send_drops.unwrap_or(0))
        };
        let links: Vec<LinkReport> = tally.counts.iter().map(link).collect();
        let radios = tally.radios.into_iter();
        let radios = radios.filter(|(_, counts)| *counts != RadioCounts::default());
        let radios = radios.filter_map(|(port, counts)| Some((plan.port(port)?.owner.clone(), counts)));
        let name = |NetworkId(index): NetworkId| plan.topology().networks.get(usize::from(index));
        let blocks = tally.blocks.into_iter();
        let blocks = blocks.filter_map(|(network, count)| Some((name(network)?.name.clone(), count)));
        Self {
            links,
            radios: radios.collect(),
            blocks: blocks.collect(),
            lateness: down.summary(),
            waiting: up.summary(),
            real_time: tally.real_time,
            captures: BTreeMap::new(),
        }
    }
}

impl LinkReport {
    fn new(counts: &LinkCounts, device: Option<&PortTally>, send_drops: u64) -> Self {
        let counts = counts.clone();
        let (lateness, delivered_while_down, lost_at_device) = match (counts.direction, device) {
            (Direction::Up, Some(device)) => (device.up.summary(), 0, send_drops),
            (Direction::Up, None) => (Lateness::default(), 0, send_drops),
            (Direction::Down, Some(device)) => (device.down.summary(), device.while_down, device.refused),
            (Direction::Down, None) => (Lateness::default(), 0, 0),
        };
        Self { counts, lateness, delivered_while_down, lost_at_device }
    }
}

impl Host {
    fn build(
        rights: &Rights,
        name: &str,
        ports: Vec<(PortId, InterfacePlan)>,
        tuns: &mut BTreeMap<PortId, Tun>,
    ) -> Result<Self, LabError> {
        let failed = |source| LabError::Namespace { host: name.into(), source };
        let namespace = Namespace::new().map_err(failed)?;
        let inside = namespace.run(|| Ok(prepare(rights, name, &ports))).map_err(failed)?;
        let (mut netlink, made) = inside?;
        let mut interfaces = BTreeMap::new();
        for ((port, plan), tun) in ports.into_iter().zip(made) {
            let copy = tun.try_clone().map_err(failed)?;
            let name = plan.name.clone();
            let interface = Interface::configure(plan, tun, &mut netlink)?;
            interfaces.insert(name, (port, interface));
            tuns.insert(port, copy);
        }
        Ok(Self { namespace, inside: Mutex::new(Inside { netlink, interfaces }) })
    }

    /// A panic in another thread does not make what is inside less true: everything is read back from the kernel.
    fn lock(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The interface beside another one by which a host is on the internet.
fn uplink(interfaces: &BTreeMap<String, (PortId, Interface)>, beside: &str) -> Option<PortId> {
    let others = interfaces.iter().filter(|(name, _)| *name != beside).map(|(_, other)| other);
    let usable = others.filter(|(_, other)| other.is_reachable() && !other.is_access_point());
    usable.min_by_key(|(_, other)| other.metric()).map(|(port, _)| *port)
}

/// What has to be done from inside a namespace: a netlink socket, loopback, and the devices.
fn prepare(
    rights: &Rights,
    host: &str,
    ports: &[(PortId, InterfacePlan)],
) -> Result<(Netlink, Vec<Tun>), LabError> {
    let failed = |source| LabError::Namespace { host: host.into(), source };
    let mut netlink = Netlink::open().map_err(failed)?;
    loopback_up(host, &mut netlink)?;
    accept_any_path().map_err(failed)?;
    keep_second_addresses().map_err(failed)?;
    let create = |plan: &InterfacePlan| {
        Tun::create(rights.tun(), &plan.name).map_err(|source| LabError::Tun {
            host: host.into(),
            interface: plan.name.clone(),
            source,
        })
    };
    let tuns = ports.iter().map(|(_, plan)| create(plan)).collect::<Result<_, _>>()?;
    Ok((netlink, tuns))
}

fn loopback_up(host: &str, netlink: &mut Netlink) -> Result<(), LabError> {
    let interface = || "lo".to_owned();
    let failed = |source| LabError::Netlink { host: host.into(), interface: interface(), source };
    let index = netlink.link("lo").map_err(failed)?.index;
    netlink.set_up(index, true).map_err(failed)?;
    if netlink.link("lo").map_err(failed)?.up {
        return Ok(());
    }
    Err(LabError::NotApplied { host: host.into(), interface: interface(), found: "it is down".into() })
}

/// Namespaces inherit the machine's reverse path filter. A strict one (RFC 3704) would drop what arrives on any but the
/// best interface, which is what several paths are about.
fn accept_any_path() -> io::Result<()> {
    const STRICT: &str = "1";
    const LOOSE: &str = "2";
    for path in ["/proc/sys/net/ipv4/conf/all/rp_filter", "/proc/sys/net/ipv4/conf/default/rp_filter"] {
        if fs::read_to_string(path)?.trim() == STRICT {
            fs::write(path, LOOSE)?;
            if fs::read_to_string(path)?.trim() == STRICT {
                return Err(io::Error::other(format!("{path} stays strict")));
            }
        }
    }
    Ok(())
}

/// IPv4 addresses of one subnet beside the first are lost with it unless the kernel is told to keep them. An interface
/// has two of them while it gets another.
fn keep_second_addresses() -> io::Result<()> {
    const PATH: &str = "/proc/sys/net/ipv4/conf/all/promote_secondaries";
    fs::write(PATH, "1")?;
    if fs::read_to_string(PATH)?.trim() == "1" {
        return Ok(());
    }
    Err(io::Error::other(format!("{PATH} stays off")))
}

/// Which interfaces each host and server has.
fn hosts_of(spec: &LabSpec) -> Result<BTreeMap<String, Vec<(PortId, InterfacePlan)>>, LabError> {
    let mut hosts: BTreeMap<String, Vec<(PortId, InterfacePlan)>> = BTreeMap::new();
    for port in spec.plan.ports() {
        let (host, name) = names(port);
        let interfaces = hosts.entry(host.into()).or_default();
        if matches!(port.owner, Owner::Server { .. }) && !interfaces.is_empty() {
            return Err(LabError::NameTaken(host.into()));
        }
        let metric = spec.metrics.get(&(host.into(), name.into())).copied();
        let metric = metric.unwrap_or(1024 + interfaces.len() as u32);
        let (host, name, addresses) = (host.into(), name.into(), port.all_addresses().collect());
        interfaces.push((port.id, InterfacePlan { host, name, addresses, metric, mtu: spec.mtu }));
    }
    check_metrics(spec, &hosts)?;
    Ok(hosts)
}

/// What is to be captured.
fn captured_of(
    spec: &LabSpec,
    hosts: &BTreeMap<String, Vec<(PortId, InterfacePlan)>>,
) -> Result<Vec<CapturePlan>, LabError> {
    let of = |(host, path): (&String, &PathBuf)| {
        let ports = hosts.get(host).ok_or_else(|| LabError::UnknownHost(host.clone()))?;
        let interfaces = ports.iter().map(|(port, plan)| (*port, plan.name.clone())).collect();
        Ok(CapturePlan { host: host.clone(), path: path.clone(), interfaces })
    };
    spec.captures.iter().map(of).collect()
}

fn check_metrics(
    spec: &LabSpec,
    hosts: &BTreeMap<String, Vec<(PortId, InterfacePlan)>>,
) -> Result<(), LabError> {
    for (host, interface) in spec.metrics.keys() {
        let there =
            hosts.get(host).is_some_and(|ports| ports.iter().any(|(_, plan)| plan.name == *interface));
        if !there {
            return Err(LabError::UnknownInterface { host: host.clone(), interface: interface.clone() });
        }
    }
    for (host, ports) in hosts {
        let mut metrics = BTreeSet::new();
        for (_, InterfacePlan { metric, .. }) in ports {
            if !metrics.insert(*metric) {
                return Err(LabError::SameMetric { host: host.clone(), metric: *metric });
            }
        }
    }
    Ok(())
}

fn names(port: &Port) -> (&str, &str) {
    match &port.owner {
        Owner::Host { host, interface } => (host, interface),
        Owner::Server { name } => (name, SERVER_INTERFACE),
    }
}
