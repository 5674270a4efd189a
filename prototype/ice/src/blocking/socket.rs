//! One socket of ours: what it asks the control and servers, and what it learns of itself.

use std::net::SocketAddr;

use super::nat::{Mapping, NatClass};
use super::probe::Variant;
use super::report::{MOST, MOST_ADDRESSES, Reach, Route, SocketReport, Tallies, Tally};
use super::{ANSWERS, ROUNDS};
use crate::candidate::{SocketId, canonical};
use crate::stun::{Class, Message, TransactionId};

/// Rounds after which an outside that did not show will not.
const PATIENCE: u8 = 5;
/// Of who saw us where.
const MOST_SIGHTINGS: usize = 8;

#[derive(Debug)]
pub(super) struct Local {
    pub(super) socket: SocketId,
    interface: String,
    address: SocketAddr,
    pub(super) open: bool,
    pub(super) control: Option<SocketAddr>,
    pub(super) servers: Vec<SocketAddr>,
    /// Of the control, by variant.
    pub(super) asked: [u8; Variant::ALL.len()],
    answers: [u16; Variant::ALL.len()],
    /// Of servers.
    pub(super) servers_asked: u8,
    /// Rounds, as bits.
    servers_answered: u16,
    /// Requests to servers that are not answered, with their round.
    pub(super) pending: Vec<(TransactionId, SocketAddr, u8)>,
    /// Who saw us, and where.
    sightings: Vec<(SocketAddr, SocketAddr)>,
    pub(super) nat: NatClass,
    pub(super) nat_follows: bool,
    pub(super) signals: u8,
    pub(super) connecting: bool,
    pub(super) reach: Reach,
    pub(super) route: Route,
}

impl Local {
    pub(super) fn new(
        socket: SocketId,
        interface: &str,
        address: SocketAddr,
        control: Option<SocketAddr>,
        servers: Vec<SocketAddr>,
        nat_follows: bool,
    ) -> Local {
        Local {
            socket,
            interface: interface.to_owned(),
            address,
            open: true,
            control,
            servers,
            asked: Default::default(),
            answers: Default::default(),
            servers_asked: 0,
            servers_answered: 0,
            pending: Vec::new(),
            sightings: Vec::new(),
            nat: NatClass::default(),
            nat_follows,
            signals: 0,
            connecting: false,
            reach: Reach::Unknown,
            route: Route::Unknown,
        }
    }

    pub(super) fn asks(&self, to: SocketAddr) -> bool {
        self.control.is_some_and(|control| canonical(control) == to) || self.servers.contains(&to)
    }

    pub(super) fn is_ipv6(&self) -> bool {
        self.address.is_ipv6()
    }

    pub(super) fn wants_servers(&self) -> bool {
        // As long as the control is asked, too: its silence says something only while servers are heard.
        let heard = self.servers_answered.count_ones() >= ANSWERS && !self.wants_control();
        self.open && !self.servers.is_empty() && !heard && self.servers_asked < ROUNDS
    }

    /// Every variant is asked until all of them were answered, so that their rounds can be compared.
    pub(super) fn wants_control(&self) -> bool {
        let answered = self.answers.iter().all(|rounds| rounds.count_ones() >= ANSWERS);
        self.open && self.control.is_some() && !answered && self.asked[0] < ROUNDS
    }

    pub(super) fn has_outside(&self) -> bool {
        !self.sightings.is_empty()
    }

    /// Whether the other end can be told where to send.
    pub(super) fn is_ready(&self) -> bool {
        let nobody = self.control.is_none() && self.servers.is_empty();
        let waited = self.servers_asked.max(self.asked[0]) > PATIENCE;
        self.has_outside() || nobody || waited || !self.open
    }

    pub(super) fn is_asking(&self) -> bool {
        self.wants_servers() || self.wants_control()
    }

    pub(super) fn is_done(&self) -> bool {
        !(self.is_asking() || self.connecting || self.nat_follows)
    }

    /// The control answered.
    pub(super) fn answered(&mut self, from: SocketAddr, seen: SocketAddr, variant: usize, bit: u16) {
        if self.control.is_some_and(|control| canonical(control) == from) {
            self.answers[variant] |= bit;
            self.saw(from, seen);
        }
    }

    /// Takes an answer of a server to a request of ours.
    pub(super) fn handle_server(&mut self, from: SocketAddr, datagram: &[u8]) -> bool {
        if self.pending.is_empty() {
            return false;
        }
        let Ok(message) = Message::parse(datagram) else { return false };
        let asked =
            |(id, to, _): &(TransactionId, SocketAddr, u8)| (*id, *to) == (message.transaction(), from);
        let Some(place) = self.pending.iter().position(asked) else { return false };
        let Some(mapped) = message.mapped_address().filter(|_| message.class() == Class::Success) else {
            return false;
        };
        let (.., round) = self.pending.swap_remove(place);
        self.servers_answered |= 1 << round;
        self.saw(from, canonical(mapped));
        true
    }

    fn saw(&mut self, by: SocketAddr, seen: SocketAddr) {
        let sighting = (by, seen);
        let fits = seen.is_ipv6() == self.is_ipv6() && super::probe::is_destination(seen);
        if fits && !self.sightings.contains(&sighting) && self.sightings.len() < MOST_SIGHTINGS {
            self.sightings.push(sighting);
        }
    }

    /// From who saw us where, as far as nobody else found it out.
    fn mapping(&self) -> Option<Mapping> {
        let (_, first) = self.sightings.first()?;
        let same = self.sightings.iter().all(|(_, seen)| seen == first);
        let several = self.sightings.iter().any(|(by, _)| by.ip() != self.sightings[0].0.ip());
        match same {
            false => Some(Mapping::Dependent),
            true if several || *first == self.address => Some(Mapping::Independent),
            true => None,
        }
    }

    pub(super) fn report(&self, index: u8) -> SocketReport {
        let mut addresses = vec![self.address];
        for (_, seen) in &self.sightings {
            if !addresses.contains(seen) && addresses.len() < MOST_ADDRESSES {
                addresses.push(*seen);
            }
        }
        let mut tallies = Tallies::default();
        for ((tally, sent), answers) in tallies.iter_mut().zip(self.asked).zip(self.answers) {
            *tally = Tally { sent, rounds: answers };
        }
        SocketReport {
            index,
            interface: self.interface.clone(),
            ready: self.is_ready(),
            addresses,
            nat: NatClass {
                mapping: self.nat.mapping.or_else(|| self.mapping()),
                filtering: self.nat.filtering,
            },
            control: self.control.map(|_| tallies),
            servers: Tally { sent: self.servers_asked, rounds: self.servers_answered },
            signals: self.signals.min(MOST),
            reach: self.reach,
            route: self.route,
        }
    }
}
