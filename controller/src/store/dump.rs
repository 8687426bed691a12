//! All of the state as JSON, to look at, to keep, and to bring elsewhere.

use std::{io, path::Path};

use serde::{Deserialize, Serialize};

use super::{FILE, Loaded, StoreError, create, lock, private_file, rows::FORMAT, unusable};
use crate::{auth::Keys, model::World};

/// What the document calls itself.
const KIND: &str = "rigd controller state";

/// The state of a lab. It holds its secrets: whoever has it can make tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dump {
    kind: String,
    format: u32,
    world: World,
    /// Named so that nobody passes it on unawares.
    secrets: Keys,
}

impl Dump {
    /// Of a running controller: what it has in memory is what is on the disk, and newer.
    pub fn new(world: World, keys: Keys) -> Self {
        Self {
            kind: KIND.to_owned(),
            format: FORMAT,
            world,
            secrets: keys,
        }
    }

    /// Reads one.
    ///
    /// # Errors
    /// It is none, or of another format; the text says what and where.
    pub fn parse(json: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Head {
            kind: String,
            format: u32,
        }
        let head: Head = serde_json::from_slice(json)
            .map_err(|error| format!("this is not an export of rigd: {}", place(&error)))?;
        if head.kind != KIND {
            return Err(format!(
                "this is not an export of rigd: its kind is not {KIND:?}"
            ));
        }
        if head.format != FORMAT {
            return Err(format!(
                "the export has format {}, this version reads {FORMAT}",
                head.format
            ));
        }
        serde_json::from_slice(json)
            .map_err(|error| format!("the export is damaged: {}", place(&error)))
    }

    /// As a document for people and programs; with secrets.
    ///
    /// # Errors
    /// Something cannot be put into JSON, such as a time before 1970.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(self).map(|text| text + "\n")
    }

    /// Writes it where only its owner can read it.
    ///
    /// # Errors
    /// The system's.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        private_file::write(path, self.to_json()?.as_bytes())
    }

    /// What is in it.
    pub fn into_parts(self) -> Loaded {
        Loaded {
            world: self.world,
            keys: self.secrets,
        }
    }
}

/// Makes the state in `directory` from a dump.
///
/// # Errors
/// There is a state already, or it cannot be written.
pub fn import(directory: &Path, dump: Dump) -> Result<(), StoreError> {
    let _lock = lock::take(directory)?;
    let path = directory.join(FILE);
    if path.try_exists().map_err(|error| unusable(&path, &error))? {
        return Err(StoreError::Exists { path });
    }
    let Loaded { world, keys } = dump.into_parts();
    // Keys that are none would only be found when the controller starts.
    crate::auth::Tokens::new(&keys, crate::auth::DEFAULT_LIFETIME)?;
    create::create(&path, &world, &keys)
}

/// Where, and not the error's own words: they may quote a secret.
fn place(error: &serde_json::Error) -> String {
    let what = match error.classify() {
        serde_json::error::Category::Data => "unexpected content",
        serde_json::error::Category::Eof => "it ends too early",
        _ => "no JSON",
    };
    format!("{what} at line {}, column {}", error.line(), error.column())
}
