//! What benches of several runs share: how often, the middle of it, and on what.

use std::fs;

/// What `--repeat` says; none if that is no number above 0.
pub(crate) fn repeat(arguments: &[String], usual: u32) -> Option<u32> {
    match arguments.iter().position(|argument| argument == "--repeat") {
        Some(place) => arguments.get(place + 1)?.parse().ok().filter(|repeat| *repeat > 0),
        None => Some(usual),
    }
}

/// Of sorted numbers; the lower of the middle two when there is an even number of them: one that was measured.
pub(crate) fn median(sorted: &[f64]) -> Option<f64> {
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

/// Processor, cores and kernel.
pub(crate) fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map(|(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    format!("{}, {cores} cores, Linux {}", model.unwrap_or("unknown processor"), kernel.trim())
}
