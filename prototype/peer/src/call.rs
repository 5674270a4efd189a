//! The call workload: small datagrams at a fixed rate, both ways, numbered and stamped with their sending time.
//!
//! Rate and size default to what was measured of WhatsApp audio calls in 2016: 50 packets a second with 58 bytes of
//! payload. Departure times are absolute, so that a late wake-up never shifts the later ones.

use rand::RngExt as _;
use std::time::{Duration, Instant};
use thiserror::Error;

/// Marks a datagram of a call among those of later workloads.
const MARK: u8 = 1;
/// Departures that a late wake-up makes up for.
const MAX_BURST: u32 = 5;
const HEADER: usize = 1 + 8 + 8;

/// How a call sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallSpec {
    /// Between two datagrams of one direction.
    interval: Duration,
    payload: usize,
}

/// A call cannot be like that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CallError {
    /// Sequence number and time do not fit.
    #[error("a call's payload is {HEADER} to 1000 bytes, not {0}")]
    Payload(usize),
    /// Outside of what a call is.
    #[error("a call sends 1 to 1000 datagrams a second, not {0}")]
    Rate(u32),
}

impl Default for CallSpec {
    fn default() -> Self {
        Self { interval: Duration::from_millis(20), payload: 58 }
    }
}

impl CallSpec {
    /// `rate` in datagrams a second each way, `payload` in bytes of QUIC datagram payload.
    pub fn new(rate: u32, payload: usize) -> Result<Self, CallError> {
        if !(1..=1000).contains(&rate) {
            return Err(CallError::Rate(rate));
        }
        if !(HEADER..=1000).contains(&payload) {
            return Err(CallError::Payload(payload));
        }
        Ok(Self { interval: Duration::from_secs(1) / rate, payload })
    }

    /// Between two datagrams of one direction.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// Bytes of a datagram.
    pub fn payload(&self) -> usize {
        self.payload
    }
}

/// One direction's sender.
#[derive(Debug)]
pub(crate) struct Sender {
    spec: CallSpec,
    start: Instant,
    next: Instant,
    sequence: u64,
}

/// What a datagram of a call says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) sequence: u64,
    /// Since the sender's start.
    pub(crate) sent: Duration,
    pub(crate) bytes: usize,
}

impl Sender {
    /// The phase is drawn from the seed, so that repeats of a run sample where in the interval a loss falls.
    pub(crate) fn new(spec: CallSpec, start: Instant, rng: &mut impl rand::Rng) -> Self {
        let phase = spec.interval.mul_f64(rng.random_range(0.0..1.0));
        Self { spec, start, next: start + phase, sequence: 0 }
    }

    /// Departures before `now` are left out: the call begins with the connection.
    pub(crate) fn skip_to(&mut self, now: Instant) {
        let late = now.saturating_duration_since(self.next).as_nanos();
        let departures = late.div_ceil(self.spec.interval.as_nanos());
        self.next += self.spec.interval * u32::try_from(departures).unwrap_or(u32::MAX);
    }

    pub(crate) fn deadline(&self) -> Instant {
        self.next
    }

    /// The datagram that is due, if one is.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<(Unit, Vec<u8>)> {
        if self.next > now {
            return None;
        }
        // A sender that was asleep goes on with the newest instead of a burst of old ones, as a voice encoder does.
        if now >= self.next + self.spec.interval * MAX_BURST {
            self.skip_to(now.checked_sub(self.spec.interval).unwrap_or(now));
        }
        let unit = Unit {
            sequence: self.sequence,
            sent: now.saturating_duration_since(self.start),
            bytes: self.spec.payload,
        };
        self.sequence += 1;
        self.next += self.spec.interval;
        Some((unit, unit.to_bytes()))
    }
}

impl Unit {
    fn to_bytes(self) -> Vec<u8> {
        let mut bytes = vec![MARK];
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&u64::try_from(self.sent.as_nanos()).unwrap_or(u64::MAX).to_be_bytes());
        bytes.resize(self.bytes, 0);
        bytes
    }

    /// None when it is no datagram of a call.
    pub(crate) fn from_bytes(datagram: &[u8]) -> Option<Self> {
        let (&mark, rest) = datagram.split_first()?;
        let (sequence, rest) = rest.split_first_chunk()?;
        let (sent, _) = rest.split_first_chunk()?;
        (mark == MARK).then(|| Unit {
            sequence: u64::from_be_bytes(*sequence),
            sent: Duration::from_nanos(u64::from_be_bytes(*sent)),
            bytes: datagram.len(),
        })
    }
}

#[cfg(any(fuzzing, feature = "fuzzing"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    if let Some(unit) = Unit::from_bytes(bytes) {
        let again = Unit::from_bytes(&unit.to_bytes()).expect("a unit");
        assert_eq!((again.sequence, again.sent, again.bytes), (unit.sequence, unit.sent, unit.bytes));
    }
}
