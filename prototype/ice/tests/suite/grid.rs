//! Every NAT against every NAT, on one interface and on several: a path wherever theory says that there is one, and
//! no belief in one where there is none.

use proptest::prelude::*;

use crate::cases;
use crate::nat::{Class, Dependence, can_meet, classes};
use crate::net::{A, B, Border, World, address, ms};

const SERVER: &str = "198.51.100.1:3478";

/// Both ends with these NATs, one interface each entry, in each other's knowledge.
fn ends(nats: [&[Class]; 2], delays: [u64; 2]) -> World {
    let mut world = World::new();
    world.server = Some((address(SERVER), ms(2)));
    world.signal = Some(ms(20));
    for me in [A, B] {
        world.agents[me].add_stun_server(world.now, address(SERVER));
        world.agents[me].start(world.now);
        world.agents[me].set_remote_credentials(world.now, crate::net::credentials(1 - me));
    }
    for me in [A, B] {
        for (number, (mapping, filtering)) in nats[me].iter().enumerate() {
            let local = format!("10.{me}.{number}.2:1000");
            let border = Border::Class(*mapping, *filtering);
            world.socket(me, &format!("if{number}"), &local, border, ms(delays[me] + 3 * number as u64));
        }
    }
    world
}

#[test]
fn theory_says_what_is_known_of_nats() {
    use Dependence::{Address, AddressAndPort, Endpoint};
    for class in classes() {
        assert!(can_meet([(Endpoint, Endpoint), class]), "a full cone meets everybody: {class:?}");
        assert!(can_meet([(Endpoint, AddressAndPort), (Endpoint, class.1)]));
    }
    assert!(
        !can_meet([(Endpoint, AddressAndPort), (AddressAndPort, AddressAndPort)]),
        "port restricted and symmetric"
    );
    assert!(!can_meet([(AddressAndPort, AddressAndPort); 2]), "symmetric and symmetric");
    assert!(
        can_meet([(Endpoint, Address), (AddressAndPort, AddressAndPort)]),
        "address restricted and symmetric"
    );
}

#[test]
fn the_9_by_9_grid_of_nats_is_as_theory_says() {
    let mut wrong = Vec::new();
    let mut met = 0;
    for a in classes() {
        for b in classes() {
            let mut world = ends([&[a], &[b]], [10, 15]);
            let found = world.run_until_usable(ms(5_000));
            met += usize::from(found);
            if found != can_meet([a, b]) {
                wrong.push((a, b, found));
            }
        }
    }
    assert_eq!(wrong, []);
    assert!((40..81).contains(&met), "{met} of 81 meet");
}

/// Each check comes from a port that nobody has seen, and so may be answered by another such: it has to end.
#[test]
fn two_nats_that_map_by_destination_and_let_anybody_in_come_to_rest() {
    let class = (Dependence::AddressAndPort, Dependence::Endpoint);
    let mut world = ends([&[class], &[class]], [10, 15]);
    world.run_for(ms(60_000));
    for me in [A, B] {
        let seen = world.agents[me].remote_candidates().count();
        assert!(seen <= 20, "{seen} candidates");
        let late = world.sent[me].iter().filter(|(at, ..)| *at > ms(50_000)).count();
        assert!(late < 300, "{late} datagrams in 10 s");
    }
}

/// Nobody believes for long in a pair that the other end does not believe in.
fn assert_agreement(world: &World) -> Result<(), TestCaseError> {
    for (me, other) in [(A, B), (B, A)] {
        for pair in world.usable(me) {
            let theirs = world.usable(other).any(|back| {
                let (mine, yours) =
                    (&world.ports[pair.socket.0 as usize], &world.ports[back.socket.0 as usize]);
                // A NAT has one address here, and as many ports as it likes.
                mine.public.ip() == back.remote.ip() && yours.public.ip() == pair.remote.ip()
            });
            prop_assert!(theirs, "{me} believes in {pair:?}");
        }
    }
    Ok(())
}

fn nats() -> impl Strategy<Value = Vec<Class>> {
    prop::collection::vec(prop::sample::select(classes()), 1..=3)
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn one_to_three_interfaces_a_side_find_every_pair_that_can_meet(
        a in nats(), b in nats(), delays in [1_u64..60, 1_u64..60], every in prop::option::of(3_u64..20),
    ) {
        let mut world = ends([&a, &b], delays);
        if let Some(every) = every {
            world.lose = Box::new(move |number, _, _| number % every == 0);
        }
        world.run_for(ms(10_000));
        world.lose = Box::new(|_, _, _| false);
        world.run_for(ms(45_000));
        for (i, from) in a.iter().enumerate() {
            for (j, to) in b.iter().enumerate() {
                let socket = ice::SocketId(i as u32);
                let theirs = world.ports[a.len() + j].public.ip();
                let found = world.usable(A).any(|pair| pair.socket == socket && pair.remote.ip() == theirs);
                prop_assert_eq!(found, can_meet([*from, *to]), "{:?} -> {:?}", from, to);
            }
        }
        assert_agreement(&world)?;
    }
}
