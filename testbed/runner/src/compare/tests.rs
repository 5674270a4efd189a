use super::{Row, Run, Verdict, compare, measure::Folds, reference, table};
use record::{
    CallMetrics, CandidateKind, DetectedBy, DisturbanceKind, DisturbanceMetrics, Event, EventKind, Family,
    FlowMetrics, How, IntervalSummary, Metrics, Millis, PairState, PathMetrics, PerDirection, Results,
    RunFacts,
};
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

const ANSWERS: [&str; 3] = ["wa-off-interruption", "wa-off-no-standby", "wa-off-to-relay"];

const fn ms(ms: i64) -> Millis {
    Millis::from_ns(ms * 1_000_000)
}

fn run(seed: u64, interruption: i64) -> Run {
    run_of(seed, interruption, &events())
}

fn run_of(seed: u64, interruption: i64, events: &[Event]) -> Run {
    let facts = RunFacts {
        scenario: "wifi-off-in-call".into(),
        backend: "netns".into(),
        seed,
        run_dir: format!("results/wifi-off-in-call/x-{seed}"),
        duration: Duration::from_secs(45),
        client: "laptop".into(),
        server: "desktop".into(),
        expectations: vec![],
        link_rates: None,
        invalid_why: None,
    };
    let results = Results {
        scenario: facts.scenario.clone(),
        backend: facts.backend.clone(),
        seed,
        valid: true,
        invalid_why: None,
        duration_ms: facts.duration.into(),
        run_dir: facts.run_dir.clone(),
        expectations: vec![],
        metrics: metrics(interruption),
    };
    let answers = ANSWERS.map(str::to_owned).into();
    Run { results, folds: Folds::new(events, &facts), facts, policy: "multipath".into(), answers }
}

fn metrics(interruption: i64) -> Metrics {
    let flow = FlowMetrics {
        sent: 2250,
        received: 2248,
        lost: 2,
        late: 0,
        packets_per_s: Some(49.9),
        bit_rate: Some(23_150),
    };
    Metrics {
        first_path_ms: Some(ms(150)),
        direct_path_ms: Some(ms(150)),
        relay_path_ms: None,
        paths: vec![path()],
        probes: vec![],
        disturbances: vec![disturbance(interruption)],
        episodes: vec![],
        call: Some(CallMetrics { up: flow, down: flow }),
        blocking: Vec::new(),
        bulk: None,
    }
}

fn path() -> PathMetrics {
    PathMetrics {
        id: 0,
        local_interface: "wlan0".into(),
        remote_interface: None,
        family: Family::Ipv6,
        kind: CandidateKind::Host,
        first_usable_ms: Some(ms(150)),
        in_quic_ms: None,
        closed_ms: None,
        closed_why: None,
        checks_sent: 150,
        checks_answered: 150,
        first_check_ms: Some(ms(60)),
        check_interval_ms: Some(IntervalSummary { median: ms(100), p95: ms(101) }),
        bytes_sent: None,
        bytes_received: None,
        packets_sent: None,
        packets_lost: None,
        rtt_ms: None,
    }
}

fn disturbance(interruption: i64) -> DisturbanceMetrics {
    DisturbanceMetrics {
        at_ms: ms(15_000),
        what: "down laptop.wlan0".into(),
        interruption_ms: Some(ms(interruption)),
        up_ms: Some(ms(interruption)),
        down_ms: Some(ms(0)),
        gap_before_ms: Some(ms(0)),
        step: 0,
        name: None,
        missed: PerDirection::default(),
        delay_step_ms: PerDirection::default(),
        censored: None,
        harness_ms: ms(0),
        rebuild_ms: None,
        phases: None,
        detected_ms: Some(ms(1)),
        detected_by: Some(DetectedBy::InterfaceDown),
        path_before: Some(0),
        path_after: Some(1),
        how: How::Multipath,
        same_connection: true,
        bytes_resent: None,
        bulk_stall_ms: None,
    }
}

/// The cellular pair is up before WiFi goes; the desktop hears of the loss 45 ms later.
fn events() -> Vec<Event> {
    let address: SocketAddr = "[2001:db8::1]:1000".parse().unwrap();
    let pair = EventKind::Pair {
        pair: 1,
        interface: "wwan0".into(),
        remote_interface: Some("wwan0".into()),
        local: address,
        remote: address,
        local_kind: CandidateKind::Host,
        remote_kind: CandidateKind::Host,
        state: PairState::Up,
        cause: "answered".into(),
    };
    let down = EventKind::Disturbance {
        index: 0,
        name: None,
        what: DisturbanceKind::Down,
        target_host: Some("laptop".into()),
        target_interface: Some("wlan0".into()),
        target_network: None,
        due_t_ns: ms(15_000).as_ns(),
    };
    let noticed = EventKind::Detected {
        interface: "wwan0".into(),
        path: Some(0),
        by: DetectedBy::Peer,
        silence_ns: None,
        expected_ns: None,
    };
    [(200, "laptop", pair), (15_000, "testbed", down), (15_045, "desktop", noticed)]
        .map(|(t, host, what)| Event { t_ns: ms(t).as_ns(), host: host.into(), what })
        .into()
}

fn rows(runs: &[Run]) -> BTreeMap<String, Row> {
    let rows = compare(runs, &reference::embedded().unwrap());
    rows.into_iter().map(|row| (row.id.clone(), row)).collect()
}

fn parse(text: &str) -> Result<Vec<reference::Reference>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    reference::read(file.path()).map_err(|error| error.to_string())
}

const ROW: &str = "\
- id: one
  kind: figure
  subject: s
  statement: s
  value: [100, 500]
  unit: ms
  setup: s
  source: s
  measure: metrics.disturbances.interruption_ms
  better: lower
  tolerance: 10 ms
  beside: [wifi-off-in-call]
";

fn verdict_of(reference: &str, interruption: i64) -> Verdict {
    compare(&[run(1, interruption)], &parse(reference).unwrap())[0].verdict
}

#[test]
fn the_committed_references_stand_beside_a_run_of_the_scenario() {
    let rows = rows(&[run(7, 43)]);
    let verdicts: Vec<String> = rows.values().map(|row| format!("{}: {}", row.id, row.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            "ref-facetime: better",
            "ref-libwebrtc: not tested",
            "wa-off-interruption: better",
            "wa-off-no-standby: differs (by design)",
            "wa-off-to-relay: differs (by design)",
            "wa-offon-relay: not tested",
            "wa-v6-direct: better",
            "wa-v6-keepalive: differs (by design)",
            "wa-v6-no-v4: not tested",
            "wac-bitrate: matches",
            "wac-rate: matches",
        ]
    );
    assert_eq!(rows["wa-off-interruption"].ours, "interruption 43 ms (single run)");
    assert_eq!(rows["ref-libwebrtc"].ours, "far end noticed the silence after: not measured", "it was told");
    let standby = "standby before the loss: yes, wwan0 to wwan0 (IPv6) was up (single run)";
    assert_eq!(rows["wa-off-no-standby"].ours, standby);
    assert_eq!(rows["wa-off-to-relay"].ours, "got over the loss by: failed, there was no call (single run)");
    assert_eq!(rows["wa-v6-keepalive"].ours, "check interval 0.1 s (single run)");
    assert_eq!(rows["wa-v6-no-v4"].ours, "direct IPv4 found: not seen");
    assert!(rows.values().all(|row| !row.source.is_empty()));
}

#[test]
fn who_notices_silence_stands_beside_a_timeout() {
    let mut silent = events();
    for event in &mut silent {
        if let EventKind::Detected { by, .. } = &mut event.what {
            *by = DetectedBy::CheckSilence;
        }
    }
    let row = &rows(&[run_of(7, 43, &silent)])["ref-libwebrtc"];
    let ours = "far end noticed the silence after 45 ms (single run)";
    assert_eq!((row.verdict, row.ours.as_str()), (Verdict::Better, ours));
}

#[test]
fn a_conflict_is_with_a_row_that_exists() {
    let references = reference::embedded().unwrap();
    for reference in &references {
        for id in &reference.conflicts_with {
            assert!(references.iter().any(|other| other.id == *id), "{} names {id}", reference.id);
        }
    }
}

#[test]
fn every_committed_file_is_built_in() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results/references");
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    let mut embedded = reference::EMBEDDED.map(|(file, _)| file);
    embedded.sort_unstable();
    assert_eq!(files, embedded);
}

#[test]
fn several_seeds_give_their_median_and_spread() {
    let runs: Vec<Run> = [(1, 60), (2, 40), (3, 900), (4, 50)].map(|(seed, ms)| run(seed, ms)).into();
    let row = &rows(&runs)["wa-off-interruption"];
    assert_eq!(row.ours, "interruption 50 ms (median; 40 to 900 over 4 seeds)");
    assert_eq!((row.verdict, row.runs), (Verdict::Better, 4));
}

#[test]
fn repeats_of_one_seed_are_runs_and_not_seeds() {
    let row = &rows(&[run(1, 40), run(1, 50)])["wa-off-interruption"];
    assert_eq!(row.ours, "interruption 40 ms (median; 40 to 50 over 2 runs)");
}

#[test]
fn runs_without_the_figure_are_counted_and_not_hidden() {
    let mut without = run(2, 0);
    without.results.metrics.disturbances[0].interruption_ms = None;
    let row = &rows(&[run(1, 40), without.clone()])["wa-off-interruption"];
    assert_eq!(row.ours, "interruption 40 ms (single run; 1 more without it)");
    let row = &rows(&[without])["wa-off-interruption"];
    assert_eq!((row.verdict, row.ours.as_str()), (Verdict::NotTested, "interruption: not measured"));
}

#[test]
fn invalid_runs_and_other_scenarios_decide_nothing() {
    let mut invalid = run(1, 40);
    invalid.results.valid = false;
    let row = &rows(&[invalid])["wa-off-interruption"];
    assert_eq!((row.verdict, row.ours.as_str()), (Verdict::NotTested, "invalid runs only"));
    let mut other = run(1, 40);
    other.results.scenario = "something-else".into();
    other.answers.clear();
    assert!(rows(&[other]).values().all(|row| row.verdict == Verdict::NotTested));
    assert!(rows(&[]).values().all(|row| row.verdict == Verdict::NotTested));
}

#[test]
fn a_policy_that_claims_to_do_the_same_is_judged() {
    let mut whatsapp = run(1, 520);
    whatsapp.policy = "whatsapp".into();
    let rows = rows(&[whatsapp, run(2, 40)]);
    // Only the claiming run counts, and it had a standby.
    assert_eq!((rows["wa-off-no-standby"].verdict, rows["wa-off-no-standby"].runs), (Verdict::Differs, 1));
    // Figures that every policy is measured by count all runs.
    assert_eq!(rows["wa-off-interruption"].runs, 2);
}

#[test]
fn runs_that_disagree_tell_the_odd_one() {
    let without = run_of(2, 40, &events()[1..]);
    let row = &rows(&[run(1, 40), without])["wa-off-no-standby"];
    let ours = "standby before the loss: yes, wwan0 to wwan0 (IPv6) was up (in 1 of 2, 2 seeds)";
    assert_eq!((row.ours.as_str(), row.verdict), (ours, Verdict::DiffersByDesign));
}

#[test]
fn the_tolerance_and_the_good_side_decide() {
    for (ours, verdict) in [
        (89, Verdict::Better),
        (90, Verdict::Matches),
        (300, Verdict::Matches),
        (510, Verdict::Matches),
        (511, Verdict::Worse),
    ] {
        assert_eq!(verdict_of(ROW, ours), verdict, "{ours}");
    }
    let higher = ROW.replace("better: lower", "better: higher");
    assert_eq!((verdict_of(&higher, 89), verdict_of(&higher, 511)), (Verdict::Worse, Verdict::Better));
    let none = ROW.replace("better: lower", "better: none");
    assert_eq!((verdict_of(&none, 89), verdict_of(&none, 300)), (Verdict::Differs, Verdict::Matches));
    let percent = ROW.replace("10 ms", "10 %");
    assert_eq!((verdict_of(&percent, 550), verdict_of(&percent, 551)), (Verdict::Matches, Verdict::Worse));
    let seconds = ROW.replace("[100, 500]", "0.5").replace("unit: ms", "unit: s").replace("10 ms", "0.01 s");
    assert_eq!((verdict_of(&seconds, 505), verdict_of(&seconds, 480)), (Verdict::Matches, Verdict::Better));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let wrong = |from: &str, to: &str| parse(&ROW.replace(from, to)).unwrap_err();
    for (error, parts) in [
        (wrong("tolerance:", "tolerence:"), ["tolerence", "tolerance"]),
        (
            wrong("interruption_ms", "interuption_ms"),
            ["interuption_ms", "metrics.disturbances.interruption_ms"],
        ),
        (wrong("unit: ms", "unit: h"), ["packets/s", ":6:"]),
        (wrong("unit: ms", "unit: kbit/s"), ["one", "valid: ms, s"]),
        (wrong("10 ms", "10"), ["no tolerance", "10 %"]),
        (wrong("10 ms", "10 s"), ["tolerance is in s", "value in ms"]),
        (wrong("[100, 500]", "[500, 100]"), ["one", "low not above high"]),
        (wrong("[100, 500]", "[1, 2, 3]"), ["value", "[low, high]"]),
        (wrong("[100, 500]", "fast"), ["one", "needs a number"]),
        (wrong("  better: lower\n", ""), ["one", "needs `better`"]),
        (wrong("kind: figure", "kind: format"), ["format", "behaviour"]),
        (wrong("kind: figure", "kind: behaviour"), ["one", "must be `figure`"]),
        (wrong("metrics.disturbances.interruption_ms", "fold.fallback_kind"), ["one", "must be `behaviour`"]),
        (parse(&format!("{ROW}{ROW}")).unwrap_err(), [":13: one", "used already"]),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} not in:\n{error}");
    }
    let missing = reference::read(std::path::Path::new("/does/not/exist.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /does/not/exist.yaml: "), "{missing}");
}

#[test]
fn a_word_may_be_a_boolean_to_some_readers() {
    let row = "\
- {id: one, kind: behaviour, subject: s, statement: s, value: no, setup: s, source: s, measure: fold.standby_before_loss}
- {id: two, kind: behaviour, subject: s, statement: s, value: true, setup: s, source: s, measure: fold.standby_before_loss}
";
    let mut ours = run(1, 40);
    ours.answers = vec!["one".into(), "two".into()];
    let rows = compare(&[ours], &parse(row).unwrap());
    assert_eq!(rows.iter().map(|row| row.verdict).collect::<Vec<_>>(), [Verdict::Differs, Verdict::Matches]);
}

#[test]
fn the_table_is_as_wide_as_it_is_told() {
    let rows = compare(&[run(7, 43)], &reference::embedded().unwrap());
    for width in [80, 100, 160] {
        let text = table::render(&rows, Some(width));
        let table = text.split("To keep in mind:").next().unwrap();
        assert!(table.lines().all(|line| line.chars().count() <= usize::from(width)), "{width}:\n{text}");
        assert!(!text.contains('\u{1b}'), "no colours");
    }
    insta::assert_snapshot!(table::render(&rows, Some(160)));
}

/// The step that gives WiFi back is judged by itself, not the loss before it.
#[test]
fn what_is_back_is_judged_by_the_step_that_gave_it_back() {
    let mut run = run(7, 43);
    run.answers = vec!["wa-offon-relay".into()];
    let verdict = |run: &Run| rows(std::slice::from_ref(run))["wa-offon-relay"].ours.clone();
    assert_eq!(verdict(&run), "when it was back: not seen");
    let back = DisturbanceMetrics {
        at_ms: ms(30_000),
        what: "up laptop.wlan0".into(),
        how: How::Migrated,
        ..disturbance(3)
    };
    run.results.metrics.disturbances.push(back);
    assert!(verdict(&run).starts_with("when it was back: migrated"), "{}", verdict(&run));
}
