//! What a run did, in words: folds over its events that stand beside what others were seen to do.
//!
//! Each looks at the first step of the timeline that took something away (the loss), and at the host that lost it.
//! Where a run has no such step, or not the events that would tell, there is no answer.

use super::{
    Flows, RunFacts,
    disturbances::{detections, disturbances, was_connected},
    log::Log,
    paths::{active_before, lives},
    steps::{Step, steps},
};
use crate::{
    CandidateKind, CheckPurpose, DetectedBy, Event, EventKind, Family, How, InterfaceKind, Millis, PairState,
    statistics::median,
};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// A word that can be compared, and what lies behind it for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `yes`, `no`, or a word of [`How`].
    pub word: String,
    /// What was seen.
    pub detail: String,
}

impl Seen {
    fn answer(yes: bool, detail: String) -> Self {
        Self { word: if yes { "yes" } else { "no" }.to_owned(), detail }
    }
}

/// Was a pair on another interface of that host up when the loss came?
pub fn standby_before_loss(events: &[Event], facts: &RunFacts) -> Option<Seen> {
    let log = Log::new(events, facts);
    let (step, host, lost) = loss(&log)?;
    let mut up = BTreeMap::new();
    for event in log.of(host).take_while(|event| event.t_ns < step.effect_ns) {
        let EventKind::Pair { pair, interface, remote_interface, local, state, .. } = &event.what else {
            continue;
        };
        up.remove(pair);
        if *state == PairState::Up && interface != lost {
            let to = remote_interface.as_deref().unwrap_or("?");
            up.insert(*pair, format!("{interface} to {to} ({})", Family::of(local.ip())));
        }
    }
    let detail = match up.values().next() {
        Some(first) if up.len() > 1 => format!("{first} and {} more were up", up.len() - 1),
        Some(first) => format!("{first} was up"),
        None => "no pair on another interface was up".to_owned(),
    };
    Some(Seen::answer(!up.is_empty(), detail))
}

/// How the loss was got over: a word of [`How`].
pub fn fallback_kind(events: &[Event], facts: &RunFacts) -> Option<Seen> {
    let log = Log::new(events, facts);
    let (step, ..) = loss(&log)?;
    let metrics = disturbances(&log, &Flows::new(&log));
    let result =
        metrics.into_iter().find(|one| one.at_ms.as_ns() == step.applied_ns && one.what == step.what())?;
    let lives = lives(&log, log.client());
    let after = result.path_after.and_then(|path| lives.get(&path));
    let detail = match (result.how, after) {
        (How::None, _) => "stayed on its path".to_owned(),
        (How::Failed, None) if !was_connected(&log) => "there was no call".to_owned(),
        (How::Failed, _) => "the call never came back".to_owned(),
        (_, Some(path)) => format!("over {path}"),
        (_, None) => String::new(),
    };
    Some(Seen { word: result.how.to_string(), detail })
}

/// Did that host look for paths after the loss? Keeping known pairs checked is not looking.
pub fn probing_after_loss(events: &[Event], facts: &RunFacts) -> Option<Seen> {
    let log = Log::new(events, facts);
    let (step, host, _) = loss(&log)?;
    let after = log.of(host).filter(|event| (step.at_ns..step.until_ns).contains(&event.t_ns));
    let searching = after.filter(|event| {
        let searches = [CheckPurpose::Ordinary, CheckPurpose::Triggered];
        matches!(event.what, EventKind::CheckSent { pair: Some(_), purpose, .. } if searches.contains(&purpose))
    });
    let count = searching.count();
    Some(Seen::answer(count > 0, format!("{count} checks in search of a path")))
}

/// Did that host check pairs on cellular before the loss, while it had another network?
pub fn cellular_checked_before_loss(events: &[Event], facts: &RunFacts) -> Option<Seen> {
    let log = Log::new(events, facts);
    let (step, host, lost) = loss(&log)?;
    let kinds = log.of(host).filter_map(|event| match &event.what {
        EventKind::Interface { interface, kind, .. } => Some((interface.as_str(), *kind)),
        _ => None,
    });
    let cellular: BTreeSet<&str> = kinds
        .filter(|(name, kind)| *kind == InterfaceKind::Cellular && *name != lost)
        .map(|(name, _)| name)
        .collect();
    if cellular.is_empty() {
        return None;
    }
    let before = log.of(host).take_while(|event| event.t_ns < step.effect_ns);
    let checks = before.filter(|event| {
        matches!(&event.what, EventKind::CheckSent { pair: Some(_), interface, .. } if cellular.contains(interface.as_str()))
    });
    let count = checks.count();
    let names: Vec<&str> = cellular.into_iter().collect();
    Some(Seen::answer(count > 0, format!("{count} checks left on {} before", names.join(", "))))
}

/// Did the client find a pair over IPv4 without a relay?
pub fn direct_ipv4_found(events: &[Event], facts: &RunFacts) -> Option<Seen> {
    let log = Log::new(events, facts);
    let (mut sent, mut found) = (0u64, false);
    for event in log.of(log.client()) {
        match &event.what {
            EventKind::CheckSent { pair: Some(_), remote: SocketAddr::V4(_), .. } => sent += 1,
            EventKind::Pair {
                state: PairState::Up,
                remote: SocketAddr::V4(_),
                local_kind,
                remote_kind,
                ..
            } => {
                found |= ![local_kind, remote_kind].contains(&&CandidateKind::Relay);
            }
            _ => {}
        }
    }
    let answered = if found { "a pair came up" } else { "none answered" };
    (sent > 0).then(|| Seen::answer(found, format!("{sent} checks over IPv4, {answered}")))
}

/// From the loss until the other host, which no kernel tells, noticed by silence; none when it noticed otherwise first.
pub fn far_end_noticed_silence(events: &[Event], facts: &RunFacts) -> Option<Millis> {
    let log = Log::new(events, facts);
    let (step, host, _) = loss(&log)?;
    let (event, by) = detections(&log, &step).find(|(event, _)| event.host != host)?;
    [DetectedBy::CheckSilence, DetectedBy::ReceiveSilence]
        .contains(&by)
        .then(|| Millis::from_ns(event.t_ns.saturating_sub(step.at_ns)).at_least_zero())
}

/// Time between two liveness checks of the client's on the pair that carries the call, from the moment that it does until
/// the first loss: the middle one. None with fewer than two such checks, such as those of a host that waits 15 s before it
/// sends the first.
pub fn liveness_interval(events: &[Event], facts: &RunFacts) -> Option<Millis> {
    let log = Log::new(events, facts);
    let until_ns = loss(&log).map_or(log.end_ns(), |(step, ..)| step.effect_ns);
    let lives = lives(&log, log.client());
    let life = lives.get(&active_before(&lives, until_ns)?)?;
    let sent: Vec<i64> = log
        .of(log.client())
        .filter(|event| (life.active_ns().unwrap_or(i64::MAX)..until_ns).contains(&event.t_ns))
        .filter(|event| {
            matches!(event.what, EventKind::CheckSent { pair, purpose: CheckPurpose::Liveness, .. } if pair == Some(life.pair))
        })
        .map(|event| event.t_ns)
        .collect();
    let between: Vec<i64> = sent.windows(2).map(|two| two[1].saturating_sub(two[0])).collect();
    median(&between).map(Millis::from_ns)
}

/// The first loss of an interface, the host that it hit, and the interface. A server that falls silent hits no host.
fn loss<'a>(log: &Log<'a>) -> Option<(Step<'a>, &'a str, &'a str)> {
    steps(log).into_iter().filter(Step::is_loss).find_map(|step| {
        let (host, interface) = (step.host?, step.interface?);
        Some((step, host, interface))
    })
}
