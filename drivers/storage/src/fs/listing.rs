//! `list` and `scan`: names in batches, a directory at a time.
//!
//! ```text
//!   path ──> its own name ──> entries, BATCH at a time ──(scan)──> the next pending directory
//! ```

use std::sync::Arc;

use futures::{Stream, StreamExt, TryStreamExt, stream};
use rigd_driver::{Call, DriverError};
use rustix::fs::{AtFlags, Dir, FileType, statat};

use super::{error::PathError, path::RelPath, root::file_type, store::Store};
use crate::lane::Lane;

/// Names of one step.
const BATCH: usize = 1024;
/// Directories that a scan has seen and not read yet.
const PENDING: usize = 100_000;

/// Whether what is below the directories belongs to the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Depth {
    One,
    All,
}

struct Walk {
    depth: Depth,
    /// Only names that begin so, and only in the first directory: `list("a")` means every path
    /// that begins with `a`, as in an object store.
    prefix: Option<String>,
    pending: Vec<Pending>,
    current: Option<(RelPath, Dir)>,
}

struct Pending {
    path: RelPath,
    /// The client has its name already, from the directory it is in.
    named: bool,
}

/// The paths at and below `raw`.
pub(super) fn paths(
    store: Arc<Store>,
    lane: Lane,
    call: Call,
    raw: &str,
    depth: Depth,
) -> impl Stream<Item = Result<String, DriverError>> + Send + use<> {
    let first = RelPath::parse(raw).map(|path| Walk::new(&path, depth));
    let batches = stream::once(std::future::ready(first)).map_ok(move |first| {
        let (store, lane, call) = (store.clone(), lane.clone(), call.clone());
        stream::try_unfold(first, move |walk| {
            let (store, lane, call) = (store.clone(), lane.clone(), call.clone());
            async move { lane.run(&call, move |_| walk.step(&store)).await }
        })
    });
    batches
        .try_flatten()
        .map_ok(|names| stream::iter(names).map(Ok::<_, DriverError>))
        .try_flatten()
}

impl Walk {
    fn new(path: &RelPath, depth: Depth) -> Self {
        let (path, prefix) = match path.split() {
            Some((parent, name)) if !path.is_dir() => (parent, Some(name.to_owned())),
            _ => (path.clone(), None),
        };
        let named = prefix.is_some();
        Self {
            depth,
            prefix,
            pending: vec![Pending { path, named }],
            current: None,
        }
    }

    /// The next batch, perhaps empty; `None` at the end. Blocks.
    fn step(mut self, store: &Store) -> Result<Option<(Vec<String>, Self)>, DriverError> {
        let mut names = Vec::new();
        let (path, mut dir) = match self.current.take() {
            Some(current) => current,
            None => {
                let Some(Pending { path, named }) = self.pending.pop() else {
                    return Ok(None);
                };
                let opened = store.root.listing(&path);
                match opened.and_then(|fd| Ok(Dir::new(fd)?)) {
                    Ok(dir) => {
                        if !named {
                            names.push(path.shown());
                        }
                        (path, dir)
                    }
                    // What is missing, or gone meanwhile, has no entries.
                    Err(e) if e.is_missing() => return Ok(Some((names, self))),
                    Err(e) => return Err(e.told("list", &path)),
                }
            }
        };
        while names.len() < BATCH {
            let entry = match self.next_entry(&mut dir, &path) {
                Ok(Some(entry)) => entry,
                Ok(None) => {
                    self.prefix = None;
                    return Ok(Some((names, self)));
                }
                Err(e) => return Err(e.told("list", &path)),
            };
            names.push(entry.shown());
            if entry.is_dir() && self.depth == Depth::All {
                self.postpone(entry)?;
            }
        }
        self.current = Some((path, dir));
        Ok(Some((names, self)))
    }

    /// The next wanted entry of `dir`. Links count as what they are, so none is followed.
    fn next_entry(&self, dir: &mut Dir, path: &RelPath) -> Result<Option<RelPath>, PathError> {
        while let Some(entry) = dir.read() {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy();
            let prefix = self.prefix.as_deref().unwrap_or_default();
            if matches!(&*name, "." | "..") || !name.starts_with(prefix) {
                continue;
            }
            let is_dir = match entry.file_type() {
                // Some file systems do not tell.
                FileType::Unknown => {
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    statat(dir.fd()?, entry.file_name(), flags)
                        .is_ok_and(|found| file_type(&found) == FileType::Directory)
                }
                known => known == FileType::Directory,
            };
            return Ok(Some(path.child(&name, is_dir)));
        }
        Ok(None)
    }

    fn postpone(&mut self, path: RelPath) -> Result<(), DriverError> {
        if self.pending.len() >= PENDING {
            return Err(DriverError::Exhausted(format!(
                "cannot scan: {PENDING} directories wait; scan its parts"
            )));
        }
        self.pending.push(Pending { path, named: true });
        Ok(())
    }
}
