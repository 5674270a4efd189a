//! Names by which clients looked up addresses, as HTTPTag keeps them (Fiadino et al., INFOCOM 2013): an answer to a client
//! tags its later flows to that address, until the answer's time to live is over.

use crate::text::Text;
use std::{collections::HashMap, net::IpAddr};

/// Clients use an address a little longer than they may.
const GRACE_NS: i64 = 60_000_000_000;
const NS_PER_S: i64 = 1_000_000_000;
/// Entries that are kept; the oldest go first.
const MAX_TAGS: usize = 100_000;

#[derive(Debug)]
struct Tag {
    name: Text,
    expires_ns: i64,
}

/// Name of an address for a client.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    tags: HashMap<(IpAddr, IpAddr), Tag>,
}

impl Tags {
    pub(crate) fn add(&mut self, now_ns: i64, client: IpAddr, server: IpAddr, name: &Text, ttl_s: u32) {
        if self.tags.len() >= MAX_TAGS {
            self.tags.retain(|_, tag| tag.expires_ns > now_ns);
        }
        if self.tags.len() >= MAX_TAGS {
            // All are valid: the half that expires first goes.
            let mut times: Vec<i64> = self.tags.values().map(|tag| tag.expires_ns).collect();
            let middle = times.len() / 2;
            let (_, median, _) = times.select_nth_unstable(middle);
            let median = *median;
            self.tags.retain(|_, tag| tag.expires_ns > median);
        }
        let expires_ns =
            now_ns.saturating_add(i64::from(ttl_s).saturating_mul(NS_PER_S)).saturating_add(GRACE_NS);
        self.tags.insert((client, server), Tag { name: name.clone(), expires_ns });
    }

    pub(crate) fn name(&self, now_ns: i64, client: IpAddr, server: IpAddr) -> Option<Text> {
        let tag = self.tags.get(&(client, server))?;
        (tag.expires_ns >= now_ns).then(|| tag.name.clone())
    }
}
