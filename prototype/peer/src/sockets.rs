//! Interfaces and the sockets on them: one socket for each usable interface and address family.
//!
//! Decides only; the driver binds. A socket lives as long as its interface is usable and keeps its address.

use crate::{DetectedBy, Interface, InterfaceChange};
use ice::SocketId;
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

/// All interfaces and sockets of a peer.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Port of every socket; 0 lets the kernel choose.
    port: u16,
    interfaces: BTreeMap<String, Interface>,
    sockets: BTreeMap<SocketId, Socket>,
    /// Interfaces of all the sockets and relayed candidates that there ever were.
    names: BTreeMap<SocketId, String>,
    next: u32,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) interface: String,
    pub(crate) ip: IpAddr,
    /// Known once the driver has bound it.
    pub(crate) local: Option<SocketAddr>,
}

/// What the driver and the rest of the peer must do after a change.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Action {
    Open { socket: SocketId, interface: String, local: IpAddr, port: u16 },
    Close { socket: SocketId, interface: String, bound: bool, by: DetectedBy },
}

impl Sockets {
    pub(crate) fn new(port: u16) -> Self {
        Self { port, interfaces: BTreeMap::new(), sockets: BTreeMap::new(), names: BTreeMap::new(), next: 0 }
    }

    pub(crate) fn interface(&self, name: &str) -> Option<&Interface> {
        self.interfaces.get(name)
    }

    pub(crate) fn get(&self, socket: SocketId) -> Option<&Socket> {
        self.sockets.get(&socket)
    }

    pub(crate) fn interfaces(&self) -> impl Iterator<Item = &Interface> {
        self.interfaces.values()
    }

    /// Also of one that is closed.
    pub(crate) fn interface_of(&self, socket: SocketId) -> String {
        self.names.get(&socket).cloned().unwrap_or_default()
    }

    /// A relayed candidate is reached by this socket.
    pub(crate) fn note_relayed(&mut self, base: SocketId, socket: SocketId) {
        let interface = self.interface_of(socket);
        self.names.insert(base, interface);
    }

    /// Bound sockets.
    pub(crate) fn bound(&self) -> impl Iterator<Item = (SocketId, SocketAddr)> + '_ {
        self.sockets.iter().filter_map(|(id, socket)| Some((*id, socket.local?)))
    }

    /// None when the socket was given up meanwhile.
    pub(crate) fn set_bound(&mut self, socket: SocketId, local: SocketAddr) -> Option<&Socket> {
        let known = self.sockets.get_mut(&socket)?;
        known.local = Some(local);
        Some(known)
    }

    pub(crate) fn remove(&mut self, socket: SocketId) -> Option<Socket> {
        self.sockets.remove(&socket)
    }

    pub(crate) fn change(&mut self, change: InterfaceChange) -> Vec<Action> {
        let (name, by) = match change {
            InterfaceChange::Removed(name) => {
                self.interfaces.remove(&name);
                (name, DetectedBy::InterfaceDown)
            }
            InterfaceChange::Changed(interface) => {
                let by = match (interface.up, interface.carrier) {
                    (false, _) => DetectedBy::InterfaceDown,
                    (true, false) => DetectedBy::NoCarrier,
                    (true, true) => DetectedBy::AddressGone,
                };
                let name = interface.name.clone();
                self.interfaces.insert(name.clone(), interface);
                (name, by)
            }
        };
        let mut actions = self.close_unusable(&name, by);
        actions.extend(self.open_missing(&name));
        actions
    }

    fn close_unusable(&mut self, name: &str, by: DetectedBy) -> Vec<Action> {
        let interface = self.interfaces.get(name).filter(|interface| interface.usable());
        let gone: Vec<SocketId> = self
            .sockets
            .iter()
            .filter(|(_, socket)| socket.interface == name)
            .filter(|(_, socket)| {
                !interface.is_some_and(|interface| interface.addresses.contains(&socket.ip))
            })
            .map(|(id, _)| *id)
            .collect();
        let close = |socket: SocketId| {
            let removed = self.sockets.remove(&socket)?;
            let bound = removed.local.is_some();
            Some(Action::Close { socket, interface: removed.interface, bound, by })
        };
        gone.into_iter().filter_map(close).collect()
    }

    fn open_missing(&mut self, name: &str) -> Vec<Action> {
        let Some(interface) = self.interfaces.get(name).filter(|interface| interface.usable()) else {
            return vec![];
        };
        // IPv6 first: RFC 8421 section 4 prefers it where both work.
        let first_of = |ipv6: bool| interface.addresses.iter().find(|ip| ip.is_ipv6() == ipv6).copied();
        let missing = [first_of(true), first_of(false)].into_iter().flatten().filter(|ip| {
            !self
                .sockets
                .values()
                .any(|socket| socket.interface == name && socket.ip.is_ipv6() == ip.is_ipv6())
        });
        let mut actions = vec![];
        for local in missing.collect::<Vec<_>>() {
            let socket = SocketId(self.next);
            self.next += 1;
            self.sockets.insert(socket, Socket { interface: name.to_owned(), ip: local, local: None });
            self.names.insert(socket, name.to_owned());
            actions.push(Action::Open { socket, interface: name.to_owned(), local, port: self.port });
        }
        actions
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InterfaceKind;

    fn wlan(up: bool, carrier: bool, addresses: &[&str]) -> InterfaceChange {
        InterfaceChange::Changed(Interface {
            name: "wlan0".into(),
            kind: InterfaceKind::Wifi,
            up,
            carrier,
            addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
            metric: None,
        })
    }

    fn opened(actions: &[Action]) -> Vec<(u32, String)> {
        let open = |action: &Action| match action {
            Action::Open { socket, local, .. } => Some((socket.0, local.to_string())),
            Action::Close { .. } => None,
        };
        actions.iter().filter_map(open).collect()
    }

    fn closed(actions: &[Action]) -> Vec<(u32, DetectedBy)> {
        let close = |action: &Action| match action {
            Action::Close { socket, by, .. } => Some((socket.0, *by)),
            Action::Open { .. } => None,
        };
        actions.iter().filter_map(close).collect()
    }

    #[test]
    fn one_socket_for_each_family_and_never_the_same_number_twice() {
        let mut sockets = Sockets::new(0);
        let both = ["192.0.2.1", "192.0.2.2", "2001:db8::1"];
        let first = sockets.change(wlan(true, true, &both));
        assert_eq!(opened(&first), [(0, "2001:db8::1".into()), (1, "192.0.2.1".into())]);
        assert_eq!(sockets.change(wlan(true, true, &both)), []);
        let down = sockets.change(wlan(false, false, &[]));
        assert_eq!(closed(&down), [(0, DetectedBy::InterfaceDown), (1, DetectedBy::InterfaceDown)]);
        let up = sockets.change(wlan(true, true, &both));
        assert_eq!(opened(&up), [(2, "2001:db8::1".into()), (3, "192.0.2.1".into())]);
    }

    #[test]
    fn the_cause_of_a_loss_is_told_apart() {
        let mut sockets = Sockets::new(0);
        sockets.change(wlan(true, true, &["192.0.2.1"]));
        let lost = sockets.change(wlan(true, false, &["192.0.2.1"]));
        assert_eq!(closed(&lost), [(0, DetectedBy::NoCarrier)]);
        sockets.change(wlan(true, true, &["192.0.2.1"]));
        let renumbered = sockets.change(wlan(true, true, &["192.0.2.9"]));
        assert_eq!(closed(&renumbered), [(1, DetectedBy::AddressGone)]);
        assert_eq!(opened(&renumbered), [(2, "192.0.2.9".into())]);
        let gone = sockets.change(InterfaceChange::Removed("wlan0".into()));
        assert_eq!(closed(&gone), [(2, DetectedBy::InterfaceDown)]);
    }
}
