//! The beginning of a byte stream, put together from parts in any order.

/// Bytes of a stream from offset 0 on, up to a limit.
#[derive(Debug)]
pub(crate) struct Reassembly {
    bytes: Vec<u8>,
    /// Ranges that are there, in order, not touching each other.
    ranges: Vec<(u32, u32)>,
    limit: u32,
}

/// Gaps that are kept open; a stream with more is given up.
const MAX_RANGES: usize = 64;

impl Reassembly {
    pub(crate) fn new(limit: u32) -> Self {
        Self { bytes: Vec::new(), ranges: Vec::new(), limit }
    }

    /// Adds a part and returns whether the stream still fits its limits.
    pub(crate) fn insert(&mut self, offset: u32, part: &[u8]) -> bool {
        let length = u32::try_from(part.len()).unwrap_or(u32::MAX);
        if offset >= self.limit || self.ranges.len() >= MAX_RANGES {
            return false;
        }
        let end = offset.saturating_add(length).min(self.limit);
        if end == offset {
            return true;
        }
        if self.bytes.len() < end as usize {
            self.bytes.resize(end as usize, 0);
        }
        self.bytes[offset as usize..end as usize].copy_from_slice(&part[..(end - offset) as usize]);
        let (mut start, mut stop) = (offset, end);
        self.ranges.retain(|(from, to)| {
            let is_apart = *to < offset || end < *from;
            if !is_apart {
                start = start.min(*from);
                stop = stop.max(*to);
            }
            is_apart
        });
        let at = self.ranges.partition_point(|(from, _)| *from < start);
        self.ranges.insert(at, (start, stop));
        end < self.limit
    }

    /// The bytes from offset 0 to the first gap.
    pub(crate) fn prefix(&self) -> &[u8] {
        match self.ranges.first() {
            Some((0, end)) => &self.bytes[..*end as usize],
            _ => &[],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Parts in any order, overlapping or repeated, give the stream.
        #[test]
        fn parts_in_any_order(cuts in proptest::collection::vec((0_u32..400, 1_usize..60), 0..40)) {
            let whole: Vec<u8> = (0..500_u32).map(|index| (index * 7) as u8).collect();
            let mut stream = Reassembly::new(1000);
            let mut there = [false; 500];
            for (at, length) in cuts {
                let end = (at as usize + length).min(500);
                prop_assert!(stream.insert(at, &whole[at as usize..end]));
                there[at as usize..end].fill(true);
                let expected = there.iter().take_while(|there| **there).count();
                prop_assert_eq!(stream.prefix(), &whole[..expected]);
            }
        }
    }
}
