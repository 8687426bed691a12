//! Why a caller is turned away, in the codes and texts that clients of Jumpstarter's controller know.

use tonic::{Code, Status};

use super::Kind;

/// Why a caller is turned away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no token at all.
    #[error("missing authorization header")]
    MissingHeader,
    /// There are several.
    #[error("multiple authorization headers")]
    ManyHeaders,
    /// It is not `Bearer`, one space, and a token.
    #[error("malformed authorization header")]
    MalformedHeader,
    /// The caller does not say who it is.
    #[error("missing metadata: {0}")]
    MissingMetadata(&'static str),
    /// It says it twice.
    #[error("multiple metadata: {0}")]
    ManyMetadata(&'static str),
    /// What it says is no name.
    #[error("malformed metadata: {0}")]
    MalformedMetadata(&'static str),
    /// It does not say its name.
    #[error("resource name required: there is no jumpstarter-name")]
    NameRequired,
    /// An exporter asked for what is for clients, or the other way round.
    #[error("object kind mismatch")]
    KindMismatch,
    /// The token is none, or not one of this controller.
    #[error("failed to authenticate token")]
    Unknown,
    /// The token claims to be one of this controller, and is not good.
    #[error("oidc: verify token: {0}")]
    Unverified(&'static str),
    /// It was good; `at` is when that ended. Clients look for `expired`.
    #[error("oidc: verify token: oidc: token is expired (Token Expiry: {at})")]
    Expired {
        /// In RFC 3339.
        at: String,
    },
    /// The object that the caller claims to be does not exist. Told to callers with a good token only.
    #[error("{kind} {namespace}/{name}: {}.jumpstarter.dev \"{name}\" not found", kind.object())]
    NotFound {
        /// Of the object.
        kind: Kind,
        /// Of the object.
        namespace: String,
        /// Of the object.
        name: String,
    },
    /// It exists, and is somebody else.
    #[error("permission denied for {kind} {namespace}/{name}")]
    NotYours {
        /// Of the object.
        kind: Kind,
        /// Of the object.
        namespace: String,
        /// Of the object.
        name: String,
    },
    /// The token of a stream is not good.
    #[error("invalid jwt token")]
    InvalidStream,
    /// There is no token for a stream.
    #[error("missing or invalid authorization: {0}")]
    NoStreamToken(&'static str),
    /// Too many failures came from there.
    #[error("too many failed logins, try again in {seconds} s")]
    TooMany {
        /// Until the next failure is answered.
        seconds: u64,
    },
}

impl Refusal {
    /// The status code that goes with it.
    pub fn code(&self) -> Code {
        match self {
            Self::MissingHeader | Self::InvalidStream | Self::NoStreamToken(_) => {
                Code::Unauthenticated
            }
            Self::ManyHeaders
            | Self::MalformedHeader
            | Self::MissingMetadata(_)
            | Self::ManyMetadata(_)
            | Self::MalformedMetadata(_)
            | Self::NameRequired
            | Self::KindMismatch => Code::InvalidArgument,
            Self::Unknown | Self::Unverified(_) | Self::Expired { .. } | Self::NotFound { .. } => {
                Code::Unknown
            }
            Self::NotYours { .. } => Code::PermissionDenied,
            Self::TooMany { .. } => Code::ResourceExhausted,
        }
    }

    /// Somebody presented a token that is not good: what [`super::FailedLogins`] counts.
    pub fn is_failed_login(&self) -> bool {
        matches!(
            self,
            Self::Unknown
                | Self::Unverified(_)
                | Self::Expired { .. }
                | Self::NotFound { .. }
                | Self::NotYours { .. }
                | Self::InvalidStream
        )
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        Self::new(refusal.code(), refusal.to_string())
    }
}
