//! The disguise ladder: reversible, told apart, worn where it is set and never towards a relay.

use ice::stun::{Builder, Class, Key, Message, TransactionId, is_stun};
use ice::{CandidateKind, Rejected, Role, Rung, SocketId, Target};
use proptest::prelude::*;

use crate::byhand::{Hand, SOCKET};
use crate::net::{A, B, Border, World, address, ms};

const REMOTE: &str = "192.0.2.20:2000";

fn rung() -> impl Strategy<Value = Rung> {
    prop::sample::select(Rung::ALL.to_vec())
}

fn message(id: [u8; 12], attributes: &[(u16, Vec<u8>)], pwd: &str) -> Vec<u8> {
    let mut builder = Builder::new(Class::Request, 1, TransactionId(id));
    for (kind, value) in attributes {
        builder = builder.attribute(*kind, value).unwrap();
    }
    builder.finish(Some(&Key::short_term(pwd)))
}

proptest! {
    #[test]
    fn every_disguise_can_be_undone(rung in rung(), id: [u8; 12], value in prop::collection::vec(any::<u8>(), 0..400)) {
        let plain = message(id, &[(0x8022, value)], "a password of ice chars");
        let mut worn = plain.clone();
        rung.apply(&mut worn);
        prop_assert_eq!(worn.len(), plain.len());
        prop_assert_eq!(rung.undo(&worn), Some(plain.clone()));
        prop_assert_eq!(is_stun(&worn), rung == Rung::Plain);
        if rung != Rung::Plain {
            prop_assert_eq!(Rung::detect(&worn), Some((rung, plain)));
        }
    }

    #[test]
    fn a_scrambled_length_is_never_right(id: [u8; 12], value in prop::collection::vec(any::<u8>(), 0..40)) {
        let mut worn = message(id, &[(0x8022, value)], "a password of ice chars");
        Rung::ScrambledLength.apply(&mut worn);
        let told = usize::from(u16::from_be_bytes([worn[2], worn[3]]));
        prop_assert!(told != worn.len() - 20 && !told.is_multiple_of(4));
    }

    #[test]
    fn any_bytes_are_survived(rung in rung(), mut data in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = rung.undo(&data);
        let _ = Rung::detect(&data);
        rung.apply(&mut data);
    }

    /// What is sent by someone else's protocol, from the address of a known candidate.
    #[test]
    fn other_traffic_is_left_to_others(mut data in prop::collection::vec(any::<u8>(), 20..100), short_header: bool) {
        if short_header {
            data[0] = 0x40 | (data[0] & 0x3f);
        }
        prop_assume!(!is_stun(&data));
        let mut hand = Hand::new(Role::Controlling);
        hand.make_valid(address(REMOTE), Role::Controlled);
        let before = format!("{:?}", hand.agent);
        prop_assert_eq!(hand.hear(address(REMOTE), &data), Err(Rejected::NotStun));
        prop_assert_eq!(before, format!("{:?}", hand.agent));
    }
}

#[test]
fn nothing_constant_is_left_of_a_message_that_is_xored() {
    let messages: Vec<Vec<u8>> = (0..64_u8)
        .map(|seed| {
            let id = std::array::from_fn(|place| seed.wrapping_mul(37).wrapping_add(place as u8 * 11));
            let mut worn = message(id, &[(0x8022, vec![0; 40])], "a password of ice chars");
            Rung::Xor.apply(&mut worn);
            worn
        })
        .collect();
    for place in 0..messages[0].len() {
        let different: std::collections::BTreeSet<u8> =
            messages.iter().map(|message| message[place]).collect();
        assert!(different.len() > 20, "byte {place} takes {} values", different.len());
    }
}

#[test]
fn rungs_are_found_by_name() {
    for rung in Rung::ALL {
        assert_eq!(rung.as_str().parse(), Ok(rung));
    }
    assert!("invisible".parse::<Rung>().is_err());
}

/// A filter that drops STUN by its cookie and length, as carriers do: plain checks are lost, the others find a path.
#[test]
fn disguised_agents_pass_a_filter_that_knows_stun() {
    for rung in Rung::ALL {
        let mut world = World::new();
        world.socket(A, "wwan0", "192.0.2.10:1000", Border::Firewall, ms(10));
        world.socket(B, "wwan0", "192.0.2.20:2000", Border::Firewall, ms(10));
        for me in [A, B] {
            world.agents[me].set_disguise(Target::Interface("wwan0".into()), rung);
        }
        world.lose = Box::new(|_, _, bytes| is_stun(bytes));
        world.introduce();
        assert_eq!(world.run_until_usable(ms(3000)), rung != Rung::Plain, "{rung}");
        world.run_for(ms(3000));
        assert_eq!(world.times(A, ice::PairState::Suspect), 0, "{rung}");
    }
}

/// Whoever disguises nothing still understands, and answers in kind.
#[test]
fn one_side_alone_may_disguise() {
    for rung in Rung::ALL {
        let mut world = World::new();
        world.socket(A, "wwan0", "192.0.2.10:1000", Border::Firewall, ms(10));
        world.socket(B, "eth0", "192.0.2.20:2000", Border::Firewall, ms(10));
        world.agents[A].set_disguise(Target::Interface("wwan0".into()), rung);
        world.introduce();
        assert!(world.run_until_usable(ms(3000)), "{rung}");
    }
}

#[test]
fn answers_wear_what_the_check_wore() {
    let mut hand = Hand::new(Role::Controlling);
    hand.make_valid(address(REMOTE), Role::Controlled);
    for rung in Rung::ALL {
        hand.taken();
        let mut check = hand.check(Role::Controlled).finish(Some(&Key::short_term(hand.ours.pwd())));
        rung.apply(&mut check);
        assert_eq!(hand.hear(address(REMOTE), &check), Ok(()));
        let (_, _, answer) = hand.sent.last().unwrap();
        let answer = rung.undo(answer).expect("the same disguise");
        assert_eq!(Message::parse(&answer).unwrap().class(), Class::Success);
    }
}

#[test]
fn strangers_are_searched_for_a_disguise_only_by_those_who_wear_one() {
    let mut hand = Hand::new(Role::Controlling);
    let mut check = hand.check(Role::Controlled).finish(Some(&Key::short_term(hand.ours.pwd())));
    Rung::Xor.apply(&mut check);
    assert!(!hand.agent.may_be_disguised(address(REMOTE), &check));
    assert_eq!(hand.hear(address(REMOTE), &check), Err(Rejected::NotStun));
    hand.agent.set_disguise(Target::Socket(SOCKET), Rung::FirstByte);
    assert!(hand.agent.may_be_disguised(address(REMOTE), &check));
    assert_eq!(hand.hear(address(REMOTE), &check), Ok(()), "a peer-reflexive candidate");
}

#[test]
fn nothing_towards_a_relay_or_a_server_is_disguised() {
    let mut world = World::new();
    let server = address("198.51.100.1:3478");
    world.server = Some((server, ms(1)));
    world.socket(A, "wwan0", "192.0.2.10:1000", Border::Firewall, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    world.agents[A].set_disguise(Target::Interface("wwan0".into()), Rung::Xor);
    world.agents[A].add_stun_server(world.now, server);
    let relay = ice::RemoteCandidate {
        kind: CandidateKind::Relay,
        address: address("198.51.100.9:9000"),
        priority: 1,
        foundation: "relay".into(),
        interface: None,
    };
    world.agents[A].add_remote_candidate(world.now, relay);
    let seen = std::rc::Rc::new(std::cell::RefCell::new((0, 0)));
    let counts = seen.clone();
    world.lose = Box::new(move |_, me, bytes| {
        let mut counts = counts.borrow_mut();
        match is_stun(bytes) {
            true if me == A => counts.0 += 1,
            _ => counts.1 += 1,
        }
        false
    });
    world.introduce();
    world.run_for(ms(1000));
    let to = |remote: &str| world.sent[A].iter().filter(|(_, _, to, _)| *to == address(remote)).count();
    let (plain, _) = *seen.borrow();
    assert_eq!(plain, to("198.51.100.1:3478") + to("198.51.100.9:9000"));
    assert!(to("198.51.100.9:9000") > 0 && to("198.51.100.1:3478") > 0);
}

#[test]
fn the_narrowest_setting_counts() {
    let mut hand = Hand::new(Role::Controlling);
    let pair = hand.make_valid(address(REMOTE), Role::Controlled);
    let settings = [
        (Target::Interface("wlan0".into()), Rung::Cookie),
        (Target::Socket(SocketId(0)), Rung::FirstByte),
        (Target::Remote(address(REMOTE)), Rung::Xor),
        (Target::Pair(SocketId(0), address(REMOTE)), Rung::ScrambledLength),
    ];
    for (target, rung) in settings {
        hand.agent.set_disguise(target, rung);
        hand.taken();
        hand.agent.probe(hand.now, pair);
        hand.drain();
        let (_, _, sent) = hand.sent.last().unwrap();
        assert!(rung.undo(sent).is_some(), "{rung}");
    }
}

/// The longest credentials there may be (RFC 8839 section 5.4) make the longest checks.
#[test]
fn the_longest_credentials_can_be_disguised() {
    let long = |of: usize| {
        let letter = ["a", "b"][of];
        ice::Credentials::new(&letter.repeat(256), &letter.repeat(256)).unwrap()
    };
    let configs = [(A, Role::Controlling), (B, Role::Controlled)]
        .map(|(me, role)| ice::Config::new(role, long(me), me as u64));
    let [a, b] = configs;
    let mut world = World::with(a, b);
    world.socket(A, "wwan0", "192.0.2.10:1000", Border::Firewall, ms(10));
    world.socket(B, "wwan0", "192.0.2.20:2000", Border::Firewall, ms(10));
    for (me, other) in [(A, B), (B, A)] {
        world.agents[me].set_network_info("wwan0", ice::stun::NetworkInfo { id: 1, cost: 900 });
        world.agents[me].set_disguise(Target::Interface("wwan0".into()), Rung::Xor);
        let candidates: Vec<_> = world.agents[other].told_candidates().cloned().collect();
        for candidate in candidates {
            world.agents[me].add_remote_candidate(world.now, crate::net::remote(&candidate));
        }
        world.agents[me].set_remote_credentials(world.now, long(other));
        world.agents[me].start(world.now);
    }
    world.drain();
    assert!(world.run_until_usable(ms(3000)));
    let pair = world.usable(A).next().unwrap().id;
    world.agents[A].nominate(world.now, pair);
    world.drain();
    world.run_for(ms(200));
    assert_eq!(world.agents[A].nominated(), Some(pair), "the longest check of all carries a nomination");
}
