//! Steps of the timeline that change nothing in the network: a peer is told to do otherwise.

use super::{
    diagnostic::{Problem, Problems},
    policies::{Disguises, Policy},
    reader::{self, Table},
    timeline::{Action, Stage},
    words,
    yaml::Node,
};
use record::{Command, PathStatus};
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use std::fmt;

/// Which peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Who {
    Client,
    Server,
    Both,
}

impl Who {
    fn from_word(word: &str) -> Self {
        match word {
            "client" => Self::Client,
            "server" => Self::Server,
            _ => Self::Both,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
        }
    }

    /// Whether it is meant, by its host and the hosts of client and server.
    fn is(self, host: &str, client: &str) -> bool {
        match self {
            Self::Client => host == client,
            Self::Server => host != client,
            Self::Both => true,
        }
    }
}

/// Another policy, other disguises, or both.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PolicyStep {
    peer: Who,
    policy: Option<Policy>,
    disguise: Disguises,
}

impl PolicyStep {
    pub(super) fn read(node: &Node, stage: &Stage<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::POLICY_STEP, problems)?;
        let peer = table.require("peer", problems);
        let peer = peer.and_then(|node| reader::word(node, &words::PEER_NAMES, problems));
        let peer = Who::from_word(peer?);
        let changes = words::POLICY.known.iter().any(|key| table.get(key).is_some());
        let policy = match changes {
            true => {
                table.require("preset", problems)?;
                Some(Policy::read_entries(&table, problems)?)
            }
            false => None,
        };
        let disguise = match table.get("disguise") {
            Some(node) => Disguises::read(node, &interfaces(peer, stage), problems)?,
            None => Disguises::default(),
        };
        if policy.is_none() && disguise.is_empty() {
            let problem =
                Problem::new("this step changes nothing", table.span(), "needs a policy or a disguise");
            problems.push(problem.help("such as `preset: whatsapp` or `disguise: cookie`"));
            return None;
        }
        Some(Self { peer, policy, disguise })
    }
}

/// Names that one of the meant peers has.
fn interfaces<'a>(peer: Who, stage: &Stage<'a>) -> Vec<&'a str> {
    let Some([client, server]) = stage.peers else { return Vec::new() };
    let meant = [client, server].into_iter().filter(|host| peer.is(host, client));
    meant.flat_map(|host| stage.names.interfaces_of(host)).collect()
}

impl fmt::Display for PolicyStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.peer.name())?;
        if let Some(policy) = &self.policy {
            write!(formatter, " {policy}")?;
        }
        self.disguise.arguments().try_for_each(|disguise| write!(formatter, " disguise {disguise}"))
    }
}

impl Serialize for PolicyStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("peer", &self.peer)?;
        for (key, value) in self.policy.iter().flat_map(Policy::entries) {
            map.serialize_entry(key, value)?;
        }
        if !self.disguise.is_empty() {
            map.serialize_entry("disguise", &self.disguise)?;
        }
        map.end()
    }
}

/// Another use of the paths of an interface.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PathStep {
    peer: Who,
    interface: String,
    status: PathStatus,
    /// Of the peer.
    #[serde(skip)]
    pub(super) host: String,
}

impl PathStep {
    pub(super) fn read(node: &Node, stage: &Stage<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::PATH, problems)?;
        let peer = table.require("peer", problems);
        let peer = peer.and_then(|node| reader::word(node, &words::ONE_PEER, problems));
        let status = table.require("status", problems);
        let status = status.and_then(|node| reader::word(node, &words::PATH_STATUSES, problems));
        let peer = Who::from_word(peer?);
        let [client, server] = stage.peers?;
        let host = if peer == Who::Client { client } else { server };
        let names = stage.names.interfaces_of(host);
        let interface = table.require("interface", problems);
        let what = "an interface of the peer";
        let interface = interface.and_then(|node| reader::reference(node, what, &names, problems));
        let status = match status? {
            "backup" => PathStatus::Backup,
            "closed" => PathStatus::Closed,
            _ => PathStatus::Available,
        };
        Some(Self { peer, interface: interface?.to_owned(), status, host: host.to_owned() })
    }
}

impl fmt::Display for PathStep {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "paths of {} are {}", self.interface, self.status)
    }
}

/// What a peer is told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Telling {
    to: Who,
    pub(crate) command: Command,
}

impl Telling {
    /// None when a step is about the network.
    pub(crate) fn of(action: &Action, client: &str) -> Option<Self> {
        Some(match action {
            Action::Policy(step) => {
                let policy = step.policy.as_ref().map(ToString::to_string);
                let disguise = step.disguise.arguments().collect();
                Self { to: step.peer, command: Command::Policy { policy, disguise } }
            }
            Action::Priority { interface, value } => {
                let to = if interface.host == client { Who::Client } else { Who::Server };
                let (interface, value) = (interface.interface.clone(), *value);
                Self { to, command: Command::Priority { interface, value } }
            }
            Action::Path(step) => {
                let (interface, status) = (step.interface.clone(), step.status);
                Self { to: step.peer, command: Command::Path { interface, status } }
            }
            _ => return None,
        })
    }

    /// Whether the peer on this host is meant.
    pub(crate) fn is_for(&self, host: &str, client: &str) -> bool {
        self.to.is(host, client)
    }
}
