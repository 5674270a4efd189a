//! A set of byte offsets, as ranges that neither overlap nor touch.

use std::{collections::BTreeMap, ops::Range};

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges {
    /// Start and end.
    ranges: BTreeMap<u64, u64>,
    bytes: u64,
}

impl Ranges {
    /// How many bytes are new.
    pub(super) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let before = self.bytes;
        let Range { mut start, mut end } = range;
        if let Some((&first, &last)) =
            self.ranges.range(..start).next_back().filter(|(_, last)| **last >= start)
        {
            self.remove(first, last);
            (start, end) = (first, end.max(last));
        }
        while let Some((&first, &last)) = self.ranges.range(start..=end).next() {
            self.remove(first, last);
            end = end.max(last);
        }
        self.ranges.insert(start, end);
        self.bytes += end - start;
        self.bytes - before
    }

    fn remove(&mut self, start: u64, end: u64) {
        self.ranges.remove(&start);
        self.bytes -= end - start;
    }

    /// How many bytes there are in all.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How many ranges.
    pub(super) fn count(&self) -> usize {
        self.ranges.len()
    }

    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        let holder = self.ranges.range(..=range.start).next_back();
        range.is_empty() || holder.is_some_and(|(_, end)| *end >= range.end)
    }

    /// The end of what begins at 0 and has no gap.
    pub(super) fn prefix(&self) -> u64 {
        self.ranges.get(&0).copied().unwrap_or(0)
    }

    /// The end of the last.
    pub(super) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(0, |(_, end)| *end)
    }

    /// Those after the prefix, lowest first.
    pub(super) fn above_prefix(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.range(1..).map(|(start, end)| *start..*end)
    }

    /// What of `within` is missing, lowest first.
    pub(super) fn gaps(&self, within: Range<u64>) -> impl DoubleEndedIterator<Item = Range<u64>> {
        let mut gaps = vec![];
        let mut from = within.start;
        let before = self.ranges.range(..within.start).next_back();
        for (start, end) in before.into_iter().chain(self.ranges.range(within.clone())) {
            if *start > from {
                gaps.push(from..*start);
            }
            from = from.max(*end);
        }
        if from < within.end {
            gaps.push(from..within.end);
        }
        gaps.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn a_set_of_ranges_is_a_set_of_offsets(inserted: Vec<(u8, u8)>, within: (u8, u8)) {
            let (mut ranges, mut offsets) = (Ranges::default(), BTreeSet::new());
            for (start, length) in inserted {
                let range = u64::from(start)..u64::from(start) + u64::from(length % 32);
                let new = range.clone().filter(|offset| offsets.insert(*offset)).count();
                prop_assert_eq!(ranges.insert(range.clone()), new as u64);
                prop_assert!(ranges.covers(&range));
            }
            prop_assert_eq!(ranges.bytes(), offsets.len() as u64);
            prop_assert_eq!(ranges.end(), offsets.last().map_or(0, |last| last + 1));
            prop_assert_eq!(ranges.prefix(), (0..).find(|offset| !offsets.contains(offset)).unwrap());
            let told: u64 = ranges.above_prefix().map(|range| range.end - range.start).sum();
            prop_assert_eq!(told + ranges.prefix(), ranges.bytes());
            let within = u64::from(within.0)..u64::from(within.0) + u64::from(within.1);
            let missing: Vec<u64> = ranges.gaps(within.clone()).flatten().collect();
            let expected: Vec<u64> = within.filter(|offset| !offsets.contains(offset)).collect();
            prop_assert_eq!(missing, expected);
        }
    }
}
