//! `--ice webrtc-ice`: an ordinary ICE agent in the place of ours, to compare with.
//!
//! webrtc-ice finds one pair of candidates and keeps it. To the peer that pair is the only interface there is, with a
//! made-up address at either end; QUIC runs over it as over any other, and the peer's agent checks it once before. Every
//! time and every state in the record is webrtc-ice's own (`view`).
//!
//! What an application does around its agent is here: candidates and credentials over a rendezvous server
//! (`signalling`), and an ICE restart (RFC 8445 section 9) once the agent says `failed`, by whichever end notices
//! first. Not at `disconnected`, which may pass: WebRTC's `restartIce` is documented for `failed`. Nothing else is
//! done about a loss: interfaces that go or come are recorded and mean nothing to the agent.
//!
//! Left out: a policy for interfaces, disguises, and binding to devices. webrtc-ice has none.

mod agent;
mod config;
mod frame;
mod signalling;
mod view;

pub(crate) use config::{Config, Meeting, SERVER};

use crate::{
    failure::Failure,
    identity,
    interfaces::{Change, Interface},
    map,
    udp::Ready,
};
use agent::{Handle, News, Order, Start};
use peer::{
    CandidateKind, Fingerprint, InterfaceChange, InterfaceKind, Outcome, RemoteCandidate, Side, SocketId,
    Transmit,
    rendezvous::{DescribedCandidate, Description, MAX_CANDIDATES, Version},
};
use record::{EventKind, PairState};
use signalling::Signalling;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Instant,
};
use view::View;
use webrtc_ice::state::ConnectionState;

/// The interface that the peer sees.
const INTERFACE: &str = "ice0";
/// Ends of the made-up link, from the first block for documentation (RFC 5737): no real network has them.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
/// Each is asked from each family; more would only cost sockets.
const MOST_STUN_SERVERS: usize = 4;

/// ICE username fragment and password.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Credentials {
    ufrag: String,
    pwd: String,
}

/// webrtc-ice in the place of sockets.
pub(crate) struct Arm {
    config: Config,
    signalling: Signalling,
    /// From time zero on.
    agent: Option<Handle>,
    interfaces: BTreeMap<String, Interface>,
    view: View,
    /// The peer's socket on the made-up interface.
    socket: Option<SocketId>,
    session: Session,
    state: ConnectionState,
    /// A pair worked at some time.
    was_connected: bool,
    outputs: VecDeque<Output>,
}

/// What both ends know of each other, from one restart to the next.
#[derive(Debug)]
struct Session {
    /// Counts the restarts, from 1. Both ends are at the same number, or one is about to follow.
    generation: u32,
    credentials: Credentials,
    version: Version,
    candidates: Vec<DescribedCandidate>,
    /// The agent was told to restart, and has not yet.
    restarting: bool,
    /// The agent has the other end's credentials of this generation.
    remote_known: bool,
    remote_candidates: BTreeSet<SocketAddr>,
    /// Newest state of the other end that was taken.
    taken: Option<Version>,
}

/// What the driver is to do.
#[derive(Debug)]
pub(crate) enum Output {
    /// Record it.
    Record(EventKind),
    /// Tell the peer of its interface.
    Interface(InterfaceChange),
    /// Give the peer a datagram: on this socket, from this sender.
    Datagram(SocketId, SocketAddr, Vec<u8>),
}

/// What woke the arm.
#[derive(Debug)]
pub(crate) struct Woken(Reason);

#[derive(Debug)]
enum Reason {
    Agent(News),
    Signalling(Vec<Ready>),
}

/// Waits for an arm, if there is one. Cancelling loses nothing.
pub(crate) async fn next(arm: &mut Option<Arm>) -> Woken {
    let Some(Arm { agent, signalling, .. }) = arm else { return pending().await };
    let news = async {
        match agent {
            Some(agent) => agent.next().await,
            None => pending().await,
        }
    };
    tokio::select! {
        biased;
        news = news => Woken(Reason::Agent(news)),
        ready = signalling.ready() => Woken(Reason::Signalling(ready)),
    }
}

impl Arm {
    /// Binds the sockets for signalling. Needs the runtime.
    pub(crate) fn new(config: Config) -> Result<Self, Failure> {
        let session = Session::new()?;
        let first = session.description(config.fingerprint);
        let signalling = Signalling::open(&config.secret, config.side, &config.meeting, first)?;
        Ok(Self {
            config,
            signalling,
            agent: None,
            interfaces: BTreeMap::new(),
            view: View::default(),
            socket: None,
            session,
            state: ConnectionState::New,
            was_connected: false,
            outputs: VecDeque::new(),
        })
    }

    /// Addresses at which clients meet this process; none where they meet elsewhere.
    pub(crate) fn addresses(&self) -> Vec<SocketAddr> {
        let bound = self.signalling.bound();
        let own = self.interfaces.values().flat_map(|interface| &interface.addresses);
        own.filter_map(|ip| {
            let same_family = bound.iter().find(|local| local.is_ipv4() == ip.is_ipv4())?;
            Some(SocketAddr::new(*ip, same_family.port()))
        })
        .collect()
    }

    /// An interface is there, changed or is gone: recorded, and nothing more.
    pub(crate) fn change_interface(&mut self, change: Change) {
        let event = match map::change(change.clone()) {
            InterfaceChange::Changed(interface) => peer::Event::Interface(interface),
            InterfaceChange::Removed(interface) => peer::Event::InterfaceRemoved { interface },
        };
        match change {
            Change::Changed(interface) => {
                self.view.interface(&interface.name, &interface.addresses);
                self.interfaces.insert(interface.name.clone(), interface);
            }
            Change::Removed(name) => drop(self.interfaces.remove(&name)),
        }
        self.record(map::event(event));
    }

    /// Time zero.
    pub(crate) fn start(&mut self, now: Instant) {
        let met: &[SocketAddr] = match &self.config.meeting {
            Meeting::At(servers) => servers,
            Meeting::Here(_) => &[],
        };
        let stun = self.config.stun.iter().chain(met).copied().take(MOST_STUN_SERVERS).collect();
        self.agent = Some(Handle::start(Start {
            side: self.config.side,
            credentials: self.session.credentials.clone(),
            stun,
            relays: self.config.relays.clone(),
            interfaces: self.interfaces.keys().cloned().collect(),
        }));
        self.signalling.resume(now);
    }

    /// When [`Arm::catch_up`] is to be called at the latest.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.agent.as_ref().and_then(|_| self.signalling.deadline())
    }

    /// Does what time asks for.
    pub(crate) fn catch_up(&mut self, now: Instant) {
        if self.deadline().is_some_and(|at| at <= now) {
            let descriptions = self.signalling.send(now);
            self.take_descriptions(now, descriptions);
        }
    }

    /// Deals with what woke it.
    pub(crate) fn handle(&mut self, now: Instant, woken: Woken) {
        match woken.0 {
            Reason::Signalling(ready) => {
                let descriptions = self.signalling.receive(now, ready);
                self.take_descriptions(now, descriptions);
            }
            Reason::Agent(News::Datagram(datagram)) => {
                if let Some(socket) = self.socket {
                    let datagram = frame::unwrap(&datagram).to_vec();
                    self.outputs.push_back(Output::Datagram(socket, self.remote(), datagram));
                }
            }
            Reason::Agent(News::Candidate(found)) => self.on_candidate(now, found),
            Reason::Agent(News::Restarted) => self.session.restarting = false,
            Reason::Agent(News::State(state)) => self.on_state(now, state),
            Reason::Agent(News::Selected(pair)) => self.select(&pair),
            Reason::Agent(News::Broken(why)) => {
                tracing::warn!("webrtc-ice: {why}");
                self.record_state("broken", None);
            }
        }
    }

    /// What the driver is to do next.
    pub(crate) fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// The peer opens its socket, which is this arm.
    pub(crate) fn open(&mut self, socket: SocketId) -> SocketAddr {
        self.socket = Some(socket);
        self.local()
    }

    /// The peer closes it.
    pub(crate) fn close(&mut self, socket: SocketId) {
        self.socket.take_if(|open| *open == socket);
    }

    /// Sends over the selected pair what is for the other end.
    pub(crate) fn transmit(&mut self, transmit: &Transmit) {
        let Some(agent) = self.agent.as_ref().filter(|_| transmit.to == self.remote()) else { return };
        let size = transmit.segment_size.unwrap_or(transmit.bytes.len()).max(1);
        transmit.bytes.chunks(size).for_each(|datagram| agent.send(frame::wrap(datagram).into_owned()));
    }

    /// Sends what is still on its way; the program is about to end.
    pub(crate) async fn finish(&mut self) {
        if let Some(agent) = &mut self.agent {
            agent.finish().await;
        }
    }

    /// An event of the peer as it goes into the record, if it does.
    pub(crate) fn translate(&mut self, event: EventKind) -> Option<EventKind> {
        self.view.translate(event)
    }

    /// Why there was no connection is a matter of webrtc-ice's as long as it found no pair.
    pub(crate) fn outcome(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unreachable { .. } if !self.was_connected => {
                let why = if self.session.taken.is_none() {
                    "nobody with this ticket's secret and webrtc-ice came to meet".to_owned()
                } else {
                    format!("webrtc-ice found no pair that works; it is {}", word(self.state))
                };
                Outcome::Unreachable { why }
            }
            other => other,
        }
    }

    fn local(&self) -> SocketAddr {
        if self.config.side == Side::Client { self.client() } else { SERVER }
    }

    fn remote(&self) -> SocketAddr {
        if self.config.side == Side::Client { SERVER } else { self.client() }
    }

    /// Another one after each restart, so that what the peers still have to tell each other of the old link is not
    /// taken for the new one.
    fn client(&self) -> SocketAddr {
        SocketAddr::new(CLIENT, client_port(self.session.generation))
    }

    fn record(&mut self, event: EventKind) {
        self.outputs.push_back(Output::Record(event));
    }

    fn record_state(&mut self, state: &str, counts: Option<(usize, usize)>) {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        self.record(EventKind::IceState {
            agent: "webrtc-ice".to_owned(),
            state: state.to_owned(),
            generation: self.session.generation,
            pairs: counts.map(|(pairs, _)| count(pairs)),
            answered: counts.map(|(_, answered)| count(answered)),
        });
    }

    fn on_candidate(&mut self, now: Instant, found: agent::Found) {
        if self.session.restarting {
            return;
        }
        let agent::Found { kind, address, base, priority, foundation } = found;
        let towards = match &self.config.meeting {
            Meeting::At(servers) => servers.iter().find(|server| server.is_ipv4() == address.is_ipv4()),
            Meeting::Here(_) => None,
        };
        let (interface, base) = self.view.place(base, towards.copied().unwrap_or(agent::NOWHERE));
        let socket = SocketId(0);
        let candidate = peer::LocalCandidate { kind, address, socket, base, priority, foundation, interface };
        self.record(map::event(peer::Event::LocalCandidate(candidate.clone())));
        if self.session.candidates.len() < MAX_CANDIDATES {
            self.session.candidates.push(DescribedCandidate::new(&candidate));
            self.describe(now);
        }
    }

    fn describe(&mut self, now: Instant) {
        self.session.version.number += 1;
        self.signalling.describe(now, self.session.description(self.config.fingerprint));
    }

    fn on_state(&mut self, now: Instant, told: agent::State) {
        let agent::State { state, pair, pairs, answered } = told;
        let before = std::mem::replace(&mut self.state, state);
        self.record_state(word(state), Some((pairs, answered)));
        match state {
            ConnectionState::Connected | ConnectionState::Completed => {
                self.was_connected = true;
                if let Some(pair) = &pair {
                    self.select(pair);
                }
                if before == ConnectionState::Disconnected {
                    self.outputs.extend(self.view.enter(PairState::Up, "heard again").map(Output::Record));
                }
                self.signalling.calm_down(now);
                self.set_link(true);
            }
            ConnectionState::Disconnected => {
                self.outputs.extend(self.view.enter(PairState::Suspect, "disconnected").map(Output::Record));
                self.outputs.extend(self.view.detected().map(Output::Record));
                self.signalling.resume(now);
            }
            ConnectionState::Failed if !self.session.restarting => {
                self.outputs.extend(self.view.enter(PairState::Down, "failed").map(Output::Record));
                self.restart(now, self.session.generation.saturating_add(1));
            }
            _ => {}
        }
    }

    fn select(&mut self, pair: &agent::Pair) {
        let events = self.view.select(pair);
        self.outputs.extend(events.into_iter().map(Output::Record));
    }

    /// An ICE restart (RFC 8445 section 9): other credentials, candidates gathered anew, and the other end is told.
    fn restart(&mut self, now: Instant, generation: u32) {
        let credentials = match Credentials::new(generation) {
            Ok(credentials) => credentials,
            Err(error) => {
                tracing::warn!("no ICE restart: {error}");
                return;
            }
        };
        if self.config.side == Side::Client {
            self.set_link(false);
        }
        let session = &mut self.session;
        (session.generation, session.credentials) = (generation, credentials.clone());
        (session.restarting, session.remote_known) = (true, false);
        session.candidates.clear();
        session.remote_candidates.clear();
        if let Some(agent) = &self.agent {
            agent.order(Order::Restart(credentials));
        }
        self.record_state("restart", None);
        self.signalling.resume(now);
        self.describe(now);
    }

    /// The made-up link is there from the first pair on. A client's goes with a restart and comes with the pair that is
    /// found then, so that its peer opens its path anew: sooner than QUIC's own timers would after a long silence.
    fn set_link(&mut self, carrier: bool) {
        self.outputs.push_back(Output::Interface(InterfaceChange::Changed(peer::Interface {
            name: INTERFACE.to_owned(),
            // The cheapest kind; there is no other to choose from.
            kind: InterfaceKind::Lan,
            up: true,
            carrier,
            addresses: vec![self.local().ip()],
            metric: None,
        })));
    }

    fn take_descriptions(&mut self, now: Instant, descriptions: Vec<Description>) {
        for description in descriptions {
            self.take(now, description);
        }
    }

    fn take(&mut self, now: Instant, description: Description) {
        let Some(generation) = generation_of(&description.ufrag) else {
            tracing::debug!("a description of another kind of agent");
            return;
        };
        // A second holder of the ticket must not disturb the call that is there.
        let other = self.session.taken.is_some_and(|taken| taken.instance != description.version.instance);
        let old = !description.version.is_news_after(self.session.taken);
        if old || (other && self.was_connected) || generation < self.session.generation {
            return;
        }
        self.session.taken = Some(description.version);
        if generation > self.session.generation {
            self.restart(now, generation);
        }
        let Some(agent) = &self.agent else { return };
        if !std::mem::replace(&mut self.session.remote_known, true) {
            let Description { ufrag, pwd, .. } = &description;
            agent.order(Order::Remote(Credentials { ufrag: ufrag.clone(), pwd: pwd.clone() }));
        }
        for candidate in description.candidates.iter().take(MAX_CANDIDATES) {
            if self.session.remote_candidates.insert(candidate.address) {
                self.add_remote(&candidate.to_remote());
            }
        }
    }

    fn add_remote(&mut self, candidate: &RemoteCandidate) {
        if candidate.kind != CandidateKind::Prflx
            && let Some(interface) = &candidate.interface
        {
            self.view.remote_interface(candidate.address, interface);
        }
        if let Some(agent) = &self.agent {
            agent.order(Order::Candidate(candidate.clone()));
        }
        self.record(map::event(peer::Event::RemoteCandidate(candidate.clone())));
    }
}

impl Session {
    fn new() -> Result<Self, Failure> {
        let instance = u64::from_ne_bytes(identity::random_bytes().map_err(Failure::machine)?);
        Ok(Self {
            generation: 1,
            credentials: Credentials::new(1).map_err(Failure::machine)?,
            version: Version { instance, number: 1 },
            candidates: vec![],
            restarting: false,
            remote_known: false,
            remote_candidates: BTreeSet::new(),
            taken: None,
        })
    }

    fn description(&self, fingerprint: Option<Fingerprint>) -> Description {
        let Credentials { ufrag, pwd } = &self.credentials;
        let mut description = Description::new(self.version, ufrag.clone(), pwd.clone());
        description.fingerprint = fingerprint.map(|fingerprint| fingerprint.0);
        description.candidates = self.candidates.clone();
        description
    }
}

impl Credentials {
    /// New ones: 64 and 128 bits, above the minimum of RFC 8445 section 5.3. The fragment begins with the generation,
    /// so that the other end can tell an answer to its restart from a restart of ours.
    fn new(generation: u32) -> Result<Self, identity::IdentityError> {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let ufrag = format!("{generation}x{}", hex(&identity::random_bytes::<8>()?));
        Ok(Self { ufrag, pwd: hex(&identity::random_bytes::<16>()?) })
    }
}

fn client_port(generation: u32) -> u16 {
    const FIRST: u16 = 1024;
    const COUNT: u16 = u16::MAX - FIRST;
    FIRST + (generation % u32::from(COUNT)) as u16
}

fn generation_of(ufrag: &str) -> Option<u32> {
    ufrag.split_once('x')?.0.parse().ok().filter(|generation| *generation > 0)
}

/// As WebRTC's RTCIceConnectionState has it.
fn word(state: ConnectionState) -> &'static str {
    match state {
        ConnectionState::New | ConnectionState::Unspecified => "new",
        ConnectionState::Checking => "checking",
        ConnectionState::Connected => "connected",
        ConnectionState::Completed => "completed",
        ConnectionState::Failed => "failed",
        ConnectionState::Disconnected => "disconnected",
        ConnectionState::Closed => "closed",
    }
}

#[cfg(test)]
mod tests;
