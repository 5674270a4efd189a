//! What a run leaves for those who read it: TLS secrets, the engine's log, and the lines of each interval.

use crate::{
    calls::{path_is, scenarios, server},
    lab::{Host, Lab, Rights, wait, with},
};
use nix::sys::signal::Signal;
use record::PathState;
use std::{collections::BTreeSet, fs};

scenarios! {
    both_ends_write_the_same_secrets_and_a_log_each
    every_path_has_a_line_each_interval
    with_json_and_no_interval_there_are_no_lines
}

/// Lines of the NSS key log format: label, client random, secret.
fn secrets(lab: &Lab, name: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(lab.file(name)).unwrap();
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [label, random, secret] = words[..] else { panic!("{line}") };
        let hexadecimal = |word: &str| word.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c));
        assert!(label.bytes().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == b'_'), "{line}");
        assert!(random.len() == 64 && hexadecimal(random), "{line}");
        assert!(secret.len() >= 64 && hexadecimal(secret), "{line}");
    }
    text.lines().map(str::to_owned).collect()
}

/// Records of a JSON text sequence (RFC 7464).
fn json_sequence(bytes: &[u8]) -> Vec<serde_json::Value> {
    let mut parts = bytes.split(|byte| *byte == 0x1e);
    assert_eq!(parts.next(), Some(&[][..]), "each text begins with a record separator");
    parts.map(|text| serde_json::from_slice(text).unwrap()).collect()
}

fn both_ends_write_the_same_secrets_and_a_log_each(lab: &Lab) {
    let mut server = server(lab, "--key-log server.keys --qlog of-server");
    let mut client =
        lab.start(Host::Client, "client --ticket-file t --time 1s --key-log client.keys --qlog of/client");
    client.ends_with(0);
    server.ends_with(0);
    let of_client = secrets(lab, "client.keys");
    assert_eq!(of_client, secrets(lab, "server.keys"));
    for end in ["CLIENT", "SERVER"] {
        for label in ["HANDSHAKE_TRAFFIC_SECRET", "TRAFFIC_SECRET_0"] {
            let label = format!("{end}_{label} ");
            assert!(of_client.iter().any(|line| line.starts_with(&label)), "{label}: {of_client:?}");
        }
    }
    for name in ["of-server/server.sqlog", "of/client/client.sqlog"] {
        let records = json_sequence(&fs::read(lab.file(name)).unwrap());
        let header = &records[0];
        assert!(header.to_string().to_lowercase().contains("json-seq"), "{header}");
        let named = |name: &str| records[1..].iter().any(|record| record["name"].as_str() == Some(name));
        assert!(records.len() > 100, "a call of a second: {} records", records.len());
        assert!(records[1..].iter().all(|record| record["name"].is_string()), "{name}");
        assert!(named("quic:packet_sent") || named("transport:packet_sent"), "{name}: {:?}", records[1]);
    }
}

fn every_path_has_a_line_each_interval(lab: &Lab) {
    let mut server = server(lab, "-i 0.2");
    let mut client = lab.start(Host::Client, "client --ticket-file t --time 1h -i 0.2");
    client.wait_for("a standby", path_is("wwan0", PathState::Backup));
    for peer in [&client, &server] {
        let count = |what: &str| peer.stdout().lines().filter(|line| line.contains(what)).count();
        let active =
            |line: &&str| line.contains(" s  * ") && line.contains("bit/s ") && line.ends_with("  active");
        wait("intervals", || peer.stdout().lines().filter(active).count() > 1 && count("call: ") > 5);
        let lines = peer.stdout();
        assert_eq!(count("  #  path"), 1, "one heading: {lines}");
        assert!(count("  backup") > 1 && count(" ms  ") > 1, "{lines}");
        assert!(!lines.contains('\u{1b}'), "colours, and no terminal: {lines}");
    }
    let told = client.stdout();
    let of = |interface: &str| {
        told.lines().any(|line| line.contains(&format!("{interface} -> eth0 (host, IPv4)")))
    };
    assert!(of("wlan0") && of("wwan0"), "{told}");
    client.signal(Signal::SIGTERM);
    client.ends_with(0);
    server.ends_with(0);
    for peer in [&client, &server] {
        assert!(peer.stdout().contains("  call: sent "), "totals at the end: {}", peer.story());
    }
}

fn with_json_and_no_interval_there_are_no_lines(lab: &Lab) {
    for (arguments, lines) in [("--json", false), ("--json -i 0.2", true), ("-i 0", false)] {
        let mut server = server(lab, "");
        let mut client = lab.start(Host::Client, &format!("client --ticket-file t --time 1s {arguments}"));
        client.ends_with(0);
        server.ends_with(0);
        let told = client.stdout() + &client.stderr();
        assert_eq!(told.contains("  #  path"), lines, "{}", client.story());
        assert!(told.contains("carried by"), "{}", client.story());
        if arguments.contains("json") {
            let document: serde_json::Value = serde_json::from_str(&client.stdout()).unwrap();
            assert!(document["paths"][0]["bytes_sent"].as_u64().unwrap() > 0, "{document}");
            assert_eq!(document["bulk"], serde_json::json!([]));
        }
        fs::remove_file(lab.file("t")).unwrap();
    }
}
