//! Whether this process may make namespaces and TUN devices, and the exact way out when it may not.

use crate::{datapath::become_punctual, namespace::Namespace, tun, tun::Tun};
use nix::{
    errno::Errno,
    sched::{CloneFlags, unshare},
    sys::stat::makedev,
    unistd::{getgid, getuid},
};
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Proof that namespaces and TUN devices can be made.
#[derive(Debug)]
pub struct Rights {
    tun: PathBuf,
    rootless: bool,
}

/// Makes sure that this process can set a lab up; an ordinary user's process moves into a user namespace of its own, in
/// which it is root over what it makes, and stays there.
///
/// `tun` is the node that TUN devices are made from, normally `/dev/net/tun`.
///
/// # Errors
///
/// See [`RightsError`], whose texts name the remedy. Call this before the process has a second thread: user namespaces
/// cannot be entered afterwards (unshare(2)).
pub fn acquire(tun: &Path) -> Result<Rights, RightsError> {
    check_node(tun)?;
    let rootless = !has_capabilities();
    if rootless {
        enter_user_namespace()?;
    }
    let rights = Rights { tun: tun.into(), rootless };
    rights.try_out()?;
    Ok(rights)
}

/// What a lab needs, looked at one by one, so that all that is missing is told at once.
///
/// Like [`acquire`] it moves an ordinary user's process into a user namespace.
pub fn examine(tun: &Path) -> Examined {
    let node = check_node(tun);
    let rootless = !has_capabilities();
    let user_namespace = rootless.then(enter_user_namespace);
    let may = user_namespace.as_ref().is_none_or(Result::is_ok);
    let rights = Rights { tun: tun.into(), rootless };
    let network_namespace =
        may.then(|| Namespace::new().map(drop).map_err(|error| refused("make a network namespace", error)));
    let may = may && network_namespace.as_ref().is_some_and(Result::is_ok);
    let device = (may && node.is_ok()).then(|| rights.try_out());
    let punctual = std::thread::spawn(become_punctual).join().unwrap_or(false);
    Examined { node, user_namespace, network_namespace, device, punctual }
}

/// See [`examine`].
#[derive(Debug)]
pub struct Examined {
    /// The TUN node is there and can be opened.
    pub node: Result<(), RightsError>,
    /// A user namespace can be made; none when none is needed, as for root.
    pub user_namespace: Option<Result<(), RightsError>>,
    /// A network namespace can be made; none when that could not be tried.
    pub network_namespace: Option<Result<(), RightsError>>,
    /// A TUN device can be made in a network namespace; none when that could not be tried.
    pub device: Option<Result<(), RightsError>>,
    /// A thread that carries packets may run before all ordinary ones (SCHED_FIFO).
    pub punctual: bool,
}

impl Rights {
    /// Whether a user namespace was needed.
    pub fn is_rootless(&self) -> bool {
        self.rootless
    }

    pub(crate) fn tun(&self) -> &Path {
        &self.tun
    }

    /// Some machines let a user namespace be made and then refuse what it is for, so it is done once.
    fn try_out(&self) -> Result<(), RightsError> {
        let namespace = Namespace::new().map_err(|error| refused("make a network namespace", error))?;
        namespace.run(|| Tun::create(&self.tun, "probe0").map(drop)).map_err(|error| {
            match Errno::from_raw(error.raw_os_error().unwrap_or(0)) {
                Errno::ENODEV | Errno::ENXIO => RightsError::KernelWithoutTun { node: self.tun.clone() },
                Errno::EBADF | Errno::ENOTTY | Errno::EINVAL => {
                    RightsError::NotTun { node: self.tun.clone() }
                }
                _ => refused("make a TUN device", error),
            }
        })
    }
}

/// Why this process cannot set a lab up, and what to do about it.
#[derive(Debug, Error)]
pub enum RightsError {
    /// There is no such device node.
    #[error(
        "{node} does not exist\nfix: {fix}", node = .node.display(), fix = fix_for_missing(node)
    )]
    NoTun {
        /// The path.
        node: PathBuf,
    },
    /// The path leads to something else.
    #[error(
        "{node} is not the TUN device (a character device with numbers 10 200)\nfix: {fix}",
        node = .node.display(), fix = fix_for_other(node)
    )]
    NotTun {
        /// The path.
        node: PathBuf,
    },
    /// The node is there, but not for this user.
    #[error(
        "{node} cannot be opened: {source}\n\
         fix: sudo chmod 0666 {node}\n\
         for good: echo 'KERNEL==\"tun\", MODE=\"0666\"' | sudo tee /etc/udev/rules.d/90-tun.rules, then reboot\n\
         or name a node of your own, on a file system that is not mounted nodev: \
         sudo mknod -m 0666 /opt/tun c 10 200, then --tun /opt/tun\n\
         or run it as root", node = .node.display()
    )]
    TunRefused {
        /// The path.
        node: PathBuf,
        /// What the kernel says.
        source: io::Error,
    },
    /// The node is there, but no driver behind it.
    #[error(
        "the kernel has no TUN driver behind {node}\n\
         fix: sudo modprobe tun (module tun, CONFIG_TUN); in a virtual machine or container it is the host's to load",
        node = .node.display()
    )]
    KernelWithoutTun {
        /// The path.
        node: PathBuf,
    },
    /// AppArmor keeps user namespaces from ordinary users' programs, as on Ubuntu since 24.04.
    #[error(
        "AppArmor does not let this program make user namespaces (Ubuntu since 24.04): {source}\n\
         fix until the next boot: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0\n\
         for good, for this program only: printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\n\
         profile testbed {program} flags=(unconfined) {{\\n  userns,\\n}}\\n' | sudo tee /etc/apparmor.d/testbed \
         && sudo apparmor_parser -r /etc/apparmor.d/testbed\n\
         or run it as root", program = program()
    )]
    AppArmor {
        /// What the kernel says.
        source: io::Error,
    },
    /// User namespaces are switched off for ordinary users.
    #[error(
        "user namespaces are switched off for ordinary users: {source}\n\
         fix: sudo sysctl -w kernel.unprivileged_userns_clone=1\n\
         or run it as root"
    )]
    Unprivileged {
        /// What the kernel says.
        source: io::Error,
    },
    /// No user namespaces, or no more of them.
    #[error(
        "the limit of {what} namespaces, {limit}, is reached: {source}\n\
         fix: sudo sysctl -w user.max_{what}_namespaces=15000"
    )]
    Limit {
        /// Of `user` or `net` namespaces.
        what: &'static str,
        /// The limit.
        limit: u64,
        /// What the kernel says.
        source: io::Error,
    },
    /// The process has threads already.
    #[error("{count} threads run already: a user namespace must be made before the second one")]
    Threads {
        /// How many.
        count: usize,
    },
    /// Refused for another reason, for example by a container's system call filter.
    #[error(
        "cannot {action}: {source}\n\
         fix: run it as root, or, in a container, with --cap-add SYS_ADMIN --cap-add NET_ADMIN \
         --security-opt seccomp=unconfined; the kernel must have CONFIG_USER_NS and CONFIG_NET_NS"
    )]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}

/// Where the kernel's own node is, and what is used without `--tun`.
const USUAL_NODE: &str = "/dev/net/tun";

fn fix_for_missing(node: &Path) -> String {
    if node != Path::new(USUAL_NODE) {
        return format!("leave out --tun, or: sudo mknod -m 0666 {} c 10 200", node.display());
    }
    format!(
        "sudo modprobe tun\n\
         if it is still missing: sudo mkdir -p /dev/net && sudo mknod -m 0666 {USUAL_NODE} c 10 200\n\
         in a container: start it with --device {USUAL_NODE}"
    )
}

/// What is there already may be needed, so a node is made beside it, unless it stands where the TUN device belongs.
fn fix_for_other(node: &Path) -> String {
    let node = node.display();
    if node.to_string() == USUAL_NODE {
        return format!("sudo rm -r {node} && sudo mknod -m 0666 {node} c 10 200");
    }
    format!("leave out --tun, or: sudo mknod -m 0666 {node}.new c 10 200, then --tun {node}.new")
}

/// Device numbers of the TUN driver (Linux's list of allocated devices).
const MISC: u64 = 10;
const TUN_MINOR: u64 = 200;

fn check_node(node: &Path) -> Result<(), RightsError> {
    let refused = |source: io::Error| match Errno::from_raw(source.raw_os_error().unwrap_or(0)) {
        Errno::ENOENT | Errno::ENOTDIR => RightsError::NoTun { node: node.into() },
        Errno::ENODEV | Errno::ENXIO => RightsError::KernelWithoutTun { node: node.into() },
        _ => RightsError::TunRefused { node: node.into(), source },
    };
    let found = fs::metadata(node).map_err(refused)?;
    if !found.file_type().is_char_device() || found.rdev() != makedev(MISC, TUN_MINOR) {
        return Err(RightsError::NotTun { node: node.into() });
    }
    tun::open(node).map(drop).map_err(refused)
}

/// Whether the process may already do everything, as root does: CAP_NET_ADMIN and CAP_SYS_ADMIN are effective.
fn has_capabilities() -> bool {
    const NET_ADMIN: u64 = 1 << 12;
    const SYS_ADMIN: u64 = 1 << 21;
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let effective = status
        .lines()
        .find_map(|line| line.strip_prefix("CapEff:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    effective.is_some_and(|mask| mask & NET_ADMIN != 0 && mask & SYS_ADMIN != 0)
}

/// Becomes root of a new user namespace in which only this user exists (user_namespaces(7)).
fn enter_user_namespace() -> Result<(), RightsError> {
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    if threads > 1 {
        return Err(RightsError::Threads { count: threads });
    }
    let (user, group) = (getuid(), getgid());
    unshare(CloneFlags::CLONE_NEWUSER).map_err(|error| refused("make a user namespace", error.into()))?;
    // Without this an ordinary user could leave groups that exclude it from files, so a group map needs it first.
    write_once("/proc/self/setgroups", "deny")?;
    write_once("/proc/self/uid_map", &format!("0 {user} 1"))?;
    write_once("/proc/self/gid_map", &format!("0 {group} 1"))
}

fn write_once(path: &str, text: &str) -> Result<(), RightsError> {
    fs::write(path, text).map_err(|error| refused("become root of a user namespace", error))
}

fn refused(action: &'static str, source: io::Error) -> RightsError {
    explain(action, source, |name| {
        fs::read_to_string(Path::new("/proc/sys").join(name)).ok()?.trim().parse().ok()
    })
}

/// Finds the switch that stands in the way.
fn explain(action: &'static str, source: io::Error, sysctl: impl Fn(&str) -> Option<u64>) -> RightsError {
    let limit = |what, name| Some((what, sysctl(name)?));
    let errno = Errno::from_raw(source.raw_os_error().unwrap_or(0));
    if errno == Errno::ENOSPC || errno == Errno::EUSERS {
        let user = limit("user", "user/max_user_namespaces");
        let net = limit("net", "user/max_net_namespaces");
        if let Some((what, limit)) = if action.contains("network") { net } else { user } {
            return RightsError::Limit { what, limit, source };
        }
    }
    let forbidden = errno == Errno::EPERM || errno == Errno::EACCES;
    if forbidden && sysctl("kernel/unprivileged_userns_clone") == Some(0) {
        return RightsError::Unprivileged { source };
    }
    if forbidden && sysctl("kernel/apparmor_restrict_unprivileged_userns") == Some(1) {
        return RightsError::AppArmor { source };
    }
    RightsError::Refused { action, source }
}

fn program() -> String {
    std::env::current_exe().map_or_else(|_| "/usr/bin/testbed".into(), |path| path.display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn explained(errno: Errno, action: &'static str, sysctls: &[(&str, u64)]) -> String {
        let sysctl = |name: &str| sysctls.iter().find(|(key, _)| *key == name).map(|(_, value)| *value);
        explain(action, errno.into(), sysctl).to_string()
    }

    #[test]
    fn every_switch_is_named_with_its_fix() {
        let user = "make a user namespace";
        let cases = [
            (
                explained(Errno::EPERM, user, &[("kernel/apparmor_restrict_unprivileged_userns", 1)]),
                "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (
                explained(
                    Errno::EACCES,
                    "make a network namespace",
                    &[("kernel/apparmor_restrict_unprivileged_userns", 1)],
                ),
                "/etc/apparmor.d/testbed",
            ),
            (
                explained(Errno::EPERM, user, &[("kernel/unprivileged_userns_clone", 0)]),
                "sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            (
                explained(Errno::ENOSPC, user, &[("user/max_user_namespaces", 0)]),
                "sysctl -w user.max_user_namespaces=15000",
            ),
            (
                explained(Errno::ENOSPC, "make a network namespace", &[("user/max_net_namespaces", 0)]),
                "sysctl -w user.max_net_namespaces=15000",
            ),
            (
                explained(
                    Errno::EPERM,
                    user,
                    &[
                        ("kernel/unprivileged_userns_clone", 1),
                        ("kernel/apparmor_restrict_unprivileged_userns", 0),
                    ],
                ),
                "seccomp=unconfined",
            ),
        ];
        for (text, fix) in cases {
            assert!(text.contains(fix), "{text}");
        }
    }

    #[test]
    fn nodes_that_cannot_be_tun_devices_are_told_apart() {
        let text = |path: &str| check_node(Path::new(path)).expect_err("no TUN device").to_string();
        let mend = "leave out --tun, or: sudo mknod -m 0666 /nowhere/tun c 10 200";
        assert!(text("/nowhere/tun").contains(mend) && !text("/nowhere/tun").contains("modprobe"));
        assert!(fix_for_missing(Path::new(USUAL_NODE)).starts_with("sudo modprobe tun"));
        assert!(fix_for_other(Path::new(USUAL_NODE)).starts_with("sudo rm "));
        assert!(text("/proc/version").contains("is not the TUN device"));
        assert!(text("/dev/null").contains("is not the TUN device"));
    }
}
