//! Fragmentation of IPv4 packets (RFC 791 section 3.2). Leaves out that some options are not copied.

use super::{IPV4_CHECKSUM, Packet};
use crate::Mtu;
use etherparse::checksum::Sum16BitWords;

const LENGTH: usize = 2;
const FLAGS_AND_OFFSET: usize = 6;
const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET: u16 = 0x1fff;

impl Packet {
    /// Whether it is a fragment other than the first one of a packet.
    pub(super) fn is_later_fragment(&self) -> bool {
        self.source().is_ipv4() && self.read_word(FLAGS_AND_OFFSET) & OFFSET != 0
    }

    /// Fragments of at most this size, in order; the packet itself when it must not be fragmented.
    pub(crate) fn fragments(self, mtu: Mtu) -> Result<Vec<Self>, Self> {
        let flags = self.read_word(FLAGS_AND_OFFSET);
        // Multiples of 8 bytes; the least MTU has room for the longest header and 8 bytes.
        let most = usize::from(mtu.bytes()).saturating_sub(self.payload()) / 8 * 8;
        if !self.source().is_ipv4() || flags & DONT_FRAGMENT != 0 || most == 0 {
            return Err(self);
        }
        let (header, body) = self.bytes.split_at_checked(self.payload()).unwrap_or_default();
        let first = flags & OFFSET;
        let count = body.len().div_ceil(most);
        let fragment = |(index, part): (usize, &[u8])| {
            let offset = first + (index * most / 8) as u16;
            let more = index + 1 < count || flags & MORE_FRAGMENTS != 0;
            let flags = offset | if more { MORE_FRAGMENTS } else { 0 };
            Self::parse(one(header, part, flags)).ok().map(|part| part.numbered(self.number()))
        };
        let fragments = body.chunks(most).enumerate().filter_map(fragment).collect();
        Ok(fragments)
    }
}

fn one(header: &[u8], part: &[u8], flags: u16) -> Vec<u8> {
    let mut bytes = [header, part].concat();
    let length = bytes.len() as u16;
    let mut write = |at: usize, word: u16| {
        if let Some(place) = bytes.get_mut(at..at + 2) {
            place.copy_from_slice(&word.to_be_bytes());
        }
    };
    write(LENGTH, length);
    write(FLAGS_AND_OFFSET, flags);
    write(IPV4_CHECKSUM, 0);
    let header = bytes.get(..header.len()).unwrap_or_default();
    let checksum = Sum16BitWords::new().add_slice(header).ones_complement();
    if let Some(place) = bytes.get_mut(IPV4_CHECKSUM..IPV4_CHECKSUM + 2) {
        place.copy_from_slice(&checksum.to_ne_bytes());
    }
    bytes
}
