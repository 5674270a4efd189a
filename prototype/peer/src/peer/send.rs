//! Datagrams out: as they are, or wrapped for the relay that their link runs over.

use super::{Output, Peer, Transmit};
use crate::engine::{EngineTransmit, Link};
use ice::SocketId;
use std::{net::SocketAddr, time::Instant};

impl Peer {
    pub(super) fn transmit(&mut self, now: Instant) -> bool {
        let before = self.outputs.len();
        while let Some(ice::Transmit { socket, to, bytes }) = self.agent.poll_transmit() {
            self.put_out(Transmit { socket, to, ecn: None, segment_size: None, bytes });
        }
        while let Some(transmit) = self.engine.poll_transmit(now) {
            self.send_quic(transmit);
        }
        self.outputs.len() > before
    }

    fn send_quic(&mut self, transmit: EngineTransmit) {
        let EngineTransmit { link: Link { socket, remote }, ecn, segment_size, bytes } = transmit;
        if self.agent.relay_of(socket).is_some() {
            return self.send_relayed(socket, remote, segment_size, &bytes);
        }
        self.put_out(Transmit { socket, to: remote, ecn, segment_size, bytes });
    }

    /// Each datagram is wrapped by itself. Those of one size stay of one size, so that they still go out in one piece.
    /// What is too long for the path with 4 bytes more (a channel) or 36 and more (before there is one) is lost on it,
    /// as on any path, and QUIC's search for the path's MTU finds that out (RFC 9000 section 14.3).
    fn send_relayed(&mut self, base: SocketId, peer: SocketAddr, segment_size: Option<usize>, bytes: &[u8]) {
        let size = segment_size.unwrap_or(bytes.len()).max(1);
        let mut out: Option<Transmit> = None;
        for datagram in bytes.chunks(size) {
            let Some(wrapped) = self.agent.wrap(base, peer, datagram.to_vec()) else { continue };
            let ice::Transmit { socket, to, bytes } = wrapped;
            let length = bytes.len();
            let batch = out.get_or_insert_with(|| Transmit {
                socket,
                to,
                ecn: None,
                segment_size: Some(length),
                bytes: vec![],
            });
            batch.bytes.extend(bytes);
        }
        if let Some(mut batch) = out {
            batch.segment_size = batch.segment_size.filter(|size| *size < batch.bytes.len());
            self.put_out(batch);
        }
    }

    pub(super) fn put_out(&mut self, transmit: Transmit) {
        // The engine may still want to use a path whose socket is gone.
        if self.sockets.get(transmit.socket).is_some_and(|socket| socket.local.is_some()) {
            self.outputs.push_back(Output::Transmit(transmit));
        }
    }
}
