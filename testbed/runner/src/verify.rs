//! `testbed verify`: whether run directories are what they were when they were sealed, and say what their events say.

use crate::{
    cli::VerifyArgs,
    console::say,
    exit::Exit,
    past::{self, PastError},
};
use record::{Fault, RunDirectory};
use serde::Serialize;
use std::path::{Path, PathBuf};

/// What was found in one run directory.
#[derive(Debug, Serialize)]
struct Verified {
    run_dir: PathBuf,
    /// Files with the hash that the manifest tells.
    files: usize,
    events: usize,
    faults: Vec<String>,
}

/// Ends with 0 when nothing is wrong, else with 4.
pub(crate) fn verify(args: &VerifyArgs) -> Exit {
    let directories = match past::find(&args.runs) {
        Ok(directories) => directories,
        Err(error) => {
            eprintln!("error: {error}");
            return Exit::Usage;
        }
    };
    let verified: Vec<Verified> = directories.iter().map(|directory| look(directory)).collect();
    if args.json {
        // Strings, numbers and lists always serialise.
        say!("{}", serde_json::to_string_pretty(&verified).unwrap_or_default());
    } else {
        verified.iter().for_each(show);
    }
    if verified.iter().all(|one| one.faults.is_empty()) { Exit::Success } else { Exit::Invalid }
}

fn show(one: &Verified) {
    let directory = one.run_dir.display();
    if one.faults.is_empty() {
        say!(
            "{directory}: sound: {} files, {} events, and results.json is what they tell",
            one.files,
            one.events
        );
    } else {
        say!("{directory}: {} faults", one.faults.len());
        one.faults.iter().for_each(|fault| say!("  {fault}"));
    }
}

fn look(directory: &Path) -> Verified {
    let mut verified = Verified { run_dir: directory.to_owned(), files: 0, events: 0, faults: vec![] };
    verified.faults.extend(sealed(directory, &mut verified.files));
    match past::read_whole(directory) {
        // What a newer version wrote need not be read further.
        Err(PastError::Newer { .. }) if !verified.faults.is_empty() => {}
        Err(error) => verified.faults.push(error.to_string()),
        Ok(whole) => {
            verified.events = whole.events;
            verified.faults.extend(whole.torn.then(|| "events.jsonl: the last event is torn".to_owned()));
            verified.faults.extend(whole.differences);
        }
    }
    verified
}

/// The manifest, and the hashes that it tells.
fn sealed(directory: &Path, files: &mut usize) -> Vec<String> {
    let checked = RunDirectory::open(directory).and_then(|run| Ok((run.manifest()?, run)));
    let (manifest, run) = match checked {
        Ok((Some(manifest), run)) => (manifest, run),
        Ok((None, _)) => {
            return vec!["manifest.json: missing: the run was killed before it was sealed".to_owned()];
        }
        Err(error) => return vec![error.to_string()],
    };
    *files = manifest.sha256.len();
    match run.faults(&manifest) {
        Ok(faults) => {
            *files -= faults.iter().filter(|fault| !matches!(fault, Fault::Unlisted(_))).count();
            faults.iter().map(Fault::to_string).collect()
        }
        Err(error) => vec![error.to_string()],
    }
}
