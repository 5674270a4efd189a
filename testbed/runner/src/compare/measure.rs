//! What of our runs a reference stands beside: figures of `results.json`, and folds over the events.

use super::{Run, reference::Dimension};
use record::{
    CandidateKind, DisturbanceKind, DisturbanceMetrics, Event, FlowMetrics, How, Millis, RunFacts,
    fold::behaviour::{self, Seen},
};
use serde::Deserialize;

/// Results of the folds over a run's events that references stand beside, so that a run needs no room for its events.
#[derive(Debug, Clone)]
pub(crate) struct Folds {
    standby_before_loss: Option<Seen>,
    fallback_kind: Option<Seen>,
    probing_after_loss: Option<Seen>,
    cellular_checked_before_loss: Option<Seen>,
    direct_ipv4_found: Option<Seen>,
    far_end_noticed_silence: Option<Millis>,
    liveness_interval: Option<Millis>,
}

impl Folds {
    pub(crate) fn new(events: &[Event], facts: &RunFacts) -> Self {
        Self {
            standby_before_loss: behaviour::standby_before_loss(events, facts),
            fallback_kind: behaviour::fallback_kind(events, facts),
            probing_after_loss: behaviour::probing_after_loss(events, facts),
            cellular_checked_before_loss: behaviour::cellular_checked_before_loss(events, facts),
            direct_ipv4_found: behaviour::direct_ipv4_found(events, facts),
            far_end_noticed_silence: behaviour::far_end_noticed_silence(events, facts),
            liveness_interval: behaviour::liveness_interval(events, facts),
        }
    }
}

/// The word after `measure:`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Measure {
    #[serde(rename = "metrics.first_path_ms")]
    FirstPath,
    #[serde(rename = "metrics.direct_path_ms")]
    DirectPath,
    #[serde(rename = "metrics.relay_path_ms")]
    RelayPath,
    #[serde(rename = "metrics.disturbances.interruption_ms")]
    Interruption,
    #[serde(rename = "metrics.disturbances.missed")]
    Missed,
    #[serde(rename = "metrics.disturbances.rebuild_ms")]
    Rebuild,
    #[serde(rename = "metrics.disturbances.detected_ms")]
    Detected,
    #[serde(rename = "fold.liveness_interval")]
    LivenessInterval,
    #[serde(rename = "metrics.call.packets_per_s")]
    PacketsPerSecond,
    #[serde(rename = "metrics.call.bit_rate")]
    BitRate,
    #[serde(rename = "fold.far_end_noticed_silence")]
    FarEndNoticedSilence,
    #[serde(rename = "fold.standby_before_loss")]
    StandbyBeforeLoss,
    #[serde(rename = "fold.fallback_kind")]
    FallbackKind,
    #[serde(rename = "fold.kind_after_return")]
    KindAfterReturn,
    #[serde(rename = "fold.probing_after_loss")]
    ProbingAfterLoss,
    #[serde(rename = "fold.cellular_checked_before_loss")]
    CellularCheckedBeforeLoss,
    #[serde(rename = "fold.direct_ipv4_found")]
    DirectIpv4Found,
}

impl Measure {
    /// As a number, where it is one.
    pub(crate) fn as_figure(self) -> Option<FigureMeasure> {
        Some(match self {
            Measure::FirstPath => FigureMeasure::FirstPath,
            Measure::DirectPath => FigureMeasure::DirectPath,
            Measure::RelayPath => FigureMeasure::RelayPath,
            Measure::Interruption => FigureMeasure::Interruption,
            Measure::Missed => FigureMeasure::Missed,
            Measure::Rebuild => FigureMeasure::Rebuild,
            Measure::Detected => FigureMeasure::Detected,
            Measure::LivenessInterval => FigureMeasure::LivenessInterval,
            Measure::PacketsPerSecond => FigureMeasure::PacketsPerSecond,
            Measure::BitRate => FigureMeasure::BitRate,
            Measure::FarEndNoticedSilence => FigureMeasure::FarEndNoticedSilence,
            _ => return None,
        })
    }

    /// As a word, where it is one.
    pub(crate) fn as_behaviour(self) -> Option<BehaviourMeasure> {
        Some(match self {
            Measure::StandbyBeforeLoss => BehaviourMeasure::StandbyBeforeLoss,
            Measure::FallbackKind => BehaviourMeasure::FallbackKind,
            Measure::KindAfterReturn => BehaviourMeasure::KindAfterReturn,
            Measure::ProbingAfterLoss => BehaviourMeasure::ProbingAfterLoss,
            Measure::CellularCheckedBeforeLoss => BehaviourMeasure::CellularCheckedBeforeLoss,
            Measure::DirectIpv4Found => BehaviourMeasure::DirectIpv4Found,
            _ => return None,
        })
    }
}

/// A number of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FigureMeasure {
    FirstPath,
    DirectPath,
    RelayPath,
    Interruption,
    Missed,
    Rebuild,
    Detected,
    LivenessInterval,
    PacketsPerSecond,
    BitRate,
    FarEndNoticedSilence,
}

impl FigureMeasure {
    /// What kind of quantity it is.
    pub(crate) fn dimension(self) -> Dimension {
        match self {
            FigureMeasure::PacketsPerSecond => Dimension::PacketRate,
            FigureMeasure::BitRate => Dimension::BitRate,
            _ => Dimension::Time,
        }
    }

    /// In a table, before the number.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            FigureMeasure::FirstPath => "first path",
            FigureMeasure::DirectPath => "direct path",
            FigureMeasure::RelayPath => "relay path",
            FigureMeasure::Interruption => "interruption",
            FigureMeasure::Missed => "missed media",
            FigureMeasure::Rebuild => "path built in",
            FigureMeasure::Detected => "loss noticed after",
            FigureMeasure::LivenessInterval => "checks every",
            FigureMeasure::PacketsPerSecond => "arriving",
            FigureMeasure::BitRate => "arriving payload",
            FigureMeasure::FarEndNoticedSilence => "far end noticed the silence after",
        }
    }

    /// Why a run may have no such number.
    pub(crate) fn why_not_measured(self) -> &'static str {
        match self {
            FigureMeasure::FirstPath => "no path was found",
            FigureMeasure::DirectPath => "no direct path was found",
            FigureMeasure::RelayPath => "no relayed path was found",
            FigureMeasure::Interruption => "nothing was lost, or nothing came any more",
            FigureMeasure::Missed => "nothing was lost, or nothing came any more",
            FigureMeasure::Rebuild => "no path was built after the loss",
            FigureMeasure::Detected => "nothing was lost, or nobody noticed",
            FigureMeasure::LivenessInterval => "the path in use was not checked twice before the loss",
            FigureMeasure::PacketsPerSecond | FigureMeasure::BitRate => "there was no call",
            FigureMeasure::FarEndNoticedSilence => "silence was not what the far end noticed first",
        }
    }

    /// In the base unit of its dimension: ms, packets/s, bit/s.
    pub(crate) fn of(self, run: &Run) -> Option<f64> {
        let metrics = &run.results.metrics;
        match self {
            FigureMeasure::FirstPath => time(metrics.first_path_ms),
            FigureMeasure::DirectPath => time(metrics.direct_path_ms),
            FigureMeasure::RelayPath => time(metrics.relay_path_ms),
            FigureMeasure::Interruption => time(largest(run, |loss| uncensored(loss, loss.interruption_ms))),
            FigureMeasure::Missed => time(largest(run, |loss| uncensored(loss, loss.missed_ms()))),
            FigureMeasure::Rebuild => time(largest(run, |loss| loss.rebuild_ms)),
            FigureMeasure::Detected => time(largest(run, |loss| loss.detected_ms)),
            FigureMeasure::LivenessInterval => time(run.folds.liveness_interval),
            FigureMeasure::PacketsPerSecond => slower(run, |flow| flow.packets_per_s),
            FigureMeasure::BitRate => slower(run, |flow| flow.bit_rate.map(|rate| rate as f64)),
            FigureMeasure::FarEndNoticedSilence => time(run.folds.far_end_noticed_silence),
        }
    }
}

/// A word for what a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BehaviourMeasure {
    StandbyBeforeLoss,
    FallbackKind,
    KindAfterReturn,
    ProbingAfterLoss,
    CellularCheckedBeforeLoss,
    DirectIpv4Found,
}

impl BehaviourMeasure {
    /// In a table, before the word.
    pub(crate) fn phrase(self) -> &'static str {
        match self {
            BehaviourMeasure::StandbyBeforeLoss => "standby before the loss",
            BehaviourMeasure::FallbackKind => "got over the loss by",
            BehaviourMeasure::KindAfterReturn => "when it was back",
            BehaviourMeasure::ProbingAfterLoss => "search after the loss",
            BehaviourMeasure::CellularCheckedBeforeLoss => "cellular checked before the loss",
            BehaviourMeasure::DirectIpv4Found => "direct IPv4 found",
        }
    }

    /// What the run did.
    pub(crate) fn of(self, run: &Run) -> Option<Seen> {
        let seen = match self {
            BehaviourMeasure::StandbyBeforeLoss => &run.folds.standby_before_loss,
            BehaviourMeasure::FallbackKind => &run.folds.fallback_kind,
            BehaviourMeasure::KindAfterReturn => return kind_after_return(run),
            BehaviourMeasure::ProbingAfterLoss => &run.folds.probing_after_loss,
            BehaviourMeasure::CellularCheckedBeforeLoss => &run.folds.cellular_checked_before_loss,
            BehaviourMeasure::DirectIpv4Found => &run.folds.direct_ipv4_found,
        };
        seen.clone()
    }
}

fn time(time: Option<Millis>) -> Option<f64> {
    time.map(Millis::as_f64)
}

/// The steps that took something away; what `up` does is another question.
fn losses(run: &Run) -> impl Iterator<Item = &DisturbanceMetrics> {
    run.results.metrics.disturbances.iter().filter(|step| step.is_loss())
}

/// How the first step that gave something back after a loss was taken: a word of [`record::How`], where `relay` also
/// says that one relayed path took the place of another.
fn kind_after_return(run: &Run) -> Option<Seen> {
    const RETURNS: [DisturbanceKind; 3] =
        [DisturbanceKind::Up, DisturbanceKind::CarrierOn, DisturbanceKind::Restore];
    let after_loss = run.results.metrics.disturbances.iter().skip_while(|step| !step.is_loss());
    let is_return = |step: &&DisturbanceMetrics| {
        let word = step.what.split(' ').next().unwrap_or_default();
        RETURNS.into_iter().any(|kind| kind.word() == word)
    };
    let step = { after_loss }.find(is_return)?;
    let path = |id: Option<u64>| run.results.metrics.paths.iter().find(|path| Some(path.id) == id);
    let detail = match (path(step.path_before), path(step.path_after)) {
        (_, None) => String::new(),
        (Some(before), Some(after)) if before.id != after.id => {
            format!("from {} to {}", before.local_interface, after.local_interface)
        }
        (_, Some(after)) => format!("on {}", after.local_interface),
    };
    let another = step.path_after.filter(|after| Some(*after) != step.path_before);
    let relayed = path(another).is_some_and(|after| after.kind == CandidateKind::Relay);
    let moved = matches!(step.how, How::Migrated | How::Multipath);
    let how = if moved && relayed { How::Relay } else { step.how };
    Some(Seen { word: how.to_string(), detail })
}

/// What is only a lower bound is no sample.
fn uncensored(step: &DisturbanceMetrics, figure: Option<Millis>) -> Option<Millis> {
    figure.filter(|_| step.censored.is_none())
}

/// One loss without a figure leaves the whole without one: the largest is not known then.
fn largest(run: &Run, figure: impl Fn(&DisturbanceMetrics) -> Option<Millis>) -> Option<Millis> {
    let each: Option<Vec<Millis>> = losses(run).map(figure).collect();
    each?.into_iter().max()
}

fn slower(run: &Run, figure: impl Fn(&FlowMetrics) -> Option<f64>) -> Option<f64> {
    let call = run.results.metrics.call.as_ref()?;
    Some(figure(&call.up)?.min(figure(&call.down)?))
}
