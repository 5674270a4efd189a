//! SIGINT, SIGTERM and SIGHUP as something to wait for, so that an interrupted run still seals its directory.

use nix::sys::{
    signal::{SigSet, Signal},
    signalfd::{SfdFlags, SignalFd},
};
use std::{io, os::fd::AsFd};

/// The signals, blocked for this thread and all that it starts; children begin with none blocked.
#[derive(Debug)]
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// To be called before threads are started.
    pub(crate) fn block() -> io::Result<Self> {
        let mut set = SigSet::empty();
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP].into_iter().for_each(|signal| set.add(signal));
        set.thread_block()?;
        Ok(Self(SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?))
    }

    /// The number of a signal that came, if one did.
    pub(crate) fn pending(&self) -> Option<u8> {
        let info = self.0.read_signal().ok().flatten()?;
        u8::try_from(info.ssi_signo).ok()
    }

    /// Readable when one came.
    pub(crate) fn descriptor(&self) -> impl AsFd {
        self.0.as_fd()
    }
}
