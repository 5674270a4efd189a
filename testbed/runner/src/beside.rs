//! `testbed compare`, and the table at the end of a run: our runs beside the observations of others.

use crate::{
    compare::{
        self, Run,
        reference::{self, Reference, ReferenceError},
        table,
    },
    console,
    exit::Exit,
    past,
};
use std::path::{Path, PathBuf};

/// Compares run directories with the observations, all or those of one file.
pub(crate) fn compare(directories: &[PathBuf], against: Option<&Path>) -> Exit {
    let runs: Result<Vec<Run>, _> = directories.iter().map(|directory| past::read(directory)).collect();
    let runs = match runs {
        Ok(runs) => runs,
        Err(error) => return complain(&error),
    };
    match against.map_or_else(reference::embedded, reference::read) {
        Ok(references) => {
            for run in runs.iter().filter(|run| !run.results.valid) {
                let why = run.results.invalid_why.as_deref().unwrap_or("unknown");
                eprintln!("{} is left out, it is invalid: {why}", run.facts.run_dir);
            }
            console::print(&table::render(&compare::compare(&runs, &references), None));
            Exit::Success
        }
        Err(error) => complain(&error),
    }
}

fn complain(error: &dyn std::error::Error) -> Exit {
    eprintln!("error: {error}");
    Exit::Usage
}

/// The rows that a scenario answers, or that name it; none when there are none.
pub(crate) fn table(answers: &[String], runs: &[Run]) -> Result<Option<String>, ReferenceError> {
    let concerns = |reference: &Reference| {
        answers.contains(&reference.id) || runs.iter().any(|run| reference.stands_beside(run))
    };
    let references: Vec<Reference> = reference::embedded()?.into_iter().filter(concerns).collect();
    if references.is_empty() {
        return Ok(None);
    }
    Ok(Some(table::render(&compare::compare(runs, &references), None)))
}
