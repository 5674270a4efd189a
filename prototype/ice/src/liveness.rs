//! Is a valid pair still alive? A detector of its own, apart from consent (RFC 7675), which takes 30 s.
//!
//! Only answers to our own checks prove that both directions work, so only they keep a pair `Up`. An
//! answer is *overdue* after srtt + 4 rttvar + a margin (the terms of RFC 6298). One overdue answer makes
//! the pair `Suspect` and checks follow more closely, at half that time; so many in a row that chance is
//! ruled out (four, over 180 ms at least) take it `Down`. While other traffic is still heard on the pair, twice as many
//! over a second are needed: then the checks perhaps wait in a queue that a transfer fills. A pair that is down is probed on, first at its
//! interval, then more and more slowly, and the first answer brings it back.
//!
//! With 40 ms RTT and a check every 100 ms a sudden silence is noticed at the latest after
//! 100 ms + 64 (overdue) - 40 = 124, and takes the pair down 2 x 64 = 128 ms later.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::config::Timing;

/// What is known of one valid pair.
#[derive(Debug)]
pub(crate) struct Liveness {
    health: Health,
    rtt: Option<RoundTrip>,
    /// When the checks were sent that are newer than the newest answered one, oldest first.
    unanswered: VecDeque<Instant>,
    last_heard: Instant,
    last_sent: Instant,
    next_check: Instant,
    /// Wait before the next probe of a pair that is down.
    probe_wait: Duration,
    /// What became of the last checks, the newest in the lowest bit: 1 for lost. And how many of them count.
    fates: u32,
    fated: u32,
}

/// Up, suspect or down: the valid states of a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    Up,
    Suspect,
    Down,
}

/// Smoothed round-trip time (RFC 6298 section 2).
#[derive(Debug, Clone, Copy)]
pub(crate) struct RoundTrip {
    pub(crate) smoothed: Duration,
    pub(crate) variation: Duration,
}

/// More need not be counted; the oldest are kept, since they are overdue first.
const MOST_UNANSWERED: usize = 32;
/// An answer is waited for at most so long, however slow the path was before.
const MOST_OVERDUE: Duration = Duration::from_secs(3);
/// Checks of a suspect pair are at least so far apart.
const CLOSEST: Duration = Duration::from_millis(25);

impl Liveness {
    /// Begins when the first check of a pair is answered.
    pub(crate) fn new(now: Instant, interval: Duration, rtt: Option<Duration>) -> Liveness {
        Liveness {
            health: Health::Up,
            rtt: rtt.map(RoundTrip::first),
            unanswered: VecDeque::new(),
            last_heard: now,
            last_sent: now,
            next_check: now + interval,
            probe_wait: interval,
            fates: 0,
            fated: 0,
        }
    }

    /// Share of the last checks that were lost, 0 to 1.
    pub(crate) fn loss(&self) -> f32 {
        let lost = self.fates.count_ones() as f32;
        lost / self.fated.max(1) as f32
    }

    fn note_fate(&mut self, lost: bool) {
        self.fates = (self.fates << 1) | u32::from(lost);
        self.fated = (self.fated + 1).min(u32::BITS);
    }

    pub(crate) fn health(&self) -> Health {
        self.health
    }

    pub(crate) fn round_trip(&self) -> Option<RoundTrip> {
        self.rtt
    }

    /// When the next check is to be sent.
    pub(crate) fn next_check(&self) -> Instant {
        self.next_check
    }

    /// When [`judge`](Self::judge) may have something to say.
    pub(crate) fn next_judgement(&self, timing: &Timing) -> Option<Instant> {
        let oldest = *self.unanswered.front()?;
        match self.health {
            Health::Up => Some(oldest + self.overdue(timing)),
            Health::Suspect => {
                let decisive = *self.unanswered.get(self.tolerated(timing).saturating_sub(1))?;
                Some((decisive + self.overdue(timing)).max(oldest + self.least_silence(timing)))
            }
            Health::Down => None,
        }
    }

    /// A check left.
    pub(crate) fn sent(&mut self, now: Instant, timing: &Timing, interval: Duration) {
        if self.health != Health::Down && self.unanswered.len() < MOST_UNANSWERED {
            self.unanswered.push_back(now);
        } else {
            self.note_fate(true);
        }
        self.last_sent = now;
        self.next_check = now + self.spacing(timing, interval);
        if self.health == Health::Down {
            self.probe_wait = (self.probe_wait * 2).min(timing.retry_interval);
        }
    }

    /// A check that left at `sent` was answered; `rtt` unless it is ambiguous. True when that brings the
    /// pair up again.
    pub(crate) fn answered(
        &mut self,
        now: Instant,
        timing: &Timing,
        interval: Duration,
        sent: Instant,
        rtt: Option<Duration>,
    ) -> bool {
        if let Some(sample) = rtt {
            self.rtt = Some(self.rtt.map_or_else(|| RoundTrip::first(sample), |rtt| rtt.update(sample)));
        }
        self.last_heard = now;
        // The path worked after all older checks were lost; they say nothing any more.
        let lost = self.unanswered.iter().filter(|unanswered| **unanswered < sent).count();
        (0..lost).for_each(|_| self.note_fate(true));
        self.unanswered.retain(|unanswered| *unanswered > sent);
        self.note_fate(false);
        let recovered = self.health != Health::Up && self.count_overdue(now, timing) == 0;
        if recovered {
            self.health = Health::Up;
            self.next_check = (self.last_sent + interval).max(now);
        }
        recovered
    }

    /// Something else, authenticated, arrived on the pair.
    pub(crate) fn heard(&mut self, now: Instant) {
        self.last_heard = now;
    }

    /// Wants the next check then.
    pub(crate) fn check_at(&mut self, at: Instant) {
        self.next_check = at;
    }

    /// Wants the next check then at the latest.
    pub(crate) fn check_by(&mut self, at: Instant) {
        self.next_check = self.next_check.min(at);
    }

    /// Wants a check soon, because the other end shows signs of life or the interval became shorter.
    pub(crate) fn hasten(&mut self, now: Instant, interval: Duration) {
        self.next_check = self.next_check.min((self.last_sent + interval).max(now));
    }

    /// Draws the conclusion from overdue answers; says why when the health changed.
    pub(crate) fn judge(
        &mut self,
        now: Instant,
        timing: &Timing,
        interval: Duration,
    ) -> Option<&'static str> {
        let overdue = self.count_overdue(now, timing);
        match self.health {
            Health::Up if overdue > 0 => {
                self.health = Health::Suspect;
                self.next_check =
                    self.next_check.min((self.last_sent + self.spacing(timing, interval)).max(now));
                Some("answer overdue")
            }
            Health::Suspect if overdue >= self.tolerated(timing) && self.is_silent(now, timing) => {
                self.take_down(now, interval);
                Some("answers missing in a row")
            }
            _ => None,
        }
    }

    /// Down at once, without waiting for answers.
    pub(crate) fn take_down(&mut self, now: Instant, interval: Duration) {
        self.health = Health::Down;
        (0..self.unanswered.len()).for_each(|_| self.note_fate(true));
        self.unanswered.clear();
        self.probe_wait = interval;
        self.next_check = now + interval;
    }

    fn spacing(&self, timing: &Timing, interval: Duration) -> Duration {
        match self.health {
            Health::Up => interval,
            Health::Suspect => interval.min(self.overdue(timing) / 2).max(CLOSEST),
            Health::Down => self.probe_wait,
        }
    }

    /// Overdue answers in a row that take the pair down.
    fn tolerated(&self, timing: &Timing) -> usize {
        let heard = self.is_still_heard(timing);
        let most = if heard { timing.down_after_overdue * 2 } else { timing.down_after_overdue };
        (most as usize).clamp(1, MOST_UNANSWERED)
    }

    fn least_silence(&self, timing: &Timing) -> Duration {
        match self.is_still_heard(timing) {
            true => timing.least_silence_while_heard,
            false => timing.least_silence,
        }
    }

    /// What was under way when the path broke arrives before an answer is overdue; what comes later was sent since.
    fn is_still_heard(&self, timing: &Timing) -> bool {
        self.unanswered.front().is_some_and(|first| self.last_heard > *first + self.overdue(timing))
    }

    fn is_silent(&self, now: Instant, timing: &Timing) -> bool {
        self.unanswered.front().is_some_and(|oldest| *oldest + self.least_silence(timing) <= now)
    }

    fn count_overdue(&self, now: Instant, timing: &Timing) -> usize {
        let overdue = self.overdue(timing);
        self.unanswered.iter().take_while(|sent| **sent + overdue <= now).count()
    }

    fn overdue(&self, timing: &Timing) -> Duration {
        let expected = self.rtt.map_or(timing.min_rto, |rtt| rtt.smoothed + rtt.variation * 4);
        (expected + timing.overdue_margin).min(MOST_OVERDUE)
    }
}

impl RoundTrip {
    fn first(sample: Duration) -> RoundTrip {
        RoundTrip { smoothed: sample, variation: sample / 2 }
    }

    fn update(self, sample: Duration) -> RoundTrip {
        RoundTrip {
            variation: (self.variation * 3 + self.smoothed.abs_diff(sample)) / 4,
            smoothed: (self.smoothed * 7 + sample) / 8,
        }
    }
}
