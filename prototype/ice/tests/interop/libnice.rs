//! libnice, by its introspection: regular nomination, renomination, consent (RFC 7675) with its 403.

use ice::{PairView, Role, SocketId};

use crate::driver::{Driver, Party, config, credentials};
use crate::script::Script;
use crate::{have, works};

/// Debian's own, for which Debian's introspection is.
const PYTHON: &str = "/usr/bin/python3";

fn missing() -> Option<&'static str> {
    let import = "import gi; gi.require_version('Nice', '0.1'); from gi.repository import Nice";
    (!works(PYTHON, &["-c", import]))
        .then_some("libnice's introspection (gir1.2-nice-0.1, python3-gi) is not installed")
}

/// Ours with a socket on each of these addresses, it with one.
fn connected(role: Role, ips: &[&str], theirs: &str) -> Option<(Driver, Script)> {
    if !have(missing()) {
        return None;
    }
    let its_role = if role == Role::Controlling { "controlled" } else { "controlling" };
    let mut script = Script::start(PYTHON, "nice_peer.py", None, &[its_role, theirs]);
    let mut driver = Driver::new(vec![Party::new(config(0, role), ips)]);
    let now = driver.now();
    let party = &mut driver.parties[0];
    let (remote, candidates) = script.introduction();
    candidates.into_iter().for_each(|candidate| party.agent.add_remote_candidate(now, candidate));
    party.agent.set_remote_credentials(now, remote);
    party.agent.start(now);
    let told: Vec<_> = party.told().cloned().collect();
    script.introduce(&credentials(0), &told);
    driver
        .until("all pairs usable", |driver| (driver.parties[0].usable().count() == ips.len()).then_some(()));
    Some((driver, script))
}

fn nominate(driver: &mut Driver, pair: &PairView) {
    let now = driver.now();
    driver.parties[0].agent.nominate(now, pair.id);
    driver.until("the nomination", |driver| {
        (driver.parties[0].agent.nominated() == Some(pair.id)).then_some(())
    });
}

/// That it uses the pair which ends at this address of ours.
fn selects(driver: &mut Driver, script: &mut Script, pair: &PairView) {
    let ours = driver.parties[0].local(pair.socket);
    script.says(driver, &format!("selected {} {}", ours.ip(), ours.port()));
}

fn talk(driver: &mut Driver, script: &mut Script, pair: &PairView) {
    driver.parties[0].send(pair, b"from us");
    assert_eq!(script.says(driver, "data "), "data 66726f6d207573");
    script.tell("send 66726f6d207468656d");
    assert_eq!(driver.until("data", |driver| driver.parties[0].heard.pop()), b"from them");
}

fn by_socket(driver: &Driver, socket: u32) -> PairView {
    driver.parties[0].usable().find(|pair| pair.socket == SocketId(socket)).unwrap()
}

#[test]
fn ours_nominates_and_nominates_again() {
    let Some((mut driver, mut script)) =
        connected(Role::Controlling, &["127.0.0.1", "127.0.0.2"], "127.0.0.3")
    else {
        return;
    };
    let (first, second) = (by_socket(&driver, 0), by_socket(&driver, 1));
    // The lesser one, so that what it selects is not what it would have by itself.
    assert!(first.priority > second.priority);
    nominate(&mut driver, &second);
    selects(&mut driver, &mut script, &second);
    script.says(&mut driver, "state ready");
    talk(&mut driver, &mut script, &second);
    nominate(&mut driver, &first);
    selects(&mut driver, &mut script, &first);
    talk(&mut driver, &mut script, &first);
    // Back, against the priorities: libnice 0.1 takes note of the higher count and yet keeps what it has selected, for its
    // own data. Ours goes where it was nominated to.
    nominate(&mut driver, &second);
    driver.parties[0].send(&second, b"once more");
    assert_eq!(script.says(&mut driver, "data "), "data 6f6e6365206d6f7265");
}

#[test]
fn it_nominates_one_pair_over_ipv6_and_loses_us_when_we_leave() {
    let Some((mut driver, mut script)) = connected(Role::Controlled, &["::1"], "::1") else { return };
    let pair = by_socket(&driver, 0);
    driver.until("its nomination", |driver| {
        (driver.parties[0].agent.nominated() == Some(pair.id)).then_some(())
    });
    script.says(&mut driver, "state ready");
    talk(&mut driver, &mut script, &pair);
    driver.parties[0].gone = true;
    // Ten seconds after the last answer.
    script.says(&mut driver, "state failed");
}

#[test]
fn it_withdraws_its_consent() {
    let Some((mut driver, mut script)) = connected(Role::Controlling, &["127.0.0.1"], "127.0.0.3") else {
        return;
    };
    let pair = by_socket(&driver, 0);
    nominate(&mut driver, &pair);
    script.says(&mut driver, "state ready");
    assert!(!driver.parties[0].consent_expired(pair.id));
    script.tell("lose-consent");
    script.says(&mut driver, "refusing True");
    driver.until("expired consent", |driver| driver.parties[0].consent_expired(pair.id).then_some(()));
    assert_eq!(driver.parties[0].usable().count(), 0);
}
