//! A directory that one process works in.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use rustix::fs::{FlockOperation, flock};

const FILE: &str = "lock";

/// Holds a directory until it is dropped, or the process ends, however it does.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

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
    /// Takes the directory, which is made when it is missing. Does not wait.
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
        let mut file = options.open(dir.join(FILE)).map_err(io)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let mut pid = String::new();
                // Whoever has just taken it may not have said who it is.
                let holder = match file.read_to_string(&mut pid) {
                    Ok(1..) => format!("process {}", pid.trim()),
                    _ => "another process".into(),
                };
                return Err(LockError::InUse {
                    dir: dir.into(),
                    holder,
                });
            }
            Err(error) => return Err(io(error.into())),
        }
        // For people who find it held. On a full disk it is held without that.
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .ok();
        Ok(Self(file))
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
