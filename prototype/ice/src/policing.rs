//! The path policy at work: which pairs may be probed now, what is halted and let go, what a loss sets free again.
//!
//! Everything is derived anew after each input from the policy and the pairs; the only memory is whether the aim of
//! probing was reached and lost, and which sockets came after that.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::candidate::{CandidateKind, SocketId};
use crate::checklist::Pair;
use crate::event::{Event, StopReason};
use crate::pair::{PairId, PairState};
use crate::policy::{Answers, Cadence, Interfaces, Keeping, OnLoss, Policy, Reach, Scope, Standby, Stop};
use crate::transaction::Repeat;

/// What the policy has to remember.
#[derive(Debug, Default)]
pub(crate) struct Policing {
    /// The aim is reached, and why that stops the rest.
    reached: Option<StopReason>,
    /// It was reached before, and lost.
    lost: bool,
    /// A pair of this session is usable.
    works: bool,
    /// A restart was asked for, and neither came nor became needless.
    asked: bool,
    /// Sockets that came after the aim was reached.
    late: BTreeSet<SocketId>,
    /// Sockets that the policy holds back: their candidates are not told.
    hidden: BTreeSet<SocketId>,
    /// Pairs that the user says are in use.
    active: BTreeSet<PairId>,
    /// Pairs that are checked as those in use.
    paced: BTreeSet<PairId>,
}

/// With a steady cadence and no budget.
const STEADY_PROBES: u32 = 20;

impl Agent {
    /// Replaces the path policy; living pairs keep their next check, the rest follows at once.
    pub fn set_policy(&mut self, now: Instant, policy: Policy) {
        let before = std::mem::replace(&mut self.config.policy, policy);
        if self.config.policy.consent && !before.consent {
            self.begin_consent(now);
        }
        self.policing.reached = None;
        self.policing.lost = false;
        self.resume();
        self.begin_due(now);
    }

    /// Which pairs carry data: they are checked as [`Policy::active`] says, the other living ones as
    /// [`Policy::idle`] does. With none the nominated pair counts as in use, or else the best direct one.
    pub fn set_active(&mut self, now: Instant, pairs: &[PairId]) {
        self.policing.active = pairs.iter().copied().collect();
        self.begin_due(now);
    }

    /// The path policy.
    pub fn policy(&self) -> &Policy {
        &self.config.policy
    }

    pub(crate) fn note_late_socket(&mut self, socket: SocketId) {
        if self.policing.reached.is_some() || self.policing.lost {
            self.policing.late.insert(socket);
        }
    }

    /// A relayed candidate is as late as the socket that its relay is reached by.
    pub(crate) fn note_late_base(&mut self, socket: SocketId, base: SocketId) {
        if self.policing.late.contains(&socket) {
            self.policing.late.insert(base);
        }
    }

    pub(crate) fn forget_policed(&mut self, socket: SocketId) {
        self.policing.late.remove(&socket);
        self.policing.hidden.remove(&socket);
    }

    /// Brings what is probed and kept in line with the policy.
    pub(crate) fn apply_policy(&mut self, now: Instant) {
        match (self.policing.reached, self.aim()) {
            (None, Some(why)) => self.policing.reached = Some(why),
            (Some(_), None) => {
                self.policing.reached = None;
                self.policing.lost = true;
                self.resume();
            }
            _ => {}
        }
        self.note_loss();
        self.let_go(now);
        self.hide_and_show();
        self.halt_and_resume(now);
        self.repace(now);
    }

    /// A new session has an aim of its own; what the one before lost counts no more.
    pub(crate) fn police_anew(&mut self) {
        self.policing.reached = None;
        self.policing.lost = false;
        self.policing.late.clear();
        self.policing.works = false;
        self.policing.asked = false;
        self.resume();
    }

    /// A session that was restarted and found nothing leads to another one.
    pub(crate) fn on_failed(&mut self) {
        if self.session.number > 0 {
            self.ask_for_restart();
        }
    }

    /// Whether the last usable pair of the session went.
    fn note_loss(&mut self) {
        let works = self.checklist.iter().any(|pair| pair.state.is_usable() && self.is_current(pair.session));
        let lost = std::mem::replace(&mut self.policing.works, works) && !works;
        self.policing.asked &= !works;
        if lost {
            self.ask_for_restart();
        }
    }

    fn ask_for_restart(&mut self) {
        if self.config.policy.on_loss == OnLoss::Restart && !self.policing.asked {
            self.policing.asked = true;
            self.tell(Event::RestartWanted);
        }
    }

    /// The aim of probing, once it is reached in this session.
    fn aim(&self) -> Option<StopReason> {
        let is_usable = |pair: &&Pair| pair.state.is_usable() && self.is_current(pair.session);
        let usable = || self.checklist.iter().filter(is_usable);
        match self.config.policy.stop {
            Stop::Never => None,
            Stop::Direct(wanted) => {
                let direct = usable().filter(|pair| !self.is_relayed(pair)).count();
                (direct >= wanted as usize).then_some(StopReason::DirectPath)
            }
            Stop::Nomination => {
                usable().any(|pair| self.nominated == Some(pair.id)).then_some(StopReason::Nominated)
            }
        }
    }

    /// Why this pair is not to be probed; None when it may be.
    pub(crate) fn stop_reason(&self, pair: &Pair) -> Option<StopReason> {
        let policy = &self.config.policy;
        if self.is_forced(pair.socket, pair.remote.address) {
            return None;
        }
        let out_of_reach = policy.reach == Reach::HostOnly
            && [CandidateKind::Srflx, CandidateKind::Relay].contains(&pair.remote.kind);
        if out_of_reach || self.is_held_back(pair.socket) {
            return Some(StopReason::Policy);
        }
        let spent = policy.probes.budget.is_some_and(|budget| pair.probes >= budget);
        let after_loss = !self.is_in_scope(pair);
        // A standby has to be found before it can be kept.
        let standby = policy.standby == Standby::Relays && self.is_relayed(pair);
        self.policing
            .reached
            .filter(|_| !standby)
            .or(pair.let_go.then_some(StopReason::Standby))
            .or(after_loss.then_some(StopReason::AfterLoss))
            .or(spent.then_some(StopReason::Budget))
    }

    /// Whether a loss or return leaves it to be probed.
    fn is_in_scope(&self, pair: &Pair) -> bool {
        if !self.policing.lost {
            return true;
        }
        let policy = &self.config.policy;
        let scope = match policy.on_loss {
            _ if self.policing.late.contains(&pair.socket) => policy.on_return,
            OnLoss::Probe(scope) => scope,
            OnLoss::Restart => Scope::Nothing,
        };
        match scope {
            Scope::Everything => true,
            Scope::Relays => self.is_relayed(pair),
            Scope::Nothing => false,
        }
    }

    pub(crate) fn may_probe(&self, pair: &Pair) -> bool {
        self.stop_reason(pair).is_none()
    }

    pub(crate) fn may_gather(&self, socket: SocketId) -> bool {
        self.config.policy.reach == Reach::Any
            && !self.is_held_back(socket)
            && !self.is_socket_forbidden(socket)
    }

    /// Whether a check of the other agent's is answered.
    pub(crate) fn may_answer(&self, socket: SocketId, from: SocketAddr) -> bool {
        if self.config.policy.answers == Answers::All || !self.policing.lost {
            return true;
        }
        let works = self.checklist.find(socket, from).is_some_and(|pair| pair.state.is_usable());
        let mut relays = self.remote_candidates.iter().filter(|remote| remote.kind == CandidateKind::Relay);
        works || self.base_kind(socket) == CandidateKind::Relay || relays.any(|remote| remote.address == from)
    }

    pub(crate) fn is_relayed(&self, pair: &Pair) -> bool {
        pair.remote.kind == CandidateKind::Relay || self.base_kind(pair.socket) == CandidateKind::Relay
    }

    fn is_held_back(&self, socket: SocketId) -> bool {
        let cost = self.cost_of(socket);
        match self.config.policy.interfaces {
            Interfaces::All => false,
            Interfaces::CostAtMost(most) => cost > most,
            Interfaces::Cheapest => {
                let mut others = self.sockets.iter();
                others.any(|(other, info)| self.cost_of(*other) < cost && !self.is_lost(&info.interface))
            }
        }
    }

    /// Whether the other agent is not to know of this socket's candidates.
    pub(crate) fn is_hidden(&self, socket: SocketId) -> bool {
        self.policing.hidden.contains(&socket)
    }

    /// Candidates that are held back are not told, or the other agent would probe them. Those of an interface in use are:
    /// the other agent would give up the very pair.
    pub(crate) fn hide_and_show(&mut self) {
        let active = self.active_pairs();
        let in_use: BTreeSet<&str> =
            active.iter().filter_map(|id| self.interface_of(self.checklist.get(*id)?.socket)).collect();
        let is_in_use =
            |socket: &SocketId| self.interface_of(*socket).is_some_and(|name| in_use.contains(name));
        let held = |socket: &SocketId| self.is_held_back(*socket) && !is_in_use(socket);
        let changed = |socket: &SocketId| held(socket) != self.is_hidden(*socket);
        let changed: Vec<SocketId> = self.sockets.keys().copied().filter(changed).collect();
        for socket in changed {
            let hide = self.policing.hidden.insert(socket);
            if !hide {
                self.policing.hidden.remove(&socket);
            }
            let of_socket = self.local_candidates.iter().filter(|local| local.socket == socket);
            let news: Vec<Event> = of_socket
                .map(|local| match hide {
                    true => Event::LocalCandidateRemoved { kind: local.kind, address: local.address, socket },
                    false => Event::LocalCandidate(local.clone()),
                })
                .collect();
            news.into_iter().for_each(|event| self.tell(event));
        }
    }

    fn cost_of(&self, socket: SocketId) -> u16 {
        let interface = self.sockets.get(&socket).map(|info| &info.interface);
        interface.and_then(|interface| self.networks.get(interface)).map_or(0, |network| network.cost)
    }

    /// Pairs over this interface, relayed ones included, were valid, and none is usable any more.
    fn is_lost(&self, interface: &str) -> bool {
        let over = |pair: &&Pair| pair.was_valid && self.interface_of(pair.socket) == Some(interface);
        let once_valid = || self.checklist.iter().filter(over);
        once_valid().next().is_some() && once_valid().all(|pair| !pair.state.is_usable())
    }

    /// A loss grants everything anew; what may then be probed is for the policy to say.
    fn resume(&mut self) {
        for pair in self.checklist.iter_mut() {
            pair.probes = 0;
            pair.let_go = false;
        }
    }

    fn halt_and_resume(&mut self, now: Instant) {
        let idle = self.checklist.iter().filter(|pair| !pair.state.is_usable());
        let changed: Vec<_> = idle
            .map(|pair| (pair.id, pair.halted, self.stop_reason(pair)))
            .filter(|(_, before, reason)| before != reason)
            .collect();
        for (id, before, reason) in changed {
            match reason {
                Some(why) => self.halt(now, id, why, before.is_none()),
                None => self.unhalt(id),
            }
        }
    }

    fn halt(&mut self, now: Instant, id: PairId, why: StopReason, news: bool) {
        let Some(pair) = self.checklist.get_mut(id) else { return };
        let probed = pair.checks_sent > 0 && pair.state != PairState::Failed;
        pair.halted = Some(why);
        pair.gave_up = true;
        pair.retry_at = None;
        pair.liveness = None;
        pair.consent_until = None;
        let state = if why == StopReason::Budget { PairState::Failed } else { PairState::Frozen };
        let (socket, remote) = (pair.socket, pair.remote.address);
        if news {
            self.transactions.cancel(now, id);
            self.set_state(id, state, why.as_str());
            if probed {
                let interface =
                    self.sockets.get(&socket).map(|info| info.interface.clone()).unwrap_or_default();
                self.tell(Event::ProbingStopped { pair: id, interface, remote, why });
            }
        }
    }

    fn unhalt(&mut self, id: PairId) {
        let Some(pair) = self.checklist.get_mut(id) else { return };
        pair.halted = None;
        pair.gave_up = false;
        pair.tries = 0;
        self.set_state(id, PairState::Waiting, "probed again");
    }

    /// Living pairs that the policy keeps no standby of. Which one is in use must be known first.
    fn let_go(&mut self, now: Instant) {
        if self.config.policy.standby == Standby::All {
            return;
        }
        let active = self.active_pairs();
        if active.is_empty() || self.policing.reached.is_none() {
            return;
        }
        let mut spares = match self.config.policy.standby {
            Standby::Spares(count) => count,
            _ => 0,
        };
        let mut surplus = Vec::new();
        // What is nominated is about to be used.
        let is_in_use = |pair: &Pair| active.contains(&pair.id) || self.nominated == Some(pair.id);
        for pair in self.checklist.iter().filter(|pair| pair.state.is_usable() && !is_in_use(pair)) {
            let forced = self.is_forced(pair.socket, pair.remote.address);
            // One that waits on a costlier interface, since a policy before this one found it, is no standby.
            let relay = self.config.policy.standby == Standby::Relays
                && self.is_relayed(pair)
                && !self.is_held_back(pair.socket);
            match spares.checked_sub(1) {
                _ if forced || relay => {}
                Some(left) => spares = left,
                None => surplus.push(pair.id),
            }
        }
        for id in surplus {
            if let Some(pair) = self.checklist.get_mut(id) {
                pair.let_go = true;
            }
            self.halt(now, id, StopReason::Standby, true);
        }
    }

    /// Pairs in use that are usable: the user's choice, else the nominated one, else the best direct one, else the
    /// best.
    fn active_pairs(&self) -> BTreeSet<PairId> {
        let usable = || self.checklist.iter().filter(|pair| pair.state.is_usable());
        let chosen: BTreeSet<PairId> =
            usable().map(|pair| pair.id).filter(|id| self.policing.active.contains(id)).collect();
        if !chosen.is_empty() {
            return chosen;
        }
        let nominated = usable().find(|pair| self.nominated == Some(pair.id));
        let best = || usable().find(|pair| !self.is_relayed(pair)).or_else(|| usable().next());
        nominated.or_else(best).map(|pair| pair.id).into_iter().collect()
    }

    /// How closely a pair is checked by the policy.
    pub(crate) fn keeping(&self, pair: PairId) -> Keeping {
        let policy = &self.config.policy;
        if self.policing.paced.contains(&pair) { policy.active } else { policy.idle }
    }

    /// Pairs that came into use or out of it begin their cadence anew.
    fn repace(&mut self, now: Instant) {
        if self.config.policy.active == self.config.policy.idle {
            return;
        }
        let active = self.active_pairs();
        let before = std::mem::replace(&mut self.policing.paced, active);
        let changed: Vec<PairId> = before.symmetric_difference(&self.policing.paced).copied().collect();
        changed.into_iter().for_each(|id| self.begin_cadence(now, id));
    }

    /// The first check of a pair that is in use, or idle, from now on.
    pub(crate) fn begin_cadence(&mut self, now: Instant, id: PairId) {
        let first = self.keeping(id).first;
        if let Some(pair) = self.checklist.get_mut(id).filter(|pair| pair.interval.is_none())
            && let Some(liveness) = &mut pair.liveness
        {
            liveness.check_at(now + first);
        }
        self.keep_consent_fresh(now, id);
    }

    /// How the requests of a check are repeated.
    pub(crate) fn probe_repeat(&self, pair: PairId, rto: Duration) -> Repeat {
        let probes = self.config.policy.probes;
        // The one that leaves now is counted already.
        let sent = self.checklist.get(pair).map_or(0, |pair| pair.probes.saturating_sub(1));
        let left = probes.budget.map(|budget| budget.saturating_sub(sent).max(1));
        match probes.cadence {
            Cadence::Backoff => Repeat::Backoff { rto, most: left },
            Cadence::Steady(interval) => Repeat::Steady { interval, most: left.unwrap_or(STEADY_PROBES) },
        }
    }
}
