//! Events as JSON lines: a writer that loses nothing silently, and a reader that says what is torn.

use crate::Event;
use std::{
    fs::{File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Appends events to a file, each with one `write(2)` and before the call returns, so that `kill -9` at any moment
/// leaves every event so far (the page cache outlives the process).
#[derive(Debug)]
pub struct Writer {
    file: File,
    path: PathBuf,
    written: u64,
}

/// An event could not be recorded; the run must fail.
#[derive(Debug, Error)]
#[error("cannot append to {path}: {source}")]
pub struct WriteError {
    path: PathBuf,
    source: io::Error,
}

impl Writer {
    /// Creates the file, which must not exist yet.
    pub fn create(path: &Path) -> Result<Self, WriteError> {
        let file = OpenOptions::new()
            .append(true)
            .create_new(true)
            .open(path)
            .map_err(|source| WriteError { path: path.to_owned(), source })?;
        Ok(Self { file, path: path.to_owned(), written: 0 })
    }

    /// Appends one event.
    pub fn append(&mut self, event: &Event) -> Result<(), WriteError> {
        let mut line = serde_json::to_vec(event).map_err(|error| self.failed(error.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| self.failed(error))?;
        self.written += 1;
        Ok(())
    }

    /// How many events were appended.
    pub fn written(&self) -> u64 {
        self.written
    }

    fn failed(&self, source: io::Error) -> WriteError {
        WriteError { path: self.path.clone(), source }
    }
}

/// A line that is no event.
#[derive(Debug, Error)]
#[error("{why}")]
pub struct LineError {
    why: String,
}

/// Parses one line as a process wrote it.
pub fn parse_line(line: &str) -> Result<Event, LineError> {
    serde_json::from_str(line).map_err(|error| LineError { why: error.to_string() })
}

/// All events of a file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EventLog {
    /// The events, sorted by time; those of one instant in order of arrival.
    pub events: Vec<Event>,
    /// What follows the last newline: a line that was torn when its writer was killed.
    pub torn: Option<String>,
}

/// Events could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The file could not be read.
    #[error("cannot read {path}: {source}")]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A whole line is no event.
    #[error("{path}:{line}: not an event of this version: {why}")]
    Line {
        /// Which file.
        path: PathBuf,
        /// Counts from 1.
        line: usize,
        /// Why.
        why: String,
    },
}

/// Reads `events.jsonl`. A torn last line (no newline at its end) is handed back, never an error and never silent.
pub fn read_events(path: &Path) -> Result<EventLog, ReadError> {
    let bytes = std::fs::read(path).map_err(|source| ReadError::Io { path: path.to_owned(), source })?;
    let text = String::from_utf8_lossy(&bytes);
    let mut log = EventLog::default();
    for (index, line) in text.split_inclusive('\n').enumerate() {
        let Some(whole) = line.strip_suffix('\n') else {
            log.torn = Some(line.to_owned());
            break;
        };
        let event = parse_line(whole).map_err(|error| ReadError::Line {
            path: path.to_owned(),
            line: index + 1,
            why: error.why,
        })?;
        log.events.push(event);
    }
    log.events.sort_by_key(|event| event.t_ns);
    Ok(log)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{EventKind, WorkloadKind};

    fn event(t_ns: i64, sequence: u64) -> Event {
        let what = EventKind::PayloadSent { workload: WorkloadKind::Call, sequence, bytes: 58 };
        Event { t_ns, host: "laptop".into(), what }
    }

    #[test]
    fn what_is_written_is_read_back_in_order_of_time() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        let mut writer = Writer::create(&path).unwrap();
        for (t, sequence) in [(30, 2), (-10, 0), (20, 1), (30, 3)] {
            writer.append(&event(t, sequence)).unwrap();
        }
        assert_eq!(writer.written(), 4);
        let log = read_events(&path).unwrap();
        assert_eq!(log.events, [event(-10, 0), event(20, 1), event(30, 2), event(30, 3)]);
        assert_eq!(log.torn, None);
    }

    #[test]
    fn the_form_on_disk_is_time_host_kind_fields() {
        let text = serde_json::to_string(&event(1, 7)).unwrap();
        assert_eq!(
            text,
            r#"{"t_ns":1,"host":"laptop","kind":"payload_sent","fields":{"workload":"call","sequence":7,"bytes":58}}"#
        );
    }

    #[test]
    fn a_torn_last_line_is_handed_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        Writer::create(&path).unwrap().append(&event(1, 0)).unwrap();
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend_from_slice(br#"{"t_ns":2,"ho"#);
        std::fs::write(&path, bytes).unwrap();
        let log = read_events(&path).unwrap();
        assert_eq!(log.events.len(), 1);
        assert_eq!(log.torn.as_deref(), Some(r#"{"t_ns":2,"ho"#));
    }

    #[test]
    fn a_broken_line_is_an_error_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "{}\n").unwrap();
        let error = read_events(&path).unwrap_err().to_string();
        assert!(error.contains("events.jsonl:1: not an event"), "{error}");
    }

    #[test]
    fn an_existing_file_is_never_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.jsonl");
        std::fs::write(&path, "").unwrap();
        assert!(Writer::create(&path).is_err());
    }
}
