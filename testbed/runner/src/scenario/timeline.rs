//! `timeline`: what is done to the network, and when.

use super::{
    diagnostic::{Problem, Problems},
    names::{Names, Target},
    networks::Network,
    quantity::{self, format_duration, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Entry, Node, Value},
};
use record::DisturbanceKind;
use serde::Serialize;
use std::{collections::BTreeMap, fmt, time::Duration};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Step {
    /// Since time zero.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) at: Duration,
    #[serde(rename = "do")]
    pub(crate) action: Action,
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// The network's NAT forgets all of its mappings.
    NatRebind(String),
}

/// To whom something is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject<'a> {
    Interface(&'a Target),
    Network(&'a str),
}

impl Action {
    pub(crate) fn subject(&self) -> Subject<'_> {
        match self {
            Self::Down(target)
            | Self::Up(target)
            | Self::CarrierOff(target)
            | Self::CarrierOn(target)
            | Self::Silence(target)
            | Self::Restore(target)
            | Self::Address { interface: target } => Subject::Interface(target),
            Self::NatRebind(network) => Subject::Network(network),
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
            Self::NatRebind(_) => DisturbanceKind::NatRebind,
        }
    }
}

impl fmt::Display for Action {
    /// As results call it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.subject() {
            Subject::Interface(target) => write!(formatter, "{} {target}", self.kind()),
            Subject::Network(network) => write!(formatter, "{} {network}", self.kind()),
        }
    }
}

impl Step {
    /// All steps, in order of time.
    pub(crate) fn read_all(
        node: &Node,
        duration: Option<Duration>,
        names: &Names<'_>,
        networks: &BTreeMap<String, Network>,
        problems: &mut Problems,
    ) -> Option<Vec<Self>> {
        let nodes = reader::sequence(node, problems)?;
        let read: Vec<Option<Self>> =
            nodes.iter().map(|node| Self::read(node, duration, names, networks, problems)).collect();
        let mut steps = read.into_iter().collect::<Option<Vec<Self>>>()?;
        steps.sort_by_key(|step| step.at);
        Some(steps)
    }

    fn read(
        node: &Node,
        duration: Option<Duration>,
        names: &Names<'_>,
        networks: &BTreeMap<String, Network>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = Table::open(node, &words::STEP, problems)?;
        let at = table.require("at", problems).and_then(|node| read_time(node, duration, problems));
        let action = table.require("do", problems);
        let action = action.and_then(|node| Action::read(node, names, networks, problems));
        Some(Self { at: at?, action: action? })
    }
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

impl Action {
    fn read(
        node: &Node,
        names: &Names<'_>,
        networks: &BTreeMap<String, Network>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entry = reader::variant(node, &words::ACTIONS, problems)?;
        if let Some(delay) = address_delay(entry) {
            let help = "the interface alone, such as `{up: laptop.wlan0}`";
            problems.push(reader::form_not_yet("`address_delay`", delay.key_span, help));
            return None;
        }
        match entry.key.as_str() {
            "nat_rebind" => return read_nat(&entry.value, names, networks, problems).map(Self::NatRebind),
            "address" => {
                let table = Table::open(&entry.value, &words::ADDRESS, problems)?;
                let interface = table.require("interface", problems)?;
                return Target::read(interface, names, problems).map(|interface| Self::Address { interface });
            }
            _ => {}
        }
        let target = Target::read(&entry.value, names, problems)?;
        Some(match entry.key.as_str() {
            "down" => Self::Down(target),
            "up" => Self::Up(target),
            "carrier_off" => Self::CarrierOff(target),
            "carrier_on" => Self::CarrierOn(target),
            "silence" => Self::Silence(target),
            _ => Self::Restore(target),
        })
    }
}

/// A network that has a NAT.
fn read_nat(
    node: &Node,
    names: &Names<'_>,
    networks: &BTreeMap<String, Network>,
    problems: &mut Problems,
) -> Option<String> {
    let name = reader::reference(node, "a network", &names.networks, problems)?;
    // An unsound network was told already.
    if networks.get(name).is_some_and(|network| network.nat.is_empty()) {
        let with_nat = networks.iter().filter(|(_, network)| !network.nat.is_empty());
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

/// What the contract lets `up` have besides its interface.
fn address_delay(action: &Entry) -> Option<&Entry> {
    match &action.value.value {
        Value::Map(keys) if action.key == "up" => keys.iter().find(|key| key.key == "address_delay"),
        _ => None,
    }
}
