//! What ports and networks are made of, how a plan becomes them, and what they have counted.

use super::{Network, agenda::Agenda, hotspot::Hotspot, link_of, route::Site};
use crate::{
    Addresses, Direction, DropCause, INTERNET, LinkCounts, LinkSpec, LinkState, NetworkId, NetworkSpec,
    Owner, Plan, Port, PortId, RadioCounts, RadioSpec,
    addresses::Pool,
    border::Border,
    link::{Link, Tally},
    plan::Router,
    radio::Radio,
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::IpAddr,
    time::{Duration, Instant},
};

#[derive(Debug)]
pub(super) struct PortState {
    pub(super) holder: Holder,
    pub(super) addresses: Addresses,
    /// What a server has beside these.
    pub(super) further: Vec<Addresses>,
    /// To which it is attached; none for a server, which is on the internet.
    pub(super) network: Option<usize>,
    pub(super) reachable: bool,
    pub(super) silent: bool,
    /// The network whose border it is, because its host shares it with a hotspot.
    pub(super) shared_with: Option<usize>,
    pub(super) radio: Option<Radio>,
    /// What the radios of networks that it has left have cost.
    pub(super) radio_spent: RadioCounts,
}

/// Who is behind a port.
#[derive(Debug)]
pub(super) enum Holder {
    /// A host or server.
    Owner(Owner),
    /// The border of a network.
    Border(usize),
}

#[derive(Debug)]
pub(super) struct NetworkState {
    /// What it is to behave like by now, as far as links and radios are concerned.
    pub(super) spec: NetworkSpec,
    pub(super) border: Border,
    /// From which interfaces get other addresses.
    pub(super) pool: Pool,
    /// Where its border is attached; none for the internet.
    pub(super) router: Option<PortId>,
    pub(super) hotspot: Hotspot,
    /// Its NAT's own, unless its border is attached to another network.
    pub(super) outside: Option<IpAddr>,
    /// Dropped at the border on the way in, for nobody knows whom.
    pub(super) unclaimed: BTreeMap<DropCause, u64>,
}

pub(super) fn build(plan: &Plan, seed: u64) -> Network {
    let topology = plan.topology();
    let known = topology.servers.iter().filter(|server| server.known_to_carriers);
    let known = known.filter_map(|server| plan.server(&server.name)).flat_map(Port::all_addresses);
    let mut network = Network {
        ports: plan.ports().iter().map(|port| PortState::of(plan, port)).collect(),
        planned_ports: plan.ports().len(),
        networks: Vec::new(),
        links: Vec::new(),
        past: BTreeMap::new(),
        distances: BTreeMap::new(),
        hosts: BTreeMap::new(),
        nats: BTreeMap::new(),
        known: known.map(|(address, _)| address).collect(),
        strays: BTreeMap::new(),
        errors_sent: 0,
        injected: 0,
        now: None,
        agenda: Agenda::new(0),
        checks: BTreeMap::new(),
        next_number: 0,
        outputs: VecDeque::new(),
    };
    network.ports.extend(plan.routers().iter().map(|router| PortState::of_router(plan, router)));
    network.links = links(plan, &network.ports, seed);
    network.networks = networks(plan, seed);
    let outside = network.networks.iter().enumerate();
    network.nats = outside.filter_map(|(index, state)| Some((state.outside?, index))).collect();
    for (index, state) in network.ports.iter().enumerate() {
        let port = PortId(index as u16);
        let all = [state.addresses].into_iter().chain(state.further.iter().copied());
        network.hosts.extend(all.flat_map(|of| of.iter()).map(|(address, _)| (address, port)));
    }
    add_distances(&mut network, plan, seed);
    network.agenda = Agenda::new(network.links.len() + 2);
    network
}

impl PortState {
    fn of(plan: &Plan, port: &Port) -> Self {
        let radio = plan.network_of(port.id).and_then(|spec| spec.radio);
        let (network, addresses) = (plan.network_index(port.id), port.addresses());
        let state = Self::new(Holder::Owner(port.owner.clone()), addresses, network, radio.map(Radio::new));
        Self { further: port.further.clone(), ..state }
    }

    fn of_router(plan: &Plan, router: &Router) -> Self {
        let radio = plan.topology().networks.get(router.behind).and_then(|spec| spec.radio);
        let (holder, network) = (Holder::Border(router.network), Some(router.behind));
        Self::new(holder, router.addresses, network, radio.map(Radio::new))
    }

    /// Another radio from now on, or none; what the old one has cost stays counted.
    pub(super) fn change_radio(&mut self, now: Instant, radio: Option<RadioSpec>) {
        self.radio_spent = self.radio.take().map_or(self.radio_spent, |radio| radio.finish(now));
        self.radio = radio.map(|radio| Radio::after(radio, now, self.radio_spent));
    }

    fn new(holder: Holder, addresses: Addresses, network: Option<usize>, radio: Option<Radio>) -> Self {
        let radio_spent = RadioCounts::default();
        let further = Vec::new();
        Self {
            holder,
            addresses,
            further,
            network,
            reachable: true,
            silent: false,
            shared_with: None,
            radio,
            radio_spent,
        }
    }

    /// Whether it is reached at this address.
    pub(super) fn holds(&self, address: IpAddr) -> bool {
        self.addresses.contains(address) || self.further.iter().any(|of| of.contains(address))
    }
}

fn networks(plan: &Plan, seed: u64) -> Vec<NetworkState> {
    let routers = plan.routers().iter().enumerate();
    let routers: BTreeMap<usize, PortId> = routers
        .map(|(index, router)| (router.network, PortId((plan.ports().len() + index) as u16)))
        .collect();
    let planned = plan.topology().networks.iter().zip(plan.pools()).enumerate();
    let network = |(index, (spec, pool)): (usize, (&NetworkSpec, &Pool))| {
        let (router, nat) = (routers.get(&index).copied(), plan.nat_outside(index));
        NetworkState {
            spec: spec.clone(),
            border: Border::new(spec, nat, seed, index as u64),
            pool: pool.clone(),
            router,
            hotspot: Hotspot::Never,
            outside: nat.filter(|_| router.is_none()).map(IpAddr::V4),
            unclaimed: BTreeMap::new(),
        }
    };
    planned.map(network).collect()
}

fn links(plan: &Plan, ports: &[PortState], seed: u64) -> Vec<Link> {
    let specs =
        ports.iter().flat_map(|port| match port.network.and_then(|of| plan.topology().networks.get(of)) {
            Some(spec) => [spec.up.clone(), spec.down.clone()],
            None => [server_link(plan, port), server_link(plan, port)],
        });
    specs.enumerate().map(|(number, spec)| Link::new(spec, seed, number as u64)).collect()
}

fn server_link(plan: &Plan, port: &PortState) -> LinkSpec {
    let Holder::Owner(owner) = &port.holder else { return LinkSpec::default() };
    let server = plan.topology().servers.iter().find(|server| server.name == owner.host());
    LinkSpec::with_delay(server.map_or(Duration::ZERO, |server| server.delay))
}

/// A link each way between places that are apart.
fn add_distances(network: &mut Network, plan: &Plan, seed: u64) {
    let site = |name: &str| match plan.network(name) {
        Some(network) => Some(Site::Network(network.0.into())),
        None => plan.server(name).map(|port| Site::Server(port.id)),
    };
    for (one, other, delay) in plan.distances() {
        let (Some(one), Some(other)) = (site(one), site(other)) else { continue };
        for way in [(one, other), (other, one)] {
            let id = network.links.len();
            network.links.push(Link::new(LinkSpec::with_delay(delay), seed, id as u64));
            network.distances.insert(way, id);
        }
    }
}

/// The state of the links of all planned ports.
pub(super) fn link_states(network: &Network) -> Vec<LinkState> {
    let planned = network.ports.iter().take(network.planned_ports).enumerate();
    let states = planned.flat_map(|(index, state)| {
        let port = PortId(index as u16);
        [Direction::Up, Direction::Down].into_iter().filter_map(move |direction| {
            let link = network.links.get(link_of(port, direction))?;
            let before = state.network.and_then(|here| network.past.get(&(here, port, direction)));
            let tallies = || [Some(&link.tally), before].into_iter().flatten();
            Some(LinkState {
                port,
                network: state.network.map(|index| NetworkId(index as u16)),
                direction,
                bytes: tallies().map(|tally| tally.bytes).sum(),
                queue_bytes: link.queued_bytes(),
                drops: tallies().flat_map(|tally| tally.dropped.values()).sum(),
            })
        })
    });
    states.collect()
}

/// What every link has done so far in the network where it is; then in those that its port has left; then what borders
/// dropped without knowing whose it was.
pub(super) fn counts(network: &Network) -> Vec<LinkCounts> {
    let name = |of: Option<usize>| network.name(of);
    let ports = network.ports.iter().enumerate().flat_map(|(index, state)| {
        let port = PortId(index as u16);
        let (own, owner, router) = match &state.holder {
            Holder::Owner(owner) => (Some(port), Some(owner.clone()), None),
            Holder::Border(of) => (None, None, Some(name(Some(*of)))),
        };
        [Direction::Up, Direction::Down].into_iter().filter_map(move |direction| {
            let mut tally = network.links.get(link_of(port, direction))?.tally.clone();
            let before = state.network.and_then(|here| network.past.get(&(here, port, direction)));
            tally.add(before.cloned().unwrap_or_default());
            let place = (name(state.network), own, owner.clone(), router.clone());
            Some(LinkCounts::new(place, direction, tally))
        })
    });
    let left = network.past.iter().filter_map(|((of, port, direction), tally)| {
        let state = network.port(*port).filter(|state| state.network != Some(*of))?;
        let Holder::Owner(owner) = &state.holder else { return None };
        let place = (name(Some(*of)), Some(*port), Some(owner.clone()), None);
        Some(LinkCounts::new(place, *direction, tally.clone()))
    });
    let nobody = |network: String, direction, dropped: &BTreeMap<_, _>| {
        let tally = Tally { dropped: dropped.clone(), ..Tally::default() };
        LinkCounts::new((network, None, None, None), direction, tally)
    };
    let unclaimed = network.networks.iter();
    let unclaimed = unclaimed.map(|of| nobody(of.spec.name.clone(), Direction::Down, &of.unclaimed));
    let strays =
        (!network.strays.is_empty()).then(|| nobody(INTERNET.into(), Direction::Up, &network.strays));
    ports.chain(left).chain(unclaimed).chain(strays).collect()
}

/// Network, interface, its name, and in their place the network whose border is attached here.
type CountedPlace = (String, Option<PortId>, Option<Owner>, Option<String>);

impl LinkCounts {
    fn new((network, port, owner, router): CountedPlace, direction: Direction, tally: Tally) -> Self {
        let Tally { packets, bytes, duplicated, dropped } = tally;
        Self { network, port, owner, router, direction, packets, bytes, duplicated, dropped }
    }
}
