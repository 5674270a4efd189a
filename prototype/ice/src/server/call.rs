//! The server's side of relays as WhatsApp has them: who shows a token is let into a call, and what one end sends to us
//! leaves for the other end as it is.
//!
//! What is known of the messages is told in [`stun::whatsapp`](crate::stun::whatsapp). How a relay chooses whom to send to
//! is not known but for calls of two; ours has no more than two ends, each at the address that last showed the token.
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
    ends: BTreeMap<(CallId, Participant), End>,
    /// By listening address and client.
    by_address: BTreeMap<(SocketAddr, SocketAddr), (CallId, Participant)>,
}

#[derive(Debug, Clone, Copy)]
struct End {
    at: SocketAddr,
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
            (None, Some(member)) => Taken::Done(self.other_end(member).map(|other| {
                let End { at, client, .. } = other;
                ServerOutput::Transmit { from: at, to: client, bytes: data.to_vec() }
            })),
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
        member: Option<(CallId, Participant)>,
    ) -> Option<Option<Vec<u8>>> {
        let time = self.unix_time + now.saturating_duration_since(*self.since.get_or_insert(now));
        let opened = || Token::open(message.attribute(TOKEN)?, self.passwords.iter().map(String::as_str));
        match message.kind {
            kind::ALLOCATE => {
                let who = opened()?;
                let end = End { at, client: from, heard: now };
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
    fn admit(&mut self, who: (CallId, Participant), end: End) -> bool {
        let others = || self.ends.iter().filter(|(other, _)| **other != who);
        let ends = others().filter(|((call, _), _)| *call == who.0).count();
        let of_client = others().filter(|(_, other)| other.client.ip() == end.client.ip()).count();
        if ends >= MOST_ENDS || of_client >= self.most.0 || others().count() >= self.most.1 {
            return false;
        }
        // The client may have been in another call before.
        let before = self.by_address.get(&(end.at, end.client)).copied();
        [Some(who), before].into_iter().flatten().for_each(|who| self.forget(who));
        self.by_address.insert((end.at, end.client), who);
        self.ends.insert(who, end);
        true
    }

    fn forget(&mut self, who: (CallId, Participant)) {
        if let Some(end) = self.ends.remove(&who) {
            self.by_address.remove(&(end.at, end.client));
        }
    }

    fn other_end(&self, (call, participant): (CallId, Participant)) -> Option<End> {
        let of_call = (call, Participant(u64::MIN))..=(call, Participant(u64::MAX));
        self.ends.range(of_call).find(|((_, other), _)| *other != participant).map(|(_, end)| *end)
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
