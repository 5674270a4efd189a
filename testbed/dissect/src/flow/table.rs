//! The live flows.

use super::{EndedBy, Flow, FlowKey};
use crate::ip::Packet;
use std::collections::{HashMap, hash_map::Entry};

/// Capture time between two searches for flows that are over.
const SWEEP_NS: u64 = 10_000_000_000;

/// Live flows by their 5-tuple.
#[derive(Debug, Default)]
pub(crate) struct FlowTable {
    live: HashMap<FlowKey, Box<Flow>>,
    swept_ns: Option<i64>,
    peak: usize,
}

impl FlowTable {
    /// Adds a packet to its flow, which is returned, with whether it is new. Flows that ended go to `ended`.
    pub(crate) fn add(
        &mut self,
        packet: &Packet<'_>,
        mut ended: impl FnMut(Flow, EndedBy),
    ) -> (&mut Flow, bool) {
        self.sweep(packet.time_ns, &mut ended);
        let key = FlowKey::of(packet);
        let mut is_new = false;
        let flow = match self.live.entry(key) {
            Entry::Occupied(entry) => {
                let flow = entry.into_mut();
                let why = match &flow.tcp {
                    _ if flow.is_over(packet.time_ns) => Some(EndedBy::Silence),
                    Some(tcp) if tcp.is_new_connection(packet) => Some(EndedBy::Syn),
                    _ => None,
                };
                if let Some(why) = why {
                    is_new = true;
                    ended(std::mem::replace(&mut **flow, Flow::new(packet, key.protocol)), why);
                }
                flow
            }
            Entry::Vacant(entry) => {
                is_new = true;
                entry.insert(Box::new(Flow::new(packet, key.protocol)))
            }
        };
        flow.add(packet);
        (flow, is_new)
    }

    /// Ends every flow.
    pub(crate) fn end(&mut self, mut ended: impl FnMut(Flow, EndedBy)) {
        self.note_peak();
        let mut flows: Vec<Flow> = self.live.drain().map(|(_, flow)| *flow).collect();
        flows.sort_by_key(|flow| (flow.first_ns, flow.client, flow.server));
        flows.into_iter().for_each(|flow| ended(flow, EndedBy::CaptureEnd));
        self.swept_ns = None;
    }

    /// Most flows that were live at once.
    pub(crate) fn peak(&self) -> usize {
        self.peak
    }

    fn note_peak(&mut self) {
        self.peak = self.peak.max(self.live.len());
    }

    fn sweep(&mut self, now_ns: i64, ended: &mut impl FnMut(Flow, EndedBy)) {
        self.note_peak();
        let swept_ns = *self.swept_ns.get_or_insert(now_ns);
        // Time may jump back: captures are merged, clocks are set.
        if now_ns.abs_diff(swept_ns) < SWEEP_NS {
            return;
        }
        self.swept_ns = Some(now_ns);
        let over: Vec<FlowKey> =
            self.live.iter().filter(|(_, flow)| flow.is_over(now_ns)).map(|(key, _)| *key).collect();
        let mut flows: Vec<Flow> =
            over.iter().filter_map(|key| self.live.remove(key)).map(|flow| *flow).collect();
        flows.sort_by_key(|flow| (flow.first_ns, flow.client, flow.server));
        flows.into_iter().for_each(|flow| ended(flow, EndedBy::Silence));
        self.live.shrink_to(self.live.len().saturating_mul(2));
    }
}
