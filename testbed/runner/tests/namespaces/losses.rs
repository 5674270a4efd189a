//! Every engine, every way to lose WiFi: one short run each. That the call survives on its connection holds however busy
//! the machine is; how long it was silent is for `make bench-interruption`.

use crate::{assert_valid_but_for_timing, results, stage::Stage};

#[test]
fn a_call_survives_every_way_to_lose_wifi_with_every_engine() {
    let stage = Stage::for_one_user();
    for engine in ["noq", "quiche"] {
        for step in ["down", "carrier_off", "silence"] {
            let engine = format!("peers.client.engine={engine}");
            let timeline = format!("timeline=[{{at: 2s, do: {{{step}: laptop.wlan0}}}}]");
            let sets = ["duration=6s", &engine, &timeline, "expect=[{same_connection: true}]"];
            let told = stage.run(&[&sets.map(|set| ["--set", set]).concat()[..], &["--json"]].concat());
            let run = &results(&told.stdout)[0];
            assert_valid_but_for_timing(run);
            let after = &run["metrics"]["disturbances"][0];
            assert_eq!(after["same_connection"], true, "{engine}, {step}: {after}");
            assert!(after["how"] == "multipath" || after["how"] == "migrated", "{engine}, {step}: {after}");
        }
    }
}

/// A NAT that forgets, addresses that change, everything gone at once: the connection outlives them.
#[test]
fn a_connection_outlives_what_the_scenarios_do_to_it() {
    let stage = Stage::for_one_user();
    for (scenario, duration) in
        [("address-change", "6s"), ("nat-rebind", "8s"), ("both-interfaces-gone-and-back", "10s")]
    {
        let times: &[&str] = match scenario {
            "both-interfaces-gone-and-back" => &["2s", "2s", "3s", "3s"],
            _ => &["2s"],
        };
        let mut sets = vec![format!("duration={duration}"), "expect=[{same_connection: true}]".to_owned()];
        sets.extend(times.iter().enumerate().map(|(index, at)| format!("timeline.{index}.at={at}")));
        let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
        let file = stage.take_scenario(&format!("losses/{scenario}.yaml"));
        let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
        let run = &results(&told.stdout)[0];
        assert_valid_but_for_timing(run);
        let steps = run["metrics"]["disturbances"].as_array().unwrap();
        assert!(steps.iter().all(|step| step["same_connection"] == true), "{scenario}: {steps:?}");
    }
}

/// Both ways, with each engine: nothing of a file is lost or doubled when WiFi goes in the middle of it.
#[test]
fn a_file_arrives_whole_though_wifi_goes_in_the_middle() {
    let stage = Stage::for_one_user_alone();
    let file = stage.take_scenario("losses/wifi-off-in-bulk.yaml");
    for engine in ["noq", "quiche"] {
        for direction in ["up", "down"] {
            let engine = format!("peers.client.engine={engine}");
            let workload = format!("peers.client.workload={{bulk: {{direction: {direction}, size: 8MB}}}}");
            let sets = ["duration=9s", "timeline.0.at=2s", "expect=[]", &engine, &workload];
            let told =
                stage.run_file(&file, &[&sets.map(|set| ["--set", set]).concat()[..], &["--json"]].concat());
            let run = &results(&told.stdout)[0];
            assert_valid_but_for_timing(run);
            let metrics = &run["metrics"];
            let bulk = &metrics["bulk"];
            assert_eq!(bulk["bytes"], 8_000_000, "{engine}, {direction}: {metrics}");
            assert_eq!(bulk["sha256_ok"], true, "{engine}, {direction}: {metrics}");
            assert_eq!(bulk["direction"], direction);
            assert!(bulk["aggregation"].as_f64().is_some_and(|share| share > 0.0 && share < 1.0), "{bulk}");
            let after = &metrics["disturbances"][0];
            assert_eq!(after["same_connection"], true, "{engine}, {direction}: {after}");
            assert!(
                after["how"] == "multipath" || after["how"] == "migrated",
                "{engine}, {direction}: {after}"
            );
            assert_ne!(metrics["paths"].as_array().map(Vec::len), Some(0), "{metrics}");
        }
    }
}
