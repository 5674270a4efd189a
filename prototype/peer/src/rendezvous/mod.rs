//! Signalling for peers that share no network: both tell a rendezvous server their ICE credentials and candidates,
//! and it hands each the other's.
//!
//! Every message carries whole state, never a difference, so that loss, repetition and reordering do no harm. What
//! the server carries is sealed with a key of the ticket's secret: it can neither read nor change it, and who does
//! not know the secret cannot even name the session. Messages begin with a byte that RFC 9443 leaves to none of the
//! protocols on the same socket.

mod client;
mod server;
#[cfg(test)]
mod tests;
mod wire;

pub use client::{Client, Dropped, MAX_CANDIDATES};
pub use server::{Answer, Counts, Server};
#[cfg(any(fuzzing, feature = "fuzzing"))]
pub(crate) use wire::fuzz;
pub(crate) use wire::is_rendezvous;
pub use wire::{DescribedCandidate, Description, Version};
