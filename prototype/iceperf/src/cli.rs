//! The command line. Options are named as in iperf3 where they mean the same; those of iperf3 that are not here are
//! refused with what to do instead (`iperf3`).
//!
//! Everything is parsed once, here, into types whose values are valid; what the contract knows and this version does
//! not is refused by name.

mod peers;

pub(crate) use peers::{Bind, ClientArgs, CommonArgs, IceAgent, ProbePathArgs, ServerArgs, turn_server};

use crate::{future_words, interfaces::Named, iperf3, left_out, units};
use clap::{
    ArgAction, Args, CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use peer::Ticket;
use peers::{CLIENT_EXAMPLES, WHENCE, client_long_help, looks_like_a_ticket};
use std::{
    ffi::OsString,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// Calls that survive the loss of an interface: multi-interface ICE under multipath QUIC.
#[derive(Debug, Parser)]
#[command(
    name = "iceperf",
    version,
    propagate_version = true,
    disable_version_flag = true,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  iceperf rendezvous                             on a public host, if the peers share no network
  iceperf server --rendezvous 198.51.100.9:3478  prints the command for the client
  iceperf client iceperf1-...                    calls for 10 s over all interfaces
  iceperf relay                                  on a public host: STUN, NAT discovery, TURN
  iceperf probe nat 198.51.100.9                 what this host is behind

Every option is explained by `iceperf client --help` and `iceperf server --help`.

Sockets are bound to their interfaces: client and server are on different hosts (or in \
different network namespaces), or on one host, over loopback.

Exit codes: 0 done; 2 arguments; 3 this machine (rights, port, device); 4 a transfer was \
interrupted; 5 peer unreachable; 6 refused (wrong fingerprint or secret); 7 SHA-256 of a \
transfer differs between the ends; 8 a transfer was not confirmed."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
    /// Print the version
    #[arg(short = 'v', long, global = true, action = ArgAction::Version, help_heading = "Output")]
    version: Option<bool>,
}

/// What to be.
#[derive(Debug, Subcommand)]
pub(crate) enum Mode {
    /// Wait for one client, talk to it, end
    #[command(after_help = "\
Examples:
  iceperf server                                          for clients that share a network with this host
  iceperf server --rendezvous 198.51.100.9:3478           for clients anywhere
  iceperf server --identity ~/.iceperf --ticket-file t    the same ticket at every start")]
    Server(ServerArgs),
    /// Call a server, or send to it
    #[command(after_help = CLIENT_EXAMPLES, after_long_help = client_long_help())]
    Client(ClientArgs),
    /// Bring peers together that share no network; answers STUN Binding requests too
    #[command(after_help = "\
Examples:
  iceperf rendezvous
  iceperf rendezvous --bind 198.51.100.9:3478 --bind '[2001:db8::9]:3478'")]
    Rendezvous(RendezvousArgs),
    /// Answer STUN, tell clients how their NATs behave, relay for them (TURN)
    #[command(after_help = RELAY_EXAMPLES)]
    Relay(RelayArgs),
    /// Find out what this host is behind
    #[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
    Probe {
        #[command(subcommand)]
        what: Probe,
    },
    /// Print a shell's completions
    #[command(after_help = "\
Examples:
  iceperf completions bash > ~/.local/share/bash-completion/completions/iceperf
  iceperf completions zsh > \"${fpath[1]}/_iceperf\"
  iceperf completions fish > ~/.config/fish/completions/iceperf.fish")]
    Completions {
        /// Which
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a directory
    #[command(hide = true)]
    Man {
        /// Which; made if missing
        directory: PathBuf,
    },
}

/// What to find out.
#[derive(Debug, Subcommand)]
pub(crate) enum Probe {
    /// How NATs and firewalls behave, in the words of RFC 4787: mapping, filtering, ports, hairpinning, lifetime
    #[command(after_help = NAT_EXAMPLES)]
    Nat(ProbeNatArgs),
    /// What the networks between this host and a server block: STUN, UDP between peers, all UDP, one way or both
    #[command(after_help = PATH_EXAMPLES)]
    Path(Box<ProbePathArgs>),
    /// Answer the probes of two hosts, as a public host that nobody knows as a server
    #[command(after_help = CONTROL_EXAMPLES)]
    Control(ProbeControlArgs),
}

const PATH_EXAMPLES: &str = "\
Examples:
  iceperf probe path iceperf1-... --control 198.51.100.20:47111
  iceperf probe path --ticket-file t --control 198.51.100.20:47111 --stun 198.51.100.9:3478 --json

Both ends send STUN, plain and disguised, UDP that looks random and QUIC Initial packets to each other over each pair of \
interfaces; an ordinary `iceperf server` takes part. --control tells a block from NATs that cannot be punched, and \
--stun, a host that runs `iceperf relay` with two addresses, what those NATs are. Verdicts: open, stun-filtered, \
udp-p2p-blocked, udp-blocked, nat-incompatible, one-way, inconclusive (with the reason).

Exit codes: 0 told, whatever the verdicts; 2 arguments; 3 this machine; 5 the server took no part; 6 refused.";

const CONTROL_EXAMPLES: &str = "\
Examples:
  iceperf probe control iceperf1-...                        a fresh port of every address
  iceperf probe control --ticket-file t --bind 198.51.100.20:47111

Run it on a public host without NAT and firewall that is no known server.";

const RELAY_EXAMPLES: &str = "\
Examples:
  iceperf relay                                      on every address of this host
  iceperf relay --bind 198.51.100.9 --bind 198.51.100.10
  iceperf relay --secret-file ~/.iceperf/turn        the same password at every start

With two addresses of a family, clients can find out how their NATs map and filter (RFC 5780); what cannot be told \
with one is printed. Without a client's password nothing is relayed. There is no NAT between this host and \
its addresses: what it binds is what clients are told.";

const NAT_EXAMPLES: &str = "\
Examples:
  iceperf probe nat 198.51.100.9                     a host that runs `iceperf relay`; port 3478
  iceperf probe nat 198.51.100.9 '[2001:db8::9]'     IPv6 too: firewalls
  iceperf probe nat stun.example.org:3478 --interface wwan0 --lifetime 5m --json

Silence alone proves nothing: what cannot be told, because the server has one address or the path \
fails, is called inconclusive, with the reason. Further servers take part in finding out the mapping.

Exit codes: 0 a server answered; 2 arguments; 3 this machine; 5 no server answered.";

/// `iceperf rendezvous`.
#[derive(Debug, Args)]
pub(crate) struct RendezvousArgs {
    /// Listen here (repeatable; default: port 3478 of every address, IPv4 and IPv6)
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Connection")]
    pub(crate) bind: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

/// `iceperf probe control`.
#[derive(Debug, Args)]
pub(crate) struct ProbeControlArgs {
    /// The ticket of the server whose probes it answers
    #[arg(value_name = "TICKET", required_unless_present = "ticket_file", value_parser = peers::ticket)]
    pub(crate) ticket: Option<Ticket>,
    /// Read the ticket from this file
    #[arg(long, value_name = "FILE", conflicts_with = "ticket", help_heading = "Connection")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Listen here, UDP and TCP; port 0 for any (repeatable; default: any port of every address)
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Connection")]
    pub(crate) bind: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

/// `iceperf relay`.
#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Listen on this address (repeatable; default: every address of every interface that is not virtual)
    #[arg(long, value_name = "ADDR", help_heading = "Connection")]
    pub(crate) bind: Vec<IpAddr>,
    /// UDP port on each address
    #[arg(short, long, value_name = "PORT", default_value_t = 3478, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Connection")]
    pub(crate) port: u16,
    /// The other port, for behaviour discovery
    #[arg(long, value_name = "PORT", default_value_t = 3479, value_parser = clap::value_parser!(u16).range(1..), help_heading = "Connection")]
    pub(crate) alternate_port: u16,
    /// Name of the one user that may relay
    #[arg(long, value_name = "NAME", default_value = "iceperf", value_parser = word, help_heading = "TURN")]
    pub(crate) user: String,
    /// The user's password is the line in this file, or a new one that is written there if there is no such file
    /// (default: a new one, printed)
    #[arg(long, value_name = "FILE", help_heading = "TURN")]
    pub(crate) secret_file: Option<PathBuf>,
    /// Realm of the user
    #[arg(long, value_name = "REALM", default_value = "iceperf", value_parser = word, help_heading = "TURN")]
    pub(crate) realm: String,
    /// Most allocations of all clients together; 0 relays for nobody
    #[arg(long, value_name = "COUNT", default_value_t = 256, value_parser = count, help_heading = "TURN")]
    pub(crate) allocations: usize,
    /// Most allocations of one client address
    #[arg(long, value_name = "COUNT", default_value_t = 32, value_parser = count, help_heading = "TURN")]
    pub(crate) allocations_per_client: usize,
    /// Be a relay as WhatsApp has them, too: its messages on the same ports, for calls with the user's password
    #[arg(long, value_name = "WHAT", value_enum, help_heading = "TURN")]
    pub(crate) mimic: Option<Mimicked>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

/// Whose relay `iceperf relay` takes itself for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mimicked {
    #[value(name = "whatsapp")]
    WhatsApp,
}

/// `iceperf probe nat`.
#[derive(Debug, Args)]
pub(crate) struct ProbeNatArgs {
    /// STUN servers, HOST or HOST:PORT (port 3478 by default); the first that answers is asked everything
    #[arg(value_name = "SERVER", required = true, num_args = 1..=8)]
    pub(crate) servers: Vec<ServerName>,
    /// Look for the lifetime of a quiet mapping, for this long at most (default: not at all)
    #[arg(long, value_name = "DURATION", value_parser = units::duration, help_heading = "Probing")]
    pub(crate) lifetime: Option<Duration>,
    /// Probe this interface (repeatable; default: all but virtual ones, which -VV tells of)
    #[arg(long = "interface", visible_alias = "bind-dev", value_name = "NAME", help_heading = "Interfaces")]
    pub(crate) interfaces: Vec<Named>,
    /// One JSON document on standard output at the end; everything else goes to standard error
    #[arg(short = 'J', long, help_heading = "Output")]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
    /// Seed of the transaction ids (default: from the operating system); strangers who know it can lie
    #[arg(long, value_name = "NUMBER", help_heading = "Test bed")]
    pub(crate) seed: Option<u64>,
}

/// A server by name or address, and its port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerName {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl std::str::FromStr for ServerName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        const STUN: u16 = 3478;
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self { host: address.ip().to_string(), port: address.port() }).and_then(Self::checked);
        }
        if bare.parse::<IpAddr>().is_ok() {
            return Ok(Self { host: bare.to_owned(), port: STUN });
        }
        let (host, port) = match text.split_once(':') {
            None => (text, STUN),
            Some((host, port)) => (host, port.parse().map_err(|_| format!("{port:?} is no port"))?),
        };
        Self { host: host.to_owned(), port }.checked()
    }
}

impl ServerName {
    fn checked(self) -> Result<Self, String> {
        let valid = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
        if self.host.is_empty() || !self.host.chars().all(valid) || self.port == 0 {
            return Err("write HOST or HOST:PORT, as in 198.51.100.9:3478 or '[2001:db8::9]:3478'".to_owned());
        }
        Ok(self)
    }
}

/// What RFC 8489 sections 14.3 and 14.9 allow in user names and realms, of ASCII alone.
fn word(text: &str) -> Result<String, String> {
    let valid = !text.is_empty() && text.len() <= 128 && text.chars().all(|c| c.is_ascii_graphic());
    if valid { Ok(text.to_owned()) } else { Err("1 to 128 ASCII characters without spaces".to_owned()) }
}

/// Each allocation is a socket.
fn count(text: &str) -> Result<usize, String> {
    let count = text.parse().ok().filter(|count| *count <= 10_000);
    count.ok_or_else(|| "a number from 0 to 10000".to_owned())
}

/// What all modes share.
#[derive(Debug, Args)]
pub(crate) struct BedArgs {
    /// More on standard error (repeatable); RUST_LOG overrides it
    #[arg(short = 'V', long, action = ArgAction::Count, help_heading = "Output")]
    pub(crate) verbose: u8,
    /// Write events to this descriptor, as JSON lines
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(0..), help_heading = "Test bed")]
    pub(crate) events_fd: Option<i32>,
    /// Take commands from this descriptor, as JSON lines; start when it says so, stop at its end. A server then does
    /// not print its ticket: see --ticket-file
    #[arg(long, value_name = "FD", value_parser = clap::value_parser!(i32).range(0..), help_heading = "Test bed")]
    pub(crate) control_fd: Option<i32>,
    /// Name of this host in the events (default: the host's)
    #[arg(long, value_name = "NAME", help_heading = "Test bed")]
    pub(crate) host_name: Option<String>,
}

impl Cli {
    /// Parses the program's arguments.
    pub(crate) fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        Self::try_parse_from(arguments).map_err(explain)
    }
}

/// Says what to write instead, where that is known.
fn explain(error: clap::Error) -> clap::Error {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(word)) => Some(word.as_str()),
        _ => None,
    };
    let what = match error.kind() {
        ErrorKind::UnknownArgument => text(ContextKind::InvalidArg).and_then(unknown_argument),
        ErrorKind::InvalidSubcommand => text(ContextKind::InvalidSubcommand).and_then(unknown_subcommand),
        ErrorKind::MissingRequiredArgument => missing_ticket(&error),
        ErrorKind::InvalidValue => text(ContextKind::InvalidValue).and_then(|word| {
            let planned =
                || future_words::is_engine(word).then(|| format!("engine '{word}' is not in this version"));
            left_out::is_feature(word).then(|| left_out::explain(word)).or_else(planned)
        }),
        _ => None,
    };
    match what {
        Some(what) => Cli::command().error(ErrorKind::InvalidValue, what),
        None => error,
    }
}

fn unknown_argument(word: &str) -> Option<String> {
    if future_words::is_option(word) {
        let word = word.split('=').next().unwrap_or(word);
        return Some(format!("'{word}' is not in this version"));
    }
    if looks_like_a_ticket(word) {
        return Some("a ticket goes to a client: `iceperf client TICKET`; a server makes its own".to_owned());
    }
    iperf3::instead(word).or_else(|| misplaced(word))
}

/// An option of a subcommand that is written before it.
fn misplaced(word: &str) -> Option<String> {
    let name = word.split('=').next().unwrap_or(word);
    let is = |argument: &clap::Arg| match name.strip_prefix("--") {
        Some(long) => argument.get_long() == Some(long),
        None => name
            .strip_prefix('-')
            .and_then(|rest| rest.chars().next())
            .is_some_and(|letter| argument.get_short() == Some(letter)),
    };
    let command = Cli::command();
    let mut modes = command.get_subcommands().filter(|mode| mode.get_arguments().any(is));
    let mode = modes.find(|mode| mode.get_name() == "client").or_else(|| modes.next())?;
    Some(format!(
        "'{name}' is no option here: write it after the subcommand that has it, as in `iceperf {} {name}`",
        mode.get_name()
    ))
}

fn unknown_subcommand(word: &str) -> Option<String> {
    looks_like_a_ticket(word).then(|| "a ticket goes to a client: `iceperf client TICKET`".to_owned())
}

fn missing_ticket(error: &clap::Error) -> Option<String> {
    let Some(ContextValue::Strings(missing)) = error.get(ContextKind::InvalidArg) else { return None };
    let ticket = missing.iter().any(|argument| argument.contains("TICKET"));
    ticket.then(|| format!("TICKET is missing, or --ticket-file FILE; {WHENCE}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use peer::{BulkDirection, BulkSpec};

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::read(line.split(' ').map(OsString::from))
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_is_not_built_is_said_to_be_so_and_absent_from_the_help() {
        for line in [
            "iceperf server --engine mptcp",
            "iceperf server --engine=tcp",
            "iceperf server --video",
            "iceperf server --cc bbr",
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.to_string().contains("not in this version"), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
        let error = parse("iceperf serve").unwrap_err();
        assert!(!error.to_string().contains("not in this version"), "{error}");
        let mut command = Cli::command();
        let mut help = command.render_long_help().to_string();
        for mode in command.get_subcommands_mut() {
            help += &mode.render_long_help().to_string();
        }
        for word in ["--scheduler", "mptcp"] {
            assert!(!help.contains(word), "{word} is in the help");
        }
    }

    #[test]
    fn values_are_typed() {
        let cli = parse("iceperf client --ticket-file t -t 60 --call-rate 25/s --interface wlan0 --bind-dev usb0=cellular")
            .unwrap();
        let Mode::Client(args) = cli.mode else { panic!("a client") };
        assert_eq!(args.time, Some(Duration::from_secs(60)));
        assert_eq!(args.common.call_rate.unwrap().per_second(), 25);
        assert_eq!(args.common.interfaces.len(), 2);
        for (line, why) in [
            ("iceperf client --ticket-file t --connect-timeout 10", "a unit is missing"),
            ("iceperf client --ticket-file t --time ten", "is no number"),
            ("iceperf client --ticket-file t -i 10ms", "between 100ms (or 0 for none) and 24h"),
            ("iceperf server --interface-kind wlan0", "as in wlan0=wifi"),
            ("iceperf server --interface-kind wlan0=fast", "lan, wifi or cellular"),
            ("iceperf client --ticket-file t --call-rate 50", "a unit is missing"),
            ("iceperf client --ticket-file t --call-payload 5B", "between 17B and 1000B"),
            ("iceperf client nonsense", "a ticket begins with"),
            ("iceperf client", "TICKET"),
            ("iceperf server --port 70000", "70000"),
            ("iceperf server --rendezvous somewhere", "somewhere"),
            ("iceperf server --interface lo", "loopback"),
            ("iceperf server --ice theirs", "ours, webrtc-ice"),
            ("iceperf server --events-fd -3", "-3"),
            ("iceperf server --engine quick", "noq"),
            ("iceperf server --call-relay 192.0.2.1:3478", "--call-secret-file"),
            ("iceperf server --policy fastest", "multipath, rfc8445, whatsapp, quickshare, prototype-2024"),
            ("iceperf server --policy whatsapp,stop=soon", "`soon` is no value of `stop`"),
            ("iceperf server --disguise wwan0=quic", "no disguise `quic`; there are: plain, first-byte"),
            ("iceperf server --bind somewhere", "device, address or none"),
            ("iceperf client --ticket-file t --stun 192.0.2.1", "192.0.2.1"),
            ("iceperf client --ticket-file t --turn 192.0.2.1:3478", "USER:PASSWORD@ADDR:PORT"),
            ("iceperf client --ticket-file t --turn user@192.0.2.1:3478", "USER:PASSWORD@ADDR:PORT"),
            ("iceperf relay --port 0", "0"),
            ("iceperf relay --allocations 20000", "0 to 10000"),
            ("iceperf relay --bind here", "here"),
            ("iceperf probe nat", "SERVER"),
            ("iceperf probe nat a:b", "is no port"),
            ("iceperf probe nat 192.0.2.1:0", "HOST:PORT"),
            ("iceperf probe nat 192.0.2.1 --lifetime 5", "a unit is missing"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.to_string().contains(why), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }

    #[test]
    fn ice_is_told_of_servers_policy_disguises_and_binding() {
        let line = "iceperf client --ticket-file t --stun 192.0.2.1:3478 --stun [2001:db8::1]:3478 \
                    --turn me:p:a@ss@192.0.2.1:3478 --policy whatsapp,stop=never --disguise xor \
                    --disguise wwan0=plain --bind address --call-relay 192.0.2.3:3478 \
                    --call-relay [2001:db8::3]:3478 --call-secret-file s";
        let cli = parse(&line.split_whitespace().collect::<Vec<_>>().join(" ")).unwrap();
        let Mode::Client(ClientArgs { common, .. }) = cli.mode else { panic!("a client") };
        assert_eq!(common.stun.len(), 2);
        let relay = &common.turn[0];
        assert_eq!((relay.username.as_str(), relay.password.as_str()), ("me", "p:a@ss"));
        assert!(!format!("{common:?}").contains("p:a@ss"), "{common:?}");
        assert_eq!(common.policy.to_string(), "whatsapp,stop=never");
        assert_eq!(common.disguises.len(), 2);
        assert_eq!(common.call_relays.len(), 2);
        assert_eq!(common.bind(), Bind::Address);
        for (words, bind) in [
            ("", Bind::Device),
            ("--policy whatsapp", Bind::Device),
            ("--policy prototype-2024", Bind::None),
            ("--policy prototype-2024 --bind device", Bind::Device),
        ] {
            let cli = parse(format!("iceperf server {words}").trim()).unwrap();
            let Mode::Server(ServerArgs { common, .. }) = cli.mode else { panic!("a server") };
            assert_eq!(common.bind(), bind, "{words}");
        }
    }

    #[test]
    fn what_only_our_agent_can_do_is_told() {
        let asked = |words: &str| {
            let cli = parse(format!("iceperf server --ice webrtc-ice {words}").trim()).unwrap();
            let Mode::Server(ServerArgs { common, .. }) = cli.mode else { panic!("a server") };
            assert_eq!(common.ice, IceAgent::WebrtcIce);
            common.of_our_agent()
        };
        for (words, option) in [
            ("", None),
            ("--stun 192.0.2.1:3478", None),
            ("--policy rfc8445", Some("--policy")),
            ("--disguise wwan0=xor", Some("--disguise")),
            ("--call-relay 192.0.2.1:3478 --call-secret-file s", Some("--call-relay")),
            ("--bind none", Some("--bind")),
        ] {
            assert_eq!(asked(words), option, "{words}");
        }
    }

    #[test]
    fn servers_are_named_with_or_without_a_port() {
        let name = |text: &str| text.parse::<ServerName>().map(|ServerName { host, port }| (host, port));
        for (text, host, port) in [
            ("192.0.2.1", "192.0.2.1", 3478),
            ("192.0.2.1:99", "192.0.2.1", 99),
            ("2001:db8::1", "2001:db8::1", 3478),
            ("[2001:db8::1]", "2001:db8::1", 3478),
            ("[2001:db8::1]:99", "2001:db8::1", 99),
            ("stun.example.org", "stun.example.org", 3478),
            ("stun.example.org:99", "stun.example.org", 99),
        ] {
            assert_eq!(name(text), Ok((host.to_owned(), port)), "{text}");
        }
        for text in ["", ":1", "a b", "a:70000", "a:0"] {
            assert!(name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_client_calls_unless_it_is_to_send_and_ends_when_that_is_done() {
        let (up, down) = (BulkDirection::Up, BulkDirection::Down);
        let seconds = |count| Some(Duration::from_secs(count));
        for (words, transfer, calls, duration) in [
            ("", None, true, seconds(10)),
            ("-t 5", None, true, seconds(5)),
            ("--bulk", Some((up, None)), false, seconds(10)),
            ("-n 20M", Some((up, Some(20 << 20))), false, None),
            ("-n 20M -t 5", Some((up, Some(20 << 20))), false, seconds(5)),
            ("-R", Some((down, None)), false, seconds(10)),
            ("-R -n 1kB --call", Some((down, Some(1000))), true, seconds(10)),
            ("--bulk --call", Some((up, None)), true, seconds(10)),
        ] {
            let cli = parse(format!("iceperf client --ticket-file t {words}").trim()).unwrap();
            let Mode::Client(args) = cli.mode else { panic!("a client") };
            let spec = transfer.map(|(direction, bytes)| BulkSpec { direction, bytes });
            assert_eq!((args.transfer(), args.calls(), args.duration()), (spec, calls, duration), "{words}");
        }
    }
}
