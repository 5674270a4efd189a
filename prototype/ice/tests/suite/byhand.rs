//! The other agent played by the test, message by message: what RFC 8445 says of every kind of peer.

use std::net::SocketAddr;
use std::time::Instant;

use ice::stun::{self, Builder, Class, Key, Message, RoleClaim, TransactionId};
use ice::{Agent, Credentials, Event, PairId, PairView, Role, SocketId, SocketInfo};

use crate::net::{A, B, address, credentials, ms};

pub(crate) const SOCKET: SocketId = SocketId(0);

/// An agent with one socket, and everything that the test says to it.
pub(crate) struct Hand {
    pub(crate) now: Instant,
    pub(crate) agent: Agent,
    pub(crate) events: Vec<Event>,
    pub(crate) sent: Vec<(SocketId, SocketAddr, Vec<u8>)>,
    /// The credentials of both.
    pub(crate) ours: Credentials,
    pub(crate) theirs: Credentials,
    count: u8,
}

impl Hand {
    pub(crate) fn new(role: Role) -> Hand {
        Hand::with(crate::net::config(A, role))
    }

    pub(crate) fn with(config: ice::Config) -> Hand {
        #[expect(clippy::disallowed_methods, reason = "the epoch of virtual time; nothing depends on it")]
        let now = Instant::now();
        let mut agent = Agent::new(config);
        let info =
            SocketInfo { interface: "wlan0".into(), local: address("192.0.2.10:1000"), preference: 65_535 };
        agent.add_socket(now, SOCKET, info);
        agent.set_remote_credentials(now, credentials(B));
        agent.start(now);
        let mut hand = Hand {
            now,
            agent,
            events: Vec::new(),
            sent: Vec::new(),
            ours: credentials(A),
            theirs: credentials(B),
            count: 0,
        };
        hand.drain();
        hand
    }

    pub(crate) fn drain(&mut self) {
        while let Some(transmit) = self.agent.poll_transmit() {
            self.sent.push((transmit.socket, transmit.to, transmit.bytes));
        }
        self.events.extend(std::iter::from_fn(|| self.agent.poll_event()));
    }

    /// Lets time pass, up to `until`, without a word from the other side.
    pub(crate) fn pass(&mut self, time: std::time::Duration) {
        let end = self.now + time;
        self.drain();
        while let Some(next) = self.agent.poll_timeout().filter(|next| *next <= end) {
            self.now = self.now.max(next);
            self.agent.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
    }

    pub(crate) fn hear(&mut self, from: SocketAddr, bytes: &[u8]) -> Result<(), ice::Rejected> {
        let result = self.agent.handle_datagram(self.now, SOCKET, from, bytes);
        self.drain();
        result
    }

    /// A check of the other agent's, for the test to add to.
    pub(crate) fn check(&mut self, role: Role) -> Builder {
        self.count += 1;
        Builder::new(Class::Request, stun::BINDING, TransactionId([self.count; 12]))
            .username(&format!("{}:{}", self.ours.ufrag(), self.theirs.ufrag()))
            .priority(1)
            .role_claim(RoleClaim { role, tie_breaker: 1 })
    }

    pub(crate) fn hear_check(&mut self, from: SocketAddr, check: Builder) {
        let bytes = check.finish(Some(&Key::short_term(self.ours.pwd())));
        assert_eq!(self.hear(from, &bytes), Ok(()));
    }

    /// Takes what was sent so far.
    pub(crate) fn taken(&mut self) -> Vec<(SocketId, SocketAddr, Vec<u8>)> {
        std::mem::take(&mut self.sent)
    }

    /// Answers every request to `to` that was sent so far with success.
    pub(crate) fn answer(&mut self, to: SocketAddr) {
        for (_, remote, bytes) in self.taken() {
            let request = Message::parse(&bytes).unwrap();
            if remote != to || request.class() != Class::Request {
                continue;
            }
            let response = Builder::response(Class::Success, &request)
                .xor_mapped_address(address("192.0.2.10:1000"))
                .finish(Some(&Key::short_term(self.theirs.pwd())));
            let _ = self.hear(to, &response);
        }
    }

    /// A STUN server answers what it was asked so far: this is how it sees each socket.
    pub(crate) fn answer_from_server(&mut self, server: SocketAddr, seen: impl Fn(SocketId) -> SocketAddr) {
        for (socket, _, bytes) in self.sent.extract_if(.., |(_, to, _)| *to == server).collect::<Vec<_>>() {
            let request = Message::parse(&bytes).unwrap();
            let response = Builder::response(Class::Success, &request).xor_mapped_address(seen(socket));
            let answer = response.finish(None);
            assert_eq!(self.agent.handle_datagram(self.now, socket, server, &answer), Ok(()));
            self.drain();
        }
    }

    /// Makes a pair with `remote` valid, by a check of the other agent's and our triggered one.
    pub(crate) fn make_valid(&mut self, remote: SocketAddr, role: Role) -> PairId {
        let check = self.check(role);
        self.hear_check(remote, check);
        self.pass(ms(60));
        self.answer(remote);
        let pair = self.pair(remote);
        assert!(pair.state.is_valid(), "{pair:?}");
        pair.id
    }

    pub(crate) fn pair(&self, remote: SocketAddr) -> PairView {
        let id = self.agent.pair_of(SOCKET, remote).unwrap();
        self.agent.pair(id).unwrap()
    }

    pub(crate) fn count(&self, which: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| which(event)).count()
    }
}
