//! Pairs and losses in, paths out: what the policy asks for is compared with what there is, again after every change.

use super::{Peer, watching::Loss};
use crate::{
    DetectedBy, Event, PathState, Side,
    engine::{ClosedBy, EnginePath, Link, Use},
    sockets::Action,
};
use ice::{PairId, PairState, PairView, policy::Stop};
use std::time::{Duration, Instant};

/// A path that could not be opened (the other end's connection IDs are still on their way) is tried again.
const RETRY_OPEN: Duration = Duration::from_millis(20);
/// ... waiting twice as long each time, up to this.
const RETRY_OPEN_SLOWEST: Duration = Duration::from_secs(1);
/// A link whose path was given up is left alone this long, so that one bad sign after the other does not open and
/// close paths in turns.
const REST: Duration = Duration::from_millis(500);
/// Why a path is closed that works.
const NOT_KEPT: &str = "not kept by the policy";
const SAMPLE_INTERVAL: Duration = Duration::from_millis(100);

impl Peer {
    pub(super) fn pair_on(&self, link: Link) -> Option<PairView> {
        self.agent.pair_of(link.socket, link.remote).and_then(|pair| self.agent.pair(pair))
    }

    /// Sockets are gone, and every path on them: all of them before another path is chosen, so that none of an
    /// interface's own takes over for the other.
    pub(super) fn lose_sockets(&mut self, now: Instant, actions: &[Action]) {
        let mut lost = vec![];
        for action in actions {
            let Action::Close { socket, by, .. } = action else { continue };
            // Relays that were reached by it are lost with it.
            let through = |base| self.agent.relay_of(base).is_some_and(|(way, _)| way == *socket);
            let on_socket =
                self.paths.living().filter(|path| path.link.socket == *socket || through(path.link.socket));
            lost.extend(on_socket.map(|path| (path.link, Loss::from(*by))));
        }
        self.lose_links(now, &lost);
        for action in actions {
            let Action::Close { socket, by, .. } = action else { continue };
            self.agent.remove_socket(now, *socket, by.as_str());
            self.stop_probing_from(*socket);
            self.send_errors.remove(socket);
        }
    }

    /// The kernel does not send there any more: to the other end, or to a relay.
    pub(super) fn lose_way(&mut self, now: Instant, way: Link) {
        let relayed = self.pairs_over(way).map(|pair| Link { socket: pair.socket, remote: pair.remote });
        let lost: Vec<(Link, Loss)> =
            relayed.chain([way]).map(|link| (link, DetectedBy::SendError.into())).collect();
        self.lose_links(now, &lost);
    }

    pub(super) fn lose_link(&mut self, now: Instant, link: Link, by: DetectedBy) {
        self.lose_links(now, &[(link, by.into())]);
    }

    /// The paths on these links no longer work. Another takes over before the other end is told, so that the word of
    /// it has a path to travel on.
    pub(super) fn lose_links(&mut self, now: Instant, links: &[(Link, Loss)]) {
        let mut lost = vec![];
        for (link, loss) in links {
            let Some(path) = self.paths.on_link(*link).filter(|path| !path.abandoned) else { continue };
            lost.push((path.number, path.engine, *loss));
            self.resting.insert(*link, now + REST);
        }
        if let Some(kept) = self.last_resort(&lost) {
            let (number, _, Loss { by, pause }) = lost.remove(kept);
            if let Some(path) = self.paths.by_number(number) {
                path.last_resort = true;
                let interface = path.interface().to_owned();
                self.event(Event::Detected { interface, path: Some(number), by, pause });
            }
        }
        for (number, _, Loss { by, pause }) in &lost {
            if let Some(path) = self.paths.by_number(*number) {
                let interface = path.interface().to_owned();
                self.event(Event::Detected { interface, path: Some(*number), by: *by, pause: *pause });
            }
        }
        let numbers: Vec<u64> = lost.iter().map(|(number, ..)| *number).collect();
        if let Some((_, _, loss)) = lost.first() {
            self.give_up(now, &numbers, loss.by.as_str());
        }
    }

    /// Closes paths. Another takes over before the other end is told, so that the word of it has a path to travel on.
    pub(super) fn give_up(&mut self, now: Instant, numbers: &[u64], why: &'static str) {
        let mut given_up = vec![];
        for number in numbers {
            self.last_sample(*number);
            let Some(path) = self.paths.by_number(*number).filter(|path| !path.abandoned) else { continue };
            path.abandoned = true;
            given_up.push((*number, path.engine));
            let view = path.enter(PathState::Closed, why);
            self.event(Event::Path(view));
        }
        if given_up.is_empty() {
            return;
        }
        self.changed = true;
        self.choose_active(now, why);
        for (number, engine) in given_up {
            if self.engine.close_path(now, engine) {
                self.paths.remove(number);
            }
        }
        self.renew_control();
    }

    /// The agent does not keep the pair alive any more: its path, unless it is the one in use, is closed.
    pub(super) fn let_go(&mut self, now: Instant, link: Link) {
        let spare = self.paths.on_link(link).filter(|path| !path.abandoned && path.usage == Use::Backup);
        if let Some(number) = spare.map(|path| path.number) {
            self.give_up(now, &[number], NOT_KEPT);
        }
    }

    /// Which of the silent paths a server keeps because it has no other: it can open none, and the client, which may
    /// have noticed nothing at all, would never know that nobody uses this one any more.
    fn last_resort(&self, lost: &[(u64, EnginePath, Loss)]) -> Option<usize> {
        let silent = |by| matches!(by, DetectedBy::CheckSilence | DetectedBy::ReceiveSilence);
        let is_lost = |number| lost.iter().any(|(lost, ..)| *lost == number);
        let others = self.paths.usable().any(|path| !is_lost(path.number));
        if self.side == Side::Client || others || !lost.iter().all(|(.., loss)| silent(loss.by)) {
            return None;
        }
        let best = self.paths.active().or_else(|| self.paths.usable().next())?.number;
        lost.iter().position(|(number, ..)| *number == best)
    }

    pub(super) fn on_path_validated(&mut self, now: Instant, engine: EnginePath, link: Link) {
        if self.paths.by_engine(engine).is_none() {
            let Some((pair, standing)) = self.pair_on(link).map(|pair| self.with_standing(pair)) else {
                return;
            };
            let path = self.paths.add(engine, link, &pair, standing, Use::Backup);
            let cause = match self.side {
                Side::Client => "carried the handshake",
                Side::Server => "opened by the client",
            };
            let view = path.enter(PathState::Opening, cause);
            self.event(Event::Path(view));
        }
        let Some(path) = self.paths.by_engine(engine).filter(|path| !path.validated) else { return };
        path.validated = true;
        let number = path.number;
        let in_use = path.usage == Use::Active;
        let view = path.enter(PathState::Validated, "path validation succeeded");
        self.event(Event::Path(view));
        if in_use && let Some(path) = self.paths.by_number(number) {
            let view = path.enter(PathState::Active, "in use already");
            self.event(Event::Path(view));
        }
        self.abandon_last_resort(number);
        self.close_abandoned(now);
        if self.used_early.take_if(|early| *early == engine).is_some() {
            self.on_remote_use(engine, Use::Active);
        }
        self.choose_active(now, "first validated path");
        self.close_abandoned(now);
        self.keep_in_reserve(engine);
    }

    /// There is another path now.
    fn abandon_last_resort(&mut self, now_there: u64) {
        let silent = self.paths.living().find(|path| path.last_resort && path.number != now_there);
        let Some(number) = silent.map(|path| path.number) else { return };
        self.last_sample(number);
        if let Some(path) = self.paths.by_number(number) {
            path.abandoned = true;
            let view = path.enter(PathState::Closed, "silent, and there is another path");
            self.event(Event::Path(view));
        }
    }

    /// A validated path that did not become the active one.
    fn keep_in_reserve(&mut self, engine: EnginePath) {
        let Some(path) = self.paths.by_engine(engine).filter(|path| path.usage == Use::Backup) else {
            return;
        };
        let view = path.enter(PathState::Backup, "kept in reserve");
        self.event(Event::Path(view));
        self.engine.set_use(engine, Use::Backup);
    }

    /// The engine kept them because they were its last; now there is another. What was said meanwhile went out on them.
    fn close_abandoned(&mut self, now: Instant) {
        let abandoned: Vec<_> = self
            .paths
            .living()
            .filter(|path| path.abandoned)
            .map(|path| (path.number, path.engine))
            .collect();
        let mut any = false;
        for (number, engine) in abandoned {
            if self.engine.close_path(now, engine) {
                self.paths.remove(number);
                any = true;
            }
        }
        if any {
            self.renew_control();
        }
    }

    pub(super) fn on_path_closed(&mut self, now: Instant, engine: EnginePath, by: ClosedBy) {
        self.used_early.take_if(|early| *early == engine);
        let Some(path) = self.paths.by_engine(engine).filter(|path| !path.abandoned) else {
            if let Some(number) = self.paths.by_engine(engine).map(|path| path.number) {
                self.paths.remove(number);
            }
            return;
        };
        let number = path.number;
        let by = match by {
            ClosedBy::Remote => DetectedBy::Peer,
            ClosedBy::Us | ClosedBy::Engine => DetectedBy::Engine,
        };
        let (link, interface) = (path.link, path.interface().to_owned());
        let view = path.enter(PathState::Closed, by.as_str());
        self.event(Event::Detected { interface, path: Some(number), by, pause: None });
        self.last_sample(number);
        self.event(Event::Path(view));
        self.paths.remove(number);
        self.resting.insert(link, now + REST);
        self.choose_active(now, by.as_str());
        self.renew_control();
    }

    /// The client chooses; the server uses what the client uses.
    pub(super) fn on_remote_use(&mut self, engine: EnginePath, usage: Use) {
        if self.side == Side::Client {
            return;
        }
        // Whatever it said before, this is newer.
        self.used_early.take_if(|early| *early == engine || usage == Use::Active);
        if usage == Use::Backup {
            return;
        }
        let Some(path) = self.paths.by_engine(engine).filter(|path| !path.abandoned) else {
            // The word may overtake the end of path validation, which makes the path known here.
            self.used_early = Some(engine);
            return;
        };
        if path.validated {
            let number = path.number;
            self.activate(number, "the client uses it");
        }
    }

    fn choose_active(&mut self, now: Instant, cause: &str) {
        // A server leaves preferences to the client, and chooses only when it has none left, if it can at all.
        let chooses = self.side == Side::Client || self.engine.capabilities().server_chooses;
        if self.side == Side::Server && (self.paths.active().is_some() || !chooses) {
            return;
        }
        // An engine with one path at a time may go on before the new one is validated (RFC 9000 section 9.2), and its
        // packets validate it: ICE found it working.
        let early = self.side == Side::Client && !self.engine.capabilities().multipath && self.is_open();
        let unvalidated = || self.paths.unvalidated().filter(|_| early);
        if let Some(number) = self.paths.better_active(&self.config.policy).or_else(unvalidated) {
            self.activate(number, cause);
        }
        self.tell_agent(now);
    }

    /// Which pair carries the payload, and that it is the chosen one.
    fn tell_agent(&mut self, now: Instant) {
        let in_use = self.paths.in_use().and_then(|path| self.pair_on(path.link));
        let ids: Vec<PairId> = in_use.iter().map(|pair| pair.id).collect();
        if self.told_active != ids {
            self.agent.set_active(now, &ids);
            self.told_active = ids;
        }
        let Some(pair) = in_use.filter(|pair| pair.state.is_valid()) else { return };
        if self.side == Side::Client && self.nominated != Some(pair.id) && self.may_nominate(&pair) {
            self.nominated = Some(pair.id);
            self.agent.nominate(now, pair.id);
        }
    }

    /// Where probing ends with the nomination, a better pair than this one must have had its chance (RFC 8445 section
    /// 8.1.1).
    fn may_nominate(&self, pair: &PairView) -> bool {
        let open = [PairState::Frozen, PairState::Waiting, PairState::InProgress];
        let mut better = self.agent.pairs().filter(|other| other.priority > pair.priority);
        self.config.policy.ice.stop != Stop::Nomination || !better.any(|other| open.contains(&other.state))
    }

    fn activate(&mut self, number: u64, cause: &str) {
        let before = self.paths.in_use().map(|path| path.number);
        if before == Some(number) {
            return;
        }
        for (number, usage) in [(Some(number), Use::Active), (before, Use::Backup)] {
            let Some(path) = number.and_then(|number| self.paths.by_number(number)) else { continue };
            path.usage = usage;
            let state = if usage == Use::Active { PathState::Active } else { PathState::Backup };
            let (engine, view) = (path.engine, path.enter(state, cause));
            self.engine.set_use(engine, usage);
            self.event(Event::Path(view));
        }
    }

    /// Opens what the policy wants and does not have yet, and paces the checks of every pair by its use.
    pub(super) fn reconcile(&mut self, now: Instant) {
        self.retry_open = None;
        self.resting.retain(|_, until| *until > now);
        self.begin_handshake(now);
        self.refresh_paths();
        if self.side == Side::Client && self.is_open() {
            self.open_wanted(now);
            self.choose_active(now, "preferred interface");
            while let Some(number) = self.paths.surplus(&self.config.policy) {
                self.give_up(now, &[number], NOT_KEPT);
            }
        }
        self.tell_agent(now);
        self.pace_checks(now);
    }

    /// The other peer's signalling may name an interface after a path was opened, and standings change.
    fn refresh_paths(&mut self) {
        let pairs: Vec<_> = self
            .paths
            .living()
            .filter_map(|path| Some((path.number, self.with_standing(self.pair_on(path.link)?))))
            .collect();
        for (number, (pair, standing)) in pairs {
            let Some(path) = self.paths.by_number(number) else { continue };
            path.set_rank(standing.rank);
            let renamed = path.refresh(&pair);
            if let Some(view) = renamed {
                self.event(Event::Path(view));
            }
        }
    }

    fn open_wanted(&mut self, now: Instant) {
        let pairs: Vec<_> = self
            .agent
            .pairs()
            .filter(|pair| !self.resting.contains_key(&Link { socket: pair.socket, remote: pair.remote }))
            .map(|pair| self.with_standing(pair))
            .collect();
        if let Some(until) = self.resting.values().min() {
            self.retry_open = Some(*until);
        }
        for (pair, standing) in self.paths.wanted(&self.config.policy, &pairs) {
            let link = Link { socket: pair.socket, remote: pair.remote };
            match self.engine.open_path(now, link, Use::Backup) {
                Ok(engine) => {
                    let path = self.paths.add(engine, link, &pair, standing, Use::Backup);
                    let view = path.enter(PathState::Opening, "a pair between two unjoined interfaces is up");
                    self.event(Event::Path(view));
                }
                Err(error) => {
                    tracing::debug!(%error, "path not opened yet");
                    self.retry_wait = (self.retry_wait * 2).clamp(RETRY_OPEN, RETRY_OPEN_SLOWEST);
                    let again = now + self.retry_wait;
                    self.retry_open = Some(self.retry_open.map_or(again, |at| at.min(again)));
                }
            }
        }
    }

    /// A policy that says nothing of paths leaves the pace to the agent, which knows what is in use.
    fn pace_checks(&mut self, now: Instant) {
        let policy = &self.config.policy;
        let mut intervals = Vec::new();
        for pair in self.agent.pairs().filter(|pair| pair.state.is_valid()) {
            let link = Link { socket: pair.socket, remote: pair.remote };
            let usage = self.paths.on_link(link).map(|path| path.usage);
            let interval = match (policy.checks, usage) {
                (Some(checks), Some(Use::Active)) => checks.active,
                (Some(checks), Some(Use::Backup)) => checks.standby,
                (Some(checks), None) => checks.spare,
                // Once it was told a pace, it has to be told every other one.
                (None, _) if !self.check_intervals.contains_key(&pair.id) => continue,
                (None, Some(Use::Active)) => policy.ice.active.then,
                (None, _) => policy.ice.idle.then,
            };
            intervals.push((pair.id, interval));
        }
        self.check_intervals.retain(|pair, _| intervals.iter().any(|(known, _)| known == pair));
        for (pair, interval) in intervals {
            if self.check_intervals.insert(pair, interval) != Some(interval) {
                self.agent.set_liveness_interval(now, pair, interval);
            }
        }
    }

    pub(super) fn close_all_paths(&mut self, why: &str) {
        self.used_early = None;
        let numbers: Vec<u64> = self.paths.living().map(|path| path.number).collect();
        for number in numbers {
            if let Some(mut path) = self.paths.remove(number) {
                let view = path.enter(PathState::Closed, why);
                self.event(Event::Path(view));
            }
        }
    }

    pub(super) fn sample(&mut self, now: Instant) {
        if self.done || self.next_sample.is_none_or(|at| at > now) {
            return;
        }
        self.next_sample = Some(now + SAMPLE_INTERVAL);
        let numbers: Vec<u64> = self.paths.living().map(|path| path.number).collect();
        numbers.into_iter().for_each(|number| self.last_sample(number));
    }

    pub(super) fn last_samples(&mut self) {
        let numbers: Vec<u64> = self.paths.living().map(|path| path.number).collect();
        numbers.into_iter().for_each(|number| self.last_sample(number));
    }

    fn last_sample(&mut self, number: u64) {
        let Some(path) = self.paths.by_number(number) else { return };
        let (engine, validated) = (path.engine, path.validated);
        if let Some(figures) = self.engine.figures(engine) {
            self.event(Event::PathSample {
                path: number,
                bytes_sent: figures.bytes_sent,
                bytes_received: figures.bytes_received,
                rtt: validated.then_some(figures.rtt),
                packets_sent: Some(figures.packets_sent),
                packets_lost: Some(figures.packets_lost),
                congestion_window: Some(figures.congestion_window),
            });
        }
    }
}
