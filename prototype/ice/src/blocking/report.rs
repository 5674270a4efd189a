//! What one end has seen: all that a verdict rests on. The ends tell each other theirs.

use std::net::SocketAddr;

use super::bytes::{Reader, Writer};
use super::nat::{Mapping, NatClass};
use super::probe::Variant;
use crate::behaviour::{Dependence, Filtering};

/// How many were sent, and how many of them arrived or were answered. At most 15 of each are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Sent.
    pub sent: u8,
    /// Arrived at the other end, or, of the control, answered.
    pub arrived: u8,
}

/// One for each of [`Variant::ALL`], in its order.
pub type Tallies = [Tally; Variant::ALL.len()];

/// By which interface the kernel would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Route {
    /// Not looked for.
    #[default]
    Unknown,
    /// By the socket's own.
    Right,
    /// By another one.
    Wrong,
    /// By none.
    None,
}

/// What came of three TCP connections to the control's address: all of them have to come to something, so that a path
/// that loses nearly everything does not pass for one on which TCP works.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reach {
    /// Not tried, or not finished.
    #[default]
    Unknown,
    /// Accepted: the control is up, and the interface carries traffic.
    Connected,
    /// Refused at least once, and answered always: the interface carries traffic.
    Refused,
    /// Nothing came back, once at least.
    Silent,
}

/// One socket of an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SocketReport {
    /// Names it to the other end.
    pub index: u8,
    /// Kernel name, at most 15 bytes.
    pub interface: String,
    /// Its outside is known, or will not be.
    pub ready: bool,
    /// Its own address, then its addresses outside, if they differ.
    pub addresses: Vec<SocketAddr>,
    /// What is known of NATs before it.
    pub nat: NatClass,
    /// What the control answered; none if there is no control of this family.
    pub control: Option<Tallies>,
    /// What servers that carriers know answered to plain STUN.
    pub servers: Tally,
    /// Messages from such servers that were no STUN, while the control was being asked.
    pub signals: u8,
    /// A TCP connection to the control's address.
    pub reach: Reach,
    /// Towards the control, or the servers if there is none.
    pub route: Route,
}

/// One socket of an end and one of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkReport {
    /// Index of the reporting end's socket.
    pub local: u8,
    /// Index of the other end's.
    pub remote: u8,
    /// Of the reporting end.
    pub sent: [u8; Variant::ALL.len()],
    /// Of the other end.
    pub received: [u8; Variant::ALL.len()],
    /// Where the newest of those came from.
    pub seen: Option<SocketAddr>,
    /// Towards the other end.
    pub route: Route,
}

/// All that one end has seen.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Which run it is of.
    pub run: u64,
    /// Nothing more will come.
    pub finished: bool,
    /// Its sockets.
    pub sockets: Vec<SocketReport>,
    /// Pairs with the other end's.
    pub links: Vec<LinkReport>,
}

/// More than any host has, and few enough for a datagram.
pub const MOST_SOCKETS: usize = 8;
/// Pairs beyond it are not probed.
pub const MOST_LINKS: usize = 20;
/// Its own and what NATs gave it.
pub(super) const MOST_ADDRESSES: usize = 4;
const FORMAT: u8 = 1;
const LONGEST_NAME: usize = 15;
/// What four bits hold.
pub(super) const MOST: u8 = 15;

impl Report {
    /// For the other end; pairs, then sockets, that would make it longer than `limit` bytes are left out.
    pub fn to_bytes(&self, limit: usize) -> Vec<u8> {
        let mut whole = self.clone();
        whole.sockets.truncate(MOST_SOCKETS);
        whole.links.truncate(MOST_LINKS);
        loop {
            let bytes = whole.encode();
            if bytes.len() <= limit || (whole.links.pop().is_none() && whole.sockets.pop().is_none()) {
                return bytes;
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(FORMAT);
        writer.number(self.run);
        writer.byte(u8::from(self.finished));
        writer.byte(self.sockets.len() as u8);
        self.sockets.iter().for_each(|socket| socket.write(&mut writer));
        writer.byte(self.links.len() as u8);
        self.links.iter().for_each(|link| link.write(&mut writer));
        writer.0
    }

    /// None if it is not one, to the last byte.
    pub fn from_bytes(bytes: &[u8]) -> Option<Report> {
        let mut reader = Reader(bytes);
        if reader.byte()? != FORMAT {
            return None;
        }
        let run = reader.number()?;
        let finished = reader.flag()?;
        let sockets = reader.list(MOST_SOCKETS, SocketReport::read)?;
        let links = reader.list(MOST_LINKS, LinkReport::read)?;
        reader.0.is_empty().then_some(Report { run, finished, sockets, links })
    }

    /// The socket of this index.
    pub fn socket(&self, index: u8) -> Option<&SocketReport> {
        self.sockets.iter().find(|socket| socket.index == index)
    }

    /// The pair of these.
    pub fn link(&self, local: u8, remote: u8) -> Option<&LinkReport> {
        self.links.iter().find(|link| (link.local, link.remote) == (local, remote))
    }
}

impl SocketReport {
    /// Whether it is of IPv6.
    pub fn is_ipv6(&self) -> bool {
        self.addresses.first().is_some_and(SocketAddr::is_ipv6)
    }

    /// Where the world finds it, as far as that is known.
    pub fn outside(&self) -> Option<SocketAddr> {
        self.addresses.get(1).or(self.addresses.first()).copied()
    }

    fn write(&self, writer: &mut Writer) {
        writer.byte(self.index);
        let mut end = self.interface.len().min(LONGEST_NAME);
        while !self.interface.is_char_boundary(end) {
            end -= 1;
        }
        writer.text(&self.interface[..end]);
        writer.byte(u8::from(self.ready));
        let addresses = self.addresses.len().min(MOST_ADDRESSES);
        writer.byte(addresses as u8);
        self.addresses[..addresses].iter().for_each(|address| writer.address(Some(*address)));
        writer.byte(nat_code(self.nat));
        writer.byte(u8::from(self.control.is_some()));
        for Tally { sent, arrived } in self.control.iter().flatten() {
            writer.two(*sent, *arrived);
        }
        writer.two(self.servers.sent, self.servers.arrived);
        writer.byte(self.signals.min(MOST));
        let reach = match self.reach {
            Reach::Unknown => 0,
            Reach::Connected => 1,
            Reach::Refused => 2,
            Reach::Silent => 3,
        };
        writer.byte(reach << 2 | route_code(self.route));
    }

    fn read(reader: &mut Reader<'_>) -> Option<SocketReport> {
        let index = reader.byte()?;
        let interface = reader.text().filter(|name| name.len() <= LONGEST_NAME)?.to_owned();
        let ready = reader.flag()?;
        let addresses = reader.list(MOST_ADDRESSES, |reader| reader.address()?)?;
        let nat = nat_of(reader.byte()?)?;
        let mut control = None;
        if reader.flag()? {
            let mut tallies = Tallies::default();
            for tally in &mut tallies {
                let (sent, arrived) = reader.two()?;
                *tally = Tally { sent, arrived };
            }
            control = Some(tallies);
        }
        let (sent, arrived) = reader.two()?;
        let signals = reader.byte().filter(|signals| *signals <= MOST)?;
        let last = reader.byte()?;
        let reach = match last >> 2 {
            0 => Reach::Unknown,
            1 => Reach::Connected,
            2 => Reach::Refused,
            3 => Reach::Silent,
            _ => return None,
        };
        Some(SocketReport {
            index,
            interface,
            ready,
            addresses,
            nat,
            control,
            servers: Tally { sent, arrived },
            signals,
            reach,
            route: route_of(last & 3),
        })
    }
}

impl LinkReport {
    fn write(&self, writer: &mut Writer) {
        writer.byte(self.local);
        writer.byte(self.remote);
        self.sent.iter().zip(&self.received).for_each(|(sent, received)| writer.two(*sent, *received));
        writer.address(self.seen);
        writer.byte(route_code(self.route));
    }

    fn read(reader: &mut Reader<'_>) -> Option<LinkReport> {
        let (local, remote) = (reader.byte()?, reader.byte()?);
        let (mut sent, mut received) = ([0; Variant::ALL.len()], [0; Variant::ALL.len()]);
        for (sent, received) in sent.iter_mut().zip(&mut received) {
            (*sent, *received) = reader.two()?;
        }
        let seen = reader.address()?;
        let route = reader.byte().filter(|code| *code < 4).map(route_of)?;
        Some(LinkReport { local, remote, sent, received, seen, route })
    }
}

impl Writer {
    /// Both in one byte; what is more than 15 is told as 15.
    fn two(&mut self, first: u8, second: u8) {
        self.byte(first.min(MOST) << 4 | second.min(MOST));
    }
}

impl Reader<'_> {
    fn two(&mut self) -> Option<(u8, u8)> {
        self.byte().map(|both| (both >> 4, both & MOST))
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn list<T>(&mut self, most: usize, mut read: impl FnMut(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let length = usize::from(self.byte()?);
        if length > most {
            return None;
        }
        (0..length).map(|_| read(self)).collect()
    }
}

fn route_code(route: Route) -> u8 {
    match route {
        Route::Unknown => 0,
        Route::Right => 1,
        Route::Wrong => 2,
        Route::None => 3,
    }
}

fn route_of(code: u8) -> Route {
    match code {
        1 => Route::Right,
        2 => Route::Wrong,
        3 => Route::None,
        _ => Route::Unknown,
    }
}

fn nat_code(nat: NatClass) -> u8 {
    let mapping = match nat.mapping {
        None => 0,
        Some(Mapping::Independent) => 1,
        Some(Mapping::Dependent) => 2,
    };
    let filtering = match nat.filtering {
        None => 0,
        Some(Filtering::None) => 1,
        Some(Filtering::Tied(Dependence::EndpointIndependent)) => 2,
        Some(Filtering::Tied(Dependence::AddressDependent)) => 3,
        Some(Filtering::Tied(Dependence::AddressAndPortDependent)) => 4,
    };
    mapping << 4 | filtering
}

fn nat_of(code: u8) -> Option<NatClass> {
    let mapping = match code >> 4 {
        0 => None,
        1 => Some(Mapping::Independent),
        2 => Some(Mapping::Dependent),
        _ => return None,
    };
    let filtering = match code & 0x0f {
        0 => None,
        1 => Some(Filtering::None),
        2 => Some(Filtering::Tied(Dependence::EndpointIndependent)),
        3 => Some(Filtering::Tied(Dependence::AddressDependent)),
        4 => Some(Filtering::Tied(Dependence::AddressAndPortDependent)),
        _ => return None,
    };
    Some(NatClass { mapping, filtering })
}
