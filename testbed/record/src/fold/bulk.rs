//! The transfer: what arrived of it and when, and what had to be sent again.
//!
//! A run has one direction of transfer, that of the first object that begins. Several objects of that direction, one
//! after the other or at once, count as one.

use super::{
    LATE_AFTER, LinkRates,
    arrivals::{Arrivals, Burst},
    log::Log,
};
use crate::{BitRate, BulkMetrics, Direction, Event, EventKind};
use std::{collections::BTreeMap, ops::Range};

/// Bursts of a congestion controller come up to a round trip apart; so long a pause says nothing of the next step.
const MARGIN_NS: i64 = 50_000_000;
const NS_PER_S: f64 = 1e9;
/// At the end of the run, so long a pause says nothing.
const PATIENCE_NS: i64 = LATE_AFTER.as_nanos() as i64;

/// A transfer, over all its objects.
pub(super) struct Transfer {
    pub(super) direction: Direction,
    begun_ns: i64,
    /// Different ones, where they are received.
    bytes: u64,
    sha256_ok: Option<bool>,
    /// More arrived than was ever sent.
    pub(super) unrecorded: u64,
    /// When bytes were sent again, and how many.
    resent: Vec<(i64, u64)>,
    /// When all of it was there.
    pub(super) over_ns: Option<i64>,
    pub(super) arrivals: Arrivals,
}

impl Transfer {
    /// None in a run without one.
    pub(super) fn new(log: &Log<'_>) -> Option<Self> {
        let (begun_ns, direction) = log.peers().find_map(|event| match event.what {
            EventKind::BulkBegins { direction, .. } => Some((event.t_ns, direction)),
            _ => None,
        })?;
        let sizes = sizes(log, direction);
        let (sender, receiver) = match direction {
            Direction::Up => (log.client(), log.server()),
            Direction::Down => (log.server(), log.client()),
        };
        let (sent, received) = (End::new(log, sender, &sizes), End::new(log, receiver, &sizes));
        let verdicts: Vec<Option<bool>> =
            sizes.keys().map(|object| verdict(*object, &sent, &received)).collect();
        let over_ns = received.over_ns(&sizes, begun_ns);
        Some(Self {
            direction,
            begun_ns,
            bytes: received.bytes(&sizes),
            sha256_ok: together(&verdicts),
            // Only the sender's last word tells all that it sent.
            unrecorded: match sizes.keys().all(|object| sent.ended.contains_key(object)) {
                true => received.bytes(&sizes).saturating_sub(sent.bytes(&sizes)),
                false => 0,
            },
            resent: sent.resent,
            over_ns,
            arrivals: Arrivals {
                bursts: received.bursts,
                interval_ns: 0,
                margin_ns: MARGIN_NS,
                is_expected: true,
                patience_ns: PATIENCE_NS,
                end_ns: over_ns.unwrap_or(log.end_ns()),
            },
        })
    }

    /// Bytes that were sent again within a span.
    pub(super) fn resent(&self, span: &Range<i64>) -> u64 {
        let within = self.resent.iter().filter(|(t_ns, _)| span.contains(t_ns));
        within.fold(0, |sum, (_, bytes)| sum.saturating_add(*bytes))
    }

    pub(super) fn metrics(&self, rates: Option<LinkRates>) -> BulkMetrics {
        let goodput_bit_s = self.goodput();
        BulkMetrics {
            direction: self.direction,
            bytes: self.bytes,
            sha256_ok: self.sha256_ok,
            goodput_bit_s,
            longest_stall_ms: self.arrivals.longest().map(|silence| silence.beyond),
            aggregation: rates.zip(goodput_bit_s).and_then(|(rates, goodput)| {
                let BitRate(together) = match self.direction {
                    Direction::Up => rates.up,
                    Direction::Down => rates.down,
                };
                (together > 0).then(|| (goodput as f64 / together as f64 * 1e4).round() / 1e4)
            }),
        }
    }

    /// From its beginning to the newest arrival.
    fn goodput(&self) -> Option<u64> {
        let span = self.arrivals.bursts.last()?.last_ns.saturating_sub(self.begun_ns);
        (span > 0).then(|| (self.bytes as f64 * 8.0 * NS_PER_S / span as f64).round() as u64)
    }
}

/// Objects by number, with their sizes where these are fixed.
type Sizes = BTreeMap<u32, Option<u64>>;

/// The objects of a direction.
fn sizes(log: &Log<'_>, wanted: Direction) -> Sizes {
    let begins = log.peers().filter_map(|event| match event.what {
        EventKind::BulkBegins { object, direction, bytes, .. } if direction == wanted => {
            Some((object, bytes))
        }
        _ => None,
    });
    let mut sizes: Sizes = BTreeMap::new();
    for (object, bytes) in begins {
        let size = sizes.entry(object).or_default();
        *size = size.or(bytes);
    }
    sizes
}

/// What one end tells of the objects.
#[derive(Default)]
struct End<'a> {
    /// Bytes so far, by object.
    counted: BTreeMap<u32, u64>,
    bursts: Vec<Burst>,
    resent: Vec<(i64, u64)>,
    ended: BTreeMap<u32, Ended<'a>>,
}

struct Ended<'a> {
    bytes: u64,
    /// None where it could not be told.
    sha256: Option<&'a str>,
    sha256_ok: Option<bool>,
}

impl<'a> End<'a> {
    fn new(log: &Log<'a>, host: &str, sizes: &Sizes) -> Self {
        let mut end = Self::default();
        for event in log.of(host) {
            end.add(event, |object| sizes.contains_key(object));
        }
        end.bursts.sort_by_key(|burst| burst.last_ns);
        end
    }

    fn add(&mut self, event: &'a Event, is_ours: impl Fn(&u32) -> bool) {
        match &event.what {
            EventKind::BulkArrived { object, bytes, newest_t_ns, .. } if is_ours(object) => {
                self.arrived(event.t_ns, *object, *bytes, *newest_t_ns);
            }
            EventKind::BulkResent { object, bytes, .. } if is_ours(object) => {
                self.resent.push((event.t_ns, *bytes));
            }
            EventKind::BulkEnded { object, bytes, sha256, sha256_ok, .. } if is_ours(object) => {
                let sha256 = Some(sha256.as_str()).filter(|sha256| !sha256.is_empty());
                self.ended.insert(*object, Ended { bytes: *bytes, sha256, sha256_ok: *sha256_ok });
            }
            _ => {}
        }
    }

    /// Only bytes that were not there yet end a silence.
    fn arrived(&mut self, told_ns: i64, object: u32, bytes: u64, newest_ns: i64) {
        let counted = self.counted.entry(object).or_default();
        if bytes > *counted {
            *counted = bytes;
            // Told at once, the event has the time of its first new byte. Told later, the newest is the nearest known.
            self.bursts.push(Burst { first_ns: told_ns.min(newest_ns), last_ns: newest_ns, path: None });
        }
    }

    /// Of one object, whichever event tells most.
    fn bytes_of(&self, object: u32) -> u64 {
        let counted = self.counted.get(&object).copied().unwrap_or(0);
        self.ended.get(&object).map_or(0, |ended| ended.bytes).max(counted)
    }

    fn bytes(&self, sizes: &Sizes) -> u64 {
        sizes.keys().fold(0, |sum, object| sum.saturating_add(self.bytes_of(*object)))
    }

    /// When the newest byte arrived, if all are there: as many as were announced, or the receiver could tell whether
    /// their hash is right.
    fn over_ns(&self, sizes: &Sizes, begun_ns: i64) -> Option<i64> {
        let has_all = |(object, size): (&u32, &Option<u64>)| {
            let told = self.ended.get(object).is_some_and(|ended| ended.sha256_ok.is_some());
            told || size.is_some_and(|size| self.bytes_of(*object) == size)
        };
        let newest_ns = self.bursts.last().map_or(begun_ns, |burst| burst.last_ns);
        sizes.iter().all(has_all).then_some(newest_ns)
    }
}

/// Whether what arrived of an object is what was sent. The receiver's word alone is not enough where the record holds
/// both hashes: they must be the same.
fn verdict(object: u32, sent: &End<'_>, received: &End<'_>) -> Option<bool> {
    let received = received.ended.get(&object)?;
    let sent = sent.ended.get(&object);
    let hashes = sent.and_then(|sent| Some((sent.sha256?, received.sha256?, sent.bytes == received.bytes)));
    match (received.sha256_ok, hashes) {
        (Some(false), _) => Some(false),
        (_, Some((sent, arrived, _))) if sent.eq_ignore_ascii_case(arrived) => Some(true),
        (Some(true), Some(_)) | (None, Some((.., true))) => Some(false),
        (said, _) => said,
    }
}

/// One that is wrong makes the whole wrong, and one that is open leaves it open.
fn together(verdicts: &[Option<bool>]) -> Option<bool> {
    if verdicts.contains(&Some(false)) {
        return Some(false);
    }
    verdicts.iter().all(Option::is_some).then_some(true)
}
