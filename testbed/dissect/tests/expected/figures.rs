//! The figures in the form of expected.tsv, from what the dissector reports.

use super::Seen;
use dissect::{
    Capture, FlowRecord, IpReader, Network, Outcome, Record, Text,
    calls::RtpStream,
    network,
    stun::{Exchange, Message},
};
use record::Millis;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

/// The figure; none if it is not measured.
pub(crate) fn measure(figure: &str, seen: &Seen) -> Option<String> {
    let value = match figure {
        "packets" => seen.report.files[0].packets.to_string(),
        "duration_s" => {
            let ns = seen.report.files[0].duration_ms.as_ns();
            return Some(trimmed(ns));
        }
        "udp_flows" => udp_flows(&seen.flows),
        "tcp_flow_cdf" => tcp_flow_cdf(&seen.flows),
        "tcp_port5222_streams" => {
            let to_chat = |flow: &&FlowRecord| flow.protocol == "tcp" && flow.server.port() == 5222;
            seen.flows.iter().filter(to_chat).count().to_string()
        }
        "tcp_syn_dst" => tcp_syn_destinations(&seen.flows),
        "dns_names" => joined(
            seen.report
                .names
                .dns
                .iter()
                .filter(|(_, dns)| dns.queries > 0)
                .map(|(name, dns)| format!("{} {name}", dns.queries)),
        ),
        "dns_answers" => joined(seen.report.names.dns.iter().flat_map(|(name, dns)| {
            dns.answers.iter().filter_map(move |answers| {
                let answers: Vec<String> = answers
                    .addresses
                    .iter()
                    .chain(&answers.others)
                    .filter(|address| address.is_ipv4())
                    .map(ToString::to_string)
                    .collect();
                (!answers.is_empty()).then(|| format!("{name} {}", answers.join(",")))
            })
        })),
        "mdns_names" => joined(seen.report.names.mdns.iter().map(|(name, count)| format!("{count} {name}"))),
        "tls_sni" => joined(
            seen.report
                .names
                .client_hellos
                .iter()
                .filter(|(name, count)| count.tls > 0 && !name.is_empty())
                .map(|(name, count)| format!("{} {name}", count.tls)),
        ),
        "stun_types" => counted(&seen.report.stun.types),
        "first_attr_by_type" => counted(&seen.report.stun.first_attributes),
        "pkts_with_server_timestamp_4002" => seen.report.stun.with_server_time.to_string(),
        "relays_per_local_port" => relays_per_local_port(seen),
        "allocate_first_rtt" | "turn_allocate_rtt_ipv4" => allocate_rtt(seen),
        "turn_servers_ipv4" => turn_servers(seen),
        "binding_requests" | "binding_requests_ipv4" => joined(of_type(seen, "0001").map(|exchange| {
            let first = seconds(exchange.first_ms.as_ns());
            format!("{}>{} n={} first={first:.3}", exchange.from, exchange.to, exchange.count)
        })),
        "binding_success" => joined(of_type(seen, "0101").map(|exchange| {
            format!("{}>{} t={:.3}", exchange.from, exchange.to, seconds(exchange.first_ms.as_ns()))
        })),
        "binding_cadence" | "binding_cadence_ipv4" => cadence(seen, "0001"),
        "ping_0801_cadence" => cadence(seen, "0801"),
        "ping_0804_cadence" => cadence(seen, "0804"),
        "ascii_health_cadence" => cadence(seen, "health"),
        "ascii_OK_replies" => of_type(seen, "OK").map(|exchange| exchange.count).sum::<u64>().to_string(),
        "call_end_0800" => call_ends(seen),
        "allocate_bursts" => {
            joined(seen.report.stun.bursts.iter().filter(|burst| &*burst.message == "0003").map(|burst| {
                let spread_ms = burst.last_ms.as_f64() - burst.first_ms.as_f64();
                let first = seconds(burst.first_ms.as_ns());
                format!("port={} t={first:.3} n={} spread_ms={spread_ms:.1}", burst.from.port(), burst.count)
            }))
        }
        "ping_0801_trains" => {
            joined(seen.report.stun.bursts.iter().filter(|burst| &*burst.message == "0801").map(|burst| {
                let span_ms = burst.last_ms.as_f64() - burst.first_ms.as_f64();
                let gap = span_ms / (burst.count - 1) as f64;
                format!("t={:.3} n={} mean_gap_ms={gap:.1}", seconds(burst.first_ms.as_ns()), burst.count)
            }))
        }
        "ping_0801_len20_cadence" => cadence_of(of_type(seen, "0801").filter(|exchange| {
            assert!([0, exchange.count].contains(&exchange.header_only), "both forms: count them apart");
            exchange.header_only > 0
        })),
        // tshark takes methods up to 0xff for STUN.
        "stun_as_dissected_by_tshark_4.0.17" => {
            let is_known = |kind: &str| u16::from_str_radix(kind, 16).is_ok_and(|kind| method(kind) <= 0xff);
            let types = seen.report.stun.types.iter().filter(|(kind, _)| is_known(kind));
            types.map(|(_, count)| count).sum::<u64>().to_string()
        }
        "wtcp_00100001_packets" => seen.report.flow_summary.wechat_segments.to_string(),
        "path_building" => path_building(seen),
        "rtp_pt120_flows" => rtp_ways(seen, 120),
        "rtp_pt102_video_flows" => rtp_ways(seen, 102),
        "rtp_pt120_path_switch" => rtp_moves(seen, 120),
        _ if figure.starts_with("unpadded_attrs_0801") => first_attributes(seen, 200, 36),
        _ if figure.starts_with("unpadded_attrs_0802") => first_attributes(seen, 202, 50),
        _ => return None,
    };
    Some(value)
}

/// RFC 8489 section 5: the method without the bits of the class.
fn method(kind: u16) -> u16 {
    kind & 0x0f | kind >> 1 & 0x70 | kind >> 2 & 0x0f80
}

fn path_building(seen: &Seen) -> String {
    let [call] = seen.report.calls.as_slice() else { return format!("{} calls", seen.report.calls.len()) };
    let of = call.milestones;
    let at =
        |time: Option<Millis>| time.map_or("none".into(), |time| format!("{:.3}", seconds(time.as_ns())));
    let between = |from: Option<Millis>, to: Option<Millis>| match (from, to) {
        (Some(from), Some(to)) => format!("{:.1}", to.as_f64() - from.as_f64()),
        _ => "none".into(),
    };
    format!(
        "first_allocate={} first_alloc_reply_ms={} first_relay_rtp={} first_binding={} binding_to_success_ms={} \
         first_direct_rtp={} binding_to_direct_rtp_ms={} relay_rtp_to_direct_rtp_ms={} allocate_to_direct_rtp_ms={} \
         first_0800={}",
        at(of.first_join_ms),
        between(of.first_join_ms, of.first_join_answer_ms),
        at(of.first_relay_media_ms),
        at(of.first_check_ms),
        between(of.first_check_ms, of.first_check_answer_ms),
        at(of.first_direct_media_ms),
        between(of.first_check_ms, of.first_direct_media_ms),
        between(of.first_relay_media_ms, of.first_direct_media_ms),
        between(of.first_join_ms, of.first_direct_media_ms),
        at(of.first_release_ms),
    )
}

fn streams(seen: &Seen, payload_type: u8) -> impl Iterator<Item = &RtpStream> {
    let streams = seen.report.calls.iter().flat_map(|call| &call.media);
    streams.filter(move |stream| stream.payload_type == payload_type)
}

fn rtp_ways(seen: &Seen, payload_type: u8) -> String {
    joined(streams(seen, payload_type).flat_map(|stream| &stream.ways).map(|way| {
        let (first, last) = (seconds(way.first_ms.as_ns()), seconds(way.last_ms.as_ns()));
        let per_second = |number: f64| if last > first { number / (last - first) } else { 0.0 };
        format!(
            "{}>{} n={} first={first:.3} last={last:.3} pps={:.2} kbps={:.1}",
            way.from,
            way.to,
            way.packets,
            per_second(way.packets as f64 - 1.0),
            per_second(way.bytes as f64 * 8.0 / 1000.0)
        )
    }))
}

/// Sources with at least ten packets, as the command has them.
fn rtp_moves(seen: &Seen, payload_type: u8) -> String {
    joined(streams(seen, payload_type).filter(|stream| stream.packets >= 10).map(|stream| {
        let way = |index: usize| format!("{}>{}", stream.ways[index].from, stream.ways[index].to);
        let first = stream.moves.first().map_or(String::new(), |change| {
            let (at, to, gap) = (seconds(change.at_ms.as_ns()), way(change.after), change.gap_ms.as_f64());
            format!(" first_switch_t={at:.3} to={to} gap_at_switch_ms={gap:.1}")
        });
        format!(
            "ssrc={} n={} first_path={} switches={}{first} max_gap_ms={:.1}",
            stream.ssrc,
            stream.packets,
            way(0),
            stream.moves.len(),
            stream.max_gap_ms.as_f64()
        )
    }))
}

/// Type, length and so many hexadecimal digits of the attributes of a frame, put together from what was parsed.
fn first_attributes(seen: &Seen, wanted: u64, digits: usize) -> String {
    let mut capture = Capture::open(&seen.path).expect("a capture");
    let mut reader = IpReader::default();
    while let Some(record) = capture.next_record() {
        let Record::Frame(frame) = record else { continue };
        if frame.number != wanted {
            continue;
        }
        let Network::Ip(bytes) = network(frame.link, frame.data) else { continue };
        let Outcome::Packet(packet) = reader.read(frame.time_ns, frame.length, bytes) else { continue };
        let message = Message::parse(packet.payload).expect("a STUN message");
        let mut text = String::new();
        for (kind, value) in message.attributes() {
            text += &format!("{kind:04x}{:04x}", value.len());
            value.iter().for_each(|byte| text += &format!("{byte:02x}"));
        }
        text.truncate(digits);
        return format!("{:04x}{:04x}{text}", message.kind, message.length);
    }
    "no such frame".into()
}

fn joined(parts: impl Iterator<Item = String>) -> String {
    let parts: Vec<String> = parts.collect();
    if parts.is_empty() { "(none)".into() } else { parts.join(" ; ") }
}

/// Seconds with the nine digits that tshark prints.
fn trimmed(ns: i64) -> String {
    format!("{}.{:09}", ns / 1_000_000_000, ns % 1_000_000_000)
}

fn seconds(ns: i64) -> f64 {
    ns as f64 / 1e9
}

/// By directed 4-tuple, from the flows of both directions: only where each direction is in one flow and begins and ends
/// with it does that give what tshark counts, so that the first and last packet are compared by the flow.
fn udp_flows(flows: &[FlowRecord]) -> String {
    let direction = |flow: &FlowRecord,
                     from: SocketAddr,
                     to: SocketAddr,
                     direction: &dissect::flow::DirectionRecord| {
        let span_ns = direction.last_ms.as_ns() - direction.first_ms.as_ns();
        let (mut rate, mut kilobits) = (0.0, 0.0);
        if span_ns > 0 {
            rate = (direction.packets - 1) as f64 / seconds(span_ns);
            kilobits = direction.payload_bytes as f64 * 8.0 / seconds(span_ns) / 1000.0;
        }
        let first = seconds(flow.start_ms.as_ns() + direction.first_ms.as_ns());
        let last = seconds(flow.start_ms.as_ns() + direction.last_ms.as_ns());
        let packets = direction.packets;
        format!("{from}>{to} n={packets} first={first:.3} last={last:.3} pps={rate:.2} kbps={kilobits:.1}")
    };
    let of = |flow: &FlowRecord| {
        let up = (flow.up.packets > 0).then(|| direction(flow, flow.client, flow.server, &flow.up));
        let down = (flow.down.packets > 0).then(|| direction(flow, flow.server, flow.client, &flow.down));
        up.into_iter().chain(down).collect::<Vec<_>>()
    };
    joined(flows.iter().filter(|flow| flow.protocol == "udp" && flow.client.is_ipv4()).flat_map(of))
}

fn tcp(flows: &[FlowRecord]) -> impl Iterator<Item = &FlowRecord> {
    flows.iter().filter(|flow| flow.protocol == "tcp")
}

fn tcp_flow_cdf(flows: &[FlowRecord]) -> String {
    let mut bytes: Vec<u64> = tcp(flows).map(FlowRecord::bytes).collect();
    let mut durations: Vec<i64> = tcp(flows).map(|flow| flow.duration_ms.as_ns()).collect();
    bytes.sort_unstable();
    durations.sort_unstable();
    let n = bytes.len();
    let at = |tenths: usize| (n * tenths).div_ceil(10).max(1) - 1;
    let duration = |index: usize| seconds(durations[index]);
    format!(
        "flows={n} bytes_p10={} bytes_p50={} bytes_p90={} bytes_max={} dur_p10={:.3} dur_p50={:.3} dur_p90={:.3} dur_max={:.3}",
        bytes[at(1)],
        bytes[at(5)],
        bytes[at(9)],
        bytes[n - 1],
        duration(at(1)),
        duration(at(5)),
        duration(at(9)),
        duration(n - 1),
    )
}

/// tshark numbers streams in the order of their first packets, over all of them.
fn tcp_syn_destinations(flows: &[FlowRecord]) -> String {
    let mut lines = BTreeSet::new();
    for (stream, flow) in tcp(flows).enumerate() {
        if flow.flags.is_some_and(|flags| flags.syn > 0) {
            lines.insert((stream, format!("{stream} {} {}", flow.server.ip(), flow.server.port())));
        }
    }
    joined(lines.into_iter().map(|(_, line)| line))
}

fn counted(counts: &BTreeMap<Text, u64>) -> String {
    joined(counts.iter().map(|(name, count)| format!("{count} {name}")))
}

/// As most of the commands do, IPv4 alone.
fn of_type<'s>(seen: &'s Seen, kind: &'s str) -> impl Iterator<Item = &'s Exchange> {
    seen.report
        .stun
        .exchanges
        .iter()
        .filter(move |exchange| &*exchange.message == kind && exchange.from.is_ipv4())
}

fn cadence(seen: &Seen, kind: &str) -> String {
    cadence_of(of_type(seen, kind))
}

fn cadence_of<'s>(exchanges: impl Iterator<Item = &'s Exchange>) -> String {
    joined(exchanges.filter(|exchange| exchange.count >= 3).map(|exchange| {
        let (first, last) = (seconds(exchange.first_ms.as_ns()), seconds(exchange.last_ms.as_ns()));
        let interval = exchange.interval_ms.expect("three messages have an interval");
        let [min, median, max] = [interval.min, interval.median, interval.max].map(|ms| ms / 1000.0);
        format!(
            "{}>{} n={} first={first:.3} last={last:.3} gap_min={min:.3} gap_med={median:.3} gap_max={max:.3}",
            exchange.from, exchange.to, exchange.count
        )
    }))
}

fn relays_per_local_port(seen: &Seen) -> String {
    let mut relays: BTreeMap<u16, BTreeSet<_>> = BTreeMap::new();
    for exchange in of_type(seen, "0003").filter(|exchange| exchange.to.port() == 3478) {
        relays.entry(exchange.from.port()).or_default().insert(exchange.to.ip());
    }
    joined(relays.iter().map(|(port, relays)| format!("{} {port}", relays.len())))
}

/// First Allocate request to first success, by local port and relay.
fn allocate_rtt(seen: &Seen) -> String {
    let mut requests = BTreeMap::new();
    for exchange in of_type(seen, "0003") {
        let first = requests.entry((exchange.from.port(), exchange.to.ip())).or_insert(exchange.first_ms);
        *first = exchange.first_ms.min(*first);
    }
    joined(requests.into_iter().map(|((port, relay), sent)| {
        let answers = of_type(seen, "0103")
            .filter(|exchange| (exchange.to.port(), exchange.from.ip()) == (port, relay));
        match answers.map(|exchange| exchange.first_ms).min() {
            Some(answered) => format!("{port}>{relay} {:.1}ms", answered.as_f64() - sent.as_f64()),
            None => format!("{port}>{relay} none"),
        }
    }))
}

fn turn_servers(seen: &Seen) -> String {
    let mut servers: BTreeMap<SocketAddr, u64> = BTreeMap::new();
    for exchange in of_type(seen, "0003") {
        *servers.entry(exchange.to).or_default() += exchange.count;
    }
    joined(servers.iter().map(|(server, count)| format!("{count} {} {}", server.ip(), server.port())))
}

fn call_ends(seen: &Seen) -> String {
    let mut ports: BTreeMap<u16, (u64, i64, i64)> = BTreeMap::new();
    for exchange in of_type(seen, "0800") {
        let (first, last) = (exchange.first_ms.as_ns(), exchange.last_ms.as_ns());
        let port = ports.entry(exchange.from.port()).or_insert((0, first, last));
        *port = (port.0 + exchange.count, port.1.min(first), port.2.max(last));
    }
    joined(ports.iter().map(|(port, (n, first, last))| {
        format!("port={port} n={n} first={:.3} last={:.3}", seconds(*first), seconds(*last))
    }))
}
