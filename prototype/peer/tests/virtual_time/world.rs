//! Two peers, a rendezvous server and the network model in virtual time: the loop that every driver has, with a
//! clock that jumps from deadline to deadline.

use crate::{
    call_relays::CallRelays,
    trouble::{Held, Trouble},
};
use ice::server::{Server, ServerConfig, ServerOutput};
use netmodel::{
    Block, BlockAnswer, BlockDirection, Change, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind,
    NatSpec, Network, NetworkSpec, Output as NetOutput, Plan, PortId, ServerSpec, Topology, build_udp,
    parse_udp,
};
use peer::{
    CallSpec, EngineKind, Event, Evidence, Identity, Interface, InterfaceChange, InterfaceKind, Outcome,
    Output, Peer, PeerConfig, Policy, RelayServer, Role, Secret, SocketId, Ticket, blocking, rendezvous,
};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::OnceLock,
    time::{Duration, Instant},
};

pub(crate) const MEET_PORT: u16 = 3478;
const USER: &str = "caller";
const PASSWORD: &str = "between us";

pub(crate) struct World {
    pub(crate) epoch: Instant,
    pub(crate) now: Instant,
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) trouble: Trouble,
    pub(crate) hosts: BTreeMap<String, Host>,
    meet: rendezvous::Server,
    /// On the topology's server `relay`, if it has one.
    relay: Option<Relay>,
    /// On its servers `call-1`, `call-2` and so on.
    pub(crate) call_relays: CallRelays,
    /// Since the epoch, host, event: in order.
    pub(crate) events: Vec<(Duration, String, Event)>,
    ticket: Ticket,
    /// Packets that arrived at a host and found no socket.
    pub(crate) unclaimed: usize,
    /// Keeps pace with the clock, for an engine that reads it.
    pub(crate) paced: bool,
}

/// `iceperf relay` without its sockets.
struct Relay {
    server: Server,
    next_port: u16,
}

pub(crate) struct Host {
    pub(crate) peer: Peer,
    #[cfg(feature = "quiche")]
    config: PeerConfig,
    sockets: BTreeMap<SocketId, (PortId, SocketAddr)>,
    next_port: u16,
    pub(crate) outcome: Option<Outcome>,
    pub(crate) key_log: Vec<String>,
    pub(crate) qlog: BTreeMap<u32, Vec<u8>>,
}

/// The certificate is made once: making one is slow, and nothing depends on it.
pub(crate) fn identity() -> Identity {
    static IDENTITY: OnceLock<Identity> = OnceLock::new();
    IDENTITY
        .get_or_init(|| {
            let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let parameters = rcgen::CertificateParams::new(vec!["iceperf".to_owned()]).unwrap();
            let certificate = parameters.self_signed(&key).unwrap();
            Identity::new(certificate.der().to_vec(), key.serialize_der()).unwrap()
        })
        .clone()
}

pub(crate) fn secret() -> Secret {
    Secret([42; 16])
}

/// The networks of the notes: a home WiFi with IPv6, and two carriers that block IPv4 between peers.
pub(crate) fn notes_topology() -> Topology {
    let carrier = |name: &str| NetworkSpec {
        nat: Some(NatSpec::new(NatKind::CarrierGrade)),
        ipv6: Ipv6Access::Firewalled,
        blocks: vec![Block::UdpPeerToPeer {
            ipv4: true,
            ipv6: false,
            direction: BlockDirection::Both,
            answer: BlockAnswer::Silence,
        }],
        ..NetworkSpec::new(name, LinkSpec::with_delay(Duration::from_millis(15)))
    };
    let home = NetworkSpec {
        nat: Some(NatSpec::new(NatKind::Home)),
        ipv6: Ipv6Access::Firewalled,
        ..NetworkSpec::new("home", LinkSpec::with_delay(Duration::from_millis(4)))
    };
    Topology {
        networks: vec![home, carrier("o2"), carrier("telekom")],
        hosts: vec![
            host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
            host("desktop", &[("wwan0", "telekom")]),
        ],
        servers: vec![ServerSpec::new("meet", Duration::from_millis(15))],
    }
}

pub(crate) fn one_lan() -> netmodel::Topology {
    let lan = netmodel::LinkSpec::with_delay(Duration::from_millis(1));
    netmodel::Topology {
        networks: vec![netmodel::NetworkSpec::new("lan", lan)],
        hosts: vec![host("laptop", &[("eth0", "lan")]), host("desktop", &[("eth0", "lan")])],
        servers: vec![],
    }
}

pub(crate) fn host(name: &str, interfaces: &[(&str, &str)]) -> HostSpec {
    let interface =
        |(name, network): &(&str, &str)| InterfaceSpec { name: (*name).into(), network: (*network).into() };
    HostSpec { name: name.into(), interfaces: interfaces.iter().map(interface).collect() }
}

/// How the client is told to find the server.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Signal {
    Rendezvous,
    /// The ticket lists the server's addresses; everything else travels in the connection.
    InBand,
}

pub(crate) fn call_config(role: Role, seed: u64) -> PeerConfig {
    PeerConfig {
        role,
        engine: EngineKind::default(),
        evidence: Evidence::default(),
        policy: Policy::multipath(),
        stun: vec![],
        relays: vec![],
        call_relays: None,
        disguises: vec![],
        call: Some(CallSpec::default()),
        bulk: None,
        probe: None,
        duration: None,
        connect_timeout: Duration::from_secs(20),
        port: 0,
        seed,
    }
}

impl World {
    /// Client `laptop`, server `desktop`, server `meet`.
    pub(crate) fn new(topology: Topology, signal: Signal, seed: u64) -> Self {
        Self::with_ticket(topology, signal, seed, |_| {})
    }

    pub(crate) fn with_ticket(
        topology: Topology,
        signal: Signal,
        seed: u64,
        change: impl Fn(&mut Ticket),
    ) -> Self {
        Self::with(topology, signal, seed, change, |_| {})
    }

    /// `configure` changes both peers' configurations.
    pub(crate) fn with(
        topology: Topology,
        signal: Signal,
        seed: u64,
        change: impl Fn(&mut Ticket),
        configure: impl Fn(&mut PeerConfig),
    ) -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "virtual time needs an epoch; nothing depends on which"
        )]
        let epoch = Instant::now();
        let plan = Plan::new(topology).unwrap();
        let meet = plan.server("meet").map(|port| addresses(&plan, port.id)).unwrap_or_default();
        let rendezvous: Vec<SocketAddr> = match signal {
            Signal::Rendezvous => meet.iter().map(|ip| SocketAddr::new(*ip, MEET_PORT)).collect(),
            Signal::InBand => vec![],
        };
        let desktop = plan.ports().iter().filter(|port| port.owner.host() == "desktop").map(|port| port.id);
        let listed = desktop.flat_map(|port| addresses(&plan, port)).map(|ip| SocketAddr::new(ip, 4433));
        let mut ticket = Ticket {
            addresses: if signal == Signal::InBand { listed.collect() } else { vec![] },
            rendezvous: rendezvous.clone(),
            fingerprint: identity().fingerprint(),
            secret: secret(),
        };
        change(&mut ticket);
        let server = Role::Server { identity: identity(), secret: secret(), rendezvous };
        let mut server = PeerConfig { port: 4433, ..call_config(server, seed ^ 0x5e7) };
        let mut client = call_config(Role::Client { ticket: ticket.clone() }, seed);
        let relay = plan.server("relay").map(|port| addresses(&plan, port.id)).unwrap_or_default();
        let relay: Vec<SocketAddr> = relay.iter().map(|ip| SocketAddr::new(*ip, MEET_PORT)).collect();
        for config in [&mut server, &mut client] {
            let user = |address| RelayServer { address, username: USER.into(), password: PASSWORD.into() };
            config.relays = relay.iter().copied().map(user).collect();
            config.call_relays = CallRelays::of(&plan);
            configure(config);
        }
        let mut world = Self {
            epoch,
            now: epoch,
            network: Network::new(&plan, seed),
            call_relays: CallRelays::new(&plan),
            trouble: Trouble::default(),
            plan,
            hosts: BTreeMap::new(),
            meet: rendezvous::Server::new(),
            relay: (!relay.is_empty()).then(|| Relay::new(relay)),
            events: vec![],
            ticket,
            unclaimed: 0,
            paced: false,
        };
        world.add("laptop", client);
        world.add("desktop", server);
        world
    }

    fn add(&mut self, name: &str, config: PeerConfig) {
        let peer = Peer::new(config.clone()).unwrap();
        let host = Host {
            peer,
            #[cfg(feature = "quiche")]
            config,
            sockets: BTreeMap::new(),
            next_port: 40_000,
            outcome: None,
            key_log: vec![],
            qlog: BTreeMap::new(),
        };
        self.hosts.insert(name.into(), host);
        let interfaces: Vec<String> = self
            .plan
            .ports()
            .iter()
            .filter(|port| port.owner.host() == name)
            .map(|port| port.owner.interface().to_owned())
            .collect();
        for interface in interfaces {
            self.tell_interface(name, &interface, true, true);
        }
    }

    pub(crate) fn start(&mut self) {
        for name in self.names() {
            self.hosts.get_mut(&name).unwrap().peer.start(self.now);
            self.drain(&name);
        }
    }

    /// A new process with the same arguments.
    #[cfg(feature = "quiche")]
    pub(crate) fn restart(&mut self, name: &str) {
        let mut config = self.hosts[name].config.clone();
        config.seed += 1;
        self.add(name, config);
        self.hosts.get_mut(name).unwrap().peer.start(self.now);
        self.drain(name);
    }

    /// Somebody tells a peer something.
    pub(crate) fn command(&mut self, name: &str, what: impl FnOnce(&mut Peer, Instant)) {
        what(&mut self.hosts.get_mut(name).unwrap().peer, self.now);
        self.drain(name);
    }

    pub(crate) fn stop(&mut self, name: &str) {
        self.hosts.get_mut(name).unwrap().peer.stop(self.now);
        self.drain(name);
    }

    fn names(&self) -> Vec<String> {
        self.hosts.keys().cloned().collect()
    }

    /// Another holder of the ticket comes.
    pub(crate) fn second_client(&mut self, name: &str, seed: u64) {
        let ticket = self.ticket.clone();
        self.add(name, call_config(Role::Client { ticket }, seed));
        self.hosts.get_mut(name).unwrap().peer.start(self.now);
        self.drain(name);
    }

    /// That the network has given to an interface by now, IPv6 first.
    pub(crate) fn addresses(&self, host: &str, interface: &str) -> Vec<IpAddr> {
        let port = self.plan.port_of(host, interface).unwrap();
        let given = self.network.addresses(port).unwrap();
        let mut addresses: Vec<IpAddr> = given.iter().map(|(address, _)| address).collect();
        addresses.sort_by_key(IpAddr::is_ipv4);
        addresses
    }

    pub(crate) fn tell_interface(&mut self, host: &str, name: &str, up: bool, carrier: bool) {
        let addresses = if up { self.addresses(host, name) } else { vec![] };
        self.tell_addresses(host, name, (up, carrier), addresses);
    }

    /// The interface stays up and keeps only its IPv4 address.
    pub(crate) fn lose_ipv6(&mut self, host: &str, name: &str) {
        let mut addresses = self.addresses(host, name);
        addresses.retain(IpAddr::is_ipv4);
        self.tell_addresses(host, name, (true, true), addresses);
    }

    pub(crate) fn tell_addresses(
        &mut self,
        host: &str,
        name: &str,
        (up, carrier): (bool, bool),
        addresses: Vec<IpAddr>,
    ) {
        let kind = match name {
            "eth0" => InterfaceKind::Lan,
            "wlan0" => InterfaceKind::Wifi,
            _ => InterfaceKind::Cellular,
        };
        let interface = Interface { name: name.into(), kind, up, carrier, addresses, metric: None };
        let now = self.now;
        self.hosts.get_mut(host).unwrap().peer.handle_interface(now, InterfaceChange::Changed(interface));
        self.drain(host);
    }

    /// The packets stop; whether the host is told is the caller's business.
    pub(crate) fn reach(&mut self, host: &str, interface: &str, reachable: bool) {
        let port = self.plan.port_of(host, interface).unwrap();
        self.network.apply(self.now, Change::InterfaceState { port, reachable }).unwrap();
    }

    pub(crate) fn down(&mut self, host: &str, interface: &str) {
        self.reach(host, interface, false);
        self.tell_interface(host, interface, false, false);
    }

    pub(crate) fn up(&mut self, host: &str, interface: &str) {
        self.reach(host, interface, true);
        self.tell_interface(host, interface, true, true);
    }

    /// A datagram from anywhere, straight at the socket of `host` that is bound to `to`.
    pub(crate) fn throw(&mut self, host: &str, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        self.arrive(host, from, to, bytes);
    }

    pub(crate) fn sockets(&self, host: &str) -> Vec<SocketAddr> {
        self.hosts[host].sockets.values().map(|(_, local)| *local).collect()
    }

    /// Until this long after the epoch.
    pub(crate) fn run_until(&mut self, until: Duration) {
        let end = self.epoch + until;
        let mut at_one_instant = 0;
        while let Some(next) = self.next_deadline().filter(|next| *next <= end) {
            at_one_instant = if next > self.now { 0 } else { at_one_instant + 1 };
            assert!(
                at_one_instant < 1000,
                "a deadline in the past is never met: {:?}",
                self.now - self.epoch
            );
            self.now = self.pace(next.max(self.now));
            self.step();
        }
        self.now = self.pace(end);
    }

    /// Until `done`, or this long after the epoch; whether it was done.
    #[cfg(feature = "quiche")]
    pub(crate) fn run_until_done(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        while !done(self) && self.now < self.epoch + limit {
            let step = self.now - self.epoch + Duration::from_millis(5);
            self.run_until(step);
        }
        done(self)
    }

    #[expect(clippy::disallowed_methods, reason = "an engine that reads the clock cannot be run ahead of it")]
    fn pace(&self, next: Instant) -> Instant {
        if !self.paced {
            return next;
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        Instant::now().max(next)
    }

    fn next_deadline(&self) -> Option<Instant> {
        let awake = self.hosts.iter().filter(|(name, _)| !self.trouble.is_frozen(name));
        let peers = awake.filter_map(|(_, host)| host.peer.deadline());
        let relay = self.relay.as_ref().and_then(|relay| relay.server.poll_timeout());
        peers.chain(relay).chain(self.network.deadline()).chain(self.trouble.deadline()).min()
    }

    fn step(&mut self) {
        while let Some(output) = self.network.poll(self.now) {
            if let NetOutput::Deliver { port, packet, .. } = output {
                self.deliver(port, &packet);
            }
        }
        while let Some(Held { host, from, to, bytes }) = self.trouble.due(self.now) {
            self.arrive(&host, from, to, &bytes);
        }
        while let Some((_, waiting)) = self.trouble.thaw(self.now) {
            for Held { host, from, to, bytes } in waiting {
                self.arrive(&host, from, to, &bytes);
            }
        }
        if let Some(relay) = self.relay.as_mut().filter(|relay| relay.server.poll_timeout() <= Some(self.now))
        {
            relay.server.handle_timeout(self.now);
            self.drain_relay();
        }
        for name in self.names() {
            if self.trouble.is_frozen(&name) {
                continue;
            }
            let host = self.hosts.get_mut(&name).unwrap();
            if host.peer.deadline().is_some_and(|at| at <= self.now) {
                host.peer.handle_timeout(self.now);
                self.drain(&name);
            }
        }
    }

    fn deliver(&mut self, port: PortId, packet: &[u8]) {
        let udp = parse_udp(packet).unwrap();
        let payload = &packet[udp.payload.clone()];
        let owner = self.plan.port(port).unwrap().owner.host().to_owned();
        if owner == "meet" {
            // One socket for each family.
            let socket = SocketId(u32::from(udp.destination.is_ipv6()));
            for answer in self.meet.handle_datagram(self.now, socket, udp.source, payload) {
                let local = addresses(&self.plan, port)[usize::from(answer.socket == SocketId(0))];
                let local = SocketAddr::new(local, MEET_PORT);
                self.network.inject(self.now, port, build_udp(local, answer.to, &answer.bytes).unwrap());
            }
        } else if owner == "control" {
            let control = blocking::Responder::new(blocking::Key::new(&secret().probe_key()), 1);
            if let Some(answer) = control.answer(udp.source, payload) {
                self.network.inject(self.now, port, build_udp(udp.destination, udp.source, &answer).unwrap());
            }
        } else if owner.starts_with("call-") {
            let answers = self.call_relays.hear(&owner, self.now, &udp, payload);
            for packet in answers {
                self.network.inject(self.now, port, packet);
            }
        } else if owner == "relay" {
            let relay = self.relay.as_mut().unwrap();
            // What a stranger sends is not for it.
            let _ = relay.server.handle_datagram(self.now, udp.destination, udp.source, payload);
            self.drain_relay();
        } else {
            let (from, to, bytes) = (udp.source, udp.destination, payload.to_vec());
            let datagram = Held { host: owner, from, to, bytes };
            let passed = if self.trouble.deafens(port) { None } else { Some(datagram) };
            if let Some(Held { host, from, to, bytes }) =
                passed.and_then(|datagram| self.trouble.hold(self.now, port, datagram))
            {
                self.arrive(&host, from, to, &bytes);
            }
        }
    }

    fn drain_relay(&mut self) {
        let port = self.plan.server("relay").unwrap().id;
        let Some(relay) = &mut self.relay else { return };
        while let Some(output) = relay.server.poll() {
            match output {
                ServerOutput::Transmit { from, to, bytes } => {
                    self.network.inject(self.now, port, build_udp(from, to, &bytes).unwrap());
                }
                ServerOutput::Open { ticket, ip } => {
                    relay.next_port += 1;
                    let relayed = SocketAddr::new(ip, relay.next_port);
                    relay.server.opened(self.now, ticket, Some(relayed));
                }
                ServerOutput::Close { .. } => {}
            }
        }
    }

    fn arrive(&mut self, name: &str, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let datagram = Held { host: name.to_owned(), from, to, bytes: bytes.to_vec() };
        if self.trouble.queue(datagram).is_none() {
            return;
        }
        let host = self.hosts.get_mut(name).unwrap();
        let Some((socket, _)) = host.sockets.iter().find(|(_, (_, local))| *local == to) else {
            self.unclaimed += 1;
            return;
        };
        host.peer.handle_datagram(self.now, *socket, from, None, bytes);
        self.drain(name);
    }

    fn drain(&mut self, name: &str) {
        let host = self.hosts.get_mut(name).unwrap();
        while let Some(output) = host.peer.poll(self.now) {
            match output {
                Output::OpenSocket { socket, interface, local, port } => {
                    let bound = if port == 0 { host.next_port } else { port };
                    host.next_port += 1;
                    let local = SocketAddr::new(local, bound);
                    let interface = self.plan.port_of(name, &interface).unwrap();
                    host.sockets.insert(socket, (interface, local));
                    host.peer.socket_opened(self.now, socket, local);
                }
                Output::CloseSocket { socket } => {
                    host.sockets.remove(&socket);
                }
                Output::Transmit(transmit) => {
                    let (port, local) = host.sockets[&transmit.socket];
                    for datagram in transmit.bytes.chunks(transmit.segment_size.unwrap_or(usize::MAX)) {
                        if !self.trouble.swallows(port, name, datagram) {
                            let packet = build_udp(local, transmit.to, datagram).unwrap();
                            self.network.inject(self.now, port, packet);
                        }
                    }
                }
                Output::Event(event) => {
                    self.events.push((self.now - self.epoch, name.to_owned(), event));
                }
                Output::Connect { socket, .. } => {
                    host.peer.connection_tried(self.now, socket, blocking::Reach::Connected);
                }
                Output::FindRoute { socket, to, .. } => {
                    host.peer.route_found(self.now, socket, to, blocking::Route::Right);
                }
                Output::KeyLog(line) => host.key_log.push(line),
                Output::Qlog { connection, bytes } => host.qlog.entry(connection).or_default().extend(bytes),
                Output::Done(outcome) => host.outcome = Some(outcome),
            }
        }
    }

    /// When calls arrived at a host, and on which sequence number.
    pub(crate) fn arrivals(&self, at: &str) -> Vec<(Duration, u64)> {
        let arrival = |(t, host, event): &(Duration, String, Event)| match event {
            Event::CallReceived { sequence, .. } if host == at => Some((*t, *sequence)),
            _ => None,
        };
        self.events.iter().filter_map(arrival).collect()
    }

    /// The longest time without an arrival between two moments.
    pub(crate) fn longest_gap(&self, at: &str, from: Duration, until: Duration) -> Duration {
        let arrivals = self.arrivals(at).into_iter().map(|(t, _)| t).filter(|t| (from..until).contains(t));
        let all: Vec<Duration> = [from].into_iter().chain(arrivals).chain([until]).collect();
        all.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// As the results define it: the longest gap around the disturbance, less the sending interval.
    pub(crate) fn interruption(&self, at: &str, disturbance: Duration) -> Duration {
        let arrivals = self.arrivals(at);
        let gap = arrivals
            .windows(2)
            .filter(|pair| pair[0].0 < disturbance + Duration::from_secs(5) && pair[1].0 > disturbance)
            .map(|pair| pair[1].0 - pair[0].0)
            .max()
            .expect("payload arrives before and after");
        gap.saturating_sub(CallSpec::default().interval())
    }

    pub(crate) fn connections(&self) -> Vec<(String, String)> {
        let connected = |(_, host, event): &(Duration, String, Event)| match event {
            Event::Connected { connection, .. } => Some((host.clone(), connection.clone())),
            _ => None,
        };
        self.events.iter().filter_map(connected).collect()
    }

    pub(crate) fn paths(&self, of: &str) -> Vec<(Duration, &peer::PathView)> {
        let mut paths = vec![];
        for (t, host, event) in &self.events {
            if let Event::Path(view) = event
                && host == of
            {
                paths.push((*t, view));
            }
        }
        paths
    }
}

impl Relay {
    fn new(listens: Vec<SocketAddr>) -> Self {
        let config = ServerConfig::new(listens, "iceperf");
        let users = vec![(USER.to_owned(), PASSWORD.to_owned())];
        Self { server: Server::new(ServerConfig { users, ..config }), next_port: 50_000 }
    }
}

pub(crate) fn addresses(plan: &Plan, port: PortId) -> Vec<IpAddr> {
    let port = plan.port(port).unwrap();
    let v6 = port.ipv6.map(|(ip, _)| IpAddr::from(ip));
    let v4 = port.ipv4.map(|(ip, _)| IpAddr::from(ip));
    v6.into_iter().chain(v4).collect()
}
