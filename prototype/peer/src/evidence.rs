//! What lets others read a run: TLS secrets, and the engine's own log. Collected here, because nothing in this crate
//! writes files; the driver is handed both as outputs.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, PoisonError},
};

/// What is to be collected. Nothing by default: TLS secrets open the connection to whoever has them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Evidence {
    /// TLS secrets, as lines of the NSS key log format.
    pub key_log: bool,
    /// The engine's log of every connection (qlog, JSON text sequences).
    pub qlog: bool,
}

/// Where engines put it. Clones share one store.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    wanted: Evidence,
    store: Arc<Mutex<Store>>,
}

#[derive(Debug, Default)]
struct Store {
    secrets: Vec<String>,
    traces: BTreeMap<u32, Vec<u8>>,
    next: u32,
}

impl Collector {
    pub(crate) fn new(wanted: Evidence) -> Self {
        Self { wanted, store: Arc::default() }
    }

    /// None when no secrets are wanted.
    pub(crate) fn key_log(&self) -> Option<Arc<dyn rustls::KeyLog>> {
        self.wanted.key_log.then(|| Arc::new(KeyLog(self.clone())) as Arc<dyn rustls::KeyLog>)
    }

    /// The same for an engine that writes lines.
    #[cfg(feature = "quiche")]
    pub(crate) fn secrets(&self) -> Option<Secrets> {
        self.wanted.key_log.then(|| Secrets { collector: self.clone(), line: vec![] })
    }

    /// A log for one more connection; none when none is wanted.
    pub(crate) fn trace(&self) -> Option<Trace> {
        self.wanted.qlog.then(|| {
            let mut store = self.store();
            let connection = store.next;
            store.next += 1;
            Trace { connection, collector: self.clone() }
        })
    }

    /// What came together since the last call: lines of secrets, and bytes of each connection's log.
    pub(crate) fn take(&self) -> (Vec<String>, BTreeMap<u32, Vec<u8>>) {
        let mut store = self.store();
        (std::mem::take(&mut store.secrets), std::mem::take(&mut store.traces))
    }

    fn secret(&self, line: String) {
        self.store().secrets.push(line);
    }

    fn store(&self) -> std::sync::MutexGuard<'_, Store> {
        // Whole lines are pushed under the lock, so a panic elsewhere leaves nothing half done.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Collects the lines that are written to it.
#[cfg(feature = "quiche")]
#[derive(Debug)]
pub(crate) struct Secrets {
    collector: Collector,
    /// Not whole yet.
    line: Vec<u8>,
}

#[cfg(feature = "quiche")]
impl io::Write for Secrets {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(bytes);
        while let Some(end) = self.line.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.line.drain(..=end).collect();
            self.collector.secret(String::from_utf8_lossy(&line).trim_end().to_owned());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The log of one connection.
#[derive(Debug)]
pub(crate) struct Trace {
    connection: u32,
    collector: Collector,
}

impl io::Write for Trace {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut store = self.collector.store();
        store.traces.entry(self.connection).or_default().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct KeyLog(Collector);

impl rustls::KeyLog for KeyLog {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        self.0.secret(format!("{label} {} {}", Hex(client_random), Hex(secret)));
    }
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}
