//! The QUIC paths of a peer, and the choices that the policy makes among them.
//!
//! Holds state and answers questions; the peer carries the answers out.

use crate::{
    Policy,
    engine::{EnginePath, Link, Use},
    event::{PathState, PathView},
};
use ice::{CandidateKind, PairView};
use std::net::SocketAddr;

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
    rank: Rank,
}

/// What the choice among paths needs to know of a pair.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) kind: crate::InterfaceKind,
    pub(crate) rank: Rank,
}

/// Which of two paths is better: the lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    /// Only to be used when there is nothing else: somebody said so.
    pub(crate) backup: bool,
    pub(crate) relayed: bool,
    /// Of the interface's preference from the highest there is.
    pub(crate) distance: u16,
    /// Of its default route.
    pub(crate) metric: u32,
}

impl Rank {
    /// Whether it is worth leaving a path that works for this one. A metric alone is not.
    fn is_preferred_to(self, other: Self) -> bool {
        let without_metric = |rank: Self| (rank.backup, rank.relayed, rank.distance);
        without_metric(self) < without_metric(other)
    }
}

/// Between which interfaces a path runs, and how. A remote interface without a name is known by its address.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Ends {
    local: String,
    remote: String,
    relayed: bool,
}

impl Ends {
    fn new(local: &str, remote: Option<&String>, address: SocketAddr, relayed: bool) -> Self {
        let remote = remote.cloned().unwrap_or_else(|| address.ip().to_string());
        Self { local: local.to_owned(), remote, relayed }
    }
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
        let Some(active) = self.active() else { return Some(best.number) };
        let is_better = policy.move_to_preferred || active.rank.backup;
        (is_better && best.rank.is_preferred_to(active.rank)).then_some(best.number)
    }

    /// The pairs on which a path should be opened now: the best pair between two interfaces that no path joins yet in
    /// that way, preferred interfaces first, up to the policy's number of paths; or one more where it is to take the
    /// place of a worse one.
    pub(crate) fn wanted(
        &self,
        policy: &Policy,
        pairs: &[(PairView, Standing)],
    ) -> Vec<(PairView, Standing)> {
        let mut held: Vec<(Ends, Rank)> =
            self.living.iter().filter(|path| !path.abandoned).map(|path| (path.ends(), path.rank)).collect();
        let mut candidates: Vec<_> = pairs.iter().filter(|(pair, _)| pair.state.is_usable()).collect();
        candidates.sort_by_key(|(pair, standing)| (standing.rank, std::cmp::Reverse(pair.priority)));
        let mut wanted = vec![];
        for (pair, standing) in candidates {
            let rank = standing.rank;
            let ends = Ends::new(&pair.interface, pair.remote_interface.as_ref(), pair.remote, rank.relayed);
            let link = Link { socket: pair.socket, remote: pair.remote };
            let carries_one = self.on_link(link).is_some_and(|path| !path.abandoned);
            let is_joined = held.iter().any(|(joined, _)| *joined == ends);
            if !carries_one && !is_joined && has_room(policy, &held, rank) {
                held.push((ends, rank));
                wanted.push((pair.clone(), standing.clone()));
            }
        }
        wanted
    }

    /// A path beyond the policy's number of them: the worst that does not carry the payload.
    pub(crate) fn surplus(&self, policy: &Policy) -> Option<u64> {
        let class = |relayed| self.usable().filter(move |path| path.rank.relayed == relayed);
        let direct = class(false).count();
        [(false, policy.held.direct), (true, relayed_room(policy, direct))].into_iter().find_map(
            |(relayed, most)| {
                let worst = class(relayed).max_by_key(|path| (path.suspect, path.rank, path.number))?;
                (class(relayed).count() > most && worst.usage != Use::Active).then_some(worst.number)
            },
        )
    }
}

fn has_room(policy: &Policy, held: &[(Ends, Rank)], rank: Rank) -> bool {
    let class = || held.iter().filter(|(_, other)| other.relayed == rank.relayed).map(|(_, rank)| *rank);
    let most = match rank.relayed {
        true => relayed_room(policy, held.iter().filter(|(_, rank)| !rank.relayed).count()),
        false => policy.held.direct,
    };
    let takes_a_place = || class().max().is_some_and(|worst| rank.is_preferred_to(worst));
    class().count() < most || class().count() == most && policy.move_to_preferred && takes_a_place()
}

fn relayed_room(policy: &Policy, direct: usize) -> usize {
    policy.held.relayed.max(usize::from(direct == 0))
}

impl Path {
    fn ends(&self) -> Ends {
        let view = &self.view;
        Ends::new(&view.interface, view.remote_interface.as_ref(), view.remote, self.rank.relayed)
    }

    /// What is known now of its interface and pair.
    pub(crate) fn set_rank(&mut self, rank: Rank) {
        self.rank = rank;
    }

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
