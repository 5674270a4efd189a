//! `iceperf probe path` and `iceperf probe control` through the kernel's own filters and routes, which know nothing of
//! what is being probed.

use crate::{
    calls::{scenarios, server},
    lab::{Host, Lab, Rights, loudly, with},
};
use nix::sys::signal::Signal;
use record::EventKind;
use serde_json::Value;
use std::process::Command;

scenarios! {
    the_kernels_filter_of_stun_is_found_and_nothing_else
    what_routes_send_elsewhere_is_a_wrong_route_and_no_block
}

/// Both ends signal inside the connection that comes about over the interfaces that pass.
fn probe(lab: &Lab, arguments: &str) -> Vec<Value> {
    let mut server = server(lab, "");
    lab.shell(Host::Server, "ip address add 10.0.9.3/24 dev eth0");
    let mut control = lab.start(Host::Server, "probe control --ticket-file t --bind 10.0.9.3:47111");
    control.wait_for("the control", |event| matches!(event, EventKind::Ready { .. }));
    let line = format!("probe path --ticket-file t --control 10.0.9.3:47111 --json {arguments}");
    let mut client = lab.start(Host::Client, &line);
    client.ends_with(0);
    server.ends_with(0);
    control.signal(Signal::SIGTERM);
    control.ends_with(0);
    assert!(client.stderr().contains("verdict"), "a table for people: {}", client.story());
    let document: Value = serde_json::from_str(&client.stdout()).unwrap();
    let events = client.events();
    let told = events.iter().filter(|event| matches!(event.what, EventKind::Blocking(_))).count();
    let found = document["blocking"].as_array().unwrap().clone();
    assert_eq!((found.len(), told), (4, 4), "two interfaces, two directions: {found:?}");
    found
}

fn verdict(found: &[Value], interface: &str, direction: &str) -> String {
    let is = |one: &&Value| one["local_interface"] == interface && one["direction"] == direction;
    found.iter().find(is).unwrap()["verdict"].as_str().unwrap().to_owned()
}

fn the_kernels_filter_of_stun_is_found_and_nothing_else(lab: &Lab) {
    if !Command::new("nft").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return loudly("NOT TESTED: there is no nft here, so no filter to be found");
    }
    // The magic cookie, 32 bits after 32 of the payload, which begins after the 64 of UDP's header.
    lab.shell(
        Host::Router,
        "nft 'add table ip t
              add chain ip t forward { type filter hook forward priority 0; }
              add rule ip t forward iifname r1 meta l4proto udp @th,96,32 0x2112a442 drop'",
    );
    let found = probe(lab, "");
    assert_eq!(verdict(&found, "wlan0", "out"), "stun-filtered", "{found:?}");
    for (interface, direction) in [("wlan0", "in"), ("wwan0", "out"), ("wwan0", "in")] {
        assert_eq!(verdict(&found, interface, direction), "open", "{found:?}");
    }
    let filtered = found.iter().find(|one| one["verdict"] == "stun-filtered").unwrap();
    assert_eq!(
        (&filtered["plain"]["arrived"], &filtered["variants"]["first-byte"]["arrived"]),
        (&0.into(), &0.into())
    );
    assert!(filtered["variants"]["cookie"]["arrived"].as_u64() > Some(0), "{filtered}");
    assert_eq!(filtered["control"], "partial");
}

/// As on 06.06, 11:30: the best metric takes it all.
fn what_routes_send_elsewhere_is_a_wrong_route_and_no_block(lab: &Lab) {
    let found = probe(lab, "--bind none");
    for direction in ["out", "in"] {
        assert_eq!(verdict(&found, "wwan0", direction), "inconclusive", "{found:?}");
    }
    let wrong = found.iter().find(|one| one["verdict"] == "inconclusive").unwrap();
    assert!(wrong["why"].as_str().unwrap().contains("wrong route: at this end"), "{wrong}");
    assert_eq!(verdict(&found, "wlan0", "out"), "open", "{found:?}");
}
