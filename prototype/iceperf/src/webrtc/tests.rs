//! What both ends agree on without a word of the network.

use super::*;
use peer::Secret;
use std::time::Duration;

const NONE: [u32; 0] = [];

/// It listens on ports that the kernel chose, and nobody comes.
fn arm(side: Side) -> Arm {
    meeting(side, Meeting::Here(0))
}

fn meeting(side: Side, meeting: Meeting) -> Arm {
    let secret = Secret([1; 16]);
    Arm::new(Config { side, secret, fingerprint: None, meeting, stun: vec![], relays: vec![] }).unwrap()
}

fn description(generation: u32, instance: u64, number: u32) -> Description {
    let Credentials { ufrag, pwd } = Credentials::new(generation).unwrap();
    Description::new(Version { instance, number }, ufrag, pwd)
}

fn restarts(arm: &mut Arm) -> Vec<u32> {
    let mut generations = vec![];
    while let Some(output) = arm.poll() {
        if let Output::Record(EventKind::IceState { state, generation, .. }) = output
            && state == "restart"
        {
            generations.push(generation);
        }
    }
    generations
}

fn state(state: ConnectionState) -> agent::State {
    agent::State { state, pair: None, pairs: 0, answered: 0 }
}

#[tokio::test]
async fn a_failure_is_followed_by_a_restart_and_so_is_the_others() {
    let now = Instant::now();
    let mut arm = arm(Side::Client);
    arm.take(now, description(1, 7, 1));
    assert_eq!(restarts(&mut arm), NONE);
    arm.on_state(now, state(ConnectionState::Disconnected));
    assert_eq!(restarts(&mut arm), NONE, "it may pass");
    arm.on_state(now, state(ConnectionState::Failed));
    assert_eq!(restarts(&mut arm), [2]);
    arm.on_state(now, state(ConnectionState::Failed));
    assert_eq!(restarts(&mut arm), NONE, "one at a time");
    arm.take(now, description(2, 7, 2));
    assert_eq!(restarts(&mut arm), NONE, "the answer, or a restart at the same time");
    arm.take(now, description(5, 7, 3));
    assert_eq!(restarts(&mut arm), [5], "the other end is ahead");
    arm.take(now, description(9, 7, 2));
    arm.take(now, description(4, 7, 9));
    assert_eq!(restarts(&mut arm), NONE, "what is old changes nothing");
}

#[tokio::test]
async fn a_second_holder_of_the_ticket_does_not_disturb_a_call() {
    let now = Instant::now();
    let mut arm = arm(Side::Server);
    arm.take(now, description(1, 7, 1));
    arm.take(now, description(1, 8, 1));
    assert_eq!(arm.session.taken.map(|taken| taken.instance), Some(8), "the first may be gone");
    arm.on_state(now, state(ConnectionState::Connected));
    arm.take(now, description(3, 9, 1));
    assert_eq!(arm.session.taken.map(|taken| taken.instance), Some(8));
    assert_eq!(restarts(&mut arm), NONE);
}

#[tokio::test]
async fn the_peer_gets_one_interface_and_the_other_end_alone() {
    let mut arm = arm(Side::Client);
    arm.on_state(Instant::now(), state(ConnectionState::Connected));
    let interface = std::iter::from_fn(|| arm.poll()).find_map(|output| match output {
        Output::Interface(InterfaceChange::Changed(interface)) => Some(interface),
        _ => None,
    });
    let interface = interface.unwrap();
    assert!(interface.usable());
    assert_eq!(interface.addresses, [CLIENT]);
    assert_eq!(arm.open(SocketId(4)).ip(), CLIENT);
    arm.handle(Instant::now(), Woken(Reason::Agent(News::Datagram(vec![0x40, 1]))));
    let Some(Output::Datagram(SocketId(4), SERVER, bytes)) = arm.poll() else { panic!("a datagram") };
    assert_eq!(bytes, [0x40, 1]);
    let before = arm.local();
    arm.restart(Instant::now(), 2);
    assert_ne!(arm.local(), before, "another link");
    assert_eq!(arm.remote(), SERVER);
    while arm.poll().is_some() {}
    arm.close(SocketId(4));
    arm.handle(Instant::now(), Woken(Reason::Agent(News::Datagram(vec![0x40, 1]))));
    assert!(arm.poll().is_none(), "nobody is there");
}

#[tokio::test]
async fn why_there_is_no_connection_is_told_in_terms_of_webrtc_ice() {
    let mut arm = arm(Side::Client);
    let why = |arm: &Arm| match arm.outcome(Outcome::Unreachable { why: "the peer's words".into() }) {
        Outcome::Unreachable { why } => why,
        other => panic!("{other:?}"),
    };
    assert!(why(&arm).contains("nobody with this ticket's secret"));
    arm.take(Instant::now(), description(1, 7, 1));
    arm.on_state(Instant::now(), state(ConnectionState::Checking));
    assert_eq!(why(&arm), "webrtc-ice found no pair that works; it is checking");
    arm.on_state(Instant::now(), state(ConnectionState::Connected));
    assert_eq!(why(&arm), "the peer's words");
    assert_eq!(arm.outcome(Outcome::Finished), Outcome::Finished);
}

#[test]
fn generations_are_read_from_what_anybody_may_have_written() {
    assert_eq!(generation_of(&Credentials::new(12).unwrap().ufrag), Some(12));
    for ufrag in ["", "x", "0xab", "-1xab", "99999999999xab", "ab", "1"] {
        assert_eq!(generation_of(ufrag), None, "{ufrag}");
    }
}

#[tokio::test]
async fn a_client_that_comes_to_meet_is_heard_by_the_server_inside() {
    let now = Instant::now();
    let mut server = arm(Side::Server);
    let bound = server.signalling.bound().iter().find(|local| local.is_ipv4()).unwrap();
    let mut client = meeting(Side::Client, Meeting::At(vec![(Ipv4Addr::LOCALHOST, bound.port()).into()]));
    server.signalling.resume(now);
    client.signalling.resume(now);
    for round in 0..100 {
        let now = now + Duration::from_millis(100) * round;
        for arm in [&mut server, &mut client] {
            let told = arm.signalling.send(now);
            arm.take_descriptions(now, told);
            let ready = tokio::time::timeout(Duration::from_millis(20), arm.signalling.ready()).await;
            let told = arm.signalling.receive(now, ready.unwrap_or_default());
            arm.take_descriptions(now, told);
        }
        if server.session.taken.is_some() && client.session.taken.is_some() {
            return;
        }
    }
    panic!("they did not meet");
}
