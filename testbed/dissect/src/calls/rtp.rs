//! RTP sources: what each sent, on which way, with which gaps; loss and jitter by RFC 3550.

use crate::datagram::RtpHeader;
use record::Millis;
use serde::Serialize;
use std::net::SocketAddr;

/// Ways of one source that are kept.
const MAX_LEGS: usize = 32;
/// Changes of one source's way that are kept.
const MAX_MOVES: usize = 256;
/// Packets in order after which a source is believed to be one (RFC 3550 appendix A.1 asks for two).
const MIN_SEQUENTIAL: u64 = 2;
/// A jump of sequence numbers that begins a new sequence (RFC 3550 appendix A.1).
const MAX_DROPOUT: u16 = 3000;
/// A packet may come this much behind its place in the order (RFC 3550 appendix A.1).
const MAX_MISORDER: u16 = 100;
/// Packets from which the rate of the timestamps is estimated.
const RATE_AFTER: u64 = 20;
/// Clock rates in use, in Hz (RFC 3551, RFC 7587).
const RATES: [u32; 6] = [8_000, 16_000, 24_000, 32_000, 48_000, 90_000];

/// One RTP source with one payload type. Times count from the first frame of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RtpStream {
    /// Synchronisation source, eight hexadecimal digits.
    pub ssrc: String,
    /// Payload type.
    pub payload_type: u8,
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// First packet.
    pub first_ms: Millis,
    /// Last packet.
    pub last_ms: Millis,
    /// Packets whose sequence number was skipped and did not come later (RFC 3550 appendix A.3); at least 0.
    pub lost: u64,
    /// Longest time between two packets.
    pub max_gap_ms: Millis,
    /// Interarrival jitter at the end (RFC 3550 section 6.4.1); `null` where the rate of the timestamps is unknown.
    pub jitter_ms: Option<Millis>,
    /// Rate of the timestamps, as they and the times of capture show it.
    pub clock_hz: Option<u32>,
    /// The ways it took, in order of their first packets.
    pub ways: Vec<RtpWay>,
    /// Its changes from one way to another, the first 256.
    pub moves: Vec<RtpMove>,
}

/// Packets of one source between two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RtpWay {
    /// Sender.
    pub from: SocketAddr,
    /// Receiver.
    pub to: SocketAddr,
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// First packet.
    pub first_ms: Millis,
    /// Last packet.
    pub last_ms: Millis,
}

/// A change of the way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct RtpMove {
    /// First packet on the new way.
    pub at_ms: Millis,
    /// Index of the old way in `ways`.
    pub before: usize,
    /// Index of the new way in `ways`.
    pub after: usize,
    /// Time between the last packet on the old way and the first on the new one.
    pub gap_ms: Millis,
}

/// Times in the running state count from 1970.
#[derive(Debug, Clone)]
pub(super) struct RunningStream {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    packets: u64,
    bytes: u64,
    first_ns: i64,
    last_ns: i64,
    max_gap_ns: i64,
    in_order: u64,
    base: u16,
    highest: u16,
    cycles: u64,
    /// Packets expected before the last jump of sequence numbers.
    expected_before: u64,
    first_timestamp: u32,
    last_timestamp: u32,
    clock_hz: Option<u32>,
    transit: Option<i64>,
    jitter: f64,
    legs: Vec<RtpWay>,
    leg: usize,
    moves: Vec<RtpMove>,
}

impl RunningStream {
    pub(super) fn new(header: RtpHeader, now_ns: i64) -> Self {
        Self {
            ssrc: header.ssrc,
            payload_type: header.payload_type,
            packets: 0,
            bytes: 0,
            first_ns: now_ns,
            last_ns: now_ns,
            max_gap_ns: 0,
            in_order: 0,
            base: header.sequence,
            highest: header.sequence,
            cycles: 0,
            expected_before: 0,
            first_timestamp: header.timestamp,
            last_timestamp: header.timestamp,
            clock_hz: None,
            transit: None,
            jitter: 0.0,
            legs: Vec::new(),
            leg: 0,
            moves: Vec::new(),
        }
    }

    /// Enough packets came in order.
    pub(super) fn is_believed(&self) -> bool {
        self.in_order >= MIN_SEQUENTIAL
    }

    pub(super) fn first_ns(&self) -> i64 {
        self.first_ns
    }

    pub(super) fn last_ns(&self) -> i64 {
        self.last_ns
    }

    pub(super) fn packets(&self) -> u64 {
        self.packets
    }

    pub(super) fn add(
        &mut self,
        header: RtpHeader,
        now_ns: i64,
        from: SocketAddr,
        to: SocketAddr,
        bytes: u32,
    ) {
        self.count_way(now_ns, from, to, bytes);
        if self.packets > 0 {
            self.max_gap_ns = self.max_gap_ns.max(now_ns.saturating_sub(self.last_ns));
            self.sequence(header.sequence);
        }
        self.last_ns = now_ns;
        self.last_timestamp = header.timestamp;
        self.packets += 1;
        self.bytes += u64::from(bytes);
        self.interarrival(header.timestamp, now_ns);
    }

    fn count_way(&mut self, now_ns: i64, from: SocketAddr, to: SocketAddr, bytes: u32) {
        let now = Millis::from_ns(now_ns);
        let index = match self.legs.iter().position(|way| (way.from, way.to) == (from, to)) {
            Some(index) => index,
            None if self.legs.len() < MAX_LEGS => {
                let way = RtpWay { from, to, packets: 0, bytes: 0, first_ms: now, last_ms: now };
                self.legs.push(way);
                self.legs.len() - 1
            }
            None => return,
        };
        if self.packets > 0 && index != self.leg && self.moves.len() < MAX_MOVES {
            let gap_ms = Millis::from_ns(now_ns.saturating_sub(self.last_ns));
            self.moves.push(RtpMove { at_ms: now, before: self.leg, after: index, gap_ms });
        }
        self.leg = index;
        let way = &mut self.legs[index];
        way.packets += 1;
        way.bytes += u64::from(bytes);
        way.last_ms = now;
    }

    fn sequence(&mut self, sequence: u16) {
        let ahead = sequence.wrapping_sub(self.highest);
        if (1..MAX_DROPOUT).contains(&ahead) {
            self.in_order += u64::from(ahead == 1);
            self.cycles += u64::from(sequence < self.highest);
            self.highest = sequence;
        } else if self.highest.wrapping_sub(sequence) > MAX_MISORDER {
            // Neither ahead nor shortly behind: the source began anew.
            self.expected_before += self.expected();
            (self.base, self.highest, self.cycles) = (sequence, sequence, 0);
        }
    }

    /// Packets since the last jump.
    fn expected(&self) -> u64 {
        ((self.cycles << 16) + u64::from(self.highest) + 1).saturating_sub(u64::from(self.base))
    }

    fn interarrival(&mut self, timestamp: u32, now_ns: i64) {
        if self.packets == RATE_AFTER {
            self.clock_hz = self.estimated_rate(now_ns);
        }
        let Some(rate) = self.clock_hz else { return };
        let since_ns = i128::from(timestamp.wrapping_sub(self.first_timestamp).cast_signed()) * 1_000_000_000;
        let transit = i128::from(now_ns.saturating_sub(self.first_ns)) - since_ns / i128::from(rate);
        let transit = i64::try_from(transit).unwrap_or_default();
        if let Some(before) = self.transit.replace(transit) {
            self.jitter += (transit.abs_diff(before) as f64 - self.jitter) / 16.0;
        }
    }

    /// The rate in use that lies within 15 % of what the timestamps show.
    fn estimated_rate(&self, now_ns: i64) -> Option<u32> {
        let seconds = now_ns.saturating_sub(self.first_ns) as f64 / 1e9;
        let units = f64::from(self.last_timestamp.wrapping_sub(self.first_timestamp).cast_signed());
        let measured = units / seconds;
        RATES.into_iter().find(|rate| (measured / f64::from(*rate) - 1.0).abs() < 0.15)
    }

    pub(super) fn report(self, zero_ns: i64) -> RtpStream {
        let relative = |ns: i64| Millis::from_ns(ns.saturating_sub(zero_ns));
        let expected = self.expected_before + self.expected();
        let lost = expected.saturating_sub(self.packets);
        let ways = self.legs.iter().map(|way| RtpWay {
            first_ms: relative(way.first_ms.as_ns()),
            last_ms: relative(way.last_ms.as_ns()),
            ..*way
        });
        let moves =
            self.moves.iter().map(|change| RtpMove { at_ms: relative(change.at_ms.as_ns()), ..*change });
        RtpStream {
            ssrc: format!("{:08x}", self.ssrc),
            payload_type: self.payload_type,
            packets: self.packets,
            bytes: self.bytes,
            first_ms: relative(self.first_ns),
            last_ms: relative(self.last_ns),
            lost,
            max_gap_ms: Millis::from_ns(self.max_gap_ns),
            jitter_ms: self.clock_hz.map(|_| Millis::from_ns(self.jitter as i64)),
            clock_hz: self.clock_hz,
            ways: ways.collect(),
            moves: moves.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn stream(sequences: impl IntoIterator<Item = (u16, i64)>) -> RtpStream {
        let from = "192.0.2.1:4000".parse().unwrap();
        let to = "192.0.2.2:5000".parse().unwrap();
        let mut stream: Option<RunningStream> = None;
        for (sequence, at_ms) in sequences {
            let header = RtpHeader {
                payload_type: 0,
                marker: false,
                sequence,
                timestamp: u32::from(sequence) * 160,
                ssrc: 5,
            };
            let now_ns = at_ms * MS;
            stream
                .get_or_insert_with(|| RunningStream::new(header, now_ns))
                .add(header, now_ns, from, to, 172);
        }
        stream.unwrap().report(0)
    }

    #[test]
    fn loss_rate_and_jitter() {
        let all = |skipped: &'static [u16]| {
            (0..100_u16)
                .filter(move |number| !skipped.contains(number))
                .map(|number| (number, i64::from(number) * 20))
        };
        let whole = stream(all(&[]));
        assert_eq!((whole.packets, whole.lost, whole.clock_hz), (100, 0, Some(8000)));
        assert_eq!((whole.jitter_ms, whole.max_gap_ms), (Some(Millis::default()), Millis::from_ns(20 * MS)));
        let holes = stream(all(&[7, 50, 51]));
        assert_eq!((holes.packets, holes.lost, holes.max_gap_ms), (97, 3, Millis::from_ns(60 * MS)));
        // Packets that swap places are not lost; every second one 10 ms late is a jitter of 10 ms in the end.
        let late =
            stream((0..200_u16).map(|number| (number, i64::from(number) * 20 + i64::from(number % 2) * 10)));
        let jitter = late.jitter_ms.unwrap().as_f64();
        assert!((9.9..=10.0).contains(&jitter), "{jitter}");
        let swapped = stream([(1, 0), (3, 20), (2, 40), (4, 60)]);
        assert_eq!((swapped.packets, swapped.lost), (4, 0));
    }

    #[test]
    fn sequence_numbers_wrap_and_begin_anew() {
        let wrapped = stream((0..10_u16).map(|number| (number.wrapping_sub(5), i64::from(number) * 20)));
        assert_eq!(wrapped.lost, 0);
        let anew =
            stream((0..10_u16).map(|number| (number, 0)).chain((30_000..30_010).map(|number| (number, 300))));
        assert_eq!((anew.packets, anew.lost), (20, 0));
    }

    proptest! {
        /// Whatever the numbers, no more are lost than were skipped in all.
        #[test]
        fn arbitrary_sequences_never_panic(sequences in proptest::collection::vec((any::<u16>(), 0_i64..1 << 40), 1..60)) {
            let stream = stream(sequences.clone());
            prop_assert_eq!(stream.packets, sequences.len() as u64);
            prop_assert!(stream.lost < 65_536 * sequences.len() as u64);
        }
    }
}
