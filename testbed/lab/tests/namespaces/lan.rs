//! A scene of a LAN segment: what is said to all is heard by all on it, and by nobody else.

use crate::support::{is_silent, receive, wait_for_ever};
use lab::{Child, Lab, LabSpec};
use netmodel::{
    HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, Plan, Topology,
};
use nix::{
    net::if_::if_nametoindex,
    sched::{CloneFlags, setns},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, UdpSocket},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

/// RFC 6762 section 3.
const MDNS_IPV4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const MDNS_IPV6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);
const MDNS_PORT: u16 = 5353;
const INTERFACE: &str = "wlan0";
/// A question for the address of `printer.local` (RFC 1035 section 4.1), and the beginning of any answer (RFC 6762
/// section 18).
const QUESTION: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x07printer\x05local\0\0\x01\0\x01";
const ANSWER: &[u8] =
    b"\0\0\x84\0\0\0\0\x01\0\0\0\0\x07printer\x05local\0\0\x01\x80\x01\0\0\0\x78\0\x04\xc0\xa8\x01\x03";

/// Three hosts at home, and one at the neighbours'.
struct Street {
    lab: Lab,
    doors: BTreeMap<&'static str, Child>,
}

impl Street {
    fn new(tun: &Path) -> Self {
        let rights =
            lab::acquire(tun).unwrap_or_else(|error| panic!("this machine cannot run the test: {error}"));
        let network = |name: &str| NetworkSpec {
            nat: Some(NatSpec::new(NatKind::Home)),
            ipv6: Ipv6Access::Firewalled,
            ..NetworkSpec::new(name, LinkSpec::with_delay(Duration::from_millis(2)))
        };
        let host = |name: &str, network: &str| HostSpec {
            name: name.into(),
            interfaces: vec![InterfaceSpec { name: INTERFACE.into(), network: network.into() }],
        };
        let plan = Plan::new(Topology {
            networks: vec![network("home"), network("next-door")],
            hosts: vec![
                host("laptop", "home"),
                host("printer", "home"),
                host("phone", "home"),
                host("neighbour", "next-door"),
            ],
            servers: vec![],
        })
        .expect("a sound topology");
        let (sink, events) = mpsc::channel();
        thread::spawn(move || events.into_iter().for_each(drop));
        let spec = LabSpec {
            plan,
            seed: 7,
            metrics: BTreeMap::new(),
            mtu: 1500,
            captures: BTreeMap::new(),
            capture_limits: None,
        };
        let lab = Lab::build(rights, spec, sink).expect("a lab");
        let doors = ["laptop", "printer", "phone", "neighbour"].map(|host| (host, wait_for_ever(&lab, host)));
        Self { lab, doors: doors.into_iter().collect() }
    }

    fn inside<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.doors[host].id());
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let namespace = fs::File::open(path).expect("our child's namespace");
                setns(namespace, CloneFlags::CLONE_NEWNET).expect("the right to enter");
                work()
            });
            thread.join().expect("no panic inside")
        })
    }

    /// As an mDNS responder has it, and to whom it writes.
    fn responder(&self, host: &str, ipv6: bool) -> (UdpSocket, SocketAddr) {
        let addresses = self.lab.addresses(host, INTERFACE).expect("an interface");
        let own = addresses.into_iter().map(|(address, _)| address).find(|own| own.is_ipv6() == ipv6);
        self.inside(host, || {
            let index = if_nametoindex(INTERFACE).expect("an interface");
            let domain = if ipv6 { Domain::IPV6 } else { Domain::IPV4 };
            let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
            socket.bind_device(Some(INTERFACE.as_bytes())).expect("the right to");
            socket.set_broadcast(true).expect("the right to");
            let (any, group): (IpAddr, SocketAddr) = match own {
                Some(IpAddr::V4(own)) => {
                    socket.join_multicast_v4(&MDNS_IPV4, &own).expect("a member");
                    socket.set_multicast_loop_v4(false).expect("an option");
                    (Ipv4Addr::UNSPECIFIED.into(), (MDNS_IPV4, MDNS_PORT).into())
                }
                _ => {
                    socket.join_multicast_v6(&MDNS_IPV6, index).expect("a member");
                    socket.set_multicast_loop_v6(false).expect("an option");
                    (Ipv6Addr::UNSPECIFIED.into(), SocketAddrV6::new(MDNS_IPV6, MDNS_PORT, 0, index).into())
                }
            };
            socket.bind(&SocketAddr::new(any, MDNS_PORT).into()).expect("a free port");
            (socket.into(), group)
        })
    }
}

pub(crate) fn multicast(tun: &Path) {
    let street = Street::new(tun);
    for ipv6 in [false, true] {
        let [laptop, printer, phone, neighbour] =
            ["laptop", "printer", "phone", "neighbour"].map(|host| street.responder(host, ipv6));
        laptop.0.send_to(QUESTION, laptop.1).expect("a way to all");
        let (asked, from) = receive(&printer.0).expect("a question");
        assert_eq!((asked.as_slice(), from.port()), (QUESTION, MDNS_PORT));
        let asker = street.lab.addresses("laptop", INTERFACE).expect("an interface");
        assert!(asker.iter().any(|(address, _)| *address == from.ip()), "nobody translates it: {from}");
        assert_eq!(receive(&phone.0).map(|(heard, _)| heard), Some(QUESTION.to_vec()));
        printer.0.send_to(ANSWER, printer.1).expect("a way to all");
        for listener in [&laptop.0, &phone.0] {
            assert_eq!(receive(listener).map(|(heard, _)| heard), Some(ANSWER.to_vec()));
        }
        if !ipv6 {
            let all = SocketAddr::new(Ipv4Addr::BROADCAST.into(), MDNS_PORT);
            laptop.0.send_to(b"anybody", all).expect("a way to all");
            for listener in [&printer.0, &phone.0] {
                assert_eq!(receive(listener).map(|(heard, _)| heard), Some(b"anybody".to_vec()));
            }
        }
        assert!(is_silent(&neighbour.0), "what is said at home stays there");
    }
    street.lab.finish().expect("a report");
}
