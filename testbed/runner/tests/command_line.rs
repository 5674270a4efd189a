//! The command line: what there is, what there is not yet, and the exit codes that need no namespace.

use assert_cmd::Command;
use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

const EXAMPLE: &str = "scenarios/whatsapp/wifi-off-in-call.yaml";

/// In the repository's own directory, as people call it.
fn testbed(arguments: &[&str]) -> Told {
    testbed_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."), arguments)
}

fn testbed_in(directory: &Path, arguments: &[&str]) -> Told {
    let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
    let output = command.current_dir(directory).args(arguments).output().unwrap();
    Told {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

#[derive(Debug)]
struct Told {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

#[test]
fn help_tells_what_there_is_and_nothing_that_is_not() {
    let mut help = testbed(&["--help"]).stdout;
    for command in ["check", "plan", "run", "list", "compare", "doctor", "completions"] {
        let told = testbed(&[command, "--help"]);
        assert_eq!(told.code, Some(0), "{command}");
        assert!(help.contains(command), "{command}");
        help += &told.stdout;
    }
    if cfg!(feature = "dissect") {
        help += &testbed(&["dissect", "--help"]).stdout;
    }
    for word in ["sweep", "agree", "explain", "infer", "classify", "keys", "agent", "sim", "hosts"] {
        let found = help.split(|c: char| !c.is_alphanumeric()).any(|other| other == word);
        assert!(!found, "{word} is in the help");
    }
}

#[test]
fn what_is_not_built_yet_is_said_to_be_so() {
    for arguments in [
        &["report", "results/latest"][..],
        &["sweep", "--help"],
        &["run", EXAMPLE, "--backend", "sim"],
        &["run", EXAMPLE, "--backend=hosts"],
        #[cfg(feature = "dissect")]
        &["dissect", "a.pcapng", "--keys", "keys.log"],
        #[cfg(feature = "dissect")]
        &["dissect", "infer", "a.pcapng"],
    ] {
        let told = testbed(arguments);
        assert_eq!(told.code, Some(2), "{arguments:?}");
        assert!(told.stderr.contains("not in this version"), "{arguments:?}: {}", told.stderr);
        assert_eq!(told.stdout, "", "{arguments:?}");
    }
}

#[test]
fn what_never_was_is_not_said_to_come() {
    for arguments in [
        &["chekc", EXAMPLE][..],
        &["run"],
        &["run", EXAMPLE, "--backend", "nets"],
        &["run", EXAMPLE, "--repeat", "0"],
        &["run", EXAMPLE, "--seed", "x"],
        &["run", EXAMPLE, "--report"],
        &["check"],
        &["compare"],
    ] {
        let told = testbed(arguments);
        assert_eq!(told.code, Some(2), "{arguments:?}");
        assert!(!told.stderr.contains("not in this version"), "{arguments:?}: {}", told.stderr);
        assert!(told.stderr.contains("error"), "{arguments:?}: {}", told.stderr);
    }
}

#[test]
fn a_plan_tells_topology_addresses_and_steps() {
    let sets = ["timeline.0.do={silence: laptop.wlan0}", "expect=[{interruption: {below: 250ms, at: 15s}}]"];
    let sets = sets.map(|set| ["--set", set]).concat();
    let told = testbed(&[&["plan", EXAMPLE], sets.as_slice()].concat());
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    insta::assert_snapshot!("plan", told.stdout);
    let told = testbed(&[&["plan", EXAMPLE, "--json"], sets.as_slice()].concat());
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let plan: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(plan["steps"][1], serde_json::json!({"at_ms": 15000.0, "what": "silence laptop.wlan0"}));
    assert_eq!(plan["hosts"]["laptop"]["role"], "client");
    assert_eq!(plan["hosts"]["laptop"]["interfaces"]["wlan0"]["network"], "home");
    assert_eq!(plan["networks"]["o2"]["preset"], "o2-2024");
    let told = testbed(&["plan", "scenarios/blocking/stun-filtered.yaml"]);
    assert!(
        told.stdout.contains("start ICE, then a probe of what is blocked in between\n"),
        "{}",
        told.stdout
    );
    let told = testbed(&["plan", "scenarios/whatsapp/call-relays.yaml"]);
    let row = told.stdout.lines().find(|line| line.trim_start().starts_with("far "));
    assert!(row.is_some_and(|row| row.contains("relay like whatsapp's")), "{}", told.stdout);
    let told = testbed(&["plan", EXAMPLE, "--set", "duration=1"]);
    assert_eq!((told.code, told.stdout.as_str()), (Some(2), ""));
}

/// What is found depends on the machine; that everything is looked at, and that each fault has its fix, does not.
#[test]
fn the_doctor_looks_at_everything_and_knows_the_remedy() {
    let told =
        testbed(&["doctor", "--json", "--tun", "/nonexistent/tun", "--iceperf", "/nonexistent/iceperf"]);
    assert_eq!(told.code, Some(3), "{told:?}");
    let report: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(report["netns"], false);
    let checks = report["checks"].as_array().unwrap();
    let names: Vec<&str> = checks.iter().filter_map(|check| check["name"].as_str()).collect();
    let all = [
        "user namespaces",
        "network namespaces",
        "TUN node",
        "TUN devices",
        "real-time scheduling",
        "IPv6",
        "clock",
        "iceperf",
        "disk space",
        "tshark",
        "coturn",
        "iperf3",
    ];
    assert_eq!(names, all);
    let check = |name: &str| checks.iter().find(|check| check["name"] == name).unwrap();
    assert_eq!(check("TUN node")["state"], "missing");
    assert_eq!(
        check("TUN node")["fix"][0],
        "fix: leave out --tun, or: sudo mknod -m 0666 /nonexistent/tun c 10 200"
    );
    assert_eq!(check("TUN devices")["state"], "untried");
    assert_eq!(check("iceperf")["state"], "missing");
    for check in checks.iter().filter(|check| check["state"] == "limited") {
        assert!(check["fix"][0].as_str().unwrap().starts_with("fix: "), "{check}");
    }
    let told = testbed(&["doctor", "--tun", "/nonexistent/tun"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(3), ""));
    assert!(
        told.stdout.contains("\nMISSING  TUN node: /nonexistent/tun does not exist\n           fix: "),
        "{told:?}"
    );
    assert!(told.stdout.contains("\nScenarios cannot be run here"), "{told:?}");
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    for shell in ["bash", "zsh", "fish"] {
        let told = testbed(&["completions", shell]);
        assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
        assert!(told.stdout.contains("doctor") && told.stdout.contains("compare"), "{shell}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("man");
    let told = testbed(&["man", &pages.display().to_string()]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    for page in ["testbed.1", "testbed-run.1", "testbed-doctor.1"] {
        assert!(fs::read_to_string(pages.join(page)).unwrap().contains(".SH SYNOPSIS"), "{page}");
    }
}

#[test]
fn list_shows_every_scenario_for_people_and_as_one_document() {
    let told = testbed(&["list"]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    assert!(told.stdout.contains("wifi-off-in-call\n  Does the call survive"), "{}", told.stdout);
    let told = testbed(&["list", "--json"]);
    assert_eq!(told.code, Some(0));
    let listed: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let example = listed
        .as_array()
        .unwrap()
        .iter()
        .find(|scenario| scenario["name"] == "wifi-off-in-call")
        .expect("the example is listed");
    assert_eq!(example["path"], EXAMPLE);
    assert_eq!(example["backends"], serde_json::json!(["netns"]));
    assert_eq!(example["answers"][0], "wa-off-interruption");
    assert!(example["why"].as_str().unwrap().starts_with("Does the call survive"));
}

#[test]
fn list_lists_the_sound_and_tells_the_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let scenarios = directory.path().join("scenarios/deeper");
    fs::create_dir_all(&scenarios).unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    fs::copy(root.join(EXAMPLE), scenarios.join("sound.yaml")).unwrap();
    fs::write(scenarios.join("wrong.yaml"), "scenario: wrong\n").unwrap();
    fs::write(scenarios.join("notes.txt"), "no scenario").unwrap();
    let told = testbed_in(directory.path(), &["list", "--json"]);
    assert_eq!(told.code, Some(2));
    assert!(told.stderr.contains("wrong.yaml:1:1"), "{}", told.stderr);
    let listed: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
}

#[test]
fn a_wrong_scenario_is_not_run_and_the_document_is_empty() {
    let told = testbed(&["run", EXAMPLE, "--set", "duration=1", "--json"]);
    assert_eq!(told.code, Some(2));
    assert!(told.stderr.contains("`1` has no unit"), "{}", told.stderr);
    assert_eq!(told.stdout.trim(), "[]");
}

#[test]
fn an_iceperf_that_cannot_be_used_is_told_before_anything_is_made() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let script = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    };
    let old = script("old", "#!/bin/sh\necho iceperf 0.0.1\n");
    let other = script("other", "#!/bin/sh\necho something else\n");
    let text = script("text", "no program");
    let nowhere = directory.path().join("nowhere").display().to_string();
    for (path, why) in [
        (&old, "is iceperf 0.0.1, and this is testbed"),
        (&other, "does not say that it is iceperf"),
        (&text, "text: "),
        (&nowhere, "nowhere: No such file"),
    ] {
        let told = testbed(&["run", EXAMPLE, "--iceperf", path, "--out", &out.display().to_string()]);
        assert_eq!(told.code, Some(2), "{path}: {}", told.stderr);
        assert!(told.stderr.contains(why), "{path}: {}", told.stderr);
    }
    assert!(!out.exists());
}

/// Before anything is made, and whatever else would be missing.
#[test]
fn a_servers_program_that_is_missing_is_told_with_its_package() {
    let directory = tempfile::tempdir().unwrap();
    let iceperf = directory.path().join("iceperf");
    fs::write(&iceperf, format!("#!/bin/sh\necho iceperf {}\n", env!("CARGO_PKG_VERSION"))).unwrap();
    fs::set_permissions(&iceperf, fs::Permissions::from_mode(0o755)).unwrap();
    let out = directory.path().join("out");
    for (kind, package) in
        [("coturn", "sudo apt-get install coturn"), ("iperf3", "sudo apt-get install iperf3")]
    {
        let server = format!("servers.other={{kind: {kind}, delay: 1ms}}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_testbed"));
        command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("../.."));
        command.args(["run", EXAMPLE, "--set", &server, "--iceperf"]).arg(&iceperf).arg("--out").arg(&out);
        let output = command.env("PATH", "/nonexistent").output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(3), "{kind}: {stderr}");
        assert!(stderr.contains(&format!("`other` is a server of kind `{kind}`")), "{stderr}");
        assert!(stderr.contains(package), "{stderr}");
        assert!(!out.exists());
    }
}

#[test]
fn a_directory_that_is_no_run_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let told = testbed(&["compare", &directory.path().display().to_string()]);
    assert_eq!(told.code, Some(2));
    assert!(told.stderr.ends_with("holds no run directory\n"), "{}", told.stderr);
    let told = testbed(&["compare", "/nonexistent"]);
    assert_eq!(told.code, Some(2));
    assert!(told.stderr.starts_with("error: /nonexistent is not a run directory: "), "{}", told.stderr);
}

/// What nobody could read must not look like a success.
#[test]
fn an_output_that_cannot_be_written_is_an_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for arguments in [&["list"][..], &["list", "--json"], &["check", EXAMPLE]] {
        let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_testbed"));
        let output = command.current_dir(&root).args(arguments).stdout(full).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.matches("cannot write to standard output").count(), 1, "{stderr}");
    }
}

#[test]
fn an_answer_that_nobody_asked_for_is_warned_of() {
    let answers = "answers=[wa-off-interuption, wa-off-no-standby]";
    let told = testbed(&["check", EXAMPLE, "--set", answers]);
    assert_eq!(told.code, Some(0));
    let warning =
        "no built-in observation is called `wa-off-interuption`; did you mean `wa-off-interruption`?";
    assert!(told.stderr.contains(warning), "{}", told.stderr);
    assert_eq!(told.stderr.lines().count(), 1, "{}", told.stderr);
}

/// As `testbed list | head -0` does.
#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for arguments in [&["list"][..], &["list", "--json"], &["check", EXAMPLE]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_testbed"));
        let output = command.current_dir(&root).args(arguments).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
    }
}

/// A capture of two packets: pcap, raw IP, a UDP datagram and its answer 20 ms later.
#[cfg(feature = "dissect")]
fn small_capture() -> Vec<u8> {
    let mut bytes = b"\xd4\xc3\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0\x65\0\0\0".to_vec();
    for (microseconds, ends) in [(0_u32, [1, 2]), (20_000, [2, 1])] {
        bytes.extend([1, 0, 0, 0]);
        bytes.extend(microseconds.to_le_bytes());
        bytes.extend([28, 0, 0, 0, 28, 0, 0, 0]);
        bytes.extend([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, ends[0], 192, 0, 2, ends[1]]);
        bytes.extend([4, ends[0], 4, ends[1], 0, 8, 0, 0]);
    }
    bytes
}

#[cfg(feature = "dissect")]
#[test]
fn captures_are_dissected() {
    let folder = tempfile::tempdir().expect("a directory");
    let [capture, csv] = ["a.pcap", "flows.csv"].map(|name| folder.path().join(name));
    let [capture_path, csv_path] = [&capture, &csv].map(|path| path.to_str().expect("UTF-8").to_owned());
    std::fs::write(&capture, small_capture()).expect("a capture");
    let told = testbed(&["dissect", &capture_path, "--json", "--flows", &csv_path]);
    assert_eq!((told.code, told.stderr.as_str()), (Some(0), ""));
    let document: serde_json::Value = serde_json::from_str(&told.stdout).expect("one document");
    assert_eq!(document["files"][0]["packets"], 2);
    assert_eq!(document["flows"][0]["client"], "192.0.2.1:1025");
    assert_eq!(document["flows"][0]["duration_ms"], 20.0);
    assert_eq!(
        (&document["calls"], &document["metrics"]),
        (&serde_json::json!([]), &serde_json::Value::Null)
    );
    let lines = std::fs::read_to_string(&csv).expect("the flows");
    assert_eq!(lines.lines().count(), 2, "{lines}");

    // Classes of one's own; a line that is wrong is named.
    let classes = folder.path().join("classes");
    let classes_path = classes.to_str().expect("UTF-8");
    for (text, code, told) in [("mine: *.example.org\n", 0, ""), ("mine: a\nmine\n", 2, "line 2: no colon")] {
        std::fs::write(&classes, text).expect("a file");
        let output = testbed(&["dissect", &capture_path, "--classes", classes_path]);
        assert_eq!(output.code, Some(code), "{output:?}");
        assert!(output.stderr.contains(told), "{output:?}");
    }

    // A cut file is used up to the cut, and its place is named.
    let mut cut = small_capture();
    cut.pop();
    std::fs::write(&capture, cut).expect("a capture");
    let told = testbed(&["dissect", &capture_path]);
    assert_eq!(told.code, Some(0));
    assert!(told.stdout.contains("1 packets"), "{}", told.stdout);
    assert!(told.stderr.contains("damaged at offset 68"), "{}", told.stderr);

    std::fs::write(&capture, "no capture").expect("a file");
    assert_eq!(testbed(&["dissect", &capture_path]).code, Some(2));
}
