//! What another end, a control or a liar may send to the blocking probe: datagrams to a prober and to the control, and
//! reports.
#![no_main]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::SocketId;
use ice::blocking::{Config, End, Key, Output, Prober, Report, Responder, judge};
use libfuzzer_sys::fuzz_target;

const SECRET: [u8; 32] = [7; 32];

fuzz_target!(|data: &[u8]| run(data));

fn run(data: &[u8]) {
    let control: SocketAddr = ([198, 51, 100, 2], 47_111).into();
    let peer: SocketAddr = ([203, 0, 113, 1], 4000).into();
    let config = Config {
        end: End::Client,
        key: Key::new(&SECRET),
        controls: vec![control],
        servers: vec![peer],
        seed: 1,
    };
    let mut prober = Prober::new(config);
    prober.add_socket(SocketId(0), "wlan0", ([192, 168, 1, 2], 5).into(), false);
    let mut now = Instant::now();
    prober.start(now);
    let _ = Responder::new(Key::new(&SECRET), 1).answer(peer, data);
    prober.handle_datagram(now, SocketId(0), peer, data);
    if let Some(report) = Report::from_bytes(data) {
        assert_eq!(Report::from_bytes(&report.to_bytes(usize::MAX)).as_ref(), Some(&report));
        let _ = judge(&report, Some(&report));
        prober.handle_report(now, Report { run: prober.report().run, ..report });
    }
    for _ in 0..400 {
        now += Duration::from_millis(100);
        prober.handle_timeout(now);
        while let Some(Output::Transmit(_) | Output::Connect { .. } | Output::FindRoute { .. }) = prober.poll() {}
    }
    let _ = prober.findings();
}
