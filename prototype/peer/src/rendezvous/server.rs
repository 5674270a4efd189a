//! The rendezvous server: sessions of two descriptions each, and STUN Binding (RFC 8489) for whoever asks.

use super::wire::{Message, Version};
use crate::secret::Side;
use ice::{
    SocketId,
    stun::{Builder, Class, Message as Stun},
};
use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A session nobody has told anything of for this long is forgotten.
const SESSION_LIFETIME: Duration = Duration::from_secs(60);
/// Bounds the memory: 2 x 1.2 KB a session.
const MAX_SESSIONS: usize = 10_000;

const BINDING: u16 = 0x001;

/// Takes datagrams and gives back answers; holds nothing but the newest description of each side.
#[derive(Debug, Default)]
pub struct Server {
    sessions: HashMap<[u8; 16], Session>,
    counts: Counts,
}

/// What the server did so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// STUN Binding requests answered.
    pub bindings: u64,
    /// Rendezvous messages taken.
    pub updates: u64,
    /// Datagrams that were neither, dropped without an answer.
    pub dropped: u64,
    /// Updates refused because there were too many sessions.
    pub refused: u64,
}

#[derive(Debug)]
struct Session {
    client: Option<Stored>,
    server: Option<Stored>,
    newest: Instant,
}

#[derive(Debug)]
struct Stored {
    version: Version,
    sealed: Vec<u8>,
    reach: Reach,
    knows: Option<Version>,
}

/// Where a peer is, and through which of our sockets: its NAT lets in only what comes from where it sent to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Reach {
    socket: SocketId,
    address: SocketAddr,
}

/// A datagram to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// From this socket.
    pub socket: SocketId,
    /// To this address.
    pub to: SocketAddr,
    /// What.
    pub bytes: Vec<u8>,
}

impl Server {
    /// A server without sessions.
    pub fn new() -> Self {
        Self::default()
    }

    /// What it did so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Sessions that are held.
    pub fn sessions(&self) -> usize {
        self.sessions.len()
    }

    /// Takes one datagram that came on `socket`, a number that the driver gave it.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Vec<Answer> {
        if let Some(response) = binding_response(datagram, from) {
            self.counts.bindings += 1;
            return vec![Answer { socket, to: from, bytes: response }];
        }
        let Some(Message::Update { session, side, version, known, sealed }) = Message::from_bytes(datagram)
        else {
            self.counts.dropped += 1;
            return vec![];
        };
        self.forget_old(now);
        if self.sessions.len() >= MAX_SESSIONS && !self.sessions.contains_key(&session) {
            self.counts.refused += 1;
            return vec![];
        }
        self.counts.updates += 1;
        let entry =
            self.sessions.entry(session).or_insert(Session { client: None, server: None, newest: now });
        entry.newest = now;
        let reach = Reach { socket, address: from };
        entry.store(side, reach, version, known, sealed);
        let mut answers = vec![(reach, entry.state_for(session, side))];
        // Until it says that it knows: the datagram before may be lost, and it may not ask for long.
        let newest = entry.side(side).map(|own| own.version);
        if let Some(other) = entry.side(side.other()).filter(|other| other.knows != newest) {
            answers.push((other.reach, entry.state_for(session, side.other())));
        }
        let answer = |(to, message): (Reach, Message)| {
            Some(Answer { socket: to.socket, to: to.address, bytes: message.to_bytes()? })
        };
        answers.into_iter().filter_map(answer).collect()
    }

    fn forget_old(&mut self, now: Instant) {
        self.sessions.retain(|_, session| now.saturating_duration_since(session.newest) < SESSION_LIFETIME);
    }
}

impl Session {
    fn side(&self, side: Side) -> Option<&Stored> {
        match side {
            Side::Client => self.client.as_ref(),
            Side::Server => self.server.as_ref(),
        }
    }

    fn store(
        &mut self,
        side: Side,
        reach: Reach,
        version: Version,
        knows: Option<Version>,
        sealed: Option<Vec<u8>>,
    ) {
        let place = match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        };
        match (place.as_mut(), sealed) {
            // An older state that was overtaken on its way.
            (Some(held), _)
                if held.version.instance == version.instance && held.version.number > version.number => {}
            (Some(held), _) if held.version == version => {
                held.reach = reach;
                held.knows = knows;
            }
            (_, Some(sealed)) => *place = Some(Stored { version, sealed, reach, knows }),
            (_, None) => {}
        }
    }

    fn state_for(&self, session: [u8; 16], side: Side) -> Message {
        let own = self.side(side);
        let other = self.side(side.other()).map(|other| {
            let knows = own.is_some_and(|own| own.knows == Some(other.version));
            (other.version, (!knows).then(|| other.sealed.clone()))
        });
        Message::State { session, stored: own.map(|own| own.version), other }
    }
}

/// The answer of a plain STUN server (RFC 8489 section 7.3.1.1): the sender's address, and no authentication.
fn binding_response(datagram: &[u8], from: SocketAddr) -> Option<Vec<u8>> {
    let request = Stun::parse(datagram).ok()?;
    let is_binding = request.class() == Class::Request && request.method() == BINDING;
    is_binding.then(|| Builder::response(Class::Success, &request).xor_mapped_address(from).finish(None))
}
