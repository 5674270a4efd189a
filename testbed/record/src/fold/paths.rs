//! Pairs and QUIC paths of the client's host.

use super::log::Log;
use crate::{
    CandidateKind, EventKind, Family, IntervalSummary, Millis, PairState, PathMetrics, PathState, RttSummary,
    statistics::{median, percentile},
};
use std::{collections::BTreeMap, fmt, net::SocketAddr, ops::Range};

/// Time zero to the first pair that came up and is relayed or not as `wanted` says. A pair that was up before time
/// zero could carry data at time zero: 0.
pub(super) fn first_usable(log: &Log<'_>, wanted: impl Fn(bool) -> bool) -> Option<Millis> {
    log.of(log.client()).find_map(|event| match event.what {
        EventKind::Pair { state: PairState::Up, local_kind, remote_kind, .. } => {
            let relayed = [local_kind, remote_kind].contains(&CandidateKind::Relay);
            wanted(relayed).then(|| Millis::from_ns(event.t_ns).at_least_zero())
        }
        _ => None,
    })
}

/// Every QUIC path, by its number.
pub(super) fn paths(log: &Log<'_>) -> Vec<PathMetrics> {
    let lives = lives(log, log.client());
    lives.values().map(|life| path_metrics(log, life, &lives)).collect()
}

/// What became of one path.
pub(super) struct Life<'a> {
    pub(super) id: u64,
    pub(super) pair: u32,
    pub(super) interface: &'a str,
    remote_interface: Option<&'a str>,
    pub(super) candidate: CandidateKind,
    /// Between which addresses it ran, in order of time.
    links: Vec<(i64, Link)>,
    /// Every state that it was told to be in, in order of time.
    states: Vec<(i64, PathState)>,
    closed_why: Option<&'a str>,
}

/// What carries a path at a time.
#[derive(Clone, Copy)]
struct Link {
    pair: u32,
    local: SocketAddr,
    remote: SocketAddr,
}

/// For people: number, interfaces, IP version, candidate type.
impl fmt::Display for Life<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let to = self.remote_interface.unwrap_or("?");
        write!(f, "path {} ({} to {to}, {}, {})", self.id, self.interface, self.family(), self.candidate)
    }
}

impl Life<'_> {
    fn family(&self) -> Family {
        // A path is told with its first link.
        self.links.first().map_or(Family::Ipv6, |(_, link)| Family::of(link.local.ip()))
    }

    /// Between which addresses it ran just before an instant.
    fn link_before(&self, t_ns: i64) -> Option<Link> {
        self.links.iter().take_while(|(at, _)| *at < t_ns).last().map(|(_, link)| *link)
    }

    /// Validated before an instant, and not closed before it.
    pub(super) fn is_open_before(&self, t_ns: i64) -> bool {
        let opened = self.opened_ns().is_some_and(|opened| opened < t_ns);
        opened && self.closed_ns().is_none_or(|closed| closed >= t_ns)
    }

    /// When it was first told to carry the payload.
    pub(super) fn active_ns(&self) -> Option<i64> {
        self.states.iter().find(|(_, state)| *state == PathState::Active).map(|(t_ns, _)| *t_ns)
    }

    /// Being active or in reserve implies having been validated.
    fn opened_ns(&self) -> Option<i64> {
        let open = [PathState::Validated, PathState::Active, PathState::Backup];
        self.states.iter().find(|(_, state)| open.contains(state)).map(|(t_ns, _)| *t_ns)
    }

    pub(super) fn is_closed_before(&self, t_ns: i64) -> bool {
        self.closed_ns().is_some_and(|closed| closed < t_ns)
    }

    fn closed_ns(&self) -> Option<i64> {
        self.states.iter().find(|(_, state)| *state == PathState::Closed).map(|(t_ns, _)| *t_ns)
    }
}

/// The paths of a host, by number.
pub(super) fn lives<'a>(log: &Log<'a>, host: &str) -> BTreeMap<u64, Life<'a>> {
    let mut lives = BTreeMap::new();
    for event in log.of(host) {
        let EventKind::Path {
            path,
            pair,
            interface,
            remote_interface,
            local,
            remote,
            candidate,
            state,
            cause,
            ..
        } = &event.what
        else {
            continue;
        };
        let life = lives.entry(*path).or_insert_with(|| Life {
            id: *path,
            pair: *pair,
            interface,
            remote_interface: None,
            candidate: *candidate,
            links: vec![],
            states: vec![],
            closed_why: None,
        });
        // The other end's name for its interface may become known later than the path.
        life.remote_interface = life.remote_interface.or(remote_interface.as_deref());
        life.states.push((event.t_ns, *state));
        life.links.push((event.t_ns, Link { pair: *pair, local: *local, remote: *remote }));
        if *state == PathState::Closed && life.closed_why.is_none() {
            life.closed_why = Some(cause);
        }
    }
    lives
}

/// The path that carried payload just before an instant: the last that became active and did not leave that state.
pub(super) fn active_before(lives: &BTreeMap<u64, Life<'_>>, t_ns: i64) -> Option<u64> {
    let changes =
        lives.values().flat_map(|life| life.states.iter().map(|(at, state)| (*at, life.id, *state)));
    let mut changes: Vec<_> = changes.filter(|(at, ..)| *at < t_ns).collect();
    changes.sort_by_key(|(at, ..)| *at);
    let mut active: Vec<u64> = vec![];
    for (_, id, state) in changes {
        active.retain(|other| *other != id);
        if state == PathState::Active {
            active.push(id);
        }
    }
    active.last().copied()
}

/// Whether a path of a host ran between other addresses at the end of a span than at its beginning: its own, the other
/// end's, or those that the other end sees, which only the answers to checks tell.
pub(super) fn has_moved(log: &Log<'_>, host: &str, life: &Life<'_>, span: &Range<i64>) -> bool {
    let (before, after) = (life.link_before(span.start), life.link_before(span.end));
    let seen = |t_ns| mapped_before(log, host, before?.pair, t_ns);
    let differ = seen(span.start).zip(seen(span.end)).is_some_and(|(before, after)| before != after);
    let ends = |link: Link| (link.local, link.remote);
    before.map(ends) != after.map(ends) || differ
}

/// The address that the other end saw last before an instant, of one pair.
fn mapped_before(log: &Log<'_>, host: &str, wanted: u32, t_ns: i64) -> Option<SocketAddr> {
    let answers = log.of(host).take_while(|event| event.t_ns < t_ns).filter_map(|event| match event.what {
        EventKind::CheckAnswered { pair: Some(pair), mapped, .. } if pair == wanted => mapped,
        _ => None,
    });
    answers.last()
}

fn path_metrics(log: &Log<'_>, life: &Life<'_>, lives: &BTreeMap<u64, Life<'_>>) -> PathMetrics {
    let usable = first_up(log, life.pair);
    let in_quic = usable.zip(life.opened_ns()).map(|(usable, opened)| opened.saturating_sub(usable));
    let checks = Checks::new(log, life, lives);
    let last = last_sample(log, life.id);
    PathMetrics {
        id: life.id,
        local_interface: life.interface.to_owned(),
        remote_interface: life.remote_interface.map(str::to_owned),
        family: life.family(),
        kind: life.candidate,
        first_usable_ms: usable.map(|ns| Millis::from_ns(ns).at_least_zero()),
        in_quic_ms: in_quic.map(|ns| Millis::from_ns(ns).at_least_zero()),
        closed_ms: life.closed_ns().map(Millis::from_ns),
        closed_why: life.closed_why.map(str::to_owned),
        checks_sent: checks.sent.len() as u64,
        checks_answered: checks.answered,
        first_check_ms: checks.sent.first().copied().map(Millis::from_ns),
        check_interval_ms: interval_summary(&checks.sent),
        bytes_sent: last.map(|last| last.bytes_sent),
        bytes_received: last.map(|last| last.bytes_received),
        packets_sent: last.and_then(|last| last.packets_sent),
        packets_lost: last.and_then(|last| last.packets_lost),
        rtt_ms: rtt_summary(&sampled_rtts(log, life.id)).or_else(|| rtt_summary(&checks.rtts)),
    }
}

fn first_up(log: &Log<'_>, wanted: u32) -> Option<i64> {
    log.of(log.client()).find_map(|event| match event.what {
        EventKind::Pair { pair, state: PairState::Up, .. } if pair == wanted => Some(event.t_ns),
        _ => None,
    })
}

/// The checks on a path's pair, while it was this path's: one pair may carry several paths one after the other.
struct Checks {
    sent: Vec<i64>,
    answered: u64,
    rtts: Vec<i64>,
}

impl Checks {
    fn new(log: &Log<'_>, life: &Life<'_>, lives: &BTreeMap<u64, Life<'_>>) -> Self {
        let earlier = lives.range(..life.id).map(|(_, other)| other).filter(|other| other.pair == life.pair);
        let from = earlier.filter_map(Life::closed_ns).max().unwrap_or(i64::MIN);
        let to = life.closed_ns().unwrap_or(i64::MAX);
        let mut checks = Self { sent: vec![], answered: 0, rtts: vec![] };
        let span = log.of(log.client()).filter(|event| (from..=to).contains(&event.t_ns));
        for event in span {
            match event.what {
                EventKind::CheckSent { pair, .. } if pair == Some(life.pair) => checks.sent.push(event.t_ns),
                EventKind::CheckAnswered { pair, rtt_ns, .. } if pair == Some(life.pair) => {
                    checks.answered += 1;
                    checks.rtts.extend(rtt_ns.and_then(|rtt| i64::try_from(rtt).ok()));
                }
                _ => {}
            }
        }
        checks
    }
}

fn interval_summary(times: &[i64]) -> Option<IntervalSummary> {
    let intervals: Vec<i64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
    Some(IntervalSummary {
        median: Millis::from_ns(median(&intervals)?),
        p95: Millis::from_ns(percentile(&intervals, 95)?),
    })
}

fn rtt_summary(rtts: &[i64]) -> Option<RttSummary> {
    Some(RttSummary {
        min: Millis::from_ns(*rtts.iter().min()?),
        median: Millis::from_ns(median(rtts)?),
        p95: Millis::from_ns(percentile(rtts, 95)?),
    })
}

/// The counters of a path's last sample.
#[derive(Clone, Copy)]
struct LastSample {
    bytes_sent: u64,
    bytes_received: u64,
    packets_sent: Option<u64>,
    packets_lost: Option<u64>,
}

fn last_sample(log: &Log<'_>, wanted: u64) -> Option<LastSample> {
    let samples = log.of(log.client()).filter_map(|event| match event.what {
        EventKind::PathSample { path, bytes_sent, bytes_received, packets_sent, packets_lost, .. }
            if path == wanted =>
        {
            Some(LastSample { bytes_sent, bytes_received, packets_sent, packets_lost })
        }
        _ => None,
    });
    samples.last()
}

fn sampled_rtts(log: &Log<'_>, wanted: u64) -> Vec<i64> {
    let rtts = log.of(log.client()).filter_map(|event| match event.what {
        EventKind::PathSample { path, rtt_ns: Some(rtt), .. } if path == wanted => i64::try_from(rtt).ok(),
        _ => None,
    });
    rtts.collect()
}
