//! Every figure of the captures in `../shared/captures`, as far as it is dissected; the others are listed one by one.

mod figures;

use dissect::{Capture, Classes, Dissector, FlowRecord, Report};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// Figures of fields in unknown formats, which nothing infers yet.
const NOT_YET: &[&str] = &[
    "true_field_starts_first16 (dns)",
    "true_field_starts_first16 (ntp)",
    "true_field_starts_first16 (stun)",
];

/// What one capture gives.
struct Seen {
    path: PathBuf,
    report: Report,
    flows: Vec<FlowRecord>,
}

fn captures() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/captures");
    if folder.join("expected.tsv").is_file() {
        return Some(folder);
    }
    eprintln!(
        "SKIPPED: {} is not there, so that no figure of other people's captures is checked",
        folder.display()
    );
    None
}

fn dissect(path: &Path) -> Seen {
    let mut dissector = Dissector::new(Classes::default());
    let mut flows = Vec::new();
    let mut capture = Capture::open(path).unwrap_or_else(|error| panic!("{error}"));
    dissector.dissect(&mut capture, |flow| flows.push(flow));
    flows.sort_by_key(|flow| flow.first_frame);
    Seen { path: path.to_owned(), report: dissector.finish(), flows }
}

/// Parts of a value in any order, but for those that the order is part of.
fn normalised(value: &str) -> Vec<String> {
    let mut parts: Vec<String> = value.split(" ; ").map(|part| part.trim().to_owned()).collect();
    parts.sort();
    parts
}

#[test]
fn every_expected_figure() {
    let Some(folder) = captures() else { return };
    let expected = std::fs::read_to_string(folder.join("expected.tsv")).expect("expected.tsv");
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    let (mut wrong, mut met, mut later) = (Vec::new(), 0, BTreeSet::new());
    for row in expected.lines().skip(1) {
        let mut fields = row.split('\t');
        let [Some(file), Some(figure), Some(value)] = [fields.next(), fields.next(), fields.next()] else {
            panic!("a row without value: {row}");
        };
        let seen = seen.entry(file.to_owned()).or_insert_with(|| dissect(&folder.join(file)));
        match figures::measure(figure, seen) {
            Some(measured) if normalised(&measured) == normalised(value) => met += 1,
            Some(measured) => {
                let (ours, theirs) = (normalised(&measured), normalised(value));
                let missing: Vec<_> = theirs.iter().filter(|part| !ours.contains(part)).collect();
                let extra: Vec<_> = ours.iter().filter(|part| !theirs.contains(part)).collect();
                wrong
                    .push(format!("{file} {figure}\n  only expected {missing:?}\n  only measured {extra:?}"));
            }
            None if NOT_YET.contains(&figure) => _ = later.insert(figure.to_owned()),
            None => wrong.push(format!("{file} {figure}: not measured, and not listed as such")),
        }
    }
    eprintln!("{met} figures met; not measured yet: {later:?}");
    assert!(wrong.is_empty(), "{} figures are not met:\n{}", wrong.len(), wrong.join("\n"));
    let stale: Vec<_> = NOT_YET.iter().filter(|figure| !later.contains(**figure)).collect();
    assert!(stale.is_empty(), "listed as not measured, and measured or unknown: {stale:?}");
}

/// Server names that expected.tsv has no row for, as tshark 4.0.17 shows them.
#[test]
fn names_in_quic_initials() {
    let Some(folder) = captures() else { return };
    for (file, name, hellos) in [
        // tshark counts two: the server asks for a Retry, and the same ClientHello is sent again.
        ("quic-29.pcap", "localhost", 1),
        ("quic-v2.pcapng", "test", 1),
        ("quic_frags_different_dcid.pcapng", "cdnjs.cloudflare.com", 1),
    ] {
        let seen = dissect(&folder.join(file));
        let names: Vec<_> = seen
            .report
            .names
            .client_hellos
            .iter()
            .map(|(name, count)| (name.to_string(), count.quic))
            .collect();
        assert_eq!(names, [(name.to_owned(), hellos)], "{file}");
    }
}

/// Connection ids, as tshark 4.4 shows them.
#[test]
fn ids_of_quic_connections() {
    let Some(folder) = captures() else { return };
    let seen = dissect(&folder.join("quic-29.pcap"));
    let [connection] = seen.report.quic.as_slice() else { panic!("{:?}", seen.report.quic) };
    assert!(connection.retry, "{connection:?}");
    assert_eq!((connection.version.as_str(), connection.ways.len()), ("ff00001d", 1));
    assert_eq!((connection.ways[0].up, connection.ways[0].down), (6, 9));
}

/// Flipped bits and cuts in real captures end no run, and what comes before them stays as it was.
#[test]
fn damaged_captures_are_read_to_the_damage() {
    let Some(folder) = captures() else { return };
    for file in ["wa_video.pcap", "stun_signal.pcapng", "quic-v2.pcapng", "wechat.pcap"] {
        let whole = std::fs::read(folder.join(file)).expect("a capture");
        let read = |bytes: Vec<u8>| {
            let mut dissector = Dissector::new(Classes::default());
            let Ok(mut capture) = Capture::read(file.into(), std::io::Cursor::new(bytes)) else {
                return None;
            };
            dissector.dissect(&mut capture, drop);
            Some(dissector.finish())
        };
        let packets = read(whole.clone()).expect("undamaged").files[0].packets;
        let mut at = 7_usize;
        for round in 0..60_u32 {
            // A linear congruence spreads the places; the same ones every time.
            at = at.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let place = (at >> 16) % whole.len();
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (round % 8);
            read(flipped);
            let cut = read(whole[..place].to_vec());
            assert!(cut.is_none_or(|report| report.files[0].packets <= packets), "{file} cut at {place}");
        }
    }
}
