//! The verdict as a function of evidence, whatever that is.

use std::time::Duration;

use ice::blocking::{
    At, BlockedAfter, ControlView, Direction, LinkReport, Reach, Report, Route, SocketReport, Tallies, Tally,
    Verdict, Why, judge,
};
use proptest::prelude::*;

use super::wire::report;
use crate::net::address;

/// So many of these packets arrive, the last among them.
fn tally(sent: u16, arrived: u16) -> Tally {
    let rounds = (1..=arrived).fold(0, |rounds, number| rounds | 1 << (number * sent / arrived - 1));
    Tally { sent: sent as u8, rounds }
}

/// An end with one socket that sees everything.
fn end(local: &str, outside: &str, arrived: u8) -> Report {
    let tallies: Tallies = [tally(15, 15); 8];
    let socket = SocketReport {
        index: 0,
        interface: "wlan0".into(),
        ready: true,
        addresses: vec![address(local), address(outside)],
        nat: super::class(Some(&super::home())),
        control: Some(tallies),
        servers: tally(8, 8),
        signals: 15,
        reach: Reach::Connected,
        route: Route::Right,
    };
    let link = LinkReport {
        local: 0,
        remote: 0,
        sent: [15; 8],
        first_round: 1,
        received: [tally(15, arrived.into()).rounds; 8],
        seen: None,
        route: Route::Right,
    };
    let rounds = (0..20).map(|round| round * 320).collect();
    Report { run: 1, finished: true, rounds, sockets: vec![socket], links: vec![link] }
}

fn ends(out: u8, back: u8) -> [Report; 2] {
    [end("192.168.1.2:1", "203.0.113.1:1", back), end("192.168.2.2:2", "203.0.113.2:2", out)]
}

fn verdicts(ends: &[Report; 2]) -> [Verdict; 2] {
    let found = judge(&ends[0], Some(&ends[1]));
    assert_eq!(found.iter().map(|one| one.direction).collect::<Vec<_>>(), [Direction::Out, Direction::In]);
    [found[0].verdict, found[1].verdict]
}

#[test]
fn each_doubt_has_its_reason() {
    let why = |why| Verdict::Inconclusive(why);
    assert_eq!(verdicts(&ends(15, 15)), [Verdict::Open; 2]);
    assert_eq!(verdicts(&ends(0, 0)), [why(Why::Unexplained); 2]);
    assert_eq!(verdicts(&ends(15, 0)), [Verdict::Open, Verdict::OneWay]);

    let mut short = ends(0, 0);
    short[0].links[0].sent = [7; 8];
    assert_eq!(verdicts(&short), [why(Why::Unfinished), why(Why::Unexplained)]);

    let mut missing = ends(0, 0);
    missing[1].links.clear();
    assert_eq!(verdicts(&missing), [why(Why::Unfinished); 2]);

    let mut same = ends(0, 0);
    same[1].sockets[0].addresses[1] = address("203.0.113.1:2");
    assert_eq!(verdicts(&same), [why(Why::SameNat); 2]);

    // One in three of what passes arrives: that fifteen of another kind do not is chance, perhaps.
    let mut lossy = ends(15, 5);
    lossy[0].links[0].received[0] = 0;
    assert_eq!(verdicts(&lossy)[1], why(Why::Lossy));
    let mut odd = ends(15, 15);
    odd[1].links[0].received[7] = 0;
    assert_eq!(verdicts(&odd), [why(Why::Pattern), Verdict::Open]);

    let mut silent = ends(0, 0);
    silent[0].sockets[0].control = Some([tally(15, 0); 8]);
    assert_eq!(verdicts(&silent), [Verdict::UdpP2pBlocked { at: At::Here }; 2]);
    let mut lossy = silent.clone();
    lossy[0].sockets[0].signals = 0;
    lossy[0].sockets[0].servers = tally(15, 1);
    assert_eq!(verdicts(&lossy), [why(Why::ControlSilent); 2]);
    let mut wrong = silent.clone();
    wrong[0].sockets[0].route = Route::Wrong;
    assert_eq!(verdicts(&wrong), [why(Why::ControlSilent); 2], "its silence is another interface's");
}

/// The far end tells where packets came from.
#[test]
fn an_address_of_another_interface_gives_a_wrong_route_away() {
    let mut ends = ends(15, 15);
    ends[0].links[0].route = Route::Unknown;
    let mut other = ends[0].sockets[0].clone();
    other.index = 1;
    other.interface = "eth0".into();
    other.addresses = vec![address("198.18.0.9:1")];
    ends[0].sockets.push(other);
    ends[1].links[0].seen = Some(address("198.18.0.9:77"));
    let found = judge(&ends[0], Some(&ends[1]));
    for one in &found[..2] {
        assert_eq!(one.verdict, Verdict::Inconclusive(Why::WrongRoute(At::Here)), "{:?}", one.direction);
    }
    // The same address on both: two interfaces of one network, or one NAT.
    ends[0].sockets[0].addresses[1] = address("198.18.0.9:5");
    assert_eq!(judge(&ends[0], Some(&ends[1]))[0].verdict, Verdict::Open);
}

/// A filter that begins, or makes up its mind, after some packets.
#[test]
fn what_stops_after_some_packets_is_blocked_from_there_on() {
    const STOPS: Tally = Tally { sent: 15, rounds: 0b111 };
    let late = || {
        let mut ends = ends(15, 15);
        ends.iter_mut().for_each(|end| end.links[0].received = [STOPS.rounds; 8]);
        ends
    };
    let mut blocked = late();
    blocked[0].sockets[0].control = Some([Tally { sent: 15, rounds: 0b1111 }; 8]);
    blocked[0].sockets[0].servers = tally(15, 15);
    assert_eq!(verdicts(&blocked), [Verdict::UdpP2pBlocked { at: At::Here }; 2]);
    let found = judge(&blocked[0], Some(&blocked[1]));
    for one in &found {
        let after = Duration::from_millis(3 * 320);
        assert_eq!(one.blocked_after, [Some(BlockedAfter { packets: 3, after }); 8]);
        assert_eq!(one.control, ControlView::Silent);
    }

    // Where servers are not heard any more either, it may be an outage.
    let mut outage = blocked.clone();
    outage[0].sockets[0].servers = Tally { sent: 15, rounds: 0b1111 };
    assert_eq!(verdicts(&outage), [Verdict::Inconclusive(Why::Ceased); 2]);
    assert_eq!(verdicts(&late()), [Verdict::Inconclusive(Why::Ceased); 2], "the control is heard");

    // STUN alone, as a classifier takes its time for it.
    let mut stun = ends(15, 15);
    stun[1].links[0].received[..5].fill(STOPS.rounds);
    assert_eq!(verdicts(&stun), [Verdict::StunFiltered, Verdict::Open]);
    let after =
        judge(&stun[0], Some(&stun[1]))[0].blocked_after.map(|after| after.map(|after| after.packets));
    assert_eq!(after, [Some(3), Some(3), Some(3), Some(3), Some(3), None, None, None]);

    // Some are lost at the end by chance.
    let mut lossy = ends(15, 15);
    lossy[1].links[0].received = [0b111_1111_1111; 8];
    assert_eq!(verdicts(&lossy), [Verdict::Open; 2]);
    let mut worse = ends(15, 15);
    worse[1].links[0].received = [1, 0b10, 0b100, 0b1000, 1 << 14, 1 << 13, 1 << 12, 1 << 11];
    assert_eq!(verdicts(&worse), [Verdict::Open; 2]);
}

proptest! {
    /// No evidence makes it panic, and no block is told without what proves it.
    #[test]
    fn no_block_without_its_proof(us in report(), them in proptest::option::of(report())) {
        for found in judge(&us, them.as_ref()) {
            let heard = found.variants.iter().zip(&found.blocked_after);
            let heard = heard.filter(|(tally, blocked)| tally.arrived() > 0 && blocked.is_none()).count();
            match found.verdict {
                Verdict::Open => prop_assert_eq!(heard, 8),
                Verdict::StunFiltered => prop_assert!((2..8).contains(&heard) && found.blocked_after[0].is_some()),
                Verdict::UdpP2pBlocked { .. } | Verdict::NatIncompatible | Verdict::OneWay => {
                    prop_assert_eq!(heard, 0);
                    prop_assert!(found.variants.iter().all(|tally| tally.sent >= 8));
                }
                Verdict::UdpBlocked { .. } => prop_assert_eq!(heard, 0),
                Verdict::Inconclusive(_) => {}
            }
            if found.verdict == (Verdict::UdpP2pBlocked { at: At::Here }) {
                prop_assert_eq!(found.control, ControlView::Silent);
            }
            prop_assert!(!found.verdict.to_string().is_empty());
        }
    }

    /// What one end calls out, the other calls in.
    #[test]
    fn both_ends_agree(mut us in report(), mut them in report()) {
        for report in [&mut us, &mut them] {
            let mut seen = std::collections::BTreeSet::new();
            report.sockets.retain(|socket| seen.insert(socket.index));
        }
        let (here, there) = (judge(&us, Some(&them)), judge(&them, Some(&us)));
        prop_assume!(!us.sockets.is_empty() && !them.sockets.is_empty());
        let names = |found: &[ice::blocking::Finding], direction| {
            let of = found.iter().filter(|one| one.direction == direction);
            let mut names: Vec<&str> = of.map(|one| one.verdict.as_str()).collect();
            names.sort_unstable();
            names.into_iter().map(str::to_owned).collect::<Vec<_>>()
        };
        prop_assert_eq!(names(&here, Direction::Out), names(&there, Direction::In));
    }
}
