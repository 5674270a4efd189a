//! QUIC Initial packets of clients (RFC 9000, RFC 9001 section 5.2, RFC 9369, draft-29): anybody can decrypt them, and the
//! ClientHello is in their CRYPTO frames, in any order and over several packets.

use super::{Name, Progress, reassembly::Reassembly, tls};
use ring::{aead, hkdf};

const VERSION_1: u32 = 1;
const VERSION_2: u32 = 0x6b33_43cf;
/// RFC 9001 section 5.2.
const SALT_1: [u8; 20] = *b"\x38\x76\x2c\xf7\xf5\x59\x34\xb3\x4d\x17\x9a\xe6\xa4\xc8\x0c\xad\xcc\xbb\x7f\x0a";
/// RFC 9369 section 3.3.1.
const SALT_2: [u8; 20] = *b"\x0d\xed\xe3\xde\xf7\x00\xa6\xdb\x81\x93\x81\xbe\x6e\x26\x9d\xcb\xf9\xbd\x2e\xd9";
/// draft-ietf-quic-tls-29 section 5.2, in use until draft 32.
const SALT_29: [u8; 20] =
    *b"\xaf\xbf\xec\x28\x99\x93\xd2\x4c\x9e\x97\x86\xf1\x9c\x61\x11\xe0\x43\x90\xa8\x99";
/// Longest ClientHello that is put together.
const MAX_CRYPTO: u32 = 32 * 1024;
/// Initial packets of one flow that are tried: a ClientHello needs a handful.
const MAX_PACKETS: u32 = 32;
/// Authentication tag and sample of header protection.
const TAG: usize = 16;

/// The header of a long-header packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LongHeader<'a> {
    /// Version; 0 for a Version Negotiation packet.
    pub version: u32,
    /// Destination connection id.
    pub destination_id: &'a [u8],
    /// Source connection id.
    pub source_id: &'a [u8],
}

impl<'a> LongHeader<'a> {
    /// Reads the version-independent part (RFC 8999 section 5.1).
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader { bytes: datagram, at: 0 };
        if reader.u8()? & 0x80 == 0 {
            return None;
        }
        let version = reader.u32()?;
        let destination_id = reader.short_bytes()?;
        let source_id = reader.short_bytes()?;
        Some(Self { version, destination_id, source_id })
    }

    /// Whether the version is known here and its ids are no longer than it allows.
    pub(crate) fn is_known(&self) -> bool {
        let fits = self.destination_id.len() <= 20 && self.source_id.len() <= 20;
        fits && Version::of(self.version).is_some()
    }

    /// Whether a packet with this header and first byte is a Retry (RFC 9000 section 17.2.5, RFC 9369 section 3.2).
    pub(crate) fn is_retry(&self, first: u8) -> bool {
        Version::of(self.version).is_some_and(|version| first >> 4 & 3 == version.retry_type())
    }
}

/// Whether a datagram begins with a QUIC long header of a version that is known here.
pub fn is_long_header(datagram: &[u8]) -> bool {
    LongHeader::parse(datagram).is_some_and(|header| header.is_known())
}

/// The ClientHello in the Initial packets of one datagram of a client, if it is whole.
pub fn client_hello(datagram: &[u8]) -> Option<tls::ClientHello> {
    let mut handshake = QuicHandshake::new();
    handshake.collect(datagram);
    match tls::search_messages(handshake.crypto.prefix(), true) {
        tls::Found::ClientHello(hello) => Some(hello),
        _ => None,
    }
}

#[derive(Clone, Copy)]
struct Version {
    salt: &'static [u8; 20],
    labels: [&'static [u8]; 3],
    initial_type: u8,
}

impl Version {
    fn of(version: u32) -> Option<Self> {
        let labels: [&[u8]; 3] = [b"quic key", b"quic iv", b"quic hp"];
        match version {
            VERSION_1 | 0xff00_0021 | 0xff00_0022 => Some(Self { salt: &SALT_1, labels, initial_type: 0 }),
            0xff00_001d..=0xff00_0020 => Some(Self { salt: &SALT_29, labels, initial_type: 0 }),
            VERSION_2 => {
                let labels: [&[u8]; 3] = [b"quicv2 key", b"quicv2 iv", b"quicv2 hp"];
                Some(Self { salt: &SALT_2, labels, initial_type: 1 })
            }
            _ => None,
        }
    }

    fn retry_type(self) -> u8 {
        (self.initial_type + 3) % 4
    }
}

/// The Initial packets of one flow's client.
#[derive(Debug)]
pub(crate) struct QuicHandshake {
    keys: Option<Keys>,
    crypto: Reassembly,
    packets: u32,
}

impl QuicHandshake {
    pub(crate) fn new() -> Self {
        Self { keys: None, crypto: Reassembly::new(MAX_CRYPTO), packets: 0 }
    }

    /// Adds a datagram of the client.
    pub(crate) fn add(&mut self, datagram: &[u8], name: &mut Name) -> Progress {
        self.collect(datagram);
        match tls::search_messages(self.crypto.prefix(), true) {
            tls::Found::ClientHello(hello) => {
                name.sni = hello.server_name.map(Into::into);
                name.ech = hello.ech;
                name.alpn = hello.alpn.into_iter().map(Into::into).collect();
                Progress { client_hello: true, done: true }
            }
            tls::Found::Incomplete => Progress { client_hello: false, done: self.packets > MAX_PACKETS },
            _ => Progress { client_hello: false, done: true },
        }
    }

    fn collect(&mut self, datagram: &[u8]) {
        let mut rest = datagram;
        while let Some((packet, next)) = Initial::parse(rest) {
            self.packets += 1;
            if let Some(plain) = packet.and_then(|packet| self.decrypt(&packet)) {
                collect_crypto(&plain, &mut self.crypto);
            }
            rest = next;
        }
    }

    /// The first Initial's destination id gives the keys, and they stay when the id changes; after a Retry, or for
    /// another connection, they are derived anew.
    fn decrypt(&mut self, packet: &Initial<'_>) -> Option<Vec<u8>> {
        if let Some(plain) = self.keys.as_ref().and_then(|keys| keys.open(packet)) {
            return Some(plain);
        }
        let keys = Keys::of_client(packet.version, packet.destination_id)?;
        let plain = keys.open(packet)?;
        self.keys = Some(keys);
        Some(plain)
    }
}

struct Initial<'a> {
    version: Version,
    destination_id: &'a [u8],
    /// From the first byte to the end of the payload.
    bytes: &'a [u8],
    /// Offset of the packet number.
    number_at: usize,
}

impl<'a> Initial<'a> {
    /// The packet at the beginning of `bytes`, if it is an Initial, and what follows it in the datagram.
    fn parse(bytes: &'a [u8]) -> Option<(Option<Self>, &'a [u8])> {
        let header = LongHeader::parse(bytes)?;
        let version = Version::of(header.version)?;
        let kind = bytes[0] >> 4 & 3;
        let is_initial = kind == version.initial_type;
        // Retry has no length (RFC 9000 section 17.2.5), and nothing follows it.
        if kind == version.retry_type() {
            return None;
        }
        let mut reader = Reader { bytes, at: 7 + header.destination_id.len() + header.source_id.len() };
        if is_initial {
            let token = reader.varint()?;
            reader.skip(usize::try_from(token).ok()?)?;
        }
        let length = usize::try_from(reader.varint()?).ok()?;
        let number_at = reader.at;
        let end = number_at.checked_add(length).filter(|end| *end <= bytes.len())?;
        let (packet, rest) = bytes.split_at(end);
        let initial = Self { version, destination_id: header.destination_id, bytes: packet, number_at };
        Some((is_initial.then_some(initial), rest))
    }
}

struct Keys {
    key: aead::LessSafeKey,
    iv: [u8; 12],
    header: aead::quic::HeaderProtectionKey,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

struct Length(usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Keys {
    fn of_client(version: Version, destination_id: &[u8]) -> Option<Self> {
        let initial = hkdf::Salt::new(hkdf::HKDF_SHA256, version.salt).extract(destination_id);
        let mut client = [0; 32];
        expand(&initial, b"client in", &mut client)?;
        let client = hkdf::Prk::new_less_safe(hkdf::HKDF_SHA256, &client);
        let (mut key, mut iv, mut header) = ([0; 16], [0; 12], [0; 16]);
        let [key_label, iv_label, header_label] = version.labels;
        expand(&client, key_label, &mut key)?;
        expand(&client, iv_label, &mut iv)?;
        expand(&client, header_label, &mut header)?;
        Some(Self {
            key: aead::LessSafeKey::new(aead::UnboundKey::new(&aead::AES_128_GCM, &key).ok()?),
            iv,
            header: aead::quic::HeaderProtectionKey::new(&aead::quic::AES_128, &header).ok()?,
        })
    }

    /// RFC 9001 sections 5.3 and 5.4.
    fn open(&self, packet: &Initial<'_>) -> Option<Vec<u8>> {
        let sample = packet.bytes.get(packet.number_at + 4..)?.get(..TAG)?;
        let mask = self.header.new_mask(sample).ok()?;
        let mut bytes = packet.bytes.to_vec();
        bytes[0] ^= mask[0] & 0x0f;
        let length = usize::from(bytes[0] & 3) + 1;
        let mut number = 0_u64;
        for (index, mask) in mask.iter().skip(1).take(length).enumerate() {
            let byte = bytes.get_mut(packet.number_at + index)?;
            *byte ^= mask;
            number = number << 8 | u64::from(*byte);
        }
        let mut nonce = self.iv;
        nonce[4..].iter_mut().zip(number.to_be_bytes()).for_each(|(byte, other)| *byte ^= other);
        let (head, sealed) = bytes.split_at_mut_checked(packet.number_at + length)?;
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let plain = self.key.open_in_place(nonce, aead::Aad::from(head), sealed).ok()?;
        Some(plain.to_vec())
    }
}

/// HKDF-Expand-Label (RFC 8446 section 7.1) with an empty context.
fn expand(secret: &hkdf::Prk, label: &[u8], out: &mut [u8]) -> Option<()> {
    let length = u16::try_from(out.len()).ok()?.to_be_bytes();
    let label_length = [u8::try_from(6 + label.len()).ok()?];
    let info = [&length[..], &label_length, b"tls13 ", label, &[0]];
    secret.expand(&info, Length(out.len())).ok()?.fill(out).ok()
}

/// Frames that an Initial packet may hold (RFC 9000 section 12.4); others end the search.
fn collect_crypto(plain: &[u8], crypto: &mut Reassembly) -> Option<()> {
    let mut reader = Reader { bytes: plain, at: 0 };
    while reader.at < plain.len() {
        match reader.varint()? {
            0 | 1 => {}
            kind @ (2 | 3) => {
                reader.varint()?;
                reader.varint()?;
                let ranges = reader.varint()?;
                reader.varint()?;
                for _ in 0..ranges {
                    reader.varint()?;
                    reader.varint()?;
                }
                for _ in 0..if kind == 3 { 3 } else { 0 } {
                    reader.varint()?;
                }
            }
            6 => {
                let offset = reader.varint()?;
                let length = usize::try_from(reader.varint()?).ok()?;
                let part = reader.skip(length)?;
                crypto.insert(u32::try_from(offset).ok()?, part);
            }
            _ => return None,
        }
    }
    Some(())
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, length: usize) -> Option<&'a [u8]> {
        let part = self.bytes.get(self.at..)?.get(..length)?;
        self.at += length;
        Some(part)
    }

    fn u8(&mut self) -> Option<u8> {
        self.skip(1).map(|bytes| bytes[0])
    }

    fn u32(&mut self) -> Option<u32> {
        self.skip(4)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
    }

    fn short_bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.u8()?;
        self.skip(usize::from(length))
    }

    /// RFC 9000 section 16.
    fn varint(&mut self) -> Option<u64> {
        let first = self.u8()?;
        let more = (1_usize << (first >> 6)) - 1;
        let rest = self.skip(more)?;
        Some(rest.iter().fold(u64::from(first & 0x3f), |value, byte| value << 8 | u64::from(*byte)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 9001 appendix A.1 and RFC 9369 appendix A.1: the ivs of the client for one connection id.
    #[test]
    fn keys_of_the_appendices() {
        let id = [0x83, 0x94, 0xc8, 0xf0, 0x3e, 0x51, 0x57, 0x08];
        let iv = |version| Keys::of_client(Version::of(version).unwrap(), &id).unwrap().iv;
        assert_eq!(iv(VERSION_1), *b"\xfa\x04\x4b\x2f\x42\xa3\xfd\x3b\x46\xfb\x25\x5c");
        assert_eq!(iv(VERSION_2), *b"\x91\xf7\x3e\x23\x51\xd8\xfa\x91\x66\x0e\x90\x9f");
    }

    #[test]
    fn cut_packets_are_no_initials() {
        let packet = [&[0xc0, 0, 0, 0, 1, 2, 7, 7, 0, 0, 0x40, 40][..], &[1; 40]].concat();
        assert!(Initial::parse(&packet).is_some_and(|(packet, rest)| packet.is_some() && rest.is_empty()));
        for length in 0..packet.len() {
            assert!(Initial::parse(&packet[..length]).is_none(), "{length}");
            let mut name = Name::default();
            assert!(!QuicHandshake::new().add(&packet[..length], &mut name).client_hello);
        }
    }
}
