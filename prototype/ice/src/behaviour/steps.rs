//! The steps of a prober up to port assignment: what each asks, and what follows from the answers.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::asks::{Asks, DOUBTFUL, EXPECTED, Outcome, Wish};
use super::{
    Dependence, Filtering, Found, PortAssignment, Prober, Sample, Why, hairpin::Hairpin, lifetime::Search,
};

/// The socket of all questions that need no fresh one.
pub(super) const MAIN: u32 = 0;
/// Fresh sockets whose ports are compared.
const SAMPLES: usize = 8;
/// A NAT that other hosts use as well skips some.
const NEIGHBOURS: i32 = 64;

/// Where a prober is. Each step first waits for its sockets.
#[derive(Debug)]
pub(super) enum Step {
    Idle,
    Reach { asked: bool },
    Mapping { answers: Option<Vec<(SocketAddr, Option<SocketAddr>)>> },
    Filtering { socket: u32, stage: FilterStage },
    Silent { socket: u32, asked: bool },
    Ports { sockets: Vec<u32>, next: usize },
    Hairpin(Hairpin),
    Lifetime(Search),
    Done,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum FilterStage {
    Opening,
    Opened,
    Asked,
    Controlled(FilterAnswers),
}

/// What came back when answers were asked for from elsewhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct FilterAnswers {
    pub(super) from_address: Outcome,
    pub(super) from_port: Outcome,
    /// The same on a socket that has sent to all these addresses.
    pub(super) control: Outcome,
}

impl Step {
    /// Some questions are moot once others are answered.
    pub(super) fn may_end_early(&self, asks: &Asks) -> bool {
        matches!(self, Step::Lifetime(search) if search.may_end_early(asks))
    }
}

impl Prober {
    pub(super) fn advance(&mut self, now: Instant) {
        if matches!(self.step, Step::Idle | Step::Done) {
            return;
        }
        match std::mem::replace(&mut self.step, Step::Done) {
            Step::Idle | Step::Done => {}
            Step::Reach { asked } => self.reach(now, asked),
            Step::Mapping { answers } => self.mapping(now, answers),
            Step::Filtering { socket, stage } => self.filtering(now, socket, stage),
            Step::Silent { socket, asked } => self.silent(now, socket, asked),
            Step::Ports { sockets, next } => self.ports(now, sockets, next),
            Step::Hairpin(hairpin) => self.hairpin(now, hairpin),
            Step::Lifetime(search) => self.lifetime(now, search),
        }
        // What has just been begun leaves now.
        self.asks.handle_timeout(now, &mut self.outputs);
    }

    pub(super) fn plain(&mut self, now: Instant, socket: u32, to: SocketAddr) -> usize {
        let id = self.ids.transaction();
        self.asks.begin(now, id, (socket, to), Wish::Plain, EXPECTED)
    }

    pub(super) fn wish(&mut self, at: Instant, socket: u32, to: SocketAddr, wish: Wish) -> usize {
        let id = self.ids.transaction();
        self.asks.begin(at, id, (socket, to), wish, DOUBTFUL)
    }

    pub(super) fn begin_reach(&mut self, now: Instant) {
        self.step = Step::Reach { asked: false };
        match self.local(MAIN) {
            Some(_) => self.advance(now),
            None => drop(self.open()),
        }
    }

    fn reach(&mut self, now: Instant, asked: bool) {
        let Some(server) = self.primary() else { return self.fail(Why::NoAnswer) };
        if !asked {
            self.asks.clear();
            self.plain(now, MAIN, server);
            self.step = Step::Reach { asked: true };
            return;
        }
        let Outcome::Answered { mapped, other } = self.asks.outcome(0) else {
            self.facts.server += 1;
            return self.begin_reach(now);
        };
        let rtt = self.asks.get(0).and_then(|ask| ask.answered.map(|at| at - ask.last_sent));
        self.facts.rtt = rtt.unwrap_or_default();
        self.facts.other = other.filter(|other| is_other(server, *other));
        let local = self.local(MAIN);
        self.report.server = Some(server);
        self.report.local = local;
        self.report.mapped = Some(mapped);
        self.report.rtt = rtt;
        self.report.nat = Found::Is(local != Some(mapped));
        self.begin_mapping(now, server);
    }

    /// RFC 5780 section 4.3, but all four addresses are asked, so that it is known later which of them are there.
    fn begin_mapping(&mut self, now: Instant, server: SocketAddr) {
        self.asks.clear();
        let mut targets: Vec<SocketAddr> = self.facts.other.into_iter().collect();
        if let Some(other) = self.facts.other {
            targets.push(SocketAddr::new(server.ip(), other.port()));
            targets.push(SocketAddr::new(other.ip(), server.port()));
        }
        let others = self.config.servers.iter().copied();
        let others: Vec<_> = others.filter(|one| *one != server && !targets.contains(one)).collect();
        for target in targets.into_iter().chain(others) {
            self.plain(now, MAIN, target);
        }
        self.step = Step::Mapping { answers: None };
        if self.asks.all_settled() {
            self.advance(now);
        }
    }

    fn mapping(&mut self, now: Instant, answers: Option<Vec<(SocketAddr, Option<SocketAddr>)>>) {
        let (Some(server), Some(mapped)) = (self.report.server, self.report.mapped) else { return };
        let Some(answers) = answers else {
            let answers: Vec<_> =
                (0..).zip(self.asks.iter()).map(|(n, ask)| (ask.to, self.asks.mapped(n))).collect();
            self.facts.alive =
                answers.iter().filter(|(_, mapped)| mapped.is_some()).map(|(to, _)| *to).collect();
            self.asks.clear();
            self.plain(now, MAIN, server);
            self.step = Step::Mapping { answers: Some(answers) };
            return;
        };
        let is_translated = self.report.nat == Found::Is(true);
        self.report.mapping = match self.asks.mapped(0) {
            _ if !is_translated => Found::DoesNotApply(Why::NoNat),
            None => Found::Inconclusive(Why::PathFailed),
            Some(again) if again != mapped => Found::Inconclusive(Why::MappingChanged),
            Some(_) => judge_mapping((server, mapped), &answers),
        };
        self.asks.clear();
        let socket = self.open();
        self.step = Step::Filtering { socket, stage: FilterStage::Opening };
    }

    /// RFC 5780 section 4.4, on a socket that has sent to the server's first address alone.
    fn filtering(&mut self, now: Instant, socket: u32, stage: FilterStage) {
        let Some(server) = self.report.server else { return };
        let stage = match stage {
            FilterStage::Opening => {
                self.plain(now, socket, server);
                FilterStage::Opened
            }
            FilterStage::Opened => {
                if self.asks.mapped(0).is_none() {
                    self.report.filtering = Found::Inconclusive(Why::PathFailed);
                    return self.after_filtering(now);
                }
                self.asks.clear();
                self.wish(now, socket, server, Wish::From { address: true });
                self.wish(now, socket, server, Wish::From { address: false });
                self.wish(now, MAIN, server, Wish::From { address: false });
                FilterStage::Asked
            }
            FilterStage::Asked => {
                let [from_address, from_port, control] = [0, 1, 2].map(|n| self.asks.outcome(n));
                self.asks.clear();
                self.plain(now, socket, server);
                FilterStage::Controlled(FilterAnswers { from_address, from_port, control })
            }
            FilterStage::Controlled(answers) => {
                self.report.filtering = self.judge_filtering(server, answers);
                self.asks.clear();
                self.close(socket);
                return self.after_filtering(now);
            }
        };
        self.step = Step::Filtering { socket, stage };
    }

    fn judge_filtering(&self, server: SocketAddr, answers: FilterAnswers) -> Found<Filtering> {
        use Outcome::{Answered, NotChanged, Refused, Silent};
        let FilterAnswers { from_address, from_port, control } = answers;
        let alive = |address: SocketAddr| self.facts.alive.contains(&address);
        let other = self.facts.other;
        let tied = |dependence| Found::Is(Filtering::Tied(dependence));
        if matches!(from_address, Answered { .. }) {
            return tied(Dependence::EndpointIndependent);
        }
        if self.asks.mapped(0).is_none() {
            return Found::Inconclusive(Why::PathFailed);
        }
        if matches!(from_port, Answered { .. }) {
            return Found::Inconclusive(match (from_address, other) {
                (Silent, Some(other)) if alive(other) => return tied(Dependence::AddressDependent),
                (Silent, Some(_)) => Why::OtherSilent,
                _ => Why::NoChangeOfAddress,
            });
        }
        // Where all that a socket sends goes by one mapping, an answer to one that has sent there must pass.
        let one_mapping = matches!(
            self.report.mapping,
            Found::Is(Dependence::EndpointIndependent) | Found::DoesNotApply(Why::NoNat)
        );
        let Some(other) = other else { return Found::Inconclusive(Why::OneAddress) };
        let never = matches!(from_port, Refused | NotChanged);
        if never || (one_mapping && !matches!(control, Answered { .. })) {
            return Found::Inconclusive(Why::NoChange);
        }
        if alive(SocketAddr::new(server.ip(), other.port())) {
            tied(Dependence::AddressAndPortDependent)
        } else {
            Found::Inconclusive(Why::OtherSilent)
        }
    }

    fn after_filtering(&mut self, now: Instant) {
        self.asks.clear();
        if self.report.nat == Found::Is(true) {
            let sockets = (0..SAMPLES).map(|_| self.open()).collect();
            self.step = Step::Ports { sockets, next: 0 };
            return;
        }
        self.report.ports = Found::DoesNotApply(Why::NoNat);
        self.report.hairpinning = Found::DoesNotApply(Why::NoNat);
        if self.report.filtering == Found::Is(Filtering::Tied(Dependence::EndpointIndependent)) {
            let socket = self.open();
            self.step = Step::Silent { socket, asked: false };
        } else {
            self.begin_lifetime(now);
        }
    }

    /// Without a NAT the outside of a socket is known before it sends.
    fn silent(&mut self, now: Instant, socket: u32, asked: bool) {
        let (Some(server), Some(local)) = (self.report.server, self.local(socket)) else { return };
        if !asked {
            self.wish(now, MAIN, server, Wish::To { port: local.port(), socket });
            self.step = Step::Silent { socket, asked: true };
            return;
        }
        if self.asks.mapped(0).is_some() {
            self.report.filtering = Found::Is(Filtering::None);
        }
        self.close(socket);
        self.begin_lifetime(now);
    }

    /// One socket after the other, so that the order of their mappings is known.
    fn ports(&mut self, now: Instant, sockets: Vec<u32>, next: usize) {
        let Some(server) = self.report.server else { return };
        if let Some(asked) = next.checked_sub(1).and_then(|asked| sockets.get(asked))
            && let (Some(inside), Some(outside)) = (self.local(*asked), self.asks.mapped(0))
        {
            self.report.samples.push(Sample { inside, outside });
        }
        self.asks.clear();
        if let Some(socket) = sockets.get(next).copied() {
            self.plain(now, socket, server);
            self.step = Step::Ports { sockets, next: next + 1 };
            return;
        }
        self.report.ports = judge_ports(&self.report.samples);
        sockets.into_iter().for_each(|socket| self.close(socket));
        self.begin_hairpin(now);
    }
}

/// RFC 5780 section 7.4: differs in address and port. What is no address that a server could have is not asked.
fn is_other(server: SocketAddr, other: SocketAddr) -> bool {
    let sane = match other.ip() {
        IpAddr::V4(ip) => !(ip.is_unspecified() || ip.is_multicast() || ip.is_broadcast()),
        IpAddr::V6(ip) => !(ip.is_unspecified() || ip.is_multicast()),
    };
    let differs = other.ip() != server.ip() && other.port() != server.port() && other.port() != 0;
    let loops = other.ip().is_loopback() != server.ip().is_loopback();
    sane && differs && !loops && other.is_ipv4() == server.is_ipv4()
}

/// The first pair is what the server said before; of the others, the ones that did not answer are silent.
fn judge_mapping(
    first: (SocketAddr, SocketAddr),
    answers: &[(SocketAddr, Option<SocketAddr>)],
) -> Found<Dependence> {
    let heard = answers.iter().filter_map(|(to, mapped)| Some((*to, (*mapped)?)));
    let all: Vec<(SocketAddr, SocketAddr)> = std::iter::once(first).chain(heard).collect();
    let pairs = || (1..all.len()).flat_map(|right| (0..right).map(move |left| (left, right)));
    let pairs = || pairs().filter_map(|(left, right)| Some((all.get(left)?, all.get(right)?)));
    let same_ip =
        |(left, right): &(&(SocketAddr, SocketAddr), &(SocketAddr, SocketAddr))| left.0.ip() == right.0.ip();
    let mut by_port = pairs().filter(same_ip).peekable();
    let mut by_address = pairs().filter(|pair| !same_ip(pair)).peekable();
    let two_ports = by_port.peek().is_some();
    if by_port.any(|(left, right)| left.1 != right.1) {
        return Found::Is(Dependence::AddressAndPortDependent);
    }
    if by_address.peek().is_none() {
        let asked = answers.iter().any(|(to, _)| to.ip() != first.0.ip());
        return Found::Inconclusive(if asked { Why::OtherSilent } else { Why::OneAddress });
    }
    match by_address.any(|(left, right)| left.1 != right.1) {
        false => Found::Is(Dependence::EndpointIndependent),
        true if two_ports => Found::Is(Dependence::AddressDependent),
        true => Found::Inconclusive(Why::OnePort),
    }
}

/// One in so many may be an exception: a port that was taken, the end of the range.
fn judge_ports(samples: &[Sample]) -> Found<PortAssignment> {
    if samples.len() * 2 <= SAMPLES {
        return Found::Inconclusive(Why::PathFailed);
    }
    let kept = samples.iter().filter(|sample| sample.inside.port() == sample.outside.port()).count();
    if kept * 2 > samples.len() {
        return Found::Is(PortAssignment::Preserved);
    }
    let port = |sample: &Sample| i32::from(sample.outside.port());
    let following = samples.iter().skip(1);
    let distances: Vec<i32> =
        samples.iter().zip(following).map(|(left, right)| port(right) - port(left)).collect();
    let near =
        |sign: i32| distances.iter().map(move |one| one * sign).filter(|one| (1..=NEIGHBOURS).contains(one));
    let up_or_down = [1, -1].into_iter().find(|sign| near(*sign).count() + 1 >= distances.len());
    Found::Is(match up_or_down {
        Some(sign) => PortAssignment::Sequential { step: near(sign).min().unwrap_or(1) * sign },
        None => PortAssignment::Random,
    })
}
