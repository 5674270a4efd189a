//! Logs built by hand, with figures computed by hand; then logs of any kind.

mod build;
mod edges;
mod losses;
mod missed;
mod properties;
mod transfers;
mod words;

use super::{results, timeline};
use crate::{DetectedBy, How, Results};
use build::{ms, wifi_off};

fn folded() -> Results {
    let (log, facts) = wifi_off();
    results(&log.events, &facts)
}

#[test]
fn the_interruption_is_the_larger_silence_less_the_sending_interval() {
    let step = &folded().metrics.disturbances[0];
    // Up: the datagram sent at 9985 ms arrives at 10025, those of 10005 and 10025 are lost, that of 10045 arrives 55 ms
    // later at 10100. Down: arrivals at 9991 and, after five lost ones, at 10126.
    assert_eq!(step.up_ms, Some(ms(10_100 - 10_025 - 20)));
    assert_eq!(step.down_ms, Some(ms(10_126 - 9_991 - 20)));
    assert_eq!(step.interruption_ms, step.down_ms);
    assert_eq!(step.gap_before_ms, Some(ms(0)));
    assert_eq!((step.how, step.same_connection), (How::Multipath, true));
    assert_eq!((step.path_before, step.path_after), (Some(0), Some(1)));
    assert_eq!((step.detected_ms, step.detected_by), (Some(ms(1)), Some(DetectedBy::InterfaceDown)));
    assert_eq!(step.what, "down laptop.wlan0");
}

#[test]
fn the_call_counts_what_was_sent_and_what_arrived() {
    let call = folded().metrics.call.unwrap();
    // 1000 left each way; the last that can arrive by the end left 55 ms before it.
    assert_eq!((call.up.sent, call.up.received, call.up.lost, call.up.late), (1000, 996, 2, 0));
    assert_eq!((call.down.sent, call.down.received, call.down.lost, call.down.late), (1000, 992, 5, 0));
    // 995 arrivals after the first, from 45 ms to 20000 ms.
    assert_eq!(call.up.packets_per_s, Some(49.862));
    assert_eq!(call.up.bit_rate, Some(23_136));
}

#[test]
fn the_paths_tell_their_pairs_checks_and_bytes() {
    let metrics = folded().metrics;
    assert_eq!(metrics.first_path_ms, Some(ms(130)));
    assert_eq!(metrics.direct_path_ms, Some(ms(130)));
    assert_eq!(metrics.relay_path_ms, None);
    let wifi = &metrics.paths[0];
    assert_eq!((wifi.first_usable_ms, wifi.in_quic_ms), (Some(ms(130)), Some(ms(90))));
    assert_eq!((wifi.closed_ms, wifi.closed_why.as_deref()), (Some(ms(10_001)), Some("interface down")));
    // Sent at 50, then every 100 ms from 200 to 9900; answered 80 ms later each.
    assert_eq!((wifi.checks_sent, wifi.checks_answered), (99, 99));
    assert_eq!(wifi.first_check_ms, Some(ms(50)));
    assert_eq!(wifi.check_interval_ms.unwrap().median, ms(100));
    assert_eq!(wifi.rtt_ms.unwrap().p95, ms(80));
    let cellular = &metrics.paths[1];
    assert_eq!((cellular.bytes_sent, cellular.bytes_received), (Some(5_000), Some(4_000)));
    assert_eq!((cellular.packets_sent, cellular.packets_lost), (Some(50), Some(2)));
    // The check took 110 ms; the connection's own samples go first.
    assert_eq!(cellular.rtt_ms.unwrap().min, ms(112));
}

#[test]
fn results_json_keeps_its_form() {
    let text = serde_json::to_string_pretty(&folded()).unwrap();
    insta::assert_snapshot!(text);
    assert_eq!(serde_json::from_str::<Results>(&text).unwrap(), folded());
}

#[test]
fn the_timeline_tells_the_run() {
    let (log, facts) = wifi_off();
    let lines: Vec<String> = timeline(&log.events, &facts).iter().map(ToString::to_string).collect();
    insta::assert_snapshot!(lines.join("\n"));
}
