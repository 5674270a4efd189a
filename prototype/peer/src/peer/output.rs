//! What a peer wants its driver to do.

use crate::Event;
use ice::SocketId;
use std::net::{IpAddr, SocketAddr};

/// What the driver is to do.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// Bind a UDP socket to this interface and this address; answer with [`Peer::socket_opened`](crate::Peer::socket_opened) or
    /// [`Peer::socket_failed`](crate::Peer::socket_failed).
    OpenSocket {
        /// Its number.
        socket: SocketId,
        /// Kernel name.
        interface: String,
        /// Address.
        local: IpAddr,
        /// 0: any.
        port: u16,
    },
    /// Close it.
    CloseSocket {
        /// Its number.
        socket: SocketId,
    },
    /// Send.
    Transmit(Transmit),
    /// Try three TCP connections one after the other, 2.5 s each, by this interface and address, bound as sockets are;
    /// answer with [`Peer::connection_tried`].
    ///
    /// [`Peer::connection_tried`]: crate::Peer::connection_tried
    Connect {
        /// Of this socket.
        socket: SocketId,
        /// Kernel name.
        interface: String,
        /// Address.
        local: IpAddr,
        /// Where to.
        to: SocketAddr,
    },
    /// Ask the kernel by which interface it would send from this socket; answer with [`Peer::route_found`].
    ///
    /// [`Peer::route_found`]: crate::Peer::route_found
    FindRoute {
        /// Which.
        socket: SocketId,
        /// The interface that it should be.
        interface: String,
        /// Address.
        local: IpAddr,
        /// Where to.
        to: SocketAddr,
    },
    /// Record.
    Event(Event),
    /// A line of the TLS key log (NSS format, without its end), when [`Evidence::key_log`](crate::Evidence::key_log) asks for it.
    KeyLog(String),
    /// More of the engine's log, when [`Evidence::qlog`](crate::Evidence::qlog) asks for it.
    Qlog {
        /// Counts this peer's connections from 0; each has a log of its own.
        connection: u32,
        /// A JSON text sequence (RFC 7464), cut anywhere.
        bytes: Vec<u8>,
    },
    /// The last output.
    Done(Outcome),
}

/// One datagram, or several of one size to one destination.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transmit {
    /// From which socket.
    pub socket: SocketId,
    /// Where to.
    pub to: SocketAddr,
    /// Bits of the IP header (RFC 3168); none: not ECN-capable.
    pub ecn: Option<u8>,
    /// Size of each datagram but the last, when there are several.
    pub segment_size: Option<usize>,
    /// The datagrams, one after the other.
    pub bytes: Vec<u8>,
}

/// How a peer ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// In an orderly way.
    Finished,
    /// No connection came about, or it was lost for good.
    Unreachable {
        /// What was tried and what was missing.
        why: String,
    },
    /// The other end is not the one of the ticket, or does not accept it.
    Refused {
        /// Which proof failed.
        why: String,
    },
}
