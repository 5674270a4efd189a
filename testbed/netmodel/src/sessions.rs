//! What a border remembers of the flows that its inside began: mappings, and for each the remotes that may send to it.
//! NAT and firewall are both made of it; they differ in the outside address.
//!
//! How far a mapping and a permission reach is a matter of the key (RFC 4787 sections 4.1 and 5): a remote endpoint is
//! cut down to what the behaviour looks at. So a NAT with endpoint-independent filtering has one permission in each
//! mapping, and one with address-and-port-dependent mapping has a mapping for each remote.

use crate::{Dependence, NatSpec, Protocol, Refresh};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
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

/// A mapping: an inside endpoint, and as much of the remote as the mapping looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct MappingKey {
    pub(crate) inside: Inside,
    remote: SocketAddr,
}

/// One session: a mapping, and as much of the remote as the filtering looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SessionKey {
    pub(crate) mapping: MappingKey,
    permitted: SocketAddr,
}

/// How a table behaves.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Behaviour {
    mapping: Dependence,
    filtering: Dependence,
    refresh: Refresh,
    initial: Duration,
    /// Never less than `initial` (checked by the plan), so that an answer never shortens a life.
    established: Duration,
}

impl Behaviour {
    /// RFC 6092 section 3.2, with the strictest filtering it allows.
    pub(crate) const FIREWALL: Self = Self {
        mapping: Dependence::EndpointIndependent,
        filtering: Dependence::AddressAndPortDependent,
        refresh: Refresh::Outbound,
        initial: NatSpec::TIMEOUT_INITIAL,
        established: NatSpec::TIMEOUT_ESTABLISHED,
    };

    pub(crate) fn of(nat: &NatSpec) -> Self {
        Self {
            mapping: nat.mapping,
            filtering: nat.filtering,
            refresh: nat.refresh,
            initial: nat.timeout_initial,
            established: nat.timeout_established,
        }
    }
}

impl Dependence {
    /// As much of a remote endpoint as this looks at.
    fn reach(self, remote: SocketAddr) -> SocketAddr {
        match (self, remote.ip()) {
            (Self::EndpointIndependent, IpAddr::V4(_)) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            (Self::EndpointIndependent, IpAddr::V6(_)) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            (Self::AddressDependent, address) => (address, 0).into(),
            (Self::AddressAndPortDependent, _) => remote,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Sessions {
    mappings: BTreeMap<MappingKey, Mapping>,
    count: usize,
    behaviour: Behaviour,
}

#[derive(Debug)]
struct Mapping {
    outside: SocketAddr,
    permitted: BTreeMap<SocketAddr, Session>,
}

#[derive(Debug)]
struct Session {
    refreshed: Instant,
    answered: bool,
}

/// Where an outbound packet goes out, and what began with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Outbound {
    pub(crate) key: SessionKey,
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
    pub(crate) fn new(behaviour: Behaviour) -> Self {
        Self { mappings: BTreeMap::new(), count: 0, behaviour }
    }

    /// Forgets everything: what was mapped, and to where.
    pub(crate) fn forget(&mut self) -> Vec<(Inside, SocketAddr)> {
        self.count = 0;
        let mappings = std::mem::take(&mut self.mappings);
        mappings.into_iter().map(|(key, mapping)| (key.inside, mapping.outside)).collect()
    }

    /// The mapping that an inside endpoint has, or would have, towards a remote.
    pub(crate) fn mapping_key(&self, inside: Inside, remote: SocketAddr) -> MappingKey {
        MappingKey { inside, remote: self.behaviour.mapping.reach(remote) }
    }

    /// An inside endpoint sends. `allocate` finds an outside address if it has none yet. None when there is no room.
    pub(crate) fn outbound(
        &mut self,
        now: Instant,
        inside: Inside,
        remote: SocketAddr,
        allocate: impl FnOnce(MappingKey) -> Option<SocketAddr>,
    ) -> Option<Outbound> {
        let behaviour = self.behaviour;
        let mapping = self.mapping_key(inside, remote);
        let key = SessionKey { mapping, permitted: behaviour.filtering.reach(remote) };
        if let Some(mapping) = self.mappings.get_mut(&key.mapping)
            && let Some(session) = mapping.permitted.get_mut(&key.permitted)
        {
            // A timed-out session that nobody has swept yet begins anew, as unanswered.
            session.answered &= session.lives(now, behaviour);
            // RFC 4787 REQ-6: outbound packets refresh.
            session.refreshed = now;
            return Some(Outbound { key, outside: mapping.outside, opened: None, new_mapping: false });
        }
        if self.count >= SESSION_LIMIT {
            return None;
        }
        let (mapping, new_mapping) = match self.mappings.entry(key.mapping) {
            Entry::Occupied(entry) => (entry.into_mut(), false),
            Entry::Vacant(entry) => {
                let mapping = Mapping { outside: allocate(key.mapping)?, permitted: BTreeMap::new() };
                (entry.insert(mapping), true)
            }
        };
        mapping.permitted.insert(key.permitted, Session { refreshed: now, answered: false });
        self.count += 1;
        Some(Outbound { key, outside: mapping.outside, opened: Some(now + behaviour.initial), new_mapping })
    }

    /// A remote sends to a mapping: whether the filtering lets it. What it lets in makes a session live longer, as an
    /// answer, and refreshes it where that is the behaviour.
    pub(crate) fn inbound(&mut self, now: Instant, mapping: MappingKey, remote: SocketAddr) -> bool {
        let behaviour = self.behaviour;
        let Some(session) = self.session_mut(mapping, remote) else { return false };
        if !session.lives(now, behaviour) {
            return false;
        }
        session.answered = true;
        if behaviour.refresh == Refresh::Both {
            session.refreshed = now;
        }
        true
    }

    /// Whether a remote may send to a mapping, without any consequence.
    pub(crate) fn permits(&self, now: Instant, mapping: MappingKey, remote: SocketAddr) -> bool {
        let permitted = self.behaviour.filtering.reach(remote);
        let session = self.mappings.get(&mapping).and_then(|mapping| mapping.permitted.get(&permitted));
        session.is_some_and(|session| session.lives(now, self.behaviour))
    }

    /// The outside address of a mapping that there is.
    pub(crate) fn outside(&self, mapping: MappingKey) -> Option<SocketAddr> {
        self.mappings.get(&mapping).map(|mapping| mapping.outside)
    }

    /// Sweeps a session at a time that [`Outbound::opened`] or [`Expiry::AliveUntil`] gave.
    pub(crate) fn expire(&mut self, now: Instant, key: SessionKey) -> Expiry {
        let Some(mapping) = self.mappings.get_mut(&key.mapping) else { return Expiry::Ended };
        if let Some(session) = mapping.permitted.get(&key.permitted) {
            if session.lives(now, self.behaviour) {
                return Expiry::AliveUntil(session.ends(self.behaviour));
            }
            mapping.permitted.remove(&key.permitted);
            self.count -= 1;
        }
        if !mapping.permitted.is_empty() {
            return Expiry::Ended;
        }
        let outside = mapping.outside;
        self.mappings.remove(&key.mapping);
        Expiry::MappingEnded(outside)
    }

    fn session_mut(&mut self, mapping: MappingKey, remote: SocketAddr) -> Option<&mut Session> {
        let permitted = self.behaviour.filtering.reach(remote);
        self.mappings.get_mut(&mapping)?.permitted.get_mut(&permitted)
    }
}

impl SessionKey {
    /// Of the inside, and so of the remote.
    pub(crate) fn is_ipv4(&self) -> bool {
        self.mapping.inside.address.is_ipv4()
    }
}

impl Session {
    fn ends(&self, behaviour: Behaviour) -> Instant {
        self.refreshed + if self.answered { behaviour.established } else { behaviour.initial }
    }

    fn lives(&self, now: Instant, behaviour: Behaviour) -> bool {
        now < self.ends(behaviour)
    }
}
