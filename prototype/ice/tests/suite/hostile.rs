//! Strangers on the wire: nothing they send changes anything, and nothing grows without bound.

use std::net::SocketAddr;
use std::time::Duration;

use ice::stun::whatsapp::CallId;
use ice::stun::{self, Builder, Class, Key, Message, RoleClaim, TransactionId};
use ice::{
    Agent, Call, CandidateKind, CheckError, Credentials, Event, PairState, Policy, Rejected, RelayServer,
    RemoteCandidate, Role, Rule, Rung, SocketId, Target,
};
use proptest::prelude::*;

use crate::byhand::Hand;
use crate::cases;
use crate::net::{A, B, Border, World, address, config, credentials, ms};
use crate::turn::{PASSWORD, Site, USER};

pub(crate) const STRANGER: &str = "198.51.100.66:6666";
const REMOTE: &str = "192.0.2.20:2000";

/// Two agents in the middle of things: one pair up, one being checked, a server asked.
fn busy_world(answer_unauthenticated: bool) -> World {
    let configs = [(A, Role::Controlling), (B, Role::Controlled)].map(|(me, role)| {
        let mut config = config(me, role);
        config.answer_unauthenticated = answer_unauthenticated;
        config
    });
    let [a, b] = configs;
    let mut world = World::with(a, b);
    world.socket(A, "wlan0", "192.0.2.10:1000", Border::Open, ms(10));
    world.socket(A, "wwan0", "192.0.2.11:1000", Border::Open, ms(10));
    world.socket(B, "eth0", "192.0.2.20:2000", Border::Open, ms(10));
    world.agents[A].add_stun_server(world.now, address("198.51.100.1:3478"));
    world.agents[A].add_remote_candidate(world.now, stranger(9));
    world
}

pub(crate) const RELAY: &str = "198.51.100.5:3478";

pub(crate) const CALL_RELAY: &str = "198.51.100.7:3478";

/// The same with relays of both kinds, and A in disguise on its first socket.
pub(crate) fn wild_world(answer_unauthenticated: bool) -> World {
    let mut world = busy_world(answer_unauthenticated);
    world.relays.push(Site::new(address(RELAY), ms(5)));
    let relay = RelayServer { address: address(RELAY), username: USER.into(), password: PASSWORD.into() };
    world.agents[A].add_relay_server(world.now, relay);
    world.relays.push(Site::call(address(CALL_RELAY), ms(6), world.epoch));
    let call = Call { id: CallId([1; 16]), password: PASSWORD.into() };
    for me in [A, B] {
        world.agents[me].join_call(world.now, &call);
        world.agents[me].add_call_relay(world.now, address(CALL_RELAY));
    }
    world.agents[A].set_disguise(Target::Socket(SocketId(0)), Rung::FirstByte);
    world
}

fn stranger(port: u16) -> RemoteCandidate {
    RemoteCandidate {
        kind: CandidateKind::Host,
        address: SocketAddr::new([192, 0, 2, 99].into(), port),
        priority: u32::from(port),
        foundation: "1".into(),
        interface: None,
    }
}

/// A request as the other agent would send it, but for what the test spoils.
fn check(username: &str, role: Role) -> Builder {
    Builder::new(Class::Request, stun::BINDING, TransactionId([7; 12]))
        .username(username)
        .priority(1)
        .role_claim(RoleClaim { role, tie_breaker: 1 })
}

fn username(to: usize, from: usize) -> String {
    format!("{}:{}", credentials(to).ufrag(), credentials(from).ufrag())
}

pub(crate) fn snapshot(agent: &Agent) -> String {
    format!("{agent:?}")
}

#[test]
fn each_kind_of_wrong_request_is_named_and_changes_nothing() {
    let mut world = busy_world(false);
    world.introduce();
    world.run_for(ms(130));
    let agent = &mut world.agents[A];
    let before = snapshot(agent);
    let right = Key::short_term(credentials(A).pwd());
    let wrong = Key::short_term(credentials(B).pwd());
    let user = username(A, B);
    let request = |name: &str| check(name, Role::Controlled);
    let plain = || Builder::new(Class::Request, stun::BINDING, TransactionId([7; 12]));
    let mut spoilt = request(&user).finish(Some(&right));
    let last = spoilt.len() - 1;
    spoilt[last] ^= 1;
    let cases = [
        (Rejected::NotStun, vec![]),
        (Rejected::NotStun, vec![0x40; 60]),
        (Rejected::Malformed, spoilt),
        (Rejected::NoIntegrity, plain().finish(None)),
        (Rejected::NoIntegrity, plain().priority(5).finish(Some(&right))),
        (Rejected::NoIntegrity, request(&user).finish(None)),
        (Rejected::UnknownUser, request("nobody:else").finish(Some(&right))),
        (Rejected::UnknownUser, request(credentials(A).ufrag()).finish(Some(&right))),
        (Rejected::BadIntegrity, request(&user).finish(Some(&wrong))),
        (Rejected::Unsupported, Builder::new(Class::Request, 3, TransactionId([1; 12])).finish(Some(&right))),
        (Rejected::Unsupported, Builder::new(Class::Indication, 6, TransactionId([1; 12])).finish(None)),
        (
            Rejected::UnknownTransaction,
            Builder::new(Class::Success, 1, TransactionId([1; 12])).finish(Some(&wrong)),
        ),
        (
            Rejected::UnknownTransaction,
            Builder::new(Class::Error, 1, TransactionId([1; 12])).error_code(487).finish(Some(&wrong)),
        ),
    ];
    for (why, datagram) in cases {
        assert_eq!(agent.handle_datagram(world.now, SocketId(0), address(STRANGER), &datagram), Err(why));
        assert_eq!(snapshot(agent), before, "{why}");
    }
    let good = request(&user).finish(Some(&right));
    assert_eq!(
        agent.handle_datagram(world.now, SocketId(77), address(STRANGER), &good),
        Err(Rejected::UnknownSocket)
    );
    for unusable in ["[2001:db8::1]:1", "169.254.1.1:1", "192.0.2.10:1000"] {
        assert_eq!(
            agent.handle_datagram(world.now, SocketId(0), address(unusable), &good),
            Err(Rejected::UnusableSource)
        );
    }
    let indication = Builder::new(Class::Indication, stun::BINDING, TransactionId([1; 12])).finish(None);
    assert_eq!(agent.handle_datagram(world.now, SocketId(0), address(STRANGER), &indication), Ok(()));
    assert_eq!(snapshot(agent), before);
    let mut idle = Agent::new(config(A, Role::Controlling));
    assert_eq!(
        idle.handle_datagram(world.now, SocketId(0), address(STRANGER), &good),
        Err(Rejected::NotStarted)
    );
}

#[test]
fn authentic_requests_with_wrong_attributes_get_an_authentic_error() {
    let mut world = busy_world(false);
    world.introduce();
    world.run_for(ms(500));
    let key = Key::short_term(credentials(A).pwd());
    let base =
        || Builder::new(Class::Request, stun::BINDING, TransactionId([7; 12])).username(&username(A, B));
    let cases = [
        (400, base().finish(Some(&key))),
        (420, base().priority(1).attribute(0x7777, b"?").unwrap().finish(Some(&key))),
    ];
    for (code, request) in cases {
        let result = world.agents[A].handle_datagram(world.now, SocketId(0), address(STRANGER), &request);
        assert_eq!(result, Err(Rejected::BadAttributes));
        let answer = world.agents[A].poll_transmit().unwrap();
        assert_eq!(answer.to, address(STRANGER));
        let answer = Message::parse(&answer.bytes).unwrap();
        assert_eq!((answer.class(), answer.error_code()), (Class::Error, Some(code)));
        assert!(answer.is_authentic(&key));
    }
}

#[test]
fn a_stranger_is_told_seldom_and_only_before_a_pair_works() {
    let mut world = busy_world(true);
    world.agents[A].start(world.now);
    world.drain();
    let wrong = check(&username(A, B), Role::Controlled).finish(Some(&Key::short_term(credentials(B).pwd())));
    let flood = |world: &mut World| {
        let mut told = 0;
        for _ in 0..1000 {
            world.now += ms(1);
            let result = world.agents[A].handle_datagram(world.now, SocketId(0), address(STRANGER), &wrong);
            assert_eq!(result, Err(Rejected::BadIntegrity));
            while let Some(refusal) = world.agents[A].poll_transmit() {
                let refusal = Message::parse(&refusal.bytes).unwrap();
                assert_eq!((refusal.error_code(), refusal.has_integrity()), (Some(401), false));
                told += 1;
            }
        }
        told
    };
    assert_eq!(flood(&mut world), 10);
    world.introduce();
    assert!(world.run_until_usable(ms(1000)));
    assert_eq!(flood(&mut world), 0);
}

#[test]
fn a_wrong_secret_is_reported_and_nothing_else_follows() {
    let mut world = busy_world(true);
    world.introduce_to(B, A);
    let candidate = crate::net::remote(world.agents[B].local_candidates().next().unwrap());
    world.agents[A].add_remote_candidate(world.now, candidate);
    world.agents[A].set_remote_credentials(world.now, credentials(5));
    world.agents[A].start(world.now);
    world.drain();
    // B cannot verify what A sends, but A answers B.
    world.run_for(ms(2000));
    let refusals =
        world.events[A].iter().filter(|(_, event)| matches!(event, Event::RemoteRefused { .. })).count();
    assert!(refusals > 0);
    assert_eq!(world.usable(A).count(), 0);
    let goes_on = |state| matches!(state, PairState::InProgress | PairState::Waiting);
    assert!(world.agents[A].pairs().all(|pair| goes_on(pair.state)), "checks go on until they time out");
}

#[test]
fn an_answer_from_elsewhere_does_not_count() {
    let mut world = busy_world(false);
    let captured = std::rc::Rc::new(std::cell::RefCell::new(Vec::new()));
    let tap = captured.clone();
    world.lose = Box::new(move |_, sender, bytes| {
        if sender == A {
            tap.borrow_mut().push(bytes.to_vec());
        }
        true
    });
    world.introduce_to(A, B);
    world.run_for(ms(400));
    let requests = captured.borrow().clone();
    let is_check = |bytes: &&Vec<u8>| Message::parse(bytes).unwrap().username().is_some();
    let check = requests.iter().find(is_check).unwrap();
    let gather = requests.iter().find(|bytes| !is_check(bytes)).unwrap();
    let answer = |request: &[u8], key| {
        let request = Message::parse(request).unwrap();
        Builder::response(Class::Success, &request).xor_mapped_address(address("203.0.113.7:7")).finish(key)
    };

    // A server is believed for its address and the request's id: someone else with the id is not.
    let before = snapshot(&world.agents[A]);
    let reflexive = answer(gather, None);
    for (socket, from) in [(0, STRANGER), (1, "198.51.100.1:3478")] {
        let result = world.agents[A].handle_datagram(world.now, SocketId(socket), address(from), &reflexive);
        assert_eq!(result, Err(Rejected::UnexpectedSource), "asked on socket 0");
        assert_eq!(snapshot(&world.agents[A]), before);
    }
    let result =
        world.agents[A].handle_datagram(world.now, SocketId(0), address("198.51.100.1:3478"), &reflexive);
    assert_eq!(result, Ok(()));

    // RFC 8445 section 7.2.5.2.1: an authentic answer along another way than the request fails the check.
    let theirs = answer(check, Some(&Key::short_term(credentials(B).pwd())));
    let result = world.agents[A].handle_datagram(world.now, SocketId(0), address(STRANGER), &theirs);
    assert_eq!(result, Err(Rejected::UnexpectedSource));
    world.drain();
    assert!(world.first(A, PairState::Failed).is_some());
    assert_eq!(world.usable(A).count(), 0);
}

#[test]
fn a_flood_of_candidates_and_checks_stays_bounded_and_spares_what_works() {
    let mut world = busy_world(false);
    world.introduce();
    world.run_for(ms(500));
    let living: Vec<_> = world.usable(A).map(|pair| pair.id).collect();
    assert_eq!(living.len(), 2);
    for port in 1..2000 {
        world.agents[A].add_remote_candidate(world.now, stranger(port));
    }
    // Authentic, from ever new addresses: the other agent, or someone who stole its secret.
    let key = Key::short_term(credentials(A).pwd());
    let request = check(&username(A, B), Role::Controlled).finish(Some(&key));
    let mut refused = 0;
    for number in 1..3000_u16 {
        let from = SocketAddr::new([198, 51, (number / 64) as u8, 7].into(), number);
        match world.agents[A].handle_datagram(world.now, SocketId(0), from, &request) {
            Ok(()) => {}
            Err(why) => {
                assert_eq!(why, Rejected::NoRoom);
                refused += 1;
            }
        }
        while world.agents[A].poll_event().is_some() || world.agents[A].poll_transmit().is_some() {}
        world.now += ms(1);
        world.agents[A].handle_timeout(world.now);
    }
    assert!(refused > 2000, "sixteen of each address, not {}", 2999 - refused);
    let agent = &world.agents[A];
    assert!(agent.pairs().count() <= 100);
    assert!(agent.remote_candidates().count() <= 100);
    assert!(snapshot(agent).len() < 400_000, "{}", snapshot(agent).len());
    for pair in living {
        assert!(agent.pair(pair).is_some(), "a pair that works is never displaced");
    }
}

#[test]
fn a_better_pair_takes_the_place_of_the_least_when_all_are_taken() {
    let mut config = config(A, Role::Controlling);
    config.max_pairs = 3;
    let mut world = World::with(config, crate::net::config(B, Role::Controlled));
    world.socket(A, "eth0", "192.0.2.10:1000", Border::Open, ms(1));
    for port in [5, 1, 3, 4, 2] {
        world.agents[A].add_remote_candidate(world.now, stranger(port));
    }
    let ports = |world: &World| world.agents[A].pairs().map(|pair| pair.remote.port()).collect::<Vec<_>>();
    assert_eq!(ports(&world), [5, 4, 3]);
    world.agents[A].remove_remote_candidate(world.now, stranger(4).address);
    assert_eq!(ports(&world), [5, 3, 2], "the place is not left empty");
}

proptest! {
    #![proptest_config(cases(256))]

    /// Whoever has the passwords can be as mad as he likes: no panic, and bounds hold.
    #[test]
    fn an_insane_peer_is_survived(seed: u64, steps in prop::collection::vec((0..10_u8, any::<u16>(), any::<u64>(), 0..300_u64), 1..80)) {
        let mut world = wild_world(seed % 2 == 0);
        world.agents[A].set_policy(world.now, Policy::presets()[(seed % 5) as usize].clone());
        world.introduce();
        world.run_for(ms(seed % 200));
        let mut answered: Vec<TransactionId> = Vec::new();
        let theirs = Key::short_term(credentials(A).pwd());
        let ours = Key::short_term(credentials(B).pwd());
        for (kind, number, wide, wait) in steps {
            world.now += ms(wait);
            let from = if number % 3 == 0 { address("192.0.2.20:2000") } else { SocketAddr::new([192, 0, 2, (number % 250) as u8].into(), number) };
            let role = if wide % 2 == 0 { Role::Controlling } else { Role::Controlled };
            let id = answered.pop().unwrap_or(TransactionId([1; 12]));
            let response = |class| Builder::new(class, stun::BINDING, id);
            let datagram = match kind {
                0 => check(&username(A, B), role).use_candidate().finish(Some(&theirs)),
                1 => Builder::new(Class::Request, 1, id).username(&username(A, B)).priority(number.into())
                        .role_claim(RoleClaim { role, tie_breaker: wide }).finish(Some(&theirs)),
                2 => response(Class::Success).xor_mapped_address(from).finish(Some(&ours)),
                3 => response(Class::Success).finish(Some(&ours)),
                6 => {
                    let mut worn = check(&username(A, B), role).finish(Some(&theirs));
                    Rung::ALL[usize::from(number % 6)].apply(&mut worn);
                    worn
                }
                7 => Builder::new(Class::Indication, 7, id).peer_address(from)
                        .data(&check(&username(A, B), role).finish(Some(&theirs))).finish(None),
                8 => {
                    world.agents[A].restart(world.now, Credentials::from_entropy(&[number as u8; 32]));
                    world.agents[A].set_remote_credentials(world.now, credentials(B));
                    continue;
                }
                9 => {
                    let rule = [None, Some(Rule::Forced), Some(Rule::Forbidden)][usize::from(number % 3)];
                    world.agents[A].set_rule(world.now, Target::Interface("wwan0".into()), rule);
                    continue;
                }
                4 => response(Class::Error).error_code(if wide % 2 == 0 { 487 } else { 300 + number % 400 }).finish(Some(&ours)),
                _ => response(Class::Error).error_code(401).finish(None),
            };
            let from = if kind == 7 { address(RELAY) } else { from };
            let _ = world.agents[A].handle_datagram(world.now, SocketId(u32::from(number % 2)), from, &datagram);
            if wide % 5 == 0 {
                let pair = world.agents[A].pairs().next().map(|pair| pair.id);
                pair.into_iter().for_each(|pair| world.agents[A].nominate(world.now, pair));
            }
            world.agents[A].handle_timeout(world.now);
            while let Some(transmit) = world.agents[A].poll_transmit() {
                answered.extend(Message::parse(&transmit.bytes).map(|message| message.transaction()));
            }
            while world.agents[A].poll_event().is_some() {}
        }
        prop_assert!(world.agents[A].pairs().count() <= 100);
        prop_assert!(world.agents[A].local_candidates().count() <= 2 + 2 * 9);
    }
}

/// What may happen to the world from one moment to the next.
#[derive(Debug, Clone)]
enum Step {
    Wait(u64),
    Add { owner: usize, v6: bool, border: u8 },
    Remove(prop::sample::Index),
    Silence(prop::sample::Index),
    Restore(prop::sample::Index),
    Loss(u64),
    SendFailed(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1..3000_u64).prop_map(Step::Wait),
        3 => (0..2_usize, any::<bool>(), 0..3_u8).prop_map(|(owner, v6, border)| Step::Add { owner, v6, border }),
        1 => any::<prop::sample::Index>().prop_map(Step::Remove),
        1 => any::<prop::sample::Index>().prop_map(Step::Silence),
        1 => any::<prop::sample::Index>().prop_map(Step::Restore),
        1 => (2..20_u64).prop_map(Step::Loss),
        1 => any::<prop::sample::Index>().prop_map(Step::SendFailed),
    ]
}

proptest! {
    #![proptest_config(cases(96))]

    /// Interfaces come, go, fall silent and lose packets at random; when peace returns and both have a
    /// socket of one family, both agree on a living path within the time of a few retries.
    #[test]
    fn agents_agree_on_a_living_path_after_any_trouble(steps in prop::collection::vec(step(), 1..40)) {
        let mut world = World::new();
        world.server = Some((address("198.51.100.1:3478"), ms(2)));
        world.signal = Some(ms(25));
        for me in [A, B] {
            world.agents[me].set_remote_credentials(world.now, credentials(1 - me));
            world.agents[me].add_stun_server(world.now, address("198.51.100.1:3478"));
            world.agents[me].start(world.now);
        }
        world.socket(A, "wlan0", "192.0.2.1:1000", Border::Firewall, ms(10));
        world.socket(B, "eth0", "192.0.2.2:1000", Border::Nat, ms(10));
        let mut gone = std::collections::BTreeSet::new();
        for step in steps {
            let count = world.ports.len();
            match step {
                Step::Wait(time) => world.run_for(ms(time)),
                Step::Add { owner, v6, border } if count < 12 => {
                    let local = if v6 { format!("[2001:db8::{}]:1000", count + 1) } else { format!("192.0.2.{}:1000", count + 1) };
                    let border = match border { 0 => Border::Open, 1 => Border::Firewall, _ if v6 => Border::Firewall, _ => Border::Nat };
                    world.socket(owner, "any", &local, border, ms(5 + count as u64));
                }
                Step::Add { .. } => {}
                // The first two stay, so that there is something to agree on.
                Step::Remove(which) if count > 2 => {
                    let socket = SocketId(2 + which.index(count - 2) as u32);
                    if gone.insert(socket) {
                        world.remove(socket);
                    }
                }
                Step::Remove(_) => {}
                Step::Silence(which) => world.ports[which.index(count)].up = false,
                Step::Restore(which) if !gone.contains(&SocketId(which.index(count) as u32)) => world.ports[which.index(count)].up = true,
                Step::Restore(_) => {}
                Step::Loss(every) => world.lose = Box::new(move |number, _, _| number % every == 0),
                Step::SendFailed(which) => {
                    let pairs: Vec<_> = world.agents[A].pairs().collect();
                    if !pairs.is_empty() {
                        let pair = &pairs[which.index(pairs.len())];
                        world.agents[A].send_failed(world.now, pair.socket, pair.remote);
                        world.drain();
                    }
                }
            }
        }
        world.lose = Box::new(|_, _, _| false);
        for port in &mut world.ports {
            port.up = !gone.contains(&port.socket);
        }
        // Longest wait of a check under way, then one retry.
        world.run_for(ms(20_000));
        let agreed = world.usable(A).any(|a| {
            let seen = world.ports[a.socket.0 as usize].public;
            world.usable(B).any(|b| b.remote == seen && world.ports[b.socket.0 as usize].public == a.remote)
        });
        prop_assert!(agreed, "A: {:#?}\nB: {:#?}", world.agents[A].pairs().collect::<Vec<_>>(), world.agents[B].pairs().collect::<Vec<_>>());
        // And nobody believes in a pair that the other end takes for dead.
        for (me, other) in [(A, B), (B, A)] {
            for pair in world.usable(me).filter(|pair| pair.state == PairState::Up) {
                let seen = world.ports[pair.socket.0 as usize].public;
                let back = world.usable(other).any(|back| back.remote == seen);
                prop_assert!(back, "{me} believes in {pair:?}");
            }
        }
        prop_assert!(world.now - world.epoch < Duration::from_secs(200));
    }
}

/// RFC 8489 section 6.3: the id alone does not make an answer.
#[test]
fn an_answer_of_another_method_is_none() {
    let mut hand = Hand::new(Role::Controlling);
    let (remote, server) = (address(REMOTE), address("198.51.100.1:3478"));
    let check = hand.check(Role::Controlled);
    hand.hear_check(remote, check);
    hand.agent.add_stun_server(hand.now, server);
    hand.pass(ms(100));
    let key = Key::short_term(hand.theirs.pwd());
    for (to, key) in [(remote, Some(&key)), (server, None)] {
        let request = hand.sent.iter().find(|(_, at, bytes)| {
            *at == to && Message::parse(bytes).is_ok_and(|message| message.class() == Class::Request)
        });
        let request = request.unwrap().2.clone();
        let request = Message::parse(&request).unwrap();
        for class in [Class::Success, Class::Error] {
            let answer = Builder::new(class, 3, request.transaction()).xor_mapped_address(remote).finish(key);
            let before = format!("{:?}", hand.agent);
            assert_eq!(hand.hear(to, &answer), Err(Rejected::UnknownTransaction));
            assert_eq!(before, format!("{:?}", hand.agent));
        }
        let answer = Builder::response(Class::Success, &request).xor_mapped_address(remote).finish(key);
        assert_eq!(hand.hear(to, &answer), Ok(()));
    }
}

/// RFC 8489 sections 6.3.3 and 6.3.4: the transaction has failed, at once.
#[test]
fn an_answer_with_what_must_be_understood_and_is_not_ends_its_request() {
    for class in [Class::Success, Class::Error] {
        let mut hand = Hand::new(Role::Controlling);
        let remote = address(REMOTE);
        let check = hand.check(Role::Controlled);
        hand.hear_check(remote, check);
        hand.pass(ms(100));
        let key = Key::short_term(hand.theirs.pwd());
        let sent = hand.taken();
        let requests: Vec<Message> = sent
            .iter()
            .filter_map(|(_, _, bytes)| Message::parse(bytes).ok())
            .filter(|message| message.class() == Class::Request)
            .collect();
        let strange = Builder::response(class, &requests[0]).xor_mapped_address(remote);
        let strange = strange.attribute(0x7f01, b"what?").unwrap().finish(Some(&key));
        assert_eq!(hand.hear(remote, &strange), Err(Rejected::BadAttributes));
        assert_eq!(hand.pair(remote).state, PairState::Failed);
        let why = hand.events.iter().find_map(|event| match event {
            Event::CheckFailed { why, .. } => Some(*why),
            _ => None,
        });
        assert_eq!(why, Some(CheckError::BadAttributes));
        assert_eq!(hand.hear(remote, &strange), Err(Rejected::UnknownTransaction), "it is over");
    }
}

#[test]
fn names_that_the_other_agent_gives_are_cut_to_32_bytes() {
    let mut hand = Hand::new(Role::Controlling);
    let long = RemoteCandidate {
        kind: CandidateKind::Host,
        address: address("192.0.2.20:2000"),
        priority: 1,
        foundation: "7".repeat(33),
        interface: Some(format!("x{}", "\u{e9}".repeat(40))),
    };
    hand.agent.add_remote_candidate(hand.now, long);
    let known = hand.agent.remote_candidates().next().unwrap();
    assert_eq!(known.foundation, "7".repeat(32));
    assert_eq!(known.interface, Some(format!("x{}", "\u{e9}".repeat(15))), "no letter is cut in two");
    assert_eq!(hand.pair(address("192.0.2.20:2000")).remote_interface, known.interface);
}
