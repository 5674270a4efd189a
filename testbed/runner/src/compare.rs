//! Our runs beside what others measured: one row for each reference, with a verdict; and beside other runs of ours.
//!
//! Runs of different experiments are never pooled: [`groups()`] parts them by their resolved scenario, and [`compare()`]
//! sets one group beside the references. [`baseline`] sets two arms of ours beside each other, seed by seed. All of it is
//! pure: runs and references in, rows out; [`table`] and [`output`] show them. Left out: reading run directories.

pub(crate) mod baseline;
pub(crate) mod groups;
pub(crate) mod measure;
pub(crate) mod output;
pub(crate) mod reference;
pub(crate) mod table;
#[cfg(test)]
mod tests;

pub(crate) use groups::{Group, groups};

use measure::{BehaviourMeasure, FigureMeasure, Folds};
use record::{
    Results, RunFacts,
    fold::behaviour::Seen,
    statistics::{MedianInterval, median, median_interval},
};
use reference::{Claim, Figure, Reference, Unit};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::{self, Write as _},
};

/// One run, as its directory tells it. Its events are not here: a series of runs would keep all of them.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    /// `results.json`.
    pub(crate) results: Results,
    /// Of `events.jsonl`.
    pub(crate) folds: Folds,
    /// What the fold needs besides.
    pub(crate) facts: RunFacts,
    /// Path policy of the client.
    pub(crate) policy: String,
    /// The references that its scenario answers.
    pub(crate) answers: Vec<String>,
    /// Every value of the resolved scenario but the seed, by its path.
    pub(crate) settings: BTreeMap<String, serde_json::Value>,
    /// The networks of cellular interfaces.
    pub(crate) carriers: BTreeMap<String, Carrier>,
    /// One of its servers relays.
    pub(crate) has_relay: bool,
}

/// What is known of a network of cellular interfaces.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Carrier {
    /// The preset that it is, with nothing changed but its place, its delays to others and its radio.
    pub(crate) preset: Option<String>,
    /// Its delay comes of a radio model, and is no assumed constant.
    pub(crate) has_radio: bool,
}

/// One reference, or one figure of a baseline, and our runs beside it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Row {
    /// The reference's id.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) subject: String,
    /// What they did or reached.
    pub(crate) theirs: String,
    /// What we did or reached.
    pub(crate) ours: String,
    /// Of the three figures below; of a behaviour none.
    pub(crate) unit: Option<String>,
    /// Our median, one of our values.
    pub(crate) median: Option<f64>,
    /// An order-statistic interval of it.
    pub(crate) low: Option<f64>,
    pub(crate) high: Option<f64>,
    /// Valid runs of ours that the verdict rests on.
    pub(crate) n: usize,
    /// How the two compare.
    pub(crate) verdict: Verdict,
    /// Why it is not comparable, or was not tested.
    pub(crate) why: Option<String>,
    /// Conditions of theirs.
    pub(crate) setup: String,
    /// Where theirs is from.
    pub(crate) source: String,
    /// What is weak about the comparison.
    pub(crate) quality: Option<String>,
    /// What would make it comparable, or more so.
    pub(crate) comparable_if: Option<String>,
    /// References that contradict this one.
    pub(crate) conflicts_with: Vec<String>,
}

impl Row {
    /// The verdict, and why where that is not told by our half.
    pub(crate) fn judged(&self) -> String {
        match &self.why {
            Some(why) if !self.ours.starts_with(why) => format!("{}: {why}", self.verdict),
            _ => self.verdict.to_string(),
        }
    }
}

/// How ours compares with theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// A policy or set-up that claims to do as they did does: our median lies in their interval.
    Reproduced,
    /// A policy or set-up that claims to do as they did does not.
    Contradicted,
    /// Another policy; nothing speaks against it.
    Compatible,
    /// Another quantity, network or policy.
    #[serde(rename = "not comparable")]
    NotComparable,
    /// No valid run has a sample.
    #[serde(rename = "not tested")]
    NotTested,
    /// Than an arm of ours, seed by seed.
    Better,
    /// Than an arm of ours, seed by seed.
    Worse,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Reproduced => "reproduced",
            Verdict::Contradicted => "contradicted",
            Verdict::Compatible => "compatible",
            Verdict::NotComparable => "not comparable",
            Verdict::NotTested => "not tested",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
        })
    }
}

/// Sets the runs of one experiment beside references: a row for each reference, in their order.
pub(crate) fn compare(runs: &[&Run], references: &[Reference]) -> Vec<Row> {
    references.iter().map(|reference| row(runs, reference)).collect()
}

fn row(runs: &[&Run], reference: &Reference) -> Row {
    let Outcome { sample, verdict, why } = outcome(runs, reference);
    let Sample { ours, figures, n, .. } = sample;
    let (median, interval) = figures.unzip();
    Row {
        id: reference.id.clone(),
        subject: reference.subject.clone(),
        theirs: theirs(reference),
        ours,
        unit: match &reference.claim {
            Claim::Figure(figure) => Some(figure.unit.to_string()),
            Claim::Behaviour { .. } => None,
        },
        median,
        low: interval.map(|interval| interval.low),
        high: interval.map(|interval| interval.high),
        n,
        verdict,
        why,
        setup: reference.setup.clone(),
        source: reference.source.clone(),
        quality: reference.quality.clone(),
        comparable_if: reference.comparable_if.clone(),
        conflicts_with: reference.conflicts_with.clone(),
    }
}

fn theirs(reference: &Reference) -> String {
    let n = reference.n.map(|n| format!(", n = {n}")).unwrap_or_default();
    match &reference.claim {
        Claim::Figure(figure) => format!("{}{n}: {}", figure.shown(), reference.statement),
        Claim::Behaviour { .. } => reference.statement.clone(),
    }
}

/// Our half of a row.
struct Outcome {
    sample: Sample,
    verdict: Verdict,
    why: Option<String>,
}

/// What our runs show.
struct Sample {
    ours: String,
    /// Median and its interval, in the reference's unit.
    figures: Option<(f64, MedianInterval<f64>)>,
    /// Within their interval, or the same word.
    agrees: bool,
    /// Runs.
    n: usize,
}

impl Outcome {
    fn not_tested(why: String) -> Self {
        let sample = Sample { ours: why.clone(), figures: None, agrees: false, n: 0 };
        Self { sample, verdict: Verdict::NotTested, why: Some(why) }
    }

    /// A call that needed no new path missed something all the same: that stands beside the time to build one.
    fn beside(mut self, reference: &Reference, valid: &[&Run]) -> Self {
        let Claim::Figure(Figure { measure: FigureMeasure::Rebuild, .. }) = &reference.claim else {
            return self;
        };
        let missed: Vec<f64> = valid.iter().filter_map(|run| FigureMeasure::Missed.of(run)).collect();
        if let Some(missed) = median(&missed) {
            let _ = write!(self.sample.ours, "; the call missed {} ms", Unit::Milliseconds.number(missed));
        }
        self
    }
}

fn outcome(runs: &[&Run], reference: &Reference) -> Outcome {
    let beside: Vec<&Run> = runs.iter().copied().filter(|run| reference.stands_beside(run)).collect();
    if beside.is_empty() {
        return Outcome::not_tested("no run of a scenario that answers it".to_owned());
    }
    let valid: Vec<&Run> = beside.into_iter().filter(|run| run.results.valid).collect();
    let Some(first) = valid.first() else {
        return Outcome::not_tested("invalid runs only".to_owned());
    };
    let sample = match &reference.claim {
        Claim::Figure(figure) => figure_sample(&valid, figure),
        Claim::Behaviour { word, measure } => behaviour_sample(&valid, word, *measure),
    };
    let sample = match sample {
        Ok(sample) => sample,
        Err(why) => return Outcome::not_tested(why).beside(reference, &valid),
    };
    let other_policy = || format!("`{}` does not claim to do the same", first.policy);
    let (verdict, why) = match (reference.why_not_comparable(first), reference.is_claimed_by(&first.policy)) {
        (Some(why), _) => (Verdict::NotComparable, Some(why)),
        (None, true) if sample.agrees => (Verdict::Reproduced, None),
        (None, true) => (Verdict::Contradicted, None),
        (None, false) if sample.agrees => (Verdict::Compatible, None),
        (None, false) => (Verdict::NotComparable, Some(other_policy())),
    };
    Outcome { sample, verdict, why }
}

/// Or why no run shows it.
fn figure_sample(runs: &[&Run], figure: &Figure) -> Result<Sample, String> {
    let measured: Vec<(&Run, f64)> =
        runs.iter().filter_map(|run| Some((*run, figure.unit.of_base(figure.measure.of(run)?)))).collect();
    let values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
    let Some((median, interval)) = median(&values).zip(median_interval(&values)) else {
        return Err(figure.measure.why_not_measured().to_owned());
    };
    let basis = basis(&measured.iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs.len());
    let unit = figure.unit;
    let spread = if values.len() > 1 {
        format!("{}; ", spread(&interval, |value| unit.number(value)))
    } else {
        String::new()
    };
    Ok(Sample {
        ours: format!("{} {} {unit} ({spread}{basis})", figure.measure.phrase(), unit.number(median)),
        figures: Some((median, interval)),
        agrees: figure.holds(median),
        n: values.len(),
    })
}

/// `median; 40 to 900 with 88 %`
fn spread(interval: &MedianInterval<f64>, number: impl Fn(f64) -> String) -> String {
    let MedianInterval { low, high, confidence } = interval;
    format!("median; {} to {} with {:.0} %", number(*low), number(*high), confidence * 100.0)
}

/// Or why no run shows it.
fn behaviour_sample(runs: &[&Run], word: &str, measure: BehaviourMeasure) -> Result<Sample, String> {
    let seen: Vec<(&Run, Seen)> = runs.iter().filter_map(|run| Some((*run, measure.of(run)?))).collect();
    let Some((_, first)) = seen.first() else {
        return Err(format!("{}: not seen", measure.phrase()));
    };
    let basis = basis(&seen.iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs.len());
    // Where the runs disagree, what differs from theirs is what there is to tell.
    let told = seen.iter().map(|(_, seen)| seen).find(|seen| seen.word != word).unwrap_or(first);
    let same = seen.iter().filter(|(_, seen)| seen.word == told.word).count();
    let share = if same < seen.len() { format!("in {same} of {}, ", seen.len()) } else { String::new() };
    let detail = if told.detail.is_empty() { String::new() } else { format!(", {}", told.detail) };
    Ok(Sample {
        ours: format!("{}: {}{detail} ({share}{basis})", measure.phrase(), told.word),
        figures: None,
        agrees: told.word == word,
        n: seen.len(),
    })
}

/// How many runs the figure rests on, and how many more there were without it.
fn basis(runs: &[&Run], of: usize) -> String {
    let seeds: BTreeSet<u64> = runs.iter().map(|run| run.results.seed).collect();
    let count = runs.len();
    let missing = if count < of { format!("; {} more without it", of - count) } else { String::new() };
    match count {
        1 => format!("single run{missing}"),
        _ if seeds.len() == count => format!("{count} seeds{missing}"),
        _ => format!("{count} runs{missing}"),
    }
}
