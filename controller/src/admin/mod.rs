//! What an administrator does with a lab: who may come, what there is, and what becomes of it.
//!
//! ```text
//!   create, rotate, own_client ──> tokens                  get ──> objects, as kubectl has them
//!   delete, hold ──> one object                            apply <── objects, all or none
//!   host ──> exporters of this process, by their files     export ──> everything, with its secrets
//! ```
//!
//! Everything goes through the engine's one order of changes, by the rules that clients have too.
//! Nothing here asks who calls: whoever gets here has the lab.

mod apply;
mod delete;
mod get;
mod host;
mod refused;
#[cfg(test)]
mod tests;
mod tokens;

use std::{fmt, str::FromStr, time::SystemTime};

use tonic::Status;

pub use apply::{Applied, Done, MAX_TEXT, apply};
pub use delete::{MAX_REASON, check_reason, delete, hold};
pub use get::get;
pub use host::host;
#[cfg(test)]
pub(crate) use tokens::issue;
pub use tokens::{create, own_client, rotate};

use crate::{
    auth::{Kind, Token},
    engine::Engine,
    store::Dump,
};

/// A token that was made, and all else that a configuration file for its owner needs.
#[derive(Debug, Clone)]
pub struct Issued {
    /// Whether it is a client's or an exporter's.
    pub kind: Kind,
    /// The lab's.
    pub namespace: String,
    /// Of the client or the exporter.
    pub name: String,
    /// For its owner only. Printed, it is `…`.
    pub token: Token,
    /// When it ends, in whole seconds.
    pub expires: SystemTime,
}

/// The kinds of objects that a lab has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names say it")]
pub enum What {
    Client,
    Exporter,
    Lease,
    Policy,
}

impl What {
    /// As in objects: `Exporter`, `ExporterAccessPolicy`.
    pub fn object(self) -> &'static str {
        match self {
            Self::Client => "Client",
            Self::Exporter => "Exporter",
            Self::Lease => "Lease",
            Self::Policy => "ExporterAccessPolicy",
        }
    }
}

impl fmt::Display for What {
    /// As in sentences: `exporter`, `policy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Exporter => "exporter",
            Self::Lease => "lease",
            Self::Policy => "policy",
        })
    }
}

impl From<Kind> for What {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Client => Self::Client,
            Kind::Exporter => Self::Exporter,
        }
    }
}

/// A word is no kind of object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown kind {0:?}: there are clients, exporters, leases and policies")]
pub struct UnknownKind(String);

impl FromStr for What {
    type Err = UnknownKind;

    /// The words that `kubectl` takes: `exporter`, `exporters`, `Exporter`,
    /// `exporters.jumpstarter.dev`; `policy` is `exporteraccesspolicy`.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let word = text.to_ascii_lowercase();
        let word = word.strip_suffix(".jumpstarter.dev").unwrap_or(&word);
        match word {
            "client" | "clients" => Ok(Self::Client),
            "exporter" | "exporters" => Ok(Self::Exporter),
            "lease" | "leases" => Ok(Self::Lease),
            "policy" | "policies" | "exporteraccesspolicy" | "exporteraccesspolicies" => {
                Ok(Self::Policy)
            }
            _ => Err(UnknownKind(text.chars().take(QUOTED).collect())),
        }
    }
}

/// As much of a wrong text as an answer quotes.
const QUOTED: usize = 80;

/// All of the state, its secrets included: whoever has it can make tokens.
pub fn export(engine: &Engine) -> Dump {
    engine.dump()
}
