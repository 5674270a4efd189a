//! Whatever packets the hosts send, the model carries or drops them: no panic, and nothing left under way in the end.
#![cfg_attr(fuzzing, no_main)]

use libfuzzer_sys::fuzz_target;
use netmodel::{
    Block, BlockAnswer, BlockDirection, Dependence, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, Mtu,
    NatKind, NatSpec, Network, NetworkSpec, Output, Plan, PortId, RadioSpec, ServerSpec, StunMatch, Topology,
    parse_udp,
};
use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

fuzz_target!(|data: &[u8]| {
    static PLAN: LazyLock<Plan> = LazyLock::new(plan);
    let mut network = Network::new(&PLAN, 1);
    let mut now = Instant::now();
    // A port, a length, the packet.
    let mut rest = data;
    while let [port, length, more @ ..] = rest {
        let (packet, more) = more.split_at(usize::from(*length).min(more.len()));
        rest = more;
        let _ = parse_udp(packet);
        let mut packet = packet.to_vec();
        if *port < 128 {
            repair(&mut packet);
        }
        network.inject(now, PortId(u16::from(*port % 6)), packet);
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

/// Gives an IPv4 packet its right length and header checksum, without which little would get further.
fn repair(packet: &mut [u8]) {
    let length = u16::try_from(packet.len()).unwrap_or(u16::MAX);
    let header = packet.first().map_or(0, |first| usize::from(first & 0x0f) * 4);
    if packet.len() < header.max(20) || packet[0] >> 4 != 4 {
        return;
    }
    packet[2..4].copy_from_slice(&length.to_be_bytes());
    packet[10..12].fill(0);
    let words = packet[..header].chunks(2).map(|word| u32::from(u16::from_be_bytes([word[0], word[1]])));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    packet[10..12].copy_from_slice(&(!(folded + (folded >> 16)) as u16).to_be_bytes());
}

fn drain(network: &mut Network, now: Instant) {
    while let Some(output) = network.poll(now) {
        if let Output::Deliver { due, .. } = output {
            assert!(due <= now);
        }
    }
}

/// Two homes, one of them behind a carrier: NATs of three kinds, narrow links, filters that answer, a radio.
fn plan() -> Plan {
    let direction = BlockDirection::In;
    let answer = BlockAnswer::IcmpProhibited;
    let link = |mtu| LinkSpec { mtu: Mtu::new(mtu), ..LinkSpec::with_delay(Duration::from_millis(3)) };
    let network = |name: &str, kind, mapping, filtering| NetworkSpec {
        nat: Some(NatSpec { mapping, filtering, ..NatSpec::new(kind) }),
        ipv6: Ipv6Access::Firewalled,
        down: link(1280),
        ..NetworkSpec::new(name, link(1400))
    };
    use Dependence::{AddressAndPortDependent, AddressDependent, EndpointIndependent};
    let home = network("home", NatKind::Home, EndpointIndependent, AddressAndPortDependent);
    let home = NetworkSpec { behind: Some("carrier".into()), ..home };
    let carrier = NetworkSpec {
        blocks: vec![
            Block::Stun { matching: StunMatch::Signature, direction, answer },
            Block::UdpPeerToPeer { ipv4: true, ipv6: true, direction, answer },
        ],
        radio: Some(RadioSpec::LTE),
        ..network("carrier", NatKind::CarrierGrade, AddressAndPortDependent, AddressDependent)
    };
    let other = network("other", NatKind::Home, AddressDependent, EndpointIndependent);
    let narrow = NetworkSpec::new("narrow", link(68));
    let host = |name: &str, network: &str| HostSpec {
        name: name.into(),
        interfaces: vec![InterfaceSpec { name: "eth0".into(), network: network.into() }],
    };
    Plan::new(Topology {
        networks: vec![home, carrier, other, narrow],
        hosts: vec![
            host("a", "home"),
            host("b", "home"),
            host("c", "carrier"),
            host("d", "other"),
            host("e", "narrow"),
        ],
        servers: vec![ServerSpec::new("s", Duration::ZERO)],
    })
    .unwrap()
}
