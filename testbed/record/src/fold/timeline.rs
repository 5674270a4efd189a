//! A run told for people: the paths, what disturbed them, who noticed, and how long it was silent.

use super::{
    Flows, RunFacts,
    arrivals::{Arrivals, Silence},
    log::Log,
    paths::{Life, lives},
    steps::{Step, steps},
};
use crate::{
    Blocking, DetectedBy, Direction, DisturbanceKind, Event, EventKind, Family, Millis, PairState, PathState,
};
use std::{collections::BTreeMap, fmt, time::Duration};

/// Shorter silences of a call beyond the sending interval are jitter.
const CALL_WORTH_TELLING: Millis = Millis::from_ns(1_000_000);
/// Shorter silences of a transfer are pacing.
const BULK_WORTH_TELLING: Millis = Millis::from_ns(10_000_000);

/// One line of the timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimelineEntry {
    /// Since time zero.
    pub t: Millis,
    /// Where.
    pub host: String,
    /// What, in a sentence without a full stop.
    pub text: String,
}

/// Time in seconds to the tenth of a millisecond, host, text.
impl fmt::Display for TimelineEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.4} s  {:<10} {}", self.t.as_f64() / 1e3, self.host, self.text)
    }
}

/// What matters of a run, in order of time.
pub fn timeline(events: &[Event], facts: &RunFacts) -> Vec<TimelineEntry> {
    let log = Log::new(events, facts);
    let teller = Teller::new(&log);
    let mut entries: Vec<TimelineEntry> = log.all().filter_map(|event| teller.entry(event)).collect();
    entries.extend(first_pair(&log));
    entries.extend(silences(&log, &teller.steps));
    entries.sort_by_key(|entry| entry.t);
    entries
}

/// Turns single events into lines.
struct Teller<'a> {
    log: &'a Log<'a>,
    client_paths: BTreeMap<u64, Life<'a>>,
    server_paths: BTreeMap<u64, Life<'a>>,
    steps: Vec<Step<'a>>,
    /// What is carried, in a word.
    payload: &'static str,
}

impl<'a> Teller<'a> {
    fn new(log: &'a Log<'a>) -> Self {
        let client_paths = lives(log, log.client());
        let server_paths = lives(log, log.server());
        Self { log, client_paths, server_paths, steps: steps(log), payload: payload(log) }
    }

    fn entry(&self, event: &Event) -> Option<TimelineEntry> {
        let is_client = event.host == self.log.client();
        let text = match &event.what {
            EventKind::Started {} if is_client => format!("time zero: ICE and {} start", self.payload),
            EventKind::Connected { engine, multipath, .. } if is_client => {
                let paths = if *multipath { "several paths at once" } else { "one path at a time" };
                format!("QUIC connection is up ({engine}, {paths})")
            }
            EventKind::ConnectionClosed { why, .. } if is_client => format!("QUIC connection closed: {why}"),
            EventKind::IceState { agent, state, pairs, answered, .. } => {
                format!("{agent} {}", ice_state(state, pairs.zip(*answered)))
            }
            EventKind::Path { path, state, cause, .. } => self.path(&event.host, *path, *state, cause)?,
            EventKind::Detected { interface, by, silence_ns, expected_ns, .. } => {
                self.detected(event, interface, &cause(*by, *silence_ns, *expected_ns))
            }
            EventKind::BulkBegins { bytes, sending: true, .. } => match bytes {
                Some(bytes) => format!("begins to send {}", Size(*bytes)),
                None => "begins to send until the end".to_owned(),
            },
            EventKind::BulkResent { bytes, why, .. } => format!("sends {} again: {why}", Size(*bytes)),
            EventKind::BulkEnded { object, bytes, sha256_ok, why, .. } if !self.is_sender(event, *object) => {
                received(*bytes, *sha256_ok, why)
            }
            EventKind::Blocking(found) => {
                let Blocking { local_interface, family, direction, verdict, why, .. } = found;
                let remote = found.remote_interface.as_deref().unwrap_or("the server");
                let way = direction.as_str();
                format!("{local_interface} and {remote}, {family}, {way}: {verdict}, because {why}")
            }
            EventKind::Stopped { why } => format!("stopped: {why}"),
            EventKind::Disturbance { .. } => return self.disturbance(event),
            EventKind::DisturbanceEnded { what, target_host, target_interface, target_network, .. } => {
                let target = [target_host, target_interface];
                return Some(disturbance_ended(event, *what, target, target_network.as_deref()));
            }
            EventKind::Stall { process, from_ns, to_ns } => {
                let length = Millis::from_ns(to_ns.saturating_sub(*from_ns));
                format!("{process} stood still for {length}: what was missed then may be its doing")
            }
            _ => return None,
        };
        Some(TimelineEntry { t: Millis::from_ns(event.t_ns), host: event.host.clone(), text })
    }

    fn path(&self, host: &str, path: u64, state: PathState, cause: &str) -> Option<String> {
        let is_client = host == self.log.client();
        let lives = if is_client { &self.client_paths } else { &self.server_paths };
        let life = lives.get(&path)?;
        match state {
            PathState::Active => Some(format!("sends {} on {life}", self.payload)),
            PathState::Closed => Some(format!("{life} closed: {cause}")),
            // The rest is the same on both hosts: once is enough.
            PathState::Validated if is_client => Some(format!("{life} open")),
            PathState::Backup if is_client => Some(format!("{life} kept in reserve")),
            _ => None,
        }
    }

    fn is_sender(&self, event: &Event, object: u32) -> bool {
        self.log.of(&event.host).any(|other| {
            matches!(other.what, EventKind::BulkBegins { object: begun, sending: true, .. } if begun == object)
        })
    }

    fn detected(&self, event: &Event, interface: &str, by: &str) -> String {
        let step = self.steps.iter().find(|step| (step.effect_ns..step.until_ns).contains(&event.t_ns));
        let after = step.map(|step| Millis::from_ns(event.t_ns.saturating_sub(step.at_ns)).at_least_zero());
        let after = after.map_or(String::new(), |after| format!(", {after} after the step"));
        format!("notices a loss on {interface} ({by}){after}")
    }

    fn disturbance(&self, event: &Event) -> Option<TimelineEntry> {
        let step = self.steps.iter().find(|step| step.applied_ns == event.t_ns && is_of(event, step))?;
        let host = step.host.unwrap_or(&event.host).to_owned();
        Some(TimelineEntry { t: Millis::from_ns(event.t_ns), host, text: format!("step: {}", step.what()) })
    }
}

fn disturbance_ended(
    event: &Event,
    what: DisturbanceKind,
    target: [&Option<String>; 2],
    network: Option<&str>,
) -> TimelineEntry {
    let place: Vec<&str> = target.into_iter().flatten().map(String::as_str).collect();
    let network = network.map_or_else(String::new, |network| format!(", now in {network}"));
    let host = target[0].clone().unwrap_or_else(|| event.host.clone());
    let text = format!("end of {what} {}{network}", place.join("."));
    TimelineEntry { t: Millis::from_ns(event.t_ns), host, text }
}

/// Several steps may be applied at one time.
fn is_of(event: &Event, step: &Step<'_>) -> bool {
    matches!(event.what, EventKind::Disturbance { index, what, .. } if (index, what) == (step.index, step.kind))
}

fn payload(log: &Log<'_>) -> &'static str {
    let bulk = log.peers().any(|event| matches!(event.what, EventKind::BulkBegins { .. }));
    let call = Flows::new(log).has_call();
    match (call, bulk) {
        (_, false) => "the call",
        (false, true) => "the transfer",
        (true, true) => "the call and the transfer",
    }
}

/// What an ordinary agent does, and how many pairs it leaves for the one that it keeps.
fn ice_state(word: &str, counts: Option<(u32, u32)>) -> String {
    match (word, counts) {
        ("connected", Some((pairs, answered))) => {
            format!("is connected: keeps one pair of {pairs}, {answered} of which were answered")
        }
        ("restart", _) => "restarts".to_owned(),
        _ => format!("is {word}"),
    }
}

/// The word, and for a silence how long it was and how long it could have been.
fn cause(by: DetectedBy, silence_ns: Option<u64>, expected_ns: Option<u64>) -> String {
    let shown = |ns: u64| Millis::from(Duration::from_nanos(ns));
    match (silence_ns, expected_ns) {
        (Some(silence), Some(expected)) => {
            format!("{by}: nothing for {}, at most {} expected", shown(silence), shown(expected))
        }
        (Some(silence), None) => format!("{by}: nothing for {}", shown(silence)),
        (None, _) => by.to_string(),
    }
}

fn received(bytes: u64, sha256_ok: Option<bool>, why: &str) -> String {
    let hash = match sha256_ok {
        Some(true) => "SHA-256 as sent",
        Some(false) => "SHA-256 DIFFERS from what was sent",
        None => "SHA-256 not compared",
    };
    format!("has received {}, {hash}: {why}", Size(bytes))
}

/// A number of bytes for people.
struct Size(u64);

/// With the largest decimal unit that leaves a number of 1 or more, to one digit after the point.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB")];
        let bytes = self.0 as f64;
        match units.into_iter().find(|(unit, _)| bytes >= *unit) {
            Some((unit, name)) => {
                let number = format!("{:.1}", bytes / unit);
                write!(f, "{} {name}", number.trim_end_matches('0').trim_end_matches('.'))
            }
            None => write!(f, "{} B", self.0),
        }
    }
}

fn first_pair(log: &Log<'_>) -> Option<TimelineEntry> {
    log.of(log.client()).find_map(|event| match &event.what {
        EventKind::Pair { interface, remote_interface, local, remote_kind, state: PairState::Up, .. } => {
            let to = remote_interface.as_deref().unwrap_or("?");
            let family = Family::of(local.ip());
            let text = format!("first usable pair: {interface} to {to} ({family}, {remote_kind})");
            Some(TimelineEntry { t: Millis::from_ns(event.t_ns), host: event.host.clone(), text })
        }
        _ => None,
    })
}

/// The silences that each step is charged with, per direction, told by the host that hears.
fn silences(log: &Log<'_>, steps: &[Step<'_>]) -> Vec<TimelineEntry> {
    let flows = Flows::new(log);
    let receiver = |direction| match direction {
        Direction::Up => log.server(),
        Direction::Down => log.client(),
    };
    let mut entries = vec![];
    if flows.has_call() {
        for (direction, flow) in [(Direction::Up, &flows.up), (Direction::Down, &flows.down)] {
            let ends = |step: &Step<'_>| flows.open_end(direction, step);
            entries.extend(charged(&flow.arrivals, steps, CALL_WORTH_TELLING, ends, |silence| {
                hears_call(receiver(direction), silence)
            }));
        }
    }
    if let Some(bulk) = &flows.bulk {
        let ends = |_: &Step<'_>| bulk.arrivals.end_ns;
        entries.extend(charged(&bulk.arrivals, steps, BULK_WORTH_TELLING, ends, |silence| {
            receives_bulk(receiver(bulk.direction), silence)
        }));
    }
    entries
}

fn charged(
    arrivals: &Arrivals,
    steps: &[Step<'_>],
    least: Millis,
    open_end_ns: impl Fn(&Step<'_>) -> i64,
    tell: impl Fn(Silence) -> TimelineEntry,
) -> Vec<TimelineEntry> {
    let each =
        steps.iter().filter_map(|step| arrivals.interruption(step.at_ns, step.next_ns, open_end_ns(step)));
    let mut silences: Vec<Silence> = each.filter(|silence| silence.beyond >= least).collect();
    // Two steps may be charged with one silence.
    silences.dedup_by_key(|silence| (silence.from_ns, silence.for_good));
    silences.into_iter().map(tell).collect()
}

fn hears_call(receiver: &str, silence: Silence) -> TimelineEntry {
    let (t, text) = if silence.for_good {
        (silence.from_ns, "hears the call for the last time".to_owned())
    } else {
        let length = Millis::from_ns(silence.to_ns.saturating_sub(silence.from_ns));
        (
            silence.to_ns,
            format!("hears the call again after {length}: {} more than the sending interval", silence.beyond),
        )
    };
    TimelineEntry { t: Millis::from_ns(t), host: receiver.to_owned(), text }
}

fn receives_bulk(receiver: &str, silence: Silence) -> TimelineEntry {
    let (t, text) = if silence.for_good {
        (silence.from_ns, "receives the last of the transfer".to_owned())
    } else {
        (silence.to_ns, format!("receives the transfer again after {}", silence.beyond))
    };
    TimelineEntry { t: Millis::from_ns(t), host: receiver.to_owned(), text }
}
