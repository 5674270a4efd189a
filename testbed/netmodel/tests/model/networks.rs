//! LAN segments, roaming, distances on the internet, and radios.

use crate::common::*;
use netmodel::*;
use std::net::SocketAddr;

const MDNS: [&str; 2] = ["224.0.0.251:5353", "[ff02::fb]:5353"];

/// `alice`, `carol` and `erin` at home.
fn three_at_home() -> Topology {
    let mut topology = topology();
    topology.hosts.push(host("erin", &["home"]));
    topology
}

#[test]
fn multicast_reaches_all_others_of_the_segment_and_nobody_else() {
    let mut world = World::new(three_at_home(), 1);
    for group in MDNS.map(|group| group.parse::<SocketAddr>().unwrap()) {
        world.send("alice", 5353, group, b"who is there?");
        world.run(s(1));
        let mut heard: Vec<_> = world.take().iter().map(|delivery| (delivery.port, delivery.at)).collect();
        heard.sort();
        let at = world.now - s(1) + LINK_DELAY * 2;
        assert_eq!(heard, [(world.port("carol"), at), (world.port("erin"), at)]);
    }
    let home = world.ipv4("alice", 9);
    let broadcast = SocketAddr::new([192, 168, 1, 255].into(), 9);
    world.send("carol", home.port(), broadcast, b"");
    world.run(s(1));
    assert_eq!(world.take().len(), 2);
    assert_eq!(world.causes(), []);
    let packets = |name, direction| {
        let counts = world.network.counts();
        let port = Some(world.port(name));
        counts.iter().find(|link| link.port == port && link.direction == direction).unwrap().packets
    };
    assert_eq!((packets("alice", Direction::Up), packets("erin", Direction::Down)), (2, 3));
}

#[test]
fn a_network_can_keep_its_hosts_apart() {
    let mut topology = three_at_home();
    topology.networks[0].multicast = false;
    let mut world = World::new(topology, 1);
    world.send("alice", 5353, MDNS[0].parse().unwrap(), b"");
    assert_eq!(world.take_drops(), []);
    assert_eq!(world.dropped("alice", Direction::Up, DropCause::Multicast), 1);
}

#[test]
fn who_roams_has_the_links_and_addresses_of_the_other_network() {
    let mut topology = topology();
    topology.networks[2].up.delay = ms(50);
    let mut world = World::new(topology, 1);
    let (port, old) = (world.port("alice"), world.ipv4("alice", 4000));
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    let outside = world.take_one("meet").udp().0;
    world.send("alice", 4000, world.ipv4("meet", 1), b"on the way");
    let network = world.plan.network("open").unwrap();
    world.change(Change::Roam { port, network }).unwrap();
    assert_eq!(world.take_drops(), [DropCause::InterfaceDown]);
    assert_eq!(world.network_name("alice").as_deref(), Some("open"));
    // Behind dave, who was there before.
    assert_eq!(world.ipv4("alice", 1).ip().to_string(), "198.18.3.3");
    assert_eq!(world.ipv6("alice", 1).ip().to_string(), "2001:db8:3::3");
    let sent = world.now;
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    let delivery = world.take_one("meet");
    assert_eq!((delivery.udp().0, delivery.at - sent), (world.ipv4("alice", 4000), ms(50) + SERVER_DELAY));
    // Nobody has told the old NAT, and nobody is there any more.
    world.send("meet", 1, outside, b"");
    assert_eq!(world.take_drops(), [DropCause::NoRoute]);
    world.inject("alice", build_udp(old, world.ipv4("meet", 1), b"").unwrap());
    assert_eq!(world.take_drops(), [DropCause::SourceSpoofed]);
    let told = |world: &World| -> Vec<(String, Direction, u64, u64)> {
        let counts = world.network.counts().into_iter().filter(|link| link.port == Some(port));
        counts.map(|link| (link.network, link.direction, link.packets, link.dropped.values().sum())).collect()
    };
    let (open, home) = ("open".to_owned(), "home".to_owned());
    let (up, down) = (Direction::Up, Direction::Down);
    // What it did before is told as of where it was.
    let both = [
        (open.clone(), up, 1, 1),
        (open.clone(), down, 0, 0),
        (home.clone(), up, 1, 1),
        (home.clone(), down, 0, 0),
    ];
    assert_eq!(told(&world), both);
    // Back again it has another address; the old one has not been forgotten as used.
    let network = world.plan.network("home").unwrap();
    world.change(Change::Roam { port, network }).unwrap();
    assert_eq!(world.ipv4("alice", 1).ip().to_string(), "192.168.1.4");
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    world.take_one("meet");
    let both = [(home.clone(), up, 2, 1), (home, down, 0, 0), (open.clone(), up, 1, 1), (open, down, 0, 0)];
    assert_eq!(told(&world), both);
}

#[test]
fn a_guest_behind_a_hotspot_leaves_by_it() {
    // The hotspot is a network behind the carrier's, which exists before anybody joins it.
    let mut topology = topology();
    let hotspot = network("hotspot", Some(NatKind::Home), Ipv6Access::Firewalled);
    topology.networks.push(NetworkSpec { behind: Some("o2".into()), ..hotspot });
    let mut world = World::new(topology, 1);
    let network = world.plan.network("hotspot").unwrap();
    world.change(Change::Roam { port: world.port("alice"), network }).unwrap();
    world.send("alice", 4000, world.ipv4("meet", 1), b"");
    let delivery = world.take_one("meet");
    assert_eq!(delivery.udp().0, world.nat("o2", 4000));
    assert_eq!(delivery.at, LINK_DELAY * 2 + SERVER_DELAY);
}

/// `erin` has a modem and WiFi at home, and `spot` is what she may open.
fn with_a_phone() -> Topology {
    let mut topology = topology();
    topology.hosts.push(host("erin", &["o2", "home"]));
    topology.networks.push(network("spot", Some(NatKind::Home), Ipv6Access::Firewalled));
    topology
}

fn hotspot(world: &World, access_point: &str, uplink: &str) -> Change {
    let port = |interface| world.plan.port_of("erin", interface).unwrap();
    let network = world.plan.network("spot").unwrap();
    Change::Hotspot { network, access_point: port(access_point), uplink: port(uplink) }
}

/// Endpoints of an interface, IPv4 first; from another port than its guests'.
fn own(world: &World, port: PortId) -> [SocketAddr; 2] {
    let addresses = world.network.addresses(port).unwrap();
    let (ipv4, ipv6) = (addresses.ipv4.unwrap().0, addresses.ipv6.unwrap().0);
    [SocketAddr::new(ipv4.into(), 5000), SocketAddr::new(ipv6.into(), 5000)]
}

#[test]
fn guests_of_a_hotspot_leave_by_its_hosts_own_link() {
    let mut world = World::new(with_a_phone(), 1);
    world.change(hotspot(&world, "if1", "if0")).unwrap();
    let (modem, ap) =
        (world.plan.port_of("erin", "if0").unwrap(), world.plan.port_of("erin", "if1").unwrap());
    let network = world.plan.network("spot").unwrap();
    world.change(Change::Roam { port: world.port("alice"), network }).unwrap();
    assert_eq!(own(&world, ap).map(|at| at.ip().to_string()), ["192.168.4.1", "2001:db8:4::1"]);
    for ipv6 in [false, true] {
        let meet = if ipv6 { world.ipv6("meet", 1) } else { world.ipv4("meet", 1) };
        let sent = world.now;
        world.send("alice", 4000, meet, b"out");
        let delivery = world.take_one("meet");
        assert_eq!(
            delivery.at - sent,
            LINK_DELAY * 2 + SERVER_DELAY,
            "its own link, the modem's, the server's"
        );
        let outside = delivery.udp().0;
        assert_eq!(outside, if ipv6 { world.ipv6("alice", 4000) } else { world.nat("o2", 4000) });
        world.inject("meet", build_udp(meet, outside, b"back").unwrap());
        assert_eq!(world.take_one("alice").udp().2, b"back");
        // What is for the phone itself comes to the phone.
        world.inject_at(modem, build_udp(own(&world, modem)[usize::from(ipv6)], meet, b"mine").unwrap());
        let mine = world.take_one("meet").udp().0;
        world.inject("meet", build_udp(meet, mine, b"yours").unwrap());
        assert_eq!(world.take_one_at(modem).udp().2, b"yours");
        // Neighbours need no uplink.
        let near = if ipv6 { world.ipv6("alice", 9) } else { world.ipv4("alice", 9) };
        let far = own(&world, ap)[usize::from(ipv6)];
        world.inject("alice", build_udp(near, far, b"near").unwrap());
        assert_eq!(world.take_one_at(ap).udp().0, near);
    }
    assert_eq!(world.causes(), []);
    let counts = world.network.counts();
    let up = |link: &&LinkCounts| link.port == Some(modem) && link.direction == Direction::Up;
    assert_eq!(counts.iter().find(up).unwrap().packets, 4, "two of the guest's, two of the phone's");
}

#[test]
fn a_hotspot_follows_its_uplink_and_ends_with_its_access_point() {
    let mut world = World::new(with_a_phone(), 1);
    world.change(hotspot(&world, "if1", "if0")).unwrap();
    let (modem, ap) =
        (world.plan.port_of("erin", "if0").unwrap(), world.plan.port_of("erin", "if1").unwrap());
    let [spot, open, home] = ["spot", "open", "home"].map(|name| world.plan.network(name).unwrap());
    world.change(Change::Roam { port: world.port("alice"), network: spot }).unwrap();
    let meet = world.ipv4("meet", 1);
    world.send("alice", 4000, meet, b"");
    let before = world.take_one("meet").udp().0;
    // In the open there is no NAT but the phone's own.
    world.change(Change::Roam { port: modem, network: open }).unwrap();
    world.send("alice", 4000, meet, b"");
    let after = world.take_one("meet").udp().0;
    assert_eq!((after.ip(), after != before), (own(&world, modem)[0].ip(), true));
    world.change(Change::InterfaceState { port: modem, reachable: false }).unwrap();
    world.send("alice", 4000, meet, b"");
    assert_eq!(world.take_drops(), [DropCause::InterfaceDown]);
    world.change(Change::InterfaceState { port: modem, reachable: true }).unwrap();
    world.change(Change::Silence { port: ap, silent: true }).unwrap();
    world.send("alice", 4000, meet, b"");
    assert_eq!(world.take_drops(), [DropCause::Silenced]);
    world.change(Change::Silence { port: ap, silent: false }).unwrap();
    world.send("alice", 4000, meet, b"");
    world.take_one("meet");
    world.change(Change::Roam { port: ap, network: home }).unwrap();
    world.send("alice", 4000, meet, b"");
    assert_eq!(world.take_drops(), [DropCause::InterfaceDown]);
}

#[test]
fn hotspots_are_refused_that_cannot_be() {
    let mut world = World::new(with_a_phone(), 1);
    let before = own(&world, world.plan.port_of("erin", "if1").unwrap());
    let itself = hotspot(&world, "if1", "if1");
    assert!(matches!(world.change(itself), Err(ChangeError::Unsound(PlanError::BehindItself { .. }))));
    let Change::Hotspot { access_point, uplink, network } = hotspot(&world, "if1", "if0") else { panic!() };
    let open = world.plan.network("open").unwrap();
    let no_nat = Change::Hotspot { network: open, access_point, uplink };
    assert_eq!(world.change(no_nat), Err(ChangeError::NoNat(open)));
    let meet = world.port("meet");
    let server = Change::Hotspot { network, access_point, uplink: meet };
    assert_eq!(world.change(server), Err(ChangeError::ServerAddress(meet)));
    assert_eq!(own(&world, access_point), before, "nothing has happened");
    world.change(Change::Hotspot { network, access_point, uplink }).unwrap();
    let inwards = Change::Roam { port: uplink, network };
    assert!(matches!(world.change(inwards), Err(ChangeError::Unsound(PlanError::BehindItself { .. }))));
}

#[test]
fn roaming_is_refused_where_it_cannot_be() {
    let mut world = World::usual();
    let (alice, meet) = (world.port("alice"), world.port("meet"));
    let roam = |port, network| Change::Roam { port, network };
    let home = world.plan.network("home").unwrap();
    assert_eq!(world.change(roam(meet, home)), Err(ChangeError::ServerAddress(meet)));
    assert_eq!(world.change(roam(PortId(99), home)), Err(ChangeError::UnknownPort(PortId(99))));
    assert_eq!(world.change(roam(alice, NetworkId(9))), Err(ChangeError::UnknownNetwork(NetworkId(9))));
    let before = world.addresses("alice");
    assert_eq!(world.change(roam(alice, home)), Ok(()));
    assert_eq!(world.addresses("alice"), before, "it is there already");
}

#[test]
fn distances_hold_for_pairs_and_both_ways() {
    let mut topology = topology();
    topology.networks[0].distances = [("o2".into(), ms(30)), ("meet".into(), ms(7))].into();
    let mut world = World::new(topology, 1);
    let mut time = |from: &str, to: &str, port: u16| {
        let (sent, to_address) = (world.now, world.ipv6(to, port));
        world.send(from, 4000, to_address, b"");
        world.run(s(1));
        world.take().first().map(|delivery| delivery.at - sent)
    };
    assert_eq!(time("alice", "meet", 1), Some(LINK_DELAY + ms(7) + SERVER_DELAY));
    assert_eq!(time("meet", "dave", 1), Some(LINK_DELAY + SERVER_DELAY));
    assert_eq!(time("alice", "control", 1), Some(LINK_DELAY + SERVER_DELAY));
    // Each firewall opens from inside.
    assert_eq!(time("bob", "alice", 4000), None);
    assert_eq!(time("alice", "bob", 4000), Some(LINK_DELAY + ms(30) + LINK_DELAY));
    assert_eq!(time("bob", "alice", 4000), Some(LINK_DELAY + ms(30) + LINK_DELAY));
}

#[test]
fn an_address_that_goes_while_a_packet_crosses_is_not_found() {
    let mut topology = topology();
    topology.networks[2].distances = [("meet".into(), ms(500))].into();
    let mut world = World::new(topology, 1);
    world.send("meet", 1, world.ipv4("dave", 1), b"");
    world.run(ms(100));
    world.change(Change::Address { port: world.port("dave") }).unwrap();
    assert_eq!(world.take_drops(), [DropCause::NoRoute]);
}

#[test]
fn unsound_networks_are_refused() {
    let refusal = |change: fn(&mut Topology)| {
        let mut topology = topology();
        change(&mut topology);
        Plan::new(topology).unwrap_err().to_string()
    };
    assert_eq!(
        refusal(|it| it.networks[0].behind = Some("o3".into())),
        "`home` names `o3`, which is no network of this scenario"
    );
    let circle = refusal(|it| {
        it.networks[0].behind = Some("o2".into());
        it.networks[1].behind = Some("home".into());
    });
    assert_eq!(circle, "`home` is behind itself");
    let leads_to_one = refusal(|it| {
        it.networks[2].behind = Some("o2".into());
        it.networks[1].behind = Some("o2".into());
    });
    assert_eq!(leads_to_one, "`o2` is behind itself");
    let no_ipv6 = refusal(|it| {
        it.networks[0].behind = Some("o2".into());
        it.networks[1].ipv6 = Ipv6Access::None;
    });
    assert_eq!(no_ipv6, "`home` has IPv6, but `o2`, which it is behind, has not");
    assert_eq!(
        refusal(|it| it.networks[0].distances = [("mars".into(), ms(1))].into()),
        "`home` names `mars`, which is no network or server of this scenario"
    );
    let inside = refusal(|it| {
        it.networks[0].behind = Some("o2".into());
        it.networks[0].distances = [("meet".into(), ms(1))].into();
    });
    assert_eq!(inside, "`home` is not on the internet, so it has no distance there");
    assert_eq!(
        refusal(|it| it.networks[0].up.mtu = Mtu::new(1200)),
        "a link of `home` has an MTU of 1200, but IPv6 needs at least 1280"
    );
    let drx = DrxSpec { inactivity: ms(100), cycle: ms(40), on: ms(50) };
    let mut topology = topology();
    topology.networks[1].radio = Some(RadioSpec { drx: Some(drx), ..RadioSpec::LTE });
    let refused = Plan::new(topology).unwrap_err().to_string();
    assert_eq!(refused, "the radio of `o2` listens for 50ms in each cycle of 40ms");
}

#[test]
fn a_radio_holds_packets_back_and_counts_its_time() {
    let mut topology = topology();
    topology.networks[1].radio = Some(RadioSpec::LTE);
    let mut world = World::new(topology, 1);
    let bob = world.port("bob");
    let meet = world.ipv4("meet", 1);
    world.send("bob", 6000, meet, b"wakes it up");
    world.run(ms(100));
    world.send("bob", 6000, meet, b"waits, too");
    world.run(s(1));
    let at: Vec<_> = world.take().iter().map(|delivery| delivery.at).collect();
    assert_eq!(at, [ms(260) + LINK_DELAY + SERVER_DELAY; 2]);
    world.run(s(20));
    // The last packet left at 260 ms, and the inactivity timer is 11.576 s.
    let radio = world.radio(bob).unwrap();
    assert_eq!(radio, RadioCounts { connected: ms(260 + 11_576), promotions: 1 });
    // Idle again by now (21.1 s): the next paging occasion is at 21.76 s.
    world.send("meet", 1, world.nat("o2", 6000), b"pages it");
    let delivery = world.take_one_within("bob", s(2));
    assert_eq!(delivery.at, ms(21_760 + 260) + LINK_DELAY);
    assert_eq!(world.radio(bob).unwrap().promotions, 2);
    // Without a radio nothing is counted.
    assert_eq!(world.radio(world.port("alice")), Some(RadioCounts::default()));
    assert_eq!(world.radio(PortId(99)), None);
}

/// The first packet up wakes the radio at once, and what waits to be paged comes with it: whether packets leave the queue
/// by a rate or at once, and in what order they may arrive.
#[test]
fn a_page_that_is_to_come_holds_nothing_up() {
    let links = [
        LinkSpec::with_delay(LINK_DELAY),
        LinkSpec { rate: BitRate::per_second(1_000_000_000), ..LinkSpec::with_delay(LINK_DELAY) },
        LinkSpec { order: Order::Free, ..LinkSpec::with_delay(LINK_DELAY) },
    ];
    for down in links {
        let mut topology = topology();
        topology.networks[2].radio = Some(RadioSpec::LTE);
        topology.networks[2].down = down;
        let mut world = World::new(topology, 1);
        let (dave, meet) = (world.ipv4("dave", 1), world.ipv4("meet", 1));
        world.send("meet", 1, dave, b"one");
        world.send("meet", 1, dave, b"other");
        world.run(ms(80));
        world.send("dave", 1, meet, b"up");
        world.run(s(3));
        let came = |to: &str, world: &World| {
            let port = world.port(to);
            let of = world.deliveries.iter().filter(move |delivery| delivery.port == port);
            of.map(|delivery| delivery.at.as_millis() as u64).collect::<Vec<_>>()
        };
        // The promotion takes 260 ms from 80 ms on; the occasion would have been at 1280 ms.
        assert_eq!(came("meet", &world), [340 + 5 + 15]);
        assert_eq!(came("dave", &world), [340 + 5; 2]);
        assert_eq!(world.deliveries[0].udp().2, b"one");
        // What comes afterwards is not held back by what has gone.
        world.send("meet", 1, dave, b"later");
        world.run(ms(400));
        assert_eq!(world.causes(), []);
        assert!(came("dave", &world).len() == 3, "{:?}", came("dave", &world));
    }
}

#[test]
fn sleep_between_on_durations_keeps_the_order_where_links_need_not() {
    let mut topology = topology();
    topology.networks[2].radio = Some(RadioSpec::LTE);
    topology.networks[2].down = LinkSpec { order: Order::Free, ..LinkSpec::with_delay(LINK_DELAY) };
    let mut world = World::new(topology, 1);
    let (dave, meet) = (world.ipv4("dave", 1), world.ipv4("meet", 1));
    world.send("dave", 1, meet, b"wakes it up");
    // Ready at 260 ms, awake until 360 ms, then listening for 1 ms every 40 ms: at 400 ms, 440 ms.
    world.run(ms(390));
    world.take();
    for number in 0..4 {
        world.send("meet", 1, dave, &[number]);
        world.run(ms(5));
    }
    world.run(s(1));
    let came: Vec<_> = world.take().iter().map(|delivery| (delivery.udp().2[0], delivery.at)).collect();
    assert_eq!(came, [0, 1, 2, 3].map(|number| (number, ms(440) + LINK_DELAY)));
}

#[test]
fn a_radio_can_come_and_go() {
    let mut world = World::usual();
    let (bob, network) = (world.port("bob"), world.plan.network("o2").unwrap());
    world.change(Change::Radio { network, radio: Some(RadioSpec::LTE) }).unwrap();
    world.send("bob", 6000, world.ipv4("meet", 1), b"");
    assert_eq!(world.take_one("meet").at, ms(260) + LINK_DELAY + SERVER_DELAY);
    world.change(Change::Radio { network, radio: None }).unwrap();
    let sent = world.now;
    world.run(s(60));
    world.send("bob", 6000, world.ipv4("meet", 1), b"");
    assert_eq!(world.take_one("meet").at - sent, s(60) + LINK_DELAY + SERVER_DELAY);
    assert_eq!(world.radio(bob), Some(RadioCounts { connected: s(1), promotions: 1 }));
    let radio = Some(RadioSpec { promotion: s(61), ..RadioSpec::LTE });
    assert!(matches!(world.change(Change::Radio { network, radio }), Err(ChangeError::Unsound(_))));
    world.change(Change::Radio { network: NetworkId(9), radio: None }).unwrap_err();
}

#[test]
fn a_radio_that_roams_away_keeps_its_count() {
    let mut topology = topology();
    topology.networks[1].radio = Some(RadioSpec::LTE);
    let mut world = World::new(topology, 1);
    let (port, home) = (world.port("bob"), world.plan.network("home").unwrap());
    world.send("bob", 6000, world.ipv4("meet", 1), b"");
    world.run(s(1));
    world.change(Change::Roam { port, network: home }).unwrap();
    world.run(s(60));
    assert_eq!(world.radio(port), Some(RadioCounts { connected: s(1), promotions: 1 }));
}

/// What tells NATs apart has two addresses (RFC 5780 section 3); nobody else's move for it.
#[test]
fn a_server_may_have_several_addresses_of_each_family() {
    let mut topology = topology();
    topology.servers[0].addresses = std::num::NonZeroU8::new(3).unwrap();
    let mut world = World::new(topology.clone(), 1);
    let usual = World::usual();
    assert_eq!(world.ipv4("control", 1), usual.ipv4("control", 1));
    let all: Vec<String> =
        world.plan.server("meet").unwrap().all_addresses().map(|(ip, _)| ip.to_string()).collect();
    assert_eq!(
        all,
        [
            "198.51.100.1",
            "2001:db8:ffff::1",
            "198.51.100.3",
            "2001:db8:ffff::3",
            "198.51.100.4",
            "2001:db8:ffff::4"
        ]
    );
    for (address, own) in [(all[4].as_str(), "alice"), (all[5].as_str(), "bob")] {
        let to = SocketAddr::new(address.parse().unwrap(), 3478);
        world.send(own, 4000, to, b"?");
        let (from, at, _) = world.take_one("meet").udp();
        assert_eq!(at, to);
        let answer = build_udp(to, from, b"!").unwrap();
        world.inject("meet", answer);
        assert_eq!(world.take_one(own).udp().0, to);
    }
    assert_eq!(world.causes(), []);
    topology.servers[1].addresses = std::num::NonZeroU8::new(252).unwrap();
    let refused = Plan::new(topology).unwrap_err();
    assert_eq!(refused.to_string(), "255 addresses of servers in each family; at most 254 have addresses");
}
