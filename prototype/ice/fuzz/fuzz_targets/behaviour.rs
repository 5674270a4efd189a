//! A script of what servers and strangers answer a prober. Each entry begins with a header of four bytes: time to wait,
//! socket and source, what it answers and how, length; so that what lies behind a right transaction id is reached as
//! well.
#![cfg_attr(fuzzing, no_main)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ice::behaviour::{ProbeConfig, ProbeOutput, Prober};
use ice::stun::{Builder, Class, Message, TransactionId};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|script: &[u8]| run(script));

/// RFC 5780 section 7.4.
const OTHER_ADDRESS: u16 = 0x802c;
/// Longer than any search for a lifetime that is asked for here.
const PATIENCE: Duration = Duration::from_secs(3600);

fn run(script: &[u8]) {
    let (setup, mut script) = script.split_first().map_or((0, script), |(setup, rest)| (*setup, rest));
    let mut now = Instant::now();
    let began = now;
    let servers = (0..1 + setup % 3).map(|place| server(place << 2)).collect();
    let lifetime = (setup & 4 != 0).then_some(Duration::from_secs(60));
    let mut prober = Prober::new(ProbeConfig { servers, lifetime, seed: [1; 32] });
    let mut host = Host { asked: vec![], opens: setup & 8 == 0 };
    prober.start(now);
    host.serve(&mut prober, now);
    while let Some((&[wait, place, how, length], rest)) = script.split_first_chunk() {
        let (body, rest) = rest.split_at(rest.len().min(usize::from(length)));
        script = rest;
        // Up to 4 s, most of them short.
        now += Duration::from_millis(u64::from(wait) * u64::from(wait) / 16);
        prober.handle_timeout(now);
        host.serve(&mut prober, now);
        if how == u8::MAX {
            prober.stop();
        }
        let (socket, from, datagram) = host.answer(place, how, body);
        prober.handle_datagram(now, socket, from, &datagram);
        host.serve(&mut prober, now);
    }
    // Whatever it was told, it comes to an end by itself.
    while !prober.is_done() {
        now = prober.poll_timeout().expect("waits for something").max(now);
        prober.handle_timeout(now);
        host.serve(&mut prober, now);
        assert!(now.duration_since(began) < PATIENCE, "never done: {prober:?}");
    }
    assert!(prober.report().samples.len() <= 8);
}

/// The driver's side.
struct Host {
    /// What the prober has asked: by which socket, whom, and in which transaction.
    asked: Vec<(u32, SocketAddr, TransactionId)>,
    /// Sockets can be opened.
    opens: bool,
}

impl Host {
    fn serve(&mut self, prober: &mut Prober, now: Instant) {
        while let Some(output) = prober.poll() {
            match output {
                ProbeOutput::Open { socket } => {
                    let port = 40_000 + (socket % 20_000) as u16;
                    let local = SocketAddr::from(([192, 168, 0, 2], port));
                    prober.opened(now, socket, (self.opens || socket < 3).then_some(local));
                }
                ProbeOutput::Close { .. } => {}
                ProbeOutput::Transmit { socket, to, bytes } => {
                    let request = Message::parse(&bytes).expect("what we send is STUN");
                    self.asked.push((socket, to, request.transaction()));
                }
            }
        }
    }

    /// The bytes as they are, or as an answer to one of the last questions; from the server that was asked, or another.
    fn answer(&self, place: u8, how: u8, body: &[u8]) -> (u32, SocketAddr, Vec<u8>) {
        let asked = self.asked.iter().nth_back(usize::from(place >> 4)).or(self.asked.last()).copied();
        let Some((socket, to, transaction)) = asked else { return (0, server(place), body.to_vec()) };
        let from = if place & 1 == 0 { to } else { server(place >> 1) };
        let class = match how % 4 {
            0 => return (u32::from(place & 15), from, body.to_vec()),
            1 | 2 => Class::Success,
            _ => Class::Error,
        };
        let mut answer = Builder::new(class, 1, transaction);
        if how & 4 != 0 {
            answer = answer.xor_mapped_address(mapped(how));
        }
        if how & 8 != 0 {
            answer = answer.plain_address(OTHER_ADDRESS, server(how >> 4));
        }
        let mut attributes = body;
        while let Some((&[high, low, length], rest)) = attributes.split_first_chunk() {
            let (value, rest) = rest.split_at(rest.len().min(usize::from(length)));
            attributes = rest;
            // Half of them from the block where those lie that mean something.
            let kind = if high & 1 == 0 { u16::from(low & 0x3f) } else { 0x8000 | u16::from(low) };
            if let Ok(longer) = Builder::attribute(answer, kind, value) {
                answer = longer;
            } else {
                return (socket, from, body.to_vec());
            }
        }
        (socket, from, answer.finish(None))
    }
}

/// Two addresses by two ports, and others.
fn server(place: u8) -> SocketAddr {
    ([198, 51, 100, 1 + (place >> 1 & 3)], 3478 + u16::from(place & 1)).into()
}

fn mapped(how: u8) -> SocketAddr {
    ([203, 0, 113, 1 + (how >> 6)], 40_000 + u16::from(how >> 4 & 3)).into()
}
