//! Two arms of ours beside each other: the same network and timeline, and the same seeds, so that each run has a partner
//! that met the same loss and jitter.

use super::{Row, Run, Verdict};
use record::statistics::{MedianInterval, median, median_interval};
use std::collections::BTreeMap;

/// Fewer pairs of runs cannot show a difference with 95 %.
const FEWEST_PAIRS: usize = 6;

/// What has to be the same for two arms to be in one network and to carry the same: the beginnings of the settings' paths.
const SHARED: [&str; 6] = ["hosts.", "networks.", "servers", "timeline", "duration", "peers.client.workload"];

/// A figure of a run, and which side of it is the good one.
struct Measured {
    id: String,
    unit: &'static str,
    lower_is_better: bool,
    value: f64,
}

/// Sets one arm beside the baseline: a row for each figure that both have.
pub(crate) fn compare(arm: &[&Run], baseline: &[&Run]) -> Vec<Row> {
    let of = |runs: &[&Run]| -> BTreeMap<u64, Vec<Measured>> {
        runs.iter().filter(|run| run.results.valid).map(|run| (run.results.seed, measured(run))).collect()
    };
    let (ours, theirs) = (of(arm), of(baseline));
    let other_network = arm.first().zip(baseline.first()).and_then(|(one, other)| other_network(one, other));
    let mut pairs: BTreeMap<String, Vec<(&Measured, &Measured)>> = BTreeMap::new();
    for (seed, figures) in &ours {
        let Some(others) = theirs.get(seed) else { continue };
        for figure in figures {
            let other = others.iter().find(|other| other.id == figure.id);
            pairs.entry(figure.id.clone()).or_default().extend(other.map(|other| (figure, other)));
        }
    }
    pairs.into_iter().map(|(id, pairs)| row(id, &pairs, other_network.as_deref())).collect()
}

fn row(id: String, pairs: &[(&Measured, &Measured)], other_network: Option<&str>) -> Row {
    let differences: Vec<f64> = pairs.iter().map(|(ours, theirs)| ours.value - theirs.value).collect();
    let values = |of: fn(&(&Measured, &Measured)) -> f64| median(&pairs.iter().map(of).collect::<Vec<_>>());
    let (ours, theirs) = (values(|(ours, _)| ours.value), values(|(_, theirs)| theirs.value));
    let unit = pairs.first().map_or("", |(ours, _)| ours.unit);
    let lower_is_better = pairs.first().is_none_or(|(ours, _)| ours.lower_is_better);
    let interval = median_interval(&differences);
    let difference = median(&differences);
    let number = |value: f64| super::reference::Unit::Milliseconds.number(value);
    let shown = |value: Option<f64>| {
        value.map_or("not measured".to_owned(), |value| format!("{} {unit}", number(value)))
    };
    let paired = difference.zip(interval).map(|(difference, interval)| {
        let spread = super::spread(&interval, number);
        format!("; difference {} {unit} ({spread}; {} seeds)", number(difference), pairs.len())
    });
    let (verdict, why) = match (other_network, interval) {
        (Some(path), _) => (Verdict::NotComparable, Some(format!("the arms differ in `{path}`"))),
        _ if pairs.len() < FEWEST_PAIRS => {
            let why = format!("{FEWEST_PAIRS} runs of the same seeds are needed, {} are there", pairs.len());
            (Verdict::NotTested, Some(why))
        }
        (None, Some(MedianInterval { low, high, .. })) if low > 0.0 || high < 0.0 => {
            (if (high < 0.0) == lower_is_better { Verdict::Better } else { Verdict::Worse }, None)
        }
        _ => (Verdict::Compatible, Some("no difference is shown".to_owned())),
    };
    Row {
        id,
        subject: "baseline".to_owned(),
        theirs: shown(theirs),
        ours: format!("{}{}", shown(ours), paired.unwrap_or_default()),
        unit: Some(unit.to_owned()),
        median: difference,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n: pairs.len(),
        verdict,
        why,
        setup: "the same network, timeline and seeds".to_owned(),
        source: "runs of the baseline".to_owned(),
        quality: None,
        comparable_if: None,
        conflicts_with: vec![],
    }
}

/// The first setting of these that is not the same.
fn other_network(one: &Run, other: &Run) -> Option<String> {
    let is_shared = |path: &str| SHARED.iter().any(|beginning| path.starts_with(beginning));
    let paths = one.settings.keys().chain(other.settings.keys()).filter(|path| is_shared(path));
    { paths }.find(|path| one.settings.get(*path) != other.settings.get(*path)).cloned()
}

fn measured(run: &Run) -> Vec<Measured> {
    let metrics = &run.results.metrics;
    let time = |id: String, value: Option<record::Millis>| {
        Some(Measured { id, unit: "ms", lower_is_better: true, value: value?.as_f64() })
    };
    let mut all = vec![time("first_path_ms".to_owned(), metrics.first_path_ms)];
    // What is only a lower bound is no sample.
    for step in metrics.disturbances.iter().filter(|step| step.censored.is_none()) {
        all.push(time(format!("disturbances.{}.missed_ms", step.step), step.missed_ms()));
        all.push(time(format!("disturbances.{}.interruption_ms", step.step), step.interruption_ms));
    }
    all.extend(metrics.bulk.as_ref().map(|bulk| {
        let rate = bulk.goodput_bit_s? as f64 / 1e6;
        Some(Measured { id: "bulk.goodput".to_owned(), unit: "Mbit/s", lower_is_better: false, value: rate })
    }));
    all.into_iter().flatten().collect()
}
