//! One run in namespaces: build, start, disturb, stop, tell.

use super::{
    children::{Cast, ChildError, Part, Reaped, Running, remove_secrets},
    clock::{Clock, nanoseconds_since},
    collect::{self, Note, Notice},
    evidence,
    iceperf::Iceperf,
    programs::Programs,
    signals::Signals,
};
use crate::scenario::{Action, LowerError, Scenario, Step, Telling, Traces, format_duration};
use lab::{Lab, LabChange, LabError, LabReport, LabSpec, Rights};
use netmodel::{Direction, SERVER_INTERFACE};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use record::{DirectoryError, EventKind, RunDirectory, WriteError, Writer};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, PipeReader, Read as _},
    os::fd::AsFd as _,
    sync::mpsc::{self, Receiver, Sender},
    thread::JoinHandle,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Until every process must be ready; a busy machine needs a second.
const READY_WITHIN: Duration = Duration::from_secs(15);
/// From `start` to time zero: every process must have read it by then.
const HEAD_START: Duration = Duration::from_millis(300);
/// Until every process must have ended after `stop`.
const STOP_WITHIN: Duration = Duration::from_secs(5);
/// A p99 of the links' lateness beyond this makes the run invalid: it adds to every figure.
const LATE: Duration = Duration::from_millis(20);
/// So does a step that is applied later than this. Figures count from the instant at which a step took effect, so a
/// late one adds to none of them; but a run whose driver slept so long is no longer the scenario.
const STEP_LATE: Duration = Duration::from_millis(250);
/// Largest IP packet on every interface, as on Ethernet.
const MTU: u16 = 1500;
/// Exit codes of iceperf that are results like any other: a transfer was cut short, the other peer cannot be reached or
/// does not want us, the ends of a transfer have different bytes, or could not compare them.
const RESULTS: [i32; 6] = [0, 4, 5, 6, 7, 8];

/// What to run.
pub(crate) struct Order<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) iceperf: &'a Iceperf,
    pub(crate) programs: &'a Programs,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) signals: &'a Signals,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Wall-clock time of time zero.
    pub(crate) started: jiff::Timestamp,
    /// What the links did; none when that is not known.
    pub(crate) report: Option<LabReport>,
    /// Events that were written; none when that is not known.
    pub(crate) written: Option<u64>,
    pub(crate) invalid_why: Option<String>,
    /// The signal that ended it early.
    pub(crate) signal: Option<u8>,
}

/// A run did not get as far as its time zero.
#[derive(Debug, Error)]
pub(crate) enum SetUpError {
    #[error(transparent)]
    Plan(#[from] LowerError),
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Child(#[from] ChildError),
    #[error(transparent)]
    Write(#[from] WriteError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{0}")]
    Os(#[from] io::Error),
    #[error("{0}")]
    Record(String),
    #[error("{name} ended before it was ready ({how}){last_words}")]
    Ended { name: String, how: String, last_words: String },
    #[error("not ready within {}: {names}", format_duration(READY_WITHIN))]
    NotReady { names: String },
    #[error("interrupted by {}", signal_name(*.0))]
    Interrupted(u8),
}

impl SetUpError {
    /// The signal, when one is the reason.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self {
            Self::Interrupted(signal) => Some(*signal),
            _ => None,
        }
    }
}

impl Ended {
    /// There was no time zero.
    pub(crate) fn before_the_start(error: &SetUpError) -> Self {
        let invalid_why = Some(format!("the run did not start: {error}"));
        Self {
            started: jiff::Timestamp::now(),
            report: None,
            written: None,
            invalid_why,
            signal: error.signal(),
        }
    }
}

/// Runs it. Whatever happens, nothing is left running when this returns.
pub(crate) fn run(order: &Order<'_>, rights: Rights) -> Result<Ended, SetUpError> {
    let result = Stage::build(order, rights).and_then(|mut stage| match stage.open() {
        Ok(started) => Ok(stage.play(started)),
        Err(error) => {
            stage.stop();
            Err(error)
        }
    });
    remove_secrets(order.scenario, order.directory);
    result
}

/// Everything that exists during a run.
struct Stage<'a> {
    order: &'a Order<'a>,
    /// What to do when; taken when the timeline begins.
    acts: Vec<Act<'a>>,
    running: Vec<Running>,
    lab: Lab,
    notes: Sender<Note>,
    notices: Inbox,
    recorder: JoinHandle<u64>,
    lab_events: JoinHandle<()>,
    /// Hosts whose processes wait for `start`.
    ready: BTreeSet<String>,
    /// Hosts whose processes write nothing more.
    closed: BTreeSet<String>,
    faults: Faults,
}

/// Why a run is invalid.
#[derive(Debug, Default)]
struct Faults {
    reasons: Vec<String>,
    interrupted: bool,
}

/// Begins the reasons that spoil figures and leave the run what it is.
const TIMING: &str = "timing:";

impl Faults {
    fn add(&mut self, why: String) {
        if !self.interrupted && !self.reasons.contains(&why) {
            self.reasons.push(why);
        }
    }

    /// What follows a signal is its consequence: whoever interrupts a run from a terminal ends all of its processes.
    fn interrupt(&mut self, signal: u8) {
        self.add(format!("interrupted by {}", signal_name(signal)));
        self.interrupted = true;
    }

    /// Whether going on is pointless.
    fn end_the_run(&self) -> bool {
        self.reasons.iter().any(|why| !why.starts_with(TIMING))
    }

    /// All of them, each kind in order of time: first what is not timing, which may be its consequence and hides nothing.
    fn text(&self) -> Option<String> {
        let (timing, others): (Vec<_>, Vec<_>) = self.reasons.iter().partition(|why| why.starts_with(TIMING));
        let all: Vec<&str> = others.into_iter().chain(timing).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

/// What is known when nothing runs any more.
struct Stopped {
    report: Option<LabReport>,
    written: Option<u64>,
    invalid_why: Option<String>,
}

/// Time zero on both clocks.
#[derive(Debug, Clone, Copy)]
struct Started {
    zero: Instant,
    wall: jiff::Timestamp,
}

/// Why waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Woken {
    /// The time has come.
    Due,
    /// What was waited for is the case.
    Done,
    /// Something has made going on pointless; it is among the faults.
    Failed,
    Signal(u8),
}

impl<'a> Stage<'a> {
    fn build(order: &'a Order<'a>, rights: Rights) -> Result<Self, SetUpError> {
        let mut traces = Traces::to_run();
        let plan = order.scenario.plan_with(&mut traces)?;
        // Now: to draw a trace in a step would make it late.
        let acts = acts(order.scenario, &mut traces)?;
        let writer = Writer::create(&order.directory.events())?;
        let (notes, for_record) = mpsc::channel();
        let (notices, inbox) = Inbox::new()?;
        let recorder = collect::start(writer, plan.clone(), for_record, notices)?;
        let (sink, events) = mpsc::channel();
        let spec = LabSpec {
            plan: plan.clone(),
            seed: order.scenario.seed,
            metrics: metrics(order),
            mtu: MTU,
            captures: evidence::captures(order.scenario, order.directory)?,
            capture_limits: Some(evidence::capture_limits(order.scenario)),
        };
        let lab = Lab::build(rights, spec, sink)?;
        let lab_events = collect::read_lab(events, notes.clone())?;
        let (running, ready, closed) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
        let mut stage = Self {
            order,
            acts,
            running,
            lab,
            notes,
            notices: inbox,
            recorder,
            lab_events,
            ready,
            closed,
            faults: Faults::default(),
        };
        let cast = Cast {
            scenario: order.scenario,
            plan: &plan,
            lab: &stage.lab,
            iceperf: order.iceperf,
            programs: order.programs,
            directory: order.directory,
            notes: &stage.notes,
        };
        match cast.start(&mut stage.running) {
            Ok(()) => Ok(stage),
            Err(error) => {
                stage.stop();
                Err(error.into())
            }
        }
    }

    /// Waits until everybody is ready, and sets time zero.
    fn open(&mut self) -> Result<Started, SetUpError> {
        let all = self.running.len();
        let someone_ended = |stage: &Self| !stage.closed.is_empty();
        let deadline = Instant::now() + READY_WITHIN;
        let woken = self.wait_until(deadline, |stage| stage.ready.len() == all || someone_ended(stage));
        match woken {
            Woken::Done if self.closed.is_empty() => {}
            Woken::Done => return Err(self.why_ended()?),
            Woken::Due => return Err(SetUpError::NotReady { names: self.not_ready() }),
            Woken::Failed => return Err(SetUpError::Record(self.faults.text().unwrap_or_default())),
            Woken::Signal(signal) => return Err(SetUpError::Interrupted(signal)),
        }
        let clock = Clock::now().map_err(io::Error::from)?;
        let now = Instant::now();
        let wall = jiff::Timestamp::now() + HEAD_START;
        let zero = now + HEAD_START;
        self.note(Note::Zero(zero));
        self.lab.set_time_zero(zero)?;
        for child in &mut self.running {
            child.start(clock.monotonic_ns(zero))?;
        }
        Ok(Started { zero, wall })
    }

    fn why_ended(&mut self) -> io::Result<SetUpError> {
        let closed = self.closed.clone();
        let child = self.running.iter_mut().find(|child| closed.contains(&child.host));
        let Some(child) = child else { return Err(io::ErrorKind::NotFound.into()) };
        let how = told(child.reap(Instant::now() + STOP_WITHIN)?);
        Ok(SetUpError::Ended { name: child.name(), how, last_words: child.last_words() })
    }

    fn not_ready(&self) -> String {
        let waiting = self.running.iter().filter(|child| !self.ready.contains(&child.host));
        waiting.map(|child| format!("{}{}", child.name(), child.last_words())).collect::<Vec<_>>().join(", ")
    }

    /// From time zero to the end.
    fn play(mut self, started: Started) -> Ended {
        let signal = match self.follow_timeline(started.zero) {
            Woken::Signal(signal) => {
                self.faults.interrupt(signal);
                Some(signal)
            }
            _ => None,
        };
        let Stopped { report, written, invalid_why } = self.stop();
        Ended { started: started.wall, report, written, invalid_why, signal }
    }

    fn follow_timeline(&mut self, zero: Instant) -> Woken {
        let order = self.order;
        for act in std::mem::take(&mut self.acts) {
            let woken = self.wait_until(zero + act.at, |_| false);
            if woken != Woken::Due {
                return woken;
            }
            if let Err(why) = self.act(act, zero) {
                self.invalidate(why);
                return Woken::Failed;
            }
        }
        self.wait_until(zero + order.scenario.duration, |_| false)
    }

    /// Applies a step, or what is left of one, and records it once the kernel has been read back.
    fn act(&mut self, act: Act<'_>, zero: Instant) -> Result<(), String> {
        let Act { at, index, step, is_end, changes } = act;
        let place = format!("step {index} of the timeline ({})", format_duration(step.at));
        let failed = |error: &dyn std::fmt::Display| format!("{place}: {error}");
        if !is_end {
            self.tell_peers(&step.action).map_err(|error| failed(&error))?;
        }
        let due = zero + at;
        let mut applied = Instant::now();
        for change in changes {
            applied = self.lab.apply(change).map_err(|error| failed(&error))?;
        }
        let what = step.action.kind();
        let target_host = step.action.host().map(str::to_owned);
        let target_interface = step.action.interface().map(|target| target.interface.clone());
        let target_network = step.action.network().map(str::to_owned);
        let due_t_ns = nanoseconds_since(zero, due);
        let event = match is_end {
            false => EventKind::Disturbance {
                index,
                name: step.name.clone(),
                what,
                target_host,
                target_interface,
                target_network,
                due_t_ns,
            },
            true => EventKind::DisturbanceEnded {
                index,
                what,
                target_host,
                target_interface,
                target_network,
                due_t_ns,
            },
        };
        self.note(Note::Own(applied, event));
        let late = applied.saturating_duration_since(due);
        if late > STEP_LATE {
            self.invalidate(format!("timing: {place} was applied {} ms late", late.as_millis()));
        }
        Ok(())
    }

    /// They acknowledge it by events.
    fn tell_peers(&mut self, action: &Action) -> io::Result<()> {
        let client = &self.order.scenario.peers.client.host;
        let Some(telling) = Telling::of(action, client) else { return Ok(()) };
        let peers = self.running.iter_mut().filter(|child| child.part.is_peer());
        for peer in peers.filter(|peer| telling.is_for(&peer.host, client)) {
            peer.tell(&telling.command)?;
        }
        Ok(())
    }

    /// Handles what comes in until a time, or until something is the case.
    fn wait_until(&mut self, deadline: Instant, done: impl Fn(&Self) -> bool) -> Woken {
        loop {
            // First: a signal from a terminal goes to every process, and ends those of others.
            if let Some(signal) = self.order.signals.pending() {
                return Woken::Signal(signal);
            }
            while let Some(notice) = self.notices.next() {
                self.handle(notice);
            }
            if self.faults.end_the_run() {
                return Woken::Failed;
            }
            if done(self) {
                return Woken::Done;
            }
            if Instant::now() >= deadline {
                return Woken::Due;
            }
            if let Err(error) = self.notices.wait(self.order.signals, deadline) {
                self.invalidate(format!("cannot wait: {error}"));
            }
        }
    }

    fn handle(&mut self, notice: Notice) {
        match notice {
            Notice::Ready { host } => {
                self.ready.insert(host);
            }
            Notice::Failed(why) => self.invalidate(why),
            Notice::Closed { host } => {
                self.closed.insert(host.clone());
                if self.ready.len() == self.running.len() {
                    self.check_end_of(&host);
                }
            }
        }
    }

    /// A process that ends of itself before the end has failed, unless it is a peer and has done its part, or says that
    /// the other one is out of reach.
    fn check_end_of(&mut self, host: &str) {
        let Some(child) = self.running.iter_mut().find(|child| child.host == host) else { return };
        let told = match child.reap(Instant::now() + STOP_WITHIN) {
            Ok(reaped) if child.part.is_peer() && is_fine(child.part, reaped) => return,
            Ok(reaped) => told(reaped),
            Err(error) => error.to_string(),
        };
        let why = format!("{} ended early ({told}){}", child.name(), child.last_words());
        self.invalidate(why);
    }

    /// Of those that end when they are told to in any way they like, this is the last moment to tell whether they were.
    fn notice_dead_servers(&mut self) {
        let ended = |child: &mut Running| match child.try_status() {
            Ok(Some(_)) if !child.part.is_peer() => Some(child.host.clone()),
            _ => None,
        };
        let hosts: Vec<String> = self.running.iter_mut().filter_map(ended).collect();
        hosts.iter().for_each(|host| self.check_end_of(host));
    }

    /// Ends everything, and tells what the links did and what was wrong.
    fn stop(mut self) -> Stopped {
        self.notice_dead_servers();
        let running = std::mem::take(&mut self.running);
        // The peers first: they say goodbye to each other by way of the servers.
        let (peers, servers) = running.into_iter().partition(|child| child.part.is_peer());
        self.stop_all(peers);
        self.stop_all(servers);
        let Self { order, lab, notes, mut notices, recorder, lab_events, mut faults, .. } = self;
        let report = lab.finish();
        // With the lab the sender of its events is gone, and with us the last sender of notes.
        drop(notes);
        let lab_events = lab_events.join();
        let written = recorder.join();
        let mut add = |why: String| faults.add(why);
        while let Some(notice) = notices.next() {
            if let Notice::Failed(why) = notice {
                add(why);
            }
        }
        if lab_events.is_err() || written.is_err() {
            add("record: a recording thread failed".to_owned());
        }
        match &report {
            Ok(report) => too_late(report).into_iter().chain(outside_the_model(report)).for_each(&mut add),
            Err(error) => add(format!("the network model failed: {error}")),
        }
        // The lab has closed its captures, and nobody writes secrets any more.
        if let Err(error) = evidence::embed(order.scenario, order.directory) {
            add(format!("record: {error}"));
        }
        Stopped { report: report.ok(), written: written.ok(), invalid_why: faults.text() }
    }

    fn stop_all(&mut self, mut children: Vec<Running>) {
        children.iter_mut().for_each(Running::stop);
        let deadline = Instant::now() + STOP_WITHIN;
        for child in &mut children {
            let why = match child.reap(deadline) {
                Ok(reaped) if is_fine(child.part, reaped) => continue,
                Ok(reaped) => {
                    format!("{} ended badly ({}){}", child.name(), told(reaped), child.last_words())
                }
                Err(error) => format!("{}: {error}", child.name()),
            };
            self.invalidate(why);
        }
    }

    fn invalidate(&mut self, why: String) {
        self.faults.add(why);
    }

    /// The recorder outlives all notes.
    fn note(&self, note: Note) {
        let _ = self.notes.send(note);
    }
}

/// Notices, and something that `poll` can wait for.
struct Inbox {
    notices: Receiver<Notice>,
    bell: PipeReader,
}

impl Inbox {
    /// The sender, and this.
    fn new() -> io::Result<(collect::Notices, Self)> {
        let (sender, notices) = mpsc::channel();
        let (bell, rope) = io::pipe()?;
        Ok((collect::Notices { sender, bell: rope }, Self { notices, bell }))
    }

    fn next(&mut self) -> Option<Notice> {
        self.notices.try_recv().ok()
    }

    /// Until a notice or a signal comes, or until then.
    fn wait(&mut self, signals: &Signals, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        // The last millisecond is slept through exactly; poll counts whole ones.
        let milliseconds = i32::try_from(left.as_millis()).unwrap_or(i32::MAX);
        if milliseconds == 0 {
            std::thread::sleep(left);
            return Ok(());
        }
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        let signals = signals.descriptor();
        let mut descriptors = [
            PollFd::new(self.bell.as_fd(), PollFlags::POLLIN),
            PollFd::new(signals.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut descriptors, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
        let rung = descriptors.first().and_then(PollFd::any).unwrap_or(false);
        if rung {
            let _ = self.bell.read(&mut [0; 64])?;
        }
        Ok(())
    }
}

fn metrics(order: &Order<'_>) -> BTreeMap<(String, String), u32> {
    let hosts = order.scenario.hosts.iter();
    let metrics = hosts.flat_map(|(host, spec)| {
        let interfaces = spec.interfaces.iter();
        interfaces.map(|(name, interface)| ((host.clone(), name.clone()), interface.metric))
    });
    metrics.collect()
}

/// Something to do at a time.
#[derive(Debug)]
struct Act<'a> {
    at: Duration,
    index: usize,
    step: &'a Step,
    /// The end of a step that takes a time.
    is_end: bool,
    /// What is done to the lab.
    changes: Vec<LabChange>,
}

/// The steps and their ends, in order of time.
fn acts<'a>(scenario: &'a Scenario, traces: &mut Traces) -> Result<Vec<Act<'a>>, LowerError> {
    let mut acts = Vec::new();
    for (index, step) in scenario.timeline.iter().enumerate() {
        let mut act = |at, is_end| {
            let changes = changes(scenario, &step.action, is_end, traces)?;
            acts.push(Act { at, index, step, is_end, changes });
            Ok::<_, LowerError>(())
        };
        act(step.at, false)?;
        if let Action::Roam { gap, .. } = &step.action
            && !gap.is_zero()
        {
            act(step.at + *gap, true)?;
        }
    }
    acts.sort_by_key(|act| act.at);
    Ok(acts)
}

/// What is done to the lab for a step, or for its end.
fn changes(
    scenario: &Scenario,
    action: &Action,
    is_end: bool,
    traces: &mut Traces,
) -> Result<Vec<LabChange>, LowerError> {
    let (host, interface) =
        action.interface().map(|target| (target.host.clone(), target.interface.clone())).unwrap_or_default();
    let blocks =
        |network: &str, blocks| LabChange::Blocks { network: scenario.border_network(network), blocks };
    let nats = |network: &str| scenario.nat_networks(network).into_iter();
    Ok(vec![match action {
        Action::Down(_) => LabChange::Down { host, interface },
        Action::Up(_) => LabChange::Up { host, interface },
        Action::CarrierOff(_) => LabChange::CarrierOff { host, interface },
        Action::CarrierOn(_) => LabChange::CarrierOn { host, interface },
        Action::Silence(_) => LabChange::Silence { host, interface },
        Action::Restore(_) => LabChange::Restore { host, interface },
        Action::Address { .. } => LabChange::Address { host, interface },
        Action::Metric { value, .. } => LabChange::Metric { host, interface, metric: *value },
        Action::Roam { gap, .. } if !is_end && !gap.is_zero() => LabChange::CarrierOff { host, interface },
        Action::Roam { network, .. } => {
            let on = LabChange::CarrierOn { host: host.clone(), interface: interface.clone() };
            let roam = LabChange::Roam { host, interface, network: network.clone() };
            // Addresses come before the carrier, as they do for whoever asks when it is told.
            return Ok(if is_end { vec![roam, on] } else { vec![roam] });
        }
        Action::Hotspot(hotspot) => LabChange::Hotspot { host, interface, network: hotspot.network.clone() },
        Action::Link(change) => LabChange::Link {
            network: change.network.clone(),
            down: Box::new(scenario.lower_link(&change.network, Direction::Down, &change.down, traces)?),
            up: Box::new(scenario.lower_link(&change.network, Direction::Up, &change.up, traces)?),
        },
        Action::Block { network, filters } => {
            blocks(network, filters.iter().map(|filter| filter.0).collect())
        }
        Action::Unblock { network } => blocks(network, Vec::new()),
        Action::NatRebind(network) => {
            return Ok(nats(network).map(|network| LabChange::NatRebind { network }).collect());
        }
        Action::ServerDown(server) => {
            LabChange::Silence { host: server.clone(), interface: SERVER_INTERFACE.to_owned() }
        }
        Action::ServerUp(server) => {
            LabChange::Restore { host: server.clone(), interface: SERVER_INTERFACE.to_owned() }
        }
        // Nothing changes in the network.
        Action::Policy(_) | Action::Priority { .. } | Action::Path(_) => return Ok(Vec::new()),
        Action::NatFlush(network) => {
            return Ok(nats(network).map(|network| LabChange::NatFlush { network }).collect());
        }
    }])
}

/// How a process may end that was told to.
fn is_fine(part: Part, reaped: Reaped) -> bool {
    let Reaped::Ended(status) = reaped else { return false };
    match part {
        Part::Server | Part::Client => status.code().is_some_and(|code| RESULTS.contains(&code)),
        Part::Rendezvous | Part::Relay | Part::Control => status.code() == Some(0),
        // Each has its own way.
        Part::Coturn | Part::Iperf3 => true,
    }
}

fn told(reaped: Reaped) -> String {
    match reaped {
        Reaped::Ended(status) => status.to_string(),
        Reaped::Killed => format!("killed, as it did not end within {}", format_duration(STOP_WITHIN)),
    }
}

fn too_late(report: &LabReport) -> Option<String> {
    let p99 = report.lateness.p99.max(report.waiting.p99);
    (p99 > LATE).then(|| format!("timing: 1 % of the packets were at least {} ms late", p99.as_millis()))
}

/// Losses that no link of the scenario explains.
fn outside_the_model(report: &LabReport) -> Option<String> {
    let lost: u64 = report.links.iter().map(|link| link.lost_at_device).sum();
    (lost > 0).then(|| format!("model: {lost} packets were lost at the devices, which the model does not do"))
}

fn signal_name(signal: u8) -> String {
    let known = nix::sys::signal::Signal::try_from(i32::from(signal));
    known.map_or_else(|_| format!("signal {signal}"), |signal| signal.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_step_needs_is_drawn_before_the_run() {
        let text = include_str!("../../../../scenarios/whatsapp/wifi-off-in-call.yaml");
        let trace = |name: &str| format!("{{link: {{network: home, trace: {name}}}}}");
        let timeline = format!(
            "timeline=[{{at: 2s, do: {}}}, {{at: 3s, do: {}}}]",
            trace("lte-walking"),
            trace("wifi-leaving-room")
        );
        let link = "networks.home.link={delay: 4ms, trace: wifi-leaving-room}".to_owned();
        let sets = [link, timeline, "expect=[]".to_owned()];
        let scenario = Scenario::parse("test.yaml", std::path::Path::new("."), text, &sets);
        let scenario = scenario.map_err(|problems| format!("{:?}", problems.diagnostics())).unwrap();
        let mut traces = Traces::to_run();
        let plan = scenario.plan_with(&mut traces).unwrap();
        let home = &plan.topology().networks[usize::from(plan.network("home").unwrap().0)];
        let acts = acts(&scenario, &mut traces).unwrap();
        let of_step = acts.iter().map(|act| match act.changes.as_slice() {
            [LabChange::Link { down, .. }] => down.trace.clone().unwrap(),
            other => panic!("{other:?}"),
        });
        let of_step: Vec<netmodel::Trace> = of_step.collect();
        assert!(of_step.iter().all(|trace| trace.duration() > scenario.duration));
        let place = |trace: &netmodel::Trace| trace.opportunities().as_ptr();
        assert_eq!(place(&of_step[1]), place(home.down.trace.as_ref().unwrap()), "drawn once");
        let Traces::Drawn(drawn) = &traces else { panic!("{traces:?}") };
        assert_eq!(drawn.len(), 4, "two channels, two directions");
    }

    #[test]
    fn a_late_step_hides_no_other_fault() {
        let mut faults = Faults::default();
        assert_eq!(faults.text(), None);
        faults.add("timing: step 1 was applied 300 ms late".into());
        assert!(!faults.end_the_run());
        faults.add("laptop (iceperf client) ended early (signal 9)".into());
        faults.add("timing: step 2 was applied 200 ms late".into());
        faults.add("timing: step 1 was applied 300 ms late".into());
        assert!(faults.end_the_run());
        assert_eq!(
            faults.text().as_deref(),
            Some(
                "laptop (iceperf client) ended early (signal 9); timing: step 1 was applied 300 ms late; timing: step 2 \
                 was applied 200 ms late"
            )
        );
    }
}
