//! `iceperf probe nat`: sockets and time for `ice`'s prober, once for each interface and address family.
//!
//! All run at once: a NAT that several interfaces share gives ports to all of them, which the prober allows for. What
//! the verdicts mean is told there; how they are told to people and programs, in `report`.

mod report;
pub(crate) mod responder;

use crate::{
    cli::{ProbeNatArgs, ServerName},
    clock::Clock,
    control::{self, Control},
    driver::{Signals, check_selection},
    events::Events,
    failure::Failure,
    identity::random_bytes,
    interfaces::{Selection, Watcher},
    timer::Timer,
    udp::{Binding, Opened, Outgoing, Ready, Sockets},
};
use ice::behaviour::{ProbeConfig, ProbeOutput, Prober};
use record::{Command, EventKind};
use std::{
    net::{IpAddr, SocketAddr, ToSocketAddrs as _},
    time::{Duration, Instant},
};

/// One prober's interface.
#[derive(Debug)]
pub(crate) struct Run {
    interface: String,
    address: IpAddr,
    prober: Prober,
}

/// Sockets of one prober; it never needs as many.
const PER_RUN: u32 = 1 << 16;

/// Runs until all is found out, or it is told to stop.
pub(crate) async fn nat(
    args: &ProbeNatArgs,
    clock: Clock,
    mut events: Events,
    mut control: Control,
) -> Result<(), Failure> {
    let mut timer = Timer::new(clock).map_err(Failure::machine)?;
    let mut signals = Signals::new().map_err(Failure::machine)?;
    let mut probe = Probe { runs: runs(args)?, sockets: Sockets::new() };
    let mut begun = !control.present();
    let now = Instant::now();
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events.record(now, EventKind::Ready { version, pid: std::process::id() }).map_err(Failure::machine)?;
    if begun {
        events.set_zero(now).map_err(Failure::machine)?;
        probe.start(now);
        events.record(now, EventKind::Started {}).map_err(Failure::machine)?;
    }
    while !probe.is_done() {
        timer.set(probe.wake()).map_err(Failure::machine)?;
        tokio::select! {
            biased;
            () = signals.stop() => probe.stop(),
            command = control.next() => match command.map_err(Failure::arguments)? {
                command @ (Command::Policy { .. } | Command::Priority { .. } | Command::Path { .. }) => {
                    return Err(control::for_peers_only(&command));
                }
                Command::Stop {} => probe.stop(),
                Command::Start { monotonic_ns } if !begun => {
                    begun = true;
                    let now = Instant::now();
                    let zero = clock.instant(Duration::from_nanos(monotonic_ns)).unwrap_or(now);
                    events.set_zero(zero).map_err(Failure::machine)?;
                    probe.start(now);
                    events.record(now, EventKind::Started {}).map_err(Failure::machine)?;
                }
                Command::Start { .. } => {}
            },
            expired = timer.expired() => {
                expired.map_err(Failure::machine)?;
                probe.handle_timeout(Instant::now());
            }
            ready = probe.sockets.ready() => {
                let now = Instant::now();
                ready.into_iter().for_each(|ready| probe.serve(now, ready));
            }
        }
    }
    let now = Instant::now();
    let answered = probe.runs.iter().any(|run| run.prober.report().server.is_some());
    let why = if answered { "finished" } else { "unreachable" };
    events
        .record(now, EventKind::Stopped { why: why.into() })
        .and_then(|()| events.finish(now))
        .map_err(Failure::machine)?;
    report::print(&probe.runs, args.json)
        .map_err(|error| Failure::machine(format!("cannot write to standard output: {error}")))?;
    if answered { Ok(()) } else { Err(Failure::NoServer) }
}

struct Probe {
    runs: Vec<Run>,
    sockets: Sockets,
}

impl Probe {
    fn start(&mut self, now: Instant) {
        self.runs.iter_mut().for_each(|run| run.prober.start(now));
        self.drain(now);
    }

    fn stop(&mut self) {
        self.runs.iter_mut().for_each(|run| run.prober.stop());
    }

    fn is_done(&self) -> bool {
        self.runs.iter().all(|run| run.prober.is_done())
    }

    fn wake(&self) -> Option<Instant> {
        let probers = self.runs.iter().filter_map(|run| run.prober.poll_timeout());
        probers.chain(self.sockets.retry_at()).min()
    }

    fn handle_timeout(&mut self, now: Instant) {
        for (id, result) in self.sockets.retry(now) {
            let local = result.map_err(|error| tracing::warn!("{error}")).ok();
            if let Some(run) = self.runs.get_mut((id / PER_RUN) as usize) {
                run.prober.opened(now, id % PER_RUN, local);
            }
        }
        self.runs.iter_mut().for_each(|run| run.prober.handle_timeout(now));
        self.drain(now);
    }

    fn serve(&mut self, now: Instant, ready: Ready) {
        let Self { runs, sockets } = self;
        match ready {
            Ready::Read(id) => {
                let Some(run) = runs.get_mut((id / PER_RUN) as usize) else { return };
                let received = sockets.receive(id, |datagram| {
                    run.prober.handle_datagram(now, id % PER_RUN, datagram.from, datagram.bytes);
                });
                // ICMP errors come here too: silence, which the prober knows how to judge.
                if let Err(error) = received {
                    tracing::debug!(%error, "receiving failed");
                }
            }
            Ready::Write(id) => {
                for (to, error) in sockets.flush(id) {
                    tracing::debug!(%to, %error, "not sent");
                }
            }
        }
        self.drain(now);
    }

    fn drain(&mut self, now: Instant) {
        let Self { runs, sockets } = self;
        for (number, run) in (0..).zip(runs) {
            while let Some(output) = run.prober.poll() {
                let id = |socket: u32| number * PER_RUN + socket;
                match output {
                    ProbeOutput::Open { socket } => {
                        let interface = Some(run.interface.clone());
                        let binding = Binding { interface, local: SocketAddr::new(run.address, 0) };
                        match sockets.open(now, id(socket), binding) {
                            Ok(Opened::Bound(local)) => run.prober.opened(now, socket, Some(local)),
                            Ok(Opened::Later) => {}
                            Err(error) => {
                                tracing::warn!("{error}");
                                run.prober.opened(now, socket, None);
                            }
                        }
                    }
                    ProbeOutput::Close { socket } => sockets.close(id(socket)),
                    ProbeOutput::Transmit { socket, to, bytes } => {
                        let outgoing = Outgoing { to, ecn: None, segment_size: None, source: None, bytes };
                        if let Err(error) = sockets.send(id(socket), outgoing) {
                            tracing::debug!(%to, %error, "not sent");
                        }
                    }
                }
            }
        }
    }
}

/// One for each interface and family that has an address and a server.
fn runs(args: &ProbeNatArgs) -> Result<Vec<Run>, Failure> {
    let selection = Selection::new(&args.interfaces, &[]);
    let watcher = Watcher::new(selection.clone())
        .map_err(|error| Failure::machine(format!("cannot read the interfaces: {error}")))?;
    check_selection(&selection, &watcher)?;
    let servers = resolve(&args.servers)?;
    let mut runs = vec![];
    for interface in watcher.interfaces().values().filter(|interface| interface.up && interface.carrier) {
        for is_ipv6 in [false, true] {
            let of_family = |ip: &&IpAddr| ip.is_ipv6() == is_ipv6;
            let Some(address) = interface.addresses.iter().find(of_family).copied() else { continue };
            let servers: Vec<_> = servers.iter().copied().filter(|one| one.is_ipv6() == is_ipv6).collect();
            if servers.is_empty() {
                continue;
            }
            let seed = match args.seed {
                Some(seed) => ice::spread_seed(seed.wrapping_add(runs.len() as u64)),
                None => random_bytes().map_err(Failure::machine)?,
            };
            let prober = Prober::new(ProbeConfig { servers, lifetime: args.lifetime, seed });
            runs.push(Run { interface: interface.name.clone(), address, prober });
        }
    }
    if runs.is_empty() {
        return Err(Failure::machine("no interface has an address of the servers' family")
            .with_help("virtual interfaces are left out unless --interface names them; -VV tells of them"));
    }
    Ok(runs)
}

/// All addresses of all names, in their order.
fn resolve(names: &[ServerName]) -> Result<Vec<SocketAddr>, Failure> {
    let mut servers = vec![];
    for ServerName { host, port } in names {
        let found = (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| Failure::machine(format!("{host}: {error}")))?;
        servers.extend(found);
    }
    Ok(servers)
}
