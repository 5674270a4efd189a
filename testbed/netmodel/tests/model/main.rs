//! The model from outside: packets in, time passes, packets and events out.

mod borders;
mod changes;
mod common;
mod impairments;
mod links;
mod nat;
mod plan;
mod properties;
mod queues;
