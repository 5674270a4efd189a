//! Whatever the bytes, the reader of WhatsApp's messages answers every question about them, what it read can be written
//! again, and a relay that they are sent to lets nobody in.
#![cfg_attr(fuzzing, no_main)]

use std::time::Instant;

use ice::server::{Mimic, Server, ServerConfig};
use ice::stun::whatsapp::{Message, Token, attribute, build};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut config = ServerConfig::new(vec!["192.0.2.1:3478".parse().expect("a literal")], "example.org");
    config.users.push(("user".into(), "secret".into()));
    config.mimic = Some(Mimic::WhatsApp { unix_time: Default::default() });
    let mut server = Server::new(config);
    let at = "192.0.2.1:3478".parse().expect("a literal");
    let _ = server.handle_datagram(Instant::now(), at, "192.0.2.2:2".parse().expect("a literal"), data);
    while server.poll().is_some() {}
    assert_eq!(server.call_ends(), 0);
    let Some(message) = Message::parse(data) else { return };
    let _ = (message.clock(), message.server_time(), message.mapped_address());
    let token = message.attribute(attribute::TOKEN).and_then(|value| Token::open(value, ["secret"]));
    assert_eq!(token, None);
    let again = build(message.kind, message.transaction, message.attributes());
    assert_eq!(Message::parse(&again).as_ref(), Some(&message));
});
