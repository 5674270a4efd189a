//! The server's certificate, its key and its secret: made once, kept in a directory, so that a restarted server has
//! the same ticket.
//!
//! Files: `certificate.der` (self-signed X.509, Ed25519), `key.der` (PKCS#8) and `secret` (32 hexadecimal digits). Clients pin the
//! certificate's SHA-256 from the ticket; names, dates and authorities play no part.

use ring::rand::{SecureRandom as _, SystemRandom};
use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};
use thiserror::Error;

/// What a server proves itself with, and what its clients prove themselves with.
#[derive(Clone)]
pub(crate) struct Identity {
    /// DER, X.509.
    pub(crate) certificate: Vec<u8>,
    /// DER, PKCS#8.
    pub(crate) key: Vec<u8>,
    /// Shared with the clients by the ticket.
    pub(crate) secret: [u8; 16],
}

/// The identity could not be made, read or kept.
#[derive(Debug, Error)]
pub(crate) enum IdentityError {
    /// A file.
    #[error("{path}: {source}", path = path.display())]
    File { path: PathBuf, source: io::Error },
    /// Some files are there, others are not.
    #[error("{path} is missing, though other files of an identity are there", path = .0.display())]
    Incomplete(PathBuf),
    /// The secret's file.
    #[error("{path}: not 32 hexadecimal digits", path = .0.display())]
    Secret(PathBuf),
    /// A key could not be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The kernel's random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

const CERTIFICATE: &str = "certificate.der";
const KEY: &str = "key.der";
const SECRET: &str = "secret";

impl Identity {
    /// A new one, from the operating system's random numbers.
    pub(crate) fn generate() -> Result<Self, IdentityError> {
        // Ed25519 signatures have one size, so that runs differ in nothing but content.
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519)?;
        let certificate = rcgen::CertificateParams::new(vec!["iceperf".to_owned()])?.self_signed(&pair)?;
        Ok(Self {
            certificate: certificate.der().to_vec(),
            key: pair.serialize_der(),
            secret: random_bytes()?,
        })
    }

    /// The one in a directory, made there if the directory holds none. A missing secret is added, as whoever brings a
    /// ticket brings its secret along.
    pub(crate) fn load_or_create(directory: &Path) -> Result<Self, IdentityError> {
        let (certificate, key) = (directory.join(CERTIFICATE), directory.join(KEY));
        match (certificate.exists(), key.exists()) {
            (true, true) => Self::load(directory),
            (true, false) => Err(IdentityError::Incomplete(key)),
            (false, true) => Err(IdentityError::Incomplete(certificate)),
            (false, false) => {
                let identity = Self::generate()?;
                identity.store(directory)?;
                Ok(identity)
            }
        }
    }

    fn load(directory: &Path) -> Result<Self, IdentityError> {
        let read = |name: &str| {
            let path = directory.join(name);
            fs::read(&path).map_err(|source| IdentityError::File { path, source })
        };
        let path = directory.join(SECRET);
        let secret = if path.exists() {
            let text = String::from_utf8_lossy(&read(SECRET)?).into_owned();
            from_hex(text.trim()).ok_or(IdentityError::Secret(path))?
        } else {
            let secret = random_bytes()?;
            create(&path, to_hex(&secret).as_bytes())?;
            secret
        };
        Ok(Self { certificate: read(CERTIFICATE)?, key: read(KEY)?, secret })
    }

    fn store(&self, directory: &Path) -> Result<(), IdentityError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
        made.map_err(|source| IdentityError::File { path: directory.to_owned(), source })?;
        create(&directory.join(CERTIFICATE), &self.certificate)?;
        create(&directory.join(KEY), &self.key)?;
        create(&directory.join(SECRET), to_hex(&self.secret).as_bytes())
    }
}

/// Bytes from the operating system.
pub(crate) fn random_bytes<const N: usize>() -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    SystemRandom::new().fill(&mut bytes).map_err(|_| IdentityError::Random)?;
    Ok(bytes)
}

/// A file that only its owner may read, and that must not exist yet.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(|source| IdentityError::File { path: path.to_owned(), source })
}

/// Two digits for each byte.
pub(crate) fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn an_identity_is_made_once_and_only_its_owner_can_read_it() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("server");
        let first = Identity::load_or_create(&directory).unwrap();
        let second = Identity::load_or_create(&directory).unwrap();
        assert_eq!(first.certificate, second.certificate);
        assert_eq!(first.key, second.key);
        assert_eq!(first.secret, second.secret);
        for name in [CERTIFICATE, KEY, SECRET] {
            let mode = fs::metadata(directory.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
        assert_ne!(Identity::generate().unwrap().secret, first.secret);
    }

    #[test]
    fn half_an_identity_is_refused_and_nothing_is_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY), "precious").unwrap();
        let error = Identity::load_or_create(directory.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("certificate.der is missing"), "{error}");
        assert_eq!(fs::read(directory.path().join(KEY)).unwrap(), b"precious");
    }

    #[test]
    fn a_secret_that_is_none_is_refused_with_its_place() {
        let directory = tempfile::tempdir().unwrap();
        Identity::load_or_create(directory.path()).unwrap();
        fs::write(directory.path().join(SECRET), "not hex").unwrap();
        let error = Identity::load_or_create(directory.path()).map(|_| ()).unwrap_err();
        assert!(error.to_string().ends_with("secret: not 32 hexadecimal digits"), "{error}");
    }

    #[test]
    fn hexadecimal_digits_there_and_back() {
        let bytes = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 255];
        assert_eq!(from_hex(&to_hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("+0102030405060708090a0b0c0d0e0f1"), None);
    }
}
