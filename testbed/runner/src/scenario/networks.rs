//! `networks`: links, the NAT, IPv6 and what a carrier blocks. What a network does not say comes from its preset, and
//! what that does not say from the defaults of [`netmodel`].

use super::{
    diagnostic::{Problem, Problems, Span, suggest},
    presets,
    quantity::{self, parse_bit_rate, parse_byte_size, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Node, Value},
};
use netmodel::{BitRate, ByteSize, LinkSpec, NatSpec};
use serde::Serialize;
use std::{fmt, time::Duration};

/// A network, with every figure filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Network {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) preset: Option<String>,
    pub(crate) link: Link,
    /// None: written as an empty list.
    pub(crate) nat: Vec<Nat>,
    pub(crate) ipv6: Ipv6,
    pub(crate) block: Vec<Block>,
}

/// Both directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Link {
    pub(crate) down: LinkDirection,
    pub(crate) up: LinkDirection,
}

/// One direction of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct LinkDirection {
    /// One way.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) delay: Duration,
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) jitter: Duration,
    /// Unlimited when there is none.
    #[serde(serialize_with = "quantity::optional_bit_rate", skip_serializing_if = "Option::is_none")]
    pub(crate) rate: Option<BitRate>,
    #[serde(serialize_with = "quantity::byte_size")]
    pub(crate) queue: ByteSize,
}

/// A NAT of the one kind that this version has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Nat {
    pub(crate) mapping: Mapping,
    pub(crate) filtering: Filtering,
    pub(crate) udp_timeout: UdpTimeout,
}

/// How long a UDP mapping lives without traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct UdpTimeout {
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) initial: Duration,
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) established: Duration,
}

/// RFC 4787 section 4.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mapping {
    EndpointIndependent,
}

/// RFC 4787 section 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Filtering {
    AddressAndPortDependent,
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
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Ipv6::None => serializer.serialize_bool(false),
            Ipv6::Firewalled => serializer.serialize_bool(true),
            Ipv6::Open => serializer.serialize_str("open"),
        }
    }
}

/// Something that a network refuses to carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Block {
    /// UDP between peers, neither of which is a server.
    UdpP2p { family: BlockFamily, direction: BlockDirection, answer: BlockAnswer },
}

impl fmt::Display for Block {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::UdpP2p { family, direction, .. } = self;
        let family = match family {
            BlockFamily::Ipv4 => "IPv4",
            BlockFamily::Ipv6 => "IPv6",
            BlockFamily::Both => "either family",
        };
        let direction = match direction {
            BlockDirection::In => "in",
            BlockDirection::Out => "out",
            BlockDirection::Both => "in and out",
        };
        write!(formatter, "blocks UDP between peers over {family}, {direction}")
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockFamily {
    Ipv4,
    Ipv6,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockDirection {
    In,
    Out,
    Both,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum BlockAnswer {
    Silence,
}

impl Network {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::NETWORK, problems)?;
        let preset = match table.get("preset") {
            Some(node) => Some(read_preset(node, problems)?),
            None => None,
        };
        Self::complete(&table, preset, problems)
    }

    /// The network that a preset describes.
    pub(super) fn read_preset(name: &str, node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::PRESET, problems)?;
        let network = Self::complete(&table, None, problems)?;
        Some(Self { preset: Some(name.to_owned()), ..network })
    }

    fn complete(table: &Table<'_>, preset: Option<Self>, problems: &mut Problems) -> Option<Self> {
        let link = match (table.get("link"), &preset) {
            (Some(node), preset) => Link::read(node, preset.as_ref().map(|preset| preset.link), problems),
            (None, Some(preset)) => Some(preset.link),
            (None, None) => {
                table.require("link", problems);
                None
            }
        };
        let nat = table.get("nat").map(|node| read_nats(node, problems));
        let ipv6 = table.get("ipv6").map(|node| read_ipv6(node, problems));
        let block = table.get("block").map(|node| read_blocks(node, problems));
        let preset = preset.as_ref();
        Some(Self {
            link: link?,
            nat: nat.unwrap_or_else(|| Some(preset.map_or(Vec::new(), |preset| preset.nat.clone())))?,
            ipv6: ipv6.unwrap_or(Some(preset.map_or(Ipv6::None, |preset| preset.ipv6)))?,
            block: block.unwrap_or_else(|| Some(preset.map_or(Vec::new(), |preset| preset.block.clone())))?,
            preset: preset.and_then(|preset| preset.preset.clone()),
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

impl Link {
    /// What stands outside `down` and `up` holds for both.
    fn read(node: &Node, base: Option<Self>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::LINK, problems)?;
        let both = LinkPatch::read(&table, problems)?;
        let mut direction = |key: &str, base: Option<LinkDirection>| {
            let own = match table.get(key) {
                Some(node) => {
                    let own = Table::open(node, &words::LINK_DIRECTION, problems)?;
                    LinkPatch::read(&own, problems)?
                }
                None => LinkPatch::default(),
            };
            own.or(&both).complete(base, table.span(), key, problems)
        };
        let down = direction("down", base.map(|base| base.down));
        let up = direction("up", base.map(|base| base.up));
        Some(Self { down: down?, up: up? })
    }
}

/// What one place says of a link.
#[derive(Debug, Clone, Copy, Default)]
struct LinkPatch {
    delay: Option<Duration>,
    jitter: Option<Duration>,
    rate: Option<BitRate>,
    queue: Option<ByteSize>,
}

impl LinkPatch {
    /// None when something in it is wrong, and told.
    fn read(table: &Table<'_>, problems: &mut Problems) -> Option<Self> {
        let delay = duration(table, "delay", problems);
        let jitter = duration(table, "jitter", problems);
        let rate = table.get("rate").map(|node| reader::value(node, "a rate", parse_bit_rate, problems));
        let queue = table.get("queue").map(|node| reader::value(node, "a size", parse_byte_size, problems));
        Some(Self { delay: lift(delay)?, jitter: lift(jitter)?, rate: lift(rate)?, queue: lift(queue)? })
    }

    fn or(self, other: &Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            jitter: self.jitter.or(other.jitter),
            rate: self.rate.or(other.rate),
            queue: self.queue.or(other.queue),
        }
    }

    fn complete(
        self,
        base: Option<LinkDirection>,
        span: Span,
        direction: &str,
        problems: &mut Problems,
    ) -> Option<LinkDirection> {
        let delay = self.delay.or(base.map(|base| base.delay));
        if delay.is_none() {
            // Told once for both directions.
            let message = "a link needs a `delay` (one way, each direction)";
            if direction == "down" {
                problems.push(Problem::new(message, span, "needs `delay`").help("such as `delay: 4ms`"));
            }
        }
        Some(LinkDirection {
            delay: delay?,
            jitter: self.jitter.or(base.map(|base| base.jitter)).unwrap_or_default(),
            rate: self.rate.or(base.and_then(|base| base.rate)),
            queue: self.queue.or(base.map(|base| base.queue)).unwrap_or(LinkSpec::DEFAULT_QUEUE),
        })
    }
}

/// An absent value is fine; one that was there and wrong is not.
fn lift<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        None => Some(None),
        Some(Some(value)) => Some(Some(value)),
        Some(None) => None,
    }
}

fn duration(table: &Table<'_>, key: &str, problems: &mut Problems) -> Option<Option<Duration>> {
    table.get(key).map(|node| reader::value(node, "a duration", parse_duration, problems))
}

fn read_nats(node: &Node, problems: &mut Problems) -> Option<Vec<Nat>> {
    let Value::Sequence(nats) = &node.value else {
        return Nat::read(node, problems).map(|nat| vec![nat]);
    };
    if let Some(second) = nats.get(1) {
        problems.push(Problem::new("stacked NATs are not in this version", second.span, "a second NAT"));
        return None;
    }
    nats.iter().map(|nat| Nat::read(nat, problems)).collect()
}

impl Nat {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::NAT, problems)?;
        let mut known = |key, vocabulary| match table.get(key) {
            Some(node) => reader::word(node, vocabulary, problems).is_some(),
            None => true,
        };
        let (mapping, filtering) =
            (known("mapping", &words::NAT_MAPPING), known("filtering", &words::NAT_FILTERING));
        if !(mapping && filtering) {
            return None;
        }
        let udp_timeout = match table.get("udp_timeout") {
            Some(node) => UdpTimeout::read(node, problems)?,
            None => UdpTimeout::default(),
        };
        let (mapping, filtering) = (Mapping::EndpointIndependent, Filtering::AddressAndPortDependent);
        Some(Self { mapping, filtering, udp_timeout })
    }
}

impl Default for UdpTimeout {
    fn default() -> Self {
        Self { initial: NatSpec::TIMEOUT_INITIAL, established: NatSpec::TIMEOUT_ESTABLISHED }
    }
}

impl UdpTimeout {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::NAT_TIMEOUT, problems)?;
        let initial = lift(duration(&table, "initial", problems));
        let established = lift(duration(&table, "established", problems));
        let default = Self::default();
        let initial = initial?.unwrap_or(default.initial);
        let established = established?.unwrap_or(default.established.max(initial));
        if established < initial {
            let message = "the timeout of an established mapping is shorter than its initial one";
            problems.push(Problem::new(message, node.span, "established < initial"));
            return None;
        }
        Some(Self { initial, established })
    }
}

fn read_ipv6(node: &Node, problems: &mut Problems) -> Option<Ipv6> {
    Some(match reader::word(node, &words::IPV6, problems)? {
        "true" => Ipv6::Firewalled,
        "false" => Ipv6::None,
        _ => Ipv6::Open,
    })
}

fn read_blocks(node: &Node, problems: &mut Problems) -> Option<Vec<Block>> {
    let filters = reader::sequence(node, problems)?;
    let read: Vec<Option<Block>> = filters.iter().map(|filter| Block::read(filter, problems)).collect();
    read.into_iter().collect()
}

impl Block {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let entry = reader::variant(node, &words::BLOCK, problems)?;
        let table = Table::open(&entry.value, &words::BLOCK_UDP_P2P, problems)?;
        let mut word = |key, vocabulary, default| match table.get(key) {
            Some(node) => reader::word(node, vocabulary, problems),
            None => Some(default),
        };
        let family = word("family", &words::BLOCK_FAMILY, "both");
        let direction = word("direction", &words::BLOCK_DIRECTION, "both");
        let answer = word("answer", &words::BLOCK_ANSWER, "silence");
        let family = match family? {
            "ipv4" => BlockFamily::Ipv4,
            "ipv6" => BlockFamily::Ipv6,
            _ => BlockFamily::Both,
        };
        let direction = match direction? {
            "in" => BlockDirection::In,
            "out" => BlockDirection::Out,
            _ => BlockDirection::Both,
        };
        answer.map(|_| Self::UdpP2p { family, direction, answer: BlockAnswer::Silence })
    }
}
