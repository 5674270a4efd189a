//! Two ends find out together what the network model blocks between them, without knowing it: the verdict is right for
//! every filter and NAT, and where something else makes the silence it is never a block.

mod judging;
mod wire;
mod world;

use ice::behaviour::{Dependence, Filtering};
use ice::blocking::{At, Direction, Finding, Mapping, NatClass, Route, Verdict, Why, can_pass};
use netmodel::{Block, BlockAnswer, BlockDirection, Ipv6Access, NatKind, NatSpec, StunMatch};
use proptest::prelude::*;

use world::{Behind, Setup, World};

const CLASSES: [netmodel::Dependence; 3] = netmodel::Dependence::ALL;
const SILENCE: BlockAnswer = BlockAnswer::Silence;

fn nat(mapping: netmodel::Dependence, filtering: netmodel::Dependence) -> NatSpec {
    NatSpec { mapping, filtering, ..NatSpec::new(NatKind::Home) }
}

fn home() -> NatSpec {
    nat(CLASSES[0], CLASSES[2])
}

fn symmetric() -> NatSpec {
    nat(CLASSES[2], CLASSES[2])
}

fn ours(dependence: netmodel::Dependence) -> Dependence {
    match dependence {
        netmodel::Dependence::EndpointIndependent => Dependence::EndpointIndependent,
        netmodel::Dependence::AddressDependent => Dependence::AddressDependent,
        netmodel::Dependence::AddressAndPortDependent => Dependence::AddressAndPortDependent,
    }
}

/// What a prober of NAT behaviour says of it.
fn class(nat: Option<&NatSpec>) -> NatClass {
    let Some(nat) = nat else {
        return NatClass { mapping: Some(Mapping::Independent), filtering: Some(Filtering::None) };
    };
    let mapping = match ours(nat.mapping) {
        Dependence::EndpointIndependent => Mapping::Independent,
        _ => Mapping::Dependent,
    };
    NatClass { mapping: Some(mapping), filtering: Some(Filtering::Tied(ours(nat.filtering))) }
}

/// Between a network behind this NAT with these filters and one behind that NAT.
fn between(left: Option<NatSpec>, blocks: &[Block], right: Option<NatSpec>) -> Setup {
    Setup::new([
        vec![Behind { nat: left, blocks: blocks.to_vec(), ..Behind::default() }],
        vec![Behind { nat: right, ..Behind::default() }],
    ])
}

/// Out and in, when there is one pair.
fn verdicts(setup: Setup, seed: u64) -> [Verdict; 2] {
    let findings = World::new(setup, seed).run();
    assert_eq!(findings.len(), 2, "{findings:?}");
    assert_eq!((findings[0].direction, findings[1].direction), (Direction::Out, Direction::In));
    [findings[0].verdict, findings[1].verdict]
}

fn stun(matching: StunMatch, direction: BlockDirection) -> Block {
    Block::Stun { matching, direction, answer: SILENCE }
}

fn p2p(direction: BlockDirection) -> Block {
    Block::UdpPeerToPeer { ipv4: true, ipv6: true, direction, answer: SILENCE }
}

use BlockDirection::{Both, In, Out};

/// NATs at the two ends that any packet gets through when both send.
fn compatible() -> Vec<[Option<NatSpec>; 2]> {
    let endpoint_independent = || Some(nat(CLASSES[0], CLASSES[0]));
    vec![
        [None, None],
        [Some(home()), None],
        [None, Some(home())],
        [Some(home()), Some(home())],
        [Some(symmetric()), endpoint_independent()],
        [endpoint_independent(), Some(symmetric())],
        [Some(symmetric()), None],
    ]
}

#[test]
fn every_filter_of_stun_is_named_in_its_direction() {
    let wanted = |direction: BlockDirection| {
        let hit =
            |this| if direction == this || direction == Both { Verdict::StunFiltered } else { Verdict::Open };
        [hit(Out), hit(In)]
    };
    for (seed, [left, right]) in (0..).zip(compatible()) {
        for direction in [In, Out, Both] {
            for matching in [StunMatch::Cookie, StunMatch::Signature] {
                let setup = between(left.clone(), &[stun(matching, direction)], right.clone());
                assert_eq!(
                    verdicts(setup, seed),
                    wanted(direction),
                    "{matching:?} {direction:?} {left:?} {right:?}"
                );
            }
            // By port alone: what is between the two ends uses none of those.
            let setup = between(left.clone(), &[stun(StunMatch::Port, direction)], right.clone());
            assert_eq!(verdicts(setup, seed), [Verdict::Open; 2], "port {direction:?} {left:?} {right:?}");
        }
    }
}

#[test]
fn a_block_of_udp_between_peers_is_told_by_the_control() {
    let blocked = Verdict::UdpP2pBlocked { at: At::Here };
    for (seed, [left, right]) in (0..).zip(compatible()) {
        for answer in [BlockAnswer::Silence, BlockAnswer::IcmpProhibited] {
            let all = Block::UdpPeerToPeer { ipv4: true, ipv6: false, direction: Both, answer };
            assert_eq!(
                verdicts(between(left.clone(), &[all], right.clone()), seed),
                [blocked; 2],
                "{left:?} {right:?}"
            );
        }
    }
    let at_the_other_end = Setup::new([
        vec![Behind { nat: Some(home()), ..Behind::default() }],
        vec![Behind { nat: Some(home()), blocks: vec![p2p(Both)], ..Behind::default() }],
    ]);
    assert_eq!(verdicts(at_the_other_end, 1), [Verdict::UdpP2pBlocked { at: At::There }; 2]);
    let at_both = || Behind { nat: Some(home()), blocks: vec![p2p(Both)], ..Behind::default() };
    // Nobody hears the control by UDP, but it takes a connection.
    assert_eq!(
        verdicts(Setup::new([vec![at_both()], vec![at_both()]]), 1),
        [Verdict::UdpP2pBlocked { at: At::Both }; 2]
    );
    // Even NATs that cannot be punched do not hide it.
    let symmetric = between(Some(symmetric()), &[p2p(Both)], Some(symmetric()));
    assert_eq!(verdicts(symmetric, 1), [blocked; 2]);
}

/// As carriers do that classify a flow by its first packets.
#[test]
fn a_filter_that_begins_late_is_a_block_with_its_beginning() {
    let cookie = || vec![stun(StunMatch::Cookie, Both)];
    for seed in 0..8 {
        for (blocks, verdict) in
            [(vec![p2p(Both)], Verdict::UdpP2pBlocked { at: At::Here }), (cookie(), Verdict::StunFiltered)]
        {
            for lost in [0.0, 5.0] {
                let mut setup = between(Some(home()), &[], Some(home()));
                setup.late = Some((super::net::ms(1200), blocks.clone()));
                setup.lose(lost);
                let found = World::new(setup, seed).run();
                for one in &found {
                    assert_eq!(one.verdict, verdict, "seed {seed}, {lost} %: {one:?}");
                    // Some are lost before NATs let anything in.
                    let longest =
                        one.blocked_after.iter().flatten().max_by_key(|after| after.packets).unwrap();
                    assert!((1..8).contains(&longest.packets), "{one:?}");
                    let round = longest.after / longest.packets.into();
                    assert!(round >= super::net::ms(290) && round < super::net::ms(600), "{one:?}");
                    let random = one.blocked_after[6].is_some();
                    assert_eq!(random, verdict != Verdict::StunFiltered, "{one:?}");
                }
            }
        }
    }
}

#[test]
fn one_direction_of_a_block_is_one_way() {
    // With other NATs one direction has to open the way for the other.
    let each_by_itself = compatible().into_iter().take(4);
    for (seed, [left, right]) in (0..).zip(each_by_itself) {
        let out = verdicts(between(left.clone(), &[p2p(Out)], right.clone()), seed);
        assert_eq!(out[0], Verdict::OneWay, "{left:?} {right:?}");
        assert_eq!(out[1], Verdict::Open, "{left:?} {right:?}");
        let back = verdicts(between(left.clone(), &[p2p(In)], right.clone()), seed);
        assert_eq!(back, [Verdict::Open, Verdict::OneWay], "{left:?} {right:?}");
    }
}

#[test]
fn each_family_has_a_verdict_of_its_own() {
    for (ipv4, ipv6) in [(true, false), (false, true), (true, true)] {
        let blocks = vec![Block::UdpPeerToPeer { ipv4, ipv6, direction: Both, answer: SILENCE }];
        let dual =
            |blocks| Behind { nat: Some(home()), ipv6: Ipv6Access::Firewalled, blocks, ..Behind::default() };
        let findings = World::new(Setup::new([vec![dual(blocks)], vec![dual(vec![])]]), 5).run();
        assert_eq!(findings.len(), 4);
        for Finding { ipv6: of_ipv6, verdict, .. } in findings {
            let blocked = if of_ipv6 { ipv6 } else { ipv4 };
            let wanted = if blocked { Verdict::UdpP2pBlocked { at: At::Here } } else { Verdict::Open };
            assert_eq!(verdict, wanted, "{ipv4} {ipv6} {of_ipv6}");
        }
    }
}

#[test]
fn a_block_of_all_udp_is_told_from_a_dead_interface_by_tcp() {
    let udp = |direction| Block::Udp { direction, answer: SILENCE };
    let blocked = Verdict::UdpBlocked { at: At::Here };
    for direction in [In, Out, Both] {
        let setup = between(Some(home()), &[udp(direction)], Some(home()));
        assert_eq!(verdicts(setup, 3), [blocked; 2], "{direction:?}");
    }
    // Without NATs either end knows where the other is, and the direction that is left passes.
    assert_eq!(verdicts(between(None, &[udp(Both)], None), 3), [blocked; 2]);
    assert_eq!(verdicts(between(None, &[udp(Out)], None), 3), [Verdict::OneWay, Verdict::Open]);
    assert_eq!(verdicts(between(None, &[udp(In)], None), 3), [Verdict::Open, Verdict::OneWay]);
    let mut dead = between(Some(home()), &[udp(Both)], Some(home()));
    dead.ends[0][0].dead = true;
    assert_eq!(verdicts(dead, 3), [Verdict::Inconclusive(Why::Dead(At::Here)); 2]);
    // The other end never hears of it: what is known here is told all the same.
    let mut nobody = between(Some(home()), &[udp(Both)], Some(home()));
    nobody.signalling = false;
    assert_eq!(verdicts(nobody, 3), [blocked; 2]);
    let mut open = between(Some(home()), &[], Some(home()));
    open.signalling = false;
    assert_eq!(verdicts(open, 3), [Verdict::Inconclusive(Why::NoReport); 2]);
}

#[test]
fn each_of_81_pairs_of_nats_is_open_or_incompatible_as_theory_says() {
    let each = || CLASSES.into_iter().flat_map(|mapping| CLASSES.map(|filtering| nat(mapping, filtering)));
    let mut passing = 0;
    for (seed, left) in (0..).zip(each()) {
        for right in each() {
            let [there, back] = [(&left, &right), (&right, &left)]
                .map(|(from, to)| can_pass(class(Some(from)), class(Some(to))).unwrap());
            let wanted = |passes| if passes { Verdict::Open } else { Verdict::NatIncompatible };
            let found = verdicts(between(Some(left.clone()), &[], Some(right.clone())), seed);
            assert_eq!(found, [wanted(there), wanted(back)], "{left:?} {right:?}");
            passing += usize::from(there && back);
        }
    }
    // As many as the table of who can punch a hole to whom has.
    assert_eq!(passing, 45);
}

#[test]
fn what_is_not_known_of_nats_is_not_guessed() {
    let mut setup = between(Some(symmetric()), &[], Some(symmetric()));
    setup.classes = false;
    // Two servers see two mappings; how the NATs filter stays open, and decides.
    assert_eq!(verdicts(setup, 1), [Verdict::Inconclusive(Why::NatUnknown); 2]);
    let mut setup = between(Some(home()), &[p2p(Out)], Some(home()));
    setup.classes = false;
    assert_eq!(verdicts(setup, 1), [Verdict::OneWay, Verdict::Open]);
}

#[test]
fn without_a_control_silence_between_two_ends_is_no_block() {
    for control in [world::Control::None, world::Control::Down] {
        let mut setup = between(Some(home()), &[p2p(Both)], Some(home()));
        setup.control = control;
        let why = match control {
            world::Control::None => Why::NoControl,
            _ => Why::ControlSilent,
        };
        assert_eq!(verdicts(setup, 1), [Verdict::Inconclusive(why); 2]);
        // What passes needs none.
        let mut setup = between(Some(home()), &[stun(StunMatch::Cookie, Both)], Some(home()));
        setup.control = control;
        assert!(verdicts(setup, 1).iter().all(|verdict| !matches!(verdict, Verdict::UdpP2pBlocked { .. })));
        let mut setup = between(Some(home()), &[], Some(home()));
        setup.control = control;
        assert_eq!(verdicts(setup, 1), [Verdict::Open; 2]);
    }
}

/// Rows ice-01, ice-03, ice-08 and ice-12: what should have gone over cellular left on ethernet, and was taken for blocked.
#[test]
fn packets_that_leave_by_another_interface_are_no_block() {
    for keeps_address in [true, false] {
        let mut setup = Setup::new([
            vec![
                Behind { nat: Some(home()), ..Behind::default() },
                Behind { nat: Some(home()), blocks: vec![p2p(Both)], ..Behind::default() },
            ],
            vec![Behind { nat: Some(home()), ..Behind::default() }],
        ]);
        setup.detour = Some(world::Detour { place: 1, keeps_address });
        let findings = World::new(setup, 9).run();
        for finding in &findings {
            let wanted = match finding.local_interface.as_str() {
                "if0" => Verdict::Open,
                _ => Verdict::Inconclusive(Why::WrongRoute(At::Here)),
            };
            assert_eq!(finding.verdict, wanted, "{finding:?}");
        }
        assert_eq!(findings.len(), 4);
    }
}

#[test]
fn no_route_is_no_block() {
    let mut setup = between(Some(home()), &[], Some(home()));
    setup.route = Route::None;
    assert!(verdicts(setup, 1).contains(&Verdict::Inconclusive(Why::NoRoute(At::Here))));
}

/// What is there, and the verdicts that are right for it.
fn cases() -> Vec<(Setup, [Verdict; 2])> {
    let blocked = Verdict::UdpP2pBlocked { at: At::Here };
    let home = || Some(home());
    let cookie = |direction| stun(StunMatch::Cookie, direction);
    vec![
        (between(home(), &[], home()), [Verdict::Open; 2]),
        (between(home(), &[cookie(Both)], home()), [Verdict::StunFiltered; 2]),
        (between(home(), &[cookie(Out)], home()), [Verdict::StunFiltered, Verdict::Open]),
        (between(home(), &[p2p(Both)], home()), [blocked; 2]),
        (between(home(), &[p2p(In)], home()), [Verdict::Open, Verdict::OneWay]),
        (between(Some(symmetric()), &[], Some(symmetric())), [Verdict::NatIncompatible; 2]),
    ]
}

#[test]
fn one_packet_in_ten_lost_changes_no_verdict() {
    for seed in 0..8 {
        for (mut setup, wanted) in cases() {
            setup.lose(10.0);
            assert_eq!(verdicts(setup, seed), wanted, "seed {seed}");
        }
    }
}

/// Whether a verdict accuses nobody who is innocent.
fn is_just(found: Verdict, right: Verdict) -> bool {
    found == right || found == Verdict::Open || matches!(found, Verdict::Inconclusive(_))
}

proptest! {
    #![proptest_config(crate::cases(64))]

    /// However much is lost, all the time or for a while.
    #[test]
    fn loss_and_outages_never_make_a_block(
        case in 0..6_usize,
        loss in 0.0..95.0_f64,
        outage in proptest::option::of((0..8_000_u64, 100..9_000_u64)),
        seed: u64,
    ) {
        let (mut setup, right) = cases().swap_remove(case);
        setup.lose(loss);
        setup.outage = outage.map(|(from, length)| (super::net::ms(from), super::net::ms(length)));
        for (found, right) in verdicts(setup, seed).into_iter().zip(right) {
            // Where all is lost, that a direction is open is not found out, nor that only one is.
            let half = right == Verdict::Open && found == Verdict::OneWay;
            prop_assert!(is_just(found, right) && !half, "{found:?} for {right:?}");
        }
    }
}
