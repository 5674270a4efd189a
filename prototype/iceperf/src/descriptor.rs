//! The two things that cannot be done with descriptors in safe code: taking one that the parent process hands over by
//! number (`--events-fd`, `--control-fd`), and registering one with the runtime. All unsafe code of the program is here.

use nix::sys::timerfd::TimerFd;
use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd},
};
use tokio::io::{Interest, unix::AsyncFd};

/// Registered with the runtime's epoll.
pub(crate) type Watched<T> = AsyncFd<One<T>>;

/// An object that owns one descriptor, and the same one all its life.
pub(crate) trait OwnsOne: AsFd {}

impl OwnsOne for socket2::Socket {}
impl OwnsOne for netlink_sys::Socket {}
impl OwnsOne for TimerFd {}

/// Gives the runtime the number that it asks for, and nobody mutable access.
#[derive(Debug)]
pub(crate) struct One<T: OwnsOne>(T);

impl<T: OwnsOne> One<T> {
    /// The object.
    pub(crate) fn object(&self) -> &T {
        &self.0
    }
}

impl<T: OwnsOne> AsRawFd for One<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Registers with the runtime, which must be there.
#[expect(unsafe_code, reason = "the runtime keeps the number of a descriptor that the object may close")]
pub(crate) fn watch<T: OwnsOne>(object: T) -> io::Result<Watched<T>> {
    // SAFETY: `AsFd` promises that the descriptor is open while the object lives, `OwnsOne` that it is the same one,
    // and `One` never gives the object away or lets it be changed.
    unsafe { AsyncFd::register(One(object)) }.map_err(|error| error.into_parts().1)
}

/// Tries an operation that does not block, at once: the runtime's idea of readiness may lag behind. If it would block
/// indeed, the runtime is told so, and wakes up whoever waits when that changes.
pub(crate) fn attempt<T: OwnsOne, R>(
    watched: &Watched<T>,
    interest: Interest,
    mut operation: impl FnMut(&T) -> io::Result<R>,
) -> io::Result<R> {
    match operation(watched.get_ref().object()) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            watched.try_io(interest, |one| operation(one.object()))
        }
        result => result,
    }
}

/// An own duplicate of an inherited descriptor; an error if there is none of that number.
///
/// To be called before the program opens anything itself, so that a wrong number is not by chance one of its own.
#[expect(unsafe_code, reason = "an inherited descriptor is only known by its number")]
pub(crate) fn inherited(number: RawFd) -> io::Result<OwnedFd> {
    if number < 0 {
        return Err(io::Error::from_raw_os_error(nix::libc::EBADF));
    }
    // SAFETY: the number is not -1, and it is only used to duplicate the descriptor: the kernel answers EBADF if there
    // is none, and nobody closes it during the call, as no other thread exists yet.
    let borrowed = unsafe { BorrowedFd::borrow_raw(number) };
    borrowed.try_clone_to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsRawFd;

    #[test]
    fn a_number_that_is_not_open_is_an_error() {
        assert_eq!(inherited(-1).unwrap_err().raw_os_error(), Some(nix::libc::EBADF));
        assert_eq!(inherited(1_000_000).unwrap_err().raw_os_error(), Some(nix::libc::EBADF));
        let file = std::fs::File::open("/dev/null").unwrap();
        assert_ne!(inherited(file.as_raw_fd()).unwrap().as_raw_fd(), file.as_raw_fd());
    }
}
