//! The files of a run directory beside the events: the scenario, the results, the manifest.

use super::{
    collect::{direction, drop_cause, owner_names},
    netns::{Ended, Order},
};
use crate::scenario::{Block, Scenario, ServerKind, named_in_scenario};
use lab::{Lateness, LinkReport};
use netmodel::{BlockCount, Owner, RadioCounts};
use record::{
    BlockSummary, DirectoryError, EvidenceSummary, HostFacts, LatenessSummary, LinkSummary, Manifest,
    RadioSummary, Results, RunDirectory, SCHEMA_VERSION,
};
use std::{collections::BTreeMap, time::Duration};

/// The scenario as it was written, and with every default filled in. The traces that it reads come along, and the
/// resolved form names those: a run directory can be read wherever it is taken.
pub(crate) fn write_scenario(
    directory: &RunDirectory,
    scenario: &mut Scenario,
    text: &str,
) -> Result<(), DirectoryError> {
    directory.write("scenario.yaml", text.as_bytes())?;
    let mut written: Vec<netmodel::Trace> = Vec::new();
    for (path, trace) in scenario.trace_files() {
        let number = written.iter().position(|other| other == trace);
        let name = format!("trace-{}.txt", number.unwrap_or(written.len()) + 1);
        if number.is_none() {
            directory.write(&name, trace.to_text().as_bytes())?;
            written.push(trace.clone());
        }
        *path = name.into();
    }
    directory.write("scenario.resolved.json", &json(scenario))
}

pub(crate) fn write_results(directory: &RunDirectory, results: &Results) -> Result<(), DirectoryError> {
    directory.write("results.json", &json(results))
}

/// Numbers, strings, lists and maps with string keys always serialise.
fn json(value: &impl serde::Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    text
}

/// Writes the manifest; nothing may be written after it.
pub(crate) fn seal(
    order: &Order<'_>,
    ended: &Ended,
    evidence: Vec<EvidenceSummary>,
) -> Result<(), DirectoryError> {
    let reports = ended.report.iter();
    let links = reports.clone().flat_map(|report| &report.links);
    order.directory.seal(Manifest {
        schema_version: SCHEMA_VERSION,
        tool_version: env!("CARGO_PKG_VERSION").to_owned(),
        argv: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
        backend: crate::scenario::Backend::Netns.name().to_owned(),
        seed: order.scenario.seed,
        started: ended.started.to_string(),
        kernel: kernel(),
        hosts: hosts(order),
        links: links.map(link).collect(),
        radios: reports.clone().flat_map(|report| &report.radios).map(radio).collect(),
        blocks: reports.flat_map(|report| &report.blocks).map(block).collect(),
        lateness: ended.report.as_ref().map(|report| lateness(&report.lateness)).unwrap_or_default(),
        // One machine, one clock.
        clock_offset_ns: 0,
        clock_error_ns: 0,
        evidence,
        sha256: BTreeMap::new(),
    })
}

fn kernel() -> String {
    nix::sys::utsname::uname().map_or_else(
        |_| String::new(),
        |name| [name.sysname(), name.release(), name.machine()].map(|part| part.to_string_lossy()).join(" "),
    )
}

fn hosts(order: &Order<'_>) -> BTreeMap<String, HostFacts> {
    let mut hosts: BTreeMap<String, HostFacts> = BTreeMap::new();
    let plan = order.scenario.plan();
    for port in plan.iter().flat_map(|plan| plan.ports()) {
        let (host, interface) = owner_names(&port.owner);
        let program = program(order, &host);
        let addresses = port.all_addresses().map(|(address, prefix)| format!("{address}/{prefix}"));
        let facts = hosts.entry(host).or_insert(HostFacts { program, interfaces: BTreeMap::new() });
        facts.interfaces.insert(interface, addresses.collect());
    }
    hosts
}

/// What runs on a host or server, with its version; nothing on a host without a peer.
fn program(order: &Order<'_>, host: &str) -> String {
    let Scenario { servers, peers, .. } = order.scenario;
    let kind = servers.get(host).map(|server| server.kind);
    if let Some(program) = kind.and_then(|kind| order.programs.of(kind)) {
        let name = program.path.file_name().unwrap_or_default().to_string_lossy();
        return format!("{name} {}", program.version);
    }
    let role = match kind {
        Some(ServerKind::Stun | ServerKind::Relay) => "relay",
        Some(kind) => kind.name(),
        None if host == peers.client.host => "client",
        None if host == peers.server.host => "server",
        None => return String::new(),
    };
    format!("iceperf {} {role}", order.iceperf.version)
}

fn link(link: &LinkReport) -> LinkSummary {
    let counts = &link.counts;
    // What a border dropped without knowing whose it was belongs to no interface.
    let (host, interface) = counts.owner.as_ref().map(owner_names).unwrap_or_default();
    let mut drops = BTreeMap::new();
    for (cause, count) in &counts.dropped {
        *drops.entry(drop_cause(*cause)).or_default() += count;
    }
    LinkSummary {
        network: counts.network.clone(),
        host,
        interface,
        router: counts.router.clone().unwrap_or_default(),
        direction: direction(counts.direction),
        packets: counts.packets,
        bytes: counts.bytes,
        duplicated: counts.duplicated,
        drops,
        lateness: lateness(&link.lateness),
    }
}

fn radio((owner, counts): &(Owner, RadioCounts)) -> RadioSummary {
    let (host, interface) = owner_names(owner);
    RadioSummary { host, interface, on_ns: nanoseconds(counts.connected), promotions: counts.promotions }
}

fn block((network, count): &(String, BlockCount)) -> BlockSummary {
    // A map of words always serialises.
    let rule = serde_json::to_value(Block(count.block)).unwrap_or_default();
    BlockSummary { network: named_in_scenario(network).to_owned(), rule, dropped: count.dropped }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn lateness(lateness: &Lateness) -> LatenessSummary {
    LatenessSummary {
        count: lateness.count,
        median_ns: nanoseconds(lateness.median),
        p99_ns: nanoseconds(lateness.p99),
        max_ns: nanoseconds(lateness.max),
    }
}
