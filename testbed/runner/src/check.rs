//! `testbed check`: is it a scenario, and what does it rest on?

use crate::{
    compare::reference,
    console::{self, say},
    exit::Exit,
    scenario::{Scenario, diagnostic::suggest, format_duration, presets},
};
use std::path::{Path, PathBuf};

/// Checks every file, however many are wrong.
pub(crate) fn check(files: &[PathBuf], sets: &[String]) -> Exit {
    let sound = files.iter().filter(|file| check_one(file, sets)).count();
    if sound == files.len() { Exit::Success } else { Exit::Usage }
}

fn check_one(file: &Path, sets: &[String]) -> bool {
    let Some((scenario, _)) = load(file, sets) else { return false };
    say!("{}: ok, {}", file.display(), summary(&scenario));
    warn_of_unknown_answers(file, &scenario);
    for (name, network) in &scenario.networks {
        let preset = network.preset.as_deref().and_then(presets::find);
        if let Some(preset) = preset {
            say!("  {name} is {}:", preset.name);
            console::wrap(&preset.evidence).iter().for_each(|line| say!("    {line}"));
        }
    }
    true
}

/// No mistake for sure, since they may be in a file of `compare --against`.
fn warn_of_unknown_answers(file: &Path, scenario: &Scenario) {
    let references = reference::embedded().unwrap_or_default();
    for id in &scenario.answers {
        if !references.iter().any(|reference| reference.id == *id) {
            let similar = suggest(id, references.iter().map(|reference| reference.id.as_str()));
            let similar = similar.lines().find(|line| line.starts_with("did"));
            let similar = similar.map_or(String::new(), |similar| format!("; {similar}"));
            eprintln!("{}: warning: no built-in observation is called `{id}`{similar}", file.display());
        }
    }
}

/// Reads a scenario and its text, or shows what is wrong with it.
pub(crate) fn load(file: &Path, sets: &[String]) -> Option<(Scenario, String)> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => {
            eprintln!("error: cannot read {}: {error}", file.display());
            return None;
        }
    };
    let folder = file.parent().unwrap_or(Path::new(""));
    match Scenario::parse(&file.display().to_string(), folder, &text, sets) {
        Ok(scenario) => Some((scenario, text)),
        Err(problems) => {
            console::show_problems(&problems);
            None
        }
    }
}

fn summary(scenario: &Scenario) -> String {
    let counted = |count: usize, what: &str| match count {
        1 => format!("1 {what}"),
        count => format!("{count} {what}s"),
    };
    [
        scenario.name.clone(),
        format_duration(scenario.duration),
        counted(scenario.hosts.len(), "host"),
        counted(scenario.networks.len(), "network"),
        counted(scenario.timeline.len(), "step"),
        counted(scenario.expect.len(), "expectation"),
    ]
    .join(", ")
}
