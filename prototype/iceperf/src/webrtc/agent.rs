//! webrtc-ice behind two channels: orders in, news out. Its tasks run on the program's one thread.
//!
//! What it is given is what a program that uses it would give it. What cannot be given: a socket per device (it binds
//! addresses, and asks STUN servers from the wildcard address), checks on any pair but the selected one, another
//! selection than by a restart, and a new look at the interfaces after the start.

use super::Credentials;
use peer::{CandidateKind, RelayServer, RemoteCandidate, Side};
use std::{
    collections::BTreeSet,
    future::pending,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::sync::mpsc;
use webrtc_ice::{
    agent::{Agent, agent_config::AgentConfig},
    candidate::{Candidate, CandidatePairState, CandidateType, candidate_base::unmarshal_candidate},
    mdns::MulticastDnsMode,
    network_type::NetworkType,
    state::ConnectionState,
    url::{ProtoType, SchemeType, Url},
};
use webrtc_util::Conn;

/// libwebrtc's receiving timeout: nothing was heard on the selected pair for this long.
const DISCONNECTED_AFTER: Duration = Duration::from_millis(2500);
/// ... and this much later the pair has failed: after libwebrtc's write timeout of 15 s in all. webrtc-ice's own
/// defaults are 5 s and another 25 s.
const FAILED_AFTER: Duration = Duration::from_millis(12_500);
/// Datagrams on their way to or from the connection; what is more is dropped, as a full queue of the kernel's would.
const QUEUE: usize = 256;
/// What webrtc-ice reads at once; longer datagrams are cut by it.
const LONGEST: usize = 8192;
/// Sending to the kernel takes microseconds; without a pair it may take for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// webrtc-ice refuses to restart while it gathers, for 5 s at most.
const RETRY_RESTART: Duration = Duration::from_millis(50);

/// What an agent needs from the start.
#[derive(Debug)]
pub(super) struct Start {
    /// The QUIC client is the controlling agent.
    pub(super) side: Side,
    pub(super) credentials: Credentials,
    /// Asked for server-reflexive candidates.
    pub(super) stun: Vec<SocketAddr>,
    /// Asked for relayed candidates.
    pub(super) relays: Vec<RelayServer>,
    /// Whose addresses become host candidates.
    pub(super) interfaces: BTreeSet<String>,
}

/// What an agent is to do.
#[derive(Debug)]
pub(super) enum Order {
    /// The other end's credentials; the first ones begin the checks.
    Remote(Credentials),
    /// A candidate of the other end.
    Candidate(RemoteCandidate),
    /// Forget everything, gather again (RFC 8445 section 9).
    Restart(Credentials),
}

/// What an agent tells.
#[derive(Debug)]
pub(super) enum News {
    /// A candidate of its own.
    Candidate(Found),
    /// It has forgotten everything; candidates from here on are new.
    Restarted,
    /// Its connection state changed.
    State(State),
    /// It has selected a pair.
    Selected(Pair),
    /// A datagram for the peer, as it travelled.
    Datagram(Vec<u8>),
    /// It cannot go on.
    Broken(String),
}

/// A state, and what was known with it.
#[derive(Debug)]
pub(super) struct State {
    pub(super) state: ConnectionState,
    /// The selected pair.
    pub(super) pair: Option<Pair>,
    /// Pairs in the check list.
    pub(super) pairs: usize,
    /// Those of them that a check was ever answered on.
    pub(super) answered: usize,
}

/// One end of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) kind: CandidateKind,
    pub(super) address: SocketAddr,
    /// What its socket is bound to; none for the other end's.
    pub(super) base: Option<SocketAddr>,
    pub(super) priority: u32,
    pub(super) foundation: String,
}

/// A candidate pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) local: Found,
    pub(super) remote: Found,
}

/// A running agent.
#[derive(Debug)]
pub(super) struct Handle {
    orders: mpsc::UnboundedSender<Order>,
    news: mpsc::UnboundedReceiver<News>,
    payload: Option<mpsc::Sender<Vec<u8>>>,
    arrived: mpsc::Receiver<Vec<u8>>,
    /// Closed once everything is sent.
    all_sent: mpsc::Receiver<()>,
}

impl Handle {
    /// Begins to gather. Needs the runtime, with its timers.
    pub(super) fn start(start: Start) -> Self {
        let (orders, taken) = mpsc::unbounded_channel();
        let (tell, news) = mpsc::unbounded_channel();
        let (payload, to_send) = mpsc::channel(QUEUE);
        let (received, arrived) = mpsc::channel(QUEUE);
        let (sending, all_sent) = mpsc::channel(1);
        let line = Line { to_send, received, sending };
        tokio::spawn(async move {
            if let Err(error) = run(start, taken, &tell, line).await {
                let _ = tell.send(News::Broken(error.to_string()));
            }
        });
        Self { orders, news, payload: Some(payload), arrived, all_sent }
    }

    /// To be carried out in its turn; an agent that has ended does nothing any more.
    pub(super) fn order(&self, order: Order) {
        let _ = self.orders.send(order);
    }

    /// A datagram over the selected pair; dropped while there is none or too much is under way.
    pub(super) fn send(&self, datagram: Vec<u8>) {
        if self.payload.as_ref().is_some_and(|payload| payload.try_send(datagram).is_err()) {
            tracing::debug!("webrtc-ice does not take it: dropped");
        }
    }

    /// Waits, though not for long, until what is on its way is sent; nothing is after that.
    pub(super) async fn finish(&mut self) {
        self.payload = None;
        if tokio::time::timeout(LAST_WORDS, self.all_sent.recv()).await.is_err() {
            tracing::debug!("webrtc-ice did not send the last datagrams");
        }
    }

    /// Waits for news. Cancelling loses nothing.
    pub(super) async fn next(&mut self) -> News {
        let news = tokio::select! {
            biased;
            Some(news) = self.news.recv() => Some(news),
            Some(datagram) = self.arrived.recv() => Some(News::Datagram(datagram)),
            else => None,
        };
        match news {
            Some(news) => news,
            // It has told why.
            None => pending().await,
        }
    }
}

/// The driver's end of the connection.
struct Line {
    to_send: mpsc::Receiver<Vec<u8>>,
    received: mpsc::Sender<Vec<u8>>,
    /// Dropped when nothing more can be sent.
    sending: mpsc::Sender<()>,
}

async fn run(
    start: Start,
    mut orders: mpsc::UnboundedReceiver<Order>,
    tell: &mpsc::UnboundedSender<News>,
    line: Line,
) -> Result<(), webrtc_ice::Error> {
    let side = start.side;
    let agent = Arc::new(Agent::new(config(start)).await?);
    listen(&agent, tell);
    agent.gather_candidates()?;
    let mut line = Some(line);
    while let Some(order) = orders.recv().await {
        match order {
            Order::Remote(Credentials { ufrag, pwd }) => match line.take() {
                Some(line) => {
                    let (agent, tell) = (Arc::clone(&agent), tell.clone());
                    tokio::spawn(async move {
                        if let Err(error) = connect(agent, side, ufrag, pwd, line).await {
                            let _ = tell.send(News::Broken(error.to_string()));
                        }
                    });
                }
                None => agent.set_remote_credentials(ufrag, pwd).await?,
            },
            Order::Candidate(candidate) => match unmarshal_candidate(&line_of(&candidate)) {
                Ok(candidate) => {
                    let candidate: Arc<dyn Candidate + Send + Sync> = Arc::new(candidate);
                    agent.add_remote_candidate(&candidate)?;
                }
                Err(error) => tracing::debug!(%error, "webrtc-ice does not take a candidate"),
            },
            Order::Restart(Credentials { ufrag, pwd }) => {
                while let Err(error) = agent.restart(ufrag.clone(), pwd.clone()).await {
                    if error != webrtc_ice::Error::ErrRestartWhenGathering {
                        return Err(error);
                    }
                    tokio::time::sleep(RETRY_RESTART).await;
                }
                let _ = tell.send(News::Restarted);
                agent.gather_candidates()?;
            }
        }
    }
    Ok(())
}

fn config(start: Start) -> AgentConfig {
    let Start { side, credentials, stun, relays, interfaces } = start;
    // Without a scope nothing can be bound to them, and the other end could not use them.
    let usable = |ip: IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
    AgentConfig {
        urls: stun.into_iter().map(url).chain(relays.into_iter().map(relay_url)).collect(),
        local_ufrag: credentials.ufrag,
        local_pwd: credentials.pwd,
        multicast_dns_mode: MulticastDnsMode::Disabled,
        disconnected_timeout: Some(DISCONNECTED_AFTER),
        failed_timeout: Some(FAILED_AFTER),
        network_types: vec![NetworkType::Udp4, NetworkType::Udp6],
        is_controlling: side == Side::Client,
        interface_filter: Arc::new(Some(Box::new(move |name| interfaces.contains(name)))),
        ip_filter: Arc::new(Some(Box::new(usable))),
        ..AgentConfig::default()
    }
}

fn url(server: SocketAddr) -> Url {
    // It joins host and port with a colon, whatever the host.
    let host = match server.ip() {
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    Url { scheme: SchemeType::Stun, host, port: server.port(), proto: ProtoType::Udp, ..Url::default() }
}

fn relay_url(relay: RelayServer) -> Url {
    let RelayServer { address, username, password } = relay;
    Url { scheme: SchemeType::Turn, username, password, ..url(address) }
}

/// Passes on what its callbacks tell. They run on tasks of their own: a state that comes with a new pair may be told
/// before the pair, so it brings the pair along.
fn listen(agent: &Arc<Agent>, tell: &mpsc::UnboundedSender<News>) {
    let news = tell.clone();
    agent.on_candidate(Box::new(move |candidate| {
        if let Some(candidate) = candidate {
            let _ = news.send(News::Candidate(found(&candidate)));
        }
        Box::pin(async {})
    }));
    let news = tell.clone();
    agent.on_selected_candidate_pair_change(Box::new(move |local, remote| {
        let _ = news.send(News::Selected(Pair { local: found(local), remote: found(remote) }));
        Box::pin(async {})
    }));
    // Weak: the agent holds this.
    let (news, weak) = (tell.clone(), Arc::downgrade(agent));
    agent.on_connection_state_change(Box::new(move |state| {
        let (news, weak) = (news.clone(), weak.clone());
        Box::pin(async move {
            let Some(agent) = weak.upgrade() else { return };
            let pair = agent.get_selected_candidate_pair();
            let pair = pair.map(|pair| Pair { local: found(&pair.local), remote: found(&pair.remote) });
            let pairs = agent.get_candidate_pairs_stats().await;
            let answered = pairs.iter().filter(|pair| pair.state == CandidatePairState::Succeeded).count();
            let _ = news.send(News::State(State { state, pair, pairs: pairs.len(), answered }));
        })
    }));
}

fn found(candidate: &Arc<dyn Candidate + Send + Sync>) -> Found {
    Found {
        kind: match candidate.candidate_type() {
            CandidateType::ServerReflexive => CandidateKind::Srflx,
            CandidateType::PeerReflexive => CandidateKind::Prflx,
            CandidateType::Relay => CandidateKind::Relay,
            CandidateType::Host | CandidateType::Unspecified => CandidateKind::Host,
        },
        address: candidate.addr(),
        base: candidate.get_conn().and_then(|conn| conn.local_addr().ok()),
        priority: candidate.priority(),
        foundation: candidate.foundation(),
    }
}

/// As RFC 8839 section 5.1 writes it, which is what webrtc-ice reads.
fn line_of(candidate: &RemoteCandidate) -> String {
    let RemoteCandidate { kind, address, priority, foundation, .. } = candidate;
    let kind = match kind {
        CandidateKind::Host => "host",
        CandidateKind::Srflx => "srflx",
        CandidateKind::Prflx => "prflx",
        CandidateKind::Relay => "relay",
    };
    // 1*32ice-char: nothing that could be taken for another field.
    let foundation: String = foundation.chars().filter(char::is_ascii_alphanumeric).take(32).collect();
    let foundation = if foundation.is_empty() { "0".to_owned() } else { foundation };
    format!("{foundation} 1 udp {priority} {} {} typ {kind}", address.ip(), address.port())
}

async fn connect(
    agent: Arc<Agent>,
    side: Side,
    ufrag: String,
    pwd: String,
    line: Line,
) -> Result<(), webrtc_ice::Error> {
    // Closing it would cancel the waiting.
    let (_open, cancelled) = mpsc::channel(1);
    let conn: Arc<dyn Conn + Send + Sync> = match side {
        Side::Client => agent.dial(cancelled, ufrag, pwd).await?,
        Side::Server => agent.accept(cancelled, ufrag, pwd).await?,
    };
    let Line { mut to_send, received, sending } = line;
    let to_conn = Arc::clone(&conn);
    tokio::spawn(async move {
        while let Some(datagram) = to_send.recv().await {
            if let Err(error) = to_conn.send(&datagram).await {
                tracing::debug!(%error, "webrtc-ice does not send");
            }
        }
        drop(sending);
    });
    let mut buffer = vec![0; LONGEST];
    while let Ok(length) = conn.recv(&mut buffer).await {
        let datagram = buffer.get(..length).unwrap_or_default().to_vec();
        if received.send(datagram).await.is_err() {
            break;
        }
    }
    Ok(())
}

/// Nobody's; where an address is missing.
pub(super) const NOWHERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

#[cfg(test)]
mod tests {
    use super::*;

    fn remote(kind: CandidateKind, address: &str, foundation: &str) -> RemoteCandidate {
        let address = address.parse().unwrap();
        RemoteCandidate { kind, address, priority: 7, foundation: foundation.to_owned(), interface: None }
    }

    #[test]
    fn every_kind_of_candidate_is_taken_as_it_is() {
        for kind in [CandidateKind::Host, CandidateKind::Srflx, CandidateKind::Prflx, CandidateKind::Relay] {
            for address in ["192.0.2.1:9", "[2001:db8::1]:65535"] {
                let candidate = remote(kind, address, "f1");
                let taken: Arc<dyn Candidate + Send + Sync> =
                    Arc::new(unmarshal_candidate(&line_of(&candidate)).unwrap());
                let taken = found(&taken);
                assert_eq!((taken.kind, taken.address), (kind, candidate.address));
                assert_eq!((taken.priority, taken.foundation.as_str(), taken.base), (7, "f1", None));
            }
        }
    }

    #[test]
    fn a_foundation_is_no_way_to_write_other_fields() {
        let candidate = remote(CandidateKind::Host, "192.0.2.1:9", "1 1 udp 1 10.0.0.1 1 typ host ");
        assert!(line_of(&candidate).ends_with(" 1 udp 7 192.0.2.1 9 typ host"));
        let nameless = remote(CandidateKind::Host, "192.0.2.1:9", "\n");
        assert_eq!(line_of(&nameless), "0 1 udp 7 192.0.2.1 9 typ host");
    }

    #[test]
    fn servers_are_named_so_that_they_are_found_again() {
        for text in ["192.0.2.9:3478", "[2001:db8::9]:99"] {
            let server: SocketAddr = text.parse().unwrap();
            let Url { host, port, .. } = url(server);
            assert_eq!(format!("{host}:{port}").parse(), Ok(server));
        }
    }
}
