//! What befalls the network of a [`World`] while it runs, beyond interfaces that are switched off: silence, losses in
//! one direction only, delays that grow, other addresses, and NATs that forget.

use crate::world::World;
use netmodel::{Block, BlockAnswer, BlockDirection, Change, PortId};
use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// What the test takes away from, or adds to, what the network model does.
#[derive(Default)]
pub(crate) struct Trouble {
    /// What arrives at these ports is dropped.
    deaf: BTreeSet<PortId>,
    /// What these ports send is dropped.
    mute: BTreeSet<PortId>,
    /// What arrives at these ports comes this much later.
    slow: BTreeMap<PortId, Duration>,
    held: BTreeMap<(Instant, u64), Held>,
    number: u64,
    /// These hosts' processes do not run before then; what arrives waits in their sockets.
    frozen: BTreeMap<String, (Instant, Vec<Held>)>,
    /// Whether a datagram that a host sends is lost.
    thief: Option<Thief>,
}

/// Sees which host sends what, in order.
type Thief = Box<dyn FnMut(&str, &[u8]) -> bool>;

pub(crate) struct Held {
    pub(crate) host: String,
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

impl Trouble {
    /// Whether a datagram that a host sends is lost.
    pub(crate) fn swallows(&mut self, port: PortId, host: &str, datagram: &[u8]) -> bool {
        self.mute.contains(&port) || self.thief.as_mut().is_some_and(|thief| thief(host, datagram))
    }

    pub(crate) fn deafens(&self, port: PortId) -> bool {
        self.deaf.contains(&port)
    }

    /// Gives back what is to be delivered now.
    pub(crate) fn hold(&mut self, now: Instant, port: PortId, datagram: Held) -> Option<Held> {
        let Some(delay) = self.slow.get(&port) else { return Some(datagram) };
        self.held.insert((now + *delay, self.number), datagram);
        self.number += 1;
        None
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let frozen = self.frozen.values().map(|(until, _)| *until);
        frozen.chain(self.held.keys().next().map(|(due, _)| *due)).min()
    }

    pub(crate) fn is_frozen(&self, host: &str) -> bool {
        self.frozen.contains_key(host)
    }

    /// Gives back what the host can read now.
    pub(crate) fn queue(&mut self, datagram: Held) -> Option<Held> {
        match self.frozen.get_mut(&datagram.host) {
            Some((_, queue)) => {
                queue.push(datagram);
                None
            }
            None => Some(datagram),
        }
    }

    /// A host that runs again, and what waits in its sockets.
    pub(crate) fn thaw(&mut self, now: Instant) -> Option<(String, Vec<Held>)> {
        let host = self.frozen.iter().find(|(_, (until, _))| *until <= now)?.0.clone();
        let (_, queue) = self.frozen.remove(&host)?;
        Some((host, queue))
    }

    pub(crate) fn due(&mut self, now: Instant) -> Option<Held> {
        let entry = self.held.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}

impl World {
    fn port(&self, host: &str, interface: &str) -> PortId {
        self.plan.port_of(host, interface).unwrap()
    }

    /// Nothing passes in either direction any more, and nothing tells.
    pub(crate) fn silence(&mut self, host: &str, interface: &str, silent: bool) {
        let port = self.port(host, interface);
        self.network.apply(self.now, Change::Silence { port, silent }).unwrap();
    }

    /// Nothing arrives any more; what is sent still does at the other end.
    pub(crate) fn deafen(&mut self, host: &str, interface: &str) {
        self.trouble.deaf.insert(self.port(host, interface));
    }

    /// Nothing that is sent arrives any more.
    pub(crate) fn mute(&mut self, host: &str, interface: &str) {
        self.trouble.mute.insert(self.port(host, interface));
    }

    /// What is sent arrives again.
    pub(crate) fn unmute(&mut self, host: &str, interface: &str) {
        let port = self.port(host, interface);
        self.trouble.mute.remove(&port);
    }

    /// From now on those of the sent datagrams are lost for which this says so; it sees the sender and all bytes.
    #[cfg(feature = "quiche")]
    pub(crate) fn lose(&mut self, thief: impl FnMut(&str, &[u8]) -> bool + 'static) {
        self.trouble.thief = Some(Box::new(thief));
    }

    /// Everything arrives later from now on.
    pub(crate) fn slow_down(&mut self, host: &str, interface: &str, delay: Duration) {
        self.trouble.slow.insert(self.port(host, interface), delay);
    }

    /// The interface gets other addresses in the place of its own, and the host is told.
    pub(crate) fn readdress(&mut self, host: &str, interface: &str) {
        let port = self.port(host, interface);
        self.network.apply(self.now, Change::Address { port }).unwrap();
        self.tell_interface(host, interface, true, true);
    }

    /// The NAT of a network forgets all its mappings.
    pub(crate) fn rebind(&mut self, network: &str) {
        let network = self.plan.network(network).unwrap();
        self.network.apply(self.now, Change::NatRebind { network }).unwrap();
    }

    /// A network refuses UDP between peers, and answers nothing. Returns its filters of before.
    pub(crate) fn block_peer_to_peer(&mut self, network: &str) -> Vec<Block> {
        let block = Block::UdpPeerToPeer {
            ipv4: true,
            ipv6: true,
            direction: BlockDirection::Both,
            answer: BlockAnswer::Silence,
        };
        self.filter(network, vec![block])
    }

    /// A network refuses this, and nothing else, from now on. Returns its filters as the topology has them.
    pub(crate) fn filter(&mut self, network: &str, blocks: Vec<Block>) -> Vec<Block> {
        let id = self.plan.network(network).unwrap();
        self.network.apply(self.now, Change::Blocks { network: id, blocks }).unwrap();
        let known = self.plan.topology().networks.iter().find(|spec| spec.name == network);
        known.map(|spec| spec.blocks.clone()).unwrap_or_default()
    }

    /// The process does not run for a while: what arrives waits in its sockets.
    pub(crate) fn freeze(&mut self, host: &str, until: Duration) {
        let until = self.epoch + until;
        self.trouble.frozen.insert(host.to_owned(), (until, vec![]));
    }
}
