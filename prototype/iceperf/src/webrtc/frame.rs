//! How a peer's datagrams travel over a connection of webrtc-ice.
//!
//! It keeps everything that looks like STUN for itself, in both directions. QUIC goes as it is; the few checks of the
//! peer's own agent get a byte in front.

use std::borrow::Cow;

/// RFC 9443 section 2: 4 to 15 belong to no protocol that shares the socket, and 5 is our rendezvous.
const ESCAPE: u8 = 6;
/// First byte of a QUIC packet whose fixed bit is set (RFC 9443 section 2).
const QUIC: u8 = 64;
/// RFC 8489 section 5.
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// As it travels.
pub(super) fn wrap(datagram: &[u8]) -> Cow<'_, [u8]> {
    let plain = datagram.first().is_some_and(|first| *first >= QUIC) && datagram.get(4..8) != Some(&COOKIE);
    if plain { Cow::Borrowed(datagram) } else { Cow::Owned([&[ESCAPE], datagram].concat()) }
}

/// What the other end wrapped.
pub(super) fn unwrap(datagram: &[u8]) -> &[u8] {
    match datagram {
        [ESCAPE, rest @ ..] => rest,
        whole => whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn everything_comes_out_as_it_went_in(datagram in proptest::collection::vec(any::<u8>(), 0..100)) {
            let wrapped = wrap(&datagram);
            prop_assert_eq!(unwrap(&wrapped), &datagram[..]);
        }

        #[test]
        fn nothing_looks_like_stun(first: u8, rest in proptest::collection::vec(any::<u8>(), 19..100)) {
            let mut datagram = [&[first], &rest[..]].concat();
            datagram[4..8].copy_from_slice(&COOKIE);
            let wrapped = wrap(&datagram);
            prop_assert_ne!(wrapped.get(4..8), Some(&COOKIE[..]));
        }
    }

    #[test]
    fn quic_goes_as_it_is() {
        for first in [0x40, 0xc3, 0xff] {
            let packet = [first, 1, 2, 3, 4, 5, 6, 7, 8];
            assert_eq!(&*wrap(&packet), &packet);
        }
    }
}
