//! Requests on their way: ids, retransmission (RFC 8489 section 6.2.1), expiry.
//!
//! Knows nothing of what an answer means; that is decided where answers arrive.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::candidate::SocketId;
use crate::config::{Role, Timing};
use crate::event::CheckPurpose;
use crate::pair::PairId;
use crate::relay::Task;
use crate::stun::{self, TransactionId};

/// An answer that comes later than this says nothing of the path now. Bounds how long a request that is
/// not retransmitted any more is remembered.
const LATE: Duration = Duration::from_secs(3);

/// Most requests remembered for one pair: three seconds of fast liveness checks are fewer.
const PER_PAIR: usize = 64;

/// Places that are added when all are taken.
const GROWTH: usize = 8;

/// A request that may yet be answered.
#[derive(Debug)]
pub(crate) struct Transaction {
    pub(crate) id: TransactionId,
    /// None for a request to a server.
    pub(crate) pair: Option<PairId>,
    /// Of a request to a relay.
    pub(crate) relay: Option<Task>,
    /// Whose credentials it carries.
    pub(crate) session: u32,
    pub(crate) purpose: CheckPurpose,
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    /// The role that the request claimed: a 487 to an older role is no news.
    pub(crate) role: Role,
    /// The code of an unauthenticated 400 or 401: told as the reason if nothing better comes
    /// (RFC 8489 section 9.1.5).
    pub(crate) refused: Option<u16>,
    /// Transmissions so far.
    pub(crate) attempt: u32,
    /// When the newest transmission left.
    pub(crate) sent: Instant,
    /// Another request took its place: its failure means nothing, its success still does
    /// (RFC 8445 section 7.3.1.4).
    pub(crate) cancelled: bool,
    most: u32,
    rto: Duration,
    last_wait: Duration,
    /// Whether all waits but the last are equal, instead of doubling.
    steady: bool,
    /// When it is retransmitted or given up.
    deadline: Instant,
}

/// How a request is repeated.
pub(crate) enum Repeat {
    /// Rc transmissions, intervals doubling from this timeout, the last wait Rm times as long.
    /// At most so many if that is fewer.
    Backoff { rto: Duration, most: Option<u32> },
    /// So many transmissions, the same time between all of them.
    Steady { interval: Duration, most: u32 },
    /// Never: the next liveness check takes its place.
    Once,
}

/// What a deadline brings.
pub(crate) enum Due {
    Retransmit,
    GiveUp,
}

/// All requests on their way, in the order in which they began.
#[derive(Debug, Default)]
pub(crate) struct Transactions {
    open: Vec<Transaction>,
}

/// What is fixed about a new request.
pub(crate) struct Request {
    pub(crate) id: TransactionId,
    pub(crate) pair: Option<PairId>,
    /// Of a request to a relay.
    pub(crate) relay: Option<Task>,
    /// Whose credentials it carries.
    pub(crate) session: u32,
    pub(crate) purpose: CheckPurpose,
    pub(crate) socket: SocketId,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) role: Role,
    pub(crate) repeat: Repeat,
}

impl Transactions {
    /// Remembers a request that leaves now; gives back the one that is forgotten for it, if any.
    pub(crate) fn begin(&mut self, now: Instant, timing: &Timing, request: Request) -> Option<Transaction> {
        let displaced = self.make_room(request.pair);
        let Request { id, pair, relay, session, purpose, socket, to, bytes, role, repeat } = request;
        let (most, rto, last_wait, steady) = match repeat {
            Repeat::Backoff { rto, most } => {
                let most = most.unwrap_or(u32::MAX).min(timing.transmissions);
                (most, rto, rto * timing.last_wait, false)
            }
            Repeat::Steady { interval, most } => (most, interval, interval.max(LATE), true),
            Repeat::Once => (1, LATE, LATE, false),
        };
        let deadline = now + if most > 1 { rto } else { last_wait };
        #[rustfmt::skip]
        let transaction = Transaction {
            id, pair, relay, session, purpose, socket, to, bytes, role,
            refused: None, attempt: 1, sent: now, cancelled: false, most, rto, last_wait, steady, deadline,
        };
        if self.open.len() == self.open.capacity() {
            // Doubling would leave half of it empty, and an agent with many pairs has many of these.
            self.open.reserve_exact(GROWTH);
        }
        self.open.push(transaction);
        displaced
    }

    pub(crate) fn get_mut(&mut self, id: TransactionId) -> Option<&mut Transaction> {
        self.open.iter_mut().find(|open| open.id == id)
    }

    pub(crate) fn end(&mut self, id: TransactionId) -> Option<Transaction> {
        let place = self.open.iter().position(|open| open.id == id)?;
        Some(self.open.remove(place))
    }

    /// Ends all requests for which `which` holds.
    pub(crate) fn end_all(&mut self, mut which: impl FnMut(&Transaction) -> bool) -> Vec<Transaction> {
        self.open.extract_if(.., |open| which(open)).collect()
    }

    /// Stops repeating the checks that were to make a pair valid; answers still count
    /// (RFC 8445 section 7.3.1.4).
    pub(crate) fn cancel(&mut self, now: Instant, pair: PairId) {
        let of_pair =
            |open: &&mut Transaction| open.pair == Some(pair) && open.makes_valid() && !open.cancelled;
        for open in self.open.iter_mut().filter(of_pair) {
            open.cancelled = true;
            open.most = open.attempt;
            open.deadline = now + LATE;
        }
    }

    /// Has the next transmission of these leave now.
    pub(crate) fn hasten(&mut self, now: Instant, which: impl Fn(&Transaction) -> bool) {
        for open in self.open.iter_mut().filter(|open| which(open) && open.attempt < open.most) {
            open.deadline = now;
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.iter().map(|open| open.deadline).min()
    }

    /// The first request whose deadline has come, with what is to be done.
    pub(crate) fn due(&mut self, now: Instant) -> Option<(TransactionId, Due)> {
        let open = self.open.iter_mut().find(|open| open.deadline <= now)?;
        if open.attempt >= open.most {
            return Some((open.id, Due::GiveUp));
        }
        open.attempt += 1;
        open.sent = now;
        let wait = if open.attempt == open.most {
            open.last_wait
        } else if open.steady {
            open.rto
        } else {
            open.rto * (1 << (open.attempt - 1).min(16))
        };
        open.deadline = now + wait;
        Some((open.id, Due::Retransmit))
    }

    fn make_room(&mut self, pair: Option<PairId>) -> Option<Transaction> {
        let of_pair = |open: &Transaction| pair.is_some() && open.pair == pair;
        if self.open.iter().filter(|open| of_pair(open)).count() < PER_PAIR {
            return None;
        }
        // Of the many that ask whether it still works, rather than the one that more depends on.
        let minor = |open: &Transaction| of_pair(open) && open.purpose == CheckPurpose::Liveness;
        let place = self.open.iter().position(minor).or_else(|| self.open.iter().position(of_pair))?;
        Some(self.open.remove(place))
    }
}

impl Transaction {
    /// Whether it is to make its pair valid, rather than to learn more of a valid one.
    pub(crate) fn makes_valid(&self) -> bool {
        matches!(self.purpose, CheckPurpose::Ordinary | CheckPurpose::Triggered)
    }

    /// What an answer has to be an answer to.
    pub(crate) fn method(&self) -> u16 {
        self.relay.as_ref().map_or(stun::BINDING, |task| task.what.method())
    }
}

/// A seed of full length that is no better than this number: for tests and simulations, which want to be repeated.
pub fn spread_seed(seed: u64) -> [u8; 32] {
    ChaCha12Rng::seed_from_u64(seed).get_seed()
}

/// Draws from the seed, never from the global generator.
#[derive(Debug)]
pub(crate) struct Ids(ChaCha12Rng);

impl Ids {
    pub(crate) fn new(seed: [u8; 32]) -> Ids {
        Ids(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn transaction(&mut self) -> TransactionId {
        let mut id = [0; 12];
        self.0.fill_bytes(&mut id);
        TransactionId(id)
    }

    /// A number that nobody else has.
    pub(crate) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Another tie-breaker, after a conflict that was lost.
    pub(crate) fn new_tie_breaker(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A factor from 0.8 to 1.2 (RFC 7675 section 5.1), in thousandths.
    pub(crate) fn consent_factor(&mut self) -> u32 {
        800 + self.0.next_u32() % 401
    }

    /// From a stream of its own: the ids on the wire say nothing of it.
    pub(crate) fn tie_breaker(&self) -> u64 {
        let mut rng = self.0.clone();
        rng.set_stream(1);
        rng.next_u64()
    }
}
