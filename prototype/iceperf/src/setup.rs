//! From arguments and the files that they name to a configured peer: identity, secret, ticket.

use crate::{
    cli::{ClientArgs, CommonArgs, IceAgent, ServerArgs, turn_server},
    evidence::{Evidence, Filter},
    failure::Failure,
    identity::{self, Identity, IdentityError},
    relay::password,
    units::ByteSize,
    webrtc::{self, Meeting},
};
use peer::{CallRelays, CallSpec, Peer, PeerConfig, RelayServer, Role, Secret, Side, Ticket};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

/// A peer, and what its driver has to know besides.
pub(crate) struct Setup {
    /// Not started.
    pub(crate) peer: Peer,
    /// For people.
    pub(crate) role: &'static str,
    /// What to tell of the ticket once the addresses are known; none for a client.
    pub(crate) offer: Option<Offer>,
    /// Where the evidence goes that the peer hands out.
    pub(crate) evidence: Evidence,
    /// The other end may be on this host, so that loopback may lead to it.
    pub(crate) one_host: bool,
    /// In the place of sockets, if webrtc-ice is to find the way.
    pub(crate) webrtc: Option<webrtc::Config>,
}

/// The ticket of a server.
pub(crate) enum Offer {
    /// It was given.
    Given(Ticket),
    /// It is to be made.
    Make {
        /// Without addresses yet.
        ticket: Ticket,
        /// Where to write it.
        file: Option<PathBuf>,
    },
}

impl Offer {
    /// The ticket of a server that listens at these addresses. Writes the ticket's file if that is asked for.
    pub(crate) fn ticket(self, addresses: impl Iterator<Item = SocketAddr>) -> Result<Ticket, Failure> {
        /// As many as a ticket may hold.
        const MOST: usize = 32;
        match self {
            Offer::Given(ticket) => Ok(ticket),
            Offer::Make { mut ticket, file } => {
                ticket.addresses = addresses.take(MOST.saturating_sub(ticket.rendezvous.len())).collect();
                if ticket.addresses.is_empty() && ticket.rendezvous.is_empty() {
                    return Err(Failure::machine("no interface has an address that a client could reach")
                        .with_help(
                            "bring an interface up, give it an address, or name a rendezvous server with \
                             --rendezvous; `ip address` shows what there is",
                        ));
                }
                if let Some(path) = file {
                    identity::create(&path, format!("{ticket}\n").as_bytes()).map_err(Failure::machine)?;
                }
                Ok(ticket)
            }
        }
    }
}

/// `iceperf server`.
pub(crate) fn server(args: &ServerArgs) -> Result<Setup, Failure> {
    let Identity { certificate, key, secret } = match &args.identity {
        Some(directory) => Identity::load_or_create(directory),
        None => Identity::generate(),
    }
    .map_err(|error| not_identified(&error))?;
    let identity = peer::Identity::new(certificate, key).map_err(|error| match &args.identity {
        Some(_) => Failure::arguments(format!("--identity: {error}")),
        None => Failure::machine(error),
    })?;
    let own = Ticket {
        addresses: vec![],
        rendezvous: args.rendezvous.clone(),
        fingerprint: identity.fingerprint(),
        secret: Secret(secret),
    };
    let offer = match args.ticket_file.as_deref().map(existing_ticket).transpose()?.flatten() {
        Some(given) => Offer::Given(fitting(given, &own)?),
        None => Offer::Make { ticket: own, file: args.ticket_file.clone() },
    };
    let (Offer::Given(ticket) | Offer::Make { ticket, .. }) = &offer;
    let webrtc = webrtc(&args.common, ticket, Side::Server, Meeting::Here(args.port))?;
    // webrtc-ice meets clients by itself.
    let rendezvous = if webrtc.is_some() { vec![] } else { ticket.rendezvous.clone() };
    let role = Role::Server { identity, secret: ticket.secret.clone(), rendezvous };
    let evidence = evidence(&args.common, "server")?;
    let config =
        PeerConfig { duration: args.time, port: args.port, ..config(role, &evidence, &args.common)? };
    Ok(Setup { peer: peer(config)?, role: "server", offer: Some(offer), evidence, one_host: true, webrtc })
}

/// `iceperf client`.
pub(crate) fn client(args: &ClientArgs) -> Result<Setup, Failure> {
    let ticket = ticket(args.ticket.as_ref(), args.ticket_file.as_deref())?;
    let of_a_call = args.common.call_rate.is_some() || args.common.call_payload.is_some();
    if of_a_call && !args.calls() {
        return Err(Failure::arguments("--call-rate and --call-payload are of a call, and there is none")
            .with_help("--call beside --bulk makes both"));
    }
    let evidence = evidence(&args.common, "client")?;
    let webrtc = webrtc(&args.common, &ticket, Side::Client, Meeting::At(ticket.addresses.clone()))?;
    let ticket = match &webrtc {
        // To the peer there is only what webrtc-ice finds.
        Some(_) => Ticket { addresses: vec![webrtc::SERVER], rendezvous: vec![], ..ticket },
        None => Ticket { addresses: with_loopback(ticket.addresses, &own_addresses()), ..ticket },
    };
    let one_host = ticket.addresses.iter().any(|address| address.ip().is_loopback()) && webrtc.is_none();
    if one_host && !args.common.interfaces.is_empty() {
        tracing::warn!(
            "the server seems to be on this host, and --interface leaves loopback out: if no path is found, leave \
             --interface out at both ends"
        );
    }
    let config = config(Role::Client { ticket }, &evidence, &args.common)?;
    let config = PeerConfig {
        call: config.call.filter(|_| args.calls()),
        bulk: args.transfer(),
        probe: args.probing(),
        duration: args.duration(),
        connect_timeout: args.connect_timeout,
        port: args.cport,
        ..config
    };
    Ok(Setup { peer: peer(config)?, role: "client", offer: None, evidence, one_host, webrtc })
}

/// A server whose address is one of ours may be on this host. The kernel then delivers on loopback, where a socket that is
/// bound to another device need not get anything, and the server listens at its ports there, too. Another host may hold
/// the same address (as bridges of containers do), so the addresses of the ticket stay.
fn with_loopback(addresses: Vec<SocketAddr>, own: &[IpAddr]) -> Vec<SocketAddr> {
    let is_ours = |address: &&SocketAddr| own.contains(&address.ip());
    let loopback = |address: &SocketAddr| {
        let ip: IpAddr = match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        };
        SocketAddr::new(ip, address.port())
    };
    let mut here: Vec<SocketAddr> = addresses.iter().filter(is_ours).map(loopback).collect();
    here.retain(|address| !addresses.contains(address));
    here.into_iter().chain(addresses).collect()
}

/// The addresses of this host; none if the kernel does not say.
fn own_addresses() -> Vec<IpAddr> {
    let Ok(all) = nix::ifaddrs::getifaddrs() else { return vec![] };
    let ip = |address: nix::sys::socket::SockaddrStorage| {
        let v4 = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
    };
    all.filter_map(|interface| interface.address.and_then(ip)).collect()
}

/// What webrtc-ice is told, if it is to find the way. Peers that have a rendezvous server meet there.
fn webrtc(
    args: &CommonArgs,
    ticket: &Ticket,
    side: Side,
    without: Meeting,
) -> Result<Option<webrtc::Config>, Failure> {
    if args.ice == IceAgent::Ours {
        return Ok(None);
    }
    if let Some(option) = args.of_our_agent() {
        return Err(Failure::arguments(format!(
            "{option} is for our ICE agent: webrtc-ice has nothing like it"
        ))
        .with_help(format!("leave out {option}, or --ice webrtc-ice")));
    }
    let at_rendezvous = || Meeting::At(ticket.rendezvous.clone());
    Ok(Some(webrtc::Config {
        side,
        secret: ticket.secret.clone(),
        fingerprint: (side == Side::Server).then_some(ticket.fingerprint),
        meeting: if ticket.rendezvous.is_empty() { without } else { at_rendezvous() },
        stun: args.stun.clone(),
        relays: relays(args)?,
    }))
}

/// One that was given, or the one in a file.
pub(crate) fn ticket(given: Option<&Ticket>, file: Option<&Path>) -> Result<Ticket, Failure> {
    match (given, file) {
        (Some(ticket), _) => Ok(ticket.clone()),
        (None, Some(path)) => existing_ticket(path)?.ok_or_else(|| {
            Failure::arguments(format!("{}: no such file", path.display()))
                .with_help("`iceperf server --ticket-file FILE` writes it")
        }),
        (None, None) => Err(Failure::arguments("a ticket is missing")),
    }
}

fn evidence(args: &CommonArgs, role: &'static str) -> Result<Evidence, Failure> {
    let around = args.qlog_limited.then(|| args.qlog_around.clone());
    let filter = Filter::new(around, args.qlog_max.map(ByteSize::bytes));
    Evidence::open(args.key_log().as_deref(), args.qlog.as_deref(), filter, role)
}

/// What client and server have in common: a call, until somebody ends it.
fn config(role: Role, evidence: &Evidence, args: &CommonArgs) -> Result<PeerConfig, Failure> {
    let rate = args.call_rate.unwrap_or_default().per_second();
    let payload = args.call_payload.unwrap_or_default().bytes();
    let seed = match args.seed {
        Some(seed) => seed,
        None => u64::from_ne_bytes(identity::random_bytes().map_err(Failure::machine)?),
    };
    Ok(PeerConfig {
        role,
        engine: args.engine,
        evidence: evidence.wanted(),
        policy: args.policy.clone(),
        // To the peer behind webrtc-ice there are no servers.
        stun: if args.ice == IceAgent::Ours { args.stun.clone() } else { vec![] },
        relays: if args.ice == IceAgent::Ours { relays(args)? } else { vec![] },
        call_relays: call_relays(args)?,
        disguises: args.disguises.clone(),
        call: Some(CallSpec::new(rate, payload).map_err(Failure::arguments)?),
        bulk: None,
        probe: None,
        duration: None,
        // Only clients heed it.
        connect_timeout: Duration::from_secs(10),
        port: 0,
        seed,
    })
}

/// TURN servers of the command line, then those of the files.
fn relays(args: &CommonArgs) -> Result<Vec<RelayServer>, Failure> {
    let mut relays = args.turn.clone();
    for path in &args.turn_file {
        let failed = |what: &dyn std::fmt::Display| Failure::arguments(format!("{}: {what}", path.display()));
        let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
        relays.extend(turn_servers(&text).map_err(|why| failed(&why))?);
    }
    Ok(relays)
}

/// One on each line that is neither empty nor a comment.
fn turn_servers(text: &str) -> Result<Vec<RelayServer>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let named = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    named.map(|(place, line)| turn_server(line).map_err(|why| format!("line {}: {why}", place + 1))).collect()
}

/// Relays as WhatsApp has them. The one password is of all of them.
fn call_relays(args: &CommonArgs) -> Result<Option<CallRelays>, Failure> {
    let Some(path) = &args.call_secret_file else { return Ok(None) };
    let failed = |what: &dyn std::fmt::Display| {
        Failure::arguments(format!("--call-secret-file: {}: {what}", path.display()))
    };
    let text = fs::read_to_string(path).map_err(|error| failed(&error))?;
    let password = password(&text).map_err(|why| failed(&why))?;
    Ok(Some(CallRelays { addresses: args.call_relays.clone(), password }))
}

fn peer(config: PeerConfig) -> Result<Peer, Failure> {
    Peer::new(config).map_err(Failure::arguments)
}

/// The ticket in a file; none if there is no such file.
fn existing_ticket(path: &Path) -> Result<Option<Ticket>, Failure> {
    let place = path.display();
    match fs::read_to_string(path) {
        Ok(text) => match text.parse() {
            Ok(ticket) => Ok(Some(ticket)),
            Err(error) => Err(Failure::arguments(format!("{place}: {error}"))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if misnamed(&error) => Err(Failure::arguments(format!("{place}: {error}"))),
        Err(error) => Err(Failure::machine(format!("{place}: {error}"))),
    }
}

fn not_identified(error: &IdentityError) -> Failure {
    match error {
        IdentityError::Incomplete(_) | IdentityError::Secret(_) => {
            Failure::arguments(format!("--identity: {error}"))
        }
        IdentityError::File { source, .. } if misnamed(source) => {
            Failure::arguments(format!("--identity: {error}"))
        }
        IdentityError::File { .. } => Failure::machine(format!("--identity: {error}")),
        IdentityError::Certificate(_) | IdentityError::Random => Failure::machine(error),
    }
}

/// Whether another name would have done; rights and disks are the machine's.
fn misnamed(error: &io::Error) -> bool {
    use io::ErrorKind::{AlreadyExists, InvalidData, InvalidFilename, IsADirectory, NotADirectory, NotFound};
    matches!(
        error.kind(),
        AlreadyExists | InvalidData | InvalidFilename | IsADirectory | NotADirectory | NotFound
    )
}

/// A given ticket must be one that this server can honour.
fn fitting(given: Ticket, own: &Ticket) -> Result<Ticket, Failure> {
    if given.fingerprint != own.fingerprint {
        return Err(Failure::arguments("the ticket in --ticket-file is of another certificate").with_help(
            "name the directory that holds its certificate with --identity, or remove the file to have a new \
             ticket written",
        ));
    }
    if !own.rendezvous.is_empty() && own.rendezvous != given.rendezvous {
        return Err(Failure::arguments("the ticket in --ticket-file names other rendezvous servers")
            .with_help("leave --rendezvous out, or remove the file to have a new ticket written"));
    }
    Ok(given)
}

#[cfg(test)]
mod tests {
    use super::*;
    use peer::Fingerprint;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        Ticket {
            addresses: vec![],
            rendezvous: vec!["192.0.2.9:3478".parse().unwrap()],
            fingerprint: Fingerprint([1; 32]),
            secret: Secret([2; 16]),
        }
    }

    #[test]
    fn a_given_ticket_must_be_of_this_certificate_and_these_servers() {
        assert!(fitting(ticket(), &ticket()).is_ok());
        assert!(fitting(ticket(), &Ticket { rendezvous: vec![], ..ticket() }).is_ok());
        assert!(fitting(ticket(), &Ticket { fingerprint: Fingerprint([9; 32]), ..ticket() }).is_err());
        let elsewhere = vec!["192.0.2.8:3478".parse().unwrap()];
        assert!(fitting(ticket(), &Ticket { rendezvous: elsewhere, ..ticket() }).is_err());
    }

    #[test]
    fn loopback_is_tried_only_for_a_server_that_has_an_address_of_ours() {
        let parse =
            |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let own: Vec<IpAddr> =
            ["127.0.0.1", "192.0.2.1", "2001:db8::1"].map(|ip| ip.parse().unwrap()).to_vec();
        let elsewhere = parse(&["192.0.2.2:7", "[2001:db8::2]:8"]);
        assert_eq!(with_loopback(elsewhere.clone(), &own), elsewhere);
        assert_eq!(
            with_loopback(parse(&["192.0.2.1:7", "[2001:db8::1]:8", "192.0.2.2:9"]), &own),
            parse(&["127.0.0.1:7", "[::1]:8", "192.0.2.1:7", "[2001:db8::1]:8", "192.0.2.2:9"])
        );
        let loopback = parse(&["127.0.0.1:7"]);
        assert_eq!(with_loopback(loopback.clone(), &own), loopback);
    }

    #[test]
    fn a_made_ticket_names_the_addresses_and_is_written_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ticket");
        let address: SocketAddr = "192.0.2.1:7443".parse().unwrap();
        let offer = Offer::Make { ticket: ticket(), file: Some(path.clone()) };
        let made = offer.ticket([address; 40].into_iter()).unwrap();
        assert_eq!(made.addresses.len(), 31);
        assert_eq!(existing_ticket(&path).unwrap(), Some(made.clone()));
        assert_eq!(existing_ticket(&directory.path().join("none")).unwrap(), None);
        let again = Offer::Make { ticket: ticket(), file: Some(path.clone()) };
        assert!(again.ticket(std::iter::empty()).is_err(), "never overwritten");
        fs::write(&path, "iceperf1-torn").unwrap();
        assert!(existing_ticket(&path).is_err());
    }

    #[test]
    fn rights_and_randomness_are_the_machines_a_wrong_name_is_the_arguments() {
        let file =
            |code| IdentityError::File { path: "x".into(), source: io::Error::from_raw_os_error(code) };
        use nix::libc::{EACCES, EIO, EISDIR, ENOENT, ENOSPC, ENOTDIR, EROFS};
        for code in [EACCES, EROFS, ENOSPC, EIO] {
            assert!(matches!(not_identified(&file(code)), Failure::Machine { .. }), "{code}");
        }
        for code in [ENOTDIR, EISDIR, ENOENT] {
            assert!(matches!(not_identified(&file(code)), Failure::Arguments { .. }), "{code}");
        }
        assert!(matches!(not_identified(&IdentityError::Random), Failure::Machine { .. }));
        assert!(matches!(not_identified(&IdentityError::Secret("x".into())), Failure::Arguments { .. }));
    }

    #[test]
    fn nowhere_to_listen_is_an_error() {
        let offer = Offer::Make { ticket: Ticket { rendezvous: vec![], ..ticket() }, file: None };
        assert!(matches!(offer.ticket(std::iter::empty()), Err(Failure::Machine { .. })));
    }

    proptest! {
        #[test]
        fn no_text_panics_and_every_error_has_its_line(text in "([ #]?[a-z0-9:@\\[\\].%/-]{0,30}\r?\n){0,5}\\PC{0,20}") {
            if let Err(why) = turn_servers(&text) {
                prop_assert!(why.starts_with("line "));
            }
        }

        #[test]
        fn what_a_line_says_is_taken(
            ip: std::net::Ipv6Addr, port in 1..=u16::MAX, user in "[a-z0-9]{1,20}", password in "[a-z0-9]{1,20}",
        ) {
            let line = format!("{user}:{password}@[{ip}]:{port}");
            let read = turn_servers(&format!("# servers\n\n  {line}\n"));
            prop_assert_eq!(read.map(|all| all.len()), Ok(1), "{}", line);
        }
    }
}
