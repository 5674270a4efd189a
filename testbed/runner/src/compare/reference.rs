//! References: raw YAML rows first, then [`Reference`], whose values are all valid.

use super::{
    Carrier, Run,
    measure::{BehaviourMeasure, FigureMeasure, Measure},
};
use crate::scenario::{presets, words};
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
    /// How many tests, calls or captures it rests on, where the source tells.
    pub(crate) n: Option<u32>,
    pub(crate) claimed_by: Claimants,
    /// Why ours is another quantity, or no network of ours is theirs.
    pub(crate) not_comparable: Option<String>,
    /// What would make ours comparable, or more so.
    pub(crate) comparable_if: Option<String>,
    /// Presets of which every cellular network has to be for ours to be theirs; empty where networks do not matter.
    networks: Vec<String>,
    needs: Vec<Need>,
    /// Scenarios that stand beside it although their `answers` do not name it.
    beside: Vec<String>,
}

/// Who claims to do as they did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum Claimants {
    /// Nobody: it only stands beside ours.
    #[default]
    Nobody,
    /// The networks and the workload of the scenario are made after it, whatever the policy.
    SetUp,
    /// Path policies.
    Policies(Vec<String>),
}

/// What a run has to have for ours to be theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Need {
    /// A server that relays.
    Relay,
    /// A radio model in every cellular network: the constant delay of a preset is an assumption.
    Radio,
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
    pub(crate) certainty: Certainty,
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
    #[error("`claimed_by`: {0}")]
    Claimant(String),
    #[error("`networks`: `{name}` is not a preset; valid: {valid}")]
    Network { name: String, valid: String },
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

    /// The policy or the set-up claims to do the same.
    pub(crate) fn is_claimed_by(&self, policy: &str) -> bool {
        match &self.claimed_by {
            Claimants::Nobody => false,
            Claimants::SetUp => true,
            Claimants::Policies(policies) => policies.iter().any(|other| other == policy),
        }
    }

    /// Why a run cannot stand beside it: another quantity, or another network.
    pub(crate) fn why_not_comparable(&self, run: &Run) -> Option<String> {
        if let Some(why) = &self.not_comparable {
            return Some(why.clone());
        }
        if self.needs.contains(&Need::Relay) && !run.has_relay {
            return Some("there is no relay".to_owned());
        }
        let without = run.carriers.iter().find(|(_, carrier)| !carrier.has_radio);
        if let Some((name, _)) = without.filter(|_| self.needs.contains(&Need::Radio)) {
            return Some(format!("the delay of `{name}` is an assumption, without a radio model"));
        }
        let is_theirs =
            |carrier: &Carrier| carrier.preset.as_ref().is_some_and(|name| self.networks.contains(name));
        let other = run.carriers.iter().find(|(_, carrier)| !is_theirs(carrier));
        let (name, _) = other.filter(|_| !self.networks.is_empty())?;
        Some(format!("`{name}` is not {} as it stands", self.networks.join(" or ")))
    }
}

impl Figure {
    /// For people.
    pub(crate) fn shown(&self) -> String {
        let (low, high, unit) = (self.unit.number(self.low), self.unit.number(self.high), self.unit);
        let by_eye = if self.certainty == Certainty::ByEye { ", by eye" } else { "" };
        if low == high { format!("{low} {unit}{by_eye}") } else { format!("{low} to {high} {unit}{by_eye}") }
    }

    /// Within their interval, both ends included. In the figure's unit.
    pub(crate) fn holds(&self, ours: f64) -> bool {
        (self.low..=self.high).contains(&ours)
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
    n: Option<u32>,
    certainty: Option<Certainty>,
    claimed_by: Option<ClaimedBy>,
    not_comparable: Option<String>,
    comparable_if: Option<String>,
    #[serde(default)]
    networks: Vec<String>,
    #[serde(default)]
    needs: Vec<Need>,
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
        if let Some(name) = raw.networks.iter().find(|name| presets::find(name).is_none()) {
            let names: Vec<&str> = presets::all().iter().map(|preset| preset.name.as_str()).collect();
            return Err(RowError::Network { name: name.clone(), valid: names.join(", ") });
        }
        Ok(Self {
            id: raw.id,
            subject: raw.subject,
            statement: raw.statement,
            claim,
            setup: raw.setup,
            source: raw.source,
            quality: raw.quality,
            conflicts_with: raw.conflicts_with,
            n: raw.n,
            claimed_by: raw.claimed_by.map_or(Ok(Claimants::Nobody), Claimants::try_from)?,
            not_comparable: raw.not_comparable,
            comparable_if: raw.comparable_if,
            networks: raw.networks,
            needs: raw.needs,
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
    let certainty = raw.certainty.ok_or(RowError::Missing("certainty"))?;
    Ok(Figure { low, high, unit, certainty, measure })
}

fn behaviour(raw: &Raw) -> Result<Claim, RowError> {
    let measure = raw.measure.as_behaviour().ok_or(RowError::MeasureIsFigure)?;
    let Value::Word(word) = &raw.value else { return Err(RowError::NotAWord) };
    let surplus = [("unit", raw.unit.is_some()), ("certainty", raw.certainty.is_some())];
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

/// How sure a figure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Certainty {
    /// Read off a capture or a clock by a person, and rounded.
    ByEye,
    /// By a program, or published as a measured figure.
    Measured,
    /// Worked out from other figures.
    Computed,
    /// No measurement: a setting of a program.
    Constant,
}

/// Who claims it, as it is written: `set-up`, or policies.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ClaimedBy {
    Word(String),
    Policies(Vec<String>),
}

impl TryFrom<ClaimedBy> for Claimants {
    type Error = RowError;

    fn try_from(claimed_by: ClaimedBy) -> Result<Self, RowError> {
        let policies = match claimed_by {
            ClaimedBy::Word(word) if word == "set-up" => return Ok(Self::SetUp),
            ClaimedBy::Word(word) => {
                return Err(RowError::Claimant(format!("`{word}`: write `set-up`, or a list of policies")));
            }
            ClaimedBy::Policies(policies) => policies,
        };
        match policies.iter().find(|name| !words::POLICIES.known.contains(&name.as_str())) {
            Some(name) => Err(RowError::Claimant(format!(
                "`{name}` is not a policy; valid: {}",
                words::POLICIES.known.join(", ")
            ))),
            None => Ok(Self::Policies(policies)),
        }
    }
}

/// By hand, as [`Value`].
impl<'de> Deserialize<'de> for ClaimedBy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Words;
        impl<'de> de::Visitor<'de> for Words {
            type Value = ClaimedBy;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`set-up` or a list of policies")
            }

            fn visit_str<E>(self, word: &str) -> Result<ClaimedBy, E> {
                Ok(ClaimedBy::Word(word.to_owned()))
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut items: A) -> Result<ClaimedBy, A::Error> {
                let mut policies = vec![];
                while let Some(policy) = items.next_element()? {
                    policies.push(policy);
                }
                Ok(ClaimedBy::Policies(policies))
            }
        }
        deserializer.deserialize_any(Words)
    }
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
