//! The one place where what `peer` says is turned into what `record` keeps, and interfaces the other way.

use crate::interfaces;
use record::EventKind;
use std::{net::SocketAddr, time::Duration};

/// A peer's event in its serialised form.
pub(crate) fn event(event: peer::Event) -> EventKind {
    use peer::Event as From;
    match event {
        From::Interface(interface) => EventKind::Interface {
            interface: interface.name,
            kind: recorded_kind(interface.kind),
            up: interface.up,
            carrier: interface.carrier,
            addresses: interface.addresses,
        },
        From::InterfaceRemoved { interface } => EventKind::InterfaceRemoved { interface },
        From::SocketOpened { socket, interface, local } => {
            EventKind::SocketOpened { socket: socket.0, interface, local }
        }
        From::SocketClosed { socket, interface, why } => {
            EventKind::SocketClosed { socket: socket.0, interface, why }
        }
        From::SendFailed { socket, interface, to, error } => {
            EventKind::SendFailed { socket: socket.0, interface, to, error }
        }
        From::LocalCandidate(one) => EventKind::LocalCandidate {
            interface: one.interface,
            socket: one.socket.0,
            candidate: candidate(one.kind),
            address: one.address,
            priority: one.priority,
            foundation: one.foundation,
        },
        From::LocalCandidateRemoved { interface, socket, kind, address } => {
            EventKind::LocalCandidateRemoved {
                interface,
                socket: socket.0,
                candidate: candidate(kind),
                address,
            }
        }
        From::RemoteCandidate(one) => EventKind::RemoteCandidate {
            candidate: candidate(one.kind),
            address: one.address,
            priority: one.priority,
            remote_interface: one.interface,
        },
        From::CheckSent { pair, interface, remote, purpose: why, attempt } => {
            EventKind::CheckSent { pair, interface, remote, purpose: purpose(why), attempt }
        }
        From::CheckAnswered { pair, interface, remote, purpose: why, attempt, rtt, mapped } => {
            let (purpose, attempt, rtt_ns) = (purpose(why), Some(attempt), rtt.map(nanoseconds));
            EventKind::CheckAnswered { pair, interface, remote, purpose, attempt, rtt_ns, mapped }
        }
        From::CheckFailed { pair, interface, remote, purpose: check, attempt, why } => {
            let (purpose, attempt) = (purpose(check), Some(attempt));
            EventKind::CheckFailed { pair, interface, remote, purpose, attempt, why }
        }
        From::Blocking(finding) => EventKind::Blocking(blocking(*finding)),
        From::Pair { view, state, cause } => EventKind::Pair {
            pair: view.id.0,
            interface: view.interface,
            remote_interface: view.remote_interface,
            local: view.local,
            remote: view.remote,
            local_kind: candidate(view.local_kind),
            remote_kind: candidate(view.remote_kind),
            state: pair_state(state),
            cause,
        },
        From::Nominated { pair } => EventKind::Nominated { pair },
        From::FirstUsable { pair } => EventKind::FirstUsable { pair },
        From::ProbingStopped { pair, interface, remote, why } => {
            EventKind::ProbingStopped { pair, interface, remote, why: stop_reason(why) }
        }
        From::ConsentExpired { pair } => EventKind::ConsentExpired { pair },
        From::GatheringComplete => EventKind::GatheringComplete {},
        From::CheckList(state) => EventKind::CheckList { state: check_list(state) },
        From::Relay { interface, socket, server, news } => relay(interface, socket.0, server, news),
        From::RoleChanged(role) => EventKind::RoleChanged {
            role: match role {
                peer::IceRole::Controlling => record::IceRole::Controlling,
                peer::IceRole::Controlled => record::IceRole::Controlled,
            },
        },
        From::Restarted { session, cause } => EventKind::IceRestart { session, cause: cause.to_owned() },
        From::RemoteRefused { code } => EventKind::RemoteRefused { code },
        From::Policy { policy } => EventKind::Policy { policy },
        From::Disguise(peer::Disguise { interface, rung }) => {
            EventKind::Disguise { interface, rung: rung.to_string() }
        }
        From::Priority { interface, value } => EventKind::Priority { interface, value },
        From::PathStatus { interface, status } => {
            EventKind::PathStatus { interface, status: recorded_status(status) }
        }
        From::Rejected { reason, count, from } => {
            EventKind::Rejected { reason: reason.to_owned(), count, from }
        }
        From::Connected { connection, engine, multipath } => {
            EventKind::Connected { connection, engine: engine.to_owned(), multipath }
        }
        From::ConnectionClosed { connection, why } => EventKind::ConnectionClosed { connection, why },
        From::Path(view) => EventKind::Path {
            path: view.path,
            pair: view.pair,
            interface: view.interface,
            remote_interface: view.remote_interface,
            local: view.local,
            remote: view.remote,
            candidate: candidate(view.candidate),
            state: path_state(view.state),
            cause: view.cause,
        },
        From::Detected { interface, path, by, pause } => EventKind::Detected {
            interface,
            path,
            by: detected_by(by),
            silence_ns: pause.map(|pause| nanoseconds(pause.silence)),
            expected_ns: pause.map(|pause| nanoseconds(pause.expected)),
        },
        From::CallBegins { interval, payload } => EventKind::Workload {
            workload: record::WorkloadKind::Call,
            interval_ns: Some(nanoseconds(interval)),
            payload: Some(size(payload)),
        },
        From::CallSent { sequence, bytes } => {
            EventKind::PayloadSent { workload: record::WorkloadKind::Call, sequence, bytes: size(bytes) }
        }
        From::CallExpired { sequence } => {
            EventKind::PayloadExpired { workload: record::WorkloadKind::Call, sequence }
        }
        From::CallReceived { sequence, sent, bytes, path } => EventKind::PayloadReceived {
            workload: record::WorkloadKind::Call,
            sequence,
            // Peers are started at time zero, so what they count from their start counts from there.
            sent_t_ns: i64::try_from(sent.as_nanos()).unwrap_or(i64::MAX),
            bytes: size(bytes),
            path,
        },
        From::BulkBegins { object, direction, bytes, sending } => {
            EventKind::BulkBegins { object, direction: bulk_direction(direction), bytes, sending }
        }
        From::BulkSent { object, bytes, resent, acknowledged } => {
            EventKind::BulkSent { object, bytes, resent, acknowledged: Some(acknowledged) }
        }
        From::BulkArrived { object, bytes, duplicate, newest } => EventKind::BulkArrived {
            object,
            bytes,
            duplicate,
            newest_t_ns: i64::try_from(newest.as_nanos()).unwrap_or(i64::MAX),
        },
        From::BulkResent { object, bytes, why } => EventKind::BulkResent { object, bytes, why },
        From::BulkEnded { object, bytes, sha256, receiver, sha256_ok, why } => {
            let receiver = receiver.map(bulk_figures);
            EventKind::BulkEnded { object, bytes, sha256, receiver, sha256_ok, why }
        }
        From::PathSample {
            path,
            bytes_sent,
            bytes_received,
            rtt,
            packets_sent,
            packets_lost,
            congestion_window,
        } => EventKind::PathSample {
            path,
            bytes_sent,
            bytes_received,
            rtt_ns: rtt.map(nanoseconds),
            packets_sent,
            packets_lost,
            congestion_window,
        },
    }
}

fn relay(interface: String, socket: u32, server: SocketAddr, news: peer::RelayNews) -> EventKind {
    use peer::RelayNews as From;
    use record::RelayNews as To;
    let (what, relayed, base, to, code) = match news {
        // How long it would last unrefreshed matters to nobody: it is refreshed.
        From::Allocated { base, relayed, lifetime: _ } => {
            (To::Allocated, Some(relayed), Some(base.0), None, None)
        }
        From::Refused(code) => (To::Refused, None, None, None, Some(code)),
        From::Unanswered => (To::Unanswered, None, None, None, None),
        From::PeerRefused(peer, code) => {
            (To::PeerRefused, None, None, Some(SocketAddr::new(peer, 0)), Some(code))
        }
        From::Bound(peer) => (To::Bound, None, None, Some(peer), None),
    };
    EventKind::Relay { interface, socket, server, news: what, relayed, base, to, code }
}

/// A change of an interface, as a peer is told.
pub(crate) fn change(change: interfaces::Change) -> peer::InterfaceChange {
    match change {
        interfaces::Change::Changed(state) => peer::InterfaceChange::Changed(interface(state)),
        interfaces::Change::Removed(name) => peer::InterfaceChange::Removed(name),
    }
}

fn interface(state: interfaces::Interface) -> peer::Interface {
    peer::Interface {
        name: state.name,
        kind: interface_kind(state.kind),
        up: state.up,
        carrier: state.carrier,
        addresses: state.addresses,
        metric: state.metric,
    }
}

fn bulk_figures(figures: peer::BulkFigures) -> record::BulkFigures {
    record::BulkFigures {
        bytes: figures.bytes,
        duration_ns: nanoseconds(figures.duration),
        longest_stall_ns: nanoseconds(figures.longest_stall),
    }
}

fn bulk_direction(direction: peer::BulkDirection) -> record::Direction {
    match direction {
        peer::BulkDirection::Up => record::Direction::Up,
        peer::BulkDirection::Down => record::Direction::Down,
    }
}

/// A kind of interface, as a peer is told.
pub(crate) fn interface_kind(kind: record::InterfaceKind) -> peer::InterfaceKind {
    match kind {
        record::InterfaceKind::Lan => peer::InterfaceKind::Lan,
        record::InterfaceKind::Wifi => peer::InterfaceKind::Wifi,
        record::InterfaceKind::Cellular => peer::InterfaceKind::Cellular,
    }
}

fn recorded_kind(kind: peer::InterfaceKind) -> record::InterfaceKind {
    match kind {
        peer::InterfaceKind::Lan => record::InterfaceKind::Lan,
        peer::InterfaceKind::Wifi => record::InterfaceKind::Wifi,
        peer::InterfaceKind::Cellular => record::InterfaceKind::Cellular,
    }
}

/// A kind of candidate, as the record has it.
pub(crate) fn candidate(kind: peer::CandidateKind) -> record::CandidateKind {
    match kind {
        peer::CandidateKind::Host => record::CandidateKind::Host,
        peer::CandidateKind::Srflx => record::CandidateKind::Srflx,
        peer::CandidateKind::Prflx => record::CandidateKind::Prflx,
        peer::CandidateKind::Relay => record::CandidateKind::Relay,
    }
}

fn purpose(purpose: peer::CheckPurpose) -> record::CheckPurpose {
    match purpose {
        peer::CheckPurpose::Gather => record::CheckPurpose::Gather,
        peer::CheckPurpose::Ordinary => record::CheckPurpose::Ordinary,
        peer::CheckPurpose::Triggered => record::CheckPurpose::Triggered,
        peer::CheckPurpose::Liveness => record::CheckPurpose::Liveness,
        peer::CheckPurpose::Nomination => record::CheckPurpose::Nomination,
        peer::CheckPurpose::Refresh => record::CheckPurpose::Refresh,
        peer::CheckPurpose::Permission => record::CheckPurpose::Permission,
        peer::CheckPurpose::Channel => record::CheckPurpose::Channel,
        peer::CheckPurpose::Probe => record::CheckPurpose::Probe,
    }
}

fn check_list(state: peer::CheckListState) -> record::CheckListState {
    match state {
        peer::CheckListState::Running => record::CheckListState::Running,
        peer::CheckListState::Completed => record::CheckListState::Completed,
        peer::CheckListState::Failed => record::CheckListState::Failed,
    }
}

fn stop_reason(why: peer::StopReason) -> record::StopReason {
    match why {
        peer::StopReason::DirectPath => record::StopReason::DirectPath,
        peer::StopReason::Nominated => record::StopReason::Nominated,
        peer::StopReason::Budget => record::StopReason::Budget,
        peer::StopReason::Policy => record::StopReason::Policy,
        peer::StopReason::Standby => record::StopReason::Standby,
        peer::StopReason::AfterLoss => record::StopReason::AfterLoss,
    }
}

/// A status of paths, as a peer is told.
pub(crate) fn path_status(status: record::PathStatus) -> peer::PathStatus {
    match status {
        record::PathStatus::Available => peer::PathStatus::Available,
        record::PathStatus::Backup => peer::PathStatus::Backup,
        record::PathStatus::Closed => peer::PathStatus::Closed,
    }
}

fn recorded_status(status: peer::PathStatus) -> record::PathStatus {
    match status {
        peer::PathStatus::Available => record::PathStatus::Available,
        peer::PathStatus::Backup => record::PathStatus::Backup,
        peer::PathStatus::Closed => record::PathStatus::Closed,
    }
}

fn pair_state(state: peer::PairState) -> record::PairState {
    match state {
        peer::PairState::Frozen => record::PairState::Frozen,
        peer::PairState::Waiting => record::PairState::Waiting,
        peer::PairState::InProgress => record::PairState::InProgress,
        peer::PairState::Failed => record::PairState::Failed,
        peer::PairState::Up => record::PairState::Up,
        peer::PairState::Suspect => record::PairState::Suspect,
        peer::PairState::Down => record::PairState::Down,
        peer::PairState::Removed => record::PairState::Removed,
    }
}

fn path_state(state: peer::PathState) -> record::PathState {
    match state {
        peer::PathState::Opening => record::PathState::Opening,
        peer::PathState::Validated => record::PathState::Validated,
        peer::PathState::Active => record::PathState::Active,
        peer::PathState::Backup => record::PathState::Backup,
        peer::PathState::Closed => record::PathState::Closed,
    }
}

fn detected_by(by: peer::DetectedBy) -> record::DetectedBy {
    match by {
        peer::DetectedBy::InterfaceDown => record::DetectedBy::InterfaceDown,
        peer::DetectedBy::NoCarrier => record::DetectedBy::NoCarrier,
        peer::DetectedBy::AddressGone => record::DetectedBy::AddressGone,
        peer::DetectedBy::SendError => record::DetectedBy::SendError,
        peer::DetectedBy::CheckSilence => record::DetectedBy::CheckSilence,
        peer::DetectedBy::ReceiveSilence => record::DetectedBy::ReceiveSilence,
        peer::DetectedBy::Peer => record::DetectedBy::Peer,
        peer::DetectedBy::Engine => record::DetectedBy::Engine,
        peer::DetectedBy::Relay => record::DetectedBy::Relay,
    }
}

fn blocking(finding: peer::blocking::Finding) -> record::Blocking {
    use peer::blocking::{BlockedAfter, ControlView, Direction, Variant, Verdict};
    use record::{BlockingVerdict, ControlAnswer, Family, Probes, Variants, Way};
    let probes = |variant: Variant| {
        let tally = finding.variants[variant.index()];
        let after = |BlockedAfter { packets, after }: BlockedAfter| record::BlockedAfter {
            packets: packets.into(),
            ms: u32::try_from(after.as_millis()).unwrap_or(u32::MAX),
        };
        let blocked_after = finding.blocked_after[variant.index()].map(after);
        Probes { sent: tally.sent.into(), arrived: tally.arrived().into(), blocked_after }
    };
    let rung = |rung| probes(Variant::Stun(rung));
    record::Blocking {
        local_interface: finding.local_interface,
        remote_interface: finding.remote_interface,
        remote: finding.remote,
        family: if finding.ipv6 { Family::Ipv6 } else { Family::Ipv4 },
        direction: match finding.direction {
            Direction::Out => Way::Out,
            Direction::In => Way::In,
        },
        rounds: finding.variants.iter().map(|tally| tally.sent.into()).max().unwrap_or(0),
        plain: rung(peer::Rung::Plain),
        variants: Box::new(Variants {
            first_byte: rung(peer::Rung::FirstByte),
            cookie: rung(peer::Rung::Cookie),
            first_byte_cookie: rung(peer::Rung::FirstByteCookie),
            scrambled_length: rung(peer::Rung::ScrambledLength),
            xor: rung(peer::Rung::Xor),
            random_udp: probes(Variant::RandomUdp),
            quic_initial: probes(Variant::QuicInitial),
        }),
        control: match finding.control {
            ControlView::NotAsked => ControlAnswer::NotAsked,
            ControlView::Open => ControlAnswer::Open,
            ControlView::Partial => ControlAnswer::Partial,
            ControlView::Silent => ControlAnswer::Silent,
        },
        verdict: match finding.verdict {
            Verdict::Open => BlockingVerdict::Open,
            Verdict::StunFiltered => BlockingVerdict::StunFiltered,
            Verdict::UdpP2pBlocked { .. } => BlockingVerdict::UdpP2pBlocked,
            Verdict::UdpBlocked { .. } => BlockingVerdict::UdpBlocked,
            Verdict::NatIncompatible => BlockingVerdict::NatIncompatible,
            Verdict::OneWay => BlockingVerdict::OneWay,
            Verdict::Inconclusive(_) => BlockingVerdict::Inconclusive,
        },
        why: finding.verdict.to_string(),
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn size(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use peer::SocketId;

    #[test]
    fn a_received_datagram_keeps_the_senders_time_and_the_path() {
        let sent = Duration::from_millis(15);
        let received = peer::Event::CallReceived { sequence: 7, sent, bytes: 58, path: Some(1) };
        let EventKind::PayloadReceived { sequence, sent_t_ns, bytes, path, .. } = event(received) else {
            panic!("another kind")
        };
        assert_eq!((sequence, sent_t_ns, bytes, path), (7, 15_000_000, 58, Some(1)));
    }

    #[test]
    fn an_interface_comes_back_as_it_went_in() {
        let state = interfaces::Interface {
            name: "wwan0".into(),
            kind: record::InterfaceKind::Cellular,
            up: true,
            carrier: false,
            addresses: vec!["192.0.2.1".parse().unwrap()],
            metric: Some(600),
        };
        let peer::InterfaceChange::Changed(told) = change(interfaces::Change::Changed(state.clone())) else {
            panic!("a change")
        };
        let recorded = event(peer::Event::Interface(told));
        let expected = EventKind::Interface {
            interface: "wwan0".into(),
            kind: record::InterfaceKind::Cellular,
            up: true,
            carrier: false,
            addresses: state.addresses,
        };
        assert_eq!(recorded, expected);
        let gone = change(interfaces::Change::Removed("wwan0".into()));
        assert_eq!(gone, peer::InterfaceChange::Removed("wwan0".into()));
    }

    #[test]
    fn socket_numbers_are_kept() {
        let closed =
            peer::Event::SocketClosed { socket: SocketId(3), interface: "eth0".into(), why: "test".into() };
        let expected = EventKind::SocketClosed { socket: 3, interface: "eth0".into(), why: "test".into() };
        assert_eq!(event(closed), expected);
    }
}
