//! Runs a [`netmodel::Network`] in real time between real kernels' sockets: every host and server of the plan gets a
//! network namespace, every interface a layer-3 TUN device in it, and one thread carries the packets.
//!
//! ```no_run
//! # use std::{path::Path, sync::mpsc};
//! let plan = netmodel::Plan::new(netmodel::Topology::default())?;
//! let rights = lab::acquire(Path::new("/dev/net/tun"))?; // before the process has a second thread
//! let (sink, events) = mpsc::channel();
//! let spec = lab::LabSpec { plan, seed: 7, metrics: Default::default(), mtu: 1500, captures: Default::default(), capture_limits: None };
//! let lab = lab::Lab::build(rights, spec, sink)?;
//! let went = lab.apply(lab::LabChange::Down { host: "laptop".into(), interface: "wlan0".into() })?;
//! let report = lab.finish()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! What the crate promises:
//!
//! * **Nothing is left behind.** Namespaces have no names, file descriptors hold them; children die with the thread that
//!   spawned them. The end of this process, `kill -9` included, is the end of everything.
//! * **What is reported was done.** Every address, route and state is read back from the kernel; what did not take
//!   effect is an error.
//! * **No privileges needed.** As root it uses network namespaces only; as an ordinary user it first makes itself a user
//!   namespace, in which it may do the same.
//!
//! Left out: what children do, the meaning of events, name resolution, a `/sys` of each namespace's own (a child that
//! looks into `/sys/class/net` sees the interfaces of the machine).

pub mod capture;
mod change;
mod datapath;
mod error;
mod interface;
mod lab;
mod lateness;
mod namespace;
mod netlink;
mod rights;
mod spawner;
mod tun;

pub use change::LabChange;
pub use datapath::DatapathError;
pub use error::LabError;
pub use lab::{Lab, LabEvent, LabReport, LabSpec, LinkReport, LinkSample};
pub use lateness::Lateness;
pub use netlink::NetlinkError;
pub use rights::{Examined, Rights, RightsError, acquire, examine};
pub use spawner::ChildSpec;
pub use std::process::Child;
