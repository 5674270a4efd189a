//! Reading values out of the tree. Every method either gives a value that is valid by its type, or records a problem
//! with its place and gives nothing; so one pass finds many problems.

use super::{
    diagnostic::{Problem, Problems, Span, closest, suggest},
    words::Vocabulary,
    yaml::{Entry, Node, Value},
};
use std::fmt::Display;

/// A map whose keys were checked against a vocabulary.
pub(crate) struct Table<'n> {
    node: &'n Node,
    entries: &'n [Entry],
    vocabulary: &'static Vocabulary,
}

impl<'n> Table<'n> {
    /// Complains about keys that are doubled, unknown or not in this version.
    pub(crate) fn open(
        node: &'n Node,
        vocabulary: &'static Vocabulary,
        problems: &mut Problems,
    ) -> Option<Self> {
        let entries = map(node, problems)?;
        for entry in entries {
            known_word(&entry.key, entry.key_span, vocabulary, problems);
        }
        Some(Self { node, entries, vocabulary })
    }

    /// Where the whole table stands.
    pub(crate) fn span(&self) -> Span {
        self.node.span
    }

    pub(crate) fn get(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    pub(crate) fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Complains when the key is missing, unless it is there in another spelling, which was told.
    pub(crate) fn require(&self, key: &str, problems: &mut Problems) -> Option<&'n Node> {
        let found = self.get(key);
        if found.is_none() && !self.entries.iter().any(|entry| is_misspelt(entry, key, self.vocabulary)) {
            let what = self.vocabulary.what;
            let owner = what.rsplit_once(" of ").map_or(what, |(_, owner)| owner);
            let message = format!("`{key}` is missing from {owner}");
            problems.push(Problem::new(message, self.span(), format!("needs `{key}`")));
        }
        found
    }
}

/// A map has the key in another spelling.
pub(crate) fn is_key_misspelt(node: &Node, key: &str, vocabulary: &Vocabulary) -> bool {
    let Value::Map(entries) = &node.value else { return false };
    entries.iter().any(|entry| is_misspelt(entry, key, vocabulary))
}

fn is_misspelt(entry: &Entry, key: &str, vocabulary: &Vocabulary) -> bool {
    !vocabulary.known.contains(&entry.key.as_str()) && closest(&entry.key, [key]).is_some()
}

/// The one key of a map such as `{down: laptop.wlan0}`, with its value.
pub(crate) fn variant<'n>(
    node: &'n Node,
    vocabulary: &Vocabulary,
    problems: &mut Problems,
) -> Option<&'n Entry> {
    let entries = map(node, problems)?;
    let [entry] = entries else {
        let message = format!("wanted: {}, by one key", vocabulary.what);
        let label = format!("{} keys", entries.len());
        problems.push(
            Problem::new(message, node.span, label).help(format!("valid: {}", vocabulary.known.join(", "))),
        );
        return None;
    };
    known_word(&entry.key, entry.key_span, vocabulary, problems).map(|_| entry)
}

/// The entries of a map whose keys are free names. Complains about doubled keys.
pub(crate) fn map<'n>(node: &'n Node, problems: &mut Problems) -> Option<&'n [Entry]> {
    let Value::Map(entries) = &node.value else {
        problems.push(wrong_form(node, "keys and values (`key: value`)"));
        return None;
    };
    for (index, entry) in entries.iter().enumerate() {
        if let Some(first) = entries[..index].iter().find(|first| first.key == entry.key) {
            let message = format!("`{}` is given twice", entry.key);
            let again = Problem::new(message, entry.key_span, "again");
            problems.push(again.also(first.key_span, "first here"));
        }
    }
    Some(entries)
}

/// The elements of a list.
pub(crate) fn sequence<'n>(node: &'n Node, problems: &mut Problems) -> Option<&'n [Node]> {
    match &node.value {
        Value::Sequence(nodes) => Some(nodes),
        _ => {
            problems.push(wrong_form(node, "a list (`[...]`)"));
            None
        }
    }
}

/// Text that is not empty.
pub(crate) fn text<'n>(node: &'n Node, what: &str, problems: &mut Problems) -> Option<&'n str> {
    match &node.value {
        Value::Scalar { text } if !text.trim().is_empty() => Some(text),
        Value::Scalar { .. } => {
            problems.push(Problem::new(format!("{what} is missing"), node.span, "nothing is given"));
            None
        }
        _ => {
            problems.push(wrong_form(node, what));
            None
        }
    }
}

/// A value that is parsed from its text.
pub(crate) fn value<T, E: Display>(
    node: &Node,
    what: &str,
    parse: impl FnOnce(&str) -> Result<T, E>,
    problems: &mut Problems,
) -> Option<T> {
    let written = text(node, what, problems)?;
    match parse(written) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(Problem::new(error.to_string(), node.span, format!("not {what}")));
            None
        }
    }
}

/// A whole number.
pub(crate) fn number<T: std::str::FromStr>(node: &Node, what: &str, problems: &mut Problems) -> Option<T> {
    let parse = |text: &str| text.parse().map_err(|_| format!("`{text}` is not {what}"));
    value(node, what, parse, problems)
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, problems: &mut Problems) -> Option<bool> {
    const BOOLEAN: Vocabulary = Vocabulary { what: "true or false", known: &["true", "false"], not_yet: &[] };
    word(node, &BOOLEAN, problems).map(|word| word == "true")
}

/// One word of a vocabulary.
pub(crate) fn word(node: &Node, vocabulary: &Vocabulary, problems: &mut Problems) -> Option<&'static str> {
    let written = text(node, vocabulary.what, problems)?;
    known_word(written, node.span, vocabulary, problems)
}

/// A name that something else in the scenario has.
pub(crate) fn reference<'n>(
    node: &'n Node,
    what: &str,
    names: &[&str],
    problems: &mut Problems,
) -> Option<&'n str> {
    let written = text(node, what, problems)?;
    if names.contains(&written) {
        return Some(written);
    }
    problems.push(unknown(written, node.span, what, names));
    None
}

/// A name that refers to nothing.
pub(crate) fn unknown(written: &str, span: Span, what: &str, names: &[&str]) -> Problem {
    let label = format!("no such {}", what.trim_start_matches("an ").trim_start_matches("a "));
    let message = format!("`{written}` is not {what} of this scenario");
    Problem::new(message, span, label).help(suggest(written, names.iter().copied()))
}

fn known_word(
    written: &str,
    span: Span,
    vocabulary: &Vocabulary,
    problems: &mut Problems,
) -> Option<&'static str> {
    if let Some(known) = vocabulary.known.iter().find(|known| **known == written) {
        return Some(known);
    }
    problems.push(strange_word(written, span, vocabulary));
    None
}

fn strange_word(written: &str, span: Span, vocabulary: &Vocabulary) -> Problem {
    let valid = || suggest(written, vocabulary.known.iter().copied());
    if vocabulary.not_yet.contains(&written) {
        let message = format!("`{written}` is not in this version");
        return Problem::new(message, span, "not in this version").help(valid());
    }
    let problem = Problem::new(format!("`{written}` is not {}", vocabulary.what), span, "unknown");
    if closest(written, vocabulary.known.iter().copied()).is_none()
        && let Some(later) = closest(written, vocabulary.not_yet.iter().copied())
    {
        return problem.help(format!("`{later}` is not in this version\n{}", valid()));
    }
    problem.help(valid())
}

/// A form of the contract that is not built yet.
pub(crate) fn form_not_yet(what: &str, span: Span, help: impl Into<String>) -> Problem {
    Problem::new(format!("{what} is not in this version"), span, "not in this version").help(help)
}

fn wrong_form(node: &Node, wanted: &str) -> Problem {
    let found = match &node.value {
        Value::Scalar { text } if text.is_empty() => "nothing",
        Value::Scalar { .. } => "a single value",
        Value::Map(_) => "keys and values",
        Value::Sequence(_) => "a list",
    };
    Problem::new(format!("wanted: {wanted}; found: {found}"), node.span, format!("not {wanted}"))
}

/// `none`, or something.
pub(crate) fn unless_none<T>(node: &Node, read: impl FnOnce(&Node) -> Option<T>) -> Option<Option<T>> {
    match &node.value {
        Value::Scalar { text } if text == NONE => Some(None),
        _ => read(node).map(Some),
    }
}

const NONE: &str = "none";

/// For `#[serde(serialize_with)]`: what [`unless_none`] reads.
pub(crate) fn or_none<T: serde::Serialize, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => value.serialize(serializer),
        None => serializer.serialize_str(NONE),
    }
}
