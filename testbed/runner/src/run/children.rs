//! The processes of a run: which there are, what they are told, and how they end.

use super::{
    collect,
    collect::Note,
    evidence,
    iceperf::Iceperf,
    programs::{Program, Programs},
    servers::{self, CONTROL_PORT, COTURN_FILES, Listens, RELAY_SECRET, RELAYS, STUN_PORT},
};
use crate::scenario::{Call, Direction, Host, IceAgent, Scenario, ServerKind, Signal, Workload};
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

/// The server's, where its ticket names addresses.
const SERVER_PORT: u16 = 7443;

/// What a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    Rendezvous,
    Server,
    Client,
    Relay,
    Coturn,
    Iperf3,
    Control,
}

impl Part {
    fn word(self) -> &'static str {
        match self {
            Self::Rendezvous => "rendezvous",
            Self::Control => "probe control",
            Self::Server => "server",
            Self::Client => "client",
            Self::Relay => "relay",
            Self::Coturn => "coturn",
            Self::Iperf3 => "iperf3",
        }
    }

    /// The others serve them.
    pub(crate) fn is_peer(self) -> bool {
        matches!(self, Self::Server | Self::Client)
    }

    fn is_iceperf(self) -> bool {
        !matches!(self, Self::Coturn | Self::Iperf3)
    }
}

/// A process of the run.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) host: String,
    pub(crate) part: Part,
    child: Child,
    /// None for a program of others.
    control: Option<File>,
    reader: Option<JoinHandle<()>>,
    /// Standard output and error.
    logs: [PathBuf; 2],
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
    pub(crate) programs: &'a Programs,
    pub(crate) directory: &'a RunDirectory,
    pub(crate) notes: &'a Sender<Note>,
}

impl Cast<'_> {
    /// Starts all of them, servers first, handing each over as it comes to be.
    pub(crate) fn start(&self, running: &mut Vec<Running>) -> Result<(), ChildError> {
        let password = password()?;
        let secrets = self.make_secrets()?;
        for (name, server) in &self.scenario.servers {
            running.push(self.start_server(name, server, &password, &secrets.ticket)?);
        }
        let peers = &self.scenario.peers;
        let mut of_server =
            self.peer_arguments(&peers.server.host, Part::Server, &secrets.ticket, &password)?;
        of_server.extend(["--identity".into(), secrets.identity.into()]);
        if peers.client.signal == Signal::InBand {
            of_server.extend(["--port".into(), SERVER_PORT.to_string().into()]);
        }
        running.push(self.spawn(&peers.server.host, Part::Server, of_server)?);
        let mut of_client =
            self.peer_arguments(&peers.client.host, Part::Client, &secrets.ticket, &password)?;
        // A call that never comes about is a result like any other, so it is tried to the end.
        let workload = peers.client.workload;
        of_client.extend(workload_arguments(workload));
        let only_probes = workload.probe.is_some() && workload.call.is_none() && workload.bulk.is_none();
        if workload.probe.is_some() {
            of_client.extend(self.probe_arguments());
        }
        let limits: &[&str] =
            if only_probes { &["--connect-timeout"] } else { &["--time", "--connect-timeout"] };
        for option in limits {
            of_client.extend([(*option).into(), format!("{}ns", self.scenario.duration.as_nanos()).into()]);
        }
        running.push(self.spawn(&peers.client.host, Part::Client, of_client)?);
        Ok(())
    }

    /// The controls that the client of a probe asks.
    fn probe_arguments(&self) -> impl Iterator<Item = OsString> {
        let controls = self.server_addresses(ServerKind::Control, CONTROL_PORT).into_iter();
        controls.flat_map(|address| ["--control".into(), address.to_string().into()])
    }

    /// Of all servers of a kind.
    fn server_addresses(&self, kind: ServerKind, port: u16) -> Vec<SocketAddr> {
        let servers = self.scenario.servers.iter().filter(|(_, server)| server.kind == kind);
        let ports = servers.filter_map(|(name, _)| self.plan.server(name));
        ports.flat_map(Port::all_addresses).map(|(ip, _)| SocketAddr::new(ip, port)).collect()
    }

    fn peer_arguments(
        &self,
        host: &str,
        part: Part,
        ticket: &Path,
        password: &str,
    ) -> Result<Vec<OsString>, ChildError> {
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
        arguments.extend(["--ice".into(), self.scenario.peers.client.ice.name().into()]);
        let peers = &self.scenario.peers;
        let peer = if part == Part::Client { &peers.client } else { &peers.server };
        if peer.ice == IceAgent::Ours {
            arguments.extend(["--policy".into(), peer.policy.to_string().into()]);
            arguments.extend(["--bind".into(), peer.bind.name().into()]);
            arguments.extend(peer.disguise.arguments().flat_map(|text| ["--disguise".into(), text.into()]));
        }
        let folder = self.directory.host(host)?;
        arguments.extend(self.server_arguments(&folder, password)?);
        arguments.extend(evidence::arguments(self.scenario, &folder));
        Ok(arguments)
    }

    pub(super) fn spawn(
        &self,
        host: &str,
        part: Part,
        mut args: Vec<OsString>,
    ) -> Result<Running, ChildError> {
        let (events, events_of_child) = pipe()?;
        let (control_of_child, control) = pipe()?;
        args.extend(["--host-name".into(), host.into()]);
        args.extend(["--events-fd".into(), EVENTS_FD.to_string().into()]);
        args.extend(["--control-fd".into(), CONTROL_FD.to_string().into()]);
        let inherit = vec![(events_of_child, EVENTS_FD), (control_of_child, CONTROL_FD)];
        let (child, logs) = self.spawn_logged(host, &self.iceperf.path, args, inherit)?;
        let reader = Some(collect::read_child(host, events, self.notes.clone())?);
        let control = Some(File::from(control));
        Ok(Running { host: host.to_owned(), part, child, control, reader, logs, status: None })
    }

    /// A program that knows neither events nor commands. The descriptor that it is given is only there to end with it.
    pub(super) fn spawn_foreign(
        &self,
        host: &str,
        part: Part,
        program: &Program,
        args: Vec<OsString>,
        listens: Listens,
    ) -> Result<Running, ChildError> {
        let (alive, alive_in_child) = pipe()?;
        let (child, logs) =
            self.spawn_logged(host, &program.path, args, vec![(alive_in_child, EVENTS_FD)])?;
        let watched = collect::Watched { pid: child.id(), listens, version: program.version.clone() };
        let reader = Some(collect::watch_child(host, alive, watched, self.notes.clone())?);
        Ok(Running { host: host.to_owned(), part, child, control: None, reader, logs, status: None })
    }

    /// Its standard output and error go into the directory of its host.
    fn spawn_logged(
        &self,
        host: &str,
        program: &Path,
        args: Vec<OsString>,
        inherit: Vec<(OwnedFd, i32)>,
    ) -> Result<(Child, [PathBuf; 2]), ChildError> {
        let folder = self.directory.host(host)?;
        let logs = ["stdout.log", "stderr.log"].map(|name| folder.join(name));
        let create = |path: &PathBuf| File::create(path).map_err(failed(path));
        let [stdout, stderr] = [create(&logs[0])?, create(&logs[1])?];
        let env = vec![("NO_COLOR".into(), "1".into())];
        let child = ChildSpec { program: program.to_owned(), args, env, inherit, stdout, stderr };
        Ok((self.lab.spawn(host, child)?, logs))
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
        let folder = self.directory.host(&self.scenario.peers.server.host)?;
        let secrets = Secrets { identity: folder.join(IDENTITY), ticket: folder.join(TICKET) };
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
        self.server_addresses(ServerKind::Rendezvous, STUN_PORT)
    }
}

const IDENTITY: &str = "identity";
const TICKET: &str = "ticket";

/// Where key and ticket of a run are.
struct Secrets {
    identity: PathBuf,
    ticket: PathBuf,
}

/// Removes what lets others in: key, ticket, passwords. They are worth nothing after the run, and nobody should have to
/// wonder.
pub(crate) fn remove_secrets(scenario: &Scenario, directory: &RunDirectory) {
    let folders = || {
        let hosts = scenario.hosts.keys().chain(scenario.servers.keys());
        hosts.filter_map(|host| directory.host(host).ok())
    };
    for folder in folders() {
        let _ = fs::remove_dir_all(folder.join(IDENTITY));
        for file in [TICKET, RELAYS, RELAY_SECRET].into_iter().chain(COTURN_FILES) {
            let _ = fs::remove_file(folder.join(file));
        }
        servers::forget_password(&folder);
    }
}

impl Running {
    /// Programs of others serve all the time.
    pub(crate) fn start(&mut self, zero_monotonic_ns: u64) -> io::Result<()> {
        match &mut self.control {
            Some(control) => send(control, &Command::Start { monotonic_ns: zero_monotonic_ns }),
            None => Ok(()),
        }
    }

    /// One that has ended already does not listen any more.
    pub(crate) fn tell(&mut self, command: &Command) -> io::Result<()> {
        match self.control.as_mut().map(|control| send(control, command)) {
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Asks it to end; one that has ended already does not listen any more.
    pub(crate) fn stop(&mut self) {
        match &mut self.control {
            Some(control) => drop(send(control, &Command::Stop {})),
            // They have nothing to finish, and iperf3 does not always listen to SIGTERM.
            None => drop(self.child.kill()),
        }
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
        let program = if self.part.is_iceperf() { "iceperf " } else { "" };
        format!("{} ({program}{})", self.host, self.part.word())
    }

    /// The end of what it wrote to its standard error, indented. Programs of others say on either what went wrong.
    pub(crate) fn last_words(&self) -> String {
        const LINES: usize = 12;
        let [stdout, stderr] = &self.logs;
        let logs = if self.part.is_iceperf() { vec![stderr] } else { vec![stdout, stderr] };
        let of = |log: &PathBuf| {
            let text = fs::read(log).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let last = &lines[lines.len().saturating_sub(LINES)..];
            last.iter().map(|line| format!("\n  {line}")).collect::<String>()
        };
        logs.into_iter().map(of).collect()
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reaped {
    Ended(ExitStatus),
    /// It had to be made to.
    Killed,
}

fn send(control: &mut File, command: &Command) -> io::Result<()> {
    let mut line = serde_json::to_vec(command)?;
    line.push(b'\n');
    control.write_all(&line)
}

/// Of all relays of a run: 128 bits in hexadecimal.
fn password() -> Result<String, ChildError> {
    let mut bytes = [0; 16];
    ring::rand::SystemRandom::new().fill(&mut bytes).map_err(|_| ChildError::Random)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// What the client asks for. Each workload by name: iceperf takes a call for granted only where there is nothing else. The
/// server learns the rest in-band.
fn workload_arguments(workload: Workload) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = Vec::new();
    if workload.call.is_some() {
        arguments.push("--call".into());
    }
    if workload.probe.is_some() {
        arguments.push("--probe".into());
    }
    let Some(bulk) = workload.bulk else { return arguments };
    arguments.push("--bulk".into());
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

/// The first of each family.
pub(super) fn addresses(port: &Port) -> Vec<std::net::IpAddr> {
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

/// For the eyes of this user alone.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), ChildError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    file.and_then(|mut file| file.write_all(bytes)).map_err(failed(path))
}

pub(super) fn failed(path: &Path) -> impl FnOnce(io::Error) -> ChildError {
    let path = path.to_owned();
    move |source| ChildError::File { path, source }
}
