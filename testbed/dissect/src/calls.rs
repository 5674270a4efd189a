//! Calls: who with whom, when, over which flows, with which media.
//!
//! A call begins with a STUN request or with a believed RTP source, and takes in everything that passes its sockets. What
//! belongs together shows by sockets that ask servers, by the user names of ICE checks, and by the remote socket that
//! one host checks from several of its own. Calls end after a minute without packets, as UDP flows do. Left out: calls
//! inside TCP or TLS, and signalling.

mod flow;
mod metrics;
mod rtp;

pub use flow::{CallDirection, CallFlow, Requests, Role};
pub use metrics::{CaptureMetrics, GivenRun, Inferred, PayloadGap, Zero};
pub use rtp::{RtpMove, RtpStream, RtpWay};

use crate::{
    datagram::{Datagram, RtpHeader},
    flow::UDP_TIMEOUT_NS,
    ip::Packet,
    names::quic,
    read::Passage,
    stun::Message,
    text::Text,
};
use flow::{Purpose, RunningDirection, RunningFlow};
use record::Millis;
use rtp::RunningStream;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
};

/// Calls that are followed at the same time, and kept for the report; more are counted.
const MAX_CALLS: usize = 10_000;
/// Flows, RTP sources and keys of one call.
const MAX_PARTS: usize = 4_096;
/// RTP sources that are not believed yet.
const MAX_CANDIDATES: usize = 4_096;
/// Packets of one call whose times are kept for its metrics: half an hour of 50 packets a second, both ways.
const MAX_PAYLOAD: usize = 200_000;
/// Peers behind the channels of TURN servers, for each call.
const MAX_CHANNELS: usize = 256;
/// Capture time between two searches for calls that are over.
const SWEEP_NS: u64 = 10_000_000_000;

const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const CHANNEL_NUMBER: u16 = 0x000c;
const XOR_PEER_ADDRESS: u16 = 0x0012;
const DATA: u16 = 0x0013;
/// Attributes from here to 0x40ff are WhatsApp's.
const WHATSAPP_TOKEN: u16 = 0x4000;

/// Kind of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CallKind {
    /// Over relays of WhatsApp's kind.
    Whatsapp,
    /// With ICE or TURN.
    Ice,
    /// RTP alone.
    Rtp,
}

/// One call. Times count from the first frame of the file, those of `metrics` from its own zero.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Call {
    /// Index of the capture in `files`.
    pub file: usize,
    /// Kind.
    pub kind: CallKind,
    /// First packet.
    pub start_ms: Millis,
    /// First packet to last.
    pub duration_ms: Millis,
    /// Addresses of this side: of the capturing host where the file says so, else of the side that asked servers, else of
    /// the sender of the first packet.
    pub local: BTreeSet<IpAddr>,
    /// Addresses of the other side: those that media or answered checks came from, relays not counted.
    pub remote: BTreeSet<IpAddr>,
    /// When its paths were built.
    pub milestones: Milestones,
    /// Packets by addresses, in order of the first.
    pub flows: Vec<CallFlow>,
    /// RTP sources, in order of their first packets.
    pub media: Vec<RtpStream>,
    /// Figures of its paths.
    pub metrics: CaptureMetrics,
    /// Flows, sources and packets that were left out because there were too many.
    pub left_out: u64,
}

/// First occurrences.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Milestones {
    /// Request to a relay.
    pub first_join_ms: Option<Millis>,
    /// Answer of a relay to it.
    pub first_join_answer_ms: Option<Millis>,
    /// RTP, or media of another kind, by way of a relay.
    pub first_relay_media_ms: Option<Millis>,
    /// Check between the peers, of either side.
    pub first_check_ms: Option<Millis>,
    /// Answer to such a check.
    pub first_check_answer_ms: Option<Millis>,
    /// Media between the peers.
    pub first_direct_media_ms: Option<Millis>,
    /// Message that ends the call at a relay.
    pub first_release_ms: Option<Millis>,
}

/// What is known of a packet besides its headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) interface: Option<&'a str>,
    pub(crate) passage: Option<Passage>,
}

/// One datagram of a call, perhaps unwrapped from TURN.
#[derive(Debug, Clone, Copy)]
struct Hop {
    time_ns: i64,
    from: SocketAddr,
    to: SocketAddr,
    via: Option<SocketAddr>,
    length: u32,
}

/// What ties packets to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Key {
    /// A socket that sent a request to a server.
    Socket(SocketAddr),
    /// A socket that checked a peer. That alone ties nothing, since media servers have one socket for many.
    Checks(SocketAddr),
    /// A socket that a host checks, or has media with.
    Ends(SocketAddr, IpAddr),
    /// The user name of ICE checks, of both directions.
    Ice(u64),
}

/// Time, flow, direction and size of a packet that may carry payload.
#[derive(Debug, Clone, Copy)]
struct Payload {
    time_ns: i64,
    size: u32,
    flow: u16,
    /// Index of the RTP source; [`NO_STREAM`] for another protocol.
    stream: u16,
    direction: u8,
}

const NO_STREAM: u16 = u16::MAX;

#[derive(Debug)]
struct RunningCall {
    first_ns: i64,
    last_ns: i64,
    is_whatsapp: bool,
    has_stun: bool,
    keys: Vec<Key>,
    flows: Vec<RunningFlow>,
    by_ends: HashMap<([SocketAddr; 2], Option<SocketAddr>), usize>,
    streams: Vec<RunningStream>,
    payload: Vec<Payload>,
    channels: HashMap<(SocketAddr, SocketAddr, u16), SocketAddr>,
    /// Addresses that sent outbound frames, as the capture says.
    outbound: BTreeSet<IpAddr>,
    left_out: u64,
}

/// Follows calls.
#[derive(Debug, Default)]
pub(crate) struct CallCollector {
    keys: HashMap<Key, u64>,
    running: BTreeMap<u64, RunningCall>,
    next: u64,
    candidates: HashMap<(SocketAddr, SocketAddr, u32, u8), RunningStream>,
    swept_ns: Option<i64>,
    ended: Vec<RunningCall>,
    calls: Vec<Call>,
    given: Option<GivenRun>,
    left_out: u64,
}

/// Meaning of a message.
enum Sign {
    Request(Purpose),
    Answer(Purpose),
    Release,
    None,
}

impl CallCollector {
    pub(crate) fn give_run(&mut self, given: Option<GivenRun>) {
        self.given = given;
    }

    /// Adds a UDP datagram if it belongs to a call, and returns whether it does.
    pub(crate) fn add(&mut self, packet: &Packet<'_>, datagram: &Datagram<'_>, origin: Origin<'_>) -> bool {
        self.sweep(packet.time_ns);
        let message = message_of(datagram);
        let mut links = message.as_ref().map_or_else(Vec::new, |message| links(packet, message));
        if !links.is_empty() {
            let sockets = [packet.source, packet.destination].map(Key::Socket);
            links.extend(sockets.into_iter().filter(|key| self.keys.contains_key(key)));
            // A socket that asks a server may have checked peers before.
            let checked = Key::Checks(packet.source);
            if links.contains(&Key::Socket(packet.source)) && self.keys.contains_key(&checked) {
                links.push(checked);
            }
        }
        let id = match self.find(packet, &links) {
            Some(id) => id,
            None if !links.is_empty() => self.begin(packet.time_ns),
            None => match datagram {
                Datagram::Rtp(header) => match self.believe(packet, *header) {
                    Some(id) => id,
                    None => return false,
                },
                _ => return false,
            },
        };
        let Some(id) = self.link(id, &links) else { return false };
        if links.iter().any(|key| matches!(key, Key::Ends(..))) {
            self.note_checking(id, packet.source);
        }
        let Some(call) = self.running.get_mut(&id) else { return false };
        if let (Datagram::Rtp(header), false) = (datagram, self.candidates.is_empty()) {
            // The source may have been seen before its call began.
            let key = (packet.source, packet.destination, header.ssrc, header.payload_type);
            if let Some(stream) = self.candidates.remove(&key) {
                call.adopt(stream, packet.source, packet.destination);
            }
        }
        if origin.passage == Some(Passage::Outbound) {
            call.outbound.insert(packet.source.ip());
        }
        let (from, to) = (packet.source, packet.destination);
        let hop = Hop { time_ns: packet.time_ns, from, to, via: None, length: packet.payload_length };
        call.add(hop, datagram, message.as_ref(), packet.payload, origin.interface);
        true
    }

    /// The call that a packet belongs to by its sockets.
    fn find(&self, packet: &Packet<'_>, links: &[Key]) -> Option<u64> {
        let (from, to) = (packet.source, packet.destination);
        let ends = [Key::Socket(from), Key::Socket(to), Key::Ends(to, from.ip()), Key::Ends(from, to.ip())];
        links.iter().chain(&ends).find_map(|key| self.keys.get(key).copied())
    }

    fn begin(&mut self, now_ns: i64) -> u64 {
        let id = self.next;
        self.next += 1;
        if self.running.len() >= MAX_CALLS {
            self.left_out += 1;
            return id;
        }
        self.running.insert(id, RunningCall::new(now_ns));
        id
    }

    /// Ties keys to a call; calls that share one become one. The call's id, none where it is not followed.
    fn link(&mut self, mut id: u64, links: &[Key]) -> Option<u64> {
        for key in links {
            match self.keys.get(key).copied() {
                Some(other) if other == id => {}
                Some(other) => id = self.merge(id, other),
                None => {
                    let call = self.running.get_mut(&id)?;
                    if call.keys.len() < MAX_PARTS {
                        call.keys.push(*key);
                        self.keys.insert(*key, id);
                    }
                }
            }
        }
        self.running.contains_key(&id).then_some(id)
    }

    /// Notes a socket that checks a peer; the first call that it does so for stays.
    fn note_checking(&mut self, id: u64, from: SocketAddr) {
        let key = Key::Checks(from);
        if let (Some(call), false) = (self.running.get_mut(&id), self.keys.contains_key(&key))
            && call.keys.len() < MAX_PARTS
        {
            call.keys.push(key);
            self.keys.insert(key, id);
        }
    }

    /// The older call takes the younger one in.
    fn merge(&mut self, a: u64, b: u64) -> u64 {
        let (older, younger) = (a.min(b), a.max(b));
        let Some(taken) = self.running.remove(&younger) else { return older };
        for key in &taken.keys {
            self.keys.insert(*key, older);
        }
        match self.running.get_mut(&older) {
            Some(call) => call.take_in(taken),
            None => _ = self.running.insert(older, taken),
        }
        older
    }

    /// Counts a packet of an RTP source that belongs to no call; the source begins one once it is believed.
    fn believe(&mut self, packet: &Packet<'_>, header: RtpHeader) -> Option<u64> {
        let (from, to) = (packet.source, packet.destination);
        let key = (from, to, header.ssrc, header.payload_type);
        if self.candidates.len() >= MAX_CANDIDATES && !self.candidates.contains_key(&key) {
            let oldest = packet.time_ns.saturating_sub(UDP_TIMEOUT_NS);
            self.candidates.retain(|_, stream| stream.last_ns() >= oldest);
            if self.candidates.len() >= MAX_CANDIDATES {
                self.candidates.clear();
            }
        }
        let stream = self.candidates.entry(key).or_insert_with(|| RunningStream::new(header, packet.time_ns));
        let is_over = packet.time_ns.saturating_sub(stream.last_ns()) > UDP_TIMEOUT_NS;
        if is_over {
            *stream = RunningStream::new(header, packet.time_ns);
        }
        let mut trial = stream.clone();
        trial.add(header, packet.time_ns, from, to, packet.payload_length);
        if !trial.is_believed() {
            *stream = trial;
            return None;
        }
        // The packet itself is added by the call.
        let stream = self.candidates.remove(&key)?;
        let id = self.begin(stream.first_ns());
        let id = self.link(id, &[Key::Ends(to, from.ip()), Key::Ends(from, to.ip())])?;
        self.running.get_mut(&id)?.adopt(stream, from, to);
        Some(id)
    }

    fn sweep(&mut self, now_ns: i64) {
        let swept_ns = *self.swept_ns.get_or_insert(now_ns);
        // Time may jump back: captures are merged, clocks are set.
        if now_ns.abs_diff(swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = Some(now_ns);
        let is_over = |call: &RunningCall| now_ns.saturating_sub(call.last_ns) > UDP_TIMEOUT_NS;
        let over: Vec<u64> =
            self.running.iter().filter(|(_, call)| is_over(call)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end(id));
        self.candidates.retain(|_, stream| now_ns.saturating_sub(stream.last_ns()) <= UDP_TIMEOUT_NS);
    }

    fn end(&mut self, id: u64) {
        let Some(call) = self.running.remove(&id) else { return };
        call.keys.iter().for_each(|key| _ = self.keys.remove(key));
        if !call.is_call() {
            return;
        }
        if self.calls.len() + self.ended.len() < MAX_CALLS {
            self.ended.push(call);
        } else {
            self.left_out += 1;
        }
    }

    /// The capture ended.
    pub(crate) fn end_file(&mut self, file: usize, zero_ns: i64) {
        let ids: Vec<u64> = self.running.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id));
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|call| call.first_ns);
        self.calls.extend(ended.into_iter().map(|call| call.report(file, zero_ns, self.given.as_ref())));
        self.candidates.clear();
        self.swept_ns = None;
    }

    /// All calls, and how many more there were.
    pub(crate) fn finish(self) -> (Vec<Call>, u64) {
        (self.calls, self.left_out)
    }
}

/// The STUN message of a datagram, undisguised.
fn message_of<'d>(datagram: &'d Datagram<'_>) -> Option<Message<'d>> {
    match datagram {
        Datagram::Stun(message) | Datagram::ClassicStun(message) => Some(*message),
        Datagram::Disguised(_, message) => Message::parse(message),
        _ => None,
    }
}

/// Keys that a message ties to its call; none unless it is a request that begins or extends one.
fn links(packet: &Packet<'_>, message: &Message<'_>) -> Vec<Key> {
    let (from, to) = (packet.source, packet.destination);
    match sign(message) {
        Sign::Request(Purpose::Check) => {
            let ends = [Key::Ends(to, from.ip()), Key::Ends(from, to.ip())];
            ends.into_iter().chain(message.attribute(USERNAME).map(ice_key)).collect()
        }
        Sign::Request(Purpose::Join | Purpose::Other) => vec![Key::Socket(from)],
        Sign::Request(Purpose::Ping) | Sign::Answer(_) | Sign::Release | Sign::None => Vec::new(),
    }
}

/// The same for both directions, in which the two parts of the name swap places (RFC 8445 section 7.2.2).
fn ice_key(username: &[u8]) -> Key {
    let mut parts: Vec<&[u8]> = username.split(|byte| *byte == b':').collect();
    parts.sort_unstable();
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    Key::Ice(hasher.finish())
}

/// Requests and answers by their types, since WhatsApp's answers to pings have the class of requests.
fn sign(message: &Message<'_>) -> Sign {
    match message.kind {
        0x0001 if is_check(message) => Sign::Request(Purpose::Check),
        0x0200 => Sign::Request(Purpose::Check),
        0x0003 => Sign::Request(Purpose::Join),
        0x0801 | 0x0804 => Sign::Request(Purpose::Ping),
        0x0001 | 0x0004 | 0x0008 | 0x0009 => Sign::Request(Purpose::Other),
        // Whether a Binding request was a check is known where it is looked for.
        0x0101 | 0x0300 => Sign::Answer(Purpose::Check),
        0x0103 => Sign::Answer(Purpose::Join),
        0x0802 | 0x0805 => Sign::Answer(Purpose::Ping),
        0x0104 | 0x0108 | 0x0109 => Sign::Answer(Purpose::Other),
        0x0800 => Sign::Release,
        _ => Sign::None,
    }
}

/// Checks carry credentials, requests to servers for the address that they see do not.
fn is_check(message: &Message<'_>) -> bool {
    let attributes = message.attributes();
    attributes.iter().any(|(kind, _)| [USERNAME, MESSAGE_INTEGRITY].contains(kind))
}

impl RunningCall {
    fn new(now_ns: i64) -> Self {
        Self {
            first_ns: now_ns,
            last_ns: now_ns,
            is_whatsapp: false,
            has_stun: false,
            keys: Vec::new(),
            flows: Vec::new(),
            by_ends: HashMap::new(),
            streams: Vec::new(),
            payload: Vec::new(),
            channels: HashMap::new(),
            outbound: BTreeSet::new(),
            left_out: 0,
        }
    }

    /// Servers were asked for an address and nothing followed: no call.
    fn is_call(&self) -> bool {
        let asked = |direction: &RunningDirection| direction.joins.sent > 0 || direction.checks.sent > 0;
        self.streams.iter().any(RunningStream::is_believed)
            || self.flows.iter().any(|flow| flow.directions.iter().any(asked))
    }

    fn add(
        &mut self,
        hop: Hop,
        datagram: &Datagram<'_>,
        message: Option<&Message<'_>>,
        bytes: &[u8],
        interface: Option<&str>,
    ) {
        self.last_ns = self.last_ns.max(hop.time_ns);
        self.first_ns = self.first_ns.min(hop.time_ns);
        let Some((index, direction)) = self.flow(hop, interface) else {
            self.left_out += 1;
            return;
        };
        let flow = &mut self.flows[index];
        flow.last_ns = flow.last_ns.max(hop.time_ns);
        flow.directions[direction].add(hop.length);
        match datagram {
            Datagram::Stun(_) | Datagram::ClassicStun(_) | Datagram::Disguised(..) => {
                flow.carries.insert("stun");
                self.has_stun = true;
                if let Some(message) = message {
                    self.message(hop, index, direction, message, interface);
                }
            }
            Datagram::Health => flow.directions[direction].pings.request(hop.time_ns, [0; 16]),
            Datagram::HealthAnswer => flow.directions[1 - direction].pings.answer(hop.time_ns, [0; 16]),
            Datagram::ChannelData(number, data) if hop.via.is_none() => {
                let length = hop.length.saturating_sub(4);
                let peer = |server, local| self.channels.get(&(server, local, *number)).copied();
                if let Some(peer) = peer(hop.to, hop.from) {
                    self.relayed(Hop { to: peer, via: Some(hop.to), length, ..hop }, data, interface);
                } else if let Some(peer) = peer(hop.from, hop.to) {
                    self.relayed(Hop { from: peer, via: Some(hop.from), length, ..hop }, data, interface);
                } else {
                    self.media(hop, index, direction, NO_STREAM, other_word(bytes));
                }
            }
            Datagram::Rtp(header) => {
                let stream = self.stream(*header, hop);
                self.media(hop, index, direction, stream, "rtp");
            }
            Datagram::Rtcp(_) => _ = flow.carries.insert("rtcp"),
            Datagram::Dtls(_) => _ = flow.carries.insert("dtls"),
            Datagram::ChannelData(..) | Datagram::Other => {
                self.media(hop, index, direction, NO_STREAM, other_word(bytes));
            }
        }
    }

    /// Index of the flow and of the direction; none if there are too many.
    fn flow(&mut self, hop: Hop, interface: Option<&str>) -> Option<(usize, usize)> {
        let ends = [hop.from, hop.to];
        if let Some(index) = self.by_ends.get(&(ends, hop.via)) {
            return Some((*index, 0));
        }
        if let Some(index) = self.by_ends.get(&([hop.to, hop.from], hop.via)) {
            return Some((*index, 1));
        }
        if self.flows.len() >= MAX_PARTS {
            return None;
        }
        self.by_ends.insert((ends, hop.via), self.flows.len());
        self.flows.push(RunningFlow {
            ends,
            via: hop.via,
            interface: interface.map(Text::from),
            first_ns: hop.time_ns,
            last_ns: hop.time_ns,
            directions: Default::default(),
            carries: BTreeSet::new(),
        });
        Some((self.flows.len() - 1, 0))
    }

    fn message(
        &mut self,
        hop: Hop,
        index: usize,
        direction: usize,
        message: &Message<'_>,
        interface: Option<&str>,
    ) {
        let (now_ns, transaction) = (hop.time_ns, message.transaction);
        let flow = &mut self.flows[index];
        match sign(message) {
            Sign::Request(purpose) => {
                flow.directions[direction].requests(purpose).request(now_ns, transaction);
            }
            Sign::Answer(purpose) => {
                let asked = &mut flow.directions[1 - direction];
                asked.requests(purpose).answer(now_ns, transaction);
                if purpose == Purpose::Check {
                    asked.requests(Purpose::Other).answer(now_ns, transaction);
                }
            }
            Sign::Release => flow.directions[direction].release(now_ns),
            Sign::None => {}
        }
        self.is_whatsapp |= (0x0800..=0x0805).contains(&message.kind)
            || (message.kind == 0x0003 && message.attribute(WHATSAPP_TOKEN).is_some());
        if hop.via.is_some() {
            return;
        }
        let peer = message.xor_address(XOR_PEER_ADDRESS);
        match (message.kind, peer, message.attribute(DATA), message.attribute(CHANNEL_NUMBER)) {
            (0x0016, Some(peer), Some(data), _) => {
                let length = data.len().try_into().unwrap_or(u32::MAX);
                self.relayed(Hop { to: peer, via: Some(hop.to), length, ..hop }, data, interface);
            }
            (0x0017, Some(peer), Some(data), _) => {
                let length = data.len().try_into().unwrap_or(u32::MAX);
                self.relayed(Hop { from: peer, via: Some(hop.from), length, ..hop }, data, interface);
            }
            (0x0009, Some(peer), _, Some([high, low, ..])) if self.channels.len() < MAX_CHANNELS => {
                self.channels.insert((hop.to, hop.from, u16::from_be_bytes([*high, *low])), peer);
            }
            _ => {}
        }
    }

    /// What a TURN server carries between this side and a peer.
    fn relayed(&mut self, hop: Hop, data: &[u8], interface: Option<&str>) {
        let datagram = Datagram::recognise(data, hop.length);
        let message = message_of(&datagram);
        self.add(hop, &datagram, message.as_ref(), data, interface);
    }

    fn stream(&mut self, header: RtpHeader, hop: Hop) -> u16 {
        let is_same =
            |stream: &RunningStream| (stream.ssrc, stream.payload_type) == (header.ssrc, header.payload_type);
        let index = match self.streams.iter().position(is_same) {
            Some(index) => index,
            None if self.streams.len() < MAX_PARTS => {
                self.streams.push(RunningStream::new(header, hop.time_ns));
                self.streams.len() - 1
            }
            None => {
                self.left_out += 1;
                return NO_STREAM;
            }
        };
        self.streams[index].add(header, hop.time_ns, hop.from, hop.to, hop.length);
        u16::try_from(index).unwrap_or(NO_STREAM)
    }

    fn media(&mut self, hop: Hop, index: usize, direction: usize, stream: u16, word: &'static str) {
        let flow = &mut self.flows[index];
        flow.carries.insert(word);
        flow.directions[direction].media(hop.time_ns);
        if self.payload.len() >= MAX_PAYLOAD {
            self.left_out += 1;
            return;
        }
        self.payload.push(Payload {
            time_ns: hop.time_ns,
            size: hop.length,
            flow: u16::try_from(index).unwrap_or(u16::MAX),
            stream,
            direction: u8::from(direction == 1),
        });
    }

    /// An RTP source that was followed before the call began.
    fn adopt(&mut self, stream: RunningStream, from: SocketAddr, to: SocketAddr) {
        let (first_ns, packets) = (stream.first_ns(), stream.packets());
        let hop = Hop { time_ns: first_ns, from, to, via: None, length: 0 };
        if let Some((index, direction)) = self.flow(hop, None) {
            let flow = &mut self.flows[index].directions[direction];
            flow.packets += packets;
            flow.media_packets += packets;
            flow.first_media_ns = Some(first_ns);
        }
        self.streams.push(stream);
    }

    /// Takes another call in.
    fn take_in(&mut self, other: Self) {
        self.first_ns = self.first_ns.min(other.first_ns);
        self.last_ns = self.last_ns.max(other.last_ns);
        self.is_whatsapp |= other.is_whatsapp;
        self.has_stun |= other.has_stun;
        self.keys.extend(other.keys);
        self.channels.extend(other.channels);
        self.outbound.extend(other.outbound);
        self.left_out += other.left_out;
        let (flows, streams) = (self.flows.len(), self.streams.len());
        for (ends, index) in other.by_ends {
            self.by_ends.entry(ends).or_insert(index + flows);
        }
        self.flows.extend(other.flows);
        self.streams.extend(other.streams);
        let moved = |index: u16, by: usize| u16::try_from(usize::from(index) + by).unwrap_or(NO_STREAM);
        self.payload.extend(other.payload.into_iter().map(|payload| Payload {
            flow: moved(payload.flow, flows),
            stream: if payload.stream == NO_STREAM { NO_STREAM } else { moved(payload.stream, streams) },
            ..payload
        }));
        self.payload.sort_by_key(|payload| payload.time_ns);
    }

    /// Addresses of this side.
    fn local(&self) -> BTreeSet<IpAddr> {
        if !self.outbound.is_empty() {
            return self.outbound.clone();
        }
        let asks = |direction: &RunningDirection| direction.joins.sent > 0 || direction.has_others();
        let senders = |is_wanted: &dyn Fn(&RunningDirection) -> bool| {
            let ends = self.flows.iter().flat_map(|flow| flow.ends.iter().zip(&flow.directions));
            ends.filter(|(_, direction)| is_wanted(direction))
                .map(|(end, _)| end.ip())
                .collect::<BTreeSet<_>>()
        };
        let asking = senders(&asks);
        if !asking.is_empty() {
            return asking;
        }
        let first = self.flows.iter().min_by_key(|flow| flow.first_ns);
        first.map(|flow| flow.ends[0].ip()).into_iter().collect()
    }

    fn report(self, file: usize, zero_ns: i64, given: Option<&GivenRun>) -> Call {
        let local = self.local();
        let is_local = |end: &SocketAddr| local.contains(&end.ip());
        let metrics = metrics::of_call(&self, &is_local, given);
        let mut flows: Vec<CallFlow> =
            self.flows.iter().map(|flow| flow.report(flow.up(is_local), zero_ns)).collect();
        flows.sort_by_key(|flow| (flow.first_ms, flow.local, flow.remote));
        let milestones = self.milestones(zero_ns);
        let answered = |flow: &&CallFlow| {
            let checked = flow.up.checks.as_ref().is_some_and(|checks| checks.answered > 0);
            flow.role == Role::Peer && (flow.down.media_packets > 0 || checked)
        };
        let remote = flows.iter().filter(answered).map(|flow| flow.remote.ip()).collect();
        let kind = match (self.is_whatsapp, self.has_stun) {
            (true, _) => CallKind::Whatsapp,
            (false, true) => CallKind::Ice,
            (false, false) => CallKind::Rtp,
        };
        let believed = self.streams.into_iter().filter(RunningStream::is_believed);
        let mut media: Vec<RtpStream> = believed.map(|stream| stream.report(zero_ns)).collect();
        media.sort_by_key(|stream| stream.first_ms);
        Call {
            file,
            kind,
            start_ms: Millis::from_ns(self.first_ns.saturating_sub(zero_ns)),
            duration_ms: Millis::from_ns(self.last_ns.saturating_sub(self.first_ns)),
            local,
            remote,
            milestones,
            flows,
            media,
            metrics,
            left_out: self.left_out,
        }
    }

    fn milestones(&self, zero_ns: i64) -> Milestones {
        let first = |is_relay: Option<bool>, of: &dyn Fn(&RunningDirection) -> Option<i64>| {
            let flows = self.flows.iter().filter(|flow| {
                let relayed = flow.role() == Role::Relay || flow.via.is_some();
                is_relay.is_none_or(|wanted| wanted == relayed) && flow.role() != Role::StunServer
            });
            let times = flows.flat_map(|flow| flow.directions.iter().filter_map(of));
            times.min().map(|ns| Millis::from_ns(ns.saturating_sub(zero_ns)))
        };
        let first_answer = |requests: &flow::RunningRequests| requests.answers.first().map(|(at, _)| *at);
        Milestones {
            first_join_ms: first(None, &|direction| direction.joins.times.first().copied()),
            first_join_answer_ms: first(None, &|direction| first_answer(&direction.joins)),
            first_relay_media_ms: first(Some(true), &|direction| direction.first_media_ns),
            first_check_ms: first(Some(false), &|direction| direction.checks.times.first().copied()),
            first_check_answer_ms: first(Some(false), &|direction| first_answer(&direction.checks)),
            first_direct_media_ms: first(Some(false), &|direction| direction.first_media_ns),
            first_release_ms: first(None, &|direction| direction.first_release_ns),
        }
    }
}

/// QUIC where it can be told.
fn other_word(bytes: &[u8]) -> &'static str {
    match bytes.first() {
        Some(0x40..=0x7f) => "quic",
        Some(_) if quic::is_long_header(bytes) => "quic",
        _ => "other",
    }
}
