//! Relayed candidates: a TURN client on every socket towards every relay, all at once (RFC 8656).
//!
//! A relayed address is a base like a socket: it gets an id of its own, and pairs on it are checked like any others.
//! What is sent on it is wrapped for the server, what the server sends is unwrapped, and both take the way of the
//! socket that the allocation was made on. Data of the user's goes through [`Agent::wrap`] and
//! [`Agent::poll_received`].
//!
//! A permission is asked for as soon as there is a pair that needs it, and the check follows without waiting: usually
//! it finds the permission installed. A channel is bound for pairs that work.
//!
//! Left out: TCP and TLS to the server, TCP allocations, reserved and dual allocations (one family is asked for, that
//! of the server's address), DON'T-FRAGMENT, mobility.

mod allocation;
mod call;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::candidate::{self, SocketId, SocketInfo, canonical};
use crate::event::{CheckError, Event, Rejected, Transmit};
use crate::pair::PairId;
use crate::policy::Relays as Pacing;
use crate::stun::turn::{ChannelData, method};
use crate::stun::{Class, Message, is_stun};
use crate::transaction::{Repeat, Request, Transaction};
pub(crate) use allocation::What;
use allocation::{AGAIN, Allocation, State};
pub use call::Call;
pub(crate) use call::CallRelays;

/// A TURN server and its long-term credentials.
#[derive(Clone, PartialEq, Eq)]
pub struct RelayServer {
    /// Where it listens for UDP.
    pub address: SocketAddr,
    /// User name.
    pub username: String,
    /// Password.
    pub password: String,
}

impl std::fmt::Debug for RelayServer {
    /// Leaves the password out: this ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RelayServer({}, {})", self.address, self.username)
    }
}

/// What happened to a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayNews {
    /// There is a relayed candidate.
    Allocated {
        /// Its id: pairs on it name this as their socket.
        base: SocketId,
        /// Its address.
        relayed: SocketAddr,
        /// How long it lasts without a refresh, which is taken care of.
        lifetime: Duration,
    },
    /// The server refused an allocation, or to refresh it: a STUN error code.
    Refused(u16),
    /// The server does not answer.
    Unanswered,
    /// The server does not let this peer through: a STUN error code.
    PeerRefused(IpAddr, u16),
    /// A channel to this peer is bound: 4 bytes of overhead instead of 36 and more.
    Bound(SocketAddr),
}

/// Data of another protocol that came through a relay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The relayed candidate's id.
    pub socket: SocketId,
    /// Who sent it to the relay.
    pub from: SocketAddr,
    /// What was sent.
    pub bytes: Vec<u8>,
}

/// A request to a relay.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) base: SocketId,
    pub(crate) what: What,
    /// Which nonce it carried.
    nonce: u32,
    /// It was challenged before.
    again: bool,
}

impl Task {
    fn new(base: SocketId, what: What) -> Task {
        Task { base, what, nonce: 0, again: false }
    }
}

/// All relays.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    servers: Vec<RelayServer>,
    allocations: Vec<Allocation>,
    received: VecDeque<Received>,
    next_base: u32,
}

/// Most servers.
const MOST_SERVERS: usize = 16;
/// Most datagrams that wait to be taken. One comes out of each that goes in.
const MOST_RECEIVED: usize = 1024;
/// Allocation mismatch: there is one already, or there is none (RFC 8656 section 18.4).
const MISMATCH: u16 = 437;
/// What a server that says nothing means (RFC 8656 section 3.2).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(600);

impl Relays {
    pub(crate) fn is_base(socket: SocketId) -> bool {
        socket.is_relayed()
    }

    fn by_base(&self, base: SocketId) -> Option<&Allocation> {
        self.allocations.iter().find(|allocation| allocation.base == base)
    }

    fn by_base_mut(&mut self, base: SocketId) -> Option<&mut Allocation> {
        self.allocations.iter_mut().find(|allocation| allocation.base == base)
    }

    fn by_server(&self, socket: SocketId, server: SocketAddr) -> Option<&Allocation> {
        let here =
            |one: &&Allocation| one.socket == socket && one.server == server && one.relayed().is_some();
        self.allocations.iter().find(here)
    }

    /// Whether another allocation on the same socket has this server: the server tells the two by their addresses and
    /// ports alone (RFC 8656 section 3.2), so that there is room for one.
    fn is_taken(&self, base: SocketId, server: SocketAddr) -> bool {
        let Some(socket) = self.by_base(base).map(|one| one.socket) else { return false };
        self.allocations.iter().any(|one| one.base != base && one.socket == socket && one.server == server)
    }

    pub(crate) fn is_believable(&self, task: &Task, response: &Message<'_>) -> bool {
        // Nothing follows from an answer about one that is gone.
        self.by_base(task.base).is_none_or(|allocation| allocation.is_believable(response))
    }

    /// Allocations that are being gathered, or will be.
    pub(crate) fn unsettled(&self) -> u32 {
        self.allocations.iter().filter(|one| !one.settled).count() as u32
    }

    pub(crate) fn is_settled(&self, may: impl Fn(SocketId) -> bool) -> bool {
        self.allocations.iter().all(|one| one.settled || !may(one.socket))
    }

    fn add(&mut self, now: Instant, socket: SocketId, local: SocketAddr, server: &RelayServer) {
        let known = |one: &Allocation| one.socket == socket && one.named == server.address;
        if candidate::can_talk(local, server.address) && !self.allocations.iter().any(known) {
            let base = SocketId(SocketId::FIRST_RELAYED | self.next_base);
            self.next_base = self.next_base.wrapping_add(1) & !SocketId::FIRST_RELAYED;
            self.allocations.push(Allocation::new(now, base, socket, server));
        }
    }
}

impl Agent {
    /// Allocates relayed candidates from this TURN server, on all sockets of its family, now and later. At most 16
    /// servers are used, all at the same time.
    pub fn add_relay_server(&mut self, now: Instant, server: RelayServer) {
        let server = RelayServer { address: canonical(server.address), ..server };
        let known = self.relays.servers.iter().any(|known| known.address == server.address);
        if known || self.relays.servers.len() >= MOST_SERVERS {
            return;
        }
        for (socket, info) in self.sockets.iter().filter(|(socket, _)| !Relays::is_base(**socket)) {
            self.relays.add(now, *socket, info.local, &server);
        }
        self.relays.servers.push(server);
        self.begin_due(now);
    }

    /// Gives this server's allocations back, and their pairs up.
    pub fn remove_relay_server(&mut self, now: Instant, server: SocketAddr) {
        let server = canonical(server);
        self.relays.servers.retain(|known| known.address != server);
        let of_server = self.relays.allocations.iter().filter(|one| one.named == server);
        let bases: Vec<SocketId> = of_server.map(|one| one.base).collect();
        for base in bases {
            if self.relays.by_base(base).is_some_and(|one| one.relayed().is_some()) {
                self.ask_relay(now, Task::new(base, What::Release));
            }
            self.drop_base(base, "relay given up");
            self.relays.allocations.retain(|one| one.base != base);
        }
        self.begin_due(now);
    }

    /// Data of the user's as it has to be sent on a pair: as it is, or wrapped for the relay. None when the pair's
    /// relay is gone or the data too long.
    pub fn wrap(&mut self, socket: SocketId, to: SocketAddr, data: Vec<u8>) -> Option<Transmit> {
        if !Relays::is_base(socket) {
            return Some(Transmit { socket, to, bytes: data });
        }
        let id = self.ids.transaction();
        let allocation = self.relays.by_base(socket).filter(|one| one.relayed().is_some())?;
        let bytes = allocation.wrap(id, canonical(to), &data)?;
        Some(Transmit { socket: allocation.socket, to: allocation.server, bytes })
    }

    /// The next datagram of another protocol that came through a relay.
    pub fn poll_received(&mut self) -> Option<Received> {
        self.relays.received.pop_front()
    }

    /// The socket and the server behind a relayed candidate.
    pub fn relay_of(&self, base: SocketId) -> Option<(SocketId, SocketAddr)> {
        self.relays.by_base(base).map(|one| (one.socket, one.server))
    }

    pub(crate) fn relay_on(&mut self, now: Instant, socket: SocketId) {
        let Some(local) = self.sockets.get(&socket).map(|info| info.local) else { return };
        for server in self.relays.servers.clone() {
            self.relays.add(now, socket, local, &server);
        }
    }

    /// A socket is gone, and every relay that was reached by it.
    pub(crate) fn forget_relays(&mut self, socket: SocketId, why: &str) {
        let on_socket = self.relays.allocations.iter().filter(|one| one.socket == socket);
        let bases: Vec<SocketId> = on_socket.map(|one| one.base).collect();
        bases.into_iter().for_each(|base| self.drop_base(base, why));
        self.relays.allocations.retain(|one| one.socket != socket);
    }

    /// Unwraps what a relay sends. None when it is not from one.
    pub(crate) fn unwrap_relayed(
        &mut self,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Option<Result<Received, Rejected>> {
        let allocation = self.relays.by_server(socket, from)?;
        let (peer, data) = if let Some(channel) = ChannelData::parse(datagram) {
            (allocation.peer_of(channel.number), channel.data)
        } else {
            let message = Message::parse(datagram).ok()?;
            if (message.class(), message.method()) != (Class::Indication, method::DATA) {
                return None;
            }
            (message.peer_address(), message.data().unwrap_or_default())
        };
        let known = peer.map(canonical).filter(|peer| allocation.may_hear(peer.ip()));
        let received = |peer| Received { socket: allocation.base, from: peer, bytes: data.to_vec() };
        Some(known.map(received).ok_or(Rejected::UnexpectedSource))
    }

    /// A check or an answer to one, or else for the user.
    pub(crate) fn handle_relayed(&mut self, now: Instant, received: Received) -> Result<(), Rejected> {
        if is_stun(&received.bytes) {
            return self.handle_datagram(now, received.socket, received.from, &received.bytes);
        }
        if self.relays.received.len() < MOST_RECEIVED {
            self.relays.received.push_back(received);
        }
        Ok(())
    }

    /// The next allocation that is due on a socket that may gather: the first of every interface before the second
    /// of any.
    pub(crate) fn next_allocation(&self, now: Instant) -> Option<SocketId> {
        let due = |one: &&Allocation| matches!(one.state, State::Due(at) if at <= now);
        let due = self.relays.allocations.iter().filter(due).filter(|one| self.may_gather(one.socket));
        due.min_by_key(|one| self.allocations_begun(one.socket)).map(|one| one.base)
    }

    /// Allocations asked for or held on the interface of this socket.
    fn allocations_begun(&self, socket: SocketId) -> usize {
        let begun = |one: &&Allocation| !matches!(one.state, State::Due(_));
        let begun = self.relays.allocations.iter().filter(begun);
        begun.filter(|one| self.interface_of(one.socket) == self.interface_of(socket)).count()
    }

    pub(crate) fn allocate(&mut self, now: Instant, base: SocketId) {
        if let Some(allocation) = self.relays.by_base_mut(base) {
            allocation.state = State::Asking;
            self.ask_relay(now, Task::new(base, What::Allocate));
        }
    }

    pub(crate) fn next_allocation_due(&self) -> Option<Instant> {
        let due = self.relays.allocations.iter().filter(|one| self.may_gather(one.socket));
        let at = |one: &Allocation| match one.state {
            State::Due(at) => Some(at),
            _ => None,
        };
        due.filter_map(at).min()
    }

    /// What held allocations need: refreshes, permissions for pairs, channels for those that work. With relays asked
    /// at once also the allocations themselves.
    pub(crate) fn tend_relays(&mut self, now: Instant) {
        if self.relays.allocations.is_empty() || !self.started {
            return;
        }
        if self.config.policy.relays == Pacing::AtOnce {
            while let Some(base) = self.next_allocation(now) {
                self.allocate(now, base);
            }
        }
        let bases: Vec<SocketId> = self.relays.allocations.iter().map(|one| one.base).collect();
        for base in bases {
            let (peers, in_use) = self.needs_of(base);
            while let Some(what) =
                self.relays.by_base_mut(base).and_then(|one| one.next_request(now, &peers, &in_use))
            {
                self.ask_relay(now, Task::new(base, what));
            }
        }
    }

    pub(crate) fn next_relay_due(&self) -> Option<Instant> {
        let due = |one: &Allocation| {
            let (peers, in_use) = self.needs_of(one.base);
            one.next_due(&peers, &in_use)
        };
        self.relays.allocations.iter().filter_map(due).min()
    }

    /// Who is to be heard on a relayed candidate, and whom it is in use with.
    fn needs_of(&self, base: SocketId) -> (Vec<IpAddr>, Vec<SocketAddr>) {
        let of_base = || self.checklist.iter().filter(|pair| pair.socket == base);
        let mut peers: Vec<IpAddr> = of_base().map(|pair| pair.remote.address.ip()).collect();
        peers.sort();
        peers.dedup();
        let in_use = of_base().filter(|pair| pair.state.is_usable()).map(|pair| pair.remote.address);
        (peers, in_use.collect())
    }

    fn ask_relay(&mut self, now: Instant, task: Task) {
        let id = self.ids.transaction();
        let Some(allocation) = self.relays.by_base(task.base) else { return };
        let task = Task { nonce: allocation.nonce(), ..task };
        let (socket, to) = (allocation.socket, allocation.server);
        let (bytes, purpose) = (allocation.request(id, &task.what), task.what.purpose());
        let repeat = Repeat::Backoff { rto: self.gather_rto(), most: None };
        self.begin(
            now,
            Request {
                id,
                pair: None,
                relay: Some(task),
                session: 0,
                purpose,
                socket,
                to,
                bytes,
                role: self.role,
                repeat,
            },
        );
    }

    /// A believable answer.
    pub(crate) fn relay_answered(&mut self, now: Instant, ended: &Transaction, response: &Message<'_>) {
        let Some(task) = &ended.relay else { return };
        if response.class() == Class::Error {
            self.tell_failed(ended, CheckError::ErrorResponse(response.error_code().unwrap_or(500)));
            return self.relay_refused(now, task, response);
        }
        if task.what != What::Allocate {
            self.tell_answered(now, ended, response.mapped_address().map(canonical));
        }
        let lifetime = response.lifetime().map_or(DEFAULT_LIFETIME, |s| Duration::from_secs(s.into()));
        match &task.what {
            What::Allocate => self.allocated(now, ended, task.base, response, lifetime),
            What::Refresh => {
                if let Some(allocation) = self.relays.by_base_mut(task.base) {
                    allocation.refreshed(now, lifetime);
                }
            }
            What::Permit(peers) => self.permitted(now, ended, task.base, peers),
            What::Bind(peer, _) => {
                if let Some(allocation) = self.relays.by_base_mut(task.base) {
                    allocation.bound(now, *peer);
                }
                self.relay_news(task.base, RelayNews::Bound(*peer));
            }
            What::Clear => self.ask_relay(now, Task::new(task.base, What::Allocate)),
            What::Release => {}
        }
    }

    fn allocated(
        &mut self,
        now: Instant,
        ended: &Transaction,
        base: SocketId,
        response: &Message<'_>,
        lifetime: Duration,
    ) {
        let mapped = response.mapped_address().map(canonical);
        let relayed = response.relayed_address().map(canonical).filter(|one| candidate::is_usable(*one));
        let (Some(mapped), Some(relayed)) = (mapped, relayed) else {
            self.tell_failed(ended, CheckError::NoMappedAddress);
            return self.lose_relay(now, base, RelayNews::Refused(500));
        };
        let Some(allocation) = self.relays.by_base_mut(base) else { return };
        allocation.settled = true;
        allocation.held(now, relayed, lifetime);
        let (socket, server) = (allocation.socket, allocation.server);
        self.tell_answered(now, ended, Some(mapped));
        self.relay_news(base, RelayNews::Allocated { base, relayed, lifetime });
        self.add_server_reflexive(socket, server, mapped);
        let Some(info) = self.sockets.get(&socket).cloned() else { return };
        self.note_late_base(socket, base);
        self.register_socket(base, SocketInfo { local: relayed, ..info });
        self.form_pairs();
    }

    /// A check that followed a request in vain is repeated at once.
    fn permitted(&mut self, now: Instant, ended: &Transaction, base: SocketId, peers: &[IpAddr]) {
        if let Some(allocation) = self.relays.by_base_mut(base) {
            allocation.permitted(now, peers);
        }
        if ended.attempt > 1 || ended.relay.as_ref().is_some_and(|task| task.again) {
            self.transactions.hasten(now, |open| {
                open.socket == base && peers.contains(&open.to.ip()) && open.makes_valid()
            });
        }
    }

    fn relay_refused(&mut self, now: Instant, task: &Task, response: &Message<'_>) {
        let code = response.error_code().unwrap_or(500);
        // One that another allocation of this socket has is no alternative.
        let alternative = response.alternate_server().map(canonical);
        let alternative = alternative.filter(|server| !self.relays.is_taken(task.base, *server));
        let Some(server) = self.relays.by_base(task.base).map(|one| one.server) else { return };
        let is_shared = self.relays.is_taken(task.base, server);
        let Some(allocation) = self.relays.by_base_mut(task.base) else { return };
        let again = match code {
            401 | 438 => allocation.challenged(code, task.nonce, response),
            300 if task.what == What::Allocate => {
                alternative.is_some_and(|server| allocation.redirect(server))
            }
            _ => false,
        };
        if again {
            return self.ask_relay(now, Task { again: true, ..task.clone() });
        }
        match (&task.what, code) {
            // Where two share the server, what is there may be the other's.
            (What::Allocate, MISMATCH) if !is_shared && allocation.may_clear() => {
                self.ask_relay(now, Task::new(task.base, What::Clear));
            }
            // There is nothing to release any more.
            (What::Clear, MISMATCH) => self.ask_relay(now, Task::new(task.base, What::Allocate)),
            _ => self.relay_failed(now, task, code),
        }
    }

    fn relay_failed(&mut self, now: Instant, task: &Task, code: u16) {
        match &task.what {
            // What stands in the way is not ours to release.
            What::Clear => self.lose_relay(now, task.base, RelayNews::Refused(MISMATCH)),
            What::Allocate | What::Refresh => self.lose_relay(now, task.base, RelayNews::Refused(code)),
            What::Permit(peers) => {
                if let Some(allocation) = self.relays.by_base_mut(task.base) {
                    allocation.denied(now, &task.what);
                }
                for peer in peers {
                    self.relay_news(task.base, RelayNews::PeerRefused(*peer, code));
                }
                self.fail_peers(now, task.base, peers);
            }
            What::Bind(..) => {
                if let Some(allocation) = self.relays.by_base_mut(task.base) {
                    allocation.denied(now, &task.what);
                }
            }
            What::Release => {}
        }
    }

    /// All transmissions of a request to a relay went unanswered, or it could not be sent.
    pub(crate) fn relay_unanswered(&mut self, now: Instant, task: &Task) {
        match task.what {
            What::Allocate | What::Refresh | What::Clear => {
                self.lose_relay(now, task.base, RelayNews::Unanswered);
            }
            _ => {
                if let Some(allocation) = self.relays.by_base_mut(task.base) {
                    allocation.unanswered(now, &task.what);
                }
            }
        }
    }

    fn fail_peers(&mut self, now: Instant, base: SocketId, peers: &[IpAddr]) {
        let refused = |pair: &&crate::checklist::Pair| {
            pair.socket == base && peers.contains(&pair.remote.address.ip()) && !pair.state.is_valid()
        };
        let ids: Vec<PairId> = self.checklist.iter().filter(refused).map(|pair| pair.id).collect();
        for id in ids {
            self.transactions.cancel(now, id);
            self.fail_pair(now, id, "refused by the relay");
        }
    }

    fn lose_relay(&mut self, now: Instant, base: SocketId, why: RelayNews) {
        self.relay_news(base, why);
        self.drop_base(base, "relay lost");
        let wait = if why == RelayNews::Unanswered { self.config.timing.gather_refresh } else { AGAIN };
        if let Some(allocation) = self.relays.by_base_mut(base) {
            allocation.settled = true;
            allocation.lost(now + wait);
        }
    }

    fn drop_base(&mut self, base: SocketId, why: &str) {
        self.remove_pairs(|pair| pair.socket == base, why);
        self.forget_socket(base);
    }

    fn relay_news(&mut self, base: SocketId, news: RelayNews) {
        if let Some((socket, server)) = self.relay_of(base) {
            self.tell(Event::Relay { socket, server, news });
        }
    }
}
