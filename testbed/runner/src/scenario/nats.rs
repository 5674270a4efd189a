//! `nat`: one, or a list of them, inside first.

use super::{
    diagnostic::{Problem, Problems},
    meaning::{self, DEPENDENCES, PORTS, REFRESHES, word},
    quantity::{self, format_duration, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Node, Value},
};
use netmodel::{Dependence, Hairpinning, NatKind, NatSpec, PortAssignment, Refresh};
use serde::Serialize;
use std::{fmt, time::Duration};

/// A NAT in the words of RFC 4787.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Nat {
    #[serde(serialize_with = "meaning::dependence")]
    pub(crate) mapping: Dependence,
    #[serde(serialize_with = "meaning::dependence")]
    pub(crate) filtering: Dependence,
    #[serde(serialize_with = "meaning::ports")]
    pub(crate) ports: PortAssignment,
    /// Whether what is sent to the NAT's own outside comes back in.
    pub(crate) hairpin: bool,
    pub(crate) udp_timeout: UdpTimeout,
    #[serde(serialize_with = "meaning::refresh")]
    pub(crate) refresh: Refresh,
}

/// How long a UDP mapping lives without traffic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct UdpTimeout {
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) initial: Duration,
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) established: Duration,
}

pub(super) fn read_nats(node: &Node, problems: &mut Problems) -> Option<Vec<Nat>> {
    let Value::Sequence(nats) = &node.value else {
        return Nat::read(node, problems).map(|nat| vec![nat]);
    };
    let read: Vec<Option<Nat>> = nats.iter().map(|nat| Nat::read(nat, problems)).collect();
    read.into_iter().collect()
}

impl Nat {
    /// What is not said is as the model has it, which is what RFC 4787 requires.
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::NAT, problems)?;
        let usual = NatSpec::new(NatKind::Home);
        let mapping = optional(&table, "mapping", usual.mapping, |node| {
            meaning::read(node, &words::NAT_MAPPING, &DEPENDENCES, problems)
        });
        let filtering = optional(&table, "filtering", usual.filtering, |node| {
            meaning::read(node, &words::NAT_FILTERING, &DEPENDENCES, problems)
        });
        let ports = optional(&table, "ports", usual.ports, |node| {
            meaning::read(node, &words::NAT_PORTS, &PORTS, problems)
        });
        let hairpin = optional(&table, "hairpin", true, |node| reader::boolean(node, problems));
        let refresh = optional(&table, "refresh", usual.refresh, |node| {
            meaning::read(node, &words::NAT_REFRESH, &REFRESHES, problems)
        });
        let udp_timeout =
            optional(&table, "udp_timeout", UdpTimeout::default(), |node| UdpTimeout::read(node, problems));
        Some(Self {
            mapping: mapping?,
            filtering: filtering?,
            ports: ports?,
            hairpin: hairpin?,
            udp_timeout: udp_timeout?,
            refresh: refresh?,
        })
    }

    pub(super) fn lower(&self, kind: NatKind) -> NatSpec {
        NatSpec {
            mapping: self.mapping,
            filtering: self.filtering,
            ports: self.ports,
            hairpinning: if self.hairpin { Hairpinning::ExternalSource } else { Hairpinning::Off },
            refresh: self.refresh,
            timeout_initial: self.udp_timeout.initial,
            timeout_established: self.udp_timeout.established,
            kind,
        }
    }
}

/// What a key says, or what holds without it; none when it says something wrong.
fn optional<T>(table: &Table<'_>, key: &str, without: T, read: impl FnOnce(&Node) -> Option<T>) -> Option<T> {
    table.get(key).map_or(Some(without), read)
}

/// The class, and what is unlike the usual.
impl fmt::Display for Nat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (mapping, filtering) = (word(&DEPENDENCES, &self.mapping), word(&DEPENDENCES, &self.filtering));
        write!(f, "NAT with {mapping} mapping, {filtering} filtering")?;
        if self.ports != PortAssignment::Preserved {
            write!(f, ", {} ports", word(&PORTS, &self.ports))?;
        }
        if !self.hairpin {
            f.write_str(", no hairpinning")?;
        }
        if self.udp_timeout != UdpTimeout::default() {
            let UdpTimeout { initial, established } = self.udp_timeout;
            write!(f, ", forgets after {} or {}", format_duration(initial), format_duration(established))?;
        }
        if self.refresh == Refresh::Both {
            f.write_str(", refreshed both ways")?;
        }
        Ok(())
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
        let mut duration = |key: &str| match table.get(key) {
            Some(node) => reader::value(node, "a duration", parse_duration, problems).map(Some),
            None => Some(None),
        };
        let (initial, established) = (duration("initial"), duration("established"));
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
