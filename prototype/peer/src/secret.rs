//! The 128-bit secret of a ticket, and every key that is derived from it (HKDF-SHA256, RFC 5869).
//!
//! One secret gives both peers their ICE credentials, the name of their rendezvous session, the keys that seal what
//! the rendezvous server carries, and the proof that the QUIC client shows. None of them reveals another.

use base64::Engine as _;
use ice::{Credentials, stun::whatsapp::CallId};
use ring::{aead, digest, hkdf, hmac};
use std::fmt;

/// The secret that a ticket carries. Whoever holds it may connect.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub [u8; 16]);

/// Which end of the QUIC connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Side {
    /// Opens the connection and its paths; ICE controlling.
    Client,
    /// Accepts them; ICE controlled.
    Server,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }

    fn label(self) -> &'static [u8] {
        match self {
            Side::Client => b"client",
            Side::Server => b"server",
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Secret(..)")
    }
}

impl Secret {
    /// ICE username fragment and password of one side: 48 and 144 bits, above the minimum of RFC 8445 section 5.3. Each
    /// session has its own (section 9).
    pub(crate) fn ice_credentials(&self, side: Side, session: u32) -> Credentials {
        // Base64 of whole triplets has no padding, and its alphabet is that of `ice-char` (RFC 8839 section 5.4).
        let text = |bytes: &[u8]| base64::engine::general_purpose::STANDARD.encode(bytes);
        let context = [side.label(), &session.to_be_bytes()].concat();
        let ufrag = text(&self.derive::<6>(b"ice ufrag", &context));
        let pwd = text(&self.derive::<18>(b"ice pwd", &context));
        Credentials::new(&ufrag, &pwd).expect("lengths and alphabet are those of RFC 8839")
    }

    /// What the transaction ids of one side's agent are drawn from: beside what this peer drew itself, 128 bits that
    /// nobody but the two peers knows. RFC 8489 section 5 wants 96.
    pub(crate) fn ice_entropy(&self, side: Side, drawn: u64) -> [u8; 32] {
        self.derive(b"ice entropy", &[side.label(), &drawn.to_be_bytes()].concat())
    }

    /// The same for one prober of one side.
    pub(crate) fn probe_entropy(&self, side: Side, drawn: u64) -> [u8; 32] {
        self.derive(b"probe entropy", &[side.label(), &drawn.to_be_bytes()].concat())
    }

    /// A secret for something else between the same two peers: a rendezvous session of its own, for one. `purpose`
    /// tells several apart.
    pub fn derived(&self, purpose: &str) -> Secret {
        Secret(self.derive(b"derived", purpose.as_bytes()))
    }

    /// Names the rendezvous session. Knowing it admits to the session, so it is as secret as the secret.
    pub(crate) fn session(&self) -> [u8; 16] {
        self.derive(b"rendezvous session", b"")
    }

    /// Names the call on relays as WhatsApp has them.
    pub(crate) fn relayed_call(&self) -> CallId {
        CallId(self.derive(b"relayed call", b""))
    }

    /// Encrypts and authenticates what the rendezvous server carries for `from`.
    ///
    /// The nonce is a keyed hash of the text, so that a peer that starts again with the same ticket never uses one
    /// nonce for two texts (the idea of RFC 8452).
    pub(crate) fn seal(&self, from: Side, text: &[u8]) -> Vec<u8> {
        let nonce_key =
            hmac::Key::new(hmac::HMAC_SHA256, &self.derive::<32>(b"rendezvous nonce", from.label()));
        let tag = hmac::sign(&nonce_key, text);
        let mut nonce = [0; aead::NONCE_LEN];
        nonce.iter_mut().zip(tag.as_ref()).for_each(|(to, from)| *to = *from);
        let mut sealed = text.to_vec();
        self.seal_key(from)
            .seal_in_place_append_tag(
                aead::Nonce::assume_unique_for_key(nonce),
                aead::Aad::empty(),
                &mut sealed,
            )
            .expect("a description is far below the limit of ChaCha20-Poly1305");
        [&nonce[..], &sealed].concat()
    }

    /// Undoes [`Secret::seal`]; none when it was made by another side, with another secret, or changed on its way.
    pub(crate) fn open(&self, from: Side, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let mut text = text.to_vec();
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        let opened = self.seal_key(from).open_in_place(nonce, aead::Aad::empty(), &mut text).ok()?;
        Some(opened.to_vec())
    }

    /// Shared by both peers and the control of a blocking probe.
    pub fn probe_key(&self) -> [u8; 32] {
        self.derive(b"blocking probe", b"")
    }

    /// What the client shows inside the connection: bound to it by the exported keying material (RFC 8446 section
    /// 7.5), so that it is worth nothing elsewhere.
    pub(crate) fn proof(&self, exported: &[u8]) -> [u8; digest::SHA256_OUTPUT_LEN] {
        let mut proof = [0; digest::SHA256_OUTPUT_LEN];
        proof
            .iter_mut()
            .zip(hmac::sign(&self.proof_key(), exported).as_ref())
            .for_each(|(to, from)| *to = *from);
        proof
    }

    /// Whether `proof` was made by a holder of the secret for this connection; takes the same time in either case.
    pub(crate) fn proves(&self, exported: &[u8], proof: &[u8]) -> bool {
        hmac::verify(&self.proof_key(), exported, proof).is_ok()
    }

    fn proof_key(&self) -> hmac::Key {
        hmac::Key::new(hmac::HMAC_SHA256, &self.derive::<32>(b"client proof", b""))
    }

    fn seal_key(&self, from: Side) -> aead::LessSafeKey {
        let key = self.derive::<32>(b"rendezvous seal", from.label());
        let key = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &key).expect("a key of 256 bits");
        aead::LessSafeKey::new(key)
    }

    fn derive<const N: usize>(&self, label: &[u8], context: &[u8]) -> [u8; N] {
        struct Length(usize);
        impl hkdf::KeyType for Length {
            fn len(&self) -> usize {
                self.0
            }
        }
        let mut output = [0; N];
        hkdf::Salt::new(hkdf::HKDF_SHA256, b"iceperf 1")
            .extract(&self.0)
            .expand(&[label, b"/", context], Length(N))
            .and_then(|key| key.fill(&mut output))
            .expect("lengths are far below 255 hashes (RFC 5869 section 2.3)");
        output
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_for_the_right_secret_and_side() {
        let (secret, other) = (Secret([1; 16]), Secret([2; 16]));
        let sealed = secret.seal(Side::Client, b"candidates");
        assert_eq!(secret.open(Side::Client, &sealed).as_deref(), Some(&b"candidates"[..]));
        assert_eq!(secret.open(Side::Server, &sealed), None);
        assert_eq!(other.open(Side::Client, &sealed), None);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(secret.open(Side::Client, &changed), None, "byte {place}");
        }
        assert_eq!(secret.open(Side::Client, &sealed[..11]), None);
    }

    #[test]
    fn two_texts_never_share_a_nonce() {
        let secret = Secret([1; 16]);
        assert_ne!(secret.seal(Side::Client, b"a")[..12], secret.seal(Side::Client, b"b")[..12]);
    }

    #[test]
    fn everything_derived_differs() {
        let secret = Secret([1; 16]);
        let client = secret.ice_credentials(Side::Client, 0);
        for other in [secret.ice_credentials(Side::Server, 0), secret.ice_credentials(Side::Client, 1)] {
            assert_ne!(client.ufrag(), other.ufrag());
            assert_ne!(client.pwd(), other.pwd());
        }
        assert_ne!(Secret([2; 16]).session(), secret.session());
        assert_ne!(secret.derived("one").session(), secret.session());
        assert_ne!(secret.relayed_call().0, secret.session());
        assert_ne!(Secret([2; 16]).relayed_call(), secret.relayed_call());
        assert_ne!(secret.derived("one"), secret.derived("two"));
        assert!(secret.proves(b"x", &secret.proof(b"x")));
        assert!(!secret.proves(b"y", &secret.proof(b"x")));
    }
}
