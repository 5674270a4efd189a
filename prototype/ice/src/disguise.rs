//! The disguise ladder: STUN messages altered so that a filter on the way does not take them for STUN.
//!
//! A disguise is put on after integrity and fingerprint are computed and taken off before they are checked. Every rung
//! leaves the length of the datagram as it is and needs no secret: what it hides from looks at headers, and a listener
//! who knows this table is not hidden from.
//!
//! | rung | what is altered | observation |
//! |---|---|---|
//! | `plain` | nothing | `ice-09` to `ice-11`, `ice-16` |
//! | `first-byte` | bit 0x40 of the first byte is set, as in a QUIC short header | `ice-12`, `ice-13` |
//! | `cookie` | two bytes of the magic cookie are overwritten | |
//! | `first-byte-cookie` | both | `ice-14`, `ice-15`, `ice-17`, `ice-18` |
//! | `scrambled-length` | both, and the length field does not tell the length any more | |
//! | `xor` | every byte: nothing constant is left | |
//!
//! Never towards relays and servers: with 0x40 set a message would be TURN channel data (RFC 8656 section 12.4), and
//! they would not undo it. On receipt a disguise is looked for in what comes from known candidates, or from anyone if
//! this agent disguises itself; what then does not authenticate was something else, and is left to others: 0x40 is
//! also the first byte of a QUIC packet.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Instant;

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::agent::Agent;
use crate::candidate::{SocketId, canonical};
use crate::event::Rejected;
use crate::rules::Target;
use crate::stun::{self, Class, Message};

/// One rung of the ladder, from none to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Rung {
    /// STUN as it is.
    #[default]
    Plain,
    /// 0x40 in the first byte.
    FirstByte,
    /// Two bytes of the magic cookie overwritten.
    Cookie,
    /// Both.
    FirstByteCookie,
    /// Both, and a wrong length field.
    ScrambledLength,
    /// The whole packet XORed.
    Xor,
}

const HEADER: usize = 20;
/// Two fragments of 256 characters and a colon (RFC 8839 section 5.4), padded and with their header.
const LONGEST_USERNAME: usize = 4 + 516;
/// The other attributes of checks and answers, with room for some of other agents'.
const OTHER_ATTRIBUTES: usize = 200;
/// Checks and their answers are no longer; what is longer is not searched for a disguise.
const LONGEST: usize = HEADER + LONGEST_USERNAME + OTHER_ATTRIBUTES;
const FLAG: u8 = 0x40;
const COOKIE: [u8; 2] = [0x21, 0x12];
/// Hides the transaction id, from which the rest of the mask is drawn.
const ID_MASK: u8 = 0x6b;

impl Rung {
    /// The ladder, from the lowest rung.
    pub const ALL: [Rung; 6] =
        [Rung::Plain, Rung::FirstByte, Rung::Cookie, Rung::FirstByteCookie, Rung::ScrambledLength, Rung::Xor];

    /// As scenarios and records name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Rung::Plain => "plain",
            Rung::FirstByte => "first-byte",
            Rung::Cookie => "cookie",
            Rung::FirstByteCookie => "first-byte-cookie",
            Rung::ScrambledLength => "scrambled-length",
            Rung::Xor => "xor",
        }
    }

    /// Disguises a STUN message in place; what is no STUN message is left alone.
    pub fn apply(self, message: &mut [u8]) {
        if !stun::is_stun(message) {
            return;
        }
        match self {
            Rung::Plain => {}
            Rung::FirstByte => message[0] |= FLAG,
            Rung::Cookie => hide_cookie(message),
            Rung::FirstByteCookie => {
                message[0] |= FLAG;
                hide_cookie(message);
            }
            Rung::ScrambledLength => {
                message[0] |= FLAG;
                hide_cookie(message);
                scramble_length(message);
            }
            Rung::Xor => {
                mask_rest(message);
                mask_id(message);
            }
        }
    }

    /// The STUN message that `datagram` is in this disguise, if it is one.
    pub fn undo(self, datagram: &[u8]) -> Option<Vec<u8>> {
        // The header tells, and most of what is looked at is something else.
        let mut header = *datagram.first_chunk::<HEADER>()?;
        self.take_off(&mut header)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if length != datagram.len() - HEADER || header[4..6] != COOKIE {
            return None;
        }
        let mut message = datagram.to_vec();
        self.take_off(&mut message)?;
        stun::is_stun(&message).then_some(message)
    }

    /// Takes the disguise off a message or of as much of its beginning as there is, the header at least.
    fn take_off(self, message: &mut [u8]) -> Option<()> {
        match self {
            Rung::Plain => {}
            Rung::FirstByte => message[0] ^= FLAG,
            Rung::Cookie => show_cookie(message)?,
            Rung::FirstByteCookie => {
                message[0] ^= FLAG;
                show_cookie(message)?;
            }
            Rung::ScrambledLength => {
                message[0] ^= FLAG;
                show_cookie(message)?;
                scramble_length(message);
            }
            Rung::Xor => {
                mask_id(message);
                mask_rest(message);
            }
        }
        Some(())
    }

    /// The rung that `datagram` is on above [`Plain`](Self::Plain), and the message in it.
    pub fn detect(datagram: &[u8]) -> Option<(Rung, Vec<u8>)> {
        Rung::ALL[1..].iter().find_map(|rung| Some((*rung, rung.undo(datagram)?)))
    }
}

/// What stands in the place of the first two bytes of the cookie: two of the transaction id, so that it is not the
/// same in every message.
fn stand_in(message: &[u8]) -> [u8; 2] {
    let chosen = [message[8], message[9]];
    if chosen == COOKIE { [!chosen[0], !chosen[1]] } else { chosen }
}

fn hide_cookie(message: &mut [u8]) {
    let stand_in = stand_in(message);
    message[4..6].copy_from_slice(&stand_in);
}

fn show_cookie(message: &mut [u8]) -> Option<()> {
    if message[4..6] != stand_in(message) {
        return None;
    }
    message[4..6].copy_from_slice(&COOKIE);
    Some(())
}

/// Its own inverse. The length of a message is a multiple of four; this one never is.
fn scramble_length(message: &mut [u8]) {
    message[2] ^= message[10];
    message[3] ^= message[11] | 1;
}

/// Its own inverse, as long as the transaction id is the same: all but the id.
fn mask_rest(message: &mut [u8]) {
    let mut seed = [0; 32];
    seed[..12].copy_from_slice(&message[8..HEADER]);
    let mut mask = vec![0; message.len()];
    ChaCha12Rng::from_seed(seed).fill_bytes(&mut mask);
    for (place, byte) in message.iter_mut().enumerate() {
        if !(8..HEADER).contains(&place) {
            *byte ^= mask[place];
        }
    }
}

fn mask_id(message: &mut [u8]) {
    message[8..HEADER].iter_mut().for_each(|byte| *byte ^= ID_MASK);
}

impl std::fmt::Display for Rung {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No rung has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no disguise `{0}`; there are: plain, first-byte, cookie, first-byte-cookie, scrambled-length, xor")]
pub struct UnknownRung(String);

impl FromStr for Rung {
    type Err = UnknownRung;

    fn from_str(name: &str) -> Result<Rung, UnknownRung> {
        let found = Rung::ALL.into_iter().find(|rung| rung.as_str() == name);
        found.ok_or_else(|| UnknownRung(name.to_owned()))
    }
}

/// Which disguise an agent wears where.
#[derive(Debug, Default)]
pub(crate) struct Wardrobe {
    rungs: BTreeMap<Target, Rung>,
    /// Of the message that is being answered.
    answering: Option<Rung>,
}

impl Agent {
    /// Disguises checks and answers from now on: of an interface, a socket, towards a candidate, or on a pair; the
    /// narrowest counts. Answers to a disguised check wear the same disguise if no other is set.
    pub fn set_disguise(&mut self, target: Target, rung: Rung) {
        let target = target.canonical();
        match rung {
            Rung::Plain => self.wardrobe.rungs.remove(&target),
            other => self.wardrobe.rungs.insert(target, other),
        };
    }

    /// Whether a datagram that is no STUN message may be a disguised one, so that it should go to
    /// [`handle_datagram`](Self::handle_datagram) first and elsewhere if that says [`Rejected::NotStun`].
    pub fn may_be_disguised(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        self.looks_for_disguise(canonical(from), datagram) && Rung::detect(datagram).is_some()
    }

    fn looks_for_disguise(&self, from: SocketAddr, datagram: &[u8]) -> bool {
        let known = || self.remote_candidates.iter().any(|remote| remote.address == from);
        datagram.len() <= LONGEST && (!self.wardrobe.rungs.is_empty() || known())
    }

    /// What was no STUN message as it came. Unless it is one in disguise, and authentic, it is someone else's.
    pub(crate) fn handle_disguised(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), Rejected> {
        if !self.looks_for_disguise(from, datagram) {
            return Err(Rejected::NotStun);
        }
        let (rung, plain) = Rung::detect(datagram).ok_or(Rejected::NotStun)?;
        let message = Message::parse(&plain).map_err(|_| Rejected::NotStun)?;
        if !self.is_from_the_other(&message) {
            return Err(Rejected::NotStun);
        }
        self.wardrobe.answering = Some(rung);
        let result = self.handle_message(now, socket, from, &message);
        self.wardrobe.answering = None;
        result
    }

    /// Whether a request or response proves to be the other agent's.
    fn is_from_the_other(&mut self, message: &Message<'_>) -> bool {
        if message.class() == Class::Request {
            return self.authenticate(message).is_ok();
        }
        let open = self.transactions.get_mut(message.transaction()).map(|open| (open.pair, open.session));
        let Some((Some(_), session)) = open else { return false };
        let remote = self.session_of(session).and_then(|session| session.remote.as_ref());
        remote.is_some_and(|remote| message.is_authentic(&remote.key))
    }

    /// Puts the disguise on that is worn on this pair. Never towards a relay or a server.
    pub(crate) fn disguise(&self, socket: SocketId, to: SocketAddr, message: &mut [u8]) {
        let rung = match self.rung_of(socket, to) {
            Rung::Plain => self.wardrobe.answering.unwrap_or_default(),
            set => set,
        };
        let plain = |pair: &crate::checklist::Pair| !self.is_relayed(pair);
        if rung != Rung::Plain && self.checklist.find(socket, to).is_some_and(plain) {
            rung.apply(message);
        }
    }

    fn rung_of(&self, socket: SocketId, to: SocketAddr) -> Rung {
        if self.wardrobe.rungs.is_empty() {
            return Rung::Plain;
        }
        let interface = self.sockets.get(&socket).map_or_else(String::new, |info| info.interface.clone());
        let targets = [
            Target::Pair(socket, to),
            Target::Remote(to),
            Target::Socket(socket),
            Target::Interface(interface),
        ];
        targets.iter().find_map(|target| self.wardrobe.rungs.get(target)).copied().unwrap_or_default()
    }
}
