//! `tls.ca`: base64 of a bundle of certificates in PEM form.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

/// Not every tool writes the padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A certificate authority cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaError {
    /// PEM as it is.
    #[error("expected base64 of a PEM file, found the PEM file itself")]
    Bare,
    /// Something else.
    #[error("expected base64 of a PEM file, found a text that is no base64")]
    NotBase64,
    /// Broken PEM.
    #[error("the certificates are not valid PEM")]
    NotPem,
    /// PEM without one.
    #[error("there is no certificate in it: expected PEM with `-----BEGIN CERTIFICATE-----`")]
    Empty,
    /// PEM around something else.
    #[error("certificate {0} of it cannot be read as X.509")]
    Unreadable(usize),
}

impl CaError {
    /// How to make the right text.
    pub fn help(&self) -> &'static str {
        match self {
            CaError::Bare | CaError::NotBase64 => {
                "write what `base64 -w0 ca.crt` prints, in one line"
            }
            CaError::NotPem | CaError::Empty | CaError::Unreadable(_) => {
                "a PEM file is what `openssl x509 -in ca.crt` prints"
            }
        }
    }
}

/// The certificates of `tls.ca`; there is at least one.
///
/// # Errors
/// It holds none that can be used.
pub fn certificates(ca: &str) -> Result<Vec<CertificateDer<'static>>, CaError> {
    if ca.contains("-----BEGIN") {
        return Err(CaError::Bare);
    }
    // A folded or block text of YAML has line ends in it.
    let packed: String = ca.split_ascii_whitespace().collect();
    let pem = BASE64.decode(packed).map_err(|_| CaError::NotBase64)?;
    pem_certificates(&pem)
}

/// The certificates of a PEM bundle; there is at least one.
///
/// # Errors
/// It holds none that can be used.
pub fn pem_certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CaError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|_| CaError::NotPem)?;
    if found.is_empty() {
        return Err(CaError::Empty);
    }
    let mut roots = RootCertStore::empty();
    for (index, certificate) in found.iter().enumerate() {
        let added = roots.add(certificate.clone());
        added.map_err(|_| CaError::Unreadable(index + 1))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_in_any_wrapping() {
        let one = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let pem = one.cert.pem();
        let text = BASE64.encode(format!("# a remark\n{pem}{pem}"));
        assert_eq!(certificates(&text).unwrap().len(), 2);
        let wrapped = text.as_bytes().chunks(60).map(|line| {
            let line = String::from_utf8_lossy(line);
            format!("  {line}\n")
        });
        assert_eq!(certificates(&wrapped.collect::<String>()).unwrap().len(), 2);
        assert_eq!(certificates(text.trim_end_matches('=')).unwrap().len(), 2);
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let one = rcgen::generate_simple_self_signed(["a".to_owned()]).unwrap();
        let junk = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for (text, expected) in [
            (one.cert.pem(), CaError::Bare),
            ("/etc/ca.crt?".to_owned(), CaError::NotBase64),
            (BASE64.encode("no certificate"), CaError::Empty),
            (
                BASE64.encode(one.signing_key.serialize_pem()),
                CaError::Empty,
            ),
            (BASE64.encode(&junk[..40]), CaError::NotPem),
            (BASE64.encode(one.cert.pem() + junk), CaError::Unreadable(2)),
        ] {
            assert_eq!(certificates(&text), Err(expected), "{text}");
        }
    }
}
