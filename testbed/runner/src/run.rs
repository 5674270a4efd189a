//! `testbed run`: scenarios one after the other, each with all its seeds, and what became of them.

mod artefacts;
mod children;
mod clock;
mod collect;
mod evidence;
mod iceperf;
mod netns;
mod programs;
mod progress;
mod report;
mod servers;
mod signals;

use crate::{check, cli::RunArgs, compare, exit::Exit, past, scenario::Scenario};
pub(crate) use iceperf::Iceperf;
use lab::Rights;
use netns::{Ended, Order};
use programs::Programs;
pub(crate) use programs::{FOREIGN, Foreign};
use progress::Progress;
use record::{DirectoryError, Event, Results, RunDirectory};
use signals::Signals;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Error of a series, which ends it, or of one of its runs.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Iceperf(#[from] iceperf::IceperfError),
    #[error(transparent)]
    Program(#[from] programs::MissingProgram),
    #[error(transparent)]
    Rights(#[from] lab::RightsError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("cannot make a run directory in {out} (--out): {source}", out = .out.display())]
    Out { out: PathBuf, source: DirectoryError },
    #[error("cannot set the run up: {0}")]
    SetUp(#[from] netns::SetUpError),
    #[error("cannot watch for signals: {0}")]
    Signals(std::io::Error),
    #[error("cannot read back what the run recorded: {0}")]
    Past(#[from] past::PastError),
}

impl RunError {
    fn exit(&self) -> Exit {
        match self {
            Self::Iceperf(error) if error.is_argument() => Exit::Usage,
            Self::SetUp(netns::SetUpError::Interrupted(signal)) => Exit::Interrupted(*signal),
            Self::SetUp(netns::SetUpError::Record(_)) => Exit::Invalid,
            Self::Past(_) => Exit::Invalid,
            _ => Exit::Machine,
        }
    }
}

/// A scenario that was read, and its text.
struct Loaded {
    scenario: Scenario,
    text: String,
}

/// Runs everything that was asked for. The exit code is that of the worst run, in the order of [`Exit`]. A run that
/// cannot be set up is reported and counted, and the series goes on; what would hold for every run (no iceperf, no
/// rights, no place for results) ends it before the first.
pub(crate) fn run(args: &RunArgs) -> Exit {
    // After the others: the option is the last word.
    let amount = args.evidence.iter().flat_map(|amount| ["captures", "qlog"].map(|kind| (kind, amount)));
    let amount = amount.map(|(kind, amount)| format!("evidence.{kind}={amount}"));
    let sets: Vec<String> = args.set.iter().cloned().chain(amount).collect();
    let Some(loaded) = load_all(&args.files, &sets) else {
        if args.json {
            report::json(&[]);
        }
        return Exit::Usage;
    };
    let mut done = Vec::new();
    let exit = match run_all(args, &loaded, &mut done) {
        Ok(exit) => exit,
        Err(error) => {
            eprintln!("error: {error}");
            error.exit()
        }
    };
    if args.json {
        report::json(&done);
    }
    exit
}

/// All, or none when one is wrong: a mistake in the last file should not cost the time of the others.
fn load_all(files: &[PathBuf], sets: &[String]) -> Option<Vec<Loaded>> {
    let loaded: Vec<Option<Loaded>> = files
        .iter()
        .map(|file| check::load(file, sets).map(|(scenario, text)| Loaded { scenario, text }))
        .collect();
    loaded.into_iter().collect()
}

fn run_all(args: &RunArgs, loaded: &[Loaded], done: &mut Vec<Results>) -> Result<Exit, RunError> {
    let iceperf = Iceperf::find(args.iceperf.as_deref())?;
    let find = |one: &Loaded| Programs::find(&one.scenario);
    let programs = loaded.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    // Before any thread exists: a user namespace cannot be entered later.
    let mut rights = Some(lab::acquire(&args.tun)?);
    let signals = Signals::block().map_err(RunError::Signals)?;
    let progress = Progress::of(args.repeat.saturating_mul(loaded.len() as u64));
    let mut worst = Exit::Success;
    for (one, programs) in loaded.iter().zip(&programs) {
        let mut runs = Vec::new();
        for offset in 0..args.repeat {
            let seed = args.seed.unwrap_or(one.scenario.seed).wrapping_add(offset);
            let rights = match rights.take() {
                Some(rights) => rights,
                None => lab::acquire(&args.tun)?,
            };
            let surroundings =
                Surroundings { iceperf: &iceperf, programs, signals: &signals, progress: &progress };
            let Outcome { run, events, exit, error } = run_one(args, one, seed, rights, &surroundings)?;
            progress.advance();
            worst = worst.max(exit);
            if let Some(error) = &error {
                progress.aside(|| eprintln!("error: {}, seed {seed}: {error}", one.scenario.name));
            }
            if let Some(run) = run {
                done.push(run.results.clone());
                if !args.json && (error.is_none() || args.repeat > 1) {
                    progress.aside(|| report::run(&one.scenario, &run, &events, args.repeat));
                }
                runs.push(run);
            }
            if matches!(exit, Exit::Interrupted(_)) {
                break;
            }
        }
        if !args.json && args.repeat > 1 {
            progress.aside(|| report::summary(&one.scenario, &runs, args.repeat));
        }
        if matches!(worst, Exit::Interrupted(_)) {
            break;
        }
    }
    Ok(worst)
}

/// Outcome of one run of a series.
struct Outcome {
    /// What it left, also if it never started; none if that cannot be read back.
    run: Option<compare::Run>,
    /// Its events, which the series does not keep.
    events: Vec<Event>,
    exit: Exit,
    /// Why it never started, or left nothing that can be read.
    error: Option<RunError>,
}

/// What every run has.
struct Surroundings<'a> {
    iceperf: &'a Iceperf,
    programs: &'a Programs,
    signals: &'a Signals,
    progress: &'a Progress,
}

fn run_one(
    args: &RunArgs,
    loaded: &Loaded,
    seed: u64,
    rights: Rights,
    around: &Surroundings<'_>,
) -> Result<Outcome, RunError> {
    // What ran is what is written down, the seed included.
    let mut scenario = Scenario { seed, ..loaded.scenario.clone() };
    let directory = make_directory(&args.out, &scenario)?;
    artefacts::write_scenario(&directory, &mut scenario, &loaded.text)?;
    match around.progress.is_shown() {
        true => around.progress.begin(format!("{}, seed {seed}", scenario.name)),
        false => report::beginning(&scenario, &directory),
    }
    let Surroundings { iceperf, programs, signals, .. } = *around;
    let order = Order { scenario: &scenario, iceperf, programs, directory: &directory, signals };
    let (ended, failure) = match netns::run(&order, rights) {
        Ok(ended) => (ended, None),
        Err(error) => (Ended::before_the_start(&error), Some(error)),
    };
    let folded = past::fold(directory.path(), ended.invalid_why.clone(), ended.written);
    let (run, events) = match folded {
        Ok((run, events)) => (Ok(run), events),
        Err(error) => (Err(error), Vec::new()),
    };
    if let Ok(run) = &run {
        artefacts::write_results(&directory, &run.results)?;
    }
    let losses = ended.report.as_ref().map(|report| report.captures.clone()).unwrap_or_default();
    let kept = evidence::summary(&scenario, &directory, &losses, &events)?;
    artefacts::seal(&order, &ended, kept.clone())?;
    Ok(match (failure.map(RunError::from), run) {
        (Some(error), run) => {
            eprintln!("the run directory is {}", directory.path().display());
            Outcome { run: run.ok(), events, exit: error.exit(), error: Some(error) }
        }
        (None, Err(error)) => {
            let error = RunError::from(error);
            Outcome { run: None, events, exit: error.exit(), error: Some(error) }
        }
        (None, Ok(run)) => {
            let exit = ended.signal.map_or_else(|| Exit::of(&run.results), Exit::Interrupted);
            report::evidence(&scenario, &kept);
            Outcome { run: Some(run), events, exit, error: None }
        }
    })
}

/// It is the latest one from now on, so that this holds for a run that is killed, too.
fn make_directory(out: &Path, scenario: &Scenario) -> Result<RunDirectory, RunError> {
    let make = || {
        let directory = RunDirectory::create(out, &scenario.name, jiff::Timestamp::now(), scenario.seed)?;
        directory.link_latest(out)?;
        Ok(directory)
    };
    make().map_err(|source| RunError::Out { out: out.to_owned(), source })
}

impl Exit {
    /// Of a run that came to its end.
    fn of(results: &Results) -> Self {
        if !results.valid {
            Self::Invalid
        } else if results.expectations.iter().any(|expectation| !expectation.ok) {
            Self::Failed
        } else {
            Self::Success
        }
    }
}
