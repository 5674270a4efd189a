//! The lines of each interval: one for each path, one for the call, one for each transfer; and how figures are written.
//!
//! Rates of a path are of UDP payload, between the newest samples of this interval and of the one before.

use crate::{
    summary::{Counts, Path, Sample, Summary},
    transfer::Transfer,
};
use record::{CandidateKind, Direction, PathState};
use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

/// Over less than this the handshake, which comes before a path is told of, would pass for a rate.
const SHORTEST: Duration = Duration::from_millis(20);

/// What was told at the end of the interval before.
#[derive(Debug, Default)]
pub(crate) struct Intervals {
    headed: bool,
    at: Option<Instant>,
    samples: BTreeMap<u64, Sample>,
    call: Counts,
    /// By place in the summary's list.
    transfers: BTreeMap<usize, u64>,
}

impl Intervals {
    /// The interval that ends at `at`: without the time in front, and with a heading once.
    pub(crate) fn lines(&mut self, at: Instant, summary: &Summary) -> Vec<String> {
        let mut lines = vec![];
        if !std::mem::replace(&mut self.headed, true) {
            let (path, sent, received) = ("path", "sent", "received");
            lines.push(format!(
                "  #  {path:<44} {sent:>13} {received:>13} {:>10} {:>7}  state",
                "RTT", "lost"
            ));
        }
        for (number, path) in summary.paths() {
            // A path has carried nothing when it is opened.
            let nothing = Sample { at: Some(path.opened), ..Sample::default() };
            let before = self.samples.insert(*number, path.sample).unwrap_or(nothing);
            if path.state != PathState::Closed || path.sample.bytes_sent != before.bytes_sent {
                lines.push(path_line(*number, path, &before));
            }
        }
        if summary.has_call() {
            let counts = summary.counts();
            lines.push(call_line(counts, std::mem::replace(&mut self.call, counts)));
        }
        let span = self.at.replace(at).map(|before| at.saturating_duration_since(before));
        for (place, transfer) in summary.transfers().iter().enumerate() {
            let before = self.transfers.insert(place, transfer.bytes).unwrap_or(0);
            if transfer.ended.is_none() || transfer.bytes != before {
                let span = span.unwrap_or_else(|| summary.since_start(at));
                lines.push(transfer_line(transfer, transfer.bytes.saturating_sub(before), span));
            }
        }
        lines
    }
}

fn path_line(number: u64, path: &Path, before: &Sample) -> String {
    let now = &path.sample;
    let span = match (now.at, before.at) {
        (Some(now), Some(before)) => now.saturating_duration_since(before),
        _ => Duration::ZERO,
    };
    let rate = |now: u64, before: u64| match span < SHORTEST {
        true => "-".to_owned(),
        false => bit_rate(now.saturating_sub(before), span),
    };
    let rtt = path.rtt_ms.map_or("-".to_owned(), |rtt| format!("{rtt:.1} ms"));
    let marker = if path.state == PathState::Active { '*' } else { ' ' };
    format!(
        "{marker} {number}  {:<44} {:>13} {:>13} {rtt:>10} {:>7}  {}",
        route(path),
        rate(now.bytes_sent, before.bytes_sent),
        rate(now.bytes_received, before.bytes_received),
        lost(now, before),
        state_word(path.state)
    )
}

/// Of the packets that this end sent.
fn lost(now: &Sample, before: &Sample) -> String {
    let (Some(sent), Some(lost)) = (now.packets_sent, now.packets_lost) else { return "-".to_owned() };
    let sent = sent.saturating_sub(before.packets_sent.unwrap_or(0));
    // Some of what is lost now was sent in the interval before.
    let lost = lost.saturating_sub(before.packets_lost.unwrap_or(0));
    match sent {
        0 if lost == 0 => "-".to_owned(),
        _ => format!("{:.1} %", (lost as f64 * 100.0 / sent.max(lost) as f64)),
    }
}

fn call_line(now: Counts, before: Counts) -> String {
    // A late datagram fills a hole of an earlier interval.
    let missing = now.missing.saturating_sub(before.missing);
    let (sent, received) = (now.sent - before.sent, now.received - before.received);
    format!("     call: {sent} sent, {received} received, {missing} missing")
}

fn transfer_line(transfer: &Transfer, bytes: u64, span: Duration) -> String {
    let rate = if span.is_zero() { "-".to_owned() } else { bit_rate(bytes, span) };
    let of = transfer.size.map(|size| format!(" of {}", byte_count(size))).unwrap_or_default();
    format!("     bulk {}: {}{of}, {rate}", direction_word(transfer), byte_count(transfer.bytes))
}

/// What this end does in a transfer.
pub(crate) fn direction_word(transfer: &Transfer) -> &'static str {
    match (transfer.sending, transfer.direction) {
        (true, Direction::Up) => "to the server",
        (true, Direction::Down) => "to the client",
        (false, Direction::Up) => "from the client",
        (false, Direction::Down) => "from the server",
    }
}

/// Where a path leads.
pub(crate) fn route(path: &Path) -> String {
    let to = path.remote_interface.clone().unwrap_or_else(|| path.remote.to_string());
    let family = if path.remote.is_ipv4() { "IPv4" } else { "IPv6" };
    format!("{} -> {to} ({}, {family})", path.local_interface, candidate_word(path.kind))
}

/// A candidate's type.
pub(crate) fn candidate_word(kind: CandidateKind) -> &'static str {
    match kind {
        CandidateKind::Host => "host",
        CandidateKind::Srflx => "server-reflexive",
        CandidateKind::Prflx => "peer-reflexive",
        CandidateKind::Relay => "relayed",
    }
}

fn state_word(state: PathState) -> &'static str {
    match state {
        PathState::Opening => "opening",
        PathState::Validated => "open",
        PathState::Active => "active",
        PathState::Backup => "backup",
        PathState::Closed => "closed",
    }
}

/// With a decimal unit, as networks count.
pub(crate) fn bit_rate(bytes: u64, span: Duration) -> String {
    let per_second = bytes as f64 * 8.0 / span.as_secs_f64();
    format!("{}bit/s", decimal(per_second))
}

/// With a decimal unit.
pub(crate) fn byte_count(bytes: u64) -> String {
    format!("{}B", decimal(bytes as f64))
}

fn decimal(value: f64) -> String {
    let scaled = [(1e9, "G"), (1e6, "M"), (1e3, "k")].into_iter().find(|(scale, _)| value >= *scale);
    match scaled {
        Some((scale, prefix)) => format!("{:.2} {prefix}", value / scale),
        None => format!("{value:.0} "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::{path, received, sample};
    use crate::transfer;
    use record::EventKind;

    fn summary() -> (Instant, Summary) {
        let (now, mut summary) = (Instant::now(), Summary::new());
        summary.apply(now, &EventKind::Started {});
        summary.apply(now, &path(0, "wlan0", PathState::Active));
        summary.apply(now, &path(1, "wwan0", PathState::Backup));
        (now, summary)
    }

    #[test]
    fn each_path_has_a_line_and_a_star_marks_the_active_one() {
        let (now, mut summary) = summary();
        let mut intervals = Intervals::default();
        let after = |ms| now + Duration::from_millis(ms);
        summary.apply(after(50), &sample(0, 1000, 500, Some((10, 0))));
        let first = intervals.lines(after(100), &summary);
        assert_eq!(first.len(), 3, "{first:?}");
        assert!(first[0].starts_with("  #  path"), "{first:?}");
        assert!(first[1].contains(" 160.00 kbit/s ") && first[1].contains(" 80.00 kbit/s "), "{first:?}");
        // The second sample came a second after the first, whenever lines are told.
        summary.apply(after(1050), &sample(0, 126_000, 1500, Some((30, 5))));
        summary.apply(after(1060), &received(0));
        let second = intervals.lines(after(1100), &summary);
        assert_eq!(
            second[0],
            "* 0  wlan0 -> eth0 (server-reflexive, IPv4)         1.00 Mbit/s   8.00 kbit/s     2.5 ms  25.0 %  active"
        );
        assert!(
            second[1].starts_with("  1  wwan0 -> eth0") && second[1].ends_with("-  backup"),
            "{second:?}"
        );
        assert_eq!(second[2], "     call: 0 sent, 1 received, 0 missing");
    }

    #[test]
    fn a_first_sample_that_comes_late_counts_from_the_opening_of_the_path() {
        let (now, mut summary) = summary();
        let mut intervals = Intervals::default();
        let after = |ms| now + Duration::from_millis(ms);
        let early = intervals.lines(after(100), &summary);
        assert!(early[1].contains(" - ") && !early[1].contains("bit/s"), "{early:?}");
        summary.apply(after(150), &sample(0, 3000, 0, None));
        let late = intervals.lines(after(200), &summary);
        assert!(late[0].contains(" 160.00 kbit/s "), "{late:?}");
    }

    #[test]
    fn the_handshake_is_no_rate() {
        let (now, mut summary) = summary();
        summary.apply(now + Duration::from_millis(1), &sample(0, 14_000, 7000, None));
        let lines = Intervals::default().lines(now + Duration::from_millis(40), &summary);
        assert!(lines[1].contains(" - ") && !lines[1].contains("bit/s"), "{lines:?}");
    }

    #[test]
    fn a_closed_path_is_told_once_more_if_it_carried_anything() {
        let (now, mut summary) = summary();
        let mut intervals = Intervals::default();
        summary.apply(now, &path(1, "wwan0", PathState::Closed));
        assert_eq!(intervals.lines(now, &summary).len(), 2);
        summary.apply(now, &sample(0, 1000, 500, None));
        summary.apply(now, &path(0, "wlan0", PathState::Closed));
        let last = intervals.lines(now, &summary);
        assert!(last.len() == 1 && last[0].ends_with("closed"), "{last:?}");
        assert!(intervals.lines(now, &summary).is_empty());
    }

    #[test]
    fn a_transfer_has_a_line_until_it_is_over() {
        let (now, mut summary) = summary();
        let mut intervals = Intervals::default();
        let second = now + Duration::from_secs(1);
        summary.apply(now, &transfer::tests::begins(false));
        summary.apply(second, &transfer::tests::arrived(1500, 1000));
        let lines = intervals.lines(second, &summary);
        assert_eq!(lines.last().unwrap(), "     bulk from the client: 1.50 kB of 3.00 kB, 12.00 kbit/s");
    }

    #[test]
    fn figures_have_decimal_units() {
        let second = Duration::from_secs(1);
        for (bytes, text) in [(0, "0 bit/s"), (100, "800 bit/s"), (12_500_000, "100.00 Mbit/s")] {
            assert_eq!(bit_rate(bytes, second), text);
        }
        assert_eq!(byte_count(999), "999 B");
        assert_eq!(byte_count(20_000_000_000), "20.00 GB");
    }
}
