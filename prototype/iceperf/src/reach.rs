//! Whether an interface carries TCP: three connections one after the other, in a thread of their own, because the kernel
//! has no limit for them that is short enough.

use crate::udp::Binding;
use peer::blocking::Reach;
use socket2::{Domain, Protocol, Socket, Type};
use std::{io, net::SocketAddr, time::Duration};

/// Each: two SYN packets (RFC 6298 section 2 has the second after a second).
const WITHIN: Duration = Duration::from_millis(2500);
const CONNECTIONS: usize = 3;

/// Tries them, and says what all of them came to.
pub(crate) fn try_connections(binding: &Binding, to: SocketAddr) -> Reach {
    let mut reach = Reach::Connected;
    for _ in 0..CONNECTIONS {
        match connect(binding, to) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => reach = Reach::Refused,
            Err(error) => {
                tracing::debug!(%to, %error, "no TCP connection");
                return Reach::Silent;
            }
        }
    }
    reach
}

fn connect(binding: &Binding, to: SocketAddr) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.cloexec(), Some(Protocol::TCP))?;
    if let Some(interface) = &binding.interface {
        socket.bind_device(Some(interface.as_bytes()))?;
    }
    let any_port = SocketAddr::new(binding.local.ip(), 0);
    socket.bind(&any_port.into())?;
    socket.connect_timeout(&to.into(), WITHIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted_and_refused_are_told_apart() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let binding = Binding { interface: None, local: ([127, 0, 0, 1], 0).into() };
        assert_eq!(try_connections(&binding, at), Reach::Connected);
        drop(listener);
        assert_eq!(try_connections(&binding, at), Reach::Refused);
        let nowhere = Binding { interface: None, local: ([192, 0, 2, 1], 0).into() };
        assert_eq!(try_connections(&nowhere, at), Reach::Silent);
    }
}
