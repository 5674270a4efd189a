//! Transfers: both ways, of a given size and until they are stopped, alone and beside a call.

use crate::{
    calls::{scenarios, server},
    lab::{Host, Lab, Rights, Running, with},
};
use nix::sys::signal::Signal;
use record::EventKind;

scenarios! {
    a_size_is_sent_either_way_and_both_ends_agree_on_it
    a_transfer_without_a_size_ends_with_the_time_and_goes_along_with_a_call
    a_transfer_survives_the_loss_of_the_active_interface
    a_transfer_that_either_end_cuts_short_is_told_by_the_exit_codes_of_both
}

/// Its document, and in it the one transfer.
fn document(peer: &Running) -> (serde_json::Value, serde_json::Value) {
    let document: serde_json::Value = serde_json::from_str(&peer.stdout()).unwrap();
    let bulk = document["bulk"].as_array().unwrap();
    assert_eq!(bulk.len(), 1, "{document}");
    let bulk = bulk[0].clone();
    (document, bulk)
}

fn a_size_is_sent_either_way_and_both_ends_agree_on_it(lab: &Lab) {
    for (arguments, up) in [("-n 3MB", true), ("--bytes 3MB --reverse", false)] {
        let mut server = server(lab, "--json");
        let mut client = lab.start(Host::Client, &format!("client --ticket-file t --json {arguments}"));
        client.ends_with(0);
        server.ends_with(0);
        for (peer, sends) in [(&client, up), (&server, !up)] {
            let (document, bulk) = document(peer);
            assert_eq!(bulk["bytes"], 3_000_000, "{}", peer.story());
            assert_eq!(bulk["sha256_ok"], true, "{}", peer.story());
            assert_eq!(bulk["direction"], if up { "up" } else { "down" });
            assert_eq!(bulk["sending"], sends);
            assert_eq!(bulk["ended"], "complete");
            assert_eq!(bulk["outcome"], "complete");
            assert!(bulk["goodput_bit_s"].as_u64().unwrap() > 0, "{bulk}");
            assert_eq!(document["call"]["sent"], 0, "nobody asked for a call: {}", peer.story());
        }
        for figure in ["bytes", "goodput_bit_s", "longest_stall_ms"] {
            let [one, other] = [&client, &server].map(|peer| document(peer).1[figure].clone());
            assert!(one.as_f64().is_some_and(|value| value > 0.0), "{}", client.story());
            assert_eq!(one, other, "{figure} is the receiver's at both ends: {}", server.story());
        }
        let sums = [&client, &server].map(|peer| document(peer).1["sha256"].clone());
        assert!(sums[0].as_str().unwrap().len() == 64 && sums[0] == sums[1], "{sums:?}");
        std::fs::remove_file(lab.file("t")).unwrap();
    }
}

fn a_transfer_without_a_size_ends_with_the_time_and_goes_along_with_a_call(lab: &Lab) {
    let mut server = server(lab, "");
    let mut client = lab.start(Host::Client, "client --ticket-file t --bulk --call -R -t 1 -i 0.2");
    client.ends_with(0);
    server.ends_with(0);
    for (peer, way) in [(&client, "from the server"), (&server, "to the client")] {
        let told = peer.stdout();
        assert!(told.contains(&format!("bulk {way}: ")), "{}", peer.story());
        assert!(told.contains("SHA-256 equal at both ends"), "{}", peer.story());
        assert!(told.contains("  call: sent "), "{}", peer.story());
    }
    assert!(client.stdout().contains("longest stall"), "{}", client.story());
}

fn a_megabyte_arrived(event: &EventKind) -> bool {
    matches!(event, EventKind::BulkArrived { bytes, .. } if *bytes > 1_000_000)
}

fn a_transfer_that_either_end_cuts_short_is_told_by_the_exit_codes_of_both(lab: &Lab) {
    const SIZE: u64 = 100_000_000;
    limit_rates(lab, &[(Host::Client, "wlan0"), (Host::Client, "wwan0"), (Host::Server, "eth0")]);
    for (arguments, server_stops) in [("-n 100MB -R", true), ("-n 100MB", true), ("-n 100MB -R", false)] {
        let mut server = server(lab, "--json");
        let mut client = lab.start(Host::Client, &format!("client --ticket-file t --json {arguments}"));
        let receiver = if arguments.ends_with("-R") { &client } else { &server };
        receiver.wait_for("a megabyte", a_megabyte_arrived);
        if server_stops { &server } else { &client }.signal(Signal::SIGTERM);
        client.ends_with(4);
        server.ends_with(4);
        for peer in [&client, &server] {
            let (_, bulk) = document(peer);
            assert_eq!(bulk["outcome"], "incomplete", "{}", peer.story());
            let bytes = bulk["bytes"].as_u64().unwrap();
            assert!((1_000_000..SIZE).contains(&bytes), "{}", peer.story());
            let told = format!("the transfer was interrupted: bulk {}", way(&bulk));
            assert!(peer.stderr().contains(&told), "{}", peer.story());
        }
        std::fs::remove_file(lab.file("t")).unwrap();
    }
}

/// As messages name the direction.
fn way(bulk: &serde_json::Value) -> &'static str {
    match (bulk["sending"] == true, bulk["direction"] == "up") {
        (true, true) => "to the server",
        (true, false) => "to the client",
        (false, true) => "from the client",
        (false, false) => "from the server",
    }
}

/// Slow enough that whatever happens falls into a transfer of some megabytes.
fn limit_rates(lab: &Lab, interfaces: &[(Host, &str)]) {
    for (host, interface) in interfaces {
        lab.shell(
            *host,
            &format!("tc qdisc add dev {interface} root tbf rate 20mbit burst 16kb latency 50ms"),
        );
    }
}

fn a_transfer_survives_the_loss_of_the_active_interface(lab: &Lab) {
    limit_rates(lab, &[(Host::Client, "wlan0"), (Host::Client, "wwan0")]);
    let mut server = server(lab, "--json");
    let mut client = lab.start(Host::Client, "client --ticket-file t -n 8MB");
    server.wait_for("a megabyte", a_megabyte_arrived);
    lab.shell(Host::Client, "ip link set wlan0 down");
    client.ends_with(0);
    server.ends_with(0);
    let (_, bulk) = document(&server);
    assert_eq!(bulk["bytes"], 8_000_000, "{}", server.story());
    assert_eq!(bulk["sha256_ok"], true, "{}", server.story());
    assert!(client.stdout().contains("8000000 of 8000000 bytes"), "{}", client.story());
}
