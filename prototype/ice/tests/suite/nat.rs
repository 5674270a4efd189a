//! A NAT by the words of RFC 4787, and what may be expected of two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

/// What a mapping or a filter depends on (RFC 4787 sections 4.1 and 5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Dependence {
    Endpoint,
    Address,
    AddressAndPort,
}

pub(crate) const DEPENDENCES: [Dependence; 3] =
    [Dependence::Endpoint, Dependence::Address, Dependence::AddressAndPort];

/// Mapping and filtering.
pub(crate) type Class = (Dependence, Dependence);

pub(crate) fn classes() -> Vec<Class> {
    DEPENDENCES.iter().flat_map(|mapping| DEPENDENCES.map(|filtering| (*mapping, filtering))).collect()
}

/// One inside socket's NAT.
#[derive(Clone, Debug)]
pub(crate) struct Nat {
    class: Class,
    ip: IpAddr,
    next_port: u16,
    mappings: BTreeMap<Option<(IpAddr, u16)>, u16>,
    sent: BTreeSet<(u16, SocketAddr)>,
}

impl Nat {
    pub(crate) fn new(class: Class, first: SocketAddr) -> Nat {
        Nat {
            class,
            ip: first.ip(),
            next_port: first.port(),
            mappings: BTreeMap::new(),
            sent: BTreeSet::new(),
        }
    }

    /// How a datagram to `to` looks outside.
    pub(crate) fn out(&mut self, to: SocketAddr) -> SocketAddr {
        let key = match self.class.0 {
            Dependence::Endpoint => None,
            Dependence::Address => Some((to.ip(), 0)),
            Dependence::AddressAndPort => Some((to.ip(), to.port())),
        };
        let next = &mut self.next_port;
        let port = *self.mappings.entry(key).or_insert_with(|| {
            *next += 1;
            *next - 1
        });
        self.sent.insert((port, to));
        SocketAddr::new(self.ip, port)
    }

    pub(crate) fn lets_in(&self, from: SocketAddr, to: SocketAddr) -> bool {
        let mut sent = self.sent.iter().filter(|(port, _)| *port == to.port());
        to.ip() == self.ip
            && match self.class.1 {
                Dependence::Endpoint => sent.next().is_some(),
                Dependence::Address => sent.any(|(_, peer)| peer.ip() == from.ip()),
                Dependence::AddressAndPort => sent.any(|(_, peer)| *peer == from),
            }
    }
}

/// Whether two ends behind such NATs can meet at all: each sends from its one socket to every address of the other
/// that it has been told or has seen, again and again, until nothing new happens. A round trip that answers from
/// where it was asked is a path, and both ends need to see one.
pub(crate) fn can_meet(classes: [Class; 2]) -> bool {
    let server: SocketAddr = ([198, 51, 100, 1], 3478).into();
    let mut nats = [0, 1].map(|me| Nat::new(classes[me], ([203, 0, 113, me as u8 + 1], 40_000).into()));
    let mut known = [BTreeSet::new(), BTreeSet::new()];
    for me in [0, 1] {
        known[1 - me].insert(nats[me].out(server));
    }
    let mut met = [false, false];
    for _ in 0..10 {
        for me in [0, 1] {
            for to in known[me].clone() {
                let from = nats[me].out(to);
                if !nats[1 - me].lets_in(from, to) {
                    continue;
                }
                known[1 - me].insert(from);
                let answered_from = nats[1 - me].out(from);
                met[me] |= answered_from == to && nats[me].lets_in(to, from);
            }
        }
    }
    met == [true, true]
}
