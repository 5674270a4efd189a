//! `servers`: what stands on the internet itself.

use super::{
    diagnostic::Problems,
    quantity::{self, parse_duration},
    reader::{self, Table},
    words,
    yaml::Node,
};
use serde::Serialize;
use std::time::Duration;

/// A server with public addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    pub(crate) kind: ServerKind,
    /// Between the internet and the server, one way, each direction.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) delay: Duration,
}

/// What it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerKind {
    /// Where peers without a shared network exchange candidates; answers STUN Binding requests too.
    Rendezvous,
}

impl Server {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::SERVER, problems)?;
        let kind = table.require("kind", problems);
        let kind = kind.and_then(|node| reader::word(node, &words::SERVER_KINDS, problems));
        let delay = table.require("delay", problems);
        let delay = delay.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        kind.map(|_| ServerKind::Rendezvous).zip(delay).map(|(kind, delay)| Self { kind, delay })
    }
}
