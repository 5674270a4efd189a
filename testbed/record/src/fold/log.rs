//! The events of a run in order of time, with the few questions that every metric asks of them.

use super::{LinkRates, RunFacts};
use crate::{Event, EventKind};

/// A run's events, sorted.
pub(super) struct Log<'a> {
    events: Vec<&'a Event>,
    facts: &'a RunFacts,
    end_ns: i64,
}

impl<'a> Log<'a> {
    pub(super) fn new(events: &'a [Event], facts: &'a RunFacts) -> Self {
        let mut events: Vec<&Event> = events.iter().collect();
        events.sort_by_key(|event| event.t_ns);
        let planned = i64::try_from(facts.duration.as_nanos()).unwrap_or(i64::MAX);
        let mut log = Self { events, facts, end_ns: planned };
        // Nothing is to be expected any more once either end has finished as it was told to. One that gave up for
        // another reason leaves a silence that counts up to the planned end.
        let finished = log
            .peers()
            .filter(|event| matches!(&event.what, EventKind::Stopped { why } if why == "finished"));
        log.end_ns = finished.map(|event| event.t_ns).min().unwrap_or(planned).min(planned);
        log
    }

    pub(super) fn client(&self) -> &'a str {
        &self.facts.client
    }

    pub(super) fn server(&self) -> &'a str {
        &self.facts.server
    }

    /// What the links of the client's host carry together.
    pub(super) fn link_rates(&self) -> Option<LinkRates> {
        self.facts.link_rates
    }

    /// The end of the observed time.
    pub(super) fn end_ns(&self) -> i64 {
        self.end_ns
    }

    /// Every event.
    pub(super) fn all(&self) -> impl Iterator<Item = &'a Event> + '_ {
        self.events.iter().copied()
    }

    /// Those of one host.
    pub(super) fn of<'s>(&'s self, host: &'s str) -> impl Iterator<Item = &'a Event> + 's {
        self.all().filter(move |event| event.host == host)
    }

    /// Those of the two peers.
    pub(super) fn peers(&self) -> impl Iterator<Item = &'a Event> + '_ {
        self.all().filter(|event| event.host == self.client() || event.host == self.server())
    }
}
