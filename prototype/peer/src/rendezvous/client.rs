//! A peer's end: keeps telling until the server has the newest state, and keeps asking until it is not needed.

use super::wire::{Description, MAX_MESSAGE, Message, Version};
use crate::{Secret, secret::Side};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

/// The first repetition comes after this; then the waiting time doubles (as RFC 8489 section 6.2.1 does) up to
/// [`SLOWEST`].
const FIRST_REPEAT: Duration = Duration::from_millis(100);
/// While there is no connection, a candidate that the other peer finds late is heard of within this time even when
/// the server's own message about it was lost.
const SLOWEST: Duration = Duration::from_millis(500);
/// While there is one, and the other end is to be heard of all the same when it has lost every path: shorter than NATs
/// forget (RFC 8445 section 11) and than servers do.
const KEPT_OPEN: Duration = Duration::from_secs(15);

/// The signalling of one peer over any number of rendezvous servers and sockets.
#[derive(Debug)]
pub struct Client {
    secret: Secret,
    side: Side,
    servers: Vec<SocketAddr>,
    description: Description,
    stored: Option<Version>,
    known: Option<Version>,
    wait: Duration,
    next: Option<Instant>,
    pace: Pace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Quiet,
    Slow,
    Busy,
}

/// Why a message was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Not from one of the servers.
    UnexpectedSource,
    /// Not a message, or not for this session.
    Malformed,
    /// The seal does not hold: the server, or somebody between, changed it.
    BadSeal,
}

impl Client {
    /// The side of a session that its secret names. It is quiet until [`Client::resume`].
    pub fn new(secret: Secret, side: Side, servers: Vec<SocketAddr>, description: Description) -> Self {
        Self {
            secret,
            side,
            servers,
            description,
            stored: None,
            known: None,
            wait: FIRST_REPEAT,
            next: None,
            pace: Pace::Quiet,
        }
    }

    /// Where its messages go, and whence answers may come.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Begins to tell and ask; [`Client::stay`] ends it.
    pub fn resume(&mut self, now: Instant) {
        if self.pace != Pace::Busy {
            self.pace = Pace::Busy;
            self.hurry(now);
        }
    }

    /// There is a connection, in which candidates travel from now on; the server shall find us all the same.
    pub fn stay(&mut self, now: Instant) {
        if self.pace != Pace::Slow {
            self.pace = Pace::Slow;
            self.wait = KEPT_OPEN;
            self.next = Some(now + KEPT_OPEN);
        }
    }

    /// Whether a server has what was described last.
    pub fn is_told(&self) -> bool {
        self.stored == Some(self.description.version)
    }

    /// New candidates of this peer.
    pub fn describe(&mut self, now: Instant, description: Description) {
        if description.version != self.description.version {
            self.description = description;
            self.hurry(now);
        }
    }

    fn hurry(&mut self, now: Instant) {
        self.wait = FIRST_REPEAT;
        if self.pace != Pace::Quiet {
            self.next = Some(now);
        }
    }

    /// When [`Client::poll`] has something; none while it is quiet.
    pub fn deadline(&self) -> Option<Instant> {
        self.next
    }

    /// The message that is due, if one is; to be sent to every server over every socket.
    pub fn poll(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next? > now {
            return None;
        }
        self.next = Some(now + self.wait);
        let slowest = if self.pace == Pace::Busy { SLOWEST } else { KEPT_OPEN };
        self.wait = (self.wait * 2).min(slowest);
        let sealed = (!self.is_told()).then(|| self.secret.seal(self.side, &self.description.to_bytes()));
        let session = self.secret.session();
        let update = |sealed| Message::Update {
            session,
            side: self.side,
            version: self.description.version,
            known: self.known,
            sealed,
        };
        // A description too long for a datagram cannot be told; asking goes on. `describe` keeps it short enough.
        update(sealed).to_bytes().or_else(|| update(None).to_bytes())
    }

    /// Takes a server's message; a new description of the other peer comes out.
    pub fn handle(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<Option<Description>, Dropped> {
        if !self.servers.contains(&from) {
            return Err(Dropped::UnexpectedSource);
        }
        let Some(Message::State { session, stored, other }) = Message::from_bytes(datagram) else {
            return Err(Dropped::Malformed);
        };
        if session != self.secret.session() {
            return Err(Dropped::Malformed);
        }
        if stored.is_some() {
            self.stored = stored;
        }
        let Some((version, Some(sealed))) = other else { return Ok(None) };
        if !version.is_news_after(self.known) {
            return Ok(None);
        }
        let opened = self.secret.open(self.side.other(), &sealed).ok_or(Dropped::BadSeal)?;
        let description = Description::from_bytes(&opened).ok_or(Dropped::Malformed)?;
        self.known = Some(version);
        self.hurry_acknowledgement(now);
        Ok(Some(description))
    }

    /// Tells the server soon what is known now, so that it stops repeating it, without starting a storm.
    fn hurry_acknowledgement(&mut self, now: Instant) {
        if let Some(next) = self.next {
            self.next = Some(next.min(now + FIRST_REPEAT));
        }
    }
}

/// How many candidates fit into one message beside everything else: an IPv6 one with its texts takes some 45 bytes.
pub const MAX_CANDIDATES: usize = 20;
const _: () = assert!(MAX_CANDIDATES * 48 + 200 < MAX_MESSAGE);
