//! Which engine a configuration means.

use super::{ConfigError, PeerConfig, Role};
#[cfg(feature = "quiche")]
use crate::engine::QuicheEngine;
use crate::{
    EngineKind,
    engine::{Engine, EngineError, NoqEngine},
    evidence::Collector,
};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

pub(super) fn new_engine(
    config: &PeerConfig,
    evidence: &Collector,
    rng: &mut ChaCha8Rng,
) -> Result<Box<dyn Engine>, ConfigError> {
    let seed = rng.random();
    let engine: Result<Box<dyn Engine>, EngineError> = match (config.engine, &config.role) {
        (EngineKind::Noq, Role::Client { ticket }) => {
            NoqEngine::client(ticket.fingerprint, seed, evidence).map(boxed)
        }
        (EngineKind::Noq, Role::Server { identity, .. }) => {
            NoqEngine::server(identity, seed, evidence).map(boxed)
        }
        #[cfg(feature = "quiche")]
        (EngineKind::Quiche, Role::Client { ticket }) => {
            QuicheEngine::client(ticket.fingerprint, seed, evidence).map(boxed)
        }
        #[cfg(feature = "quiche")]
        (EngineKind::Quiche, Role::Server { identity, .. }) => {
            QuicheEngine::server(identity, seed, evidence).map(boxed)
        }
    };
    engine.map_err(|error| ConfigError::Identity(error.to_string()))
}

fn boxed(engine: impl Engine + 'static) -> Box<dyn Engine> {
    Box::new(engine)
}
