//! The reason why an exporter is held back from leases, kept over restarts: a board in pieces stays
//! in pieces when the daemon is restarted.

use std::{
    io,
    path::{Path, PathBuf},
};

/// Longest reason: a sentence, and what fits a status message.
pub(crate) const MAX_REASON: usize = 512;
const FILE: &str = "hold";

/// Where the reason is kept.
#[derive(Debug, Clone)]
pub(crate) struct Hold(PathBuf);

impl Hold {
    /// In the exporter's state directory.
    pub(crate) fn new(state_dir: &Path) -> Self {
        Self(state_dir.join(FILE))
    }

    /// The reason, when it is held.
    pub(crate) fn read(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(&self.0) {
            Ok(reason) => Ok(Some(reason.trim().to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Keeps the reason, or forgets it. Whole or not at all.
    pub(crate) fn write(&self, reason: Option<&str>) -> io::Result<()> {
        let Some(reason) = reason else {
            return match std::fs::remove_file(&self.0) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            };
        };
        if let Some(dir) = self.0.parent() {
            std::fs::create_dir_all(dir)?;
        }
        let fresh = self.0.with_extension("new");
        std::fs::write(&fresh, reason)?;
        std::fs::rename(fresh, &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_kept_until_it_is_taken_back() {
        let dir = tempfile::tempdir().unwrap();
        let hold = Hold::new(&dir.path().join("rig"));
        assert_eq!(hold.read().unwrap(), None);
        hold.write(Some("new relay")).unwrap();
        assert_eq!(hold.read().unwrap().as_deref(), Some("new relay"));
        hold.write(None).unwrap();
        hold.write(None).unwrap();
        assert_eq!(hold.read().unwrap(), None);
    }
}
