//! What the tests share: users, a place that they may write to, the programs, and patience.

use crate::common::iceperf;
use nix::{
    sys::{
        signal::{Signal, kill},
        stat::{Mode, SFlag, makedev, mknod},
    },
    unistd::{Pid, geteuid},
};
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::{
        fs::{PermissionsExt as _, chown},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    rc::Rc,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Longer than anything takes here; a test that waits this long has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// An ordinary user that every machine has: nobody.
const NOBODY: u32 = 65_534;

/// Waits for something that must come.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Who runs `testbed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum User {
    /// As the tests are run, be it root or not.
    This,
    /// By root as nobody.
    Nobody,
}

/// A user and a directory of its own; few at a time, because many runs would make each other late.
pub(crate) struct Stage {
    user: User,
    directory: tempfile::TempDir,
    tun: PathBuf,
    /// Shared by the stages of one test.
    turn: Rc<Turn>,
}

/// The right to run, which is given back at its end. Most runs sleep most of the time: two cores are enough for four.
#[derive(Debug)]
struct Turn(usize);

static TAKEN: Mutex<usize> = Mutex::new(0);
static GIVEN_BACK: Condvar = Condvar::new();

impl Turn {
    const ALL: usize = 4;

    fn take(count: usize) -> Self {
        let is_full = |taken: &mut usize| *taken + count > Self::ALL;
        // A test that failed has told so itself.
        let taken = GIVEN_BACK.wait_while(Self::taken(), is_full);
        *taken.unwrap_or_else(PoisonError::into_inner) += count;
        Self(count)
    }

    fn taken() -> MutexGuard<'static, usize> {
        TAKEN.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        *Self::taken() -= self.0;
        GIVEN_BACK.notify_all();
    }
}

/// How a program ended and what it said.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Stage {
    /// Root and an ordinary user; without root's rights, the ordinary user alone, and that is said.
    pub(crate) fn for_every_user() -> Vec<Self> {
        let mut stages = vec![Self::for_one_user()];
        if geteuid().is_root() {
            let turn = stages[0].turn.clone();
            stages.push(Self::new(User::Nobody, turn));
        } else {
            // Not by a macro: those are swallowed by the test harness.
            let _ = std::io::stderr().write_all(b"NOT TESTED as root: this is an ordinary user\n");
        }
        stages
    }

    pub(crate) fn for_one_user() -> Self {
        Self::new(User::This, Rc::new(Turn::take(1)))
    }

    /// For a test that keeps a core busy, or looks at single packets.
    pub(crate) fn for_one_user_alone() -> Self {
        Self::new(User::This, Rc::new(Turn::take(Turn::ALL)))
    }

    /// Where only root can set the stage; without it that is said.
    pub(crate) fn for_an_ordinary_user_made_by_root() -> Option<Self> {
        Self::for_every_user().into_iter().find(|stage| stage.user == User::Nobody)
    }

    fn new(user: User, turn: Rc<Turn>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let stage = Self { user, tun: "/dev/net/tun".into(), directory, turn };
        let owner = (user == User::Nobody).then_some(NOBODY);
        fs::set_permissions(stage.path("."), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(stage.out()).unwrap();
        chown(stage.out(), owner, owner).unwrap();
        // Beside each other, where everybody may read them.
        for (program, name) in [(Path::new(env!("CARGO_BIN_EXE_testbed")), "testbed"), (iceperf(), "iceperf")]
        {
            fs::copy(program, stage.path(name)).unwrap();
            // Under a umask of 077 cargo makes programs for their owner alone.
            fs::set_permissions(stage.path(name), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        fs::copy(root.join("scenarios/whatsapp/wifi-off-in-call.yaml"), stage.path("scenario.yaml")).unwrap();
        match owner {
            Some(_) => Self { tun: stage.make_tun("tun", 0o666), ..stage },
            None => stage,
        }
    }

    fn make_tun(&self, name: &str, mode: u32) -> PathBuf {
        let path = self.path(name);
        mknod(&path, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("root may make device nodes");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    /// A TUN node that its user may not open.
    pub(crate) fn forbidden_tun(&self) -> String {
        self.make_tun("forbidden", 0o600).display().to_string()
    }

    /// The TUN node of its user.
    pub(crate) fn tun(&self) -> String {
        self.tun.display().to_string()
    }

    /// Below its directory, which is where `testbed` is run.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Where run directories go.
    pub(crate) fn out(&self) -> PathBuf {
        self.path("out")
    }

    /// Runs the scenario to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Told {
        self.run_with_tun(&self.tun.display().to_string(), arguments)
    }

    pub(crate) fn run_with_tun(&self, tun: &str, arguments: &[&str]) -> Told {
        Running(self.spawn(&[&self.run_arguments(tun), arguments].concat())).wait()
    }

    /// Runs another scenario of its directory.
    pub(crate) fn run_file(&self, file: &str, arguments: &[&str]) -> Told {
        let tun = self.tun();
        Running(self.spawn(&[&["run", file, "--out", "out", "--tun", &tun], arguments].concat())).wait()
    }

    /// Copies a scenario of the repository to where everybody may read it; its name there.
    pub(crate) fn take_scenario(&self, path: &str) -> String {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scenarios");
        let name = path.rsplit('/').next().expect("a path has a name").to_owned();
        fs::copy(root.join(path), self.path(&name)).unwrap();
        name
    }

    /// Starts the scenario.
    pub(crate) fn start(&self, arguments: &[&str]) -> Running {
        let tun = self.tun.display().to_string();
        Running(self.spawn(&[&self.run_arguments(&tun), arguments].concat()))
    }

    fn run_arguments<'a>(&self, tun: &'a str) -> [&'a str; 6] {
        ["run", "scenario.yaml", "--out", "out", "--tun", tun]
    }

    /// Any command of it.
    pub(crate) fn testbed(&self, arguments: &[&str]) -> Told {
        Running(self.spawn(arguments)).wait()
    }

    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut command = Command::new(self.path("testbed"));
        command.args(arguments).current_dir(self.directory.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.spawn().unwrap()
    }

    /// Waits until the newest run has recorded something, and hands its log back.
    pub(crate) fn wait_for_event(&self, part: &str) -> PathBuf {
        let pattern = self.out().join("wifi-off-in-call");
        let find = || -> Option<PathBuf> {
            let runs = fs::read_dir(&pattern).ok()?.filter_map(|entry| Some(entry.ok()?.path()));
            let log = runs.max()?.join("events.jsonl");
            fs::read_to_string(&log).ok()?.contains(part).then_some(log)
        };
        wait_until(&format!("{part} is recorded"), || find().is_some());
        find().unwrap()
    }

    /// The command lines of all processes that work on this stage, other than `testbed` itself.
    pub(crate) fn children(&self) -> Vec<String> {
        self.processes().into_iter().map(|(_, line)| line).collect()
    }

    fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.directory.path().display().to_string();
        let processes = fs::read_dir("/proc").unwrap().filter_map(|entry| {
            let pid: i32 = entry.ok()?.file_name().to_str()?.parse().ok()?;
            let line = fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " ");
            let is_server = line.contains("--events-fd") || line.contains("turnserver ");
            let ours = line.contains(&mark) && is_server;
            ours.then_some((pid, line))
        });
        processes.collect()
    }

    /// Ends one of the processes outright.
    pub(crate) fn kill_child(&self, part: &str) {
        let processes = self.processes();
        let found =
            processes.iter().find(|(_, line)| line.split([' ', '/']).any(|word| word == part)).unwrap();
        kill(Pid::from_raw(found.0), Signal::SIGKILL).unwrap();
    }

    /// Stops one of the processes for a time.
    pub(crate) fn pause_child(&self, part: &str, time: Duration) {
        let processes = self.processes();
        let is_it = |line: &str| line.split([' ', '/']).any(|word| word == part);
        let found = processes.iter().find(|(_, line)| is_it(line)).expect("it runs");
        pause(Pid::from_raw(found.0), time);
    }

    /// A script that says it is the right iceperf, knows its `$host`, and then does `body`; which must not leave
    /// processes of its own behind, as iceperf has none.
    pub(crate) fn fake_iceperf(&self, body: &str) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let host = r#"while [ $# -gt 0 ]; do [ "$1" = --host-name ] && host=$2; shift; done"#;
        let text =
            format!("#!/bin/sh\n[ \"$1\" = --version ] && exec echo iceperf {version}\n{host}\n{body}\n");
        let path = self.path("fake");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path.display().to_string()
    }
}

fn pause(process: Pid, time: Duration) {
    kill(process, Signal::SIGSTOP).unwrap();
    thread::sleep(time);
    kill(process, Signal::SIGCONT).unwrap();
}

/// `testbed` at work. It never outlives its test.
pub(crate) struct Running(Child);

/// Ways to end it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Killed {
    Outright,
    Interrupted,
    Terminated,
}

impl Running {
    pub(crate) fn kill(self, how: Killed) -> Told {
        let signal = match how {
            Killed::Outright => Signal::SIGKILL,
            Killed::Interrupted => Signal::SIGINT,
            Killed::Terminated => Signal::SIGTERM,
        };
        kill(Pid::from_raw(self.0.id() as i32), signal).unwrap();
        self.wait()
    }

    /// Stops it for a time.
    pub(crate) fn pause(&self, time: Duration) {
        pause(Pid::from_raw(self.0.id() as i32), time);
    }

    /// Reads all it says while waiting, so that it never waits for us.
    pub(crate) fn wait(mut self) -> Told {
        let (mut stdout, mut stderr) = (self.0.stdout.take().unwrap(), self.0.stderr.take().unwrap());
        let read_stdout = thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).map(|_| text)
        });
        let read_stderr = thread::spawn(move || {
            let mut text = String::new();
            stderr.read_to_string(&mut text).map(|_| text)
        });
        let mut status = None;
        wait_until("testbed ends", || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        });
        let status = status.unwrap();
        let (stdout, stderr) = (read_stdout.join().unwrap().unwrap(), read_stderr.join().unwrap().unwrap());
        Told { code: status.code(), signal: status.signal(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
