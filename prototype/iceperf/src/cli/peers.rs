//! `iceperf client` and `iceperf server`: what they share, and what each has of its own.

use super::BedArgs;
use crate::{
    interfaces::{Named, OfKind},
    units::{self, ByteSize, CallRate, PayloadSize},
};
use clap::{
    Args,
    builder::{PossibleValuesParser, StyledStr, TypedValueParser},
};
use peer::{BulkDirection, BulkSpec, Disguise, EngineKind, Policy, ProbeSpec, RelayServer, Ticket};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

pub(super) const CLIENT_EXAMPLES: &str = "\
Examples:
  iceperf client iceperf1-... -t 60                a call of a minute
  iceperf client iceperf1-... -n 20MB -R           the server sends 20 MB
  iceperf client iceperf1-... --bulk --call -i 0.5 both at once; lines twice a second
  iceperf client --ticket-file t --interface wlan0 --interface wwan0 --json
  iceperf client --ticket-file t --interface-kind usb0=cellular";

pub(super) fn client_long_help() -> StyledStr {
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
    /// Find out what the networks in between block, alone or beside the others: `iceperf probe path` explains it
    #[arg(long, help_heading = "Workload")]
    pub(crate) probe: bool,
    /// Ask this control, a host that runs `iceperf probe control` (repeatable)
    #[arg(long = "control", value_name = "ADDR:PORT", requires = "probe", help_heading = "Workload")]
    pub(crate) controls: Vec<SocketAddr>,
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

/// `iceperf probe path`.
#[derive(Debug, Args)]
pub(crate) struct ProbePathArgs {
    /// What `iceperf server` printed on the other host
    #[arg(value_name = "TICKET", required_unless_present = "ticket_file", value_parser = ticket)]
    ticket: Option<Ticket>,
    /// Read the ticket from this file
    #[arg(long, value_name = "FILE", conflicts_with = "ticket", help_heading = "Connection")]
    ticket_file: Option<PathBuf>,
    /// Ask this control, a host that runs `iceperf probe control` (repeatable: one of each family)
    #[arg(long = "control", value_name = "ADDR:PORT", help_heading = "Probing")]
    controls: Vec<SocketAddr>,
    /// UDP port of every socket of this end; 0 for any
    #[arg(long, value_name = "PORT", default_value_t = 0, help_heading = "Connection")]
    cport: u16,
    #[command(flatten)]
    pub(crate) common: CommonArgs,
}

impl ProbePathArgs {
    /// A client that does nothing else.
    pub(crate) fn into_client(self) -> ClientArgs {
        ClientArgs {
            ticket: self.ticket,
            time: None,
            bulk: false,
            bytes: None,
            reverse: false,
            call: false,
            probe: true,
            controls: self.controls,
            ticket_file: self.ticket_file,
            // Without a rendezvous server, reports need a connection.
            connect_timeout: Duration::from_secs(20),
            cport: self.cport,
            common: self.common,
        }
    }
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
    /// ICE agent of both ends: ours, over every interface and with every pair that works; or webrtc-ice, an ordinary
    /// one to compare with, which keeps one pair and starts anew when that has failed (after 15 s)
    #[arg(long, value_name = "AGENT", default_value = "ours", value_parser = ice_agents(), help_heading = "ICE")]
    pub(crate) ice: IceAgent,
    /// What is probed, how closely paths are watched, which are kept, and what a loss leads to: a preset (multipath,
    /// rfc8445, whatsapp, quickshare, prototype-2024) and changes to it, as in whatsapp,stop=never,idle=500ms
    #[arg(long, value_name = "PRESET[,KEY=VALUE...]", default_value = "multipath", help_heading = "ICE")]
    pub(crate) policy: Policy,
    /// Ask this STUN server for server-reflexive candidates, besides those of the rendezvous (repeatable)
    #[arg(long, value_name = "ADDR:PORT", help_heading = "ICE")]
    pub(crate) stun: Vec<SocketAddr>,
    /// Ask this TURN server for relayed candidates (repeatable). Command lines are seen by all users of a machine: see
    /// --turn-file
    #[arg(long, value_name = "USER:PASSWORD@ADDR:PORT", value_parser = turn_server, help_heading = "ICE")]
    pub(crate) turn: Vec<RelayServer>,
    /// Read TURN servers from this file, one a line, written as for --turn; # begins a comment (repeatable)
    #[arg(long, value_name = "FILE", help_heading = "ICE")]
    pub(crate) turn_file: Vec<PathBuf>,
    /// Meet the other end at this relay as WhatsApp has them, `iceperf relay --mimic whatsapp` (repeatable)
    #[arg(
        long = "call-relay",
        value_name = "ADDR:PORT",
        requires = "call_secret_file",
        help_heading = "ICE"
    )]
    pub(crate) call_relays: Vec<SocketAddr>,
    /// The password of these relays is the line in this file: the relays' --secret-file
    #[arg(long, value_name = "FILE", requires = "call_relays", help_heading = "ICE")]
    pub(crate) call_secret_file: Option<PathBuf>,
    /// Disguise checks to the other peer, so that filters do not take them for STUN: everywhere, or on one interface
    /// (repeatable): plain, first-byte, cookie, first-byte-cookie, scrambled-length, xor. The other peer answers in the
    /// same disguise
    #[arg(long = "disguise", value_name = "[INTERFACE=]RUNG", help_heading = "ICE")]
    pub(crate) disguises: Vec<Disguise>,
    /// What a socket of an interface is bound to: the device and its address; the address alone; or none of them. The
    /// last two leave it to routes and their metrics where a packet leaves (default: device; with prototype-2024, none)
    #[arg(long, value_name = "device|address|none", value_parser = bind, help_heading = "ICE")]
    bind: Option<Bind>,
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
    /// Leave events of single packets out of the qlog, but for 5 s around the times of --qlog-around
    #[arg(long, requires = "qlog", help_heading = "Evidence")]
    pub(crate) qlog_limited: bool,
    /// Time since the start around which the limited qlog has events of single packets (repeatable)
    #[arg(long, value_name = "TIME", requires = "qlog_limited", value_parser = units::duration, help_heading = "Evidence")]
    pub(crate) qlog_around: Vec<Duration>,
    /// Size that the qlog does not exceed; what is left out is counted
    #[arg(long, value_name = "SIZE", requires = "qlog", help_heading = "Evidence")]
    pub(crate) qlog_max: Option<ByteSize>,
    #[command(flatten)]
    pub(crate) bed: BedArgs,
    /// Seed of everything that is drawn at random and is no secret (default: from the operating system)
    #[arg(long, value_name = "NUMBER", help_heading = "Test bed")]
    pub(crate) seed: Option<u64>,
}

/// What a socket is bound to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bind {
    /// Its device and its address: what leaves by it leaves by that interface.
    Device,
    /// Its address: routes decide by which interface it leaves.
    Address,
    /// Neither: routes decide on the address as well.
    None,
}

/// Who knows iperf3 names an address here.
fn bind(word: &str) -> Result<Bind, String> {
    match word {
        "device" => Ok(Bind::Device),
        "address" => Ok(Bind::Address),
        "none" => Ok(Bind::None),
        _ => Err("here, device, address or none: what the socket of an interface is bound to; --interface chooses \
                  interfaces"
            .to_owned()),
    }
}

/// A TURN server and its user, as --turn has it. The password may hold anything but an end of line.
pub(crate) fn turn_server(text: &str) -> Result<RelayServer, String> {
    const FORM: &str = "write USER:PASSWORD@ADDR:PORT, as in me:secret@198.51.100.9:3478";
    let (user, address) = text.rsplit_once('@').ok_or(FORM)?;
    let (username, password) = user.split_once(':').ok_or(FORM)?;
    let address = address.parse().map_err(|_| FORM)?;
    // RFC 8489 section 14.3.
    if username.is_empty() || username.len() > 508 || password.is_empty() {
        return Err(FORM.to_owned());
    }
    Ok(RelayServer { address, username: username.to_owned(), password: password.to_owned() })
}

/// Who finds the paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IceAgent {
    /// The crate `ice`.
    Ours,
    /// The crate `webrtc-ice`.
    WebrtcIce,
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
        self.call || (self.transfer().is_none() && !self.probe)
    }

    /// What a probe needs, if there is to be one.
    pub(crate) fn probing(&self) -> Option<ProbeSpec> {
        let spec = || ProbeSpec { controls: self.controls.clone(), stun: self.common.stun.clone() };
        self.probe.then(spec)
    }

    /// How long; none until a transfer is done.
    pub(crate) fn duration(&self) -> Option<Duration> {
        let endless = self.transfer().is_some() && self.bytes.is_none();
        let until_done = !self.calls() && !endless;
        self.time.or((!until_done).then_some(Duration::from_secs(10)))
    }
}

impl CommonArgs {
    /// Where TLS secrets go, if anywhere.
    pub(crate) fn key_log(&self) -> Option<PathBuf> {
        let variable = std::env::var_os("SSLKEYLOGFILE").filter(|path| !path.is_empty());
        self.key_log.clone().or_else(|| variable.map(PathBuf::from))
    }

    /// What sockets are bound to.
    pub(crate) fn bind(&self) -> Bind {
        // Its routes decided where a packet left.
        let default = if self.policy.name() == "prototype-2024" { Bind::None } else { Bind::Device };
        self.bind.unwrap_or(default)
    }

    /// What was asked for that only our agent can do.
    pub(crate) fn of_our_agent(&self) -> Option<&'static str> {
        let asked = [
            (self.policy != Policy::multipath(), "--policy"),
            (!self.disguises.is_empty(), "--disguise"),
            (!self.call_relays.is_empty(), "--call-relay"),
            (self.bind.is_some(), "--bind"),
        ];
        asked.into_iter().find_map(|(asked, option)| asked.then_some(option))
    }

    /// How often people read of each path; none if they do not.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let default = if self.json { Duration::ZERO } else { Duration::from_secs(1) };
        Some(self.interval.unwrap_or(default)).filter(|interval| !interval.is_zero())
    }
}

fn ice_agents() -> impl TypedValueParser<Value = IceAgent> {
    let names = [
        "ours",
        #[cfg(feature = "webrtc-ice")]
        "webrtc-ice",
    ];
    PossibleValuesParser::new(names)
        .map(|name| if name == "webrtc-ice" { IceAgent::WebrtcIce } else { IceAgent::Ours })
}

fn engines() -> impl TypedValueParser<Value = EngineKind> {
    let names = EngineKind::ALL.iter().map(|engine| engine.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<EngineKind>())
}

pub(super) const WHENCE: &str =
    "run `iceperf server` on the other host: it prints the command for this one, with the ticket";

/// Who knows iperf3 names a host here.
pub(super) fn ticket(text: &str) -> Result<Ticket, String> {
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

pub(super) fn looks_like_a_ticket(text: &str) -> bool {
    text.starts_with("iceperf")
}
