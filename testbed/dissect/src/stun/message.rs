//! One STUN message: RFC 8489, the older form without a magic cookie (RFC 3489), and WhatsApp's, which may lack padding.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub(crate) const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();
pub(crate) const HEADER: usize = 20;

/// Type of no attribute (RFC 8489 section 18.3).
const RESERVED: u16 = 0;
/// Binding and Shared Secret, the only methods of RFC 3489, as requests, responses and errors.
const CLASSIC_TYPES: [u16; 6] = [0x0001, 0x0101, 0x0111, 0x0002, 0x0102, 0x0112];

/// A STUN message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Type: method and class.
    pub kind: u16,
    /// Length field.
    pub length: u16,
    /// Transaction id; in the form of RFC 3489 it begins where the cookie is.
    pub transaction: [u8; 16],
    /// The attributes, as far as they were captured.
    pub body: &'a [u8],
}

impl<'a> Message<'a> {
    /// A message with the magic cookie. Its length field decides nothing: WhatsApp's clients of 2019 do not pad.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (header, body) = payload.split_first_chunk::<HEADER>()?;
        (header[0] & 0xc0 == 0 && header[4..8] == COOKIE).then(|| Self::new(header, body))
    }

    /// A message without the magic cookie (RFC 3489 section 11). Its type, its length and every attribute must fit, since
    /// there is no other sign.
    pub fn parse_classic(payload: &'a [u8]) -> Option<Self> {
        let (header, body) = payload.split_first_chunk::<HEADER>()?;
        let message = Self::new(header, body);
        let fits = CLASSIC_TYPES.contains(&message.kind)
            && header[4..8] != COOKIE
            && usize::from(message.length) == body.len()
            && walk(body, 4).1;
        fits.then_some(message)
    }

    fn new(header: &[u8; HEADER], body: &'a [u8]) -> Self {
        let mut transaction = [0; 16];
        transaction.copy_from_slice(&header[4..]);
        Self {
            kind: u16::from_be_bytes([header[0], header[1]]),
            length: u16::from_be_bytes([header[2], header[3]]),
            transaction,
            body,
        }
    }

    /// The attributes in order, up to one that does not fit. They are taken for padded (RFC 8489 section 14) unless only
    /// without padding all of them fit and none has the reserved type 0.
    pub fn attributes(&self) -> Vec<(u16, &'a [u8])> {
        let (padded, fits) = walk(self.body, 4);
        if fits && padded.iter().all(|(kind, _)| *kind != RESERVED) {
            return padded;
        }
        let (unpadded, fits) = walk(self.body, 1);
        let is_plausible = fits && unpadded.iter().all(|(kind, _)| *kind != RESERVED);
        if is_plausible { unpadded } else { padded }
    }

    /// Value of an attribute.
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().into_iter().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    /// Value of an attribute with an address that is XORed with cookie and transaction id (RFC 8489 section 14.2).
    pub fn xor_address(&self, wanted: u16) -> Option<SocketAddr> {
        let value = self.attribute(wanted)?;
        let (head, address) = value.split_first_chunk::<4>()?;
        let port = u16::from_be_bytes([head[2] ^ COOKIE[0], head[3] ^ COOKIE[1]]);
        let ip: IpAddr = match (head[1], address.len()) {
            (1, 4..) => {
                let octets = std::array::from_fn(|at| address[at] ^ self.transaction[at]);
                Ipv4Addr::from_octets(octets).into()
            }
            (2, 16..) => {
                let octets = std::array::from_fn(|at| address[at] ^ self.transaction[at]);
                Ipv6Addr::from_octets(octets).into()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }
}

/// Attributes one after the other, each padded to `alignment`, and whether all of the body is attributes.
fn walk(body: &[u8], alignment: usize) -> (Vec<(u16, &[u8])>, bool) {
    let mut attributes = Vec::new();
    let mut rest = body;
    while let Some((head, after)) = rest.split_first_chunk::<4>() {
        let kind = u16::from_be_bytes([head[0], head[1]]);
        let size = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let Some(value) = after.get(..size) else { return (attributes, false) };
        attributes.push((kind, value));
        match after.get(size.next_multiple_of(alignment)..) {
            Some(after) => rest = after,
            None => return (attributes, false),
        }
    }
    (attributes, rest.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u16, attributes: &[(u16, &[u8])], alignment: usize) -> Vec<u8> {
        let mut body = Vec::new();
        for (kind, value) in attributes {
            body.extend(kind.to_be_bytes());
            body.extend((value.len() as u16).to_be_bytes());
            body.extend(*value);
            body.resize(body.len().next_multiple_of(alignment), 0);
        }
        let mut bytes = kind.to_be_bytes().to_vec();
        bytes.extend((body.len() as u16).to_be_bytes());
        bytes.extend(COOKIE);
        bytes.extend([7; 12]);
        bytes.extend(body);
        bytes
    }

    #[test]
    fn a_classic_message_must_fit_to_its_end() {
        let mut classic = message(0x0101, &[(1, &[0, 1, 0x1f, 0x40, 192, 0, 2, 1])], 4);
        assert_eq!(Message::parse_classic(&classic), None, "the cookie makes it no classic one");
        classic[4..8].copy_from_slice(b"abcd");
        assert_eq!(Message::parse(&classic), None);
        assert_eq!(Message::parse_classic(&classic).map(|message| message.kind), Some(0x0101));
        assert_eq!(Message::parse_classic(&classic[..classic.len() - 1]), None, "cut");
        classic[23] = 9;
        assert_eq!(Message::parse_classic(&classic), None, "an attribute that is too long");
        classic[23] = 8;
        classic[1] = 3;
        assert_eq!(Message::parse_classic(&classic), None, "Allocate came with the cookie");
    }

    /// Lengths and zeros of WhatsApp's ping of 2019: with padding, the filling would be attributes of type 0.
    #[test]
    fn zeros_are_no_attributes() {
        let ping = message(0x0801, &[(0x4003, &[1; 9]), (0x4004, &[0; 475])], 1);
        assert_eq!(ping.len() % 4, 0);
        let kinds: Vec<_> =
            Message::parse(&ping).unwrap().attributes().iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [0x4003, 0x4004]);
    }

    #[test]
    fn xored_addresses() {
        // RFC 5769 section 2.2.
        let mut bytes = message(0x0101, &[(0x20, &[0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43])], 4);
        let address = Message::parse(&bytes).unwrap().xor_address(0x20);
        assert_eq!(address, Some("192.0.2.1:32853".parse().unwrap()));
        bytes[25] = 2;
        assert_eq!(Message::parse(&bytes).unwrap().xor_address(0x20), None, "too short for IPv6");
    }

    proptest! {
        /// Attributes come back as they were put in, padded or not, whatever their lengths.
        #[test]
        fn attributes_padded_or_not(
            values in proptest::collection::vec((0x4000_u16..0x4010, proptest::collection::vec(1_u8.., 0..12)), 0..6),
            padded: bool,
        ) {
            let attributes: Vec<(u16, &[u8])> = values.iter().map(|(kind, value)| (*kind, value.as_slice())).collect();
            let bytes = message(0x0801, &attributes, if padded { 4 } else { 1 });
            let parsed = Message::parse(&bytes).unwrap();
            // A message without padding may by chance read as a padded one: then the length is a multiple of four.
            prop_assume!(padded || walk(parsed.body, 4).0 == attributes || !walk(parsed.body, 4).1);
            prop_assert_eq!(parsed.attributes(), attributes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..80), head: [u8; 2]) {
            let mut bytes = bytes;
            if bytes.len() >= HEADER {
                bytes[..2].copy_from_slice(&head);
                bytes[4..8].copy_from_slice(&COOKIE);
            }
            for message in Message::parse(&bytes).into_iter().chain(Message::parse_classic(&bytes)) {
                let _ = (message.attributes(), message.xor_address(0x20), message.xor_address(0x12));
            }
        }
    }
}
