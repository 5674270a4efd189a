//! What others need to read a run: secrets and the engine's log.

use crate::world::{Signal, World, notes_topology, one_lan};
use peer::{Event, Evidence};
use std::{collections::BTreeSet, time::Duration};

fn run(evidence: Evidence) -> World {
    let mut world = World::with(one_lan(), Signal::InBand, 1, |_| {}, |config| config.evidence = evidence);
    world.start();
    world.run_until(Duration::from_secs(1));
    world.stop("laptop");
    world.run_until(Duration::from_millis(1100));
    world
}

#[test]
fn both_ends_log_the_same_secrets_in_nss_format() {
    let world = run(Evidence { key_log: true, qlog: false });
    let [laptop, desktop] = ["laptop", "desktop"]
        .map(|host| -> BTreeSet<&str> { world.hosts[host].key_log.iter().map(String::as_str).collect() });
    assert_eq!(laptop, desktop);
    let labels: BTreeSet<&str> = laptop.iter().filter_map(|line| line.split(' ').next()).collect();
    let wanted = [
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    ];
    assert!(wanted.iter().all(|label| labels.contains(label)), "{labels:?}");
    for line in laptop {
        let fields: Vec<_> = line.split(' ').collect();
        let [_, random, secret] = fields[..] else { panic!("three fields: {line}") };
        assert_eq!(random.len(), 64, "{line}");
        assert!(
            secret.len() >= 64 && (random.to_owned() + secret).chars().all(|c| c.is_ascii_hexdigit()),
            "{line}"
        );
    }
    assert!(world.hosts["laptop"].qlog.is_empty());
}

#[test]
fn the_log_of_the_engine_is_a_json_text_sequence_with_every_packet() {
    let world = run(Evidence { key_log: false, qlog: true });
    for host in ["laptop", "desktop"] {
        let host = &world.hosts[host];
        assert!(host.key_log.is_empty());
        assert_eq!(host.qlog.keys().copied().collect::<Vec<_>>(), [0], "one connection");
        let text = std::str::from_utf8(&host.qlog[&0]).unwrap();
        // RFC 7464: each text begins with a record separator.
        let records: Vec<serde_json::Value> = text
            .split('\u{1e}')
            .filter(|record| !record.is_empty())
            .map(|record| serde_json::from_str(record).unwrap())
            .collect();
        let sent = records.iter().filter(|record| record["name"] == "quic:packet_sent").count();
        assert!(sent > 50, "a second of a call: {sent} of {} records", records.len());
    }
}

#[test]
fn nothing_is_collected_unless_asked_for() {
    let world = run(Evidence::default());
    assert!(world.hosts.values().all(|host| host.key_log.is_empty() && host.qlog.is_empty()));
}

#[test]
fn candidates_are_told_again_when_the_path_that_carried_them_is_lost() {
    let mut world = World::new(notes_topology(), Signal::Rendezvous, 3);
    world.start();
    world.run_until(Duration::from_secs(2));
    world.down("laptop", "wlan0");
    // What the laptop says while WiFi is lost goes into the path that no longer carries anything.
    world.run_until(Duration::from_millis(2010));
    world.up("laptop", "wlan0");
    world.run_until(Duration::from_secs(4));
    let told = |(t, host, event): &&(Duration, String, Event)| {
        host == "desktop" && *t > Duration::from_secs(2) && matches!(event, Event::RemoteCandidate(_))
    };
    let first = world.events.iter().find(told).expect("the desktop hears of the new candidates").0;
    assert!(first < Duration::from_millis(2100), "within about one one-way delay, not {first:?}");
}
