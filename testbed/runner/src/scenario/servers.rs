//! `servers`: what stands on the internet itself.

use super::{
    diagnostic::{Problem, Problems},
    quantity::{self, parse_duration},
    reader::{self, Table},
    words,
    yaml::{Entry, Node, Value},
};
use serde::Serialize;
use std::{num::NonZeroU8, time::Duration};

/// A server with public addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Server {
    pub(crate) kind: ServerKind,
    /// Between the internet and the server, one way, each direction.
    #[serde(serialize_with = "quantity::duration")]
    pub(crate) delay: Duration,
    /// How many it has of each family.
    pub(crate) addresses: NonZeroU8,
    /// Whose relay it is like.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) mimic: Option<Mimic>,
}

/// Whose relays peers meet at, in the place of TURN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mimic {
    WhatsApp,
}

impl Mimic {
    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::WhatsApp => "whatsapp",
        }
    }
}

/// What it runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ServerKind {
    /// Where peers without a shared network exchange candidates; answers STUN Binding requests too.
    Rendezvous,
    /// `iceperf relay` that relays for nobody: STUN and NAT behaviour discovery.
    Stun,
    /// `iceperf relay`: the same, and TURN.
    Relay,
    /// `iceperf probe control`, for probes of what is blocked; carriers do not know it as a server.
    Control,
    /// Debian's coturn in the place of a relay.
    Coturn,
    /// `iperf3 -s`, for other traffic on the same links.
    Iperf3,
}

impl ServerKind {
    fn from_word(word: &str) -> Self {
        match word {
            "stun" => Self::Stun,
            "relay" => Self::Relay,
            "control" => Self::Control,
            "coturn" => Self::Coturn,
            "iperf3" => Self::Iperf3,
            _ => Self::Rendezvous,
        }
    }

    /// Its word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rendezvous => "rendezvous",
            Self::Stun => "stun",
            Self::Relay => "relay",
            Self::Control => "control",
            Self::Coturn => "coturn",
            Self::Iperf3 => "iperf3",
        }
    }

    /// NAT behaviour discovery needs two (RFC 5780 section 3).
    fn usual_addresses(self) -> NonZeroU8 {
        match self {
            Self::Rendezvous | Self::Control | Self::Iperf3 => NonZeroU8::MIN,
            Self::Stun | Self::Relay | Self::Coturn => NonZeroU8::MIN.saturating_add(1),
        }
    }
}

impl Server {
    pub(crate) fn read(node: &Node, problems: &mut Problems) -> Option<Self> {
        let table = Table::open(node, &words::SERVER, problems)?;
        let kind = table.require("kind", problems);
        let kind = kind.and_then(|node| reader::word(node, &words::SERVER_KINDS, problems));
        let delay = table.require("delay", problems);
        let delay = delay.and_then(|node| reader::value(node, "a duration", parse_duration, problems));
        let addresses = table.get("addresses").map(|node| read_addresses(node, problems));
        let kind = ServerKind::from_word(kind?);
        let mimic = match table.entry("mimic") {
            Some(entry) => Some(read_mimic(entry, kind, problems)?),
            None => None,
        };
        let addresses = addresses.unwrap_or(Some(kind.usual_addresses()));
        Some(Self { kind, delay: delay?, addresses: addresses?, mimic })
    }
}

fn read_mimic(entry: &Entry, kind: ServerKind, problems: &mut Problems) -> Option<Mimic> {
    if kind != ServerKind::Relay {
        let message = format!("`mimic` is for relays, and this is `kind: {}`", kind.name());
        let problem = Problem::new(message, entry.key_span, "not of this kind");
        problems.push(problem.help("leave out `mimic`, or write `kind: relay`"));
        return None;
    }
    reader::word(&entry.value, &words::MIMICS, problems).map(|_| Mimic::WhatsApp)
}

fn read_addresses(node: &Node, problems: &mut Problems) -> Option<NonZeroU8> {
    /// As many as `iceperf relay` serves by itself: 16, of both families.
    const MOST: u8 = 8;
    if matches!(node.value, Value::Sequence(_)) {
        let help =
            "how many the server has of each family, such as `addresses: 2`; `testbed plan` tells which";
        problems.push(reader::form_not_yet("a list of addresses", node.span, help));
        return None;
    }
    let count: NonZeroU8 = reader::number(node, "a number of addresses (1 to 8)", problems)?;
    if count.get() > MOST {
        let message = format!("{count} addresses of each family; a server has at most {MOST}");
        problems.push(Problem::new(message, node.span, "too many"));
        return None;
    }
    Some(count)
}
