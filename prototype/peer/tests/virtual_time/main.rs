//! Whole peers over the network model, in virtual time.

mod bulk;
mod call_relays;
mod disguises;
mod evidence;
mod fading;
mod outages;
mod policies;
mod probing;
mod proofs_and_strays;
mod quiche;
#[cfg(feature = "quiche")]
mod quiche_relays;
mod relays;
mod resilience;
mod restarts;
mod silence;
mod trouble;
mod wifi_off_in_call;
mod world;
