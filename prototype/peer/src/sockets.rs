//! Interfaces and the sockets on them: one socket for each usable interface and address family.
//!
//! Decides only; the driver binds. A socket lives as long as its interface is usable and keeps its address.

use crate::{DetectedBy, Interface, InterfaceChange};
use ice::SocketId;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
};

/// All interfaces and sockets of a peer.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// Port of every socket; 0 lets the kernel choose.
    port: u16,
    interfaces: BTreeMap<String, Interface>,
    sockets: BTreeMap<SocketId, Socket>,
    /// Interfaces of the sockets and relayed candidates that there are, and of the last that there were.
    names: BTreeMap<SocketId, String>,
    next: u32,
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) interface: String,
    pub(crate) ip: IpAddr,
    /// Known once the driver has bound it.
    pub(crate) local: Option<SocketAddr>,
    /// Its turn among the sockets of its family that share a highest preference, and that preference.
    turn: Option<(u16, u16)>,
}

/// So many closed sockets, and as many relayed candidates that are gone, are remembered by the name of their interface:
/// what is told of them comes soon after. One interface has two sockets, and with the most relays 32 candidates.
const MOST_CLOSED: usize = 128;

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

    /// Also of one that was closed lately.
    pub(crate) fn interface_of(&self, socket: SocketId) -> String {
        self.names.get(&socket).cloned().unwrap_or_default()
    }

    /// A relayed candidate is reached by this socket.
    pub(crate) fn note_relayed(&mut self, base: SocketId, socket: SocketId) {
        let interface = self.interface_of(socket);
        self.names.insert(base, interface);
    }

    /// Forgets the names of those that were closed long ago; `relayed` says which relayed candidates there are.
    pub(crate) fn forget_closed(&mut self, relayed: impl Fn(SocketId) -> bool) {
        for relays in [false, true] {
            let is_closed =
                |id: &SocketId| id.is_relayed() == relays && !self.sockets.contains_key(id) && !relayed(*id);
            let closed: Vec<SocketId> = self.names.keys().copied().filter(is_closed).collect();
            // Numbers only grow.
            let long_ago = closed.len().saturating_sub(MOST_CLOSED);
            for id in closed.iter().take(long_ago) {
                self.names.remove(id);
            }
        }
    }

    /// Local preference of a socket, `best` being the highest of those that its interface shares: families in turns
    /// (RFC 8421 section 4). A socket keeps its turn as long as it lives, and one that comes takes the first that is
    /// free: nobody is renumbered.
    pub(crate) fn preference(&mut self, socket: SocketId, best: u16) -> u16 {
        let Some(asked) = self.sockets.get(&socket) else { return best };
        let ipv6 = asked.ip.is_ipv6();
        let turn = match asked.turn {
            Some((turn, of)) if of == best => turn,
            _ => self.first_free_turn(ipv6, best),
        };
        if let Some(asked) = self.sockets.get_mut(&socket) {
            asked.turn = Some((turn, best));
        }
        ice::local_preference(best, turn, ipv6)
    }

    fn first_free_turn(&self, ipv6: bool, best: u16) -> u16 {
        let alike = self.sockets.values().filter(|socket| socket.ip.is_ipv6() == ipv6);
        let taken: BTreeSet<u16> = alike
            .filter_map(|socket| socket.turn)
            .filter(|(_, of)| *of == best)
            .map(|(turn, _)| turn)
            .collect();
        (0..u16::MAX).find(|turn| !taken.contains(turn)).unwrap_or(u16::MAX)
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
            self.sockets
                .insert(socket, Socket { interface: name.to_owned(), ip: local, local: None, turn: None });
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
        named("wlan0", up, carrier, addresses)
    }

    fn named(name: &str, up: bool, carrier: bool, addresses: &[&str]) -> InterfaceChange {
        InterfaceChange::Changed(Interface {
            name: name.into(),
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

    /// RFC 8421 section 4: no family waits for the whole of the other; and RFC 8445 section 5.1.2.1: all different.
    #[test]
    fn interfaces_of_one_rank_have_their_families_in_turns_and_keep_their_preferences() {
        let mut sockets = Sockets::new(0);
        let addresses = |host: u8| [format!("192.0.2.{host}"), format!("2001:db8::{host}")];
        let come = |sockets: &mut Sockets, name: &str, host: u8| {
            let [v4, v6] = addresses(host);
            sockets.change(named(name, true, true, &[&v4, &v6]));
        };
        let order = |sockets: &mut Sockets| {
            let ids: Vec<SocketId> = sockets.sockets.keys().copied().collect();
            let mut order: Vec<(u16, String, bool)> = ids
                .into_iter()
                .map(|id| {
                    let preference = sockets.preference(id, 57_343);
                    let socket = &sockets.sockets[&id];
                    (preference, socket.interface.clone(), socket.ip.is_ipv6())
                })
                .collect();
            order.sort_by(|one, other| other.cmp(one));
            order
        };
        let short = |order: &[(u16, String, bool)]| -> Vec<String> {
            order.iter().map(|(_, name, v6)| format!("{name} {}", if *v6 { 6 } else { 4 })).collect()
        };
        come(&mut sockets, "wlan0", 1);
        come(&mut sockets, "wlan1", 2);
        let two = order(&mut sockets);
        assert_eq!(short(&two), ["wlan0 6", "wlan0 4", "wlan1 6", "wlan1 4"]);
        come(&mut sockets, "wlan2", 3);
        let three = order(&mut sockets);
        assert_eq!(three[..4], two[..], "who comes renumbers nobody");
        sockets.change(InterfaceChange::Removed("wlan0".into()));
        assert_eq!(order(&mut sockets)[..], three[2..], "nor who goes");
        come(&mut sockets, "wlan3", 4);
        let again = order(&mut sockets);
        assert_eq!(short(&again[..2]), ["wlan3 6", "wlan3 4"], "the turn that is free");
        assert_eq!(again[2..], three[2..]);
        // Of another rank now: one turn after the other again.
        let first = *sockets.sockets.keys().next().unwrap();
        assert_eq!(sockets.preference(first, 65_535), 65_535);
    }

    #[test]
    fn names_of_closed_sockets_are_forgotten_in_time() {
        let mut sockets = Sockets::new(0);
        let base = |number: u32| SocketId((1 << 31) | number);
        sockets.change(named("eth0", true, true, &["192.0.2.9"]));
        sockets.note_relayed(base(0), SocketId(0));
        for flap in 1..2000 {
            sockets.change(wlan(true, true, &["192.0.2.1"]));
            sockets.note_relayed(base(flap), SocketId(flap));
            sockets.change(wlan(false, false, &[]));
            sockets.forget_closed(|id| id == base(0));
            for recent in flap.saturating_sub(20).max(1)..=flap {
                assert_eq!(sockets.interface_of(SocketId(recent)), "wlan0");
                assert_eq!(sockets.interface_of(base(recent)), "wlan0");
            }
        }
        assert_eq!(sockets.interface_of(SocketId(0)), "eth0", "it lives");
        assert_eq!(sockets.interface_of(base(0)), "eth0", "and so does its relayed candidate");
        assert_eq!(sockets.names.len(), 2 + 2 * MOST_CLOSED);
    }
}
