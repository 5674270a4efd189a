//! The scenes: each a process of its own, given the TUN node.

use crate::support::{
    CAMPUS_DELAY, HOME_DELAY, Stage, bind, child_of, closed_node, is_silent, receive, try_bind, wait_for_ever,
};
use crate::{captures, changes, lan, networks, programs};
use lab::{Lab, LabChange, LabError, LabEvent, LabSpec, RightsError};
use netlink_packet_core::{NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{RouteNetlinkMessage, link::LinkFlags};
use netmodel::{Direction, DropCause, NetworkEvent};
use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead, BufReader, Read, Seek, Write},
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

type Scene = fn(&Path);

const SCENES: &[(&str, Scene)] = &[
    ("udp_passes_the_nat_and_the_firewall", udp),
    ("packets_are_never_early", delay),
    ("carrier_off_is_told_and_sends_still_succeed", carrier),
    ("down_loses_routes_and_up_restores_everything", down_up),
    ("children_get_their_descriptors_and_die_with_the_lab", children),
    ("silence_is_told_by_nobody", changes::silent),
    ("another_address_comes_with_all_routes", changes::address),
    ("a_nat_that_forgets_gives_another_port", changes::nat),
    ("roaming_brings_the_addresses_and_the_links_of_the_other_network", networks::roam),
    ("another_metric_moves_what_is_bound_to_nothing", networks::metric),
    ("links_filters_and_nats_change_while_packets_pass", networks::change),
    ("what_is_said_to_all_is_heard_on_the_segment_and_nowhere_else", lan::multicast),
    ("ping_and_traceroute_see_the_network_that_was_asked_for", programs::ping),
    ("iperf3_measures_the_rate_that_was_asked_for", programs::iperf3),
    ("a_download_over_tcp_arrives_whole", programs::download),
    ("captures_hold_what_passes_the_interfaces", captures::contents),
    ("captures_cost_no_time", captures::cost),
    ("a_capture_that_fails_ends_the_lab", captures::failure),
    ("captures_outlive_kill_9", captures::kill_9),
    ("kill_9_leaves_nothing", kill_9),
    ("two_labs_do_not_meet", two_labs),
    ("what_is_missing_is_named", missing),
    ("what_cannot_be_built_is_refused", refused),
];

/// Whether a scene runs as root and as an ordinary user: not where it is the modelled link that is measured, which takes
/// long and is the same for both.
pub(crate) fn depends_on_user(scene: &str) -> bool {
    const SAME: [&str; 4] = [
        "ping_and_traceroute_see_the_network_that_was_asked_for",
        "iperf3_measures_the_rate_that_was_asked_for",
        "a_download_over_tcp_arrives_whole",
        "captures_cost_no_time",
    ];
    !SAME.contains(&scene)
}

/// Names of all scenes.
pub(crate) const NAMES: &[&str] = &{
    let mut names = [""; SCENES.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = SCENES[index].0;
        index += 1;
    }
    names
};

/// Runs one scene in this process.
pub(crate) fn run(name: &str, tun: &Path) -> ExitCode {
    match name {
        "holder" => return hold(tun),
        "capturing-holder" => return captures::hold(tun),
        _ => {}
    }
    let Some((_, scene)) = SCENES.iter().find(|(scene, _)| *scene == name) else { return ExitCode::from(2) };
    scene(tun);
    ExitCode::SUCCESS
}

pub(crate) fn stage(tun: &Path) -> Stage {
    stage_with(tun, BTreeMap::new())
}

/// With captures of these hosts.
pub(crate) fn stage_with(tun: &Path, captures: BTreeMap<String, PathBuf>) -> Stage {
    match lab::acquire(tun) {
        Ok(rights) => Stage::with_captures(rights, captures, None),
        Err(error) => panic!("this machine cannot run the test: {error}"),
    }
}

fn change(make: fn(String, String) -> LabChange, host: &str, interface: &str) -> LabChange {
    make(host.into(), interface.into())
}

fn down(host: String, interface: String) -> LabChange {
    LabChange::Down { host, interface }
}

fn up(host: String, interface: String) -> LabChange {
    LabChange::Up { host, interface }
}

fn carrier_off(host: String, interface: String) -> LabChange {
    LabChange::CarrierOff { host, interface }
}

fn carrier_on(host: String, interface: String) -> LabChange {
    LabChange::CarrierOn { host, interface }
}

fn udp(tun: &Path) {
    let stage = stage(tun);
    // IPv4: through the home's NAT to the server and back, and to the desktop, which has no NAT.
    let laptop = stage.socket("laptop", "wlan0", false);
    for (host, interface) in [("meet", "eth0"), ("desktop", "wlan0")] {
        let other = stage.socket(host, interface, false);
        laptop.send_to(b"hello", other.local_addr().unwrap()).unwrap();
        let (message, from) = receive(&other).expect("it arrives");
        assert_eq!(message, b"hello");
        assert_ne!(from.ip(), laptop.local_addr().unwrap().ip(), "the NAT hides the laptop");
        other.send_to(b"hello yourself", from).unwrap();
        assert_eq!(receive(&laptop), Some((b"hello yourself".to_vec(), other.local_addr().unwrap())));
    }

    // IPv6: nobody gets in who was not called from inside.
    let (laptop, desktop) = (stage.socket("laptop", "wlan0", true), stage.socket("desktop", "wlan0", true));
    let (laptop_address, desktop_address) = (laptop.local_addr().unwrap(), desktop.local_addr().unwrap());
    desktop.send_to(b"knock", laptop_address).unwrap();
    assert!(is_silent(&laptop), "the home's firewall stops it");
    laptop.send_to(b"come in", desktop_address).unwrap();
    assert_eq!(
        receive(&desktop),
        Some((b"come in".to_vec(), laptop_address)),
        "the knock has opened the campus"
    );
    desktop.send_to(b"thanks", laptop_address).unwrap();
    assert_eq!(receive(&laptop), Some((b"thanks".to_vec(), desktop_address)));

    // The other interface is another way: the server sees another address.
    let mobile = stage.socket("laptop", "wwan0", false);
    let meet = stage.socket("meet", "eth0", false);
    mobile.send_to(b"from outside", meet.local_addr().unwrap()).unwrap();
    let (_, from) = receive(&meet).expect("it arrives");
    meet.send_to(b"seen", from).unwrap();
    assert!(receive(&mobile).is_some());

    let report = stage.lab.finish().expect("a report");
    let events: Vec<LabEvent> = stage.events.try_iter().map(|(_, event)| event).collect();
    let events = events.iter().filter_map(|event| match event {
        LabEvent::Network(event) => Some(event),
        LabEvent::Links(_) | LabEvent::Stalled { .. } => None,
    });
    let events: Vec<&NetworkEvent> = events.collect();
    assert!(events.iter().any(|event| matches!(event, NetworkEvent::Mapping { created: true, .. })));
    let knock = events.iter().find(|event| matches!(event, NetworkEvent::Dropped { .. }));
    let Some(NetworkEvent::Dropped { cause: DropCause::Firewall, source, destination, .. }) = knock else {
        panic!("the firewall's drop is told: {events:?}")
    };
    assert_eq!((*source, *destination), (Some(desktop_address), Some(laptop_address)));
    assert_eq!(report.lateness.count, 8, "every delivery is measured");
    let up = report.links.iter().filter(|link| link.counts.direction == Direction::Up);
    let taken: u64 = up.map(|link| link.lateness.count).sum();
    assert!(taken > 8 && report.waiting.count == taken, "and so is every packet that was sent: {taken}");
    let lost = report.links.iter().map(|link| link.lost_at_device + link.delivered_while_down).sum::<u64>();
    assert_eq!(lost, 0, "nothing is lost outside the model");
    // The kernel's own packets are counted by the model, and there are few of them.
    let own: u64 =
        report.links.iter().filter_map(|link| link.counts.dropped.get(&DropCause::Multicast)).sum();
    println!("measured: {own} packets of the kernels' own on 4 interfaces");
}

fn delay(tun: &Path) {
    const PACKETS: u32 = 300;
    let stage = stage(tun);
    let expected = HOME_DELAY + CAMPUS_DELAY;
    let laptop = stage.socket("laptop", "wlan0", false);
    let desktop = stage.socket("desktop", "wlan0", false);
    let mut late = Vec::new();
    for number in 0..PACKETS {
        let sent = Instant::now();
        laptop.send_to(&number.to_be_bytes(), desktop.local_addr().unwrap()).unwrap();
        let (message, _) = receive(&desktop).expect("it arrives");
        let took = sent.elapsed();
        assert_eq!(message, number.to_be_bytes());
        assert!(took >= expected, "packet {number} took {took:?}, less than {expected:?}");
        late.push(took - expected);
        thread::sleep(Duration::from_millis(2));
    }
    late.sort();
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    println!(
        "measured: one way beyond {expected:?}: median {:?}, p99 {:?}, max {:?}",
        at(50),
        at(99),
        at(100)
    );

    let cpu = cpu_of("lab-datapath");
    thread::sleep(Duration::from_millis(500));
    let idle = cpu_of("lab-datapath") - cpu;
    println!("measured: datapath {cpu:?} of CPU for {PACKETS} packets, {idle:?} idle");
    let report = stage.lab.finish().expect("a report");
    let lab::Lateness { count, median, p99, max } = report.lateness;
    assert_eq!(count, u64::from(PACKETS));
    println!(
        "measured: lateness median {median:?}, p99 {p99:?}, max {max:?}, SCHED_FIFO {}",
        report.real_time
    );
    let counted = report
        .links
        .iter()
        .find(|link| link.counts.direction == Direction::Down && link.counts.network == "campus");
    let counted = counted.expect("the desktop's link is counted");
    assert_eq!((counted.counts.packets, counted.lateness.count), (PACKETS.into(), PACKETS.into()));
}

/// CPU time of a thread of this process, from its scheduler statistics.
pub(crate) fn cpu_of(name: &str) -> Duration {
    let threads = fs::read_dir("/proc/self/task").unwrap().map(|entry| entry.unwrap().path());
    let thread = threads
        .into_iter()
        .find(|path| fs::read_to_string(path.join("comm")).is_ok_and(|comm| comm.trim() == name));
    let Some(thread) = thread else { return Duration::ZERO };
    let text = fs::read_to_string(thread.join("schedstat")).unwrap_or_default();
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn carrier(tun: &Path) {
    let stage = stage(tun);
    let laptop = stage.socket("laptop", "wlan0", false);
    let desktop = stage.socket("desktop", "wlan0", false);
    let to = desktop.local_addr().unwrap();
    let mut listener = stage.inside("laptop", Listener::new);
    laptop.send_to(b"before", to).unwrap();
    assert!(receive(&desktop).is_some());
    let routes = stage.routes("laptop", false).len();

    let before = Instant::now();
    let off = stage.lab.apply(change(carrier_off, "laptop", "wlan0")).expect("carrier off");
    let took = before.elapsed();
    assert!(before <= off && off <= Instant::now());
    assert!(
        listener.hears("wlan0", |flags| flags.contains(LinkFlags::Up) && !flags.contains(LinkFlags::LowerUp))
    );
    println!("measured: carrier off took {took:?}, told {:?} after", listener.heard.duration_since(off));
    laptop.send_to(b"into the void", to).expect("the kernel does not mind");
    assert!(is_silent(&desktop));
    // By now the kernel has noticed, and drops by itself.
    (0..20).for_each(|_| _ = laptop.send_to(b"into the void", to));
    // Nothing else changed: the address can be bound, the routes are there, and the other interface works.
    stage.socket("laptop", "wlan0", true);
    assert_eq!(stage.routes("laptop", false).len(), routes);
    stage.socket("laptop", "wwan0", false).send_to(b"other way", to).unwrap();
    assert!(receive(&desktop).is_some());

    stage.lab.apply(change(carrier_on, "laptop", "wlan0")).expect("carrier on");
    assert!(listener.hears("wlan0", |flags| flags.contains(LinkFlags::Up | LinkFlags::LowerUp)));
    laptop.send_to(b"after", to).unwrap();
    assert_eq!(receive(&desktop).map(|(message, _)| message), Some(b"after".to_vec()));
    // The two states are kept apart: a carrier that comes back does not set an interface up.
    stage.lab.apply(change(down, "laptop", "wlan0")).expect("down");
    stage.lab.apply(change(carrier_off, "laptop", "wlan0")).expect("carrier off");
    stage.lab.apply(change(up, "laptop", "wlan0")).expect("up");
    stage.lab.apply(change(carrier_on, "laptop", "wlan0")).expect("carrier on");
    let laptop = stage.socket("laptop", "wlan0", false);
    laptop.send_to(b"at last", to).unwrap();
    assert_eq!(receive(&desktop).map(|(message, _)| message), Some(b"at last".to_vec()));
    let report = stage.lab.finish().expect("a report");
    let lost = report.links.iter().map(|link| link.lost_at_device).sum::<u64>();
    assert_eq!(lost, 0, "what an interface drops without a carrier is no loss of the model");
}

/// Hears what the kernel tells of links in the namespace in which it was made.
pub(crate) struct Listener {
    socket: netlink_sys::Socket,
    heard: Instant,
}

impl Listener {
    pub(crate) fn new() -> Self {
        const RTNLGRP_LINK: u32 = 1;
        let mut socket =
            netlink_sys::Socket::new(netlink_sys::protocols::NETLINK_ROUTE).expect("a route socket");
        socket.bind_auto().expect("an address");
        socket.add_membership(RTNLGRP_LINK).expect("news of links");
        socket.set_non_blocking(true).expect("a socket that does not wait");
        Self { socket, heard: Instant::now() }
    }

    /// Whether the kernel has told anything.
    pub(crate) fn has_news(&mut self) -> bool {
        self.socket.recv_from_full().is_ok()
    }

    /// Whether news of this kind comes within two seconds: kernels before 6.8 may wait for one.
    fn hears(&mut self, interface: &str, wanted: fn(LinkFlags) -> bool) -> bool {
        let deadline = Instant::now() + Duration::from_secs(2);
        while Instant::now() < deadline {
            let Ok((bytes, _)) = self.socket.recv_from_full() else {
                thread::sleep(Duration::from_micros(100));
                continue;
            };
            self.heard = Instant::now();
            let message =
                NetlinkMessage::<RouteNetlinkMessage>::deserialize(&bytes).expect("a netlink message");
            let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewLink(link)) = message.payload else {
                continue;
            };
            let name = netlink_packet_route::link::LinkAttribute::IfName(interface.into());
            if link.attributes.contains(&name) && wanted(link.header.flags) {
                return true;
            }
        }
        false
    }
}

fn down_up(tun: &Path) {
    let stage = stage(tun);
    let meet = stage.socket("meet", "eth0", true);
    let to = meet.local_addr().unwrap();
    let (ipv4, ipv6) = (stage.routes("laptop", false), stage.routes("laptop", true));
    assert_eq!(default_metrics(&ipv4), BTreeMap::from([("wlan0".into(), 200), ("wwan0".into(), 600)]));
    let (mut downs, mut ups) = (Vec::new(), Vec::new());
    for round in 0..25 {
        let socket = stage.socket("laptop", "wlan0", true);
        let before = Instant::now();
        let at = stage.lab.apply(change(down, "laptop", "wlan0")).expect("down");
        downs.push(before.elapsed());
        assert!(before <= at && at <= Instant::now());
        let error = socket.send_to(b"nowhere", to).expect_err("there is no route");
        assert!(
            matches!(error.raw_os_error(), Some(libc::ENETUNREACH | libc::ENETDOWN | libc::ENODEV)),
            "{error}"
        );
        for ipv6 in [false, true] {
            let routes = stage.routes("laptop", ipv6);
            assert!(!routes.iter().any(|route| route.contains("wlan0")), "{routes:?}");
        }
        let gone = stage.address("laptop", "wlan0", true);
        stage.inside("laptop", || try_bind("wlan0", gone).expect_err("the IPv6 address is gone"));

        let before = Instant::now();
        stage.lab.apply(change(up, "laptop", "wlan0")).expect("up");
        ups.push(before.elapsed());
        let socket = stage.socket("laptop", "wlan0", true);
        socket.send_to(b"back", to).unwrap();
        let (message, _) = receive(&meet).unwrap_or_else(|| panic!("traffic is back, round {round}"));
        assert_eq!(message, b"back");
    }
    for (name, times) in [("down", &mut downs), ("up", &mut ups)] {
        times.sort();
        println!("measured: {name} took {:?} (median), {:?} (slowest of 25)", times[12], times[24]);
    }
    assert_eq!(default_metrics(&stage.routes("laptop", false)), default_metrics(&ipv4));
    assert_eq!(sorted(stage.routes("laptop", true)), sorted(ipv6));
    // Without the WiFi, an unbound socket takes the mobile network: the metrics decide.
    stage.lab.apply(change(down, "laptop", "wlan0")).expect("down");
    let meet = stage.socket("meet", "eth0", false);
    let unbound = stage.inside("laptop", || std::net::UdpSocket::bind("0.0.0.0:0").unwrap());
    unbound.connect(meet.local_addr().unwrap()).unwrap();
    assert_eq!(unbound.local_addr().unwrap().ip(), stage.address("laptop", "wwan0", false));
    stage.lab.finish().expect("a report");
}

/// Metrics of the IPv4 default routes by interface: columns of /proc/net/route.
fn default_metrics(routes: &[String]) -> BTreeMap<String, u32> {
    let columns = routes.iter().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let defaults = columns.filter(|columns| columns[1] == "00000000" && columns[7] == "00000000");
    defaults.map(|columns| (columns[0].to_owned(), columns[6].parse().unwrap())).collect()
}

/// Routes without their counts of use, which differ.
fn sorted(routes: Vec<String>) -> Vec<String> {
    let columns = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        format!("{} {} {} {}", words[0], words[1], words[5], words[9])
    };
    let mut routes: Vec<String> = routes.iter().map(columns).collect();
    routes.sort();
    routes
}

fn children(tun: &Path) {
    let stage = stage(tun);
    let (mut message, mut answer) = (tempfile(), tempfile());
    let (mut stdout, mut stderr) = (tempfile(), tempfile());
    message.write_all(b"carried").unwrap();
    message.rewind().unwrap();
    let mut child = child_of(&["carry"]);
    child.env = vec![("LAB_TEST".into(), "told".into())];
    child.inherit = vec![(answer.try_clone().unwrap().into(), 4), (message.into(), 3)];
    (child.stdout, child.stderr) = (stdout.try_clone().unwrap(), stderr.try_clone().unwrap());
    let status = stage.lab.spawn("desktop", child).expect("a child").wait().expect("its end");
    assert!(status.success(), "{status}");
    assert_eq!(text(&mut answer), "carried");
    assert_eq!(text(&mut stderr), "said to standard error\n");
    let inside = fs::read_link(format!("/proc/{}/ns/net", stage.pid("desktop"))).unwrap();
    assert_eq!(text(&mut stdout), format!("told\n{}\n", inside.display()));
    assert_ne!(inside, fs::read_link("/proc/self/ns/net").unwrap());

    let mut nothing = child_of(&[]);
    nothing.program = "/nowhere/iceperf".into();
    nothing.inherit = vec![(tempfile().into(), 3), (tempfile().into(), 9)];
    let error = stage.lab.spawn("laptop", nothing).expect_err("no such program");
    assert!(matches!(&error, LabError::Spawn { host, .. } if host == "laptop"), "{error}");
    assert!(
        error.to_string().contains("/nowhere/iceperf") && error.to_string().contains("No such file"),
        "{error}"
    );
    let mut standard = child_of(&[]);
    standard.inherit = vec![(tempfile().into(), 1)];
    assert!(stage.lab.spawn("laptop", standard).is_err());
    assert!(
        matches!(stage.lab.spawn("toaster", child_of(&[])), Err(LabError::UnknownHost(host)) if host == "toaster")
    );

    let mut waiting = wait_for_ever(&stage.lab, "laptop");
    assert!(waiting.try_wait().unwrap().is_none());
    stage.lab.finish().expect("a report");
    assert_eq!(waiting.wait().unwrap().signal(), Some(Signal::SIGKILL as i32));
}

fn tempfile() -> fs::File {
    tempfile::tempfile().expect("a temporary file")
}

fn text(file: &mut fs::File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

/// A process that builds a lab with children in it, tells their numbers and their namespaces, and waits.
fn hold(tun: &Path) -> ExitCode {
    let stage = stage(tun);
    for host in ["laptop", "desktop", "meet"] {
        let namespace = fs::read_link(format!("/proc/{}/ns/net", stage.pid(host))).unwrap();
        println!("{} {}", stage.pid(host), namespace.display());
    }
    println!("ready");
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn kill_9(tun: &Path) {
    let interfaces = fs::read_to_string("/proc/self/net/dev").unwrap().lines().count();
    let mut holder = Command::new(env::current_exe().unwrap())
        .args(["scene", "holder"])
        .arg(tun)
        .stdout(Stdio::piped())
        .spawn()
        .expect("a second process");
    let said = BufReader::new(holder.stdout.take().unwrap()).lines().map(Result::unwrap);
    let children: Vec<(i32, String)> = said
        .take_while(|line| line != "ready")
        .map(|line| {
            let (pid, namespace) = line.split_once(' ').expect("a number and a namespace");
            (pid.parse().unwrap(), namespace.to_owned())
        })
        .collect();
    assert_eq!(children.len(), 3, "the lab was built");
    assert!(children.iter().all(|(pid, namespace)| namespace_of(*pid).as_ref() == Some(namespace)));
    kill(Pid::from_raw(holder.id() as i32), Signal::SIGKILL).unwrap();
    holder.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(10);
    let left = || -> Vec<i32> {
        let processes =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        processes
            .filter(|pid| namespace_of(*pid).is_some_and(|it| children.iter().any(|(_, its)| *its == it)))
            .collect()
    };
    while !left().is_empty() && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(left(), Vec::<i32>::new(), "no process is left in the namespaces");
    // Namespaces that outlive their processes do so by a mount; interfaces live in a namespace.
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!children.iter().any(|(_, namespace)| mounts.contains(namespace.as_str())), "{mounts}");
    assert_eq!(fs::read_to_string("/proc/self/net/dev").unwrap().lines().count(), interfaces);
}

/// The network namespace of a process that exists and is ours to look at.
fn namespace_of(pid: i32) -> Option<String> {
    Some(fs::read_link(format!("/proc/{pid}/ns/net")).ok()?.display().to_string())
}

fn two_labs(tun: &Path) {
    let rights = [(); 2].map(|()| lab::acquire(tun).expect("rights"));
    let stages = rights.map(Stage::new);
    // Same names, same addresses, same ports: and each hears its own.
    let sockets = stages.each_ref().map(|stage| {
        let laptop = stage.socket("laptop", "wlan0", false);
        let address = stage.address("desktop", "wlan0", false);
        let desktop = stage.inside("desktop", || bind("wlan0", address));
        (laptop, desktop)
    });
    for (text, (laptop, desktop)) in ["one", "other"].iter().zip(&sockets) {
        laptop.send_to(text.as_bytes(), desktop.local_addr().unwrap()).unwrap();
    }
    for (text, (_, desktop)) in ["one", "other"].iter().zip(&sockets) {
        assert_eq!(receive(desktop).map(|(message, _)| message), Some(text.as_bytes().to_vec()));
        assert!(is_silent(desktop));
    }
    let [one, other] = stages;
    one.lab.finish().expect("a report");
    let (laptop, desktop) = &sockets[1];
    laptop.send_to(b"still here", desktop.local_addr().unwrap()).unwrap();
    assert!(receive(desktop).is_some());
    other.lab.finish().expect("a report");
}

fn missing(tun: &Path) {
    let says = |path: &str, text: &str| {
        let error = lab::acquire(Path::new(path)).expect_err("not a TUN device").to_string();
        assert!(error.contains(text) && error.contains("fix: "), "{error}");
    };
    says("/nowhere/tun", "leave out --tun, or: sudo mknod -m 0666 /nowhere/tun c 10 200");
    says("/dev/null", "is not the TUN device");
    says("/proc/version", "is not the TUN device");
    if nix::unistd::geteuid().is_root() {
        // Root may open everything and make everything: what is left are mistakes.
        assert!(!lab::acquire(tun).expect("rights").is_rootless());
        return;
    }
    let closed = closed_node(tun);
    if closed.exists() {
        says(&closed.display().to_string(), &format!("sudo chmod 0666 {}", closed.display()));
    } else {
        println!("measured: NOT TESTED: a TUN node that may not be opened, which only root can make");
    }
    thread::scope(|scope| {
        let second = scope.spawn(|| thread::sleep(Duration::from_millis(200)));
        assert!(matches!(lab::acquire(tun), Err(RightsError::Threads { count: 2 })));
        second.join().unwrap();
    });
    // A limit inside a user namespace of our own: the machine's is not touched.
    forbid_namespaces();
    let error = lab::acquire(tun).expect_err("no namespaces").to_string();
    assert!(error.contains("the limit of user namespaces, 0, is reached"), "{error}");
    assert!(error.contains("fix: sudo sysctl -w user.max_user_namespaces="), "{error}");
}

/// Moves into a user namespace that may have none inside, and gives up all privileges there.
fn forbid_namespaces() {
    unshare(CloneFlags::CLONE_NEWUSER).expect("a user namespace");
    fs::write("/proc/sys/user/max_user_namespaces", "0").expect("root of it may");
    drop_capabilities().expect("everybody may");
}

#[expect(unsafe_code, reason = "there is no safe wrapper around capset")]
fn drop_capabilities() -> nix::Result<()> {
    // Version 3 of the header, for this process; two words each of effective, permitted and inheritable (capset(2)).
    let (header, none) = ([0x2008_0522_u32, 0], [0_u32; 6]);
    // SAFETY: the kernel reads two and six words, which live until the call returns.
    let result = unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), none.as_ptr()) };
    nix::errno::Errno::result(result).map(drop)
}

fn refused(tun: &Path) {
    let build = |metrics: &[((&str, &str), u32)]| {
        let metrics =
            metrics.iter().map(|((host, name), metric)| (((*host).into(), (*name).into()), *metric));
        let (sink, _) = mpsc::channel();
        let rights = lab::acquire(tun).expect("rights");
        let spec = LabSpec {
            plan: crate::support::plan(),
            seed: 7,
            metrics: metrics.collect(),
            mtu: 1500,
            captures: BTreeMap::new(),
            capture_limits: None,
        };
        Lab::build(rights, spec, sink)
    };
    let same = build(&[(("laptop", "wlan0"), 300), (("laptop", "wwan0"), 300)]).expect_err("one metric");
    assert!(matches!(&same, LabError::SameMetric { host, metric: 300 } if host == "laptop"), "{same}");
    let unknown = build(&[(("laptop", "eth7"), 300)]).expect_err("no such interface");
    assert_eq!(unknown.to_string(), "there is no interface `laptop.eth7`");
    let lab = build(&[]).expect("a lab");
    let unknown = lab.apply(change(down, "laptop", "eth7")).expect_err("no such interface");
    assert_eq!(unknown.to_string(), "there is no interface `laptop.eth7`");
    lab.finish().expect("a report");

    // IPv6 needs an MTU of 1280 (RFC 8200 5): the kernel takes the smaller one and then has no IPv6.
    let (sink, _) = mpsc::channel();
    let spec = LabSpec {
        plan: crate::support::plan(),
        seed: 7,
        metrics: BTreeMap::new(),
        mtu: 1000,
        captures: BTreeMap::new(),
        capture_limits: None,
    };
    let error = Lab::build(lab::acquire(tun).expect("rights"), spec, sink).expect_err("no room for IPv6");
    assert!(matches!(error, LabError::Netlink { .. } | LabError::NotApplied { .. }), "{error}");
}
