//! One probe as bytes: what it says is sealed, and dressed as each variant asks.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::bytes::{Reader, Writer};
use super::quic::{self, Draws};
use super::seal::Key;
use crate::Rung;
use crate::candidate::canonical;
use crate::stun::{self, BINDING, Builder, Class, Message, RoleClaim, TransactionId};

/// What a probe looks like to those in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Variant {
    /// A STUN Binding request, as ICE sends it, on this rung of the ladder of disguises.
    Stun(Rung),
    /// UDP that looks random, of random length.
    RandomUdp,
    /// What a QUIC client sends first.
    QuicInitial,
}

impl Variant {
    /// In the order in which results are told.
    pub const ALL: [Variant; 8] = [
        Variant::Stun(Rung::Plain),
        Variant::Stun(Rung::FirstByte),
        Variant::Stun(Rung::Cookie),
        Variant::Stun(Rung::FirstByteCookie),
        Variant::Stun(Rung::ScrambledLength),
        Variant::Stun(Rung::Xor),
        Variant::RandomUdp,
        Variant::QuicInitial,
    ];

    /// Its place in [`ALL`](Self::ALL).
    pub fn index(self) -> usize {
        match self {
            Variant::Stun(rung) => rung as usize,
            Variant::RandomUdp => 6,
            Variant::QuicInitial => 7,
        }
    }

    /// As results name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Variant::Stun(rung) => rung.as_str(),
            Variant::RandomUdp => "random-udp",
            Variant::QuicInitial => "quic-initial",
        }
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// No variant has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no variant `{0}`")]
pub struct UnknownVariant(String);

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Variant, UnknownVariant> {
        let found = Variant::ALL.into_iter().find(|variant| variant.as_str() == name);
        found.ok_or_else(|| UnknownVariant(name.to_owned()))
    }
}

/// Who takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum End {
    /// The one that began it.
    Client,
    /// The one that it is about.
    Server,
    /// A public host that carriers do not know as a server.
    Control,
}

/// What a probe says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) from: End,
    pub(super) to: End,
    /// The sender's socket and the receiver's, as their reports number them; 255 at the control.
    pub(super) sockets: (u8, u8),
    pub(super) variant: Variant,
    /// Counts from 0 for each pair and variant.
    pub(super) round: u8,
    /// Of an answer: where the probe came from. It repeats the probe's `variant` and `round`.
    pub(super) seen: Option<SocketAddr>,
    /// Tells runs with one key apart.
    pub(super) run: u64,
}

/// The number of the control's only socket.
pub(super) const CONTROL: u8 = 255;

const FORMAT: u8 = 1;
/// Of the attribute that carries the seal, comprehension-optional and unassigned.
const SEALED: u16 = 0xc0b1;
/// Fits into every answer and hides what kind of message it is.
const SHORTEST_TEXT: usize = 48;
/// No probe but a QUIC Initial is longer.
const LONGEST: usize = 500;

impl Probe {
    /// As a datagram. `salt` makes lengths and everything that a real sender would draw at random.
    pub(super) fn to_datagram(self, key: &Key, salt: [u8; 32]) -> Vec<u8> {
        let mut text = self.to_text();
        text.resize(SHORTEST_TEXT.max(text.len()), 0);
        match self.variant {
            Variant::Stun(rung) => {
                let mut message = self.to_stun(key, &key.seal(&text));
                rung.apply(&mut message);
                message
            }
            Variant::RandomUdp => {
                text.resize(text.len() + usize::from(salt[0]), 0);
                key.seal(&text)
            }
            Variant::QuicInitial => {
                let draws = Draws {
                    destination: key.tag(b"destination", &salt),
                    source: key.tag(b"source", &salt),
                    hello: key.tag(b"hello", &salt),
                    key_share: key.tag(b"key share", &salt),
                };
                quic::initial(&draws, &key.seal(&text)).unwrap_or_default()
            }
        }
    }

    /// Takes a datagram apart; none if it is no probe made with this key.
    pub(super) fn from_datagram(key: &Key, datagram: &[u8]) -> Option<Probe> {
        if datagram.len() > LONGEST {
            // Not worth a cipher's time: QUIC Initials are all of one size.
            let sealed = quic::token(datagram)?;
            return Probe::from_sealed(key, sealed).filter(|one| one.variant == Variant::QuicInitial);
        }
        let stun = |message: &[u8]| {
            let message = Message::parse(message).ok()?;
            Probe::from_sealed(key, message.attribute(SEALED)?)
        };
        if stun::is_stun(datagram) {
            let probe = stun(datagram)?;
            return (probe.variant == Variant::Stun(Rung::Plain)).then_some(probe);
        }
        let disguised = || {
            let (rung, message) = Rung::detect(datagram)?;
            stun(&message).filter(|one| one.variant == Variant::Stun(rung))
        };
        let random = || Probe::from_sealed(key, datagram).filter(|one| one.variant == Variant::RandomUdp);
        disguised().or_else(random)
    }

    fn from_sealed(key: &Key, sealed: &[u8]) -> Option<Probe> {
        Probe::from_text(&key.open(sealed)?)
    }

    /// A Binding request and its response, as agents exchange them (RFC 8445 section 7).
    fn to_stun(self, key: &Key, sealed: &[u8]) -> Vec<u8> {
        let builder = match self.seen {
            None => Builder::new(Class::Request, BINDING, self.transaction(key))
                .username(&key.username)
                .priority(crate::priority(crate::CandidateKind::Prflx, u16::MAX))
                .role_claim(RoleClaim { role: crate::Role::Controlling, tie_breaker: self.run }),
            Some(seen) => {
                Builder::new(Class::Success, BINDING, self.transaction(key)).xor_mapped_address(seen)
            }
        };
        builder.push(SEALED, sealed).finish(Some(&key.stun))
    }

    /// An answer has the one of its probe.
    fn transaction(self, key: &Key) -> TransactionId {
        let asks = match self.seen {
            None => self,
            Some(_) => Probe {
                from: self.to,
                to: self.from,
                sockets: (self.sockets.1, self.sockets.0),
                seen: None,
                ..self
            },
        };
        TransactionId(key.tag(b"transaction", &asks.to_text()))
    }

    fn to_text(self) -> Vec<u8> {
        let mut writer = Writer::default();
        for byte in [FORMAT, end(self.from), end(self.to), self.sockets.0, self.sockets.1] {
            writer.byte(byte);
        }
        writer.byte(self.variant.index() as u8);
        writer.byte(self.round);
        writer.number(self.run);
        writer.address(self.seen);
        writer.0
    }

    fn from_text(text: &[u8]) -> Option<Probe> {
        let mut reader = Reader(text);
        if reader.byte()? != FORMAT {
            return None;
        }
        let (from, to) = (reader.end()?, reader.end()?);
        let sockets = (reader.byte()?, reader.byte()?);
        let variant = *Variant::ALL.get(usize::from(reader.byte()?))?;
        let round = reader.byte()?;
        let run = reader.number()?;
        let seen = reader.address()?;
        Some(Probe { from, to, sockets, variant, round, seen, run })
    }
}

fn end(end: End) -> u8 {
    match end {
        End::Client => 0,
        End::Server => 1,
        End::Control => 2,
    }
}

impl Reader<'_> {
    fn end(&mut self) -> Option<End> {
        match self.byte()? {
            0 => Some(End::Client),
            1 => Some(End::Server),
            2 => Some(End::Control),
            _ => None,
        }
    }
}

/// Answers probes at the control, each in its own dress, and keeps nothing: an answer is never longer than the probe
/// by more than the address that it tells, and goes only to who has the key.
#[derive(Debug)]
pub struct Responder {
    key: Key,
    run: u64,
}

impl Responder {
    /// For those who have this key. `seed` is for what looks random in answers.
    pub fn new(key: Key, seed: u64) -> Responder {
        Responder { key, run: seed }
    }

    /// The answer to send back to where the datagram came from, by the socket that it came to; none if it is no probe.
    pub fn answer(&self, from: SocketAddr, datagram: &[u8]) -> Option<Vec<u8>> {
        let probe = Probe::from_datagram(&self.key, datagram)?;
        if probe.to != End::Control || probe.from == End::Control || probe.seen.is_some() {
            return None;
        }
        let answer = probe.answer(canonical(from));
        let salt = self.key.tag(b"salt", &[&self.run.to_be_bytes()[..], &answer.to_text()].concat());
        Some(answer.to_datagram(&self.key, salt))
    }
}

impl Probe {
    pub(super) fn answer(self, seen: SocketAddr) -> Probe {
        Probe {
            from: self.to,
            to: self.from,
            sockets: (self.sockets.1, self.sockets.0),
            seen: Some(seen),
            ..self
        }
    }
}

/// Whether probes may go there at all.
pub(super) fn is_destination(address: SocketAddr) -> bool {
    let unicast = match address.ip() {
        IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
        IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
    };
    unicast && address.port() != 0
}
