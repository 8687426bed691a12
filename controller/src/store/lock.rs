//! One process at a time: a lock file that says which.
//!
//! The lock is the kernel's, so that it goes with its process; the number in the file is for people.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, test_kill_process};

use super::{StoreError, private_file, unusable};

/// Beside the state file: that one is replaced when a state is made, and a lock on it would go along.
const FILE: &str = "controller.lock";
/// Longest content that is read.
const MAX_NUMBER: u64 = 16;
/// How long a lock is waited for whose process is gone. One that is killed while it starts a program leaves
/// a child that has its files until it has become that program.
const ORPHANED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

/// The state is ours while this is there.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, and makes the directory for it.
    pub(super) fn take(directory: &Path) -> Result<Self, StoreError> {
        private_file::make_directory(directory).map_err(|error| unusable(directory, &error))?;
        let path = directory.join(FILE);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let mut file = options
            .open(&path)
            .map_err(|error| unusable(&path, &error))?;
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(unusable(&path, &error)),
            }
            let holder = holder(&mut file);
            if !is_gone(&holder) || begun.elapsed() > ORPHANED {
                return Err(holder);
            }
            sleep(LOOK);
        }
        // Without the number the lock is as good: a full disk is told when something is to be kept.
        let said = file
            .set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()));
        if let Err(error) = said {
            tracing::warn!(%error, path = %path.display(), "Could not write who has the state.");
        }
        Ok(Self { _file: file })
    }
}

fn is_gone(holder: &StoreError) -> bool {
    let StoreError::InUse { pid } = holder else {
        return false;
    };
    let pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH)))
}

fn holder(file: &mut File) -> StoreError {
    let mut text = String::new();
    let read = file
        .rewind()
        .and_then(|()| file.take(MAX_NUMBER).read_to_string(&mut text));
    match (read, text.trim().parse()) {
        (Ok(_), Ok(pid)) => StoreError::InUse { pid },
        _ => StoreError::InUseUnnamed,
    }
}
