//! The agent: what it holds, what goes in and comes out, and its clockwork.
//!
//! How checks are made, answered and gathered is in `checks`, `receive` and `gather`, which extend the
//! same type; how pairs come and go is in `forming`.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::{
    CandidateKind, LocalCandidate, RemoteCandidate, SocketId, SocketInfo, canonical, with_zone,
};
use crate::checklist::{CheckList, Pair};
use crate::checks::Turn;
use crate::config::{Config, Credentials, Role, Timing};
use crate::disguise::Wardrobe;
use crate::event::{CheckError, CheckPurpose, Event, Transmit};
use crate::gather::Gathering;
use crate::liveness::{Health, Liveness};
use crate::pair::{PairId, PairState, PairView};
use crate::policing::Policing;
use crate::progress::Progress;
use crate::relay::{CallRelays, Relays};
use crate::rules::Rules;
use crate::session::{RemoteSide, Session};
use crate::strangers::Strangers;
use crate::stun::NetworkInfo;
use crate::transaction::{Due, Ids, Transaction, Transactions};

/// A sans-IO ICE agent for one peer-to-peer association, on any number of sockets.
///
/// Every input may produce transmits and events: after it, call [`poll_transmit`](Self::poll_transmit) and
/// [`poll_event`](Self::poll_event) until they give nothing, then wait until
/// [`poll_timeout`](Self::poll_timeout) or the next input. `now` never goes back.
#[derive(Debug)]
pub struct Agent {
    pub(crate) config: Config,
    pub(crate) role: Role,
    pub(crate) started: bool,
    pub(crate) ids: Ids,
    /// Settles role conflicts; new after each that was lost (RFC 8445 section 16.1).
    pub(crate) tie_breaker: u64,
    pub(crate) session: Session,
    /// The one before a restart, while pairs of it live.
    pub(crate) previous: Option<Session>,
    /// When a request with its credentials last came.
    pub(crate) previous_heard: Option<Instant>,
    /// Remote candidates of the session before that were not named again.
    pub(crate) stale_remotes: BTreeSet<SocketAddr>,
    /// The other agent only answers (RFC 8445 section 2.5).
    pub(crate) remote_lite: bool,
    /// By interface.
    pub(crate) networks: BTreeMap<String, NetworkInfo>,
    pub(crate) progress: Progress,
    pub(crate) strangers: Strangers,
    pub(crate) rules: Rules,
    pub(crate) policing: Policing,
    pub(crate) wardrobe: Wardrobe,
    pub(crate) relays: Relays,
    pub(crate) calls: CallRelays,
    pub(crate) sockets: BTreeMap<SocketId, SocketInfo>,
    pub(crate) local_candidates: Vec<LocalCandidate>,
    pub(crate) remote_candidates: Vec<RemoteCandidate>,
    pub(crate) checklist: CheckList,
    pub(crate) next_pair: u32,
    pub(crate) gathering: Gathering,
    pub(crate) transactions: Transactions,
    pub(crate) nominated: Option<PairId>,
    /// Chosen, and its check has not left yet.
    pub(crate) to_nominate: Option<PairId>,
    /// The count that our newest nomination carried, and the highest that the other agent's carried.
    pub(crate) nominations: u32,
    pub(crate) last_nomination: Option<u32>,
    /// No new transaction begins before this: Ta after the one before.
    pub(crate) next_start: Option<Instant>,
    pub(crate) turn: Turn,
    /// Triggered checks that began in a row.
    pub(crate) triggered_in_turn: u32,
    /// After a late wake-up answers may lie unread in a socket: silence is not judged before this.
    judge_not_before: Option<Instant>,
    /// When a request that failed authentication was last told so.
    pub(crate) last_refusal: Option<Instant>,
    transmits: VecDeque<Transmit>,
    events: VecDeque<Event>,
}

/// A wake-up this much too late is the machine's fault: see `judge_not_before`.
const LATE_WAKE_UP: Duration = Duration::from_millis(10);
/// How long the driver then has to hand in what has arrived.
const CATCH_UP: Duration = Duration::from_millis(20);

impl Agent {
    /// An agent without sockets, that sends nothing until [`start`](Self::start). [`Timing::ta`] below 5 ms and
    /// [`Timing::min_rto`] below 500 ms are raised to these (RFC 8445 sections 14.2, 14.3).
    pub fn new(config: Config) -> Agent {
        Agent {
            role: config.role,
            started: false,
            ids: Ids::new(config.seed),
            tie_breaker: config.tie_breaker,
            session: Session::new(0, config.local.clone()),
            previous: None,
            previous_heard: None,
            stale_remotes: BTreeSet::new(),
            remote_lite: false,
            networks: BTreeMap::new(),
            progress: Progress::default(),
            strangers: Strangers::default(),
            rules: Rules::default(),
            policing: Policing::default(),
            wardrobe: Wardrobe::default(),
            relays: Relays::default(),
            calls: CallRelays::default(),
            sockets: BTreeMap::new(),
            local_candidates: Vec::new(),
            remote_candidates: Vec::new(),
            checklist: CheckList::default(),
            next_pair: 0,
            gathering: Gathering::default(),
            transactions: Transactions::default(),
            nominated: None,
            to_nominate: None,
            nominations: 0,
            last_nomination: None,
            next_start: None,
            turn: Turn::default(),
            triggered_in_turn: 0,
            judge_not_before: None,
            last_refusal: None,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            config: Config { timing: config.timing.at_least_as_the_standard(), ..config },
        }
    }

    /// A socket was opened: its host candidate exists at once, and gathering from the servers of its family
    /// begins. An id that is known already, or an address that nobody could send to (no port,
    /// unspecified), changes nothing. Ids from 2^31 on belong to relayed candidates.
    pub fn add_socket(&mut self, now: Instant, socket: SocketId, info: SocketInfo) {
        if !Relays::is_base(socket) && self.register_socket(socket, info) {
            self.note_late_socket(socket);
            self.gather_on(now, socket);
            self.relay_on(now, socket);
            self.form_pairs();
            self.begin_due(now);
        }
    }

    /// A socket is gone, and with it its candidates and pairs; `why` becomes their cause.
    pub fn remove_socket(&mut self, now: Instant, socket: SocketId, why: &str) {
        self.gathering.forget_socket(socket);
        self.forget_relays(socket, why);
        self.remove_pairs(|pair| pair.socket == socket, why);
        self.forget_socket(socket);
        self.form_pairs();
        self.begin_due(now);
    }

    /// Gathers server-reflexive candidates from this server (RFC 8445 section 5.1.1.2), on all sockets of
    /// its family, now and later. At most 16 servers are used.
    pub fn add_stun_server(&mut self, now: Instant, server: SocketAddr) {
        self.gather_from(now, canonical(server));
        self.begin_due(now);
    }

    /// What the other agent expects to be called. Checks begin only now, so hand in the candidates that are
    /// known already first: the best of them then has the first turn. Requests are answered before.
    pub fn set_remote_credentials(&mut self, now: Instant, remote: Credentials) {
        let before = self.previous.as_ref().and_then(|session| session.remote.as_ref());
        if before.is_some_and(|before| before.credentials == remote) {
            // A late word of before the restart.
            return;
        }
        self.session.remote = Some(RemoteSide::new(remote));
        self.renew_pairs();
        self.begin_due(now);
    }

    /// The other agent is a lite one (RFC 8445 section 2.5): it sends no checks of its own, and ours is the
    /// controlling agent (section 6.1.1).
    pub fn set_remote_lite(&mut self, now: Instant) {
        self.remote_lite = true;
        if self.role == Role::Controlled {
            self.take_role(Role::Controlling);
        }
        self.begin_due(now);
    }

    /// What checks say of the network that an interface leads to; the other agent may heed it.
    pub fn set_network_info(&mut self, interface: &str, info: NetworkInfo) {
        self.networks.insert(interface.to_owned(), info);
    }

    /// A candidate arrived (RFC 8838). Known ones and unusable addresses are ignored; one that was known as
    /// peer reflexive takes what the signal says of it (RFC 8838 section 11.4).
    pub fn add_remote_candidate(&mut self, now: Instant, candidate: RemoteCandidate) {
        self.learn_call_relay(now, &candidate);
        self.stale_remotes.remove(&canonical(candidate.address));
        if self.learn_remote(candidate) {
            self.progress.candidate_came();
        }
        self.form_pairs();
        self.renew_pairs();
        self.begin_due(now);
    }

    /// The other agent gave a candidate up: its pairs are removed.
    pub fn remove_remote_candidate(&mut self, now: Instant, address: SocketAddr) {
        let address = canonical(address);
        self.remote_candidates.retain(|remote| remote.address != address);
        self.remove_pairs(|pair| pair.remote.address == address, "remote candidate removed");
        self.form_pairs();
        self.begin_due(now);
    }

    /// Lets the agent send.
    pub fn start(&mut self, now: Instant) {
        self.started = true;
        self.begin_due(now);
    }

    /// Authenticated traffic of another protocol arrived on `socket` from there. It delays the verdict that
    /// the pair is down, but does not prove that the other direction works.
    pub fn heard(&mut self, now: Instant, socket: SocketId, from: SocketAddr) {
        if let Some(id) = self.pair_of(socket, from) {
            self.note_heard(now, id);
        }
    }

    /// The kernel refused to send to `to`, or an ICMP error came back (network unreachable, port
    /// unreachable): what is under way there fails at once and a valid pair is down. Both are tried again.
    pub fn send_failed(&mut self, now: Instant, socket: SocketId, to: SocketAddr) {
        let to = canonical(to);
        self.fail_unreachable(now, socket, to);
        self.begin_due(now);
    }

    /// Nominates a valid pair by a check with USE-CANDIDATE (RFC 8445 section 8.1.1), which goes before all others
    /// but keeps Ta from the one before; a later call replaces the choice. Ignored when controlled, or when the pair
    /// is not valid.
    pub fn nominate(&mut self, now: Instant, pair: PairId) {
        if self.role == Role::Controlling
            && self.checklist.get(pair).is_some_and(|pair| pair.state.is_valid())
        {
            self.nominations = self.nominations.saturating_add(1);
            self.to_nominate = Some(pair);
            self.begin_due(now);
        }
    }

    /// Checks this pair as often as that while it is valid, instead of as the policy says.
    pub fn set_liveness_interval(&mut self, now: Instant, pair: PairId, interval: Duration) {
        if let Some(pair) = self.checklist.get_mut(pair) {
            pair.interval = Some(interval);
            if let Some(liveness) = &mut pair.liveness {
                liveness.hasten(now, interval);
            }
        }
    }

    /// How often this pair is checked: as wanted, or less often when many pairs share the time.
    pub fn liveness_interval(&self, pair: PairId) -> Option<Duration> {
        self.checklist.get(pair).map(|pair| self.interval(pair))
    }

    /// Checks a valid pair at once, because something else makes its user doubt that it is alive.
    pub fn probe(&mut self, now: Instant, pair: PairId) {
        if self.checklist.get(pair).is_some_and(|pair| pair.state.is_valid()) {
            self.send_check(now, pair, CheckPurpose::Liveness);
        }
    }

    /// Does what is due. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.excuse_late_wake_up(now);
        while let Some((id, due)) = self.transactions.due(now) {
            match due {
                Due::Retransmit => self.retransmit(id),
                Due::GiveUp => self.give_up(now, id),
            }
        }
        self.judge_silence(now);
        self.expire_consent(now);
        self.check_liveness(now);
        self.retry_failed(now);
        self.begin_due(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do; it may lie in the past.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.started {
            return None;
        }
        let liveness = self.checklist.iter().filter_map(|pair| Some(pair.liveness.as_ref()?.next_check()));
        let retries = self.checklist.iter().filter_map(|pair| pair.retry_at);
        [
            self.transactions.deadline(),
            self.next_judgement(),
            liveness.min(),
            retries.min(),
            self.next_beginning(),
            self.next_relay_due(),
            self.next_call_due(),
            self.next_consent_expiry(),
            self.progress.deadline(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        take(&mut self.transmits)
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        take(&mut self.events)
    }

    /// All pairs, highest priority first. Usable ones are `Up` or `Suspect`.
    pub fn pairs(&self) -> impl Iterator<Item = PairView> + '_ {
        self.checklist.iter().map(|pair| self.view(pair))
    }

    /// One pair.
    pub fn pair(&self, id: PairId) -> Option<PairView> {
        self.checklist.get(id).map(|pair| self.view(pair))
    }

    /// The pair of a socket and a remote address: where a datagram of another protocol belongs.
    pub fn pair_of(&self, socket: SocketId, remote: SocketAddr) -> Option<PairId> {
        self.checklist.find(socket, canonical(remote)).map(|pair| pair.id)
    }

    /// The interface of a socket or of a relayed candidate, as events name them.
    pub fn interface_of(&self, socket: SocketId) -> Option<&str> {
        self.sockets.get(&socket).map(|info| info.interface.as_str())
    }

    /// All candidates of ours, peer-reflexive ones included.
    pub fn local_candidates(&self) -> impl Iterator<Item = &LocalCandidate> + '_ {
        self.local_candidates.iter()
    }

    /// Those of ours that the other agent is to be told of: not what it finds out itself, and not what the policy holds
    /// back.
    pub fn told_candidates(&self) -> impl Iterator<Item = &LocalCandidate> + '_ {
        let told =
            |local: &&LocalCandidate| local.kind != CandidateKind::Prflx && !self.is_hidden(local.socket);
        self.local_candidates.iter().filter(told)
    }

    /// All candidates of the other agent.
    pub fn remote_candidates(&self) -> impl Iterator<Item = &RemoteCandidate> + '_ {
        self.remote_candidates.iter()
    }

    /// The nominated pair, as long as it exists.
    pub fn nominated(&self) -> Option<PairId> {
        self.nominated
    }

    /// The role, perhaps changed by a conflict.
    pub fn role(&self) -> Role {
        self.role
    }

    pub(crate) fn transmit(&mut self, socket: SocketId, to: SocketAddr, mut bytes: Vec<u8>) {
        self.disguise(socket, to, &mut bytes);
        let to = self.sockets.get(&socket).map_or(to, |info| with_zone(info.local, to));
        let transmit = match Relays::is_base(socket) {
            true => self.wrap(socket, to, bytes),
            false => Some(Transmit { socket, to, bytes }),
        };
        self.transmits.extend(transmit);
    }

    /// To whoever would not take a disguise off.
    pub(crate) fn transmit_plain(&mut self, socket: SocketId, to: SocketAddr, bytes: Vec<u8>) {
        let to = self.sockets.get(&socket).map_or(to, |info| with_zone(info.local, to));
        self.transmits.push_back(Transmit { socket, to, bytes });
    }

    pub(crate) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    /// Changes a state and tells; says nothing when it is that state already.
    pub(crate) fn set_state(&mut self, id: PairId, state: PairState, cause: impl Into<Cow<'static, str>>) {
        let Some(pair) = self.checklist.get_mut(id) else { return };
        if pair.state == state {
            return;
        }
        pair.state = state;
        self.tell_pair(id, cause.into());
    }

    pub(crate) fn tell_pair(&mut self, id: PairId, cause: Cow<'static, str>) {
        if let Some(view) = self.pair(id) {
            self.tell(Event::Pair { id, state: view.state, cause, view });
        }
    }

    pub(crate) fn view(&self, pair: &Pair) -> PairView {
        // A pair goes before its socket does.
        let info = self.sockets.get(&pair.socket);
        let round_trip = pair.liveness.as_ref().and_then(|liveness| liveness.round_trip());
        PairView {
            id: pair.id,
            socket: pair.socket,
            interface: info.map_or_else(String::new, |info| info.interface.clone()),
            local: pair.local,
            remote: pair.remote.address,
            local_kind: pair.local_kind,
            remote_kind: pair.remote.kind,
            remote_interface: pair.remote.interface.clone(),
            state: pair.state,
            priority: pair.priority,
            nominated: self.nominated == Some(pair.id),
            srtt: round_trip.map(|rtt| rtt.smoothed),
            rttvar: round_trip.map(|rtt| rtt.variation),
            last_heard: pair.last_heard,
            consent_until: pair.consent_until,
            checks_sent: pair.checks_sent,
            checks_answered: pair.checks_answered,
            loss: pair.liveness.as_ref().map(Liveness::loss),
            remote_network: pair.remote_network,
        }
    }

    /// The interval of a pair, stretched when many are valid so that all together keep their spacing.
    pub(crate) fn interval(&self, pair: &Pair) -> Duration {
        let wanted = pair.interval.unwrap_or_else(|| self.keeping(pair.id).then);
        wanted.max(self.config.timing.liveness_spacing * self.checklist.valid())
    }

    pub(crate) fn note_heard(&mut self, now: Instant, id: PairId) {
        let Some(pair) = self.checklist.get_mut(id) else { return };
        pair.last_heard = Some(now);
        if let Some(liveness) = &mut pair.liveness {
            liveness.heard(now);
        }
    }

    fn excuse_late_wake_up(&mut self, now: Instant) {
        let late = self.poll_timeout().is_some_and(|deadline| deadline + LATE_WAKE_UP < now);
        // Not again and again: on a machine that is always late silence must still be noticed.
        let recently = self.judge_not_before.is_some_and(|before| now < before + 5 * CATCH_UP);
        if late && !recently {
            self.judge_not_before = Some(now + CATCH_UP);
        }
    }

    fn next_judgement(&self) -> Option<Instant> {
        let judge = |pair: &Pair| pair.liveness.as_ref()?.next_judgement(&self.config.timing);
        let next = self.checklist.iter().filter_map(judge).min()?;
        Some(self.judge_not_before.map_or(next, |before| next.max(before)))
    }

    fn judge_silence(&mut self, now: Instant) {
        if self.judge_not_before.is_some_and(|before| now < before) {
            return;
        }
        for id in self.valid_pairs() {
            self.with_liveness(id, |liveness, timing, interval| liveness.judge(now, timing, interval));
        }
    }

    /// Lets `what` change what is known of a valid pair; the cause that it returns brings the pair into the
    /// new state.
    pub(crate) fn with_liveness(
        &mut self,
        id: PairId,
        what: impl FnOnce(&mut Liveness, &Timing, Duration) -> Option<&'static str>,
    ) {
        let Some(interval) = self.checklist.get(id).map(|pair| self.interval(pair)) else { return };
        let timing = self.config.timing;
        let Some(liveness) = self.checklist.get_mut(id).and_then(|pair| pair.liveness.as_mut()) else {
            return;
        };
        if let Some(cause) = what(liveness, &timing, interval) {
            let state = match liveness.health() {
                Health::Up => PairState::Up,
                Health::Suspect => PairState::Suspect,
                Health::Down => PairState::Down,
            };
            self.set_state(id, state, cause);
        }
    }

    fn check_liveness(&mut self, now: Instant) {
        for id in self.valid_pairs() {
            let liveness = self.checklist.get(id).and_then(|pair| pair.liveness.as_ref());
            if liveness.is_some_and(|liveness| liveness.next_check() <= now) {
                self.send_check(now, id, CheckPurpose::Liveness);
                self.keep_consent_fresh(now, id);
            }
        }
    }

    pub(crate) fn valid_pairs(&self) -> Vec<PairId> {
        self.checklist.iter().filter(|pair| pair.liveness.is_some()).map(|pair| pair.id).collect()
    }

    fn retry_failed(&mut self, now: Instant) {
        let due = |pair: &&Pair| pair.retry_at.is_some_and(|at| at <= now);
        let ids: Vec<PairId> = self.checklist.iter().filter(due).map(|pair| pair.id).collect();
        for id in ids {
            let Some(pair) = self.checklist.get_mut(id) else { continue };
            pair.retry_at = None;
            match (pair.state.is_valid(), pair.session) {
                (false, _) => self.set_state(id, PairState::Waiting, "tried again"),
                (true, session) if !self.is_current(session) => self.renew_pair(id),
                (true, _) => {}
            }
        }
    }

    /// What remains to be said when a request ends without success.
    pub(crate) fn tell_failed(&mut self, ended: &Transaction, why: CheckError) {
        self.tell(Event::CheckFailed {
            pair: ended.pair,
            socket: ended.socket,
            remote: ended.to,
            purpose: ended.purpose,
            attempt: ended.attempt,
            why,
        });
    }
}

/// The next of a queue. One that was long and is empty gives its memory back: a hundred pairs are formed once.
fn take<T>(queue: &mut VecDeque<T>) -> Option<T> {
    const KEPT: usize = 8;
    let next = queue.pop_front();
    if queue.is_empty() && queue.capacity() > KEPT {
        *queue = VecDeque::new();
    }
    next
}
