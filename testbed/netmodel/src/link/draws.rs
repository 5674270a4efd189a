//! What a packet draws on a link: counted, so that its draws depend on the seed, the link and its number there alone.

use crate::{GilbertElliott, JitterDistribution, LinkSpec, Loss};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::time::Duration;

/// One block of ChaCha's output for each packet.
const WORDS_PER_PACKET: u128 = 16;

/// The draws of one link.
#[derive(Debug)]
pub(crate) struct Source {
    generator: ChaCha8Rng,
    /// Packets offered so far: the number of the next one.
    offered: u64,
    /// Of the Gilbert-Elliott chain.
    is_bad: bool,
    /// Where in its pattern the link is.
    patterned: u64,
}

/// What becomes of one packet.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Fate {
    pub(crate) lost: bool,
    pub(crate) held_back: bool,
    pub(crate) jitter: Jitter,
    /// The jitter of the second copy, if there is one.
    pub(crate) copy: Option<Jitter>,
}

/// A deviation from the delay in nanoseconds; negative for less.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Jitter(i64);

impl Jitter {
    /// The delay of a packet that drew this.
    pub(crate) fn around(self, delay: Duration) -> Duration {
        let size = Duration::from_nanos(self.0.unsigned_abs());
        if self.0 < 0 { delay.saturating_sub(size) } else { delay + size }
    }
}

impl Source {
    /// `number` tells this link and direction from all others.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(seed);
        generator.set_stream(number);
        Self { generator, offered: 0, is_bad: false, patterned: 0 }
    }

    /// Chains and patterns begin anew.
    pub(crate) fn restart_loss(&mut self) {
        self.is_bad = false;
        self.patterned = 0;
    }

    /// The fate of the next packet.
    pub(crate) fn next(&mut self, spec: &LinkSpec) -> Fate {
        let number = self.offered;
        self.offered += 1;
        if !is_random(spec) {
            return Fate { lost: self.is_lost(&spec.loss, 0, 0), ..Fate::default() };
        }
        self.generator.set_word_pos(u128::from(number) * WORDS_PER_PACKET);
        let mut draw = || self.generator.next_u64();
        // Each purpose has its own place in the block, so that none moves another's.
        let (first, loss, chain, duplicate, reorder, second) =
            (draw(), draw(), draw(), draw(), draw(), draw());
        let jitter = |draw| jitter(spec.jitter_distribution, spec.jitter, draw);
        Fate {
            lost: self.is_lost(&spec.loss, chain, loss),
            held_back: spec.reorder.is_some_and(|reorder_spec| reorder_spec.probability.happens(reorder)),
            jitter: jitter(first),
            copy: spec.duplicate.happens(duplicate).then(|| jitter(second)),
        }
    }

    fn is_lost(&mut self, loss: &Loss, chain: u64, draw: u64) -> bool {
        match loss {
            Loss::None => false,
            Loss::Independent(probability) => probability.happens(draw),
            Loss::GilbertElliott(spec) => self.is_lost_in_burst(spec, chain, draw),
            Loss::Pattern(pattern) => {
                let number = self.patterned;
                self.patterned += 1;
                pattern.loses(number)
            }
        }
    }

    fn is_lost_in_burst(&mut self, spec: &GilbertElliott, chain: u64, draw: u64) -> bool {
        let turn = if self.is_bad { spec.to_good } else { spec.to_bad };
        self.is_bad ^= turn.happens(chain);
        let loss = if self.is_bad { spec.loss_in_bad } else { spec.loss_in_good };
        loss.happens(draw)
    }
}

/// A draw takes time; most links need none.
fn is_random(spec: &LinkSpec) -> bool {
    let loses = matches!(spec.loss, Loss::Independent(_) | Loss::GilbertElliott(_));
    loses || !spec.jitter.is_zero() || spec.duplicate != Default::default() || spec.reorder.is_some()
}

fn jitter(distribution: JitterDistribution, size: Duration, draw: u64) -> Jitter {
    let nanoseconds = size.as_nanos() as u64;
    let scaled = |deviation: f64| Jitter((deviation * nanoseconds as f64) as i64);
    match distribution {
        JitterDistribution::Uniform => {
            // The product is below 2^64 * span: its upper half is uniform in 0..span.
            let span = u128::from(nanoseconds) + 1;
            Jitter(((u128::from(draw) * span) >> 64) as i64)
        }
        JitterDistribution::Normal => scaled(normal_quantile(uniform(draw))),
        JitterDistribution::ParetoNormal => scaled(pareto_normal_quantile(uniform(draw))),
    }
}

/// Strictly between 0 and 1: the middle of one of 2^53 equal parts.
fn uniform(draw: u64) -> f64 {
    ((draw >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
}

fn pareto_normal_quantile(probability: f64) -> f64 {
    // Shape 3 and scale 1: mean 3/2, variance 3/4.
    let pareto = 1.0 / libm::cbrt(1.0 - probability);
    let quantile = 0.25 * normal_quantile(probability) + 0.75 * (pareto - 1.5) / libm::sqrt(0.75);
    // Beyond this is one packet in more than a billion; without a bound a draw might be years.
    quantile.min(1000.0)
}

/// The inverse of the standard normal distribution function by Acklam's rational approximation, whose relative error is
/// below 1.2e-9. From `libm`, so that every machine draws the same to the last bit.
fn normal_quantile(probability: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
        1.0,
    ];
    const TAIL: f64 = 0.02425;
    let horner = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, next| sum * x + next);
    let tail = |p: f64| {
        let q = libm::sqrt(-2.0 * libm::log(p));
        horner(&C, q) / horner(&D, q)
    };
    if probability < TAIL {
        tail(probability)
    } else if probability > 1.0 - TAIL {
        -tail(1.0 - probability)
    } else {
        let q = probability - 0.5;
        q * horner(&A, q * q) / horner(&B, q * q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (probability, expected) in [
            (0.5, 0.0),
            (0.841_344_746_068_543, 1.0),
            (0.975, 1.959_963_984_540_054),
            (0.001, -3.090_232_306_167_813),
        ] {
            assert!((normal_quantile(probability) - expected).abs() < 1e-8, "{probability}");
        }
        // Half of all are below (2^(1/3) - 1.5) / sqrt(0.75) of the Pareto part.
        assert!((pareto_normal_quantile(0.5) - 0.75 * (2_f64.cbrt() - 1.5) / 0.75_f64.sqrt()).abs() < 1e-9);
    }

    #[test]
    fn the_pareto_normal_deviation_is_as_documented() {
        const PARTS: u64 = 1 << 20;
        let draws = (0..PARTS).map(|part| pareto_normal_quantile((part as f64 + 0.5) / PARTS as f64));
        let (sum, squares) = draws.fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        let deviation = (squares / PARTS as f64).sqrt();
        assert!((sum / PARTS as f64).abs() < 1e-3, "mean {}", sum / PARTS as f64);
        assert!((0.93..0.94).contains(&deviation), "{deviation}");
    }

    #[test]
    fn jitter_never_makes_a_delay_negative() {
        assert_eq!(Jitter(-2_000_000).around(Duration::from_millis(1)), Duration::ZERO);
        assert_eq!(Jitter(-2_000_000).around(Duration::from_millis(5)), Duration::from_millis(3));
        assert_eq!(Jitter(2_000_000).around(Duration::from_millis(5)), Duration::from_millis(7));
    }
}
