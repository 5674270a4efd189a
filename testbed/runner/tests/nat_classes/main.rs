//! `iceperf probe nat` and `iceperf relay`, real programs on kernels' sockets, with a NAT between them: the modelled ones
//! in a lab, and the kernel's own of `netns-scripts/`. Each must be recognised as itself, and both alike.
//!
//! As an ordinary user, which every machine has and which needs no more of it than root does. A lab needs a process
//! whose only thread makes it, so the modelled part is one. What this machine lacks is told.

#[path = "../common/mod.rs"]
mod common;
mod kernel;
mod modelled;
mod verdict;

use common::iceperf;
use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{Uid, geteuid},
};
use std::{
    env, fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

/// An ordinary user that every machine has: nobody.
const NOBODY: u32 = 65_534;
/// Whatever runs for longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// A test; what it found wrong, or that it cannot be run here, and why.
type Test = fn(&Stage) -> Result<Passed, String>;

/// What a test that did not fail tells.
pub(crate) enum Passed {
    /// So many NATs were recognised.
    Recognised(usize),
    NotTested(String),
}

const TESTS: [(&str, Test); 2] = [
    ("modelled_nats_are_recognised_through_the_kernels_sockets", modelled),
    ("the_kernels_nats_get_the_verdicts_of_the_modelled_ones", kernel::run),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["modelled", tun] => modelled::run(Path::new(tun)),
        _ => run_all(&words),
    }
}

/// The test harness: filters, `--list` and a summary as other test binaries have them.
fn run_all(words: &[&str]) -> ExitCode {
    let filters: Vec<&&str> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(**filter));
    let tests: Vec<_> = TESTS.into_iter().filter(|(name, _)| wanted(name)).collect();
    if words.contains(&"--list") {
        if !words.contains(&"--ignored") {
            tests.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", tests.len());
    if tests.is_empty() {
        return ExitCode::SUCCESS;
    }
    let stage = Stage::new();
    // Both mostly wait for what does not come.
    let results: Vec<_> = thread::scope(|scope| {
        let stage = &stage;
        let run = |(name, test): (_, Test)| (name, scope.spawn(move || timed(|| test(stage))));
        let running: Vec<_> = tests.into_iter().map(run).collect();
        running.into_iter().map(|(name, thread)| (name, thread.join())).collect()
    });
    let mut failed = false;
    for (name, result) in results {
        match result {
            Ok((Ok(Passed::Recognised(count)), took)) => {
                println!("test {name} ... ok ({count} NATs in {:.1} s)", took.as_secs_f64());
            }
            Ok((Ok(Passed::NotTested(why)), _)) => {
                println!("test {name} ... NOT TESTED");
                eprintln!("NOT TESTED: {name}: {why}");
            }
            Ok((Err(why), _)) => {
                failed = true;
                println!("test {name} ... FAILED\n---- {name} ----\n{why}");
            }
            Err(_) => {
                failed = true;
                println!("test {name} ... FAILED: it panicked");
            }
        }
    }
    println!("\ntest result: {}.\n", if failed { "FAILED" } else { "ok" });
    ExitCode::from(u8::from(failed))
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let result = work();
    (result, began.elapsed())
}

fn modelled(stage: &Stage) -> Result<Passed, String> {
    let this = stage.path("nat_classes");
    let mut command = stage.command(&this);
    command.arg("modelled").arg(&stage.tun);
    let log = stage.path("modelled.log");
    let said = finish(command, &log)?;
    let count = said.lines().find_map(|line| line.strip_prefix("recognised: ")).map(str::parse);
    count.and_then(Result::ok).map(Passed::Recognised).ok_or(said)
}

/// Runs something to its end; what it said.
pub(crate) fn finish(mut command: Command, log: &Path) -> Result<String, String> {
    let program = command.get_program().display().to_string();
    let failed = |error: std::io::Error| format!("{program}: {error}");
    let file = fs::File::create(log).map_err(failed)?;
    command.stdin(Stdio::null()).stdout(file.try_clone().map_err(failed)?).stderr(file);
    let mut child = command.spawn().map_err(failed)?;
    let deadline = Instant::now() + PATIENCE;
    let status = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                let _ = child.kill();
                break child.wait().map_err(failed)?;
            }
            None => thread::sleep(Duration::from_millis(10)),
        }
    };
    let said = fs::read_to_string(log).unwrap_or_default();
    if status.success() { Ok(said) } else { Err(format!("{status}\n{said}")) }
}

/// Copies of the programs in a directory that an ordinary user may read and write, and a TUN node for that user.
pub(crate) struct Stage {
    directory: tempfile::TempDir,
    tun: PathBuf,
    /// Who runs everything, if not who runs the tests.
    user: Option<Uid>,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let everyone = |path: &Path, mode| {
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own file");
        };
        everyone(directory.path(), 0o777);
        let user = geteuid().is_root().then(|| Uid::from_raw(NOBODY));
        let mut stage = Self { directory, tun: "/dev/net/tun".into(), user };
        let this = env::current_exe().expect("this binary has a path");
        fs::copy(this, stage.path("nat_classes")).expect("room for a copy of this binary");
        fs::copy(iceperf(), stage.path("iceperf")).expect("room for a copy of iceperf");
        // Under a umask of 077 cargo makes programs for their owner alone.
        everyone(&stage.path("nat_classes"), 0o755);
        everyone(&stage.path("iceperf"), 0o755);
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../netns-scripts");
        let there = stage.path("netns-scripts");
        fs::create_dir(&there).expect("our own directory");
        everyone(&there, 0o755);
        for entry in fs::read_dir(scripts).expect("the scripts of the repository") {
            let path = entry.expect("a directory that can be read").path();
            if let Some(name) = path.file_name().filter(|_| path.extension().is_some_and(|it| it == "sh")) {
                fs::copy(&path, there.join(name)).expect("room for scripts");
                everyone(&there.join(name), 0o755);
            }
        }
        if user.is_some() {
            stage.tun = stage.path("tun");
            mknod(&stage.tun, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200))
                .expect("root may make device nodes");
            everyone(&stage.tun, 0o666);
        }
        stage
    }

    /// Below its directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program for its user, run in its directory.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path());
        if let Some(user) = self.user {
            command.uid(user.as_raw()).gid(user.as_raw());
        }
        command
    }
}
