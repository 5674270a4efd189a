//! `networks`: links, NATs, IPv6, what a carrier blocks, and where a network is. What a network does not say comes from
//! its preset, and what that does not say from the defaults of [`netmodel`].

use super::{
    blocks::{Block, read_blocks},
    diagnostic::{Problem, Problems, suggest},
    links::Link,
    nats::{Nat, read_nats},
    presets,
    quantity::{format_duration, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Entry, Node},
};
use serde::{Serialize, Serializer};
use std::{collections::BTreeMap, path::Path, time::Duration};

/// A network, with every figure filled in.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
    /// The network that this one's outermost border is attached to; none for the internet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) behind: Option<String>,
    pub(crate) link: Link,
    /// Inside first. None: written as an empty list.
    pub(crate) nat: Vec<Nat>,
    pub(crate) ipv6: Ipv6,
    pub(crate) block: Vec<Block>,
    /// Whether its hosts hear each other's multicast.
    pub(crate) multicast: bool,
    /// Further delays on the internet, one way, to networks and servers.
    #[serde(serialize_with = "write_distances", skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) distances: BTreeMap<String, Duration>,
}

/// What a network may refer to.
pub(crate) struct Surroundings<'a> {
    pub(crate) networks: &'a [&'a str],
    pub(crate) servers: &'a [&'a str],
    /// Where the scenario's file is.
    pub(crate) folder: &'a Path,
}

/// `false`, `true` or `open`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ipv6 {
    None,
    Firewalled,
    Open,
}

impl Ipv6 {
    /// For people.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            Self::None => "no IPv6",
            Self::Firewalled => "IPv6 behind a firewall",
            Self::Open => "open IPv6",
        }
    }
}

impl Serialize for Ipv6 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ipv6::None => serializer.serialize_bool(false),
            Ipv6::Firewalled => serializer.serialize_bool(true),
            Ipv6::Open => serializer.serialize_str("open"),
        }
    }
}

impl Network {
    pub(crate) fn read(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::NETWORK, problems)?;
        let preset = match table.get("preset") {
            Some(node) => Some(read_preset(node, problems)?),
            None => None,
        };
        let behind = match table.get("behind") {
            Some(node) => reader::reference(node, "a network", around.networks, problems)
                .map(|name| Some(name.to_owned())),
            None => Some(None),
        };
        let distances = match table.get("distances") {
            Some(node) => read_distances(node, around, problems),
            None => Some(BTreeMap::new()),
        };
        let network = Self::complete(&table, preset, around, problems)?;
        Some(Self { behind: behind?, distances: distances?, ..network })
    }

    /// The network that a preset describes. It has no scenario around it.
    pub(super) fn read_preset(name: &str, node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::PRESET, problems)?;
        let nowhere = Surroundings { networks: &[], servers: &[], folder: Path::new("") };
        let network = Self::complete(&table, None, &nowhere, problems)?;
        Some(Self { preset: Some(name.to_owned()), ..network })
    }

    fn complete(
        table: &Table<'_>,
        preset: Option<Self>,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let link = match (table.get("link"), &preset) {
            (Some(node), preset) => {
                Link::read(node, preset.as_ref().map(|preset| &preset.link), around, problems)
            }
            (None, Some(preset)) => Some(preset.link.clone()),
            (None, None) => {
                table.require("link", problems);
                None
            }
        };
        let nat = table.get("nat").map(|node| read_nats(node, problems));
        let ipv6 = table.get("ipv6").map(|node| read_ipv6(node, problems));
        let block = table.get("block").map(|node| read_blocks(node, problems));
        let multicast = table.get("multicast").map(|node| reader::boolean(node, problems));
        let preset = preset.as_ref();
        Some(Self {
            link: link?,
            nat: nat.unwrap_or_else(|| Some(preset.map_or(Vec::new(), |preset| preset.nat.clone())))?,
            ipv6: ipv6.unwrap_or(Some(preset.map_or(Ipv6::None, |preset| preset.ipv6)))?,
            block: block.unwrap_or_else(|| Some(preset.map_or(Vec::new(), |preset| preset.block.clone())))?,
            multicast: multicast.unwrap_or(Some(preset.is_none_or(|preset| preset.multicast)))?,
            preset: preset.and_then(|preset| preset.preset.clone()),
            behind: None,
            distances: BTreeMap::new(),
        })
    }
}

fn read_preset(node: &Node, problems: &mut Problems) -> Option<Network> {
    let name = reader::text(node, "a preset", problems)?;
    let found = presets::find(name);
    if found.is_none() {
        let help = suggest(name, presets::all().iter().map(|preset| preset.name.as_str()));
        problems.push(Problem::new(format!("`{name}` is not a preset"), node.span, "unknown").help(help));
    }
    found.map(|preset| preset.network.clone())
}

fn read_ipv6(node: &Node, problems: &mut Problems) -> Option<Ipv6> {
    Some(match reader::word(node, &words::IPV6, problems)? {
        "true" => Ipv6::Firewalled,
        "false" => Ipv6::None,
        _ => Ipv6::Open,
    })
}

fn read_distances(
    node: &Node,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<BTreeMap<String, Duration>> {
    let entries = reader::map(node, problems)?;
    let others: Vec<&str> = around.networks.iter().chain(around.servers).copied().collect();
    let mut read = |entry: &Entry| {
        let distance = reader::value(&entry.value, "a duration", parse_duration, problems);
        let name = entry.key.as_str();
        if !others.contains(&name) {
            problems.push(reader::unknown(name, entry.key_span, "a network or server", &others));
            return None;
        }
        Some((name.to_owned(), distance?))
    };
    let distances: Vec<_> = entries.iter().map(&mut read).collect();
    distances.into_iter().collect()
}

fn write_distances<S: Serializer>(
    distances: &BTreeMap<String, Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_map(distances.iter().map(|(name, distance)| (name, format_duration(*distance))))
}
