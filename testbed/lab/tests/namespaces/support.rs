//! What scenes share: a small internet, sockets inside its hosts, children.

use lab::{Child, ChildSpec, Lab, LabEvent, LabSpec, Rights, capture::CaptureLimits};
use netmodel::{
    HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, Plan, PortId, ServerSpec,
    Topology,
};
use nix::sched::{CloneFlags, setns};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{Read, Write},
    net::{IpAddr, SocketAddr, UdpSocket},
    os::fd::{FromRawFd, OwnedFd},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

/// Long enough for a packet on any machine, however busy.
const PATIENCE: Duration = Duration::from_secs(10);
/// Many times what a packet takes here: what has not come by then was lost.
const LOST: Duration = Duration::from_millis(400);

pub(crate) const HOME_DELAY: Duration = Duration::from_millis(4);
/// Of the network where nobody is at first.
pub(crate) const CAFE_DELAY: Duration = Duration::from_millis(60);
pub(crate) const CAMPUS_DELAY: Duration = Duration::from_millis(6);

/// A laptop at home and on a mobile network, a desktop on a campus without NAT, and a server. All IPv6 is firewalled, and
/// the empty cafe has none.
pub(crate) fn plan() -> Plan {
    let network = |name: &str, delay, nat: Option<NatKind>| NetworkSpec {
        nat: nat.map(NatSpec::new),
        ipv6: Ipv6Access::Firewalled,
        ..NetworkSpec::new(name, LinkSpec::with_delay(delay))
    };
    let interface = |name: &str, network: &str| InterfaceSpec { name: name.into(), network: network.into() };
    let host = |name: &str, interfaces| HostSpec { name: name.into(), interfaces };
    Plan::new(Topology {
        networks: vec![
            network("home", HOME_DELAY, Some(NatKind::Home)),
            network("mobile", Duration::from_millis(15), Some(NatKind::CarrierGrade)),
            network("campus", CAMPUS_DELAY, None),
            NetworkSpec { ipv6: Ipv6Access::None, ..network("cafe", CAFE_DELAY, Some(NatKind::Home)) },
        ],
        hosts: vec![
            host("laptop", vec![interface("wlan0", "home"), interface("wwan0", "mobile")]),
            host("desktop", vec![interface("wlan0", "campus")]),
        ],
        servers: vec![ServerSpec::new("meet", Duration::from_millis(5))],
    })
    .expect("a sound topology")
}

/// A lab of that plan, with a child in every host that keeps a door open.
pub(crate) struct Stage {
    pub(crate) lab: Lab,
    pub(crate) plan: Plan,
    pub(crate) events: Receiver<(Instant, LabEvent)>,
    doors: BTreeMap<&'static str, Child>,
}

impl Stage {
    pub(crate) fn new(rights: Rights) -> Self {
        Self::with_captures(rights, BTreeMap::new(), None)
    }

    pub(crate) fn with_captures(
        rights: Rights,
        captures: BTreeMap<String, PathBuf>,
        capture_limits: Option<CaptureLimits>,
    ) -> Self {
        let metrics =
            [("wlan0", 200), ("wwan0", 600)].map(|(name, metric)| (("laptop".into(), name.into()), metric));
        let (sink, events) = mpsc::channel();
        let spec = LabSpec {
            plan: plan(),
            seed: 7,
            metrics: metrics.into_iter().collect(),
            mtu: 1500,
            captures,
            capture_limits,
        };
        let lab = Lab::build(rights, spec, sink).expect("a lab");
        let doors = ["laptop", "desktop", "meet"].map(|host| (host, wait_for_ever(&lab, host)));
        Self { lab, plan: plan(), events, doors: doors.into_iter().collect() }
    }

    /// Runs something on a thread inside a host's namespace, with the sockets of the kernel there.
    pub(crate) fn inside<T: Send>(&self, host: &str, work: impl FnOnce() -> T + Send) -> T {
        let path = format!("/proc/{}/ns/net", self.pid(host));
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(fs::File::open(path).expect("our child's namespace"), CloneFlags::CLONE_NEWNET)
                    .expect("the right to enter");
                work()
            });
            thread.join().expect("no panic inside")
        })
    }

    /// The process inside a host.
    pub(crate) fn pid(&self, host: &str) -> u32 {
        self.doors.get(host).expect("a host of the plan").id()
    }

    /// A socket bound to an interface and its address, as the peers bind theirs.
    pub(crate) fn socket(&self, host: &str, interface: &str, ipv6: bool) -> UdpSocket {
        let address = self.address(host, interface, ipv6);
        self.inside(host, || bind(interface, address))
    }

    pub(crate) fn address(&self, host: &str, interface: &str, ipv6: bool) -> IpAddr {
        let PortId(port) = match host {
            "meet" => self.plan.server(host).expect("the server").id,
            _ => self.plan.port_of(host, interface).expect("an interface of the plan"),
        };
        let port = &self.plan.ports()[usize::from(port)];
        let ipv4 = port.ipv4.map(|(address, _)| address.into());
        let ipv6_address = port.ipv6.map(|(address, _)| address.into());
        if ipv6 { ipv6_address } else { ipv4 }.expect("an address of that family")
    }

    /// The kernel's routes of one family inside a host, as `/proc` writes them.
    pub(crate) fn routes(&self, host: &str, ipv6: bool) -> Vec<String> {
        let file = if ipv6 { "ipv6_route" } else { "route" };
        let text = fs::read_to_string(format!("/proc/{}/net/{file}", self.pid(host))).expect("routes");
        text.lines().map(str::to_owned).collect()
    }
}

/// A UDP socket of the calling thread's namespace.
pub(crate) fn bind(interface: &str, address: IpAddr) -> UdpSocket {
    try_bind(interface, address).expect("a socket on an interface that is up")
}

pub(crate) fn try_bind(interface: &str, address: IpAddr) -> std::io::Result<UdpSocket> {
    let socket =
        Socket::new(Domain::for_address(SocketAddr::new(address, 0)), Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind_device(Some(interface.as_bytes()))?;
    socket.bind(&SocketAddr::new(address, 0).into())?;
    Ok(socket.into())
}

/// What a socket receives, and from whom; none if nothing ever comes.
pub(crate) fn receive(socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    receive_within(PATIENCE, socket)
}

/// Whether nothing comes.
pub(crate) fn is_silent(socket: &UdpSocket) -> bool {
    receive_within(LOST, socket).is_none()
}

fn receive_within(patience: Duration, socket: &UdpSocket) -> Option<(Vec<u8>, SocketAddr)> {
    socket.set_read_timeout(Some(patience)).expect("not zero");
    let mut buffer = vec![0; 2048];
    let (length, from) = socket.recv_from(&mut buffer).ok()?;
    buffer.truncate(length);
    Some((buffer, from))
}

/// A child of this binary, saying into files that nobody reads.
pub(crate) fn child_of(words: &[&str]) -> ChildSpec {
    let nowhere = || fs::File::create("/dev/null").expect("/dev/null");
    ChildSpec {
        program: env::current_exe().expect("this binary has a path"),
        args: ["child"].iter().chain(words).map(Into::into).collect(),
        env: vec![],
        inherit: vec![],
        stdout: nowhere(),
        stderr: nowhere(),
    }
}

pub(crate) fn wait_for_ever(lab: &Lab, host: &str) -> Child {
    lab.spawn(host, child_of(&["wait"])).expect("a child")
}

/// A TUN node beside the other that an ordinary user may not open.
pub(crate) fn closed_node(tun: &Path) -> PathBuf {
    tun.with_file_name("closed-tun")
}

/// What this binary does as a child.
pub(crate) fn child(words: &[&str]) -> ExitCode {
    match words {
        ["wait"] => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        // Carries one message from descriptor 3 to 4, and tells its environment and namespace.
        ["carry"] => {
            let (mut from, mut to) = (inherited(3), inherited(4));
            let mut message = Vec::new();
            from.read_to_end(&mut message).expect("descriptor 3 can be read");
            to.write_all(&message).expect("descriptor 4 can be written");
            println!("{}", env::var("LAB_TEST").unwrap_or_default());
            println!("{}", fs::read_link("/proc/self/ns/net").expect("a namespace").display());
            eprintln!("said to standard error");
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(2),
    }
}

#[expect(unsafe_code, reason = "inherited descriptors come as bare numbers")]
fn inherited(number: i32) -> fs::File {
    // SAFETY: the test that starts this child hands these numbers over, and nothing else here owns them.
    unsafe { OwnedFd::from_raw_fd(number) }.into()
}
