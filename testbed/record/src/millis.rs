//! A time that files hold in milliseconds and computations in nanoseconds.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::{fmt, time::Duration};

const NS_PER_MS: f64 = 1e6;

/// A time or a difference of times; a number of milliseconds when serialised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Millis {
    ns: i64,
}

impl Millis {
    /// From nanoseconds.
    pub const fn from_ns(ns: i64) -> Self {
        Self { ns }
    }

    /// In nanoseconds.
    pub const fn as_ns(self) -> i64 {
        self.ns
    }

    /// In milliseconds, with their fraction.
    pub fn as_f64(self) -> f64 {
        self.ns as f64 / NS_PER_MS
    }

    /// Not below 0.
    #[must_use]
    pub fn at_least_zero(self) -> Self {
        Self { ns: self.ns.max(0) }
    }
}

/// Longer than 292 years counts as 292 years.
impl From<Duration> for Millis {
    fn from(duration: Duration) -> Self {
        Self { ns: i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX) }
    }
}

/// Below a second in ms, from there in s.
impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = self.as_f64();
        let text = match ms.abs() {
            ms_abs if ms_abs < 999.95 => format!("{} ms", trimmed(format!("{ms:.1}"))),
            _ => format!("{} s", trimmed(format!("{:.3}", ms / 1e3))),
        };
        f.pad(&text)
    }
}

/// Without zeros at the end of its fraction.
fn trimmed(number: String) -> String {
    number.trim_end_matches('0').trim_end_matches('.').to_owned()
}

impl Serialize for Millis {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.as_f64())
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = f64::deserialize(deserializer)?;
        Ok(Self { ns: (ms * NS_PER_MS).round() as i64 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn people_read_ms_and_from_one_second_on_seconds() {
        let shown: Vec<String> =
            [0, 40_000, 43_210_000, 500_000_000, 1_000_000_000, 15_003_400_000, -2_000_000]
                .map(|ns| Millis::from_ns(ns).to_string())
                .into();
        assert_eq!(shown, ["0 ms", "0 ms", "43.2 ms", "500 ms", "1 s", "15.003 s", "-2 ms"]);
    }

    proptest! {
        #[test]
        fn a_day_of_nanoseconds_survives_json(ns in -86_400_000_000_000i64..86_400_000_000_000) {
            let text = serde_json::to_string(&Millis::from_ns(ns)).unwrap();
            prop_assert_eq!(serde_json::from_str::<Millis>(&text).unwrap(), Millis::from_ns(ns));
        }
    }
}
