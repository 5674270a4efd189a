//! `testbed run` end to end: real namespaces, the real `iceperf`, as root and as an ordinary user.
//!
//! Asserted is what holds on any machine, however busy: survival, the same connection, how, what is left behind and
//! what is not. Never how fast. What cannot be tested as the user that runs the tests is said on standard error.

mod baselines;
mod blocking;
#[cfg(feature = "dissect")]
mod captures;
#[path = "../common/mod.rs"]
mod common;
mod evidence;
mod losses;
mod networks;
mod policies;
mod servers;
mod stage;
mod timing;
mod verify;

use serde_json::Value;
use stage::{Killed, Stage, wait_until};
use std::{fs, path::Path, time::Duration};

/// WiFi goes off two seconds into the call, and the run ends two seconds later.
pub(crate) const SHORT: [&str; 4] = ["--set", "duration=4s", "--set", "timeline.0.at=2s"];
/// What holds on a busy machine, too.
const EXPECT: [&str; 2] = ["--set", "expect=[{same_connection: true}, {how: multipath}]"];

/// How every ticket begins; who has one may call.
const TICKET: &[u8] = b"iceperf1-";

pub(crate) fn results(document: &str) -> Vec<Value> {
    match serde_json::from_str(document) {
        Ok(Value::Array(results)) => results,
        other => panic!("not an array of results: {other:?}: {document}"),
    }
}

/// A machine under load may be too late for valid figures, or lose packets at its devices, and no other reason is good.
pub(crate) fn assert_valid_but_for_timing(results: &Value) {
    let why = results["invalid_why"].as_str().unwrap_or("timing:");
    let may_be = |why: &str| ["timing:", "harness:", "model:"].iter().any(|kind| why.starts_with(kind));
    assert!(why.split("; ").all(may_be), "{why}");
}

/// Everything that the contract names, and hashes that are right.
fn assert_complete(run: &Path) {
    let manifest: Value = serde_json::from_slice(&fs::read(run.join("manifest.json")).unwrap()).unwrap();
    for name in [
        "scenario.yaml",
        "scenario.resolved.json",
        "events.jsonl",
        "results.json",
        "hosts/laptop/stdout.log",
        "hosts/laptop/stderr.log",
        "hosts/desktop/stdout.log",
        "hosts/meet/stdout.log",
        "hosts/laptop/capture.pcapng",
        "hosts/laptop/keys.log",
        "hosts/desktop/capture.pcapng",
        "hosts/desktop/keys.log",
    ] {
        assert!(manifest["sha256"][name].is_string(), "{name} is in {manifest}");
    }
    let directory = record::RunDirectory::open(run).unwrap();
    let hashes = serde_json::to_value(directory.hashes().unwrap()).unwrap();
    assert_eq!(hashes, manifest["sha256"]);
    for name in directory.hashes().unwrap().keys().map(String::as_str).chain(["manifest.json"]) {
        let bytes = fs::read(run.join(name)).unwrap();
        let ticket = bytes.windows(TICKET.len()).any(|window| window == TICKET);
        assert!(!ticket, "{name} holds a ticket");
    }
    let secrets = fs::read_dir(run.join("hosts/desktop")).unwrap().map(|entry| entry.unwrap().file_name());
    let secrets: Vec<_> = secrets.filter(|name| name == "identity" || name == "ticket").collect();
    assert!(secrets.is_empty(), "what lets others in is left: {secrets:?}");
    assert_eq!(manifest["backend"], "netns");
    assert!(manifest["kernel"].as_str().unwrap().starts_with("Linux "));
    assert_eq!(manifest["hosts"]["laptop"]["interfaces"]["wlan0"].as_array().map(Vec::len), Some(2));
}

#[test]
fn the_call_survives_on_the_same_connection_and_leaves_a_complete_directory() {
    for stage in Stage::for_every_user() {
        let told = stage.run(&[&SHORT[..], &EXPECT, &["--json"]].concat());
        let results = results(&told.stdout);
        let [run] = results.as_slice() else { panic!("one run: {told:?}") };
        assert_valid_but_for_timing(run);
        assert!(matches!(told.code, Some(0 | 4)), "{told:?}");
        assert_eq!(run["seed"], 7);
        let [step] = run["metrics"]["disturbances"].as_array().unwrap().as_slice() else { panic!("{run}") };
        assert_eq!((&step["same_connection"], &step["how"]), (&true.into(), &"multipath".into()), "{step}");
        assert_eq!(step["what"], "down laptop.wlan0");
        assert!(step["interruption_ms"].is_number(), "{step}");
        assert!(run["expectations"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{run}");
        assert!(run["run_dir"].as_str().unwrap().starts_with('/'), "{run}");
        let directory = stage.path(run["run_dir"].as_str().unwrap());
        assert_complete(&directory);
        let latest = stage.out().join("latest").canonicalize().unwrap();
        assert_eq!(latest, directory.canonicalize().unwrap());
        assert_eq!(stage.children(), Vec::<String>::new(), "processes are left");
    }
}

#[test]
fn what_people_read_has_every_part() {
    let stage = Stage::for_one_user();
    let told = stage.run(&[&SHORT[..], &EXPECT].concat());
    assert!(matches!(told.code, Some(0 | 4)), "{told:?}");
    for part in [
        "wifi-off-in-call, seed 7, netns, 4 s\nDoes the call survive",
        "\nTimeline\n",
        "step: down laptop.wlan0",
        "the call survived: multipath, same connection",
        "  ok      same_connection: expected true, measured true",
        "\nRun directory: ",
    ] {
        assert!(told.stdout.contains(part), "{part:?} is missing in {}", told.stdout);
    }
    // A run that a busy machine made invalid is not put beside anything.
    let is_valid = told.code == Some(0);
    for part in ["\nBeside the observations (", "wa-off-interruption", "single run"] {
        assert_eq!(told.stdout.contains(part), is_valid, "{part:?}: {}", told.stdout);
    }
    assert!(!told.stdout.contains('\u{1b}'), "{}", told.stdout);
    let again = stage.testbed(&["compare", &stage.out().join("latest").display().to_string()]);
    assert_eq!(again.code, told.code, "{again:?}");
    let part = if is_valid { "wa-off-interruption" } else { "no valid run" };
    assert!(again.stdout.contains(part), "{again:?}");
}

#[test]
fn repeats_take_the_seeds_that_follow() {
    let stage = Stage::for_one_user();
    let told = stage.run(&[&SHORT[..], &EXPECT, &["--seed", "41", "--repeat", "2", "--json"]].concat());
    let results = results(&told.stdout);
    let seeds: Vec<&Value> = results.iter().map(|run| &run["seed"]).collect();
    assert_eq!(seeds, [41, 42]);
    for run in &results {
        let directory = stage.path(run["run_dir"].as_str().unwrap());
        let scenario = fs::read(directory.join("scenario.resolved.json")).unwrap();
        let scenario: Value = serde_json::from_slice(&scenario).unwrap();
        assert_eq!(scenario["seed"], run["seed"]);
    }
    // One experiment, however often its runs are named.
    let (all, one) = (stage.out().display().to_string(), stage.out().join("latest").display().to_string());
    let told = stage.testbed(&["compare", &one, &all, &one, "--json"]);
    let document: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    let [group] = document["groups"].as_array().unwrap().as_slice() else { panic!("{document}") };
    let (runs, invalid) = (group["runs"].as_array().unwrap(), group["invalid"].as_array().unwrap());
    assert_eq!((runs.len() + invalid.len(), &group["differs"]), (2, &serde_json::json!({})), "{document}");
}

#[test]
fn an_interface_may_come_back_and_a_link_may_be_lost() {
    let stage = Stage::for_one_user();
    let timeline = "timeline=[{at: 2s, do: {down: laptop.wlan0}}, {at: 3s, do: {up: laptop.wlan0}}, \
                    {at: 6s, do: {carrier_off: laptop.wwan0}}, {at: 7s, do: {carrier_on: laptop.wwan0}}]";
    let expect = "expect=[{same_connection: true}]";
    let told = stage.run(&["--set", "duration=9s", "--set", timeline, "--set", expect, "--json"]);
    let results = results(&told.stdout);
    assert_valid_but_for_timing(&results[0]);
    let steps = results[0]["metrics"]["disturbances"].as_array().unwrap();
    assert_eq!(steps.len(), 4, "{steps:?}");
    assert!(steps.iter().all(|step| step["same_connection"] == true && step["how"] != "failed"), "{steps:?}");
}

#[test]
fn peers_of_one_network_need_no_rendezvous() {
    let stage = Stage::for_one_user();
    let told = stage.run(
        &[
            &SHORT[..],
            &EXPECT,
            &["--set", "hosts.desktop.interfaces.eth0={type: lan, network: home}"],
            &["--set", "servers={}", "--json"],
        ]
        .concat(),
    );
    let results = results(&told.stdout);
    assert_valid_but_for_timing(&results[0]);
    assert!(results[0]["metrics"]["first_path_ms"].is_number(), "{told:?}");
    assert!(results[0]["metrics"]["call"]["down"]["received"].as_u64() > Some(50), "{told:?}");
}

#[test]
fn a_call_that_does_not_survive_is_a_failed_expectation() {
    let stage = Stage::for_one_user();
    let all_down = "timeline=[{at: 2s, do: {down: laptop.wlan0}}, {at: 2s, do: {down: laptop.wwan0}}]";
    let told = stage.run(&[&SHORT[..2], &EXPECT, &["--set", all_down, "--json"]].concat());
    let results = results(&told.stdout);
    assert_valid_but_for_timing(&results[0]);
    assert!(matches!(told.code, Some(1 | 4)), "{told:?}");
    let steps = results[0]["metrics"]["disturbances"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["how"] == "failed"), "{steps:?}");
}

#[test]
fn peers_that_cannot_meet_are_a_result_and_no_accident() {
    let stage = Stage::for_one_user();
    let cut_off = ["--set", "networks.telekom.ipv6=false", "--set", "timeline=[]", "--set", "duration=3s"];
    let expect = ["--set", "expect=[{first_path: {below: 1s}}]", "--json"];
    let told = stage.run(&[&cut_off[..], &expect].concat());
    let results = results(&told.stdout);
    assert_valid_but_for_timing(&results[0]);
    assert!(matches!(told.code, Some(1 | 4)), "{told:?}");
    assert_eq!(results[0]["metrics"]["first_path_ms"], Value::Null);
}

#[test]
fn kill_9_leaves_nothing_running_and_a_readable_directory() {
    for stage in Stage::for_every_user() {
        let running = stage.start(&SHORT);
        let events = stage.wait_for_event("\"kind\":\"payload_received\"");
        assert_eq!(stage.children().len(), 3, "rendezvous, server, client");
        assert_eq!(running.kill(Killed::Outright).signal, Some(9));
        wait_until("its processes are gone", || stage.children().is_empty());
        let log = record::read_events(&events).unwrap();
        assert!(log.events.len() > 50, "{}", log.events.len());
        let directory = events.parent().unwrap();
        let latest = stage.out().join("latest").canonicalize().unwrap();
        assert_eq!(latest, directory.canonicalize().unwrap(), "a killed run is the latest, too");
        let told = stage.testbed(&["compare", &directory.display().to_string()]);
        assert_eq!(told.code, Some(4), "no valid run: {told:?}");
        assert!(told.stderr.contains("the run was killed before its end"), "{told:?}");
        assert_eq!(told.stdout, "no valid run\n", "{told:?}");
    }
}

#[test]
fn an_interrupted_run_stops_its_processes_and_seals_its_directory() {
    for (stage, (how, name, code)) in Stage::for_every_user()
        .into_iter()
        .zip([(Killed::Interrupted, "SIGINT", 130), (Killed::Terminated, "SIGTERM", 143)])
    {
        let running = stage.start(&[&SHORT[..], &["--repeat", "3", "--json"]].concat());
        let events = stage.wait_for_event("\"kind\":\"payload_received\"");
        let told = running.kill(how);
        assert_eq!(told.code, Some(code), "{told:?}");
        assert_eq!(stage.children(), Vec::<String>::new());
        assert_complete(events.parent().unwrap());
        let results = results(&told.stdout);
        assert_eq!(results.len(), 1, "no further repeat is begun");
        assert_eq!(results[0]["invalid_why"], format!("interrupted by {name}"));
    }
}

#[test]
fn a_peer_that_dies_makes_the_run_invalid() {
    let stage = Stage::for_one_user();
    let running = stage.start(&[&SHORT[..], &["--json"]].concat());
    stage.wait_for_event("\"kind\":\"payload_received\"");
    stage.kill_child("client");
    let told = running.wait();
    assert_eq!(told.code, Some(4), "{told:?}");
    let why = results(&told.stdout)[0]["invalid_why"].as_str().unwrap().to_owned();
    assert!(why.starts_with("laptop (iceperf client) ended early (signal: 9"), "{why}");
}

/// Programs that say they are iceperf, and then do not behave.
#[test]
fn an_iceperf_that_misbehaves_is_told_with_its_own_words() {
    let stage = Stage::for_one_user();
    let ready =
        r#"printf '{"t_ns":-1,"host":"%s","kind":"ready","fields":{"version":"x","pid":1}}\n' $host >&3"#;
    let cases = [
        ("echo cannot bind: port in use >&2; exit 3", 3, "ended before it was ready (exit status: 3)"),
        ("echo nonsense >&3; exec sleep 60", 4, "wrote what is no event of this version"),
        (r#"host=other; READY; exec sleep 60"#, 4, "wrote an event of other"),
        ("READY; sleep 1; echo out of luck >&2; exit 9", 4, "ended early (exit status: 9)\n  out of luck"),
    ];
    for (body, code, why) in cases {
        let iceperf = stage.fake_iceperf(&body.replace("READY", ready));
        let told = stage.run(&[&SHORT[..], &["--iceperf", &iceperf]].concat());
        assert_eq!(told.code, Some(code), "{body}: {told:?}");
        let all = format!("{}{}", told.stdout, told.stderr);
        assert!(all.contains(why), "{body}: {all}");
        assert_eq!(stage.children(), Vec::<String>::new(), "{body}");
    }
    let iceperf = stage.fake_iceperf("echo cannot bind: port in use >&2; exit 3");
    let told = stage.run(&["--iceperf", &iceperf]);
    assert!(told.stderr.contains("\n  cannot bind: port in use"), "{told:?}");
}

#[test]
fn a_run_that_cannot_be_set_up_does_not_end_the_series() {
    let stage = Stage::for_one_user();
    let iceperf = stage.fake_iceperf("echo cannot bind: port in use >&2; exit 3");
    let series = ["run", "scenario.yaml", "again.yaml", "--out", "out", "--repeat", "2"];
    let tun = stage.tun();
    let series = [&series[..], &["--tun", &tun, "--iceperf", &iceperf]].concat();
    fs::copy(stage.path("scenario.yaml"), stage.path("again.yaml")).unwrap();
    let told = stage.testbed(&[&series[..], &["--json"]].concat());
    assert_eq!(told.code, Some(3), "{told:?}");
    let runs = results(&told.stdout);
    let seeds: Vec<&Value> = runs.iter().map(|run| &run["seed"]).collect();
    assert_eq!(seeds, [7, 8, 7, 8]);
    for run in &runs {
        assert_eq!(run["valid"], false);
        let why = run["invalid_why"].as_str().unwrap();
        assert!(why.starts_with("the run did not start: ") && why.contains("port in use"), "{why}");
        assert!(stage.path(run["run_dir"].as_str().unwrap()).join("results.json").is_file(), "{run}");
    }
    let told = stage.testbed(&series);
    assert_eq!(told.stdout.matches("wifi-off-in-call: 0 of 2 runs valid").count(), 2, "{told:?}");
    assert_eq!(told.stderr.matches("error: wifi-off-in-call, seed 8: cannot set the run up").count(), 2);
}

#[test]
fn a_series_goes_on_after_a_run_that_never_started() {
    let stage = Stage::for_one_user();
    let (mark, real) = (stage.path("mark"), stage.path("iceperf"));
    let (mark, real) = (mark.display(), real.display());
    let fake = stage.path("fails-once");
    let text = format!(
        "#!/bin/sh\n[ \"$1\" != --version ] && mkdir {mark} 2>/dev/null && exit 3\nexec {real} \"$@\"\n"
    );
    fs::write(&fake, text).unwrap();
    fs::set_permissions(&fake, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let told = stage.run(
        &[&SHORT[..], &EXPECT, &["--repeat", "2", "--json", "--iceperf", &fake.display().to_string()]]
            .concat(),
    );
    let runs = results(&told.stdout);
    assert_eq!(runs.len(), 2, "{told:?}");
    assert_eq!((&runs[0]["seed"], &runs[0]["valid"]), (&7.into(), &false.into()));
    assert_valid_but_for_timing(&runs[1]);
    assert_eq!(runs[1]["metrics"]["disturbances"][0]["how"], "multipath", "{told:?}");
    assert!(matches!(told.code, Some(3 | 4)), "{told:?}");
}

#[test]
fn without_a_tun_device_the_fix_is_told() {
    for stage in Stage::for_every_user() {
        for (tun, why) in [
            ("/nonexistent", "fix: leave out --tun, or: sudo mknod -m 0666 /nonexistent c 10 200"),
            ("/dev/null", "/dev/null is not the TUN device"),
        ] {
            let told = stage.run_with_tun(tun, &["--json"]);
            assert_eq!(told.code, Some(3), "{told:?}");
            assert!(told.stderr.contains(why), "{told:?}");
            assert_eq!(told.stdout.trim(), "[]");
        }
    }
}

#[test]
fn a_tun_device_that_may_not_be_opened_is_told() {
    let Some(stage) = Stage::for_an_ordinary_user_made_by_root() else { return };
    let told = stage.run_with_tun(&stage.forbidden_tun(), &[]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stderr.contains("fix: sudo chmod 0666 "), "{told:?}");
}

/// Root needs no user namespace; an ordinary user's is made.
#[test]
fn the_doctor_says_that_scenarios_can_be_run_where_they_can() {
    for stage in Stage::for_every_user() {
        let tun = stage.tun();
        let told = stage.testbed(&["doctor", "--tun", &tun, "--json"]);
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""), "{told:?}");
        let report: Value = serde_json::from_str(&told.stdout).unwrap();
        assert_eq!(report["netns"], true);
        let found = &report["checks"][0]["found"];
        assert!(found == "not needed by root" || found == "can be made by this user", "{found}");
        let told = stage.testbed(&["doctor", "--tun", &tun]);
        assert!(told.stdout.ends_with("\nScenarios can be run here (--backend netns).\n"), "{told:?}");
    }
    if let Some(stage) = Stage::for_an_ordinary_user_made_by_root() {
        let told = stage.testbed(&["doctor", "--tun", &stage.forbidden_tun()]);
        assert_eq!(told.code, Some(3), "{told:?}");
        assert!(told.stdout.contains("\n           fix: sudo chmod 0666 "), "{told:?}");
    }
}

/// Runs do not stay within the patience of a test that hangs.
#[test]
fn a_peer_that_never_gets_ready_is_told() {
    let stage = Stage::for_one_user();
    let iceperf = stage.fake_iceperf("echo thinking >&2; exec sleep 60");
    let told = stage.run(&["--iceperf", &iceperf]);
    assert_eq!(told.code, Some(3), "{told:?}");
    assert!(told.stderr.contains("not ready within 15s"), "{told:?}");
    assert!(told.stderr.contains("(iceperf client)\n  thinking"), "{told:?}");
    assert!(stage::PATIENCE > Duration::from_secs(15));
}
