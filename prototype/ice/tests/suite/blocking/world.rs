//! Two probers, a control and a server on the network model.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ice::SocketId;
use ice::blocking::{Config, End, Finding, Key, Output, Prober, Reach, Report, Responder, Route};
use ice::stun::{Builder, Class, Message};
use netmodel::{
    Block, Change, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, Loss, NatSpec, Network, NetworkId,
    NetworkSpec, Plan, PortId, Probability, ServerSpec, Topology, build_udp, parse_udp,
};

use crate::net::ms;

/// A network of one end, and how its interface there is.
#[derive(Clone)]
pub(crate) struct Behind {
    pub(crate) nat: Option<NatSpec>,
    pub(crate) ipv6: Ipv6Access,
    pub(crate) blocks: Vec<Block>,
    pub(crate) loss: f64,
    /// Not even TCP passes.
    pub(crate) dead: bool,
}

impl Default for Behind {
    fn default() -> Behind {
        Behind { nat: None, ipv6: Ipv6Access::None, blocks: vec![], loss: 0.0, dead: false }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Control {
    Up,
    /// It is asked, and is not there.
    Down,
    None,
}

/// What the client sends from one interface leaves by its first one.
#[derive(Clone, Copy)]
pub(crate) struct Detour {
    pub(crate) place: usize,
    /// The source stays as it was bound, as with `bind: address`; otherwise the kernel chooses, as with `bind: none`.
    pub(crate) keeps_address: bool,
}

#[derive(Clone)]
pub(crate) struct Setup {
    pub(crate) ends: [Vec<Behind>; 2],
    pub(crate) control: Control,
    /// Probers of NAT behaviour have found out the classes.
    pub(crate) classes: bool,
    pub(crate) signalling: bool,
    /// What the kernel says, where nothing else is asked for.
    pub(crate) route: Route,
    pub(crate) detour: Option<Detour>,
    /// The client's interfaces carry nothing from then on, for so long.
    pub(crate) outage: Option<(Duration, Duration)>,
    /// Filters of the client's first network, from then on.
    pub(crate) late: Option<(Duration, Vec<Block>)>,
}

impl Setup {
    pub(crate) fn new(ends: [Vec<Behind>; 2]) -> Setup {
        Setup {
            ends,
            control: Control::Up,
            classes: true,
            signalling: true,
            route: Route::Right,
            detour: None,
            outage: None,
            late: None,
        }
    }

    /// So many percent, everywhere and each way.
    pub(crate) fn lose(&mut self, percent: f64) {
        self.ends.iter_mut().flatten().for_each(|behind| behind.loss = percent);
    }
}

struct Socket {
    end: usize,
    id: SocketId,
    place: usize,
    local: SocketAddr,
    port: PortId,
    /// By which it leaves, and with which source.
    leaves: (PortId, SocketAddr),
    route: Route,
    dead: bool,
}

pub(crate) struct World {
    epoch: Instant,
    now: Instant,
    network: Network,
    setup: Setup,
    /// The network of the client.
    first_network: NetworkId,
    sockets: Vec<Socket>,
    probers: [Prober; 2],
    responder: Responder,
    control: (PortId, Vec<SocketAddr>),
    meet: (PortId, Vec<SocketAddr>),
    signals: VecDeque<(Instant, usize, Vec<u8>)>,
    next_keep_alive: Instant,
    /// Decides whether a SYN and its answer get through.
    chance: u64,
}

const CONTROL_PORT: u16 = 47_111;
const STUN_PORT: u16 = 3478;
/// Of what is no STUN.
const SIGNAL_PORT: u16 = 4000;

fn topology(setup: &Setup) -> Topology {
    let name = |end: usize, place: usize| format!("n{end}{place}");
    let network = |end: usize, place: usize, behind: &Behind| {
        let loss = match behind.loss {
            0.0 => Loss::None,
            percent => Loss::Independent(Probability::percent(percent).unwrap()),
        };
        NetworkSpec {
            nat: behind.nat.clone(),
            ipv6: behind.ipv6,
            blocks: behind.blocks.clone(),
            ..NetworkSpec::new(name(end, place), LinkSpec { loss, ..LinkSpec::with_delay(ms(10)) })
        }
    };
    let places = || (0..2).flat_map(|end| setup.ends[end].iter().enumerate().map(move |one| (end, one)));
    let interface = |end, place| InterfaceSpec { name: format!("if{place}"), network: name(end, place) };
    let host = |end: usize| HostSpec {
        name: format!("host{end}"),
        interfaces: (0..setup.ends[end].len()).map(|place| interface(end, place)).collect(),
    };
    let server = |name: &str, known| ServerSpec { known_to_carriers: known, ..ServerSpec::new(name, ms(10)) };
    Topology {
        networks: places().map(|(end, (place, behind))| network(end, place, behind)).collect(),
        hosts: vec![host(0), host(1)],
        servers: vec![server("meet", true), server("control", false)],
    }
}

impl World {
    pub(crate) fn new(setup: Setup, seed: u64) -> World {
        #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
        let now = Instant::now();
        let plan = Plan::new(topology(&setup)).unwrap();
        let network = Network::new(&plan, seed);
        let server = |name: &str, port: u16| {
            let found = plan.server(name).unwrap();
            let ips = found
                .ipv4
                .map(|(ip, _)| IpAddr::from(ip))
                .into_iter()
                .chain(found.ipv6.map(|(ip, _)| ip.into()));
            (found.id, ips.map(|ip| SocketAddr::new(ip, port)).collect::<Vec<_>>())
        };
        let (control, meet) = (server("control", CONTROL_PORT), server("meet", STUN_PORT));
        let key = || Key::new(&[7; 32]);
        let prober = |end, seed| {
            let controls = if setup.control == Control::None { vec![] } else { control.1.clone() };
            Prober::new(Config {
                end,
                key: key(),
                controls,
                servers: meet.1.clone(),
                seed: ice::spread_seed(seed),
            })
        };
        let probers = [prober(End::Client, seed), prober(End::Server, !seed)];
        let mut world = World {
            epoch: now,
            now,
            network,
            first_network: plan.network("n00").unwrap(),
            sockets: vec![],
            probers,
            responder: Responder::new(key(), seed),
            control,
            meet,
            signals: VecDeque::new(),
            next_keep_alive: now,
            chance: seed,
            setup,
        };
        world.open_sockets(&plan);
        world
    }

    fn open_sockets(&mut self, plan: &Plan) {
        for end in 0..2 {
            for place in 0..self.setup.ends[end].len() {
                let port = plan.port_of(&format!("host{end}"), &format!("if{place}")).unwrap();
                let first = plan.port_of(&format!("host{end}"), "if0").unwrap();
                let of = |network: &Network, port| {
                    let addresses = network.addresses(port).unwrap();
                    let ipv4 = addresses.ipv4.map(|(ip, _)| IpAddr::from(ip));
                    ipv4.into_iter().chain(addresses.ipv6.map(|(ip, _)| ip.into())).collect::<Vec<_>>()
                };
                for ip in of(&self.network, port) {
                    let id = SocketId(self.sockets.len() as u32);
                    let local = SocketAddr::new(ip, 40_000 + id.0 as u16);
                    let detour = self.setup.detour.filter(|detour| end == 0 && detour.place == place);
                    let elsewhere = of(&self.network, first)[0];
                    let leaves = match detour {
                        None => (port, local),
                        Some(Detour { keeps_address: true, .. }) => (first, local),
                        Some(_) => (first, SocketAddr::new(elsewhere, local.port())),
                    };
                    let route = match detour {
                        Some(_) => Route::Wrong,
                        None if end == 0 => self.setup.route,
                        None => Route::Right,
                    };
                    let behind = &self.setup.ends[end][place];
                    let prober = &mut self.probers[end];
                    prober.add_socket(id, &format!("if{place}"), local, self.setup.classes);
                    if self.setup.classes && !local.is_ipv6() {
                        prober.set_nat(id, super::class(behind.nat.as_ref()));
                    } else {
                        prober.set_nat(id, Default::default());
                    }
                    let dead = behind.dead;
                    self.sockets.push(Socket { end, id, place, local, port, leaves, route, dead });
                }
            }
        }
    }

    /// Runs until the client has nothing to wait for.
    pub(crate) fn run(&mut self) -> Vec<Finding> {
        self.probers.iter_mut().for_each(|prober| prober.start(self.now));
        self.drain();
        let mut steps = 0_u64;
        while !self.probers[0].is_done(self.now) {
            steps += 1;
            assert!(steps < 400_000, "never done: {:?}", self.probers);
            let signal = self.signals.front().map(|(at, ..)| *at);
            let probers =
                self.probers.iter().filter(|one| !one.is_done(self.now)).filter_map(Prober::poll_timeout);
            let next =
                probers.chain(self.network.deadline()).chain(signal).chain([self.next_keep_alive]).min();
            self.now = self.now.max(next.unwrap());
            self.step();
        }
        assert!(self.now - self.epoch <= Duration::from_secs(61), "takes {:?}", self.now - self.epoch);
        self.probers[0].findings()
    }

    fn step(&mut self) {
        self.begin_or_end_outage();
        if let Some((_, blocks)) = self.setup.late.take_if(|(from, _)| self.epoch + *from <= self.now) {
            self.network.apply(self.now, Change::Blocks { network: self.first_network, blocks }).unwrap();
        }
        if self.next_keep_alive <= self.now {
            self.next_keep_alive = self.now + ms(300);
            self.keep_alive();
        }
        while let Some(output) = self.network.poll(self.now) {
            if let netmodel::Output::Deliver { port, packet, .. } = output {
                self.deliver(port, &packet);
            }
        }
        while self.signals.front().is_some_and(|(at, ..)| *at <= self.now) {
            let (_, end, bytes) = self.signals.pop_front().unwrap();
            self.probers[end].handle_report(self.now, Report::from_bytes(&bytes).unwrap());
        }
        for prober in &mut self.probers {
            if prober.poll_timeout().is_some_and(|at| at <= self.now) {
                prober.handle_timeout(self.now);
            }
        }
        self.drain();
    }

    fn begin_or_end_outage(&mut self) {
        let Some((from, length)) = self.setup.outage else { return };
        let since = self.now - self.epoch;
        let silent = (from..from + length).contains(&since);
        for port in self.sockets.iter().filter(|socket| socket.end == 0).map(|socket| socket.port) {
            self.network.apply(self.now, Change::Silence { port, silent }).unwrap();
        }
    }

    /// The rendezvous protocol: no STUN, and known to carriers.
    fn keep_alive(&mut self) {
        for socket in &self.sockets {
            let to = self.meet.1.iter().find(|to| to.is_ipv6() == socket.local.is_ipv6()).unwrap();
            let packet =
                build_udp(socket.leaves.1, SocketAddr::new(to.ip(), SIGNAL_PORT), b"\x05signal").unwrap();
            self.network.inject(self.now, socket.leaves.0, packet);
        }
    }

    fn drain(&mut self) {
        for end in 0..2 {
            if let Some(report) = self.probers[end].take_report(self.now).filter(|_| self.setup.signalling) {
                let bytes = report.to_bytes(1000);
                assert_eq!(Report::from_bytes(&bytes), Some(report), "a report survives its bytes");
                self.signals.push_back((self.now + ms(80), 1 - end, bytes));
            }
            while let Some(output) = self.probers[end].poll() {
                self.carry_out(end, output);
            }
        }
    }

    fn carry_out(&mut self, end: usize, output: Output) {
        let of =
            |sockets: &[Socket], id| sockets.iter().position(|one| (one.end, one.id) == (end, id)).unwrap();
        match output {
            Output::Transmit(transmit) => {
                let socket = &self.sockets[of(&self.sockets, transmit.socket)];
                let packet = build_udp(socket.leaves.1, transmit.to, &transmit.bytes).unwrap();
                self.network.inject(self.now, socket.leaves.0, packet);
            }
            Output::Connect { socket, .. } => {
                let Socket { place, dead, .. } = self.sockets[of(&self.sockets, socket)];
                let outage = self.setup.outage.filter(|_| end == 0);
                let passes = !dead && self.connects(self.setup.ends[end][place].loss, outage);
                let reach = match (passes, self.setup.control) {
                    (false, _) => Reach::Silent,
                    (true, Control::Up) => Reach::Connected,
                    (true, _) => Reach::Refused,
                };
                self.probers[end].set_reach(socket, reach);
            }
            Output::FindRoute { socket, to } => {
                let route = self.sockets[of(&self.sockets, socket)].route;
                self.probers[end].set_route(socket, to, route);
            }
        }
    }

    /// Three connections, of two SYN packets each.
    fn connects(&mut self, loss: f64, outage: Option<(Duration, Duration)>) -> bool {
        let both_ways = (1.0 - loss / 100.0).powi(2);
        let mut passes = |at: Duration| {
            self.chance =
                self.chance.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let lucky = ((self.chance >> 11) as f64) < both_ways * (1_u64 << 53) as f64;
            lucky && outage.is_none_or(|(from, length)| at + ms(40) < from || at >= from + length)
        };
        let mut at = Duration::ZERO;
        let mut connected = 0;
        for _ in 0..3 {
            let lasts =
                [ms(0), ms(1000)].into_iter().find(|after| passes(at + *after)).map(|after| after + ms(40));
            connected += u32::from(lasts.is_some());
            at += lasts.unwrap_or(ms(2500));
        }
        connected == 3
    }

    fn deliver(&mut self, port: PortId, packet: &[u8]) {
        // ICMP errors are none of ours.
        let Ok(udp) = parse_udp(packet) else { return };
        let (from, to, data) = (udp.source, udp.destination, &packet[udp.payload]);
        if port == self.control.0 {
            if self.setup.control == Control::Up && to.port() == CONTROL_PORT {
                self.reply(port, to, from, self.responder.answer(from, data));
            }
        } else if port == self.meet.0 {
            let answer = match Message::parse(data) {
                Ok(request) => {
                    Some(Builder::response(Class::Success, &request).xor_mapped_address(from).finish(None))
                }
                Err(_) => Some(data.to_vec()),
            };
            self.reply(port, to, from, answer);
        } else if let Some(socket) = self.sockets.iter().find(|socket| {
            let bound = socket.leaves.1 == to || socket.local == to;
            bound && (socket.port == port || socket.leaves.0 == port)
        }) {
            let prober = &mut self.probers[socket.end];
            match data {
                [5, ..] if from.port() == SIGNAL_PORT => prober.heard_server(socket.id),
                _ => assert!(prober.handle_datagram(self.now, socket.id, from, data) || socket.place < 9),
            }
        }
    }

    fn reply(&mut self, port: PortId, from: SocketAddr, to: SocketAddr, bytes: Option<Vec<u8>>) {
        if let Some(bytes) = bytes {
            self.network.inject(self.now, port, build_udp(from, to, &bytes).unwrap());
        }
    }
}
