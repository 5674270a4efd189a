//! What an agent is told once, when it is made: role, credentials, timing, limits.
//!
//! Timing is data: every figure that governs when something is sent or given up is a field of
//! [`Timing`], with its default and its reason.

use std::time::Duration;

use crate::policy::Policy;
use crate::transaction::{Ids, spread_seed};

/// Everything an [`Agent`](crate::Agent) must know before its first socket.
#[derive(Debug, Clone)]
pub struct Config {
    /// The role to begin with; a role conflict may change it (RFC 8445 section 7.3.1.1).
    pub role: Role,
    /// Settles role conflicts (RFC 8445 section 16.1); should be uniformly random.
    pub tie_breaker: u64,
    /// What the other agent must know to be listened to.
    pub local: Credentials,
    /// When things are sent and given up.
    pub timing: Timing,
    /// What is probed and kept.
    pub policy: Policy,
    /// Seeds the transaction ids, of which RFC 8489 section 5 wants 96 random bits: whoever can guess them can answer
    /// in the place of a STUN server. So a real driver draws all 32 bytes from what no stranger knows (see
    /// [`with_entropy`](Self::with_entropy)); checks are protected by the credentials besides.
    pub seed: [u8; 32],
    /// Most candidate pairs at a time (RFC 8445 section 6.1.2.5).
    pub max_pairs: usize,
    /// Whether requests that fail authentication are told so (400, 401), at most ten times a second and
    /// only while no pair is usable. Otherwise they are dropped in silence.
    pub answer_unauthenticated: bool,
    /// Whether nominations carry their count, so that a later one replaces an earlier one whatever the
    /// priorities; libwebrtc and libnice call it renomination. Agents that do not know it ignore it.
    pub renomination: bool,
}

impl Config {
    /// Defaults around the three things that have none; the tie-breaker comes from the seed. Such a seed is short: for
    /// tests and simulations, which want to be repeated.
    pub fn new(role: Role, local: Credentials, seed: u64) -> Config {
        let seed = spread_seed(seed);
        Config {
            role,
            tie_breaker: Ids::new(seed).tie_breaker(),
            local,
            timing: Timing::default(),
            policy: Policy::default(),
            seed,
            max_pairs: 100,
            answer_unauthenticated: true,
            renomination: true,
        }
    }

    /// With transaction ids and a tie-breaker that come from these random bytes.
    pub fn with_entropy(self, entropy: [u8; 32]) -> Config {
        Config { tie_breaker: Ids::new(entropy).tie_breaker(), seed: entropy, ..self }
    }
}

/// Who nominates (RFC 8445 section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// This agent nominates.
    Controlling,
    /// The other agent nominates.
    Controlled,
}

impl Role {
    /// The other role.
    pub fn opposite(self) -> Role {
        match self {
            Role::Controlling => Role::Controlled,
            Role::Controlled => Role::Controlling,
        }
    }
}

/// A user name fragment and password whose lengths and characters are valid (RFC 8839 section 5.4).
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    ufrag: String,
    pwd: String,
}

/// Why a user name fragment or password was refused (RFC 8839 section 5.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CredentialsError {
    /// Wrong length of the user name fragment.
    #[error("the user name fragment has {0} characters, not 4 to 256")]
    UfragLength(usize),
    /// Wrong length of the password.
    #[error("the password has {0} characters, not 22 to 256")]
    PwdLength(usize),
    /// A character that is no ice-char.
    #[error("{0:?} is none of the letters, digits, '+' and '/' that ICE allows")]
    Character(char),
}

impl Credentials {
    /// Checks lengths and characters.
    pub fn new(ufrag: &str, pwd: &str) -> Result<Credentials, CredentialsError> {
        if !(4..=256).contains(&ufrag.len()) {
            return Err(CredentialsError::UfragLength(ufrag.len()));
        }
        if !(22..=256).contains(&pwd.len()) {
            return Err(CredentialsError::PwdLength(pwd.len()));
        }
        let ice_char = |c: char| c.is_ascii_alphanumeric() || c == '+' || c == '/';
        match ufrag.chars().chain(pwd.chars()).find(|c| !ice_char(*c)) {
            Some(wrong) => Err(CredentialsError::Character(wrong)),
            None => Ok(Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }),
        }
    }

    /// Makes credentials of random bytes: 48 bits of user name fragment and 144 of password, above the 24
    /// and 128 that RFC 8445 section 5.3 asks for.
    pub fn from_entropy(entropy: &[u8; 32]) -> Credentials {
        const ICE_CHARS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let text: String = entropy.iter().map(|byte| char::from(ICE_CHARS[usize::from(byte & 63)])).collect();
        let (ufrag, pwd) = text.split_at(8);
        Credentials { ufrag: ufrag.to_owned(), pwd: pwd.to_owned() }
    }

    /// The user name fragment.
    pub fn ufrag(&self) -> &str {
        &self.ufrag
    }

    /// The password.
    pub fn pwd(&self) -> &str {
        &self.pwd
    }
}

impl std::fmt::Debug for Credentials {
    /// Leaves the password out: this ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("ufrag", &self.ufrag).finish_non_exhaustive()
    }
}

/// When things are sent and given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// Least time between two new transactions, checks and gathering together; 5 ms or more (RFC 8445 section 14.2:
    /// the path and NATs on the way have to keep up). An agent raises less to that.
    pub ta: Duration,
    /// Least retransmission timeout; 500 ms or more (RFC 8445 section 14.3: a longer round trip must not make every
    /// check be sent twice). An agent raises less to that.
    pub min_rto: Duration,
    /// Transmissions of a request before it is given up: Rc of RFC 8489 section 6.2.1.
    pub transmissions: u32,
    /// The last wait as a multiple of the first timeout: Rm of RFC 8489 section 6.2.1.
    pub last_wait: u32,
    /// Least time between liveness checks over all pairs together: with many valid pairs each is checked
    /// less often.
    pub liveness_spacing: Duration,
    /// An answer is overdue after smoothed RTT + 4 variations + this.
    pub overdue_margin: Duration,
    /// So many overdue answers in a row take a pair down; twice as many while something else is still
    /// heard on it.
    pub down_after_overdue: u32,
    /// A pair is not taken down before its oldest unanswered check is this old: on a short path a pause of
    /// the other process would do, or of a radio.
    pub least_silence: Duration,
    /// The same while something else is still heard on it. Our checks, or the answers to them, then wait in a
    /// queue that a transfer fills, which takes as long as the queue is deep; or our direction is lost, and
    /// the other end is about to notice and to say so.
    pub least_silence_while_heard: Duration,
    /// A pair that is down, or whose check failed, is tried again this often.
    pub retry_interval: Duration,
    /// A living pair is checked at least this often, times 0.8 to 1.2, to keep consent (RFC 7675 section 5.1).
    pub consent_interval: Duration,
    /// Consent ends this long after the last answer (RFC 7675 section 5.1).
    pub consent_timeout: Duration,
    /// A check list without a valid pair is not given up before (RFC 8863 section 4).
    pub patience: Duration,
    /// How often a server-reflexive mapping is refreshed (RFC 8445 section 11 names 15 s as least).
    pub gather_refresh: Duration,
}

impl Timing {
    /// Whatever is wanted, other traffic on the way is owed the least that RFC 8445 sections 14.2 and 14.3 allow.
    pub(crate) fn at_least_as_the_standard(self) -> Timing {
        let (ta, min_rto) = (Duration::from_millis(5), Duration::from_millis(500));
        Timing { ta: self.ta.max(ta), min_rto: self.min_rto.max(min_rto), ..self }
    }
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            ta: Duration::from_millis(50),
            min_rto: Duration::from_millis(500),
            transmissions: 7,
            last_wait: 16,
            liveness_spacing: Duration::from_millis(5),
            // Covers a late wake-up at either end; see the detector for what it costs.
            overdue_margin: Duration::from_millis(20),
            // Three in a row are lost by chance once a day at 1 % loss; four stand a burst of 100 ms as well.
            down_after_overdue: 4,
            // About what four checks take at 40 ms RTT.
            least_silence: Duration::from_millis(180),
            // Queues of mobile networks have been seen to hold a second and more (bufferbloat, RFC 8033 section 1);
            // this covers most of them, and a moving round-trip time the rest.
            least_silence_while_heard: Duration::from_secs(1),
            retry_interval: Duration::from_secs(1),
            consent_interval: Duration::from_secs(5),
            consent_timeout: Duration::from_secs(30),
            patience: Duration::from_millis(39_500),
            gather_refresh: Duration::from_secs(15),
        }
    }
}
