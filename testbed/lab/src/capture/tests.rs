use super::*;
use pcap_file::pcapng::PcapNgReader;
use std::process::Command;

const SECRETS: &str = "CLIENT_RANDOM 00112233 44556677\nSERVER_TRAFFIC_SECRET_0 8899 aabb\n";

fn plan(path: &Path) -> CapturePlan {
    let interfaces = vec![(PortId(1), "wlan0".into()), (PortId(2), "wwan0".into())];
    CapturePlan { host: "laptop".into(), path: path.into(), interfaces }
}

fn packet(number: u16) -> Vec<u8> {
    let (laptop, meet) = ("192.0.2.1:4000".parse().unwrap(), "198.51.100.1:3478".parse().unwrap());
    // Lengths of all kinds, so that padding is too.
    netmodel::build_udp(laptop, meet, &vec![number as u8; usize::from(number % 7)]).unwrap()
}

/// Writes packets as the datapath does: even ones out of `wlan0`, odd ones in through `wwan0`, 1 ms apart.
fn capture(path: &Path, packets: u16) {
    let start = Instant::now();
    let (mut tap, captures) = Captures::start(vec![plan(path)], None).unwrap();
    for number in 0..packets {
        let at = start + Duration::from_millis(number.into());
        let (port, passing) =
            if number % 2 == 0 { (1, Passing::Out(u32::from(number) + 1)) } else { (2, Passing::In) };
        tap.take(PortId(port), passing, at, &packet(number)).unwrap();
        // Nobody wants these.
        tap.take(PortId(0), passing, at, &packet(number)).unwrap();
        tap.take(PortId(3), passing, at, &packet(number)).unwrap();
    }
    drop(tap);
    captures.finish().unwrap();
}

/// What a reader gets before the file ends or breaks off.
fn blocks(bytes: &[u8]) -> Vec<Block<'static>> {
    let Ok(mut reader) = PcapNgReader::new(bytes) else { return Vec::new() };
    let mut blocks = Vec::new();
    while let Some(Ok(block)) = reader.next_block() {
        blocks.push(block.into_owned());
    }
    blocks
}

fn in_a_directory(test: impl FnOnce(&Path)) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    test(&directory.path().join("capture.pcapng"));
}

/// Standard output of one of Wireshark's programs, which must be content.
fn wireshark(program: &str, arguments: &[&str], path: &Path) -> String {
    let output = Command::new(program).args(arguments).arg(path).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error}; `testbed/setup test` installs it"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program}: {said}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_capture_holds_every_packet_with_its_interface_way_and_time() {
    in_a_directory(|path| {
        let before = SystemTime::UNIX_EPOCH.elapsed().unwrap();
        capture(path, 100);
        let mut blocks = blocks(&fs::read(path).unwrap()).into_iter();
        let names: Vec<_> = blocks
            .by_ref()
            .take(2)
            .map(|block| {
                let interface = block.into_interface_description().expect("first the interfaces");
                assert_eq!((interface.linktype, interface.snaplen), (DataLink::RAW, 0));
                assert!(interface.options.contains(&InterfaceDescriptionOption::IfTsResol(9)));
                interface.options[0].clone()
            })
            .collect();
        assert_eq!(names, ["wlan0", "wwan0"].map(|name| InterfaceDescriptionOption::IfName(name.into())));
        let packets: Vec<_> = blocks.map(|block| block.into_enhanced_packet().expect("a packet")).collect();
        assert_eq!(packets.len(), 100);
        let first = packets[0].timestamp;
        assert!(first >= before && first < before + Duration::from_secs(60), "{first:?} is not {before:?}");
        for (number, block) in (0_u16..).zip(packets) {
            let (interface, flags) = if number % 2 == 0 { (0, 0b10) } else { (1, 0b01) };
            assert_eq!(block.interface_id, interface);
            assert_eq!(block.options, [EnhancedPacketOption::Flags(flags)]);
            assert_eq!(block.data, packet(number));
            assert_eq!(block.original_len as usize, packet(number).len());
            // The first is clamped: it was before the capture began.
            let offset = (block.timestamp - first).saturating_sub(Duration::from_millis(number.into()));
            assert!(offset < Duration::from_millis(1), "packet {number} is {offset:?} off");
        }
    });
}

#[test]
fn wireshark_reads_it() {
    in_a_directory(|path| {
        capture(path, 100);
        let fields = [
            "-T",
            "fields",
            "-e",
            "frame.interface_name",
            "-e",
            "frame.packet_flags_direction",
            "-e",
            "udp.dstport",
            "-r",
        ];
        let said = wireshark("tshark", &fields, path);
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines.len(), 100);
        assert_eq!(lines[0].split('\t').collect::<Vec<_>>(), ["wlan0", "0x00000002", "3478"]);
        assert_eq!(lines[1].split('\t').collect::<Vec<_>>(), ["wwan0", "0x00000001", "3478"]);
        let said = wireshark("capinfos", &[], path);
        assert!(said.contains("Number of packets:   100") && said.contains("nanosecond"), "{said}");
        assert!(said.contains("Name = wlan0") && said.contains("Description = laptop.wwan0"), "{said}");
        assert!(said.contains("Strict time order:   True"), "{said}");
    });
}

#[test]
fn cut_off_anywhere_it_is_read_up_to_the_last_whole_block() {
    in_a_directory(|path| {
        capture(path, 20);
        let bytes = fs::read(path).unwrap();
        let all = blocks(&bytes);
        assert_eq!(all.len(), 22);
        let mut seen = 0;
        for length in 0..=bytes.len() {
            let whole = blocks(&bytes[..length]);
            assert_eq!(whole, all[..whole.len()], "of {length} bytes");
            assert!(whole.len() == seen || whole.len() == seen + 1, "of {length} bytes");
            seen = whole.len();
        }
        assert_eq!(seen, all.len());
    });
}

#[test]
fn packets_are_in_the_file_before_the_end() {
    in_a_directory(|path| {
        let (mut tap, captures) = Captures::start(vec![plan(path)], None).unwrap();
        assert_eq!(blocks(&fs::read(path).unwrap()).len(), 2, "the interfaces, at once");
        let at = Instant::now();
        tap.take(PortId(1), Passing::Out(1), at, &packet(1)).unwrap();
        assert_eq!(tap.deadline(), Some(at + BATCH_EVERY));
        tap.wake(at + BATCH_EVERY).unwrap();
        assert_eq!(tap.deadline(), None);
        // However busy the machine is: it comes without the end of the tap.
        while blocks(&fs::read(path).unwrap()).len() < 3 {
            thread::sleep(BATCH_EVERY);
        }
        drop(tap);
        captures.finish().unwrap();
    });
}

#[test]
fn a_slow_disk_loses_nothing() {
    // Nobody takes batches out, for a while: they pile up, then the last one grows.
    let (full, to_write) = mpsc::sync_channel(BATCHES);
    let (_written, empty) = mpsc::sync_channel(BATCHES);
    let mut tap = Tap { wanted: vec![true], cut: false, batch: Batch::default(), due: None, full, empty };
    let count = (BATCHES + 2) * BATCH_BYTES / 1000 + 1;
    let at = Instant::now();
    for _ in 0..count {
        tap.take(PortId(0), Passing::In, at, &[0; 1000]).unwrap();
    }
    assert!(tap.batch.bytes.len() > BATCH_BYTES);
    assert_eq!(tap.deadline(), Some(at + BATCH_EVERY), "it is tried again, and not at once");
    let mut taken = to_write.try_recv().unwrap().heads.len();
    tap.wake(at + BATCH_EVERY).unwrap();
    assert_eq!((tap.batch.bytes.len(), tap.deadline()), (0, None));
    drop(tap);
    taken += to_write.iter().map(|batch| batch.heads.len()).sum::<usize>();
    assert_eq!(taken, count);
}

#[test]
fn a_tap_notices_that_nobody_writes() {
    let (full, to_write) = mpsc::sync_channel(BATCHES);
    let (_written, empty) = mpsc::sync_channel(BATCHES);
    let mut tap = Tap { wanted: vec![true], cut: false, batch: Batch::default(), due: None, full, empty };
    drop(to_write);
    let at = Instant::now();
    tap.take(PortId(0), Passing::In, at, b"packet").unwrap();
    tap.wake(at + BATCH_EVERY).expect_err("nobody writes");
}

#[test]
fn secrets_come_first_and_change_nothing_else() {
    in_a_directory(|path| {
        // More than is read at once.
        capture(path, 3000);
        let before = blocks(&fs::read(path).unwrap());
        assert!(fs::metadata(path).unwrap().len() > HEADER_BYTES);
        embed_secrets(path, "").unwrap();
        assert_eq!(blocks(&fs::read(path).unwrap()), before, "no secrets, no block");
        embed_secrets(path, SECRETS).unwrap();
        let after = blocks(&fs::read(path).unwrap());
        let Block::Unknown(secrets) = &after[0] else { panic!("{:?}", after[0]) };
        assert_eq!(secrets.type_, 0xa);
        let length = SECRETS.len() as u32;
        let expected = [&0x544c_534b_u32.to_ne_bytes(), &length.to_ne_bytes(), SECRETS.as_bytes()].concat();
        assert!(
            secrets.value.starts_with(&expected) && secrets.value.len() == expected.len().next_multiple_of(4)
        );
        assert_eq!(after[1..], before);
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

        let numbers = wireshark("tshark", &["-T", "fields", "-e", "frame.number", "-r"], path);
        assert_eq!(numbers.lines().count(), 3000);
        let said = wireshark("capinfos", &[], path);
        assert!(said.contains("Number of decryption secrets in file: 1"), "{said}");
        assert!(said.contains("Number of packets:   3000"), "{said}");
    });
}

#[test]
fn secrets_for_what_is_no_capture_change_nothing() {
    in_a_directory(|path| {
        assert!(matches!(embed_secrets(path, SECRETS), Err(CaptureError::File { action: "read", .. })));
        fs::write(path, "no capture at all").unwrap();
        let error = embed_secrets(path, SECRETS).expect_err("no capture");
        assert!(error.to_string().contains("capture.pcapng is no capture: "), "{error}");
        assert_eq!(fs::read_to_string(path).unwrap(), "no capture at all");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    });
}

#[test]
fn what_cannot_be_written_is_an_error() {
    in_a_directory(|path| {
        let nowhere = path.with_file_name("missing").join("capture.pcapng");
        let error = Captures::start(vec![plan(&nowhere)], None).expect_err("no such directory");
        assert!(error.to_string().contains("missing/capture.pcapng: No such file or directory"), "{error}");
        let error = Captures::start(vec![plan(Path::new("/dev/full"))], None).expect_err("no room");
        assert!(error.to_string().contains("cannot write the capture /dev/full: No space left"), "{error}");
    });
}

/// Through a NAT and to the far end: the packet has other addresses by then, and one number all the way.
#[test]
fn what_becomes_of_a_packet_later_is_a_comment_on_it() {
    in_a_directory(|path| {
        let start = Instant::now();
        let (mut tap, captures) = Captures::start(vec![plan(path)], None).unwrap();
        for number in 1..=6 {
            let at = start + Duration::from_millis(number.into());
            tap.take(PortId(1), Passing::Out(number), at, &packet(number as u16)).unwrap();
        }
        let late = |ms| Dropped {
            at: start + Duration::from_millis(ms),
            why: "nat-filtered",
            network: "home".into(),
        };
        tap.dropped(3, late(28));
        tap.dropped(99, late(29));
        tap.dropped(3, late(30));
        let before = fs::metadata(path).unwrap().len();
        drop(tap);
        captures.finish().unwrap();
        assert!(!path.with_extension("pcapng.new").exists() && fs::metadata(path).unwrap().len() > before);
        let fields = ["-T", "fields", "-E", "separator=|", "-e", "frame.number", "-e", "frame.comment"];
        let told = wireshark("tshark", &[&fields[..], &["-r"]].concat(), path);
        let lines: Vec<&str> = told.lines().collect();
        let comment = "3|dropped: nat-filtered in home, 25.000 ms later";
        assert_eq!(lines, ["1|", "2|", comment, "4|", "5|", "6|"]);
        let blocks = blocks(&fs::read(path).unwrap());
        let times: Vec<_> = blocks.into_iter().filter_map(|block| block.into_enhanced_packet()).collect();
        let apart = times.windows(2).map(|pair| pair[1].timestamp - pair[0].timestamp);
        assert!(apart.into_iter().all(|apart| apart == Duration::from_millis(1)));
    });
}

/// Writes packets of 1200 and of 58 bytes in turn, 1 ms apart, with limits; returns the file's size, the packets in it by
/// original and kept length, and what it lacks.
fn limited(limits: CaptureLimits, packets: u32) -> (u64, Vec<(u32, usize)>, CaptureLosses) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.pcapng");
    let (laptop, meet) = ("192.0.2.1:4000".parse().unwrap(), "198.51.100.1:3478".parse().unwrap());
    let sizes = [1200, 58].map(|size| netmodel::build_udp(laptop, meet, &vec![7; size]).unwrap());
    let (mut tap, captures) = Captures::start(vec![plan(&path)], Some(limits)).unwrap();
    let zero = Instant::now();
    captures.set_time_zero(zero);
    for number in 0..packets {
        let at = zero + Duration::from_millis(number.into());
        let packet = &sizes[number as usize % 2];
        tap.take(PortId(1), Passing::Out(number + 1), at, packet).unwrap();
        if number % 10 == 0 {
            let network = "home".to_owned();
            tap.dropped(number + 1, Dropped { at: at + Duration::from_millis(9), why: "loss", network });
        }
    }
    drop(tap);
    let losses = captures.finish().unwrap();
    let bytes = fs::read(&path).unwrap();
    let kept = blocks(&bytes).into_iter().filter_map(|block| match block {
        Block::EnhancedPacket(packet) => Some((packet.original_len, packet.data.len())),
        _ => None,
    });
    (bytes.len() as u64, kept.collect(), losses[&path])
}

#[test]
fn a_limited_capture_keeps_small_payloads_whole_and_starts_of_large_ones() {
    let limits = CaptureLimits { max_bytes: 10_000_000, cut: true, steps: vec![] };
    let (_, packets, losses) = limited(limits, 1000);
    assert_eq!(packets.len(), 1000);
    assert!(packets.iter().all(|packet| [(1228, 28 + 128), (86, 86)].contains(packet)), "{packets:?}");
    let expected = CaptureLosses { packets_cut: 500, packets_dropped: 0, bytes_dropped: 500 * (1200 - 128) };
    assert_eq!(losses, expected);
}

#[test]
fn no_capture_is_larger_than_its_limit() {
    for max_bytes in [2_000, 50_000, 300_000] {
        for (cut, steps) in [(true, vec![]), (true, vec![Duration::from_secs(8)]), (false, vec![])] {
            let limits = CaptureLimits { max_bytes, cut, steps };
            let (size, packets, losses) = limited(limits.clone(), 20_000);
            assert!(size <= max_bytes, "{size} bytes under {limits:?}");
            assert!(size > max_bytes / 2, "{size} bytes under {limits:?}");
            assert_eq!(packets.len() as u64 + losses.packets_dropped, 20_000);
            let missing: u64 =
                packets.iter().map(|(original, kept)| u64::from(*original) - *kept as u64).sum();
            assert!(losses.bytes_dropped > missing, "{losses:?}");
        }
    }
}

#[test]
fn without_limits_every_packet_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("capture.pcapng");
    capture(&path, 100);
    let bytes = fs::read(&path).unwrap();
    let whole = blocks(&bytes).into_iter().filter(
        |block| matches!(block, Block::EnhancedPacket(packet) if packet.original_len as usize == packet.data.len()),
    );
    assert_eq!(whole.count(), 100);
}
