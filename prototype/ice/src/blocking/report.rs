//! What one end has seen: all that a verdict rests on. The ends tell each other theirs.

use std::net::SocketAddr;

use super::bytes::{Reader, Writer};
use super::nat::{Mapping, NatClass};
use super::probe::Variant;
use crate::behaviour::{Dependence, Filtering};

/// How many were sent, one in each round, and in which rounds one arrived or was answered. At most 15 of each are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Sent.
    pub sent: u8,
    /// Rounds whose packet arrived at the other end, or, of the control and servers, was answered: the lowest bit is the
    /// first round.
    pub rounds: u16,
}

impl Tally {
    /// Packets that arrived.
    pub fn arrived(self) -> u8 {
        self.rounds.count_ones() as u8
    }

    /// Packets up to the newest that arrived.
    pub(super) fn until(self) -> u8 {
        (u16::BITS - self.rounds.leading_zeros()) as u8
    }

    /// Packets after the newest that arrived.
    pub(super) fn silent(self) -> u8 {
        self.sent.saturating_sub(self.until())
    }

    /// The packets from that one on.
    pub(super) fn since(self, packets: u8) -> Tally {
        let rounds = self.rounds.checked_shr(packets.into()).unwrap_or(0);
        Tally { sent: self.sent.saturating_sub(packets), rounds }
    }
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
    /// Place of its first round in the report's [`rounds`](Report::rounds).
    pub first_round: u8,
    /// Rounds of the other end whose packets arrived, as bits.
    pub received: [u16; Variant::ALL.len()],
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
    /// When each of its rounds began, in milliseconds since the first.
    pub rounds: Vec<u16>,
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
const FORMAT: u8 = 2;
const LONGEST_NAME: usize = 15;
/// What four bits hold.
pub(super) const MOST: u8 = 15;
/// A bit for each round.
const ALL_ROUNDS: u16 = (1 << MOST) - 1;
/// Rounds whose time is told: those of the control, and those of pairs that begin as late as they may.
pub const MOST_ROUNDS: usize = 32;

impl Report {
    /// For the other end; pairs, then sockets, then times of rounds, that would make it longer than `limit` bytes are left out.
    pub fn to_bytes(&self, limit: usize) -> Vec<u8> {
        let mut whole = self.clone();
        whole.sockets.truncate(MOST_SOCKETS);
        whole.links.truncate(MOST_LINKS);
        loop {
            let bytes = whole.encode();
            let fits = bytes.len() <= limit;
            if fits
                || (whole.links.pop().is_none()
                    && whole.sockets.pop().is_none()
                    && whole.rounds.pop().is_none())
            {
                return bytes;
            }
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::default();
        writer.byte(FORMAT);
        writer.number(self.run);
        writer.byte(u8::from(self.finished));
        let rounds = self.rounds.get(..MOST_ROUNDS).unwrap_or(&self.rounds);
        writer.byte(rounds.len() as u8);
        rounds.iter().for_each(|round| writer.short(*round));
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
        let rounds = reader.list(MOST_ROUNDS, Reader::short)?;
        let sockets = reader.list(MOST_SOCKETS, SocketReport::read)?;
        let links = reader.list(MOST_LINKS, LinkReport::read)?;
        reader.0.is_empty().then_some(Report { run, finished, rounds, sockets, links })
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
        self.control.iter().flatten().for_each(|tally| writer.tally(*tally));
        writer.tally(self.servers);
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
                *tally = reader.tally()?;
            }
            control = Some(tallies);
        }
        let servers = reader.tally()?;
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
            servers,
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
        for (sent, rounds) in self.sent.iter().zip(&self.received) {
            writer.tally(Tally { sent: *sent, rounds: *rounds });
        }
        writer.byte(self.first_round);
        writer.address(self.seen);
        writer.byte(route_code(self.route));
    }

    fn read(reader: &mut Reader<'_>) -> Option<LinkReport> {
        let (local, remote) = (reader.byte()?, reader.byte()?);
        let (mut sent, mut received) = ([0; Variant::ALL.len()], [0; Variant::ALL.len()]);
        for (sent, received) in sent.iter_mut().zip(&mut received) {
            let Tally { sent: told, rounds } = reader.tally()?;
            (*sent, *received) = (told, rounds);
        }
        let first_round = reader.byte()?;
        let seen = reader.address()?;
        let route = reader.byte().filter(|code| *code < 4).map(route_of)?;
        Some(LinkReport { local, remote, sent, first_round, received, seen, route })
    }
}

impl Writer {
    fn short(&mut self, number: u16) {
        self.0.extend(number.to_be_bytes());
    }

    /// In 19 bits of three bytes; what is more than 15 is told as 15.
    fn tally(&mut self, Tally { sent, rounds }: Tally) {
        self.byte(sent.min(MOST));
        self.short(rounds & ALL_ROUNDS);
    }
}

impl Reader<'_> {
    fn short(&mut self) -> Option<u16> {
        Some(u16::from(self.byte()?) << 8 | u16::from(self.byte()?))
    }

    fn tally(&mut self) -> Option<Tally> {
        let sent = self.byte().filter(|sent| *sent <= MOST)?;
        let rounds = self.short().filter(|rounds| *rounds <= ALL_ROUNDS)?;
        Some(Tally { sent, rounds })
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
