//! A layer-3 TUN device: what the kernel sends through the interface is read from it, what is written to it the
//! interface receives.
#![expect(unsafe_code, reason = "TUN devices are configured by ioctl")]

use nix::fcntl::OFlag;
use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd},
        unix::fs::OpenOptionsExt,
    },
    path::Path,
};

/// An open TUN device; the interface exists as long as it is open.
#[derive(Debug)]
pub(crate) struct Tun {
    file: File,
}

impl Tun {
    /// Makes an interface of this name in the calling thread's namespace. Packets come and go without a header in front
    /// (`IFF_NO_PI`), one in each read or write, and reads never wait.
    pub(crate) fn create(node: &Path, name: &str) -> io::Result<Self> {
        let file = open(node)?;
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
        // SAFETY: TUNSETIFF reads and writes one `ifreq`, which `request` is, and keeps no pointer to it.
        let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(Self { file }) }
    }

    /// The same device, once more.
    pub(crate) fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { file: self.file.try_clone()? })
    }

    /// Plugs the cable in, or pulls it: the interface stays up, and the kernel tells NO-CARRIER.
    pub(crate) fn set_carrier(&self, carrier: bool) -> io::Result<()> {
        let carrier = libc::c_int::from(carrier);
        // SAFETY: TUNSETCARRIER reads one `int`, which lives until the call returns.
        let result =
            unsafe { libc::ioctl(self.file.as_raw_fd(), libc::TUNSETCARRIER as _, &raw const carrier) };
        if result == -1 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The next packet that the kernel sends; `WouldBlock` if there is none.
    pub(crate) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.file).read(buffer)
    }

    /// Makes the kernel receive a packet.
    pub(crate) fn write(&self, packet: &[u8]) -> io::Result<()> {
        (&self.file).write(packet).map(drop)
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens the node that TUN devices are made from.
pub(crate) fn open(node: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(node)
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is a plain C structure, of which all zeros is a valid value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays the terminating zero, and a `%` would make the kernel choose a name.
    if name.is_empty() || name.len() >= request.ifr_name.len() || name.contains(['\0', '%', '/']) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "interface names have 1 to 15 bytes, no / or %",
        ));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_the_kernel_would_change_are_refused() {
        assert!(request("wlan0").is_ok());
        assert!(request("a23456789012345").is_ok());
        for name in ["", "a234567890123456", "wlan%d", "a/b", "a\0"] {
            assert!(request(name).is_err(), "{name:?}");
        }
    }
}
