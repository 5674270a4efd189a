use super::{
    Carrier, Row, Run, Verdict, baseline, compare, groups,
    measure::Folds,
    output::{self, Compared},
    reference, table,
};
use record::{
    CallMetrics, CandidateKind, Censored, DetectedBy, DisturbanceKind, DisturbanceMetrics, Event, EventKind,
    Family, FlowMetrics, How, IntervalSummary, Metrics, Millis, MissedMedia, MissedRuns, PairState,
    PathMetrics, PerDirection, Results, RunFacts,
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
    let settings = BTreeMap::from([("peers.client.engine".to_owned(), "noq".into())]);
    let carriers = BTreeMap::from([("o2".to_owned(), carrier("o2-2024"))]);
    Run {
        results,
        folds: Folds::new(events, &facts),
        facts,
        policy: "multipath".into(),
        answers,
        settings,
        carriers,
        has_relay: true,
    }
}

fn carrier(preset: &str) -> Carrier {
    Carrier { preset: Some(preset.to_owned()), has_radio: true }
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

fn missed(time: i64) -> MissedMedia {
    let runs = MissedRuns { longest_ms: ms(time), total_ms: ms(time) };
    MissedMedia { j20: runs, j60: runs, j150: runs }
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
        missed: PerDirection { up: Some(missed(40)), down: Some(missed(20)) },
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
    let runs: Vec<&Run> = runs.iter().collect();
    let rows = compare(&runs, &reference::embedded().unwrap());
    rows.into_iter().map(|row| (row.id.clone(), row)).collect()
}

fn parse(text: &str) -> Result<Vec<reference::Reference>, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    reference::read(file.path()).map_err(|error| error.to_string())
}

/// The same run by the policy that claims to do as WhatsApp did, which builds a path after the loss.
fn claiming(seed: u64, rebuild: i64) -> Run {
    claiming_of(seed, rebuild, &events())
}

fn claiming_of(seed: u64, rebuild: i64, events: &[Event]) -> Run {
    let mut run = run_of(seed, rebuild + 20, events);
    run.policy = "whatsapp".into();
    run.results.metrics.disturbances[0].rebuild_ms = Some(ms(rebuild));
    run
}

const ROW: &str = "\
- id: one
  kind: figure
  subject: s
  statement: s
  value: [100, 500]
  unit: ms
  n: 3
  certainty: by-eye
  setup: s
  source: s
  claimed_by: [whatsapp]
  measure: metrics.disturbances.interruption_ms
  beside: [wifi-off-in-call]
";

fn verdict_of(reference: &str, run: &Run) -> Verdict {
    compare(&[run], &parse(reference).unwrap())[0].verdict
}

#[test]
fn the_committed_references_stand_beside_a_run_of_the_scenario() {
    let rows = rows(&[run(7, 43)]);
    let verdicts: Vec<String> = rows.values().map(|row| format!("{}: {}", row.id, row.verdict)).collect();
    assert_eq!(
        verdicts,
        [
            "ref-facetime: not comparable",
            "ref-libwebrtc: not tested",
            "ref-thesis-expansion: not tested",
            "wa-off-interruption: not tested",
            "wa-off-no-standby: not comparable",
            "wa-off-to-relay: not comparable",
            "wa-offon-relay: not tested",
            "wa-v6-direct: not comparable",
            "wa-v6-keepalive: not tested",
            "wa-v6-no-v4: not tested",
            "wac-bitrate: reproduced",
            "wac-rate: reproduced",
        ]
    );
    let no_build = "no path was built after the loss; the call missed 40 ms";
    assert_eq!(rows["wa-off-interruption"].ours, no_build);
    assert_eq!(rows["ref-libwebrtc"].ours, "silence was not what the far end noticed first", "it was told");
    let standby = "standby before the loss: yes, wwan0 to wwan0 (IPv6) was up (single run)";
    assert_eq!(rows["wa-off-no-standby"].ours, standby);
    let policy = Some("`multipath` does not claim to do the same".to_owned());
    assert_eq!(rows["wa-off-no-standby"].why, policy);
    assert_eq!(rows["wa-off-to-relay"].ours, "got over the loss by: failed, there was no call (single run)");
    assert_eq!(rows["wa-v6-keepalive"].ours, "the path in use was not checked twice before the loss");
    assert_eq!(rows["wa-v6-no-v4"].ours, "direct IPv4 found: not seen");
    assert!(rows.values().all(|row| !row.source.is_empty()));
}

/// The relay that took over, and delays that are no assumption.
#[test]
fn a_time_to_build_a_path_needs_their_relay_and_a_radio() {
    let judged = |run: Run| {
        let row = rows(&[run])["wa-off-interruption"].clone();
        (row.verdict, row.why)
    };
    let mut without = claiming(1, 226);
    without.carriers.insert("telekom".into(), Carrier { has_radio: false, ..carrier("telekom-2024") });
    let why = Some("the delay of `telekom` is an assumption, without a radio model".to_owned());
    assert_eq!(judged(without), (Verdict::NotComparable, why));
    let mut without = claiming(1, 226);
    without.has_relay = false;
    assert_eq!(judged(without), (Verdict::NotComparable, Some("there is no relay".to_owned())));
    assert_eq!(judged(claiming(1, 226)), (Verdict::Contradicted, None));
}

/// Roughly 500 ms by eye is 400 to 600; and it is the time to build a path, no silence.
#[test]
fn path_building_stands_beside_path_building() {
    for (rebuild, verdict) in [
        (399, Verdict::Contradicted),
        (400, Verdict::Reproduced),
        (561, Verdict::Reproduced),
        (600, Verdict::Reproduced),
        (601, Verdict::Contradicted),
    ] {
        let row = &rows(&[claiming(1, rebuild)])["wa-off-interruption"];
        assert_eq!((row.verdict, row.median), (verdict, Some(rebuild as f64)), "{rebuild}");
    }
    assert_eq!(
        rows(&[claiming(1, 561)])["wa-off-interruption"].theirs.split(':').next().unwrap(),
        "400 to 600 ms, by eye, n = 3"
    );
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
    assert_eq!((row.verdict, row.ours.as_str()), (Verdict::NotComparable, ours));
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
fn several_seeds_give_their_median_and_its_interval() {
    let runs: Vec<Run> = [(1, 560), (2, 540), (3, 900), (4, 550)].map(|(seed, ms)| claiming(seed, ms)).into();
    let row = &rows(&runs)["wa-off-interruption"];
    assert_eq!(row.ours, "path built in 550 ms (median; 540 to 900 with 88 %; 4 seeds)");
    assert_eq!((row.verdict, row.n), (Verdict::Reproduced, 4));
    assert_eq!((row.median, row.low, row.high), (Some(550.0), Some(540.0), Some(900.0)));
}

#[test]
fn repeats_of_one_seed_are_runs_and_not_seeds() {
    let row = &rows(&[claiming(1, 440), claiming(1, 450)])["wa-off-interruption"];
    assert_eq!(row.ours, "path built in 440 ms (median; 440 to 450 with 50 %; 2 runs)");
}

#[test]
fn runs_without_the_figure_are_counted_and_not_hidden() {
    let mut without = claiming(2, 500);
    without.results.metrics.disturbances[0].rebuild_ms = None;
    let row = &rows(&[claiming(1, 440), without])["wa-off-interruption"];
    assert_eq!(row.ours, "path built in 440 ms (single run; 1 more without it)");
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
    // It had a standby, which WhatsApp has not.
    assert_eq!(rows(&[claiming(1, 520)])["wa-off-no-standby"].verdict, Verdict::Contradicted);
    let mut without = claiming_of(1, 520, &events()[1..]);
    assert_eq!(rows(&[without.clone()])["wa-off-no-standby"].verdict, Verdict::Reproduced);
    without.policy = "multipath".into();
    assert_eq!(rows(&[without])["wa-off-no-standby"].verdict, Verdict::Compatible);
}

/// A preset is theirs as it stands, not with another delay.
#[test]
fn another_network_is_not_comparable() {
    let row = ROW.replace("  beside:", "  networks: [o2-2024, telekom-2024]\n  beside:");
    let mut run = claiming(1, 280);
    assert_eq!(verdict_of(&row, &run), Verdict::Reproduced);
    run.carriers.insert("telekom".into(), Carrier { preset: None, has_radio: true });
    let rows = compare(&[&run], &parse(&row).unwrap());
    let why = Some("`telekom` is not o2-2024 or telekom-2024 as it stands");
    assert_eq!((rows[0].verdict, rows[0].why.as_deref()), (Verdict::NotComparable, why));
    let row = ROW.replace("  beside:", "  not_comparable: theirs is in another unit\n  beside:");
    assert_eq!(verdict_of(&row, &claiming(1, 280)), Verdict::NotComparable);
}

#[test]
fn runs_that_disagree_tell_the_odd_one() {
    let without = run_of(2, 40, &events()[1..]);
    let row = &rows(&[run(1, 40), without])["wa-off-no-standby"];
    let ours = "standby before the loss: yes, wwan0 to wwan0 (IPv6) was up (in 1 of 2, 2 seeds)";
    assert_eq!((row.ours.as_str(), row.verdict), (ours, Verdict::NotComparable));
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let wrong = |from: &str, to: &str| parse(&ROW.replace(from, to)).unwrap_err();
    for (error, parts) in [
        (wrong("certainty:", "certainity:"), ["certainity", "certainty"]),
        (
            wrong("interruption_ms", "interuption_ms"),
            ["interuption_ms", "metrics.disturbances.interruption_ms"],
        ),
        (wrong("unit: ms", "unit: h"), ["packets/s", ":6:"]),
        (wrong("unit: ms", "unit: kbit/s"), ["one", "valid: ms, s"]),
        (wrong("by-eye", "rough"), ["rough", "computed"]),
        (wrong("[100, 500]", "[500, 100]"), ["one", "low not above high"]),
        (wrong("[100, 500]", "[1, 2, 3]"), ["value", "[low, high]"]),
        (wrong("[100, 500]", "fast"), ["one", "needs a number"]),
        (wrong("  certainty: by-eye\n", ""), ["one", "needs `certainty`"]),
        (wrong("[whatsapp]", "whatsapp"), ["one", "`whatsapp`: write `set-up`, or a list"]),
        (wrong("[whatsapp]", "[whatsup]"), ["`whatsup` is not a policy", "valid: multipath"]),
        (wrong("  beside:", "  networks: [o3]\n  beside:"), ["`o3` is not a preset", "valid: o2-2024"]),
        (wrong("kind: figure", "kind: format"), ["format", "behaviour"]),
        (wrong("kind: figure", "kind: behaviour"), ["one", "must be `figure`"]),
        (wrong("metrics.disturbances.interruption_ms", "fold.fallback_kind"), ["one", "must be `behaviour`"]),
        (parse(&format!("{ROW}{ROW}")).unwrap_err(), [":14: one", "used already"]),
    ] {
        assert!(parts.iter().all(|part| error.contains(part)), "{parts:?} not in:\n{error}");
    }
    let missing = reference::read(std::path::Path::new("/does/not/exist.yaml")).unwrap_err().to_string();
    assert!(missing.starts_with("cannot read /does/not/exist.yaml: "), "{missing}");
}

#[test]
fn a_word_may_be_a_boolean_to_some_readers() {
    let row = "\
- {id: one, kind: behaviour, subject: s, statement: s, value: no, setup: s, source: s, claimed_by: set-up, measure: fold.standby_before_loss}
- {id: two, kind: behaviour, subject: s, statement: s, value: true, setup: s, source: s, claimed_by: set-up, measure: fold.standby_before_loss}
";
    let mut ours = run(1, 40);
    ours.answers = vec!["one".into(), "two".into()];
    let rows = compare(&[&ours], &parse(row).unwrap());
    let verdicts: Vec<Verdict> = rows.iter().map(|row| row.verdict).collect();
    assert_eq!(verdicts, [Verdict::Contradicted, Verdict::Reproduced]);
}

#[test]
fn the_table_is_as_wide_as_it_is_told() {
    let run = run(7, 43);
    let rows = compare(&[&run], &reference::embedded().unwrap());
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

/// With another engine, another delay, another setting that only one of them has.
#[test]
fn different_experiments_are_not_pooled() {
    let (mut quiche, mut far, mut relayed) = (run(2, 41), run(3, 42), run(4, 43));
    quiche.settings.insert("peers.client.engine".into(), "quiche".into());
    far.settings.insert("networks.o2.link.down.delay".into(), "200ms".into());
    relayed.settings.insert("servers.relay.kind".into(), "relay".into());
    let runs = [run(1, 40), quiche, far, relayed, run(5, 44)];
    let groups = groups(&runs);
    let seeds: Vec<Vec<u64>> =
        groups.iter().map(|group| group.runs.iter().map(|run| run.results.seed).collect()).collect();
    assert_eq!(seeds, [vec![1, 5], vec![2], vec![3], vec![4]]);
    assert_eq!(
        groups[1].differences(),
        "no networks.o2.link.down.delay, peers.client.engine=quiche, no servers.relay.kind"
    );
    assert_eq!(groups[2].differs["networks.o2.link.down.delay"], "200ms");
    assert!(super::groups(&runs[..1])[0].differs.is_empty(), "one experiment differs from none");
}

#[test]
fn every_value_has_a_path() {
    let value = serde_json::json!({"a": {"b": [{"c": 1}, 2]}, "d": [], "e": {}, "f": null});
    let flat: Vec<String> =
        super::groups::flatten(&value).into_iter().map(|(path, value)| format!("{path}={value}")).collect();
    assert_eq!(flat, ["a.b.0.c=1", "a.b.1=2", "d=[]", "e={}", "f=null"]);
}

fn compared<'a>(runs: &'a [Run]) -> Vec<Compared<'a>> {
    let references = reference::embedded().unwrap();
    let rows = |group: super::Group<'a>| Compared { rows: compare(&group.runs, &references), group };
    groups(runs).into_iter().map(rows).collect()
}

#[test]
fn programs_read_groups_and_rows() {
    let mut invalid = run(3, 40);
    (invalid.results.valid, invalid.results.invalid_why) = (false, Some("timing: late".into()));
    let mut quiche = run(2, 41);
    quiche.settings.insert("peers.client.engine".into(), "quiche".into());
    let runs = [run(1, 40), quiche, invalid];
    let compared = compared(&runs);
    let document: serde_json::Value = serde_json::from_str(&output::json(&compared)).unwrap();
    assert_eq!(document["schema"], 1);
    let [noq, quiche] = document["groups"].as_array().unwrap().as_slice() else { panic!("{document}") };
    assert_eq!(noq["differs"], serde_json::json!({"peers.client.engine": "noq"}));
    assert_eq!(noq["runs"], serde_json::json!(["results/wifi-off-in-call/x-1"]));
    let left_out = serde_json::json!([{"run_dir": "results/wifi-off-in-call/x-3", "why": "timing: late"}]);
    assert_eq!(noq["invalid"], left_out);
    assert_eq!(quiche["invalid"], serde_json::json!([]));
    let rate = noq["rows"].as_array().unwrap().iter().find(|row| row["id"] == "wac-rate").unwrap();
    assert_eq!(
        (&rate["verdict"], &rate["n"], &rate["median"]),
        (&"reproduced".into(), &1.into(), &49.9.into())
    );
    let words: Vec<&str> =
        noq["rows"].as_array().unwrap().iter().filter_map(|row| row["verdict"].as_str()).collect();
    assert!(words.contains(&"not comparable") && words.contains(&"not tested"), "{words:?}");

    let csv = output::csv(&compared);
    let head = "group,differs,id,subject,theirs,ours,unit,median,low,high,n,verdict,why,source";
    assert_eq!(csv.lines().next(), Some(head));
    let rate = csv.lines().find(|line| line.starts_with("2,peers.client.engine=quiche,wac-rate,")).unwrap();
    assert!(rate.contains(",packets/s,49.9,49.9,49.9,1,reproduced,,\"J. M. Vanerio"), "{rate}");

    let markdown = output::markdown(&compared);
    assert!(markdown.starts_with("### peers.client.engine=noq\n\n| id | theirs"), "{markdown}");
    assert!(markdown.contains("| wac-rate | 47.5 to 52.5 packets/s: datagrams"), "{markdown}");
    assert!(markdown.contains("`results/wifi-off-in-call/x-3`: timing: late"), "{markdown}");
}

fn missing(mut run: Run, time: i64) -> Run {
    run.results.metrics.disturbances[0].missed.up = Some(missed(time));
    run
}

#[test]
fn arms_are_paired_by_seed() {
    let arm = |extra: i64, seeds: std::ops::Range<u64>| -> Vec<Run> {
        // Seeds differ by far more than the arms do.
        seeds.map(|seed| missing(run(seed, 40), 100 * seed as i64 + extra)).collect()
    };
    let verdict = |ours: &[Run], theirs: &[Run]| {
        let (ours, theirs): (Vec<&Run>, Vec<&Run>) = (ours.iter().collect(), theirs.iter().collect());
        let rows = baseline::compare(&ours, &theirs);
        let row = rows.iter().find(|row| row.id == "disturbances.0.missed_ms").unwrap();
        (row.verdict, row.n, row.median)
    };
    let theirs = arm(0, 1..7);
    assert_eq!(verdict(&arm(-20, 1..7), &theirs), (Verdict::Better, 6, Some(-20.0)));
    assert_eq!(verdict(&arm(20, 1..7), &theirs), (Verdict::Worse, 6, Some(20.0)));
    assert_eq!(verdict(&arm(0, 1..7), &theirs), (Verdict::Compatible, 6, Some(0.0)));
    // Five pairs are too few, and runs without a partner are none.
    assert_eq!(verdict(&arm(-20, 2..9), &theirs), (Verdict::NotTested, 5, Some(-20.0)));
    let mut far = arm(-20, 1..7);
    far.iter_mut().for_each(|run| {
        run.settings.insert("networks.o2.link.down.delay".into(), "200ms".into());
    });
    assert_eq!(verdict(&far, &theirs).0, Verdict::NotComparable);
    let mut faster = arm(-20, 1..7);
    faster.iter_mut().for_each(|run| {
        run.settings.insert("peers.client.workload.0.call.rate".into(), "1000/s".into());
    });
    assert_eq!(verdict(&faster, &theirs).0, Verdict::NotComparable);
    let mut bounds = arm(-20, 1..7);
    bounds[0].results.metrics.disturbances[0].censored = Some(Censored { horizon_ms: ms(900) });
    assert_eq!(verdict(&bounds, &theirs).1, 5);
    let mut invalid = arm(-20, 1..7);
    invalid[0].results.valid = false;
    assert_eq!(verdict(&invalid, &theirs).1, 5);
}
