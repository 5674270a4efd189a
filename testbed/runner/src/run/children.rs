//! The processes of a run: which there are, what they are told, and how they end.

use super::{collect, collect::Note, evidence, iceperf::Iceperf};
use crate::scenario::{Call, Direction, Host, Scenario, ServerKind, Signal, Workload};
use lab::{Child, ChildSpec, Lab, LabError};
use netmodel::{Plan, Port};
use nix::fcntl::OFlag;
use peer::{Identity, IdentityError, Secret, Ticket};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use record::{Command, DirectoryError, InterfaceKind, RunDirectory};
use ring::rand::SecureRandom as _;
use std::{
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::ExitStatus,
    sync::mpsc::Sender,
    thread::JoinHandle,
    time::{Duration, Instant},
};
use thiserror::Error;

/// Where the child finds its descriptors.
const EVENTS_FD: i32 = 3;
const CONTROL_FD: i32 = 4;

/// The port of STUN (RFC 8489 section 18.6), which rendezvous servers speak too.
const RENDEZVOUS_PORT: u16 = 3478;
/// The server's, where its ticket names addresses.
const SERVER_PORT: u16 = 7443;

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Rendezvous,
    Server,
    Client,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Rendezvous => "rendezvous",
            Self::Server => "server",
            Self::Client => "client",
        }
    }
}

/// A process of the run.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) host: String,
    pub(crate) part: Part,
    child: Child,
    control: File,
    reader: Option<JoinHandle<()>>,
    stderr: PathBuf,
    status: Option<ExitStatus>,
}

/// A process could not be prepared.
#[derive(Debug, Error)]
pub(crate) enum ChildError {
    #[error(transparent)]
    Lab(#[from] LabError),
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    #[error("{path}: {source}", path = .path.display())]
    File { path: PathBuf, source: io::Error },
    #[error("cannot make a pipe or thread: {0}")]
    Os(#[from] io::Error),
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the operating system gives no random numbers")]
    Random,
}

/// Everything that children are made from.
pub(crate) struct Cast<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) plan: &'a Plan,
    pub(crate) lab: &'a Lab,
    pub(crate) iceperf: &'a Iceperf,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) notes: &'a Sender<Note>,
}

impl Cast<'_> {
    /// Starts all of them, servers first, handing each over as it comes to be.
    pub(crate) fn start(&self, running: &mut Vec<Running>) -> Result<(), ChildError> {
        for (name, server) in &self.scenario.servers {
            match server.kind {
                ServerKind::Rendezvous => {
                    running.push(self.spawn(name, Part::Rendezvous, self.rendezvous_arguments(name))?);
                }
            }
        }
        let secrets = self.make_secrets()?;
        let peers = &self.scenario.peers;
        let mut of_server = self.peer_arguments(&peers.server.host, Part::Server, &secrets.ticket)?;
        of_server.extend(["--identity".into(), secrets.identity.into()]);
        if peers.client.signal == Signal::InBand {
            of_server.extend(["--port".into(), SERVER_PORT.to_string().into()]);
        }
        running.push(self.spawn(&peers.server.host, Part::Server, of_server)?);
        let mut of_client = self.peer_arguments(&peers.client.host, Part::Client, &secrets.ticket)?;
        // A call that never comes about is a result like any other, so it is tried to the end.
        of_client.extend(workload_arguments(peers.client.workload));
        for option in ["--time", "--connect-timeout"] {
            of_client.extend([option.into(), format!("{}ns", self.scenario.duration.as_nanos()).into()]);
        }
        running.push(self.spawn(&peers.client.host, Part::Client, of_client)?);
        Ok(())
    }

    fn rendezvous_arguments(&self, name: &str) -> Vec<OsString> {
        let addresses = self.plan.server(name).map(addresses).unwrap_or_default();
        let binds = addresses
            .into_iter()
            .flat_map(|ip| ["--bind".into(), SocketAddr::new(ip, RENDEZVOUS_PORT).to_string().into()]);
        ["rendezvous".into()].into_iter().chain(binds).collect()
    }

    fn peer_arguments(&self, host: &str, part: Part, ticket: &Path) -> Result<Vec<OsString>, DirectoryError> {
        let mut arguments: Vec<OsString> =
            vec![part.word().into(), "--ticket-file".into(), ticket.into(), "--seed".into()];
        arguments.push(seed(self.scenario.seed, part).to_string().into());
        for (name, interface) in
            self.scenario.hosts.get(host).map(|host| &host.interfaces).into_iter().flatten()
        {
            arguments.extend(["--interface".into(), name.into()]);
            let kind = format!("{name}={}", kind_word(interface.kind));
            arguments.extend(["--interface-kind".into(), kind.into()]);
        }
        if let Some(Call { rate, payload }) = self.scenario.peers.client.workload.call {
            arguments.extend(["--call-rate".into(), rate.to_string().into()]);
            arguments.extend(["--call-payload".into(), format!("{}B", payload.0).into()]);
        }
        arguments.extend(["--engine".into(), self.scenario.peers.client.engine.name().into()]);
        arguments.extend(evidence::arguments(&self.directory.host(host)?));
        Ok(arguments)
    }

    fn spawn(&self, host: &str, part: Part, mut args: Vec<OsString>) -> Result<Running, ChildError> {
        let folder = self.directory.host(host)?;
        let create = |name: &str| {
            let path = folder.join(name);
            File::create(&path).map_err(|source| ChildError::File { path, source })
        };
        let (events, events_of_child) = pipe()?;
        let (control_of_child, control) = pipe()?;
        args.extend(["--host-name".into(), host.into()]);
        args.extend(["--events-fd".into(), EVENTS_FD.to_string().into()]);
        args.extend(["--control-fd".into(), CONTROL_FD.to_string().into()]);
        let child = self.lab.spawn(
            host,
            ChildSpec {
                program: self.iceperf.path.clone(),
                args,
                env: vec![("NO_COLOR".into(), "1".into())],
                inherit: vec![(events_of_child, EVENTS_FD), (control_of_child, CONTROL_FD)],
                stdout: create("stdout.log")?,
                stderr: create("stderr.log")?,
            },
        )?;
        let reader = Some(collect::read_child(host, events, self.notes.clone())?);
        let (host, stderr) = (host.to_owned(), folder.join("stderr.log"));
        Ok(Running { host, part, child, control: File::from(control), reader, stderr, status: None })
    }

    /// Key and ticket are of this run only; they are removed at its end.
    fn make_secrets(&self) -> Result<Secrets, ChildError> {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(vec!["iceperf".to_owned()])?.self_signed(&pair)?;
        let (certificate, key) = (certificate.der().to_vec(), pair.serialize_der());
        let mut secret = [0; 16];
        ring::rand::SystemRandom::new().fill(&mut secret).map_err(|_| ChildError::Random)?;
        let ticket = Ticket {
            addresses: self.direct_addresses(),
            rendezvous: self.rendezvous_addresses(),
            fingerprint: Identity::new(certificate.clone(), key.clone())?.fingerprint(),
            secret: Secret(secret),
        };
        let secrets = Secrets::of(self.directory, &self.scenario.peers.server.host)?;
        fs::create_dir_all(&secrets.identity).map_err(failed(&secrets.identity))?;
        write(&secrets.identity.join("certificate.der"), &certificate)?;
        write(&secrets.identity.join("key.der"), &key)?;
        write(&secrets.ticket, format!("{ticket}\n").as_bytes())?;
        Ok(secrets)
    }

    /// Of the server's host, in the networks that the client's is in too.
    fn direct_addresses(&self) -> Vec<SocketAddr> {
        let peers = &self.scenario.peers;
        if peers.client.signal != Signal::InBand {
            return Vec::new();
        }
        let host = |name: &str| self.scenario.hosts.get(name);
        let networks = |host: &Host| -> Vec<String> {
            host.interfaces.values().map(|interface| interface.network.clone()).collect()
        };
        let of_client = host(&peers.client.host).map(networks).unwrap_or_default();
        let of_server = host(&peers.server.host).into_iter().flat_map(|host| &host.interfaces);
        of_server
            .filter(|(_, interface)| of_client.contains(&interface.network))
            .filter_map(|(name, _)| self.plan.port_of(&peers.server.host, name))
            .filter_map(|id| self.plan.ports().iter().find(|port| port.id == id))
            .flat_map(addresses)
            .map(|ip| SocketAddr::new(ip, SERVER_PORT))
            .collect()
    }

    fn rendezvous_addresses(&self) -> Vec<SocketAddr> {
        if self.scenario.peers.client.signal != Signal::Rendezvous {
            return Vec::new();
        }
        let servers = self.scenario.servers.keys().filter_map(|name| self.plan.server(name));
        servers.flat_map(addresses).map(|ip| SocketAddr::new(ip, RENDEZVOUS_PORT)).collect()
    }
}

/// Where key and ticket of a run are.
pub(crate) struct Secrets {
    identity: PathBuf,
    ticket: PathBuf,
}

impl Secrets {
    pub(crate) fn of(directory: &RunDirectory, server_host: &str) -> Result<Self, DirectoryError> {
        let folder = directory.host(server_host)?;
        Ok(Self { identity: folder.join("identity"), ticket: folder.join("ticket") })
    }

    /// They are worth nothing after the run, and nobody should have to wonder.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_dir_all(&self.identity);
        let _ = fs::remove_file(&self.ticket);
    }
}

impl Running {
    pub(crate) fn send(&mut self, command: &Command) -> io::Result<()> {
        let mut line = serde_json::to_vec(command)?;
        line.push(b'\n');
        self.control.write_all(&line)
    }

    /// Its status, once it has ended.
    pub(crate) fn try_status(&mut self) -> io::Result<Option<ExitStatus>> {
        if self.status.is_none() {
            self.status = self.child.try_wait()?;
        }
        Ok(self.status)
    }

    /// Waits for its end until then, and ends it after that.
    pub(crate) fn reap(&mut self, deadline: Instant) -> io::Result<Reaped> {
        const STEP: Duration = Duration::from_millis(2);
        loop {
            if let Some(status) = self.try_status()? {
                self.join();
                return Ok(Reaped::Ended(status));
            }
            if Instant::now() >= deadline {
                self.child.kill()?;
                self.status = Some(self.child.wait()?);
                self.join();
                return Ok(Reaped::Killed);
            }
            std::thread::sleep(STEP);
        }
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            // It does not panic, and its end is told by a note.
            let _ = reader.join();
        }
    }

    /// For messages: "desktop (iceperf server)".
    pub(crate) fn name(&self) -> String {
        format!("{} (iceperf {})", self.host, self.part.word())
    }

    /// The end of what it wrote to its standard error, indented.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 12;
        let text = fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| format!("\n  {line}")).collect()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    Ended(ExitStatus),
    /// It had to be made to.
    Killed,
}

/// What the client asks for; a call alone is what it does unasked. The server learns the rest in-band.
fn workload_arguments(workload: Workload) -> Vec<OsString> {
    let Some(bulk) = workload.bulk else { return Vec::new() };
    let mut arguments: Vec<OsString> = vec!["--bulk".into()];
    if workload.call.is_some() {
        arguments.push("--call".into());
    }
    if let Some(size) = bulk.size {
        arguments.extend(["--bytes".into(), format!("{}B", size.0).into()]);
    }
    if bulk.direction == Direction::Down {
        arguments.push("--reverse".into());
    }
    arguments
}

/// A seed of its own for each part: two of them never draw the same numbers.
fn seed(run: u64, part: Part) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(run);
    random.set_stream(part as u64 + 1);
    random.next_u64()
}

fn addresses(port: &Port) -> Vec<std::net::IpAddr> {
    let ipv4 = port.ipv4.map(|(address, _)| address.into());
    let ipv6 = port.ipv6.map(|(address, _)| address.into());
    ipv4.into_iter().chain(ipv6).collect()
}

fn kind_word(kind: InterfaceKind) -> &'static str {
    match kind {
        InterfaceKind::Lan => "lan",
        InterfaceKind::Wifi => "wifi",
        InterfaceKind::Cellular => "cellular",
    }
}

/// Reading end, writing end; neither survives exec.
fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(nix::unistd::pipe2(OFlag::O_CLOEXEC)?)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), ChildError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(failed(path))
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ChildError {
    let path = path.to_owned();
    move |source| ChildError::File { path, source }
}
