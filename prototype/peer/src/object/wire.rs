//! What the ends of an object tell each other in datagrams, and the header of a chunk's stream.

use super::{BulkFigures, ranges::Ranges};
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Marks these datagrams among those of other workloads.
const MARK: u8 = 2;
/// First byte of a chunk's stream.
pub(crate) const CHUNK: u8 = 1;
/// What follows it before the content: object and offset.
pub(super) const HEADER: usize = 4 + 8;
/// Ranges in one message; more are told once the first are closed.
const MAX_RANGES: usize = 48;

/// One datagram.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Message {
    Ask(Ask),
    Sending(Sending),
    Having(Having),
}

/// The client wants an object to be carried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ask {
    pub(crate) object: u32,
    /// Of the content; also tells a new object from one that is known.
    pub(crate) seed: u64,
    /// From the client to the server.
    pub(crate) up: bool,
    /// None: until either end calls the end.
    pub(crate) bytes: Option<u64>,
}

/// Where the sender stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sending {
    pub(crate) object: u32,
    /// Counts the losses; the receiver's next word bears it.
    pub(crate) round: u32,
    pub(crate) end: Option<End>,
    /// The verdict was heard.
    pub(crate) heard: bool,
}

/// Of the whole object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) bytes: u64,
    pub(crate) sha256: [u8; 32],
}

/// Where the receiver stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Having {
    pub(crate) object: u32,
    pub(crate) round: u32,
    /// Everything before this.
    prefix: u64,
    /// What lies behind it: the length of a gap, then of a range, and so on.
    above: Vec<(u64, u64)>,
    /// Whether the whole has the digest that the sender told.
    pub(crate) matches: Option<bool>,
    /// The receiver wants it to end here.
    pub(crate) stop: bool,
    pub(super) figures: BulkFigures,
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let body = postcard::to_allocvec(self).unwrap_or_default();
        [&[MARK][..], &body].concat()
    }

    /// None when it is none of these.
    pub(crate) fn from_bytes(datagram: &[u8]) -> Option<Self> {
        let (&MARK, body) = datagram.split_first()? else { return None };
        let (message, []) = postcard::take_from_bytes(body).ok()? else { return None };
        Some(message)
    }
}

impl Having {
    pub(super) fn new(object: u32, round: u32, arrived: &Ranges) -> Self {
        let prefix = arrived.prefix();
        let mut from = prefix;
        let relative = |range: Range<u64>| {
            let pair = (range.start - from, range.end - range.start);
            from = range.end;
            pair
        };
        let above = arrived.above_prefix().take(MAX_RANGES).map(relative).collect();
        let figures = BulkFigures { bytes: arrived.bytes(), ..BulkFigures::default() };
        Self { object, round, prefix, above, matches: None, stop: false, figures }
    }

    /// What it says arrived; none when the numbers make no sense.
    pub(super) fn ranges(&self) -> Option<Vec<Range<u64>>> {
        if self.above.len() > MAX_RANGES {
            return None;
        }
        let mut from = self.prefix;
        let mut ranges = Vec::with_capacity(1 + self.above.len());
        ranges.push(0..from);
        for (gap, length) in &self.above {
            let start = from.checked_add(*gap)?;
            from = start.checked_add(*length)?;
            ranges.push(start..from);
        }
        Some(ranges)
    }
}

/// The start of a chunk's stream.
pub(super) fn chunk_start(object: u32, offset: u64) -> Vec<u8> {
    [&[CHUNK][..], &object.to_be_bytes(), &offset.to_be_bytes()].concat()
}

/// Object and offset.
pub(super) fn header(bytes: [u8; HEADER]) -> (u32, u64) {
    let [a, b, c, d, offset @ ..] = bytes;
    (u32::from_be_bytes([a, b, c, d]), u64::from_be_bytes(offset))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_arrived_is_told_exactly(inserted: Vec<(u16, u8)>, matches: Option<bool>, stop: bool) {
            let mut arrived = Ranges::default();
            for (start, length) in inserted {
                arrived.insert(u64::from(start)..u64::from(start) + u64::from(length));
            }
            let having = Having { matches, stop, ..Having::new(1, 2, &arrived) };
            let bytes = Message::Having(having.clone()).to_bytes();
            prop_assert!(bytes.len() < 1000, "{} bytes fit no datagram", bytes.len());
            prop_assert_eq!(Message::from_bytes(&bytes), Some(Message::Having(having.clone())));
            let mut told = Ranges::default();
            for range in having.ranges().unwrap() {
                prop_assert!(arrived.covers(&range));
                told.insert(range);
            }
            prop_assert!(told == arrived || arrived.count() > MAX_RANGES);
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>) {
            for datagram in [bytes.clone(), [&[MARK][..], &bytes].concat()] {
                if let Some(Message::Having(having)) = Message::from_bytes(&datagram) {
                    let _ = having.ranges();
                }
            }
        }

        #[test]
        fn bytes_behind_a_message_are_no_message(seed: u64, more in 1_usize..9) {
            let ask = Message::Ask(Ask { object: 0, seed, up: true, bytes: None });
            let mut bytes = ask.to_bytes();
            prop_assert_eq!(Message::from_bytes(&bytes), Some(ask));
            bytes.resize(bytes.len() + more, 0);
            prop_assert_eq!(Message::from_bytes(&bytes), None);
        }
    }

    #[test]
    fn the_start_of_a_chunk_is_read_as_written() {
        let start = chunk_start(5, 1 << 40);
        assert_eq!(start[0], CHUNK);
        assert_eq!(header(start[1..].try_into().unwrap()), (5, 1 << 40));
    }
}
