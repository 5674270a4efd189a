//! What the networks between two ends block, found out by both of them together, sans-IO.
//!
//! Over each pair of sockets of one family, both ends send the same small set of probes: a STUN Binding request on each
//! rung of the ladder of [disguises](crate::disguise), UDP that looks random, and a QUIC Initial packet ([`Variant`]).
//! Both send, so that holes are punched in what stands between, and each says what of it arrived. Besides, each socket
//! asks
//!
//! * a **control**: a fresh port on a public host without NAT that carriers do not know as a server ([`Responder`]), in
//!   every variant, and by TCP;
//! * **servers** that carriers know, by plain STUN.
//!
//! The control tells a network that carries no UDP between peers from NATs that cannot be punched; servers tell it from
//! a network that carries no UDP; TCP tells that from a dead interface; what the kernel says of routes, and the addresses
//! that the other end sees, tell a block from packets that left by another interface. See [`Verdict`].
//!
//! The ends exchange [`Report`]s by whatever signalling they have; [`judge`] is a pure function of two of them. Probes,
//! answers and the run that they belong to are sealed with a [`Key`] that both ends and the control share: nobody else
//! can make anything arrive.
//!
//! # The driving loop
//!
//! Add sockets, [`Prober::start`], then take [`Prober::poll`] and [`Prober::take_report`] until they are empty, wait
//! until [`Prober::poll_timeout`] or a datagram, hand it in, and again; [`Prober::is_done`] says when to stop.
//!
//! Left out: signalling, finding out the classes of NATs (see [`behaviour`](crate::behaviour)), TCP and routes
//! themselves, which are asked of the driver.

mod bytes;
mod nat;
mod probe;
mod quic;
mod report;
mod rounds;
mod seal;
mod socket;
mod verdict;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::candidate::{SocketId, canonical};
use crate::event::Transmit;

use probe::Probe;
use rounds::{Job, Link};
use socket::Local;

pub use nat::{Mapping, NatClass, can_pass};
pub use probe::{End, Responder, UnknownVariant, Variant};
pub use report::{
    LinkReport, MOST_LINKS, MOST_ROUNDS, MOST_SOCKETS, Reach, Report, Route, SocketReport, Tallies, Tally,
};
pub use seal::Key;
pub use verdict::{At, BlockedAfter, ControlView, Direction, Finding, Verdict, Why, judge};

/// What a prober must know before it begins.
#[derive(Debug)]
pub struct Config {
    /// Which end this is: [`End::Client`] or [`End::Server`].
    pub end: End,
    /// Shared with the other end and the control.
    pub key: Key,
    /// At most one control of each family is asked.
    pub controls: Vec<SocketAddr>,
    /// STUN servers that carriers know. At most two of each family are asked.
    pub servers: Vec<SocketAddr>,
    /// Of everything random. Probes are sealed, but servers are asked in plain, and believed for their address and the
    /// transaction id, of which RFC 8489 section 5 wants 96 random bits: so a real driver draws all 32 bytes from what no
    /// stranger knows. For tests there is [`spread_seed`](crate::spread_seed).
    pub seed: [u8; 32],
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Send a datagram.
    Transmit(Transmit),
    /// Try three TCP connections one after the other, by the interface and address of this socket, each for 2.5 s, which
    /// is two SYN packets; tell by [`Prober::set_reach`].
    Connect {
        /// Whose interface.
        socket: SocketId,
        /// To where.
        to: SocketAddr,
    },
    /// Ask the kernel by which interface it would send this; tell by [`Prober::set_route`].
    FindRoute {
        /// From which socket.
        socket: SocketId,
        /// To where.
        to: SocketAddr,
    },
}

/// One end of the probe.
#[derive(Debug)]
pub struct Prober {
    config: Config,
    rng: ChaCha12Rng,
    /// Zero until a server knows whose run it is.
    run: u64,
    sockets: Vec<Local>,
    links: BTreeMap<(u8, u8), Link>,
    theirs: Option<Report>,
    started: Option<Instant>,
    queue: VecDeque<Job>,
    /// When each began in which anything was sent.
    rounds: Vec<Instant>,
    next_send: Option<Instant>,
    next_round: Option<Instant>,
    last_sent: Option<Instant>,
    finished: bool,
    /// Both ends have finished.
    both_finished: Option<Instant>,
    told: Option<(Instant, Report)>,
    outputs: VecDeque<Output>,
}

/// Between two probes (RFC 8445 section 14.2 allows 5 ms; this is what 8 variants over several pairs bear).
const TA: Duration = Duration::from_millis(10);
/// Between two rounds, each of which holds every variant once, so that trouble hits all alike.
const ROUND: Duration = Duration::from_millis(300);
/// Most probes of one variant and pair; what a report can tell.
const ROUNDS: u8 = report::MOST;
/// So many answers prove that both directions pass.
const ANSWERS: u32 = 8;
/// What is still under way has arrived after this.
const GRACE: Duration = Duration::from_secs(1);
/// Between two reports.
const BETWEEN_REPORTS: Duration = Duration::from_millis(300);
/// The last counts of the other end have come this long after both have finished.
const SETTLING: Duration = Duration::from_millis(1500);
/// An end whose own sockets have nothing more to ask waits this long for the other one.
const PATIENCE: Duration = Duration::from_secs(10);
/// However long anything takes.
const LIMIT: Duration = Duration::from_secs(60);

impl Prober {
    /// One that sends nothing before [`start`](Self::start).
    pub fn new(config: Config) -> Prober {
        let mut rng = ChaCha12Rng::from_seed(config.seed);
        let run = match config.end {
            End::Client => rng.next_u64().max(1),
            End::Server | End::Control => 0,
        };
        Prober {
            config,
            rng,
            run,
            sockets: Vec::new(),
            links: BTreeMap::new(),
            theirs: None,
            started: None,
            queue: VecDeque::new(),
            rounds: Vec::new(),
            next_send: None,
            next_round: None,
            last_sent: None,
            finished: false,
            both_finished: None,
            told: None,
            outputs: VecDeque::new(),
        }
    }

    /// A socket to probe from. `nat_follows` promises [`set_nat`](Self::set_nat). Sockets beyond [`MOST_SOCKETS`] take no
    /// part.
    pub fn add_socket(&mut self, socket: SocketId, interface: &str, local: SocketAddr, nat_follows: bool) {
        if self.sockets.len() >= MOST_SOCKETS || self.sockets.iter().any(|one| one.socket == socket) {
            return;
        }
        let local = canonical(local);
        let alike = |address: &&SocketAddr| address.is_ipv6() == local.is_ipv6();
        let control = self.config.controls.iter().find(alike).copied();
        let servers = self.config.servers.iter().filter(alike).take(2).copied().collect();
        self.sockets.push(Local::new(socket, interface, local, control, servers, nat_follows));
        if self.started.is_some() {
            self.ask_driver(self.sockets.len() - 1);
        }
    }

    /// A socket is gone. What it has seen stays.
    pub fn remove_socket(&mut self, socket: SocketId) {
        if let Some(local) = self.sockets.iter_mut().find(|one| one.socket == socket) {
            local.open = false;
            local.nat_follows = false;
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Instant) {
        if self.started.is_none() {
            self.started = Some(now);
            self.next_round = Some(now);
            (0..self.sockets.len()).for_each(|place| self.ask_driver(place));
            self.handle_timeout(now);
        }
    }

    fn ask_driver(&mut self, place: usize) {
        let Some(local) = self.sockets.get_mut(place) else { return };
        let socket = local.socket;
        if let Some(to) = local.control {
            local.connecting = true;
            self.outputs.push_back(Output::Connect { socket, to });
        }
        if let Some(to) = local.control.or(local.servers.first().copied()) {
            self.outputs.push_back(Output::FindRoute { socket, to });
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// What was found out about the NAT before a socket; fields that are none stay open.
    pub fn set_nat(&mut self, socket: SocketId, nat: NatClass) {
        if let Some(local) = self.local_mut(socket) {
            local.nat = nat;
            local.nat_follows = false;
        }
    }

    /// What came of [`Output::Connect`].
    pub fn set_reach(&mut self, socket: SocketId, reach: Reach) {
        if let Some(local) = self.local_mut(socket) {
            local.reach = reach;
            local.connecting = false;
        }
    }

    /// What came of [`Output::FindRoute`].
    pub fn set_route(&mut self, socket: SocketId, to: SocketAddr, route: Route) {
        let to = canonical(to);
        let Some(place) = self.sockets.iter().position(|one| one.socket == socket) else { return };
        if let Some(local) = self.sockets.get_mut(place).filter(|local| local.asks(to)) {
            local.route = route;
        }
        let here = self.links.iter_mut().filter(|((local, _), _)| usize::from(*local) == place);
        for (_, link) in here {
            if link.route_to == Some(to) {
                link.route = route;
            }
        }
    }

    /// A server that carriers know was heard over this socket by something other than STUN.
    pub fn heard_server(&mut self, socket: SocketId) {
        // Later it would say nothing of the time in which the control was asked.
        if let Some(local) = self.local_mut(socket).filter(|local| local.is_asking()) {
            local.signals = local.signals.saturating_add(1);
        }
    }

    /// Takes a datagram if it is a probe or an answer to one; otherwise it is somebody else's.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let from = canonical(from);
        let Some(place) = self.sockets.iter().position(|one| one.socket == socket && one.open) else {
            return false;
        };
        if self.sockets.get_mut(place).is_some_and(|local| local.handle_server(from, datagram)) {
            return true;
        }
        let Some(probe) = Probe::from_datagram(&self.config.key, datagram) else { return false };
        let mine = probe.to == self.config.end && probe.from != self.config.end;
        if mine && probe.run == self.run && usize::from(probe.sockets.1) == place && probe.round < ROUNDS {
            self.take(now, place as u8, from, probe);
        }
        true
    }

    fn take(&mut self, now: Instant, place: u8, from: SocketAddr, probe: Probe) {
        let (variant, bit) = (probe.variant.index(), 1 << probe.round);
        match (probe.from, probe.seen) {
            (End::Control, Some(seen)) => {
                if let Some(local) = self.sockets.get_mut(usize::from(place)) {
                    local.answered(from, seen, variant, bit);
                }
            }
            (End::Control, None) => {}
            (_, Some(_)) => {
                if let Some(link) = self.links.get_mut(&(place, probe.sockets.0)) {
                    link.answered[variant] |= bit;
                }
            }
            (_, None) => {
                let Some(link) = self.link(place, probe.sockets.0) else { return };
                link.learn(from);
                link.seen = Some(from);
                let known = link.received[variant] & bit != 0;
                link.received[variant] |= bit;
                if !known {
                    self.transmit(now, place, from, probe.answer(from));
                }
            }
        }
    }

    /// What the other end has seen so far. Its reports must come authenticated, and in their order.
    pub fn handle_report(&mut self, now: Instant, report: Report) {
        if self.run == 0 {
            self.run = report.run;
        }
        if report.run != self.run {
            return;
        }
        let theirs = self.theirs.insert(report);
        for socket in theirs.sockets.clone() {
            let links = self.links.iter_mut().filter(|((_, remote), _)| *remote == socket.index);
            for (_, link) in links {
                socket.addresses.iter().for_each(|address| link.learn(canonical(*address)));
            }
        }
        self.begin_links();
        self.settle(now);
    }

    /// What is to be told to the other end now, if anything is new.
    pub fn take_report(&mut self, now: Instant) -> Option<Report> {
        if self.started.is_none() || self.run == 0 || self.report_due().is_some_and(|due| now < due) {
            return None;
        }
        let report = self.report();
        if self.told.as_ref().is_some_and(|(_, told)| *told == report) {
            return None;
        }
        self.told = Some((now, report.clone()));
        Some(report)
    }

    fn report_due(&self) -> Option<Instant> {
        self.told.as_ref().map(|(at, _)| *at + BETWEEN_REPORTS)
    }

    /// What this end has seen so far.
    pub fn report(&self) -> Report {
        let sockets = (0..).zip(&self.sockets).map(|(index, local)| local.report(index));
        let links = self.links.iter().map(|((local, remote), link)| link.report(*local, *remote));
        let first = self.rounds.first().copied();
        let rounds = self.rounds.iter().zip(std::iter::repeat(first).flatten());
        let rounds = rounds.map(|(at, first)| (*at - first).as_millis().min(u16::MAX.into()) as u16);
        Report {
            run: self.run,
            finished: self.finished,
            rounds: rounds.collect(),
            sockets: sockets.collect(),
            links: links.collect(),
        }
    }

    /// What the other end has told so far.
    pub fn other_report(&self) -> Option<&Report> {
        self.theirs.as_ref()
    }

    /// What follows from both.
    pub fn findings(&self) -> Vec<Finding> {
        judge(&self.report(), self.theirs.as_ref())
    }

    /// Whether waiting would bring nothing more.
    pub fn is_done(&self, now: Instant) -> bool {
        self.ends_at().is_some_and(|at| at <= now)
    }

    fn ends_at(&self) -> Option<Instant> {
        let limit = self.started? + LIMIT;
        let settled = self.both_finished.map(|at| at + SETTLING);
        // Nobody is there.
        let alone = (self.finished && self.theirs.is_none()).then_some(self.last_sent).flatten();
        settled.into_iter().chain(alone.map(|at| at + PATIENCE)).chain([limit]).min()
    }

    /// Does what is due. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.started.is_none() || self.is_done(now) {
            return;
        }
        if self.next_send.is_none_or(|at| at <= now)
            && let Some(job) = self.queue.pop_front()
        {
            self.next_send = Some(now + TA);
            self.carry_out(now, job);
        }
        if self.queue.is_empty() && self.next_round.is_some_and(|at| at <= now) {
            self.next_round = Some(now + ROUND);
            self.begin_links();
            self.fill(now);
            self.next_send.get_or_insert(now);
        }
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do, or [`take_report`](Self::take_report) may.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let ends = self.ends_at()?;
        let sends = if self.queue.is_empty() { self.next_round } else { self.next_send };
        // A round begins every now and then even if nothing is left to be sent: something may arrive late.
        sends.map(|at| at.min(ends)).or(Some(ends))
    }

    fn settle(&mut self, now: Instant) {
        let idle = self.queue.is_empty() && self.sockets.iter().all(Local::is_done);
        let grace = self.last_sent.is_none_or(|at| at + GRACE <= now);
        let mut begun = self.links.iter().filter(|((place, _), _)| self.is_open(*place));
        let links = self.theirs.is_none() || (self.all_linked() && begun.all(|(_, link)| link.is_done()));
        self.finished |= self.started.is_some() && idle && grace && links;
        let both = self.finished && self.theirs.as_ref().is_some_and(|theirs| theirs.finished);
        if both && self.both_finished.is_none() {
            self.both_finished = Some(now);
        }
    }

    fn transmit(&mut self, now: Instant, place: u8, to: SocketAddr, probe: Probe) {
        let Some(local) = self.sockets.get(usize::from(place)).filter(|local| local.open) else { return };
        let mut salt = [0; 32];
        self.rng.fill_bytes(&mut salt);
        let bytes = probe.to_datagram(&self.config.key, salt);
        self.last_sent = Some(self.last_sent.map_or(now, |at| at.max(now)));
        self.outputs.push_back(Output::Transmit(Transmit { socket: local.socket, to, bytes }));
    }

    fn is_open(&self, place: u8) -> bool {
        self.sockets.get(usize::from(place)).is_some_and(|local| local.open)
    }

    fn local_mut(&mut self, socket: SocketId) -> Option<&mut Local> {
        self.sockets.iter_mut().find(|one| one.socket == socket)
    }
}
