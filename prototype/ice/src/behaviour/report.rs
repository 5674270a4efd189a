//! What was found out, in the words of RFC 4787, and why it was not.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// One finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Found<T> {
    /// Not looked for yet.
    #[default]
    Pending,
    /// Found, with evidence.
    Is(T),
    /// There is no such thing here.
    DoesNotApply(Why),
    /// Looked for in vain.
    Inconclusive(Why),
}

impl<T: Copy> Found<T> {
    /// What was found, if anything.
    pub fn verdict(self) -> Option<T> {
        match self {
            Found::Is(verdict) => Some(verdict),
            Found::Pending | Found::DoesNotApply(_) | Found::Inconclusive(_) => None,
        }
    }

    /// Why nothing was found.
    pub fn why(self) -> Option<Why> {
        match self {
            Found::DoesNotApply(why) | Found::Inconclusive(why) => Some(why),
            Found::Pending | Found::Is(_) => None,
        }
    }
}

/// How far a mapping is tied to the remote endpoint (RFC 4787 section 4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dependence {
    /// One for all.
    EndpointIndependent,
    /// One for each remote address.
    AddressDependent,
    /// One for each remote address and port.
    AddressAndPortDependent,
}

impl fmt::Display for Dependence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Dependence::EndpointIndependent => "endpoint-independent",
            Dependence::AddressDependent => "address-dependent",
            Dependence::AddressAndPortDependent => "address-and-port-dependent",
        })
    }
}

/// Who may send to a socket of the host (RFC 4787 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filtering {
    /// Anybody, even if nothing was ever sent. Only without a NAT.
    None,
    /// Of those to whom something was sent: see [`Dependence`].
    Tied(Dependence),
}

impl fmt::Display for Filtering {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Filtering::None => f.write_str("none"),
            Filtering::Tied(dependence) => dependence.fmt(f),
        }
    }
}

/// Which outside port a new mapping gets (RFC 4787 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortAssignment {
    /// The inside port, where it is free.
    Preserved,
    /// One after the other, so many apart.
    Sequential {
        /// From one mapping to the next; the smallest that was seen.
        step: i32,
    },
    /// Neither.
    Random,
}

impl fmt::Display for PortAssignment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PortAssignment::Preserved => "preserved",
            PortAssignment::Sequential { .. } => "sequential",
            PortAssignment::Random => "random",
        })
    }
}

/// What becomes of a packet from inside to the outside of a mapping (RFC 4787 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hairpinning {
    /// It comes back in, from the sender's outside (REQ-9).
    ExternalSource,
    /// It comes back in, from the sender's inside address.
    InternalSource,
    /// It is dropped.
    Off,
}

impl fmt::Display for Hairpinning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Hairpinning::ExternalSource => "external-source",
            Hairpinning::InternalSource => "internal-source",
            Hairpinning::Off => "off",
        })
    }
}

/// How long a mapping lives that was answered once and is quiet since (RFC 4787 section 4.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lifetime {
    /// It was alive after this time.
    pub at_least: Duration,
    /// It was gone after this time; none if it was never seen to end.
    pub below: Option<Duration>,
}

/// Inside and outside of a fresh socket's first mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// As bound.
    pub inside: SocketAddr,
    /// As the server sees it.
    pub outside: SocketAddr,
}

/// Why there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Nothing came back at all.
    #[error("no server answered: UDP or STUN is blocked, or there is no server")]
    NoAnswer,
    /// The driver had no socket.
    #[error("no socket could be opened")]
    NoSocket,
    /// The user did not want to wait.
    #[error("stopped before it was found out")]
    Stopped,
    /// A mapping of the server without OTHER-ADDRESS, and no second server.
    #[error("the server has one address only; it takes two addresses and two ports, or a second server")]
    OneAddress,
    /// Its mapping may depend on the port or not.
    #[error("mappings differ by address, but no server was reachable at two ports of one address")]
    OnePort,
    /// It told of another address, but that address is silent.
    #[error("the server's other addresses do not answer: they are down, or blocked on the way")]
    OtherSilent,
    /// It answers, but never from elsewhere.
    #[error("the server does not answer from another address when asked to (RFC 5780 CHANGE-REQUEST)")]
    NoChange,
    /// Of what it does, only part could be seen.
    #[error("the server can answer from another port, but not from another address")]
    NoChangeOfAddress,
    /// It does not do what the lifetime needs.
    #[error("the server does not answer to another port when asked to (RFC 5780 RESPONSE-PORT)")]
    NoResponsePort,
    /// A control at the end was not answered.
    #[error("the path failed while it was being looked at")]
    PathFailed,
    /// A control at the end found another mapping.
    #[error("the mapping changed while it was being looked at")]
    MappingChanged,
    /// Mappings of one host have several outside addresses.
    #[error("the NAT gives one host several outside addresses")]
    SeveralOutsides,
    /// For whom a packet would have to be meant cannot be known.
    #[error(
        "the outside port towards another mapping of the same NAT cannot be foreseen, and its filtering drops what comes from elsewhere"
    )]
    PortsUnforeseeable,
    /// The mapping is not known well enough to take silence for an answer.
    #[error("nothing came back, but neither mapping nor filtering is known well enough to blame hairpinning")]
    BehaviourUnknown,
    /// The limit of the lifetime is too short for anything.
    #[error("not within the time limit")]
    TimeLimit,
    /// Nobody asked.
    #[error("not asked for")]
    NotAsked,
    /// Addresses are not translated.
    #[error("there is no NAT")]
    NoNat,
    /// Nothing that could expire.
    #[error("there is neither NAT nor firewall")]
    NothingKept,
}

/// Everything about one interface and family.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The server that was asked.
    pub server: Option<SocketAddr>,
    /// The first socket.
    pub local: Option<SocketAddr>,
    /// Its outside, as the server sees it.
    pub mapped: Option<SocketAddr>,
    /// Of the first answer.
    pub rtt: Option<Duration>,
    /// Whether addresses or ports are translated.
    pub nat: Found<bool>,
    /// Mapping.
    pub mapping: Found<Dependence>,
    /// Filtering.
    pub filtering: Found<Filtering>,
    /// Port assignment.
    pub ports: Found<PortAssignment>,
    /// What that is based on.
    pub samples: Vec<Sample>,
    /// Hairpinning.
    pub hairpinning: Found<Hairpinning>,
    /// Lifetime of a mapping, or of what a firewall lets in.
    pub lifetime: Found<Lifetime>,
}

impl Report {
    /// What is still pending stays open for this reason.
    pub(super) fn leave_open(&mut self, why: Why) {
        fn close<T>(found: &mut Found<T>, why: Why) {
            if matches!(found, Found::Pending) {
                *found = Found::Inconclusive(why);
            }
        }
        close(&mut self.nat, why);
        close(&mut self.mapping, why);
        close(&mut self.filtering, why);
        close(&mut self.ports, why);
        close(&mut self.hairpinning, why);
        close(&mut self.lifetime, why);
    }
}
