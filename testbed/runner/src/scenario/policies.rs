//! The words about a peer's policy, its disguises and what its sockets are bound to; in `peers` and in the timeline.
//!
//! What a policy may be told is the prototype's to say: its own reader is asked.

use super::{
    diagnostic::Problems,
    reader::{self, Table},
    words,
    yaml::{Entry, Node, Value},
};
use peer::{Disguise, Rung};
use serde::{Serialize, Serializer};
use std::fmt;

/// A preset and what differs from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Policy(peer::Policy);

impl Policy {
    pub(crate) fn multipath() -> Self {
        Self(peer::Policy::multipath())
    }

    /// A preset's word, or a map of `preset` and changes.
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            let preset = reader::word(node, &words::POLICIES, problems)?;
            return preset.parse().ok().map(Self);
        }
        let table = Table::open(node, &words::POLICY, problems)?;
        table.require("preset", problems)?;
        Self::read_entries(&table, problems)
    }

    /// The preset and the changes of a map that may say other things, too.
    pub(super) fn read_entries(table: &Table<'_>, problems: &mut Problems) -> Option<Self> {
        let preset = reader::word(table.get("preset")?, &words::POLICIES, problems)?;
        let mut policy: peer::Policy = preset.parse().ok()?;
        let mut sound = true;
        for (key, valid) in peer::POLICY_KEYS {
            let Some(node) = table.get(key) else { continue };
            let change = |value: &str| policy.change(key, value);
            sound &= reader::value(node, valid, change, problems).is_some();
        }
        sound.then_some(Self(policy))
    }
}

/// As `iceperf --policy` takes it.
impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// As the scenario says it.
impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.changes().next().is_none() {
            return serializer.serialize_str(self.0.name());
        }
        serializer.collect_map(self.entries())
    }
}

impl Policy {
    /// The keys and values that say it.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &str)> {
        [("preset", self.0.name())].into_iter().chain(self.0.changes())
    }
}

/// Disguises of checks: one for all interfaces, or one for each that is named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Disguises(Vec<Disguise>);

impl Disguises {
    /// `interfaces` are those of the peer's host.
    pub(crate) fn read(node: &Node, interfaces: &[&str], problems: &mut Problems) -> Option<Self> {
        let rung = |node: &Node, problems: &mut Problems| -> Option<Rung> {
            reader::word(node, &words::RUNGS, problems)?.parse().ok()
        };
        if !matches!(node.value, Value::Map(_)) {
            return Some(Self(vec![Disguise { interface: None, rung: rung(node, problems)? }]));
        }
        let entries = reader::map(node, problems)?;
        let read = |entry: &Entry, problems: &mut Problems| {
            let rung = rung(&entry.value, problems);
            if !interfaces.contains(&entry.key.as_str()) {
                let what = "an interface of the peer";
                problems.push(reader::unknown(&entry.key, entry.key_span, what, interfaces));
                return None;
            }
            Some(Disguise { interface: Some(entry.key.clone()), rung: rung? })
        };
        let read: Vec<Option<Disguise>> = entries.iter().map(|entry| read(entry, problems)).collect();
        read.into_iter().collect::<Option<_>>().map(Self)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// As `iceperf --disguise` takes them.
    pub(crate) fn arguments(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(ToString::to_string)
    }
}

/// As the scenario says it.
impl Serialize for Disguises {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.as_slice() {
            [Disguise { interface: None, rung }] => serializer.serialize_str(rung.as_str()),
            several => serializer.collect_map(
                several.iter().map(|disguise| (disguise.interface.as_deref(), disguise.rung.as_str())),
            ),
        }
    }
}

/// What sockets are bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Bind {
    Device,
    Address,
    None,
}

impl Bind {
    pub(super) fn from_word(word: &str) -> Self {
        match word {
            "address" => Self::Address,
            "none" => Self::None,
            _ => Self::Device,
        }
    }

    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Address => "address",
            Self::None => "none",
        }
    }

    /// The routes of the prototype of 2024 decided where a packet left.
    pub(super) fn usual(policy: &Policy) -> Self {
        if policy.0.name() == "prototype-2024" { Self::None } else { Self::Device }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_those_of_the_prototype() {
        let keys: Vec<&str> = peer::POLICY_KEYS.iter().map(|(key, _)| *key).collect();
        assert_eq!(&words::POLICY.known[1..], keys);
        for key in keys {
            assert!(words::POLICY_STEP.known.contains(&key), "{key}");
        }
        let presets = peer::Policy::presets().map(|policy| policy.name());
        assert_eq!(words::POLICIES.known, presets);
        assert_eq!(words::RUNGS.known, peer::Rung::ALL.map(peer::Rung::as_str));
        assert_eq!(words::PATH_STATUSES.known, peer::PathStatus::ALL.map(peer::PathStatus::as_str));
    }
}
