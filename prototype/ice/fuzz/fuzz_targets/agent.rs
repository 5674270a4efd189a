//! A script of datagrams for an agent. Each begins with a header of four bytes: time to wait, socket and
//! source, whether to complete it with a valid integrity, length; so that what lies behind authentication
//! is reached as well.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::stun::whatsapp::CallId;
use ice::stun::{Builder, Class, Key, Message, TransactionId};
use ice::{
    Agent, Call, CandidateKind, Config, Credentials, Policy, RelayServer, RemoteCandidate, Role, Rule, Rung, SocketId,
    SocketInfo, Target,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| run(script));

fn run(mut script: &[u8]) {
    let (local, remote) = (Credentials::from_entropy(&[1; 32]), Credentials::from_entropy(&[2; 32]));
    let keys = [Key::short_term(local.pwd()), Key::short_term(remote.pwd())];
    let username = format!("{}:{}", local.ufrag(), remote.ufrag());
    let mut now = Instant::now();
    let mut agent = started_agent(now, local, remote);
    let mut asked = Vec::new();
    while let Some((&[wait, place, seal, length], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        script = rest;
        now += Duration::from_millis(u64::from(wait) * 4);
        agent.handle_timeout(now);
        while let Some(transmit) = agent.poll_transmit() {
            asked.extend(Message::parse(&transmit.bytes).map(|message| message.transaction()));
        }
        command(&mut agent, now, seal >> 5, place);
        let mut datagram = sealed(body, seal, &username, &keys, asked.last().copied());
        Rung::ALL[usize::from((seal >> 2) % 6)].apply(&mut datagram);
        let _ = agent.handle_datagram(now, SocketId(u32::from(place & 1)), peer(place >> 1), &datagram);
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
    let relay = RelayServer { address: peer(4), username: "user".into(), password: "secret".into() };
    agent.add_relay_server(now, relay);
    agent.join_call(now, &Call { id: CallId([1; 16]), password: "secret".into() });
    agent.add_call_relay(now, peer(6));
    agent.set_remote_credentials(now, remote);
    agent.start(now);
    agent
}

fn peer(place: u8) -> SocketAddr {
    if place % 2 == 0 {
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
    let mut message = Builder::new(class, 1, asked.unwrap_or(TransactionId([0; 12])));
    if class == Class::Request {
        message = message.username(username);
    }
    let mut attributes = body;
    while let Some((&[high, low, length], rest)) = attributes.split_first_chunk() {
        let (value, rest) = rest.split_at(rest.len().min(usize::from(length)));
        attributes = rest;
        // Half of them from the block where those lie that mean something.
        let kind = if high & 1 == 0 { u16::from(low & 0x3f) } else { 0x8000 | u16::from(low) };
        if let Ok(longer) = Builder::attribute(message, kind, value) {
            message = longer;
        } else {
            return body.to_vec();
        }
    }
    message.finish(Some(key))
}
