//! What may be changed while a peer runs: policy, disguises, priorities of interfaces, use of their paths. And what these
//! wishes make of an interface's standing.

use super::{Peer, PeerConfig};
use crate::{
    Disguise, Event, InterfaceKind, Policy, Side,
    paths::{Rank, Standing},
};
use ice::{CandidateKind, PairView, Rule, Rung, SocketId, Target, stun::NetworkInfo};
use std::{collections::BTreeMap, fmt, str::FromStr, time::Instant};

/// How paths on an interface may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathStatus {
    /// As the policy says.
    Available,
    /// Only when there is no other.
    Backup,
    /// Not at all: no path, no check.
    Closed,
}

impl PathStatus {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Available, Self::Backup, Self::Closed];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            PathStatus::Available => "available",
            PathStatus::Backup => "backup",
            PathStatus::Closed => "closed",
        }
    }
}

impl fmt::Display for PathStatus {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for PathStatus {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let known = PathStatus::ALL.into_iter().find(|status| status.as_str() == word);
        known.ok_or_else(|| format!("`{word}` is no status of paths; there are: available, backup, closed"))
    }
}

/// What was asked for beyond the policy.
#[derive(Debug)]
pub(super) struct Wishes {
    /// In the order in which they were given.
    disguises: Vec<Disguise>,
    /// Local preferences, by interface.
    priorities: BTreeMap<String, u16>,
    /// By interface.
    statuses: BTreeMap<String, PathStatus>,
}

impl Wishes {
    pub(super) fn new(config: &PeerConfig) -> Self {
        let disguises = config.disguises.clone();
        Self { disguises, priorities: BTreeMap::new(), statuses: BTreeMap::new() }
    }

    /// The newest word that names the interface, else the newest for all.
    fn rung(&self, interface: &str) -> Rung {
        let newest = |of: Option<&str>| {
            self.disguises.iter().rev().find(|disguise| disguise.interface.as_deref() == of)
        };
        newest(Some(interface)).or_else(|| newest(None)).map(|disguise| disguise.rung).unwrap_or_default()
    }

    fn status(&self, interface: &str) -> PathStatus {
        self.statuses.get(interface).copied().unwrap_or(PathStatus::Available)
    }
}

impl Peer {
    /// Another path policy from now on: what it keeps stays, what it does not is let go, what it wants besides is looked
    /// for.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        if self.done {
            return;
        }
        self.event(Event::Policy { policy: policy.to_string() });
        let costs_change = policy.cost != self.config.policy.cost;
        let ice = policy.ice.clone();
        self.config.policy = policy;
        self.agent.set_policy(now, ice);
        if costs_change {
            self.reintroduce(now);
        }
        // A pair that was nominated under another policy may have to be nominated again under this one.
        self.nominated = None;
        self.changed = true;
        self.pump(now);
    }

    /// Checks wear another disguise from now on. An interface that was named by itself before keeps what was said of it
    /// when all are meant.
    pub fn set_disguise(&mut self, now: Instant, disguise: Disguise) {
        if self.done {
            return;
        }
        self.event(Event::Disguise(disguise.clone()));
        self.wishes.disguises.retain(|known| known.interface != disguise.interface);
        self.wishes.disguises.push(disguise);
        self.put_disguises_on();
        self.pump(now);
    }

    /// Gives an interface another local preference (RFC 8445 section 5.1.2.1), 65535 the best. Its candidates are told
    /// again, and the active path is on the interface that is preferred now.
    pub fn set_priority(&mut self, now: Instant, interface: &str, value: u16) {
        if self.done {
            return;
        }
        self.event(Event::Priority { interface: interface.to_owned(), value });
        self.wishes.priorities.insert(interface.to_owned(), value);
        self.reintroduce(now);
        self.changed = true;
        self.pump(now);
    }

    /// Says how paths on an interface may be used. Only a client opens and chooses; a server that closes takes part in no
    /// check there any more.
    pub fn set_path_status(&mut self, now: Instant, interface: &str, status: PathStatus) {
        if self.done {
            return;
        }
        self.event(Event::PathStatus { interface: interface.to_owned(), status });
        self.wishes.statuses.insert(interface.to_owned(), status);
        if status == PathStatus::Closed {
            self.give_up_interface(now, interface, "closed by command");
        }
        let rule = (status == PathStatus::Closed).then_some(Rule::Forbidden);
        self.agent.set_rule(now, Target::Interface(interface.to_owned()), rule);
        self.changed = true;
        self.pump(now);
    }

    /// What a record has to begin with.
    pub(super) fn tell_settings(&mut self) {
        self.event(Event::Policy { policy: self.config.policy.to_string() });
        for disguise in self.wishes.disguises.clone() {
            self.event(Event::Disguise(disguise));
        }
    }

    /// Tells the agent of an interface, before it has a socket there.
    pub(super) fn introduce(&mut self, name: &str) {
        let Some(kind) = self.sockets.interface(name).map(|interface| interface.kind) else { return };
        let cost = self.config.policy.cost.of(kind).min(999);
        let place = self.sockets.interfaces().position(|interface| interface.name == name);
        let id = place.and_then(|place| u16::try_from(place).ok()).unwrap_or(u16::MAX);
        self.agent.set_network_info(name, NetworkInfo { id, cost });
        self.put_disguises_on();
    }

    /// Tells the agent again of all interfaces and of the preference of every socket.
    fn reintroduce(&mut self, now: Instant) {
        let names: Vec<String> = self.sockets.interfaces().map(|interface| interface.name.clone()).collect();
        names.iter().for_each(|name| self.introduce(name));
        let bases = self.bases.iter().filter(|base| self.agent.relay_of(**base).is_some());
        let sockets: Vec<SocketId> =
            self.sockets.bound().map(|(socket, _)| socket).chain(bases.copied()).collect();
        for socket in sockets {
            let preference = self.preference(socket);
            self.agent.set_preference(now, socket, preference);
        }
    }

    fn put_disguises_on(&mut self) {
        for interface in self.sockets.interfaces() {
            let rung = self.wishes.rung(&interface.name);
            self.agent.set_disguise(Target::Interface(interface.name.clone()), rung);
        }
    }

    /// Local preference of a socket's candidates, or of a relayed candidate as of the socket that it is reached by: by
    /// the rank of the interface, or its priority if it was given one, then the families in turns.
    pub(super) fn preference(&mut self, socket: SocketId) -> u16 {
        let base = self.agent.relay_of(socket).map_or(socket, |(socket, _)| socket);
        let best = u16::MAX - self.distance(&self.sockets.interface_of(base));
        self.sockets.preference(base, best)
    }

    /// From the highest preference that an interface could have.
    fn distance(&self, interface: &str) -> u16 {
        let wished = self.wishes.priorities.get(interface).map(|value| u16::MAX - value);
        let rank = self.sockets.interface(interface).map_or(3, |known| self.config.policy.rank(known.kind));
        wished.unwrap_or((rank.min(3) as u16) << 13)
    }

    pub(super) fn with_standing(&self, pair: PairView) -> (PairView, Standing) {
        let interface = self.sockets.interface(&pair.interface);
        let kind = interface.map_or(InterfaceKind::Lan, |interface| interface.kind);
        let kinds = [pair.local_kind, pair.remote_kind];
        let rank = Rank {
            backup: self.wishes.status(&pair.interface) == PathStatus::Backup,
            relayed: kinds.contains(&CandidateKind::Relay) || self.agent.relay_of(pair.socket).is_some(),
            distance: self.distance(&pair.interface),
            metric: interface.and_then(|interface| interface.metric).unwrap_or(u32::MAX),
        };
        (pair, Standing { kind, rank })
    }

    /// Its paths are closed at this end's will: nothing was lost.
    fn give_up_interface(&mut self, now: Instant, interface: &str, why: &'static str) {
        let on_interface = self.paths.living().filter(|path| path.interface() == interface);
        let numbers: Vec<u64> = on_interface.map(|path| path.number).collect();
        // A server has no way to open another one, and its client learns of the closed ones over those that are left.
        if self.side == Side::Client || self.paths.usable().any(|path| path.interface() != interface) {
            self.give_up(now, &numbers, why);
        }
    }
}
