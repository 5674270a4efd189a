//! Child processes inside a namespace, which never outlive the lab.
#![expect(unsafe_code, reason = "children change their namespace and descriptors between fork and exec")]

use nix::{
    sched::{CloneFlags, setns},
    sys::{prctl::set_pdeathsig, signal::Signal},
    unistd::{getpid, getppid},
};
use std::{
    ffi::OsString,
    fs::File,
    io,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, Sender},
    thread::{self, JoinHandle},
};

/// What to run, and what it is given.
#[derive(Debug)]
pub struct ChildSpec {
    /// The program; without a slash it is looked for in `PATH`.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables beside those of this process.
    pub env: Vec<(OsString, OsString)>,
    /// Descriptors to hand over, each with the number, from 3, that it has in the child.
    pub inherit: Vec<(OwnedFd, RawFd)>,
    /// Its standard output. Its standard input is empty.
    pub stdout: File,
    /// Its standard error.
    pub stderr: File,
}

/// The thread that spawns: the parent-death signal follows the thread that forked (prctl(2)), so this one lives exactly
/// as long as the children may.
#[derive(Debug)]
pub(crate) struct Spawner {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Job {
    namespace: OwnedFd,
    child: ChildSpec,
    reply: Sender<io::Result<Child>>,
}

impl Spawner {
    pub(crate) fn start() -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel();
        let thread = thread::Builder::new().name("lab-spawner".into()).spawn(|| serve(queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread) })
    }

    pub(crate) fn spawn(&self, namespace: OwnedFd, child: ChildSpec) -> io::Result<Child> {
        let gone = || io::Error::other("the spawning thread has ended");
        let (reply, answer) = mpsc::channel();
        let jobs = self.jobs.as_ref().ok_or_else(gone)?;
        jobs.send(Job { namespace, child, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

impl Drop for Spawner {
    /// The thread ends, and with it every child that still runs.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(jobs: Receiver<Job>) {
    for Job { namespace, child, reply } in jobs {
        let _ = reply.send(spawn(namespace, child));
    }
}

fn spawn(namespace: OwnedFd, child: ChildSpec) -> io::Result<Child> {
    let moves = Moves::prepare(child.inherit)?;
    let numbers = moves.numbers.clone();
    let parent = getpid();
    let mut command = Command::new(child.program);
    command.args(child.args).envs(child.env).stdin(Stdio::null()).stdout(child.stdout).stderr(child.stderr);
    let enter = move || {
        setns(&namespace, CloneFlags::CLONE_NEWNET)?;
        // After setns: a change of credentials clears it. A parent that died before it was set is seen by getppid.
        set_pdeathsig(Signal::SIGKILL)?;
        if getppid() != parent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        numbers.iter().try_for_each(|&(from, to)| duplicate(from, to))
    };
    // SAFETY: between fork and exec only async-signal-safe system calls are made (setns, prctl, getppid, dup2); nothing
    // is allocated, locked or freed: the vector is only read, and errors are bare codes.
    unsafe { command.pre_exec(enter) };
    let spawned = command.spawn();
    drop(moves);
    spawned
}

/// Descriptors on their way to fixed numbers.
struct Moves {
    /// From where to where, in the child.
    numbers: Vec<(RawFd, RawFd)>,
    /// Keeps the sources open, and the target numbers taken.
    _held: Vec<OwnedFd>,
}

impl Moves {
    /// Lifts every source above all targets, so that no move overwrites another's source, and occupies free targets, so
    /// that `Command`'s own pipe, which tells a failed exec, does not get one of these numbers.
    fn prepare(inherit: Vec<(OwnedFd, RawFd)>) -> io::Result<Self> {
        if let Some((_, low)) = inherit.iter().find(|(_, to)| *to <= libc::STDERR_FILENO) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("descriptor {low} is standard")));
        }
        let above = inherit.iter().map(|(_, to)| to + 1).max().unwrap_or(0);
        let (mut numbers, mut held) = (Vec::new(), Vec::new());
        for (source, to) in inherit {
            let lifted = duplicate_from(&source, above)?;
            numbers.push((lifted.as_raw_fd(), to));
            held.push(lifted);
            held.push(duplicate_from(&source, to)?);
        }
        Ok(Self { numbers, _held: held })
    }
}

/// A copy with the lowest free number from `lowest`; closed by exec.
fn duplicate_from(fd: &OwnedFd, lowest: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: F_DUPFD_CLOEXEC takes a number and touches no memory.
    let copy = unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_DUPFD_CLOEXEC, lowest) };
    if copy == -1 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Puts a descriptor at a fixed number, open beyond exec.
fn duplicate(from: RawFd, to: RawFd) -> io::Result<()> {
    // SAFETY: dup2 touches no memory; in the child nothing owns the number `to`.
    if unsafe { libc::dup2(from, to) } == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
