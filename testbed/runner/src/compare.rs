//! Our runs beside what others measured: one row for each reference, with a verdict.
//!
//! [`compare()`] is pure: runs and references in, rows out. [`table::render`] shows them to people, and [`Row`]
//! serialises for programs. Left out: reading run directories, and statistics beyond median and spread.

pub(crate) mod measure;
pub(crate) mod reference;
pub(crate) mod table;

#[cfg(test)]
mod tests;

use measure::{BehaviourMeasure, Folds};
use record::{Results, RunFacts, fold::behaviour::Seen, statistics::median};
use reference::{Better, Claim, Figure, Reference};
use serde::Serialize;
use std::{collections::BTreeSet, fmt};

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
}

/// One reference, and our runs beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Row {
    /// The reference's id.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) subject: String,
    /// What they did or reached.
    pub(crate) theirs: String,
    /// What we did or reached.
    pub(crate) ours: String,
    /// How the two compare.
    pub(crate) verdict: Verdict,
    /// Valid runs that the verdict rests on.
    pub(crate) runs: usize,
    /// Conditions of theirs.
    pub(crate) setup: String,
    /// Where theirs is from.
    pub(crate) source: String,
    /// What is weak about the comparison.
    pub(crate) quality: Option<String>,
    /// References that contradict this one.
    pub(crate) conflicts_with: Vec<String>,
}

/// How ours compares with theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// Within the tolerance, or the same word.
    Matches,
    /// Beyond the tolerance, on the good side.
    Better,
    /// Beyond the tolerance, on the bad side.
    Worse,
    /// Different, and neither side is the good one; or a policy that claims to do the same does not.
    Differs,
    /// Different, by a policy that does not claim to do the same.
    DiffersByDesign,
    /// No valid run can stand beside it.
    NotTested,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Verdict::Matches => "matches",
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Differs => "differs",
            Verdict::DiffersByDesign => "differs (by design)",
            Verdict::NotTested => "not tested",
        })
    }
}

/// Sets runs beside references: a row for each reference, in their order.
pub(crate) fn compare(runs: &[Run], references: &[Reference]) -> Vec<Row> {
    references.iter().map(|reference| row(runs, reference)).collect()
}

fn row(runs: &[Run], reference: &Reference) -> Row {
    let outcome = outcome(runs, reference);
    Row {
        id: reference.id.clone(),
        subject: reference.subject.clone(),
        theirs: theirs(reference),
        ours: outcome.ours,
        verdict: outcome.verdict,
        runs: outcome.runs,
        setup: reference.setup.clone(),
        source: reference.source.clone(),
        quality: reference.quality.clone(),
        conflicts_with: reference.conflicts_with.clone(),
    }
}

fn theirs(reference: &Reference) -> String {
    match &reference.claim {
        Claim::Figure(figure) => format!("{}: {}", figure.shown(), reference.statement),
        Claim::Behaviour { .. } => reference.statement.clone(),
    }
}

/// Our half of a row.
struct Outcome {
    ours: String,
    verdict: Verdict,
    runs: usize,
}

impl Outcome {
    fn not_tested(why: &str) -> Self {
        Self { ours: why.to_owned(), verdict: Verdict::NotTested, runs: 0 }
    }
}

fn outcome(runs: &[Run], reference: &Reference) -> Outcome {
    let beside: Vec<&Run> = runs.iter().filter(|run| reference.stands_beside(run)).collect();
    if beside.is_empty() {
        return Outcome::not_tested("no run of a scenario that answers it");
    }
    let valid: Vec<&Run> = beside.into_iter().filter(|run| run.results.valid).collect();
    if valid.is_empty() {
        return Outcome::not_tested("invalid runs only");
    }
    // Where a policy claims to do as they did, its runs are the ones to judge.
    let claiming: Vec<&Run> =
        valid.iter().copied().filter(|run| reference.is_claimed_by(&run.policy)).collect();
    let by_design = claiming.is_empty();
    let judged = if by_design { valid } else { claiming };
    let outcome = match &reference.claim {
        Claim::Figure(figure) => figure_outcome(&judged, figure),
        Claim::Behaviour { word, measure } => behaviour_outcome(&judged, word, *measure),
    };
    // Without a claim a difference is no fault; being better or worse at something remains what it is.
    match outcome.verdict {
        Verdict::Differs if by_design => Outcome { verdict: Verdict::DiffersByDesign, ..outcome },
        _ => outcome,
    }
}

fn figure_outcome(runs: &[&Run], figure: &Figure) -> Outcome {
    let measured: Vec<(&Run, f64)> =
        runs.iter().filter_map(|run| Some((*run, figure.unit.of_base(figure.measure.of(run)?)))).collect();
    let mut values: Vec<f64> = measured.iter().map(|(_, value)| *value).collect();
    values.sort_by(f64::total_cmp);
    let (Some(median), [min, .., max] | [min @ max]) = (median(&values), values.as_slice()) else {
        return Outcome::not_tested(&format!("{}: not measured", figure.measure.phrase()));
    };
    let basis = basis(&measured.iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs.len());
    let unit = figure.unit;
    let spread = format!("median; {} to {} over ", unit.number(*min), unit.number(*max));
    let spread = if values.len() > 1 { spread } else { String::new() };
    Outcome {
        ours: format!("{} {} {unit} ({spread}{basis})", figure.measure.phrase(), unit.number(median)),
        verdict: figure.verdict(median),
        runs: values.len(),
    }
}

impl Figure {
    fn verdict(&self, ours: f64) -> Verdict {
        let (low, high) = self.accepted();
        match self.better {
            _ if (low..=high).contains(&ours) => Verdict::Matches,
            Better::None => Verdict::Differs,
            Better::Lower if ours < low => Verdict::Better,
            Better::Higher if ours > high => Verdict::Better,
            Better::Lower | Better::Higher => Verdict::Worse,
        }
    }
}

fn behaviour_outcome(runs: &[&Run], word: &str, measure: BehaviourMeasure) -> Outcome {
    let seen: Vec<(&Run, Seen)> = runs.iter().filter_map(|run| Some((*run, measure.of(run)?))).collect();
    let Some((_, first)) = seen.first() else {
        return Outcome::not_tested(&format!("{}: not seen", measure.phrase()));
    };
    let basis = basis(&seen.iter().map(|(run, _)| *run).collect::<Vec<_>>(), runs.len());
    // Where the runs disagree, what differs from theirs is what there is to tell.
    let told = seen.iter().map(|(_, seen)| seen).find(|seen| seen.word != word).unwrap_or(first);
    let same = seen.iter().filter(|(_, seen)| seen.word == told.word).count();
    let share = if same < seen.len() { format!("in {same} of {}, ", seen.len()) } else { String::new() };
    let detail = if told.detail.is_empty() { String::new() } else { format!(", {}", told.detail) };
    Outcome {
        ours: format!("{}: {}{detail} ({share}{basis})", measure.phrase(), told.word),
        verdict: if told.word == word { Verdict::Matches } else { Verdict::Differs },
        runs: seen.len(),
    }
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
