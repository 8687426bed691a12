//! What can go wrong in a driver. The session maps these to gRPC codes in one place.

use std::time::Duration;

use crate::Fenced;

/// A failed call, streaming call or byte stream. Each variant stands for one gRPC code.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum DriverError {
    /// No method of this name: NOT_FOUND.
    #[error("method {0} not found on driver")]
    NoSuchMethod(String),
    /// The method exists but is of another kind: NOT_FOUND. The text is what upstream answers.
    #[error("method {method} missing marker {marker}")]
    WrongKind {
        /// The method as the client named it.
        method: String,
        /// The kind of call the client made, in upstream's words.
        marker: &'static str,
    },
    /// The device has no such ability: UNIMPLEMENTED.
    #[error("{0}")]
    Unimplemented(String),
    /// Wrong number, type or value of arguments, or bad data in a codec: INVALID_ARGUMENT.
    #[error("{0}")]
    InvalidArgument(String),
    /// The key of this work is no longer valid: FAILED_PRECONDITION.
    #[error(transparent)]
    Fenced(#[from] Fenced),
    /// Another call holds the device: FAILED_PRECONDITION.
    #[error("busy: {method} since {} s", .since.as_secs())]
    Busy {
        /// The method that holds the device.
        method: String,
        /// For how long it has.
        since: Duration,
    },
    /// A rule forbids this now; the first words name the rule: FAILED_PRECONDITION.
    #[error("{0}")]
    FailedPrecondition(String),
    /// Absent, unplugged, or the connection to the device was lost: UNAVAILABLE.
    #[error("{0}")]
    Unavailable(String),
    /// The device or the operating system failed: INTERNAL.
    #[error("{0}")]
    Device(String),
    /// A bound was reached: RESOURCE_EXHAUSTED.
    #[error("{0}")]
    Exhausted(String),
    /// A deadline on the hardware passed: DEADLINE_EXCEEDED.
    #[error("{0}")]
    Timeout(String),
    /// The caller went away or an urgent call took over: CANCELLED.
    #[error("{0}")]
    Cancelled(String),
    /// Everything else: UNKNOWN.
    #[error("{0}")]
    Unknown(String),
}

impl DriverError {
    /// An I/O error with what was tried on which thing, e.g. `cannot write /dev/sda`.
    ///
    /// A lost connection or device becomes [`Unavailable`](Self::Unavailable), a time-out
    /// [`Timeout`](Self::Timeout), everything else [`Device`](Self::Device).
    pub fn io(what: impl std::fmt::Display, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as K;
        let text = format!("{what}: {error}");
        match error.kind() {
            K::ConnectionRefused
            | K::ConnectionReset
            | K::ConnectionAborted
            | K::NotConnected
            | K::BrokenPipe
            | K::HostUnreachable
            | K::NetworkUnreachable => Self::Unavailable(text),
            K::TimedOut => Self::Timeout(text),
            _ => Self::Device(text),
        }
    }

    /// The same error with `context` in front of its text, where the text is free: the texts of a
    /// busy device, a revoked key and of unknown methods are ones that clients match on.
    #[must_use]
    pub fn with_context(self, context: &str) -> Self {
        let with = |text: String| format!("{context}: {text}");
        match self {
            Self::NoSuchMethod(_)
            | Self::WrongKind { .. }
            | Self::Fenced(_)
            | Self::Busy { .. } => self,
            Self::Unimplemented(text) => Self::Unimplemented(with(text)),
            Self::InvalidArgument(text) => Self::InvalidArgument(with(text)),
            Self::FailedPrecondition(text) => Self::FailedPrecondition(with(text)),
            Self::Unavailable(text) => Self::Unavailable(with(text)),
            Self::Device(text) => Self::Device(with(text)),
            Self::Exhausted(text) => Self::Exhausted(with(text)),
            Self::Timeout(text) => Self::Timeout(with(text)),
            Self::Cancelled(text) => Self::Cancelled(with(text)),
            Self::Unknown(text) => Self::Unknown(with(text)),
        }
    }
}

/// Why an instance could not be opened.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The hardware is not there (yet); it is tried again with back-off.
    #[error("{0}")]
    Absent(String),
    /// The hardware is there and does not work as it should; it is tried again with back-off.
    #[error("{0}")]
    Faulty(String),
}

/// A value of a config that is well-formed and cannot be right, found without hardware.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{message}")]
pub struct ConfigError {
    /// The key the mistake is under, as written in the file; empty for the config as a whole.
    pub key: String,
    /// What is wrong and what would be right.
    pub message: String,
}

impl ConfigError {
    /// An error under `key`.
    pub fn new(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            message: message.into(),
        }
    }
}
