//! Whatever packets the hosts send, the model carries or drops them: no panic, and nothing left under way in the end.
#![no_main]

use libfuzzer_sys::fuzz_target;
use netmodel::{
    Block, BlockAnswer, BlockDirection, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, Network, NetworkSpec,
    Output, Plan, PortId, ServerSpec, Topology, parse_udp,
};
use std::time::{Duration, Instant};

fuzz_target!(|data: &[u8]| {
    let plan = plan();
    let mut network = Network::new(&plan, 1);
    let mut now = Instant::now();
    // A port, a length, the packet.
    let mut rest = data;
    while let [port, length, more @ ..] = rest {
        let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let _ = parse_udp(packet);
        network.inject(now, PortId(u16::from(*port % 4)), packet.to_vec());
        now += Duration::from_millis(1);
        drain(&mut network, now);
    }
    for _ in 0..1000 {
        let Some(next) = network.deadline() else { return };
        drain(&mut network, next);
    }
    // Only sessions that expire may still be awaited.
    assert!(network.deadline().is_none_or(|next| next > now));
});

fn drain(network: &mut Network, now: Instant) {
    while let Some(output) = network.poll(now) {
        if let Output::Deliver { due, .. } = output {
            assert!(due <= now);
        }
    }
}

fn plan() -> Plan {
    let network = |name: &str, kind| NetworkSpec {
        nat: Some(NatSpec::new(kind)),
        ipv6: Ipv6Access::Firewalled,
        blocks: vec![Block::UdpPeerToPeer {
            ipv4: true,
            ipv6: true,
            direction: BlockDirection::In,
            answer: BlockAnswer::IcmpProhibited,
        }],
        ..NetworkSpec::new(name, LinkSpec::with_delay(Duration::from_millis(3)))
    };
    let host = |name: &str, network: &str| HostSpec {
        name: name.into(),
        interfaces: vec![InterfaceSpec { name: "eth0".into(), network: network.into() }],
    };
    Plan::new(Topology {
        networks: vec![network("home", NatKind::Home), network("carrier", NatKind::CarrierGrade)],
        hosts: vec![host("a", "home"), host("b", "home"), host("c", "carrier")],
        servers: vec![ServerSpec { name: "s".into(), delay: Duration::ZERO, known_to_carriers: true }],
    })
    .unwrap()
}
