//! The scenario as the network model wants it.

use super::{
    Scenario,
    networks::{Block, BlockDirection, BlockFamily, Ipv6, LinkDirection, Nat, Network},
};
use netmodel::{
    HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NatSpec, NetworkSpec, ServerSpec, Topology,
};
use record::InterfaceKind;

/// Everything that exists in the scenario.
pub(crate) fn topology(scenario: &Scenario) -> Topology {
    let networks = scenario.networks.iter();
    let hosts = scenario.hosts.iter().map(|(name, host)| HostSpec {
        name: name.clone(),
        interfaces: host
            .interfaces
            .iter()
            .map(|(name, interface)| InterfaceSpec { name: name.clone(), network: interface.network.clone() })
            .collect(),
    });
    let servers = scenario.servers.iter().map(|(name, server)| ServerSpec {
        name: name.clone(),
        delay: server.delay,
        known_to_carriers: true,
    });
    Topology {
        networks: networks.map(|(name, network)| lower(name, network, nat_kind(scenario, name))).collect(),
        hosts: hosts.collect(),
        servers: servers.collect(),
    }
}

/// A network that modems attach to is a carrier's.
fn nat_kind(scenario: &Scenario, network: &str) -> NatKind {
    let interfaces = scenario.hosts.values().flat_map(|host| host.interfaces.values());
    let mut attached = interfaces.filter(|interface| interface.network == network);
    match attached.any(|interface| interface.kind == InterfaceKind::Cellular) {
        true => NatKind::CarrierGrade,
        false => NatKind::Home,
    }
}

fn lower(name: &str, network: &Network, kind: NatKind) -> NetworkSpec {
    NetworkSpec {
        up: link(&network.link.up),
        down: link(&network.link.down),
        nat: network.nat.first().map(|nat| lower_nat(nat, kind)),
        ipv6: match network.ipv6 {
            Ipv6::None => Ipv6Access::None,
            Ipv6::Firewalled => Ipv6Access::Firewalled,
            Ipv6::Open => Ipv6Access::Open,
        },
        blocks: network.block.iter().map(block).collect(),
        ..NetworkSpec::new(name, LinkSpec::default())
    }
}

fn link(link: &LinkDirection) -> LinkSpec {
    LinkSpec {
        delay: link.delay,
        jitter: link.jitter,
        rate: link.rate,
        queue: link.queue,
        ..LinkSpec::default()
    }
}

fn lower_nat(nat: &Nat, kind: NatKind) -> NatSpec {
    NatSpec {
        timeout_initial: nat.udp_timeout.initial,
        timeout_established: nat.udp_timeout.established,
        ..NatSpec::new(kind)
    }
}

fn block(block: &Block) -> netmodel::Block {
    let Block::UdpP2p { family, direction, .. } = block;
    netmodel::Block::UdpPeerToPeer {
        ipv4: *family != BlockFamily::Ipv6,
        ipv6: *family != BlockFamily::Ipv4,
        direction: match direction {
            BlockDirection::In => netmodel::BlockDirection::In,
            BlockDirection::Out => netmodel::BlockDirection::Out,
            BlockDirection::Both => netmodel::BlockDirection::Both,
        },
        answer: netmodel::BlockAnswer::Silence,
    }
}
