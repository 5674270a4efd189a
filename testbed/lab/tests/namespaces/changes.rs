//! Scenes of what no link state shows: silence, other addresses, a NAT that forgets.

use crate::{
    scenes::{Listener, stage},
    support::{Stage, bind, is_silent, receive, try_bind},
};
use lab::{LabChange, LabError, LabEvent};
use netmodel::{DropCause, NetworkEvent};
use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    path::Path,
    time::Instant,
};

fn silence(host: &str, interface: &str) -> LabChange {
    LabChange::Silence { host: host.into(), interface: interface.into() }
}

fn restore(host: &str, interface: &str) -> LabChange {
    LabChange::Restore { host: host.into(), interface: interface.into() }
}

fn give_address(host: &str, interface: &str) -> LabChange {
    LabChange::Address { host: host.into(), interface: interface.into() }
}

fn rebind(network: &str) -> LabChange {
    LabChange::NatRebind { network: network.into() }
}

/// Applies it and checks that it took effect within the call.
pub(crate) fn apply(stage: &Stage, change: LabChange) -> Instant {
    let before = Instant::now();
    let at = stage.lab.apply(change.clone()).unwrap_or_else(|error| panic!("{change:?}: {error}"));
    assert!(before <= at && at <= Instant::now());
    at
}

pub(crate) fn drops(stage: &Stage) -> Vec<DropCause> {
    let causes = stage.events.try_iter().filter_map(|(_, event)| match event {
        LabEvent::Network(NetworkEvent::Dropped { cause, .. }) => Some(cause),
        _ => None,
    });
    causes.collect()
}

/// A packet there and one back; the source as it was seen there.
pub(crate) fn exchange(here: &UdpSocket, there: &UdpSocket) -> SocketAddr {
    here.send_to(b"there", there.local_addr().unwrap()).expect("a way there");
    let (message, from) = receive(there).expect("it arrives");
    assert_eq!(message, b"there");
    there.send_to(b"and back", from).unwrap();
    assert_eq!(receive(here), Some((b"and back".to_vec(), there.local_addr().unwrap())));
    from
}

pub(crate) fn silent(tun: &Path) {
    let stage = stage(tun);
    let laptop = stage.socket("laptop", "wlan0", false);
    let meet = stage.socket("meet", "eth0", false);
    let outside = exchange(&laptop, &meet);
    let routes = [false, true].map(|ipv6| stage.routes("laptop", ipv6).len());
    let mut listener = stage.inside("laptop", Listener::new);

    apply(&stage, silence("laptop", "wlan0"));
    laptop.send_to(b"into the void", meet.local_addr().unwrap()).expect("the kernel does not mind");
    assert!(is_silent(&meet));
    meet.send_to(b"out of the void", outside).unwrap();
    assert!(is_silent(&laptop));
    assert_eq!(drops(&stage), [DropCause::Silenced; 2]);
    // Nothing tells: no news, the routes are there, the address can be bound, and the other interface works.
    assert!(!listener.has_news(), "the kernel has not noticed");
    assert_eq!([false, true].map(|ipv6| stage.routes("laptop", ipv6).len()), routes);
    stage.socket("laptop", "wlan0", true);
    exchange(&stage.socket("laptop", "wwan0", false), &meet);

    apply(&stage, restore("laptop", "wlan0"));
    assert!(!listener.has_news(), "nor now");
    assert_eq!(exchange(&laptop, &meet), outside, "the mapping is still there");
    // Silence does not go away with the carrier.
    let off = LabChange::CarrierOff { host: "laptop".into(), interface: "wlan0".into() };
    let on = LabChange::CarrierOn { host: "laptop".into(), interface: "wlan0".into() };
    for change in [silence("laptop", "wlan0"), off, on] {
        apply(&stage, change);
    }
    laptop.send_to(b"still nothing", meet.local_addr().unwrap()).unwrap();
    assert!(is_silent(&meet));
    apply(&stage, restore("laptop", "wlan0"));
    exchange(&laptop, &meet);

    // A server, too.
    apply(&stage, silence("meet", "eth0"));
    laptop.send_to(b"anybody there?", meet.local_addr().unwrap()).unwrap();
    assert!(is_silent(&meet));
    stage.lab.finish().expect("a report");
}

pub(crate) fn address(tun: &Path) {
    let stage = stage(tun);
    let meets = [false, true].map(|ipv6| stage.socket("meet", "eth0", ipv6));
    let old = [false, true].map(|ipv6| stage.socket("laptop", "wlan0", ipv6));
    for (laptop, meet) in old.iter().zip(&meets) {
        exchange(laptop, meet);
    }
    let routes = [false, true].map(|ipv6| routes(&stage, ipv6));
    let others = stage.lab.addresses("laptop", "wwan0").unwrap();

    let mut times = Vec::new();
    for round in 0..10_u8 {
        let gone = stage.lab.addresses("laptop", "wlan0").unwrap();
        let before = Instant::now();
        apply(&stage, give_address("laptop", "wlan0"));
        times.push(before.elapsed());
        let shown: Vec<String> = stage.lab.addresses("laptop", "wlan0").unwrap().iter().map(show).collect();
        let number = 3 + round;
        assert_eq!(shown, [format!("192.168.1.{number}/24"), format!("2001:db8:1::{number:x}/64")]);
        for (address, _) in &gone {
            stage.inside("laptop", || try_bind("wlan0", *address).expect_err("it is gone"));
        }
        // At once: bound, routed, through the NAT and the firewall.
        for meet in &meets {
            let source = new_source(&stage, meet.local_addr().unwrap().is_ipv6());
            exchange(&stage.inside("laptop", || bind("wlan0", source)), meet);
        }
    }
    times.sort();
    println!("measured: another address took {:?} (median), {:?} (slowest of 10)", times[5], times[9]);
    // A route to the subnet and a default route, with the metrics that they had.
    assert_eq!([false, true].map(|ipv6| self::routes(&stage, ipv6)), routes);
    assert_eq!(stage.lab.addresses("laptop", "wwan0").unwrap(), others);

    // Sockets of the old address are on their own.
    drops(&stage);
    for (laptop, meet) in old.iter().zip(&meets) {
        match laptop.send_to(b"from nobody", meet.local_addr().unwrap()) {
            Ok(_) => assert!(is_silent(meet)),
            Err(error) => assert!(error.raw_os_error().is_some(), "{error}"),
        }
    }
    assert!(drops(&stage).iter().all(|cause| *cause == DropCause::SourceSpoofed));

    // One that is down has its new addresses when it comes up.
    let (host, interface) = ("laptop".to_owned(), "wlan0".to_owned());
    apply(&stage, LabChange::Down { host: host.clone(), interface: interface.clone() });
    apply(&stage, give_address("laptop", "wlan0"));
    apply(&stage, LabChange::Up { host, interface });
    assert_eq!(show(&stage.lab.addresses("laptop", "wlan0").unwrap()[0]), "192.168.1.13/24");
    for meet in &meets {
        let source = new_source(&stage, meet.local_addr().unwrap().is_ipv6());
        exchange(&stage.inside("laptop", || bind("wlan0", source)), meet);
    }
    assert_eq!([false, true].map(|ipv6| self::routes(&stage, ipv6)), routes);

    let server = stage.lab.apply(give_address("meet", "eth0")).expect_err("a server");
    assert_eq!(server.to_string(), "`meet` is a server: its addresses never change");
    let unknown = stage.lab.apply(give_address("laptop", "eth7")).expect_err("no such interface");
    assert_eq!(unknown.to_string(), "there is no interface `laptop.eth7`");
    assert!(matches!(stage.lab.addresses("toaster", "eth0"), Err(LabError::UnknownInterface { .. })));
    stage.lab.finish().expect("a report");
}

pub(crate) fn show((address, prefix): &(IpAddr, u8)) -> String {
    format!("{address}/{prefix}")
}

pub(crate) fn new_source(stage: &Stage, ipv6: bool) -> IpAddr {
    let addresses = stage.lab.addresses("laptop", "wlan0").expect("an interface of the plan");
    let own = addresses.into_iter().find(|(address, _)| address.is_ipv6() == ipv6);
    own.expect("an address of that family").0
}

/// Destination, prefix, metric and interface of each unicast route; local routes name addresses, which change.
pub(crate) fn routes(stage: &Stage, ipv6: bool) -> Vec<String> {
    const METRIC_OF_LOCAL: &str = "00000000";
    let text = stage.routes("laptop", ipv6);
    let columns = text.iter().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut routes: Vec<String> = match ipv6 {
        false => columns.skip(1).map(|of| format!("{} {} {} {}", of[0], of[1], of[7], of[6])).collect(),
        true => columns
            .filter(|of| of[9] != "lo" && of[5] != METRIC_OF_LOCAL)
            .map(|of| format!("{} {} {} {}", of[9], of[0], of[1], of[5]))
            .collect(),
    };
    routes.sort();
    routes
}

pub(crate) fn nat(tun: &Path) {
    let stage = stage(tun);
    let meets = [false, true].map(|ipv6| stage.socket("meet", "eth0", ipv6));
    let laptops = [false, true].map(|ipv6| stage.socket("laptop", "wlan0", ipv6));
    let mobile = stage.socket("laptop", "wwan0", false);
    let before = exchange(&laptops[0], &meets[0]);
    let of_mobile = exchange(&mobile, &meets[0]);
    exchange(&laptops[1], &meets[1]);
    stage.events.try_iter().for_each(drop);

    let at = apply(&stage, rebind("home"));
    meets[0].send_to(b"to where you were", before).unwrap();
    assert!(is_silent(&laptops[0]));
    let after = exchange(&laptops[0], &meets[0]);
    assert_eq!(after.ip(), before.ip());
    assert_ne!(after.port(), before.port());
    // Neither the other network's NAT nor the firewall has forgotten.
    meets[0].send_to(b"you are still there", of_mobile).unwrap();
    assert!(receive(&mobile).is_some());
    meets[1].send_to(b"and so are you", laptops[1].local_addr().unwrap()).unwrap();
    assert!(receive(&laptops[1]).is_some());

    let events: Vec<_> = stage.events.try_iter().collect();
    let [
        (when, LabEvent::Network(ended)),
        (_, LabEvent::Network(dropped)),
        (_, LabEvent::Network(begun)),
        ..,
    ] = events.as_slice()
    else {
        panic!("{events:?}")
    };
    assert!(matches!(ended, NetworkEvent::Mapping { outside, created: false, .. } if *outside == before));
    assert!(*when <= at);
    assert!(matches!(dropped, NetworkEvent::Dropped { cause: DropCause::NatNoMapping, .. }));
    assert!(
        matches!(begun, NetworkEvent::Mapping { outside, created: true, .. } if *outside == after),
        "{events:?}"
    );
    let none = stage.lab.apply(rebind("campus")).expect_err("no NAT");
    assert_eq!(none.to_string(), "network `campus` has no NAT");
    let unknown = stage.lab.apply(rebind("moon")).expect_err("no such network");
    assert_eq!(unknown.to_string(), "there is no network `moon`");
    stage.lab.finish().expect("a report");
}
