//! The server: what clients are answered, from where, and how much one client may have.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::server::{Server, ServerConfig, ServerOutput, ServerRejected};
use ice::stun::turn::{self, PasswordAlgorithm, method};
use ice::stun::{BINDING, Builder, Class, Key, Message, TransactionId, attribute};
use ice::{Agent, CandidateKind, Config, Event, RelayNews, RelayServer, Role, SocketId, SocketInfo};
use proptest::prelude::*;

use crate::net::{A, address, credentials, ms};
use crate::turn::{PASSWORD, USER};

const CLIENT: &str = "192.0.2.10:1000";
const FOUR: [&str; 4] = ["198.51.100.1:3478", "198.51.100.1:3479", "198.51.100.2:3478", "198.51.100.2:3479"];

const MOST_CLIENTS: usize = 50;

/// A server, and every socket that it has.
struct Place {
    now: Instant,
    server: Server,
    open: BTreeSet<SocketAddr>,
    /// Sockets of IPv4 for relaying can be opened.
    opens_ipv4: bool,
    next_port: u16,
    sent: Vec<(SocketAddr, SocketAddr, Vec<u8>)>,
}

impl Place {
    fn new(listens: &[&str]) -> Place {
        let mut config = ServerConfig::new(listens.iter().map(|one| address(one)).collect(), "example.org");
        config.users.push((USER.into(), PASSWORD.into()));
        config.most_allocations = (2, 3);
        config.most_clients = MOST_CLIENTS;
        #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
        let now = Instant::now();
        let open = config.listens.iter().copied().collect();
        Place {
            now,
            server: Server::new(config),
            open,
            opens_ipv4: true,
            next_port: 50_000,
            sent: Vec::new(),
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.server.poll() {
            match output {
                ServerOutput::Transmit { from, to, bytes } => {
                    assert!(self.open.contains(&from), "{from} is not open");
                    self.sent.push((from, to, bytes));
                }
                ServerOutput::Open { ticket, ip } if ip.is_ipv4() && !self.opens_ipv4 => {
                    self.server.opened(self.now, ticket, None);
                }
                ServerOutput::Open { ticket, ip } => {
                    let relayed = SocketAddr::new(ip, self.next_port);
                    self.next_port += 1;
                    self.open.insert(relayed);
                    self.server.opened(self.now, ticket, Some(relayed));
                }
                ServerOutput::Close { relayed } => {
                    assert!(self.open.remove(&relayed), "{relayed} was not open")
                }
            }
        }
    }

    fn hear(&mut self, at: SocketAddr, from: SocketAddr, data: &[u8]) -> Result<(), ServerRejected> {
        let result = self.server.handle_datagram(self.now, at, from, data);
        self.drain();
        result
    }

    /// One Binding request, with a change request if any: who answers, whom, and what.
    fn bind(
        &mut self,
        at: &str,
        change: Option<u32>,
        port: Option<u16>,
    ) -> (SocketAddr, SocketAddr, Vec<u8>) {
        let mut request = Builder::new(Class::Request, BINDING, TransactionId([3; 12]));
        if let Some(change) = change {
            request = request.attribute(0x0003, &change.to_be_bytes()).unwrap();
        }
        if let Some(port) = port {
            let [high, low] = port.to_be_bytes();
            request = request.attribute(0x0027, &[high, low, 0, 0]).unwrap();
        }
        self.hear(address(at), address(CLIENT), &request.finish(None)).unwrap();
        self.sent.pop().expect("an answer")
    }
}

fn plain(message: &Message<'_>, kind: u16) -> Option<SocketAddr> {
    let value = message.attribute(kind)?;
    let ip: [u8; 4] = value[4..].try_into().ok()?;
    Some((ip, u16::from_be_bytes([value[2], value[3]])).into())
}

#[test]
fn a_binding_is_answered_from_where_it_was_asked() {
    let mut place = Place::new(&FOUR);
    let (from, to, answer) = place.bind(FOUR[0], None, None);
    let answer = Message::parse(&answer).unwrap();
    assert_eq!((from, to), (address(FOUR[0]), address(CLIENT)));
    assert_eq!(answer.mapped_address(), Some(address(CLIENT)));
    assert_eq!(plain(&answer, attribute::MAPPED_ADDRESS), Some(address(CLIENT)), "for clients of RFC 3489");
    assert_eq!(plain(&answer, 0x802b), Some(address(FOUR[0])), "RESPONSE-ORIGIN");
    assert_eq!(plain(&answer, 0x802c), Some(address(FOUR[3])), "OTHER-ADDRESS differs in both");
}

#[test]
fn a_change_request_is_answered_from_elsewhere() {
    let mut place = Place::new(&FOUR);
    for (change, expected) in [(0, FOUR[0]), (2, FOUR[1]), (4, FOUR[2]), (6, FOUR[3])] {
        let (from, _, answer) = place.bind(FOUR[0], Some(change), None);
        assert_eq!(from, address(expected), "{change}");
        assert_eq!(plain(&Message::parse(&answer).unwrap(), 0x802b), Some(from));
    }
    // RFC 5780 section 6.1: without another address it says so.
    let mut place = Place::new(&FOUR[..1]);
    let (_, _, answer) = place.bind(FOUR[0], Some(6), None);
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.error_code(), Some(420));
    assert_eq!(answer.attribute(attribute::UNKNOWN_ATTRIBUTES), Some(&[0, 3][..]));
    let (_, _, answer) = place.bind(FOUR[0], None, None);
    assert_eq!(plain(&Message::parse(&answer).unwrap(), 0x802c), None);
}

#[test]
fn an_answer_may_go_to_another_port_of_the_asker_alone() {
    let mut place = Place::new(&FOUR);
    let (_, to, _) = place.bind(FOUR[0], None, Some(7777));
    assert_eq!(to, SocketAddr::new(address(CLIENT).ip(), 7777));
}

#[test]
fn what_must_be_understood_and_is_not_is_named() {
    let mut place = Place::new(&FOUR);
    let request =
        Builder::new(Class::Request, BINDING, TransactionId([3; 12])).attribute(0x0042, &[]).unwrap();
    place.hear(address(FOUR[0]), address(CLIENT), &request.finish(None)).unwrap();
    let answer = place.sent.pop().unwrap().2;
    assert_eq!(Message::parse(&answer).unwrap().error_code(), Some(420));
}

/// Our client and this server, without a network in between.
fn allocate(place: &mut Place, client: &str, sockets: u32) -> Agent {
    let mut agent = Agent::new(Config::new(Role::Controlling, credentials(A), 1));
    for socket in 0..sockets {
        let local = SocketAddr::new(address(client).ip(), 1000 + socket as u16);
        let info = SocketInfo { interface: "wlan0".into(), local, preference: 65_000 };
        agent.add_socket(place.now, SocketId(socket), info);
    }
    let server = RelayServer { address: address(FOUR[0]), username: USER.into(), password: PASSWORD.into() };
    agent.add_relay_server(place.now, server);
    agent.start(place.now);
    exchange(place, &mut agent, address(client));
    agent
}

fn exchange(place: &mut Place, agent: &mut Agent, client: SocketAddr) {
    for _ in 0..20 {
        while let Some(transmit) = agent.poll_transmit() {
            let from = SocketAddr::new(client.ip(), 1000 + transmit.socket.0 as u16);
            place.hear(transmit.to, from, &transmit.bytes).unwrap();
        }
        for (from, to, bytes) in std::mem::take(&mut place.sent) {
            if to.ip() == client.ip() {
                let socket = SocketId(u32::from(to.port() - 1000));
                let _ = agent.handle_datagram(place.now, socket, from, &bytes);
            }
        }
        place.now += ms(50);
        agent.handle_timeout(place.now);
    }
}

fn news(agent: &mut Agent) -> Vec<RelayNews> {
    let of = |event| match event {
        Event::Relay { news, .. } => Some(news),
        _ => None,
    };
    std::iter::from_fn(|| agent.poll_event()).filter_map(of).collect()
}

#[test]
fn our_client_gets_an_allocation_and_gives_it_back() {
    let mut place = Place::new(&FOUR);
    let mut agent = allocate(&mut place, CLIENT, 1);
    let relayed = agent.local_candidates().find(|local| local.kind == CandidateKind::Relay).unwrap().address;
    assert_eq!(place.server.relayed().collect::<Vec<_>>(), [relayed]);
    assert_eq!(relayed.ip(), address(FOUR[0]).ip());
    agent.remove_relay_server(place.now, address(FOUR[0]));
    exchange(&mut place, &mut agent, address(CLIENT));
    assert_eq!(place.server.relayed().count(), 0);
    assert!(!place.open.contains(&relayed), "its socket is closed");
}

#[test]
fn an_allocation_that_nobody_refreshes_ends() {
    let mut place = Place::new(&FOUR);
    drop(allocate(&mut place, CLIENT, 1));
    assert_eq!(place.server.relayed().count(), 1);
    forget(&mut place);
    assert_eq!(place.server.relayed().count(), 0);
    assert_eq!(place.open.len(), 4);
}

/// Of the two that one request may ask for (RFC 8656 section 7.2).
#[test]
fn an_allocation_of_two_families_ends_as_well_when_only_one_could_be_had() {
    let mut place = Place::new(&[FOUR[0], "[2001:db8::1]:3478"]);
    place.opens_ipv4 = false;
    let both = |message: Builder| message.requested_udp().attribute(0x8000, &[2, 0, 0, 0]).unwrap();
    let request = |id: u8| both(Builder::new(Class::Request, method::ALLOCATE, TransactionId([id; 12])));
    place.hear(address(FOUR[0]), address(CLIENT), &request(1).finish(None)).unwrap();
    let challenge = place.sent.pop().unwrap().2;
    let challenge = Message::parse(&challenge).unwrap();
    let realm = challenge.realm().unwrap();
    let signed = request(2)
        .username(USER)
        .attribute(turn::attribute::REALM, realm.as_bytes())
        .and_then(|message| message.attribute(turn::attribute::NONCE, challenge.nonce().unwrap()))
        .unwrap();
    let key = Key::long_term(USER, realm, PASSWORD, PasswordAlgorithm::Md5);
    place.hear(address(FOUR[0]), address(CLIENT), &signed.finish(Some(&key))).unwrap();
    let answer = place.sent.pop().unwrap().2;
    assert!(Message::parse(&answer).unwrap().relayed_address().unwrap().is_ipv6());
    assert_eq!(place.server.relayed().count(), 1);
    forget(&mut place);
    assert_eq!(place.server.relayed().count(), 0);
    assert_eq!(place.open.len(), 2);
}

/// Time goes by.
fn forget(place: &mut Place) {
    for _ in 0..10_000 {
        let Some(next) = place.server.poll_timeout() else { break };
        place.now = place.now.max(next);
        place.server.handle_timeout(place.now);
        place.drain();
    }
}

#[test]
fn one_client_and_all_together_have_a_limit() {
    let mut place = Place::new(&FOUR);
    let mut first = allocate(&mut place, CLIENT, 3);
    let refused = news(&mut first).iter().filter(|news| **news == RelayNews::Refused(508)).count();
    assert_eq!((refused, place.server.relayed().count()), (1, 2), "two for one client");
    let mut second = allocate(&mut place, "192.0.2.11:1000", 2);
    let refused = news(&mut second).iter().filter(|news| **news == RelayNews::Refused(508)).count();
    assert_eq!((refused, place.server.relayed().count()), (1, 3), "three in all");
}

#[test]
fn a_flood_of_pretended_clients_is_bounded_and_those_who_are_there_go_on() {
    let mut place = Place::new(&FOUR);
    let mut agent = allocate(&mut place, CLIENT, 1);
    // Allocate, method 3, for UDP.
    let request = Builder::new(Class::Request, 0x003, TransactionId([5; 12]));
    let request = request.attribute(0x0019, &[17, 0, 0, 0]).unwrap().finish(None);
    let flood = |place: &mut Place, count: u16| {
        let strangers = (0..count).map(|port| SocketAddr::new([203, 0, 113, 7].into(), 1024 + port));
        strangers.filter(|from| place.hear(address(FOUR[0]), *from, &request).is_ok()).count()
    };
    assert_eq!(flood(&mut place, 60), MOST_CLIENTS - 1, "one is there already");
    assert_eq!(
        place.hear(address(FOUR[0]), address("203.0.113.8:1"), &request_of(9)),
        Err(ServerRejected::TooManyClients)
    );
    place.sent.clear();
    agent.remove_relay_server(place.now, address(FOUR[0]));
    exchange(&mut place, &mut agent, address(CLIENT));
    assert_eq!(place.server.relayed().count(), 0, "its refresh was heard");
    assert_eq!(flood(&mut place, 60), 60, "with nobody to be spared, all is forgotten in between");
    assert_eq!(news(&mut allocate(&mut place, "192.0.2.99:1000", 1)).len(), 1);
    assert_eq!(place.server.relayed().count(), 1);
}

fn request_of(id: u8) -> Vec<u8> {
    Builder::new(Class::Request, 0x003, TransactionId([id; 12])).finish(None)
}

#[test]
fn what_arrives_elsewhere_is_refused() {
    let mut place = Place::new(&FOUR);
    assert_eq!(
        place.hear(address("198.51.100.9:1"), address(CLIENT), b""),
        Err(ServerRejected::UnknownAddress)
    );
}

proptest! {
    #[test]
    fn any_bytes_are_survived(data in prop::collection::vec(any::<u8>(), 0..200), method in 0_u16..16, relayed: bool) {
        let mut place = Place::new(&FOUR);
        let agent = allocate(&mut place, CLIENT, 1);
        let relay = agent.local_candidates().find(|local| local.kind == CandidateKind::Relay).unwrap().address;
        let at = if relayed { relay } else { address(FOUR[0]) };
        let _ = place.hear(at, address(CLIENT), &data);
        let mut message = Builder::new(Class::Request, method, TransactionId([9; 12]));
        for chunk in data.chunks(7) {
            message = message.attribute(u16::from(chunk[0]), &chunk[1..]).unwrap_or_else(|_| Builder::new(Class::Request, method, TransactionId([9; 12])));
        }
        let _ = place.hear(at, address(CLIENT), &message.finish(None));
        prop_assert!(place.server.relayed().count() <= 1);
        place.now += Duration::from_secs(1);
        place.server.handle_timeout(place.now);
        place.drain();
    }
}
