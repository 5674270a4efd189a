//! Ends that are not good ones: wrong tickets, nobody there, no port, no device.

use crate::{
    calls::{path_is, scenarios, server},
    lab::{Host, Lab, Rights, has_line, wait, with},
};
use nix::sys::signal::Signal;
use peer::{Fingerprint, Secret, Ticket};
use record::{EventKind, PathState};
use std::fs;

scenarios! {
    wrong_tickets_are_refused_and_the_server_goes_on
    nobody_there_is_unreachable
    a_server_that_is_gone_is_unreachable_whatever_the_times
    a_server_that_dies_is_told_as_silence
    a_directory_of_somebody_else_is_the_machines_fault
    a_port_in_use_and_a_missing_device_are_the_machines_fault
    a_restarted_server_has_the_same_ticket
}

fn write(lab: &Lab, name: &str, ticket: &Ticket) {
    use std::os::unix::fs::PermissionsExt as _;
    fs::write(lab.file(name), format!("{ticket}\n")).unwrap();
    fs::set_permissions(lab.file(name), fs::Permissions::from_mode(0o644)).unwrap();
}

fn wrong_tickets_are_refused_and_the_server_goes_on(lab: &Lab) {
    let mut server = server(lab, "");
    let right: Ticket = fs::read_to_string(lab.file("t")).unwrap().parse().unwrap();
    write(lab, "wrong-certificate", &Ticket { fingerprint: Fingerprint([7; 32]), ..right.clone() });
    write(lab, "wrong-secret", &Ticket { secret: Secret([7; 16]), ..right });
    for wrong in ["wrong-secret", "wrong-certificate"] {
        let mut client =
            lab.start(Host::Client, &format!("client --ticket-file {wrong} --connect-timeout 3s"));
        client.ends_with(6);
        assert!(client.stderr().contains("refused"), "{}", client.story());
        let last = client.events().pop().unwrap().what;
        assert_eq!(last, EventKind::Stopped { why: "refused".into() });
    }
    let mut client = lab.start(Host::Client, "client --ticket-file t --time 1s");
    client.ends_with(0);
    server.ends_with(0);
}

fn nobody_there_is_unreachable(lab: &Lab) {
    let ticket = Ticket {
        addresses: vec!["10.0.9.2:7443".parse().unwrap()],
        rendezvous: vec![],
        fingerprint: Fingerprint([1; 32]),
        secret: Secret([1; 16]),
    };
    write(lab, "t", &ticket);
    let mut client = lab.start(Host::Client, "client --ticket-file t --connect-timeout 1s --json");
    client.ends_with(5);
    assert!(client.stderr().contains("cannot be reached"), "{}", client.story());
    let document: serde_json::Value = serde_json::from_str(&client.stdout()).unwrap();
    assert_eq!(document["outcome"], "unreachable");
}

fn a_server_that_is_gone_is_unreachable_whatever_the_times(lab: &Lab) {
    let mut server = server(lab, "");
    server.signal(Signal::SIGTERM);
    server.ends_with(0);
    let ticket = fs::read_to_string(lab.file("t")).unwrap();
    let mut clients = [
        lab.start(Host::Client, &format!("client {}", ticket.trim())),
        lab.start(Host::Client, "client --ticket-file t --time 2s --connect-timeout 5s"),
        lab.start(Host::Client, "client --ticket-file t --time 2s --connect-timeout 1s"),
    ];
    for client in &mut clients {
        client.ends_with(5);
        let told = client.stderr();
        let why = told.split("cannot be reached: ").nth(1).unwrap_or_default();
        assert!(!why.trim().is_empty(), "{}", client.story());
    }
}

fn a_server_that_dies_is_told_as_silence(lab: &Lab) {
    let server = server(lab, "");
    let received =
        |event: &EventKind| matches!(event, EventKind::PayloadReceived { sequence, .. } if *sequence >= 10);
    let mut client = lab.start(Host::Client, "client --ticket-file t --time 1h --json");
    client.wait_for("payload", received);
    server.signal(Signal::SIGKILL);
    let still_sent =
        |event: &EventKind| matches!(event, EventKind::PayloadSent { sequence, .. } if *sequence >= 100);
    client.wait_for("two seconds of silence", still_sent);
    for interface in ["wlan0", "wwan0"] {
        client.wait_for("the end of its paths", path_is(interface, PathState::Closed));
    }
    client.signal(Signal::SIGTERM);
    client.ends_with(5);
    let document: serde_json::Value = serde_json::from_str(&client.stdout()).unwrap();
    assert!(document["silent_at_end_ms"].as_f64().unwrap() > 100.0, "{document}");
    assert_eq!(document["outcome"], "unreachable");
    assert!(client.stderr().contains("nothing arrived for the last "), "{}", client.story());
}

fn a_directory_of_somebody_else_is_the_machines_fault(lab: &Lab) {
    // The kernel's own: not even root may make one there.
    let mut server = lab.start(Host::Server, "server --identity /sys/iceperf");
    server.ends_with(3);
    assert!(server.stderr().contains("--identity: /sys/iceperf: "), "{}", server.story());
}

fn a_port_in_use_and_a_missing_device_are_the_machines_fault(lab: &Lab) {
    let _first = server(lab, "");
    let mut second = lab.start(Host::Server, "server");
    second.ends_with(3);
    assert!(second.stderr().contains("another program holds UDP port 7443"), "{}", second.story());
    let mut second = lab.start(Host::Server, "server --interface usb7");
    second.ends_with(3);
    assert!(second.stderr().contains("no interface usb7"), "{}", second.story());
    assert!(second.stderr().contains("there are: eth0"), "{}", second.story());
    let mut rendezvous = lab.start(Host::Server, "rendezvous --bind 10.0.9.2:7443 --bind 10.0.9.2:3478");
    rendezvous.ends_with(3);
    assert!(rendezvous.stderr().contains("10.0.9.2:7443"), "{}", rendezvous.story());
}

fn a_restarted_server_has_the_same_ticket(lab: &Lab) {
    let mut tickets = vec![];
    for name in ["first", "second"] {
        let mut server = lab.start(Host::Server, &format!("server --identity id --ticket-file {name}"));
        wait("a ticket", || has_line(&lab.file(name)));
        server.signal(Signal::SIGTERM);
        server.ends_with(0);
        tickets.push(fs::read_to_string(lab.file(name)).unwrap());
        assert!(server.stdout().contains(&format!("iceperf client {}", tickets[0].trim())));
    }
    assert_eq!(tickets[0], tickets[1]);
    let mut other = lab.start(Host::Server, "server --ticket-file first");
    other.ends_with(2);
    assert!(other.stderr().contains("of another certificate"), "{}", other.story());
}
