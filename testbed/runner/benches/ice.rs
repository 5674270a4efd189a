//! The table of the README that stands our ICE agent beside an ordinary one: time to the first path, pairs that work,
//! and a call that loses WiFi and gets it back. `make bench-ice`, with `REPEAT=1` for a quick look.
//!
//! Each cell runs `ordinary-ice-wifi-off` with its steps exchanged, once for each of the seeds 1 to REPEAT. Nothing is
//! asserted: the figures are printed as Markdown, beside what they stand for.

mod support;

use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};
use support::{machine, median};

const SCENARIO: &str =
    concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/baselines/ordinary-ice-wifi-off.yaml");
const USUAL_REPEAT: u32 = 3;
const AGENTS: [&str; 2] = ["ours", "webrtc-ice"];

/// Time for an ordinary agent to get over the return, too: with WiFi the routes come back.
const DURATION: &str = "duration=46s";

/// A way to lose WiFi, and to get it back.
struct Loss {
    name: &'static str,
    steps: &'static str,
}

/// Back after 22 s: an ordinary agent that can get over it has done so by then.
const LOSSES: [Loss; 4] = [
    Loss {
        name: "switched off (admin down)",
        steps: "{at: 4s, do: {down: laptop.wlan0}}, {at: 26s, do: {up: laptop.wlan0}}",
    },
    Loss {
        name: "carrier lost; its routes stay",
        steps: "{at: 4s, do: {carrier_off: laptop.wlan0}}, {at: 26s, do: {carrier_on: laptop.wlan0}}",
    },
    Loss {
        name: "carrier lost; the metric of its routes is raised 1 s later",
        steps: "{at: 4s, do: {carrier_off: laptop.wlan0}}, \
                {at: 5s, do: {metric: {interface: laptop.wlan0, value: 20200}}}, \
                {at: 26s, do: {carrier_on: laptop.wlan0}}",
    },
    Loss {
        name: "silent, no signal",
        steps: "{at: 4s, do: {silence: laptop.wlan0}}, {at: 26s, do: {restore: laptop.wlan0}}",
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` passes --test: there is nothing to measure then.
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let Some(repeat) = support::repeat(&arguments, USUAL_REPEAT) else {
        eprintln!("usage: ice [--repeat N]");
        return ExitCode::from(2);
    };
    let out = std::env::temp_dir().join(format!("testbed-ice-{}", std::process::id()));
    let begun = Instant::now();
    let mut rows = Vec::new();
    for loss in &LOSSES {
        for agent in AGENTS {
            eprintln!("{agent}, WiFi {}: {repeat} runs", loss.name);
            rows.push(row(agent, loss, &runs(&out, agent, loss, repeat)));
            let _ = fs::remove_dir_all(&out);
        }
    }
    println!(
        "| WiFi is | agent | first path | usable pairs | noticed after | silent | after WiFi is back | how |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---|");
    rows.iter().for_each(|row| println!("{row}"));
    println!();
    println!(
        "Medians of {repeat} runs each. First path: time zero to the first pair that works. Usable pairs: those that \
         answered lately, just before the loss. Silent: the longest gap between arriving datagrams of a call of 50 a \
         second, the longer of both directions, less 20 ms. After WiFi is back (22 s after it went): the same, or, \
         where nothing had arrived until then, the time from then on."
    );
    println!();
    println!(
        "Measured {} by `make bench-ice REPEAT={repeat}` in {:.0} min: {}.",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        begun.elapsed().as_secs_f64() / 60.0,
        machine()
    );
    ExitCode::SUCCESS
}

/// One cell: what is read of each of its runs.
fn runs(out: &Path, agent: &str, loss: &Loss, repeat: u32) -> Vec<Run> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command
        .args(["run", SCENARIO, "--json", "--seed", "1", "--repeat", &repeat.to_string(), "--out"])
        .arg(out);
    for set in [
        format!("peers.client.ice={agent}"),
        format!("timeline=[{}]", loss.steps),
        DURATION.to_owned(),
        "expect=[]".to_owned(),
    ] {
        command.args(["--set", &set]);
    }
    let output = command.stderr(Stdio::null()).output().expect("testbed runs");
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Array(results)) => results.iter().filter_map(Run::read).collect(),
        _ => Vec::new(),
    }
}

/// Times in milliseconds.
struct Run {
    first_path: Option<f64>,
    pairs: f64,
    noticed: Option<f64>,
    silent: Option<f64>,
    /// Whether payload came again before WiFi did.
    survived: bool,
    after_return: Option<f64>,
    how: String,
}

impl Run {
    /// None of a run that is invalid.
    fn read(results: &Value) -> Option<Self> {
        let metrics = &results["metrics"];
        let steps = metrics["disturbances"].as_array().filter(|_| results["valid"] == true)?;
        let (loss, back) = (steps.first()?, steps.last()?);
        let number = |step: &Value, key: &str| step[key].as_f64();
        let silent = number(loss, "interruption_ms");
        let end = number(loss, "at_ms").zip(silent).map(|(at, silent)| at + silent);
        let late = end.zip(number(back, "at_ms")).map(|(end, back)| end - back).filter(|late| *late > 0.0);
        Some(Self {
            first_path: metrics["first_path_ms"].as_f64(),
            pairs: pairs(Path::new(results["run_dir"].as_str()?), number(loss, "at_ms")?)? as f64,
            noticed: noticed(steps),
            silent,
            survived: late.is_none(),
            after_return: late.or_else(|| number(back, "interruption_ms")),
            how: loss["how"].as_str()?.to_owned(),
        })
    }
}

/// From the first step to the first that any peer noticed; what it noticed may be charged to a later step.
fn noticed(steps: &[Value]) -> Option<f64> {
    let begun = steps.first()?["at_ms"].as_f64()?;
    let times = |step: &Value| Some(step["at_ms"].as_f64()? + step["detected_ms"].as_f64()?);
    steps.iter().find_map(times).map(|at| at - begun)
}

/// The client's pairs that were up at this time.
fn pairs(run: &Path, at_ms: f64) -> Option<usize> {
    let text = fs::read_to_string(run.join("events.jsonl")).ok()?;
    let mut states = BTreeMap::new();
    for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
        let before = event["t_ns"].as_i64().is_some_and(|t_ns| (t_ns as f64) < at_ms * 1e6 - 1e7);
        if event["kind"] == "pair" && event["host"] == "laptop" && before {
            states.insert(event["fields"]["pair"].as_u64()?, event["fields"]["state"] == "up");
        }
    }
    Some(states.values().filter(|up| **up).count())
}

fn row(agent: &str, loss: &Loss, runs: &[Run]) -> String {
    let middle = |figure: fn(&Run) -> Option<f64>| {
        let mut each: Vec<f64> = runs.iter().filter_map(figure).collect();
        each.sort_by(f64::total_cmp);
        median(&each)
    };
    let first = middle(|run| run.first_path).map_or("none".to_owned(), time);
    let pairs = middle(|run| Some(run.pairs)).map_or("none".to_owned(), |pairs| format!("{pairs:.0}"));
    let noticed = middle(|run| run.noticed).map_or("not".to_owned(), time);
    let survived = runs.iter().filter(|run| run.survived).count();
    let silent = match middle(|run| run.silent) {
        Some(silent) if survived == runs.len() => time(silent),
        Some(_) => format!("until WiFi is back ({} of {})", runs.len() - survived, runs.len()),
        None => "not measured".to_owned(),
    };
    let back = middle(|run| run.after_return).map_or("not measured".to_owned(), time);
    let mut how: Vec<&str> = runs.iter().map(|run| run.how.as_str()).collect();
    how.sort_unstable();
    how.dedup();
    format!(
        "| {} | {agent} | {first} | {pairs} | {noticed} | {silent} | {back} | {} |",
        loss.name,
        how.join(", ")
    )
}

fn time(ms: f64) -> String {
    match ms {
        0.0..10.0 => format!("{ms:.1} ms"),
        10.0..1_000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.1} s", ms / 1e3),
    }
}
