//! The servers of a run: what each is told, where its secrets are, and when it listens.
//!
//! `iceperf` says that it is ready, as the peers do. Programs of others do not: for those the kernel is asked whether
//! their sockets are there, and a descriptor that dies with them tells their end.

use super::{
    children::{Cast, ChildError, Part, Running, addresses, failed, write},
    programs::Program,
};
use crate::scenario::{Server, ServerKind};
use netmodel::Port;
use std::{
    collections::BTreeSet,
    ffi::OsString,
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// The port of STUN (RFC 8489 section 18.6), which rendezvous servers speak too.
pub(super) const STUN_PORT: u16 = 3478;
/// Of controls: fresh, and no protocol's.
pub(super) const CONTROL_PORT: u16 = 47_111;
/// Registered for iperf3.
const IPERF3_PORT: u16 = 5201;
/// The one user of all relays of a run; and their realm.
const TURN_USER: &str = "iceperf";

/// What a peer is told of the relays.
pub(super) const RELAYS: &str = "relays";
/// The password of `iceperf relay`, in its folder; and in a peer's, if peers need it alone.
pub(super) const RELAY_SECRET: &str = "secret";
/// Of coturn: what it is told, and the files that it makes for itself.
const COTURN_CONFIGURATION: &str = "turnserver.conf";
pub(super) const COTURN_FILES: [&str; 2] = ["turnserver.db", "turnserver.pid"];

/// The sockets of a program that does not say when it is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listens {
    pub(crate) transport: Transport,
    pub(crate) at: BTreeSet<SocketAddr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Cast<'_> {
    /// Starts a server; `password` is the one of all relays of the run, and `ticket` the file of the peers'.
    pub(super) fn start_server(
        &self,
        name: &str,
        server: &Server,
        password: &str,
        ticket: &Path,
    ) -> Result<Running, ChildError> {
        let addresses: Vec<IpAddr> =
            self.plan.server(name).into_iter().flat_map(Port::all_addresses).map(|(ip, _)| ip).collect();
        let folder = self.directory.host(name)?;
        match (server.kind, self.programs.of(server.kind)) {
            (ServerKind::Coturn, Some(program)) => {
                let file = folder.join(COTURN_CONFIGURATION);
                write(&file, coturn_configuration(&addresses, &folder, password).as_bytes())?;
                let at = addresses.iter().map(|ip| SocketAddr::new(*ip, STUN_PORT)).collect();
                let arguments = vec!["-c".into(), file.into()];
                self.spawn_foreign(name, Part::Coturn, program, arguments, Listens::new(Transport::Udp, at))
            }
            (ServerKind::Iperf3, Some(program)) => self.start_iperf3(name, program),
            (ServerKind::Stun | ServerKind::Relay, _) => {
                let secret = folder.join(RELAY_SECRET);
                write(&secret, format!("{password}\n").as_bytes())?;
                let mut arguments: Vec<OsString> =
                    vec!["relay".into(), "--secret-file".into(), secret.into(), "--user".into()];
                arguments.push(TURN_USER.into());
                arguments.extend(addresses.iter().flat_map(|ip| ["--bind".into(), ip.to_string().into()]));
                if let Some(mimic) = server.mimic {
                    arguments.extend(["--mimic".into(), mimic.name().into()]);
                }
                if server.kind == ServerKind::Stun {
                    arguments.extend(["--allocations".into(), "0".into()]);
                }
                self.spawn(name, Part::Relay, arguments)
            }
            (ServerKind::Control, _) => {
                let binds = addresses.into_iter().map(|ip| SocketAddr::new(ip, CONTROL_PORT));
                let binds = binds.flat_map(|at| ["--bind".into(), at.to_string().into()]);
                let of_ticket = ["probe".into(), "control".into(), "--ticket-file".into(), ticket.into()];
                self.spawn(name, Part::Control, of_ticket.into_iter().chain(binds).collect())
            }
            // Programs of others were found before anything was started.
            (ServerKind::Rendezvous | ServerKind::Coturn | ServerKind::Iperf3, _) => {
                let binds = addresses.into_iter().map(|ip| SocketAddr::new(ip, STUN_PORT));
                let binds = binds.flat_map(|at| ["--bind".into(), at.to_string().into()]);
                self.spawn(name, Part::Rendezvous, ["rendezvous".into()].into_iter().chain(binds).collect())
            }
        }
    }

    /// What makes a peer ask the STUN servers and relays; a file in its directory names the relays.
    pub(super) fn server_arguments(
        &self,
        folder: &Path,
        password: &str,
    ) -> Result<Vec<OsString>, ChildError> {
        let of_those = |which: &dyn Fn(&Server) -> bool| -> Vec<SocketAddr> {
            let servers = self.scenario.servers.iter().filter(|(_, server)| which(server));
            // Of each family one: asking the others, too, would find nothing more.
            let firsts = servers.filter_map(|(name, _)| self.plan.server(name)).flat_map(addresses);
            firsts.map(|ip| SocketAddr::new(ip, STUN_PORT)).collect()
        };
        let of =
            |kinds: &[ServerKind]| of_those(&|server| server.mimic.is_none() && kinds.contains(&server.kind));
        let stun = of(&[ServerKind::Stun, ServerKind::Relay, ServerKind::Coturn]).into_iter();
        let mut arguments: Vec<OsString> =
            stun.flat_map(|at| ["--stun".into(), at.to_string().into()]).collect();
        let relays = of(&[ServerKind::Relay, ServerKind::Coturn]);
        if !relays.is_empty() {
            let lines = relays.iter().map(|at| format!("{TURN_USER}:{password}@{at}\n"));
            let file = folder.join(RELAYS);
            write(&file, lines.collect::<String>().as_bytes())?;
            arguments.extend(["--turn-file".into(), file.into()]);
        }
        let call_relays = of_those(&|server| server.mimic.is_some());
        if !call_relays.is_empty() {
            let file = folder.join(RELAY_SECRET);
            write(&file, format!("{password}\n").as_bytes())?;
            arguments.extend(["--call-secret-file".into(), file.into()]);
            arguments
                .extend(call_relays.iter().flat_map(|at| ["--call-relay".into(), at.to_string().into()]));
        }
        Ok(arguments)
    }

    fn start_iperf3(&self, name: &str, program: &Program) -> Result<Running, ChildError> {
        let arguments = ["--server", "--forceflush", "--port"].map(OsString::from).into_iter();
        let arguments = arguments.chain([IPERF3_PORT.to_string().into()]).collect();
        // One socket for both families.
        let at = BTreeSet::from([SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), IPERF3_PORT)]);
        self.spawn_foreign(name, Part::Iperf3, program, arguments, Listens::new(Transport::Tcp, at))
    }
}

/// Long-term credentials (RFC 8489 section 9.2), UDP and TCP, and no file outside the run directory.
fn coturn_configuration(addresses: &[IpAddr], folder: &Path, password: &str) -> String {
    let [database, pid] = COTURN_FILES.map(|name| folder.join(name));
    let mut text = format!(
        "listening-port={STUN_PORT}\nalt-listening-port={}\nlt-cred-mech\nrealm={TURN_USER}\n\
         {USER_LINE}{TURN_USER}:{password}\nfingerprint\nno-tls\nno-dtls\nno-cli\nsimple-log\nlog-file=stdout\n\
         userdb={}\npidfile={}\n",
        STUN_PORT + 1,
        database.display(),
        pid.display()
    );
    for ip in addresses {
        let _ = writeln!(text, "listening-ip={ip}");
    }
    // Relayed addresses are from the first of each family, as those of `iceperf relay` are from the one that was asked.
    for first in [IpAddr::is_ipv4, IpAddr::is_ipv6].map(|family| addresses.iter().find(|ip| family(ip))) {
        let _ = first.map(|ip| writeln!(text, "relay-ip={ip}"));
    }
    text
}

const USER_LINE: &str = "user=";

/// Takes the password out of what coturn was told; the rest stays as evidence.
pub(super) fn forget_password(folder: &Path) {
    let path = folder.join(COTURN_CONFIGURATION);
    let Ok(text) = fs::read_to_string(&path) else { return };
    let rest: String =
        text.lines().filter(|line| !line.starts_with(USER_LINE)).map(|line| format!("{line}\n")).collect();
    if fs::write(&path, rest).map_err(failed(&path)).is_err() {
        let _ = fs::remove_file(&path);
    }
}

impl Listens {
    fn new(transport: Transport, at: BTreeSet<SocketAddr>) -> Self {
        Self { transport, at }
    }

    /// Whether all sockets are there, in the namespace of a process.
    pub(super) fn is_met_by(&self, pid: u32) -> bool {
        let tables = match self.transport {
            Transport::Udp => ["udp", "udp6"],
            Transport::Tcp => ["tcp", "tcp6"],
        };
        let read = |table| fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        let bound: BTreeSet<SocketAddr> =
            tables.map(read).iter().flat_map(|text| text.lines().filter_map(local_address)).collect();
        self.at.is_subset(&bound)
    }
}

/// The second column of `/proc/net/udp` and its like (proc_net_tcp in the kernel's documentation): the address as the
/// machine's words in hexadecimal, then the port.
fn local_address(line: &str) -> Option<SocketAddr> {
    let (address, port) = line.split_whitespace().nth(1)?.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |index: usize| {
        let digits = address.get(8 * index..8 * index + 8)?;
        u32::from_str_radix(digits, 16).ok().map(u32::to_ne_bytes)
    };
    let ip = match address.len() {
        8 => IpAddr::V4(Ipv4Addr::from(word(0)?)),
        32 => {
            let mut octets = [0; 16];
            for (index, quarter) in octets.chunks_exact_mut(4).enumerate() {
                quarter.copy_from_slice(&word(index)?);
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, UdpSocket};

    #[test]
    fn the_kernels_tables_are_read() {
        let pid = std::process::id();
        let listens = |transport, at: SocketAddr| Listens::new(transport, [at].into());
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = udp.local_addr().unwrap();
        assert!(listens(Transport::Udp, at).is_met_by(pid));
        let tcp = TcpListener::bind("[::1]:0").unwrap();
        let other = tcp.local_addr().unwrap();
        assert!(listens(Transport::Tcp, other).is_met_by(pid));
        assert!(!Listens::new(Transport::Udp, [at, other].into()).is_met_by(pid));
        drop(udp);
        assert!(!listens(Transport::Udp, at).is_met_by(pid));
    }

    #[test]
    fn lines_that_are_no_sockets_are_none() {
        let head =
            "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout";
        for line in [head, "", "1: 0100007F", "1: 0100007F:0D9", "1: zz00007F:0D96", "1: 01:0D96 0"] {
            let found = local_address(line);
            assert!(found.is_none() || line.ends_with(":0D9"), "{line}: {found:?}");
        }
        #[cfg(target_endian = "little")]
        assert_eq!(local_address("1: 0100007F:0D96 0"), Some("127.0.0.1:3478".parse().unwrap()));
    }

    #[test]
    fn what_coturn_was_told_stays_without_the_password() {
        let folder = tempfile::tempdir().unwrap();
        let addresses = ["198.51.100.1", "2001:db8:ffff::1", "198.51.100.3"].map(|ip| ip.parse().unwrap());
        let text = coturn_configuration(&addresses, folder.path(), "open sesame");
        assert!(text.contains("\nuser=iceperf:open sesame\n"), "{text}");
        assert_eq!(text.matches("\nlistening-ip=").count(), 3, "{text}");
        assert!(text.ends_with("relay-ip=198.51.100.1\nrelay-ip=2001:db8:ffff::1\n"), "{text}");
        let file = folder.path().join(COTURN_CONFIGURATION);
        fs::write(&file, &text).unwrap();
        forget_password(folder.path());
        let left = fs::read_to_string(&file).unwrap();
        assert_eq!(left, text.replace("user=iceperf:open sesame\n", ""));
    }
}
