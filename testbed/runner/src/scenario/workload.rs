//! `workload`: what is sent. A call, a bulk transfer, a probe of what is blocked, or several of them at once.

use super::{
    diagnostic::{Problem, Problems, Span},
    quantity::{self, PacketRate, QuantityError, parse_byte_size},
    reader::{self, Table},
    words,
    yaml::{Node, Value},
};
use netmodel::ByteSize;
use peer::CallSpec;
use serde::{Serialize, Serializer, ser::SerializeSeq as _};

/// What is sent; at least one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Workload {
    pub(crate) call: Option<Call>,
    pub(crate) bulk: Option<Bulk>,
    pub(crate) probe: Option<Probe>,
}

/// Datagrams at a fixed rate, both ways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Call {
    pub(crate) rate: PacketRate,
    #[serde(serialize_with = "quantity::byte_size")]
    pub(crate) payload: ByteSize,
}

/// What the networks in between block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Probe {}

/// As much as the paths carry, one way, reliably.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Bulk {
    pub(crate) direction: Direction,
    /// None: until the end of the run.
    #[serde(serialize_with = "quantity::optional_byte_size", skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<ByteSize>,
}

/// Which way a bulk transfer goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Direction {
    /// Client to server.
    #[default]
    Up,
    /// Server to client.
    Down,
}

impl Default for Workload {
    /// A voice call, as WhatsApp's.
    fn default() -> Self {
        Self { call: Some(Call::default()), bulk: None, probe: None }
    }
}

impl Default for Call {
    fn default() -> Self {
        Self { rate: PacketRate::CALL, payload: ByteSize(58) }
    }
}

/// One of them, as the file has it.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
enum Item {
    Call(Call),
    Bulk(Bulk),
    Probe(Probe),
}

impl Serialize for Workload {
    /// One stands alone, several in a list.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let items: Vec<Item> = self
            .call
            .map(Item::Call)
            .into_iter()
            .chain(self.bulk.map(Item::Bulk))
            .chain(self.probe.map(Item::Probe))
            .collect();
        if let [item] = items.as_slice() {
            return item.serialize(serializer);
        }
        let mut list = serializer.serialize_seq(Some(items.len()))?;
        items.iter().try_for_each(|item| list.serialize_element(item))?;
        list.end()
    }
}

impl Workload {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let nodes = match &node.value {
            Value::Sequence(nodes) => nodes.as_slice(),
            _ => std::slice::from_ref(node),
        };
        if nodes.is_empty() {
            let help = "such as `{call: {rate: 50/s}}`";
            problems.push(Problem::new("peers need a workload", node.span, "none here").help(help));
            return None;
        }
        let mut workload = Self { call: None, bulk: None, probe: None };
        let read: Vec<Option<()>> = nodes.iter().map(|node| workload.add(node, problems)).collect();
        read.into_iter().collect::<Option<()>>().map(|()| workload)
    }

    /// One connection carries one of each at most.
    fn add(&mut self, node: &Node, problems: &mut Problems) -> Option<()> {
        let entry = reader::variant(node, &words::WORKLOADS, problems)?;
        let taken = match entry.key.as_str() {
            "call" => self.call.replace(Call::read(&entry.value, problems)?).is_some(),
            "bulk" => self.bulk.replace(Bulk::read(&entry.value, problems)?).is_some(),
            _ => self.probe.replace(Probe::read(&entry.value, problems)?).is_some(),
        };
        if taken {
            problems.push(second(&entry.key, entry.key_span));
        }
        (!taken).then_some(())
    }
}

fn second(what: &str, span: Span) -> Problem {
    Problem::new(format!("a second `{what}`: a connection carries one"), span, "again")
}

impl Call {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::CALL, problems)?;
        let default = Self::default();
        let rate = match table.get("rate") {
            Some(node) => reader::value(node, "a packet rate of a call", parse_rate, problems),
            None => Some(default.rate),
        };
        let payload = match table.get("payload") {
            Some(node) => reader::value(node, "a payload of a call", parse_payload, problems),
            None => Some(default.payload),
        };
        Some(Self { rate: rate?, payload: payload? })
    }
}

/// What a call can be is for the peer to say.
fn parse_rate(text: &str) -> Result<PacketRate, String> {
    let rate: PacketRate = text.parse().map_err(|error: QuantityError| error.to_string())?;
    CallSpec::new(rate.per_second(), CallSpec::default().payload()).map_err(|error| error.to_string())?;
    Ok(rate)
}

fn parse_payload(text: &str) -> Result<ByteSize, String> {
    let size = parse_byte_size(text).map_err(|error| error.to_string())?;
    let bytes = usize::try_from(size.0).unwrap_or(usize::MAX);
    CallSpec::new(PacketRate::CALL.per_second(), bytes).map_err(|error| error.to_string())?;
    Ok(size)
}

impl Bulk {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::BULK, problems)?;
        let direction = match table.get("direction") {
            Some(node) => reader::word(node, &words::BULK_DIRECTIONS, problems).map(Direction::from_word),
            None => Some(Direction::default()),
        };
        let size = match table.get("size") {
            Some(node) => reader::value(node, "a size", parse_size, problems).map(Some),
            None => Some(None),
        };
        Some(Self { direction: direction?, size: size? })
    }
}

impl Probe {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        Table::open(node, &words::PROBE, problems).map(|_| Self {})
    }
}

impl Direction {
    fn from_word(word: &str) -> Self {
        if word == "up" { Self::Up } else { Self::Down }
    }
}

fn parse_size(text: &str) -> Result<ByteSize, String> {
    match parse_byte_size(text).map_err(|error| error.to_string())? {
        ByteSize(0) => Err("a transfer of nothing shows nothing".to_owned()),
        size => Ok(size),
    }
}
