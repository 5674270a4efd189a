//! What a run leaves opens: captures decrypt by themselves in tshark as far as it knows the protocol, and agree with the
//! engine's log where it does not.

use crate::{assert_valid_but_for_timing, results, stage::Stage};
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The type of a DATAGRAM frame with a length (RFC 9221 section 4).
const DATAGRAM: u64 = 0x31;
/// tshark takes STUN between QUIC's addresses for QUIC as well; the fixed bit tells them apart (RFC 9443).
const SHORT_HEADER: &str = "quic.header_form == 0 && quic.fixed_bit == 1";
/// A port of the server that a capture shows, since nothing translates it over IPv6.
const SERVER_PORT: &str = "7443";

/// A QUIC packet with a short header: its size and its destination connection ID, which is 8 bytes with both engines
/// here.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Packet {
    bytes: usize,
    destination: String,
}

#[derive(Debug, Clone, Copy)]
enum Way {
    Sent,
    Received,
}

#[test]
fn captures_of_quiche_decrypt_by_themselves_on_every_interface() {
    let stage = Stage::for_one_user_alone();
    let hosts = hosts_of_a_run(&stage, "quiche");
    for (host, interface) in [("laptop", "wlan0"), ("laptop", "wwan0"), ("desktop", "wwan0")] {
        let capture = hosts.join(host).join("capture.pcapng");
        for filter in [format!("udp.srcport == {SERVER_PORT}"), format!("udp.dstport == {SERVER_PORT}")] {
            let filter = format!("{SHORT_HEADER} && frame.interface_name == \"{interface}\" && {filter}");
            let packets = tshark(&capture, &filter, &["quic.frame_type"]);
            let readable = packets.iter().filter(|fields| !fields[0].is_empty()).count();
            let datagrams =
                packets.iter().filter(|fields| frame_types(&fields[0]).contains(&DATAGRAM)).count();
            assert!(datagrams > 20, "{host}, {filter}: {datagrams} DATAGRAM frames");
            assert_eq!(readable, packets.len(), "{host}, {filter}: some could not be decrypted");
        }
    }
}

#[test]
fn captures_of_noq_decrypt_on_the_first_path_and_agree_with_its_log_on_all() {
    let stage = Stage::for_one_user_alone();
    let hosts = hosts_of_a_run(&stage, "noq");
    let capture = |host: &str| hosts.join(host).join("capture.pcapng");
    // Towards the client the first path has a connection ID from PATH_NEW_CONNECTION_ID, which tshark 4.0 cannot know.
    for host in ["laptop", "desktop"] {
        let filter = format!("{SHORT_HEADER} && udp.dstport == {SERVER_PORT}");
        let packets = tshark(&capture(host), &filter, &["quic.frame_type"]);
        let datagrams = packets.iter().filter(|fields| frame_types(&fields[0]) == [DATAGRAM]).count();
        assert!(datagrams > 20, "{host}: {datagrams} packets with nothing but a DATAGRAM frame");
    }
    // On the other path it decrypts nothing; the engine's log has the frames, and is of these very packets.
    let log = log(&hosts.join("laptop").join("client.sqlog"));
    for way in [Way::Sent, Way::Received] {
        let captured = captured(&capture("laptop"), "wwan0", way);
        let logged = logged(&log, 1, way);
        assert!(logged.len() > 20, "{way:?}: {} packets", logged.len());
        // What arrives when the program has ended is in the capture alone.
        assert_eq!(logged[..], captured[..logged.len().min(captured.len())], "{way:?}");
    }
}

/// Whatever is transferred, the files stay below their limit, can be read, and say what they lack; packets of the call
/// are all there, and those of the transfer around the step.
#[test]
fn limited_evidence_stays_below_its_limit_and_keeps_the_call() {
    let stage = Stage::for_one_user_alone();
    let sets = [
        "duration=10s",
        "timeline.0.at=8s",
        "expect=[]",
        "evidence.max=5MB",
        "peers.client.workload=[{call: {}}, {bulk: {direction: up, size: 400MB}}]",
        "networks.home.link={delay: 4ms, rate: 20mbit}",
    ];
    let told = stage.run(&[&sets.map(|set| ["--set", set]).concat()[..], &["--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    let manifest: Value =
        serde_json::from_slice(&fs::read(directory.join("manifest.json")).unwrap()).unwrap();
    let evidence = manifest["evidence"].as_array().unwrap();
    let files: Vec<&str> = evidence.iter().map(|file| file["file"].as_str().unwrap()).collect();
    assert_eq!(
        files,
        ["desktop/capture.pcapng", "laptop/capture.pcapng", "desktop/server.sqlog", "laptop/client.sqlog"]
            .map(|file| format!("hosts/{file}"))
    );
    let size = |file: &str| fs::metadata(directory.join(file)).unwrap().len();
    let all: u64 = files.iter().map(|file| size(file)).sum();
    assert!(all <= 5_000_000, "{all} bytes");
    assert!(told.stderr.contains("left out of captures and qlogs"), "{told:?}");
    for file in evidence {
        let count = |key: &str| file[key].as_u64().unwrap();
        assert_eq!(file["mode"], "limited");
        assert!(count("packets_dropped") > 0 && count("bytes_dropped") > 1_000_000, "{file}");
        assert_eq!(count("packets_cut") > 0, file["file"].as_str().unwrap().ends_with("pcapng"), "{file}");
    }
    // Of both ends, what the call received is in the capture, by its size.
    for (host, way) in [("laptop", "down"), ("desktop", "up")] {
        let received = run["metrics"]["call"][way]["received"].as_u64().unwrap();
        let capture = directory.join(format!("hosts/{host}/capture.pcapng"));
        let small = tshark(&capture, "udp && frame.len < 200", &["frame.number"]).len() as u64;
        assert!(small >= received, "{host}: {small} small packets of {received} of the call");
        let times = tshark(&capture, "frame.len > 1000", &["frame.time_relative", "frame.cap_len"]);
        assert!(times.iter().all(|row| row[1].parse::<u32>().unwrap() < 300), "large packets are cut");
        assert!(times.iter().any(|row| row[0].parse::<f64>().unwrap() > 3.0), "some are around the step");
    }
    let log = log(&directory.join("hosts/laptop/client.sqlog"));
    assert!(log.iter().any(|event| event["name"] == "quic:tuple_assigned"), "paths are there");
    assert!(log.iter().any(|event| event["name"] == "quic:packet_sent"), "packets around the step are there");
}

#[test]
fn without_evidence_there_are_no_captures_and_no_logs() {
    let stage = Stage::for_one_user();
    let sets = ["duration=3s", "timeline=[]", "expect=[]"].map(|set| ["--set", set]).concat();
    let told = stage.run(&[&sets[..], &["--evidence", "none", "--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    let directory = stage.path(run["run_dir"].as_str().unwrap());
    for host in ["laptop", "desktop"] {
        let files = fs::read_dir(directory.join("hosts").join(host)).unwrap();
        let mut names: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
        names.sort_unstable();
        assert_eq!(names, ["stderr.log", "stdout.log"], "{host}");
    }
}

/// Both ends' directories after a short call that loses WiFi.
fn hosts_of_a_run(stage: &Stage, engine: &str) -> PathBuf {
    let engine = format!("peers.client.engine={engine}");
    let sets = ["duration=4s", "timeline.0.at=2s", "expect=[]", &engine].map(|set| ["--set", set]).concat();
    let told = stage.run(&[&sets[..], &["--evidence", "full", "--json"]].concat());
    let run = &results(&told.stdout)[0];
    assert_valid_but_for_timing(run);
    stage.path(run["run_dir"].as_str().unwrap()).join("hosts")
}

/// The field quic.frame_type of a packet: tshark 4.0 prints decimal numbers, 4.4 hexadecimal ones.
fn frame_types(field: &str) -> Vec<u64> {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    };
    let types: Option<Vec<u64>> = field.split(',').filter(|text| !text.is_empty()).map(number).collect();
    types.unwrap_or_else(|| panic!("{field:?} are no frame types"))
}

/// Rows of fields, as tshark prints them; several values of one field are separated by commas.
pub(crate) fn tshark(capture: &Path, filter: &str, fields: &[&str]) -> Vec<Vec<String>> {
    let mut command = Command::new("tshark");
    command.arg("-r").arg(capture).args(["-Y", filter, "-T", "fields"]);
    fields.iter().for_each(|field| {
        command.args(["-e", field]);
    });
    let output = command.output().expect("tshark is installed (testbed/setup test)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

/// Those that passed an interface, in order.
fn captured(capture: &Path, interface: &str, way: Way) -> Vec<Packet> {
    let port = match way {
        Way::Sent => "udp.dstport",
        Way::Received => "udp.srcport",
    };
    let filter = format!("frame.interface_name == \"{interface}\" && {port} == {SERVER_PORT}");
    let payloads = tshark(capture, &filter, &["udp.payload"]).into_iter().map(|mut fields| fields.remove(0));
    // A short header begins with the bits 01 (RFC 9000 section 17.3), and the connection ID follows.
    let short = payloads.filter(|hex| matches!(hex.as_bytes().first(), Some(b'4'..=b'7')));
    short.map(|hex| Packet { bytes: hex.len() / 2, destination: hex[2..18].to_owned() }).collect()
}

/// The events of a qlog file: JSON text sequences (RFC 7464).
fn log(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap();
    text.split('\u{1e}')
        .filter(|record| !record.trim().is_empty())
        .map(|record| serde_json::from_str(record).unwrap())
        .collect()
}

/// Those that the engine tells of a path.
fn logged(log: &[Value], path: u64, way: Way) -> Vec<Packet> {
    let name = match way {
        Way::Sent => "quic:packet_sent",
        Way::Received => "quic:packet_received",
    };
    let headers = log.iter().filter(|event| event["name"] == name).map(|event| &event["data"]["header"]);
    headers
        .filter(|header| header["packet_type"] == "1RTT" && header["path_id"] == path)
        .map(|header| Packet {
            bytes: header["length"].as_u64().unwrap() as usize,
            destination: header["dcid"].as_str().unwrap().to_owned(),
        })
        .collect()
}
