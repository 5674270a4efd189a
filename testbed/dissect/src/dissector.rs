//! Takes captures through all rooms: frames in, flows out as they end, and a report at the end.

use crate::{
    calls::{CallCollector, GivenRun, Origin},
    collect::Collector,
    datagram::Datagram,
    flow::{Application, EndedBy, Flow, FlowRecord, FlowTable},
    ip::{IpReader, Outcome, Packet, Transport},
    link::{self, Network},
    names::{Handshake, Name, Tags, class::Classes, dns, quic, tls},
    quic_connections::QuicCollector,
    read::{Capture, Damage, Frame, Record},
    report::{FileReport, Report, SCHEMA},
    stun::StunCollector,
    text::Text,
};
use record::Millis;

const DNS: u16 = 53;
const MDNS: u16 = 5353;
/// Handshakes that are collected at the same time; flows beyond them stay without a name.
const MAX_HANDSHAKES: usize = 4096;

/// Dissects captures, one after the other.
#[derive(Debug)]
pub struct Dissector {
    classes: Classes,
    collector: Collector,
    stun: StunCollector,
    calls: CallCollector,
    quic: QuicCollector,
    files: Vec<FileReport>,
    damage: Vec<Damage>,
    peak_live: usize,
}

/// State that belongs to one file.
#[derive(Default)]
struct State {
    file: usize,
    zero_ns: i64,
    frame: u64,
    flows: FlowTable,
    tags: Tags,
    handshakes: usize,
}

impl Dissector {
    /// A dissector with these classes of services.
    pub fn new(classes: Classes) -> Self {
        Self {
            classes,
            collector: Collector::default(),
            stun: StunCollector::default(),
            calls: CallCollector::default(),
            quic: QuicCollector::default(),
            files: Vec::new(),
            damage: Vec::new(),
            peak_live: 0,
        }
    }

    /// Gives what is known of the run that the captures from now on are of: times in metrics then count from its time zero.
    /// None takes it back.
    pub fn give_run(&mut self, run: Option<GivenRun>) {
        self.calls.give_run(run);
    }

    /// Reads a capture to its end. Each flow goes to `sink` when it has ended.
    pub fn dissect(&mut self, capture: &mut Capture, mut sink: impl FnMut(FlowRecord)) {
        let mut report = FileReport {
            file: capture.file().to_owned(),
            format: capture.format(),
            packets: 0,
            start_ns: None,
            duration_ms: Millis::default(),
            cut: 0,
            not_ip: 0,
            damaged_packets: 0,
            fragments: 0,
            fragments_discarded: 0,
            comments: 0,
            secrets: 0,
            more_damage: 0,
        };
        let mut state = State { file: self.files.len(), ..State::default() };
        let mut reader = IpReader::default();
        while let Some(record) = capture.next_record() {
            match record {
                Record::Frame(frame) => self.frame(&frame, &mut report, &mut state, &mut reader, &mut sink),
                Record::Secrets(lines) => {
                    report.secrets +=
                        lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).count() as u64;
                }
            }
        }
        let State { file, zero_ns, mut flows, .. } = state;
        flows.end(|flow, why| self.flow_ended(flow, why, file, zero_ns, &mut sink));
        self.stun.end_file(file, zero_ns);
        self.calls.end_file(file, zero_ns);
        self.quic.end_file(file, zero_ns);
        self.peak_live = self.peak_live.max(flows.peak());
        report.fragments_discarded = reader.fragments_discarded();
        report.comments = capture.comments();
        let (damage, more_damage) = capture.damage();
        report.more_damage = more_damage;
        self.damage.extend_from_slice(damage);
        self.files.push(report);
    }

    /// The report on all captures.
    pub fn finish(self) -> Report {
        let (names, flow_summary) = self.collector.finish(self.peak_live);
        let (calls, calls_left_out) = self.calls.finish();
        let (quic, quic_left_out) = self.quic.finish();
        let longest = calls.iter().max_by_key(|call| call.duration_ms);
        let metrics = longest.map(|call| call.metrics.clone());
        Report {
            schema: SCHEMA,
            files: self.files,
            names,
            stun: self.stun.finish(),
            calls,
            calls_left_out,
            quic,
            quic_left_out,
            metrics,
            flow_summary,
            damage: self.damage,
        }
    }

    fn frame(
        &mut self,
        frame: &Frame<'_>,
        report: &mut FileReport,
        state: &mut State,
        reader: &mut IpReader,
        sink: &mut impl FnMut(FlowRecord),
    ) {
        report.packets += 1;
        let zero_ns = *report.start_ns.get_or_insert(frame.time_ns);
        state.zero_ns = zero_ns;
        state.frame = frame.number;
        report.duration_ms = Millis::from_ns(frame.time_ns.saturating_sub(zero_ns));
        report.cut += u64::from((frame.length as usize) > frame.data.len());
        let bytes = match link::network(frame.link, frame.data) {
            Network::Ip(bytes) => bytes,
            Network::Other(_) | Network::UnknownLink | Network::Cut => {
                report.not_ip += 1;
                return;
            }
        };
        match reader.read(frame.time_ns, frame.length, bytes) {
            Outcome::Packet(packet) => {
                let origin = Origin { interface: frame.interface_name, passage: frame.passage };
                self.packet(&packet, origin, state, sink);
            }
            Outcome::Fragment => report.fragments += 1,
            Outcome::Damaged => report.damaged_packets += 1,
        }
    }

    fn packet(
        &mut self,
        packet: &Packet<'_>,
        origin: Origin<'_>,
        state: &mut State,
        sink: &mut impl FnMut(FlowRecord),
    ) {
        self.collector.segment(packet, state.zero_ns);
        let mut found = None;
        if matches!(packet.transport, Transport::Udp) && !self.look_up_names(packet, state) {
            let datagram = Datagram::recognise(packet.payload, packet.payload_length);
            let is_stun = self.stun.add(packet, &datagram, state.file, state.zero_ns);
            if matches!(datagram, Datagram::Other) {
                self.quic.add(packet);
            }
            let is_of_call = self.calls.add(packet, &datagram, origin);
            found = match datagram {
                _ if is_stun => Some(Application::Stun),
                Datagram::Dtls(_) => Some(Application::Dtls),
                Datagram::Rtp(_) | Datagram::Rtcp(_) if is_of_call => Some(Application::Rtp),
                _ => None,
            };
        }
        let State { file, zero_ns, frame, flows, tags, handshakes } = state;
        let (flow, is_new) = flows.add(packet, |mut flow, why| {
            *handshakes -= usize::from(flow.handshake.take().is_some());
            let class = class_of(&self.classes, &flow);
            let record = FlowRecord::new(flow, why, *file, *zero_ns, class);
            self.collector.flow_ended(&record);
            sink(record);
        });
        if is_new {
            let (client, server) = (flow.client.ip(), flow.server.ip());
            flow.first_frame = *frame;
            flow.dns = tags.name(packet.time_ns, client, server);
            self.collector.flow_started(packet, client, *zero_ns);
        }
        if found == Some(Application::Stun) || flow.application.is_none() {
            flow.application = found.or(flow.application);
        }
        if let Some(name) = search_names(flow, packet, handshakes) {
            self.collector.client_hello(name, matches!(packet.transport, Transport::Udp));
        }
    }

    /// Reads DNS, and returns whether the packet is any.
    fn look_up_names(&mut self, packet: &Packet<'_>, state: &mut State) -> bool {
        let ports = [packet.source.port(), packet.destination.port()];
        if !ports.contains(&MDNS) && !ports.contains(&DNS) {
            return false;
        }
        if ports.contains(&MDNS) {
            if let Some(message) = dns::Message::parse(packet.payload) {
                self.collector.mdns(message);
            }
        } else if let Some(message) = dns::Message::parse(packet.payload) {
            self.collector.dns(&message);
            if let ([name, ..], true) = (message.questions.as_slice(), message.is_response) {
                let name = name.as_str().into();
                for (address, ttl_s) in message.addresses() {
                    state.tags.add(packet.time_ns, packet.destination.ip(), address, &name, ttl_s);
                }
            }
        }
        true
    }

    fn flow_ended(
        &mut self,
        flow: Flow,
        why: EndedBy,
        file: usize,
        zero_ns: i64,
        sink: &mut impl FnMut(FlowRecord),
    ) {
        let class = class_of(&self.classes, &flow);
        let record = FlowRecord::new(flow, why, file, zero_ns, class);
        self.collector.flow_ended(&record);
        sink(record);
    }
}

fn class_of(classes: &Classes, flow: &Flow) -> Option<Text> {
    let inside = flow.name.iter().flat_map(|name| name.sni.iter().chain(&name.certificate));
    inside.chain(&flow.dns).find_map(|name| classes.of(name))
}

/// Looks for names inside a flow; the names when a ClientHello was completed.
fn search_names<'f>(flow: &'f mut Flow, packet: &Packet<'_>, live: &mut usize) -> Option<&'f Name> {
    let is_up = flow.is_up(packet);
    if flow.application.is_none() {
        flow.application = application(packet);
    }
    if flow.handshake_done || packet.payload.is_empty() {
        return None;
    }
    let offset = flow.stream_offset(packet).unwrap_or(0);
    let Flow { handshake, name, application, handshake_done, .. } = flow;
    if handshake.is_none() {
        let begins = match packet.transport {
            Transport::Tcp { .. } if tls::is_handshake_record(packet.payload) => Some(Handshake::tls()),
            Transport::Udp if quic::is_long_header(packet.payload) => Some(Handshake::quic()),
            _ => None,
        };
        match begins {
            Some(begins) if *live < MAX_HANDSHAKES => {
                *live += 1;
                *handshake = Some(Box::new(begins));
            }
            // What does not begin with a handshake has none.
            _ => {
                *handshake_done = !matches!(packet.transport, Transport::Udp);
                return None;
            }
        }
    }
    let found = name.get_or_insert_default();
    let progress = match handshake.as_deref_mut() {
        Some(Handshake::Quic(quic)) if is_up => {
            *application = Some(Application::Quic);
            quic.add(packet.payload, found)
        }
        Some(tls @ Handshake::Tls { .. }) => {
            *application = Some(Application::Tls);
            tls.add_tls(is_up, offset, packet.payload, found)
        }
        _ => return None,
    };
    if progress.done {
        *handshake = None;
        *handshake_done = true;
        *live -= 1;
    }
    progress.client_hello.then_some(&*found)
}

fn application(packet: &Packet<'_>) -> Option<Application> {
    let ports = [packet.source.port(), packet.destination.port()];
    match packet.transport {
        Transport::Udp if ports.contains(&DNS) => Some(Application::Dns),
        Transport::Udp if ports.contains(&MDNS) => Some(Application::Mdns),
        _ => None,
    }
}
