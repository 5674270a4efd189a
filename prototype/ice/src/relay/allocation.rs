//! One allocation on one TURN server: credentials, permissions, channels, and what is due when (RFC 8656).
//!
//! Knows nothing of pairs: who needs what is told, requests are asked for, answers are told.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use super::RelayServer;
use crate::candidate::SocketId;
use crate::event::CheckPurpose;
use crate::stun::turn::{ChannelData, PasswordAlgorithm, attribute, method};
use crate::stun::{Builder, Class, Key, Message, TransactionId};

/// Permissions last 5 minutes (RFC 8656 section 9), channels 10 (section 12).
const PERMISSION_REFRESH: Duration = Duration::from_secs(240);
const CHANNEL_REFRESH: Duration = Duration::from_secs(540);
/// A channel whose refresh is overdue by this has ended.
const CHANNEL_GRACE: Duration = Duration::from_secs(60);
/// Channel numbers (RFC 8656 section 12). None is used twice.
const CHANNELS: std::ops::RangeInclusive<u16> = 0x4000..=0x4fff;
/// Most addresses in one request for permissions.
const PER_REQUEST: usize = 8;
/// Nonces in a row that were refused without an answer that counts: more would be a server that never agrees.
const MOST_CHALLENGES: u32 = 4;
/// A request that was refused for another reason than credentials is repeated so much later.
pub(super) const AGAIN: Duration = Duration::from_secs(60);
/// One that went unanswered is repeated so much later.
const RETRY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Allocation {
    /// The id of its relayed candidate as a base.
    pub(super) base: SocketId,
    pub(super) socket: SocketId,
    pub(super) server: SocketAddr,
    /// As the user named it: the server may have sent us elsewhere.
    pub(super) named: SocketAddr,
    pub(super) state: State,
    /// Asked for once, with whatever result.
    pub(super) settled: bool,
    redirected: bool,
    /// What was in the way of an allocation (437) was asked to be released.
    cleared: bool,
    auth: Auth,
    permissions: BTreeMap<IpAddr, Grant>,
    channels: BTreeMap<SocketAddr, Channel>,
    next_channel: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Asked for then.
    Due(Instant),
    Asking,
    Held {
        relayed: SocketAddr,
        /// None while a refresh is under way.
        refresh_at: Option<Instant>,
    },
}

/// What a request is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum What {
    Allocate,
    Refresh,
    Release,
    /// Releases what the server says is there and we know nothing of, to allocate again.
    Clear,
    Permit(Vec<IpAddr>),
    Bind(SocketAddr, u16),
}

impl What {
    pub(crate) fn method(&self) -> u16 {
        match self {
            What::Allocate => method::ALLOCATE,
            What::Refresh | What::Release | What::Clear => method::REFRESH,
            What::Permit(_) => method::CREATE_PERMISSION,
            What::Bind(..) => method::CHANNEL_BIND,
        }
    }

    pub(super) fn purpose(&self) -> CheckPurpose {
        match self {
            What::Allocate => CheckPurpose::Gather,
            What::Refresh | What::Release | What::Clear => CheckPurpose::Refresh,
            What::Permit(_) => CheckPurpose::Permission,
            What::Bind(..) => CheckPurpose::Channel,
        }
    }
}

/// Leave to hear from an address, or a channel to it.
#[derive(Debug)]
struct Grant {
    granted: bool,
    /// None while a request is under way.
    due: Option<Instant>,
}

#[derive(Debug)]
struct Channel {
    number: u16,
    grant: Grant,
}

/// Long-term credentials (RFC 8489 section 9.2).
#[derive(Debug)]
struct Auth {
    username: String,
    password: String,
    realm: String,
    nonce: Vec<u8>,
    algorithms: Option<Vec<u8>>,
    key: Option<Key>,
    /// Which nonce this is, the one that there is none yet counted.
    nonces: u32,
    /// Nonces that were refused in a row.
    challenges: u32,
}

impl Allocation {
    pub(super) fn new(now: Instant, base: SocketId, socket: SocketId, server: &RelayServer) -> Allocation {
        Allocation {
            base,
            socket,
            server: server.address,
            named: server.address,
            state: State::Due(now),
            settled: false,
            redirected: false,
            cleared: false,
            auth: Auth::new(server),
            permissions: BTreeMap::new(),
            channels: BTreeMap::new(),
            next_channel: *CHANNELS.start(),
        }
    }

    pub(super) fn relayed(&self) -> Option<SocketAddr> {
        match self.state {
            State::Held { relayed, .. } => Some(relayed),
            _ => None,
        }
    }

    /// The bytes of a request.
    pub(super) fn request(&self, id: TransactionId, what: &What) -> Vec<u8> {
        let new = Builder::new(Class::Request, what.method(), id);
        let request = match what {
            What::Allocate => new.requested_udp().requested_family(self.server.is_ipv6()),
            What::Refresh => new,
            What::Release | What::Clear => new.lifetime(0),
            What::Permit(peers) => {
                peers.iter().fold(new, |request, peer| request.peer_address(SocketAddr::new(*peer, 0)))
            }
            What::Bind(peer, number) => new.channel_number(*number).peer_address(*peer),
        };
        self.auth.sign(request)
    }

    /// Whether an answer may be believed: what was signed is answered signed, but for a challenge
    /// (RFC 8489 section 9.2.5).
    pub(super) fn is_believable(&self, response: &Message<'_>) -> bool {
        let Some(key) = &self.auth.key else { return true };
        match response.has_integrity() {
            true => response.is_authentic(key),
            false => response.class() == Class::Error,
        }
    }

    /// Which nonce a request carries that is made now.
    pub(super) fn nonce(&self) -> u32 {
        self.auth.nonces
    }

    /// A 401 or 438 came (RFC 8489 section 9.2.5) to a request with this nonce. False when asking again would not
    /// help.
    pub(super) fn challenged(&mut self, code: u16, nonce: u32, response: &Message<'_>) -> bool {
        // Several requests were under way with a nonce that is replaced by now.
        nonce != self.auth.nonces || self.auth.challenged(code, response)
    }

    /// The server says that there is an allocation on this address and port already (437, RFC 8656 section 7.4).
    /// True when it may be released, once: a client of before was here, or an answer of the server's was lost. The
    /// other way out, another port, is not an agent's to take.
    pub(super) fn may_clear(&mut self) -> bool {
        !std::mem::replace(&mut self.cleared, true)
    }

    /// The server names another (RFC 8489 section 10). Followed once, until that one is lost.
    pub(super) fn redirect(&mut self, to: SocketAddr) -> bool {
        let follows = !self.redirected && to.is_ipv6() == self.server.is_ipv6();
        if follows {
            self.redirected = true;
            self.server = to;
        }
        follows
    }

    pub(super) fn held(&mut self, now: Instant, relayed: SocketAddr, lifetime: Duration) {
        self.auth.challenges = 0;
        self.cleared = false;
        self.state = State::Held { relayed, refresh_at: Some(now + refresh_after(lifetime)) };
    }

    pub(super) fn refreshed(&mut self, now: Instant, lifetime: Duration) {
        if let Some(relayed) = self.relayed() {
            self.held(now, relayed, lifetime);
        }
    }

    /// Gone, and asked for again then, of the server that the user named.
    pub(super) fn lost(&mut self, again: Instant) {
        self.state = State::Due(again);
        self.server = self.named;
        self.redirected = false;
        self.cleared = false;
        self.permissions.clear();
        self.channels.clear();
        self.auth.challenges = 0;
        // A nonce may be good for one client address only (RFC 8489 section 9.2), and a NAT may have changed that: the
        // next request asks to be challenged anew.
        self.auth.key = None;
    }

    /// The next request that a held allocation has to make, which counts as under way from now on. `peers` may be
    /// heard from, and `in_use` deserve a channel.
    pub(super) fn next_request(
        &mut self,
        now: Instant,
        peers: &[IpAddr],
        in_use: &[SocketAddr],
    ) -> Option<What> {
        let State::Held { refresh_at, .. } = &mut self.state else { return None };
        if refresh_at.take_if(|at| *at <= now).is_some() {
            return Some(What::Refresh);
        }
        self.permissions.retain(|peer, grant| grant.due.is_none() || peers.contains(peer));
        self.next_permission(now, peers).or_else(|| self.next_channel(now, in_use))
    }

    fn next_permission(&mut self, now: Instant, peers: &[IpAddr]) -> Option<What> {
        let new = || Grant { granted: false, due: Some(now) };
        let mut due = Vec::new();
        for peer in peers {
            let grant = self.permissions.entry(*peer).or_insert_with(new);
            if due.len() < PER_REQUEST && grant.due.take_if(|at| *at <= now).is_some() {
                due.push(*peer);
            }
        }
        (!due.is_empty()).then_some(What::Permit(due))
    }

    fn next_channel(&mut self, now: Instant, in_use: &[SocketAddr]) -> Option<What> {
        for peer in in_use {
            if !self.channels.contains_key(peer) && CHANNELS.contains(&self.next_channel) {
                let grant = Grant { granted: false, due: Some(now) };
                self.channels.insert(*peer, Channel { number: self.next_channel, grant });
                self.next_channel += 1;
            }
        }
        for channel in self.channels.values_mut() {
            if channel.grant.due.is_some_and(|due| due + CHANNEL_GRACE <= now) {
                channel.grant.granted = false;
            }
        }
        let due = |(peer, channel): (&SocketAddr, &mut Channel)| {
            let due = in_use.contains(peer) && channel.grant.due.take_if(|at| *at <= now).is_some();
            due.then_some(What::Bind(*peer, channel.number))
        };
        self.channels.iter_mut().find_map(due)
    }

    /// When [`next_request`](Self::next_request) has something more to ask for.
    pub(super) fn next_due(&self, peers: &[IpAddr], in_use: &[SocketAddr]) -> Option<Instant> {
        let State::Held { refresh_at, .. } = self.state else { return None };
        let permissions = self.permissions.iter().filter(|(peer, _)| peers.contains(peer));
        let channels = self.channels.iter().filter(|(peer, _)| in_use.contains(peer));
        let permissions = permissions.filter_map(|(_, grant)| grant.due);
        let channels = channels.filter_map(|(_, channel)| channel.grant.due);
        permissions.chain(channels).chain(refresh_at).min()
    }

    pub(super) fn permitted(&mut self, now: Instant, peers: &[IpAddr]) {
        for (_, grant) in self.permissions.iter_mut().filter(|(peer, _)| peers.contains(peer)) {
            *grant = Grant { granted: true, due: Some(now + PERMISSION_REFRESH) };
        }
        self.auth.challenges = 0;
    }

    pub(super) fn bound(&mut self, now: Instant, peer: SocketAddr) {
        self.auth.challenges = 0;
        if let Some(channel) = self.channels.get_mut(&peer) {
            channel.grant = Grant { granted: true, due: Some(now + CHANNEL_REFRESH) };
        }
    }

    /// Permissions or a channel were refused; asked for again after a while.
    pub(super) fn denied(&mut self, now: Instant, what: &What) {
        self.for_grants(what, |grant| *grant = Grant { granted: false, due: Some(now + AGAIN) });
    }

    /// No answer; what was granted before may still hold.
    pub(super) fn unanswered(&mut self, now: Instant, what: &What) {
        self.for_grants(what, |grant| grant.due = Some(now + RETRY));
    }

    fn for_grants(&mut self, what: &What, change: impl Fn(&mut Grant)) {
        match what {
            What::Permit(peers) => {
                let asked = self.permissions.iter_mut().filter(|(peer, _)| peers.contains(peer));
                asked.for_each(|(_, grant)| change(grant));
            }
            What::Bind(peer, _) => {
                self.channels.get_mut(peer).into_iter().for_each(|channel| change(&mut channel.grant));
            }
            What::Allocate | What::Refresh | What::Release | What::Clear => {}
        }
    }

    /// Whether what comes from there through the server was let in by us.
    pub(super) fn may_hear(&self, peer: IpAddr) -> bool {
        self.permissions.get(&peer).is_some_and(|grant| grant.granted)
    }

    /// What the server is sent so that `data` reaches `peer`: over a channel if there is one
    /// (RFC 8656 section 12.5), else a Send indication (section 11.1). None when it is too long.
    pub(super) fn wrap(&self, id: TransactionId, peer: SocketAddr, data: &[u8]) -> Option<Vec<u8>> {
        let channel = self.channels.get(&peer).filter(|channel| channel.grant.granted);
        match channel {
            Some(channel) => ChannelData { number: channel.number, data }.to_bytes(),
            None if data.len() > 65_000 => None,
            None => {
                let send = Builder::new(Class::Indication, method::SEND, id);
                Some(send.peer_address(peer).data(data).finish(None))
            }
        }
    }

    /// The peer that a channel leads to.
    pub(super) fn peer_of(&self, number: u16) -> Option<SocketAddr> {
        self.channels.iter().find(|(_, channel)| channel.number == number).map(|(peer, _)| *peer)
    }
}

/// A minute before it would end (RFC 8656 section 8), or halfway if it is shorter than two.
fn refresh_after(lifetime: Duration) -> Duration {
    let minute = Duration::from_secs(60);
    if lifetime > 2 * minute { lifetime - minute } else { lifetime / 2 }
}

impl Auth {
    fn new(server: &RelayServer) -> Auth {
        Auth {
            username: server.username.clone(),
            password: server.password.clone(),
            realm: String::new(),
            nonce: Vec::new(),
            algorithms: None,
            key: None,
            nonces: 0,
            challenges: 0,
        }
    }

    fn challenged(&mut self, code: u16, response: &Message<'_>) -> bool {
        let (Some(realm), Some(nonce)) = (response.realm(), response.nonce()) else { return false };
        // The same credentials would be refused again.
        let repeated = code == 401 && self.key.is_some() && realm == self.realm;
        self.challenges += 1;
        if repeated || self.challenges > MOST_CHALLENGES {
            return false;
        }
        self.nonce = nonce.to_vec();
        self.nonces = self.nonces.wrapping_add(1);
        let algorithm =
            if response.offers_sha256() { PasswordAlgorithm::Sha256 } else { PasswordAlgorithm::Md5 };
        if code == 401 {
            self.algorithms = response.attribute(attribute::PASSWORD_ALGORITHMS).map(<[u8]>::to_vec);
            self.realm = realm.to_owned();
            self.key = Some(Key::long_term(&self.username, realm, &self.password, algorithm));
        }
        true
    }

    /// RFC 8489 section 9.2.3.
    fn sign(&self, request: Builder) -> Vec<u8> {
        let Some(key) = &self.key else { return request.finish(None) };
        let mut request = request
            .username(&self.username)
            .push(attribute::REALM, self.realm.as_bytes())
            .push(attribute::NONCE, &self.nonce);
        if let Some(algorithms) = &self.algorithms {
            // The list is repeated so that nobody on the way can shorten it (RFC 8489 section 9.2.3.2).
            let [high, low] = key.password_algorithm().number().to_be_bytes();
            request = request
                .push(attribute::PASSWORD_ALGORITHM, &[high, low, 0, 0])
                .push(attribute::PASSWORD_ALGORITHMS, algorithms);
        }
        request.finish(Some(key))
    }
}
