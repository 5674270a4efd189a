//! Datagrams in: which part they are for (RFC 9443), out of relays and out of disguise.

use super::Peer;
use crate::{
    demux::{self, Protocol},
    engine::Link,
};
use ice::{PairView, Rejected, SocketId};
use std::{net::SocketAddr, time::Instant};

impl Peer {
    /// One UDP datagram (not several merged by receive offload). `ecn` holds the two bits of the IP header.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        socket: SocketId,
        from: SocketAddr,
        ecn: Option<u8>,
        datagram: &[u8],
    ) {
        if self.done {
            return;
        }
        self.send_errors.remove(&socket);
        if self.take_probe(now, socket, from, datagram) {
            return self.pump(now);
        }
        let link = Link { socket, remote: from };
        let result = match self.is_relay(link) {
            // TURN channels begin like QUIC (RFC 9443 section 2), but a relay speaks no QUIC.
            true => self.handle_stun(now, link, datagram).map_err(Rejected::reason),
            false => self.handle_direct(now, link, ecn, datagram),
        };
        if let Err(reason) = result {
            self.rejections.add(now, reason, from);
        }
        self.pump(now);
    }

    fn handle_direct(
        &mut self,
        now: Instant,
        link: Link,
        ecn: Option<u8>,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        let protocol = demux::protocol(datagram);
        let is_stun = match protocol {
            Protocol::Stun => true,
            Protocol::CallRelay => self.config.call_relays.is_some(),
            _ => false,
        };
        if is_stun || self.agent.may_be_disguised(link.remote, datagram) {
            match self.handle_stun(now, link, datagram) {
                // Not authentic under its disguise: 0x40 is also the first byte of a QUIC packet.
                Err(Rejected::NotStun) if !is_stun => {}
                result => return result.map_err(Rejected::reason),
            }
        }
        match protocol {
            Protocol::Stun => Err(Rejected::NotStun.reason()),
            Protocol::Rendezvous => self.handle_signalling(now, link, datagram),
            Protocol::Quic => self.handle_quic(now, link, ecn, datagram),
            Protocol::CallRelay | Protocol::Unknown => Err("unknown-protocol"),
        }
    }

    fn handle_stun(&mut self, now: Instant, link: Link, datagram: &[u8]) -> Result<(), Rejected> {
        let result = self.agent.handle_datagram(now, link.socket, link.remote, datagram);
        self.take_relayed(now);
        result?;
        // Authentic: a mere indication is not.
        let is_fresh = |pair: &PairView| pair.last_heard == Some(now);
        let heard: Vec<PairView> = match self.is_relay(link) {
            false => self.pair_on(link).filter(is_fresh).into_iter().collect(),
            true => self.pairs_over(link).filter(is_fresh).collect(),
        };
        heard.iter().for_each(|pair| self.note_heard(now, pair));
        Ok(())
    }

    /// What came through a relay, unwrapped. Checks are dealt with already.
    fn take_relayed(&mut self, now: Instant) {
        while let Some(received) = self.agent.poll_received() {
            let link = Link { socket: received.socket, remote: received.from };
            let result = match demux::protocol(&received.bytes) {
                Protocol::Quic => self.handle_quic(now, link, None, &received.bytes),
                _ => Err("unknown-protocol"),
            };
            if let Err(reason) = result {
                self.rejections.add(now, reason, received.from);
            }
        }
    }

    /// Pairs whose datagrams take the way of this relay.
    pub(super) fn pairs_over(&self, relay: Link) -> impl Iterator<Item = PairView> + '_ {
        let way = Some((relay.socket, relay.remote));
        self.agent.pairs().filter(move |pair| self.agent.relay_of(pair.socket) == way)
    }

    /// Whether a relay that we have an address on is at the other end.
    fn is_relay(&self, link: Link) -> bool {
        self.bases.iter().any(|base| self.agent.relay_of(*base) == Some((link.socket, link.remote)))
    }

    /// QUIC is taken only from addresses that ICE has authenticated: nobody else reaches the handshake.
    fn handle_quic(
        &mut self,
        now: Instant,
        link: Link,
        ecn: Option<u8>,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        let known = self.pair_on(link).filter(|pair| pair.last_heard.is_some());
        let pair = known.ok_or("unknown-source")?;
        self.engine.set_replaceable(!self.paths.is_connected());
        if !self.engine.handle_datagram(now, link, ecn, datagram) {
            return Err("not-quic");
        }
        self.note_heard(now, &pair);
        Ok(())
    }
}
