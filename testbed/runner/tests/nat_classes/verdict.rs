//! What the prober says, and what it should say of a NAT whose every property is known.

use netmodel::{Dependence, Hairpinning, NatSpec, PortAssignment};
use serde_json::Value;
use std::fmt;

/// What the prober says of one interface, in the words of its document; where there is no verdict, its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Verdict {
    pub(crate) nat: String,
    pub(crate) mapping: String,
    pub(crate) filtering: String,
    pub(crate) ports: String,
    pub(crate) hairpinning: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { nat, mapping, filtering, ports, hairpinning } = self;
        write!(
            f,
            "NAT {nat}, mapping {mapping}, filtering {filtering}, ports {ports}, hairpinning {hairpinning}"
        )
    }
}

impl Verdict {
    /// From the document of a prober that looked at one interface.
    pub(crate) fn read(document: &str) -> Result<Self, String> {
        let told: Value = serde_json::from_str(document).map_err(|error| format!("{error}: {document}"))?;
        let of = |what: &str| match &told["interfaces"][0][what] {
            found if found["verdict"].is_null() => found["status"].as_str().unwrap_or("nothing").to_owned(),
            found => found["verdict"].as_str().map_or_else(|| found["verdict"].to_string(), str::to_owned),
        };
        Ok(Self {
            nat: of("nat"),
            mapping: of("mapping"),
            filtering: of("filtering"),
            ports: of("ports"),
            hairpinning: of("hairpinning"),
        })
    }

    /// Behind these NATs, the innermost first: of a stack, the stricter behaviour counts.
    pub(crate) fn behind(nats: &[NatSpec]) -> Self {
        let mapping = nats.iter().map(|nat| nat.mapping).max();
        let filtering = nats.iter().map(|nat| nat.filtering).max();
        let (Some(mapping), Some(filtering), Some(outermost)) = (mapping, filtering, nats.last()) else {
            return Self::without_nat("none");
        };
        // Two mappings of one host that are neither the same nor open to all can only be foreseen.
        let told = mapping == Dependence::EndpointIndependent || filtering == Dependence::EndpointIndependent;
        let foreseen = nats.iter().all(|nat| nat.ports != PortAssignment::Random);
        Self {
            nat: "true".into(),
            mapping: word(mapping).into(),
            filtering: word(filtering).into(),
            ports: match outermost.ports {
                PortAssignment::Preserved => "preserved",
                PortAssignment::Sequential => "sequential",
                PortAssignment::Random => "random",
            }
            .into(),
            hairpinning: match outermost.hairpinning {
                _ if !told && !foreseen => "inconclusive",
                Hairpinning::ExternalSource => "external-source",
                Hairpinning::Off => "off",
            }
            .into(),
        }
    }

    /// Without a NAT; what a firewall lets in, or `none` where there is none.
    pub(crate) fn without_nat(filtering: &str) -> Self {
        let nothing = || "not-applicable".to_owned();
        Self {
            nat: "false".into(),
            mapping: nothing(),
            filtering: filtering.into(),
            ports: nothing(),
            hairpinning: nothing(),
        }
    }
}

/// In the words of RFC 4787 that both the prober and scenarios have.
pub(crate) fn word(dependence: Dependence) -> &'static str {
    match dependence {
        Dependence::EndpointIndependent => "endpoint-independent",
        Dependence::AddressDependent => "address-dependent",
        Dependence::AddressAndPortDependent => "address-and-port-dependent",
    }
}
