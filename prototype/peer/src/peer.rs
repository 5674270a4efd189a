//! The composition: one `Peer` out of sockets, ICE agent, signalling, engine, paths and workload.

mod bulk;
mod commands;
mod config;
mod connection;
mod engines;
mod ice_events;
mod leaving;
mod output;
mod policing;
mod probing;
mod receive;
mod restarting;
mod send;
mod signalling;
mod streams;
mod watching;

pub use commands::PathStatus;
pub use config::{CallRelays, ConfigError, PeerConfig, Role};
pub use output::{Outcome, Output, Transmit};
pub use probing::ProbeSpec;
pub(crate) use probing::ProbeWords;

use crate::{
    Event, InterfaceChange, Secret, Side,
    call::Sender,
    demux::Rejections,
    engine::{Engine, EnginePath, Link, Stream},
    evidence::Collector,
    paths::Paths,
    rendezvous,
    silence::Silence,
    sockets::{Action, Sockets},
};
use commands::Wishes;
use engines::new_engine;
use ice::{PairId, SocketId, SocketInfo};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// A server that answers 401 does not know the secret. Another candidate may still lead to the right one (a NAT's
/// outside address can be somebody else's inside), so a client goes on this long.
const AFTER_REFUSAL: Duration = Duration::from_secs(2);

/// One peer.
pub struct Peer {
    config: PeerConfig,
    side: Side,
    secret: Secret,
    rng: ChaCha8Rng,
    started: Option<Instant>,
    /// When both ends were proven.
    opened: Option<Instant>,
    sockets: Sockets,
    agent: ice::Agent,
    /// Ids of the relayed candidates there were.
    bases: BTreeSet<SocketId>,
    wishes: Wishes,
    signalling: Option<rendezvous::Client>,
    /// Rendezvous client of a probe: its reports travel in another session than candidates.
    probe_signalling: Option<rendezvous::Client>,
    /// The state that was last told there.
    probe_version: u32,
    session: restarting::IceSession,
    /// Our candidates as last told, and the number of that state.
    told_candidates: Vec<rendezvous::DescribedCandidate>,
    told_version: rendezvous::Version,
    /// The state of the other peer that was last taken.
    newest_taken: Option<rendezvous::Version>,
    /// The newest signalled candidates of the other peer, by address.
    remote_candidates: BTreeMap<SocketAddr, ice::RemoteCandidate>,
    engine: Box<dyn Engine>,
    evidence: Collector,
    control: streams::Control,
    incoming: BTreeMap<Stream, streams::Incoming>,
    connection: Connection,
    paths: Paths,
    silence: Silence,
    /// A path that the client uses and that is not validated here yet.
    used_early: Option<EnginePath>,
    /// A client has heard from the server over the complete connection: the server has completed the handshake, too.
    confirmed: bool,
    /// How often each pair is checked, as last told to the agent.
    check_intervals: BTreeMap<PairId, Duration>,
    /// The pairs that carry payload, as last told to the agent.
    told_active: Vec<PairId>,
    /// The pair that was last nominated.
    nominated: Option<PairId>,
    /// Links on which a path was given up lately, and when one may be opened again.
    resting: BTreeMap<Link, Instant>,
    retry_open: Option<Instant>,
    retry_wait: Duration,
    next_sample: Option<Instant>,
    call: Option<Sender>,
    /// A client calls from the connection on, if it is to call at all; a server calls a client that calls it.
    calling: bool,
    bulk: Option<bulk::Bulk>,
    /// Of what is blocked; a server's begins when its client says so.
    probing: Option<probing::Probing>,
    /// Both ends are agreeing on what arrived, until then at the latest.
    farewell: Option<Instant>,
    /// The connection is closed at this end, and the other one may not have been told yet: until then at the latest.
    leaving: Option<(Instant, Outcome)>,
    rejections: Rejections,
    /// When a check was first answered with 401.
    refused: Option<Instant>,
    send_errors: BTreeMap<SocketId, String>,
    /// Pairs, paths or interfaces changed since the policy was last applied.
    changed: bool,
    outputs: VecDeque<Output>,
    done: bool,
}

/// How far the connection is.
#[derive(Debug)]
enum Connection {
    None,
    Handshaking(Link),
    /// The handshake is complete; a server waits for the client's proof.
    Unproven {
        name: String,
    },
    Open {
        name: String,
    },
}

impl Peer {
    /// A peer that waits for interfaces and for [`Peer::start`].
    pub fn new(config: PeerConfig) -> Result<Self, ConfigError> {
        let mut rng = ChaCha8Rng::seed_from_u64(config.seed);
        let (side, secret, rendezvous) = match &config.role {
            Role::Client { ticket } => (Side::Client, ticket.secret.clone(), ticket.rendezvous.clone()),
            Role::Server { secret, rendezvous, .. } => (Side::Server, secret.clone(), rendezvous.clone()),
        };
        let evidence = Collector::new(config.evidence);
        let engine = new_engine(&config, &evidence, &mut rng)?;
        let ice_role = match side {
            Side::Client => ice::Role::Controlling,
            Side::Server => ice::Role::Controlled,
        };
        let seed: u64 = rng.random();
        let ice_config = ice::Config::new(ice_role, secret.ice_credentials(side, 0), seed)
            .with_entropy(secret.ice_entropy(side, seed));
        let agent = ice::Agent::new(ice::Config { policy: config.policy.ice.clone(), ..ice_config });
        let sockets = Sockets::new(config.port);
        let mut peer = Self {
            side,
            secret,
            started: None,
            opened: None,
            sockets,
            agent,
            bases: BTreeSet::new(),
            wishes: Wishes::new(&config),
            signalling: None,
            probe_signalling: None,
            probe_version: 0,
            session: restarting::IceSession::default(),
            told_candidates: vec![],
            told_version: rendezvous::Version { instance: rng.random(), number: 0 },
            newest_taken: None,
            remote_candidates: BTreeMap::new(),
            engine,
            evidence,
            control: streams::Control::default(),
            incoming: BTreeMap::new(),
            connection: Connection::None,
            paths: Paths::default(),
            silence: Silence::default(),
            used_early: None,
            confirmed: false,
            check_intervals: BTreeMap::new(),
            told_active: vec![],
            nominated: None,
            retry_wait: Duration::ZERO,
            resting: BTreeMap::new(),
            retry_open: None,
            next_sample: None,
            call: None,
            calling: false,
            bulk: None,
            probing: None,
            farewell: None,
            leaving: None,
            rejections: Rejections::default(),
            refused: None,
            send_errors: BTreeMap::new(),
            changed: false,
            outputs: VecDeque::new(),
            done: false,
            rng,
            config,
        };
        peer.signalling = (!rendezvous.is_empty()).then(|| peer.new_signalling(rendezvous));
        Ok(peer)
    }

    /// Time zero: gathering, checks and the workload begin.
    pub fn start(&mut self, now: Instant) {
        if self.started.is_some() || self.done {
            return;
        }
        self.started = Some(now);
        self.tell_settings();
        self.begin_signalling(now);
        self.agent.start(now);
        self.call = self.config.call.map(|spec| Sender::new(spec, now, &mut self.rng));
        if let Some(spec) = self.config.probe.clone().filter(|_| self.side == Side::Client) {
            self.begin_probing(now, spec);
            self.start_probing(now);
        }
        self.pump(now);
    }

    /// Ends in an orderly way: the other end is told, then [`Output::Done`] comes; before that, within a second, the
    /// ends agree on what arrived of an object. An engine that has no room to tell the other end at once gets another
    /// second. A peer that has nobody to tell, because a client never connected or no path is left, ends as
    /// [`Outcome::Unreachable`].
    pub fn stop(&mut self, now: Instant) {
        if self.done {
            return;
        }
        if self.part_from_bulk(now) {
            self.pump(now);
        } else {
            self.stop_at_once(now);
        }
    }

    /// An interface is there, changed, or is gone.
    pub fn handle_interface(&mut self, now: Instant, change: InterfaceChange) {
        if self.done {
            return;
        }
        self.event(match &change {
            InterfaceChange::Changed(interface) => Event::Interface(interface.clone()),
            InterfaceChange::Removed(name) => Event::InterfaceRemoved { interface: name.clone() },
        });
        let name = match &change {
            InterfaceChange::Changed(interface) => interface.name.clone(),
            InterfaceChange::Removed(name) => name.clone(),
        };
        let actions = self.sockets.change(change);
        self.introduce(&name);
        self.lose_sockets(now, &actions);
        for action in actions {
            self.carry_out(action);
        }
        let agent = &self.agent;
        self.sockets.forget_closed(|relayed| agent.relay_of(relayed).is_some());
        self.pump(now);
    }

    fn carry_out(&mut self, action: Action) {
        match action {
            Action::Open { socket, interface, local, port } => {
                self.outputs.push_back(Output::OpenSocket { socket, interface, local, port });
            }
            Action::Close { socket, interface, bound, by } => {
                self.outputs.push_back(Output::CloseSocket { socket });
                if bound {
                    let why = by.as_str().to_owned();
                    self.event(Event::SocketClosed { socket, interface, why });
                }
            }
        }
    }

    /// The driver has bound a socket.
    pub fn socket_opened(&mut self, now: Instant, socket: SocketId, local: SocketAddr) {
        if self.probe_opened(now, socket, Some(local)) {
            return self.pump(now);
        }
        // It may have been given up while the driver was binding it; the driver has the order to close it already.
        let Some(known) = self.sockets.set_bound(socket, local) else { return };
        let interface = known.interface.clone();
        self.event(Event::SocketOpened { socket, interface: interface.clone(), local });
        let preference = self.preference(socket);
        self.agent.add_socket(now, socket, SocketInfo { interface, local, preference });
        self.probe_from(now, socket, local);
        self.pump(now);
    }

    /// The driver could not bind a socket; its interface stays without one for this family until it changes.
    pub fn socket_failed(&mut self, now: Instant, socket: SocketId, error: &str) {
        if self.probe_opened(now, socket, None) {
            return self.pump(now);
        }
        if let Some(known) = self.sockets.remove(socket) {
            let why = format!("cannot be bound to {}: {error}", known.ip);
            self.event(Event::SocketClosed { socket, interface: known.interface, why });
        }
        self.pump(now);
    }

    /// The kernel refused to send for a reason that will not pass by itself, such as ENETUNREACH.
    pub fn send_failed(&mut self, now: Instant, socket: SocketId, to: SocketAddr, error: &str) {
        if self.sockets.get(socket).is_none() {
            return;
        }
        if self.send_errors.insert(socket, error.to_owned()).as_deref() != Some(error) {
            let interface = self.sockets.interface_of(socket);
            self.event(Event::SendFailed { socket, interface, to, error: error.to_owned() });
        }
        self.lose_way(now, Link { socket, remote: to });
        self.agent.send_failed(now, socket, to);
        self.pump(now);
    }

    /// Call when [`Peer::deadline`] has passed.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.done {
            return;
        }
        if self.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
        }
        self.engine.handle_timeout(now);
        if self.leaving.is_none() {
            self.act_on_silence(now);
            self.check_limits(now);
        }
        self.pump(now);
    }

    fn check_limits(&mut self, now: Instant) {
        if self.ends_at().is_some_and(|at| at <= now) {
            self.stop(now);
        } else if self.give_up_at().is_some_and(|at| at <= now) {
            let outcome = self.why_not_connected(now);
            self.finish(now, outcome);
        }
    }

    fn ends_at(&self) -> Option<Instant> {
        self.farewell.or_else(|| self.opened?.checked_add(self.config.duration?))
    }

    fn give_up_at(&self) -> Option<Instant> {
        let waiting = matches!(self.connection, Connection::None | Connection::Handshaking(_));
        if self.side == Side::Server || !waiting || self.only_probes() {
            return None;
        }
        let timeout = self.started?.checked_add(self.config.connect_timeout);
        // The rendezvous may still bring the right one.
        let refused = self.refused.filter(|_| self.signalling.is_none()).map(|at| at + AFTER_REFUSAL);
        timeout.into_iter().chain(refused).min()
    }

    /// When [`Peer::handle_timeout`] is to be called at the latest.
    pub fn deadline(&self) -> Option<Instant> {
        if self.done {
            return None;
        }
        if self.leaving.is_some() {
            return self.leaving_deadline();
        }
        let sending = (self.is_open() && self.calling).then_some(self.call.as_ref()).flatten();
        [
            self.agent.poll_timeout(),
            self.engine.deadline(),
            self.silence.deadline(),
            self.signalling.as_ref().and_then(rendezvous::Client::deadline),
            self.probe_signalling.as_ref().and_then(rendezvous::Client::deadline),
            sending.map(Sender::deadline),
            self.bulk_deadline(),
            self.probing_deadline(),
            self.rejections.deadline(),
            self.retry_open,
            self.next_sample,
            self.give_up_at(),
            self.ends_at(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// What is to be done next; none when the peer waits.
    pub fn poll(&mut self, now: Instant) -> Option<Output> {
        if self.outputs.is_empty() && !self.done {
            self.pump(now);
        }
        self.outputs.pop_front()
    }

    /// Moves everything between the parts until none has anything left.
    fn pump(&mut self, now: Instant) {
        while !self.done && !self.go_on_leaving(now) {
            let mut moved = false;
            while let Some(event) = self.agent.poll_event() {
                self.on_ice(now, event);
                moved = true;
            }
            while let Some(event) = self.engine.poll_event() {
                self.on_engine(now, event);
                moved = true;
            }
            let changed = std::mem::take(&mut self.changed);
            if changed {
                self.retry_wait = Duration::ZERO;
            }
            if changed || self.retry_open.is_some_and(|at| at <= now) {
                self.reconcile(now);
                self.listen(now);
            }
            self.signal(now);
            self.send_call(now);
            self.drive_bulk(now);
            moved |= self.drive_probing(now);
            if self.done {
                break;
            }
            moved |= self.transmit(now);
            if !moved {
                break;
            }
        }
        self.sample(now);
        // Not alone: engines log even that they were asked, so that there would always be more.
        if !self.outputs.is_empty() {
            self.hand_out_evidence();
        }
        while let Some(event) = self.rejections.poll(now, false).filter(|_| !self.done) {
            self.event(event);
        }
    }

    fn hand_out_evidence(&mut self) {
        let (secrets, traces) = self.evidence.take();
        self.outputs.extend(secrets.into_iter().map(Output::KeyLog));
        self.outputs.extend(traces.into_iter().map(|(connection, bytes)| Output::Qlog { connection, bytes }));
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    fn finish(&mut self, now: Instant, outcome: Outcome) {
        if self.done {
            return;
        }
        self.tell_findings();
        if outcome == Outcome::Finished {
            self.admit_unbegun_bulk(now);
        }
        self.end_bulk(now, if self.farewell.is_some() { "not-confirmed" } else { "interrupted" });
        self.last_samples();
        self.transmit(now);
        // After the last that is sent through its relays.
        self.agent.leave_call(now);
        self.transmit(now);
        while let Some(event) = self.rejections.poll(now, true) {
            self.event(event);
        }
        self.hand_out_evidence();
        self.done = true;
        self.outputs.push_back(Output::Done(outcome));
    }
}
