//! The run directory `results/<scenario>/<UTC time>-<seed>/` and its manifest.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Version of the run directory's form; a reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 2;

/// A directory of one run.
#[derive(Debug, Clone)]
pub struct RunDirectory {
    path: PathBuf,
}

/// The run directory could not be made, written or read.
#[derive(Debug, Error)]
#[error("{path}: {source}")]
pub struct DirectoryError {
    path: PathBuf,
    source: io::Error,
}

/// A file that is not as the manifest tells.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    /// It is gone.
    #[error("{0}: missing")]
    Missing(String),
    /// It has another hash.
    #[error("{0}: changed since the run was sealed (SHA-256)")]
    Changed(String),
    /// The manifest does not have it.
    #[error("{0}: came after the run was sealed")]
    Unlisted(String),
}

impl RunDirectory {
    /// Makes `<results>/<scenario>/<UTC time>-<seed>/`; a second run within one second gets `-2`, `-3`, ... at its end.
    /// Its path is absolute.
    pub fn create(
        results: &Path,
        scenario: &str,
        started: jiff::Timestamp,
        seed: u64,
    ) -> Result<Self, DirectoryError> {
        let parent = results.join(scenario);
        fs::create_dir_all(&parent).map_err(at(&parent))?;
        let name = format!("{}-{seed}", started.strftime("%Y%m%dT%H%M%SZ"));
        for count in 1u32.. {
            let path = parent.join(if count == 1 { name.clone() } else { format!("{name}-{count}") });
            match fs::create_dir(&path) {
                Ok(()) => return Self::open(&path),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(at(&path)(error)),
            }
        }
        unreachable!("the names of one second are not exhausted")
    }

    /// A directory that exists.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let path = path.canonicalize().map_err(at(path))?;
        Ok(Self { path })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `events.jsonl`.
    pub fn events(&self) -> PathBuf {
        self.path.join("events.jsonl")
    }

    /// `hosts/<host>/`, made if it is missing.
    pub fn host(&self, host: &str) -> Result<PathBuf, DirectoryError> {
        let path = self.path.join("hosts").join(host);
        fs::create_dir_all(&path).map_err(at(&path))?;
        Ok(path)
    }

    /// Writes a file whole or not at all.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), DirectoryError> {
        let path = self.path.join(name);
        let partial = self.path.join(format!(".{name}.partial"));
        fs::write(&partial, bytes).map_err(at(&partial))?;
        fs::rename(&partial, &path).map_err(at(&path))
    }

    /// Fills in the hashes of every file, and writes `manifest.json`.
    pub fn seal(&self, mut manifest: Manifest) -> Result<(), DirectoryError> {
        manifest.sha256 = self.hashes()?;
        let text = serde_json::to_vec_pretty(&manifest).map_err(|error| at(&self.path)(error.into()))?;
        self.write("manifest.json", &text)
    }

    /// SHA-256 of every file below, by its path inside the directory.
    pub fn hashes(&self) -> Result<BTreeMap<String, String>, DirectoryError> {
        let mut hashes = BTreeMap::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).map_err(at(&folder))? {
                let path = entry.map_err(at(&folder))?.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let inside = path.strip_prefix(&self.path).unwrap_or(&path).to_string_lossy().into_owned();
                if inside == "manifest.json" {
                    continue;
                }
                let bytes = fs::read(&path).map_err(at(&path))?;
                hashes.insert(inside, hex(&Sha256::digest(&bytes)));
            }
        }
        Ok(hashes)
    }

    /// Reads `manifest.json`; none when the run was killed before it was written.
    pub fn manifest(&self) -> Result<Option<Manifest>, DirectoryError> {
        let path = self.path.join("manifest.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| at(&path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// What is not as the manifest tells, in order of paths.
    pub fn faults(&self, manifest: &Manifest) -> Result<Vec<Fault>, DirectoryError> {
        let found = self.hashes()?;
        let told = manifest.sha256.iter().filter_map(|(path, hash)| match found.get(path) {
            None => Some(Fault::Missing(path.clone())),
            Some(other) if other != hash => Some(Fault::Changed(path.clone())),
            Some(_) => None,
        });
        let unlisted = found.keys().filter(|path| !manifest.sha256.contains_key(*path));
        Ok(told.chain(unlisted.cloned().map(Fault::Unlisted)).collect())
    }

    /// The version of the form that it has; none when the run was killed before it was sealed. A newer form may have
    /// another manifest, too, so nothing else of it is looked at.
    pub fn schema_version(&self) -> Result<Option<u32>, DirectoryError> {
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let path = self.path.join("manifest.json");
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map(|version: Version| Some(version.schema_version))
                .map_err(|error| at(&path)(error.into())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at(&path)(error)),
        }
    }

    /// Points `<results>/latest` at this run.
    pub fn link_latest(&self, results: &Path) -> Result<(), DirectoryError> {
        let link = results.join("latest");
        let partial = results.join(format!(".latest.{}", std::process::id()));
        let results = results.canonicalize().map_err(at(results))?;
        let path = self.path.canonicalize().map_err(at(&self.path))?;
        let target = path.strip_prefix(&results).unwrap_or(&path);
        std::os::unix::fs::symlink(target, &partial).map_err(at(&partial))?;
        fs::rename(&partial, &link).map_err(at(&link))
    }
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError { path, source }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `manifest.json`: how the run was made, and the hash of everything that it left.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// See [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// Version of `testbed`.
    pub tool_version: String,
    /// Command line.
    pub argv: Vec<String>,
    /// Backend.
    pub backend: String,
    /// Seed of everything random.
    pub seed: u64,
    /// Wall-clock time of time zero (RFC 3339, UTC).
    pub started: String,
    /// Kernel release and machine.
    pub kernel: String,
    /// Facts by host of the scenario.
    pub hosts: BTreeMap<String, HostFacts>,
    /// What each link did.
    pub links: Vec<LinkSummary>,
    /// What each radio cost.
    #[serde(default)]
    pub radios: Vec<RadioSummary>,
    /// What each rule of each network refused to carry.
    #[serde(default)]
    pub blocks: Vec<BlockSummary>,
    /// How late the emulation delivered packets, over all links.
    pub lateness: LatenessSummary,
    /// Offset between the hosts' clocks, nanoseconds, and its error; both 0 on one machine.
    pub clock_offset_ns: i64,
    /// See `clock_offset_ns`.
    pub clock_error_ns: u64,
    /// Captures and logs of engines, and what they lack.
    #[serde(default)]
    pub evidence: Vec<EvidenceSummary>,
    /// SHA-256 of every file, by its path inside the directory.
    pub sha256: BTreeMap<String, String>,
}

/// One capture or log of an engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceSummary {
    /// Path inside the run directory.
    pub file: String,
    /// full, limited or none.
    pub mode: String,
    /// Packets of which the end of the payload is missing.
    pub packets_cut: u64,
    /// Packets, or records of a qlog, that are missing.
    pub packets_dropped: u64,
    /// Bytes that are missing for both reasons.
    pub bytes_dropped: u64,
}

/// What a host of the scenario was in this run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostFacts {
    /// What it ran, with its version.
    pub program: String,
    /// Its interfaces and their addresses.
    pub interfaces: BTreeMap<String, Vec<String>>,
}

/// Counts of one direction of one link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LinkSummary {
    /// Network of the scenario.
    pub network: String,
    /// Host, or server, at its end.
    pub host: String,
    /// Interface at its end.
    pub interface: String,
    /// In place of a host and an interface: the network whose border is at its end.
    #[serde(default)]
    pub router: String,
    /// Which way.
    pub direction: crate::Direction,
    /// Packets that entered.
    pub packets: u64,
    /// Bytes that entered.
    pub bytes: u64,
    /// Packets that came to be twice on it.
    #[serde(default)]
    pub duplicated: u64,
    /// Drops by cause.
    pub drops: BTreeMap<crate::DropCause, u64>,
    /// Lateness of the deliveries.
    pub lateness: LatenessSummary,
}

/// What a radio cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RadioSummary {
    /// Its host.
    pub host: String,
    /// Its interface.
    pub interface: String,
    /// How long it was connected, nanoseconds.
    pub on_ns: u64,
    /// How often it went from idle to connected.
    pub promotions: u64,
}

/// What a rule of a network refused to carry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BlockSummary {
    /// Network of the scenario.
    pub network: String,
    /// The rule, in the words of a scenario.
    pub rule: serde_json::Value,
    /// Packets.
    pub dropped: u64,
}

/// Lateness: the moment a packet was handed to the kernel less the moment it was due.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct LatenessSummary {
    /// Deliveries measured.
    pub count: u64,
    /// Nanoseconds.
    pub median_ns: u64,
    /// Nanoseconds.
    pub p99_ns: u64,
    /// Nanoseconds.
    pub max_ns: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            schema_version: SCHEMA_VERSION,
            tool_version: "0.1.0".into(),
            argv: vec!["testbed".into()],
            backend: "netns".into(),
            seed: 7,
            started: "2026-11-21T10:00:00Z".into(),
            kernel: "Linux".into(),
            hosts: BTreeMap::new(),
            links: vec![],
            radios: vec![],
            blocks: vec![],
            lateness: LatenessSummary::default(),
            clock_offset_ns: 0,
            clock_error_ns: 0,
            evidence: vec![],
            sha256: BTreeMap::new(),
        }
    }

    #[test]
    fn the_manifest_holds_the_hash_of_every_file() {
        let results = tempfile::tempdir().unwrap();
        let started = "2026-11-21T10:00:00Z".parse().unwrap();
        let run = RunDirectory::create(results.path(), "wifi-off", started, 7).unwrap();
        assert!(run.path().is_absolute());
        assert!(run.path().ends_with("wifi-off/20261121T100000Z-7"));
        fs::write(run.host("laptop").unwrap().join("stdout.log"), "abc").unwrap();
        assert_eq!(run.manifest().unwrap(), None);
        run.seal(manifest()).unwrap();
        let hashes = run.manifest().unwrap().unwrap().sha256;
        assert_eq!(
            hashes["hosts/laptop/stdout.log"],
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hashes.len(), 1);
    }

    #[test]
    fn what_was_done_to_a_sealed_run_is_found() {
        let results = tempfile::tempdir().unwrap();
        let started = "2026-11-21T10:00:00Z".parse().unwrap();
        let run = RunDirectory::create(results.path(), "wifi-off", started, 7).unwrap();
        assert_eq!(run.schema_version().unwrap(), None, "it is not sealed");
        for file in ["a", "b", "c"] {
            run.write(file, file.as_bytes()).unwrap();
        }
        run.seal(manifest()).unwrap();
        assert_eq!(run.schema_version().unwrap(), Some(SCHEMA_VERSION));
        let sealed = run.manifest().unwrap().unwrap();
        assert_eq!(run.faults(&sealed).unwrap(), []);
        fs::remove_file(run.path().join("a")).unwrap();
        run.write("b", b"another").unwrap();
        fs::write(run.host("laptop").unwrap().join("d"), "d").unwrap();
        let faults = [
            Fault::Missing("a".into()),
            Fault::Changed("b".into()),
            Fault::Unlisted("hosts/laptop/d".into()),
        ];
        assert_eq!(run.faults(&sealed).unwrap(), faults);
    }

    #[test]
    fn two_runs_of_one_second_get_their_own_directories_and_latest_is_the_newer() {
        let results = tempfile::tempdir().unwrap();
        let started = "2026-11-21T10:00:00Z".parse().unwrap();
        let first = RunDirectory::create(results.path(), "s", started, 7).unwrap();
        let second = RunDirectory::create(results.path(), "s", started, 7).unwrap();
        assert_ne!(first.path(), second.path());
        first.link_latest(results.path()).unwrap();
        second.link_latest(results.path()).unwrap();
        assert_eq!(
            results.path().join("latest").canonicalize().unwrap(),
            second.path().canonicalize().unwrap()
        );
    }
}
