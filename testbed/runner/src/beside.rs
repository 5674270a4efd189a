//! `testbed compare`, and the table at the end of a run: our runs beside the observations of others.

use crate::{
    cli::{CompareArgs, FailOn},
    compare::{
        self, Row, Run, Verdict, baseline, groups,
        output::{self, Compared, Form},
        reference::{self, Reference, ReferenceError},
        table,
    },
    console,
    exit::Exit,
    past,
};
use std::path::PathBuf;
use thiserror::Error;

/// Runs could not be compared.
#[derive(Debug, Error)]
enum CompareError {
    #[error(transparent)]
    Run(#[from] past::PastError),
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    #[error("no run of the baseline is valid: {0}")]
    InvalidBaseline(String),
    #[error("the baseline is {count} different experiments ({differs}); name the runs of one")]
    Baselines { count: usize, differs: String },
}

/// Compares run directories with the observations, all or those of one file; or with a baseline of ours.
pub(crate) fn compare(args: &CompareArgs) -> Exit {
    match try_compare(args) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error}");
            Exit::Usage
        }
    }
}

fn try_compare(args: &CompareArgs) -> Result<Exit, CompareError> {
    let runs = read(&args.runs)?;
    let groups = groups(&runs);
    let compared: Vec<Compared<'_>> = match &args.baseline {
        Some(directory) => {
            let baseline = read(std::slice::from_ref(directory))?;
            if !baseline.iter().any(|run| run.results.valid) {
                let why = baseline.first().map(|run| output::why(run).to_owned()).unwrap_or_default();
                return Err(CompareError::InvalidBaseline(why));
            }
            let arms = compare::groups(&baseline);
            let [arm] = arms.as_slice() else {
                let differs = arms.first().map(compare::Group::differences).unwrap_or_default();
                return Err(CompareError::Baselines { count: arms.len(), differs });
            };
            let beside = |group: compare::Group<'_>| baseline::compare(&group.runs, &arm.runs);
            groups.into_iter().map(|group| Compared { rows: beside(group.clone()), group }).collect()
        }
        None => {
            let references = args.against.as_deref().map_or_else(reference::embedded, reference::read)?;
            let rows = |group: &compare::Group<'_>| compare::compare(&group.runs, &references);
            groups.into_iter().map(|group| Compared { rows: rows(&group), group }).collect()
        }
    };
    show(&compared, args.form());
    Ok(exit(&runs, compared.iter().flat_map(|one| &one.rows), args.fail_on))
}

fn exit<'a>(runs: &[Run], mut rows: impl Iterator<Item = &'a Row>, fail_on: Option<FailOn>) -> Exit {
    let unwanted = fail_on.map(|fail_on| match fail_on {
        FailOn::Contradicted => Verdict::Contradicted,
        FailOn::Worse => Verdict::Worse,
    });
    if !runs.iter().any(|run| run.results.valid) {
        Exit::Invalid
    } else if rows.any(|row| Some(row.verdict) == unwanted) {
        Exit::Failed
    } else {
        Exit::Success
    }
}

fn show(compared: &[Compared<'_>], form: Form) {
    match form {
        Form::Json => console::print(&output::json(compared)),
        Form::Csv => console::print(&output::csv(compared)),
        Form::Markdown => console::print(&output::markdown(compared)),
        Form::Text => {
            for one in compared {
                if compared.len() > 1 {
                    console::print(&format!("{}\n", one.group.heading()));
                }
                // There is nothing to judge, and every row would say so.
                match one.group.valid().next() {
                    Some(_) => console::print(&table::render(&one.rows, None)),
                    None => console::print("no valid run\n"),
                }
                if compared.len() > 1 {
                    console::print("\n");
                }
            }
        }
    }
    if form != Form::Json {
        for run in compared.iter().flat_map(|one| one.group.invalid()) {
            eprintln!("{} is left out, it is invalid: {}", run.facts.run_dir, output::why(run));
        }
    }
}

fn read(named: &[PathBuf]) -> Result<Vec<Run>, CompareError> {
    let directories = past::find(named)?;
    Ok(directories.iter().map(|directory| past::read(directory)).collect::<Result<_, _>>()?)
}

/// The rows that a scenario answers, or that name it; none when there are none. The runs are of one scenario.
pub(crate) fn table(answers: &[String], runs: &[Run]) -> Result<Option<String>, ReferenceError> {
    let concerns = |reference: &Reference| {
        answers.contains(&reference.id) || runs.iter().any(|run| reference.stands_beside(run))
    };
    let references: Vec<Reference> = reference::embedded()?.into_iter().filter(concerns).collect();
    if references.is_empty() {
        return Ok(None);
    }
    let runs: Vec<&Run> = runs.iter().collect();
    Ok(Some(table::render(&compare::compare(&runs, &references), None)))
}
