//! A script of datagrams for an agent. Each begins with a header of five bytes: time to wait, socket and
//! source, whether to complete it with a valid integrity, how its relay wraps it or what that answers, length; so
//! that what lies behind authentication is reached as well, of the other agent and of the relay.
#![cfg_attr(fuzzing, no_main)]

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ice::stun::turn::{ChannelData, PasswordAlgorithm, attribute, method};
use ice::stun::whatsapp::CallId;
use ice::stun::{BINDING, Builder, Class, Key, Message, TransactionId};
use ice::{
    Agent, Call, CandidateKind, Config, Credentials, Policy, RelayServer, RemoteCandidate, Role, Rule, Rung,
    SocketId, SocketInfo, Target,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| run(script));

/// Of the relay, by algorithm.
static RELAY_KEYS: LazyLock<[Key; 2]> = LazyLock::new(|| {
    let of = |algorithm| Key::long_term(USER, REALM, PASSWORD, algorithm);
    [of(PasswordAlgorithm::Md5), of(PasswordAlgorithm::Sha256)]
});
const USER: &str = "user";
const PASSWORD: &str = "secret";
const REALM: &str = "example.org";

/// A request of the agent's.
#[derive(Clone, Copy)]
struct Asked {
    transaction: TransactionId,
    method: u16,
    /// A key other than that of a check sealed it.
    signed: bool,
}

fn run(mut script: &[u8]) {
    let (local, remote) = (Credentials::from_entropy(&[1; 32]), Credentials::from_entropy(&[2; 32]));
    let keys = [Key::short_term(local.pwd()), Key::short_term(remote.pwd())];
    let username = format!("{}:{}", local.ufrag(), remote.ufrag());
    let mut now = Instant::now();
    let mut agent = started_agent(now, local, remote);
    let (mut asked, mut asked_relay) = (None, Vec::new());
    while let Some((&[wait, place, seal, wrap, length], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        script = rest;
        now += Duration::from_millis(u64::from(wait) * 4);
        agent.handle_timeout(now);
        while let Some(transmit) = agent.poll_transmit() {
            let Ok(message) = Message::parse(&transmit.bytes) else { continue };
            let (transaction, method) = (message.transaction(), message.method());
            if transmit.to != RELAY.into() {
                asked = Some(transaction);
            } else if message.class() == Class::Request && asked_relay.len() < 256 {
                asked_relay.push(Asked { transaction, method, signed: message.has_integrity() });
            }
        }
        command(&mut agent, now, seal >> 5, place);
        let mut datagram = sealed(body, seal, &username, &keys, asked);
        Rung::ALL[usize::from((seal >> 2) % 6)].apply(&mut datagram);
        let (socket, from, datagram) = match wrap & 15 {
            0..6 => (SocketId(u32::from(place & 1)), peer(place >> 1), datagram),
            wrapped @ 6..11 => {
                (SocketId(0), RELAY.into(), wrapped_by_relay(wrapped, wrap >> 4, peer(place >> 1), &datagram))
            }
            answer => {
                let asked = asked_relay.iter().rev().nth(usize::from(wrap >> 6)).or(asked_relay.last());
                let answer = asked.map(|asked| relay_answer(*asked, answer, wrap >> 4 & 3, place, body));
                (SocketId(0), RELAY.into(), answer.unwrap_or(datagram))
            }
        };
        let _ = agent.handle_datagram(now, socket, from, &datagram);
        while agent.poll_event().is_some() {}
        while agent.poll_received().is_some() {}
        assert!(agent.pairs().count() <= 100 && agent.remote_candidates().count() <= 100);
    }
}

/// What the user may do at any time.
fn command(agent: &mut Agent, now: Instant, which: u8, value: u8) {
    let pair = agent.pairs().nth(usize::from(value)).map(|pair| pair.id);
    match which {
        1 => agent.restart(now, Credentials::from_entropy(&[value; 32])),
        2 => agent.set_policy(now, Policy::presets()[usize::from(value % 5)].clone()),
        3 => {
            let rule = [None, Some(Rule::Forced), Some(Rule::Forbidden)][usize::from(value % 3)];
            agent.set_rule(now, Target::Remote(peer(value >> 2)), rule);
        }
        4 => agent.set_disguise(Target::Socket(SocketId(0)), Rung::ALL[usize::from(value % 6)]),
        5 => agent.set_active(now, pair.as_slice()),
        6 => pair.into_iter().for_each(|pair| agent.nominate(now, pair)),
        _ => {}
    }
}

fn started_agent(now: Instant, local: Credentials, remote: Credentials) -> Agent {
    let mut agent = Agent::new(Config::new(Role::Controlling, local, 1));
    for (id, address) in [(0, "192.0.2.1:1"), (1, "[2001:db8::1]:1")] {
        let local = address.parse().expect("a literal");
        agent.add_socket(
            now,
            SocketId(id),
            SocketInfo { interface: "any".into(), local, preference: 65_535 - id as u16 },
        );
    }
    for place in [0, 1, 2] {
        agent.add_remote_candidate(
            now,
            RemoteCandidate {
                kind: CandidateKind::Host,
                address: peer(place),
                priority: u32::from(place),
                foundation: "1".into(),
                interface: None,
            },
        );
    }
    let relay = RelayServer { address: RELAY.into(), username: USER.into(), password: PASSWORD.into() };
    agent.add_relay_server(now, relay);
    agent.join_call(now, &Call { id: CallId([1; 16]), password: "secret".into() });
    agent.add_call_relay(now, peer(6));
    agent.set_remote_credentials(now, remote);
    agent.start(now);
    agent
}

/// That is `peer(4)`.
const RELAY: ([u8; 4], u16) = ([192, 0, 2, 6], 2);

fn peer(place: u8) -> SocketAddr {
    if place.is_multiple_of(2) {
        ([192, 0, 2, 2 + place], 2).into()
    } else {
        ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 2 + u16::from(place)], 2).into()
    }
}

/// The bytes as they are, or as attributes of a message that authenticates.
fn sealed(body: &[u8], seal: u8, username: &str, keys: &[Key; 2], asked: Option<TransactionId>) -> Vec<u8> {
    let (class, key) = match seal % 4 {
        0 => return body.to_vec(),
        1 => (Class::Request, &keys[0]),
        2 => (Class::Success, &keys[1]),
        _ => (Class::Error, &keys[1]),
    };
    let mut message = Builder::new(class, BINDING, asked.unwrap_or(TransactionId([0; 12])));
    if class == Class::Request {
        message = message.username(username);
    }
    with_attributes(message, body).finish(Some(key))
}

/// What a peer sends to the relayed address, as the relay passes it on.
fn wrapped_by_relay(how: u8, number: u8, peer: SocketAddr, data: &[u8]) -> Vec<u8> {
    if how < 8 {
        let number = 0x4000 + u16::from(number & 3);
        return ChannelData { number, data }.to_bytes().unwrap_or_default();
    }
    let message = Builder::new(Class::Indication, method::DATA, TransactionId([1; 12]));
    message.peer_address(peer).data(data).finish(None)
}

/// What a relay answers: as it should, with an error, with anything else of its own, or what it should not.
fn relay_answer(asked: Asked, how: u8, which: u8, place: u8, body: &[u8]) -> Vec<u8> {
    let error = [401, 438, 437, 403, 508, 300, 400, 486][usize::from(place & 7)];
    let (class, key) = match how {
        11 | 12 if !asked.signed => {
            // A challenge, whose nonce may offer SHA-256 (RFC 8489 section 9.2).
            return challenge(asked, 401, which);
        }
        11..14 => (Class::Success, &RELAY_KEYS[usize::from(which & 1)]),
        _ if [401, 438].contains(&error) => return challenge(asked, error, which),
        _ => (Class::Error, &RELAY_KEYS[usize::from(which & 1)]),
    };
    let method = if how == 13 { u16::from(place) } else { asked.method };
    let mut message = Builder::new(class, method, asked.transaction);
    message = match (class, method) {
        (Class::Error, _) => {
            message.error_code(error).plain_address(attribute::ALTERNATE_SERVER, peer(place >> 3))
        }
        (_, method::ALLOCATE) => message
            .relayed_address(([203, 0, 113, 1 + (place & 1)], 50_000).into())
            .xor_mapped_address(([198, 51, 100, 7], 4).into())
            .lifetime(u32::from(place) * 10),
        (_, method::REFRESH) => message.lifetime(u32::from(place) * 10),
        _ => message,
    };
    with_attributes(message, body).finish(Some(key))
}

fn challenge(asked: Asked, code: u16, which: u8) -> Vec<u8> {
    let nonce: &[u8] = if which & 1 == 0 { b"nonce" } else { b"obMatJos2gAAAnonce" };
    let message = Builder::new(Class::Error, asked.method, asked.transaction).error_code(code);
    let realm = |message: Builder| message.attribute(attribute::REALM, REALM.as_bytes());
    let nonce = |message: Builder| message.attribute(attribute::NONCE, nonce);
    let algorithms =
        |message: Builder| message.attribute(attribute::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0]);
    let message = realm(message).and_then(nonce).and_then(algorithms);
    message.expect("there is room").finish(None)
}

fn with_attributes(mut message: Builder, mut attributes: &[u8]) -> Builder {
    while let Some((&[high, low, length], rest)) = attributes.split_first_chunk() {
        let (value, rest) = rest.split_at(rest.len().min(usize::from(length)));
        attributes = rest;
        // Half of them from the block where those lie that mean something.
        let kind = if high & 1 == 0 { u16::from(low & 0x3f) } else { 0x8000 | u16::from(low) };
        if ![0x0008, 0x001c, 0x8028].contains(&kind) {
            message = message.attribute(kind, value).expect("scripts are short");
        }
    }
    message
}
