//! From a frame to the IP packet in it: Ethernet with VLAN tags and PPPoE, Linux cooked v1 and v2, raw IP, BSD loopback.
//!
//! Own code rather than etherparse's: its slices are strict about lengths, and a frame may be cut anywhere.

use crate::read::LinkType;

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
const PPPOE_SESSION: u16 = 0x8864;
/// 802.1Q, 802.1ad, and the type that was used before it.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags one behind the other; more are an error or an attack.
const MAX_TAGS: usize = 8;

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Network<'a> {
    /// An IP packet, perhaps followed by padding.
    Ip(&'a [u8]),
    /// Another protocol, by its EtherType; 0 if the frame has none.
    Other(u16),
    /// A link type that is not read.
    UnknownLink,
    /// The frame ends within its header.
    Cut,
}

/// Strips the link layer.
pub fn network(link: LinkType, frame: &[u8]) -> Network<'_> {
    match link {
        LinkType::ETHERNET => after_ether_type(frame, 12),
        LinkType::LINUX_SLL => after_ether_type(frame, 14),
        LinkType::LINUX_SLL2 => match u16_at(frame, 0) {
            Some(protocol) => by_ether_type(protocol, frame, 20),
            None => Network::Cut,
        },
        // 12 and 14 are DLT_RAW of some BSDs, which older files carry.
        LinkType::RAW | LinkType::IPV4 | LinkType::IPV6 | LinkType(12 | 14) => ip(frame),
        LinkType::NULL | LinkType::LOOP => frame.get(4..).map_or(Network::Cut, ip),
        _ => Network::UnknownLink,
    }
}

fn after_ether_type(frame: &[u8], at: usize) -> Network<'_> {
    match u16_at(frame, at) {
        Some(ether_type) => by_ether_type(ether_type, frame, at + 2),
        None => Network::Cut,
    }
}

fn by_ether_type(mut ether_type: u16, frame: &[u8], mut at: usize) -> Network<'_> {
    for _ in 0..MAX_TAGS {
        if VLAN.contains(&ether_type) {
            let Some(inner) = u16_at(frame, at + 2) else { return Network::Cut };
            ether_type = inner;
            at += 4;
        } else if ether_type == PPPOE_SESSION {
            // RFC 2516 section 4, and the protocol field of PPP.
            ether_type = match u16_at(frame, at + 6) {
                Some(0x0021) => IPV4,
                Some(0x0057) => IPV6,
                Some(_) => return Network::Other(PPPOE_SESSION),
                None => return Network::Cut,
            };
            at += 8;
        } else {
            break;
        }
    }
    match ether_type {
        IPV4 | IPV6 => frame.get(at..).map_or(Network::Cut, ip),
        other => Network::Other(other),
    }
}

fn ip(packet: &[u8]) -> Network<'_> {
    match packet.first().map(|byte| byte >> 4) {
        Some(4 | 6) => Network::Ip(packet),
        Some(_) => Network::Other(0),
        None => Network::Cut,
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_be_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKET: [u8; 2] = [0x45, 0];

    fn frame(head: &[u8]) -> Vec<u8> {
        [head, &PACKET].concat()
    }

    #[test]
    fn every_link_type_leads_to_the_ip_packet() {
        let mac = [0; 12];
        let cases = [
            (LinkType::ETHERNET, frame(&[&mac[..], &[8, 0]].concat())),
            (LinkType::ETHERNET, frame(&[&mac[..], &[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0]].concat())),
            (LinkType::ETHERNET, frame(&[&mac[..], &[0x88, 0x64, 0x11, 0, 0, 1, 0, 22, 0, 0x21]].concat())),
            (LinkType::LINUX_SLL, frame(&[&[0; 14][..], &[8, 0]].concat())),
            (LinkType::LINUX_SLL2, frame(&[&[8, 0][..], &[0; 18]].concat())),
            (LinkType::NULL, frame(&[2, 0, 0, 0])),
            (LinkType::LOOP, frame(&[0, 0, 0, 2])),
            (LinkType::RAW, frame(&[])),
        ];
        for (link, bytes) in cases {
            assert_eq!(network(link, &bytes), Network::Ip(&PACKET), "{link:?} {bytes:02x?}");
            // Cut anywhere, it never panics, and an empty frame is told as cut.
            (0..bytes.len()).for_each(|length| _ = network(link, &bytes[..length]));
            assert_eq!(network(link, &[]), Network::Cut);
        }
    }

    #[test]
    fn what_is_no_ip_is_told_by_its_type() {
        assert_eq!(network(LinkType::ETHERNET, &[&[0; 12][..], &[8, 6, 0]].concat()), Network::Other(0x0806));
        assert_eq!(network(LinkType(147), &[0; 40]), Network::UnknownLink);
    }
}
