//! `testbed list`: the scenarios there are.

use crate::{
    check,
    console::say,
    exit::Exit,
    scenario::{Backend, Scenario},
};
use serde::Serialize;
use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// One scenario, as `--json` tells it.
#[derive(Debug, Serialize)]
struct Listed {
    name: String,
    why: String,
    answers: Vec<String>,
    backends: Vec<Backend>,
    path: PathBuf,
}

impl Listed {
    fn new(scenario: Scenario, path: PathBuf) -> Self {
        let Scenario { name, why, answers, backends, .. } = scenario;
        Self { name, why, answers, backends, path }
    }
}

/// Lists every scenario that is found; one that is wrong is shown on standard error and makes the exit code 2.
pub(crate) fn list(json: bool) -> Exit {
    let Some(directory) = find_directory() else {
        eprintln!("error: no scenarios: there is no ./scenarios, and none beside or above the executable");
        return empty(json);
    };
    let files = match yaml_files(&directory) {
        Ok(files) => files,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", directory.display());
            return empty(json);
        }
    };
    let all = files.len();
    let listed: Vec<Listed> = files
        .into_iter()
        .filter_map(|path| check::load(&path, &[]).map(|(scenario, _)| Listed::new(scenario, path)))
        .collect();
    if json {
        show_json(&listed)
    } else {
        show(&listed)
    }
    if listed.len() == all { Exit::Success } else { Exit::Usage }
}

fn empty(json: bool) -> Exit {
    if json {
        show_json(&[]);
    }
    Exit::Usage
}

fn show_json(listed: &[Listed]) {
    // Strings and lists of strings always serialise.
    say!("{}", serde_json::to_string_pretty(listed).unwrap_or_default());
}

fn show(listed: &[Listed]) {
    for (index, scenario) in listed.iter().enumerate() {
        if index > 0 {
            say!("");
        }
        say!("{}", scenario.name);
        say!("  {}", scenario.why);
        if !scenario.answers.is_empty() {
            say!("  answers   {}", scenario.answers.join(", "));
        }
        let backends: Vec<&str> = scenario.backends.iter().map(|backend| backend.name()).collect();
        say!("  backends  {}", backends.join(", "));
        say!("  path      {}", scenario.path.display());
    }
}

/// `./scenarios`, else `scenarios` in the executable's directory or the nearest one above that has it.
fn find_directory() -> Option<PathBuf> {
    let here = PathBuf::from("scenarios");
    if here.is_dir() {
        return Some(here);
    }
    let executable = std::env::current_exe().ok()?;
    executable.ancestors().skip(1).map(|above| above.join("scenarios")).find(|path| path.is_dir())
}

/// Below a directory, sorted.
fn yaml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![directory.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}
