//! The serialised event types. A name that is written to a file once is never given another meaning.

mod words;

pub use words::{
    CandidateKind, CheckListState, CheckPurpose, DetectedBy, Direction, DisturbanceKind, DropCause, Family,
    IceRole, InterfaceKind, MappedProtocol, PairState, PathState, PathStatus, RelayNews, StopReason,
    WorkloadKind,
};

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, SocketAddr};

/// One line of `events.jsonl`: when, where, what.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Nanoseconds of CLOCK_MONOTONIC since time zero of the run; negative before it.
    pub t_ns: i64,
    /// The host of the scenario that saw it; `testbed` for the runner and the network model.
    pub host: String,
    /// What happened.
    #[serde(flatten)]
    pub what: EventKind,
}

/// What happened. On disk: `"kind": "<snake_case name>", "fields": {...}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "fields", rename_all = "snake_case")]
pub enum EventKind {
    /// A process has its sockets and its configuration, and waits for `start`.
    Ready {
        /// Version of the program.
        version: String,
        /// Process id.
        pid: u32,
    },
    /// Time zero has come for this host; stamped when its process noticed. What serves others has started before.
    Started {},
    /// The peer ended by itself; the last event of a host.
    Stopped {
        /// One word, such as `finished`, `unreachable`, `refused`.
        why: String,
    },

    /// The engine's log lacks something because its size is limited.
    QlogLimited {
        /// Name of the file.
        file: String,
        /// Records that were left out.
        records: u64,
        /// Their size in bytes.
        bytes: u64,
    },

    /// The state of an interface as the kernel tells it.
    Interface {
        /// Kernel name.
        interface: String,
        /// lan, wifi or cellular.
        kind: InterfaceKind,
        /// Administratively up.
        up: bool,
        /// Link present (`IFF_LOWER_UP`).
        carrier: bool,
        /// Addresses that a socket may be bound to.
        addresses: Vec<IpAddr>,
    },
    /// The kernel no longer has this interface.
    InterfaceRemoved {
        /// Kernel name.
        interface: String,
    },
    /// A socket was bound to an interface and one of its addresses.
    SocketOpened {
        /// Number of the socket within this peer, never used twice.
        socket: u32,
        /// Kernel name.
        interface: String,
        /// Bound address.
        local: SocketAddr,
    },
    /// A socket was given up.
    SocketClosed {
        /// Number of the socket.
        socket: u32,
        /// Kernel name.
        interface: String,
        /// Why, in a few words.
        why: String,
    },
    /// The kernel refused to send; told once per cause and socket until a send succeeds again.
    SendFailed {
        /// Number of the socket.
        socket: u32,
        /// Kernel name.
        interface: String,
        /// Destination.
        to: SocketAddr,
        /// The kernel's error.
        error: String,
    },

    /// A candidate of this peer (RFC 8445 section 5.1).
    LocalCandidate {
        /// Kernel name.
        interface: String,
        /// Number of the socket that is its base.
        socket: u32,
        /// Its type.
        candidate: CandidateKind,
        /// Its transport address.
        address: SocketAddr,
        /// RFC 8445 section 5.1.2.
        priority: u32,
        /// RFC 8445 section 5.1.1.3.
        foundation: String,
    },
    /// A candidate of this peer is gone, or its policy does not tell the other peer of it from now on.
    LocalCandidateRemoved {
        /// Kernel name.
        interface: String,
        /// Number of the socket that is its base.
        socket: u32,
        /// Its type.
        candidate: CandidateKind,
        /// Its transport address.
        address: SocketAddr,
    },
    /// A candidate of the other peer became known.
    RemoteCandidate {
        /// Its type.
        candidate: CandidateKind,
        /// Its transport address.
        address: SocketAddr,
        /// Its priority.
        priority: u32,
        /// The interface that the other peer names for it; unknown for peer-reflexive ones.
        remote_interface: Option<String>,
    },
    /// A connectivity check, a liveness check or a request to a server left.
    CheckSent {
        /// Number of the pair within this peer; none for a request to a server.
        pair: Option<u32>,
        /// Kernel name.
        interface: String,
        /// Destination.
        remote: SocketAddr,
        /// Why it was sent.
        purpose: CheckPurpose,
        /// 1 for the first transmission, 2 for the first retransmission, ...
        attempt: u32,
    },
    /// A success response to a check came back.
    CheckAnswered {
        /// Number of the pair; none for a request to a server.
        pair: Option<u32>,
        /// Kernel name.
        interface: String,
        /// Who answered.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it, this one answered or one before; unknown in older records.
        attempt: Option<u32>,
        /// Round-trip time, nanoseconds; none when a retransmission makes it ambiguous.
        rtt_ns: Option<u64>,
        /// The address that the other end saw; upkeep of a relay is answered without.
        mapped: Option<SocketAddr>,
    },
    /// A check will not be answered any more, or was answered with an error.
    CheckFailed {
        /// Number of the pair; none for a request to a server.
        pair: Option<u32>,
        /// Kernel name.
        interface: String,
        /// Destination.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it; unknown in older records.
        attempt: Option<u32>,
        /// `timeout`, or the error of the response.
        why: String,
    },
    /// What a blocking probe found out between two interfaces in one direction.
    Blocking(crate::Blocking),
    /// A candidate pair changed its state.
    Pair {
        /// Number of the pair within this peer, never used twice.
        pair: u32,
        /// Kernel name of the local interface.
        interface: String,
        /// The interface that the other peer names for the remote candidate.
        remote_interface: Option<String>,
        /// Local base address.
        local: SocketAddr,
        /// Remote address.
        remote: SocketAddr,
        /// Type of the local candidate.
        local_kind: CandidateKind,
        /// Type of the remote candidate.
        remote_kind: CandidateKind,
        /// New state.
        state: PairState,
        /// What brought it about, in a few words.
        cause: String,
    },
    /// An ICE agent of somebody else's finds this peer's paths, and its connection state changed. What it tells of
    /// candidates and of the pair that it selected has the usual events.
    IceState {
        /// Its name, such as `webrtc-ice`.
        agent: String,
        /// As WebRTC's `RTCIceConnectionState` has it: `checking`, `connected`, `disconnected`, `failed`, ...; or
        /// `restart` (RFC 8445 section 9), or `broken`.
        state: String,
        /// 1, and one more after each restart.
        generation: u32,
        /// Pairs in its check list, where it told.
        pairs: Option<u32>,
        /// Those of them that a check was answered on at some time, where it told.
        answered: Option<u32>,
    },
    /// The controlling side nominated this pair, or the controlled side heard so (RFC 8445 section 8).
    Nominated {
        /// Number of the pair.
        pair: u32,
    },
    /// The first pair of this peer can carry data, nominated or not.
    FirstUsable {
        /// Number of the pair.
        pair: u32,
    },
    /// A pair is not probed any more, or not kept alive, though nothing failed: the path policy says so.
    ProbingStopped {
        /// Number of the pair.
        pair: u32,
        /// Kernel name of the local interface.
        interface: String,
        /// Where its checks went.
        remote: SocketAddr,
        /// Why.
        why: StopReason,
    },
    /// Consent of a pair ran out (RFC 7675): no data may be sent on it until a check is answered.
    ConsentExpired {
        /// Number of the pair.
        pair: u32,
    },
    /// Every server has answered or was given up: no more candidates come unless interfaces change.
    GatheringComplete {},
    /// The check list as a whole changed its state (RFC 8445 section 6.1.2.1).
    CheckList {
        /// New state.
        state: CheckListState,
    },
    /// Something happened to a relay (RFC 8656).
    Relay {
        /// Kernel name of the interface by which it is reached.
        interface: String,
        /// Number of the socket by which it is reached.
        socket: u32,
        /// The server.
        server: SocketAddr,
        /// What happened.
        news: RelayNews,
        /// `allocated`: the address that it relays for us.
        relayed: Option<SocketAddr>,
        /// `allocated`: the number under which that address is the base of candidates, from 2^31 on.
        base: Option<u32>,
        /// `bound`: to whom; `peer-refused`: whom, with port 0.
        to: Option<SocketAddr>,
        /// `refused` and `peer-refused`: STUN error code.
        code: Option<u16>,
    },
    /// A role conflict changed this peer's role (RFC 8445 section 7.3.1.1).
    RoleChanged {
        /// New role.
        role: IceRole,
    },
    /// A new ICE session begins (RFC 8445 section 9).
    IceRestart {
        /// Counts the sessions of both peers, from 0; this one has credentials of its own.
        session: u32,
        /// What led to it.
        cause: String,
    },
    /// The other end refused our credentials.
    RemoteRefused {
        /// STUN error code, 400 or 401.
        code: u16,
    },
    /// The path policy from now on; told at the start, too.
    Policy {
        /// The preset and what differs from it, as `--policy` takes it.
        policy: String,
    },
    /// Checks are disguised like this from now on; told at the start, too, where they are.
    Disguise {
        /// Where; none: on every interface that no other word names.
        interface: Option<String>,
        /// Rung of the ladder, such as `first-byte-cookie`.
        rung: String,
    },
    /// An interface was given another priority.
    Priority {
        /// Kernel name.
        interface: String,
        /// Local preference (RFC 8445 section 5.1.2.1), 65535 the best.
        value: u16,
    },
    /// Paths on an interface may be used otherwise than before.
    PathStatus {
        /// Kernel name.
        interface: String,
        /// How.
        status: PathStatus,
    },
    /// Packets that were dropped without effect, added up since the run began; told at most once a second and reason.
    Rejected {
        /// One word, such as `not-stun`, `bad-integrity`, `no-integrity`, `unknown-source`.
        reason: String,
        /// How many so far.
        count: u64,
        /// The newest sender.
        from: SocketAddr,
    },

    /// The handshake is complete; `connection` names it for the rest of the run.
    Connected {
        /// A name both ends share, made from the connection's keys.
        connection: String,
        /// QUIC engine.
        engine: String,
        /// Whether several paths at once were negotiated (RFC 10069).
        multipath: bool,
    },
    /// The connection is over.
    ConnectionClosed {
        /// Its name, empty when the handshake never completed.
        connection: String,
        /// Why, in a few words.
        why: String,
    },
    /// A QUIC path changed its state.
    Path {
        /// Number of the path within this peer, never used twice.
        path: u64,
        /// The pair that carries it.
        pair: u32,
        /// Kernel name of the local interface.
        interface: String,
        /// The interface that the other peer names.
        remote_interface: Option<String>,
        /// Local base address.
        local: SocketAddr,
        /// Remote address.
        remote: SocketAddr,
        /// Type of the pair: relay if either end is relayed, else the remote candidate's type.
        candidate: CandidateKind,
        /// New state.
        state: PathState,
        /// What brought it about, in a few words.
        cause: String,
    },
    /// This peer noticed that a path no longer works.
    Detected {
        /// Kernel name of the local interface.
        interface: String,
        /// Number of the path, when one was open.
        path: Option<u64>,
        /// What gave it away.
        by: DetectedBy,
        /// How long nothing had been heard by then, nanoseconds; told when silence gave it away.
        #[serde(default)]
        silence_ns: Option<u64>,
        /// The longest pause that was expected, nanoseconds; told when silence gave it away.
        #[serde(default)]
        expected_ns: Option<u64>,
    },

    /// A payload unit left the workload.
    PayloadSent {
        /// Which workload.
        workload: WorkloadKind,
        /// Counts from 0 in each direction.
        sequence: u64,
        /// Payload bytes.
        bytes: u32,
    },
    /// A payload unit that left the workload was never sent: it grew too old before the QUIC engine could send it, because
    /// the congestion window was full or no path worked.
    PayloadExpired {
        /// Which workload.
        workload: WorkloadKind,
        /// As in its `payload_sent`.
        sequence: u64,
    },
    /// A payload unit arrived at the workload.
    PayloadReceived {
        /// Which workload.
        workload: WorkloadKind,
        /// Counts from 0 in each direction.
        sequence: u64,
        /// When it was sent by the sender's clock, nanoseconds since time zero (comparable on one machine only).
        sent_t_ns: i64,
        /// Payload bytes.
        bytes: u32,
        /// Number of this peer's path on which it arrived, when known.
        path: Option<u64>,
    },
    /// What a path has carried so far, and its newest estimates: every 100 ms while it lives, and once at its end.
    PathSample {
        /// Number of the path.
        path: u64,
        /// UDP payload bytes sent so far.
        bytes_sent: u64,
        /// UDP payload bytes received so far.
        bytes_received: u64,
        /// Smoothed round-trip time, nanoseconds.
        rtt_ns: Option<u64>,
        /// QUIC packets sent so far.
        #[serde(default)]
        packets_sent: Option<u64>,
        /// Those of them that the engine took for lost so far (RFC 9002 section 6).
        #[serde(default)]
        packets_lost: Option<u64>,
        /// Bytes that may be in flight (RFC 9002 section 7).
        #[serde(default)]
        congestion_window: Option<u64>,
    },

    /// A transfer begins; told by both ends, each for itself.
    BulkBegins {
        /// Number of the object within the connection; both ends know it by this number.
        object: u32,
        /// `up` from client to server, `down` from server to client.
        direction: Direction,
        /// Size; none when it is sent until the end of the run.
        bytes: Option<u64>,
        /// This end sends it.
        sending: bool,
    },
    /// How far the sender is; told at most every 100 ms, and at the end.
    BulkSent {
        /// Number of the object.
        object: u32,
        /// Bytes handed to the engine so far, each counted when it was first sent.
        bytes: u64,
        /// Bytes that were sent again so far.
        resent: u64,
        /// Bytes that arrived so far, as far as the receiver has told; null in older records.
        #[serde(default)]
        acknowledged: Option<u64>,
    },
    /// How far the receiver is. Told at once when the last such event is 5 ms old or older, else when it is: then the
    /// time of this event is that of its first new byte whenever nothing new arrived for 5 ms, and a longer gap
    /// between new bytes lies exactly between `newest_t_ns` of one event and the time of the next.
    BulkArrived {
        /// Number of the object.
        object: u32,
        /// Different bytes so far.
        bytes: u64,
        /// Bytes that arrived once more, so far.
        duplicate: u64,
        /// When the newest of the different bytes arrived, nanoseconds since time zero.
        newest_t_ns: i64,
    },
    /// Bytes that the other end had not acknowledged were sent again, since the path that carried them is lost.
    BulkResent {
        /// Number of the object.
        object: u32,
        /// How many bytes, this time.
        bytes: u64,
        /// What brought it about, in a few words.
        why: String,
    },
    /// A transfer is over at this end.
    BulkEnded {
        /// Number of the object.
        object: u32,
        /// Sender: bytes that were sent, each counted once. Receiver: different bytes that arrived.
        bytes: u64,
        /// SHA-256 of them, in hexadecimal; where a receiver lacks some, of those before the first that it lacks.
        sha256: String,
        /// Bytes, duration and longest stall as the receiver measured them: at the sender the newest report. Null without
        /// one, and in older records.
        #[serde(default)]
        receiver: Option<BulkFigures>,
        /// Receiver: whether it equals the sender's. Sender: what the receiver said. None when nobody could tell.
        sha256_ok: Option<bool>,
        /// One word, such as `complete`, `stopped` (before its size was reached) or `interrupted`.
        why: String,
    },

    /// A workload declared how it sends, once, before its first unit.
    Workload {
        /// Which workload.
        workload: WorkloadKind,
        /// Interval between two sends, nanoseconds; none for workloads without a fixed one.
        interval_ns: Option<u64>,
        /// Payload bytes of a unit.
        payload: Option<u32>,
    },

    /// A step of the timeline was applied and read back.
    Disturbance {
        /// Place in the timeline, from 0.
        index: usize,
        /// The scenario's name for the step.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
        /// What was done.
        what: DisturbanceKind,
        /// To which host, where one is meant.
        target_host: Option<String>,
        /// To which interface, where one is meant.
        target_interface: Option<String>,
        /// To which network, where one is meant: one that is changed, or that an interface joins.
        #[serde(default)]
        target_network: Option<String>,
        /// When it was to happen, nanoseconds since time zero.
        due_t_ns: i64,
    },
    /// A step that takes a time has ended, and its end was read back: a roam with a gap has its new network.
    DisturbanceEnded {
        /// Place of the step in the timeline, from 0.
        index: usize,
        /// What the step did.
        what: DisturbanceKind,
        /// To which host, where one is meant.
        target_host: Option<String>,
        /// To which interface, where one is meant.
        target_interface: Option<String>,
        /// The network that the interface has joined.
        target_network: Option<String>,
        /// When the end was to come, nanoseconds since time zero.
        due_t_ns: i64,
    },
    /// A process did not run, or could not write, for a while: what the call missed by then may be its doing and not the
    /// network's. Its heartbeat is due every 5 ms; one that is more than 20 ms late is reported.
    Stall {
        /// Name of the process: `testbed`, or the host of its peer.
        process: String,
        /// Its last sign of life, nanoseconds since time zero.
        from_ns: i64,
        /// When it ran again.
        to_ns: i64,
    },
    /// The state of one direction of a link: every 100 ms.
    LinkSample {
        /// Network of the scenario.
        network: String,
        /// Interface or server whose link it is, as HOST.INTERFACE.
        interface: String,
        /// Seen from that host.
        direction: Direction,
        /// Bytes delivered so far.
        bytes: u64,
        /// Bytes in the queue now.
        queue_bytes: u64,
        /// Packets dropped so far.
        drops: u64,
        /// Since the sample before, nanoseconds: how much too late the latest packet was delivered (down), or the longest
        /// time that one had waited for the network model (up).
        late_ns: u64,
    },
    /// The network model dropped a packet.
    PacketDropped {
        /// Network of the scenario.
        network: String,
        /// Host whose traffic it was, where one is known.
        traffic_host: Option<String>,
        /// Its interface.
        traffic_interface: Option<String>,
        /// Towards the internet or from it.
        direction: Direction,
        /// Why.
        cause: DropCause,
        /// Transport source, where it could be read.
        source: Option<SocketAddr>,
        /// Transport destination, where it could be read.
        destination: Option<SocketAddr>,
        /// Size of the IP packet.
        bytes: u32,
    },
    /// A NAT or firewall state began or ended.
    Mapping {
        /// Network of the scenario.
        network: String,
        /// What is mapped; null in older records.
        #[serde(default)]
        protocol: Option<MappedProtocol>,
        /// Inside address; the port is the identifier for ICMP echo.
        inside: SocketAddr,
        /// Outside address; the same as inside for a firewall.
        outside: SocketAddr,
        /// Began, or ended.
        created: bool,
    },
}

/// Figures of a transfer, as its receiver measured them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BulkFigures {
    /// Different bytes that arrived.
    pub bytes: u64,
    /// From the receiver's beginning to the newest of them, nanoseconds.
    pub duration_ns: u64,
    /// Longest time without a new byte, nanoseconds; where bytes are missing at the end, the time since the newest counts,
    /// too.
    pub longest_stall_ns: u64,
}

#[cfg(test)]
mod tests;
