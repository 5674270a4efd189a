//! Durations, rates and sizes as people write them: with a unit, never rounded silently.
//!
//! Where iperf3 has the same option, a number alone means what it means there; what iperf3 counts otherwise (or in
//! milliseconds) keeps its unit.

use std::{
    num::{NonZeroU32, NonZeroU64},
    str::FromStr,
    time::Duration,
};
use thiserror::Error;

/// A number with its unit could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum UnitError {
    /// Digits only.
    #[error("a unit is missing: write one of {units}, as in {example}")]
    NoUnit { units: &'static str, example: &'static str },
    /// An unknown unit.
    #[error("unknown unit {unit:?}: write one of {units}, as in {example}")]
    UnknownUnit { unit: String, units: &'static str, example: &'static str },
    /// No number before the unit.
    #[error("{text:?} is no number: write one as in {example}")]
    NoNumber { text: String, example: &'static str },
    /// Outside what makes sense.
    #[error("must be between {least} and {most}")]
    Range { least: &'static str, most: &'static str },
}

const DURATIONS: [(&str, u64); 7] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// A positive duration in ns, us, ms, s, m (or min) or h.
pub(crate) fn duration(text: &str) -> Result<Duration, UnitError> {
    let nanoseconds = scaled(text, &DURATIONS, "ns, us, ms, s, m, min, h", "10s")?;
    match nanoseconds {
        1_000_000..=86_400_000_000_000 => Ok(Duration::from_nanos(nanoseconds)),
        _ => Err(UnitError::Range { least: "1ms", most: "24h" }),
    }
}

/// `--time`: a duration; a number alone is in seconds, as in iperf3.
pub(crate) fn seconds(text: &str) -> Result<Duration, UnitError> {
    duration(&with_unit(text, "s"))
}

/// `--interval`: the same, or 0 for none; paths are sampled every 100 ms, so that nothing shorter makes sense.
pub(crate) fn interval(text: &str) -> Result<Duration, UnitError> {
    let text = with_unit(text, "s");
    let nanoseconds = scaled(&text, &DURATIONS, "ns, us, ms, s, m, min, h", "1s")?;
    match Duration::from_nanos(nanoseconds) {
        Duration::ZERO => Ok(Duration::ZERO),
        interval if interval < Duration::from_millis(100) => {
            Err(UnitError::Range { least: "100ms (or 0 for none)", most: "24h" })
        }
        _ => duration(&text),
    }
}

fn with_unit(text: &str, unit: &str) -> String {
    let text = text.trim();
    let bare = text.ends_with(|c: char| c.is_ascii_digit());
    if bare { format!("{text}{unit}") } else { text.to_owned() }
}

/// `--bytes`: a positive size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ByteSize(NonZeroU64);

impl ByteSize {
    /// In bytes.
    pub(crate) fn bytes(self) -> u64 {
        self.0.get()
    }
}

impl FromStr for ByteSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        const KIBI: u64 = 1 << 10;
        // K, M, G and T are iperf3's, and binary as there.
        let table = [
            ("B", 1),
            ("kB", 1000),
            ("MB", 1000_u64.pow(2)),
            ("GB", 1000_u64.pow(3)),
            ("TB", 1000_u64.pow(4)),
            ("KiB", KIBI),
            ("MiB", KIBI.pow(2)),
            ("GiB", KIBI.pow(3)),
            ("TiB", KIBI.pow(4)),
            ("K", KIBI),
            ("M", KIBI.pow(2)),
            ("G", KIBI.pow(3)),
            ("T", KIBI.pow(4)),
        ];
        let units = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB (or K, M, G, T for the latter, as in iperf3)";
        let bytes = scaled(&with_unit(text, "B"), &table, units, "20MB")?;
        // Sizes are told as JSON numbers, which are exact up to here.
        NonZeroU64::new(bytes)
            .filter(|bytes| bytes.get() <= 1 << 53)
            .map(ByteSize)
            .ok_or(UnitError::Range { least: "1B", most: "8192TiB" })
    }
}

/// Datagrams in a second, `50/s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CallRate(NonZeroU32);

impl CallRate {
    /// As a number.
    pub(crate) fn per_second(self) -> u32 {
        self.0.get()
    }
}

/// As a voice codec does with frames of 20 ms.
impl Default for CallRate {
    fn default() -> Self {
        Self(const { NonZeroU32::new(50).unwrap() })
    }
}

impl FromStr for CallRate {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let per_second = scaled(text, &[("/s", 1)], "/s", "50/s")?;
        u32::try_from(per_second)
            .ok()
            .filter(|rate| *rate <= 1000)
            .and_then(NonZeroU32::new)
            .map(CallRate)
            .ok_or(UnitError::Range { least: "1/s", most: "1000/s" })
    }
}

/// Payload of one datagram, `58B`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PayloadSize(usize);

impl PayloadSize {
    /// A mark, the sequence number and the send time.
    const LEAST: u64 = 17;
    /// Fits a QUIC datagram frame on every path (RFC 9000 section 14: at least 1200 bytes of UDP payload).
    const MOST: u64 = 1000;

    /// In bytes.
    pub(crate) fn bytes(self) -> usize {
        self.0
    }
}

/// What a WhatsApp call was seen to send.
impl Default for PayloadSize {
    fn default() -> Self {
        Self(58)
    }
}

impl FromStr for PayloadSize {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        match scaled(text, &[("B", 1), ("KiB", 1024), ("kB", 1000)], "B, kB, KiB", "58B")? {
            bytes @ Self::LEAST..=Self::MOST => Ok(PayloadSize(bytes as usize)),
            _ => Err(UnitError::Range { least: "17B", most: "1000B" }),
        }
    }
}

/// Splits number and unit, and multiplies; decimals are exact or refused.
fn scaled(
    text: &str,
    table: &[(&str, u64)],
    units: &'static str,
    example: &'static str,
) -> Result<u64, UnitError> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let no_number = || UnitError::NoNumber { text: text.to_owned(), example };
    if number.is_empty() {
        return Err(no_number());
    }
    let unit = unit.trim_start();
    if unit.is_empty() {
        return Err(UnitError::NoUnit { units, example });
    }
    let Some((_, factor)) = table.iter().find(|(name, _)| *name == unit) else {
        return Err(UnitError::UnknownUnit { unit: unit.to_owned(), units, example });
    };
    exact(number, *factor).ok_or_else(no_number)
}

/// `number * factor`, if the decimals of `number` leave a whole result.
fn exact(number: &str, factor: u64) -> Option<u64> {
    let (whole, decimals) = number.split_once('.').unwrap_or((number, ""));
    if number.contains('.') && decimals.is_empty() {
        return None;
    }
    let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
    let mut total = u128::from(whole) * u128::from(factor);
    if !decimals.is_empty() {
        let scale = 10u128.checked_pow(u32::try_from(decimals.len()).ok()?)?;
        let part = u128::from(decimals.parse::<u64>().ok()?) * u128::from(factor);
        if part % scale != 0 {
            return None;
        }
        total += part / scale;
    }
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_need_a_unit_that_exists() {
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("1.5 s"), Ok(Duration::from_millis(1500)));
        assert_eq!(duration("2min"), Ok(Duration::from_secs(120)));
        assert_eq!(duration("2m"), duration("2min"));
        assert_eq!(duration("2ms"), Ok(Duration::from_millis(2)));
        assert_eq!(
            duration("10").unwrap_err().to_string(),
            "a unit is missing: write one of ns, us, ms, s, m, min, h, as in 10s"
        );
        assert!(matches!(duration("10 parsecs"), Err(UnitError::UnknownUnit { .. })));
        assert!(matches!(duration("s"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(duration("1.2.3s"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(duration("1.s"), Err(UnitError::NoNumber { .. })));
        assert!(matches!(duration("0s"), Err(UnitError::Range { .. })));
        assert!(matches!(duration("25h"), Err(UnitError::Range { .. })));
        assert!(matches!(duration("-1s"), Err(UnitError::NoNumber { .. })));
    }

    #[test]
    fn rates_and_sizes() {
        assert_eq!("50/s".parse::<CallRate>().unwrap().per_second(), 50);
        assert!("0/s".parse::<CallRate>().is_err());
        assert!("50".parse::<CallRate>().is_err());
        assert_eq!("58B".parse::<PayloadSize>().unwrap().bytes(), 58);
        assert_eq!("1kB".parse::<PayloadSize>().unwrap().bytes(), 1000);
        assert!("2KiB".parse::<PayloadSize>().is_err());
        assert!("58".parse::<PayloadSize>().is_err());
    }

    #[test]
    fn numbers_alone_mean_what_they_mean_in_iperf3() {
        assert_eq!(seconds("10"), Ok(Duration::from_secs(10)));
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(seconds("2min"), duration("2min"));
        assert!(matches!(seconds(""), Err(UnitError::NoNumber { .. })));
        assert!(matches!(seconds("ten"), Err(UnitError::NoNumber { .. })));
        assert_eq!(interval("0"), Ok(Duration::ZERO));
        assert_eq!(interval("0s"), Ok(Duration::ZERO));
        assert_eq!(interval("0.1"), Ok(Duration::from_millis(100)));
        let error = interval("50ms").unwrap_err().to_string();
        assert_eq!(error, "must be between 100ms (or 0 for none) and 24h");
        let bytes = |text: &str| text.parse().map(ByteSize::bytes);
        assert_eq!(bytes("1000"), Ok(1000));
        assert_eq!(bytes("20M"), Ok(20 * 1024 * 1024));
        assert_eq!(bytes("20MiB"), bytes("20M"));
        assert_eq!(bytes("20MB"), Ok(20_000_000));
        assert_eq!(bytes("1.5kB"), Ok(1500));
        for wrong in ["", "0", "MB", "1.0001kB", "5 Mbit", "9000TiB", "99999999999TB"] {
            assert!(bytes(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = duration(&text);
            let _ = interval(&text);
            let _ = text.parse::<ByteSize>();
            let _ = text.parse::<CallRate>();
            let _ = text.parse::<PayloadSize>();
        }

        #[test]
        fn milliseconds_are_exact(count in 1u64..86_400_000) {
            prop_assert_eq!(duration(&format!("{count}ms")), Ok(Duration::from_millis(count)));
        }
    }
}
