//! Paths are found: on a LAN, through NATs and firewalls, by trickle, within the promised time.

use std::time::Duration;

use crate::byhand::Hand;
use crate::nat::{Dependence, can_meet, classes};
use crate::net::{A, B, Border, World, address, config, ms};
use ice::{CandidateKind, CheckPurpose, Event, PairState, Role, Timing};

/// Both ends behind `borders`, `delay` each way to the middle; server-reflexive candidates gathered.
fn two_ends(borders: [Border; 2], delay: Duration) -> World {
    let mut world = World::new();
    let server = address("198.51.100.1:3478");
    world.server = Some((server, ms(1)));
    world.socket(A, "wlan0", "192.0.2.10:1000", borders[A], delay);
    world.socket(B, "wwan0", "192.0.2.20:2000", borders[B], delay);
    for me in [A, B] {
        world.agents[me].add_stun_server(world.now, server);
        world.agents[me].start(world.now);
    }
    world.run_for(ms(1000));
    world
}

#[test]
fn two_open_ends_find_a_path_in_one_round_trip() {
    let mut world = World::new();
    world.socket(A, "eth0", "10.0.0.1:1000", Border::Open, ms(1));
    world.socket(B, "eth0", "10.0.0.2:1000", Border::Open, ms(1));
    world.introduce();
    assert!(world.run_until_usable(ms(100)));
    let (at, pair) = world.first(A, PairState::Up).unwrap();
    assert_eq!(at, ms(4), "one round trip of 2 x (1 + 1) ms");
    assert_eq!((pair.local_kind, pair.remote_kind), (CandidateKind::Host, CandidateKind::Host));
    assert_eq!(pair.remote_interface.as_deref(), Some("eth0"));
}

#[test]
fn gathering_finds_the_address_behind_the_nat_only() {
    let world = two_ends([Border::Nat, Border::Firewall], ms(10));
    let kinds =
        |me: usize| world.agents[me].local_candidates().map(|c| (c.kind, c.address)).collect::<Vec<_>>();
    assert_eq!(
        kinds(A),
        [
            (CandidateKind::Host, address("192.0.2.10:1000")),
            (CandidateKind::Srflx, address("203.0.113.1:40000"))
        ]
    );
    assert_eq!(kinds(B), [(CandidateKind::Host, address("192.0.2.20:2000"))]);
}

/// The promise: at most 3 RTT + (k+1) Ta after both know the candidates, without loss, whatever stands at
/// the borders, whoever learns of the other later, and with k unreachable candidates ahead in the list; 2 RTT where
/// nothing stands there.
#[test]
fn the_first_path_comes_within_three_round_trips() {
    use Border::{Firewall, Nat, Open};
    let rtt = ms(40);
    for borders in [[Open, Open], [Open, Nat], [Nat, Open], [Nat, Nat], [Firewall, Nat], [Firewall, Firewall]]
    {
        for later in [0, 1, 9, 19, 20, 21, 40, 300] {
            for decoys in [0, 3, 9] {
                let mut world = two_ends(borders, rtt / 4);
                add_decoys(&mut world, decoys);
                // Worse ones too: whoever forgets a check that was dropped at the border tries them first.
                add_decoys_of(&mut world, 200..220, 0);
                world.introduce_to(A, B);
                world.run_for(ms(later));
                world.introduce_to(B, A);
                let known = world.now - world.epoch;
                assert!(world.run_until_usable(ms(5000)), "{borders:?} {later} {decoys}");
                for me in [A, B] {
                    let (at, pair) = world.first(me, PairState::Up).unwrap();
                    let place = world.agents[me].pairs().position(|other| other.id == pair.id).unwrap();
                    let round_trips = if borders == [Open, Open] { 2 } else { 3 };
                    let bound = rtt * round_trips + Timing::default().ta * (place as u32 + 1);
                    let took = at.saturating_sub(known);
                    assert!(
                        took <= bound,
                        "{borders:?}, {later} ms later, place {place}: {took:?} > {bound:?}"
                    );
                }
            }
        }
    }
}

/// The same with every NAT against every NAT where theory has a path: whenever both ends start at once, and unless the
/// second one's start is what lets the first one in. That is so where nothing can tell the first one of it: it is
/// reached at none of its candidates unasked, since its mapping depends on the destination and its filtering on the
/// source, and the border of the second one dropped its check, being closed still. Then the path has to wait for the
/// repetition of the check, that is one retransmission timeout longer (RFC 8445 section 14.3: 500 ms at least).
#[test]
fn every_pair_of_nats_that_can_meet_does_so_in_time() {
    use Dependence::Endpoint;
    let (rtt, timing) = (ms(40), Timing::default());
    let mut waited = 0;
    for (a, b) in classes().into_iter().flat_map(|a| classes().into_iter().map(move |b| (a, b))) {
        for later in [0, 20, 40, 300].into_iter().filter(|_| can_meet([a, b])) {
            for decoys in [0, 3] {
                let borders = [a, b].map(|(mapping, filtering)| Border::Class(mapping, filtering));
                let mut world = two_ends(borders, rtt / 4);
                add_decoys(&mut world, decoys);
                world.introduce_to(A, B);
                world.run_for(ms(later));
                world.introduce_to(B, A);
                let known = world.now - world.epoch;
                assert!(world.run_until_usable(ms(5000)), "{a:?} {b:?} {later}");
                let untold = later > 0 && a.0 != Endpoint && a.1 != Endpoint && b.1 != Endpoint;
                for me in [A, B] {
                    let (at, pair) = world.first(me, PairState::Up).unwrap();
                    let place = world.agents[me].pairs().position(|other| other.id == pair.id).unwrap();
                    let bound = rtt * 3 + timing.ta * (place as u32 + 1);
                    let took = at.saturating_sub(known);
                    let repetition = if untold { timing.min_rto } else { ms(0) };
                    assert!(
                        took <= bound + repetition,
                        "{a:?}, {b:?} {later} ms later, place {place}: {took:?} > {bound:?} + {repetition:?}"
                    );
                    waited += usize::from(took > bound);
                }
            }
        }
    }
    assert!(waited > 0, "the exception is one");
}

/// Candidates of best priority that nobody answers, on both ends.
fn add_decoys(world: &mut World, count: u8) {
    add_decoys_of(world, 100..100 + count, 65_535);
}

fn add_decoys_of(world: &mut World, hosts: std::ops::Range<u8>, preference: u16) {
    for decoy in hosts {
        for me in [A, B] {
            let candidate = ice::RemoteCandidate {
                kind: CandidateKind::Host,
                address: ([192, 0, 2, decoy], 9).into(),
                priority: ice::priority(
                    if preference > 0 { CandidateKind::Host } else { CandidateKind::Relay },
                    preference,
                ),
                foundation: format!("decoy{decoy}"),
                interface: None,
            };
            world.agents[me].add_remote_candidate(world.now, candidate);
        }
    }
}

#[test]
fn several_paths_live_at_once() {
    let mut world = World::new();
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(5));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Firewall, ms(20));
    world.socket(A, "wlan0", "[2001:db8::10]:1000", Border::Firewall, ms(5));
    world.socket(B, "eth0", "192.0.2.20:1000", Border::Open, ms(5));
    world.socket(B, "eth0", "[2001:db8::20]:1000", Border::Firewall, ms(5));
    world.introduce();
    world.run_for(ms(5000));
    for me in [A, B] {
        let up = world.agents[me].pairs().filter(|pair| pair.state == PairState::Up).count();
        assert_eq!(up, 3, "{:#?}", world.agents[me].pairs().collect::<Vec<_>>());
        assert_eq!(world.agents[me].pairs().count(), 3, "no pair joins IPv4 and IPv6");
        assert_eq!(world.times(me, PairState::Suspect), 0);
    }
}

#[test]
fn new_transactions_keep_their_distance() {
    let mut world = two_ends([Border::Nat, Border::Nat], ms(10));
    add_decoys(&mut world, 20);
    world.introduce();
    world.run_for(ms(3000));
    for me in [A, B] {
        let begun = world.events[me].iter().filter_map(|(at, event)| match event {
            Event::CheckSent { attempt: 1, purpose, .. } if *purpose != CheckPurpose::Liveness => Some(*at),
            _ => None,
        });
        let begun: Vec<Duration> = begun.collect();
        assert!(begun.len() > 20);
        assert!(begun.windows(2).all(|two| two[1] - two[0] >= Timing::default().ta), "{begun:?}");
    }
}

/// A nomination is a new transaction as well (RFC 8445 section 14.2), and the newest choice counts.
#[test]
fn nominations_wait_for_their_turn() {
    let mut world = two_ends([Border::Open, Border::Open], ms(10));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Open, ms(10));
    add_decoys(&mut world, 20);
    world.introduce();
    world.run_for(ms(1500));
    let pairs: Vec<_> = world.usable(A).map(|pair| pair.id).collect();
    assert_eq!(pairs.len(), 2);
    add_decoys_of(&mut world, 200..220, 65_535);
    for pair in [pairs[0], pairs[1], pairs[0], pairs[1]] {
        world.agents[A].nominate(world.now, pair);
        world.drain();
    }
    world.run_for(ms(70));
    world.agents[A].nominate(world.now, pairs[0]);
    world.drain();
    world.run_for(ms(500));
    assert_eq!(world.agents[A].nominated(), Some(pairs[0]));
    let begun: Vec<_> = world.events[A]
        .iter()
        .filter_map(|(at, event)| match event {
            Event::CheckSent { attempt: 1, purpose, pair, .. } if *purpose != CheckPurpose::Liveness => {
                Some((*at, *purpose, *pair))
            }
            _ => None,
        })
        .collect();
    assert!(begun.windows(2).all(|two| two[1].0 - two[0].0 >= Timing::default().ta), "{begun:?}");
    let nominated: Vec<_> =
        begun.iter().filter(|one| one.1 == CheckPurpose::Nomination).map(|one| one.2.unwrap()).collect();
    assert_eq!(nominated, [pairs[1], pairs[0]], "of several choices in one moment the last");
}

/// RFC 8445 sections 14.2 and 14.3.
#[test]
fn no_timing_goes_below_the_least_of_the_standard() {
    let mut hasty = config(A, Role::Controlling);
    hasty.timing.ta = ms(1);
    hasty.timing.min_rto = ms(10);
    let mut world = World::with(hasty, config(B, Role::Controlled));
    world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(1));
    add_decoys(&mut world, 20);
    world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
    world.agents[A].start(world.now);
    world.drain();
    world.run_for(ms(499));
    let sent: Vec<Duration> = world.sent[A].iter().map(|(at, ..)| *at).collect();
    assert_eq!(sent, (0..20).map(|number| ms(5) * number).collect::<Vec<_>>());
}

#[test]
fn an_unanswered_check_is_repeated_seven_times_then_fails_and_is_tried_again() {
    let mut world = World::new();
    let socket = world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(1));
    add_decoys(&mut world, 1);
    world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
    world.agents[A].start(world.now);
    world.drain();
    world.run_for(ms(41_000));
    let at: Vec<u128> =
        world.sent[A].iter().filter(|(_, from, ..)| *from == socket).map(|(at, ..)| at.as_millis()).collect();
    // RFC 8489 section 6.2.1 with RTO = 500 ms; failed after 39.5 s, and again a second later.
    assert_eq!(at, [0, 500, 1500, 3500, 7500, 15_500, 31_500, 40_500, 41_000]);
    assert_eq!(world.first(A, PairState::Failed).unwrap().0, ms(39_500));
}

#[test]
fn candidates_may_trickle_in_after_the_start() {
    let mut world = World::new();
    world.signal = Some(ms(30));
    for me in [A, B] {
        world.agents[me].set_remote_credentials(world.now, crate::net::credentials(1 - me));
        world.agents[me].start(world.now);
    }
    world.run_for(ms(500));
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Firewall, ms(10));
    world.run_for(ms(2000));
    world.socket(B, "wwan0", "192.0.2.20:1000", Border::Firewall, ms(10));
    assert!(world.run_until_usable(ms(250)), "signal + 3 RTT + Ta");
}

#[test]
fn an_unknown_source_becomes_a_peer_reflexive_candidate_and_is_named_later() {
    let mut world = World::new();
    world.socket(A, "wlan0", "10.0.0.10:1000", Border::Nat, ms(10));
    world.socket(B, "eth0", "192.0.2.20:1000", Border::Open, ms(10));
    world.introduce();
    assert!(world.run_until_usable(ms(500)));
    let pair = world.usable(B).next().unwrap();
    assert_eq!((pair.remote_kind, pair.remote), (CandidateKind::Prflx, address("203.0.113.1:40000")));
    assert_eq!(world.usable(A).next().unwrap().local_kind, CandidateKind::Prflx);
    let named = ice::RemoteCandidate {
        kind: CandidateKind::Srflx,
        address: pair.remote,
        priority: ice::priority(CandidateKind::Srflx, 7),
        foundation: "named".into(),
        interface: Some("wlan0".into()),
    };
    world.agents[B].add_remote_candidate(world.now, named);
    let again = world.agents[B].pair(pair.id).unwrap();
    assert_eq!(again.remote_interface.as_deref(), Some("wlan0"));
    assert_eq!((again.remote_kind, again.state), (CandidateKind::Srflx, PairState::Up));
}

#[test]
fn a_check_that_comes_before_the_credentials_is_answered_and_returned_later() {
    let mut world = World::new();
    world.socket(A, "eth0", "10.0.0.1:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "10.0.0.2:1000", Border::Open, ms(10));
    world.agents[B].start(world.now);
    world.introduce_to(A, B);
    world.run_for(ms(100));
    assert_eq!(world.usable(A).count(), 1);
    assert_eq!(world.usable(B).count(), 0);
    world.agents[B].set_remote_credentials(world.now, crate::net::credentials(A));
    world.drain();
    world.run_for(ms(40));
    assert_eq!(world.usable(B).count(), 1);
}

#[test]
fn role_conflicts_are_settled_by_the_tie_breaker() {
    for role in [Role::Controlling, Role::Controlled] {
        let mut configs = [config(A, role), config(B, role)];
        configs[A].tie_breaker = 5;
        configs[B].tie_breaker = 6;
        let [a, b] = configs;
        let mut world = World::with(a, b);
        world.socket(A, "eth0", "10.0.0.1:1000", Border::Open, ms(10));
        world.socket(B, "eth0", "10.0.0.2:1000", Border::Open, ms(10));
        world.introduce();
        assert!(world.run_until_usable(ms(300)));
        assert_eq!((world.agents[A].role(), world.agents[B].role()), (Role::Controlled, Role::Controlling));
        let changes =
            |me: usize| world.events[me].iter().filter(|(_, e)| matches!(e, Event::RoleChanged(_))).count();
        assert_eq!(changes(A) + changes(B), 1);
        let priority = |me: usize| world.usable(me).next().unwrap().priority;
        assert_eq!(priority(A), priority(B), "both ends order pairs alike");
    }
}

#[test]
fn both_ends_know_the_nominated_pair_and_a_later_one_replaces_it() {
    let mut world = World::new();
    world.socket(A, "wlan0", "10.0.0.1:1000", Border::Open, ms(10));
    world.socket(A, "wwan0", "10.0.0.3:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "10.0.0.2:1000", Border::Open, ms(10));
    world.introduce();
    world.run_for(ms(500));
    let pairs: Vec<_> = world.usable(A).collect();
    assert_eq!(world.agents[A].nominated(), None);
    for pair in &pairs {
        world.agents[A].nominate(world.now, pair.id);
        world.drain();
        world.run_for(ms(100));
        assert_eq!(world.agents[A].nominated(), Some(pair.id));
        let theirs = world.agents[B].nominated().and_then(|id| world.agents[B].pair(id)).unwrap();
        assert_eq!((theirs.remote, theirs.nominated), (pair.local, true));
    }
    world.agents[B].nominate(world.now, ice::PairId(0));
    world.drain();
    world.run_for(ms(100));
    assert_eq!(world.agents[A].nominated(), Some(pairs[1].id), "the controlled agent nominates nothing");
}

#[test]
fn scopes_that_cannot_talk_are_never_paired() {
    let mut world = World::new();
    for local in ["192.0.2.1:1", "169.254.0.1:1", "127.0.0.1:1", "[2001:db8::1]:1", "[fe80::1]:1", "[::1]:1"]
    {
        world.socket(A, "any", local, Border::Open, ms(1));
    }
    let unusable =
        ["0.0.0.0:1", "192.0.2.1:0", "224.0.0.1:1", "[fec0::1]:1", "[::ffff:10.1.1.2]:1", "[::10.1.1.2]:1"];
    for (me, wrong) in unusable.iter().enumerate() {
        let info = ice::SocketInfo { interface: "any".into(), local: address(wrong), preference: 1 };
        world.agents[A].add_socket(world.now, ice::SocketId(100 + me as u32), info);
    }
    let others = ["10.1.1.1:2", "169.254.9.9:2", "127.0.0.1:2", "[2001:db8::2]:2", "[fe80::2]:2", "[::1]:2"];
    for other in others.into_iter().chain([
        "0.0.0.0:2",
        "255.255.255.255:2",
        "[ff02::1]:2",
        "[::ffff:10.1.1.1]:2",
        "[fec0::2]:2",
        "10.1.1.1:0",
    ]) {
        let candidate = ice::RemoteCandidate {
            kind: CandidateKind::Host,
            address: address(other),
            priority: 1,
            foundation: other.into(),
            interface: None,
        };
        world.agents[A].add_remote_candidate(world.now, candidate);
    }
    let mut paired: Vec<(String, String)> =
        world.agents[A].pairs().map(|pair| (pair.local.to_string(), pair.remote.to_string())).collect();
    paired.sort();
    let wanted = [
        ("127.0.0.1:1", "127.0.0.1:2"),
        ("169.254.0.1:1", "169.254.9.9:2"),
        ("192.0.2.1:1", "10.1.1.1:2"),
        ("[2001:db8::1]:1", "[2001:db8::2]:2"),
        ("[::1]:1", "[::1]:2"),
        ("[fe80::1]:1", "[fe80::2]:2"),
    ];
    assert_eq!(paired, wanted.map(|(local, remote)| (local.to_owned(), remote.to_owned())));
    let ours: Vec<_> = world.agents[A].local_candidates().map(|local| local.address.to_string()).collect();
    assert!(!ours.iter().any(|address| unusable.contains(&address.as_str())), "{ours:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = || {
        let mut world = two_ends([Border::Nat, Border::Firewall], ms(10));
        world.lose = Box::new(|number, _, _| number % 7 == 0);
        world.introduce();
        world.run_for(ms(5000));
        let without_instants = |event: &Event| match event {
            Event::Pair { id, state, cause, .. } => format!("{id} {state:?} {cause}"),
            other => format!("{other:?}"),
        };
        world.events[A].iter().map(|(at, event)| (*at, without_instants(event))).collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

fn named(port: u16, foundation: &str) -> ice::RemoteCandidate {
    ice::RemoteCandidate {
        kind: CandidateKind::Host,
        address: ([192, 0, 2, 20], port).into(),
        priority: u32::from(port),
        foundation: foundation.into(),
        interface: None,
    }
}

#[test]
fn of_equal_foundations_one_goes_first_and_success_releases_the_others() {
    let mut world = World::new();
    world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    for (port, foundation) in [(2000, "same"), (1999, "same"), (1998, "same"), (1997, "other")] {
        world.agents[A].add_remote_candidate(world.now, named(port, foundation));
    }
    let states = |world: &World| world.agents[A].pairs().map(|pair| pair.state).collect::<Vec<_>>();
    use PairState::{Frozen, InProgress, Up, Waiting};
    assert_eq!(states(&world), [Waiting, Frozen, Frozen, Waiting]);
    world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
    world.agents[B].start(world.now);
    world.agents[A].start(world.now);
    world.drain();
    assert_eq!(states(&world), [InProgress, Frozen, Frozen, Waiting]);
    world.run_for(ms(41));
    assert_eq!(states(&world), [Up, Waiting, Waiting, Waiting]);
}

#[test]
fn a_frozen_pair_does_not_wait_for_one_that_nobody_answers() {
    let mut world = World::new();
    world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    for port in [2001, 2000] {
        world.agents[A].add_remote_candidate(world.now, named(port, "same"));
    }
    world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
    world.agents[B].start(world.now);
    world.agents[A].start(world.now);
    world.drain();
    world.run_for(Timing::default().ta + ms(40));
    assert_eq!(world.usable(A).count(), 1);
}

#[test]
fn gathering_survives_loss_and_follows_a_mapping_that_moves() {
    let server = address("198.51.100.1:3478");
    let mut world = World::new();
    world.server = Some((server, ms(10)));
    world.lose = Box::new(|number, _, _| number <= 2);
    let socket = world.socket(A, "wlan0", "192.0.2.10:1000", Border::Nat, ms(10));
    world.agents[A].add_stun_server(world.now, server);
    world.agents[A].add_stun_server(world.now, server);
    world.agents[A].add_stun_server(world.now, address("[2001:db8::5]:3478"));
    world.agents[A].start(world.now);
    world.drain();
    let reflexive = |world: &World| {
        let mut all = world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Srflx);
        let first = all.next().map(|local| (local.address, local.base));
        assert!(all.next().is_none());
        first
    };
    // Two losses: 500 + 1000 ms, then the round trip.
    world.run_for(ms(1539));
    assert_eq!(reflexive(&world), None);
    world.run_for(ms(2));
    let base = address("192.0.2.10:1000");
    assert_eq!(reflexive(&world), Some((address("203.0.113.1:40000"), base)));
    world.port(socket).public = address("203.0.113.1:41111");
    world.run_for(ms(15_100));
    assert_eq!(reflexive(&world), Some((address("203.0.113.1:41111"), base)));
    let removed = |(_, event): &(Duration, Event)| matches!(event, Event::LocalCandidateRemoved { address: gone, .. } if *gone == address("203.0.113.1:40000"));
    assert!(world.events[A].iter().any(removed));
    // A socket that comes later asks the same server.
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Nat, ms(10));
    world.run_for(ms(100));
    let kinds = world.agents[A].local_candidates().filter(|local| local.kind == CandidateKind::Srflx).count();
    assert_eq!(kinds, 2);
}

#[test]
fn the_zone_of_a_link_local_address_belongs_to_the_socket() {
    let mut world = World::new();
    let zoned = |zone| std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 2000, 0, zone).into();
    let local = std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), 1000, 0, 3).into();
    let info = ice::SocketInfo { interface: "wlan0".into(), local, preference: 1 };
    world.agents[A].add_socket(world.now, ice::SocketId(0), info);
    world.agents[A]
        .add_remote_candidate(world.now, ice::RemoteCandidate { address: zoned(9), ..named(1, "1") });
    world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
    world.agents[A].start(world.now);
    assert_eq!(world.agents[A].poll_transmit().unwrap().to, zoned(3), "theirs means nothing here");
    assert!(world.agents[A].pair_of(ice::SocketId(0), zoned(3)).is_some());
}

#[test]
fn credentials_are_checked() {
    use ice::{Credentials, CredentialsError};
    let pwd = "0123456789012345678901";
    assert!(Credentials::new("abc+", pwd).is_ok());
    assert_eq!(Credentials::new("abc", pwd).unwrap_err(), CredentialsError::UfragLength(3));
    assert_eq!(Credentials::new("abcd", "short").unwrap_err(), CredentialsError::PwdLength(5));
    assert_eq!(Credentials::new("ab:d", pwd).unwrap_err(), CredentialsError::Character(':'));
    let made = Credentials::from_entropy(&[0xff; 32]);
    assert_eq!(Credentials::new(made.ufrag(), made.pwd()), Ok(made.clone()));
    assert!(!format!("{made:?}").contains(made.pwd()), "passwords stay out of logs");
}

/// RFC 8445 section 14.3: Ta times the pairs that wait or are being checked, 500 ms at least.
#[test]
fn the_timeout_grows_with_the_number_of_unfinished_pairs() {
    for (pairs, expected) in [(4, ms(500)), (10, ms(500)), (30, ms(1500))] {
        let mut world = World::new();
        world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(1));
        add_decoys(&mut world, pairs);
        world.agents[A].set_remote_credentials(world.now, crate::net::credentials(B));
        world.agents[A].start(world.now);
        world.drain();
        // The one that begins when all the others still wait.
        world.run_for(ms(2000));
        let sent = |wanted: u32| {
            let of = |(at, event): &(Duration, Event)| match event {
                Event::CheckSent { pair: Some(pair), attempt, .. } if pair.0 == 0 && *attempt == wanted => {
                    Some(*at)
                }
                _ => None,
            };
            world.events[A].iter().find_map(of).unwrap()
        };
        assert_eq!(sent(2) - sent(1), expected, "{pairs} pairs");
    }
}

/// RFC 8445 section 5.1.2: no two candidates have the same priority, even if one socket has two mappings.
#[test]
fn what_two_servers_see_of_one_socket_has_two_priorities() {
    let servers = [address("198.51.100.1:3478"), address("198.51.100.2:3478")];
    let mut hand = Hand::new(Role::Controlling);
    let info =
        ice::SocketInfo { interface: "wwan0".into(), local: address("192.0.2.11:1000"), preference: 65_534 };
    hand.agent.add_socket(hand.now, ice::SocketId(1), info);
    for server in servers {
        hand.agent.add_stun_server(hand.now, server);
    }
    hand.pass(ms(300));
    for (port, server) in (4000..).zip(servers) {
        hand.answer_from_server(server, |socket| ([203, 0, 113, socket.0 as u8], port).into());
    }
    let unique = |hand: &Hand| {
        let candidates: Vec<_> = hand.agent.local_candidates().cloned().collect();
        assert_eq!(candidates.len(), 6, "{candidates:#?}");
        let priorities: std::collections::BTreeSet<u32> =
            candidates.iter().map(|candidate| candidate.priority).collect();
        assert_eq!(priorities.len(), candidates.len(), "{candidates:#?}");
    };
    unique(&hand);
    // A priority that is another's is given to nobody.
    hand.agent.set_preference(hand.now, ice::SocketId(1), 65_535);
    unique(&hand);
    hand.agent.set_preference(hand.now, ice::SocketId(0), 3);
    unique(&hand);
    hand.agent.set_preference(hand.now, ice::SocketId(1), 3);
    unique(&hand);
}
