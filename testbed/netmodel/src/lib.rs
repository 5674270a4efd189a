//! The network of a run, as a pure state machine: raw IP packets and the time in, raw IP packets, events and the next
//! deadline out. The same model carries virtual-time tests and, behind TUN devices, real processes.
//!
//! ```
//! # use netmodel::*;
//! # use std::time::{Duration, Instant};
//! # #[expect(clippy::disallowed_methods, reason = "an example needs an epoch")]
//! # fn epoch() -> Instant { Instant::now() }
//! let home = NetworkSpec::new("home", LinkSpec::with_delay(Duration::from_millis(4)));
//! let host = HostSpec {
//!     name: "laptop".into(),
//!     interfaces: vec![InterfaceSpec { name: "wlan0".into(), network: "home".into() }],
//! };
//! let meet = ServerSpec::new("meet", Duration::from_millis(15));
//! let plan = Plan::new(Topology { networks: vec![home], hosts: vec![host], servers: vec![meet] })?;
//! let (laptop, meet) = (&plan.ports()[0], plan.server("meet").ok_or("no such server")?);
//! let source = (laptop.ipv4.ok_or("no IPv4")?.0, 40_000).into();
//! let destination = (meet.ipv4.ok_or("no IPv4")?.0, 3478).into();
//!
//! let mut network = Network::new(&plan, 7);
//! let start = epoch();
//! network.inject(start, laptop.id, build_udp(source, destination, b"hello")?);
//! while let Some(due) = network.deadline() {
//!     while let Some(output) = network.poll(due) {
//!         if let Output::Deliver { port, packet, due } = output {
//!             assert_eq!(port, meet.id);
//!             assert_eq!(due - start, Duration::from_millis(4 + 15));
//!             assert_eq!(&packet[parse_udp(&packet)?.payload], b"hello");
//!         }
//!     }
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a packet passes
//!
//! ```text
//! host.interface -> up link -+-> the same network? -> down link of the other interface
//!                            +-> NAT (IPv4) or firewall (IPv6) -> blocks -+-> internet
//!                                                                         +-> up link of the border in the network
//!                                                                             that this one is behind, and so on
//! internet -+-> server delay -> server
//!           +-> blocks -> NAT or firewall -+-> down link -> host.interface
//!                                          +-> down link -> border of a network behind this one, and so on
//! ```
//!
//! * **Links** ([`LinkSpec`]): every interface has its own pair of links with its network's figures, and so has every
//!   border that is attached to another network. Everything happens at theoretical times, so a driver that wakes up late
//!   delays one packet and never the next.
//! * **Radios** ([`RadioSpec`]) hold packets back until they can carry them; then the links begin.
//! * **The internet** itself takes no time except for [`NetworkSpec::distances`]: all other delay lies in the links and
//!   before the servers.
//! * **Randomness** is counted: a draw depends on the seed, the link, the direction and how many packets that link has
//!   taken, and on nothing else. The ports that a NAT draws depend on the seed, the NAT and how many it has drawn.
//! * **TTL or hop limit** is decremented by each border passed, in both directions.
//! * **NAT**: see [`NatSpec`], and [`hole_punching`] for who reaches whom. UDP, TCP (with the UDP timers) and
//!   ICMP echo are translated, and ICMP errors about them (RFC 5508). Anything else, fragments included, ends at a NAT or
//!   firewall as [`DropCause::UnsupportedProtocol`].
//! * **Firewall**: lets an inside host's own flows out and their answers in, with the default timers of [`NatSpec`], and
//!   ICMP errors about them. What arrives for a host that has not sent to just that address and port is dropped.
//! * **Multicast and broadcast** by UDP reach the other interfaces of the network and never leave it.
//! * **What may happen** to all this while it runs: see [`Change`].
//! * **What the model answers** by itself: ICMP errors for what is larger than an MTU, for TTLs and hop limits that end,
//!   and for [`BlockAnswer::IcmpProhibited`]. Everything else vanishes in silence; there are no resets. Routers limit how
//!   many errors they send (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4); these do not. Limits
//!   differ from router to router and none was ever observed, while peers send some hundred packets a second at most, so
//!   a limit that somebody made up would only make it a matter of luck which of them is answered.
//!
//! # Limits
//!
//! 254 networks, 253 interfaces in each, 254 servers ([`PlanError`]); 32,768 sessions in each NAT and in each firewall
//! ([`DropCause::NatExhausted`], [`DropCause::Firewall`]); 32,768 packets in flight on each link
//! ([`DropCause::QueueFull`]). Outputs wait until they are polled and are not bounded.
//!
//! # Left out
//!
//! ECN, reassembly, NAT64, TCP's own timers in NATs (RFC 5382), port control protocols, IPv6 neighbour discovery.

mod addresses;
mod border;
mod event;
mod filter;
mod link;
mod nat;
mod network;
mod normal;
mod packet;
mod plan;
mod quantity;
mod radio;
mod sessions;
mod topology;
mod trace;

#[doc = include_str!("../docs/hole-punching.md")]
pub mod hole_punching {}

pub use addresses::Addresses;
pub use event::{
    BlockCount, Direction, DropCause, LinkCounts, LinkState, NetworkEvent, Protocol, RadioCounts,
};
pub use network::{Change, ChangeError, Network, Output};
pub use packet::{PacketError, Udp, build_udp, parse_udp};
pub use plan::{INTERNET, NetworkId, Owner, Plan, PlanError, Port, PortId, SERVER_INTERFACE};
pub use quantity::{BitRate, ByteSize, Probability};
pub use topology::{
    Block, BlockAnswer, BlockDirection, CoDelSpec, Dependence, DrxSpec, GilbertElliott, Hairpinning,
    HostSpec, InterfaceSpec, Ipv6Access, JitterDistribution, LinkSpec, Loss, LossPattern, Mtu, NatKind,
    NatSpec, NetworkSpec, Order, PortAssignment, QueueDiscipline, RadioSpec, Refresh, Reorder, ServerSpec,
    StunMatch, Topology,
};
pub use trace::{Channel, Departure, Fading, Handovers, Outages, Trace, TraceError, TraceProblem};
