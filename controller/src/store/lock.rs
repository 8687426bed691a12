//! One process at a time has the state.

use std::{fs::OpenOptions, os::unix::fs::OpenOptionsExt, path::Path};

use super::{StoreError, private_file, unusable};
use crate::pid_lock::{PidLock, Refused};

/// Beside the state file: that one is replaced when a state is made, and a lock on it would go along.
const FILE: &str = "controller.lock";

/// Takes the lock, and makes the directory for it. The state is ours while it is held.
pub(super) fn take(directory: &Path) -> Result<PidLock, StoreError> {
    private_file::make_directory(directory).map_err(|error| unusable(directory, &error))?;
    let path = directory.join(FILE);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(false);
    let file = options
        .mode(0o600)
        .open(&path)
        .map_err(|error| unusable(&path, &error))?;
    PidLock::take(file).map_err(|refused| match refused {
        Refused::Held(Some(pid)) => StoreError::InUse { pid },
        Refused::Held(None) => StoreError::InUseUnnamed,
        Refused::Io(error) => unusable(&path, &error),
    })
}
