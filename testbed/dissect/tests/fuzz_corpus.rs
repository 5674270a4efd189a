//! Replays the corpora of the fuzz targets (`fuzz/corpus`): inputs that once reached another part of the code, or once
//! made a target fail. `testbed/fuzz --keep` adds to them.

// The targets are written for libFuzzer; here this file is their libfuzzer_sys.
extern crate self as libfuzzer_sys;

#[path = "../fuzz/fuzz_targets/calls.rs"]
mod calls;
#[path = "../fuzz/fuzz_targets/captures.rs"]
mod captures;
#[path = "../fuzz/fuzz_targets/frames.rs"]
mod frames;
#[path = "../fuzz/fuzz_targets/names.rs"]
mod names;

#[path = "../../../testbed/fuzz_corpus.rs"]
mod fuzz_corpus;

/// Each target by its name.
const TARGETS: &[fuzz_corpus::Target] =
    &[("calls", calls::fuzz), ("captures", captures::fuzz), ("frames", frames::fuzz), ("names", names::fuzz)];

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
