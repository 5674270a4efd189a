//! A run told for people: the paths, what disturbed them, who noticed, and how long it was silent.

use super::{
    Flows, RunFacts,
    disturbances::{Step, steps},
    flow::{Flow, Silence},
    log::Log,
    paths::{Life, lives},
};
use crate::{Direction, Event, EventKind, Family, Millis, PairState, PathState};
use std::{collections::BTreeMap, fmt};

/// Shorter silences beyond the sending interval are jitter.
const WORTH_TELLING: Millis = Millis::from_ns(1_000_000);

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
}

impl<'a> Teller<'a> {
    fn new(log: &'a Log<'a>) -> Self {
        let client_paths = lives(log, log.client());
        let server_paths = lives(log, log.server());
        Self { log, client_paths, server_paths, steps: steps(log) }
    }

    fn entry(&self, event: &Event) -> Option<TimelineEntry> {
        let is_client = event.host == self.log.client();
        let text = match &event.what {
            EventKind::Started {} if is_client => "time zero: ICE and the call start".to_owned(),
            EventKind::Connected { engine, multipath, .. } if is_client => {
                let paths = if *multipath { "several paths at once" } else { "one path at a time" };
                format!("QUIC connection is up ({engine}, {paths})")
            }
            EventKind::ConnectionClosed { why, .. } if is_client => format!("QUIC connection closed: {why}"),
            EventKind::Path { path, state, cause, .. } => self.path(&event.host, *path, *state, cause)?,
            EventKind::Detected { interface, by, .. } => self.detected(event, interface, &by.to_string()),
            EventKind::Stopped { why } => format!("stopped: {why}"),
            EventKind::Disturbance { .. } => return self.disturbance(event),
            _ => return None,
        };
        Some(TimelineEntry { t: Millis::from_ns(event.t_ns), host: event.host.clone(), text })
    }

    fn path(&self, host: &str, path: u64, state: PathState, cause: &str) -> Option<String> {
        let is_client = host == self.log.client();
        let lives = if is_client { &self.client_paths } else { &self.server_paths };
        let life = lives.get(&path)?;
        match state {
            PathState::Active => Some(format!("sends the call on {life}")),
            PathState::Closed => Some(format!("{life} closed: {cause}")),
            // The rest is the same on both hosts: once is enough.
            PathState::Validated if is_client => Some(format!("{life} open")),
            PathState::Backup if is_client => Some(format!("{life} kept in reserve")),
            _ => None,
        }
    }

    fn detected(&self, event: &Event, interface: &str, by: &str) -> String {
        let step = self.steps.iter().find(|step| (step.effect_ns..step.until_ns).contains(&event.t_ns));
        let after = step.map(|step| Millis::from_ns(event.t_ns.saturating_sub(step.at_ns)).at_least_zero());
        let after = after.map_or(String::new(), |after| format!(", {after} after the step"));
        format!("notices a loss on {interface} ({by}){after}")
    }

    fn disturbance(&self, event: &Event) -> Option<TimelineEntry> {
        let step = self.steps.iter().find(|step| step.at_ns == event.t_ns)?;
        let host = step.host.unwrap_or(&event.host).to_owned();
        Some(TimelineEntry { t: Millis::from_ns(event.t_ns), host, text: format!("step: {}", step.what()) })
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

/// The silence that each step is charged with, per direction, told by the host that hears.
fn silences(log: &Log<'_>, steps: &[Step<'_>]) -> Vec<TimelineEntry> {
    let flows = Flows::new(log);
    let ways = [(Direction::Up, log.server()), (Direction::Down, log.client())];
    let mut entries = vec![];
    for (direction, receiver) in ways {
        // Two steps may be charged with one silence.
        let mut told: Option<Silence> = None;
        for step in steps {
            let silence = worth_telling(flows.of(direction), step);
            if silence.is_some() && silence != told {
                entries.extend(silence.map(|silence| hears(receiver, silence)));
                told = silence;
            }
        }
    }
    entries
}

fn worth_telling(flow: &Flow, step: &Step<'_>) -> Option<Silence> {
    flow.interruption(step.at_ns, step.next_ns).filter(|silence| silence.beyond >= WORTH_TELLING)
}

fn hears(receiver: &str, silence: Silence) -> TimelineEntry {
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
