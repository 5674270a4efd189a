//! Why the program ends other than well: what to tell, how to mend it, and the exit code.

use miette::Diagnostic;
use std::process::ExitCode;
use thiserror::Error;

/// The end, other than a good one.
#[derive(Debug, Error, Diagnostic)]
pub(crate) enum Failure {
    /// Arguments, files that they name, or commands on the control descriptor.
    #[error("{what}")]
    Arguments {
        what: String,
        #[help]
        help: Option<String>,
    },
    /// Rights, ports, devices.
    #[error("{what}")]
    Machine {
        what: String,
        #[help]
        help: Option<String>,
    },
    /// The other peer did not answer.
    #[error("the peer cannot be reached: {why}")]
    #[diagnostic(help(
        "is the server still running, is the ticket its newest, and can both reach the rendezvous server (or each \
         other) over UDP? `-V` tells what was tried"
    ))]
    Unreachable { why: String },
    /// Nobody answered the prober.
    #[error("no STUN server answered on any interface")]
    #[diagnostic(help("is the address right (`iceperf relay` prints it), and does UDP get there?"))]
    NoServer,
    /// Bytes of a transfer are missing.
    #[error("the transfer was interrupted: {what}")]
    #[diagnostic(help(
        "the other end stopped or was lost before the end, or the time was up; see `bulk` in --json"
    ))]
    Interrupted { what: String },
    /// The bytes that arrived are not those that were sent.
    #[error("SHA-256 differs between the ends: {what}")]
    #[diagnostic(help("this is an error of iceperf or of a machine: QUIC's packets are authenticated"))]
    DigestDiffers { what: String },
    /// The ends could not compare their digests.
    #[error("the transfer was not confirmed: {what}")]
    #[diagnostic(help("the other end may have everything; it was lost before it could say so"))]
    Unconfirmed { what: String },
    /// The other peer, or we, refused.
    #[error("refused: {why}")]
    #[diagnostic(help(
        "use the ticket that this very server printed: it pins the certificate and holds the secret"
    ))]
    Refused { why: String },
}

impl Failure {
    /// Of the arguments.
    pub(crate) fn arguments(what: impl ToString) -> Self {
        Failure::Arguments { what: what.to_string(), help: None }
    }

    /// Of the machine.
    pub(crate) fn machine(what: impl ToString) -> Self {
        Failure::Machine { what: what.to_string(), help: None }
    }

    /// How to mend it.
    pub(crate) fn with_help(mut self, text: impl ToString) -> Self {
        if let Failure::Arguments { help, .. } | Failure::Machine { help, .. } = &mut self {
            *help = Some(text.to_string());
        }
        self
    }

    /// As the contract has it.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Failure::Arguments { .. } => 2,
            Failure::Machine { .. } => 3,
            Failure::Interrupted { .. } => 4,
            Failure::Unreachable { .. } | Failure::NoServer => 5,
            Failure::Refused { .. } => 6,
            Failure::DigestDiffers { .. } => 7,
            Failure::Unconfirmed { .. } => 8,
        })
    }
}
