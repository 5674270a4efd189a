//! Fuzz target: arbitrary DNS messages, TLS streams and QUIC datagrams never panic their readers.
#![cfg_attr(fuzzing, no_main)]

use dissect::names::{dns, quic, tls};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, bytes)) = data.split_first() else { return };
    match kind % 4 {
        0 => {
            if let Some(message) = dns::Message::parse(bytes) {
                assert!(message.answers <= message.records.len());
                assert!(message.addresses().count() <= message.answers);
            }
        }
        1 => _ = tls::search_records(bytes, true),
        2 => _ = tls::search_records(bytes, false),
        _ => {
            let _ = quic::is_long_header(bytes);
            let _ = quic::client_hello(bytes);
        }
    }
});
