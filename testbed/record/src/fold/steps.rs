//! The steps of the timeline as they were applied, and the time that each is charged with.

use super::{HORIZON, log::Log};
use crate::{DisturbanceKind, Event, EventKind};
use std::ops::Range;

const HORIZON_NS: i64 = HORIZON.as_nanos() as i64;

/// A step as it was applied.
#[derive(Debug, Clone)]
pub(super) struct Step<'a> {
    /// Place in the timeline.
    pub(super) index: usize,
    /// The scenario's name for it.
    pub(super) name: Option<&'a str>,
    /// When it was applied and read back.
    pub(super) applied_ns: i64,
    pub(super) kind: DisturbanceKind,
    pub(super) host: Option<&'a str>,
    pub(super) interface: Option<&'a str>,
    network: Option<&'a str>,
    /// When it was to be applied: steps that share this instant share everything below.
    due_ns: i64,
    /// When the first step of this instant was applied and read back.
    pub(super) at_ns: i64,
    /// A step is logged once it was read back; a peer may see its effect a little earlier, but not before it was due.
    pub(super) effect_ns: i64,
    /// From here on effects are those of a later step, or the run is over.
    pub(super) until_ns: i64,
    /// When the steps of the next instant take effect.
    pub(super) next_ns: Option<i64>,
    /// When the steps of the previous instant took effect.
    previous_ns: Option<i64>,
}

impl Step<'_> {
    /// The scenario's words for it.
    pub(super) fn what(&self) -> String {
        let word = self.kind;
        match (self.host, self.interface, self.network) {
            (Some(host), Some(interface), Some(network)) => {
                format!("{word} {host}.{interface} to {network}")
            }
            (Some(host), Some(interface), None) => format!("{word} {host}.{interface}"),
            (Some(host), None, _) => format!("{word} {host}"),
            (None, _, Some(network)) => format!("{word} {network}"),
            (None, _, None) => word.to_string(),
        }
    }

    /// Takes something away.
    pub(super) fn is_loss(&self) -> bool {
        self.kind.is_loss()
    }

    /// What is due within it belongs to this step: up to 5 s or the next later step.
    pub(super) fn window(&self) -> Range<i64> {
        let horizon = self.at_ns.saturating_add(HORIZON_NS);
        self.effect_ns..self.next_ns.unwrap_or(i64::MAX).min(horizon)
    }

    /// The 5 s before it, as far as no earlier step disturbs them.
    pub(super) fn before(&self) -> Range<i64> {
        let horizon = self.effect_ns.saturating_sub(HORIZON_NS);
        self.previous_ns.unwrap_or(i64::MIN).max(horizon)..self.effect_ns
    }
}

/// The applied steps in order of time.
pub(super) fn steps<'a>(log: &Log<'a>) -> Vec<Step<'a>> {
    let mut steps: Vec<Step<'a>> = log.all().filter_map(step).collect();
    let mut instants: Vec<&mut [Step<'a>]> =
        steps.chunk_by_mut(|one, other| one.due_ns == other.due_ns).collect();
    let mut previous_ns = None;
    for steps in &mut instants {
        let at_ns = steps.iter().map(|step| step.applied_ns).min().unwrap_or_default();
        let effect_ns = steps.iter().map(|step| step.effect_ns).min().unwrap_or_default();
        for step in steps.iter_mut() {
            (step.at_ns, step.effect_ns, step.previous_ns) = (at_ns, effect_ns, previous_ns);
        }
        previous_ns = Some(effect_ns);
    }
    let mut next_ns = None;
    for steps in instants.iter_mut().rev() {
        for step in steps.iter_mut() {
            step.next_ns = next_ns;
            step.until_ns = next_ns.unwrap_or(log.end_ns()).max(step.at_ns);
        }
        next_ns = steps.first().map(|step| step.effect_ns);
    }
    steps
}

fn step(event: &Event) -> Option<Step<'_>> {
    let EventKind::Disturbance { index, name, what, target_host, target_interface, target_network, due_t_ns } =
        &event.what
    else {
        return None;
    };
    Some(Step {
        index: *index,
        name: name.as_deref(),
        applied_ns: event.t_ns,
        kind: *what,
        host: target_host.as_deref(),
        interface: target_interface.as_deref(),
        network: target_network.as_deref(),
        due_ns: *due_t_ns,
        at_ns: event.t_ns,
        effect_ns: (*due_t_ns).min(event.t_ns),
        until_ns: event.t_ns,
        next_ns: None,
        previous_ns: None,
    })
}
