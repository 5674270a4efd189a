//! A QUIC version 1 Initial packet with a TLS ClientHello in it (RFC 9000 section 17.2.2, RFC 9001 section 5): what a
//! client sends first. It is real down to its encryption, so that those who classify traffic by it take it for QUIC.
//! What the probe has to say is its token, which only the one who issued it understands.

use ring::{aead, hkdf};

use super::seal::Length;

/// No Initial may be smaller (RFC 9000 section 14.1).
pub(super) const SIZE: usize = 1200;
/// With more the ClientHello would have no room.
const LONGEST_TOKEN: usize = 512;
const VERSION: [u8; 4] = 1_u32.to_be_bytes();
const TAG: usize = 16;
const PACKET_NUMBER: usize = 4;
/// RFC 9001 section 5.2.
const SALT: [u8; 20] = [
    0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17, 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc,
    0xbb, 0x7f, 0x0a,
];

/// Everything in the packet that a client draws at random.
pub(super) struct Draws {
    pub(super) destination: [u8; 8],
    pub(super) source: [u8; 8],
    pub(super) hello: [u8; 32],
    pub(super) key_share: [u8; 32],
}

/// A packet of [`SIZE`] bytes; none if the token is too long.
pub(super) fn initial(draws: &Draws, token: &[u8]) -> Option<Vec<u8>> {
    if token.len() > LONGEST_TOKEN {
        return None;
    }
    let mut header = vec![0xc0 | (PACKET_NUMBER as u8 - 1)];
    header.extend(VERSION);
    for id in [draws.destination, draws.source] {
        header.push(id.len() as u8);
        header.extend(id);
    }
    header.extend(varint(token.len()));
    header.extend(token);
    // The length field takes two bytes, too.
    let rest = SIZE - header.len() - 2;
    header.extend(varint(rest));
    header.extend([0; PACKET_NUMBER]);

    let hello = client_hello(draws);
    let mut payload = vec![0x06, 0x00];
    payload.extend(varint(hello.len()));
    payload.extend(hello);
    // PADDING frames are zeros (RFC 9000 section 19.1).
    payload.resize(rest - PACKET_NUMBER - TAG, 0);
    Some(Keys::client(&draws.destination).protect(header, payload))
}

/// The token of what looks like an Initial packet.
pub(super) fn token(datagram: &[u8]) -> Option<&[u8]> {
    let (&[first, a, b, c, d], rest) = datagram.split_first_chunk()?;
    if datagram.len() < SIZE || first & 0xf0 != 0xc0 || [a, b, c, d] != VERSION {
        return None;
    }
    let rest = skip_connection_id(skip_connection_id(rest)?)?;
    let (length, rest) = read_varint(rest)?;
    rest.get(..length)
}

fn skip_connection_id(bytes: &[u8]) -> Option<&[u8]> {
    let (&length, rest) = bytes.split_first()?;
    if length > 20 {
        return None;
    }
    rest.get(usize::from(length)..)
}

/// RFC 9000 section 16; lengths here are below 2^14, and always written with two bytes.
fn varint(value: usize) -> [u8; 2] {
    (0x4000 | value as u16).to_be_bytes()
}

fn read_varint(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    match first >> 6 {
        0 => Some((usize::from(first), rest)),
        1 => {
            let (&second, rest) = rest.split_first()?;
            Some((usize::from(first & 0x3f) << 8 | usize::from(second), rest))
        }
        // Longer than a datagram, or wastefully written.
        _ => None,
    }
}

/// Protects what a client sends first (RFC 9001 sections 5.2 and 5.4). Anybody can derive it: that is the point.
struct Keys {
    key: [u8; 16],
    iv: [u8; 12],
    header: [u8; 16],
}

impl Keys {
    fn client(destination: &[u8]) -> Keys {
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, &SALT).extract(destination);
        let secret: [u8; 32] = expand_label(&initial, b"client in");
        let client = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &secret);
        Keys {
            key: expand_label(&client, b"quic key"),
            iv: expand_label(&client, b"quic iv"),
            header: expand_label(&client, b"quic hp"),
        }
    }

    /// The packet number is zero, so that the nonce is the IV (section 5.3).
    fn protect(&self, header: Vec<u8>, mut payload: Vec<u8>) -> Vec<u8> {
        let key = aead::UnboundKey::new(&aead::AES_128_GCM, &self.key).expect("a key of 128 bits");
        let nonce = aead::Nonce::assume_unique_for_key(self.iv);
        aead::LessSafeKey::new(key)
            .seal_in_place_append_tag(nonce, aead::Aad::from(&header), &mut payload)
            .expect("a packet is far below the limit of AES-GCM");
        let number = header.len() - PACKET_NUMBER;
        let mut packet = header;
        packet.extend(payload);
        let mask = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &self.header)
            .and_then(|key| key.new_mask(&packet[number + 4..number + 4 + 16]))
            .expect("a key of 128 bits, and a sample of 16 bytes");
        packet[0] ^= mask[0] & 0x0f;
        packet[number..].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
        packet
    }
}

/// HKDF-Expand-Label of RFC 8446 section 7.1 with an empty context.
fn expand_label<const N: usize>(secret: &hkdf::Prk, label: &[u8]) -> [u8; N] {
    let length = (N as u16).to_be_bytes();
    let label_length = [6 + label.len() as u8];
    let mut output = [0; N];
    secret
        .expand(&[&length, &label_length, b"tls13 ", label, &[0]], Length(N))
        .and_then(|key| key.fill(&mut output))
        .expect("lengths are far below 255 hashes (RFC 5869 section 2.3)");
    output
}

/// RFC 8446 section 4.1.2, with what RFC 9001 section 8 asks of QUIC clients.
fn client_hello(draws: &Draws) -> Vec<u8> {
    // RFC 2606: nobody's name.
    const NAME: &[u8] = b"www.example.com";
    let name = [&[0][..], &sized::<2>(NAME)].concat();
    let share = [&[0x00, 0x1d][..], &sized::<2>(&draws.key_share)].concat();
    // initial_source_connection_id, initial_max_data and initial_max_streams_bidi (RFC 9000 section 18.2).
    let parameters =
        [&[0x0f, 0x08][..], &draws.source, &[0x04, 0x04, 0x80, 0x10, 0, 0, 0x08, 0x01, 0x10]].concat();
    let extensions = [
        extension(0x0000, &sized::<2>(&name)),                     // server_name
        extension(0x000a, &sized::<2>(&[0x00, 0x1d, 0x00, 0x17])), // supported_groups: X25519, P-256
        extension(0x000d, &sized::<2>(&[4, 3, 8, 4, 8, 7, 4, 1])), // signature_algorithms
        extension(0x0010, &sized::<2>(&sized::<1>(b"h3"))),        // ALPN
        extension(0x002b, &sized::<1>(&[0x03, 0x04])),             // supported_versions: TLS 1.3
        extension(0x002d, &sized::<1>(&[1])),                      // psk_key_exchange_modes
        extension(0x0033, &sized::<2>(&share)),                    // key_share
        extension(0x0039, &parameters),                            // quic_transport_parameters
    ]
    .concat();
    let mut body = vec![0x03, 0x03];
    body.extend(draws.hello);
    body.push(0);
    body.extend(sized::<2>(&[0x13, 0x01, 0x13, 0x02, 0x13, 0x03]));
    body.extend([1, 0]);
    body.extend(sized::<2>(&extensions));
    [&[1][..], &sized::<3>(&body)].concat()
}

fn extension(kind: u16, content: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes()[..], &sized::<2>(content)].concat()
}

/// With its length before it, in so many bytes.
fn sized<const N: usize>(content: &[u8]) -> Vec<u8> {
    let length = (content.len() as u32).to_be_bytes();
    [&length[4 - N..], content].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap())
            .collect()
    }

    /// RFC 9001 appendix A.1.
    #[test]
    fn keys_are_those_of_the_example() {
        let keys = Keys::client(&bytes("8394c8f03e515708"));
        assert_eq!(keys.key[..], bytes("1f369613dd76d5467730efcbe3b1a22d"));
        assert_eq!(keys.iv[..], bytes("fa044b2f42a3fd3b46fb255c"));
        assert_eq!(keys.header[..], bytes("9f50449e04a0e810283a1e9933adedd2"));
    }

    #[test]
    fn the_token_comes_back_and_the_size_is_right() {
        let draws = Draws { destination: [1; 8], source: [2; 8], hello: [3; 32], key_share: [4; 32] };
        for length in [0, 1, 63, 64, LONGEST_TOKEN] {
            let packet = initial(&draws, &vec![7; length]).unwrap();
            assert_eq!((packet.len(), token(&packet).unwrap()), (SIZE, &vec![7; length][..]));
            assert_eq!(token(&packet[..SIZE - 1]), None);
        }
        assert_eq!(initial(&draws, &[0; LONGEST_TOKEN + 1]), None);
    }

    /// Decrypts as a server, or whoever looks in, would.
    #[test]
    fn the_packet_decrypts_to_a_client_hello_and_padding() {
        let draws = Draws { destination: [9; 8], source: [2; 8], hello: [3; 32], key_share: [4; 32] };
        let packet = initial(&draws, b"token").unwrap();
        let keys = Keys::client(&draws.destination);
        let number = 1 + 4 + 9 + 9 + 2 + 5 + 2;
        let mask = aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &keys.header)
            .and_then(|key| key.new_mask(&packet[number + 4..number + 20]))
            .unwrap();
        let mut packet = packet;
        packet[0] ^= mask[0] & 0x0f;
        packet[number..number + 4].iter_mut().zip(&mask[1..]).for_each(|(byte, mask)| *byte ^= mask);
        assert_eq!((packet[0], &packet[number..number + 4]), (0xc3, &[0; 4][..]));
        let (header, sealed) = packet.split_at_mut(number + 4);
        let key = aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &keys.key).unwrap());
        let nonce = aead::Nonce::assume_unique_for_key(keys.iv);
        let text = key.open_in_place(nonce, aead::Aad::from(&*header), sealed).unwrap();
        let hello = client_hello(&draws);
        assert_eq!(text[..2], [0x06, 0x00]);
        assert_eq!(text[4..4 + hello.len()], hello);
        assert!(text[4 + hello.len()..].iter().all(|byte| *byte == 0));
    }
}
