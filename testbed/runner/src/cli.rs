//! The command line: raw arguments to checked ones. What is in the contract and not built yet is absent from the help,
//! and naming it says so.

use crate::{
    compare::output::Form,
    console,
    exit::Exit,
    scenario::{Backend, words},
};
use clap::{Args, CommandFactory as _, Parser, Subcommand, error::ErrorKind};
use clap_complete::Shell;
use std::path::{Path, PathBuf};

/// Scenario files in, run directories and comparisons out.
#[derive(Debug, Parser)]
#[command(name = "testbed", version, max_term_width = 110, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 all expectations hold; 1 an expectation failed; 2 bad scenario or arguments; \
3 this machine cannot run it; 4 the run is invalid (its own timing or record check failed); \
130 or 143 interrupted. Of several runs, the highest.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Validate scenarios; errors point at the line
    Check {
        /// Scenario files
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Set a value of the scenario by its path, such as duration=25s
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
    },
    /// Run scenarios and keep everything they show
    ///
    /// A run is invalid, and its figures may not be used, when 1 % of its packets were delivered more than 20 ms late, a
    /// step was applied more than 250 ms late or could not be, packets were lost at devices outside the model, its record
    /// is incomplete, or a process died.
    Run(RunArgs),
    /// Show what a run would be: topology, addresses and timed steps
    ///
    /// Nothing is run, and no rights are needed.
    Plan {
        /// A scenario file
        file: PathBuf,
        /// Set a value of the scenario by its path, such as duration=25s
        #[arg(long = "set", value_name = "PATH=VALUE")]
        set: Vec<String>,
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// List scenarios: name, why, answers, backends, path
    ///
    /// They are the *.yaml files below ./scenarios or, where that is missing, below `scenarios` in the directory of the
    /// executable or the nearest one above it that has one.
    List {
        /// One JSON document on standard output
        #[arg(long)]
        json: bool,
    },
    /// Stand runs beside the observations of others
    ///
    /// Each observation is reproduced or contradicted by a policy that claims to do the same; with another policy it is
    /// compatible or not comparable; or it was not tested. Runs of different experiments stand apart, with what differs.
    Compare(CompareArgs),
    /// Check that run directories are as they were sealed, and that their results are what their events tell
    ///
    /// Hashes, versions and readability; results.json is made once more from events.jsonl. Ends with 0, or with 4 when
    /// anything is wrong.
    Verify(VerifyArgs),
    /// List flows, names of servers and STUN messages in packet captures
    ///
    /// Reads pcap and pcapng files, plain or compressed with gzip or zstd, one after the other. A damaged file is used up to
    /// the damage, which is reported with its place and does not change the exit code. Times count from the first frame of
    /// each file.
    #[cfg(feature = "dissect")]
    Dissect(DissectArgs),
    /// Tell what this machine can do, and the exact fix for what it can't
    ///
    /// Each capability is tried. Ends with 0 when scenarios can be run here, else with 3.
    Doctor(DoctorArgs),
    /// Print the completions of a shell
    Completions {
        /// Whose
        shell: Shell,
    },
    /// Write the manual's pages into a directory
    #[command(hide = true)]
    Man {
        /// Made if it is missing
        directory: PathBuf,
    },
}

#[derive(Debug, Args)]
pub(crate) struct CompareArgs {
    /// Run directories, or folders of them
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// Compare with the observations of this file only
    #[arg(long, value_name = "FILE", conflicts_with = "baseline")]
    pub(crate) against: Option<PathBuf>,
    /// Compare with runs of ours of the same network and seeds: better, worse, or no difference shown
    #[arg(long, value_name = "DIR")]
    pub(crate) baseline: Option<PathBuf>,
    /// One JSON document on standard output
    #[arg(long, group = "form")]
    json: bool,
    /// Comma-separated values on standard output
    #[arg(long, group = "form")]
    csv: bool,
    /// Markdown tables on standard output
    #[arg(long, group = "form")]
    markdown: bool,
    /// End with 1 when a row has this verdict
    #[arg(long, value_name = "VERDICT")]
    pub(crate) fail_on: Option<FailOn>,
}

impl CompareArgs {
    pub(crate) fn form(&self) -> Form {
        match (self.json, self.csv, self.markdown) {
            (true, ..) => Form::Json,
            (_, true, _) => Form::Csv,
            (.., true) => Form::Markdown,
            _ => Form::Text,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// Run directories, or folders of them
    #[arg(required = true, value_name = "RUN")]
    pub(crate) runs: Vec<PathBuf>,
    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
}

/// A verdict that may fail a comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FailOn {
    /// A policy or set-up does not do as it claims
    Contradicted,
    /// Worse than the baseline
    Worse,
}

#[cfg(feature = "dissect")]
#[derive(Debug, Args)]
pub(crate) struct DissectArgs {
    /// Capture files
    #[arg(required = true, value_name = "CAPTURE")]
    pub(crate) captures: Vec<PathBuf>,
    /// One JSON document on standard output: files, flows, names, stun, calls, quic, metrics, flow_summary
    /// and damage
    #[arg(long)]
    pub(crate) json: bool,
    /// Write all flows to this file, as comma-separated values
    #[arg(long, value_name = "FILE")]
    pub(crate) flows: Option<PathBuf>,
    /// Classes of servers by name, before the built-in ones; a line is `CLASS: PATTERN...`, with * for any characters
    /// and # for digits
    #[arg(long, value_name = "FILE")]
    pub(crate) classes: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// One JSON document on standard output
    #[arg(long)]
    pub(crate) json: bool,
    /// The iceperf to look at [default: the one beside testbed, then the one in PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) iceperf: Option<PathBuf>,
    /// Where run directories would go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) out: PathBuf,
    /// The TUN device node
    #[arg(long, value_name = "PATH", default_value = "/dev/net/tun")]
    pub(crate) tun: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// Scenario files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Where to run: netns, namespaces on this machine
    #[arg(long, default_value = "netns", value_parser = parse_backend)]
    pub(crate) backend: Backend,
    /// Seed of everything random [default: the scenario's]
    #[arg(long, value_name = "N")]
    pub(crate) seed: Option<u64>,
    /// Run each scenario so many times, with the seeds that follow
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub(crate) repeat: u64,
    /// Set a value of the scenario by its path, such as duration=25s
    #[arg(long = "set", value_name = "PATH=VALUE")]
    pub(crate) set: Vec<String>,
    /// How much to keep of captures and qlogs: full, limited or none [default: the scenario's, which is limited; its
    /// key evidence.max is the size that they never exceed]
    #[arg(long, value_name = "AMOUNT", value_parser = clap::builder::PossibleValuesParser::new(words::AMOUNTS.known))]
    pub(crate) evidence: Option<String>,
    /// The iceperf to run [default: the one beside testbed, then the one in PATH]
    #[arg(long, value_name = "PATH")]
    pub(crate) iceperf: Option<PathBuf>,
    /// Where run directories go
    #[arg(long, value_name = "DIR", default_value = "results")]
    pub(crate) out: PathBuf,
    /// One JSON document on standard output: an array of results
    #[arg(long)]
    pub(crate) json: bool,
    /// The TUN device node
    #[arg(long, value_name = "PATH", default_value = "/dev/net/tun")]
    pub(crate) tun: PathBuf,
}

impl Cli {
    /// Parses the process's arguments; prints and exits as clap does when they are wrong (2) or ask for help (0).
    pub(crate) fn from_arguments() -> Self {
        Self::try_parse().unwrap_or_else(|error| match not_in_this_version(&error) {
            Some(command) if command == "dissect" => {
                eprintln!("error: this `testbed` was built without `dissect`");
                eprintln!("help: `make build` in the project's folder builds target/release/testbed with it");
                std::process::exit(2);
            }
            Some(command) => {
                eprintln!("error: `testbed {command}` is not in this version");
                eprintln!("help: valid: {}", words::COMMANDS.known.join(", "));
                std::process::exit(2);
            }
            None => error.exit(),
        })
    }
}

/// The command, when it is one of the contract's.
fn not_in_this_version(error: &clap::Error) -> Option<String> {
    if error.kind() == ErrorKind::UnknownArgument {
        let argument = error.get(clap::error::ContextKind::InvalidArg)?.to_string();
        return match argument.split('=').next()? {
            "--keys" => Some("dissect --keys".to_owned()),
            what @ ("presets" | "channels" | "policies" | "actions") => Some(format!("list {what}")),
            _ => None,
        };
    }
    if error.kind() != ErrorKind::InvalidSubcommand {
        return None;
    }
    let command = error.get(clap::error::ContextKind::InvalidSubcommand)?.to_string();
    let is_left_out = command == "dissect" && !cfg!(feature = "dissect");
    (is_left_out || words::COMMANDS.not_yet.contains(&command.as_str())).then_some(command)
}

/// `testbed completions`.
pub(crate) fn completions(shell: Shell) -> Exit {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "testbed", &mut script);
    console::print(&String::from_utf8_lossy(&script));
    Exit::Success
}

/// `testbed man`: a page for the program and one for each command.
pub(crate) fn manual(directory: &Path) -> Exit {
    let written =
        std::fs::create_dir_all(directory).and_then(|()| clap_mangen::generate_to(Cli::command(), directory));
    match written {
        Ok(()) => Exit::Success,
        Err(error) => {
            eprintln!("error: cannot write manual pages into {}: {error}", directory.display());
            Exit::Machine
        }
    }
}

fn parse_backend(text: &str) -> Result<Backend, String> {
    match text {
        "netns" => Ok(Backend::Netns),
        later if words::BACKENDS.not_yet.contains(&later) => {
            Err(format!("not in this version; valid: {}", words::BACKENDS.known.join(", ")))
        }
        _ => Err(format!("not a backend; valid: {}", words::BACKENDS.known.join(", "))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_table_of_words_knows_every_command() {
        let command = Cli::command();
        let shown = command.get_subcommands().filter(|command| !command.is_hide_set());
        let mut names: Vec<&str> = shown.map(clap::Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(names, words::COMMANDS.known);
    }
}
