//! Streams of the connection. Each is unidirectional, and its first byte says what it carries.
//!
//! What was in flight on a path that is lost comes late (noq sends it again after some three probe timeouts) or never
//! (quiche after a migration), and a stream waits for it. So no stream outlives a path: it is reset, and what matters
//! of it is told again on a new one. Frames are therefore statements of a state, which a repetition does not change.

use super::{Connection, Peer};
use crate::{
    Side,
    control::{Frame, Reader},
    engine::Stream,
    object::CHUNK,
};
use std::time::Instant;

/// First byte of a stream of [`Frame`]s.
const CONTROL: u8 = 0;

/// Our own control stream.
#[derive(Debug, Default)]
pub(super) struct Control {
    stream: Option<Stream>,
    /// Its first byte is queued or sent.
    begun: bool,
    /// What the engine has not taken yet.
    queue: Vec<u8>,
}

/// A stream of the other peer.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Its first byte is still to come.
    Unknown,
    Control(Reader),
    /// Of an object.
    Chunk,
    /// Nothing that we know; its bytes are dropped.
    Other,
}

impl Peer {
    pub(super) fn send_frame(&mut self, frame: &Frame) {
        if !std::mem::replace(&mut self.control.begun, true) {
            self.control.queue.push(CONTROL);
        }
        self.control.queue.extend(frame.to_bytes());
        self.flush_control();
    }

    pub(super) fn flush_control(&mut self) {
        let control = &mut self.control;
        if control.stream.is_none() && !control.queue.is_empty() {
            control.stream = self.engine.open_stream();
        }
        let Some(stream) = control.stream else { return };
        let taken = self.engine.write(stream, &control.queue);
        control.queue.drain(..taken);
    }

    /// A path is lost: tells everything that still matters on a new stream.
    pub(super) fn renew_control(&mut self) {
        if !matches!(self.connection, Connection::Unproven { .. } | Connection::Open { .. }) {
            return;
        }
        if let Some(stream) = self.control.stream.take() {
            self.engine.reset(stream);
        }
        self.control = Control::default();
        if self.side == Side::Client && !self.confirmed {
            self.send_hello();
        }
        self.tell_candidates_inside();
    }

    pub(super) fn forget_streams(&mut self) {
        self.control = Control::default();
        self.incoming.clear();
    }

    pub(super) fn on_stream_data(&mut self, now: Instant, stream: Stream, mut bytes: &[u8], fin: bool) {
        let mut incoming = self.incoming.remove(&stream).unwrap_or(Incoming::Unknown);
        if let (Incoming::Unknown, Some((kind, rest))) = (&incoming, bytes.split_first()) {
            bytes = rest;
            incoming = match *kind {
                CONTROL => Incoming::Control(Reader::default()),
                CHUNK => Incoming::Chunk,
                kind => {
                    tracing::debug!(kind, "a stream of an unknown kind");
                    Incoming::Other
                }
            };
        }
        match &mut incoming {
            Incoming::Control(reader) => match reader.take_in(bytes) {
                Ok(frames) => frames.into_iter().for_each(|frame| self.on_frame(now, frame)),
                Err(_) => return self.on_no_frames(now),
            },
            Incoming::Chunk => self.on_chunk(now, stream, bytes, fin),
            Incoming::Unknown | Incoming::Other => {}
        }
        if !fin {
            self.incoming.insert(stream, incoming);
        }
    }

    pub(super) fn on_stream_reset(&mut self, stream: Stream) {
        if let Some(Incoming::Chunk) = self.incoming.remove(&stream) {
            self.on_chunk_reset(stream);
        }
    }
}
