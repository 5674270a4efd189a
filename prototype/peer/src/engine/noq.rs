//! noq-proto, driven directly: QUIC with several paths at once (RFC 10069).
//!
//! noq names the local end of a path by an IP address only. Two sockets may share one (same address on two
//! interfaces), so each socket gets an address of its own here that never leaves this file.

use super::{
    Capabilities, CloseReason, ClosedBy, Engine, EngineError, EngineEvent, EnginePath, EngineTransmit, Link,
    OpenError, PathFigures, Stream, Use, outbox::Outbox,
};
use crate::{Fingerprint, Identity, evidence::Collector, identity};
use bytes::{Bytes, BytesMut};
use ice::SocketId;
use noq_proto::{
    ClientConfig, ClosePathError, Connection, ConnectionError, ConnectionHandle, DatagramEvent, Dir,
    EcnCodepoint, Endpoint, EndpointConfig, Event, FourTuple, PathAbandonReason, PathEvent, PathId,
    PathStatus, QlogConfig, QlogFactory, ReadError, SendDatagramError, ServerConfig, StreamEvent, StreamId,
    Transmit, TransportConfig, TransportErrorCode, VarInt,
    crypto::rustls::{QuicClientConfig, QuicServerConfig},
};
use std::{
    collections::{BTreeMap, VecDeque},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

/// Of the connection's whole life in the worst case: noq grants a further path only for one that reached the other
/// end before it was closed.
const MAX_PATHS: u32 = 32;
/// Above some 2.4 MB noq's assembler can meet more gaps than it allows and end the connection.
const STREAM_WINDOW: u32 = 2 * 1024 * 1024;
/// Chunks of an object are a stream each; those that are under way fill the path.
const MAX_STREAMS: VarInt = VarInt::from_u32(256);
/// Bytes of datagrams that noq may hold, with what each of them costs beside its content: any one of ours, and no more than
/// one datagram on a path of the smallest MTU (RFC 9000 section 14), because a datagram of this size makes noq drop all
/// others. There is no other way to take one back.
const DATAGRAM_BUFFER: usize = 1088;
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
/// Datagrams in one segmentation-offload batch.
const BATCH: NonZeroUsize = NonZeroUsize::new(16).unwrap();

/// The engine of one peer.
pub(crate) struct NoqEngine {
    endpoint: Endpoint,
    client: Option<ClientConfig>,
    live: Option<Live>,
    /// Answers of the endpoint itself (version negotiation, stateless reset).
    responses: VecDeque<EngineTransmit>,
    events: VecDeque<EngineEvent>,
    replaceable: bool,
}

/// The connection and what belongs to it.
struct Live {
    handle: ConnectionHandle,
    connection: Connection,
    /// Of the first path, whose local address noq learns late or never.
    first: Link,
    /// Links of the paths that live.
    links: BTreeMap<PathId, Link>,
    /// Every path there was; its place is its number.
    numbers: Vec<PathId>,
    connected: bool,
    outbox: Outbox,
    /// Free bytes of noq's datagram queue when it is empty.
    empty_queue_space: usize,
}

impl NoqEngine {
    pub(crate) fn client(
        pin: Fingerprint,
        seed: [u8; 32],
        evidence: &Collector,
    ) -> Result<Self, EngineError> {
        let mut tls = identity::client_config(pin).map_err(|error| EngineError(error.to_string()))?;
        if let Some(key_log) = evidence.key_log() {
            tls.key_log = key_log;
        }
        let tls = QuicClientConfig::try_from(tls).map_err(|error| EngineError(error.to_string()))?;
        let mut config = ClientConfig::new(Arc::new(tls));
        config.transport_config(Arc::new(transport(evidence)));
        Ok(Self::new(seed, None, Some(config)))
    }

    pub(crate) fn server(
        identity: &Identity,
        seed: [u8; 32],
        evidence: &Collector,
    ) -> Result<Self, EngineError> {
        let mut tls = identity.server_config().map_err(|error| EngineError(error.to_string()))?;
        if let Some(key_log) = evidence.key_log() {
            tls.key_log = key_log;
        }
        let tls = QuicServerConfig::try_from(tls).map_err(|error| EngineError(error.to_string()))?;
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(transport(evidence)));
        // Clients move by opening paths; but a NAT may give a path another address, and then the path goes along.
        config.migration(true);
        Ok(Self::new(seed, Some(Arc::new(config)), None))
    }

    fn new(seed: [u8; 32], server: Option<Arc<ServerConfig>>, client: Option<ClientConfig>) -> Self {
        let reset_key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &seed);
        let mut config = EndpointConfig::new(Arc::new(reset_key));
        // RFC 9443 section 3: without the fixed bit, QUIC could not be told from STUN.
        config.grease_quic_bit(false).rng_seed(Some(seed));
        Self {
            endpoint: Endpoint::new(Arc::new(config), server, true),
            client,
            live: None,
            responses: VecDeque::new(),
            events: VecDeque::new(),
            replaceable: false,
        }
    }

    fn accept(&mut self, now: Instant, link: Link, incoming: noq_proto::Incoming) {
        let mut buffer = Vec::new();
        // A handshake that did not complete gives way, and so does a connection without a path: the client tries again.
        if self.live.as_ref().is_some_and(|live| live.connected) && !self.replaceable {
            // In silence: the client of this very connection may have lost its path before we know. It repeats its
            // Initial, and is taken once our path is found dead.
            self.endpoint.ignore(incoming);
            return;
        }
        match self.endpoint.accept(incoming, now, &mut buffer, None) {
            Ok((handle, connection)) => self.live = Some(Live::new(handle, connection, link)),
            Err(error) => {
                if let Some(transmit) = error.response {
                    self.responses.push_back(response(link, transmit, buffer));
                }
            }
        }
    }

    fn send_stream<T>(
        &mut self,
        stream: Stream,
        act: impl FnOnce(noq_proto::SendStream<'_>) -> T,
    ) -> Option<T> {
        let id = StreamId::from(VarInt::from_u64(stream.0).ok()?);
        Some(act(self.live.as_mut()?.connection.send_stream(id)))
    }

    /// Moves events between endpoint and connection, and out, until neither has any.
    fn pump(&mut self) {
        let Some(live) = &mut self.live else { return };
        loop {
            while let Some(event) = live.connection.poll_endpoint_events() {
                if let Some(event) = self.endpoint.handle_event(live.handle, event) {
                    live.connection.handle_event(event);
                }
            }
            let Some(event) = live.connection.poll() else { break };
            live.translate(event, &mut self.events);
        }
    }
}

impl Engine for NoqEngine {
    fn capabilities(&self) -> Capabilities {
        Capabilities { engine: "noq-proto 1.4", multipath: true, server_chooses: true }
    }

    fn set_replaceable(&mut self, replaceable: bool) {
        self.replaceable = replaceable;
    }

    fn connect(&mut self, now: Instant, link: Link) -> Result<(), OpenError> {
        let config = self.client.clone().ok_or_else(|| OpenError("only a client connects".into()))?;
        let (handle, connection) = self
            .endpoint
            .connect(now, config, link.remote, "iceperf")
            .map_err(|error| OpenError(error.to_string()))?;
        self.live = Some(Live::new(handle, connection, link));
        Ok(())
    }

    fn handle_datagram(&mut self, now: Instant, link: Link, ecn: Option<u8>, datagram: &[u8]) -> bool {
        let mut buffer = Vec::new();
        let tuple = FourTuple::new(link.remote, Some(stand_in(link.socket, link.remote)));
        let ecn = ecn.and_then(EcnCodepoint::from_bits);
        match self.endpoint.handle(now, tuple, ecn, BytesMut::from(datagram), &mut buffer) {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some(live) = self.live.as_mut().filter(|live| live.handle == handle) {
                    live.connection.handle_event(event);
                    live.follow(link, &mut self.events);
                    live.take_datagrams(Some(link), &mut self.events);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(now, link, incoming),
            Some(DatagramEvent::Response(transmit)) => {
                self.responses.push_back(response(link, transmit, buffer));
            }
            None => return false,
        }
        self.pump();
        true
    }

    fn handle_timeout(&mut self, now: Instant) {
        if let Some(live) = &mut self.live
            && live.connection.poll_timeout().is_some_and(|at| at <= now)
        {
            live.connection.handle_timeout(now);
        }
        self.pump();
    }

    fn deadline(&self) -> Option<Instant> {
        self.live.as_ref()?.connection.poll_timeout()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<EngineTransmit> {
        if let Some(transmit) = self.responses.pop_front() {
            return Some(transmit);
        }
        let live = self.live.as_mut()?;
        live.supply_datagrams(now, &mut self.events);
        let mut bytes = Vec::new();
        let transmit = live.connection.poll_transmit(now, BATCH, &mut bytes)?;
        bytes.truncate(transmit.size);
        let socket = transmit.src_ip.and_then(socket_of).unwrap_or(live.first.socket);
        Some(EngineTransmit {
            link: Link { socket, remote: transmit.destination },
            ecn: transmit.ecn.map(|ecn| ecn as u8),
            segment_size: transmit.segment_size,
            bytes,
        })
    }

    fn poll_event(&mut self) -> Option<EngineEvent> {
        if self.events.is_empty() {
            self.pump();
        }
        self.events.pop_front()
    }

    fn open_path(&mut self, now: Instant, link: Link, usage: Use) -> Result<EnginePath, OpenError> {
        let live = self.live.as_mut().ok_or_else(|| OpenError("not connected".into()))?;
        let tuple = FourTuple::new(link.remote, Some(stand_in(link.socket, link.remote)));
        let id = live
            .connection
            .open_path(tuple, status(usage), now)
            .map_err(|error| OpenError(error.to_string()))?;
        live.links.insert(id, link);
        Ok(live.number(id))
    }

    fn set_use(&mut self, path: EnginePath, usage: Use) {
        if let Some(live) = &mut self.live
            && let id = live.id(path)
            && let Err(error) = live.connection.set_path_status(id, status(usage))
        {
            tracing::debug!(%path, ?usage, %error, "status not set");
        }
    }

    fn close_path(&mut self, now: Instant, path: EnginePath) -> bool {
        let Some(live) = &mut self.live else { return false };
        let id = live.id(path);
        match live.connection.close_path(now, id, TransportErrorCode::PATH_UNSTABLE_OR_POOR.into()) {
            Ok(()) | Err(ClosePathError::ClosedPath) => true,
            Err(_) => false,
        }
    }

    fn send_datagram(&mut self, now: Instant, bytes: Vec<u8>) -> bool {
        let Some(live) = &mut self.live else { return false };
        let limit = live.connection.datagrams().max_size().map(|size| size.min(DATAGRAM_BUFFER));
        let fits = limit.is_some_and(|limit| bytes.len() <= limit);
        if fits {
            live.outbox.push(now, bytes);
            live.supply_datagrams(now, &mut self.events);
        }
        fits
    }

    fn open_stream(&mut self) -> Option<Stream> {
        let id = self.live.as_mut()?.connection.streams().open(Dir::Uni)?;
        Some(Stream(id.into()))
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize {
        // Blocked, or over: nothing is taken.
        self.send_stream(stream, |mut stream| stream.write(bytes)).and_then(Result::ok).unwrap_or(0)
    }

    fn finish(&mut self, stream: Stream) {
        // One that is over already is finished enough.
        let _ = self.send_stream(stream, |mut stream| stream.finish());
    }

    fn reset(&mut self, stream: Stream) {
        // One that is over already needs no reset.
        let _ = self.send_stream(stream, |mut stream| stream.reset(VarInt::from_u32(0)));
    }

    fn figures(&mut self, path: EnginePath) -> Option<PathFigures> {
        let live = self.live.as_mut()?;
        let id = live.id(path);
        let stats = live.connection.path_stats(id)?;
        Some(PathFigures {
            bytes_sent: stats.udp_tx.bytes,
            bytes_received: stats.udp_rx.bytes,
            rtt: stats.rtt,
            packets_sent: stats.sent_packets,
            packets_lost: stats.lost_packets,
            congestion_window: stats.cwnd,
        })
    }

    fn export(&mut self, label: &[u8]) -> Option<[u8; 32]> {
        let mut output = [0; 32];
        let session = self.live.as_ref()?.connection.crypto_session();
        session.export_keying_material(&mut output, label, b"").ok()?;
        Some(output)
    }

    fn close(&mut self, now: Instant, code: u64, reason: &str) {
        if let Some(live) = &mut self.live {
            let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
            live.connection.close(now, code, Bytes::copy_from_slice(reason.as_bytes()));
        }
    }

    /// It leaves whatever the congestion window.
    fn is_closing(&self) -> bool {
        false
    }
}

impl Live {
    fn new(handle: ConnectionHandle, mut connection: Connection, first: Link) -> Self {
        let empty_queue_space = connection.datagrams().send_buffer_space();
        Self {
            handle,
            connection,
            first,
            links: BTreeMap::from([(PathId::ZERO, first)]),
            numbers: vec![PathId::ZERO],
            connected: false,
            outbox: Outbox::default(),
            empty_queue_space,
        }
    }

    /// Hands noq the oldest datagrams that are not too old, as many as it has room for.
    fn supply_datagrams(&mut self, now: Instant, out: &mut VecDeque<EngineEvent>) {
        let mut queue = self.connection.datagrams();
        self.outbox.retain_held(self.empty_queue_space.saturating_sub(queue.send_buffer_space()));
        let expired = self.outbox.expire(now);
        // The next datagram drops this one in turn.
        let mut is_cleared =
            expired.handed_over > 0 && queue.send(Bytes::from_static(&[0; DATAGRAM_BUFFER]), true).is_ok();
        if is_cleared {
            self.outbox.take_back();
        }
        out.extend(expired.datagrams.into_iter().map(|bytes| EngineEvent::DatagramExpired { bytes }));
        while let Some(next) = self.outbox.next() {
            match queue.send(Bytes::copy_from_slice(next), is_cleared) {
                Ok(()) => {
                    self.outbox.hand_over();
                    is_cleared = false;
                }
                Err(SendDatagramError::Blocked(_)) => break,
                Err(_) => self.outbox.discard_next(),
            }
        }
        if is_cleared {
            // One byte, which means nothing to anybody.
            let _ = queue.send(Bytes::from_static(&[0]), true);
        }
    }

    fn number(&mut self, id: PathId) -> EnginePath {
        let place = self.numbers.iter().position(|&known| known == id).unwrap_or_else(|| {
            self.numbers.push(id);
            self.numbers.len() - 1
        });
        EnginePath(place)
    }

    /// An unknown number stands for a path that cannot exist.
    fn id(&self, path: EnginePath) -> PathId {
        self.numbers.get(path.0).copied().unwrap_or(PathId::MAX)
    }

    fn translate(&mut self, event: Event, out: &mut VecDeque<EngineEvent>) {
        match event {
            Event::Connected => {
                self.connected = true;
                out.push_back(EngineEvent::Connected {
                    path: self.number(PathId::ZERO),
                    link: self.first,
                    multipath: self.connection.is_multipath_negotiated(),
                });
            }
            Event::ConnectionLost { reason } => out.push_back(EngineEvent::Closed(close_reason(reason))),
            Event::Stream(StreamEvent::Opened { dir: Dir::Uni }) => {
                while let Some(id) = self.connection.streams().accept(Dir::Uni) {
                    self.read(id, out);
                }
            }
            Event::Stream(StreamEvent::Readable { id }) => self.read(id, out),
            Event::Stream(StreamEvent::Writable { id }) => {
                out.push_back(EngineEvent::StreamWritable { stream: Stream(id.into()) });
            }
            Event::Path(event) => self.translate_path(event, out),
            Event::DatagramReceived => self.take_datagrams(None, out),
            _ => {}
        }
    }

    fn translate_path(&mut self, event: PathEvent, out: &mut VecDeque<EngineEvent>) {
        match event {
            PathEvent::Established { id, .. } => {
                let Some(link) = self.link_of(id) else { return };
                self.links.insert(id, link);
                out.push_back(EngineEvent::PathValidated { path: self.number(id), link });
            }
            PathEvent::Abandoned { id, reason, .. } => {
                let by = match reason {
                    PathAbandonReason::ApplicationClosed { .. } => ClosedBy::Us,
                    PathAbandonReason::RemoteAbandoned { .. } => ClosedBy::Remote,
                    _ => ClosedBy::Engine,
                };
                out.push_back(EngineEvent::PathClosed { path: self.number(id), by });
            }
            PathEvent::Discarded { id, .. } => {
                self.links.remove(&id);
            }
            PathEvent::RemoteStatus { id, status, .. } => {
                // noq tells of every word; the newest counts (RFC 10069 section 3.3), which one on a slower path is not.
                let usage = match self.connection.remote_path_status(id).unwrap_or(status) {
                    PathStatus::Available => Use::Active,
                    PathStatus::Backup => Use::Backup,
                };
                out.push_back(EngineEvent::RemoteUse { path: self.number(id), usage });
            }
            _ => {}
        }
    }

    /// What came over a link that carries no path may have moved one there: RFC 9000 section 9.3.
    fn follow(&mut self, link: Link, out: &mut VecDeque<EngineEvent>) {
        if self.links.values().any(|known| *known == link) {
            return;
        }
        let runs_there = |id: &PathId| {
            self.connection.network_path(*id).is_ok_and(|tuple| {
                tuple.remote() == link.remote && tuple.local_ip().and_then(socket_of) == Some(link.socket)
            })
        };
        if let Some(id) = self.links.keys().copied().find(runs_there) {
            self.links.insert(id, link);
            out.push_back(EngineEvent::PathMoved { path: self.number(id), link });
        }
    }

    fn link_of(&self, id: PathId) -> Option<Link> {
        if let Some(link) = self.links.get(&id) {
            return Some(*link);
        }
        let tuple = self.connection.network_path(id).ok()?;
        let socket = tuple.local_ip().and_then(socket_of)?;
        Some(Link { socket, remote: tuple.remote() })
    }

    /// Datagrams carry no path; those that come out right after a UDP datagram went in came with it.
    fn take_datagrams(&mut self, link: Option<Link>, out: &mut VecDeque<EngineEvent>) {
        while let Some(bytes) = self.connection.datagrams().recv() {
            out.push_back(EngineEvent::Datagram { link, bytes: bytes.to_vec() });
        }
    }

    fn read(&mut self, id: StreamId, out: &mut VecDeque<EngineEvent>) {
        let stream = Stream(id.into());
        let mut receiving = self.connection.recv_stream(id);
        let Ok(mut chunks) = receiving.read(true) else { return };
        loop {
            match chunks.next(usize::MAX) {
                Ok(Some(chunk)) => {
                    out.push_back(EngineEvent::StreamData { stream, bytes: chunk.bytes.to_vec(), fin: false })
                }
                Ok(None) => {
                    out.push_back(EngineEvent::StreamData { stream, bytes: vec![], fin: true });
                    break;
                }
                Err(ReadError::Reset(_)) => {
                    out.push_back(EngineEvent::StreamReset { stream });
                    break;
                }
                Err(ReadError::Blocked) => break,
            }
        }
        // What is to be sent because of it goes with the next transmit anyway.
        let _ = chunks.finalize();
    }
}

fn transport(evidence: &Collector) -> TransportConfig {
    let mut config = TransportConfig::default();
    config
        .max_concurrent_multipath_paths(MAX_PATHS)
        .stream_receive_window(STREAM_WINDOW.into())
        .max_idle_timeout(Some(IDLE_TIMEOUT.try_into().expect("30 s fit a QUIC integer")))
        // The peer's own checks tell whether a path lives; noq's path timers have abandoned healthy second paths
        // under load.
        .default_path_max_idle_timeout(None)
        .default_path_keep_alive_interval(None)
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(MAX_STREAMS)
        // The oldest chunk first, whole, rather than a little of each.
        .send_fairness(false)
        .qlog_factory(Arc::new(Traces(evidence.clone())));
    config
}

/// Gives each connection its log, if logs are wanted.
struct Traces(Collector);

impl QlogFactory for Traces {
    fn for_connection(
        &self,
        _side: noq_proto::Side,
        _remote: SocketAddr,
        _initial: noq_proto::ConnectionId,
        _now: Instant,
    ) -> Option<QlogConfig> {
        let mut config = QlogConfig::new(Box::new(self.0.trace()?));
        config.title(Some("iceperf".into()));
        Some(config)
    }
}

fn response(link: Link, transmit: Transmit, mut bytes: Vec<u8>) -> EngineTransmit {
    bytes.truncate(transmit.size);
    EngineTransmit {
        link,
        ecn: transmit.ecn.map(|ecn| ecn as u8),
        segment_size: transmit.segment_size,
        bytes,
    }
}

fn close_reason(error: ConnectionError) -> CloseReason {
    match error {
        ConnectionError::ApplicationClosed(close) => CloseReason::Remote {
            code: close.error_code.into_inner(),
            reason: String::from_utf8_lossy(&close.reason).into_owned(),
        },
        ConnectionError::TimedOut => CloseReason::TimedOut,
        // A TLS alert (RFC 9001 section 4.8), ours or theirs.
        ConnectionError::TransportError(error) if is_tls_alert(error.code) => {
            CloseReason::Refused(error.to_string())
        }
        ConnectionError::ConnectionClosed(close) if is_tls_alert(close.error_code) => {
            CloseReason::Refused(close.to_string())
        }
        other => CloseReason::Failed(other.to_string()),
    }
}

fn is_tls_alert(code: TransportErrorCode) -> bool {
    (0x100..0x200).contains(&u64::from(code))
}

fn status(usage: Use) -> PathStatus {
    match usage {
        Use::Active => PathStatus::Available,
        Use::Backup => PathStatus::Backup,
    }
}

/// The address that stands for a socket: of the remote's family, in a range that no peer has. IPv4 leaves 28 bits for
/// the number; relayed candidates, whose numbers begin at 2^31, have the upper half of them.
fn stand_in(socket: SocketId, remote: SocketAddr) -> IpAddr {
    match remote {
        SocketAddr::V4(_) => {
            let relayed = (socket.0 >> 31) << 27;
            Ipv4Addr::from_bits(0xf000_0000 | relayed | (socket.0 & 0x07ff_ffff)).into()
        }
        SocketAddr::V6(_) => Ipv6Addr::from_bits((0xfd_u128 << 120) | u128::from(socket.0)).into(),
    }
}

fn socket_of(stand_in: IpAddr) -> Option<SocketId> {
    match stand_in {
        IpAddr::V4(ip) => Some(SocketId(((ip.to_bits() >> 27) & 1) << 31 | ip.to_bits() & 0x07ff_ffff)),
        IpAddr::V6(ip) => u32::try_from(ip.to_bits() & u128::from(u32::MAX)).ok().map(SocketId),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stand_ins_tell_sockets_and_relayed_candidates_apart() {
        for remote in ["192.0.2.1:1", "[2001:db8::1]:1"] {
            for socket in [0, 1, 77, (1 << 27) - 1, 1 << 31, (1 << 31) + 1, (1 << 31) + 77] {
                let stand_in = stand_in(SocketId(socket), remote.parse().unwrap());
                assert_eq!(socket_of(stand_in), Some(SocketId(socket)), "{remote}");
            }
        }
    }
}
