//! A small world to drive the model with: two homes, a carrier, a public network and two servers.

use netmodel::*;
use std::{
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};

pub(crate) const LINK_DELAY: Duration = Duration::from_millis(5);
pub(crate) const SERVER_DELAY: Duration = Duration::from_millis(15);

pub(crate) fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

pub(crate) fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[expect(clippy::disallowed_methods, reason = "an epoch; everything counts from it")]
pub(crate) fn epoch() -> Instant {
    Instant::now()
}

pub(crate) fn network(name: &str, nat: Option<NatKind>, ipv6: Ipv6Access) -> NetworkSpec {
    NetworkSpec {
        nat: nat.map(NatSpec::new),
        ipv6,
        ..NetworkSpec::new(name, LinkSpec::with_delay(LINK_DELAY))
    }
}

pub(crate) fn host(name: &str, networks: &[&str]) -> HostSpec {
    let interface = |(index, network): (usize, &&str)| InterfaceSpec {
        name: format!("if{index}"),
        network: (*network).to_owned(),
    };
    HostSpec { name: name.into(), interfaces: networks.iter().enumerate().map(interface).collect() }
}

/// No UDP between peers, in silence.
pub(crate) fn p2p(ipv4: bool, ipv6: bool, direction: BlockDirection) -> Block {
    Block::UdpPeerToPeer { ipv4, ipv6, direction, answer: BlockAnswer::Silence }
}

/// `alice` and `carol` at home, `bob` behind a carrier with a firewall, `dave` in the open, `meet` known to carriers
/// and `control` not.
pub(crate) fn topology() -> Topology {
    Topology {
        networks: vec![
            network("home", Some(NatKind::Home), Ipv6Access::Firewalled),
            network("o2", Some(NatKind::CarrierGrade), Ipv6Access::Firewalled),
            network("open", None, Ipv6Access::Open),
        ],
        hosts: vec![
            host("alice", &["home"]),
            host("carol", &["home"]),
            host("bob", &["o2"]),
            host("dave", &["open"]),
        ],
        servers: vec![
            ServerSpec::new("meet", SERVER_DELAY),
            ServerSpec { known_to_carriers: false, ..ServerSpec::new("control", SERVER_DELAY) },
        ],
    }
}

/// IPv4 and UDP headers.
pub(crate) const OVERHEAD: usize = 28;

/// From `left` to `right` by one link that is of interest and one that delays by [`LINK_DELAY`].
pub(crate) fn one_link(up: LinkSpec) -> Topology {
    Topology {
        networks: vec![
            NetworkSpec { up, ..network("a", None, Ipv6Access::None) },
            network("b", None, Ipv6Access::None),
        ],
        hosts: vec![host("left", &["a"]), host("right", &["b"])],
        servers: Vec::new(),
    }
}

/// ICMP: the port is unreachable at which a packet came (RFC 792).
pub(crate) fn unreachable(from: SocketAddr, to: SocketAddr, about: &[u8]) -> Vec<u8> {
    let kind =
        etherparse::Icmpv4Type::DestinationUnreachable(etherparse::icmpv4::DestUnreachableHeader::Port);
    let mut packet = Vec::new();
    let builder = etherparse::PacketBuilder::ipv4(octets(from), octets(to), 64).icmpv4(kind);
    builder.write(&mut packet, about).expect("a packet");
    packet
}

pub(crate) fn octets(address: SocketAddr) -> [u8; 4] {
    match address.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => panic!("IPv4 wanted"),
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) port: PortId,
    pub(crate) at: Duration,
    pub(crate) packet: Vec<u8>,
}

impl Delivery {
    pub(crate) fn udp(&self) -> (SocketAddr, SocketAddr, &[u8]) {
        let udp = parse_udp(&self.packet).expect("a whole datagram with right checksums");
        (udp.source, udp.destination, &self.packet[udp.payload])
    }
}

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) network: Network,
    pub(crate) start: Instant,
    pub(crate) now: Duration,
    pub(crate) deliveries: Vec<Delivery>,
    pub(crate) events: Vec<(Duration, NetworkEvent)>,
}

impl World {
    pub(crate) fn new(topology: Topology, seed: u64) -> Self {
        let plan = Plan::new(topology).expect("a sound topology");
        let network = Network::new(&plan, seed);
        let (deliveries, events) = Default::default();
        Self { plan, network, start: epoch(), now: Duration::ZERO, deliveries, events }
    }

    pub(crate) fn usual() -> Self {
        Self::new(topology(), 7)
    }

    pub(crate) fn port(&self, name: &str) -> PortId {
        let port = self.plan.ports().iter().find(|port| port.owner.host() == name);
        port.expect("a host of the topology").id
    }

    /// The network that a host is in now; none for a server.
    pub(crate) fn network_name(&self, name: &str) -> Option<String> {
        let network = self.network.network_of(self.port(name))?;
        Some(self.plan.topology().networks[usize::from(network.0)].name.clone())
    }

    /// What a host has now.
    pub(crate) fn addresses(&self, name: &str) -> Addresses {
        self.network.addresses(self.port(name)).expect("a port of the plan")
    }

    pub(crate) fn radio(&self, port: PortId) -> Option<RadioCounts> {
        self.network.radio(self.start + self.now, port)
    }

    pub(crate) fn ipv4(&self, name: &str, port: u16) -> SocketAddr {
        let (address, _) = self.addresses(name).ipv4.expect("IPv4");
        SocketAddr::new(IpAddr::V4(address), port)
    }

    pub(crate) fn ipv6(&self, name: &str, port: u16) -> SocketAddr {
        let (address, _) = self.addresses(name).ipv6.expect("IPv6");
        SocketAddr::new(IpAddr::V6(address), port)
    }

    pub(crate) fn nat(&self, network: &str, port: u16) -> SocketAddr {
        SocketAddr::new(self.plan.nat_address(network).expect("a NAT").into(), port)
    }

    pub(crate) fn inject(&mut self, name: &str, packet: Vec<u8>) {
        let port = self.port(name);
        self.network.inject(self.start + self.now, port, packet);
    }

    pub(crate) fn inject_at(&mut self, port: PortId, packet: Vec<u8>) {
        self.network.inject(self.start + self.now, port, packet);
    }

    /// Sends a datagram from a host's own address of the right family.
    pub(crate) fn send(&mut self, name: &str, port: u16, to: SocketAddr, payload: &[u8]) {
        let from = if to.is_ipv4() { self.ipv4(name, port) } else { self.ipv6(name, port) };
        self.inject(name, build_udp(from, to, payload).expect("a datagram"));
    }

    pub(crate) fn set_reachable(&mut self, name: &str, reachable: bool) {
        self.change(Change::InterfaceState { port: self.port(name), reachable }).expect("the port exists");
    }

    pub(crate) fn set_silent(&mut self, name: &str, silent: bool) {
        self.change(Change::Silence { port: self.port(name), silent }).expect("the port exists");
    }

    pub(crate) fn change(&mut self, change: Change) -> Result<(), ChangeError> {
        self.network.apply(self.start + self.now, change)
    }

    /// Sends numbered packets of so many bytes from `left` to `right`, one each interval, and gives for each how long it
    /// took besides [`LINK_DELAY`], as often as it came.
    pub(crate) fn stream(&mut self, count: u32, bytes: usize, every: Duration) -> Vec<Vec<Duration>> {
        let (to, begin) = (self.ipv4("right", 2), self.now);
        for number in 0..count {
            let mut payload = vec![0; bytes - OVERHEAD];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            self.send("left", 1, to, &payload);
            self.run(every);
        }
        self.run(s(120));
        let mut taken = vec![Vec::new(); count as usize];
        for delivery in self.take() {
            let number = u32::from_be_bytes(delivery.udp().2[..4].try_into().expect("four bytes"));
            taken[number as usize].push(delivery.at - begin - every * number - LINK_DELAY);
        }
        taken
    }

    /// Lets time pass, waking up at every deadline.
    pub(crate) fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while let Some(due) = self.network.deadline()
            && due <= self.start + end
        {
            self.poll(due.max(self.start + self.now));
        }
        self.now = end;
    }

    /// Lets time pass and wakes up only at its end.
    pub(crate) fn oversleep(&mut self, time: Duration) {
        self.now += time;
        self.poll(self.start + self.now);
    }

    fn poll(&mut self, now: Instant) {
        while let Some(output) = self.network.poll(now) {
            match output {
                Output::Deliver { port, packet, due } => {
                    assert!(due <= now, "delivered before its time");
                    self.deliveries.push(Delivery { port, at: due - self.start, packet });
                }
                Output::Event { at, event } => self.events.push((at - self.start, event)),
            }
        }
    }

    /// Deliveries since the last call.
    pub(crate) fn take(&mut self) -> Vec<Delivery> {
        std::mem::take(&mut self.deliveries)
    }

    /// Runs for a second and gives the only delivery.
    pub(crate) fn take_one(&mut self, to: &str) -> Delivery {
        self.take_one_within(to, s(1))
    }

    pub(crate) fn take_one_within(&mut self, to: &str, time: Duration) -> Delivery {
        self.run(time);
        self.only_one(self.port(to))
    }

    /// The same, at a host's further interface.
    pub(crate) fn take_one_at(&mut self, to: PortId) -> Delivery {
        self.run(s(1));
        self.only_one(to)
    }

    fn only_one(&mut self, to: PortId) -> Delivery {
        let mut all = self.take();
        assert_eq!(all.len(), 1, "{all:?} {:?}", self.events);
        let delivery = all.remove(0);
        assert_eq!(delivery.port, to);
        delivery
    }

    /// Runs for a second in which nothing arrives, and gives the causes of all drops since the last call.
    pub(crate) fn take_drops(&mut self) -> Vec<DropCause> {
        self.run(s(1));
        assert_eq!(self.take(), []);
        self.causes()
    }

    pub(crate) fn causes(&mut self) -> Vec<DropCause> {
        let causes = self.events.iter().filter_map(|(_, event)| match event {
            NetworkEvent::Dropped { cause, .. } => Some(*cause),
            NetworkEvent::Mapping { .. } => None,
        });
        let causes = causes.collect();
        self.events.clear();
        causes
    }

    /// Times at which mappings began (true) and ended (false).
    pub(crate) fn mappings(&self) -> Vec<(Duration, SocketAddr, SocketAddr, bool)> {
        let of = |(at, event): &(Duration, NetworkEvent)| match event {
            NetworkEvent::Mapping { inside, outside, created, .. } => {
                Some((*at, *inside, *outside, *created))
            }
            NetworkEvent::Dropped { .. } => None,
        };
        self.events.iter().filter_map(of).collect()
    }

    pub(crate) fn dropped(&self, name: &str, direction: Direction, cause: DropCause) -> u64 {
        let port = Some(self.port(name));
        let counts = self.network.counts();
        let link =
            counts.iter().find(|link| link.port == port && link.direction == direction).expect("a link");
        link.dropped.get(&cause).copied().unwrap_or(0)
    }
}
