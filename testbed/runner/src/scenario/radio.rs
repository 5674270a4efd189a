//! `radio`: what a modem does before a packet reaches its link.

use super::{
    diagnostic::Problems,
    quantity::{format_duration, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Node, Value},
};
use netmodel::{DrxSpec, RadioSpec};
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// A cellular radio.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Radio(pub(crate) RadioSpec);

impl Radio {
    /// `lte`, or a map; what that leaves out is as in the base, or else as in LTE.
    pub(super) fn read(node: &Node, base: Option<Self>, problems: &mut Problems) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return reader::word(node, &words::RADIOS, problems).map(|_| Self(RadioSpec::LTE));
        }
        let table = Table::open(node, &words::RADIO, problems)?;
        let Self(base) = base.unwrap_or(Self(RadioSpec::LTE));
        let promotion = duration(&table, "promotion", base.promotion, problems);
        let inactivity = duration(&table, "inactivity", base.inactivity, problems);
        let paging_cycle = duration(&table, "paging_cycle", base.paging_cycle, problems);
        let drx = match table.get("drx") {
            Some(node) => reader::unless_none(node, |node| read_drx(node, base.drx, problems)),
            None => Some(base.drx),
        };
        let (promotion, inactivity, paging_cycle) = (promotion?, inactivity?, paging_cycle?);
        Some(Self(RadioSpec { promotion, inactivity, paging_cycle, drx: drx? }))
    }
}

fn read_drx(node: &Node, base: Option<DrxSpec>, problems: &mut Problems) -> Option<DrxSpec> {
    let table = Table::open(node, &words::DRX, problems)?;
    let base = base.or(RadioSpec::LTE.drx);
    let mut read = |key: &str, base: Option<Duration>| match base {
        Some(base) => duration(&table, key, base, problems),
        None => {
            let node = table.require(key, problems)?;
            reader::value(node, "a duration", parse_duration, problems)
        }
    };
    let inactivity = read("inactivity", base.map(|base| base.inactivity));
    let cycle = read("cycle", base.map(|base| base.cycle));
    let on = read("on", base.map(|base| base.on));
    Some(DrxSpec { inactivity: inactivity?, cycle: cycle?, on: on? })
}

fn duration(table: &Table<'_>, key: &str, without: Duration, problems: &mut Problems) -> Option<Duration> {
    let read = |node| reader::value(node, "a duration", parse_duration, problems);
    table.get(key).map_or(Some(without), read)
}

impl Serialize for Radio {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            promotion: String,
            inactivity: String,
            paging_cycle: String,
            drx: WrittenDrx,
        }
        #[derive(Serialize)]
        #[serde(untagged)]
        enum WrittenDrx {
            None(&'static str),
            Some { inactivity: String, cycle: String, on: String },
        }
        let RadioSpec { promotion, inactivity, paging_cycle, drx } = self.0;
        let drx = match drx {
            None => WrittenDrx::None("none"),
            Some(DrxSpec { inactivity, cycle, on }) => WrittenDrx::Some {
                inactivity: format_duration(inactivity),
                cycle: format_duration(cycle),
                on: format_duration(on),
            },
        };
        Written {
            promotion: format_duration(promotion),
            inactivity: format_duration(inactivity),
            paging_cycle: format_duration(paging_cycle),
            drx,
        }
        .serialize(serializer)
    }
}

impl fmt::Display for Radio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == RadioSpec::LTE {
            return f.write_str("LTE radio");
        }
        let (promotion, inactivity) = (format_duration(self.0.promotion), format_duration(self.0.inactivity));
        write!(f, "radio that wakes in {promotion} and sleeps after {inactivity}")
    }
}
