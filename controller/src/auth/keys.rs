//! The secrets that tokens are made with, and tokens themselves as things that are not printed.

use std::fmt;

use base64::{Engine, engine::general_purpose::STANDARD};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256};
use serde::{Deserialize, Serialize};

use super::jws;

/// Bytes of the router's key: as many as its hash gives (RFC 7518, section 3.2).
const ROUTER_KEY_BYTES: usize = 32;

/// Keys of one lab, made at its first start and kept in its state.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keys {
    /// PKCS #8 of a P-256 key, in base64.
    identity: String,
    /// In base64.
    router: String,
}

/// A key cannot be made or read.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The kept one is none.
    #[error("the {0} key of the state is damaged")]
    Damaged(&'static str),
    /// A new one could not be made.
    #[error("no key could be made: {0}")]
    Make(String),
}

impl Keys {
    /// New keys.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn generate() -> Result<Self, KeyError> {
        let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|error| KeyError::Make(error.to_string()))?;
        Ok(Self {
            identity: STANDARD.encode(pair.serialize_der()),
            router: STANDARD.encode(rand::random::<[u8; ROUTER_KEY_BYTES]>()),
        })
    }

    /// That of identities.
    pub(super) fn identity(&self) -> Result<jws::Key, KeyError> {
        jws::Key::pair(&self.pkcs8()?).ok_or(KeyError::Damaged("identity"))
    }

    /// PKCS #8 of the identity key.
    pub(super) fn pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let pkcs8 = STANDARD.decode(&self.identity);
        pkcs8.map_err(|_| KeyError::Damaged("identity"))
    }

    /// The router's key.
    pub(super) fn router(&self) -> Result<jws::Key, KeyError> {
        match STANDARD.decode(&self.router) {
            Ok(key) if key.len() >= ROUTER_KEY_BYTES => Ok(jws::Key::secret(&key)),
            _ => Err(KeyError::Damaged("router")),
        }
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Keys(…)")
    }
}

/// A token: printed, it is `…`.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// Takes a text for one.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The text, for the file or the message that it belongs in, and for nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Token(…)")
    }
}

impl fmt::Display for Token {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("…")
    }
}
