//! Networks that do more than delay, one short run each: what a scenario says of them is what the run's own record tells.

use crate::{assert_valid_but_for_timing, evidence::tshark, results, stage::Stage};
use record::EventKind;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Runs one of the shipped scenarios, with changes; its results and its directory.
fn run(stage: &Stage, scenario: &str, sets: &[&str]) -> (Value, PathBuf) {
    let file = stage.take_scenario(&format!("networks/{scenario}.yaml"));
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
    let mut results = results(&told.stdout);
    assert_eq!(results.len(), 1, "{told:?}");
    let run = results.remove(0);
    assert_valid_but_for_timing(&run);
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    (run, directory)
}

fn manifest(directory: &Path) -> Value {
    serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap()
}

fn all_hold(run: &Value) {
    let expectations = run["expectations"].as_array().unwrap();
    assert!(!expectations.is_empty() && expectations.iter().all(|one| one["ok"] == true), "{run}");
}

#[test]
fn two_nats_in_a_row_are_passed_and_two_symmetric_ones_are_not() {
    let stage = Stage::for_one_user();
    let (run, directory) =
        self::run(&stage, "home-behind-cgnat", &["duration=4s", "expect.1.lost.below=50%"]);
    all_hold(&run);
    let manifest = manifest(&directory);
    let routers: Vec<(&Value, &Value)> = manifest["links"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|link| link["router"] != "" && link["packets"].as_u64() > Some(0))
        .map(|link| (&link["network"], &link["router"]))
        .collect();
    for border in [("line", "home"), ("flat.nat2", "flat")] {
        let there = routers
            .iter()
            .any(|(network, router)| (*network, *router) == (&border.0.into(), &border.1.into()));
        assert!(there, "{border:?}: {manifest}");
    }
    let (run, _) = self::run(&stage, "symmetric-nats", &["duration=4s"]);
    all_hold(&run);
}

#[test]
fn what_a_filter_drops_is_counted_by_its_rule() {
    let stage = Stage::for_one_user();
    let sets = ["duration=6s", "timeline.0.at=2s", "timeline.1.at=4s", "expect=[{same_connection: true}]"];
    let (run, directory) = self::run(&stage, "stun-blocked", &sets);
    all_hold(&run);
    let steps: Vec<&Value> = run["metrics"]["disturbances"].as_array().unwrap().iter().collect();
    let names: Vec<&Value> = steps.iter().map(|step| &step["what"]).collect();
    assert_eq!(names, ["block office", "unblock office"]);
    let manifest = manifest(&directory);
    let blocks = manifest["blocks"].as_array().unwrap();
    let stun = blocks.iter().find(|block| block["network"] == "office").expect("the rule that is gone");
    let rule = serde_json::json!({"stun": {"match": "cookie", "direction": "both", "answer": "silence"}});
    assert_eq!(stun["rule"], rule);
    assert!(stun["dropped"].as_u64() > Some(0), "{stun}");
    // Beyond its own link, and over IPv4 beyond a NAT: the laptop's capture says what became of each.
    let capture = directory.join("hosts/laptop/capture.pcapng");
    let comments = tshark(&capture, "frame.comment contains \"dropped: \"", &["frame.comment"]);
    let filtered = comments.iter().filter(|comment| comment[0].contains("carrier-stun-cookie in office, "));
    assert!(filtered.count() > 0, "{comments:?}");
}

/// A trace from a file, a radio, other links, another network: and the directory can be read by itself.
#[test]
fn links_change_and_interfaces_roam_while_a_call_lasts() {
    let stage = Stage::for_one_user();
    // Relative to the scenario, which is copied there.
    let trace = stage.path("steady.trace");
    let text: String = (1..=1000).map(|time| format!("{time}\n")).collect();
    fs::write(&trace, text).unwrap();
    let sets = [
        "duration=8s",
        "timeline.0={at: 2s, do: {link: {network: home, trace: steady.trace}}}",
        "timeline.1.at=4s",
        "expect=[{same_connection: true}]",
    ];
    let (run, directory) = self::run(&stage, "leaving-the-room", &sets);
    all_hold(&run);
    let steps = run["metrics"]["disturbances"].as_array().unwrap();
    let names: Vec<&Value> = steps.iter().map(|step| &step["what"]).collect();
    assert_eq!(names, ["link home", "roam laptop.wlan0 to cafe"]);
    let log = record::read_events(&directory.join("events.jsonl")).unwrap();
    let ends = log.events.iter().filter(|event| {
        matches!(&event.what, EventKind::DisturbanceEnded { index: 1, target_network: Some(network), .. } if network == "cafe")
    });
    // Not before the gap of 500 ms is over.
    let ends: Vec<bool> = ends.map(|end| end.t_ns >= 4_500_000_000).collect();
    assert_eq!(ends, [true]);
    assert!(directory.join("trace-1.txt").is_file());
    let manifest = manifest(&directory);
    let [radio] = manifest["radios"].as_array().unwrap().as_slice() else { panic!("{manifest}") };
    assert_eq!((&radio["host"], &radio["interface"]), (&"laptop".into(), &"wwan0".into()));
    assert!(radio["on_ns"].as_u64() > Some(1_000_000_000), "{radio}");
    fs::remove_file(&trace).unwrap();
    let again = stage.testbed(&["compare", &directory.display().to_string()]);
    assert_eq!(again.code, Some(0), "{again:?}");
}

/// Two links, two NATs and another host's modem in the way, from the middle of a call on.
#[test]
fn a_call_moves_onto_the_hotspot_of_a_phone() {
    let stage = Stage::for_one_user();
    let sets = ["duration=9s", "timeline.0.at=2s", "timeline.1.at=3s", "expect=[{same_connection: true}]"];
    let (run, directory) = self::run(&stage, "hotspot", &sets);
    all_hold(&run);
    let steps = run["metrics"]["disturbances"].as_array().unwrap();
    let names: Vec<&Value> = steps.iter().map(|step| &step["what"]).collect();
    assert_eq!(names, ["hotspot phone.wlan0 to spot", "roam laptop.wlan0 to spot"]);
    let manifest = manifest(&directory);
    let packets = |network: &str, host: &str, interface: &str| {
        let links = manifest["links"].as_array().unwrap().iter();
        let mut of = links.filter(|link| link["network"] == network && link["host"] == host);
        let up = of.find(|link| link["interface"] == interface && link["direction"] == "up");
        up.and_then(|link| link["packets"].as_u64()).unwrap_or(0)
    };
    // What it did before it roamed is told as of where it was.
    let [before, after] = ["cafe", "spot"].map(|network| packets(network, "laptop", "wlan0"));
    assert!(before > 50 && after > 50, "{manifest}");
    assert!(
        packets("o2", "phone", "wwan0") + 20 > after,
        "what leaves the hotspot passes the modem: {manifest}"
    );
}
