//! Replays the corpora of the fuzz targets (`fuzz/corpus`): inputs that once reached another part of the code, or once
//! made a target fail. `testbed/fuzz --keep` adds to them.

#![allow(clippy::disallowed_methods, reason = "a fuzz target is its own driver and takes the time")]

// The targets are written for libFuzzer; here this file is their libfuzzer_sys.
extern crate self as libfuzzer_sys;

#[path = "../fuzz/fuzz_targets/agent.rs"]
mod agent;
#[path = "../fuzz/fuzz_targets/behaviour.rs"]
mod behaviour;
#[path = "../fuzz/fuzz_targets/blocking.rs"]
mod blocking;
#[path = "../fuzz/fuzz_targets/disguise.rs"]
mod disguise;
#[path = "../fuzz/fuzz_targets/server.rs"]
mod server;
#[path = "../fuzz/fuzz_targets/stun.rs"]
mod stun;
#[path = "../fuzz/fuzz_targets/whatsapp.rs"]
mod whatsapp;

#[path = "../../../testbed/fuzz_corpus.rs"]
mod fuzz_corpus;

/// Each target by its name.
const TARGETS: &[fuzz_corpus::Target] = &[
    ("agent", agent::fuzz),
    ("behaviour", behaviour::fuzz),
    ("blocking", blocking::fuzz),
    ("disguise", disguise::fuzz),
    ("server", server::fuzz),
    ("stun", stun::fuzz),
    ("whatsapp", whatsapp::fuzz),
];

#[test]
fn every_input_of_every_corpus_is_survived() {
    fuzz_corpus::replay(concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz"), TARGETS);
}

/// Makes a target's closure a function. Last, so that targets find it where they import it from.
#[macro_export]
macro_rules! fuzz_target {
    (|$data:ident: &[u8]| $body:expr) => {
        pub(crate) fn fuzz($data: &[u8]) {
            $body
        }
    };
}
