//! Whatever arrives at a waiting peer, at a rendezvous server, or as a ticket: no panic, and no word to the sender
//! beyond what a refusal allows.
#![cfg_attr(fuzzing, no_main)]

use libfuzzer_sys::fuzz_target;
use peer::{
    EngineKind, Evidence, Fingerprint, Interface, InterfaceChange, InterfaceKind, Output, Peer, PeerConfig,
    Policy, Role, Secret, SocketId, Ticket, rendezvous::Server,
};
use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

fuzz_target!(|data: &[u8]| {
    let now = Instant::now();
    let from: SocketAddr = "192.0.2.66:666".parse().unwrap();
    if let Ok(text) = str::from_utf8(data) {
        let _ = text.parse::<Ticket>();
    }
    let mut server = Server::new();
    let mut peer = waiting_peer(now);
    // Datagrams: a length byte, then the bytes.
    let mut rest = data;
    while let Some((&length, more)) = rest.split_first() {
        let (datagram, more) = more.split_at(usize::from(length).min(more.len()));
        rest = more;
        assert!(server.handle_datagram(now, SocketId(0), from, datagram).len() <= 2);
        peer.handle_datagram(now, SocketId(0), from, None, datagram);
        while let Some(output) = peer.poll(now) {
            if let Output::Transmit(transmit) = output {
                assert!(transmit.bytes.len() <= 3 * datagram.len().max(100));
            }
        }
    }
});

fn waiting_peer(now: Instant) -> Peer {
    let ticket = Ticket {
        addresses: vec!["192.0.2.1:4433".parse().unwrap()],
        rendezvous: vec![],
        fingerprint: Fingerprint([1; 32]),
        secret: Secret([2; 16]),
    };
    let config = PeerConfig {
        role: Role::Client { ticket },
        engine: EngineKind::default(),
        evidence: Evidence::default(),
        policy: Policy::multipath(),
        stun: vec![],
        relays: vec![],
        call_relays: None,
        disguises: vec![],
        call: None,
        bulk: None,
        probe: None,
        duration: None,
        connect_timeout: Duration::from_secs(20),
        port: 0,
        seed: 1,
    };
    let mut peer = Peer::new(config).unwrap();
    let local = "192.0.2.9".parse().unwrap();
    peer.handle_interface(
        now,
        InterfaceChange::Changed(Interface {
            name: "wlan0".into(),
            kind: InterfaceKind::Wifi,
            up: true,
            carrier: true,
            addresses: vec![local],
            metric: None,
        }),
    );
    peer.socket_opened(now, SocketId(0), SocketAddr::new(local, 4000));
    peer.start(now);
    while peer.poll(now).is_some() {}
    peer
}
