//! What a peer is told once.

use super::ProbeSpec;
use crate::{BulkSpec, CallSpec, Disguise, EngineKind, Evidence, Identity, Policy, Secret, Ticket};
use ice::RelayServer;
use std::{fmt, net::SocketAddr, time::Duration};
use thiserror::Error;

/// What a peer is told once.
#[derive(Debug, Clone)]
pub struct PeerConfig {
    /// Which end, and what it needs to be that end.
    pub role: Role,
    /// The QUIC implementation; the two ends may have different ones.
    pub engine: EngineKind,
    /// What is probed, which pairs become paths, and what a loss leads to.
    pub policy: Policy,
    /// STUN servers that tell server-reflexive candidates, besides those of the rendezvous.
    pub stun: Vec<SocketAddr>,
    /// TURN servers that are asked for relayed candidates on every interface.
    pub relays: Vec<RelayServer>,
    /// Relays as WhatsApp has them, where both ends meet; both name those that they know.
    pub call_relays: Option<CallRelays>,
    /// How checks are disguised, and where; the last that names an interface counts for it.
    pub disguises: Vec<Disguise>,
    /// What is sent both ways once connected; both ends name their own. A server calls only a client that calls it.
    pub call: Option<CallSpec>,
    /// The object that is carried once connected. The client names it; a server is asked by its client. A client
    /// that has this and no call ends when it is done.
    pub bulk: Option<BulkSpec>,
    /// What the networks in between block is found out; only a client's counts, and its server takes part. A client that
    /// has this and nothing else ends when it knows, and makes no connection where there is a rendezvous.
    pub probe: Option<ProbeSpec>,
    /// Ends the peer in an orderly way this long after the connection came about.
    pub duration: Option<Duration>,
    /// A client that has no connection this long after its start gives up.
    pub connect_timeout: Duration,
    /// Port of every socket; 0 lets the kernel choose.
    pub port: u16,
    /// What is collected for those who read the run.
    pub evidence: Evidence,
    /// Of everything random here. TLS keys come from the operating system all the same.
    pub seed: u64,
}

/// Relays as WhatsApp has them, and what lets us in. Which call it is follows from the ticket's secret.
#[derive(Clone, PartialEq, Eq)]
pub struct CallRelays {
    /// At most 16 are used; more are learnt from the other end.
    pub addresses: Vec<SocketAddr>,
    /// Of a user of all of them.
    pub password: String,
}

impl fmt::Debug for CallRelays {
    /// Leaves the password out: this ends up in logs.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CallRelays").field("addresses", &self.addresses).finish_non_exhaustive()
    }
}

/// Which end of the connection.
#[derive(Debug, Clone)]
pub enum Role {
    /// Connects with a ticket.
    Client {
        /// From the server.
        ticket: Ticket,
    },
    /// Waits for whoever holds the ticket.
    Server {
        /// Its certificate.
        identity: Identity,
        /// The ticket's secret.
        secret: Secret,
        /// Where to meet clients that share no network; also asked for server-reflexive candidates.
        rendezvous: Vec<SocketAddr>,
    },
}

/// A peer cannot be made.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The TLS library does not take the identity.
    #[error("certificate and key cannot be used: {0}")]
    Identity(String),
}
