//! SNMP v3 with the user-based security model: messages (RFC 3412), users and keys (RFC 3414), DES
//! (RFC 3414, section 8) and AES (RFC 3826).

use aes::{
    Aes128,
    cipher::{BlockEncrypt, KeyInit, generic_array::GenericArray},
};
use des::{Des, cipher::BlockDecrypt};
use md5::Md5;
use rand::Rng as _;
use sha1::Sha1;

use super::{
    ber::{self, INTEGER, OCTETS, Reader, SEQUENCE},
    pdu::Answer,
};

/// Length of a truncated HMAC in both protocols.
const MAC: usize = 12;
/// What a key is made of: a million bytes of repeated password.
const KEY_TEXT: usize = 1 << 20;
/// What the whole of a UDP datagram may hold.
const MAX_SIZE: i64 = 65_507;
const AUTHENTICATED: u8 = 1;
const ENCRYPTED: u8 = 2;
const REPORTABLE: u8 = 4;

/// How answers are known to come from the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Auth {
    Md5,
    Sha,
}

/// How messages are hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Priv {
    Des,
    Aes,
}

/// A user and its passwords.
#[derive(Clone)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) auth: Option<(Auth, String)>,
    pub(super) privacy: Option<(Priv, String)>,
}

impl std::fmt::Debug for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("User")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The device's SNMP engine, as far as it has told.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Engine {
    pub(super) id: Vec<u8>,
    pub(super) boots: i64,
    pub(super) time: i64,
}

/// The user's keys at one engine.
pub(super) struct Keys {
    auth: Option<(Auth, Vec<u8>)>,
    privacy: Option<(Priv, Vec<u8>)>,
}

impl Auth {
    fn hash(self, parts: &[&[u8]]) -> Vec<u8> {
        match self {
            Self::Md5 => {
                use md5::Digest as _;
                let mut hash = Md5::new();
                parts.iter().for_each(|part| hash.update(part));
                hash.finalize().to_vec()
            }
            Self::Sha => {
                use sha1::Digest as _;
                let mut hash = Sha1::new();
                parts.iter().for_each(|part| hash.update(part));
                hash.finalize().to_vec()
            }
        }
    }

    /// RFC 2104; keys are shorter than a block.
    fn mac(self, key: &[u8], message: &[u8]) -> Vec<u8> {
        let pad = |with: u8| {
            let mut block = [with; 64];
            block
                .iter_mut()
                .zip(key)
                .for_each(|(byte, key)| *byte ^= key);
            block
        };
        let inner = self.hash(&[&pad(0x36), message]);
        self.hash(&[&pad(0x5c), &inner])
    }

    /// RFC 3414, section A.2: the key of a password at an engine.
    pub(super) fn key(self, password: &str, engine: &[u8]) -> Vec<u8> {
        let text: Vec<u8> = password.bytes().cycle().take(KEY_TEXT).collect();
        let user = self.hash(&[&text]);
        self.hash(&[&user, engine, &user])
    }
}

impl Priv {
    /// The ciphertext and the parameters that go with it.
    fn encrypt(self, key: &[u8], engine: &Engine, plain: &[u8]) -> (Vec<u8>, Vec<u8>) {
        let salt = rand::rng().next_u64().to_be_bytes();
        match self {
            Self::Aes => (cfb(key, &aes_iv(engine, &salt), plain, true), salt.to_vec()),
            Self::Des => {
                let cipher = Des::new(GenericArray::from_slice(&key[..8]));
                let mut last = xor8(&key[8..16], &salt);
                let mut out = Vec::new();
                for piece in plain.chunks(8) {
                    let mut block = [0; 8];
                    block[..piece.len()].copy_from_slice(piece);
                    let mut block = GenericArray::from(xor8(&block, &last));
                    cipher.encrypt_block(&mut block);
                    last = block.into();
                    out.extend(last);
                }
                (out, salt.to_vec())
            }
        }
    }

    fn decrypt(self, key: &[u8], engine: &Engine, salt: &[u8], bytes: &[u8]) -> Option<Vec<u8>> {
        let salt: [u8; 8] = salt.try_into().ok()?;
        match self {
            Self::Aes => Some(cfb(key, &aes_iv(engine, &salt), bytes, false)),
            Self::Des => {
                let cipher = Des::new(GenericArray::from_slice(&key[..8]));
                let mut last = xor8(&key[8..16], &salt);
                let (pieces, rest) = bytes.as_chunks::<8>();
                if !rest.is_empty() {
                    return None;
                }
                let mut out = Vec::new();
                for piece in pieces {
                    let mut block = GenericArray::from(*piece);
                    cipher.decrypt_block(&mut block);
                    out.extend(xor8(&block, &last));
                    last = *piece;
                }
                Some(out)
            }
        }
    }
}

fn xor8(left: &[u8], right: &[u8]) -> [u8; 8] {
    std::array::from_fn(|at| left.get(at).unwrap_or(&0) ^ right.get(at).unwrap_or(&0))
}

/// RFC 3826, section 3.1.2.1: boots, time, salt.
fn aes_iv(engine: &Engine, salt: &[u8; 8]) -> [u8; 16] {
    let boots = u32::try_from(engine.boots)
        .unwrap_or_default()
        .to_be_bytes();
    let time = u32::try_from(engine.time).unwrap_or_default().to_be_bytes();
    let mut iv = [0; 16];
    iv[..4].copy_from_slice(&boots);
    iv[4..8].copy_from_slice(&time);
    iv[8..].copy_from_slice(salt);
    iv
}

/// AES in CFB mode with whole blocks of feedback, without padding.
fn cfb(key: &[u8], iv: &[u8; 16], bytes: &[u8], encrypt: bool) -> Vec<u8> {
    let cipher = Aes128::new(GenericArray::from_slice(&key[..16]));
    let mut last = *iv;
    let mut out = Vec::with_capacity(bytes.len());
    for piece in bytes.chunks(16) {
        let mut stream = GenericArray::from(last);
        cipher.encrypt_block(&mut stream);
        let done: Vec<u8> = piece.iter().zip(&stream).map(|(a, b)| a ^ b).collect();
        let feedback = if encrypt { &done } else { piece };
        last[..feedback.len()].copy_from_slice(feedback);
        out.extend(done);
    }
    out
}

impl User {
    /// Its keys at this engine; a few milliseconds of hashing.
    pub(super) fn keys(&self, engine: &[u8]) -> Keys {
        let auth = self.auth.as_ref();
        // RFC 3414, section 8.2.1: the key for privacy is made with the hash for authentication.
        let hash = auth.map(|(auth, _)| *auth);
        let privacy = self.privacy.as_ref().zip(hash);
        Keys {
            auth: auth.map(|(auth, password)| (*auth, auth.key(password, engine))),
            privacy: privacy
                .map(|((privacy, password), hash)| (*privacy, hash.key(password, engine))),
        }
    }
}

/// A message to the engine. Without keys it is plain: the question who the engine is.
pub(super) fn message(
    id: i64,
    engine: &Engine,
    user: &str,
    keys: Option<&Keys>,
    pdu: &[u8],
) -> Vec<u8> {
    let auth = keys.and_then(|keys| keys.auth.as_ref());
    let privacy = keys.and_then(|keys| keys.privacy.as_ref());
    let mut flags = REPORTABLE;
    flags |= if auth.is_some() { AUTHENTICATED } else { 0 };
    flags |= if privacy.is_some() { ENCRYPTED } else { 0 };

    let scoped = [
        ber::tlv(OCTETS, &engine.id),
        ber::tlv(OCTETS, b""), // the default context
        pdu.to_vec(),
    ];
    let scoped = ber::list(SEQUENCE, &scoped);
    let (data, salt) = match privacy {
        Some((privacy, key)) => {
            let (bytes, salt) = privacy.encrypt(key, engine, &scoped);
            (ber::tlv(OCTETS, &bytes), salt)
        }
        None => (scoped, Vec::new()),
    };
    let whole = |mac: &[u8]| {
        let header = [
            ber::integer(id),
            ber::integer(MAX_SIZE),
            ber::tlv(OCTETS, &[flags]),
            ber::integer(3), // the user-based model
        ];
        let security = [
            ber::tlv(OCTETS, &engine.id),
            ber::integer(engine.boots),
            ber::integer(engine.time),
            ber::tlv(OCTETS, user.as_bytes()),
            ber::tlv(OCTETS, mac),
            ber::tlv(OCTETS, &salt),
        ];
        let parts = [
            ber::integer(3),
            ber::list(SEQUENCE, &header),
            ber::tlv(OCTETS, &ber::list(SEQUENCE, &security)),
            data.clone(),
        ];
        ber::list(SEQUENCE, &parts)
    };
    match auth {
        // RFC 3414, section 6.3.1: over the whole message with zeros in the MAC's place.
        Some((auth, key)) => whole(&auth.mac(key, &whole(&[0; MAC]))[..MAC]),
        None => whole(b""),
    }
}

/// An answer of an engine.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) id: i64,
    pub(super) engine: Engine,
    pub(super) authenticated: bool,
    pub(super) answer: Answer,
}

/// Reads an answer, and checks and decrypts it where it says that it is protected. `None` for
/// anything else, and for what was tampered with.
pub(super) fn receive(bytes: &[u8], keys: Option<&Keys>) -> Option<Received> {
    let mut message = Reader(bytes).inside(SEQUENCE)?;
    if message.integer()? != 3 {
        return None;
    }
    let mut header = message.inside(SEQUENCE)?;
    let (id, _) = (header.integer()?, header.integer()?);
    let flags = *header.expect(OCTETS)?.first()?;
    if header.expect(INTEGER)? != [3] {
        return None;
    }
    let mut security = Reader(message.expect(OCTETS)?).inside(SEQUENCE)?;
    let engine = Engine {
        id: security.expect(OCTETS)?.to_vec(),
        boots: security.integer()?,
        time: security.integer()?,
    };
    security.expect(OCTETS)?;
    let (mac, salt) = (security.expect(OCTETS)?, security.expect(OCTETS)?);
    let authenticated = flags & AUTHENTICATED != 0;
    if authenticated {
        let (auth, key) = keys?.auth.as_ref()?;
        let mut zeroed = bytes.to_vec();
        let at = mac.as_ptr() as usize - bytes.as_ptr() as usize;
        if mac.len() != MAC {
            return None;
        }
        zeroed[at..at + MAC].fill(0);
        if auth.mac(key, &zeroed)[..MAC] != *mac {
            return None;
        }
    }
    let decrypted;
    let mut scoped = if flags & ENCRYPTED != 0 {
        let (privacy, key) = keys?.privacy.as_ref()?;
        decrypted = privacy.decrypt(key, &engine, salt, message.expect(OCTETS)?)?;
        Reader(&decrypted).inside(SEQUENCE)?
    } else {
        message.inside(SEQUENCE)?
    };
    scoped.expect(OCTETS)?;
    scoped.expect(OCTETS)?;
    let answer = Answer::decode(&mut scoped)?;
    Some(Received {
        id,
        engine,
        authenticated,
        answer,
    })
}

#[cfg(test)]
mod tests;
