//! What calls of a lease share: the root, what the lease made, and the files it has open.

use std::{
    collections::BTreeSet,
    fs::File,
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rigd_driver::{Call, DriverError, OpenError};

use super::{
    error::{PathError, refused},
    files::Files,
    path::RelPath,
    root::Root,
    tree,
};

/// Paths remembered as made by one lease. More is a loop in a client's script.
const CREATED: usize = 65_536;

/// Paths made in this lease, without slashes at the ends.
#[derive(Debug, Default)]
pub(super) struct Created(BTreeSet<String>);

impl Created {
    /// Whether another path can be remembered. To be asked before making it.
    pub(super) fn room(&self) -> Result<(), DriverError> {
        if self.0.len() < CREATED {
            return Ok(());
        }
        Err(DriverError::Exhausted(format!(
            "this lease has made {CREATED} paths; delete some first"
        )))
    }

    pub(super) fn add(&mut self, path: &RelPath) {
        if !path.is_root() {
            self.0.insert(path.key());
        }
    }

    pub(super) fn discard(&mut self, path: &RelPath) {
        self.0.remove(&path.key());
    }
}

#[derive(Debug)]
pub(super) struct Store {
    pub(super) root: Root,
    pub(super) files: Files,
    // Held for the whole of every step that changes the tree, so that the end of a lease finds
    // either nothing or all of it.
    created: Mutex<Created>,
    remove_created: bool,
}

impl Store {
    /// Opens the root; makes it when it is missing, as upstream does. Blocks.
    pub(super) fn open(root: PathBuf, remove_created: bool) -> Result<Self, OpenError> {
        let shown = root.display();
        std::fs::create_dir_all(&root).map_err(|e| {
            let text = format!("cannot create the storage root {shown}: {e}");
            match e.kind() {
                std::io::ErrorKind::NotFound => OpenError::Absent(text),
                _ => OpenError::Faulty(text),
            }
        })?;
        let opened = Root::open(&root).map_err(|e| {
            let e = std::io::Error::from(e);
            OpenError::Faulty(format!("cannot open the storage root {shown}: {e}"))
        })?;
        Ok(Self {
            root: opened,
            files: Files::default(),
            created: Mutex::default(),
            remove_created,
        })
    }

    /// One change of the tree. Blocks, also while another one runs.
    pub(super) fn change<T>(
        &self,
        call: &Call,
        change: impl FnOnce(&mut Created) -> Result<T, DriverError>,
    ) -> Result<T, DriverError> {
        let mut created = self.locked();
        // The end of the lease may have had the lock just before.
        call.check()?;
        change(&mut created)
    }

    /// A file for reading. Blocks.
    pub(super) fn open_to_read(&self, path: &RelPath) -> Result<File, DriverError> {
        if path.is_dir() {
            let why = "reader path is a directory";
            return Err(refused("IsADirectory", "read", why, path));
        }
        // Upstream looks before it opens, hence the word.
        self.root.read(path).map_err(|e| match e {
            e @ PathError::Errno(rustix::io::Errno::NOENT) => e.told("stat", path),
            e => e.told("read", path),
        })
    }

    /// Makes an empty file and hands it to `keep`. Blocks.
    pub(super) fn open_to_write<T>(
        &self,
        call: &Call,
        path: &RelPath,
        keep: impl FnOnce(File) -> T,
    ) -> Result<T, DriverError> {
        let op = "write";
        if path.is_dir() {
            return Err(refused(
                "IsADirectory",
                op,
                "write path is a directory",
                path,
            ));
        }
        self.change(call, |created| {
            created.room()?;
            tree::made_parent(&self.root, path).map_err(|e| e.told(op, path))?;
            let file = self.root.write(path).map_err(|e| e.told(op, path))?;
            created.add(path);
            let emptied = file.set_len(0);
            emptied.map_err(|e| PathError::from(e).told(op, path))?;
            Ok(keep(file))
        })
    }

    /// The paths made in this lease. Blocks.
    pub(super) fn created(&self) -> Vec<String> {
        self.locked().0.iter().cloned().collect()
    }

    /// Forgets the lease and removes what it made, if so configured. Blocks.
    pub(super) fn forget(&self) {
        let mut created = self.locked();
        // After the lock: a step that opened a file has put it into the table before it let go.
        self.files.clear();
        let paths = std::mem::take(&mut created.0);
        if !self.remove_created {
            return;
        }
        // Reversed, so that what is inside goes before what it is in.
        for key in paths.into_iter().rev() {
            let removed = RelPath::parse(&key)
                .and_then(|path| tree::remove_all(&self.root, &path, &|| Ok(())));
            if let Err(error) = removed {
                tracing::warn!(path = key, %error, "Cannot remove what the lease made.");
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, Created> {
        self.created.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
