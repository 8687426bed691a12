//! What clients make of a certificate.

use std::time::{SystemTime, UNIX_EPOCH};

use rustls::{
    CertificateError, Error, RootCertStore,
    client::{verify_server_cert_signed_by_trust_anchor, verify_server_name},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::ParsedCertificate,
};

use super::certificates;

/// A name that no certificate is for (RFC 6761, section 6.4).
const NOBODY: &str = "nobody.invalid";

/// Whether a certificate is for that host name or address.
pub(super) fn covers(leaf: &CertificateDer<'_>, host: &str) -> bool {
    let (Ok(leaf), Ok(name)) = (
        ParsedCertificate::try_from(leaf),
        ServerName::try_from(host),
    ) else {
        return false;
    };
    verify_server_name(&leaf, &name).is_ok()
}

/// The names that a certificate is for, as far as they can be told.
pub(super) fn names(leaf: &CertificateDer<'_>) -> Vec<String> {
    let (Ok(leaf), Ok(nobody)) = (
        ParsedCertificate::try_from(leaf),
        ServerName::try_from(NOBODY),
    ) else {
        return Vec::new();
    };
    // The check says what it found in place of the name.
    match verify_server_name(&leaf, &nobody) {
        Err(Error::InvalidCertificate(CertificateError::NotValidForNameContext {
            presented,
            ..
        })) => presented.iter().filter_map(|name| bare(name)).collect(),
        _ => Vec::new(),
    }
}

/// `DnsName("a.example")` and `IpAddress(192.0.2.1)`, as the check has them.
fn bare(presented: &str) -> Option<String> {
    let inner = presented.strip_suffix(')')?;
    let name = match inner.strip_prefix("DnsName(") {
        Some(name) => name.trim_matches('"'),
        None => inner.strip_prefix("IpAddress(")?,
    };
    Some(name.to_owned())
}

/// Whether one of the certificates in `ca` signed the chain, or is its certificate itself. Whether it is
/// time for them is not looked at.
pub(super) fn signed(ca: &str, chain: &[CertificateDer<'_>], now: SystemTime) -> bool {
    let (Ok(trusted), Some((leaf, rest))) = (certificates(ca), chain.split_first()) else {
        return false;
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().cloned());
    let Ok(parsed) = ParsedCertificate::try_from(leaf) else {
        return false;
    };
    let now = UnixTime::since_unix_epoch(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    let algorithms = ring::default_provider()
        .signature_verification_algorithms
        .all;
    let verified =
        verify_server_cert_signed_by_trust_anchor(&parsed, &roots, rest, now, algorithms);
    match verified {
        Err(Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        )) => trusted.contains(leaf),
        _ => true,
    }
}
