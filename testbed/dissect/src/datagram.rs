//! What a UDP datagram holds, by its first bytes (RFC 9443): STUN in its forms, TURN channel data, DTLS, RTP, RTCP, QUIC.
//!
//! A single datagram can say so only of STUN with its cookie; whether RTP is RTP shows when a second packet of the same
//! source follows. Left out: DTLS 1.3 records with the unified header, which begin like many other things.

use crate::stun::Message;
use ice::disguise::Rung;

/// WhatsApp's keep-alive in ASCII, and the answer to it.
const HEALTH: [&[u8]; 2] = [b"health", b"OK"];

/// Content of a datagram.
#[derive(Debug, Clone, PartialEq)]
pub enum Datagram<'a> {
    /// A STUN message with the magic cookie.
    Stun(Message<'a>),
    /// A STUN message of RFC 3489.
    ClassicStun(Message<'a>),
    /// A STUN message in one of our disguises: the rung, and the message as it was before.
    Disguised(Rung, Vec<u8>),
    /// WhatsApp's keep-alive.
    Health,
    /// The answer to WhatsApp's keep-alive.
    HealthAnswer,
    /// TURN channel data (RFC 8656 section 12.4) with its channel number.
    ChannelData(u16, &'a [u8]),
    /// A DTLS record.
    Dtls(Dtls),
    /// An RTP packet.
    Rtp(RtpHeader),
    /// An RTCP packet, by its packet type.
    Rtcp(u8),
    /// Anything else, QUIC among it.
    Other,
}

/// First record of a datagram with DTLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dtls {
    /// Content type, 20 to 25.
    pub content: u8,
    /// Type of the handshake message, in a record that is not encrypted: epoch 0.
    pub handshake: Option<u8>,
}

/// Header of an RTP packet (RFC 3550 section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RtpHeader {
    /// Payload type.
    pub payload_type: u8,
    /// Marker bit.
    pub marker: bool,
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp in units of the payload's clock.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
}

impl<'a> Datagram<'a> {
    /// Recognises a datagram; `length` is its length on the wire, which may be more than was captured.
    pub fn recognise(payload: &'a [u8], length: u32) -> Self {
        if let Some(message) = Message::parse(payload) {
            return Self::Stun(message);
        }
        match payload {
            _ if payload == HEALTH[0] => return Self::Health,
            _ if payload == HEALTH[1] => return Self::HealthAnswer,
            [20..=25, ..] => {
                if let Some(record) = Dtls::parse(payload) {
                    return Self::Dtls(record);
                }
            }
            [0x80..=0xbf, ..] => {
                if let Some(header) = RtpHeader::parse(payload, length) {
                    return Self::Rtp(header);
                }
                if let Some(kind) = rtcp(payload, length) {
                    return Self::Rtcp(kind);
                }
            }
            _ => {}
        }
        if let Some((rung, message)) = Rung::detect(payload) {
            return Self::Disguised(rung, message);
        }
        if let Some((channel, data)) = channel_data(payload, length) {
            return Self::ChannelData(channel, data);
        }
        if let Some(message) = Message::parse_classic(payload) {
            return Self::ClassicStun(message);
        }
        match group_forwarded(payload) {
            Some(inner) => match RtpHeader::parse(inner, length) {
                Some(header) => Self::Rtp(header),
                None => Self::Other,
            },
            None => Self::Other,
        }
    }
}

impl Dtls {
    /// DTLS 1.0, 1.2 and the first flights of 1.3 (RFC 9147 section 4).
    fn parse(payload: &[u8]) -> Option<Self> {
        let (header, after) = payload.split_first_chunk::<13>()?;
        let [content, 0xfe, 0xff | 0xfd, epoch_high, epoch_low, ..] = *header else { return None };
        let is_plain = [epoch_high, epoch_low] == [0, 0];
        let handshake = after.first().copied().filter(|_| content == 22 && is_plain);
        Some(Self { content, handshake })
    }

    /// A ClientHello begins a connection.
    pub fn is_client_hello(&self) -> bool {
        self.handshake == Some(1)
    }
}

impl RtpHeader {
    fn parse(payload: &[u8], length: u32) -> Option<Self> {
        let (bytes, after) = payload.split_first_chunk::<12>()?;
        let (flags, kind) = (bytes[0], bytes[1]);
        // Payload types 64 to 95 with any marker are those of RTCP (RFC 5761 section 4).
        if flags >> 6 != 2 || (192..=223).contains(&kind) {
            return None;
        }
        let sources = usize::from(flags & 15) * 4;
        let mut header = bytes.len() + sources;
        if flags & 0x10 != 0 {
            let extension = after.get(sources..sources + 4)?;
            header += 4 + usize::from(u16::from_be_bytes([extension[2], extension[3]])) * 4;
        }
        (header <= length as usize).then(|| Self {
            payload_type: kind & 0x7f,
            marker: kind & 0x80 != 0,
            sequence: u16::from_be_bytes([bytes[2], bytes[3]]),
            timestamp: u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
            ssrc: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
        })
    }
}

/// RFC 3550 section 6.4; the length of the first packet of a compound must fit.
fn rtcp(payload: &[u8], length: u32) -> Option<u8> {
    let [flags, kind @ 192..=223, high, low, ..] = *payload else { return None };
    let words = u32::from(u16::from_be_bytes([high, low]));
    (flags >> 6 == 2 && (words + 1) * 4 <= length).then_some(kind)
}

/// Over UDP it may be padded to a multiple of four, or not.
fn channel_data(payload: &[u8], length: u32) -> Option<(u16, &[u8])> {
    let (head, data) = payload.split_first_chunk::<4>()?;
    let channel = u16::from_be_bytes([head[0], head[1]]);
    let size = u32::from(u16::from_be_bytes([head[2], head[3]]));
    let fits = length == size + 4 || length == size.next_multiple_of(4) + 4;
    let is_channel = (0x4000..=0x4fff).contains(&channel) && size > 0;
    (is_channel && fits).then(|| (channel, &data[..data.len().min(size as usize)]))
}

/// RTP behind the header that WhatsApp's relays put in front of it in calls of groups.
fn group_forwarded(payload: &[u8]) -> Option<&[u8]> {
    let header = match payload {
        [9, 2, ..] => 8,
        [9, 4, ..] => 12,
        [9, 7, ..] => 18,
        _ => return None,
    };
    payload.get(header..)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn recognise(payload: &[u8]) -> Datagram<'_> {
        Datagram::recognise(payload, payload.len() as u32)
    }

    #[test]
    fn first_bytes_tell_protocols_apart() {
        let rtp = [&[0x90, 0xf8, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4, 0xbe, 0xde, 0, 1][..], &[0; 20]].concat();
        let expected =
            RtpHeader { payload_type: 120, marker: true, sequence: 7, timestamp: 9, ssrc: 0x0102_0304 };
        assert_eq!(recognise(&rtp), Datagram::Rtp(expected));
        assert_eq!(recognise(&rtp[..18]), Datagram::Other, "the extension does not fit");
        // A group's forwarding header, of each length.
        for (kind, length) in [(2, 8), (4, 12), (7, 18)] {
            let mut forwarded = vec![0; length];
            forwarded[..2].copy_from_slice(&[9, kind]);
            forwarded.extend(&rtp);
            assert_eq!(recognise(&forwarded), Datagram::Rtp(expected));
        }
        assert_eq!(recognise(&[0x81, 200, 0, 1, 1, 2, 3, 4]), Datagram::Rtcp(200));
        assert_eq!(recognise(&[0x81, 200, 0, 2, 1, 2, 3, 4]), Datagram::Other, "longer than its datagram");
        let hello = [22, 0xfe, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        assert!(matches!(recognise(&hello), Datagram::Dtls(record) if record.is_client_hello()));
        let encrypted = [22, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1];
        assert!(matches!(recognise(&encrypted), Datagram::Dtls(record) if !record.is_client_hello()));
        assert_eq!(recognise(b"health"), Datagram::Health);
        assert_eq!(recognise(&[0x40, 1, 0, 2, 5, 6]), Datagram::ChannelData(0x4001, &[5, 6]));
        assert_eq!(recognise(&[0x40, 1, 0, 2, 5, 6, 0, 0]), Datagram::ChannelData(0x4001, &[5, 6]));
        assert_eq!(recognise(&[0x40, 1, 0, 2, 5, 6, 0]), Datagram::Other);
        assert_eq!(recognise(&[]), Datagram::Other);
    }

    #[test]
    fn cut_packets_are_recognised_by_their_length_on_the_wire() {
        let rtp = [0x80, 120, 0, 7, 0, 0, 0, 9, 1, 2, 3, 4];
        assert!(matches!(Datagram::recognise(&rtp, 1000), Datagram::Rtp(_)));
        let channel = [0x40, 1, 3, 0xe8, 5, 6];
        assert_eq!(Datagram::recognise(&channel, 1004), Datagram::ChannelData(0x4001, &[5, 6]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), length: u32) {
            let _ = Datagram::recognise(&bytes, length);
            let _ = recognise(&bytes);
        }
    }
}
