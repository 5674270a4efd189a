//! Receive silence: a path is lost when nothing arrives on it any more although something should, and another path
//! shows that the other end is still sending. No signal is needed, and either end finds it out by itself.
//!
//! What should arrive is learnt. The longest recent pause on a path is what its traffic and its jitter make; a pause
//! that exceeds it raises a *doubt*, and a doubt sends a check at once on the doubted path and on every other one.
//! A pause that was taken for a loss is learnt from as well: where a radio channel pauses once, it soon does so again,
//! and a path that has come back is not lost again for the same reason.
//! The *verdict* needs two things:
//!
//! * the pause exceeds the expectation by a margin, two check intervals at least;
//! * another path was heard when the doubted one should have been heard, too. A peer that is stopped, or a host that
//!   is cut off altogether, is silent everywhere, and there is nothing to move to.
//!
//! ```text
//!  heard ---- expected ------------- tolerated ------> silence
//!             doubt: check everywhere     verdict, once another path was heard since the doubt
//! ```
//!
//! A pause of this process is no silence: after a late wake-up what lies in the sockets is taken first.
//!
//! Left out: standby paths and connections with one path, which ICE's own liveness checks watch; whether what was
//! heard is authentic beyond what ICE (STUN) and the engine (QUIC) let pass.

use crate::engine::Link;
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Tolerated beyond the expected pause: a late wake-up at either end, and the answer to the check that the doubt sent
/// on a path of ordinary length.
const MARGIN: Duration = Duration::from_millis(40);
/// Room above the longest recent pause before a doubt is worth two datagrams.
const ROOM: Duration = Duration::from_millis(10);
/// A pause longer than this is a loss, whatever was seen before; what is longer teaches nothing.
const MOST: Duration = Duration::from_millis(500);
/// Pauses are remembered for one to two of these.
const WINDOW: Duration = Duration::from_secs(10);
/// A path that has just begun to carry payload is given the benefit of the doubt while its pauses are learnt.
const SEASON: Duration = Duration::from_secs(2);
/// Between the checks of one doubt, at first.
const PROBE_AGAIN: Duration = Duration::from_millis(40);
/// What a link was like is still worth knowing when it comes back this soon.
const REMEMBERED: Duration = Duration::from_secs(30);
/// A wake-up this much too late is the machine's fault.
const LATE_WAKE_UP: Duration = Duration::from_millis(10);
/// How long the driver then has to hand in what has arrived meanwhile.
const CATCH_UP: Duration = Duration::from_millis(20);

/// The interfaces at both ends, as far as the other end names its own.
pub(crate) type Ends = (String, Option<String>);

/// A link with a validated path.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) link: Link,
    /// How often it is checked by either end.
    pub(crate) pace: Duration,
    pub(crate) ends: Ends,
}

/// Listens on the links of all living paths and judges the active one.
#[derive(Debug, Default)]
pub(crate) struct Silence {
    ears: BTreeMap<Link, Ear>,
    watched: Option<Watched>,
    judge_not_before: Option<Instant>,
}

/// The path that carries the payload.
#[derive(Debug)]
struct Watched {
    link: Link,
    doubt: Option<Doubt>,
}

#[derive(Debug)]
struct Doubt {
    next_probe: Instant,
    wait: Duration,
    /// When another path was first heard that proves this one silent, and how much later than that one this one's
    /// datagrams may arrive.
    proof: Option<(Instant, Duration)>,
}

/// Round-trip time of a link's checks, and its variation (RFC 6298).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Trip {
    pub(crate) smoothed: Duration,
    pub(crate) variation: Duration,
}

/// What is to be done about silence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finding {
    /// Check this link and all others at once.
    Doubt { link: Link },
    /// The link is lost.
    Lost { link: Link, silence: Duration, expected: Duration },
}

impl Silence {
    /// Which links have validated paths, how often each is checked, and which of them carries the payload.
    pub(crate) fn watch(&mut self, now: Instant, active: Option<Link>, links: &[Heard]) {
        self.ears.retain(|link, ear| {
            ear.living &= links.iter().any(|living| living.link == *link);
            ear.living || now < ear.last + REMEMBERED
        });
        for Heard { link, pace, ends } in links {
            self.ears.entry(*link).or_insert_with(|| Ear::new(now, ends.clone())).live(now, *pace);
        }
        if self.watched.as_ref().map(|watched| watched.link) != active {
            if let Some(ear) = self.watched.as_ref().and_then(|watched| self.ears.get_mut(&watched.link)) {
                ear.duty = Duty::Standby;
            }
            let known = active.map(|link| self.known_of(now, link)).unwrap_or_default();
            if let Some(ear) = active.and_then(|link| self.ears.get_mut(&link)) {
                ear.begin(now, known);
            }
            self.watched = active.map(|link| Watched { link, doubt: None });
        }
    }

    /// The longest recent pause between the interfaces of a link, whatever the address family: one channel carries both.
    fn known_of(&self, now: Instant, link: Link) -> Duration {
        let Some(ends) = self.ears.get(&link).map(|ear| &ear.ends) else { return Duration::ZERO };
        let same = self.ears.values().filter(|ear| ear.ends == *ends && ends.1.is_some());
        same.map(|ear| ear.pauses.recent(now)).max().unwrap_or_default()
    }

    /// The other end's address under a path changed; what was learnt of the path stays true.
    pub(crate) fn moved(&mut self, from: Link, to: Link) {
        if let Some(ear) = self.ears.remove(&from) {
            self.ears.insert(to, ear);
        }
        if let Some(watched) = self.watched.as_mut().filter(|watched| watched.link == from) {
            watched.link = to;
        }
    }

    /// Something arrived on a link.
    pub(crate) fn heard(&mut self, now: Instant, link: Link, trip: Option<Trip>) {
        self.excuse_late_wake_up(now);
        let excused = self.is_excused(now);
        let Some(ear) = self.ears.get_mut(&link) else { return };
        ear.trip = trip.or(ear.trip);
        ear.hear(now, excused);
        let ear = ear.clone();
        let Some(Watched { link: watched, doubt: Some(doubt) }) = &mut self.watched else { return };
        if *watched == link {
            if let Some(watched) = &mut self.watched {
                watched.doubt = None;
            }
        } else if let Some(silent) = self.ears.get(watched) {
            // What left the other end together with the datagram that did not come would be here by now.
            if doubt.proof.is_none()
                && now >= silent.last + silent.expected(silent.last) + ear.lag_behind(silent)
            {
                doubt.proof = Some((now, silent.lag_behind(&ear)));
            }
        }
    }

    /// When [`Silence::poll`] has something to find.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (watched, ear) = self.judged()?;
        let due = match &watched.doubt {
            None => ear.last + ear.expected(ear.last),
            Some(doubt) => {
                self.verdict_at(ear, doubt).map_or(doubt.next_probe, |at| at.min(doubt.next_probe))
            }
        };
        Some(self.judge_not_before.map_or(due, |before| before.max(due)))
    }

    /// What silence there is to act on. Call until it finds nothing.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Finding> {
        self.excuse_late_wake_up(now);
        if self.deadline().is_none_or(|at| at > now) {
            return None;
        }
        let (watched, ear) = self.judged()?;
        let (link, silence) = (watched.link, now.saturating_duration_since(ear.last));
        let expected = ear.expected(ear.last);
        if let Some(doubt) = &watched.doubt
            && self.verdict_at(ear, doubt).is_some_and(|at| at <= now)
        {
            self.watched = None;
            if let Some(ear) = self.ears.get_mut(&link) {
                ear.lose(now);
            }
            return Some(Finding::Lost { link, silence, expected });
        }
        let doubt = self.watched.as_mut()?.doubt.get_or_insert(Doubt {
            next_probe: now,
            wait: PROBE_AGAIN,
            proof: None,
        });
        doubt.next_probe = now + doubt.wait;
        doubt.wait *= 2;
        Some(Finding::Doubt { link })
    }

    /// The active link, if there is another one to compare it with.
    fn judged(&self) -> Option<(&Watched, &Ear)> {
        let watched = self.watched.as_ref()?;
        let others = self.ears.iter().any(|(link, ear)| *link != watched.link && ear.living);
        Some((watched, self.ears.get(&watched.link).filter(|_| others)?))
    }

    fn verdict_at(&self, silent: &Ear, doubt: &Doubt) -> Option<Instant> {
        let (heard, lag) = doubt.proof?;
        Some((silent.last + silent.tolerated(silent.last)).max(heard + lag))
    }

    fn is_excused(&self, now: Instant) -> bool {
        self.judge_not_before.is_some_and(|before| now < before)
    }

    fn excuse_late_wake_up(&mut self, now: Instant) {
        let late = self.deadline().is_some_and(|at| at + LATE_WAKE_UP < now);
        // Not again and again: on a machine that is always late silence must still be noticed.
        let recently = self.judge_not_before.is_some_and(|before| now < before + 5 * CATCH_UP);
        if late && !recently {
            self.judge_not_before = Some(now + CATCH_UP);
        }
    }
}

/// What was heard on one link.
#[derive(Debug, Clone)]
struct Ear {
    ends: Ends,
    last: Instant,
    /// How often it is checked by either end.
    pace: Duration,
    duty: Duty,
    pauses: Pauses,
    trip: Option<Trip>,
    /// Until then its pauses are not known well.
    seasoned: Instant,
    living: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Duty {
    Standby,
    /// It carries the payload.
    Carrying,
    /// It did until the pause that is not over yet was taken for a loss.
    Lost,
}

impl Ear {
    fn new(now: Instant, ends: Ends) -> Self {
        Self {
            ends,
            last: now,
            pace: Duration::ZERO,
            duty: Duty::Standby,
            pauses: Pauses::new(now),
            trip: None,
            seasoned: now + SEASON,
            living: false,
        }
    }

    fn live(&mut self, now: Instant, pace: Duration) {
        self.pace = pace;
        if !self.living {
            // It was validated just now.
            self.last = now;
            self.living = true;
        }
    }

    /// It carries the payload from now on.
    fn begin(&mut self, now: Instant, known: Duration) {
        self.duty = Duty::Carrying;
        self.pauses.add(now, known);
        self.seasoned = now + SEASON;
    }

    /// It is taken for lost. If that was wrong, the pause was at least this long.
    fn lose(&mut self, now: Instant) {
        self.learn(now);
        self.duty = Duty::Lost;
    }

    fn hear(&mut self, now: Instant, excused: bool) {
        if !excused {
            self.learn(now);
        }
        if self.duty == Duty::Lost {
            self.duty = Duty::Standby;
        }
        self.last = self.last.max(now);
    }

    fn learn(&mut self, now: Instant) {
        let pause = now.saturating_duration_since(self.last);
        // Nothing but checks comes on a standby: what is not their pace is the channel's.
        let own = if self.duty == Duty::Standby { self.pace } else { Duration::ZERO };
        if pause <= MOST {
            self.pauses.add(now, pause.saturating_sub(own));
        }
    }

    /// The longest pause that is ordinary.
    fn expected(&self, now: Instant) -> Duration {
        let learnt = self.pauses.longest();
        let longest = if now < self.seasoned { learnt.max(self.pace * 2) } else { learnt };
        (longest + longest / 4 + ROOM).min(MOST)
    }

    /// The longest pause that may still be one. Even when the other end has nothing else to send, its checks come at
    /// their pace, and answers to ours.
    fn tolerated(&self, now: Instant) -> Duration {
        (self.expected(now) + MARGIN).max(self.pace * 2 + ROOM).min(MOST.max(self.pace * 4))
    }

    /// How much later a datagram may arrive here than one that left at the same time arrives on `other`. The way
    /// there and the way back are not known apart, so the whole difference counts.
    fn lag_behind(&self, other: &Ear) -> Duration {
        let (Some(ours), Some(other)) = (self.trip, other.trip) else { return MARGIN };
        (ours.smoothed + ours.variation * 2).saturating_sub(other.smoothed)
    }
}

/// The longest pause of the last one to two windows.
#[derive(Debug, Clone)]
struct Pauses {
    since: Instant,
    current: Duration,
    before: Duration,
}

impl Pauses {
    fn new(now: Instant) -> Self {
        Self { since: now, current: Duration::ZERO, before: Duration::ZERO }
    }

    fn add(&mut self, now: Instant, pause: Duration) {
        self.age(now);
        self.current = self.current.max(pause);
    }

    /// Forgets what is too old.
    fn age(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.since);
        if age >= WINDOW {
            self.before = if age < WINDOW * 2 { self.current } else { Duration::ZERO };
            self.current = Duration::ZERO;
            self.since = now;
        }
    }

    /// As long as it is not too old.
    fn recent(&self, now: Instant) -> Duration {
        let mut aged = self.clone();
        aged.age(now);
        aged.longest()
    }

    fn longest(&self) -> Duration {
        self.current.max(self.before)
    }
}
