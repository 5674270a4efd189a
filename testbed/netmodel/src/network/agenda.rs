//! When each link is to be looked after: a knock-out tournament, of which only the matches of a link that has changed are
//! played again. With every packet several times that happens, and an ordered map would take several times as long.

use super::LinkId;
use crate::link::Due;

#[derive(Debug)]
pub(super) struct Agenda {
    /// Who comes first of all that are below a node, and when: 1 is the root, 2n and 2n + 1 are below n, and the second half
    /// are the links themselves.
    first: Vec<Option<(Due, LinkId)>>,
}

impl Agenda {
    /// For so many links, none of which has anything to do.
    pub(super) fn new(links: usize) -> Self {
        Self { first: vec![None; 2 * links.next_power_of_two()] }
    }

    /// The next link, and when.
    pub(super) fn next(&self) -> Option<(Due, LinkId)> {
        self.node(1)
    }

    /// When a link is to be looked after, in place of what was said before.
    pub(super) fn set(&mut self, link: LinkId, due: Option<Due>) {
        let mut node = self.first.len() / 2 + link;
        let mut first = due.map(|due| (due, link));
        while let Some(place) = self.first.get_mut(node)
            && *place != first
        {
            *place = first;
            let (one, other) = (first, self.node(node ^ 1));
            node /= 2;
            first = match (one, other) {
                (Some(one), Some(other)) => Some(one.min(other)),
                (one, other) => one.or(other),
            };
            if node == 0 {
                return;
            }
        }
    }

    fn node(&self, node: usize) -> Option<(Due, LinkId)> {
        self.first.get(node).copied().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{
        collections::BTreeMap,
        time::{Duration, Instant},
    };

    proptest! {
        #[test]
        fn the_earliest_comes_first(
            links in 1..40_usize,
            sets in prop::collection::vec((0..40_usize, prop::option::of((0..50_u64, 0..50_u64))), 0..200),
        ) {
            #[expect(clippy::disallowed_methods, reason = "an epoch; nothing depends on it")]
            let epoch = Instant::now();
            let (mut agenda, mut map) = (Agenda::new(links), BTreeMap::new());
            for (link, due) in sets {
                let due = due.map(|(at, number)| (epoch + Duration::from_millis(at), number));
                let link = link % links;
                agenda.set(link, due);
                map.remove(&link);
                map.extend(due.map(|due| (link, due)));
                prop_assert_eq!(agenda.next(), map.iter().map(|(link, due)| (*due, *link)).min());
            }
        }
    }
}
