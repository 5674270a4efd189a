//! When a process of ours stood still, or the network model was late: silence that is no network's.

use super::log::Log;
use crate::{DisturbanceMetrics, EventKind, Millis};
use std::ops::Range;

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

/// Why figures may not be used: the harness stood still for more than 20 ms and a tenth of an interruption.
pub(super) fn invalid_why(disturbances: &[DisturbanceMetrics]) -> Option<String> {
    let is_spoilt = |step: &&DisturbanceMetrics| {
        let part = step.interruption_ms.map_or(0, |silent| silent.as_ns() / TOLERATED_PART);
        step.harness_ms.as_ns() > part.max(TOLERATED_NS)
    };
    let spoilt = disturbances.iter().filter(is_spoilt);
    let reasons: Vec<String> = spoilt
        .map(|step| format!("harness: stood still for {} after `{}`", step.harness_ms, step.what))
        .collect();
    (!reasons.is_empty()).then(|| reasons.join("; "))
}
