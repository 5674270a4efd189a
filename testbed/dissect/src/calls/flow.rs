//! Packets of a call between two addresses: requests and their answers, and what else passed.

use crate::{distribution::Distribution, stun::Interval, text::Text};
use record::Millis;
use serde::Serialize;
use std::{collections::BTreeSet, net::SocketAddr};

const NS_PER_MS: f64 = 1e6;
/// Requests of one kind and direction that wait for their answers.
const MAX_PENDING: usize = 64;
/// Times of requests and of answers that are kept, for each kind and direction.
const MAX_TIMES: usize = 10_000;

/// Role of the remote end of a flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A relay: it was asked for an allocation, or to join a call.
    Relay,
    /// A peer or a media server: connectivity was checked with it, or there was no request at all.
    Peer,
    /// A server that was asked for the address that it sees, and not checked.
    StunServer,
}

/// Packets of a call between two addresses. Times count from the first frame of the file.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CallFlow {
    /// Socket of this side of the call.
    pub local: SocketAddr,
    /// The other end; behind a TURN server, the peer that it relays for.
    pub remote: SocketAddr,
    /// TURN server in between.
    pub via: Option<SocketAddr>,
    /// Interface of the capture with the first packet, where it has a name.
    pub interface: Option<Text>,
    /// Role of the remote end.
    pub role: Role,
    /// First packet.
    pub first_ms: Millis,
    /// Last packet.
    pub last_ms: Millis,
    /// From this side.
    pub up: CallDirection,
    /// To this side.
    pub down: CallDirection,
    /// What it carried: `stun`, `rtp`, `rtcp`, `dtls`, `quic`, `other`.
    pub carries: BTreeSet<&'static str>,
}

/// One direction of a call's flow.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct CallDirection {
    /// Packets.
    pub packets: u64,
    /// Bytes of UDP payload.
    pub bytes: u64,
    /// Packets that are neither STUN nor its like.
    pub media_packets: u64,
    /// First of these.
    pub first_media_ms: Option<Millis>,
    /// Connectivity checks: Binding requests with integrity, and GOOG-PING.
    pub checks: Option<Requests>,
    /// Requests to join a call at a relay, or to allocate an address.
    pub joins: Option<Requests>,
    /// Keep-alives of WhatsApp's relays.
    pub pings: Option<Requests>,
    /// Binding requests without integrity, and requests that keep an allocation.
    pub others: Option<Requests>,
    /// Messages that end a call (WhatsApp's type 0x0800).
    pub releases: u64,
}

/// Requests of one kind in one direction.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Requests {
    /// Requests, repetitions included.
    pub sent: u64,
    /// Requests that were answered; one that was repeated with its transaction id before the answer counts once.
    pub answered: u64,
    /// First request.
    pub first_ms: Millis,
    /// Last request.
    pub last_ms: Millis,
    /// First answer.
    pub first_answer_ms: Option<Millis>,
    /// Time between two requests.
    pub interval_ms: Option<Interval>,
    /// Time from a request that was not repeated to its answer.
    pub rtt_ms: Option<Interval>,
}

/// Kind of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    Check,
    Join,
    Ping,
    Other,
}

#[derive(Debug, Default)]
pub(super) struct RunningRequests {
    pub(super) sent: u64,
    pub(super) answered: u64,
    /// The first ones.
    pub(super) times: Vec<i64>,
    /// Times of the first answers, with the round-trip time of those whose request was sent once.
    pub(super) answers: Vec<(i64, Option<i64>)>,
    last_ns: i64,
    gaps: Distribution,
    rtts: Distribution,
    /// Transaction, time of the last request with it, and how often it was sent.
    pending: Vec<([u8; 16], i64, u32)>,
}

impl RunningRequests {
    pub(super) fn request(&mut self, now_ns: i64, transaction: [u8; 16]) {
        if self.sent > 0 {
            self.gaps.add(now_ns.saturating_sub(self.last_ns).max(0).cast_unsigned());
        }
        self.sent += 1;
        self.last_ns = now_ns;
        if self.times.len() < MAX_TIMES {
            self.times.push(now_ns);
        }
        match self.pending.iter_mut().find(|(id, ..)| *id == transaction) {
            Some((_, sent_ns, count)) => (*sent_ns, *count) = (now_ns, *count + 1),
            None => {
                if self.pending.len() >= MAX_PENDING {
                    self.pending.remove(0);
                }
                self.pending.push((transaction, now_ns, 1));
            }
        }
    }

    pub(super) fn answer(&mut self, now_ns: i64, transaction: [u8; 16]) {
        let Some(index) = self.pending.iter().position(|(id, ..)| *id == transaction) else { return };
        let (_, sent_ns, count) = self.pending.remove(index);
        // Karn's rule (RFC 6298 section 3).
        let rtt = (count == 1).then(|| now_ns.saturating_sub(sent_ns).max(0));
        self.answered += 1;
        if let Some(rtt) = rtt {
            self.rtts.add(rtt.cast_unsigned());
        }
        if self.answers.len() < MAX_TIMES {
            self.answers.push((now_ns, rtt));
        }
    }

    fn report(&self, zero_ns: i64) -> Option<Requests> {
        let relative = |ns: i64| Millis::from_ns(ns.saturating_sub(zero_ns));
        Some(Requests {
            sent: self.sent,
            answered: self.answered,
            first_ms: relative(*self.times.first()?),
            last_ms: relative(self.last_ns),
            first_answer_ms: self.answers.first().map(|(at, _)| relative(*at)),
            interval_ms: self.gaps.interval(NS_PER_MS),
            rtt_ms: self.rtts.interval(NS_PER_MS),
        })
    }
}

#[derive(Debug, Default)]
pub(super) struct RunningDirection {
    pub(super) packets: u64,
    bytes: u64,
    pub(super) media_packets: u64,
    pub(super) first_media_ns: Option<i64>,
    pub(super) checks: RunningRequests,
    pub(super) joins: RunningRequests,
    pub(super) pings: RunningRequests,
    others: RunningRequests,
    pub(super) first_release_ns: Option<i64>,
    releases: u64,
}

impl RunningDirection {
    pub(super) fn requests(&mut self, purpose: Purpose) -> &mut RunningRequests {
        match purpose {
            Purpose::Check => &mut self.checks,
            Purpose::Join => &mut self.joins,
            Purpose::Ping => &mut self.pings,
            Purpose::Other => &mut self.others,
        }
    }

    pub(super) fn has_others(&self) -> bool {
        self.others.sent > 0
    }

    pub(super) fn add(&mut self, bytes: u32) {
        self.packets += 1;
        self.bytes += u64::from(bytes);
    }

    pub(super) fn media(&mut self, now_ns: i64) {
        self.media_packets += 1;
        self.first_media_ns.get_or_insert(now_ns);
    }

    pub(super) fn release(&mut self, now_ns: i64) {
        self.releases += 1;
        self.first_release_ns.get_or_insert(now_ns);
    }

    pub(super) fn report(&self, zero_ns: i64) -> CallDirection {
        CallDirection {
            packets: self.packets,
            bytes: self.bytes,
            media_packets: self.media_packets,
            first_media_ms: self.first_media_ns.map(|ns| Millis::from_ns(ns.saturating_sub(zero_ns))),
            checks: self.checks.report(zero_ns),
            joins: self.joins.report(zero_ns),
            pings: self.pings.report(zero_ns),
            others: self.others.report(zero_ns),
            releases: self.releases,
        }
    }
}

/// A flow while its call lasts; direction 0 is that of its first packet.
#[derive(Debug)]
pub(super) struct RunningFlow {
    pub(super) ends: [SocketAddr; 2],
    pub(super) via: Option<SocketAddr>,
    pub(super) interface: Option<Text>,
    pub(super) first_ns: i64,
    pub(super) last_ns: i64,
    pub(super) directions: [RunningDirection; 2],
    pub(super) carries: BTreeSet<&'static str>,
}

impl RunningFlow {
    /// Index of this side's direction.
    pub(super) fn up(&self, is_local: impl Fn(&SocketAddr) -> bool) -> usize {
        usize::from(!is_local(&self.ends[0]) && is_local(&self.ends[1]))
    }

    pub(super) fn role(&self) -> Role {
        let any = |requests: fn(&RunningDirection) -> &RunningRequests| {
            self.directions.iter().any(|direction| requests(direction).sent > 0)
        };
        if any(|direction| &direction.joins) || any(|direction| &direction.pings) {
            Role::Relay
        } else if any(|direction| &direction.others) && !any(|direction| &direction.checks) {
            // Whatever else passes, such as signalling.
            Role::StunServer
        } else {
            Role::Peer
        }
    }

    pub(super) fn report(&self, up: usize, zero_ns: i64) -> CallFlow {
        let relative = |ns: i64| Millis::from_ns(ns.saturating_sub(zero_ns));
        CallFlow {
            local: self.ends[up],
            remote: self.ends[1 - up],
            via: self.via,
            interface: self.interface.clone(),
            role: self.role(),
            first_ms: relative(self.first_ns),
            last_ms: relative(self.last_ns),
            up: self.directions[up].report(zero_ns),
            down: self.directions[1 - up].report(zero_ns),
            carries: self.carries.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_that_serves_a_whole_call_is_answered_each_time() {
        let mut requests = RunningRequests::default();
        for second in 0..3 {
            requests.request(second * 1000, [1; 16]);
            requests.answer(second * 1000 + 7, [1; 16]);
        }
        assert_eq!((requests.sent, requests.answered), (3, 3));
        assert_eq!(requests.answers, [(7, Some(7)), (1007, Some(7)), (2007, Some(7))]);
    }

    #[test]
    fn a_repeated_request_has_no_round_trip_time() {
        let mut requests = RunningRequests::default();
        requests.request(0, [1; 16]);
        requests.request(500, [1; 16]);
        requests.answer(510, [1; 16]);
        requests.answer(1010, [1; 16]);
        assert_eq!((requests.sent, requests.answered, requests.answers), (2, 1, vec![(510, None)]));
    }
}
