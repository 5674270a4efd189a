//! One peer of a call: ICE over many interfaces, QUIC over the pairs that ICE finds, a workload, and the policy that
//! says which path carries it. No I/O and no clock inside.
//!
//! ```text
//! datagram -> demux (RFC 9443, by first byte; out of disguise and out of relays)
//!               |-- STUN, TURN -> ice::Agent  -> valid pairs
//!               |-- rendezvous -> signalling  -> remote candidates
//!               |-- QUIC       -> engine      -> paths, datagrams, control stream
//! path policy: valid pairs + interface changes + engine events -> open / active / backup / close
//! ```
//!
//! The driver owns sockets, time and seeds. Its loop:
//!
//! 1. [`Peer::handle_interface`] for every interface there is, and again whenever one changes;
//! 2. [`Peer::start`] at time zero;
//! 3. [`Peer::poll`] until it returns none: bind and close sockets, send datagrams, record events, end when
//!    [`Output::Done`] comes;
//! 4. wait until [`Peer::deadline`], a datagram or an interface change; call the `handle_*` method for it; go to 3.
//!
//! The QUIC client is the ICE controlling agent, because only a QUIC client opens paths.
//!
//! Left out in this version: engines other than noq and quiche, workloads other than a call, bulk and a probe.

mod call;
mod control;
mod demux;
mod engine;
mod event;
mod evidence;
mod identity;
mod interface;
mod object;
mod paths;
mod peer;
mod policy;
pub mod rendezvous;
mod secret;
mod silence;
mod sockets;
mod ticket;

/// Entry points for fuzzing.
#[cfg(any(fuzzing, feature = "fuzzing"))]
pub mod fuzzing {
    /// What the other end of a transfer may say: every input is a datagram, or a stream's number and some of its bytes.
    pub fn object<'input>(inputs: impl Iterator<Item = &'input [u8]>) {
        crate::object::fuzz(inputs);
    }

    /// Everything else that comes from somewhere as bytes: tickets, rendezvous messages and what is sealed in them, frames
    /// of the control stream, datagrams of a call. What was understood is written again, and read as the same.
    pub fn words(bytes: &[u8]) {
        if let Ok(text) = str::from_utf8(bytes) {
            if let Ok(policy) = text.parse::<crate::Policy>() {
                assert_eq!(policy.to_string().parse().as_ref(), Ok(&policy));
            }
            let _ = text.parse::<crate::Disguise>();
        }
        crate::ticket::fuzz(bytes);
        crate::rendezvous::fuzz(bytes);
        crate::control::fuzz(bytes);
        crate::call::fuzz(bytes);
    }
}

pub use call::{CallError, CallSpec};
pub use engine::{EngineKind, UnknownEngine};
pub use event::{DetectedBy, Event, PathState, PathView, Pause};
pub use evidence::Evidence;
pub use ice::{
    CandidateKind, CheckListState, CheckPurpose, LocalCandidate, PairState, PairView, RelayNews, RelayServer,
    RemoteCandidate, Role as IceRole, Rung, SocketId, StopReason, blocking,
};
pub use identity::{Fingerprint, Identity, IdentityError};
pub use interface::{Interface, InterfaceChange, InterfaceKind};
pub use object::{BulkDirection, BulkFigures, BulkSpec};
pub use peer::{
    CallRelays, ConfigError, Outcome, Output, PathStatus, Peer, PeerConfig, ProbeSpec, Role, Transmit,
};
pub use policy::{ChangeError, Checks, Costs, Disguise, Held, KEYS as POLICY_KEYS, Policy};
pub use secret::{Secret, Side};
pub use ticket::{Ticket, TicketError};
