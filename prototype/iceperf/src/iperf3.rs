//! Every option of iperf3 that means something else here or is not there, and what to do instead.
//!
//! The rule: an option that iperf3 has means here what it means there, or it is refused with a word on what takes its
//! place. What is the same is in `cli`.

/// Refused options: iperf3's short form, its long forms, and what to say.
const REFUSED: &[(Option<char>, &[&str], &str)] = &[
    (Some('s'), &["server"], "write `iceperf server`"),
    (Some('c'), &["client"], "write `iceperf client TICKET`, with the ticket that `iceperf server` prints"),
    (Some('p'), &["port"], "the ticket names the server's ports; --cport sets this end's"),
    (Some('f'), &["format"], "rates are told with their unit; --json has them in bit/s"),
    (Some('I'), &["pidfile"], "the shell has the process id in $!; interfaces are named with --interface"),
    (Some('F'), &["file"], "not in this version: bulk sends bytes of its own making"),
    (Some('A'), &["affinity"], "taskset(1) binds a program to processors"),
    (
        Some('B'),
        &["bind"],
        "here, --interface chooses interfaces, and --bind what their sockets are bound to",
    ),
    (Some('d'), &["debug"], "write -VV"),
    (Some('T'), &["title"], "not in this version"),
    (None, &["extra-data"], "not in this version"),
    (None, &["json-stream", "json-stream-full-output"], "--events-fd 1 writes every event as a JSON line"),
    (None, &["logfile"], "redirect standard output"),
    (None, &["forceflush"], "every line is written at once, always"),
    (None, &["timestamps"], "every line begins with the time since the start"),
    (None, &["rcv-timeout", "snd-timeout", "cntl-ka"], "a peer that is lost is found by its silence"),
    (Some('m'), &["mptcp"], "not in this version"),
    (Some('D'), &["daemon"], "systemd-run(1) or the shell's & runs it in the background"),
    (Some('1'), &["one-off"], "a server serves one client and ends, always"),
    (None, &["server-bitrate-limit"], "not in this version"),
    (None, &["idle-timeout"], "a server waits for its client as long as it takes; timeout(1) ends it"),
    (None, &["server-max-duration"], "--time ends a server"),
    (
        None,
        &[
            "rsa-private-key-path",
            "rsa-public-key-path",
            "authorized-users-path",
            "username",
            "time-skew-threshold",
            "use-pkcs1-padding",
        ],
        "the ticket has the server's certificate and the client's secret; nothing else is needed",
    ),
    (None, &["sctp", "nstreams"], "QUIC over UDP is all there is"),
    (Some('X'), &["xbind"], "QUIC over UDP is all there is"),
    (Some('u'), &["udp"], "all is QUIC over UDP; a call, which is the default, sends unreliable datagrams"),
    (
        Some('b'),
        &["bitrate", "bandwidth"],
        "--call-rate and --call-payload set a call's; bulk goes as fast as the path allows",
    ),
    (None, &["pacing-timer", "fq-rate", "no-fq-socket-pacing"], "QUIC paces what it sends by itself"),
    (Some('k'), &["blockcount"], "-n, --bytes says how much to send"),
    (Some('l'), &["length"], "--call-payload sets the size of a call's datagrams"),
    (Some('P'), &["parallel"], "not in this version: one object at a time, over all interfaces"),
    (None, &["bidir"], "not in this version: a call goes both ways, bulk one way (-R: the other)"),
    (Some('w'), &["window"], "not in this version"),
    (Some('C'), &["congestion", "linux-congestion"], "not in this version"),
    (Some('M'), &["set-mss"], "QUIC finds out by itself how large a packet may be"),
    (Some('N'), &["no-delay"], "QUIC does not hold small data back"),
    (Some('4'), &["version4"], "not in this version: both families are tried, and told of each path"),
    (Some('6'), &["version6"], "not in this version: both families are tried, and told of each path"),
    (Some('S'), &["tos", "dscp"], "not in this version"),
    (Some('L'), &["flowlabel"], "not in this version"),
    (
        Some('Z'),
        &["zerocopy", "skip-rx-copy", "gsro"],
        "segmentation offload is used where the kernel has it, always",
    ),
    (Some('O'), &["omit"], "not in this version; --interval shows how it begins"),
    (None, &["get-server-output"], "the server tells it itself, with --json as JSON"),
    (None, &["udp-counters-64bit"], "counters have 64 bits, always"),
    (None, &["repeating-payload"], "not in this version"),
    (None, &["dont-fragment"], "datagrams are never fragmented (RFC 9000 section 14)"),
];

/// What to say of an option as it was written (`-P`, `--parallel=4`), if it is one of iperf3's that is refused.
pub(crate) fn instead(word: &str) -> Option<String> {
    let refused = |short: Option<char>, long: &[&str]| match word.strip_prefix("--") {
        Some(name) => long.contains(&name.split('=').next().unwrap_or(name)),
        None => {
            word.strip_prefix('-').is_some_and(|letter| letter.chars().next() == short && short.is_some())
        }
    };
    let (short, long, what) = REFUSED.iter().find(|(short, long, _)| refused(*short, long))?;
    let written = word.split('=').next().unwrap_or(word);
    let full = long.first().map(|name| format!("--{name}")).unwrap_or_default();
    let named = match short {
        Some(_) if !word.starts_with("--") => format!("'{written}' (iperf3's {full})"),
        _ => format!("'{written}'"),
    };
    Some(match what.strip_prefix("not in this version") {
        Some(more) => format!("{named} is not in this version{more}"),
        None => format!("{named} is iperf3's: here, {what}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Cli;

    /// Every option of iperf3 3.20, by its manual page: of the server, of the client, with an example of a value.
    const ALL: &[(Mode, &str, &str, &str)] = &[
        (Both, "-p", "--port", "5201"),
        (Both, "-f", "--format", "m"),
        (Both, "-i", "--interval", "1"),
        (Both, "-I", "--pidfile", "f"),
        (Both, "-F", "--file", "f"),
        (Both, "-A", "--affinity", "1"),
        (Both, "-B", "--bind", "192.0.2.1"),
        (Both, "", "--bind-dev", "wlan0"),
        (Both, "-V", "--verbose", ""),
        (Both, "-J", "--json", ""),
        (Both, "", "--json-stream", ""),
        (Both, "", "--json-stream-full-output", ""),
        (Both, "", "--logfile", "f"),
        (Both, "", "--forceflush", ""),
        (Both, "", "--timestamps", ""),
        (Both, "", "--rcv-timeout", "1"),
        (Both, "", "--snd-timeout", "1"),
        (Both, "", "--cntl-ka", ""),
        (Both, "-d", "--debug", ""),
        (Both, "-v", "--version", ""),
        (Both, "-h", "--help", ""),
        (Both, "-m", "--mptcp", ""),
        (Server, "-s", "--server", ""),
        (Server, "-D", "--daemon", ""),
        (Server, "-1", "--one-off", ""),
        (Server, "", "--server-bitrate-limit", "1"),
        (Server, "", "--idle-timeout", "1"),
        (Server, "", "--server-max-duration", "1"),
        (Server, "", "--rsa-private-key-path", "f"),
        (Server, "", "--authorized-users-path", "f"),
        (Server, "", "--time-skew-threshold", "1"),
        (Server, "", "--use-pkcs1-padding", ""),
        (Client, "-c", "--client", "host"),
        (Client, "", "--sctp", ""),
        (Client, "-X", "--xbind", "name"),
        (Client, "", "--nstreams", "1"),
        (Client, "-u", "--udp", ""),
        (Client, "", "--connect-timeout", "500ms"),
        (Client, "-b", "--bitrate", "1M"),
        (Client, "", "--pacing-timer", "1"),
        (Client, "", "--fq-rate", "1"),
        (Client, "", "--no-fq-socket-pacing", ""),
        (Client, "-t", "--time", "10"),
        (Client, "-n", "--bytes", "1M"),
        (Client, "-k", "--blockcount", "1"),
        (Client, "-l", "--length", "1"),
        (Client, "", "--cport", "5000"),
        (Client, "-P", "--parallel", "1"),
        (Client, "-R", "--reverse", ""),
        (Client, "", "--bidir", ""),
        (Client, "-w", "--window", "1"),
        (Client, "-C", "--congestion", "bbr"),
        (Client, "", "--linux-congestion", "bbr"),
        (Client, "-M", "--set-mss", "1"),
        (Client, "-N", "--no-delay", ""),
        (Client, "-4", "--version4", ""),
        (Client, "-6", "--version6", ""),
        (Client, "-S", "--tos", "1"),
        (Client, "", "--dscp", "1"),
        (Client, "-L", "--flowlabel", "1"),
        (Client, "-Z", "--zerocopy", ""),
        (Client, "", "--skip-rx-copy", ""),
        (Client, "", "--gsro", ""),
        (Client, "-O", "--omit", "1"),
        (Client, "-T", "--title", "t"),
        (Client, "", "--extra-data", "t"),
        (Client, "", "--get-server-output", ""),
        (Client, "", "--udp-counters-64bit", ""),
        (Client, "", "--repeating-payload", ""),
        (Client, "", "--dont-fragment", ""),
        (Client, "", "--username", "u"),
        (Client, "", "--rsa-public-key-path", "f"),
    ];

    /// Those that mean here what they mean there.
    const SAME: &[&str] = &[
        "--interval",
        "--bind-dev",
        "--verbose",
        "--json",
        "--version",
        "--help",
        "--connect-timeout",
        "--time",
        "--cport",
        "--bytes",
        "--reverse",
    ];

    #[derive(Clone, Copy, PartialEq)]
    enum Mode {
        Server,
        Client,
        Both,
    }
    use Mode::*;

    /// What becomes of `iceperf MODE ... OPTION VALUE`.
    fn given(mode: &str, option: &str, value: &str) -> Result<(), String> {
        let ticket: &[&str] = if mode == "client" { &["--ticket-file", "t"] } else { &[] };
        let value = (!value.is_empty()).then_some(value);
        let words = ["iceperf", mode].into_iter().chain(ticket.iter().copied()).chain([option]).chain(value);
        match Cli::read(words.map(Into::into)) {
            Ok(_) => Ok(()),
            Err(told) if told.exit_code() == 0 => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn every_option_of_iperf3_is_the_same_or_refused_with_what_takes_its_place() {
        for (mode, short, long, value) in ALL {
            for (name, option) in
                ["server", "client"].into_iter().flat_map(|name| [(name, *short), (name, *long)])
            {
                let foreign = matches!((mode, name), (Server, "client") | (Client, "server"));
                if option.is_empty() || foreign {
                    continue;
                }
                let same = SAME.contains(long) || (*long == "--port" && name == "server");
                match given(name, option, value) {
                    Ok(()) => assert!(same, "{name} {option} is taken"),
                    Err(error) => {
                        assert!(!same, "{name} {option}: {error}");
                        let told = error.contains("here, ") || error.contains("not in this version");
                        assert!(told && error.contains(option), "{name} {option}: {error}");
                    }
                }
            }
        }
    }

    #[test]
    fn who_writes_as_for_iperf3_is_told_how_to_write_here() {
        for (line, what) in [
            ("iceperf -s", "`iceperf server`"),
            ("iceperf -c 192.0.2.1", "`iceperf client TICKET`"),
            ("iceperf client 192.0.2.1", "Unlike iperf3's, a client is given no host, but a ticket"),
            ("iceperf client", "run `iceperf server` on the other host"),
            ("iceperf client -t 10", "run `iceperf server` on the other host"),
            ("iceperf server iceperf1-abc", "a ticket goes to a client"),
            ("iceperf iceperf1-abc", "`iceperf client TICKET`"),
            ("iceperf -t 10 client t", "after the subcommand"),
            ("iceperf --ticket-file t client", "`iceperf client --ticket-file`"),
            ("iceperf -V", "after the subcommand"),
            ("iceperf client --ticket-file t -P4", "'-P' (iperf3's --parallel) is not in this version"),
            ("iceperf client --ticket-file t --parallel=4", "'--parallel' is not in this version"),
            ("iceperf client --ticket-file t -p 5201", "the ticket names the server's ports"),
        ] {
            let error = Cli::read(line.split(' ').map(Into::into)).unwrap_err();
            assert!(error.to_string().contains(what), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn options_are_found_by_either_name_and_with_a_value() {
        for word in ["-P", "--parallel", "--parallel=4"] {
            let said = instead(word).unwrap();
            assert!(said.contains("is not in this version: one object at a time"), "{said}");
        }
        assert_eq!(
            instead("-k").unwrap(),
            "'-k' (iperf3's --blockcount) is iperf3's: here, -n, --bytes says how much to send"
        );
        for word in ["-", "--", "-q", "--quick", "parallel", ""] {
            assert_eq!(instead(word), None, "{word}");
        }
    }
}
