//! Sockets and time for our agents: plain non-blocking sockets, one thread, and a clock that can be moved on.

use std::collections::BTreeMap;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use ice::stun::turn::ChannelData;
use ice::stun::{Class, Message, TransactionId};
use ice::{
    Agent, Config, Credentials, Event, LocalCandidate, PairId, PairView, Role, SocketId, SocketInfo, Transmit,
};

/// How long anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// A request that stays open so long is no reason to wait any more.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);
/// Between two looks at the sockets.
const NAP: Duration = Duration::from_micros(200);

/// The agents of a test, and the time that they see.
pub(crate) struct Driver {
    pub(crate) parties: Vec<Party>,
    ahead: Duration,
}

/// One agent with its sockets, and what happened to it.
pub(crate) struct Party {
    pub(crate) agent: Agent,
    pub(crate) events: Vec<Event>,
    /// Data of another protocol.
    pub(crate) heard: Vec<Vec<u8>>,
    /// Requests to relays, and answers from them, by class and method.
    pub(crate) relayed: BTreeMap<(Class, u16), u32>,
    /// Error codes that servers answered with.
    pub(crate) refusals: Vec<u16>,
    /// Every datagram that left, and when.
    pub(crate) sent: Vec<(Instant, Vec<u8>)>,
    sockets: Vec<UdpSocket>,
    /// Requests without an answer, and when they left in real time.
    open: BTreeMap<TransactionId, Instant>,
    /// Neither reads nor writes any more.
    pub(crate) gone: bool,
}

pub(crate) fn credentials(of: u8) -> Credentials {
    Credentials::from_entropy(&[of.wrapping_mul(7).wrapping_add(3); 32])
}

/// As an agent is by default, but consent is checked every half second and ends after three: nobody wants to wait for
/// more.
pub(crate) fn config(of: u8, role: Role) -> Config {
    let mut config = Config::new(role, credentials(of), 1000 + u64::from(of));
    config.timing.consent_interval = Duration::from_millis(500);
    config.timing.consent_timeout = Duration::from_secs(3);
    config
}

impl Driver {
    pub(crate) fn new(parties: Vec<Party>) -> Driver {
        Driver { parties, ahead: Duration::ZERO }
    }

    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.ahead
    }

    /// Runs until `done`, or panics with what happened.
    pub(crate) fn until<T>(&mut self, what: &str, mut done: impl FnMut(&mut Driver) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            self.step();
            if let Some(done) = done(self) {
                return done;
            }
            assert!(Instant::now() < end, "in vain: {what}\n{}", self.story());
            std::thread::sleep(NAP);
        }
    }

    /// Runs for so long in real time.
    pub(crate) fn run_for(&mut self, time: Duration) {
        let end = Instant::now() + time;
        self.until("time", |_| (Instant::now() >= end).then_some(()));
    }

    /// Lets the agents see so much time pass, at once where nobody owes them an answer.
    pub(crate) fn hurry(&mut self, time: Duration) {
        let end = self.now() + time;
        self.until("virtual time", |driver| {
            let now = driver.now();
            if driver.parties.iter().all(|party| party.open.is_empty()) {
                let next = driver.parties.iter().filter_map(|party| party.agent.poll_timeout()).min();
                driver.ahead += next.unwrap_or(end).min(end).saturating_duration_since(now);
            }
            (driver.now() >= end).then_some(())
        });
    }

    fn step(&mut self) {
        let now = self.now();
        self.parties.iter_mut().filter(|party| !party.gone).for_each(|party| party.step(now));
    }

    fn story(&self) -> String {
        let of = |party: &Party| {
            let pairs: Vec<_> = party.agent.pairs().map(|pair| format!("{pair:?}")).collect();
            let events: Vec<_> =
                party.events.iter().rev().take(20).map(|event| format!("{event:?}")).collect();
            format!("pairs {pairs:#?}, latest events {events:#?}, relay {:?}", party.relayed)
        };
        self.parties.iter().map(of).collect()
    }

    /// All of ours know each other's credentials and candidates, and start.
    pub(crate) fn introduce(&mut self) {
        let now = self.now();
        let told: Vec<Vec<_>> = self.parties.iter().map(|party| party.told().cloned().collect()).collect();
        for (me, party) in self.parties.iter_mut().enumerate() {
            let other = 1 - me;
            for local in &told[other] {
                party.agent.add_remote_candidate(now, remote(local));
            }
            party.agent.set_remote_credentials(now, credentials(other as u8));
            party.agent.start(now);
        }
    }
}

impl Party {
    /// With a socket on each of these addresses.
    pub(crate) fn new(config: Config, ips: &[&str]) -> Party {
        let mut party = Party {
            agent: Agent::new(config),
            events: Vec::new(),
            heard: Vec::new(),
            relayed: BTreeMap::new(),
            refusals: Vec::new(),
            sent: Vec::new(),
            sockets: Vec::new(),
            open: BTreeMap::new(),
            gone: false,
        };
        for (place, ip) in ips.iter().enumerate() {
            let socket = UdpSocket::bind((*ip, 0)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let local = socket.local_addr().unwrap();
            let info =
                SocketInfo { interface: format!("lo{place}"), local, preference: 65_535 - place as u16 };
            party.agent.add_socket(Instant::now(), SocketId(place as u32), info);
            party.sockets.push(socket);
        }
        party
    }

    pub(crate) fn local(&self, socket: SocketId) -> SocketAddr {
        self.sockets[socket.0 as usize].local_addr().unwrap()
    }

    pub(crate) fn told(&self) -> impl Iterator<Item = &LocalCandidate> {
        self.agent.told_candidates()
    }

    pub(crate) fn usable(&self) -> impl Iterator<Item = PairView> + '_ {
        self.agent.pairs().filter(|pair| pair.state.is_usable())
    }

    pub(crate) fn consent_expired(&self, id: PairId) -> bool {
        self.events.contains(&Event::ConsentExpired { pair: id })
    }

    pub(crate) fn send(&mut self, pair: &PairView, data: &[u8]) {
        let transmit = self.agent.wrap(pair.socket, pair.remote, data.to_vec()).unwrap();
        self.transmit(transmit);
    }

    fn step(&mut self, now: Instant) {
        self.drain();
        let mut buffer = [0; 2048];
        for place in 0..self.sockets.len() {
            while let Ok((length, from)) = self.sockets[place].recv_from(&mut buffer) {
                self.receive(now, SocketId(place as u32), from, &buffer[..length]);
            }
        }
        if self.agent.poll_timeout().is_some_and(|at| at <= now) {
            self.agent.handle_timeout(now);
        }
        self.drain();
    }

    fn receive(&mut self, now: Instant, socket: SocketId, from: SocketAddr, datagram: &[u8]) {
        if let Ok(message) = Message::parse(datagram) {
            self.note(&message);
            if message.class() == Class::Error {
                self.refusals.extend(message.error_code());
            }
        }
        inside(datagram, &mut |message| {
            self.open.remove(&message.transaction());
        });
        if self.agent.handle_datagram(now, socket, from, datagram) == Err(ice::Rejected::NotStun) {
            self.heard.push(datagram.to_vec());
        }
        self.heard.extend(std::iter::from_fn(|| self.agent.poll_received()).map(|received| received.bytes));
        self.drain();
    }

    fn note(&mut self, message: &Message<'_>) {
        if message.method() != ice::stun::BINDING {
            *self.relayed.entry((message.class(), message.method())).or_default() += 1;
        }
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.agent.poll_transmit() {
            if let Ok(message) = Message::parse(&transmit.bytes) {
                self.note(&message);
            }
            let now = Instant::now();
            inside(&transmit.bytes, &mut |message| {
                if message.class() == Class::Request {
                    self.open.insert(message.transaction(), now);
                }
            });
            self.transmit(transmit);
        }
        self.open.retain(|_, left| left.elapsed() < ANSWERED_WITHIN);
        self.events.extend(std::iter::from_fn(|| self.agent.poll_event()));
    }

    fn transmit(&mut self, Transmit { socket, to, bytes }: Transmit) {
        // What cannot be sent is lost, as on any network.
        let _ = self.sockets[socket.0 as usize].send_to(&bytes, to);
        self.sent.push((Instant::now(), bytes));
    }
}

/// The STUN message that a datagram is, or that it carries for a relay.
fn inside(datagram: &[u8], look: &mut dyn FnMut(&Message<'_>)) {
    if let Some(channel) = ChannelData::parse(datagram) {
        return inside(channel.data, look);
    }
    let Ok(message) = Message::parse(datagram) else { return };
    match message.data().filter(|_| message.class() == Class::Indication) {
        Some(data) => inside(data, look),
        None => look(&message),
    }
}

/// A local candidate as the other agent is told of it.
pub(crate) fn remote(local: &LocalCandidate) -> ice::RemoteCandidate {
    ice::RemoteCandidate {
        kind: local.kind,
        address: local.address,
        priority: local.priority,
        foundation: local.foundation.clone(),
        interface: None,
    }
}
