//! A directory that one process works in.

use std::{
    fs::OpenOptions,
    io,
    path::{Path, PathBuf},
};

use rigd_controller::pid_lock::{PidLock, Refused};

const FILE: &str = "lock";

/// Holds a directory until it is dropped, or the process ends, however it does.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "it is held, and not used")] PidLock);

/// A directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody else works in it.
    #[error("{} is in use by {holder}", .dir.display())]
    InUse {
        /// Which.
        dir: PathBuf,
        /// `process N`, or what is known of it.
        holder: String,
    },
    /// The system refuses.
    #[error("cannot use {}", .dir.display())]
    Io {
        /// Which.
        dir: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl Lock {
    /// Takes the directory, which is made when it is missing. Blocks for some seconds where the lock is left
    /// over, or is this process's own.
    ///
    /// # Errors
    /// It is held, or cannot be used.
    pub fn take(dir: &Path) -> Result<Self, LockError> {
        let io = |source: io::Error| LockError::Io {
            dir: dir.into(),
            source,
        };
        std::fs::create_dir_all(dir).map_err(io)?;
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let file = options.open(dir.join(FILE)).map_err(io)?;
        match PidLock::take(file) {
            Ok(lock) => Ok(Self(lock)),
            Err(Refused::Io(error)) => Err(io(error)),
            Err(Refused::Held(pid)) => Err(LockError::InUse {
                dir: dir.into(),
                // Whoever has just taken it may not have said who it is.
                holder: pid
                    .map_or_else(|| "another process".into(), |pid| format!("process {pid}")),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_held_by_one() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("rig");
        let held = Lock::take(&dir).unwrap();
        let error = Lock::take(&dir).unwrap_err().to_string();
        let me = std::process::id();
        assert!(
            error.ends_with(&format!("is in use by process {me}")),
            "{error}"
        );
        drop(held);
        Lock::take(&dir).unwrap();
    }
}
