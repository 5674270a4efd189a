//! What a packet draws on a link: counted, so that its draws depend on the seed, the link and its number there alone.

use crate::{
    GilbertElliott, JitterDistribution, LinkSpec, Loss,
    normal::{quantile as normal_quantile, uniform},
};
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

    /// The next packet is the first.
    pub(crate) fn restart(&mut self) {
        self.offered = 0;
        self.restart_loss();
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

fn pareto_normal_quantile(probability: f64) -> f64 {
    // Shape 3 and scale 1: mean 3/2, variance 3/4.
    let pareto = 1.0 / libm::cbrt(1.0 - probability);
    let quantile = 0.25 * normal_quantile(probability) + 0.75 * (pareto - 1.5) / libm::sqrt(0.75);
    // Beyond this is one packet in more than a billion; without a bound a draw might be years.
    quantile.min(1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_all_are_below_the_median() {
        let median = 0.75 * (2_f64.cbrt() - 1.5) / 0.75_f64.sqrt();
        assert!((pareto_normal_quantile(0.5) - median).abs() < 1e-9);
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
