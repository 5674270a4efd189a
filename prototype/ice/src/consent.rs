//! Consent to receive data, of every living pair (RFC 7675).
//!
//! An answer to any check grants it for 30 s; the checks that tell whether a pair is alive are consent checks as
//! well. Where they are seldom, one every 5 s times 0.8 to 1.2 keeps consent fresh. Whether a pair is worth using is
//! decided long before consent runs out: see `liveness`.

use std::time::Instant;

use crate::agent::Agent;
use crate::event::Event;
use crate::pair::PairId;

impl Agent {
    /// The next check of a valid pair leaves in time for consent (RFC 7675 section 5.1).
    pub(crate) fn keep_consent_fresh(&mut self, now: Instant, id: PairId) {
        if !self.config.policy.consent {
            return;
        }
        let wait = self.config.timing.consent_interval * self.ids.consent_factor() / 1000;
        if let Some(liveness) = self.checklist.get_mut(id).and_then(|pair| pair.liveness.as_mut()) {
            liveness.check_by(now + wait);
        }
    }

    /// A policy that asked for no consent asks for it from now on: it counts anew, and is fetched in time.
    pub(crate) fn begin_consent(&mut self, now: Instant) {
        let until = now + self.config.timing.consent_timeout;
        for pair in self.checklist.iter_mut().filter(|pair| pair.consent_until.is_some()) {
            pair.consent_until = Some(until);
        }
        for id in self.valid_pairs() {
            self.keep_consent_fresh(now, id);
        }
    }

    pub(crate) fn next_consent_expiry(&self) -> Option<Instant> {
        let granted = self.checklist.iter().filter(|_| self.config.policy.consent);
        granted.filter_map(|pair| pair.consent_until).min()
    }

    /// Takes pairs down whose consent ran out. They are probed on, since a check is no data and its answer is
    /// consent again: an interface that returns does so here as well.
    pub(crate) fn expire_consent(&mut self, now: Instant) {
        if !self.config.policy.consent {
            return;
        }
        let expired = |pair: &&crate::checklist::Pair| pair.consent_until.is_some_and(|until| until <= now);
        let ids: Vec<PairId> = self.checklist.iter().filter(expired).map(|pair| pair.id).collect();
        for id in ids {
            if let Some(pair) = self.checklist.get_mut(id) {
                pair.consent_until = None;
            }
            self.tell(Event::ConsentExpired { pair: id });
            self.with_liveness(id, |liveness, _, interval| {
                liveness.take_down(now, interval);
                Some("consent expired")
            });
        }
    }
}
