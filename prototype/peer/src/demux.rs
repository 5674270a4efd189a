//! Which protocol a datagram belongs to, by its first byte (RFC 9443 section 2), and the count of those that belong
//! to none.

use crate::{Event, rendezvous};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// What a first byte promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Stun,
    /// WhatsApp's relays have methods of STUN whose first byte is beyond those of RFC 9443.
    CallRelay,
    Rendezvous,
    Quic,
    Unknown,
}

pub(crate) fn protocol(datagram: &[u8]) -> Protocol {
    match datagram.first() {
        Some(0..=3) => Protocol::Stun,
        Some(8) => Protocol::CallRelay,
        // 64 to 79 are TURN channels where a relay is at the other end, and QUIC elsewhere.
        Some(64..=127 | 192..=255) => Protocol::Quic,
        _ if rendezvous::is_rendezvous(datagram) => Protocol::Rendezvous,
        _ => Protocol::Unknown,
    }
}

/// Datagrams dropped without effect, counted by reason and told of at most once a second and reason, so that a flood
/// does not flood the record.
#[derive(Debug, Default)]
pub(crate) struct Rejections {
    reasons: BTreeMap<&'static str, Rejection>,
}

#[derive(Debug)]
struct Rejection {
    count: u64,
    told: u64,
    from: SocketAddr,
    next_word: Instant,
}

const BETWEEN_WORDS: Duration = Duration::from_secs(1);

impl Rejections {
    pub(crate) fn add(&mut self, now: Instant, reason: &'static str, from: SocketAddr) {
        let rejection =
            self.reasons.entry(reason).or_insert(Rejection { count: 0, told: 0, from, next_word: now });
        rejection.count += 1;
        rejection.from = from;
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.reasons.values().filter(|reason| reason.told < reason.count).map(|reason| reason.next_word).min()
    }

    /// What is to be told now; everything untold when `last`.
    pub(crate) fn poll(&mut self, now: Instant, last: bool) -> Option<Event> {
        let due = |rejection: &&mut Rejection| {
            rejection.told < rejection.count && (last || rejection.next_word <= now)
        };
        let (reason, rejection) = self.reasons.iter_mut().find(|(_, rejection)| due(rejection))?;
        rejection.told = rejection.count;
        rejection.next_word = now + BETWEEN_WORDS;
        Some(Event::Rejected { reason, count: rejection.count, from: rejection.from })
    }
}
