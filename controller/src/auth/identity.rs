//! Identity tokens: who a client or an exporter is, for a year.
//!
//! They have the shape and the claims of those that Jumpstarter's own controller gives. One claim is
//! added, `issued_ns`: seconds are too coarse to tell a token that was issued just before a revocation
//! from one that was issued just after it.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize, de::IgnoredAny};
use uuid::Uuid;

use super::{
    KeyError, Keys, Refusal, Token,
    jws::{self, Unsigned},
};

/// How long a token is good unless settings say otherwise, as upstream's `tokenLifetime`.
pub const DEFAULT_LIFETIME: Duration = Duration::from_secs(365 * 24 * 60 * 60);
/// Longest lifetime, so that no sum of times overflows.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
/// Longest token that is looked at; ours have about 500 bytes.
pub(super) const MAX_TOKEN: usize = 8 * 1024;

const ISSUER: &str = "https://localhost:8085";
const AUDIENCE: &str = "jumpstarter";
const KEY_ID: &str = "default";

/// What a caller is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Asks for leases.
    Client,
    /// Is leased.
    Exporter,
}

impl Kind {
    /// As in objects and in metadata.
    pub fn object(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.word())
    }
}

/// Whom a token is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Client or exporter.
    pub kind: Kind,
    /// Of the lab.
    pub namespace: String,
    /// Of the object.
    pub name: String,
    /// Of the object: a later one of the same name is somebody else.
    pub uid: Uuid,
}

impl Subject {
    fn text(&self) -> String {
        format!(
            "{}:{}:{}:{}",
            self.kind, self.namespace, self.name, self.uid
        )
    }

    fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split(':');
        let kind = match parts.next()? {
            "client" => Kind::Client,
            "exporter" => Kind::Exporter,
            _ => return None,
        };
        let (namespace, name) = (parts.next()?.to_owned(), parts.next()?.to_owned());
        let uid = parts.next()?.parse().ok()?;
        parts.next().is_none().then_some(Self {
            kind,
            namespace,
            name,
            uid,
        })
    }
}

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Whose it is.
    pub subject: Subject,
    /// When it was issued, to compare with `tokens_from` of the object.
    pub issued: SystemTime,
    /// When it ends.
    pub expires: SystemTime,
}

/// A new token.
#[derive(Debug, Clone)]
pub struct Issued {
    /// For its owner only.
    pub token: Token,
    /// When it ends, in whole seconds.
    pub expires: SystemTime,
}

/// Makes and checks tokens. It reads no clock.
pub struct Tokens {
    key: jws::Key,
    lifetime: Duration,
    /// For tokens of streams.
    pub(super) stream: jws::Key,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    iat: u64,
    exp: u64,
    jti: String,
    issued_ns: u64,
}

/// One or several, as RFC 7519 allows.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Audience {
    Many(Vec<String>),
    One(String),
}

#[derive(Deserialize)]
struct Foreign {
    iss: String,
    #[serde(flatten)]
    _rest: IgnoredAny,
}

impl Tokens {
    /// Tokens of these keys; `lifetime` is at most 100 years.
    ///
    /// # Errors
    /// A key is damaged.
    pub fn new(keys: &Keys, lifetime: Duration) -> Result<Self, KeyError> {
        Ok(Self {
            key: keys.identity()?,
            lifetime: lifetime.min(MAX_LIFETIME),
            stream: keys.router()?,
        })
    }

    /// A token for `subject`. `tokens_from` is that of its object: a clock that went back since the
    /// last revocation does not make the new token one of before it.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn issue(
        &self,
        subject: &Subject,
        tokens_from: SystemTime,
        now: SystemTime,
    ) -> Result<Issued, KeyError> {
        let seconds = since_epoch(now).as_secs();
        let exp = seconds.saturating_add(self.lifetime.as_secs());
        let issued = since_epoch(now.max(tokens_from));
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: subject.text(),
            aud: Audience::Many(vec![AUDIENCE.to_owned()]),
            iat: seconds,
            exp,
            jti: Uuid::new_v4().to_string(),
            issued_ns: u64::try_from(issued.as_nanos()).unwrap_or(u64::MAX),
        };
        let token = self.key.encode(Some(KEY_ID), &claims);
        let token = token.map_err(|error| KeyError::Make(error.to_string()))?;
        Ok(Issued {
            token: Token::new(token),
            expires: at(exp),
        })
    }

    /// Whether `token` is one of ours and still good, and whose it is. Whether that somebody still
    /// exists is for [`super::admit`].
    ///
    /// # Errors
    /// [`Refusal::Unknown`], [`Refusal::Unverified`] or [`Refusal::Expired`].
    pub fn verify(&self, token: &Token, now: SystemTime) -> Result<Identity, Refusal> {
        let text = token.reveal();
        if text.len() > MAX_TOKEN {
            return Err(Refusal::Unknown);
        }
        match jws::claimed::<Foreign>(text) {
            Some(claims) if claims.iss == ISSUER => {}
            _ => return Err(Refusal::Unknown),
        }
        let claims = self.key.decode::<Claims>(text);
        let claims = claims.map_err(|why| Refusal::Unverified(reason(why)))?;
        let meant = match &claims.aud {
            Audience::Many(all) => all.iter().any(|one| one == AUDIENCE),
            Audience::One(one) => one == AUDIENCE,
        };
        if claims.iss != ISSUER || !meant {
            return Err(Refusal::Unverified(
                "oidc: expected audience \"jumpstarter\"",
            ));
        }
        if now >= at(claims.exp) {
            return Err(Refusal::Expired {
                at: rfc3339(claims.exp),
            });
        }
        let subject = Subject::parse(&claims.sub).ok_or(Refusal::Unverified(
            "the subject is no client and no exporter",
        ))?;
        let issued = UNIX_EPOCH + Duration::from_nanos(claims.issued_ns);
        Ok(Identity {
            subject,
            issued,
            expires: at(claims.exp),
        })
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("Tokens(…)")
    }
}

/// Words that say what is wrong, and nothing of the token.
fn reason(why: Unsigned) -> &'static str {
    match why {
        Unsigned::Signature => "failed to verify signature",
        Unsigned::Algorithm => "oidc: unexpected signature algorithm",
        Unsigned::Malformed => "oidc: malformed jwt",
    }
}

pub(super) fn since_epoch(time: SystemTime) -> Duration {
    time.duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Seconds of a token as a time; far too large ones come from nobody who has the key.
pub(super) fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH
        .checked_add(Duration::from_secs(seconds))
        .unwrap_or(UNIX_EPOCH)
}

/// UTC, in whole seconds.
fn rfc3339(seconds: u64) -> String {
    let stamp = prost_types::Timestamp {
        seconds: i64::try_from(seconds).unwrap_or(i64::MAX),
        nanos: 0,
    };
    stamp.to_string()
}
