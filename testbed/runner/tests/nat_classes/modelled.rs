//! All modelled NATs in one lab: a host behind each, and between them a relay with two addresses, as RFC 5780 wants it.

use crate::{PATIENCE, verdict::Verdict, verdict::word};
use lab::{Child, ChildSpec, Lab, LabSpec};
use netmodel::{
    Dependence, Hairpinning, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec,
    Plan, PortAssignment, Topology,
};
use std::{
    collections::BTreeMap,
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// One way, of every link.
const DELAY: Duration = Duration::from_millis(5);
const RELAY: &str = "relay";
/// Those of the relay, each with an address of each family.
const RELAY_INTERFACES: [&str; 2] = ["eth0", "eth1"];

/// What a prober is put behind.
struct Case {
    name: String,
    /// The innermost first.
    nats: Vec<NatSpec>,
    ipv6: Ipv6Access,
    /// The prober asks by IPv6.
    by_ipv6: bool,
    expected: Verdict,
}

impl Case {
    fn behind(nats: Vec<NatSpec>) -> Self {
        let name = nats.iter().map(|nat| {
            let hairpins = if nat.hairpinning == Hairpinning::Off { ", no hairpinning" } else { "" };
            format!("{}/{}, {:?}{hairpins}", word(nat.mapping), word(nat.filtering), nat.ports)
        });
        let name = name.collect::<Vec<_>>().join(" behind ");
        Self { name, expected: Verdict::behind(&nats), nats, ipv6: Ipv6Access::None, by_ipv6: false }
    }

    fn without_nat(ipv6: Ipv6Access, by_ipv6: bool) -> Self {
        let is_firewalled = by_ipv6 && ipv6 == Ipv6Access::Firewalled;
        let filtering = if is_firewalled { word(Dependence::AddressAndPortDependent) } else { "none" };
        let name = format!("no NAT, IPv6 {ipv6:?}, asked by {}", if by_ipv6 { "IPv6" } else { "IPv4" });
        Self { name, nats: vec![], ipv6, by_ipv6, expected: Verdict::without_nat(filtering) }
    }
}

fn nat(mapping: Dependence, filtering: Dependence, ports: PortAssignment) -> NatSpec {
    NatSpec { mapping, filtering, ports, ..NatSpec::new(NatKind::Home) }
}

/// Each class with each way to choose ports; without hairpinning; in a row; and firewalls.
fn cases() -> Vec<Case> {
    use Dependence::{AddressAndPortDependent as Apd, AddressDependent as Ad, EndpointIndependent as Ei};
    use PortAssignment::{Preserved, Random, Sequential};
    let classes = Dependence::ALL.into_iter().flat_map(|one| Dependence::ALL.map(|two| (one, two)));
    let every = classes.flat_map(|(mapping, filtering)| {
        [Preserved, Sequential, Random].map(|ports| vec![nat(mapping, filtering, ports)])
    });
    let off = [(Ei, Apd, Preserved), (Ad, Ad, Preserved), (Apd, Ei, Random), (Apd, Apd, Sequential)];
    let off = off.map(|(mapping, filtering, ports)| {
        vec![NatSpec { hairpinning: Hairpinning::Off, ..nat(mapping, filtering, ports) }]
    });
    let stacks = [((Ei, Ei), (Ei, Apd)), ((Ei, Apd), (Apd, Ad)), ((Ad, Ei), (Ei, Ad))];
    let stacks = stacks.map(|(home, carrier)| {
        let carrier = nat(carrier.0, carrier.1, Preserved);
        vec![nat(home.0, home.1, Preserved), NatSpec { kind: NatKind::CarrierGrade, ..carrier }]
    });
    let firewalls = [
        Case::without_nat(Ipv6Access::Firewalled, true),
        Case::without_nat(Ipv6Access::Open, true),
        Case::without_nat(Ipv6Access::None, false),
    ];
    every.chain(off).chain(stacks).map(Case::behind).chain(firewalls).collect()
}

/// In this process, whose only thread makes the lab.
pub(crate) fn run(tun: &Path) -> ExitCode {
    let rights = match lab::acquire(tun) {
        Ok(rights) => rights,
        Err(error) => {
            println!("this machine cannot run the test: {error}");
            return ExitCode::FAILURE;
        }
    };
    let cases = cases();
    let (sink, events) = mpsc::channel();
    thread::spawn(move || events.into_iter().for_each(drop));
    let plan = plan(&cases);
    let relays = addresses(&plan);
    let metrics = BTreeMap::new();
    let spec = LabSpec { plan, seed: 7, metrics, mtu: 1500, captures: BTreeMap::new(), capture_limits: None };
    let lab = Lab::build(rights, spec, sink).expect("a lab");
    let mut relay = start_relay(&lab, &relays);
    let mut probers: Vec<_> = cases
        .iter()
        .zip(0..)
        .map(|(case, number)| {
            let asked =
                relays.iter().find(|[address, _]| address.is_ipv6() == case.by_ipv6).expect("both families");
            start(
                &lab,
                &host(number),
                &format!("exec ./iceperf probe nat {} --interface wlan0 --json", asked[0]),
            )
        })
        .collect();
    let mut wrong = 0;
    for (case, (prober, file)) in cases.iter().zip(&mut probers) {
        let found = wait(prober).and_then(|()| Verdict::read(&read(file)));
        if found.as_ref() != Ok(&case.expected) {
            wrong += 1;
            let found = found.map_or_else(|why| why, |found| found.to_string());
            println!("{}\n  is {}\n  found {found}\n{}", case.name, case.expected, read(file));
        }
    }
    let _ = relay.kill().and_then(|()| relay.wait());
    let report = lab.finish().expect("a report");
    println!("lateness {:?}", report.lateness);
    if wrong == 0 {
        println!("recognised: {}", cases.len());
    }
    ExitCode::from(u8::from(wrong > 0))
}

fn host(number: usize) -> String {
    format!("host{number}")
}

/// A host behind the NATs of each case, and the relay with an interface in each of two networks without any.
fn plan(cases: &[Case]) -> Plan {
    let interface = |name: &str, network: String| InterfaceSpec { name: name.into(), network };
    let mut topology = Topology::default();
    for name in RELAY_INTERFACES {
        let network = NetworkSpec::new(format!("of-{name}"), LinkSpec::with_delay(DELAY));
        topology.networks.push(NetworkSpec { ipv6: Ipv6Access::Open, ..network });
    }
    let interfaces = RELAY_INTERFACES.map(|name| interface(name, format!("of-{name}"))).to_vec();
    topology.hosts.push(HostSpec { name: RELAY.into(), interfaces });
    for (case, number) in cases.iter().zip(0..) {
        let name = |place: usize| format!("network{number}-{place}");
        for place in 0..case.nats.len().max(1) {
            topology.networks.push(NetworkSpec {
                nat: case.nats.get(place).cloned(),
                behind: (place + 1 < case.nats.len()).then(|| name(place + 1)),
                ipv6: case.ipv6,
                ..NetworkSpec::new(name(place), LinkSpec::with_delay(DELAY))
            });
        }
        let interfaces = vec![interface("wlan0", name(0))];
        topology.hosts.push(HostSpec { name: host(number), interfaces });
    }
    Plan::new(topology).expect("a sound topology")
}

/// The relay's, by family: of the first interface, and of the second.
fn addresses(plan: &Plan) -> [[IpAddr; 2]; 2] {
    let of = |name, is_ipv6: bool| {
        let port =
            plan.port_of(RELAY, name).and_then(|port| plan.port(port)).expect("an interface of the plan");
        let mut all = port.addresses().iter().map(|(address, _)| address);
        all.find(|address| address.is_ipv6() == is_ipv6).expect("both families")
    };
    [false, true].map(|is_ipv6| RELAY_INTERFACES.map(|name| of(name, is_ipv6)))
}

/// Each of its addresses must leave by its own interface.
fn start_relay(lab: &Lab, addresses: &[[IpAddr; 2]; 2]) -> Child {
    let rule = |[_, second]: &[IpAddr; 2]| {
        let family = if second.is_ipv6() { "-6" } else { "-4" };
        let interface = RELAY_INTERFACES[1];
        format!(
            "ip {family} route add default dev {interface} table 7 && ip {family} rule add from {second} lookup 7 &&"
        )
    };
    let rules = addresses.iter().map(rule).collect::<Vec<_>>().join(" ");
    let binds: Vec<String> = addresses.iter().flatten().map(|address| format!("--bind {address}")).collect();
    let script = format!("PATH=$PATH:/usr/sbin:/sbin; {rules} exec ./iceperf relay {}", binds.join(" "));
    let (relay, file) = start(lab, RELAY, &script);
    let deadline = Instant::now() + PATIENCE;
    while !read(&file).contains("TURN: ") {
        assert!(Instant::now() < deadline, "no relay: {}", read(&file));
        thread::sleep(Duration::from_millis(10));
    }
    relay
}

/// A shell inside a host, and where it says what it says.
fn start(lab: &Lab, host: &str, script: &str) -> (Child, PathBuf) {
    let path = PathBuf::from(format!("{host}.json"));
    let file = fs::File::create(&path).expect("our own directory");
    let spec = ChildSpec {
        program: "/bin/sh".into(),
        args: ["-ec", script].map(Into::into).to_vec(),
        env: vec![],
        inherit: vec![],
        stderr: file.try_clone().expect("a descriptor"),
        stdout: file,
    };
    (lab.spawn(host, spec).expect("a child"), path)
}

fn wait(child: &mut Child) -> Result<(), String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().expect("our own child") {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{status}")),
            None if Instant::now() > deadline => return Err("it does not end".into()),
            None => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}
