//! Names of servers: from DNS answers, from TLS and QUIC ClientHellos, from certificates; and the classes they belong to.

pub mod class;
pub mod dns;
pub mod quic;
mod reassembly;
mod tags;
pub mod tls;

pub(crate) use tags::Tags;

use crate::text::Text;
use quic::QuicHandshake;
use reassembly::Reassembly;
use tls::Found;

/// Longest part of a TLS stream that is searched for a ClientHello or a certificate.
const MAX_STREAM: u32 = 32 * 1024;

/// Names inside a flow.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Name {
    pub(crate) sni: Option<Text>,
    pub(crate) ech: bool,
    pub(crate) alpn: Vec<Text>,
    pub(crate) certificate: Vec<Text>,
}

/// A handshake whose bytes are being collected.
#[derive(Debug)]
pub(crate) enum Handshake {
    /// TLS over TCP: the beginnings of both directions; none once its message was found or given up.
    Tls {
        /// Client to server, for the ClientHello.
        up: Option<Reassembly>,
        /// Server to client, for the certificate.
        down: Option<Reassembly>,
    },
    /// QUIC.
    Quic(Box<QuicHandshake>),
}

/// State of a handshake after a packet.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// A ClientHello was completed by this packet.
    pub(crate) client_hello: bool,
    /// Nothing more is expected.
    pub(crate) done: bool,
}

impl Handshake {
    pub(crate) fn tls() -> Self {
        Self::Tls { up: Some(Reassembly::new(MAX_STREAM)), down: Some(Reassembly::new(MAX_STREAM)) }
    }

    pub(crate) fn quic() -> Self {
        Self::Quic(Box::new(QuicHandshake::new()))
    }

    /// Adds TCP payload at its offset in the stream.
    pub(crate) fn add_tls(&mut self, is_up: bool, offset: u32, payload: &[u8], name: &mut Name) -> Progress {
        let Self::Tls { up, down } = self else { return Progress { client_hello: false, done: true } };
        let slot = if is_up { &mut *up } else { &mut *down };
        let mut client_hello = false;
        if let Some(stream) = slot {
            let fits = stream.insert(offset, payload);
            match tls::search_records(stream.prefix(), is_up) {
                Found::ClientHello(hello) => {
                    client_hello = true;
                    name.sni = hello.server_name.map(Into::into);
                    name.ech = hello.ech;
                    name.alpn = hello.alpn.into_iter().map(Into::into).collect();
                    *slot = None;
                }
                Found::Certificate(names) => {
                    name.certificate = names.into_iter().map(Into::into).collect();
                    *slot = None;
                }
                Found::Incomplete if fits => {}
                Found::Incomplete | Found::Nothing => *slot = None,
            }
        }
        Progress { client_hello, done: up.is_none() && down.is_none() }
    }
}
