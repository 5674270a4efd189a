//! What each step of the timeline did to the payload, and how it was got over.

use super::{
    Flows, HORIZON,
    arrivals::Silence,
    harness::Stalls,
    log::Log,
    media::Media,
    paths::{Life, active_before, has_moved, lives},
    rebuild::Rebuild,
    steps::{Step, steps},
};
use crate::{
    CandidateKind, Censored, DetectedBy, Direction, DisturbanceMetrics, Event, EventKind, How, Millis,
    MissedMedia, PerDirection,
};
use std::{collections::BTreeMap, ops::Range};

const HORIZON_NS: i64 = HORIZON.as_nanos() as i64;
const NS_PER_S: i64 = 1_000_000_000;

/// One entry for each applied step, in order of time.
pub(super) fn disturbances(log: &Log<'_>, flows: &Flows) -> Vec<DisturbanceMetrics> {
    let steps = steps(log);
    let lives = lives(log, log.client());
    let stalls = Stalls::new(log);
    steps.iter().map(|step| Observed::new(log, flows, &lives, step).metrics(&stalls)).collect()
}

/// The client had a connection at some time, or something arrived.
pub(super) fn was_connected(log: &Log<'_>) -> bool {
    let connected = log.of(log.client()).any(|event| matches!(event.what, EventKind::Connected { .. }));
    let arrived =
        |what: &EventKind| matches!(what, EventKind::PayloadReceived { .. } | EventKind::BulkArrived { .. });
    connected || log.peers().any(|event| arrived(&event.what))
}

/// The first that either peer noticed of a step.
pub(super) fn detection<'a>(log: &Log<'a>, step: &Step<'_>) -> Option<(&'a Event, DetectedBy)> {
    detections(log, step).next()
}

/// What the peers noticed of a step, in order of time.
pub(super) fn detections<'a>(
    log: &Log<'a>,
    step: &Step<'_>,
) -> impl Iterator<Item = (&'a Event, DetectedBy)> {
    let span = step.effect_ns..step.until_ns;
    log.peers().filter(move |event| span.contains(&event.t_ns)).filter_map(|event| match event.what {
        EventKind::Detected { by, .. } => Some((event, by)),
        _ => None,
    })
}

/// Everything that is known about one step.
struct Observed<'a> {
    log: &'a Log<'a>,
    lives: &'a BTreeMap<u64, Life<'a>>,
    flows: &'a Flows,
    step: &'a Step<'a>,
    up: Option<Silence>,
    down: Option<Silence>,
    path_before: Option<u64>,
    path_after: Option<u64>,
}

impl<'a> Observed<'a> {
    fn new(
        log: &'a Log<'a>,
        flows: &'a Flows,
        lives: &'a BTreeMap<u64, Life<'a>>,
        step: &'a Step<'a>,
    ) -> Self {
        let [up, down] = [Direction::Up, Direction::Down].map(|direction| {
            let open_end_ns = flows.open_end(direction, step);
            flows.of(direction).interruption(step.at_ns, step.next_ns, open_end_ns)
        });
        let mut observed = Self { log, lives, flows, step, up, down, path_before: None, path_after: None };
        observed.path_before = observed.path_just_before(step.effect_ns);
        observed.path_after = observed.path_just_before(observed.settled_ns().saturating_add(1));
        observed
    }

    fn metrics(&self, stalls: &Stalls) -> DisturbanceMetrics {
        let gap_before =
            self.flows.both().into_iter().filter_map(|flow| flow.gap_before(self.step.at_ns)).max();
        let detected = detection(self.log, self.step);
        let since =
            |event: &Event| Millis::from_ns(event.t_ns.saturating_sub(self.step.at_ns)).at_least_zero();
        let rebuild = Rebuild::new(self.log, self.step, self.path_after, self.settled_ns());
        DisturbanceMetrics {
            step: self.step.index,
            name: self.step.name.map(str::to_owned),
            at_ms: Millis::from_ns(self.step.applied_ns),
            what: self.step.what(),
            missed: PerDirection { up: self.missed(Direction::Up), down: self.missed(Direction::Down) },
            delay_step_ms: PerDirection {
                up: self.delay_step(Direction::Up, self.up),
                down: self.delay_step(Direction::Down, self.down),
            },
            censored: self.censored(),
            interruption_ms: self.silences().map(|silence| silence.beyond).max(),
            up_ms: self.up.map(|silence| silence.beyond),
            down_ms: self.down.map(|silence| silence.beyond),
            gap_before_ms: gap_before,
            harness_ms: stalls.within(&self.charged()),
            detected_ms: detected.map(|(event, _)| since(event)),
            detected_by: detected.map(|(_, by)| by),
            path_before: self.path_before,
            path_after: self.path_after,
            rebuild_ms: rebuild.as_ref().and_then(Rebuild::rebuild),
            phases: rebuild.as_ref().map(Rebuild::phases),
            how: self.how(),
            same_connection: self.same_connection(),
            bytes_resent: self.flows.bulk.as_ref().map(|bulk| bulk.resent(&self.span())),
            bulk_stall_ms: self.bulk_stall(),
        }
    }

    /// While the step is charged with what happens: its window, and the silences that it is charged with, which may have
    /// begun before.
    fn charged(&self) -> Range<i64> {
        let window = self.step.window();
        let from_ns = self.silences().map(|silence| silence.from_ns).min().unwrap_or(i64::MAX);
        let to_ns = self.silences().map(|silence| silence.to_ns).max().unwrap_or(i64::MIN);
        window.start.min(from_ns)..window.end.max(to_ns).min(self.log.end_ns())
    }

    fn missed(&self, direction: Direction) -> Option<MissedMedia> {
        let (media, delay_ns) = self.usual(direction)?;
        media.missed(&self.step.window(), delay_ns)
    }

    /// By how much longer units take in the second after the longest silence.
    fn delay_step(&self, direction: Direction, silence: Option<Silence>) -> Option<Millis> {
        let (media, delay_ns) = self.usual(direction)?;
        let from_ns = silence.filter(|silence| !silence.for_good)?.to_ns;
        let after = media.median_delay(&(from_ns..from_ns.saturating_add(NS_PER_S)))?;
        Some(Millis::from_ns(after.saturating_sub(delay_ns)))
    }

    /// The units of the call, and their usual delay before the step.
    fn usual(&self, direction: Direction) -> Option<(&'a Media, i64)> {
        let media = self.flows.media(direction)?;
        Some((media, media.usual_delay(&self.step.before())?))
    }

    fn censored(&self) -> Option<Censored> {
        let open = self.silences().filter(|silence| silence.for_good);
        let end_ns = open.map(|silence| silence.to_ns).max()?;
        let horizon = Millis::from_ns(end_ns.saturating_sub(self.step.at_ns)).at_least_zero();
        Some(Censored { horizon_ms: horizon })
    }

    /// From the step on, while effects are still its own.
    fn span(&self) -> Range<i64> {
        self.step.effect_ns..self.step.next_ns.unwrap_or(i64::MAX)
    }

    /// Only where the other figures are those of a call.
    fn bulk_stall(&self) -> Option<Millis> {
        let bulk = self.flows.bulk.as_ref().filter(|_| self.flows.has_call())?;
        let arrivals = &bulk.arrivals;
        let silence = arrivals.interruption(self.step.at_ns, self.step.next_ns, arrivals.end_ns)?;
        Some(silence.beyond)
    }

    fn silences(&self) -> impl Iterator<Item = Silence> {
        self.up.into_iter().chain(self.down)
    }

    /// When the new state of things is looked at: after the horizon, while effects are still this step's; but once
    /// payload moves again, if that is later. Until then nothing has settled, whatever is done next.
    fn settled_ns(&self) -> i64 {
        let moving = self.silences().map(|silence| silence.to_ns).max().unwrap_or(i64::MIN);
        // Peers that have carried all they had to may leave.
        let over = self.flows.bulk_alone().and_then(|bulk| bulk.over_ns).unwrap_or(i64::MAX);
        let settled = self.step.at_ns.saturating_add(HORIZON_NS).min(self.step.until_ns);
        settled.min(over.max(self.step.at_ns)).max(moving)
    }

    /// By the client's own word; else by what it last received, unless that path is closed by then.
    fn path_just_before(&self, t_ns: i64) -> Option<u64> {
        let is_closed = |path: &u64| self.lives.get(path).is_some_and(|life| life.is_closed_before(t_ns));
        let received = || self.flows.of(Direction::Down).path_before(t_ns).filter(|path| !is_closed(path));
        active_before(self.lives, t_ns).or_else(received)
    }

    fn how(&self) -> How {
        if self.is_failed() {
            return How::Failed;
        }
        if self.is_rebuilt() {
            return How::Rebuilt;
        }
        let Some(before) = self.path_before else { return self.how_without_a_path() };
        // Heard again, though not on which path: not on the one that is closed.
        let Some(after) = self.path_after else { return How::Migrated };
        if before == after {
            return if self.has_moved(before) { How::Migrated } else { How::None };
        }
        if self.is_relayed(after) && !self.is_relayed(before) {
            return How::Relay;
        }
        let was_open = self.lives.get(&after).is_some_and(|life| life.is_open_before(self.step.effect_ns));
        if was_open && self.is_multipath() { How::Multipath } else { How::Migrated }
    }

    /// The path goes on, but not between the addresses of before, at either end.
    fn has_moved(&self, path: u64) -> bool {
        let span = self.step.effect_ns..self.settled_ns().saturating_add(1);
        let moved = |host: &str, life: &Life<'_>| has_moved(self.log, host, life, &span);
        let servers = lives(self.log, self.log.server());
        let of_server = active_before(&servers, span.start).and_then(|path| servers.get(&path));
        let of_client = self.lives.get(&path);
        of_client.is_some_and(|life| moved(self.log.client(), life))
            || of_server.is_some_and(|life| moved(self.log.server(), life))
    }

    /// A step may find a connection that has lost every path; what carries it afterwards was not open.
    fn how_without_a_path(&self) -> How {
        let was_up = self.connection(self.step.effect_ns).is_some();
        if was_up && self.path_after.is_some() { How::Migrated } else { How::None }
    }

    /// A silence that began before the step is not its doing, and one that is shorter than a second says nothing yet.
    fn is_failed(&self) -> bool {
        let fatal = |(direction, silence): (Direction, Option<Silence>)| {
            let begins_here =
                |silence: &Silence| self.flows.of(direction).begins_after(silence, self.step.effect_ns);
            silence.is_some_and(|silence| silence.is_fatal() && begins_here(&silence))
        };
        let is_fatal = [(Direction::Up, self.up), (Direction::Down, self.down)].into_iter().any(fatal);
        let unheard = self.flows.both().into_iter().any(|arrivals| arrivals.is_never_heard(self.step.at_ns));
        is_fatal || unheard || self.is_pathless() || !was_connected(self.log)
    }

    /// In a run without payload to judge by: no path was left.
    fn is_pathless(&self) -> bool {
        self.path_before.is_some() && self.path_after.is_none() && self.is_without_payload()
    }

    fn is_without_payload(&self) -> bool {
        self.flows.both().into_iter().all(|arrivals| !arrivals.is_expected)
    }

    fn is_rebuilt(&self) -> bool {
        let before = self.connection(self.step.effect_ns);
        before.is_some() && before != self.connection(self.settled_ns().saturating_add(1))
    }

    fn is_relayed(&self, path: u64) -> bool {
        self.lives.get(&path).is_some_and(|life| life.candidate == CandidateKind::Relay)
    }

    fn is_multipath(&self) -> bool {
        self.connection(self.step.effect_ns).is_some_and(|(_, multipath)| multipath)
    }

    fn same_connection(&self) -> bool {
        let is_dead = self.flows.both().into_iter().any(|arrivals| arrivals.is_dead_after(self.step.at_ns));
        self.connection(self.step.effect_ns).is_some()
            && !is_dead
            && !self.is_failed()
            && !self.is_rebuilt()
            && !self.is_closed()
    }

    /// The connection was closed, though not by the end of the run.
    fn is_closed(&self) -> bool {
        let Some((name, _)) = self.connection(self.step.effect_ns) else { return false };
        let span = self.step.effect_ns..self.settled_ns().min(self.log.end_ns());
        let mut events = self.log.of(self.log.client()).filter(|event| span.contains(&event.t_ns));
        let silent = self.is_without_payload();
        // With payload, its arriving again is the proof; an orderly close just before the end is no loss.
        silent && events.any(|event| {
            matches!(&event.what, EventKind::ConnectionClosed { connection, .. } if connection == name)
        })
    }

    /// The client's newest connection before an instant, and whether it has several paths at once.
    fn connection(&self, t_ns: i64) -> Option<(&'a str, bool)> {
        let before = self.log.of(self.log.client()).take_while(|event| event.t_ns < t_ns);
        let connected = before.filter_map(|event| match &event.what {
            EventKind::Connected { connection, multipath, .. } => Some((connection.as_str(), *multipath)),
            _ => None,
        });
        connected.last()
    }
}
