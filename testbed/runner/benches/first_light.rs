//! The figures of the README, measured on this machine: `make bench`.
//!
//! One run of `wifi-off-in-call` as `make demo` does it, with the processes watched from outside through /proc, and
//! then the interruption over several seeds. Nothing is asserted: the figures are printed beside their bounds.

use serde_json::Value;
use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

const SCENARIO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scenarios/whatsapp/wifi-off-in-call.yaml");
/// The call is up, nothing is disturbed yet.
const QUIET_FROM: Duration = Duration::from_secs(4);
const QUIET_FOR: Duration = Duration::from_secs(8);
const SEEDS: u64 = 5;

fn main() {
    // `cargo test --benches` passes --test: there is nothing to measure then.
    if std::env::args().any(|argument| argument == "--test") {
        return;
    }
    let out = std::env::temp_dir().join(format!("testbed-bench-{}", std::process::id()));
    let begun = Instant::now();
    let run = Watched::start(&out);
    sleep(QUIET_FROM);
    let peers = peers(run.child.id());
    let before: Vec<u64> = peers.iter().map(|pid| cpu_ticks(*pid)).collect();
    sleep(QUIET_FOR);
    let after: Vec<u64> = peers.iter().map(|pid| cpu_ticks(*pid)).collect();
    let testbed_ticks = cpu_ticks(run.child.id());
    let memory: u64 = peers.iter().chain([&run.child.id()]).map(|pid| pss_kib(*pid)).sum();
    let (results, manifest) = run.finish();
    let demo = begun.elapsed();

    println!("`make demo` after the build   {:>9.1} s      bound 45 s", demo.as_secs_f64());
    let busiest = before.iter().zip(&after).map(|(before, after)| after - before).max().unwrap_or(0);
    let share = 100.0 * busiest as f64 / ticks_per_second() / QUIET_FOR.as_secs_f64();
    println!("busiest peer in a call        {share:>9.1} %      bound 5 % of a core");
    let lifetime = (QUIET_FROM + QUIET_FOR).as_secs_f64();
    let emulation = 100.0 * testbed_ticks as f64 / ticks_per_second() / lifetime;
    println!("testbed itself (emulation)    {emulation:>9.1} %");
    println!("memory of the run (PSS)       {:>9.1} MB     bound 200 MB", memory as f64 / 1000.0);
    let late = |key: &str| manifest["lateness"][key].as_u64().unwrap_or(0) as f64 / 1000.0;
    println!("emulated delay, median error  {:>9.0} us     bound 300 us", late("median_ns"));
    println!("emulated delay, p99 error     {:>9.0} us     bound 3000 us", late("p99_ns"));
    let first = &results["metrics"]["first_path_ms"];
    println!("first path                    {first:>9} ms");

    let mut interruptions: Vec<f64> = (0..SEEDS).filter_map(|seed| interruption(&out, seed)).collect();
    interruptions.sort_by(f64::total_cmp);
    if let (Some(median), Some(worst)) =
        (interruptions.get(interruptions.len().saturating_sub(1) / 2), interruptions.last())
    {
        println!(
            "interruption, WiFi off        {median:>9.1} ms     median of {} seeds (worst {worst:.1}); WhatsApp: some 500 ms",
            interruptions.len()
        );
    }
    let _ = fs::remove_dir_all(out);
}

struct Watched {
    child: Child,
    out: PathBuf,
}

impl Watched {
    fn start(out: &Path) -> Self {
        let child = testbed(out).args(["--set", "duration=25s"]).spawn().expect("testbed starts");
        Self { child, out: out.to_owned() }
    }

    fn finish(mut self) -> (Value, Value) {
        let mut text = String::new();
        self.child.stdout.take().expect("piped").read_to_string(&mut text).expect("output is text");
        let status = self.child.wait().expect("testbed ends");
        assert!(status.success(), "the run failed: {status}");
        let results: Value = serde_json::from_str(&text).expect("--json prints one document");
        let manifest = fs::read(self.out.join("latest/manifest.json")).expect("a manifest");
        (results[0].clone(), serde_json::from_slice(&manifest).expect("the manifest is JSON"))
    }
}

fn interruption(out: &Path, seed: u64) -> Option<f64> {
    let seed = seed.to_string();
    let run = testbed(out)
        .args(["--seed", &seed, "--set", "duration=12s", "--set", "timeline.0.at=5s"])
        .output()
        .expect("testbed runs");
    let results: Value = serde_json::from_slice(&run.stdout).ok()?;
    results[0]["metrics"]["disturbances"][0]["interruption_ms"].as_f64()
}

fn testbed(out: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.args(["run", SCENARIO, "--json", "--out"]).arg(out);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// The `iceperf` processes of the two hosts, not the rendezvous server.
fn peers(testbed: u32) -> Vec<u32> {
    let of_testbed = |pid: &u32| {
        let children = stat(*pid).is_some_and(|fields| fields[1] == testbed.to_string());
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        children && (command.contains("iceperf server") || command.contains("iceperf client"))
    };
    let pids = fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(of_testbed).collect()
}

/// Fields of /proc/PID/stat from the state on (proc(5)): 0 is the state, 1 the parent, 11 and 12 the times.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = text.rsplit_once(')')?;
    Some(fields.split_whitespace().map(str::to_owned).collect())
}

fn cpu_ticks(pid: u32) -> u64 {
    let Some(fields) = stat(pid) else { return 0 };
    fields[11..=12].iter().filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

fn ticks_per_second() -> f64 {
    // Linux has reported 100 to user space on every architecture since 2.6 (USER_HZ).
    100.0
}

fn pss_kib(pid: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}
