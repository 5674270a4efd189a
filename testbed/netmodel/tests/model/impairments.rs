//! Jitter, loss, duplication and reordering, against closed forms. Seeds are fixed; each bound says with which
//! probability a right model would break it for another seed.

use crate::common::*;
use netmodel::*;
use std::time::Duration;

const DELAY: Duration = Duration::from_millis(100);

fn probability(percent: f64) -> Probability {
    Probability::percent(percent).expect("a percentage")
}

/// The delays of packets that each came once.
fn delays(link: LinkSpec, count: u32, seed: u64) -> Vec<Duration> {
    let mut world = World::new(one_link(link), seed);
    let taken = world.stream(count, 100, ms(1));
    taken.iter().map(|times| *times.first().expect("it came")).collect()
}

/// Which packets were lost.
fn losses(loss: Loss, count: u32, seed: u64) -> Vec<bool> {
    let mut world = World::new(one_link(LinkSpec { loss, ..LinkSpec::default() }), seed);
    world.stream(count, 100, ms(1)).iter().map(Vec::is_empty).collect()
}

/// The largest distance between the distribution of the samples and the one that is claimed, times the root of their
/// number (Kolmogorov-Smirnov).
fn distance(mut samples: Vec<f64>, distribution: impl Fn(f64) -> f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let count = samples.len() as f64;
    let gaps = samples.iter().enumerate().map(|(index, sample)| {
        let claimed = distribution(*sample);
        (claimed - index as f64 / count).abs().max(((index + 1) as f64 / count - claimed).abs())
    });
    gaps.fold(0.0, f64::max) * count.sqrt()
}

/// Exceeded with probability 2 exp(-2 * 2.6^2) = 3e-6.
const KOLMOGOROV: f64 = 2.6;
/// Standard deviations; exceeded with probability 6e-7.
const SIGMAS: f64 = 5.0;

fn normal(x: f64) -> f64 {
    0.5 * libm::erfc(-x / 2_f64.sqrt())
}

/// By bisection over the quantile of its normal part, since it has no closed form.
fn pareto_normal(x: f64) -> f64 {
    let quantile = |z: f64| 0.25 * z + 0.75 * (1.0 / libm::cbrt(normal(-z)) - 1.5) / 0.75_f64.sqrt();
    let (mut low, mut high) = (-8.0, 8.0);
    for _ in 0..50 {
        let middle = (low + high) / 2.0;
        if quantile(middle) < x { low = middle } else { high = middle }
    }
    normal(low)
}

#[test]
fn jitter_is_distributed_as_it_says() {
    let size = ms(10);
    let link = |jitter_distribution| LinkSpec {
        jitter: size,
        jitter_distribution,
        order: Order::Free,
        ..LinkSpec::with_delay(DELAY)
    };
    let deviations = |distribution| -> Vec<f64> {
        let delays = delays(link(distribution), 20_000, 3);
        delays.iter().map(|delay| (delay.as_secs_f64() - DELAY.as_secs_f64()) / size.as_secs_f64()).collect()
    };
    let uniform = distance(deviations(JitterDistribution::Uniform), |x| x.clamp(0.0, 1.0));
    assert!(uniform < KOLMOGOROV, "uniform: {uniform}");
    let gaussian = distance(deviations(JitterDistribution::Normal), normal);
    assert!(gaussian < KOLMOGOROV, "normal: {gaussian}");
    let heavy = distance(deviations(JitterDistribution::ParetoNormal), pareto_normal);
    assert!(heavy < KOLMOGOROV, "Pareto-normal: {heavy}");
    // And each is none of the others.
    assert!(distance(deviations(JitterDistribution::ParetoNormal), normal) > 10.0);
}

#[test]
fn order_is_kept_or_not() {
    let link = |order| LinkSpec { jitter: ms(20), order, ..LinkSpec::with_delay(DELAY) };
    let inversions = |order| {
        let delays = delays(link(order), 2_000, 1);
        let arrivals: Vec<_> = (0..).map(ms).zip(delays).map(|(sent, delay)| sent + delay).collect();
        arrivals.windows(2).filter(|pair| pair[1] < pair[0]).count()
    };
    assert_eq!(inversions(Order::Kept), 0);
    // Two neighbours swap with probability 0.45.
    assert!((700..1100).contains(&inversions(Order::Free)));
}

#[test]
fn a_delay_is_never_negative() {
    let link = LinkSpec {
        jitter: ms(50),
        jitter_distribution: JitterDistribution::Normal,
        order: Order::Free,
        ..LinkSpec::with_delay(ms(10))
    };
    // Below -0.2 standard deviations: 42 % of all.
    let at_once = delays(link, 2_000, 1).iter().filter(|delay| delay.is_zero()).count();
    assert!((730..950).contains(&at_once), "{at_once}");
}

#[test]
fn independent_losses_are_binomial_and_independent() {
    const COUNT: u32 = 50_000;
    for (percent, seed) in [(1.0, 1), (20.0, 2)] {
        let lost = losses(Loss::Independent(probability(percent)), COUNT, seed);
        let within = |hits: usize, trials: f64, p: f64| {
            let bound = SIGMAS * (trials * p * (1.0 - p)).sqrt();
            assert!((hits as f64 - trials * p).abs() < bound, "{hits} of {trials} at {p}");
        };
        let p = percent / 100.0;
        within(lost.iter().filter(|lost| **lost).count(), f64::from(COUNT), p);
        // After a loss the next one is as likely as ever.
        let after: Vec<_> = lost.windows(2).filter(|pair| pair[0]).collect();
        within(after.iter().filter(|pair| pair[1]).count(), after.len() as f64, p);
    }
}

/// Lengths of runs of lost and of other packets; the unfinished last one is left out.
fn runs(lost: &[bool]) -> (Vec<f64>, Vec<f64>) {
    let mut lengths = (Vec::new(), Vec::new());
    for run in lost.chunk_by(|one, next| one == next).rev().skip(1) {
        if run[0] { lengths.0.push(run.len() as f64) } else { lengths.1.push(run.len() as f64) }
    }
    lengths
}

fn assert_geometric(lengths: &[f64], end: f64) {
    let count = lengths.len() as f64;
    let mean = lengths.iter().sum::<f64>() / count;
    let bound = SIGMAS * ((1.0 - end) / (end * end) / count).sqrt();
    assert!((mean - 1.0 / end).abs() < bound, "mean {mean} for {end}");
    // The share of those that last longer than the mean.
    let longer = lengths.iter().filter(|length| **length > (1.0 / end).floor()).count() as f64 / count;
    let expected = (1.0 - end).powf((1.0 / end).floor());
    assert!((longer - expected).abs() < SIGMAS * (expected * (1.0 - expected) / count).sqrt(), "{longer}");
}

#[test]
fn bursts_of_losses_are_those_of_the_chain() {
    let chain = GilbertElliott {
        to_bad: probability(1.0),
        to_good: probability(25.0),
        loss_in_good: Probability::NEVER,
        loss_in_bad: Probability::ALWAYS,
    };
    let lost = losses(Loss::GilbertElliott(chain), 60_000, 4);
    let (bursts, gaps) = runs(&lost);
    assert!(bursts.len() > 400, "{}", bursts.len());
    assert_geometric(&bursts, 0.25);
    assert_geometric(&gaps, 0.01);
}

#[test]
fn states_of_the_chain_have_their_own_losses() {
    let chain = GilbertElliott {
        to_bad: probability(50.0),
        to_good: probability(50.0),
        loss_in_good: probability(10.0),
        loss_in_bad: probability(30.0),
    };
    // Half of the time in each, and no memory: as if independent at 20 %.
    const COUNT: f64 = 40_000.0;
    let lost =
        losses(Loss::GilbertElliott(chain), COUNT as u32, 5).iter().filter(|lost| **lost).count() as f64;
    assert!((lost - COUNT * 0.2).abs() < SIGMAS * (COUNT * 0.2 * 0.8).sqrt(), "{lost}");
}

#[test]
fn a_pattern_repeats_itself() {
    let pattern = LossPattern::new([true, false, false, true, false]).expect("a pattern");
    let lost = losses(Loss::Pattern(pattern), 17, 1);
    let expected: Vec<_> = (0..17).map(|number| matches!(number % 5, 0 | 3)).collect();
    assert_eq!(lost, expected);
    assert_eq!(LossPattern::new([]), None);
}

#[test]
fn losses_are_counted_and_take_no_rate() {
    let link = LinkSpec {
        loss: Loss::Pattern(LossPattern::new([true, false]).expect("a pattern")),
        rate: BitRate::per_second(800_000),
        ..LinkSpec::default()
    };
    let mut world = World::new(one_link(link), 1);
    for _ in 0..4 {
        world.send("left", 1, world.ipv4("right", 2), &[0; 1000 - OVERHEAD]);
    }
    world.run(s(1));
    let at: Vec<_> = world.take().iter().map(|delivery| delivery.at).collect();
    assert_eq!(at, [ms(10) + LINK_DELAY, ms(20) + LINK_DELAY]);
    assert_eq!(world.causes(), [DropCause::Lost; 2]);
    assert_eq!(world.dropped("left", Direction::Up, DropCause::Lost), 2);
}

#[test]
fn copies_follow_their_originals() {
    const COUNT: u32 = 20_000;
    let link = LinkSpec { duplicate: probability(5.0), ..LinkSpec::with_delay(DELAY) };
    let mut world = World::new(one_link(link), 6);
    let taken = world.stream(COUNT, 100, ms(1));
    assert!(taken.iter().flatten().all(|delay| *delay == DELAY));
    let twice = taken.iter().filter(|times| times.len() == 2).count();
    assert!(taken.iter().all(|times| [1, 2].contains(&times.len())));
    let expected = f64::from(COUNT) * 0.05;
    assert!((twice as f64 - expected).abs() < SIGMAS * (expected * 0.95).sqrt(), "{twice}");
    let counts = world.network.counts();
    assert_eq!((counts[0].duplicated, counts[0].packets), (twice as u64, u64::from(COUNT) + twice as u64));
}

#[test]
fn what_is_held_back_is_overtaken() {
    const COUNT: u32 = 20_000;
    let by = Duration::from_micros(2_500);
    let reorder = Some(Reorder { probability: probability(2.0), by });
    let delays = delays(LinkSpec { reorder, ..LinkSpec::with_delay(DELAY) }, COUNT, 7);
    assert!(delays.iter().all(|delay| [DELAY, DELAY + by].contains(delay)));
    let held = delays.iter().filter(|delay| **delay == DELAY + by).count() as f64;
    let expected = f64::from(COUNT) * 0.02;
    assert!((held - expected).abs() < SIGMAS * (expected * 0.98).sqrt(), "{held}");
}

/// Everything that is drawn, on every link.
fn impaired() -> Topology {
    let mut topology = topology();
    for network in &mut topology.networks {
        let link = LinkSpec {
            jitter: ms(7),
            jitter_distribution: JitterDistribution::ParetoNormal,
            loss: Loss::GilbertElliott(GilbertElliott {
                to_bad: probability(10.0),
                to_good: probability(40.0),
                loss_in_good: probability(1.0),
                loss_in_bad: probability(70.0),
            }),
            duplicate: probability(5.0),
            reorder: Some(Reorder { probability: probability(5.0), by: ms(15) }),
            ..LinkSpec::with_delay(ms(10))
        };
        (network.up, network.down) = (link.clone(), link);
    }
    topology
}

/// Steady traffic of three hosts; `extra` makes `carol` send one packet more.
fn trace(seed: u64, extra: bool) -> (Vec<Delivery>, Vec<(Duration, NetworkEvent)>) {
    let mut world = World::new(impaired(), seed);
    for step in 0..200 {
        for name in ["alice", "bob", "dave"] {
            world.send(name, 5000, world.ipv4("meet", 3478), &[step]);
        }
        if extra && step == 3 {
            world.send("carol", 5000, world.ipv4("control", 9), b"one more");
        }
        world.run(ms(10));
    }
    world.run(s(1));
    (world.take(), world.events)
}

#[test]
fn the_same_seed_draws_the_same_bit_for_bit() {
    assert_eq!(trace(5, false), trace(5, false));
    assert_ne!(trace(5, false), trace(6, false));
}

#[test]
fn a_seed_draws_the_same_on_every_machine() {
    let lost = losses(Loss::Independent(probability(30.0)), 64, 1);
    let bits: String = lost.iter().map(|lost| if *lost { 'x' } else { '.' }).collect();
    assert_eq!(bits, "x..x..x.x.x..x..x...x..x...x..x........x...........x...........x");
    let link = LinkSpec {
        jitter: ms(10),
        jitter_distribution: JitterDistribution::ParetoNormal,
        order: Order::Free,
        ..LinkSpec::with_delay(DELAY)
    };
    let delays: Vec<_> = delays(link, 4, 1).iter().map(Duration::as_nanos).collect();
    assert_eq!(delays, [96_674_408, 107_193_243, 134_611_198, 91_677_331]);
}

#[test]
fn one_more_packet_changes_no_draw_of_others() {
    let others = |extra| {
        let (mut deliveries, mut events) = trace(5, extra);
        deliveries.retain(|delivery| !delivery.packet.ends_with(b"one more"));
        // The port that carol is given is told, and that is all.
        events.retain(|(_, event)| match event {
            NetworkEvent::Mapping { inside, .. } => !inside.ip().to_string().ends_with(".3"),
            NetworkEvent::Dropped { .. } => true,
        });
        // Packets are counted in the order in which they come.
        for (_, event) in &mut events {
            if let NetworkEvent::Dropped { number, .. } = event {
                *number = None;
            }
        }
        (deliveries, events)
    };
    assert_eq!(others(true), others(false));
}

#[test]
fn changing_one_impairment_moves_no_draw_of_another() {
    let lossy = Loss::Independent(probability(10.0));
    let plain = LinkSpec { loss: lossy, ..LinkSpec::with_delay(DELAY) };
    let more = LinkSpec { jitter: ms(5), duplicate: probability(10.0), ..plain.clone() };
    let lost = |link: LinkSpec| -> Vec<bool> {
        let mut world = World::new(one_link(link), 9);
        world.stream(2_000, 100, ms(1)).iter().map(Vec::is_empty).collect()
    };
    assert_eq!(lost(plain), lost(more));
}
