//! YAML as a tree whose every key and value knows where it stands.
//!
//! Scalars stay text: what they mean is decided where they are used, so that `on` is never a boolean by accident and
//! every complaint has a place. Left out: tags, and several documents in one file.

use super::diagnostic::{Problem, SourceId, Span};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned, options::DuplicateKeyPolicy};
use std::fmt;

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

#[derive(Debug, Clone)]
pub(crate) enum Value {
    /// Text as written, without its quotes; empty for a null.
    Scalar {
        text: String,
    },
    Map(Vec<Entry>),
    Sequence(Vec<Node>),
}

/// A key and its value; keys may be doubled, which is for the reader to complain about.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
}

/// Parses one document.
pub(crate) fn parse(text: &str, source: SourceId) -> Result<Node, Problem> {
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::LastWins,
        strict_booleans: true,
        with_snippet: false,
    };
    let place = Place { text, source };
    match serde_saphyr::from_str_with_options::<Spanned<Raw>>(text, options) {
        Ok(raw) => Ok(place.node(raw)),
        Err(error) => Err(place.problem(&error)),
    }
}

/// Turns locations of the parser into spans of the text.
struct Place<'a> {
    text: &'a str,
    source: SourceId,
}

impl Place<'_> {
    fn node(&self, raw: Spanned<Raw>) -> Node {
        let span = self.span(raw.defined);
        let value = match raw.value {
            Raw::Text(text) => Value::Scalar { text },
            Raw::Typed => Value::Scalar { text: self.written(span) },
            Raw::Null => Value::Scalar { text: String::new() },
            Raw::Map(entries) => Value::Map(entries.into_iter().map(|entry| self.entry(entry)).collect()),
            Raw::Sequence(nodes) => Value::Sequence(nodes.into_iter().map(|node| self.node(node)).collect()),
        };
        Node { span, value }
    }

    fn entry(&self, (key, value): (Spanned<String>, Spanned<Raw>)) -> Entry {
        Entry { key: key.value, key_span: self.span(key.defined), value: self.node(value) }
    }

    fn written(&self, span: Span) -> String {
        self.text.get(span.start..span.start + span.length).unwrap_or_default().trim().to_owned()
    }

    fn span(&self, location: Location) -> Span {
        let span = location.span();
        let (start, length) = match (span.byte_offset(), span.byte_len()) {
            (Some(start), Some(length)) => (start as usize, length as usize),
            _ => self.bytes(span.offset() as usize, span.len() as usize),
        };
        let start = start.min(self.text.len());
        Span { source: self.source, start, length: length.min(self.text.len() - start) }
    }

    /// The parser's own errors count in characters.
    fn bytes(&self, characters: usize, length: usize) -> (usize, usize) {
        let mut places = self.text.char_indices().map(|(byte, _)| byte).skip(characters);
        let start = places.next().unwrap_or(self.text.len());
        let end = match length {
            0 => start,
            _ => places.nth(length - 1).unwrap_or(self.text.len()),
        };
        (start, end - start)
    }

    fn problem(&self, error: &serde_saphyr::Error) -> Problem {
        let location = error.location().unwrap_or(Location::UNKNOWN);
        let message = error.to_string();
        // The place is shown by the caret.
        let message = message.rsplit_once(" at line ").map_or(message.as_str(), |(message, _)| message);
        let message = match error.without_snippet() {
            serde_saphyr::Error::MultipleDocuments { .. } => "a second document begins".to_owned(),
            _ => format!("not YAML: {message}"),
        };
        Problem::new(message, self.span(location), "here")
    }
}

/// What the deserialiser hands over, before spans are resolved.
enum Raw {
    Text(String),
    /// A plain scalar that YAML would give a type; its text is taken from the source.
    Typed,
    Null,
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
    Sequence(Vec<Spanned<Self>>),
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Raw, E> {
        Ok(Raw::Typed)
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Raw, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = sequence.next_element()? {
            nodes.push(node);
        }
        Ok(Raw::Sequence(nodes))
    }
}
