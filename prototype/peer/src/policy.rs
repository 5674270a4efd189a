//! Path policy: data that says which pairs become paths, how closely they are watched, and what a loss leads to.

use crate::InterfaceKind;
use std::{fmt, str::FromStr, time::Duration};
use thiserror::Error;

/// Which interfaces carry paths and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Its preset.
    pub name: &'static str,
    /// Paths that are held open at once, at most one between two interfaces; the others than the active one are
    /// validated in advance and kept in reserve (a warm standby).
    pub max_paths: usize,
    /// How often the pair of the active path is checked. A loss that nothing tells is found within some three of
    /// these.
    pub active_check_interval: Duration,
    /// How often the pair of a standby path is checked, which also keeps NAT mappings and firewall states open.
    pub standby_check_interval: Duration,
    /// Preference of interface kinds, best first, for the active path.
    pub preference: [InterfaceKind; 3],
    /// Whether the active path moves when a pair on a preferred interface comes up (or comes back).
    pub move_to_preferred: bool,
}

impl Policy {
    /// Ours: every interface is probed, each holds one validated path, the cheapest kind carries the payload, both
    /// ends are told of a loss at once.
    pub fn multipath() -> Self {
        Self {
            name: "multipath",
            max_paths: 4,
            active_check_interval: Duration::from_millis(50),
            standby_check_interval: Duration::from_millis(100),
            preference: [InterfaceKind::Lan, InterfaceKind::Wifi, InterfaceKind::Cellular],
            move_to_preferred: true,
        }
    }

    /// Rank of an interface kind; lower is better.
    pub fn rank(&self, kind: InterfaceKind) -> usize {
        self.preference.iter().position(|&other| other == kind).unwrap_or(self.preference.len())
    }
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("no policy `{0}` in this version; there is: multipath")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Self, UnknownPolicy> {
        match name {
            "multipath" => Ok(Policy::multipath()),
            other => Err(UnknownPolicy(other.into())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}
