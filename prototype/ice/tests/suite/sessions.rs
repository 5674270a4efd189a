//! Restarts, nomination by agents of every age, lite agents, consent, patience, end of candidates.

use std::time::Duration;

use ice::stun::{Class, Message, NetworkInfo, attribute};
use ice::{
    CandidateKind, CheckListState, Config, Credentials, Event, PairState, RemoteCandidate, Role, Timing,
    local_preference,
};
use proptest::prelude::*;

use crate::byhand::Hand;
use crate::net::{A, B, Border, World, address, config, credentials, ms};

const REMOTE: &str = "192.0.2.20:2000";
const OTHER: &str = "192.0.2.21:2000";

fn fresh(of: usize) -> Credentials {
    Credentials::from_entropy(&[of as u8 * 5 + 40; 32])
}

fn two_paths() -> World {
    let mut world = World::new();
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Open, ms(20));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    world.introduce();
    world.run_for(ms(1000));
    assert_eq!(world.usable(A).count(), 2);
    world
}

/// Both restart, and tell each other so with this delay.
fn restart(world: &mut World, delay: Duration) {
    world.agents[A].restart(world.now, fresh(A));
    world.drain();
    world.run_for(delay);
    world.agents[B].restart(world.now, fresh(B));
    signal_again(world, B, A);
    world.run_for(delay);
    signal_again(world, A, B);
}

fn signal_again(world: &mut World, me: usize, other: usize) {
    let candidates: Vec<_> = world.agents[other].local_candidates().cloned().collect();
    world.agents[me].set_remote_credentials(world.now, fresh(other));
    for candidate in candidates {
        world.agents[me].add_remote_candidate(world.now, crate::net::remote(&candidate));
    }
    world.drain();
}

#[test]
fn a_restart_keeps_working_pairs_and_moves_them_over() {
    let mut world = two_paths();
    let before: Vec<_> = world.usable(A).map(|pair| pair.id).collect();
    restart(&mut world, ms(30));
    world.run_for(ms(5000));
    assert_eq!(
        world.usable(A).map(|pair| pair.id).collect::<Vec<_>>(),
        before,
        "no pair was lost or replaced"
    );
    for me in [A, B] {
        assert_eq!(world.times(me, PairState::Down) + world.times(me, PairState::Removed), 0);
        assert_eq!(world.times(me, PairState::Suspect), 0, "checks were answered all the time");
    }
    // The old credentials are forgotten.
    let mut old = Hand::new(Role::Controlled);
    let check = old.check(Role::Controlling).finish(Some(&ice::stun::Key::short_term(credentials(A).pwd())));
    let refused = world.agents[A].handle_datagram(world.now, ice::SocketId(0), address(REMOTE), &check);
    assert_eq!(refused, Err(ice::Rejected::UnknownUser));
}

#[test]
fn a_restart_that_nobody_answers_takes_nothing_away() {
    let mut world = two_paths();
    world.agents[A].restart(world.now, fresh(A));
    world.drain();
    world.run_for(ms(90_000));
    assert_eq!(world.usable(A).count(), 2);
    assert_eq!(world.times(A, PairState::Down), 0);
}

#[test]
fn a_restart_drops_what_the_other_agent_does_not_have_any_more() {
    let mut world = two_paths();
    world.agents[B].add_remote_candidate(world.now, host("192.0.2.77:7", 7));
    restart(&mut world, ms(30));
    world.run_for(ms(60_000));
    let known: Vec<_> = world.agents[B].remote_candidates().map(|remote| remote.address).collect();
    assert!(!known.contains(&address("192.0.2.77:7")), "{known:?}");
}

#[test]
fn both_parts_of_the_credentials_have_to_be_new() {
    let mut world = two_paths();
    world.agents[A].restart(world.now, credentials(A));
    world.drain();
    world.run_for(ms(1000));
    assert_eq!(world.usable(A).count(), 2);
    assert_eq!(world.times(A, PairState::Removed), 0);
}

#[test]
fn nominations_with_a_count_follow_the_count_and_not_the_order_of_arrival() {
    let mut hand = Hand::new(Role::Controlled);
    let (first, second) = (
        hand.make_valid(address(REMOTE), Role::Controlling),
        hand.make_valid(address(OTHER), Role::Controlling),
    );
    for (remote, count, expected) in
        [(REMOTE, 3, first), (OTHER, 2, first), (OTHER, 4, second), (REMOTE, 4, second)]
    {
        let check = hand.check(Role::Controlling).use_candidate().nomination(count);
        hand.hear_check(address(remote), check);
        assert_eq!(hand.agent.nominated(), Some(expected), "{remote} {count}");
    }
}

#[test]
fn an_aggressive_agent_nominates_everything_and_the_best_holds() {
    let mut hand = Hand::new(Role::Controlled);
    for (remote, priority) in [(REMOTE, 10), (OTHER, 20)] {
        hand.agent.add_remote_candidate(hand.now, host(remote, priority));
    }
    for _ in 0..3 {
        for remote in [REMOTE, OTHER] {
            let check = hand.check(Role::Controlling).use_candidate();
            hand.hear_check(address(remote), check);
            hand.pass(ms(60));
            hand.answer(address(remote));
        }
    }
    assert_eq!(hand.agent.nominated(), Some(hand.pair(address(OTHER)).id));
    let told = hand.count(|event| matches!(event, Event::Nominated { .. }));
    assert_eq!(told, 2, "once each, and no flapping");
}

#[test]
fn use_candidate_before_the_pair_is_valid_counts_when_it_is() {
    let mut hand = Hand::new(Role::Controlled);
    let check = hand.check(Role::Controlling).use_candidate();
    hand.hear_check(address(REMOTE), check);
    assert_eq!(hand.agent.nominated(), None);
    hand.pass(ms(60));
    hand.answer(address(REMOTE));
    assert_eq!(hand.agent.nominated(), Some(hand.pair(address(REMOTE)).id));
}

#[test]
fn our_nomination_carries_use_candidate_and_a_growing_count() {
    let mut hand = Hand::new(Role::Controlling);
    let pair = hand.make_valid(address(REMOTE), Role::Controlled);
    let mut counts = Vec::new();
    for _ in 0..2 {
        // A nomination keeps Ta as well.
        hand.pass(ms(50));
        hand.taken();
        hand.agent.nominate(hand.now, pair);
        hand.drain();
        for (_, _, bytes) in &hand.sent {
            let message = Message::parse(bytes).unwrap();
            if message.use_candidate() {
                counts.push(message.nomination().unwrap());
            }
        }
        hand.answer(address(REMOTE));
    }
    assert_eq!(counts, [1, 2]);
    assert_eq!(hand.agent.nominated(), Some(pair));
}

#[test]
fn against_a_lite_agent_we_control_check_and_nominate() {
    let mut hand = Hand::new(Role::Controlled);
    hand.agent.set_remote_lite(hand.now);
    assert_eq!(hand.agent.role(), Role::Controlling);
    hand.agent.add_remote_candidate(hand.now, host(REMOTE, 10));
    // It never sends a check of its own.
    hand.pass(ms(60));
    hand.answer(address(REMOTE));
    let pair = hand.pair(address(REMOTE));
    assert_eq!(pair.state, PairState::Up);
    hand.agent.nominate(hand.now, pair.id);
    hand.drain();
    hand.answer(address(REMOTE));
    assert_eq!(hand.agent.nominated(), Some(pair.id));
}

#[test]
fn a_lost_conflict_changes_the_tie_breaker() {
    let mut hand = Hand::new(Role::Controlling);
    hand.agent.add_remote_candidate(hand.now, host(REMOTE, 10));
    hand.drain();
    let claims = |hand: &mut Hand| {
        let sent = hand.taken();
        sent.iter()
            .filter_map(|(_, _, bytes)| Message::parse(bytes).unwrap().role_claim())
            .collect::<Vec<_>>()
    };
    let (_, _, request) = hand.sent[0].clone();
    let before = claims(&mut hand)[0];
    let refusal = ice::stun::Builder::response(Class::Error, &Message::parse(&request).unwrap())
        .error_code(487)
        .finish(Some(&ice::stun::Key::short_term(hand.theirs.pwd())));
    assert_eq!(hand.hear(address(REMOTE), &refusal), Ok(()));
    hand.pass(ms(60));
    let after = claims(&mut hand)[0];
    assert_eq!((before.role, after.role), (Role::Controlling, Role::Controlled));
    assert_ne!(before.tie_breaker, after.tie_breaker, "RFC 8445 section 16.1");
}

#[test]
fn checks_tell_the_cost_of_their_network_and_learn_the_others() {
    let mut hand = Hand::new(Role::Controlling);
    hand.agent.set_network_info("wlan0", NetworkInfo { id: 3, cost: 10 });
    let check = hand.check(Role::Controlled).network_info(NetworkInfo { id: 9, cost: 900 });
    hand.hear_check(address(REMOTE), check);
    assert_eq!(hand.pair(address(REMOTE)).remote_network, Some(NetworkInfo { id: 9, cost: 900 }));
    hand.pass(ms(60));
    let (_, _, ours) = hand.sent.iter().find(|(_, _, bytes)| bytes[1] == 1 && bytes[0] == 0).unwrap();
    let ours = Message::parse(ours).unwrap();
    assert_eq!(ours.attribute(attribute::NETWORK_INFO), Some(&[0, 3, 0, 10][..]), "id first, then cost");
}

/// Checks that are far apart still keep consent: 5 s times 0.8 to 1.2 (RFC 7675 section 5.1).
#[test]
fn consent_is_kept_fresh_however_seldom_a_pair_is_checked() {
    let mut configs = [config(A, Role::Controlling), config(B, Role::Controlled)];
    for config in &mut configs {
        config.policy.idle = ice::policy::Keeping::every(Duration::from_secs(3600));
        config.policy.active = config.policy.idle;
    }
    let [a, b] = configs;
    let mut world = World::with(a, b);
    world.socket(A, "eth0", "10.0.0.1:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "10.0.0.2:1000", Border::Open, ms(10));
    world.introduce();
    world.run_for(Duration::from_secs(200));
    let checks: Vec<Duration> = world.events[A]
        .iter()
        .filter_map(|(at, event)| matches!(event, Event::CheckAnswered { .. }).then_some(*at))
        .collect();
    let gaps: Vec<Duration> = checks.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(gaps.iter().all(|gap| (ms(4000)..=ms(6000)).contains(gap)), "{gaps:?}");
    assert!(
        gaps.iter().any(|gap| *gap < ms(4800)) && gaps.iter().any(|gap| *gap > ms(5200)),
        "drawn at random"
    );
    assert_eq!(world.times(A, PairState::Suspect), 0);
    // Thirty seconds after the last answer, if the detector is slower than that.
    world.agents[A].set_liveness_interval(world.now, ice::PairId(0), Duration::from_secs(3600));
    world.ports[1].up = false;
    let silent = world.now - world.epoch;
    world.run_for(Duration::from_secs(60));
    let expired = world.events[A]
        .iter()
        .find_map(|(at, event)| matches!(event, Event::ConsentExpired { .. }).then_some(*at));
    let after = expired.expect("consent runs out") - silent;
    assert!((ms(24_000)..=ms(30_000)).contains(&after), "{after:?}");
    assert_eq!(world.usable(A).count(), 0);
}

#[test]
fn an_unauthenticated_answer_is_no_consent() {
    let mut hand = Hand::new(Role::Controlling);
    hand.make_valid(address(REMOTE), Role::Controlled);
    let until = hand.pair(address(REMOTE)).consent_until;
    hand.taken();
    hand.pass(ms(120));
    let (_, _, request) = hand.sent.last().unwrap().clone();
    let forged = ice::stun::Builder::response(Class::Success, &Message::parse(&request).unwrap())
        .xor_mapped_address(address("192.0.2.10:1000"))
        .finish(None);
    assert_eq!(hand.hear(address(REMOTE), &forged), Err(ice::Rejected::NoIntegrity));
    assert_eq!(hand.pair(address(REMOTE)).consent_until, until);
}

fn states(hand: &Hand) -> Vec<CheckListState> {
    let state = |event: &Event| match event {
        Event::CheckList(state) => Some(*state),
        _ => None,
    };
    hand.events.iter().filter_map(state).collect()
}

/// RFC 8863: a list without pairs, or with only failed ones, is not given up before 39.5 s.
#[test]
fn patience_lasts_39_5_seconds_even_without_a_candidate() {
    let mut hand = Hand::new(Role::Controlling);
    hand.agent.remote_candidates_complete(hand.now);
    hand.pass(ms(39_499));
    assert_eq!(states(&hand), []);
    hand.pass(ms(1));
    assert_eq!(states(&hand), [CheckListState::Failed]);
    // A late candidate revives it (section 5: the peer may become known by its check only).
    hand.make_valid(address(REMOTE), Role::Controlled);
    assert_eq!(states(&hand), [CheckListState::Failed, CheckListState::Running]);
}

#[test]
fn a_failed_check_does_not_end_patience_and_an_unfinished_one_outlasts_it() {
    let mut hand = Hand::new(Role::Controlling);
    hand.agent.add_remote_candidate(hand.now, host(REMOTE, 10));
    hand.agent.remote_candidates_complete(hand.now);
    hand.agent.send_failed(hand.now, crate::byhand::SOCKET, address(REMOTE));
    hand.drain();
    assert_eq!(hand.pair(address(REMOTE)).state, PairState::Failed);
    hand.pass(ms(38_000));
    assert_eq!(states(&hand), []);
    hand.agent.add_remote_candidate(hand.now, host(OTHER, 10));
    hand.drain();
    hand.pass(ms(5_000));
    assert_eq!(states(&hand), [], "a pair that was not tried to its end is left");
    hand.pass(ms(39_500));
    assert_eq!(states(&hand), [CheckListState::Failed]);
}

#[test]
fn without_end_of_candidates_each_candidate_prolongs_patience() {
    let mut hand = Hand::new(Role::Controlling);
    hand.pass(ms(30_000));
    hand.agent.add_remote_candidate(hand.now, host(REMOTE, 10));
    hand.agent.send_failed(hand.now, crate::byhand::SOCKET, address(REMOTE));
    hand.drain();
    hand.pass(ms(39_400));
    assert_eq!(states(&hand), []);
    hand.pass(ms(200));
    assert_eq!(states(&hand), [CheckListState::Failed]);
}

#[test]
fn gathering_is_complete_when_every_server_has_answered_or_been_given_up() {
    let mut hand = Hand::new(Role::Controlling);
    let told = |hand: &Hand| hand.count(|event| matches!(event, Event::GatheringComplete));
    assert_eq!(told(&hand), 1, "host candidates are all there are without a server");
    hand.agent.add_stun_server(hand.now, address("198.51.100.1:3478"));
    hand.drain();
    hand.pass(ms(39_000));
    assert_eq!(told(&hand), 1);
    hand.pass(ms(1_000));
    assert_eq!(told(&hand), 2, "given up after seven transmissions");
    hand.pass(ms(100_000));
    assert_eq!(told(&hand), 2, "what is asked again is no news");
}

#[test]
fn first_usable_and_nominated_are_two_events() {
    let mut hand = Hand::new(Role::Controlling);
    let first = hand.make_valid(address(REMOTE), Role::Controlled);
    let second = hand.make_valid(address(OTHER), Role::Controlled);
    let news = |hand: &Hand| {
        let of = |event: &Event| match event {
            Event::FirstUsable { pair } => Some(("first usable", *pair)),
            Event::Nominated { pair } => Some(("nominated", *pair)),
            _ => None,
        };
        hand.events.iter().filter_map(of).collect::<Vec<_>>()
    };
    assert_eq!(news(&hand), [("first usable", first)]);
    hand.agent.nominate(hand.now, second);
    hand.drain();
    hand.answer(address(OTHER));
    assert_eq!(news(&hand), [("first usable", first), ("nominated", second)]);
    assert_eq!(hand.agent.check_list_state(), CheckListState::Completed);
}

#[test]
fn loss_of_a_living_pair_is_known() {
    let mut world = two_paths();
    let loss = |world: &World| world.agents[A].pair(ice::PairId(0)).unwrap().loss.unwrap();
    assert_eq!(loss(&world), 0.0);
    world.lose = Box::new(|number, _, _| number % 5 == 0);
    world.run_for(ms(8000));
    assert!((0.1..0.7).contains(&loss(&world)), "{}", loss(&world));
    world.lose = Box::new(|_, _, _| false);
    world.run_for(ms(5000));
    assert_eq!(loss(&world), 0.0, "the last 32 checks count");
}

#[test]
fn every_socket_has_a_local_preference_of_its_own() {
    let mut agent = ice::Agent::new(Config::new(Role::Controlling, credentials(A), 1));
    let now = Hand::new(Role::Controlling).now;
    for socket in 0..4_u32 {
        let local = address(&format!("192.0.2.{}:1000", socket + 1));
        let info = ice::SocketInfo { interface: "eth0".into(), local, preference: 1 };
        agent.add_socket(now, ice::SocketId(socket), info);
    }
    let priorities: std::collections::BTreeSet<_> =
        agent.local_candidates().map(|local| local.priority).collect();
    assert_eq!(priorities.len(), 4);
}

proptest! {
    /// RFC 8445 section 5.1.2.1 and RFC 8421: unique, by rank, families in turns.
    #[test]
    fn preferences_are_unique_and_interleave_families(ranks in prop::collection::vec((0_u16..40, 0_u16..40), 1..4)) {
        let mut all = Vec::new();
        for (rank, (v6, v4)) in (0_u16..).zip(ranks) {
            let best = u16::MAX - (rank << 13);
            let bases = (0..v6).map(|turn| (turn, true)).chain((0..v4).map(|turn| (turn, false)));
            all.extend(bases.map(|(turn, ipv6)| (local_preference(best, turn, ipv6), rank, ipv6)));
            let mut of_rank: Vec<_> = all.iter().filter(|one| one.1 == rank).copied().collect();
            of_rank.sort_by_key(|one| std::cmp::Reverse(one.0));
            let families: Vec<bool> = of_rank.iter().map(|one| one.2).collect();
            let paired = 2 * usize::from(v6.min(v4));
            prop_assert!(families[..paired].chunks(2).all(|two| two == [true, false]), "{families:?}");
        }
        all.sort_by_key(|one| std::cmp::Reverse(one.0));
        prop_assert!(all.windows(2).all(|two| two[0].0 > two[1].0), "{all:?}");
        prop_assert!(all.windows(2).all(|two| two[0].1 <= two[1].1), "{all:?}");
    }

    /// Whenever a restart comes and whatever is lost meanwhile, the paths end where they were.
    #[test]
    fn restarts_survive_delay_and_loss(
        delay in 0_u64..3000,
        every in 2_u64..40,
        again: bool,
        refused in prop::collection::vec((0_u64..3000, any::<bool>()), 0..4),
    ) {
        let mut world = two_paths();
        world.lose = Box::new(move |number, _, _| number % every == 0);
        restart(&mut world, ms(delay));
        if again {
            world.run_for(ms(delay / 2));
            world.agents[A].restart(world.now, Credentials::from_entropy(&[99; 32]));
            let candidates: Vec<_> = world.agents[A].local_candidates().cloned().collect();
            world.agents[B].restart(world.now, Credentials::from_entropy(&[98; 32]));
            world.agents[B].set_remote_credentials(world.now, Credentials::from_entropy(&[99; 32]));
            world.agents[A].set_remote_credentials(world.now, Credentials::from_entropy(&[98; 32]));
            for candidate in candidates {
                world.agents[B].add_remote_candidate(world.now, crate::net::remote(&candidate));
            }
            world.agents[A].add_remote_candidate(world.now, host("192.0.2.20:2000", 5));
        }
        // A kernel or a router says that a path is gone, and is wrong.
        for (later, first) in refused {
            world.run_for(ms(later));
            let to = if first { "192.0.2.10:1000" } else { "192.0.2.11:1000" };
            world.agents[B].send_failed(world.now, ice::SocketId(2), address(to));
            world.drain();
        }
        world.run_for(ms(10_000));
        world.lose = Box::new(|_, _, _| false);
        world.run_for(ms(60_000));
        prop_assert_eq!(world.usable(A).count(), 2);
        prop_assert_eq!(world.usable(B).count(), 2);
    }
}

/// Half of everything is lost for so long that both ends give paths up; when peace returns both are there, and of the new
/// session.
#[test]
fn a_path_that_a_restart_did_not_find_again_is_found_later() {
    for delay in (0..900).step_by(7) {
        let mut world = two_paths();
        world.lose = Box::new(|number, _, _| number.is_multiple_of(2));
        restart(&mut world, ms(delay));
        world.run_for(ms(10_000));
        world.lose = Box::new(|_, _, _| false);
        world.run_for(ms(60_000));
        assert_eq!([A, B].map(|me| world.usable(me).count()), [2, 2], "{delay} ms");
    }
}

#[test]
fn a_restart_into_a_long_outage_is_finished_when_that_is_over() {
    let mut world = two_paths();
    world.lose = Box::new(|_, _, _| true);
    restart(&mut world, ms(30));
    world.run_for(ms(60_000));
    assert_eq!([A, B].map(|me| world.usable(me).count()), [0, 0]);
    world.lose = Box::new(|_, _, _| false);
    world.run_for(ms(60_000));
    for me in [A, B] {
        assert_eq!(world.usable(me).count(), 2);
        let told = world.events[me].iter().filter(|(_, event)| matches!(event, Event::FirstUsable { .. }));
        assert_eq!(told.count(), 2, "once in each session");
    }
}

fn host(at: &str, priority: u32) -> RemoteCandidate {
    RemoteCandidate {
        kind: CandidateKind::Host,
        address: address(at),
        priority,
        foundation: format!("{priority}"),
        interface: None,
    }
}

#[test]
fn the_timing_defaults_are_those_of_the_rfcs() {
    let timing = Timing::default();
    assert_eq!((timing.ta, timing.min_rto), (ms(50), ms(500)), "RFC 8445 sections 14.2, 14.3");
    assert_eq!((timing.transmissions, timing.last_wait), (7, 16), "RFC 8489 section 6.2.1");
    assert_eq!(
        (timing.consent_interval, timing.consent_timeout),
        (ms(5000), ms(30_000)),
        "RFC 7675 section 5.1"
    );
    assert_eq!(timing.patience, ms(39_500), "RFC 8863 section 4");
}
