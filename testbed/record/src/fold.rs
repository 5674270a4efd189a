//! The fold: events and a few facts of the run in, results and a timeline out. Pure: nothing else is read, so the
//! same log always gives the same figures, and the log of a run that was killed gives those of its prefix.
//!
//! * [`results()`] makes `results.json`.
//! * [`timeline()`] makes what people want to read of a run.
//! * [`behaviour`] has words for what a run did, to stand beside what others were seen to do.
//!
//! Left out: how figures of several runs are put together, and comparing.

mod arrivals;
pub mod behaviour;
mod bulk;
mod disturbances;
mod episodes;
mod flow;
mod harness;
mod log;
mod media;
mod paths;
mod probes;
mod rebuild;
mod steps;
mod timeline;

pub use timeline::{TimelineEntry, timeline};

use crate::{BitRate, Blocking, CallMetrics, Direction, Event, EventKind, Expectation, Metrics, Results};
use arrivals::Arrivals;
use bulk::Transfer;
use flow::Flow;
use log::Log;
use media::Media;
use std::time::Duration;
use steps::Step;

/// Later than this after it was sent, a datagram of a call is late; and one that was sent this shortly before the
/// end may still be under way. ITU-T G.114: one way, delays up to 150 ms are acceptable for most conversations.
pub const LATE_AFTER: Duration = Duration::from_millis(150);

/// A silence belongs to a disturbance when it begins before this long after it and before the next later disturbance,
/// and ends after it.
pub const HORIZON: Duration = Duration::from_secs(5);

/// What the fold needs to know and no event tells.
#[derive(Debug, Clone, PartialEq)]
pub struct RunFacts {
    /// Name of the scenario.
    pub scenario: String,
    /// Backend, such as `netns`.
    pub backend: String,
    /// Seed of everything random.
    pub seed: u64,
    /// The run directory.
    pub run_dir: String,
    /// Time zero to the planned end.
    pub duration: Duration,
    /// Host of the client.
    pub client: String,
    /// Host of the server.
    pub server: String,
    /// What the scenario expects.
    pub expectations: Vec<Expectation>,
    /// What the links of the client's host carry together; none when one of them has no bound.
    pub link_rates: Option<LinkRates>,
    /// Why the run is invalid, when its own timing or record check failed.
    pub invalid_why: Option<String>,
}

/// Sums of the rates of links, each way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkRates {
    /// From the host.
    pub up: BitRate,
    /// To the host.
    pub down: BitRate,
}

/// Folds the events of a run, in any order, into its results.
pub fn results(events: &[Event], facts: &RunFacts) -> Results {
    let log = Log::new(events, facts);
    let flows = Flows::new(&log);
    let metrics = metrics(&log, &flows);
    let reasons =
        [facts.invalid_why.clone(), flows.unrecorded(), harness::invalid_why(&log, &metrics.disturbances)];
    let reasons: Vec<String> = reasons.into_iter().flatten().collect();
    let invalid_why = (!reasons.is_empty()).then(|| reasons.join("; "));
    Results {
        scenario: facts.scenario.clone(),
        backend: facts.backend.clone(),
        seed: facts.seed,
        valid: invalid_why.is_none(),
        invalid_why,
        duration_ms: facts.duration.into(),
        run_dir: facts.run_dir.clone(),
        expectations: facts.expectations.iter().map(|expectation| expectation.judge(&metrics)).collect(),
        metrics,
    }
}

fn metrics(log: &Log<'_>, flows: &Flows) -> Metrics {
    Metrics {
        first_path_ms: paths::first_usable(log, |_| true),
        direct_path_ms: paths::first_usable(log, |relayed| !relayed),
        relay_path_ms: paths::first_usable(log, |relayed| relayed),
        paths: paths::paths(log),
        probes: probes::probes(log),
        disturbances: disturbances::disturbances(log, flows),
        episodes: episodes::episodes(log, flows),
        call: flows.call(),
        bulk: flows.bulk.as_ref().map(|bulk| bulk.metrics(log.link_rates())),
        blocking: blocking(log),
    }
}

/// As the client told it.
fn blocking(log: &Log<'_>) -> Vec<Blocking> {
    let finding = |event: &Event| match &event.what {
        EventKind::Blocking(finding) => Some(finding.clone()),
        _ => None,
    };
    log.of(log.client()).filter_map(finding).collect()
}

/// What was carried: the call, both ways, and the transfer.
struct Flows {
    up: Flow,
    down: Flow,
    bulk: Option<Transfer>,
    none: Arrivals,
}

impl Flows {
    fn new(log: &Log<'_>) -> Self {
        let (client, server) = (log.client(), log.server());
        Self {
            up: Flow::new(log, client, server),
            down: Flow::new(log, server, client),
            bulk: Transfer::new(log),
            none: Arrivals::default(),
        }
    }

    fn has_call(&self) -> bool {
        [&self.up, &self.down].into_iter().any(|flow| !flow.is_empty())
    }

    /// The transfer, where there was no call beside it.
    fn bulk_alone(&self) -> Option<&Transfer> {
        self.bulk.as_ref().filter(|_| !self.has_call())
    }

    /// What a run is judged by, one way: its call, or its transfer when it has none.
    fn of(&self, direction: Direction) -> &Arrivals {
        match (self.bulk_alone(), direction) {
            (Some(bulk), _) if bulk.direction == direction => &bulk.arrivals,
            (Some(_), _) => &self.none,
            (None, Direction::Up) => &self.up.arrivals,
            (None, Direction::Down) => &self.down.arrivals,
        }
    }

    /// The units of the call, one way; none in a run without a call.
    fn media(&self, direction: Direction) -> Option<&Media> {
        let flow = match direction {
            Direction::Up => &self.up,
            Direction::Down => &self.down,
        };
        (!flow.is_empty()).then_some(&flow.media)
    }

    /// Until when a silence lasts that nothing ends: until the last unit was due, by the usual delay before a step; or
    /// to the end of the run, where its sender stopped sending before.
    fn open_end(&self, direction: Direction, step: &Step<'_>) -> i64 {
        const STOPPED_NS: i64 = 1_000_000_000;
        let end_ns = self.of(direction).end_ns;
        let last_due = || {
            let media = self.media(direction)?;
            let last_sent_ns = media.last_sent_ns()?;
            let is_last = end_ns.saturating_sub(last_sent_ns) <= STOPPED_NS;
            is_last.then_some(last_sent_ns.saturating_add(media.usual_delay(&step.before())?))
        };
        last_due().unwrap_or(end_ns).min(end_ns)
    }

    fn both(&self) -> [&Arrivals; 2] {
        [self.of(Direction::Up), self.of(Direction::Down)]
    }

    fn call(&self) -> Option<CallMetrics> {
        self.has_call().then(|| CallMetrics { up: self.up.metrics(), down: self.down.metrics() })
    }

    /// Payload that arrived without ever having been sent: the record has lost an event.
    fn unrecorded(&self) -> Option<String> {
        let call = [("up", &self.up), ("down", &self.down)].into_iter().find_map(|(way, flow)| {
            let count = flow.unrecorded();
            (count > 0).then(|| {
                format!("record: {count} datagrams of the call arrived ({way}) whose sending is not recorded")
            })
        });
        let bulk = || self.bulk.as_ref().map(|bulk| bulk.unrecorded).filter(|bytes| *bytes > 0);
        call.or_else(|| {
            bulk().map(|bytes| {
                format!("record: {bytes} bytes of the transfer arrived whose sending is not recorded")
            })
        })
    }
}

#[cfg(test)]
mod tests;
