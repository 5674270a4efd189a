//! Run directories read back: what `run` reports and what `compare` compares come from the files alone, so that both
//! say the same of one run, then and later.

use crate::{
    compare::{Run, measure::Folds},
    scenario::{Link, Scenario, diagnostic::Problems},
};
use record::{BitRate, Event, EventLog, LinkRates, ReadError, Results, RunFacts};
use std::{
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
}

/// Folds a run that has just ended, and returns its events beside it. `written` is how many events its recorder wrote, when that is known.
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
    let (scenario, log) = read_sources(directory)?;
    let path = directory.join("results.json");
    let results: Option<Results> = match std::fs::read(&path) {
        Ok(bytes) => {
            Some(serde_json::from_slice(&bytes).map_err(|source| PastError::Results { path, source })?)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(source) => return Err(PastError::File { path, source }),
    };
    let killed = || Some("the run was killed before its end".to_owned());
    let invalid_why = results.as_ref().map_or_else(killed, |results| results.invalid_why.clone());
    Ok(make(scenario, directory, &log.events, invalid_why, results))
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
    Run { results, folds, facts, policy, answers: scenario.answers }
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
