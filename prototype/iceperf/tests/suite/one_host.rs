//! Both ends on one host: over loopback or an address of its own, and no loopback address is told to another host.

use crate::{
    calls::{scenarios, server},
    lab::{Host, Lab, Rights, with},
};
use record::{EventKind, PathState};

scenarios! {
    a_call_on_one_host_has_a_path
    a_transfer_on_one_host_is_complete
    a_host_with_nothing_but_loopback_is_enough
    another_host_gets_no_loopback_candidate
}

/// The names of the interfaces that carried something.
fn runs(lab: &Lab, client_arguments: &str) -> Vec<String> {
    let mut server = server(lab, "");
    let mut client = lab.start(Host::Server, &format!("client --ticket-file t {client_arguments}"));
    client.ends_with(0);
    server.ends_with(0);
    let carried_by = |event: record::Event| match event.what {
        EventKind::Path { interface, state: PathState::Active, .. } => Some(interface),
        _ => None,
    };
    client.events().into_iter().filter_map(carried_by).collect()
}

fn a_call_on_one_host_has_a_path(lab: &Lab) {
    lab.shell(Host::Server, "ip link set lo up");
    assert!(!runs(lab, "--time 1").is_empty());
}

fn a_transfer_on_one_host_is_complete(lab: &Lab) {
    lab.shell(Host::Server, "ip link set lo up");
    assert!(!runs(lab, "-n 2MB -R").is_empty());
}

fn a_host_with_nothing_but_loopback_is_enough(lab: &Lab) {
    lab.shell(Host::Server, "ip link set lo up && ip link set eth0 down");
    let carried_by = runs(lab, "--time 1");
    assert!(!carried_by.is_empty() && carried_by.iter().all(|name| name == "lo"), "{carried_by:?}");
}

fn another_host_gets_no_loopback_candidate(lab: &Lab) {
    lab.shell(Host::Server, "ip link set lo up");
    lab.shell(Host::Client, "ip link set lo up");
    let mut server = server(lab, "");
    let mut client = lab.start(Host::Client, "client --ticket-file t --time 1");
    client.ends_with(0);
    server.ends_with(0);
    for event in client.events() {
        let text = format!("{:?}", event.what);
        assert!(!text.contains("127.0.0.1") && !text.contains("[::1]"), "{text}");
    }
    for event in server.events() {
        let EventKind::RemoteCandidate { .. } = &event.what else { continue };
        let text = format!("{:?}", event.what);
        assert!(!text.contains("127.0.0.1") && !text.contains("[::1]"), "{text}");
    }
}
