//! The loop of what serves until it is told to stop: `iceperf relay` and `iceperf rendezvous`. It owns signals, timer and
//! control, and says in the events that it is ready and that it ends; the service has the sockets and what is behind them.

use crate::{
    clock::Clock,
    control::{self, Control},
    driver::Signals,
    events::Events,
    failure::Failure,
    timer::Timer,
    udp::{Ready, Sockets},
};
use record::{Command, EventKind};
use std::{
    io,
    time::{Duration, Instant},
};

/// Counts are told at most this often.
pub(crate) const REPORT: Duration = Duration::from_secs(1);

/// What is served.
pub(crate) trait Service {
    /// Its sockets.
    fn sockets(&mut self) -> &mut Sockets;

    /// When [`handle_timeout`](Self::handle_timeout) has something to do.
    fn wake(&self) -> Option<Instant>;

    /// Something has arrived on this socket.
    fn read(&mut self, now: Instant, socket: u32);

    /// Does what is due.
    fn handle_timeout(&mut self, now: Instant, events: &mut Events) -> io::Result<()>;

    /// Tells its counts.
    fn report(&mut self, now: Instant, events: &mut Events) -> io::Result<()>;

    /// The last line for people.
    fn farewell(&self) -> String;
}

/// Runs until it is told to stop.
pub(crate) async fn run(
    mut service: impl Service,
    clock: Clock,
    mut events: Events,
    mut control: Control,
) -> Result<(), Failure> {
    let mut timer = Timer::new(clock).map_err(Failure::machine)?;
    let mut signals = Signals::new().map_err(Failure::machine)?;
    begin(&mut events, &control).map_err(Failure::machine)?;
    loop {
        events.beat(Instant::now()).map_err(Failure::machine)?;
        let next = service.wake().into_iter().chain(events.next_beat()).min();
        timer.set(next).map_err(Failure::machine)?;
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
                let now = Instant::now();
                if service.wake().is_some_and(|wake| wake <= now) {
                    service.handle_timeout(now, &mut events).map_err(Failure::machine)?;
                }
            }
            ready = service.sockets().ready() => {
                let now = Instant::now();
                ready.into_iter().for_each(|ready| serve(&mut service, now, ready));
            }
        }
    }
    let now = Instant::now();
    service.report(now, &mut events).and_then(|()| end(now, events)).map_err(Failure::machine)?;
    println_lossy(&service.farewell());
    Ok(())
}

fn begin(events: &mut Events, control: &Control) -> io::Result<()> {
    let now = Instant::now();
    if !control.present() {
        events.set_zero(now)?;
    }
    let version = env!("CARGO_PKG_VERSION").to_owned();
    events.record(now, EventKind::Ready { version, pid: std::process::id() })?;
    events.record(now, EventKind::Started {})
}

/// Does what a socket is ready for.
pub(crate) fn serve(service: &mut impl Service, now: Instant, ready: Ready) {
    match ready {
        Ready::Read(socket) => service.read(now, socket),
        Ready::Write(socket) => {
            for (to, error) in service.sockets().flush(socket) {
                tracing::debug!(%to, %error, "not sent");
            }
        }
    }
}

fn end(now: Instant, mut events: Events) -> io::Result<()> {
    events.record(now, EventKind::Stopped { why: "finished".into() })?;
    events.finish(now)
}

/// A line for people; nobody has to read it.
pub(crate) fn println_lossy(text: &str) {
    use io::Write as _;
    if let Err(error) = writeln!(io::stdout().lock(), "{text}") {
        tracing::debug!(%error, "nobody reads");
    }
}
