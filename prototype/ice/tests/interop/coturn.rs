//! coturn: two of ours meet through its relayed addresses.

use std::net::UdpSocket;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use ice::policy::Keeping;
use ice::stun::turn::method;
use ice::stun::{BINDING, Builder, Class, TransactionId};
use ice::{
    CandidateKind, Config, Event, PairState, PairView, RelayNews, RelayServer, Role, Rule, SocketId, Target,
};

use crate::driver::{Driver, Party, config, credentials};
use crate::{have, works};

const PASSWORD: &str = "a-secret";

/// A server of this test's own, on a port of its own, without a configuration of the machine's.
struct Coturn {
    child: Child,
    ip: &'static str,
    port: u16,
    _directory: tempfile::TempDir,
}

fn missing() -> Option<&'static str> {
    (!works("sh", &["-c", "command -v turnserver"])).then_some("coturn is not installed")
}

impl Coturn {
    /// On a port that was free a moment ago; if another process took it in between, on the next.
    fn start(ip: &'static str, more: &[&str]) -> Coturn {
        let started = (0..3).find_map(|_| {
            let coturn = Coturn::spawn(ip, more);
            coturn.answers().then_some(coturn)
        });
        started.expect("coturn does not answer")
    }

    fn spawn(ip: &'static str, more: &[&str]) -> Coturn {
        let directory = tempfile::tempdir().unwrap();
        let port = UdpSocket::bind((ip, 0)).unwrap().local_addr().unwrap().port();
        let mut command = Command::new("turnserver");
        let port_text = port.to_string();
        let user = format!("user:{PASSWORD}");
        command.args(["-n", "--no-cli", "--no-tls", "--no-dtls", "--no-tcp", "--log-file", "stdout"]);
        command.args(["--listening-ip", ip, "--relay-ip", ip, "--listening-port", &port_text]);
        command.args([
            "--lt-cred-mech",
            "--realm",
            "test.example",
            "--user",
            &user,
            "--allow-loopback-peers",
        ]);
        command.args(["--pidfile", "turn.pid", "--userdb", "turn.db"]).args(more);
        command
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Coturn { child: command.spawn().unwrap(), ip, port, _directory: directory }
    }

    /// Whether it does within ten seconds.
    fn answers(&self) -> bool {
        let socket = UdpSocket::bind((self.ip, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let request = Builder::new(Class::Request, BINDING, TransactionId([7; 12])).finish(None);
        (0..100).any(|_| {
            let _ = socket.send_to(&request, (self.ip, self.port));
            socket.recv(&mut [0; 1024]).is_ok()
        })
    }

    fn server(&self, password: &str) -> RelayServer {
        let address = (self.ip.parse::<std::net::IpAddr>().unwrap(), self.port).into();
        RelayServer { address, username: "user".into(), password: password.into() }
    }
}

impl Drop for Coturn {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two of ours: the first has a relay, and the two reach each other by nothing else.
fn by_relay(coturn: &Coturn) -> (Driver, PairView) {
    let party = |of, role| {
        let mut config = Config::new(role, credentials(of), of.into());
        // Checks are not what is looked at.
        config.policy.idle = Keeping::every(Duration::from_secs(4));
        config.policy.active = config.policy.idle;
        Party::new(config, &[coturn.ip])
    };
    let mut driver = Driver::new(vec![party(0, Role::Controlling), party(1, Role::Controlled)]);
    let now = driver.now();
    driver.parties[0].agent.add_relay_server(now, coturn.server(PASSWORD));
    driver.parties[0].agent.start(now);
    driver.until("an allocation", |driver| relayed(&driver.parties[0]).then_some(()));
    let socket = SocketId(0);
    let locals = [0, 1].map(|of| driver.parties[of].local(socket));
    for me in [0, 1] {
        let direct = Target::Pair(socket, locals[1 - me]);
        driver.parties[me].agent.set_rule(now, direct, Some(Rule::Forbidden));
    }
    driver.introduce();
    let pair = driver.until("a relayed pair on both sides", |driver| {
        let [a, b] = [0, 1].map(|of| driver.parties[of].usable().next());
        b.and(a)
    });
    assert_eq!(pair.local_kind, CandidateKind::Relay);
    driver.until("a channel", |driver| {
        let bound = |event: &Event| matches!(event, Event::Relay { news: RelayNews::Bound(_), .. });
        driver.parties[0].events.iter().any(bound).then_some(())
    });
    (driver, pair)
}

fn relayed(party: &Party) -> bool {
    party.told().any(|local| local.kind == CandidateKind::Relay)
}

fn answers(driver: &Driver, class: Class, method: u16) -> u32 {
    driver.parties[0].relayed.get(&(class, method)).copied().unwrap_or_default()
}

fn lost(driver: &Driver) -> Vec<&Event> {
    let is_lost = |event: &&Event| {
        matches!(event, Event::Relay { news: RelayNews::Refused(_) | RelayNews::Unanswered, .. })
            || matches!(event, Event::Pair { state: PairState::Removed, .. })
    };
    driver.parties[0].events.iter().filter(is_lost).collect()
}

/// Data passes both ways, over the channel in the end.
fn talk(driver: &mut Driver, pair: &PairView) {
    driver.parties[0].send(pair, b"there");
    assert_eq!(driver.until("data", |driver| driver.parties[1].heard.pop()), b"there");
    let back = driver.parties[1].usable().next().unwrap();
    assert_eq!(back.remote_kind, CandidateKind::Relay);
    driver.parties[1].send(&back, b"and back");
    assert_eq!(driver.until("data", |driver| driver.parties[0].heard.pop()), b"and back");
}

#[test]
fn allocations_permissions_and_channels_are_kept_over_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        if !have(missing()) {
            return;
        }
        let coturn = Coturn::start(ip, &[]);
        let (mut driver, pair) = by_relay(&coturn);
        talk(&mut driver, &pair);
        // 401 and then let in; a permission and a channel.
        assert_eq!(driver.parties[0].refusals, [401]);
        for method in [method::ALLOCATE, method::CREATE_PERMISSION, method::CHANNEL_BIND] {
            assert_eq!(answers(&driver, Class::Success, method), 1, "{method:#x}");
        }
        // Twenty minutes: each is refreshed at its time.
        driver.hurry(Duration::from_secs(1200));
        assert!(lost(&driver).is_empty(), "{:?}", lost(&driver));
        assert!(answers(&driver, Class::Success, method::REFRESH) >= 2);
        assert!(answers(&driver, Class::Success, method::CREATE_PERMISSION) >= 5);
        assert!(answers(&driver, Class::Success, method::CHANNEL_BIND) >= 3);
        let indications = answers(&driver, Class::Indication, method::SEND);
        talk(&mut driver, &pair);
        assert_eq!(answers(&driver, Class::Indication, method::SEND), indications, "over the channel");
    }
}

/// The nonce ends long before the allocation does: what it was signed with is refused as stale and signed anew. The
/// allocation lasts four seconds, so that it would be gone if that failed.
#[test]
fn a_stale_nonce_and_a_short_allocation_lose_nothing() {
    if !have(missing()) {
        return;
    }
    let coturn = Coturn::start("127.0.0.1", &["--stale-nonce=1", "--max-allocate-lifetime=4"]);
    let (mut driver, pair) = by_relay(&coturn);
    driver.until("a refresh", |driver| (answers(driver, Class::Success, method::REFRESH) > 0).then_some(()));
    driver.run_for(Duration::from_secs(5));
    assert!(driver.parties[0].refusals.contains(&438), "{:?}", driver.parties[0].refusals);
    assert!(lost(&driver).is_empty(), "{:?}", lost(&driver));
    talk(&mut driver, &pair);
}

#[test]
fn a_wrong_password_is_refused() {
    if !have(missing()) {
        return;
    }
    let coturn = Coturn::start("127.0.0.1", &[]);
    let mut driver = Driver::new(vec![Party::new(config(0, Role::Controlling), &["127.0.0.1"])]);
    let now = driver.now();
    driver.parties[0].agent.add_relay_server(now, coturn.server("a-guess"));
    driver.parties[0].agent.start(now);
    driver.until("a refusal", |driver| {
        let refused = |event: &Event| matches!(event, Event::Relay { news: RelayNews::Refused(401), .. });
        driver.parties[0].events.iter().any(refused).then_some(())
    });
    assert!(!relayed(&driver.parties[0]));
}

/// Both ends have a relay, and each is let through to the other.
#[test]
fn relay_to_relay_over_ipv6() {
    if !have(missing()) {
        return;
    }
    let coturn = Coturn::start("::1", &[]);
    let party = |of, role| Party::new(config(of, role), &["::1"]);
    let mut driver = Driver::new(vec![party(0, Role::Controlling), party(1, Role::Controlled)]);
    let now = driver.now();
    for party in &mut driver.parties {
        party.agent.add_relay_server(now, coturn.server(PASSWORD));
        party.agent.start(now);
    }
    driver.until("two allocations", |driver| driver.parties.iter().all(relayed).then_some(()));
    driver.introduce();
    let pair = driver.until("a pair of relays", |driver| {
        let both = |pair: &PairView| [pair.local_kind, pair.remote_kind] == [CandidateKind::Relay; 2];
        driver.parties[0].usable().find(both)
    });
    driver.parties[0].send(&pair, b"there");
    assert_eq!(driver.until("data", |driver| driver.parties[1].heard.pop()), b"there");
}
