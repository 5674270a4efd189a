//! The messages, as bytes.

use crate::{Fingerprint, peer::ProbeWords, secret::Side};
use ice::CandidateKind;
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// RFC 9443 section 2: 4 to 15 belong to no protocol that shares the socket.
const FIRST_BYTE: u8 = 5;
/// Fits every path (RFC 9000 section 14 asks for 1200 bytes, too).
pub(super) const MAX_MESSAGE: usize = 1200;
/// A request is at least this long, so that an answer to a forged sender is less than three times as long.
pub(super) const MIN_REQUEST: usize = 400;

/// Before what is said of a probe.
const PROBE: u8 = 1;
/// A probe goes on in a session of its own.
const PROBING: u8 = 2;

/// Numbers one state of one peer: a new process is a new instance, and counts from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Of the process, drawn at random.
    pub instance: u64,
    /// Of the state.
    pub number: u32,
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
pub struct Description {
    /// Numbers the state, inside the seal: what is older than the newest taken is not taken again.
    pub version: Version,
    /// ICE session that this is of; a restart begins the next one (RFC 8445 section 9).
    pub session: u32,
    /// No more candidates are being gathered (RFC 8838 section 13).
    pub complete: bool,
    /// ICE username fragment (RFC 8445 section 5.3).
    pub ufrag: String,
    /// ICE password.
    pub pwd: String,
    /// Of the server's certificate; the client has none.
    pub fingerprint: Option<[u8; 32]>,
    /// At most [`MAX_CANDIDATES`](super::MAX_CANDIDATES).
    pub candidates: Vec<DescribedCandidate>,
    /// Follows the rest, so that who does not know it does not read it.
    #[serde(skip)]
    pub(crate) probe: Option<ProbeWords>,
    /// Follows the rest, too: the client probes, and reports travel in the probe's own session.
    #[serde(skip)]
    pub(crate) probing: bool,
}

/// A candidate as it travels (RFC 8839 section 5.1 has the same fields), and the interface that it stands on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DescribedCandidate {
    kind: Kind,
    /// Its transport address.
    pub address: SocketAddr,
    /// RFC 8445 section 5.1.2.
    pub priority: u32,
    /// RFC 8445 section 5.1.1.3.
    pub foundation: String,
    /// Name of the interface.
    pub interface: String,
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
    pub fn is_news_after(self, taken: Option<Version>) -> bool {
        taken.is_none_or(|taken| taken.instance != self.instance || taken.number < self.number)
    }
}

impl DescribedCandidate {
    /// As the other peer is told of it.
    pub fn new(candidate: &ice::LocalCandidate) -> Self {
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

    /// As the receiver's agent takes it.
    pub fn to_remote(&self) -> ice::RemoteCandidate {
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
    /// Credentials alone, of an agent that probes nothing: neither a certificate nor candidates yet.
    pub fn new(version: Version, ufrag: String, pwd: String) -> Self {
        Self {
            version,
            session: 0,
            complete: false,
            ufrag,
            pwd,
            fingerprint: None,
            candidates: vec![],
            probe: None,
            probing: false,
        }
    }

    pub(crate) fn fingerprint(&self) -> Option<Fingerprint> {
        self.fingerprint.map(Fingerprint)
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = postcard::to_allocvec(self).unwrap_or_default();
        if let Some(probe) = &self.probe {
            bytes.push(PROBE);
            bytes.extend(postcard::to_allocvec(probe).unwrap_or_default());
        } else if self.probing {
            bytes.push(PROBING);
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (description, rest) = postcard::take_from_bytes::<Self>(bytes).ok()?;
        let (probe, probing) = match rest.split_first() {
            Some((&PROBE, rest)) => (Some(postcard::from_bytes(rest).ok()?), false),
            Some((&PROBING, _)) => (None, true),
            // Of a later version.
            Some(_) | None => (None, false),
        };
        Some(Self { probe, probing, ..description })
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

/// Messages of both sides, and descriptions as they come out of their seal.
#[cfg(any(fuzzing, feature = "fuzzing"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(message) = Message::from_bytes(bytes)
        && let Some(again) = message.to_bytes()
    {
        assert_eq!(Message::from_bytes(&again), Some(message));
    }
    if let Some(description) = Description::from_bytes(bytes) {
        assert_eq!(Description::from_bytes(&description.to_bytes()).as_ref(), Some(&description));
        let _ = description.candidates.iter().map(DescribedCandidate::to_remote).count();
    }
}
