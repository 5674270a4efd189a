//! The definitions of results/README.md are enough: a Python script that was written from them, and shares nothing with
//! this crate, computes the same figures from events.jsonl.

use proptest::{prelude::*, test_runner::TestRunner};
use record::{DisturbanceKind, Event, EventKind, Results, RunFacts, WorkloadKind, Writer, fold};
use serde_json::{Value, json};
use std::{path::Path, process::Command, time::Duration};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/recompute.py");
const MS: i64 = 1_000_000;
const END_MS: i64 = 20_000;
const INTERVAL_MS: i64 = 20;

#[test]
fn a_script_written_from_the_text_computes_the_same_figures() {
    let python = Command::new("python3").arg("--version").output();
    assert!(
        python.is_ok_and(|output| output.status.success()),
        "this test needs python3, which is not on this machine: install it (apt-get install python3)"
    );
    // A process for each run: few of them, and always the same.
    let config = ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(config.rng_algorithm);
    let runs = (proptest::collection::vec(troubles(), 2), steps(), proptest::option::of(11_000..15_000i64));
    TestRunner::new_with_rng(config, rng)
        .run(&runs, |(troubles, steps, closed)| {
            compare(&events(&troubles, &steps, closed));
            Ok(())
        })
        .unwrap();
}

fn compare(events: &[Event]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.jsonl");
    let mut writer = Writer::create(&path).unwrap();
    events.iter().for_each(|event| writer.append(event).unwrap());
    drop(writer);
    let ours = figures(&fold::results(events, &facts()));
    let theirs = recomputed(&path);
    assert_eq!(ours, theirs, "{}", std::fs::read_to_string(&path).unwrap());
}

/// What both compute, of ours.
fn figures(results: &Results) -> Value {
    let steps = results.metrics.disturbances.iter().map(|step| {
        json!({
            "step": step.step, "missed": step.missed, "delay_step_ms": step.delay_step_ms,
            "up_ms": step.up_ms, "down_ms": step.down_ms
        })
    });
    steps.collect()
}

fn recomputed(path: &Path) -> Value {
    let duration = END_MS.to_string();
    let output = Command::new("python3")
        .arg(SCRIPT)
        .arg(path)
        .args(["laptop", "desktop", &duration])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn facts() -> RunFacts {
    RunFacts {
        scenario: "recomputed".into(),
        backend: "netns".into(),
        seed: 1,
        run_dir: String::new(),
        duration: Duration::from_secs(20),
        client: "laptop".into(),
        server: "desktop".into(),
        expectations: vec![],
        link_rates: None,
        invalid_why: None,
    }
}

/// For a while units are lost, or take longer.
#[derive(Debug, Clone)]
struct Trouble {
    from: i64,
    to: i64,
    /// None: they are lost.
    more: Option<i64>,
}

fn troubles() -> impl Strategy<Value = Vec<Trouble>> {
    let length = prop_oneof![3 => 20..600i64, 1 => 600..9_000i64];
    let more = prop_oneof![Just(None), (1..400i64).prop_map(Some)];
    let trouble = (500..END_MS, length, more).prop_map(|(from, length, more)| Trouble {
        from,
        to: from + length,
        more,
    });
    proptest::collection::vec(trouble, 0..6)
}

/// When steps are due, and how much later they are applied.
fn steps() -> impl Strategy<Value = Vec<(i64, i64)>> {
    let step = (0..40i64, 0..30i64).prop_map(|(half_second, late)| (half_second * 500, late));
    proptest::collection::vec(step, 1..5)
}

/// A run: the troubles of each direction, the steps, and when the laptop's connection is lost for 2 s.
fn events(troubles: &[Vec<Trouble>], steps: &[(i64, i64)], closed: Option<i64>) -> Vec<Event> {
    let mut events = vec![];
    let mut push = |t: i64, host: &str, what| events.push(Event { t_ns: t * MS, host: host.into(), what });
    let workload = WorkloadKind::Call;
    for ((from, to, phase), troubles) in
        [("laptop", "desktop", 3), ("desktop", "laptop", 11)].into_iter().zip(troubles)
    {
        let interval_ns = u64::try_from(INTERVAL_MS * MS).ok();
        push(0, from, EventKind::Workload { workload, interval_ns, payload: Some(58) });
        let away = closed.filter(|_| from == "laptop").map(|closed| closed..closed + 2_000);
        let times =
            (phase..END_MS).step_by(20).filter(|t| away.as_ref().is_none_or(|away| !away.contains(t)));
        for (sequence, t) in (0..).zip(times) {
            push(t, from, EventKind::PayloadSent { workload, sequence, bytes: 58 });
            let trouble = troubles.iter().find(|trouble| (trouble.from..trouble.to).contains(&t));
            let delay = trouble.map_or(Some(0), |trouble| trouble.more).map(|more| 40 + more + t % 7);
            let Some(arrival) = delay.map(|delay| t + delay).filter(|arrival| *arrival <= END_MS) else {
                continue;
            };
            let sent_t_ns = t * MS;
            push(
                arrival,
                to,
                EventKind::PayloadReceived { workload, sequence, sent_t_ns, bytes: 58, path: Some(0) },
            );
        }
        if let Some(away) = away {
            push(
                away.start,
                from,
                EventKind::ConnectionClosed { connection: "one".into(), why: "lost".into() },
            );
        }
    }
    let mut steps = steps.to_vec();
    steps.sort_unstable();
    for (index, (due, late)) in steps.into_iter().enumerate() {
        let what = EventKind::Disturbance {
            index,
            name: None,
            what: DisturbanceKind::Silence,
            target_host: Some("laptop".into()),
            target_interface: Some("wlan0".into()),
            target_network: None,
            due_t_ns: due * MS,
        };
        push(due + late, "testbed", what);
    }
    events
}
