//! Bytes of what is sealed: bounded, and read without trust.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

#[derive(Default)]
pub(super) struct Writer(pub(super) Vec<u8>);

impl Writer {
    pub(super) fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    pub(super) fn number(&mut self, number: u64) {
        self.0.extend(number.to_be_bytes());
    }

    pub(super) fn address(&mut self, address: Option<SocketAddr>) {
        let Some(address) = address else { return self.byte(0) };
        match address.ip() {
            IpAddr::V4(ip) => {
                self.byte(4);
                self.0.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                self.byte(6);
                self.0.extend(ip.octets());
            }
        }
        self.0.extend(address.port().to_be_bytes());
    }

    /// At most 255 bytes of it, cut at a character.
    pub(super) fn text(&mut self, text: &str) {
        let mut end = text.len().min(255);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        self.byte(end as u8);
        self.0.extend(&text.as_bytes()[..end]);
    }
}

/// None from the first byte on that is missing or wrong.
pub(super) struct Reader<'a>(pub(super) &'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn byte(&mut self) -> Option<u8> {
        let (&byte, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (array, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*array)
    }

    pub(super) fn number(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// The outer option is whether it could be read.
    pub(super) fn address(&mut self) -> Option<Option<SocketAddr>> {
        let ip: IpAddr = match self.byte()? {
            0 => return Some(None),
            4 => Ipv4Addr::from(self.array::<4>()?).into(),
            6 => Ipv6Addr::from(self.array::<16>()?).into(),
            _ => return None,
        };
        let port = u16::from_be_bytes(self.array()?);
        Some(Some(SocketAddr::new(ip, port)))
    }

    pub(super) fn text(&mut self) -> Option<&'a str> {
        let length = usize::from(self.byte()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok()
    }
}
