//! ICE restarts (RFC 8445 section 9): a policy may answer the loss of the last path with a new session in which every
//! pair is looked for anew.
//!
//! The end that restarts numbers the session, draws its credentials from the ticket's secret and that number, and signals
//! them; the other end follows. Where no rendezvous carries the word there is no restart: nothing else reaches the other
//! end once every path is lost.

use super::Peer;
use crate::Event;
use std::{cmp::Ordering, time::Instant};

/// The newest ICE session of this peer.
#[derive(Debug, Default)]
pub(super) struct IceSession {
    /// Counts the sessions of both peers.
    pub(super) number: u32,
    /// Restarted, and not settled yet: signalling goes on meanwhile, whatever the connection does.
    unsettled: bool,
    /// A pair of it works.
    works: bool,
}

/// Sessions of the other peer that this one may never have heard of. Each lasts 39.5 s at least if it finds nothing (RFC
/// 8863), and no call outlives many.
const MOST_MISSED: u32 = 100;

impl Peer {
    /// The policy asks for it.
    pub(super) fn restart_ice(&mut self, now: Instant) {
        if self.is_open() && self.signalling.is_some() {
            let next = self.session.number.saturating_add(1);
            self.begin_session(now, next, "no path was left");
        }
    }

    /// The other peer is in this session. False when what it says is of an earlier one than ours, or of one too far off.
    pub(super) fn follow_session(&mut self, now: Instant, number: u32) -> bool {
        match number.cmp(&self.session.number) {
            Ordering::Less => false,
            Ordering::Equal => true,
            Ordering::Greater if number - self.session.number > MOST_MISSED => false,
            Ordering::Greater => {
                self.begin_session(now, number, "the other peer restarted");
                true
            }
        }
    }

    fn begin_session(&mut self, now: Instant, number: u32, cause: &'static str) {
        self.event(Event::Restarted { session: number, cause });
        self.session = IceSession { number, unsettled: true, works: false };
        self.agent.restart(now, self.secret.ice_credentials(self.side, number));
        // What the other peer named before counts only if it names it again.
        self.remote_candidates.clear();
        self.add_listed_candidates(now);
        self.nominated = None;
        self.changed = true;
        self.tell_candidates_again(now);
    }

    /// A pair of the newest session is usable.
    pub(super) fn session_works(&mut self) {
        self.session.works = true;
    }

    /// Whether the other peer may still have to hear of a restart over a rendezvous server.
    pub(super) fn is_restarting(&mut self) -> bool {
        let told = self.signalling.as_ref().is_some_and(|signalling| signalling.is_told());
        self.session.unsettled &= !(self.session.works && told);
        self.session.unsettled
    }
}
