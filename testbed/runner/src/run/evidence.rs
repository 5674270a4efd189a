//! What a run leaves for other programs to open: a capture of each host with the secrets that decrypt it, and each
//! engine's own log.

use crate::scenario::Scenario;
use lab::capture::{CaptureError, embed_secrets};
use record::{DirectoryError, RunDirectory};
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
    let hosts = scenario.hosts.keys();
    hosts.map(|host| Ok((host.clone(), directory.host(host)?.join(CAPTURE)))).collect()
}

/// What makes a peer write its secrets and its engine's log into its host's directory.
pub(crate) fn arguments(folder: &Path) -> [OsString; 4] {
    ["--key-log".into(), folder.join(KEYS).into(), "--qlog".into(), folder.into()]
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
