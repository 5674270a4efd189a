//! What a network refuses to carry.

/// What a network refuses to carry to or from the internet. All figures are as seen between NAT and internet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Block {
    /// UDP that looks like STUN.
    Stun {
        /// To whom.
        matching: StunMatch,
        /// Which way.
        direction: BlockDirection,
        /// What the sender hears.
        answer: BlockAnswer,
    },
    /// UDP whose far end is not a server that the carriers know ([`crate::ServerSpec::known_to_carriers`]).
    UdpPeerToPeer {
        /// Blocks IPv4.
        ipv4: bool,
        /// Blocks IPv6.
        ipv6: bool,
        /// Which way.
        direction: BlockDirection,
        /// What the sender hears.
        answer: BlockAnswer,
    },
    /// All UDP.
    Udp {
        /// Which way.
        direction: BlockDirection,
        /// What the sender hears.
        answer: BlockAnswer,
    },
}

/// What STUN is taken to look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StunMatch {
    /// From or to port 3478 or 5349 (RFC 8489 section 18.6), whatever is in it.
    Port,
    /// The magic cookie 0x2112A442 at its place (RFC 8489 section 5).
    Cookie,
    /// A header of 20 bytes whose length field fits the datagram and whose method is known, in the manner of nDPI: the
    /// two bits that should be zero and the cookie do not matter. Methods up to 0x00C are those of STUN and TURN; the
    /// message types from 0x0800 to 0x080F are what calls of WhatsApp use.
    Signature,
}

/// Which way a [`Block`] works, seen from the network's hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BlockDirection {
    /// From the internet.
    In,
    /// Towards the internet.
    Out,
    /// Both ways.
    Both,
}

/// What the sender of a blocked packet hears.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BlockAnswer {
    /// Nothing.
    #[default]
    Silence,
    /// ICMP: communication administratively prohibited (RFC 1812 section 5.2.7.1, RFC 4443 section 3.1).
    IcmpProhibited,
}
