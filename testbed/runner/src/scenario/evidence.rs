//! `evidence`: how much a run keeps of what others can open: captures and the engines' logs.

use super::{
    diagnostic::Problems,
    quantity::{self, format_byte_size, parse_byte_size},
    reader::{self, Table},
    words,
    yaml::Node,
};
use netmodel::ByteSize;
use serde::Serialize;

/// Evidence of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Evidence {
    pub(crate) captures: Amount,
    pub(crate) qlog: Amount,
    /// Size of all captures and qlogs of a run together.
    #[serde(serialize_with = "quantity::byte_size")]
    pub(crate) max: ByteSize,
}

/// How much is kept of one kind of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Amount {
    /// Everything, until `max` is reached.
    Full,
    /// What is small, and what is around steps, before the rest.
    Limited,
    /// Nothing.
    None,
}

/// Below this, not even the headers of all files have room.
const LEAST: ByteSize = ByteSize(1_000_000);

impl Default for Evidence {
    fn default() -> Self {
        Self { captures: Amount::Limited, qlog: Amount::Limited, max: ByteSize(100_000_000) }
    }
}

impl Amount {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Limited => "limited",
            Self::None => "none",
        }
    }

    fn of(word: &str) -> Self {
        match word {
            "full" => Self::Full,
            "limited" => Self::Limited,
            _ => Self::None,
        }
    }
}

impl Evidence {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::EVIDENCE, problems)?;
        let defaults = Self::default();
        let amount = |key: &str, default: Amount, problems: &mut Problems| match table.get(key) {
            Some(node) => reader::word(node, &words::AMOUNTS, problems).map(Amount::of),
            None => Some(default),
        };
        let captures = amount("captures", defaults.captures, problems);
        let qlog = amount("qlog", defaults.qlog, problems);
        let max = match table.get("max") {
            Some(node) => reader::value(node, "a size", parse_max, problems),
            None => Some(defaults.max),
        };
        Some(Self { captures: captures?, qlog: qlog?, max: max? })
    }
}

fn parse_max(text: &str) -> Result<ByteSize, String> {
    match parse_byte_size(text).map_err(|error| error.to_string())? {
        size if size.0 < LEAST.0 => Err(format!("at least {}", format_byte_size(LEAST))),
        size => Ok(size),
    }
}
