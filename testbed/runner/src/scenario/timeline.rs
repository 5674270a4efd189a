//! `timeline`: what is done to the network, and when.
//!
//! Some steps change what earlier ones left, so they are read in order of time: what a link is like after a step, and
//! what a network blocks, stands in the step in full.

use super::{
    blocks::{Block, read_blocks},
    diagnostic::{Problem, Problems},
    hosts::{self, Host},
    links::{self, Link, LinkDirection},
    names::{Names, Target},
    networks::{Network, Surroundings},
    quantity::{self, format_duration, parse_duration},
    reader::{self, Table},
    tellings::{PathStep, PolicyStep},
    words,
    yaml::{Entry, Node, Value},
};
use record::DisturbanceKind;
use serde::{Serialize, Serializer};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Step {
    /// Since time zero.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) at: Duration,
    #[serde(rename = "do")]
    pub(crate) action: Action,
    /// By which expectations and results call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) name: Option<String>,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Down(Target),
    Up(Target),
    CarrierOff(Target),
    CarrierOn(Target),
    /// Packets vanish both ways, and nothing tells.
    Silence(Target),
    Restore(Target),
    /// The interface gets new addresses and loses its old ones.
    Address {
        interface: Target,
    },
    /// The interface leaves its network, has no carrier for the gap, and joins another one.
    Roam {
        interface: Target,
        network: String,
        #[serde(serialize_with = "quantity::duration")]
        gap: Duration,
    },
    /// The interface becomes the access point of the network, which its host shares another interface with.
    Hotspot(Hotspot),
    /// The interface's routes have another metric.
    Metric {
        interface: Target,
        value: u32,
    },
    /// All links of the network are like this from now on.
    Link(Box<LinkChange>),
    /// The network refuses to carry this from now on, what it refused before included.
    Block {
        network: String,
        filters: Vec<Block>,
    },
    /// The network carries everything from now on.
    Unblock {
        network: String,
    },
    /// The network's NATs forget all of their mappings and choose other ports.
    NatRebind(String),
    /// The network's NATs forget all of their mappings.
    NatFlush(String),
    /// The server is heard by nobody and hears nobody; what it knows it keeps.
    ServerDown(String),
    ServerUp(String),
    /// A peer does otherwise from now on.
    Policy(PolicyStep),
    Priority {
        interface: Target,
        value: u16,
    },
    Path(PathStep),
}

/// Whose hotspot.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Hotspot {
    pub(crate) interface: Target,
    pub(crate) network: String,
}

impl Serialize for Hotspot {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Target { host, interface } = &self.interface;
        serializer.collect_map([("host", host), ("interface", interface), ("network", &self.network)])
    }
}

/// What links become.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LinkChange {
    pub(crate) network: String,
    pub(crate) down: LinkDirection,
    pub(crate) up: LinkDirection,
}

impl Action {
    /// The interface to which something is done, where it is one.
    pub(crate) fn interface(&self) -> Option<&Target> {
        match self {
            Self::Down(target)
            | Self::Up(target)
            | Self::CarrierOff(target)
            | Self::CarrierOn(target)
            | Self::Silence(target)
            | Self::Restore(target)
            | Self::Address { interface: target }
            | Self::Roam { interface: target, .. }
            | Self::Hotspot(Hotspot { interface: target, .. })
            | Self::Metric { interface: target, .. }
            | Self::Priority { interface: target, .. } => Some(target),
            Self::Link(_)
            | Self::Block { .. }
            | Self::Unblock { .. }
            | Self::NatRebind(_)
            | Self::NatFlush(_)
            | Self::ServerDown(_)
            | Self::ServerUp(_)
            | Self::Policy(_)
            | Self::Path(_) => None,
        }
    }

    /// The host or server to which something is done.
    pub(crate) fn host(&self) -> Option<&str> {
        match self {
            Self::ServerDown(server) | Self::ServerUp(server) => Some(server),
            Self::Path(step) => Some(&step.host),
            _ => self.interface().map(|target| target.host.as_str()),
        }
    }

    /// The network to which something is done, or which an interface joins.
    pub(crate) fn network(&self) -> Option<&str> {
        match self {
            Self::Roam { network, .. }
            | Self::Hotspot(Hotspot { network, .. })
            | Self::Block { network, .. }
            | Self::Unblock { network }
            | Self::NatRebind(network)
            | Self::NatFlush(network) => Some(network),
            Self::Link(change) => Some(&change.network),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> DisturbanceKind {
        match self {
            Self::Down(_) => DisturbanceKind::Down,
            Self::Up(_) => DisturbanceKind::Up,
            Self::CarrierOff(_) => DisturbanceKind::CarrierOff,
            Self::CarrierOn(_) => DisturbanceKind::CarrierOn,
            Self::Silence(_) => DisturbanceKind::Silence,
            Self::Restore(_) => DisturbanceKind::Restore,
            Self::Address { .. } => DisturbanceKind::Address,
            Self::Roam { .. } => DisturbanceKind::Roam,
            Self::Hotspot(_) => DisturbanceKind::Hotspot,
            Self::Metric { .. } => DisturbanceKind::Metric,
            Self::Link(_) => DisturbanceKind::Link,
            Self::Block { .. } => DisturbanceKind::Block,
            Self::Unblock { .. } => DisturbanceKind::Unblock,
            Self::NatRebind(_) => DisturbanceKind::NatRebind,
            Self::NatFlush(_) => DisturbanceKind::NatFlush,
            Self::ServerDown(_) => DisturbanceKind::ServerDown,
            Self::ServerUp(_) => DisturbanceKind::ServerUp,
            Self::Policy(_) => DisturbanceKind::Policy,
            Self::Priority { .. } => DisturbanceKind::Priority,
            Self::Path(_) => DisturbanceKind::Path,
        }
    }

    /// What the name of the step leaves out.
    pub(crate) fn detail(&self) -> Option<String> {
        match self {
            Self::Roam { gap, .. } => Some(format!("after a gap of {}", format_duration(*gap))),
            Self::Metric { value, .. } => Some(value.to_string()),
            Self::Priority { value, .. } => Some(value.to_string()),
            Self::Policy(step) => Some(step.to_string()),
            Self::Path(step) => Some(step.to_string()),
            Self::Link(change) => Some(links::phrase(&change.down, &change.up)),
            Self::Block { filters, .. } => {
                Some(filters.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
            }
            _ => None,
        }
    }
}

impl fmt::Display for Action {
    /// As results call it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind();
        match (self.interface(), self.network()) {
            (Some(target), Some(network)) => write!(formatter, "{kind} {target} to {network}"),
            (Some(target), None) => write!(formatter, "{kind} {target}"),
            (None, Some(network)) => write!(formatter, "{kind} {network}"),
            (None, None) => match self.host() {
                Some(host) => write!(formatter, "{kind} {host}"),
                None => write!(formatter, "{kind}"),
            },
        }
    }
}

/// What steps refer to, and what earlier steps have made of it.
pub(super) struct Stage<'a> {
    pub(super) duration: Option<Duration>,
    pub(super) names: &'a Names<'a>,
    pub(super) around: &'a Surroundings<'a>,
    /// By name, without those that are unsound; they were told already.
    pub(super) networks: BTreeMap<String, Network>,
    pub(super) hosts: BTreeMap<String, Host>,
    /// Where interfaces have been by now.
    pub(super) visited: BTreeSet<String>,
    /// The hosts of client and server; none when the peers are unsound.
    pub(super) peers: Option<[&'a str; 2]>,
    /// Peers cannot be told anything while they run: their ICE agent is not ours.
    pub(super) peers_are_deaf: bool,
}

impl Step {
    /// All steps, in order of time.
    pub(super) fn read_all(node: &Node, mut stage: Stage<'_>, problems: &mut Problems) -> Option<Vec<Self>> {
        let nodes = reader::sequence(node, problems)?;
        let mut timed = Vec::new();
        let mut sound = true;
        for node in nodes {
            let Some(table) = Table::open(node, &words::STEP, problems) else {
                sound = false;
                continue;
            };
            let at = table.require("at", problems).and_then(|node| read_time(node, stage.duration, problems));
            let action = table.require("do", problems);
            let name = table.get("name").map(|node| read_name(node, &timed, problems));
            sound &= at.is_some() && action.is_some() && name.is_none_or(|name| name.is_some());
            // The action of a step without a sound time is read, too: at no time before the others.
            timed.extend(action.map(|action| (at.unwrap_or(Duration::MAX), action, name.flatten())));
        }
        timed.sort_by_key(|(at, ..)| *at);
        let mut steps = Vec::new();
        for (at, node, name) in timed {
            match stage.read(at, node, problems) {
                Some(action) => steps.push(Self { at, action, name: name.map(str::to_owned) }),
                None => sound = false,
            }
        }
        sound.then_some(steps)
    }
}

/// A name that no step before has, and that is not the place of one.
fn read_name<'n>(
    node: &'n Node,
    before: &[(Duration, &Node, Option<&str>)],
    problems: &mut Problems,
) -> Option<&'n str> {
    let name = reader::text(node, "a name", problems)?;
    let message = if name.parse::<usize>().is_ok() {
        format!("`{name}` is the place of a step, and no name for one")
    } else if before.iter().any(|(.., other)| *other == Some(name)) {
        format!("another step has the name `{name}`")
    } else {
        return Some(name);
    };
    problems.push(Problem::new(message, node.span, "not a name of its own").help("another name"));
    None
}

/// A moment within the run.
pub(super) fn read_time(
    node: &Node,
    duration: Option<Duration>,
    problems: &mut Problems,
) -> Option<Duration> {
    let at = reader::value(node, "a duration", parse_duration, problems)?;
    if let Some(duration) = duration
        && at >= duration
    {
        let (at, end) = (format_duration(at), format_duration(duration));
        let message = format!("{at} is outside the run, which ends at {end}");
        problems.push(
            Problem::new(message, node.span, "too late").help("an earlier time, or a longer `duration`"),
        );
        return None;
    }
    Some(at)
}

impl Stage<'_> {
    fn read(&mut self, at: Duration, node: &Node, problems: &mut Problems) -> Option<Action> {
        let entry = reader::variant(node, &words::ACTIONS, problems)?;
        if let Some(delay) = address_delay(entry) {
            let help = "the interface alone, such as `{up: laptop.wlan0}`";
            problems.push(reader::form_not_yet("`address_delay`", delay.key_span, help));
            return None;
        }
        let value = &entry.value;
        if let (true, word @ ("policy" | "priority" | "path")) = (self.peers_are_deaf, entry.key.as_str()) {
            let message = format!("a step `{word}` is for our ICE agent");
            let problem = Problem::new(message, entry.key_span, "webrtc-ice has nothing like it");
            problems.push(problem.help("leave it out, or `ice: webrtc-ice`"));
            return None;
        }
        match entry.key.as_str() {
            "nat_rebind" => return self.network_with_nat(value, problems).map(Action::NatRebind),
            "nat_flush" => return self.network_with_nat(value, problems).map(Action::NatFlush),
            "address" => {
                let table = Table::open(value, &words::ADDRESS, problems)?;
                let interface = self.target(&table, problems);
                return interface.map(|interface| Action::Address { interface });
            }
            "roam" => return self.roam(at, value, problems),
            "hotspot" => return self.hotspot(value, problems),
            "metric" => return self.metric(value, problems),
            "link" => return self.link(value, problems),
            "block" => return self.block(value, problems),
            "unblock" => return self.unblock(value, problems),
            "server_down" => return self.server(value, problems).map(Action::ServerDown),
            "server_up" => return self.server(value, problems).map(Action::ServerUp),
            "policy" => return PolicyStep::read(value, self, problems).map(Action::Policy),
            "priority" => return self.priority(value, problems),
            "path" => return PathStep::read(value, self, problems).map(Action::Path),
            _ => {}
        }
        let target = Target::read(value, self.names, problems)?;
        Some(match entry.key.as_str() {
            "down" => Action::Down(target),
            "up" => Action::Up(target),
            "carrier_off" => Action::CarrierOff(target),
            "carrier_on" => Action::CarrierOn(target),
            "silence" => Action::Silence(target),
            _ => Action::Restore(target),
        })
    }

    fn target(&self, table: &Table<'_>, problems: &mut Problems) -> Option<Target> {
        let interface = table.require("interface", problems)?;
        Target::read(interface, self.names, problems)
    }

    fn network(&self, table: &Table<'_>, problems: &mut Problems) -> Option<String> {
        let network = table.require("network", problems)?;
        reader::reference(network, "a network", &self.names.networks, problems).map(str::to_owned)
    }

    fn roam(&mut self, at: Duration, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::ROAM, problems)?;
        let (interface, network) = (self.target(&table, problems), self.network(&table, problems));
        let gap = match table.get("gap") {
            Some(node) => {
                let gap = reader::value(node, "a duration", parse_duration, problems);
                gap.filter(|gap| self.ends_within_the_run(at, *gap, node, problems))
            }
            None => Some(Duration::ZERO),
        };
        let network = network?;
        self.visited.insert(network.clone());
        Some(Action::Roam { interface: interface?, network, gap: gap? })
    }

    fn hotspot(&mut self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::HOTSPOT, problems)?;
        let host = table.require("host", problems);
        let host = host.and_then(|node| reader::reference(node, "a host", &self.names.hosts, problems));
        let place = table.require("interface", problems);
        let network_node = table.get("network");
        let network = self.network(&table, problems);
        let (host, place, network, network_node) = (host?, place?, network?, network_node?);
        let interfaces = &self.hosts.get(host)?.interfaces;
        let names: Vec<&str> = interfaces.keys().map(String::as_str).collect();
        let interface = reader::reference(place, "an interface of this host", &names, problems)?;
        let alone = (names.len() < 2).then(|| format!("`{host}` has no other interface that it could share"));
        let fault = alone.map(|fault| (place, fault));
        let fault = fault.or_else(|| Some((network_node, self.fault_of_hotspot(&network)?)));
        if let Some((node, fault)) = fault {
            let help = "a hotspot's network has one NAT, is neither behind another nor before it, and is empty before";
            problems.push(Problem::new(fault, node.span, "no hotspot").help(help));
            return None;
        }
        self.visited.insert(network.clone());
        let interface = Target { host: host.to_owned(), interface: interface.to_owned() };
        Some(Action::Hotspot(Hotspot { interface, network }))
    }

    /// Why a network cannot be a hotspot's from now on.
    fn fault_of_hotspot(&self, name: &str) -> Option<String> {
        let network = self.networks.get(name)?;
        let mut interfaces = self.hosts.values().flat_map(|host| host.interfaces.values());
        let before = self.networks.iter().find(|(_, other)| other.behind.as_deref() == Some(name));
        match (network.nat.len(), &network.behind, before) {
            (1, None, None) if interfaces.any(|interface| interface.network == name) => {
                Some(format!("an interface is in `{name}` from the beginning"))
            }
            (1, None, None) if self.visited.contains(name) => {
                Some(format!("an interface has roamed to `{name}` before"))
            }
            (1, None, None) => None,
            (1, Some(outer), _) => Some(format!("`{name}` is behind `{outer}`")),
            (1, None, Some((inner, _))) => Some(format!("`{inner}` is behind `{name}`")),
            (nats, ..) => Some(format!("`{name}` has {nats} NATs")),
        }
    }

    fn ends_within_the_run(&self, at: Duration, gap: Duration, node: &Node, problems: &mut Problems) -> bool {
        let Some(duration) = self.duration else { return true };
        // A step without a sound time was told already.
        let ends = at == Duration::MAX || at.saturating_add(gap) < duration;
        if !ends {
            let end = format_duration(duration);
            let message = format!("this gap outlasts the run, which ends at {end}");
            problems.push(
                Problem::new(message, node.span, "too long").help("a shorter gap, or a longer `duration`"),
            );
        }
        ends
    }

    fn metric(&mut self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::METRIC, problems)?;
        let interface = self.target(&table, problems);
        let place = table.require("value", problems);
        let value = place.and_then(|node| hosts::read_metric(node, problems));
        let (interface, value) = (interface?, value?);
        let host = self.hosts.get_mut(&interface.host)?;
        let mut others = host.interfaces.iter().filter(|(name, _)| **name != interface.interface);
        if let Some((other, _)) = others.find(|(_, spec)| spec.metric == value) {
            let message = format!("`{}` has metric {value} at this time", other);
            let span = place.map_or(table.span(), |node| node.span);
            let help = "every interface of a host needs a metric of its own";
            problems.push(Problem::new(message, span, "taken").help(help));
            return None;
        }
        if let Some(spec) = host.interfaces.get_mut(&interface.interface) {
            spec.metric = value;
        }
        Some(Action::Metric { interface, value })
    }

    fn priority(&self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::PRIORITY, problems)?;
        let place = table.require("interface", problems);
        let interface = place.and_then(|node| Target::read(node, self.names, problems));
        let value = table.require("value", problems);
        let value = value.and_then(|node| reader::number(node, "a priority (0 to 65535)", problems));
        let interface = interface
            .filter(|target| place.is_none_or(|node| self.is_of_a_peer(&target.host, node, problems)));
        Some(Action::Priority { interface: interface?, value: value? })
    }

    fn is_of_a_peer(&self, host: &str, node: &Node, problems: &mut Problems) -> bool {
        // Unsound peers were told already.
        let is_one = self.peers.is_none_or(|peers| peers.contains(&host));
        if !is_one {
            let message = format!("`{host}` runs no peer");
            problems.push(Problem::new(message, node.span, "nobody to tell"));
        }
        is_one
    }

    fn link(&mut self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::LINK_STEP, problems)?;
        let network = self.network(&table, problems);
        let base = network.as_ref().and_then(|name| self.networks.get(name)).map(|network| &network.link);
        let base = base?;
        let (down, up) = Link::read_directions(&table, Some(base), self.around, problems)?;
        let (network, radio) = (network?, base.radio);
        if let Some(after) = self.networks.get_mut(&network) {
            after.link = Link { down: down.clone(), up: up.clone(), radio };
        }
        Some(Action::Link(Box::new(LinkChange { network, down, up })))
    }

    fn block(&mut self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::BLOCK_STEP, problems)?;
        let network = self.network(&table, problems);
        let filters = table.require("filters", problems).and_then(|node| read_blocks(node, problems));
        let (network, filters) = (network?, filters?);
        let blocked = &mut self.networks.get_mut(&network)?.block;
        for filter in filters {
            if !blocked.contains(&filter) {
                blocked.push(filter);
            }
        }
        Some(Action::Block { filters: blocked.clone(), network })
    }

    fn unblock(&mut self, node: &Node, problems: &mut Problems) -> Option<Action> {
        let table = Table::open(node, &words::UNBLOCK_STEP, problems)?;
        let network = self.network(&table, problems)?;
        self.networks.get_mut(&network)?.block.clear();
        Some(Action::Unblock { network })
    }

    fn server(&self, node: &Node, problems: &mut Problems) -> Option<String> {
        reader::reference(node, "a server", &self.names.servers, problems).map(str::to_owned)
    }

    fn network_with_nat(&self, node: &Node, problems: &mut Problems) -> Option<String> {
        let name = reader::reference(node, "a network", &self.names.networks, problems)?;
        // An unsound network was told already.
        if self.networks.get(name).is_some_and(|network| network.nat.is_empty()) {
            let with_nat = self.networks.iter().filter(|(_, network)| !network.nat.is_empty());
            let valid: Vec<&str> = with_nat.map(|(name, _)| name.as_str()).collect();
            let help = if valid.is_empty() {
                "no network has one".to_owned()
            } else {
                format!("valid: {}", valid.join(", "))
            };
            let message = format!("`{name}` has no NAT that could forget its mappings");
            problems.push(Problem::new(message, node.span, "without a NAT").help(help));
            return None;
        }
        Some(name.to_owned())
    }
}

/// What the contract lets `up` have besides its interface.
fn address_delay(action: &Entry) -> Option<&Entry> {
    match &action.value.value {
        Value::Map(keys) if action.key == "up" => keys.iter().find(|key| key.key == "address_delay"),
        _ => None,
    }
}
