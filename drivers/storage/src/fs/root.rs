//! The one directory below which everything happens.
//!
//! Every path is resolved by the kernel from an open handle of the root, in one step that cannot
//! leave it (`openat2` with RESOLVE_BENEATH), so a symbolic link swapped in at any moment changes
//! nothing. What acts on a name (delete, rename, create) opens the directory in this way and then
//! uses the `*at` call, which does not follow the name itself. Paths are never compared as text.
//!
//! Kernels before 5.6, and sandboxes that know no `openat2`, get a walk by `openat` with
//! O_NOFOLLOW, part by part: there, links are refused even inside the root.

use std::{
    fs::File,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, mkdirat, openat, openat2,
        statat,
    },
    io::Errno,
};

use super::{error::PathError, path::RelPath};

/// How often the kernel may find the tree changing under a lookup (EAGAIN) before it is an error.
/// Every try is a few microseconds.
const TRIES: usize = 256;
/// Permissions of new directories and files, less the umask.
const DIR_MODE: Mode = Mode::from_raw_mode(0o777);
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resolution {
    /// By `openat2`.
    Kernel,
    /// Part by part.
    Walk,
}

/// An open root.
#[derive(Debug)]
pub(super) struct Root {
    dir: OwnedFd,
    how: Resolution,
}

impl Root {
    /// Opens an existing directory.
    pub(super) fn open(path: &Path) -> Result<Self, Errno> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = openat(CWD, path, flags, Mode::empty())?;
        // ENOSYS on old kernels, EPERM in sandboxes that filter what they do not know.
        let how = match beneath(&dir, ".", flags, Mode::empty()) {
            Ok(_) => Resolution::Kernel,
            Err(_) => Resolution::Walk,
        };
        Ok(Self { dir, how })
    }

    #[cfg(test)]
    pub(super) fn with(mut self, how: Resolution) -> Self {
        self.how = how;
        self
    }

    #[cfg(test)]
    pub(super) fn resolution(&self) -> Resolution {
        self.how
    }

    /// Whether the directory still has a name.
    pub(super) fn exists(&self) -> Result<bool, Errno> {
        Ok(fstat(&self.dir)?.st_nlink > 0)
    }

    /// Opens a path; links are followed as long as they stay inside.
    fn resolve(&self, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let flags = flags | OFlags::CLOEXEC;
        match self.how {
            Resolution::Walk => self.walk(path, flags, mode),
            Resolution::Kernel => {
                let text = path.for_kernel();
                let mut last = Errno::AGAIN;
                for _ in 0..TRIES {
                    match beneath(&self.dir, &text, flags, mode) {
                        Ok(fd) => return Ok(fd),
                        Err(Errno::XDEV) => return Err(PathError::Escape),
                        Err(e @ (Errno::AGAIN | Errno::INTR)) => last = e,
                        Err(e) => return Err(e.into()),
                    }
                }
                Err(last.into())
            }
        }
    }

    fn walk(&self, path: &RelPath, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
        let through = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let Some((parent, name)) = path.split() else {
            return Ok(openat(&self.dir, ".", flags, mode)?);
        };
        let mut dir = openat(&self.dir, ".", through, Mode::empty())?;
        for part in parent.parts() {
            dir = no_link(&dir, part, through, Mode::empty())?;
        }
        no_link(&dir, name, flags, mode)
    }

    /// What the path leads to.
    pub(super) fn stat(&self, path: &RelPath) -> Result<Stat, PathError> {
        let fd = self.resolve(path, OFlags::PATH, Mode::empty())?;
        Ok(fstat(&fd)?)
    }

    /// A directory to look entries up in.
    pub(super) fn dir(&self, path: &RelPath) -> Result<OwnedFd, PathError> {
        self.resolve(path, OFlags::PATH | OFlags::DIRECTORY, Mode::empty())
    }

    /// A directory to list.
    pub(super) fn listing(&self, path: &RelPath) -> Result<OwnedFd, PathError> {
        self.resolve(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())
    }

    /// A file to read. Pipes and devices are refused without waiting for their other end.
    pub(super) fn read(&self, path: &RelPath) -> Result<File, PathError> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        regular(self.resolve(path, flags, Mode::empty())?)
    }

    /// A file to write, made when it is missing; its content stays.
    pub(super) fn write(&self, path: &RelPath) -> Result<File, PathError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NONBLOCK | OFlags::NOCTTY;
        regular(self.resolve(path, flags, FILE_MODE)?)
    }

    /// The directory of a path, and the name in it. The root itself has neither.
    pub(super) fn parent<'p>(&self, path: &'p RelPath) -> Result<(OwnedFd, &'p str), PathError> {
        let (parent, name) = path.split().ok_or(Errno::BUSY)?;
        Ok((self.dir(&parent)?, name))
    }

    /// Makes a directory and those above it.
    pub(super) fn create_dirs(&self, path: &RelPath) -> Result<OwnedFd, PathError> {
        match self.dir(path) {
            Err(PathError::Errno(Errno::NOENT)) => {}
            done => return done,
        }
        let mut dir = self.dir(&RelPath::root())?;
        for count in 1..=path.parts().len() {
            let prefix = path.prefix(count);
            dir = match self.dir(&prefix) {
                Err(PathError::Errno(Errno::NOENT)) => {
                    match mkdirat(&dir, &path.parts()[count - 1], DIR_MODE) {
                        // Somebody else was faster; or a link to nowhere, which shows next.
                        Ok(()) | Err(Errno::EXIST) => self.dir(&prefix)?,
                        Err(e) => return Err(e.into()),
                    }
                }
                found => found?,
            };
        }
        Ok(dir)
    }
}

fn beneath(dir: impl AsFd, path: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    openat2(dir, path, flags, mode, resolve)
}

/// Opens one name that must not be a symbolic link.
fn no_link(dir: &OwnedFd, name: &str, flags: OFlags, mode: Mode) -> Result<OwnedFd, PathError> {
    match openat(dir, name, flags | OFlags::NOFOLLOW, mode) {
        // With O_PATH the kernel opens the link itself instead of refusing it.
        Ok(fd) if file_type(&fstat(&fd)?) == FileType::Symlink => Err(Errno::LOOP.into()),
        Ok(fd) => Ok(fd),
        // With O_DIRECTORY a link is "not a directory"; say what it is.
        Err(Errno::NOTDIR) if is_link(dir, name) => Err(Errno::LOOP.into()),
        Err(e) => Err(e.into()),
    }
}

fn is_link(dir: &OwnedFd, name: &str) -> bool {
    let found = statat(dir, name, AtFlags::SYMLINK_NOFOLLOW);
    found.is_ok_and(|found| file_type(&found) == FileType::Symlink)
}

pub(super) fn file_type(stat: &Stat) -> FileType {
    FileType::from_raw_mode(stat.st_mode)
}

fn regular(fd: OwnedFd) -> Result<File, PathError> {
    match file_type(&fstat(&fd)?) {
        FileType::RegularFile => Ok(File::from(fd)),
        FileType::Directory => Err(Errno::ISDIR.into()),
        other => Err(PathError::Stop(rigd_driver::DriverError::Unknown(format!(
            "Unexpected (permanent) at open => not a regular file but a {other:?}"
        )))),
    }
}
