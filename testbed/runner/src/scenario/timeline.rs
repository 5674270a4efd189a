//! `timeline`: what is done to the network, and when.

use super::{
    diagnostic::{Problem, Problems},
    names::{Names, Target},
    quantity::{self, format_duration, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Entry, Node, Value},
};
use record::DisturbanceKind;
use serde::Serialize;
use std::time::Duration;

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
}

impl Action {
    pub(crate) fn target(&self) -> &Target {
        match self {
            Self::Down(target) | Self::Up(target) | Self::CarrierOff(target) | Self::CarrierOn(target) => {
                target
            }
        }
    }

    pub(crate) fn kind(&self) -> DisturbanceKind {
        match self {
            Self::Down(_) => DisturbanceKind::Down,
            Self::Up(_) => DisturbanceKind::Up,
            Self::CarrierOff(_) => DisturbanceKind::CarrierOff,
            Self::CarrierOn(_) => DisturbanceKind::CarrierOn,
        }
    }
}

impl Step {
    /// All steps, in order of time.
    pub(crate) fn read_all(
        node: &Node,
        duration: Option<Duration>,
        names: &Names<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<Self>> {
        let nodes = reader::sequence(node, problems)?;
        let read: Vec<Option<Self>> =
            nodes.iter().map(|node| Self::read(node, duration, names, problems)).collect();
        let mut steps = read.into_iter().collect::<Option<Vec<Self>>>()?;
        steps.sort_by_key(|step| step.at);
        Some(steps)
    }

    fn read(
        node: &Node,
        duration: Option<Duration>,
        names: &Names<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = Table::open(node, &words::STEP, problems)?;
        let at = table.require("at", problems).and_then(|node| read_time(node, duration, problems));
        let action = table.require("do", problems).and_then(|node| Action::read(node, names, problems));
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
    fn read(node: &Node, names: &Names<'_>, problems: &mut Problems) -> Option<Self> {
        let entry = reader::variant(node, &words::ACTIONS, problems)?;
        if let Some(delay) = address_delay(entry) {
            let help = "the interface alone, such as `{up: laptop.wlan0}`";
            problems.push(reader::form_not_yet("`address_delay`", delay.key_span, help));
            return None;
        }
        let target = Target::read(&entry.value, names, problems)?;
        Some(match entry.key.as_str() {
            "down" => Self::Down(target),
            "up" => Self::Up(target),
            "carrier_off" => Self::CarrierOff(target),
            _ => Self::CarrierOn(target),
        })
    }
}

/// What the contract lets `up` have besides its interface.
fn address_delay(action: &Entry) -> Option<&Entry> {
    match &action.value.value {
        Value::Map(keys) if action.key == "up" => keys.iter().find(|key| key.key == "address_delay"),
        _ => None,
    }
}
