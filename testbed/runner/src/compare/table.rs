//! Rows as a table for people: plain text without colours, as wide as it is told.

use super::{Row, Verdict};
use comfy_table::{ContentArrangement, Table, presets};
use std::{collections::BTreeMap, fmt::Write as _};

/// Used where no terminal tells its width.
const DEFAULT_WIDTH: u16 = 120;

/// The table, what is weak about its rows, and how many rows got which verdict.
pub(crate) fn render(rows: &[Row], width: Option<u16>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width.unwrap_or(DEFAULT_WIDTH))
        .set_header(["id", "theirs", "ours", "verdict", "source"]);
    for row in rows {
        table.add_row([&row.id, &row.theirs, &row.ours, &row.judged(), &row.source]);
    }
    format!("{}\n{}{}", table.trim_fmt(), caveats(rows), tally(rows))
}

fn caveats(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows.iter().filter(|row| row.verdict != Verdict::NotTested) {
        let conflict = row.conflicts_with.join(", ");
        let conflict = (!conflict.is_empty()).then(|| format!("contradicted by {conflict}"));
        let comparable = row.comparable_if.iter().map(|what| format!("comparable if {what}"));
        let parts: Vec<String> = row.quality.iter().cloned().chain(comparable).chain(conflict).collect();
        if !parts.is_empty() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {}: {}", row.id, parts.join("; "));
        }
    }
    if text.is_empty() { text } else { format!("To keep in mind:\n{text}") }
}

fn tally(rows: &[Row]) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for row in rows {
        *counts.entry(row.verdict.to_string()).or_default() += 1;
    }
    let counts: Vec<String> =
        counts.into_iter().map(|(verdict, count)| format!("{count} {verdict}")).collect();
    format!("{} rows: {}\n", rows.len(), counts.join(", "))
}
