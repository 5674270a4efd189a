//! Rules that are set while the agent runs: what is forbidden or forced, and new priorities.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::agent::Agent;
use crate::candidate::{self, CandidateKind, LocalCandidate, RemoteCandidate, SocketId, canonical};
use crate::checklist::Pair;

/// What a rule applies to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Target {
    /// All sockets of an interface.
    Interface(String),
    /// One socket: an interface and a family, or one of our relays.
    Socket(SocketId),
    /// One candidate of the other agent.
    Remote(SocketAddr),
    /// One pair.
    Pair(SocketId, SocketAddr),
}

impl Target {
    pub(crate) fn canonical(self) -> Target {
        match self {
            Target::Remote(remote) => Target::Remote(canonical(remote)),
            Target::Pair(socket, remote) => Target::Pair(socket, canonical(remote)),
            other => other,
        }
    }
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rule {
    /// Probed and kept alive whatever the policy says.
    Forced,
    /// No pair, no check, no answer. Stronger than [`Forced`](Self::Forced).
    Forbidden,
}

/// All rules.
#[derive(Debug, Default)]
pub(crate) struct Rules(BTreeMap<Target, Rule>);

impl Rules {
    fn strongest<const N: usize>(&self, targets: [Target; N]) -> Option<Rule> {
        targets.iter().filter_map(|target| self.0.get(target)).max().copied()
    }
}

impl Agent {
    /// Sets or lifts (None) a rule, and acts on it at once: forbidden pairs are removed, forced ones probed, and what
    /// is no longer forbidden is paired again.
    pub fn set_rule(&mut self, now: Instant, target: Target, rule: Option<Rule>) {
        let target = target.canonical();
        match rule {
            Some(rule) => self.rules.0.insert(target, rule),
            None => self.rules.0.remove(&target),
        };
        let forbidden = |pair: &&Pair| self.is_forbidden(pair.socket, pair.remote.address);
        let ids: Vec<_> = self.checklist.iter().filter(forbidden).map(|pair| pair.id).collect();
        self.remove_pairs(|pair| ids.contains(&pair.id), "forbidden");
        self.form_pairs();
        let forced =
            |pair: &&Pair| !pair.state.is_valid() && self.is_forced(pair.socket, pair.remote.address);
        let ids: Vec<_> = self.checklist.iter().filter(forced).map(|pair| pair.id).collect();
        ids.into_iter().for_each(|id| self.checklist.trigger(id));
        self.begin_due(now);
    }

    /// Gives a socket another local preference (RFC 8445 section 5.1.2.1). Its candidates are told again with their
    /// new priorities.
    pub fn set_preference(&mut self, now: Instant, socket: SocketId, preference: u16) {
        let preference = self.unique_preference(socket, preference);
        let Some(info) = self.sockets.get_mut(&socket).filter(|info| info.preference != preference) else {
            return;
        };
        info.preference = preference;
        self.renumber_candidates(socket, preference);
        let kind = self.base_kind(socket);
        for pair in self.checklist.iter_mut().filter(|pair| pair.socket == socket) {
            pair.local_priority = candidate::priority(kind, preference);
        }
        self.update_priorities();
        self.begin_due(now);
    }

    /// Tells the candidates of a socket again, each with its new priority.
    fn renumber_candidates(&mut self, socket: SocketId, preference: u16) {
        let (of_socket, others) =
            std::mem::take(&mut self.local_candidates).into_iter().partition(|local| local.socket == socket);
        self.local_candidates = others;
        let of_socket: Vec<LocalCandidate> = of_socket;
        for mut local in of_socket {
            let priority = match local.kind {
                // Not told, and what the checks on its socket say of it (section 7.1.1).
                CandidateKind::Prflx => Some(candidate::priority(local.kind, preference)),
                kind => self.unique_priority(kind, socket),
            };
            local.priority = priority.unwrap_or(local.priority);
            self.add_local(local);
        }
    }

    /// Gives a candidate of the other agent another priority, whatever it said itself. Both ends then order their
    /// pairs differently, which costs time to the first path and nothing else.
    pub fn set_remote_priority(&mut self, now: Instant, remote: SocketAddr, priority: u32) {
        let remote = canonical(remote);
        let known = self.remote_candidates.iter_mut().find(|known| known.address == remote);
        let Some(changed) = known.map(|known| {
            known.priority = priority;
            RemoteCandidate::clone(known)
        }) else {
            return;
        };
        self.update_pairs_of(&changed);
        self.begin_due(now);
    }

    pub(crate) fn is_forbidden(&self, socket: SocketId, remote: SocketAddr) -> bool {
        self.rule_of(socket, remote) == Some(Rule::Forbidden)
    }

    pub(crate) fn is_forced(&self, socket: SocketId, remote: SocketAddr) -> bool {
        self.rule_of(socket, remote) == Some(Rule::Forced)
    }

    /// Whether the whole socket is forbidden.
    pub(crate) fn is_socket_forbidden(&self, socket: SocketId) -> bool {
        let Some(info) = self.sockets.get(&socket) else { return true };
        let targets = [Target::Interface(info.interface.clone()), Target::Socket(socket)];
        self.rules.strongest(targets) == Some(Rule::Forbidden)
    }

    fn rule_of(&self, socket: SocketId, remote: SocketAddr) -> Option<Rule> {
        if self.rules.0.is_empty() {
            return None;
        }
        let interface = self.sockets.get(&socket).map_or_else(String::new, |info| info.interface.clone());
        self.rules.strongest([
            Target::Interface(interface),
            Target::Socket(socket),
            Target::Remote(remote),
            Target::Pair(socket, remote),
        ])
    }
}
