//! Whose turn it is: rounds of every variant over every pair, one packet at a time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use super::probe::{CONTROL, End, Probe, Variant, is_destination};
use super::report::{LinkReport, MOST_ROUNDS, Route};
use super::socket::Local;
use super::{ANSWERS, MOST_LINKS, Output, Prober, ROUNDS};
use crate::candidate::canonical;
use crate::event::Transmit;
use crate::stun::{BINDING, Builder, Class, TransactionId};

/// Of one socket of the other end; those that it tells and those that it was heard from.
const MOST_REMOTE_ADDRESSES: usize = 6;
/// Requests to servers that are remembered for each socket.
const MOST_PENDING: usize = 100;

/// Requests to a server in each round, until one was answered.
const SERVER_TRIES: usize = 3;

/// A pair of sockets, one of each end.
#[derive(Debug, Default)]
pub(super) struct Link {
    /// It is probed from here, too.
    begun: bool,
    addresses: Vec<SocketAddr>,
    sent: [u8; Variant::ALL.len()],
    first_round: u8,
    /// Rounds, as bits.
    pub(super) answered: [u16; Variant::ALL.len()],
    pub(super) received: [u16; Variant::ALL.len()],
    pub(super) seen: Option<SocketAddr>,
    pub(super) route_to: Option<SocketAddr>,
    pub(super) route: Route,
}

/// One thing to send.
#[derive(Debug)]
pub(super) enum Job {
    Server { place: u8, to: SocketAddr, round: u8 },
    Probe { place: u8, to: SocketAddr, probe: Probe },
}

impl Link {
    /// Another address of the other end's socket.
    pub(super) fn learn(&mut self, address: SocketAddr) {
        let room = self.addresses.len() < MOST_REMOTE_ADDRESSES;
        if room && is_destination(address) && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }

    /// Every variant is sent until all of them were answered, so that their rounds can be compared.
    fn wants_more(&self) -> bool {
        let answered = self.answered.iter().all(|rounds| rounds.count_ones() >= ANSWERS);
        self.begun && !answered && self.sent[0] < ROUNDS
    }

    pub(super) fn is_done(&self) -> bool {
        !self.wants_more()
    }

    pub(super) fn report(&self, local: u8, remote: u8) -> LinkReport {
        LinkReport {
            local,
            remote,
            sent: self.sent,
            first_round: self.first_round,
            received: self.received,
            seen: self.seen,
            route: self.route,
        }
    }
}

impl Prober {
    /// The pair of these, if there is room for it.
    pub(super) fn link(&mut self, local: u8, remote: u8) -> Option<&mut Link> {
        if usize::from(remote) >= super::MOST_SOCKETS {
            return None;
        }
        let room = self.links.len() < MOST_LINKS || self.links.contains_key(&(local, remote));
        room.then(|| self.links.entry((local, remote)).or_default())
    }

    /// Pairs of the same family.
    fn pairs(&self) -> Vec<(u8, u8, bool)> {
        let theirs = self.theirs.as_ref().map(|report| report.sockets.as_slice()).unwrap_or_default();
        let each = (0..).zip(&self.sockets).flat_map(|(place, local)| {
            let alike = theirs.iter().filter(|one| one.is_ipv6() == local.is_ipv6());
            alike.map(move |one| (place, one.index, local.is_ready() && local.open && one.ready))
        });
        each.take(MOST_LINKS).collect()
    }

    /// Whether every pair that there is is being probed.
    pub(super) fn all_linked(&self) -> bool {
        let begun = |local, remote| self.links.get(&(local, remote)).is_some_and(|link| link.begun);
        self.pairs().into_iter().all(|(local, remote, _)| begun(local, remote) || !self.is_open(local))
    }

    /// Pairs whose both ends know where they are.
    pub(super) fn begin_links(&mut self) {
        for (local, remote, _) in self.pairs().into_iter().filter(|(_, _, ready)| *ready) {
            let theirs = self.theirs.as_ref().and_then(|report| report.socket(remote));
            let Some(theirs) = theirs else { continue };
            let (addresses, outside) = (theirs.addresses.clone(), theirs.outside().map(canonical));
            let Some(socket) = self.sockets.get(usize::from(local)).map(|one| one.socket) else { continue };
            let Some(link) = self.link(local, remote).filter(|link| !link.begun) else { continue };
            link.begun = true;
            addresses.into_iter().for_each(|address| link.learn(canonical(address)));
            link.route_to = outside;
            if let Some(to) = outside {
                self.outputs.push_back(Output::FindRoute { socket, to });
            }
        }
    }

    /// One round: everything that is not proven yet, once.
    pub(super) fn fill(&mut self, now: Instant) {
        let current_round = self.rounds.len() as u8;
        // Which sockets ask the control and which pairs send variants is decided once for the whole round.
        let asking: Vec<bool> = self.sockets.iter().map(Local::wants_control).collect();
        let sending: BTreeSet<(u8, u8)> =
            self.links.iter().filter(|(_, link)| link.wants_more()).map(|(pair, _)| *pair).collect();
        let (run, from) = (self.run, self.config.end);
        let open: Vec<bool> = self.sockets.iter().map(|local| local.open).collect();
        let other = if from == End::Client { End::Server } else { End::Client };
        for (place, local) in (0_u8..).zip(&mut self.sockets) {
            if local.wants_servers() {
                local.servers_asked += 1;
                // As often as makes silence mean something.
                for _ in 0..if local.has_outside() { 1 } else { SERVER_TRIES } {
                    let round = local.servers_asked - 1;
                    self.queue.extend(local.servers.iter().map(|to| Job::Server { place, to: *to, round }));
                }
            }
        }
        for variant in Variant::ALL {
            let index = variant.index();
            let probe = |to, sockets, round| Probe { from, to, sockets, variant, round, seen: None, run };
            for (place, local) in
                (0_u8..).zip(&mut self.sockets).filter(|(place, _)| asking[usize::from(*place)])
            {
                let Some(to) = local.control else { continue };
                let probe = probe(End::Control, (place, CONTROL), local.asked[index]);
                local.asked[index] += 1;
                self.queue.push_back(Job::Probe { place, to, probe });
            }
            for ((place, remote), link) in self.links.iter_mut().filter(|(pair, _)| sending.contains(pair)) {
                if open.get(usize::from(*place)) != Some(&true) {
                    continue;
                }
                if link.sent[index] == 0 {
                    link.first_round = current_round;
                }
                let probe = probe(other, (*place, *remote), link.sent[index]);
                link.sent[index] += 1;
                let jobs = link.addresses.iter().map(|to| Job::Probe { place: *place, to: *to, probe });
                self.queue.extend(jobs);
            }
        }
        if !self.queue.is_empty() && self.rounds.len() < MOST_ROUNDS {
            self.rounds.push(now);
        }
    }

    pub(super) fn carry_out(&mut self, now: Instant, job: Job) {
        match job {
            Job::Probe { place, to, probe } => self.transmit(now, place, to, probe),
            Job::Server { place, to, round } => self.ask_server(now, place, to, round),
        }
    }

    /// As any STUN client does (RFC 8489 section 7.3.1).
    fn ask_server(&mut self, now: Instant, place: u8, to: SocketAddr, round: u8) {
        let mut id = [0; 12];
        rand_chacha::rand_core::Rng::fill_bytes(&mut self.rng, &mut id);
        let id = TransactionId(id);
        let Some(local) = self.sockets.get_mut(usize::from(place)).filter(|local| local.open) else { return };
        if local.pending.len() >= MOST_PENDING {
            local.pending.remove(0);
        }
        local.pending.push((id, canonical(to), round));
        let bytes = Builder::new(Class::Request, BINDING, id).finish(None);
        self.last_sent = Some(self.last_sent.map_or(now, |at| at.max(now)));
        self.outputs.push_back(Output::Transmit(Transmit { socket: local.socket, to, bytes }));
    }
}
