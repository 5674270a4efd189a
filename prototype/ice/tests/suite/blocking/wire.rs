//! Probes and reports as bytes, against whoever sends them.

use std::net::SocketAddr;
use std::time::Instant;

use ice::blocking::{
    Config, End, Key, LinkReport, MOST_LINKS, MOST_ROUNDS, MOST_SOCKETS, Output, Prober, Reach, Report,
    Responder, Route, SocketReport, Tallies, Tally, Variant,
};
use ice::{Rung, SocketId};
use proptest::prelude::*;

use crate::net::{address, ms};

const CONTROL: &str = "198.51.100.2:47111";

fn key() -> Key {
    Key::new(&[3; 32])
}

fn now() -> Instant {
    #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
    Instant::now()
}

fn prober(seed: u64) -> Prober {
    let controls = vec![address(CONTROL)];
    let mut prober = Prober::new(Config {
        end: End::Client,
        key: key(),
        controls,
        servers: vec![],
        seed: ice::spread_seed(seed),
    });
    prober.add_socket(SocketId(0), "wlan0", address("192.168.1.2:40000"), false);
    prober
}

/// One of each variant, as the control gets them.
pub(crate) fn first_round(seed: u64) -> Vec<Vec<u8>> {
    let (mut prober, mut now) = (prober(seed), now());
    prober.start(now);
    let mut datagrams = vec![];
    while datagrams.len() < Variant::ALL.len() {
        while let Some(output) = prober.poll() {
            if let Output::Transmit(transmit) = output {
                assert_eq!(transmit.to, address(CONTROL));
                datagrams.push(transmit.bytes);
            }
        }
        now += ms(10);
        prober.handle_timeout(now);
    }
    datagrams
}

/// What those in between look for in each variant.
#[test]
fn every_variant_looks_like_what_it_is_named_for() {
    let datagrams = first_round(5);
    let of = |variant: Variant| datagrams[variant.index()].as_slice();
    assert!(ice::stun::is_stun(of(Variant::Stun(Rung::Plain))));
    for rung in &Rung::ALL[1..] {
        let datagram = of(Variant::Stun(*rung));
        assert_eq!(Rung::detect(datagram).map(|(found, _)| found), Some(*rung));
    }
    let quic = of(Variant::QuicInitial);
    assert_eq!((quic.len(), quic[0] & 0xc0, &quic[1..5]), (1200, 0xc0, &[0, 0, 0, 1][..]));
    let random = of(Variant::RandomUdp);
    assert!(Rung::detect(random).is_none() && !ice::stun::is_stun(random));
    let other = first_round(6);
    let same = random.iter().zip(&other[Variant::RandomUdp.index()]).filter(|(one, two)| one == two).count();
    assert!(same < 16, "{same} bytes are the same in two runs");
}

/// A stranger's judgement, with the packet and its encryption taken apart.
#[test]
fn tshark_finds_a_quic_initial_with_a_client_hello_in_it() {
    let datagram = &first_round(5)[Variant::QuicInitial.index()];
    let hex: Vec<String> = datagram.iter().map(|byte| format!("{byte:02x}")).collect();
    let directory = tempfile::tempdir().unwrap();
    let (text, capture) = (directory.path().join("hex"), directory.path().join("capture"));
    std::fs::write(&text, format!("000000 {}\n", hex.join(" "))).unwrap();
    let run = |program: &str, arguments: &[&std::ffi::OsStr]| {
        let output = std::process::Command::new(program).args(arguments).env("HOME", "/nonexistent").output();
        let output =
            output.unwrap_or_else(|error| panic!("{program}: {error}; `testbed/setup test` installs it"));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    run("text2pcap", &["-q".as_ref(), "-u".as_ref(), "40000,443".as_ref(), text.as_ref(), capture.as_ref()]);
    let fields = "-T fields -e quic.long.packet_type -e quic.version -e tls.handshake.type -e tls.handshake.extensions_server_name -e _ws.expert";
    let mut arguments = vec!["-r".as_ref(), capture.as_os_str()];
    arguments.extend(fields.split(' ').map(std::ffi::OsStr::new));
    let said = run("tshark", &arguments);
    let said: Vec<&str> = said.trim_end().split('\t').collect();
    assert_eq!(said.get(..4), Some(&["0", "0x00000001", "1", "www.example.com"][..]), "{said:?}");
    // Newer versions chat about every ClientHello that its legacy_version is a legacy (RFC 8446 section 4.1.2).
    let complaint = said.get(4).filter(|expert| !expert.starts_with("Expert Info (Chat/Deprecated)"));
    assert_eq!(complaint, None);
}

#[test]
fn the_control_answers_in_kind_and_only_with_the_key() {
    let responder = Responder::new(key(), 1);
    let from = address("203.0.113.1:4000");
    for (probe, variant) in first_round(5).into_iter().zip(Variant::ALL) {
        let answer = responder.answer(from, &probe).unwrap();
        match variant {
            Variant::Stun(Rung::Plain) => {
                let message = ice::stun::Message::parse(&answer).unwrap();
                assert_eq!(message.mapped_address(), Some(from));
                assert_eq!(message.transaction(), ice::stun::Message::parse(&probe).unwrap().transaction());
            }
            Variant::Stun(rung) => assert_eq!(Rung::detect(&answer).map(|(found, _)| found), Some(rung)),
            Variant::QuicInitial => assert_eq!(answer.len(), 1200),
            Variant::RandomUdp => assert!(answer.len() < probe.len() + 256),
        }
        assert_eq!(responder.answer(from, &answer), None, "answers beget no answers");
        assert_eq!(Responder::new(Key::new(&[4; 32]), 1).answer(from, &probe), None);
    }
}

fn tallies() -> impl Strategy<Value = Tallies> {
    proptest::array::uniform8((0..16_u8, 0..0x8000_u16))
        .prop_map(|all| all.map(|(sent, rounds)| Tally { sent, rounds }))
}

fn any_address(ipv6: bool) -> impl Strategy<Value = SocketAddr> {
    (0..6_u8, 1..4_u16).prop_map(move |(host, port)| match ipv6 {
        true => SocketAddr::new([0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(host)].into(), port),
        false => SocketAddr::new([192, 0, 2, host].into(), port),
    })
}

fn route() -> impl Strategy<Value = Route> {
    prop_oneof![Just(Route::Unknown), Just(Route::Right), Just(Route::Wrong), Just(Route::None)]
}

fn nat_class() -> impl Strategy<Value = ice::blocking::NatClass> {
    use ice::behaviour::{Dependence as D, Filtering as F};
    use ice::blocking::Mapping as M;
    let mapping = proptest::option::of(prop_oneof![Just(M::Independent), Just(M::Dependent)]);
    let filterings = [
        F::None,
        F::Tied(D::EndpointIndependent),
        F::Tied(D::AddressDependent),
        F::Tied(D::AddressAndPortDependent),
    ];
    let filtering = proptest::option::of(proptest::sample::select(filterings.to_vec()));
    (mapping, filtering).prop_map(|(mapping, filtering)| ice::blocking::NatClass { mapping, filtering })
}

fn socket() -> impl Strategy<Value = SocketReport> {
    let reach =
        prop_oneof![Just(Reach::Unknown), Just(Reach::Connected), Just(Reach::Refused), Just(Reach::Silent)];
    let addresses = any::<bool>().prop_flat_map(|ipv6| proptest::collection::vec(any_address(ipv6), 0..5));
    let asked = (proptest::option::of(tallies()), 0..16_u8, 0..0x8000_u16, 0..16_u8);
    (0..10_u8, "[a-z0-9é]{0,7}", any::<bool>(), addresses, nat_class(), asked, reach, route()).prop_map(
        |(index, interface, ready, addresses, nat, (control, sent, rounds, signals), reach, route)| {
            SocketReport {
                index,
                interface,
                ready,
                addresses,
                nat,
                control,
                servers: Tally { sent, rounds },
                signals,
                reach,
                route,
            }
        },
    )
}

fn link() -> impl Strategy<Value = LinkReport> {
    let counts = || proptest::array::uniform8(0..16_u8);
    let received = proptest::array::uniform8(0..0x8000_u16);
    let sent = (counts(), any::<u8>());
    (0..4_u8, 0..4_u8, sent, received, proptest::option::of(any_address(false)), route()).prop_map(
        |(local, remote, (sent, first_round), received, seen, route)| LinkReport {
            local,
            remote,
            sent,
            first_round,
            received,
            seen,
            route,
        },
    )
}

pub(crate) fn report() -> impl Strategy<Value = Report> {
    let sockets = proptest::collection::vec(socket(), 0..=MOST_SOCKETS);
    let links = proptest::collection::vec(link(), 0..=MOST_LINKS);
    let rounds = proptest::collection::vec(any::<u16>(), 0..=MOST_ROUNDS);
    (any::<u64>(), any::<bool>(), rounds, sockets, links)
        .prop_map(|(run, finished, rounds, sockets, links)| Report { run, finished, rounds, sockets, links })
}

proptest! {
    #[test]
    fn a_report_survives_its_bytes(report in report()) {
        let bytes = report.to_bytes(usize::MAX);
        prop_assert_eq!(Report::from_bytes(&bytes), Some(report.clone()));
        // Cut to fit, it is a report still.
        for limit in [40, 200, 600] {
            let cut = report.to_bytes(limit);
            prop_assert!(cut.len() <= limit);
            let cut = Report::from_bytes(&cut).unwrap();
            prop_assert!(cut.links.len() <= report.links.len() && cut.sockets.len() <= report.sockets.len());
        }
    }

    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1500), place in 0..1500_usize, flip: u8) {
        let _ = Report::from_bytes(&bytes);
        let responder = Responder::new(key(), 1);
        let from = address("203.0.113.1:4000");
        prop_assert_eq!(responder.answer(from, &bytes), None);
        let mut prober = prober(9);
        prober.start(now());
        prop_assert!(!prober.handle_datagram(now(), SocketId(0), from, &bytes));
        for mut probe in first_round(5) {
            let end = place % probe.len();
            probe[end] ^= flip | 1;
            // What changes nothing but QUIC's own part is still a probe: only the token is sealed.
            let _ = responder.answer(from, &probe);
            probe.truncate(end);
            prop_assert_eq!(responder.answer(from, &probe), None);
        }
    }
}
