//! What kind of interface a link is: wired, WiFi or cellular.
//!
//! Asked in this order: what the user said (`--interface-kind`, not here), netlink, sysfs, and as the last resort the
//! name. Netlink speaks of the network namespace that this process is in; sysfs of the one that it was mounted in, and
//! may describe somebody else's interface of the same name and even of the same index: it is believed only where its
//! index, its type and its hardware address are the kernel's. The TUN devices of a test bed have neither, their names
//! (`wlan0`, `wwan0`) speak for them.
//!
//! Left out: modems that pose as wired Ethernet. Their drivers (`cdc_ether`, `cdc_ncm`, `rndis_host`) serve USB network
//! adapters, too; where they know a modem they say so in DEVTYPE, and otherwise only the user can.

use super::link::Device;
use netlink_packet_route::link::{InfoKind, LinkLayerType};
use record::InterfaceKind;
use std::{fs, path::Path};

/// A kind, and how it became known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Detected {
    /// The kind.
    pub(crate) kind: InterfaceKind,
    /// For people.
    pub(crate) by: String,
}

/// The kind of an interface that the user said nothing about.
pub(crate) fn detect(device: &Device) -> Detected {
    from_netlink(device)
        .or_else(|| from_sysfs(Path::new("/sys/class/net"), device))
        .unwrap_or_else(|| Detected::new(from_name(&device.name), "its name alone"))
}

impl Detected {
    fn new(kind: InterfaceKind, by: impl ToString) -> Self {
        Self { kind, by: by.to_string() }
    }
}

/// Network drivers of modems and of nothing else.
const MODEM_DRIVERS: [&str; 14] = [
    "cdc_mbim",
    "qmi_wwan",
    "qmi_wwan_q",
    "huawei_cdc_ncm",
    "sierra_net",
    "hso",
    "kalmia",
    "lg-vl600",
    "mhi_net",
    "mhi_wwan_mbim",
    "iosm",
    "mtk_t7xx",
    "ipa",
    "bam-dmux",
];

/// Modem links of the kernel's wwan and rmnet drivers, and raw IP, which modems alone speak.
fn from_netlink(device: &Device) -> Option<Detected> {
    match (&device.info, device.layer) {
        (Some(InfoKind::Wwan), _) => Some(Detected::new(InterfaceKind::Cellular, "netlink: wwan")),
        (Some(InfoKind::RmNet), _) => Some(Detected::new(InterfaceKind::Cellular, "netlink: rmnet")),
        (Some(InfoKind::VirtWifi), _) => Some(Detected::new(InterfaceKind::Wifi, "netlink: virt_wifi")),
        (_, LinkLayerType::Rawip) => Some(Detected::new(InterfaceKind::Cellular, "netlink: raw IP")),
        _ => None,
    }
}

/// What sysfs says; none if it does not know the interface, knows another of that name, or gives it no type.
fn from_sysfs(class: &Path, device: &Device) -> Option<Detected> {
    let entry = class.join(&device.name);
    if !is_same(&entry, device) {
        return None;
    }
    let uevent = fs::read_to_string(entry.join("uevent")).unwrap_or_default();
    match uevent.lines().find_map(|line| line.strip_prefix("DEVTYPE=")) {
        Some("wlan") => return Some(Detected::new(InterfaceKind::Wifi, "sysfs: DEVTYPE=wlan")),
        Some("wwan") => return Some(Detected::new(InterfaceKind::Cellular, "sysfs: DEVTYPE=wwan")),
        _ => {}
    }
    for directory in ["wireless", "phy80211"] {
        if entry.join(directory).exists() {
            return Some(Detected::new(InterfaceKind::Wifi, format!("sysfs: {directory}")));
        }
    }
    // Without a device below it, the interface is virtual, and its name may still say what it stands for.
    let driver = fs::read_link(entry.join("device/driver")).ok()?;
    let driver = driver.file_name()?.to_string_lossy();
    let kind = if MODEM_DRIVERS.contains(&&*driver) { InterfaceKind::Cellular } else { InterfaceKind::Lan };
    Some(Detected::new(kind, format!("sysfs: driver {driver}")))
}

/// Whether an entry of sysfs is of this interface, and not of one in another network namespace.
fn is_same(entry: &Path, device: &Device) -> bool {
    let read = |name: &str| {
        fs::read_to_string(entry.join(name)).map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let octets: Vec<String> = device.hardware_address.iter().map(|octet| format!("{octet:02x}")).collect();
    read("ifindex") == device.index.to_string()
        && read("type") == u16::from(device.layer).to_string()
        && read("address") == octets.join(":")
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
    use std::os::unix::fs::symlink;

    /// An Ethernet device of index 7 and address 02:00:00:00:00:07.
    fn device(name: &str) -> Device {
        Device {
            name: name.into(),
            index: 7,
            layer: LinkLayerType::Ether,
            hardware_address: vec![2, 0, 0, 0, 0, 7],
            info: None,
        }
    }

    /// A fake /sys/class/net.
    struct Tree(tempfile::TempDir);

    impl Tree {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        /// The entry of what `device` makes.
        fn add(self, name: &str, uevent: &str) -> Self {
            let entry = self.0.path().join(name);
            fs::create_dir(&entry).unwrap();
            fs::write(entry.join("ifindex"), "7\n").unwrap();
            fs::write(entry.join("type"), "1\n").unwrap();
            fs::write(entry.join("address"), "02:00:00:00:00:07\n").unwrap();
            fs::write(entry.join("uevent"), format!("{uevent}INTERFACE={name}\nIFINDEX=7\n")).unwrap();
            self
        }

        fn directory(self, path: &str) -> Self {
            fs::create_dir_all(self.0.path().join(path)).unwrap();
            self
        }

        /// A device below the interface, bound to a driver.
        fn driver(self, name: &str, driver: &str) -> Self {
            let device = self.0.path().join(name).join("device");
            fs::create_dir(&device).unwrap();
            symlink(format!("../../../../bus/usb/drivers/{driver}"), device.join("driver")).unwrap();
            self
        }

        fn asked(&self, device: &Device) -> Option<InterfaceKind> {
            from_sysfs(self.0.path(), device).map(|detected| detected.kind)
        }
    }

    #[test]
    fn the_device_type_decides() {
        let tree = Tree::new().add("net0", "DEVTYPE=wwan\n").driver("net0", "cdc_ether");
        assert_eq!(tree.asked(&device("net0")), Some(InterfaceKind::Cellular));
        let tree = Tree::new().add("net0", "DEVTYPE=wlan\n").driver("net0", "iwlwifi");
        assert_eq!(tree.asked(&device("net0")), Some(InterfaceKind::Wifi));
    }

    #[test]
    fn wireless_extensions_and_cfg80211_mean_wifi() {
        for directory in ["net0/wireless", "net0/phy80211"] {
            let tree = Tree::new().add("net0", "").driver("net0", "ath9k").directory(directory);
            assert_eq!(tree.asked(&device("net0")), Some(InterfaceKind::Wifi), "{directory}");
        }
    }

    #[test]
    fn a_driver_of_modems_alone_means_cellular_and_any_other_wired() {
        for (driver, kind) in [
            ("cdc_mbim", InterfaceKind::Cellular),
            ("qmi_wwan", InterfaceKind::Cellular),
            ("mtk_t7xx", InterfaceKind::Cellular),
            ("e1000e", InterfaceKind::Lan),
            ("r8152", InterfaceKind::Lan),
            // A dock, a phone or a modem: see --interface-kind.
            ("cdc_ncm", InterfaceKind::Lan),
        ] {
            let tree = Tree::new().add("wwan0", "").driver("wwan0", driver);
            assert_eq!(tree.asked(&device("wwan0")), Some(kind), "{driver}");
        }
    }

    #[test]
    fn a_virtual_device_has_no_kind_in_sysfs() {
        let tree = Tree::new().add("wlan0", "");
        assert_eq!(tree.asked(&device("wlan0")), None);
        assert_eq!(tree.asked(&device("wlan1")), None, "no entry");
    }

    #[test]
    fn an_interface_of_another_namespace_is_not_mistaken_for_ours() {
        let tree = Tree::new().add("wlan0", "DEVTYPE=wlan\n");
        let ours = device("wlan0");
        assert_eq!(tree.asked(&ours), Some(InterfaceKind::Wifi));
        assert_eq!(tree.asked(&Device { index: 8, ..ours.clone() }), None);
        // The same index by chance: a TUN device has no hardware address and another type, a veth another address.
        let tun = Device { layer: LinkLayerType::None, hardware_address: vec![], ..ours.clone() };
        assert_eq!(tree.asked(&tun), None);
        assert_eq!(tree.asked(&Device { hardware_address: vec![2, 0, 0, 0, 0, 8], ..ours }), None);
    }

    #[test]
    fn netlink_knows_modems() {
        for (info, layer) in [
            (Some(InfoKind::Wwan), LinkLayerType::None),
            (Some(InfoKind::RmNet), LinkLayerType::Rawip),
            (None, LinkLayerType::Rawip),
        ] {
            let detected = from_netlink(&Device { info, layer, ..device("net0") });
            assert_eq!(detected.unwrap().kind, InterfaceKind::Cellular);
        }
        assert_eq!(from_netlink(&device("wwan0")), None);
    }

    #[test]
    fn names_decide_where_nothing_else_does() {
        for (name, kind) in [
            ("wlan0", InterfaceKind::Wifi),
            ("wlp3s0", InterfaceKind::Wifi),
            ("wwan0", InterfaceKind::Cellular),
            ("wwp0s20u4", InterfaceKind::Cellular),
            ("rmnet_data0", InterfaceKind::Cellular),
            ("eth0", InterfaceKind::Lan),
            ("enp1s0", InterfaceKind::Lan),
        ] {
            let tun = Device { layer: LinkLayerType::None, hardware_address: vec![], ..device(name) };
            assert_eq!(from_name(name), kind, "{name}");
            assert_eq!(detect(&tun), Detected::new(kind, "its name alone"), "{name}");
        }
    }
}
