//! `iceperf relay`: sockets and time for `ice`'s server: STUN, NAT behaviour discovery, TURN, and what it mimics.
//!
//! Every address is bound by itself on two ports, because behaviour discovery needs to say from which one an answer
//! leaves; a socket for all addresses could not. Left out: TCP, TLS, being behind a NAT oneself.

use crate::{
    cli::{Mimicked, RelayArgs},
    clock::Clock,
    control::Control,
    driver::refused_by_kernel,
    events::Events,
    failure::Failure,
    identity::{IdentityError, create, random_bytes, to_hex},
    interfaces::{Selection, Watcher},
    service::{self, REPORT, Service, println_lossy},
    udp::{Binding, Opened, Outgoing, Sockets},
};
use ice::server::{Mimic, Server, ServerConfig, ServerOutput};
use record::EventKind;
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    path::Path,
    time::{Duration, Instant, SystemTime},
};

/// A host with more addresses names those that it means.
const MOST_ADDRESSES: usize = 16;

/// Runs until it is told to stop.
pub(crate) async fn run(
    args: &RelayArgs,
    clock: Clock,
    events: Events,
    control: Control,
) -> Result<(), Failure> {
    service::run(Relay::open(args)?, clock, events, control).await
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    received: u64,
    dropped: u64,
    allocations: u64,
    /// The kernel had no socket for them.
    refused: u64,
}

struct Relay {
    server: Server,
    sockets: Sockets,
    /// Listening and relayed addresses, and back.
    ids: BTreeMap<SocketAddr, u32>,
    addresses: BTreeMap<u32, SocketAddr>,
    next_id: u32,
    counts: Counts,
    newest_dropped: Option<SocketAddr>,
    reported_dropped: u64,
    report_at: Option<Instant>,
}

impl Relay {
    fn open(args: &RelayArgs) -> Result<Self, Failure> {
        if args.port == args.alternate_port {
            return Err(Failure::arguments("--port and --alternate-port are the same"));
        }
        let (ips, asked_for) = match args.bind.is_empty() {
            true => (own_addresses()?, false),
            false => (args.bind.iter().copied().collect::<BTreeSet<_>>().into_iter().collect(), true),
        };
        let secret = secret(args.secret_file.as_deref())?;
        let mut service = Self {
            server: Server::new(ServerConfig::new(vec![], "iceperf")),
            sockets: Sockets::new(),
            ids: BTreeMap::new(),
            addresses: BTreeMap::new(),
            next_id: 0,
            counts: Counts::default(),
            newest_dropped: None,
            reported_dropped: 0,
            report_at: None,
        };
        for ip in &ips {
            service.listen(*ip, [args.port, args.alternate_port], asked_for)?;
        }
        let listens: Vec<SocketAddr> = service.ids.keys().copied().collect();
        if listens.is_empty() {
            return Err(no_address());
        }
        announce(&listens, args, &secret);
        let mut config = ServerConfig::new(listens, args.realm.clone());
        config.users.push((args.user.clone(), secret));
        config.most_allocations = (args.allocations_per_client, args.allocations);
        config.mimic = args.mimic.map(|Mimicked::WhatsApp| Mimic::WhatsApp { unix_time: unix_time() });
        service.server = Server::new(config);
        Ok(service)
    }

    fn listen(&mut self, ip: IpAddr, ports: [u16; 2], asked_for: bool) -> Result<(), Failure> {
        let now = Instant::now();
        for port in ports {
            let local = SocketAddr::new(ip, port);
            match self.bind(now, local) {
                Ok(Some(_)) => {}
                Ok(None) if asked_for => {
                    return Err(Failure::machine(format!("{local}: no interface has this address")));
                }
                Ok(None) => tracing::warn!("{local}: no interface has this address any more"),
                Err(error) => return Err(refused_by_kernel(&error)),
            }
        }
        Ok(())
    }

    /// None while the address is not there.
    fn bind(&mut self, now: Instant, local: SocketAddr) -> Result<Option<SocketAddr>, crate::udp::OpenError> {
        let id = self.next_id;
        self.next_id += 1;
        match self.sockets.open(now, id, Binding { interface: None, local })? {
            Opened::Bound(local) => {
                self.ids.insert(local, id);
                self.addresses.insert(id, local);
                Ok(Some(local))
            }
            Opened::Later => {
                self.sockets.close(id);
                Ok(None)
            }
        }
    }

    fn drain(&mut self, now: Instant) {
        while let Some(output) = self.server.poll() {
            match output {
                ServerOutput::Transmit { from, to, bytes } => {
                    let Some(id) = self.ids.get(&from) else { continue };
                    let outgoing = Outgoing { to, ecn: None, segment_size: None, source: None, bytes };
                    if let Err(error) = self.sockets.send(*id, outgoing) {
                        tracing::debug!(%to, %error, "not sent");
                    }
                }
                ServerOutput::Open { ticket, ip } => {
                    let relayed = self.bind(now, SocketAddr::new(ip, 0)).unwrap_or_else(|error| {
                        tracing::warn!("{error}");
                        None
                    });
                    match relayed {
                        Some(_) => self.counts.allocations += 1,
                        None => self.counts.refused += 1,
                    }
                    self.server.opened(now, ticket, relayed);
                }
                ServerOutput::Close { relayed } => {
                    if let Some(id) = self.ids.remove(&relayed) {
                        self.addresses.remove(&id);
                        self.sockets.close(id);
                    }
                }
            }
        }
    }
}

impl Service for Relay {
    fn sockets(&mut self) -> &mut Sockets {
        &mut self.sockets
    }

    fn wake(&self) -> Option<Instant> {
        [self.report_at, self.server.poll_timeout()].into_iter().flatten().min()
    }

    fn read(&mut self, now: Instant, id: u32) {
        let Some(at) = self.addresses.get(&id).copied() else { return };
        let Self { server, sockets, counts, newest_dropped, .. } = self;
        let received = sockets.receive(id, |datagram| {
            counts.received += 1;
            if let Err(why) = server.handle_datagram(now, at, datagram.from, datagram.bytes) {
                tracing::debug!(from = %datagram.from, %why, "dropped");
                counts.dropped += 1;
                *newest_dropped = Some(datagram.from);
            }
        });
        if let Err(error) = received {
            tracing::debug!(%error, "receiving failed");
        }
        if self.counts.dropped > self.reported_dropped {
            self.report_at.get_or_insert(now + REPORT);
        }
        self.drain(now);
    }

    fn handle_timeout(&mut self, now: Instant, events: &mut Events) -> io::Result<()> {
        self.server.handle_timeout(now);
        self.drain(now);
        match self.report_at.is_some_and(|at| at <= now) {
            true => self.report(now, events),
            false => Ok(()),
        }
    }

    fn report(&mut self, now: Instant, events: &mut Events) -> io::Result<()> {
        self.report_at = None;
        let dropped = self.counts.dropped;
        if let Some(from) = self.newest_dropped.filter(|_| dropped > self.reported_dropped) {
            let reason = "unknown-protocol".to_owned();
            events.record(now, EventKind::Rejected { reason, count: dropped, from })?;
        }
        tracing::info!(counts = ?self.counts, allocations_now = self.server.relayed().count(), call_ends = self.server.call_ends());
        self.reported_dropped = dropped;
        Ok(())
    }

    fn farewell(&self) -> String {
        let Counts { received, dropped, allocations, refused } = self.counts;
        format!(
            "{received} datagrams, {dropped} dropped, {allocations} allocations, {refused} without a socket"
        )
    }
}

/// Of a clock before 1970 nothing is told.
fn unix_time() -> Duration {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()
}

/// Those of the interfaces that are not virtual.
fn own_addresses() -> Result<Vec<IpAddr>, Failure> {
    let watcher = Watcher::new(Selection::default())
        .map_err(|error| Failure::machine(format!("cannot read the interfaces: {error}")))?;
    let interfaces = watcher.interfaces().values().filter(|interface| interface.up);
    let ips: BTreeSet<IpAddr> = interfaces.flat_map(|interface| interface.addresses.clone()).collect();
    if ips.len() > MOST_ADDRESSES {
        tracing::warn!("{} addresses; the first {MOST_ADDRESSES} are served, --bind names others", ips.len());
    }
    Ok(ips.into_iter().take(MOST_ADDRESSES).collect())
}

fn no_address() -> Failure {
    Failure::machine("no interface has an address to serve")
        .with_help("name one by --bind, perhaps 127.0.0.1")
}

/// The password of the TURN user: in the file, or a new one that is written there if a file is named.
fn secret(file: Option<&Path>) -> Result<String, Failure> {
    let failed = |error: IdentityError| Failure::machine(format!("--secret-file: {error}"));
    let fresh = || random_bytes::<16>().map(|bytes| to_hex(&bytes)).map_err(failed);
    let Some(path) = file else { return fresh() };
    match std::fs::read_to_string(path) {
        Ok(text) => password(&text)
            .map_err(|why| Failure::arguments(format!("--secret-file: {}: {why}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let secret = fresh()?;
            create(path, format!("{secret}\n").as_bytes()).map_err(failed)?;
            Ok(secret)
        }
        Err(error) => Err(Failure::machine(format!("--secret-file: {}: {error}", path.display()))),
    }
}

/// The line of a file for passwords.
pub(crate) fn password(text: &str) -> Result<String, &'static str> {
    let word = text.trim();
    let fits = (1..=128).contains(&word.len()) && word.chars().all(|c| c.is_ascii_graphic());
    fits.then(|| word.to_owned()).ok_or("not one line of 1 to 128 ASCII characters")
}

fn announce(listens: &[SocketAddr], args: &RelayArgs, secret: &str) {
    for listen in listens {
        println_lossy(&format!("relay at {listen}"));
    }
    for (family, is_ipv6) in [("IPv4", false), ("IPv6", true)] {
        let ips: BTreeSet<IpAddr> =
            listens.iter().map(SocketAddr::ip).filter(|ip| ip.is_ipv6() == is_ipv6).collect();
        println_lossy(&format!("NAT behaviour discovery over {family}: {}", discovery(ips.len())));
    }
    let password = match &args.secret_file {
        Some(file) => format!("in {}", file.display()),
        None => secret.to_owned(),
    };
    println_lossy(&format!("TURN: user {}, password {password}, realm {}", args.user, args.realm));
    if args.mimic.is_some() {
        println_lossy("a relay as WhatsApp has them: calls with that password, two ends each");
    }
}

fn discovery(addresses: usize) -> &'static str {
    match addresses {
        0 => "none, there is no address",
        1 => {
            "one address only, so neither mapping nor filtering can be told by it; it takes a second one (--bind)"
        }
        _ => "complete",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_made_once_and_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        let made = secret(Some(&file)).unwrap();
        assert_eq!(made.len(), 32);
        assert_eq!(secret(Some(&file)).unwrap(), made);
        assert_ne!(secret(None).unwrap(), made);
        std::fs::write(&file, "two words\n").unwrap();
        let error = secret(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("not one line"), "{error}");
    }
}
