//! The scenario file: one document that says which hosts, networks and peers exist, what happens when, and what is
//! expected. Text becomes a tree with places ([`yaml`]), `--set` changes the tree ([`set`]), and the tree becomes a
//! [`Scenario`], all of whose values are valid, or a list of [`Problems`].
//!
//! Serialising a [`Scenario`] gives the same language with every default filled in: it reads back as the same value.
//! Left out: words of the contract that are not built yet; [`words`] knows which they are.

mod blocks;
pub(crate) mod diagnostic;
mod evidence;
mod expect;
mod hosts;
mod impairments;
mod links;
mod lower;
mod meaning;
mod names;
mod nats;
mod networks;
mod peers;
mod policies;
pub(crate) mod presets;
mod quantity;
mod radio;
mod reader;
mod servers;
mod set;
mod tellings;
mod timeline;
mod traces;
pub(crate) mod words;
mod workload;
mod yaml;

pub(crate) use blocks::Block;
pub(crate) use evidence::{Amount, Evidence};
pub(crate) use expect::Expect;
pub(crate) use hosts::{Host, Interface};
pub(crate) use links::{Link, phrase as link_phrase};
pub(crate) use lower::{LowerError, named_in_scenario};
pub(crate) use nats::Nat;
pub(crate) use networks::Network;
pub(crate) use peers::{IceAgent, Peer, Peers, Signal};
pub(crate) use policies::Bind;
pub(crate) use quantity::{format_byte_size, format_duration};
pub(crate) use servers::{Mimic, Server, ServerKind};
pub(crate) use tellings::Telling;
pub(crate) use timeline::{Action, Step};
use traces::TraceSource;
pub(crate) use traces::Traces;
pub(crate) use workload::{Call, Direction, Workload};

use diagnostic::{Problem, Problems};
use names::Names;
use quantity::{QuantityError, parse_duration};
use reader::Table;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};
use yaml::{Node, Value};

/// A scenario, every value of which is valid and every default filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Scenario {
    #[serde(rename = "scenario")]
    pub(crate) name: String,
    pub(crate) why: String,
    /// Ids of the observations that it stands beside.
    pub(crate) answers: Vec<String>,
    pub(crate) seed: u64,
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) duration: Duration,
    pub(crate) hosts: BTreeMap<String, Host>,
    pub(crate) networks: BTreeMap<String, Network>,
    pub(crate) servers: BTreeMap<String, Server>,
    pub(crate) peers: Peers,
    pub(crate) backends: Vec<Backend>,
    pub(crate) evidence: Evidence,
    pub(crate) timeline: Vec<Step>,
    pub(crate) expect: Vec<Expect>,
}

/// Where a scenario runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Backend {
    /// Namespaces on this machine.
    Netns,
}

impl Backend {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Netns => "netns",
        }
    }
}

const DEFAULT_SEED: u64 = 1;
/// Beyond this, somebody has mistaken the unit.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

impl Scenario {
    /// Reads a scenario from its text; `name` is what complaints call the text, `folder` is what the paths in it are
    /// relative to, `sets` are the arguments of `--set`.
    pub(crate) fn parse(name: &str, folder: &Path, text: &str, sets: &[String]) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let source = problems.sources.add(name, text.to_owned());
        let scenario = match yaml::parse(text, source) {
            Ok(mut root) => {
                sets.iter().for_each(|argument| set::apply(&mut root, argument, &mut problems));
                Self::read(&root, folder, &mut problems)
            }
            Err(problem) => {
                problems.push(problem);
                None
            }
        };
        match scenario {
            Some(scenario) if problems.is_empty() => Ok(scenario),
            _ => Err(problems),
        }
    }

    /// Every file that a link has its trace from, with what is in it.
    pub(crate) fn trace_files(&mut self) -> impl Iterator<Item = (&mut PathBuf, &netmodel::Trace)> {
        let networks =
            self.networks.values_mut().flat_map(|network| [&mut network.link.down, &mut network.link.up]);
        let changes = self.timeline.iter_mut().filter_map(|step| match &mut step.action {
            Action::Link(change) => Some([&mut change.down, &mut change.up]),
            _ => None,
        });
        networks.chain(changes.flatten()).filter_map(|direction| match &mut direction.trace {
            Some(TraceSource::File { path, trace }) => Some((path, &*trace)),
            _ => None,
        })
    }

    fn read(root: &Node, folder: &Path, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(root, &words::SCENARIO, problems)?;
        let names = Names::gather(root);
        let name = read_name(&table, problems);
        let why = table.require("why", problems);
        let why = why.and_then(|node| reader::text(node, "the reason", problems));
        let answers = read_answers(&table, problems);
        let seed = match table.get("seed") {
            Some(node) => reader::number(node, "a seed (0 to 18446744073709551615)", problems),
            None => Some(DEFAULT_SEED),
        };
        let duration = table.require("duration", problems);
        let duration = duration.and_then(|node| reader::value(node, "a duration", parse_length, problems));

        let around = networks::Surroundings { networks: &names.networks, servers: &names.servers, folder };
        let networks = table.require("networks", problems);
        let read_network = |node: &Node, problems: &mut Problems| Network::read(node, &around, problems);
        let networks =
            networks.and_then(|node| named(node, "a network", read_network, problems)).unwrap_or_default();
        let hosts = table.require("hosts", problems);
        let read_host = |node: &Node, problems: &mut Problems| Host::read(node, &names, problems);
        let hosts = hosts.and_then(|node| named(node, "a host", read_host, problems)).unwrap_or_default();
        let servers = match table.get("servers") {
            Some(node) => named(node, "a server", Server::read, problems).unwrap_or_default(),
            None => BTreeMap::new(),
        };
        check_shared_names(&table, &names, problems);

        let share_a_network = |one: &str, other: &str| share_a_network(&hosts, one, other);
        // An unsound server was told already.
        let has_rendezvous = servers.len() < names.servers.len()
            || servers.values().any(|server| server.kind == ServerKind::Rendezvous);
        let has_call_relays = servers.values().any(|server| server.mimic.is_some());
        let share_a_network = &share_a_network;
        let meeting = peers::Surroundings { names: &names, share_a_network, has_rendezvous, has_call_relays };
        let peers = table.require("peers", problems);
        let peers = peers.and_then(|node| Peers::read(node, &meeting, problems));
        let backends = read_backends(&table, problems);
        let evidence = match table.get("evidence") {
            Some(node) => Evidence::read(node, problems),
            None => Some(Evidence::default()),
        };
        let peers_are_deaf = peers.as_ref().is_some_and(|peers| peers.client.ice == IceAgent::WebrtcIce);
        let timeline = match table.get("timeline") {
            Some(node) => {
                let (networks, hosts) = (networks.clone(), hosts.clone());
                let visited = BTreeSet::new();
                let peers =
                    peers.as_ref().map(|peers| [&peers.client, &peers.server].map(|peer| peer.host.as_str()));
                let (names, around) = (&names, &around);
                let stage = timeline::Stage {
                    duration,
                    names,
                    around,
                    networks,
                    hosts,
                    visited,
                    peers,
                    peers_are_deaf,
                };
                Step::read_all(node, stage, problems)
            }
            None => Some(Vec::new()),
        };
        let around = expect::Surroundings {
            timeline: timeline.as_deref(),
            duration,
            workload: peers.as_ref().map(|peers| peers.client.workload),
            interfaces: peers.as_ref().map(|peers| {
                let names = |host: &str| -> Vec<&str> {
                    let of = hosts.get(host).into_iter().flat_map(|host| host.interfaces.keys());
                    of.map(String::as_str).collect()
                };
                [names(&peers.client.host), names(&peers.server.host)]
            }),
        };
        let expect = read_expect(&table, &around, problems);

        let scenario = Self {
            name: name?,
            why: why?.trim().to_owned(),
            answers: answers?,
            seed: seed?,
            duration: duration?,
            hosts,
            networks,
            servers,
            peers: peers?,
            backends: backends?,
            evidence: evidence?,
            timeline: timeline?,
            expect: expect?,
        };
        scenario.check_plan(&table, problems);
        Some(scenario)
    }

    /// What only the model can tell, such as a delay beyond its limit.
    fn check_plan(&self, table: &Table<'_>, problems: &mut Problems) {
        if !problems.is_empty() {
            return;
        }
        if let Err(error) = self.plan() {
            let of = |section: &str| {
                let Value::Map(entries) = &table.get(section)?.value else { return None };
                let entry = entries.iter().find(|entry| Some(entry.key.as_str()) == error.subject());
                entry.map(|entry| entry.key_span)
            };
            let networks = || table.entry("networks").map(|entry| entry.key_span);
            let span = of("networks").or_else(|| of("servers")).or_else(networks).unwrap_or(table.span());
            problems.push(Problem::new(error.to_string(), span, "in this topology"));
            return;
        }
        for (at, error) in self.timeline.iter().filter_map(|step| Some((step.at, self.try_step(step).err()?)))
        {
            let span = table.entry("timeline").map_or(table.span(), |entry| entry.key_span);
            let message = format!("the step at {}: {error}", format_duration(at));
            problems.push(Problem::new(message, span, "in this timeline"));
        }
    }

    /// Whether the model can have the links that a step makes.
    fn try_step(&self, step: &Step) -> Result<(), LowerError> {
        let Action::Link(change) = &step.action else { return Ok(()) };
        let mut after = self.clone();
        if let Some(network) = after.networks.get_mut(&change.network) {
            network.link.down = change.down.clone();
            network.link.up = change.up.clone();
        }
        after.plan().map(drop)
    }
}

fn read_name(table: &Table<'_>, problems: &mut Problems) -> Option<String> {
    let node = table.require("scenario", problems)?;
    reader::value(node, "a name", |text| names::check_name(text, "a scenario"), problems)
}

fn parse_length(text: &str) -> Result<Duration, String> {
    let duration = parse_duration(text).map_err(|error: QuantityError| error.to_string())?;
    match duration {
        Duration::ZERO => Err("a run of no length shows nothing".to_owned()),
        duration if duration > LONGEST => Err(format!("a run lasts at most {}", format_duration(LONGEST))),
        duration => Ok(duration),
    }
}

fn read_answers(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<String>> {
    let Some(node) = table.get("answers") else { return Some(Vec::new()) };
    let nodes = reader::sequence(node, problems)?;
    let mut answers = Vec::new();
    for node in nodes {
        answers.push(reader::text(node, "the id of an observation", problems)?.to_owned());
    }
    Some(answers)
}

/// A map from names to things. Unsound things are told, and missing from the result.
fn named<T>(
    node: &Node,
    what: &str,
    mut read: impl FnMut(&Node, &mut Problems) -> Option<T>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, T>> {
    let entries = reader::map(node, problems)?;
    let mut things = BTreeMap::new();
    for entry in entries {
        names::check_key(entry, what, problems);
        if let Some(thing) = read(&entry.value, problems) {
            things.insert(entry.key.clone(), thing);
        }
    }
    Some(things)
}

/// Hosts and servers have one directory each in the run directory, and `testbed` is who reports for the network.
fn check_shared_names(table: &Table<'_>, names: &Names<'_>, problems: &mut Problems) {
    for (key, taken) in [("servers", names.hosts.as_slice()), ("hosts", &[]), ("networks", &[])] {
        let Some(Value::Map(entries)) = table.get(key).map(|node| &node.value) else { continue };
        for entry in entries {
            let name = entry.key.as_str();
            let reserved = if key == "networks" { netmodel::INTERNET } else { record_name::TESTBED };
            if taken.contains(&name) {
                let message = format!("`{name}` is the name of a host already");
                problems.push(Problem::new(message, entry.key_span, "taken"));
            } else if name == reserved {
                let message = format!("the name `{name}` is reserved");
                problems.push(Problem::new(message, entry.key_span, "reserved"));
            }
        }
    }
}

/// Names in the record that are no host's.
pub(crate) mod record_name {
    /// Who reports what the runner and the network model saw.
    pub(crate) const TESTBED: &str = "testbed";
}

fn share_a_network(hosts: &BTreeMap<String, Host>, one: &str, other: &str) -> Option<bool> {
    let (one, other) = (hosts.get(one)?, hosts.get(other)?);
    let mut of_other = other.interfaces.values().map(|interface| &interface.network);
    Some(of_other.any(|network| one.interfaces.values().any(|interface| interface.network == *network)))
}

fn read_backends(table: &Table<'_>, problems: &mut Problems) -> Option<Vec<Backend>> {
    let Some(node) = table.get("backends") else { return Some(vec![Backend::Netns]) };
    let nodes = reader::sequence(node, problems)?;
    let words: Vec<_> = nodes.iter().map(|node| reader::word(node, &words::BACKENDS, problems)).collect();
    if words.is_empty() {
        problems
            .push(Problem::new("a scenario needs a backend", node.span, "none here").help("valid: netns"));
    }
    words.into_iter().map(|word| word.map(|_| Backend::Netns)).collect()
}

fn read_expect(
    table: &Table<'_>,
    around: &expect::Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Vec<Expect>> {
    let Some(node) = table.get("expect") else { return Some(Vec::new()) };
    let nodes = reader::sequence(node, problems)?;
    let read: Vec<_> = nodes.iter().map(|node| Expect::read(node, around, problems)).collect();
    read.into_iter().collect()
}

#[cfg(test)]
mod tests;
