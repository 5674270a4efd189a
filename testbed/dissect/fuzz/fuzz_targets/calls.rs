//! Fuzz target: arbitrary datagrams between a few sockets never panic calls, RTP, QUIC connections or metrics.
#![cfg_attr(fuzzing, no_main)]

use dissect::{Capture, Classes, Dissector, datagram::Datagram, stun::Message};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

/// What datagrams may begin with, so that most are more than noise.
const STARTS: [&[u8]; 12] = [
    &[],
    b"\0\x01\0\x08\x21\x12\xa4\x42transaction.\0\x06\0\x04aa:b",
    b"\x01\x01\0\0\x21\x12\xa4\x42transaction.",
    b"\0\x03\0\x04\x21\x12\xa4\x42transaction.\x40\0\0\0",
    b"\x01\x03\0\0\x21\x12\xa4\x42transaction.",
    b"\0\x16\0\x20\x21\x12\xa4\x42transaction.\0\x12\0\x08\0\x01\x2b\x70\xe1\x12\xa6\x43\0\x13\0\x20",
    b"\0\x09\0\x14\x21\x12\xa4\x42transaction.\0\x0c\0\x04\x40\0\0\0\0\x12\0\x08\0\x01\x2b\x70\xe1\x12\xa6\x43",
    b"\x40\0\0\x14",
    b"\x80\x78",
    b"\x08\x01\0\0\x21\x12\xa4\x42transaction.",
    b"\xc0\0\0\0\x01\x08destinat\x04from",
    b"\x40destinat",
];

fuzz_target!(|data: &[u8]| {
    let mut file = b"\x4d\x3c\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x65\0\0\0".to_vec();
    let mut rest = data;
    let mut ms = 0_u32;
    // For each datagram: a pause, its ends, its start, its length; then the rest of it.
    while let [pause, ends, start, length, more @ ..] = rest {
        let (tail, more) = more.split_at(usize::from(length % 64).min(more.len()));
        rest = more;
        // Up to an hour now and then, so that calls end.
        ms = ms.wrapping_add(if *pause == 255 { 3_600_000 } else { u32::from(*pause) });
        let payload = [STARTS[usize::from(*start) % STARTS.len()], tail].concat();
        let _ = Datagram::recognise(&payload, u32::from(*length));
        for message in Message::parse(&payload).into_iter().chain(Message::parse_classic(&payload)) {
            let _ = (message.attributes(), message.xor_address(0x20));
        }
        let length = (28 + payload.len()) as u16;
        let [from, to] = [ends & 3, ends >> 2 & 3];
        let mut frame = vec![0x45, 0];
        frame.extend(length.to_be_bytes());
        frame.extend([0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, from, 192, 0, 2, to]);
        frame.extend([4, ends >> 4 & 1, 4, ends >> 5 & 1]);
        frame.extend((length - 20).to_be_bytes());
        frame.extend([0, 0]);
        frame.extend(payload);
        file.extend((ms / 1000).to_le_bytes());
        file.extend((ms % 1000 * 1_000_000).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend((frame.len() as u32).to_le_bytes());
        file.extend(frame);
    }
    let Ok(mut capture) = Capture::read("fuzz".to_owned(), Cursor::new(file)) else { return };
    let mut dissector = Dissector::new(Classes::default());
    dissector.dissect(&mut capture, drop);
    let report = dissector.finish();
    let packets = report.files[0].packets;
    for call in &report.calls {
        let sum: u64 = call
            .flows
            .iter()
            .filter(|flow| flow.via.is_none())
            .map(|flow| flow.up.packets + flow.down.packets)
            .sum();
        assert!(sum <= packets);
        let sources: u64 = call.media.iter().map(|stream| stream.packets).sum();
        assert!(sources <= packets);
        for flow in &call.flows {
            for requests in [&flow.up, &flow.down]
                .into_iter()
                .flat_map(|one| [&one.checks, &one.joins, &one.pings, &one.others])
                .flatten()
            {
                assert!(requests.answered <= requests.sent);
            }
        }
    }
});
