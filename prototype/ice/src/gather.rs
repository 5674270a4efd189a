//! Server-reflexive gathering (RFC 8445 section 5.1.1.2): one Binding request from every socket to every
//! server of its family, retransmitted, and repeated as keep-alive of the mapping (section 5.1.1.4).
//!
//! Relayed candidates are gathered by `relay`. Left out: alternate servers (RFC 8489 section 10).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::agent::Agent;
use crate::candidate::{self, CandidateKind, LocalCandidate, SocketId, canonical};
use crate::event::CheckPurpose;
use crate::stun::{self, Builder, Class};
use crate::transaction::{Repeat, Request};

/// Most servers.
const MOST_SERVERS: usize = 16;

/// What is asked of whom, and when.
#[derive(Debug, Default)]
pub(crate) struct Gathering {
    servers: Vec<SocketAddr>,
    tasks: Vec<Task>,
}

#[derive(Debug)]
struct Task {
    socket: SocketId,
    server: SocketAddr,
    /// None while a request is under way.
    due: Option<Instant>,
    /// What the server saw last.
    mapped: Option<SocketAddr>,
    /// The first request to this server is over, one way or the other.
    settled: bool,
}

impl Gathering {
    /// The next request that is due; it counts as under way from now on.
    fn begin_due(&mut self, now: Instant, sockets: &[SocketId]) -> Option<(SocketId, SocketAddr)> {
        let due = |task: &&mut Task| task.due.is_some_and(|due| due <= now) && sockets.contains(&task.socket);
        let task = self.tasks.iter_mut().find(due)?;
        task.due = None;
        Some((task.socket, task.server))
    }

    /// The request is over; the next one leaves then.
    pub(crate) fn again_at(&mut self, socket: SocketId, server: SocketAddr, due: Instant) {
        if let Some(task) = self.find(socket, server) {
            task.due = Some(due);
            task.settled = true;
        }
    }

    fn unsettled(&self) -> u32 {
        self.tasks.iter().filter(|task| !task.settled).count() as u32
    }

    pub(crate) fn forget_socket(&mut self, socket: SocketId) {
        self.tasks.retain(|task| task.socket != socket);
    }

    fn find(&mut self, socket: SocketId, server: SocketAddr) -> Option<&mut Task> {
        self.tasks.iter_mut().find(|task| task.socket == socket && task.server == server)
    }

    fn add_task(&mut self, now: Instant, socket: SocketId, local: SocketAddr, server: SocketAddr) {
        if candidate::can_talk(local, server) && self.find(socket, server).is_none() {
            self.tasks.push(Task { socket, server, due: Some(now), mapped: None, settled: false });
        }
    }

    /// Whether another server still sees this address.
    fn is_seen(&self, socket: SocketId, address: SocketAddr) -> bool {
        self.tasks.iter().any(|task| task.socket == socket && task.mapped == Some(address))
    }
}

impl Agent {
    pub(crate) fn gather_from(&mut self, now: Instant, server: SocketAddr) {
        if self.gathering.servers.contains(&server) || self.gathering.servers.len() >= MOST_SERVERS {
            return;
        }
        self.gathering.servers.push(server);
        for (socket, info) in &self.sockets {
            self.gathering.add_task(now, *socket, info.local, server);
        }
    }

    /// The next request that is due on a socket that may gather.
    pub(crate) fn next_gather(&mut self, now: Instant) -> Option<(SocketId, SocketAddr)> {
        if self.gathering.tasks.is_empty() {
            return None;
        }
        let sockets: Vec<SocketId> =
            self.sockets.keys().copied().filter(|socket| self.may_gather(*socket)).collect();
        self.gathering.begin_due(now, &sockets)
    }

    pub(crate) fn next_gather_due(&self) -> Option<Instant> {
        let due = self.gathering.tasks.iter().filter(|task| self.may_gather(task.socket));
        due.filter_map(|task| task.due).min()
    }

    /// Whether every server that may be asked has answered once or been given up once.
    pub(crate) fn is_gathering_settled(&self) -> bool {
        let asked = self.gathering.tasks.iter().all(|task| task.settled || !self.may_gather(task.socket));
        asked && self.calls.is_settled() && self.relays.is_settled(|socket| self.may_gather(socket))
    }

    pub(crate) fn gather_on(&mut self, now: Instant, socket: SocketId) {
        let Some(info) = self.sockets.get(&socket) else { return };
        for server in self.gathering.servers.clone() {
            self.gathering.add_task(now, socket, info.local, server);
        }
    }

    pub(crate) fn send_gather(&mut self, now: Instant, socket: SocketId, server: SocketAddr) {
        let id = self.ids.transaction();
        let bytes = Builder::new(Class::Request, stun::BINDING, id).finish(None);
        let repeat = Repeat::Backoff { rto: self.gather_rto(), most: None };
        #[rustfmt::skip]
        self.begin(now, Request {
            id, pair: None, relay: None, session: 0, purpose: CheckPurpose::Gather, socket, to: server, bytes, role: self.role, repeat,
        });
    }

    /// RFC 8445 section 14.3, for gathering: by the number of reflexive and relayed candidates that are expected.
    pub(crate) fn gather_rto(&self) -> Duration {
        let timing = self.config.timing;
        timing.min_rto.max(timing.ta * (self.gathering.unsettled() + self.relays.unsettled()))
    }

    /// A server told what it sees.
    pub(crate) fn gathered(
        &mut self,
        now: Instant,
        socket: SocketId,
        server: SocketAddr,
        mapped: SocketAddr,
    ) {
        let refresh = now + self.config.timing.gather_refresh;
        let Some(task) = self.gathering.find(socket, server) else { return };
        task.due = Some(refresh);
        task.settled = true;
        let before = task.mapped.replace(mapped);
        if let Some(before) =
            before.filter(|before| *before != mapped && !self.gathering.is_seen(socket, *before))
        {
            self.remove_local(|local| {
                local.socket == socket && local.kind == CandidateKind::Srflx && local.address == before
            });
        }
        self.add_server_reflexive(socket, server, mapped);
    }

    pub(crate) fn add_server_reflexive(&mut self, socket: SocketId, server: SocketAddr, mapped: SocketAddr) {
        let Some(info) = self.sockets.get(&socket).cloned() else { return };
        let base = canonical(info.local);
        // Redundant with the host candidate or with what another server saw (RFC 8445 section 5.1.3).
        let is_known = |local: &LocalCandidate| {
            local.socket == socket && local.address == mapped && local.kind != CandidateKind::Prflx
        };
        if self.local_candidates.iter().any(is_known) || !candidate::is_usable(mapped) {
            return;
        }
        // It was peer reflexive until now; once is enough.
        self.local_candidates.retain(|local| local.socket != socket || local.address != mapped);
        let Some(priority) = self.unique_priority(CandidateKind::Srflx, socket) else { return };
        let new = LocalCandidate {
            kind: CandidateKind::Srflx,
            address: mapped,
            socket,
            base,
            priority,
            foundation: candidate::foundation(CandidateKind::Srflx, base.ip(), Some(server.ip())),
            interface: info.interface,
        };
        self.add_local(new);
    }
}
