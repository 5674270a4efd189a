//! The engines by name.

use std::{fmt, str::FromStr};
use thiserror::Error;

/// Which QUIC implementation carries the connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EngineKind {
    /// noq-proto: several paths at once (RFC 10069).
    #[default]
    Noq,
    /// quiche: one path at a time, which migrates (RFC 9000 section 9). Needs the cargo feature `quiche`.
    #[cfg(feature = "quiche")]
    Quiche,
}

impl EngineKind {
    /// All of this build.
    pub const ALL: &[EngineKind] = &[
        EngineKind::Noq,
        #[cfg(feature = "quiche")]
        EngineKind::Quiche,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            EngineKind::Noq => "noq",
            #[cfg(feature = "quiche")]
            EngineKind::Quiche => "quiche",
        }
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// No engine of this build has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no engine `{name}` in this build; there is: {}", names())]
pub struct UnknownEngine {
    name: String,
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(name: &str) -> Result<Self, UnknownEngine> {
        Self::ALL
            .iter()
            .copied()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownEngine { name: name.into() })
    }
}

fn names() -> String {
    let names: Vec<_> = EngineKind::ALL.iter().map(|kind| kind.as_str()).collect();
    names.join(", ")
}
