//! Traces from a model of a radio channel, where no recording is at hand or may be shipped.
//!
//! The rate is a product of factors, looked at every 10 ms:
//!
//! * **Fading**: mean * exp(s x - s^2 / 2), where x is a stationary Gauss-Markov process of mean 0, variance 1 and
//!   correlation exp(-t / coherence). So the rate is log-normal and its mean is the mean (a usual model of shadowing;
//!   Gudmundson, Electronics Letters 1991, for its correlation).
//! * **Outages**: none and all of the rate in turn, each for an exponentially distributed time (Gilbert's channel in
//!   continuous time).
//! * **Departure**: walking away at a constant speed. The signal falls by the logarithm of the distance (ITU-R P.1238) and
//!   at a wall; the rate is what Shannon's formula leaves of the one at the start, and nothing below a floor.
//! * **Handovers**: nothing for a fixed time, at exponentially distributed intervals.
//!
//! The figures of the presets are round numbers in the range of what drive tests tell (Winstein et al., "Stochastic
//! Forecasts Achieve High Throughput and Low Delay over Cellular Networks", NSDI 2013; handover interruption about 50 ms:
//! 3GPP TR 36.881). They are assumptions, not fits: no recording is behind them.

use super::{Trace, TraceProblem};
use crate::{
    BitRate,
    normal::{quantile, uniform},
};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::time::Duration;

/// A radio channel. All its parts are optional but the mean.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Channel {
    /// Mean rate while there is neither outage nor departure nor handover.
    pub mean: BitRate,
    /// How the rate varies.
    pub fading: Option<Fading>,
    /// When there is no signal.
    pub outages: Option<Outages>,
    /// Leaving the range of the access point.
    pub departure: Option<Departure>,
    /// Changing from one base station to the next.
    pub handovers: Option<Handovers>,
}

/// How the rate of a channel varies.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fading {
    /// s: standard deviation of the rate's natural logarithm.
    pub spread: f64,
    /// After this time 1/e of the correlation is left.
    pub coherence: Duration,
}

/// When there is no signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Outages {
    /// Mean time from the end of one to the beginning of the next.
    pub every: Duration,
    /// Mean time that one lasts.
    pub lasting: Duration,
}

/// Walking away from an access point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Departure {
    /// When the walk begins.
    pub after: Duration,
    /// Distance at the start in metres.
    pub from: f64,
    /// Metres a second.
    pub speed: f64,
    /// Signal above noise at 1 m in decibels.
    pub signal_at_1m: f64,
    /// How much of it is lost for each factor of ten in distance, in tens of decibels (2 in free space).
    pub exponent: f64,
    /// Distance of a wall in metres, and what it takes in decibels.
    pub wall: Option<(f64, f64)>,
    /// Below this signal in decibels nothing passes.
    pub floor: f64,
}

/// Changing from one base station to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Handovers {
    /// Mean time from one to the next.
    pub every: Duration,
    /// How long nothing passes.
    pub gap: Duration,
}

/// How often the rate is looked at.
const STEP: u64 = 10;

const fn megabit(rate: u64) -> BitRate {
    match BitRate::per_second(rate * 1_000_000) {
        Some(rate) => rate,
        None => panic!("a rate of zero"),
    }
}

impl Channel {
    /// LTE of somebody who stands still.
    pub const LTE_STANDING: Self = Self {
        fading: Some(Fading { spread: 0.25, coherence: Duration::from_secs(2) }),
        ..Self::steady(megabit(20))
    };

    /// LTE of somebody who walks.
    pub const LTE_WALKING: Self = Self {
        fading: Some(Fading { spread: 0.6, coherence: Duration::from_secs(1) }),
        outages: Some(Outages { every: Duration::from_secs(60), lasting: Duration::from_millis(150) }),
        ..Self::steady(megabit(12))
    };

    /// LTE in a car.
    pub const LTE_DRIVING: Self = Self {
        fading: Some(Fading { spread: 0.9, coherence: Duration::from_millis(400) }),
        outages: Some(Outages { every: Duration::from_secs(40), lasting: Duration::from_millis(400) }),
        handovers: Some(Handovers { every: Duration::from_secs(30), gap: Duration::from_millis(50) }),
        ..Self::steady(megabit(8))
    };

    /// WiFi of somebody who stays 10 s and then leaves the room.
    pub const WIFI_LEAVING_ROOM: Self = Self {
        fading: Some(Fading { spread: 0.3, coherence: Duration::from_millis(200) }),
        departure: Some(Departure {
            after: Duration::from_secs(10),
            from: 2.0,
            speed: 1.2,
            signal_at_1m: 50.0,
            exponent: 3.0,
            wall: Some((5.0, 12.0)),
            floor: 5.0,
        }),
        ..Self::steady(megabit(80))
    };

    /// A steady rate but for handovers.
    pub const HANDOVER: Self = Self {
        handovers: Some(Handovers { every: Duration::from_secs(15), gap: Duration::from_millis(50) }),
        ..Self::steady(megabit(20))
    };

    /// All of these by name.
    pub const PRESETS: [(&'static str, Self); 5] = [
        ("lte-standing", Self::LTE_STANDING),
        ("lte-walking", Self::LTE_WALKING),
        ("lte-driving", Self::LTE_DRIVING),
        ("wifi-leaving-room", Self::WIFI_LEAVING_ROOM),
        ("handover", Self::HANDOVER),
    ];

    /// A channel whose rate never changes.
    pub const fn steady(mean: BitRate) -> Self {
        Self { mean, fading: None, outages: None, departure: None, handovers: None }
    }

    /// A trace of this channel: the same for the same seed on every machine. Its last opportunity is always at its end,
    /// so that it takes this long; refused when that is no whole millisecond or the trace would be too large.
    pub fn trace(&self, seed: u64, duration: Duration) -> Result<Trace, TraceProblem> {
        let milliseconds = u32::try_from(duration.as_millis()).unwrap_or(u32::MAX);
        if duration > Trace::LONGEST {
            return Err(TraceProblem::TooLate);
        }
        let mut sampler = Sampler::new(self, seed);
        let mut opportunities: Vec<u32> = Vec::new();
        let mut bytes = 0.0;
        for time in 0..milliseconds {
            if u64::from(time).is_multiple_of(STEP) {
                sampler.step(u64::from(time));
            }
            bytes += sampler.rate / 8000.0;
            while bytes >= Trace::OPPORTUNITY as f64 {
                if opportunities.len() >= Trace::MOST_LINES {
                    return Err(TraceProblem::TooMany);
                }
                bytes -= Trace::OPPORTUNITY as f64;
                opportunities.push(time + 1);
            }
        }
        if opportunities.last() != Some(&milliseconds) {
            opportunities.push(milliseconds);
        }
        Trace::of(opportunities)
    }
}

/// The channel as time passes.
struct Sampler<'a> {
    channel: &'a Channel,
    draws: ChaCha8Rng,
    /// x of the fading.
    level: f64,
    /// Bits per second in this step.
    rate: f64,
    outage: Alternation,
    handover: Alternation,
}

/// Something that is and is not the case in turn.
struct Alternation {
    is_on: bool,
    until: f64,
}

impl<'a> Sampler<'a> {
    fn new(channel: &'a Channel, seed: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        let level = quantile(uniform(draws.next_u64()));
        let mut first = |mean: Option<Duration>| Alternation {
            is_on: false,
            until: mean.map_or(f64::INFINITY, |mean| exponential(&mut draws, mean)),
        };
        let outage = first(channel.outages.map(|it| it.every));
        let handover = first(channel.handovers.map(|it| it.every));
        Self { channel, draws, level, rate: 0.0, outage, handover }
    }

    /// Moves to a time in milliseconds, one step after the last one.
    fn step(&mut self, time: u64) {
        let seconds = time as f64 / 1000.0;
        let innovation = quantile(uniform(self.draws.next_u64()));
        let factor = self.channel.fading.map_or(1.0, |fading| self.fade(fading, innovation));
        let departed = self.channel.departure.map_or(1.0, |departure| departure.share(seconds));
        if let Some(Outages { every, lasting }) = self.channel.outages {
            self.outage
                .pass(seconds, |is_on| exponential(&mut self.draws, if is_on { lasting } else { every }));
        }
        if let Some(Handovers { every, gap }) = self.channel.handovers {
            self.handover.pass(seconds, |is_on| match is_on {
                true => gap.as_secs_f64(),
                false => exponential(&mut self.draws, every),
            });
        }
        let is_cut = self.outage.is_on || self.handover.is_on;
        let mean = self.channel.mean.bits_per_second() as f64;
        self.rate = if is_cut { 0.0 } else { mean * factor * departed };
    }

    fn fade(&mut self, Fading { spread, coherence }: Fading, innovation: f64) -> f64 {
        let kept = libm::exp(-(STEP as f64 / 1000.0) / coherence.as_secs_f64().max(1e-9));
        self.level = kept * self.level + libm::sqrt(1.0 - kept * kept) * innovation;
        libm::exp(spread * self.level - spread * spread / 2.0)
    }
}

impl Alternation {
    fn pass(&mut self, now: f64, mut lasting: impl FnMut(bool) -> f64) {
        while self.until <= now {
            self.is_on = !self.is_on;
            // A time of zero would never pass.
            self.until += lasting(self.is_on).max(1e-6);
        }
    }
}

impl Departure {
    /// What is left of the rate at a time in seconds.
    fn share(&self, seconds: f64) -> f64 {
        let walked = (seconds - self.after.as_secs_f64()).max(0.0) * self.speed;
        let signal = self.signal(self.from + walked);
        if signal < self.floor {
            return 0.0;
        }
        (capacity(signal) / capacity(self.signal(self.from))).min(1.0)
    }

    fn signal(&self, distance: f64) -> f64 {
        let wall = self.wall.filter(|(at, _)| distance > *at).map_or(0.0, |(_, loss)| loss);
        self.signal_at_1m - 10.0 * self.exponent * libm::log10(distance.max(0.1)) - wall
    }
}

/// Shannon's formula, in bits per second and hertz, of a signal in decibels.
fn capacity(signal: f64) -> f64 {
    libm::log2(1.0 + libm::pow(10.0, signal / 10.0))
}

fn exponential(draws: &mut ChaCha8Rng, mean: Duration) -> f64 {
    -libm::log(uniform(draws.next_u64())) * mean.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN_MINUTES: Duration = Duration::from_secs(600);

    fn bits(trace: &Trace, from: u32, to: u32) -> f64 {
        let within = trace.opportunities().iter().filter(|time| (from..to).contains(time)).count();
        within as f64 * 12_000.0
    }

    #[test]
    fn a_steady_channel_is_exact() {
        let trace = Channel::steady(megabit(12)).trace(1, Duration::from_secs(1)).unwrap();
        assert_eq!(trace.opportunities(), (1..=1000).collect::<Vec<_>>());
        assert_eq!(trace.mean_bits_per_second(), 12_000_000);
    }

    #[test]
    fn the_mean_is_the_mean() {
        for (channel, seed) in
            [(Channel::LTE_STANDING, 1), (Channel::LTE_WALKING, 2), (Channel::LTE_DRIVING, 3)]
        {
            let channel = Channel { outages: None, handovers: None, ..channel };
            let trace = channel.trace(seed, TEN_MINUTES).unwrap();
            let Some(Fading { spread, coherence }) = channel.fading else { panic!("it fades") };
            // The variance of a mean over T of a log-normal process is at most (exp(s^2) - 1) 2 coherence / T; five of
            // its roots are exceeded with probability 6e-7.
            let variance = ((spread * spread).exp() - 1.0) * 2.0 * coherence.as_secs_f64() / 600.0;
            let measured = bits(&trace, 0, 600_001) / 600.0 / channel.mean.bits_per_second() as f64;
            assert!((measured - 1.0).abs() < 5.0 * variance.sqrt(), "{measured} for {channel:?}");
        }
    }

    #[test]
    fn outages_take_their_share() {
        let outages = Outages { every: Duration::from_secs(3), lasting: Duration::from_secs(1) };
        let channel = Channel { outages: Some(outages), ..Channel::steady(megabit(12)) };
        let trace = channel.trace(4, TEN_MINUTES).unwrap();
        let share = bits(&trace, 0, 600_001) / 600.0 / 12e6;
        // 150 outages on average: the share of time has a deviation of about 0.025.
        assert!((share - 0.75).abs() < 0.125, "{share}");
    }

    #[test]
    fn handovers_leave_gaps_of_their_length() {
        let trace = Channel::HANDOVER.trace(5, TEN_MINUTES).unwrap();
        let gaps: Vec<_> =
            trace.opportunities().windows(2).map(|pair| pair[1] - pair[0]).filter(|gap| *gap > 1).collect();
        // 40 on average.
        assert!((12..80).contains(&gaps.len()), "{}", gaps.len());
        // Rounded to the steps of 10 ms at both ends; two may overlap.
        assert!(gaps.iter().filter(|gap| !(41..=62).contains(*gap)).count() <= 2, "{gaps:?}");
    }

    #[test]
    fn who_leaves_the_room_loses_the_signal() {
        let trace = Channel::WIFI_LEAVING_ROOM.trace(6, Duration::from_secs(40)).unwrap();
        let rate = |from: u32, to: u32| bits(&trace, from * 1000, to * 1000) / f64::from(to - from);
        let (before, behind_the_wall, gone) = (rate(0, 10), rate(13, 15), rate(30, 40));
        assert!(before > 60e6 && before < 100e6, "{before}");
        assert!(behind_the_wall < before * 0.8, "{behind_the_wall}");
        assert!(gone < 1e4, "{gone}");
        assert_eq!(trace.duration(), Duration::from_secs(40));
    }

    #[test]
    fn a_seed_is_a_trace() {
        let trace = |seed| Channel::LTE_DRIVING.trace(seed, Duration::from_secs(60)).unwrap();
        assert_eq!(trace(1), trace(1));
        assert_ne!(trace(1), trace(2));
        // The same on every machine.
        let sum: u64 = trace(1).opportunities().iter().map(|time| u64::from(*time)).sum();
        assert_eq!((trace(1).opportunities().len(), sum), (36_413, 1_080_690_556));
    }

    #[test]
    fn what_cannot_be_a_trace_is_refused() {
        let steady = Channel::steady(megabit(1));
        assert_eq!(steady.trace(1, Duration::ZERO), Err(TraceProblem::NoDuration));
        assert_eq!(steady.trace(1, Duration::from_secs(10_000_000)), Err(TraceProblem::TooLate));
        let endless = Channel { fading: Some(Fading { spread: 1e9, coherence: Duration::ZERO }), ..steady };
        assert!(
            endless.trace(1, Duration::from_millis(20)).is_ok_and(|trace| trace.opportunities().len() == 1)
        );
    }
}
