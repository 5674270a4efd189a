//! Runs of missed units anywhere in a call, and what each came from.

use super::{
    Flows,
    harness::Stalls,
    log::Log,
    media::{J60_NS, Media, MissedRun},
    steps::{Step, steps},
};
use crate::{Direction, Episode, EpisodeCause, EventKind, Millis};
use std::ops::Range;

/// IPv4 and UDP headers: no packet with a unit is smaller than these and its payload.
const HEADERS: u32 = 28;

/// Every run of missed units of 60 ms or more, in order of time.
pub(super) fn episodes(log: &Log<'_>, flows: &Flows) -> Vec<Episode> {
    let causes = Causes { log, steps: steps(log), stalls: Stalls::new(log) };
    let mut episodes: Vec<Episode> = vec![];
    for direction in [Direction::Up, Direction::Down] {
        let Some(media) = flows.media(direction) else { continue };
        episodes.extend(media.missed_runs().iter().map(|run| causes.episode(media, direction, run)));
    }
    episodes.sort_by_key(|episode| episode.start_ms);
    episodes
}

/// What runs may come from.
struct Causes<'a> {
    log: &'a Log<'a>,
    steps: Vec<Step<'a>>,
    stalls: Stalls,
}

impl Causes<'_> {
    fn episode(&self, media: &Media, direction: Direction, run: &MissedRun) -> Episode {
        let step = self.steps.iter().find(|step| step.window().contains(&run.first_due_ns));
        Episode {
            start_ms: Millis::from_ns(run.first_due_ns),
            direction,
            missed_ms: media.length(run),
            cause: self.cause(media, direction, run, step.is_some()),
            step: step.map(|step| step.index),
        }
    }

    fn cause(&self, media: &Media, direction: Direction, run: &MissedRun, is_of_step: bool) -> EpisodeCause {
        let span = run.first_sent_ns..run.last_due_ns.saturating_add(J60_NS);
        let is_moved = run.path_before.zip(run.path_after).is_some_and(|(before, after)| before != after);
        if self.stalls.within(&span) > Millis::default() {
            EpisodeCause::Harness
        } else if is_of_step {
            EpisodeCause::Step
        } else if is_moved {
            EpisodeCause::PathChange
        } else if self.is_of_model(media, direction, run, &span) {
            EpisodeCause::Model
        } else {
            EpisodeCause::Unexplained
        }
    }

    /// As many packets of that size were dropped on that way as units never arrived; or a queue on that way held packets.
    fn is_of_model(&self, media: &Media, direction: Direction, run: &MissedRun, span: &Range<i64>) -> bool {
        let smallest = media.payload().unwrap_or(0).saturating_add(HEADERS);
        let (mut dropped, mut has_queue) = (0, false);
        for event in self.log.all().filter(|event| span.contains(&event.t_ns)) {
            match &event.what {
                EventKind::PacketDropped { traffic_host: Some(host), direction: way, bytes, .. } => {
                    dropped += i64::from(self.is_on_way(direction, host, *way) && *bytes >= smallest);
                }
                EventKind::LinkSample { interface, direction: way, queue_bytes, .. } => {
                    let host = interface.split('.').next().unwrap_or_default();
                    has_queue |= *queue_bytes > 0 && self.is_on_way(direction, host, *way);
                }
                _ => {}
            }
        }
        (run.lost > 0 && dropped >= run.lost) || has_queue
    }

    /// From the sender's host, or to the receiver's.
    fn is_on_way(&self, direction: Direction, host: &str, way: Direction) -> bool {
        let (sender, receiver) = match direction {
            Direction::Up => (self.log.client(), self.log.server()),
            Direction::Down => (self.log.server(), self.log.client()),
        };
        (host, way) == (sender, Direction::Up) || (host, way) == (receiver, Direction::Down)
    }
}
