//! Fragments of IP packets (RFC 791 section 3.2, RFC 8200 section 4.5), kept until their packet is whole. Bounded in
//! number, bytes and age.

use etherparse::{IpFragOffset, IpNumber, defrag::IpDefragBuf};
use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
};

/// RFC 8200 section 4.5.
const TIMEOUT_NS: i64 = 60_000_000_000;
/// With 64 KiB each at most: 16 MiB.
const MAX_PENDING: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FragmentKey {
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) protocol: IpNumber,
    pub(super) identification: u32,
}

pub(super) struct Part<'a> {
    pub(super) offset: IpFragOffset,
    pub(super) more: bool,
    pub(super) payload: &'a [u8],
}

#[derive(Debug)]
struct Pending {
    since_ns: i64,
    frame_length: u32,
    buffer: IpDefragBuf,
}

#[derive(Debug, Default)]
pub(super) struct Fragments {
    pending: HashMap<FragmentKey, Pending>,
    /// Keys in order of arrival; those of packets that are whole are skipped.
    order: VecDeque<(i64, FragmentKey)>,
    discarded: u64,
}

impl Fragments {
    /// Adds a fragment; the packet's payload and the length of all its frames when it is whole.
    pub(super) fn add(
        &mut self,
        now_ns: i64,
        key: FragmentKey,
        part: Part<'_>,
        frame_length: u32,
    ) -> Option<(Vec<u8>, u32)> {
        self.expire(now_ns);
        let pending = self.pending.entry(key).or_insert_with(|| {
            self.order.push_back((now_ns, key));
            let buffer = IpDefragBuf::new(key.protocol, Vec::new(), Vec::new());
            Pending { since_ns: now_ns, frame_length: 0, buffer }
        });
        pending.frame_length = pending.frame_length.saturating_add(frame_length);
        if pending.buffer.add(part.offset, part.more, part.payload).is_err() {
            self.pending.remove(&key);
            self.discarded += 1;
            return None;
        }
        if !pending.buffer.is_complete() {
            return None;
        }
        let whole = self.pending.remove(&key)?;
        Some((whole.buffer.take_bufs().0, whole.frame_length))
    }

    fn expire(&mut self, now_ns: i64) {
        while let Some(&(since_ns, key)) = self.order.front() {
            let is_old = now_ns.saturating_sub(since_ns) > TIMEOUT_NS;
            if !is_old && self.order.len() < MAX_PENDING {
                break;
            }
            self.order.pop_front();
            if self.pending.get(&key).is_some_and(|pending| pending.since_ns == since_ns) {
                self.pending.remove(&key);
                self.discarded += 1;
            }
        }
    }

    pub(super) fn discarded(&self) -> u64 {
        self.discarded
    }
}
