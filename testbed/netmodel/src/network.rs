//! The event loop of the model: packets on links, what becomes of them at each end, and the sessions that time out.
//! Everything is done at its theoretical time and in the order of those times, however late the driver comes.

mod agenda;
mod change;
mod drops;
mod forward;
mod hotspot;
mod route;
mod state;

pub use change::{Change, ChangeError};

use crate::{
    Addresses, BlockCount, Direction, DropCause, LinkCounts, LinkState, NetworkEvent, NetworkId, Plan,
    PortId, RadioCounts,
    link::{Due, Link, Offer, Tally},
    packet::Packet,
    sessions::{Expiry, SessionKey},
};
use agenda::Agenda;
use drops::Place;
use route::Site;
use state::{NetworkState, PortState};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    time::Instant,
};

/// All links and borders of a plan, and every packet in flight.
///
/// The driver calls [`Network::inject`] and [`Network::apply`] as things happen, [`Network::poll`] until it gives
/// nothing, and again no later than [`Network::deadline`]. Time that goes backwards is taken for standing still.
#[derive(Debug)]
pub struct Network {
    /// Those of the plan, then those of borders that are attached to another network.
    ports: Vec<PortState>,
    planned_ports: usize,
    networks: Vec<NetworkState>,
    /// An up and a down link for each port, then those of the internet's distances.
    links: Vec<Link>,
    /// What the links of ports did in networks that the ports have left.
    past: BTreeMap<(usize, PortId, Direction), Tally>,
    /// Links between places on the internet that are apart.
    distances: BTreeMap<(Site, Site), LinkId>,
    /// Interfaces and servers by address, private addresses included: the plan gives none twice.
    hosts: BTreeMap<IpAddr, PortId>,
    /// Networks on the internet by the outside address of their NAT.
    nats: BTreeMap<IpAddr, usize>,
    /// Servers that the carriers know.
    known: BTreeSet<IpAddr>,
    /// What was lost where no link is.
    strays: BTreeMap<DropCause, u64>,
    errors_sent: u64,
    injected: u32,
    now: Option<Instant>,
    /// When something happens on the links, and after them when the first check is due.
    agenda: Agenda,
    /// When sessions may be over.
    checks: BTreeMap<Due, Check>,
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

/// The index of a link.
type LinkId = usize;

/// A session of a network's border that may be over.
#[derive(Debug, Clone, Copy)]
struct Check {
    network: usize,
    key: SessionKey,
}

impl Network {
    /// A network at rest, with all interfaces reachable.
    pub fn new(plan: &Plan, seed: u64) -> Self {
        state::build(plan, seed)
    }

    /// Sets time zero. Without it, time zero is the first instant that the network is told of.
    ///
    /// What the network does from time zero on depends on the plan, the seed and the packets and changes since then,
    /// however long the network existed before: traces and paging occasions count from time zero, radios are idle then,
    /// and random draws, loss patterns and the costs of radios begin anew. Packets that are on their way stay so.
    pub fn set_time_zero(&mut self, now: Instant, zero: Instant) {
        let now = self.advance(now);
        if zero <= now {
            self.agenda.set(self.origin_slot(), None);
            self.begin(zero);
        } else {
            self.agenda.set(self.origin_slot(), Some((zero, 0)));
        }
    }

    /// A raw IPv4 or IPv6 packet leaves a port. Whatever is wrong with it becomes a [`NetworkEvent::Dropped`]. Its number,
    /// counted from 1 and from 1 again after 2^32 - 1, by which that event names it.
    pub fn inject(&mut self, now: Instant, port: PortId, packet: Vec<u8>) -> u32 {
        self.injected = self.injected.checked_add(1).unwrap_or(1);
        let number = self.injected;
        let now = self.advance(now);
        let is_planned = usize::from(port.0) < self.planned_ports;
        let place = if is_planned { self.place(port, Direction::Up) } else { Place::NOWHERE };
        let bytes = packet.len();
        match Packet::parse(packet) {
            Ok(packet) => match (self.refuse(port, &packet), packet.numbered(number)) {
                (Some(cause), packet) => self.drop_packet(now, place, cause, &packet),
                (None, packet) => self.send(now, port, Direction::Up, packet),
            },
            Err(_) => self.drop_bytes(now, place, DropCause::Malformed, None, (bytes, number)),
        }
        number
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
        waiting.or_else(|| self.agenda.next().map(|((due, _), _)| due))
    }

    /// The addresses of a port, which [`Change::Address`] and [`Change::Roam`] change; none for a port that is not in
    /// the plan.
    pub fn addresses(&self, port: PortId) -> Option<Addresses> {
        self.ports.get(..self.planned_ports)?.get(usize::from(port.0)).map(|state| state.addresses)
    }

    /// The network that a port is attached to, which [`Change::Roam`] changes; none for a server, or a port that is not
    /// in the plan.
    pub fn network_of(&self, port: PortId) -> Option<NetworkId> {
        let state = self.ports.get(..self.planned_ports)?.get(usize::from(port.0))?;
        state.network.map(|index| NetworkId(index as u16))
    }

    /// What a port's radio has cost up to a time that is not before the last one given; nothing without a radio, and
    /// none for a port that is not in the plan.
    pub fn radio(&self, now: Instant, port: PortId) -> Option<RadioCounts> {
        let state = self.ports.get(..self.planned_ports)?.get(usize::from(port.0))?;
        Some(state.radio.as_ref().map_or(state.radio_spent, |radio| radio.counts(now)))
    }

    /// What each rule of a network has refused, in the order of the rules; none for a network that is not in the plan.
    pub fn block_counts(&self, network: NetworkId) -> Option<&[BlockCount]> {
        self.networks.get(usize::from(network.0)).map(|state| state.border.filter.counts())
    }

    /// ICMP errors that the model's routers have sent so far.
    pub fn errors_sent(&self) -> u64 {
        self.errors_sent
    }

    /// What every link has done so far in the network where it is; then in those that its port has left
    /// ([`Change::Roam`]); then what borders dropped without knowing whose it was.
    pub fn counts(&self) -> Vec<LinkCounts> {
        state::counts(self)
    }

    /// The state of the links of all interfaces and servers, in the networks where they are.
    pub fn link_states(&self) -> Vec<LinkState> {
        state::link_states(self)
    }

    /// Does everything that is due, each at its own time.
    fn advance(&mut self, now: Instant) -> Instant {
        if self.now.is_none() {
            self.begin(now);
        }
        let now = self.now.map_or(now, |last| last.max(now));
        self.now = Some(now);
        while let Some(((due, _), id)) = self.agenda.next()
            && due <= now
        {
            if id < self.links.len() {
                self.step(due, id);
            } else if id == self.origin_slot() {
                self.agenda.set(id, None);
                self.begin(due);
            } else {
                self.check(due);
            }
        }
        now
    }

    /// Time begins, or begins anew.
    fn begin(&mut self, zero: Instant) {
        for id in 0..self.links.len() {
            if let Some(link) = self.links.get_mut(id) {
                link.begin(zero);
            }
            self.arm(id);
        }
        for port in &mut self.ports {
            port.radio_spent = RadioCounts::default();
            port.radio.iter_mut().for_each(|radio| radio.begin(zero));
        }
    }

    /// Where the agenda has time zero: behind the links and the checks.
    fn origin_slot(&self) -> usize {
        self.links.len() + 1
    }

    /// Something happens on a link.
    fn step(&mut self, now: Instant, id: LinkId) {
        let Some(link) = self.links.get_mut(id) else { return };
        let step = link.step(now);
        if let Some(packet) = &step.arrived {
            link.count_arrival(packet.len());
        }
        self.arm(id);
        for packet in step.dropped {
            self.drop_packet(now, self.place_of(id), DropCause::CoDel, &packet);
        }
        if let Some(packet) = step.arrived {
            self.link_end(now, id, packet);
        }
    }

    /// Sees to it that a link is looked after when something happens on it next.
    fn arm(&mut self, id: LinkId) {
        self.agenda.set(id, self.links.get(id).and_then(Link::next));
    }

    /// Puts a packet on a link, where it draws what becomes of it.
    fn offer(&mut self, now: Instant, id: LinkId, packet: Packet, ready: Instant) {
        let Some(link) = self.links.get_mut(id) else { return };
        let fate = link.fate();
        if fate.lost {
            return self.drop_packet(now, self.place_of(id), DropCause::Lost, &packet);
        }
        let copy = fate.copy.map(|jitter| (packet.clone().numbered(0), jitter));
        link.tally.duplicated += u64::from(copy.is_some());
        let original = Some((packet, fate.jitter));
        for (packet, jitter) in original.into_iter().chain(copy) {
            let number = self.next_number;
            self.next_number += 1;
            let offer = Offer { number, packet, ready, jitter, held_back: fate.held_back };
            let refused = self.links.get_mut(id).and_then(|link| link.offer(now, offer).err());
            if let Some(packet) = refused {
                self.drop_packet(now, self.place_of(id), DropCause::QueueFull, &packet);
            }
        }
        self.arm(id);
    }

    /// The first session that may be over is looked at.
    fn check(&mut self, now: Instant) {
        let first = self.checks.pop_first();
        self.arm_checks();
        let Some((_, check)) = first else { return };
        let Check { network, key } = check;
        let Some(state) = self.networks.get_mut(network) else { return };
        match state.border.expire(now, key) {
            Expiry::AliveUntil(due) => self.check_at(due, check),
            Expiry::Ended => {}
            Expiry::MappingEnded(outside) => {
                self.tell_mapping(now, network, key.mapping.inside, outside, false)
            }
        }
    }

    fn check_at(&mut self, due: Instant, check: Check) {
        self.checks.insert((due, self.next_number), check);
        self.next_number += 1;
        self.arm_checks();
    }

    fn arm_checks(&mut self) {
        self.agenda.set(self.links.len(), self.checks.keys().next().copied());
    }

    fn port(&self, port: PortId) -> Option<&PortState> {
        self.ports.get(usize::from(port.0))
    }

    fn port_mut(&mut self, port: PortId) -> Option<&mut PortState> {
        self.ports.get_mut(usize::from(port.0))
    }
}

/// The link of a port in one direction.
fn link_of(port: PortId, direction: Direction) -> LinkId {
    2 * usize::from(port.0) + usize::from(direction == Direction::Down)
}
