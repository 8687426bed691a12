//! The configuration files of Jumpstarter's clients and exporters, as its own tools save them.
//!
//! ```text
//!   HOME/config.yaml               which client `jmp` uses
//!   HOME/clients/ALIAS.yaml        a client and its token
//!   HOME/exporters/ALIAS.yaml      an exporter and its token
//! ```
//!
//! All of them are written whole or not at all, for their owner only. The caller's own directory is
//! written by [`Home::save`] alone, when its owner asks for that.

mod home;
mod text;

use std::path::PathBuf;

pub use home::{
    Current, Existing, Home, Saved, renew_file, renewable, token_of, write_file, write_own_client,
};
pub use text::{Access, Drivers, client, exporter, user};

/// Which of the two kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// In `clients`.
    Client,
    /// In `exporters`.
    Exporter,
}

/// A configuration file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ConfigFileError {
    /// The system's refusal.
    #[error("{}: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// There is one of that name.
    #[error("{} exists already: remove it, or choose another alias", path.display())]
    Exists {
        /// Which.
        path: PathBuf,
    },
    /// Something else has that name, such as `/dev/null`.
    #[error("{} is no regular file: it is not replaced", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// A new token has no place in the file.
    #[error("{}: there is not exactly one line `token: …` at its left edge", path.display())]
    NoToken {
        /// Which.
        path: PathBuf,
    },
    /// `jmp` would know the file by another name, or not find it.
    #[error("{0:?} cannot be an alias: letters, digits, `-` and `_` can, and no dots")]
    Alias(String),
    /// Neither variable says where to.
    #[error("there is no directory for configuration: set HOME or JMP_CLIENT_CONFIG_HOME")]
    NoHome,
}

#[cfg(test)]
mod tests;
