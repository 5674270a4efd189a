//! `iceperf relay` and `iceperf probe nat` against each other, without a NAT and through the kernel's own; and the
//! tools of coturn against the relay, where they are installed.

use crate::{
    calls::scenarios,
    lab::{Host, Lab, Rights, Running, loudly, wait, with},
};
use nix::sys::signal::Signal;
use record::EventKind;
use serde_json::{Value, json};
use std::{fs, process::Command};

scenarios! {
    without_a_nat_there_is_said_to_be_none
    the_kernels_masquerading_is_recognised
    with_one_address_the_relay_and_the_prober_say_what_they_cannot
    nobody_who_answers_is_unreachable
    coturns_client_relays_through_it
}

/// With a second address, on the server.
fn relay(lab: &Lab, arguments: &str) -> Running {
    lab.shell(Host::Server, "ip address add 10.0.9.3/24 dev eth0");
    let relay = lab.start(Host::Server, &format!("relay --secret-file secret {arguments}"));
    relay.wait_for("the relay", |event| matches!(event, EventKind::Ready { .. }));
    relay
}

fn stop(mut relay: Running) -> String {
    relay.signal(Signal::SIGTERM);
    relay.ends_with(0);
    relay.stdout()
}

fn probe(lab: &Lab, arguments: &str) -> Vec<Value> {
    let mut probe = lab.start(Host::Client, &format!("probe nat 10.0.9.2 --json {arguments}"));
    probe.ends_with(0);
    let document: Value = serde_json::from_str(&probe.stdout()).unwrap();
    assert_eq!(document["probe"], "nat");
    document["interfaces"].as_array().unwrap().clone()
}

fn without_a_nat_there_is_said_to_be_none(lab: &Lab) {
    let relay = relay(lab, "");
    let found = probe(lab, "");
    let names: Vec<_> = found.iter().map(|one| one["interface"].clone()).collect();
    assert_eq!(names, ["wlan0", "wwan0"]);
    for one in &found {
        assert_eq!(one["nat"]["verdict"], false, "{one}");
        assert_eq!(one["local"], one["mapped"], "{one}");
        assert_eq!(one["filtering"]["verdict"], "none", "{one}");
        for what in ["mapping", "ports", "hairpinning"] {
            assert_eq!(one[what]["status"], "not-applicable", "{what}: {one}");
        }
    }
    let said = stop(relay);
    assert!(said.contains("discovery over IPv4: complete"), "{said}");
    assert!(said.contains("password in secret") && !said.contains(&secret(lab)), "{said}");
}

fn the_kernels_masquerading_is_recognised(lab: &Lab) {
    if !installed("nft") {
        return loudly("NOT TESTED: there is no nft here, so no NAT to be recognised");
    }
    // What comes in uninvited must not become a flow of its own: it would take the port from the one that is invited.
    lab.shell(
        Host::Router,
        "nft 'add table ip t
              add chain ip t post { type nat hook postrouting priority 100; }
              add rule ip t post oifname r9 masquerade
              add chain ip t in { type filter hook input priority 0; }
              add rule ip t in iifname r9 meta l4proto udp drop
              add rule ip t in iifname r1 meta l4proto udp drop'",
    );
    let relay = relay(lab, "");
    let found = probe(lab, "--interface wlan0");
    let [one] = &found[..] else { panic!("{found:?}") };
    assert_eq!(one["nat"]["verdict"], true, "{one}");
    assert!(one["mapped"].as_str().unwrap().starts_with("10.0.9.1:"), "{one}");
    assert_eq!(one["mapping"]["verdict"], "endpoint-independent", "{one}");
    assert_eq!(one["filtering"]["verdict"], "address-and-port-dependent", "{one}");
    assert_eq!(one["ports"]["verdict"], "preserved", "{one}");
    assert_eq!(one["hairpinning"]["verdict"], "off", "{one}");
    if installed("turnutils_natdiscovery") {
        coturn_finds(lab, ["Endpoint Independent Mapping!", "Address and Port Dependent Filtering!"]);
    } else {
        loudly("NOT TESTED: coturn's tools are not installed, so no second opinion of the NAT");
    }
    lab.shell(Host::Router, "nft 'flush chain ip t post; add rule ip t post oifname r9 masquerade random'");
    let found = probe(lab, "--interface wlan0");
    assert_eq!(found[0]["mapping"]["verdict"], "address-and-port-dependent", "{found:?}");
    assert_eq!(found[0]["ports"]["verdict"], "random", "{found:?}");
    assert_eq!(found[0]["hairpinning"]["status"], "inconclusive", "{found:?}");
    stop(relay);
}

fn with_one_address_the_relay_and_the_prober_say_what_they_cannot(lab: &Lab) {
    let relay = lab.start(Host::Server, "relay --bind 10.0.9.2");
    relay.wait_for("the relay", |event| matches!(event, EventKind::Ready { .. }));
    let mut probe = lab.start(Host::Client, "probe nat 10.0.9.2 --interface wwan0");
    probe.ends_with(0);
    let said = probe.stdout();
    assert!(said.contains("wwan0, IPv4 10.0.2.2, asked 10.0.9.2:3478"), "{said}");
    assert!(said.contains("NAT          no\n"), "{said}");
    assert!(said.contains("the server can answer from another port, but not from another address"), "{said}");
    let said = stop(relay);
    assert!(said.contains("over IPv4: one address only"), "{said}");
    assert!(said.contains("over IPv6: none"), "{said}");
}

fn nobody_who_answers_is_unreachable(lab: &Lab) {
    let mut probe = lab.start(Host::Client, "probe nat 10.0.9.2 --interface wlan0 --json");
    probe.ends_with(5);
    let document: Value = serde_json::from_str(&probe.stdout()).unwrap();
    assert_eq!(document["interfaces"][0]["nat"]["status"], "inconclusive", "{document}");
    assert_eq!(document["interfaces"][0]["server"], json!(null));
    assert!(probe.stderr().contains("no STUN server answered"), "{}", probe.story());
    let mut other = lab.start(Host::Client, "probe nat 10.0.9.2 --interface usb7");
    other.ends_with(3);
    assert!(other.stderr().contains("no interface usb7"), "{}", other.story());
    let mut family = lab.start(Host::Client, "probe nat 2001:db8::1");
    family.ends_with(3);
    assert!(family.stderr().contains("the servers' family"), "{}", family.story());
}

fn coturns_client_relays_through_it(lab: &Lab) {
    if !installed("turnutils_uclient") {
        return loudly("NOT TESTED: coturn's tools are not installed");
    }
    let relay = relay(lab, "");
    coturn_finds(lab, ["Endpoint Independent Mapping!", "Endpoint Independent Filtering!"]);
    // From one relayed address to the other, both of this host.
    lab.shell(Host::Server, "ip link set lo up");
    lab.shell(Host::Client, "turnutils_stunclient 10.0.9.2 | grep 'reflexive addr: 10.0.'");
    // Three messages of 100 bytes there and back between two of its own allocations.
    let password = secret(lab);
    let client =
        format!("turnutils_uclient -y -u iceperf -w {password} -n 3 -m 1 -l 100 -c 10.0.9.2 > {}", out(lab));
    lab.shell(Host::Client, &client);
    let told = fs::read_to_string(out(lab)).unwrap();
    assert!(told.contains("Total lost packets 0"), "{told}");
    let wrong = format!("! turnutils_uclient -y -u iceperf -w wrong -n 1 -m 1 10.0.9.2 > {}", out(lab));
    lab.shell(Host::Client, &wrong);
    let said = stop(relay);
    let allocations = said.split(", ").find_map(|part| part.strip_suffix(" allocations"));
    assert!(allocations.unwrap().parse::<u32>().unwrap() >= 2, "{said}");
}

/// What coturn's own prober says of the same NAT, by our relay.
fn coturn_finds(lab: &Lab, what: [&str; 2]) {
    lab.shell(Host::Client, &format!("timeout 30 turnutils_natdiscovery -m -f 10.0.9.2 > {}", out(lab)));
    let told = fs::read_to_string(out(lab)).unwrap();
    assert!(what.iter().all(|what| told.contains(what)), "{told}");
}

fn out(lab: &Lab) -> String {
    lab.file("uclient").display().to_string()
}

fn secret(lab: &Lab) -> String {
    wait("the secret", || lab.file("secret").exists());
    fs::read_to_string(lab.file("secret")).unwrap().trim().to_owned()
}

fn installed(program: &str) -> bool {
    let look = format!("command -v {program}");
    Command::new("sh").args(["-c", &look]).output().is_ok_and(|output| output.status.success())
}
