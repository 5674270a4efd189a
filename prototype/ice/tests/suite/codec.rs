//! The STUN codec against the vectors of RFC 5769 and against stun-rs, which nobody here wrote.

use std::net::SocketAddr;

use ice::Role;
use ice::stun::turn::{ChannelData, PasswordAlgorithm};
use ice::stun::{
    BINDING, BuildError, Builder, Class, Key, Message, ParseError, RoleClaim, TransactionId, attribute,
    is_stun,
};
use proptest::prelude::*;
use stun_rs::attributes::ice as oracle_ice;
use stun_rs::attributes::stun as oracle;
use stun_rs::{
    DecoderContextBuilder, HMACKey, MessageDecoderBuilder, MessageEncoderBuilder, MessageMethod,
    StunMessageBuilder,
};

const PASSWORD: &str = "VOkJxbRl1RmTxUk/WvJxBt";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

/// RFC 5769 section 2.1.
fn sample_request() -> Vec<u8> {
    bytes(
        "00010058 2112a442 b7e7a701 bc34d686 fa87dfae
         80220010 5354554e 20746573 7420636c 69656e74
         00240004 6e0001ff 80290008 932ff9b1 51263b36
         00060009 6576746a 3a683676 59202020
         00080014 9aeaa70c bfd8cb56 781ef2b5 b2d3f249 c1b571a2
         80280004 e57a3bcf",
    )
}

/// RFC 5769 section 2.2.
fn sample_ipv4_response() -> Vec<u8> {
    bytes(
        "0101003c 2112a442 b7e7a701 bc34d686 fa87dfae
         8022000b 74657374 20766563 746f7220
         00200008 0001a147 e112a643
         00080014 2b91f599 fd9e90c3 8c7489f9 2af9ba53 f06be7d7
         80280004 c07d4c96",
    )
}

/// RFC 5769 section 2.3.
fn sample_ipv6_response() -> Vec<u8> {
    bytes(
        "01010048 2112a442 b7e7a701 bc34d686 fa87dfae
         8022000b 74657374 20766563 746f7220
         00200014 0002a147 0113a9fa a5d3f179 bc25f4b5 bed2b9d9
         00080014 a382954e 4be67bf1 1784c97c 8292c275 bfe3ed41
         80280004 c8fb0b4c",
    )
}

/// RFC 5769 section 2.4.
fn sample_long_term_request() -> Vec<u8> {
    bytes(
        "00010060 2112a442 78ad3433 c6ad72c0 29da412e
         00060012 e3839ee3 8388e383 aae38383 e382afe3 82b90000
         0015001c 662f2f34 39396b39 35346436 4f4c3334 6f4c3946 53547679 36347341
         0014000b 6578616d 706c652e 6f726700
         00080014 f6702465 6dd64a3e 02b8e071 2e85c9a2 8ca89666",
    )
}

/// RFC 8489 appendix B.1, as corrected by erratum 6268.
fn sample_sha256_request() -> Vec<u8> {
    bytes(
        "00010090 2112a442 78ad3433 c6ad72c0 29da412e
         001e0020 4a3cf38f ef6992bd a952c678 0417da0f 24819415 569e60b2 05c46e41 407f1704
         00150029 6f624d61 744a6f73 32414141 43662f2f 3439396b 39353464 364f4c33 346f4c39
                  46535476 79363473 41000000
         0014000b 6578616d 706c652e 6f726700
         001d0004 00020000
         001c0020 b5c7bf00 5b6c52a2 1c51c5e8 92f81924 136296cb 927c4314 9309278c c6518e65",
    )
}

const LONG_TERM_USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
/// After the profile of RFC 8265.
const LONG_TERM_PASSWORD: &str = "TheMatrIX";

#[test]
fn the_sample_requests_with_long_term_credentials_are_authentic() {
    for (sample, algorithm, wrong) in [
        (sample_long_term_request(), PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256),
        (sample_sha256_request(), PasswordAlgorithm::Sha256, PasswordAlgorithm::Md5),
    ] {
        let message = Message::parse(&sample).unwrap();
        assert_eq!(message.realm(), Some("example.org"));
        let key = |password, algorithm| Key::long_term(LONG_TERM_USER, "example.org", password, algorithm);
        assert!(message.is_authentic(&key(LONG_TERM_PASSWORD, algorithm)));
        assert!(!message.is_authentic(&key("TheMatrix", algorithm)));
        assert!(!message.is_authentic(&key(LONG_TERM_PASSWORD, wrong)));
    }
    let sample = sample_long_term_request();
    let message = Message::parse(&sample).unwrap();
    assert_eq!(message.nonce(), Some(&b"f//499k954d6OL34oL9FSTvy64sA"[..]));
    assert_eq!(message.username(), Some(LONG_TERM_USER));
}

#[test]
fn the_sample_request_with_sha256_is_built_byte_for_byte() {
    let sample = sample_sha256_request();
    let message = Message::parse(&sample).unwrap();
    let mut builder = Builder::new(Class::Request, BINDING, message.transaction());
    for (kind, value) in message.attributes().filter(|(kind, _)| *kind != attribute::MESSAGE_INTEGRITY_SHA256)
    {
        builder = builder.attribute(kind, value).unwrap();
    }
    let key = Key::long_term(LONG_TERM_USER, "example.org", LONG_TERM_PASSWORD, PasswordAlgorithm::Sha256);
    let built = builder.finish(Some(&key));
    // Ours adds a fingerprint, which the length field counts and the integrity does not.
    assert_eq!(built[4..sample.len()], sample[4..]);
    assert_eq!(built.len(), sample.len() + 8);
}

#[test]
fn channel_data_is_read_as_it_is_written() {
    let data = ChannelData { number: 0x4abc, data: b"hello" };
    let bytes = data.to_bytes().unwrap();
    assert_eq!(bytes, b"\x4a\xbc\x00\x05hello");
    assert_eq!(ChannelData::parse(&bytes), Some(data));
    assert_eq!(ChannelData::parse(b"\x4a\xbc\x00\x05hello\0\0\0"), Some(data), "padded, as over TCP");
    assert_eq!(ChannelData::parse(b"\x4a\xbc\x00\x06hello"), None);
    assert_eq!(ChannelData::parse(b"\x50\x00\x00\x00"), None, "0x5000 and above are reserved");
    assert_eq!(ChannelData { number: 0x4000, data: &[0; 65_504] }.to_bytes(), None);
}

#[test]
fn the_sample_request_is_understood() {
    let sample = sample_request();
    let request = Message::parse(&sample).unwrap();
    assert_eq!((request.class(), request.method(), request.wire_type()), (Class::Request, BINDING, 0x0001));
    assert_eq!(request.transaction().0.to_vec(), bytes("b7e7a701bc34d686fa87dfae"));
    assert_eq!(request.username(), Some("evtj:h6vY"));
    assert_eq!(request.priority(), Some(0x6e00_01ff));
    assert_eq!(
        request.role_claim(),
        Some(RoleClaim { role: Role::Controlled, tie_breaker: 0x932f_f9b1_5126_3b36 })
    );
    assert_eq!(request.attribute(attribute::SOFTWARE), Some(&b"STUN test client"[..]));
    assert!(!request.use_candidate());
    assert!(request.has_integrity() && request.is_authentic(&Key::short_term(PASSWORD)));
    assert!(!request.is_authentic(&Key::short_term("VOkJxbRl1RmTxUk/WvJxBu")));
    assert_eq!(
        request.unknown_required(&[attribute::USERNAME]),
        [attribute::PRIORITY, attribute::MESSAGE_INTEGRITY]
    );
}

#[test]
fn the_sample_responses_are_understood() {
    let mapped = ["192.0.2.1:32853", "[2001:db8:1234:5678:11:2233:4455:6677]:32853"];
    for (sample, mapped) in [sample_ipv4_response(), sample_ipv6_response()].iter().zip(mapped) {
        let response = Message::parse(sample).unwrap();
        assert_eq!((response.class(), response.method()), (Class::Success, BINDING));
        assert_eq!(response.mapped_address(), Some(mapped.parse().unwrap()));
        assert!(response.is_authentic(&Key::short_term(PASSWORD)));
    }
}

#[test]
fn the_old_mapped_address_is_understood_too() {
    for address in ["192.0.2.1:32853", "[2001:db8::1]:7"] {
        let address: SocketAddr = address.parse().unwrap();
        let mut value = vec![0, if address.is_ipv4() { 1 } else { 2 }];
        value.extend(address.port().to_be_bytes());
        match address.ip() {
            std::net::IpAddr::V4(ip) => value.extend(ip.octets()),
            std::net::IpAddr::V6(ip) => value.extend(ip.octets()),
        }
        let response = Builder::new(Class::Success, BINDING, TransactionId([1; 12]));
        let response = response.attribute(attribute::MAPPED_ADDRESS, &value).unwrap().finish(None);
        assert_eq!(Message::parse(&response).unwrap().mapped_address(), Some(address));
    }
}

#[test]
fn unknown_types_and_attributes_are_carried() {
    for method in [0x201, 0x202, 0x003, 0xfff] {
        for class in [Class::Request, Class::Indication, Class::Success, Class::Error] {
            let message = Builder::new(class, method, TransactionId([9; 12]));
            let message = message.attribute(0x4000, b"odd").unwrap().finish(None);
            let message = Message::parse(&message).unwrap();
            assert_eq!((message.class(), message.method()), (class, method));
            assert_eq!(message.attribute(0x4000), Some(&b"odd"[..]));
            assert_eq!(message.unknown_required(&[]), [0x4000]);
        }
    }
    let wire = Builder::new(Class::Request, 0x201, TransactionId([0; 12])).finish(None);
    assert_eq!(Message::parse(&wire).unwrap().wire_type(), 0x0801);
}

#[test]
fn what_follows_the_integrity_does_not_count() {
    let key = Key::short_term(PASSWORD);
    let sealed = Builder::new(Class::Request, BINDING, TransactionId([3; 12])).priority(1).finish(Some(&key));
    // Without the fingerprint, with USE-CANDIDATE smuggled in after the integrity.
    let mut forged = sealed[..sealed.len() - 8].to_vec();
    forged.extend([0, 0x25, 0, 0]);
    let length = (forged.len() - 20) as u16;
    forged[2..4].copy_from_slice(&length.to_be_bytes());
    let message = Message::parse(&forged).unwrap();
    assert!(message.is_authentic(&key));
    assert!(!message.use_candidate());
}

#[test]
fn damaged_messages_are_told_apart() {
    let sample = sample_request();
    assert!(matches!(Message::parse(&sample[..sample.len() - 1]), Err(ParseError::NotStun)), "truncated");
    assert!(
        matches!(Message::parse(&[sample.clone(), vec![0; 4]].concat()), Err(ParseError::NotStun)),
        "trailing"
    );
    let huge = [&[0, 1, 0xff, 0xfc], &sample[4..20], &[0x80, 0x22, 0xff, 0xf8], &[0; 0xfff8][..]].concat();
    assert!(matches!(Message::parse(&huge), Err(ParseError::TooLong)));
    let mut flipped = sample.clone();
    flipped[30] ^= 1;
    assert!(matches!(Message::parse(&flipped), Err(ParseError::Fingerprint)));
    let mut long = sample.clone();
    long[23] = 0xff;
    assert!(matches!(Message::parse(&long), Err(ParseError::Attributes)));
    for first in [0x40, 0x80, 0xc0] {
        assert!(!is_stun(&[&[first][..], &sample[1..]].concat()), "QUIC and others are left alone");
    }
    assert!(is_stun(&sample) && !is_stun(&[]));
}

#[test]
fn the_builder_refuses_what_would_not_be_a_message() {
    let builder = || Builder::new(Class::Request, BINDING, TransactionId([0; 12]));
    for reserved in
        [attribute::MESSAGE_INTEGRITY, attribute::MESSAGE_INTEGRITY_SHA256, attribute::FINGERPRINT]
    {
        assert_eq!(builder().attribute(reserved, &[0; 20]).unwrap_err(), BuildError::Reserved);
    }
    assert_eq!(builder().attribute(attribute::SOFTWARE, &[0; 65_440]).unwrap_err(), BuildError::TooLong);
    let key = Key::short_term(PASSWORD);
    let longest = builder().attribute(0x8022, &[0; 65_436]).unwrap().finish(Some(&key));
    assert_eq!(longest.len(), 65_492);
    assert!(Message::parse(&longest).unwrap().is_authentic(&key));
}

fn class_of(oracle: stun_rs::MessageClass) -> Class {
    match oracle {
        stun_rs::MessageClass::Request => Class::Request,
        stun_rs::MessageClass::Indication => Class::Indication,
        stun_rs::MessageClass::SuccessResponse => Class::Success,
        stun_rs::MessageClass::ErrorResponse => Class::Error,
    }
}

fn any_address() -> impl Strategy<Value = SocketAddr> {
    let v4 = (any::<[u8; 4]>(), any::<u16>()).prop_map(SocketAddr::from);
    let v6 = (any::<[u8; 16]>(), any::<u16>()).prop_map(SocketAddr::from);
    prop_oneof![v4, v6]
}

proptest! {
    /// What we build, the oracle reads, integrity and fingerprint validated.
    #[test]
    fn the_oracle_reads_our_checks(id: [u8; 12], name in "[a-zA-Z0-9+/]{4,32}:[a-zA-Z0-9+/]{4,32}", priority: u32,
                                   tie_breaker: u64, controlling: bool, use_candidate: bool, pwd in "[a-zA-Z0-9+/]{22,64}") {
        let role = if controlling { Role::Controlling } else { Role::Controlled };
        let mut check = Builder::new(Class::Request, BINDING, TransactionId(id))
            .username(&name).priority(priority).role_claim(RoleClaim { role, tie_breaker });
        if use_candidate {
            check = check.use_candidate();
        }
        let check = check.finish(Some(&Key::short_term(&pwd)));
        let context = DecoderContextBuilder::default().with_key(HMACKey::new_short_term(&pwd).unwrap()).with_validation().build();
        let (read, size) = MessageDecoderBuilder::default().with_context(context).build().decode(&check).unwrap();
        prop_assert_eq!(size, check.len());
        prop_assert_eq!(class_of(read.class()), Class::Request);
        prop_assert_eq!(read.transaction_id().as_bytes(), &id);
        prop_assert_eq!(read.get::<oracle::UserName>().unwrap().as_user_name().unwrap().as_str(), name);
        prop_assert_eq!(*read.get::<oracle_ice::Priority>().unwrap().as_priority().unwrap(), priority);
        prop_assert_eq!(read.get::<oracle_ice::UseCandidate>().is_some(), use_candidate);
        match role {
            Role::Controlling => prop_assert_eq!(*read.get::<oracle_ice::IceControlling>().unwrap().as_ice_controlling().unwrap(), tie_breaker),
            Role::Controlled => prop_assert_eq!(*read.get::<oracle_ice::IceControlled>().unwrap().as_ice_controlled().unwrap(), tie_breaker),
        }
    }

    /// What the oracle builds, we read.
    #[test]
    fn we_read_the_oracles_responses(id: [u8; 12], address in any_address(), pwd in "[a-zA-Z0-9+/]{22,64}") {
        let response = StunMessageBuilder::new(MessageMethod::try_from(BINDING).unwrap(), stun_rs::MessageClass::SuccessResponse)
            .with_transaction_id(id.into())
            .with_attribute(oracle::XorMappedAddress::from(address))
            .with_attribute(oracle::MessageIntegrity::new(HMACKey::new_short_term(&pwd).unwrap()))
            .with_attribute(oracle::Fingerprint::default())
            .build();
        let mut buffer = [0; 256];
        let size = MessageEncoderBuilder::default().build().encode(&mut buffer, &response).unwrap();
        let read = Message::parse(&buffer[..size]).unwrap();
        prop_assert_eq!(read.mapped_address(), Some(address));
        prop_assert_eq!(read.transaction().0, id);
        prop_assert!(read.is_authentic(&Key::short_term(&pwd)));
        // And the other way round.
        let ours = Builder::new(Class::Success, BINDING, TransactionId(id)).xor_mapped_address(address).finish(Some(&Key::short_term(&pwd)));
        prop_assert_eq!(&buffer[..size], &ours[..]);
    }

    #[test]
    fn the_oracle_reads_our_errors(code in prop::sample::select(vec![400_u16, 401, 420, 487, 500])) {
        let error = Builder::new(Class::Error, BINDING, TransactionId([5; 12])).error_code(code).finish(None);
        prop_assert_eq!(Message::parse(&error).unwrap().error_code(), Some(code));
        let (read, _) = MessageDecoderBuilder::default().build().decode(&error).unwrap();
        let told = read.get::<oracle::ErrorCode>().unwrap().as_error_code().unwrap().error_code().error_code();
        prop_assert_eq!(told, code);
    }

    /// Foreign bytes: no panic, whatever is asked of what parses.
    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..200)) {
        look_at_everything(&data);
    }

    #[test]
    fn any_attributes_are_survived(kind: u16, id: [u8; 12], attributes in prop::collection::vec(
        (prop_oneof![any::<u16>(), prop::sample::select(vec![1_u16, 6, 8, 9, 10, 0x1c, 0x20, 0x24, 0x25, 0x8028, 0x8029, 0x802a])],
         prop::collection::vec(any::<u8>(), 0..40)), 0..8), cut in 0_usize..4) {
        look_at_everything(&by_hand(kind & 0x3fff, id, &attributes, cut));
    }

    #[test]
    fn mutated_samples_are_survived(which in 0_usize..3, changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut data = [sample_request(), sample_ipv4_response(), sample_ipv6_response()][which].clone();
        for (place, value) in changes {
            let place = place.index(data.len());
            data[place] = value;
        }
        look_at_everything(&data);
    }
}

/// A message with right lengths and arbitrary contents; `cut` bytes are missing at the end.
fn by_hand(kind: u16, id: [u8; 12], attributes: &[(u16, Vec<u8>)], cut: usize) -> Vec<u8> {
    let mut body = Vec::new();
    for (kind, value) in attributes {
        body.extend(kind.to_be_bytes());
        body.extend((value.len() as u16).to_be_bytes());
        body.extend(value);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    body.truncate(body.len().saturating_sub(cut * 4));
    let header =
        [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), &[0x21, 0x12, 0xa4, 0x42], &id]
            .concat();
    [header, body].concat()
}

fn look_at_everything(data: &[u8]) {
    let Ok(message) = Message::parse(data) else { return };
    assert!(is_stun(data));
    let _ = (message.class(), message.method(), message.wire_type(), message.transaction());
    let _ = (message.username(), message.priority(), message.use_candidate(), message.role_claim());
    let _ = (message.mapped_address(), message.error_code(), message.unknown_required(&[]));
    assert!(!message.is_authentic(&Key::short_term(PASSWORD)) || message.has_integrity());
    assert!(message.attributes().all(|(_, value)| value.len() <= data.len()));
    let _ = format!("{message:?}");
}
