//! State of a TCP flow: retransmissions, flags, the handshake's round-trip time.

use super::record::FlagCounts;
use crate::ip::{Packet, Transport};

#[derive(Debug, Clone, Copy, Default)]
struct Side {
    /// Sequence number of the SYN, or of the byte before the first payload when the SYN was not seen.
    initial: Option<u32>,
    /// Sequence number after the highest one seen.
    next: Option<u32>,
    fin: bool,
    /// When the first SYN was sent; none once it was repeated (Karn's rule, RFC 6298 section 3).
    syn_ns: Option<i64>,
}

#[derive(Debug, Default)]
pub(super) struct TcpState {
    up: Side,
    down: Side,
    /// Sequence number of the client's SYN.
    syn: Option<u32>,
    reset: bool,
    pub(super) flags: FlagCounts,
    pub(super) rtt_ns: Option<i64>,
}

impl TcpState {
    pub(super) fn is_closed(&self) -> bool {
        self.reset || (self.up.fin && self.down.fin)
    }

    pub(super) fn is_reset(&self) -> bool {
        self.reset
    }

    /// Whether a packet of this 5-tuple opens another connection: a SYN that is no repetition.
    pub(super) fn is_new_connection(&self, packet: &Packet<'_>) -> bool {
        match packet.transport {
            Transport::Tcp { flags, sequence, .. } if flags.syn && !flags.ack => self.syn != Some(sequence),
            _ => false,
        }
    }

    /// Adds a segment and returns whether it repeats payload.
    pub(super) fn add(&mut self, is_up: bool, packet: &Packet<'_>) -> bool {
        let Transport::Tcp { flags, sequence, .. } = packet.transport else { return false };
        let (side, other) = match is_up {
            true => (&mut self.up, &self.down),
            false => (&mut self.down, &self.up),
        };
        if flags.syn {
            if flags.ack {
                self.flags.syn_ack += 1;
                let rtt = other.syn_ns.map(|sent| packet.time_ns.saturating_sub(sent));
                self.rtt_ns = self.rtt_ns.or(rtt.filter(|rtt| *rtt >= 0 && side.initial.is_none()));
            } else {
                self.flags.syn += 1;
                self.syn = self.syn.or(Some(sequence));
            }
            side.syn_ns = side.initial.is_none().then_some(packet.time_ns);
            side.initial = Some(sequence);
            side.next = side.next.or(Some(sequence.wrapping_add(1)));
        }
        self.flags.fin += u32::from(flags.fin);
        self.flags.rst += u32::from(flags.rst);
        side.fin |= flags.fin;
        self.reset |= flags.rst;
        if packet.payload_length == 0 {
            return false;
        }
        side.initial = side.initial.or(Some(sequence.wrapping_sub(1)));
        let end = sequence.wrapping_add(packet.payload_length);
        match side.next {
            Some(next) if !is_after(end, next) => true,
            _ => {
                side.next = Some(end);
                false
            }
        }
    }

    pub(super) fn offset(&self, is_up: bool, sequence: u32) -> Option<u32> {
        let side = if is_up { &self.up } else { &self.down };
        Some(sequence.wrapping_sub(side.initial?).wrapping_sub(1))
    }
}

/// Order of sequence numbers (RFC 9293 section 3.4).
fn is_after(a: u32, b: u32) -> bool {
    a.wrapping_sub(b).cast_signed() > 0
}
