//! Path policy as data: what is probed, for how long and how closely, what is kept in reserve, and what a loss and a
//! return lead to.
//!
//! A policy only chooses among what the protocol allows; how a check is made and answered is not up to it. The presets
//! reproduce how others behave, as far as an agent can: each names the observations it was read from. Where two
//! observations contradict each other the preset says which one it follows.
//!
//! Left out: what a socket is bound to (the driver's), which pair carries data (the user's, see
//! [`Agent::set_active`](crate::Agent::set_active)), and who asks whom for a check of a path in use.

use std::str::FromStr;
use std::time::Duration;

/// What an agent does beyond the protocol. May be replaced while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Of the preset it began as.
    pub name: &'static str,
    /// Which interfaces are probed.
    pub interfaces: Interfaces,
    /// Which pairs are of interest at all.
    pub reach: Reach,
    /// How relays are asked for allocations.
    pub relays: Relays,
    /// When probing stops.
    pub stop: Stop,
    /// How a pair is probed.
    pub probes: Probes,
    /// How closely the pair in use is checked.
    pub active: Keeping,
    /// How closely the other living pairs are checked.
    pub idle: Keeping,
    /// Whether consent is kept fresh and ends (RFC 7675). Without it a pair goes down by its unanswered checks alone.
    pub consent: bool,
    /// Which pairs are kept alive beside the one in use: a warm standby. The rest is let go, and is cold.
    pub standby: Standby,
    /// What is done once [`stop`](Self::stop) was reached and then lost.
    pub on_loss: OnLoss,
    /// What is probed on an interface that appeared after that.
    pub on_return: Scope,
    /// Which checks of the other agent are answered.
    pub answers: Answers,
}

/// Interfaces that are probed. Costs are those of [`Agent::set_network_info`](crate::Agent::set_network_info), 0 to 999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Interfaces {
    /// All, at the same time.
    All,
    /// The cheapest that is not known to be lost; the others wait, and the other agent is not told of them.
    Cheapest,
    /// Those that cost at most so much, and never another; nor is it told.
    CostAtMost(u16),
}

/// Pairs of interest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reach {
    /// Every pair.
    Any,
    /// Between addresses of the interfaces themselves: no server is asked.
    HostOnly,
}

/// How relays are asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Relays {
    /// One after the other, Ta apart, as all new transactions (RFC 8445 section 14.2).
    Paced,
    /// All in the same moment.
    AtOnce,
}

/// When probing stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stop {
    /// Never: paths are looked for as long as the agent lives.
    Never,
    /// When so many pairs without a relay are usable.
    Direct(u32),
    /// When a usable pair is nominated.
    Nomination,
}

/// How a pair that is not valid is probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Probes {
    /// Time between the requests to one remote candidate.
    pub cadence: Cadence,
    /// Most requests to one remote candidate, retransmissions included, until a loss grants them anew.
    pub budget: Option<u32>,
    /// Whether a pair that failed is tried again, every [`Timing::retry_interval`](crate::Timing::retry_interval).
    pub retry: bool,
}

/// Time between requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cadence {
    /// Doubling from the retransmission timeout (RFC 8445 section 14.3, RFC 8489 section 6.2.1).
    Backoff,
    /// The same every time, until the budget is used, or 20 times if there is none.
    Steady(Duration),
}

/// How closely a living pair is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Keeping {
    /// From when the pair became what it is (in use, or idle) to its first check.
    pub first: Duration,
    /// Between checks after that. Sooner when an answer is overdue.
    pub then: Duration,
}

impl Keeping {
    /// The same time before every check.
    pub const fn every(interval: Duration) -> Keeping {
        Keeping { first: interval, then: interval }
    }
}

/// Pairs that are kept alive beside the one in use, once [`Policy::stop`] is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standby {
    /// All that work.
    All,
    /// So many, by priority.
    Spares(u32),
    /// Those over a relay, which are probed for although the rest no longer is.
    Relays,
    /// None.
    Nothing,
}

/// Pairs that are probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Scope {
    /// All.
    Everything,
    /// Those over a relay.
    Relays,
    /// None.
    Nothing,
}

/// What a loss leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OnLoss {
    /// These pairs are probed.
    Probe(Scope),
    /// None of them. When the last usable pair went, whether the aim was reached or not, a restart (RFC 8445 section 9),
    /// which [`Event::RestartWanted`](crate::Event::RestartWanted) asks for, looks for a path anew; another one follows it
    /// if it fails.
    Restart,
}

/// Checks that are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Answers {
    /// All (RFC 8445 section 7.3).
    All,
    /// After a loss only those over relays, and on pairs that still work here.
    KnownAfterLoss,
}

impl Policy {
    /// Ours: every interface is probed and kept warm, probing never ends, a loss is found within fractions of a
    /// second.
    ///
    /// Answers what the others leave undone: `wa-no-cellular-probe`, `wa-off-no-standby`, `wa-off-to-relay`,
    /// `wa-ap-offon-no-local`, `qs-out-of-range`, `ice-01` to `ice-08`.
    pub fn multipath() -> Policy {
        Policy {
            name: "multipath",
            interfaces: Interfaces::All,
            reach: Reach::Any,
            relays: Relays::Paced,
            stop: Stop::Never,
            probes: Probes { cadence: Cadence::Backoff, budget: None, retry: true },
            active: Keeping::every(Duration::from_millis(100)),
            idle: Keeping::every(Duration::from_millis(100)),
            consent: true,
            standby: Standby::All,
            on_loss: OnLoss::Probe(Scope::Everything),
            on_return: Scope::Everything,
            answers: Answers::All,
        }
    }

    /// An agent that does what RFC 8445 and RFC 7675 ask for and no more: one nominated pair, consent checks every
    /// 5 s, and a restart if it is lost. The figure to put beside it is `ref-libwebrtc`.
    pub fn rfc8445() -> Policy {
        Policy {
            name: "rfc8445",
            stop: Stop::Nomination,
            probes: Probes { cadence: Cadence::Backoff, budget: None, retry: false },
            active: Keeping::every(Duration::from_secs(5)),
            idle: Keeping::every(Duration::from_secs(5)),
            standby: Standby::Nothing,
            on_loss: OnLoss::Restart,
            on_return: Scope::Nothing,
            ..Policy::multipath()
        }
    }

    /// WhatsApp in a call.
    ///
    /// All relays are asked at once: `wac-servers`, `cap-relays-2015`, `cap-relays-2019`. Cellular waits while WiFi works: `wa-no-cellular-probe`, `wa-remote-own-cell`, `wa-off-no-standby`. Probing ends
    /// with one direct path: `wa-stop-probing`, `wa-v6-no-v4`. At most 20 probes (`wa-stop-probing`), one every 600 ms:
    /// `wa-remote-probe-cell`, `cap-dead-candidate`. The path in use is checked after 15 s and then every 2 s:
    /// `wa-active-keepalive-first`, `wa-active-keepalive`, `wa-cell-keepalive-first`, `wa-v6-keepalive`. The idle relay
    /// every second: `wa-idle-keepalive`. After a loss only the relay: `wa-off-to-relay`, rather than the six probes of
    /// `wa-offon-relay`; when WiFi returns, the relay over it: `wa-offon-relay`. Who lost nothing does not answer:
    /// `wa-ap-offon-no-local`.
    pub fn whatsapp() -> Policy {
        Policy {
            name: "whatsapp",
            interfaces: Interfaces::Cheapest,
            relays: Relays::AtOnce,
            stop: Stop::Direct(1),
            probes: Probes {
                cadence: Cadence::Steady(Duration::from_millis(600)),
                budget: Some(20),
                retry: false,
            },
            active: Keeping { first: Duration::from_secs(15), then: Duration::from_secs(2) },
            idle: Keeping::every(Duration::from_secs(1)),
            consent: false,
            standby: Standby::Relays,
            on_loss: OnLoss::Probe(Scope::Relays),
            on_return: Scope::Relays,
            answers: Answers::KnownAfterLoss,
            ..Policy::multipath()
        }
    }

    /// Quick Share: a path on the local network or none.
    ///
    /// No STUN server: `qs-mdns`. Cellular never: `qs-out-of-range`. No other path after a loss: `qs-out-of-range`,
    /// `qs-ap-change`. Two probes, as with its pings: `qs-mdns`.
    pub fn quickshare() -> Policy {
        Policy {
            name: "quickshare",
            // WiFi on libwebrtc's scale is 10, an unknown network 50.
            interfaces: Interfaces::CostAtMost(50),
            reach: Reach::HostOnly,
            stop: Stop::Direct(1),
            probes: Probes {
                cadence: Cadence::Steady(Duration::from_secs(1)),
                budget: Some(2),
                retry: false,
            },
            active: Keeping::every(Duration::from_secs(1)),
            idle: Keeping::every(Duration::from_secs(1)),
            consent: false,
            standby: Standby::Nothing,
            on_loss: OnLoss::Probe(Scope::Nothing),
            on_return: Scope::Nothing,
            ..Policy::multipath()
        }
    }

    /// The prototype of 2024: begins on the LAN path, looks for one spare path on cellular, and stops there. That all
    /// its probes left on Ethernet was the routes' doing (`ice-01`, `ice-03`, `ice-08`), and the driver's to repeat;
    /// its figures are `ref-ice-nominated` and `ref-ice-in-quic`.
    pub fn prototype_2024() -> Policy {
        Policy {
            name: "prototype-2024",
            stop: Stop::Direct(2),
            probes: Probes { cadence: Cadence::Backoff, budget: None, retry: false },
            active: Keeping::every(Duration::from_secs(1)),
            idle: Keeping::every(Duration::from_secs(1)),
            consent: false,
            standby: Standby::Spares(1),
            ..Policy::multipath()
        }
    }

    /// All presets.
    pub fn presets() -> [Policy; 5] {
        [
            Policy::multipath(),
            Policy::rfc8445(),
            Policy::whatsapp(),
            Policy::quickshare(),
            Policy::prototype_2024(),
        ]
    }
}

impl Default for Policy {
    fn default() -> Policy {
        Policy::multipath()
    }
}

/// No preset has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no policy `{0}`; there are: multipath, rfc8445, whatsapp, quickshare, prototype-2024")]
pub struct UnknownPolicy(String);

impl FromStr for Policy {
    type Err = UnknownPolicy;

    fn from_str(name: &str) -> Result<Policy, UnknownPolicy> {
        let found = Policy::presets().into_iter().find(|preset| preset.name == name);
        found.ok_or_else(|| UnknownPolicy(name.to_owned()))
    }
}
