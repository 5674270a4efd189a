//! Path policy: data that says what is probed and kept alive, which pairs become paths, how closely they are watched,
//! and what a loss leads to.
//!
//! One policy has two halves: what the ICE agent does ([`ice::Policy`]), and what is made of it for QUIC. A preset names
//! both. [`Policy::from_str`] reads a preset and changes to it; [`ice::policy`] says which observations a preset comes
//! from.

mod text;

pub use text::{ChangeError, KEYS};

use crate::InterfaceKind;
use ice::Rung;
use std::{fmt, time::Duration};

/// What is probed and kept, and which interfaces carry paths and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// What the ICE agent does.
    pub ice: ice::Policy,
    /// Paths that are held open at once.
    pub held: Held,
    /// How often pairs are checked, by what they carry; none: as [`ice`](Self::ice) says.
    pub checks: Option<Checks>,
    /// What it costs to use an interface, by its kind: the active path is on the cheapest.
    pub cost: Costs,
    /// Whether the active path moves when a pair on a preferred interface, or one without a relay, comes up (or comes
    /// back).
    pub move_to_preferred: bool,
    /// What differs from the preset, as it was written.
    changes: Vec<String>,
}

/// Paths that are held open at once; the others than the active one are validated in advance and kept in reserve (a warm
/// standby).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// Without a relay, at most one between two interfaces.
    pub direct: usize,
    /// Over a relay, beside direct ones. Where there is no direct one, one over a relay is always opened.
    pub relayed: usize,
}

/// How often pairs are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// The pair of the active path. A loss that nothing tells is found within some three of these.
    pub active: Duration,
    /// The pair of a path in reserve; that also keeps NAT mappings and firewall states open.
    pub standby: Duration,
    /// A pair that carries no path.
    pub spare: Duration,
}

/// A disguise of checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disguise {
    /// Where; none: on every interface.
    pub interface: Option<String>,
    /// Which.
    pub rung: Rung,
}

impl Policy {
    /// Ours: every interface is probed, each holds one validated path, one over a relay stands behind them, the cheapest
    /// kind carries the payload, both ends are told of a loss at once.
    pub fn multipath() -> Self {
        let checks = Checks {
            active: Duration::from_millis(50),
            standby: Duration::from_millis(100),
            spare: Duration::from_secs(1),
        };
        Self {
            checks: Some(checks),
            ..Self::around(ice::Policy::multipath(), Held { direct: 4, relayed: 1 })
        }
    }

    /// One nominated pair carries one path; nothing stands behind it, and only consent tells of a loss that the kernel
    /// does not.
    pub fn rfc8445() -> Self {
        Self::around(ice::Policy::rfc8445(), Held { direct: 1, relayed: 0 })
    }

    /// WhatsApp in a call: one direct path, and the relay as the only warm standby.
    pub fn whatsapp() -> Self {
        Self::around(ice::Policy::whatsapp(), Held { direct: 1, relayed: 1 })
    }

    /// Quick Share: one path on the local network; its loss is the end.
    pub fn quickshare() -> Self {
        let held = Held { direct: 1, relayed: 0 };
        Self { move_to_preferred: false, ..Self::around(ice::Policy::quickshare(), held) }
    }

    /// The prototype of 2024: one path, and one spare in reserve to migrate to.
    pub fn prototype_2024() -> Self {
        let held = Held { direct: 2, relayed: 0 };
        Self { move_to_preferred: false, ..Self::around(ice::Policy::prototype_2024(), held) }
    }

    fn around(ice: ice::Policy, held: Held) -> Self {
        Self { ice, held, checks: None, cost: Costs::default(), move_to_preferred: true, changes: vec![] }
    }

    /// All presets.
    pub fn presets() -> [Self; 5] {
        [Self::multipath(), Self::rfc8445(), Self::whatsapp(), Self::quickshare(), Self::prototype_2024()]
    }

    /// Of its preset.
    pub fn name(&self) -> &'static str {
        self.ice.name
    }

    /// What differs from the preset: keys and values as they were written.
    pub fn changes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.changes.iter().filter_map(|change| change.split_once('='))
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

/// As [`Policy::from_str`](std::str::FromStr::from_str) reads it.
impl fmt::Display for Policy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())?;
        self.changes.iter().try_for_each(|change| write!(formatter, ",{change}"))
    }
}

/// As its [`FromStr`](std::str::FromStr) reads it: a rung, or an interface and a rung.
impl fmt::Display for Disguise {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.interface {
            Some(interface) => write!(formatter, "{interface}={}", self.rung),
            None => self.rung.fmt(formatter),
        }
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
