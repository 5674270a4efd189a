//! SHA-256 (FIPS 180-4) of what came so far.

use ring::digest::{Context, SHA256};
use std::fmt;

pub(super) struct Sha256(Context);

impl Sha256 {
    pub(super) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(super) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        // It has 32 bytes.
        self.0.clone().finish().as_ref().try_into().unwrap_or_default()
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Sha256(..)")
    }
}
