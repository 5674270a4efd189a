//! The event loop of the model: packets on links, what becomes of them at each end, and the sessions that time out.
//! Everything is done at its theoretical time and in the order of those times, however late the driver comes.

mod change;

pub use change::{Change, ChangeError};

use crate::{
    Addresses, Direction, DropCause, INTERNET, LinkCounts, LinkSpec, NetworkEvent, Owner, Plan, Port, PortId,
    addresses::Pool,
    border::{Border, Opened},
    link::Link,
    packet::Packet,
    sessions::{Expiry, Inside, SessionKey},
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

/// All links and borders of a plan, and every packet in flight.
///
/// The driver calls [`Network::inject`] and [`Network::apply`] as things happen, [`Network::poll`] until it gives
/// nothing, and again no later than [`Network::deadline`]. Time that goes backwards is taken for standing still.
#[derive(Debug)]
pub struct Network {
    ports: Vec<PortState>,
    networks: Vec<NetworkState>,
    /// Interfaces and servers by address, private addresses included: the plan gives none twice.
    hosts: BTreeMap<IpAddr, PortId>,
    /// Networks by the outside address of their NAT.
    nats: BTreeMap<IpAddr, usize>,
    /// Servers that the carriers know.
    known: BTreeSet<IpAddr>,
    /// What injecting at ports that do not exist has lost.
    strays: BTreeMap<DropCause, u64>,
    now: Option<Instant>,
    /// By due time, then in the order of scheduling.
    scheduled: BTreeMap<(Instant, u64), Scheduled>,
    next_number: u64,
    outputs: VecDeque<Output>,
}

/// What [`Network::poll`] gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// A packet arrives at a port.
    Deliver {
        /// Where.
        port: PortId,
        /// The raw IP packet.
        packet: Vec<u8>,
        /// When it was due; never later than the time that was polled with.
        due: Instant,
    },
    /// Something worth recording happened.
    Event {
        /// When, in the model's own time; never later than the time that was polled with.
        at: Instant,
        /// What.
        event: NetworkEvent,
    },
}

#[derive(Debug)]
struct PortState {
    owner: Owner,
    addresses: Addresses,
    /// None for a server.
    network: Option<usize>,
    reachable: bool,
    silent: bool,
    up: Link,
    down: Link,
}

#[derive(Debug)]
struct NetworkState {
    name: String,
    border: Border,
    /// From which interfaces get other addresses.
    pool: Pool,
    /// Dropped at the border on the way in, for nobody knows whom.
    unclaimed: BTreeMap<DropCause, u64>,
}

#[derive(Debug)]
enum Scheduled {
    /// A packet comes to the end of a port's link.
    LinkEnd { port: PortId, direction: Direction, packet: Packet },
    /// A session may be over.
    Session { network: usize, key: SessionKey },
}

/// Where, and in whose traffic, something is dropped.
#[derive(Debug, Clone, Copy)]
struct Place {
    network: Option<usize>,
    port: Option<PortId>,
    direction: Direction,
}

impl Network {
    /// A network at rest, with all interfaces reachable.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        let topology = plan.topology();
        let hosts = plan.ports().iter().flat_map(|port| addresses(port).map(|address| (address, port.id)));
        let known = topology.servers.iter().filter(|server| server.known_to_carriers);
        let nat_outside = |index| plan.nat_outside(index).map(|outside| (IpAddr::V4(outside), index));
        let planned = topology.networks.iter().zip(plan.pools()).enumerate();
        let networks = planned.map(|(index, (spec, pool))| NetworkState {
            name: spec.name.clone(),
            border: Border::new(spec, plan.nat_outside(index)),
            pool: pool.clone(),
            unclaimed: BTreeMap::new(),
        });
        Self {
            ports: plan.ports().iter().map(|port| PortState::new(plan, port, seed)).collect(),
            networks: networks.collect(),
            hosts: hosts.collect(),
            nats: (0..topology.networks.len()).filter_map(nat_outside).collect(),
            known: known.filter_map(|server| plan.server(&server.name)).flat_map(addresses).collect(),
            strays: BTreeMap::new(),
            now: None,
            scheduled: BTreeMap::new(),
            next_number: 0,
            outputs: VecDeque::new(),
        }
    }

    /// A raw IPv4 or IPv6 packet leaves a port. Whatever is wrong with it becomes a [`NetworkEvent::Dropped`].
    pub fn inject(&mut self, now: Instant, port: PortId, packet: Vec<u8>) {
        let now = self.advance(now);
        let place = self.place(port, Direction::Up);
        let bytes = packet.len();
        match Packet::parse(packet) {
            Ok(packet) => match self.refuse(port, &packet) {
                Some(cause) => self.drop_packet(now, place, cause, &packet),
                None => self.send(now, port, Direction::Up, packet),
            },
            Err(_) => self.drop_bytes(now, place, DropCause::Malformed, None, bytes),
        }
    }

    /// The next thing that is due by now. Call until it gives nothing.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        self.advance(now);
        self.outputs.pop_front()
    }

    /// When to poll next: absolute, and in the past when something waits already. None when nothing will ever happen
    /// by itself.
    pub fn deadline(&self) -> Option<Instant> {
        let waiting = self.outputs.front().map(|output| match output {
            Output::Deliver { due, .. } => *due,
            Output::Event { at, .. } => *at,
        });
        waiting.or_else(|| self.scheduled.keys().next().map(|(due, _)| *due))
    }

    /// The addresses of a port, which [`Change::Address`] changes; none for a port that is not in the plan.
    pub fn addresses(&self, port: PortId) -> Option<Addresses> {
        self.port(port).map(|state| state.addresses)
    }

    /// What every link has done so far, then what borders dropped without knowing whose it was.
    pub fn counts(&self) -> Vec<LinkCounts> {
        let links = self.ports.iter().enumerate().flat_map(|(index, state)| {
            let port = PortId(index as u16);
            [(Direction::Up, &state.up), (Direction::Down, &state.down)].map(|(direction, link)| LinkCounts {
                network: self.name(state.network),
                port: Some(port),
                owner: Some(state.owner.clone()),
                direction,
                packets: link.packets,
                bytes: link.bytes,
                dropped: link.dropped.clone(),
            })
        });
        let unclaimed = self.networks.iter().map(|network| {
            LinkCounts::without_port(network.name.clone(), Direction::Down, network.unclaimed.clone())
        });
        let strays = (!self.strays.is_empty())
            .then(|| LinkCounts::without_port(INTERNET.into(), Direction::Up, self.strays.clone()));
        links.chain(unclaimed).chain(strays).collect()
    }

    /// Does everything that is due, each at its own time.
    fn advance(&mut self, now: Instant) -> Instant {
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        while let Some(entry) = self.scheduled.first_entry()
            && entry.key().0 <= now
        {
            let ((due, _), what) = entry.remove_entry();
            match what {
                Scheduled::LinkEnd { port, direction, packet } => self.link_end(due, port, direction, packet),
                Scheduled::Session { network, key } => self.sweep(due, network, key),
            }
        }
        now
    }

    /// What cannot even enter the link.
    fn refuse(&self, port: PortId, packet: &Packet) -> Option<DropCause> {
        let Some(state) = self.port(port) else { return Some(DropCause::NoRoute) };
        if !state.reachable {
            return Some(DropCause::InterfaceDown);
        }
        // Before the source is looked at: a kernel sends router solicitations from the unspecified address.
        if is_multicast(packet.destination(), &state.addresses) {
            return Some(DropCause::Multicast);
        }
        if state.silent {
            return Some(DropCause::Silenced);
        }
        (!state.addresses.contains(packet.source())).then_some(DropCause::SourceSpoofed)
    }

    /// Puts a packet on a link.
    fn send(&mut self, now: Instant, port: PortId, direction: Direction, packet: Packet) {
        let Some(state) = self.port_mut(port) else { return };
        let sent = match (state.reachable, state.silent) {
            (false, _) => Err(DropCause::InterfaceDown),
            (true, true) => Err(DropCause::Silenced),
            (true, false) => state.link(direction).send(now, packet.len()),
        };
        match sent {
            Ok(due) => self.schedule(due, Scheduled::LinkEnd { port, direction, packet }),
            Err(cause) => self.drop_packet(now, self.place(port, direction), cause, &packet),
        }
    }

    fn link_end(&mut self, now: Instant, port: PortId, direction: Direction, packet: Packet) {
        let Some(state) = self.port_mut(port) else { return };
        state.link(direction).arrived(packet.len());
        match (direction, state.network) {
            // Its address was taken away meanwhile: a host takes no packet that is for another.
            (Direction::Down, _) if !state.addresses.contains(packet.destination()) => {
                self.drop_packet(now, self.place(port, direction), DropCause::NoRoute, &packet);
            }
            (Direction::Down, _) => {
                self.outputs.push_back(Output::Deliver { port, packet: packet.into_bytes(), due: now });
            }
            (Direction::Up, None) => self.internet(now, port, packet),
            (Direction::Up, Some(network)) => self.leave_link(now, port, network, packet),
        }
    }

    /// Within the network, or out of it.
    fn leave_link(&mut self, now: Instant, port: PortId, network: usize, packet: Packet) {
        match self.hosts.get(&packet.destination()).copied() {
            Some(neighbour) if self.network_of(neighbour) == Some(network) => {
                self.send(now, neighbour, Direction::Down, packet);
            }
            _ => self.leave_network(now, port, network, packet),
        }
    }

    fn leave_network(&mut self, now: Instant, port: PortId, network: usize, mut packet: Packet) {
        let place = self.place(port, Direction::Up);
        if !self.is_routed(network, packet.destination()) {
            return self.drop_packet(now, place, DropCause::NoRoute, &packet);
        }
        if !packet.hop() {
            return self.drop_packet(now, place, DropCause::HopLimit, &packet);
        }
        let Some(state) = self.networks.get_mut(network) else { return };
        match state.border.outbound(now, &mut packet) {
            Ok(opened) => self.note_opened(now, network, opened),
            Err(cause) => return self.drop_packet(now, place, cause, &packet),
        }
        let Some(state) = self.networks.get(network) else { return };
        if state.border.hairpins(&packet) {
            return self.enter_border(now, network, packet);
        }
        if state.border.blocks(&packet, Direction::Up, &self.known) {
            return self.drop_packet(now, place, DropCause::CarrierUdpP2p, &packet);
        }
        self.internet(now, port, packet);
    }

    /// From a border or a server to whoever holds the destination.
    fn internet(&mut self, now: Instant, sender: PortId, packet: Packet) {
        let destination = packet.destination();
        match (self.public_port(destination), self.nats.get(&destination).copied()) {
            (Some((port, None)), _) => self.send(now, port, Direction::Down, packet),
            (Some((_, Some(network))), _) | (None, Some(network)) => self.enter_network(now, network, packet),
            (None, None) => {
                let place = self.place(sender, Direction::Up);
                self.drop_packet(now, place, DropCause::NoRoute, &packet);
            }
        }
    }

    fn enter_network(&mut self, now: Instant, network: usize, mut packet: Packet) {
        let Some(state) = self.networks.get(network) else { return };
        let blocked = state.border.blocks(&packet, Direction::Down, &self.known);
        let place = self.inbound_place(network, &packet);
        if blocked {
            return self.drop_packet(now, place, DropCause::CarrierUdpP2p, &packet);
        }
        if !packet.hop() {
            return self.drop_packet(now, place, DropCause::HopLimit, &packet);
        }
        self.enter_border(now, network, packet);
    }

    fn enter_border(&mut self, now: Instant, network: usize, mut packet: Packet) {
        let place = self.inbound_place(network, &packet);
        let Some(state) = self.networks.get_mut(network) else { return };
        if let Err(cause) = state.border.inbound(now, &mut packet) {
            return self.drop_packet(now, place, cause, &packet);
        }
        match self.hosts.get(&packet.destination()).copied() {
            Some(port) => self.send(now, port, Direction::Down, packet),
            None => self.drop_packet(now, place, DropCause::NoRoute, &packet),
        }
    }

    /// Whether a network's border knows a way to an address: private addresses end there.
    fn is_routed(&self, network: usize, destination: IpAddr) -> bool {
        let public = self.public_port(destination).is_some_and(|(_, of)| of != Some(network));
        public || self.nats.contains_key(&destination)
    }

    /// Who holds an address that the internet routes, and in which network.
    fn public_port(&self, address: IpAddr) -> Option<(PortId, Option<usize>)> {
        let port = *self.hosts.get(&address)?;
        let network = self.network_of(port);
        let translated =
            network.and_then(|index| self.networks.get(index)).is_some_and(|of| of.border.has_nat());
        (address.is_ipv6() || !translated).then_some((port, network))
    }

    fn note_opened(&mut self, now: Instant, network: usize, opened: Option<Opened>) {
        let Some(Opened { key, outbound, check }) = opened else { return };
        self.schedule(check, Scheduled::Session { network, key });
        if outbound.new_mapping {
            self.tell_mapping(now, network, key.inside, outbound.outside, true);
        }
    }

    fn sweep(&mut self, now: Instant, network: usize, key: SessionKey) {
        let Some(state) = self.networks.get_mut(network) else { return };
        match state.border.expire(now, key) {
            Expiry::AliveUntil(check) => self.schedule(check, Scheduled::Session { network, key }),
            Expiry::Ended => {}
            Expiry::MappingEnded(outside) => self.tell_mapping(now, network, key.inside, outside, false),
        }
    }

    fn drop_packet(&mut self, now: Instant, place: Place, cause: DropCause, packet: &Packet) {
        self.drop_bytes(now, place, cause, Some(packet.endpoints()), packet.len());
    }

    /// Counts a drop, and tells it unless it is of the kind that is only counted.
    fn drop_bytes(
        &mut self,
        now: Instant,
        place: Place,
        cause: DropCause,
        endpoints: Option<(SocketAddr, SocketAddr)>,
        bytes: usize,
    ) {
        self.count_drop(place, cause);
        if cause == DropCause::Multicast {
            return;
        }
        let event = NetworkEvent::Dropped {
            port: place.port,
            network: self.name(place.network),
            direction: place.direction,
            cause,
            source: endpoints.map(|(source, _)| source),
            destination: endpoints.map(|(_, destination)| destination),
            bytes,
        };
        self.outputs.push_back(Output::Event { at: now, event });
    }

    fn count_drop(&mut self, place: Place, cause: DropCause) {
        let port = place.port.and_then(|port| self.ports.get_mut(usize::from(port.0)));
        let network = place.network.and_then(|network| self.networks.get_mut(network));
        match (port, network) {
            (Some(port), _) => port.link(place.direction).count_drop(cause),
            (None, Some(network)) => *network.unclaimed.entry(cause).or_default() += 1,
            (None, None) => *self.strays.entry(cause).or_default() += 1,
        }
    }

    fn tell_mapping(
        &mut self,
        now: Instant,
        network: usize,
        inside: Inside,
        outside: SocketAddr,
        created: bool,
    ) {
        let event = NetworkEvent::Mapping {
            network: self.name(Some(network)),
            protocol: inside.protocol,
            inside: inside.address,
            outside,
            created,
        };
        self.outputs.push_back(Output::Event { at: now, event });
    }

    fn schedule(&mut self, due: Instant, what: Scheduled) {
        self.scheduled.insert((due, self.next_number), what);
        self.next_number += 1;
    }

    fn place(&self, port: PortId, direction: Direction) -> Place {
        Place { network: self.network_of(port), port: Some(port), direction }
    }

    fn inbound_place(&self, network: usize, packet: &Packet) -> Place {
        let inside = self.networks.get(network).and_then(|state| state.border.meant_for(packet));
        let port = inside.and_then(|address| self.hosts.get(&address).copied());
        Place { network: Some(network), port, direction: Direction::Down }
    }

    fn port(&self, port: PortId) -> Option<&PortState> {
        self.ports.get(usize::from(port.0))
    }

    fn port_mut(&mut self, port: PortId) -> Option<&mut PortState> {
        self.ports.get_mut(usize::from(port.0))
    }

    fn network_of(&self, port: PortId) -> Option<usize> {
        self.port(port)?.network
    }

    fn name(&self, network: Option<usize>) -> String {
        network
            .and_then(|index| self.networks.get(index))
            .map_or_else(|| INTERNET.into(), |state| state.name.clone())
    }
}

impl PortState {
    fn new(plan: &Plan, port: &Port, seed: u64) -> Self {
        let network = plan.network_index(port.id);
        let (up, down) = match plan.network_of(port.id) {
            Some(spec) => (spec.up.clone(), spec.down.clone()),
            None => (server_link(plan, port), server_link(plan, port)),
        };
        let number = 2 * u64::from(port.id.0);
        Self {
            owner: port.owner.clone(),
            addresses: port.addresses(),
            network,
            reachable: true,
            silent: false,
            up: Link::new(up, seed, number),
            down: Link::new(down, seed, number + 1),
        }
    }

    fn link(&mut self, direction: Direction) -> &mut Link {
        match direction {
            Direction::Up => &mut self.up,
            Direction::Down => &mut self.down,
        }
    }
}

impl LinkCounts {
    fn without_port(network: String, direction: Direction, dropped: BTreeMap<DropCause, u64>) -> Self {
        Self { network, port: None, owner: None, direction, packets: 0, bytes: 0, dropped }
    }
}

fn server_link(plan: &Plan, port: &Port) -> LinkSpec {
    let server = plan.topology().servers.iter().find(|server| server.name == port.owner.host());
    LinkSpec::with_delay(server.map_or(Duration::ZERO, |server| server.delay))
}

fn addresses(port: &Port) -> impl Iterator<Item = IpAddr> + use<> {
    port.addresses().iter().map(|(address, _)| address)
}

/// Multicast, limited broadcast, or the broadcast address of the sender's own subnet.
fn is_multicast(destination: IpAddr, own: &Addresses) -> bool {
    let IpAddr::V4(to) = destination else { return destination.is_multicast() };
    let subnet_broadcast =
        |(own, _): (Ipv4Addr, u8)| to.octets()[3] == u8::MAX && to.octets()[..3] == own.octets()[..3];
    to.is_multicast() || to.is_broadcast() || own.ipv4.is_some_and(subnet_broadcast)
}
