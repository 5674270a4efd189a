//! `testbed plan`: what a run of a scenario would be. The topology with its addresses, what is sent, and the timed steps;
//! nothing is run, so no rights are needed.

use crate::{
    check,
    console::say,
    exit::Exit,
    scenario::{
        Bind, Call, Direction, LowerError, Mimic, Nat, Network, Peers, Scenario, ServerKind, Workload,
        format_byte_size, format_duration, link_phrase,
    },
};
use netmodel::Port;
use record::{InterfaceKind, Millis};
use serde::Serialize;
use std::{collections::BTreeMap, path::Path};

/// Shows it.
pub(crate) fn plan(file: &Path, sets: &[String], json: bool) -> Exit {
    let Some((scenario, _)) = check::load(file, sets) else {
        return Exit::Usage;
    };
    let planned = match Planned::of(&scenario) {
        Ok(planned) => planned,
        // Reading the scenario has tried this; so it does not happen.
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    match json {
        // Numbers, strings, lists and maps with string keys always serialise.
        true => say!("{}", serde_json::to_string_pretty(&planned).unwrap_or_default()),
        false => show(&planned),
    }
    Exit::Success
}

/// A run that could be.
#[derive(Debug, Serialize)]
struct Planned<'a> {
    scenario: &'a str,
    why: &'a str,
    seed: u64,
    duration_ms: Millis,
    hosts: BTreeMap<&'a str, PlannedHost<'a>>,
    networks: BTreeMap<&'a str, PlannedNetwork<'a>>,
    servers: BTreeMap<&'a str, PlannedServer>,
    peers: &'a Peers,
    steps: Vec<PlannedStep>,
    expect: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedHost<'a> {
    /// None for a host that nobody calls from.
    role: Option<&'static str>,
    interfaces: BTreeMap<&'a str, PlannedInterface<'a>>,
}

#[derive(Debug, Serialize)]
struct PlannedInterface<'a> {
    #[serde(rename = "type")]
    kind: InterfaceKind,
    network: &'a str,
    metric: u32,
    addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedNetwork<'a> {
    #[serde(flatten)]
    network: &'a Network,
    /// The outside addresses of its NATs, inside first.
    nat_addresses: Vec<String>,
}

#[derive(Debug, Serialize)]
struct PlannedServer {
    kind: ServerKind,
    #[serde(skip_serializing_if = "Option::is_none")]
    mimic: Option<Mimic>,
    delay: String,
    addresses: Vec<String>,
}

/// Something that happens at a time.
#[derive(Debug, Serialize)]
struct PlannedStep {
    at_ms: Millis,
    what: String,
}

impl<'a> Planned<'a> {
    fn of(scenario: &'a Scenario) -> Result<Self, LowerError> {
        let plan = scenario.plan()?;
        let hosts = scenario.hosts.iter().map(|(name, host)| {
            let interfaces = host.interfaces.iter().map(|(interface, spec)| {
                let port = plan.port_of(name, interface).and_then(|id| plan.port(id));
                let planned = PlannedInterface {
                    kind: spec.kind,
                    network: &spec.network,
                    metric: spec.metric,
                    addresses: addresses(port),
                };
                (interface.as_str(), planned)
            });
            (name.as_str(), PlannedHost { role: role(scenario, name), interfaces: interfaces.collect() })
        });
        let networks = scenario.networks.iter().map(|(name, network)| {
            let nats = scenario.nat_networks(name);
            let outside = nats.iter().filter_map(|nat| plan.nat_address(nat));
            let nat_addresses = outside.map(|address| address.to_string()).collect();
            (name.as_str(), PlannedNetwork { network, nat_addresses })
        });
        let servers = scenario.servers.iter().map(|(name, server)| {
            let addresses = plan.server(name).into_iter().flat_map(Port::all_addresses);
            let addresses = addresses.map(|(address, prefix)| format!("{address}/{prefix}")).collect();
            let (kind, mimic) = (server.kind, server.mimic);
            let delay = format_duration(server.delay);
            (name.as_str(), PlannedServer { kind, mimic, delay, addresses })
        });
        Ok(Self {
            scenario: &scenario.name,
            why: &scenario.why,
            seed: scenario.seed,
            duration_ms: scenario.duration.into(),
            hosts: hosts.collect(),
            networks: networks.collect(),
            servers: servers.collect(),
            peers: &scenario.peers,
            steps: steps(scenario),
            expect: scenario.expect.iter().map(ToString::to_string).collect(),
        })
    }
}

fn role(scenario: &Scenario, host: &str) -> Option<&'static str> {
    let peers = &scenario.peers;
    let ends = [(&peers.client, "client"), (&peers.server, "server")];
    ends.into_iter().find(|(peer, _)| peer.host == host).map(|(_, role)| role)
}

fn addresses(port: Option<&Port>) -> Vec<String> {
    let ipv4 = port.and_then(|port| port.ipv4).map(|(address, prefix)| format!("{address}/{prefix}"));
    let ipv6 = port.and_then(|port| port.ipv6).map(|(address, prefix)| format!("{address}/{prefix}"));
    ipv4.into_iter().chain(ipv6).collect()
}

/// Those of the timeline, between the start and the end.
fn steps(scenario: &Scenario) -> Vec<PlannedStep> {
    let start = match sent(scenario.peers.client.workload) {
        sent if sent.is_empty() => "both peers start ICE".to_owned(),
        sent => format!("both peers start ICE, then {sent}"),
    };
    let step = |at: std::time::Duration, what: String| PlannedStep { at_ms: at.into(), what };
    let timeline = scenario.timeline.iter().map(|done| {
        let detail = done.action.detail().map(|detail| format!(": {detail}"));
        step(done.at, format!("{}{}", done.action, detail.unwrap_or_default()))
    });
    let ends = step(scenario.duration, "everything is stopped".to_owned());
    [step(std::time::Duration::ZERO, start)].into_iter().chain(timeline).chain([ends]).collect()
}

fn sent(workload: Workload) -> String {
    let call = workload.call.map(|Call { rate, payload }| {
        format!("a call of {rate} datagrams of {} each way", format_byte_size(payload))
    });
    let bulk = workload.bulk.map(|bulk| {
        let way = match bulk.direction {
            Direction::Up => "from client to server",
            Direction::Down => "from server to client",
        };
        let size = bulk
            .size
            .map_or("bulk to the end".to_owned(), |size| format!("bulk of {}", format_byte_size(size)));
        format!("{size} {way}")
    });
    let probe = workload.probe.map(|_| "a probe of what is blocked in between".to_owned());
    call.into_iter().chain(bulk).chain(probe).collect::<Vec<_>>().join(" and ")
}

fn show(planned: &Planned<'_>) {
    let Planned { scenario, why, seed, duration_ms, peers, .. } = planned;
    say!("{scenario}, seed {seed}, {duration_ms}");
    say!("{why}");
    section("Hosts", hosts(planned));
    section("Networks", planned.networks.iter().map(|(name, network)| network_row(name, network)).collect());
    section("Servers", planned.servers.iter().map(|(name, server)| server_row(name, server)).collect());
    let peer = |role: &str, peer: &crate::scenario::Peer| {
        let ice = format!("ICE {}", peer.ice.name());
        let policy = peer.policy.to_string();
        let mut cells = row([
            role,
            &peer.host,
            peer.engine.name(),
            &ice,
            &policy,
            &format!("signals {}", peer.signal.name()),
        ]);
        let disguises = peer.disguise.arguments().map(|disguise| format!("disguise {disguise}"));
        let bind = (peer.bind != Bind::Device).then(|| format!("sockets bound to {}", peer.bind.name()));
        cells.push(disguises.chain(bind).collect::<Vec<_>>().join("; "));
        cells
    };
    section("Peers", vec![peer("client", &peers.client), peer("server", &peers.server)]);
    section(
        "Timeline",
        planned.steps.iter().map(|step| row([&step.at_ms.to_string(), &step.what])).collect(),
    );
    section("Expectations", planned.expect.iter().map(|expected| row([expected])).collect());
}

fn hosts(planned: &Planned<'_>) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for (name, host) in &planned.hosts {
        for (interface, spec) in &host.interfaces {
            let (kind, metric) = (kind(spec.kind), format!("metric {}", spec.metric));
            let mut cells = row([&format!("{name}.{interface}"), kind, spec.network, &metric]);
            cells.extend(spec.addresses.iter().cloned());
            rows.push(cells);
        }
    }
    rows
}

fn kind(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Lan => "lan",
        InterfaceKind::Wifi => "wifi",
        InterfaceKind::Cellular => "cellular",
    }
}

/// What is unusual about a NAT stands in the cell behind; the usual one is told by its address alone.
fn network_row(name: &str, planned: &PlannedNetwork<'_>) -> Vec<String> {
    let network = planned.network;
    let mut link = link_phrase(&network.link.down, &network.link.up);
    if let Some(radio) = &network.link.radio {
        link = format!("{link}, {radio}");
    }
    let nat = match planned.nat_addresses.as_slice() {
        [] => "no NAT".to_owned(),
        [outside] => format!("NAT at {outside}"),
        several => format!("NATs at {}", several.join(" and ")),
    };
    let usual = netmodel::NatSpec::new(netmodel::NatKind::Home);
    let is_usual = |nat: &&Nat| nat.mapping == usual.mapping && nat.filtering == usual.filtering;
    let behind = network.behind.iter().map(|other| format!("behind {other}"));
    let nats = network.nat.iter().filter(|nat| !is_usual(nat)).map(ToString::to_string);
    let blocks = network.block.iter().map(ToString::to_string);
    let multicast = (!network.multicast).then(|| "no multicast".to_owned());
    let distances = network.distances.iter();
    let distances = distances.map(|(other, delay)| format!("{} from {other}", format_duration(*delay)));
    let notes: Vec<String> = behind.chain(nats).chain(blocks).chain(multicast).chain(distances).collect();
    let mut cells = row([name, &link, &nat, network.ipv6.phrase()]);
    cells.push(notes.join("; "));
    cells
}

fn server_row(name: &str, planned: &PlannedServer) -> Vec<String> {
    let like = planned.mimic.map(|mimic| format!(" like {}'s", mimic.name())).unwrap_or_default();
    let kind = format!("{}{like}", planned.kind.name());
    let mut cells = row([name, &kind, &format!("{} away", planned.delay)]);
    cells.extend(planned.addresses.iter().cloned());
    cells
}

fn row<'a>(cells: impl IntoIterator<Item = &'a (impl AsRef<str> + ?Sized + 'a)>) -> Vec<String> {
    cells.into_iter().map(|cell| cell.as_ref().to_owned()).collect()
}

/// A heading and its rows, their columns below each other; nothing when there are no rows.
fn section(heading: &str, rows: Vec<Vec<String>>) {
    if rows.is_empty() {
        return;
    }
    say!("\n{heading}");
    let count = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..count).map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        say!("  {}", cells.collect::<Vec<_>>().join("  ").trim_end());
    }
}
