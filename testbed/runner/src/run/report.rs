//! What `run` tells people, and the document it gives programs.

use crate::{
    beside,
    compare::Run,
    console::{self, say},
    scenario::{Scenario, format_byte_size, format_duration},
};
use record::{
    BitRate, BulkMetrics, Direction, DisturbanceMetrics, Event, EvidenceSummary, How, Metrics, Millis,
    Results, RunDirectory, statistics::median,
};
use serde::Serialize;

/// One document: an array of results.
pub(crate) fn json(done: &[Results]) {
    // Numbers, strings, lists and maps with string keys always serialise.
    say!("{}", serde_json::to_string_pretty(done).unwrap_or_default());
}

/// Said on standard error, because it is about the wait and not about the result.
pub(crate) fn beginning(scenario: &Scenario, directory: &RunDirectory) {
    let (length, place) = (format_duration(scenario.duration), directory.path().display());
    eprintln!("{}: seed {}, netns, {length}, into {place}", scenario.name, scenario.seed);
}

/// A run: all of it when it is the only one, a line when it is one of many.
pub(crate) fn run(scenario: &Scenario, run: &Run, events: &[Event], repeat: u64) {
    let Results { seed, backend, duration_ms, .. } = &run.results;
    if repeat > 1 {
        say!("seed {seed}: {}", in_a_line(run));
        return;
    }
    say!("{}, seed {seed}, {backend}, {duration_ms}", scenario.name);
    say!("{}", scenario.why);
    heading("Timeline");
    for entry in record::fold::timeline(events, &run.facts) {
        say!("{entry}");
    }
    let metrics = &run.results.metrics;
    if !metrics.disturbances.is_empty() {
        heading(if metrics.call.is_some() { "Missed media" } else { "Interruption" });
        metrics.disturbances.iter().for_each(|step| disturbance(step, metrics));
    }
    episodes(metrics);
    if let Some(bulk) = &run.results.metrics.bulk {
        heading("Transfer");
        say!("  {}", transfer(bulk));
    }
    observations(scenario, std::slice::from_ref(run));
    expectations(&run.results);
    verdict(&run.results);
    say!("\nRun directory: {}", run.results.run_dir);
}

/// What captures and logs lack, on standard error: it is about the files and not about the result.
pub(crate) fn evidence(scenario: &Scenario, files: &[EvidenceSummary]) {
    let sum = |count: fn(&EvidenceSummary) -> u64| files.iter().map(count).sum::<u64>();
    let (cut, dropped) = (sum(|file| file.packets_cut), sum(|file| file.packets_dropped));
    if cut + dropped > 0 {
        let missing = sum(|file| file.bytes_dropped).div_ceil(1_000_000);
        let max = format_byte_size(scenario.evidence.max);
        eprintln!(
            "evidence: {cut} packets are cut and {dropped} packets or records left out of captures and qlogs \
             ({missing} MB); all of them: --evidence full --set evidence.max={}",
            if scenario.evidence.max.0 < 10_000_000_000 { "10GB" } else { max.as_str() }
        );
    }
}

/// All runs of a scenario together, of `wanted` that were asked for.
pub(crate) fn summary(scenario: &Scenario, runs: &[Run], wanted: u64) {
    let valid: Vec<&Run> = runs.iter().filter(|run| run.results.valid).collect();
    say!("\n{}: {} of {wanted} runs valid", scenario.name, valid.len());
    say!("{}", scenario.why);
    for run in runs.iter().filter(|run| !run.results.valid) {
        let why = run.results.invalid_why.as_deref().unwrap_or("no reason is recorded");
        say!("  seed {}: {}", run.results.seed, why.lines().next().unwrap_or_default());
    }
    let steps = valid.iter().map(|run| run.results.metrics.disturbances.len()).min().unwrap_or(0);
    if steps > 0 {
        heading("Missed media and longest gap (median, smallest to largest)");
    }
    for index in 0..steps {
        let each = valid.iter().filter_map(|run| run.results.metrics.disturbances.get(index));
        let what = each.clone().map(|step| step.what.as_str()).next().unwrap_or_default();
        let same = each.clone().filter(|step| step.same_connection).count();
        let missed = spread(each.clone().filter_map(DisturbanceMetrics::missed_ms).collect());
        let silent = spread(each.clone().filter_map(|step| step.interruption_ms).collect());
        let open = each.clone().filter(|step| step.censored.is_some()).count();
        let open = if open > 0 { format!("; {open} without an end, lower bounds") } else { String::new() };
        let mut ways: Vec<String> = each.map(|step| step.how.to_string()).collect();
        ways.sort_unstable();
        ways.dedup();
        let (ways, count) = (ways.join(", "), valid.len());
        say!("  {what}: missed {missed}; gap {silent}{open}; {ways}; same connection in {same} of {count}");
    }
    transfers(&valid);
    observations(scenario, runs);
    heading("Expectations");
    let count = valid.first().map_or(0, |run| run.results.expectations.len());
    for index in 0..count {
        let each = valid.iter().filter_map(|run| run.results.expectations.get(index));
        let held = each.clone().filter(|expectation| expectation.ok).count();
        if let Some(first) = each.clone().next() {
            say!("  {} {}: held in {held} of {}", first.name, first.expected, valid.len());
        }
    }
}

fn spread(mut figures: Vec<Millis>) -> String {
    figures.sort_unstable();
    match (figures.first(), figures.last(), median(&figures)) {
        (Some(least), Some(most), Some(median)) => format!("{median}, {least} to {most}"),
        _ => "not measured".to_owned(),
    }
}

fn transfers(valid: &[&Run]) {
    let each: Vec<&BulkMetrics> = valid.iter().filter_map(|run| run.results.metrics.bulk.as_ref()).collect();
    if each.is_empty() {
        return;
    }
    heading("Transfer (median, smallest to largest)");
    let mut rates: Vec<u64> = each.iter().filter_map(|bulk| bulk.goodput_bit_s).collect();
    rates.sort_unstable();
    let figure = match (rates.first(), rates.last(), median(&rates)) {
        (Some(least), Some(most), Some(median)) => {
            format!("{}, {} to {}", BitRate(median), BitRate(*least), BitRate(*most))
        }
        _ => "not measured".to_owned(),
    };
    let intact = each.iter().filter(|bulk| bulk.sha256_ok == Some(true)).count();
    say!("  goodput {figure}; SHA-256 equal at both ends in {intact} of {}", each.len());
}

fn transfer(bulk: &BulkMetrics) -> String {
    let way = match bulk.direction {
        Direction::Up => "up",
        Direction::Down => "down",
    };
    let intact = match bulk.sha256_ok {
        Some(true) => "SHA-256 equal at both ends",
        Some(false) => "SHA-256 DIFFERS",
        None => "ended before both ends could compare",
    };
    let goodput = bulk.goodput_bit_s.map_or("not measured".to_owned(), |rate| BitRate(rate).to_string());
    let share =
        bulk.aggregation.map(|share| format!(", {:.1} % of the client's links together", share * 100.0));
    let stall = bulk.longest_stall_ms.map_or("not measured".to_owned(), |stall| stall.to_string());
    let share = share.unwrap_or_default();
    format!("{} bytes {way}, {intact}; goodput {goodput}{share}; longest stall {stall}", bulk.bytes)
}

fn in_a_line(run: &Run) -> String {
    let results = &run.results;
    let steps = results.metrics.disturbances.iter().map(|step| {
        let figure = match (step.missed_ms(), step.interruption_ms) {
            (Some(missed), _) => format!("missed {missed}"),
            (None, Some(silent)) => format!("silent for {silent}"),
            (None, None) => "not measured".to_owned(),
        };
        format!("{} {figure} ({})", step.what, step.how)
    });
    let failed = results.expectations.iter().filter(|expectation| !expectation.ok).count();
    let verdict = match (&results.invalid_why, failed) {
        (Some(why), _) => format!("INVALID: {why}"),
        (None, 0) => "all expectations hold".to_owned(),
        (None, failed) => format!("{failed} of {} expectations FAILED", results.expectations.len()),
    };
    steps.chain([verdict, results.run_dir.clone()]).collect::<Vec<_>>().join("; ")
}

fn disturbance(step: &DisturbanceMetrics, metrics: &Metrics) {
    let or_none = |time: Option<Millis>| time.map_or("not measured".to_owned(), |time| time.to_string());
    let connection = if step.same_connection { "same connection" } else { "another connection" };
    let payload = if metrics.call.is_none() && metrics.bulk.is_some() { "transfer" } else { "call" };
    let survived = match step.how {
        How::Failed if metrics.is_without_call() => format!("there was no {payload}"),
        How::Failed => format!("the {payload} did NOT survive"),
        How::None if step.path_before.is_none() => format!("the {payload} had no path yet"),
        How::None if step.censored.is_some() => format!("what became of the {payload} is open"),
        How::None => format!("the {payload} stayed on its path, {connection}"),
        how => format!("the {payload} survived: {how}, {connection}"),
    };
    let name = step.name.as_ref().map_or_else(String::new, |name| format!("{name}: "));
    say!("  {name}{} at {}: {survived}", step.what, step.at_ms);
    if metrics.call.is_some() {
        missed(step);
    }
    say!(
        "    longest gap {} (up {}, down {}); in the 5 s before {}",
        or_none(step.interruption_ms),
        or_none(step.up_ms),
        or_none(step.down_ms),
        or_none(step.gap_before_ms)
    );
    if let Some(censored) = step.censored {
        say!("    nothing came any more until the record ends, {} later: lower bounds", censored.horizon_ms);
    }
    if step.harness_ms > Millis::default() {
        say!("    the testbed itself stood still for {}", step.harness_ms);
    }
    if let Some(rebuild) = step.rebuild_ms {
        say!("    another path was built in {rebuild}, from the last payload to the first answer");
    }
    if let (Some(after), Some(by)) = (step.detected_ms, &step.detected_by) {
        say!("    noticed after {after} by {}", word(by));
    }
    if let Some(stall) = step.bulk_stall_ms {
        say!("    the transfer beside it stood still for {stall}");
    }
    if let Some(resent) = step.bytes_resent {
        say!("    {resent} bytes were sent again at once, unacknowledged until then");
    }
}

/// The headline: what the worse direction missed, then each, and the change of delay.
fn missed(step: &DisturbanceMetrics) {
    let Some(worse) = step.missed_ms() else {
        say!("    missed media not measured: too few arrivals before");
        return;
    };
    let [up, down] = step.missed.each().map(|missed| missed.unwrap_or_default());
    say!(
        "    missed {worse} of media (up {}, down {}) with 60 ms for jitter; {} with 20 ms, {} with 150 ms",
        up.j60.total_ms,
        down.j60.total_ms,
        up.j20.total_ms.max(down.j20.total_ms),
        up.j150.total_ms.max(down.j150.total_ms)
    );
    if let [Some(up), Some(down)] = step.delay_step_ms.each() {
        say!("    change of delay: up {up}, down {down}");
    }
}

/// What was missed away from the steps, which are told already.
fn episodes(metrics: &Metrics) {
    let elsewhere: Vec<_> = metrics.episodes.iter().filter(|episode| episode.step.is_none()).collect();
    if elsewhere.is_empty() {
        return;
    }
    heading("Missed media away from the steps");
    for episode in elsewhere {
        let way = word(&episode.direction);
        say!("  {} {way} at {}: {}", episode.missed_ms, episode.start_ms, episode.cause);
    }
}

fn observations(scenario: &Scenario, runs: &[Run]) {
    let valid = runs.iter().filter(|run| run.results.valid).count();
    let over = match valid {
        0 => return,
        1 => "single run".to_owned(),
        count => format!("{count} runs, medians"),
    };
    match beside::table(&scenario.answers, runs) {
        Ok(Some(table)) => {
            heading(&format!("Beside the observations ({over})"));
            console::print(&table);
        }
        Ok(None) => {}
        Err(error) => eprintln!("error: {error}"),
    }
}

fn expectations(results: &Results) {
    if results.expectations.is_empty() {
        return;
    }
    heading("Expectations");
    for expectation in &results.expectations {
        let mark = if expectation.ok { "ok    " } else { "FAILED" };
        say!(
            "  {mark}  {}: expected {}, measured {}",
            expectation.name,
            expectation.expected,
            expectation.measured
        );
    }
}

fn verdict(results: &Results) {
    if let Some(why) = &results.invalid_why {
        say!("\nINVALID, its figures may not be used: {why}");
        if ["timing:", "harness:"].iter().any(|kind| why.contains(kind)) {
            say!(
                "This machine was too busy for them: run it again, and see real-time scheduling in `testbed doctor`."
            );
        }
    }
}

fn heading(text: &str) {
    say!("\n{text}");
}

/// The word by which files call it.
fn word(value: &impl Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}
