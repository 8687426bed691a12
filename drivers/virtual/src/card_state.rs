//! How much of the card was written, and whether the last write finished: a small file beside the
//! card that survives a kill at any moment.
//!
//! ```text
//!   complete(N) ──write begins──> incomplete ──data synced──> complete(N')
//! ```
//!
//! Each step is on disk before the next one begins: a new file is synced, takes the place of the
//! old one, and the directory is synced.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

/// What is known of the card's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "lowercase", deny_unknown_fields)]
pub(crate) enum CardState {
    /// The last write finished with this many bytes.
    Complete { length: u64 },
    /// A write began and did not finish.
    Incomplete,
}

/// The file `CARD.json`.
#[derive(Debug)]
pub(crate) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(crate) fn beside(card: &Path) -> Self {
        let mut path = card.as_os_str().to_owned();
        path.push(".json");
        Self { path: path.into() }
    }

    /// What was stored last; `None` for a card that was never written here. A file that cannot be
    /// understood counts as an unfinished write, the safe side.
    pub(crate) fn load(&self) -> io::Result<Option<CardState>> {
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(Some(serde_json::from_slice(&bytes).unwrap_or_else(
            |error| {
                let path = self.path.display();
                tracing::warn!(%path, %error, "Card counts as incomplete: its state is unreadable.");
                CardState::Incomplete
            },
        )))
    }

    /// Stores the state; it is on disk when this returns.
    pub(crate) fn store(&self, state: CardState) -> io::Result<()> {
        let mut new = self.path.clone().into_os_string();
        new.push(".new");
        let mut file = File::create(&new)?;
        file.write_all(&serde_json::to_vec(&state)?)?;
        file.sync_all()?;
        fs::rename(&new, &self.path)?;
        match self.path.parent() {
            Some(dir) => File::open(dir)?.sync_all(),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stored_is_loaded_and_rubbish_counts_as_incomplete() {
        let dir = tempfile::tempdir().unwrap();
        let file = StateFile::beside(&dir.path().join("card.img"));
        assert_eq!(file.load().unwrap(), None);
        for state in [CardState::Complete { length: 12 }, CardState::Incomplete] {
            file.store(state).unwrap();
            assert_eq!(file.load().unwrap(), Some(state));
        }
        fs::write(dir.path().join("card.img.json"), b"{\"state\":").unwrap();
        assert_eq!(file.load().unwrap(), Some(CardState::Incomplete));
    }
}
