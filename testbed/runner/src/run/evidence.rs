//! What a run leaves for other programs to open: a capture of each host with the secrets that decrypt it, and each
//! engine's own log, no more of both than the scenario's `evidence` says.

use crate::scenario::{Amount, Scenario};
use lab::capture::{CaptureError, CaptureLimits, CaptureLosses, embed_secrets};
use record::{DirectoryError, Event, EventKind, EvidenceSummary, RunDirectory};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

const CAPTURE: &str = "capture.pcapng";
/// In the form of NSS key logs, which Wireshark reads.
const KEYS: &str = "keys.log";
const QLOG_EXTENSION: &str = "sqlog";
/// Share of the whole that captures may have beside qlogs, in percent.
const CAPTURES_SHARE: u64 = 60;
/// Room for the secrets that a capture gets at the end.
const SECRETS_ROOM: u64 = 32 * 1024;
const PEERS: u64 = 2;

/// The evidence is not whole.
#[derive(Debug, Error)]
pub(crate) enum EvidenceError {
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{path}: {source}", path = .path.display())]
    Keys { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Capture(#[from] CaptureError),
}

/// Where each host's capture goes.
pub(crate) fn captures(
    scenario: &Scenario,
    directory: &RunDirectory,
) -> Result<BTreeMap<String, PathBuf>, DirectoryError> {
    if scenario.evidence.captures == Amount::None {
        return Ok(BTreeMap::new());
    }
    let hosts = scenario.hosts.keys();
    hosts.map(|host| Ok((host.clone(), directory.host(host)?.join(CAPTURE)))).collect()
}

/// Limits of all captures together.
pub(crate) fn capture_limits(scenario: &Scenario) -> CaptureLimits {
    let evidence = scenario.evidence;
    let share = if evidence.qlog == Amount::None { 100 } else { CAPTURES_SHARE };
    let secrets = SECRETS_ROOM * scenario.hosts.len() as u64;
    CaptureLimits {
        max_bytes: percent(evidence.max.0, share).saturating_sub(secrets),
        cut: evidence.captures == Amount::Limited,
        steps: scenario.timeline.iter().map(|step| step.at).collect(),
    }
}

/// Arguments that make a peer write its secrets and its engine's log into its host's directory.
pub(crate) fn arguments(scenario: &Scenario, folder: &Path) -> Vec<OsString> {
    let evidence = scenario.evidence;
    let mut arguments: Vec<OsString> = Vec::new();
    if evidence.captures != Amount::None {
        arguments.extend(["--key-log".into(), folder.join(KEYS).into()]);
    }
    if evidence.qlog == Amount::None {
        return arguments;
    }
    let share = if evidence.captures == Amount::None { 100 } else { 100 - CAPTURES_SHARE };
    let max = percent(evidence.max.0, share) / PEERS;
    arguments.extend(["--qlog".into(), folder.into(), "--qlog-max".into(), format!("{max}B").into()]);
    if evidence.qlog == Amount::Limited {
        arguments.push("--qlog-limited".into());
        let steps = scenario.timeline.iter().map(|step| step.at.max(SOONEST));
        arguments
            .extend(steps.flat_map(|at| ["--qlog-around".into(), format!("{}ns", at.as_nanos()).into()]));
    }
    arguments
}

/// The option knows no time before this.
const SOONEST: std::time::Duration = std::time::Duration::from_millis(1);

fn percent(whole: u64, share: u64) -> u64 {
    whole / 100 * share
}

/// Puts each host's secrets into its capture, so that this opens by itself wherever it is taken.
pub(crate) fn embed(scenario: &Scenario, directory: &RunDirectory) -> Result<(), EvidenceError> {
    for (host, capture) in captures(scenario, directory)? {
        let path = directory.host(&host)?.join(KEYS);
        match fs::read_to_string(&path) {
            Ok(keys) => embed_secrets(&capture, &keys)?,
            // A host that is no peer has none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(EvidenceError::Keys { path, source }),
        }
    }
    Ok(())
}

/// Each capture and log of a run, and what it lacks.
pub(crate) fn summary(
    scenario: &Scenario,
    directory: &RunDirectory,
    losses: &BTreeMap<PathBuf, CaptureLosses>,
    events: &[Event],
) -> Result<Vec<EvidenceSummary>, DirectoryError> {
    let mut files = Vec::new();
    for (host, path) in captures(scenario, directory)? {
        let CaptureLosses { packets_cut, packets_dropped, bytes_dropped } =
            losses.get(&path).copied().unwrap_or_default();
        let (file, mode) = (format!("hosts/{host}/{CAPTURE}"), scenario.evidence.captures.name().to_owned());
        files.push(EvidenceSummary { file, mode, packets_cut, packets_dropped, bytes_dropped });
    }
    for host in scenario.hosts.keys() {
        for name in logs(&directory.host(host)?) {
            let lost = events.iter().find_map(|event| match &event.what {
                EventKind::QlogLimited { file, records, bytes } if event.host == *host && *file == name => {
                    Some((*records, *bytes))
                }
                _ => None,
            });
            let (packets_dropped, bytes_dropped) = lost.unwrap_or_default();
            let (file, mode) = (format!("hosts/{host}/{name}"), scenario.evidence.qlog.name().to_owned());
            files.push(EvidenceSummary { file, mode, packets_cut: 0, packets_dropped, bytes_dropped });
        }
    }
    Ok(files)
}

/// Names of the engine's logs in a host's directory, in order.
fn logs(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    let logs = paths.filter(|path| path.extension().is_some_and(|extension| extension == QLOG_EXTENSION));
    let mut names: Vec<String> =
        logs.filter_map(|path| Some(path.file_name()?.to_string_lossy().into_owned())).collect();
    names.sort_unstable();
    names
}
