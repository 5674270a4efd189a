//! Time in real runs: what begins at time zero, however long the set-up took, and what the harness does when it stands still.

use crate::{
    SHORT, assert_valid_but_for_timing, results,
    stage::{Running, Stage},
};
use record::{Event, EventKind};
use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt as _, time::Duration};

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

/// A run in which `stop` stops a process for a time after the step; `process` is its name in the record.
fn stopped(process: &str, time: Duration, stop: impl FnOnce(&Stage, &Running, Duration)) -> Vec<Event> {
    let stage = Stage::for_one_user();
    let running = stage.start(&[&SHORT[..], &["--json"]].concat());
    stage.wait_for_event("\"kind\":\"disturbance\"");
    stop(&stage, &running, time);
    let told = running.wait();
    assert_eq!(told.code, Some(4), "{told:?}");
    let results = results(&told.stdout);
    let step = &results[0]["metrics"]["disturbances"][0];
    let why = results[0]["invalid_why"].as_str().unwrap();
    let named = why.split("; ").find(|why| why.starts_with("harness: ")).unwrap_or_else(|| panic!("{why}"));
    let (who, rest) = named.split_once(" stood still for ").unwrap_or_else(|| panic!("{why}"));
    assert!(who.split([' ', ':']).any(|word| word == process), "{why}");
    assert!(rest.ends_with(" after `down laptop.wlan0`"), "{why}");
    // Others may have stood still beside it, on a busy machine; and what the emulator delivered late counts, too.
    let (harness_ms, stopped_ms) = (step["harness_ms"].as_f64().unwrap(), time.as_secs_f64() * 1e3);
    assert!((stopped_ms - 10.0..stopped_ms + 400.0).contains(&harness_ms), "{harness_ms} of {stopped_ms}");
    assert!(step["interruption_ms"].as_f64().unwrap() > 0.0, "the figure is kept: {step}");
    let events = events(&stage, &results[0]);
    let stalls: Vec<i64> = events
        .iter()
        .filter_map(|event| match &event.what {
            EventKind::Stall { process: of, from_ns, to_ns } if of == process => {
                Some((to_ns - from_ns) / 1_000_000)
            }
            _ => None,
        })
        .collect();
    let longest = stalls.iter().max().copied().unwrap_or(0) as f64;
    assert!((stopped_ms - 10.0..stopped_ms + 300.0).contains(&longest), "{stalls:?}");
    events
}

#[test]
fn an_emulator_that_stands_still_makes_the_run_invalid() {
    let events = stopped("testbed", Duration::from_millis(900), |_, running, time| running.pause(time));
    // What the peers sent meanwhile waited in the devices.
    let late = events.iter().filter_map(|event| match event.what {
        EventKind::LinkSample { direction: record::Direction::Up, late_ns, .. } => Some(late_ns / 1_000_000),
        _ => None,
    });
    let late = late.max().unwrap_or(0);
    assert!((800..1_300).contains(&late), "{late} ms");
}

#[test]
fn a_peer_that_stands_still_makes_the_run_invalid() {
    stopped("desktop", Duration::from_millis(500), |stage, _, time| stage.pause_child("server", time));
}

/// Every link is sampled in both directions, all the time, and the figures are the model's.
#[test]
fn the_state_of_links_is_sampled() {
    let stage = Stage::for_one_user();
    let told = stage.run(&[&SHORT[..], &["--json"]].concat());
    let results = results(&told.stdout);
    let events = events(&stage, &results[0]);
    let mut samples: BTreeMap<(String, String, record::Direction), Vec<(i64, u64)>> = BTreeMap::new();
    for event in &events {
        if let EventKind::LinkSample { network, interface, direction, bytes, .. } = &event.what {
            assert_eq!(event.host, "testbed");
            let of = samples.entry((network.clone(), interface.clone(), *direction)).or_default();
            of.push((event.t_ns, *bytes));
        }
    }
    let links: Vec<_> =
        samples.keys().map(|(network, interface, _)| format!("{interface} in {network}")).collect();
    for link in
        ["laptop.wlan0 in home", "laptop.wwan0 in o2", "desktop.wwan0 in telekom", "meet.eth0 in internet"]
    {
        assert_eq!(links.iter().filter(|of| *of == link).count(), 2, "{link}: {links:?}");
    }
    for (link, of) in &samples {
        assert!(of.len() >= 35 && of[0].0 >= 0, "four seconds, and a busy machine: {link:?} {}", of.len());
        assert!(of.windows(2).all(|pair| pair[0].1 <= pair[1].1), "{link:?} falls");
    }
    let last = |interface: &str| {
        let of = samples.iter().filter(|((_, name, _), _)| name == interface);
        of.map(|(_, of)| of.last().unwrap().1).min().unwrap()
    };
    assert!(last("desktop.wwan0") > 10_000, "the call passed here: {}", last("desktop.wwan0"));
}
