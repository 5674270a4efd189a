//! `expect`: what must hold for the run to succeed.

use super::{
    diagnostic::{Problem, Problems},
    quantity::{self, Percentage, format_bit_rate, format_duration, parse_bit_rate, parse_duration},
    reader::{self, Table},
    timeline::{Step, read_time},
    words,
    workload::Workload,
    yaml::{Node, Value},
};
use netmodel::BitRate;
use record::{BlockingVerdict, Expectation, Family, How, Percent, Steps, Way, Which};
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// One thing that must hold.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Expect {
    Interruption(Bound),
    /// Of the call, in the worse direction and with 60 ms for jitter.
    Missed(Bound),
    SameConnection(Held<bool>),
    How(Held<How>),
    FirstPath {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
    },
    DirectPath {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
    },
    #[serde(rename = "direct_path")]
    NoDirectPath(Nothing),
    RelayPath {
        #[serde(serialize_with = "quantity::duration")]
        below: Duration,
    },
    /// Of the bulk transfer.
    Goodput {
        #[serde(serialize_with = "quantity::bit_rate")]
        above: BitRate,
    },
    /// Of the call.
    Lost {
        below: Percentage,
    },
    /// Of a probe: of every pair and direction that is meant.
    Verdict(Verdict),
}

/// A bound, and the steps that it holds for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Bound {
    #[serde(serialize_with = "quantity::duration")]
    below: Duration,
    #[serde(flatten)]
    steps: MeantSteps,
}

/// What must be so, and for which steps. Written as a word where it is for every step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Held<T> {
    is: T,
    steps: MeantSteps,
}

impl<T: Serialize> Serialize for Held<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Full<'a, T> {
            is: &'a T,
            #[serde(flatten)]
            steps: &'a MeantSteps,
        }
        match self.steps == MeantSteps::default() {
            true => self.is.serialize(serializer),
            false => Full { is: &self.is, steps: &self.steps }.serialize(serializer),
        }
    }
}

/// The steps at a time, one step, or, with neither, every step.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub(crate) struct MeantSteps {
    #[serde(serialize_with = "quantity::optional_duration", skip_serializing_if = "Option::is_none")]
    at: Option<Duration>,
    /// Name of a step, or its place in the timeline.
    #[serde(skip_serializing_if = "Option::is_none")]
    step: Option<String>,
    /// Their places in the timeline.
    #[serde(skip)]
    indices: Vec<usize>,
}

impl MeantSteps {
    fn read(table: &Table<'_>, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        match (table.get("at"), table.get("step")) {
            (None, None) => Some(Self::default()),
            (Some(at), None) => Self::read_at(at, around, problems),
            (None, Some(step)) => Self::read_step(step, around, problems),
            (Some(at), Some(step)) => {
                let message = "a step is meant by `at` or by `step`, not by both".to_owned();
                let problem =
                    Problem::new(message, step.span, "by its name or place").also(at.span, "by its time");
                problems.push(problem.help("leave one of them out"));
                None
            }
        }
    }

    fn read_at(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let at = read_time(node, around.duration, problems)?;
        // An unsound timeline was told already.
        let Some(timeline) = around.timeline else { return Some(Self { at: Some(at), ..Self::default() }) };
        let each = timeline.iter().enumerate();
        let indices: Vec<usize> = each.filter(|(_, step)| step.at == at).map(|(index, _)| index).collect();
        if indices.is_empty() {
            let valid: Vec<String> = timeline.iter().map(|step| format_duration(step.at)).collect();
            let message = format!("no step of the timeline is at {}", format_duration(at));
            let help = format!("valid: {}", valid.join(", "));
            problems.push(Problem::new(message, node.span, "no such step").help(help));
            return None;
        }
        Some(Self { at: Some(at), step: None, indices })
    }

    fn read_step(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let word = reader::text(node, "a step", problems)?;
        let step = Some(word.to_owned());
        let Some(timeline) = around.timeline else { return Some(Self { step, ..Self::default() }) };
        let named = timeline.iter().position(|step| step.name.as_deref() == Some(word));
        let numbered = || word.parse().ok().filter(|index| *index < timeline.len());
        let Some(index) = named.or_else(numbered) else {
            let each = timeline.iter().enumerate();
            let valid = each.map(|(index, step)| step.name.clone().unwrap_or(index.to_string()));
            let help = format!("valid: {}", valid.collect::<Vec<_>>().join(", "));
            let message = format!("the timeline has no step `{word}`");
            problems.push(Problem::new(message, node.span, "no such step").help(help));
            return None;
        };
        Some(Self { at: None, step, indices: vec![index] })
    }
}

impl From<MeantSteps> for Steps {
    fn from(meant: MeantSteps) -> Self {
        match (meant.at, meant.step, meant.indices.first()) {
            (None, Some(word), Some(index)) => Self::Step { word, index: *index },
            (Some(at), ..) => Self::At { at, indices: meant.indices },
            _ => Self::Every,
        }
    }
}

impl fmt::Display for MeantSteps {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.at, &self.step) {
            (Some(at), _) => write!(formatter, " at {}", format_duration(at)),
            (None, Some(step)) => write!(formatter, " of step {step}"),
            (None, None) => Ok(()),
        }
    }
}

/// A verdict, and of what it is expected.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Verdict {
    is: BlockingVerdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    family: Option<Family>,
    #[serde(skip_serializing_if = "Option::is_none")]
    direction: Option<Way>,
}

impl Verdict {
    /// A verdict alone, or with what it is of.
    fn read(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let none = Self {
            is: BlockingVerdict::Open,
            interface: None,
            remote_interface: None,
            family: None,
            direction: None,
        };
        if !matches!(node.value, Value::Map(_)) {
            return Some(Self { is: read_verdict(node, problems)?, ..none });
        }
        let table = Table::open(node, &words::VERDICT, problems)?;
        let is = table.require("is", problems).and_then(|node| read_verdict(node, problems));
        let name = |key: &str, end: usize, problems: &mut Problems| match (table.get(key), &around.interfaces)
        {
            (Some(node), Some(names)) => reader::reference(node, "an interface", &names[end], problems)
                .map(|name| Some(name.to_owned())),
            // An unsound peer was told already.
            (Some(node), None) => {
                reader::text(node, "an interface", problems).map(|name| Some(name.to_owned()))
            }
            (None, _) => Some(None),
        };
        let interface = name("interface", 0, problems);
        let remote_interface = name("remote_interface", 1, problems);
        let family = match table.get("family") {
            Some(node) => reader::word(node, &words::VERDICT_FAMILY, problems)
                .map(|word| Some(if word == "ipv4" { Family::Ipv4 } else { Family::Ipv6 })),
            None => Some(None),
        };
        let direction = match table.get("direction") {
            Some(node) => reader::word(node, &words::VERDICT_DIRECTION, problems)
                .map(|word| Some(if word == "out" { Way::Out } else { Way::In })),
            None => Some(None),
        };
        Some(Self {
            is: is?,
            interface: interface?,
            remote_interface: remote_interface?,
            family: family?,
            direction: direction?,
        })
    }

    fn which(&self) -> Which {
        Which {
            interface: self.interface.clone(),
            remote_interface: self.remote_interface.clone(),
            family: self.family,
            direction: self.direction,
        }
    }
}

fn read_verdict(node: &Node, problems: &mut Problems) -> Option<BlockingVerdict> {
    let word = reader::word(node, &words::VERDICTS, problems)?;
    BlockingVerdict::ALL.into_iter().find(|verdict| verdict.as_str() == word)
}

/// Written `none`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Nothing {
    None,
}

/// What expectations may be about; none of what is unsound, and told.
pub(crate) struct Surroundings<'a> {
    pub(crate) timeline: Option<&'a [Step]>,
    pub(crate) duration: Option<Duration>,
    pub(crate) workload: Option<Workload>,
    /// Of the client's host, and of the server's.
    pub(crate) interfaces: Option<[Vec<&'a str>; 2]>,
}

impl fmt::Display for Expect {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let below = |below: &Duration| format!("below {}", format_duration(*below));
        match self {
            Self::Interruption(Bound { below: bound, steps }) => {
                write!(formatter, "interruption{steps} {}", below(bound))
            }
            Self::Missed(Bound { below: bound, steps }) => {
                write!(formatter, "missed{steps} {}", below(bound))
            }
            Self::SameConnection(Held { is, steps }) => write!(formatter, "same_connection{steps} {is}"),
            Self::How(Held { is, steps }) => write!(formatter, "how{steps} {is}"),
            Self::FirstPath { below: bound } => write!(formatter, "first_path {}", below(bound)),
            Self::DirectPath { below: bound } => write!(formatter, "direct_path {}", below(bound)),
            Self::NoDirectPath(Nothing::None) => formatter.write_str("no direct_path"),
            Self::RelayPath { below: bound } => write!(formatter, "relay_path {}", below(bound)),
            Self::Goodput { above } => write!(formatter, "goodput above {}", format_bit_rate(*above)),
            Self::Lost { below } => write!(formatter, "lost below {below}"),
            Self::Verdict(verdict) => write!(formatter, "verdict{} {}", verdict.which(), verdict.is),
        }
    }
}

impl From<Expect> for Expectation {
    fn from(expect: Expect) -> Self {
        match expect {
            Expect::Interruption(Bound { below, steps }) => Self::Interruption { below, steps: steps.into() },
            Expect::Missed(Bound { below, steps }) => Self::Missed { below, steps: steps.into() },
            Expect::SameConnection(Held { is, steps }) => Self::SameConnection { is, steps: steps.into() },
            Expect::How(Held { is, steps }) => Self::How { is, steps: steps.into() },
            Expect::FirstPath { below } => Self::FirstPath { below },
            Expect::DirectPath { below } => Self::DirectPath { below },
            Expect::NoDirectPath(Nothing::None) => Self::NoDirectPath,
            Expect::RelayPath { below } => Self::RelayPath { below },
            Expect::Goodput { above } => Self::Goodput { above: record::BitRate(above.bits_per_second()) },
            Expect::Lost { below } => Self::Lost { below: Percent(below.percent()) },
            Expect::Verdict(verdict) => Self::Verdict { is: verdict.is, which: verdict.which() },
        }
    }
}

impl Expect {
    pub(crate) fn read(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let entry = reader::variant(node, &words::EXPECTATIONS, problems)?;
        let value = &entry.value;
        if let Some(missing) = missing(&entry.key, around) {
            let message = format!("`{}` is about {missing}, and there is none", entry.key);
            problems.push(Problem::new(message, entry.key_span, "nothing to measure"));
            return None;
        }
        match entry.key.as_str() {
            "interruption" => Bound::read(value, around, problems).map(Self::Interruption),
            "missed" => Bound::read(value, around, problems).map(Self::Missed),
            "same_connection" => {
                Held::read(value, reader::boolean, around, problems).map(Self::SameConnection)
            }
            "how" => Held::read(value, read_how, around, problems).map(Self::How),
            "first_path" => read_below(value, problems).map(|below| Self::FirstPath { below }),
            "direct_path" => match reader::unless_none(value, |value| read_below(value, problems))? {
                Some(below) => Some(Self::DirectPath { below }),
                None => Some(Self::NoDirectPath(Nothing::None)),
            },
            "relay_path" => read_below(value, problems).map(|below| Self::RelayPath { below }),
            "verdict" => Verdict::read(value, around, problems).map(Self::Verdict),
            "goodput" => read_above(value, problems).map(|above| Self::Goodput { above }),
            _ => read_share(value, problems).map(|below| Self::Lost { below }),
        }
    }
}

impl Bound {
    fn read(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::BOUND_OF_STEPS, problems)?;
        let below = table.require("below", problems);
        let below = below.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        let steps = MeantSteps::read(&table, around, problems);
        Some(Self { below: below?, steps: steps? })
    }
}

impl<T> Held<T> {
    /// A word alone, or with the steps that it is about.
    fn read(
        node: &Node,
        read: impl FnOnce(&Node, &mut Problems) -> Option<T>,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return Some(Self { is: read(node, problems)?, steps: MeantSteps::default() });
        }
        let table = Table::open(node, &words::HELD, problems)?;
        let is = table.require("is", problems).and_then(|node| read(node, problems));
        let steps = MeantSteps::read(&table, around, problems);
        Some(Self { is: is?, steps: steps? })
    }
}

fn read_how(node: &Node, problems: &mut Problems) -> Option<How> {
    reader::word(node, &words::HOW, problems).map(how)
}

/// What an expectation is about, when the scenario has nothing of the kind.
fn missing(key: &str, around: &Surroundings<'_>) -> Option<&'static str> {
    match key {
        "interruption" | "missed" | "same_connection" | "how"
            if around.timeline.is_some_and(<[Step]>::is_empty) =>
        {
            Some("the steps of the timeline")
        }
        "missed" => around.workload.is_some_and(|sent| sent.call.is_none()).then_some("the call"),
        "goodput" => around.workload.is_some_and(|sent| sent.bulk.is_none()).then_some("the bulk transfer"),
        "verdict" => around.workload.is_some_and(|sent| sent.probe.is_none()).then_some("the probe"),
        "lost" => around.workload.is_some_and(|sent| sent.call.is_none()).then_some("the call"),
        _ => None,
    }
}

fn read_below(node: &Node, problems: &mut Problems) -> Option<Duration> {
    let table = Table::open(node, &words::BELOW, problems)?;
    let below = table.require("below", problems)?;
    reader::value(below, "a duration", parse_duration, problems)
}

fn read_above(node: &Node, problems: &mut Problems) -> Option<BitRate> {
    let table = Table::open(node, &words::ABOVE, problems)?;
    let above = table.require("above", problems)?;
    reader::value(above, "a rate", parse_bit_rate, problems)
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
