//! Two agents with any number of sockets, what flies between them, and a TURN server, in virtual time.

#![expect(clippy::disallowed_methods, reason = "a driver: it owns time")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::policy::Keeping;
use ice::server::{Server, ServerConfig, ServerOutput};
use ice::{Agent, Config, Credentials, LocalCandidate, Policy, RemoteCandidate, Role, SocketId, SocketInfo};

const DELAY: Duration = Duration::from_millis(20);

/// As RFC 7675 has it, on every pair that works.
pub(crate) fn at_rfc_7675() -> Policy {
    let every = Keeping::every(Duration::from_secs(5));
    Policy { active: every, idle: every, ..Policy::multipath() }
}

/// Two agents, and the datagrams between them.
pub(crate) struct Couple {
    pub(crate) now: Instant,
    pub(crate) agents: [Agent; 2],
    flying: BinaryHeap<Reverse<Datagram>>,
    number: u64,
    relay: Server,
    relayed: u16,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Datagram {
    due: Instant,
    number: u64,
    receiver: usize,
    socket: SocketId,
    from: SocketAddr,
    bytes: Vec<u8>,
}

/// A TURN server.
pub(crate) const RELAY: ([u8; 4], u16) = ([10, 0, 9, 1], 3478);
/// Nobody is there.
pub(crate) const NOWHERE: u8 = 8;
pub(crate) const USER: (&str, &str) = ("user", "secret");

/// The last byte of an address is the socket, the one before the agent.
pub(crate) fn address(agent: usize, socket: usize) -> SocketAddr {
    ([10, 0, agent as u8, 1 + socket as u8], 4000).into()
}

pub(crate) fn credentials(me: usize) -> Credentials {
    Credentials::from_entropy(&[me as u8 * 7 + 3; 32])
}

impl Couple {
    pub(crate) fn new(seed: usize, sockets: [usize; 2], policy: Policy) -> Couple {
        let now = Instant::now();
        let agents = [(0, Role::Controlling), (1, Role::Controlled)].map(|(me, role)| {
            let mut config = Config::new(role, credentials(me), (2 * seed + me) as u64);
            config.policy = policy.clone();
            let mut agent = Agent::new(config);
            for socket in 0..sockets[me] {
                let local = address(me, socket);
                let info = SocketInfo {
                    interface: format!("eth{socket}"),
                    local,
                    preference: 65_535 - socket as u16,
                };
                agent.add_socket(now, SocketId(socket as u32), info);
            }
            agent
        });
        let mut config = ServerConfig::new(vec![RELAY.into()], "example.org");
        config.users.push((USER.0.into(), USER.1.into()));
        let relay = Server::new(config);
        let mut couple = Couple { now, agents, flying: BinaryHeap::new(), number: 0, relay, relayed: 50_000 };
        for me in [0, 1] {
            couple.introduce(me);
            couple.agents[me].set_remote_credentials(now, credentials(1 - me));
            couple.agents[me].start(now);
        }
        couple
    }

    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            (0..2).for_each(|me| self.drain(me));
            let packet = self.flying.peek().map(|Reverse(datagram)| datagram.due);
            let timers = self.agents.iter().filter_map(Agent::poll_timeout);
            let next = timers.chain(packet).min().unwrap_or(end);
            if next > end {
                break;
            }
            self.now = self.now.max(next);
            while self.flying.peek().is_some_and(|Reverse(first)| first.due <= self.now) {
                let Some(Reverse(datagram)) = self.flying.pop() else { break };
                let Datagram { receiver, socket, from, bytes, .. } = datagram;
                // What came a moment too early or too late is refused.
                let _ = self.agents[receiver].handle_datagram(self.now, socket, from, &bytes);
            }
            for agent in &mut self.agents {
                if agent.poll_timeout().is_some_and(|at| at <= self.now) {
                    agent.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn drain(&mut self, me: usize) {
        while let Some(transmit) = self.agents[me].poll_transmit() {
            let from = address(me, transmit.socket.0 as usize);
            self.send(from, transmit.to, transmit.bytes);
        }
        while self.agents[me].poll_event().is_some() {}
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        let SocketAddr::V4(place) = to else { unreachable!("IPv4 alone") };
        let [_, _, agent, number] = place.ip().octets();
        match agent {
            0 | 1 => {
                self.number += 1;
                self.flying.push(Reverse(Datagram {
                    due: self.now + DELAY,
                    number: self.number,
                    receiver: usize::from(agent),
                    socket: SocketId(u32::from(number) - 1),
                    from,
                    bytes,
                }));
            }
            NOWHERE => {}
            // There at once, and of no weight.
            _ => self.relay(from, to, &bytes),
        }
    }

    fn relay(&mut self, from: SocketAddr, at: SocketAddr, bytes: &[u8]) {
        let _ = self.relay.handle_datagram(self.now, at, from, bytes);
        while let Some(output) = self.relay.poll() {
            match output {
                ServerOutput::Transmit { from, to, bytes } => self.send(from, to, bytes),
                ServerOutput::Open { ticket, ip } => {
                    self.relayed += 1;
                    self.relay.opened(self.now, ticket, Some((ip, self.relayed).into()));
                }
                ServerOutput::Close { .. } => {}
            }
        }
    }

    /// Tells an agent what candidates the other one has by now.
    pub(crate) fn introduce(&mut self, me: usize) {
        let theirs: Vec<_> = self.agents[1 - me].told_candidates().map(told).collect();
        theirs.into_iter().for_each(|candidate| self.agents[me].add_remote_candidate(self.now, candidate));
    }

    pub(crate) fn living(&self) -> [usize; 2] {
        [0, 1].map(|me| self.agents[me].pairs().filter(|pair| pair.state.is_usable()).count())
    }
}

/// As a signal tells it.
fn told(local: &LocalCandidate) -> RemoteCandidate {
    RemoteCandidate {
        kind: local.kind,
        address: local.address,
        priority: local.priority,
        foundation: local.foundation.clone(),
        interface: Some(local.interface.clone()),
    }
}
