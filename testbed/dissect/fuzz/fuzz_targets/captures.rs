//! Fuzz target: arbitrary capture files never panic the readers, and memory stays bounded.
#![cfg_attr(fuzzing, no_main)]

use dissect::{Capture, Classes, Dissector};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|data: &[u8]| {
    if let Ok(mut capture) = Capture::read("fuzz".to_owned(), Cursor::new(data.to_vec())) {
        let mut dissector = Dissector::new(Classes::default());
        dissector.dissect(&mut capture, drop);
        let report = dissector.finish();
        assert!(
            report.files[0].packets <= data.len() as u64
                || data.starts_with(&[0x1f, 0x8b])
                || data.starts_with(&[0x28])
        );
    }
});
