//! The engine quiche over TURN relays: alone, and after the loss of a direct path, when it goes on over a path that is
//! not validated yet. In real time, like everything with quiche; silence is counted in units of the call that were lost,
//! which a busy machine does not add to.

use crate::{
    quiche::with_the_feature::{expect, expect_one_connection, expect_payload, started, tail},
    relays::symmetric,
    world::{Signal, World, host},
};
use netmodel::{NatKind, NatSpec, Topology};
use peer::{CallSpec, CandidateKind, EngineKind, Event, Outcome, PairState, PathState, PathView};
use std::{cell::Cell, collections::BTreeSet, rc::Rc, time::Duration};

/// A path challenge travels in a datagram of 1200 bytes at least (RFC 9000 section 8.2.1). quiche pads everything else on
/// a path that is not validated, too; nothing on a validated one is half as large here.
const LARGE: usize = 600;
const ENDS: [&str; 2] = ["laptop", "desktop"];
/// Without a unit of the call; half of it is what the slowest of these takes.
const TOLERATED: Duration = Duration::from_secs(1);

/// Direct on the WLAN that both share, relayed everywhere else.
fn one_wlan_and_relays() -> Topology {
    let hosts = vec![
        host("laptop", &[("wlan0", "home"), ("wwan0", "o2")]),
        host("desktop", &[("wlan0", "home"), ("wwan0", "telekom")]),
    ];
    Topology { hosts, ..symmetric() }
}

/// Direct through NATs that let a hole be punched.
fn punchable() -> Topology {
    let mut topology = symmetric();
    for network in &mut topology.networks {
        network.nat = Some(NatSpec::new(NatKind::Home));
    }
    topology.hosts = vec![host("laptop", &[("wlan0", "home")]), host("desktop", &[("wwan0", "telekom")])];
    topology
}

fn quiche(topology: Topology, policy: &str, call: CallSpec) -> World {
    started(
        topology,
        Signal::Rendezvous,
        |_| {},
        |config| {
            config.engine = EngineKind::Quiche;
            config.policy = policy.parse().unwrap();
            config.call = Some(call);
        },
    )
}

/// No relayed path in reserve: the first one after a loss of the direct one is not validated when it begins to carry the
/// call.
fn cold() -> World {
    cold_with(CallSpec::default())
}

fn cold_with(call: CallSpec) -> World {
    let mut world = quiche(one_wlan_and_relays(), "multipath,relayed_paths=0", call);
    expect_way_out(&mut world);
    expect_direct(&mut world);
    world
}

/// The client's cellular interface reaches the server over a relay, before anything depends on it.
fn expect_way_out(world: &mut World) {
    let is_one = |(_, host, event): &(Duration, String, Event)| {
        host == "laptop"
            && matches!(event, Event::Pair { view, state: PairState::Up, .. }
                if view.interface == "wwan0" && view.remote_kind == CandidateKind::Relay)
    };
    expect(world, "a pair over a relay", |world| world.events.iter().any(is_one));
}

fn expect_direct(world: &mut World) {
    expect(world, "direct first", |world| {
        ENDS.iter().all(|at| carries(world, at).is_some_and(|view| !is_relayed(&view)))
    });
    expect_payload(world, "direct");
}

fn expect_relayed(world: &mut World) {
    expect(world, "relayed, on the preferred interface", |world| {
        let on_wlan = carries(world, "laptop").is_some_and(|view| view.interface == "wlan0");
        on_wlan && is_on_a_validated_relay(world, [None; 2])
    });
    expect_payload(world, "relayed");
}

fn is_relayed(view: &PathView) -> bool {
    view.candidate == CandidateKind::Relay
}

/// The path that a host has in use at last.
fn carries(world: &World, at: &str) -> Option<PathView> {
    let number = world.paths(at).iter().rev().find(|(_, view)| view.state == PathState::Active)?.1.path;
    let last = world.paths(at).into_iter().rev().find(|(_, view)| view.path == number)?.1;
    (last.state == PathState::Active).then(|| last.clone())
}

/// The number of the path that each end has in use.
fn in_use(world: &World) -> [Option<u64>; 2] {
    ENDS.map(|at| Some(carries(world, at)?.path))
}

/// Both ends use a relayed path that each of them found validated, and another one than before.
fn is_on_a_validated_relay(world: &World, before: [Option<u64>; 2]) -> bool {
    ENDS.iter().zip(before).all(|(at, before)| {
        carries(world, at).filter(is_relayed).is_some_and(|used| {
            let validated = |view: &PathView| view.path == used.path && view.state == PathState::Validated;
            Some(used.path) != before && world.paths(at).iter().any(|(_, view)| validated(view))
        })
    })
}

/// Loses the path in use, and waits until the call goes on over a relay as far as either end knows.
fn lose(world: &mut World, how: impl FnOnce(&mut World)) {
    let before = in_use(world);
    how(world);
    expect_payload(world, "over a relay");
    expect(world, "validated on both ends", |world| is_on_a_validated_relay(world, before));
    expect_payload(world, "still");
    for at in ENDS {
        let lost = longest_loss(world, at);
        assert!(lost < TOLERATED, "{at} missed {lost:?} of the call: {:#?}", tail(world));
    }
}

fn lose_interface(world: &mut World, interface: &str) {
    lose(world, |world| world.down("laptop", interface));
}

/// Of the units that the other end sent, the longest run that never arrived, up to the newest that did.
fn longest_loss(world: &World, at: &str) -> Duration {
    let arrived: BTreeSet<u64> = world.arrivals(at).into_iter().map(|(_, number)| number).collect();
    let arrived: Vec<u64> = arrived.into_iter().collect();
    let lost = arrived.windows(2).map(|pair| pair[1] - pair[0] - 1).max().unwrap_or(0);
    let interval = world.events.iter().find_map(|(_, _, event)| match event {
        Event::CallBegins { interval, .. } => Some(*interval),
        _ => None,
    });
    interval.unwrap() * u32::try_from(lost).unwrap()
}

/// The one that is stopped and the one that is told both end in an orderly way.
fn expect_a_good_end(world: &mut World, stopped: &str) {
    expect_one_connection(world);
    world.stop(stopped);
    expect(world, "both end", |world| world.hosts.values().all(|host| host.outcome.is_some()));
    for (name, host) in &world.hosts {
        assert_eq!(host.outcome, Some(Outcome::Finished), "{name}");
    }
}

#[test]
fn where_no_direct_path_exists_the_call_goes_over_relays() {
    let mut world = quiche(symmetric(), "multipath", CallSpec::default());
    expect_way_out(&mut world);
    expect_relayed(&mut world);
    lose_interface(&mut world, "wlan0");
    for at in ENDS {
        assert!(world.paths(at).iter().all(|(_, view)| is_relayed(view)), "{:#?}", tail(&world));
    }
    expect_a_good_end(&mut world, "desktop");
}

#[test]
fn a_relayed_path_in_reserve_takes_over_from_a_direct_one() {
    let mut world = quiche(punchable(), "multipath", CallSpec::default());
    let in_reserve = |world: &World| {
        let spare = |view: &PathView| is_relayed(view) && view.state == PathState::Backup;
        ENDS.iter().all(|at| world.paths(at).iter().any(|(_, view)| spare(view)))
    };
    expect(&mut world, "one in reserve", in_reserve);
    expect_direct(&mut world);
    // Nobody is told.
    lose(&mut world, |world| _ = world.block_peer_to_peer("telekom"));
    let opened = world.paths("laptop").into_iter().filter(|(_, view)| view.state == PathState::Opening);
    assert_eq!(opened.count(), 2, "none was opened beside the first and the one in reserve");
    expect_a_good_end(&mut world, "desktop");
}

#[test]
fn without_one_in_reserve_the_call_goes_on_over_a_relayed_path_at_once() {
    for stopped in ENDS {
        let mut world = cold();
        lose_interface(&mut world, "wlan0");
        expect_a_good_end(&mut world, stopped);
    }
}

/// Every packet is padded until the path is validated, so that a fast call fills the congestion window before the server
/// asks. The client has no way out at first: when it finds one, its first packet there is a probe and no more, and the
/// server's answer and question come before any acknowledgement.
#[test]
fn an_answer_that_does_not_fit_into_the_congestion_window_is_asked_for_again() {
    let mut world = quiche(symmetric(), "multipath", CallSpec::new(200, 58).unwrap());
    expect_relayed(&mut world);
    lose_interface(&mut world, "wlan0");
    expect_a_good_end(&mut world, "desktop");
}

/// Path challenges that a host's engine sent, by its own account.
fn challenges(world: &World, by: &str) -> usize {
    let log = String::from_utf8_lossy(&world.hosts[by].qlog[&0]);
    let is_one =
        |record: &&str| record.contains("quic:packet_sent") && record.contains(r#""path_challenge""#);
    log.split('\u{1e}').filter(is_one).count()
}

/// Everything that the server says on the relayed path is lost, until so many path challenges were.
#[test]
fn a_path_challenge_that_is_lost_is_repeated() {
    for lost in [1, 2] {
        // Slow, so that the congestion window has room for the second one.
        let mut world = cold_with(CallSpec::new(5, 58).unwrap());
        let before = challenges(&world, "desktop");
        let is_over = Rc::new(Cell::new(false));
        let over = is_over.clone();
        world.lose(move |host, datagram| host == "desktop" && datagram.len() > LARGE && !over.get());
        lose(&mut world, |world| {
            world.down("laptop", "wlan0");
            expect(world, "asked in vain", |world| challenges(world, "desktop") >= before + lost);
            assert!(!is_on_a_validated_relay(world, [None; 2]), "{:#?}", tail(world));
            is_over.set(true);
        });
        assert!(challenges(&world, "desktop") > before + lost, "asked again");
        expect_a_good_end(&mut world, "desktop");
    }
}

/// The challenge arrives, and whatever the client says for a while after it is lost.
#[test]
fn a_path_challenge_whose_answer_is_lost_is_repeated() {
    const LOST: u64 = 40;
    let mut world = cold();
    let before = challenges(&world, "desktop");
    let (asked, lost) = (Cell::new(false), Rc::new(Cell::new(0)));
    let counter = lost.clone();
    world.lose(move |host, datagram| {
        asked.set(asked.get() || host == "desktop" && datagram.len() > LARGE);
        let is_one = asked.get() && host == "laptop" && counter.get() < LOST;
        counter.set(counter.get() + u64::from(is_one));
        is_one
    });
    lose_interface(&mut world, "wlan0");
    assert_eq!(lost.get(), LOST, "they were lost");
    assert!(challenges(&world, "desktop") > before + 1, "asked again");
    expect_a_good_end(&mut world, "desktop");
}

fn units_sent(world: &World, by: &str) -> usize {
    let is_one = |event: &Event| matches!(event, Event::CallSent { .. });
    world.events.iter().filter(|(_, host, event)| host == by && is_one(event)).count()
}

/// The call goes on, and nothing of it leaves: `said` counts what does.
fn expect_full_window(world: &mut World, of: &str, said: &Cell<u64>) {
    const WAITING: usize = 20;
    loop {
        let (sent, before) = (units_sent(world, of), said.get());
        expect(world, "more of the call", |world| units_sent(world, of) >= sent + WAITING);
        if said.get() == before {
            return;
        }
    }
}

/// The path is not validated at the server, which is heard and hears; and its congestion window is full, so that the last
/// word has to wait for an acknowledgement. The client's first words arrive, and nothing else of it until the server
/// stops: no answer, no acknowledgement. The server's are lost until then, so that no first word is an answer.
#[test]
fn a_server_that_stops_right_after_its_client_moved_says_so() {
    /// Three times as much as this is more than a window (RFC 9000 section 8.1, RFC 9002 section 7.2).
    const FIRST_WORDS: u64 = 6;
    let mut world = cold_with(CallSpec::new(1000, 58).unwrap());
    let (said, is_stopped) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
    let (counter, stopped, first) = (said.clone(), is_stopped.clone(), Cell::new(0));
    world.lose(move |host, datagram| {
        let is_large = datagram.len() > LARGE;
        let is_introduced = first.get() == FIRST_WORDS;
        if host == "desktop" {
            counter.set(counter.get() + u64::from(is_large));
            return is_large && !is_introduced;
        }
        first.set(first.get() + u64::from(is_large && !is_introduced));
        is_introduced && !stopped.get()
    });
    world.down("laptop", "wlan0");
    expect_payload(&mut world, "over a relay");
    expect_full_window(&mut world, "desktop", &said);
    assert!(!is_on_a_validated_relay(&world, [None; 2]), "{:#?}", tail(&world));
    world.stop("desktop");
    assert_eq!(world.hosts["desktop"].outcome, None, "not before the client is told");
    is_stopped.set(true);
    expect(&mut world, "both end", |world| world.hosts.values().all(|host| host.outcome.is_some()));
    for (name, host) in &world.hosts {
        assert_eq!(host.outcome, Some(Outcome::Finished), "{name}");
    }
}
