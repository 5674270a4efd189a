//! ICE sessions: the credentials of both agents, and how a restart replaces them (RFC 8445 section 9).
//!
//! A restart takes nothing away that works. Pairs that are valid keep their state and go on being checked with
//! the old credentials; each moves over when a check with the new ones is answered. When the new session has a
//! usable pair and nothing left to try, what has not moved over is removed and the old credentials are forgotten.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::config::Credentials;
use crate::pair::PairId;
use crate::stun::Key;

/// The other agent has moved over when it used the old credentials for the last time so long ago.
const OLD_SESSION_QUIET: Duration = Duration::from_secs(3);

/// One exchange of credentials.
#[derive(Debug)]
pub(crate) struct Session {
    /// Counts restarts.
    pub(crate) number: u32,
    pub(crate) local: Credentials,
    pub(crate) local_key: Key,
    pub(crate) remote: Option<RemoteSide>,
}

/// What the other agent told of itself.
#[derive(Debug)]
pub(crate) struct RemoteSide {
    pub(crate) credentials: Credentials,
    pub(crate) key: Key,
}

impl Session {
    pub(crate) fn new(number: u32, local: Credentials) -> Session {
        let local_key = Key::short_term(local.pwd());
        Session { number, local, local_key, remote: None }
    }

    /// What the username of a request to us begins with (RFC 8445 section 7.3).
    pub(crate) fn is_meant_by(&self, username: &str) -> bool {
        username.split_once(':').is_some_and(|(ours, _)| ours == self.local.ufrag())
    }
}

impl RemoteSide {
    pub(crate) fn new(credentials: Credentials) -> RemoteSide {
        let key = Key::short_term(credentials.pwd());
        RemoteSide { credentials, key }
    }
}

impl Agent {
    /// Restarts ICE with new credentials of ours (RFC 8445 section 9), which are to be signalled together with the
    /// candidates; the other agent's new ones come by
    /// [`set_remote_credentials`](Self::set_remote_credentials). Valid pairs stay usable meanwhile. A fragment
    /// that is in use already changes nothing: both it and the password have to be new.
    pub fn restart(&mut self, now: Instant, local: Credentials) {
        if self.sessions().any(|session| session.local.ufrag() == local.ufrag()) {
            return;
        }
        self.end_previous_session("restarted again");
        let new = Session::new(self.session.number.wrapping_add(1), local);
        self.remove_pairs(|pair| !pair.state.is_valid(), "restart");
        let addresses = self.remote_candidates.iter().map(|remote| remote.address);
        // A relay of a call does not depend on what the other agent says.
        self.stale_remotes = addresses.filter(|address| !self.calls.is_held(*address)).collect();
        self.previous = Some(std::mem::replace(&mut self.session, new));
        self.previous_heard = Some(now);
        self.last_nomination = None;
        self.progress.restart();
        self.police_anew();
        self.begin_due(now);
    }

    /// The credentials that count: of this session, and of the one before while some of its pairs live.
    pub(crate) fn sessions(&self) -> impl Iterator<Item = &Session> {
        [Some(&self.session), self.previous.as_ref()].into_iter().flatten()
    }

    pub(crate) fn session_of(&self, number: u32) -> Option<&Session> {
        self.sessions().find(|session| session.number == number)
    }

    pub(crate) fn is_current(&self, session: u32) -> bool {
        self.session.number == session
    }

    /// Whether the other agent has not named this candidate again since the restart.
    pub(crate) fn is_stale(&self, remote: SocketAddr) -> bool {
        self.stale_remotes.contains(&remote)
    }

    /// Has the pairs of the old session checked with the new credentials, each once.
    pub(crate) fn renew_pairs(&mut self) {
        if self.previous.is_none() || self.session.remote.is_none() {
            return;
        }
        let stale = |address: &SocketAddr| self.stale_remotes.contains(address);
        let old = |pair: &&crate::checklist::Pair| {
            pair.session != self.session.number && !pair.renewing && !stale(&pair.remote.address)
        };
        let ids: Vec<PairId> = self.checklist.iter().filter(old).map(|pair| pair.id).collect();
        for id in ids {
            self.renew_pair(id);
        }
    }

    pub(crate) fn renew_pair(&mut self, id: PairId) {
        if let Some(pair) = self.checklist.get_mut(id) {
            pair.renewing = true;
            self.checklist.trigger(id);
        }
    }

    /// A check with the new credentials was answered.
    pub(crate) fn adopt(&mut self, id: PairId, session: u32) {
        if let Some(pair) = self.checklist.get_mut(id).filter(|_| session == self.session.number) {
            pair.session = session;
            pair.renewing = false;
        }
    }

    /// Ends the old session as soon as the new one can do without it.
    pub(crate) fn settle_restart(&mut self, now: Instant) {
        if self.previous.is_none() {
            return;
        }
        let current = self.session.number;
        let works = self.checklist.iter().any(|pair| pair.session == current && pair.state.is_usable());
        // The other agent may need the old credentials longer than we do.
        let heard = self.previous_heard.is_some_and(|heard| now < heard + OLD_SESSION_QUIET);
        let unfinished = heard || self.checklist.iter().any(|pair| pair.is_unfinished() || pair.renewing);
        if works && (!unfinished || self.progress.is_patience_over(now)) {
            self.end_previous_session("not found again after a restart");
            // Of candidates that the other agent still has; the next try may find them.
            self.form_pairs();
        }
    }

    fn end_previous_session(&mut self, why: &str) {
        if self.previous.take().is_none() {
            return;
        }
        let current = self.session.number;
        self.remove_pairs(|pair| pair.session != current, why);
        let stale = std::mem::take(&mut self.stale_remotes);
        let in_use = |address: &SocketAddr| self.checklist.iter().any(|pair| pair.remote.address == *address);
        let gone: Vec<SocketAddr> = stale.into_iter().filter(|address| !in_use(address)).collect();
        self.remote_candidates.retain(|remote| !gone.contains(&remote.address));
    }
}
