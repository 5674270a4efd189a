//! The workload `probe`: what the networks between the two peers block. `ice` finds that out; here it gets sockets,
//! candidates of its own, NAT behaviour, and signalling.
//!
//! The client begins it and tells the server, which takes part whatever else it does. Reports travel inside the
//! connection, if there is one, and over rendezvous servers, which are asked on while the probe lasts: on what is being
//! probed, perhaps nothing passes. A client that only probes makes no connection if it can do without.

use super::{Outcome, Output, Peer, Role, Transmit};
use crate::{
    Event, Side,
    control::Frame,
    rendezvous::{self, Description, Version},
};
use ice::{
    SocketId,
    behaviour::{self, ProbeConfig, ProbeOutput},
    blocking::{self, Config, End, Finding, Key, NatClass, Prober, Reach, Report, Route},
};
use rand::RngExt as _;
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    time::Instant,
};

/// What a client that probes needs besides the server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ProbeSpec {
    /// Controls, public hosts that carriers do not know as servers (`iceperf probe control`); one of each family is
    /// asked. The server is told of them.
    pub controls: Vec<SocketAddr>,
    /// Servers that tell how NATs behave (RFC 5780). The server is told of them.
    pub stun: Vec<SocketAddr>,
}

/// What one peer tells the other of the probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProbeWords {
    /// Counts up: what is older than the newest taken is not taken again.
    number: u32,
    controls: Vec<SocketAddr>,
    stun: Vec<SocketAddr>,
    report: Vec<u8>,
}

#[cfg(test)]
impl ProbeWords {
    /// With all the servers that there may be.
    pub(crate) fn example(report: usize) -> Self {
        let servers = |ip: &str| vec![SocketAddr::new(ip.parse().unwrap(), 65_535); MOST_SERVERS];
        let both = || [servers("192.0.2.1"), servers("2001:db8::1")].concat();
        Self { number: u32::MAX, controls: both(), stun: both(), report: vec![7; report] }
    }
}

/// What a message of the rendezvous protocol has room for.
const REPORT_ROOM: usize = 800;
/// Tells the rendezvous session of a probe from that of the candidates: beside a whole list of them, a message has no room
/// for a report, and a list that is cut takes working candidates from the other end.
const SESSION: &str = "probe";
/// Of each kind of server and each family.
const MOST_SERVERS: usize = 2;
/// Sockets of NAT behaviour probers: above those of interfaces, below those of relays.
const FIRST_SOCKET: u32 = 1 << 30;
/// A prober of NAT behaviour needs fewer.
const SOCKETS_EACH: u32 = 1 << 12;

/// The first of each family, each once.
fn limited(servers: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let mut kept: Vec<SocketAddr> = vec![];
    for server in servers {
        let alike = kept.iter().filter(|one| one.is_ipv4() == server.is_ipv4()).count();
        let is_one = !server.ip().is_unspecified() && !server.ip().is_multicast() && server.port() != 0;
        if is_one && alike < MOST_SERVERS && !kept.contains(&server) {
            kept.push(server);
        }
    }
    kept
}

/// The probe of one peer.
#[derive(Debug)]
pub(super) struct Probing {
    prober: Prober,
    spec: ProbeSpec,
    nats: Vec<NatProbe>,
    /// What the other peer is told.
    words: ProbeWords,
    /// Of the other peer: which run, and the newest number.
    taken: Option<(u64, u32)>,
    told: bool,
}

/// Finds out what one socket is behind, by sockets of its own.
#[derive(Debug)]
struct NatProbe {
    of: SocketId,
    interface: String,
    ip: IpAddr,
    first: u32,
    prober: behaviour::Prober,
    told: bool,
}

impl Peer {
    /// Whether this client probes, and has not told what it found.
    pub(super) fn is_to_probe(&self) -> bool {
        let told = self.probing.as_ref().is_some_and(|probing| probing.told);
        self.side == Side::Client && self.config.probe.is_some() && !told
    }

    /// Opens the probe's own session with the rendezvous servers.
    pub(super) fn open_probe_signalling(&mut self, now: Instant) {
        let Some(servers) = self.signalling.as_ref().map(|signalling| signalling.servers().to_vec()) else {
            return;
        };
        if self.probe_signalling.is_none() {
            let (secret, description) = (self.secret.derived(SESSION), self.probe_description());
            let mut client = rendezvous::Client::new(secret, self.side, servers, description);
            client.resume(now);
            self.probe_signalling = Some(client);
        }
    }

    fn probe_description(&self) -> Description {
        let version = Version { instance: self.told_version.instance, number: self.probe_version };
        let description = Description::new(version, String::new(), String::new());
        Description { probe: self.probe_words(), ..description }
    }

    /// The message of the probe's session that is due.
    pub(super) fn poll_probe_signalling(&mut self, now: Instant) -> Option<Vec<u8>> {
        let told = self.probing.as_ref().is_some_and(|probing| probing.told);
        let signalling = self.probe_signalling.as_mut()?;
        if told {
            // Another client may come with the same ticket.
            signalling.stay(now);
        } else {
            signalling.resume(now);
        }
        signalling.poll(now)
    }

    /// Takes a message of a rendezvous server if it is of the probe's session.
    pub(super) fn take_probe_signalling(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        let Some(signalling) = &mut self.probe_signalling else { return false };
        let Ok(description) = signalling.handle(now, from, datagram) else { return false };
        self.probe_hears_server(socket);
        if let Some(words) = description.and_then(|description| description.probe) {
            self.take_probe_words(now, words);
        }
        true
    }

    /// Whether the client is there for nothing else, and can do without a connection.
    pub(super) fn only_probes(&self) -> bool {
        self.probes_alone() && self.signalling.is_some()
    }

    fn probes_alone(&self) -> bool {
        self.config.probe.is_some() && self.config.call.is_none() && self.config.bulk.is_none()
    }

    pub(super) fn begin_probing(&mut self, now: Instant, spec: ProbeSpec) {
        let end = match self.side {
            Side::Client => End::Client,
            Side::Server => End::Server,
        };
        let spec = ProbeSpec { controls: limited(spec.controls), stun: limited(spec.stun) };
        let mut servers = spec.stun.clone();
        if let Some(signalling) = &self.signalling {
            servers.extend(signalling.servers());
        }
        let key = Key::new(&self.secret.probe_key());
        let controls = spec.controls.clone();
        let seed = self.secret.probe_entropy(self.side, self.rng.random());
        let prober = Prober::new(Config { end, key, controls, servers, seed });
        let words = ProbeWords {
            number: 0,
            controls: spec.controls.clone(),
            stun: spec.stun.clone(),
            report: vec![],
        };
        self.probing = Some(Probing { prober, spec, nats: vec![], words, taken: None, told: false });
        self.open_probe_signalling(now);
        for (socket, local) in self.sockets.bound().collect::<Vec<_>>() {
            self.probe_from(now, socket, local);
        }
    }

    pub(super) fn start_probing(&mut self, now: Instant) {
        if let Some(probing) = &mut self.probing {
            probing.prober.start(now);
        }
    }

    /// A socket is there that the probe is to be made from, too.
    pub(super) fn probe_from(&mut self, now: Instant, socket: SocketId, local: SocketAddr) {
        let seed = self.secret.probe_entropy(self.side, self.rng.random());
        let Some(probing) = &mut self.probing else { return };
        let interface = self.sockets.interface_of(socket);
        let servers: Vec<SocketAddr> =
            probing.spec.stun.iter().filter(|server| server.is_ipv4() == local.is_ipv4()).copied().collect();
        probing.prober.add_socket(socket, &interface, local, !servers.is_empty());
        if !servers.is_empty() {
            let mut prober = behaviour::Prober::new(ProbeConfig { servers, lifetime: None, seed });
            prober.start(now);
            let first = FIRST_SOCKET + probing.nats.len() as u32 * SOCKETS_EACH;
            probing.nats.push(NatProbe { of: socket, interface, ip: local.ip(), first, prober, told: false });
        }
    }

    pub(super) fn stop_probing_from(&mut self, socket: SocketId) {
        if let Some(probing) = &mut self.probing {
            probing.prober.remove_socket(socket);
        }
    }

    /// Whether the socket was one of the probe's own.
    pub(super) fn probe_opened(&mut self, now: Instant, socket: SocketId, local: Option<SocketAddr>) -> bool {
        let Some((nat, number)) = self.nat_probe(socket) else { return false };
        // The driver may have bound it to no address at all.
        let local = local.map(|local| SocketAddr::new(nat.ip, local.port()));
        nat.prober.opened(now, number, local);
        true
    }

    fn nat_probe(&mut self, socket: SocketId) -> Option<(&mut NatProbe, u32)> {
        let place = socket.0.checked_sub(FIRST_SOCKET)?;
        let nat = self.probing.as_mut()?.nats.get_mut((place / SOCKETS_EACH) as usize)?;
        Some((nat, place % SOCKETS_EACH))
    }

    /// Takes what is a probe or an answer to one.
    pub(super) fn take_probe(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        datagram: &[u8],
    ) -> bool {
        if let Some((nat, number)) = self.nat_probe(socket) {
            nat.prober.handle_datagram(now, number, from, datagram);
            return true;
        }
        let Some(probing) = &mut self.probing else { return false };
        probing.prober.handle_datagram(now, socket, from, datagram)
    }

    /// A rendezvous server was heard over this socket.
    pub(super) fn probe_hears_server(&mut self, socket: SocketId) {
        if let Some(probing) = &mut self.probing {
            probing.prober.heard_server(socket);
        }
    }

    /// What came of [`Output::Connect`].
    pub fn connection_tried(&mut self, now: Instant, socket: SocketId, reach: Reach) {
        if let Some(probing) = &mut self.probing {
            probing.prober.set_reach(socket, reach);
            self.pump(now);
        }
    }

    /// What came of [`Output::FindRoute`].
    pub fn route_found(&mut self, now: Instant, socket: SocketId, to: SocketAddr, route: Route) {
        if let Some(probing) = &mut self.probing {
            probing.prober.set_route(socket, to, route);
            self.pump(now);
        }
    }

    /// Whether reports have to be exchanged.
    pub(super) fn is_probing(&self) -> bool {
        self.probing.as_ref().is_some_and(|probing| !probing.told)
    }

    pub(super) fn probing_deadline(&self) -> Option<Instant> {
        let probing = self.probing.as_ref().filter(|probing| !probing.told)?;
        let nats = probing.nats.iter().filter_map(|nat| nat.prober.poll_timeout());
        nats.chain(probing.prober.poll_timeout()).min()
    }

    /// Does what is due, and tells at the end. Whether there was anything to do.
    pub(super) fn drive_probing(&mut self, now: Instant) -> bool {
        let Some(probing) = &mut self.probing else { return false };
        if probing.told {
            return false;
        }
        let before = self.outputs.len();
        let mut outputs = vec![];
        probing.drive(now, &mut outputs);
        let news = probing.prober.take_report(now).map(|report| report.to_bytes(REPORT_ROOM));
        let done = probing.prober.is_done(now);
        self.outputs.extend(std::iter::from_fn(|| probing.poll_nat()));
        for output in outputs {
            let output = self.placed(output);
            self.outputs.extend(output);
        }
        if let Some(report) = news {
            self.tell_report(now, report);
        }
        if done {
            self.conclude_probing(now);
        }
        self.outputs.len() > before
    }

    /// With what the driver needs to know of the socket.
    fn placed(&self, output: blocking::Output) -> Option<Output> {
        let of = |socket: SocketId| {
            let known = self.sockets.get(socket)?;
            Some((known.interface.clone(), known.ip))
        };
        Some(match output {
            blocking::Output::Transmit(ice::Transmit { socket, to, bytes }) => {
                of(socket).map(|_| ())?;
                Output::Transmit(Transmit { socket, to, ecn: None, segment_size: None, bytes })
            }
            blocking::Output::Connect { socket, to } => {
                let (interface, local) = of(socket)?;
                Output::Connect { socket, interface, local, to }
            }
            blocking::Output::FindRoute { socket, to } => {
                let (interface, local) = of(socket)?;
                Output::FindRoute { socket, interface, local, to }
            }
        })
    }

    fn tell_report(&mut self, now: Instant, report: Vec<u8>) {
        let Some(probing) = &mut self.probing else { return };
        probing.words.number += 1;
        probing.words.report = report;
        self.tell_probe_inside();
        self.probe_version += 1;
        let description = self.probe_description();
        if let Some(signalling) = &mut self.probe_signalling {
            signalling.describe(now, description);
        }
    }

    pub(super) fn tell_probe_inside(&mut self) {
        if self.is_open()
            && let Some(words) = self.probe_words()
        {
            self.send_frame(&Frame::Probe(words));
        }
    }

    /// What the other peer is to know of the probe.
    pub(super) fn probe_words(&self) -> Option<ProbeWords> {
        let probing = self.probing.as_ref()?;
        (!probing.words.report.is_empty()).then(|| probing.words.clone())
    }

    /// What the other peer says, authenticated by the seal or the connection that it came in.
    pub(super) fn take_probe_words(&mut self, now: Instant, words: ProbeWords) {
        let Some(report) = Report::from_bytes(&words.report) else { return };
        let known = self.probing.as_ref().and_then(|probing| probing.taken);
        if known.is_some_and(|(run, number)| run == report.run && number >= words.number) {
            return;
        }
        // Another client with the ticket, or the same one again: it begins anew.
        let new = self.side == Side::Server && known.is_none_or(|(run, _)| run != report.run);
        if new {
            self.close_probe_sockets();
            self.begin_probing(now, ProbeSpec { controls: words.controls, stun: words.stun });
        }
        let Some(probing) = &mut self.probing else { return };
        probing.taken = Some((report.run, words.number));
        probing.prober.handle_report(now, report);
        // Not before it is known whose run it is.
        self.start_probing(now);
    }

    fn close_probe_sockets(&mut self) {
        let Some(probing) = &mut self.probing else { return };
        for nat in &mut probing.nats {
            nat.prober.stop();
            while let Some(output) = nat.prober.poll() {
                if let ProbeOutput::Close { socket } = output {
                    self.outputs.push_back(Output::CloseSocket { socket: SocketId(nat.first + socket) });
                }
            }
        }
    }

    fn conclude_probing(&mut self, now: Instant) {
        self.tell_findings();
        if self.side == Side::Client && self.probes_alone() {
            self.stop(now);
        }
    }

    /// At the end of the probe, or of the peer.
    pub(super) fn tell_findings(&mut self) {
        let Some(probing) = self.probing.as_mut().filter(|probing| !probing.told) else { return };
        probing.told = true;
        let findings: Vec<Finding> = probing.prober.findings();
        if let Role::Client { .. } = self.config.role {
            findings.into_iter().for_each(|finding| self.event(Event::Blocking(Box::new(finding))));
        }
    }

    /// How a client ends that was there for the probe alone.
    pub(super) fn outcome_of_probing(&self) -> Option<Outcome> {
        let probing = self.probing.as_ref().filter(|_| self.probes_alone())?;
        Some(match probing.prober.other_report() {
            Some(_) => Outcome::Finished,
            None => Outcome::Unreachable { why: "the server did not take part in the probe".into() },
        })
    }
}

impl Probing {
    fn drive(&mut self, now: Instant, outputs: &mut Vec<blocking::Output>) {
        for nat in &mut self.nats {
            if nat.prober.poll_timeout().is_some_and(|at| at <= now) {
                nat.prober.handle_timeout(now);
            }
            if nat.prober.is_done() && !nat.told {
                nat.told = true;
                self.prober.set_nat(nat.of, NatClass::from(nat.prober.report()));
            }
        }
        if self.prober.poll_timeout().is_some_and(|at| at <= now) {
            self.prober.handle_timeout(now);
        }
        outputs.extend(std::iter::from_fn(|| self.prober.poll()));
    }

    /// What the probers of NAT behaviour want.
    fn poll_nat(&mut self) -> Option<Output> {
        self.nats.iter_mut().find_map(|nat| {
            let place = |socket: u32| SocketId(nat.first + socket);
            Some(match nat.prober.poll()? {
                ProbeOutput::Open { socket } => Output::OpenSocket {
                    socket: place(socket),
                    interface: nat.interface.clone(),
                    local: nat.ip,
                    port: 0,
                },
                ProbeOutput::Close { socket } => Output::CloseSocket { socket: place(socket) },
                ProbeOutput::Transmit { socket, to, bytes } => {
                    let socket = place(socket);
                    Output::Transmit(Transmit { socket, to, ecn: None, segment_size: None, bytes })
                }
            })
        })
    }
}
