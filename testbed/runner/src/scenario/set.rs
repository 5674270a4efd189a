//! `--set a.b.c=value`: puts a value into the tree before it is read, so that it is checked like the file and complaints
//! about it point at the argument.
//!
//! Steps of the path are keys, or places in a list counted from 0. The last may be new; the ones before it must exist,
//! unless they would be keys.

use super::{
    diagnostic::{Problem, Problems, SourceId, Span},
    yaml::{self, Entry, Node, Value},
};

/// Applies one argument, or records why it cannot be.
pub(crate) fn apply(root: &mut Node, argument: &str, problems: &mut Problems) {
    let source = problems.sources.add(format!("--set {argument}"), argument.to_owned());
    if let Err(problem) = try_apply(root, argument, source) {
        problems.push(problem);
    }
}

fn try_apply(root: &mut Node, argument: &str, source: SourceId) -> Result<(), Problem> {
    let whole = Span { source, start: 0, length: argument.len() };
    let Some((path, value)) = argument.split_once('=') else {
        return Err(
            Problem::new("`--set` wants PATH=VALUE", whole, "no `=`").help("such as --set duration=25s")
        );
    };
    let value = parse_value(value, path.len() + 1, source)?;
    let mut node = root;
    let mut start = 0;
    for step in path.split('.') {
        node = descend(node, step, Span { source, start, length: step.len() })?;
        start += step.len() + 1;
    }
    *node = value;
    Ok(())
}

/// Blanks before it keep the places right.
fn parse_value(value: &str, start: usize, source: SourceId) -> Result<Node, Problem> {
    let mut node = yaml::parse(&format!("{}{value}", " ".repeat(start)), source)?;
    if value.is_empty() {
        // There is nothing to point at but the argument itself.
        node.span = Span { source, start: 0, length: start };
    }
    Ok(node)
}

fn descend<'n>(node: &'n mut Node, step: &str, span: Span) -> Result<&'n mut Node, Problem> {
    if step.is_empty() {
        return Err(Problem::new("an empty step in the path", span, "here"));
    }
    if matches!(&node.value, Value::Scalar { text } if text.is_empty()) {
        node.value = Value::Map(Vec::new());
    }
    match &mut node.value {
        Value::Map(entries) => Ok(entry(entries, step, span)),
        Value::Sequence(nodes) => element(nodes, step, span),
        Value::Scalar { .. } => {
            Err(Problem::new(format!("there is nothing below which `{step}` could be"), span, "here"))
        }
    }
}

/// A new key stands where the argument names it, so an unknown one is complained about there.
fn entry<'n>(entries: &'n mut Vec<Entry>, step: &str, span: Span) -> &'n mut Node {
    let place = entries.iter().position(|entry| entry.key == step).unwrap_or_else(|| {
        let value = Node { span, value: Value::Scalar { text: String::new() } };
        entries.push(Entry { key: step.to_owned(), key_span: span, value });
        entries.len() - 1
    });
    &mut entries[place].value
}

fn element<'n>(nodes: &'n mut [Node], step: &str, span: Span) -> Result<&'n mut Node, Problem> {
    let count = nodes.len();
    let found = step.parse::<usize>().ok().and_then(|index| nodes.get_mut(index));
    found.ok_or_else(|| {
        let valid = match count {
            0 => "the list is empty".to_owned(),
            1 => "valid: 0".to_owned(),
            count => format!("valid: 0 to {}", count - 1),
        };
        Problem::new(format!("`{step}` is not a place in this list"), span, "here").help(valid)
    })
}
