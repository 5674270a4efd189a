//! The table of the README: how long a call is silent when WiFi goes, for each engine, each way to lose WiFi and each
//! direction. `make bench-interruption`, with `REPEAT=5` for a quick look.
//!
//! Each cell runs `wifi-off-in-call`, shortened and with its step exchanged, once for each of the seeds 1 to REPEAT;
//! which also moves the loss within the sending interval. Both directions are measured in the same runs. Nothing is
//! asserted: the figures are printed as Markdown, beside what they stand for.

mod support;

use serde_json::Value;
use std::{
    fs,
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::Instant,
};
use support::{machine, median};

const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/whatsapp/wifi-off-in-call.yaml");
const USUAL_REPEAT: u32 = 20;
const ENGINES: [&str; 2] = ["noq", "quiche"];
/// The step of the timeline, and what it is called.
const SIGNALS: [(&str, &str); 3] = [
    ("down", "switched off (admin down)"),
    ("carrier_off", "carrier lost"),
    ("silence", "silent, no signal"),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    // `cargo test --benches` passes --test: there is nothing to measure then.
    if arguments.iter().any(|argument| argument == "--test") {
        return ExitCode::SUCCESS;
    }
    let Some(repeat) = support::repeat(&arguments, USUAL_REPEAT) else {
        eprintln!("usage: interruption [--repeat N]");
        return ExitCode::from(2);
    };
    let out = std::env::temp_dir().join(format!("testbed-interruption-{}", std::process::id()));
    let begun = Instant::now();
    let mut rows = Vec::new();
    for engine in ENGINES {
        for (step, name) in SIGNALS {
            eprintln!("{engine}, WiFi {name}: {repeat} runs");
            rows.push(row(engine, name, &runs(&out, engine, step, repeat)));
            // A hundred captures are worth nothing once they are counted.
            let _ = fs::remove_dir_all(&out);
        }
    }
    println!(
        "Media that a call of 50 datagrams a second misses when WiFi goes and cellular stays, and its longest gap, ms: \
         median (worst)."
    );
    println!();
    println!("| engine | WiFi is | missed up | missed down | gap up | gap down | runs | same connection |");
    println!("|---|---|---:|---:|---:|---:|---:|---:|");
    rows.iter().for_each(|row| println!("{row}"));
    println!("| WhatsApp 2.24 | switched off | | | some 500 | | 3 | no, a new path |");
    println!();
    println!(
        "Missed: datagrams that never came or came more than 60 ms later than usual, times 20 ms. Gap: the longest one \
         between arriving datagrams around the loss, less the sending interval of 20 ms. Up is laptop to desktop. RTT 38 ms over WiFi, 60 ms over cellular, both emulated. WhatsApp: the time to build a path \
         on cellular after WiFi was switched off, as noted by eye from captures (04.06.2024, 18:09 to 18:14): a lower \
         bound of its silence, in real networks."
    );
    println!();
    println!(
        "Measured {} by `make bench-interruption REPEAT={repeat}` in {:.0} min: {}.",
        jiff::Timestamp::now().strftime("%Y-%m-%d"),
        begun.elapsed().as_secs_f64() / 60.0,
        machine()
    );
    ExitCode::SUCCESS
}

/// One cell: the results of its runs.
fn runs(out: &Path, engine: &str, step: &str, repeat: u32) -> Vec<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command
        .args(["run", SCENARIO, "--json", "--seed", "1", "--repeat", &repeat.to_string(), "--out"])
        .arg(out);
    for set in [
        format!("peers.client.engine={engine}"),
        format!("timeline=[{{at: 4s, do: {{{step}: laptop.wlan0}}}}]"),
        "duration=8s".to_owned(),
        "expect=[]".to_owned(),
    ] {
        command.args(["--set", &set]);
    }
    let output = command.stderr(Stdio::null()).output().expect("testbed runs");
    match serde_json::from_slice(&output.stdout) {
        Ok(Value::Array(results)) => results,
        _ => Vec::new(),
    }
}

fn row(engine: &str, name: &str, runs: &[Value]) -> String {
    let valid: Vec<&Value> = runs.iter().filter(|run| run["valid"] == true).collect();
    let steps: Vec<&Value> = valid.iter().map(|run| &run["metrics"]["disturbances"][0]).collect();
    let same = steps.iter().filter(|step| step["same_connection"] == true).count();
    let figure = |path: &str| {
        let mut each: Vec<f64> = steps.iter().filter_map(|step| step.pointer(path)?.as_f64()).collect();
        each.sort_by(f64::total_cmp);
        match (median(&each), each.last()) {
            (Some(median), Some(worst)) => format!("{median:.0} ({worst:.0})"),
            _ => "not measured".to_owned(),
        }
    };
    let invalid = runs.len() - valid.len();
    let invalid = if invalid > 0 { format!(" ({invalid} invalid)") } else { String::new() };
    let [missed_up, missed_down] = ["up", "down"].map(|way| figure(&format!("/missed/{way}/j60/total_ms")));
    let (up, down, count) = (figure("/up_ms"), figure("/down_ms"), valid.len());
    format!(
        "| {engine} | {name} | {missed_up} | {missed_down} | {up} | {down} | {count}{invalid} | {same} of {count} |"
    )
}
