//! What TURN (RFC 8656) and long-term credentials (RFC 8489 section 9.2) add to the messages: methods, attributes,
//! channel data.

use std::net::{IpAddr, SocketAddr};

use stun_types::message::{IntegrityAlgorithm, LongTermKeyCredentials};

use super::{Builder, Key, Message, TransactionId, plain_address, unxor};

/// Methods (RFC 8656 section 17).
pub mod method {
    /// Allocate.
    pub const ALLOCATE: u16 = 0x003;
    /// Refresh.
    pub const REFRESH: u16 = 0x004;
    /// Send.
    pub const SEND: u16 = 0x006;
    /// Data.
    pub const DATA: u16 = 0x007;
    /// CreatePermission.
    pub const CREATE_PERMISSION: u16 = 0x008;
    /// ChannelBind.
    pub const CHANNEL_BIND: u16 = 0x009;
}

/// Attribute types (RFC 8656 section 18, RFC 8489 section 18.3).
pub mod attribute {
    /// CHANNEL-NUMBER.
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    /// LIFETIME.
    pub const LIFETIME: u16 = 0x000d;
    /// XOR-PEER-ADDRESS.
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    /// DATA.
    pub const DATA: u16 = 0x0013;
    /// REALM.
    pub const REALM: u16 = 0x0014;
    /// NONCE.
    pub const NONCE: u16 = 0x0015;
    /// XOR-RELAYED-ADDRESS.
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    /// REQUESTED-ADDRESS-FAMILY.
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    /// REQUESTED-TRANSPORT.
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    /// PASSWORD-ALGORITHM.
    pub const PASSWORD_ALGORITHM: u16 = 0x001d;
    /// USERHASH.
    pub const USERHASH: u16 = 0x001e;
    /// RESERVATION-TOKEN.
    pub const RESERVATION_TOKEN: u16 = 0x0022;
    /// PASSWORD-ALGORITHMS.
    pub const PASSWORD_ALGORITHMS: u16 = 0x8002;
    /// ALTERNATE-SERVER.
    pub const ALTERNATE_SERVER: u16 = 0x8023;
}

/// How a long-term key is made of user name, realm and password (RFC 8489 section 18.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PasswordAlgorithm {
    /// MD5: what servers before RFC 8489 know.
    Md5,
    /// SHA-256.
    Sha256,
}

impl PasswordAlgorithm {
    /// Its number on the wire.
    pub fn number(self) -> u16 {
        match self {
            PasswordAlgorithm::Md5 => 1,
            PasswordAlgorithm::Sha256 => 2,
        }
    }
}

impl Key {
    /// The long-term key of a user (RFC 8489 section 9.2.2). User name and password are taken as they are: prepare
    /// them by the OpaqueString profile (RFC 8265) if they hold more than ASCII.
    pub fn long_term(username: &str, realm: &str, password: &str, algorithm: PasswordAlgorithm) -> Key {
        let credentials = LongTermKeyCredentials::new(username.into(), password.into(), realm.into());
        let algorithm = match algorithm {
            PasswordAlgorithm::Md5 => IntegrityAlgorithm::Sha1,
            PasswordAlgorithm::Sha256 => IntegrityAlgorithm::Sha256,
        };
        Key { key: credentials.make_key(algorithm), algorithm }
    }
}

impl Key {
    /// How it was made, if it is a long-term key.
    pub fn password_algorithm(&self) -> PasswordAlgorithm {
        match self.algorithm {
            IntegrityAlgorithm::Sha1 => PasswordAlgorithm::Md5,
            IntegrityAlgorithm::Sha256 => PasswordAlgorithm::Sha256,
        }
    }
}

impl<'a> Message<'a> {
    /// REALM.
    pub fn realm(&self) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(attribute::REALM)?).ok()
    }

    /// NONCE.
    pub fn nonce(&self) -> Option<&'a [u8]> {
        self.attribute(attribute::NONCE)
    }

    /// LIFETIME in seconds.
    pub fn lifetime(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(attribute::LIFETIME)?.try_into().ok()?))
    }

    /// XOR-RELAYED-ADDRESS.
    pub fn relayed_address(&self) -> Option<SocketAddr> {
        self.xored(attribute::XOR_RELAYED_ADDRESS)
    }

    /// XOR-PEER-ADDRESS, the first one.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.xored(attribute::XOR_PEER_ADDRESS)
    }

    /// ALTERNATE-SERVER.
    pub fn alternate_server(&self) -> Option<SocketAddr> {
        plain_address(self.attribute(attribute::ALTERNATE_SERVER)?)
    }

    /// DATA.
    pub fn data(&self) -> Option<&'a [u8]> {
        self.attribute(attribute::DATA)
    }

    /// Whether the server offers SHA-256: the nonce begins with the cookie and the first of its 24 bits is set, and
    /// the list of algorithms says so too (RFC 8489 sections 9.2 and 14.11).
    pub fn offers_sha256(&self) -> bool {
        let bits = self.nonce().and_then(|nonce| nonce.strip_prefix(b"obMatJos2"));
        // The first character of base64 holds the six highest bits.
        let first = bits.and_then(|bits| bits.first()).and_then(|c| base64_value(*c));
        let listed = self.attribute(attribute::PASSWORD_ALGORITHMS).is_some_and(|list| {
            // None of the known algorithms has parameters.
            list.chunks_exact(4).any(|one| one == [0, 2, 0, 0])
        });
        listed && first.is_some_and(|bits| bits & 0b10_0000 != 0)
    }

    fn xored(&self, kind: u16) -> Option<SocketAddr> {
        unxor(self.attribute(kind)?, self.transaction())
    }
}

fn base64_value(character: u8) -> Option<u8> {
    match character {
        b'A'..=b'Z' => Some(character - b'A'),
        b'a'..=b'z' => Some(character - b'a' + 26),
        b'0'..=b'9' => Some(character - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    }
}

impl Builder {
    /// XOR-PEER-ADDRESS.
    pub fn peer_address(self, peer: SocketAddr) -> Builder {
        let value = xor(peer, self.transaction);
        self.push(attribute::XOR_PEER_ADDRESS, &value)
    }

    /// XOR-RELAYED-ADDRESS.
    pub fn relayed_address(self, relayed: SocketAddr) -> Builder {
        let value = xor(relayed, self.transaction);
        self.push(attribute::XOR_RELAYED_ADDRESS, &value)
    }

    /// LIFETIME in seconds.
    pub fn lifetime(self, seconds: u32) -> Builder {
        self.push(attribute::LIFETIME, &seconds.to_be_bytes())
    }

    /// REQUESTED-TRANSPORT: UDP, the only one there is here.
    pub fn requested_udp(self) -> Builder {
        self.push(attribute::REQUESTED_TRANSPORT, &[17, 0, 0, 0])
    }

    /// REQUESTED-ADDRESS-FAMILY.
    pub fn requested_family(self, ipv6: bool) -> Builder {
        self.push(attribute::REQUESTED_ADDRESS_FAMILY, &[1 + u8::from(ipv6), 0, 0, 0])
    }

    /// CHANNEL-NUMBER.
    pub fn channel_number(self, number: u16) -> Builder {
        let [high, low] = number.to_be_bytes();
        self.push(attribute::CHANNEL_NUMBER, &[high, low, 0, 0])
    }

    /// DATA, what fits into a datagram with the other attributes of a Send or Data indication; more is cut off.
    pub fn data(self, data: &[u8]) -> Builder {
        let most = super::LONGEST - 128;
        self.push(attribute::DATA, &data[..data.len().min(most)])
    }
}

/// The address format of RFC 8489 section 14.2.
pub(super) fn xor(address: SocketAddr, id: TransactionId) -> Vec<u8> {
    let port = address.port() ^ 0x2112;
    let mut value = vec![0, 1 + u8::from(address.is_ipv6())];
    value.extend(port.to_be_bytes());
    let mask = super::COOKIE.into_iter().chain(id.0);
    match address.ip() {
        IpAddr::V4(ip) => value.extend(ip.octets().into_iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
        IpAddr::V6(ip) => value.extend(ip.octets().into_iter().zip(mask).map(|(byte, mask)| byte ^ mask)),
    }
    value
}

/// Channel data (RFC 8656 section 12.4): what goes over a bound channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelData<'a> {
    /// 0x4000 to 0x4fff.
    pub number: u16,
    /// What it carries.
    pub data: &'a [u8],
}

impl<'a> ChannelData<'a> {
    /// Reads a datagram. Padding after the data is allowed.
    pub fn parse(datagram: &'a [u8]) -> Option<ChannelData<'a>> {
        let (header, rest) = datagram.split_first_chunk::<4>()?;
        let number = u16::from_be_bytes([header[0], header[1]]);
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        let data = rest.get(..length)?;
        (0x4000..=0x4fff).contains(&number).then_some(ChannelData { number, data })
    }

    /// The bytes of it; over UDP without padding. None if the data is longer than a datagram can hold.
    pub fn to_bytes(self) -> Option<Vec<u8>> {
        let length = u16::try_from(self.data.len())
            .ok()
            .filter(|length| usize::from(*length) <= super::LONGEST - 4)?;
        let mut bytes = Vec::with_capacity(4 + self.data.len());
        bytes.extend(self.number.to_be_bytes());
        bytes.extend(length.to_be_bytes());
        bytes.extend(self.data);
        Some(bytes)
    }
}
