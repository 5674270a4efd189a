//! What the networks between two peers block: the words of a blocking probe, as events and results have them.

use crate::Family;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr};

/// What was found out between two interfaces, in one family and direction, and its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocking {
    /// Kernel name at the client.
    pub local_interface: String,
    /// Kernel name at the server; none if the server told nothing.
    pub remote_interface: Option<String>,
    /// Where the server was heard, or else its outside address.
    pub remote: Option<SocketAddr>,
    /// Address family.
    pub family: Family,
    /// Which way.
    pub direction: Way,
    /// Rounds that were sent, of one packet of each variant; 0 in older records.
    #[serde(default)]
    pub rounds: u32,
    /// STUN as it is.
    pub plain: Probes,
    /// Everything else that was tried.
    pub variants: Box<Variants>,
    /// What the control answered to this interface.
    pub control: ControlAnswer,
    /// What follows.
    pub verdict: BlockingVerdict,
    /// From what, or why nothing follows: a sentence.
    pub why: String,
}

/// Which way, seen from the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// Client to server.
    Out,
    /// Server to client.
    In,
}

/// Probes of one kind. On disk with the share that arrived, and the interval in which it lies with 95 % confidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "ProbesRead", into = "ProbesWritten")]
pub struct Probes {
    /// How many were sent.
    pub sent: u32,
    /// How many of them arrived.
    pub arrived: u32,
    /// From where on none of them did.
    pub blocked_after: Option<BlockedAfter>,
}

/// Where a variant ceased to arrive; zeros where none ever did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BlockedAfter {
    /// Packets of the variant before the first of those that did not arrive.
    pub packets: u32,
    /// From the variant's first packet to that one.
    pub ms: u32,
}

#[derive(Deserialize)]
struct ProbesRead {
    sent: u32,
    arrived: u32,
    #[serde(default)]
    blocked_after: Option<BlockedAfter>,
}

#[derive(Serialize)]
struct ProbesWritten {
    sent: u32,
    arrived: u32,
    arrived_share: Option<f64>,
    interval_95: Option<[f64; 2]>,
    blocked_after: Option<BlockedAfter>,
}

impl From<ProbesRead> for Probes {
    fn from(ProbesRead { sent, arrived, blocked_after }: ProbesRead) -> Self {
        Self { sent, arrived, blocked_after }
    }
}

impl From<Probes> for ProbesWritten {
    fn from(probes: Probes) -> Self {
        let Probes { sent, arrived, blocked_after } = probes;
        let (arrived_share, interval_95) = (probes.arrived_share(), probes.interval_95());
        Self { sent, arrived, arrived_share, interval_95, blocked_after }
    }
}

impl Probes {
    /// Share of those sent; none where none were.
    pub fn arrived_share(&self) -> Option<f64> {
        (self.sent > 0).then(|| rounded(f64::from(self.arrived) / f64::from(self.sent)))
    }

    /// Wilson's interval for a share (E. B. Wilson, 1927), which also holds for none and for all of a few.
    pub fn interval_95(&self) -> Option<[f64; 2]> {
        const Z: f64 = 1.96;
        if self.sent == 0 {
            return None;
        }
        let n = f64::from(self.sent);
        let share = (f64::from(self.arrived) / n).min(1.0);
        let middle = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
        let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        Some([(middle - half).max(0.0), (middle + half).min(1.0)].map(rounded))
    }
}

/// With four decimals.
fn rounded(share: f64) -> f64 {
    (share * 1e4).round() / 1e4
}

/// The rungs of the ladder of disguises above plain STUN, and what is no STUN.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Variants {
    /// 0x40 in the first byte.
    pub first_byte: Probes,
    /// Two bytes of the magic cookie overwritten.
    pub cookie: Probes,
    /// Both.
    pub first_byte_cookie: Probes,
    /// Both, and a wrong length field.
    pub scrambled_length: Probes,
    /// The whole packet XORed.
    pub xor: Probes,
    /// UDP that looks random.
    pub random_udp: Probes,
    /// A QUIC Initial packet.
    pub quic_initial: Probes,
}

impl Variants {
    /// Each with its name, in the order of the ladder.
    pub fn named(&self) -> [(&'static str, Probes); 7] {
        [
            ("first-byte", self.first_byte),
            ("cookie", self.cookie),
            ("first-byte-cookie", self.first_byte_cookie),
            ("scrambled-length", self.scrambled_length),
            ("xor", self.xor),
            ("random-udp", self.random_udp),
            ("quic-initial", self.quic_initial),
        ]
    }
}

/// What a control answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ControlAnswer {
    /// There was none, or it was not asked enough.
    NotAsked,
    /// Every variant was answered.
    Open,
    /// Some were.
    Partial,
    /// None was.
    Silent,
}

/// What is blocked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BlockingVerdict {
    /// Nothing.
    Open,
    /// What looks like STUN.
    StunFiltered,
    /// UDP between peers.
    UdpP2pBlocked,
    /// All UDP.
    UdpBlocked,
    /// Nothing need be: the NATs of the two ends cannot be punched.
    NatIncompatible,
    /// Only the other direction passes.
    OneWay,
    /// Silence that may have another cause.
    Inconclusive,
}

impl BlockingVerdict {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::StunFiltered,
        Self::UdpP2pBlocked,
        Self::UdpBlocked,
        Self::NatIncompatible,
        Self::OneWay,
        Self::Inconclusive,
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::StunFiltered => "stun-filtered",
            Self::UdpP2pBlocked => "udp-p2p-blocked",
            Self::UdpBlocked => "udp-blocked",
            Self::NatIncompatible => "nat-incompatible",
            Self::OneWay => "one-way",
            Self::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for BlockingVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Way {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
        }
    }
}

/// Which findings are meant; all, where nothing is named.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Which {
    /// Of this interface of the client.
    pub interface: Option<String>,
    /// Of this interface of the server.
    pub remote_interface: Option<String>,
    /// Of this family.
    pub family: Option<Family>,
    /// Of this direction.
    pub direction: Option<Way>,
}

impl Which {
    /// Whether it is meant.
    pub fn means(&self, one: &Blocking) -> bool {
        let remote = |name: &String| one.remote_interface.as_ref() == Some(name);
        self.interface.as_ref().is_none_or(|name| *name == one.local_interface)
            && self.remote_interface.as_ref().is_none_or(remote)
            && self.family.is_none_or(|family| family == one.family)
            && self.direction.is_none_or(|way| way == one.direction)
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.interface {
            write!(f, " of {name}")?;
        }
        if let Some(name) = &self.remote_interface {
            write!(f, " with {name}")?;
        }
        if let Some(family) = self.family {
            write!(f, " over {family}")?;
        }
        self.direction.map_or(Ok(()), |way| write!(f, " {}", way.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_its_interval_and_older_records_are_read() {
        let blocked_after = Some(BlockedAfter { packets: 3, ms: 960 });
        let probes = Probes { sent: 15, arrived: 3, blocked_after };
        let written = serde_json::to_string(&probes).unwrap();
        // Checked against a table of Wilson intervals.
        let expected = r#"{"sent":15,"arrived":3,"arrived_share":0.2,"interval_95":[0.0705,0.4519],"blocked_after":{"packets":3,"ms":960}}"#;
        assert_eq!(written, expected);
        assert_eq!(serde_json::from_str::<Probes>(&written).unwrap(), probes);
        let all = Probes { sent: 8, arrived: 8, blocked_after: None };
        assert_eq!(all.interval_95(), Some([0.6756, 1.0]));
        assert_eq!((Probes::default().arrived_share(), Probes::default().interval_95()), (None, None));
        let older: Probes = serde_json::from_str(r#"{"sent":15,"arrived":3}"#).unwrap();
        assert_eq!(older, Probes { blocked_after: None, ..probes });
    }
}
