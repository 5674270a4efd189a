//! What the ICE agent tells: all of it is told on, and some of it is acted on.

use super::Peer;
use crate::{DetectedBy, Event, Side, engine::Link};
use ice::{PairId, PairState, PairView, RelayNews, SocketId};
use std::{net::SocketAddr, time::Instant};

impl Peer {
    pub(super) fn on_ice(&mut self, now: Instant, event: ice::Event) {
        match event {
            ice::Event::LocalCandidate(candidate) => {
                self.on_local_candidate(now, Event::LocalCandidate(candidate));
            }
            ice::Event::LocalCandidateRemoved { kind, address, socket } => {
                let interface = self.sockets.interface_of(socket);
                self.on_local_candidate(
                    now,
                    Event::LocalCandidateRemoved { interface, socket, kind, address },
                );
            }
            ice::Event::RemoteCandidate(candidate) => {
                // It may name the interface of a pair that is up already.
                self.changed = true;
                self.event(Event::RemoteCandidate(candidate));
            }
            ice::Event::CheckSent { pair, socket, remote, purpose, attempt } => {
                let (pair, interface) = (number(pair), self.sockets.interface_of(socket));
                self.event(Event::CheckSent { pair, interface, remote, purpose, attempt });
            }
            ice::Event::CheckAnswered { pair, socket, remote, purpose, attempt, rtt, mapped } => {
                let (pair, interface) = (number(pair), self.sockets.interface_of(socket));
                self.event(Event::CheckAnswered { pair, interface, remote, purpose, attempt, rtt, mapped });
            }
            ice::Event::CheckFailed { pair, socket, remote, purpose, attempt, why } => {
                let (pair, interface) = (number(pair), self.sockets.interface_of(socket));
                let why = why.to_string();
                self.event(Event::CheckFailed { pair, interface, remote, purpose, attempt, why });
            }
            ice::Event::Pair { state, cause, view, .. } => self.on_pair(now, view, state, cause.into_owned()),
            ice::Event::Nominated { pair } => self.event(Event::Nominated { pair: pair.0 }),
            ice::Event::FirstUsable { pair } => {
                self.session_works();
                self.event(Event::FirstUsable { pair: pair.0 });
            }
            ice::Event::ProbingStopped { pair, interface, remote, why } => {
                self.event(Event::ProbingStopped { pair: pair.0, interface, remote, why });
            }
            ice::Event::ConsentExpired { pair } => self.event(Event::ConsentExpired { pair: pair.0 }),
            ice::Event::GatheringComplete => {
                self.event(Event::GatheringComplete);
                self.tell_candidates_again(now);
            }
            ice::Event::CheckList(state) => self.event(Event::CheckList(state)),
            ice::Event::Relay { socket, server, news } => self.on_relay(socket, server, news),
            ice::Event::RestartWanted => self.restart_ice(now),
            ice::Event::RoleChanged(role) => self.event(Event::RoleChanged(role)),
            ice::Event::RemoteRefused { code } => {
                if code == 401 {
                    self.refused = self.refused.or(Some(now));
                }
                self.event(Event::RemoteRefused { code });
            }
            other => tracing::warn!(?other, "an event of the agent that is not known here"),
        }
    }

    fn on_relay(&mut self, socket: SocketId, server: SocketAddr, news: RelayNews) {
        // Towards a relay of a call, nothing is wrapped.
        if let RelayNews::Allocated { base, .. } = news
            && self.agent.relay_of(base).is_some()
        {
            self.bases.retain(|base| self.agent.relay_of(*base).is_some());
            self.bases.insert(base);
            self.sockets.note_relayed(base, socket);
        }
        let interface = self.sockets.interface_of(socket);
        self.event(Event::Relay { interface, socket, server, news });
    }

    fn on_pair(&mut self, now: Instant, view: PairView, state: PairState, cause: String) {
        let link = Link { socket: view.socket, remote: view.remote };
        self.changed = true;
        self.paths.set_suspect(link, state != PairState::Up);
        // As against a candidate that the other end withdrew.
        let is_relays = cause.starts_with("relay");
        self.event(Event::Pair { view, state, cause });
        match state {
            PairState::Down => self.lose_link(now, link, DetectedBy::CheckSilence),
            PairState::Removed if is_relays => self.lose_link(now, link, DetectedBy::Relay),
            // Not by us: what we lose ourselves is lost before the pair is removed. The other peer withdrew it.
            PairState::Removed => self.lose_link(now, link, DetectedBy::Peer),
            // A server keeps what its client keeps.
            PairState::Frozen if self.side == Side::Client => self.let_go(now, link),
            _ => {}
        }
    }
}

fn number(pair: Option<PairId>) -> Option<u32> {
    pair.map(|pair| pair.0)
}
