//! Manual pages and shell completions, made from the definition of the command line.

use crate::{cli::Cli, failure::Failure};
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::{
    fs,
    io::{self, Write as _},
    path::Path,
};

/// `iceperf completions SHELL`: to standard output.
pub(crate) fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "iceperf", &mut script);
    io::stdout()
        .lock()
        .write_all(&script)
        .map_err(|error| Failure::machine(format!("cannot write to standard output: {error}")))
}

/// `iceperf man DIR`: a page for the program and one for each subcommand that its help names.
pub(crate) fn pages(directory: &Path) -> Result<(), Failure> {
    fs::create_dir_all(directory)
        .and_then(|()| clap_mangen::generate_to(Cli::command(), directory))
        .map_err(|error| Failure::machine(format!("{}: {error}", directory.display())))
}
