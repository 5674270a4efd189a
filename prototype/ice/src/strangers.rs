//! How many peer-reflexive candidates are taken from one address on one socket.
//!
//! Two NATs that give every destination a port of its own, and let anybody in, would otherwise never come to rest: each
//! check arrives from a new port and so is a new candidate (RFC 8445 section 7.3.1.3), whose triggered check leaves from
//! a new port and is a new candidate at the other end, and so on. Sixteen come at once, as many as a few interfaces
//! behind one NAT need, and one more every five seconds, for a NAT that rebinds.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::candidate::SocketId;

/// Unknown ports of one address that are taken at once, and kept without a pair that works.
pub(crate) const AT_ONCE: usize = 16;
/// Then one more each.
const ONE_MORE: Duration = Duration::from_secs(5);
/// Addresses that are remembered. Only the other agent's authentic checks count, so few are needed.
const MOST_ADDRESSES: usize = 256;

/// Until when each address has used up its share on each socket.
#[derive(Debug, Default)]
pub(crate) struct Strangers(BTreeMap<(SocketId, IpAddr), Instant>);

impl Strangers {
    /// Whether another unknown port of this address is taken; counts it if so.
    pub(crate) fn admit(&mut self, now: Instant, socket: SocketId, address: IpAddr) -> bool {
        let address = (socket, address);
        self.0.retain(|_, paid| *paid > now);
        let known = self.0.get(&address).copied();
        if known.is_none() && self.0.len() >= MOST_ADDRESSES {
            return false;
        }
        let paid = known.unwrap_or(now) + ONE_MORE;
        let admitted = paid <= now + ONE_MORE * AT_ONCE as u32;
        if admitted {
            self.0.insert(address, paid);
        }
        admitted
    }
}
