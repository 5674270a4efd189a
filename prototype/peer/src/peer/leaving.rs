//! The last word: it leaves before the peer is done, even if the engine's congestion window is full at that moment.

use super::{Outcome, Peer, connection::FINISHED};
use std::time::Instant;

impl Peer {
    /// Ends in an orderly way, within [`super::bulk::FAREWELL`] at the latest.
    pub(super) fn stop_at_once(&mut self, now: Instant) {
        if self.leaving.is_some() {
            return;
        }
        let outcome = self.outcome_of_stopping(now);
        self.close(now, FINISHED, "finished");
        self.leaving = Some((now + super::bulk::FAREWELL, outcome));
        self.go_on_leaving(now);
    }

    /// Nothing else happens any more: payload that arrives makes room for the last word, and is not counted. False when
    /// the peer is not leaving.
    pub(super) fn go_on_leaving(&mut self, now: Instant) -> bool {
        if self.leaving.is_none() {
            return false;
        }
        self.transmit(now);
        let is_told = !self.engine.is_closing();
        if let Some((_, outcome)) = self.leaving.take_if(|(until, _)| is_told || *until <= now) {
            self.finish(now, outcome);
        }
        true
    }

    pub(super) fn leaving_deadline(&self) -> Option<Instant> {
        let (until, _) = self.leaving.as_ref()?;
        [self.agent.poll_timeout(), self.engine.deadline(), Some(*until)].into_iter().flatten().min()
    }

    fn outcome_of_stopping(&self, now: Instant) -> Outcome {
        if let Some(outcome) = self.outcome_of_probing() {
            return outcome;
        }
        if self.started.is_some() && self.side == crate::Side::Client && !self.is_open() {
            return self.why_not_connected(now);
        }
        // A client that goes on over a path before that is validated is heard there all the same.
        if self.is_open() && !self.paths.is_connected() && self.used_early.is_none() {
            return Outcome::Unreachable { why: "no path to the other peer was left at the end".into() };
        }
        Outcome::Finished
    }
}
