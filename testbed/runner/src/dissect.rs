//! `testbed dissect`: flows, names and calls in packet captures.

use crate::{
    cli::DissectArgs,
    console::{self, say},
    exit::Exit,
};
use dissect::{
    Capture, Classes, Dissector, FlowRecord, GivenRun, Report,
    calls::Call,
    flow::{CSV_HEADER, csv_line},
};
use record::{EventKind, Manifest, Millis, read_events};
use serde::Serialize;
use std::{
    fs::File,
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

/// Text that is collected before it is printed.
const PRINT_BYTES: usize = 64 * 1024;
/// Classes and names shown to people; `--json` has all.
const MAX_SHOWN: usize = 12;

/// Dissects every capture, however many cannot be read.
pub(crate) fn dissect(args: &DissectArgs) -> Exit {
    if let Some(later) = later_command(&args.captures) {
        eprintln!("error: `testbed dissect {later}` is not in this version");
        return Exit::Usage;
    }
    let mut classes = Classes::default();
    if let Some(path) = &args.classes {
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("error: cannot read {}: {error}", path.display());
                return Exit::Usage;
            }
        };
        if let Err(error) = classes.add_file(&text) {
            eprintln!("error: {}: {error}", path.display());
            return Exit::Usage;
        }
    }
    match run(args, classes) {
        Ok(exit) => exit,
        Err((file, error)) => {
            eprintln!("error: cannot write {}: {error}", file.display());
            Exit::Machine
        }
    }
}

/// A command below `dissect` that is not built yet, unless a file has that name.
fn later_command(captures: &[PathBuf]) -> Option<&str> {
    let first = captures.first()?;
    let word = first.to_str().filter(|word| ["infer", "classify"].contains(word))?;
    (!first.exists()).then_some(word)
}

fn run(args: &DissectArgs, classes: Classes) -> Result<Exit, (PathBuf, io::Error)> {
    let csv = match &args.flows {
        Some(path) => Some(FlowFile::create(path).map_err(|error| (path.clone(), error))?),
        None => None,
    };
    let mut sink = Sink { csv, json: args.json.then(JsonFlows::default), csv_error: None };
    let mut dissector = Dissector::new(classes);
    let mut exit = Exit::Success;
    for path in &args.captures {
        match Capture::open(path) {
            Ok(mut capture) => {
                dissector.give_run(run_of(path));
                let file = capture.file().to_owned();
                dissector.dissect(&mut capture, |flow| sink.add(&flow, &file));
            }
            Err(error) => {
                eprintln!("error: {error}");
                exit = Exit::Usage;
            }
        }
    }
    let report = dissector.finish();
    for damage in &report.damage {
        eprintln!("warning: {}: damaged at offset {}: {}", damage.file, damage.offset, damage.why);
    }
    match sink.json.take() {
        Some(json) => json.finish(&report),
        None => show(&report),
    }
    let written = sink.csv_error.map_or(Ok(()), Err);
    if let Some(path) = &args.flows {
        let flushed = sink.csv.map_or(Ok(()), |mut csv| csv.0.flush());
        written.and(flushed).map_err(|error| (path.clone(), error))?;
    }
    Ok(exit)
}

/// Time zero and steps of the run that a capture is of: it lies in `hosts/HOST/` of a run directory. Nothing else of the
/// run is used, so that our captures are read as anybody's.
fn run_of(capture: &Path) -> Option<GivenRun> {
    let directory = capture.canonicalize().ok()?.ancestors().nth(3)?.to_owned();
    let manifest = directory.join("manifest.json");
    let text = std::fs::read(&manifest).ok()?;
    let given = || -> Result<GivenRun, String> {
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| error.to_string())?;
        let zero: jiff::Timestamp = manifest.started.parse().map_err(|error| format!("started: {error}"))?;
        let log = read_events(&directory.join("events.jsonl")).map_err(|error| error.to_string())?;
        let is_step = |what: &EventKind| matches!(what, EventKind::Disturbance { .. });
        let zero_ns = i64::try_from(zero.as_nanosecond()).map_err(|error| format!("started: {error}"))?;
        let steps = log.events.into_iter().filter(|event| is_step(&event.what)).collect();
        Ok(GivenRun { zero_ns, steps })
    };
    match given() {
        Ok(run) => Some(run),
        Err(why) => {
            eprintln!("warning: times count from the calls' first packets: {}: {why}", manifest.display());
            None
        }
    }
}

struct Sink {
    csv: Option<FlowFile>,
    json: Option<JsonFlows>,
    csv_error: Option<io::Error>,
}

impl Sink {
    fn add(&mut self, flow: &FlowRecord, file: &str) {
        if let (Some(csv), None) = (&mut self.csv, &self.csv_error) {
            self.csv_error = writeln!(csv.0, "{}", csv_line(flow, file)).err();
        }
        if let Some(json) = &mut self.json {
            json.add(flow);
        }
    }
}

struct FlowFile(BufWriter<File>);

impl FlowFile {
    fn create(path: &Path) -> io::Result<Self> {
        let mut file = BufWriter::new(File::create(path)?);
        writeln!(file, "{CSV_HEADER}")?;
        Ok(Self(file))
    }
}

/// The document of `--json`. Flows are printed as they end, so that memory does not grow with them.
#[derive(Default)]
struct JsonFlows {
    text: String,
    any: bool,
}

impl JsonFlows {
    fn add(&mut self, flow: &FlowRecord) {
        self.text += if self.any { ",\n" } else { "{\"flows\": [\n" };
        self.any = true;
        self.text += &to_json(flow);
        if self.text.len() >= PRINT_BYTES {
            console::print(&std::mem::take(&mut self.text));
        }
    }

    fn finish(mut self, report: &Report) {
        let start = if self.any { "\n]" } else { "{\"flows\": []" };
        self.text += start;
        // The report is an object; its keys follow the flows.
        self.text += ",\n";
        self.text += to_json(report).trim_start_matches('{');
        self.text.push('\n');
        console::print(&self.text);
    }
}

fn to_json(value: &impl Serialize) -> String {
    // Every key is text and every value a number, text or list of them, so that nothing can fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn show(report: &Report) {
    for file in &report.files {
        say!("{}: {}, {} packets in {}", file.file, file.format, file.packets, file.duration_ms);
        for (count, what) in [
            (file.not_ip, "without IP"),
            (file.damaged_packets, "with damaged headers"),
            (file.cut, "cut"),
            (file.fragments_discarded, "fragmented and incomplete"),
        ] {
            if count > 0 {
                say!("  {count} {what}");
            }
        }
    }
    let summary = &report.flow_summary;
    let flows: Vec<String> =
        summary.flows.iter().map(|(protocol, count)| format!("{count} {protocol}")).collect();
    say!(
        "\nFlows: {}; {} clients",
        if flows.is_empty() { "none".into() } else { flows.join(", ") },
        summary.users
    );
    if let (Some(bytes), Some(times)) = (&summary.tcp_bytes, &summary.tcp_ms) {
        say!("  TCP bytes     median {}, 90 % up to {}, largest {}", bytes.p50, bytes.p90, bytes.max);
        say!(
            "  TCP duration  median {}, 90 % up to {}, longest {}",
            time(times.p50),
            time(times.p90),
            time(times.max)
        );
    }
    for step in &summary.tcp_ms_steps {
        say!("  {:.0} % of TCP flows last {}: an idle timeout?", step.share * 100.0, time(step.value));
    }
    for minute in &summary.syn_rst_bursts {
        say!("  minute {minute}: SYN and RST rise steeply, as in an outage");
    }
    show_stun(report);
    report.calls.iter().take(MAX_SHOWN).for_each(show_call);
    if report.calls.len() > MAX_SHOWN {
        say!("  and {} more calls: see --json", report.calls.len() - MAX_SHOWN);
    }
    let names = &report.names;
    if !names.classes.is_empty() {
        say!("\nClasses");
    }
    for (class, figures) in names.classes.iter().take(MAX_SHOWN) {
        let rtt = figures.min_rtt_ms.map_or(String::new(), |rtt| format!(", minimum RTT {rtt}"));
        say!(
            "  {class:<22} {} flows, {} bytes up, {} down, {} servers{rtt}",
            figures.flows,
            figures.up_bytes,
            figures.down_bytes,
            figures.servers
        );
    }
    if !names.client_hellos.is_empty() {
        say!("\nServer names in ClientHellos");
    }
    for (name, count) in names.client_hellos.iter().take(MAX_SHOWN) {
        let name = if name.is_empty() { "(none)" } else { name };
        let ech = if count.ech > 0 {
            format!(", {} encrypted (ECH): the front's name", count.ech)
        } else {
            String::new()
        };
        say!("  {name:<40} {} TLS, {} QUIC{ech}", count.tls, count.quic);
    }
    let more =
        names.classes.len().saturating_sub(MAX_SHOWN) + names.client_hellos.len().saturating_sub(MAX_SHOWN);
    if more > 0 {
        say!("  and {more} more: see --json");
    }
}

fn show_stun(report: &Report) {
    let stun = &report.stun;
    if stun.types.is_empty() && stun.disguised.is_empty() {
        return;
    }
    let types: Vec<String> = stun.types.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    say!("\nSTUN messages by type: {}", types.join(", "));
    for (rung, count) in &stun.disguised {
        say!("  {count} disguised: {rung}");
    }
    for exchange in stun.exchanges.iter().filter(|exchange| exchange.interval_ms.is_some()).take(MAX_SHOWN) {
        let interval = exchange.interval_ms.map_or(String::new(), |interval| time(interval.median));
        say!(
            "  {:>12}  {} {} to {}: {}, every {interval}",
            exchange.first_ms,
            exchange.message,
            exchange.from,
            exchange.to,
            exchange.count
        );
    }
}

fn show_call(call: &Call) {
    let list = |addresses: &mut dyn Iterator<Item = String>| {
        let addresses: Vec<String> = addresses.collect();
        if addresses.is_empty() { "nobody".to_owned() } else { addresses.join(", ") }
    };
    say!(
        "\nCall ({}) at {} for {}: {} with {}, {} flows",
        word(&call.kind),
        call.start_ms,
        call.duration_ms,
        list(&mut call.local.iter().map(ToString::to_string)),
        list(&mut call.remote.iter().map(ToString::to_string)),
        call.flows.len()
    );
    let metrics = &call.metrics;
    for (what, at) in [("relay path", metrics.relay_path_ms), ("direct path", metrics.direct_path_ms)] {
        if let Some(at) = at {
            say!("  {what} after {at}");
        }
    }
    for stream in call.media.iter().take(MAX_SHOWN) {
        say!(
            "  RTP {} of type {}: {} packets, {} lost, longest gap {}, {} changes of way",
            stream.ssrc,
            stream.payload_type,
            stream.packets,
            stream.lost,
            stream.max_gap_ms,
            stream.moves.len()
        );
    }
    for step in metrics.disturbances.iter().take(MAX_SHOWN) {
        let silence = step.down_ms.map_or("unknown".to_owned(), |silence| silence.to_string());
        say!("  {} at {}: silent for {silence} towards this side", step.what, step.at_ms);
    }
    if metrics.disturbances.is_empty() {
        for gap in metrics.gaps.iter().take(MAX_SHOWN) {
            say!("  gap of {} at {}", gap.gap_ms, gap.start_ms);
        }
    }
}

/// The word of a value in files.
fn word(value: &impl Serialize) -> String {
    to_json(value).trim_matches('"').to_owned()
}

fn time(ms: f64) -> String {
    Millis::from_ns((ms * 1e6) as i64).to_string()
}
