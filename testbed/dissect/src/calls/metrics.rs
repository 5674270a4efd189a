//! Figures of a call by the definitions of results.json: what the capture shows is told as events of a run, and `record`
//! folds them.
//!
//! The capture stands for the client's host. It shows checks, answers and payload that arrives; what the other end
//! received it does not show, so that figures of that direction are `null`. Without keys, payload is inferred: of an RTP
//! source, it is the packets; of anything else, the packets of the most frequent size up to 300 bytes.

use super::{NO_STREAM, Payload, Role, RunningCall, flow::RunningFlow};
use record::{
    CandidateKind, CheckPurpose, DisturbanceMetrics, Event, EventKind, Family, IntervalSummary, Metrics,
    Millis, PairState, PathState, ProbeMetrics, RttSummary, RunFacts, WorkloadKind, fold, statistics,
};
use serde::Serialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, SocketAddr},
    time::Duration,
};

const LOCAL: &str = "local";
const REMOTE: &str = "remote";
/// Units of calls are smaller: what is larger carries something else.
const MAX_UNIT: u32 = 300;
/// A unit may have up to this many bytes more than most: acknowledgements beside it.
const UNIT_SLACK: u32 = 48;
/// Fewer arrivals tell no cadence.
const MIN_ARRIVALS: usize = 10;
/// Beyond the usual interval, the least gap that is listed.
const GAP_NS: i64 = 60_000_000;
/// Gaps that are listed.
const MAX_GAPS: usize = 1_000;
/// Packets on another path in a row after which it carries the payload.
const MIN_MOVED: u32 = 2;

/// What is known of a run besides its capture.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct GivenRun {
    /// Its time zero, in nanoseconds since 1970.
    pub zero_ns: i64,
    /// The steps that were applied: events of kind `disturbance`.
    pub steps: Vec<Event>,
}

/// Origin of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Zero {
    /// First packet of the call.
    CallStart,
    /// Time zero of the run, which was given.
    Given,
}

/// Figures of one call, named as in results.json. Times count from `zero`.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaptureMetrics {
    /// Origin of times.
    pub zero: Zero,
    /// First pair that can carry data: a check, or a request to join a call at a relay, was answered.
    pub first_path_ms: Option<Millis>,
    /// First pair without a relay.
    pub direct_path_ms: Option<Millis>,
    /// First pair with a relay.
    pub relay_path_ms: Option<Millis>,
    /// Pairs that carried packets besides STUN, in order of the first.
    pub paths: Vec<PathFigures>,
    /// Checks by interface and remote address.
    pub probes: Vec<ProbeMetrics>,
    /// Steps that were given. Only the direction to this side is known.
    pub disturbances: Vec<StepFigures>,
    /// Payload that arrived at and left this side.
    pub call: Option<CaptureCall>,
    /// Gaps between arrivals of at least 60 ms more than the usual interval, the first 1,000.
    pub gaps: Vec<PayloadGap>,
    /// What the payload was inferred from; `null` where none was found.
    pub inferred: Option<Inferred>,
}

/// One path. What a capture cannot show is absent.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PathFigures {
    /// Number, in order of the first packet.
    pub id: u64,
    /// Name of the interface in the capture, else the local address.
    pub local_interface: String,
    /// Remote address.
    pub remote: SocketAddr,
    /// IP version.
    pub family: Family,
    /// `relay`, or `null`: which kind of address a direct path leads to is a matter of signalling.
    pub kind: Option<CandidateKind>,
    /// First answered check.
    pub first_usable_ms: Option<Millis>,
    /// Checks sent by this side.
    pub checks_sent: u64,
    /// Those that were answered.
    pub checks_answered: u64,
    /// First check.
    pub first_check_ms: Option<Millis>,
    /// Time between two checks.
    pub check_interval_ms: Option<IntervalSummary>,
    /// Bytes of UDP payload sent, STUN not counted.
    pub bytes_sent: u64,
    /// Bytes of UDP payload received, STUN not counted.
    pub bytes_received: u64,
    /// Round-trip times of checks.
    pub rtt_ms: Option<RttSummary>,
}

/// One given step.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepFigures {
    /// When it was applied.
    pub at_ms: Millis,
    /// The step and its target.
    pub what: String,
    /// Longest silence towards this side, as results.json has it for one direction.
    pub down_ms: Option<Millis>,
    /// Longest silence in the 5 s before.
    pub gap_before_ms: Option<Millis>,
    /// Path that carried payload to this side before.
    pub path_before: Option<u64>,
    /// Path that did so afterwards.
    pub path_after: Option<u64>,
}

/// Both directions of the payload, as this side saw them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct CaptureCall {
    /// Sent by this side.
    pub up: Counted,
    /// Received by this side.
    pub down: Counted,
}

/// Units of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Counted {
    /// Units seen.
    pub seen: u64,
    /// Units per second, between the first and the last.
    pub packets_per_s: Option<f64>,
    /// Bits per second of UDP payload, between the first and the last.
    pub bit_rate: Option<u64>,
}

/// A time without payload.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PayloadGap {
    /// Last arrival before.
    pub start_ms: Millis,
    /// Its length less the usual interval.
    pub gap_ms: Millis,
    /// Path of the arrival before.
    pub path_before: Option<u64>,
    /// Path of the arrival after.
    pub path_after: Option<u64>,
}

/// How payload was told from other packets.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inferred {
    /// `rtp`, or `size-and-cadence`.
    pub payload_from: &'static str,
    /// Source of the RTP packets.
    pub ssrc: Option<String>,
    /// Most frequent size of UDP payload.
    pub bytes: u32,
    /// Usual interval, the median.
    pub interval_ms: Millis,
    /// A silence is wrong by no more than this where each unit is a packet of its own: an interval, since the last unit
    /// before or the first after may be another packet of that size.
    pub error_ms: Millis,
}

/// Figures of one call.
pub(super) fn of_call(
    call: &RunningCall,
    is_local: &impl Fn(&SocketAddr) -> bool,
    given: Option<&GivenRun>,
) -> CaptureMetrics {
    let seen = Seen::new(call, is_local);
    let zero_ns = given.map_or(call.first_ns, |given| given.zero_ns);
    let unit = Unit::infer(call, &seen);
    let arrivals = unit.as_ref().map_or_else(Vec::new, |unit| unit.of(call, &seen, true));
    let sent = unit.as_ref().map_or_else(Vec::new, |unit| unit.of(call, &seen, false));
    let paths = seen.paths(call);
    let mut events = seen.check_events(call, zero_ns);
    events.extend(path_events(&seen, &paths, &arrivals, call, zero_ns));
    events.extend(unit.iter().map(|unit| unit.workload()));
    events.extend(
        arrivals.iter().enumerate().map(|(number, payload)| arrival(number, payload, &paths, zero_ns)),
    );
    events.extend(given.into_iter().flat_map(|given| given.steps.iter().cloned()));
    // A side that falls silent for good is told from a call that ends by what the other side still sends.
    let end_ns = arrivals.last().into_iter().chain(sent.last()).map(|payload| payload.time_ns).max();
    let end_ns = end_ns.unwrap_or(call.last_ns);
    let duration = u64::try_from(end_ns.saturating_sub(zero_ns)).unwrap_or_default();
    let metrics = fold::results(&events, &facts(Duration::from_nanos(duration))).metrics;
    let gaps = unit.as_ref().map_or_else(Vec::new, |unit| gaps(unit, &arrivals, &paths, zero_ns));
    CaptureMetrics {
        zero: if given.is_some() { Zero::Given } else { Zero::CallStart },
        first_path_ms: metrics.first_path_ms,
        direct_path_ms: metrics.direct_path_ms,
        relay_path_ms: metrics.relay_path_ms,
        disturbances: steps(&metrics, !arrivals.is_empty()),
        paths: path_figures(&metrics, &seen, &paths, call),
        probes: metrics.probes,
        call: unit.as_ref().map(|_| CaptureCall { up: counted(&sent), down: counted(&arrivals) }),
        gaps,
        inferred: unit.map(|unit| unit.inferred(call)),
    }
}

fn facts(duration: Duration) -> RunFacts {
    RunFacts {
        scenario: String::new(),
        backend: "capture".to_owned(),
        seed: 0,
        run_dir: String::new(),
        duration,
        client: LOCAL.to_owned(),
        server: REMOTE.to_owned(),
        expectations: Vec::new(),
        link_rates: None,
        invalid_why: None,
    }
}

/// Flows of a call from this side.
struct Seen {
    /// This side's direction of each flow.
    up: Vec<usize>,
    is_relayed: Vec<bool>,
    interfaces: Vec<String>,
    is_whatsapp: bool,
}

impl Seen {
    fn new(call: &RunningCall, is_local: &impl Fn(&SocketAddr) -> bool) -> Self {
        let relays: BTreeSet<IpAddr> = call
            .flows
            .iter()
            .filter(|flow| flow.role() == Role::Relay)
            .map(|flow| flow.ends[1 - flow.up(is_local)].ip())
            .collect();
        let up: Vec<usize> = call.flows.iter().map(|flow| flow.up(is_local)).collect();
        // The other end's relayed addresses are those of its relay, which often is the same.
        let relayed = |(flow, up): (&RunningFlow, &usize)| {
            flow.via.is_some() || relays.contains(&flow.ends[1 - *up].ip())
        };
        let name = |(flow, up): (&RunningFlow, &usize)| {
            flow.interface.as_ref().map_or_else(|| flow.ends[*up].ip().to_string(), ToString::to_string)
        };
        Self {
            is_relayed: call.flows.iter().zip(&up).map(relayed).collect(),
            interfaces: call.flows.iter().zip(&up).map(name).collect(),
            up,
            is_whatsapp: call.is_whatsapp,
        }
    }

    fn is_down(&self, payload: &Payload) -> bool {
        self.up.get(usize::from(payload.flow)).is_some_and(|up| usize::from(payload.direction) != *up)
    }

    /// Flow of each path.
    fn paths(&self, call: &RunningCall) -> Vec<usize> {
        let first = |flow: &RunningFlow| flow.directions.iter().filter_map(|one| one.first_media_ns).min();
        let mut paths: Vec<(i64, usize)> =
            call.flows.iter().enumerate().filter_map(|(index, flow)| Some((first(flow)?, index))).collect();
        // One way alone is no path: the other end may never have received anything.
        paths.retain(|(_, index)| {
            let flow = &call.flows[*index];
            flow.role() != Role::StunServer && flow.directions.iter().all(|one| one.media_packets > 0)
        });
        paths.sort_unstable();
        paths.into_iter().map(|(_, index)| index).collect()
    }

    fn local_kind(&self, index: usize) -> CandidateKind {
        if self.is_relayed[index] { CandidateKind::Relay } else { CandidateKind::Host }
    }

    /// Checks of this side, their answers, and pairs that came up by them.
    fn check_events(&self, call: &RunningCall, zero_ns: i64) -> Vec<Event> {
        let mut events = Vec::new();
        for (index, flow) in call.flows.iter().enumerate() {
            let up = self.up[index];
            let (local, remote) = (flow.ends[up], flow.ends[1 - up]);
            let asked = &flow.directions[up];
            let pair = number(index);
            let interface = &self.interfaces[index];
            let purpose = CheckPurpose::Ordinary;
            let mut add = |at_ns: i64, what: EventKind| {
                events.push(Event { t_ns: at_ns.saturating_sub(zero_ns), host: LOCAL.to_owned(), what });
            };
            for at_ns in &asked.checks.times {
                let interface = interface.clone();
                add(
                    *at_ns,
                    EventKind::CheckSent { pair: Some(pair), interface, remote, purpose, attempt: 1 },
                );
            }
            for (at_ns, rtt) in &asked.checks.answers {
                let rtt_ns = rtt.and_then(|rtt| u64::try_from(rtt).ok());
                add(
                    *at_ns,
                    EventKind::CheckAnswered {
                        pair: Some(pair),
                        interface: interface.clone(),
                        remote,
                        purpose,
                        attempt: None,
                        rtt_ns,
                        mapped: None,
                    },
                );
            }
            // A relay of WhatsApp's kind carries data once it has let this side in; where this side checks the peer through it,
            // once the peer is there to answer.
            let joined = asked.joins.answers.first().filter(|_| self.is_whatsapp && asked.checks.sent == 0);
            let Some((at_ns, _)) = asked.checks.answers.first().or(joined).copied() else { continue };
            let kind = self.local_kind(index);
            add(
                at_ns,
                EventKind::Pair {
                    pair,
                    interface: interface.clone(),
                    remote_interface: None,
                    local,
                    remote,
                    local_kind: kind,
                    remote_kind: kind,
                    state: PairState::Up,
                    cause: "answered".to_owned(),
                },
            );
        }
        events
    }
}

fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// Paths with their states: active is the one that brings the payload.
fn path_events(
    seen: &Seen,
    paths: &[usize],
    arrivals: &[Payload],
    call: &RunningCall,
    zero_ns: i64,
) -> Vec<Event> {
    let path_event = |id: usize, at_ns: i64, state: PathState| {
        let index = paths[id];
        let flow = &call.flows[index];
        let up = seen.up[index];
        let what = EventKind::Path {
            path: id as u64,
            pair: number(index),
            interface: seen.interfaces[index].clone(),
            remote_interface: None,
            local: flow.ends[up],
            remote: flow.ends[1 - up],
            candidate: seen.local_kind(index),
            state,
            cause: "packets".to_owned(),
        };
        Event { t_ns: at_ns.saturating_sub(zero_ns), host: LOCAL.to_owned(), what }
    };
    let mut events = Vec::new();
    for (id, index) in paths.iter().enumerate() {
        let first = call.flows[*index].directions.iter().filter_map(|one| one.first_media_ns).min();
        events.extend(first.map(|at_ns| path_event(id, at_ns, PathState::Validated)));
    }
    let connected = arrivals.first().map(|first| Event {
        t_ns: first.time_ns.saturating_sub(zero_ns),
        host: LOCAL.to_owned(),
        what: EventKind::Connected {
            connection: "inferred".to_owned(),
            engine: "unknown".to_owned(),
            multipath: paths.len() > 1,
        },
    });
    events.extend(connected);
    let (mut active, mut coming): (Option<usize>, Option<(usize, u32, i64)>) = (None, None);
    for payload in arrivals {
        let Some(path) = path_of(payload, paths) else { continue };
        if active == Some(path) {
            coming = None;
            continue;
        }
        let (count, since_ns) = match coming {
            Some((other, count, since_ns)) if other == path => (count + 1, since_ns),
            _ => (1, payload.time_ns),
        };
        coming = Some((path, count, since_ns));
        if count >= MIN_MOVED || active.is_none() {
            events.extend(active.map(|before| path_event(before, since_ns, PathState::Backup)));
            events.push(path_event(path, since_ns, PathState::Active));
            (active, coming) = (Some(path), None);
        }
    }
    events
}

fn path_of(payload: &Payload, paths: &[usize]) -> Option<usize> {
    paths.iter().position(|index| *index == usize::from(payload.flow))
}

fn arrival(number: usize, payload: &Payload, paths: &[usize], zero_ns: i64) -> Event {
    let t_ns = payload.time_ns.saturating_sub(zero_ns);
    let what = EventKind::PayloadReceived {
        workload: WorkloadKind::Call,
        sequence: number as u64,
        sent_t_ns: t_ns,
        bytes: payload.size,
        path: path_of(payload, paths).map(|path| path as u64),
    };
    Event { t_ns, host: LOCAL.to_owned(), what }
}

/// How units of the call are told from other packets.
struct Unit {
    /// RTP source, else none.
    stream: Option<u16>,
    bytes: u32,
    interval_ns: i64,
}

impl Unit {
    /// By the RTP source with the most packets that came to this side; else by the most frequent small size.
    fn infer(call: &RunningCall, seen: &Seen) -> Option<Self> {
        let is_believed = |stream: u16| {
            call.streams.get(usize::from(stream)).is_some_and(super::rtp::RunningStream::is_believed)
        };
        let down = || call.payload.iter().filter(|payload| seen.is_down(payload));
        let streams = counts(down().map(|payload| payload.stream).filter(|stream| is_believed(*stream)));
        let stream = most(&streams).filter(|stream| streams[stream] >= MIN_ARRIVALS);
        let of_kind = |payload: &&Payload| match stream {
            Some(stream) => payload.stream == stream,
            None => payload.stream == NO_STREAM && payload.size <= MAX_UNIT,
        };
        let bytes = most(&counts(down().filter(of_kind).map(|payload| payload.size)))?;
        let mut unit = Self { stream, bytes, interval_ns: 0 };
        let times: Vec<i64> = unit.of(call, seen, true).iter().map(|payload| payload.time_ns).collect();
        let gaps: Vec<i64> = times.windows(2).map(|pair| pair[1].saturating_sub(pair[0])).collect();
        unit.interval_ns = statistics::median(&gaps)?.max(0);
        (times.len() >= MIN_ARRIVALS).then_some(unit)
    }

    fn is_unit(&self, payload: &Payload) -> bool {
        match self.stream {
            Some(stream) => payload.stream == stream,
            None => {
                let sizes = self.bytes.saturating_sub(2)..=self.bytes.saturating_add(UNIT_SLACK);
                payload.stream == NO_STREAM && sizes.contains(&payload.size)
            }
        }
    }

    /// Units towards this side, or from it: for RTP, of the same payload type.
    fn of(&self, call: &RunningCall, seen: &Seen, is_down: bool) -> Vec<Payload> {
        let kind = |stream: u16| call.streams.get(usize::from(stream)).map(|stream| stream.payload_type);
        let is_wanted = |payload: &&Payload| match self.stream {
            Some(stream) if !is_down => payload.stream != NO_STREAM && kind(payload.stream) == kind(stream),
            _ => self.is_unit(payload),
        };
        let of_direction = call.payload.iter().filter(|payload| seen.is_down(payload) == is_down);
        of_direction.filter(is_wanted).copied().collect()
    }

    fn workload(&self) -> Event {
        let interval_ns = u64::try_from(self.interval_ns).ok();
        let what = EventKind::Workload { workload: WorkloadKind::Call, interval_ns, payload: None };
        Event { t_ns: 0, host: REMOTE.to_owned(), what }
    }

    fn inferred(&self, call: &RunningCall) -> Inferred {
        let ssrc = self.stream.and_then(|stream| call.streams.get(usize::from(stream)));
        Inferred {
            payload_from: if self.stream.is_some() { "rtp" } else { "size-and-cadence" },
            ssrc: ssrc.map(|stream| format!("{:08x}", stream.ssrc)),
            bytes: self.bytes,
            interval_ms: Millis::from_ns(self.interval_ns),
            error_ms: Millis::from_ns(if self.stream.is_some() { 0 } else { self.interval_ns }),
        }
    }
}

fn counts<T: Ord>(values: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
    let mut counts = BTreeMap::new();
    values.for_each(|value| *counts.entry(value).or_default() += 1);
    counts
}

/// The most frequent value; the larger of two that are.
fn most<T: Ord + Copy>(counts: &BTreeMap<T, usize>) -> Option<T> {
    counts.iter().max_by_key(|(value, count)| (**count, **value)).map(|(value, _)| *value)
}

fn gaps(unit: &Unit, arrivals: &[Payload], paths: &[usize], zero_ns: i64) -> Vec<PayloadGap> {
    let path = |payload: &Payload| path_of(payload, paths).map(|path| path as u64);
    let gap = |pair: &[Payload]| PayloadGap {
        start_ms: Millis::from_ns(pair[0].time_ns.saturating_sub(zero_ns)),
        gap_ms: Millis::from_ns(
            pair[1].time_ns.saturating_sub(pair[0].time_ns).saturating_sub(unit.interval_ns),
        ),
        path_before: path(&pair[0]),
        path_after: path(&pair[1]),
    };
    arrivals.windows(2).map(gap).filter(|gap| gap.gap_ms.as_ns() >= GAP_NS).take(MAX_GAPS).collect()
}

fn counted(units: &[Payload]) -> Counted {
    let span_ns = units.first().zip(units.last()).map_or(0, |(first, last)| last.time_ns - first.time_ns);
    let per_s = |count: f64| count * 1e9 / span_ns as f64;
    let bytes: u64 = units.iter().skip(1).map(|unit| u64::from(unit.size)).sum();
    Counted {
        seen: units.len() as u64,
        packets_per_s: (span_ns > 0).then(|| (per_s((units.len() - 1) as f64) * 1e3).round() / 1e3),
        bit_rate: (span_ns > 0).then(|| per_s(bytes as f64 * 8.0).round() as u64),
    }
}

fn steps(metrics: &Metrics, has_payload: bool) -> Vec<StepFigures> {
    let step = |step: &DisturbanceMetrics| StepFigures {
        at_ms: step.at_ms,
        what: step.what.clone(),
        down_ms: step.down_ms.filter(|_| has_payload),
        gap_before_ms: step.gap_before_ms.filter(|_| has_payload),
        path_before: step.path_before,
        path_after: step.path_after,
    };
    metrics.disturbances.iter().map(step).collect()
}

fn path_figures(metrics: &Metrics, seen: &Seen, paths: &[usize], call: &RunningCall) -> Vec<PathFigures> {
    let bytes = |index: usize, wants_down: bool| {
        let of_flow = call.payload.iter().filter(|payload| usize::from(payload.flow) == index);
        of_flow
            .filter(|payload| seen.is_down(payload) == wants_down)
            .map(|payload| u64::from(payload.size))
            .sum()
    };
    let figures = |(path, index): (&record::PathMetrics, &usize)| PathFigures {
        id: path.id,
        local_interface: path.local_interface.clone(),
        remote: call.flows[*index].ends[1 - seen.up[*index]],
        family: path.family,
        kind: seen.is_relayed[*index].then_some(CandidateKind::Relay),
        first_usable_ms: path.first_usable_ms,
        checks_sent: path.checks_sent,
        checks_answered: path.checks_answered,
        first_check_ms: path.first_check_ms,
        check_interval_ms: path.check_interval_ms,
        bytes_sent: bytes(*index, false),
        bytes_received: bytes(*index, true),
        rtt_ms: path.rtt_ms,
    };
    // The fold has them by number, which is their place here.
    metrics.paths.iter().zip(paths).map(figures).collect()
}
