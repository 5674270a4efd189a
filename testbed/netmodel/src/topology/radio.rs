//! What a cellular radio does to packets.

use std::time::Duration;

/// The radio of a modem (3GPP TS 36.331: RRC states; TS 36.321 section 5.7: DRX), one for each interface of a network.
///
/// Idle, a radio cannot carry anything: the first packet up asks for a connection at once, the first packet down waits
/// for the next paging occasion, and everything waits until the connection is there. Connected, packets up pass at
/// once; packets down wait for the next on-duration once the radio has begun to sleep between them. A packet up wakes the
/// radio: what waits for an occasion or an on-duration that is still to come goes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RadioSpec {
    /// From idle to connected.
    pub promotion: Duration,
    /// Back to idle so long after the last packet.
    pub inactivity: Duration,
    /// Time between two paging occasions while idle; zero to be paged at once.
    pub paging_cycle: Duration,
    /// How the radio sleeps while connected; without this it does not.
    pub drx: Option<DrxSpec>,
}

/// Discontinuous reception while connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DrxSpec {
    /// The radio begins to sleep so long after the last packet.
    pub inactivity: Duration,
    /// Time from one on-duration to the next.
    pub cycle: Duration,
    /// How long the radio listens in each cycle, from its beginning.
    pub on: Duration,
}

impl RadioSpec {
    /// LTE as measured by Huang et al., "A Close Examination of Performance and Power Characteristics of 4G LTE
    /// Networks" (MobiSys 2012), table 3: promotion 260 ms, tail 11.6 s, paging cycle 1.28 s, long DRX cycle 40 ms after
    /// 100 ms. Their short cycle of 20 ms, which lasts for 20 ms, is left out.
    pub const LTE: Self = Self {
        promotion: Duration::from_millis(260),
        inactivity: Duration::from_millis(11_576),
        paging_cycle: Duration::from_millis(1_280),
        drx: Some(DrxSpec {
            inactivity: Duration::from_millis(100),
            cycle: Duration::from_millis(40),
            on: Duration::from_millis(1),
        }),
    };
}
