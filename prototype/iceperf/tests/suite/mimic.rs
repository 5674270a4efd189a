//! `iceperf relay --mimic whatsapp` over loopback: its messages are answered, and two ends of a call hear each other.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, UdpSocket},
    process::{Child, Command, Stdio},
    time::Duration,
};

use ice::stun::{
    TransactionId,
    whatsapp::{self, CallId, HEALTH, Message, Participant, Token, kind},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// Killed if the test fails.
struct Relay(Child);

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A port that is free now; the relay would say so if it no longer is.
fn free_port() -> u16 {
    UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn start(directory: &std::path::Path) -> (Relay, SocketAddr) {
    let (port, other) = (free_port().to_string(), free_port().to_string());
    let mut child = Command::new(assert_cmd::cargo::cargo_bin!("iceperf"))
        .args(["relay", "--mimic", "whatsapp", "--bind", "127.0.0.1", "--secret-file", "secret"])
        .args(["--port", &port, "--alternate-port", &other])
        .current_dir(directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(said.any(|line| line.contains("as WhatsApp has them")));
    // Whoever stops reading closes the pipe, which the relay may not mind.
    (Relay(child), format!("127.0.0.1:{port}").parse().unwrap())
}

/// What is answered, asked again if it got lost.
fn ask(socket: &UdpSocket, relay: SocketAddr, request: &[u8]) -> Vec<u8> {
    let mut buffer = [0; 2048];
    for _ in 0..100 {
        socket.send_to(request, relay).unwrap();
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            assert_eq!(from, relay);
            return buffer[..length].to_vec();
        }
    }
    panic!("the relay does not answer");
}

#[test]
fn two_ends_of_a_call_hear_each_other_through_the_relay() {
    let directory = tempfile::tempdir().unwrap();
    let (mut relay, at) = start(directory.path());
    let password = std::fs::read_to_string(directory.path().join("secret")).unwrap();
    let ends = [1, 2].map(|participant| {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let token = Token::new(password.trim(), CallId([1; 16]), Participant(participant));
        let request = whatsapp::with_token(kind::ALLOCATE, TransactionId([3; 12]), &token);
        let answer = ask(&socket, at, &request);
        let answer = Message::parse(&answer).unwrap();
        assert_eq!(
            (answer.kind, answer.mapped_address()),
            (kind::ALLOCATED, Some(socket.local_addr().unwrap()))
        );
        assert!(answer.server_time().unwrap() > Duration::from_secs(1_700_000_000), "after 2023");
        socket
    });
    let probe = whatsapp::probe(TransactionId([3; 12]), Duration::from_secs(5));
    let report = ask(&ends[0], at, &probe);
    assert_eq!(Message::parse(&report).unwrap().clock(), Some(Duration::from_secs(5)));
    assert_eq!(ask(&ends[1], at, HEALTH[0]), HEALTH[1]);
    ends[0].send_to(b"\x80media", at).unwrap();
    ends[1].set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut buffer = [0; 64];
    loop {
        // Late answers to what was asked again may come first.
        let (length, from) = ends[1].recv_from(&mut buffer).unwrap();
        assert_eq!(from, at);
        if buffer[..length] == *b"\x80media" {
            break;
        }
    }
    kill(Pid::from_raw(relay.0.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(relay.0.wait().unwrap().code(), Some(0));
}
