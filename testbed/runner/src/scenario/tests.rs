use super::*;
use netmodel::{Ipv6Access, NatKind};
use proptest::prelude::*;
use std::path::Path;

const EXAMPLE: &str = include_str!("../../../../scenarios/whatsapp/wifi-off-in-call.yaml");

fn parse(text: &str, sets: &[&str]) -> Result<Scenario, String> {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Scenario::parse("test.yaml", Path::new(env!("CARGO_MANIFEST_DIR")), text, &sets)
        .map_err(|problems| problems.diagnostics().iter().map(|one| format!("{one}\n")).collect())
}

fn example(sets: &[&str]) -> Scenario {
    parse(EXAMPLE, sets).unwrap()
}

#[test]
fn the_example_of_the_contract_means_what_it_says() {
    let scenario = example(&[]);
    assert_eq!(scenario.name, "wifi-off-in-call");
    assert_eq!((scenario.seed, scenario.duration), (7, Duration::from_secs(45)));
    assert_eq!(scenario.answers, ["wa-off-interruption", "wa-off-no-standby", "wa-off-to-relay"]);
    let metrics = |host: &str| -> Vec<u32> {
        scenario.hosts[host].interfaces.values().map(|interface| interface.metric).collect()
    };
    assert_eq!((metrics("laptop"), metrics("desktop")), (vec![200, 600], vec![700]));
    assert_eq!(scenario.peers.client.signal, Signal::Rendezvous, "the peers share no network");
    assert_eq!(scenario.peers.server.workload, scenario.peers.client.workload, "both ends send");
    let [Step { at, action: Action::Down(target), .. }] = scenario.timeline.as_slice() else {
        panic!("one step: {:?}", scenario.timeline)
    };
    assert_eq!((*at, target.to_string()), (Duration::from_secs(15), "laptop.wlan0".to_owned()));
    assert_eq!(scenario.expect.len(), 2);
}

#[test]
fn the_model_gets_what_the_scenario_says() {
    let topology = example(&["networks.o2.link.up.rate=10mbit", "networks.home.link.queue=64KiB"])
        .topology(&mut Traces::Beginnings)
        .unwrap();
    let network = |name: &str| topology.networks.iter().find(|network| network.name == name).unwrap();
    let (home, o2) = (network("home"), network("o2"));
    assert_eq!((home.up.delay, home.up.jitter), (Duration::from_millis(4), Duration::from_millis(1)));
    assert_eq!((home.up.queue.0, home.down.queue.0), (64 * 1024, 64 * 1024));
    assert_eq!(home.nat.as_ref().map(|nat| nat.kind), Some(NatKind::Home));
    assert!(home.blocks.is_empty());
    // One key overrides the preset's, the rest of it stays.
    assert_eq!(o2.up.rate.map(|rate| rate.bits_per_second()), Some(10_000_000));
    assert_eq!((o2.up.delay, o2.down.rate), (Duration::from_millis(15), None));
    assert_eq!(o2.nat.as_ref().map(|nat| nat.kind), Some(NatKind::CarrierGrade));
    assert_eq!(o2.ipv6, Ipv6Access::Firewalled);
    let [netmodel::Block::UdpPeerToPeer { ipv4, ipv6, direction, .. }] = o2.blocks.as_slice() else {
        panic!("one filter: {:?}", o2.blocks)
    };
    assert_eq!((*ipv4, *ipv6, *direction), (true, false, netmodel::BlockDirection::Both));
}

#[test]
fn every_key_of_a_preset_can_be_overridden() {
    let scenario = example(&[
        "networks.o2.nat=[]",
        "networks.o2.block=[]",
        "networks.o2.ipv6=open",
        "networks.o2.link={delay: 40ms, down: {delay: 50ms}}",
    ]);
    let o2 = &scenario
        .topology(&mut Traces::Beginnings)
        .unwrap()
        .networks
        .into_iter()
        .find(|network| network.name == "o2")
        .unwrap();
    assert_eq!((&o2.nat, o2.blocks.as_slice(), o2.ipv6), (&None, &[][..], Ipv6Access::Open));
    assert_eq!((o2.up.delay, o2.down.delay), (Duration::from_millis(40), Duration::from_millis(50)));
}

#[test]
fn peers_that_share_a_network_signal_in_band() {
    let shared = "hosts.desktop.interfaces.eth0={type: lan, network: home}";
    assert_eq!(example(&[shared]).peers.client.signal, Signal::InBand);
    let scenario = example(&[shared, "peers.server.signal=rendezvous"]);
    assert_eq!(scenario.peers.client.signal, Signal::Rendezvous);
}

#[test]
fn set_reaches_any_value_and_adds_new_ones() {
    let scenario = example(&[
        "duration=25s",
        "timeline.0.at=3s",
        "timeline.0.do={carrier_off: laptop.wlan0}",
        "networks.home.nat.udp_timeout.initial=10s",
        "servers.other={kind: rendezvous, delay: 1ms}",
        "why=\"Is = a value?\"",
        "expect=[{lost: {below: 0.5%}}, {how: multipath}, {first_path: {below: 1s}}]",
    ]);
    assert_eq!(scenario.duration, Duration::from_secs(25));
    assert!(
        matches!(&scenario.timeline[0], Step { at, action: Action::CarrierOff(_), .. } if at.as_secs() == 3)
    );
    assert_eq!(scenario.networks["home"].nat[0].udp_timeout.initial, Duration::from_secs(10));
    assert_eq!(scenario.servers.len(), 2);
    assert_eq!(scenario.why, "Is = a value?");
    assert_eq!(scenario.expect.len(), 3);
}

#[test]
fn the_steps_of_the_timeline_are_in_order_of_time() {
    let steps = "timeline=[{at: 9s, do: {up: laptop.wlan0}}, {at: 4s, do: {down: laptop.wlan0}}]";
    let times: Vec<u64> = example(&[steps]).timeline.iter().map(|step| step.at.as_secs()).collect();
    assert_eq!(times, [4, 9]);
}

/// What a run leaves behind can be read wherever it is taken.
#[test]
fn a_trace_file_is_relative_to_the_scenario_and_can_be_moved() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("one.trace"), "2\n4\n").unwrap();
    let sets = ["networks.home.link={delay: 4ms, trace: {down: one.trace}}".to_owned()];
    let parse = |folder: &Path, text: &str, sets: &[String]| Scenario::parse("test.yaml", folder, text, sets);
    let mut scenario = parse(folder.path(), EXAMPLE, &sets).unwrap();
    let topology = scenario.topology(&mut Traces::Beginnings).unwrap();
    let home = topology.networks.iter().find(|network| network.name == "home").unwrap();
    assert_eq!(home.down.trace.as_ref().map(netmodel::Trace::opportunities), Some(&[2, 4][..]));
    assert_eq!(home.up.trace, None);
    let files: Vec<_> = scenario.trace_files().map(|(path, _)| std::mem::take(path)).collect();
    assert_eq!(files, [Path::new("one.trace")]);
    let elsewhere = parse(Path::new("/nonexistent"), EXAMPLE, &sets).unwrap_err();
    let told: String = elsewhere.diagnostics().iter().map(ToString::to_string).collect();
    assert!(told.contains("no trace can be read from `one.trace`: No such file"), "{told}");
}

#[test]
fn several_nats_become_networks_behind_each_other() {
    let scenario = example(&[
        "networks.home.nat=[{}, {mapping: address-dependent}, {filtering: endpoint-independent}]",
        "networks.home.behind=o2",
        "networks.home.block=[{udp: {}}]",
    ]);
    let topology = scenario.topology(&mut Traces::Beginnings).unwrap();
    let network = |name: &str| topology.networks.iter().find(|network| network.name == name).unwrap();
    let chain = ["home", "home.nat2", "home.nat3", "o2"];
    for (name, behind) in chain.iter().zip(&chain[1..]) {
        assert_eq!(network(name).behind.as_deref(), Some(*behind));
    }
    assert_eq!(chain.map(|name| network(name).blocks.len()), [0, 0, 1, 1]);
    assert_eq!(network("home").ipv6, Ipv6Access::Firewalled);
    assert_eq!(network("home.nat3").ipv6, Ipv6Access::Open);
    let kinds = chain.map(|name| network(name).nat.as_ref().unwrap().kind);
    use NatKind::{CarrierGrade, Home};
    assert_eq!(kinds, [Home, CarrierGrade, CarrierGrade, CarrierGrade]);
    assert_eq!(scenario.nat_networks("home"), chain[..3]);
    assert_eq!(
        (scenario.border_network("home"), scenario.border_network("telekom")),
        (chain[2].into(), "telekom".into())
    );
    scenario.plan().unwrap();
}

/// The resolved form is the scenario language: nothing is lost in it, and nothing is left to default.
#[test]
fn the_resolved_form_reads_back_as_the_same() {
    for sets in [
        &[][..],
        &["networks.home.nat=[]", "networks.home.ipv6=false", "networks.home.link.jitter=1.5us"],
        &["networks.o2.ipv6=open", "networks.o2.block=[{udp_p2p: {family: both, direction: in}}]"],
        &["hosts.desktop.interfaces.eth0={type: lan, network: home}", "seed=18446744073709551615"],
        &["expect=[{lost: {below: 0.5%}}, {interruption: {below: 1ms, at: 15s}}, {how: none}]"],
        &["expect=[{direct_path: none}, {direct_path: {below: 1s}}]"],
        &["why='yes: \"#\" ä'", "answers=[]", "peers.client.workload={call: {rate: 1/s, payload: 1000B}}"],
        &["peers.client.engine=quiche"],
        &["peers.client.policy={preset: whatsapp, stop: never, budget: none, idle: 500ms}"],
        &["peers.client.policy=prototype-2024", "peers.server.bind=address", "peers.server.policy=rfc8445"],
        &["peers.client.disguise=xor", "peers.server.disguise={wwan0: first-byte-cookie}"],
        &[
            "timeline=[{at: 1s, do: {policy: {peer: both, preset: whatsapp, retry: true, disguise: cookie}}}, \
             {at: 2s, do: {policy: {peer: client, disguise: {wlan0: plain}}}}, \
             {at: 3s, do: {priority: {interface: laptop.wwan0, value: 65535}}}, \
             {at: 4s, do: {path: {peer: client, interface: wlan0, status: backup}}}]",
            "expect=[{relay_path: {below: 1s}}]",
        ],
        &["timeline=[{at: 1s, do: {silence: laptop.wlan0}}, {at: 2s, do: {restore: laptop.wlan0}}]"],
        &["timeline=[{at: 1s, do: {address: {interface: laptop.wwan0}}}, {at: 2s, do: {nat_rebind: home}}]"],
        &["networks.home.link={delay: 4ms, jitter: {by: 1ms, distribution: pareto-normal, order: free}}"],
        &[
            "networks.home.link={delay: 4ms, rate: 1mbit, queue: {time: 200ms, discipline: codel, interval: 80ms}}",
        ],
        &[
            "networks.home.link={delay: 4ms, loss: 1.5%, duplicate: 0.1%, reorder: {share: 2%, by: 9ms}, mtu: 1400B}",
        ],
        &["networks.home.link={delay: 4ms, loss: {bursts: {to_bad: 0.1%, to_good: 20%}}, queue: 150ms}"],
        &[
            "networks.home.link={delay: 4ms, down: {loss: {pattern: ...x}}, up: {queue: {size: 1MiB, time: 1s}}}",
        ],
        &["networks.o2.link={trace: {down: lte-walking, up: handover}, radio: lte}"],
        &["networks.o2.link={rate: 5mbit, up: {trace: lte-driving}, radio: {promotion: 1s, drx: none}}"],
        &["networks.home.nat=[{mapping: address-dependent}, {ports: random, hairpin: false, refresh: both}]"],
        &[
            "networks.home.behind=o2",
            "networks.home.multicast=false",
            "networks.o2.distances={telekom: 9ms, meet: 1s}",
        ],
        &["networks.home.block=[{stun: {match: cookie, direction: out}}, {udp: {answer: icmp-prohibited}}, \
             {udp_p2p: {family: ipv6}}]"],
        &[
            "networks.home.link.down={delay: 1ms, trace: wifi-leaving-room}",
            "timeline=[{at: 1s, do: {link: {network: home, rate: 1mbit}}}, \
             {at: 2s, do: {link: {network: home, rate: none, up: {loss: 5%}}}}]",
        ],
        &["timeline=[{at: 3s, do: {block: {network: o2, filters: [{stun: {match: port}}]}}}, \
             {at: 1s, do: {block: {network: o2, filters: [{udp: {}}]}}}, {at: 4s, do: {unblock: {network: o2}}}, \
             {at: 5s, do: {block: {network: o2, filters: [{udp: {}}]}}}]"],
        &[
            "servers.turn={kind: coturn, delay: 1ms}",
            "servers.seen={kind: stun, delay: 1ms, addresses: 1}",
            "servers.like={kind: relay, delay: 1ms, mimic: whatsapp}",
            "networks.spot={link: {delay: 1ms}, nat: {}}",
            "timeline=[{at: 1s, do: {server_down: turn}}, {at: 2s, do: {server_up: turn}}, \
             {at: 3s, do: {hotspot: {host: laptop, interface: wlan0, network: spot}}}]",
        ],
        &["timeline=[{at: 1s, do: {roam: {interface: laptop.wlan0, network: telekom, gap: 1s}}}, \
             {at: 2s, do: {metric: {interface: laptop.wlan0, value: 700}}}, {at: 3s, do: {nat_flush: home}}]"],
        &[
            "timeline=[{at: 1s, name: leave, do: {down: laptop.wlan0}}, {at: 2s, do: {up: laptop.wlan0}}]",
            "expect=[{missed: {below: 100ms, step: leave}}, {interruption: {below: 1s, step: 1}}, \
             {how: {is: none, at: 2s}}, {same_connection: {is: true, step: leave}}, {same_connection: true}, \
             {how: multipath}]",
        ],
    ] {
        let scenario = example(sets);
        let text = serde_json::to_string_pretty(&scenario).unwrap();
        assert_eq!(parse(&text, &[]), Ok(scenario), "{text}");
    }
}

#[test]
fn yaml_that_is_written_otherwise_means_the_same() {
    let quoted = EXAMPLE.replace("45s", "\"45s\"").replace("seed: 7", "seed: '7'").replace("200", "0200");
    assert_eq!(parse(&quoted, &[]), Ok(example(&[])));
    let anchored = EXAMPLE
        .replace("telekom: {preset: telekom-2024}", "telekom: *o2")
        .replace("o2:      {preset: o2-2024}", "o2: &o2 {preset: o2-2024}");
    assert_eq!(
        parse(&anchored, &[]).map(|scenario| scenario.networks["telekom"].preset.clone()),
        Ok(Some("o2-2024".to_owned()))
    );
}

/// A word of the contract is either known or known to come.
#[test]
fn the_table_has_the_words_of_the_contract() {
    let contract: [(&words::Vocabulary, &str); 16] = [
        (&words::INTERFACE, "type network metric addresses"),
        (&words::NETWORK, "preset behind link nat ipv6 block multicast distances"),
        (&words::LINK, "delay jitter rate loss queue mtu reorder duplicate trace radio down up"),
        (&words::NAT, "mapping filtering ports hairpin udp_timeout refresh"),
        (&words::NAT_MAPPING, "endpoint-independent address-dependent address-and-port-dependent"),
        (&words::BLOCK, "stun udp_p2p udp"),
        (&words::BLOCK_ANSWER, "silence icmp-prohibited"),
        (&words::SERVER, "kind delay addresses mimic"),
        (&words::SERVER_KINDS, "stun relay rendezvous coturn iperf3 control"),
        (&words::PEER, "host engine ice policy disguise bind scheduler duplicate cc workload signal"),
        (&words::ENGINES, "noq quiche tcp mptcp"),
        (&words::POLICIES, "multipath rfc8445 whatsapp quickshare prototype-2024"),
        (&words::WORKLOADS, "call video bulk request probe"),
        (&words::BACKENDS, "sim netns hosts"),
        (
            &words::ACTIONS,
            "down up carrier_off carrier_on silence restore metric priority address roam hotspot link block \
             unblock nat_rebind nat_flush server_down server_up policy path",
        ),
        (
            &words::EXPECTATIONS,
            "interruption missed same_connection how first_path direct_path relay_path verdict goodput lost",
        ),
    ];
    for (vocabulary, line) in contract {
        let mut expected: Vec<&str> = line.split(' ').collect();
        let mut words: Vec<&str> = vocabulary.known.iter().chain(vocabulary.not_yet).copied().collect();
        expected.sort_unstable();
        words.sort_unstable();
        assert_eq!(words, expected, "{}", vocabulary.what);
    }
}

/// What somebody may do to a file with an editor.
#[derive(Debug, Clone)]
enum Slip {
    Remove { at: usize, length: usize },
    Insert { at: usize, text: String },
    Repeat { at: usize, length: usize },
}

fn slip() -> impl Strategy<Value = Slip> {
    let at = 0..EXAMPLE.len();
    let words = prop::sample::select(vec![
        "{",
        "}",
        "[",
        "]",
        ":",
        ": ",
        "- ",
        "\n",
        "\n  ",
        "\t",
        "#",
        "&a",
        "*a",
        "<<: ",
        "!!int ",
        "~",
        "'",
        "\"",
        "|",
        "0",
        "-1",
        "1e999",
        "ms",
        "ä",
        "\u{0}",
        "\u{feff}",
        "networks",
        "*",
        "? ",
        "---\n",
        "99999999999999h",
    ]);
    prop_oneof![
        (at.clone(), 1..40_usize).prop_map(|(at, length)| Slip::Remove { at, length }),
        (at.clone(), words).prop_map(|(at, text)| Slip::Insert { at, text: text.to_owned() }),
        (at.clone(), "\\PC{1,6}").prop_map(|(at, text)| Slip::Insert { at, text }),
        (at, 1..200_usize).prop_map(|(at, length)| Slip::Repeat { at, length }),
    ]
}

impl Slip {
    fn apply(&self, text: &str) -> String {
        let characters: Vec<char> = text.chars().collect();
        let cut = |at: usize| characters.split_at(at.min(characters.len()));
        let (before, after, length) = match self {
            Slip::Remove { at, length } | Slip::Repeat { at, length } => {
                let (before, after) = cut(*at);
                (before, after, (*length).min(after.len()))
            }
            Slip::Insert { at, .. } => {
                let (before, after) = cut(*at);
                (before, after, 0)
            }
        };
        let middle: String = match self {
            Slip::Remove { .. } => String::new(),
            Slip::Insert { text, .. } => text.clone(),
            Slip::Repeat { .. } => after[..length].iter().chain(&after[..length]).collect(),
        };
        [before.iter().collect::<String>(), middle, after[length..].iter().collect()].concat()
    }
}

proptest! {
    /// Whatever is done to a scenario, it is read or refused, and every complaint can be shown.
    #[test]
    fn no_text_panics(slips in prop::collection::vec(slip(), 1..6), sets in prop::collection::vec("\\PC{0,20}", 0..2)) {
        let text = slips.iter().fold(EXAMPLE.to_owned(), |text, slip| slip.apply(&text));
        match Scenario::parse("test.yaml", Path::new(""), &text, &sets) {
            Ok(scenario) => {
                let again = serde_json::to_string(&scenario).unwrap();
                prop_assert_eq!(parse(&again, &[]), Ok(scenario));
            }
            Err(problems) => {
                let shown = crate::console::render_problems(&problems, false);
                prop_assert!(shown.contains('×'), "{}", shown);
            }
        }
    }

    #[test]
    fn no_set_panics(path in "[a-z0-9.]{0,30}", value in "\\PC{0,20}") {
        let sets = [format!("{path}={value}")];
        if let Err(problems) = Scenario::parse("test.yaml", Path::new(""), EXAMPLE, &sets) {
            prop_assert!(crate::console::render_problems(&problems, false).contains('×'));
        }
    }
}
