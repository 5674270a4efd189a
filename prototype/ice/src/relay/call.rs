//! Relays as WhatsApp has them: whoever shows the call's token is let in, and what one end sends to the relay, the relay
//! sends to the other end, as it is.
//!
//! There is no relayed address: to each end the other is at the relay's own. So once a relay has let us in, its address
//! is a remote candidate of type relay on the socket that it was asked from, and a pair like any other: checked end to
//! end through the relay, and what is sent on it needs no wrapping. A relay knows one address of each end at a time,
//! hence one socket at a time; when that one goes or falls silent, the next in preference asks, with the same token.
//!
//! All relays are asked at once and kept at once, so that moving from one to another is the choice of another pair.
//! Relays that the other agent names as candidates are asked too: so they are learnt in-band.
//!
//! What WhatsApp does: asking twice in a moment (`cap-relays-2019`), a probe a second (`wa-idle-keepalive`), the end told
//! to each relay, rebuilding with the same identifiers (`wa-offon-rebuild`), relays of several cities within one call
//! (`wa-relay-hopping`). What is our guess: the waits before it asks again, three unanswered probes as the end of a
//! relay, and that checks are sent through it: captures only show media there.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{RelayNews, Relays};
use crate::agent::Agent;
use crate::candidate::{self, CandidateKind, LocalCandidate, RemoteCandidate, SocketId, canonical};
use crate::event::{CheckError, CheckPurpose, Event, Rejected};
use crate::stun::TransactionId;
use crate::stun::whatsapp::{self, CallId, Message, Participant, Token, kind};

/// Where all of them were seen to listen (`wac-servers`).
const PORT: u16 = 3478;
/// Most relays; eight were seen.
const MOST_RELAYS: usize = 16;
/// Requests in the same moment.
const AT_ONCE: u32 = 2;
/// The first wait for an answer, doubled every time.
const WAIT: Duration = Duration::from_millis(500);
/// Moments in which a relay is asked before the next socket tries, or this one later.
const MOST_MOMENTS: u32 = 5;
/// When nobody could reach it, it is asked again so much later.
const LATER: Duration = Duration::from_secs(5);
/// Between probes.
const PROBE: Duration = Duration::from_secs(1);
/// So many probes without an answer end an allocation.
const MOST_UNANSWERED: u32 = 3;

/// A call over relays of WhatsApp's kind.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// The same for both agents.
    pub id: CallId,
    /// Of a user of the relays.
    pub password: String,
}

impl std::fmt::Debug for Call {
    /// Leaves the password out: this ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Call").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The relays of a call.
#[derive(Debug, Default)]
pub(crate) struct CallRelays {
    token: Option<Token>,
    relays: Vec<CallRelay>,
    /// Where the clock in probes begins.
    since: Option<Instant>,
}

#[derive(Debug)]
struct CallRelay {
    address: SocketAddr,
    state: State,
    /// Sockets that did not reach it.
    tried: Vec<SocketId>,
    /// One for the whole call; the last bytes count, as captured.
    id: TransactionId,
    /// Asked for once, with whatever result.
    settled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Asked for then.
    Due(Instant),
    Asking {
        socket: SocketId,
        moments: u32,
        sent: Instant,
        again: Instant,
    },
    Held {
        socket: SocketId,
        probe_at: Instant,
        unanswered: u32,
        clock: Duration,
    },
}

impl State {
    fn socket(self) -> Option<SocketId> {
        match self {
            State::Due(_) => None,
            State::Asking { socket, .. } | State::Held { socket, .. } => Some(socket),
        }
    }
}

impl CallRelays {
    fn find(&self, address: SocketAddr) -> Option<&CallRelay> {
        self.relays.iter().find(|relay| relay.address == address)
    }

    fn find_mut(&mut self, address: SocketAddr) -> Option<&mut CallRelay> {
        self.relays.iter_mut().find(|relay| relay.address == address)
    }

    pub(crate) fn is_held(&self, address: SocketAddr) -> bool {
        self.find(address).is_some_and(|relay| matches!(relay.state, State::Held { .. }))
    }

    /// Whether a pair of these may be formed: with a relay only where it has let us in.
    pub(crate) fn may_pair(&self, socket: SocketId, remote: SocketAddr) -> bool {
        let held = |state| matches!(state, State::Held { socket: on, .. } if on == socket);
        self.find(remote).is_none_or(|relay| held(relay.state))
    }

    /// Whether a candidate of the other agent's is a relay of this call: those listen on one port, which no address
    /// that a TURN server hands out has.
    fn is_told(&self, candidate: &RemoteCandidate) -> bool {
        let port = candidate.address.port();
        let alike = || self.relays.iter().any(|relay| relay.address.port() == port);
        candidate.kind == CandidateKind::Relay && (port == PORT || alike())
    }

    pub(crate) fn is_settled(&self) -> bool {
        self.relays.iter().all(|relay| relay.settled)
    }
}

impl CallRelay {
    fn next_id(&mut self) -> TransactionId {
        let [.., a, b, c, d] = &mut self.id.0;
        let next = u32::from_be_bytes([*a, *b, *c, *d]).wrapping_add(1);
        [*a, *b, *c, *d] = next.to_be_bytes();
        self.id
    }

    /// Whether an answer is to one of the requests of the last moment.
    fn asked(&self, id: TransactionId) -> bool {
        let number = |id: TransactionId| {
            let [.., a, b, c, d] = id.0;
            u32::from_be_bytes([a, b, c, d])
        };
        id.0[..8] == self.id.0[..8] && number(self.id).wrapping_sub(number(id)) < AT_ONCE
    }
}

impl Agent {
    /// Joins a call: from now on relays of WhatsApp's kind may be named, by
    /// [`add_call_relay`](Self::add_call_relay) or by the other agent's candidates. A call before it is left.
    ///
    /// A driver that sorts datagrams by their first byte gives the agent those that begin with 8, too.
    pub fn join_call(&mut self, now: Instant, call: &Call) {
        self.leave_call(now);
        let participant = Participant(self.ids.number());
        self.calls.token = Some(Token::new(&call.password, call.id, participant));
    }

    /// Asks this relay, all at the same time, to let us into the call. At most 16 are used.
    pub fn add_call_relay(&mut self, now: Instant, address: SocketAddr) {
        self.note_call_relay(now, canonical(address));
        self.begin_due(now);
    }

    fn note_call_relay(&mut self, now: Instant, address: SocketAddr) {
        let known = self.calls.find(address).is_some() || self.calls.relays.len() >= MOST_RELAYS;
        if !known && self.calls.token.is_some() && candidate::is_usable(address) {
            let id = self.ids.transaction();
            let relay = CallRelay { address, state: State::Due(now), tried: Vec::new(), id, settled: false };
            self.calls.relays.push(relay);
        }
    }

    /// The other agent names a relay.
    pub(crate) fn learn_call_relay(&mut self, now: Instant, candidate: &RemoteCandidate) {
        if self.calls.is_told(candidate) {
            self.note_call_relay(now, canonical(candidate.address));
        }
    }

    /// Tells every relay that the call is over, and gives up the pairs over them.
    pub fn leave_call(&mut self, now: Instant) {
        let token = self.calls.token.take();
        for mut relay in std::mem::take(&mut self.calls.relays) {
            if let (State::Held { socket, .. }, Some(token)) = (relay.state, &token) {
                let end = whatsapp::with_token(kind::END, relay.next_id(), token);
                self.transmit_plain(socket, relay.address, end);
            }
            self.request_failed(relay.state, relay.address, CheckError::Removed);
            self.drop_call_relay(relay.address, "call left");
        }
        self.begin_due(now);
    }

    /// What relays of a call need: requests, probes, and another socket when one is gone.
    pub(crate) fn tend_calls(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        let addresses: Vec<SocketAddr> = self.calls.relays.iter().map(|relay| relay.address).collect();
        for address in addresses {
            self.leave_lost_socket(now, address);
            let Some(relay) = self.calls.find(address) else { continue };
            match relay.state {
                State::Due(at) if at <= now => self.ask_call_relay(now, address, 1),
                State::Asking { moments, again, .. } if again <= now => match moments < MOST_MOMENTS {
                    true => self.ask_call_relay(now, address, moments + 1),
                    false => self.lose_call_relay(now, address),
                },
                State::Held { probe_at, unanswered, .. } if probe_at <= now => {
                    match unanswered < MOST_UNANSWERED {
                        true => self.probe_call_relay(now, address),
                        false => self.lose_call_relay(now, address),
                    }
                }
                _ => {}
            }
        }
    }

    pub(crate) fn next_call_due(&self) -> Option<Instant> {
        let due = |relay: &CallRelay| match relay.state {
            State::Due(at) => self.call_socket(relay).map(|_| at),
            State::Asking { again, .. } => Some(again),
            State::Held { probe_at, .. } => Some(probe_at),
        };
        self.calls.relays.iter().filter_map(due).min()
    }

    /// One that is gone, or that the policy holds back by now.
    fn leave_lost_socket(&mut self, now: Instant, address: SocketAddr) {
        let socket = self.calls.find(address).and_then(|relay| relay.state.socket());
        let is_gone = |socket: &SocketId| !self.sockets.contains_key(socket) || !self.may_gather(*socket);
        if socket.as_ref().is_some_and(is_gone) {
            self.drop_call_relay(address, "relay reached by another socket");
            if let Some(relay) = self.calls.find_mut(address) {
                let before = std::mem::replace(&mut relay.state, State::Due(now));
                self.request_failed(before, address, CheckError::Removed);
            }
        }
    }

    /// The best socket that has not yet failed to reach it.
    fn call_socket(&self, relay: &CallRelay) -> Option<SocketId> {
        let may = |(socket, info): &(&SocketId, &crate::SocketInfo)| {
            !Relays::is_base(**socket)
                && candidate::can_talk(info.local, relay.address)
                && self.may_gather(**socket)
                && !relay.tried.contains(socket)
        };
        self.sockets.iter().filter(may).max_by_key(|(_, info)| info.preference).map(|(socket, _)| *socket)
    }

    fn ask_call_relay(&mut self, now: Instant, address: SocketAddr, moments: u32) {
        let Some(relay) = self.calls.find(address) else { return };
        let socket = relay.state.socket().or_else(|| self.call_socket(relay));
        let (Some(socket), Some(token)) = (socket, self.calls.token.clone()) else { return };
        let Some(relay) = self.calls.find_mut(address) else { return };
        relay.state = State::Asking { socket, moments, sent: now, again: now + WAIT * (1 << (moments - 1)) };
        let requests =
            [(); AT_ONCE as usize].map(|()| whatsapp::with_token(kind::ALLOCATE, relay.next_id(), &token));
        requests.into_iter().for_each(|bytes| self.transmit_plain(socket, address, bytes));
        let purpose = CheckPurpose::Gather;
        self.tell(Event::CheckSent { pair: None, socket, remote: address, purpose, attempt: moments });
    }

    fn probe_call_relay(&mut self, now: Instant, address: SocketAddr) {
        let clock = now.saturating_duration_since(*self.calls.since.get_or_insert(now));
        let Some(relay) = self.calls.find_mut(address) else { return };
        let before = relay.state;
        let State::Held { socket, unanswered, .. } = before else { return };
        relay.state = State::Held { socket, probe_at: now + PROBE, unanswered: unanswered + 1, clock };
        let probe = whatsapp::probe(relay.id, clock);
        self.request_failed(before, address, CheckError::Timeout);
        self.transmit_plain(socket, address, probe);
        self.tell(Event::CheckSent {
            pair: None,
            socket,
            remote: address,
            purpose: CheckPurpose::Probe,
            attempt: 1,
        });
    }

    /// Only the newest probe can be answered; if that, or a request to be let in, has not been, it will not be any more.
    fn request_failed(&mut self, state: State, remote: SocketAddr, why: CheckError) {
        let (socket, purpose, attempt) = match state {
            State::Asking { socket, moments, .. } => (socket, CheckPurpose::Gather, moments),
            State::Held { socket, unanswered: 1.., .. } => (socket, CheckPurpose::Probe, 1),
            State::Due(_) | State::Held { .. } => return,
        };
        self.tell(Event::CheckFailed { pair: None, socket, remote, purpose, attempt, why });
    }

    /// It does not answer. Where it did, it is asked once more; else the next socket tries, or all of them after a while.
    fn lose_call_relay(&mut self, now: Instant, address: SocketAddr) {
        let Some(relay) = self.calls.find_mut(address) else { return };
        relay.settled = true;
        let before = std::mem::replace(&mut relay.state, State::Due(now));
        let Some(socket) = before.socket() else { return };
        self.request_failed(before, address, CheckError::Timeout);
        self.drop_call_relay(address, "relay lost");
        self.tell(Event::Relay { socket, server: address, news: RelayNews::Unanswered });
        if let State::Asking { .. } = before {
            self.try_another_socket(now, address, socket);
        }
    }

    fn try_another_socket(&mut self, now: Instant, address: SocketAddr, failed: SocketId) {
        self.calls.find_mut(address).into_iter().for_each(|relay| relay.tried.push(failed));
        let another = self.calls.find(address).is_some_and(|relay| self.call_socket(relay).is_some());
        if let Some(relay) = self.calls.find_mut(address).filter(|_| !another) {
            relay.tried.clear();
            relay.state = State::Due(now + LATER);
        }
    }

    fn drop_call_relay(&mut self, address: SocketAddr, why: &str) {
        self.remove_pairs(|pair| pair.remote.address == address, why);
        self.remote_candidates.retain(|remote| remote.address != address);
        self.remove_local(|local| local.kind == CandidateKind::Relay && local.address == address);
    }

    /// What a relay of the call says of itself. None when it is not that, but something that it passes on.
    pub(crate) fn heard_call_relay(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Result<(), Rejected>> {
        self.calls.find(from)?;
        let message = Message::parse(datagram)?;
        let heard = match message.kind {
            kind::ALLOCATED => self.let_in(now, socket, from, &message),
            kind::REPORT => self.probe_answered(now, socket, from, &message),
            _ => Err(Rejected::Unsupported),
        };
        if heard.is_ok() {
            self.begin_due(now);
        }
        Some(heard)
    }

    fn let_in(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), Rejected> {
        let relay = self.calls.find_mut(from).ok_or(Rejected::UnknownTransaction)?;
        if relay.state.socket() != Some(socket) || !relay.asked(message.transaction) {
            return Err(Rejected::UnknownTransaction);
        }
        let State::Asking { moments, sent, .. } = relay.state else {
            // The answer to the other request of the same moment.
            return Ok(());
        };
        let mapped = message.mapped_address().map(canonical).ok_or(Rejected::BadAttributes)?;
        relay.state = State::Held { socket, probe_at: now + PROBE, unanswered: 0, clock: Duration::ZERO };
        relay.settled = true;
        relay.tried.clear();
        // Asked several times, it may have answered any.
        let rtt = (moments == 1).then(|| now.saturating_duration_since(sent));
        let (purpose, attempt) = (CheckPurpose::Gather, moments);
        self.tell(Event::CheckAnswered {
            pair: None,
            socket,
            remote: from,
            purpose,
            attempt,
            rtt,
            mapped: Some(mapped),
        });
        self.add_server_reflexive(socket, from, mapped);
        self.meet_at(socket, from);
        Ok(())
    }

    /// Both ends are at the relay's address for each other.
    fn meet_at(&mut self, socket: SocketId, relay: SocketAddr) {
        let Some(info) = self.sockets.get(&socket).cloned() else { return };
        let Some(priority) = self.unique_priority(CandidateKind::Relay, socket) else { return };
        let base = canonical(info.local);
        let foundation = candidate::foundation(CandidateKind::Relay, base.ip(), Some(relay.ip()));
        let (kind, address, interface) = (CandidateKind::Relay, relay, info.interface);
        let theirs =
            RemoteCandidate { kind, address, priority, foundation: foundation.clone(), interface: None };
        self.add_local(LocalCandidate { kind, address, socket, base, priority, foundation, interface });
        let lifetime = PROBE * (MOST_UNANSWERED + 1);
        let news = RelayNews::Allocated { base: socket, relayed: relay, lifetime };
        self.tell(Event::Relay { socket, server: relay, news });
        self.learn_remote(theirs);
        self.form_pairs();
    }

    fn probe_answered(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        message: &Message<'_>,
    ) -> Result<(), Rejected> {
        let since = self.calls.since;
        let relay = self.calls.find_mut(from).filter(|relay| relay.id == message.transaction);
        let state = relay.map(|relay| &mut relay.state).ok_or(Rejected::UnknownTransaction)?;
        match state {
            State::Held { socket: on, unanswered, clock, .. }
                if *on == socket && message.clock() == Some(*clock) =>
            {
                // A second answer to the same probe is no news.
                if std::mem::take(unanswered) > 0 {
                    let sent = since.unwrap_or(now) + *clock;
                    let (purpose, rtt) = (CheckPurpose::Probe, Some(now.saturating_duration_since(sent)));
                    self.tell(Event::CheckAnswered {
                        pair: None,
                        socket,
                        remote: from,
                        purpose,
                        attempt: 1,
                        rtt,
                        mapped: None,
                    });
                }
                Ok(())
            }
            _ => Err(Rejected::UnknownTransaction),
        }
    }
}
