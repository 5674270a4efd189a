//! aioice, in Python: aggressive nomination when it controls, consent checks on the nominated pair only.

use std::path::PathBuf;

use ice::{Event, PairState, PairView, Role};

use crate::driver::{Driver, Party, config, credentials};
use crate::script::Script;
use crate::{have, works};

/// Where `testbed/setup test` puts it.
fn packages() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target/tools/aioice")
}

fn missing() -> Option<&'static str> {
    let packages = packages();
    let import =
        format!("import sys; sys.path.insert(0, {:?}); import aioice", packages.display().to_string());
    (!works("python3", &["-c", &import])).then_some("aioice is not installed")
}

/// Both, connected by all of these addresses.
fn connected(role: Role, ips: &[&str]) -> Option<(Driver, Script)> {
    if !have(missing()) {
        return None;
    }
    let theirs = if role == Role::Controlling { "controlled" } else { "controlling" };
    let mut arguments = vec![theirs];
    arguments.extend(ips);
    let mut script = Script::start("python3", "aioice_peer.py", Some(&packages()), &arguments);
    let mut driver = Driver::new(vec![Party::new(config(0, role), ips)]);
    let now = driver.now();
    let party = &mut driver.parties[0];
    let (remote, candidates) = script.introduction();
    assert_eq!(candidates.len(), ips.len());
    candidates.into_iter().for_each(|candidate| party.agent.add_remote_candidate(now, candidate));
    party.agent.set_remote_credentials(now, remote);
    party.agent.start(now);
    let told: Vec<_> = party.told().cloned().collect();
    script.introduce(&credentials(0), &told);
    driver.until("a usable pair", |driver| driver.parties[0].usable().next().map(|_| ()));
    Some((driver, script))
}

fn nominated(driver: &mut Driver) -> PairView {
    driver.until("a nominated pair", |driver| {
        let agent = &driver.parties[0].agent;
        agent.nominated().and_then(|id| agent.pair(id)).filter(|pair| pair.state.is_usable())
    })
}

/// Data passes both ways, and the pair stays alive beyond the time that consent lasts.
fn talk(driver: &mut Driver, script: &mut Script, pair: &PairView) {
    driver.parties[0].send(pair, b"from us");
    let expected: String = b"from us".iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(script.says(driver, "data "), format!("data {expected}"));
    script.tell("send 66726f6d207468656d");
    let heard = driver.until("data", |driver| driver.parties[0].heard.pop());
    assert_eq!(heard, b"from them");
    driver.run_for(std::time::Duration::from_secs(4));
    assert!(!driver.parties[0].consent_expired(pair.id));
    assert_eq!(driver.parties[0].agent.pair(pair.id).map(|pair| pair.nominated), Some(true));
}

/// It closes: nobody answers any more, so consent expires here.
fn it_leaves(driver: &mut Driver, script: &mut Script, pair: &PairView) {
    script.tell("close");
    script.says(driver, "closed");
    driver.until("expired consent", |driver| driver.parties[0].consent_expired(pair.id).then_some(()));
    assert_eq!(driver.parties[0].agent.pair(pair.id).map(|pair| pair.state), Some(PairState::Down));
}

#[test]
fn ours_controls_nominates_and_sees_consent_expire() {
    let Some((mut driver, mut script)) = connected(Role::Controlling, &["127.0.0.1"]) else { return };
    let pair = driver.parties[0].usable().next().unwrap();
    let now = driver.now();
    driver.parties[0].agent.nominate(now, pair.id);
    let port = driver.parties[0].local(pair.socket).port();
    assert_eq!(script.says(&mut driver, "connected"), format!("connected 127.0.0.1 {port}"));
    assert_eq!(nominated(&mut driver).id, pair.id);
    talk(&mut driver, &mut script, &pair);
    it_leaves(&mut driver, &mut script, &pair);
}

#[test]
fn it_controls_and_nominates_over_both_families() {
    let Some((mut driver, mut script)) = connected(Role::Controlled, &["127.0.0.1", "::1"]) else { return };
    script.says(&mut driver, "connected");
    let pair = nominated(&mut driver);
    assert!(driver.parties[0].usable().count() == 2, "both families work");
    let role_changed = |event: &Event| matches!(event, Event::RoleChanged(_));
    assert!(!driver.parties[0].events.iter().any(role_changed));
    talk(&mut driver, &mut script, &pair);
    it_leaves(&mut driver, &mut script, &pair);
}

#[test]
fn when_both_want_to_control_one_yields() {
    if !have(missing()) {
        return;
    }
    let mut script =
        Script::start("python3", "aioice_peer.py", Some(&packages()), &["controlling", "127.0.0.1"]);
    let mut ours = config(0, Role::Controlling);
    // The least of all: it has to be us.
    ours.tie_breaker = 0;
    let mut driver = Driver::new(vec![Party::new(ours, &["127.0.0.1"])]);
    let now = driver.now();
    let (remote, candidates) = script.introduction();
    let party = &mut driver.parties[0];
    candidates.into_iter().for_each(|candidate| party.agent.add_remote_candidate(now, candidate));
    party.agent.set_remote_credentials(now, remote);
    party.agent.start(now);
    let told: Vec<_> = party.told().cloned().collect();
    script.introduce(&credentials(0), &told);
    script.says(&mut driver, "connected");
    nominated(&mut driver);
    assert_eq!(driver.parties[0].agent.role(), Role::Controlled);
}

#[test]
fn it_sees_consent_expire_when_we_leave() {
    let Some((mut driver, mut script)) = connected(Role::Controlled, &["127.0.0.1"]) else { return };
    script.says(&mut driver, "connected");
    driver.parties[0].gone = true;
    script.says(&mut driver, "lost");
}
