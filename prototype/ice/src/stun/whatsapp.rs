//! The messages between WhatsApp and its relays: STUN's header and cookie, types and attributes of its own.
//!
//! | type | what | known from |
//! |---|---|---|
//! | 0x0003 | asks a relay to let this client in; attribute 0x4000 alone. Sent twice to each of five or eight relays within 2 ms | `cap-relays-2015`, `cap-relays-2019`, `wac-servers` |
//! | 0x0103 | the answer: XOR-MAPPED-ADDRESS and 0x4002 | captures of 2015 and 2019 |
//! | 0x0801 | from the client: 0x4003 and, as padding, 0x4004. One a second, or trains of ten | `wa-idle-keepalive`, `cap-relay-keepalive`, `wa-cellular-mtu-burst` |
//! | 0x0802 | the answer: 0x4002, and 0x4003 as it came | the same |
//! | 0x0800 | the call is over: 0x4000, once to each relay | captures of 2015 and 2019 |
//! | 0x0804, 0x0805 | another exchange of that kind; read and left alone | `wa-types` |
//!
//! | attribute | value | meaning |
//! |---|---|---|
//! | 0x4000 | 102 bytes, the same for all relays of a call | what it holds is not known. Ours is [`Token`] |
//! | 0x4002 | 8 bytes | the server's clock: milliseconds since 1970 |
//! | 0x4003 | 9 bytes: 1, then 8 bytes; in notes also a single 0xff | that the 8 bytes are the client's clock in nanoseconds is a guess that fits every capture |
//! | 0x4004 | 475 zeros in captures, 452 in notes | padding |
//! | 0x4005, 0x4007 (500), 0x4024 | | not known; carried |
//!
//! Two things differ from RFC 8489: all of these have the class of a request or have none that fits, and messages of 2015
//! and 2019 do not pad attributes to four bytes, so that their length is no multiple of it; later ones do. Both are read;
//! without padding is written.

use std::net::SocketAddr;
use std::time::Duration;

use super::{Builder, COOKIE, Class, HEADER, Key, Message as Stun, TransactionId, unxor};

/// Types, class and method together.
pub mod kind {
    /// Asks to be let in.
    pub const ALLOCATE: u16 = 0x0003;
    /// The answer to it.
    pub const ALLOCATED: u16 = 0x0103;
    /// The call is over.
    pub const END: u16 = 0x0800;
    /// Keeps a relay, and measures the way to it.
    pub const PROBE: u16 = 0x0801;
    /// The answer to it.
    pub const REPORT: u16 = 0x0802;
    /// Another exchange, of which no more is known.
    pub const OTHER: u16 = 0x0804;
    /// The answer to it.
    pub const OTHER_REPORT: u16 = 0x0805;
}

/// Attribute types.
pub mod attribute {
    /// Who asks, and for which call.
    pub const TOKEN: u16 = 0x4000;
    /// The server's clock.
    pub const SERVER_TIME: u16 = 0x4002;
    /// The client's clock.
    pub const CLOCK: u16 = 0x4003;
    /// Zeros.
    pub const PADDING: u16 = 0x4004;
}

/// What a client keeps alive by hand, and what it is answered with (`cap-relay-keepalive`).
pub const HEALTH: [&[u8]; 2] = [b"health", b"OK"];
/// Zeros in a probe, as captured.
const ZEROS: usize = 475;
/// Attributes of one message; none that was captured has more than three.
const MOST_ATTRIBUTES: usize = 16;

/// A message whose structure has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message<'a> {
    /// Type: see [`kind`]. Others are no message.
    pub kind: u16,
    /// Transaction id; that of probes may serve a whole call.
    pub transaction: TransactionId,
    attributes: Vec<(u16, &'a [u8])>,
}

impl<'a> Message<'a> {
    /// Checks `datagram` from end to end; it must hold one message and nothing else. With padding or without, whichever
    /// leads to attributes that exist.
    pub fn parse(datagram: &'a [u8]) -> Option<Message<'a>> {
        let (header, body) = datagram.split_first_chunk::<HEADER>()?;
        let kind = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let known = [kind::ALLOCATE, kind::ALLOCATED].contains(&kind) || (0x0800..=0x0805).contains(&kind);
        if !known || header[4..8] != COOKIE || length != body.len() {
            return None;
        }
        let attributes = attributes(body, 1).or_else(|| attributes(body, 4))?;
        let transaction = TransactionId(header[8..].try_into().ok()?);
        Some(Message { kind, transaction, attributes })
    }

    /// Value of the first attribute of a type.
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes.iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| *value)
    }

    /// Types and values.
    pub fn attributes(&self) -> &[(u16, &'a [u8])] {
        &self.attributes
    }

    /// XOR-MAPPED-ADDRESS: how the relay sees the client.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        unxor(self.attribute(super::attribute::XOR_MAPPED_ADDRESS)?, self.transaction)
    }

    /// The server's clock, since 1970.
    pub fn server_time(&self) -> Option<Duration> {
        let value = self.attribute(attribute::SERVER_TIME)?.try_into().ok()?;
        Some(Duration::from_millis(u64::from_be_bytes(value)))
    }

    /// The client's clock, since whenever.
    pub fn clock(&self) -> Option<Duration> {
        let (_, value) = self.attribute(attribute::CLOCK)?.split_first_chunk::<1>()?;
        Some(Duration::from_nanos(u64::from_be_bytes(value.try_into().ok()?)))
    }
}

/// None when one is unknown or does not fit.
fn attributes(mut body: &[u8], alignment: usize) -> Option<Vec<(u16, &[u8])>> {
    let mut found = Vec::new();
    while !body.is_empty() {
        let (&[a, b, c, d], rest) = body.split_first_chunk()?;
        let (kind, length) = (u16::from_be_bytes([a, b]), usize::from(u16::from_be_bytes([c, d])));
        let (value, rest) = rest.split_at_checked(length)?;
        let padding = length.next_multiple_of(alignment) - length;
        if !is_known(kind) || found.len() >= MOST_ATTRIBUTES || rest.len() < padding {
            return None;
        }
        found.push((kind, value));
        body = &rest[padding..];
    }
    Some(found)
}

fn is_known(kind: u16) -> bool {
    use super::attribute::{ERROR_CODE, MESSAGE_INTEGRITY, XOR_MAPPED_ADDRESS};
    (0x4000..=0x40ff).contains(&kind) || [MESSAGE_INTEGRITY, ERROR_CODE, XOR_MAPPED_ADDRESS].contains(&kind)
}

/// Bytes of a message of any of these types.
pub fn build(kind: u16, id: TransactionId, attributes: &[(u16, &[u8])]) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        // A value that the field cannot tell the length of is cut.
        let value = &value[..value.len().min(usize::from(u16::MAX / 2))];
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
    }
    let mut message = Vec::with_capacity(HEADER + body.len());
    message.extend(kind.to_be_bytes());
    message.extend((body.len() as u16).to_be_bytes());
    message.extend(COOKIE);
    message.extend(id.0);
    message.extend(body);
    message
}

/// Asks to be let in ([`kind::ALLOCATE`]), or says that the call is over ([`kind::END`]).
pub fn with_token(kind: u16, id: TransactionId, token: &Token) -> Vec<u8> {
    build(kind, id, &[(attribute::TOKEN, &token.0)])
}

/// The answer to [`kind::ALLOCATE`].
pub fn allocated(id: TransactionId, mapped: SocketAddr, server_time: Duration) -> Vec<u8> {
    let mapped = super::turn::xor(mapped, id);
    let attributes =
        [(super::attribute::XOR_MAPPED_ADDRESS, &mapped[..]), (attribute::SERVER_TIME, &millis(server_time))];
    build(kind::ALLOCATED, id, &attributes)
}

/// A probe.
pub fn probe(id: TransactionId, clock: Duration) -> Vec<u8> {
    let mut value = vec![1];
    value.extend(u64::try_from(clock.as_nanos()).unwrap_or(u64::MAX).to_be_bytes());
    build(kind::PROBE, id, &[(attribute::CLOCK, &value), (attribute::PADDING, &[0; ZEROS])])
}

/// The answer to a probe.
pub fn report(probe: &Message<'_>, server_time: Duration) -> Vec<u8> {
    let time = millis(server_time);
    let clock = probe.attribute(attribute::CLOCK).map(|clock| (attribute::CLOCK, clock));
    let attributes: Vec<_> = [(attribute::SERVER_TIME, &time[..])].into_iter().chain(clock).collect();
    build(kind::REPORT, probe.transaction, &attributes)
}

fn millis(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX).to_be_bytes()
}

/// A call on a relay: the same for both ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub [u8; 16]);

/// One end of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Participant(pub u64);

/// The value of 0x4000, of the size that was captured and beginning as it did in 2019. The rest is ours: call,
/// participant, and an HMAC-SHA1 over both by the password of a user of the relay; then zeros. Whoever overhears it can
/// use it as well; whether that is so with WhatsApp's is not known.
#[derive(Clone, PartialEq, Eq)]
pub struct Token([u8; Token::LENGTH]);

impl std::fmt::Debug for Token {
    /// Leaves the value out: it is a credential, and this ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

impl Token {
    /// Its length in bytes.
    pub const LENGTH: usize = 102;
    const BEGINNING: [u8; 2] = [5, 3];

    /// Lets `participant` into `call` on the relays that know this password.
    pub fn new(password: &str, call: CallId, participant: Participant) -> Token {
        let mut token = [0; Token::LENGTH];
        let whole = token.split_first_chunk_mut::<2>().and_then(|(beginning, rest)| {
            let (id, rest) = rest.split_first_chunk_mut::<16>()?;
            let (who, rest) = rest.split_first_chunk_mut::<8>()?;
            let (seal, _) = rest.split_first_chunk_mut::<20>()?;
            (*beginning, *id, *who) = (Token::BEGINNING, call.0, participant.0.to_be_bytes());
            *seal = Token::seal(password, call, participant);
            Some(())
        });
        debug_assert!(whole.is_some(), "the parts are shorter than the whole");
        Token(token)
    }

    /// Whom a token that arrived lets in where, if it was made with one of these passwords.
    pub fn open<'p>(
        value: &[u8],
        passwords: impl IntoIterator<Item = &'p str>,
    ) -> Option<(CallId, Participant)> {
        let value: &[u8; Token::LENGTH] = value.try_into().ok()?;
        let (_, rest) = value.split_first_chunk::<2>()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (who, _) = rest.split_first_chunk()?;
        let (call, participant) = (CallId(*id), Participant(u64::from_be_bytes(*who)));
        // Without an early end: the time taken says nothing of how much was right.
        let is_right = |password: &str| {
            let right = Token::new(password, call, participant);
            value.iter().zip(right.0).fold(0, |differs, (a, b)| differs | (a ^ b)) == 0
        };
        passwords.into_iter().any(is_right).then_some((call, participant))
    }

    /// The integrity of a STUN message that holds them: an HMAC-SHA1 that is here already.
    fn seal(password: &str, CallId(call): CallId, Participant(who): Participant) -> [u8; 20] {
        let message = Builder::new(Class::Indication, kind::ALLOCATE, TransactionId([0; 12]))
            .push(attribute::TOKEN, &[&call[..], &who.to_be_bytes()].concat())
            .finish(Some(&Key::short_term(password)));
        let message = Stun::parse(&message).ok();
        let seal = message
            .and_then(|message| message.attribute(super::attribute::MESSAGE_INTEGRITY)?.try_into().ok());
        debug_assert!(seal.is_some(), "what was sealed has a seal");
        seal.unwrap_or_default()
    }
}
