//! The side that faces a test bed: commands in, times out.

use crate::{
    calls::scenarios,
    lab::{Host, Lab, Rights, has_line, wait, with},
};
use record::EventKind;
use std::{io::Write as _, time::Duration};

scenarios! {
    time_zero_is_the_instant_of_start
    the_end_of_the_control_descriptor_stops
    bad_commands_end_with_2
}

fn monotonic() -> Duration {
    nix::time::clock_gettime(nix::time::ClockId::CLOCK_MONOTONIC).unwrap().into()
}

fn time_zero_is_the_instant_of_start(lab: &Lab) {
    let mut peers =
        vec![lab.start(Host::Server, "server --ticket-file t --control-fd 0 --host-name desktop --seed 1")];
    wait("a ticket", || has_line(&lab.file("t")));
    peers.push(
        lab.start(
            Host::Client,
            "client --ticket-file t --time 1s --control-fd 0 --host-name laptop --seed 2",
        ),
    );
    for peer in &peers {
        peer.wait_for("ready", |event| matches!(event, EventKind::Ready { .. }));
        assert_eq!(peer.events().len(), 1, "nothing else before the start: {}", peer.story());
    }
    let zero = monotonic() + Duration::from_millis(300);
    for peer in &mut peers {
        let line = format!("{{\"command\":\"start\",\"monotonic_ns\":{}}}\n", zero.as_nanos());
        peer.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
    }
    for (peer, name) in peers.iter_mut().rev().zip(["laptop", "desktop"]) {
        peer.ends_with(0);
        let events = peer.events();
        assert!(events.iter().all(|event| event.host == name), "{}", peer.story());
        let before = events.iter().filter(|event| matches!(event.what, EventKind::SocketOpened { .. }));
        assert!(before.clone().count() > 0, "{}", peer.story());
        assert!(before.clone().all(|event| event.t_ns < 0), "sockets are there before: {}", peer.story());
        let started = events.iter().find(|event| matches!(event.what, EventKind::Started {})).unwrap();
        assert!((1..1_000_000_000).contains(&started.t_ns), "when it happened: {}", started.t_ns);
        let first = events.iter().find(|event| matches!(event.what, EventKind::CheckSent { .. })).unwrap();
        assert!(first.t_ns >= 0, "nothing is sent before time zero: {first:?}");
        for event in &events {
            if let EventKind::PayloadReceived { sent_t_ns, .. } = event.what {
                assert!(sent_t_ns >= 0 && sent_t_ns <= event.t_ns, "sent before received: {event:?}");
            }
        }
    }
}

fn the_end_of_the_control_descriptor_stops(lab: &Lab) {
    let mut server = lab.start(Host::Server, "server --ticket-file t --control-fd 0");
    server.wait_for("ready", |event| matches!(event, EventKind::Ready { .. }));
    drop(server.child.stdin.take());
    server.ends_with(0);
    let ticket = std::fs::read_to_string(lab.file("t")).unwrap();
    assert!(ticket.starts_with("iceperf1-"), "{ticket}");
    for output in [server.stdout(), server.stderr()] {
        assert!(!output.contains("iceperf1-"), "a secret where outputs are kept: {output}");
    }
    let events = server.events();
    assert!(events.iter().any(|event| matches!(event.what, EventKind::SocketOpened { .. })));
    let stopped = EventKind::Stopped { why: "finished".into() };
    assert!(events.iter().any(|event| event.what == stopped), "{}", server.story());
}

fn bad_commands_end_with_2(lab: &Lab) {
    // Ahead: CLOCK_MONOTONIC counts from the boot, so that an hour ago may be before its zero.
    let far = monotonic() + Duration::from_secs(3_700);
    let far = format!("{{\"command\":\"start\",\"monotonic_ns\":{}}}\n", far.as_nanos());
    for (line, why) in [
        ("begin\n", "control line 1"),
        ("{\"command\":\"policy\",\"policy\":\"none\"}\n", "no policy `none`"),
        (&far, "more than an hour away"),
    ] {
        let mut server = lab.start(Host::Server, "server --control-fd 0");
        server.child.stdin.as_mut().unwrap().write_all(line.as_bytes()).unwrap();
        server.ends_with(2);
        // Wherever lines are broken.
        let said = server.stderr();
        let said: Vec<&str> = said.split_whitespace().filter(|word| *word != "│").collect();
        assert!(said.join(" ").contains(why), "{}", server.story());
        let stopped = EventKind::Stopped { why: "failed".into() };
        assert!(server.events().iter().any(|event| event.what == stopped), "{}", server.story());
    }
}
