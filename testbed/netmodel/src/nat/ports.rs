//! The outside ports of a NAT: who has which, and who gets which next (RFC 4787 section 4.2).

use crate::{PortAssignment, Protocol, sessions::MappingKey};
use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng as _, SeedableRng as _},
};
use std::{collections::BTreeMap, ops::RangeInclusive};

#[derive(Debug)]
pub(crate) struct Ports {
    assignment: PortAssignment,
    /// One draw for each allocation.
    draws: ChaCha8Rng,
    /// Where the sequential assignment goes on.
    next: Option<u16>,
    /// Outside ports in use, and by whom.
    used: Owners,
    /// Outside ports that rebinding took away, and from whom. Nobody gets one of these while there are others, so that
    /// what is still sent to an old mapping reaches nobody.
    retired: Owners,
}

type Owners = BTreeMap<(Protocol, u16), MappingKey>;

/// Links have the streams below this.
const FIRST_STREAM: u64 = 1 << 32;

impl Ports {
    pub(crate) fn new(assignment: PortAssignment, seed: u64, number: u64) -> Self {
        let mut draws = ChaCha8Rng::seed_from_u64(seed);
        draws.set_stream(FIRST_STREAM + number);
        Self { assignment, draws, next: None, used: Owners::new(), retired: Owners::new() }
    }

    pub(crate) fn owner(&self, protocol: Protocol, port: u16) -> Option<MappingKey> {
        self.used.get(&(protocol, port)).copied()
    }

    /// Gives a mapping a port; none when all are in use.
    pub(crate) fn allocate(&mut self, key: MappingKey) -> Option<u16> {
        let protocol = key.inside.protocol;
        let (range, wanted) = self.wanted(key);
        let port = self.free_port(key, wanted, range)?;
        self.next = Some(port.wrapping_add(1));
        self.used.insert((protocol, port), key);
        Some(port)
    }

    pub(crate) fn free(&mut self, protocol: Protocol, port: u16) {
        self.used.remove(&(protocol, port));
    }

    pub(crate) fn free_all(&mut self) {
        self.used.clear();
    }

    /// Takes all ports away.
    pub(crate) fn retire(&mut self) {
        self.retired.append(&mut self.used);
    }

    /// The range for a mapping, and the port of it that is tried first.
    fn wanted(&mut self, key: MappingKey) -> (RangeInclusive<u16>, u16) {
        let inside = key.inside.address.port();
        let range = match (key.inside.protocol, self.assignment) {
            // Echo identifiers know no ranges.
            (Protocol::Echo, _) => 0..=u16::MAX,
            // REQ-3: a well-known port is not given to one that has none, nor the other way round.
            (_, PortAssignment::Preserved) if (1..=1023).contains(&inside) => 1..=1023,
            _ => 1024..=u16::MAX,
        };
        let wanted = match self.assignment {
            PortAssignment::Preserved => inside,
            PortAssignment::Sequential => self.next.unwrap_or_else(|| draw(&mut self.draws, &range)),
            PortAssignment::Random => draw(&mut self.draws, &range),
        };
        let start = wanted.max(*range.start());
        (range, start)
    }

    /// The wanted port, or the next free one of its range; one that was taken away from another only when no other is
    /// left, and never the inside's own that was.
    fn free_port(&self, key: MappingKey, start: u16, range: RangeInclusive<u16>) -> Option<u16> {
        let protocol = key.inside.protocol;
        let candidates = || (start..=*range.end()).chain(*range.start()..=start);
        let is_free = |port: &u16| !self.used.contains_key(&(protocol, *port));
        let was = |port: &u16| self.retired.get(&(protocol, *port)).map(|key| key.inside);
        let is_fresh = |port: &u16| is_free(port) && was(port).is_none();
        let was_anothers = |port: &u16| is_free(port) && was(port) != Some(key.inside);
        candidates().find(is_fresh).or_else(|| candidates().find(was_anothers))
    }
}

fn draw(draws: &mut ChaCha8Rng, range: &RangeInclusive<u16>) -> u16 {
    let span = u64::from(range.end() - range.start()) + 1;
    // The product is below 2^32 * span: its upper half is in 0..span.
    let offset = (u64::from(draws.next_u32()) * span) >> 32;
    range.start() + offset as u16
}
