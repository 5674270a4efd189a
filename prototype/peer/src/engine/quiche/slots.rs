//! Which of our links stands behind which pair of addresses that quiche knows.
//!
//! quiche names a path by two addresses and never forgets one: the eighth path is the last of a connection
//! (`active_connection_id_limit`), however many of them are long over. A call that changes networks often needs more,
//! so quiche is told addresses of our own making, which never leave this directory, and a link that is over lends its
//! pair of addresses to a new one. What quiche measured on the old link then speaks of the new one until acknowledgements
//! correct it; that is the price from the ninth link of a connection on.

use super::super::{EnginePath, Link};
use std::{
    net::{IpAddr, Ipv6Addr, SocketAddr},
    time::Instant,
};

/// Paths of a connection at once, and connection IDs at once (RFC 9000 section 18.2, active_connection_id_limit).
pub(super) const PATHS: usize = 8;

/// The address of every remote end: the local one alone tells paths apart.
pub(super) const REMOTE: SocketAddr = address(0xffff);

/// Which pair of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(usize);

impl Place {
    pub(super) const FIRST: Self = Self(0);

    pub(super) const fn local(self) -> SocketAddr {
        address(self.0 as u16)
    }

    pub(super) fn of(local: SocketAddr) -> Option<Self> {
        (0..PATHS).map(Self).find(|place| place.local() == local)
    }
}

const fn address(host: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, host)), 1)
}

/// How far a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Not validated yet, as far as its link is concerned.
    Opening,
    Validated,
    /// Over; lends its addresses to the next link.
    Closed,
}

/// A link and its path.
#[derive(Debug, Clone)]
pub(super) struct Slot {
    pub(super) link: Link,
    pub(super) path: EnginePath,
    pub(super) state: State,
    /// Sequence number of the connection ID that we send to.
    pub(super) destination: Option<u64>,
    /// The connection ID of ours that the newest packet was sent to.
    pub(super) arrived_at: Vec<u8>,
    /// When to ask again whether the path works.
    pub(super) validate_again: Option<Instant>,
    /// What quiche had counted before the path began.
    pub(super) before: Counts,
}

impl Slot {
    pub(super) fn next_validation(&self) -> Option<Instant> {
        self.validate_again.filter(|_| self.state == State::Opening)
    }
}

/// What quiche counts over the life of a pair of addresses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) bytes_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) packets_sent: u64,
    pub(super) packets_lost: u64,
}

/// The links of a connection.
#[derive(Debug)]
pub(super) struct Slots {
    slots: Vec<Slot>,
    next: usize,
}

impl Slots {
    /// With the path of the handshake.
    pub(super) fn new(first: Link) -> Self {
        let first = Slot {
            link: first,
            path: EnginePath(0),
            state: State::Validated,
            destination: Some(0),
            arrived_at: vec![],
            validate_again: None,
            before: Counts::default(),
        };
        Self { slots: vec![first], next: 1 }
    }

    fn number(&mut self) -> EnginePath {
        self.next += 1;
        EnginePath(self.next - 1)
    }

    pub(super) fn find(&self, link: Link) -> Option<Place> {
        self.slots.iter().position(|slot| slot.link == link).map(Place)
    }

    /// Of a path that is not over.
    pub(super) fn living(&self, path: EnginePath) -> Option<Place> {
        self.slots.iter().position(|slot| slot.path == path && slot.state != State::Closed).map(Place)
    }

    pub(super) fn get(&self, place: Place) -> Option<&Slot> {
        self.slots.get(place.0)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Slot> {
        self.slots.get_mut(place.0)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Place, &Slot)> {
        self.slots.iter().enumerate().map(|(place, slot)| (Place(place), slot))
    }

    /// Where a path on this link could begin: where one was before, else unused addresses, else those of the path that
    /// has been over for longest. None when all carry paths.
    pub(super) fn vacancy(&self, link: Link, active: Place) -> Option<Place> {
        let closed = |(_, slot): &(Place, &Slot)| slot.state == State::Closed;
        let reusable = |(place, _): &(Place, &Slot)| *place != active;
        self.find(link).or_else(|| (self.slots.len() < PATHS).then_some(Place(self.slots.len()))).or_else(
            || {
                self.iter()
                    .filter(closed)
                    .filter(reusable)
                    .min_by_key(|(_, slot)| slot.path)
                    .map(|(place, _)| place)
            },
        )
    }

    /// Begins a path under a number of its own.
    pub(super) fn begin(&mut self, place: Place, link: Link, before: Counts) -> EnginePath {
        let path = self.number();
        let slot = Slot {
            link,
            path,
            state: State::Opening,
            destination: None,
            arrived_at: vec![],
            validate_again: None,
            before,
        };
        match self.slots.get_mut(place.0) {
            Some(old) => *old = slot,
            None => self.slots.push(slot),
        }
        path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ice::SocketId;

    fn link(socket: u32) -> Link {
        Link { socket: SocketId(socket), remote: "192.0.2.1:4433".parse().unwrap() }
    }

    #[test]
    fn a_link_that_is_over_lends_its_addresses_to_the_ninth_one() {
        let mut slots = Slots::new(link(0));
        for number in 1..PATHS as u32 {
            let place = slots.vacancy(link(number), Place::FIRST).unwrap();
            slots.begin(place, link(number), Counts::default());
        }
        assert_eq!(slots.vacancy(link(8), Place::FIRST), None, "all carry paths");
        for place in [Place(0), Place(5), Place(2)] {
            slots.get_mut(place).unwrap().state = State::Closed;
        }
        let place = slots.vacancy(link(8), Place::FIRST);
        assert_eq!(place, Some(Place(2)), "the oldest that quiche does not send on");
        assert_eq!(slots.begin(Place(2), link(8), Counts::default()), EnginePath(8));
        assert_eq!(slots.find(link(2)), None);
        assert_eq!(
            slots.vacancy(link(5), Place::FIRST),
            Some(Place(5)),
            "a link that comes back keeps its place"
        );
    }

    #[test]
    fn every_place_has_addresses_of_its_own() {
        for number in 0..PATHS {
            assert_eq!(Place::of(Place(number).local()), Some(Place(number)));
        }
        assert_eq!(Place::of(REMOTE), None);
    }
}
