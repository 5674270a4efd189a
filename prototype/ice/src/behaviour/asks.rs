//! Requests of a prober: repeated until they are answered or given up. Knows what counts as an answer to each, and
//! nothing of what it means.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::ProbeOutput;
use crate::stun::{self, BINDING, Builder, Class, Message, TransactionId};

/// RFC 5780 section 7.
mod rfc5780 {
    pub(super) const CHANGE_REQUEST: u16 = 0x0003;
    pub(super) const RESPONSE_PORT: u16 = 0x0027;
    pub(super) const OTHER_ADDRESS: u16 = 0x802c;
    pub(super) const CHANGE_ADDRESS: u32 = 0x04;
    pub(super) const CHANGE_PORT: u32 = 0x02;
}

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// An answer by the way that the request came.
    Plain,
    /// An answer from another port, or from another address and port.
    From { address: bool },
    /// An answer to another port of the same host; it is expected on this socket.
    To { port: u16, socket: u32 },
    /// Nothing: it is to arrive at a socket of ours, over the NAT.
    Knock,
}

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Asked, and neither answered nor given up.
    Open,
    /// An answer as it was wished.
    Answered { mapped: SocketAddr, other: Option<SocketAddr> },
    /// An answer, but from the address that was asked.
    NotChanged,
    /// An error, such as 420 for an attribute that the server does not know.
    Refused,
    /// It came in again, from this source.
    Heard { from: SocketAddr },
    /// Nothing within the time.
    Silent,
}

/// One request.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    id: TransactionId,
    pub(super) socket: u32,
    pub(super) to: SocketAddr,
    wish: Wish,
    bytes: Vec<u8>,
    left: u32,
    pace: Pace,
    pub(super) first_sent: Instant,
    pub(super) last_sent: Instant,
    pub(super) answered: Option<Instant>,
    deadline: Instant,
    pub(super) outcome: Outcome,
}

/// How often something is repeated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// Transmissions in all.
    pub(super) times: u32,
    /// Between two.
    pub(super) every: Duration,
    /// After the last.
    pub(super) then: Duration,
}

/// Answers are expected: RFC 8489 section 6.2.1 has seven transmissions and doubles the time between them, which would
/// take 39.5 s to find out that there is no server. With one packet in five lost, one in 60,000 is given up.
pub(super) const EXPECTED: Pace =
    Pace { times: 7, every: Duration::from_millis(500), then: Duration::from_millis(1500) };
/// Silence may be the answer; likewise, but sooner.
pub(super) const DOUBTFUL: Pace =
    Pace { times: 7, every: Duration::from_millis(250), then: Duration::from_millis(1000) };

/// All requests of a step.
#[derive(Debug, Default)]
pub(super) struct Asks(Vec<Ask>);

impl Asks {
    /// Sends the first of them; gives its number within the step.
    pub(super) fn begin(
        &mut self,
        at: Instant,
        id: TransactionId,
        (socket, to): (u32, SocketAddr),
        wish: Wish,
        pace: Pace,
    ) -> usize {
        let number = self.0.len();
        self.0.push(Ask {
            id,
            socket,
            to,
            wish,
            bytes: request(id, wish),
            left: pace.times,
            pace,
            first_sent: at,
            last_sent: at,
            answered: None,
            deadline: at,
            outcome: Outcome::Open,
        });
        number
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    pub(super) fn get(&self, number: usize) -> Option<&Ask> {
        self.0.get(number)
    }

    pub(super) fn outcome(&self, number: usize) -> Outcome {
        self.0.get(number).map_or(Outcome::Silent, |ask| ask.outcome)
    }

    /// The outside that an answer told of.
    pub(super) fn mapped(&self, number: usize) -> Option<SocketAddr> {
        match self.outcome(number) {
            Outcome::Answered { mapped, .. } => Some(mapped),
            _ => None,
        }
    }

    pub(super) fn all_settled(&self) -> bool {
        self.0.iter().all(|ask| ask.outcome != Outcome::Open)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Ask> {
        self.0.iter()
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.iter().filter(|ask| ask.outcome == Outcome::Open).map(|ask| ask.deadline).min()
    }

    /// Transmissions that are due, and giving up.
    pub(super) fn handle_timeout(&mut self, now: Instant, outputs: &mut VecDeque<ProbeOutput>) {
        for ask in self.0.iter_mut().filter(|ask| ask.outcome == Outcome::Open && ask.deadline <= now) {
            if ask.left == 0 {
                ask.outcome = Outcome::Silent;
                continue;
            }
            if ask.left == ask.pace.times {
                ask.first_sent = now;
            }
            ask.left -= 1;
            ask.last_sent = now;
            ask.deadline = now + if ask.left == 0 { ask.pace.then } else { ask.pace.every };
            let (socket, to, bytes) = (ask.socket, ask.to, ask.bytes.clone());
            outputs.push_back(ProbeOutput::Transmit { socket, to, bytes });
        }
    }

    /// Takes an answer; everything else is none of ours.
    pub(super) fn handle(&mut self, now: Instant, socket: u32, from: SocketAddr, data: &[u8]) {
        let Ok(message) = Message::parse(data) else { return };
        if message.method() != BINDING {
            return;
        }
        let id = message.transaction();
        let sent = |ask: &&mut Ask| ask.id == id && ask.left < ask.pace.times;
        let Some(ask) = self.0.iter_mut().find(sent) else { return };
        if let Some(outcome) = ask.read(socket, from, &message)
            && ask.outcome.gives_way_to(outcome)
        {
            ask.outcome = outcome;
            ask.answered = Some(now);
        }
    }
}

impl Outcome {
    /// An answer as wished is better than any other, even after giving up.
    fn gives_way_to(self, newer: Outcome) -> bool {
        let as_wished = matches!(newer, Outcome::Answered { .. } | Outcome::Heard { .. });
        match self {
            Outcome::Open => true,
            Outcome::Silent | Outcome::NotChanged | Outcome::Refused => as_wished,
            Outcome::Answered { .. } | Outcome::Heard { .. } => false,
        }
    }
}

impl Ask {
    fn read(&self, socket: u32, from: SocketAddr, message: &Message<'_>) -> Option<Outcome> {
        let own = (socket, from) == (self.socket, self.to);
        match (self.wish, message.class()) {
            // On which of our sockets does not matter: it went out, and came in again.
            (Wish::Knock, Class::Request) => Some(Outcome::Heard { from }),
            (Wish::Knock, _) | (_, Class::Request | Class::Indication) => None,
            (_, Class::Error) => own.then_some(Outcome::Refused),
            (wish, Class::Success) => {
                let as_wished = match wish {
                    Wish::Plain => own,
                    Wish::From { address } => {
                        let changed = (from.ip() != self.to.ip()) == address && from.port() != self.to.port();
                        socket == self.socket && changed
                    }
                    Wish::To { socket: expected, .. } => (socket, from) == (expected, self.to),
                    Wish::Knock => false,
                };
                match message.mapped_address() {
                    Some(mapped) if as_wished => {
                        let other = message.attribute(rfc5780::OTHER_ADDRESS).and_then(stun::plain_address);
                        let mapped = crate::candidate::canonical(mapped);
                        (mapped.is_ipv4() == self.to.is_ipv4()).then_some(Outcome::Answered { mapped, other })
                    }
                    // A server that does not know the attribute and does not say so.
                    _ if own && wish != Wish::Plain => Some(Outcome::NotChanged),
                    _ => None,
                }
            }
        }
    }
}

fn request(id: TransactionId, wish: Wish) -> Vec<u8> {
    let builder = Builder::new(Class::Request, BINDING, id);
    let builder = match wish {
        Wish::Plain | Wish::Knock => builder,
        Wish::From { address } => {
            let flags = rfc5780::CHANGE_PORT | if address { rfc5780::CHANGE_ADDRESS } else { 0 };
            builder.push(rfc5780::CHANGE_REQUEST, &flags.to_be_bytes())
        }
        Wish::To { port, .. } => {
            let [high, low] = port.to_be_bytes();
            builder.push(rfc5780::RESPONSE_PORT, &[high, low, 0, 0])
        }
    };
    builder.finish(None)
}
