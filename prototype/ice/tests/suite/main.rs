//! Two agents against each other, and one against the world, in virtual time.

mod behaviour;
mod blocking;
mod byhand;
mod calls;
mod captures;
mod codec;
mod disguises;
mod example;
mod grid;
mod hostile;
mod liveness;
mod model;
mod nat;
mod net;
mod paths;
mod policies;
mod readme;
mod relays;
mod servers;
mod sessions;
mod turn;
