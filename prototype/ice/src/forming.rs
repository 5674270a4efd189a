//! How candidates become pairs and pairs go: sockets, remote candidates, limits (RFC 8445 section 6.1.2).

use std::borrow::Cow;

use crate::agent::Agent;
use crate::candidate::{
    self, CandidateKind, LocalCandidate, RemoteCandidate, SocketId, SocketInfo, canonical,
};
use crate::checklist::{Foundation, Pair, RemoteEnd, pair_priority};
use crate::event::{CheckError, Event};
use crate::pair::{PairId, PairState};
use crate::relay::Relays;
use crate::strangers;

/// Most candidates of the other agent.
const MOST_REMOTE: usize = 100;

impl Agent {
    /// False when there is nothing new or usable about it.
    pub(crate) fn register_socket(&mut self, socket: SocketId, mut info: SocketInfo) -> bool {
        let address = canonical(info.local);
        let kind = self.base_kind(socket);
        info.preference = self.unique_preference(socket, info.preference);
        if self.sockets.contains_key(&socket) || !candidate::is_usable(address) {
            return false;
        }
        let server = self.relay_of(socket).map(|(_, server)| server.ip());
        let base = LocalCandidate {
            kind,
            address,
            socket,
            // A relayed candidate is its own base (RFC 8445 section 4).
            base: address,
            priority: candidate::priority(kind, info.preference),
            foundation: candidate::foundation(kind, address.ip(), server),
            interface: info.interface.clone(),
        };
        self.sockets.insert(socket, info);
        self.hide_and_show();
        self.add_local(base);
        true
    }

    /// RFC 8445 section 5.1.2.1: every base has a local preference of its own, and none that gives it the priority of
    /// another candidate, as a relay of a call has that of relayed ones.
    pub(crate) fn unique_preference(&self, socket: SocketId, wanted: u16) -> u16 {
        let kind = self.base_kind(socket);
        nearest_free(wanted, |preference| {
            let mut others = self.sockets.iter().filter(|(other, _)| **other != socket);
            let priority = candidate::priority(kind, preference);
            let of_others = |local: &LocalCandidate| local.socket != socket && local.priority == priority;
            !others.any(|(other, known)| self.base_kind(*other) == kind && known.preference == preference)
                && !self.local_candidates.iter().any(of_others)
        })
    }

    /// Priority of one more gathered candidate of this kind on this socket. No two told candidates have the same (RFC 8445
    /// section 5.1.2): where the socket's own preference is taken, by what another server saw, say, a preference that
    /// is no socket's takes its place.
    pub(crate) fn unique_priority(&self, kind: CandidateKind, socket: SocketId) -> Option<u32> {
        let own = self.sockets.get(&socket)?.preference;
        let alike = |other: SocketId| other != socket && self.base_kind(other) == self.base_kind(socket);
        let is_free = |preference| {
            let priority = candidate::priority(kind, preference);
            let mut sockets = self.sockets.iter();
            let reserved = sockets.any(|(other, info)| alike(*other) && info.preference == preference);
            !reserved && self.local_candidates.iter().all(|local| local.priority != priority)
        };
        Some(candidate::priority(kind, nearest_free(own, is_free)))
    }

    pub(crate) fn forget_socket(&mut self, socket: SocketId) {
        for lost in self.transactions.end_all(|open| open.socket == socket) {
            self.tell_failed(&lost, CheckError::Removed);
        }
        self.remove_local(|local| local.socket == socket);
        self.forget_policed(socket);
        self.sockets.remove(&socket);
    }

    pub(crate) fn add_local(&mut self, new: LocalCandidate) {
        self.local_candidates.push(new.clone());
        if !self.is_hidden(new.socket) {
            self.tell(Event::LocalCandidate(new));
        }
    }

    pub(crate) fn remove_local(&mut self, which: impl Fn(&LocalCandidate) -> bool) {
        let removed: Vec<LocalCandidate> =
            self.local_candidates.extract_if(.., |local| which(local)).collect();
        for LocalCandidate { kind, address, socket, .. } in removed {
            if !self.is_hidden(socket) {
                self.tell(Event::LocalCandidateRemoved { kind, address, socket });
            }
        }
    }

    /// Adds a remote candidate, or takes over what a signal says of one that was only seen before. False
    /// when it is unusable or there is no room.
    pub(crate) fn learn_remote(&mut self, new: RemoteCandidate) -> bool {
        let new = RemoteCandidate { address: canonical(new.address), ..new }.bounded();
        if !candidate::is_usable(new.address) {
            return false;
        }
        let known = self.remote_candidates.iter().position(|known| known.address == new.address);
        if let Some(known) = known.map(|place| &mut self.remote_candidates[place]) {
            if *known == new || new.kind == CandidateKind::Prflx {
                return true;
            }
            *known = new.clone();
        } else if self.make_room_for_remote(&new) {
            self.remote_candidates.push(new.clone());
        } else {
            return false;
        }
        self.update_pairs_of(&new);
        self.tell(Event::RemoteCandidate(new));
        true
    }

    /// When the list is full, a candidate without a living pair goes: one that was only seen before one that was
    /// told, the one of least priority first. Of many that were only seen at one address the oldest goes.
    fn make_room_for_remote(&mut self, new: &RemoteCandidate) -> bool {
        let in_use = |remote: &&RemoteCandidate| {
            self.checklist.iter().any(|pair| pair.remote.address == remote.address && pair.state.is_usable())
        };
        let idle = || self.remote_candidates.iter().filter(|remote| !in_use(remote));
        let alike = |remote: &&RemoteCandidate| {
            let seen = remote.kind == CandidateKind::Prflx && new.kind == CandidateKind::Prflx;
            seen && remote.address.ip() == new.address.ip()
        };
        let gone = if idle().filter(alike).count() >= strangers::AT_ONCE {
            idle().find(alike)
        } else if self.remote_candidates.len() < MOST_REMOTE {
            return true;
        } else {
            idle().min_by_key(|remote| (remote.kind != CandidateKind::Prflx, remote.priority))
        };
        let Some(address) = gone.map(|remote| remote.address) else { return false };
        self.remote_candidates.retain(|remote| remote.address != address);
        self.remove_pairs(|pair| pair.remote.address == address, "too many remote candidates");
        true
    }

    /// Type of the candidate that a socket is the base of.
    pub(crate) fn base_kind(&self, socket: SocketId) -> CandidateKind {
        if Relays::is_base(socket) { CandidateKind::Relay } else { CandidateKind::Host }
    }

    pub(crate) fn update_pairs_of(&mut self, remote: &RemoteCandidate) {
        for pair in self.checklist.iter_mut().filter(|pair| pair.remote.address == remote.address) {
            pair.remote = RemoteEnd::from(remote);
            pair.foundation.set_remote(remote);
        }
        self.update_priorities();
    }

    /// After the role or a candidate changed.
    pub(crate) fn update_priorities(&mut self) {
        let role = self.role;
        for pair in self.checklist.iter_mut() {
            pair.priority = pair_priority(role, pair.local_priority, pair.remote.priority);
        }
        self.checklist.sort();
    }

    /// Forms what pairs are missing (RFC 8445 section 6.1.2.2), best first. Server- and peer-reflexive
    /// candidates of ours are replaced by their base and so pruned from the start (section 6.1.2.4).
    pub(crate) fn form_pairs(&mut self) {
        let mut missing: Vec<Pair> = Vec::new();
        for (socket, info) in &self.sockets {
            let reachable = self
                .remote_candidates
                .iter()
                // One that was only seen is paired where it was seen (section 7.3.1.3).
                .filter(|remote| remote.kind != CandidateKind::Prflx)
                .filter(|remote| candidate::can_talk(info.local, remote.address))
                .filter(|remote| !self.is_stale(remote.address))
                .filter(|remote| self.calls.may_pair(*socket, remote.address))
                .filter(|remote| !self.is_forbidden(*socket, remote.address));
            let new = reachable.filter(|remote| self.checklist.find(*socket, remote.address).is_none());
            missing.extend(new.map(|remote| self.draft(*socket, info, remote)));
        }
        missing.sort_by_key(|pair| std::cmp::Reverse(pair.priority));
        for pair in missing {
            let better = |last: &Pair| last.state == PairState::Down || last.priority < pair.priority;
            let full = self.checklist.len() >= self.config.max_pairs;
            if !full || self.checklist.most_dispensable().is_some_and(better) {
                self.admit(pair);
            }
        }
    }

    /// The pair on which an authentic request arrived, formed now if need be: the request is the best sign
    /// that it works, so an untried one gives way. None when there is no room or they cannot talk.
    pub(crate) fn pair_for_request(&mut self, socket: SocketId, remote: &RemoteCandidate) -> Option<PairId> {
        if let Some(known) = self.checklist.find(socket, remote.address) {
            return Some(known.id);
        }
        let info = self.sockets.get(&socket)?;
        let pair =
            candidate::can_talk(info.local, remote.address).then(|| self.draft(socket, info, remote))?;
        self.admit(pair)
    }

    fn draft(&self, socket: SocketId, info: &SocketInfo, remote: &RemoteCandidate) -> Pair {
        let kind = self.base_kind(socket);
        let local_priority = candidate::priority(kind, info.preference);
        let server = self.relay_of(socket).map(|(_, server)| server.ip());
        let local_foundation = candidate::foundation(kind, info.local.ip(), server);
        Pair {
            // Given when it is admitted.
            id: PairId(self.next_pair),
            socket,
            local: canonical(info.local),
            local_priority,
            priority: pair_priority(self.role, local_priority, remote.priority),
            foundation: Foundation::new(&local_foundation, remote),
            remote: RemoteEnd::from(remote),
            state: PairState::Frozen,
            local_kind: self.base_kind(socket),
            tries: 0,
            retry_at: None,
            probes: 0,
            halted: None,
            let_go: false,
            was_valid: false,
            gave_up: false,
            session: self.session.number,
            renewing: false,
            nominate_when_valid: None,
            checks_sent: 0,
            checks_answered: 0,
            consent_until: None,
            remote_network: None,
            last_heard: None,
            interval: None,
            liveness: None,
        }
    }

    fn admit(&mut self, mut pair: Pair) -> Option<PairId> {
        // RFC 8445 section 6.1.2.5.
        if self.checklist.len() >= self.config.max_pairs {
            let last = self.checklist.most_dispensable()?.id;
            self.remove_pairs(|pair| pair.id == last, "a better pair needs the place");
        }
        let id = PairId(self.next_pair);
        self.next_pair += 1;
        pair.id = id;
        pair.halted = self.stop_reason(&pair);
        pair.state = match pair.halted {
            Some(_) => PairState::Frozen,
            None => self.checklist.initial_state(&pair.foundation),
        };
        self.checklist.insert(pair);
        self.tell_pair(id, "formed".into());
        Some(id)
    }

    pub(crate) fn remove_pairs(&mut self, which: impl Fn(&Pair) -> bool, why: &str) {
        let ids: Vec<PairId> = self.checklist.iter().filter(|pair| which(pair)).map(|pair| pair.id).collect();
        for id in ids {
            for lost in self.transactions.end_all(|open| open.pair == Some(id)) {
                self.tell_failed(&lost, CheckError::Removed);
            }
            self.set_state(id, PairState::Removed, Cow::Owned(why.to_owned()));
            self.checklist.remove(id);
            if self.nominated == Some(id) {
                self.nominated = None;
            }
        }
    }
}

/// What is wanted, or else the next free one below, or else above.
fn nearest_free(wanted: u16, is_free: impl Fn(u16) -> bool) -> u16 {
    let mut nearest = (0..=wanted).rev().chain(wanted..=u16::MAX);
    nearest.find(|preference| is_free(*preference)).unwrap_or(wanted)
}
