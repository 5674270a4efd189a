//! What a host is behind, found out from inside: NAT behaviour discovery (RFC 5780) in the words of RFC 4787, sans-IO.
//!
//! A [`Prober`] asks one server, by sockets of one interface and one address family, step by step:
//!
//! | step | asked | tells |
//! |---|---|---|
//! | reach | one Binding request | whether the address is translated at all |
//! | mapping | all of the server's addresses, from one socket | mapping (RFC 4787 section 4.1, RFC 5780 section 4.3) |
//! | filtering | answers from other addresses, on a fresh socket | filtering (section 5; 4.4) |
//! | silent | an answer to a socket that never sent, without a NAT | whether there is a firewall |
//! | ports | several fresh sockets | port assignment (section 4.2) |
//! | hairpinning | two sockets of ours, each other's outside | hairpinning (section 6; 4.5) |
//! | lifetime | answers to sockets that have been quiet for a while | life of an answered mapping (section 4.3; 4.6) |
//!
//! Silence alone proves nothing: it counts only when the address that should have spoken has answered another socket
//! and the path was alive afterwards. Where that is missing, or the server has too few addresses, the verdict is
//! [`Found::Inconclusive`] with its reason. Replies count only on the socket and from the address that the
//! transaction expects, so strangers cannot tell lies without guessing 96 bits.
//!
//! Left out: fragments, several servers in concert except for mappings, who of several NATs in a row does what.

mod asks;
mod hairpin;
mod lifetime;
mod report;
mod steps;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use asks::Asks;
use steps::Step;

use crate::candidate::canonical;
use crate::transaction::Ids;

pub use report::{Dependence, Filtering, Found, Hairpinning, Lifetime, PortAssignment, Report, Sample, Why};

/// What a prober must know before it begins.
#[derive(Debug, Clone)]
pub struct ProbeConfig {
    /// STUN servers of one family, in order of preference. The first that answers is asked everything; the others take
    /// part in finding out the mapping.
    pub servers: Vec<SocketAddr>,
    /// How long the lifetime of a mapping may be looked for; none: not at all.
    pub lifetime: Option<Duration>,
    /// Transaction ids are drawn from it. They are all that keeps liars out, and RFC 8489 section 5 wants 96 random bits:
    /// so a real driver draws all 32 bytes from what no stranger knows. For tests there is
    /// [`spread_seed`](crate::spread_seed).
    pub seed: [u8; 32],
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ProbeOutput {
    /// Bind a socket on the interface, at its address of the servers' family and any port, and tell by
    /// [`Prober::opened`].
    Open {
        /// Its number from now on.
        socket: u32,
    },
    /// Close it.
    Close {
        /// Its number.
        socket: u32,
    },
    /// Send a datagram.
    Transmit {
        /// By this socket.
        socket: u32,
        /// Destination.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
}

/// Finds out what is between one interface and the servers.
#[derive(Debug)]
pub struct Prober {
    config: ProbeConfig,
    ids: Ids,
    asks: Asks,
    step: Step,
    report: Report,
    sockets: Vec<Socket>,
    outputs: VecDeque<ProbeOutput>,
    facts: Facts,
}

/// What steps leave to later ones.
#[derive(Debug, Default)]
struct Facts {
    /// Of `config.servers`, which one is asked.
    server: usize,
    /// The server's other address.
    other: Option<SocketAddr>,
    /// Addresses of the server that answered when they were asked.
    alive: Vec<SocketAddr>,
    /// Of the first answer.
    rtt: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Socket {
    Opening,
    Open(SocketAddr),
    Closed,
}

/// Far more than a run needs.
const MOST_SERVERS: usize = 8;

impl Prober {
    /// One that asks nothing before [`start`](Self::start). Servers beyond the eighth, and those of another family than
    /// the first, are left out.
    pub fn new(mut config: ProbeConfig) -> Prober {
        let ipv6 = config.servers.first().is_some_and(SocketAddr::is_ipv6);
        config.servers.retain(|server| server.is_ipv6() == ipv6);
        config.servers.truncate(MOST_SERVERS);
        Prober {
            ids: Ids::new(config.seed),
            config,
            asks: Asks::default(),
            step: Step::Idle,
            report: Report::default(),
            sockets: Vec::new(),
            outputs: VecDeque::new(),
            facts: Facts::default(),
        }
    }

    /// Begins.
    pub fn start(&mut self, now: Instant) {
        if matches!(self.step, Step::Idle) {
            self.begin_reach(now);
        }
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<ProbeOutput> {
        self.outputs.pop_front()
    }

    /// A socket that was asked for is bound here, or could not be.
    pub fn opened(&mut self, now: Instant, socket: u32, local: Option<SocketAddr>) {
        let Some(place) = self.sockets.get_mut(socket as usize) else { return };
        if *place != Socket::Opening {
            return;
        }
        match local {
            Some(local) => *place = Socket::Open(canonical(local)),
            None => *place = Socket::Closed,
        }
        if local.is_none() {
            return self.fail(Why::NoSocket);
        }
        if !self.sockets.contains(&Socket::Opening) {
            self.advance(now);
        }
    }

    /// One datagram that arrived. What is no answer to a request of ours changes nothing.
    pub fn handle_datagram(&mut self, now: Instant, socket: u32, from: SocketAddr, data: &[u8]) {
        if matches!(self.sockets.get(socket as usize), Some(Socket::Open(_))) {
            self.asks.handle(now, socket, canonical(from), data);
            self.settle(now);
        }
    }

    /// Does what is due. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.asks.handle_timeout(now, &mut self.outputs);
        self.settle(now);
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.asks.deadline()
    }

    /// Whether there is nothing left to find out.
    pub fn is_done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// What has been found out so far.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Ends early, as when the user is tired of waiting.
    pub fn stop(&mut self) {
        self.fail(Why::Stopped);
    }

    /// Goes on once all sockets are there and everything that was asked is answered or given up.
    fn settle(&mut self, now: Instant) {
        let may_go_on = self.asks.all_settled() && !self.sockets.contains(&Socket::Opening);
        if may_go_on || self.step.may_end_early(&self.asks) {
            self.advance(now);
        }
    }

    fn open(&mut self) -> u32 {
        let socket = self.sockets.len() as u32;
        self.sockets.push(Socket::Opening);
        self.outputs.push_back(ProbeOutput::Open { socket });
        socket
    }

    fn close(&mut self, socket: u32) {
        if let Some(place @ Socket::Open(_)) = self.sockets.get_mut(socket as usize) {
            *place = Socket::Closed;
            self.outputs.push_back(ProbeOutput::Close { socket });
        }
    }

    fn local(&self, socket: u32) -> Option<SocketAddr> {
        match self.sockets.get(socket as usize)? {
            Socket::Open(local) => Some(*local),
            Socket::Opening | Socket::Closed => None,
        }
    }

    fn primary(&self) -> Option<SocketAddr> {
        self.config.servers.get(self.facts.server).copied()
    }

    /// Nothing more can be found out.
    fn fail(&mut self, why: Why) {
        self.report.leave_open(why);
        self.finish();
    }

    fn finish(&mut self) {
        self.asks.clear();
        self.step = Step::Done;
        for socket in 0..self.sockets.len() as u32 {
            self.close(socket);
        }
    }
}
