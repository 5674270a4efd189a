//! What rtnetlink says of one link, and which links are left out unless the user asks for them.
//!
//! Left out are those whose packets leave by another link: ports of a bridge or a bond, tunnels and VPNs, bridges of
//! virtual machines and containers; and those that lead nowhere. A path over one of them would be lost together with
//! the link below, and stand in the way of a path over that link itself.

use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkLayerType, LinkMessage};
use record::InterfaceKind;
use std::collections::BTreeMap;

/// A link by its index.
pub(crate) type Links = BTreeMap<u32, Link>;

/// One link.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) device: Device,
    pub(crate) kind: InterfaceKind,
    pub(crate) loopback: bool,
    pub(crate) up: bool,
    pub(crate) carrier: bool,
    /// The bridge, bond or VRF that it is a port of.
    controller: Option<u32>,
}

/// What does not change while a link lives, but by a rename.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Device {
    /// Kernel name.
    pub(crate) name: String,
    /// The kernel's number.
    pub(crate) index: u32,
    /// ARPHRD_*.
    pub(crate) layer: LinkLayerType,
    /// Empty for links without one.
    pub(crate) hardware_address: Vec<u8>,
    /// Which of the kernel's virtual drivers made it; none for hardware.
    pub(crate) info: Option<InfoKind>,
}

impl Link {
    /// From a message that tells of the whole link; none if it has no name. `kind` names the kind of a new device.
    pub(crate) fn parse(message: &LinkMessage, kind: impl FnOnce(&Device) -> InterfaceKind) -> Option<Self> {
        let flags = message.header.flags;
        let device = Device::parse(message)?;
        let controller = message.attributes.iter().find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) => Some(*index),
            _ => None,
        });
        Some(Self {
            kind: kind(&device),
            device,
            loopback: flags.contains(LinkFlags::Loopback),
            up: flags.contains(LinkFlags::Up),
            carrier: flags.contains(LinkFlags::LowerUp),
            controller: controller.filter(|index| *index != 0),
        })
    }

    /// Why this link is left out unless the user asks for it, if it is.
    pub(crate) fn left_out(&self, all: &Links) -> Option<&'static str> {
        self.as_port(all).or_else(|| self.device.no_way_out()).or_else(|| self.as_bridge(all)).or_else(|| {
            let vpn = self.device.info == Some(InfoKind::Tun) && !named_as_hardware(&self.device.name);
            vpn.then_some("a TUN or TAP device: a VPN or a virtual machine")
        })
    }

    /// A port of a VRF keeps its addresses; those of bridges and bonds hand everything on.
    fn as_port(&self, all: &Links) -> Option<&'static str> {
        let controller = all.get(&self.controller?)?;
        (controller.device.info != Some(InfoKind::Vrf)).then_some("a port of a bridge or a bond")
    }

    /// A bridge with hardware among its ports is how this host reaches the world.
    fn as_bridge(&self, all: &Links) -> Option<&'static str> {
        if self.device.info != Some(InfoKind::Bridge) {
            return None;
        }
        let ours = |link: &&Link| link.controller == Some(self.device.index);
        let uplink = all.values().filter(ours).any(|port| port.device.leads_out());
        (!uplink).then_some("a bridge of containers or virtual machines only")
    }
}

impl Device {
    fn parse(message: &LinkMessage) -> Option<Self> {
        let mut device = Device {
            name: String::new(),
            index: message.header.index,
            layer: message.header.link_layer_type,
            hardware_address: vec![],
            info: None,
        };
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => device.name.clone_from(name),
                LinkAttribute::Address(octets) => device.hardware_address.clone_from(octets),
                LinkAttribute::LinkInfo(info) => {
                    device.info = info.iter().find_map(|info| match info {
                        LinkInfo::Kind(kind) => Some(kind.clone()),
                        _ => None,
                    });
                }
                _ => {}
            }
        }
        (!device.name.is_empty()).then_some(device)
    }

    /// Hardware, or a bundle of it.
    fn leads_out(&self) -> bool {
        matches!(self.info, None | Some(InfoKind::Bond | InfoKind::Team | InfoKind::Vlan | InfoKind::Dsa))
    }

    fn no_way_out(&self) -> Option<&'static str> {
        use InfoKind as I;
        use LinkLayerType as L;
        match self.info {
            Some(I::Dummy | I::Ifb | I::Nlmon | I::Vrf | I::Vcan | I::Vxcan | I::Can | I::Netdevsim) => {
                return Some("leads nowhere");
            }
            Some(
                I::Vxlan | I::GreTap | I::GreTap6 | I::IpIp | I::Ip6Tnl | I::SitTun | I::GreTun | I::GreTun6,
            )
            | Some(I::Vti | I::Vti6 | I::Gtp | I::Wireguard | I::Xfrm | I::Geneve | I::Amt | I::BareUdp)
            | Some(I::ErSpan | I::Ip6ErSpan | I::Pfcp) => return Some("a tunnel or a VPN"),
            _ => {}
        }
        match self.layer {
            L::Tunnel | L::Tunnel6 | L::Sit | L::Ipgre | L::Ip6gre => Some("a tunnel or a VPN"),
            L::Ieee80211 | L::Ieee80211Prism | L::Ieee80211Radiotap => Some("a monitor"),
            _ => None,
        }
    }
}

/// TUN devices of a test bed are named like the hardware that they stand for; those of VPNs are not.
fn named_as_hardware(name: &str) -> bool {
    ["eth", "en", "wl", "ww", "rmnet", "usb"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(index: u32, name: &str, info: Option<InfoKind>, controller: Option<u32>) -> (u32, Link) {
        let mut message = LinkMessage::default();
        message.header.index = index;
        message.header.link_layer_type = LinkLayerType::Ether;
        message.attributes.push(LinkAttribute::IfName(name.into()));
        message.attributes.extend(info.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])));
        message.attributes.extend(controller.map(LinkAttribute::Controller));
        (index, Link::parse(&message, |_| InterfaceKind::Lan).unwrap())
    }

    fn left_out(all: &Links) -> Vec<&str> {
        let names = all.values().filter(|link| link.left_out(all).is_some());
        names.map(|link| link.device.name.as_str()).collect()
    }

    #[test]
    fn a_laptop_with_containers_and_a_vpn_keeps_its_hardware() {
        let all = Links::from([
            link(2, "enp1s0", None, None),
            link(3, "wlp3s0", None, None),
            link(4, "wwan0", Some(InfoKind::Wwan), None),
            link(5, "docker0", Some(InfoKind::Bridge), None),
            link(6, "veth1234", Some(InfoKind::Veth), Some(5)),
            link(7, "virbr0", Some(InfoKind::Bridge), None),
            link(8, "vnet0", Some(InfoKind::Tun), Some(7)),
            link(9, "wg0", Some(InfoKind::Wireguard), None),
            link(10, "tun0", Some(InfoKind::Tun), None),
            link(11, "dummy0", Some(InfoKind::Dummy), None),
            link(12, "enp1s0.7", Some(InfoKind::Vlan), None),
        ]);
        let expected = ["docker0", "veth1234", "virbr0", "vnet0", "wg0", "tun0", "dummy0"];
        assert_eq!(left_out(&all), expected);
    }

    #[test]
    fn a_bridge_over_hardware_stands_for_it() {
        let all = Links::from([
            link(2, "eno1", None, Some(4)),
            link(3, "tap0", Some(InfoKind::Tun), Some(4)),
            link(4, "vmbr0", Some(InfoKind::Bridge), None),
            link(5, "eno2", None, Some(6)),
            link(6, "bond0", Some(InfoKind::Bond), None),
        ]);
        assert_eq!(left_out(&all), ["eno1", "tap0", "eno2"]);
    }

    #[test]
    fn containers_and_test_beds_have_virtual_links_only_and_keep_them() {
        let all = Links::from([
            link(2, "eth0", Some(InfoKind::Veth), None),
            link(3, "wlan0", Some(InfoKind::Tun), None),
            link(4, "eth1", Some(InfoKind::Veth), Some(5)),
            link(5, "vrf-blue", Some(InfoKind::Vrf), None),
        ]);
        assert_eq!(left_out(&all), ["vrf-blue"]);
    }
}
