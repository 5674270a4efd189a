//! Path policies: each preset does what the observations it names say; rules override them.

use std::time::Duration;

use ice::policy::{Keeping, OnLoss, Standby};
use ice::stun::NetworkInfo;
use ice::{
    CandidateKind, CheckPurpose, Credentials, Event, PairState, Policy, Rejected, RemoteCandidate, Role,
    Rule, SocketId, StopReason, Target,
};

use crate::byhand::{Hand, SOCKET};
use crate::net::{A, B, Border, World, address, config, ms};

const SECOND: Duration = Duration::from_secs(1);

fn world_with(policy: &Policy) -> World {
    let mut configs = [config(A, Role::Controlling), config(B, Role::Controlled)];
    configs[A].policy = policy.clone();
    let [a, b] = configs;
    let mut world = World::with(a, b);
    world.agents[A].set_network_info("wlan0", NetworkInfo { id: 1, cost: 10 });
    world.agents[A].set_network_info("wwan0", NetworkInfo { id: 2, cost: 900 });
    world
}

/// A has WiFi (socket 0) and cellular (socket 1), B two addresses (2 and 3).
fn two_by_two(policy: &Policy) -> World {
    let mut world = world_with(policy);
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Open, ms(20));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    world.socket(B, "eth1", "192.0.2.21:2000", Border::Open, ms(10));
    world
}

fn candidate(kind: CandidateKind, at: &str, priority: u32) -> RemoteCandidate {
    RemoteCandidate {
        kind,
        address: address(at),
        priority,
        foundation: format!("{kind:?}{priority}"),
        interface: None,
    }
}

/// When requests left A on a socket, of these purposes.
fn requests(world: &World, on: SocketId, purposes: &[CheckPurpose]) -> Vec<Duration> {
    let sent = |(at, event): &(Duration, Event)| match event {
        Event::CheckSent { socket, purpose, .. } if *socket == on && purposes.contains(purpose) => Some(*at),
        _ => None,
    };
    world.events[A].iter().filter_map(sent).collect()
}

const PROBES: &[CheckPurpose] = &[CheckPurpose::Ordinary, CheckPurpose::Triggered];
const ALL: &[CheckPurpose] = &[
    CheckPurpose::Ordinary,
    CheckPurpose::Triggered,
    CheckPurpose::Liveness,
    CheckPurpose::Nomination,
    CheckPurpose::Gather,
];

fn stops(world: &World) -> Vec<StopReason> {
    let stop = |(_, event): &(Duration, Event)| match event {
        Event::ProbingStopped { why, .. } => Some(*why),
        _ => None,
    };
    world.events[A].iter().filter_map(stop).collect()
}

#[test]
fn presets_are_found_by_name() {
    for preset in Policy::presets() {
        assert_eq!(preset.name.parse(), Ok(preset.clone()));
    }
    assert_eq!(
        "fastest".parse::<Policy>().unwrap_err().to_string(),
        "no policy `fastest`; there are: multipath, rfc8445, whatsapp, quickshare, prototype-2024"
    );
}

#[test]
fn whatsapp_leaves_cellular_alone_while_wifi_works_and_stops_with_one_direct_path() {
    let mut world = two_by_two(&Policy::whatsapp());
    // Nobody answers there.
    world.agents[A].add_remote_candidate(world.now, candidate(CandidateKind::Host, "192.0.2.99:9", u32::MAX));
    world.introduce();
    world.run_for(SECOND * 60);
    assert_eq!(requests(&world, SocketId(1), ALL), [], "wa-no-cellular-probe");
    assert!(
        world.sent[B].iter().all(|(_, _, to, _)| *to != address("192.0.2.11:1000")),
        "wa-remote-own-cell"
    );
    assert_eq!(world.usable(A).count(), 1, "wa-off-no-standby");
    let first = world.first(A, PairState::Up).unwrap().0;
    let probes = requests(&world, SocketId(0), PROBES);
    assert!(probes.iter().all(|at| *at <= first + ms(50)), "wa-stop-probing: {probes:?}");
    assert!(!stops(&world).is_empty());
    // wa-active-keepalive-first and wa-active-keepalive.
    let checks = requests(&world, SocketId(0), &[CheckPurpose::Liveness]);
    assert_eq!(checks[0] - first, SECOND * 15);
    assert!(checks.windows(2).all(|two| two[1] - two[0] == SECOND * 2), "{checks:?}");
}

#[test]
fn whatsapp_probes_what_does_not_answer_twenty_times_600_ms_apart() {
    let mut world = world_with(&Policy::whatsapp());
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.agents[A].add_remote_candidate(world.now, candidate(CandidateKind::Host, "192.0.2.99:9", 1));
    world.introduce_to(A, B);
    world.run_for(SECOND * 60);
    let probes = requests(&world, SocketId(0), PROBES);
    assert_eq!(probes.len(), 20, "wa-stop-probing");
    assert!(probes.windows(2).all(|two| two[1] - two[0] == ms(600)), "cap-dead-candidate: {probes:?}");
    assert_eq!(stops(&world), [StopReason::Budget]);
    assert_eq!(world.agents[A].pairs().next().unwrap().state, PairState::Failed);
}

#[test]
fn whatsapp_falls_back_to_the_relay_and_looks_for_nothing_else() {
    let mut world = two_by_two(&Policy::whatsapp());
    // The other agent's relay, reached from both interfaces.
    world.socket(B, "relay", "198.51.100.9:9000", Border::Open, ms(15));
    world.introduce();
    let relay = candidate(CandidateKind::Relay, "198.51.100.9:9000", 5);
    world.agents[A].add_remote_candidate(world.now, relay);
    world.run_for(SECOND * 5);
    let lost = world.now - world.epoch;
    world.remove(SocketId(0));
    world.run_for(SECOND * 20);
    let (relayed, direct): (Vec<_>, Vec<_>) = world.events[A]
        .iter()
        .filter(|(at, _)| *at >= lost)
        .filter_map(|(_, event)| match event {
            Event::CheckSent { remote, .. } => Some(*remote),
            _ => None,
        })
        .partition(|remote| *remote == address("198.51.100.9:9000"));
    assert!(!relayed.is_empty() && direct.is_empty(), "wa-off-to-relay: {direct:?}");
    let usable: Vec<_> = world.usable(A).map(|pair| (pair.socket, pair.remote_kind)).collect();
    assert_eq!(usable, [(SocketId(1), CandidateKind::Relay)]);
    // WiFi is back: the relay is probed over it, the local path is not found again (wa-offon-relay,
    // wa-ap-offon-no-local).
    let back = world.socket(A, "wlan0", "192.0.2.12:1000", Border::Open, ms(10));
    world.run_for(SECOND * 20);
    let usable: Vec<_> =
        world.usable(A).filter(|pair| pair.socket == back).map(|pair| pair.remote_kind).collect();
    assert_eq!(usable, [CandidateKind::Relay]);
}

#[test]
fn who_lost_nothing_answers_no_new_checks_with_whatsapp() {
    let mut config = config(A, Role::Controlled);
    config.policy = Policy::whatsapp();
    let mut hand = Hand::with(config);
    let pair = hand.make_valid(address("192.0.2.20:2000"), Role::Controlling);
    // The other phone is gone.
    hand.agent.send_failed(hand.now, SOCKET, address("192.0.2.20:2000"));
    hand.drain();
    assert!(!hand.agent.pair(pair).unwrap().state.is_usable());
    let check = hand.check(Role::Controlling).finish(Some(&ice::stun::Key::short_term(hand.ours.pwd())));
    assert_eq!(hand.hear(address("192.0.2.21:2000"), &check), Err(Rejected::Policy), "wa-ap-offon-no-local");
}

#[test]
fn rfc8445_keeps_the_nominated_pair_alone_and_needs_a_restart_after_a_loss() {
    let mut world = two_by_two(&Policy::rfc8445());
    world.introduce();
    world.run_for(SECOND);
    assert_eq!(world.usable(A).count(), 4, "regular nomination: all are checked first");
    let chosen = world.usable(A).next().unwrap().id;
    world.agents[A].nominate(world.now, chosen);
    world.drain();
    world.run_for(SECOND * 60);
    assert_eq!(world.usable(A).map(|pair| pair.id).collect::<Vec<_>>(), [chosen]);
    let checks = requests(&world, SocketId(0), &[CheckPurpose::Liveness]);
    let late: Vec<_> = checks.iter().filter(|at| **at > SECOND * 2).collect();
    assert!((9..=16).contains(&late.len()), "consent checks every 4 to 6 s: {late:?}");
    world.port(SocketId(2)).up = false;
    world.run_for(SECOND * 120);
    assert_eq!(world.usable(A).count(), 0);
    assert!(stops(&world).contains(&StopReason::AfterLoss));
    let probes = requests(&world, SocketId(1), PROBES);
    assert!(probes.iter().all(|at| *at < SECOND * 2), "nothing is probed after the loss: {probes:?}");
    assert_eq!(restarts_wanted(&world).len(), 1);
    let restarted = world.now - world.epoch;
    restart(&mut world, 1);
    world.run_for(SECOND * 10);
    assert!(world.usable(A).all(|pair| pair.remote != address("192.0.2.20:2000")), "it is gone");
    assert_eq!(world.usable(A).count(), 2, "the rest is found in the new session");
    assert!(requests(&world, SocketId(1), PROBES).iter().any(|at| *at >= restarted));
    assert_eq!(
        restarts_wanted(&world).len(),
        1,
        "the new session has nothing to lose before it has found a pair"
    );
}

#[test]
fn a_restart_that_finds_nothing_is_followed_by_another() {
    let mut world = two_by_two(&Policy::rfc8445());
    world.introduce();
    world.run_for(SECOND);
    let chosen = world.usable(A).next().unwrap().id;
    world.agents[A].nominate(world.now, chosen);
    world.drain();
    world.run_for(SECOND);
    for socket in [2, 3] {
        world.port(SocketId(socket)).up = false;
    }
    world.run_for(SECOND * 60);
    assert_eq!(restarts_wanted(&world).len(), 1);
    restart(&mut world, 1);
    // RFC 8863 has it wait so long.
    world.run_for(ms(39_000));
    assert_eq!(restarts_wanted(&world).len(), 1);
    world.run_for(SECOND * 30);
    assert_eq!(restarts_wanted(&world).len(), 2);
    for socket in [2, 3] {
        world.port(SocketId(socket)).up = true;
    }
    restart(&mut world, 2);
    world.run_for(SECOND * 10);
    assert_eq!(world.usable(A).count(), 4);
}

/// The end of the last path, and not of one of several, is what a restart answers.
#[test]
fn every_policy_can_answer_the_loss_of_the_last_pair_with_a_restart() {
    for preset in Policy::presets() {
        let name = preset.name;
        let mut world = two_by_two(&Policy { on_loss: OnLoss::Restart, ..preset });
        world.introduce();
        world.run_for(SECOND * 3);
        let chosen = world.usable(A).next().unwrap().id;
        world.agents[A].nominate(world.now, chosen);
        world.drain();
        world.run_for(SECOND * 3);
        let pairs: Vec<_> = world.usable(A).map(|pair| (pair.socket, pair.remote)).collect();
        let (last, others) = pairs.split_last().unwrap();
        for (socket, remote) in others {
            world.agents[A].send_failed(world.now, *socket, *remote);
            world.drain();
        }
        assert_eq!(restarts_wanted(&world), [], "{name}");
        for socket in [2, 3] {
            world.port(SocketId(socket)).up = false;
        }
        world.agents[A].send_failed(world.now, last.0, last.1);
        world.drain();
        world.run_for(SECOND * 60);
        assert_eq!(restarts_wanted(&world).len(), 1, "{name}");
    }
}

fn restarts_wanted(world: &World) -> Vec<Duration> {
    let wanted = world.events[A].iter().filter(|(_, event)| *event == Event::RestartWanted);
    wanted.map(|(at, _)| *at).collect()
}

/// Both ends, as signalling makes them.
fn restart(world: &mut World, session: u8) {
    let ours = [A, B].map(|me| Credentials::from_entropy(&[100 + 2 * session + me as u8; 32]));
    for me in [A, B] {
        world.agents[me].restart(world.now, ours[me].clone());
    }
    for (me, other) in [(A, B), (B, A)] {
        let told: Vec<_> = world.agents[other].told_candidates().cloned().collect();
        told.iter().for_each(|one| world.agents[me].add_remote_candidate(world.now, crate::net::remote(one)));
        world.agents[me].set_remote_credentials(world.now, ours[other].clone());
    }
    world.drain();
}

#[test]
fn prototype_2024_has_one_spare_path() {
    let mut world = two_by_two(&Policy::prototype_2024());
    world.introduce();
    world.run_for(SECOND * 20);
    assert_eq!(world.usable(A).count(), 2);
    world.remove(SocketId(0));
    world.run_for(SECOND * 5);
    assert_eq!(world.usable(A).count(), 2, "a loss sets the rest free again");
}

#[test]
fn quickshare_stays_on_the_local_network() {
    let mut world = two_by_two(&Policy::quickshare());
    let server = address("198.51.100.1:3478");
    world.server = Some((server, ms(1)));
    world.agents[A].add_stun_server(world.now, server);
    world.agents[A].add_remote_candidate(world.now, candidate(CandidateKind::Srflx, "192.0.2.98:9", 1));
    world.agents[A].add_remote_candidate(world.now, candidate(CandidateKind::Host, "192.0.2.99:9", 2));
    world.introduce_to(A, B);
    world.ports[2].up = false;
    world.ports[3].up = false;
    world.run_for(SECOND * 30);
    assert_eq!(requests(&world, SocketId(1), ALL), [], "qs-out-of-range: cellular never");
    assert_eq!(requests(&world, SocketId(0), &[CheckPurpose::Gather]), [], "qs-mdns: no STUN server");
    let to = |remote: &str| {
        let remote = address(remote);
        world.sent[A].iter().filter(|(_, _, to, _)| *to == remote).count()
    };
    assert_eq!((to("192.0.2.98:9"), to("192.0.2.99:9")), (0, 2), "host candidates, two probes each");
}

#[test]
fn a_forbidden_interface_is_silent_until_it_is_allowed_again() {
    let mut world = two_by_two(&Policy::multipath());
    world.introduce();
    world.run_for(SECOND);
    let target = Target::Interface("wwan0".into());
    world.agents[A].set_rule(world.now, target.clone(), Some(Rule::Forbidden));
    world.drain();
    let forbidden = world.now - world.epoch;
    world.run_for(SECOND * 10);
    assert!(world.usable(A).all(|pair| pair.socket == SocketId(0)));
    let sent = world.sent[A].iter().filter(|(at, socket, ..)| *socket == SocketId(1) && *at > forbidden);
    assert_eq!(sent.count(), 0, "not even answers");
    assert_eq!(world.usable(B).filter(|pair| pair.remote == address("192.0.2.11:1000")).count(), 0);
    world.agents[A].set_rule(world.now, target, None);
    world.drain();
    world.run_for(SECOND * 3);
    assert_eq!(world.usable(A).count(), 4);
}

#[test]
fn single_candidates_and_pairs_can_be_forbidden() {
    let mut world = two_by_two(&Policy::multipath());
    world.introduce();
    world.run_for(SECOND);
    let rules =
        [Target::Remote(address("192.0.2.21:2000")), Target::Pair(SocketId(1), address("192.0.2.20:2000"))];
    for rule in rules {
        world.agents[A].set_rule(world.now, rule, Some(Rule::Forbidden));
    }
    world.drain();
    world.run_for(SECOND);
    let left: Vec<_> = world.usable(A).map(|pair| (pair.socket, pair.remote)).collect();
    assert_eq!(left, [(SocketId(0), address("192.0.2.20:2000"))]);
}

#[test]
fn a_forced_interface_is_probed_and_kept_against_the_policy() {
    let mut world = two_by_two(&Policy::whatsapp());
    world.introduce();
    world.run_for(SECOND * 3);
    assert_eq!(world.usable(A).count(), 1);
    world.agents[A].set_rule(world.now, Target::Interface("wwan0".into()), Some(Rule::Forced));
    world.drain();
    world.run_for(SECOND * 20);
    assert_eq!(world.usable(A).filter(|pair| pair.socket == SocketId(1)).count(), 2);
    world.agents[A].set_rule(world.now, Target::Interface("wwan0".into()), None);
    world.drain();
    world.run_for(SECOND);
    assert_eq!(world.usable(A).count(), 1, "let go again");
}

#[test]
fn priorities_can_change_while_running() {
    let mut world = two_by_two(&Policy::multipath());
    world.introduce();
    world.run_for(SECOND);
    assert_eq!(world.agents[A].pairs().next().unwrap().socket, SocketId(0));
    world.agents[A].set_preference(world.now, SocketId(1), 65_535);
    world.agents[A].set_preference(world.now, SocketId(0), 1);
    world.drain();
    assert_eq!(world.agents[A].pairs().next().unwrap().socket, SocketId(1));
    let told = world.events[A].iter().rev().find_map(|(_, event)| match event {
        Event::LocalCandidate(local) => Some((local.socket, local.priority)),
        _ => None,
    });
    assert_eq!(told, Some((SocketId(0), ice::priority(CandidateKind::Host, 1))));
    world.agents[A].set_remote_priority(world.now, address("192.0.2.21:2000"), u32::MAX);
    assert_eq!(world.agents[A].pairs().next().unwrap().remote, address("192.0.2.21:2000"));
}

#[test]
fn the_cadence_follows_what_is_in_use() {
    let mut policy = Policy::multipath();
    policy.active = Keeping { first: SECOND * 3, then: SECOND };
    policy.idle = Keeping::every(SECOND * 4);
    let mut world = two_by_two(&policy);
    world.introduce();
    world.run_for(SECOND);
    let pairs: Vec<_> = world.usable(A).map(|pair| pair.id).collect();
    world.agents[A].set_active(world.now, &pairs[1..2]);
    world.drain();
    let begun = world.now - world.epoch;
    world.run_for(SECOND * 20);
    let checks = |of: ice::PairId| {
        let sent = |(at, event): &(Duration, Event)| match event {
            Event::CheckSent { pair: Some(pair), .. } if *pair == of && *at > begun => Some(*at - begun),
            _ => None,
        };
        world.events[A].iter().filter_map(sent).collect::<Vec<_>>()
    };
    assert_eq!(checks(pairs[1])[..3], [SECOND * 3, SECOND * 4, SECOND * 5]);
    assert!((4..=5).contains(&checks(pairs[2]).len()), "{:?}", checks(pairs[2]));
}

#[test]
fn a_policy_can_be_replaced_while_running() {
    let mut world = two_by_two(&Policy::multipath());
    world.introduce();
    world.run_for(SECOND);
    assert_eq!(world.usable(A).count(), 4);
    let policy = Policy { standby: Standby::Spares(1), ..Policy::prototype_2024() };
    world.agents[A].set_policy(world.now, policy);
    world.drain();
    assert_eq!(world.usable(A).count(), 2);
    world.agents[A].set_policy(world.now, Policy::multipath());
    world.drain();
    world.run_for(SECOND * 3);
    assert_eq!(world.usable(A).count(), 4);
}

/// A policy without consent keeps a healthy pair however seldom it is checked.
#[test]
fn without_consent_a_pair_that_is_seldom_checked_stays() {
    for consent in [false, true] {
        let policy = Policy { consent, active: Keeping::every(SECOND * 40), ..Policy::whatsapp() };
        let mut world = two_by_two(&policy);
        world.introduce();
        world.run_for(SECOND * 200);
        assert_eq!(world.times(A, PairState::Down), 0, "{consent}");
        let expired = |(_, event): &&(Duration, Event)| matches!(event, Event::ConsentExpired { .. });
        assert_eq!(world.events[A].iter().filter(expired).count(), 0, "{consent}");
        let checks = requests(&world, SocketId(0), &[CheckPurpose::Liveness]);
        let seldom = checks.windows(2).any(|two| two[1] - two[0] > SECOND * 30);
        assert_eq!(seldom, !consent, "{checks:?}");
    }
}

/// Consent counts from when a policy asks for it.
#[test]
fn consent_that_is_asked_for_later_is_fetched_in_time() {
    let relaxed = Policy { consent: false, active: Keeping::every(SECOND * 40), ..Policy::whatsapp() };
    let mut world = two_by_two(&relaxed);
    world.introduce();
    world.run_for(SECOND * 79);
    world.agents[A].set_policy(world.now, Policy { consent: true, ..relaxed });
    world.run_for(SECOND * 100);
    assert_eq!(world.times(A, PairState::Down), 0);
    // And is lost with the other end.
    world.port(SocketId(2)).up = false;
    world.run_for(SECOND * 40);
    assert_eq!(world.usable(A).count(), 0);
}
