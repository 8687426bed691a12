//! Who an exporter says it is, with every call to its controller.

use std::{
    fmt,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use prost_types::Timestamp;
use rustix::fs::OFlags;
use tokio::time::sleep;
use tonic::{
    Request, Status,
    metadata::{Ascii, MetadataMap, MetadataValue},
    service::Interceptor,
};

use crate::{
    config::{ExporterConfig, Secret, token_mistake},
    os::paths::{self, Env},
};

/// Largest token. Those of real issuers have a few KiB, and a server takes 8 to 16 KiB of headers.
const MAX_TOKEN: u64 = 16 * 1024;

/// Between two looks at the file of a refused token: whoever replaces it watches.
const LOOK: Duration = Duration::from_secs(1);

const DAY: u64 = 24 * 60 * 60;

/// The metadata of an exporter's calls. Cheap to clone; the token is never shown.
#[derive(Clone)]
pub(crate) struct Identity(Arc<Inner>);

struct Inner {
    namespace: MetadataValue<Ascii>,
    name: MetadataValue<Ascii>,
    token: Token,
}

enum Token {
    Fixed(Secret),
    /// Read anew for each call, so that a rotated token counts at once.
    File(PathBuf),
    /// Asked for with each call: the controller is in this process.
    Issued(Box<dyn Fn() -> Option<Secret> + Send + Sync>),
}

/// An exporter cannot say who it is.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// Neither `token` nor `tokenFile`.
    #[error("no token for the controller: give `token` or `tokenFile`")]
    NoToken,
    /// The controller knows exporters by namespace and name.
    #[error("no namespace for the controller: give `metadata.namespace`, or set JMP_NAMESPACE")]
    NoNamespace,
    /// It could not be sent.
    #[error(
        "`metadata.{0}` holds a character that a header cannot carry: only printable ASCII can be sent"
    )]
    Unsendable(&'static str),
    /// The file of the token cannot be read.
    #[error("cannot read token file {}: {cause}", .path.display())]
    Read {
        /// Where it should be.
        path: PathBuf,
        /// Why not.
        cause: io::Error,
    },
    /// What is in the file is no token.
    #[error("token file {}: {reason}", .path.display())]
    Content {
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The same for `token`.
    #[error("`token`: {0}")]
    Token(&'static str),
    /// The controller of this process makes none.
    #[error(
        "the embedded controller does not know the exporter any more: `rigd reload` mends that"
    )]
    NotIssued,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("namespace", &self.0.namespace)
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}

impl Identity {
    /// Takes name, namespace and token of an exporter. A file of the token need not be there yet.
    ///
    /// # Errors
    /// Something is missing, or cannot be sent.
    pub(crate) fn new(config: &ExporterConfig, env: Env<'_>) -> Result<Self, IdentityError> {
        let metadata = &config.metadata;
        let namespace = metadata.namespace.as_deref();
        let namespace = namespace.ok_or(IdentityError::NoNamespace)?;
        let token = match (&config.token, &config.token_file) {
            (Some(token), _) => {
                if let Some(wrong) = token_mistake(token.expose()) {
                    return Err(IdentityError::Token(wrong));
                }
                Token::Fixed(token.clone())
            }
            (None, Some(path)) => Token::File(paths::secret_file(path, env)),
            (None, None) => return Err(IdentityError::NoToken),
        };
        Self::of(namespace, &metadata.name, token)
    }

    /// The exporter `name` of a namespace, with the token that `issue` gives at the time; none while
    /// the exporter is not known there. `issue` must not take long.
    ///
    /// # Errors
    /// Name or namespace cannot be sent.
    pub(crate) fn issued(
        namespace: &str,
        name: &str,
        issue: impl Fn() -> Option<Secret> + Send + Sync + 'static,
    ) -> Result<Self, IdentityError> {
        Self::of(namespace, name, Token::Issued(Box::new(issue)))
    }

    fn of(namespace: &str, name: &str, token: Token) -> Result<Self, IdentityError> {
        let value = |what, text: &str| {
            let sendable = text.bytes().all(|byte| matches!(byte, b' '..=b'~'));
            let value = text.parse().ok().filter(|_| sendable);
            value.ok_or(IdentityError::Unsendable(what))
        };
        Ok(Identity(Arc::new(Inner {
            namespace: value("namespace", namespace)?,
            name: value("name", name)?,
            token,
        })))
    }

    /// The namespace at the controller.
    pub(crate) fn namespace(&self) -> &str {
        // Checked to be printable ASCII when it was made.
        self.0.namespace.to_str().unwrap_or_default()
    }

    /// Adds the four keys to the metadata of a call. Reads the token's file, if it is in one: a small
    /// local file, so that this does not wait.
    ///
    /// # Errors
    /// The file of the token is missing, unreadable, or holds no token.
    pub(crate) fn apply(&self, metadata: &mut MetadataMap) -> Result<(), IdentityError> {
        let mut bearer = bearer(self.token()?.expose())
            .ok_or(IdentityError::Token("it cannot be sent as a header"))?;
        // Keeps it out of debug output and of HTTP/2's tables.
        bearer.set_sensitive(true);
        metadata.insert("authorization", bearer);
        metadata.insert("jumpstarter-kind", MetadataValue::from_static("Exporter"));
        metadata.insert("jumpstarter-namespace", self.0.namespace.clone());
        metadata.insert("jumpstarter-name", self.0.name.clone());
        Ok(())
    }

    /// The token of this moment.
    ///
    /// # Errors
    /// As [`Identity::apply`].
    pub(crate) fn token(&self) -> Result<Secret, IdentityError> {
        match &self.0.token {
            Token::Fixed(token) => Ok(token.clone()),
            Token::File(path) => read_token(path),
            Token::Issued(issue) => issue().ok_or(IdentityError::NotIssued),
        }
    }

    /// Waits until there is another token than `used`; for ever where only a reload brings one.
    /// Cancel-safe.
    pub(crate) async fn renewed(&self, used: Option<&Secret>) {
        if let Token::Fixed(_) = self.0.token {
            return std::future::pending().await;
        }
        loop {
            sleep(LOOK).await;
            if self.token().is_ok_and(|token| Some(&token) != used) {
                return;
            }
        }
    }

    /// When the token of this moment stops to count, if it says so. It is not verified; that is the
    /// controller's part.
    pub(crate) fn expires(&self) -> Option<SystemTime> {
        expiry(self.token().ok()?.expose())
    }

    /// In words, when the token of this moment has expired: `token expired 3 days ago (2026-…)`.
    pub(crate) fn expired(&self, now: SystemTime) -> Option<String> {
        let end = self.expires()?;
        let ago = now.duration_since(end).ok()?;
        Some(format!(
            "token expired {} ago ({})",
            rough(ago),
            Timestamp::from(end)
        ))
    }
}

impl Interceptor for Identity {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        match self.apply(request.metadata_mut()) {
            Ok(()) => Ok(request),
            Err(error) => {
                let mut status = Status::unauthenticated(error.to_string());
                status.set_source(Arc::new(error));
                Err(status)
            }
        }
    }
}

fn bearer(token: &str) -> Option<MetadataValue<Ascii>> {
    format!("Bearer {token}").parse().ok()
}

fn read_token(path: &Path) -> Result<Secret, IdentityError> {
    let content = |reason| IdentityError::Content {
        path: path.into(),
        reason,
    };
    let read = || {
        // Opening a pipe that nobody writes to would wait for ever.
        let mut options = std::fs::OpenOptions::new();
        let nonblock = OFlags::NONBLOCK.bits().cast_signed();
        let file = options.read(true).custom_flags(nonblock).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let mut bytes = Vec::new();
        file.take(MAX_TOKEN + 1).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read().map_err(|cause| IdentityError::Read {
        path: path.into(),
        cause,
    })?;
    if bytes.len() as u64 > MAX_TOKEN {
        return Err(content("more than 16 KiB, so this is no token"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| content("not text, so this is no token"))?;
    let token = text.trim();
    match token_mistake(token) {
        Some(wrong) => Err(content(wrong)),
        None => Ok(Secret::new(token)),
    }
}

/// The claim `exp` of a JSON Web Token.
fn expiry(token: &str) -> Option<SystemTime> {
    let parts: Vec<_> = token.split('.').collect();
    let [_, payload, _] = parts.as_slice() else {
        return None;
    };
    let payload = URL_SAFE_NO_PAD.decode(payload.trim_end_matches('=')).ok()?;
    let claims: serde_json::Value = serde_json::from_slice(&payload).ok()?;
    let seconds = claims.get("exp")?.as_f64()?;
    let since = Duration::try_from_secs_f64(seconds).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(since)
}

/// A time in its largest unit.
fn rough(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        DAY.. => (seconds / DAY, "day"),
        3600.. => (seconds / 3600, "hour"),
        60.. => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {unit}{plural}")
}

#[cfg(test)]
mod tests;
