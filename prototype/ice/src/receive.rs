//! What arrives: requests are answered and trigger checks (RFC 8445 section 7.3), responses end
//! transactions (section 7.2.5).
//!
//! Nothing that is not authenticated changes any state. Authenticated is: a request with our password, a
//! response to a check with the other agent's, and, for lack of better, the response of a STUN server with
//! the 96 random bits of its request, from where the request went.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::candidate::{self, CandidateKind, LocalCandidate, RemoteCandidate, SocketId, canonical};
use crate::checklist::Nomination;
use crate::config::Role;
use crate::event::{CheckError, CheckPurpose, Event, Rejected};
use crate::liveness::Liveness;
use crate::pair::{PairId, PairState};
use crate::stun::{self, Builder, Class, Message, NetworkInfo, RoleClaim, attribute, turn};
use crate::transaction::Transaction;

/// Refusals of unauthenticated requests are at least so far apart.
const REFUSAL_SPACING: Duration = Duration::from_millis(100);
/// Most peer-reflexive candidates of ours on one socket.
const MOST_PRFLX: usize = 8;

const KNOWN_IN_REQUESTS: &[u16] = &[
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::MESSAGE_INTEGRITY_SHA256,
    attribute::PRIORITY,
    attribute::USE_CANDIDATE,
];

const KNOWN_IN_RESPONSES: &[u16] = &[
    attribute::MAPPED_ADDRESS,
    attribute::USERNAME,
    attribute::MESSAGE_INTEGRITY,
    attribute::MESSAGE_INTEGRITY_SHA256,
    attribute::ERROR_CODE,
    attribute::UNKNOWN_ATTRIBUTES,
    attribute::XOR_MAPPED_ADDRESS,
    turn::attribute::LIFETIME,
    turn::attribute::REALM,
    turn::attribute::NONCE,
    turn::attribute::PASSWORD_ALGORITHM,
    turn::attribute::XOR_RELAYED_ADDRESS,
    turn::attribute::RESERVATION_TOKEN,
    // SOURCE-ADDRESS and CHANGED-ADDRESS of RFC 3489, which old servers still add.
    0x0004,
    0x0005,
];

/// RFC 8445 section 7.3.1.1.
const ROLE_CONFLICT: u16 = 487;

impl Agent {
    /// One datagram that arrived on `socket`. An error says why it had no effect; whether it belongs to
    /// another protocol ([`Rejected::NotStun`]) is for the caller to know.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        data: &[u8],
    ) -> Result<(), Rejected> {
        let from = canonical(from);
        if let Some(unwrapped) = self.unwrap_relayed(socket, from, data) {
            return unwrapped.and_then(|received| self.handle_relayed(now, received));
        }
        if let Some(heard) = self.heard_call_relay(now, socket, from, data) {
            return heard;
        }
        match Message::parse(data) {
            Ok(message) => self.handle_message(now, socket, from, &message),
            Err(stun::ParseError::NotStun) => self.handle_disguised(now, socket, from, data),
            Err(_) => Err(Rejected::Malformed),
        }
    }

    pub(crate) fn handle_message(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), Rejected> {
        if !self.started {
            return Err(Rejected::NotStarted);
        }
        if !self.sockets.contains_key(&socket) {
            return Err(Rejected::UnknownSocket);
        }
        match (message.class(), message.method()) {
            (Class::Request, stun::BINDING) => self.receive_request(now, socket, from, message)?,
            (Class::Success | Class::Error, _) => self.receive_response(now, socket, from, message)?,
            // A keep-alive (RFC 8445 section 11) has done its work on the way.
            (Class::Indication, stun::BINDING) => {}
            _ => return Err(Rejected::Unsupported),
        }
        self.begin_due(now);
        Ok(())
    }

    fn receive_request(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        request: &Message<'_>,
    ) -> Result<(), Rejected> {
        let session = self.authenticate(request).inspect_err(|why| {
            let code = if *why == Rejected::NoIntegrity { 400 } else { 401 };
            self.refuse(now, socket, from, request, code);
        })?;
        if !self.is_current(session) {
            self.previous_heard = Some(now);
        }
        self.permit(socket, from)?;
        let priority = self.check_attributes(socket, from, request, session)?;
        if !self.settle_roles(socket, from, request, session) {
            return Ok(());
        }
        let pair = self.pair_from(now, socket, from, priority, session)?;
        let response = Builder::response(Class::Success, request).xor_mapped_address(from);
        self.reply(socket, from, response, session);
        self.note_heard(now, pair);
        self.note_network(pair, request.network_info());
        self.trigger(now, pair, session);
        if request.use_candidate() {
            self.accept_nomination(pair, Nomination { count: request.nomination() });
        }
        Ok(())
    }

    /// RFC 8489 section 9.1.3: the session that the request belongs to.
    pub(crate) fn authenticate(&self, request: &Message<'_>) -> Result<u32, Rejected> {
        let username = request.username().filter(|_| request.has_integrity()).ok_or(Rejected::NoIntegrity)?;
        let session = self.sessions().find(|session| session.is_meant_by(username));
        let session = session.ok_or(Rejected::UnknownUser)?;
        if !request.is_authentic(&session.local_key) {
            return Err(Rejected::BadIntegrity);
        }
        Ok(session.number)
    }

    /// Whether rules and policy let the request be answered.
    fn permit(&self, socket: SocketId, from: SocketAddr) -> Result<(), Rejected> {
        if self.is_forbidden(socket, from) {
            return Err(Rejected::Forbidden);
        }
        if self.may_answer(socket, from) { Ok(()) } else { Err(Rejected::Policy) }
    }

    fn note_network(&mut self, id: PairId, network: Option<NetworkInfo>) {
        if let Some(pair) = self.checklist.get_mut(id) {
            pair.remote_network = network.or(pair.remote_network);
        }
    }

    /// Tells the sender of a request that it failed to authenticate: seldom, and not any more once a pair
    /// works, because nobody whom this helps is left then.
    fn refuse(&mut self, now: Instant, socket: SocketId, to: SocketAddr, request: &Message<'_>, code: u16) {
        let recently = self.last_refusal.is_some_and(|last| now < last + REFUSAL_SPACING);
        if self.config.answer_unauthenticated && !recently && !self.checklist.any_usable() {
            self.last_refusal = Some(now);
            // Without integrity: there is no key both know (RFC 8489 section 9.1.3).
            self.transmit(socket, to, Builder::response(Class::Error, request).error_code(code).finish(None));
        }
    }

    /// PRIORITY of an authentic request without attributes that nobody knows (RFC 8489 section 6.3.1).
    fn check_attributes(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        request: &Message<'_>,
        session: u32,
    ) -> Result<u32, Rejected> {
        let unknown = request.unknown_required(KNOWN_IN_REQUESTS);
        let error = Builder::response(Class::Error, request);
        if !unknown.is_empty() {
            self.reply(socket, from, error.error_code(420).unknown_attributes(&unknown), session);
            return Err(Rejected::BadAttributes);
        }
        request.priority().ok_or_else(|| {
            self.reply(socket, from, error.error_code(400), session);
            Rejected::BadAttributes
        })
    }

    /// Repairs a role conflict (RFC 8445 section 7.3.1.1); false when the other agent has to.
    fn settle_roles(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        request: &Message<'_>,
        session: u32,
    ) -> bool {
        let Some(RoleClaim { role, tie_breaker }) = request.role_claim() else { return true };
        if role != self.role {
            return true;
        }
        let ours_wins = self.tie_breaker >= tie_breaker;
        // The winner becomes, or stays, the controlling agent.
        if ours_wins == (self.role == Role::Controlling) {
            self.reply(
                socket,
                from,
                Builder::response(Class::Error, request).error_code(ROLE_CONFLICT),
                session,
            );
            return false;
        }
        self.take_role(self.role.opposite());
        true
    }

    pub(crate) fn take_role(&mut self, role: Role) {
        self.role = role;
        self.last_nomination = None;
        self.update_priorities();
        self.tell(Event::RoleChanged(role));
    }

    /// The pair of an authentic request; an unknown source becomes a peer-reflexive candidate
    /// (RFC 8445 section 7.3.1.3).
    fn pair_from(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        priority: u32,
        session: u32,
    ) -> Result<PairId, Rejected> {
        if !self.is_current(session) {
            // What a restart replaces is kept alive, not added to.
            return self.pair_of(socket, from).ok_or(Rejected::UnknownUser);
        }
        let local = self.sockets.get(&socket).map(|info| info.local).ok_or(Rejected::UnknownSocket)?;
        if !candidate::can_talk(local, from) {
            return Err(Rejected::UnusableSource);
        }
        let known = self.remote_candidates.iter().find(|remote| remote.address == from).cloned();
        if known.is_none() && !self.strangers.admit(now, socket, from.ip()) {
            return Err(Rejected::NoRoom);
        }
        let remote = known.unwrap_or_else(|| RemoteCandidate {
            kind: CandidateKind::Prflx,
            address: from,
            priority,
            // Its own: nothing is known of what it shares with others.
            foundation: format!("prflx{}", self.next_pair),
            interface: None,
        });
        if !self.learn_remote(remote.clone()) {
            return Err(Rejected::NoRoom);
        }
        self.pair_for_request(socket, &remote).ok_or(Rejected::NoRoom)
    }

    /// RFC 8445 section 7.3.1.4. The other agent's check came through, so ours will most likely, and now:
    /// a firewall that dropped the one before has been opened by it, or by this one's answer.
    fn trigger(&mut self, now: Instant, id: PairId, session: u32) {
        let Some(pair) = self.checklist.get(id) else { return };
        if pair.state.is_valid() {
            if pair.session != session && self.is_current(session) && !pair.renewing {
                self.renew_pair(id);
                return;
            }
            // Down, and yet something comes: worth a look.
            if pair.state != PairState::Up {
                let ta = self.config.timing.ta;
                self.with_liveness(id, |liveness, _, interval| {
                    liveness.hasten(now, interval.min(ta));
                    None
                });
            }
            return;
        }
        if !self.may_probe(pair) {
            return;
        }
        self.transactions.cancel(now, id);
        self.set_state(id, PairState::Waiting, "check received");
        self.checklist.trigger(id);
    }

    /// RFC 8445 section 7.3.1.5.
    fn accept_nomination(&mut self, id: PairId, nomination: Nomination) {
        let Some(pair) = self.checklist.get_mut(id).filter(|_| self.role == Role::Controlled) else { return };
        if !pair.state.is_valid() {
            pair.nominate_when_valid = Some(nomination);
        } else if self.is_better_nomination(id, nomination) {
            self.last_nomination = nomination.count.or(self.last_nomination);
            self.set_nominated(id);
        }
    }

    /// With a count the highest holds. Without one the pair of highest priority among those that work does: an
    /// agent that nominates aggressively (RFC 5245 section 8.1.1.2) says so in each of its checks.
    fn is_better_nomination(&self, id: PairId, Nomination { count }: Nomination) -> bool {
        match (count, self.last_nomination) {
            (Some(count), Some(last)) => count > last,
            (Some(_), None) => true,
            (None, _) => {
                let before = self.nominated.and_then(|before| self.checklist.get(before));
                let before = before.filter(|before| before.state.is_usable()).map(|before| before.priority);
                before <= self.checklist.get(id).map(|pair| pair.priority)
            }
        }
    }

    fn set_nominated(&mut self, id: PairId) {
        if self.nominated.replace(id) != Some(id) {
            self.tell(Event::Nominated { pair: id });
        }
    }

    fn reply(&mut self, socket: SocketId, to: SocketAddr, response: Builder, session: u32) {
        let Some(session) = self.session_of(session) else { return };
        let bytes = response.finish(Some(&session.local_key));
        self.transmit(socket, to, bytes);
    }

    fn receive_response(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        response: &Message<'_>,
    ) -> Result<(), Rejected> {
        let id = response.transaction();
        let open = self.transactions.get_mut(id).ok_or(Rejected::UnknownTransaction)?;
        if response.method() != open.method() {
            return Err(Rejected::UnknownTransaction);
        }
        let symmetric = open.socket == socket && open.to == from;
        let (of_pair, session) = (open.pair.is_some(), open.session);
        if of_pair {
            self.authenticate_response(symmetric, response, session)?;
        } else if !symmetric {
            return Err(Rejected::UnexpectedSource);
        } else if open.relay.clone().is_some_and(|task| !self.relays.is_believable(&task, response)) {
            return Err(Rejected::BadIntegrity);
        }
        let Some(ended) = self.transactions.end(id) else { return Ok(()) };
        let code = response.error_code().filter(|_| response.class() == Class::Error);
        // RFC 8445 section 7.2.5.2.1. That roles conflict is true wherever the word of it comes from: an end behind a NAT
        // that maps by destination cannot say so from where it was asked, and goes no further before it is settled.
        if !symmetric && code != Some(ROLE_CONFLICT) {
            self.fail_check(now, &ended, CheckError::UnexpectedSource);
            return Err(Rejected::UnexpectedSource);
        }
        // RFC 8489 sections 6.3.3 and 6.3.4: the transaction has failed.
        if !response.unknown_required(KNOWN_IN_RESPONSES).is_empty() {
            self.fail_check(now, &ended, CheckError::BadAttributes);
            return Err(Rejected::BadAttributes);
        }
        if ended.relay.is_some() {
            self.relay_answered(now, &ended, response);
            return Ok(());
        }
        match (response.class(), response.mapped_address()) {
            (Class::Success, Some(mapped)) => self.succeed(now, &ended, canonical(mapped)),
            (Class::Success, None) => self.fail_check(now, &ended, CheckError::NoMappedAddress),
            _ => self.receive_error(now, &ended, code.unwrap_or(500), symmetric),
        }
        Ok(())
    }

    /// RFC 8489 section 9.1.4. What fails counts as never received; only a refusal is told, once.
    fn authenticate_response(
        &mut self,
        symmetric: bool,
        response: &Message<'_>,
        session: u32,
    ) -> Result<(), Rejected> {
        if response.has_integrity() {
            let remote = self.session_of(session).and_then(|session| session.remote.as_ref());
            let authentic = remote.is_some_and(|remote| response.is_authentic(&remote.key));
            return if authentic { Ok(()) } else { Err(Rejected::BadIntegrity) };
        }
        let code = response.error_code().filter(|code| symmetric && [400, 401].contains(code));
        let open = self.transactions.get_mut(response.transaction());
        if let (Some(code), Some(open), Class::Error) = (code, open, response.class())
            && open.refused.replace(code).is_none()
            && !self.checklist.any_usable()
        {
            self.tell(Event::RemoteRefused { code });
        }
        Err(Rejected::NoIntegrity)
    }

    fn receive_error(&mut self, now: Instant, ended: &Transaction, code: u16, symmetric: bool) {
        // A lite agent keeps no role against a full one (RFC 8445 section 6.1.1).
        let Some(pair) = ended.pair.filter(|_| code == ROLE_CONFLICT && !self.remote_lite) else {
            return self.fail_check(now, ended, CheckError::ErrorResponse(code));
        };
        // RFC 8445 section 7.2.5.1: the other agent wins; the check is done again in the new role.
        self.tell_failed(ended, CheckError::ErrorResponse(code));
        if ended.role == self.role {
            self.tie_breaker = self.ids.new_tie_breaker();
            self.take_role(self.role.opposite());
        }
        if symmetric {
            self.note_heard(now, pair);
        }
        if self.checklist.get(pair).is_some_and(|pair| !pair.state.is_valid() && self.may_probe(pair)) {
            self.set_state(pair, PairState::Waiting, "role conflict");
            self.checklist.trigger(pair);
        } else if ended.makes_valid() {
            self.fail_pair(now, pair, "role conflict");
        }
    }

    fn fail_check(&mut self, now: Instant, ended: &Transaction, why: CheckError) {
        self.tell_failed(ended, why);
        match ended.pair {
            Some(pair) if ended.makes_valid() && !ended.cancelled => {
                self.fail_pair(now, pair, "check failed")
            }
            Some(_) => {}
            None => self.server_unanswered(now, ended, self.config.timing.gather_refresh),
        }
    }

    pub(crate) fn tell_answered(
        &mut self,
        now: Instant,
        ended: &Transaction,
        mapped: Option<SocketAddr>,
    ) -> Option<Duration> {
        // A retransmission makes the round-trip time ambiguous (RFC 6298 section 3).
        let rtt = (ended.attempt == 1).then(|| now.saturating_duration_since(ended.sent));
        self.tell(Event::CheckAnswered {
            pair: ended.pair,
            socket: ended.socket,
            remote: ended.to,
            purpose: ended.purpose,
            attempt: ended.attempt,
            rtt,
            mapped,
        });
        rtt
    }

    fn succeed(&mut self, now: Instant, ended: &Transaction, mapped: SocketAddr) {
        let rtt = self.tell_answered(now, ended, Some(mapped));
        match ended.pair {
            Some(pair) => self.pair_answered(now, pair, ended, rtt, mapped),
            None => self.gathered(now, ended.socket, ended.to, mapped),
        }
    }

    /// RFC 8445 section 7.2.5.3.
    fn pair_answered(
        &mut self,
        now: Instant,
        id: PairId,
        ended: &Transaction,
        rtt: Option<Duration>,
        mapped: SocketAddr,
    ) {
        let kind = self.learn_mapped(ended.socket, mapped);
        let consent = self.config.timing.consent_timeout;
        self.adopt(id, ended.session);
        if let Some(pair) = self.checklist.get_mut(id) {
            pair.last_heard = Some(now);
            pair.checks_answered = pair.checks_answered.saturating_add(1);
            pair.consent_until = Some(now + consent);
            pair.local_kind = kind.unwrap_or(pair.local_kind);
        }
        if self.checklist.get(id).is_some_and(|pair| pair.liveness.is_none()) {
            self.make_valid(now, id, rtt);
        } else {
            self.with_liveness(id, |liveness, timing, interval| {
                liveness.answered(now, timing, interval, ended.sent, rtt).then_some("check answered")
            });
        }
        if ended.purpose == CheckPurpose::Nomination && self.role == Role::Controlling {
            self.set_nominated(id);
        }
    }

    fn make_valid(&mut self, now: Instant, id: PairId, rtt: Option<Duration>) {
        let Some(interval) = self.checklist.get(id).map(|pair| self.interval(pair)) else { return };
        let Some(pair) = self.checklist.get_mut(id) else { return };
        pair.liveness = Some(Liveness::new(now, interval, rtt));
        pair.retry_at = None;
        pair.gave_up = false;
        pair.was_valid = true;
        pair.halted = None;
        pair.let_go = false;
        pair.probes = 0;
        let nominate = pair.nominate_when_valid.take();
        let foundation = pair.foundation.clone();
        self.transactions.cancel(now, id);
        self.set_state(id, PairState::Up, "check answered");
        // RFC 8445 section 7.2.5.3.3.
        for frozen in self.checklist.frozen(&foundation) {
            self.set_state(frozen, PairState::Waiting, "a pair of its foundation works");
        }
        self.begin_cadence(now, id);
        if let Some(nomination) = nominate {
            self.accept_nomination(id, nomination);
        }
    }

    /// The type of our candidate that the other end saw; one we did not know is peer reflexive
    /// (RFC 8445 section 7.2.5.3.1).
    fn learn_mapped(&mut self, socket: SocketId, mapped: SocketAddr) -> Option<CandidateKind> {
        let mut ours = self.local_candidates.iter().filter(|local| local.socket == socket);
        if let Some(known) = ours.find(|local| local.address == mapped) {
            return Some(known.kind);
        }
        let info = self.sockets.get(&socket)?;
        let base = canonical(info.local);
        let new = LocalCandidate {
            kind: CandidateKind::Prflx,
            address: mapped,
            socket,
            base,
            priority: candidate::priority(CandidateKind::Prflx, info.preference),
            foundation: candidate::foundation(CandidateKind::Prflx, base.ip(), None),
            interface: info.interface.clone(),
        };
        self.forget_oldest_prflx(socket);
        self.add_local(new);
        Some(CandidateKind::Prflx)
    }

    fn forget_oldest_prflx(&mut self, socket: SocketId) {
        let is_prflx = |local: &LocalCandidate| local.socket == socket && local.kind == CandidateKind::Prflx;
        let mut prflx = self.local_candidates.iter().filter(|local| is_prflx(local));
        let oldest = prflx.next().map(|local| local.address);
        if let Some(oldest) = oldest.filter(|_| prflx.count() + 1 >= MOST_PRFLX) {
            self.remove_local(|local| is_prflx(local) && local.address == oldest);
        }
    }
}
