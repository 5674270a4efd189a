//! `hosts`: what the run has at its ends.

use super::{
    diagnostic::{Problem, Problems},
    names::{self, Names},
    reader::{self, Table},
    words,
    yaml::Node,
};
use record::InterfaceKind;
use serde::Serialize;
use std::{collections::BTreeMap, num::NonZeroU32};

/// A host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Host {
    /// By kernel name; at least one.
    pub(crate) interfaces: BTreeMap<String, Interface>,
}

/// An interface of a host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Interface {
    #[serde(rename = "type")]
    pub(crate) kind: InterfaceKind,
    pub(crate) network: String,
    /// Of its default routes; no two of a host are equal.
    pub(crate) metric: u32,
}

impl Host {
    pub(crate) fn read(node: &Node, names: &Names<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::HOST, problems)?;
        let interfaces = table.require("interfaces", problems)?;
        let entries = reader::map(interfaces, problems)?;
        if entries.is_empty() {
            problems.push(Problem::new("a host needs an interface", interfaces.span, "none here"));
        }
        let mut read: BTreeMap<String, Interface> = BTreeMap::new();
        let mut metrics: Vec<(&str, u32)> = Vec::new();
        for entry in entries {
            names::check_kernel_name(entry, problems);
            let Some(interface) = Interface::read(&entry.value, names, problems) else { continue };
            // Without what was meant by a misspelt `metric`, which was told, nothing can be said about it.
            if !reader::is_key_misspelt(&entry.value, "metric", &words::INTERFACE) {
                if let Some((other, _)) = metrics.iter().find(|(_, metric)| *metric == interface.metric) {
                    problems.push(same_metric(&entry.value, &entry.key, other, interface.metric));
                }
                metrics.push((&entry.key, interface.metric));
            }
            read.insert(entry.key.clone(), interface);
        }
        Some(Self { interfaces: read })
    }
}

/// The kernel would refuse the second default route.
fn same_metric(node: &Node, interface: &str, other: &str, metric: u32) -> Problem {
    let message = format!("`{interface}` and `{other}` of one host both have metric {metric}");
    Problem::new(message, node.span, "needs a metric of its own")
        .help("without `metric`: 100 for lan, 600 for wifi, 700 for cellular")
}

impl Interface {
    fn read(node: &Node, names: &Names<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::INTERFACE, problems)?;
        let kind = table.require("type", problems);
        let kind = kind.and_then(|node| reader::word(node, &words::INTERFACE_TYPES, problems));
        let network = table.require("network", problems);
        let network =
            network.and_then(|node| reader::reference(node, "a network", &names.networks, problems));
        let metric = table.get("metric").map(|node| read_metric(node, problems));
        let kind = match kind? {
            "lan" => InterfaceKind::Lan,
            "wifi" => InterfaceKind::Wifi,
            _ => InterfaceKind::Cellular,
        };
        let metric = match metric {
            Some(given) => given?,
            None => default_metric(kind),
        };
        Some(Self { kind, network: network?.to_owned(), metric })
    }
}

/// The kernel takes 0 for a wish to choose one itself.
pub(super) fn read_metric(node: &Node, problems: &mut Problems) -> Option<u32> {
    reader::number(node, "a metric (1 to 4294967295)", problems).map(NonZeroU32::get)
}

/// What NetworkManager gives, so that a scenario without metrics behaves like a laptop.
fn default_metric(kind: InterfaceKind) -> u32 {
    match kind {
        InterfaceKind::Lan => 100,
        InterfaceKind::Wifi => 600,
        InterfaceKind::Cellular => 700,
    }
}
