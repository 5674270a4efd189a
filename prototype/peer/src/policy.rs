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
    /// What it costs to use an interface, by its kind: the active path is on the cheapest.
    pub cost: Costs,
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
            cost: Costs::default(),
            move_to_preferred: true,
        }
    }

    /// Rank of an interface kind; lower is better, and kinds of one cost share a rank.
    pub fn rank(&self, kind: InterfaceKind) -> usize {
        let cost = self.cost.of(kind);
        let kinds = [InterfaceKind::Lan, InterfaceKind::Wifi, InterfaceKind::Cellular];
        kinds.into_iter().filter(|other| self.cost.of(*other) < cost).count()
    }
}

/// Cost of an interface by its kind, on the scale of WebRTC's network cost (STUN attribute 0xC057), 0 to 999. The
/// defaults are those of libwebrtc: Ethernet 0, WiFi 10, cellular of unknown generation 900, as it may be metered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Costs {
    /// Wired.
    pub lan: u16,
    /// IEEE 802.11.
    pub wifi: u16,
    /// A modem.
    pub cellular: u16,
}

impl Default for Costs {
    fn default() -> Self {
        Self { lan: 0, wifi: 10, cellular: 900 }
    }
}

impl Costs {
    /// Of one kind.
    pub fn of(&self, kind: InterfaceKind) -> u16 {
        match kind {
            InterfaceKind::Lan => self.lan,
            InterfaceKind::Wifi => self.wifi,
            InterfaceKind::Cellular => self.cellular,
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cheaper_kind_ranks_first_and_equal_costs_rank_the_same() {
        let ranks = |policy: &Policy| {
            [InterfaceKind::Lan, InterfaceKind::Wifi, InterfaceKind::Cellular].map(|kind| policy.rank(kind))
        };
        let mut policy = Policy::multipath();
        assert_eq!(ranks(&policy), [0, 1, 2]);
        policy.cost = Costs { lan: 5, wifi: 5, cellular: 1 };
        assert_eq!(ranks(&policy), [1, 1, 0]);
    }
}
