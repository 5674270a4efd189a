//! `testbed check` on scenarios that are wrong: every complaint, with its line and caret, as people see it.
//!
//! The files are in `broken/`, what is said about them in `snapshots/` (`cargo insta review` after a change).

use assert_cmd::Command;
use std::{fs, path::Path};

fn testbed() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    command
}

/// What stands on standard error, and that it is all there is.
fn complaints(arguments: &[&str]) -> String {
    let output = testbed().arg("check").args(arguments).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
fn every_mistake_is_told_with_its_line_and_what_would_be_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    for name in names {
        insta::assert_snapshot!(name.clone(), complaints(&[&format!("broken/{name}.yaml")]));
    }
}

/// Values of the command line are checked like the file's, and complaints about them point at the argument.
#[test]
fn a_wrong_set_is_told_with_its_place_in_the_argument() {
    let example = "../../../scenarios/whatsapp/wifi-off-in-call.yaml";
    let sets = [
        "duration=10",
        "networks.home.lnik.delay=3ms",
        "networks.o2.link.loss=1%",
        "networks.home.link.rate.mbit=3",
        "timeline.0.do.down=laptp.wlan0",
        "timeline.1.at=3s",
        "hosts..interfaces=3",
        "expect.0={interruption: {belwo: 3ms}}",
        "why=",
        "seed",
        "peers.client.policy={",
    ];
    let arguments: Vec<&str> =
        [example].into_iter().chain(sets.iter().flat_map(|set| ["--set", set])).collect();
    insta::assert_snapshot!("set", complaints(&arguments));
}

#[test]
fn a_file_that_is_not_there_is_told() {
    let told = complaints(&["broken/none.yaml"]);
    assert!(told.starts_with("error: cannot read broken/none.yaml: "), "{told}");
}

#[test]
fn all_files_are_checked_even_after_a_wrong_one() {
    let told = complaints(&["broken/empty.yaml", "broken/not-yaml.yaml"]);
    assert!(told.contains("empty.yaml") && told.contains("not-yaml.yaml"), "{told}");
}

#[test]
fn a_sound_scenario_is_ok_and_tells_what_its_presets_rest_on() {
    let output =
        testbed().args(["check", "../../../scenarios/whatsapp/wifi-off-in-call.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!("ok", String::from_utf8(output.stdout).unwrap());
}

#[test]
fn there_are_no_colours_where_there_is_no_terminal() {
    let told = complaints(&["broken/misspelt-words.yaml"]);
    assert!(!told.contains('\u{1b}'), "{told}");
}
