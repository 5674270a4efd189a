//! What one direction of a link does to packets besides delaying and pacing them: jitter, queue, loss, reordering.

use super::{
    diagnostic::{Problem, Problems},
    meaning::{self, DISTRIBUTIONS, ORDERS, word},
    quantity::{
        self, Percentage, format_byte_size, format_duration, parse_byte_size, parse_duration,
        parse_percentage,
    },
    reader::{self, Table},
    words,
    yaml::{Node, Value},
};
use netmodel::{
    ByteSize, CoDelSpec, GilbertElliott, JitterDistribution, LinkSpec, LossPattern, Order, Probability,
    QueueDiscipline,
};
use serde::{Serialize, Serializer};
use std::{fmt, time::Duration};

/// How the delay varies: a duration, or how far and in which way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Jitter {
    pub(crate) by: Duration,
    pub(crate) distribution: JitterDistribution,
    pub(crate) order: Order,
}

impl Jitter {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if !is_map(node) {
            let by = reader::value(node, "a duration", parse_duration, problems)?;
            return Some(Self { by, ..Self::default() });
        }
        let table = Table::open(node, &words::JITTER, problems)?;
        let by = table.require("by", problems);
        let by = by.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        let distribution = match table.get("distribution") {
            Some(node) => meaning::read(node, &words::JITTER_DISTRIBUTION, &DISTRIBUTIONS, problems),
            None => Some(JitterDistribution::default()),
        };
        let order = match table.get("order") {
            Some(node) => meaning::read(node, &words::JITTER_ORDER, &ORDERS, problems),
            None => Some(Order::default()),
        };
        Some(Self { by: by?, distribution: distribution?, order: order? })
    }
}

impl Serialize for Jitter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written<'a> {
            by: &'a str,
            distribution: &'a str,
            order: &'a str,
        }
        let Self { by, distribution, order } = self;
        let by = format_duration(*by);
        if (*distribution, *order) == Default::default() {
            return serializer.serialize_str(&by);
        }
        let (distribution, order) = (word(&DISTRIBUTIONS, distribution), word(&ORDERS, order));
        Written { by: &by, distribution, order }.serialize(serializer)
    }
}

/// Beside a delay.
impl fmt::Display for Jitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A uniform delay is added, from nothing to the whole; the others have their middle at the delay itself.
        let from = if self.distribution == JitterDistribution::Uniform { "+ 0 to " } else { "+-" };
        write!(f, "{from}{}", format_duration(self.by))?;
        if self.distribution != JitterDistribution::default() {
            write!(f, " {}", word(&DISTRIBUTIONS, &self.distribution))?;
        }
        match self.order {
            Order::Kept => Ok(()),
            Order::Free => f.write_str(" in any order"),
        }
    }
}

/// What waits for the rate or the trace: a size, a time, or a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Queue {
    pub(crate) size: ByteSize,
    pub(crate) time: Option<Duration>,
    pub(crate) discipline: QueueDiscipline,
}

impl Default for Queue {
    fn default() -> Self {
        Self { size: LinkSpec::DEFAULT_QUEUE, time: None, discipline: QueueDiscipline::DropTail }
    }
}

impl Queue {
    /// Of a queue that only a time bounds; more than the packets that the model lets wait on a link.
    const NO_BOUND: ByteSize = ByteSize(64 << 20);

    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if is_map(node) {
            return Self::read_map(node, problems);
        }
        if let Value::Scalar { text } = &node.value
            && let Ok(time) = parse_duration(text)
        {
            return Some(Self { size: Self::NO_BOUND, time: Some(time), ..Self::default() });
        }
        let size = reader::value(node, "a size or a time", parse_byte_size, problems)?;
        Some(Self { size, ..Self::default() })
    }

    fn read_map(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::QUEUE, problems)?;
        let size = match table.get("size") {
            Some(node) => reader::value(node, "a size", parse_byte_size, problems).map(Some),
            None => Some(None),
        };
        let mut duration = |key: &str| match table.get(key) {
            Some(node) => reader::value(node, "a duration", parse_duration, problems).map(Some),
            None => Some(None),
        };
        let (time, target, interval) = (duration("time"), duration("target"), duration("interval"));
        let discipline = match table.get("discipline") {
            Some(node) => reader::word(node, &words::QUEUE_DISCIPLINE, problems),
            None => Some("drop-tail"),
        };
        let (time, target, interval, discipline) = (time?, target?, interval?, discipline?);
        let discipline = match discipline {
            "codel" => {
                let usual = CoDelSpec::default();
                let (target, interval) = (target.unwrap_or(usual.target), interval.unwrap_or(usual.interval));
                QueueDiscipline::CoDel(CoDelSpec { target, interval })
            }
            _ => {
                let codels = table.entry("target").or(table.entry("interval"));
                if let Some(entry) = codels {
                    let message = format!("`{}` is CoDel's, and this queue has none", entry.key);
                    let help = "add `discipline: codel`";
                    problems.push(Problem::new(message, entry.key_span, "without CoDel").help(help));
                    return None;
                }
                QueueDiscipline::DropTail
            }
        };
        let without = if time.is_some() { Self::NO_BOUND } else { Self::default().size };
        Some(Self { size: size?.unwrap_or(without), time, discipline })
    }
}

impl Serialize for Queue {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Written {
            size: String,
            #[serde(skip_serializing_if = "Option::is_none")]
            time: Option<String>,
            discipline: &'static str,
            #[serde(skip_serializing_if = "Option::is_none")]
            target: Option<String>,
            #[serde(skip_serializing_if = "Option::is_none")]
            interval: Option<String>,
        }
        let Self { size, time, discipline } = *self;
        let size = format_byte_size(size);
        let (word, codel) = match discipline {
            QueueDiscipline::DropTail if time.is_none() => return serializer.serialize_str(&size),
            QueueDiscipline::DropTail => ("drop-tail", None),
            QueueDiscipline::CoDel(codel) => ("codel", Some(codel)),
        };
        let target = codel.map(|codel| format_duration(codel.target));
        let interval = codel.map(|codel| format_duration(codel.interval));
        Written { size, time: time.map(format_duration), discipline: word, target, interval }
            .serialize(serializer)
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.time {
            Some(time) if self.size == Self::NO_BOUND => write!(f, "queue of {}", format_duration(time))?,
            Some(time) => {
                write!(f, "queue of {} and {}", format_byte_size(self.size), format_duration(time))?;
            }
            None => write!(f, "queue of {}", format_byte_size(self.size))?,
        }
        match self.discipline {
            QueueDiscipline::DropTail => Ok(()),
            QueueDiscipline::CoDel(_) => f.write_str(" with CoDel"),
        }
    }
}

/// What is lost: a percentage, `{bursts: ...}` or `{pattern: ...}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Loss {
    Bursts(Bursts),
    /// A point for each packet that is carried, an `x` for each that is lost, over and over.
    Pattern(String),
    #[serde(untagged)]
    Independent(Percentage),
}

/// The chances of Gilbert and Elliott.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Bursts {
    pub(crate) to_bad: Percentage,
    pub(crate) to_good: Percentage,
    pub(crate) loss_in_good: Percentage,
    pub(crate) loss_in_bad: Percentage,
}

impl Default for Loss {
    fn default() -> Self {
        Self::Independent(Percentage::NONE)
    }
}

impl Loss {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        if !is_map(node) {
            return percentage(node, problems).map(Self::Independent);
        }
        let entry = reader::variant(node, &words::LOSS, problems)?;
        match entry.key.as_str() {
            "bursts" => Bursts::read(&entry.value, problems).map(Self::Bursts),
            _ => {
                let pattern = reader::text(&entry.value, "a pattern", problems)?;
                if lost_by(pattern).is_some() {
                    return Some(Self::Pattern(pattern.to_owned()));
                }
                let message = format!("`{pattern}` is no pattern of losses");
                let help = "`.` for a packet that is carried and `x` for one that is lost, such as `....x`; \
                            at most a million";
                problems.push(Problem::new(message, entry.value.span, "not a pattern").help(help));
                None
            }
        }
    }

    pub(super) fn lower(&self) -> netmodel::Loss {
        match self {
            Self::Independent(Percentage::NONE) => netmodel::Loss::None,
            Self::Independent(share) => netmodel::Loss::Independent(probability(*share)),
            Self::Bursts(bursts) => netmodel::Loss::GilbertElliott(GilbertElliott {
                to_bad: probability(bursts.to_bad),
                to_good: probability(bursts.to_good),
                loss_in_good: probability(bursts.loss_in_good),
                loss_in_bad: probability(bursts.loss_in_bad),
            }),
            Self::Pattern(pattern) => lost_by(pattern).map_or(netmodel::Loss::None, netmodel::Loss::Pattern),
        }
    }
}

/// None for what is no pattern.
fn lost_by(pattern: &str) -> Option<LossPattern> {
    let lost = pattern.chars().map(|mark| match mark {
        '.' => Some(false),
        'x' => Some(true),
        _ => None,
    });
    LossPattern::new(lost.collect::<Option<Vec<bool>>>()?)
}

impl Bursts {
    fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::BURSTS, problems)?;
        let to_bad = table.require("to_bad", problems).and_then(|node| percentage(node, problems));
        let to_good = table.require("to_good", problems).and_then(|node| percentage(node, problems));
        let mut or = |key: &str, without: Percentage| {
            table.get(key).map_or(Some(without), |node| percentage(node, problems))
        };
        let loss_in_good = or("loss_in_good", Percentage::NONE);
        let loss_in_bad = or("loss_in_bad", Percentage::ALL);
        Some(Self {
            to_bad: to_bad?,
            to_good: to_good?,
            loss_in_good: loss_in_good?,
            loss_in_bad: loss_in_bad?,
        })
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Independent(share) => write!(f, "loses {share}"),
            Self::Bursts(bursts) => write!(f, "loses bursts ({} to {})", bursts.to_bad, bursts.to_good),
            Self::Pattern(pattern) => {
                let lost = pattern.chars().filter(|mark| *mark == 'x').count();
                write!(f, "loses {lost} of {} by plan", pattern.len())
            }
        }
    }
}

/// Packets held back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Reorder {
    pub(crate) share: Percentage,
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) by: Duration,
}

impl Reorder {
    pub(super) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::REORDER, problems)?;
        let share = table.require("share", problems).and_then(|node| percentage(node, problems));
        let by = table.require("by", problems);
        let by = by.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        Some(Self { share: share?, by: by? })
    }

    pub(super) fn lower(&self) -> netmodel::Reorder {
        netmodel::Reorder { probability: probability(self.share), by: self.by }
    }
}

pub(super) fn percentage(node: &Node, problems: &mut Problems) -> Option<Percentage> {
    reader::value(node, "a percentage", parse_percentage, problems)
}

pub(super) fn probability(share: Percentage) -> Probability {
    Probability::per_billion(share.per_billion()).unwrap_or(Probability::ALWAYS)
}

fn is_map(node: &Node) -> bool {
    matches!(node.value, Value::Map(_))
}
