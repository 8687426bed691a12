//! The far side of a pty, in the place of a board.

#![allow(unsafe_code, reason = "waiting for a pty is an unsafe registration")]

use std::{os::fd::OwnedFd, path::PathBuf, time::Duration};

use rustix::{
    io::Errno,
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr},
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::timeout,
};

/// Longer than any answer of a pty takes, shorter than a person's patience.
pub(crate) const SOON: Duration = Duration::from_secs(5);

pub(crate) struct Board {
    master: AsyncFd<OwnedFd>,
    pub(crate) path: PathBuf,
}

impl Board {
    pub(crate) fn new() -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        rustix::io::ioctl_fionbio(&master, true).unwrap();
        // SAFETY: an `OwnedFd` names the same open file until it is dropped.
        let master = unsafe { AsyncFd::register(master) };
        Self {
            master: master.unwrap(),
            path: path.into(),
        }
    }

    /// Prints to the console.
    pub(crate) async fn print(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let write = |fd: &OwnedFd| Ok(rustix::io::write(fd, bytes)?);
            let writing = self.master.async_io(Interest::WRITABLE, write);
            let written = timeout(SOON, writing).await.expect("room").unwrap();
            bytes = &bytes[written..];
        }
    }

    /// Reads exactly that many bytes from the console.
    pub(crate) async fn hear(&self, length: usize) -> Vec<u8> {
        let mut heard = Vec::new();
        while heard.len() < length {
            let mut buffer = vec![0; length - heard.len()];
            let read = |fd: &OwnedFd| Ok(rustix::io::read(fd, &mut buffer)?);
            let reading = self.master.async_io(Interest::READABLE, read);
            let count = timeout(SOON, reading).await.expect("bytes").unwrap();
            heard.extend_from_slice(&buffer[..count]);
        }
        heard
    }

    /// How the console's side is set.
    pub(crate) fn line(&self) -> Termios {
        tcgetattr(self.master.get_ref()).unwrap()
    }

    /// Has the console's side read lines, as a terminal does, or bytes as they come.
    pub(crate) fn set_lines(&self, lines: bool) {
        let mut line = self.line();
        line.local_modes.set(LocalModes::ICANON, lines);
        tcsetattr(self.master.get_ref(), OptionalActions::Now, &line).unwrap();
    }

    /// Whether there is nothing to read now.
    pub(crate) fn is_quiet(&self) -> bool {
        rustix::io::read(self.master.get_ref(), &mut [0; 1]) == Err(Errno::AGAIN)
    }
}

/// A place where a board is plugged in: a link, as those of `/dev/serial/by-id`.
pub(crate) struct Jack {
    _dir: tempfile::TempDir,
    pub(crate) link: PathBuf,
}

impl Jack {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let link = dir.path().join("ttyBoard");
        Self { _dir: dir, link }
    }

    /// Plugs in a board in place of the one before, which its owner has dropped.
    pub(crate) fn plug(&self) -> Board {
        let board = Board::new();
        std::fs::remove_file(&self.link).ok();
        std::os::unix::fs::symlink(&board.path, &self.link).unwrap();
        board
    }
}
