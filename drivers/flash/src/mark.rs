//! The mark of an incomplete card, a file that outlives the process.
//!
//! ```text
//!             write begins              synced, verified
//!   complete ─────────────> incomplete ─────────────────> complete
//!                             │  ^ first cause, or crash
//!                             └──┘
//! ```
//!
//! It is on the disk before the first byte of the card changes and goes after the last one is synced,
//! so that it also tells of a crash.

use std::{
    fs::File,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rigd_driver::{DriverError, OpenError};

/// Cause until a better one is known: after a crash.
const INTERRUPTED: &str = "the last write was interrupted";
/// Longest cause kept. It ends up in an error's details, which are cut at 8 KiB.
const CAUSE: usize = 1024;

/// Whether the card is complete, and if not, why. Everything here blocks, and only
/// [`cause`](Self::cause) is short.
///
/// The file alone decides: two marks over one file (of an instance and of the one that replaces it
/// after a loss) agree.
#[derive(Debug)]
pub(crate) struct Mark {
    path: PathBuf,
    /// A cause that could not be stored.
    unsaved: Mutex<Option<String>>,
}

impl Mark {
    pub(crate) fn open(path: PathBuf) -> Result<Self, OpenError> {
        let mark = Self {
            path,
            unsaved: Mutex::default(),
        };
        match mark.read() {
            Ok(_) => Ok(mark),
            Err(e) => {
                let text = format!("cannot read {}: {e}", mark.path.display());
                Err(OpenError::Faulty(text))
            }
        }
    }

    fn read(&self) -> io::Result<Option<String>> {
        match std::fs::read_to_string(&self.path) {
            Ok(text) if text.trim().is_empty() => Ok(Some(INTERRUPTED.to_owned())),
            Ok(text) => Ok(Some(cut(text.trim()))),
            // Without the directory above there was no write, either.
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                Ok(None)
            }
            Err(e) => Err(e),
        }
    }

    /// Why the card must not be given to the board.
    pub(crate) fn cause(&self) -> Option<String> {
        let unsaved = self.locked().clone();
        let stored = || {
            let unreadable = |e: io::Error| Some(format!("its mark cannot be read: {e}"));
            self.read().unwrap_or_else(unreadable)
        };
        unsaved.or_else(stored)
    }

    /// A write begins. Nothing has changed when this fails.
    pub(crate) fn begin(&self) -> Result<(), DriverError> {
        let made = self
            .dir()
            .map_or(Ok(()), std::fs::create_dir_all)
            .and_then(|()| self.store(INTERRUPTED));
        made.map_err(|e| self.failed("write", &e))?;
        *self.locked() = None;
        Ok(())
    }

    /// The write did not finish. A mark is there already; this says why, for after a restart as well.
    pub(crate) fn note(&self, cause: &str) {
        let cause = cut(cause);
        if let Err(error) = self.store(&cause) {
            tracing::warn!("{}", self.failed("write", &error));
            *self.locked() = Some(cause);
        }
    }

    /// The card is whole.
    pub(crate) fn clear(&self) -> Result<(), DriverError> {
        std::fs::remove_file(&self.path)
            .and_then(|()| self.sync_dir())
            .map_err(|e| self.failed("remove", &e))
    }

    fn store(&self, cause: &str) -> io::Result<()> {
        let mut file = File::create(&self.path)?;
        file.write_all(cause.as_bytes())?;
        file.sync_all()?;
        self.sync_dir()
    }

    fn dir(&self) -> Option<&Path> {
        self.path.parent().filter(|dir| !dir.as_os_str().is_empty())
    }

    fn sync_dir(&self) -> io::Result<()> {
        File::open(self.dir().unwrap_or(Path::new(".")))?.sync_all()
    }

    fn failed(&self, what: &str, error: &io::Error) -> DriverError {
        let path = self.path.display();
        DriverError::Device(format!("cannot {what} the mark {path}: {error}"))
    }

    fn locked(&self) -> MutexGuard<'_, Option<String>> {
        self.unsaved.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The beginning of a text, at a character's border.
fn cut(text: &str) -> String {
    let mut end = text.len().min(CAUSE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_outlives_the_process_with_its_cause() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/incomplete");
        let mark = Mark::open(path.clone()).unwrap();
        assert_eq!(mark.cause(), None);
        mark.begin().unwrap();
        let cause = || Mark::open(path.clone()).unwrap().cause();
        assert_eq!(cause().as_deref(), Some(INTERRUPTED));
        mark.note("the cause");
        assert_eq!(cause().as_deref(), Some("the cause"));
        assert_eq!(mark.cause().as_deref(), Some("the cause"));
        mark.clear().unwrap();
        assert_eq!((mark.cause(), cause()), (None, None));
        // A crash between making the file and writing into it.
        std::fs::write(&path, "").unwrap();
        assert_eq!(cause().as_deref(), Some(INTERRUPTED));
    }
}
