//! Scenes of captures: what is in them, what they cost, and what ends them.

use crate::{
    scenes::stage_with,
    support::{Stage, is_silent, receive},
};
use lab::{
    LabChange, LabError, LabSpec, Lateness,
    capture::{CaptureLimits, embed_secrets},
};
use nix::{
    sys::{
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, kill, signal},
    },
    unistd::Pid,
};
use pcap_file::pcapng::{Block, PcapNgReader, blocks::enhanced_packet::EnhancedPacketOption};
use std::{
    collections::BTreeMap,
    env,
    fs::{self, File},
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc::RecvTimeoutError,
    thread,
    time::{Duration, Instant, SystemTime},
};

const IN: u32 = 1;
const OUT: u32 = 2;

/// A packet of a capture.
struct Packet {
    interface: u32,
    way: u32,
    time: Duration,
    /// None if it is no UDP datagram: kernels send others of their own.
    payload: Option<Vec<u8>>,
    comment: Option<String>,
}

/// Everything up to the last whole block.
fn packets(path: &Path) -> Vec<Packet> {
    let mut reader = PcapNgReader::new(File::open(path).expect("a capture")).expect("a pcapng file");
    let mut packets = Vec::new();
    while let Some(Ok(block)) = reader.next_block() {
        let Block::EnhancedPacket(block) = block else { continue };
        let (way, comment) = match &block.options[..] {
            [EnhancedPacketOption::Flags(way)] => (*way, None),
            [EnhancedPacketOption::Flags(way), EnhancedPacketOption::Comment(why)] => {
                (*way, Some(why.to_string()))
            }
            others => panic!("{others:?}"),
        };
        let udp = netmodel::parse_udp(&block.data).ok();
        let payload = udp.map(|udp| block.data[udp.payload].to_vec());
        packets.push(Packet { interface: block.interface_id, way, time: block.timestamp, payload, comment });
    }
    packets
}

/// Interface, way and text of what the tests sent.
fn told(packets: &[Packet]) -> Vec<(u32, u32, String)> {
    let told = packets.iter().filter_map(|packet| {
        let text = String::from_utf8_lossy(packet.payload.as_deref()?).into_owned();
        Some((packet.interface, packet.way, text))
    });
    told.collect()
}

fn files(directory: &Path, hosts: &[&str]) -> BTreeMap<String, PathBuf> {
    hosts.iter().map(|host| ((*host).to_owned(), directory.join(format!("{host}.pcapng")))).collect()
}

pub(crate) fn contents(tun: &Path) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let captures = files(directory.path(), &["laptop", "meet"]);
    let (began, start) = (SystemTime::UNIX_EPOCH.elapsed().unwrap(), Instant::now());
    let stage = stage_with(tun, captures.clone());
    let (laptop, mobile) = (stage.socket("laptop", "wlan0", false), stage.socket("laptop", "wwan0", true));
    let meets = [false, true].map(|ipv6| stage.socket("meet", "eth0", ipv6));
    laptop.send_to(b"one", meets[0].local_addr().unwrap()).unwrap();
    let (_, outside) = receive(&meets[0]).expect("it arrives");
    mobile.send_to(b"two", meets[1].local_addr().unwrap()).unwrap();
    receive(&meets[1]).expect("it arrives");
    meets[0].send_to(b"three", outside).unwrap();
    receive(&laptop).expect("it arrives");
    // What vanishes on its way has left the sender, and reaches nobody.
    let silence = LabChange::Silence { host: "laptop".into(), interface: "wlan0".into() };
    stage.lab.apply(silence).expect("silence");
    laptop.send_to(b"four", meets[0].local_addr().unwrap()).unwrap();
    meets[0].send_to(b"five", outside).unwrap();
    assert!(is_silent(&laptop));
    // Nobody captures the desktop.
    laptop.send_to(b"six", stage.socket("desktop", "wlan0", false).local_addr().unwrap()).unwrap();
    assert!(is_silent(&meets[0]));
    stage.lab.finish().expect("a report");
    let took = start.elapsed();

    let of_laptop = packets(&captures["laptop"]);
    let of_meet = packets(&captures["meet"]);
    let said = |expected: &[(u32, u32, &str)]| -> Vec<(u32, u32, String)> {
        expected.iter().map(|(interface, way, text)| (*interface, *way, (*text).to_owned())).collect()
    };
    let expected = [(0, OUT, "one"), (1, OUT, "two"), (0, IN, "three"), (0, OUT, "four"), (0, OUT, "six")];
    assert_eq!(told(&of_laptop), said(&expected));
    let comments: Vec<Option<&str>> = of_laptop
        .iter()
        .filter(|packet| packet.payload.is_some())
        .map(|packet| packet.comment.as_deref())
        .collect();
    let silenced = Some("dropped: silenced");
    assert_eq!(comments, [None, None, None, silenced, silenced]);
    assert_eq!(told(&of_meet), said(&[(0, IN, "one"), (0, IN, "two"), (0, OUT, "three"), (0, OUT, "five")]));
    for capture in [&of_laptop, &of_meet] {
        assert!(capture.is_sorted_by_key(|packet| packet.time));
        let slack = Duration::from_secs(1);
        let (earliest, latest) = (began.saturating_sub(slack), began + took + slack);
        assert!(capture.iter().all(|packet| (earliest..latest).contains(&packet.time)));
    }
    // One way from the laptop to the server takes what the links say, in two captures of one clock.
    let time = |capture: &[Packet], text: &str| {
        let packet = capture.iter().find(|packet| packet.payload.as_deref() == Some(text.as_bytes()));
        packet.expect("it was captured").time
    };
    assert!(time(&of_meet, "one") - time(&of_laptop, "one") >= Duration::from_millis(9));

    embed_secrets(&captures["laptop"], "CLIENT_RANDOM 00 11\n").expect("secrets");
    let counted =
        tshark(&["-T", "fields", "-e", "frame.number", "-e", "frame.interface_name"], &captures["laptop"]);
    assert_eq!(counted.lines().count(), of_laptop.len());
    let mobile = counted.lines().filter(|line| line.ends_with("\twwan0")).count();
    assert_eq!(mobile, of_laptop.iter().filter(|packet| packet.interface == 1).count());
}

fn tshark(arguments: &[&str], path: &Path) -> String {
    let output =
        Command::new("tshark").args(arguments).arg("-r").arg(path).env("HOME", "/nonexistent").output();
    let output = output.unwrap_or_else(|error| panic!("tshark: {error}; `testbed/setup test` installs it"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The same steady traffic without captures, with, and with limited ones: figures only, since a busy machine is late
/// anyway.
pub(crate) fn cost(tun: &Path) {
    const PACKETS: u32 = 6_000;
    let directory = tempfile::tempdir().expect("a temporary directory");
    let rights = [(); 3].map(|()| lab::acquire(tun).expect("rights"));
    let captured = files(directory.path(), &["laptop", "desktop", "meet"]);
    let elsewhere = tempfile::tempdir().expect("a temporary directory");
    let cut = files(elsewhere.path(), &["laptop", "desktop", "meet"]);
    let limits = CaptureLimits { max_bytes: 1_000_000, cut: true, steps: vec![Duration::from_secs(1)] };
    let cases = [
        ("without", BTreeMap::new(), None),
        ("with", captured.clone(), None),
        ("with limited", cut.clone(), Some(limits)),
    ];
    for (rights, (what, captures, limits)) in rights.into_iter().zip(cases) {
        let stage = Stage::with_captures(rights, captures, limits);
        stage.lab.set_time_zero(Instant::now()).expect("the model runs");
        let (laptop, desktop) =
            (stage.socket("laptop", "wlan0", false), stage.socket("desktop", "wlan0", false));
        let to = desktop.local_addr().unwrap();
        for number in 0..PACKETS {
            let mut datagram = [0; 1200];
            datagram[..4].copy_from_slice(&number.to_be_bytes());
            laptop.send_to(&datagram, to).unwrap();
            thread::sleep(Duration::from_micros(250));
        }
        let cpu = crate::scenes::cpu_of("lab-datapath");
        let writer = crate::scenes::cpu_of("lab-capture");
        // The last ones are still on the links, and the socket's buffer is smaller than all of it.
        while receive(&desktop).is_some_and(|(datagram, _)| datagram[..4] != (PACKETS - 1).to_be_bytes()) {}
        let report = stage.lab.finish().expect("a report");
        let Lateness { count, median, p99, max } = report.lateness;
        println!(
            "measured: {what} captures: lateness of {count} packets: median {median:?}, p99 {p99:?}, max {max:?}; \
             datapath {cpu:?} of CPU, writer {writer:?}, SCHED_FIFO {}",
            report.real_time
        );
        assert_eq!(count, u64::from(PACKETS));
    }
    // Not one is missing, however fast they came.
    let sent = packets(&captured["laptop"]).iter().filter(|packet| packet.payload.is_some()).count();
    let received = packets(&captured["desktop"]).iter().filter(|packet| packet.payload.is_some()).count();
    assert_eq!((sent, received), (PACKETS as usize, PACKETS as usize));
    let size = |path: &PathBuf| fs::metadata(path).expect("a capture").len();
    assert!(cut.values().map(size).sum::<u64>() <= 1_000_000, "limits are kept");
}

pub(crate) fn failure(tun: &Path) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let build = |captures| {
        let (sink, events) = std::sync::mpsc::channel();
        let rights = lab::acquire(tun).expect("rights");
        let (plan, metrics) = (crate::support::plan(), BTreeMap::new());
        lab::Lab::build(
            rights,
            LabSpec { plan, seed: 7, metrics, mtu: 1500, captures, capture_limits: None },
            sink,
        )
        .map(|_| events)
    };
    let missing = build(files(&directory.path().join("missing"), &["laptop"])).expect_err("no directory");
    assert!(missing.to_string().contains("missing/laptop.pcapng: No such file or directory"), "{missing}");
    let unknown = build(files(directory.path(), &["toaster"])).expect_err("no such host");
    assert!(matches!(&unknown, LabError::UnknownHost(host) if host == "toaster"), "{unknown}");
    let full = build(BTreeMap::from([("laptop".into(), "/dev/full".into())])).expect_err("no room");
    assert!(full.to_string().contains("No space left on device"), "{full}");

    // Room for some packets: what comes later ends the lab, and the lab says why.
    // SAFETY: the signal is ignored; no handler runs.
    #[expect(unsafe_code, reason = "what signals do is changed by a call without a safe wrapper")]
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }.expect("a signal that may be ignored");
    let stage = stage_with(tun, files(directory.path(), &["laptop"]));
    setrlimit(Resource::RLIMIT_FSIZE, 16_384, 16_384).expect("a lower limit");
    let laptop = stage.socket("laptop", "wlan0", false);
    // Open to the end: what the kernel tells about a closed port would be captured, too.
    let desktop = stage.socket("desktop", "wlan0", false);
    let to = desktop.local_addr().unwrap();
    let mut sent = 0;
    let closed = loop {
        let _ = laptop.send_to(&[0; 1000], to);
        sent += 1;
        match stage.events.recv_timeout(Duration::from_millis(10)) {
            Err(RecvTimeoutError::Disconnected) => break Instant::now(),
            _ => assert!(sent < 3000, "the lab goes on without its captures"),
        }
    };
    assert!(sent >= 15, "what there is room for is captured");
    let silence = LabChange::Silence { host: "laptop".into(), interface: "wlan0".into() };
    stage.lab.apply(silence).expect_err("nothing runs any more");
    let error = stage.lab.finish().expect_err("the captures are not whole");
    assert!(closed <= Instant::now());
    assert!(matches!(&error, LabError::Capture(_)), "{error}");
    assert!(error.to_string().contains("laptop.pcapng: File too large"), "{error}");
    assert!(packets(&directory.path().join("laptop.pcapng")).len() > 10, "what was written can be read");
}

/// A process that captures what it sends for ever.
pub(crate) fn hold(tun: &Path) -> ExitCode {
    let directory = env::var("LAB_CAPTURES").expect("where to");
    let stage = stage_with(tun, files(Path::new(&directory), &["laptop", "desktop"]));
    let (laptop, desktop) = (stage.socket("laptop", "wlan0", false), stage.socket("desktop", "wlan0", false));
    let to = desktop.local_addr().unwrap();
    println!("ready");
    loop {
        let _ = laptop.send_to(&[7; 900], to);
        thread::sleep(Duration::from_micros(200));
    }
}

pub(crate) fn kill_9(tun: &Path) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["scene", "capturing-holder"])
        .arg(tun)
        .env("LAB_CAPTURES", directory.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let mut line = String::new();
    BufReader::new(holder.stdout.take().unwrap()).read_line(&mut line).expect("a line");
    assert_eq!(line, "ready\n");
    let captures = ["laptop", "desktop"].map(|host| directory.path().join(format!("{host}.pcapng")));
    // Read while it is written, too.
    while captures.iter().any(|path| packets(path).len() < 100) {
        thread::sleep(Duration::from_millis(5));
    }
    kill(Pid::from_raw(holder.id() as i32), Signal::SIGKILL).unwrap();
    holder.wait().unwrap();
    for path in &captures {
        let whole = packets(path);
        let size = fs::metadata(path).unwrap().len();
        assert!(
            whole.iter().filter_map(|packet| packet.payload.as_ref()).all(|payload| *payload == [7; 900])
        );
        println!("measured: {} packets in {size} bytes can be read after kill -9", whole.len());
    }
}
