//! Any bytes in any disguise: what is taken off can be put on again.
#![cfg_attr(fuzzing, no_main)]

use ice::Rung;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    for rung in Rung::ALL {
        if let Some(mut message) = rung.undo(data) {
            rung.apply(&mut message);
            assert_eq!(message, data, "{rung}");
        }
    }
});
