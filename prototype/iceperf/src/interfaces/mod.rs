//! The kernel's interfaces, watched: the state of each at the start, and its full new state after every change.
//!
//! Nothing is lost: when the kernel had to drop events, the whole state is read again and compared. Which interface to
//! use is no business of this module; it leaves out loopback and what the user did not ask for.

mod kind;
mod netlink;
mod table;

use netlink::{Events, Heard};
use record::InterfaceKind;
use std::{collections::BTreeMap, io, net::IpAddr, str::FromStr};
use table::{Effect, Table};
use thiserror::Error;

/// The state of one interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Interface {
    /// Kernel name.
    pub(crate) name: String,
    /// Wired, WiFi or cellular.
    pub(crate) kind: InterfaceKind,
    /// Administratively up (`IFF_UP`).
    pub(crate) up: bool,
    /// Link present (`IFF_LOWER_UP`).
    pub(crate) carrier: bool,
    /// Addresses that a socket can be bound to; the preferred one of each family first.
    pub(crate) addresses: Vec<IpAddr>,
    /// Metric of the best default route, IPv4 before IPv6; none without one.
    pub(crate) metric: Option<u32>,
}

/// What happened to an interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new, or anything about it changed: the full new state.
    Changed(Interface),
    /// The kernel no longer has it.
    Removed(String),
}

/// Which interfaces to look at (`--interface NAME` or `NAME=KIND`, repeatable; all without one).
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    named: BTreeMap<String, Option<InterfaceKind>>,
}

/// One `--interface`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    name: String,
    kind: Option<InterfaceKind>,
}

/// `--interface` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NameError {
    /// Longer than the kernel allows, empty, or with characters that no name has.
    #[error("{0:?} is no interface name: 1 to 15 characters, no spaces or slashes")]
    Name(String),
    /// After the equals sign.
    #[error("unknown kind {0:?}: write lan, wifi or cellular, as in wlan0=wifi")]
    Kind(String),
    /// Never usable.
    #[error("lo is loopback: peers reach each other over real interfaces (or veth, TUN) only")]
    Loopback,
}

impl FromStr for Named {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let (name, kind) = match text.split_once('=') {
            None => (text, None),
            Some((name, "lan")) => (name, Some(InterfaceKind::Lan)),
            Some((name, "wifi")) => (name, Some(InterfaceKind::Wifi)),
            Some((name, "cellular")) => (name, Some(InterfaceKind::Cellular)),
            Some((_, kind)) => return Err(NameError::Kind(kind.to_owned())),
        };
        let valid = |c: char| !c.is_whitespace() && !c.is_control() && c != '/' && c != ':';
        // IFNAMSIZ is 16 with the terminating zero.
        if name.is_empty() || name.len() > 15 || !name.chars().all(valid) {
            return Err(NameError::Name(name.to_owned()));
        }
        if name == "lo" {
            return Err(NameError::Loopback);
        }
        Ok(Self { name: name.to_owned(), kind })
    }
}

impl Selection {
    /// All interfaces, if none is named.
    pub(crate) fn new(named: &[Named]) -> Self {
        Self { named: named.iter().map(|one| (one.name.clone(), one.kind)).collect() }
    }

    fn wants(&self, name: &str) -> bool {
        self.named.is_empty() || self.named.contains_key(name)
    }

    fn kind(&self, name: &str, index: u32) -> InterfaceKind {
        self.named.get(name).copied().flatten().unwrap_or_else(|| kind::detect(name, index))
    }

    /// The named interfaces that are not there.
    pub(crate) fn missing<'a>(&'a self, there: &'a BTreeMap<String, Interface>) -> Vec<&'a str> {
        self.named.keys().map(String::as_str).filter(|name| !there.contains_key(*name)).collect()
    }
}

/// Watches the interfaces.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: Events,
    selection: Selection,
    table: Table,
    told: BTreeMap<String, Interface>,
}

impl Watcher {
    /// Subscribes first and reads the state then, so that no change falls between. Needs the runtime.
    pub(crate) fn new(selection: Selection) -> io::Result<Self> {
        let events = Events::subscribe()?;
        let mut watcher = Self { events, selection, table: Table::default(), told: BTreeMap::new() };
        watcher.resynchronise()?;
        watcher.told = watcher.visible();
        Ok(watcher)
    }

    /// The state that has been told so far: at first, what there is.
    pub(crate) fn interfaces(&self) -> &BTreeMap<String, Interface> {
        &self.told
    }

    /// All interfaces there are, also those not asked for; for an error message.
    pub(crate) fn all(&self) -> BTreeMap<String, Interface> {
        self.table.interfaces()
    }

    /// The next changes, in their order; may be empty. Cancelling loses nothing.
    pub(crate) async fn changes(&mut self) -> io::Result<Vec<Change>> {
        self.events.readable().await?;
        let mut changes = vec![];
        let mut routes_may_differ = false;
        loop {
            match self.events.hear()? {
                Heard::Empty => break,
                Heard::Lost => {
                    tracing::warn!("interface events were lost; reading the whole state again");
                    self.resynchronise()?;
                    self.tell(&mut changes);
                    return Ok(changes);
                }
                Heard::Messages(messages) => {
                    for message in messages {
                        let selection = &self.selection;
                        let effect = self.table.apply(&message, |name, index| selection.kind(name, index));
                        routes_may_differ |= effect != Effect::None;
                        if effect == Effect::Interfaces {
                            self.tell(&mut changes);
                        }
                    }
                }
            }
        }
        // The kernel drops routes with their link or address without saying so.
        if routes_may_differ {
            self.table.set_routes(netlink::routes()?);
            self.tell(&mut changes);
        }
        Ok(changes)
    }

    /// Reads the whole state. What was queued before is thrown away first, as its sequel may be among the lost; what
    /// comes while reading is applied on top, in order, before anything is told.
    fn resynchronise(&mut self) -> io::Result<()> {
        loop {
            while !matches!(self.events.hear()?, Heard::Empty) {}
            self.table = netlink::snapshot(|name, index| self.selection.kind(name, index))?;
            if self.drain()? {
                return Ok(());
            }
        }
    }

    /// False when events were lost once more.
    fn drain(&mut self) -> io::Result<bool> {
        loop {
            match self.events.hear()? {
                Heard::Empty => break,
                Heard::Lost => return Ok(false),
                Heard::Messages(messages) => {
                    for message in messages {
                        let selection = &self.selection;
                        self.table.apply(&message, |name, index| selection.kind(name, index));
                    }
                }
            }
        }
        self.table.set_routes(netlink::routes()?);
        Ok(true)
    }

    fn visible(&self) -> BTreeMap<String, Interface> {
        let mut interfaces = self.table.interfaces();
        interfaces.retain(|name, _| self.selection.wants(name));
        interfaces
    }

    fn tell(&mut self, changes: &mut Vec<Change>) {
        let now = self.visible();
        changes.extend(difference(&self.told, &now));
        self.told = now;
    }
}

/// Losses first: whoever reacts to them should not wait for what is new.
fn difference(before: &BTreeMap<String, Interface>, after: &BTreeMap<String, Interface>) -> Vec<Change> {
    let removed = before.keys().filter(|name| !after.contains_key(*name)).cloned().map(Change::Removed);
    let changed = after.iter().filter(|(name, state)| before.get(*name) != Some(state));
    removed.chain(changed.map(|(_, state)| Change::Changed(state.clone()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, up: bool) -> Interface {
        Interface {
            name: name.to_owned(),
            kind: InterfaceKind::Lan,
            up,
            carrier: up,
            addresses: vec![],
            metric: None,
        }
    }

    fn state(interfaces: &[Interface]) -> BTreeMap<String, Interface> {
        interfaces.iter().map(|one| (one.name.clone(), one.clone())).collect()
    }

    #[test]
    fn changes_are_full_states_and_removals_come_first() {
        let before = state(&[interface("a", true), interface("b", true), interface("c", true)]);
        let after = state(&[interface("a", true), interface("b", false), interface("d", true)]);
        assert_eq!(
            difference(&before, &after),
            [
                Change::Removed("c".into()),
                Change::Changed(interface("b", false)),
                Change::Changed(interface("d", true))
            ]
        );
        assert_eq!(difference(&after, &after), []);
    }

    #[test]
    fn an_interface_can_be_named_with_its_kind() {
        let named: Named = "tun3=cellular".parse().unwrap();
        let selection = Selection::new(&[named, "eth0".parse().unwrap()]);
        assert_eq!(selection.kind("tun3", 0), InterfaceKind::Cellular);
        assert!(selection.wants("eth0") && !selection.wants("eth1"));
        assert!(Selection::default().wants("eth1"));
        let there = state(&[interface("eth0", true)]);
        assert_eq!(selection.missing(&there), ["tun3"]);
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!("eth0=fast".parse::<Named>(), Err(NameError::Kind("fast".into())));
        assert_eq!("lo".parse::<Named>(), Err(NameError::Loopback));
        for bad in ["", "sixteen-letters-", "a b", "a/b", "a:1", "=wifi"] {
            assert!(matches!(bad.parse::<Named>(), Err(NameError::Name(_))), "{bad}");
        }
    }
}
