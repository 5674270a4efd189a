//! Packets, TCP flows, STUN types, RTP sources and names, counted by tshark and by us, in a capture that the test makes and in
//! those of other people where they are.

mod common;

use common::{Maker, socket};
use dissect::{Capture, Classes, Dissector, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

type Counts = BTreeMap<String, u64>;

/// Says so without the harness swallowing it.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED: {what}");
}

fn has_tshark() -> bool {
    let found = Command::new("tshark").arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        skipped("there is no tshark: nothing is compared with it");
    }
    found
}

fn tshark(capture: &Path, arguments: &[&str]) -> String {
    let output =
        Command::new("tshark").arg("-n").arg("-r").arg(capture).args(arguments).output().expect("tshark");
    // A capture that ends within a packet is read up to there, as ours.
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn counted(values: impl IntoIterator<Item = String>) -> Counts {
    let mut counts = Counts::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

/// Values of a field, one for each occurrence.
fn field(capture: &Path, filter: &str, name: &str) -> Vec<String> {
    let text = tshark(capture, &["-Y", filter, "-T", "fields", "-E", "aggregator=,", "-e", name]);
    let values = text.lines().flat_map(|line| line.split(','));
    values.filter(|value| !value.is_empty()).map(str::to_owned).collect()
}

fn stun_types(capture: &Path) -> Counts {
    let filter = "udp.payload[4:4]==21:12:a4:42 && !icmp && !icmpv6 && udp.payload[0:1]<40";
    counted(field(capture, filter, "udp.payload").iter().map(|payload| payload[..4].to_owned()))
}

/// Packets by ends and source; libwebrtc's padding, whose source is 0, has several payload types that tshark puts together.
fn rtp_sources(capture: &Path) -> Counts {
    let text = tshark(capture, &["--enable-heuristic", "rtp_udp", "-q", "-z", "rtp,streams"]);
    let mut sources = Counts::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, _, from, from_port, to, to_port, ssrc, _, packets, ..] = fields.as_slice() else { continue };
        let (Some(ssrc), Ok(packets)) = (ssrc.strip_prefix("0x"), packets.parse::<u64>()) else { continue };
        if ssrc != "00000000" {
            let key = format!("{from} {from_port} {to} {to_port} {}", ssrc.to_lowercase());
            *sources.entry(key).or_default() += packets;
        }
    }
    sources
}

fn our_rtp_sources(report: &Report) -> Counts {
    let mut sources = Counts::new();
    for stream in report.calls.iter().flat_map(|call| &call.media).filter(|stream| stream.ssrc != "00000000")
    {
        for way in &stream.ways {
            let (from, to) = (way.from, way.to);
            let key = format!("{} {} {} {} {}", from.ip(), from.port(), to.ip(), to.port(), stream.ssrc);
            *sources.entry(key).or_default() += way.packets;
        }
    }
    sources
}

/// Differences on one capture.
fn compare(path: &Path) -> Vec<String> {
    let mut capture = Capture::open(path).unwrap_or_else(|error| panic!("{error}"));
    let mut dissector = Dissector::new(Classes::default());
    dissector.dissect(&mut capture, drop);
    let report = dissector.finish();
    let plain = |counts: &BTreeMap<dissect::Text, u64>| -> Counts {
        counts.iter().map(|(name, count)| (name.to_string(), *count)).collect()
    };
    let one = |name: &str, count: u64| Counts::from([(name.to_owned(), count)]);
    let hellos = report.names.client_hellos.iter().filter(|(name, count)| !name.is_empty() && count.tls > 0);
    let queries = report.names.dns.iter().filter(|(name, dns)| dns.queries > 0 && !name.is_empty());
    let streams = field(path, "tcp && !icmp && !icmpv6", "tcp.stream");
    let tcp = report.flow_summary.flows.get("tcp").copied().unwrap_or_default();
    let pairs = [
        (
            "packets",
            one("all", report.files[0].packets),
            one("all", field(path, "frame", "frame.number").len() as u64),
        ),
        ("TCP flows", one("all", tcp), one("all", counted(streams).len() as u64)),
        ("STUN types", plain(&report.stun.types), stun_types(path)),
        (
            "names in TLS",
            hellos.map(|(name, count)| (name.to_string(), count.tls)).collect(),
            counted(field(path, "tls.handshake.type == 1 && tcp", "tls.handshake.extensions_server_name")),
        ),
        (
            "names in DNS",
            queries.map(|(name, dns)| (name.to_string(), dns.queries)).collect(),
            counted(field(
                path,
                "udp.port == 53 && dns.flags.response == 0 && !icmp && !icmpv6",
                "dns.qry.name",
            )),
        ),
    ];
    let file = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let differ = |(what, ours, theirs): (&str, Counts, Counts)| {
        (ours != theirs).then(|| format!("{file}, {what}:\n  ours   {ours:?}\n  tshark {theirs:?}"))
    };
    let sources = rtp_differences(&file, &our_rtp_sources(&report), &rtp_sources(path));
    pairs.into_iter().filter_map(differ).chain(sources).collect()
}

/// Sources of fewer than three packets are not believed by us. tshark takes an encrypted packet with the padding bit for other
/// data when its last byte is no length of padding: up to a tenth may be missing there.
fn rtp_differences(file: &str, ours: &Counts, theirs: &Counts) -> Vec<String> {
    let of = |counts: &Counts, source: &String| counts.get(source).copied().unwrap_or_default();
    let sources: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
    let differ = |source: &&String| {
        let (ours, theirs) = (of(ours, source), of(theirs, source));
        ours.max(theirs) >= 3 && (theirs > ours || (ours - theirs) * 10 > ours)
    };
    let line = |source: &String| {
        format!("{file}, RTP source {source}: ours {}, tshark {}", of(ours, source), of(theirs, source))
    };
    sources.into_iter().filter(differ).map(line).collect()
}

#[test]
fn a_made_capture_is_counted_as_tshark_does() {
    if !has_tshark() {
        return;
    }
    let [a, b, server] = ["192.0.2.1:4000", "192.0.2.2:5000", "198.51.100.1:3478"].map(socket);
    let mut maker = Maker::default();
    maker.stun(0, a, server, 0x0003, 1, &[]);
    maker.stun(20, server, a, 0x0103, 1, &[]);
    for number in 0..30 {
        maker.stun(
            30 + i64::from(number),
            a,
            b,
            0x0001,
            number as u8,
            &[(0x0006, b"aa:b"), (0x0008, &[0; 20])],
        );
        maker.rtp(100 + i64::from(number) * 20, a, b, 0, 0xaa, number);
        maker.rtp(105 + i64::from(number) * 20, b, a, 96, 0xbb, number);
    }
    let folder = tempfile::tempdir().expect("a directory");
    let path = folder.path().join("made.pcap");
    std::fs::write(&path, maker.pcap()).expect("a capture");
    assert_eq!(compare(&path), Vec::<String>::new());
    // An empty comparison would pass, too.
    assert_eq!((rtp_sources(&path).len(), stun_types(&path).len()), (2, 3));
}

#[test]
fn captures_of_other_people_are_counted_as_tshark_does() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    if !has_tshark() {
        return;
    }
    let Ok(entries) = std::fs::read_dir(&folder) else {
        skipped(&format!("{} is not there: no other people's captures are compared", folder.display()));
        return;
    };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "pcap" || end == "pcapng"));
    paths.sort();
    assert!(!paths.is_empty());
    let differences: Vec<String> = paths.iter().flat_map(|path| compare(path)).collect();
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}
