//! The figures in the form of expected.tsv, from what the dissector reports.

use super::Seen;
use dissect::FlowRecord;
use std::{collections::BTreeSet, net::SocketAddr};

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
        _ => return None,
    };
    Some(value)
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
