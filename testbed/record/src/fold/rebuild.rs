//! How a host that lost an interface came to another path: what it did, and how long each part took.

use super::{
    log::Log,
    paths::{active_before, lives},
    steps::Step,
};
use crate::{Event, EventKind, Millis, PathState, Phases};
use std::{collections::BTreeSet, ops::Range};

/// The host that lost an interface, and the path that it came to.
pub(super) struct Rebuild<'a> {
    log: &'a Log<'a>,
    step: &'a Step<'a>,
    host: &'a str,
    lost: &'a str,
    /// That host's number for the path after, and the path's interface.
    after: Option<(u64, &'a str)>,
    /// Numbers of that host's paths on the lost interface.
    lost_paths: BTreeSet<u64>,
    /// When the new state of things was looked at.
    settled_ns: i64,
}

impl<'a> Rebuild<'a> {
    /// None for a step that takes no interface away. `path_after` is the client's.
    pub(super) fn new(
        log: &'a Log<'a>,
        step: &'a Step<'a>,
        path_after: Option<u64>,
        settled_ns: i64,
    ) -> Option<Self> {
        let (host, lost) = (step.host.filter(|_| step.is_loss())?, step.interface?);
        let lives = lives(log, host);
        let path = match host == log.client() {
            true => path_after,
            false => active_before(&lives, settled_ns.saturating_add(1)),
        };
        let after = path.and_then(|path| Some((path, lives.get(&path)?.interface)));
        let on_lost = lives.values().filter(|life| life.interface == lost);
        let lost_paths = on_lost.map(|life| life.id).collect();
        Some(Self { log, step, host, lost, after, lost_paths, settled_ns })
    }

    /// From the last payload on a path of the lost interface to the first answer to a check on the other.
    pub(super) fn rebuild(&self) -> Option<Millis> {
        let (_, interface) = self.after.filter(|(_, interface)| *interface != self.lost)?;
        if self.is_answered_before(interface) {
            return None;
        }
        let answered_ns = self.first_answer(interface, &(self.step.effect_ns..i64::MAX))?;
        let is_on_lost = |event: &&Event| match event.what {
            EventKind::PayloadReceived { path: Some(path), .. } => self.lost_paths.contains(&path),
            _ => false,
        };
        let until = self.log.of(self.host).take_while(|event| event.t_ns < self.step.until_ns);
        let last = until.filter(is_on_lost).last()?;
        Some(Millis::from_ns(answered_ns.saturating_sub(last.t_ns)))
    }

    pub(super) fn phases(&self) -> Phases {
        let mut clock = Clock { last_ns: self.step.at_ns };
        let detected = self.first(&(self.step.effect_ns..self.step.until_ns), |what| {
            matches!(what, EventKind::Detected { .. })
        });
        let detect_ms = clock.until(detected);
        let only_detected = Phases { detect_ms, ..Phases::default() };
        let Some((path, interface)) = self.after else { return only_detected };
        let active = self.first(&(clock.last_ns..self.settled_ns.saturating_add(1)), |what| {
            matches!(what, EventKind::Path { path: other, state: PathState::Active, .. } if *other == path)
        });
        let Some(active_ns) = active else { return only_detected };
        let gathered = self.first(
            &(clock.last_ns..active_ns.saturating_add(1)),
            |what| matches!(what, EventKind::LocalCandidate { interface: on, .. } if on == interface),
        );
        let gather_ms = clock.until(gathered);
        // An interface that answers already needs no check, unless it has candidates anew.
        let is_known = gather_ms.is_none() && self.is_answered_before(interface);
        let answered = self.first_answer(interface, &(clock.last_ns..active_ns.saturating_add(1)));
        let check_ms = clock.until(answered.filter(|_| !is_known));
        let nominate_ms = clock.until(Some(active_ns));
        let first_byte_ms = clock.until(self.first_payload(path, active_ns));
        Phases { detect_ms, gather_ms, check_ms, nominate_ms, first_byte_ms }
    }

    fn first(&self, span: &Range<i64>, is_wanted: impl Fn(&EventKind) -> bool) -> Option<i64> {
        let mut events = self.log.of(self.host).filter(|event| span.contains(&event.t_ns));
        events.find(|event| is_wanted(&event.what)).map(|event| event.t_ns)
    }

    fn is_answered_before(&self, wanted: &str) -> bool {
        let mut before = self.log.of(self.host).take_while(|event| event.t_ns < self.step.effect_ns);
        before.any(|event| {
            matches!(&event.what, EventKind::CheckAnswered { pair: Some(_), interface, .. } if interface == wanted)
        })
    }

    /// The first answer within a span to a check that was sent after the step.
    fn first_answer(&self, wanted: &str, span: &Range<i64>) -> Option<i64> {
        let mut sent = BTreeSet::new();
        let since = self.log.of(self.host).skip_while(|event| event.t_ns < self.step.effect_ns);
        for event in since.take_while(|event| event.t_ns < span.end) {
            match &event.what {
                EventKind::CheckSent { pair: Some(pair), interface, .. } if interface == wanted => {
                    sent.insert(*pair);
                }
                EventKind::CheckAnswered { pair: Some(pair), interface, rtt_ns, .. }
                    if interface == wanted && sent.contains(pair) && span.contains(&event.t_ns) =>
                {
                    let rtt_ns = rtt_ns.map_or(0, |rtt| i64::try_from(rtt).unwrap_or(i64::MAX));
                    if event.t_ns.saturating_sub(rtt_ns) >= self.step.effect_ns {
                        return Some(event.t_ns);
                    }
                }
                _ => {}
            }
        }
        None
    }

    /// The first payload after the path was active: on it, or at the other end of what was sent since.
    fn first_payload(&self, path: u64, active_ns: i64) -> Option<i64> {
        let is_over_it = |event: &&Event| match event.what {
            EventKind::PayloadReceived { path: on, .. } if event.host == self.host => on == Some(path),
            EventKind::PayloadReceived { sent_t_ns, .. } => sent_t_ns >= active_ns,
            _ => false,
        };
        let mut since = self.log.peers().filter(|event| event.t_ns >= active_ns);
        since.find(is_over_it).map(|event| event.t_ns)
    }
}

/// Measures consecutive times.
struct Clock {
    last_ns: i64,
}

impl Clock {
    fn until(&mut self, t_ns: Option<i64>) -> Option<Millis> {
        let t_ns = t_ns?.max(self.last_ns);
        let took = Millis::from_ns(t_ns.saturating_sub(self.last_ns));
        self.last_ns = t_ns;
        Some(took)
    }
}
