//! What a peer tells its driver. The driver's record has the serialised form of each.

use crate::{BulkDirection, BulkFigures, InterfaceKind};
use crate::{Disguise, PathStatus};
use ice::{
    CandidateKind, CheckListState, CheckPurpose, LocalCandidate, PairState, PairView, RelayNews,
    RemoteCandidate, SocketId, StopReason,
};
use std::{net::SocketAddr, time::Duration};

/// Something happened.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The state of an interface changed.
    Interface(crate::Interface),
    /// An interface is gone.
    InterfaceRemoved {
        /// Kernel name.
        interface: String,
    },
    /// A socket is bound.
    SocketOpened {
        /// Which.
        socket: SocketId,
        /// On which interface.
        interface: String,
        /// Where.
        local: SocketAddr,
    },
    /// A socket was given up.
    SocketClosed {
        /// Which.
        socket: SocketId,
        /// On which interface.
        interface: String,
        /// Why.
        why: String,
    },
    /// The kernel refused to send; told once for each error until something arrives on this socket.
    SendFailed {
        /// From which socket.
        socket: SocketId,
        /// On which interface.
        interface: String,
        /// Where to.
        to: SocketAddr,
        /// The kernel's error.
        error: String,
    },
    /// A candidate of ours.
    LocalCandidate(LocalCandidate),
    /// A candidate of ours is gone, or the policy holds it back from now on.
    LocalCandidateRemoved {
        /// On which interface.
        interface: String,
        /// Its base.
        socket: SocketId,
        /// Its type.
        kind: CandidateKind,
        /// Its address.
        address: SocketAddr,
    },
    /// A candidate of the other peer.
    RemoteCandidate(RemoteCandidate),
    /// A STUN request left.
    CheckSent {
        /// For which pair; none for a request to a server.
        pair: Option<u32>,
        /// From which interface.
        interface: String,
        /// Where to.
        remote: SocketAddr,
        /// Why.
        purpose: CheckPurpose,
        /// 1 for the first transmission.
        attempt: u32,
    },
    /// A success response came.
    CheckAnswered {
        /// For which pair; none for a request to a server.
        pair: Option<u32>,
        /// On which interface.
        interface: String,
        /// From where.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it, this one answered or one before.
        attempt: u32,
        /// None when a retransmission makes it ambiguous.
        rtt: Option<Duration>,
        /// Our address as the other end saw it; upkeep of a relay is answered without.
        mapped: Option<SocketAddr>,
    },
    /// No answer will come, or an error came.
    CheckFailed {
        /// For which pair; none for a request to a server.
        pair: Option<u32>,
        /// From which interface.
        interface: String,
        /// Where to.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it.
        attempt: u32,
        /// What happened instead.
        why: String,
    },
    /// A candidate pair changed its state.
    Pair {
        /// The pair.
        view: PairView,
        /// New state.
        state: PairState,
        /// What brought it about.
        cause: String,
    },
    /// A pair was nominated.
    Nominated {
        /// Which.
        pair: u32,
    },
    /// The first pair can carry data.
    FirstUsable {
        /// Which.
        pair: u32,
    },
    /// A pair is not probed any more, or not kept alive, though nothing failed.
    ProbingStopped {
        /// Which.
        pair: u32,
        /// On which interface.
        interface: String,
        /// Where its checks went.
        remote: SocketAddr,
        /// Why.
        why: StopReason,
    },
    /// Consent of a pair ran out (RFC 7675).
    ConsentExpired {
        /// Which.
        pair: u32,
    },
    /// Every server has answered or was given up.
    GatheringComplete,
    /// The check list as a whole changed its state (RFC 8445 section 6.1.2.1).
    CheckList(CheckListState),
    /// Something happened to a relay (RFC 8656).
    Relay {
        /// On which interface.
        interface: String,
        /// By which socket it is reached.
        socket: SocketId,
        /// The server.
        server: SocketAddr,
        /// What.
        news: RelayNews,
    },
    /// A role conflict changed our role (RFC 8445 section 7.3.1.1).
    RoleChanged(ice::Role),
    /// A new ICE session begins (RFC 8445 section 9).
    Restarted {
        /// Counts the sessions of both peers, from 0; this one has credentials of its own.
        session: u32,
        /// What led to it.
        cause: &'static str,
    },
    /// The other end refused our credentials.
    RemoteRefused {
        /// STUN error code, 400 or 401.
        code: u16,
    },
    /// The path policy from now on; told at the start, too.
    Policy {
        /// As [`Policy`](crate::Policy) is written: the preset and what differs from it.
        policy: String,
    },
    /// Checks are disguised like this from now on; told at the start, too, if they are.
    Disguise(Disguise),
    /// Somebody gave an interface another priority.
    Priority {
        /// Kernel name.
        interface: String,
        /// Local preference (RFC 8445 section 5.1.2.1), 65535 the best.
        value: u16,
    },
    /// Somebody said how paths on an interface may be used.
    PathStatus {
        /// Kernel name.
        interface: String,
        /// How.
        status: PathStatus,
    },
    /// Datagrams were dropped without effect; the sum so far.
    Rejected {
        /// One word.
        reason: &'static str,
        /// So far.
        count: u64,
        /// The newest sender.
        from: SocketAddr,
    },
    /// The handshake is complete.
    Connected {
        /// A name that both ends share.
        connection: String,
        /// QUIC engine.
        engine: &'static str,
        /// Several paths at once were negotiated.
        multipath: bool,
    },
    /// The connection is over.
    ConnectionClosed {
        /// Its name; empty when the handshake never completed.
        connection: String,
        /// Why.
        why: String,
    },
    /// A QUIC path changed its state.
    Path(PathView),
    /// We noticed that a path (or, without one, an interface) no longer works.
    Detected {
        /// On which interface.
        interface: String,
        /// Which path, if one was open.
        path: Option<u64>,
        /// What gave it away.
        by: DetectedBy,
        /// The pause that gave it away.
        pause: Option<Pause>,
    },
    /// What is blocked between two sockets in one direction.
    Blocking(Box<ice::blocking::Finding>),
    /// A workload says how it sends.
    CallBegins {
        /// Between two datagrams.
        interval: Duration,
        /// Bytes of a datagram.
        payload: usize,
    },
    /// The workload produced a datagram of the call, and the engine was given it.
    CallSent {
        /// Counts from 0.
        sequence: u64,
        /// Bytes.
        bytes: usize,
    },
    /// A datagram of the call was not sent: it grew older than 400 ms before the engine could send it.
    CallExpired {
        /// Counts from 0.
        sequence: u64,
    },
    /// A datagram of the call arrived.
    CallReceived {
        /// Counts from 0.
        sequence: u64,
        /// The sender's time, since its start.
        sent: Duration,
        /// Bytes.
        bytes: usize,
        /// Our number of the path on which it came.
        path: Option<u64>,
    },
    /// An object begins to travel.
    BulkBegins {
        /// Its number.
        object: u32,
        /// Which way.
        direction: BulkDirection,
        /// Its size; none: until either end ends.
        bytes: Option<u64>,
        /// From here.
        sending: bool,
    },
    /// How far the sender is; at most every 100 ms, and at the end.
    BulkSent {
        /// Its number.
        object: u32,
        /// Bytes that the engine took so far, each counted once.
        bytes: u64,
        /// Bytes that it took again so far.
        resent: u64,
        /// Bytes that arrived so far, as far as the receiver has told.
        acknowledged: u64,
    },
    /// How far the receiver is: told when the first new bytes after a pause of more than 5 ms arrive, and otherwise
    /// 5 ms after the last word of it.
    BulkArrived {
        /// Its number.
        object: u32,
        /// Distinct bytes so far.
        bytes: u64,
        /// Bytes that arrived again so far.
        duplicate: u64,
        /// When the newest of the distinct bytes arrived, since the peer's start.
        newest: Duration,
    },
    /// Content that may have been lost with its path is sent again.
    BulkResent {
        /// Its number.
        object: u32,
        /// How much of it.
        bytes: u64,
        /// What happened.
        why: String,
    },
    /// An object is over at this end.
    BulkEnded {
        /// Its number.
        object: u32,
        /// Sender: distinct bytes sent. Receiver: distinct bytes that arrived.
        bytes: u64,
        /// Of these, in hexadecimal; at a receiver that lacks some, of what comes before the first gap.
        sha256: String,
        /// Bytes, duration and longest stall as the receiver measured them: at the sender the newest report; none without one.
        receiver: Option<BulkFigures>,
        /// Whether the receiver has what the sender sent; none when the ends could not agree on it.
        sha256_ok: Option<bool>,
        /// One word: complete, stopped (before its size was reached), digest-differs, not-confirmed (in time),
        /// interrupted (with its connection), replaced (the client asked for another).
        why: String,
    },
    /// What a path carried so far.
    PathSample {
        /// Which.
        path: u64,
        /// UDP payload bytes.
        bytes_sent: u64,
        /// UDP payload bytes.
        bytes_received: u64,
        /// The engine's estimate.
        rtt: Option<Duration>,
        /// QUIC packets, those that wait for an acknowledgement or got one or did not.
        packets_sent: Option<u64>,
        /// QUIC packets that the engine takes for lost.
        packets_lost: Option<u64>,
        /// Bytes that may be under way at once.
        congestion_window: Option<u64>,
    },
}

/// A time in which nothing arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long it was.
    pub silence: Duration,
    /// How long the longest one was that was expected.
    pub expected: Duration,
}

/// A QUIC path and its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathView {
    /// Our number, never used twice.
    pub path: u64,
    /// The pair that carries it.
    pub pair: u32,
    /// Local interface.
    pub interface: String,
    /// Its kind.
    pub interface_kind: InterfaceKind,
    /// Remote interface, when the other peer told.
    pub remote_interface: Option<String>,
    /// Local base address.
    pub local: SocketAddr,
    /// Remote address.
    pub remote: SocketAddr,
    /// Type of the pair: relay if either end is relayed, else the remote candidate's type.
    pub candidate: CandidateKind,
    /// State.
    pub state: PathState,
    /// What brought it about.
    pub cause: String,
}

/// State of a QUIC path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PathState {
    /// Being validated.
    Opening,
    /// Validated.
    Validated,
    /// Carries payload.
    Active,
    /// In reserve.
    Backup,
    /// Over.
    Closed,
}

/// What gave a loss away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DetectedBy {
    /// The kernel: interface down or gone.
    InterfaceDown,
    /// The kernel: link lost.
    NoCarrier,
    /// The kernel: address gone.
    AddressGone,
    /// The kernel refused to send.
    SendError,
    /// Checks unanswered.
    CheckSilence,
    /// Nothing arrives any more though something should, and another path lives.
    ReceiveSilence,
    /// The other peer said so.
    Peer,
    /// The engine gave up.
    Engine,
    /// The relay that the path runs over does not serve us any more.
    Relay,
}

impl DetectedBy {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            DetectedBy::InterfaceDown => "interface down",
            DetectedBy::NoCarrier => "no carrier",
            DetectedBy::AddressGone => "address gone",
            DetectedBy::SendError => "send error",
            DetectedBy::CheckSilence => "checks unanswered",
            DetectedBy::ReceiveSilence => "nothing arrives any more",
            DetectedBy::Peer => "the other peer closed it",
            DetectedBy::Engine => "the engine gave it up",
            DetectedBy::Relay => "the relay is lost",
        }
    }
}
