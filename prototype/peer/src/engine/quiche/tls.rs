//! BoringSSL's side of the connection: the same certificates, pin and algorithms as rustls has in `identity`.

use super::super::EngineError;
use crate::{Fingerprint, Identity, identity};
use boring::{
    error::ErrorStack,
    pkey::PKey,
    ssl::{
        SslAlert, SslContextBuilder, SslMethod, SslOptions, SslRef, SslSignatureAlgorithm, SslVerifyError,
        SslVerifyMode,
    },
    x509::X509,
};
use std::borrow::Cow;

/// What a server's key may sign with. BoringSSL does not accept Ed25519 from a server unless told to.
const SIGNATURES: &[SslSignatureAlgorithm] = &[
    SslSignatureAlgorithm::ED25519,
    SslSignatureAlgorithm::ECDSA_SECP256R1_SHA256,
    SslSignatureAlgorithm::ECDSA_SECP384R1_SHA384,
    SslSignatureAlgorithm::RSA_PSS_RSAE_SHA256,
];

/// Accepts one certificate and no other.
pub(super) fn client(pin: Fingerprint) -> Result<SslContextBuilder, EngineError> {
    let mut context = context()?;
    context.set_verify_algorithm_prefs(SIGNATURES).map_err(refused)?;
    context.set_custom_verify_callback(SslVerifyMode::PEER, move |ssl| verify(ssl, pin));
    Ok(context)
}

pub(super) fn server(identity: &Identity) -> Result<SslContextBuilder, EngineError> {
    let mut context = context()?;
    let certificate = X509::from_der(identity.certificate()).map_err(refused)?;
    let key = PKey::private_key_from_der(&first_version(identity.key())).map_err(refused)?;
    context.set_certificate(&certificate).map_err(refused)?;
    context.set_private_key(&key).map_err(refused)?;
    Ok(context)
}

fn context() -> Result<SslContextBuilder, EngineError> {
    let mut context = SslContextBuilder::new(SslMethod::tls()).map_err(refused)?;
    // Nothing is ever resumed: a client that begins again proves itself again.
    context.set_options(SslOptions::NO_TICKET);
    Ok(context)
}

/// Nothing of the certificate is looked at but its SHA-256; BoringSSL itself checks that the server holds the key.
fn verify(ssl: &mut SslRef, pin: Fingerprint) -> Result<(), SslVerifyError> {
    let certificate = ssl.peer_certificate().and_then(|certificate| certificate.to_der().ok());
    if certificate.is_some_and(|der| identity::fingerprint(&der) == pin) {
        return Ok(());
    }
    Err(SslVerifyError::Invalid(SslAlert::BAD_CERTIFICATE))
}

/// BoringSSL reads keys of the first version of PKCS #8 (RFC 5208) only. The second (RFC 5958) differs in its number
/// and in a public key at the end, which BoringSSL skips like any attribute.
fn first_version(key: &[u8]) -> Cow<'_, [u8]> {
    const SECOND: [u8; 3] = [2, 1, 1];
    // Tag and length of the outer sequence (X.690 section 8.1.3).
    let header = match key.get(1) {
        Some(length @ 0x80..) => 2 + usize::from(length & 0x7f),
        _ => 2,
    };
    let mut key = Cow::Borrowed(key);
    if key.get(header..header + 3) == Some(&SECOND)
        && let Some(version) = key.to_mut().get_mut(header + 2)
    {
        *version = 0;
    }
    key
}

fn refused(error: ErrorStack) -> EngineError {
    EngineError(error.to_string())
}
