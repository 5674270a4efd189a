//! `iceperf rendezvous`: sockets and time for `peer`'s rendezvous server.
//!
//! It listens on addresses, not devices. On a host with several addresses an answer must leave from the one that was
//! asked, or a NAT on the way would drop it: each such address is a socket of its own to the server. One process may
//! have the server inside, and talk to it without a socket.

use crate::{
    clock::Clock,
    control::Control,
    driver::refused_by_kernel,
    events::Events,
    failure::Failure,
    service::{self, REPORT, Service, println_lossy},
    udp::{Binding, Opened, Outgoing, Sockets},
};
use peer::{
    SocketId,
    rendezvous::{Answer, Counts, Server},
};
use record::EventKind;
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Instant,
};

/// The port of STUN (RFC 8489 section 18.6), which this server speaks too.
const DEFAULT_PORT: u16 = 3478;
/// The "socket" of the process that the server is in; no [`Locals`] has that many.
const INSIDE: SocketId = SocketId(u32::MAX);
/// Never seen on any wire.
#[cfg(feature = "webrtc-ice")]
pub(crate) const INSIDE_ADDRESS: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0);

/// Runs until it is told to stop.
pub(crate) async fn run(
    bind: &[SocketAddr],
    clock: Clock,
    events: Events,
    control: Control,
) -> Result<(), Failure> {
    let rendezvous = Rendezvous::open(bind)?;
    for local in &rendezvous.bound {
        println_lossy(&format!("rendezvous at {local}"));
    }
    service::run(rendezvous, clock, events, control).await
}

/// A server and its sockets.
pub(crate) struct Rendezvous {
    server: Server,
    sockets: Sockets,
    bound: Vec<SocketAddr>,
    locals: Locals,
    /// What the server has to say to the process that it is in.
    inside: Vec<Vec<u8>>,
    newest_dropped: Option<SocketAddr>,
    reported: Counts,
    report_at: Option<Instant>,
}

impl Rendezvous {
    fn open(bind: &[SocketAddr]) -> Result<Self, Failure> {
        if bind.is_empty() { Self::at_port(DEFAULT_PORT) } else { Self::bind(bind, false) }
    }

    /// On every address of this host; port 0 is any, and may differ between IPv4 and IPv6.
    pub(crate) fn at_port(port: u16) -> Result<Self, Failure> {
        // A host without IPv6 (or IPv4) is no reason to fail, unless it was asked for.
        Self::bind(&[(Ipv4Addr::UNSPECIFIED, port).into(), (Ipv6Addr::UNSPECIFIED, port).into()], true)
    }

    fn bind(wanted: &[SocketAddr], optional: bool) -> Result<Self, Failure> {
        let mut sockets = Sockets::new();
        let mut bound = vec![];
        for (id, local) in (0..).zip(wanted) {
            match sockets.open(Instant::now(), id, Binding { interface: None, local: *local }) {
                Ok(Opened::Bound(local)) => bound.push(local),
                Ok(Opened::Later) => {
                    return Err(Failure::machine(format!("{local}: no interface has this address")));
                }
                Err(error) if optional && !error.port_in_use() && !error.not_permitted() => {
                    tracing::warn!("{error}");
                }
                Err(error) => return Err(refused_by_kernel(&error)),
            }
        }
        if bound.is_empty() {
            return Err(Failure::machine("this host has neither IPv4 nor IPv6"));
        }
        Ok(Self {
            server: Server::new(),
            sockets,
            bound,
            locals: Locals::default(),
            inside: vec![],
            newest_dropped: None,
            reported: Counts::default(),
            report_at: None,
        })
    }

    fn answer(&mut self, answers: Vec<Answer>) {
        for Answer { socket, to, bytes } in answers {
            if socket == INSIDE {
                self.inside.push(bytes);
                continue;
            }
            let Some(local) = self.locals.find(socket) else { continue };
            let outgoing = Outgoing { to, ecn: None, segment_size: None, source: local.address, bytes };
            if let Err(error) = self.sockets.send(local.socket, outgoing) {
                tracing::debug!(%to, %error, "not sent");
            }
        }
    }
}

/// Use by the process that the server is in: only signalling of webrtc-ice needs it.
#[cfg(feature = "webrtc-ice")]
impl Rendezvous {
    /// Where it listens.
    pub(crate) fn bound(&self) -> &[SocketAddr] {
        &self.bound
    }

    /// Takes a message of the process that the server is in.
    pub(crate) fn tell(&mut self, now: Instant, message: &[u8]) {
        let answers = self.server.handle_datagram(now, INSIDE, INSIDE_ADDRESS, message);
        self.answer(answers);
    }

    /// What the server said to the process that it is in since it was last asked.
    pub(crate) fn heard(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.inside)
    }
}

impl Service for Rendezvous {
    fn sockets(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    fn wake(&self) -> Option<Instant> {
        self.report_at
    }

    fn read(&mut self, now: Instant, id: u32) {
        let Self { server, sockets, locals, newest_dropped, .. } = self;
        let mut answers = vec![];
        let received = sockets.receive(id, |datagram| {
            let dropped = server.counts().dropped;
            let local = locals.number(Local { socket: id, address: datagram.to });
            answers.extend(server.handle_datagram(now, local, datagram.from, datagram.bytes));
            if server.counts().dropped > dropped {
                *newest_dropped = Some(datagram.from);
            }
        });
        if let Err(error) = received {
            tracing::debug!(%error, "receiving failed");
        }
        self.answer(answers);
        if self.server.counts() != self.reported {
            self.report_at.get_or_insert(now + REPORT);
        }
    }

    fn handle_timeout(&mut self, now: Instant, events: &mut Events) -> io::Result<()> {
        self.report(now, events)
    }

    fn report(&mut self, now: Instant, events: &mut Events) -> io::Result<()> {
        self.report_at = None;
        let counts = self.server.counts();
        if let Some(from) = self.newest_dropped.filter(|_| counts.dropped > self.reported.dropped) {
            let reason = "unknown-protocol".to_owned();
            events.record(now, EventKind::Rejected { reason, count: counts.dropped, from })?;
        }
        tracing::info!(?counts, sessions = self.server.sessions());
        self.reported = counts;
        Ok(())
    }

    fn farewell(&self) -> String {
        let Counts { bindings, updates, dropped, refused } = self.server.counts();
        format!(
            "{bindings} STUN requests, {updates} updates, {dropped} datagrams dropped, {refused} updates refused"
        )
    }
}

/// A socket, and the one of its addresses that a client talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Local {
    socket: u32,
    address: Option<IpAddr>,
}

/// The numbers under which the server knows them.
#[derive(Debug, Default)]
struct Locals(Vec<Local>);

impl Locals {
    /// A host with more addresses answers from those that the kernel chooses.
    const MOST: usize = 256;

    fn number(&mut self, local: Local) -> SocketId {
        let known = |local: Local, locals: &[Local]| locals.iter().position(|other| *other == local);
        let place = known(local, &self.0).unwrap_or_else(|| {
            let local = if self.0.len() < Self::MOST { local } else { Local { address: None, ..local } };
            known(local, &self.0).unwrap_or_else(|| {
                self.0.push(local);
                self.0.len() - 1
            })
        });
        SocketId(place as u32)
    }

    fn find(&self, number: SocketId) -> Option<Local> {
        self.0.get(number.0 as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locals_keep_their_numbers_and_are_bounded() {
        let mut locals = Locals::default();
        let local = |n: u32| Local { socket: n % 2, address: Some(Ipv4Addr::from(n).into()) };
        for n in 0..1000 {
            let number = locals.number(local(n));
            assert_eq!(locals.find(number).unwrap().socket, n % 2);
        }
        assert_eq!(locals.0.len(), Locals::MOST + 2);
        assert_eq!(locals.find(locals.0.len().try_into().map(SocketId).unwrap()), None);
        let number = locals.number(local(7));
        assert_eq!(locals.find(number), Some(local(7)));
    }
}
