//! Files that hold secrets: readable by their owner only, and whole or not there at all.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// Makes a directory and those above it, for their owner only. Those that are there stay as they are.
pub(crate) fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Puts a file in place of what is at `path`: after a crash it has its old or its new content.
pub(crate) fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    put(path, content, |fresh| std::fs::rename(fresh, path))
}

/// Puts a file where none is: after a crash it is not there, or whole.
///
/// # Errors
/// Something has that name, also when it came at the same moment.
pub(crate) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    put(path, content, |fresh| {
        match renameat_with(CWD, fresh, CWD, path, RenameFlags::NOREPLACE) {
            // A file system that cannot do so.
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
                std::fs::hard_link(fresh, path)?;
                std::fs::remove_file(fresh)
            }
            renamed => Ok(renamed?),
        }
    })
}

fn put(
    path: &Path,
    content: &[u8],
    rename: impl FnOnce(&Path) -> io::Result<()>,
) -> io::Result<()> {
    let fresh = beside(path)?;
    let done = fill(&fresh, content).and_then(|()| rename(&fresh));
    if done.is_err() {
        std::fs::remove_file(&fresh).ok();
    }
    done.and_then(|()| sync_directory_of(path))
}

/// Opens a new file for reading and writing.
///
/// # Errors
/// Something has that name already, or the directory cannot be written.
pub(crate) fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true).mode(0o600);
    options.open(path)
}

/// Makes a rename in the directory of `path` outlive a power cut.
pub(crate) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

fn fill(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = create(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// A name that no other writer uses at the same time.
fn beside(path: &Path) -> io::Result<PathBuf> {
    static LAST: AtomicU64 = AtomicU64::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"))?;
    let number = LAST.fetch_add(1, Ordering::Relaxed);
    let mut fresh = std::ffi::OsString::from(".");
    fresh.push(name);
    fresh.push(format!(".{}-{number}.new", std::process::id()));
    // A run with this process id that was killed may have left its file.
    let path = path.with_file_name(fresh);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(path),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_file_is_private_and_nothing_else_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "old").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        write(&path, b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn of_many_that_write_a_new_file_at_once_one_succeeds() {
        let dir = tempfile::tempdir().unwrap();
        for round in 0..20 {
            let path = dir.path().join(format!("new-{round}"));
            let start = std::sync::Barrier::new(4);
            let wrote: Vec<_> = std::thread::scope(|scope| {
                let writers = ["a", "b", "c", "d"].map(|content| {
                    let (start, path) = (&start, &path);
                    scope.spawn(move || {
                        start.wait();
                        let wrote = write_new(path, content.as_bytes());
                        (content, wrote.map_err(|error| error.kind()))
                    })
                });
                writers.map(|writer| writer.join().unwrap()).into()
            });
            let (good, bad): (Vec<_>, Vec<_>) = wrote.iter().partition(|(_, wrote)| wrote.is_ok());
            assert_eq!(good.len(), 1, "{wrote:?}");
            let exists = Err(io::ErrorKind::AlreadyExists);
            assert!(bad.iter().all(|(_, wrote)| *wrote == exists), "{wrote:?}");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), good[0].0);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 20);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("taken");
        std::fs::create_dir(&path).unwrap();
        write(&path, b"new").unwrap_err();
        assert!(path.is_dir());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
