//! Programs of others that a scenario's servers run. They are looked for before anything starts.

use crate::scenario::{Scenario, ServerKind};
use std::{
    collections::BTreeMap,
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use thiserror::Error;

/// What runs a kind of server, and how it comes onto a machine.
#[derive(Debug)]
pub(crate) struct Foreign {
    pub(crate) kind: ServerKind,
    pub(crate) program: &'static str,
    /// What installs it, on Debian and its descendants.
    pub(crate) fix: &'static str,
}

/// Every one.
pub(crate) const FOREIGN: [Foreign; 2] = [
    Foreign {
        kind: ServerKind::Coturn,
        program: "turnserver",
        // The package starts a server on the machine itself.
        fix: "sudo apt-get install coturn && sudo systemctl disable --now coturn",
    },
    Foreign { kind: ServerKind::Iperf3, program: "iperf3", fix: "sudo apt-get install iperf3" },
];

/// A program that is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) path: PathBuf,
    /// As it says itself; empty when it does not.
    pub(crate) version: String,
}

/// A server's program is not on this machine.
#[derive(Debug, Error)]
#[error("`{server}` is a server of kind `{kind}`, which {program} runs, and that is not in PATH\nfix: {fix}")]
pub(crate) struct MissingProgram {
    server: String,
    kind: &'static str,
    program: &'static str,
    fix: &'static str,
}

/// Those that the servers of a scenario need.
#[derive(Debug, Clone, Default)]
pub(crate) struct Programs(BTreeMap<ServerKind, Program>);

impl Programs {
    /// Finds all of them.
    pub(crate) fn find(scenario: &Scenario) -> Result<Self, MissingProgram> {
        let mut programs = BTreeMap::new();
        for (name, server) in &scenario.servers {
            let Some(foreign) = FOREIGN.iter().find(|foreign| foreign.kind == server.kind) else { continue };
            let program = foreign.find().ok_or_else(|| MissingProgram {
                server: name.clone(),
                kind: foreign.kind.name(),
                program: foreign.program,
                fix: foreign.fix,
            })?;
            programs.insert(server.kind, program);
        }
        Ok(Self(programs))
    }

    /// None for a kind that `iceperf` runs.
    pub(crate) fn of(&self, kind: ServerKind) -> Option<&Program> {
        self.0.get(&kind)
    }
}

impl Foreign {
    /// Where it is, and which.
    pub(crate) fn find(&self) -> Option<Program> {
        let places = env::var_os("PATH").unwrap_or_default();
        // Not in the PATH of every ordinary user.
        let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        let mut places = env::split_paths(&places).chain(system).map(|place| place.join(self.program));
        let path = places.find(|path| path.is_file())?;
        let version = ask(&path);
        Some(Program { path, version })
    }
}

fn ask(path: &Path) -> String {
    let output = Command::new(path).arg("--version").stdin(Stdio::null()).output();
    let said = output.map(|output| output.stdout).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    said.lines().next().unwrap_or_default().trim().chars().take(80).collect()
}
