//! What can go wrong on the client's side, and how it is told.

use std::{io, time::Duration};

use tonic::Code;

/// A failed operation. The text says what failed on which device.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection came about.
    #[error("cannot connect to {address}")]
    Connect {
        /// Socket path or `host:port`.
        address: String,
        /// What the transport says.
        source: tonic::transport::Error,
    },
    /// An address, an option or an environment variable that cannot be used.
    #[error("{0}")]
    BadOption(String),
    /// The exporter refused or broke off.
    #[error("{action} on {device} failed: {code}: {details}", code = code_name(*code))]
    Refused {
        /// Method or RPC.
        action: String,
        /// Path of the device in the tree, its uuid when the path is not known, or "the exporter".
        device: String,
        /// gRPC code.
        code: Code,
        /// The exporter's text, may be empty.
        details: String,
    },
    /// The tree has no device of that path.
    #[error("the exporter has no device \"{path}\", it has {}", known.join(", "))]
    UnknownDevice {
        /// The path that was asked for.
        path: String,
        /// The paths there are.
        known: Vec<String>,
    },
    /// The local file or stream of a transfer failed.
    #[error("cannot {action} {file}")]
    Local {
        /// `open`, `read`, `write` …
        action: &'static str,
        /// The file, or "the source" and "the sink" of a transfer.
        file: String,
        /// What the system says.
        source: io::Error,
    },
    /// An answer that the protocol does not allow.
    #[error("{action} on {device}: {what}")]
    Protocol {
        /// Method or RPC.
        action: String,
        /// The device.
        device: String,
        /// What is wrong with the answer.
        what: String,
    },
    /// A deadline of this client passed.
    #[error("{action}: no answer within {} s", after.as_secs_f32())]
    Timeout {
        /// What was waited for.
        action: String,
        /// The deadline.
        after: Duration,
    },
}

impl Error {
    /// The exporter's gRPC code, if it was the exporter that refused.
    pub fn code(&self) -> Option<Code> {
        match self {
            Self::Refused { code, .. } => Some(*code),
            _ => None,
        }
    }

    /// The exporter's own words, if it was the exporter that refused.
    pub fn details(&self) -> Option<&str> {
        match self {
            Self::Refused { details, .. } => Some(details),
            _ => None,
        }
    }
}

/// Names as gRPC's documents and Python peers write them.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Where an operation happens, for error texts.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) action: String,
    pub(crate) device: String,
}

impl Place {
    pub(crate) fn exporter(action: &str) -> Self {
        Self {
            action: action.to_owned(),
            device: "the exporter".to_owned(),
        }
    }

    pub(crate) fn refused(&self, status: tonic::Status) -> Error {
        Error::Refused {
            action: self.action.clone(),
            device: self.device.clone(),
            code: status.code(),
            details: status.message().to_owned(),
        }
    }

    pub(crate) fn protocol(&self, what: impl Into<String>) -> Error {
        Error::Protocol {
            action: self.action.clone(),
            device: self.device.clone(),
            what: what.into(),
        }
    }
}
