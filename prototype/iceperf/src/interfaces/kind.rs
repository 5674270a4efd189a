//! What kind of interface a name stands for: wired, WiFi or cellular.
//!
//! Asked in this order: what the user said (`--interface NAME=wifi`), sysfs, the name's prefix. sysfs belongs to the
//! network namespace that it was mounted in, so in another namespace it may describe somebody else's interface of the
//! same name: it is believed only where its index is the kernel's. TUN devices of a test bed carry no type, their
//! names (`wlan0`, `wwan0`) do.

use record::InterfaceKind;
use std::{fs, path::Path};

/// The kind of an interface that the user said nothing about.
pub(crate) fn detect(name: &str, index: u32) -> InterfaceKind {
    from_sysfs(Path::new("/sys/class/net"), name, index).unwrap_or_else(|| from_name(name))
}

/// What sysfs says; none if it does not know the interface, knows another of that name, or gives it no type.
fn from_sysfs(class: &Path, name: &str, index: u32) -> Option<InterfaceKind> {
    let device = class.join(name);
    let known: u32 = fs::read_to_string(device.join("ifindex")).ok()?.trim().parse().ok()?;
    if known != index {
        return None;
    }
    let uevent = fs::read_to_string(device.join("uevent")).unwrap_or_default();
    match uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        Some("wlan") => Some(InterfaceKind::Wifi),
        Some("wwan") => Some(InterfaceKind::Cellular),
        _ if device.join("wireless").exists() || device.join("phy80211").exists() => {
            Some(InterfaceKind::Wifi)
        }
        _ => None,
    }
}

/// Predictable names (`wlp3s0`, `wwp0s20u4`) and classic ones (`wlan0`, `wwan0`, `rmnet0`) share their prefixes.
fn from_name(name: &str) -> InterfaceKind {
    let starts = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if starts(&["ww", "rmnet", "ppp"]) {
        InterfaceKind::Cellular
    } else if starts(&["wl"]) {
        InterfaceKind::Wifi
    } else {
        InterfaceKind::Lan
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_decide_where_sysfs_is_silent() {
        for (name, kind) in [
            ("wlan0", InterfaceKind::Wifi),
            ("wlp3s0", InterfaceKind::Wifi),
            ("wwan0", InterfaceKind::Cellular),
            ("wwp0s20u4", InterfaceKind::Cellular),
            ("rmnet_data0", InterfaceKind::Cellular),
            ("eth0", InterfaceKind::Lan),
            ("enp1s0", InterfaceKind::Lan),
        ] {
            assert_eq!(from_name(name), kind, "{name}");
        }
    }

    #[test]
    fn sysfs_is_believed_only_for_the_same_index() {
        let class = tempfile::tempdir().unwrap();
        let device = class.path().join("net0");
        fs::create_dir(&device).unwrap();
        fs::write(device.join("ifindex"), "7\n").unwrap();
        assert_eq!(from_sysfs(class.path(), "net0", 7), None);
        fs::write(device.join("uevent"), "DEVTYPE=wwan\nINTERFACE=net0\n").unwrap();
        assert_eq!(from_sysfs(class.path(), "net0", 7), Some(InterfaceKind::Cellular));
        assert_eq!(from_sysfs(class.path(), "net0", 8), None);
        fs::write(device.join("uevent"), "INTERFACE=net0\n").unwrap();
        fs::create_dir(device.join("wireless")).unwrap();
        assert_eq!(from_sysfs(class.path(), "net0", 7), Some(InterfaceKind::Wifi));
        assert_eq!(from_sysfs(class.path(), "net1", 7), None);
    }
}
