//! Interfaces as the driver tells of them.

use std::{fmt, net::IpAddr, str::FromStr};

/// Kind of an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum InterfaceKind {
    /// Wired.
    Lan,
    /// IEEE 802.11.
    Wifi,
    /// A modem (wwan).
    Cellular,
}

impl fmt::Display for InterfaceKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            InterfaceKind::Lan => "lan",
            InterfaceKind::Wifi => "wifi",
            InterfaceKind::Cellular => "cellular",
        })
    }
}

impl FromStr for InterfaceKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lan" => Ok(InterfaceKind::Lan),
            "wifi" => Ok(InterfaceKind::Wifi),
            "cellular" => Ok(InterfaceKind::Cellular),
            other => Err(format!("`{other}` is no kind of interface; there are: lan, wifi, cellular")),
        }
    }
}

/// The whole state of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// Kernel name.
    pub name: String,
    /// lan, wifi or cellular.
    pub kind: InterfaceKind,
    /// Administratively up.
    pub up: bool,
    /// Link present.
    pub carrier: bool,
    /// Addresses that a socket may be bound to, best first; no link-local, tentative or deprecated ones.
    pub addresses: Vec<IpAddr>,
    /// Metric of its default route, if it has one; lower is preferred among interfaces of one kind.
    pub metric: Option<u32>,
}

impl Interface {
    /// Whether packets can leave and arrive, as far as the kernel knows.
    pub fn usable(&self) -> bool {
        self.up && self.carrier
    }
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InterfaceChange {
    /// The interface is new, or its state changed: the full new state.
    Changed(Interface),
    /// The kernel no longer has it.
    Removed(String),
}
