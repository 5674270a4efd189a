//! Our agent against agents and servers that no one here wrote, over loopback sockets: aioice and libnice in both
//! roles, and coturn; and the disguise ladder before programs that classify traffic.
//!
//! What each of them needs is installed by `testbed/setup test`. Where it is missing a test says so and passes, except
//! in CI (the variable `CI` is set), where it fails.
//!
//! No test asserts how fast anything is: each waits for what has to happen, up to a limit that a busy machine keeps.

#![expect(clippy::disallowed_methods, reason = "a driver: it owns sockets and time")]

mod aioice;
mod coturn;
mod driver;
mod libnice;
mod oracles;
mod script;

use std::io::Write;
use std::process::{Command, Stdio};

/// Whether a test can run: `missing` names what it lacks.
fn have(missing: Option<&str>) -> bool {
    let Some(missing) = missing else { return true };
    let text = format!("NOT TESTED: {missing}; `testbed/setup test` installs it");
    assert!(std::env::var_os("CI").is_none(), "{text}");
    // Past the capture of the test harness.
    let _ = writeln!(std::io::stderr(), "{text}");
    false
}

/// Whether a command ends well.
fn works(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
