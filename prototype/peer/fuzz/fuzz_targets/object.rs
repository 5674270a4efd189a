//! Whatever the other end of a transfer says, in datagrams and on streams: no panic, and bounded memory.
#![cfg_attr(fuzzing, no_main)]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    // Inputs: a length byte, then the bytes.
    let mut rest = data;
    peer::fuzzing::object(std::iter::from_fn(|| {
        let (&length, more) = rest.split_first()?;
        let (input, more) = more.split_at(usize::from(length).min(more.len()));
        rest = more;
        Some(input)
    }));
});
