//! What is wrong with the command line is told, and ends with 2; no namespaces are needed for it.

use assert_cmd::Command;

fn iceperf(line: &str) -> (i32, String, String) {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("iceperf"))
        .args(line.split_whitespace())
        .env_remove("RUST_LOG")
        .env_remove("SSLKEYLOGFILE")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn wrong_arguments_end_with_2_and_say_what_is_wrong() {
    for (line, why) in [
        ("", "Usage"),
        ("serve", "unrecognized subcommand 'serve'"),
        ("probe path", "TICKET is missing"),
        ("probe path --control here --ticket-file t", "here"),
        ("client --ticket-file t --control 192.0.2.1:1", "--probe"),
        ("probe control", "TICKET is missing"),
        ("relay --port 3479", "--port and --alternate-port are the same"),
        ("relay --mimic skype", "whatsapp"),
        ("probe nat", "SERVER"),
        ("client iceperf1-abc", "checksum"),
        ("client --ticket-file /nonexistent/ticket", "/nonexistent/ticket: no such file"),
        ("client --ticket-file t --connect-timeout 10", "a unit is missing"),
        ("client 192.0.2.1", "Unlike iperf3's"),
        ("client", "TICKET is missing"),
        ("-c 192.0.2.1", "`iceperf client TICKET`"),
        ("server -P 4", "'-P' (iperf3's --parallel) is not in this version"),
        ("client --ticket-file t -n 20parsecs", "MiB"),
        ("server --policy fastest", "fastest"),
        ("server --engine mptcp", "engine 'mptcp' is not in this version"),
        ("server --events-fd 99", "--events-fd: Bad file descriptor"),
        ("server --control-fd 0 --events-fd 0", "the same descriptor"),
        ("server --identity /dev/null/x", "/dev/null/x"),
    ] {
        let (code, stdout, stderr) = iceperf(line);
        assert_eq!(code, 2, "{line}: {stderr}");
        assert_eq!(stdout, "", "{line}");
        assert!(stderr.contains(why), "{line}: {stderr}");
        assert!(!stderr.contains('\u{1b}'), "colours, and no terminal: {line}: {stderr:?}");
    }
}

#[test]
fn with_json_wrong_arguments_are_told_on_standard_error_alone() {
    for line in ["client --json iceperf1-abc", "client --json", "server --json --call-rate 50"] {
        let (code, stdout, stderr) = iceperf(line);
        assert_eq!((code, stdout.as_str()), (2, ""), "{line}: {stderr}");
        assert!(!stderr.is_empty(), "{line}");
    }
    for mode in ["client", "server"] {
        let (_, help, _) = iceperf(&format!("{mode} --help"));
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(help.contains("there is no document, and the exit code is 2"), "{help}");
    }
}

#[test]
fn help_and_version_end_with_0() {
    for (line, what) in [
        ("--help", "Examples:"),
        ("--version", env!("CARGO_PKG_VERSION")),
        ("server --help", "--ticket-file"),
        ("client --help", "--call-rate"),
        ("rendezvous --help", "--bind"),
        ("relay --help", "--secret-file"),
        ("probe --help", "nat"),
        ("probe nat --help", "--lifetime"),
    ] {
        let (code, stdout, _) = iceperf(line);
        assert_eq!(code, 0, "{line}");
        assert!(stdout.contains(what), "{line}: {stdout}");
    }
}

/// The help of a mode as it is on a terminal of 100 columns.
fn help(mode: &str) -> String {
    let output = Command::new(assert_cmd::cargo::cargo_bin!("iceperf"))
        .args([mode, "--help"])
        .env("COLUMNS", "100")
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_help_of_a_client_and_a_server() {
    insta::assert_snapshot!("client", help("client"));
    insta::assert_snapshot!("server", help("server"));
}

#[test]
fn completions_and_manual_pages_know_the_options() {
    for shell in ["bash", "zsh", "fish"] {
        let (code, stdout, _) = iceperf(&format!("completions {shell}"));
        assert_eq!(code, 0, "{shell}");
        assert!(stdout.contains("ticket-file") && stdout.contains("interface-kind"), "{shell}: {stdout}");
    }
    let directory = tempfile::tempdir().unwrap();
    let pages = directory.path().join("pages");
    let (code, _, stderr) = iceperf(&format!("man {}", pages.display()));
    assert_eq!(code, 0, "{stderr}");
    let page = std::fs::read_to_string(pages.join("iceperf-client.1")).unwrap();
    for text in ["ticket\\-file", "Coming from iperf3", "WORKLOAD", "OUTPUT"] {
        assert!(page.to_uppercase().contains(&text.to_uppercase()), "{text}: {page}");
    }
    for page in [
        "iceperf.1",
        "iceperf-server.1",
        "iceperf-rendezvous.1",
        "iceperf-relay.1",
        "iceperf-probe-nat.1",
        "iceperf-completions.1",
    ] {
        assert!(pages.join(page).exists(), "{page}");
    }
    let (code, _, stderr) = iceperf("man /dev/null/pages");
    assert!(code == 3 && stderr.contains("/dev/null/pages"), "{stderr}");
    let (code, _, stderr) = iceperf("completions tcsh");
    assert!(code == 2 && stderr.contains("bash"), "{stderr}");
}

#[test]
fn evidence_that_cannot_be_written_ends_with_3_and_is_named() {
    for line in ["server --key-log /dev/null/keys", "server --qlog /dev/null/logs"] {
        let (code, _, stderr) = iceperf(line);
        assert!(code == 3 && stderr.contains("/dev/null/"), "{line}: {stderr}");
    }
    let output = Command::new(assert_cmd::cargo::cargo_bin!("iceperf"))
        .arg("server")
        .env("SSLKEYLOGFILE", "/dev/null/of-the-variable")
        .output()
        .unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(3) && stderr.contains("of-the-variable"), "{stderr}");
}
