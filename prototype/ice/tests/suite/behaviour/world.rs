//! A host with a prober behind NATs of the network model, and servers that do what the test wants.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use ice::behaviour::{ProbeConfig, ProbeOutput, Prober, Report};
use ice::server::{Server, ServerConfig, ServerOutput};
use netmodel::{
    HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, Loss, NatSpec, Network, NetworkSpec, Output, Plan, PortId,
    Probability, ServerSpec, Topology, build_udp, parse_udp,
};

use crate::net::ms;

const PORTS: [u16; 2] = [3478, 3479];

/// How the servers are set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Servers {
    /// Two addresses, two ports.
    Full,
    /// One address, two ports.
    OneAddress,
    /// One address, one port.
    One,
    /// Two strangers with one address and port each.
    Two,
    /// Full, but the second address is not there.
    OtherDown,
    /// Full, but they ignore what RFC 5780 adds.
    Deaf,
    /// Nobody.
    Nobody,
}

pub(super) struct World {
    pub(super) epoch: Instant,
    pub(super) now: Instant,
    plan: Plan,
    network: Network,
    pub(super) prober: Prober,
    servers: Vec<Server>,
    setup: Servers,
    host: PortId,
    ipv6: bool,
    sockets: BTreeMap<u32, SocketAddr>,
    next_port: u16,
    /// Says something before each datagram that reaches the prober.
    pub(super) liar: Option<Liar>,
}

/// Socket, source, bytes.
pub(super) type Reply = (u32, SocketAddr, Vec<u8>);
pub(super) type Liar = Box<dyn FnMut(&Reply) -> Reply>;

/// The host's network, outermost last.
pub(super) fn topology(nats: &[Option<NatSpec>], ipv6: Ipv6Access, loss: f64) -> Topology {
    let link = LinkSpec {
        loss: if loss > 0.0 {
            Loss::Independent(Probability::percent(100.0 * loss).unwrap())
        } else {
            Loss::None
        },
        ..LinkSpec::with_delay(ms(10))
    };
    let name = |place: usize| format!("n{place}");
    let networks = nats.iter().enumerate().map(|(place, nat)| NetworkSpec {
        nat: nat.clone(),
        ipv6,
        behind: (place + 1 < nats.len()).then(|| name(place + 1)),
        ..NetworkSpec::new(name(place), if place == 0 { link.clone() } else { LinkSpec::with_delay(ms(5)) })
    });
    let server = |name: &str| ServerSpec::new(name, ms(10));
    Topology {
        networks: networks.collect(),
        hosts: vec![HostSpec {
            name: "host".into(),
            interfaces: vec![InterfaceSpec { name: "wlan0".into(), network: name(0) }],
        }],
        servers: vec![server("one"), server("two")],
    }
}

impl World {
    pub(super) fn new(
        topology: Topology,
        setup: Servers,
        lifetime: Option<Duration>,
        ipv6: bool,
        seed: u64,
    ) -> World {
        #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
        let now = Instant::now();
        let plan = Plan::new(topology).unwrap();
        let network = Network::new(&plan, seed);
        let ip = |name: &str| -> IpAddr {
            let port = plan.server(name).unwrap();
            if ipv6 { port.ipv6.unwrap().0.into() } else { port.ipv4.unwrap().0.into() }
        };
        let at = |name: &str, port: u16| SocketAddr::new(ip(name), port);
        let all = || ["one", "two"].into_iter().flat_map(|name| PORTS.map(|port| at(name, port)));
        let groups: Vec<Vec<SocketAddr>> = match setup {
            Servers::Full | Servers::OtherDown | Servers::Deaf => vec![all().collect()],
            Servers::OneAddress => vec![PORTS.map(|port| at("one", port)).to_vec()],
            Servers::One => vec![vec![at("one", PORTS[0])]],
            Servers::Two => vec![vec![at("one", PORTS[0])], vec![at("two", PORTS[0])]],
            Servers::Nobody => vec![],
        };
        let mut asked = vec![at("one", PORTS[0])];
        asked.extend((setup == Servers::Two).then(|| at("two", PORTS[0])));
        let servers =
            groups.into_iter().map(|listens| Server::new(ServerConfig::new(listens, "r"))).collect();
        let prober = Prober::new(ProbeConfig { servers: asked, lifetime, seed: ice::spread_seed(seed) });
        let host = plan.port_of("host", "wlan0").unwrap();
        let sockets = BTreeMap::new();
        let next_port = 40_000;
        World {
            epoch: now,
            now,
            plan,
            network,
            prober,
            servers,
            setup,
            host,
            ipv6,
            sockets,
            next_port,
            liar: None,
        }
    }

    /// Runs to the end.
    pub(super) fn run(&mut self) -> Report {
        self.prober.start(self.now);
        self.drain();
        let mut steps = 0;
        while !self.prober.is_done() {
            steps += 1;
            assert!(steps < 200_000, "never done: {:?}", self.prober);
            let next = [self.network.deadline(), self.prober.poll_timeout()].into_iter().flatten().min();
            let next = next.unwrap_or_else(|| panic!("waits for nothing: {:?}", self.prober));
            self.now = self.now.max(next);
            while let Some(output) = self.network.poll(self.now) {
                if let Output::Deliver { port, packet, .. } = output {
                    self.deliver(port, &packet);
                }
            }
            self.prober.handle_timeout(self.now);
            self.drain();
            assert!(self.now - self.epoch < Duration::from_secs(3600), "takes an hour");
        }
        assert!(self.sockets.is_empty(), "sockets are left open: {:?}", self.sockets);
        self.prober.report().clone()
    }

    pub(super) fn drain(&mut self) {
        while let Some(output) = self.prober.poll() {
            match output {
                ProbeOutput::Open { socket } => {
                    let addresses = self.network.addresses(self.host).unwrap();
                    let ip: IpAddr = match self.ipv6 {
                        true => addresses.ipv6.unwrap().0.into(),
                        false => addresses.ipv4.unwrap().0.into(),
                    };
                    // Not in any order that could be taken for the NAT's.
                    self.next_port = 20_000 + (self.next_port - 20_000 + 7919) % 30_000;
                    let local = SocketAddr::new(ip, self.next_port);
                    self.sockets.insert(socket, local);
                    self.prober.opened(self.now, socket, Some(local));
                }
                ProbeOutput::Close { socket } => assert!(self.sockets.remove(&socket).is_some()),
                ProbeOutput::Transmit { socket, to, bytes } => {
                    let packet = build_udp(self.sockets[&socket], to, &bytes).unwrap();
                    self.network.inject(self.now, self.host, packet);
                }
            }
        }
    }

    fn deliver(&mut self, port: PortId, packet: &[u8]) {
        // ICMP errors are none of ours.
        let Ok(udp) = parse_udp(packet) else { return };
        let (from, to, data) = (udp.source, udp.destination, &packet[udp.payload]);
        if port == self.host {
            let socket = self.sockets.iter().find(|(_, local)| **local == to).map(|(socket, _)| *socket);
            if let Some(socket) = socket {
                if let Some(liar) = &mut self.liar {
                    let (socket, from, bytes) = liar(&(socket, from, data.to_vec()));
                    self.prober.handle_datagram(self.now, socket, from, &bytes);
                }
                self.prober.handle_datagram(self.now, socket, from, data);
            }
            return;
        }
        let second = self.plan.server("two").unwrap().id;
        if self.setup == Servers::OtherDown && port == second {
            return;
        }
        let change = ice::stun::Message::parse(data).is_ok_and(|message| message.attribute(3).is_some());
        if self.setup == Servers::Deaf && change {
            return;
        }
        for server in &mut self.servers {
            let _ = server.handle_datagram(self.now, to, from, data);
            while let Some(output) = server.poll() {
                if let ServerOutput::Transmit { from, to, bytes } = output {
                    let is_second =
                        self.plan.server("two").unwrap().addresses().iter().any(|(ip, _)| ip == from.ip());
                    if self.setup == Servers::OtherDown && is_second {
                        continue;
                    }
                    let name = if is_second { "two" } else { "one" };
                    let port = self.plan.server(name).unwrap().id;
                    self.network.inject(self.now, port, build_udp(from, to, &bytes).unwrap());
                }
            }
        }
    }
}
