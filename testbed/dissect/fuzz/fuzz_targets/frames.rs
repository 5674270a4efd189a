//! Fuzz target: arbitrary packets of one capture never panic flows, names or STUN.
#![cfg_attr(fuzzing, no_main)]

use dissect::{Capture, Classes, Dissector};
use libfuzzer_sys::fuzz_target;
use std::io::Cursor;

fuzz_target!(|data: &[u8]| {
    // Link type; then for each frame a pause, a length and the frame.
    let Some((link, mut rest)) = data.split_first() else { return };
    let mut file = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0".to_vec();
    file.extend([1_u32, 101, 113, 108][usize::from(*link % 4)].to_le_bytes());
    let mut second = 0_u32;
    while let [pause, high, low, more @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high & 7, *low])).min(more.len());
        let (frame, more) = more.split_at(length);
        rest = more;
        second = second.wrapping_add(u32::from(*pause).pow(2));
        file.extend(second.to_le_bytes());
        file.extend([0; 4]);
        file.extend((length as u32).to_le_bytes());
        file.extend((length as u32).to_le_bytes());
        file.extend(frame);
    }
    let Ok(mut capture) = Capture::read("fuzz".to_owned(), Cursor::new(file)) else { return };
    let mut dissector = Dissector::new(Classes::default());
    let mut packets = 0;
    dissector.dissect(&mut capture, |flow| packets += flow.packets());
    let file = &dissector.finish().files[0];
    // Every packet is in one flow; a fragmented packet is one packet.
    assert!(packets <= file.packets);
    assert!(packets + file.fragments + file.not_ip + file.damaged_packets == file.packets);
});
