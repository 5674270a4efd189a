//! Memory is bounded by live flows: at most 1 KB for each of them.

use dissect::{Capture, Classes, Dissector};
use etherparse::PacketBuilder;
use std::io::Read;

const FLOWS: u32 = 150_000;
/// Ended flows after the live ones, which must cost nothing.
const LATER: u32 = 50_000;
const MAX_BYTES: u64 = 1024;

/// A pcap that is made while it is read: it has no part in the memory measured.
struct Made {
    flow: u32,
    buffer: Vec<u8>,
}

impl Made {
    fn frame(&mut self) {
        let [_, a, b, c] = self.flow.to_be_bytes();
        let packet = PacketBuilder::ipv4([10, a, b, c], [192, 0, 2, 1], 64);
        let mut frame = Vec::new();
        let payload = [7; 20];
        // Every second one is TCP, with its SYN.
        match self.flow % 2 {
            0 => packet.udp(5000, 6000).write(&mut frame, &payload),
            _ => packet.tcp(5000, 443, 1, 1000).syn().write(&mut frame, &payload),
        }
        .expect("a packet");
        // All of the first within 20 s; then one flow's lifetime for each.
        let ms = match self.flow {
            0..FLOWS => u64::from(self.flow) / 10,
            later => 20_000 + u64::from(later - FLOWS) * 200,
        };
        self.buffer.extend(((ms / 1000) as u32).to_le_bytes());
        self.buffer.extend(((ms % 1000 * 1000) as u32).to_le_bytes());
        self.buffer.extend((frame.len() as u32).to_le_bytes());
        self.buffer.extend((frame.len() as u32).to_le_bytes());
        self.buffer.extend(frame);
        self.flow += 1;
    }
}

impl Read for Made {
    fn read(&mut self, out: &mut [u8]) -> std::io::Result<usize> {
        if self.buffer.is_empty() && self.flow < FLOWS + LATER {
            self.frame();
        }
        let length = out.len().min(self.buffer.len());
        out[..length].copy_from_slice(&self.buffer[..length]);
        self.buffer.drain(..length);
        Ok(length)
    }
}

/// Highest use of memory so far.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("a Linux system");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak");
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kibibytes * 1024
}

#[test]
fn a_live_flow_costs_at_most_a_kilobyte() {
    let header = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x65\0\0\0".to_vec();
    let mut capture = Capture::read("made".to_owned(), Made { flow: 0, buffer: header }).expect("a capture");
    let mut dissector = Dissector::new(Classes::default());
    let before = peak_bytes();
    let mut ended = 0_u32;
    dissector.dissect(&mut capture, |_| ended += 1);
    let report = dissector.finish();
    let live = report.flow_summary.peak_live;
    let bytes = (peak_bytes() - before) / live;
    println!("{bytes} bytes for each of {live} live flows");
    assert_eq!(ended, FLOWS + LATER);
    assert!(live >= u64::from(FLOWS), "{live} were live at once");
    assert!(bytes <= MAX_BYTES, "{bytes} bytes for each of {live} live flows");
}
