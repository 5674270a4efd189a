//! The state of one interface's radio. Nothing happens by itself: what has become of it since the last packet is worked
//! out when the next one comes, or when somebody asks.

use crate::{Direction, DrxSpec, RadioCounts, RadioSpec};
use std::time::{Duration, Instant};

#[derive(Debug)]
pub(crate) struct Radio {
    spec: RadioSpec,
    /// Paging occasions are counted from here.
    began: Option<Instant>,
    connection: Option<Connection>,
    ended: RadioCounts,
}

#[derive(Debug, Clone, Copy)]
struct Connection {
    /// When it was asked for.
    since: Instant,
    /// When it could first carry packets.
    ready: Instant,
    /// When the last packet passed.
    last: Instant,
}

impl Radio {
    pub(crate) fn new(spec: RadioSpec) -> Self {
        Self { spec, began: None, connection: None, ended: RadioCounts::default() }
    }

    /// A radio that begins now and goes on counting.
    pub(crate) fn after(spec: RadioSpec, now: Instant, spent: RadioCounts) -> Self {
        Self { began: Some(now), ended: spent, ..Self::new(spec) }
    }

    /// Switched off for good: what it has cost.
    pub(crate) fn finish(mut self, now: Instant) -> RadioCounts {
        self.switch_off(now);
        self.ended
    }

    /// Time begins: the radio is idle and has cost nothing.
    pub(crate) fn begin(&mut self, now: Instant) {
        *self = Self { began: Some(now), ..Self::new(self.spec) };
    }

    /// A packet comes: when the radio can carry it.
    pub(crate) fn carry(&mut self, now: Instant, direction: Direction) -> Instant {
        self.end_if_inactive(now);
        let spec = self.spec;
        let since = self.asked_at(now, direction);
        let connection = self.connection.get_or_insert_with(|| {
            self.ended.promotions += 1;
            let ready = since + spec.promotion;
            Connection { since, ready, last: ready }
        });
        let at = match (direction, spec.drx) {
            _ if now < connection.ready => connection.ready,
            (Direction::Down, Some(drx)) => {
                now + sleep_left(drx, now.saturating_duration_since(connection.last))
            }
            _ => now,
        };
        connection.last = connection.last.max(at);
        at
    }

    /// The interface is gone, and with it the connection.
    pub(crate) fn switch_off(&mut self, now: Instant) {
        self.end_if_inactive(now);
        if let Some(connection) = self.connection.take() {
            self.ended.connected += now.saturating_duration_since(connection.since);
        }
    }

    pub(crate) fn counts(&self, now: Instant) -> RadioCounts {
        let connected = self.connection.map_or(Duration::ZERO, |connection| {
            self.end_of(connection).min(now).saturating_duration_since(connection.since)
        });
        RadioCounts { connected: self.ended.connected + connected, ..self.ended }
    }

    fn end_if_inactive(&mut self, now: Instant) {
        if let Some(connection) = self.connection
            && let end = self.end_of(connection)
            && end <= now
        {
            self.ended.connected += end.saturating_duration_since(connection.since);
            self.connection = None;
        }
    }

    fn end_of(&self, connection: Connection) -> Instant {
        connection.last + self.spec.inactivity
    }

    /// When an idle radio asks for a connection because of a packet.
    fn asked_at(&self, now: Instant, direction: Direction) -> Instant {
        let cycle = self.spec.paging_cycle.as_nanos();
        if direction == Direction::Up || cycle == 0 {
            return now;
        }
        let elapsed = now.saturating_duration_since(self.began.unwrap_or(now)).as_nanos();
        let wait = elapsed.div_ceil(cycle) * cycle - elapsed;
        now + Duration::from_nanos(wait as u64)
    }
}

/// How long a radio that has had nothing to do for so long still sleeps.
fn sleep_left(drx: DrxSpec, inactive: Duration) -> Duration {
    let Some(asleep) = inactive.checked_sub(drx.inactivity) else { return Duration::ZERO };
    let within = Duration::from_nanos((asleep.as_nanos() % drx.cycle.as_nanos().max(1)) as u64);
    if within < drx.on { Duration::ZERO } else { drx.cycle.saturating_sub(within) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPEC: RadioSpec = RadioSpec {
        promotion: Duration::from_millis(200),
        inactivity: Duration::from_secs(10),
        paging_cycle: Duration::from_millis(1000),
        drx: Some(DrxSpec {
            inactivity: Duration::from_millis(100),
            cycle: Duration::from_millis(40),
            on: Duration::from_millis(4),
        }),
    };

    #[expect(clippy::disallowed_methods, reason = "an epoch; everything counts from it")]
    fn radio() -> (Radio, impl Fn(u64) -> Instant) {
        let start = Instant::now();
        let mut radio = Radio::new(SPEC);
        radio.begin(start);
        (radio, move |milliseconds| start + Duration::from_millis(milliseconds))
    }

    #[test]
    fn the_first_packet_up_waits_for_the_promotion_alone() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(300), Direction::Up), at(500));
        assert_eq!(radio.carry(at(310), Direction::Up), at(500));
        assert_eq!(radio.carry(at(310), Direction::Down), at(500));
        assert_eq!(radio.carry(at(520), Direction::Up), at(520));
    }

    #[test]
    fn the_first_packet_down_waits_for_paging_too() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(300), Direction::Down), at(1200));
        let (mut on_the_occasion, at) = super::tests::radio();
        assert_eq!(on_the_occasion.carry(at(2000), Direction::Down), at(2200));
    }

    #[test]
    fn packets_down_wait_for_the_next_on_duration() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(0), Direction::Up), at(200));
        assert_eq!(radio.carry(at(299), Direction::Down), at(299));
        // Awake until 399; on-durations from 399, 439, 479 on.
        assert_eq!(radio.carry(at(402), Direction::Down), at(402));
        // Asleep from 502 on, on-durations at 502, 542.
        assert_eq!(radio.carry(at(507), Direction::Down), at(542));
        assert_eq!(radio.carry(at(700), Direction::Up), at(700));
    }

    #[test]
    fn the_time_connected_is_counted_to_the_inactivity_timer() {
        let (mut radio, at) = radio();
        radio.carry(at(0), Direction::Up);
        assert_eq!(radio.counts(at(150)).connected, Duration::from_millis(150));
        radio.carry(at(3000), Direction::Up);
        let first = RadioCounts { connected: Duration::from_secs(13), promotions: 1 };
        assert_eq!(radio.counts(at(60_000)), first);
        radio.carry(at(60_000), Direction::Up);
        radio.switch_off(at(61_000));
        let both = RadioCounts { connected: Duration::from_secs(14), promotions: 2 };
        assert_eq!(radio.counts(at(99_000)), both);
    }
}
