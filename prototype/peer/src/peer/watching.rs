//! Listening on the paths: what is heard feeds the silence detector, and what it finds is acted on.

use super::Peer;
use crate::{
    DetectedBy, Event,
    engine::{EnginePath, Link},
    event::Pause,
    silence::{Finding, Heard, Trip},
};
use ice::PairView;
use std::time::Instant;

/// How a loss was noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) by: DetectedBy,
    pub(super) pause: Option<Pause>,
}

impl From<DetectedBy> for Loss {
    fn from(by: DetectedBy) -> Self {
        Self { by, pause: None }
    }
}

impl Peer {
    /// Something arrived on the link of this pair.
    pub(super) fn note_heard(&mut self, now: Instant, pair: &PairView) {
        let trip = pair.srtt.zip(pair.rttvar).map(|(smoothed, variation)| Trip { smoothed, variation });
        self.silence.heard(now, Link { socket: pair.socket, remote: pair.remote }, trip);
    }

    /// Paths, or the pace of their checks, may have changed.
    pub(super) fn listen(&mut self, now: Instant) {
        let links: Vec<Heard> = self
            .paths
            .usable()
            .filter_map(|path| {
                let pair = self.agent.pair_of(path.link.socket, path.link.remote)?;
                let view = self.pair_on(path.link)?;
                let ends = (view.interface, view.remote_interface);
                Some(Heard { link: path.link, pace: self.agent.liveness_interval(pair)?, ends })
            })
            .collect();
        let active = self.paths.active().map(|path| path.link);
        self.silence.watch(now, active, &links);
    }

    pub(super) fn act_on_silence(&mut self, now: Instant) {
        while let Some(finding) = self.silence.poll(now) {
            match finding {
                Finding::Doubt { link } => self.check_everywhere(now, link),
                Finding::Lost { link, silence, expected } => {
                    let loss =
                        Loss { by: DetectedBy::ReceiveSilence, pause: Some(Pause { silence, expected }) };
                    self.lose_links(now, &[(link, loss)]);
                }
            }
        }
    }

    /// The other end's NAT chose another address. ICE knows it already: QUIC is taken from nowhere else.
    pub(super) fn on_path_moved(&mut self, engine: EnginePath, link: Link) {
        let Some(pair) = self.pair_on(link) else { return };
        let Some(path) = self.paths.by_engine(engine).filter(|path| !path.abandoned) else { return };
        self.silence.moved(path.link, link);
        let view = path.move_to(link, &pair, "the other end's address changed");
        self.event(Event::Path(view));
    }

    /// The answers show whether the doubted path lives, and whether another one does.
    fn check_everywhere(&mut self, now: Instant, doubted: Link) {
        let others = self.paths.usable().map(|path| path.link).filter(|link| *link != doubted);
        let links: Vec<Link> = [doubted].into_iter().chain(others).collect();
        for link in links {
            if let Some(pair) = self.agent.pair_of(link.socket, link.remote) {
                self.agent.probe(now, pair);
            }
        }
    }
}
