//! Tokens for the router: which stream, of which lease and which epoch of it, for half an hour.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    KeyError, Refusal, Token, Tokens,
    identity::{MAX_TOKEN, at, since_epoch},
};

/// How long a stream may be opened with its token; an open one goes on.
pub const STREAM_LIFETIME: Duration = Duration::from_secs(30 * 60);

const ISSUER: &str = "https://jumpstarter.dev/stream";
const AUDIENCE: &str = "https://jumpstarter.dev/router";

/// What a good token of a stream says. Both ends of the stream have the same one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamClaim {
    /// Of this stream.
    pub stream: Uuid,
    /// Name of the lease that it belongs to.
    pub lease: String,
    /// Epoch of that lease: after a transfer it is another one, and the token no good any more.
    pub epoch: u64,
}

#[derive(Serialize, Deserialize)]
struct Claims {
    iss: String,
    sub: Uuid,
    aud: Vec<String>,
    exp: u64,
    nbf: u64,
    iat: u64,
    jti: String,
    lease: String,
    epoch: u64,
}

impl Tokens {
    /// A token for both ends of a stream.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn issue_stream(&self, claim: &StreamClaim, now: SystemTime) -> Result<Token, KeyError> {
        let seconds = since_epoch(now).as_secs();
        let claims = Claims {
            iss: ISSUER.to_owned(),
            sub: claim.stream,
            aud: vec![AUDIENCE.to_owned()],
            exp: seconds.saturating_add(STREAM_LIFETIME.as_secs()),
            nbf: seconds,
            iat: seconds,
            jti: Uuid::new_v4().to_string(),
            lease: claim.lease.clone(),
            epoch: claim.epoch,
        };
        let token = self.stream.encode(None, &claims);
        token
            .map(Token::new)
            .map_err(|error| KeyError::Make(error.to_string()))
    }

    /// Whether `token` is a good one for a stream; signatures are compared in constant time. That the
    /// lease is still in this epoch is for whoever knows the leases.
    ///
    /// # Errors
    /// [`Refusal::InvalidStream`], whatever is wrong.
    pub fn verify_stream(&self, token: &Token, now: SystemTime) -> Result<StreamClaim, Refusal> {
        let text = token.reveal();
        if text.len() > MAX_TOKEN {
            return Err(Refusal::InvalidStream);
        }
        let claims = self.stream.decode::<Claims>(text);
        let claims = claims.map_err(|_| Refusal::InvalidStream)?;
        // `nbf` is not looked at: the tokens are this process's own, and a clock that was set back a
        // little must not refuse those of a moment ago.
        let ours = claims.iss == ISSUER && claims.aud.iter().any(|one| one == AUDIENCE);
        if !ours || now >= at(claims.exp) {
            return Err(Refusal::InvalidStream);
        }
        Ok(StreamClaim {
            stream: claims.sub,
            lease: claims.lease,
            epoch: claims.epoch,
        })
    }
}
