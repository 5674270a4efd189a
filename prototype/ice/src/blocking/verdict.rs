//! From what both ends have seen to what is blocked: a pure function, and as careful as a function can be.
//!
//! That something passes is proven by packets that arrive to the end: filters that classify a flow by its first packets let
//! those pass. That something is blocked is concluded from silence, so everything
//! else that could have made the silence has to be ruled out first: a route by another interface, a run that was too
//! short, loss, a dead interface, a control that is down, NATs that cannot be punched. What is left open makes the
//! verdict [`Verdict::Inconclusive`].

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use super::nat::can_pass;
use super::probe::Variant;
use super::report::{LinkReport, Reach, Report, Route, SocketReport, Tallies, Tally};
use crate::Rung;

/// Which way, seen from the end that tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From here to the other end.
    Out,
    /// From there to here.
    In,
}

impl Direction {
    /// As results name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::Out => "out",
            Direction::In => "in",
        }
    }
}

/// At which end something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum At {
    /// At the end that tells.
    Here,
    /// At the other one.
    There,
    /// At both.
    Both,
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            At::Here => "at this end",
            At::There => "at the other end",
            At::Both => "at both ends",
        })
    }
}

/// What is blocked between two sockets in one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: every variant passes.
    Open,
    /// What looks like STUN; other UDP passes.
    StunFiltered,
    /// UDP with whoever is not known as a server.
    UdpP2pBlocked {
        /// Where.
        at: At,
    },
    /// All UDP, though the interface carries other traffic.
    UdpBlocked {
        /// Where.
        at: At,
    },
    /// Nothing need be blocked: the NATs of the two ends cannot be punched.
    NatIncompatible,
    /// The other direction passes, this one does not, and NATs are not the cause.
    OneWay,
    /// Silence that may have another cause.
    Inconclusive(Why),
}

impl Verdict {
    /// As results name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Open => "open",
            Verdict::StunFiltered => "stun-filtered",
            Verdict::UdpP2pBlocked { .. } => "udp-p2p-blocked",
            Verdict::UdpBlocked { .. } => "udp-blocked",
            Verdict::NatIncompatible => "nat-incompatible",
            Verdict::OneWay => "one-way",
            Verdict::Inconclusive(_) => "inconclusive",
        }
    }
}

/// What the verdict rests on, in a sentence.
impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Open => f.write_str("every variant arrives"),
            Verdict::StunFiltered => f.write_str("what looks like STUN does not arrive, other UDP does"),
            Verdict::UdpP2pBlocked { at } => {
                write!(f, "{at} servers that the network knows are heard by UDP, the control is not")
            }
            Verdict::UdpBlocked { at } => {
                write!(f, "{at} neither servers nor the control are heard by UDP, though TCP passes")
            }
            Verdict::NatIncompatible => f.write_str("NATs of these two classes let nothing pass"),
            Verdict::OneWay => f.write_str("only the other direction passes"),
            Verdict::Inconclusive(why) => why.fmt(f),
        }
    }
}

/// Why there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// Packets leave by another interface than they should: they say nothing of this one.
    #[error("wrong route: {0} packets leave by another interface")]
    WrongRoute(At),
    /// The kernel has nowhere to send to.
    #[error("no route: {0} the interface leads nowhere")]
    NoRoute(At),
    /// The other end's side of it is missing.
    #[error("the other end did not tell what it saw")]
    NoReport,
    /// Fewer probes than silence takes.
    #[error("stopped before it was found out")]
    Unfinished,
    /// What passes loses too much of it.
    #[error("so much is lost that silence proves nothing")]
    Lossy,
    /// It passed, and something ended that which no control tells of.
    #[error("it arrived at first and then not any more, and neither a control nor servers tell why")]
    Ceased,
    /// Some pass, some do not, and it is not STUN that does not.
    #[error("some variants pass and others do not, by no rule that is known")]
    Pattern,
    /// Not even TCP.
    #[error("nothing at all passes {0}, so that UDP cannot be told from a dead interface")]
    Dead(At),
    /// Silence between two ends has many causes.
    #[error("nothing arrives, and there is no control to tell a block from other causes")]
    NoControl,
    /// A control that nobody hears proves nothing.
    #[error("nothing arrives, and the control answered nobody")]
    ControlSilent,
    /// The classes that decide were not found out.
    #[error("nothing arrives, and what the NATs are was not found out")]
    NatUnknown,
    /// Hairpinning, and whether hosts of one network may talk, are another question.
    #[error("nothing arrives, and both ends are behind one outside address")]
    SameNat,
    /// Both reach the control, and NATs let it pass.
    #[error("nothing arrives, though both ends reach the control and their NATs would let it pass")]
    Unexplained,
}

/// What the control tells of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ControlView {
    /// There was none of this family, or it was not asked enough.
    NotAsked,
    /// Every variant was answered, to the end.
    Open,
    /// Some were.
    Partial,
    /// None was, or none any more.
    Silent,
}

impl ControlView {
    /// As results name it.
    pub fn as_str(self) -> &'static str {
        match self {
            ControlView::NotAsked => "not-asked",
            ControlView::Open => "open",
            ControlView::Partial => "partial",
            ControlView::Silent => "silent",
        }
    }

    fn of(socket: &SocketReport) -> ControlView {
        let Some(tallies) = &socket.control else { return ControlView::NotAsked };
        match Passage::of(tallies).iter().filter(|passage| passage.passes()).count() {
            Variant::COUNT => ControlView::Open,
            0 if tallies.iter().all(|tally| tally.sent >= ENOUGH) => ControlView::Silent,
            0 => ControlView::NotAsked,
            _ => ControlView::Partial,
        }
    }
}

/// One direction between two sockets, with its evidence.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// Interface here.
    pub local_interface: String,
    /// Interface there; none if the other end told nothing.
    pub remote_interface: Option<String>,
    /// Address there.
    pub remote: Option<SocketAddr>,
    /// Of which family.
    pub ipv6: bool,
    /// Which way.
    pub direction: Direction,
    /// How much of each variant arrived.
    pub variants: Tallies,
    /// From where on nothing of each variant arrived.
    pub blocked_after: [Option<BlockedAfter>; Variant::COUNT],
    /// What this end's control answered.
    pub control: ControlView,
    /// What follows.
    pub verdict: Verdict,
}

/// Where a variant ceased to arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockedAfter {
    /// Packets of the variant before the first of those that did not arrive.
    pub packets: u8,
    /// From the variant's first packet to that one.
    pub after: Duration,
}

/// Whether a variant arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Passage {
    /// To the end.
    Passes,
    /// After so many packets nothing did, and that is no chance; after none, nothing ever did.
    Stops(u8),
}

impl Passage {
    fn passes(&self) -> bool {
        *self == Passage::Passes
    }

    /// By round: a filter that classifies a flow first lets its first packets pass. Variants that are silent from some
    /// round on are judged together, by how much of all variants arrived before.
    fn of(tallies: &Tallies) -> [Passage; Variant::COUNT] {
        let is_suspect = |tally: &Tally| tally.rounds != 0 && tally.silent() >= SILENT_ROUNDS;
        let lost: u32 =
            tallies.iter().filter(|tally| is_suspect(tally)).map(|tally| u32::from(tally.silent())).sum();
        let mut before = Total { sent: 0, arrived: 0 };
        for tally in tallies.iter().filter(|tally| tally.rounds != 0) {
            let sent = if is_suspect(tally) { tally.until() } else { tally.sent.max(tally.until()) };
            before.sent += u32::from(sent);
            before.arrived += u32::from(tally.arrived());
        }
        let is_no_chance = lost > 0 && (1.0 - before.least_rate()).powf(f64::from(lost)) < DOUBT;
        tallies.map(|tally| match tally.rounds {
            0 => Passage::Stops(0),
            _ if is_suspect(&tally) && is_no_chance => Passage::Stops(tally.until()),
            _ => Passage::Passes,
        })
    }
}

/// A variant that is silent for fewer rounds at the end may have lost them.
const SILENT_ROUNDS: u8 = 6;
/// Fewer probes of a variant prove nothing by silence.
const ENOUGH: u8 = 8;
/// So many other messages of servers, while the control was asked, make up for filtered STUN.
const SIGNALS: u8 = 4;
/// A silent variant is a lost one with less than this probability.
const DOUBT: f64 = 1e-5;
/// No path is taken to lose less.
const LEAST_LOSS: f64 = 0.05;

/// Everything that can be said about what is blocked, from the reports of both ends: both directions of each pair of
/// sockets, or of each socket alone if the other end told nothing.
pub fn judge(us: &Report, them: Option<&Report>) -> Vec<Finding> {
    let Some(them) = them.filter(|them| !them.sockets.is_empty()) else {
        return us.sockets.iter().flat_map(|socket| alone(us, socket)).collect();
    };
    let pairs = us.sockets.iter().flat_map(|ours| them.sockets.iter().map(move |theirs| (ours, theirs)));
    let alike = pairs.filter(|(ours, theirs)| ours.is_ipv6() == theirs.is_ipv6());
    alike.flat_map(|(ours, theirs)| pair(us, them, ours, theirs)).collect()
}

fn pair(us: &Report, them: &Report, ours: &SocketReport, theirs: &SocketReport) -> [Finding; 2] {
    let (mine, yours) = (us.link(ours.index, theirs.index), them.link(theirs.index, ours.index));
    let seen = mine.and_then(|link| link.seen);
    [Direction::Out, Direction::In].map(|direction| {
        let (here, there) = (Side::new(us, ours, mine, At::Here), Side::new(them, theirs, yours, At::There));
        let way = match direction {
            Direction::Out => Way { from: here, to: there },
            Direction::In => Way { from: there, to: here },
        };
        Finding {
            local_interface: ours.interface.clone(),
            remote_interface: Some(theirs.interface.clone()),
            remote: seen.or(theirs.outside()),
            ipv6: ours.is_ipv6(),
            direction,
            variants: way.tallies(),
            blocked_after: way.blocked_after(),
            control: ControlView::of(ours),
            verdict: way.verdict(),
        }
    })
}

/// What can be said of a socket whose other end is not known.
fn alone(us: &Report, socket: &SocketReport) -> [Finding; 2] {
    let verdict = match State::of(socket, control_lives(socket.is_ipv6(), [us])) {
        _ if socket.route == Route::Wrong => Verdict::Inconclusive(Why::WrongRoute(At::Here)),
        _ if socket.route == Route::None => Verdict::Inconclusive(Why::NoRoute(At::Here)),
        State::UdpBlocked => Verdict::UdpBlocked { at: At::Here },
        State::Dead => Verdict::Inconclusive(Why::Dead(At::Here)),
        State::Alive | State::P2pBlocked | State::Unknown => Verdict::Inconclusive(Why::NoReport),
    };
    [Direction::Out, Direction::In].map(|direction| Finding {
        local_interface: socket.interface.clone(),
        remote_interface: None,
        remote: None,
        ipv6: socket.is_ipv6(),
        direction,
        variants: Tallies::default(),
        blocked_after: Default::default(),
        control: ControlView::of(socket),
        verdict,
    })
}

/// One end of a pair.
#[derive(Clone, Copy)]
struct Side<'a> {
    report: &'a Report,
    socket: &'a SocketReport,
    link: Option<&'a LinkReport>,
    at: At,
}

impl<'a> Side<'a> {
    fn new(report: &'a Report, socket: &'a SocketReport, link: Option<&'a LinkReport>, at: At) -> Side<'a> {
        Side { report, socket, link, at }
    }

    /// Whether servers were heard in the rounds after the first `packets` of the pair, so often that their answers would not
    /// all have been lost with the pair's packets.
    fn hears_servers_since(self, packets: u8) -> bool {
        let Some(link) = self.link else { return false };
        let servers = self.socket.servers.since(link.first_round.saturating_add(packets));
        let lost = u32::from(servers.sent) * Variant::COUNT as u32;
        lost > 0 && by_chance(sum(&[servers]), lost) < DOUBT
    }

    /// Towards the other end, as the kernel says, or as the other end saw it: an address that another socket here has.
    fn route(self, seen: Option<SocketAddr>) -> Route {
        let has = |socket: &SocketReport, ip| socket.addresses.iter().any(|address| address.ip() == ip);
        let others = || self.report.sockets.iter().filter(|other| other.interface != self.socket.interface);
        let wrong =
            |seen: SocketAddr| !has(self.socket, seen.ip()) && others().any(|one| has(one, seen.ip()));
        let by_kernel = self.link.map_or(Route::Unknown, |link| link.route);
        match by_kernel {
            Route::Right | Route::Unknown if seen.is_some_and(wrong) => Route::Wrong,
            by_kernel => by_kernel,
        }
    }
}

/// From one socket to another.
#[derive(Clone, Copy)]
struct Way<'a> {
    from: Side<'a>,
    to: Side<'a>,
}

impl Way<'_> {
    fn tallies(&self) -> Tallies {
        let sent = self.from.link.map(|link| link.sent).unwrap_or_default();
        let received = self.to.link.map(|link| link.received).unwrap_or_default();
        let mut tallies = Tallies::default();
        for ((tally, sent), rounds) in tallies.iter_mut().zip(sent).zip(received) {
            let received = Tally { sent, rounds };
            // The two counts are told at different times.
            *tally = Tally { sent: sent.max(received.until()), rounds };
        }
        tallies
    }

    fn blocked_after(&self) -> [Option<BlockedAfter>; Variant::COUNT] {
        let tallies = self.tallies();
        let first = self.from.link.map_or(0, |link| link.first_round);
        let began = |round: u8| self.from.report.rounds.get(usize::from(first) + usize::from(round));
        let mut places = Passage::of(&tallies).into_iter().zip(&tallies);
        std::array::from_fn(|_| match places.next()? {
            (Passage::Stops(0), tally) if tally.sent < ENOUGH => None,
            (Passage::Stops(packets), _) => {
                // Where the sender did not report when its rounds began, they were at least `ROUND` apart.
                let told = began(0).zip(began(packets)).map(|(first, then)| then.saturating_sub(*first));
                let after = told.map(|ms| Duration::from_millis(ms.into()));
                Some(BlockedAfter { packets, after: after.unwrap_or(super::ROUND * packets.into()) })
            }
            (Passage::Passes, _) => None,
        })
    }

    fn verdict(&self) -> Verdict {
        let seen = |side: Side<'_>| side.link.and_then(|link| link.seen);
        let inconclusive = |why: Why| Verdict::Inconclusive(why);
        // Whatever passes or does not: it is about another interface.
        match self.from.route(seen(self.to)) {
            Route::Wrong => return inconclusive(Why::WrongRoute(self.from.at)),
            Route::None => return inconclusive(Why::NoRoute(self.from.at)),
            Route::Right | Route::Unknown => {}
        }
        // What is heard by it came to an address that is another interface's, too.
        if self.to.route(seen(self.from)) == Route::Wrong {
            return inconclusive(Why::WrongRoute(self.to.at));
        }
        if self.from.link.is_none() || self.to.link.is_none() {
            return inconclusive(Why::Unfinished);
        }
        let tallies = self.tallies();
        match Passage::of(&tallies).iter().filter(|passage| passage.passes()).count() {
            Variant::COUNT => Verdict::Open,
            _ if tallies.iter().any(|tally| tally.rounds == 0 && tally.sent < ENOUGH) => {
                inconclusive(Why::Unfinished)
            }
            0 => self.silence(),
            _ => partly(&tallies),
        }
    }

    /// Why nothing arrives.
    fn silence(&self) -> Verdict {
        let inconclusive = |why: Why| Verdict::Inconclusive(why);
        let (from, to) = (self.from, self.to);
        // Holes are punched from the receiver's side.
        if to.route(from.link.and_then(|link| link.seen)) == Route::None {
            return inconclusive(Why::NoRoute(to.at));
        }
        let ipv6 = from.socket.is_ipv6();
        let lives = control_lives(ipv6, [from.report, to.report]);
        let tallies = self.tallies();
        let until = tallies.iter().map(|tally| tally.until()).max().unwrap_or(0);
        let states = [from, to].map(|side| match State::of(side.socket, lives) {
            State::P2pBlocked | State::UdpBlocked if until > 0 && !side.hears_servers_since(until) => {
                (State::Unknown, side.at)
            }
            state => (state, side.at),
        });
        let where_is = |state: State| {
            let mut found = states.iter().filter(|(one, _)| *one == state).map(|(_, at)| *at);
            found.next().map(|first| if found.next().is_some() { At::Both } else { first })
        };
        let (p2p, udp) = (where_is(State::P2pBlocked), where_is(State::UdpBlocked));
        let back = Way { from: to, to: from }.tallies();
        let back_until = back.iter().map(|tally| tally.until()).max().unwrap_or(0);
        // An outage may have ended the other way, or the block that is the end of both.
        let is_ended_by_block = || {
            let mut sides = [from, to].into_iter().zip(&states);
            sides
                .any(|(side, (state, _))| *state == State::P2pBlocked && side.hears_servers_since(back_until))
        };
        let other_way = Passage::of(&back).iter().any(Passage::passes)
            || until == 0 && back_until > 0 && !is_ended_by_block();
        let lost = tallies.iter().map(|tally| u32::from(tally.silent())).sum();
        if other_way && by_chance(sum(&back), lost) > DOUBT {
            return inconclusive(Why::Lossy);
        }
        if (p2p.is_some() || udp.is_some()) && other_way {
            return Verdict::OneWay;
        }
        if let Some(at) = udp {
            return Verdict::UdpBlocked { at };
        }
        if let Some(at) = p2p {
            return Verdict::UdpP2pBlocked { at };
        }
        if let Some(at) = where_is(State::Dead) {
            return inconclusive(Why::Dead(at));
        }
        // A NAT that let packets through once keeps doing so while they go on: their end has another cause.
        if until > 0 {
            return inconclusive(Why::Ceased);
        }
        let same_nat = from.socket.outside().map(|one| one.ip()) == to.socket.outside().map(|one| one.ip());
        match can_pass(from.socket.nat, to.socket.nat) {
            _ if same_nat => inconclusive(Why::SameNat),
            Some(false) => Verdict::NatIncompatible,
            Some(true) if other_way => Verdict::OneWay,
            _ if from.socket.control.is_none() || to.socket.control.is_none() => inconclusive(Why::NoControl),
            _ if where_is(State::Unknown).is_some() => inconclusive(Why::ControlSilent),
            None => inconclusive(Why::NatUnknown),
            Some(true) => inconclusive(Why::Unexplained),
        }
    }
}

/// What the control, servers and TCP tell of a socket's network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The control answers.
    Alive,
    /// Servers do, and the control, which is up, does not.
    P2pBlocked,
    /// Neither does, and TCP passes.
    UdpBlocked,
    /// Nothing passes, or nothing else was tried.
    Dead,
    /// The control tells nothing.
    Unknown,
}

impl State {
    fn of(socket: &SocketReport, control_lives: bool) -> State {
        match ControlView::of(socket) {
            ControlView::Open | ControlView::Partial => return State::Alive,
            ControlView::NotAsked => return State::Unknown,
            ControlView::Silent if socket.route == Route::Wrong || socket.route == Route::None => {
                return State::Unknown;
            }
            ControlView::Silent => {}
        }
        let Tally { sent, .. } = socket.servers;
        let arrived = socket.servers.arrived();
        let control = socket.control.unwrap_or_default();
        if control.iter().any(|tally| tally.rounds != 0) {
            // It answered at first: servers have to be heard in the rounds in which it did not.
            let since = control.iter().map(|tally| tally.until()).max().unwrap_or(0);
            let servers = sum(&[socket.servers.since(since)]);
            let lost = control.iter().map(|tally| u32::from(tally.since(since).sent)).sum();
            let is_block = lost > 0 && by_chance(servers, lost) < DOUBT;
            return if is_block { State::P2pBlocked } else { State::Unknown };
        }
        if arrived == 0 && socket.signals == 0 {
            return match socket.reach {
                Reach::Connected | Reach::Refused if control_lives && sent >= ENOUGH => State::UdpBlocked,
                Reach::Connected | Reach::Refused => State::Unknown,
                Reach::Silent | Reach::Unknown => State::Dead,
            };
        }
        // A path that loses nearly everything is silent towards the control by chance.
        let asked = sum(socket.control.iter().flatten()).sent;
        let servers = Total { sent: sent.into(), arrived: arrived.into() };
        match control_lives && (by_chance(servers, asked) < DOUBT || socket.signals >= SIGNALS) {
            true => State::P2pBlocked,
            false => State::Unknown,
        }
    }
}

/// Whether anybody has heard the control, so that silence is not its own.
fn control_lives<'a>(ipv6: bool, reports: impl IntoIterator<Item = &'a Report>) -> bool {
    let mut sockets = reports.into_iter().flat_map(|report| &report.sockets);
    sockets.any(|socket| {
        socket.is_ipv6() == ipv6
            && (socket.reach == Reach::Connected
                || socket.control.iter().flatten().any(|tally| tally.rounds != 0))
    })
}

/// All variants together.
struct Total {
    sent: u32,
    arrived: u32,
}

impl Total {
    /// Share that arrives at least: the lower end of Wilson's interval, two standard deviations wide.
    fn least_rate(&self) -> f64 {
        const Z: f64 = 2.0;
        if self.sent == 0 {
            return 0.0;
        }
        let n = f64::from(self.sent);
        let share = (f64::from(self.arrived) / n).min(1.0);
        let spread = Z * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
        ((share + Z * Z / (2.0 * n) - spread) / (1.0 + Z * Z / n)).max(0.0)
    }
}

fn sum<'a>(tallies: impl IntoIterator<Item = &'a Tally>) -> Total {
    let mut total = Total { sent: 0, arrived: 0 };
    for tally in tallies {
        total.sent += u32::from(tally.sent);
        total.arrived += u32::from(tally.arrived());
    }
    total
}

/// How likely it is that so many are lost where what `passes` tells the rate, of which two standard deviations are
/// taken off.
fn by_chance(passes: Total, lost: u32) -> f64 {
    let arrived = f64::from(passes.arrived);
    let rate = (arrived - 2.0 * arrived.sqrt()).max(0.0) / f64::from(passes.sent.max(1));
    (1.0 - rate.min(1.0)).powf(f64::from(lost))
}

/// Some variants arrive, and of the others enough was sent.
fn partly(tallies: &Tallies) -> Verdict {
    let passages = Passage::of(tallies);
    let passing =
        || tallies.iter().zip(&passages).filter(|(_, passage)| passage.passes()).map(|(tally, _)| tally);
    let Total { sent, arrived } = sum(passing());
    let loss = (1.0 - f64::from(arrived) / f64::from(sent.max(1))).max(LEAST_LOSS);
    // After the passing ones were done with, everything may have been lost.
    let longest = passing().map(|tally| tally.sent).max().unwrap_or(0);
    let silent = || Variant::ALL.into_iter().filter(|variant| !passages[variant.index()].passes());
    let meanwhile = |tally: Tally| tally.sent.min(longest).saturating_sub(tally.until());
    let least = silent().map(|variant| meanwhile(tallies[variant.index()])).min().unwrap_or(0);
    if loss.powi(i32::from(least)) > DOUBT {
        return Verdict::Inconclusive(Why::Lossy);
    }
    let all_stun = silent().all(|variant| matches!(variant, Variant::Stun(_)));
    let arrives = |rung: Rung| passages[Variant::Stun(rung).index()].passes();
    // Nothing of STUN is left on the highest rung.
    match all_stun && !arrives(Rung::Plain) && arrives(Rung::Xor) {
        true => Verdict::StunFiltered,
        false => Verdict::Inconclusive(Why::Pattern),
    }
}

impl Variant {
    /// How many there are.
    const COUNT: usize = Variant::ALL.len();
}
