//! The messages, as bytes.

use crate::{Fingerprint, secret::Side};
use ice::CandidateKind;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// RFC 9443 section 2: 4 to 15 belong to no protocol that shares the socket.
const FIRST_BYTE: u8 = 5;
/// Fits every path (RFC 9000 section 14 asks for 1200 bytes, too).
pub(super) const MAX_MESSAGE: usize = 1200;
/// A request is at least this long, so that an answer to a forged sender is less than three times as long.
pub(super) const MIN_REQUEST: usize = 400;

/// Numbers one state of one peer: a new process is a new instance, and counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Version {
    pub(crate) instance: u64,
    pub(crate) number: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) enum Message {
    /// Peer to server: what I am, and what I know of the other.
    Update {
        session: [u8; 16],
        side: Side,
        version: Version,
        known: Option<Version>,
        /// Sealed [`Description`]; left out once the server has this version.
        sealed: Option<Vec<u8>>,
    },
    /// Server to peer: what I hold of you, and what the other is.
    State { session: [u8; 16], stored: Option<Version>, other: Option<(Version, Option<Vec<u8>>)> },
}

/// What one peer tells the other.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Description {
    /// Numbers the state, inside the seal: what is older than the newest taken is not taken again.
    pub(crate) version: Version,
    pub(crate) ufrag: String,
    pub(crate) pwd: String,
    /// Of the server's certificate; the client has none.
    pub(crate) fingerprint: Option<[u8; 32]>,
    pub(crate) candidates: Vec<DescribedCandidate>,
}

/// A candidate as it travels (RFC 8839 section 5.1 has the same fields), and the interface that it stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct DescribedCandidate {
    kind: Kind,
    pub(crate) address: SocketAddr,
    pub(crate) priority: u32,
    pub(crate) foundation: String,
    pub(crate) interface: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum Kind {
    Host,
    Srflx,
    Prflx,
    Relay,
}

impl Version {
    /// Whether this state of a peer comes after `taken`; another process of it may start from 1 again.
    pub(crate) fn is_news_after(self, taken: Option<Version>) -> bool {
        taken.is_none_or(|taken| taken.instance != self.instance || taken.number < self.number)
    }
}

impl DescribedCandidate {
    pub(crate) fn new(candidate: &ice::LocalCandidate) -> Self {
        let kind = match candidate.kind {
            CandidateKind::Host => Kind::Host,
            CandidateKind::Srflx => Kind::Srflx,
            CandidateKind::Prflx => Kind::Prflx,
            CandidateKind::Relay => Kind::Relay,
        };
        Self {
            kind,
            address: candidate.address,
            priority: candidate.priority,
            foundation: candidate.foundation.clone(),
            interface: candidate.interface.clone(),
        }
    }

    pub(crate) fn to_remote(&self) -> ice::RemoteCandidate {
        let kind = match self.kind {
            Kind::Host => CandidateKind::Host,
            Kind::Srflx => CandidateKind::Srflx,
            Kind::Prflx => CandidateKind::Prflx,
            Kind::Relay => CandidateKind::Relay,
        };
        ice::RemoteCandidate {
            kind,
            address: self.address,
            priority: self.priority,
            foundation: self.foundation.clone(),
            interface: Some(self.interface.clone()),
        }
    }
}

impl Description {
    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint.map(Fingerprint)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_allocvec(self).unwrap_or_default()
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        postcard::from_bytes(bytes).ok()
    }
}

/// Whether a datagram is one of ours, by its first byte.
pub(crate) fn is_rendezvous(datagram: &[u8]) -> bool {
    datagram.first() == Some(&FIRST_BYTE)
}

impl Message {
    /// None when it is too long to send.
    pub(super) fn to_bytes(&self) -> Option<Vec<u8>> {
        let mut bytes = postcard::to_extend(self, vec![FIRST_BYTE]).ok()?;
        if matches!(self, Message::Update { .. }) && bytes.len() < MIN_REQUEST {
            bytes.resize(MIN_REQUEST, 0);
        }
        (bytes.len() <= MAX_MESSAGE).then_some(bytes)
    }

    pub(super) fn from_bytes(datagram: &[u8]) -> Option<Self> {
        let (&first, body) = datagram.split_first()?;
        // What follows a message is padding.
        let (message, _) = postcard::take_from_bytes(body).ok()?;
        (first == FIRST_BYTE).then_some(message)
    }
}
