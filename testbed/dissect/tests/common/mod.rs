//! Captures made of datagrams.

#![allow(dead_code, reason = "not every test uses all of it")]

use dissect::{Capture, Classes, Dissector, GivenRun, Report};
use etherparse::PacketBuilder;
use std::{
    io::Cursor,
    net::{IpAddr, SocketAddr},
};

const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

pub(crate) fn socket(text: &str) -> SocketAddr {
    text.parse().expect("an address with a port")
}

/// Makes a pcap of raw IPv4, with nanoseconds. Times are milliseconds after 1970.
#[derive(Default)]
pub(crate) struct Maker {
    frames: Vec<(i64, Vec<u8>)>,
}

impl Maker {
    pub(crate) fn message(kind: u16, transaction: u8, attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(4), 0);
        }
        let length = (body.len() as u16).to_be_bytes();
        [&kind.to_be_bytes()[..], &length, &COOKIE, &[transaction; 12], &body].concat()
    }

    pub(crate) fn xor_address(address: SocketAddr) -> Vec<u8> {
        let IpAddr::V4(ip) = address.ip() else { panic!("IPv4 alone") };
        let port = address.port() ^ 0x2112;
        let ip: Vec<u8> = ip.octets().iter().zip(COOKIE).map(|(byte, mask)| byte ^ mask).collect();
        [&[0, 1][..], &port.to_be_bytes(), &ip].concat()
    }

    pub(crate) fn rtp_packet(payload_type: u8, ssrc: u32, number: u16) -> Vec<u8> {
        let timestamp = u32::from(number) * 160;
        let head = [0x80, payload_type];
        [&head[..], &number.to_be_bytes(), &timestamp.to_be_bytes(), &ssrc.to_be_bytes(), &[5; 20]].concat()
    }

    pub(crate) fn udp(&mut self, ms: i64, from: SocketAddr, to: SocketAddr, payload: &[u8]) {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (from.ip(), to.ip()) else {
            panic!("IPv4 alone")
        };
        let mut frame = Vec::new();
        PacketBuilder::ipv4(source.octets(), destination.octets(), 64)
            .udp(from.port(), to.port())
            .write(&mut frame, payload)
            .expect("a packet");
        self.frames.push((ms, frame));
    }

    pub(crate) fn stun(
        &mut self,
        ms: i64,
        from: SocketAddr,
        to: SocketAddr,
        kind: u16,
        transaction: u8,
        attributes: &[(u16, &[u8])],
    ) {
        self.udp(ms, from, to, &Self::message(kind, transaction, attributes));
    }

    pub(crate) fn rtp(
        &mut self,
        ms: i64,
        from: SocketAddr,
        to: SocketAddr,
        payload_type: u8,
        ssrc: u32,
        number: u16,
    ) {
        self.udp(ms, from, to, &Self::rtp_packet(payload_type, ssrc, number));
    }

    /// The capture, in order of time.
    pub(crate) fn pcap(mut self) -> Vec<u8> {
        self.frames.sort_by_key(|(ms, _)| *ms);
        let mut file = b"\x4d\x3c\xb2\xa1\x02\0\x04\0\0\0\0\0\0\0\0\0\xff\xff\0\0".to_vec();
        file.extend(101_u32.to_le_bytes());
        for (ms, frame) in &self.frames {
            file.extend(((ms / 1000) as u32).to_le_bytes());
            file.extend(((ms % 1000 * 1_000_000) as u32).to_le_bytes());
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend((frame.len() as u32).to_le_bytes());
            file.extend(frame);
        }
        file
    }

    pub(crate) fn dissect(self, given: Option<GivenRun>) -> Report {
        let mut capture = Capture::read("made".to_owned(), Cursor::new(self.pcap())).expect("a capture");
        let mut dissector = Dissector::new(Classes::default());
        dissector.give_run(given);
        dissector.dissect(&mut capture, drop);
        dissector.finish()
    }
}
