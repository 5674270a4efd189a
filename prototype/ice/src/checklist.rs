//! The check list: all pairs in order of priority, which of them is checked next, which has to go.
//!
//! One list is enough: there is one data stream with one component (RFC 8445 section 6.1.2), so freezing
//! only orders pairs of equal foundation. It never holds a pair back while there is nothing else to do.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::{CandidateKind, RemoteCandidate, SocketId, fnv};
use crate::config::Role;
use crate::event::StopReason;
use crate::liveness::Liveness;
use crate::pair::{PairId, PairState};
use crate::stun::NetworkInfo;

/// A pair in the list.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) id: PairId,
    pub(crate) socket: SocketId,
    /// Address of the base.
    pub(crate) local: SocketAddr,
    /// Priority of the base, a host candidate.
    pub(crate) local_priority: u32,
    pub(crate) remote: RemoteEnd,
    pub(crate) state: PairState,
    pub(crate) priority: u64,
    /// Of both candidates together (RFC 8445 section 6.1.2.6).
    pub(crate) foundation: Foundation,
    /// Type of the local candidate as the newest answer shows it.
    pub(crate) local_kind: CandidateKind,
    /// Checks begun to make the pair valid.
    pub(crate) tries: u32,
    /// When a failed pair waits again.
    pub(crate) retry_at: Option<Instant>,
    /// Requests sent to make it valid since a loss last granted them anew.
    pub(crate) probes: u32,
    /// Not probed now, and why.
    pub(crate) halted: Option<StopReason>,
    /// Worked, and the policy keeps no such standby.
    pub(crate) let_go: bool,
    /// A check of it was answered once.
    pub(crate) was_valid: bool,
    /// A check of it failed, so that it no longer counts as unfinished when it is tried again.
    pub(crate) gave_up: bool,
    /// Whose credentials made it valid, or are to.
    pub(crate) session: u32,
    /// Of the session before, and being checked with the new credentials.
    pub(crate) renewing: bool,
    /// USE-CANDIDATE came before the pair was valid (RFC 8445 section 7.3.1.5).
    pub(crate) nominate_when_valid: Option<Nomination>,
    /// Requests sent on it, retransmissions included, and answered.
    pub(crate) checks_sent: u32,
    pub(crate) checks_answered: u32,
    /// The other agent agrees to receive data until then (RFC 7675).
    pub(crate) consent_until: Option<Instant>,
    /// What the other agent's checks say of their network.
    pub(crate) remote_network: Option<NetworkInfo>,
    pub(crate) last_heard: Option<Instant>,
    /// Set for this pair alone.
    pub(crate) interval: Option<Duration>,
    /// Of a valid pair.
    pub(crate) liveness: Option<Liveness>,
}

/// What a pair keeps of its remote candidate, of which there may be as many as pairs.
#[derive(Debug)]
pub(crate) struct RemoteEnd {
    pub(crate) kind: CandidateKind,
    pub(crate) address: SocketAddr,
    pub(crate) priority: u32,
    pub(crate) interface: Option<String>,
}

impl From<&RemoteCandidate> for RemoteEnd {
    fn from(candidate: &RemoteCandidate) -> RemoteEnd {
        let RemoteCandidate { kind, address, priority, interface, .. } = candidate.clone();
        RemoteEnd { kind, address, priority, interface }
    }
}

/// Of the local and the remote candidate. Hashes are shorter than texts, and two that are equal by chance only
/// reorder checks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Foundation {
    local: u32,
    remote: u32,
}

impl Foundation {
    pub(crate) fn new(local: &str, remote: &RemoteCandidate) -> Foundation {
        Foundation { local: fnv(local), remote: fnv(&remote.foundation) }
    }

    /// The same base towards what is known of the remote candidate by now.
    pub(crate) fn set_remote(&mut self, remote: &RemoteCandidate) {
        self.remote = fnv(&remote.foundation);
    }
}

impl Pair {
    /// Neither valid nor ever given up.
    pub(crate) fn is_unfinished(&self) -> bool {
        let open = matches!(self.state, PairState::Frozen | PairState::Waiting | PairState::InProgress);
        open && !self.gave_up
    }
}

/// A request to use a pair, with its count if the other agent renominates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nomination {
    pub(crate) count: Option<u32>,
}

/// Priority of a pair (RFC 8445 section 6.1.2.3).
pub(crate) fn pair_priority(role: Role, local: u32, remote: u32) -> u64 {
    let (controlling, controlled) = match role {
        Role::Controlling => (local, remote),
        Role::Controlled => (remote, local),
    };
    let (low, high) = (controlling.min(controlled), controlling.max(controlled));
    (u64::from(low) << 32) + 2 * u64::from(high) + u64::from(controlling > controlled)
}

/// Places that are added when all are taken.
const GROWTH: usize = 8;

/// All pairs, highest priority first, and the queue of triggered checks.
#[derive(Debug, Default)]
pub(crate) struct CheckList {
    pairs: Vec<Pair>,
    /// First in, first out; each pair at most once (RFC 8445 section 6.1.4.1).
    triggered: VecDeque<PairId>,
}

impl CheckList {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Pair> {
        self.pairs.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Pair> {
        self.pairs.iter_mut()
    }

    pub(crate) fn len(&self) -> usize {
        self.pairs.len()
    }

    pub(crate) fn get(&self, id: PairId) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: PairId) -> Option<&mut Pair> {
        self.pairs.iter_mut().find(|pair| pair.id == id)
    }

    pub(crate) fn find(&self, socket: SocketId, remote: SocketAddr) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.socket == socket && pair.remote.address == remote)
    }

    pub(crate) fn insert(&mut self, pair: Pair) {
        let place = self.pairs.partition_point(|other| other.priority >= pair.priority);
        if self.pairs.len() == self.pairs.capacity() {
            // A hundred of them are most of what an agent holds: doubling would leave room for 28 more.
            self.pairs.reserve_exact(GROWTH);
        }
        self.pairs.insert(place, pair);
    }

    pub(crate) fn remove(&mut self, id: PairId) -> Option<Pair> {
        self.triggered.retain(|queued| *queued != id);
        let place = self.pairs.iter().position(|pair| pair.id == id)?;
        Some(self.pairs.remove(place))
    }

    /// After priorities changed.
    pub(crate) fn sort(&mut self) {
        self.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority));
    }

    /// The pair that gives way when the list is full: the one that has been down longest, else the last one that
    /// is not valid.
    pub(crate) fn most_dispensable(&self) -> Option<&Pair> {
        let down = self.pairs.iter().filter(|pair| pair.state == PairState::Down);
        let untried = || self.pairs.iter().rev().find(|pair| !pair.state.is_valid());
        down.min_by_key(|pair| pair.last_heard).or_else(untried)
    }

    pub(crate) fn any_usable(&self) -> bool {
        self.pairs.iter().any(|pair| pair.state.is_usable())
    }

    /// State of a new pair (RFC 8445 section 6.1.2.6, RFC 8838 section 12): waiting, unless a pair of its
    /// foundation is about to show whether this one is worth a check.
    pub(crate) fn initial_state(&self, foundation: &Foundation) -> PairState {
        let mut alike = self.pairs.iter().filter(|pair| pair.foundation == *foundation);
        match alike.any(|pair| matches!(pair.state, PairState::Waiting | PairState::InProgress)) {
            true => PairState::Frozen,
            false => PairState::Waiting,
        }
    }

    /// Frozen pairs of one foundation.
    pub(crate) fn frozen(&self, foundation: &Foundation) -> Vec<PairId> {
        let alike = |pair: &&Pair| {
            pair.state == PairState::Frozen && pair.halted.is_none() && pair.foundation == *foundation
        };
        self.pairs.iter().filter(alike).map(|pair| pair.id).collect()
    }

    pub(crate) fn trigger(&mut self, id: PairId) {
        if !self.triggered.contains(&id) {
            self.triggered.push_back(id);
        }
    }

    pub(crate) fn has_triggered(&self) -> bool {
        !self.triggered.is_empty()
    }

    pub(crate) fn next_triggered(&mut self) -> Option<PairId> {
        self.triggered.pop_front()
    }

    /// The next ordinary check among pairs that were never tried (RFC 8445 section 6.1.4.2): waiting ones,
    /// then frozen ones. Step 2 there would leave a frozen pair alone while one of its foundation is being
    /// checked; but a check that nobody answers lasts 39.5 s, and the frozen pair may work.
    pub(crate) fn next_fresh(&self) -> Option<PairId> {
        let fresh = || self.pairs.iter().filter(|pair| pair.tries == 0 && pair.halted.is_none());
        let first = |state| fresh().find(|pair| pair.state == state);
        first(PairState::Waiting).or_else(|| first(PairState::Frozen)).map(|pair| pair.id)
    }

    /// The next pair that failed before and waits again; these never keep a fresh one waiting.
    pub(crate) fn next_retry(&self) -> Option<PairId> {
        let waiting =
            self.pairs.iter().filter(|pair| pair.state == PairState::Waiting && pair.halted.is_none());
        waiting.min_by_key(|pair| pair.tries).map(|pair| pair.id)
    }

    /// Num-Waiting + Num-In-Progress of RFC 8445 section 14.3.
    pub(crate) fn unfinished(&self) -> u32 {
        let unfinished = |pair: &&Pair| matches!(pair.state, PairState::Waiting | PairState::InProgress);
        self.pairs.iter().filter(unfinished).count() as u32
    }

    pub(crate) fn valid(&self) -> u32 {
        self.pairs.iter().filter(|pair| pair.state.is_usable()).count() as u32
    }
}
