//! Blocking probes through the whole test bed: verdicts in `results.json`, told from the kernel's sockets and routes.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;

/// Runs one of the shipped scenarios; all that it expects holds.
fn run(stage: &Stage, scenario: &str, duration: &str) -> Vec<Value> {
    let file = stage.take_scenario(&format!("blocking/{scenario}.yaml"));
    let told = stage.run_file(&file, &["--set", &format!("duration={duration}"), "--json"]);
    let mut results = results(&told.stdout);
    assert_eq!(results.len(), 1, "{told:?}");
    let run = results.remove(0);
    assert_valid_but_for_timing(&run);
    let expectations = run["expectations"].as_array().unwrap();
    assert!(!expectations.is_empty() && expectations.iter().all(|one| one["ok"] == true), "{run}");
    run["metrics"]["blocking"].as_array().unwrap().clone()
}

#[test]
fn a_filter_of_stun_is_told_by_what_passes() {
    let stage = Stage::for_one_user();
    let found = run(&stage, "stun-filtered", "20s");
    assert_eq!(found.len(), 4, "two families, two directions: {found:?}");
    for one in found {
        let arrived = |probes: &Value| probes["arrived"].as_u64().unwrap();
        assert_eq!((arrived(&one["plain"]), arrived(&one["variants"]["first-byte"])), (0, 0), "{one}");
        for variant in
            ["cookie", "first-byte-cookie", "scrambled-length", "xor", "random-udp", "quic-initial"]
        {
            assert!(arrived(&one["variants"][variant]) > 0, "{variant}: {one}");
        }
        assert_eq!(one["control"], "partial");
    }
}

/// As `scenarios/README.md` writes it.
#[test]
fn a_call_and_a_probe_go_on_beside_each_other() {
    let stage = Stage::for_one_user();
    let file = stage.take_scenario("blocking/nothing-blocked.yaml");
    let workload = "peers.client.workload=[{call: {}}, {probe: {}}]";
    let told = stage.run_file(&file, &["--set", "duration=20s", "--set", workload, "--json"]);
    let run = results(&told.stdout).remove(0);
    assert_valid_but_for_timing(&run);
    let metrics = &run["metrics"];
    for way in ["up", "down"] {
        assert!(metrics["call"][way]["received"].as_u64().unwrap() > 500, "{way}: {metrics}");
    }
    let found = metrics["blocking"].as_array().unwrap();
    assert!(!found.is_empty() && found.iter().all(|one| one["verdict"] == "open"), "{metrics}");
}

#[test]
fn a_wrong_route_is_no_block() {
    let stage = Stage::for_one_user();
    let found = run(&stage, "wrong-route", "20s");
    let wrong = found.iter().find(|one| one["verdict"] == "inconclusive").unwrap();
    assert!(wrong["why"].as_str().unwrap().starts_with("wrong route: at this end"), "{wrong}");
}
