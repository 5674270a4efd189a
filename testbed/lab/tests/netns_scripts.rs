//! Runs the tests of `netns-scripts/`, the kernel's own networks that the modelled ones are held against.
//!
//! A machine that cannot run them is told so in plain sight; whatever goes wrong after that has failed.

use std::{
    env,
    path::PathBuf,
    process::{Command, ExitCode},
};

const NAME: &str = "netns_scripts";
/// What `test.sh` ends with where it cannot run.
const CANNOT: i32 = 3;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    if words.iter().any(|word| word == "--list") {
        if !words.iter().any(|word| word == "--ignored") {
            println!("{NAME}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !wanted(&words) {
        return ExitCode::SUCCESS;
    }
    println!("\nrunning 1 test");
    let (said, code) = match run() {
        Ok(Some(0)) => ("ok", ExitCode::SUCCESS),
        Ok(Some(CANNOT)) => ("NOT TESTED: this machine cannot, for the reason above", ExitCode::SUCCESS),
        Ok(_) => ("FAILED", ExitCode::FAILURE),
        Err(error) => {
            println!("netns-scripts/test.sh: {error}");
            ("FAILED", ExitCode::FAILURE)
        }
    };
    println!("test {NAME} ... {said}\n");
    code
}

/// Whether the filters of the command line, if any, mean this test.
fn wanted(words: &[String]) -> bool {
    const WITH_VALUE: [&str; 5] = ["--format", "--color", "--test-threads", "--logfile", "-Z"];
    let exact = words.iter().any(|word| word == "--exact");
    let previous = [""].into_iter().chain(words.iter().map(String::as_str));
    let mut filters = words
        .iter()
        .zip(previous)
        .filter(|(word, before)| !word.starts_with('-') && !WITH_VALUE.contains(before))
        .map(|(word, _)| word)
        .peekable();
    filters.peek().is_none()
        || filters.any(|filter| if exact { filter == NAME } else { NAME.contains(filter) })
}

/// The exit code; none if a signal ended it.
fn run() -> std::io::Result<Option<i32>> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../netns-scripts/test.sh");
    Ok(Command::new(script).status()?.code())
}
