//! STUN messages (RFC 8489): a checked view on bytes, and a builder.
//!
//! A [`Message`] has been checked from end to end when it exists: lengths agree, every attribute lies
//! inside, a FINGERPRINT is right. Types and attributes that nobody knows are carried like the others, so
//! the view serves captures as well as the agent. Message integrity is checked on demand, because it takes
//! a key.
//!
//! What TURN and long-term credentials add is in [`turn`], what WhatsApp's relays speak in [`whatsapp`]. Left out: transaction state, what an attribute means to ICE beyond its value.

pub mod turn;
pub mod whatsapp;

use std::net::SocketAddr;

use stun_types::attribute::{
    Attribute, AttributeFromRaw, AttributeStaticType, AttributeType, ErrorCode, RawAttribute,
    XorMappedAddress,
};
use stun_types::message::{
    IntegrityAlgorithm, IntegrityKey, Message as Checked, MessageClass, MessageType, MessageWrite,
    MessageWriteExt, MessageWriteVec, Method, ShortTermCredentials,
};

/// Attribute types (RFC 8489 section 18.3, RFC 8445 section 16.1).
pub mod attribute {
    /// MAPPED-ADDRESS.
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    /// USERNAME.
    pub const USERNAME: u16 = 0x0006;
    /// MESSAGE-INTEGRITY.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// ERROR-CODE.
    pub const ERROR_CODE: u16 = 0x0009;
    /// UNKNOWN-ATTRIBUTES.
    pub const UNKNOWN_ATTRIBUTES: u16 = 0x000a;
    /// MESSAGE-INTEGRITY-SHA256.
    pub const MESSAGE_INTEGRITY_SHA256: u16 = 0x001c;
    /// XOR-MAPPED-ADDRESS.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// PRIORITY.
    pub const PRIORITY: u16 = 0x0024;
    /// USE-CANDIDATE.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// SOFTWARE.
    pub const SOFTWARE: u16 = 0x8022;
    /// FINGERPRINT.
    pub const FINGERPRINT: u16 = 0x8028;
    /// ICE-CONTROLLED.
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// ICE-CONTROLLING.
    pub const ICE_CONTROLLING: u16 = 0x802a;
    /// Nomination: the count of nominations so far, as in draft-thatcher-ice-renomination and libwebrtc.
    pub const NOMINATION: u16 = 0xc001;
    /// Network id and network cost of the sender, as in libwebrtc.
    pub const NETWORK_INFO: u16 = 0xc057;
}

/// The Binding method (RFC 8489 section 18.2).
pub const BINDING: u16 = 0x001;

const HEADER: usize = 20;
/// What a UDP datagram can hold. Longer messages would also overflow the codec's arithmetic.
const LONGEST: usize = 65_507;
const COOKIE: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

/// A quick test of the header: whether a datagram is to be taken for STUN (RFC 8489 section 5: zero bits,
/// cookie, length). Everything else is up to [`Message::parse`].
pub fn is_stun(datagram: &[u8]) -> bool {
    let Some((header, body)) = datagram.split_at_checked(HEADER) else { return false };
    let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
    header[0] & 0xc0 == 0 && header[4..8] == COOKIE && length == body.len() && length.is_multiple_of(4)
}

/// Names a request and its response (RFC 8489 section 5): 96 bits, chosen by the requester.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TransactionId(pub [u8; 12]);

impl TransactionId {
    fn to_codec(self) -> stun_types::message::TransactionId {
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&self.0);
        u128::from_be_bytes(wide).into()
    }
}

/// Class of a message (RFC 8489 section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Asks for a response.
    Request,
    /// Asks for none.
    Indication,
    /// Success response.
    Success,
    /// Error response.
    Error,
}

/// Why bytes are no valid message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The header is not one of STUN; see [`is_stun`].
    #[error("not a STUN message")]
    NotStun,
    /// Longer than a UDP datagram.
    #[error("longer than a datagram")]
    TooLong,
    /// An attribute reaches beyond the message.
    #[error("an attribute does not fit into its message")]
    Attributes,
    /// FINGERPRINT is there and wrong.
    #[error("wrong fingerprint")]
    Fingerprint,
}

/// What an ICE role attribute says (RFC 8445 section 7.1.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleClaim {
    /// The role that the sender takes.
    pub role: crate::Role,
    /// The sender's tie-breaker.
    pub tie_breaker: u64,
}

/// Which network a check leaves through and what that costs: the value of the attribute 0xC057 of libwebrtc.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct NetworkInfo {
    /// Tells the sender's networks apart; means nothing else.
    pub id: u16,
    /// 0 to 999; libwebrtc gives Ethernet 0, WiFi 10, an unknown network 50, cellular 900.
    pub cost: u16,
}

/// A message whose structure has been checked.
#[derive(Debug, Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    checked: Checked<'a>,
}

impl<'a> Message<'a> {
    /// Checks `datagram` from end to end; it must hold one message and nothing else.
    pub fn parse(datagram: &'a [u8]) -> Result<Message<'a>, ParseError> {
        if !is_stun(datagram) {
            return Err(ParseError::NotStun);
        }
        if datagram.len() > LONGEST {
            return Err(ParseError::TooLong);
        }
        match Checked::from_bytes(datagram) {
            Ok(checked) => Ok(Message { bytes: datagram, checked }),
            Err(stun_types::message::StunParseError::FingerprintMismatch) => Err(ParseError::Fingerprint),
            Err(_) => Err(ParseError::Attributes),
        }
    }

    /// The type as it is on the wire, class and method interleaved.
    pub fn wire_type(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    /// Class.
    pub fn class(&self) -> Class {
        match self.checked.class() {
            MessageClass::Request => Class::Request,
            MessageClass::Indication => Class::Indication,
            MessageClass::Success => Class::Success,
            MessageClass::Error => Class::Error,
        }
    }

    /// Method, 12 bits; perhaps an unknown one.
    pub fn method(&self) -> u16 {
        self.checked.method().value()
    }

    /// Transaction id.
    pub fn transaction(&self) -> TransactionId {
        let mut id = [0; 12];
        id.copy_from_slice(&self.bytes[8..HEADER]);
        TransactionId(id)
    }

    /// Type and value of every attribute that counts: what follows the message integrity is left out, but
    /// for a second integrity and the fingerprint (RFC 8489 section 14.5).
    pub fn attributes(&self) -> impl Iterator<Item = (u16, &'a [u8])> + '_ {
        self.checked.iter_attributes().filter_map(|(offset, raw)| {
            let start = offset + 4;
            let value = self.bytes.get(start..start + usize::from(raw.length()))?;
            Some((raw.get_type().value(), value))
        })
    }

    /// Value of the first attribute of a type; later ones are ignored (RFC 8489 section 14).
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        self.attributes().find(|(kind, _)| *kind == wanted).map(|(_, value)| value)
    }

    /// USERNAME.
    pub fn username(&self) -> Option<&'a str> {
        std::str::from_utf8(self.attribute(attribute::USERNAME)?).ok()
    }

    /// PRIORITY.
    pub fn priority(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(attribute::PRIORITY)?.try_into().ok()?))
    }

    /// Whether USE-CANDIDATE is there.
    pub fn use_candidate(&self) -> bool {
        self.attribute(attribute::USE_CANDIDATE).is_some()
    }

    /// The count of nominations: the highest one holds.
    pub fn nomination(&self) -> Option<u32> {
        Some(u32::from_be_bytes(self.attribute(attribute::NOMINATION)?.try_into().ok()?))
    }

    /// Network and cost of the sender.
    pub fn network_info(&self) -> Option<NetworkInfo> {
        let [a, b, c, d] = self.attribute(attribute::NETWORK_INFO)?.try_into().ok()?;
        Some(NetworkInfo { id: u16::from_be_bytes([a, b]), cost: u16::from_be_bytes([c, d]) })
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub fn role_claim(&self) -> Option<RoleClaim> {
        let (role, value) = match self.attribute(attribute::ICE_CONTROLLING) {
            Some(value) => (crate::Role::Controlling, value),
            None => (crate::Role::Controlled, self.attribute(attribute::ICE_CONTROLLED)?),
        };
        Some(RoleClaim { role, tie_breaker: u64::from_be_bytes(value.try_into().ok()?) })
    }

    /// XOR-MAPPED-ADDRESS, or MAPPED-ADDRESS from servers of the time before it.
    pub fn mapped_address(&self) -> Option<SocketAddr> {
        if let Some(xored) = self.typed::<XorMappedAddress>() {
            return Some(xored.addr(self.transaction().to_codec()));
        }
        plain_address(self.attribute(attribute::MAPPED_ADDRESS)?)
    }

    /// The number of ERROR-CODE, 300 to 699.
    pub fn error_code(&self) -> Option<u16> {
        self.typed::<ErrorCode>().map(|error| error.code())
    }

    /// Types below 0x8000, which must be understood, that are not in `known`.
    pub fn unknown_required(&self, known: &[u16]) -> Vec<u16> {
        self.attributes()
            .map(|(kind, _)| kind)
            .filter(|kind| *kind < 0x8000 && !known.contains(kind))
            .collect()
    }

    /// Whether a message integrity attribute is there, right or wrong.
    pub fn has_integrity(&self) -> bool {
        self.attribute(attribute::MESSAGE_INTEGRITY).is_some()
            || self.attribute(attribute::MESSAGE_INTEGRITY_SHA256).is_some()
    }

    /// Whether the message integrity is there and right.
    pub fn is_authentic(&self, key: &Key) -> bool {
        self.checked.validate_integrity_with_key(&key.key).is_ok()
    }

    fn typed<A: AttributeFromRaw<'a> + AttributeStaticType>(&self) -> Option<A> {
        let value = self.attribute(A::TYPE.value())?;
        A::from_raw_ref(&RawAttribute::new(A::TYPE, value)).ok()
    }
}

/// The address format of RFC 8489 section 14.1.
pub(crate) fn plain_address(value: &[u8]) -> Option<SocketAddr> {
    let (&[_, family, high, low], address) = value.split_first_chunk()?;
    let port = u16::from_be_bytes([high, low]);
    match family {
        1 => Some((<[u8; 4]>::try_from(address).ok()?, port).into()),
        2 => Some((<[u8; 16]>::try_from(address).ok()?, port).into()),
        _ => None,
    }
}

/// The address format of RFC 8489 section 14.2.
pub(crate) fn unxor(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let address = XorMappedAddress::from_raw_ref(&RawAttribute::new(XorMappedAddress::TYPE, value)).ok()?;
    Some(address.addr(id.to_codec()))
}

/// A key for message integrity.
#[derive(Clone)]
pub struct Key {
    key: IntegrityKey,
    algorithm: IntegrityAlgorithm,
}

impl Key {
    /// The short-term key of a password (RFC 8489 section 9.1.1). ICE passwords are plain ASCII, so the
    /// OpaqueString profile leaves them as they are.
    pub fn short_term(password: &str) -> Key {
        let key = ShortTermCredentials::new(password.to_owned()).make_key();
        Key { key, algorithm: IntegrityAlgorithm::Sha1 }
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Why an attribute was refused by the builder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BuildError {
    /// Integrity and fingerprint are added by [`Builder::finish`].
    #[error("integrity and fingerprint cannot be set as plain attributes")]
    Reserved,
    /// The message would not fit into a UDP datagram.
    #[error("the attribute makes the message too long")]
    TooLong,
}

/// Builds a message, attribute by attribute.
#[derive(Debug)]
pub struct Builder {
    message: MessageWriteVec,
    transaction: TransactionId,
}

impl Builder {
    /// Begins a message; of `method` the lower 12 bits count.
    pub fn new(class: Class, method: u16, transaction: TransactionId) -> Builder {
        let class = match class {
            Class::Request => MessageClass::Request,
            Class::Indication => MessageClass::Indication,
            Class::Success => MessageClass::Success,
            Class::Error => MessageClass::Error,
        };
        let kind = MessageType::from_class_method(class, Method::new(method & 0xfff));
        let message = Checked::builder(kind, transaction.to_codec(), MessageWriteVec::with_capacity(128));
        Builder { message, transaction }
    }

    /// Begins the response to a request.
    pub fn response(class: Class, request: &Message<'_>) -> Builder {
        Builder::new(class, request.method(), request.transaction())
    }

    /// Adds any attribute by its number.
    pub fn attribute(self, kind: u16, value: &[u8]) -> Result<Builder, BuildError> {
        use attribute::{FINGERPRINT, MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256};
        // Room for the integrity and the fingerprint, up to 36 and 8 bytes, stays.
        const MOST: usize = LONGEST - 44;
        if [MESSAGE_INTEGRITY, MESSAGE_INTEGRITY_SHA256, FINGERPRINT].contains(&kind) {
            return Err(BuildError::Reserved);
        }
        if self.message.len() + 4 + value.len().next_multiple_of(4) > MOST {
            return Err(BuildError::TooLong);
        }
        Ok(self.push(kind, value))
    }

    /// USERNAME, at most 513 bytes (RFC 8489 section 14.3).
    pub fn username(self, name: &str) -> Builder {
        self.push(attribute::USERNAME, name.as_bytes())
    }

    /// PRIORITY.
    pub fn priority(self, priority: u32) -> Builder {
        self.push(attribute::PRIORITY, &priority.to_be_bytes())
    }

    /// USE-CANDIDATE.
    pub fn use_candidate(self) -> Builder {
        self.push(attribute::USE_CANDIDATE, &[])
    }

    /// The count of nominations.
    pub fn nomination(self, count: u32) -> Builder {
        self.push(attribute::NOMINATION, &count.to_be_bytes())
    }

    /// Network and cost of the sender.
    pub fn network_info(self, info: NetworkInfo) -> Builder {
        let value = (u32::from(info.id) << 16) | u32::from(info.cost);
        self.push(attribute::NETWORK_INFO, &value.to_be_bytes())
    }

    /// ICE-CONTROLLING or ICE-CONTROLLED.
    pub fn role_claim(self, claim: RoleClaim) -> Builder {
        let kind = match claim.role {
            crate::Role::Controlling => attribute::ICE_CONTROLLING,
            crate::Role::Controlled => attribute::ICE_CONTROLLED,
        };
        self.push(kind, &claim.tie_breaker.to_be_bytes())
    }

    /// XOR-MAPPED-ADDRESS.
    pub fn xor_mapped_address(mut self, address: SocketAddr) -> Builder {
        self.message.push_attribute_unchecked(&XorMappedAddress::new(address, self.transaction.to_codec()));
        self
    }

    /// An address in the plain format of MAPPED-ADDRESS (RFC 8489 section 14.1), which attributes of RFC 5780 have too.
    pub fn plain_address(self, kind: u16, address: SocketAddr) -> Builder {
        let mut value = vec![0, 1 + u8::from(address.is_ipv6())];
        value.extend(address.port().to_be_bytes());
        match address.ip() {
            std::net::IpAddr::V4(ip) => value.extend(ip.octets()),
            std::net::IpAddr::V6(ip) => value.extend(ip.octets()),
        }
        self.push(kind, &value)
    }

    /// ERROR-CODE with the customary reason phrase.
    pub fn error_code(self, code: u16) -> Builder {
        let reason = ErrorCode::default_reason_for_code(code);
        let mut value = vec![0, 0, (code / 100) as u8, (code % 100) as u8];
        value.extend_from_slice(reason.as_bytes());
        self.push(attribute::ERROR_CODE, &value)
    }

    /// UNKNOWN-ATTRIBUTES.
    pub fn unknown_attributes(self, kinds: &[u16]) -> Builder {
        let value: Vec<u8> = kinds.iter().flat_map(|kind| kind.to_be_bytes()).collect();
        self.push(attribute::UNKNOWN_ATTRIBUTES, &value)
    }

    /// Adds MESSAGE-INTEGRITY, or MESSAGE-INTEGRITY-SHA256 for a key made with SHA-256, when there is a key, then FINGERPRINT, and gives the bytes.
    pub fn finish(mut self, key: Option<&Key>) -> Vec<u8> {
        let sealed = match key {
            Some(key) => self.message.add_message_integrity_with_key(&key.key, key.algorithm),
            None => Ok(()),
        };
        let sealed = sealed.and_then(|()| self.message.add_fingerprint());
        debug_assert!(sealed.is_ok(), "only finish adds these, and it consumes the builder");
        self.message.finish()
    }

    pub(crate) fn push(mut self, kind: u16, value: &[u8]) -> Builder {
        self.message.push_attribute_unchecked(&RawAttribute::new(AttributeType::new(kind), value));
        self
    }
}
