//! The model from outside: packets in, time passes, packets and events out.

mod behaviours;
mod borders;
mod changes;
mod common;
mod errors;
mod filters;
mod impairments;
mod links;
mod nat;
mod networks;
mod plan;
mod properties;
mod queues;
mod time_zero;
