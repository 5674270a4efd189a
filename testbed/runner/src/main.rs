//! `testbed`: scenario files in, run directories and comparisons out.
//!
//! ```text
//! cli -> check, plan, list, run, beside (compare), verify, dissect, doctor
//! scenario: text -> tree with places -> valid values      run: namespaces, processes, the record
//! past: run directories found and read back               compare: runs beside observations
//! ```
//!
//! It never links `iceperf`: it runs the binary that a user has. Left out: other backends than `netns`, reports.

mod beside;
mod check;
mod cli;
mod compare;
mod console;
#[cfg(feature = "dissect")]
mod dissect;
mod doctor;
mod exit;
mod list;
mod past;
mod plan;
mod run;
mod scenario;
mod verify;

use cli::{Cli, Command};
use exit::Exit;
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match Cli::from_arguments().command {
        Command::Check { files, set } => check::check(&files, &set),
        Command::Plan { file, set, json } => plan::plan(&file, &set, json),
        Command::List { json } => list::list(json),
        Command::Run(args) => run::run(&args),
        Command::Compare(args) => beside::compare(&args),
        Command::Verify(args) => verify::verify(&args),
        #[cfg(feature = "dissect")]
        Command::Dissect(args) => dissect::dissect(&args),
        Command::Doctor(args) => doctor::doctor(&args),
        Command::Completions { shell } => cli::completions(shell),
        Command::Man { directory } => cli::manual(&directory),
    };
    let told = if console::is_silenced() { Exit::Machine } else { Exit::Success };
    exit.max(told).into()
}
