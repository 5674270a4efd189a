//! The ticket: what a client must hold to reach a server and to know that it is the right one.
//!
//! Written as `iceperf1-` and base64url (RFC 4648 section 5), so that it survives shells, chats and mail; the last
//! four bytes are a checksum that finds a torn or mistyped ticket before anything is sent.

use crate::{Fingerprint, Secret};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::digest;
use serde::{Deserialize, Serialize};
use std::{fmt, net::SocketAddr, str::FromStr};
use thiserror::Error;

const PREFIX: &str = "iceperf1-";
const CHECKSUM: usize = 4;
/// More than any host has; keeps a hostile ticket from making a client probe a whole network.
const MAX_ADDRESSES: usize = 32;

/// How to reach a server, and what proves both ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ticket {
    /// Addresses at which the server listens, for clients that share a network with it.
    pub addresses: Vec<SocketAddr>,
    /// Rendezvous servers at which both peers meet, for those that do not.
    pub rendezvous: Vec<SocketAddr>,
    /// Of the server's certificate.
    pub fingerprint: Fingerprint,
    /// Admits to the server.
    pub secret: Secret,
}

/// A text is no ticket.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TicketError {
    /// It begins otherwise.
    #[error("a ticket begins with `{PREFIX}`")]
    Prefix,
    /// It holds something outside base64url.
    #[error("character {place} cannot stand in a ticket")]
    Alphabet {
        /// Counts from 1, from the beginning of the text.
        place: usize,
    },
    /// Torn or mistyped.
    #[error("the checksum does not match: the ticket is incomplete or mistyped")]
    Checksum,
    /// The checksum holds but the content is of another version.
    #[error("the ticket was made by another version of this program")]
    Content,
    /// No address and no rendezvous server, or too many.
    #[error("the ticket names {0} addresses; 1 to {MAX_ADDRESSES} are allowed")]
    Addresses(usize),
}

#[derive(Serialize, Deserialize)]
struct Content {
    addresses: Vec<SocketAddr>,
    rendezvous: Vec<SocketAddr>,
    fingerprint: [u8; 32],
    secret: [u8; 16],
}

impl fmt::Display for Ticket {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let content = Content {
            addresses: self.addresses.clone(),
            rendezvous: self.rendezvous.clone(),
            fingerprint: self.fingerprint.0,
            secret: self.secret.0,
        };
        let mut bytes = postcard::to_allocvec(&content).map_err(|_| fmt::Error)?;
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(formatter, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for Ticket {
    type Err = TicketError;

    fn from_str(text: &str) -> Result<Self, TicketError> {
        let body = text.trim().strip_prefix(PREFIX).ok_or(TicketError::Prefix)?;
        let bytes = URL_SAFE_NO_PAD.decode(body).map_err(|error| match error {
            base64::DecodeError::InvalidByte(place, _) | base64::DecodeError::InvalidLastSymbol(place, _) => {
                TicketError::Alphabet { place: PREFIX.len() + place + 1 }
            }
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => {
                TicketError::Checksum
            }
        })?;
        let (content, found) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TicketError::Checksum)?;
        if checksum(content) != *found {
            return Err(TicketError::Checksum);
        }
        Ticket::from_content(content)
    }
}

impl Ticket {
    fn from_content(content: &[u8]) -> Result<Self, TicketError> {
        let content: Content = postcard::from_bytes(content).map_err(|_| TicketError::Content)?;
        let count = content.addresses.len() + content.rendezvous.len();
        if !(1..=MAX_ADDRESSES).contains(&count) {
            return Err(TicketError::Addresses(count));
        }
        Ok(Ticket {
            addresses: content.addresses,
            rendezvous: content.rendezvous,
            fingerprint: Fingerprint(content.fingerprint),
            secret: Secret(content.secret),
        })
    }
}

/// Any text, and any content behind a checksum that is right.
#[cfg(any(fuzzing, feature = "fuzzing"))]
pub(crate) fn fuzz(bytes: &[u8]) {
    let _ = std::str::from_utf8(bytes).map(str::parse::<Ticket>);
    if let Ok(ticket) = Ticket::from_content(bytes) {
        assert_eq!(ticket.to_string().parse().as_ref(), Ok(&ticket));
    }
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let mut checksum = [0; CHECKSUM];
    let hash = digest::digest(&digest::SHA256, bytes);
    checksum.iter_mut().zip(hash.as_ref()).for_each(|(to, from)| *to = *from);
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ticket() -> Ticket {
        Ticket {
            addresses: vec!["192.0.2.1:4433".parse().unwrap(), "[2001:db8::1]:4433".parse().unwrap()],
            rendezvous: vec!["198.51.100.9:3478".parse().unwrap()],
            fingerprint: Fingerprint([7; 32]),
            secret: Secret([9; 16]),
        }
    }

    #[test]
    fn a_ticket_survives_its_text() {
        assert_eq!(format!(" {}\n", ticket()).parse(), Ok(ticket()));
    }

    #[test]
    fn each_fault_is_named() {
        let text = ticket().to_string();
        assert_eq!("hello".parse::<Ticket>(), Err(TicketError::Prefix));
        assert_eq!(text.replacen("1-", "1-%", 1).parse::<Ticket>(), Err(TicketError::Alphabet { place: 10 }));
        assert_eq!(text[..text.len() - 4].parse::<Ticket>(), Err(TicketError::Checksum));
        let nowhere = Ticket { addresses: vec![], rendezvous: vec![], ..ticket() };
        assert_eq!(nowhere.to_string().parse::<Ticket>(), Err(TicketError::Addresses(0)));
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".*") {
            let _ = text.parse::<Ticket>();
            let _ = format!("{PREFIX}{text}").parse::<Ticket>();
        }

        #[test]
        fn one_changed_character_is_found(place in 9usize..100, to in "[A-Za-z0-9_-]") {
            let text = ticket().to_string();
            let mut changed = text.clone();
            changed.replace_range(place..=place, &to);
            prop_assume!(changed != text);
            prop_assert!(changed.parse::<Ticket>().is_err());
        }
    }
}
