//! A foreign agent behind a Python script: lines in, lines out.
//!
//! It begins with `credentials UFRAG PWD`, its candidates as SDP has them (RFC 8839 section 5.1) and `gathered`; is told
//! the same of us and `end`; then each `send HEX` is sent, and each `data HEX` was received. What else it says is its own.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use ice::{CandidateKind, Credentials, LocalCandidate, RemoteCandidate};

use crate::driver::{Driver, PATIENCE};

pub(crate) struct Script {
    child: Child,
    to: ChildStdin,
    lines: Receiver<String>,
    said: Vec<String>,
    unread: VecDeque<String>,
}

impl Script {
    pub(crate) fn start(python: &str, script: &str, path: Option<&Path>, arguments: &[&str]) -> Script {
        let mut command = Command::new(python);
        command.arg(format!("{}/tests/interop/{script}", env!("CARGO_MANIFEST_DIR"))).args(arguments);
        if let Some(path) = path {
            command.env("PYTHONPATH", path);
        }
        command.env("PYTHONDONTWRITEBYTECODE", "1").env("PYTHONUNBUFFERED", "1");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (to, from) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(from).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        Script { child, to, lines, said: Vec::new(), unread: VecDeque::new() }
    }

    pub(crate) fn tell(&mut self, line: &str) {
        writeln!(self.to, "{line}").unwrap();
        self.to.flush().unwrap();
    }

    /// What it says of itself in the beginning.
    pub(crate) fn introduction(&mut self) -> (Credentials, Vec<RemoteCandidate>) {
        let (mut credentials, mut candidates) = (None, Vec::new());
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("the script says nothing");
            let words: Vec<&str> = line.split_whitespace().collect();
            match words.as_slice() {
                ["credentials", ufrag, pwd] => credentials = Some(Credentials::new(ufrag, pwd).unwrap()),
                ["candidate", rest @ ..] => candidates.extend(candidate(rest)),
                ["gathered"] => return (credentials.unwrap(), candidates),
                _ => self.unread.push_back(line),
            }
        }
    }

    /// Tells it of us.
    pub(crate) fn introduce(&mut self, ours: &Credentials, candidates: &[LocalCandidate]) {
        self.tell(&format!("credentials {} {}", ours.ufrag(), ours.pwd()));
        for local in candidates {
            self.tell(&format!("candidate {}", sdp(local)));
        }
        self.tell("end");
    }

    /// Takes the next line that begins so, if it has come, and the lines before.
    pub(crate) fn line(&mut self, beginning: &str) -> Option<String> {
        let new: Vec<String> = self.lines.try_iter().collect();
        self.said.extend(new.iter().cloned());
        self.unread.extend(new);
        while let Some(line) = self.unread.pop_front() {
            if line.starts_with(beginning) {
                return Some(line);
            }
        }
        None
    }

    /// Runs our side until it says so.
    pub(crate) fn says(&mut self, driver: &mut Driver, beginning: &str) -> String {
        driver.until(&format!("`{beginning}` from the script"), |_| self.line(beginning))
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the script said: {:#?}", self.said);
        }
    }
}

/// RFC 8839 section 5.1.
fn sdp(local: &LocalCandidate) -> String {
    let LocalCandidate { foundation, priority, address, base, kind, .. } = local;
    let related = match kind {
        CandidateKind::Host => String::new(),
        _ => format!(" raddr {} rport {}", base.ip(), base.port()),
    };
    let kind = match kind {
        CandidateKind::Host => "host",
        CandidateKind::Prflx => "prflx",
        CandidateKind::Srflx => "srflx",
        CandidateKind::Relay => "relay",
    };
    format!("{foundation} 1 udp {priority} {} {} typ {kind}{related}", address.ip(), address.port())
}

/// The candidates that we have no use for (TCP, another component) are none.
fn candidate(words: &[&str]) -> Option<RemoteCandidate> {
    let [foundation, "1", transport, priority, ip, port, "typ", kind, ..] = words else { return None };
    let kind = match *kind {
        "host" => CandidateKind::Host,
        "prflx" => CandidateKind::Prflx,
        "srflx" => CandidateKind::Srflx,
        "relay" => CandidateKind::Relay,
        _ => return None,
    };
    transport.eq_ignore_ascii_case("udp").then(|| RemoteCandidate {
        kind,
        address: SocketAddr::new(ip.parse().unwrap(), port.parse().unwrap()),
        priority: priority.parse().unwrap(),
        foundation: (*foundation).to_owned(),
        interface: None,
    })
}
