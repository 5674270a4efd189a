//! What an agent may hold, counted in bytes: with many pairs in every state, and whatever is thrown at it.

mod counting;
mod couple;

use std::net::SocketAddr;
use std::time::Duration;

use counting::{held, weight};
use couple::{Couple, NOWHERE, RELAY, USER, address, at_rfc_7675, credentials};
use ice::stun::{self, Builder, Class, Key, RoleClaim, TransactionId};
use ice::{Agent, CandidateKind, PairState, Policy, RelayServer, RemoteCandidate, Role, Rung, SocketId};

const MOST_BYTES: usize = 100_000;
const MINUTE: Duration = Duration::from_secs(60);

fn assert_light(agent: Agent) {
    let bytes = weight(agent);
    assert!(bytes <= MOST_BYTES, "{bytes} bytes");
}

#[test]
fn an_agent_with_100_living_pairs_fits_into_100_kb() {
    for policy in [Policy::multipath(), at_rfc_7675()] {
        let mut couple = Couple::new(1, [10, 10], policy);
        couple.run_for(MINUTE);
        assert_eq!(couple.living(), [100, 100]);
        couple.agents.into_iter().for_each(assert_light);
    }
}

/// Candidates with longer names than there may be (RFC 8839 section 5.1), where nobody is.
fn nowhere(port: u16) -> RemoteCandidate {
    RemoteCandidate {
        kind: CandidateKind::Host,
        address: ([10, 0, NOWHERE, 1], port).into(),
        priority: 2_000_000_000 - u32::from(port),
        foundation: format!("{port:064}"),
        interface: Some("a name that the other end gives, as long as it likes".into()),
    }
}

/// Three sockets and as many relayed addresses here and there, and eleven candidates that come to nothing.
fn with_relays() -> Couple {
    let mut couple = Couple::new(1, [3, 3], Policy::multipath());
    let (username, password) = (USER.0.to_owned(), USER.1.to_owned());
    for agent in &mut couple.agents {
        let (username, password) = (username.clone(), password.clone());
        agent.add_relay_server(couple.now, RelayServer { address: RELAY.into(), username, password });
    }
    couple.run_for(Duration::from_secs(2));
    for me in [0, 1] {
        couple.introduce(me);
    }
    couple.run_for(Duration::from_secs(8));
    assert_eq!(couple.living(), [36, 36], "six by six");
    for me in [0, 1] {
        for port in 1..=11 {
            couple.agents[me].add_remote_candidate(couple.now, nowhere(port));
        }
    }
    couple
}

#[test]
fn so_does_one_with_relays_and_pairs_that_come_to_nothing() {
    // While they are checked, and when many have been given up and are tried again.
    for time in [Duration::from_secs(10), MINUTE] {
        let mut couple = with_relays();
        couple.run_for(time);
        assert_eq!(couple.living(), [36, 36]);
        let [agent, _] = couple.agents;
        assert_eq!(agent.pairs().count(), 100);
        let busy = agent.pairs().filter(|pair| pair.state == PairState::InProgress).count();
        assert!(busy > 0, "nothing under way");
        assert_light(agent);
    }
}

#[test]
fn a_flood_of_candidates_stays_bounded() {
    let mut couple = Couple::new(1, [3, 3], Policy::multipath());
    couple.run_for(Duration::from_secs(1));
    for port in 1..=20_000 {
        let agent = &mut couple.agents[0];
        agent.add_remote_candidate(couple.now, nowhere(port));
        while agent.poll_event().is_some() {}
        if port % 100 == 0 {
            couple.run_for(Duration::from_millis(50));
        }
    }
    assert_eq!(couple.living(), [9, 9], "what works is spared");
    let [agent, _] = couple.agents;
    assert_eq!(agent.pairs().count(), 100);
    assert_light(agent);
}

fn request(number: u32, key: &Key) -> Vec<u8> {
    let mut id = [7; 12];
    id[..4].copy_from_slice(&number.to_be_bytes());
    Builder::new(Class::Request, stun::BINDING, TransactionId(id))
        .username(&format!("{}:{}", credentials(0).ufrag(), credentials(1).ufrag()))
        .priority(number)
        .role_claim(RoleClaim { role: Role::Controlled, tie_breaker: 1 })
        .finish(Some(key))
}

/// 10,000 requests of as many senders, in every disguise.
fn flood(agent: &mut Agent, couple_now: std::time::Instant, key: &Key) {
    for number in 0..10_000_u32 {
        let now = couple_now + Duration::from_micros(100) * number;
        let [_, a, b, c] = number.to_be_bytes();
        let from = SocketAddr::from(([11, a, b, c], 1024));
        let mut datagram = request(number, key);
        Rung::ALL[number as usize % Rung::ALL.len()].apply(&mut datagram);
        let _ = agent.handle_datagram(now, SocketId(number % 3), from, &datagram);
        while agent.poll_transmit().is_some() || agent.poll_event().is_some() {}
    }
}

#[test]
fn a_flood_of_spoofed_requests_leaves_nothing_behind() {
    let wrong = Key::short_term(credentials(1).pwd());
    let mut couple = Couple::new(1, [3, 3], Policy::multipath());
    couple.run_for(Duration::from_secs(1));
    let before = held();
    flood(&mut couple.agents[0], couple.now, &wrong);
    // Queues that were longer may give something back.
    assert!(held() <= before, "{before} bytes became {}", held());
    // While no pair works, refusals are sent.
    let mut couple = Couple::new(1, [3, 3], Policy::multipath());
    couple.agents[0].handle_timeout(couple.now);
    while couple.agents[0].poll_transmit().is_some() {}
    let before = held();
    flood(&mut couple.agents[0], couple.now, &wrong);
    assert!(held() <= before, "{before} bytes became {}", held());
}

#[test]
fn a_flood_of_authentic_requests_stays_bounded() {
    let right = Key::short_term(credentials(0).pwd());
    let mut couple = Couple::new(1, [3, 3], Policy::multipath());
    couple.run_for(Duration::from_secs(1));
    flood(&mut couple.agents[0], couple.now, &right);
    assert!(couple.agents[0].remote_candidates().any(|one| one.address != address(1, 0)));
    let [agent, _] = couple.agents;
    assert_light(agent);
}
