//! How the peers learn each other's candidates: from the ticket, over rendezvous servers, and inside the connection.

use super::{CallRelays, Connection, Outcome, Peer, Role, Transmit};
use crate::{
    Event, Side,
    control::Frame,
    engine::Link,
    rendezvous::{self, DescribedCandidate, Description, Dropped, Version},
};
use ice::{Call, Credentials, RemoteCandidate};
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

/// What the other peer tells of itself, on whichever channel.
pub(super) struct Told<'a> {
    pub(super) version: Version,
    pub(super) session: u32,
    pub(super) complete: bool,
    pub(super) candidates: &'a [DescribedCandidate],
}

impl Peer {
    pub(super) fn new_signalling(&mut self, servers: Vec<SocketAddr>) -> rendezvous::Client {
        rendezvous::Client::new(self.secret.clone(), self.side, servers, self.description())
    }

    pub(super) fn begin_signalling(&mut self, now: Instant) {
        self.add_listed_candidates(now);
        // Both derive them from the ticket's secret, so that checks are answered before any signalling arrives. After
        // the candidates, because checks begin with the credentials.
        self.agent.set_remote_credentials(now, self.secret.ice_credentials(self.side.other(), 0));
        for server in self.config.stun.clone() {
            self.agent.add_stun_server(now, server);
        }
        for server in self.config.relays.clone() {
            self.agent.add_relay_server(now, server);
        }
        self.join_call(now);
        if let Some(signalling) = &mut self.signalling {
            for server in signalling.servers().to_vec() {
                self.agent.add_stun_server(now, server);
            }
            signalling.resume(now);
        }
    }

    /// Of the ticket.
    pub(super) fn add_listed_candidates(&mut self, now: Instant) {
        if let Role::Client { ticket } = &self.config.role {
            for address in ticket.addresses.clone() {
                self.agent.add_remote_candidate(now, listed(address));
            }
        }
    }

    fn join_call(&mut self, now: Instant) {
        let Some(CallRelays { addresses, password }) = self.config.call_relays.clone() else { return };
        self.agent.join_call(now, &Call { id: self.secret.relayed_call(), password });
        addresses.into_iter().for_each(|address| self.agent.add_call_relay(now, address));
    }

    pub(super) fn description(&self) -> Description {
        let credentials = self.secret.ice_credentials(self.side, self.session.number);
        let fingerprint = match &self.config.role {
            Role::Client { .. } => None,
            Role::Server { identity, .. } => Some(identity.fingerprint().0),
        };
        Description {
            ufrag: credentials.ufrag().to_owned(),
            pwd: credentials.pwd().to_owned(),
            fingerprint,
            version: self.told_version,
            session: self.session.number,
            complete: self.agent.is_gathering_complete(),
            candidates: self.told_candidates.clone(),
            probe: None,
            probing: self.is_to_probe(),
        }
    }

    /// The best candidates that the policy lets be told, as many as fit into a message; among them always some that are
    /// relayed, although these are the worst: they may be the only ones that lead anywhere.
    fn described_candidates(&self) -> Vec<DescribedCandidate> {
        const RELAYED: usize = 6;
        // RFC 8445 section 5.1.1.1: no loopback addresses. A peer on this host has them from its ticket alone.
        let leaves = |candidate: &&ice::LocalCandidate| !candidate.address.ip().is_loopback();
        let mut candidates: Vec<_> = self.agent.told_candidates().filter(leaves).collect();
        candidates.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
        let (mut relayed, mut direct): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| candidate.kind == ice::CandidateKind::Relay);
        direct.truncate(rendezvous::MAX_CANDIDATES - relayed.len().min(RELAYED));
        relayed.truncate(rendezvous::MAX_CANDIDATES - direct.len());
        direct.into_iter().chain(relayed).map(DescribedCandidate::new).collect()
    }

    /// Our candidates may have changed: if so, the other peer is told wherever it can hear it.
    pub(super) fn tell_candidates(&mut self, now: Instant) {
        let candidates = self.described_candidates();
        if candidates == self.told_candidates {
            return;
        }
        self.told_candidates = candidates;
        self.tell_candidates_again(now);
    }

    pub(super) fn tell_candidates_again(&mut self, now: Instant) {
        self.told_version.number += 1;
        self.tell_candidates_inside();
        let description = self.description();
        if let Some(signalling) = &mut self.signalling {
            signalling.describe(now, description);
        }
    }

    pub(super) fn tell_candidates_inside(&mut self) {
        if self.is_open() {
            let Description { version, session, complete, candidates, .. } = self.description();
            self.send_frame(&Frame::Candidates { version, session, complete, candidates });
        }
    }

    /// Sends what the rendezvous client has due, over every socket of the server's family.
    pub(super) fn signal(&mut self, now: Instant) {
        if self.started.is_none() || self.done {
            return;
        }
        let needed = self.needs_rendezvous() || self.is_restarting();
        let Some(signalling) = &mut self.signalling else { return };
        if needed {
            signalling.resume(now);
        } else {
            // The other end may lose the last path first, and nothing else could tell us what it does about it.
            signalling.stay(now);
        }
        let servers = signalling.servers().to_vec();
        let messages = [signalling.poll(now), self.poll_probe_signalling(now)];
        messages.into_iter().flatten().for_each(|message| self.send_to_rendezvous(&servers, &message));
    }

    fn send_to_rendezvous(&mut self, servers: &[SocketAddr], message: &[u8]) {
        let sockets: Vec<_> = self.sockets.bound().collect();
        for server in servers.iter().copied() {
            let leads_there = |local: &SocketAddr| {
                local.is_ipv4() == server.is_ipv4() && local.ip().is_loopback() == server.ip().is_loopback()
            };
            for (socket, _) in sockets.iter().filter(|(_, local)| leads_there(local)) {
                let (socket, bytes) = (*socket, message.to_vec());
                self.put_out(Transmit { socket, to: server, ecn: None, segment_size: None, bytes });
            }
        }
    }

    /// Candidates travel inside the connection while there is one with a path that works.
    fn needs_rendezvous(&self) -> bool {
        !self.is_open() || !self.paths.is_connected() || self.is_probing()
    }

    pub(super) fn handle_signalling(
        &mut self,
        now: Instant,
        Link { socket, remote: from }: Link,
        datagram: &[u8],
    ) -> Result<(), &'static str> {
        if self.take_probe_signalling(now, socket, from, datagram) {
            return Ok(());
        }
        let needed = self.needs_rendezvous();
        let signalling = self.signalling.as_mut().ok_or("no-rendezvous")?;
        let description = signalling.handle(now, from, datagram).map_err(|dropped| match dropped {
            Dropped::UnexpectedSource => "unexpected-source",
            Dropped::Malformed => "malformed",
            Dropped::BadSeal => "bad-seal",
        })?;
        self.probe_hears_server(socket);
        let Some(description) = description else { return Ok(()) };
        // A second holder of the ticket must not disturb the call that is there.
        let known = self.newest_taken.is_some_and(|taken| taken.instance == description.version.instance);
        if needed || known { self.take_description(now, description) } else { Ok(()) }
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
        let taken = self.newest_taken.map(|taken| taken.instance);
        if self.is_open() && taken.is_some_and(|instance| instance != description.version.instance) {
            return Err("another-instance");
        }
        let told = Told {
            version: description.version,
            session: description.session,
            complete: description.complete,
            candidates: &description.candidates,
        };
        let is_of_session = self.take_candidates(now, told);
        if description.probing && self.side == Side::Server {
            self.open_probe_signalling(now);
        }
        if is_of_session {
            self.agent.set_remote_credentials(now, credentials);
        }
        Ok(())
    }

    /// The list is whole: what it no longer holds is gone. It may have been under way for long, on either channel. False
    /// when it is of a session that is over.
    pub(super) fn take_candidates(&mut self, now: Instant, told: Told<'_>) -> bool {
        let Told { version, session, complete, candidates } = told;
        if !self.follow_session(now, session) {
            return false;
        }
        if !version.is_news_after(self.newest_taken) {
            return true;
        }
        self.newest_taken = Some(version);
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
        if complete {
            self.agent.remote_candidates_complete(now);
        }
        true
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
            "a path was found, but no QUIC handshake completed on it (does the server serve another client?)"
                .to_owned()
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
