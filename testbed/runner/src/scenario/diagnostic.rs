//! Problems with a place: what is wrong, where it stands, and what would be right.
//!
//! Rendering is left to miette and the place of printing; nothing here knows about terminals.

use miette::{LabeledSpan, NamedSource, SourceCode};
use std::fmt;

/// Texts that values come from: the scenario file, then every `--set` argument.
#[derive(Debug, Default)]
pub(crate) struct Sources(Vec<NamedSource<String>>);

/// Which text of [`Sources`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SourceId(usize);

impl Sources {
    pub(crate) fn add(&mut self, name: impl AsRef<str>, text: String) -> SourceId {
        self.0.push(NamedSource::new(name, text));
        SourceId(self.0.len() - 1)
    }
}

/// A stretch of bytes of one text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) source: SourceId,
    pub(crate) start: usize,
    pub(crate) length: usize,
}

/// One thing that is wrong.
#[derive(Debug)]
pub(crate) struct Problem {
    message: String,
    labels: Vec<(Span, String)>,
    help: Option<String>,
}

impl Problem {
    /// `message` says what is wrong in full; `label` stands under the caret and may be empty.
    pub(crate) fn new(message: impl Into<String>, span: Span, label: impl Into<String>) -> Self {
        Self { message: message.into(), labels: vec![(span, label.into())], help: None }
    }

    /// A second place that belongs to it, in the same text.
    pub(crate) fn also(mut self, span: Span, label: impl Into<String>) -> Self {
        self.labels.push((span, label.into()));
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// All that is wrong with a scenario, with the texts to point into.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    pub(crate) sources: Sources,
    found: Vec<Problem>,
}

impl Problems {
    pub(crate) fn push(&mut self, problem: Problem) {
        self.found.push(problem);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// What to show, in the order of the texts.
    pub(crate) fn diagnostics(&self) -> Vec<Diagnostic<'_>> {
        let mut sorted: Vec<&Problem> = self.found.iter().collect();
        sorted.sort_by_key(|problem| problem.labels.first().map(|(span, _)| (span.source.0, span.start)));
        sorted.into_iter().map(|problem| Diagnostic { problem, sources: &self.sources }).collect()
    }
}

/// A [`Problem`] beside its text, as miette wants it.
#[derive(Debug)]
pub(crate) struct Diagnostic<'a> {
    problem: &'a Problem,
    sources: &'a Sources,
}

impl fmt::Display for Diagnostic<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.problem.message)
    }
}

impl std::error::Error for Diagnostic<'_> {}

impl miette::Diagnostic for Diagnostic<'_> {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let (span, _) = self.problem.labels.first()?;
        self.sources.0.get(span.source.0).map(|source| source as &dyn SourceCode)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let first = self.problem.labels.first()?.0.source;
        let labels = self.problem.labels.iter().filter(move |(span, _)| span.source == first);
        Some(Box::new(labels.map(|(span, label)| {
            LabeledSpan::new(Some(label.clone()).filter(|label| !label.is_empty()), span.start, span.length)
        })))
    }
}

/// The choice that was probably meant: few edits away, fewer for short words; or the one that begins like it.
pub(crate) fn closest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const LEAST_BEGINNING: usize = 2;
    let mut longer = choices.clone().into_iter().filter(|choice| choice.starts_with(word));
    if word.len() >= LEAST_BEGINNING
        && let (Some(only), None) = (longer.next(), longer.next())
    {
        return Some(only);
    }
    let limit = (word.chars().count() / 3).max(1);
    choices
        .into_iter()
        .map(|choice| (edits(word, choice), choice))
        .filter(|&(edits, _)| edits <= limit)
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, choice)| choice)
}

/// "did you mean x? Valid: ...".
pub(crate) fn suggest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str> + Clone) -> String {
    let all: Vec<&str> = choices.clone().into_iter().collect();
    let valid = match all.as_slice() {
        [] => "there is none".to_owned(),
        [only] => format!("valid: {only}"),
        many => format!("valid: {}", many.join(", ")),
    };
    match closest(word, choices) {
        Some(meant) => format!("did you mean `{meant}`?\n{valid}"),
        None => valid,
    }
}

/// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
fn edits(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.to_lowercase().chars().collect();
    let right: Vec<char> = right.to_lowercase().chars().collect();
    let mut rows: Vec<Vec<usize>> = vec![(0..=right.len()).collect()];
    for (i, &a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let substitute = rows[i][j] + usize::from(a != b);
            let mut best = substitute.min(rows[i][j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a == right[j - 1] && left[i - 1] == b {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows.last().and_then(|row| row.last()).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_finger_is_recognised_and_another_word_is_not() {
        let choices = ["delay", "jitter", "rate", "queue"];
        assert_eq!(closest("dealy", choices), Some("delay"));
        assert_eq!(closest("Rate", choices), Some("rate"));
        assert_eq!(closest("jiter", choices), Some("jitter"));
        assert_eq!(closest("qu", choices), Some("queue"));
        assert_eq!(closest("loss", choices), None);
        assert_eq!(closest("", choices), None);
    }

    #[test]
    fn a_suggestion_names_what_is_valid() {
        assert_eq!(suggest("loss", ["rate", "queue"]), "valid: rate, queue");
        assert_eq!(suggest("queu", ["rate", "queue"]), "did you mean `queue`?\nvalid: rate, queue");
        assert_eq!(suggest("x", []), "there is none");
    }
}
