//! Transfers: what arrives, what stalls, what is sent again.

use super::build::{Log, facts, ms};
use crate::{
    BitRate, BulkMetrics, DetectedBy, Direction, DisturbanceKind, DisturbanceMetrics, EventKind, Expectation,
    How, LinkRates, Millis, PathState, Results, RunFacts,
    fold::{results, timeline},
};

fn folded(log: &Log, facts: &RunFacts) -> Results {
    results(&log.events, facts)
}

fn only_step(log: &Log, seconds: u64) -> DisturbanceMetrics {
    let mut steps = folded(log, &facts(seconds)).metrics.disturbances;
    assert_eq!(steps.len(), 1);
    steps.remove(0)
}

fn bulk(log: &Log, seconds: u64) -> BulkMetrics {
    folded(log, &facts(seconds)).metrics.bulk.unwrap()
}

/// Every millisecond of spans (ms), in ns.
fn every_ms(spans: &[std::ops::RangeInclusive<i64>]) -> Vec<i64> {
    spans.iter().flat_map(|span| span.clone()).map(|t| ms(t).as_ns()).collect()
}

/// A transfer up on two paths of one connection, of which the first is silenced after 5 s.
fn silenced(spans: &[std::ops::RangeInclusive<i64>], multipath: bool) -> Log {
    let mut log = Log::default();
    log.connected(900, "one", multipath);
    log.path(900, 0, "wlan0", PathState::Active, "first");
    log.path(950, 1, "wwan0", PathState::Backup, "standby");
    log.bulk_begins(1_000, None);
    log.arrive(every_ms(spans));
    log.step(5_000, DisturbanceKind::Silence, "wlan0");
    log.path(5_100, 1, "wwan0", PathState::Active, "promoted");
    log
}

#[test]
fn a_transfer_is_silent_from_its_last_byte_to_its_next_with_nothing_subtracted() {
    let log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    let step = only_step(&log, 10);
    assert_eq!((step.up_ms, step.down_ms, step.interruption_ms), (Some(ms(127)), None, Some(ms(127))));
    assert_eq!((step.how, step.same_connection), (How::Multipath, true));
    assert_eq!((step.path_before, step.path_after), (Some(0), Some(1)));
    assert_eq!(step.what, "silence laptop.wlan0");
    assert!(step.is_loss());
    assert!(step.gap_before_ms.unwrap() < ms(10), "{:?}", step.gap_before_ms);
    assert_eq!(step.bulk_stall_ms, None, "the figures above are the transfer's already");
    assert_eq!(bulk(&log, 10).longest_stall_ms, Some(ms(127)));
}

#[test]
fn with_one_active_path_it_has_migrated() {
    let step = only_step(&silenced(&[1_040..=5_023, 5_150..=10_000], false), 10);
    assert_eq!((step.how, step.same_connection), (How::Migrated, true));
}

#[test]
fn a_transfer_that_never_goes_on_has_failed() {
    let step = only_step(&silenced(&[1_040..=5_023], true), 10);
    assert_eq!(step.interruption_ms, Some(ms(10_000 - 5_023)));
    assert_eq!((step.how, step.same_connection), (How::Failed, false));
    let log = silenced(&[], true);
    let step = only_step(&log, 10);
    assert_eq!((step.interruption_ms, step.how), (None, How::Failed));
    let nothing = bulk(&log, 10);
    assert_eq!((nothing.bytes, nothing.goodput_bit_s, nothing.longest_stall_ms), (0, None, None));
}

#[test]
fn a_transfer_of_which_all_has_arrived_is_not_silent_afterwards() {
    let mut log = silenced(&[1_040..=4_999], true);
    let begins =
        EventKind::BulkBegins { object: 0, direction: Direction::Up, bytes: Some(3_960_000), sending: true };
    log.push(1_000, "laptop", begins);
    let step = only_step(&log, 10);
    assert_eq!((step.interruption_ms, step.how, step.same_connection), (None, How::None, true));
    // Without a fixed size, that the hash could be compared says as much.
    let mut log = silenced(&[1_040..=4_999], true);
    assert_eq!(only_step(&log, 10).how, How::Failed);
    log.bulk_ended(5_050, "desktop", 3_960_000, "aa", Some(true));
    assert_eq!(only_step(&log, 10).how, How::None);
}

#[test]
fn what_arrives_twice_ends_no_silence() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    let copy = EventKind::BulkArrived {
        object: 0,
        bytes: 3_984_000,
        duplicate: 900,
        newest_t_ns: ms(5_023).as_ns(),
    };
    log.push(5_090, "desktop", copy);
    assert_eq!(only_step(&log, 10).up_ms, Some(ms(127)));
}

#[test]
fn goodput_counts_different_bytes_from_the_beginning_to_the_newest() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    let bytes = 1_000 * (5_023 - 1_040 + 1 + 10_000 - 5_150 + 1);
    log.bulk_ended(10_000, "laptop", bytes, "aa", Some(true));
    log.bulk_ended(10_000, "desktop", bytes, "AA", Some(true));
    let mut facts = facts(10);
    facts.link_rates = Some(LinkRates { up: BitRate(16_000_000), down: BitRate(1) });
    facts.expectations = vec![
        Expectation::Goodput { above: BitRate(7_800_000) },
        Expectation::Goodput { above: BitRate(7_853_333) },
    ];
    let folded = folded(&log, &facts);
    // 8835 kB in 9 s.
    let expected = BulkMetrics {
        direction: Direction::Up,
        bytes: 8_835_000,
        sha256_ok: Some(true),
        goodput_bit_s: Some(7_853_333),
        longest_stall_ms: Some(ms(127)),
        aggregation: Some(0.4908),
    };
    assert_eq!(folded.metrics.bulk, Some(expected));
    let [holds, exact] = folded.expectations.as_slice() else { panic!() };
    assert_eq!(
        (holds.name.as_str(), holds.expected.as_str(), holds.ok),
        ("goodput", "above 7.8 Mbit/s", true)
    );
    assert_eq!((exact.measured.as_str(), exact.ok), ("7.853 Mbit/s", false));
    assert_eq!(
        serde_json::to_value(folded.metrics.bulk).unwrap(),
        serde_json::json!({
            "direction": "up", "bytes": 8_835_000, "sha256_ok": true, "goodput_bit_s": 7_853_333,
            "longest_stall_ms": 127.0, "aggregation": 0.4908,
        })
    );
    assert!(folded.valid);
}

#[test]
fn without_a_transfer_no_goodput_holds() {
    let mut facts = facts(10);
    facts.expectations = vec![Expectation::Goodput { above: BitRate(0) }];
    let verdict = &results(&[], &facts).expectations[0];
    assert_eq!((verdict.measured.as_str(), verdict.ok), ("none", false));
}

/// What each end says of the whole, and what is made of it.
fn verdict(laptop: Option<(u64, &str)>, desktop: Option<(u64, &str, Option<bool>)>) -> Option<bool> {
    let mut log = silenced(&[1_040..=1_040], true);
    if let Some((bytes, sha256)) = laptop {
        log.bulk_ended(9_000, "laptop", bytes, sha256, None);
    }
    if let Some((bytes, sha256, ok)) = desktop {
        log.bulk_ended(9_000, "desktop", bytes, sha256, ok);
    }
    bulk(&log, 10).sha256_ok
}

#[test]
fn the_receivers_word_is_held_against_both_hashes() {
    assert_eq!(verdict(Some((1_000, "aa")), Some((1_000, "aa", Some(true)))), Some(true));
    assert_eq!(verdict(None, Some((1_000, "aa", Some(true)))), Some(true));
    assert_eq!(verdict(Some((1_000, "aa")), Some((1_000, "bb", Some(false)))), Some(false));
    assert_eq!(verdict(Some((1_000, "aa")), Some((1_000, "bb", Some(true)))), Some(false), "it cannot be");
    assert_eq!(verdict(Some((1_000, "aa")), Some((1_000, "bb", None))), Some(false));
    assert_eq!(verdict(Some((1_000, "aa")), Some((1_000, "aa", None))), Some(true));
    assert_eq!(verdict(Some((2_000, "aa")), Some((1_000, "bb", None))), None, "it was cut off");
    assert_eq!(verdict(Some((1_000, "")), Some((1_000, "bb", None))), None);
    assert_eq!(verdict(Some((1_000, "aa")), None), None);
}

#[test]
fn one_of_several_objects_that_is_wrong_makes_the_whole_wrong() {
    let mut log = silenced(&[1_040..=1_040], true);
    let begins = EventKind::BulkBegins { object: 1, direction: Direction::Up, bytes: None, sending: true };
    log.push(2_000, "laptop", begins);
    let newest_t_ns = ms(3_000).as_ns();
    log.push(3_000, "desktop", EventKind::BulkArrived { object: 1, bytes: 500, duplicate: 0, newest_t_ns });
    log.bulk_ended(1_900, "desktop", 1_000, "aa", Some(true));
    assert_eq!((bulk(&log, 10).bytes, bulk(&log, 10).sha256_ok), (1_500, None), "one is open");
    let (sha256, sha256_ok, why) = ("bb".to_owned(), Some(false), "complete".to_owned());
    log.push(
        3_000,
        "desktop",
        EventKind::BulkEnded { object: 1, bytes: 500, sha256, receiver: None, sha256_ok, why },
    );
    assert_eq!(bulk(&log, 10).sha256_ok, Some(false));
    // What goes the other way is another transfer.
    let begins = EventKind::BulkBegins { object: 2, direction: Direction::Down, bytes: None, sending: true };
    log.push(2_000, "desktop", begins);
    log.push(3_000, "laptop", EventKind::BulkArrived { object: 2, bytes: 700, duplicate: 0, newest_t_ns });
    assert_eq!((bulk(&log, 10).direction, bulk(&log, 10).bytes), (Direction::Up, 1_500));
}

#[test]
fn bytes_that_were_sent_again_are_the_steps_after_which_they_were() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    log.step(7_000, DisturbanceKind::Restore, "wlan0");
    for (t, bytes) in [(4_000, 7), (5_101, 30_000), (5_102, 2_000), (8_000, 100)] {
        log.push(t, "laptop", EventKind::BulkResent { object: 0, bytes, why: "path 0 lost".into() });
    }
    let resent: Vec<_> =
        folded(&log, &facts(10)).metrics.disturbances.iter().map(|step| step.bytes_resent).collect();
    assert_eq!(resent, [Some(32_000), Some(100)]);
}

#[test]
fn more_than_was_ever_sent_makes_the_run_invalid() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    assert!(folded(&log, &facts(10)).valid, "the sender's last word is not known");
    log.bulk_ended(10_000, "laptop", 8_000_000, "aa", None);
    let results = folded(&log, &facts(10));
    assert_eq!(
        results.invalid_why.as_deref(),
        Some("record: 835000 bytes of the transfer arrived whose sending is not recorded")
    );
}

#[test]
fn beside_a_call_the_interruption_is_the_calls() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=10_000], true);
    log.call(10_000, 5_000..5_060);
    let results = folded(&log, &facts(10));
    let step = &results.metrics.disturbances[0];
    // Arrivals at 5020 and 5100.
    assert_eq!((step.interruption_ms, step.down_ms), (Some(ms(60)), Some(ms(60))));
    assert_eq!((step.bulk_stall_ms, step.bytes_resent), (Some(ms(127)), Some(0)));
    assert!(results.metrics.call.is_some() && results.metrics.bulk.is_some());
}

#[test]
fn two_steps_close_to_each_other_have_their_own_stalls() {
    let mut log = silenced(&[1_040..=4_999, 5_030..=6_998, 7_400..=10_000], true);
    log.step(7_000, DisturbanceKind::Address, "wwan0");
    let stalls: Vec<_> =
        folded(&log, &facts(10)).metrics.disturbances.iter().map(|step| step.interruption_ms).collect();
    // The last byte before the second step arrives 2 ms before it.
    assert_eq!(stalls, [Some(ms(31)), Some(ms(402))]);
}

#[test]
fn the_timeline_tells_a_transfer() {
    let mut log = silenced(&[1_040..=5_023, 5_150..=9_000], true);
    log.push(0, "laptop", EventKind::Started {});
    let (silence_ns, expected_ns) = (Some(84_000_000), Some(62_000_000));
    let (interface, path, by) = ("wlan0".into(), Some(0), DetectedBy::ReceiveSilence);
    log.push(5_099, "laptop", EventKind::Detected { interface, path, by, silence_ns, expected_ns });
    log.push(5_101, "laptop", EventKind::BulkResent { object: 0, bytes: 32_400, why: "path 0 lost".into() });
    log.bulk_ended(9_010, "laptop", 7_835_000, "aa", Some(true));
    log.bulk_ended(9_000, "desktop", 7_835_000, "aa", Some(true));
    let lines: Vec<String> = timeline(&log.events, &facts(10)).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
    let step = only_step(&log, 10);
    assert_eq!((step.detected_ms, step.detected_by), (Some(ms(99)), Some(DetectedBy::ReceiveSilence)));
}

#[test]
fn rates_read_well() {
    let shown = [0, 999, 1_000, 1_500_000, 20_000_000, 1_234_567_890].map(|rate| BitRate(rate).to_string());
    assert_eq!(shown, ["0 bit/s", "999 bit/s", "1 kbit/s", "1.5 Mbit/s", "20 Mbit/s", "1.235 Gbit/s"]);
}

/// As version 0.1.0 wrote it before there were transfers.
#[test]
fn older_results_are_read() {
    let (log, facts) = super::build::wifi_off();
    let mut document = serde_json::to_value(folded(&log, &facts)).unwrap();
    assert_eq!(document["metrics"].get("bulk"), None);
    assert_eq!(document["metrics"]["disturbances"][0].get("bulk_stall_ms"), None);
    for path in document["metrics"]["paths"].as_array_mut().unwrap() {
        let path = path.as_object_mut().unwrap();
        assert!(path.remove("packets_sent").is_some() && path.remove("packets_lost").is_some());
    }
    let read: Results = serde_json::from_value(document).unwrap();
    assert_eq!(read.metrics.paths[1].packets_sent, None);
    assert_eq!(read.metrics.disturbances[0].interruption_ms, Some(Millis::from_ns(115_000_000)));
}
