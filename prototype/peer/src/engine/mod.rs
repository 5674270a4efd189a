//! The QUIC engine behind a small trait, so that one peer runs on engines with several paths at once (RFC 10069) and
//! on engines with one active path that migrates (RFC 9000 section 9).
//!
//! A path belongs to a [`Link`]: one socket and one remote address. What the peer asks of every engine is the same:
//! open a path in reserve, make one the active one, close one. An engine with several paths sets statuses; one
//! without validates in advance and migrates.

mod kind;
mod noq;
mod outbox;
#[cfg(feature = "quiche")]
mod quiche;

pub use kind::{EngineKind, UnknownEngine};
pub(crate) use noq::NoqEngine;
#[cfg(feature = "quiche")]
pub(crate) use quiche::QuicheEngine;

use ice::SocketId;
use std::{
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};
use thiserror::Error;

/// One of our sockets and a remote address: what RFC 9000 calls a network path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Link {
    pub(crate) socket: SocketId,
    pub(crate) remote: SocketAddr,
}

/// The engine's own number of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EnginePath(pub(crate) usize);

impl fmt::Display for EnginePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// A stream in one direction (RFC 9000 section 2.1), by its QUIC stream ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Stream(pub(crate) u64);

/// What an engine can do; recorded with every run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Name and version of the engine.
    pub(crate) engine: &'static str,
    /// Whether several paths carry data at once, once negotiated.
    pub(crate) multipath: bool,
    /// Whether a server decides for itself on which path it sends. One that does not follows its client.
    pub(crate) server_chooses: bool,
}

/// How a path is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Carries payload.
    Active,
    /// In reserve.
    Backup,
}

/// Datagrams to one destination, of `segment_size` bytes each but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EngineTransmit {
    pub(crate) link: Link,
    pub(crate) ecn: Option<u8>,
    pub(crate) segment_size: Option<usize>,
    pub(crate) bytes: Vec<u8>,
}

/// What an engine tells.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum EngineEvent {
    /// The handshake is complete. The first path is validated with it.
    Connected { path: EnginePath, link: Link, multipath: bool },
    /// A path passed path validation (RFC 9000 section 8.2); on the server, the first word of it.
    PathValidated { path: EnginePath, link: Link },
    /// The other end's address under a path changed (RFC 9000 section 9.3); the path goes on.
    PathMoved { path: EnginePath, link: Link },
    /// A path is over, by our doing or not.
    PathClosed { path: EnginePath, by: ClosedBy },
    /// The other end says how it uses a path.
    RemoteUse { path: EnginePath, usage: Use },
    /// The connection left a path, and what was in flight there will not be sent again.
    #[cfg(feature = "quiche")]
    Migrated,
    /// A datagram (RFC 9221).
    Datagram { link: Option<Link>, bytes: Vec<u8> },
    /// A datagram of ours was not sent: it grew too old before it could be.
    DatagramExpired { bytes: Vec<u8> },
    /// Bytes of a stream of the other end, in order; `fin` with the last.
    StreamData { stream: Stream, bytes: Vec<u8>, fin: bool },
    /// The other end gave a stream up.
    StreamReset { stream: Stream },
    /// A stream of ours that took less than it was given may take more.
    StreamWritable { stream: Stream },
    /// The connection is over; the last event.
    Closed(CloseReason),
}

/// Who ended a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ClosedBy {
    Us,
    Remote,
    Engine,
}

/// Why a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum CloseReason {
    /// The other application closed it, with this code.
    Remote { code: u64, reason: String },
    /// Nothing was heard for the idle timeout.
    TimedOut,
    /// TLS refused: the certificate is not the pinned one, or the other end found ours wanting.
    Refused(String),
    /// Anything else.
    Failed(String),
}

/// What a path did so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PathFigures {
    pub(crate) bytes_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) rtt: Duration,
    pub(crate) packets_sent: u64,
    pub(crate) packets_lost: u64,
    /// Bytes.
    pub(crate) congestion_window: u64,
}

/// A path could not be opened; it is worth trying again later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct OpenError(pub(crate) String);

/// An engine cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct EngineError(String);

/// A QUIC engine with at most one connection. Time and datagrams are handed in.
pub(crate) trait Engine {
    fn capabilities(&self) -> Capabilities;
    /// Server only: whether a new connection takes the place of the one there is.
    fn set_replaceable(&mut self, replaceable: bool);
    /// Client only, once: begins the handshake over this link.
    fn connect(&mut self, now: Instant, link: Link) -> Result<(), OpenError>;
    /// False when it was no QUIC packet for us.
    fn handle_datagram(&mut self, now: Instant, link: Link, ecn: Option<u8>, datagram: &[u8]) -> bool;
    fn handle_timeout(&mut self, now: Instant);
    fn deadline(&self) -> Option<Instant>;
    fn poll_transmit(&mut self, now: Instant) -> Option<EngineTransmit>;
    fn poll_event(&mut self) -> Option<EngineEvent>;
    /// Client only (RFC 9000 section 9, RFC 10069 section 3.1): starts path validation.
    fn open_path(&mut self, now: Instant, link: Link, usage: Use) -> Result<EnginePath, OpenError>;
    /// Has no effect on a path that is closed.
    fn set_use(&mut self, path: EnginePath, usage: Use);
    /// Tells the other end over a living path. The last path cannot be closed: false.
    fn close_path(&mut self, now: Instant, path: EnginePath) -> bool;
    /// False when it was not taken: too large, or the connection is not ready. It waits until it can leave, up to 400 ms.
    fn send_datagram(&mut self, now: Instant, bytes: Vec<u8>) -> bool;
    /// A new stream to the other end; none when the connection is not ready or grants no more for now.
    fn open_stream(&mut self) -> Option<Stream>;
    /// How many of the bytes were taken; [`EngineEvent::StreamWritable`] tells when there is room for more.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> usize;
    /// Gives the stream up, and with it what was not delivered.
    fn reset(&mut self, stream: Stream);
    /// Nothing more will be written.
    fn finish(&mut self, stream: Stream);
    fn figures(&mut self, path: EnginePath) -> Option<PathFigures>;
    /// Keying material of the connection (RFC 8446 section 7.5); none before it is complete.
    fn export(&mut self, label: &[u8]) -> Option<[u8; 32]>;
    fn close(&mut self, now: Instant, code: u64, reason: &str);
    /// Closed at this end, and the word of it cannot leave yet.
    fn is_closing(&self) -> bool;
}
