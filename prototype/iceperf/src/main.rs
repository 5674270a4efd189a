//! `iceperf`: server, client, rendezvous, relay and prober over the kernel's sockets and interfaces.
//!
//! Everything that decides is in `peer`; here are the sockets, the interface watcher, the clock, the command line and
//! what people read. Commands and events of a test bed come and go over inherited descriptors.

mod blocked;
mod cli;
mod clock;
mod console;
mod control;
mod descriptor;
mod driver;
mod events;
mod evidence;
mod failure;
mod future_words;
mod identity;
mod interfaces;
mod intervals;
mod iperf3;
mod left_out;
mod manual;
mod map;
mod probe;
mod reach;
mod relay;
mod rendezvous;
mod route;
mod service;
mod setup;
mod summary;
mod timer;
mod transfer;
mod udp;
mod units;
#[cfg_attr(not(feature = "webrtc-ice"), path = "webrtc/absent.rs")]
mod webrtc;

use cli::{BedArgs, Cli, CommonArgs, Mode, Probe};
use clock::Clock;
use control::Control;
use driver::Surroundings;
use events::Events;
use failure::Failure;
use interfaces::Selection;
use std::{
    io::IsTerminal as _,
    os::fd::{OwnedFd, RawFd},
    process::ExitCode,
};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt as _, util::SubscriberInitExt as _};

fn main() -> ExitCode {
    let cli = match Cli::read(std::env::args_os()) {
        Ok(cli) => cli,
        Err(error) => error.exit(),
    };
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            eprintln!("{:?}", miette::Report::new(failure));
            code
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match cli.mode {
        Mode::Server(args) => on_this_machine(&args.common.bed, async |machine| {
            driver::run(setup::server(&args)?, machine.around(&args.common)).await
        }),
        Mode::Client(args) => on_this_machine(&args.common.bed, async |machine| {
            driver::run(setup::client(&args)?, machine.around(&args.common)).await
        }),
        Mode::Rendezvous(args) => on_this_machine(&args.bed, async |machine| {
            rendezvous::run(&args.bind, machine.clock, machine.events, machine.control).await
        }),
        Mode::Relay(args) => on_this_machine(&args.bed, async |machine| {
            relay::run(&args, machine.clock, machine.events, machine.control).await
        }),
        Mode::Probe { what: Probe::Nat(args) } => on_this_machine(&args.bed, async |machine| {
            probe::nat(&args, machine.clock, machine.events, machine.control).await
        }),
        Mode::Probe { what: Probe::Path(args) } => {
            let args = args.into_client();
            on_this_machine(&args.common.bed, async |machine| {
                driver::run(setup::client(&args)?, machine.around(&args.common)).await
            })
        }
        Mode::Probe { what: Probe::Control(args) } => on_this_machine(&args.bed, async |machine| {
            probe::responder::run(&args, machine.clock, machine.events, machine.control).await
        }),
        Mode::Completions { shell } => manual::completions(shell),
        Mode::Man { directory } => manual::pages(&directory),
    }
}

/// What every mode needs of the machine.
struct Machine {
    clock: Clock,
    events: Events,
    control: Control,
}

impl Machine {
    fn around(self, args: &CommonArgs) -> Surroundings {
        let Self { clock, events, control } = self;
        let selection = Selection::new(&args.interfaces, &args.interface_kinds);
        let (policy, bind) = (args.policy.clone(), args.bind());
        let (json, interval) = (args.json, args.interval());
        Surroundings { policy, bind, clock, selection, events, control, json, interval }
    }
}

fn on_this_machine(
    args: &BedArgs,
    what: impl AsyncFnOnce(Machine) -> Result<(), Failure>,
) -> Result<(), Failure> {
    // Before anything else is opened: see `descriptor::inherited`.
    let Descriptors { events, control } = Descriptors::take(args)?;
    log_to_stderr(args.verbose);
    let clock = Clock::measure().map_err(Failure::machine)?;
    let events = Events::new(events, host_name(args));
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::machine)?;
    runtime.block_on(async {
        let control = match control {
            Some(descriptor) => Control::read(descriptor).map_err(Failure::machine)?,
            None => Control::none(),
        };
        what(Machine { clock, events, control }).await
    })
}

struct Descriptors {
    events: Option<OwnedFd>,
    control: Option<OwnedFd>,
}

impl Descriptors {
    fn take(args: &BedArgs) -> Result<Self, Failure> {
        if args.events_fd.is_some() && args.events_fd == args.control_fd {
            return Err(Failure::arguments("--events-fd and --control-fd name the same descriptor"));
        }
        let take = |option: &str, number: Option<RawFd>| match number.map(descriptor::inherited) {
            None => Ok(None),
            Some(Ok(descriptor)) => Ok(Some(descriptor)),
            Some(Err(error)) => Err(Failure::arguments(format!("{option}: {error}"))
                .with_help("the descriptor must be open in the process that starts this one, and inherited")),
        };
        // Once just to look: a duplicate of one could have the number of the other, if that one is missing.
        drop(take("--events-fd", args.events_fd)?);
        let control = take("--control-fd", args.control_fd)?;
        Ok(Self { events: take("--events-fd", args.events_fd)?, control })
    }
}

fn host_name(args: &BedArgs) -> String {
    args.host_name.clone().unwrap_or_else(|| {
        let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = name.trim();
        if name.is_empty() { "localhost".to_owned() } else { name.to_owned() }
    })
}

fn log_to_stderr(verbose: u8) {
    // They warn of bytes that anybody may send. `stun_types`: these are counted and told as rejected anyway.
    let default = match verbose {
        0 => "warn,stun_types=error,webrtc_ice=error",
        1 => "info,stun_types=error,webrtc_ice=error",
        2 => "debug",
        _ => "trace",
    };
    // `Targets` rather than `EnvFilter`: levels by module are all that is wanted, and its regular expressions would be
    // a tenth of the demo's build.
    let wanted = std::env::var("RUST_LOG").ok().and_then(|text| text.parse::<Targets>().ok());
    let filter = wanted.unwrap_or_else(|| default.parse().expect("constant"));
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    tracing_subscriber::registry().with(lines).with(filter).init();
}
