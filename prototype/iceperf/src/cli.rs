//! The command line. Long options are named as in iperf3 and quicheperf where they mean the same.
//!
//! Everything is parsed once, here, into types whose values are valid; what the contract knows and this version does
//! not is refused by name.

use crate::{
    future_words,
    interfaces::Named,
    units::{self, CallRate, PayloadSize},
};
use clap::{
    Args, CommandFactory as _, Parser, Subcommand,
    error::{ContextKind, ContextValue, ErrorKind},
};
use peer::{Policy, Ticket};
use std::{ffi::OsString, net::SocketAddr, path::PathBuf, time::Duration};

/// Calls that survive the loss of an interface: multi-interface ICE under multipath QUIC.
#[derive(Debug, Parser)]
#[command(
    name = "iceperf",
    version,
    arg_required_else_help = true,
    subcommand_required = true,
    disable_help_subcommand = true,
    after_help = "\
Examples:
  iceperf rendezvous                             on a public host, if the peers share no network
  iceperf server --rendezvous 198.51.100.9:3478  prints the command for the client
  iceperf client iceperf1-...                    calls for 10 s over all interfaces

Sockets are bound to their interfaces: client and server must be on different hosts (or in \
different network namespaces); loopback carries nothing.

Exit codes: 0 done; 2 arguments; 3 this machine (rights, port, device); 5 peer unreachable; \
6 refused (wrong fingerprint or secret)."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) mode: Mode,
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
    /// Call a server
    #[command(after_help = "\
Examples:
  iceperf client iceperf1-... --time 1min
  iceperf client --ticket-file t --interface wlan0 --interface wwan0 --json
  iceperf client --ticket-file t --interface usb0=cellular")]
    Client(ClientArgs),
    /// Bring peers together that share no network; answers STUN Binding requests too
    #[command(after_help = "\
Examples:
  iceperf rendezvous
  iceperf rendezvous --bind 198.51.100.9:3478 --bind '[2001:db8::9]:3478'")]
    Rendezvous(RendezvousArgs),
}

/// `iceperf server`.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// UDP port of every socket; 0 for any
    #[arg(short, long, value_name = "PORT", default_value_t = 7443, help_heading = "Network")]
    pub(crate) port: u16,
    /// Meet clients at this rendezvous server (repeatable); it becomes part of the ticket
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Network")]
    pub(crate) rendezvous: Vec<SocketAddr>,
    /// End this long after a client has connected (default: when the client has left)
    #[arg(short, long, value_name = "DURATION", value_parser = units::duration, help_heading = "Call")]
    pub(crate) time: Option<Duration>,
    /// Keep certificate, key and secret in this directory; made if missing (default: new ones each time)
    #[arg(long, value_name = "DIR", help_heading = "Ticket")]
    pub(crate) identity: Option<PathBuf>,
    /// Serve the ticket in this file, or write the ticket there if there is no such file
    #[arg(long, value_name = "FILE", help_heading = "Ticket")]
    pub(crate) ticket_file: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// `iceperf client`.
#[derive(Debug, Args)]
pub(crate) struct ClientArgs {
    /// What `iceperf server` printed
    #[arg(value_name = "TICKET", required_unless_present = "ticket_file")]
    pub(crate) ticket: Option<Ticket>,
    /// Read the ticket from this file
    #[arg(long, value_name = "FILE", conflicts_with = "ticket", help_heading = "Ticket")]
    pub(crate) ticket_file: Option<PathBuf>,
    /// UDP port of every socket; 0 for any
    #[arg(short, long, value_name = "PORT", default_value_t = 0, help_heading = "Network")]
    pub(crate) port: u16,
    /// How long to call, from the connection on
    #[arg(short, long, value_name = "DURATION", default_value = "10s", value_parser = units::duration, help_heading = "Call")]
    pub(crate) time: Duration,
    /// Give up if there is no connection after this time
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = units::duration, help_heading = "Network")]
    pub(crate) connect_timeout: Duration,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

/// What client and server share.
#[derive(Debug, Args)]
pub(crate) struct CommonArgs {
    /// Use this interface (repeatable; default: all), optionally with its kind: NAME=lan, NAME=wifi, NAME=cellular.
    /// Without one the kind is what sysfs says, else what the name begins with (wl: wifi; ww, rmnet, ppp: cellular)
    #[arg(short = 'I', long = "interface", value_name = "NAME", help_heading = "Network")]
    pub(crate) interfaces: Vec<Named>,
    /// How paths are opened, watched and left: multipath
    #[arg(long, value_name = "POLICY", default_value = "multipath", value_parser = policy, help_heading = "Network")]
    pub(crate) policy: Policy,
    /// Datagrams a second that this end sends
    #[arg(long, value_name = "RATE", default_value = "50/s", help_heading = "Call")]
    pub(crate) call_rate: CallRate,
    /// Payload of each of them
    #[arg(long, value_name = "SIZE", default_value = "58B", help_heading = "Call")]
    pub(crate) call_payload: PayloadSize,
    /// One JSON document on standard output at the end; everything else goes to standard error. Wrong arguments are
    /// told there too: then there is no document, and the exit code is 2
    #[arg(short = 'J', long, help_heading = "Output")]
    pub(crate) json: bool,
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
    #[arg(long, value_name = "ADDR:PORT", help_heading = "Network")]
    pub(crate) bind: Vec<SocketAddr>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
}

/// What all modes share.
#[derive(Debug, Args)]
pub(crate) struct BedArgs {
    /// More on standard error (repeatable); RUST_LOG overrides it
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
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
        Self::try_parse_from(arguments).map_err(explain_future_words)
    }

    /// What all modes share.
    pub(crate) fn bed(&self) -> &BedArgs {
        match &self.mode {
            Mode::Server(args) => &args.common.bed,
            Mode::Client(args) => &args.common.bed,
            Mode::Rendezvous(args) => &args.bed,
        }
    }
}

fn policy(name: &str) -> Result<Policy, String> {
    if future_words::is_policy(name) {
        return Err("not in this version; there is: multipath".to_owned());
    }
    name.parse().map_err(|error: peer::UnknownPolicy| error.to_string())
}

/// A known word of a later version says so, instead of being "unexpected".
fn explain_future_words(error: clap::Error) -> clap::Error {
    let (context, known): (_, fn(&str) -> bool) = match error.kind() {
        ErrorKind::UnknownArgument => (ContextKind::InvalidArg, future_words::is_option),
        ErrorKind::InvalidSubcommand => (ContextKind::InvalidSubcommand, future_words::is_subcommand),
        _ => return error,
    };
    match error.get(context) {
        Some(ContextValue::String(word)) if known(word) => {
            let word = word.split('=').next().unwrap_or(word);
            Cli::command().error(ErrorKind::InvalidValue, format!("'{word}' is not in this version"))
        }
        _ => error,
    }
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
            "iceperf relay",
            "iceperf probe --port 1",
            "iceperf server --engine quiche",
            "iceperf server --engine=quiche",
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
        for word in ["relay", "probe", "quiche", "engine", "whatsapp"] {
            assert!(!help.contains(word), "{word} is in the help");
        }
    }

    #[test]
    fn values_are_typed() {
        let cli = parse("iceperf client --ticket-file t -t 1min --call-rate 25/s -I wlan0 -I usb0=cellular")
            .unwrap();
        let Mode::Client(args) = cli.mode else { panic!("a client") };
        assert_eq!(args.time, Duration::from_secs(60));
        assert_eq!(args.common.call_rate.per_second(), 25);
        assert_eq!(args.common.interfaces.len(), 2);
        for (line, why) in [
            ("iceperf client --ticket-file t --time 10", "a unit is missing"),
            ("iceperf client --ticket-file t --call-rate 50", "a unit is missing"),
            ("iceperf client --ticket-file t --call-payload 5B", "between 17B and 1000B"),
            ("iceperf client nonsense", "a ticket begins with"),
            ("iceperf client", "TICKET"),
            ("iceperf server --port 70000", "70000"),
            ("iceperf server --rendezvous somewhere", "somewhere"),
            ("iceperf server --interface lo", "loopback"),
            ("iceperf server --events-fd -3", "-3"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.to_string().contains(why), "{line}: {error}");
            assert_eq!(error.exit_code(), 2, "{line}");
        }
    }
}
