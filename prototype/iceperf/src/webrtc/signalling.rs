//! How two webrtc-ice agents learn each other's credentials and candidates: over rendezvous servers, in a session of
//! their own. Where there is none, because the peers share a network, the server's process is one.
//!
//! As an application's connection to its signalling server would, messages leave by whatever route the kernel prefers.

use super::Meeting;
use crate::{
    failure::Failure,
    rendezvous::{INSIDE_ADDRESS, Rendezvous},
    service::{self, Service as _},
    udp::{Binding, Opened, Outgoing, Ready, Sockets},
};
use peer::{
    Secret, Side,
    rendezvous::{Client, Description},
};
use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

/// The other end may need what was told last, before it is connected too.
const CALM_AFTER: Duration = Duration::from_secs(2);

/// One end's signalling.
pub(super) struct Signalling {
    client: Client,
    channel: Channel,
    /// Told and asked no more from then on.
    calm_at: Option<Instant>,
    dropped: u64,
}

enum Channel {
    Outside(Sockets),
    Inside(Box<Rendezvous>),
}

impl Signalling {
    /// Binds its sockets. Needs the runtime.
    pub(super) fn open(
        secret: &Secret,
        side: Side,
        meeting: &Meeting,
        first: Description,
    ) -> Result<Self, Failure> {
        let (servers, channel) = match meeting {
            Meeting::At(servers) => (servers.clone(), Channel::Outside(sockets(servers)?)),
            Meeting::Here(port) => {
                (vec![INSIDE_ADDRESS], Channel::Inside(Box::new(Rendezvous::at_port(*port)?)))
            }
        };
        let client = Client::new(secret.derived("webrtc-ice"), side, servers, first);
        Ok(Self { client, channel, calm_at: None, dropped: 0 })
    }

    /// Where clients find the server that is in this process.
    pub(super) fn bound(&self) -> &[SocketAddr] {
        match &self.channel {
            Channel::Outside(_) => &[],
            Channel::Inside(rendezvous) => rendezvous.bound(),
        }
    }

    pub(super) fn resume(&mut self, now: Instant) {
        self.calm_at = None;
        self.client.resume(now);
    }

    /// A pair works.
    pub(super) fn calm_down(&mut self, now: Instant) {
        self.calm_at.get_or_insert(now + CALM_AFTER);
    }

    pub(super) fn describe(&mut self, now: Instant, description: Description) {
        self.client.describe(now, description);
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.client.deadline()
    }

    /// Waits until something can be received. Cancelling loses nothing.
    pub(super) async fn ready(&mut self) -> Vec<Ready> {
        match &mut self.channel {
            Channel::Outside(sockets) => sockets.ready().await,
            Channel::Inside(rendezvous) => rendezvous.sockets().ready().await,
        }
    }

    /// Sends what is due; what the other end says may come back at once.
    pub(super) fn send(&mut self, now: Instant) -> Vec<Description> {
        if self.calm_at.is_some_and(|at| at <= now) {
            self.client.stay(now);
        }
        let Some(message) = self.client.poll(now) else { return vec![] };
        match &mut self.channel {
            Channel::Inside(rendezvous) => rendezvous.tell(now, &message),
            Channel::Outside(sockets) => {
                for server in self.client.servers() {
                    let (to, bytes) = (*server, message.clone());
                    let outgoing = Outgoing { to, ecn: None, segment_size: None, source: None, bytes };
                    if let Err(error) = sockets.send(family(*server), outgoing) {
                        tracing::debug!(%to, %error, "not sent");
                    }
                }
            }
        }
        self.take(now, vec![])
    }

    /// Reads what is there.
    pub(super) fn receive(&mut self, now: Instant, ready: Vec<Ready>) -> Vec<Description> {
        let mut messages = vec![];
        for ready in ready {
            match (&mut self.channel, ready) {
                (Channel::Inside(rendezvous), ready) => service::serve(rendezvous.as_mut(), now, ready),
                (Channel::Outside(sockets), Ready::Read(id)) => {
                    let received = sockets
                        .receive(id, |datagram| messages.push((datagram.from, datagram.bytes.to_vec())));
                    if let Err(error) = received {
                        tracing::debug!(%error, "receiving failed");
                    }
                }
                (Channel::Outside(sockets), Ready::Write(id)) => drop(sockets.flush(id)),
            }
        }
        self.take(now, messages)
    }

    fn take(&mut self, now: Instant, mut messages: Vec<(SocketAddr, Vec<u8>)>) -> Vec<Description> {
        if let Channel::Inside(rendezvous) = &mut self.channel {
            messages.extend(rendezvous.heard().into_iter().map(|message| (INSIDE_ADDRESS, message)));
        }
        let mut descriptions = vec![];
        for (from, message) in messages {
            match self.client.handle(now, from, &message) {
                Ok(description) => descriptions.extend(description),
                Err(why) => {
                    self.dropped += 1;
                    tracing::debug!(%from, ?why, total = self.dropped, "no message for us");
                }
            }
        }
        descriptions
    }
}

/// The number of the socket for servers of this family.
fn family(server: SocketAddr) -> u32 {
    u32::from(server.is_ipv6())
}

/// One for each family that is needed. It may be missing on this host, or come later.
fn sockets(servers: &[SocketAddr]) -> Result<Sockets, Failure> {
    let mut sockets = Sockets::new();
    let all: [SocketAddr; 2] = [(Ipv4Addr::UNSPECIFIED, 0).into(), (Ipv6Addr::UNSPECIFIED, 0).into()];
    let needed = |local: &SocketAddr| servers.iter().any(|server| server.is_ipv4() == local.is_ipv4());
    let mut open = false;
    for local in all.into_iter().filter(needed) {
        match sockets.open(Instant::now(), family(local), Binding { interface: None, local }) {
            Ok(Opened::Bound(_)) => open = true,
            Ok(Opened::Later) => {}
            Err(error) => tracing::warn!("{error}"),
        }
    }
    if open { Ok(sockets) } else { Err(Failure::machine("no socket to signal over")) }
}
