//! The QUIC connection: when it is begun, how the client proves itself, what travels in it, how it ends.

use super::{Connection, Outcome, Peer, new_engine, signalling::Told};
use crate::{
    Event, Side,
    call::Unit,
    control::Frame,
    engine::{CloseReason, EngineEvent, Link},
};
use std::time::Instant;

/// Application error codes of CONNECTION_CLOSE (RFC 9000 section 20.2).
pub(super) const FINISHED: u64 = 0;
const REFUSED: u64 = 1;
pub(super) const PROTOCOL_ERROR: u64 = 2;

const NAME_LABEL: &[u8] = b"EXPORTER-iceperf-name";
const PROOF_LABEL: &[u8] = b"EXPORTER-iceperf-proof";

impl Peer {
    pub(super) fn is_open(&self) -> bool {
        matches!(self.connection, Connection::Open { .. })
    }

    /// A client begins the handshake over the first pair that can carry data, and again over another one when that
    /// is lost before the handshake completes.
    pub(super) fn begin_handshake(&mut self, now: Instant) {
        if self.side != Side::Client || self.only_probes() {
            return;
        }
        let dead = match self.connection {
            Connection::Handshaking(link) => !self.pair_on(link).is_some_and(|pair| pair.state.is_usable()),
            // The server's last flight may be lost with the path: it would never let us open another one.
            Connection::Open { .. } => !self.confirmed && !self.paths.is_connected(),
            Connection::None | Connection::Unproven { .. } => false,
        };
        if dead {
            // The configuration made an engine before; it makes one again.
            let Ok(engine) = new_engine(&self.config, &self.evidence, &mut self.rng) else { return };
            self.engine = engine;
            self.forget_connection("lost before the server confirmed it");
        }
        if !matches!(self.connection, Connection::None) {
            return;
        }
        let usable = self.agent.pairs().filter(|pair| pair.state.is_usable());
        let Some(pair) = usable.max_by_key(|pair| pair.priority) else { return };
        let link = Link { socket: pair.socket, remote: pair.remote };
        match self.engine.connect(now, link) {
            Ok(()) => self.connection = Connection::Handshaking(link),
            Err(error) => tracing::warn!(%error, "handshake not begun"),
        }
    }

    pub(super) fn on_engine(&mut self, now: Instant, event: EngineEvent) {
        self.changed |= !matches!(event, EngineEvent::Datagram { .. } | EngineEvent::DatagramExpired { .. });
        match event {
            EngineEvent::Connected { path, link, multipath } => {
                self.on_connected(now, multipath);
                self.on_path_validated(now, path, link);
            }
            EngineEvent::PathValidated { path, link } => self.on_path_validated(now, path, link),
            EngineEvent::PathMoved { path, link } => self.on_path_moved(path, link),
            EngineEvent::PathClosed { path, by } => self.on_path_closed(now, path, by),
            EngineEvent::RemoteUse { path, usage } => self.on_remote_use(path, usage),
            #[cfg(feature = "quiche")]
            EngineEvent::Migrated => self.renew_control(),
            EngineEvent::Datagram { link, bytes } => self.on_payload(now, link, &bytes),
            EngineEvent::DatagramExpired { bytes } => self.on_expired(&bytes),
            EngineEvent::StreamData { stream, bytes, fin } => self.on_stream_data(now, stream, &bytes, fin),
            EngineEvent::StreamReset { stream } => self.on_stream_reset(stream),
            EngineEvent::StreamWritable { .. } => self.flush_control(),
            EngineEvent::Closed(reason) => self.on_closed(now, reason),
        }
    }

    fn on_connected(&mut self, now: Instant, multipath: bool) {
        // A server whose client lost every path and began again.
        self.forget_connection("the client began a new connection");
        let name = self.engine.export(NAME_LABEL).unwrap_or_default();
        let name: String = name.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let engine = self.engine.capabilities().engine;
        self.event(Event::Connected { connection: name.clone(), engine, multipath });
        match self.side {
            Side::Server => self.connection = Connection::Unproven { name },
            Side::Client => {
                self.connection = Connection::Open { name };
                self.send_hello();
                self.on_open(now);
            }
        }
    }

    pub(super) fn send_hello(&mut self) {
        let exported = self.engine.export(PROOF_LABEL).unwrap_or_default();
        let proof = self.secret.proof(&exported);
        self.send_frame(&Frame::Hello { proof });
    }

    /// Both ends are proven: candidates and payload may flow.
    fn on_open(&mut self, now: Instant) {
        self.opened = Some(now);
        self.tell_candidates_inside();
        self.tell_probe_inside();
        self.next_sample = Some(now);
        if self.side == Side::Server {
            self.begin_bulk(now);
        }
        if self.side == Side::Client || self.calling {
            self.begin_call(now);
        }
    }

    fn begin_call(&mut self, now: Instant) {
        if let (Some(call), Some(spec)) = (&mut self.call, self.config.call) {
            self.calling = true;
            call.skip_to(now);
            self.event(Event::CallBegins { interval: spec.interval(), payload: spec.payload() });
        }
    }

    pub(super) fn on_no_frames(&mut self, now: Instant) {
        self.close(now, PROTOCOL_ERROR, "the control stream holds no frames");
        self.end(now, "the other peer's control stream holds no frames".into());
    }

    pub(super) fn on_frame(&mut self, now: Instant, frame: Frame) {
        match frame {
            Frame::Hello { proof } if self.side == Side::Server => self.on_hello(now, &proof),
            Frame::Candidates { version, session, complete, candidates } if self.is_open() => {
                if !std::mem::replace(&mut self.confirmed, true) {
                    self.begin_bulk(now);
                }
                let told = Told { version, session, complete, candidates: &candidates };
                if self.take_candidates(now, told) {
                    let credentials = self.secret.ice_credentials(self.side.other(), session);
                    self.agent.set_remote_credentials(now, credentials);
                }
            }
            Frame::Probe(words) if self.is_open() => self.take_probe_words(now, words),
            // A server's Hello, or anything before the client's, means nothing.
            _ => {}
        }
    }

    fn on_hello(&mut self, now: Instant, proof: &[u8]) {
        let exported = self.engine.export(PROOF_LABEL).unwrap_or_default();
        if !self.secret.proves(&exported, proof) {
            self.close(now, REFUSED, "the ticket's secret is not known here");
            self.transmit(now);
            self.reset_engine("the client does not hold the secret");
            return;
        }
        if let Connection::Unproven { name } = &mut self.connection {
            self.connection = Connection::Open { name: std::mem::take(name) };
            self.on_open(now);
        }
    }

    fn on_payload(&mut self, now: Instant, link: Option<Link>, bytes: &[u8]) {
        if !self.is_open() {
            return;
        }
        let Some(unit) = Unit::from_bytes(bytes) else { return self.on_bulk_datagram(now, bytes) };
        if !self.calling {
            self.begin_call(now);
        }
        let path = link.and_then(|link| self.paths.on_link(link)).map(|path| path.number);
        let Unit { sequence, sent, bytes } = unit;
        self.event(Event::CallReceived { sequence, sent, bytes, path });
    }

    /// Messages about an object are repeated, and not counted.
    fn on_expired(&mut self, bytes: &[u8]) {
        if let Some(Unit { sequence, .. }) = Unit::from_bytes(bytes) {
            self.event(Event::CallExpired { sequence });
        }
    }

    pub(super) fn send_call(&mut self, now: Instant) {
        while let Some((unit, bytes)) = (self.is_open() && self.calling)
            .then_some(())
            .and(self.call.as_mut())
            .and_then(|call| call.poll(now))
        {
            // A unit that the engine does not take is lost like one on the wire: it was sent, and does not arrive.
            self.engine.send_datagram(now, bytes);
            self.event(Event::CallSent { sequence: unit.sequence, bytes: unit.bytes });
        }
    }

    pub(super) fn close(&mut self, now: Instant, code: u64, reason: &str) {
        if !matches!(self.connection, Connection::None) {
            self.engine.close(now, code, reason);
            let connection = self.connection_name();
            self.event(Event::ConnectionClosed { connection, why: format!("closed by us: {reason}") });
        }
    }

    fn on_closed(&mut self, now: Instant, reason: CloseReason) {
        let was_open = self.is_open();
        let (why, outcome) = match reason {
            CloseReason::Remote { code: FINISHED, .. } => {
                ("closed by the other peer".into(), Outcome::Finished)
            }
            CloseReason::Remote { code: REFUSED, reason } => {
                let why = format!("refused by the other peer: {reason}");
                (why.clone(), Outcome::Refused { why })
            }
            CloseReason::Remote { reason, .. } | CloseReason::Failed(reason) => {
                (reason.clone(), Outcome::Unreachable { why: format!("the connection failed: {reason}") })
            }
            CloseReason::TimedOut => {
                let why = "nothing was heard for the idle timeout".to_owned();
                (why.clone(), Outcome::Unreachable { why: format!("the connection was lost: {why}") })
            }
            CloseReason::Refused(reason) => {
                let why = format!("the server's certificate is not the one that the ticket names ({reason})");
                (reason, Outcome::Refused { why })
            }
        };
        let connection = self.connection_name();
        self.event(Event::ConnectionClosed { connection, why: why.clone() });
        match self.side {
            // Nobody who held the ticket was served yet: wait on.
            Side::Server if !was_open => self.reset_engine(&why),
            _ => self.finish(now, outcome),
        }
    }

    pub(super) fn end(&mut self, now: Instant, why: String) {
        match self.side {
            Side::Server if !self.is_open() => self.reset_engine(&why),
            _ => self.finish(now, Outcome::Unreachable { why }),
        }
    }

    fn reset_engine(&mut self, why: &str) {
        tracing::info!(why, "waiting for another client");
        self.close_all_paths(why);
        self.connection = Connection::None;
        self.newest_taken = None;
        self.forget_streams();
        if let Ok(engine) = new_engine(&self.config, &self.evidence, &mut self.rng) {
            self.engine = engine;
        }
    }

    /// What was known of a connection that another one replaces.
    fn forget_connection(&mut self, why: &str) {
        if let Connection::Unproven { .. } | Connection::Open { .. } = self.connection {
            let connection = self.connection_name();
            self.event(Event::ConnectionClosed { connection, why: why.to_owned() });
            self.close_all_paths(why);
        }
        self.newest_taken = None;
        self.confirmed = false;
        self.forget_streams();
        self.connection = Connection::None;
    }

    fn connection_name(&self) -> String {
        match &self.connection {
            Connection::Unproven { name, .. } | Connection::Open { name, .. } => name.clone(),
            Connection::None | Connection::Handshaking(_) => String::new(),
        }
    }
}
