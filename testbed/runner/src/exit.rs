//! The exit codes, each with its meaning.

use std::process::ExitCode;

/// How `testbed` ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All expectations hold.
    Success,
    /// An expectation failed.
    Failed,
    /// Bad scenario or arguments.
    Usage,
    /// This machine cannot run it.
    Machine,
    /// The run is invalid: its own timing or record check failed.
    Invalid,
    /// Ended by a signal, as a shell counts it: 128 and the signal's number.
    Interrupted(u8),
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Success => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::Machine => 3,
            Exit::Invalid => 4,
            Exit::Interrupted(signal) => 128_u8.saturating_add(signal),
        })
    }
}
