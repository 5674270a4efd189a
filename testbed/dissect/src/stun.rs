//! STUN and TURN messages, those of WhatsApp's relays among them: which types, from where to where, how often.
//!
//! The header decides (RFC 8489 section 5): zero bits and the magic cookie. Lengths do not, because WhatsApp's clients of
//! 2019 do not pad attributes. A message that an ICMP error quotes is none. Classic STUN (RFC 3489) has no cookie and is
//! left out; so are transactions: WhatsApp's pings answer with the class of requests and use one id for a whole call.

use crate::{
    distribution::Distribution,
    ip::{Packet, Transport},
    text::Text,
};
use ice::disguise::Rung;
use record::Millis;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
const HEADER: usize = 20;
/// WhatsApp's keep-alive in ASCII, and the answer to it.
const HEALTH: [&[u8]; 2] = [b"health", b"OK"];
/// Exchanges that are kept; messages of others are counted by type alone.
const MAX_EXCHANGES: usize = 20_000;
/// Bursts of one sender that are kept.
const MAX_BURSTS: usize = 1000;
const NS_PER_MS: f64 = 1e6;

/// STUN in all captures.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct StunReport {
    /// Messages by their type, four hexadecimal digits.
    pub types: BTreeMap<Text, u64>,
    /// Messages by type and first attribute, eight hexadecimal digits.
    pub first_attributes: BTreeMap<Text, u64>,
    /// Messages with a server's time (attribute 0x4002 of WhatsApp's relays).
    pub with_server_time: u64,
    /// Messages in one of our disguises, by rung of the ladder.
    pub disguised: BTreeMap<Text, u64>,
    /// Messages of one type from one address to another.
    pub exchanges: Vec<Exchange>,
    /// Messages of one type from one address to any, divided by pauses of more than a second.
    pub bursts: Vec<Burst>,
    /// Messages that belong to no exchange in the list, because there were too many.
    pub left_out: u64,
}

/// Messages of one type from one address to another. Times count from the first frame of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Exchange {
    /// Index of the capture in `files`.
    pub file: usize,
    /// Type, four hexadecimal digits; `health` and `OK` for WhatsApp's keep-alive in ASCII.
    pub message: Text,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Messages.
    pub count: u64,
    /// First message.
    pub first_ms: Millis,
    /// Last message.
    pub last_ms: Millis,
    /// Time between two messages; `null` for a single one.
    pub interval_ms: Option<Interval>,
}

/// Time between two messages.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Interval {
    /// Shortest.
    pub min: f64,
    /// Middle value; the mean of the two in the middle of an even number.
    pub median: f64,
    /// Longest.
    pub max: f64,
}

/// Messages of one type that one address sent with pauses of a second at most.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Burst {
    /// Index of the capture in `files`.
    pub file: usize,
    /// Type, four hexadecimal digits.
    pub message: Text,
    /// Sender.
    pub from: SocketAddr,
    /// Messages.
    pub count: u64,
    /// First message.
    pub first_ms: Millis,
    /// Last message.
    pub last_ms: Millis,
}

const BURST_PAUSE_NS: i64 = 1_000_000_000;

#[derive(Debug)]
struct Running {
    count: u64,
    first_ns: i64,
    last_ns: i64,
    gaps: Distribution,
}

/// Follows STUN messages.
#[derive(Debug, Default)]
pub(crate) struct StunCollector {
    report: StunReport,
    exchanges: HashMap<(Kind, SocketAddr, SocketAddr), Running>,
    bursts: HashMap<(Kind, SocketAddr), Burst>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Kind {
    Type(u16),
    Ascii(&'static str),
}

impl Kind {
    fn text(self) -> Text {
        match self {
            Self::Type(kind) => format!("{kind:04x}").into(),
            Self::Ascii(word) => word.into(),
        }
    }
}

/// Type of a message with the magic cookie.
fn message_type(payload: &[u8]) -> Option<u16> {
    let header = payload.first_chunk::<HEADER>()?;
    (header[0] & 0xc0 == 0 && header[4..8] == COOKIE).then(|| u16::from_be_bytes([header[0], header[1]]))
}

/// Whether an attribute is in a message, whose attributes are padded or not.
fn has_attribute(payload: &[u8], wanted: u16, length: usize) -> bool {
    let walk = |alignment: usize| {
        let mut rest = payload.get(HEADER..).unwrap_or_default();
        while let Some((head, after)) = rest.split_first_chunk::<4>() {
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
            if size > after.len() {
                return false;
            }
            if kind == wanted && size == length {
                return true;
            }
            rest = after.get(size.next_multiple_of(alignment)..).unwrap_or_default();
        }
        false
    };
    walk(4) || walk(1)
}

impl StunCollector {
    /// Adds a packet if it is a STUN message, disguised or not, and returns whether it is.
    pub(crate) fn packet(&mut self, packet: &Packet<'_>, file: usize, zero_ns: i64) -> bool {
        if !matches!(packet.transport, Transport::Udp) {
            return false;
        }
        let payload = packet.payload;
        let kind = if let Some(kind) = message_type(payload) {
            *self.report.types.entry(Kind::Type(kind).text()).or_default() += 1;
            if let Some([a, b]) = payload.get(HEADER..HEADER + 2) {
                let first = format!("{kind:04x}{a:02x}{b:02x}");
                *self.report.first_attributes.entry(first.into()).or_default() += 1;
            }
            self.report.with_server_time += u64::from(has_attribute(payload, 0x4002, 8));
            Kind::Type(kind)
        } else if payload == HEALTH[0] {
            Kind::Ascii("health")
        } else if payload == HEALTH[1] {
            Kind::Ascii("OK")
        } else if let Some((rung, message)) = Rung::detect(payload) {
            *self.report.disguised.entry(rung.as_str().into()).or_default() += 1;
            match message_type(&message) {
                Some(kind) => Kind::Type(kind),
                None => return false,
            }
        } else {
            return false;
        };
        self.exchange(packet, kind);
        self.burst(packet, kind, file, zero_ns);
        matches!(kind, Kind::Type(_))
    }

    fn exchange(&mut self, packet: &Packet<'_>, kind: Kind) {
        let key = (kind, packet.source, packet.destination);
        if self.exchanges.len() + self.report.exchanges.len() >= MAX_EXCHANGES
            && !self.exchanges.contains_key(&key)
        {
            self.report.left_out += 1;
            return;
        }
        let now_ns = packet.time_ns;
        let running = self.exchanges.entry(key).or_insert_with(|| Running {
            count: 0,
            first_ns: now_ns,
            last_ns: now_ns,
            gaps: Distribution::default(),
        });
        if running.count > 0 {
            running.gaps.add(now_ns.saturating_sub(running.last_ns).max(0).cast_unsigned());
        }
        running.count += 1;
        running.last_ns = now_ns;
    }

    fn burst(&mut self, packet: &Packet<'_>, kind: Kind, file: usize, zero_ns: i64) {
        let at = Millis::from_ns(packet.time_ns.saturating_sub(zero_ns));
        let key = (kind, packet.source);
        let new =
            || Burst { file, message: kind.text(), from: packet.source, count: 1, first_ms: at, last_ms: at };
        let has_room = self.bursts.len() < MAX_EXCHANGES;
        match self.bursts.get_mut(&key) {
            Some(burst) if at.as_ns().saturating_sub(burst.last_ms.as_ns()) <= BURST_PAUSE_NS => {
                burst.count += 1;
                burst.last_ms = at;
            }
            Some(burst) => {
                let ended = std::mem::replace(burst, new());
                self.keep_burst(ended);
            }
            None if has_room => _ = self.bursts.insert(key, new()),
            None => {}
        }
    }

    /// A burst is more than one message.
    fn keep_burst(&mut self, burst: Burst) {
        if burst.count > 1 && self.report.bursts.len() < MAX_BURSTS {
            self.report.bursts.push(burst);
        }
    }

    /// The capture ended.
    pub(crate) fn end_file(&mut self, file: usize, zero_ns: i64) {
        for ((kind, from, to), running) in self.exchanges.drain() {
            let relative = |ns: i64| Millis::from_ns(ns.saturating_sub(zero_ns));
            self.report.exchanges.push(Exchange {
                file,
                message: kind.text(),
                from,
                to,
                count: running.count,
                first_ms: relative(running.first_ns),
                last_ms: relative(running.last_ns),
                interval_ms: running.gaps.interval(NS_PER_MS),
            });
        }
        let bursts: Vec<Burst> = self.bursts.drain().map(|(_, burst)| burst).collect();
        bursts.into_iter().for_each(|burst| self.keep_burst(burst));
    }

    pub(crate) fn finish(mut self) -> StunReport {
        self.report
            .exchanges
            .sort_by_key(|exchange| (exchange.file, exchange.first_ms, exchange.from, exchange.to));
        self.report.bursts.sort_by_key(|burst| (burst.file, burst.first_ms, burst.from));
        self.report
    }
}
