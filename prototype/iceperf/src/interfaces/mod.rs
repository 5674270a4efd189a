//! The kernel's interfaces, watched: the state of each at the start, and its full new state after every change.
//!
//! Nothing is lost: when the kernel had to drop events, the whole state is read again and compared. Which interface to
//! use is no business of this module; it leaves out loopback, what the user did not ask for, and virtual links unless
//! the user asks for them.

mod kind;
mod link;
mod netlink;
mod table;

use link::Device;
use netlink::{Events, Heard};
use record::InterfaceKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::IpAddr,
    str::FromStr,
};
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

/// Which interfaces to look at, and what the user said of their kinds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Selection {
    /// `--interface`; all that are not virtual, if empty.
    named: BTreeSet<String>,
    /// `--interface-kind`, and `--interface NAME=KIND`.
    kinds: BTreeMap<String, InterfaceKind>,
}

/// One `--interface`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    name: String,
    kind: Option<InterfaceKind>,
}

/// One `--interface-kind`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OfKind {
    name: String,
    kind: InterfaceKind,
}

/// `--interface` or `--interface-kind` could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NameError {
    /// Longer than the kernel allows, empty, or with characters that no name has.
    #[error("{0:?} is no interface name: 1 to 15 characters, no spaces or slashes")]
    Name(String),
    /// After the equals sign.
    #[error("unknown kind {0:?}: write lan, wifi or cellular, as in wlan0=wifi")]
    Kind(String),
    /// Nothing after the name.
    #[error("the kind is missing: write lan, wifi or cellular, as in {0}=wifi")]
    NoKind(String),
    /// Never usable.
    #[error("lo is loopback: it is used by itself when both ends are on this host; leave --interface out")]
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

impl FromStr for OfKind {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let Named { name, kind } = text.parse()?;
        match kind {
            Some(kind) => Ok(Self { name, kind }),
            None => Err(NameError::NoKind(name)),
        }
    }
}

impl Selection {
    /// All interfaces that are not virtual, if none is named.
    pub(crate) fn new(named: &[Named], kinds: &[OfKind]) -> Self {
        let along = named.iter().filter_map(|one| Some((one.name.clone(), one.kind?)));
        let apart = kinds.iter().map(|one| (one.name.clone(), one.kind));
        Self {
            named: named.iter().map(|one| one.name.clone()).collect(),
            kinds: along.chain(apart).collect(),
        }
    }

    /// Virtual links are left out for a reason; the user may know better.
    fn wants(&self, name: &str, left_out: Option<&str>) -> bool {
        if self.named.is_empty() {
            left_out.is_none() || self.kinds.contains_key(name)
        } else {
            self.named.contains(name)
        }
    }

    fn kind(&self, device: &Device) -> InterfaceKind {
        if let Some(kind) = self.kinds.get(&device.name) {
            return *kind;
        }
        let kind::Detected { kind, by } = kind::detect(device);
        tracing::debug!(interface = device.name, ?kind, by, "kind of interface");
        kind
    }

    /// The named interfaces that are not there.
    pub(crate) fn missing<'a>(&'a self, there: &BTreeMap<String, Interface>) -> Vec<&'a str> {
        self.named.iter().map(String::as_str).filter(|name| !there.contains_key(*name)).collect()
    }

    /// Those that only their kind is told of: a modem may be plugged in later.
    pub(crate) fn awaited<'a>(&'a self, there: &BTreeMap<String, Interface>) -> Vec<&'a str> {
        let known = |name: &&str| there.contains_key(*name) || self.named.contains(*name);
        self.kinds.keys().map(String::as_str).filter(|name| !known(name)).collect()
    }
}

/// Watches the interfaces.
#[derive(Debug)]
pub(crate) struct Watcher {
    events: Events,
    selection: Selection,
    table: Table,
    told: BTreeMap<String, Interface>,
    /// Virtual ones, and why.
    left_out: BTreeMap<String, &'static str>,
}

impl Watcher {
    /// Subscribes first and reads the state then, so that no change falls between. Needs the runtime.
    pub(crate) fn new(selection: Selection) -> io::Result<Self> {
        let events = Events::subscribe()?;
        let (table, told, left_out) = Default::default();
        let mut watcher = Self { events, selection, table, told, left_out };
        watcher.resynchronise()?;
        watcher.told = watcher.visible();
        Ok(watcher)
    }

    /// The state that has been told so far: at first, what there is.
    pub(crate) fn interfaces(&self) -> &BTreeMap<String, Interface> {
        &self.told
    }

    /// Loopback, if it is up and the user named no interfaces.
    pub(crate) fn loopback(&self) -> Option<Interface> {
        self.table.loopback().filter(|_| self.selection.named.is_empty())
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
                        let effect = self.table.apply(&message, |device| selection.kind(device));
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
            self.table = netlink::snapshot(|device| self.selection.kind(device))?;
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
                        self.table.apply(&message, |device| selection.kind(device));
                    }
                }
            }
        }
        self.table.set_routes(netlink::routes()?);
        Ok(true)
    }

    fn visible(&mut self) -> BTreeMap<String, Interface> {
        let mut left_out = self.table.left_out();
        let mut interfaces = self.table.interfaces();
        interfaces.retain(|name, _| self.selection.wants(name, left_out.get(name).copied()));
        left_out.retain(|name, _| !interfaces.contains_key(name));
        for (name, why) in left_out.iter().filter(|(name, _)| !self.left_out.contains_key(*name)) {
            tracing::debug!(interface = name, why, "left out; --interface asks for it");
        }
        self.left_out = left_out;
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
        let named = ["tun3=cellular".parse().unwrap(), "eth0".parse().unwrap()];
        let selection = Selection::new(&named, &["usb0=cellular".parse().unwrap()]);
        assert_eq!(selection.kinds["tun3"], InterfaceKind::Cellular);
        assert_eq!(selection.kinds["usb0"], InterfaceKind::Cellular);
        assert!(selection.wants("eth0", None) && !selection.wants("eth1", None));
        assert!(!selection.wants("usb0", None), "its kind does not ask for it");
        let there = state(&[interface("eth0", true)]);
        assert_eq!(selection.missing(&there), ["tun3"]);
        assert_eq!(selection.awaited(&there), ["usb0"]);
    }

    #[test]
    fn virtual_links_are_used_when_the_user_asks_for_them() {
        let why = Some("a tunnel or a VPN");
        let all = Selection::default();
        assert!(all.wants("eth1", None) && !all.wants("wg0", why));
        assert!(Selection::new(&["wg0".parse().unwrap()], &[]).wants("wg0", why));
        let kinds = Selection::new(&[], &["tun0=wifi".parse().unwrap()]);
        assert!(kinds.wants("tun0", why) && kinds.wants("eth0", None) && !kinds.wants("wg0", why));
    }

    #[test]
    fn names_that_cannot_be_are_refused() {
        assert_eq!("eth0=fast".parse::<Named>(), Err(NameError::Kind("fast".into())));
        assert_eq!("lo".parse::<Named>(), Err(NameError::Loopback));
        assert_eq!("eth0".parse::<OfKind>(), Err(NameError::NoKind("eth0".into())));
        for bad in ["", "sixteen-letters-", "a b", "a/b", "a:1", "=wifi"] {
            assert!(matches!(bad.parse::<Named>(), Err(NameError::Name(_))), "{bad}");
        }
    }
}
