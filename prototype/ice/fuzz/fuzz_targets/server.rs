//! A script of what clients, peers and strangers send to the server. Each entry begins with a header of five bytes: time
//! to wait, who sends by which address, what, what kind of seal and attributes, length; so that what lies behind the
//! right key and the current nonce is reached as well. Nobody gets anything for nothing: who shows no key gets one
//! answer at most, not much longer than what he sent, and has no socket opened.
#![cfg_attr(fuzzing, no_main)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use ice::server::{Mimic, Server, ServerConfig, ServerOutput};
use ice::stun::turn::{ChannelData, PasswordAlgorithm, attribute, method};
use ice::stun::whatsapp::{CallId, Participant, Token, kind, with_token};
use ice::stun::{BINDING, Builder, Class, Key, Message, TransactionId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| run(script));

const REALM: &str = "example.org";
const USERS: [(&str, &str); 2] = [("user", "secret"), ("other", "password")];
const MOST_OF_CLIENT: usize = 2;
const MOST: usize = 3;
const MOST_CLIENTS: usize = 5;
/// Clients know a password, strangers do not.
const CLIENTS: u8 = 5;
/// No allocation or end of a call lasts longer without a word of its client's.
const LONGEST_LIFE: Duration = Duration::from_secs(3601);
/// What is wrapped for a client, or told to whom shows no key, is longer than what was sent by this at most.
const OVERHEAD: usize = 200;

/// Keys by user and algorithm, and one of nobody's.
static KEYS: LazyLock<[Key; 5]> = LazyLock::new(|| {
    let of = |(name, password), algorithm| Key::long_term(name, REALM, password, algorithm);
    let [first, second] = USERS;
    let (md5, sha256) = (PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256);
    [of(first, md5), of(first, sha256), of(second, md5), of(second, sha256), of(("user", "wrong"), md5)]
});

fn run(script: &[u8]) {
    let (setup, mut script) = script.split_first().map_or((0, script), |(setup, rest)| (*setup, rest));
    let mut world = World::new(setup);
    while let Some((&[wait, who, what, how, length], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        script = rest;
        // Up to an hour, most of them short.
        world.pass(Duration::from_millis(u64::from(wait).pow(3) / 4));
        world.send(who, what, how, body);
    }
    // Whatever it was told, it comes to rest by itself.
    world.pass(LONGEST_LIFE);
    assert_eq!((world.server.relayed().count(), world.server.call_ends()), (0, 0));
    assert_eq!(world.open.len(), world.listens.len(), "sockets that nobody closes");
}

/// The driver's side, and everybody else's.
struct World {
    now: Instant,
    server: Server,
    listens: Vec<SocketAddr>,
    /// Relayed addresses among them.
    open: BTreeSet<SocketAddr>,
    /// Sockets can be opened: all, none, or only those of one family.
    opens: u8,
    next_port: u16,
    /// What each client was told last, and whether SHA-256 was offered.
    nonces: [(Vec<u8>, bool); CLIENTS as usize],
}

/// What left because of one input.
#[derive(Default)]
struct Left {
    sent: Vec<(SocketAddr, SocketAddr, usize)>,
    opened: usize,
}

impl World {
    fn new(setup: u8) -> World {
        // Behaviour discovery needs all four.
        let listens: Vec<_> = (0..[1, 2, 4, 6][usize::from(setup & 3)]).map(listen).collect();
        let mut config = ServerConfig::new(listens.clone(), REALM);
        config.users = USERS.iter().map(|(name, password)| ((*name).into(), (*password).into())).collect();
        config.most_allocations = (MOST_OF_CLIENT, MOST);
        config.most_clients = MOST_CLIENTS;
        config.mimic = (setup & 4 != 0).then_some(Mimic::WhatsApp { unix_time: Duration::ZERO });
        World {
            now: Instant::now(),
            server: Server::new(config),
            open: listens.iter().copied().collect(),
            listens,
            opens: setup >> 3 & 3,
            next_port: 50_000,
            nonces: Default::default(),
        }
    }

    fn pass(&mut self, wait: Duration) {
        self.now += wait;
        self.server.handle_timeout(self.now);
        let left = self.drain();
        assert!(left.opened == 0 && left.sent.is_empty(), "nothing is sent unasked");
    }

    fn send(&mut self, who: u8, what: u8, how: u8, body: &[u8]) {
        let place = who & 7;
        let at = match who >> 3 & 3 {
            // The first one again and again, so that it comes to something.
            0 | 1 => self.listens[0],
            2 => self.listens[usize::from(who >> 5) % self.listens.len()],
            _ => self.server.relayed().nth(usize::from(who >> 5)).unwrap_or(self.listens[0]),
        };
        let (datagram, has_key) = self.datagram(place, what, how, body);
        let from = sender(place);
        let _ = self.server.handle_datagram(self.now, at, from, &datagram);
        let left = self.drain();
        assert!(left.opened <= if has_key { 2 } else { 0 }, "a socket for nothing");
        assert!(left.sent.len() <= 1, "one answer, or one thing passed on");
        if !has_key {
            for (_, _, length) in &left.sent {
                assert!(*length <= datagram.len() + OVERHEAD, "{length} bytes for {}", datagram.len());
            }
        }
        let passed_on = self.server.relayed().next().is_some() || self.server.call_ends() > 0;
        for (_, to, _) in left.sent {
            assert!(to.ip() == from.ip() || passed_on, "{to} was sent to for {from}");
        }
    }

    fn drain(&mut self) -> Left {
        let mut left = Left::default();
        while let Some(output) = self.server.poll() {
            match output {
                ServerOutput::Transmit { from, to, bytes } => {
                    assert!(self.open.contains(&from), "{from} is not open");
                    left.sent.push((from, to, bytes.len()));
                    self.learn(to, &bytes);
                }
                ServerOutput::Open { ticket, ip } => {
                    left.opened += 1;
                    let can = [true, false, ip.is_ipv4(), ip.is_ipv6()][usize::from(self.opens)];
                    let relayed = can.then_some(SocketAddr::new(ip, self.next_port));
                    self.next_port += 1;
                    self.open.extend(relayed);
                    self.server.opened(self.now, ticket, relayed);
                }
                ServerOutput::Close { relayed } => {
                    assert!(self.open.remove(&relayed), "{relayed} was not open")
                }
            }
        }
        assert!(self.server.relayed().count() <= MOST && self.server.call_ends() <= MOST);
        assert_eq!(self.open.len(), self.listens.len() + self.server.relayed().count());
        left
    }

    fn learn(&mut self, to: SocketAddr, bytes: &[u8]) {
        let Ok(message) = Message::parse(bytes) else { return };
        let client = (0..CLIENTS).find(|client| sender(*client) == to);
        if let (Some(client), Some(nonce)) = (client, message.nonce()) {
            self.nonces[usize::from(client)] = (nonce.to_vec(), message.offers_sha256());
        }
    }

    /// What is sent, and whether that takes a password.
    fn datagram(&self, place: u8, what: u8, how: u8, body: &[u8]) -> (Vec<u8>, bool) {
        let seal = if place < CLIENTS { how & 3 } else { 0 };
        let request = match what & 15 {
            1 => BINDING,
            2 | 3 => method::ALLOCATE,
            4 => method::REFRESH,
            5 | 6 => method::CREATE_PERMISSION,
            7 | 8 => method::CHANNEL_BIND,
            9 => u16::from(what >> 4),
            10 | 11 => {
                let send = Builder::new(Class::Indication, method::SEND, TransactionId([what; 12]));
                return (send.peer_address(sender(what >> 4)).data(body).finish(None), false);
            }
            12 | 13 => {
                let number = 0x4000 + u16::from(what >> 4);
                return (ChannelData { number, data: body }.to_bytes().unwrap_or_default(), false);
            }
            14 if place < CLIENTS => {
                let kind =
                    [kind::ALLOCATE, kind::ALLOCATE, kind::PROBE, kind::END][usize::from(what >> 4 & 3)];
                let call = CallId([what >> 6; 16]);
                let token = Token::new(USERS[0].1, call, Participant(u64::from(how & 3)));
                return (with_token(kind, TransactionId([what; 12]), &token), true);
            }
            _ => return (body.to_vec(), false),
        };
        let class = if request == BINDING || how & 0xc0 != 0xc0 { Class::Request } else { Class::Indication };
        let message = Builder::new(class, request, TransactionId([what; 12]));
        let message = with_attributes(with_usual(message, request, what >> 4, how), body);
        match seal {
            0 => (message.finish(None), false),
            3 => (self.sealed(message, place, 1, &KEYS[4]), false),
            seal => {
                let user = usize::from(seal - 1);
                let sha256 = self.nonces[usize::from(place)].1;
                (self.sealed(message, place, user, &KEYS[2 * user + usize::from(sha256)]), true)
            }
        }
    }

    /// RFC 8489 section 9.2.3.
    fn sealed(&self, message: Builder, place: u8, user: usize, key: &Key) -> Vec<u8> {
        let (nonce, sha256) = &self.nonces[usize::from(place)];
        let message = message.username(USERS[user].0);
        let realm = |message: Builder| message.attribute(attribute::REALM, REALM.as_bytes());
        let nonce = |message: Builder| message.attribute(attribute::NONCE, nonce);
        let mut message = realm(message).and_then(nonce).expect("there is room");
        if *sha256 {
            let algorithms = |message: Builder| {
                message.attribute(attribute::PASSWORD_ALGORITHMS, &[0, 2, 0, 0, 0, 1, 0, 0])
            };
            let algorithm =
                |message: Builder| message.attribute(attribute::PASSWORD_ALGORITHM, &[0, 2, 0, 0]);
            message = algorithm(message).and_then(algorithms).expect("there is room");
        }
        message.finish(Some(key))
    }
}

/// What such a request has to hold, but not always.
fn with_usual(message: Builder, request: u16, which: u8, how: u8) -> Builder {
    let peer = sender(which & 7);
    if how & 4 != 0 {
        return message;
    }
    match request {
        method::ALLOCATE => {
            let message = message.requested_udp();
            match how >> 3 & 3 {
                0 => message,
                1 => message.requested_family(true),
                // ADDITIONAL-ADDRESS-FAMILY, RFC 8656 section 18.12.
                2 => message.attribute(0x8000, &[2, 0, 0, 0]).expect("there is room"),
                _ => message.lifetime(u32::from(which) << 8),
            }
        }
        method::REFRESH => message.lifetime(u32::from(how >> 3 & 7) * 300),
        method::CREATE_PERMISSION => message.peer_address(peer),
        method::CHANNEL_BIND => message.peer_address(peer).channel_number(0x4000 + u16::from(which)),
        // CHANGE-REQUEST, RFC 5780 section 7.2.
        BINDING if how & 8 != 0 => message.attribute(3, &[0, 0, 0, which & 6]).expect("there is room"),
        _ => message,
    }
}

fn with_attributes(mut message: Builder, mut attributes: &[u8]) -> Builder {
    while let Some((&[high, low, length], rest)) = attributes.split_first_chunk() {
        let (value, rest) = rest.split_at(rest.len().min(usize::from(length)));
        attributes = rest;
        // Half of them from the block where those lie that mean something.
        let kind = if high & 1 == 0 { u16::from(low & 0x3f) } else { 0x8000 | u16::from(low) };
        if ![0x0008, 0x001c, 0x8028].contains(&kind) {
            message = message.attribute(kind, value).expect("scripts are short");
        }
    }
    message
}

/// Two addresses by two ports, and those of IPv6.
fn listen(place: u8) -> SocketAddr {
    match place {
        0..4 => ([198, 51, 100, 1 + (place >> 1)], 3478 + u16::from(place & 1)).into(),
        _ => ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 3478 + u16::from(place & 1)).into(),
    }
}

/// Clients and strangers; three of them have one address.
fn sender(place: u8) -> SocketAddr {
    match place & 7 {
        2 | 6 => ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 2], 1000 + u16::from(place)).into(),
        place @ (0 | 1 | 3) => ([192, 0, 2, 2], 1000 + u16::from(place)).into(),
        place => ([203, 0, 113, place], 1000).into(),
    }
}
