//! The disguise ladder before programs that classify traffic: which rungs do tshark and nDPI still take for STUN?
//!
//! What must hold whatever their version: plain STUN is recognised, or the oracle would be none, and the highest rung is
//! not. The rest is printed as a table (`cargo test -p ice --test interop oracles -- --nocapture`): it says what was found
//! by one version.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use etherparse::PacketBuilder;
use ice::stun::TransactionId;
use ice::stun::whatsapp::{self, CallId, Participant, Token, kind};
use ice::{PairState, Role, Rung, SocketId, Target};
use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use crate::driver::{Driver, Party, config};
use crate::{have, works};

/// Ports that say nothing of what goes on.
const ADDRESSES: [&str; 2] = ["192.168.7.20:51213", "203.0.113.9:40417"];

/// What two agents of ours say to each other on one pair in two seconds: sender and bytes.
fn conversation(rung: Rung) -> Vec<(usize, Vec<u8>)> {
    let party = |of, role| Party::new(config(of, role), &["127.0.0.1"]);
    let mut driver = Driver::new(vec![party(0, Role::Controlling), party(1, Role::Controlled)]);
    for party in &mut driver.parties {
        party.agent.set_disguise(Target::Socket(SocketId(0)), rung);
    }
    driver.introduce();
    driver.until("a pair on both sides", |driver| {
        let up = |party: &Party| party.agent.pairs().any(|pair| pair.state == PairState::Up);
        driver.parties.iter().all(up).then_some(())
    });
    driver.hurry(Duration::from_secs(2));
    let mut sent: Vec<_> = (driver.parties.iter().enumerate())
        .flat_map(|(me, party)| party.sent.iter().map(move |(at, bytes)| (*at, me, bytes.clone())))
        .collect();
    sent.sort();
    sent.into_iter().map(|(_, me, bytes)| (me, bytes)).collect()
}

/// As a capture of raw IP.
fn write(file: &Path, conversation: &[(usize, Vec<u8>)]) {
    let header = PcapHeader { datalink: DataLink::RAW, ..PcapHeader::default() };
    let mut capture = PcapWriter::with_header(std::fs::File::create(file).unwrap(), header).unwrap();
    for (number, (sender, payload)) in conversation.iter().enumerate() {
        let [from, to] =
            [ADDRESSES[*sender], ADDRESSES[1 - sender]].map(|text| text.parse::<SocketAddr>().unwrap());
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (from, to) else { unreachable!("IPv4 alone") };
        let packet =
            PacketBuilder::ipv4(from.ip().octets(), to.ip().octets(), 64).udp(from.port(), to.port());
        let mut bytes = Vec::with_capacity(packet.size(payload.len()));
        packet.write(&mut bytes, payload).unwrap();
        let at = Duration::from_secs(1_700_000_000) + Duration::from_millis(50) * number as u32;
        capture.write_packet(&PcapPacket::new(at, bytes.len() as u32, &bytes)).unwrap();
    }
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Datagrams that tshark takes for STUN.
fn tshark(file: &str) -> usize {
    output("tshark", &["-r", file, "-Y", "stun", "-T", "fields", "-e", "frame.number"]).lines().count()
}

/// What nDPI calls the flow: the one line after this title, up to the numbers.
fn ndpi(file: &str) -> String {
    let told = output("ndpiReader", &["-i", file]);
    let mut lines = told.lines().skip_while(|line| !line.contains("Detected protocols:")).skip(1);
    let name = lines.next().and_then(|line| line.split_once("packets:")).map(|(name, _)| name.trim());
    name.unwrap_or_else(|| panic!("no flow: {told}")).to_owned()
}

fn version(program: &str, argument: &str) -> String {
    let told = output(program, &[argument]);
    let found = told.split_whitespace().find(|word| word.starts_with(|c: char| c.is_ascii_digit()));
    found.unwrap_or("?").trim_end_matches('.').to_owned()
}

#[test]
fn plain_stun_is_recognised_and_the_highest_rung_is_not() {
    let missing = |program: &str| !works("sh", &["-c", &format!("command -v {program}")]);
    if !have(missing("tshark").then_some("tshark is not installed"))
        || !have(missing("ndpiReader").then_some("nDPI (libndpi-bin) is not installed"))
    {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let mut table = format!(
        "| rung | tshark {}: taken for STUN | nDPI {} calls the flow |\n|---|---|---|\n",
        version("tshark", "--version"),
        version("ndpiReader", "-h"),
    );
    for rung in Rung::ALL {
        let conversation = conversation(rung);
        assert!(conversation.len() > 20, "{rung}: {} datagrams", conversation.len());
        let file = directory.path().join(format!("{rung}.pcap"));
        write(&file, &conversation);
        let file = file.display().to_string();
        let (stun, flow) = (tshark(&file), ndpi(&file));
        let share = 100 * stun / conversation.len();
        table.push_str(&format!("| `{rung}` | {share} % | {flow} |\n"));
        match rung {
            Rung::Plain => assert!(stun == conversation.len() && flow.contains("STUN"), "{table}"),
            Rung::Xor => assert!(stun == 0 && !flow.contains("STUN"), "{table}"),
            _ => {}
        }
    }
    let file = directory.path().join("call.pcap");
    write(&file, &call());
    let file = file.display().to_string();
    let share = 100 * tshark(&file) / call().len();
    println!("{table}| a call with our relay of WhatsApp's kind | {share} % | {} |", ndpi(&file));
}

/// What goes to and fro between an end of a call and a relay as WhatsApp has them, media apart.
fn call() -> Vec<(usize, Vec<u8>)> {
    let token = Token::new("secret", CallId([1; 16]), Participant(1));
    let (time, id) = (Duration::from_secs(1_700_000_000), TransactionId([7; 12]));
    let mapped = ADDRESSES[0].parse().unwrap();
    let mut said = vec![
        (0, whatsapp::with_token(kind::ALLOCATE, id, &token)),
        (1, whatsapp::allocated(id, mapped, time)),
    ];
    for second in 0..10 {
        let probe = whatsapp::probe(id, Duration::from_secs(second));
        let report = whatsapp::report(&whatsapp::Message::parse(&probe).unwrap(), time);
        said.extend([(0, probe), (1, report)]);
    }
    said.push((0, whatsapp::with_token(kind::END, id, &token)));
    said
}
