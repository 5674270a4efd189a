//! References: raw YAML rows first, then [`Reference`], whose values are all valid.

use super::{
    Run,
    measure::{BehaviourMeasure, FigureMeasure, Measure},
};
use serde::{Deserialize, Deserializer, de};
use serde_saphyr::Spanned;
use std::{
    collections::BTreeSet,
    fmt, io,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// The files of `results/references/`, by name.
pub(super) const EMBEDDED: [(&str, &str); 2] = [
    ("whatsapp.yaml", include_str!("../../../../results/references/whatsapp.yaml")),
    ("others.yaml", include_str!("../../../../results/references/others.yaml")),
];

/// What somebody else measured or saw.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reference {
    pub(crate) id: String,
    pub(crate) subject: String,
    pub(crate) statement: String,
    pub(crate) claim: Claim,
    pub(crate) setup: String,
    pub(crate) source: String,
    pub(crate) quality: Option<String>,
    pub(crate) conflicts_with: Vec<String>,
    /// Policies that claim to do the same; every policy when there is none.
    policies: Vec<String>,
    /// Scenarios that stand beside it although their `answers` do not name it.
    beside: Vec<String>,
}

/// A number or a word.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Claim {
    Figure(Figure),
    Behaviour { word: String, measure: BehaviourMeasure },
}

/// A number and how to compare with it. In its own unit.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    low: f64,
    high: f64,
    pub(crate) unit: Unit,
    pub(crate) better: Better,
    tolerance: Tolerance,
    pub(crate) measure: FigureMeasure,
}

/// References could not be read.
#[derive(Debug, Error)]
pub(crate) enum ReferenceError {
    #[error("cannot read {}: {source}", path.display())]
    Read { path: PathBuf, source: io::Error },
    /// With the line, a caret and the valid choices.
    #[error("{file}: {why}")]
    Yaml { file: String, why: String },
    #[error("{file}:{line}: {id}: {why}")]
    Row { file: String, line: u64, id: String, why: RowError },
}

/// A row whose keys are all known does not make sense as a whole.
#[derive(Debug, Clone, PartialEq, Error)]
pub(crate) enum RowError {
    #[error("this id was used already")]
    Repeated,
    #[error("`measure` is a number of our runs, so `kind` must be `figure`")]
    MeasureIsFigure,
    #[error("`measure` is a word about our runs, so `kind` must be `behaviour`")]
    MeasureIsBehaviour,
    #[error("a figure needs a number or `[low, high]` as its `value`")]
    NotANumber,
    #[error("`value` must be `[low, high]` with low not above high, both finite")]
    BadRange,
    #[error("a behaviour needs one word as its `value`")]
    NotAWord,
    #[error("a figure needs `{0}`")]
    Missing(&'static str),
    #[error("a behaviour has no `{0}`")]
    Surplus(&'static str),
    #[error("`{unit}` is no unit of what `measure` names; valid: {valid}")]
    WrongUnit { unit: Unit, valid: String },
    #[error("the tolerance is in {tolerance}, the value in {unit}")]
    ToleranceUnit { tolerance: Unit, unit: Unit },
}

/// The references that this program was built with.
pub(crate) fn embedded() -> Result<Vec<Reference>, ReferenceError> {
    let mut ids = BTreeSet::new();
    let files: Result<Vec<_>, _> = EMBEDDED.iter().map(|(file, text)| parse(file, text, &mut ids)).collect();
    Ok(files?.into_iter().flatten().collect())
}

/// The references of another file.
pub(crate) fn read(path: &Path) -> Result<Vec<Reference>, ReferenceError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ReferenceError::Read { path: path.to_owned(), source })?;
    parse(&path.display().to_string(), &text, &mut BTreeSet::new())
}

/// `ids` holds those that exist already, and is added to.
fn parse(file: &str, text: &str, ids: &mut BTreeSet<String>) -> Result<Vec<Reference>, ReferenceError> {
    let raws: Vec<Spanned<Raw>> = serde_saphyr::from_str(text)
        .map_err(|error| ReferenceError::Yaml { file: file.to_owned(), why: error.render() })?;
    let valid = |raw: Spanned<Raw>| {
        let (line, id) = (raw.referenced.line(), raw.value.id.clone());
        let fresh = if ids.insert(id.clone()) { Ok(()) } else { Err(RowError::Repeated) };
        fresh.and_then(|()| Reference::try_from(raw.value)).map_err(|why| ReferenceError::Row {
            file: file.to_owned(),
            line,
            id,
            why,
        })
    };
    raws.into_iter().map(valid).collect()
}

impl Reference {
    /// The run's scenario answers it, or is one that it names itself.
    pub(crate) fn stands_beside(&self, run: &Run) -> bool {
        run.answers.contains(&self.id) || self.beside.contains(&run.results.scenario)
    }

    /// The policy claims to do the same.
    pub(crate) fn is_claimed_by(&self, policy: &str) -> bool {
        self.policies.is_empty() || self.policies.iter().any(|other| other == policy)
    }
}

impl Figure {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        let (low, high, unit) = (self.unit.number(self.low), self.unit.number(self.high), self.unit);
        if low == high { format!("{low} {unit}") } else { format!("{low} to {high} {unit}") }
    }

    /// Between these, both included, ours matches.
    pub(crate) fn accepted(&self) -> (f64, f64) {
        match self.tolerance {
            Tolerance::Share(share) => {
                (self.low - share * self.low.abs(), self.high + share * self.high.abs())
            }
            Tolerance::Absolute(margin, _) => (self.low - margin, self.high + margin),
        }
    }
}

/// A row as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    id: String,
    kind: Kind,
    subject: String,
    statement: String,
    value: Value,
    unit: Option<Unit>,
    setup: String,
    source: String,
    quality: Option<String>,
    #[serde(default)]
    conflicts_with: Vec<String>,
    measure: Measure,
    better: Option<Better>,
    tolerance: Option<Tolerance>,
    #[serde(default)]
    applies_to: Vec<String>,
    #[serde(default)]
    beside: Vec<String>,
}

impl TryFrom<Raw> for Reference {
    type Error = RowError;

    fn try_from(raw: Raw) -> Result<Self, RowError> {
        let claim = match raw.kind {
            Kind::Figure => Claim::Figure(figure(&raw)?),
            Kind::Behaviour => behaviour(&raw)?,
        };
        Ok(Self {
            id: raw.id,
            subject: raw.subject,
            statement: raw.statement,
            claim,
            setup: raw.setup,
            source: raw.source,
            quality: raw.quality,
            conflicts_with: raw.conflicts_with,
            policies: raw.applies_to,
            beside: raw.beside,
        })
    }
}

fn figure(raw: &Raw) -> Result<Figure, RowError> {
    let measure = raw.measure.as_figure().ok_or(RowError::MeasureIsBehaviour)?;
    let (low, high) = match raw.value {
        Value::Number(value) => (value, value),
        Value::Range(low, high) => (low, high),
        Value::Word(_) => return Err(RowError::NotANumber),
    };
    if !(low.is_finite() && high.is_finite() && low <= high) {
        return Err(RowError::BadRange);
    }
    let unit = raw.unit.ok_or(RowError::Missing("unit"))?;
    if unit.dimension() != measure.dimension() {
        return Err(RowError::WrongUnit { unit, valid: Unit::valid_for(measure.dimension()) });
    }
    let tolerance = raw.tolerance.ok_or(RowError::Missing("tolerance"))?;
    if let Tolerance::Absolute(_, tolerance) = tolerance
        && tolerance != unit
    {
        return Err(RowError::ToleranceUnit { tolerance, unit });
    }
    let better = raw.better.ok_or(RowError::Missing("better"))?;
    Ok(Figure { low, high, unit, better, tolerance, measure })
}

fn behaviour(raw: &Raw) -> Result<Claim, RowError> {
    let measure = raw.measure.as_behaviour().ok_or(RowError::MeasureIsFigure)?;
    let Value::Word(word) = &raw.value else { return Err(RowError::NotAWord) };
    let surplus = [
        ("unit", raw.unit.is_some()),
        ("better", raw.better.is_some()),
        ("tolerance", raw.tolerance.is_some()),
    ];
    match surplus.into_iter().find(|(_, given)| *given) {
        Some((key, _)) => Err(RowError::Surplus(key)),
        None => Ok(Claim::Behaviour { word: word.clone(), measure }),
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Figure,
    Behaviour,
}

/// Which side of theirs is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Lower,
    Higher,
    None,
}

/// What a unit is a unit of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dimension {
    /// Base unit: ms.
    Time,
    /// Base unit: packets/s.
    PacketRate,
    /// Base unit: bit/s.
    BitRate,
}

/// Unit of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) enum Unit {
    #[serde(rename = "ms")]
    Milliseconds,
    #[serde(rename = "s")]
    Seconds,
    #[serde(rename = "packets/s")]
    PacketsPerSecond,
    #[serde(rename = "kbit/s")]
    KilobitsPerSecond,
}

impl Unit {
    const ALL: [Unit; 4] =
        [Unit::Milliseconds, Unit::Seconds, Unit::PacketsPerSecond, Unit::KilobitsPerSecond];

    fn dimension(self) -> Dimension {
        match self {
            Unit::Milliseconds | Unit::Seconds => Dimension::Time,
            Unit::PacketsPerSecond => Dimension::PacketRate,
            Unit::KilobitsPerSecond => Dimension::BitRate,
        }
    }

    /// From the base unit of its dimension.
    pub(crate) fn of_base(self, value: f64) -> f64 {
        match self {
            Unit::Milliseconds | Unit::PacketsPerSecond => value,
            Unit::Seconds | Unit::KilobitsPerSecond => value / 1e3,
        }
    }

    /// A number in it, to a sensible digit.
    pub(crate) fn number(self, value: f64) -> String {
        let digits = if self == Unit::Seconds { 3 } else { 1 };
        let text = format!("{value:.digits$}");
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }

    fn valid_for(dimension: Dimension) -> String {
        let valid = Unit::ALL.into_iter().filter(|unit| unit.dimension() == dimension);
        valid.map(|unit| unit.to_string()).collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Unit::Milliseconds => "ms",
            Unit::Seconds => "s",
            Unit::PacketsPerSecond => "packets/s",
            Unit::KilobitsPerSecond => "kbit/s",
        })
    }
}

/// How far from theirs still matches: `10 %`, or a number with its unit.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Tolerance {
    Share(f64),
    Absolute(f64, Unit),
}

impl<'de> Deserialize<'de> for Tolerance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        tolerance(&text).ok_or_else(|| {
            de::Error::custom(format_args!(
                "`{text}` is no tolerance: write `10 %`, or a number and the row's unit"
            ))
        })
    }
}

fn tolerance(text: &str) -> Option<Tolerance> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    match unit.trim() {
        "%" => Some(Tolerance::Share(number / 100.0)),
        unit => {
            let unit = Unit::ALL.into_iter().find(|known| known.to_string() == unit)?;
            Some(Tolerance::Absolute(number, unit))
        }
    }
}

/// What stands after `value:`.
#[derive(Debug, Clone, PartialEq)]
enum Value {
    Number(f64),
    Range(f64, f64),
    Word(String),
}

/// By hand: an untagged enum would lose the line of its errors.
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> de::Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number, `[low, high]` or a word")
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Number(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value as f64))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Word(value.to_owned()))
    }

    /// Some readers of YAML take `yes` and `no` for these.
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Word(if value { "yes" } else { "no" }.to_owned()))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let low = items.next_element()?.ok_or_else(|| de::Error::invalid_length(0, &self))?;
        let high = items.next_element()?.ok_or_else(|| de::Error::invalid_length(1, &self))?;
        match items.next_element::<de::IgnoredAny>()? {
            None => Ok(Value::Range(low, high)),
            Some(_) => Err(de::Error::invalid_length(3, &self)),
        }
    }
}
