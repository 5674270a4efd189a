//! What people read: the connection, changes of path as they happen, lines each interval, a summary.
//!
//! A fold of the same events that go into the record. With `--json` all of it goes to standard error, and standard
//! output gets one document at the end.

use crate::{
    blocked,
    interfaces::Interface,
    intervals::{Intervals, byte_count, candidate_word, direction_word, route},
    map,
    summary::{Counts, Document, Summary},
    transfer::{Transfer, TransferOutcome},
};
use record::{DetectedBy, EventKind, InterfaceKind, PathState};
use std::{
    io::{self, Write},
    time::{Duration, Instant},
};

/// Writes for people.
pub(crate) struct Console {
    json: bool,
    summary: Summary,
    intervals: Intervals,
    role: &'static str,
}

impl Console {
    /// For a `server` or a `client`.
    pub(crate) fn new(role: &'static str, json: bool) -> Self {
        Self { json, summary: Summary::new(), intervals: Intervals::default(), role }
    }

    /// Takes an event in, and tells of it if it matters to people.
    pub(crate) fn tell(&mut self, at: Instant, event: &EventKind) {
        let before = self.active();
        self.summary.apply(at, event);
        let after = self.active();
        if let Some(text) = describe(event, self.summary.since_start(at)) {
            self.stamped(at, &text);
        }
        if before != after
            && let Some(route) = after
        {
            self.stamped(at, &format!("carried by {route}"));
        }
    }

    /// The interfaces at the start, the one that is preferred first.
    pub(crate) fn interfaces<'a>(
        &mut self,
        interfaces: impl Iterator<Item = &'a Interface>,
        policy: &peer::Policy,
    ) {
        let cost = |interface: &Interface| policy.cost.of(map::interface_kind(interface.kind));
        let mut interfaces: Vec<_> = interfaces.collect();
        interfaces.sort_by_key(|interface| (cost(interface), interface.metric.unwrap_or(u32::MAX)));
        for interface in interfaces {
            let addresses: Vec<String> = interface.addresses.iter().map(ToString::to_string).collect();
            let state = match (interface.up, interface.carrier) {
                (false, _) => "down".to_owned(),
                (true, false) => "no carrier".to_owned(),
                (true, true) if addresses.is_empty() => "no address".to_owned(),
                (true, true) => addresses.join(", "),
            };
            let kind = kind_word(interface.kind);
            self.line(&format!("  {:<15} {kind:<9} cost {:<4} {state}", interface.name, cost(interface)));
        }
    }

    /// The ticket, ready to be copied, with the options that the other end needs for this one's. Without a reader nobody
    /// could ever come: an error, unlike for other lines.
    pub(crate) fn ticket(&mut self, ticket: &str, options: &str) -> io::Result<()> {
        let text = format!(
            "On the other host (for one client, with which this server ends):\n\n  iceperf client {ticket}{options}\n\n"
        );
        let mut output: Box<dyn io::Write> =
            if self.json { Box::new(io::stderr()) } else { Box::new(io::stdout()) };
        output.write_all(text.as_bytes())?;
        output.flush()
    }

    /// The interval that ends at `at`; nothing before the connection.
    pub(crate) fn interval(&mut self, at: Instant) {
        if self.summary.connected().is_none() {
            return;
        }
        for line in self.intervals.lines(at, &self.summary) {
            self.stamped(at, &line);
        }
    }

    /// The end.
    pub(crate) fn finish(&mut self, now: Instant, outcome: &str, why: Option<String>) -> io::Result<()> {
        if self.summary.connected().is_some() {
            self.summarise(now);
        }
        if !self.summary.blocking().is_empty() {
            blocked::table(self.summary.blocking()).iter().for_each(|line| self.line(line));
        }
        if !self.json {
            return Ok(());
        }
        print_document(&self.summary.document(now, self.role, outcome, why))
    }

    /// Outcome of the transfer that ended worst, and how much of it there is.
    pub(crate) fn worst_transfer(&self) -> Option<(TransferOutcome, String)> {
        let worst = self.summary.transfers().iter().max_by_key(|transfer| transfer.outcome())?;
        Some((worst.outcome(), transfer_amount(worst)))
    }

    fn summarise(&mut self, now: Instant) {
        let since_start = self.summary.since_start(now);
        let mut lines = vec![String::new(), format!("{:.1} s:", since_start.as_secs_f64())];
        if self.summary.has_call() {
            lines.push(call_total(self.summary.counts()));
        }
        if let Some(silent) = self.summary.notably_silent(now) {
            lines.push(format!("  nothing arrived for the last {:.1} s", silent.as_secs_f64()));
        }
        let transfers = self.summary.transfers().iter();
        lines.extend(transfers.map(|transfer| transfer_total(transfer, since_start)));
        for path in self.summary.paths().values() {
            lines.push(format!(
                "  {:<44} {:>10} sent {:>10} received  {}",
                route(path),
                byte_count(path.sample.bytes_sent),
                byte_count(path.sample.bytes_received),
                path.rtt_ms.map(|rtt| format!("RTT {rtt:.1} ms")).unwrap_or_default()
            ));
        }
        let dropped = self.summary.rejected().iter().map(|(why, count)| format!("{count} {why}"));
        let dropped = dropped.collect::<Vec<_>>().join(", ");
        if !dropped.is_empty() {
            lines.push(format!("  datagrams dropped without effect: {dropped}"));
        }
        lines.iter().for_each(|line| self.line(line.trim_end()));
    }

    fn active(&self) -> Option<String> {
        self.summary.active().map(route)
    }

    fn stamped(&mut self, at: Instant, text: &str) {
        let seconds = self.summary.since_start(at).as_secs_f64();
        self.line(&format!("{seconds:8.3} s  {text}"));
    }

    /// A reader that has left does not end the call.
    fn line(&mut self, text: &str) {
        let result = if self.json {
            writeln!(io::stderr().lock(), "{text}")
        } else {
            writeln!(io::stdout().lock(), "{text}")
        };
        if let Err(error) = result {
            tracing::debug!(%error, "nobody reads");
        }
    }
}

fn call_total(counts: Counts) -> String {
    let Counts { sent, expired, received, missing } = counts;
    let expected = received + missing;
    let share = if expected == 0 { 0.0 } else { missing as f64 * 100.0 / expected as f64 };
    let expired = match expired {
        0 => String::new(),
        _ => format!(" ({expired} of them too old to leave)"),
    };
    format!(
        "  call: sent {sent}{expired}, received {received}, missing between arrivals {missing} ({share:.1} %)"
    )
}

fn transfer_amount(transfer: &Transfer) -> String {
    let of = transfer.size.map(|size| format!(" of {size}")).unwrap_or_default();
    format!("bulk {}: {}{of} bytes", direction_word(transfer), transfer.bytes)
}

fn transfer_total(transfer: &Transfer, now: Duration) -> String {
    let mut text = format!("  {}", transfer_amount(transfer));
    if let Some(goodput) = transfer.goodput() {
        text += &format!(", {:.2} Mbit/s", goodput as f64 / 1e6);
    }
    if let Some(stall) = transfer.longest_stall(now) {
        text += &format!(", longest stall {:.1} ms", stall.as_secs_f64() * 1e3);
    }
    if transfer.again > 0 {
        let how = if transfer.sending { "sent again" } else { "arrived again" };
        text += &format!(", {} bytes {how}", transfer.again);
    }
    let is_agreed = transfer.ended.as_ref().is_some_and(|ended| ended.sha256_ok == Some(true));
    text + match transfer.outcome() {
        TransferOutcome::Complete => ", SHA-256 equal at both ends",
        TransferOutcome::DigestDiffers => ", SHA-256 DIFFERS between the ends",
        TransferOutcome::Unconfirmed => ", NOT CONFIRMED: SHA-256 not compared",
        TransferOutcome::Incomplete if is_agreed => ", INCOMPLETE, SHA-256 of this part equal at both ends",
        TransferOutcome::Incomplete => ", INCOMPLETE, SHA-256 not compared",
    }
}

fn print_document(document: &Document<'_>) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer_pretty(&mut output, document)?;
    output.write_all(b"\n")?;
    output.flush()
}

fn describe(event: &EventKind, since_start: Duration) -> Option<String> {
    Some(match event {
        EventKind::Connected { connection, engine, multipath } => {
            let paths = if *multipath { "several paths" } else { "one path" };
            format!("connected after {} ms ({connection}, {engine}, {paths})", since_start.as_millis())
        }
        EventKind::ConnectionClosed { why, .. } => format!("connection closed: {why}"),
        EventKind::Path { state, interface, remote_interface, remote, candidate, cause, .. } => {
            let what = match state {
                PathState::Validated => "path open",
                PathState::Closed => "path closed",
                PathState::Opening | PathState::Active | PathState::Backup => return None,
            };
            let to = remote_interface.clone().unwrap_or_else(|| remote.to_string());
            format!("{what}: {interface} -> {to} ({}): {cause}", candidate_word(*candidate))
        }
        EventKind::Detected { interface, by, .. } => format!("{interface} lost: {}", detected_word(*by)),
        EventKind::IceState { agent, state, .. } => format!("{agent}: {state}"),
        EventKind::InterfaceRemoved { interface } => format!("{interface} is gone"),
        EventKind::SocketClosed { interface, why, .. } => format!("{interface}: socket closed: {why}"),
        EventKind::SendFailed { interface, to, error, .. } => {
            format!("{interface}: cannot send to {to}: {error}")
        }
        _ => return None,
    })
}

fn kind_word(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Lan => "lan",
        InterfaceKind::Wifi => "wifi",
        InterfaceKind::Cellular => "cellular",
    }
}

fn detected_word(by: DetectedBy) -> &'static str {
    match by {
        DetectedBy::InterfaceDown => "the interface is down",
        DetectedBy::NoCarrier => "no carrier",
        DetectedBy::AddressGone => "the address is gone",
        DetectedBy::SendError => "the kernel refuses to send",
        DetectedBy::CheckSilence => "checks are not answered",
        DetectedBy::ReceiveSilence => "nothing arrives any more",
        DetectedBy::Peer => "the other peer says so",
        DetectedBy::Engine => "the QUIC engine gave it up",
        DetectedBy::Relay => "its relay is lost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::summary::tests::path;

    #[test]
    fn people_hear_of_what_matters_to_them() {
        let zero = Duration::ZERO;
        let lost = EventKind::Detected {
            interface: "wlan0".into(),
            path: None,
            by: DetectedBy::InterfaceDown,
            silence_ns: None,
            expected_ns: None,
        };
        assert_eq!(describe(&lost, zero).unwrap(), "wlan0 lost: the interface is down");
        let open = path(0, "wlan0", PathState::Validated);
        assert_eq!(describe(&open, zero).unwrap(), "path open: wlan0 -> eth0 (server-reflexive): test");
        assert_eq!(describe(&path(0, "wlan0", PathState::Backup), zero), None);
        assert_eq!(describe(&EventKind::Started {}, zero), None);
    }

    #[test]
    fn the_document_is_one_json_object() {
        let mut summary = Summary::new();
        let now = Instant::now();
        summary.apply(now, &EventKind::Started {});
        summary.apply(now, &path(0, "wlan0", PathState::Active));
        let later = now + Duration::from_millis(1500);
        let document = serde_json::to_value(summary.document(later, "client", "finished", None)).unwrap();
        assert_eq!(document["duration_ms"], 1500.0);
        assert_eq!(document["paths"][0]["local_interface"], "wlan0");
        assert_eq!(document["call"]["missing_between_arrivals"], 0);
        assert_eq!(document["connection"], serde_json::Value::Null);
    }
}
