//! What a probe found out, as a table for people.

use record::{Blocking, ControlAnswer, Probes};
use std::fmt::Write as _;

/// One line for each direction of each pair of interfaces, and what its verdict rests on.
pub(crate) fn table(findings: &[Blocking]) -> Vec<String> {
    let heads = [
        "way", "family", "here", "there", "plain", "0x40", "cookie", "both", "+length", "xor", "random",
        "quic",
    ];
    let mut rows: Vec<Vec<String>> = vec![heads.map(str::to_owned).to_vec()];
    rows[0].extend(["control".to_owned(), "verdict".to_owned()]);
    rows.extend(findings.iter().map(row));
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut lines = vec![];
    for (place, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        lines.push(line.trim_end().to_owned());
        if let Some(found) = place.checked_sub(1).and_then(|place| findings.get(place)) {
            lines.push(format!("    {}", found.why));
        }
    }
    lines
}

fn row(found: &Blocking) -> Vec<String> {
    let there = match (&found.remote_interface, found.remote) {
        (Some(name), Some(address)) => format!("{name} {address}"),
        (Some(name), None) => name.clone(),
        (None, _) => "?".to_owned(),
    };
    let mut row = vec![
        found.direction.as_str().to_owned(),
        found.family.to_string(),
        found.local_interface.clone(),
        there,
        count(found.plain),
    ];
    row.extend(found.variants.named().map(|(_, probes)| count(probes)));
    let control = match found.control {
        ControlAnswer::NotAsked => "-",
        ControlAnswer::Open => "open",
        ControlAnswer::Partial => "partial",
        ControlAnswer::Silent => "silent",
    };
    row.extend([control.to_owned(), found.verdict.to_string()]);
    row
}

fn count(probes: Probes) -> String {
    let Probes { sent, arrived, blocked_after } = probes;
    // Where it ceased in the middle, the counts alone look like loss.
    match blocked_after.filter(|after| after.packets > 0) {
        Some(after) => format!("{arrived}/{sent} until {}", after.packets),
        None => format!("{arrived}/{sent}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use record::{BlockedAfter, BlockingVerdict, Family, Variants, Way};

    #[test]
    fn people_see_counts_verdict_and_reason() {
        let found = Blocking {
            local_interface: "wwan0".into(),
            remote_interface: Some("eth0".into()),
            remote: Some("203.0.113.1:4000".parse().unwrap()),
            family: Family::Ipv4,
            direction: Way::Out,
            rounds: 15,
            plain: Probes { sent: 15, arrived: 0, blocked_after: Some(BlockedAfter::default()) },
            variants: Box::new(Variants {
                xor: Probes { sent: 9, arrived: 8, blocked_after: None },
                ..Variants::default()
            }),
            control: ControlAnswer::Partial,
            verdict: BlockingVerdict::StunFiltered,
            why: "because".into(),
        };
        let lines = table(&[found]);
        assert_eq!(lines.len(), 3);
        let cells: Vec<&str> = lines[1].split_whitespace().collect();
        assert_eq!(cells[..6], ["out", "IPv4", "wwan0", "eth0", "203.0.113.1:4000", "0/15"]);
        assert_eq!((cells[10], cells[13], cells[14]), ("8/9", "partial", "stun-filtered"));
        assert_eq!(lines[2], "    because");
        let after = Some(BlockedAfter { packets: 3, ms: 960 });
        assert_eq!(count(Probes { sent: 15, arrived: 2, blocked_after: after }), "2/15 until 3");
        assert_eq!(lines[0].find("verdict"), lines[1].find("stun-filtered"));
    }
}
