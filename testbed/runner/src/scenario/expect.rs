//! `expect`: what must hold for the run to succeed.

use super::{
    diagnostic::{Problem, Problems, Span},
    quantity::{self, Percentage, format_duration, parse_duration},
    reader::{self, Table},
    timeline::{Step, read_time},
    words,
    yaml::Node,
};
use record::{Expectation, How, Percent};
use serde::Serialize;
use std::time::Duration;

/// One thing that must hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expect {
    /// For the step at a time, or for every step.
    Interruption {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
        #[serde(serialize_with = "quantity::optional_duration", skip_serializing_if = "Option::is_none")]
        at: Option<Duration>,
    },
    SameConnection(bool),
    How(How),
    FirstPath {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
    },
    DirectPath {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
    },
    Lost {
        below: Percentage,
    },
}

impl From<Expect> for Expectation {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Interruption { below, at } => Self::Interruption { below, at },
            Expect::SameConnection(expected) => Self::SameConnection(expected),
            Expect::How(how) => Self::How(how),
            Expect::FirstPath { below } => Self::FirstPath { below },
            Expect::DirectPath { below } => Self::DirectPath { below },
            Expect::Lost { below } => Self::Lost { below: Percent(below.percent()) },
        }
    }
}

impl Expect {
    /// `timeline` and `duration` are none when they are unsound, and told.
    pub(crate) fn read(
        node: &Node,
        timeline: Option<&[Step]>,
        duration: Option<Duration>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entry = reader::variant(node, &words::EXPECTATIONS, problems)?;
        let value = &entry.value;
        let about_steps = matches!(entry.key.as_str(), "interruption" | "same_connection" | "how");
        if about_steps && timeline.is_some_and(<[Step]>::is_empty) {
            let message = format!("`{}` is about the steps of the timeline, and there is none", entry.key);
            problems.push(Problem::new(message, entry.key_span, "nothing to measure"));
            return None;
        }
        match entry.key.as_str() {
            "interruption" => Self::read_interruption(value, timeline, duration, problems),
            "same_connection" => reader::boolean(value, problems).map(Self::SameConnection),
            "how" => reader::word(value, &words::HOW, problems).map(|word| Self::How(how(word))),
            "first_path" => read_below(value, problems).map(|below| Self::FirstPath { below }),
            "direct_path" => read_below(value, problems).map(|below| Self::DirectPath { below }),
            _ => read_share(value, problems).map(|below| Self::Lost { below }),
        }
    }

    fn read_interruption(
        node: &Node,
        timeline: Option<&[Step]>,
        duration: Option<Duration>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = Table::open(node, &words::INTERRUPTION, problems)?;
        let below = table.require("below", problems);
        let below = below.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        let at = match table.get("at") {
            Some(node) => {
                let at = read_time(node, duration, problems)?;
                check_step(at, node.span, timeline, problems)?;
                Some(at)
            }
            None => None,
        };
        below.map(|below| Self::Interruption { below, at })
    }
}

/// `at` names a step by its time.
fn check_step(at: Duration, span: Span, timeline: Option<&[Step]>, problems: &mut Problems) -> Option<()> {
    let Some(timeline) = timeline else { return Some(()) };
    if timeline.iter().any(|step| step.at == at) {
        return Some(());
    }
    let valid: Vec<String> = timeline.iter().map(|step| format_duration(step.at)).collect();
    let message = format!("no step of the timeline is at {}", format_duration(at));
    let help = format!("valid: {}", valid.join(", "));
    problems.push(Problem::new(message, span, "no such step").help(help));
    None
}

fn read_below(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let table = Table::open(node, &words::BELOW, problems)?;
    let below = table.require("below", problems)?;
    reader::value(below, "a duration", parse_duration, problems)
}

fn read_share(node: &Node, problems: &mut Problems) -> Option<Percentage> {
    let table = Table::open(node, &words::BELOW, problems)?;
    let below = table.require("below", problems)?;
    reader::value(below, "a percentage", str::parse, problems)
}

fn how(word: &str) -> How {
    match word {
        "none" => How::None,
        "migrated" => How::Migrated,
        "multipath" => How::Multipath,
        "rebuilt" => How::Rebuilt,
        "relay" => How::Relay,
        _ => How::Failed,
    }
}
