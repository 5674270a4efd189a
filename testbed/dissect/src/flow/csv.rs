//! Flows as CSV (RFC 4180), one line each.

use super::FlowRecord;
use std::fmt::Display;

/// First line of the file.
pub const CSV_HEADER: &str = "file,first_frame,protocol,client,client_port,server,server_port,start_ms,duration_ms,up_packets,up_bytes,\
up_payload_bytes,up_retransmitted,down_packets,down_bytes,down_payload_bytes,down_retransmitted,syn,syn_ack,fin,rst,rtt_ms,\
ended,application,dns,sni,ech,certificate,class";

/// One flow, without the end of the line. `file` is the name of its capture.
pub fn csv_line(flow: &FlowRecord, file: &str) -> String {
    let flags = flow.flags.unwrap_or_default();
    let certificate: Vec<&str> = flow.certificate.iter().map(AsRef::as_ref).collect();
    let mut values = Vec::new();
    let mut add = |value: &dyn Display| values.push(quoted(&value.to_string()));
    add(&file);
    add(&flow.first_frame);
    add(&flow.protocol);
    for end in [flow.client, flow.server] {
        add(&end.ip());
        add(&end.port());
    }
    add(&flow.start_ms.as_f64());
    add(&flow.duration_ms.as_f64());
    for direction in [flow.up, flow.down] {
        for number in [direction.packets, direction.bytes, direction.payload_bytes] {
            add(&number);
        }
        add(&direction.retransmitted);
    }
    for count in [flags.syn, flags.syn_ack, flags.fin, flags.rst] {
        add(&count);
    }
    add(&flow.rtt_ms.map_or(String::new(), |rtt| rtt.as_f64().to_string()));
    add(&flow.ended.word());
    add(&flow.application.map_or("", super::Application::word));
    add(&flow.dns.as_deref().unwrap_or_default());
    add(&flow.sni.as_deref().unwrap_or_default());
    add(&flow.ech);
    add(&certificate.join(" "));
    add(&flow.class.as_deref().unwrap_or_default());
    values.join(",")
}

/// A name comes from packets: it may hold anything.
fn quoted(value: &str) -> String {
    match value.contains(['"', ',', '\n', '\r']) {
        true => format!("\"{}\"", value.replace('"', "\"\"")),
        false => value.to_owned(),
    }
}
