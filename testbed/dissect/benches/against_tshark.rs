//! Speed of reading one capture, beside tshark's on the same file in the same run. `cargo bench -p dissect`; fails when the
//! ratio is below five.
//!
//! The file is one that the bench makes: calls over RTP with STUN, as many at a time as a small office has. tshark is asked for
//! RTP sources, which is less than what is found here. Both run three times, in turns; the best of each counts.

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Maker, socket};
use dissect::{Capture, Classes, Dissector};
use std::{
    path::Path,
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

const CALLS: u16 = 50;
const PACKETS: u16 = 4_000;
const ROUNDS: usize = 3;
const LEAST_RATIO: f64 = 5.0;

fn main() -> ExitCode {
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("calls.pcap");
    let bytes = calls();
    std::fs::write(&path, &bytes).expect("a capture");
    let megabytes = bytes.len() as f64 / 1e6;
    let (mut ours, mut theirs) = (Duration::MAX, None::<Duration>);
    for _ in 0..ROUNDS {
        ours = ours.min(timed(|| dissected(&path)));
        theirs = tshark(&path).map(|time| theirs.map_or(time, |best| best.min(time)));
    }
    let speed = |time: Duration| megabytes / time.as_secs_f64();
    println!("{megabytes:.1} MB, {} packets", u32::from(CALLS) * u32::from(PACKETS) * 2);
    println!("dissect  {:.3} s, {:.0} MB/s", ours.as_secs_f64(), speed(ours));
    let Some(theirs) = theirs else {
        println!("SKIPPED: there is no tshark to compare with");
        return ExitCode::SUCCESS;
    };
    let ratio = theirs.as_secs_f64() / ours.as_secs_f64();
    println!("tshark   {:.3} s, {:.0} MB/s: {ratio:.1} times as long", theirs.as_secs_f64(), speed(theirs));
    if ratio < LEAST_RATIO {
        println!("FAILED: below {LEAST_RATIO}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// RTP both ways, with a check now and then.
fn calls() -> Vec<u8> {
    let mut maker = Maker::default();
    for call in 0..CALLS {
        let local = socket(&format!("192.0.2.{}:{}", call % 250 + 1, 4000 + call));
        let remote = socket(&format!("198.51.100.{}:{}", call % 250 + 1, 5000 + call));
        let username = format!("{call:03}a:b");
        for number in 0..PACKETS {
            let at = i64::from(number) * 20 + i64::from(call);
            if number % 100 == 0 {
                maker.stun(
                    at,
                    local,
                    remote,
                    0x0001,
                    call as u8,
                    &[(0x0006, username.as_bytes()), (0x0008, &[0; 20])],
                );
            }
            maker.rtp(at, local, remote, 96, u32::from(call) + 1, number);
            maker.rtp(at + 5, remote, local, 96, u32::from(call) + 1000, number);
        }
    }
    maker.pcap()
}

fn dissected(path: &Path) {
    let mut dissector = Dissector::new(Classes::default());
    let mut capture = Capture::open(path).expect("a capture");
    dissector.dissect(&mut capture, drop);
    let report = dissector.finish();
    assert_eq!(report.calls.len(), usize::from(CALLS));
}

fn timed(work: impl FnOnce()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

/// Time of tshark; none without it.
fn tshark(path: &Path) -> Option<Duration> {
    let mut command = Command::new("tshark");
    command.args(["-n", "--enable-heuristic", "rtp_udp", "-q", "-z", "rtp,streams", "-r"]).arg(path);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let began = Instant::now();
    let status = command.status().ok()?;
    status.success().then(|| began.elapsed())
}
