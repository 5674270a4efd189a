//! The key that both ends and the control share, and what is hidden under it.

use ring::{aead, hkdf, hmac};

use crate::stun;

/// Derived from what both ends share; whoever has it may take part.
pub struct Key {
    /// None for fuzzers, who see through seals.
    cipher: Option<aead::LessSafeKey>,
    nonce: hmac::Key,
    pub(super) stun: stun::Key,
    /// What STUN messages call the two ends.
    pub(super) username: String,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Key {
    /// Of 256 secret bits.
    pub fn new(secret: &[u8; 32]) -> Key {
        let part = |label: &[u8]| derive::<32>(secret, label);
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let names = part(b"names");
        let cipher = aead::UnboundKey::new(&aead::CHACHA20_POLY1305, &part(b"seal"));
        Key {
            cipher: Some(aead::LessSafeKey::new(cipher.expect("a key of 256 bits"))),
            nonce: hmac::Key::new(hmac::HMAC_SHA256, &part(b"nonce")),
            stun: stun::Key::short_term(&hex(&part(b"password")[..16])),
            username: format!("{}:{}", hex(&names[..4]), hex(&names[4..8])),
        }
    }

    /// Key that encrypts nothing: fuzzers cannot guess a seal, and have the more time for what lies behind it.
    #[cfg(any(fuzzing, feature = "fuzzing"))]
    pub fn without_seal(secret: &[u8; 32]) -> Key {
        Key { cipher: None, ..Key::new(secret) }
    }

    /// Encrypts and authenticates. What comes out looks random from the first byte to the last. One text has one form
    /// (the idea of RFC 8452), so that a run that begins again never uses a nonce for two texts.
    pub(super) fn seal(&self, text: &[u8]) -> Vec<u8> {
        let Some(cipher) = &self.cipher else { return [&[0; aead::NONCE_LEN], text].concat() };
        let nonce: [u8; aead::NONCE_LEN] = self.tag(b"nonce", text);
        let mut sealed = text.to_vec();
        let unique = aead::Nonce::assume_unique_for_key(nonce);
        cipher
            .seal_in_place_append_tag(unique, aead::Aad::empty(), &mut sealed)
            .expect("a text of less than 2 KB");
        [&nonce[..], &sealed].concat()
    }

    /// Undoes [`seal`](Self::seal); none when it was made with another key, or changed on its way.
    pub(super) fn open(&self, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, text) = sealed.split_first_chunk::<{ aead::NONCE_LEN }>()?;
        let mut text = text.to_vec();
        let Some(cipher) = &self.cipher else { return Some(text) };
        let nonce = aead::Nonce::assume_unique_for_key(*nonce);
        Some(cipher.open_in_place(nonce, aead::Aad::empty(), &mut text).ok()?.to_vec())
    }

    /// Bytes that nobody without the key can foresee, the same for the same text.
    pub(super) fn tag<const N: usize>(&self, label: &[u8], text: &[u8]) -> [u8; N] {
        let mut context = hmac::Context::with_key(&self.nonce);
        context.update(&[label.len() as u8]);
        context.update(label);
        context.update(text);
        let mut tag = [0; N];
        tag.iter_mut().zip(context.sign().as_ref()).for_each(|(to, from)| *to = *from);
        tag
    }
}

/// HKDF-SHA256 (RFC 5869).
fn derive<const N: usize>(secret: &[u8], label: &[u8]) -> [u8; N] {
    let mut output = [0; N];
    hkdf::Salt::new(hkdf::HKDF_SHA256, b"blocking probe 1")
        .extract(secret)
        .expand(&[label], Length(N))
        .and_then(|key| key.fill(&mut output))
        .expect("lengths are far below 255 hashes (RFC 5869 section 2.3)");
    output
}

/// How many bytes HKDF is to give.
pub(super) struct Length(pub(super) usize);

impl hkdf::KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_opens_only_with_the_same_key() {
        let (key, other) = (Key::new(&[1; 32]), Key::new(&[2; 32]));
        let sealed = key.seal(b"a probe");
        assert_eq!(key.open(&sealed).as_deref(), Some(&b"a probe"[..]));
        assert_eq!(other.open(&sealed), None);
        for place in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert_eq!(key.open(&changed), None, "byte {place}");
            assert_eq!(key.open(&sealed[..place]), None);
        }
        assert_ne!(key.seal(b"a")[..12], key.seal(b"b")[..12], "nonces differ");
    }
}
