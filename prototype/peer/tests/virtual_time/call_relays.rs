//! Relays as WhatsApp has them, on every server of the topology whose name begins with `call-`: `iceperf relay --mimic
//! whatsapp` without its sockets.

use crate::world::{MEET_PORT, addresses};
use ice::server::{Mimic, Server, ServerConfig, ServerOutput};
use netmodel::{Plan, Udp, build_udp};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

const PASSWORD: &str = "of all relays";

pub(crate) struct CallRelays {
    alive: BTreeMap<String, Server>,
}

impl CallRelays {
    pub(crate) fn new(plan: &Plan) -> Self {
        let server = |listens| {
            let mut config = ServerConfig::new(listens, "iceperf");
            config.users.push(("caller".into(), PASSWORD.into()));
            config.mimic = Some(Mimic::WhatsApp { unix_time: Duration::from_secs(1_700_000_000) });
            Server::new(config)
        };
        Self { alive: listening(plan).into_iter().map(|(name, listens)| (name, server(listens))).collect() }
    }

    /// What a peer is told of them.
    pub(crate) fn of(plan: &Plan) -> Option<peer::CallRelays> {
        let addresses: Vec<SocketAddr> = listening(plan).into_values().flatten().collect();
        (!addresses.is_empty()).then(|| peer::CallRelays { addresses, password: PASSWORD.into() })
    }

    /// From now on it hears nothing.
    pub(crate) fn kill(&mut self, name: &str) {
        assert!(self.alive.remove(name).is_some(), "{name}");
    }

    /// Packets that follow.
    pub(crate) fn hear(&mut self, name: &str, now: Instant, udp: &Udp, payload: &[u8]) -> Vec<Vec<u8>> {
        let Some(server) = self.alive.get_mut(name) else { return vec![] };
        if server.poll_timeout().is_some_and(|at| at <= now) {
            server.handle_timeout(now);
        }
        // What a stranger sends is not for it.
        let _ = server.handle_datagram(now, udp.destination, udp.source, payload);
        let packet = |output| match output {
            ServerOutput::Transmit { from, to, bytes } => build_udp(from, to, &bytes).ok(),
            ServerOutput::Open { .. } | ServerOutput::Close { .. } => None,
        };
        std::iter::from_fn(|| server.poll()).filter_map(packet).collect()
    }
}

fn listening(plan: &Plan) -> BTreeMap<String, Vec<SocketAddr>> {
    let servers = plan.ports().iter().filter(|port| port.owner.host().starts_with("call-"));
    let at = |port| addresses(plan, port).into_iter().map(|ip| SocketAddr::new(ip, MEET_PORT)).collect();
    servers.map(|port| (port.owner.host().to_owned(), at(port.id))).collect()
}
