//! What an agent hands back: datagrams to send, events, and why a datagram was refused.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::time::Duration;

use crate::candidate::{CandidateKind, LocalCandidate, RemoteCandidate, SocketId};
use crate::config::Role;
use crate::pair::{PairId, PairState, PairView};
use crate::relay::RelayNews;

/// A datagram to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From this socket and no other.
    pub socket: SocketId,
    /// Destination.
    pub to: SocketAddr,
    /// A whole STUN message, perhaps in disguise.
    pub bytes: Vec<u8>,
}

impl std::fmt::Debug for Transmit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Transmit({} -> {}, {} bytes)", self.socket, self.to, self.bytes.len())
    }
}

/// Something happened. The record of a run is made of these, so nothing is left out or merged.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A candidate of ours, to be signalled unless it is peer reflexive. One that the policy holds back is told of when
    /// that ends.
    LocalCandidate(LocalCandidate),
    /// A candidate of ours is gone, or held back from now on.
    LocalCandidateRemoved {
        /// Its type: peer-reflexive ones were never signalled.
        kind: CandidateKind,
        /// Its address.
        address: SocketAddr,
        /// Its base.
        socket: SocketId,
    },
    /// A candidate of the other agent is known, or is better known than before.
    RemoteCandidate(RemoteCandidate),
    /// A request left.
    CheckSent {
        /// None for a request to a server.
        pair: Option<PairId>,
        /// From this socket.
        socket: SocketId,
        /// Destination.
        remote: SocketAddr,
        /// Why it was sent.
        purpose: CheckPurpose,
        /// 1 for the first transmission, 2 for the first retransmission, ...
        attempt: u32,
    },
    /// A success response to a request came back.
    CheckAnswered {
        /// None for a request to a server.
        pair: Option<PairId>,
        /// On this socket.
        socket: SocketId,
        /// Who answered.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it, this one answered or one before.
        attempt: u32,
        /// None when retransmissions make it ambiguous.
        rtt: Option<Duration>,
        /// The address that the other end saw; upkeep of a relay is answered without.
        mapped: Option<SocketAddr>,
    },
    /// A request will not be answered any more, or was answered with an error.
    CheckFailed {
        /// None for a request to a server.
        pair: Option<PairId>,
        /// From this socket.
        socket: SocketId,
        /// Destination.
        remote: SocketAddr,
        /// Why the request was sent.
        purpose: CheckPurpose,
        /// Transmissions of it.
        attempt: u32,
        /// What ended it.
        why: CheckError,
    },
    /// A candidate pair was formed or changed its state.
    Pair {
        /// Which.
        id: PairId,
        /// Its new state.
        state: PairState,
        /// What brought it about, in a few words.
        cause: Cow<'static, str>,
        /// The whole pair as it is now.
        view: PairView,
    },
    /// The controlling agent chose this pair (RFC 8445 section 8.1.1); a later one replaces it.
    Nominated {
        /// Which.
        pair: PairId,
    },
    /// The first pair of a session can carry data, nominated or not.
    FirstUsable {
        /// Which.
        pair: PairId,
    },
    /// A pair is not probed any more, or not kept alive, though nothing failed: by the policy.
    ProbingStopped {
        /// Which.
        pair: PairId,
        /// Its interface: the pair may be gone when this is read.
        interface: String,
        /// Where its checks went.
        remote: SocketAddr,
        /// Why.
        why: StopReason,
    },
    /// Something happened to a relay (RFC 8656).
    Relay {
        /// The socket that it is reached by.
        socket: SocketId,
        /// The server.
        server: SocketAddr,
        /// What.
        news: RelayNews,
    },
    /// Consent of a pair ran out (RFC 7675): no data may be sent on it until a check is answered.
    ConsentExpired {
        /// Which.
        pair: PairId,
    },
    /// Every server has answered or been given up: no more candidates come unless interfaces change. To be
    /// signalled as end-of-candidates (RFC 8838 section 13).
    GatheringComplete,
    /// The check list as a whole changed its state (RFC 8445 section 6.1.2.1).
    CheckList(CheckListState),
    /// A role conflict changed our role.
    RoleChanged(Role),
    /// The policy answers a loss with a restart ([`OnLoss::Restart`](crate::policy::OnLoss::Restart)): draw new
    /// credentials, hand them to [`Agent::restart`](crate::Agent::restart), and signal them.
    RestartWanted,
    /// The other end refused our credentials: most likely one side has a stale or wrong secret. Nothing
    /// else follows from it, because anyone on the path could have said so.
    RemoteRefused {
        /// STUN error code, 400 or 401.
        code: u16,
    },
}

/// State of the check list (RFC 8445 section 6.1.2.1). Unlike there it may change back: pairs come and go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum CheckListState {
    /// Not decided.
    #[default]
    Running,
    /// A valid pair is nominated.
    Completed,
    /// Patience is over (RFC 8863), and no pair is valid or untried.
    Failed,
}

/// Why a pair is not probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StopReason {
    /// Enough direct paths work.
    DirectPath,
    /// A pair is nominated.
    Nominated,
    /// All the requests that the policy allows were sent.
    Budget,
    /// The policy probes no such pair: its interface or its candidates.
    Policy,
    /// It worked, and the policy keeps no such standby.
    Standby,
    /// The policy probes no such pair after a loss, or after an interface returned.
    AfterLoss,
}

impl StopReason {
    /// In a few words.
    pub fn as_str(self) -> &'static str {
        match self {
            StopReason::DirectPath => "enough direct paths",
            StopReason::Nominated => "a pair is nominated",
            StopReason::Budget => "budget of probes used",
            StopReason::Policy => "not probed by the policy",
            StopReason::Standby => "not kept as standby",
            StopReason::AfterLoss => "not probed after a loss",
        }
    }
}

/// Why a request was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum CheckPurpose {
    /// Gathering from a STUN server, or an allocation on a relay.
    Gather,
    /// An ordinary check, in its turn.
    Ordinary,
    /// A triggered check (RFC 8445 section 7.3.1.4).
    Triggered,
    /// Keeps a valid pair known to be alive.
    Liveness,
    /// Carries USE-CANDIDATE.
    Nomination,
    /// Keeps an allocation, or gives it back (RFC 8656 section 7).
    Refresh,
    /// Has a relay let peers in (RFC 8656 section 9).
    Permission,
    /// Binds a channel on a relay, or keeps it (RFC 8656 section 11).
    Channel,
    /// Keeps a relay of WhatsApp's kind.
    Probe,
}

/// What ended a request without success.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum CheckError {
    /// No answer came in time.
    #[error("timeout")]
    Timeout,
    /// The driver could not send it.
    #[error("send failed")]
    SendFailed,
    /// An authenticated error response, or an unauthenticated one and nothing better until the timeout.
    #[error("error response {0}")]
    ErrorResponse(u16),
    /// The answer came from elsewhere than the request went (RFC 8445 section 7.2.5.2.1).
    #[error("answered from another address")]
    UnexpectedSource,
    /// The response said success but not which address it saw.
    #[error("answered without a mapped address")]
    NoMappedAddress,
    /// The response has an attribute that must be understood and is not (RFC 8489 section 6.3).
    #[error("answered with an unknown attribute")]
    BadAttributes,
    /// The socket or candidate went away.
    #[error("pair removed")]
    Removed,
    /// More requests were under way for its pair than are remembered.
    #[error("too many under way")]
    Displaced,
}

/// Why a datagram had no effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
pub enum Rejected {
    /// Not a STUN message: perhaps for someone else.
    #[error("not STUN")]
    NotStun,
    /// Looks like STUN but does not parse, or its FINGERPRINT is wrong.
    #[error("malformed STUN message")]
    Malformed,
    /// The agent has not been started.
    #[error("not started")]
    NotStarted,
    /// No such socket.
    #[error("unknown socket")]
    UnknownSocket,
    /// A method or class that this agent does not speak.
    #[error("unsupported message type")]
    Unsupported,
    /// MESSAGE-INTEGRITY or USERNAME is missing.
    #[error("no integrity")]
    NoIntegrity,
    /// The user name does not begin with our fragment.
    #[error("unknown user")]
    UnknownUser,
    /// MESSAGE-INTEGRITY is wrong.
    #[error("wrong integrity")]
    BadIntegrity,
    /// Authentic, but with an attribute that must be understood and is not, or without one that must be
    /// there. A request that was so answered has failed.
    #[error("unacceptable attributes")]
    BadAttributes,
    /// Authentic, but from an address that cannot be a candidate of a pair on this socket.
    #[error("unusable source address")]
    UnusableSource,
    /// A response to no request of ours, to one of another method, or to one that is over.
    #[error("unknown transaction")]
    UnknownTransaction,
    /// A response from another address than the request went to, or on another socket.
    #[error("unexpected source")]
    UnexpectedSource,
    /// Authentic, but a rule forbids the pair.
    #[error("forbidden")]
    Forbidden,
    /// Authentic, but the policy does not answer it.
    #[error("not answered by the policy")]
    Policy,
    /// Authentic, but every place for candidates or pairs is taken by one that works.
    #[error("no room")]
    NoRoom,
}

impl Rejected {
    /// One kebab-case word for counters and records.
    pub fn reason(self) -> &'static str {
        match self {
            Rejected::NotStun => "not-stun",
            Rejected::Malformed => "malformed",
            Rejected::NotStarted => "not-started",
            Rejected::UnknownSocket => "unknown-socket",
            Rejected::Unsupported => "unsupported",
            Rejected::NoIntegrity => "no-integrity",
            Rejected::UnknownUser => "unknown-user",
            Rejected::BadIntegrity => "bad-integrity",
            Rejected::BadAttributes => "bad-attributes",
            Rejected::UnusableSource => "unusable-source",
            Rejected::UnknownTransaction => "unknown-transaction",
            Rejected::UnexpectedSource => "unexpected-source",
            Rejected::Forbidden => "forbidden",
            Rejected::Policy => "policy",
            Rejected::NoRoom => "no-room",
        }
    }
}
