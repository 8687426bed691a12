//! The configuration of one exporter as values.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

use super::diagnostic::Source;
use super::export::ExportEntry;
use super::lax;
use super::listen::Listen;
use super::safety::{Interlock, SafeStep};
use super::span::{Span, Spanned};

/// One `exporter.yaml`.
#[derive(Clone, Debug)]
pub struct ExporterConfig {
    /// The text, for diagnostics that are found later.
    pub source: Arc<Source>,
    /// Who the exporter is.
    pub metadata: Metadata,
    /// `host:port` of the controller; without one the exporter belongs to the embedded controller.
    pub endpoint: Option<String>,
    /// Bearer token for the controller.
    pub token: Option<Secret>,
    /// File that holds the token, not together with `token`.
    pub token_file: Option<PathBuf>,
    /// How the controller is trusted.
    pub tls: Tls,
    /// Options of the gRPC channel to the controller.
    pub grpc_options: BTreeMap<String, GrpcOption>,
    /// Description of the root of the tree.
    pub description: Option<String>,
    /// Text that a client is greeted with.
    pub motd: Option<String>,
    /// Labels for the embedded controller.
    pub labels: BTreeMap<String, String>,
    /// The instruments, in the order of the file.
    pub export: Vec<ExportEntry>,
    /// Scripts at the borders of a lease.
    pub hooks: Hooks,
    /// When a failing exporter is given up.
    pub failure_detection: FailureDetection,
    /// Stop after the first lease; with its place when the file has it.
    pub exit_on_lease_end: Spanned<bool>,
    /// Sockets for clients without a controller.
    pub listen: Option<Listen>,
    /// What to do about upstream drivers that are not native yet.
    pub missing_drivers: MissingDrivers,
    /// What to do to leave the board safe, step by step; with its place when the file has it.
    pub safe_state: Option<Spanned<Vec<SafeStep>>>,
    /// Calls that are refused in some states; with their place when the file has them.
    pub interlocks: Option<Spanned<Vec<Interlock>>>,
}

/// Who an exporter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Its name, from the file or `JMP_NAME`.
    pub name: String,
    /// Its namespace, from the file or `JMP_NAMESPACE`.
    pub namespace: Option<String>,
    /// Where the name stands in the file, or the section without it.
    pub span: Span,
}

/// A value that is neither shown nor logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(text: impl Into<String>) -> Self {
        Secret(text.into())
    }

    /// The secret itself, for the one who sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// Why a text cannot be sent as a bearer token, if that is so. The text itself is not told.
pub(crate) fn token_mistake(text: &str) -> Option<&'static str> {
    if text.is_empty() {
        Some("it is empty")
    } else if text.bytes().any(|byte| byte.is_ascii_whitespace()) {
        Some("there is a blank or a line end within it, so it is no token")
    } else if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        Some("it holds a character that a header cannot carry, so it is no token")
    } else {
        None
    }
}

/// How the controller is trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificate authority, base64 of PEM; empty for the system's roots.
    #[serde(default)]
    pub ca: String,
    /// Trust whatever certificate the controller shows.
    #[serde(default, deserialize_with = "lax::boolean")]
    pub insecure: bool,
}

/// Value of a channel option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrpcOption {
    /// A text.
    Text(String),
    /// A number; booleans are 0 and 1.
    Int(i64),
}

/// Scripts at the borders of a lease.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hooks {
    /// Runs before the client may use the instruments.
    pub before_lease: Option<Spanned<Hook>>,
    /// Runs after the client has left.
    pub after_lease: Option<Spanned<Hook>>,
}

/// Seconds that a hook may take when the file does not say.
const HOOK_SECONDS: i64 = 120;

/// A script.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Hook {
    /// The script itself, or one line that names a file.
    pub script: String,
    /// Its interpreter; chosen by the file's name when absent.
    #[serde(default)]
    pub exec: Option<String>,
    /// Seconds after which it is stopped.
    #[serde(default = "hook_seconds", deserialize_with = "lax::int")]
    pub timeout: i64,
    /// What happens when it fails.
    #[serde(default, alias = "on_failure")]
    pub on_failure: OnFailure,
}

fn hook_seconds() -> i64 {
    HOOK_SECONDS
}

/// What happens when a hook fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnFailure {
    /// Tell it and go on.
    #[default]
    Warn,
    /// End the lease.
    EndLease,
    /// Stop the exporter.
    Exit,
}

/// When a failing exporter is given up.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct FailureDetection {
    /// Failures in a row after which the exporter stops.
    #[serde(alias = "max_rapid_failures", deserialize_with = "lax::int")]
    pub max_rapid_failures: i64,
    /// Seconds within which a failure counts as one of the row.
    #[serde(alias = "rapid_failure_window", deserialize_with = "lax::int")]
    pub rapid_failure_window: i64,
}

impl Default for FailureDetection {
    fn default() -> Self {
        FailureDetection {
            max_rapid_failures: 5,
            rapid_failure_window: 60,
        }
    }
}

/// What to do about upstream drivers that are not native yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MissingDrivers {
    /// Refuse to start.
    #[default]
    Error,
    /// Export them without their methods.
    Stub,
}
