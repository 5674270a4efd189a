//! What may happen while a network runs: interfaces go silent, hosts get other addresses, NATs forget.

use crate::common::*;
use netmodel::*;
use std::{collections::BTreeSet, net::SocketAddr, time::Duration};

fn give_address(world: &mut World, name: &str) -> Addresses {
    let port = world.port(name);
    world.change(Change::Address { port }).expect("an address is left");
    world.network.addresses(port).expect("the port exists")
}

fn rebind(world: &mut World, network: &str) {
    let network = world.plan.network(network).expect("a network of the topology");
    world.change(Change::NatRebind { network }).expect("it has a NAT");
}

/// From one host's address to another's, whoever they belong to by now.
fn datagram(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    build_udp(from, to, b"").expect("a datagram")
}

#[test]
fn a_silent_interface_neither_sends_nor_receives() {
    let mut world = World::usual();
    world.set_silent("dave", true);
    world.send("dave", 1, world.ipv4("meet", 1), b"unsent");
    world.send("meet", 1, world.ipv6("dave", 1), b"unheard");
    assert_eq!(world.take_drops(), [DropCause::Silenced; 2]);
    for direction in [Direction::Up, Direction::Down] {
        assert_eq!(world.dropped("dave", direction, DropCause::Silenced), 1);
    }
    // Others are not concerned.
    world.send("alice", 1, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.set_silent("dave", false);
    world.send("dave", 1, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.send("meet", 1, world.ipv4("dave", 1), b"");
    world.take_one("dave");
}

#[test]
fn what_is_in_flight_when_silence_begins_is_never_delivered() {
    let mut world = World::usual();
    let dave = world.ipv4("dave", 1);
    world.send("meet", 1, dave, b"on its way down");
    world.run(SERVER_DELAY + ms(2));
    world.send("dave", 1, world.ipv4("meet", 1), b"on its way up");
    world.send("meet", 1, dave, b"not there yet");
    world.run(ms(1));
    world.set_silent("dave", true);
    world.set_silent("dave", true);
    let at = world.now;
    world.run(Duration::ZERO);
    let told: Vec<_> = world.events.iter().map(|(at, _)| *at).collect();
    assert_eq!(told, [at, at], "both vanish at once");
    assert_eq!(world.causes(), [DropCause::Silenced; 2]);
    // Heard again before the third arrives: nothing that came during the silence is kept, and the rest passes.
    world.run(ms(2));
    world.set_silent("dave", false);
    assert_eq!(world.take_one("dave").udp().2, b"not there yet");
    assert_eq!(world.causes(), []);
}

#[test]
fn a_queue_is_empty_after_silence() {
    let mut topology = topology();
    topology.networks[2].up.rate = BitRate::per_second(100_000);
    let mut world = World::new(topology, 7);
    for _ in 0..5 {
        world.send("dave", 1, world.ipv4("meet", 1), &[0; 1222]);
    }
    world.set_silent("dave", true);
    assert_eq!(world.take_drops(), [DropCause::Silenced; 5]);
    world.set_silent("dave", false);
    let sent = world.now;
    world.send("dave", 1, world.ipv4("meet", 1), &[0; 1222]);
    // 1250 bytes take 100 ms, and nothing is before them.
    assert_eq!(world.take_one("meet").at - sent, ms(100) + LINK_DELAY + SERVER_DELAY);
}

#[test]
fn silence_and_reachability_are_kept_apart() {
    let mut world = World::usual();
    let passes = |world: &mut World| {
        world.send("dave", 1, world.ipv4("meet", 1), b"");
        world.run(s(1));
        (world.take().len(), world.causes())
    };
    world.set_silent("dave", true);
    world.set_reachable("dave", false);
    assert_eq!(passes(&mut world), (0, vec![DropCause::InterfaceDown]), "what the kernel knows comes first");
    world.set_reachable("dave", true);
    assert_eq!(passes(&mut world), (0, vec![DropCause::Silenced]));
    world.set_reachable("dave", false);
    world.set_silent("dave", false);
    assert_eq!(passes(&mut world), (0, vec![DropCause::InterfaceDown]));
    world.set_reachable("dave", true);
    assert_eq!(passes(&mut world), (1, vec![]));
}

#[test]
fn silence_tells_neither_the_nat_nor_the_kernel() {
    let mut world = World::usual();
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    world.events.clear();
    world.set_silent("alice", true);
    // The kernel's own packets are counted as ever.
    world.inject("alice", datagram("[fe80::1]:1".parse().unwrap(), "[ff02::2]:1".parse().unwrap()));
    world.run(s(1));
    assert_eq!(world.dropped("alice", Direction::Up, DropCause::Multicast), 1);
    assert_eq!(world.events, []);
    world.set_silent("alice", false);
    world.send("meet", 1, world.nat("home", 4000), b"the mapping is there");
    world.take_one("alice");
}

#[test]
fn another_address_is_the_next_free_one() {
    let mut world = World::usual();
    let shown = |it: Addresses| it.iter().map(|(address, prefix)| format!("{address}/{prefix}")).collect();
    let given: [Vec<String>; 4] =
        ["alice", "carol", "alice", "dave"].map(|name| shown(give_address(&mut world, name)));
    let expected = [
        ["192.168.1.4/24", "2001:db8:1::4/64"],
        ["192.168.1.5/24", "2001:db8:1::5/64"],
        ["192.168.1.6/24", "2001:db8:1::6/64"],
        ["198.18.3.3/24", "2001:db8:3::3/64"],
    ];
    assert_eq!(given, expected);
    let alice = &world.plan.ports()[0];
    assert_ne!(alice.addresses(), world.addresses("alice"), "the plan is what the network began with");
    // Through the NAT, through the firewall, and within the network.
    for to in [world.ipv4("meet", 1), world.ipv6("meet", 1)] {
        world.send("alice", 4000, to, b"");
        let source = world.take_one("meet").udp().0;
        world.send("meet", 1, source, b"answer");
        world.take_one("alice");
    }
    world.send("alice", 4000, world.ipv4("carol", 1), b"");
    world.take_one("carol");
}

#[test]
fn without_ipv6_only_the_ipv4_address_changes() {
    let mut topology = topology();
    topology.networks[0].ipv6 = Ipv6Access::None;
    let mut world = World::new(topology, 7);
    let given = give_address(&mut world, "alice");
    assert_eq!(given.ipv4.map(|(address, _)| address.to_string()), Some("192.168.1.4".into()));
    assert_eq!(given.ipv6, None);
}

#[test]
fn nobody_is_found_at_an_old_address() {
    let mut world = World::usual();
    let (ipv4, ipv6) = (world.ipv4("dave", 1), world.ipv6("dave", 1));
    give_address(&mut world, "dave");
    for (old, meet) in [(ipv4, world.ipv4("meet", 1)), (ipv6, world.ipv6("meet", 1))] {
        world.inject("dave", datagram(old, meet));
        assert_eq!(world.take_drops(), [DropCause::SourceSpoofed]);
        world.send("meet", 1, old, b"");
        assert_eq!(world.take_drops(), [DropCause::NoRoute]);
    }
    assert_eq!(world.dropped("dave", Direction::Up, DropCause::SourceSpoofed), 2);
    // Where the internet finds nobody, the drop is the sender's.
    assert_eq!(world.dropped("meet", Direction::Up, DropCause::NoRoute), 2);
    // The next holder is another host, and it alone is found there.
    for _ in 0..252 {
        give_address(&mut world, "dave");
    }
    assert_eq!(world.ipv4("dave", 1), ipv4, "used again once all others were");
    world.send("meet", 1, ipv4, b"");
    world.take_one("dave");
}

#[test]
fn of_what_is_in_flight_the_upward_goes_on_and_the_downward_finds_nobody() {
    let mut world = World::usual();
    let meet = world.ipv4("meet", 1);
    world.send("alice", 4000, meet, b"");
    world.take_one("meet");
    world.send("meet", 1, world.nat("home", 4000), b"down");
    world.run(SERVER_DELAY + ms(2));
    world.send("alice", 4000, meet, b"up");
    world.run(ms(1));
    give_address(&mut world, "alice");
    assert_eq!(world.take_one("meet").udp().2, b"up");
    assert_eq!(world.causes(), [DropCause::NoRoute]);
    assert_eq!(world.dropped("alice", Direction::Down, DropCause::NoRoute), 1);
}

#[test]
fn nobody_tells_the_border_of_another_address() {
    let mut world = World::usual();
    let (inside, outside) = (world.ipv4("alice", 4000), world.nat("home", 4000));
    let (meet, meet_ipv6, alice_ipv6) =
        (world.ipv4("meet", 1), world.ipv6("meet", 1), world.ipv6("alice", 4000));
    for to in [meet, meet_ipv6] {
        world.send("alice", 4000, to, b"");
        world.take_one("meet");
    }
    give_address(&mut world, "alice");
    // The old mapping still leads to the old address, and the old firewall state to nobody.
    world.send("meet", 1, outside, b"");
    world.send("meet", 1, alice_ipv6, b"");
    assert_eq!(world.take_drops(), [DropCause::NoRoute; 2]);
    // It also keeps its port: the new address gets the next one.
    world.send("alice", 4000, meet, b"");
    assert_eq!(world.take_one("meet").udp().0, world.nat("home", 4001));
    world.events.clear();
    // Established by the packet that found nobody.
    world.run(s(200));
    let ended: Vec<_> = world.mappings().into_iter().filter(|(_, _, _, created)| !created).collect();
    let at = LINK_DELAY + NatSpec::TIMEOUT_ESTABLISHED;
    assert!(ended.contains(&(at, inside, outside, false)), "{ended:?}");
    assert_eq!(ended.len(), 3, "IPv4 and IPv6 of the old address, IPv4 of the new one: {ended:?}");
}

#[test]
fn servers_and_full_networks_refuse_another_address() {
    let mut full = topology();
    full.hosts.extend((0..251).map(|index| host(&format!("h{index}"), &["home"])));
    let mut world = World::new(full, 7);
    let (alice, meet, nowhere) = (world.port("alice"), world.port("meet"), PortId(900));
    let before = world.addresses("alice");
    assert_eq!(world.change(Change::Address { port: alice }), Err(ChangeError::NoFreeAddress(alice)));
    assert_eq!(world.addresses("alice"), before);
    assert_eq!(world.change(Change::Address { port: meet }), Err(ChangeError::ServerAddress(meet)));
    for change in [Change::Address { port: nowhere }, Change::Silence { port: nowhere, silent: true }] {
        assert_eq!(world.change(change), Err(ChangeError::UnknownPort(nowhere)));
    }
    assert_eq!(world.network.addresses(nowhere), None);
}

#[test]
fn a_rebound_nat_gives_another_port() {
    let mut world = World::usual();
    let (meet, inside) = (world.ipv4("meet", 1), world.ipv4("alice", 4000));
    let (old, new) = (world.nat("home", 4000), world.nat("home", 4001));
    world.send("alice", 4000, meet, b"");
    world.take_one("meet");
    world.events.clear();
    rebind(&mut world, "home");
    let at = world.now;
    world.send("meet", 1, old, b"to nobody");
    world.run(s(1));
    assert_eq!(world.mappings(), [(at, inside, old, false)]);
    assert_eq!(world.causes(), [DropCause::NatNoMapping]);
    world.send("alice", 4000, meet, b"");
    assert_eq!(world.take_one("meet").udp().0, new);
    world.send("meet", 1, new, b"answer");
    assert_eq!(world.take_one("alice").udp().1, inside);
    // Filtering has forgotten, too, and one that had no mapping keeps its port.
    world.send("control", 1, new, b"");
    assert_eq!(world.take_drops(), [DropCause::NatFiltered]);
    world.send("alice", 6000, meet, b"");
    assert_eq!(world.take_one("meet").udp().0, world.nat("home", 6000));
    // However often: no port comes back.
    for expected in [4002, 4003, 4004] {
        rebind(&mut world, "home");
        rebind(&mut world, "home");
        world.send("alice", 4000, meet, b"");
        assert_eq!(world.take_one("meet").udp().0, world.nat("home", expected));
    }
}

#[test]
fn rebinding_gives_nobody_the_old_port_of_another() {
    let mut world = World::usual();
    let meet = world.ipv4("meet", 1);
    let outside_ports = |world: &mut World| -> BTreeSet<SocketAddr> {
        for port in 4000..4020 {
            world.send("alice", port, meet, b"");
            world.send("carol", port, meet, b"");
        }
        world.run(s(1));
        world.take().iter().map(|delivery| delivery.udp().0).collect()
    };
    let before = outside_ports(&mut world);
    rebind(&mut world, "home");
    let after = outside_ports(&mut world);
    assert_eq!((before.len(), after.len()), (40, 40));
    assert!(before.is_disjoint(&after));
}

#[test]
fn when_no_port_is_left_rebinding_gives_those_of_others() {
    let mut world = World::usual();
    let meet = world.ipv4("meet", 1);
    let outside_ports = |world: &mut World| -> Vec<(u16, SocketAddr)> {
        for port in 1..=1023_u16 {
            world.send("alice", port, meet, &port.to_be_bytes());
        }
        world.run(s(1));
        let read = |delivery: &Delivery| {
            let (source, _, payload) = delivery.udp();
            (u16::from_be_bytes([payload[0], payload[1]]), source)
        };
        world.take().iter().map(read).collect()
    };
    let before = outside_ports(&mut world);
    assert_eq!(before.len(), 1023);
    rebind(&mut world, "home");
    let after = outside_ports(&mut world);
    assert_eq!(after.len(), 1023);
    assert!(after.iter().all(|pair| !before.contains(pair)));
}

#[test]
fn rebinding_touches_neither_the_firewall_nor_other_networks() {
    let mut world = World::usual();
    for (name, to) in
        [("alice", world.ipv6("meet", 1)), ("bob", world.ipv4("meet", 1)), ("bob", world.ipv6("meet", 1))]
    {
        world.send(name, 4000, to, b"");
        world.take_one("meet");
    }
    world.events.clear();
    rebind(&mut world, "home");
    world.run(Duration::ZERO);
    assert_eq!(world.events, []);
    for (name, at) in [
        ("alice", world.ipv6("alice", 4000)),
        ("bob", world.nat("o2", 4000)),
        ("bob", world.ipv6("bob", 4000)),
    ] {
        world.send("meet", 1, at, b"");
        world.take_one(name);
    }
    // And each ends when it would have ended anyway.
    world.run(s(200));
    assert_eq!(world.mappings().len(), 3);
    assert_eq!(world.network.deadline(), None);
}

#[test]
fn a_rebound_session_ends_by_its_own_time() {
    let mut world = World::usual();
    let (meet, inside) = (world.ipv4("meet", 1), world.ipv4("alice", 4000));
    world.send("alice", 4000, meet, b"");
    world.run(s(10));
    rebind(&mut world, "home");
    let sent = world.now;
    world.send("alice", 4000, meet, b"");
    world.run(s(100));
    let ended = sent + LINK_DELAY + NatSpec::TIMEOUT_INITIAL;
    assert_eq!(world.mappings().last(), Some(&(ended, inside, world.nat("home", 4001), false)));
    assert_eq!(world.mappings().len(), 4);
    assert_eq!(world.network.deadline(), None);
}

#[test]
fn only_a_nat_can_be_rebound() {
    let mut world = World::usual();
    let open = world.plan.network("open").expect("a network of the topology");
    assert_eq!(world.change(Change::NatRebind { network: open }), Err(ChangeError::NoNat(open)));
    let nowhere = NetworkId(3);
    assert_eq!(
        world.change(Change::NatRebind { network: nowhere }),
        Err(ChangeError::UnknownNetwork(nowhere))
    );
    assert_eq!(world.plan.network("internet"), None);
}

/// Steady traffic through all of it.
fn trace(seed: u64) -> (Vec<Delivery>, Vec<(Duration, NetworkEvent)>) {
    let mut topology = topology();
    for network in &mut topology.networks {
        network.up.jitter = ms(7);
        network.down.jitter = ms(7);
    }
    let mut world = World::new(topology, seed);
    for step in 0..200 {
        for name in ["alice", "bob", "dave"] {
            world.send(name, 5000, world.ipv4("meet", 3478), &[step]);
        }
        for home in [world.nat("home", 5000), world.nat("home", 5001)] {
            world.send("meet", 3478, home, &[step]);
        }
        match step {
            40 => world.set_silent("bob", true),
            80 => world.set_silent("bob", false),
            100 => drop(give_address(&mut world, "dave")),
            120 => rebind(&mut world, "home"),
            160 => drop(give_address(&mut world, "alice")),
            _ => {}
        }
        world.run(ms(10));
    }
    world.run(s(1));
    (world.take(), world.events)
}

#[test]
fn changes_are_a_function_of_the_seed() {
    assert_eq!(trace(5), trace(5));
    assert_ne!(trace(5).0, trace(6).0);
}

#[test]
fn changes_of_one_host_leave_the_draws_of_others_alone() {
    let of_dave = |silence: bool| {
        let mut topology = topology();
        topology.networks[2].up.jitter = ms(7);
        let mut world = World::new(topology, 5);
        for step in 0..50 {
            world.send("dave", 5000, world.ipv4("meet", 3478), &[step]);
            world.send("bob", 5000, world.ipv4("meet", 3478), b"bob");
            if silence && step == 10 {
                world.set_silent("bob", true);
                rebind(&mut world, "o2");
            }
            world.run(ms(10));
        }
        world.run(s(1));
        let mut all = world.take();
        all.retain(|delivery| delivery.udp().2 != b"bob");
        all
    };
    assert_eq!(of_dave(false), of_dave(true));
}
