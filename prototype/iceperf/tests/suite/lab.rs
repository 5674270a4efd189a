//! Three network namespaces for one test: a client with WiFi and cellular, a server, and a router between them.
//!
//! ```text
//! client: wlan0 10.0.1.2 --- 10.0.1.1 |        |
//!         wwan0 10.0.2.2 --- 10.0.2.1 | router | 10.0.9.1 --- 10.0.9.2 eth0 :server
//! ```
//!
//! Nothing has a name outside, nothing is left behind: the namespaces live as long as the processes in them.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// As whom everything runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rights {
    /// Root of the machine.
    Root,
    /// An ordinary user in a user namespace of its own; `iceperf` itself without any capability.
    User,
}

/// The namespaces, and a directory for files.
pub(crate) struct Lab {
    rights: Rights,
    client: Holder,
    router: Holder,
    server: Holder,
    directory: tempfile::TempDir,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Host {
    Client,
    Router,
    Server,
}

const NOBODY: &str = "65534";
/// Longer than any test; a test that is killed leaves no namespace for longer.
const HOLD: &str = "120";

/// Runs a test with these rights. Says so, loudly, when this machine cannot; fails when it can in neither way.
pub(crate) fn with(rights: Rights, test: impl FnOnce(&Lab)) {
    match (rights, root(), user_namespaces()) {
        (Rights::Root, true, _) | (Rights::User, _, true) => test(&Lab::build(rights)),
        (Rights::Root, false, true) => loudly("NOT TESTED as root: the tests run as an ordinary user"),
        (Rights::User, true, false) => {
            loudly("NOT TESTED as an ordinary user: this machine has no user namespaces for one")
        }
        (_, false, false) => panic!("this machine lets neither root nor a user namespace be tested"),
    }
}

/// Past the capture of the test harness.
pub(crate) fn loudly(text: &str) {
    let _ = writeln!(io::stderr(), "{text}");
}

fn root() -> bool {
    nix::unistd::geteuid().is_root()
}

fn user_namespaces() -> bool {
    let mut words = as_user();
    words.extend(["unshare", "-rn", "true"]);
    Command::new(words[0])
        .args(&words[1..])
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

fn as_user() -> Vec<&'static str> {
    if root() { vec!["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"] } else { vec![] }
}

/// A process that does nothing but hold a namespace.
struct Holder(Child);

impl Holder {
    fn start(words: &[&str]) -> Self {
        let child = Command::new(words[0]).args(&words[1..]).spawn().unwrap();
        let comm = format!("/proc/{}/comm", child.id());
        wait("a namespace", || fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep"));
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Lab {
    fn build(rights: Rights) -> Self {
        let directory = tempfile::tempdir().unwrap();
        // An ordinary user must reach the program and write beside it.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let program = directory.path().join("iceperf");
        fs::copy(assert_cmd::cargo::cargo_bin!("iceperf"), &program).unwrap();
        // Under a umask of 077 cargo makes programs for their owner alone.
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();

        let mut words = if rights == Rights::User { as_user() } else { vec![] };
        words.extend(["unshare", if rights == Rights::User { "-rn" } else { "-n" }, "sleep", HOLD]);
        let router = Holder::start(&words);
        let mut words = entering(rights, &router);
        words.extend(["unshare", "-n", "sleep", HOLD].map(str::to_owned));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (client, server) = (Holder::start(&words), Holder::start(&words));
        let lab = Self { rights, client, router, server, directory };
        lab.router_shell("echo 1 > /proc/sys/net/ipv4/ip_forward");
        lab.wire(Host::Client, "wlan0", 1, 200);
        lab.wire(Host::Client, "wwan0", 2, 600);
        lab.wire(Host::Server, "eth0", 9, 100);
        lab
    }

    fn wire(&self, host: Host, interface: &str, network: u8, metric: u32) {
        let pid = self.holder(host).0.id();
        self.router_shell(&format!(
            "ip link add r{network} type veth peer name {interface} netns {pid} &&
             ip address add 10.0.{network}.1/24 dev r{network} && ip link set r{network} up"
        ));
        self.shell(
            host,
            &format!("ip address add 10.0.{network}.2/24 dev {interface} && ip link set {interface} up"),
        );
        self.route(host, interface, network, metric);
    }

    /// The default route that the kernel drops with the interface.
    pub(crate) fn route(&self, host: Host, interface: &str, network: u8, metric: u32) {
        let route = format!("ip route add default via 10.0.{network}.1 dev {interface} metric {metric}");
        self.shell(host, &route);
    }

    fn holder(&self, host: Host) -> &Holder {
        match host {
            Host::Client => &self.client,
            Host::Router => &self.router,
            Host::Server => &self.server,
        }
    }

    fn router_shell(&self, script: &str) {
        self.shell(Host::Router, script);
    }

    /// Runs a script inside, with all rights over the namespace.
    pub(crate) fn shell(&self, host: Host, script: &str) {
        let mut words = entering(self.rights, self.holder(host));
        words.extend(["bash", "-ec", script].map(str::to_owned));
        let output = Command::new(&words[0]).args(&words[1..]).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A file of this test.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts `iceperf` inside. Its events are on descriptor 5, its standard input is a pipe.
    pub(crate) fn start(&self, host: Host, arguments: &str) -> Running {
        let number = self.directory.path().read_dir().unwrap().count();
        let place = |what: &str| self.file(&format!("{number}.{what}"));
        let (stdout, stderr, events) = (place("stdout"), place("stderr"), place("events"));
        fs::write(&events, "").unwrap();
        fs::set_permissions(&events, fs::Permissions::from_mode(0o666)).unwrap();
        let mut words = entering(self.rights, self.holder(host));
        if self.rights == Rights::User {
            words.extend(
                ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"].map(str::to_owned),
            );
        }
        let script = format!("exec ./iceperf {arguments} --events-fd 5 5>>{}", events.display());
        words.extend(["bash", "-c", &script].map(str::to_owned));
        let child = Command::new(&words[0])
            .args(&words[1..])
            .current_dir(self.directory.path())
            .env_remove("RUST_LOG")
            .env_remove("SSLKEYLOGFILE")
            .stdin(Stdio::piped())
            .stdout(fs::File::create(&stdout).unwrap())
            .stderr(fs::File::create(&stderr).unwrap())
            .spawn()
            .unwrap();
        Running { arguments: arguments.to_owned(), child, stdout, stderr, events }
    }
}

fn entering(rights: Rights, holder: &Holder) -> Vec<String> {
    let pid = holder.0.id().to_string();
    let words = match rights {
        Rights::Root => vec!["nsenter", "-t", &pid, "-n"],
        Rights::User => {
            let mut words = as_user();
            words.extend(["nsenter", "-t", &pid, "-U", "-n", "--preserve-credentials"]);
            words
        }
    };
    words.into_iter().map(str::to_owned).collect()
}

/// A running `iceperf`.
pub(crate) struct Running {
    arguments: String,
    pub(crate) child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
    events: PathBuf,
}

impl Running {
    /// Events so far.
    pub(crate) fn events(&self) -> Vec<record::Event> {
        record::read_events(&self.events).unwrap().events
    }

    /// Waits until some event is so.
    pub(crate) fn wait_for(&self, what: &str, is: impl Fn(&record::EventKind) -> bool) {
        let found = wait_until(|| self.events().iter().any(|event| is(&event.what)));
        assert!(found, "waited for {what} in vain: {}", self.story());
    }

    /// Waits for the end.
    pub(crate) fn exit_code(&mut self) -> i32 {
        let mut code = None;
        let ended = wait_until(|| {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        assert!(ended, "does not end: {}", self.story());
        code.and_then(|status| status.code()).unwrap_or_else(|| panic!("{code:?}: {}", self.story()))
    }

    /// Asserts how it ends.
    pub(crate) fn ends_with(&mut self, code: i32) {
        let found = self.exit_code();
        assert_eq!(found, code, "{}", self.story());
    }

    pub(crate) fn signal(&self, signal: nix::sys::signal::Signal) {
        let pid = nix::unistd::Pid::from_raw(self.child.id() as i32);
        nix::sys::signal::kill(pid, signal).unwrap();
    }

    pub(crate) fn stdout(&self) -> String {
        fs::read_to_string(&self.stdout).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    /// Everything that helps to understand a failure.
    pub(crate) fn story(&self) -> String {
        let noise = |event: &&record::Event| {
            use record::EventKind::{CheckAnswered, CheckSent, PayloadReceived, PayloadSent};
            !matches!(
                event.what,
                CheckSent { .. } | CheckAnswered { .. } | PayloadSent { .. } | PayloadReceived { .. }
            )
        };
        let events = self.events();
        let events: Vec<String> = events.iter().filter(noise).map(|event| format!("{event:?}")).collect();
        format!(
            "iceperf {}\n--- stdout\n{}\n--- stderr\n{}\n--- events\n{}",
            self.arguments,
            self.stdout(),
            self.stderr(),
            events.join("\n")
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for something that must come.
pub(crate) fn wait(what: &str, is: impl FnMut() -> bool) {
    assert!(wait_until(is), "waited for {what} in vain");
}

fn wait_until(mut is: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + Duration::from_secs(30);
    while Instant::now() < end {
        if is() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Whether a file is there and has a whole line.
pub(crate) fn has_line(path: &Path) -> bool {
    fs::read_to_string(path).is_ok_and(|text| text.ends_with('\n'))
}
