//! Scenes of what changes about networks: interfaces that roam, metrics, links, filters, NATs that forget.

use crate::{
    changes::{apply, drops, exchange, new_source, routes, show},
    scenes::stage,
    support::{CAFE_DELAY, HOME_DELAY, Stage, bind, is_silent},
};
use lab::LabChange;
use netmodel::{Block, BlockAnswer, BlockDirection, DropCause, LinkSpec, Loss, NetworkId, Probability};
use std::{
    net::UdpSocket,
    path::Path,
    time::{Duration, Instant},
};

const MEET_DELAY: Duration = Duration::from_millis(5);

fn roam_to(network: &str) -> LabChange {
    LabChange::Roam { host: "laptop".into(), interface: "wlan0".into(), network: network.into() }
}

fn carrier(on: bool) -> LabChange {
    let (host, interface) = ("laptop".into(), "wlan0".into());
    if on { LabChange::CarrierOn { host, interface } } else { LabChange::CarrierOff { host, interface } }
}

fn round_trip(here: &UdpSocket, there: &UdpSocket) -> Duration {
    let began = Instant::now();
    exchange(here, there);
    began.elapsed()
}

fn addresses(stage: &Stage) -> Vec<String> {
    stage.lab.addresses("laptop", "wlan0").unwrap().iter().map(show).collect()
}

pub(crate) fn roam(tun: &Path) {
    let stage = stage(tun);
    let meets = [false, true].map(|ipv6| stage.socket("meet", "eth0", ipv6));
    let at_home = stage.socket("laptop", "wlan0", false);
    let seen = exchange(&at_home, &meets[0]);
    let home_routes = [false, true].map(|ipv6| routes(&stage, ipv6));

    apply(&stage, carrier(false));
    at_home.send_to(b"into the gap", meets[0].local_addr().unwrap()).expect("the kernel does not mind");
    assert!(is_silent(&meets[0]));
    drops(&stage);
    apply(&stage, roam_to("cafe"));
    apply(&stage, carrier(true));
    // The cafe has no IPv6, and what was there of it is gone.
    assert_eq!(addresses(&stage), ["192.168.4.2/24"]);
    let of_wlan0 = |routes: &[String]| routes.iter().filter(|route| route.starts_with("wlan0")).count();
    assert_eq!(of_wlan0(&routes(&stage, false)), 2, "{:?}", routes(&stage, false));
    let ipv6 = routes(&stage, true);
    // But for the multicast route of a device that is up.
    assert!(
        ipv6.iter().all(|route| !route.starts_with("wlan0") || route.starts_with("wlan0 ff00")),
        "{ipv6:?}"
    );
    let source = new_source(&stage, false);
    let here = stage.inside("laptop", || bind("wlan0", source));
    assert!(round_trip(&here, &meets[0]) >= 2 * (CAFE_DELAY + MEET_DELAY));
    assert_ne!(exchange(&here, &meets[0]).ip(), seen.ip(), "the NAT of the cafe");
    meets[0].send_to(b"to where you were", seen).unwrap();
    assert!(is_silent(&here));

    // Home again, and without a gap.
    apply(&stage, roam_to("home"));
    assert_eq!(addresses(&stage), ["192.168.1.3/24", "2001:db8:1::3/64"]);
    assert_eq!([false, true].map(|ipv6| routes(&stage, ipv6)), home_routes);
    for meet in &meets {
        let source = new_source(&stage, meet.local_addr().unwrap().is_ipv6());
        let here = stage.inside("laptop", || bind("wlan0", source));
        assert!(round_trip(&here, meet) >= 2 * (HOME_DELAY + MEET_DELAY));
    }

    let unknown = stage.lab.apply(roam_to("moon")).expect_err("no such network");
    assert_eq!(unknown.to_string(), "there is no network `moon`");
    let server = LabChange::Roam { host: "meet".into(), interface: "eth0".into(), network: "home".into() };
    assert!(stage.lab.apply(server).is_err(), "servers stay");
    let report = stage.lab.finish().expect("a report");
    assert_eq!(report.radios, [], "nobody has a radio");
}

pub(crate) fn metric(tun: &Path) {
    let stage = stage(tun);
    let metric =
        |value| LabChange::Metric { host: "laptop".into(), interface: "wlan0".into(), metric: value };
    let before = [false, true].map(|ipv6| routes(&stage, ipv6));
    let chosen = |ipv6: bool| {
        let meet = stage.address("meet", "eth0", ipv6);
        stage.inside("laptop", || {
            let any = if ipv6 { "[::]:0" } else { "0.0.0.0:0" };
            let socket = UdpSocket::bind(any).unwrap();
            socket.connect((meet, 9)).unwrap();
            socket.local_addr().unwrap().ip()
        })
    };
    for ipv6 in [false, true] {
        assert_eq!(chosen(ipv6), stage.address("laptop", "wlan0", ipv6));
    }
    apply(&stage, metric(700));
    for ipv6 in [false, true] {
        assert_eq!(chosen(ipv6), stage.address("laptop", "wwan0", ipv6));
    }
    // Every route of the interface went along, also over a time in which it was down.
    let (host, interface) = ("laptop".to_owned(), "wlan0".to_owned());
    apply(&stage, LabChange::Down { host: host.clone(), interface: interface.clone() });
    apply(&stage, metric(800));
    apply(&stage, LabChange::Up { host, interface });
    apply(&stage, metric(200));
    assert_eq!([false, true].map(|ipv6| routes(&stage, ipv6)), before);

    let taken = stage.lab.apply(metric(600)).expect_err("wwan0 has it");
    assert_eq!(taken.to_string(), "two interfaces of `laptop` have metric 600: each needs its own");
    stage.lab.finish().expect("a report");
}

pub(crate) fn change(tun: &Path) {
    let stage = stage(tun);
    let meet = stage.socket("meet", "eth0", false);
    let laptop = stage.socket("laptop", "wlan0", false);
    let seen = exchange(&laptop, &meet);

    let slow = Duration::from_millis(80);
    let link = |up: LinkSpec| LabChange::Link {
        network: "home".into(),
        down: Box::new(LinkSpec::with_delay(HOME_DELAY)),
        up: Box::new(up),
    };
    apply(&stage, link(LinkSpec::with_delay(slow)));
    assert!(round_trip(&laptop, &meet) >= slow + HOME_DELAY + 2 * MEET_DELAY);
    let all = Loss::Independent(Probability::ALWAYS);
    apply(&stage, link(LinkSpec { loss: all, ..LinkSpec::with_delay(HOME_DELAY) }));
    laptop.send_to(b"lost", meet.local_addr().unwrap()).unwrap();
    assert!(is_silent(&meet));
    assert_eq!(drops(&stage), [DropCause::Lost]);
    apply(&stage, link(LinkSpec::with_delay(HOME_DELAY)));

    let udp = Block::Udp { direction: BlockDirection::Out, answer: BlockAnswer::Silence };
    let block = |blocks| LabChange::Blocks { network: "home".into(), blocks };
    apply(&stage, block(vec![udp]));
    laptop.send_to(b"blocked", meet.local_addr().unwrap()).unwrap();
    assert!(is_silent(&meet));
    assert_eq!(drops(&stage), [DropCause::CarrierUdp]);
    apply(&stage, block(vec![]));
    assert_eq!(exchange(&laptop, &meet), seen, "the mapping is still there");

    apply(&stage, LabChange::NatFlush { network: "home".into() });
    meet.send_to(b"to a mapping that is gone", seen).unwrap();
    assert!(is_silent(&laptop));
    assert_eq!(exchange(&laptop, &meet), seen, "a NAT that preserves ports gives the same again");

    let report = stage.lab.finish().expect("a report");
    let [(network, count)] = report.blocks.as_slice() else { panic!("one rule: {:?}", report.blocks) };
    assert_eq!((network.as_str(), count.block, count.dropped), ("home", udp, 1));
    assert_eq!(stage.plan.network("home"), Some(NetworkId(0)));
}
