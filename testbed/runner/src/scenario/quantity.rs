//! Numbers with their units, as text and back. A number without its unit is an error that names the units.
//!
//! Formatting is exact: what is written reads back as the same value.

use super::reader::or_none;
use netmodel::{BitRate, ByteSize, Mtu};
use serde::{Serialize, Serializer};
use std::{fmt, str::FromStr, time::Duration};
use thiserror::Error;

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum QuantityError {
    #[error("`{text}` has no unit: write {example}")]
    NoUnit { text: String, example: String },
    #[error("`{unit}` is no unit of {of}: valid are {valid}")]
    UnknownUnit { unit: String, of: &'static str, valid: String },
    #[error("`{text}` is no {of}: write a number and a unit, such as {example}")]
    NoNumber { text: String, of: &'static str, example: &'static str },
    #[error("`{text}` is too large")]
    TooLarge { text: String },
    #[error("`{text}` is finer than {step}")]
    TooFine { text: String, step: &'static str },
    #[error("`{text}` is more than all: write 0% to 100%")]
    MoreThanAll { text: String },
    #[error("{of} cannot be 0")]
    Zero { of: &'static str },
}

/// A kind of quantity: its units in terms of the smallest, coarsest first.
struct Dimension {
    of: &'static str,
    example: &'static str,
    /// What one of the smallest is called, when something finer is asked for.
    step: &'static str,
    units: &'static [(&'static str, u64)],
    /// Further spellings, written only where they save digits.
    aliases: &'static [(&'static str, u64)],
}

const DURATION: Dimension = Dimension {
    of: "duration",
    example: "15s",
    step: "a nanosecond",
    units: &[
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ],
    aliases: &[("min", 60_000_000_000)],
};

const BIT_RATE: Dimension = Dimension {
    of: "rate",
    example: "100mbit",
    step: "a bit per second",
    units: &[("gbit", 1_000_000_000), ("mbit", 1_000_000), ("kbit", 1_000), ("bit", 1)],
    aliases: &[],
};

const BYTE_SIZE: Dimension = Dimension {
    of: "size",
    example: "58B",
    step: "a byte",
    units: &[("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)],
    aliases: &[("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1_000)],
};

const PACKET_RATE: Dimension = Dimension {
    of: "packet rate",
    example: "50/s",
    step: "a packet per second",
    units: &[("/s", 1)],
    aliases: &[],
};

const PERCENTAGE: Dimension =
    Dimension { of: "percentage", example: "1%", step: "a millionth", units: &[("%", 10_000)], aliases: &[] };

impl Dimension {
    /// In terms of the smallest unit.
    fn parse(&self, text: &str) -> Result<u64, QuantityError> {
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if whole.is_empty() || number.ends_with('.') || fraction.contains('.') {
            let (text, of, example) = (text.to_owned(), self.of, self.example);
            return Err(QuantityError::NoNumber { text, of, example });
        }
        let factor = self.factor(number, unit.trim_start())?;
        let too_large = || QuantityError::TooLarge { text: text.to_owned() };
        let fraction = fraction.trim_end_matches('0');
        let ten_to = u32::try_from(fraction.len()).ok().and_then(|digits| 10_u128.checked_pow(digits));
        let scaled = format!("{whole}{fraction}").parse::<u128>().ok();
        let scaled =
            scaled.and_then(|scaled| scaled.checked_mul(u128::from(factor))).ok_or_else(too_large)?;
        let ten_to = ten_to.ok_or_else(too_large)?;
        if scaled % ten_to != 0 {
            return Err(QuantityError::TooFine { text: text.to_owned(), step: self.step });
        }
        u64::try_from(scaled / ten_to).map_err(|_| too_large())
    }

    fn factor(&self, number: &str, unit: &str) -> Result<u64, QuantityError> {
        let known = self.units.iter().chain(self.aliases);
        match known.clone().find(|(name, _)| *name == unit) {
            Some(&(_, factor)) => Ok(factor),
            None if unit.is_empty() => {
                let choices: Vec<String> =
                    self.units.iter().rev().map(|(unit, _)| format!("{number}{unit}")).collect();
                let example = match choices.split_last() {
                    Some((last, [])) => last.clone(),
                    Some((last, others)) => format!("{} or {last}", others.join(", ")),
                    None => self.example.to_owned(),
                };
                Err(QuantityError::NoUnit { text: number.to_owned(), example })
            }
            None => {
                let valid = known.map(|(unit, _)| *unit).collect::<Vec<_>>().join(", ");
                Err(QuantityError::UnknownUnit { unit: unit.to_owned(), of: self.of, valid })
            }
        }
    }

    /// The coarsest unit that needs no fraction.
    fn format(&self, value: u64) -> String {
        let zero_unit = self.units.iter().find(|(unit, _)| matches!(*unit, "ms" | "B" | "bit"));
        // Of two equal ones the last is taken, which is no alias.
        let exact = match value {
            0 => zero_unit,
            _ => {
                let all = self.aliases.iter().chain(self.units.iter().rev());
                all.filter(|(_, factor)| value.is_multiple_of(*factor)).max_by_key(|(_, factor)| *factor)
            }
        };
        match exact.or(self.units.last()) {
            Some((unit, factor)) if value.is_multiple_of(*factor) => format!("{}{unit}", value / factor),
            Some((unit, factor)) => {
                let width = factor.ilog10() as usize;
                let fraction = format!("{:0width$}", value % factor);
                format!("{}.{}{unit}", value / factor, fraction.trim_end_matches('0'))
            }
            None => value.to_string(),
        }
    }
}

/// `4ms`, `1.5s`, `1m`, `1min`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, QuantityError> {
    DURATION.parse(text).map(Duration::from_nanos)
}

/// See [`parse_duration`].
pub(crate) fn format_duration(duration: Duration) -> String {
    DURATION.format(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

/// `100mbit`; never zero.
pub(crate) fn parse_bit_rate(text: &str) -> Result<BitRate, QuantityError> {
    BitRate::per_second(BIT_RATE.parse(text)?).ok_or(QuantityError::Zero { of: "a rate" })
}

/// See [`parse_bit_rate`].
pub(crate) fn format_bit_rate(rate: BitRate) -> String {
    BIT_RATE.format(rate.bits_per_second())
}

/// `58B`, `256KiB`.
pub(crate) fn parse_byte_size(text: &str) -> Result<ByteSize, QuantityError> {
    BYTE_SIZE.parse(text).map(ByteSize)
}

/// See [`parse_byte_size`].
pub(crate) fn format_byte_size(size: ByteSize) -> String {
    BYTE_SIZE.format(size.0)
}

/// Whole packets per second; never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PacketRate(u32);

impl PacketRate {
    /// Of a voice call with frames of 20 ms.
    pub(crate) const CALL: Self = Self(50);

    pub(crate) fn per_second(self) -> u32 {
        self.0
    }
}

impl FromStr for PacketRate {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match u32::try_from(PACKET_RATE.parse(text)?) {
            Ok(0) => Err(QuantityError::Zero { of: "a packet rate" }),
            Ok(per_second) => Ok(Self(per_second)),
            Err(_) => Err(QuantityError::TooLarge { text: text.to_owned() }),
        }
    }
}

impl fmt::Display for PacketRate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&PACKET_RATE.format(u64::from(self.0)))
    }
}

impl Serialize for PacketRate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A share of something, in millionths; at most all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Percentage(u64);

impl Percentage {
    /// 0 %.
    pub(crate) const NONE: Self = Self(0);
    /// 100 %.
    pub(crate) const ALL: Self = Self(1_000_000);

    /// In billionths of the whole.
    pub(crate) fn per_billion(self) -> u32 {
        // At most a million times a thousand.
        self.0 as u32 * 1_000
    }

    /// In hundredths of the whole.
    pub(crate) fn percent(self) -> f64 {
        self.0 as f64 / 10_000.0
    }
}

/// `1%`.
pub(crate) fn parse_percentage(text: &str) -> Result<Percentage, QuantityError> {
    text.parse()
}

impl FromStr for Percentage {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        match PERCENTAGE.parse(text)? {
            millionths if millionths > Self::ALL.0 => {
                Err(QuantityError::MoreThanAll { text: text.to_owned() })
            }
            millionths => Ok(Self(millionths)),
        }
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&PERCENTAGE.format(self.0))
    }
}

impl Serialize for Percentage {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn duration<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_duration(*value))
}

/// For `#[serde(serialize_with)]`, beside `skip_serializing_if`.
pub(crate) fn optional_duration<S: Serializer>(
    value: &Option<Duration>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.map(format_duration).unwrap_or_default())
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn bit_rate<S: Serializer>(value: &BitRate, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_bit_rate(*value))
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn bit_rate_or_none<S: Serializer>(
    value: &Option<BitRate>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    or_none(&value.map(format_bit_rate), serializer)
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn mtu_or_none<S: Serializer>(value: &Option<Mtu>, serializer: S) -> Result<S::Ok, S::Error> {
    or_none(&value.map(|mtu| format_byte_size(ByteSize(mtu.bytes().into()))), serializer)
}

/// For `#[serde(serialize_with)]`, beside `skip_serializing_if`.
pub(crate) fn optional_byte_size<S: Serializer>(
    value: &Option<ByteSize>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&value.map(format_byte_size).unwrap_or_default())
}

/// For `#[serde(serialize_with)]`.
pub(crate) fn byte_size<S: Serializer>(value: &ByteSize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_byte_size(*value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_unit_is_read() {
        let milliseconds = |text| parse_duration(text).map(|d| d.as_micros() as f64 / 1e3);
        assert_eq!(milliseconds("4ms"), Ok(4.0));
        assert_eq!(milliseconds("1.5s"), Ok(1500.0));
        assert_eq!(milliseconds("1m"), Ok(60_000.0));
        assert_eq!(milliseconds("1.5min"), Ok(90_000.0));
        assert_eq!(milliseconds("0.25 ms"), Ok(0.25));
        assert_eq!(parse_bit_rate("100mbit").map(BitRate::bits_per_second), Ok(100_000_000));
        assert_eq!(parse_byte_size("256KiB"), Ok(ByteSize(262_144)));
        assert_eq!(parse_byte_size("1kB"), Ok(ByteSize(1_000)));
        assert_eq!(parse_byte_size("0.5KiB"), Ok(ByteSize(512)));
        assert_eq!("50/s".parse::<PacketRate>().map(PacketRate::per_second), Ok(50));
        assert_eq!("0.5%".parse::<Percentage>(), Ok(Percentage(5_000)));
    }

    #[test]
    fn what_is_written_has_few_digits() {
        let size = |bytes| format_byte_size(ByteSize(bytes));
        let sizes = [20_000_000, 65_536, 1_024_000, 58, 0].map(size);
        assert_eq!(sizes, ["20MB", "64KiB", "1000KiB", "58B", "0B"]);
        assert_eq!(format_duration(Duration::from_secs(120)), "2m");
    }

    #[test]
    fn what_is_no_quantity_says_why() {
        let why = |text| parse_duration(text).unwrap_err().to_string();
        assert_eq!(why("15"), "`15` has no unit: write 15ns, 15us, 15ms, 15s, 15m or 15h");
        assert_eq!(why("15 sec"), "`sec` is no unit of duration: valid are h, m, s, ms, us, ns, min");
        assert_eq!(why("soon"), "`soon` is no duration: write a number and a unit, such as 15s");
        assert_eq!(why("-1s"), "`-1s` is no duration: write a number and a unit, such as 15s");
        assert_eq!(why("1.2.3s"), "`1.2.3s` is no duration: write a number and a unit, such as 15s");
        assert_eq!(why("99999999999999h"), "`99999999999999h` is too large");
        assert_eq!(why("0.1ns"), "`0.1ns` is finer than a nanosecond");
        assert_eq!(parse_bit_rate("0mbit").unwrap_err().to_string(), "a rate cannot be 0");
        let share = |text: &str| text.parse::<Percentage>().unwrap_err().to_string();
        assert_eq!(share("100.0001%"), "`100.0001%` is more than all: write 0% to 100%");
        assert_eq!("50".parse::<PacketRate>().unwrap_err().to_string(), "`50` has no unit: write 50/s");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in prop_oneof![0..=10_000_u64, any::<u64>()]) {
            let duration = Duration::from_nanos(value);
            prop_assert_eq!(parse_duration(&format_duration(duration)), Ok(duration));
            prop_assert_eq!(parse_byte_size(&format_byte_size(ByteSize(value))), Ok(ByteSize(value)));
            if let Some(rate) = BitRate::per_second(value) {
                prop_assert_eq!(parse_bit_rate(&format_bit_rate(rate)), Ok(rate));
            }
            if let Some(rate) = u32::try_from(value).ok().filter(|rate| *rate > 0).map(PacketRate) {
                prop_assert_eq!(rate.to_string().parse(), Ok(rate));
            }
            let share = Percentage(value.min(Percentage::ALL.0));
            prop_assert_eq!(share.to_string().parse(), Ok(share));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = parse_duration(&text);
            let _ = parse_byte_size(&text);
            let _ = text.parse::<PacketRate>();
        }
    }
}
