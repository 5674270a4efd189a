//! What a border remembers of the flows that its inside began: for each inside endpoint, the remotes that it has sent to.
//! NAT and firewall are both made of it; they differ in the outside address.

use crate::{NatSpec, Protocol};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Sessions of one table. Far from all ports, so that the search for a free one stays short.
pub(crate) const SESSION_LIMIT: usize = 32_768;

/// An inside endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Inside {
    pub(crate) protocol: Protocol,
    pub(crate) address: SocketAddr,
}

/// One session: an inside endpoint and the remote that it sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) inside: Inside,
    pub(crate) remote: SocketAddr,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    initial: Duration,
    /// Never less than `initial` (checked by the plan), so that an answer never shortens a life.
    established: Duration,
}

impl Timeouts {
    pub(crate) const DEFAULT: Self =
        Self { initial: NatSpec::TIMEOUT_INITIAL, established: NatSpec::TIMEOUT_ESTABLISHED };

    pub(crate) fn of(nat: &NatSpec) -> Self {
        Self { initial: nat.timeout_initial, established: nat.timeout_established }
    }
}

#[derive(Debug)]
pub(crate) struct Sessions {
    mappings: BTreeMap<Inside, Mapping>,
    count: usize,
    timeouts: Timeouts,
}

#[derive(Debug)]
struct Mapping {
    outside: SocketAddr,
    remotes: BTreeMap<SocketAddr, Session>,
}

#[derive(Debug)]
struct Session {
    last_outbound: Instant,
    answered: bool,
}

/// Where an outbound packet goes out, and what began with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outbound {
    pub(crate) outside: SocketAddr,
    /// A session began: look at it again at this time.
    pub(crate) opened: Option<Instant>,
    pub(crate) new_mapping: bool,
}

/// What has become of a session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expiry {
    /// It lives: look again at this time.
    AliveUntil(Instant),
    /// It is gone; its mapping has others.
    Ended,
    /// It is gone and so is its mapping, which had this outside address.
    MappingEnded(SocketAddr),
}

impl Sessions {
    pub(crate) fn new(timeouts: Timeouts) -> Self {
        Self { mappings: BTreeMap::new(), count: 0, timeouts }
    }

    /// Forgets everything: what was mapped, and to where.
    pub(crate) fn forget(&mut self) -> Vec<(Inside, SocketAddr)> {
        self.count = 0;
        let mappings = std::mem::take(&mut self.mappings);
        mappings.into_iter().map(|(inside, mapping)| (inside, mapping.outside)).collect()
    }

    /// An inside endpoint sends. `allocate` finds an outside address if it has none yet. None when there is no room.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        key: SessionKey,
        allocate: impl FnOnce() -> Option<SocketAddr>,
    ) -> Option<Outbound> {
        let timeouts = self.timeouts;
        if let Some(mapping) = self.mappings.get_mut(&key.inside) {
            let outside = mapping.outside;
            if let Some(session) = mapping.remotes.get_mut(&key.remote) {
                // A timed-out session that nobody has swept yet begins anew, as unanswered.
                session.answered &= session.lives(now, timeouts);
                // RFC 4787 REQ-6: outbound packets refresh.
                session.last_outbound = now;
                return Some(Outbound { outside, opened: None, new_mapping: false });
            }
        }
        if self.count >= SESSION_LIMIT {
            return None;
        }
        let new_mapping = !self.mappings.contains_key(&key.inside);
        let mapping = match self.mappings.entry(key.inside) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Mapping { outside: allocate()?, remotes: BTreeMap::new() })
            }
        };
        mapping.remotes.insert(key.remote, Session { last_outbound: now, answered: false });
        self.count += 1;
        Some(Outbound { outside: mapping.outside, opened: Some(now + timeouts.initial), new_mapping })
    }

    /// A remote sends to an inside endpoint: whether that one has lately sent to it (RFC 4787 section 5,
    /// address-and-port-dependent filtering). Does not refresh (REQ-6), but an answer makes a session live longer.
    pub(crate) fn inbound(&mut self, now: Instant, key: SessionKey) -> bool {
        let timeouts = self.timeouts;
        let session =
            self.mappings.get_mut(&key.inside).and_then(|mapping| mapping.remotes.get_mut(&key.remote));
        let Some(session) = session.filter(|session| session.lives(now, timeouts)) else { return false };
        session.answered = true;
        true
    }

    /// Sweeps a session at a time that [`Outbound::opened`] or [`Expiry::AliveUntil`] gave.
    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        let timeouts = self.timeouts;
        let Some(mapping) = self.mappings.get_mut(&key.inside) else { return Expiry::Ended };
        if let Some(session) = mapping.remotes.get(&key.remote) {
            if session.lives(now, timeouts) {
                return Expiry::AliveUntil(session.ends(timeouts));
            }
            mapping.remotes.remove(&key.remote);
            self.count -= 1;
        }
        if !mapping.remotes.is_empty() {
            return Expiry::Ended;
        }
        let outside = mapping.outside;
        self.mappings.remove(&key.inside);
        Expiry::MappingEnded(outside)
    }
}

impl Session {
    fn ends(&self, timeouts: Timeouts) -> Instant {
        self.last_outbound + if self.answered { timeouts.established } else { timeouts.initial }
    }

    fn lives(&self, now: Instant, timeouts: Timeouts) -> bool {
        now < self.ends(timeouts)
    }
}
