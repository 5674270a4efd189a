//! How the peers learn each other's candidates: from the ticket, over rendezvous servers, and inside the connection.

use super::{Connection, Outcome, Peer, Role};
use crate::{
    Event,
    control::Frame,
    rendezvous::{self, DescribedCandidate, Description, Dropped},
};
use ice::{Credentials, RemoteCandidate};
use rand::RngExt as _;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

impl Peer {
    pub(super) fn new_signalling(&mut self, servers: Vec<SocketAddr>) -> rendezvous::Client {
        let instance = self.rng.random();
        let description = self.description();
        rendezvous::Client::new(self.secret.clone(), self.side, servers, instance, description)
    }

    pub(super) fn begin_signalling(&mut self, now: Instant) {
        if let Role::Client { ticket } = &self.config.role {
            for address in ticket.addresses.clone() {
                self.agent.add_remote_candidate(now, listed(address));
            }
        }
        // Both derive them from the ticket's secret, so that checks are answered before any signalling arrives. After
        // the candidates, because checks begin with the credentials.
        self.agent.set_remote_credentials(now, self.secret.ice_credentials(self.side.other()));
        if let Some(signalling) = &mut self.signalling {
            for server in signalling.servers().to_vec() {
                self.agent.add_stun_server(now, server);
            }
            signalling.resume(now);
        }
    }

    fn description(&self) -> Description {
        let credentials = self.secret.ice_credentials(self.side);
        let fingerprint = match &self.config.role {
            Role::Client { .. } => None,
            Role::Server { identity, .. } => Some(identity.fingerprint().0),
        };
        Description {
            ufrag: credentials.ufrag().to_owned(),
            pwd: credentials.pwd().to_owned(),
            fingerprint,
            candidates: self.described_candidates(),
        }
    }

    /// The best candidates, as many as fit into a message. Peer-reflexive ones are the other peer's own discovery
    /// (RFC 8445 section 7.2.5.3.1) and are not told.
    fn described_candidates(&self) -> Vec<DescribedCandidate> {
        let told = |candidate: &&ice::LocalCandidate| candidate.kind != ice::CandidateKind::Prflx;
        let mut candidates: Vec<_> = self.agent.local_candidates().filter(told).collect();
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
        candidates.truncate(rendezvous::MAX_CANDIDATES);
        candidates.into_iter().map(DescribedCandidate::new).collect()
    }

    /// Our candidates changed: the other peer is told wherever it can hear it.
    pub(super) fn tell_candidates(&mut self, now: Instant) {
        let description = self.description();
        if self.is_open() {
            let frame = Frame::Candidates(description.candidates.clone());
            self.engine.send_control(frame.to_bytes());
        }
        if let Some(signalling) = &mut self.signalling {
            signalling.describe(now, description);
        }
    }

    /// Sends what the rendezvous client has due, over every socket of the server's family.
    pub(super) fn signal(&mut self, now: Instant) {
        if self.started.is_none() || self.done {
            return;
        }
        let Some(signalling) = &mut self.signalling else { return };
        // Candidates travel inside the connection while there is one with a path that works.
        if matches!(self.connection, Connection::Open { .. }) && self.paths.active().is_some() {
            signalling.pause();
        } else {
            signalling.resume(now);
        }
        let Some(message) = signalling.poll(now) else { return };
        let servers = signalling.servers().to_vec();
        let sockets: Vec<_> = self.sockets.bound().collect();
        for server in servers {
            for (socket, _) in sockets.iter().filter(|(_, local)| local.is_ipv4() == server.is_ipv4()) {
                self.send(*socket, server, None, None, message.clone());
            }
        }
    }

    pub(super) fn handle_signalling(
        &mut self,
        now: Instant,
        from: SocketAddr,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        let signalling = self.signalling.as_mut().ok_or("no-rendezvous")?;
        let description = signalling.handle(now, from, datagram).map_err(|dropped| match dropped {
            Dropped::UnexpectedSource => "unexpected-source",
            Dropped::Malformed => "malformed",
            Dropped::BadSeal => "bad-seal",
        })?;
        if let Some(description) = description {
            self.take_description(now, description)?;
        }
        Ok(())
    }

    fn take_description(&mut self, now: Instant, description: Description) -> Result<(), &'static str> {
        let credentials = Credentials::new(&description.ufrag, &description.pwd).map_err(|_| "malformed")?;
        if let Role::Client { ticket } = &self.config.role
            && description.fingerprint().is_some_and(|fingerprint| fingerprint != ticket.fingerprint)
        {
            let why = "the server's certificate is not the one that the ticket names".to_owned();
            self.finish(now, Outcome::Refused { why });
            return Ok(());
        }
        self.take_candidates(now, &description.candidates);
        self.agent.set_remote_credentials(now, credentials);
        Ok(())
    }

    /// The list is whole: what it no longer holds is gone.
    pub(super) fn take_candidates(&mut self, now: Instant, candidates: &[DescribedCandidate]) {
        let new: BTreeMap<SocketAddr, RemoteCandidate> =
            candidates.iter().map(|candidate| (candidate.address, candidate.to_remote())).collect();
        let gone: Vec<_> =
            self.remote_candidates.keys().filter(|address| !new.contains_key(address)).copied().collect();
        for address in gone {
            self.agent.remove_remote_candidate(now, address);
        }
        for candidate in new.values() {
            if self.remote_candidates.get(&candidate.address) != Some(candidate) {
                self.agent.add_remote_candidate(now, candidate.clone());
            }
        }
        self.remote_candidates = new;
    }

    /// Why a client has no connection, as far as it can tell.
    pub(super) fn why_not_connected(&self, now: Instant) -> Outcome {
        if self.refused.is_some() {
            let why =
                "the server does not know the ticket's secret (it answered 401 to our checks)".to_owned();
            return Outcome::Refused { why };
        }
        let after = self.started.map_or(Duration::ZERO, |started| now.saturating_duration_since(started));
        let why = if self.sockets.bound().next().is_none() {
            "no interface is up with an address".to_owned()
        } else if matches!(self.connection, Connection::Handshaking(_)) {
            "a path was found, but the QUIC handshake did not complete on it".to_owned()
        } else if self.signalling.is_some() && self.remote_candidates.is_empty() {
            "nobody with this ticket's secret came to the rendezvous server".to_owned()
        } else {
            "no check was answered on any path".to_owned()
        };
        Outcome::Unreachable { why: format!("{why} within {:.1} s", after.as_secs_f64()) }
    }

    pub(super) fn on_local_candidate(&mut self, now: Instant, event: Event) {
        self.event(event);
        self.tell_candidates(now);
    }
}

/// An address that the ticket lists: a host candidate of whose interface nothing is known.
fn listed(address: SocketAddr) -> RemoteCandidate {
    RemoteCandidate {
        kind: ice::CandidateKind::Host,
        address,
        priority: ice::priority(ice::CandidateKind::Host, u16::MAX),
        foundation: format!("ticket-{}", address.ip()),
        interface: None,
    }
}
