//! One bulk transfer as this end sees it, folded from its events.
//!
//! All figures are the receiver's: only there is it known what arrived and when. The sender counts what was acknowledged
//! while the transfer goes on, and has what the receiver measured when it is over. How fast the sender's engine takes bytes
//! is no figure of the network.

use record::{BulkFigures, Direction, EventKind};
use serde::Serialize;
use std::time::Duration;

/// A transfer. Times count from the start.
#[derive(Debug, Clone)]
pub(crate) struct Transfer {
    /// Number within the connection; a client that comes again begins another transfer with the same number.
    pub(crate) object: u32,
    /// Up: from client to server.
    pub(crate) direction: Direction,
    /// This end sends.
    pub(crate) sending: bool,
    /// None: until the end of the run.
    pub(crate) size: Option<u64>,
    /// That arrived, each counted once; at the sender, as far as they were acknowledged.
    pub(crate) bytes: u64,
    /// Sender: sent again. Receiver: arrived again.
    pub(crate) again: u64,
    begun: Duration,
    /// Receiver: when the newest byte arrived. Sender: when the newest acknowledgment was reported.
    newest: Duration,
    longest_stall: Duration,
    /// Bytes, duration and longest stall as the receiver measured them, once the transfer has ended.
    receiver: Option<BulkFigures>,
    /// How it ended, once it has.
    pub(crate) ended: Option<Ended>,
}

/// How a transfer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ended {
    /// In hexadecimal.
    pub(crate) sha256: String,
    /// None when nobody could tell.
    pub(crate) sha256_ok: Option<bool>,
    /// One word.
    pub(crate) why: String,
}

/// Outcome of a transfer, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum TransferOutcome {
    /// Every byte arrived, and both ends have the same digest.
    Complete,
    /// Every byte may have arrived, but the ends could not compare their digests.
    Unconfirmed,
    /// Bytes are missing: the transfer was stopped, replaced or lost with its connection before its end.
    Incomplete,
    /// The receiver has other bytes than the sender sent.
    DigestDiffers,
}

/// `why` of a transfer whose end was asked for and not agreed upon in time.
const NOT_CONFIRMED: &str = "not-confirmed";

/// As JSON.
#[derive(Debug, Serialize)]
pub(crate) struct Told<'a> {
    direction: Direction,
    sending: bool,
    size: Option<u64>,
    bytes: u64,
    bytes_again: u64,
    goodput_bit_s: Option<u64>,
    longest_stall_ms: Option<f64>,
    sha256: Option<&'a str>,
    sha256_ok: Option<bool>,
    ended: Option<&'a str>,
    outcome: TransferOutcome,
}

impl Transfer {
    /// A transfer that begins with this event; none with any other.
    pub(crate) fn begin(at: Duration, event: &EventKind) -> Option<Self> {
        let EventKind::BulkBegins { object, direction, bytes, sending } = event else { return None };
        Some(Self {
            object: *object,
            direction: *direction,
            sending: *sending,
            size: *bytes,
            bytes: 0,
            again: 0,
            begun: at,
            newest: at,
            longest_stall: Duration::ZERO,
            receiver: None,
            ended: None,
        })
    }

    /// Takes one event of this transfer in.
    pub(crate) fn apply(&mut self, at: Duration, event: &EventKind) {
        match event {
            EventKind::BulkSent { resent, acknowledged, .. } => {
                let acknowledged = acknowledged.unwrap_or(0);
                if acknowledged > self.bytes {
                    (self.bytes, self.newest) = (acknowledged, at);
                }
                self.again = *resent;
            }
            EventKind::BulkArrived { bytes, duplicate, newest_t_ns, .. } => {
                let newest = Duration::from_nanos(u64::try_from(*newest_t_ns).unwrap_or(0));
                if *bytes > self.bytes {
                    // A gap lies exactly between the newest byte of one event and the time of the next, or is short.
                    self.longest_stall = self.longest_stall.max(at.saturating_sub(self.newest));
                    self.newest = newest.max(self.newest);
                }
                (self.bytes, self.again) = (*bytes, *duplicate);
            }
            EventKind::BulkEnded { bytes, sha256, receiver, sha256_ok, why, .. } => {
                self.receiver = *receiver;
                self.bytes = match receiver {
                    Some(figures) => figures.bytes,
                    None if self.sending => self.bytes,
                    None => *bytes,
                };
                let (sha256, sha256_ok, why) = (sha256.clone(), *sha256_ok, why.clone());
                self.ended = Some(Ended { sha256, sha256_ok, why });
            }
            _ => {}
        }
    }

    /// Bits a second from the beginning to the newest byte; none before there is any.
    pub(crate) fn goodput(&self) -> Option<u64> {
        let measured = self.receiver.map(|figures| Duration::from_nanos(figures.duration_ns));
        let seconds = measured.unwrap_or(self.newest.saturating_sub(self.begun)).as_secs_f64();
        (seconds > 0.0 && self.bytes > 0).then(|| (self.bytes as f64 * 8.0 / seconds).round() as u64)
    }

    /// The longest time without a new byte, also the one that lasts. The sender knows it at the end, if at all.
    pub(crate) fn longest_stall(&self, now: Duration) -> Option<Duration> {
        if let Some(figures) = self.receiver {
            return Some(Duration::from_nanos(figures.longest_stall_ns));
        }
        let lasts = match self.ended {
            Some(_) => Duration::ZERO,
            None => now.saturating_sub(self.newest),
        };
        (!self.sending).then_some(self.longest_stall.max(lasts))
    }

    /// Outcome so far: a transfer that goes on lacks bytes.
    pub(crate) fn outcome(&self) -> TransferOutcome {
        let Some(ended) = &self.ended else { return TransferOutcome::Incomplete };
        let is_whole = self.size.is_none_or(|size| self.bytes >= size);
        let has_end = self.size.is_some() || ended.why == NOT_CONFIRMED;
        match ended.sha256_ok {
            Some(false) => TransferOutcome::DigestDiffers,
            Some(true) if is_whole => TransferOutcome::Complete,
            None if is_whole && has_end => TransferOutcome::Unconfirmed,
            // The ends may agree on what arrived until one of them stopped.
            Some(true) | None => TransferOutcome::Incomplete,
        }
    }

    /// As JSON.
    pub(crate) fn told(&self, now: Duration) -> Told<'_> {
        Told {
            direction: self.direction,
            sending: self.sending,
            size: self.size,
            bytes: self.bytes,
            bytes_again: self.again,
            goodput_bit_s: self.goodput(),
            longest_stall_ms: self.longest_stall(now).map(crate::summary::milliseconds),
            sha256: self.ended.as_ref().map(|ended| ended.sha256.as_str()),
            sha256_ok: self.ended.as_ref().and_then(|ended| ended.sha256_ok),
            ended: self.ended.as_ref().map(|ended| ended.why.as_str()),
            outcome: self.outcome(),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn begins(sending: bool) -> EventKind {
        EventKind::BulkBegins { object: 0, direction: Direction::Up, bytes: Some(3000), sending }
    }

    pub(crate) fn arrived(bytes: u64, newest_ms: i64) -> EventKind {
        EventKind::BulkArrived { object: 0, bytes, duplicate: 0, newest_t_ns: newest_ms * 1_000_000 }
    }

    #[test]
    fn a_stall_lies_between_the_newest_byte_and_the_next() {
        let ms = Duration::from_millis;
        let mut transfer = Transfer::begin(ms(100), &begins(false)).unwrap();
        transfer.apply(ms(120), &arrived(1000, 118));
        transfer.apply(ms(125), &arrived(2000, 124));
        transfer.apply(ms(324), &arrived(2500, 324));
        assert_eq!(transfer.longest_stall(ms(330)), Some(ms(200)));
        assert_eq!(transfer.longest_stall(ms(1324)), Some(ms(1000)), "the one that lasts");
        transfer.apply(ms(500), &arrived(3000, 500));
        let ended = EventKind::BulkEnded {
            object: 0,
            bytes: 3000,
            sha256: "ab".into(),
            receiver: None,
            sha256_ok: Some(true),
            why: "complete".into(),
        };
        transfer.apply(ms(500), &ended);
        assert_eq!(transfer.longest_stall(ms(9999)), Some(ms(200)));
        assert_eq!(transfer.goodput(), Some(60_000), "3000 bytes in 400 ms");
        assert_eq!(transfer.told(ms(9999)).sha256_ok, Some(true));
    }

    #[test]
    fn only_the_whole_with_the_same_digest_is_complete() {
        use TransferOutcome::{Complete, DigestDiffers, Incomplete, Unconfirmed};
        let outcome = |size, bytes, sha256_ok, why: &str| {
            let begins =
                EventKind::BulkBegins { object: 0, direction: Direction::Down, bytes: size, sending: false };
            let mut transfer = Transfer::begin(Duration::ZERO, &begins).unwrap();
            assert_eq!(transfer.outcome(), Incomplete, "it goes on");
            let (sha256, why) = (String::new(), why.to_owned());
            let ended = EventKind::BulkEnded { object: 0, bytes, sha256, receiver: None, sha256_ok, why };
            transfer.apply(Duration::ZERO, &ended);
            transfer.outcome()
        };
        for (size, bytes, sha256_ok, why, expected) in [
            (Some(3000), 3000, Some(true), "complete", Complete),
            (Some(0), 0, Some(true), "complete", Complete),
            (None, 17, Some(true), "complete", Complete),
            (Some(3000), 3000, Some(false), "digest-differs", DigestDiffers),
            (Some(3000), 2000, Some(false), "digest-differs", DigestDiffers),
            (Some(3000), 2999, Some(true), "stopped", Incomplete),
            (Some(3000), 2999, None, "interrupted", Incomplete),
            (Some(3000), 2999, None, "not-confirmed", Incomplete),
            (Some(3000), 3000, None, "not-confirmed", Unconfirmed),
            (Some(3000), 3000, None, "interrupted", Unconfirmed),
            (None, 17, None, "not-confirmed", Unconfirmed),
            (None, 17, None, "interrupted", Incomplete),
            (None, 17, None, "replaced", Incomplete),
        ] {
            assert_eq!(
                outcome(size, bytes, sha256_ok, why),
                expected,
                "{size:?} {bytes} {sha256_ok:?} {why}"
            );
        }
        assert_eq!(serde_json::to_value(DigestDiffers).unwrap(), "digest-differs");
        assert!(Complete < Unconfirmed && Unconfirmed < Incomplete && Incomplete < DigestDiffers);
    }

    #[test]
    fn the_sender_has_the_figures_of_the_receiver() {
        let second = Duration::from_secs(1);
        let sent = |acknowledged| EventKind::BulkSent { object: 0, bytes: 3000, resent: 70, acknowledged };
        let mut transfer = Transfer::begin(Duration::ZERO, &begins(true)).unwrap();
        transfer.apply(second / 10, &sent(Some(0)));
        assert_eq!((transfer.bytes, transfer.goodput()), (0, None), "all of it lies in the engine");
        transfer.apply(second, &sent(Some(2000)));
        assert_eq!((transfer.goodput(), transfer.again), (Some(16_000), 70));
        assert_eq!(transfer.longest_stall(second * 9), None);
        let figures = BulkFigures { bytes: 3000, duration_ns: 1_500_000_000, longest_stall_ns: 40_000_000 };
        let end = |sending, receiver| {
            let mut transfer = Transfer { sending, ..transfer.clone() };
            let (sha256, why) = (String::new(), "complete".to_owned());
            let sha256_ok = Some(true);
            let ended = EventKind::BulkEnded { object: 0, bytes: 3000, sha256, receiver, sha256_ok, why };
            transfer.apply(second * 2, &ended);
            (transfer.bytes, transfer.goodput(), transfer.longest_stall(second * 2))
        };
        let expected = (3000, Some(16_000), Some(Duration::from_millis(40)));
        assert_eq!(end(true, Some(figures)), expected);
        assert_eq!(end(false, Some(figures)), expected);
        assert_eq!(end(true, None).0, 2000, "what the engine took is not what arrived");
    }
}
