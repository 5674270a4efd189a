//! Mahimahi's traces: when a link may deliver how much.
//!
//! A trace is a text of one number a line, the millisecond of a delivery opportunity, never falling; several in one
//! millisecond stand in several lines. What they mean is what `mm-link` does (Netravali et al., USENIX ATC 2015):
//!
//! * An opportunity carries up to 1500 bytes of what waits, byte by byte: several small packets fit into one, and a
//!   packet that does not fit goes on in the next. It is delivered when its last byte is.
//! * What an opportunity could carry and nobody needs is lost, and a packet never uses an opportunity of the very
//!   instant at which it came.
//! * After the last opportunity the trace begins again: the last number is its length, added to all numbers.
//!
//! Two things differ: time has no steps of a millisecond here, so a packet waits exactly until its opportunity; and a
//! packet that is partly delivered still takes its room in the queue.

mod channel;

pub use channel::{Channel, Departure, Fading, Handovers, Outages};

use std::{sync::Arc, time::Duration};
use thiserror::Error;

/// When a link may deliver: a Mahimahi trace that was found to be sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Milliseconds, never falling, the last one not 0.
    opportunities: Arc<[u32]>,
}

/// Why something is no trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("line {line}: {problem}")]
pub struct TraceError {
    /// Where, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: TraceProblem,
}

/// What is wrong with a line of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TraceProblem {
    /// A line with nothing in it.
    #[error("empty")]
    Empty,
    /// Something else than decimal digits.
    #[error("not a whole number of milliseconds")]
    NotANumber,
    /// Beyond [`Trace::LONGEST`].
    #[error("later than {} ms", Trace::LONGEST.as_millis())]
    TooLate,
    /// Earlier than the line before.
    #[error("earlier than the line before")]
    Falling,
    /// More than [`Trace::MOST_LINES`].
    #[error("more than {} opportunities", Trace::MOST_LINES)]
    TooMany,
    /// The end came before any opportunity.
    #[error("no opportunity")]
    NoOpportunity,
    /// All opportunities are at 0, so that the trace takes no time.
    #[error("the trace takes no time")]
    NoDuration,
}

impl Trace {
    /// What one opportunity carries, in bytes of IP packets.
    pub const OPPORTUNITY: u64 = 1500;
    /// No trace is longer than four weeks.
    pub const LONGEST: Duration = Duration::from_secs(28 * 24 * 60 * 60);
    /// No trace has more opportunities.
    pub const MOST_LINES: usize = 50_000_000;

    /// Reads a trace. The last line may end with a line feed or not; carriage returns before line feeds are borne.
    pub fn parse(text: &[u8]) -> Result<Self, TraceError> {
        let text = text.strip_suffix(b"\n").unwrap_or(text);
        let mut opportunities = Vec::new();
        if !text.is_empty() {
            for (index, line) in text.split(|byte| *byte == b'\n').enumerate() {
                let at = |problem| TraceError { line: index + 1, problem };
                let time = parse_line(line).map_err(at)?;
                if opportunities.last().is_some_and(|last| time < *last) {
                    return Err(at(TraceProblem::Falling));
                }
                if index >= Self::MOST_LINES {
                    return Err(at(TraceProblem::TooMany));
                }
                opportunities.push(time);
            }
        }
        let line = opportunities.len().max(1);
        Self::of(opportunities).map_err(|problem| TraceError { line, problem })
    }

    /// Takes opportunities that never fall.
    fn of(opportunities: Vec<u32>) -> Result<Self, TraceProblem> {
        match opportunities.last() {
            None => Err(TraceProblem::NoOpportunity),
            Some(0) => Err(TraceProblem::NoDuration),
            Some(_) => Ok(Self { opportunities: opportunities.into() }),
        }
    }

    /// The milliseconds of one round.
    pub fn opportunities(&self) -> &[u32] {
        &self.opportunities
    }

    /// How long one round takes.
    pub fn duration(&self) -> Duration {
        Duration::from_millis(self.period())
    }

    /// What one round carries at most, in bits per second.
    pub fn mean_bits_per_second(&self) -> u64 {
        self.len() * Self::OPPORTUNITY * 8 * 1000 / self.period()
    }

    /// As a file that [`Trace::parse`] and Mahimahi read.
    pub fn to_text(&self) -> String {
        self.opportunities.iter().map(|time| format!("{time}\n")).collect()
    }

    /// When the opportunity of this number, counted through all rounds, comes after the trace began.
    pub(crate) fn time_of(&self, number: u64) -> Duration {
        let (round, index) = (number / self.len(), (number % self.len()) as usize);
        let within = self.opportunities.get(index).copied().unwrap_or(0);
        Duration::from_millis((round * self.period()).saturating_add(within.into()))
    }

    /// The number of the first opportunity that comes later than this after the trace began.
    pub(crate) fn first_after(&self, elapsed: Duration) -> u64 {
        let milliseconds = elapsed.as_millis() as u64;
        // What is at the very end of a round belongs to it and not to the next.
        let round = milliseconds.saturating_sub(1) / self.period();
        let within = milliseconds - round * self.period();
        let passed = self.opportunities.partition_point(|time| u64::from(*time) <= within);
        let number = round * self.len() + passed as u64;
        // The next round may begin with opportunities at the very end of this one.
        let at_its_start = self.opportunities.partition_point(|time| *time == 0) as u64;
        if within == self.period() { number + at_its_start } else { number }
    }

    fn len(&self) -> u64 {
        self.opportunities.len() as u64
    }

    fn period(&self) -> u64 {
        self.opportunities.last().copied().unwrap_or(1).into()
    }
}

fn parse_line(line: &[u8]) -> Result<u32, TraceProblem> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.is_empty() {
        return Err(TraceProblem::Empty);
    }
    let mut value = 0_u64;
    for digit in line {
        if !digit.is_ascii_digit() {
            return Err(TraceProblem::NotANumber);
        }
        value = value.saturating_mul(10).saturating_add(u64::from(digit - b'0'));
    }
    let too_late = u128::from(value) > Trace::LONGEST.as_millis();
    if too_late { Err(TraceProblem::TooLate) } else { Ok(value as u32) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn trace(text: &str) -> Trace {
        Trace::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_is_read_as_mahimahi_reads_it() {
        assert_eq!(trace("0\n5\n5\n12\n").opportunities(), [0, 5, 5, 12]);
        assert_eq!(trace("7").opportunities(), [7]);
        assert_eq!(trace("7\r\n9\r\n").opportunities(), [7, 9]);
        assert_eq!(trace("3\n4\n").mean_bits_per_second(), 2 * 12_000 * 1000 / 4);
    }

    #[test]
    fn problems_name_their_line() {
        for (text, message) in [
            ("", "line 1: no opportunity"),
            ("\n", "line 1: no opportunity"),
            ("1\n\n2\n", "line 2: empty"),
            ("1\n2\n\n", "line 3: empty"),
            ("1\nx\n", "line 2: not a whole number of milliseconds"),
            ("-1\n", "line 1: not a whole number of milliseconds"),
            ("1.5\n", "line 1: not a whole number of milliseconds"),
            (" 1\n", "line 1: not a whole number of milliseconds"),
            ("5\n4\n", "line 2: earlier than the line before"),
            ("0\n0\n", "line 2: the trace takes no time"),
            ("2419200001\n", "line 1: later than 2419200000 ms"),
            ("99999999999999999999999\n", "line 1: later than 2419200000 ms"),
        ] {
            assert_eq!(Trace::parse(text.as_bytes()).unwrap_err().to_string(), message, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_trace_or_an_error(text: Vec<u8>) {
            if let Ok(trace) = Trace::parse(&text) {
                prop_assert_eq!(Trace::parse(trace.to_text().as_bytes()), Ok(trace));
            }
        }

        #[test]
        fn the_first_opportunity_after_a_time_is_found(
            mut times in prop::collection::vec(0..40_u32, 1..12),
            last in 1..9_u32,
            elapsed_us in 0..400_000_u64,
        ) {
            times.sort_unstable();
            times.push(times.last().unwrap_or(&0) + last);
            let trace = Trace::of(times).unwrap();
            let elapsed = Duration::from_micros(elapsed_us);
            let expected = (0..).find(|number| trace.time_of(*number) > elapsed).unwrap();
            prop_assert_eq!(trace.first_after(elapsed), expected);
        }
    }
}
