//! The example of RFC 8445 section 15 as a golden trace: L behind a NAT, R on the public internet, one STUN server.

use std::net::SocketAddr;
use std::time::Duration;

use ice::{CandidateKind, CheckPurpose, Event, PairState};

use crate::nat::Dependence::{Address, Endpoint};
use crate::net::{A as L, B as R, Border, World, address, ms, remote};

const STUN_PUB: &str = "192.0.2.2:3478";
const L_PRIV: &str = "10.0.1.1:8998";
const R_PUB: &str = "192.0.2.1:3478";

fn name(at: SocketAddr, nat_pub: SocketAddr) -> &'static str {
    match at {
        _ if at == address(STUN_PUB) => "STUN-PUB-1",
        _ if at == address(L_PRIV) => "L-PRIV-1",
        _ if at == address(R_PUB) => "R-PUB-1",
        _ if at == nat_pub => "NAT-PUB-1",
        _ => "?",
    }
}

/// What an agent did, in words.
fn told(event: &Event, nat_pub: SocketAddr) -> Option<String> {
    let to = |at: &SocketAddr| name(*at, nat_pub);
    match event {
        Event::CheckSent { remote, purpose: CheckPurpose::Liveness, .. } => {
            Some(format!("consent? {}", to(remote)))
        }
        Event::CheckSent { remote, purpose, attempt: 1, .. } => {
            Some(format!("{purpose:?} -> {}", to(remote)))
        }
        Event::CheckAnswered { remote, mapped: Some(mapped), .. } => {
            Some(format!("{} sees {}", to(remote), to(mapped)))
        }
        Event::LocalCandidate(local) => {
            Some(format!("{:?} {} {}", local.kind, to(&local.address), local.priority))
        }
        Event::Pair { state: PairState::Up, view, .. } => Some(format!("valid {}", to(&view.remote))),
        Event::Nominated { .. } => Some("nominated".into()),
        _ => None,
    }
}

#[test]
fn the_example_of_rfc_8445_runs_as_written() {
    let mut world = World::new();
    world.server = Some((address(STUN_PUB), ms(5)));
    // Endpoint-independent mapping, address-dependent filtering.
    let l = world.socket(L, "eth0", L_PRIV, Border::Class(Endpoint, Address), ms(5));
    world.socket(R, "eth0", R_PUB, Border::Open, ms(5));
    // The example gives both the highest local preference.
    world.agents[R].set_preference(world.now, ice::SocketId(1), 65_535);
    world.drain();
    let nat_pub = world.port(l).public;
    for me in [L, R] {
        world.events[me].clear();
        world.agents[me].add_stun_server(world.now, address(STUN_PUB));
    }
    // Messages 1 to 4, then 5: L gathers and tells.
    world.agents[L].start(world.now);
    world.drain();
    world.run_for(ms(100));
    world.agents[R].set_remote_credentials(world.now, crate::net::credentials(L));
    for candidate in world.agents[L].local_candidates().cloned().collect::<Vec<_>>() {
        world.agents[R].add_remote_candidate(world.now, remote(&candidate));
    }
    // Messages 6 and 7, then 8: R gathers, and its answer reaches L.
    world.agents[R].start(world.now);
    world.drain();
    world.run_for(ms(25));
    world.agents[L].set_remote_credentials(world.now, crate::net::credentials(R));
    for candidate in world.agents[R].local_candidates().cloned().collect::<Vec<_>>() {
        world.agents[L].add_remote_candidate(world.now, remote(&candidate));
    }
    world.drain();
    world.run_for(ms(60));
    let pair = world.usable(L).next().expect("L has a valid pair").id;
    world.agents[L].nominate(world.now, pair);
    world.drain();
    world.run_for(ms(30));

    let trace = |me: usize| -> Vec<String> {
        let words =
            |(at, event): &(Duration, Event)| Some(format!("{} {}", at.as_millis(), told(event, nat_pub)?));
        world.events[me].iter().filter_map(words).collect()
    };
    assert_eq!(
        trace(L),
        [
            "0 Gather -> STUN-PUB-1",        // 1, 2
            "20 STUN-PUB-1 sees NAT-PUB-1",  // 3, 4
            "20 Srflx NAT-PUB-1 1694498815", // as the example computes it
            "125 Ordinary -> R-PUB-1",       // 10, 11
            "145 R-PUB-1 sees NAT-PUB-1",    // 12, 13
            "145 valid R-PUB-1",
            "185 Nomination -> R-PUB-1",  // 18, 19
            "205 R-PUB-1 sees NAT-PUB-1", // 20, 21
            "205 nominated",
        ]
    );
    assert_eq!(
        trace(R),
        [
            "100 Ordinary -> L-PRIV-1",   // 9: lost, the address is private
            "150 Triggered -> NAT-PUB-1", // 14, 15
            "170 NAT-PUB-1 sees R-PUB-1", // 16, 17
            "170 valid NAT-PUB-1",
            "195 nominated",
            "200 Gather -> STUN-PUB-1", // 6, 7: here checks go first
        ]
    );
    let kinds: Vec<_> =
        world.agents[R].local_candidates().map(|local| (local.kind, local.priority)).collect();
    assert_eq!(kinds, [(CandidateKind::Host, 2_130_706_431)], "the reflexive one is redundant");
}
