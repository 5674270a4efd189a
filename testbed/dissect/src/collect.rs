//! What is summed up over all flows: names, classes, distributions. Bounded: tables have a limit, and what they leave out
//! is counted.

use crate::{
    distribution::Distribution,
    flow::FlowRecord,
    ip::{Packet, Transport},
    names::{Name, dns},
    report::{ClassReport, ClientHelloCount, DnsAnswer, FlowSummary, NameReport, TcpMinute},
    text::Text,
};
use record::Millis;
use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::IpAddr,
};

const NS_PER_MS: f64 = 1e6;
const NS_PER_MINUTE: i64 = 60_000_000_000;
const NS_PER_HOUR: i64 = 60 * NS_PER_MINUTE;
/// Silence after which a user counts again.
const USER_TIMEOUT_NS: i64 = 60 * NS_PER_MINUTE;
/// Flows of at least this many bytes in one direction have a throughput.
const LARGE_FLOW_BYTES: u64 = 1_000_000;
/// Entries of one table.
const MAX_ENTRIES: usize = 100_000;
/// Lists of addresses kept for one name.
const MAX_ANSWERS: usize = 16;
/// Constant part of WeChat's binary header, behind the length of the message.
const WECHAT_MAGIC: [u8; 4] = [0, 0x10, 0, 1];
/// Steps of durations below this are no timeouts.
const LEAST_STEP_NS: u64 = 1_000_000_000;

#[derive(Debug, Default)]
struct Class {
    flows: u64,
    up_bytes: u64,
    down_bytes: u64,
    servers: HashSet<IpAddr>,
    servers_in_hour: HashSet<(i64, IpAddr)>,
    min_rtt: Option<Millis>,
    bytes: Distribution,
    durations: Distribution,
}

/// Sums over flows and packets.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    names: NameReport,
    classes: BTreeMap<Text, Class>,
    flows: BTreeMap<String, u64>,
    user_sessions: u64,
    users: HashMap<IpAddr, i64>,
    users_searched_ns: Option<i64>,
    tcp_bytes: Distribution,
    tcp_durations: Distribution,
    bit_rates: Distribution,
    wechat_segments: u64,
    minutes: BTreeMap<i64, TcpMinute>,
}

impl Collector {
    /// A packet began a flow.
    pub(crate) fn flow_started(&mut self, packet: &Packet<'_>, client: IpAddr, zero_ns: i64) {
        let last = self.users.insert(client, packet.time_ns);
        if last.is_none_or(|last| packet.time_ns.saturating_sub(last) > USER_TIMEOUT_NS) {
            self.user_sessions += 1;
        }
        // Rarely: each search looks at all of them, and may find that none is over.
        let searched_ns = *self.users_searched_ns.get_or_insert(packet.time_ns);
        if packet.time_ns.abs_diff(searched_ns) > USER_TIMEOUT_NS.unsigned_abs() {
            self.users_searched_ns = Some(packet.time_ns);
            self.users.retain(|_, last| packet.time_ns.saturating_sub(*last) <= USER_TIMEOUT_NS);
        }
        if matches!(packet.transport, Transport::Tcp { .. })
            && let Some(minute) = self.minute(packet.time_ns, zero_ns)
        {
            minute.flows += 1;
        }
    }

    /// Counts the flags of a segment, and WeChat's header.
    pub(crate) fn segment(&mut self, packet: &Packet<'_>, zero_ns: i64) {
        let Transport::Tcp { flags, .. } = packet.transport else { return };
        self.wechat_segments += u64::from(packet.payload.get(4..8) == Some(&WECHAT_MAGIC));
        if !(flags.syn || flags.fin || flags.rst) {
            return;
        }
        let Some(minute) = self.minute(packet.time_ns, zero_ns) else { return };
        minute.flags.syn += u32::from(flags.syn && !flags.ack);
        minute.flags.syn_ack += u32::from(flags.syn && flags.ack);
        minute.flags.fin += u32::from(flags.fin);
        minute.flags.rst += u32::from(flags.rst);
    }

    fn minute(&mut self, now_ns: i64, zero_ns: i64) -> Option<&mut TcpMinute> {
        let minute = now_ns.saturating_sub(zero_ns).div_euclid(NS_PER_MINUTE);
        let has_room = self.minutes.len() < MAX_ENTRIES || self.minutes.contains_key(&minute);
        has_room.then(|| self.minutes.entry(minute).or_default())
    }

    /// A message of unicast DNS.
    pub(crate) fn dns(&mut self, message: &dns::Message) {
        let has_room = self.names.dns.len() < MAX_ENTRIES;
        for question in &message.questions {
            let question: Text = question.as_str().into();
            if !has_room && !self.names.dns.contains_key(&question) {
                self.names.left_out += 1;
                continue;
            }
            let entry = self.names.dns.entry(question).or_default();
            if !message.is_response {
                entry.queries += 1;
                continue;
            }
            entry.responses += 1;
            let addresses = message.addresses().map(|(address, _)| address).collect();
            let answers = DnsAnswer { addresses, others: message.other_addresses().collect() };
            if answers != DnsAnswer::default()
                && entry.answers.len() < MAX_ANSWERS
                && !entry.answers.contains(&answers)
            {
                entry.answers.push(answers);
            }
        }
    }

    /// A message of multicast DNS.
    pub(crate) fn mdns(&mut self, message: dns::Message) {
        let records = message.records.into_iter().map(|record| record.name);
        for name in message.questions.into_iter().chain(records) {
            let name: Text = name.into();
            if self.names.mdns.len() < MAX_ENTRIES || self.names.mdns.contains_key(&name) {
                *self.names.mdns.entry(name).or_default() += 1;
            } else {
                self.names.left_out += 1;
            }
        }
    }

    /// A ClientHello, over TCP or in QUIC.
    pub(crate) fn client_hello(&mut self, name: &Name, is_quic: bool) {
        let server_name = name.sni.clone().unwrap_or_default();
        if self.names.client_hellos.len() >= MAX_ENTRIES
            && !self.names.client_hellos.contains_key(&server_name)
        {
            self.names.left_out += 1;
            return;
        }
        let count: &mut ClientHelloCount = self.names.client_hellos.entry(server_name).or_default();
        count.tls += u64::from(!is_quic);
        count.quic += u64::from(is_quic);
        count.ech += u64::from(name.ech);
    }

    /// A flow ended.
    pub(crate) fn flow_ended(&mut self, flow: &FlowRecord) {
        *self.flows.entry(flow.protocol.clone()).or_default() += 1;
        let duration_ns = flow.duration_ms.at_least_zero().as_ns().cast_unsigned();
        if flow.protocol == "tcp" {
            self.tcp_bytes.add(flow.bytes());
            self.tcp_durations.add(duration_ns);
        }
        let larger = flow.up.bytes.max(flow.down.bytes);
        if larger >= LARGE_FLOW_BYTES && duration_ns > 0 {
            self.bit_rates.add((larger as f64 * 8e9 / duration_ns as f64) as u64);
        }
        let Some(class) = &flow.class else { return };
        let class = self.classes.entry(class.clone()).or_default();
        class.flows += 1;
        class.up_bytes += flow.up.bytes;
        class.down_bytes += flow.down.bytes;
        if class.servers.len() < MAX_ENTRIES && class.servers_in_hour.len() < MAX_ENTRIES {
            class.servers.insert(flow.server.ip());
            class.servers_in_hour.insert((flow.start_ms.as_ns().div_euclid(NS_PER_HOUR), flow.server.ip()));
        }
        class.min_rtt = class.min_rtt.into_iter().chain(flow.rtt_ms).min();
        class.bytes.add(flow.bytes());
        class.durations.add(duration_ns);
    }

    /// Names, and the summary of flows.
    pub(crate) fn finish(mut self, peak_live: usize) -> (NameReport, FlowSummary) {
        self.names.classes = self.classes.into_iter().map(|(name, class)| (name, class.report())).collect();
        let summary = FlowSummary {
            flows: self.flows,
            users: self.user_sessions,
            peak_live: peak_live as u64,
            tcp_bytes: self.tcp_bytes.quantiles(1.0),
            tcp_ms: self.tcp_durations.quantiles(NS_PER_MS),
            tcp_ms_steps: self.tcp_durations.steps(LEAST_STEP_NS, NS_PER_MS),
            large_flow_bit_s: self.bit_rates.quantiles(1.0),
            wechat_segments: self.wechat_segments,
            syn_rst_bursts: bursts(&self.minutes),
            tcp_per_minute: self.minutes,
        };
        (self.names, summary)
    }
}

impl Class {
    fn report(self) -> ClassReport {
        let mut servers_per_hour = BTreeMap::new();
        for (hour, _) in &self.servers_in_hour {
            *servers_per_hour.entry(*hour).or_default() += 1;
        }
        ClassReport {
            flows: self.flows,
            up_bytes: self.up_bytes,
            down_bytes: self.down_bytes,
            servers: self.servers.len() as u64,
            servers_per_hour,
            min_rtt_ms: self.min_rtt,
            flow_bytes: self.bytes.quantiles(1.0),
            flow_ms: self.durations.quantiles(NS_PER_MS),
            flow_ms_steps: self.durations.steps(LEAST_STEP_NS, NS_PER_MS),
        }
    }
}

fn bursts(minutes: &BTreeMap<i64, TcpMinute>) -> Vec<i64> {
    let count = |minute: &TcpMinute| minute.flags.syn.saturating_add(minute.flags.rst);
    let mut counts: Vec<u32> = minutes.values().map(count).collect();
    counts.sort_unstable();
    let Some(median) = counts.get(counts.len() / 2) else { return Vec::new() };
    let limit = median.saturating_mul(5).max(20);
    minutes.iter().filter(|(_, minute)| count(minute) >= limit).map(|(at, _)| *at).collect()
}
