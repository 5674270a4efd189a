//! Rates, traces, CoDel and queues in time, against references that were written from the papers, and what happens when
//! they change while packets wait.

use crate::common::*;
use netmodel::*;
use proptest::prelude::*;
use std::{collections::VecDeque, time::Duration};

const SIZE: usize = 1250;

fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

/// Sends packets of these sizes at these times; gives when each arrived, less [`LINK_DELAY`].
fn replay(link: LinkSpec, packets: &[(Duration, usize)]) -> (Vec<Option<Duration>>, World) {
    let mut world = World::new(one_link(link), 1);
    let to = world.ipv4("right", 2);
    world.oversleep(Duration::ZERO);
    for (number, (at, size)) in packets.iter().enumerate() {
        world.run(*at - world.now);
        let mut payload = vec![0; size - OVERHEAD];
        payload[..2].copy_from_slice(&(number as u16).to_be_bytes());
        world.send("left", 1, to, &payload);
    }
    world.run(s(3600));
    let mut arrivals = vec![None; packets.len()];
    for delivery in world.take() {
        let number = u16::from_be_bytes(delivery.udp().2[..2].try_into().expect("two bytes"));
        arrivals[usize::from(number)] = Some(delivery.at - LINK_DELAY);
    }
    (arrivals, world)
}

#[test]
fn a_rate_is_exact_over_every_second() {
    for rate in [64_000_u64, 1_000_000, 8_000_000, 94_300_000] {
        let link = LinkSpec { rate: BitRate::per_second(rate), ..LinkSpec::default() };
        let mut world = World::new(one_link(link), 1);
        let to = world.ipv4("right", 2);
        let gap = BitRate::per_second(rate).expect("a rate").time_for(SIZE * 9 / 10);
        let mut bytes = vec![0_u64; 4];
        while world.now < s(4) + LINK_DELAY {
            world.send("left", 1, to, &[0; SIZE - OVERHEAD]);
            world.run(gap);
            for delivery in world.take() {
                if let Some(window) = bytes.get_mut((delivery.at - LINK_DELAY).as_secs() as usize) {
                    *window += delivery.packet.len() as u64;
                }
            }
        }
        for bytes in &bytes {
            // A window may begin and end in the middle of a packet.
            let difference = (*bytes * 8).abs_diff(rate);
            assert!(difference <= SIZE as u64 * 8, "{rate}: {bytes} bytes");
        }
    }
}

/// Mahimahi's queue, opportunity by opportunity: what waits when one comes uses up to 1500 bytes of it.
fn mahimahi(trace: &[u64], packets: &[(Duration, usize)]) -> Vec<Option<Duration>> {
    let mut waiting: VecDeque<(usize, usize)> = VecDeque::new();
    let (mut arrivals, mut next) = (vec![None; packets.len()], 0);
    let period = *trace.last().expect("a trace");
    for round in 0.. {
        for time in trace {
            let now = ms(round * period + time);
            while packets.get(next).is_some_and(|(at, _)| *at < now) {
                waiting.push_back((next, packets[next].1));
                next += 1;
            }
            let mut left = 1500;
            while let Some((number, bytes)) = waiting.front_mut().filter(|_| left > 0) {
                let used = left.min(*bytes);
                left -= used;
                *bytes -= used;
                if *bytes == 0 {
                    arrivals[*number] = Some(now);
                    waiting.pop_front();
                }
            }
        }
        if next == packets.len() && waiting.is_empty() {
            return arrivals;
        }
    }
    arrivals
}

fn parse(times: &[u64]) -> Trace {
    let text: String = times.iter().map(|time| format!("{time}\n")).collect();
    Trace::parse(text.as_bytes()).expect("a trace")
}

/// Packets that come at any time, exact milliseconds among them, sorted.
fn packets(most_ms: u64) -> impl Strategy<Value = Vec<(Duration, usize)>> {
    let at = prop_oneof![(0..most_ms).prop_map(ms), (0..most_ms * 1000).prop_map(us)];
    prop::collection::vec((at, 30..1500_usize), 1..40).prop_map(|mut packets| {
        packets.sort();
        packets
    })
}

proptest! {
    #[test]
    fn a_trace_is_replayed_as_mahimahi_does(
        mut times in prop::collection::vec(0..60_u64, 0..12),
        more in 1..20_u64,
        packets in packets(300),
    ) {
        times.sort_unstable();
        times.push(times.last().unwrap_or(&0) + more);
        let link = LinkSpec { trace: Some(parse(&times)), ..LinkSpec::default() };
        let (arrivals, _) = replay(link, &packets);
        prop_assert_eq!(arrivals, mahimahi(&times, &packets));
    }

    #[test]
    fn codel_drops_what_the_pseudo_code_drops(
        gaps in prop::collection::vec(1..30_000_u64, 1..400),
        rate_kbit in 300..3_000_u64,
    ) {
        let mut at = Duration::ZERO;
        let packets: Vec<_> = gaps.iter().map(|gap| { at += us(*gap); (at, SIZE) }).collect();
        let rate = BitRate::per_second(rate_kbit * 1000);
        let discipline = QueueDiscipline::CoDel(CoDelSpec::default());
        let queue = ByteSize::UNBOUNDED;
        let (arrivals, _) = replay(LinkSpec { rate, discipline, queue, ..LinkSpec::default() }, &packets);
        let expected = Reference::run(&packets, rate.expect("a rate").time_for(SIZE));
        prop_assert_eq!(arrivals, expected);
    }

    #[test]
    fn codel_before_a_trace_looks_at_each_opportunity(
        gaps in prop::collection::vec((0..20_u64, 1..999_u64), 1..300),
        times in prop::collection::vec(1..40_u64, 1..12),
    ) {
        // Never at a whole millisecond, where an opportunity may be.
        let mut at = 0;
        let packets = gaps.iter().map(|(ms, more)| { at += ms; (us(at * 1000 + more), SIZE) });
        let mut packets: Vec<_> = packets.collect();
        packets.sort();
        let mut time = 0;
        let times: Vec<_> = times.iter().map(|gap| { time += gap; time }).collect();
        let link = LinkSpec {
            trace: Some(parse(&times)),
            discipline: QueueDiscipline::CoDel(CoDelSpec::default()),
            queue: ByteSize::UNBOUNDED,
            ..LinkSpec::default()
        };
        let (arrivals, _) = replay(link, &packets);
        prop_assert_eq!(arrivals, Reference::run_trace(&packets, &times));
    }

    #[test]
    fn a_queue_in_time_lets_nothing_wait_longer(
        limit_ms in 1..100_u64,
        gaps in prop::collection::vec(1..4_000_u64, 1..300),
        traced: bool,
    ) {
        let mut at = Duration::ZERO;
        let packets: Vec<_> = gaps.iter().map(|gap| { at += us(*gap); (at, SIZE) }).collect();
        let link = LinkSpec {
            rate: BitRate::per_second(5_000_000).filter(|_| !traced),
            trace: traced.then(|| parse(&[2, 2, 9])),
            queue_time: Some(ms(limit_ms)),
            ..LinkSpec::default()
        };
        let (arrivals, world) = replay(link, &packets);
        let waits = arrivals.iter().zip(&packets).filter_map(|(arrival, (sent, _))| Some((*arrival)? - *sent));
        for wait in waits {
            prop_assert!(wait <= ms(limit_ms), "{:?}", wait);
        }
        let lost = arrivals.iter().filter(|arrival| arrival.is_none()).count();
        prop_assert_eq!(world.dropped("left", Direction::Up, DropCause::QueueFull), lost as u64);
    }
}

/// RFC 8289 section 5, line by line, over packets of one size that are sent one after the other.
struct Reference {
    queue: VecDeque<(usize, Duration)>,
    first_above_time: Duration,
    drop_next: Duration,
    count: u32,
    lastcount: u32,
    dropping: bool,
}

const TARGET: Duration = Duration::from_millis(5);
const INTERVAL: Duration = Duration::from_millis(100);

impl Reference {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            first_above_time: Duration::ZERO,
            drop_next: Duration::ZERO,
            count: 0,
            lastcount: 0,
            dropping: false,
        }
    }

    /// Before a trace, which takes the next packet when an opportunity has room for some of it.
    fn run_trace(packets: &[(Duration, usize)], trace: &[u64]) -> Vec<Option<Duration>> {
        let (mut this, mut arrivals) = (Self::new(), vec![None; packets.len()]);
        let (mut next, mut in_transit) = (0, None);
        let period = *trace.last().expect("a trace");
        for now in (0..).flat_map(|round| trace.iter().map(move |time| ms(round * period + time))) {
            while packets.get(next).is_some_and(|(at, _)| *at < now) {
                this.queue.push_back((next, packets[next].0));
                next += 1;
            }
            let mut left = 1500;
            while left > 0 {
                let taken = in_transit.take().or_else(|| this.deque(now).map(|(number, _)| (number, SIZE)));
                let Some((number, bytes)) = taken else { break };
                let used = left.min(bytes);
                left -= used;
                match bytes - used {
                    0 => arrivals[number] = Some(now),
                    rest => in_transit = Some((number, rest)),
                }
            }
            if next == packets.len() && this.queue.is_empty() && in_transit.is_none() {
                break;
            }
        }
        arrivals
    }

    fn run(packets: &[(Duration, usize)], time: Duration) -> Vec<Option<Duration>> {
        let mut this = Self::new();
        let (mut arrivals, mut next, mut now) = (vec![None; packets.len()], 0, Duration::ZERO);
        loop {
            if this.queue.is_empty() {
                let Some((at, _)) = packets.get(next) else { return arrivals };
                now = now.max(*at);
            }
            // What comes at the very end of a packet comes after it.
            while packets.get(next).is_some_and(|(at, _)| *at < now || this.queue.is_empty() && *at <= now) {
                this.queue.push_back((next, packets[next].0));
                next += 1;
            }
            if let Some((number, _)) = this.deque(now) {
                now += time;
                arrivals[number] = Some(now);
            }
        }
    }

    fn dodeque(&mut self, now: Duration) -> (Option<(usize, Duration)>, bool) {
        let packet = self.queue.pop_front();
        let Some((_, tstamp)) = packet else {
            self.first_above_time = Duration::ZERO;
            return (None, false);
        };
        if now - tstamp < TARGET || self.queue.len() * SIZE <= 1500 {
            self.first_above_time = Duration::ZERO;
            return (packet, false);
        }
        if self.first_above_time.is_zero() {
            self.first_above_time = now + INTERVAL;
            return (packet, false);
        }
        (packet, now >= self.first_above_time)
    }

    fn control_law(t: Duration, count: u32) -> Duration {
        t + INTERVAL.div_f64(f64::from(count).sqrt())
    }

    fn deque(&mut self, now: Duration) -> Option<(usize, Duration)> {
        let (mut packet, mut ok_to_drop) = self.dodeque(now);
        if self.dropping {
            if !ok_to_drop {
                self.dropping = false;
            }
            while now >= self.drop_next && self.dropping {
                self.count += 1;
                (packet, ok_to_drop) = self.dodeque(now);
                if ok_to_drop {
                    self.drop_next = Self::control_law(self.drop_next, self.count);
                } else {
                    self.dropping = false;
                }
            }
        } else if ok_to_drop {
            (packet, _) = self.dodeque(now);
            self.dropping = true;
            let delta = self.count - self.lastcount;
            self.count = if delta > 1 && now < self.drop_next + 16 * INTERVAL { delta } else { 1 };
            self.drop_next = Self::control_law(now, self.count);
            self.lastcount = self.count;
        }
        packet
    }
}

#[test]
fn codel_keeps_a_standing_queue_at_its_target() {
    // A tenth more than the link carries, for a minute.
    let rate = BitRate::per_second(10_000_000);
    let packets: Vec<_> = (0..66_000).map(|number| (us(number * 909), SIZE)).collect();
    let link = |discipline| LinkSpec { rate, discipline, queue: ByteSize(1_000_000), ..LinkSpec::default() };
    let wait = |discipline| {
        let (arrivals, world) = replay(link(discipline), &packets);
        let late = arrivals.iter().zip(&packets).skip(60_000);
        let waits = late.filter_map(|(arrival, (sent, _))| Some((*arrival)? - *sent));
        (waits.max().expect("some arrive"), world)
    };
    let (full, _) = wait(QueueDiscipline::DropTail);
    assert!(full > ms(790), "{full:?}");
    let (short, world) = wait(QueueDiscipline::CoDel(CoDelSpec::default()));
    assert!(short < ms(60), "{short:?}");
    assert!(world.dropped("left", Direction::Up, DropCause::CoDel) > 4_000);
    assert_eq!(world.dropped("left", Direction::Up, DropCause::QueueFull), 0);
}

fn change(world: &mut World, link: LinkSpec) {
    let network = world.plan.network("a").expect("a network");
    world
        .change(Change::Link { network, direction: Direction::Up, link: Box::new(link) })
        .expect("it is sound");
}

#[test]
fn what_waits_meets_the_new_rate_and_so_does_the_rest_of_what_is_sent() {
    let rate =
        |megabit: u64| LinkSpec { rate: BitRate::per_second(megabit * 1_000_000), ..LinkSpec::default() };
    let mut world = World::new(one_link(rate(1)), 1);
    for _ in 0..3 {
        world.send("left", 1, world.ipv4("right", 2), &[0; SIZE - OVERHEAD]);
    }
    // 1250 bytes take 10 ms; half of the first one has left.
    world.run(ms(5));
    change(&mut world, rate(10));
    world.run(s(1));
    let at: Vec<_> = world.take().iter().map(|delivery| delivery.at - LINK_DELAY).collect();
    assert_eq!(at, [us(5_500), us(6_500), us(7_500)]);
    world.send("left", 1, world.ipv4("right", 2), &[0; SIZE - OVERHEAD]);
    world.send("left", 1, world.ipv4("right", 2), &[0; SIZE - OVERHEAD]);
    change(&mut world, LinkSpec::default());
    let now = world.now;
    world.run(s(1));
    let at: Vec<_> = world.take().iter().map(|delivery| delivery.at - LINK_DELAY).collect();
    assert_eq!(at, [now; 2], "without a rate nothing waits");
}

#[test]
fn a_trace_can_take_over_and_goes_on_when_it_is_named_again() {
    let mut world = World::new(one_link(LinkSpec { rate: BitRate::per_second(8), ..LinkSpec::default() }), 1);
    world.send("left", 1, world.ipv4("right", 2), &[0; SIZE - OVERHEAD]);
    world.run(s(1));
    let trace = LinkSpec { trace: Some(parse(&[7, 50])), ..LinkSpec::default() };
    change(&mut world, trace.clone());
    world.run(ms(3));
    change(&mut world, LinkSpec { delay: ms(1), ..trace });
    world.run(s(1));
    assert_eq!(world.take()[0].at - LINK_DELAY, s(1) + ms(8));
}

#[test]
fn a_shorter_delay_keeps_the_order() {
    let mut world = World::new(one_link(LinkSpec::with_delay(ms(100))), 1);
    world.send("left", 1, world.ipv4("right", 2), b"first");
    change(&mut world, LinkSpec::with_delay(ms(1)));
    world.send("left", 1, world.ipv4("right", 2), b"second");
    world.run(s(1));
    let all = world.take();
    assert_eq!(all.iter().map(|delivery| delivery.at - LINK_DELAY).collect::<Vec<_>>(), [ms(100); 2]);
    assert_eq!(all[1].udp().2, b"second");
}

#[test]
fn an_unsound_link_is_refused_and_changes_nothing() {
    let mut world = World::new(one_link(LinkSpec::with_delay(ms(3))), 1);
    let network = world.plan.network("a").expect("a network");
    let link =
        Box::new(LinkSpec { rate: BitRate::per_second(1), trace: Some(parse(&[1])), ..LinkSpec::default() });
    let refused = world.change(Change::Link { network, direction: Direction::Up, link });
    assert_eq!(
        refused.unwrap_err().to_string(),
        "a link of `a` has a rate and a trace; only one of them can pace it"
    );
    let (network, link) = (NetworkId(9), Box::default());
    let refused = world.change(Change::Link { network, direction: Direction::Up, link });
    assert_eq!(refused, Err(ChangeError::UnknownNetwork(NetworkId(9))));
    world.send("left", 1, world.ipv4("right", 2), b"");
    assert_eq!(world.take_one("right").at, ms(3) + LINK_DELAY);
}

#[test]
fn the_state_of_a_link_is_what_has_passed_waits_and_was_dropped() {
    let rate = BitRate::per_second(80_000);
    let mut world = World::new(one_link(LinkSpec { rate, queue: ByteSize(2500), ..LinkSpec::default() }), 1);
    let (left, right) = (world.port("left"), world.ipv4("right", 2));
    let state = |world: &World, direction| {
        let states = world.network.link_states();
        let of = |state: &&LinkState| state.port == left && state.direction == direction;
        let LinkState { network, bytes, queue_bytes, drops, .. } = *states.iter().find(of).expect("a link");
        assert_eq!(network, world.plan.network("a"));
        (bytes, queue_bytes, drops)
    };
    for _ in 0..4 {
        world.send("left", 1, right, &[0; 1000 - OVERHEAD]);
    }
    assert_eq!(state(&world, Direction::Up), (0, 2000, 2));
    // 1000 bytes take 100 ms.
    world.run(ms(150));
    assert_eq!(state(&world, Direction::Up), (1000, 1000, 2));
    world.run(s(1));
    assert_eq!(state(&world, Direction::Up), (2000, 0, 2));
    assert_eq!(state(&world, Direction::Down), (0, 0, 0));
}
