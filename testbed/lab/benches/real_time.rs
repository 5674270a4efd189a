//! What carrying packets in real time costs, and how well it keeps time. `cargo bench -p lab`; fails when a bound is
//! broken.
//!
//! As root, the ordinary user's figures are measured as well. Packets through a link and a NAT are compared with a bare
//! relay between two TUN devices in the same run, in turns: one thread each, on one processor, while on another one a
//! socket sends as fast as it can and a second one receives, which is what counts.
#![expect(
    unsafe_code,
    reason = "TUN devices and scheduling classes are set by system calls without safe wrappers"
)]

use lab::{Child, ChildSpec, Lab, LabSpec};
use netmodel::{
    BitRate, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, Plan, ServerSpec,
    Topology,
};
use nix::{
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, CpuSet, sched_getaffinity, sched_setaffinity, setns, unshare},
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{Pid, geteuid, gettid},
};
use socket2::{Domain, Protocol, Socket, Type};
use std::{
    collections::BTreeMap,
    env, fs,
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    os::{
        fd::{AsFd as _, AsRawFd as _},
        unix::{
            fs::{OpenOptionsExt as _, PermissionsExt as _},
            process::CommandExt as _,
        },
    },
    path::Path,
    process::{Command, ExitCode},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI32, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

/// IP packets of 1200 bytes.
const PAYLOAD: usize = 1172;
const PACKET_BITS: f64 = 1200.0 * 8.0;
const NOBODY: u32 = 65_534;
const TUN: &str = "/dev/net/tun";

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let holds = match words.as_slice() {
        ["part", name, tun] => part(name, Path::new(tun)),
        // `cargo test --benches` passes --test: there is nothing to measure then.
        words if words.contains(&"--test") => true,
        _ => all(),
    };
    ExitCode::from(u8::from(!holds))
}

/// A part is a process of its own: a lab's user namespace must come before the second thread.
fn part(name: &str, tun: &Path) -> bool {
    match name {
        "throughput" => throughput(tun),
        "lateness" => lateness(tun),
        "rate" => rate(tun),
        "start" => start(tun),
        other => panic!("no part {other}"),
    }
}

const PARTS: [&str; 4] = ["throughput", "lateness", "rate", "start"];

fn all() -> bool {
    let this = env::current_exe().expect("this binary has a path");
    let run = |part: &str, tun: &Path, user: Option<u32>, program: &Path| {
        let mut command = Command::new(program);
        command.args(["part", part]).arg(tun).current_dir("/");
        if let Some(user) = user {
            command.uid(user).gid(user);
        }
        command.status().expect("this program again").success()
    };
    if !geteuid().is_root() {
        println!("as an ordinary user; not as root");
        return PARTS.map(|part| run(part, Path::new(TUN), None, &this)).iter().all(|ok| *ok);
    }
    println!("as root");
    let mut holds = PARTS.map(|part| run(part, Path::new(TUN), None, &this)).iter().all(|ok| *ok);
    println!("as an ordinary user");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let everyone =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    everyone(directory.path(), 0o755);
    let (copy, tun) = (directory.path().join("real_time"), directory.path().join("tun"));
    fs::copy(this, &copy).expect("room for a copy");
    mknod(&tun, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("root may make device nodes");
    everyone(&tun, 0o666);
    for part in ["lateness", "start"] {
        holds &= run(part, &tun, Some(NOBODY), &copy);
    }
    holds
}

fn tell(what: &str, measured: String, bound: &str, holds: bool) -> bool {
    println!("  {what:<52} {measured:<26} {bound}{}", if holds { "" } else { "   BOUND BROKEN" });
    holds
}

// ------------------------------------------------------------------------------------------------------- throughput

const ROUNDS: usize = 20;
const ROUND: Duration = Duration::from_millis(200);

/// What a relay did in one round.
#[derive(Debug, Clone, Copy)]
struct Round {
    packets_per_s: f64,
    /// Of the thread that carries.
    cpu_ns_per_packet: f64,
}

/// Two places with a carrier between them.
struct Way {
    carrier: Pid,
    from: Place,
    to: Place,
    destination: SocketAddr,
}

fn throughput(tun: &Path) -> bool {
    let delay = LinkSpec::with_delay(Duration::from_millis(1));
    let rate = LinkSpec { rate: BitRate::per_second(10_000_000_000), ..delay.clone() };
    let bare = Bare::new(tun);
    let bare_way = bare.way();
    bare_way.run();
    let mut holds = true;
    let mut of_bare = vec![];
    for (name, link, bounded) in [("link and NAT", delay, true), ("link with a rate and NAT", rate, false)] {
        let model = Stage::new(lab::acquire(tun).expect("rights"), small(link));
        let way = model.way();
        way.run();
        let pairs: Vec<[Round; 2]> = (0..ROUNDS).map(|_| [way.run(), bare_way.run()]).collect();
        model.lab.finish().expect("a report");
        let [ours, theirs] =
            [0, 1].map(|which| upper_quartile(pairs.iter().map(|pair| pair[which].packets_per_s)));
        let ratio = ours / theirs;
        tell(name, show(pairs.iter().map(|[model, _]| *model)), "", true);
        let bound = if bounded { "at least 0.9" } else { "" };
        holds &= tell(": bare TUN relay", format!("{ratio:.2}"), bound, !bounded || ratio >= 0.9);
        of_bare.extend(pairs.iter().map(|[_, bare]| *bare));
    }
    bare.stop();
    tell("bare TUN relay", show(of_bare.into_iter()), "", true);
    holds
}

fn show(rounds: impl Iterator<Item = Round> + Clone) -> String {
    let rate = upper_quartile(rounds.clone().map(|round| round.packets_per_s));
    let cost = upper_quartile(rounds.map(|round| -round.cpu_ns_per_packet));
    format!("{:.2} Gbit/s, {:.0} ns each", rate * PACKET_BITS / 1e9, -cost)
}

/// What a quarter of all rounds reached: in others, a shared machine had given its processors to somebody else.
fn upper_quartile(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<f64> = figures.collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() * 3 / 4]
}

impl Way {
    fn new(carrier: Pid, from: Place, to: Place, destination: SocketAddr) -> Self {
        pin(carrier, 1);
        Self { carrier, from, to, destination }
    }

    fn run(&self) -> Round {
        let socket = self.to.inside(|| receiver(self.destination));
        let before = cpu_of(self.carrier);
        let began = Instant::now();
        let arrived = thread::scope(|scope| {
            let receiver = scope.spawn(|| {
                pin(gettid(), 0);
                // Before the sender, with which it shares a processor.
                real_time(2);
                let mut buffer = [0; 2048];
                std::iter::from_fn(|| socket.recv(&mut buffer).ok()).count()
            });
            self.from.flood(self.destination);
            receiver.join().expect("no panic")
        });
        let (took, spent) = (began.elapsed() - QUIET, cpu_of(self.carrier) - before);
        Round {
            packets_per_s: arrived as f64 / took.as_secs_f64(),
            cpu_ns_per_packet: spent.as_nanos() as f64 / (arrived.max(1)) as f64,
        }
    }
}

/// Nothing comes any more.
const QUIET: Duration = Duration::from_millis(50);

fn receiver(address: SocketAddr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_recv_buffer_size(4 << 20).expect("a buffer");
    socket.set_read_timeout(Some(QUIET)).expect("not zero");
    socket.bind(&address.into()).expect("its address");
    socket.into()
}

/// A network namespace to work in.
struct Place(File);

impl Place {
    fn of(child: &Child) -> Self {
        Self(File::open(format!("/proc/{}/ns/net", child.id())).expect("our child's namespace"))
    }

    fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let thread = scope.spawn(|| {
                setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the right to enter");
                work()
            });
            thread.join().expect("no panic inside")
        })
    }

    /// Sends as fast as it can, from another processor than the carrier's, many packets in each call.
    fn flood(&self, to: SocketAddr) {
        const SEGMENTS: usize = 32;
        self.inside(|| {
            pin(gettid(), 0);
            real_time(1);
            let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
            nix::sys::socket::setsockopt(
                &socket,
                nix::sys::socket::sockopt::UdpGsoSegment,
                &(PAYLOAD as i32),
            )
            .expect("UDP segmentation, since Linux 4.18");
            socket.connect(to).expect("a route");
            let bytes = [7; PAYLOAD * SEGMENTS];
            let end = Instant::now() + ROUND;
            while Instant::now() < end {
                socket.send(&bytes).expect("a way");
            }
        });
    }
}

/// Two namespaces and a thread that moves packets from one TUN device to the other.
struct Bare {
    left: File,
    right: File,
    thread: thread::JoinHandle<()>,
    id: Arc<AtomicI32>,
    stop: Arc<AtomicBool>,
}

impl Bare {
    const LEFT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const RIGHT: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);

    fn new(node: &Path) -> Self {
        let make = |own: Ipv4Addr, other: Ipv4Addr| {
            thread::scope(|scope| {
                let thread = scope.spawn(|| {
                    unshare(CloneFlags::CLONE_NEWNET).expect("a namespace");
                    let tun = open_tun(node, "bare0");
                    let script = format!(
                        "PATH=$PATH:/sbin:/usr/sbin; ip link set bare0 txqueuelen 4096 up; ip address add {own} peer {other} dev bare0"
                    );
                    assert!(Command::new("sh").args(["-ec", &script]).status().expect("a shell").success());
                    (File::open("/proc/thread-self/ns/net").expect("a namespace"), tun)
                });
                thread.join().expect("no panic inside")
            })
        };
        let ((left, one), (right, other)) = (make(Self::LEFT, Self::RIGHT), make(Self::RIGHT, Self::LEFT));
        let (id, stop) = (Arc::new(AtomicI32::new(0)), Arc::new(AtomicBool::new(false)));
        let (own_id, own_stop) = (id.clone(), stop.clone());
        let thread = thread::spawn(move || {
            real_time(10);
            own_id.store(gettid().as_raw(), Ordering::Release);
            relay([one, other], &own_stop);
        });
        Self { left, right, thread, id, stop }
    }

    fn way(&self) -> Way {
        while self.id.load(Ordering::Acquire) == 0 {
            thread::sleep(Duration::from_millis(1));
        }
        let carrier = Pid::from_raw(self.id.load(Ordering::Acquire));
        let place = |namespace: &File| Place(namespace.try_clone().expect("a descriptor"));
        let destination = SocketAddr::new(Self::RIGHT.into(), 9);
        Way::new(carrier, place(&self.left), place(&self.right), destination)
    }

    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("it ends");
    }
}

/// Nothing but read and write, as many at a time as the datapath of the lab takes.
fn relay(tuns: [File; 2], stop: &AtomicBool) {
    const BATCH: usize = 64;
    let mut buffer = vec![0; 65_535];
    while !stop.load(Ordering::Acquire) {
        let mut fds = tuns.each_ref().map(|tun| PollFd::new(tun.as_fd(), PollFlags::POLLIN));
        poll(&mut fds, PollTimeout::from(50_u8)).expect("devices that can be waited for");
        for (from, to) in [(0, 1), (1, 0)] {
            for _ in 0..BATCH {
                let Ok(length) = (&tuns[from]).read(&mut buffer) else { break };
                let _ = (&tuns[to]).write(&buffer[..length]);
            }
        }
    }
}

fn open_tun(node: &Path, name: &str) -> File {
    let file = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(node);
    let file = file.expect("the TUN node");
    // SAFETY: `ifreq` is a plain C structure, of which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, and keeps no pointer to it.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
    file
}

/// Before all ordinary threads, where that is allowed.
fn real_time(priority: libc::c_int) {
    let parameter = libc::sched_param { sched_priority: priority };
    // SAFETY: reads one `sched_param`, which lives until the call returns; 0 is the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const parameter) };
}

/// To the last but so many of the processors that it may use, so that two carriers share one.
fn pin(thread: Pid, number: usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("an affinity");
    let allowed: Vec<usize> =
        (0..CpuSet::count()).filter(|cpu| allowed.is_set(*cpu).unwrap_or(false)).collect();
    // A thread that was pinned before has one left, and stays there.
    let Some(cpu) = allowed.get(number).or(allowed.last()) else { return };
    let mut one = CpuSet::new();
    one.set(*cpu).expect("a processor");
    sched_setaffinity(thread, &one).expect("our own thread");
}

fn thread_called(name: &str) -> Pid {
    let threads = fs::read_dir("/proc/self/task").expect("/proc").map(|entry| entry.expect("/proc").path());
    let is_it = |path: &std::path::PathBuf| {
        fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name)
    };
    let path = threads.into_iter().find(is_it).unwrap_or_else(|| panic!("no thread {name}"));
    let id = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
    Pid::from_raw(id.expect("a number"))
}

/// Time on a processor, from the scheduler's statistics.
fn cpu_of(thread: Pid) -> Duration {
    let text = fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or(0))
}

// ------------------------------------------------------------------------------------------------- lateness and rate

/// A laptop at home, behind a NAT, and a server.
fn small(link: LinkSpec) -> Topology {
    let home = NetworkSpec { nat: Some(NatSpec::new(NatKind::Home)), ..NetworkSpec::new("home", link) };
    let interface = InterfaceSpec { name: "wlan0".into(), network: "home".into() };
    Topology {
        networks: vec![home],
        hosts: vec![HostSpec { name: "laptop".into(), interfaces: vec![interface] }],
        servers: vec![ServerSpec::new("meet", Duration::ZERO)],
    }
}

/// A lab with a child in each host of [`small`].
struct Stage {
    lab: Lab,
    laptop: Child,
    meet: Child,
    /// Of the server.
    address: IpAddr,
}

impl Stage {
    fn new(rights: lab::Rights, topology: Topology) -> Self {
        let lab = build(rights, topology);
        let hold = |host| {
            let nowhere = || File::create("/dev/null").expect("/dev/null");
            let spec = ChildSpec {
                program: "sleep".into(),
                args: vec!["600".into()],
                env: vec![],
                inherit: vec![],
                stdout: nowhere(),
                stderr: nowhere(),
            };
            lab.spawn(host, spec).expect("a child")
        };
        let (laptop, meet) = (hold("laptop"), hold("meet"));
        let address = lab.addresses("meet", "eth0").expect("a server")[0].0;
        // It enters the namespace before it becomes another program.
        thread::sleep(Duration::from_millis(100));
        Self { lab, laptop, meet, address }
    }

    fn way(&self) -> Way {
        let (from, to) = (Place::of(&self.laptop), Place::of(&self.meet));
        Way::new(thread_called("lab-datapath"), from, to, SocketAddr::new(self.address, 9))
    }

    fn sockets(&self) -> (UdpSocket, UdpSocket) {
        let client = Place::of(&self.laptop).inside(|| UdpSocket::bind("0.0.0.0:0").expect("a socket"));
        let server = Place::of(&self.meet).inside(|| receiver(SocketAddr::new(self.address, 9)));
        client.connect((self.address, 9)).expect("a route");
        (client, server)
    }
}

fn build(rights: lab::Rights, topology: Topology) -> Lab {
    let (sink, events) = mpsc::channel();
    // Nobody reads what is told, and nothing is to wait for that.
    thread::spawn(move || events.into_iter().for_each(drop));
    let (metrics, captures) = (BTreeMap::new(), BTreeMap::new());
    let plan = Plan::new(topology).expect("a sound topology");
    Lab::build(rights, LabSpec { plan, seed: 7, metrics, mtu: 1500, captures, capture_limits: None }, sink)
        .expect("a lab")
}

/// 500 packets a second for 6 s.
fn lateness(tun: &Path) -> bool {
    const PACKETS: u32 = 3000;
    const GAP: Duration = Duration::from_millis(2);
    let rights = lab::acquire(tun).expect("rights");
    let stage = Stage::new(rights, small(LinkSpec::with_delay(Duration::from_millis(20))));
    let (client, _server) = stage.sockets();
    let began = Instant::now();
    for number in 0..PACKETS {
        thread::sleep((began + GAP * number).saturating_duration_since(Instant::now()));
        client.send(&[7; PAYLOAD]).expect("a way");
    }
    thread::sleep(Duration::from_millis(100));
    let report = stage.lab.finish().expect("a report");
    let lab::Lateness { count, median, p99, max } = report.lateness;
    assert_eq!(count, u64::from(PACKETS), "all were delivered");
    let (fifo, bounds) = match report.real_time {
        true => ("SCHED_FIFO", [150, 500]),
        false => ("an ordinary thread", [300, 3000]),
    };
    let us = |time: Duration| time.as_micros();
    let holds = us(median) <= bounds[0] && us(p99) <= bounds[1];
    let bound = format!("median at most {} us, p99 {} us", bounds[0], bounds[1]);
    let measured = format!("{} / {} / {} us", us(median), us(p99), us(max));
    tell(&format!("lateness, {fifo}: median / p99 / max"), measured, &bound, holds)
}

/// A link of 20 Mbit/s that is offered half as much again; what arrives in each of six seconds.
fn rate(tun: &Path) -> bool {
    const RATE: u64 = 20_000_000;
    const WINDOWS: usize = 6;
    let rights = lab::acquire(tun).expect("rights");
    let link =
        LinkSpec { rate: BitRate::per_second(RATE), ..LinkSpec::with_delay(Duration::from_millis(10)) };
    let stage = Stage::new(rights, small(link));
    let (client, server) = stage.sockets();
    let arrivals = thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let (mut buffer, mut arrivals) = ([0; 2048], vec![]);
            while server.recv(&mut buffer).is_ok() {
                arrivals.push(Instant::now());
            }
            arrivals
        });
        let began = Instant::now();
        let packets_per_ms = RATE as f64 * 1.5 / PACKET_BITS / 1000.0;
        let mut sent = 0.0;
        while began.elapsed() < Duration::from_secs(WINDOWS as u64 + 1) {
            thread::sleep(Duration::from_millis(1));
            let due = began.elapsed().as_secs_f64() * 1000.0 * packets_per_ms;
            while sent < due {
                client.send(&[7; PAYLOAD]).expect("a way");
                sent += 1.0;
            }
        }
        receiver.join().expect("no panic")
    });
    stage.lab.finish().expect("a report");
    // Half a second in, when the queue is full.
    let begin = arrivals[0] + Duration::from_millis(500);
    let rates = (0..WINDOWS as u32).map(|window| {
        let from = begin + Duration::from_secs(1) * window;
        let within = arrivals.iter().filter(|at| (from..from + Duration::from_secs(1)).contains(at)).count();
        within as f64 * PACKET_BITS
    });
    let worst = rates.map(|rate| (rate / RATE as f64 - 1.0).abs()).fold(0.0, f64::max);
    let measured = format!("{:.2} %", worst * 100.0);
    tell("error of a rate of 20 Mbit/s, worst of 6 s", measured, "at most 1 %", worst <= 0.01)
}

// ----------------------------------------------------------------------------------------------------------- start-up

/// 16 hosts with three interfaces each, in 16 networks.
fn start(tun: &Path) -> bool {
    const HOSTS: usize = 16;
    let rights = lab::acquire(tun).expect("rights");
    let network = |number: usize| format!("network{}", number % HOSTS);
    let networks = (0..HOSTS).map(|number| NetworkSpec {
        nat: Some(NatSpec::new(NatKind::Home)),
        ipv6: Ipv6Access::Firewalled,
        ..NetworkSpec::new(network(number), LinkSpec::with_delay(Duration::from_millis(5)))
    });
    let hosts = (0..HOSTS).map(|number| HostSpec {
        name: format!("host{number}"),
        interfaces: ["eth0", "wlan0", "wwan0"]
            .into_iter()
            .zip(number..)
            .map(|(name, at)| InterfaceSpec { name: name.into(), network: network(at) })
            .collect(),
    });
    let topology = Topology { networks: networks.collect(), hosts: hosts.collect(), servers: vec![] };
    let began = Instant::now();
    let lab = build(rights, topology);
    let took = began.elapsed();
    lab.finish().expect("a report");
    let measured = format!("{:.2} s", took.as_secs_f64());
    tell("start of 16 hosts with 3 interfaces", measured, "at most 2 s", took <= Duration::from_secs(2))
}
