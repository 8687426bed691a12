//! A directory that one process works in.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read, Seek, Write},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Pid, test_kill_process},
};

const FILE: &str = "lock";
/// How long a lock is waited for that nobody has who works in the directory: whose process is gone, or is this
/// one, which has let go of it. A child that a program is started in has the files of its parent until it
/// has become that program.
const ORPHANED: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);

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
        let mut file = options.open(dir.join(FILE)).map_err(io)?;
        let begun = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                Err(rustix::io::Errno::WOULDBLOCK) => {}
                Err(error) => return Err(io(error.into())),
            }
            let holder = read_holder(&mut file).map_err(io)?;
            if holder.is_none_or(is_at_work) || begun.elapsed() > ORPHANED {
                // Whoever has just taken it may not have said who it is.
                let holder = holder.map(|pid| format!("process {}", pid.as_raw_pid()));
                return Err(LockError::InUse {
                    dir: dir.into(),
                    holder: holder.unwrap_or_else(|| "another process".into()),
                });
            }
            sleep(LOOK);
        }
        // For people who find it held. On a full disk it is held without that.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .ok();
        Ok(Self(file))
    }
}

fn read_holder(file: &mut File) -> io::Result<Option<Pid>> {
    let mut pid = String::new();
    file.rewind()?;
    // What is no number was left by nobody of ours.
    file.read_to_string(&mut pid).ok();
    Ok(pid.trim().parse().ok().and_then(Pid::from_raw))
}

fn is_at_work(pid: Pid) -> bool {
    pid != rustix::process::getpid()
        && !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
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

    #[test]
    fn what_a_killed_process_left_behind_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        // Its child still has the file open.
        let left = File::create(dir.path().join(FILE)).unwrap();
        flock(&left, FlockOperation::LockExclusive).unwrap();
        writeln!(&left, "{}", gone.id()).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(100));
                drop(left);
            });
            Lock::take(dir.path()).unwrap();
        });
        assert!(begun.elapsed() >= Duration::from_millis(100));
        // Who holds it now is told, without what stood there before.
        let told = std::fs::read_to_string(dir.path().join(FILE)).unwrap();
        assert_eq!(told.trim(), std::process::id().to_string());
    }
}
