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
    /// Packets down pass from then on: the time of the connection, or of the on-duration that one of them waits for.
    down_from: Instant,
}

/// When a packet can pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Carried {
    pub(crate) at: Instant,
    /// Packets down that were to pass at the first of these times pass at the second one, which is earlier: this packet
    /// has woken the radio.
    pub(crate) released: Option<(Instant, Instant)>,
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
    pub(crate) fn carry(&mut self, now: Instant, direction: Direction) -> Carried {
        self.end_if_inactive(now);
        let since = self.asked_at(now, direction);
        let spec = self.spec;
        let connection = self.connection.get_or_insert_with(|| {
            self.ended.promotions += 1;
            Connection::new(since, &spec)
        });
        match direction {
            Direction::Up => connection.carry_up(now, &spec),
            Direction::Down => Carried { at: connection.carry_down(now, &spec), released: None },
        }
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

impl Connection {
    /// Asked for at a time.
    fn new(since: Instant, spec: &RadioSpec) -> Self {
        let ready = since + spec.promotion;
        Self { since, ready, last: ready, down_from: ready }
    }

    /// What wants up waits for no occasion: it asks for the connection before a page that is still to come, and ends the
    /// radio's sleep between on-durations.
    fn carry_up(&mut self, now: Instant, spec: &RadioSpec) -> Carried {
        let held_until = self.down_from;
        if now < self.since {
            *self = Self::new(now, spec);
        } else if self.ready <= now {
            self.last = now;
            self.down_from = self.down_from.min(now);
        }
        let released = (self.down_from < held_until).then_some((held_until, self.down_from));
        Carried { at: self.ready.max(now), released }
    }

    fn carry_down(&mut self, now: Instant, spec: &RadioSpec) -> Instant {
        // Behind one that is held, or else it would pass that while the radio sleeps.
        let at = match spec.drx {
            _ if now < self.down_from => self.down_from,
            Some(drx) => now + sleep_left(drx, now.saturating_duration_since(self.last)),
            None => now,
        };
        self.down_from = at;
        self.last = self.last.max(at);
        at
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
        assert_eq!(radio.carry(at(300), Direction::Up).at, at(500));
        assert_eq!(radio.carry(at(310), Direction::Up).at, at(500));
        assert_eq!(radio.carry(at(310), Direction::Down).at, at(500));
        assert_eq!(radio.carry(at(520), Direction::Up).at, at(520));
    }

    #[test]
    fn the_first_packet_down_waits_for_paging_too() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(300), Direction::Down).at, at(1200));
        let (mut on_the_occasion, at) = super::tests::radio();
        assert_eq!(on_the_occasion.carry(at(2000), Direction::Down).at, at(2200));
    }

    #[test]
    fn packets_down_wait_for_the_next_on_duration() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(0), Direction::Up).at, at(200));
        assert_eq!(radio.carry(at(299), Direction::Down).at, at(299));
        // Awake until 399; on-durations from 399, 439, 479 on.
        assert_eq!(radio.carry(at(402), Direction::Down).at, at(402));
        // Asleep from 502 on, on-durations at 502, 542.
        assert_eq!(radio.carry(at(507), Direction::Down).at, at(542));
        assert_eq!(radio.carry(at(700), Direction::Up).at, at(700));
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

    /// A page that is still to come holds nothing up, and what it is for goes with the first packet up.
    #[test]
    fn a_packet_up_does_not_wait_for_a_page() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(300), Direction::Down), Carried { at: at(1200), released: None });
        let up = Carried { at: at(510), released: Some((at(1200), at(510))) };
        assert_eq!(radio.carry(at(310), Direction::Up), up);
        assert_eq!(radio.carry(at(320), Direction::Up), Carried { at: at(510), released: None });
        assert_eq!(radio.carry(at(330), Direction::Down).at, at(510));
        // Asked for at 310 ms, and ended 10 s after it was there.
        let counts = RadioCounts { connected: Duration::from_millis(200 + 10_000), promotions: 1 };
        assert_eq!(radio.counts(at(60_000)), counts);
    }

    #[test]
    fn once_paged_everything_waits_for_the_promotion() {
        let (mut radio, at) = radio();
        assert_eq!(radio.carry(at(300), Direction::Down).at, at(1200));
        assert_eq!(radio.carry(at(1100), Direction::Up), Carried { at: at(1200), released: None });
    }

    #[test]
    fn nothing_passes_a_packet_that_waits_for_the_next_on_duration() {
        let (mut radio, at) = radio();
        radio.carry(at(0), Direction::Up);
        // Awake until 300 ms; on-durations from 300, 340 and 380 ms on.
        assert_eq!(radio.carry(at(350), Direction::Down).at, at(380));
        assert_eq!(radio.carry(at(360), Direction::Down).at, at(380), "the radio still sleeps");
        let up = Carried { at: at(370), released: Some((at(380), at(370))) };
        assert_eq!(radio.carry(at(370), Direction::Up), up);
        assert_eq!(radio.carry(at(375), Direction::Down).at, at(375), "awake by now");
    }
}
