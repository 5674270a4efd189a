//! What can go wrong with a lab.

use crate::{capture::CaptureError, datapath::DatapathError, netlink::NetlinkError};
use std::{io, path::PathBuf};
use thiserror::Error;

/// A lab could not be built or changed.
#[derive(Debug, Error)]
pub enum LabError {
    /// A host and a server have one name.
    #[error("a host and a server are both called `{0}`")]
    NameTaken(String),
    /// Two interfaces of a host have one metric: which one is used would be chance.
    #[error("two interfaces of `{host}` have metric {metric}: each needs its own")]
    SameMetric {
        /// The host.
        host: String,
        /// The metric.
        metric: u32,
    },
    /// A metric for an interface that does not exist, or a change of one.
    #[error("there is no interface `{host}.{interface}`")]
    UnknownInterface {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
    },
    /// Something shall happen on a host that does not exist.
    #[error("there is no host or server `{0}`")]
    UnknownHost(String),
    /// Something shall happen to a network that does not exist.
    #[error("there is no network `{0}`")]
    UnknownNetwork(String),
    /// A NAT shall forget its mappings, and there is none.
    #[error("network `{0}` has no NAT")]
    NoNat(String),
    /// A host shall share what it has not.
    #[error(
        "`{host}` has no interface beside `{interface}` that can be reached, so there is nothing to share"
    )]
    NoUplink {
        /// The host.
        host: String,
        /// The interface of the hotspot.
        interface: String,
    },
    /// A server shall get another address.
    #[error("`{0}` is a server: its addresses never change")]
    ServerAddress(String),
    /// A namespace could not be made or prepared.
    #[error("cannot make the network namespace of `{host}`: {source}")]
    Namespace {
        /// The host.
        host: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// A TUN device could not be made.
    #[error("cannot make the TUN device `{host}.{interface}`: {source}")]
    Tun {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel refused a request.
    #[error("`{host}.{interface}`: {source}")]
    Netlink {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
        /// Which request, and why.
        source: NetlinkError,
    },
    /// The carrier could not be changed.
    #[error("cannot change the carrier of `{host}.{interface}`: {source}")]
    Carrier {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
        /// What the kernel says.
        source: io::Error,
    },
    /// The kernel accepted a change and then told another state.
    #[error("`{host}.{interface}` is not as it was set: {found}")]
    NotApplied {
        /// The host.
        host: String,
        /// The interface.
        interface: String,
        /// What the kernel tells.
        found: String,
    },
    /// A child could not be started.
    #[error("cannot start {program} on `{host}`: {source}", program = .program.display())]
    Spawn {
        /// The host.
        host: String,
        /// The program.
        program: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The thread that starts children could not be started.
    #[error("cannot start the thread that starts children: {0}")]
    Spawner(io::Error),
    /// A capture could not be written. No packet passes since then.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The thread that carries packets failed.
    #[error(transparent)]
    Datapath(#[from] DatapathError),
}
