//! Whatever the bytes, the codec answers every question about them.
#![cfg_attr(fuzzing, no_main)]

use ice::stun::{Key, Message, is_stun};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(message) = Message::parse(data) else { return };
    assert!(is_stun(data));
    let _ = (message.class(), message.method(), message.wire_type(), message.transaction());
    let _ = (message.username(), message.priority(), message.use_candidate(), message.role_claim());
    let _ = (message.mapped_address(), message.error_code(), message.unknown_required(&[]));
    let _ = message.is_authentic(&Key::short_term("fuzzfuzzfuzzfuzzfuzzfuzz"));
    assert!(message.attributes().all(|(_, value)| value.len() <= data.len()));
});
