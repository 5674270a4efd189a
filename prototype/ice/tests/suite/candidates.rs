//! What RFC 8445 section 5.1 asks of our own candidates, and RFC 7675 of the checks that keep their pairs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ice::stun::{self, Builder, Class, Key, Message, RoleClaim, TransactionId};
use ice::{Agent, CandidateKind, Role, SocketId, SocketInfo, priority};

use crate::net::{A, B, Border, World, address, config, credentials, ms};

const SERVERS: [&str; 3] = ["198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478"];

/// What a server tells one socket, so that the candidate tells which server it was.
fn mapped(socket: SocketId, server: SocketAddr) -> SocketAddr {
    let number = SERVERS.iter().position(|one| address(one) == server).expect("one of them");
    ([203, 0, 113, socket.0 as u8], 1000 + number as u16).into()
}

/// Three sockets, two of which have one address, have heard of three servers, two of which have one address.
fn gathered() -> Agent {
    let mut now = World::new().now;
    let mut agent = Agent::new(config(A, Role::Controlling));
    for (number, local) in ["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1"].iter().enumerate() {
        let preference = 65_000 - number as u16;
        let info = SocketInfo { interface: "any".into(), local: address(local), preference };
        agent.add_socket(now, SocketId(number as u32), info);
    }
    SERVERS.iter().for_each(|server| agent.add_stun_server(now, address(server)));
    agent.start(now);
    for _ in 0..20 {
        now += ms(50);
        agent.handle_timeout(now);
        while let Some(asked) = agent.poll_transmit() {
            let request = Message::parse(&asked.bytes).unwrap();
            let answer = Builder::response(Class::Success, &request);
            let answer = answer.xor_mapped_address(mapped(asked.socket, asked.to)).finish(None);
            agent.handle_datagram(now, asked.socket, asked.to, &answer).unwrap();
        }
    }
    agent
}

#[test]
fn foundations_are_one_for_one_type_base_and_server_and_differ_otherwise() {
    let agent = gathered();
    let server_of = |local: &ice::LocalCandidate| -> Option<IpAddr> {
        let server = SERVERS.iter().find(|server| mapped(local.socket, address(server)) == local.address);
        server.map(|server| address(server).ip())
    };
    let mut meanings = BTreeMap::new();
    let mut foundations = BTreeMap::new();
    for local in agent.local_candidates() {
        let means = (local.kind, local.base.ip(), server_of(local));
        assert_eq!(*meanings.entry(local.foundation.clone()).or_insert(means), means, "{local:?}");
        assert_eq!(foundations.entry(means).or_insert(local.foundation.clone()), &local.foundation);
    }
    assert_eq!(agent.local_candidates().count(), 3 + 9);
    assert_eq!(foundations.len(), 2 + 4, "of two addresses, and of each with two servers");
}

#[test]
fn type_preferences_are_in_order_and_range() {
    use CandidateKind::{Host, Prflx, Relay, Srflx};
    let preference = |kind| priority(kind, 65_535) >> 24;
    let all = [Host, Prflx, Srflx, Relay].map(preference);
    assert!(all.is_sorted_by(|better, worse| better > worse), "{all:?}");
    assert!(all.iter().all(|one| *one <= 126));
    for kind in [Host, Prflx, Srflx, Relay] {
        assert_eq!(preference(kind), priority(kind, 0) >> 24, "one for each type");
        assert!((1..1 << 31).contains(&priority(kind, 0)));
    }
}

fn two_ends() -> World {
    let mut world = World::new();
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    world.introduce();
    assert!(world.run_until_usable(ms(1000)));
    world
}

#[test]
fn checks_that_keep_a_pair_are_new_transactions_each_and_sent_once() {
    let mut world = two_ends();
    world.run_for(ms(100));
    let sent = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tap = sent.clone();
    world.lose = Box::new(move |number, sender, bytes| {
        let message = Message::parse(bytes).unwrap();
        if sender == A && message.class() == Class::Request {
            tap.borrow_mut().push(message.transaction());
        }
        number % 3 == 0
    });
    world.run_for(Duration::from_secs(10));
    let sent = sent.borrow();
    let different: BTreeSet<_> = sent.iter().collect();
    assert!(sent.len() > 90, "{}", sent.len());
    assert_eq!(different.len(), sent.len());
}

#[test]
fn valid_checks_are_answered_even_when_the_pair_is_down_here() {
    let mut world = two_ends();
    let key = Key::short_term(credentials(A).pwd());
    let check = |id: u8| {
        Builder::new(Class::Request, stun::BINDING, TransactionId([id; 12]))
            .username(&format!("{}:{}", credentials(A).ufrag(), credentials(B).ufrag()))
            .priority(1)
            .role_claim(RoleClaim { role: Role::Controlled, tie_breaker: 1 })
            .finish(Some(&key))
    };
    let answered = |world: &mut World, id: u8| {
        let agent = &mut world.agents[A];
        agent.handle_datagram(world.now, SocketId(0), address("192.0.2.20:2000"), &check(id)).unwrap();
        let sent: Vec<_> = std::iter::from_fn(|| agent.poll_transmit()).collect();
        sent.iter().any(|sent| {
            let message = Message::parse(&sent.bytes).unwrap();
            let answers = message.transaction() == TransactionId([id; 12]);
            answers && message.class() == Class::Success && message.is_authentic(&key)
        })
    };
    assert!(answered(&mut world, 1));
    // Longer than consent lasts.
    world.lose = Box::new(|_, _, _| true);
    world.run_for(Duration::from_secs(60));
    assert_eq!(world.usable(A).count(), 0);
    assert!(answered(&mut world, 2));
}
