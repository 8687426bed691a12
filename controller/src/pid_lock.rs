//! One process at a time: a lock file that says which.
//!
//! The lock is the kernel's, so that it goes with its process; the number in the file is for people.
//!
//! A child that a program is started in has the files of its parent until it has become that program. A
//! process that is killed in between leaves its locks there for a moment, and so does one that lets go of
//! them itself: such a lock is waited for.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, getpid, test_kill_process};

/// How long a lock is waited for that no other process has which is alive.
const LEFT_OVER: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(5);
/// Longest content that is read.
const MAX_NUMBER: u64 = 16;

/// Held until this is dropped, or the process ends, however it does.
#[derive(Debug)]
pub struct PidLock(
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")] File,
);

/// Why a lock could not be taken.
#[derive(Debug)]
pub enum Refused {
    /// A process has it, of this number if it has said so yet.
    Held(Option<u32>),
    /// As the operating system says.
    Io(io::Error),
}

impl PidLock {
    /// Locks `file`, which was opened for reading and writing. Blocks for some seconds where the lock is left
    /// over, or is this process's own.
    ///
    /// # Errors
    /// See [`Refused`].
    pub fn take(mut file: File) -> Result<Self, Refused> {
        let begun = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) => {}
                Err(TryLockError::Error(error)) => return Err(Refused::Io(error)),
            }
            let holder = holder(&mut file);
            if holder.is_none_or(is_at_work) || begun.elapsed() > LEFT_OVER {
                let number = holder.map(|pid| pid.as_raw_pid().unsigned_abs());
                return Err(Refused::Held(number));
            }
            sleep(LOOK);
        }
        // On a full disk the lock is as good without the number.
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .ok();
        Ok(Self(file))
    }
}

fn holder(file: &mut File) -> Option<Pid> {
    let mut text = String::new();
    file.rewind().ok()?;
    // What is no number was left by nobody of ours.
    file.take(MAX_NUMBER).read_to_string(&mut text).ok()?;
    Pid::from_raw(text.trim().parse().ok()?)
}

fn is_at_work(pid: Pid) -> bool {
    pid != getpid() && !matches!(test_kill_process(pid), Err(rustix::io::Errno::SRCH))
}

#[cfg(test)]
mod tests {
    use std::{path::Path, process::Command};

    use super::*;

    fn open(path: &Path) -> File {
        let mut options = File::options();
        let options = options.read(true).write(true).create(true).truncate(false);
        options.open(path).unwrap()
    }

    #[test]
    fn what_a_killed_process_left_behind_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        // Its child still has the file open.
        let left = open(&path);
        left.lock().unwrap();
        writeln!(&left, "{}", gone.id()).unwrap();
        let begun = Instant::now();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                sleep(Duration::from_millis(100));
                drop(left);
            });
            PidLock::take(open(&path)).unwrap();
        });
        assert!(begun.elapsed() >= Duration::from_millis(100));
        // Who holds it now is told, without what stood there before.
        let told = std::fs::read_to_string(&path).unwrap();
        assert_eq!(told.trim(), std::process::id().to_string());
    }

    #[test]
    fn a_process_that_is_alive_is_told_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let other = open(&path);
        other.lock().unwrap();
        // Process 1 always is.
        writeln!(&other, "1").unwrap();
        let begun = Instant::now();
        let refused = PidLock::take(open(&path)).unwrap_err();
        assert!(matches!(refused, Refused::Held(Some(1))), "{refused:?}");
        assert!(begun.elapsed() < LEFT_OVER);
    }
}
