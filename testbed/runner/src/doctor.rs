//! `testbed doctor`: what this machine can do, and the exact fix for what it can't.
//!
//! Each capability is tried, not guessed: a user namespace is made, a TUN device too. What is needed to run scenarios
//! decides the exit code; what makes runs better, such as SCHED_FIFO, is told beside it.

use crate::{
    cli::DoctorArgs,
    console::say,
    exit::Exit,
    run::{FOREIGN, Foreign, Iceperf},
};
use lab::{Examined, RightsError};
use nix::time::{ClockId, clock_getres};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

/// What was found out about one capability.
#[derive(Debug, Serialize)]
struct Finding {
    name: &'static str,
    state: State,
    found: String,
    /// Lines; empty when there is nothing to mend.
    fix: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum State {
    Ok,
    /// Scenarios run without it, but less well.
    Limited,
    /// Nothing runs without it.
    Missing,
    /// It could not be tried, since something else is missing.
    Untried,
}

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    /// Whether scenarios can be run in namespaces here.
    netns: bool,
    checks: Vec<Finding>,
}

/// Looks at everything, and tells whether namespaces can be run in here.
pub(crate) fn doctor(args: &DoctorArgs) -> Exit {
    // First, while there is one thread: a user namespace cannot be entered later.
    let examined = lab::examine(&args.tun);
    let mut checks = rights(examined, &args.tun);
    checks.extend([ipv6(), clock(), iceperf(args.iceperf.as_deref()), disk(&args.out), tshark()]);
    checks.extend(FOREIGN.iter().map(foreign));
    let netns = checks.iter().all(|check| matches!(check.state, State::Ok | State::Limited));
    let report = Report { netns, checks };
    match args.json {
        // Strings, booleans and lists always serialise.
        true => say!("{}", serde_json::to_string_pretty(&report).unwrap_or_default()),
        false => show(&report),
    }
    if netns { Exit::Success } else { Exit::Machine }
}

fn show(report: &Report) {
    for Finding { name, state, found, fix } in &report.checks {
        let mark = match state {
            State::Ok => "ok",
            State::Limited => "limited",
            State::Missing => "MISSING",
            State::Untried => "untried",
        };
        say!("{mark:<8} {name}: {found}");
        fix.iter().for_each(|line| say!("           {line}"));
    }
    match report.netns {
        true => say!("\nScenarios can be run here (--backend netns)."),
        false => say!("\nScenarios cannot be run here before what is MISSING is mended."),
    }
}

impl Finding {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), fix: Vec::new() }
    }

    fn limited(name: &'static str, found: impl Into<String>, fix: &[&str]) -> Self {
        Self { name, state: State::Limited, found: found.into(), fix: lines(fix) }
    }

    fn missing(name: &'static str, found: impl Into<String>, fix: &[&str]) -> Self {
        Self { name, state: State::Missing, found: found.into(), fix: lines(fix) }
    }

    fn untried(name: &'static str) -> Self {
        let found = "not tried, since what it rests on is missing".to_owned();
        Self { name, state: State::Untried, found, fix: Vec::new() }
    }

    /// The text of an error: what is wrong, then the lines of its remedy.
    fn refused(name: &'static str, error: &dyn std::error::Error) -> Self {
        let text = error.to_string();
        let mut lines = text.lines().map(str::to_owned);
        let found = lines.next().unwrap_or_default();
        Self { name, state: State::Missing, found, fix: lines.collect() }
    }
}

fn lines(text: &[&str]) -> Vec<String> {
    text.iter().map(|line| (*line).to_owned()).collect()
}

fn rights(examined: Examined, tun: &Path) -> Vec<Finding> {
    let told = |name, result: Option<Result<(), RightsError>>, found: &str| match result {
        Some(Ok(())) => Finding::ok(name, found),
        Some(Err(error)) => Finding::refused(name, &error),
        None => Finding::untried(name),
    };
    let user = match examined.user_namespace {
        None => Finding::ok("user namespaces", "not needed by root"),
        some => told("user namespaces", some, "can be made by this user"),
    };
    let node = format!("{} can be opened", tun.display());
    vec![
        user,
        told("network namespaces", examined.network_namespace, "can be made"),
        told("TUN node", Some(examined.node), &node),
        told("TUN devices", examined.device, "can be made in a namespace"),
        punctuality(examined.punctual),
    ]
}

fn punctuality(punctual: bool) -> Finding {
    let name = "real-time scheduling";
    if punctual {
        return Finding::ok(name, "SCHED_FIFO is allowed to the thread that carries packets");
    }
    Finding::limited(
        name,
        "SCHED_FIFO is refused: on a busy machine packets are delivered up to some milliseconds late",
        &[
            "fix: echo \"$USER - rtprio 10\" | sudo tee /etc/security/limits.d/90-testbed.conf, then log in again",
            "or run it as root",
        ],
    )
}

/// Every namespace has its own, unless the kernel was started without.
fn ipv6() -> Finding {
    let name = "IPv6";
    if Path::new("/proc/net/if_inet6").exists() {
        return Finding::ok(name, "the kernel has it");
    }
    Finding::missing(
        name,
        "the kernel runs without it, and every namespace, too",
        &[
            "fix: remove ipv6.disable=1 from the kernel's command line (/etc/default/grub, then sudo update-grub), reboot",
            "or: sudo modprobe ipv6 (CONFIG_IPV6)",
        ],
    )
}

fn clock() -> Finding {
    /// Of high-resolution timers it is 1 ns; of the others a tick of 1 to 10 ms.
    const FINE: Duration = Duration::from_micros(1);
    let name = "clock";
    match clock_getres(ClockId::CLOCK_MONOTONIC).map(Duration::from) {
        Ok(resolution) if resolution <= FINE => {
            let source =
                fs::read_to_string("/sys/devices/system/clocksource/clocksource0/current_clocksource");
            let source = source.map(|source| format!(", from {}", source.trim())).unwrap_or_default();
            Finding::ok(name, format!("CLOCK_MONOTONIC resolves {} ns{source}", resolution.as_nanos()))
        }
        Ok(resolution) => Finding::missing(
            name,
            format!("CLOCK_MONOTONIC resolves {resolution:?} only"),
            &[
                "fix: remove highres=off and nohz=off from the kernel's command line (CONFIG_HIGH_RES_TIMERS), reboot",
            ],
        ),
        Err(error) => Finding::missing(name, format!("CLOCK_MONOTONIC cannot be read: {error}"), &[]),
    }
}

fn iceperf(named: Option<&Path>) -> Finding {
    match Iceperf::find(named) {
        Ok(found) => Finding::ok("iceperf", format!("{}, version {}", found.path.display(), found.version)),
        Err(error) => Finding::refused("iceperf", &error),
    }
}

/// Where run directories go, or the nearest directory above that exists already.
fn disk(out: &Path) -> Finding {
    const NEEDED: u64 = 100_000_000;
    const COMFORTABLE: u64 = 2_000_000_000;
    let name = "disk space";
    let absolute = std::path::absolute(out).unwrap_or_else(|_| out.to_owned());
    let place: PathBuf = absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned();
    let free = match nix::sys::statvfs::statvfs(&place) {
        Ok(found) => found.blocks_available() * found.fragment_size(),
        Err(error) => return Finding::missing(name, format!("{}: {error}", place.display()), &[]),
    };
    let found = format!("{} MB free at {}", free / 1_000_000, place.display());
    let fix = "fix: remove old runs below results/, or name another place with --out";
    match free {
        0..NEEDED => Finding::missing(name, found, &[fix]),
        NEEDED..COMFORTABLE => Finding::limited(name, format!("{found}; a run takes 1 to 100 MB"), &[fix]),
        _ => Finding::ok(name, found),
    }
}

/// For the scenarios that have such a server.
fn foreign(foreign: &Foreign) -> Finding {
    let name = foreign.kind.name();
    match foreign.find() {
        Some(found) => Finding::ok(name, format!("{}, {}", found.path.display(), found.version)),
        None => Finding::limited(
            name,
            format!("{} not found: scenarios with a server of this kind cannot be run", foreign.program),
            &[&format!("fix: {}", foreign.fix)],
        ),
    }
}

/// To open captures; `run` does without.
fn tshark() -> Finding {
    let name = "tshark";
    let output = Command::new("tshark").arg("--version").stdin(Stdio::null()).stderr(Stdio::null()).output();
    match output {
        Ok(output) if output.status.success() => {
            let said = String::from_utf8_lossy(&output.stdout);
            Finding::ok(name, said.lines().next().unwrap_or("found").trim().to_owned())
        }
        _ => Finding::limited(
            name,
            "not found: captures are written all the same, and can be opened elsewhere",
            &["fix: sudo apt-get install tshark (4.0 or later reads the secrets that captures carry)"],
        ),
    }
}
