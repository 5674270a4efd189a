//! Whether a run is still what it was: `testbed verify`, and readers that refuse what is newer than they are.

use crate::{SHORT, assert_complete, stage::Stage};
use serde_json::Value;
use std::{fs, path::Path};

#[test]
fn what_is_done_to_a_run_afterwards_is_found() {
    let stage = Stage::for_one_user();
    stage.run(&[&SHORT[..], &["--set", "expect=[]"]].concat());
    let run = stage.out().join("latest").canonicalize().unwrap();
    assert_complete(&run);
    let name = run.display().to_string();
    let verify = |code: i32, parts: &[&str]| {
        let told = stage.testbed(&["verify", &name]);
        assert_eq!(told.code, Some(code), "{told:?}");
        for part in parts {
            assert!(told.stdout.contains(part), "{part:?} is missing in {told:?}");
        }
    };
    verify(0, &[": sound: ", "results.json is what they tell"]);
    let told = stage.testbed(&["verify", &stage.out().display().to_string(), "--json"]);
    let document: Value = serde_json::from_str(&told.stdout).unwrap_or_else(|_| panic!("{told:?}"));
    assert_eq!(document[0]["faults"], serde_json::json!([]), "{document}");
    assert!(document[0]["events"].as_u64() > Some(100), "{document}");

    let capture = run.join("hosts/laptop/capture.pcapng");
    changed(&capture, |bytes| bytes.push(0), || verify(4, &["hosts/laptop/capture.pcapng: changed"]));
    let cut = |bytes: &mut Vec<u8>| bytes.truncate(bytes.len() - 5);
    changed(&run.join("events.jsonl"), cut, || verify(4, &["events.jsonl: the last event is torn"]));
    let garbled = |bytes: &mut Vec<u8>| bytes.splice(0..2, *b"}{").for_each(drop);
    changed(&run.join("events.jsonl"), garbled, || verify(4, &["events.jsonl:1: "]));
    // A better figure, and the hash of it in the manifest.
    let better = |document: &mut Value| document["metrics"]["first_path_ms"] = 1.5.into();
    edited(&run.join("results.json"), better, || {
        verify(4, &["results.json: changed", "metrics.first_path_ms is 1.5, and the events tell "]);
    });
    let newer = |manifest: &mut Value| manifest["schema_version"] = 99.into();
    edited(&run.join("manifest.json"), newer, || {
        verify(4, &["its form is version 99, newer than "]);
        let told = stage.testbed(&["compare", &name]);
        assert_eq!(told.code, Some(2), "{told:?}");
        assert!(told.stderr.contains("its form is version 99, newer than "), "{told:?}");
    });
    fs::remove_file(run.join("manifest.json")).unwrap();
    verify(4, &["manifest.json: missing: the run was killed before it was sealed"]);
}

/// Changes a file, looks, and puts it back.
fn changed(path: &Path, change: impl FnOnce(&mut Vec<u8>), look: impl FnOnce()) {
    let before = fs::read(path).unwrap();
    let mut after = before.clone();
    change(&mut after);
    fs::write(path, after).unwrap();
    look();
    fs::write(path, before).unwrap();
}

fn edited(path: &Path, edit: impl FnOnce(&mut Value), look: impl FnOnce()) {
    let change = |bytes: &mut Vec<u8>| {
        let mut document = serde_json::from_slice(bytes).unwrap();
        edit(&mut document);
        *bytes = serde_json::to_vec_pretty(&document).unwrap();
    };
    changed(path, change, look);
}
