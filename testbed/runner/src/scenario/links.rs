//! `link`: the links of a network's interfaces, each direction by itself.

use super::{
    diagnostic::{Problem, Problems, Span},
    impairments::{Jitter, Loss, Queue, Reorder, percentage, probability},
    networks::Surroundings,
    quantity::{
        self, Percentage, format_bit_rate, format_byte_size, format_duration, parse_bit_rate,
        parse_byte_size, parse_duration,
    },
    radio::Radio,
    reader::{self, Table},
    traces::{TraceSource, Traces},
    words,
    yaml::{Node, Value},
};
use netmodel::{BitRate, Direction, LinkSpec, Mtu, TraceProblem};
use serde::Serialize;
use std::{fmt, time::Duration};

/// Both directions of a link, and the radio before them.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Link {
    pub(crate) down: LinkDirection,
    pub(crate) up: LinkDirection,
    #[serde(serialize_with = "reader::or_none")]
    pub(crate) radio: Option<Radio>,
}

/// One direction of a link.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct LinkDirection {
    /// One way.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) delay: Duration,
    pub(crate) jitter: Jitter,
    /// Without one and without a trace, unlimited; never both.
    #[serde(serialize_with = "quantity::bit_rate_or_none")]
    pub(crate) rate: Option<BitRate>,
    #[serde(serialize_with = "reader::or_none")]
    pub(crate) trace: Option<TraceSource>,
    pub(crate) queue: Queue,
    pub(crate) loss: Loss,
    pub(crate) duplicate: Percentage,
    #[serde(serialize_with = "reader::or_none")]
    pub(crate) reorder: Option<Reorder>,
    /// Of IP packets.
    #[serde(serialize_with = "quantity::mtu_or_none")]
    pub(crate) mtu: Option<Mtu>,
}

impl Link {
    /// What stands outside `down` and `up` holds for both, and what is not said is as in the base.
    pub(super) fn read(
        node: &Node,
        base: Option<&Self>,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<Self> {
        let table = Table::open(node, &words::LINK, problems)?;
        let directions = Self::read_directions(&table, base, around, problems);
        let base = base.and_then(|base| base.radio);
        let radio = match table.get("radio") {
            Some(node) => reader::unless_none(node, |node| Radio::read(node, base, problems)),
            None => Some(base),
        };
        let (down, up) = directions?;
        Some(Self { down, up, radio: radio? })
    }

    /// The keys of a link but for its radio, which nothing changes while a run lasts. Down, then up.
    pub(super) fn read_directions(
        table: &Table<'_>,
        base: Option<&Self>,
        around: &Surroundings<'_>,
        problems: &mut Problems,
    ) -> Option<(LinkDirection, LinkDirection)> {
        let both = LinkPatch::read(table, problems)?;
        let (trace_down, trace_up) = match table.get("trace") {
            Some(node) => read_traces(node, around, problems)?,
            None => (None, None),
        };
        let down = LinkPatch { trace: trace_down, ..both.clone() };
        let up = LinkPatch { trace: trace_up, ..both };
        if down.is_paced_twice() || up.is_paced_twice() {
            problems.push(paced_twice(table));
            return None;
        }
        let mut direction = |key: &str, outside: LinkPatch, base: Option<&LinkDirection>| {
            let own = match table.get(key) {
                Some(node) => LinkPatch::read_direction(node, around, problems)?,
                None => LinkPatch::default(),
            };
            own.paced_once().or(outside.paced_once()).complete(base, table.span(), key, problems)
        };
        let down = direction("down", down, base.map(|base| &base.down));
        let up = direction("up", up, base.map(|base| &base.up));
        down.zip(up)
    }
}

impl LinkDirection {
    /// As the model wants it, for one direction of a network and a run of this length.
    pub(super) fn lower(
        &self,
        seed: u64,
        network: &str,
        direction: Direction,
        run: Duration,
        traces: &mut Traces,
    ) -> Result<LinkSpec, TraceProblem> {
        let trace = self.trace.as_ref().map(|trace| trace.lower(seed, network, direction, run, traces));
        Ok(LinkSpec {
            delay: self.delay,
            jitter: self.jitter.by,
            jitter_distribution: self.jitter.distribution,
            order: self.jitter.order,
            rate: self.rate,
            trace: trace.transpose()?,
            queue: self.queue.size,
            queue_time: self.queue.time,
            discipline: self.queue.discipline,
            loss: self.loss.lower(),
            duplicate: probability(self.duplicate),
            reorder: self.reorder.map(|reorder| reorder.lower()),
            mtu: self.mtu,
        })
    }

    /// What it carries in the mean; none without a bound. A channel's mean is that of its good times.
    pub(crate) fn mean_rate(&self) -> Option<BitRate> {
        let of_trace = |trace: &TraceSource| match trace {
            TraceSource::Channel { channel, .. } => Some(channel.mean),
            TraceSource::File { trace, .. } => BitRate::per_second(trace.mean_bits_per_second()),
        };
        self.rate.or_else(|| self.trace.as_ref().and_then(of_trace))
    }
}

/// What it does, beginning with the delay; what it does not do is left out.
impl fmt::Display for LinkDirection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format_duration(self.delay))?;
        if !self.jitter.by.is_zero() {
            write!(f, " {}", self.jitter)?;
        }
        match (self.rate, &self.trace) {
            (Some(rate), _) => write!(f, ", {}", format_bit_rate(rate))?,
            (None, Some(trace)) => write!(f, ", trace {trace}")?,
            (None, None) => f.write_str(", no rate limit")?,
        }
        if self.queue != Queue::default() {
            write!(f, ", {}", self.queue)?;
        }
        if self.loss != Loss::default() {
            write!(f, ", {}", self.loss)?;
        }
        if self.duplicate != Percentage::NONE {
            write!(f, ", duplicates {}", self.duplicate)?;
        }
        if let Some(Reorder { share, by }) = self.reorder {
            write!(f, ", holds back {share} by {}", format_duration(by))?;
        }
        match self.mtu {
            Some(mtu) => write!(f, ", MTU {}", mtu.bytes()),
            None => Ok(()),
        }
    }
}

/// Both directions, once where they are alike.
pub(crate) fn phrase(down: &LinkDirection, up: &LinkDirection) -> String {
    let (down, up) = (down.to_string(), up.to_string());
    if up == down { format!("{up} each way") } else { format!("{up} up; {down} down") }
}

/// What one place says of a link. Where something can be switched off, the inner none says so.
#[derive(Debug, Clone, Default)]
struct LinkPatch {
    delay: Option<Duration>,
    jitter: Option<Jitter>,
    rate: Option<Option<BitRate>>,
    trace: Option<Option<TraceSource>>,
    queue: Option<Queue>,
    loss: Option<Loss>,
    duplicate: Option<Percentage>,
    reorder: Option<Option<Reorder>>,
    mtu: Option<Option<Mtu>>,
}

impl LinkPatch {
    /// All but the trace; none when something in it is wrong, and told.
    fn read(table: &Table<'_>, problems: &mut Problems) -> Option<Self> {
        let delay = key(table, "delay", |node| reader::value(node, "a duration", parse_duration, problems));
        let jitter = key(table, "jitter", |node| Jitter::read(node, problems));
        let rate = key(table, "rate", |node| {
            reader::unless_none(node, |node| reader::value(node, "a rate", parse_bit_rate, problems))
        });
        let queue = key(table, "queue", |node| Queue::read(node, problems));
        let loss = key(table, "loss", |node| Loss::read(node, problems));
        let duplicate = key(table, "duplicate", |node| percentage(node, problems));
        let reorder =
            key(table, "reorder", |node| reader::unless_none(node, |node| Reorder::read(node, problems)));
        let mtu = key(table, "mtu", |node| {
            reader::unless_none(node, |node| reader::value(node, "an MTU", parse_mtu, problems))
        });
        Some(Self {
            delay: delay?,
            jitter: jitter?,
            rate: rate?,
            trace: None,
            queue: queue?,
            loss: loss?,
            duplicate: duplicate?,
            reorder: reorder?,
            mtu: mtu?,
        })
    }

    /// What `down` or `up` says.
    fn read_direction(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::LINK_DIRECTION, problems)?;
        let patch = Self::read(&table, problems)?;
        let trace = key(&table, "trace", |node| read_trace(node, around, problems))?;
        let patch = Self { trace, ..patch };
        if patch.is_paced_twice() {
            problems.push(paced_twice(&table));
            return None;
        }
        Some(patch)
    }

    fn is_paced_twice(&self) -> bool {
        matches!((&self.rate, &self.trace), (Some(Some(_)), Some(Some(_))))
    }

    /// A rate takes the place of a trace that is said elsewhere, and the other way round.
    fn paced_once(self) -> Self {
        match (&self.rate, &self.trace) {
            (Some(Some(_)), None) => Self { trace: Some(None), ..self },
            (None, Some(Some(_))) => Self { rate: Some(None), ..self },
            _ => self,
        }
    }

    fn or(self, other: Self) -> Self {
        Self {
            delay: self.delay.or(other.delay),
            jitter: self.jitter.or(other.jitter),
            rate: self.rate.or(other.rate),
            trace: self.trace.or(other.trace),
            queue: self.queue.or(other.queue),
            loss: self.loss.or(other.loss),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            mtu: self.mtu.or(other.mtu),
        }
    }

    fn complete(
        self,
        base: Option<&LinkDirection>,
        span: Span,
        direction: &str,
        problems: &mut Problems,
    ) -> Option<LinkDirection> {
        let delay = self.delay.or(base.map(|base| base.delay));
        if delay.is_none() && direction == "down" {
            // Told once for both directions.
            let message = "a link needs a `delay` (one way, each direction)";
            problems.push(Problem::new(message, span, "needs `delay`").help("such as `delay: 4ms`"));
        }
        let base = base.cloned().unwrap_or_else(|| LinkDirection {
            delay: Duration::ZERO,
            jitter: Jitter::default(),
            rate: None,
            trace: None,
            queue: Queue::default(),
            loss: Loss::default(),
            duplicate: Percentage::NONE,
            reorder: None,
            mtu: None,
        });
        Some(LinkDirection {
            delay: delay?,
            jitter: self.jitter.unwrap_or(base.jitter),
            rate: self.rate.unwrap_or(base.rate),
            trace: self.trace.unwrap_or(base.trace),
            queue: self.queue.unwrap_or(base.queue),
            loss: self.loss.unwrap_or(base.loss),
            duplicate: self.duplicate.unwrap_or(base.duplicate),
            reorder: self.reorder.unwrap_or(base.reorder),
            mtu: self.mtu.unwrap_or(base.mtu),
        })
    }
}

/// An absent key is fine; one that is there and wrong is not.
fn key<T>(table: &Table<'_>, key: &str, read: impl FnOnce(&Node) -> Option<T>) -> Option<Option<T>> {
    match table.get(key) {
        Some(node) => read(node).map(Some),
        None => Some(None),
    }
}

fn paced_twice(table: &Table<'_>) -> Problem {
    let message = "a link is paced by a rate or by a trace, not by both";
    let span = table.entry("trace").map_or(table.span(), |entry| entry.key_span);
    let problem = Problem::new(message, span, "and a rate besides");
    problem.help("leave out one of them, or give them in `down` and `up`")
}

fn read_trace(
    node: &Node,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Option<TraceSource>> {
    reader::unless_none(node, |node| TraceSource::read(node, around.folder, problems))
}

/// What a direction's trace is, if it is said.
type TracePatch = Option<Option<TraceSource>>;

/// `{down, up}`, or one for both; two channels of one name have nothing in common.
fn read_traces(
    node: &Node,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<(TracePatch, TracePatch)> {
    if !matches!(node.value, Value::Map(_)) {
        let both = Some(read_trace(node, around, problems)?);
        return Some((both.clone(), both));
    }
    let table = Table::open(node, &words::TRACE, problems)?;
    let down = key(&table, "down", |node| read_trace(node, around, problems));
    let up = key(&table, "up", |node| read_trace(node, around, problems));
    down.zip(up)
}

fn parse_mtu(text: &str) -> Result<Mtu, String> {
    let size = parse_byte_size(text).map_err(|error| error.to_string())?;
    let mtu = u16::try_from(size.0).ok().and_then(Mtu::new);
    mtu.ok_or_else(|| format!("`{}` is no MTU: write 68B to 65535B", format_byte_size(size)))
}
