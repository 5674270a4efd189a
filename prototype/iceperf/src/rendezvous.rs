//! `iceperf rendezvous`: sockets and time for `peer`'s rendezvous server.
//!
//! It listens on addresses, not devices. On a host with several addresses an answer must leave from the one that was
//! asked, or a NAT on the way would drop it: each such address is a socket of its own to the server.

use crate::{
    clock::Clock,
    control::{self, Control},
    driver::{Signals, refused_by_kernel},
    events::Events,
    failure::Failure,
    timer::Timer,
    udp::{Binding, Opened, Outgoing, Ready, Sockets},
};
use peer::{
    SocketId,
    rendezvous::{Answer, Counts, Server},
};
use record::{Command, EventKind};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

/// The port of STUN (RFC 8489 section 18.6), which this server speaks too.
const DEFAULT_PORT: u16 = 3478;
/// Counts are told at most this often.
const REPORT: Duration = Duration::from_secs(1);

/// Runs until it is told to stop.
pub(crate) async fn run(
    bind: &[SocketAddr],
    clock: Clock,
    mut events: Events,
    mut control: Control,
) -> Result<(), Failure> {
    let mut service = Service::open(bind)?;
    let mut timer = Timer::new(clock).map_err(Failure::machine)?;
    let mut signals = Signals::new().map_err(Failure::machine)?;
    let start = Instant::now();
    if !control.present() {
        events.set_zero(start).map_err(Failure::machine)?;
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events
        .record(start, EventKind::Ready { version, pid: std::process::id() })
        .and_then(|()| events.record(start, EventKind::Started {}))
        .map_err(Failure::machine)?;
    loop {
        timer.set(service.report_at).map_err(Failure::machine)?;
        tokio::select! {
            biased;
            () = signals.stop() => break,
            command = control.next() => match command.map_err(Failure::arguments)? {
                command @ (Command::Policy { .. } | Command::Priority { .. } | Command::Path { .. }) => {
                    return Err(control::for_peers_only(&command));
                }
                Command::Stop {} => break,
                // It serves all the same; this is only what its events count from.
                Command::Start { monotonic_ns } => {
                    if let Some(zero) = clock.instant(Duration::from_nanos(monotonic_ns)) {
                        events.set_zero(zero).map_err(Failure::machine)?;
                    }
                }
            },
            expired = timer.expired() => {
                expired.map_err(Failure::machine)?;
                service.report(Instant::now(), &mut events).map_err(Failure::machine)?;
            }
            ready = service.sockets.ready() => {
                let now = Instant::now();
                ready.into_iter().for_each(|ready| service.serve(now, ready));
            }
        }
    }
    let now = Instant::now();
    service
        .report(now, &mut events)
        .and_then(|()| events.record(now, EventKind::Stopped { why: "finished".into() }))
        .and_then(|()| events.finish(now))
        .map_err(Failure::machine)?;
    let Counts { bindings, updates, dropped, refused } = service.server.counts();
    println_lossy(&format!(
        "{bindings} STUN requests, {updates} updates, {dropped} datagrams dropped, {refused} updates refused"
    ));
    Ok(())
}

struct Service {
    server: Server,
    sockets: Sockets,
    locals: Locals,
    newest_dropped: Option<SocketAddr>,
    reported: Counts,
    report_at: Option<Instant>,
}

impl Service {
    fn open(bind: &[SocketAddr]) -> Result<Self, Failure> {
        let defaults: [SocketAddr; 2] =
            [(Ipv4Addr::UNSPECIFIED, DEFAULT_PORT).into(), (Ipv6Addr::UNSPECIFIED, DEFAULT_PORT).into()];
        // A host without IPv6 (or IPv4) is no reason to fail, unless it was asked for.
        let (wanted, optional) = if bind.is_empty() { (&defaults[..], true) } else { (bind, false) };
        let mut sockets = Sockets::new();
        let mut open = 0;
        for (id, local) in (0..).zip(wanted) {
            match sockets.open(Instant::now(), id, Binding { interface: None, local: *local }) {
                Ok(Opened::Bound(local)) => {
                    open += 1;
                    println_lossy(&format!("rendezvous at {local}"));
                }
                Ok(Opened::Later) => {
                    return Err(Failure::machine(format!("{local}: no interface has this address")));
                }
                Err(error) if optional && !error.port_in_use() && !error.not_permitted() => {
                    tracing::warn!("{error}");
                }
                Err(error) => return Err(refused_by_kernel(&error)),
            }
        }
        if open == 0 {
            return Err(Failure::machine("this host has neither IPv4 nor IPv6"));
        }
        Ok(Self {
            server: Server::new(),
            sockets,
            locals: Locals::default(),
            newest_dropped: None,
            reported: Counts::default(),
            report_at: None,
        })
    }

    fn serve(&mut self, now: Instant, ready: Ready) {
        match ready {
            Ready::Read(id) => self.read(now, id),
            Ready::Write(id) => {
                for (to, error) in self.sockets.flush(id) {
                    tracing::debug!(%to, %error, "not sent");
                }
            }
        }
        if self.server.counts() != self.reported {
            self.report_at.get_or_insert(now + REPORT);
        }
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
        for Answer { socket, to, bytes } in answers {
            let Some(local) = locals.find(socket) else { continue };
            let outgoing = Outgoing { to, ecn: None, segment_size: None, source: local.address, bytes };
            if let Err(error) = sockets.send(local.socket, outgoing) {
                tracing::debug!(%to, %error, "not sent");
            }
        }
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

/// A line for people; nobody has to read it.
pub(crate) fn println_lossy(text: &str) {
    use io::Write as _;
    if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
        tracing::debug!(%error, "nobody reads");
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
