//! The same with a TURN server, through which everybody can be met who has a network: so there always is a path, with
//! every policy that takes one wherever it is, whoever believes that he is the controlling agent, and whatever restarts
//! come in between.

use std::collections::BTreeMap;

use ice::policy::{Keeping, OnLoss};
use ice::{CandidateKind, Config, PairView, Policy, Role};
use netmodel::ServerSpec;
use proptest::prelude::*;

use super::{Land, Model, Step, World, nat_kind, step, world};
use crate::cases;
use crate::nat::{can_meet, classes};
use crate::net::{A, B, config, ms};

/// The limit of pairs is not what is looked for here: three dual-stack interfaces a side and a relay come near it, and
/// NATs that map by destination beyond.
const MOST_PAIRS: usize = 400;

fn configs(roles: [Role; 2], policies: &[Policy; 2]) -> [Config; 2] {
    [A, B].map(|me| Config { policy: policies[me].clone(), max_pairs: MOST_PAIRS, ..config(me, roles[me]) })
}

fn model(world: &World, seed: u64, roles: [Role; 2], policies: &[Policy; 2]) -> Model {
    let mut topology = world.topology();
    topology.servers.push(ServerSpec::new("turn", ms(6)));
    Model::with(topology, seed, configs(roles, policies))
}

/// Whether a pair joins these interfaces, directly or by a relay's address that was asked for on one of them.
fn meet(model: &Model, i: usize, j: usize) -> bool {
    let names = [i, j].map(|number| format!("if{number}"));
    let by_relay = |me: usize, other: usize| {
        let here = |pair: &PairView| pair.state.is_usable() && pair.interface == names[me];
        let relayed = |pair: PairView| {
            let mut theirs = model.agents[other].local_candidates();
            theirs.any(|local| {
                local.kind == CandidateKind::Relay
                    && local.address == pair.remote
                    && local.interface == names[other]
            })
        };
        model.agents[me].pairs().filter(here).any(relayed)
    };
    by_relay(A, B) || by_relay(B, A) || model.usable_between(&names[A], &names[B])
}

fn check_all(world: &World, model: &Model) -> Result<(), TestCaseError> {
    for i in 0..world.interfaces[A].len() {
        for j in 0..world.interfaces[B].len() {
            prop_assert!(meet(model, i, j), "a.if{} and b.if{}", i, j);
        }
    }
    check_roles(model)
}

fn check_roles(model: &Model) -> Result<(), TestCaseError> {
    prop_assert_eq!(model.agents[A].role(), model.agents[B].role().opposite());
    Ok(())
}

fn roles() -> impl Strategy<Value = [Role; 2]> {
    let role = || prop::sample::select(vec![Role::Controlling, Role::Controlled]);
    [role(), role()]
}

/// Those that take whatever path there is. Quick Share takes none but the local one.
fn policies() -> impl Strategy<Value = [Policy; 2]> {
    let policy = || {
        let presets =
            vec![Policy::multipath(), Policy::rfc8445(), Policy::whatsapp(), Policy::prototype_2024()];
        prop::sample::select(presets)
    };
    [policy(), policy()]
}

/// Trouble, or a restart by either end.
#[derive(Debug, Clone)]
enum Event {
    Trouble(Step),
    Restart(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![5 => step().prop_map(Event::Trouble), 2 => (0..2_usize).prop_map(Event::Restart)];
    prop::collection::vec(event, 1..20)
}

proptest! {
    #![proptest_config(cases(6))]

    #[test]
    fn with_a_relay_every_interface_meets_every_other(world in world(), roles in roles(), seed: u64) {
        let mut model = model(&world, seed, roles, &[Policy::multipath(), Policy::multipath()]);
        model.run_for(ms(15_000));
        check_all(&world, &model)?;
    }

    #[test]
    fn with_a_relay_there_is_a_path_whatever_the_policies(
        world in world(), roles in roles(), policies in policies(), seed: u64,
    ) {
        let mut model = model(&world, seed, roles, &policies);
        model.run_for(ms(15_000));
        for me in [A, B] {
            prop_assert!(model.agents[me].pairs().any(|pair| pair.state.is_usable()), "none at {}", me);
        }
        check_roles(&model)?;
    }

    /// Any of the 9 by 9, several at once, with a second family or without: each pair as theory says.
    #[test]
    fn one_to_three_interfaces_a_side_are_as_theory_says(sides in [side(), side()], roles in roles(), seed: u64) {
        let lands: Vec<Land> = sides.concat();
        let (a, all) = (sides[A].len(), lands.len());
        let policies = [Policy::multipath(), Policy::multipath()];
        let topology = super::topology(&lands, &[(0..a).collect(), (a..all).collect()]);
        let mut model = Model::with(topology, seed, configs(roles, &policies));
        model.run_for(ms(20_000));
        for (i, from) in sides[A].iter().enumerate() {
            for (j, to) in sides[B].iter().enumerate() {
                let classes = [from, to].map(|land| land.nat.expect("all have one").1);
                let both = [from, to].iter().all(|land| land.ipv6 != netmodel::Ipv6Access::None);
                let found = model.usable_between(&format!("if{i}"), &format!("if{j}"));
                prop_assert_eq!(found, can_meet(classes) || both, "a.if{} and b.if{}", i, j);
            }
        }
        // Who never meets never learns what the other believes.
        if model.agents[A].pairs().any(|pair| pair.state.is_usable()) {
            check_roles(&model)?;
        }
        prop_assert_eq!(model.disagreement(), None);
    }
}

fn home(class: crate::nat::Class) -> Land {
    let nat = Some((netmodel::NatKind::Home, class));
    Land { nat, ipv6: netmodel::Ipv6Access::None, block: None, delay: 1, jitter: 0 }
}

/// The challenge was for the address that the NAT gave before, and so is its nonce.
#[test]
fn a_nat_that_changes_addresses_while_a_relay_is_asked_only_delays_it() {
    use crate::nat::Dependence::Address;
    let mut topology = super::topology(&[(); 2].map(|()| home((Address, Address))), &[vec![0], vec![1]]);
    topology.servers.push(ServerSpec::new("turn", ms(6)));
    let policies = [Policy::multipath(), Policy::multipath()];
    let mut model = Model::with(topology, 0, configs([Role::Controlling, Role::Controlled], &policies));
    model.run_for(ms(13));
    for (_, _, port) in model.host_ports() {
        let network = model.plan.network(&model.plan.network_of(port).unwrap().name).unwrap();
        model.network.apply(model.now, netmodel::Change::NatRebind { network }).unwrap();
    }
    model.run_for(ms(70_000));
    assert!(meet(&model, 0, 0));
}

/// Who is asked behind a NAT that maps by destination answers from another address than was asked, a conflict of roles
/// included.
#[test]
fn roles_are_settled_through_nats_that_map_by_destination() {
    use crate::nat::Dependence::{Address, Endpoint};
    for role in [Role::Controlling, Role::Controlled] {
        for classes in [[(Address, Endpoint), (Address, Address)], [(Address, Address), (Address, Endpoint)]]
        {
            for seed in 0..8 {
                let topology = super::topology(&classes.map(home), &[vec![0], vec![1]]);
                let policies = [Policy::multipath(), Policy::multipath()];
                let mut model = Model::with(topology, seed, configs([role; 2], &policies));
                model.run_for(ms(20_000));
                assert!(model.usable_between("if0", "if0"), "{role:?} {classes:?} {seed}");
                assert_eq!(model.agents[A].role(), model.agents[B].role().opposite());
            }
        }
    }
}

/// Networks of one end's interfaces, each behind a NAT of its own.
fn side() -> impl Strategy<Value = Vec<Land>> {
    use netmodel::Ipv6Access::{Firewalled, None, Open};
    let ipv6 = prop::sample::select(vec![None, Firewalled, Open]);
    let land = (nat_kind(), prop::sample::select(classes()), ipv6, 1_u64..40);
    let land = land.prop_map(|(kind, class, ipv6, delay)| Land {
        nat: Some((kind, class)),
        ipv6,
        block: Option::None,
        delay,
        jitter: 0,
    });
    prop::collection::vec(land, 1..=3)
}

/// Pairs are kept once a second: minutes of a hundred of them are to be afforded, and what is looked for is whether they
/// are found, not how soon a loss is noticed.
fn unhurried() -> Policy {
    let every = Keeping::every(ms(1000));
    Policy { active: every, idle: every, ..Policy::multipath() }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn with_a_relay_all_meet_again_after_trouble_and_restarts(
        world in world(), roles in roles(), seed: u64, events in events(),
    ) {
        let mut model = model(&world, seed, roles, &[unhurried(), unhurried()]);
        let mut down = BTreeMap::new();
        for event in events {
            match event {
                Event::Trouble(step) => model.take(step, &mut down),
                Event::Restart(me) => model.restart(me, false),
            }
        }
        model.make_peace(down);
        // As without a relay; and an allocation that was given up is asked for again after a minute.
        model.run_for(ms(130_000));
        check_all(&world, &model)?;
    }
}

/// Probes on, and restarts when the last pair went.
fn restarting() -> Policy {
    Policy { on_loss: OnLoss::Restart, ..unhurried() }
}

proptest! {
    #![proptest_config(cases(4))]

    #[test]
    fn with_a_relay_both_have_a_path_again_after_trouble_that_restarts_answer(
        world in world(), roles in roles(), seed: u64, steps in prop::collection::vec(step(), 1..20),
    ) {
        let policies = [Policy::rfc8445(), restarting()];
        let mut model = model(&world, seed, roles, &policies);
        let mut down = BTreeMap::new();
        steps.into_iter().for_each(|step| model.take(step, &mut down));
        model.make_peace(down);
        model.run_for(ms(130_000));
        for me in [A, B] {
            prop_assert!(model.agents[me].pairs().any(|pair| pair.state.is_usable()), "none at {}", me);
        }
        check_roles(&model)?;
    }
}
