//! `peers`: which host runs which end, how paths are chosen and what is sent.
//!
//! What the server leaves out is as the client says; what both say must agree, except the policy and what sockets are bound
//! to, which are each end's own. Disguises are of the end that names them alone: the other one answers in kind.

use super::{
    diagnostic::{Problem, Problems},
    names::Names,
    policies::{Bind, Disguises, Policy},
    reader::{self, Table},
    words::{self, Vocabulary},
    workload::Workload,
    yaml::Node,
};
use serde::Serialize;

/// Both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Peers {
    pub(crate) client: Peer,
    pub(crate) server: Peer,
}

/// One end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Peer {
    pub(crate) host: String,
    pub(crate) engine: Engine,
    pub(crate) ice: IceAgent,
    pub(crate) policy: Policy,
    #[serde(skip_serializing_if = "Disguises::is_empty")]
    pub(crate) disguise: Disguises,
    pub(crate) bind: Bind,
    pub(crate) workload: Workload,
    pub(crate) signal: Signal,
}

/// Who finds the paths. Both ends have the same: each kind meets its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum IceAgent {
    Ours,
    WebrtcIce,
}

impl IceAgent {
    fn from_word(word: &str) -> Self {
        if word == "webrtc-ice" { Self::WebrtcIce } else { Self::Ours }
    }

    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::WebrtcIce => "webrtc-ice",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Engine {
    Noq,
    Quiche,
}

impl Engine {
    fn from_word(word: &str) -> Self {
        if word == "quiche" { Self::Quiche } else { Self::Noq }
    }

    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Noq => "noq",
            Self::Quiche => "quiche",
        }
    }
}

/// How the peers find each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Signal {
    /// Over the first connection, which the network that both share makes possible.
    InBand,
    /// Over a rendezvous server.
    Rendezvous,
}

/// What the rest of the scenario says about the two hosts.
pub(crate) struct Surroundings<'a> {
    pub(crate) names: &'a Names<'a>,
    /// Whether two hosts have an interface in one network; none when a host is unsound, and that was told.
    pub(crate) share_a_network: &'a dyn Fn(&str, &str) -> Option<bool>,
    pub(crate) has_rendezvous: bool,
    /// Relays as WhatsApp has them.
    pub(crate) has_call_relays: bool,
}

impl Peers {
    pub(crate) fn read(node: &Node, around: &Surroundings<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::PEERS, problems)?;
        let client = table.require("client", problems);
        let server = table.require("server", problems);
        let client = client.and_then(|node| Draft::read(node, around.names, problems));
        let server = server.and_then(|node| Draft::read(node, around.names, problems));
        let (client, server) = (client?, server?);
        if client.host == server.host {
            let message = format!("both peers run on `{}`", client.host);
            problems.push(Problem::new(message, server.node.span, "needs a host of its own"));
            return None;
        }
        let signal = signal(&client, &server, around, problems)?;
        let workload = agree("workload", client.workload, server.workload, &server, problems)?;
        let workload = workload.unwrap_or_default();
        let engine = agree("engine", client.engine, server.engine, &server, problems)?.unwrap_or(Engine::Noq);
        let ice = agree("ice", client.ice, server.ice, &server, problems)?.unwrap_or(IceAgent::Ours);
        if ice == IceAgent::WebrtcIce {
            if around.has_call_relays {
                let node = client.table.get("ice").or(server.table.get("ice")).unwrap_or(client.node);
                let message = "a relay with `mimic: whatsapp` is for our ICE agent";
                let problem = Problem::new(message, node.span, "webrtc-ice has nothing like it");
                problems.push(problem.help("leave out `mimic`, or `ice: webrtc-ice`"));
            }
            of_our_agent(&client, problems)?;
            of_our_agent(&server, problems)?;
        }
        let policy = client.policy.clone().unwrap_or_else(Policy::multipath);
        // What webrtc-ice does, and nobody can change.
        let bind = if ice == IceAgent::WebrtcIce { Some(Bind::Address) } else { client.bind };
        let peer = |draft: Draft<'_>| {
            let policy = draft.policy.unwrap_or_else(|| policy.clone());
            let bind = draft.bind.or(bind).unwrap_or_else(|| Bind::usual(&policy));
            let (host, disguise) = (draft.host.to_owned(), draft.disguise);
            Peer { host, engine, ice, policy, disguise, bind, workload, signal }
        };
        Some(Self { client: peer(client), server: peer(server) })
    }
}

/// None when a peer asks webrtc-ice for what only our agent can do.
fn of_our_agent(draft: &Draft<'_>, problems: &mut Problems) -> Option<()> {
    let other_policy = draft.policy.as_ref().is_some_and(|policy| *policy != Policy::multipath());
    let other_bind = draft.bind.is_some_and(|bind| bind != Bind::Address);
    let keys = [other_policy.then_some("policy"), Some("disguise"), other_bind.then_some("bind")];
    let found = keys.into_iter().flatten().find_map(|key| Some((key, draft.table.get(key)?)));
    let Some((key, node)) = found else { return Some(()) };
    let message = format!("`{key}` is for our ICE agent");
    let problem = Problem::new(message, node.span, "webrtc-ice has nothing like it");
    problems.push(problem.help(format!("leave out `{key}`, or `ice: webrtc-ice`")));
    None
}

/// What one peer says of itself.
struct Draft<'n> {
    node: &'n Node,
    table: Table<'n>,
    host: &'n str,
    engine: Option<Engine>,
    ice: Option<IceAgent>,
    policy: Option<Policy>,
    disguise: Disguises,
    bind: Option<Bind>,
    workload: Option<Workload>,
    signal: Option<Signal>,
}

impl<'n> Draft<'n> {
    fn read(node: &'n Node, names: &Names<'_>, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::PEER, problems)?;
        let host = table.require("host", problems);
        let host = host.and_then(|node| reader::reference(node, "a host", &names.hosts, problems));
        let engine = choice(&table, "engine", &words::ENGINES, Engine::from_word, problems);
        let ice = choice(&table, "ice", &words::ICE_AGENTS, IceAgent::from_word, problems);
        let policy = match table.get("policy") {
            Some(node) => Policy::read(node, problems).map(Some),
            None => Some(None),
        };
        let interfaces = host.map(|host| names.interfaces_of(host)).unwrap_or_default();
        let disguise = match table.get("disguise") {
            Some(node) => Disguises::read(node, &interfaces, problems),
            None => Some(Disguises::default()),
        };
        let bind = choice(&table, "bind", &words::BINDS, Bind::from_word, problems);
        let workload = match table.get("workload") {
            Some(node) => Workload::read(node, problems).map(Some),
            None => Some(None),
        };
        let signal = choice(&table, "signal", &words::SIGNALS, Signal::from_word, problems);
        let (engine, ice, policy, disguise, bind) = (engine?, ice?, policy?, disguise?, bind?);
        let (workload, signal) = (workload?, signal?);
        Some(Self { node, host: host?, engine, ice, policy, disguise, bind, workload, signal, table })
    }
}

/// Outer: whether it is sound; inner: whether it is there.
fn choice<T>(
    table: &Table<'_>,
    key: &str,
    vocabulary: &Vocabulary,
    meaning: impl FnOnce(&str) -> T,
    problems: &mut Problems,
) -> Option<Option<T>> {
    match table.get(key) {
        Some(node) => reader::word(node, vocabulary, problems).map(|word| Some(meaning(word))),
        None => Some(None),
    }
}

fn agree<T: PartialEq>(
    key: &str,
    client: Option<T>,
    server: Option<T>,
    of_server: &Draft<'_>,
    problems: &mut Problems,
) -> Option<Option<T>> {
    match (client, server) {
        (Some(client), Some(server)) if client != server => {
            let span = of_server.table.get(key).map_or(of_server.node.span, |node| node.span);
            let message = format!("the client says something else for `{key}`");
            problems.push(Problem::new(message, span, "must be as the client's, or left out"));
            None
        }
        (client, server) => Some(client.or(server)),
    }
}

fn signal(
    client: &Draft<'_>,
    server: &Draft<'_>,
    around: &Surroundings<'_>,
    problems: &mut Problems,
) -> Option<Signal> {
    let given = agree("signal", client.signal, server.signal, server, problems)?;
    let shared = (around.share_a_network)(client.host, server.host)?;
    let signal = given.unwrap_or(if shared { Signal::InBand } else { Signal::Rendezvous });
    let place = [client, server].into_iter().find_map(|draft| draft.table.get("signal"));
    let span = place.map_or(client.node.span, |node| node.span);
    match signal {
        Signal::InBand if !shared => {
            let message = format!("`{}` and `{}` share no network to signal over", client.host, server.host);
            problems.push(Problem::new(message, span, "no shared network").help("valid: rendezvous"));
            None
        }
        Signal::Rendezvous if !around.has_rendezvous => {
            let message = "the peers signal over a rendezvous server, and `servers` has none";
            let help = "such as `servers: {meet: {kind: rendezvous, delay: 15ms}}`";
            problems.push(Problem::new(message, span, "needs a server of kind rendezvous").help(help));
            None
        }
        signal => Some(signal),
    }
}

impl Signal {
    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::InBand => "in-band",
            Self::Rendezvous => "rendezvous",
        }
    }

    fn from_word(word: &str) -> Self {
        if word == "in-band" { Self::InBand } else { Self::Rendezvous }
    }
}
