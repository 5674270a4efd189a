//! Two agents against each other, and one against the world, in virtual time.

mod behaviour;
mod blocking;
mod byhand;
mod calls;
mod candidates;
mod captures;
mod codec;
mod disguises;
mod events;
mod example;
mod forged;
mod grid;
mod hostile;
mod liveness;
mod model;
mod nat;
mod net;
mod paths;
mod policies;
mod readme;
mod refusals;
mod relays;
mod servers;
mod sessions;
mod turn;

/// So many cases of a property, or as many as PROPTEST_CASES says: `make test-long` asks for more than there is time for
/// every day. Those of every day are the same ones, so that a rare case is found where it is looked for, and not on the way
/// of somebody else's change.
fn cases(usual: u32) -> proptest::test_runner::Config {
    use proptest::test_runner::{Config, RngSeed};
    let default = Config::default();
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => Config { cases: usual, rng_seed: RngSeed::Fixed(8445), ..default },
    }
}
