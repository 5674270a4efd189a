//! How long a quiet mapping lives (RFC 4787 section 4.3, RFC 5780 section 4.6).
//!
//! Sockets are answered once and then keep quiet, each for another time; then the server is asked, from another
//! socket, to send to their outside ports. Between the longest that still hears and the shortest that does not the
//! same is done again, until the two are close or the time limit comes. Nothing of that is sent by the quiet sockets, so
//! nothing prolongs what is measured.

use std::time::{Duration, Instant};

use super::asks::{Asks, DOUBTFUL, Outcome, Wish};
use super::steps::{MAIN, Step};
use super::{Filtering, Found, Lifetime, Prober, Why};

#[derive(Debug)]
pub(super) struct Search {
    end: Instant,
    /// A mapping was alive after this time.
    alive: Duration,
    /// One was gone after this time.
    gone: Option<Duration>,
    stage: Stage,
    /// The quiet sockets of this round, with the time that each is to be quiet.
    quiet: Vec<(u32, Duration)>,
    rounds: u32,
}

#[derive(Debug, Clone)]
enum Stage {
    Opening,
    /// They are answered once.
    Answering,
    /// Quiet since the times of the last request and of its answer.
    Quiet(Vec<(Instant, Instant)>),
    /// All is told; a control is on its way.
    Control,
}

/// Sockets of one round.
const AT_ONCE: u32 = 8;
/// No finer than this; what is asked repeatedly takes time itself.
const FINEST: Duration = Duration::from_secs(2);
const MOST_ROUNDS: u32 = 12;

impl Search {
    /// The shortest that is gone is known when it and all shorter ones are settled.
    pub(super) fn may_end_early(&self, asks: &Asks) -> bool {
        matches!(self.stage, Stage::Quiet(_))
            && asks
                .iter()
                .map(|ask| ask.outcome)
                .find(|outcome| !is_alive(*outcome))
                .is_some_and(|first| first != Outcome::Open)
    }

    /// How long the next ones are to be quiet; none at the end.
    fn next_round(&self, now: Instant) -> Vec<Duration> {
        let left = self
            .end
            .saturating_duration_since(now)
            .saturating_sub(DOUBTFUL.every * DOUBTFUL.times + DOUBTFUL.then);
        if self.rounds == 0 {
            // Whether the server does what this needs.
            return vec![Duration::ZERO];
        }
        let (range, count) = match self.gone {
            // There has to be time for a second round.
            None => (self.alive..left.mul_f64(0.6), AT_ONCE),
            Some(gone) => (self.alive..gone, AT_ONCE - 1),
        };
        let width = range.end.saturating_sub(range.start);
        if width <= FINEST || self.rounds >= MOST_ROUNDS || (self.gone.is_some() && range.end > left) {
            return Vec::new();
        }
        (1..=count).map(|place| range.start + width * place / AT_ONCE).collect()
    }
}

fn is_alive(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::Answered { .. })
}

impl Prober {
    pub(super) fn begin_lifetime(&mut self, now: Instant) {
        self.asks.clear();
        let found = match (self.config.lifetime, self.report.filtering) {
            (None, _) => Found::Inconclusive(Why::NotAsked),
            (_, Found::Is(Filtering::None)) => Found::DoesNotApply(Why::NothingKept),
            (Some(limit), _) => {
                let (alive, gone, quiet) = (Duration::ZERO, None, Vec::new());
                let search =
                    Search { end: now + limit, alive, gone, stage: Stage::Opening, quiet, rounds: 0 };
                return self.open_quiet(now, search);
            }
        };
        self.lifetime_found(found);
    }

    fn open_quiet(&mut self, now: Instant, mut search: Search) {
        self.asks.clear();
        search.quiet.iter().for_each(|(socket, _)| self.close(*socket));
        let times = search.next_round(now);
        if times.is_empty() {
            let Search { alive, gone, .. } = search;
            return self.lifetime_found(match (alive, gone) {
                (Duration::ZERO, None) => Found::Inconclusive(Why::TimeLimit),
                (at_least, below) => Found::Is(Lifetime { at_least, below }),
            });
        }
        search.quiet = times.into_iter().map(|time| (self.open(), time)).collect();
        search.rounds += 1;
        search.stage = Stage::Opening;
        self.step = Step::Lifetime(search);
    }

    pub(super) fn lifetime(&mut self, now: Instant, mut search: Search) {
        let Some(server) = self.report.server else { return };
        match search.stage {
            Stage::Opening => {
                for (socket, _) in &search.quiet {
                    self.plain(now, *socket, server);
                }
                search.stage = Stage::Answering;
            }
            Stage::Answering => match self.fall_quiet(now, &search.quiet) {
                Ok(since) => search.stage = Stage::Quiet(since),
                Err(why) => return self.lifetime_found(Found::Inconclusive(why)),
            },
            Stage::Quiet(ref since) => {
                if let Err(why) = self.narrow(since.clone(), &mut search) {
                    return self.lifetime_found(Found::Inconclusive(why));
                }
                self.asks.clear();
                self.plain(now, MAIN, server);
                search.stage = Stage::Control;
            }
            Stage::Control => {
                if self.asks.mapped(0).is_none() {
                    return self.lifetime_found(Found::Inconclusive(Why::PathFailed));
                }
                return self.open_quiet(now, search);
            }
        }
        self.step = Step::Lifetime(search);
    }

    /// Has each of them called in its time. Gives since when they are quiet.
    fn fall_quiet(
        &mut self,
        now: Instant,
        quiet: &[(u32, Duration)],
    ) -> Result<Vec<(Instant, Instant)>, Why> {
        let server = self.report.server.ok_or(Why::NoAnswer)?;
        let asked: Vec<_> = self.asks.iter().map(|ask| (ask.last_sent, ask.answered, ask.outcome)).collect();
        self.asks.clear();
        let mut since = Vec::new();
        for ((socket, time), (sent, answered, outcome)) in quiet.iter().zip(asked) {
            let (Outcome::Answered { mapped, .. }, Some(answered)) = (outcome, answered) else {
                return Err(Why::PathFailed);
            };
            if Some(mapped.ip()) != self.report.mapped.map(|mapped| mapped.ip()) {
                return Err(Why::SeveralOutsides);
            }
            let wish = Wish::To { port: mapped.port(), socket: *socket };
            self.wish((answered + *time).max(now), MAIN, server, wish);
            since.push((sent, answered));
        }
        Ok(since)
    }

    fn narrow(&self, since: Vec<(Instant, Instant)>, search: &mut Search) -> Result<(), Why> {
        for (ask, (sent, answered)) in self.asks.iter().zip(since) {
            if is_alive(ask.outcome) {
                search.alive = search.alive.max(ask.first_sent.saturating_duration_since(answered));
                continue;
            }
            if search.rounds == 1 {
                return Err(Why::NoResponsePort);
            }
            // Any of its repetitions would have passed; the last came no later than this.
            let longest = ask.last_sent.saturating_duration_since(sent) + 2 * self.facts.rtt;
            search.gone = Some(search.gone.map_or(longest, |gone| gone.min(longest)));
            break;
        }
        Ok(())
    }

    fn lifetime_found(&mut self, found: Found<Lifetime>) {
        self.report.lifetime = found;
        self.finish();
    }
}
