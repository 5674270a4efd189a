//! A tiny network in virtual time: two agents, sockets with a delay each, NATs and firewalls that open
//! from inside, a STUN server, loss on demand. Everything is decided by the test; nothing is random.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::nat::{Dependence, Nat};
use crate::turn::Site;
use ice::stun::{Builder, Class, Message};
use ice::{
    Agent, CandidateKind, Config, Credentials, Event, PairState, PairView, Role, SocketId, SocketInfo,
    Transmit,
};

pub(crate) const A: usize = 0;
pub(crate) const B: usize = 1;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(crate) type Lose = Box<dyn FnMut(u64, usize, &[u8]) -> bool>;

/// What stands between a socket and the rest.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Border {
    /// Nothing.
    Open,
    /// A firewall that opens from inside: lets in what answers to the same address and port.
    Firewall,
    /// The same, and the address is translated: endpoint-independent mapping.
    Nat,
    /// A NAT of this mapping and filtering.
    Class(Dependence, Dependence),
}

pub(crate) struct Port {
    pub(crate) owner: usize,
    pub(crate) socket: SocketId,
    pub(crate) local: SocketAddr,
    /// Equal to `local` without a NAT.
    pub(crate) public: SocketAddr,
    pub(crate) border: Border,
    /// One way, from the socket to the middle of the network.
    pub(crate) delay: Duration,
    pub(crate) up: bool,
    /// What goes elsewhere is lost, if set.
    pub(crate) only_to: Option<std::net::IpAddr>,
    /// What goes to no relay is lost, if set.
    pub(crate) only_to_relays: bool,
    opened: BTreeSet<SocketAddr>,
    nat: Option<Nat>,
}

impl Port {
    /// Whether `address` is this port's, as seen from outside.
    fn owns(&self, address: SocketAddr) -> bool {
        match &self.nat {
            Some(_) => self.public.ip() == address.ip(),
            None => self.public == address,
        }
    }

    fn lets_in(&self, from: SocketAddr, to: SocketAddr) -> bool {
        match &self.nat {
            Some(nat) => nat.lets_in(from, to),
            None => self.border == Border::Open || self.opened.contains(&from),
        }
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Packet {
    due: Instant,
    number: u64,
    from: SocketAddr,
    to: SocketAddr,
    bytes: Vec<u8>,
}

pub(crate) struct World {
    pub(crate) epoch: Instant,
    pub(crate) now: Instant,
    pub(crate) agents: [Agent; 2],
    pub(crate) events: [Vec<(Duration, Event)>; 2],
    /// Every datagram that an agent sent: when, from which socket, to where, how many bytes.
    pub(crate) sent: [Vec<(Duration, SocketId, SocketAddr, usize)>; 2],
    pub(crate) ports: Vec<Port>,
    /// A STUN server and its one-way delay to the middle.
    pub(crate) server: Option<(SocketAddr, Duration)>,
    /// TURN servers.
    pub(crate) relays: Vec<Site>,
    /// Data that came through a relay.
    pub(crate) received: [Vec<ice::Received>; 2],
    /// Decides of every packet that leaves whether it is lost: number, sender, STUN message.
    pub(crate) lose: Lose,
    /// Candidates are signalled as they appear, with this delay.
    pub(crate) signal: Option<Duration>,
    signals: BTreeMap<(Instant, u64), (usize, Event)>,
    flying: BinaryHeap<Reverse<Packet>>,
    number: u64,
}

pub(crate) fn credentials(of: usize) -> Credentials {
    Credentials::from_entropy(&[of as u8 * 7 + 3; 32])
}

pub(crate) fn config(of: usize, role: Role) -> Config {
    Config::new(role, credentials(of), 1000 + of as u64)
}

impl World {
    pub(crate) fn new() -> World {
        World::with(config(A, Role::Controlling), config(B, Role::Controlled))
    }

    pub(crate) fn with(a: Config, b: Config) -> World {
        #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
        let epoch = Instant::now();
        World {
            epoch,
            now: epoch,
            agents: [Agent::new(a), Agent::new(b)],
            events: Default::default(),
            sent: Default::default(),
            ports: Vec::new(),
            server: None,
            relays: Vec::new(),
            received: Default::default(),
            lose: Box::new(|_, _, _| false),
            signal: None,
            signals: BTreeMap::new(),
            flying: BinaryHeap::new(),
            number: 0,
        }
    }

    /// Adds a socket; the id counts over both agents, the preference falls with it.
    pub(crate) fn socket(
        &mut self,
        owner: usize,
        interface: &str,
        local: &str,
        border: Border,
        delay: Duration,
    ) -> SocketId {
        let socket = SocketId(self.ports.len() as u32);
        let local = address(local);
        let public = match border {
            Border::Nat | Border::Class(..) => {
                SocketAddr::new([203, 0, 113, 1 + socket.0 as u8].into(), 40_000 + socket.0 as u16)
            }
            _ => local,
        };
        self.ports.push(Port {
            owner,
            socket,
            local,
            public,
            border,
            delay,
            up: true,
            only_to: None,
            only_to_relays: false,
            opened: BTreeSet::new(),
            nat: match border {
                Border::Class(mapping, filtering) => Some(Nat::new((mapping, filtering), public)),
                Border::Open | Border::Firewall | Border::Nat => None,
            },
        });
        let info = SocketInfo { interface: interface.into(), local, preference: 65_535 - socket.0 as u16 };
        self.agents[owner].add_socket(self.now, socket, info);
        self.drain();
        socket
    }

    pub(crate) fn port(&mut self, socket: SocketId) -> &mut Port {
        &mut self.ports[socket.0 as usize]
    }

    pub(crate) fn remove(&mut self, socket: SocketId) {
        let owner = self.port(socket).owner;
        self.port(socket).up = false;
        self.agents[owner].remove_socket(self.now, socket, "interface down");
        self.drain();
    }

    /// Both know each other's credentials and candidates, and start.
    pub(crate) fn introduce(&mut self) {
        for (me, other) in [(A, B), (B, A)] {
            self.introduce_to(me, other);
        }
    }

    /// `me` learns everything of `other`, and starts.
    pub(crate) fn introduce_to(&mut self, me: usize, other: usize) {
        let candidates: Vec<_> = self.agents[other].told_candidates().cloned().collect();
        for candidate in candidates {
            self.agents[me].add_remote_candidate(self.now, remote(&candidate));
        }
        self.agents[me].set_remote_credentials(self.now, credentials(other));
        self.agents[me].start(self.now);
        self.drain();
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        self.run_until(end, |_| false);
        self.now = end;
    }

    /// Runs until `done` or `end`; true when done.
    pub(crate) fn run_until(&mut self, end: Instant, mut done: impl FnMut(&World) -> bool) -> bool {
        let mut steps = 0_u64;
        loop {
            if done(self) {
                return true;
            }
            let Some(next) = self.next().filter(|next| *next <= end) else { return false };
            steps += 1;
            assert!(steps < 2_000_000, "an agent keeps waking up at {:?}", self.now - self.epoch);
            self.now = self.now.max(next);
            self.step();
        }
    }

    pub(crate) fn run_until_usable(&mut self, within: Duration) -> bool {
        let end = self.now + within;
        self.run_until(end, |world| [A, B].iter().all(|me| world.usable(*me).next().is_some()))
    }

    fn next(&self) -> Option<Instant> {
        let packet = self.flying.peek().map(|Reverse(packet)| packet.due);
        let signal = self.signals.keys().next().map(|(due, _)| *due);
        self.agents.iter().filter_map(Agent::poll_timeout).chain(packet).chain(signal).min()
    }

    fn step(&mut self) {
        while let Some(signal) = self.signals.first_entry().filter(|entry| entry.key().0 <= self.now) {
            let (me, event) = signal.remove();
            match event {
                Event::LocalCandidate(candidate) => {
                    self.agents[me].add_remote_candidate(self.now, remote(&candidate))
                }
                Event::LocalCandidateRemoved { address, .. } => {
                    self.agents[me].remove_remote_candidate(self.now, address)
                }
                _ => unreachable!("only candidates are signalled"),
            }
        }
        while self.flying.peek().is_some_and(|Reverse(packet)| packet.due <= self.now) {
            let Reverse(packet) = self.flying.pop().unwrap();
            self.arrive(packet);
        }
        for me in [A, B] {
            if self.agents[me].poll_timeout().is_some_and(|at| at <= self.now) {
                self.agents[me].handle_timeout(self.now);
            }
        }
        self.drain();
    }

    pub(crate) fn drain(&mut self) {
        for me in [A, B] {
            self.received[me].extend(std::iter::from_fn(|| self.agents[me].poll_received()));
            while let Some(transmit) = self.agents[me].poll_transmit() {
                self.sent[me].push((
                    self.now - self.epoch,
                    transmit.socket,
                    transmit.to,
                    transmit.bytes.len(),
                ));
                self.leave(me, transmit);
            }
            while let Some(event) = self.agents[me].poll_event() {
                let told = match &event {
                    Event::LocalCandidate(local) => local.kind != CandidateKind::Prflx,
                    Event::LocalCandidateRemoved { kind, .. } => *kind != CandidateKind::Prflx,
                    _ => false,
                };
                if let Some(delay) = self.signal.filter(|_| told) {
                    self.number += 1;
                    self.signals.insert((self.now + delay, self.number), (1 - me, event.clone()));
                }
                self.events[me].push((self.now - self.epoch, event));
            }
        }
    }

    pub(crate) fn leave(&mut self, me: usize, transmit: Transmit) {
        self.number += 1;
        let Transmit { socket, to, bytes } = transmit;
        let lost = (self.lose)(self.number, me, &bytes);
        let is_relay = self.relays.iter().any(|site| site.owns(to));
        let port = &mut self.ports[socket.0 as usize];
        let blocked = port.only_to.is_some_and(|only| only != to.ip()) || port.only_to_relays && !is_relay;
        if !port.up || blocked {
            return;
        }
        port.opened.insert(to);
        let from = port.nat.as_mut().map_or(port.public, |nat| nat.out(to));
        let mut delay = port.delay;
        delay += match self.server {
            Some((server, delay)) if server == to => delay,
            _ => self.relays.iter().find(|site| site.owns(to)).map(|site| site.delay).unwrap_or_else(|| {
                self.ports
                    .iter()
                    .find(|port| port.owns(to) || port.local == to)
                    .map_or(ms(0), |port| port.delay)
            }),
        };
        if !lost {
            self.flying.push(Reverse(Packet { due: self.now + delay, number: self.number, from, to, bytes }));
        }
    }

    fn arrive(&mut self, packet: Packet) {
        let Packet { from, to, bytes, number, .. } = packet;
        if let Some((server, delay)) = self.server.filter(|(server, _)| *server == to) {
            let request = Message::parse(&bytes).unwrap();
            let bytes = Builder::response(Class::Success, &request).xor_mapped_address(from).finish(None);
            let back = self.ports.iter().find(|port| port.owns(from)).map_or(ms(0), |port| port.delay);
            self.flying.push(Reverse(Packet {
                due: self.now + delay + back,
                number,
                from: server,
                to: from,
                bytes,
            }));
            return;
        }
        if self.relays.iter().any(|site| site.owns(to)) {
            return self.arrive_at_relay((from, to, bytes));
        }
        let Some(port) = self.ports.iter().find(|port| port.owns(to) && port.up) else { return };
        if port.lets_in(from, to) {
            // Rejections are the business of the tests that provoke them.
            let _ = self.agents[port.owner].handle_datagram(self.now, port.socket, from, &bytes);
        }
    }

    fn arrive_at_relay(&mut self, datagram: crate::turn::Datagram) {
        let since = self.now - self.epoch;
        let to = datagram.1;
        let Some(site) = self.relays.iter_mut().find(|site| site.owns(to)) else { return };
        let delay = site.delay;
        for (from, to, bytes) in site.receive(since, datagram) {
            let port = self.ports.iter().find(|port| port.owns(to)).map(|port| port.delay);
            let site = self.relays.iter().find(|site| site.owns(to)).map(|site| site.delay);
            self.number += 1;
            let due = self.now + delay + port.or(site).unwrap_or_default();
            self.flying.push(Reverse(Packet { due, number: self.number, from, to, bytes }));
        }
    }

    pub(crate) fn usable(&self, me: usize) -> impl Iterator<Item = PairView> + '_ {
        self.agents[me].pairs().filter(|pair| pair.state.is_usable())
    }

    /// When a pair of `me` first was in this state, since the epoch.
    pub(crate) fn first(&self, me: usize, state: PairState) -> Option<(Duration, PairView)> {
        self.events[me].iter().find_map(|(at, event)| match event {
            Event::Pair { state: now, view, .. } if *now == state => Some((*at, view.clone())),
            _ => None,
        })
    }

    /// How often pairs of `me` came into this state.
    pub(crate) fn times(&self, me: usize, wanted: PairState) -> usize {
        let matching =
            |(_, event): &&(Duration, Event)| matches!(event, Event::Pair { state, .. } if *state == wanted);
        self.events[me].iter().filter(matching).count()
    }
}

/// A local candidate as the other agent is told of it.
pub(crate) fn remote(local: &ice::LocalCandidate) -> ice::RemoteCandidate {
    ice::RemoteCandidate {
        kind: local.kind,
        address: local.address,
        priority: local.priority,
        foundation: local.foundation.clone(),
        interface: Some(local.interface.clone()),
    }
}
