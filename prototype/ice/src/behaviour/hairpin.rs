//! Hairpinning (RFC 4787 section 6): two sockets of ours send to each other's outside.
//!
//! Three ways to know that outside. Where a mapping is the same for all, or lets everybody in, a server can tell. Where
//! it is another one for the NAT's own address and lets nobody else in, it has to be foreseen: preserved ports are the
//! inside's, sequential ones the next; whether the foresight was right, another socket tells afterwards. Random ones
//! cannot be foreseen, and nobody could make use of such hairpinning either.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::asks::{Outcome, Wish};
use super::steps::{MAIN, Step};
use super::{Dependence, Filtering, Found, Hairpinning, PortAssignment, Prober, Why};

#[derive(Debug)]
pub(super) struct Hairpin {
    way: Way,
    stage: Stage,
    /// The two that send to each other, then one before and one after them.
    sockets: [u32; 4],
    rounds: u32,
    /// Rounds in which the outside was as foreseen, and nothing came.
    in_vain: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The server tells; whether silence means anything.
    Told { conclusive: bool },
    /// The inside ports.
    Preserved { always: bool },
    /// So many further each time.
    Sequential { step: i32 },
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Opening,
    /// The server is asked for the outsides.
    Asked,
    /// They send to each other, at these outsides.
    Knocking([SocketAddr; 2]),
    /// Silence; a control is on its way.
    Control([SocketAddr; 2]),
}

/// With packet loss a round may fail for other reasons.
const MOST_ROUNDS: u32 = 4;
/// So many in which everything was as foreseen are enough.
const ENOUGH_IN_VAIN: u32 = 2;
/// Between the first packets of the two, so that their order at the NAT is known.
const APART: Duration = Duration::from_millis(100);

impl Prober {
    pub(super) fn begin_hairpin(&mut self, now: Instant) {
        let outsides = self.report.samples.iter().map(|sample| Some(sample.outside.ip()));
        let mapped = self.report.mapped.map(|mapped| mapped.ip());
        if outsides.into_iter().any(|outside| outside != mapped) {
            self.report.hairpinning = Found::Inconclusive(Why::SeveralOutsides);
            return self.begin_lifetime(now);
        }
        match self.way() {
            Some(way) => self.open_round(Hairpin {
                way,
                stage: Stage::Opening,
                sockets: [0; 4],
                rounds: 0,
                in_vain: 0,
            }),
            None => {
                self.report.hairpinning = Found::Inconclusive(Why::PortsUnforeseeable);
                self.begin_lifetime(now);
            }
        }
    }

    fn way(&self) -> Option<Way> {
        let mapping = self.report.mapping.verdict();
        let filtering = self.report.filtering.verdict();
        let told = mapping == Some(Dependence::EndpointIndependent)
            || filtering == Some(Filtering::Tied(Dependence::EndpointIndependent));
        if told || mapping.is_none() || filtering.is_none() {
            return Some(Way::Told { conclusive: told });
        }
        match self.report.ports.verdict()? {
            PortAssignment::Preserved => {
                let kept = |sample: &super::Sample| sample.inside.port() == sample.outside.port();
                Some(Way::Preserved { always: self.report.samples.iter().all(kept) })
            }
            PortAssignment::Sequential { step } => Some(Way::Sequential { step }),
            PortAssignment::Random => None,
        }
    }

    fn open_round(&mut self, mut hairpin: Hairpin) {
        self.asks.clear();
        hairpin.sockets.into_iter().filter(|socket| *socket != MAIN).for_each(|socket| self.close(socket));
        let mut open = |wanted: bool| if wanted { self.open() } else { MAIN };
        let around = matches!(hairpin.way, Way::Sequential { .. });
        hairpin.sockets = [open(true), open(true), open(around), open(around)];
        hairpin.stage = Stage::Opening;
        hairpin.rounds += 1;
        self.step = Step::Hairpin(hairpin);
    }

    pub(super) fn hairpin(&mut self, now: Instant, mut hairpin: Hairpin) {
        let Some(server) = self.report.server else { return };
        let [a, b, before, after] = hairpin.sockets;
        match (hairpin.stage, hairpin.way) {
            (Stage::Opening, Way::Told { .. }) => {
                self.plain(now, a, server);
                self.plain(now, b, server);
                hairpin.stage = Stage::Asked;
            }
            (Stage::Opening, Way::Preserved { .. }) => {
                let outside = |socket| self.outside(self.local(socket)?.port().into());
                match (outside(a), outside(b)) {
                    (Some(of_a), Some(of_b)) => self.knock(now, &mut hairpin, [of_a, of_b]),
                    _ => return self.hairpinning(now, Found::Inconclusive(Why::NoSocket)),
                }
            }
            (Stage::Opening, Way::Sequential { .. }) => {
                self.plain(now, before, server);
                hairpin.stage = Stage::Asked;
            }
            (Stage::Asked, Way::Sequential { step }) => {
                let outside = |times: i32| {
                    let last = i32::from(self.asks.mapped(0)?.port());
                    self.outside(last + times * step)
                };
                match (outside(1), outside(2)) {
                    (Some(of_a), Some(of_b)) => self.knock(now, &mut hairpin, [of_a, of_b]),
                    _ => return self.another_round(now, hairpin, Why::PathFailed),
                }
            }
            (Stage::Asked, _) => match (self.asks.mapped(0), self.asks.mapped(1)) {
                (Some(of_a), Some(of_b)) => self.knock(now, &mut hairpin, [of_a, of_b]),
                _ => return self.hairpinning(now, Found::Inconclusive(Why::PathFailed)),
            },
            (Stage::Knocking(outsides), way) => {
                if let Some(verdict) = self.heard() {
                    return self.hairpinning(now, Found::Is(verdict));
                }
                self.asks.clear();
                let controls = match way {
                    Way::Told { .. } => [Some(a), Some(b)],
                    Way::Preserved { .. } => [Some(MAIN), None],
                    Way::Sequential { .. } => [Some(after), None],
                };
                for socket in controls.into_iter().flatten() {
                    self.plain(now, socket, server);
                }
                hairpin.stage = Stage::Control(outsides);
            }
            (Stage::Control(outsides), _) => return self.judge_silence(now, hairpin, outsides),
        }
        self.step = Step::Hairpin(hairpin);
    }

    fn judge_silence(&mut self, now: Instant, mut hairpin: Hairpin, outsides: [SocketAddr; 2]) {
        let told = [self.asks.mapped(0), self.asks.mapped(1)];
        let Some(first) = told[0] else { return self.another_round(now, hairpin, Why::PathFailed) };
        match hairpin.way {
            Way::Told { conclusive } => self.hairpinning(
                now,
                match told {
                    [_, None] => Found::Inconclusive(Why::PathFailed),
                    _ if told != outsides.map(Some) => Found::Inconclusive(Why::MappingChanged),
                    _ if conclusive => Found::Is(Hairpinning::Off),
                    _ => Found::Inconclusive(Why::BehaviourUnknown),
                },
            ),
            Way::Preserved { always: false } => {
                self.another_round(now, hairpin, Why::PortsUnforeseeable);
            }
            Way::Preserved { always: true } => {
                hairpin.in_vain += 1;
                self.another_round(now, hairpin, Why::PathFailed);
            }
            Way::Sequential { step } => {
                let as_foreseen = i32::from(first.port()) == i32::from(outsides[1].port()) + step;
                hairpin.in_vain += u32::from(as_foreseen);
                self.another_round(now, hairpin, Why::PortsUnforeseeable);
            }
        }
    }

    fn another_round(&mut self, now: Instant, hairpin: Hairpin, why: Why) {
        if hairpin.in_vain >= ENOUGH_IN_VAIN {
            self.hairpinning(now, Found::Is(Hairpinning::Off));
        } else if hairpin.rounds >= MOST_ROUNDS || matches!(hairpin.way, Way::Told { .. }) {
            self.hairpinning(now, Found::Inconclusive(why));
        } else {
            self.open_round(hairpin);
        }
    }

    fn knock(&mut self, now: Instant, hairpin: &mut Hairpin, [of_a, of_b]: [SocketAddr; 2]) {
        let [a, b, ..] = hairpin.sockets;
        self.asks.clear();
        self.wish(now, a, of_b, Wish::Knock);
        self.wish(now + APART, b, of_a, Wish::Knock);
        hairpin.stage = Stage::Knocking([of_a, of_b]);
    }

    /// Whether one of the two came in again, and from where.
    fn heard(&self) -> Option<Hairpinning> {
        let inside = self.report.local.map(|local| local.ip());
        self.asks.iter().find_map(|ask| match ask.outcome {
            Outcome::Heard { from } if Some(from.ip()) == inside => Some(Hairpinning::InternalSource),
            Outcome::Heard { .. } => Some(Hairpinning::ExternalSource),
            _ => None,
        })
    }

    fn hairpinning(&mut self, now: Instant, found: Found<Hairpinning>) {
        self.report.hairpinning = found;
        for socket in 1..self.sockets.len() as u32 {
            self.close(socket);
        }
        self.begin_lifetime(now);
    }

    /// This port of the NAT's outside, if there may be such a one.
    fn outside(&self, port: i32) -> Option<SocketAddr> {
        let port = u16::try_from(port).ok().filter(|port| *port > 0)?;
        Some(SocketAddr::new(self.report.mapped?.ip(), port))
    }
}
