//! Runs scenes in real namespaces: each as its own process, because user namespaces must come before threads, and each
//! both as root and as an ordinary user.
//!
//! A scene that cannot be set up has failed. The one exception: an ordinary user cannot run the scenes of root, which
//! the summary says.

mod captures;
mod changes;
mod lan;
mod networks;
mod programs;
mod scenes;
mod support;

use nix::{
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::geteuid,
};
use std::{
    env, fs,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, Instant},
};

/// An ordinary user that every machine has: nobody.
const NOBODY: u32 = 65_534;
const LONGEST_SCENE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["scene", name, tun] => scenes::run(name, Path::new(tun)),
        ["child", rest @ ..] => support::child(rest),
        _ => run_all(&words),
    }
}

/// Root, or an ordinary user.
#[derive(Clone, Copy, PartialEq)]
enum User {
    Root,
    Ordinary,
}

/// The test harness: filters, `--list` and a summary as other test binaries have them.
fn run_all(words: &[&str]) -> ExitCode {
    let filters = filters(words);
    let exact = words.contains(&"--exact");
    let wanted = |name: &str| {
        filters.is_empty()
            || filters.iter().any(|filter| if exact { name == *filter } else { name.contains(filter) })
    };
    let both = [(User::Root, "root"), (User::Ordinary, "ordinary_user")];
    let all = both.iter().flat_map(|(user, prefix)| {
        let scenes =
            scenes::NAMES.iter().filter(|scene| *user == User::Ordinary || scenes::depends_on_user(scene));
        scenes.map(move |scene| (*user, *scene, format!("{prefix}::{scene}")))
    });
    let all: Vec<_> = all.filter(|(_, _, name)| wanted(name)).collect();
    if words.contains(&"--list") {
        if !words.contains(&"--ignored") {
            all.iter().for_each(|(_, _, name)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let stage = Stage::new();
    println!("\nrunning {} tests", all.len());
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for (user, scene, name) in all {
        if user == User::Root && !geteuid().is_root() {
            println!("test {name} ... NOT TESTED: it needs root, and this is an ordinary user");
            skipped += 1;
            continue;
        }
        match stage.run(user, scene) {
            Ok(said) => {
                println!("test {name} ... ok{said}");
                passed += 1;
            }
            Err(why) => {
                println!("test {name} ... FAILED");
                failed.push(format!("---- {name} ----\n{why}"));
            }
        }
    }
    failed.iter().for_each(|text| println!("\n{text}"));
    let result = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {} failed; {skipped} ignored; 0 measured; 0 filtered out\n",
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

/// The words that are neither options nor values of options.
fn filters<'a>(words: &[&'a str]) -> Vec<&'a str> {
    const WITH_VALUE: [&str; 5] = ["--format", "--color", "--test-threads", "--logfile", "-Z"];
    let previous = [""].iter().chain(words);
    let words = words.iter().zip(previous);
    words
        .filter(|(word, before)| !word.starts_with('-') && !WITH_VALUE.contains(before))
        .map(|(word, _)| *word)
        .collect()
}

fn make_node(path: &Path, mode: u32) {
    mknod(path, SFlag::S_IFCHR, Mode::empty(), makedev(10, 200)).expect("root may make device nodes");
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("our own node");
}

/// What an ordinary user needs: a copy of this binary and a TUN node that it may open.
struct Stage {
    directory: tempfile::TempDir,
    binary: PathBuf,
    tun: PathBuf,
}

impl Stage {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let this = env::current_exe().expect("this binary has a path");
        let mut stage = Self { directory, binary: this.clone(), tun: "/dev/net/tun".into() };
        if geteuid().is_root() {
            let everyone = fs::Permissions::from_mode(0o755);
            fs::set_permissions(stage.directory.path(), everyone).expect("our own directory");
            stage.binary = stage.directory.path().join("namespaces");
            fs::copy(this, &stage.binary).expect("room for a copy of this binary");
            // Under a umask of 077 cargo makes programs for their owner alone.
            let everyone = fs::Permissions::from_mode(0o755);
            fs::set_permissions(&stage.binary, everyone).expect("our own file");
            stage.tun = stage.directory.path().join("tun");
            make_node(&stage.tun, 0o666);
            make_node(&support::closed_node(&stage.tun), 0o600);
        }
        stage
    }

    /// Runs a scene to its end; gives what it measured, or what went wrong.
    fn run(&self, user: User, scene: &str) -> Result<String, String> {
        let output = self.directory.path().join(format!("{scene}-{}.log", user as u8));
        let log = fs::File::create(&output).map_err(|error| error.to_string())?;
        let mut command = Command::new(&self.binary);
        command.args(["scene", scene]).arg(&self.tun).current_dir("/");
        command.stdout(log.try_clone().map_err(|error| error.to_string())?).stderr(log);
        if user == User::Ordinary && geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().map_err(|error| format!("cannot start the scene: {error}"))?;
        let deadline = Instant::now() + LONGEST_SCENE;
        let status = loop {
            match child.try_wait().map_err(|error| error.to_string())? {
                Some(status) => break status,
                None if Instant::now() > deadline => {
                    let _ = child.kill();
                    break child.wait().map_err(|error| error.to_string())?;
                }
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        };
        let said = fs::read_to_string(&output).unwrap_or_default();
        if status.success() {
            for line in said.lines().filter(|line| line.starts_with("NOT TESTED: ")) {
                eprintln!("{scene}: {line}");
            }
            let measured = said.lines().filter(|line| line.starts_with("measured: "));
            return Ok(measured.map(|line| format!("\n     {line}")).collect());
        }
        Err(format!("{status}\n{said}"))
    }
}
