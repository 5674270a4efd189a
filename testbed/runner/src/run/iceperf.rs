//! The `iceperf` that runs: `--iceperf`, else the one beside `testbed`, else the one in PATH. Its version is ours.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// A program of the right version.
#[derive(Debug, Clone)]
pub(crate) struct Iceperf {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

/// Why there is none.
#[derive(Debug, Error)]
#[error("{what}")]
pub(crate) struct IceperfError {
    what: IceperfFault,
    /// It was named on the command line.
    named: bool,
}

#[derive(Debug, Error)]
enum IceperfFault {
    #[error(
        "iceperf is neither beside testbed ({beside}) nor in PATH\nfix: cargo build --release, or name it with --iceperf"
    )]
    Nowhere { beside: String },
    #[error("{path}: {source}", path = .path.display())]
    NotRunnable { path: PathBuf, source: io::Error },
    #[error("{path} does not say that it is iceperf: {said:?}", path = .path.display())]
    NotIceperf { path: PathBuf, said: String },
    #[error(
        "{path} is iceperf {found}, and this is testbed {OURS}: their versions must be equal", path = .path.display()
    )]
    Version { path: PathBuf, found: String },
}

const OURS: &str = env!("CARGO_PKG_VERSION");
const NAME: &str = "iceperf";

impl IceperfError {
    /// Whether an argument is at fault, not the machine.
    pub(crate) fn is_argument(&self) -> bool {
        self.named
    }
}

impl Iceperf {
    /// Finds it and asks for its version.
    pub(crate) fn find(named: Option<&Path>) -> Result<Self, IceperfError> {
        let failed = |what| IceperfError { what, named: named.is_some() };
        let path = match named {
            Some(path) => path.to_owned(),
            None => look_for().map_err(failed)?,
        };
        // Children are started elsewhere; a relative path must go on meaning the same.
        let path =
            path.canonicalize().map_err(|source| failed(IceperfFault::NotRunnable { path, source }))?;
        let version = ask(&path).map_err(failed)?;
        if version != OURS {
            return Err(failed(IceperfFault::Version { path, found: version }));
        }
        Ok(Self { path, version })
    }
}

fn look_for() -> Result<PathBuf, IceperfFault> {
    let beside = env::current_exe().ok().map(|path| path.with_file_name(NAME));
    let in_path =
        env::var_os("PATH").into_iter().flat_map(|path| env::split_paths(&path).collect::<Vec<_>>());
    let mut places = beside.clone().into_iter().chain(in_path.map(|directory| directory.join(NAME)));
    places.find(|path| path.is_file()).ok_or_else(|| {
        let beside = beside.unwrap_or_else(|| NAME.into());
        IceperfFault::Nowhere { beside: beside.display().to_string() }
    })
}

fn ask(path: &Path) -> Result<String, IceperfFault> {
    let output = Command::new(path)
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|source| IceperfFault::NotRunnable { path: path.to_owned(), source })?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match said.split_whitespace().collect::<Vec<_>>().as_slice() {
        [NAME, version] => Ok((*version).to_owned()),
        _ => Err(IceperfFault::NotIceperf { path: path.to_owned(), said: said.chars().take(80).collect() }),
    }
}
