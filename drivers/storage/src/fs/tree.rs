//! Changes to the tree below the root: make, rename, remove. Everything here blocks.

use std::{
    ffi::CString,
    os::fd::{AsFd, BorrowedFd},
};

use rigd_driver::DriverError;
use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, renameat, statat, unlinkat},
    io::Errno,
};

use super::{
    error::{PathError, refused},
    path::RelPath,
    root::{Root, file_type},
};

/// Names taken from a directory at a time while it is emptied.
const NAMES: usize = 1024;
/// Deepest tree that is removed: each level holds a descriptor and some stack.
const DEPTH: usize = 128;

/// Asked between steps; an error ends the work.
pub(super) type Check<'a> = &'a dyn Fn() -> Result<(), DriverError>;

pub(super) fn create_dir(root: &Root, path: &RelPath) -> Result<(), DriverError> {
    let op = "create_dir";
    if !path.is_dir() {
        let why = "the path trying to create should end with `/`";
        return Err(refused("NotADirectory", op, why, path));
    }
    match root.create_dirs(path) {
        Ok(_) => Ok(()),
        // Something is there that is no directory.
        Err(PathError::Errno(Errno::NOTDIR)) if root.stat(path).is_ok() => {
            Err(PathError::Errno(Errno::EXIST).told(op, path))
        }
        Err(e) => Err(e.told(op, path)),
    }
}

/// Removes a file, a link or an empty directory. What is missing is removed already.
pub(super) fn delete(root: &Root, path: &RelPath) -> Result<(), DriverError> {
    let op = "delete";
    not_the_root(op, path)?;
    let done = (|| {
        let (dir, name) = root.parent(path)?;
        let found = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let flags = match (file_type(&found), path.is_dir()) {
            (FileType::Directory, _) => AtFlags::REMOVEDIR,
            // `f/` names a directory, and there is none.
            (_, true) => return Ok(()),
            (_, false) => AtFlags::empty(),
        };
        Ok(unlinkat(&dir, name, flags)?)
    })();
    match done {
        Err(e) if PathError::is_missing(&e) => Ok(()),
        done => done.map_err(|e: PathError| e.told(op, path)),
    }
}

/// Removes what is at the path and everything below it. Of the root only the content goes.
///
/// Upstream's library also removes what merely begins with the same letters (`fo` takes `foo`
/// along); that is no behaviour to keep.
pub(super) fn remove_all(root: &Root, path: &RelPath, check: Check<'_>) -> Result<(), DriverError> {
    let done = (|| {
        if path.is_root() {
            let dir = root.listing(path)?;
            return empty_dir(dir.as_fd(), 0, check);
        }
        let (dir, name) = root.parent(path)?;
        if path.is_dir() {
            let found = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if file_type(&found) != FileType::Directory {
                return Ok(());
            }
        }
        let name = CString::new(name).map_err(|_| Errno::INVAL)?;
        remove(dir.as_fd(), &name, 0, check)
    })();
    match done {
        Err(e) if PathError::is_missing(&e) => Ok(()),
        done => done.map_err(|e: PathError| e.told("remove_all", path)),
    }
}

/// Removes one name, and what is below it if it is a directory. Links are removed, not followed.
fn remove(
    dir: BorrowedFd<'_>,
    name: &CString,
    depth: usize,
    check: Check<'_>,
) -> Result<(), PathError> {
    check()?;
    let refused = match unlinkat(dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(e @ (Errno::ISDIR | Errno::PERM)) => e,
        Err(e) => return Err(e.into()),
    };
    if depth >= DEPTH {
        return Err(PathError::Stop(DriverError::Exhausted(format!(
            "cannot remove a tree of more than {DEPTH} levels at once; remove its inner parts first"
        ))));
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let inner = match openat(dir, name, flags, Mode::empty()) {
        Ok(inner) => inner,
        // No directory after all: the first refusal is the reason.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(refused.into()),
        Err(e) => return Err(e.into()),
    };
    empty_dir(inner.as_fd(), depth, check)?;
    match unlinkat(dir, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

fn empty_dir(dir: BorrowedFd<'_>, depth: usize, check: Check<'_>) -> Result<(), PathError> {
    loop {
        // A fresh look each time: what a directory lists after a removal is not defined.
        let mut names = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name();
            if !matches!(name.to_bytes(), b"." | b"..") {
                names.push(name.to_owned());
            }
            if names.len() == NAMES {
                break;
            }
        }
        if names.is_empty() {
            return Ok(());
        }
        for name in names {
            remove(dir, &name, depth + 1, check)?;
        }
    }
}

pub(super) fn rename(root: &Root, from: &RelPath, to: &RelPath) -> Result<(), DriverError> {
    let op = "rename";
    two_files(op, from, to)?;
    let (from_dir, from_name) = root.parent(from).map_err(|e| e.told(op, from))?;
    // Before the target's directories are made.
    statat(&from_dir, from_name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| PathError::from(e).told(op, from))?;
    let (to_dir, to_name) = made_parent(root, to).map_err(|e| e.told(op, to))?;
    renameat(&from_dir, from_name, &to_dir, to_name).map_err(|e| PathError::from(e).told(op, to))
}

/// The directory of a target, made if need be, and the name in it.
pub(super) fn made_parent<'p>(
    root: &Root,
    path: &'p RelPath,
) -> Result<(std::os::fd::OwnedFd, &'p str), PathError> {
    let (parent, name) = path.split().ok_or(Errno::ISDIR)?;
    Ok((root.create_dirs(&parent)?, name))
}

/// Source and target of a copy or rename must be two paths of files.
pub(super) fn two_files(op: &str, from: &RelPath, to: &RelPath) -> Result<(), DriverError> {
    for (path, why) in [
        (from, "from path is a directory"),
        (to, "to path is a directory"),
    ] {
        if path.is_dir() {
            return Err(refused("IsADirectory", op, why, path));
        }
    }
    if from == to {
        return Err(same_file(op, from));
    }
    Ok(())
}

pub(super) fn same_file(op: &str, path: &RelPath) -> DriverError {
    refused("IsSameFile", op, "from and to paths are same", path)
}

fn not_the_root(op: &str, path: &RelPath) -> Result<(), DriverError> {
    if path.is_root() {
        let text = format!("cannot {op} the storage root itself");
        return Err(DriverError::InvalidArgument(text));
    }
    Ok(())
}
