//! DNS messages (RFC 1035) as far as names and addresses go.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const A: u16 = 1;
const AAAA: u16 = 28;
/// Records of one message that are read.
const MAX_RECORDS: usize = 512;
/// Pointers followed in one name; a name has 127 labels at most.
const MAX_POINTERS: usize = 127;

/// A DNS message.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Message {
    /// Whether it is a response.
    pub is_response: bool,
    /// Names of the questions.
    pub questions: Vec<String>,
    /// All resource records: answers, authorities, additional ones.
    pub records: Vec<ResourceRecord>,
    /// How many of `records` are answers.
    pub answers: usize,
}

/// A resource record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceRecord {
    /// Its owner's name.
    pub name: String,
    /// Time to live in seconds.
    pub ttl: u32,
    /// The address of an A or AAAA record.
    pub address: Option<IpAddr>,
}

impl Message {
    /// Reads a message up to the first record that is damaged or cut; none if its header or a question is.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = bytes.first_chunk::<12>()?;
        let count = |at: usize| usize::from(u16::from_be_bytes([header[at], header[at + 1]]));
        // Bit 6 of the flags is reserved and zero (RFC 1035 section 4.1.1), the opcode rarely more than 5.
        let opcode = header[2] >> 3 & 0x0f;
        if opcode > 6 || header[3] & 0x40 != 0 {
            return None;
        }
        let mut message = Self { is_response: header[2] & 0x80 != 0, ..Self::default() };
        let mut at = 12;
        for _ in 0..count(4).min(MAX_RECORDS) {
            let name = name(bytes, &mut at)?;
            at += 4;
            if at > bytes.len() {
                return None;
            }
            message.questions.push(name);
        }
        let answers = count(6);
        for index in 0..answers.saturating_add(count(8)).saturating_add(count(10)).min(MAX_RECORDS) {
            let Some(record) = resource_record(bytes, &mut at) else { break };
            message.records.push(record);
            message.answers += usize::from(index < answers);
        }
        Some(message)
    }

    /// Addresses of authorities and additional records: name servers, mostly.
    pub fn other_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        self.records[self.answers..].iter().filter_map(|record| record.address)
    }

    /// Addresses of the answers, each with its time to live.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, u32)> + '_ {
        self.records[..self.answers].iter().filter_map(|record| Some((record.address?, record.ttl)))
    }
}

fn resource_record(bytes: &[u8], at: &mut usize) -> Option<ResourceRecord> {
    let name = name(bytes, at)?;
    let fixed = bytes.get(*at..)?.first_chunk::<10>()?;
    let word = |at: usize| u16::from_be_bytes([fixed[at], fixed[at + 1]]);
    *at += 10;
    let data = bytes.get(*at..)?.get(..usize::from(word(8)))?;
    *at += data.len();
    let address = match word(0) {
        A => <[u8; 4]>::try_from(data).ok().map(|octets| IpAddr::V4(Ipv4Addr::from(octets))),
        AAAA => <[u8; 16]>::try_from(data).ok().map(|octets| IpAddr::V6(Ipv6Addr::from(octets))),
        _ => None,
    };
    let ttl = u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]);
    Some(ResourceRecord { name, ttl, address })
}

/// Reads a name with its compression pointers (RFC 1035 section 4.1.4); `at` moves behind it.
fn name(bytes: &[u8], at: &mut usize) -> Option<String> {
    let mut name = String::new();
    let mut position = *at;
    let mut pointers = 0;
    loop {
        let length = usize::from(*bytes.get(position)?);
        match length {
            0 => {
                if pointers == 0 {
                    *at = position + 1;
                }
                return Some(if name.is_empty() { "<Root>".to_owned() } else { name });
            }
            0xc0.. => {
                let low = usize::from(*bytes.get(position + 1)?);
                if pointers == 0 {
                    *at = position + 2;
                }
                pointers += 1;
                if pointers > MAX_POINTERS {
                    return None;
                }
                position = (length & 0x3f) << 8 | low;
            }
            0x40..0xc0 => return None,
            length => {
                let label = bytes.get(position + 1..position + 1 + length)?;
                if !name.is_empty() {
                    name.push('.');
                }
                // Anything may be in a label; a terminal must not obey it.
                name.extend(label.iter().map(|byte| match byte {
                    byte if byte.is_ascii_graphic() || *byte == b' ' => char::from(*byte),
                    _ => '?',
                }));
                // RFC 1035 section 2.3.4.
                if name.len() > 255 {
                    return None;
                }
                position += 1 + length;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ANSWER: &[u8] = b"\x12\x34\x81\x80\0\x01\0\x02\0\0\0\0\x03e12\x08whatsapp\x03net\0\0\x01\0\x01\
\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xc0\0\x02\x01\xc0\x10\0\x1c\0\x01\0\0\0\x3c\0\x10\
\x20\x01\x0d\xb8\0\0\0\0\0\0\0\0\0\0\0\x01";

    #[test]
    fn names_and_addresses() {
        let message = Message::parse(ANSWER).unwrap();
        assert_eq!((message.is_response, message.questions), (true, vec!["e12.whatsapp.net".to_owned()]));
        let records: Vec<_> =
            message.records.iter().map(|record| (record.name.as_str(), record.ttl)).collect();
        assert_eq!(records, [("e12.whatsapp.net", 60), ("whatsapp.net", 60)]);
        assert_eq!(message.records[1].address, Some("2001:db8::1".parse().unwrap()));
    }

    #[test]
    fn a_name_that_points_at_itself_ends() {
        let mut bytes = ANSWER[..12].to_vec();
        bytes.extend([0xc0, 12, 0, 1, 0, 1]);
        assert_eq!(Message::parse(&bytes), None);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(at in 0..ANSWER.len(), byte in any::<u8>(), length in 0..=ANSWER.len()) {
            let mut bytes = ANSWER.to_vec();
            bytes[at] = byte;
            let _ = Message::parse(&bytes[..length]);
        }
    }
}
