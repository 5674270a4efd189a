//! What the record keeps of a call over webrtc-ice: the real interfaces, candidates and pairs that webrtc-ice tells of,
//! and none of the made-up link that the peer sees.
//!
//! The checks that the peer's own agent sends over that link are left out: they are not the baseline's. What they cost
//! is one round trip between a pair's selection and the first QUIC path on it.

use super::agent::{NOWHERE, Pair};
use crate::map;
use peer::CandidateKind;
use record::{DetectedBy, EventKind, PairState, PathState};
use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr, UdpSocket},
};

/// The record's side of one call.
#[derive(Debug, Default)]
pub(super) struct View {
    /// Interfaces by the addresses that they have or had: candidates outlive addresses.
    interfaces: BTreeMap<IpAddr, String>,
    /// The names that the other end gives for its candidates.
    remote_interfaces: BTreeMap<SocketAddr, String>,
    /// Every pair that was ever selected; its place is its number.
    pairs: Vec<(SocketAddr, SocketAddr)>,
    selected: Option<Selected>,
    /// The newest state of the newest QUIC path.
    path: Option<EventKind>,
}

/// The pair that webrtc-ice sends on.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Selected {
    number: u32,
    interface: String,
    remote_interface: Option<String>,
    local: SocketAddr,
    remote: SocketAddr,
    local_kind: CandidateKind,
    remote_kind: CandidateKind,
}

impl View {
    /// An interface has these addresses.
    pub(super) fn interface(&mut self, name: &str, addresses: &[IpAddr]) {
        self.interfaces.extend(addresses.iter().map(|ip| (*ip, name.to_owned())));
    }

    /// The other end named a candidate's interface.
    pub(super) fn remote_interface(&mut self, address: SocketAddr, name: &str) {
        self.remote_interfaces.insert(address, name.to_owned());
    }

    /// The interface and address behind the address that a socket is bound to. webrtc-ice binds no device, and to ask
    /// a STUN server not even an address: the kernel's choice of a source address says which interface it is then.
    pub(super) fn place(&self, base: Option<SocketAddr>, towards: SocketAddr) -> (String, SocketAddr) {
        let base = base.unwrap_or(NOWHERE);
        let ip = if base.ip().is_unspecified() { route(towards) } else { Some(base.ip()) };
        let ip = ip.unwrap_or(base.ip());
        let name = self.interfaces.get(&ip).cloned().unwrap_or_default();
        (name, SocketAddr::new(ip, base.port()))
    }

    /// webrtc-ice sends on this pair; told of again, nothing is new.
    pub(super) fn select(&mut self, pair: &Pair) -> Vec<EventKind> {
        let selected = self.selected(pair);
        if self.selected.as_ref() == Some(&selected) {
            return vec![];
        }
        let mut events = self.leave("another pair is selected");
        self.selected = Some(selected.clone());
        events.extend(self.enter(PairState::Up, "selected by webrtc-ice"));
        events.push(EventKind::Nominated { pair: selected.number });
        // A path that goes on does so between other addresses.
        let moved = self.path.clone().filter(|path| state(path) != Some(PathState::Closed));
        events.extend(moved.map(|path| self.real(path)));
        events
    }

    /// The selected pair changed its state.
    pub(super) fn enter(&self, state: PairState, cause: &str) -> Option<EventKind> {
        let Selected { number, interface, remote_interface, local, remote, local_kind, remote_kind } =
            self.selected.clone()?;
        Some(EventKind::Pair {
            pair: number,
            interface,
            remote_interface,
            local,
            remote,
            local_kind: map::candidate(local_kind),
            remote_kind: map::candidate(remote_kind),
            state,
            cause: cause.to_owned(),
        })
    }

    /// The selected pair is given up. What is told of the path on it still names it.
    pub(super) fn leave(&self, cause: &str) -> Vec<EventKind> {
        self.enter(PairState::Removed, cause).into_iter().collect()
    }

    /// webrtc-ice has heard nothing for too long.
    pub(super) fn detected(&self) -> Option<EventKind> {
        let interface = self.selected.as_ref()?.interface.clone();
        let path = self.path.as_ref().filter(|path| state(path) != Some(PathState::Closed));
        let path = match path {
            Some(EventKind::Path { path, .. }) => Some(*path),
            _ => None,
        };
        let by = DetectedBy::CheckSilence;
        Some(EventKind::Detected { interface, path, by, silence_ns: None, expected_ns: None })
    }

    /// What the peer tells, in terms of what is really there; none for what is only about the made-up link.
    pub(super) fn translate(&mut self, event: EventKind) -> Option<EventKind> {
        match event {
            EventKind::Interface { .. }
            | EventKind::InterfaceRemoved { .. }
            | EventKind::SocketOpened { .. }
            | EventKind::SocketClosed { .. }
            | EventKind::SendFailed { .. }
            | EventKind::LocalCandidate { .. }
            | EventKind::RemoteCandidate { .. }
            | EventKind::CheckSent { .. }
            | EventKind::CheckAnswered { .. }
            | EventKind::CheckFailed { .. }
            | EventKind::Pair { .. }
            | EventKind::Nominated { .. }
            // The loss is told when webrtc-ice notices it: see `detected`.
            | EventKind::Detected { .. } => None,
            path @ EventKind::Path { .. } => {
                let path = in_terms_of_webrtc_ice(self.real(path));
                self.path = Some(path.clone());
                Some(path)
            }
            other => Some(other),
        }
    }

    /// A path between the addresses that it really runs between.
    fn real(&self, event: EventKind) -> EventKind {
        let (EventKind::Path { path, state, cause, .. }, Some(selected)) = (&event, self.selected.clone())
        else {
            return event;
        };
        let relayed = [selected.local_kind, selected.remote_kind].contains(&CandidateKind::Relay);
        let kind = if relayed { CandidateKind::Relay } else { selected.remote_kind };
        EventKind::Path {
            path: *path,
            pair: selected.number,
            interface: selected.interface,
            remote_interface: selected.remote_interface,
            local: selected.local,
            remote: selected.remote,
            candidate: map::candidate(kind),
            state: *state,
            cause: cause.clone(),
        }
    }

    fn selected(&mut self, pair: &Pair) -> Selected {
        let remote = pair.remote.address;
        let (interface, local) = self.place(pair.local.base.or(Some(pair.local.address)), remote);
        let ends = (local, remote);
        let number = self.pairs.iter().position(|known| *known == ends).unwrap_or_else(|| {
            self.pairs.push(ends);
            self.pairs.len() - 1
        });
        Selected {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            interface,
            remote_interface: self.remote_interfaces.get(&remote).cloned(),
            local,
            remote,
            local_kind: pair.local.kind,
            remote_kind: pair.remote.kind,
        }
    }
}

/// The peer's own reasons are about the made-up link: its agent misses answers long before webrtc-ice notices.
fn in_terms_of_webrtc_ice(mut path: EventKind) -> EventKind {
    if let EventKind::Path { cause, .. } = &mut path {
        let told = [
            (peer::DetectedBy::CheckSilence, "nothing comes back on the pair that webrtc-ice keeps"),
            (peer::DetectedBy::NoCarrier, "webrtc-ice restarts"),
        ];
        if let Some((_, text)) = told.iter().find(|(by, _)| by.as_str() == cause) {
            *cause = (*text).to_owned();
        }
    }
    path
}

fn state(path: &EventKind) -> Option<PathState> {
    match path {
        EventKind::Path { state, .. } => Some(*state),
        _ => None,
    }
}

/// The source address that the kernel would choose; nothing is sent.
fn route(towards: SocketAddr) -> Option<IpAddr> {
    let any: SocketAddr = if towards.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).ok()?;
    socket.connect(towards).ok()?;
    Some(socket.local_addr().ok()?.ip())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webrtc::agent::Found;

    fn end(kind: CandidateKind, address: &str, base: Option<&str>) -> Found {
        let address: SocketAddr = address.parse().unwrap();
        let base = base.map(|base| base.parse().unwrap());
        Found { kind, address, base, priority: 1, foundation: "f".into() }
    }

    fn pair(local: &str) -> Pair {
        Pair {
            local: end(CandidateKind::Host, local, Some(local)),
            remote: end(CandidateKind::Srflx, "198.51.100.7:7", None),
        }
    }

    fn path(state: PathState) -> EventKind {
        EventKind::Path {
            path: 0,
            pair: 99,
            interface: "ice0".into(),
            remote_interface: None,
            local: "192.0.2.1:1".parse().unwrap(),
            remote: "192.0.2.2:1".parse().unwrap(),
            candidate: record::CandidateKind::Host,
            state,
            cause: "test".into(),
        }
    }

    fn view() -> View {
        let mut view = View::default();
        view.interface("wlan0", &["10.0.0.1".parse().unwrap()]);
        view.interface("wwan0", &["10.1.0.1".parse().unwrap()]);
        view.remote_interface("198.51.100.7:7".parse().unwrap(), "eth0");
        view
    }

    fn told(event: &EventKind) -> (u32, String, SocketAddr) {
        match event {
            EventKind::Pair { pair, interface, local, .. }
            | EventKind::Path { pair, interface, local, .. } => (*pair, interface.clone(), *local),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_is_told_with_the_interface_that_really_carries_it() {
        let mut view = view();
        let events = view.select(&pair("10.0.0.1:5"));
        assert!(matches!(
            &events[..],
            [EventKind::Pair { state: PairState::Up, .. }, EventKind::Nominated { pair: 0 }]
        ));
        let active = view.translate(path(PathState::Active)).unwrap();
        assert_eq!(told(&active), (0, "wlan0".into(), "10.0.0.1:5".parse().unwrap()));
        let EventKind::Path { remote_interface, candidate, remote, .. } = &active else { panic!() };
        assert_eq!(remote_interface.as_deref(), Some("eth0"));
        assert_eq!((*candidate, remote.port()), (record::CandidateKind::Srflx, 7));
        assert!(view.select(&pair("10.0.0.1:5")).is_empty(), "nothing is new");
    }

    #[test]
    fn a_path_that_goes_on_over_another_pair_has_moved() {
        let mut view = view();
        view.select(&pair("10.0.0.1:5"));
        view.translate(path(PathState::Active));
        let events = view.select(&pair("10.1.0.1:6"));
        let states: Vec<_> =
            events.iter().filter(|event| !matches!(event, EventKind::Nominated { .. })).map(told).collect();
        let before = (0, "wlan0".to_owned(), "10.0.0.1:5".parse().unwrap());
        let after = (1, "wwan0".to_owned(), "10.1.0.1:6".parse().unwrap());
        assert_eq!(states, [before.clone(), after.clone(), after], "removed, up, and the path moves");
        let closed = view.translate(path(PathState::Closed)).unwrap();
        assert_eq!(told(&closed).0, 1);
        let events = view.select(&pair("10.0.0.1:5"));
        assert!(
            !events.iter().any(|event| matches!(event, EventKind::Path { .. })),
            "a closed path moves no more"
        );
        assert_eq!(told(&events[1]).0, 0, "the same two ends are the same pair");
    }

    #[test]
    fn what_the_peers_agent_misses_is_not_what_webrtc_ice_notices() {
        let mut closed = path(PathState::Closed);
        let EventKind::Path { cause, .. } = &mut closed else { panic!() };
        *cause = peer::DetectedBy::CheckSilence.as_str().to_owned();
        let Some(EventKind::Path { cause, .. }) = view().translate(closed) else { panic!() };
        assert_eq!(cause, "nothing comes back on the pair that webrtc-ice keeps");
        let Some(EventKind::Path { cause, .. }) = view().translate(path(PathState::Closed)) else { panic!() };
        assert_eq!(cause, "test");
    }

    #[test]
    fn nothing_is_told_of_the_link_that_is_made_up() {
        let mut view = view();
        let local = "192.0.2.1:1".parse().unwrap();
        for event in [
            EventKind::SocketOpened { socket: 0, interface: "ice0".into(), local },
            EventKind::Nominated { pair: 3 },
            EventKind::InterfaceRemoved { interface: "ice0".into() },
        ] {
            assert_eq!(view.translate(event), None);
        }
        assert_eq!(view.translate(EventKind::Started {}), Some(EventKind::Started {}));
        assert_eq!(view.detected(), None, "nothing was found, so nothing is lost");
        view.select(&pair("10.0.0.1:5"));
        view.translate(path(PathState::Active));
        let Some(EventKind::Detected { interface, path: Some(0), by, .. }) = view.detected() else {
            panic!()
        };
        assert_eq!((interface.as_str(), by), ("wlan0", DetectedBy::CheckSilence));
    }

    #[test]
    fn a_wildcard_socket_is_where_the_kernel_would_send_from() {
        let view = view();
        let (name, local) = view.place(Some("0.0.0.0:9".parse().unwrap()), "127.0.0.1:1".parse().unwrap());
        assert_eq!((name.as_str(), local), ("", "127.0.0.1:9".parse().unwrap()));
        let (name, local) = view.place(Some("10.1.0.1:9".parse().unwrap()), NOWHERE);
        assert_eq!((name.as_str(), local), ("wwan0", "10.1.0.1:9".parse().unwrap()));
    }
}
