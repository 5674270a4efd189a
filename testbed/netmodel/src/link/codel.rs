//! CoDel, as the pseudo-code of RFC 8289 section 5 has it. Leaves out ECN.

use crate::CoDelSpec;
use std::time::{Duration, Instant};

/// One full packet (RFC 8289 section 5.2: `MAXPACKET`): a queue of no more is left alone.
const MAX_PACKET: u64 = 1500;

/// The state of one queue.
#[derive(Debug, Default)]
pub(crate) struct CoDel {
    first_above_time: Option<Instant>,
    drop_next: Option<Instant>,
    count: u32,
    last_count: u32,
    dropping: bool,
}

/// What a queue must offer.
pub(crate) trait Queue {
    /// What it holds.
    type Packet;
    /// Takes the head.
    fn pop(&mut self) -> Option<Self::Packet>;
    /// When a packet came in.
    fn since(packet: &Self::Packet) -> Instant;
    /// What it still holds.
    fn bytes(&self) -> u64;
}

impl CoDel {
    /// The next packet to be sent; what is dropped for it goes to `drop`.
    pub(crate) fn dequeue<Q: Queue>(
        &mut self,
        spec: CoDelSpec,
        now: Instant,
        queue: &mut Q,
        mut drop: impl FnMut(Q::Packet),
    ) -> Option<Q::Packet> {
        let (mut packet, mut ok_to_drop) = self.pop(spec, now, queue);
        if self.dropping {
            self.dropping &= ok_to_drop;
            while self.dropping
                && let Some(due) = self.drop_next.filter(|due| *due <= now)
            {
                packet.take().into_iter().for_each(&mut drop);
                self.count += 1;
                (packet, ok_to_drop) = self.pop(spec, now, queue);
                match ok_to_drop {
                    true => self.drop_next = Some(due + control_law(spec, self.count)),
                    false => self.dropping = false,
                }
            }
        } else if ok_to_drop {
            packet.take().into_iter().for_each(&mut drop);
            (packet, _) = self.pop(spec, now, queue);
            self.begin_dropping(spec, now);
        }
        packet
    }

    /// If the last drop state is not long past, its drop rate is where this one begins.
    fn begin_dropping(&mut self, spec: CoDelSpec, now: Instant) {
        self.dropping = true;
        let delta = self.count.saturating_sub(self.last_count);
        let is_recent = self.drop_next.is_some_and(|due| now < due + 16 * spec.interval);
        self.count = if delta > 1 && is_recent { delta } else { 1 };
        self.drop_next = Some(now + control_law(spec, self.count));
        self.last_count = self.count;
    }

    /// The head, and whether it may be dropped.
    fn pop<Q: Queue>(&mut self, spec: CoDelSpec, now: Instant, queue: &mut Q) -> (Option<Q::Packet>, bool) {
        let packet = queue.pop();
        let waited = packet.as_ref().map(|packet| now.saturating_duration_since(Q::since(packet)));
        let is_short = waited.is_none_or(|waited| waited < spec.target) || queue.bytes() <= MAX_PACKET;
        if is_short {
            self.first_above_time = None;
            return (packet, false);
        }
        let first_above = *self.first_above_time.get_or_insert(now + spec.interval);
        (packet, now >= first_above)
    }
}

fn control_law(spec: CoDelSpec, count: u32) -> Duration {
    spec.interval.div_f64(libm::sqrt(f64::from(count.max(1))))
}
