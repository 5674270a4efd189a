//! Captures of our own runs, read without keys as anybody's: their figures are those of results.json.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;

/// Times of the capture and of the events are taken at different places of one packet's way. On a quiet machine they differ by
/// less than 1 ms; beside other tests a process takes some more until it handles a packet that the capture has.
const TIMES_MS: f64 = 10.0;

/// The capture of a host, dissected.
fn dissected(stage: &Stage, run: &Value, host: &str) -> Value {
    let capture = format!("{}/hosts/{host}/capture.pcapng", run["run_dir"].as_str().unwrap());
    let told = stage.testbed(&["dissect", &capture, "--json"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
    serde_json::from_str(&told.stdout).expect("one document")
}

fn assert_close(what: &str, ours: &Value, seen: &Value, within_ms: f64) {
    match (ours.as_f64(), seen.as_f64()) {
        (Some(ours), Some(seen)) => {
            assert!(
                (ours - seen).abs() <= within_ms,
                "{what}: {ours} in results.json, {seen} in the capture"
            );
        }
        _ => assert_eq!(ours, seen, "{what}"),
    }
}

/// Paths that were found, and checks on those paths.
fn assert_same_paths(run: &Value, seen: &Value) {
    let (ours, theirs) = (&run["metrics"], &seen["metrics"]);
    assert_eq!(theirs["zero"], "given");
    for figure in ["first_path_ms", "direct_path_ms", "relay_path_ms"] {
        assert_close(figure, &ours[figure], &theirs[figure], TIMES_MS);
    }
    let total = |probes: &Value, interface: &str, key: &str| -> u64 {
        let probes = probes.as_array().unwrap().iter().filter(|probe| probe["local_interface"] == interface);
        probes.map(|probe| probe[key].as_u64().unwrap()).sum()
    };
    for interface in ["wlan0", "wwan0"] {
        let [sent, seen] = [ours, theirs].map(|metrics| total(&metrics["probes"], interface, "sent"));
        assert_sent(&format!("checks on {interface}"), interface, sent, seen);
        let [answered, seen] = [ours, theirs].map(|metrics| total(&metrics["probes"], interface, "answered"));
        assert_answered(interface, answered, seen);
    }
}

/// What the kernel still holds when `wlan0` goes down is in the record and in no capture: with a model that is behind on a
/// busy machine up to 9 of 175 checks were seen to be lost so. Nothing goes down under `wwan0`.
fn assert_sent(what: &str, interface: &str, ours: u64, seen: u64) {
    let lost = if interface == "wlan0" { ours / 10 } else { 0 };
    assert!(
        (ours - lost..=ours).contains(&seen),
        "{what}: {ours} sent in results.json, {seen} in the capture"
    );
}

/// What arrives when the program has ended is in the capture alone: answers of one round trip.
fn assert_answered(what: &str, ours: u64, seen: u64) {
    assert!(
        (ours..=ours + 2).contains(&seen),
        "{what}: {ours} answered in results.json, {seen} in the capture"
    );
}

/// Paths that carried QUIC, with all that went over them.
fn assert_same_traffic(run: &Value, seen: &Value) {
    let paths = |metrics: &Value| metrics["paths"].as_array().unwrap().clone();
    let (ours, theirs) = (paths(&run["metrics"]), paths(&seen["metrics"]));
    assert_eq!(ours.len(), theirs.len(), "{theirs:?}");
    for path in &ours {
        let is_same =
            |other: &&Value| ["local_interface", "family"].iter().all(|key| other[key] == path[key]);
        let other = theirs.iter().find(is_same).unwrap_or_else(|| panic!("no path like {path}"));
        for figure in ["checks_sent", "bytes_sent"] {
            let [ours, seen] = [path, other].map(|path| path[figure].as_u64().unwrap());
            let interface = path["local_interface"].as_str().unwrap();
            assert_sent(&format!("{figure} of {path}"), interface, ours, seen);
        }
        let answered = |path: &Value| path["checks_answered"].as_u64().unwrap();
        assert_answered(&path["local_interface"].to_string(), answered(path), answered(other));
        for figure in ["first_check_ms", "first_usable_ms"] {
            assert_close(figure, &path[figure], &other[figure], TIMES_MS);
        }
    }
}

/// The interruption, inferred from the size and cadence of what cannot be decrypted.
fn assert_same_silences(stage: &Stage, run: &Value, laptop: &Value) {
    let desktop = dissected(stage, run, "desktop");
    for (way, seen) in [("down_ms", laptop), ("up_ms", &desktop)] {
        let inferred = &seen["metrics"]["inferred"];
        assert_eq!(inferred["payload_from"], "size-and-cadence", "{inferred}");
        assert_close("interval", &Value::from(20.0), &inferred["interval_ms"], 1.0);
        let error_ms = inferred["error_ms"].as_f64().unwrap() + TIMES_MS;
        let steps = run["metrics"]["disturbances"].as_array().unwrap();
        assert!(!steps.is_empty());
        for (index, step) in steps.iter().enumerate() {
            let theirs = &seen["metrics"]["disturbances"][index];
            assert_eq!(theirs["what"], step["what"]);
            assert_close(way, &step[way], &theirs["down_ms"], error_ms);
        }
    }
}

#[test]
fn a_capture_without_keys_gives_the_metrics_of_its_run() {
    let stage = Stage::for_one_user();
    let sets = ["duration=14s", "timeline.0.at=8s", "expect=[]"].map(|set| ["--set", set]).concat();
    let told = stage.run(&[&sets[..], &["--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    let laptop = dissected(&stage, run, "laptop");
    assert_same_paths(run, &laptop);
    assert_same_traffic(run, &laptop);
    assert_same_silences(&stage, run, &laptop);
}

#[test]
fn relays_of_both_kinds_are_found_in_captures() {
    let stage = Stage::for_one_user();
    for scenario in ["networks/relayed-call.yaml", "whatsapp/call-relays.yaml"] {
        let file = stage.take_scenario(scenario);
        let told = stage.run_file(&file, &["--json"]);
        let run = &results(&told.stdout)[0];
        assert_valid_but_for_timing(run);
        let laptop = dissected(&stage, run, "laptop");
        let relay = &run["metrics"]["relay_path_ms"];
        assert!(relay.is_number(), "{scenario}: {relay}");
        assert_close(scenario, relay, &laptop["metrics"]["relay_path_ms"], TIMES_MS);
    }
}
