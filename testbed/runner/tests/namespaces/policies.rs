//! Policies of others and what peers are told while they run, through kernels' sockets.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
};

fn run(stage: &Stage, scenario: &str, sets: &[&str]) -> (Value, PathBuf) {
    let file = stage.take_scenario(scenario);
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
    let run = results(&told.stdout).remove(0);
    assert_valid_but_for_timing(&run);
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    (run, directory)
}

fn events(directory: &Path, host: &str, kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(directory.join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let wanted = events.filter(|event| event["host"] == host && event["kind"] == kind);
    wanted.map(|event| event["fields"].clone()).collect()
}

/// By `iceperf relay`: nothing is ready on cellular, and a relay is asked there once WiFi is gone.
#[test]
fn under_whatsapps_policy_the_relay_takes_over() {
    let stage = Stage::for_one_user();
    let sets = ["duration=19s", "timeline.0.at=13s", "expect=[{how: relay}, {same_connection: true}]"];
    let (run, directory) = self::run(&stage, "whatsapp/relay-takes-over.yaml", &sets);
    assert!(run["expectations"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{run}");
    let stopped = events(&directory, "laptop", "probing_stopped");
    // A direct path was there before the others had their turn; what the relay tried went on for 20 probes of 600 ms.
    assert!(stopped.iter().any(|event| event["why"] == "budget"), "{stopped:?}");
    let paths = run["metrics"]["paths"].as_array().unwrap();
    let relayed = |path: &&Value| path["kind"] == "relay" && path["local_interface"] == "wwan0";
    assert!(paths.iter().any(|path| relayed(&path)), "{paths:?}");
    assert_eq!(events(&directory, "laptop", "policy")[0]["policy"], "whatsapp");
    assert_eq!(events(&directory, "laptop", "first_usable").len(), 1);
}

#[test]
fn where_routes_decide_nothing_leaves_on_cellular() {
    let stage = Stage::for_one_user();
    let sets = ["duration=7s", "timeline.0.at=3s"];
    let (run, directory) = self::run(&stage, "prototype-2024/all-probes-on-ethernet.yaml", &sets);
    assert!(run["expectations"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{run}");
    let manifest: Value =
        serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    let links = manifest["links"].as_array().unwrap().iter();
    let cellular: Vec<&Value> = links.filter(|link| link["interface"] == "wwan0").collect();
    assert!(cellular.len() >= 2 && cellular.iter().all(|link| link["packets"] == 0), "{cellular:?}");
}

#[test]
fn what_peers_are_told_they_acknowledge_and_do() {
    let stage = Stage::for_one_user();
    let timeline = "timeline=[{at: 2s, do: {path: {peer: client, interface: wlan0, status: backup}}}, \
                    {at: 3s, do: {priority: {interface: desktop.wwan0, value: 7}}}, \
                    {at: 4s, do: {policy: {peer: both, preset: rfc8445, disguise: cookie}}}]";
    let sets = ["duration=5s", timeline, "expect=[{same_connection: true}]"];
    let (run, directory) = self::run(&stage, "whatsapp/wifi-off-in-call.yaml", &sets);
    let steps = run["metrics"]["disturbances"].as_array().unwrap();
    let names: Vec<&str> = steps.iter().filter_map(|step| step["what"].as_str()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let status = events(&directory, "laptop", "path_status");
    assert_eq!(status, [serde_json::json!({"interface": "wlan0", "status": "backup"})]);
    let priority = events(&directory, "desktop", "priority");
    assert_eq!(priority, [serde_json::json!({"interface": "wwan0", "value": 7})]);
    for host in ["laptop", "desktop"] {
        let policies = events(&directory, host, "policy");
        let names: Vec<&str> = policies.iter().filter_map(|event| event["policy"].as_str()).collect();
        assert_eq!(names, ["multipath", "rfc8445"], "{host}");
        assert_eq!(events(&directory, host, "disguise").len(), 1, "{host}");
    }
    let active = events(&directory, "laptop", "path").into_iter().filter(|path| path["state"] == "active");
    let interfaces: Vec<Value> = active.map(|path| path["interface"].clone()).collect();
    assert_eq!(interfaces.last().map(|name| name == "wwan0"), Some(true), "{interfaces:?}");
}
