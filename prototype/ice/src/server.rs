//! A server for agents, sans-IO: STUN Binding (RFC 8489), NAT behaviour discovery (RFC 5780), TURN (RFC 8656).
//!
//! TURN itself is `turn-server-proto`'s. What is added: behaviour discovery over up to two addresses and two ports,
//! limits, and one loop for all sockets. The driver binds every listening address and, when asked, relayed ones; it
//! hands in what arrives on each with the address that it arrived on, and sends what it is told from the address that
//! it is told.
//!
//! Nonces and the transaction ids of indications come from the operating system's random numbers, so that runs in
//! virtual time are alike in everything but those bytes.
//!
//! It may also be a relay as WhatsApp has them, on the same addresses; see `call`.
//!
//! Left out: TCP and TLS, RESPONSE-PORT towards others than the asker's own address (it could be abused), PADDING.

mod call;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use turn_server_proto::api::{SocketAllocateError, TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::agent::Transmit as TurnTransmit;
use turn_server_proto::stun::types::TransportType;
use turn_server_proto::types::AddressFamily;

use crate::candidate::canonical;
use crate::stun::{self, Builder, Class, Message, ParseError};
pub use call::Mimic;
use call::{Calls, Taken};

/// What a server must know before its first datagram.
#[derive(Clone)]
pub struct ServerConfig {
    /// Addresses that the driver has bound, one socket each. With two addresses and two ports of one family, four in
    /// all, behaviour discovery is complete; with fewer it answers what it can.
    pub listens: Vec<SocketAddr>,
    /// Realm of the users.
    pub realm: String,
    /// User names and passwords. Without any nobody gets an allocation.
    pub users: Vec<(String, String)>,
    /// Most allocations of one client address, and of all together.
    pub most_allocations: (usize, usize),
    /// Most client addresses that each listening address keeps a nonce for. Anybody can ask for one, from any address
    /// that he likes to pretend. Beyond it newcomers are not heard, until no allocation is left and all is forgotten.
    pub most_clients: usize,
    /// What else it is, for agents that expect that.
    pub mimic: Option<Mimic>,
}

impl ServerConfig {
    /// At most 32 allocations for one client address and 1024 in all, and 16,384 client addresses.
    pub fn new(listens: Vec<SocketAddr>, realm: impl Into<String>) -> ServerConfig {
        ServerConfig {
            listens,
            realm: realm.into(),
            users: Vec::new(),
            most_allocations: (32, 1024),
            most_clients: 16_384,
            mimic: None,
        }
    }
}

impl std::fmt::Debug for ServerConfig {
    /// Leaves passwords out: this ends up in logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let users: Vec<&str> = self.users.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("ServerConfig")
            .field("listens", &self.listens)
            .field("users", &users)
            .finish_non_exhaustive()
    }
}

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServerOutput {
    /// Send a datagram.
    Transmit {
        /// From the socket with this address, and no other.
        from: SocketAddr,
        /// Destination.
        to: SocketAddr,
        /// What.
        bytes: Vec<u8>,
    },
    /// Bind a socket for relaying on this address, with any port, and tell by [`Server::opened`].
    Open {
        /// Names the request.
        ticket: u64,
        /// The address to bind.
        ip: IpAddr,
    },
    /// Close the socket that was opened at this address.
    Close {
        /// Its address.
        relayed: SocketAddr,
    },
}

/// Why a datagram was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServerRejected {
    /// It did not arrive on an address of ours.
    #[error("not one of the server's addresses")]
    UnknownAddress,
    /// It was no message of a client's.
    #[error("not a message for a server")]
    Malformed,
    /// Others came first, and allocations are in use.
    #[error("too many clients")]
    TooManyClients,
}

/// STUN, behaviour discovery and TURN on a handful of addresses.
#[derive(Debug)]
pub struct Server {
    config: ServerConfig,
    /// By listening address.
    turn: BTreeMap<SocketAddr, TurnServer>,
    /// Whom each of them may keep a nonce for.
    clients: BTreeMap<SocketAddr, BTreeSet<SocketAddr>>,
    /// Relayed addresses, with the listening address and the client of each.
    relayed: BTreeMap<SocketAddr, (SocketAddr, SocketAddr)>,
    /// Sockets that were asked for.
    opening: BTreeMap<u64, Opening>,
    /// Those that are there, while another of the same request is not yet. `turn-server-proto` forgets a request whose
    /// last socket cannot be opened, and would never close the first: failures are told first.
    opened: Vec<(Opening, SocketAddr)>,
    next_ticket: u64,
    calls: Option<Calls>,
    outputs: VecDeque<ServerOutput>,
    /// When each has something to do by itself.
    due: BTreeMap<SocketAddr, Instant>,
    /// TURN's clock counts from here.
    epoch: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Opening {
    listens: SocketAddr,
    client: SocketAddr,
    family: AddressFamily,
}

/// Attributes of RFC 5780 (section 9.2).
mod attribute {
    pub(super) const CHANGE_REQUEST: u16 = 0x0003;
    pub(super) const RESPONSE_PORT: u16 = 0x0027;
    pub(super) const RESPONSE_ORIGIN: u16 = 0x802b;
    pub(super) const OTHER_ADDRESS: u16 = 0x802c;
}
const CHANGE_ADDRESS: u32 = 0x04;
const CHANGE_PORT: u32 = 0x02;
/// TURN's clock begins here, so that nothing that it subtracts lies before zero.
const CLOCK_BEGINS: Duration = Duration::from_secs(3600);
/// Nothing that ends by itself has to end sooner.
const LEAST_WAIT: Duration = Duration::from_millis(100);

impl Server {
    /// A server at rest.
    pub fn new(config: ServerConfig) -> Server {
        Server {
            turn: config.listens.iter().map(|listens| (*listens, turn_server(&config, *listens))).collect(),
            clients: BTreeMap::new(),
            relayed: BTreeMap::new(),
            opening: BTreeMap::new(),
            opened: Vec::new(),
            next_ticket: 0,
            calls: config.mimic.map(|mimic| calls(&config, mimic)),
            outputs: VecDeque::new(),
            due: BTreeMap::new(),
            epoch: None,
            config,
        }
    }

    /// One datagram that arrived on the socket with the address `at`, a listening or a relayed one.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        at: SocketAddr,
        from: SocketAddr,
        data: &[u8],
    ) -> Result<(), ServerRejected> {
        let from = canonical(from);
        if let Some((listens, _)) = self.relayed.get(&at).copied() {
            self.give_to_turn(now, listens, at, from, data);
            return Ok(());
        }
        if !self.turn.contains_key(&at) {
            return Err(ServerRejected::UnknownAddress);
        }
        match self.calls.as_mut().map_or(Taken::NotMine, |calls| calls.handle(now, at, from, data)) {
            Taken::Done(output) => {
                self.outputs.extend(output);
                return Ok(());
            }
            Taken::Refused => return Err(ServerRejected::Malformed),
            Taken::NotMine => {}
        }
        match Message::parse(data) {
            Ok(request) if (request.class(), request.method()) == (Class::Request, stun::BINDING) => {
                self.answer_binding(at, from, &request);
            }
            Ok(request) if request.class() == Class::Request && !self.admit(at, from) => {
                return Err(ServerRejected::TooManyClients);
            }
            Ok(_) | Err(ParseError::NotStun) => self.give_to_turn(now, at, at, from, data),
            Err(_) => return Err(ServerRejected::Malformed),
        }
        Ok(())
    }

    /// The driver has bound a socket that it was asked for, or could not.
    pub fn opened(&mut self, now: Instant, ticket: u64, relayed: Option<SocketAddr>) {
        let Some(opening) = self.opening.remove(&ticket) else { return };
        match relayed {
            Some(relayed) => {
                self.relayed.insert(relayed, (opening.listens, opening.client));
                self.opened.push((opening, relayed));
            }
            None => self.tell_allocated(now, opening, None),
        }
        let alike = |one: &Opening| (one.listens, one.client) == (opening.listens, opening.client);
        if !self.opening.values().any(alike) {
            let all: Vec<_> = self.opened.extract_if(.., |(one, _)| alike(one)).collect();
            all.into_iter().for_each(|(one, relayed)| self.tell_allocated(now, one, Some(relayed)));
        }
        self.poll_turn(now, opening.listens);
    }

    /// Does what is due. Calling it early does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        let listens: Vec<SocketAddr> = self.turn.keys().copied().collect();
        listens.into_iter().for_each(|listens| self.poll_turn(now, listens));
        self.calls.iter_mut().for_each(|calls| calls.handle_timeout(now));
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do: allocations end by themselves.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let turn = self.due.values().min().copied().filter(|_| !self.relayed.is_empty());
        let calls = self.calls.as_ref().and_then(Calls::poll_timeout);
        [turn, calls].into_iter().flatten().min()
    }

    /// Ends of calls that are let in, of a relay as WhatsApp has them.
    pub fn call_ends(&self) -> usize {
        self.calls.as_ref().map_or(0, Calls::len)
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<ServerOutput> {
        self.outputs.pop_front()
    }

    /// Relayed addresses in use.
    pub fn relayed(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.relayed.keys().copied()
    }

    /// Whether there is room for a nonce of this client: `turn-server-proto` forgets none by itself.
    fn admit(&mut self, listens: SocketAddr, client: SocketAddr) -> bool {
        let clients = self.clients.entry(listens).or_default();
        if clients.len() >= self.config.most_clients && !clients.contains(&client) {
            let relayed = self.relayed.values().any(|(at, _)| *at == listens);
            if relayed || self.opening.values().any(|opening| opening.listens == listens) {
                return false;
            }
            clients.clear();
            self.turn.insert(listens, turn_server(&self.config, listens));
        }
        clients.insert(client);
        true
    }

    /// RFC 8489 section 7.3.1, RFC 5780 section 6.1.
    fn answer_binding(&mut self, at: SocketAddr, from: SocketAddr, request: &Message<'_>) {
        let unknown = request.unknown_required(&[
            stun::attribute::USERNAME,
            stun::attribute::MESSAGE_INTEGRITY,
            stun::attribute::MESSAGE_INTEGRITY_SHA256,
            stun::attribute::PRIORITY,
            stun::attribute::USE_CANDIDATE,
            attribute::CHANGE_REQUEST,
            attribute::RESPONSE_PORT,
        ]);
        let change = request.attribute(attribute::CHANGE_REQUEST);
        let origin = match change {
            Some(flags) => self.changed(at, flags),
            None => Some(at),
        };
        let Some(origin) = origin.filter(|_| unknown.is_empty()) else {
            let unknown = if unknown.is_empty() { vec![attribute::CHANGE_REQUEST] } else { unknown };
            let error = Builder::response(Class::Error, request).error_code(420).unknown_attributes(&unknown);
            return self.transmit(at, from, error.finish(None));
        };
        let port = request.attribute(attribute::RESPONSE_PORT).and_then(|value| value.first_chunk());
        let to = SocketAddr::new(from.ip(), port.map_or(from.port(), |port| u16::from_be_bytes(*port)));
        let mut response = Builder::response(Class::Success, request)
            .xor_mapped_address(from)
            .plain_address(stun::attribute::MAPPED_ADDRESS, from)
            .plain_address(attribute::RESPONSE_ORIGIN, origin);
        if let Some(other) = self.other(at) {
            response = response.plain_address(attribute::OTHER_ADDRESS, other);
        }
        if to.port() != 0 {
            self.transmit(origin, to, response.finish(None));
        }
    }

    /// The address that an answer has to come from; None when there is no such one.
    fn changed(&self, at: SocketAddr, flags: &[u8]) -> Option<SocketAddr> {
        let flags = u32::from_be_bytes(flags.try_into().ok()?);
        let (address, port) = (flags & CHANGE_ADDRESS != 0, flags & CHANGE_PORT != 0);
        self.alike(at).find(|one| (one.ip() != at.ip()) == address && (one.port() != at.port()) == port)
    }

    /// An address that differs in both respects.
    fn other(&self, at: SocketAddr) -> Option<SocketAddr> {
        self.alike(at).find(|one| one.ip() != at.ip() && one.port() != at.port())
    }

    fn alike(&self, at: SocketAddr) -> impl Iterator<Item = SocketAddr> + '_ {
        self.config.listens.iter().copied().filter(move |one| one.is_ipv4() == at.is_ipv4())
    }

    fn give_to_turn(
        &mut self,
        now: Instant,
        listens: SocketAddr,
        at: SocketAddr,
        from: SocketAddr,
        data: &[u8],
    ) {
        let clock = self.clock(now);
        let Some(turn) = self.turn.get_mut(&listens) else { return };
        let transmit = TurnTransmit::new(data.to_vec(), TransportType::Udp, from, at);
        if let Some(built) = turn.recv(transmit, clock) {
            let built = built.build();
            self.transmit(built.from, built.to, built.data);
        }
        self.poll_turn(now, listens);
    }

    fn poll_turn(&mut self, now: Instant, listens: SocketAddr) {
        let clock = self.clock(now);
        loop {
            let Some(turn) = self.turn.get_mut(&listens) else { return };
            match turn.poll(clock) {
                TurnServerPollRet::AllocateSocket { client_addr, family, .. } => {
                    self.allocate(now, Opening { listens, client: client_addr, family });
                }
                TurnServerPollRet::SocketClose { listen_addr, .. } => {
                    if self.relayed.remove(&listen_addr).is_some() {
                        self.outputs.push_back(ServerOutput::Close { relayed: listen_addr });
                    }
                }
                // There is no TCP here.
                TurnServerPollRet::TcpConnect { .. } | TurnServerPollRet::TcpClose { .. } => {}
                TurnServerPollRet::WaitUntil(until) => {
                    let wait = until.saturating_duration_since(clock).max(LEAST_WAIT);
                    self.due.insert(listens, now + wait);
                    break;
                }
            }
        }
        let Some(turn) = self.turn.get_mut(&listens) else { return };
        while let Some(TurnTransmit { from, to, data, .. }) = turn.poll_transmit(clock) {
            self.outputs.push_back(ServerOutput::Transmit { from, to, bytes: data });
        }
    }

    fn allocate(&mut self, now: Instant, opening: Opening) {
        let wants_ipv6 = opening.family == AddressFamily::IPV6;
        let (of_client, of_all) = self.config.most_allocations;
        let clients: Vec<IpAddr> = (self.relayed.values().map(|(_, client)| client.ip()))
            .chain(self.opening.values().map(|opening| opening.client.ip()))
            .collect();
        let mine = clients.iter().filter(|client| **client == opening.client.ip()).count();
        let ips: BTreeSet<IpAddr> = self.config.listens.iter().map(|listens| listens.ip()).collect();
        // Where the client is served, or else any of the family that it wants.
        let here = Some(opening.listens.ip()).filter(|ip| ip.is_ipv6() == wants_ipv6);
        let ip = here.or_else(|| ips.into_iter().find(|ip| ip.is_ipv6() == wants_ipv6));
        match ip.filter(|_| mine < of_client && clients.len() < of_all) {
            Some(ip) => {
                let ticket = self.next_ticket;
                self.next_ticket += 1;
                self.opening.insert(ticket, opening);
                self.outputs.push_back(ServerOutput::Open { ticket, ip });
            }
            None => self.tell_allocated(now, opening, None),
        }
    }

    fn tell_allocated(&mut self, now: Instant, opening: Opening, relayed: Option<SocketAddr>) {
        let clock = self.clock(now);
        let Opening { listens, client, family } = opening;
        let result = relayed.ok_or(SocketAllocateError::InsufficientCapacity);
        if let Some(turn) = self.turn.get_mut(&listens) {
            let udp = TransportType::Udp;
            turn.allocated_socket(udp, listens, client, udp, family, result, clock);
        }
    }

    fn transmit(&mut self, from: SocketAddr, to: SocketAddr, bytes: Vec<u8>) {
        self.outputs.push_back(ServerOutput::Transmit { from, to, bytes });
    }

    fn clock(&mut self, now: Instant) -> turn_server_proto::stun::Instant {
        let epoch = *self.epoch.get_or_insert(now);
        let since = now.saturating_duration_since(epoch) + CLOCK_BEGINS;
        turn_server_proto::stun::Instant::from_nanos(since.as_nanos() as i64)
    }
}

fn turn_server(config: &ServerConfig, listens: SocketAddr) -> TurnServer {
    let mut server = TurnServer::new(TransportType::Udp, listens, config.realm.clone());
    for (name, password) in &config.users {
        server.add_user(name.clone(), password.clone());
    }
    server
}

fn calls(config: &ServerConfig, Mimic::WhatsApp { unix_time }: Mimic) -> Calls {
    let passwords = config.users.iter().map(|(_, password)| password.clone()).collect();
    Calls::new(passwords, unix_time, config.most_allocations)
}
