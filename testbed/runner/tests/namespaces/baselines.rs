//! Ways to call that are not ours: they work, and what they cannot do is told as it is.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;
use std::{fs, path::Path};

/// What `ice_state` told on a host, in order.
fn states(run: &Path, host: &str) -> Vec<String> {
    let text = fs::read_to_string(run.join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let of_host = events.filter(|event| event["kind"] == "ice_state" && event["host"] == host);
    of_host.map(|event| event["fields"]["state"].as_str().unwrap().to_owned()).collect()
}

/// An ordinary agent keeps one pair and notices its end by silence: the call is silent until ICE was restarted, and the
/// run is as valid as any.
#[test]
fn a_call_over_webrtc_ice_is_silent_until_ice_was_restarted() {
    let stage = Stage::for_one_user();
    let file = stage.take_scenario("baselines/ordinary-ice-wifi-off.yaml");
    let sets = ["duration=24s", "timeline.0.at=3s", "expect=[]"].map(|set| ["--set", set]).concat();
    let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    let metrics = &run["metrics"];
    let step = &metrics["disturbances"][0];
    assert!(["migrated", "rebuilt"].contains(&step["how"].as_str().unwrap()), "{step}");
    assert_eq!(step["detected_by"], "check-silence", "{step}");
    // Its own times: disconnected after 2.5 s without an answer, failed after 15 s. A busy machine is only later.
    assert!(step["detected_ms"].as_f64().unwrap() > 2_000.0, "{step}");
    assert!(step["interruption_ms"].as_f64().unwrap() > 14_000.0, "{step}");
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    for host in ["laptop", "desktop"] {
        let states = states(&directory, host);
        let place = |word: &str| states.iter().position(|state| state == word).unwrap_or(usize::MAX);
        assert!(place("checking") < place("connected"), "{states:?}");
        assert!(place("connected") < place("disconnected"), "{states:?}");
        assert!(place("disconnected") < place("restart"), "{states:?}");
        assert_eq!(states.last().unwrap(), "connected", "{host}: {states:?}");
    }
    let paths = metrics["paths"].as_array().unwrap();
    let interfaces: Vec<&str> = paths.iter().map(|path| path["local_interface"].as_str().unwrap()).collect();
    assert_eq!(interfaces.first(), Some(&"wlan0"), "{paths:?}");
    assert_eq!(interfaces.last(), Some(&"wwan0"), "{paths:?}");
    assert!(metrics["first_path_ms"].as_f64().is_some(), "{metrics}");
}

/// Both agents go through the same scenario; only ours has another path to go to.
#[test]
fn the_same_scenario_takes_our_agent() {
    let stage = Stage::for_one_user();
    let file = stage.take_scenario("baselines/ordinary-ice-wifi-off.yaml");
    let sets = ["duration=5s", "timeline.0.at=2s", "peers.client.ice=ours", "expect=[{how: multipath}]"];
    let told = stage.run_file(&file, &[&sets.map(|set| ["--set", set]).concat()[..], &["--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    assert_eq!(run["metrics"]["disturbances"][0]["how"], "multipath", "{run}");
    assert_eq!(states(&stage.path(run["run_dir"].as_str().unwrap()), "laptop"), Vec::<String>::new());
}

/// Our agent as RFC 8445 asks for and no more: the loss leads to a new session, of which the other end hears from the
/// rendezvous server.
#[test]
fn a_call_under_rfc8445_restarts_ice_and_goes_on() {
    let stage = Stage::for_one_user();
    let file = stage.take_scenario("baselines/rfc8445-wifi-off.yaml");
    let sets = ["duration=8s", "timeline.0.at=3s", "expect=[]"].map(|set| ["--set", set]).concat();
    let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    let step = &run["metrics"]["disturbances"][0];
    assert_eq!(step["how"], "migrated", "{step}");
    // By the kernel, in whichever way is first: on a busy machine a packet may be refused before netlink tells.
    let by = step["detected_by"].as_str().unwrap();
    assert!(["interface-down", "send-error"].contains(&by), "{step}");
    let text = fs::read_to_string(stage.path(run["run_dir"].as_str().unwrap()).join("events.jsonl")).unwrap();
    let events = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let restarts = events.filter(|event| event["kind"] == "ice_restart");
    let told: Vec<_> =
        restarts.map(|event| (event["host"].clone(), event["fields"]["session"].clone())).collect();
    assert_eq!(told, [("laptop".into(), 1.into()), ("desktop".into(), 1.into())]);
}
