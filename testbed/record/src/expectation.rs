//! What a scenario expects of its run, and the pure judgement of it by the metrics.

use crate::{
    BlockingVerdict, DisturbanceMetrics, ExpectationVerdict, FlowMetrics, How, Metrics, Millis, Which,
};
use std::{fmt, time::Duration};

/// One entry of a scenario's `expect`.
#[derive(Debug, Clone, PartialEq)]
pub enum Expectation {
    /// The interruption stays below a bound.
    Interruption {
        /// The bound, exclusive.
        below: Duration,
        /// Which steps.
        steps: Steps,
    },
    /// The call's missed media stay below a bound, in the worse direction and at a budget of 60 ms.
    Missed {
        /// The bound, exclusive.
        below: Duration,
        /// Which steps.
        steps: Steps,
    },
    /// The steps leave (or do not leave) the QUIC connection in use.
    SameConnection {
        /// Whether they leave it.
        is: bool,
        /// Which steps.
        steps: Steps,
    },
    /// The steps are got over this way. Steps that only change a preference are not held to it, unless they are named or
    /// there are no others.
    How {
        /// Which way.
        is: How,
        /// Which steps.
        steps: Steps,
    },
    /// The first pair is usable before this time.
    FirstPath {
        /// The bound, exclusive.
        below: Duration,
    },
    /// The first pair without a relay is usable before this time.
    DirectPath {
        /// The bound, exclusive.
        below: Duration,
    },
    /// No pair without a relay is ever usable.
    NoDirectPath,
    /// The first relayed pair is usable before this time.
    RelayPath {
        /// The bound, exclusive.
        below: Duration,
    },
    /// Fewer of the call's datagrams are lost, in the worse direction.
    Lost {
        /// The bound, exclusive.
        below: Percent,
    },
    /// A transfer is faster.
    Goodput {
        /// The bound, exclusive.
        above: BitRate,
    },
    /// A blocking probe found this out.
    Verdict {
        /// What.
        is: BlockingVerdict,
        /// Of which pairs and directions: of every one that is meant, and of one at least.
        which: Which,
    },
}

/// The steps of the timeline that an expectation is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steps {
    /// Every step.
    Every,
    /// Those that the timeline has at a time.
    At {
        /// The time.
        at: Duration,
        /// Their places in the timeline.
        indices: Vec<usize>,
    },
    /// One step.
    Step {
        /// The scenario's word for it: its name or its place.
        word: String,
        /// Its place in the timeline.
        index: usize,
    },
}

impl Steps {
    /// What they did. None when one that is meant was not applied.
    fn of<'m>(&self, metrics: &'m Metrics) -> Option<Vec<&'m DisturbanceMetrics>> {
        let find = |index: &usize| metrics.disturbances.iter().find(|step| step.step == *index);
        match self {
            Steps::Every => Some(metrics.disturbances.iter().collect()),
            Steps::At { indices, .. } => indices.iter().map(find).collect(),
            Steps::Step { index, .. } => find(index).map(|step| vec![step]),
        }
    }
}

/// After the name of an expectation; empty for every step.
impl fmt::Display for Steps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Steps::Every => Ok(()),
            Steps::At { at, .. } => write!(f, " at {}", Millis::from(*at)),
            Steps::Step { word, .. } => write!(f, " of step {word}"),
        }
    }
}

/// Bits per second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BitRate(pub u64);

/// With the largest unit that leaves a number of 1 or more, to three digits after the point.
impl fmt::Display for BitRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e9, "Gbit/s"), (1e6, "Mbit/s"), (1e3, "kbit/s"), (1.0, "bit/s")];
        let rate = self.0 as f64;
        let (unit, name) = units.into_iter().find(|(unit, _)| rate >= *unit).unwrap_or((1.0, "bit/s"));
        let number = format!("{:.3}", rate / unit);
        write!(f, "{} {name}", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// A share of a whole.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percent(pub f64);

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = if self.0.fract() == 0.0 { 0 } else { 2 };
        write!(f, "{:.digits$} %", self.0)
    }
}

impl Expectation {
    /// Judges it. What was not measured does not hold, unless nothing is what is expected, and reads `none`.
    pub fn judge(&self, metrics: &Metrics) -> ExpectationVerdict {
        match *self {
            Expectation::Interruption { below, ref steps } => {
                let name = format!("interruption{steps}");
                time(&name, below, largest(metrics, steps, |step| step.interruption_ms))
            }
            Expectation::Missed { below, ref steps } => {
                let name = format!("missed{steps}");
                time(&name, below, largest(metrics, steps, DisturbanceMetrics::missed_ms))
            }
            Expectation::SameConnection { is, ref steps } => {
                let each = steps.of(metrics).unwrap_or_default();
                same(&format!("same_connection{steps}"), is, each.iter().map(|step| step.same_connection))
            }
            Expectation::How { is, ref steps } => {
                let each = disturbing(steps, metrics);
                same(&format!("how{steps}"), is, each.iter().map(|step| step.how))
            }
            Expectation::FirstPath { below } => time("first_path", below, metrics.first_path_ms),
            Expectation::DirectPath { below } => time("direct_path", below, metrics.direct_path_ms),
            Expectation::NoDirectPath => no_direct_path(metrics),
            Expectation::RelayPath { below } => time("relay_path", below, metrics.relay_path_ms),
            Expectation::Lost { below } => lost(metrics, below),
            Expectation::Goodput { above } => goodput(metrics, above),
            Expectation::Verdict { is, ref which } => {
                let meant = metrics.blocking.iter().filter(|one| which.means(one)).map(|one| one.verdict);
                same(&format!("verdict{which}"), is, meant)
            }
        }
    }
}

/// One step without a figure leaves the whole without one: the largest is not known then.
fn largest(
    metrics: &Metrics,
    steps: &Steps,
    figure: impl Fn(&DisturbanceMetrics) -> Option<Millis>,
) -> Option<Millis> {
    let each: Option<Vec<Millis>> = steps.of(metrics)?.into_iter().map(figure).collect();
    each?.into_iter().max()
}

fn disturbing<'m>(steps: &Steps, metrics: &'m Metrics) -> Vec<&'m DisturbanceMetrics> {
    let meant = steps.of(metrics).unwrap_or_default();
    let disturbing: Vec<_> = meant.iter().copied().filter(|step| !step.is_preference()).collect();
    if *steps == Steps::Every && !disturbing.is_empty() { disturbing } else { meant }
}

fn time(name: &str, below: Duration, measured: Option<Millis>) -> ExpectationVerdict {
    ExpectationVerdict {
        name: name.to_owned(),
        expected: format!("below {}", Millis::from(below)),
        measured: measured.map_or("none".to_owned(), |measured| measured.to_string()),
        ok: measured.is_some_and(|measured| measured < Millis::from(below)),
    }
}

fn no_direct_path(metrics: &Metrics) -> ExpectationVerdict {
    let measured = metrics.direct_path_ms;
    ExpectationVerdict {
        name: "direct_path".to_owned(),
        expected: "none".to_owned(),
        measured: measured.map_or("none".to_owned(), |measured| measured.to_string()),
        ok: measured.is_none(),
    }
}

/// Every one must be as expected; `measured` tells the first that is not.
fn same<T: Copy + PartialEq + fmt::Display>(
    name: &str,
    expected: T,
    measured: impl Iterator<Item = T> + Clone,
) -> ExpectationVerdict {
    let odd = measured.clone().find(|one| *one != expected);
    let shown = odd.or(measured.clone().next());
    ExpectationVerdict {
        name: name.to_owned(),
        expected: expected.to_string(),
        measured: shown.map_or("none".to_owned(), |one| one.to_string()),
        ok: odd.is_none() && shown.is_some(),
    }
}

fn lost(metrics: &Metrics, below: Percent) -> ExpectationVerdict {
    let worse = metrics.call.as_ref().and_then(|call| {
        let (up, down) = (share_lost(&call.up)?, share_lost(&call.down)?);
        Some(if up >= down { up } else { down })
    });
    ExpectationVerdict {
        name: "lost".to_owned(),
        expected: format!("below {below}"),
        measured: worse.map_or("none".to_owned(), |worse| worse.to_string()),
        ok: worse.is_some_and(|worse| worse < below),
    }
}

fn goodput(metrics: &Metrics, above: BitRate) -> ExpectationVerdict {
    let measured = metrics.bulk.as_ref().and_then(|bulk| bulk.goodput_bit_s).map(BitRate);
    ExpectationVerdict {
        name: "goodput".to_owned(),
        expected: format!("above {above}"),
        measured: measured.map_or("none".to_owned(), |measured| measured.to_string()),
        ok: measured.is_some_and(|measured| measured > above),
    }
}

fn share_lost(flow: &FlowMetrics) -> Option<Percent> {
    (flow.sent > 0).then(|| Percent(100.0 * flow.lost as f64 / flow.sent as f64))
}
