//! Addresses, and what cannot be planned.

use crate::common::*;
use netmodel::*;
use std::collections::BTreeSet;

#[test]
fn addresses_follow_the_documented_plan() {
    let world = World::usual();
    let shown = |name: &str| (world.ipv4(name, 1).ip().to_string(), world.ipv6(name, 1).ip().to_string());
    assert_eq!(shown("alice"), ("192.168.1.2".into(), "2001:db8:1::2".into()));
    assert_eq!(shown("carol"), ("192.168.1.3".into(), "2001:db8:1::3".into()));
    assert_eq!(shown("bob"), ("100.64.2.2".into(), "2001:db8:2::2".into()));
    assert_eq!(shown("dave"), ("198.18.3.2".into(), "2001:db8:3::2".into()));
    assert_eq!(shown("meet"), ("198.51.100.1".into(), "2001:db8:ffff::1".into()));
    assert_eq!(world.plan.nat_address("home").unwrap().to_string(), "203.0.113.1");
    assert_eq!(world.plan.nat_address("open"), None);
    let prefixes = |port: &Port| (port.ipv4.map(|(_, prefix)| prefix), port.ipv6.map(|(_, prefix)| prefix));
    assert!(world.plan.ports().iter().all(|port| prefixes(port) == (Some(24), Some(64))));
}

#[test]
fn ports_are_found_by_name() {
    let mut topology = topology();
    topology.hosts.push(host("laptop", &["home", "o2"]));
    let plan = Plan::new(topology).unwrap();
    let port = plan.port_of("laptop", "if1").unwrap();
    assert_eq!(plan.port(port).unwrap().owner.interface(), "if1");
    assert_eq!(plan.network_of(port).unwrap().name, "o2");
    assert_eq!(plan.port_of("meet", SERVER_INTERFACE), plan.server("meet").map(|port| port.id));
    assert_eq!(plan.port_of("laptop", "if2"), None);
    assert_eq!(plan.server("laptop"), None);
    assert!(plan.share_network("laptop", "bob") && plan.share_network("alice", "laptop"));
    assert!(!plan.share_network("alice", "bob") && !plan.share_network("alice", "meet"));
}

#[test]
fn the_largest_plan_gives_no_address_twice() {
    let name = |index: usize| format!("n{index}");
    let networks = (0..254).map(|index| network(&name(index), Some(NatKind::Home), Ipv6Access::Open));
    let mut largest = Topology { networks: networks.collect(), ..topology() };
    largest.hosts = (0..253).map(|index| host(&format!("h{index}"), &[&name(index % 2)])).collect();
    largest.hosts.extend((0..127).map(|index| host(&format!("g{index}"), &[&name(0)])).skip(1));
    let server = |index| ServerSpec::new(format!("s{index}"), ms(1));
    largest.servers = (0..254).map(server).collect();
    let plan = Plan::new(largest.clone()).unwrap();
    let ipv4: BTreeSet<_> = plan.ports().iter().filter_map(|port| port.ipv4).collect();
    let ipv6: BTreeSet<_> = plan.ports().iter().filter_map(|port| port.ipv6).collect();
    assert_eq!((ipv4.len(), ipv6.len()), (plan.ports().len(), plan.ports().len()));

    largest.hosts.push(host("one-too-many", &[&name(0)]));
    let refused = Plan::new(largest.clone()).unwrap_err();
    assert_eq!(refused.to_string(), "254 interfaces in network `n0`; at most 253 have addresses");
    largest.hosts.pop();
    largest.servers.push(server(254));
    assert!(matches!(Plan::new(largest.clone()), Err(PlanError::TooMany { count: 255, limit: 254, .. })));
    largest.servers.pop();
    largest.networks.push(network("n254", None, Ipv6Access::None));
    assert!(matches!(Plan::new(largest), Err(PlanError::TooMany { count: 255, limit: 254, .. })));
}

#[test]
fn unsound_topologies_are_refused() {
    let refusal = |change: fn(&mut Topology)| {
        let mut topology = topology();
        change(&mut topology);
        Plan::new(topology).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(|it| it.hosts[0].interfaces[0].network = "hme".into()),
        "`alice.if0` is attached to `hme`, which is no network of this scenario"
    );
    assert_eq!(refusal(|it| it.hosts[0].interfaces.clear()), "host `alice` has no interface");
    assert_eq!(refusal(|it| it.networks[0].name = "o2".into()), "two networks are called `o2`");
    assert_eq!(refusal(|it| it.servers[0].name = "bob".into()), "two hosts or servers are called `bob`");
    assert_eq!(
        refusal(|it| it.hosts[0].interfaces.extend_from_within(..)),
        "two interfaces of one host are called `if0`"
    );
    assert_eq!(
        refusal(|it| it.networks[0].name = INTERNET.into()),
        "the name `internet` is reserved for what lies between the networks"
    );
    assert_eq!(
        refusal(|it| it.networks[0].up.delay = s(61)),
        "delay of `home` is 61s; at most 60s is possible"
    );
    assert_eq!(
        refusal(|it| it.networks[1].down.jitter = s(61)),
        "jitter of `o2` is 61s; at most 60s is possible"
    );
    assert_eq!(
        refusal(|it| it.servers[1].delay = s(90)),
        "delay of `control` is 90s; at most 60s is possible"
    );
    let narrow = refusal(|it| {
        it.networks[0].down.rate = BitRate::per_second(1);
        it.networks[0].down.queue = ByteSize(1499);
    });
    assert_eq!(narrow, "the queue of `home` holds 1499 bytes; a link with a rate needs at least 1500");
    let timeouts = |initial, established| NatSpec {
        timeout_initial: initial,
        timeout_established: established,
        ..NatSpec::new(NatKind::Home)
    };
    for (initial, established) in [(s(0), s(1)), (s(30), s(29)), (s(30), s(100_000))] {
        let mut topology = topology();
        topology.networks[0].nat = Some(timeouts(initial, established));
        assert!(matches!(Plan::new(topology), Err(PlanError::Timeouts { .. } | PlanError::TooLong { .. })));
    }
}

#[test]
fn a_rate_is_never_zero_and_rounds_up() {
    assert_eq!(BitRate::per_second(0), None);
    let rate = BitRate::per_second(3).unwrap();
    assert_eq!(rate.bits_per_second(), 3);
    assert_eq!(rate.time_for(1).as_nanos(), 2_666_666_667);
}
