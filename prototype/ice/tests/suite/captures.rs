//! WhatsApp's own messages, where somebody has captures of them: none is part of this repository.
//!
//! `ICE_CAPTURES` names a folder with `wa2015_call1.pcap`, `wa_voice.pcap` and `wa_video.pcap`, as the project nDPI
//! publishes them (the first is the beginning of its `whatsapp_login_call.pcap`). tshark reads them.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ice::stun::whatsapp::{Message, attribute, kind};

/// Where they are; none with a word about it.
fn captures() -> Option<PathBuf> {
    let folder = std::env::var_os("ICE_CAPTURES").map(PathBuf::from);
    let found = folder.filter(|folder| folder.join("wa_video.pcap").exists());
    if found.is_none() {
        // Past the capture of the test harness.
        let _ =
            writeln!(std::io::stderr(), "NOT TESTED: ICE_CAPTURES names no folder with captures of WhatsApp");
    }
    found
}

/// Time and payload of every UDP datagram.
fn datagrams(capture: &Path) -> Vec<(Duration, Vec<u8>)> {
    let output = Command::new("tshark")
        .arg("-r")
        .arg(capture)
        .args(["-Y", "udp and not icmp", "-T", "fields", "-e", "frame.time_relative", "-e", "udp.payload"])
        .output()
        .expect("tshark, which `testbed/setup test` installs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let read = |line: &str| {
        let (at, payload) = line.split_once('\t')?;
        let byte = |place| u8::from_str_radix(payload.get(place..place + 2)?, 16).ok();
        let bytes = (0..payload.len()).step_by(2).map_while(byte).collect();
        Some((Duration::from_secs_f64(at.parse().ok()?), bytes))
    };
    text.lines().filter_map(read).collect()
}

/// How many messages of a type there are, and the lengths of their attributes.
fn count(datagrams: &[(Duration, Vec<u8>)], wanted: u16, lengths: &[(u16, usize)]) -> usize {
    let messages = datagrams.iter().filter_map(|(_, bytes)| Message::parse(bytes));
    let of_type: Vec<_> = messages.filter(|message| message.kind == wanted).collect();
    for message in &of_type {
        let found: Vec<_> = message.attributes().iter().map(|(kind, value)| (*kind, value.len())).collect();
        assert_eq!(found, lengths, "{wanted:#06x}");
    }
    of_type.len()
}

#[test]
fn captured_calls_are_read_as_expected() {
    let Some(folder) = captures() else { return };
    let token = [(attribute::TOKEN, 102)];
    let answer = [(0x0020, 8), (attribute::SERVER_TIME, 8)];
    let probe = [(attribute::CLOCK, 9), (attribute::PADDING, 475)];
    let report = [(attribute::SERVER_TIME, 8), (attribute::CLOCK, 9)];
    for (name, allocate, allocated, probes, end) in
        [("wa2015_call1", 16, 16, 0, 8), ("wa_voice", 24, 20, 0, 5), ("wa_video", 16, 13, 30, 5)]
    {
        let datagrams = datagrams(&folder.join(format!("{name}.pcap")));
        assert_eq!(count(&datagrams, kind::ALLOCATE, &token), allocate, "{name}");
        assert_eq!(count(&datagrams, kind::ALLOCATED, &answer), allocated, "{name}");
        assert_eq!(count(&datagrams, kind::PROBE, &probe), probes, "{name}");
        assert_eq!(count(&datagrams, kind::REPORT, &report), probes, "{name}");
        assert_eq!(count(&datagrams, kind::END, &token), end, "{name}");
    }
}

/// That 0x4003 is the client's clock in nanoseconds and 0x4002 the server's in milliseconds: both advance as the
/// capture's own time does.
#[test]
fn the_clocks_in_captured_messages_run_as_time_does() {
    let Some(folder) = captures() else { return };
    let datagrams = datagrams(&folder.join("wa_video.pcap"));
    let read = |of: fn(&Message<'_>) -> Option<Duration>, wanted: u16| -> Vec<(Duration, Duration)> {
        let messages = datagrams.iter().filter_map(|(at, bytes)| Some((*at, Message::parse(bytes)?)));
        messages
            .filter(|(_, message)| message.kind == wanted)
            .filter_map(|(at, message)| Some((at, of(&message)?)))
            .collect()
    };
    for (clocks, tolerance) in [
        (read(|message| message.clock(), kind::PROBE), 5),
        (read(|message| message.server_time(), kind::REPORT), 40),
    ] {
        let (first, last) = (clocks[0], clocks[clocks.len() - 1]);
        let (told, passed) = (last.1 - first.1, last.0 - first.0);
        assert!(told.abs_diff(passed) <= Duration::from_millis(tolerance), "{told:?} {passed:?}");
        assert!(passed > Duration::from_secs(5));
    }
}
