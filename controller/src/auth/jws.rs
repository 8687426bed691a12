//! Signed JSON in its compact form (RFC 7515): what a token is made of, and nothing of what it says.
//!
//! Each key has one algorithm and takes no other, whatever a header asks for.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _,
        UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Signs and checks with one algorithm.
pub(super) enum Key {
    /// ES256.
    Pair(Box<EcdsaKeyPair>),
    /// HS256.
    Secret(hmac::Key),
}

/// Why a text is not what was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unsigned {
    /// It is not in the compact form, or not of the JSON that is wanted.
    Malformed,
    /// It is of another algorithm than the key.
    Algorithm,
    /// It is of another key.
    Signature,
}

/// The system gives no random numbers, or what is to be signed is no JSON.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Failed(String);

/// Those that are known. No other one, `none` least of all, can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum Algorithm {
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "HS256")]
    Hs256,
}

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(default, skip_deserializing)]
    typ: &'static str,
    alg: Algorithm,
    #[serde(default, skip_deserializing, skip_serializing_if = "Option::is_none")]
    kid: Option<&'static str>,
}

/// The three parts as they are in the text.
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    signature: &'a str,
    /// The first two with their dot: what is signed.
    message: &'a str,
}

impl Key {
    /// From PKCS #8; `None` when that is no P-256 key.
    pub(super) fn pair(pkcs8: &[u8]) -> Option<Self> {
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8, &SystemRandom::new()).ok()?;
        Some(Self::Pair(Box::new(pair)))
    }

    pub(super) fn secret(secret: &[u8]) -> Self {
        Self::Secret(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    fn algorithm(&self) -> Algorithm {
        match self {
            Self::Pair(_) => Algorithm::Es256,
            Self::Secret(_) => Algorithm::Hs256,
        }
    }

    /// `kid` names the key for those who have several.
    pub(super) fn encode(
        &self,
        kid: Option<&'static str>,
        claims: &impl Serialize,
    ) -> Result<String, Failed> {
        let header = Header {
            typ: "JWT",
            alg: self.algorithm(),
            kid,
        };
        let mut text = part(&header)?;
        text.push('.');
        text.push_str(&part(claims)?);
        let signature = self.sign(text.as_bytes())?;
        text.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut text);
        Ok(text)
    }

    /// What was signed with this key. Nothing of the claims is looked at before the signature is good.
    pub(super) fn decode<T: DeserializeOwned>(&self, text: &str) -> Result<T, Unsigned> {
        let parts = Parts::of(text).ok_or(Unsigned::Malformed)?;
        let header: Header = read(parts.header).ok_or(Unsigned::Malformed)?;
        if header.alg != self.algorithm() {
            return Err(Unsigned::Algorithm);
        }
        let signature = URL_SAFE_NO_PAD.decode(parts.signature);
        let signature = signature.map_err(|_| Unsigned::Malformed)?;
        if !self.verifies(parts.message.as_bytes(), &signature) {
            return Err(Unsigned::Signature);
        }
        read(parts.claims).ok_or(Unsigned::Malformed)
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Failed> {
        match self {
            Self::Pair(pair) => match pair.sign(&SystemRandom::new(), message) {
                Ok(signature) => Ok(signature.as_ref().to_vec()),
                Err(_) => Err(Failed("the system gives no random numbers".to_owned())),
            },
            Self::Secret(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
        }
    }

    /// Compares in constant time where that matters.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Pair(pair) => {
                let public = pair.public_key().as_ref();
                let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, public);
                public.verify(message, signature).is_ok()
            }
            Self::Secret(key) => hmac::verify(key, message, signature).is_ok(),
        }
    }
}

/// What a text claims, whoever signed it: for telling whose it claims to be, and for nothing else.
pub(super) fn claimed<T: DeserializeOwned>(text: &str) -> Option<T> {
    read(Parts::of(text)?.claims)
}

impl<'a> Parts<'a> {
    fn of(text: &'a str) -> Option<Self> {
        let (message, signature) = text.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        (!claims.contains('.')).then_some(Self {
            header,
            claims,
            signature,
            message,
        })
    }
}

fn part(what: &impl Serialize) -> Result<String, Failed> {
    let json = serde_json::to_vec(what).map_err(|error| Failed(error.to_string()))?;
    Ok(URL_SAFE_NO_PAD.encode(json))
}

fn read<T: DeserializeOwned>(part: &str) -> Option<T> {
    let json = URL_SAFE_NO_PAD.decode(part).ok()?;
    serde_json::from_slice(&json).ok()
}
