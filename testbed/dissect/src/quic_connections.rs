//! QUIC connections by their ids: which addresses each was seen between, and whether it moved.
//!
//! Long headers show ids and their lengths. A short header has the destination's id without a length, so that its length is
//! the one of that end's long headers. A connection that goes on between other addresses is recognised by an id that was
//! seen before, as after a NAT has rebound; a client that migrates takes a fresh id (RFC 9000 section 9.5), and is not. Left
//! out: connections whose handshake is not in the capture, and multipath's ids, which are encrypted.

use crate::{flow::UDP_TIMEOUT_NS, ip::Packet, names::quic::LongHeader};
use record::Millis;
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
};

/// Connections that are followed at the same time, and kept for the report; more are counted.
const MAX_CONNECTIONS: usize = 10_000;
/// Ids of one end, and ways of one connection, that are kept.
const MAX_PARTS: usize = 64;
/// RFC 9000 section 17.2.
const MAX_ID: usize = 20;
const SWEEP_NS: u64 = 10_000_000_000;

/// One connection. Times count from the first frame of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuicConnection {
    /// Index of the capture in `files`.
    pub file: usize,
    /// Version of the newest long header, eight hexadecimal digits.
    pub version: String,
    /// Destination id of the client's first packet, in hexadecimal.
    pub original_id: String,
    /// Ids that packets to the client carried.
    pub client_ids: BTreeSet<String>,
    /// Ids that packets to the server carried.
    pub server_ids: BTreeSet<String>,
    /// The server asked for a Retry.
    pub retry: bool,
    /// Addresses, in order of the first packet; more than one if it moved.
    pub ways: Vec<QuicWay>,
}

/// Packets of a connection between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct QuicWay {
    /// The client's address.
    pub client: SocketAddr,
    /// The server's address.
    pub server: SocketAddr,
    /// First datagram.
    pub first_ms: Millis,
    /// Last datagram.
    pub last_ms: Millis,
    /// Datagrams from the client.
    pub up: u64,
    /// Datagrams from the server.
    pub down: u64,
}

#[derive(Debug)]
struct Running {
    version: u32,
    original_id: Vec<u8>,
    /// Of client and server.
    ids: [BTreeSet<Vec<u8>>; 2],
    /// Length of the ids of client and server, once their long headers showed it.
    lengths: [Option<usize>; 2],
    retry: bool,
    /// Times count from 1970.
    ways: Vec<QuicWay>,
    first_ns: i64,
    last_ns: i64,
}

/// Follows connections.
#[derive(Debug, Default)]
pub(crate) struct QuicCollector {
    running: BTreeMap<u64, Running>,
    next: u64,
    by_ends: HashMap<(SocketAddr, SocketAddr), u64>,
    by_id: HashMap<Vec<u8>, u64>,
    /// How many followed connections have ids of a length, so that short headers are looked up by these alone.
    lengths: BTreeMap<usize, u64>,
    swept_ns: Option<i64>,
    ended: Vec<Running>,
    connections: Vec<QuicConnection>,
    left_out: u64,
}

impl QuicCollector {
    /// Adds a datagram if it belongs to a connection.
    pub(crate) fn add(&mut self, packet: &Packet<'_>) {
        match packet.payload.first() {
            Some(0x80..) => {
                self.sweep(packet.time_ns);
                self.long(packet);
            }
            // RFC 9443: the fixed bit is set.
            Some(0x40..=0x7f) if !self.running.is_empty() => {
                self.sweep(packet.time_ns);
                self.short(packet);
            }
            _ => {}
        }
    }

    fn long(&mut self, packet: &Packet<'_>) {
        let Some(header) = LongHeader::parse(packet.payload) else { return };
        if header.version != 0 && !header.is_known() {
            return;
        }
        let (destination_id, source_id) = (header.destination_id, header.source_id);
        let known = self.find(packet.source, packet.destination, destination_id);
        let id = match known {
            Some(id) => id,
            // A server's first packet of a connection that is not in the capture, or Version Negotiation.
            None if header.version == 0 || destination_id.is_empty() => return,
            None => match self.begin(packet, &header) {
                Some(id) => id,
                None => return,
            },
        };
        let Some(connection) = self.running.get_mut(&id) else { return };
        let to_server = connection.way(packet);
        if header.version != 0 {
            connection.version = header.version;
        }
        connection.retry |= header.is_retry(packet.payload[0]);
        let (sender, receiver) = if to_server { (0, 1) } else { (1, 0) };
        let mut new = Vec::new();
        // The first id that a client sends to is not the server's own.
        if destination_id != connection.original_id {
            new.extend(connection.note(receiver, destination_id));
        }
        new.extend(connection.note(sender, source_id));
        if connection.lengths[sender].is_none() {
            connection.lengths[sender] = Some(source_id.len());
            *self.lengths.entry(source_id.len()).or_default() += 1;
        }
        new.into_iter().for_each(|bytes| _ = self.by_id.insert(bytes, id));
        self.by_ends.insert((packet.source, packet.destination), id);
        self.by_ends.insert((packet.destination, packet.source), id);
    }

    fn short(&mut self, packet: &Packet<'_>) {
        let bytes = &packet.payload[1..];
        let ends = (packet.source, packet.destination);
        let id = match self.by_ends.get(&ends) {
            Some(id) => *id,
            None => {
                let lengths = self.lengths.keys().rev().filter(|length| **length > 0);
                let ids = lengths.filter_map(|length| bytes.get(..*length));
                let Some(id) = ids.filter_map(|bytes| self.by_id.get(bytes)).next().copied() else { return };
                id
            }
        };
        let Some(connection) = self.running.get_mut(&id) else { return };
        let to_server = connection.way(packet);
        let receiver = usize::from(to_server);
        let length = connection.lengths[receiver].unwrap_or_default();
        let new = bytes.get(..length).and_then(|bytes| connection.note(receiver, bytes));
        new.into_iter().for_each(|bytes| _ = self.by_id.insert(bytes, id));
        self.by_ends.insert(ends, id);
        self.by_ends.insert((packet.destination, packet.source), id);
    }

    fn find(&self, from: SocketAddr, to: SocketAddr, destination_id: &[u8]) -> Option<u64> {
        let by_id = self.by_id.get(destination_id).filter(|_| !destination_id.is_empty());
        by_id.or_else(|| self.by_ends.get(&(from, to))).copied()
    }

    fn begin(&mut self, packet: &Packet<'_>, header: &LongHeader<'_>) -> Option<u64> {
        if self.running.len() >= MAX_CONNECTIONS {
            self.left_out += 1;
            return None;
        }
        let id = self.next;
        self.next += 1;
        let original_id = header.destination_id.to_vec();
        self.by_id.insert(original_id.clone(), id);
        self.running.insert(
            id,
            Running {
                version: header.version,
                original_id,
                ids: Default::default(),
                lengths: [None; 2],
                retry: false,
                ways: vec![QuicWay {
                    client: packet.source,
                    server: packet.destination,
                    first_ms: Millis::from_ns(packet.time_ns),
                    last_ms: Millis::from_ns(packet.time_ns),
                    up: 0,
                    down: 0,
                }],
                first_ns: packet.time_ns,
                last_ns: packet.time_ns,
            },
        );
        Some(id)
    }

    fn sweep(&mut self, now_ns: i64) {
        let swept_ns = *self.swept_ns.get_or_insert(now_ns);
        // Time may jump back: captures are merged, clocks are set.
        if now_ns.abs_diff(swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = Some(now_ns);
        let is_over = |one: &Running| now_ns.saturating_sub(one.last_ns) > UDP_TIMEOUT_NS;
        let over: Vec<u64> = self.running.iter().filter(|(_, one)| is_over(one)).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.end(id));
    }

    fn end(&mut self, id: u64) {
        let Some(connection) = self.running.remove(&id) else { return };
        let is_own = |map: Option<&u64>| map == Some(&id);
        for bytes in connection.ids.iter().flatten().chain([&connection.original_id]) {
            if is_own(self.by_id.get(bytes)) {
                self.by_id.remove(bytes);
            }
        }
        for way in &connection.ways {
            for ends in [(way.client, way.server), (way.server, way.client)] {
                if is_own(self.by_ends.get(&ends)) {
                    self.by_ends.remove(&ends);
                }
            }
        }
        for length in connection.lengths.iter().flatten() {
            if let Some(count) = self.lengths.get_mut(length) {
                *count -= 1;
                if *count == 0 {
                    self.lengths.remove(length);
                }
            }
        }
        // One side alone may be anything that begins as a long header does.
        let is_answered = connection.ways.iter().any(|way| way.down > 0);
        if !is_answered {
            return;
        }
        match self.ended.len() + self.connections.len() < MAX_CONNECTIONS {
            true => self.ended.push(connection),
            false => self.left_out += 1,
        }
    }

    /// The capture ended.
    pub(crate) fn end_file(&mut self, file: usize, zero_ns: i64) {
        let ids: Vec<u64> = self.running.keys().copied().collect();
        ids.into_iter().for_each(|id| self.end(id));
        let mut ended = std::mem::take(&mut self.ended);
        ended.sort_by_key(|connection| connection.first_ns);
        self.connections.extend(ended.into_iter().map(|connection| connection.report(file, zero_ns)));
        self.by_ends.clear();
        self.by_id.clear();
        self.swept_ns = None;
    }

    /// All connections, and how many more there were.
    pub(crate) fn finish(self) -> (Vec<QuicConnection>, u64) {
        (self.connections, self.left_out)
    }
}

impl Running {
    /// Counts a datagram on its way, and returns whether it goes to the server.
    fn way(&mut self, packet: &Packet<'_>) -> bool {
        let (from, to) = (packet.source, packet.destination);
        self.last_ns = self.last_ns.max(packet.time_ns);
        let now = Millis::from_ns(packet.time_ns);
        let server = self.ways[0].server;
        let known =
            |way: &QuicWay| (way.client, way.server) == (from, to) || (way.client, way.server) == (to, from);
        let index = match self.ways.iter().position(known) {
            Some(index) => index,
            None => {
                // Servers stay where they are, but for a preferred address (RFC 9000 section 9.6).
                let to_server =
                    to == server || from != server && self.ways.iter().any(|way| way.client == from);
                let (client, server) = if to_server { (from, to) } else { (to, from) };
                if self.ways.len() >= MAX_PARTS {
                    return to_server;
                }
                self.ways.push(QuicWay { client, server, first_ms: now, last_ms: now, up: 0, down: 0 });
                self.ways.len() - 1
            }
        };
        let way = &mut self.ways[index];
        way.last_ms = now;
        let to_server = way.client == from;
        match to_server {
            true => way.up += 1,
            false => way.down += 1,
        }
        to_server
    }

    /// Notes an id of an end, 0 for the client; the id if it is new.
    fn note(&mut self, end: usize, bytes: &[u8]) -> Option<Vec<u8>> {
        let has_room = self.ids[end].len() < MAX_PARTS && (1..=MAX_ID).contains(&bytes.len());
        (has_room && self.ids[end].insert(bytes.to_vec())).then(|| bytes.to_vec())
    }

    fn report(self, file: usize, zero_ns: i64) -> QuicConnection {
        let hex = |bytes: &Vec<u8>| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let relative = |time: Millis| Millis::from_ns(time.as_ns().saturating_sub(zero_ns));
        let ways = self.ways.iter().map(|way| QuicWay {
            first_ms: relative(way.first_ms),
            last_ms: relative(way.last_ms),
            ..*way
        });
        QuicConnection {
            file,
            version: format!("{:08x}", self.version),
            original_id: hex(&self.original_id),
            client_ids: self.ids[0].iter().map(hex).collect(),
            server_ids: self.ids[1].iter().map(hex).collect(),
            retry: self.retry,
            ways: ways.collect(),
        }
    }
}
