//! Files for those who read a run afterwards: TLS secrets (`--key-log`), and the engine's log of each connection
//! (`--qlog`).
//!
//! Both are opened before anything is sent, and what cannot be written ends the program: evidence with holes that
//! nobody was told of is worse than none. What the engine logs is its own business; [`filter`] leaves out some of it
//! where that is asked for, and counts what.

mod filter;

pub(crate) use filter::{Filter, Losses};

use crate::failure::Failure;
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

/// Where evidence goes.
#[derive(Debug)]
pub(crate) struct Evidence {
    key_log: Option<Named>,
    traces: Option<Traces>,
}

#[derive(Debug)]
struct Named {
    path: PathBuf,
    file: File,
    /// Start of a record whose end has not come yet.
    rest: Vec<u8>,
    losses: Losses,
}

/// A file for each connection.
#[derive(Debug)]
struct Traces {
    directory: PathBuf,
    stem: &'static str,
    open: BTreeMap<u32, Named>,
    filter: Filter,
}

impl Evidence {
    /// Opens the key log and makes the directory. Logs are named after `role`.
    pub(crate) fn open(
        key_log: Option<&Path>,
        qlog: Option<&Path>,
        filter: Filter,
        role: &'static str,
    ) -> Result<Self, Failure> {
        let key_log = key_log.map(append_secretly).transpose()?;
        let traces = qlog.map(|directory| Traces::into_directory(directory, role, filter)).transpose()?;
        Ok(Self { key_log, traces })
    }

    /// What the peer is to hand out.
    pub(crate) fn wanted(&self) -> peer::Evidence {
        peer::Evidence { key_log: self.key_log.is_some(), qlog: self.traces.is_some() }
    }

    /// A line of the key log.
    pub(crate) fn secret(&mut self, line: &str) -> Result<(), Failure> {
        match &mut self.key_log {
            // One write: other programs may append to the same file.
            Some(log) => log.write(format!("{line}\n").as_bytes()),
            None => Ok(()),
        }
    }

    /// More of the log of a connection; time zero was so long ago, if it has come.
    pub(crate) fn trace(
        &mut self,
        connection: u32,
        since_zero: Option<Duration>,
        bytes: &[u8],
    ) -> Result<(), Failure> {
        match &mut self.traces {
            Some(traces) => traces.write(connection, since_zero, bytes),
            None => Ok(()),
        }
    }

    /// Losses of each log to the filter, by the name of its file.
    pub(crate) fn losses(&self) -> Vec<(String, Losses)> {
        let logs = self.traces.iter().flat_map(|traces| traces.open.values());
        let lossy = logs.filter(|log| log.losses != Losses::default());
        let named =
            lossy.filter_map(|log| Some((log.path.file_name()?.to_string_lossy().into_owned(), log.losses)));
        named.collect()
    }
}

/// Whoever can read these secrets can read the call. A file that is there keeps its rights and its content.
fn append_secretly(path: &Path) -> Result<Named, Failure> {
    match OpenOptions::new().append(true).create(true).mode(0o600).open(path) {
        Ok(file) => Ok(Named::new(path.to_owned(), file)),
        Err(error) => Err(failed(path, &error).with_help("--key-log (or SSLKEYLOGFILE) names this file")),
    }
}

impl Traces {
    fn into_directory(directory: &Path, stem: &'static str, filter: Filter) -> Result<Self, Failure> {
        fs::create_dir_all(directory)
            .map_err(|error| failed(directory, &error).with_help("--qlog names this directory"))?;
        let mut traces = Self { directory: directory.to_owned(), stem, open: BTreeMap::new(), filter };
        // A directory that cannot be written to is told of now, not when the first connection is there.
        let first = traces.create()?;
        traces.open.insert(0, first);
        Ok(traces)
    }

    fn write(&mut self, connection: u32, since_zero: Option<Duration>, bytes: &[u8]) -> Result<(), Failure> {
        if !self.open.contains_key(&connection) {
            let new = self.create()?;
            self.open.insert(connection, new);
        }
        let Some(trace) = self.open.get_mut(&connection) else { return Ok(()) };
        if self.filter.keeps_everything() {
            return trace.write(bytes);
        }
        trace.rest.extend_from_slice(bytes);
        let whole = trace.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let records: Vec<u8> = trace.rest.drain(..whole).collect();
        let kept = self.filter.apply(&records, since_zero, &mut trace.losses);
        trace.write(&kept)
    }

    /// The first name that is free: logs of earlier runs stay.
    fn create(&self) -> Result<Named, Failure> {
        for number in 1.. {
            let name = match number {
                1 => format!("{}.sqlog", self.stem),
                _ => format!("{}-{number}.sqlog", self.stem),
            };
            let path = self.directory.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok(Named::new(path, file)),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(failed(&path, &error)),
            }
        }
        Err(Failure::machine(format!("{}: no name is free", self.directory.display())))
    }
}

impl Named {
    fn new(path: PathBuf, file: File) -> Self {
        Self { path, file, rest: vec![], losses: Losses::default() }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.file.write_all(bytes).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::machine(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn secrets_are_appended_to_a_file_that_only_its_owner_reads() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys.log");
        for line in ["CLIENT_RANDOM 01 02", "CLIENT_RANDOM 03 04"] {
            let mut evidence = Evidence::open(Some(&path), None, Filter::default(), "client").unwrap();
            assert_eq!(evidence.wanted(), peer::Evidence { key_log: true, qlog: false });
            evidence.secret(line).unwrap();
            evidence.trace(0, None, b"nobody asked for it").unwrap();
        }
        assert_eq!(fs::read_to_string(&path).unwrap(), "CLIENT_RANDOM 01 02\nCLIENT_RANDOM 03 04\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn each_connection_has_a_log_and_earlier_ones_stay() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("a/b");
        for _ in 0..2 {
            let mut evidence = Evidence::open(None, Some(&place), Filter::default(), "server").unwrap();
            evidence.trace(0, None, b"one").unwrap();
            evidence.trace(1, None, b"two").unwrap();
            evidence.trace(0, None, b"more").unwrap();
        }
        let read = |name: &str| fs::read_to_string(place.join(name)).unwrap();
        assert_eq!(read("server.sqlog"), "onemore");
        assert_eq!(read("server-2.sqlog"), "two");
        assert_eq!(read("server-3.sqlog"), "onemore");
        assert_eq!(read("server-4.sqlog"), "two");
    }

    #[test]
    fn what_cannot_be_written_is_the_machines_fault_and_named() {
        let path = Path::new("/dev/null/keys");
        for error in [
            Evidence::open(Some(path), None, Filter::default(), "client").unwrap_err(),
            Evidence::open(None, Some(path), Filter::default(), "client").unwrap_err(),
        ] {
            assert!(
                matches!(&error, Failure::Machine { .. }) && error.to_string().contains("/dev/null/keys")
            );
        }
        let mut full =
            Evidence::open(Some(Path::new("/dev/full")), None, Filter::default(), "client").unwrap();
        let error = full.secret("CLIENT_RANDOM 01 02").unwrap_err();
        assert!(error.to_string().contains("/dev/full: No space left"), "{error}");
    }
}
