//! quiche: one path carries data at a time, and the client says which by migrating (RFC 9000 section 9).
//!
//! Paths in reserve are validated in advance, so that a migration costs no round trip. quiche has no word for "this
//! path is over", but a client that gives one up retires the connection ID that it used there (RFC 9000 section
//! 5.1.2), which the server takes for it. A server chooses nothing; it follows.
//!
//! What was in flight on a path when the connection leaves it is never sent again by quiche 0.30.
//! [`EngineEvent::Migrated`] says when that happens, and whoever wrote it tells it again on another stream.
//!
//! A client that lost its only path goes on over one that is not validated yet. quiche pads every packet there, so that
//! ten of them fill the initial congestion window (RFC 9002 section 7.2): a fast call loses a part of what it sends until
//! the path is validated. What answers a path challenge is dropped there, too, and a server hears nothing more of its
//! question; it asks again for as long as something arrives.
//!
//! quiche reads the clock itself: the times that are handed in only decide when it is asked, so it cannot run in
//! virtual time. It answers neither unknown versions nor packets of connections that are gone (no version negotiation,
//! no stateless reset): no stranger gets past ICE to here.

mod paths;
mod slots;
mod tls;

use super::{
    Capabilities, CloseReason, Engine, EngineError, EngineEvent, EnginePath, EngineTransmit, Link, OpenError,
    PathFigures, Stream, Use, outbox::Outbox,
};
use crate::{Fingerprint, Identity, evidence::Collector, identity};
use boring::ssl::SslContextBuilder;
use quiche::{
    Config, Connection, ConnectionError, ConnectionId, Error, Header, PROTOCOL_VERSION, PathStats, Shutdown,
    Type,
};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use slots::{Counts, PATHS, Place, REMOTE, Slots};
use std::{
    cell::Cell,
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

const NAME: &str = "quiche 0.30";
/// Of our connection IDs, in bytes.
const ID_LENGTH: usize = 8;
/// UDP payload that fits IPv6's minimum MTU of 1280 bytes (RFC 8200 section 5), which cellular networks come close to.
const MAX_PAYLOAD: usize = 1232;
/// Smallest UDP payload with a client's Initial packet (RFC 9000 section 14.1).
const MIN_INITIAL: usize = 1200;
/// Of each stream; the same as noq's.
const STREAM_WINDOW: u64 = 2 * 1024 * 1024;
/// Of all streams together. A MAX_DATA frame that is lost with a path is not sent again, so none is ever needed: the
/// windows of the streams bound what a peer can make us hold.
const CONNECTION_WINDOW: u64 = 1 << 40;
/// Of each end's streams, at once. Higher than needed, because a MAX_STREAMS frame can be lost for good, too.
const STREAMS: u64 = 128;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Datagrams of the application that wait to be sent: more than the fastest call sends within their lifetime.
const DATAGRAM_QUEUE: usize = 512;
/// Datagrams in one segmentation-offload batch.
const BATCH: usize = 16;
/// Bytes of a stream that are handed on at once.
const READ: usize = 64 * 1024;

/// The engine of one peer.
pub(crate) struct QuicheEngine {
    config: Config,
    is_server: bool,
    rng: ChaCha8Rng,
    evidence: Collector,
    live: Option<Live>,
    events: VecDeque<EngineEvent>,
    replaceable: bool,
}

/// The connection and what belongs to it.
struct Live {
    connection: Connection,
    slots: Slots,
    /// Where quiche sends.
    active: Place,
    /// What a client of ours sends its Initial packets to before it knows a connection ID of ours.
    original: Vec<u8>,
    /// Connection IDs of ours that were taken back. Packets to them are late ones, on which quiche would end the
    /// connection.
    retired: BTreeSet<Vec<u8>>,
    connected: bool,
    /// The end was told, or is our own doing.
    closed: bool,
    next_stream: u64,
    outbox: Outbox,
    /// Streams that took less than they were given.
    full: BTreeSet<u64>,
    /// A packet that goes elsewhere than those before it.
    stash: Option<(Link, Vec<u8>)>,
}

impl QuicheEngine {
    pub(crate) fn client(
        pin: Fingerprint,
        seed: [u8; 32],
        evidence: &Collector,
    ) -> Result<Self, EngineError> {
        Self::new(tls::client(pin)?, false, seed, evidence)
    }

    pub(crate) fn server(
        identity: &Identity,
        seed: [u8; 32],
        evidence: &Collector,
    ) -> Result<Self, EngineError> {
        Self::new(tls::server(identity)?, true, seed, evidence)
    }

    fn new(
        tls: SslContextBuilder,
        is_server: bool,
        seed: [u8; 32],
        evidence: &Collector,
    ) -> Result<Self, EngineError> {
        Ok(Self {
            config: config(tls).map_err(|error| EngineError(error.to_string()))?,
            is_server,
            rng: ChaCha8Rng::from_seed(seed),
            evidence: evidence.clone(),
            live: None,
            events: VecDeque::new(),
            replaceable: false,
        })
    }

    fn new_id(&mut self) -> ConnectionId<'static> {
        ConnectionId::from_vec(self.rng.random::<[u8; ID_LENGTH]>().to_vec())
    }

    fn accept(&mut self, link: Link, initial: &Header<'_>) -> Result<(), Error> {
        let id = self.new_id();
        let connection = quiche::accept(&id, None, Place::FIRST.local(), REMOTE, &mut self.config)?;
        self.live = Some(self.observe(Live::new(connection, link, initial.dcid.to_vec(), true)));
        Ok(())
    }

    fn observe(&self, mut live: Live) -> Live {
        if let Some(secrets) = self.evidence.secrets() {
            live.connection.set_keylog(Box::new(secrets));
        }
        if let Some(trace) = self.evidence.trace() {
            live.connection.set_qlog(Box::new(trace), "iceperf".into(), NAME.into());
        }
        live
    }

    /// Whether an Initial packet begins a connection. In silence if not: see [`Engine::set_replaceable`].
    fn is_welcome(&self, header: &Header<'_>, length: usize) -> bool {
        let taken = self.live.as_ref().is_some_and(|live| live.connected && !live.closed);
        self.is_server
            && header.ty == Type::Initial
            && header.version == PROTOCOL_VERSION
            && length >= MIN_INITIAL
            && (!taken || self.replaceable)
    }

    fn pump(&mut self) {
        if let Some(live) = &mut self.live {
            live.pump(self.is_server, &mut self.rng, &mut self.events);
        }
    }
}

impl Engine for QuicheEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities { engine: NAME, multipath: false, server_chooses: false }
    }

    fn set_replaceable(&mut self, replaceable: bool) {
        self.replaceable = replaceable;
    }

    fn connect(&mut self, _now: Instant, link: Link) -> Result<(), OpenError> {
        if self.is_server {
            return Err(OpenError("only a client connects".into()));
        }
        let id = self.new_id();
        let connection =
            quiche::connect(Some("iceperf"), &id, Place::FIRST.local(), REMOTE, &mut self.config)
                .map_err(|error| OpenError(error.to_string()))?;
        self.live = Some(self.observe(Live::new(connection, link, vec![], false)));
        Ok(())
    }

    fn handle_datagram(&mut self, now: Instant, link: Link, _ecn: Option<u8>, datagram: &[u8]) -> bool {
        let mut bytes = datagram.to_vec();
        let Ok(header) = Header::from_slice(&mut bytes, ID_LENGTH) else { return false };
        let ours = self.live.as_ref().map_or(Ours::No, |live| live.owns(&header.dcid, self.is_server));
        match ours {
            Ours::Yes => {}
            Ours::Retired => return true,
            Ours::No if header.ty != Type::Initial => return false,
            Ours::No if !self.is_welcome(&header, datagram.len()) => return self.is_server,
            Ours::No => {
                if let Err(error) = self.accept(link, &header) {
                    tracing::debug!(%error, "an Initial packet was not taken");
                    return false;
                }
            }
        }
        let id = header.dcid.to_vec();
        if let Some(live) = &mut self.live {
            live.take_in(now, link, id, &mut bytes, self.is_server, &mut self.events);
        }
        self.pump();
        true
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(live) = &mut self.live
            && live.connection.timeout_instant().is_some_and(|at| at <= now)
        {
            live.connection.on_timeout();
        }
        if let Some(live) = &mut self.live {
            live.validate_again(now, self.is_server);
        }
        self.pump();
    }

    fn deadline(&self) -> Option<Instant> {
        let live = self.live.as_ref()?;
        live.connection.timeout_instant().into_iter().chain(live.next_validation()).min()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<EngineTransmit> {
        let live = self.live.as_mut()?;
        live.supply_datagrams(now, &mut self.events);
        live.batch()
    }

    fn poll_event(&mut self) -> Option<EngineEvent> {
        if self.events.is_empty() {
            self.pump();
        }
        self.events.pop_front()
    }

    fn open_path(&mut self, now: Instant, link: Link, _usage: Use) -> Result<EnginePath, OpenError> {
        let live = self.live.as_mut().ok_or_else(|| OpenError("not connected".into()))?;
        live.open(now, link).map_err(|error| OpenError(error.to_string()))
    }

    fn set_use(&mut self, path: EnginePath, usage: Use) {
        if let Some(live) = &mut self.live
            && usage == Use::Active
            && !self.is_server
        {
            live.migrate(path);
        }
    }

    fn close_path(&mut self, _now: Instant, path: EnginePath) -> bool {
        let is_server = self.is_server;
        self.live.as_mut().is_none_or(|live| live.close_path(path, is_server))
    }

    fn send_datagram(&mut self, now: Instant, bytes: Vec<u8>) -> bool {
        let Some(live) = &mut self.live else { return false };
        let fits = live.connection.dgram_max_writable_len().is_some_and(|limit| bytes.len() <= limit);
        if fits {
            live.outbox.push(now, bytes);
            live.supply_datagrams(now, &mut self.events);
        }
        fits
    }

    fn open_stream(&mut self) -> Option<Stream> {
        let live = self.live.as_mut()?;
        if !live.connection.is_established() || live.connection.peer_streams_left_uni() == 0 {
            return None;
        }
        let id = live.next_stream;
        // quiche makes a stream with its first word only; without one, the next would get the same number.
        // Not incremental: the oldest chunk first, whole, rather than a little of each.
        live.connection.stream_priority(id, 127, false).ok()?;
        live.next_stream += 4;
        Some(Stream(id))
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        self.live.as_mut().map_or(0, |live| live.write(stream.0, bytes))
    }

    fn reset(&mut self, stream: Stream) {
        if let Some(live) = &mut self.live {
            live.full.remove(&stream.0);
            // An error says that the stream is over already.
            let _ = live.connection.stream_shutdown(stream.0, Shutdown::Write, 0);
        }
    }

    fn finish(&mut self, stream: Stream) {
        if let Some(live) = &mut self.live
            && let Err(error) = live.connection.stream_send(stream.0, &[], true)
        {
            tracing::debug!(?stream, %error, "stream not finished");
        }
    }

    fn figures(&mut self, path: EnginePath) -> Option<PathFigures> {
        self.live.as_ref()?.figures(path)
    }

    fn export(&mut self, label: &[u8]) -> Option<[u8; 32]> {
        let live = self.live.as_mut().filter(|live| live.connection.is_established())?;
        let mut output = [0; 32];
        let label = std::str::from_utf8(label).ok()?;
        live.connection.as_mut().export_keying_material(&mut output, label, Some(&[])).ok()?;
        Some(output)
    }

    fn close(&mut self, _now: Instant, code: u64, reason: &str) {
        if let Some(live) = &mut self.live {
            live.closed = true;
            // An error says that it is closed already.
            let _ = live.connection.close(true, code, reason.as_bytes());
        }
    }

    /// quiche sends it only where the congestion window has room, and drains from then on.
    fn is_closing(&self) -> bool {
        self.live.as_ref().is_some_and(|live| {
            let connection = &live.connection;
            connection.local_error().is_some() && !connection.is_draining() && !connection.is_closed()
        })
    }
}

/// Whether a packet is for the connection that there is.
enum Ours {
    Yes,
    Retired,
    No,
}

impl Live {
    fn new(connection: Connection, link: Link, original: Vec<u8>, is_server: bool) -> Self {
        Self {
            connection,
            slots: Slots::new(link),
            active: Place::FIRST,
            original,
            retired: BTreeSet::new(),
            connected: false,
            closed: false,
            // RFC 9000 section 2.1: unidirectional, of the client (2) or the server (3).
            next_stream: if is_server { 3 } else { 2 },
            outbox: Outbox::default(),
            full: BTreeSet::new(),
            stash: None,
        }
    }

    fn owns(&self, id: &[u8], is_server: bool) -> Ours {
        if self.connection.source_ids().any(|ours| ours.as_ref() == id) || (is_server && self.original == id)
        {
            Ours::Yes
        } else if self.retired.contains(id) {
            Ours::Retired
        } else {
            Ours::No
        }
    }

    /// Datagrams carry no path; those that come out right after a UDP datagram went in came with it.
    pub(super) fn take_datagrams(&mut self, link: Link, out: &mut VecDeque<EngineEvent>) {
        let mut buffer = [0; MAX_PAYLOAD + 512];
        while let Ok(length) = self.connection.dgram_recv(&mut buffer) {
            out.push_back(EngineEvent::Datagram { link: Some(link), bytes: buffer[..length].to_vec() });
        }
    }

    fn pump(&mut self, is_server: bool, rng: &mut ChaCha8Rng, out: &mut VecDeque<EngineEvent>) {
        if !self.connected && self.connection.is_established() && !self.closed {
            self.connected = true;
            self.tell_connected(is_server, out);
        }
        if self.connected {
            self.supply_ids(rng);
            self.tell_paths(is_server, out);
            self.read_streams(out);
            self.tell_writable(out);
        }
        self.tell_end(out);
    }

    fn tell_connected(&mut self, is_server: bool, out: &mut VecDeque<EngineEvent>) {
        let Some(first) = self.slots.get(Place::FIRST) else { return };
        let (path, link) = (first.path, first.link);
        out.push_back(EngineEvent::Connected { path, link, multipath: false });
        if is_server {
            out.push_back(EngineEvent::RemoteUse { path, usage: Use::Active });
        }
    }

    /// The other end needs one for every path (RFC 9000 section 9.5), ahead of time.
    fn supply_ids(&mut self, rng: &mut ChaCha8Rng) {
        while self.connection.scids_left() > 0 {
            let id = ConnectionId::from_vec(rng.random::<[u8; ID_LENGTH]>().to_vec());
            if self.connection.new_scid(&id, rng.random(), false).is_err() {
                break;
            }
        }
    }

    fn read_streams(&mut self, out: &mut VecDeque<EngineEvent>) {
        for id in self.connection.readable() {
            let stream = Stream(id);
            loop {
                let mut bytes = vec![0; READ];
                match self.connection.stream_recv(id, &mut bytes) {
                    Ok((length, fin)) => {
                        bytes.truncate(length);
                        out.push_back(EngineEvent::StreamData { stream, bytes, fin });
                        if fin {
                            break;
                        }
                    }
                    Err(Error::StreamReset(_)) => {
                        out.push_back(EngineEvent::StreamReset { stream });
                        break;
                    }
                    Err(_) => break,
                }
            }
        }
    }

    fn tell_writable(&mut self, out: &mut VecDeque<EngineEvent>) {
        let connection = &mut self.connection;
        self.full.retain(|&id| match connection.stream_writable(id, 1) {
            Ok(false) => true,
            Ok(true) => {
                out.push_back(EngineEvent::StreamWritable { stream: Stream(id) });
                false
            }
            // The other end wants no more of it.
            Err(_) => false,
        });
    }

    fn tell_end(&mut self, out: &mut VecDeque<EngineEvent>) {
        if self.closed {
            return;
        }
        let reason = if let Some(error) = self.connection.peer_error() {
            close_reason(error, true)
        } else if self.connection.is_timed_out() {
            CloseReason::TimedOut
        } else if let Some(error) = self.connection.local_error() {
            close_reason(error, false)
        } else if self.connection.is_closed() {
            CloseReason::Failed("no path was left".into())
        } else {
            return;
        };
        self.closed = true;
        out.push_back(EngineEvent::Closed(reason));
    }

    /// Takes back the datagrams that are too old, and hands quiche the others.
    fn supply_datagrams(&mut self, now: Instant, out: &mut VecDeque<EngineEvent>) {
        self.outbox.retain_held(self.connection.dgram_send_queue_byte_size());
        let expired = self.outbox.expire(now);
        if expired.handed_over > 0 {
            let left = Cell::new(expired.handed_over);
            self.connection.dgram_purge_outgoing(|_| {
                let is_expired = left.get() > 0;
                left.set(left.get().saturating_sub(1));
                is_expired
            });
        }
        out.extend(expired.datagrams.into_iter().map(|bytes| EngineEvent::DatagramExpired { bytes }));
        while let Some(next) = self.outbox.next() {
            match self.connection.dgram_send(next) {
                Ok(()) => self.outbox.hand_over(),
                Err(Error::Done) => break,
                Err(_) => self.outbox.discard_next(),
            }
        }
    }

    fn write(&mut self, id: u64, bytes: &[u8]) -> usize {
        let taken = match self.connection.stream_send(id, bytes, false) {
            Ok(taken) => taken,
            Err(Error::Done) => 0,
            Err(error) => {
                tracing::debug!(id, %error, "nothing written");
                return 0;
            }
        };
        if taken < bytes.len() {
            self.full.insert(id);
        }
        taken
    }

    /// Packets to one destination, as many as one call of the kernel takes.
    fn batch(&mut self) -> Option<EngineTransmit> {
        let (link, mut bytes) = self.stash.take().or_else(|| self.packet())?;
        let size = bytes.len();
        let mut last = size;
        for _ in 1..BATCH {
            if last < size {
                break;
            }
            match self.packet() {
                Some((to, packet)) if to == link && packet.len() <= size => {
                    last = packet.len();
                    bytes.extend(packet);
                }
                other => {
                    self.stash = other;
                    break;
                }
            }
        }
        let segment_size = (bytes.len() > size).then_some(size);
        Some(EngineTransmit { link, ecn: None, segment_size, bytes })
    }

    /// quiche says when a packet may leave, but only its BBR has a pacer; with CUBIC that is always at once.
    fn packet(&mut self) -> Option<(Link, Vec<u8>)> {
        let mut bytes = vec![0; MAX_PAYLOAD];
        match self.connection.send(&mut bytes) {
            Ok((length, info)) => {
                bytes.truncate(length);
                let slot = Place::of(info.from).and_then(|place| self.slots.get(place))?;
                Some((slot.link, bytes))
            }
            Err(Error::Done) => None,
            Err(error) => {
                tracing::debug!(%error, "nothing sent");
                None
            }
        }
    }

    fn stats(&self, place: Place) -> Option<PathStats> {
        self.connection.path_stats().find(|path| path.local_addr == place.local())
    }

    fn counts(&self, place: Place) -> Counts {
        self.stats(place).map_or(Counts::default(), |stats| Counts {
            bytes_sent: stats.sent_bytes,
            bytes_received: stats.recv_bytes,
            packets_sent: stats.sent as u64,
            packets_lost: stats.lost as u64,
        })
    }

    fn figures(&self, path: EnginePath) -> Option<PathFigures> {
        let place = self.slots.living(path)?;
        let (stats, before) = (self.stats(place)?, self.slots.get(place)?.before);
        let counts = self.counts(place);
        Some(PathFigures {
            bytes_sent: counts.bytes_sent - before.bytes_sent,
            bytes_received: counts.bytes_received - before.bytes_received,
            rtt: stats.rtt,
            packets_sent: counts.packets_sent - before.packets_sent,
            packets_lost: counts.packets_lost - before.packets_lost,
            congestion_window: stats.cwnd as u64,
        })
    }
}

fn config(tls: SslContextBuilder) -> Result<Config, Error> {
    let mut config = Config::with_boring_ssl_ctx_builder(PROTOCOL_VERSION, tls)?;
    config.set_application_protos(&[identity::ALPN])?;
    // One key share, so that the first flight is one datagram: the default adds a post-quantum one of 1.2 kB.
    config.set_curves_list("X25519")?;
    config.log_keys();
    // RFC 9443 section 3 needs the fixed bit; quiche has it always, whatever this says about other bits.
    config.grease(false);
    config.set_max_idle_timeout(IDLE_TIMEOUT.as_millis() as u64);
    config.set_max_send_udp_payload_size(MAX_PAYLOAD);
    config.set_active_connection_id_limit(PATHS as u64);
    config.set_initial_max_data(CONNECTION_WINDOW);
    config.set_max_connection_window(CONNECTION_WINDOW);
    config.set_initial_max_stream_data_uni(STREAM_WINDOW);
    config.set_max_stream_window(STREAM_WINDOW);
    config.set_initial_max_streams_uni(STREAMS);
    config.enable_dgram(true, DATAGRAM_QUEUE, DATAGRAM_QUEUE);
    Ok(config)
}

fn close_reason(error: &ConnectionError, remote: bool) -> CloseReason {
    let reason = String::from_utf8_lossy(&error.reason).into_owned();
    let code = error.error_code;
    match (remote, error.is_app) {
        (true, true) => CloseReason::Remote { code, reason },
        // A TLS alert (RFC 9001 section 4.8), ours or theirs.
        _ if (0x100..0x200).contains(&code) => CloseReason::Refused(format!("TLS alert {}", code - 0x100)),
        (true, false) => CloseReason::Failed(format!("the other peer's QUIC error {code:#x} {reason}")),
        (false, _) => CloseReason::Failed(format!("QUIC error {code:#x} {reason}")),
    }
}
