//! Reading capture files: formats, compression, damage, fragments. `pcap-file` writes them, an independent writer.

use dissect::{Capture, IpReader, LinkType, Outcome, Record, Transport};
use etherparse::PacketBuilder;
use pcap_file::{
    DataLink, Endianness, TsResolution,
    pcap::{PcapHeader, PcapPacket, PcapWriter},
    pcapng::{
        Block, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            section_header::SectionHeaderBlock,
            unknown::UnknownBlock,
        },
    },
};
use proptest::prelude::*;
use std::{
    io::{Cursor, Write},
    time::Duration,
};

type Seen = Vec<(i64, u32, u32, Vec<u8>)>;

/// Every frame, the secrets, and the offsets of damage.
fn read(bytes: &[u8]) -> (Seen, Vec<u8>, Vec<u64>) {
    let (mut frames, mut secrets) = (Vec::new(), Vec::new());
    let Ok(mut capture) = Capture::read("test".into(), Cursor::new(bytes.to_vec())) else {
        return (frames, secrets, vec![0]);
    };
    while let Some(record) = capture.next_record() {
        match record {
            Record::Frame(frame) => {
                frames.push((frame.time_ns, frame.interface, frame.length, frame.data.to_vec()))
            }
            Record::Secrets(lines) => secrets.extend(lines),
        }
    }
    let damage = capture.damage().0.iter().map(|damage| damage.offset).collect();
    (frames, secrets, damage)
}

fn pcap(endianness: Endianness, ts_resolution: TsResolution) -> Vec<u8> {
    let header = PcapHeader { endianness, ts_resolution, datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
    for index in 0..3_u64 {
        let time = Duration::new(1_700_000_000 + index, 123_456_000);
        writer.write_packet(&PcapPacket::new_owned(time, 60, vec![index as u8; 40])).unwrap();
    }
    writer.into_writer()
}

fn expected() -> Seen {
    (0..3)
        .map(|index| (1_700_000_000_123_456_000 + index * 1_000_000_000, 0, 60, vec![index as u8; 40]))
        .collect()
}

#[test]
fn pcap_in_both_byte_orders_and_both_resolutions() {
    for endianness in [Endianness::Big, Endianness::Little] {
        for resolution in [TsResolution::MicroSecond, TsResolution::NanoSecond] {
            assert_eq!(
                read(&pcap(endianness, resolution)),
                (expected(), vec![], vec![]),
                "{endianness:?} {resolution:?}"
            );
        }
    }
}

#[test]
fn gzip_of_several_members() {
    let plain = pcap(Endianness::Little, TsResolution::NanoSecond);
    let mut bytes = Vec::new();
    for part in plain.chunks(50) {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(part).unwrap();
        bytes.extend(encoder.finish().unwrap());
    }
    assert_eq!(read(&bytes).0, expected());
    let (frames, _, damage) = read(&bytes[..bytes.len() - 30]);
    assert_eq!((frames.len(), damage.len()), (2, 1), "a cut file is used up to the cut");
}

#[test]
fn zstd_of_several_frames() {
    let plain = pcap(Endianness::Little, TsResolution::NanoSecond);
    let compress =
        |part| ruzstd::encoding::compress_to_vec(part, ruzstd::encoding::CompressionLevel::Fastest);
    // A skippable frame (RFC 8878 section 3.1.2) between two others.
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2].to_vec();
    let bytes = [compress(&plain[..70]), skippable, compress(&plain[70..])].concat();
    assert_eq!(read(&bytes), (expected(), vec![], vec![]));
}

fn pcapng(endianness: Endianness) -> Vec<u8> {
    let section = SectionHeaderBlock { endianness, ..SectionHeaderBlock::default() };
    let mut writer = PcapNgWriter::with_section_header(Vec::new(), section).unwrap();
    let resolutions = [None, Some(9), Some(0x80 | 10)];
    for resolution in resolutions {
        let mut options = vec![InterfaceDescriptionOption::IfName("wlan0".into())];
        options.extend(resolution.map(InterfaceDescriptionOption::IfTsResol));
        let block = InterfaceDescriptionBlock { linktype: DataLink::RAW, snaplen: 0, options };
        writer.write_pcapng_block(block).unwrap();
    }
    let secrets = b"CLIENT_RANDOM 00 11\n";
    let bytes = |number: u32| match endianness {
        Endianness::Big => number.to_be_bytes(),
        Endianness::Little => number.to_le_bytes(),
    };
    let value = [&bytes(0x544c_534b)[..], &bytes(secrets.len() as u32), secrets].concat();
    writer.write_block(&Block::Unknown(UnknownBlock { type_: 10, length: 0, value: value.into() })).unwrap();
    // The library writes nanoseconds as units: 1024 units of 2^-10 s are a second.
    for (interface_id, units) in [(0, 5_000_000), (1, 6_000_000_000), (2, 7 * 1024)] {
        writer
            .write_pcapng_block(EnhancedPacketBlock {
                interface_id,
                timestamp: Duration::from_nanos(units),
                original_len: 60,
                data: vec![9_u8; 41].into(),
                options: vec![EnhancedPacketOption::Comment("why".into())],
            })
            .unwrap();
    }
    writer.into_inner()
}

#[test]
fn pcapng_with_interfaces_of_different_resolutions_secrets_and_comments() {
    for endianness in [Endianness::Big, Endianness::Little] {
        let (frames, secrets, damage) = read(&pcapng(endianness));
        let times: Vec<_> =
            frames.iter().map(|frame| (frame.0 / 1_000_000_000, frame.1, frame.3.len())).collect();
        assert_eq!(times, [(5, 0, 41), (6, 1, 41), (7, 2, 41)], "{endianness:?}");
        assert_eq!((secrets.as_slice(), damage), (&b"CLIENT_RANDOM 00 11\n"[..], vec![]));
    }
}

#[test]
fn sections_follow_each_other_in_any_byte_order() {
    let both = [pcapng(Endianness::Big), pcapng(Endianness::Little)].concat();
    let (frames, _, damage) = read(&both);
    assert_eq!((frames.len(), damage), (6, vec![]));
}

#[test]
fn the_place_of_a_cut_is_named() {
    let whole = pcap(Endianness::Little, TsResolution::NanoSecond);
    for length in 24..whole.len() {
        let (frames, _, damage) = read(&whole[..length]);
        let complete = (length - 24) / 56;
        assert_eq!(frames, expected()[..complete], "cut to {length}");
        let place = 24 + complete as u64 * 56;
        let expected = if place == length as u64 { vec![] } else { vec![place] };
        assert_eq!(damage, expected, "cut to {length}");
    }
}

fn fragments_of(datagram: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (header, payload) = datagram.split_at(20);
    let count = payload.chunks(size).count();
    let fragment = |(index, part): (usize, &[u8])| {
        let mut packet = [header, part].concat();
        let length = packet.len() as u16;
        packet[2..4].copy_from_slice(&length.to_be_bytes());
        let more = if index + 1 < count { 0x2000 } else { 0 };
        packet[6..8].copy_from_slice(&(more | (index * size / 8) as u16).to_be_bytes());
        packet
    };
    payload.chunks(size).enumerate().map(fragment).collect()
}

#[test]
fn fragments_in_any_order_become_one_packet() {
    let mut datagram = Vec::new();
    let payload: Vec<u8> = (0..2000_u32).map(|index| index as u8).collect();
    PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .udp(1000, 2000)
        .write(&mut datagram, &payload)
        .unwrap();
    let fragments = fragments_of(&datagram, 800);
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        let mut reader = IpReader::default();
        for index in &order[..2] {
            assert!(matches!(reader.read(0, 834, &fragments[*index]), Outcome::Fragment));
        }
        let Outcome::Packet(packet) = reader.read(0, 834, &fragments[order[2]]) else {
            panic!("not whole: {order:?}")
        };
        assert_eq!(packet.transport, Transport::Udp);
        assert_eq!(
            (packet.source.port(), packet.payload, packet.frame_length),
            (1000, payload.as_slice(), 3 * 834)
        );
    }
}

proptest! {
    /// Flipped bits never panic, and what was read before the first one is the same.
    #[test]
    fn flipped_bits_never_panic(at in 24_usize..200, bit in 0_u8..8, cut in 0_usize..40) {
        for whole in [pcap(Endianness::Big, TsResolution::MicroSecond), pcapng(Endianness::Little)] {
            let mut bytes = whole;
            let length = bytes.len() - cut;
            bytes.truncate(length);
            if let Some(byte) = bytes.get_mut(at) { *byte ^= 1 << bit }
            read(&bytes);
        }
    }

    /// Arbitrary bytes of every link type never panic the readers of packets.
    #[test]
    fn arbitrary_packets_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), first in 0x40_u8..0x70, link in 0_u32..300) {
        let mut bytes = bytes;
        if let Some(byte) = bytes.first_mut() { *byte = first }
        let _ = dissect::network(LinkType(link), &bytes);
        let mut reader = IpReader::default();
        for time in 0..3 { let _ = reader.read(time, 100, &bytes); }
    }
}
