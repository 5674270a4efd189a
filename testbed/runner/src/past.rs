//! Run directories read back: what `run` reports and what `compare` compares come from the files alone, so that both
//! say the same of one run, then and later.

use crate::{
    compare::{Carrier, Run, groups, measure::Folds},
    scenario::{Interface, Link, Network, Scenario, ServerKind, diagnostic::Problems, presets},
};
use record::{
    BitRate, DirectoryError, Event, EventLog, InterfaceKind, LinkRates, ReadError, Results, RunDirectory,
    RunFacts, SCHEMA_VERSION,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs::DirEntry,
    io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// A directory is no run, or its files are damaged.
#[derive(Debug, Error)]
pub(crate) enum PastError {
    #[error("{directory} is not a run directory: {path}: {source}", directory = .directory.display(), path = .path.display())]
    NotARun { directory: PathBuf, path: PathBuf, source: io::Error },
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Events(#[from] ReadError),
    #[error("{path}: not a scenario of this version:\n{why}", path = .path.display())]
    Scenario { path: PathBuf, why: String },
    #[error("{path}: not results of this version: {source}", path = .path.display())]
    Results { path: PathBuf, source: serde_json::Error },
    #[error("{}: its form is version {found}, newer than {known}, the newest that this `testbed` knows", .directory.display())]
    Newer { directory: PathBuf, found: u32, known: u32 },
    #[error(transparent)]
    Manifest(#[from] DirectoryError),
    #[error("cannot read {}: {source}", path.display())]
    Folder { path: PathBuf, source: io::Error },
    #[error("{} holds no run directory", .0.display())]
    NoRun(PathBuf),
}

/// Folders of run directories are looked through so deep: `results/SCENARIO/RUN`.
const DEPTH: usize = 3;

/// Every run directory that is named, or that lies in a folder that is named, once.
pub(crate) fn find(named: &[PathBuf]) -> Result<Vec<PathBuf>, PastError> {
    let (mut seen, mut found) = (BTreeSet::new(), vec![]);
    for path in named {
        let mut directories = vec![];
        if is_run(path) || !path.is_dir() {
            directories.push(path.clone());
        } else {
            look_through(path, DEPTH, &mut directories)?;
        }
        if directories.is_empty() {
            return Err(PastError::NoRun(path.clone()));
        }
        // `latest` is another name of a run.
        let whole = |directory: &PathBuf| directory.canonicalize().unwrap_or_else(|_| directory.clone());
        found.extend(directories.into_iter().filter(|directory| seen.insert(whole(directory))));
    }
    Ok(found)
}

fn is_run(path: &Path) -> bool {
    path.join("scenario.resolved.json").is_file()
}

/// In order of names. Links are not followed: `latest` points at a run that is there anyway.
fn look_through(folder: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<(), PastError> {
    let failed = |source| PastError::Folder { path: folder.to_owned(), source };
    let entries: io::Result<Vec<DirEntry>> = folder.read_dir().and_then(Iterator::collect);
    let mut entries = entries.map_err(failed)?;
    entries.sort_by_key(DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if !entry.file_type().map_err(failed)?.is_dir() {
            continue;
        }
        if is_run(&path) {
            found.push(path);
        } else if depth > 1 {
            look_through(&path, depth - 1, found)?;
        }
    }
    Ok(())
}

/// Folds a run that has just ended, and returns its events beside it. `written` is how many events its recorder wrote,
/// when that is known.
pub(crate) fn fold(
    directory: &Path,
    invalid_why: Option<String>,
    written: Option<u64>,
) -> Result<(Run, Vec<Event>), PastError> {
    let (scenario, log) = read_sources(directory)?;
    let invalid_why = invalid_why.or_else(|| incomplete(&log, written));
    Ok((make(scenario, directory, &log.events, invalid_why, None), log.events))
}

/// Reads a run of any age; one that was killed has no results, and is folded up to where it got.
pub(crate) fn read(directory: &Path) -> Result<Run, PastError> {
    refuse_newer(directory)?;
    let (scenario, log) = read_sources(directory)?;
    let results = read_results(directory)?;
    let killed = || Some("the run was killed before its end, or still goes on".to_owned());
    let invalid_why = results.as_ref().map_or_else(killed, |results| results.invalid_why.clone());
    Ok(make(scenario, directory, &log.events, invalid_why, results))
}

/// What a run's files tell of each other.
pub(crate) struct Whole {
    pub(crate) events: usize,
    /// The last event was not written to its end.
    pub(crate) torn: bool,
    /// Of `results.json` from what `events.jsonl` tells.
    pub(crate) differences: Vec<String>,
}

/// Reads a run, and folds its events once more.
pub(crate) fn read_whole(directory: &Path) -> Result<Whole, PastError> {
    refuse_newer(directory)?;
    let (scenario, log) = read_sources(directory)?;
    let folded = make(scenario, directory, &log.events, None, None).results;
    let is_current = RunDirectory::open(directory)?.schema_version()? == Some(SCHEMA_VERSION);
    let differences = match read_results(directory)? {
        None => vec!["results.json: missing".to_owned()],
        // An older version told other figures of the same events.
        Some(told) if is_current => differences(&told, &folded),
        Some(_) => vec![],
    };
    Ok(Whole { events: log.events.len(), torn: log.torn.is_some(), differences })
}

/// By path, but for the reasons why a run is invalid: some of them are no event's.
fn differences(told: &Results, folded: &Results) -> Vec<String> {
    let flat = |results: &Results| {
        let judged = serde_json::json!({"metrics": results.metrics, "expectations": results.expectations});
        groups::flatten(&judged)
    };
    let (told, folded) = (flat(told), flat(folded));
    let paths: BTreeSet<&String> = told.keys().chain(folded.keys()).collect();
    let shown = |value: Option<&serde_json::Value>| value.map_or("nothing".to_owned(), ToString::to_string);
    let differ = paths.into_iter().filter(|path| told.get(*path) != folded.get(*path));
    let describe = |path: &String| {
        format!(
            "results.json: {path} is {}, and the events tell {}",
            shown(told.get(path)),
            shown(folded.get(path))
        )
    };
    differ.map(describe).collect()
}

fn refuse_newer(directory: &Path) -> Result<(), PastError> {
    // A directory that is none is told by what else is missing in it.
    let Ok(run) = RunDirectory::open(directory) else { return Ok(()) };
    match run.schema_version()? {
        Some(found) if found > SCHEMA_VERSION => {
            Err(PastError::Newer { directory: directory.to_owned(), found, known: SCHEMA_VERSION })
        }
        _ => Ok(()),
    }
}

fn read_results(directory: &Path) -> Result<Option<Results>, PastError> {
    let path = directory.join("results.json");
    match std::fs::read(&path) {
        Ok(bytes) => {
            serde_json::from_slice(&bytes).map(Some).map_err(|source| PastError::Results { path, source })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PastError::File { path, source }),
    }
}

fn read_sources(directory: &Path) -> Result<(Scenario, EventLog), PastError> {
    let path = directory.join("scenario.resolved.json");
    let text = std::fs::read_to_string(&path).map_err(|source| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => {
            PastError::NotARun { directory: directory.to_owned(), path: path.clone(), source }
        }
        _ => PastError::File { path: path.clone(), source },
    })?;
    // JSON is YAML, and the resolved form is the scenario language.
    let scenario =
        Scenario::parse(&path.display().to_string(), directory, &text, &[]).map_err(|problems| {
            let why = shown(&problems);
            PastError::Scenario { path, why }
        })?;
    Ok((scenario, record::read_events(&directory.join("events.jsonl"))?))
}

/// What the links of the client's host carry together; none when one of them has no bound.
fn link_rates(scenario: &Scenario) -> Option<LinkRates> {
    let host = scenario.hosts.get(&scenario.peers.client.host)?;
    let links = host.interfaces.values().map(|interface| scenario.networks.get(&interface.network));
    let links: Vec<_> = links.map(|network| Some(&network?.link)).collect::<Option<_>>()?;
    let sum = |rate: fn(&Link) -> Option<netmodel::BitRate>| -> Option<BitRate> {
        let rates = links.iter().map(|link| rate(link).map(netmodel::BitRate::bits_per_second));
        rates.sum::<Option<u64>>().map(BitRate)
    };
    Some(LinkRates { up: sum(|link| link.up.mean_rate())?, down: sum(|link| link.down.mean_rate())? })
}

fn shown(problems: &Problems) -> String {
    crate::console::render_problems(problems, false)
}

fn incomplete(log: &EventLog, written: Option<u64>) -> Option<String> {
    let read = log.events.len() as u64;
    match (&log.torn, written) {
        (Some(_), _) => Some("record: the last event is torn".to_owned()),
        (None, Some(written)) if written != read => {
            Some(format!("record: {written} events were written, and {read} are there"))
        }
        _ => None,
    }
}

fn make(
    scenario: Scenario,
    directory: &Path,
    events: &[Event],
    invalid_why: Option<String>,
    results: Option<Results>,
) -> Run {
    let settings = settings(&scenario);
    let carriers = carriers(&scenario);
    let relays = [ServerKind::Relay, ServerKind::Coturn];
    let has_relay = scenario.servers.values().any(|server| relays.contains(&server.kind));
    let facts = RunFacts {
        link_rates: link_rates(&scenario),
        scenario: scenario.name,
        // The only one of this version.
        backend: crate::scenario::Backend::Netns.name().to_owned(),
        seed: scenario.seed,
        run_dir: directory.display().to_string(),
        duration: scenario.duration,
        client: scenario.peers.client.host,
        server: scenario.peers.server.host,
        expectations: scenario.expect.into_iter().map(Into::into).collect(),
        invalid_why,
    };
    let results = results.unwrap_or_else(|| record::fold::results(events, &facts));
    let policy = scenario.peers.client.policy.to_string();
    let folds = Folds::new(events, &facts);
    Run { results, folds, facts, policy, answers: scenario.answers, settings, carriers, has_relay }
}

/// What makes two runs the same experiment: everything but the seed, and what is only asked of it.
fn settings(scenario: &Scenario) -> BTreeMap<String, serde_json::Value> {
    let mut settings = serde_json::to_value(scenario).unwrap_or_default();
    if let Some(keys) = settings.as_object_mut() {
        for key in ["seed", "why", "answers", "expect"] {
            keys.remove(key);
        }
    }
    groups::flatten(&settings)
}

/// The networks of cellular interfaces. A preset in which anything else is changed is none any more.
fn carriers(scenario: &Scenario) -> BTreeMap<String, Carrier> {
    let interfaces = scenario.hosts.values().flat_map(|host| host.interfaces.values());
    let cellular = interfaces.filter(|interface| interface.kind == InterfaceKind::Cellular);
    let carrier = |name: &str| {
        let network = scenario.networks.get(name)?;
        Some(Carrier { preset: preset_of(network), has_radio: network.link.radio.is_some() })
    };
    let named = |interface: &Interface| Some((interface.network.clone(), carrier(&interface.network)?));
    cellular.filter_map(named).collect()
}

fn preset_of(network: &Network) -> Option<String> {
    let preset = presets::find(network.preset.as_deref()?)?;
    let link = Link { radio: preset.network.link.radio, ..network.link.clone() };
    let alike = Network { behind: None, distances: BTreeMap::new(), link, ..network.clone() };
    (alike == preset.network).then(|| preset.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{Direction, EventKind};

    /// A run with so many samples of links.
    fn run_of(samples: i64) -> Run {
        let directory = tempfile::tempdir().unwrap();
        let scenario = include_str!("../../../scenarios/whatsapp/wifi-off-in-call.yaml");
        let scenario = Scenario::parse("test.yaml", directory.path(), scenario, &[]).map_err(|_| ()).unwrap();
        let resolved = serde_json::to_string(&scenario).unwrap();
        std::fs::write(directory.path().join("scenario.resolved.json"), resolved).unwrap();
        let mut writer = record::Writer::create(&directory.path().join("events.jsonl")).unwrap();
        for number in 0..samples {
            let what = EventKind::LinkSample {
                network: "home".into(),
                interface: "laptop.wlan0".into(),
                direction: Direction::Up,
                bytes: number.unsigned_abs(),
                queue_bytes: 0,
                drops: 0,
                late_ns: 0,
            };
            writer.append(&Event { t_ns: number, host: "testbed".into(), what }).unwrap();
        }
        let (run, events) = fold(directory.path(), None, Some(samples.unsigned_abs())).unwrap();
        assert_eq!(
            (events.len() as i64, run.results.valid),
            (samples, true),
            "{:?}",
            run.results.invalid_why
        );
        run
    }

    /// What a series keeps of a run does not grow with what happened in it.
    #[test]
    fn a_run_keeps_none_of_its_events() {
        let size = |run: &Run| format!("{run:?}").len();
        let (short, long) = (size(&run_of(10)), size(&run_of(10_000)));
        assert!(long < short + 100, "{short} and {long} bytes in words");
    }
}
