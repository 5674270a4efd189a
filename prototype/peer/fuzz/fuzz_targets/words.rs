//! Everything that a peer reads besides STUN, QUIC and transfers: no panic, and what it understands it writes the same.
#![cfg_attr(fuzzing, no_main)]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| peer::fuzzing::words(bytes));
