//! A script of what another end, a control, servers or a liar may send to the blocking probe. Each entry begins with a
//! header of three bytes: time to wait, who sends by which socket and what, length. Seals are open to fuzzers, so that
//! what lies behind them is reached as well.
#![cfg_attr(fuzzing, no_main)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::SocketId;
use ice::blocking::{Config, End, Key, NatClass, Output, Prober, Reach, Report, Responder, Route, judge};
use libfuzzer_sys::fuzz_target;

const SECRET: [u8; 32] = [7; 32];
/// No run takes longer, whatever happens.
const LIMIT: Duration = Duration::from_secs(61);

fuzz_target!(|script: &[u8]| run(script));

fn run(script: &[u8]) {
    let (setup, mut script) = script.split_first().map_or((0, script), |(setup, rest)| (*setup, rest));
    let began = Instant::now();
    let mut now = began;
    let mut prober = prober(setup);
    let responder = Responder::new(Key::without_seal(&SECRET), 1);
    prober.start(now);
    serve(&mut prober, setup);
    while let Some((&[wait, what, length], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        script = rest;
        now = pass(&mut prober, now, wait, setup);
        let (socket, from) = (SocketId(u32::from(what & 1)), sender(what >> 1));
        match what >> 4 {
            0..4 => {
                if let Some(answer) = responder.answer(from, body) {
                    prober.handle_datagram(now, socket, from, &answer);
                }
            }
            4..8 => report(&mut prober, now, body),
            8 => prober.remove_socket(socket),
            9 => prober.heard_server(socket),
            _ => _ = prober.handle_datagram(now, socket, from, body),
        }
        serve(&mut prober, setup);
        let _ = prober.take_report(now);
    }
    assert!(prober.is_done(began + LIMIT), "never done: {prober:?}");
    // What it tells the other end is understood there.
    let seen = prober.report();
    assert_eq!(Report::from_bytes(&seen.to_bytes(usize::MAX)), Some(seen));
    let _ = prober.findings();
}

fn prober(setup: u8) -> Prober {
    let config = Config {
        end: if setup & 1 == 0 { End::Client } else { End::Server },
        key: Key::without_seal(&SECRET),
        controls: if setup & 2 == 0 { vec![sender(0)] } else { vec![] },
        servers: if setup & 4 == 0 { vec![sender(1), sender(2)] } else { vec![] },
        seed: [1; 32],
    };
    let mut prober = Prober::new(config);
    prober.add_socket(SocketId(0), "wlan0", ([192, 168, 1, 2], 5).into(), setup & 8 != 0);
    prober.add_socket(SocketId(1), "wwan0", ([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 5).into(), false);
    prober
}

/// A control, two servers and what else sends, of both families.
fn sender(which: u8) -> SocketAddr {
    match which & 7 {
        0..4 => ([198, 51, 100, 2 + (which & 3)], 47_111).into(),
        _ => ([0x2001, 0xdb8, 1, 0, 0, 0, 0, 2 + u16::from(which & 3)], 47_111).into(),
    }
}

/// Time passes; the prober does up to eight of the things that are due in it.
fn pass(prober: &mut Prober, mut now: Instant, wait: u8, setup: u8) -> Instant {
    let until = now + Duration::from_millis(u64::from(wait) * 4);
    for _ in 0..8 {
        match prober.poll_timeout() {
            Some(due) if due <= until => now = now.max(due),
            _ => break,
        }
        prober.handle_timeout(now);
        serve(prober, setup);
    }
    until
}

fn report(prober: &mut Prober, now: Instant, body: &[u8]) {
    let Some(report) = Report::from_bytes(body) else { return };
    assert_eq!(Report::from_bytes(&report.to_bytes(usize::MAX)).as_ref(), Some(&report));
    let _ = judge(&report, Some(&report));
    let run = match prober.report().run {
        0 => report.run,
        run => run,
    };
    prober.handle_report(now, Report { run, ..report });
}

/// The driver's side.
fn serve(prober: &mut Prober, setup: u8) {
    while let Some(output) = prober.poll() {
        match output {
            Output::Transmit(transmit) => assert!(transmit.bytes.len() <= 1200),
            Output::Connect { socket, .. } => {
                let reach = [Reach::Connected, Reach::Refused, Reach::Silent, Reach::Unknown];
                prober.set_reach(socket, reach[usize::from(setup >> 4 & 3)]);
                prober.set_nat(socket, NatClass::default());
            }
            Output::FindRoute { socket, to } => {
                let route = [Route::Right, Route::Wrong, Route::None, Route::Unknown];
                prober.set_route(socket, to, route[usize::from(setup >> 6)]);
            }
        }
    }
}
