//! The command line. Options are named as in iperf3 where they mean the same; those of iperf3 that are not here are
//! refused with what to do instead (`iperf3`).
//!
//! Everything is parsed once, here, into types whose values are valid; what the contract knows and this version does
//! not is refused by name.

use crate::{
    future_words,
    interfaces::{Named, OfKind},
    iperf3,
    units::{self, ByteSize, CallRate, PayloadSize},
};
use clap::{
    ArgAction, Args, CommandFactory as _, Parser, Subcommand,
    builder::{PossibleValuesParser, StyledStr, TypedValueParser},
    error::{ContextKind, ContextValue, ErrorKind},
};
use peer::{BulkDirection, BulkSpec, EngineKind, Policy, Ticket};
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

Sockets are bound to their interfaces: client and server must be on different hosts (or in \
different network namespaces); loopback carries nothing.

Exit codes: 0 done; 2 arguments; 3 this machine (rights, port, device); 5 peer unreachable; \
6 refused (wrong fingerprint or secret)."
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
}

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

const CLIENT_EXAMPLES: &str = "\
Examples:
  iceperf client iceperf1-... -t 60                a call of a minute
  iceperf client iceperf1-... -n 20MB -R           the server sends 20 MB
  iceperf client iceperf1-... --bulk --call -i 0.5 both at once; lines twice a second
  iceperf client --ticket-file t --interface wlan0 --interface wwan0 --json
  iceperf client --ticket-file t --interface-kind usb0=cellular";

fn client_long_help() -> StyledStr {
    format!(
        "\
{CLIENT_EXAMPLES}

Coming from iperf3:
  iperf3 -s                 iceperf server                 prints a ticket
  iperf3 -c HOST            iceperf client TICKET --bulk   with addresses, certificate, secret
  iperf3 -c HOST -u         the default: a call, small datagrams at a fixed rate, both ways at once
  -t -n -R -i -J -V -v      the same; --connect-timeout, with a unit
  --cport, --bind-dev       the same; --bind-dev is --interface, and repeatable
  -b, -l                    --call-rate, --call-payload
  -p of the client          not needed: the ticket names the server's ports
Any other option of iperf3 is refused with what takes its place."
    )
    .into()
}

/// `iceperf server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// End this long after a client has connected (default: when the client has left)
    #[arg(short, long, value_name = "DURATION", value_parser = units::seconds, help_heading = "Workload")]
    pub(crate) time: Option<Duration>,
    /// Meet clients at this rendezvous server (repeatable); it becomes part of the ticket
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Connection")]
    pub(crate) rendezvous: Vec<SocketAddr>,
    /// Serve the ticket in this file, or write the ticket there if there is no such file
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Keep certificate, key and secret in this directory; made if missing (default: new ones each time)
    #[arg(long, value_name = "DIR", help_heading = "Connection")]
    pub(crate) identity: Option<PathBuf>,
    /// UDP port of every socket; 0 for any
    #[arg(short, long, value_name = "PORT", default_value_t = 7443, help_heading = "Connection")]
    pub(crate) port: u16,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// `iceperf client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// What `iceperf server` printed on the other host
    #[arg(value_name = "TICKET", required_unless_present = "ticket_file", value_parser = ticket)]
    pub(crate) ticket: Option<Ticket>,
    /// How long, from the connection on; seconds, if there is no unit (default: 10s; with --bytes and without --call,
    /// until all is there)
    #[arg(short, long, value_name = "DURATION", value_parser = units::seconds, help_heading = "Workload")]
    pub(crate) time: Option<Duration>,
    /// Send as much as the paths carry, instead of a call, and compare SHA-256 at the end
    #[arg(long, help_heading = "Workload")]
    pub(crate) bulk: bool,
    /// Send this much (--bulk is implied): 20MB, 1GiB, or as in iperf3 20M for 20 MiB
    #[arg(short = 'n', long, value_name = "SIZE", help_heading = "Workload")]
    pub(crate) bytes: Option<ByteSize>,
    /// The server sends, the client receives (--bulk is implied)
    #[arg(short = 'R', long, help_heading = "Workload")]
    pub(crate) reverse: bool,
    /// Call: small datagrams at a fixed rate, both ways. The default; beside --bulk, it makes both
    #[arg(long, help_heading = "Workload")]
    pub(crate) call: bool,
    /// Read the ticket from this file
    #[arg(long, value_name = "FILE", conflicts_with = "ticket", help_heading = "Connection")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// Give up if there is no connection after this time
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration, help_heading = "Connection")]
    pub(crate) connect_timeout: Duration,
    /// UDP port of every socket of this end; 0 for any. The server's is in the ticket
    #[arg(long, value_name = "PORT", default_value_t = 0, help_heading = "Connection")]
    pub(crate) cport: u16,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What client and server share.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Datagrams a second that this end of a call sends (default: 50/s)
    #[arg(long, value_name = "RATE", help_heading = "Workload")]
    pub(crate) call_rate: Option<CallRate>,
    /// Payload of each of them (default: 58B)
    #[arg(long, value_name = "SIZE", help_heading = "Workload")]
    pub(crate) call_payload: Option<PayloadSize>,
    /// QUIC implementation of this end; the other end may have another
    #[arg(long, value_name = "ENGINE", default_value_t, value_parser = engines(), help_heading = "Connection")]
    pub(crate) engine: EngineKind,
    /// How paths are opened, watched and left: multipath
    #[arg(long, value_name = "POLICY", default_value = "multipath", value_parser = policy, help_heading = "Connection")]
    pub(crate) policy: Policy,
    /// Use this interface (repeatable; default: all but virtual ones, which -VV tells of), optionally with its kind:
    /// NAME=lan, NAME=wifi, NAME=cellular
    #[arg(long = "interface", visible_alias = "bind-dev", value_name = "NAME", help_heading = "Interfaces")]
    pub(crate) interfaces: Vec<Named>,
    /// What kind of interface this is (repeatable): NAME=lan, NAME=wifi, NAME=cellular. Without it netlink and sysfs are
    /// asked, then the name (wl: wifi; ww, rmnet, ppp: cellular). A modem that poses as Ethernet needs it
    #[arg(long = "interface-kind", value_name = "NAME=KIND", help_heading = "Interfaces")]
    pub(crate) interface_kinds: Vec<OfKind>,
    /// A line for each path this often: rates, RTT, loss, and * where the payload goes. Seconds, if there is no unit;
    /// 0 for none (default: 1s, with --json none)
    #[arg(short, long, value_name = "DURATION", value_parser = units::interval, help_heading = "Output")]
    pub(crate) interval: Option<Duration>,
    /// One JSON document on standard output at the end; everything else goes to standard error. Wrong arguments are
    /// told there too: then there is no document, and the exit code is 2
    #[arg(short = 'J', long, help_heading = "Output")]
    pub(crate) json: bool,
    /// Append the TLS secrets to this file, as Wireshark reads them; whoever has them can read the call (default: the
    /// file that the variable SSLKEYLOGFILE names, if any)
    #[arg(long, value_name = "FILE", help_heading = "Evidence")]
    pub(crate) key_log: Option<PathBuf>,
    /// Write what QUIC does into a new file in this directory, as qlog (.sqlog); made if missing
    #[arg(long, value_name = "DIR", help_heading = "Evidence")]
    pub(crate) qlog: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
    /// Seed of everything that is drawn at random and is no secret (default: from the operating system)
    #[arg(long, value_name = "NUMBER", help_heading = "Test bed")]
    pub(crate) seed: Option<u64>,
}

/// `iceperf rendezvous`.
#[derive(Debug, Args)]
pub(crate) struct RendezvousArgs {
    /// Listen here (repeatable; default: port 3478 of every address, IPv4 and IPv6)
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
    #[command(flatten)]
    pub(crate) bed: BedArgs,
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

impl ClientArgs {
    /// The transfer, if there is to be one.
    pub(crate) fn transfer(&self) -> Option<BulkSpec> {
        let direction = if self.reverse { BulkDirection::Down } else { BulkDirection::Up };
        let wanted = self.bulk || self.reverse || self.bytes.is_some();
        wanted.then(|| BulkSpec { direction, bytes: self.bytes.map(ByteSize::bytes) })
    }

    /// Whether there is to be a call.
    pub(crate) fn calls(&self) -> bool {
        self.call || self.transfer().is_none()
    }

    /// How long; none until a transfer is done.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let until_done = self.bytes.is_some() && !self.calls();
        self.time.or((!until_done).then_some(Duration::from_secs(10)))
    }
}

impl CommonArgs {
    /// Where TLS secrets go, if anywhere.
    pub(crate) fn key_log(&self) -> Option<PathBuf> {
        let variable = std::env::var_os("SSLKEYLOGFILE").filter(|path| !path.is_empty());
        self.key_log.clone().or_else(|| variable.map(PathBuf::from))
    }

    /// How often people read of each path; none if they do not.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let default = if self.json { Duration::ZERO } else { Duration::from_secs(1) };
        Some(self.interval.unwrap_or(default)).filter(|interval| !interval.is_zero())
    }
}

fn engines() -> impl TypedValueParser<Value = EngineKind> {
    let names = EngineKind::ALL.iter().map(|engine| engine.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<EngineKind>())
}

fn policy(name: &str) -> Result<Policy, String> {
    if future_words::is_policy(name) {
        return Err("not in this version; there is: multipath".to_owned());
    }
    name.parse().map_err(|error: peer::UnknownPolicy| error.to_string())
}

const WHENCE: &str =
    "run `iceperf server` on the other host: it prints the command for this one, with the ticket";

/// Who knows iperf3 names a host here.
fn ticket(text: &str) -> Result<Ticket, String> {
    text.parse().map_err(|error: peer::TicketError| {
        if looks_like_a_ticket(text) {
            return error.to_string();
        }
        if std::path::Path::new(text).is_file() {
            return format!("{error}; to read it from a file, write --ticket-file {text}");
        }
        format!(
            "{error}. Unlike iperf3's, a client is given no host, but a ticket, which holds the server's addresses, \
             certificate and secret; {WHENCE}"
        )
    })
}

fn looks_like_a_ticket(text: &str) -> bool {
    text.starts_with("iceperf")
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
        ErrorKind::InvalidValue => text(ContextKind::InvalidValue)
            .filter(|word| future_words::is_engine(word))
            .map(|word| format!("engine '{word}' is not in this version")),
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
    if future_words::is_subcommand(word) {
        return Some(format!("'{word}' is not in this version"));
    }
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
            "iceperf probe path",
            "iceperf server --engine mptcp",
            "iceperf server --engine=tcp",
            "iceperf server --video",
            "iceperf server --cc bbr",
            "iceperf client --bind address t",
            "iceperf server --policy whatsapp",
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
        for word in ["probe path", "mptcp", "whatsapp"] {
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
            ("iceperf server --events-fd -3", "-3"),
            ("iceperf server --engine quick", "noq"),
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
