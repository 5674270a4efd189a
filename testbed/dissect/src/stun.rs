//! STUN and TURN messages, those of WhatsApp's relays among them: which types, from where to where, how often.
//!
//! The header decides (RFC 8489 section 5): zero bits and the magic cookie. Lengths do not, because WhatsApp's clients of
//! 2019 do not pad attributes. A message that an ICMP error quotes is none. Transactions are left to [`crate::calls`].

mod message;

pub use message::Message;

use crate::{datagram::Datagram, distribution::Distribution, ip::Packet, text::Text};
use record::Millis;
use serde::Serialize;
use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
};

/// Attribute with the time of WhatsApp's relays.
const SERVER_TIME: u16 = 0x4002;
/// libwebrtc's short checks: request, response, error.
const GOOG_PING: [u16; 3] = [0x0200, 0x0300, 0x0310];
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
    /// Messages of RFC 3489, without the magic cookie, by their type.
    pub classic: BTreeMap<Text, u64>,
    /// GOOG-PING requests, responses and errors (types 0x0200, 0x0300 and 0x0310), which stand in for checks.
    pub goog_pings: u64,
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
    /// Type, four hexadecimal digits, after `classic` for a message of RFC 3489; `health` and `OK` for WhatsApp's keep-alive
    /// in ASCII.
    pub message: Text,
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Messages.
    pub count: u64,
    /// Those of them without any attribute.
    pub header_only: u64,
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
    header_only: u64,
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
    Classic(u16),
    Ascii(&'static str),
}

impl Kind {
    fn text(self) -> Text {
        match self {
            Self::Type(kind) => format!("{kind:04x}").into(),
            Self::Classic(kind) => format!("classic {kind:04x}").into(),
            Self::Ascii(word) => word.into(),
        }
    }
}

impl StunCollector {
    /// Adds a datagram if it is a STUN message, disguised or not, and returns whether it is.
    pub(crate) fn add(
        &mut self,
        packet: &Packet<'_>,
        datagram: &Datagram<'_>,
        file: usize,
        zero_ns: i64,
    ) -> bool {
        let (kind, header_only) = match datagram {
            Datagram::Stun(message) => {
                self.message(message);
                (Kind::Type(message.kind), message.length == 0)
            }
            Datagram::ClassicStun(message) => {
                *self.report.classic.entry(Kind::Type(message.kind).text()).or_default() += 1;
                (Kind::Classic(message.kind), message.length == 0)
            }
            Datagram::Disguised(rung, message) => {
                *self.report.disguised.entry(rung.as_str().into()).or_default() += 1;
                let Some(message) = Message::parse(message) else { return false };
                (Kind::Type(message.kind), message.length == 0)
            }
            Datagram::Health => (Kind::Ascii("health"), false),
            Datagram::HealthAnswer => (Kind::Ascii("OK"), false),
            _ => return false,
        };
        self.exchange(packet, kind, header_only);
        self.burst(packet, kind, file, zero_ns);
        !matches!(kind, Kind::Ascii(_))
    }

    fn message(&mut self, message: &Message<'_>) {
        let kind = message.kind;
        *self.report.types.entry(Kind::Type(kind).text()).or_default() += 1;
        if let [a, b, ..] = message.body {
            let first = format!("{kind:04x}{a:02x}{b:02x}");
            *self.report.first_attributes.entry(first.into()).or_default() += 1;
        }
        let has_time = message.attribute(SERVER_TIME).is_some_and(|time| time.len() == 8);
        self.report.with_server_time += u64::from(has_time);
        self.report.goog_pings += u64::from(GOOG_PING.contains(&kind));
    }

    fn exchange(&mut self, packet: &Packet<'_>, kind: Kind, header_only: bool) {
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
            header_only: 0,
            first_ns: now_ns,
            last_ns: now_ns,
            gaps: Distribution::default(),
        });
        if running.count > 0 {
            running.gaps.add(now_ns.saturating_sub(running.last_ns).max(0).cast_unsigned());
        }
        running.count += 1;
        running.header_only += u64::from(header_only);
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
                header_only: running.header_only,
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
