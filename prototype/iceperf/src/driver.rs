//! The loop around one `Peer`: sockets, interfaces, commands, signals and time in; datagrams and events out.
//!
//! One thread and one task. Decisions are the peer's; this file only carries out and reports.

use crate::{
    cli::Bind,
    clock::Clock,
    console::Console,
    control::Control,
    events::Events,
    evidence::{Evidence, Losses},
    failure::Failure,
    interfaces::{Change, Selection, Watcher},
    map, reach, route,
    setup::{Offer, Setup},
    timer::Timer,
    transfer::TransferOutcome,
    udp::{Binding, OpenError, Opened, Outgoing, Ready, Sockets},
    webrtc::{self, Arm},
};
use peer::{Outcome, Output, Peer, Policy, SocketId, Transmit, blocking::Reach};
use record::{Command, EventKind};
use std::{
    collections::BTreeMap,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
};

/// Drives one peer from its first interface to its end.
pub(crate) struct Driver {
    peer: Peer,
    /// In the place of sockets, when webrtc-ice finds the way.
    arm: Option<Arm>,
    clock: Clock,
    sockets: Sockets,
    bound: BTreeMap<u32, SocketAddr>,
    watcher: Watcher,
    events: Events,
    evidence: Evidence,
    policy: Policy,
    bind: Bind,
    /// The addresses of the interfaces that sockets without a binding were opened for.
    unbound: BTreeMap<u32, IpAddr>,
    console: Console,
    control: Control,
    timer: Timer,
    signals: Signals,
    phase: Phase,
    interval: Option<Duration>,
    next_interval: Option<Instant>,
    /// The newest time that the peer was told; it is never told an older one.
    told: Option<Instant>,
    reach: (UnboundedSender<Reached>, UnboundedReceiver<Reached>),
    outcome: Option<Outcome>,
}

/// What the driver needs besides the peer.
pub(crate) struct Surroundings {
    pub(crate) clock: Clock,
    pub(crate) selection: Selection,
    pub(crate) events: Events,
    pub(crate) control: Control,
    pub(crate) policy: Policy,
    pub(crate) bind: Bind,
    pub(crate) json: bool,
    /// How often people read of each path.
    pub(crate) interval: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Sockets are being opened for the interfaces that are there; a failure now ends the program.
    Opening,
    /// Ready, waits for the command to start.
    Waiting,
    /// Told to start, at a moment that may be yet to come.
    Starting(Instant),
    /// Started.
    Running,
}

/// What became of the TCP connections that were tried from beside a socket.
type Reached = (SocketId, Reach);

/// What woke the loop.
enum Wake {
    Interfaces(Vec<Change>),
    Command(Command),
    Stop,
    Sockets(Vec<Ready>),
    Arm(webrtc::Woken),
    /// TCP connections that a probe asked for came to something.
    Reached(SocketId, Reach),
    Time,
}

pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    pub(crate) fn new() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// SIGINT or SIGTERM came.
    pub(crate) async fn stop(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Runs a peer to its end. Needs the runtime.
pub(crate) async fn run(setup: Setup, surroundings: Surroundings) -> Result<(), Failure> {
    let Setup { peer, role, offer, evidence, one_host, webrtc } = setup;
    let selection = surroundings.selection.clone();
    let watcher = Watcher::new(selection).map_err(|error| machine("cannot watch the interfaces", error))?;
    check_selection(&surroundings.selection, &watcher)?;
    let mut driver = Driver {
        peer,
        arm: webrtc.map(Arm::new).transpose()?,
        clock: surroundings.clock,
        sockets: Sockets::new(),
        bound: BTreeMap::new(),
        watcher,
        events: surroundings.events,
        evidence,
        policy: surroundings.policy,
        bind: surroundings.bind,
        unbound: BTreeMap::new(),
        console: Console::new(role, surroundings.json),
        control: surroundings.control,
        timer: Timer::new(surroundings.clock).map_err(|error| machine("cannot make a timer", error))?,
        signals: Signals::new().map_err(|error| machine("cannot watch for signals", error))?,
        phase: Phase::Opening,
        interval: surroundings.interval,
        next_interval: None,
        told: None,
        reach: unbounded_channel(),
        outcome: None,
    };
    let result = driver.open_and_run(offer, one_host).await;
    let closed = driver.close(result.is_err());
    // The first failure is the one to tell.
    let outcome = result?;
    closed?;
    end_of(outcome, driver.console.worst_transfer())
}

/// How the program ends. A transfer that lacks something says more than the connection that was lost under it.
fn end_of(outcome: Outcome, worst: Option<(TransferOutcome, String)>) -> Result<(), Failure> {
    let lost = match outcome {
        Outcome::Finished => None,
        Outcome::Unreachable { why } => Some(why),
        Outcome::Refused { why } => return Err(Failure::Refused { why }),
    };
    let (transfer, amount) = worst.unwrap_or((TransferOutcome::Complete, String::new()));
    let what = [Some(amount), lost.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    match (transfer, lost) {
        (TransferOutcome::Complete, None) => Ok(()),
        (TransferOutcome::Complete, Some(why)) => Err(Failure::Unreachable { why }),
        (TransferOutcome::Unconfirmed, _) => Err(Failure::Unconfirmed { what }),
        (TransferOutcome::Incomplete, _) => Err(Failure::Interrupted { what }),
        (TransferOutcome::DigestDiffers, _) => Err(Failure::DigestDiffers { what }),
    }
}

/// What was asked for by name has to be there.
pub(crate) fn check_selection(selection: &Selection, watcher: &Watcher) -> Result<(), Failure> {
    let all = watcher.all();
    for name in selection.awaited(&all) {
        tracing::warn!("no interface {name} yet; --interface-kind is kept for when it comes");
    }
    let missing = selection.missing(&all);
    if missing.is_empty() {
        return Ok(());
    }
    let there: Vec<&str> = all.keys().map(String::as_str).collect();
    let there = if there.is_empty() { "none but loopback".to_owned() } else { there.join(", ") };
    Err(Failure::machine(format!("no interface {}", missing.join(", ")))
        .with_help(format!("there are: {there}")))
}

impl Driver {
    async fn open_and_run(&mut self, offer: Option<Offer>, one_host: bool) -> Result<Outcome, Failure> {
        self.open().await?;
        if one_host && self.arm.is_none() && self.outcome.is_none() {
            self.open_loopback()?;
        }
        if self.bound.is_empty() && self.arm.is_none() {
            tracing::warn!("no interface is up and has an address; waiting for one");
        }
        if self.outcome.is_none() {
            self.announce(offer)?;
        }
        self.run().await
    }

    /// Sockets for all interfaces, until none is still waiting for its address.
    async fn open(&mut self) -> Result<(), Failure> {
        self.console.interfaces(self.watcher.interfaces().values(), &self.policy);
        let interfaces: Vec<_> = self.watcher.interfaces().values().cloned().collect();
        interfaces.into_iter().for_each(|interface| self.change_interface(Change::Changed(interface)));
        self.carry_out()?;
        while self.outcome.is_none() && self.sockets.retry_at().is_some() {
            self.turn().await?;
        }
        Ok(())
    }

    /// Sockets on loopback, for a peer on this host: the kernel delivers there what goes to one of its own addresses, and
    /// sockets bound to other devices need not get it. They have the port of another socket, which the ticket tells, and
    /// lead to loopback addresses only.
    fn open_loopback(&mut self) -> Result<(), Failure> {
        if self.bind != Bind::Device {
            return Ok(());
        }
        let Some(mut loopback) = self.watcher.loopback() else { return Ok(()) };
        if !self.bound.is_empty() {
            loopback.addresses.retain(|ip| self.port_of_family(*ip).is_some());
        }
        if loopback.addresses.is_empty() {
            return Ok(());
        }
        self.change_interface(Change::Changed(loopback));
        self.carry_out()
    }

    /// The port of a socket of this family.
    fn port_of_family(&self, ip: IpAddr) -> Option<u16> {
        let alike = |bound: &&SocketAddr| bound.is_ipv4() == ip.is_ipv4() && !bound.ip().is_loopback();
        self.bound.values().find(alike).map(SocketAddr::port)
    }

    fn announce(&mut self, offer: Option<Offer>) -> Result<(), Failure> {
        if let Some(offer) = offer {
            let addresses = match &self.arm {
                Some(arm) => arm.addresses(),
                None => {
                    let bound: Vec<SocketAddr> = self.bound.values().copied().collect();
                    let (loopback, others): (Vec<_>, Vec<_>) =
                        bound.into_iter().partition(|local| local.ip().is_loopback());
                    if others.is_empty() { loopback } else { others }
                }
            };
            let ticket = offer.ticket(addresses.into_iter())?;
            // What starts a server that way keeps its output, and the ticket is a secret.
            if !self.control.present() {
                let options = if self.arm.is_some() { " --ice webrtc-ice" } else { "" };
                let told = self.console.ticket(&ticket.to_string(), options);
                told.map_err(|error| machine("cannot print the ticket", error))?;
            }
        }
        self.phase = Phase::Waiting;
        let now = self.now();
        if !self.control.present() {
            self.set_start(now)?;
        }
        self.record(
            now,
            EventKind::Ready { version: env!("CARGO_PKG_VERSION").to_owned(), pid: std::process::id() },
        )
    }

    async fn run(&mut self) -> Result<Outcome, Failure> {
        loop {
            self.catch_up()?;
            if let Some(outcome) = self.outcome.take() {
                if let Some(arm) = &mut self.arm {
                    arm.finish().await;
                }
                return self.end(outcome);
            }
            self.turn().await?;
        }
    }

    /// Waits for one thing to happen and deals with it.
    async fn turn(&mut self) -> Result<(), Failure> {
        let wake = loop {
            let own = self.deadline();
            let next = own.into_iter().chain(self.events.next_beat()).min();
            self.timer.set(next).map_err(|error| machine("cannot set a timer", error))?;
            let wake = self.wake().await?;
            let now = Instant::now();
            self.events.beat(now).map_err(|error| machine("cannot write an event", error))?;
            // Nothing is due when only the heartbeat was.
            if !matches!(wake, Wake::Time) || own.is_some_and(|own| own <= now) {
                break wake;
            }
        };
        // Time zero may have come together with the wake.
        self.catch_up()?;
        match wake {
            Wake::Interfaces(changes) => self.change_interfaces(changes)?,
            Wake::Command(command) => self.command(command)?,
            Wake::Stop => self.command(Command::Stop {})?,
            Wake::Sockets(ready) => ready.into_iter().for_each(|ready| self.move_datagrams(ready)),
            Wake::Arm(woken) => {
                let now = self.now();
                if let Some(arm) = &mut self.arm {
                    arm.handle(now, woken);
                }
            }
            Wake::Reached(socket, reach) => {
                let now = self.now();
                self.peer.connection_tried(now, socket, reach);
            }
            Wake::Time => {}
        }
        self.catch_up()
    }

    /// Waits for one thing to happen.
    async fn wake(&mut self) -> Result<Wake, Failure> {
        Ok(tokio::select! {
            // What takes a path away is dealt with before what came over it.
            biased;
            changes = self.watcher.changes() =>
                Wake::Interfaces(changes.map_err(|error| machine("cannot watch the interfaces", error))?),
            () = self.signals.stop() => Wake::Stop,
            command = self.control.next() => Wake::Command(command.map_err(Failure::arguments)?),
            expired = self.timer.expired() => {
                expired.map_err(|error| machine("cannot wait for a timer", error))?;
                Wake::Time
            }
            woken = webrtc::next(&mut self.arm) => Wake::Arm(woken),
            Some((socket, reach)) = self.reach.1.recv() => Wake::Reached(socket, reach),
            ready = self.sockets.ready() => Wake::Sockets(ready),
        })
    }

    fn deadline(&self) -> Option<Instant> {
        let start = match self.phase {
            Phase::Starting(at) => Some(at),
            Phase::Opening | Phase::Waiting | Phase::Running => None,
        };
        let arm = self.arm.as_ref().and_then(Arm::deadline);
        let own = [self.peer.deadline(), self.sockets.retry_at(), self.next_interval, start, arm];
        own.into_iter().flatten().min()
    }

    /// Does what time asks for and what the peer wants.
    fn catch_up(&mut self) -> Result<(), Failure> {
        if let Phase::Starting(at) = self.phase
            && at <= Instant::now()
        {
            self.start(at)?;
        }
        let now = self.now();
        for (id, result) in self.sockets.retry(now) {
            self.opened(SocketId(id), result)?;
        }
        if self.peer.deadline().is_some_and(|deadline| deadline <= now) {
            self.peer.handle_timeout(now);
        }
        if let Some(arm) = &mut self.arm {
            arm.catch_up(now);
        }
        if let Some(at) = self.next_interval.filter(|at| *at <= now) {
            self.next_interval = self.interval.map(|interval| at + interval);
            self.console.interval(at);
        }
        self.carry_out()
    }

    fn command(&mut self, command: Command) -> Result<(), Failure> {
        let now = self.now();
        let wrong = |why: &dyn std::fmt::Display| {
            Failure::arguments(format!("the control descriptor says what cannot be: {why}"))
        };
        match command {
            Command::Start { monotonic_ns } => self.command_start(monotonic_ns)?,
            Command::Policy { .. } | Command::Priority { .. } | Command::Path { .. }
                if self.arm.is_some() =>
            {
                return Err(wrong(&"webrtc-ice has one pair and no policy"));
            }
            Command::Policy { policy, disguise } => {
                if let Some(text) = policy {
                    self.policy = text.parse().map_err(|error| wrong(&error as &peer::ChangeError))?;
                    self.peer.set_policy(now, self.policy.clone());
                }
                for text in disguise {
                    let disguise = text.parse::<peer::Disguise>().map_err(|error| wrong(&error))?;
                    self.peer.set_disguise(now, disguise);
                }
            }
            Command::Priority { interface, value } => self.peer.set_priority(now, &interface, value),
            Command::Path { interface, status } => {
                self.peer.set_path_status(now, &interface, map::path_status(status));
            }
            Command::Stop {} => self.peer.stop(now),
        }
        Ok(())
    }

    fn command_start(&mut self, monotonic_ns: u64) -> Result<(), Failure> {
        if self.phase != Phase::Waiting {
            return Err(Failure::arguments("the control descriptor says `start` a second time"));
        }
        let zero = self.clock.instant(Duration::from_nanos(monotonic_ns));
        // Farther away than any run is long, it is no reading of this machine's clock.
        const FARTHEST: Duration = Duration::from_secs(3600);
        let now = Instant::now();
        let zero =
            zero.filter(|zero| *zero <= now + FARTHEST && *zero + FARTHEST >= now).ok_or_else(|| {
                Failure::arguments(format!(
                    "the control descriptor says `start` at {monotonic_ns}, more than an hour away"
                ))
                .with_help("monotonic_ns is nanoseconds of CLOCK_MONOTONIC on this machine")
            })?;
        self.set_start(zero)
    }

    fn set_start(&mut self, zero: Instant) -> Result<(), Failure> {
        self.phase = Phase::Starting(zero);
        self.events.set_zero(zero).map_err(|error| machine("cannot write an event", error))
    }

    fn start(&mut self, zero: Instant) -> Result<(), Failure> {
        self.phase = Phase::Running;
        self.next_interval = self.interval.map(|interval| zero + interval);
        // The figures for people count from time zero, however late this is.
        self.console.tell(zero, &EventKind::Started {});
        let started = self.events.record(Instant::now(), EventKind::Started {});
        started.map_err(|error| machine("cannot write an event", error))?;
        // The peer's clock starts at time zero, unless it has been told a later time already.
        let start = self.told.map_or(zero, |told| told.max(zero));
        self.told = Some(start);
        if let Some(arm) = &mut self.arm {
            arm.start(start);
        }
        self.peer.start(start);
        Ok(())
    }

    fn change_interfaces(&mut self, changes: Vec<Change>) -> Result<(), Failure> {
        for change in changes {
            self.change_interface(change);
            self.carry_out()?;
        }
        Ok(())
    }

    fn change_interface(&mut self, change: Change) {
        let now = self.now();
        match &mut self.arm {
            Some(arm) => arm.change_interface(change),
            None => self.peer.handle_interface(now, map::change(change)),
        }
    }

    fn move_datagrams(&mut self, ready: Ready) {
        match ready {
            Ready::Read(id) => {
                let now = self.now();
                let peer = &mut self.peer;
                let received = self.sockets.receive(id, |datagram| {
                    peer.handle_datagram(now, SocketId(id), datagram.from, datagram.ecn, datagram.bytes);
                });
                if let Err(error) = received {
                    tracing::debug!(socket = id, %error, "receiving failed");
                }
            }
            Ready::Write(id) => {
                for (to, error) in self.sockets.flush(id) {
                    self.send_failed(SocketId(id), to, &error);
                }
            }
        }
    }

    /// Carries out whatever the peer wants, until it wants nothing.
    fn carry_out(&mut self) -> Result<(), Failure> {
        loop {
            self.carry_out_arm()?;
            let now = self.now();
            let Some(output) = self.peer.poll(now) else { return Ok(()) };
            match output {
                Output::OpenSocket { socket, interface, local, port } => {
                    let binding = self.binding(socket, interface, local, port);
                    self.open_socket(now, socket, binding)?;
                }
                Output::CloseSocket { socket } => {
                    self.bound.remove(&socket.0);
                    self.unbound.remove(&socket.0);
                    self.sockets.close(socket.0);
                    if let Some(arm) = &mut self.arm {
                        arm.close(socket);
                    }
                }
                Output::Transmit(transmit) => self.transmit(transmit),
                Output::Event(event) => self.tell(now, event)?,
                Output::Connect { socket, interface, local, to } => {
                    let (binding, tell) = (self.binding_of(interface, local), self.reach.0.clone());
                    // What waits for the kernel is not for the thread that everything else is on.
                    let tried = std::thread::Builder::new().name("reach".into()).spawn(move || {
                        // The driver may have ended.
                        let _ = tell.send((socket, reach::try_connections(&binding, to)));
                    });
                    if let Err(error) = tried {
                        tracing::warn!(%error, "no TCP connection is tried");
                        self.peer.connection_tried(now, socket, Reach::Silent);
                    }
                }
                Output::FindRoute { socket, interface, local, to } => {
                    let binding = self.binding_of(interface.clone(), local);
                    self.peer.route_found(now, socket, to, route::find(&binding, &interface, to.ip()));
                }
                Output::KeyLog(line) => self.evidence.secret(&line)?,
                Output::Qlog { connection, bytes } => {
                    let since_zero = self.events.zero().map(|zero| now.saturating_duration_since(zero));
                    self.evidence.trace(connection, since_zero, &bytes)?;
                }
                Output::Done(outcome) => {
                    self.outcome = Some(match &self.arm {
                        Some(arm) => arm.outcome(outcome),
                        None => outcome,
                    });
                }
            }
        }
    }

    fn binding(&mut self, socket: SocketId, interface: String, local: IpAddr, port: u16) -> Binding {
        match self.bind {
            Bind::Device if local.is_loopback() => {
                let port = self.port_of_family(local).unwrap_or(port);
                Binding { interface: Some(interface), local: SocketAddr::new(local, port) }
            }
            Bind::Device => Binding { interface: Some(interface), local: SocketAddr::new(local, port) },
            Bind::Address => Binding { interface: None, local: SocketAddr::new(local, port) },
            Bind::None => {
                self.unbound.insert(socket.0, local);
                let any: IpAddr = match local {
                    IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
                    IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                // Bound to nothing, only one of the interfaces can have the port; the others take any, and what is sent
                // to theirs arrives at the one that has it.
                let held = |held: &SocketAddr| held.port() == port && held.is_ipv4() == any.is_ipv4();
                let port = if self.bound.values().any(held) { 0 } else { port };
                Binding { interface: None, local: SocketAddr::new(any, port) }
            }
        }
    }

    fn carry_out_arm(&mut self) -> Result<(), Failure> {
        while let Some(output) = self.arm.as_mut().and_then(Arm::poll) {
            let now = self.now();
            match output {
                webrtc::Output::Record(event) => self.record(now, event)?,
                webrtc::Output::Interface(change) => self.peer.handle_interface(now, change),
                webrtc::Output::Datagram(socket, from, bytes) => {
                    self.peer.handle_datagram(now, socket, from, None, &bytes);
                }
            }
        }
        Ok(())
    }

    fn open_socket(&mut self, now: Instant, socket: SocketId, binding: Binding) -> Result<(), Failure> {
        if let Some(arm) = &mut self.arm {
            let local = arm.open(socket);
            return self.opened(socket, Ok(local));
        }
        match self.sockets.open(now, socket.0, binding) {
            Ok(Opened::Bound(local)) => self.opened(socket, Ok(local)),
            Ok(Opened::Later) => Ok(()),
            Err(error) => self.opened(socket, Err(error)),
        }
    }

    /// As sockets of this interface and address are bound.
    fn binding_of(&self, interface: String, local: IpAddr) -> Binding {
        let any: IpAddr = match local {
            IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let (interface, local) = match self.bind {
            Bind::Device => (Some(interface), local),
            Bind::Address => (None, local),
            Bind::None => (None, any),
        };
        Binding { interface, local: SocketAddr::new(local, 0) }
    }

    fn opened(&mut self, socket: SocketId, result: Result<SocketAddr, OpenError>) -> Result<(), Failure> {
        let now = self.now();
        match result {
            Ok(local) => {
                let of_interface = self.unbound.get(&socket.0).map(|ip| SocketAddr::new(*ip, local.port()));
                let local = of_interface.unwrap_or(local);
                self.bound.insert(socket.0, local);
                self.peer.socket_opened(now, socket, local);
                Ok(())
            }
            Err(error)
                if self.phase == Phase::Opening
                    && !error.binding.local.ip().is_loopback()
                    && (error.port_in_use() || error.not_permitted()) =>
            {
                Err(refused_by_kernel(&error))
            }
            // Later on one interface less is no reason to end a call.
            Err(error) => {
                tracing::warn!("{error}");
                self.peer.socket_failed(now, socket, &error.to_string());
                Ok(())
            }
        }
    }

    fn transmit(&mut self, transmit: Transmit) {
        if let Some(arm) = &mut self.arm {
            return arm.transmit(&transmit);
        }
        let Transmit { socket, to, ecn, segment_size, bytes } = transmit;
        let outgoing = Outgoing { to, ecn, segment_size, source: None, bytes };
        if let Err(error) = self.sockets.send(socket.0, outgoing) {
            self.send_failed(socket, to, &error);
        }
    }

    fn send_failed(&mut self, socket: SocketId, to: SocketAddr, error: &io::Error) {
        if passes_by_itself(error) {
            tracing::debug!(socket = socket.0, %to, %error, "dropped by the kernel");
            return;
        }
        let now = self.now();
        self.peer.send_failed(now, socket, to, &error.to_string());
    }

    fn tell(&mut self, at: Instant, event: peer::Event) -> Result<(), Failure> {
        let event = map::event(event);
        let event = match &mut self.arm {
            Some(arm) => arm.translate(event),
            None => Some(event),
        };
        event.map_or(Ok(()), |event| self.record(at, event))
    }

    fn record(&mut self, at: Instant, what: EventKind) -> Result<(), Failure> {
        self.console.tell(at, &what);
        self.events.record(at, what).map_err(|error| machine("cannot write an event", error))
    }

    fn end(&mut self, outcome: Outcome) -> Result<Outcome, Failure> {
        let (word, why) = match &outcome {
            Outcome::Finished => ("finished", None),
            Outcome::Unreachable { why } => ("unreachable", Some(why.clone())),
            Outcome::Refused { why } => ("refused", Some(why.clone())),
        };
        let now = self.now();
        for (file, Losses { records, bytes }) in self.evidence.losses() {
            self.record(now, EventKind::QlogLimited { file, records, bytes })?;
        }
        self.record(now, EventKind::Stopped { why: word.to_owned() })?;
        self.console
            .finish(now, word, why)
            .map_err(|error| machine("cannot write to standard output", error))?;
        Ok(outcome)
    }

    /// Writes what was kept, whatever happened.
    fn close(&mut self, failed: bool) -> Result<(), Failure> {
        let now = self.now();
        let stopped = if failed {
            self.events.record(now, EventKind::Stopped { why: "failed".to_owned() })
        } else {
            Ok(())
        };
        stopped
            .and_then(|()| self.events.finish(now))
            .map_err(|error| machine("cannot write an event", error))
    }

    fn now(&mut self) -> Instant {
        let now = Instant::now();
        let now = self.told.map_or(now, |told| told.max(now));
        self.told = Some(now);
        now
    }
}

/// Queues of the kernel that are full for a moment say nothing about the path.
fn passes_by_itself(error: &io::Error) -> bool {
    use nix::libc::{EAGAIN, EINTR, ENOBUFS, ENOMEM};
    matches!(error.raw_os_error(), Some(EAGAIN | EINTR | ENOBUFS | ENOMEM))
}

/// What the kernel does not allow from the start, with what to do about it.
pub(crate) fn refused_by_kernel(error: &OpenError) -> Failure {
    let failure = Failure::machine(error);
    let local = error.binding.local;
    if error.port_in_use() {
        return failure.with_help(format!(
            "another program holds UDP port {0} there (`ss -ulnp sport = :{0}` names it); choose another port, or 0 \
             for any",
            local.port()
        ));
    }
    if error.not_permitted() && error.at_device() {
        return failure.with_help(
            "binding to a device needs Linux 5.7, or else CAP_NET_RAW: `sudo setcap cap_net_raw+ep $(command -v \
             iceperf)`",
        );
    }
    if error.not_permitted() && local.port() < 1024 && local.port() != 0 {
        return failure.with_help("ports below 1024 need CAP_NET_BIND_SERVICE; choose a higher one");
    }
    failure
}

fn machine(what: &str, error: io::Error) -> Failure {
    Failure::machine(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::ExitCode;

    #[test]
    fn a_transfer_that_lacks_something_decides_how_the_program_ends() {
        use TransferOutcome::{Complete, DigestDiffers, Incomplete, Unconfirmed};
        let code = |outcome: &Outcome, transfer: Option<TransferOutcome>| {
            let worst = transfer.map(|transfer| (transfer, "2 of 3 bytes".to_owned()));
            end_of(outcome.clone(), worst).err().map(|failure| failure.exit_code())
        };
        let unreachable = Outcome::Unreachable { why: "lost".into() };
        for (transfer, finished, lost) in [
            (None, None, 5),
            (Some(Complete), None, 5),
            (Some(Incomplete), Some(4), 4),
            (Some(DigestDiffers), Some(7), 7),
            (Some(Unconfirmed), Some(8), 8),
        ] {
            assert_eq!(code(&Outcome::Finished, transfer), finished.map(ExitCode::from), "{transfer:?}");
            assert_eq!(code(&unreachable, transfer), Some(ExitCode::from(lost)), "{transfer:?}");
        }
        let told = end_of(unreachable, Some((Incomplete, "2 of 3 bytes".to_owned()))).unwrap_err();
        assert_eq!(told.to_string(), "the transfer was interrupted: 2 of 3 bytes; lost");
    }

    #[test]
    fn only_full_queues_are_no_failure_of_the_path() {
        use nix::libc::{EADDRNOTAVAIL, EHOSTUNREACH, EINVAL, ENETDOWN, ENETUNREACH, ENOBUFS, ENODEV, EPERM};
        for code in [ENETUNREACH, ENETDOWN, EHOSTUNREACH, EPERM, ENODEV, EADDRNOTAVAIL, EINVAL] {
            assert!(!passes_by_itself(&io::Error::from_raw_os_error(code)), "{code}");
        }
        assert!(passes_by_itself(&io::Error::from_raw_os_error(ENOBUFS)));
    }
}
