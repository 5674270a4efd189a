//! The QUIC paths of a peer, and the choices that the policy makes among them.
//!
//! Holds state and answers questions; the peer carries the answers out.

use crate::{
    Policy,
    engine::{EnginePath, Link, Use},
    event::{PathState, PathView},
};
use ice::{CandidateKind, PairView};

/// Paths that are not over.
#[derive(Debug, Default)]
pub(crate) struct Paths {
    living: Vec<Path>,
    next: u64,
}

#[derive(Debug, Clone)]
pub(crate) struct Path {
    pub(crate) number: u64,
    pub(crate) engine: EnginePath,
    pub(crate) link: Link,
    pub(crate) validated: bool,
    pub(crate) usage: Use,
    /// An answer to a check is overdue.
    suspect: bool,
    /// Found silent, but still used for want of another.
    pub(crate) last_resort: bool,
    /// Given up by us, but the engine holds on to it because it is its last.
    pub(crate) abandoned: bool,
    view: PathView,
    rank: (usize, u32),
}

/// What the choice among paths needs to know of an interface.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) kind: crate::InterfaceKind,
    /// Policy rank of its kind, then its route metric; lower is better.
    pub(crate) rank: (usize, u32),
}

impl Paths {
    pub(crate) fn add(
        &mut self,
        engine: EnginePath,
        link: Link,
        pair: &PairView,
        standing: Standing,
        usage: Use,
    ) -> &mut Path {
        let view = PathView {
            path: self.next,
            pair: pair.id.0,
            interface: pair.interface.clone(),
            interface_kind: standing.kind,
            remote_interface: pair.remote_interface.clone(),
            local: pair.local,
            remote: pair.remote,
            candidate: kind_of(pair),
            state: PathState::Opening,
            cause: String::new(),
        };
        let path = Path {
            number: self.next,
            engine,
            link,
            validated: false,
            usage,
            suspect: false,
            last_resort: false,
            abandoned: false,
            view,
            rank: standing.rank,
        };
        self.next += 1;
        self.living.push(path);
        self.living.last_mut().expect("just pushed")
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Path> {
        self.living.iter()
    }

    pub(crate) fn by_engine(&mut self, engine: EnginePath) -> Option<&mut Path> {
        self.living.iter_mut().find(|path| path.engine == engine)
    }

    pub(crate) fn by_number(&mut self, number: u64) -> Option<&mut Path> {
        self.living.iter_mut().find(|path| path.number == number)
    }

    pub(crate) fn on_link(&self, link: Link) -> Option<&Path> {
        self.living.iter().filter(|path| path.link == link).min_by_key(|path| path.abandoned)
    }

    pub(crate) fn set_suspect(&mut self, link: Link, suspect: bool) {
        for path in self.living.iter_mut().filter(|path| path.link == link) {
            path.suspect = suspect;
            path.last_resort &= suspect;
        }
    }

    pub(crate) fn remove(&mut self, number: u64) -> Option<Path> {
        let place = self.living.iter().position(|path| path.number == number)?;
        Some(self.living.remove(place))
    }

    pub(crate) fn active(&self) -> Option<&Path> {
        self.usable().find(|path| path.usage == Use::Active)
    }

    /// The path that carries the payload, validated or not.
    pub(crate) fn in_use(&self) -> Option<&Path> {
        self.living.iter().find(|path| path.usage == Use::Active && !path.abandoned)
    }

    /// The path to go on with when none is validated: an engine with one path at a time sends nowhere else.
    pub(crate) fn unvalidated(&self) -> Option<u64> {
        if self.usable().next().is_some() {
            return None;
        }
        let opening = self.living.iter().filter(|path| !path.abandoned);
        opening.min_by_key(|path| (path.suspect, path.rank, path.number)).map(|path| path.number)
    }

    /// There is an active path, and it is no last resort.
    pub(crate) fn is_connected(&self) -> bool {
        self.active().is_some_and(|path| !path.last_resort)
    }

    /// Validated, and not given up.
    pub(crate) fn usable(&self) -> impl Iterator<Item = &Path> {
        self.living.iter().filter(|path| path.validated && !path.abandoned)
    }

    /// The path that should carry the payload, if another one than now. The active one stays unless the policy
    /// prefers another kind of interface.
    pub(crate) fn better_active(&self, policy: &Policy) -> Option<u64> {
        let best = self.usable().min_by_key(|path| (path.suspect, path.rank, path.number))?;
        match self.active() {
            None => Some(best.number),
            Some(active) if policy.move_to_preferred && best.rank.0 < active.rank.0 => Some(best.number),
            Some(_) => None,
        }
    }

    /// The pairs on which a path should be opened now: the best pair between two interfaces that no path joins yet,
    /// preferred interfaces first, up to the policy's number of paths.
    pub(crate) fn wanted(
        &self,
        policy: &Policy,
        pairs: &[(PairView, Standing)],
    ) -> Vec<(PairView, Standing)> {
        let room = policy.max_paths.saturating_sub(self.living.iter().filter(|path| !path.abandoned).count());
        let mut joined: Vec<(String, String)> = self
            .living
            .iter()
            .filter(|path| !path.abandoned)
            .map(|path| ends(&path.view.interface, path.view.remote_interface.as_ref(), path.view.remote))
            .collect();
        let mut candidates: Vec<_> = pairs.iter().filter(|(pair, _)| pair.state.is_usable()).collect();
        candidates.sort_by_key(|(pair, standing)| (standing.rank, std::cmp::Reverse(pair.priority)));
        let mut wanted = vec![];
        for (pair, standing) in candidates {
            let ends = ends(&pair.interface, pair.remote_interface.as_ref(), pair.remote);
            let link = Link { socket: pair.socket, remote: pair.remote };
            let carries_one = self.on_link(link).is_some_and(|path| !path.abandoned);
            if wanted.len() < room && !carries_one && !joined.contains(&ends) {
                joined.push(ends);
                wanted.push((pair.clone(), standing.clone()));
            }
        }
        wanted
    }
}

/// Which two interfaces a path joins. A remote interface without a name is known by its address.
fn ends(local: &str, remote: Option<&String>, address: std::net::SocketAddr) -> (String, String) {
    (local.to_owned(), remote.cloned().unwrap_or_else(|| address.ip().to_string()))
}

impl Path {
    /// The event that tells of a new state.
    pub(crate) fn enter(&mut self, state: PathState, cause: &str) -> PathView {
        self.view.state = state;
        self.view.cause = cause.to_owned();
        self.view.clone()
    }

    /// Takes over what became known of the pair; the event that tells of it, if anything did.
    pub(crate) fn refresh(&mut self, pair: &PairView) -> Option<PathView> {
        let is_new = pair.remote_interface.is_some() && self.view.remote_interface != pair.remote_interface;
        if self.abandoned || !is_new {
            return None;
        }
        self.view.remote_interface = pair.remote_interface.clone();
        self.view.candidate = kind_of(pair);
        Some(self.enter(self.view.state, "the other peer named its interface"))
    }

    /// Goes on between other addresses; the event that tells of it.
    pub(crate) fn move_to(&mut self, link: Link, pair: &PairView, cause: &str) -> PathView {
        self.link = link;
        self.suspect = false;
        self.view.pair = pair.id.0;
        self.view.remote = pair.remote;
        self.view.candidate = kind_of(pair);
        self.enter(self.view.state, cause)
    }

    pub(crate) fn interface(&self) -> &str {
        &self.view.interface
    }
}

fn kind_of(pair: &PairView) -> CandidateKind {
    if pair.local_kind == CandidateKind::Relay { CandidateKind::Relay } else { pair.remote_kind }
}
