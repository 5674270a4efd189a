//! A multi-path ICE agent (RFC 8445) without I/O, clock or random numbers of its own.
//!
//! An ordinary agent looks for one pair and stops. This one keeps *every* pair alive that works, over all
//! interfaces and both address families, tells within a few hundred milliseconds when one no longer does,
//! and goes on probing it. Which of them carries data is for the user to decide.
//!
//! # The driving loop
//!
//! The driver owns sockets and time. It hands in what happened and the time, then takes out what is to be
//! done:
//!
//! ```
//! use ice::{Agent, Config, Credentials, Event, PairState, Role, SocketId, SocketInfo};
//! use std::time::Instant;
//!
//! # #[expect(clippy::disallowed_methods, reason = "an example of a driver")]
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let read_socket = || None::<(std::net::SocketAddr, Vec<u8>)>;
//! # let (send, sleep_until, signal) = (|_| {}, |_: Option<Instant>| {}, |_| {});
//! let local = Credentials::new("Ufrag123", "a password of ICE chars".replace(' ', "+").as_str())?;
//! let mut agent = Agent::new(Config::new(Role::Controlling, local, 7));
//! let wlan0 = SocketInfo { interface: "wlan0".into(), local: "192.0.2.1:5000".parse()?, preference: 65_535 };
//! agent.add_socket(Instant::now(), SocketId(0), wlan0);
//! agent.start(Instant::now());
//! // When the other agent's signal comes: set_remote_credentials, then add_remote_candidate for each.
//! loop {
//!     while let Some(transmit) = agent.poll_transmit() {
//!         send(transmit); // from transmit.socket; on an error: agent.send_failed(..)
//!     }
//!     while let Some(event) = agent.poll_event() {
//!         match event {
//!             Event::LocalCandidate(candidate) => signal(candidate),
//!             Event::Pair { id, state: PairState::Up, .. } => println!("{id} can carry data"),
//!             Event::Pair { id, state: PairState::Suspect | PairState::Down, .. } => println!("{id} cannot"),
//!             _ => {} // record them all
//!         }
//!     }
//!     sleep_until(agent.poll_timeout()); // or until a datagram arrives or an interface changes
//!     if let Some((from, datagram)) = read_socket() {
//!         let _ = agent.handle_datagram(Instant::now(), SocketId(0), from, &datagram); // count rejections
//!     }
//!     agent.handle_timeout(Instant::now());
//! #   break Ok(());
//! }
//! # }
//! ```
//!
//! A pair is named by its socket and the remote address: two interfaces may have the same address, or reach
//! the same peer. Sockets, servers and candidates may come and go at any time.
//!
//! # Relays and disguise
//!
//! A pair over one of our relays names the relay's own [`SocketId`]: give [`Agent::wrap`] what is to be sent on it, and
//! take what arrives over it from [`Agent::poll_received`] after every datagram. If disguises are worn, ask
//! [`Agent::may_be_disguised`] before giving a datagram to another protocol; [`Agent::handle_datagram`] says
//! [`Rejected::NotStun`] when it was none of ours after all.
//!
//! # Where to find what
//!
//! | what | by | module |
//! |---|---|---|
//! | candidates, priorities, foundations, scopes | RFC 8445 section 5.1 | `candidate` |
//! | server-reflexive gathering and its keep-alive | 5.1.1.2, 5.1.1.4 | `gather` |
//! | relayed candidates: allocations, permissions, channels | 5.1.1.2, RFC 8656 | `relay` |
//! | relays as WhatsApp has them | notes and captures | `relay`, [`stun::whatsapp`] |
//! | forming, pruning and limiting pairs; trickle | 6.1.2, RFC 8838 | `forming` |
//! | check list, frozen and waiting, whose turn it is | 6.1.2.6, 6.1.4 | `checklist`, `checks` |
//! | triggered-check queue | 6.1.4.1, 7.3.1.4 | `checklist`, `receive` |
//! | the Binding request of a check | 7.1 | `checks` |
//! | responses: symmetry, validity, unfreezing, peer-reflexive candidates | 7.2.5 | `receive` |
//! | requests: role conflicts, peer-reflexive candidates, USE-CANDIDATE | 7.3 | `receive` |
//! | nomination, aggressive nomination, renomination | 8.1.1, RFC 5245 8.1.1.2 | `agent`, `receive` |
//! | restarts that take nothing away | 9 | `session` |
//! | state of the check list, patience, end of candidates | 6.1.2.1, RFC 8863, RFC 8838 | `progress` |
//! | consent | RFC 7675 | `consent` |
//! | Ta and RTO | 14.2, 14.3 | `checks` |
//! | retransmission, transaction ids | RFC 8489 sections 5, 6.2.1 | `transaction` |
//! | message format, short- and long-term credentials | RFC 8489 sections 5, 9, 14 | [`stun`], [`stun::turn`] |
//! | path policy, its presets, rules while running | | [`policy`], `policing`, `rules` |
//! | the disguise ladder | | [`disguise`] |
//! | what an interface is behind: NAT behaviour | RFC 4787, RFC 5780 | [`behaviour`] |
//! | what the networks between two ends block (feature `blocking`) | RFC 9001 for one variant | `blocking` |
//! | a server for agents (feature `server`) | RFC 8489, 5780, 8656 | `server` |
//! | up, suspect, down | RFC 6298 for the estimate | `liveness` |
//!
//! # Where it departs from RFC 8445, and why
//!
//! * Valid pairs are never given up for a nominated one (section 8.1.2): the others are the reserve.
//! * A failed pair is tried again after a while: paths appear later here, when an interface returns.
//! * A frozen pair is checked when nothing else is waiting, even while one of its foundation is being
//!   checked: no unfinished pair holds a usable one back.
//! * Liveness checks of valid pairs are not counted by Ta; they have their own spacing. Nor is what answers a relay (an
//!   allocation again, with the credentials that it asked for) or keeps what it gave (refreshes, permissions, channels):
//!   the first are one round trip of three to a relayed candidate, and the rest is seldom.
//! * After four triggered checks in a row something else has its turn, and of one address few unknown ports are
//!   taken at once: there are NATs that make triggered checks beget each other.
//! * The controlling agent may nominate again (section 8.1.1), with a count that says which holds.
//! * After consent expired a pair is probed on, with the same credentials (RFC 7675 section 5.1 would have new
//!   ones): a check is no data, and a path that returns is the point here.
//!
//! The policy [`Policy::rfc8445`] takes the first, the second and the last of these back.
//!
//! Left out: being a lite agent, more than one component, and anything about what the paths are used for.

mod agent;
pub mod behaviour;
#[cfg(feature = "blocking")]
pub mod blocking;
mod candidate;
mod checklist;
mod checks;
mod config;
mod consent;
pub mod disguise;
mod event;
mod forming;
mod gather;
mod liveness;
mod pair;
mod policing;
pub mod policy;
mod progress;
mod receive;
mod relay;
mod rules;
#[cfg(feature = "server")]
pub mod server;
mod session;
mod strangers;
pub mod stun;
mod transaction;

pub use agent::Agent;
pub use candidate::{
    CandidateKind, LocalCandidate, RemoteCandidate, SocketId, SocketInfo, local_preference, priority,
};
pub use config::{Config, Credentials, CredentialsError, Role, Timing};
pub use disguise::Rung;
pub use event::{CheckError, CheckListState, CheckPurpose, Event, Rejected, StopReason, Transmit};
pub use pair::{PairId, PairState, PairView};
pub use policy::Policy;
pub use relay::{Call, Received, RelayNews, RelayServer};
pub use rules::{Rule, Target};
pub use transaction::spread_seed;
