//! `iceperf probe control`: answers the probes of two peers on a fresh port, and takes their TCP connections.
//!
//! It is worth something only where no NAT or firewall is before it, and nobody takes it for a server.

use crate::{
    cli::ProbeControlArgs,
    clock::Clock,
    control::{self, Control},
    driver::{Signals, refused_by_kernel},
    events::Events,
    failure::Failure,
    identity::random_bytes,
    setup,
    timer::Timer,
    udp::{Binding, Opened, Outgoing, Ready, Sockets},
};
use peer::blocking::{Key, Responder};
use record::{Command, EventKind};
use std::{
    io::{self, Write as _},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

/// Runs until it is told to stop.
pub(crate) async fn run(
    args: &ProbeControlArgs,
    clock: Clock,
    mut events: Events,
    mut control: Control,
) -> Result<(), Failure> {
    let ticket = setup::ticket(args.ticket.as_ref(), args.ticket_file.as_deref())?;
    let key = Key::new(&ticket.secret.probe_key());
    let seed = u64::from_ne_bytes(random_bytes().map_err(Failure::machine)?);
    let responder = Responder::new(key, seed);
    let mut sockets = open(&args.bind)?;
    let mut signals = Signals::new().map_err(Failure::machine)?;
    let mut timer = Timer::new(clock).map_err(Failure::machine)?;
    let start = Instant::now();
    if !control.present() {
        events.set_zero(start).map_err(Failure::machine)?;
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events
        .record(start, EventKind::Ready { version, pid: std::process::id() })
        .and_then(|()| events.record(start, EventKind::Started {}))
        .map_err(Failure::machine)?;
    let mut answered = 0_u64;
    loop {
        events.beat(Instant::now()).map_err(Failure::machine)?;
        timer.set(events.next_beat()).map_err(Failure::machine)?;
        tokio::select! {
            biased;
            () = signals.stop() => break,
            command = control.next() => match command.map_err(Failure::arguments)? {
                Command::Stop {} => break,
                // It answers all the same; this is only what its events count from.
                Command::Start { monotonic_ns } => {
                    if let Some(zero) = clock.instant(Duration::from_nanos(monotonic_ns)) {
                        events.set_zero(zero).map_err(Failure::machine)?;
                    }
                }
                command => return Err(control::for_peers_only(&command)),
            },
            // For the heartbeat alone.
            expired = timer.expired() => expired.map_err(Failure::machine)?,
            ready = sockets.ready() => {
                ready.into_iter().for_each(|ready| answered += serve(&mut sockets, &responder, ready));
            }
        }
    }
    let now = Instant::now();
    events
        .record(now, EventKind::Stopped { why: "finished".into() })
        .and_then(|()| events.finish(now))
        .map_err(Failure::machine)?;
    say(&format!("{answered} probes answered"));
    Ok(())
}

/// UDP on each address, and TCP on the same port.
fn open(bind: &[SocketAddr]) -> Result<Sockets, Failure> {
    let any: [SocketAddr; 2] = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    let wanted = if bind.is_empty() { &any[..] } else { bind };
    let mut sockets = Sockets::new();
    for (id, local) in (0..).zip(wanted) {
        match sockets.open(Instant::now(), id, Binding { interface: None, local: *local }) {
            Ok(Opened::Bound(local)) => {
                accept(local)?;
                say(&format!("control at {local}"));
            }
            Ok(Opened::Later) => {
                return Err(Failure::machine(format!("{local}: no interface has this address")));
            }
            // A host without IPv6 is no reason to fail, unless it was asked for.
            Err(error) if bind.is_empty() && local.is_ipv6() => tracing::warn!("{error}"),
            Err(error) => return Err(refused_by_kernel(&error)),
        }
    }
    Ok(sockets)
}

/// Takes connections and closes them: that they come about is all that is asked.
fn accept(local: SocketAddr) -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::machine(format!("{local}, TCP: {error}"));
    let domain = socket2::Domain::for_address(local);
    let kind = socket2::Type::STREAM.nonblocking().cloexec();
    let socket = socket2::Socket::new(domain, kind, Some(socket2::Protocol::TCP)).map_err(failed)?;
    if local.is_ipv6() {
        socket.set_only_v6(true).map_err(failed)?;
    }
    socket.set_reuse_address(true).map_err(failed)?;
    socket.bind(&local.into()).map_err(failed)?;
    socket.listen(64).map_err(failed)?;
    let listener = TcpListener::from_std(socket.into()).map_err(failed)?;
    tokio::spawn(async move {
        // An error is of one connection, or there are too many: either passes.
        loop {
            if let Err(error) = listener.accept().await {
                tracing::debug!(%error, "not accepted");
                tokio::task::yield_now().await;
            }
        }
    });
    Ok(())
}

/// How many were answered.
fn serve(sockets: &mut Sockets, responder: &Responder, ready: Ready) -> u64 {
    let id = match ready {
        Ready::Read(id) => id,
        Ready::Write(id) => {
            for (to, error) in sockets.flush(id) {
                tracing::debug!(%to, %error, "not sent");
            }
            return 0;
        }
    };
    let mut answers = vec![];
    let received = sockets.receive(id, |datagram| {
        if let Some(bytes) = responder.answer(datagram.from, datagram.bytes) {
            // From the address that was asked, or a NAT on the way would drop it.
            let (to, source) = (datagram.from, datagram.to);
            answers.push(Outgoing { to, ecn: None, segment_size: None, source, bytes });
        }
    });
    if let Err(error) = received {
        tracing::debug!(%error, "receiving failed");
    }
    let count = answers.len() as u64;
    for answer in answers {
        let to = answer.to;
        if let Err(error) = sockets.send(id, answer) {
            tracing::debug!(%to, %error, "not sent");
        }
    }
    count
}

/// Who reads it may have left.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
