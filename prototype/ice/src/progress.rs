//! How far ICE as a whole has come: first usable pair, end of candidates (RFC 8838), state of the check list, patience
//! (RFC 8863).

use std::time::Instant;

use crate::agent::Agent;
use crate::event::{CheckListState, Event};

/// What has been told, and what is waited for.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    state: CheckListState,
    patience: Patience,
    gathering_told: bool,
    remote_complete: bool,
    usable_told: bool,
}

/// The timer of RFC 8863.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Patience {
    /// Starts with the next opportunity.
    #[default]
    Due,
    Until(Instant),
    Over,
}

impl Progress {
    /// A new session begins (RFC 8445 section 9).
    pub(crate) fn restart(&mut self) {
        *self = Progress { state: self.state, ..Progress::default() };
    }

    /// Without a word that it was the last one, each candidate may be followed by another.
    pub(crate) fn candidate_came(&mut self) {
        if !self.remote_complete {
            self.patience = Patience::Due;
        }
    }

    pub(crate) fn is_patience_over(&self, now: Instant) -> bool {
        match self.patience {
            Patience::Due => false,
            Patience::Until(end) => end <= now,
            Patience::Over => true,
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.patience {
            Patience::Until(end) => Some(end),
            Patience::Due | Patience::Over => None,
        }
    }
}

impl Agent {
    /// The other agent has no more candidates (RFC 8838 section 14).
    pub fn remote_candidates_complete(&mut self, now: Instant) {
        self.progress.remote_complete = true;
        self.begin_due(now);
    }

    /// Whether every server has answered or was given up (see [`Event::GatheringComplete`]).
    pub fn is_gathering_complete(&self) -> bool {
        self.progress.gathering_told
    }

    /// State of the check list (RFC 8445 section 6.1.2.1).
    pub fn check_list_state(&self) -> CheckListState {
        self.progress.state
    }

    /// Tells what has changed; called after every input.
    pub(crate) fn update_progress(&mut self, now: Instant) {
        if !self.started {
            return;
        }
        self.update_gathering();
        self.update_patience(now);
        self.update_first_usable();
        let state = self.derive_state();
        if std::mem::replace(&mut self.progress.state, state) != state {
            self.tell(Event::CheckList(state));
            if state == CheckListState::Failed {
                self.on_failed();
            }
        }
    }

    fn update_gathering(&mut self) {
        let settled = self.is_gathering_settled();
        if settled && !self.progress.gathering_told && !self.sockets.is_empty() {
            self.tell(Event::GatheringComplete);
        }
        self.progress.gathering_told = settled && !self.sockets.is_empty();
    }

    fn update_patience(&mut self, now: Instant) {
        match self.progress.patience {
            Patience::Due if self.session.remote.is_some() => {
                self.progress.patience = Patience::Until(now + self.config.timing.patience);
            }
            Patience::Until(end) if end <= now => self.progress.patience = Patience::Over,
            _ => {}
        }
    }

    fn update_first_usable(&mut self) {
        if self.progress.usable_told {
            return;
        }
        let current = self.session.number;
        let first = self.checklist.iter().find(|pair| pair.session == current && pair.state.is_usable());
        if let Some(pair) = first.map(|pair| pair.id) {
            self.progress.usable_told = true;
            self.tell(Event::FirstUsable { pair });
        }
    }

    fn derive_state(&self) -> CheckListState {
        let nominated = self.nominated.and_then(|nominated| self.checklist.get(nominated));
        let any_valid = self.checklist.iter().any(|pair| pair.state.is_valid());
        let any_hope = self.checklist.iter().any(|pair| pair.is_unfinished()) || !self.is_gathering_settled();
        if nominated.is_some_and(|pair| pair.state.is_valid()) {
            CheckListState::Completed
        } else if any_valid || any_hope || self.progress.patience != Patience::Over {
            CheckListState::Running
        } else {
            CheckListState::Failed
        }
    }
}
