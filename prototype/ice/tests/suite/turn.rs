//! A TURN server that no one here wrote, in the tests' network.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use ice::server::{Mimic, Server, ServerConfig, ServerOutput};
use turn_server_proto::api::{TurnServerApi, TurnServerPollRet};
use turn_server_proto::server::TurnServer;
use turn_server_proto::stun::Instant;
use turn_server_proto::stun::agent::Transmit;
use turn_server_proto::stun::types::TransportType;

/// A datagram from one address to another.
pub(crate) type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

pub(crate) struct Site {
    pub(crate) listens: SocketAddr,
    /// One way, to the middle of the network.
    pub(crate) delay: Duration,
    pub(crate) up: bool,
    /// It hears, and nobody hears it.
    pub(crate) mute: bool,
    server: Kind,
    /// Relayed addresses and their clients.
    relayed: BTreeMap<SocketAddr, SocketAddr>,
    next_port: u16,
    /// How many datagrams came over channels, and in Send indications.
    pub(crate) channels: usize,
    pub(crate) indications: usize,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Site({})", self.listens)
    }
}

enum Kind {
    Turn(Box<TurnServer>),
    /// Ours, as a relay of WhatsApp's kind, and when the time of the network began.
    Call(Box<Server>, std::time::Instant),
}

pub(crate) const USER: &str = "user";
pub(crate) const PASSWORD: &str = "secret";

impl Site {
    pub(crate) fn new(listens: SocketAddr, delay: Duration) -> Site {
        let mut server = TurnServer::new(TransportType::Udp, listens, "example.org".into());
        server.add_user(USER.into(), PASSWORD.into());
        Site::with(listens, delay, Kind::Turn(Box::new(server)))
    }

    /// Of WhatsApp's kind.
    pub(crate) fn call(listens: SocketAddr, delay: Duration, epoch: std::time::Instant) -> Site {
        let mut config = ServerConfig::new(vec![listens], "example.org");
        config.users.push((USER.into(), PASSWORD.into()));
        config.mimic = Some(Mimic::WhatsApp { unix_time: Duration::from_secs(1_700_000_000) });
        Site::with(listens, delay, Kind::Call(Box::new(Server::new(config)), epoch))
    }

    fn with(listens: SocketAddr, delay: Duration, server: Kind) -> Site {
        Site {
            listens,
            delay,
            up: true,
            mute: false,
            server,
            relayed: BTreeMap::new(),
            next_port: 50_000,
            channels: 0,
            indications: 0,
        }
    }

    pub(crate) fn nonces_last(&mut self, time: Duration) {
        match &mut self.server {
            Kind::Turn(server) => server.set_nonce_expiry_duration(time),
            Kind::Call(..) => unreachable!("no nonces there"),
        }
    }

    pub(crate) fn owns(&self, address: SocketAddr) -> bool {
        address == self.listens || self.relayed.contains_key(&address)
    }

    /// One datagram in; what leaves because of it out.
    pub(crate) fn receive(&mut self, since_epoch: Duration, datagram: Datagram) -> Vec<Datagram> {
        let (from, to, bytes) = datagram;
        if !self.up {
            return Vec::new();
        }
        match (to == self.listens, bytes.first()) {
            (true, Some(0x40..=0x4f)) => self.channels += 1,
            (true, Some(0)) if bytes.get(1) == Some(&0x16) => self.indications += 1,
            _ => {}
        }
        let server = match &mut self.server {
            Kind::Turn(server) => server,
            Kind::Call(server, epoch) => return call_relay(server, *epoch + since_epoch, to, from, &bytes),
        };
        let now = Instant::from_nanos(since_epoch.as_nanos() as i64 + 1_000_000_000);
        let mut out = Vec::new();
        if let Some(build) = server.recv(Transmit::new(bytes, TransportType::Udp, from, to), now) {
            let built = build.build();
            out.push((built.from, built.to, built.data));
        }
        while let TurnServerPollRet::AllocateSocket {
            transport,
            listen_addr,
            client_addr,
            allocation_transport,
            family,
        } = server.poll(now)
        {
            let relayed = SocketAddr::new(self.listens.ip(), self.next_port);
            self.next_port += 1;
            self.relayed.insert(relayed, client_addr);
            server.allocated_socket(
                transport,
                listen_addr,
                client_addr,
                allocation_transport,
                family,
                Ok(relayed),
                now,
            );
        }
        while let Some(transmit) = server.poll_transmit(now) {
            out.push((transmit.from, transmit.to, transmit.data));
        }
        if self.mute {
            out.clear();
        }
        out
    }
}

fn call_relay(
    server: &mut Server,
    now: std::time::Instant,
    at: SocketAddr,
    from: SocketAddr,
    bytes: &[u8],
) -> Vec<Datagram> {
    server.handle_timeout(now);
    // Rejections are the business of the tests that provoke them.
    let _ = server.handle_datagram(now, at, from, bytes);
    let transmit = |output| match output {
        ServerOutput::Transmit { from, to, bytes } => Some((from, to, bytes)),
        _ => None,
    };
    std::iter::from_fn(|| server.poll()).filter_map(transmit).collect()
}
