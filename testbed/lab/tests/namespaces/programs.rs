//! Scenes with programs that everybody knows and that know nothing of the model: they see the network that was asked
//! for. A program that this machine lacks, or that this user may not run, is told and left out.

use lab::{Child, ChildSpec, Lab, LabSpec};
use netmodel::{
    BitRate, ByteSize, HostSpec, InterfaceSpec, LinkSpec, NatKind, NatSpec, NetworkSpec, Plan, ServerSpec,
    Topology,
};
use nix::unistd::{AccessFlags, access};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

const LINK_DELAY: Duration = Duration::from_millis(20);
const MEET_DELAY: Duration = Duration::from_millis(5);
/// There and back, in milliseconds.
const ROUND_TRIP: f64 = 50.0;
const DOWN: u64 = 20_000_000;
const UP: u64 = 10_000_000;
/// Of the addresses that the plan gives.
const MEET: &str = "198.51.100.1";
const ROUTER: &str = "192.168.1.1";
/// For a program to end, or a server to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// A laptop at home behind a NAT, a server, and a folder for what programs write.
struct Bench {
    lab: Lab,
    folder: tempfile::TempDir,
}

/// What a program said.
#[derive(Debug)]
struct Said {
    success: bool,
    text: String,
}

impl Bench {
    fn new(tun: &Path) -> Self {
        // Before the process has a second thread.
        let rights =
            lab::acquire(tun).unwrap_or_else(|error| panic!("this machine cannot run the test: {error}"));
        let link = |rate| LinkSpec {
            rate: BitRate::per_second(rate),
            // A quarter of a second of the faster direction: room for TCP, and no wait that outlasts a test.
            queue: ByteSize(DOWN / 8 / 4),
            ..LinkSpec::with_delay(LINK_DELAY)
        };
        let home = NetworkSpec {
            up: link(UP),
            down: link(DOWN),
            nat: Some(NatSpec::new(NatKind::Home)),
            ..NetworkSpec::new("home", LinkSpec::default())
        };
        let interfaces = vec![InterfaceSpec { name: "wlan0".into(), network: "home".into() }];
        let plan = Plan::new(Topology {
            networks: vec![home],
            hosts: vec![HostSpec { name: "laptop".into(), interfaces }],
            servers: vec![ServerSpec::new("meet", MEET_DELAY)],
        })
        .expect("a sound topology");
        assert_eq!(plan.server("meet").unwrap().ipv4.unwrap().0.to_string(), MEET);
        let (sink, events) = mpsc::channel();
        // Nobody reads what is told, and nothing is to wait for that.
        thread::spawn(move || events.into_iter().for_each(drop));
        let (metrics, captures) = (BTreeMap::new(), BTreeMap::new());
        let lab = Lab::build(
            rights,
            LabSpec { plan, seed: 7, metrics, mtu: 1500, captures, capture_limits: None },
            sink,
        );
        Self { lab: lab.expect("a lab"), folder: tempfile::tempdir().expect("a temporary directory") }
    }

    fn start(&self, host: &str, program: &Path, arguments: &[&str]) -> (Child, PathBuf) {
        let path = self.folder.path().join(format!("{host}.log"));
        let file = fs::File::create(&path).expect("our own folder");
        let spec = ChildSpec {
            program: program.to_owned(),
            args: arguments.iter().map(Into::into).collect(),
            env: vec![("LC_ALL".into(), "C".into())],
            inherit: vec![],
            stdout: file.try_clone().expect("a descriptor"),
            stderr: file,
        };
        (self.lab.spawn(host, spec).expect("a child"), path)
    }

    /// Runs a program on the laptop to its end.
    fn run(&self, program: &Path, arguments: &[&str]) -> Said {
        let (mut child, path) = self.start("laptop", program, arguments);
        let deadline = Instant::now() + PATIENCE;
        let status = loop {
            match child.try_wait().expect("our own child") {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    break child.wait().expect("our own child");
                }
                None => thread::sleep(Duration::from_millis(10)),
            }
        };
        Said { success: status.success(), text: fs::read_to_string(path).expect("what it said") }
    }

    /// The same, until its server is there.
    fn run_against(&self, program: &Path, arguments: &[&str]) -> Said {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.run(program, arguments);
            if said.success || Instant::now() > deadline {
                return said;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

/// A program in PATH that this user may run. One that is not there is told.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|path| path.is_file() && access(path, AccessFlags::X_OK).is_ok());
    if found.is_none() {
        println!("NOT TESTED: there is no {program} here; `testbed/setup test` installs it");
    }
    found
}

pub(crate) fn ping(tun: &Path) {
    let bench = Bench::new(tun);
    if let Some(ping) = find("ping") {
        let said = bench.run(&ping, &["-n", "-c", "8", "-i", "0.1", MEET]);
        assert!(said.success && said.text.contains(" 0% packet loss"), "{said:?}");
        let least = least_round_trip(&said.text);
        // Never early; and of eight the fastest is not late by much, however busy the machine is.
        assert!((ROUND_TRIP..ROUND_TRIP + 10.0).contains(&least), "{least} ms");
        println!("measured: ping's least round trip was {least} ms, the network's is {ROUND_TRIP} ms");

        let said = bench.run(&ping, &["-n", "-c", "1", "-t", "1", "-W", "5", MEET]);
        let answer = format!("From {ROUTER} icmp_seq=1 Time to live exceeded");
        assert!(said.text.contains(&answer), "{said:?}");
    }
    if let Some(traceroute) = find("traceroute") {
        let said = bench.run(&traceroute, &["-n", "-q", "1", "-w", "5", "-m", "6", MEET]);
        let hops: Vec<Vec<&str>> =
            said.text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        let nodes: Vec<&str> = hops.iter().filter_map(|hop| hop.get(1).copied()).collect();
        assert_eq!((nodes.first(), nodes.last()), (Some(&ROUTER), Some(&MEET)), "{said:?}");
    }
    bench.lab.finish().expect("a report");
}

/// From `rtt min/avg/max/mdev = 50.1/50.2/50.4/0.1 ms`.
fn least_round_trip(text: &str) -> f64 {
    let figures = text.lines().find_map(|line| line.strip_prefix("rtt min/avg/max/mdev = "));
    let least = figures.and_then(|figures| figures.split('/').next()).and_then(|least| least.parse().ok());
    least.unwrap_or_else(|| panic!("no round trip in {text}"))
}

/// Bytes of payload in a full packet with the usual headers, and of the packet.
const TCP: (f64, f64) = (1448.0, 1500.0);
const UDP: (f64, f64) = (1172.0, 1200.0);

pub(crate) fn iperf3(tun: &Path) {
    let Some(iperf3) = find("iperf3") else { return };
    let bench = Bench::new(tun);
    let (mut server, _) = bench.start("meet", &iperf3, &["--server"]);
    for (name, options, rate, (payload, packet)) in [
        ("TCP up", &[][..], UP, TCP),
        ("TCP down", &["--reverse"], DOWN, TCP),
        ("UDP up", &["--udp", "--bitrate", "15M", "--length", "1172"], UP, UDP),
        ("UDP down", &["--udp", "--bitrate", "30M", "--length", "1172", "--reverse"], DOWN, UDP),
    ] {
        // Two seconds after one in which TCP finds its pace and queues fill.
        let usual = ["--client", MEET, "--json", "--time", "2", "--omit", "1"];
        let said = bench.run_against(&iperf3, &[&usual[..], options].concat());
        let document: Value = serde_json::from_str(&said.text).unwrap_or_else(|_| panic!("{name}: {said:?}"));
        let received = received_bits_per_second(&document);
        let expected = rate as f64 * payload / packet;
        let share = received / expected;
        println!("measured: {name}: {:.2} Mbit/s, {:.1} % of what fits", received / 1e6, share * 100.0);
        assert!((0.98..1.02).contains(&share), "{name}: {share}: {document}");
    }
    server.kill().expect("our own child");
    server.wait().expect("our own child");
    bench.lab.finish().expect("a report");
}

fn received_bits_per_second(document: &Value) -> f64 {
    let received = &document["end"]["sum_received"]["bits_per_second"];
    received.as_f64().unwrap_or_else(|| panic!("nothing received: {document}"))
}

pub(crate) fn download(tun: &Path) {
    let (Some(python), Some(curl)) = (find("python3"), find("curl")) else { return };
    let bench = Bench::new(tun);
    let folder = bench.folder.path().join("served");
    fs::create_dir(&folder).unwrap();
    // Every offset has another neighbourhood, so that what is lost or moved shows.
    let bytes: Vec<u8> = (0..500_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(folder.join("file"), &bytes).unwrap();
    let served = folder.display().to_string();
    let arguments = ["-m", "http.server", "8000", "--bind", MEET, "--directory", &served];
    let (mut server, _) = bench.start("meet", &python, &arguments);
    let arrived = bench.folder.path().join("arrived").display().to_string();
    let address = format!("http://{MEET}:8000/file");
    let format = "%{time_total} %{time_starttransfer}";
    let arguments =
        ["--silent", "--show-error", "--noproxy", "*", "--output", &arrived, "--write-out", format];
    let said = bench.run_against(&curl, &[&arguments[..], &[&address]].concat());
    assert!(said.success, "{said:?}");
    assert!(fs::read(&arrived).unwrap() == bytes, "what arrived is what was served");
    let seconds: f64 =
        said.text.split_whitespace().next().and_then(|text| text.parse().ok()).expect("a time");
    let least = bytes.len() as f64 * 8.0 / DOWN as f64;
    assert!(seconds > least, "{seconds} s; at the link's rate it takes {least} s");
    println!("measured: 2 MB over TCP took {seconds} s, at least {least} s at the link's rate");
    server.kill().expect("our own child");
    server.wait().expect("our own child");
    bench.lab.finish().expect("a report");
}
