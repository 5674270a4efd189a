//! The server's side of relays as WhatsApp has them: who shows a token is let into a call, and what one end sends to us
//! leaves for the other end as it is.
//!
//! What is known of the messages is told in [`stun::whatsapp`](crate::stun::whatsapp). How a relay chooses whom to send to
//! is not known but for calls of two; ours has no more than two ends, each at the address that last showed the token. Every
//! listening address is a relay of its own, as the several relays of a call are; but an end that is not at the address which
//! the other one sends to is reached at one of the other family, so that an IPv4 and an IPv6 end can meet.
//! Requests without a valid token are dropped in silence, which is a guess as well, and so is for how long an end that
//! says nothing is kept.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ServerOutput;
use crate::stun::whatsapp::{self, CallId, HEALTH, Message, Participant, Token, attribute::TOKEN, kind};
use crate::stun::{self, BINDING, Class};

/// An end that says nothing for so long is forgotten.
const SILENCE: Duration = Duration::from_secs(60);
/// Ends of a call.
const MOST_ENDS: usize = 2;

/// What the server says that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mimic {
    /// A relay of WhatsApp's, beside everything else that the server is.
    WhatsApp {
        /// The time since 1970 when the first datagram arrives: relays tell it.
        unix_time: Duration,
    },
}

/// Calls and their ends.
#[derive(Debug)]
pub(super) struct Calls {
    passwords: Vec<String>,
    /// Since 1970, at that instant.
    unix_time: Duration,
    since: Option<Instant>,
    /// Most ends of one client address, and of all together.
    most: (usize, usize),
    ends: BTreeMap<Who, End>,
    /// By listening address and client.
    by_address: BTreeMap<(SocketAddr, SocketAddr), Who>,
}

/// An end of a call at one of our listening addresses.
type Who = (CallId, Participant, SocketAddr);

#[derive(Debug, Clone, Copy)]
struct End {
    client: SocketAddr,
    heard: Instant,
}

/// What became of a datagram.
pub(super) enum Taken {
    /// It led to this.
    Done(Option<ServerOutput>),
    /// A message of this kind that nothing follows from.
    Refused,
    /// It is for the rest of the server.
    NotMine,
}

impl Calls {
    pub(super) fn new(passwords: Vec<String>, unix_time: Duration, most: (usize, usize)) -> Calls {
        Calls { passwords, unix_time, since: None, most, ends: BTreeMap::new(), by_address: BTreeMap::new() }
    }

    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn handle(&mut self, now: Instant, at: SocketAddr, from: SocketAddr, data: &[u8]) -> Taken {
        let member = self.by_address.get(&(at, from)).copied();
        if let Some(end) = member.and_then(|member| self.ends.get_mut(&member)) {
            end.heard = now;
        }
        match (Message::parse(data), member) {
            (Some(message), _) if message.kind == kind::ALLOCATE && message.attribute(TOKEN).is_none() => {
                Taken::NotMine
            }
            (Some(message), member) => match self.answer(now, at, from, &message, member) {
                Some(bytes) => {
                    Taken::Done(bytes.map(|bytes| ServerOutput::Transmit { from: at, to: from, bytes }))
                }
                None => Taken::Refused,
            },
            (None, Some(_)) if data == HEALTH[0] => {
                Taken::Done(Some(ServerOutput::Transmit { from: at, to: from, bytes: HEALTH[1].to_vec() }))
            }
            (None, Some(_)) if is_for_us(data) => Taken::NotMine,
            (None, Some(member)) => {
                Taken::Done(self.other_end(member).map(|(at, client)| ServerOutput::Transmit {
                    from: at,
                    to: client,
                    bytes: data.to_vec(),
                }))
            }
            (None, None) => Taken::NotMine,
        }
    }

    /// None when nothing follows; else what is answered, if anything.
    fn answer(
        &mut self,
        now: Instant,
        at: SocketAddr,
        from: SocketAddr,
        message: &Message<'_>,
        member: Option<Who>,
    ) -> Option<Option<Vec<u8>>> {
        let time = self.unix_time + now.saturating_duration_since(*self.since.get_or_insert(now));
        let opened = || {
            let token = message.attribute(TOKEN)?;
            let (call, participant) = Token::open(token, self.passwords.iter().map(String::as_str))?;
            Some((call, participant, at))
        };
        match message.kind {
            kind::ALLOCATE => {
                let who = opened()?;
                let end = End { client: from, heard: now };
                self.admit(who, end).then(|| Some(whatsapp::allocated(message.transaction, from, time)))
            }
            kind::PROBE => member.map(|_| Some(whatsapp::report(message, time))),
            kind::END => {
                let who = opened().filter(|who| member == Some(*who))?;
                self.forget(who);
                Some(None)
            }
            _ => None,
        }
    }

    /// A known end may move to another address.
    fn admit(&mut self, who: Who, end: End) -> bool {
        let (call, _, at) = who;
        let others = || self.ends.iter().filter(|(other, _)| **other != who);
        let ends = others().filter(|((other, _, there), _)| (*other, *there) == (call, at)).count();
        let of_client = others().filter(|(_, other)| other.client.ip() == end.client.ip()).count();
        if ends >= MOST_ENDS || of_client >= self.most.0 || others().count() >= self.most.1 {
            return false;
        }
        // The client may have been in another call before.
        let before = self.by_address.get(&(at, end.client)).copied();
        [Some(who), before].into_iter().flatten().for_each(|who| self.forget(who));
        self.by_address.insert((at, end.client), who);
        self.ends.insert(who, end);
        true
    }

    fn forget(&mut self, who: Who) {
        if let Some(end) = self.ends.remove(&who) {
            self.by_address.remove(&(who.2, end.client));
        }
    }

    /// Where to send from and to: at the same address, or else at one of the other family.
    fn other_end(&self, (call, participant, at): Who) -> Option<(SocketAddr, SocketAddr)> {
        let first = (call, Participant(u64::MIN), SocketAddr::from(([0; 4], 0)));
        let in_call = self.ends.range(first..).take_while(|((other, _, _), _)| *other == call);
        let others = in_call.filter(|((_, other, _), _)| *other != participant);
        let mut found: Vec<_> = others.map(|((_, _, there), end)| (*there, end.client)).collect();
        found.retain(|(there, _)| *there == at || there.is_ipv4() != at.is_ipv4());
        found.into_iter().min_by_key(|(there, _)| (*there != at, *there))
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        let silent = self.ends.iter().filter(|(_, end)| end.heard + SILENCE <= now);
        let silent: Vec<_> = silent.map(|(who, _)| *who).collect();
        silent.into_iter().for_each(|who| self.forget(who));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ends.values().map(|end| end.heard + SILENCE).min()
    }
}

/// A Binding request that is not a check of the other end's: how does the server see me?
fn is_for_us(data: &[u8]) -> bool {
    let Ok(message) = stun::Message::parse(data) else { return false };
    (message.class(), message.method()) == (Class::Request, BINDING) && message.username().is_none()
}
