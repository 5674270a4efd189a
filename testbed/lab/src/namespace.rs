//! A network namespace without a name: it lives as long as a file descriptor or a process refers to it.

use nix::sched::{CloneFlags, setns, unshare};
use std::{
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    thread,
};

/// A network namespace, held.
#[derive(Debug)]
pub(crate) struct Namespace {
    fd: OwnedFd,
}

impl Namespace {
    /// A new, empty one. Namespaces belong to threads: a short-lived thread moves into the new one, so that the caller
    /// stays where it is.
    pub(crate) fn new() -> io::Result<Self> {
        in_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET)?;
            Ok(Self { fd: File::open("/proc/thread-self/ns/net")?.into() })
        })
    }

    /// Runs something inside; sockets and TUN devices that it opens stay inside.
    pub(crate) fn run<T: Send, E: From<io::Error> + Send>(
        &self,
        inside: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        in_thread(|| {
            setns(&self.fd, CloneFlags::CLONE_NEWNET).map_err(io::Error::from)?;
            inside()
        })
    }
}

impl AsFd for Namespace {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn in_thread<T: Send, E: From<io::Error> + Send>(work: impl FnOnce() -> Result<T, E> + Send) -> Result<T, E> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("lab-namespace".into()).spawn_scoped(scope, work)?;
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}
