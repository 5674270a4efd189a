//! Rows for programs: one JSON document, comma-separated values, or Markdown.

use super::{Group, Row, Run};
use serde::Serialize;
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _};

/// Version of the document's form.
const SCHEMA: u32 = 1;

/// How rows are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// Tables for people.
    Text,
    Json,
    Csv,
    Markdown,
}

/// One experiment with its rows.
pub(crate) struct Compared<'a> {
    pub(crate) group: Group<'a>,
    pub(crate) rows: Vec<Row>,
}

#[derive(Serialize)]
struct Document<'a> {
    schema: u32,
    groups: Vec<GroupDocument<'a>>,
}

#[derive(Serialize)]
struct GroupDocument<'a> {
    differs: &'a BTreeMap<String, Value>,
    runs: Vec<&'a str>,
    invalid: Vec<Invalid<'a>>,
    rows: &'a [Row],
}

#[derive(Serialize)]
struct Invalid<'a> {
    run_dir: &'a str,
    why: &'a str,
}

pub(crate) fn json(compared: &[Compared<'_>]) -> String {
    let groups = compared.iter().map(|one| GroupDocument {
        differs: &one.group.differs,
        runs: one.group.valid().map(|run| run.facts.run_dir.as_str()).collect(),
        invalid: one
            .group
            .invalid()
            .map(|run| Invalid { run_dir: &run.facts.run_dir, why: why(run) })
            .collect(),
        rows: &one.rows,
    });
    let document = Document { schema: SCHEMA, groups: groups.collect() };
    // Strings, numbers and maps with string keys: nothing that JSON cannot say.
    serde_json::to_string_pretty(&document).unwrap_or_default() + "\n"
}

/// A line for each row; groups by their number, from 1.
pub(crate) fn csv(compared: &[Compared<'_>]) -> String {
    let mut text =
        "group,differs,id,subject,theirs,ours,unit,median,low,high,n,verdict,why,source\n".to_owned();
    for (place, one) in compared.iter().enumerate() {
        let differs = one.group.differences();
        for row in &one.rows {
            let number = |value: Option<f64>| value.map(|value| value.to_string()).unwrap_or_default();
            let cells = [
                (place + 1).to_string(),
                differs.clone(),
                row.id.clone(),
                row.subject.clone(),
                row.theirs.clone(),
                row.ours.clone(),
                row.unit.clone().unwrap_or_default(),
                number(row.median),
                number(row.low),
                number(row.high),
                row.n.to_string(),
                row.verdict.to_string(),
                row.why.clone().unwrap_or_default(),
                row.source.clone(),
            ];
            let line: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
            let _ = writeln!(text, "{}", line.join(","));
        }
    }
    text
}

/// RFC 4180, section 2.
fn quoted(cell: &str) -> String {
    match cell.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", cell.replace('"', "\"\"")),
        false => cell.to_owned(),
    }
}

pub(crate) fn markdown(compared: &[Compared<'_>]) -> String {
    let mut text = String::new();
    for one in compared {
        if compared.len() > 1 {
            let _ = writeln!(text, "### {}\n", escaped(&one.group.differences()));
        }
        text.push_str("| id | theirs | ours | verdict | source |\n|---|---|---|---|---|\n");
        for row in &one.rows {
            let cells =
                [&row.id, &row.theirs, &row.ours, &row.judged(), &row.source].map(|cell| escaped(cell));
            let _ = writeln!(text, "| {} |", cells.join(" | "));
        }
        for run in one.group.invalid() {
            let _ = writeln!(text, "\nInvalid, left out: `{}`: {}", run.facts.run_dir, escaped(why(run)));
        }
        text.push('\n');
    }
    text
}

fn escaped(cell: &str) -> String {
    cell.replace('|', "\\|").replace('\n', " ")
}

pub(crate) fn why(run: &Run) -> &str {
    run.results.invalid_why.as_deref().unwrap_or("unknown")
}
