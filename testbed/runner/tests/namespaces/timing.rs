//! Time in real runs: what begins at time zero, however long the set-up took.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use record::{Event, EventKind};
use std::{fs, os::unix::fs::PermissionsExt as _};

/// A call whose client has a link that carries nothing from 3 s to 4 s of its trace.
const PAUSE: &str = "scenario: pause
why: When does the trace of a link begin?
seed: 7
duration: 6s
hosts:
  laptop: {interfaces: {wlan0: {type: wifi, network: home}}}
  desktop: {interfaces: {eth0: {type: lan, network: far}}}
networks:
  home: {link: {delay: 5ms, trace: pause.trace}}
  far: {link: {delay: 5ms}}
servers: {meet: {kind: rendezvous, delay: 5ms}}
peers:
  client: {host: laptop, workload: {call: {rate: 50/s}}}
  server: {host: desktop}
";

/// Events of the only run of a document.
fn events(stage: &Stage, run: &serde_json::Value) -> Vec<Event> {
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    record::read_events(&directory.join("events.jsonl")).unwrap().events
}

/// The longest time without an arrival at a host, in milliseconds since time zero.
fn longest_gap(events: &[Event], host: &str) -> (i64, i64) {
    let arrivals = events.iter().filter(|event| event.host == host);
    let arrivals = arrivals.filter(|event| matches!(event.what, EventKind::PayloadReceived { .. }));
    let times: Vec<i64> = arrivals.map(|event| event.t_ns / 1_000_000).collect();
    let gap = times.windows(2).map(|pair| (pair[0], pair[1])).max_by_key(|(from, to)| to - from);
    gap.expect("something arrives")
}

/// A client that needs 3 s longer to be ready meets the same network.
#[test]
fn a_trace_begins_at_time_zero_however_long_the_set_up_takes() {
    let stage = Stage::for_one_user();
    fs::write(stage.path("pause.yaml"), PAUSE).unwrap();
    let trace: String = (1..=3_000).chain(4_000..=20_000).map(|time| format!("{time}\n")).collect();
    fs::write(stage.path("pause.trace"), trace).unwrap();
    for delay in [0, 3] {
        let (real, slow) = (stage.path("iceperf"), stage.path("slow"));
        let text =
            format!("#!/bin/sh\n[ \"$1\" = client ] && sleep {delay}\nexec {} \"$@\"\n", real.display());
        fs::write(&slow, text).unwrap();
        fs::set_permissions(&slow, fs::Permissions::from_mode(0o755)).unwrap();
        let told = stage.run_file("pause.yaml", &["--json", "--iceperf", &slow.display().to_string()]);
        let results = results(&told.stdout);
        assert_valid_but_for_timing(&results[0]);
        let events = events(&stage, &results[0]);
        for host in ["laptop", "desktop"] {
            let (from, to) = longest_gap(&events, host);
            // A packet of the call leaves every 20 ms; the rest is for a busy machine.
            assert!(
                (2_900..3_100).contains(&from) && (4_000..4_200).contains(&to),
                "{delay}, {host}: {from} {to}"
            );
        }
    }
}
