//! One candidate pair: its state, its place in the check list, and what is known of it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::candidate::{CandidateKind, SocketId};
use crate::stun::NetworkInfo;

/// A pair of this agent; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PairId(pub u32);

impl std::fmt::Display for PairId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// The states of RFC 8445 section 6.1.2.6, with Succeeded divided by what later checks say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PairState {
    /// Not yet to be checked: a pair of the same foundation goes first.
    Frozen,
    /// Will be checked.
    Waiting,
    /// A check is under way.
    InProgress,
    /// The check failed; tried again after a while.
    Failed,
    /// Valid, and alive: it can carry data.
    Up,
    /// Valid, but an answer is overdue.
    Suspect,
    /// Valid once, taken for dead, and still checked now and then.
    Down,
    /// Its socket or candidate is gone, or a better pair took its place.
    Removed,
}

impl PairState {
    /// Whether the pair is on the valid list (RFC 8445 section 7.2.5.3.2): a check of it was answered.
    pub fn is_valid(self) -> bool {
        matches!(self, PairState::Up | PairState::Suspect | PairState::Down)
    }

    /// Whether data may be sent on it: valid and not down.
    pub fn is_usable(self) -> bool {
        matches!(self, PairState::Up | PairState::Suspect)
    }
}

/// A pair as it is at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct PairView {
    /// Which.
    pub id: PairId,
    /// The socket to send on.
    pub socket: SocketId,
    /// Name of its interface.
    pub interface: String,
    /// Its bound address, the base.
    pub local: SocketAddr,
    /// Where to send to.
    pub remote: SocketAddr,
    /// Type of the local candidate: of the base until an answer says how the other end sees us.
    pub local_kind: CandidateKind,
    /// Type of the remote candidate.
    pub remote_kind: CandidateKind,
    /// The interface that the other agent names for the remote candidate.
    pub remote_interface: Option<String>,
    /// State.
    pub state: PairState,
    /// RFC 8445 section 6.1.2.3.
    pub priority: u64,
    /// Whether it is the nominated pair.
    pub nominated: bool,
    /// Smoothed round-trip time of its checks.
    pub srtt: Option<Duration>,
    /// Mean variation of the round-trip time.
    pub rttvar: Option<Duration>,
    /// When something authenticated last arrived on it.
    pub last_heard: Option<Instant>,
    /// The other agent agrees to receive data on it until then (RFC 7675); None before the first answer and
    /// after consent expired. Under a policy without consent nothing follows when it is past.
    pub consent_until: Option<Instant>,
    /// Requests sent on it, retransmissions included.
    pub checks_sent: u32,
    /// Success responses to them.
    pub checks_answered: u32,
    /// Share of the last 32 liveness checks whose answers are overdue or never came, 0 to 1; of a valid pair.
    pub loss: Option<f32>,
    /// What the other agent's checks say of the network they come from.
    pub remote_network: Option<NetworkInfo>,
}
