//! The scenario as the network model wants it.
//!
//! A network with several NATs becomes as many networks of the model, each behind the next: `home` with its hosts and the
//! first NAT, `home.nat2` with nothing but the second, and so on. What the network blocks and where it is belongs to the
//! outermost.

use super::{
    Scenario,
    links::LinkDirection,
    networks::{Ipv6, Network},
    servers::ServerKind,
    timeline::Action,
    traces::Traces,
};
use netmodel::{
    Direction, HostSpec, InterfaceSpec, Ipv6Access, LinkSpec, NatKind, NetworkSpec, Plan, PlanError,
    ServerSpec, Topology, TraceProblem,
};
use record::InterfaceKind;
use std::time::Duration;
use thiserror::Error;

/// The model cannot have what the scenario says.
#[derive(Debug, Error)]
pub(crate) enum LowerError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error("the trace of `{network}` cannot be drawn: {source}")]
    Trace { network: String, source: TraceProblem },
}

impl LowerError {
    /// The network or server that it is about, where it is about one.
    pub(super) fn subject(&self) -> Option<&str> {
        match self {
            Self::Trace { network, .. } => Some(network),
            Self::Plan(
                PlanError::TooLong { name, .. }
                | PlanError::QueueTooSmall { name, .. }
                | PlanError::RateAndTrace { name }
                | PlanError::MtuTooSmall { name, .. }
                | PlanError::Drx { name, .. }
                | PlanError::UnknownOther { name, .. }
                | PlanError::BehindItself { name }
                | PlanError::Ipv6Behind { name, .. }
                | PlanError::DistanceInside { name }
                | PlanError::Timeouts { name, .. },
            ) => Some(named_in_scenario(name)),
            Self::Plan(_) => None,
        }
    }
}

impl Scenario {
    /// Networks, hosts and servers with their addresses, to be looked at: of channels' traces only the beginnings.
    pub(crate) fn plan(&self) -> Result<Plan, LowerError> {
        self.plan_with(&mut Traces::Beginnings)
    }

    /// The same with these traces.
    pub(crate) fn plan_with(&self, traces: &mut Traces) -> Result<Plan, LowerError> {
        Ok(Plan::new(self.topology(traces)?)?)
    }

    /// Networks, hosts and servers as the model wants them.
    pub(crate) fn topology(&self, traces: &mut Traces) -> Result<Topology, LowerError> {
        let hosts = self.hosts.iter().map(|(name, host)| HostSpec {
            name: name.clone(),
            interfaces: host
                .interfaces
                .iter()
                .map(|(name, interface)| InterfaceSpec {
                    name: name.clone(),
                    network: interface.network.clone(),
                })
                .collect(),
        });
        let servers = self.servers.iter().map(|(name, server)| ServerSpec {
            addresses: server.addresses,
            known_to_carriers: server.kind != ServerKind::Control,
            ..ServerSpec::new(name, server.delay)
        });
        let mut networks = Vec::new();
        let mut outer = Vec::new();
        for (name, network) in &self.networks {
            let (first, others) = self.lower_network(name, network, traces)?;
            networks.push(first);
            outer.extend(others);
        }
        // Last: they move the addresses of no other network.
        networks.extend(outer);
        Ok(Topology { networks, hosts: hosts.collect(), servers: servers.collect() })
    }

    /// One direction of a network's links.
    pub(crate) fn lower_link(
        &self,
        network: &str,
        direction: Direction,
        link: &LinkDirection,
        traces: &mut Traces,
    ) -> Result<LinkSpec, LowerError> {
        let lowered = link.lower(self.seed, network, direction, self.duration, traces);
        lowered.map_err(|source| LowerError::Trace { network: network.to_owned(), source })
    }

    /// The networks of the model that have a network's NATs, inside first.
    pub(crate) fn nat_networks(&self, name: &str) -> Vec<String> {
        let count = self.networks.get(name).map_or(0, |network| network.nat.len());
        (0..count).map(|index| nat_network(name, index)).collect()
    }

    /// The network of the model that has a network's way to the internet, where filters are.
    pub(crate) fn border_network(&self, name: &str) -> String {
        self.nat_networks(name).pop().unwrap_or_else(|| name.to_owned())
    }

    /// The network with the hosts, and those with its further NATs.
    fn lower_network(
        &self,
        name: &str,
        network: &Network,
        traces: &mut Traces,
    ) -> Result<(NetworkSpec, Vec<NetworkSpec>), LowerError> {
        let ipv6 = match network.ipv6 {
            Ipv6::None => Ipv6Access::None,
            Ipv6::Firewalled => Ipv6Access::Firewalled,
            Ipv6::Open => Ipv6Access::Open,
        };
        let mut nats = network.nat.iter();
        let first = NetworkSpec {
            up: self.lower_link(name, Direction::Up, &network.link.up, traces)?,
            down: self.lower_link(name, Direction::Down, &network.link.down, traces)?,
            radio: network.link.radio.map(|radio| radio.0),
            multicast: network.multicast,
            nat: nats.next().map(|nat| nat.lower(self.nat_kind(name))),
            ipv6,
            ..NetworkSpec::new(name, LinkSpec::default())
        };
        let beyond = nats.enumerate().map(|(index, nat)| NetworkSpec {
            nat: Some(nat.lower(NatKind::CarrierGrade)),
            // The firewall is the first border's.
            ipv6: if ipv6 == Ipv6Access::None { Ipv6Access::None } else { Ipv6Access::Open },
            ..NetworkSpec::new(nat_network(name, index + 1), LinkSpec::with_delay(Duration::ZERO))
        });
        let mut all: Vec<NetworkSpec> = [first].into_iter().chain(beyond).collect();
        let mut behind = network.behind.clone();
        for (index, spec) in all.iter_mut().enumerate().rev() {
            spec.behind = behind.replace(nat_network(name, index));
        }
        if let Some(outermost) = all.last_mut() {
            outermost.blocks = network.block.iter().map(|block| block.0).collect();
            outermost.distances =
                network.distances.iter().map(|(other, delay)| (self.border_network(other), *delay)).collect();
        }
        let others = all.split_off(1);
        Ok((all.remove(0), others))
    }

    /// A network that modems attach to is a carrier's, and so is one that only other networks are behind.
    fn nat_kind(&self, network: &str) -> NatKind {
        let hosts = self.hosts.values().flat_map(|host| host.interfaces.values());
        let attached = hosts.filter(|interface| interface.network == network);
        let roaming = self.timeline.iter().filter_map(|step| match &step.action {
            Action::Roam { interface, network: to, .. } if to == network => {
                self.hosts.get(&interface.host)?.interfaces.get(&interface.interface)
            }
            _ => None,
        });
        let kinds: Vec<InterfaceKind> = attached.chain(roaming).map(|interface| interface.kind).collect();
        let is_between = self.networks.values().any(|other| other.behind.as_deref() == Some(network));
        match kinds.contains(&InterfaceKind::Cellular) || (kinds.is_empty() && is_between) {
            true => NatKind::CarrierGrade,
            false => NatKind::Home,
        }
    }
}

/// The scenario's network that a network of the model belongs to.
pub(crate) fn named_in_scenario(network: &str) -> &str {
    network.split('.').next().unwrap_or(network)
}

/// A point is in no name that a scenario may give.
fn nat_network(name: &str, index: usize) -> String {
    match index {
        0 => name.to_owned(),
        index => format!("{name}.nat{}", index + 1),
    }
}
