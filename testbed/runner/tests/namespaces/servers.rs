//! Servers on the model's internet: each kind runs, is reached from a host's namespace by programs that know nothing of
//! the test bed, ends with the run, and is missed when it dies.

use crate::{SHORT, assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    thread,
};

const SERVERS: &str = "servers={meet: {kind: rendezvous, delay: 5ms}, seen: {kind: stun, delay: 5ms}, \
                       relay: {kind: relay, delay: 5ms}, turn: {kind: coturn, delay: 5ms}, \
                       speed: {kind: iperf3, delay: 5ms}}";

#[test]
fn every_kind_of_server_serves_through_the_model() {
    let stage = Stage::for_one_user_alone();
    // The laptop's NAT is what its probe must tell of, so there is one kind only.
    let sets = ["duration=14s", "timeline=[]", "expect=[]", "networks.o2.nat=[]", SERVERS];
    let running = stage.start(&[&sets.map(|set| ["--set", set]).concat()[..], &["--json"]].concat());
    let events = stage.wait_for_event("\"kind\":\"payload_received\"");
    let log = fs::read_to_string(&events).unwrap();
    let client = pid_of("laptop", &log);
    let programs = [
        iperf3(client, "198.51.100.4"),
        probe(&stage, client, "198.51.100.2", "wlan0"),
        probe(&stage, client, "198.51.100.3", "wlan0"),
        probe(&stage, client, "198.51.100.5", "wlan0"),
    ];
    let outputs = programs.map(|mut program| thread::spawn(move || program.output().unwrap()));
    let [iperf3, probes @ ..] = outputs.map(|output| output.join().unwrap());
    let told = running.wait();
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);

    let report = json(&iperf3);
    assert!(report["end"]["sum_received"]["bytes"].as_u64() > Some(50_000), "{report}");
    for output in &probes {
        let report = json(output);
        let text = report.to_string();
        assert!(text.contains("\"address-and-port-dependent\""), "filtering: {text}");
        assert!(text.contains("\"endpoint-independent\""), "mapping: {text}");
    }

    let directory = events.parent().unwrap();
    let manifest: Value =
        serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    let program = |server: &str| manifest["hosts"][server]["program"].as_str().unwrap().to_owned();
    assert!(program("turn").starts_with("turnserver 4."), "{manifest}");
    assert!(program("speed").starts_with("iperf3 iperf 3."), "{manifest}");
    assert!(program("seen").starts_with("iceperf ") && program("seen").ends_with(" relay"), "{manifest}");
    let addresses = |server: &str| manifest["hosts"][server]["interfaces"]["eth0"].as_array().unwrap().len();
    assert_eq!(["meet", "seen", "relay", "turn", "speed"].map(addresses), [2, 4, 4, 4, 2]);
    assert!(said(directory, "turn").contains("Relay ports initialization done"));
    assert!(said(directory, "speed").contains("Accepted connection from "));
    let told_coturn = fs::read_to_string(directory.join("hosts/turn/turnserver.conf")).unwrap();
    assert!(told_coturn.contains("lt-cred-mech") && !told_coturn.contains("user="), "{told_coturn}");
    for left in
        ["hosts/turn/turnserver.db", "hosts/turn/turnserver.pid", "hosts/relay/secret", "hosts/seen/secret"]
    {
        assert!(!directory.join(left).exists(), "{left} is left");
    }
    assert_eq!(stage.children(), Vec::<String>::new(), "processes are left");
}

#[test]
fn a_server_that_dies_ends_the_run_with_its_last_words() {
    for stage in Stage::for_every_user() {
        let servers = ["--set", "servers.turn={kind: coturn, delay: 5ms}", "--set", "duration=30s"];
        let running = stage.start(&[&SHORT[2..], &servers, &["--json"]].concat());
        stage.wait_for_event("\"kind\":\"payload_received\"");
        stage.kill_child("turnserver");
        let told = running.wait();
        assert_eq!(told.code, Some(4), "{told:?}");
        let why = results(&told.stdout)[0]["invalid_why"].as_str().unwrap().to_owned();
        assert!(why.starts_with("turn (coturn) ended early (signal: 9"), "{why}");
        assert!(
            why.contains("\n  ") && why.contains("SQLite DB connection success"),
            "its last words: {why}"
        );
        assert_eq!(stage.children(), Vec::<String>::new());
    }
}

/// Ours and Debian's, and with either engine: where nothing but a relay can carry a call, it does, and without it nothing
/// does.
#[test]
fn a_relay_carries_the_call_that_no_direct_path_can() {
    const QUICHE: &str = "peers.client.engine=quiche";
    let stage = Stage::for_one_user();
    let file = stage.take_scenario("networks/relayed-call.yaml");
    let gone = "timeline=[{at: 3s, do: {server_down: turn}}, {at: 4500ms, do: {server_up: turn}}]";
    for (kind, sets) in [
        ("relay", &["duration=7s", gone, "expect.1.relay_path.below=3s", "expect.2.lost.below=60%"][..]),
        ("coturn", &["duration=4s", "expect.1.relay_path.below=3s", "expect.2.lost.below=30%"]),
        ("relay", &[QUICHE, "duration=4s", "expect.1.relay_path.below=3s", "expect.2.lost.below=30%"]),
    ] {
        let kind_of_server = format!("servers.turn.kind={kind}");
        let sets = [sets, &[kind_of_server.as_str()]].concat();
        let sets: Vec<&str> = sets.into_iter().flat_map(|set| ["--set", set]).collect();
        let told = stage.run_file(&file, &[&sets[..], &["--json"]].concat());
        let run = &results(&told.stdout)[0];
        assert_valid_but_for_timing(run);
        assert!(run["expectations"].as_array().unwrap().iter().all(|one| one["ok"] == true), "{kind}: {run}");
        assert!(run["metrics"]["call"]["down"]["received"].as_u64() > Some(50), "{kind}: {run}");
        for step in run["metrics"]["disturbances"].as_array().unwrap() {
            assert_eq!(step["same_connection"], true, "{kind}: {step}");
        }
        if let Some(down) = run["metrics"]["disturbances"].get(0) {
            assert_eq!(down["what"], "server_down turn");
            assert!(
                down["interruption_ms"].as_f64() > Some(1_400.0),
                "nothing but the relay carries: {down}"
            );
        }
        let directory = stage.path(run["run_dir"].as_str().unwrap());
        assert!(!directory.join("hosts/laptop/relays").exists(), "the password is left");
    }
}

/// The process of a host, as the record tells.
fn pid_of(host: &str, log: &str) -> u64 {
    let events = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let mut ready = events.filter(|event| event["kind"] == "ready" && event["host"] == host);
    ready.next().and_then(|event| event["fields"]["pid"].as_u64()).expect("it said that it is ready")
}

/// A program in the namespace of a process.
fn beside(pid: u64, program: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg("--target").arg(pid.to_string()).arg("--net");
    if !nix::unistd::geteuid().is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.arg(program);
    command
}

fn iperf3(pid: u64, server: &str) -> Command {
    let mut command = beside(pid, Path::new("iperf3"));
    command.args(["--json", "--time", "1", "--client", server]);
    command
}

fn probe(stage: &Stage, pid: u64, server: &str, interface: &str) -> Command {
    let iceperf: PathBuf = stage.path("iceperf");
    let mut command = beside(pid, &iceperf);
    command.args(["probe", "nat", server, "--interface", interface, "--json"]);
    command
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(directory: &Path, server: &str) -> String {
    fs::read_to_string(directory.join("hosts").join(server).join("stdout.log")).unwrap()
}
