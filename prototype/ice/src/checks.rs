//! Making connectivity checks: whose turn it is (RFC 8445 section 6.1.4), the request (section 7.1), and
//! what failure does (section 7.2.5.2).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::candidate::{self, CandidateKind, SocketId};
use crate::checklist::Pair;
use crate::config::Role;
use crate::event::{CheckError, CheckPurpose, Event};
use crate::pair::{PairId, PairState};
use crate::stun::{self, Builder, Class, RoleClaim, TransactionId};
use crate::transaction::{Repeat, Request, Transaction};

/// Triggered checks in a row, when something else waits.
const MOST_IN_TURN: u32 = 4;

/// Whose turn the newest transaction was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Turn {
    /// There was none.
    #[default]
    Nobodys,
    Gathering,
    Checks,
}

impl Agent {
    /// Begins the next transaction if Ta has passed since the one before (RFC 8445 section 14.2). A nomination goes
    /// first. Then gathering and checks take turns, so that neither waits for the whole of the other: relays begin,
    /// since each round trip to them counts, then triggered checks, then pairs never tried in turns with STUN servers.
    /// Pairs that failed before have what is left.
    ///
    /// So the pair in place k, counted from 0, has its check at the latest (k+1) Ta after it may be checked, or, where
    /// gathering has requests to send at the same time, Ta later for each of those, at most 2 (k+1) Ta; and of
    /// several relays the one in place j is asked 2 j Ta after the first, or j Ta where there is nothing to check. To
    /// that comes Ta for each nomination and each triggered check of other pairs: those go first, of the latter up to
    /// four before each turn of anything else.
    pub(crate) fn begin_due(&mut self, now: Instant) {
        self.apply_policy(now);
        self.tend_relays(now);
        self.tend_calls(now);
        let paced = self.next_start.is_none_or(|at| at <= now);
        if self.started && paced && self.begin_next(now) {
            self.next_start = Some(now + self.config.timing.ta);
        }
        self.settle_restart(now);
        self.apply_policy(now);
        self.update_progress(now);
    }

    fn begin_next(&mut self, now: Instant) -> bool {
        if let Some(chosen) = self.next_nomination() {
            self.send_check(now, chosen, CheckPurpose::Nomination);
            return true;
        }
        let before = self.turn;
        if before != Turn::Gathering && self.begin_allocation(now) {
            return true;
        }
        // Some NATs make triggered checks beget each other; the rest shall have its turn all the same.
        let fair = self.triggered_in_turn < MOST_IN_TURN && self.begin_triggered(now);
        self.triggered_in_turn = if fair { self.triggered_in_turn + 1 } else { 0 };
        fair || before == Turn::Checks && self.begin_gather(now)
            || self.begin_fresh(now)
            || self.begin_allocation(now)
            || self.begin_gather(now)
            || self.begin_retry(now)
            || self.begin_triggered(now)
    }

    /// RFC 8445 section 8.1.1. One that went down, was removed or is another's to nominate meanwhile is none.
    fn next_nomination(&mut self) -> Option<PairId> {
        let chosen = self.to_nominate.take()?;
        let is_valid = self.checklist.get(chosen).is_some_and(|pair| pair.state.is_valid());
        (is_valid && self.role == Role::Controlling).then_some(chosen)
    }

    fn begin_triggered(&mut self, now: Instant) -> bool {
        let next = self.next_triggered();
        self.begin_check(now, next, CheckPurpose::Triggered)
    }

    fn begin_fresh(&mut self, now: Instant) -> bool {
        let fresh = self.checkable().and_then(|list| list.next_fresh());
        self.begin_check(now, fresh, CheckPurpose::Ordinary)
    }

    fn begin_allocation(&mut self, now: Instant) -> bool {
        let Some(base) = self.next_allocation(now) else { return false };
        self.turn = Turn::Gathering;
        self.allocate(now, base);
        true
    }

    fn begin_gather(&mut self, now: Instant) -> bool {
        let Some((socket, server)) = self.next_gather(now) else { return false };
        self.turn = Turn::Gathering;
        self.send_gather(now, socket, server);
        true
    }

    fn begin_retry(&mut self, now: Instant) -> bool {
        let again = self.checkable().and_then(|list| list.next_retry());
        self.begin_check(now, again, CheckPurpose::Ordinary)
    }

    fn begin_check(&mut self, now: Instant, pair: Option<PairId>, purpose: CheckPurpose) -> bool {
        let Some(pair) = pair else { return false };
        self.turn = Turn::Checks;
        self.send_check(now, pair, purpose);
        true
    }

    /// When [`begin_due`](Self::begin_due) has something to do.
    pub(crate) fn next_beginning(&self) -> Option<Instant> {
        let check = self.checkable().is_some_and(|list| {
            self.to_nominate.is_some()
                || list.has_triggered()
                || list.next_fresh().is_some()
                || list.next_retry().is_some()
        });
        // Whatever could begin earlier has begun: every input tries.
        let check = self.next_start.filter(|_| check);
        let gather = [self.next_gather_due(), self.next_allocation_due()].into_iter().flatten().min();
        let gather = gather.map(|due| self.next_start.map_or(due, |start| due.max(start)));
        [check, gather].into_iter().flatten().min()
    }

    /// Without the other agent's credentials nothing can be checked.
    fn checkable(&self) -> Option<&crate::checklist::CheckList> {
        self.session.remote.as_ref().map(|_| &self.checklist)
    }

    fn next_triggered(&mut self) -> Option<PairId> {
        self.checkable()?;
        while let Some(id) = self.checklist.next_triggered() {
            // Another check may have made it valid in the meantime.
            let wanted = |pair: &Pair| match pair.state.is_valid() {
                true => pair.renewing,
                false => self.may_probe(pair),
            };
            if self.checklist.get(id).is_some_and(wanted) {
                return Some(id);
            }
        }
        None
    }

    pub(crate) fn send_check(&mut self, now: Instant, pair: PairId, purpose: CheckPurpose) {
        let id = self.ids.transaction();
        let Some(session) = self.check_session(pair, purpose) else { return };
        let Some((socket, to, bytes)) = self.check_request(id, pair, purpose, session) else { return };
        self.note_check(now, pair, purpose);
        let repeat = match purpose {
            CheckPurpose::Liveness => Repeat::Once,
            CheckPurpose::Nomination => Repeat::Backoff { rto: self.check_rto(), most: None },
            _ => self.probe_repeat(pair, self.check_rto()),
        };
        #[rustfmt::skip]
        self.begin(now, Request { id, pair: Some(pair), relay: None, session, purpose, socket, to, bytes, role: self.role, repeat });
    }

    /// What is to make a pair valid speaks for the current session, the rest for the pair's own.
    fn check_session(&self, pair: PairId, purpose: CheckPurpose) -> Option<u32> {
        match purpose {
            CheckPurpose::Ordinary | CheckPurpose::Triggered => Some(self.session.number),
            _ => self.checklist.get(pair).map(|pair| pair.session),
        }
    }

    /// RFC 8445 section 7.1.
    fn check_request(
        &self,
        id: TransactionId,
        pair: PairId,
        purpose: CheckPurpose,
        session: u32,
    ) -> Option<(SocketId, SocketAddr, Vec<u8>)> {
        let session = self.session_of(session)?;
        let remote = session.remote.as_ref()?;
        let pair = self.checklist.get(pair)?;
        let info = self.sockets.get(&pair.socket)?;
        let mut request = Builder::new(Class::Request, stun::BINDING, id)
            .username(&format!("{}:{}", remote.credentials.ufrag(), session.local.ufrag()))
            // What a peer-reflexive candidate learnt from this check would have (section 7.1.1).
            .priority(candidate::priority(CandidateKind::Prflx, info.preference))
            .role_claim(RoleClaim { role: self.role, tie_breaker: self.tie_breaker });
        if purpose == CheckPurpose::Nomination {
            request = request.use_candidate();
            if self.config.renomination {
                request = request.nomination(self.nominations);
            }
        }
        if let Some(network) = self.networks.get(&info.interface) {
            request = request.network_info(*network);
        }
        Some((pair.socket, pair.remote.address, request.finish(Some(&remote.key))))
    }

    fn note_check(&mut self, now: Instant, id: PairId, purpose: CheckPurpose) {
        let Some(pair) = self.checklist.get_mut(id) else { return };
        pair.checks_sent = pair.checks_sent.saturating_add(1);
        match purpose {
            CheckPurpose::Liveness => self.with_liveness(id, |liveness, timing, interval| {
                liveness.sent(now, timing, interval);
                None
            }),
            // Of the session before, and checked with the new credentials.
            _ if pair.state.is_valid() => {}
            CheckPurpose::Ordinary | CheckPurpose::Triggered => {
                pair.tries = pair.tries.saturating_add(1);
                pair.probes = pair.probes.saturating_add(1);
                pair.retry_at = None;
                self.set_state(id, PairState::InProgress, "check sent");
            }
            // Those to servers are for no pair.
            _ => {}
        }
    }

    /// RFC 8445 section 14.3, for checks.
    fn check_rto(&self) -> Duration {
        self.config.timing.min_rto.max(self.config.timing.ta * self.checklist.unfinished())
    }

    /// Sends a request for the first time.
    pub(crate) fn begin(&mut self, now: Instant, mut request: Request) {
        // What is sent once need not be kept: with many living pairs it would be most of the agent's memory.
        let bytes = match request.repeat {
            Repeat::Once => std::mem::take(&mut request.bytes),
            _ => request.bytes.clone(),
        };
        request.bytes.shrink_to_fit();
        self.transmit(request.socket, request.to, bytes);
        self.tell(Event::CheckSent {
            pair: request.pair,
            socket: request.socket,
            remote: request.to,
            purpose: request.purpose,
            attempt: 1,
        });
        if let Some(displaced) = self.transactions.begin(now, &self.config.timing, request) {
            self.tell_failed(&displaced, CheckError::Displaced);
        }
    }

    pub(crate) fn retransmit(&mut self, id: TransactionId) {
        let Some(open) = self.transactions.get_mut(id) else { return };
        if let Some(pair) = open.pair.and_then(|pair| self.checklist.get_mut(pair)) {
            pair.checks_sent = pair.checks_sent.saturating_add(1);
            pair.probes = pair.probes.saturating_add(u32::from(open.makes_valid()));
        }
        let (socket, to, bytes) = (open.socket, open.to, open.bytes.clone());
        let sent = Event::CheckSent {
            pair: open.pair,
            socket,
            remote: to,
            purpose: open.purpose,
            attempt: open.attempt,
        };
        self.transmit(socket, to, bytes);
        self.tell(sent);
    }

    /// All transmissions of a request went unanswered.
    pub(crate) fn give_up(&mut self, now: Instant, id: TransactionId) {
        let Some(ended) = self.transactions.end(id) else { return };
        let why = ended.refused.map_or(CheckError::Timeout, CheckError::ErrorResponse);
        self.tell_failed(&ended, why);
        match ended.pair {
            Some(pair) if ended.makes_valid() && !ended.cancelled => self.fail_pair(now, pair, "no answer"),
            Some(_) => {}
            None => self.server_unanswered(now, &ended, self.config.timing.gather_refresh),
        }
    }

    /// A server did not answer, or not with anything of use; a STUN server is asked again after `wait`.
    pub(crate) fn server_unanswered(&mut self, now: Instant, ended: &Transaction, wait: Duration) {
        match &ended.relay {
            Some(task) => self.relay_unanswered(now, task),
            None => self.gathering.again_at(ended.socket, ended.to, now + wait),
        }
    }

    /// RFC 8445 section 7.2.5.2, but not for ever: paths come and go, and when both ends had given all up
    /// nothing would ever be sent again.
    pub(crate) fn fail_pair(&mut self, now: Instant, id: PairId, cause: &'static str) {
        let wait = self.config.timing.retry_interval;
        let forced =
            self.checklist.get(id).is_some_and(|pair| self.is_forced(pair.socket, pair.remote.address));
        let retry = self.config.policy.probes.retry || forced;
        let Some(pair) = self.checklist.get_mut(id) else { return };
        // What was only seen once is worth another check when it is seen again.
        let seen_only = pair.remote.kind == CandidateKind::Prflx && !pair.was_valid;
        let retry_at = (retry && !seen_only).then(|| now + wait);
        if !pair.state.is_valid() {
            pair.gave_up = true;
            pair.retry_at = retry_at;
            self.set_state(id, PairState::Failed, cause);
        } else if std::mem::take(&mut pair.renewing) {
            // It worked in the session before, and nothing else would bring it into this one.
            pair.retry_at = Some(now + wait);
        }
    }

    pub(crate) fn fail_unreachable(&mut self, now: Instant, socket: SocketId, to: SocketAddr) {
        for lost in self.transactions.end_all(|open| open.socket == socket && open.to == to) {
            self.tell_failed(&lost, CheckError::SendFailed);
            if lost.pair.is_none() {
                self.server_unanswered(now, &lost, self.config.timing.retry_interval);
            }
        }
        let Some(pair) = self.checklist.find(socket, to) else { return };
        let (id, state) = (pair.id, pair.state);
        if state == PairState::InProgress || pair.renewing {
            self.fail_pair(now, id, "send failed");
        }
        if state.is_usable() {
            self.with_liveness(id, |liveness, _, interval| {
                liveness.take_down(now, interval);
                Some("send failed")
            });
        }
    }
}
