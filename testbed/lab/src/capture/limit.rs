//! Limits of captures: which packets are kept whole, which are cut, and which are left out when a run would leave more
//! than it may.
//!
//! Packets with a small payload (calls, STUN) come first, then those around steps, then the rest. A capture is written
//! while the run goes on, so nothing that comes later can take the place of what is there already: each class has a
//! share of the whole that it may fill, and the better class always has room left.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

/// Limits of all captures of a lab.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Size of all files together, in bytes. What [`super::embed_secrets`] adds is not in it.
    pub max_bytes: u64,
    /// Whether packets are cut, and left out in the order of their class. If not, all are whole until there is no room.
    pub cut: bool,
    /// Times of steps since time zero ([`crate::Lab::set_time_zero`]).
    pub steps: Vec<Duration>,
}

/// What a capture lacks because of its limits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CaptureLosses {
    /// Packets of which the end of the payload is missing.
    pub packets_cut: u64,
    /// Packets that are missing.
    pub packets_dropped: u64,
    /// Bytes that are missing, of packets of both kinds.
    pub bytes_dropped: u64,
}

/// Payloads of at most so many bytes are whole: those of calls and of STUN are.
const SMALL_PAYLOAD: usize = 300;
/// Of a larger payload so many bytes are kept: enough to remove QUIC's header protection (RFC 9001 section 5.4.2).
const PAYLOAD_KEPT: usize = 128;
/// Around a step is this long before and after it.
const AROUND_STEP: Duration = Duration::from_secs(5);
/// Shares of the whole that the classes may fill up to, in percent. The last of it is for comments on dropped packets.
const REST_UP_TO: u64 = 50;
const AROUND_STEPS_UP_TO: u64 = 80;
const SMALL_UP_TO: u64 = 95;

/// Time zero of the run, once it is known.
pub(super) type TimeZero = Arc<OnceLock<Instant>>;

/// Room of all captures, as it is used up.
#[derive(Debug)]
pub(super) struct Room {
    limits: CaptureLimits,
    zero: TimeZero,
    used: u64,
}

/// Decision on one packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Small,
    Large,
}

impl Room {
    pub(super) fn new(limits: CaptureLimits, zero: TimeZero) -> Self {
        Self { limits, zero, used: 0 }
    }

    /// Takes room for a block of this size, if its class may have it.
    pub(super) fn take(&mut self, class: Class, at: Instant, bytes: u64) -> bool {
        let percent = match class {
            _ if !self.limits.cut => SMALL_UP_TO,
            Class::Small => SMALL_UP_TO,
            Class::Large if self.is_around_step(at) => AROUND_STEPS_UP_TO,
            Class::Large => REST_UP_TO,
        };
        self.take_up_to(percent, bytes)
    }

    /// Takes room for a comment on a packet.
    pub(super) fn take_comment(&mut self, bytes: u64) -> bool {
        self.take_up_to(100, bytes)
    }

    fn take_up_to(&mut self, percent: u64, bytes: u64) -> bool {
        let after = self.used.saturating_add(bytes);
        let fits = u128::from(after) * 100 <= u128::from(self.limits.max_bytes) * u128::from(percent);
        if fits {
            self.used = after;
        }
        fits
    }

    /// Room that is used whatever the limits say: headers of files.
    pub(super) fn use_up(&mut self, bytes: u64) {
        self.used = self.used.saturating_add(bytes);
    }

    fn is_around_step(&self, at: Instant) -> bool {
        let Some(zero) = self.zero.get() else { return false };
        self.limits.steps.iter().any(|step| {
            let step = *zero + *step;
            at.saturating_duration_since(step).max(step.saturating_duration_since(at)) <= AROUND_STEP
        })
    }
}

/// Length of the copy of a packet: the whole packet if its payload is small, else its headers and the start of the
/// payload.
pub(super) fn kept_length(packet: &[u8]) -> usize {
    let payload = payload_offset(packet).min(packet.len());
    let length = packet.len() - payload;
    if length <= SMALL_PAYLOAD { packet.len() } else { payload + PAYLOAD_KEPT }
}

/// Where the payload of the transport protocol begins, as far as the headers tell; it may be beyond the end.
fn payload_offset(packet: &[u8]) -> usize {
    let byte = |index: usize| packet.get(index).copied().unwrap_or(0);
    let (mut protocol, mut offset, mut is_later_fragment) = match byte(0) >> 4 {
        4 => {
            let fragment_offset = u16::from_be_bytes([byte(6) & 0x1f, byte(7)]);
            (byte(9), usize::from(byte(0) & 0x0f) * 4, fragment_offset != 0)
        }
        6 => (byte(6), 40, false),
        _ => return 0,
    };
    // Extension headers (RFC 8200 section 4): hop-by-hop, routing, fragment, destination options.
    while matches!(protocol, 0 | 43 | 44 | 60) && offset < packet.len() && byte(0) >> 4 == 6 {
        let length = if protocol == 44 { 8 } else { (usize::from(byte(offset + 1)) + 1) * 8 };
        is_later_fragment |=
            protocol == 44 && u16::from_be_bytes([byte(offset + 2), byte(offset + 3)]) >> 3 != 0;
        protocol = byte(offset);
        offset += length;
    }
    match protocol {
        _ if is_later_fragment => offset,
        6 => offset + usize::from(byte(offset + 12) >> 4) * 4,
        _ => offset + 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEGABYTE: u64 = 1_000_000;

    fn room(cut: bool, steps: &[u64]) -> (Room, Instant) {
        let zero = Instant::now() + Duration::from_secs(3600);
        let known = TimeZero::default();
        known.set(zero).unwrap();
        let steps = steps.iter().copied().map(Duration::from_secs).collect();
        (Room::new(CaptureLimits { max_bytes: MEGABYTE, cut, steps }, known), zero)
    }

    /// How many bytes of a class fit, in blocks of 1000.
    fn fill(room: &mut Room, class: Class, at: Instant) -> u64 {
        (0..10_000).take_while(|_| room.take(class, at, 1000)).count() as u64 * 1000
    }

    #[test]
    fn a_better_class_has_room_when_a_worse_one_has_none() {
        let (mut room, zero) = room(true, &[30]);
        let before = zero + Duration::from_millis(24_999);
        let around = zero + Duration::from_secs(25);
        assert_eq!(fill(&mut room, Class::Large, before), MEGABYTE / 2);
        assert_eq!(fill(&mut room, Class::Large, around), MEGABYTE * 3 / 10);
        assert_eq!(fill(&mut room, Class::Large, zero + Duration::from_millis(35_001)), 0);
        assert_eq!(fill(&mut room, Class::Small, before), MEGABYTE * 15 / 100);
        assert!(room.take_comment(1000));
        assert!(!room.take(Class::Small, before, 1));
    }

    #[test]
    fn nothing_is_around_a_step_before_time_zero_is_known() {
        let limits = CaptureLimits { max_bytes: MEGABYTE, cut: true, steps: vec![Duration::ZERO] };
        let mut room = Room::new(limits, TimeZero::default());
        assert_eq!(fill(&mut room, Class::Large, Instant::now()), MEGABYTE / 2);
    }

    #[test]
    fn uncut_packets_are_of_one_class() {
        let (mut room, zero) = room(false, &[]);
        assert_eq!(fill(&mut room, Class::Large, zero), MEGABYTE * 95 / 100);
        assert_eq!(fill(&mut room, Class::Small, zero), 0);
    }

    #[test]
    fn large_payloads_are_cut_after_their_start_and_small_ones_are_whole() {
        let udp4 = |payload: usize| {
            let mut packet = vec![0; 28 + payload];
            packet[0] = 0x45;
            packet[9] = 17;
            packet
        };
        assert_eq!(kept_length(&udp4(300)), 328);
        assert_eq!(kept_length(&udp4(301)), 28 + 128);
        // The second fragment has no UDP header.
        let mut fragment = udp4(1200);
        fragment[7] = 1;
        assert_eq!(kept_length(&fragment), 20 + 128);
        let mut udp6 = vec![0; 48 + 1200];
        udp6[0] = 0x60;
        udp6[6] = 17;
        assert_eq!(kept_length(&udp6), 48 + 128);
        let mut tcp_behind_options = vec![0; 40 + 16 + 32 + 1000];
        tcp_behind_options[0] = 0x60;
        tcp_behind_options[40] = 6;
        tcp_behind_options[41] = 1;
        tcp_behind_options[56 + 12] = 0x80;
        assert_eq!(kept_length(&tcp_behind_options), 40 + 16 + 32 + 128);
    }

    #[test]
    fn whatever_the_bytes_are_no_more_is_kept_than_there_is() {
        let mut state = 1_u32;
        for length in 0..2000 {
            let packet: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(length)
            .collect();
            for version in [0x45, 0x4f, 0x60, packet.first().copied().unwrap_or(0)] {
                let mut packet = packet.clone();
                packet.iter_mut().take(1).for_each(|first| *first = version);
                assert!(kept_length(&packet) <= packet.len());
            }
        }
    }
}
