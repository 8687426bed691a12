//! The files of a capture: one is written, the older ones stay as long as the quota allows.

use std::{
    fs::{DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::PathBuf,
    time::SystemTime,
};

use super::CaptureConfig;
use crate::clock;

const SUFFIX: &str = ".log";
/// Length of a time in a file name.
const TIME: usize = "20261129T224000.123Z".len();

/// The files of one console.
#[derive(Debug)]
pub(super) struct Files {
    directory: PathBuf,
    /// What the names of all files begin with.
    prefix: String,
    max_file_size: u64,
    quota: u64,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    file: File,
    path: PathBuf,
    size: u64,
}

impl Files {
    pub(super) fn new(config: &CaptureConfig, name: &str) -> Self {
        let plain = |c: char| {
            let kept = c.is_ascii_alphanumeric() || "._-".contains(c);
            if kept { c } else { '_' }
        };
        let name: String = name.chars().map(plain).collect();
        Self {
            directory: config.directory.clone(),
            // A name that begins with a dot would hide the files.
            prefix: format!("{}-", name.trim_start_matches('.')),
            max_file_size: config.max_file_size,
            quota: config.quota,
            current: None,
        }
    }

    /// Appends `bytes`, to a new file when the current one would become too long.
    ///
    /// # Errors
    /// What went wrong, and how many of the bytes were written all the same.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), (String, usize)> {
        let length = bytes.len() as u64;
        let fits =
            |current: &Current| current.size == 0 || current.size + length <= self.max_file_size;
        if !self.current.as_ref().is_some_and(fits) {
            self.current = None;
            let next = self.begin().map_err(|text| (text, 0))?;
            self.current = Some(next);
        }
        let Some(current) = &mut self.current else {
            return Ok(());
        };
        let mut written = 0;
        while written < bytes.len() {
            let error = match current.file.write(&bytes[written..]) {
                Ok(0) => io::Error::from(io::ErrorKind::WriteZero),
                Ok(count) => {
                    written += count;
                    current.size += count as u64;
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => error,
            };
            let text = format!("cannot write {}: {error}", current.path.display());
            return Err((text, written));
        }
        Ok(())
    }

    /// The next file, after those that the quota does not hold beside it were removed.
    fn begin(&self) -> Result<Current, String> {
        let shown = self.directory.display();
        let mut builder = DirBuilder::new();
        let made = builder.recursive(true).mode(0o750).create(&self.directory);
        made.map_err(|error| format!("cannot make {shown}: {error}"))?;
        self.make_room()
            .map_err(|error| format!("cannot remove old files of {shown}: {error}"))?;
        let time = clock::file_name(SystemTime::now());
        let path = self
            .directory
            .join(format!("{}{time}{SUFFIX}", self.prefix));
        // Appends to the one of the same millisecond, if there is one.
        let mut options = OpenOptions::new();
        let opened = options.create(true).append(true).mode(0o640).open(&path);
        let size = |file: File| file.metadata().map(|found| (file, found.len()));
        let (file, size) = opened
            .and_then(size)
            .map_err(|error| format!("cannot create {}: {error}", path.display()))?;
        Ok(Current { file, path, size })
    }

    /// Removes the oldest files until a whole new one fits into the quota.
    fn make_room(&self) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            if name.to_str().is_some_and(|name| self.is_own(name)) {
                // One that has just gone takes no room.
                let size = entry.metadata().map_or(0, |found| found.len());
                files.push((name, size));
            }
        }
        // The oldest last: names sort as their times do.
        files.sort_by(|(a, _), (b, _)| b.cmp(a));
        let mut total: u64 = files.iter().map(|(_, size)| size).sum();
        while total + self.max_file_size > self.quota {
            let Some((name, size)) = files.pop() else {
                return Ok(());
            };
            match std::fs::remove_file(self.directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => total -= size,
            }
        }
        Ok(())
    }

    fn is_own(&self, name: &str) -> bool {
        let time = name
            .strip_prefix(&self.prefix)
            .and_then(|rest| rest.strip_suffix(SUFFIX));
        time.is_some_and(|time| {
            let digit = |b: u8| b.is_ascii_digit() || b"TZ.".contains(&b);
            time.len() == TIME && time.bytes().all(digit)
        })
    }
}
