//! What one direction of a link does to packets.

use crate::{BitRate, ByteSize, Probability, Trace};
use std::{sync::Arc, time::Duration};

/// One direction of a link. A packet meets, in this order: the MTU, loss, duplication, the queue before the rate or the
/// trace, then delay, jitter and reordering.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkSpec {
    /// Propagation delay, one way.
    pub delay: Duration,
    /// How far the delay varies; what that means is up to [`LinkSpec::jitter_distribution`].
    pub jitter: Duration,
    /// How the jitter of each packet is drawn.
    pub jitter_distribution: JitterDistribution,
    /// Whether a packet may overtake another one by having drawn less jitter.
    pub order: Order,
    /// Serialisation rate of whole IP packets; without one, and without a trace, a link has no queue and its capacity
    /// has no bound.
    pub rate: Option<BitRate>,
    /// When packets may leave, in place of a rate. A trace begins when time does, when an interface joins the network,
    /// or when [`crate::Change::Link`] brings it.
    pub trace: Option<Trace>,
    /// How much may wait for the rate or the trace, the packet being sent included; what finds no room is dropped.
    pub queue: ByteSize,
    /// Besides, what would have left later than this after it came is dropped on arrival; for a queue in time alone,
    /// let [`LinkSpec::queue`] be [`ByteSize::UNBOUNDED`].
    pub queue_time: Option<Duration>,
    /// How the queue is kept short.
    pub discipline: QueueDiscipline,
    /// What is lost by chance or by plan, whatever the queue does. A lost packet takes neither queue nor rate.
    pub loss: Loss,
    /// How often a packet comes twice. Both copies take queue and rate, the second behind the first.
    pub duplicate: Probability,
    /// Packets held back so that later ones overtake them.
    pub reorder: Option<Reorder>,
    /// Largest IP packet in bytes. Larger ones end here and their sender is told (RFC 1191, RFC 4443); IPv4 packets
    /// that allow it are fragmented (RFC 791).
    pub mtu: Option<Mtu>,
}

impl LinkSpec {
    /// The queue of a link whose scenario does not name one.
    pub const DEFAULT_QUEUE: ByteSize = ByteSize(256 * 1024);

    /// A link that only delays.
    pub fn with_delay(delay: Duration) -> Self {
        Self { delay, ..Self::default() }
    }
}

impl Default for LinkSpec {
    /// A link that does nothing.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            jitter: Duration::ZERO,
            jitter_distribution: JitterDistribution::Uniform,
            order: Order::Kept,
            rate: None,
            trace: None,
            queue: Self::DEFAULT_QUEUE,
            queue_time: None,
            discipline: QueueDiscipline::DropTail,
            loss: Loss::None,
            duplicate: Probability::NEVER,
            reorder: None,
            mtu: None,
        }
    }
}

/// How the jitter J of a link becomes the further delay of a packet. Delay and jitter together are never below zero.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum JitterDistribution {
    /// Uniform from 0 to J.
    #[default]
    Uniform,
    /// Normal with mean 0 and standard deviation J.
    Normal,
    /// Heavy-tailed, as netem's `paretonormal`: the quantile function is J * (z / 4 + 3 p / 4), where z is that of the
    /// standard normal distribution and p that of a Pareto distribution with shape 3 that was brought to mean 0 and
    /// standard deviation 1. Its standard deviation is 0.94 J.
    ParetoNormal,
}

/// Whether jitter may change the order of packets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// A packet waits for the one before it, as on a real link.
    #[default]
    Kept,
    /// Each packet takes the time that it drew, as over many ways at once.
    Free,
}

/// How a queue is kept short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum QueueDiscipline {
    /// What finds no room is dropped.
    #[default]
    DropTail,
    /// Besides, CoDel (RFC 8289) drops from the head what has waited too long for too long.
    CoDel(CoDelSpec),
}

/// The two figures of CoDel (RFC 8289 section 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CoDelSpec {
    /// A wait that is fine for ever.
    pub target: Duration,
    /// How long the wait must have been above the target before anything is dropped; about a worst-case round trip.
    pub interval: Duration,
}

impl Default for CoDelSpec {
    /// What RFC 8289 section 4.4 recommends for the internet.
    fn default() -> Self {
        Self { target: Duration::from_millis(5), interval: Duration::from_millis(100) }
    }
}

/// Which packets a link loses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Loss {
    /// None.
    #[default]
    None,
    /// Each with this probability, whatever became of others.
    Independent(Probability),
    /// In bursts.
    GilbertElliott(GilbertElliott),
    /// By plan.
    Pattern(LossPattern),
}

/// A chain of two states that moves once before each packet; it begins in the good one (Gilbert 1960, Elliott 1963).
///
/// The share of time in the bad state is p / (p + r), a stay there lasts 1 / r packets on average, and with the usual
/// losses of 0 and 1 these are the loss rate and the mean burst length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GilbertElliott {
    /// p: from good to bad.
    pub to_bad: Probability,
    /// r: from bad to good.
    pub to_good: Probability,
    /// Loss in the good state, usually 0.
    pub loss_in_good: Probability,
    /// Loss in the bad state, usually 1.
    pub loss_in_bad: Probability,
}

/// A fixed pattern of losses, which repeats itself from when the link got it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LossPattern {
    lost: Arc<[bool]>,
}

impl LossPattern {
    /// The most packets that one pattern may tell about.
    pub const LIMIT: usize = 1_000_000;

    /// Which packets are lost, in turn; none for no packets or more than [`LossPattern::LIMIT`].
    pub fn new(lost: impl Into<Arc<[bool]>>) -> Option<Self> {
        let lost = lost.into();
        (1..=Self::LIMIT).contains(&lost.len()).then_some(Self { lost })
    }

    /// Whether the packet of this number is lost.
    pub(crate) fn loses(&self, number: u64) -> bool {
        let index = (number % self.lost.len() as u64) as usize;
        self.lost.get(index).copied().unwrap_or(false)
    }
}

/// Packets held back. Later ones overtake them even where [`Order::Kept`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reorder {
    /// How often.
    pub probability: Probability,
    /// For how long, besides delay and jitter.
    pub by: Duration,
}

/// Largest IP packet in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mtu(u16);

impl Mtu {
    /// So many bytes; none below 68, which every IPv4 link must carry (RFC 791 section 3.2).
    pub const fn new(bytes: u16) -> Option<Self> {
        if bytes < 68 { None } else { Some(Self(bytes)) }
    }

    /// In bytes.
    pub const fn bytes(self) -> u16 {
        self.0
    }
}
