//! When a process of ours stood still, or the network model was late: silence that is no network's.

use super::{HORIZON, log::Log};
use crate::{DisturbanceMetrics, EventKind, Millis};
use std::{collections::BTreeSet, ops::Range};

const MS: i64 = 1_000_000;
/// So late a delivery is still within the bounds of a valid run.
const TOLERATED_LATE_NS: i64 = 20 * MS;
/// So much of it leaves a figure the network's.
const TOLERATED_NS: i64 = 20 * MS;
/// ... and so large a part of the interruption: a tenth.
const TOLERATED_PART: i64 = 10;

/// The times that the harness stood still, whichever process it was.
#[derive(Debug)]
pub(super) struct Stalls {
    /// Apart from each other, in order of time.
    spans: Vec<Range<i64>>,
}

impl Stalls {
    pub(super) fn new(log: &Log<'_>) -> Self {
        let spans = log.all().filter_map(|event| match event.what {
            EventKind::Stall { from_ns, to_ns, .. } => Some(from_ns..to_ns),
            // The latest packet left by now; what is tolerated of its lateness is not counted.
            EventKind::LinkSample { late_ns, .. } => {
                let due_ns = event.t_ns.saturating_sub(i64::try_from(late_ns).unwrap_or(i64::MAX));
                Some(due_ns..event.t_ns.saturating_sub(TOLERATED_LATE_NS))
            }
            _ => None,
        });
        Self { spans: union(spans.filter(|span| span.start < span.end).collect()) }
    }

    /// How much of a span the harness stood still.
    pub(super) fn within(&self, span: &Range<i64>) -> Millis {
        let overlaps = self.spans.iter().map(|stall| {
            let (from, to) = (stall.start.max(span.start), stall.end.min(span.end));
            to.saturating_sub(from).max(0)
        });
        Millis::from_ns(overlaps.fold(0, i64::saturating_add))
    }
}

fn union(mut spans: Vec<Range<i64>>) -> Vec<Range<i64>> {
    spans.sort_by_key(|span| span.start);
    let mut apart: Vec<Range<i64>> = vec![];
    for span in spans {
        match apart.last_mut() {
            Some(last) if span.start <= last.end => last.end = last.end.max(span.end),
            _ => apart.push(span),
        }
    }
    apart
}

/// Why figures may not be used: the harness stood still for more than 20 ms and a tenth of an interruption, or a peer
/// began so late.
pub(super) fn invalid_why(log: &Log<'_>, disturbances: &[DisturbanceMetrics]) -> Option<String> {
    let is_spoilt = |step: &&DisturbanceMetrics| {
        let part = step.interruption_ms.map_or(0, |silent| silent.as_ns() / TOLERATED_PART);
        step.harness_ms.as_ns() > part.max(TOLERATED_NS)
    };
    let spoilt = disturbances.iter().filter(is_spoilt).map(|step| {
        let what = match processes(log, step, disturbances) {
            stalled if stalled.is_empty() => "the network model was late".to_owned(),
            stalled => format!("{} stood still", Vec::from_iter(stalled).join(" and ")),
        };
        format!("harness: {what} for {} after `{}`", step.harness_ms, step.what)
    });
    let reasons: Vec<String> = late_starts(log).chain(spoilt).collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// The processes that stood still after a step and before the next one.
fn processes<'a>(log: &Log<'a>, step: &DisturbanceMetrics, all: &[DisturbanceMetrics]) -> BTreeSet<&'a str> {
    let at_ns = step.at_ms.as_ns();
    let next_ns = all.iter().map(|other| other.at_ms.as_ns()).filter(|next| *next > at_ns).min();
    let horizon_ns = at_ns.saturating_add(HORIZON.as_nanos() as i64);
    let silent_ns = step.interruption_ms.map_or(at_ns, |silent| at_ns.saturating_add(silent.as_ns()));
    let until_ns = next_ns.unwrap_or(i64::MAX).min(horizon_ns).max(silent_ns);
    let stalled = log.all().filter_map(|event| match &event.what {
        EventKind::Stall { process, from_ns, to_ns } if *from_ns < until_ns && *to_ns > at_ns => {
            Some(process.as_str())
        }
        _ => None,
    });
    stalled.collect()
}

/// Figures that count from time zero have the lateness of a peer in them.
fn late_starts<'a>(log: &'a Log<'_>) -> impl Iterator<Item = String> + 'a {
    log.peers().filter(|event| matches!(event.what, EventKind::Started {})).filter_map(|event| {
        let late = event.t_ns > TOLERATED_LATE_NS;
        late.then(|| {
            format!("harness: {} started {} after time zero", event.host, Millis::from_ns(event.t_ns))
        })
    })
}
